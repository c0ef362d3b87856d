"""Ollama's API on the demo model, to the byte where its clients look at bytes."""

import json
import re

from server import ServerTest, main

USER = [{"role": "user", "content": "Tell me of the sea."}]
OPTIONS = {"num_predict": 6, "seed": 1, "num_ctx": 100000}


def lines(body):
    assert body.endswith(b"\n"), body
    return [json.loads(line) for line in body[:-1].split(b"\n")]


class Probes(ServerTest):
    def test_root_and_version(self):
        status, head, body = self.server.request("GET", "/")
        self.assertEqual((status, body), (200, b"Ollama is running"))
        self.assertEqual(self.server.request("HEAD", "/")[0], 200)
        status, head, body = self.server.request("GET", "/", None, {"Accept": "text/html,*/*"})
        self.assertTrue(head["content-type"].startswith("text/html"))
        self.assertIn("default-src 'none'", head["content-security-policy"])
        version = [int(part) for part in self.server.get("/api/version")[1]["version"].split(".")]
        self.assertGreaterEqual(version, [0, 6, 4])

    def test_lists_and_shows_the_model(self):
        tag = self.server.get("/api/tags")[1]["models"][0]
        self.assertEqual((tag["name"], tag["model"]), ("demo:latest", "demo:latest"))
        self.assertRegex(tag["modified_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}[+-]\d\d:\d\d$")
        self.assertEqual(len(tag["digest"]), 64)
        running = self.server.get("/api/ps")[1]["models"][0]
        self.assertEqual(running["context_length"], 2048)
        for body in ({"model": "demo"}, {"name": "Demo:latest"}):
            shown = self.server.post("/api/show", body)[1]
            kind = shown["model_info"]["general.architecture"]
            self.assertEqual(shown["model_info"][kind + ".context_length"], 2048)
            self.assertTrue(re.search(r"^num_ctx +2048$", shown["parameters"], re.M))
            self.assertIn("completion", shown["capabilities"])
            self.assertNotIn(".Suffix", shown["template"])
        self.assertEqual(self.server.post("/api/show", {"model": "other"}), (404, {"error": "model 'other' not found"}))

    def test_models_are_neither_fetched_nor_removed(self):
        self.assertEqual(self.server.post("/api/pull", {"model": "demo", "stream": False}), (200, {"status": "success"}))
        self.assertEqual(self.server.stream("/api/pull", {"model": "demo"})[2], b'{"status":"success"}\n')
        self.assertEqual(self.server.post("/api/create", {"model": "demo"})[0], 501)
        self.assertEqual(self.server.request("DELETE", "/api/delete", {"model": "demo"})[0], 501)


class Chat(ServerTest):
    def test_streams_lines_unless_told_not_to(self):
        body = {"model": "demo", "messages": USER, "options": OPTIONS}
        status, kind, data = self.server.stream("/api/chat", body)
        self.assertEqual((status, kind), (200, "application/x-ndjson"))
        *chunks, last = lines(data)
        self.assertTrue(all(one["message"]["role"] == "assistant" and one["done"] is False for one in chunks))
        self.assertEqual(last["done_reason"], "length")
        self.assertTrue(last["done"] and last["message"]["content"] == "")
        self.assertEqual(last["eval_count"], 6)
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            self.assertGreater(last[name], 0)
            self.assertIsInstance(last[name], int)
        whole = self.server.post("/api/chat", {**body, "stream": False})[1]
        self.assertEqual(whole["message"]["content"], "".join(one["message"]["content"] for one in chunks))
        self.assertRegex(whole["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    def test_another_context_loads_nothing_anew(self):
        def state():
            return self.server.get("/api/loadline/state")[1]

        for context in (512, 4096, 512):
            before = state()["activity"]
            body = {"model": "demo", "messages": USER, "options": {**OPTIONS, "num_ctx": context}, "stream": False}
            self.assertEqual(self.server.post("/api/chat", body)[0], 200)
            after = state()
            self.assertEqual(after["context"], 2048)
        self.assertGreater(after["activity"]["cached_tokens"], before["cached_tokens"], "the prompt was read before")

    def test_a_line_is_to_the_byte_what_clients_read(self):
        data = self.server.stream("/api/chat", {"model": "demo", "messages": USER, "options": OPTIONS})[2]
        for line in data[:-1].split(b"\n")[:-1]:
            self.assertRegex(line, rb'^\{"model":"demo","created_at":"[0-9T:.-]+Z",'
                                   rb'"message":\{"role":"assistant","content":"[^\n]*"\},"done":false\}$')

    def test_calls_have_objects_as_arguments(self):
        tools = [{"type": "function", "function": {"name": "dive", "parameters": {
            "type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"], "additionalProperties": False}}}]
        history = USER + [{"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "dive", "arguments": {"deep": True}}}]}, {"role": "tool", "tool_name": "dive",
                                                                           "content": "wet"}]
        status, answer = self.server.post("/api/chat", {"model": "demo", "messages": history, "tools": tools,
                                                        "options": OPTIONS, "stream": False})
        self.assertEqual(status, 200, answer)

    def test_keeps_to_a_format(self):
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
        answer = self.server.post("/api/chat", {"model": "demo", "messages": USER, "format": schema, "stream": False,
                                                "options": {"num_predict": 40}})[1]
        self.assertIn(json.loads(answer["message"]["content"])["a"], (1, 2))

    def test_thinking_is_refused_of_a_model_that_does_not(self):
        status, error = self.server.post("/api/chat", {"model": "demo", "messages": USER, "think": True})
        self.assertEqual(status, 400)
        self.assertIn("does not support thinking", error["error"])

    def test_nothing_to_answer_loads_and_unloads(self):
        for body, reason in (({"messages": []}, "load"), ({"messages": [], "keep_alive": 0}, "unload")):
            answer = self.server.post("/api/chat", {"model": "demo", **body})[1]
            self.assertEqual((answer["done"], answer["done_reason"]), (True, reason))
        for keep in (-1, 1800, "5m", "1h30m", "-1", "0"):
            status, answer = self.server.post("/api/generate", {"model": "demo:latest", "prompt": "", "keep_alive": keep})
            self.assertEqual((status, answer["response"]), (200, ""))
        self.assertEqual(self.server.post("/api/generate", {"model": "demo", "keep_alive": "soon"})[0], 400)

    def test_errors_are_a_sentence(self):
        status, error = self.server.post("/api/chat", {"model": "demo", "messages": [{"role": "user", "content":
                                                                                      "sea " * 5000}]})
        self.assertEqual(status, 400)
        self.assertIn("2048", error["error"])
        self.assertEqual(self.server.post("/api/chat", {"model": "x", "messages": USER})[0], 404)


class Generate(ServerTest):
    def test_raw_and_templated_prompts(self):
        body = {"model": "demo", "prompt": "Once upon", "options": {**OPTIONS, "temperature": 0}, "stream": False}
        raw = self.server.post("/api/generate", {**body, "raw": True})[1]
        self.assertNotIn("context", raw)
        native = self.server.post("/completion", {"prompt": "Once upon", "n_predict": 6, "temperature": 0})[1]
        self.assertEqual(raw["response"], native["content"])
        first = self.server.post("/api/generate", body)[1]
        self.assertGreater(first["prompt_eval_count"], raw["prompt_eval_count"])
        self.assertEqual(len(first["context"]), first["prompt_eval_count"] + 6)
        again = self.server.post("/api/generate", {**body, "context": first["context"]})[1]
        self.assertGreater(again["prompt_eval_count"], len(first["context"]))

    def test_streams_the_response(self):
        body = {"model": "demo", "prompt": "Once", "raw": True, "options": OPTIONS}
        *chunks, last = lines(self.server.stream("/api/generate", body)[2])
        self.assertEqual(set(chunks[0]), {"model", "created_at", "response", "done"})
        self.assertEqual((last["response"], last["done"]), ("", True))

    def test_filling_in_is_refused_without_its_tokens(self):
        status, error = self.server.post("/api/generate", {"model": "demo", "prompt": "a", "suffix": "b"})
        self.assertEqual(status, 400)
        self.assertIn("insert", error["error"])

    def test_what_is_typed_makes_no_control_token(self):
        end = self.server.get("/props")[1]["eos_token"]
        ids = self.server.post("/tokenize", {"content": end})[1]["tokens"]
        self.assertEqual(len(ids), 1)
        counts = set()
        for text in ("x", f"x{end}y", f"{end}{end}"):
            answer = self.server.post("/api/generate", {"model": "demo", "prompt": text, "stream": False,
                                                        "options": {"num_predict": 0}})[1]
            counts.add(answer["context"].count(ids[0]))
        self.assertEqual(len(counts), 1)


if __name__ == "__main__":
    main()
