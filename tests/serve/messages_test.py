"""Anthropic's messages and OpenAI's responses on the demo model: chains of events."""

import json

from server import ServerTest, main, named_events

USER = [{"role": "user", "content": "Tell me of the sea."}]
SCHEMA = {"type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"], "additionalProperties": False}


class Messages(ServerTest):
    def ask(self, **fields):
        return self.server.post("/v1/messages?beta=true", {"model": "claude-x", "max_tokens": 6, "messages": USER, **fields})

    def test_answers_whole(self):
        status, answer = self.ask()
        self.assertEqual(status, 200)
        self.assertEqual((answer["type"], answer["role"], answer["model"]), ("message", "assistant", "claude-x"))
        self.assertEqual(answer["content"][0]["type"], "text")
        self.assertEqual((answer["stop_reason"], answer["stop_sequence"]), ("max_tokens", None))
        self.assertEqual(answer["usage"]["output_tokens"], 6)

    def test_streams_the_chain_of_events(self):
        body = {"model": "m", "max_tokens": 6, "messages": USER, "stream": True}
        chain = named_events(self.server.stream("/v1/messages", body)[2])
        self.assertTrue(all(name == data["type"] for name, data in chain))
        names = [name for name, _ in chain if name != "content_block_delta"]
        self.assertEqual(names, ["message_start", "content_block_start", "content_block_stop", "message_delta",
                                 "message_stop"])
        self.assertEqual(chain[0][1]["message"]["content"], [])
        self.assertIn("stop_sequence", chain[-2][1]["delta"])

    def test_calls_have_objects_as_input(self):
        tools = [{"name": "dive", "description": "d", "input_schema": SCHEMA}, {"type": "web_search_1", "name": "web"}]
        alone = {"disable_parallel_tool_use": True}
        for choice in ({"type": "any", **alone}, {"type": "tool", "name": "dive", **alone}):
            answer = self.ask(tools=tools, tool_choice=choice, max_tokens=100)[1]
            self.assertEqual(answer["stop_reason"], "tool_use")
            self.assertIsInstance(answer["content"][-1]["input"]["deep"], bool)
        body = {"max_tokens": 100, "messages": USER, "tools": tools, "tool_choice": {"type": "any", **alone},
                "stream": True}
        chain = named_events(self.server.stream("/v1/messages", body)[2])
        block = next(data for name, data in chain if name == "content_block_start")["content_block"]
        self.assertEqual((block["type"], block["input"]), ("tool_use", {}))
        partial = "".join(data["delta"]["partial_json"] for name, data in chain if name == "content_block_delta")
        self.assertIsInstance(json.loads(partial)["deep"], bool)

    def test_takes_blocks_of_a_tool_loop(self):
        history = USER + [
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""},
                                              {"type": "text", "text": "I dive."},
                                              {"type": "tool_use", "id": "t1", "name": "dive", "input": {"deep": True}}]},
            {"role": "user", "content": [{"type": "text", "text": "And?"},
                                         {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text",
                                                                                                  "text": "wet"}]}]}]
        self.assertEqual(self.ask(messages=history, system=[{"type": "text", "text": "Be brief.", "cache_control":
                                                             {"type": "ephemeral"}}])[0], 200)

    def test_counts_exactly_what_is_read(self):
        counted = self.server.post("/v1/messages/count_tokens?beta=true", {"messages": USER})[1]["input_tokens"]
        usage = self.ask()[1]["usage"]
        self.assertEqual(counted, usage["input_tokens"] + usage["cache_read_input_tokens"])

    def test_a_changing_billing_line_does_not_spoil_the_prefix(self):
        for cch in ("abcde", "12345"):
            system = f"x-anthropic-billing-header: cc_version=1; cch={cch};\nYou tell long stories of ships."
            usage = self.ask(system=system)[1]["usage"]
        self.assertLessEqual(usage["input_tokens"], 1)

    def test_both_forms_of_errors(self):
        status, error = self.ask(messages=[{"role": "user", "content": [{"type": "image", "source": {}}]}])
        self.assertEqual((status, error["type"], error["error"]["type"]), (400, "error", "invalid_request_error"))
        status, error = self.ask(messages=[{"role": "user", "content": "sea " * 5000}])
        self.assertEqual(status, 400)
        self.assertIn("maximum context length is", error["error"]["message"].replace("maximum context length of",
                                                                                      "maximum context length is"))


class Responses(ServerTest):
    def ask(self, **fields):
        return self.server.post("/v1/responses", {"model": "m", "input": "Tell me.", "max_output_tokens": 6, **fields})

    def test_answers_whole(self):
        status, answer = self.ask()
        self.assertEqual((status, answer["object"], answer["status"]), (200, "response", "incomplete"))
        self.assertEqual(answer["incomplete_details"], {"reason": "max_output_tokens"})
        self.assertEqual(answer["output"][0]["content"][0]["type"], "output_text")
        self.assertEqual(answer["usage"]["output_tokens"], 6)
        self.assertEqual(self.ask(max_output_tokens=200, stop=["e"])[1]["status"], "completed")

    def test_streams_the_chain_of_events(self):
        body = {"model": "m", "input": USER, "max_output_tokens": 6, "stream": True}
        chain = named_events(self.server.stream("/v1/responses", body)[2])
        self.assertEqual([data["sequence_number"] for _, data in chain], list(range(len(chain))))
        self.assertTrue(all(name == data["type"] for name, data in chain))
        names = [name for name, _ in chain if name != "response.output_text.delta"]
        self.assertEqual(names, ["response.created", "response.in_progress", "response.output_item.added",
                                 "response.content_part.added", "response.output_text.done", "response.content_part.done",
                                 "response.output_item.done", "response.incomplete"])
        self.assertEqual(chain[0][1]["response"]["output"], [])
        text = "".join(data["delta"] for name, data in chain if name == "response.output_text.delta")
        last = chain[-1][1]["response"]
        self.assertEqual(last["output"][0]["content"][0]["text"], text)
        self.assertEqual(last["output"][0]["id"], chain[2][1]["item"]["id"])

    def test_calls_functions_and_skips_other_tools(self):
        tools = [{"type": "function", "name": "dive", "parameters": SCHEMA, "strict": False}, {"type": "web_search"},
                 {"type": "namespace", "name": "n", "tools": []}]
        body = {"input": USER, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False,
                "max_output_tokens": 100, "stream": True}
        chain = named_events(self.server.stream("/v1/responses", body)[2])
        names = [name for name, _ in chain]
        self.assertEqual(names[2:6], ["response.output_item.added", "response.function_call_arguments.delta",
                                      "response.function_call_arguments.done", "response.output_item.done"])
        item = chain[-1][1]["response"]["output"][-1]
        self.assertEqual((item["type"], item["name"], item["status"]), ("function_call", "dive", "completed"))
        json.loads(item["arguments"])

    def test_takes_what_codex_sends_back(self):
        items = [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "One."}]},
                 {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Two."}]},
                 {"role": "user", "content": "Dive."},
                 {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}],
                  "encrypted_content": None},
                 {"type": "function_call", "call_id": "c1", "name": "dive", "arguments": "{\"deep\":true}"},
                 {"id": "x", "type": "function_call_output", "call_id": "c1", "output": "wet"}]
        status, answer = self.ask(input=items, store=False, include=["reasoning.encrypted_content"],
                                  reasoning={"summary": "auto"}, prompt_cache_key="k", client_metadata={})
        self.assertEqual(status, 200, answer)
        self.assertEqual(self.server.post("/v1/responses/input_tokens", {"input": items})[1]["input_tokens"],
                         answer["usage"]["input_tokens"])

    def test_what_is_not_stored_is_refused(self):
        self.assertEqual(self.ask(previous_response_id="resp_1")[0], 400)
        self.assertEqual(self.ask(input=None)[0], 400)


class Loadline(ServerTest):
    def test_tells_the_plan_and_its_state(self):
        plan = self.server.get("/api/loadline/plan")[1]
        self.assertEqual(plan["shape"]["context"], 2048)
        self.server.post("/completion", {"prompt": "Once", "n_predict": 3})
        state = self.server.get("/api/loadline/state")[1]
        self.assertEqual(len(state["places"]), 4)
        self.assertGreaterEqual(state["activity"]["generations"], 1)
        self.assertLessEqual(state["held"], state["tiers"][0]["planned"])
        self.assertIsNone(state["trouble"])

    def test_streams_its_state(self):
        with self.server.connect() as connection:
            connection.sendall(b"GET /api/loadline/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while received.count(b"event: state\n") < 3:
                received += connection.recv(65536)
        self.assertIn(b"text/event-stream", received)

    def test_tells_what_other_plans_would_be(self):
        status, answer = self.server.post("/api/loadline/plan", {"context": 512, "sequences": 1, "cache_type_k": "q8_0"})
        self.assertEqual((status, answer["fits"]), (200, True))
        self.assertEqual(answer["plan"]["shape"]["context"], 512)
        status, answer = self.server.post("/api/loadline/plan", {"ram": "1MiB", "disk": False})
        self.assertEqual((status, answer["fits"]), (200, False))
        self.assertTrue(answer["error"])
        self.assertEqual(self.server.post("/api/loadline/plan", {"cache_type_k": "q3"})[0], 400)
        self.assertEqual(self.server.post("/api/loadline/plan", {"gpus": ["RTX 9999"]})[0], 400)


if __name__ == "__main__":
    main()
