"""The memory of a server that generates is swapped out and fetched again, over and over: by a limit of its control
group that is lowered below what it holds, and by another program in the same group. The system swaps into a file of
this test's own. That is named, and, unless the server is told otherwise, mended by a smaller plan."""

import os
import signal
import subprocess
import sys
import unittest

from answer import Answer, states, tier
from provoked import BODY, OVER, SOON, Provoked
from server import main, until

from control_group import held_by
from swap_file import NoSwap, SwapFile

MIB = 1 << 20
TAKEN = 0.25  # of what is held

# Takes so many bytes, says so, and uses them all the time.
HOG = """
import sys
memory = bytearray(int(sys.argv[1]))
while True:
    for i in range(0, len(memory), 4096):
        memory[i] = 1
    if sys.stdout:
        print("taken", flush=True)
        sys.stdout = None
"""


class Thrashing(Provoked):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            swap = SwapFile(os.path.join(cls.folder, "swap"), 1024 * MIB)
        except NoSwap as problem:
            raise unittest.SkipTest(f"no swap file can be made here: {problem}") from None
        cls.addClassCleanup(swap.remove)

    def setUp(self):
        self.memory = self.group("memory")
        if self.memory.version == 1:
            self.memory.set("memory.swappiness", None, 60)

    def limit(self, most):
        self.memory.set("memory.limit_in_bytes", "memory.high", most)

    def unlimited(self):
        self.limit(-1 if self.memory.version == 1 else "max")

    def lower_the_limit(self, server):
        """Below what is held. Version 1 refuses a limit that it does not reach, and it does not reach one while
        everything is in use: so the server stands meanwhile."""
        most = int(held_by(self.memory) * (1 - TAKEN))
        server.process.send_signal(signal.SIGSTOP)
        self.addCleanup(server.process.send_signal, signal.SIGCONT)
        os.waitpid(server.process.pid, os.WUNTRACED)
        for tries in range(1000):
            try:
                self.limit(most)
                break
            except OSError as problem:
                if tries == 999:
                    self.skipTest(f"the system lets nobody lower the limit to {most}: {problem}")
        server.process.send_signal(signal.SIGCONT)
        return most

    def thrashing_is_found(self, server, answer, before, first):
        """Nothing else is said before it but `first`."""
        self.found(server, answer, before, {"thrashing", *first})

        def named(watch):
            return [event for event in watch["events"] if event["kind"] == "thrashing" and event["sample"] > before]

        watch = self.until(server, answer, named, 4 * SOON, "it is not said to thrash")
        event = named(watch)[0]
        self.assertLessEqual(event["sample"] - before, SOON)
        self.assertRegex(event["evidence"], r"^memory of this program is taken back: \d+ pages a second come from disk, "
                                            r"\S+ [KM]iB of it are swapped out")
        self.assertIn("smaller budget of RAM", event["line"])
        status, metrics = server.request("GET", "/metrics")[::2]
        self.assertEqual(status, 200)
        self.assertIn(b'loadline_watch_verdict{kind="thrashing"} 1', metrics)

    def thrashing_is_over(self, server, answer):
        watch = self.until(server, answer, lambda watch: not watch["verdicts"], 2 * OVER, "it is not taken back")
        self.assertGreater(watch["lost"]["thrashing"], 0)
        until(server.said, lambda said: "thrashing: over" in said)
        # What was swapped out is held all the same.
        self.assertIsNone(server.state()["trouble"])

    def test_a_limit_below_what_is_held(self):
        server = self.start(groups=(self.memory,))
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer)
            before = self.samples(server)
            self.lower_the_limit(server)
            self.thrashing_is_found(server, answer, before, {"squeezed"})
            self.unlimited()
            self.thrashing_is_over(server, answer)

    def test_another_program_in_the_group(self):
        room = 512 * MIB
        server = self.start(groups=(self.memory,))
        held = held_by(self.memory)
        server.close()
        self.limit(held + room)
        server = self.start(groups=(self.memory,))
        answer = Answer(server, {**BODY, "n_predict": 400})
        with answer.connection:
            self.healthy(server, answer)
        server.wait_until_idle()
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(room + int(TAKEN * held))], stdout=subprocess.PIPE,
                               preexec_fn=self.memory.enter)
        self.addCleanup(hog.communicate)
        self.addCleanup(hog.kill)
        self.assertEqual(hog.stdout.readline(), b"taken\n")
        before = self.samples(server)
        answer = Answer(server, BODY)
        with answer.connection:
            self.thrashing_is_found(server, answer, before, set())
            hog.kill()
            self.thrashing_is_over(server, answer)

    def test_it_goes_on_by_a_smaller_plan(self):
        server = self.start(groups=(self.memory,), on_pressure="shrink")
        body = {**BODY, "cache_prompt": False}
        alone = server.post("/completion", {**body, "n_predict": 800})[1]["content"]
        answer = Answer(server, body)
        with answer.connection:
            self.healthy(server, answer)
            most = self.lower_the_limit(server)
            after = None
            for count, state in enumerate(states(server)):
                answer.read()
                changed = state["change"] and state["change"]["state"] == "done"
                if changed and after is None:
                    after = len(answer.pieces())
                if changed and len(answer.pieces()) >= after + 8 and state["watch"]["samples"] >= OVER:
                    break
                self.assertLess(count, 1200, f"nothing is done about it: {state['change']}, {state['watch']}")
            self.assertRegex(state["change"]["why"], "^(squeezed|thrashing): ")
            self.assertLess(tier(state, "ram")["planned"], most)
            self.assertLess(held_by(self.memory), most)
            self.assertIsNone(state["trouble"])
            self.assertNotIn("thrashing", [verdict["kind"] for verdict in state["watch"]["verdicts"]])
            print(server.said().splitlines()[-1], flush=True)
        text = "".join(answer.pieces())
        self.assertGreater(len(text), 0)
        self.assertEqual(alone[:len(text)], text)


if __name__ == "__main__":
    main()
