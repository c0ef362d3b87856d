"""Another program takes the graphics memory of a running server in the middle of an answer: the model goes on by a
smaller plan, and the answer to the letter. The GPU is llvmpipe; what its driver says of memory is tests/support's."""

import os
import subprocess
import tempfile
import unittest

from answer import Answer, states, tier
from server import PROGRAM, Server, main

MIB = 1 << 20
ROUNDING = 0.05  # two likeliest tokens that lie so close together may change places between CPU and GPU


def has_software_gpu():
    return b"llvmpipe" in subprocess.run([PROGRAM, "devices"], capture_output=True, check=False).stdout


class Card:
    """What the driver says of how much this process may have."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "budget")
        self.environment = {"LOADLINE_VULKAN_LIBRARY": os.environ["LOADLINE_SQUEEZED_VULKAN"],
                            "LOADLINE_TEST_MEMORY_BUDGET": self.path, "XDG_CACHE_HOME": folder}

    def tell(self, budget):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(f"{budget}\n")
        os.replace(self.path + ".new", self.path)


@unittest.skipUnless(has_software_gpu(), "there is no llvmpipe here")
class Squeezed(unittest.TestCase):
    def start(self, *arguments):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        card = Card(folder.name)
        card.tell(1024 * MIB)
        server = Server("-np", "1", "-c", "16384", "-dev", "vulkan0", "--vram", "96MiB", "--log-disable", *arguments,
                        environment=card.environment)
        self.addCleanup(server.close)
        return server, card

    def until_changed(self, server, answer):
        for count, state in enumerate(states(server)):
            answer.read()
            if state["change"] and state["change"]["state"] != "loading":
                return state
            self.assertLess(count, 1200, f"nothing is done about it: {state['watch']}")
        self.fail("the server ended")

    def until_more(self, server, answer, count):
        """Until so many tokens have come since the change."""
        had = None
        for state in states(server):
            answer.read()
            now = state["activity"]["generated_tokens"]
            had = now if had is None else had
            if now >= had + count:
                return state
        self.fail("the server ended")

    def compare(self, server, body, pieces):
        """With the answer that nothing disturbs. Where two tokens are as likely, they may differ from there on."""
        text = "".join(pieces)
        # Tokens have a letter or more, but for a few.
        alone = server.post("/completion", {**body, "n_predict": len(text) + 64, "n_probs": 2})[1]
        if alone["content"].startswith(text):
            return
        end = 0
        for token in alone["completion_probabilities"]:
            end += len(token["token"])
            if text[:end] != alone["content"][:end]:
                first, second = (one["logprob"] for one in token["top_logprobs"][:2])
                self.assertLess(first - second, ROUNDING, f"{text[:end]!r} against {alone['content'][:end]!r}")
                return

    def test_the_answer_goes_on_by_a_smaller_plan(self):
        server, card = self.start("-ngl", "all")
        body = {"prompt": "Once upon a time there was", "n_predict": 8000, "temperature": 0, "ignore_eos": True,
                "cache_prompt": False}
        self.assertGreater(tier(server.get("/api/loadline/state")[1], "gpu")["purposes"]["weights"], MIB)
        answer = Answer(server, body)
        with answer.connection:
            card.tell(8 * MIB)
            state = self.until_changed(server, answer)
            change = state["change"]
            self.assertEqual(change["state"], "done", change)
            # More is in use than may be, and it is slow: both are said, and the graver one is the reason.
            self.assertRegex(change["why"], "^(squeezed|spilled): .*8.00 MiB")
            self.assertEqual(change["tokens"], 0)  # its caches were moved
            self.assertGreater(change["kept_tokens"], 7)
            # Groups that find room in what is left may stay.
            self.assertLessEqual(tier(state, "gpu")["planned"], 8 * MIB)
            self.assertIsNone(state["trouble"])
            state = self.until_more(server, answer, 20)
        change = state["change"]
        self.assertGreater(change["seconds"], 0)
        self.assertLessEqual(change["predicted_range"][0], change["predicted_seconds"])
        self.assertLessEqual(change["predicted_seconds"], change["predicted_range"][1])
        pieces = answer.pieces()
        self.assertGreater(len(pieces), change["kept_tokens"] - 7)
        self.compare(server, body, pieces)

    def test_it_may_be_told_to_end_instead(self):
        server, card = self.start("--on-pressure", "stop")
        answer = Answer(server, {"prompt": "Once upon a time", "n_predict": 8000, "ignore_eos": True})
        with answer.connection:
            card.tell(8 * MIB)
            server.process.wait(timeout=240)
        self.assertEqual(server.process.returncode, 3)
        self.assertRegex(server.said(), "stopping: (squeezed|spilled): ")


if __name__ == "__main__":
    main()
