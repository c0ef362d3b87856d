"""OpenAI's API on the demo model."""

import json
import socket

from server import ServerTest, events, main, until

USER = [{"role": "user", "content": "Tell me of the sea."}]


class Models(ServerTest):
    def test_lists_the_model_with_its_planned_context(self):
        status, models = self.server.get("/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual(models["object"], "list")
        self.assertEqual(models["data"][0]["id"], "demo")
        self.assertEqual(models["data"][0]["meta"]["n_ctx"], 2048)
        self.assertEqual(models["data"][0]["context_length"], 2048)
        for path in ("/models", "/v1/models/", "/v1/v1/models", "/v1/models?client_version=1"):
            self.assertEqual(self.server.get(path)[1], models, path)


class Chat(ServerTest):
    def chat(self, **fields):
        return self.server.post("/v1/chat/completions", {"messages": USER, "max_tokens": 8, "seed": 1, **fields})

    def test_answers_as_one_object(self):
        status, answer = self.chat()
        self.assertEqual(status, 200)
        self.assertEqual(answer["object"], "chat.completion")
        self.assertEqual(answer["choices"][0]["message"]["role"], "assistant")
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 8)
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + 8)

    def test_streams_the_role_first_and_ends_with_done(self):
        body = {"messages": USER, "max_tokens": 8, "seed": 1, "stream": True}
        status, kind, data = self.server.stream("/v1/chat/completions", body)
        self.assertEqual((status, kind), (200, "text/event-stream"))
        chunks = events(data)
        self.assertEqual(chunks[-1], "[DONE]")
        first, *middle, last = chunks[:-1]
        self.assertEqual(first["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(last["choices"][0]["delta"], {})
        self.assertEqual(last["choices"][0]["finish_reason"], "length")
        self.assertTrue(all(one["object"] == "chat.completion.chunk" for one in chunks[:-1]))
        self.assertEqual(len({(one["id"], one["created"], one["model"]) for one in chunks[:-1]}), 1)
        self.assertTrue(all("usage" not in one for one in chunks[:-1]))
        text = "".join(one["choices"][0]["delta"].get("content") or "" for one in middle)
        self.assertEqual(text, self.chat()[1]["choices"][0]["message"]["content"])

    def test_tells_usage_in_a_stream_on_request(self):
        body = {"messages": USER, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
        *_, finish, usage, done = events(self.server.stream("/v1/chat/completions", body)[2])
        self.assertEqual(done, "[DONE]")
        self.assertEqual(usage["choices"], [])
        self.assertEqual(usage["usage"]["completion_tokens"], 3)
        self.assertEqual(finish["choices"][0]["finish_reason"], "length")

    def test_never_shows_a_stop_string_that_several_tokens_make(self):
        whole = self.chat(max_tokens=24, temperature=0)[1]["choices"][0]["message"]["content"]
        stop = whole[10:16]
        answer = self.chat(max_tokens=24, temperature=0, stop=stop)[1]["choices"][0]
        self.assertEqual(answer["message"]["content"], whole[: whole.index(stop)])
        self.assertEqual(answer["finish_reason"], "stop")
        body = {"messages": USER, "max_tokens": 24, "temperature": 0, "stop": [stop], "stream": True}
        chunks = events(self.server.stream("/v1/chat/completions", body)[2])
        text = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks[:-1])
        self.assertEqual(text, whole[: whole.index(stop)])

    def test_a_stop_string_at_the_first_byte_leaves_nothing(self):
        whole = self.chat(temperature=0)[1]["choices"][0]["message"]["content"]
        answer = self.chat(temperature=0, stop=whole[0])[1]["choices"][0]
        self.assertEqual(answer["message"]["content"], "")
        self.assertEqual(answer["finish_reason"], "stop")

    def test_the_same_seed_gives_the_same_text_and_nulls_are_absent(self):
        one = self.chat(temperature=1, top_p=None, stop=None, tools=None)[1]["choices"][0]["message"]["content"]
        other = self.chat(temperature=1, user="x", metadata={}, store=False)[1]["choices"][0]["message"]["content"]
        self.assertEqual(one, other)

    def test_gives_several_answers(self):
        answer = self.chat(n=3, temperature=1)[1]
        self.assertEqual([one["index"] for one in answer["choices"]], [0, 1, 2])
        self.assertGreater(len({one["message"]["content"] for one in answer["choices"]}), 1)
        status, error = self.chat(n=99)
        self.assertEqual(status, 400)
        self.assertIn('"n"', error["error"]["message"])

    def test_tells_log_probabilities(self):
        answer = self.chat(logprobs=True, top_logprobs=2, max_tokens=2, temperature=0)[1]["choices"][0]
        content = answer["logprobs"]["content"]
        self.assertEqual(len(content), 2)
        for one in content:
            self.assertEqual(len(one["top_logprobs"]), 2)
            self.assertEqual(one["logprob"], one["top_logprobs"][0]["logprob"])
            self.assertLessEqual(one["logprob"], 0)
            self.assertEqual(bytes(one["bytes"]).decode(errors="replace"), one["token"])
        self.assertEqual(self.chat(top_logprobs=2)[0], 400)

    def test_tells_the_same_log_probabilities_whole_as_streamed(self):
        body = {"messages": USER, "logprobs": True, "top_logprobs": 5, "max_tokens": 40, "temperature": 0, "n": 2}
        whole = self.server.post("/v1/chat/completions", body)[1]["choices"]
        told = [[], []]
        for chunk in events(self.server.stream("/v1/chat/completions", {**body, "stream": True})[2])[:-1]:
            for choice in chunk["choices"]:
                told[choice["index"]] += (choice.get("logprobs") or {"content": []})["content"]
        self.assertEqual([one["logprobs"]["content"] for one in whole], told)
        self.assertGreater(len(told[0]), 1)

    def test_log_probabilities_that_no_plan_has_room_for_are_refused(self):
        body = {"prompt": "Once", "n_probs": 1000, "ignore_eos": True}
        status, error = self.server.post("/v1/completions", body)
        self.assertEqual((status, error["error"]["type"]), (413, "request_too_large"))
        self.assertIn("log-probabilities", error["error"]["message"])
        self.assertEqual(self.server.post("/completion", body)[0], 413)
        self.assertEqual(self.server.post("/v1/completions", {**body, "max_tokens": 4})[0], 200)
        # What an answer takes that its client has not read is nobody else's.
        body["n_probs"] = 400
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            first.connect(("127.0.0.1", self.server.port))
            data = json.dumps(body).encode()
            first.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
            self.assertEqual(first.recv(15), b"HTTP/1.1 200 OK")
            status, head, text = self.server.request("POST", "/v1/completions", body)
            self.assertEqual((status, head["retry-after"]), (503, "1"))
            self.assertIn("log-probabilities", json.loads(text)["error"]["message"])
        until(lambda: self.server.post("/v1/completions", {**body, "max_tokens": 1000})[0], lambda status: status != 503)

    def test_continues_the_assistants_last_message(self):
        messages = USER + [{"role": "assistant", "content": "Once upon a"}]
        prompt = self.server.post("/apply-template", {"messages": messages})[1]["prompt"]
        self.assertTrue(prompt.endswith("Once upon a"), prompt)

    def test_reuses_what_the_cache_holds(self):
        self.chat(max_tokens=1)
        answer = self.chat(max_tokens=1)[1]
        self.assertGreater(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(self.chat(max_tokens=1, cache_prompt=False)[1]["timings"]["cache_n"], 0)

    def test_names_what_is_wrong(self):
        for fields, word in (({"temperature": "hot"}, "temperature"), ({"messages": []}, "messages"),
                             ({"messages": "x"}, "messages"), ({"stop": 5}, "stop"),
                             ({"logit_bias": {"999999999": 1}}, "logit_bias"),
                             ({"messages": [{"content": "x"}]}, "role"),
                             ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image")):
            status, error = self.chat(**fields)
            self.assertEqual(status, 400, fields)
            self.assertEqual(error["error"]["type"], "invalid_request_error")
            self.assertIn(word, error["error"]["message"])

    def test_an_echo_waits_until_its_prompt_is_taken(self):
        body = {"prompt": "sea " * 5000, "stream": True, "echo": True, "max_tokens": 1}
        status, error = self.server.post("/v1/completions", body)
        self.assertEqual((status, error["error"]["type"]), (400, "exceed_context_size_error"))
        chunks = events(self.server.stream("/v1/completions", {**body, "prompt": "Once upon a time"})[2])
        self.assertEqual(chunks[0]["choices"][0]["text"], "Once upon a time")

    def test_a_prompt_too_long_is_refused_with_both_numbers(self):
        status, error = self.chat(messages=[{"role": "user", "content": "sea " * 5000}])
        self.assertEqual(status, 400)
        error = error["error"]
        self.assertEqual(error["type"], "exceed_context_size_error")
        self.assertEqual(error["n_ctx"], 2048)
        self.assertGreater(error["n_prompt_tokens"], 2048)
        self.assertIn("maximum context length", error["message"])
        self.assertIn(str(error["n_prompt_tokens"]), error["message"])

    def test_more_tokens_than_there_is_room_for_end_with_length(self):
        answer = self.chat(max_tokens=32000, ignore_eos=True)[1]
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertLessEqual(answer["usage"]["total_tokens"], 2049)


class Structure(ServerTest):
    SCHEMA = {"type": "object", "properties": {"name": {"enum": ["whale", "crab"]}, "legs": {"type": "integer",
              "minimum": 0, "maximum": 99}}, "required": ["name", "legs"], "additionalProperties": False}

    def test_keeps_to_a_schema_every_time(self):
        for seed in range(100):
            body = {"messages": USER, "temperature": 1, "seed": seed, "max_tokens": 60,
                    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": self.SCHEMA}}}
            answer = self.server.post("/v1/chat/completions", body)[1]
            value = json.loads(answer["choices"][0]["message"]["content"])
            self.assertIn(value["name"], ("whale", "crab"))
            self.assertTrue(0 <= value["legs"] <= 99)
            self.assertEqual(set(value), {"name", "legs"})

    def test_keeps_to_a_grammar(self):
        body = {"messages": USER, "grammar": 'root ::= "yes" | "no"'}
        self.assertIn(self.server.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"],
                      ("yes", "no"))

    def test_what_fails_late_is_an_event_and_what_fails_early_a_status(self):
        tokens = lambda text: self.server.post("/tokenize", {"content": text})[1]["tokens"]
        self.assertEqual((len(tokens("~")), len(tokens("^"))), (1, 1))
        bias = [[one, False] for one in tokens("^") + (tokens("~^") if len(tokens("~^")) == 1 else [])]
        body = {"messages": USER, "grammar": 'root ::= "~" "^"', "logit_bias": bias, "stream": True}
        status, _, data = self.server.stream("/v1/chat/completions", body)
        self.assertEqual(status, 200)
        *chunks, last = events(data)
        self.assertEqual("".join(one["choices"][0]["delta"].get("content") or "" for one in chunks), "~")
        self.assertEqual(last["error"]["type"], "server_error")
        self.assertTrue(last["error"]["message"])
        status, error = self.server.post("/v1/chat/completions", {**body, "grammar": 'root ::= "^"'})
        self.assertEqual((status, error["error"]["type"]), (500, "server_error"))

    def test_refuses_two_grammars_and_what_is_none(self):
        for fields in ({"grammar": 'root ::= "a"', "json_schema": {}}, {"grammar": "root ::= ("},
                       {"response_format": {"type": "json_schema"}}, {"response_format": {"type": "xml"}}):
            status, _ = self.server.post("/v1/chat/completions", {"messages": USER, **fields})
            self.assertEqual(status, 400, fields)


class Tools(ServerTest):
    TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"place": {"enum": ["here", "there"]}}, "required": ["place"],
        "additionalProperties": False}}}
        for name in ("swim", "dive")]

    def ask(self, **fields):
        return self.server.post("/v1/chat/completions", {"messages": USER, "tools": self.TOOLS, "max_tokens": 100,
                                                             "parallel_tool_calls": False,
                                                         "seed": 3, **fields})

    def test_a_required_call_comes_whole_with_its_arguments_as_a_string(self):
        for choice in ("required", {"type": "function", "function": {"name": "dive"}}):
            answer = self.ask(tool_choice=choice)[1]["choices"][0]
            self.assertEqual(answer["finish_reason"], "tool_calls")
            call = answer["message"]["tool_calls"][0]
            self.assertEqual(call["type"], "function")
            self.assertTrue(call["id"])
            self.assertIn(json.loads(call["function"]["arguments"])["place"], ("here", "there"))
            if choice != "required":
                self.assertEqual(call["function"]["name"], "dive")

    def test_streams_a_call(self):
        body = {"messages": USER, "tools": self.TOOLS, "tool_choice": "required",
                "parallel_tool_calls": False, "max_tokens": 100, "stream": True}
        chunks = events(self.server.stream("/v1/chat/completions", body)[2])
        deltas = [call for one in chunks[:-1] for call in one["choices"][0]["delta"].get("tool_calls", [])]
        self.assertTrue(all(one["index"] == 0 for one in deltas))
        self.assertEqual(deltas[0]["type"], "function")
        self.assertEqual(deltas[0]["function"]["arguments"], "")
        self.assertTrue(deltas[0]["id"] and deltas[0]["function"]["name"] in ("swim", "dive"))
        json.loads("".join(one["function"]["arguments"] for one in deltas))
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "tool_calls")

    def test_takes_results_and_malformed_arguments_of_earlier_turns(self):
        history = USER + [
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "a1", "type": "function", "function": {"name": "swim", "arguments": "{\"place\": "}}]},
            {"role": "tool", "tool_call_id": "a1", "content": "splash"}]
        status, answer = self.ask(messages=history, tool_choice="none")
        self.assertEqual(status, 200)
        self.assertNotIn("tool_calls", answer["choices"][0]["message"])

    def test_refuses_a_choice_that_is_not_offered(self):
        status, error = self.ask(tool_choice={"type": "function", "function": {"name": "fly"}})
        self.assertEqual(status, 400)
        self.assertIn("fly", error["error"]["message"])


class Completions(ServerTest):
    def test_completes_one_prompt_and_several(self):
        status, answer = self.server.post("/v1/completions", {"prompt": "Once", "max_tokens": 4, "echo": True})
        self.assertEqual((status, answer["object"]), (200, "text_completion"))
        self.assertTrue(answer["choices"][0]["text"].startswith("Once"))
        answer = self.server.post("/v1/completions", {"prompt": ["Once", "The sea"], "max_tokens": 2})[1]
        self.assertEqual([one["index"] for one in answer["choices"]], [0, 1])

    def test_streams_text_and_tells_probabilities_in_both_forms(self):
        body = {"prompt": "Once", "max_tokens": 3, "stream": True, "logprobs": 2, "temperature": 0}
        chunks = events(self.server.stream("/v1/completions", body)[2])
        self.assertEqual(chunks[-1], "[DONE]")
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        told = [one["choices"][0]["logprobs"] for one in chunks[:-1] if one["choices"][0]["logprobs"]]
        self.assertEqual(sum(len(one["tokens"]) for one in told), 3)
        self.assertEqual(len(told[0]["top_logprobs"][0]), 2)
        self.assertEqual(told[0]["content"][0]["token"], told[0]["tokens"][0])
        whole = self.server.post("/v1/completions", {**body, "stream": False})[1]["choices"][0]["logprobs"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset", "content"):
            self.assertEqual(whole[name], sum((one[name] for one in told), []), name)
        self.assertEqual(whole["text_offset"], [sum(map(len, whole["tokens"][:i])) for i in range(3)])


if __name__ == "__main__":
    main()
