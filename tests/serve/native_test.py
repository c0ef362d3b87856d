"""llama.cpp's own API on the demo model, and what holds for all paths."""

import json
import random
import socket
import unittest

from server import Server, ServerTest, events, main, until


class Completion(ServerTest):
    def complete(self, **fields):
        return self.server.post("/completion", {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0, **fields})

    def test_tells_everything_of_an_answer(self):
        status, answer = self.complete()
        self.assertEqual(status, 200)
        self.assertTrue(answer["stop"])
        self.assertEqual(answer["stop_type"], "limit")
        self.assertEqual(answer["tokens_predicted"], 4)
        self.assertEqual(answer["prompt"], "Once upon a time")
        self.assertEqual(answer["generation_settings"]["temperature"], 0)

    def test_streams_without_a_last_done(self):
        whole = self.complete()[1]["content"]
        body = {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0, "stream": True}
        status, kind, data = self.server.stream("/completion", body)
        self.assertEqual((status, kind), (200, "text/event-stream"))
        self.assertNotIn(b"[DONE]", data)
        *pieces, last = events(data)
        self.assertTrue(last["stop"] and not any(one["stop"] for one in pieces))
        self.assertEqual(last["content"], "")
        self.assertEqual("".join(one["content"] for one in pieces), whole)

    def test_only_reads_the_prompt_where_nothing_is_to_be_predicted(self):
        answer = self.complete(n_predict=0, prompt="The captain of the little boat")[1]
        self.assertEqual((answer["content"], answer["tokens_predicted"]), ("", 0))
        again = self.complete(n_predict=1, prompt="The captain of the little boat")[1]
        self.assertGreater(again["timings"]["cache_n"], 0)

    def test_gives_the_fields_asked_for_under_their_paths(self):
        answer = self.complete(response_fields=["content", "timings/predicted_n", "nothing"])[1]
        self.assertEqual(set(answer), {"content", "timings/predicted_n"})
        self.assertEqual(self.complete(response_fields=[""], samplers=[])[1], {})

    def test_takes_ids_texts_and_mixtures_as_prompts(self):
        ids = self.server.post("/tokenize", {"content": "Once upon a time", "add_special": True})[1]["tokens"]
        self.assertEqual(self.complete(prompt=ids)[1]["content"], self.complete()[1]["content"])
        several = self.complete(prompt=["Once", [ids[0], " upon"], {"prompt_string": "The"}])[1]
        self.assertEqual([one["index"] for one in several], [0, 1, 2])
        self.assertEqual(self.complete(prompt=[10**9])[0], 400)

    def test_tells_probabilities_and_tokens(self):
        answer = self.complete(n_probs=3, return_tokens=True)[1]
        self.assertEqual(len(answer["tokens"]), 4)
        self.assertEqual(len(answer["completion_probabilities"]), 4)
        first = answer["completion_probabilities"][0]
        self.assertEqual(first["id"], answer["tokens"][0])
        self.assertEqual(first["top_logprobs"][0]["id"], first["id"])

    def test_tells_probabilities_as_the_samplers_leave_them(self):
        answer = self.complete(n_probs=3, post_sampling_probs=True, temperature=1, top_k=2)[1]
        for one in answer["completion_probabilities"]:
            self.assertAlmostEqual(sum(other["prob"] for other in one["top_probs"]), 1, places=4)
            self.assertLessEqual(len(one["top_probs"]), 2)
            self.assertIn(one["prob"], [other["prob"] for other in one["top_probs"]])

    def test_tells_how_far_the_prompt_is(self):
        body = {"prompt": "sea " * 300, "n_predict": 1, "stream": True, "return_progress": True, "cache_prompt": False}
        progress = [one["prompt_progress"] for one in events(self.server.stream("/completion", body)[2])
                    if "prompt_progress" in one]
        self.assertEqual(progress[-1]["processed"], progress[-1]["total"])

    def test_takes_every_clients_names_for_the_samplers(self):
        fields = {"rep_pen": 1.1, "rep_pen_range": -1, "top_a": 0, "tfs": 1, "typical": 1, "nsigma": 0, "top_k": 0,
                  "dry_multiplier": 0.8, "dry_sequence_breakers": "[\"\\n\"]", "xtc_probability": 0.5, "mirostat_mode": 0,
                  "logit_bias": [[5, False], ["the", 1.5]], "sampler_order": [6, 0, 1, 3, 4, 2, 5], "min_tokens": 0,
                  "dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 1.5, "custom_token_bans": "1, 2",
                  "repeat_last_n": -1, "dry_penalty_last_n": -1, "smoothing_factor": 0, "seed": -1, "n_keep": 1.0}
        self.assertEqual(self.complete(**fields)[0], 200)
        status, error = self.complete(dry_sequence_breakers=5, dry_multiplier=1)
        self.assertEqual(status, 400)
        self.assertIn("dry_sequence_breakers", error["error"]["message"])

    def test_takes_banned_phrases_back(self):
        whole = self.complete(n_predict=30)[1]["content"]
        phrase = whole.split()[2]
        for given in ([phrase.upper()], f"{phrase}\nnothing"):
            for stream in (False, True):
                body = {"prompt": "Once upon a time", "n_predict": 30, "temperature": 0, "stream": stream,
                        "banned_strings": given}
                if stream:
                    text = "".join(one["content"] for one in events(self.server.stream("/completion", body)[2]))
                else:
                    text = self.server.post("/completion", body)[1]["content"]
                self.assertNotIn(phrase.lower(), text.lower())
                self.assertGreater(len(text), 30)
        self.assertEqual(self.complete(banned_strings=[5])[0], 400)
        self.assertEqual(self.complete(banned_strings=["x" * 2000])[0], 400)

    def test_characters_that_several_tokens_make_come_whole(self):
        text = "🐳 and 海"
        ids = self.server.post("/tokenize", {"content": text})[1]["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"tokens": ids})[1]["content"], text)
        bias = [[one, 50] for one in set(ids)]
        body = {"prompt": text, "n_predict": 40, "stream": True, "logit_bias": bias, "temperature": 2, "seed": 5}
        data = self.server.stream("/completion", body)[2]
        whole = "".join(one["content"] for one in events(data))
        self.assertEqual(whole, self.server.post("/completion", {**body, "stream": False})[1]["content"])

    def test_half_surrogates_and_zero_bytes_are_text(self):
        for raw in (b'{"content":"a\\ud83db"}', b'{"content":"\\udc00"}', b'{"content":"a\\u0000b"}'):
            status, _, body = self.server.request("POST", "/tokenize", raw)
            self.assertEqual(status, 200, raw)
        whole = json.loads(self.server.request("POST", "/tokenize", b'{"content":"\\ud83d\\udc33"}')[2])["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"tokens": whole})[1]["content"], "🐳")

    def test_filling_in_is_refused_without_its_tokens(self):
        self.assertEqual(self.server.post("/infill", {"input_prefix": "a", "input_suffix": "b"})[0], 501)


class Probes(ServerTest):
    def test_health_props_slots_and_metrics(self):
        self.assertEqual(self.server.get("/health")[1]["status"], "ok")
        props = self.server.get("/props")[1]
        self.assertIsInstance(props["chat_template"], str)
        self.assertEqual(props["default_generation_settings"]["n_ctx"], 2048)
        self.assertEqual(props["total_slots"], 4)
        self.assertEqual([one["is_processing"] for one in self.server.get("/slots")[1]], [False] * 4)
        status, head, body = self.server.request("GET", "/metrics")
        self.assertTrue(head["content-type"].startswith("text/plain"))
        values = {}
        for line in body.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        self.assertIn("llamacpp:prompt_tokens_total", values)
        self.assertGreater(values["loadline_held_bytes"], 0)
        self.assertTrue(any(name.startswith("loadline_watch_") for name in values))
        self.assertGreater(values['loadline_tier_held_bytes{tier="RAM"}'], 0)
        self.assertIn("loadline_streamed_bytes_total", values)

    def metrics(self):
        lines = self.server.request("GET", "/metrics")[2].decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def test_metrics_tell_how_many_slots_a_pass_had(self):
        def members(values):
            return round(values["llamacpp:n_busy_slots_per_decode"] * values["llamacpp:n_decode_total"])
        before = self.metrics()
        fields = {"n_predict": 100, "ignore_eos": True, "cache_prompt": False}
        self.server.post("/completion", {"prompt": [5] * 3, **fields})
        alone = self.metrics()
        passes = alone["llamacpp:n_decode_total"] - before["llamacpp:n_decode_total"]
        self.assertEqual((passes, members(alone) - members(before)), (100, 100))
        self.server.post("/completion", {"prompt": [[5] * 3, [6] * 3, [7] * 3], **fields})
        after = self.metrics()
        self.assertEqual(members(after) - members(alone), 300)
        self.assertLess(after["llamacpp:n_decode_total"] - alone["llamacpp:n_decode_total"], 300)

    def test_metrics_count_what_was_done(self):
        self.server.post("/completion", {"prompt": [5] * 50, "n_predict": 10, "ignore_eos": True, "cache_prompt": False})
        now = self.metrics()
        self.assertGreaterEqual(now["llamacpp:n_tokens_max"], 60)
        self.assertGreater(now["llamacpp:prompt_tokens_seconds"], 0)

    def test_unknown_paths_and_wrong_methods(self):
        self.assertEqual(self.server.get("/nothing")[0], 404)
        self.assertEqual(self.server.get("/completion")[0], 405)
        self.assertEqual(self.server.request("POST", "/props", b"{}")[0], 405)

    def test_head_gives_the_head_alone(self):
        status, head, body = self.server.request("HEAD", "/health")
        self.assertEqual((status, body), (200, b""))
        self.assertGreaterEqual(int(head["content-length"]), 15)

    def test_browsers_of_any_origin_may_ask(self):
        status, head, body = self.server.request("OPTIONS", "/v1/chat/completions", None, {
            "Origin": "http://x.example", "Access-Control-Request-Headers": "x-odd", "Access-Control-Request-Private-Network":
            "true"})
        self.assertIn(status, (200, 204))
        self.assertEqual(body, b"")
        self.assertEqual(head["access-control-allow-origin"], "*")
        self.assertIn("Authorization", head["access-control-allow-headers"])
        self.assertIn("x-odd", head["access-control-allow-headers"])
        self.assertIn("DELETE", head["access-control-allow-methods"])
        self.assertEqual(head["access-control-allow-private-network"], "true")
        status, head, _ = self.server.request("POST", "/completion", b"{", {"Origin": "http://x.example"})
        self.assertEqual((status, head["access-control-allow-origin"]), (400, "*"))

    def test_other_sites_names_are_no_names_of_this_server(self):
        self.assertEqual(self.server.get("/health", {"Host": "evil.example"})[0], 403)
        for host in ("localhost:1", "127.0.0.1", "[::1]:8080", "me.local", "LOCALHOST", socket.gethostname()):
            self.assertEqual(self.server.get("/health", {"Host": host})[0], 200)


# An answer that lasts as long as the test wants it to: so many tokens take seconds, and are never waited for.
ENDLESS = {"prompt": "Once", "n_predict": 1000000, "ignore_eos": True, "stream": True}
ROOM_FOR_ENDLESS = ("-c", "32768")


class Http(ServerTest):
    arguments = ("-np", "2", *ROOM_FOR_ENDLESS, "--max-body", "64KiB", "--log-json")

    def setUp(self):
        self.before = len(self.server.logged("/completion"))

    def ended(self):
        """Of the answers that have ended since: whether their clients got all of them."""
        return [one["whole"] for one in self.server.logged("/completion")[self.before:]]

    def test_chunked_bodies_and_expectations(self):
        answer = self.server.raw(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                                 b"Connection: close\r\n\r\n5\r\n{\"con\r\n9\r\ntent\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n")
        self.assertIn(b"200 OK", answer)
        answer = self.server.raw(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                                 b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        self.assertTrue(answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), answer)

    def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order(self):
        one = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{\"content\":\"a\"}"
        last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = self.server.raw(one * 3 + last)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 4)
        self.assertIn(b'{"status":"ok"', answer.rsplit(b"\r\n\r\n", 1)[1])

    def test_bodies_and_heads_that_are_too_large_are_refused(self):
        status, error = self.server.post("/tokenize", {"content": "a" * 70000})
        self.assertEqual(status, 413)
        self.assertIn("larger", error["error"]["message"])
        answer = self.server.raw(b"GET /health HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n")
        self.assertIn(b" 431 ", answer.split(b"\r\n")[0])

    def test_what_is_refused_before_it_is_read_is_told_in_each_dialects_form(self):
        forms = {"/v1/chat/completions": lambda told: told["error"]["message"], "/api/chat": lambda told: told["error"],
                 "/api/v1/generate": lambda told: told["detail"]["msg"],
                 "/v1/messages": lambda told: told["error"]["message"] if told["type"] == "error" else None}
        for path, sentence in forms.items():
            status, head, body = self.server.request("POST", path, b"x" * 70000, {"Origin": "http://x.example"})
            self.assertEqual((status, head["access-control-allow-origin"]), (413, "*"))
            self.assertIn("larger", sentence(json.loads(body)), path)
        self.assertEqual(self.server.logged("/api/chat")[-1]["status"], 413)

    def test_a_body_that_there_is_no_room_for_may_come_again(self):
        waiting = [self.server.connect() for _ in range(2)]
        for one in waiting:
            one.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\nExpect: 100-continue\r\n\r\n")
            self.assertIn(b"100 Continue", one.recv(4096))
        status, head, _ = self.server.request("POST", "/tokenize", b" " * 65000)
        self.assertEqual((status, head["retry-after"]), (503, "1"))
        for one in waiting:
            one.close()

    def test_a_header_of_too_many_fields_is_refused(self):
        for count, status in ((90, b" 200 "), (101, b" 431 ")):
            answer = self.server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
                                     b"a:b\r\n" * count + b"\r\n")
            self.assertIn(status, answer.split(b"\r\n")[0])

    def test_what_could_be_two_requests_is_none(self):
        for head in (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Content-Length: 2\r\nContent-Length: 3",
                     b"Content-Length: -1", b"Transfer-Encoding: gzip"):
            answer = self.server.raw(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n{}")
            self.assertIn(b" 400 ", answer.split(b"\r\n")[0], head)

    def test_what_is_no_http_or_no_json_is_refused(self):
        self.assertIn(b" 400 ", self.server.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"))
        for body in (b"{", b"[]", b"5", b"\xff", b'{"a":' * 2000):
            self.assertEqual(self.server.request("POST", "/completion", body)[0], 400, body[:10])

    def test_a_client_that_leaves_frees_its_place(self):
        connection, first = self.server.begin("/completion", ENDLESS)
        self.assertIn(b"200 OK", first)
        connection.close()
        self.server.wait_until_idle()
        self.assertEqual(self.ended(), [False])

    def test_a_client_that_does_not_read_is_dropped_and_others_go_on(self):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", self.server.port))
            # A token is written with so many others that the answer takes more than any socket's buffer holds.
            data = json.dumps({**ENDLESS, "n_probs": 300}).encode()
            slow.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
            received = slow.recv(16)  # it is being answered
            self.assertEqual(self.server.post("/completion", {"prompt": "Twice", "n_predict": 8, "ignore_eos": True})[1]["tokens_predicted"], 8)
            self.server.wait_until_idle()
            self.assertEqual(sorted(self.ended()), [False, True])
            try:
                while piece := slow.recv(1 << 20):
                    received += piece
            except ConnectionResetError:
                pass
        self.assertNotIn(b'"stop":true', received)

    def test_no_bytes_at_the_port_harm_it(self):
        numbers = random.Random(1)
        good = b'POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 31\r\n\r\n{"prompt":"Once","n_predict":1}'
        sent = 0
        while sent < 1_000_000:
            data = bytearray(numbers.randbytes(numbers.randrange(1, 20000)))
            if numbers.randrange(2):  # a request with some bytes changed
                data = bytearray(good * numbers.randrange(1, 4))
                for _ in range(numbers.randrange(1, 6)):
                    data[numbers.randrange(len(data))] = numbers.randrange(256)
                data += b" " * numbers.randrange(4000)
            sent += len(data)
            with self.server.connect() as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
        self.assertEqual(self.server.post("/completion", {"prompt": "Once", "n_predict": 1})[0], 200)
        self.assertIsNone(self.server.get("/api/loadline/state")[1]["trouble"])

    def test_a_client_that_leaves_while_its_prompt_is_read_frees_its_place_and_cells(self):
        with Server("-np", "2", *ROOM_FOR_ENDLESS, "-b", "32", "--log-json") as server:
            connection, first = server.begin("/completion", {**ENDLESS, "prompt": "sea " * 7000, "return_progress": True})
            self.assertIn(b"200 OK", first)  # with the first part of the prompt
            connection.close()
            server.wait_until_idle()
            server.wait_for_state(lambda state: state["cache"]["held_pages"] == 0)
            self.assertFalse(server.logged("/completion")[-1]["whole"])

    def test_a_short_question_does_not_wait_for_the_long_pass_of_a_lone_prompt(self):
        with Server("-np", "2", *ROOM_FOR_ENDLESS, "-b", "16384", "--max-pass-ms", "5") as server:
            data = json.dumps({"prompt": "sea " * 7000, "n_predict": 1}).encode()
            connection = server.connect()
            connection.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" %
                               (len(data), data))
            server.wait_until(lambda slots: any(one["is_processing"] for one in slots))
            self.assertEqual(server.post("/completion", {"prompt": "Once", "n_predict": 1})[0], 200)
            # The long one is being read still: it would be answered had its pass gone first.
            connection.setblocking(False)
            with self.assertRaises(BlockingIOError):
                connection.recv(1)
            connection.close()

    def test_a_client_that_leaves_while_it_waits_frees_its_place(self):
        running = [self.server.begin("/completion", ENDLESS)[0] for _ in range(2)]
        data = json.dumps(ENDLESS).encode()
        waiting = self.server.connect()
        waiting.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
        waiting.close()
        for one in running:
            one.close()
        self.assertEqual(until(self.ended, lambda ended: len(ended) == 3), [False] * 3)
        self.server.wait_until_idle()


class Large(ServerTest):
    arguments = ("-np", "2", "-c", "512", "--max-body", "24MiB")

    def test_a_request_that_takes_more_than_is_planned_is_refused(self):
        plan = self.server.get("/api/loadline/plan")[1]
        self.assertTrue(any(one["name"] == "requests" for one in plan["regions"]), plan["regions"][-1])
        status, error = self.server.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": "sea " * (17 << 18)}], "max_tokens": 1})
        self.assertEqual((status, error["error"]["type"]), (413, "request_too_large"))
        self.assertEqual(self.server.post("/completion", {"prompt": "x", "n_predict": 1})[0], 200)

    def test_a_text_of_which_no_context_could_be_made_is_not_read(self):
        for path, body in (("/completion", {"prompt": "a" * 600000}), ("/tokenize", {"content": "a" * 600000}),
                           ("/apply-template", {"messages": [{"role": "user", "content": "a" * 600000}]}),
                           ("/v1/embeddings", {"input": ["a", "a" * 600000]}), ("/api/embed", {"input": "a" * 600000}),
                           ("/api/generate", {"model": "demo", "prompt": "a" * 600000, "raw": True}),
                           ("/api/v1/generate", {"prompt": "a" * 600000})):
            self.assertEqual(self.server.post(path, body)[0], 413, path)
        self.assertEqual(self.server.post("/detokenize", {"tokens": [5] * 200000})[0], 413)
        self.assertEqual(self.server.post("/tokenize", {"content": " ab" * 150000})[0], 200)
        status, error = self.server.post("/completion", {"prompt": [[5] * 600, [5]]})
        self.assertEqual((status, error["error"]["n_prompt_tokens"]), (400, 600))


class Passes(unittest.TestCase):
    def parts(self, *arguments):
        """In how many parts a prompt is read beside an answer."""
        with Server("-np", "2", *ROOM_FOR_ENDLESS, *arguments) as server:
            connection, _ = server.begin("/completion", ENDLESS)
            with connection:
                body = {"prompt": [5] * 3000, "n_predict": 1, "stream": True, "return_progress": True}
                return sum("prompt_progress" in one for one in events(server.stream("/completion", body)[2]))

    def test_a_shared_pass_is_as_short_as_is_asked_for(self):
        self.assertGreater(self.parts("--max-pass-ms", "1"), 2 * self.parts())


class Fair(ServerTest):
    arguments = ("-np", "1", *ROOM_FOR_ENDLESS, "--max-queue", "20")

    def wait_for_prompt_of(self, words):
        self.server.wait_until(lambda slots: slots[0].get("n_prompt_tokens") == words)

    def test_keys_take_turns_however_many_requests_one_has(self):
        connections = []
        for number, key in enumerate("xaaab"):  # each with a prompt of its own length
            body = json.dumps({**ENDLESS, "prompt": [7] * (10 + number)}).encode()
            connections.append(self.server.connect())
            connections[-1].sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: %s\r\n"
                                    b"Content-Length: %d\r\n\r\n%s" % (key.encode(), len(body), body))
            self.server.wait_for_state(lambda state, number=number: state["waiting"] == number and
                                       state["places"][0]["state"] != "idle")
        for number in (0, 1, 4, 2, 3):  # x, a, b, a, a
            self.wait_for_prompt_of(10 + number)
            connections[number].close()


class Keys(ServerTest):
    arguments = ("--api-key", "sesame,second", "-c", "512")

    def test_every_way_to_give_a_key(self):
        for head in ({"Authorization": "Bearer sesame"}, {"Authorization": "sesame"}, {"X-Api-Key": "second"},
                     {"api-key": "sesame"}):
            self.assertEqual(self.server.get("/props", head)[0], 200, head)
        for head in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sesam"}, {"X-Api-Key": "sesamesesame"}):
            status, error = self.server.get("/props", head)
            self.assertEqual(status, 401, head)
            self.assertEqual(error["error"]["type"], "authentication_error")
        for path in ("/health", "/v1/health", "/v1/models"):
            self.assertEqual(self.server.get(path)[0], 200, path)
        _, head, _ = self.server.request("GET", "/props", None, {"Origin": "http://x.example"})
        self.assertEqual(head["access-control-allow-origin"], "*")


class Queue(ServerTest):
    arguments = ("-np", "1", *ROOM_FOR_ENDLESS, "--max-queue", "0")

    def test_a_full_queue_is_said_at_once(self):
        connection, _ = self.server.begin("/completion", ENDLESS)
        status, head, _ = self.server.request("POST", "/completion", {"prompt": "Twice", "n_predict": 1})
        self.assertEqual((status, head["retry-after"]), (503, "1"))
        connection.close()

    def test_no_key_means_any_key(self):
        for head in ({"Authorization": "Bearer "}, {"Authorization": "Bearer x"}, {}):
            self.assertEqual(self.server.get("/props", head)[0], 200)


class Ending(ServerTest):
    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def test_ends_in_order_while_it_answers(self):
        server = Server("-c", "256")
        self.addCleanup(server.close)
        connection, received = server.begin("/completion", {"prompt": "Once", "n_predict": 40, "ignore_eos": True, "stream": True})
        server.terminate()
        while piece := connection.recv(65536):
            received += piece
        connection.close()
        self.assertIn(b'"stop":true', received)
        self.assertEqual(server.close()[0], 0)

    def test_a_port_in_use_is_an_error(self):
        server = Server("-c", "256")
        self.addCleanup(server.close)
        with self.assertRaises(RuntimeError) as raised:
            Server("-c", "256", "--port", str(server.port))
        self.assertIn("cannot be listened at", str(raised.exception))


if __name__ == "__main__":
    main()
