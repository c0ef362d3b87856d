"""KoboldCpp's API on the demo model, to the byte where its clients look at bytes."""

import json
import re

from server import ServerTest, main, until

BODY = {"prompt": "Once upon a time", "max_length": 6, "sampler_seed": 1}


class Probes(ServerTest):
    def test_what_lite_and_sillytavern_ask_first(self):
        get = lambda path: self.server.get(path)[1]
        self.assertEqual(get("/api/v1/model"), {"result": "koboldcpp/demo"})
        self.assertEqual(get("/api/v1/info/version"), {"result": "1.2.5"})
        self.assertEqual(get("/api/latest/info/version"), {"result": "1.2.5"})
        version = get("/api/extra/version")
        self.assertEqual(version["result"], "KoboldCpp")
        self.assertGreaterEqual([int(part) for part in version["version"].split(".")], [1, 110])
        self.assertFalse(version["protected"])
        self.assertEqual(get("/api/v1/config/max_context_length"), {"value": 2048})
        self.assertEqual(get("/api/extra/true_max_context_length"), {"value": 2048})
        self.assertEqual(get("/api/extra/preloadstory"), {})
        self.assertEqual(get("/sdapi/v1/sd-models"), [])
        self.assertEqual(get("/api/api/v1/model"), {"result": "koboldcpp/demo"})

    def test_counts_tokens(self):
        counted = self.server.post("/api/extra/tokencount", {"prompt": "Once upon a time"})[1]
        self.assertEqual(counted["value"], len(counted["ids"]))
        text = self.server.post("/api/extra/detokenize", {"ids": counted["ids"]})[1]
        self.assertTrue(text["success"])
        self.assertIn("Once upon a time", text["result"])


class Generate(ServerTest):
    def test_answers_whole(self):
        status, answer = self.server.post("/api/v1/generate", BODY)
        self.assertEqual(status, 200)
        result = answer["results"][0]
        self.assertEqual((result["finish_reason"], result["completion_tokens"]), ("length", 6))
        self.assertEqual(self.server.post("/api/latest/generate", BODY)[1]["results"][0]["text"], result["text"])

    def test_streams_to_the_byte(self):
        status, kind, data = self.server.stream("/api/extra/generate/stream", BODY)
        self.assertEqual((status, kind), (200, "text/event-stream"))
        self.assertTrue(data.endswith(b'event: message\ndata: {"token":"","finish_reason":"length"}\n\n'), data)
        event = rb'event: message\ndata: \{"token":"[^\n]*","finish_reason":(null|"length")\}\n\n'
        self.assertTrue(re.fullmatch(b"(" + event + b")+", data), data)
        tokens = [json.loads(one[6:])["token"] for one in data.decode().split("\n") if one.startswith("data: ")]
        self.assertEqual("".join(tokens), self.server.post("/api/v1/generate", BODY)[1]["results"][0]["text"])

    def test_shows_the_stop_string_only_where_it_is_not_to_be_cut(self):
        body = {**BODY, "max_length": 24, "temperature": 0}
        text = self.server.post("/api/v1/generate", body)[1]["results"][0]["text"]
        stop = text[8:12]
        cut = self.server.post("/api/v1/generate", {**body, "stop_sequence": [stop]})[1]["results"][0]
        self.assertEqual((cut["text"], cut["finish_reason"]), (text[: text.index(stop)], "stop"))
        kept = self.server.post("/api/v1/generate", {**body, "stop_sequence": [stop], "trim_stop": False})[1]["results"][0]
        self.assertEqual(kept["text"], text[: text.index(stop)] + stop)

    def test_keeps_the_memory_and_cuts_the_prompt(self):
        long = {**BODY, "memory": "The sea. ", "prompt": "wave " * 3000, "max_context_length": 256}
        status, answer = self.server.post("/api/v1/generate", long)
        self.assertEqual(status, 200)
        self.assertLessEqual(answer["results"][0]["prompt_tokens"], 250)

    def test_takes_a_grammar(self):
        answer = self.server.post("/api/v1/generate", {**BODY, "grammar": 'root ::= "aye"'})[1]
        self.assertEqual(answer["results"][0]["text"], "aye")

    def test_a_schema_becomes_a_grammar(self):
        schema = {"type": "array", "items": {"const": 7}, "minItems": 2, "maxItems": 2}
        made = self.server.post("/api/extra/json_to_grammar", {"schema": schema})[1]
        self.assertTrue(made["success"])
        answer = self.server.post("/api/v1/generate", {**BODY, "grammar": made["result"], "max_length": 40})[1]
        self.assertEqual(json.loads(answer["results"][0]["text"]), [7, 7])
        self.assertEqual(self.server.post("/api/extra/json_to_grammar", {"schema": {"type": "nothing"}})[0], 400)

    def test_tells_figures_of_the_last_answer(self):
        self.server.post("/api/v1/generate", BODY)
        perf = self.server.get("/api/extra/perf")[1]
        self.assertEqual((perf["last_token_count"], perf["stop_reason"], perf["idle"]), (6, 0, 1))
        self.assertEqual(perf["last_seed"], 1)

    def test_errors_are_details(self):
        status, error = self.server.post("/api/v1/generate", {**BODY, "temperature": "hot"})
        self.assertEqual(status, 400)
        self.assertIn("temperature", error["detail"]["msg"])


class Abort(ServerTest):
    arguments = ("-c", "32768")  # so many tokens take seconds, and are never waited for

    def test_an_answer_is_watched_and_aborted_by_its_key(self):
        body = {**BODY, "max_length": 100000, "ban_eos_token": True, "genkey": "KCPP1"}
        connection, first = self.server.begin("/api/extra/generate/stream", body)
        self.assertIn(b"event: message", first + connection.recv(65536))
        self.assertEqual(self.server.post("/api/extra/abort", {"genkey": "other"})[1], {"success": "false", "done": "false"})
        text = ""
        while not text:
            text = self.server.post("/api/extra/generate/check", {"genkey": "KCPP1"})[1]["results"][0]["text"]
        self.assertEqual(self.server.post("/api/extra/abort", {"genkey": "KCPP1"})[1], {"success": "true", "done": "true"})
        received = b""
        while piece := connection.recv(65536):
            received += piece
            if received.endswith(b"0\r\n\r\n"):
                break
        self.assertIn(b'"finish_reason":"stop"', received)
        connection.close()

    def test_without_a_key_the_newest_is_aborted(self):
        connection, _ = self.server.begin("/api/extra/generate/stream", {**BODY, "max_length": 100000,
                                                                        "use_default_badwordsids": True})
        self.assertEqual(self.server.request("POST", "/api/extra/abort")[2], b'{"success":"true","done":"true"}')
        self.server.wait_until_idle()
        connection.close()


class Protected(ServerTest):
    arguments = ("--api-key", "sesame,second", "-c", "32768")

    def test_probes_are_open_and_generation_is_not(self):
        self.assertEqual(self.server.get("/api/v1/model")[0], 200)
        self.assertTrue(self.server.get("/api/extra/version")[1]["protected"])
        status, error = self.server.post("/api/v1/generate", BODY)
        self.assertEqual((status, error["detail"]["error"]), (401, "Unauthorized"))
        self.assertEqual(self.server.post("/api/v1/generate", BODY, {"Authorization": "Bearer sesame"})[0], 200)

    def test_what_is_being_answered_is_told_to_who_asked_alone(self):
        check, abort = "/api/extra/generate/check", "/api/extra/abort"
        self.assertEqual(self.server.get(check)[0], 401)
        first, second = ({"Authorization": f"Bearer {key}"} for key in ("sesame", "second"))
        body = json.dumps({**BODY, "max_length": 100000, "ban_eos_token": True, "genkey": "KCPP1"}).encode()
        with self.server.connect() as connection:
            connection.sendall(b"POST /api/extra/generate/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                               b"Authorization: Bearer sesame\r\n\r\n%s" % (len(body), body))
            self.assertIn(b"200 OK", connection.recv(65536))

            def text(head, body=None):
                answer = self.server.post(check, body, head) if body else self.server.get(check, head)
                return answer[1]["results"][0]["text"]
            until(lambda: text(first), bool)
            for given in (None, {"genkey": "KCPP1"}):
                self.assertEqual(text(second, given), "")
                self.assertEqual(self.server.post(abort, given or {}, second)[1]["success"], "false")
            self.assertEqual(self.server.post(abort, {}, first)[1]["success"], "true")

    def test_probabilities_are_told_to_who_asked_alone(self):
        path = "/api/extra/last_logprobs"
        first, second = ({"Authorization": f"Bearer {key}"} for key in ("sesame", "second"))
        self.assertEqual(self.server.post("/api/v1/generate", {**BODY, "logprobs": True}, first)[0], 200)
        self.assertEqual(len(self.server.post(path, {}, first)[1]["logprobs"]["content"]), 6)
        self.assertIsNone(self.server.post(path, {}, second)[1]["logprobs"])


if __name__ == "__main__":
    main()
