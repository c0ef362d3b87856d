"""What tests that make trouble for a server have in common: a model whose predictions are this machine's, a server that
generates, and what its watch says of it, counted in samples.

The server has a control group whose share of the processors is so large that what else runs on the machine takes none
of them: what is found is the test's doing. What a machine suffers from besides (a hypervisor that takes processors or
memory bandwidth) skips a test with what was found; with LOADLINE_QUIET_MACHINE=1 it fails."""

import os
import subprocess
import sys
import tempfile
import unittest

from answer import states
from server import PROGRAM, Server

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from control_group import ControlGroup, NoControlGroups

SHAPE = "tinyllama-1.1b"
SOON = 8  # samples, in which a trouble is named
HEALTHY = 24  # samples, in which none is
OVER = 24  # samples, in which one that is over is taken back
BODY = {"prompt": "Once upon a time there was", "n_predict": 1900, "temperature": 0, "ignore_eos": True}


class Provoked(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.model = os.path.join(cls.folder, "model.gguf")
        cls.environment = {"XDG_CACHE_HOME": cls.folder}
        try:
            cls.processors = ControlGroup("cpu")
        except NoControlGroups as problem:
            raise unittest.SkipTest(f"no control group of processors can be made here: {problem}") from None
        cls.addClassCleanup(cls.processors.remove)
        subprocess.run([PROGRAM, "synth", "--shape", SHAPE, cls.model], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        cls.processors.set("cpu.shares", "cpu.weight", 262144 if cls.processors.version == 1 else 10000)
        # What is predicted is this machine's, so that nothing is wrong with the predictions.
        subprocess.run([PROGRAM, "devices", "--measure", "-m", cls.model], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={**os.environ, **cls.environment},
                       preexec_fn=cls.processors.enter)

    def group(self, controller):
        try:
            group = ControlGroup(controller)
        except NoControlGroups as problem:
            self.skipTest(f"no {controller} control group can be made here: {problem}")
        self.addCleanup(group.remove)
        return group

    def start(self, *arguments, groups=(), on_pressure="continue"):
        server = Server("-m", self.model, "-np", "1", "-c", "2048", "--log-disable", "--on-pressure", on_pressure,
                        *arguments, environment=self.environment, groups=(self.processors, *groups))
        self.addCleanup(server.close)
        return server

    def until(self, server, answer, done, most, what):
        """Until `done(watch)`, within so many samples."""
        first = None
        for state in states(server):
            answer.read()
            watch = state["watch"]
            first = watch["samples"] if first is None else first
            if done(watch):
                return watch
            self.assertLess(watch["samples"], first + most, f"{what}: {watch}")
        self.fail("the server ended")

    def healthy(self, server, answer, samples=HEALTHY):
        watch = self.until(server, answer, lambda watch: watch["samples"] >= samples, 100 * samples, "no samples")
        self.nothing_was_found(watch)
        return watch

    def nothing_was_found(self, watch):
        if watch["events"] and os.environ.get("LOADLINE_QUIET_MACHINE") != "1":
            self.skipTest(f"something else is wrong with this machine: {watch['events'][0]['line']}")
        self.assertEqual(watch["events"], [])

    def samples(self, server):
        return server.get("/api/loadline/state")[1]["watch"]["samples"]

    def found(self, server, answer, before, kinds):
        """What is said first of a trouble that was made after `before` samples."""
        def since(watch):
            return [event for event in watch["events"] if event["begins"] and event["sample"] > before]

        event = since(self.until(server, answer, since, 4 * SOON, "nothing is said"))[0]
        print(f"{self.id().rsplit('.')[-1]}: after {event['sample'] - before} samples: {event['line']}", flush=True)
        self.assertIn(event["kind"], kinds, event)
        self.assertLessEqual(event["sample"] - before, SOON)
        return event

    def over(self, server, answer, kind):
        def is_over(watch):
            return any(event["kind"] == kind and not event["begins"] for event in watch["events"])

        watch = self.until(server, answer, is_over, OVER, "it is not taken back")
        self.assertEqual(watch["verdicts"], [])
        self.assertEqual({event["kind"] for event in watch["events"]}, {kind})
