"""What the cache keeps of texts, as /api/loadline tells it: which, how they were used, pinning, what went and why."""

import unittest

from server import Server, main

WHALE = "The captain of the little boat saw a whale and a crab on the beach in the morning. " * 6


def other(i):
    return f"In house number {i} there lived a man who had {i} cats, and every one of them liked {i} fishes. " * 8


class Cache(unittest.TestCase):
    def start(self, *arguments):
        server = Server("-np", "2", *arguments)
        self.addCleanup(server.close)
        return server

    def complete(self, server, prompt=WHALE):
        status, answer = server.post("/completion", {"prompt": prompt, "n_predict": 2, "temperature": 0})
        self.assertEqual(status, 200, answer)
        return answer["timings"]["cache_n"]

    def cache(self, server):
        status, cache = server.get("/api/loadline/cache")
        self.assertEqual(status, 200, cache)
        return cache

    def pin(self, server, text, pinned=True):
        return server.post("/api/loadline/pin", {"id": text["id"], "pinned": pinned})

    def test_a_text_is_told_with_its_bytes_and_hits(self):
        server = self.start("-c", "2048")
        self.complete(server)
        (text,) = self.cache(server)["texts"]
        self.assertIn("captain", text["beginning"])
        self.assertGreater(text["tokens"], 60)
        self.assertGreater(text["bytes"], text["tokens"])
        self.assertEqual((text["hits"], text["saved_tokens"], text["pinned_tokens"]), (0, 0, 0))
        self.assertFalse(text["in_use"])
        self.complete(server)
        again = self.cache(server)["texts"][0]
        self.assertEqual(again["hits"], 1)
        self.assertGreater(again["saved_tokens"], 60)

    def test_a_pinned_text_stays_while_others_go(self):
        server = self.start("-c", "1024")
        self.complete(server)
        text = self.cache(server)["texts"][0]
        status, pinned = self.pin(server, text)
        self.assertEqual((status, pinned["pinned_tokens"]), (200, text["tokens"]), pinned)
        for i in range(8):
            self.complete(server, other(i))
        cache = self.cache(server)
        self.assertGreater(len(cache["gone"]), 0)
        self.assertIn("cells", cache["gone"][0]["why"])
        self.assertIn("house", cache["gone"][0]["beginning"] + cache["gone"][-1]["beginning"])
        self.assertGreater(self.complete(server), 60)
        state = server.get("/api/loadline/state")[1]
        self.assertGreater(state["cache"]["pinned_pages"], 1)
        text = next(one for one in self.cache(server)["texts"] if "captain" in one["beginning"] and one["pinned_tokens"])
        self.assertEqual(self.pin(server, text, False)[0], 200)
        for i in range(8):
            self.complete(server, other(i + 10))
        self.assertLess(self.complete(server), 30)

    def test_what_cannot_be_pinned_is_refused_by_name(self):
        server = self.start("-c", "512")
        self.complete(server)
        text = self.cache(server)["texts"][0]
        self.assertEqual(server.post("/api/loadline/pin", {"id": "7"})[0], 400)
        self.assertEqual(server.post("/api/loadline/pin", {})[0], 400)
        status, error = server.post("/api/loadline/pin", {"id": "0-12345"})
        self.assertEqual(status, 400)
        self.assertIn("any more", error["error"]["message"])
        status, error = server.post("/api/loadline/pin", {"id": text["id"]}, headers={"Origin": "http://elsewhere"})
        self.assertEqual(status, 403)

    def test_a_prompt_that_pins_leave_no_room_for_fails_and_says_so(self):
        server = self.start("-c", "512")
        self.complete(server)
        text = self.cache(server)["texts"][0]
        self.assertEqual(self.pin(server, text)[0], 200)
        long = "".join(other(i) for i in range(9))
        tokens = server.post("/tokenize", {"content": long})[1]["tokens"]
        self.assertGreater(len(tokens), 480)
        status, error = server.post("/completion", {"prompt": tokens[:480], "n_predict": 2})
        self.assertNotEqual(status, 200)
        self.assertIn("pinned", error["error"]["message"])
        self.assertGreater(self.complete(server), 60)  # and everything else goes on

    def test_what_a_text_would_find_in_the_cache_is_told_while_it_is_written(self):
        server = self.start("-c", "2048")
        messages = [{"role": "user", "content": WHALE}]
        status, told = server.post("/api/loadline/prompt", {"messages": messages})
        self.assertEqual((status, told["cached"]), (200, 0), told)
        self.assertEqual(told["left"], told["context"] - told["tokens"])
        self.assertGreater(told["seconds"], 0)
        server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 2})
        messages[0]["content"] += "And then?"
        status, told = server.post("/api/loadline/prompt", {"messages": messages, "pieces": True})
        self.assertGreater(told["cached"], 60)
        self.assertEqual(len(told["pieces"]), told["tokens"])
        status, text = server.post("/api/loadline/prompt", {"prompt": "Once upon a time", "pieces": True})
        self.assertIn("Once", "".join(one["piece"] for one in text["pieces"]))
        self.assertEqual(server.post("/api/loadline/prompt", {})[0], 400)

    def test_a_report_has_version_and_machine(self):
        server = self.start("-c", "256")
        about = server.get("/api/loadline/about")[1]
        self.assertRegex(about["version"], r"^\d+\.\d+\.\d+$")
        self.assertGreater(about["machine"]["ram"]["total"], 0)

    def test_tiers_say_what_is_held_now(self):
        server = self.start("-c", "256")
        tier = server.get("/api/loadline/state")[1]["tiers"][0]
        self.assertGreater(tier["held"], 0)
        self.assertGreater(tier["available_now"], tier["held"])


if __name__ == "__main__":
    main()
