"""Models that reason and call tools, as far as the server is concerned: the demo model with other templates. It closes
no reasoning by itself, so that a budget does."""

import json
import tempfile

from server import Server, ServerTest, events, main, named_events

USER = [{"role": "user", "content": "Tell me of the sea."}]
TURNS = ("{% for message in messages %}<|im_start|>{{ message.role }}\n"
         "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
         "{{ message.content }}"
         "{% for call in message.tool_calls %}<tool_call>\n{\"name\": \"{{ call.function.name }}\", \"arguments\": "
         "{{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}")
TEMPLATE = ("{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}" + TURNS +
            "{% if add_generation_prompt %}<|im_start|>assistant\n"
            "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}")
SCHEMA = {"type": "object", "properties": {"name": {"enum": ["whale", "crab"]}}, "required": ["name"],
          "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
    "type": "object", "properties": {"place": {"enum": ["here", "there"]}}, "required": ["place"],
    "additionalProperties": False}}} for name in ("swim", "dive")]


class Reasoning(ServerTest):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(TEMPLATE)
            file.flush()
            cls.server = Server("-np", "2", "-c", "2048", "--chat-template-file", file.name)

    def chat(self, **fields):
        status, answer = self.server.post("/v1/chat/completions", {
            "messages": USER, "max_tokens": 30, "seed": 1, "reasoning_budget_tokens": 6, **fields})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]

    def test_reasoning_is_apart_from_the_answer(self):
        message = self.chat()
        self.assertTrue(message["reasoning_content"])
        self.assertTrue(message["content"])
        self.assertNotIn("think>", message["content"] + message["reasoning_content"])

    def test_a_stream_has_both_in_deltas_of_their_own(self):
        body = {"messages": USER, "max_tokens": 30, "seed": 1, "reasoning_budget_tokens": 6, "stream": True}
        deltas = [one["choices"][0]["delta"] for one in events(self.server.stream("/v1/chat/completions", body)[2])[:-1]]
        whole = self.chat()
        for name in ("reasoning_content", "content"):
            self.assertEqual("".join(one.get(name) or "" for one in deltas), whole[name])
        self.assertFalse(any("reasoning_content" in one and one.get("content") for one in deltas))

    def test_a_switch_turns_it_off_however_it_is_written(self):
        for fields in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"},
                       {"chat_template_kwargs": {"enable_thinking": "false"}}, {"reasoning_budget_tokens": 0}):
            message = self.chat(**fields)
            self.assertNotIn("reasoning_content", message, fields)
            self.assertTrue(message["content"])

    def test_a_budget_ends_it(self):
        short, long = self.chat(reasoning_budget_tokens=2), self.chat(reasoning_budget_tokens=12)
        self.assertLess(len(short["reasoning_content"]), len(long["reasoning_content"]))

    def test_the_text_as_it_is_on_request(self):
        message = self.chat(reasoning_format="none")
        self.assertNotIn("reasoning_content", message)
        self.assertIn("</think>", message["content"])

    def test_a_schema_holds_for_what_comes_after_it(self):
        for seed in range(5):
            message = self.chat(seed=seed, max_tokens=60, response_format={
                "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
            self.assertTrue(message["reasoning_content"])
            self.assertIn(json.loads(message["content"])["name"], ("whale", "crab"))

    def test_the_other_dialects_have_it_in_their_own_words(self):
        answer = self.server.post("/api/chat", {"model": "demo", "messages": USER, "stream": False,
                                                "options": {"num_predict": 30, "reasoning_budget_tokens": 6}})[1]
        self.assertTrue(answer["message"]["thinking"] and answer["message"]["content"])
        answer = self.server.post("/v1/messages", {"messages": USER, "max_tokens": 30,
                                                   "thinking": {"type": "enabled", "budget_tokens": 6}})[1]
        self.assertEqual([one["type"] for one in answer["content"]], ["thinking", "text"])
        body = {"messages": USER, "max_tokens": 30, "stream": True, "thinking": {"type": "enabled", "budget_tokens": 6}}
        kinds = [data["content_block"]["type"] for name, data in named_events(self.server.stream("/v1/messages", body)[2])
                 if name == "content_block_start"]
        self.assertEqual(kinds, ["thinking", "text"])
        answer = self.server.post("/v1/responses", {"input": "hi", "max_output_tokens": 30,
                                                    "reasoning_budget_tokens": 6})[1]
        self.assertEqual([one["type"] for one in answer["output"]], ["reasoning", "message"])

    def test_calls_can_be_several_in_one_answer(self):
        end = self.server.post("/tokenize", {"content": "<|im_end|>"})[1]["tokens"]
        eos = self.server.post("/tokenize", {"content": self.server.get("/props")[1]["eos_token"]})[1]["tokens"]
        bias = [[one, False] for one in set(end + eos)] if len(end) == 1 else [[one, False] for one in eos]
        body = {"messages": USER, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": True,
                "max_tokens": 120, "seed": 3, "logit_bias": bias,
                "chat_template_kwargs": {"enable_thinking": False}}
        choice = self.server.post("/v1/chat/completions", body)[1]["choices"][0]
        calls = choice["message"]["tool_calls"]
        self.assertGreaterEqual(len(calls), 2)
        self.assertEqual(len({one["id"] for one in calls}), len(calls))
        for one in calls:
            self.assertIn(one["function"]["name"], ("swim", "dive"))
            self.assertIn(json.loads(one["function"]["arguments"])["place"], ("here", "there"))
        chunks = events(self.server.stream("/v1/chat/completions", {**body, "stream": True})[2])
        deltas = [call for one in chunks[:-1] for call in one["choices"][0]["delta"].get("tool_calls", [])]
        self.assertEqual(sorted({one["index"] for one in deltas}), list(range(len(calls))))
        for index, call in enumerate(calls):
            parts = [one for one in deltas if one["index"] == index]
            self.assertEqual([one["function"].get("name") for one in parts], [call["function"]["name"]] +
                             [None] * (len(parts) - 1))
            self.assertEqual("".join(one["function"]["arguments"] for one in parts), call["function"]["arguments"])


if __name__ == "__main__":
    main()
