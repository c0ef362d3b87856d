"""Another budget while answers run: they go on to the letter, and no more is held than the new plan says."""

import json
import subprocess
import unittest

from server import PROGRAM, Server, ServerTest, events, main


def ram(state):
    return next(tier for tier in state["tiers"] if tier["kind"] == "ram")


class Budget(ServerTest):
    arguments = ("-np", "2", "-c", "4096")

    def state(self):
        return self.server.get("/api/loadline/state")[1]

    def whole(self):
        """The plan with all weights in RAM again."""
        status, answer = self.server.post("/api/loadline/budget", {"ram": "auto"})
        self.assertEqual(status, 200, answer)
        return ram(self.state())

    def less(self, tier):
        """A budget for which part of the weights comes from disk."""
        return tier["planned"] - tier["purposes"]["weights"] // 4

    def test_a_long_answer_goes_on_to_the_letter_and_less_is_held(self):
        body = {"prompt": "Once upon a time there was", "n_predict": 1800, "temperature": 0, "ignore_eos": True,
                "cache_prompt": False}
        self.whole()
        alone = self.server.post("/completion", body)[1]["content"]
        for _ in range(20):  # until a change falls into the answer
            before = self.whole()
            connection, first = self.server.begin("/completion", {**body, "stream": True})
            with connection:
                status, answer = self.server.post("/api/loadline/budget", {"ram": self.less(before)})
                received = first
                while b"0\r\n\r\n" not in received[-64:]:
                    received += connection.recv(1 << 20)
            self.assertEqual(status, 200, answer)
            lines = received.split(b"\r\n\r\n", 1)[1].split(b"\n")
            data = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
            self.assertEqual("".join(one["content"] for one in data), alone)
            state = self.state()
            self.assertLess(ram(state)["planned"], before["planned"])
            self.assertLessEqual(state["held"], ram(state)["planned"])
            self.assertIsNone(state["trouble"])
            self.assertLessEqual(ram(answer)["planned"], ram(answer)["budget"])
            interruption = answer["interruption"]
            self.assertEqual(interruption["tokens"], 0)  # caches stay where they are
            self.assertGreater(interruption["kept_caches"], 0)
            if interruption["kept_tokens"] > 10:
                break
        else:
            self.fail("no change fell into an answer")
        self.assertGreater(state["change"]["seconds"], 0)
        self.assertGreater(state["change"]["predicted_seconds"], 0)
        metrics = self.server.request("GET", "/metrics")[2].decode()
        self.assertIn("loadline_plan_changes_total", metrics)

    def test_what_does_not_fit_is_refused_with_what_would_and_nothing_changes(self):
        before = self.whole()
        changes = self.state()["change"]["number"]
        for body in ({"ram": "1MiB"}, {"ram": 1000}, {"context": 100000000}):
            status, answer = self.server.post("/api/loadline/budget", body)
            self.assertEqual(status, 400, answer)
            self.assertEqual(answer["error"]["type"], "does_not_fit")
            self.assertIn("hint", answer["error"])
        for body in ({"ram": "much"}, {"context": 0}, {"gpus": ["RTX 3060"]}, {"ram": -1}):
            status, answer = self.server.post("/api/loadline/budget", body)
            self.assertEqual(status, 400, answer)
        self.assertEqual(ram(self.state())["planned"], before["planned"])
        self.assertEqual(self.state()["change"]["number"], changes)
        self.assertEqual(self.server.post("/completion", {"prompt": "a", "n_predict": 3})[0], 200)

    def test_other_plans_count_what_requests_take_by_their_own_context(self):
        def requests(plan):
            return next(region["size"] for region in plan["regions"] if region["name"] == "requests")

        def present(server):
            return server.get("/api/loadline/plan")[1]
        before = present(self.server)
        small = {"context": 512, "sequences": 1}
        told = self.server.post("/api/loadline/plan", small)[1]["plan"]
        other = Server("-np", "1", "-c", "512")
        self.addCleanup(other.close)
        self.assertEqual((told["shape"], requests(told)), (present(other)["shape"], requests(present(other))))
        self.assertLess(requests(told), requests(before))
        self.assertEqual(self.server.post("/api/loadline/budget", small)[0], 200)
        self.assertEqual(requests(present(self.server)), requests(told))
        self.assertEqual(self.server.post("/completion", {"prompt": [5] * 400, "n_predict": 3})[0], 200)
        status, answer = self.server.post("/api/loadline/budget", {"context": 4096, "sequences": 2})
        self.assertEqual(status, 200, answer)
        self.assertEqual(requests(present(self.server)), requests(before))

    def test_pages_of_other_origins_change_nothing(self):
        host = f"127.0.0.1:{self.server.port}"
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                        {"Origin": "http://127.0.0.1:1"}, {"Origin": f"http://{host}.evil.example"}):
            for path in ("/api/loadline/budget", "/api/loadline/cancel", "/models/load", "/models/unload"):
                self.assertEqual(self.server.request("POST", path, {"ram": "auto"}, headers)[0], 403, headers)
        own = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        self.assertEqual(self.server.request("POST", "/api/loadline/budget", {"ram": "auto"}, own)[0], 200)

    def command(self, *arguments):
        done = subprocess.run([PROGRAM, "budget", f"127.0.0.1:{self.server.port}", *arguments], capture_output=True,
                              text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def test_the_command_says_what_changed_and_ends_as_others_do(self):
        less = self.less(self.whole())
        code, out, _ = self.command("--ram", str(less), "--json")
        self.assertEqual(code, 0, out)
        self.assertLessEqual(ram(json.loads(out))["planned"], less)
        code, out, _ = self.command("--ram", "auto")
        self.assertEqual(code, 0)
        self.assertIn("tok/s", out)
        self.assertEqual(self.command("--ram", "1MiB")[0], 3)
        self.assertEqual(self.command("--ram", "much")[0], 2)
        self.assertEqual(self.command()[0], 2)
        self.assertEqual(subprocess.run([PROGRAM, "budget", "127.0.0.1:1", "--ram", "1GiB"],
                                        capture_output=True).returncode, 4)

    def test_the_number_of_sequences_changes_while_nobody_is_answered(self):
        self.assertEqual(self.server.post("/api/loadline/budget", {"sequences": 3, "ram": "auto"})[0], 200)
        self.assertEqual(self.server.get("/props")[1]["total_slots"], 3)
        self.assertEqual(self.server.post("/completion", {"prompt": "a", "n_predict": 3})[0], 200)
        self.assertEqual(self.server.post("/api/loadline/budget", {"sequences": 2})[0], 200)


class Keys(unittest.TestCase):
    def test_where_there_are_keys_one_is_needed(self):
        server = Server("-c", "256", "--api-key", "sesame")
        self.addCleanup(server.close)
        self.assertEqual(server.post("/api/loadline/budget", {"ram": "auto"})[0], 401)
        address = f"http://127.0.0.1:{server.port}"
        asked = [PROGRAM, "budget", address, "--ram", "auto"]
        self.assertEqual(subprocess.run(asked, capture_output=True).returncode, 2)
        self.assertEqual(subprocess.run([*asked, "--api-key", "sesame"], capture_output=True).returncode, 0)


if __name__ == "__main__":
    main()
