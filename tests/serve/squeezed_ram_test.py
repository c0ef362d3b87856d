"""The RAM of a running server is taken in the middle of an answer, by its control group: the model goes on by a smaller
plan that reads part of the weights from disk, and, when there is room again, by the larger one. The answer is the one
that it would have been, to the letter."""

import os
import subprocess
import sys
import tempfile
import unittest

from answer import Answer, states, tier
from server import PROGRAM, Server, main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from control_group import ControlGroup, NoControlGroups, held_by

MIB = 1 << 20
SHAPE = "tinyllama-1.1b"
SLACK = 8 * MIB
BODY = {"prompt": "Once upon a time there was", "n_predict": 2000, "temperature": 0, "ignore_eos": True,
        "cache_prompt": False}


class SqueezedRam(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        try:
            self.memory = ControlGroup("memory")
        except NoControlGroups as problem:
            self.skipTest(f"no control group of memory can be made here: {problem}")
        self.addCleanup(self.memory.remove)
        self.model = os.path.join(folder.name, "model.gguf")
        subprocess.run([PROGRAM, "synth", "--shape", SHAPE, self.model], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.server = Server("-m", self.model, "-np", "1", "-c", "2048", "--log-disable",
                             environment={"XDG_CACHE_HOME": folder.name}, groups=(self.memory,))
        self.addCleanup(self.server.close)

    def limit_to_what_is_held(self):
        """And little more: less than that, and the system ends programs instead of refusing them memory."""
        limit = held_by(self.memory) + SLACK
        self.memory.set("memory.limit_in_bytes", "memory.high", limit)
        return limit

    def until(self, answer, done, what):
        for count, state in enumerate(states(self.server)):
            answer.read()
            if done(state):
                return state
            self.assertLess(count, 1200, f"{what}: {state['watch']}")
        self.fail(f"the server ended: {self.server.said()}")

    def until_changed(self, answer, number):
        """Until the plan was changed so often."""
        def changed(state):
            return bool(state["change"]) and state["change"].get("number", 0) >= number

        state = self.until(answer, changed, "nothing is done about it")
        self.assertEqual(state["change"]["state"], "done", state["change"])
        return state

    def until_more(self, answer, count):
        before = len(answer.pieces())
        return self.until(answer, lambda _: len(answer.pieces()) >= before + count, "no more tokens come")

    def test_the_answer_goes_on_within_what_is_left_and_grows_when_there_is_room(self):
        whole = self.server.get("/api/loadline/state")[1]
        answer = Answer(self.server, BODY)
        with answer.connection:
            self.until_more(answer, 8)
            limit = self.limit_to_what_is_held()
            state = self.until_changed(answer, 1)
            self.assertRegex(state["change"]["why"], "^(squeezed|thrashing): ")
            self.assertLess(tier(state, "ram")["planned"], limit)
            self.assertLess(tier(state, "ram")["purposes"]["weights"], tier(whole, "ram")["purposes"]["weights"])
            self.assertIsNone(state["trouble"])
            self.until_more(answer, 8)
            self.assertLess(held_by(self.memory), limit)
            self.memory.set("memory.limit_in_bytes", "memory.high", -1 if self.memory.version == 1 else "max")
            state = self.until_changed(answer, 2)
            self.assertEqual(state["change"]["why"], "there is room again")
            self.assertEqual(tier(state, "ram")["planned"], tier(whole, "ram")["planned"])
            self.until_more(answer, 8)
        text = "".join(answer.pieces())
        alone = self.server.post("/completion", {**BODY, "n_predict": len(answer.pieces()) + 8})[1]["content"]
        self.assertEqual(alone[:len(text)], text)


if __name__ == "__main__":
    main()
