"""What is wrong with a request is said in the dialect's own form: a sentence that names the field and what would be
right. On the demo model."""

import http.client
import json

from server import ServerTest, main

HI = [{"role": "user", "content": "Hi"}]
CHAT, TEXT, RESPONSES, NATIVE = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/completion"
ANTHROPIC, OLLAMA, OLLAMA_TEXT, KOBOLD = "/v1/messages", "/api/chat", "/api/generate", "/api/v1/generate"
BODIES = {CHAT: {"messages": HI}, TEXT: {"prompt": "a"}, RESPONSES: {"input": "a"}, NATIVE: {"prompt": "a"},
          ANTHROPIC: {"messages": HI}, OLLAMA: {"messages": HI}, OLLAMA_TEXT: {"prompt": "a"}, KOBOLD: {"prompt": "a"}}


def sentence(path, answer):
    """Of an error in the form of the path's dialect, which must have nothing else."""
    if path.startswith(("/api/v1", "/api/extra")):
        assert set(answer) == {"detail"}, answer
        return answer["detail"]["msg"]
    if path.startswith("/api/") and not path.startswith("/api/loadline"):
        assert set(answer) == {"error"}, answer
        return answer["error"]
    if path.startswith(ANTHROPIC):
        assert answer["type"] == "error", answer
    return answer["error"]["message"]


class Refusals(ServerTest):
    def refused(self, path, fields, *words, status=400):
        got, answer = self.server.post(path, {**BODIES.get(path, {}), **fields})
        self.assertEqual(got, status, (path, fields, answer))
        said = sentence(path, answer)
        for word in words:
            self.assertIn(word, said, (path, fields))
        return said

    def test_a_field_of_a_wrong_type_is_named(self):
        for path, fields in (
                (CHAT, {"response_format": 5}), (CHAT, {"stream_options": 5}), (CHAT, {"reasoning_effort": 5}),
                (NATIVE, {"model": 5}), (RESPONSES, {"tools": 5}), (RESPONSES, {"tools": [5]}), (RESPONSES, {"text": 5}),
                (RESPONSES, {"reasoning": 5}), (ANTHROPIC, {"tools": [5]}), (ANTHROPIC, {"tool_choice": 5}),
                (ANTHROPIC, {"tool_choice": {"type": "what"}}), (ANTHROPIC, {"thinking": 5}), (ANTHROPIC, {"system": [5]}),
                (OLLAMA, {"options": 5}), (OLLAMA_TEXT, {"context": 5}), (OLLAMA_TEXT, {"context": ["a"]}),
                (KOBOLD, {"logprobs": "x"}), ("/api/show", {"model": 5}), ("/api/extra/detokenize", {"ids": 5})):
            self.refused(path, fields, '"%s" must be ' % next(iter(fields)))

    def test_what_is_no_json_is_told_with_its_place(self):
        for path in BODIES:
            for body, words in ((b'{"prompt": }', "byte 12"), (b'{"temperature": 33.5E6666}', "too large")):
                status, answer = self.server.post(path, body)
                self.assertEqual(status, 400, (path, answer))
                self.assertIn(words, sentence(path, answer))

    def test_what_a_tool_lacks_is_named(self):
        for function in ({}, {"name": 5}):
            self.refused(CHAT, {"tools": [{"type": "function", "function": function}]}, '"tools"', '"name"')
        self.refused(RESPONSES, {"tools": [{"type": "function"}]}, '"tools"', '"name"')
        self.refused(CHAT, {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
                     '"tools"', '"parameters"', "schema")
        self.refused(ANTHROPIC, {"tools": [{}]}, '"tools"', '"name"')
        self.refused(ANTHROPIC, {"tools": [{"name": "f", "input_schema": 5}]}, '"input_schema" must be an object')
        calls = [{"type": "function", "function": {"name": 5, "arguments": "{}"}}]
        said = self.refused(CHAT, {"messages": HI + [{"role": "assistant", "tool_calls": calls}] + HI}, '"name"')
        self.assertNotIn("template", said)

    def test_what_would_be_left_out_of_the_answer_is_refused(self):
        self.refused(NATIVE, {"image_data": [{"data": "!!", "id": 1}]}, '"image_data"', "no images")
        self.refused(TEXT, {"suffix": "the end"}, '"suffix"', "/infill")
        self.refused(TEXT, {"best_of": 3}, '"best_of"', '"n"')
        self.refused(RESPONSES, {"conversation": "conv_1"}, '"conversation"')
        self.refused(RESPONSES, {"background": True}, '"background"')
        for fields in ({"image_data": []}, {"suffix": ""}, {"best_of": 1}):
            self.assertEqual(self.server.post(TEXT, {"prompt": "a", "max_tokens": 1, **fields})[0], 200, fields)

    def test_what_is_empty_is_named_as_it_is_called(self):
        self.refused(RESPONSES, {"input": []}, '"input" is empty')
        self.refused("/v1/embeddings", {"input": []}, '"input" is empty')
        self.refused(TEXT, {"prompt": {}}, '"prompt"', '"prompt_string"')
        self.refused(CHAT, {"messages": [{"role": "user", "content": [5]}]}, '"content"', '"type"')
        self.refused("/api/pull", {}, '"model" is required')

    def test_numbers_have_bounds_that_somebody_could_reach(self):
        for path, field in ((CHAT, "max_tokens"), (NATIVE, "n_predict"), (KOBOLD, "max_length"), (CHAT, "seed")):
            self.assertTrue(self.refused(path, {field: "a"}).endswith('"%s" must be a whole number' % field))
        self.refused(CHAT, {"top_k": -5}, '"top_k" must be a whole number of at least -1')
        self.refused(CHAT, {"n": 0}, '"n" must be a whole number from 1 to 1024')
        self.refused(CHAT, {"max_tokens": 1e30}, '"max_tokens"', " to 2147483647")

    def test_what_is_no_token_of_the_model_is_named(self):
        far, beyond = "1000000000 is no token of this model", "18446744073709551615 is no token of this model"
        for path, field, ids in (("/detokenize", "tokens", [10**9]), ("/detokenize", "ids", [5, 10**9]),
                                 (OLLAMA_TEXT, "context", [10**9]), ("/v1/embeddings", "input", [10**9]),
                                 (TEXT, "prompt", [5, 10**9]), (NATIVE, "logit_bias", [[10**9, 1]]),
                                 (KOBOLD, "custom_token_bans", "5, 1000000000")):
            self.refused(path, {field: ids}, '"%s": %s' % (field, far))
        for path, field in (("/detokenize", "tokens"), (OLLAMA_TEXT, "context"), ("/v1/embeddings", "input"), (TEXT, "prompt")):
            self.refused(path, {field: [2**64 - 1]}, '"%s": %s' % (field, beyond))
            self.refused(path, {field: [5, [True]]}, '"%s" must be ' % field)

    def test_where_json_goes_wrong_is_told(self):
        for path in BODIES:
            status, _, answer = self.server.request("POST", path, b'{"a": nothing}')
            self.assertEqual(status, 400)
            self.assertIn("byte 8", sentence(path, json.loads(answer)))
        # Halves of characters are made whole before.
        status, _, answer = self.server.request("POST", NATIVE, b'{"prompt": "\\ud83d", nothing}')
        self.assertIn("byte 23", sentence(NATIVE, json.loads(answer)))

    def test_a_wrong_method_is_told_the_right_one(self):
        for method, path, allowed in (("GET", CHAT, "POST"), ("GET", ANTHROPIC, "POST"), ("DELETE", OLLAMA, "POST"),
                                      ("PUT", KOBOLD, "POST"), ("GET", "/slots/0", "POST"), ("POST", "/props", "GET, HEAD"),
                                      ("POST", "/api/tags", "GET, HEAD"), ("DELETE", "/api/loadline/plan", "GET, HEAD, POST")):
            status, head, answer = self.server.request(method, path, b"{}" if method == "POST" else None)
            self.assertEqual((status, head.get("allow")), (405, allowed), (method, path))
            self.assertIn(allowed, sentence(path, json.loads(answer)))

    def test_what_is_too_large_is_told_how_large_it_may_be(self):
        for path in (CHAT, ANTHROPIC, OLLAMA, KOBOLD):
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", str(1 << 30))
            connection.endheaders()
            response = connection.getresponse()
            self.assertEqual(response.status, 413)
            self.assertRegex(sentence(path, json.loads(response.read())), r"body.*MiB")
            connection.close()
        status, _, answer = self.server.request("GET", "/health", None, {"X-Long": "a" * 70000})
        self.assertEqual(status, 431)
        self.assertRegex(sentence("/health", json.loads(answer)), r"header.*64.0 KiB")

    def test_no_control_characters_come_back(self):
        odd = "no\x1b[31m\u202epe"
        tools = [{"type": "function", "function": {"name": "f"}}]
        for path, fields, status in ((OLLAMA, {"model": odd}, 404), (CHAT, {"grammar": odd}, 400),
                                     (CHAT, {"tools": tools, "tool_choice": {"function": {"name": odd}}}, 400),
                                     (CHAT, {"messages": [{"role": odd, "content": "a"}]}, 400),
                                     (CHAT, {"messages": [{"role": "user", "content": [{"type": odd}]}]}, 400),
                                     (CHAT, {"json_schema": {"type": odd}}, 400), (CHAT, {"json_schema": {"$ref": odd}}, 400),
                                     (ANTHROPIC, {"messages": [{"role": "user", "content": [{"type": odd}]}]}, 400)):
            said = self.refused(path, fields, status=status)
            self.assertTrue(said.isprintable(), (path, said))


if __name__ == "__main__":
    main()
