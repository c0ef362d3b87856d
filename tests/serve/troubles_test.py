"""Each trouble that can be made for real, made for a server that generates: memory, processors and disk are taken from
it by control groups and by other programs. Time is counted in samples of its watch.

The server has a control group whose share of the processors is so large that what else runs on the machine takes none
of them: what is found is this test's doing. What a machine suffers from besides (a hypervisor that takes processors or
memory bandwidth) skips a test with what was found; with LOADLINE_QUIET_MACHINE=1 it fails."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from answer import Answer, states
from server import PROGRAM, Server, main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from control_group import ControlGroup, NoControlGroups, held_by

MIB = 1 << 20
SHAPE = "tinyllama-1.1b"
SOON = 8  # samples, in which a trouble is named
HEALTHY = 24  # samples, in which none is
OVER = 24  # samples, in which one that is over is taken back
BODY = {"prompt": "Once upon a time there was", "n_predict": 1900, "temperature": 0, "ignore_eos": True}


def disk_of(path):
    """MAJOR:MINOR of the disk that a file lies on, as control groups name it; None where there is no such disk."""
    device = os.stat(path).st_dev
    folder = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if os.path.exists(os.path.join(folder, "partition")):
        folder = os.path.dirname(folder)
    try:
        with open(os.path.join(folder, "dev"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


class Troubles(unittest.TestCase):
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

    def start(self, *arguments, groups=()):
        server = Server("-m", self.model, "-np", "1", "-c", "2048", "--log-disable", "--on-pressure", "continue",
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

    def spin(self, count):
        for _ in range(count):
            spinner = subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=self.processors.enter)
            self.addCleanup(spinner.wait)
            self.addCleanup(spinner.kill)
            yield spinner

    def test_a_machine_with_nothing_wrong(self):
        server = self.start()
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer, 60)
        # Prompts, and rest between them.
        for _ in range(4):
            server.post("/completion", {**BODY, "prompt": "many words " * 300, "n_predict": 8, "cache_prompt": False})
        rested = self.samples(server) + 8
        state = server.wait_for_state(lambda state: state["watch"]["samples"] >= rested)
        self.nothing_was_found(state["watch"])

    def test_processors_that_others_take(self):
        server = self.start()
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer)
            before = self.samples(server)
            spinners = list(self.spin(3 * os.cpu_count()))
            self.found(server, answer, before, {"starved"})
            for spinner in spinners:
                spinner.kill()
            self.over(server, answer, "starved")
        self.assertRegex(server.said(), r"(?m)^starved: other programs had \d+ % of the processors")
        self.assertRegex(server.said(), r"(?m)^starved: over$")

    def test_processor_time_that_is_used_up(self):
        server = self.start()
        answer = Answer(server, BODY)
        self.addCleanup(self.processors.set, "cpu.cfs_quota_us", "cpu.max", -1 if self.processors.version == 1 else "max")
        with answer.connection:
            self.healthy(server, answer)
            before = self.samples(server)
            self.processors.set("cpu.cfs_quota_us", "cpu.max", 40000 if self.processors.version == 1 else "40000 100000")
            event = self.found(server, answer, before, {"starved"})
        self.assertIn("control group's share", event["evidence"])

    def test_a_memory_limit_below_what_is_held(self):
        memory = self.group("memory")
        server = self.start(groups=(memory,))
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer)
            held = held_by(memory)
            # Version 1 refuses what it cannot reach by dropping and swapping.
            for limit in (held // 2, held * 9 // 10, *range(held, held + 16 * MIB, MIB)):
                before = self.samples(server)
                try:
                    memory.set("memory.limit_in_bytes", "memory.high", limit)
                    break
                except OSError:
                    continue
            else:
                self.skipTest(f"the system lets nobody lower the limit to what is held: {held}")
            self.found(server, answer, before, {"squeezed", "thrashing"})
            memory.set("memory.limit_in_bytes", "memory.high", -1 if memory.version == 1 else "max")
            self.until(server, answer, lambda watch: not watch["verdicts"], 2 * OVER, "it is not taken back")

    def test_a_disk_that_gives_less(self):
        disk = disk_of(self.model)
        if disk is None:
            self.skipTest(f"{self.folder} lies on no disk")
        group = self.group("blkio")
        server = self.start("--disk", "on", "--ram", "650MiB", groups=(group,))
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer)  # others may use the disk, which no group keeps for itself
            before = self.samples(server)
            try:
                group.set("blkio.throttle.read_bps_device", "io.max",
                          f"{disk} {30 * MIB}" if group.version == 1 else f"{disk} rbps={30 * MIB}")
            except OSError as problem:
                self.skipTest(f"reading from disk {disk} cannot be limited: {problem}")
            self.found(server, answer, before, {"disk_slow"})

    def test_a_program_that_is_stopped_and_goes_on(self):
        server = self.start()
        answer = Answer(server, BODY)
        with answer.connection:
            self.healthy(server, answer)
            for seconds in (0.3, 0.6, 1, 1.5, 1.9, 2.1, 4):
                os.kill(server.process.pid, signal.SIGSTOP)
                self.addCleanup(server.process.send_signal, signal.SIGCONT)
                self.assertTrue(os.WIFSTOPPED(os.waitpid(server.process.pid, os.WUNTRACED)[1]))
                with server.connect() as asked:
                    asked.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    asked.settimeout(seconds)
                    with self.assertRaises(socket.timeout):  # it stands for so long
                        asked.recv(1)
                    os.kill(server.process.pid, signal.SIGCONT)
                end = self.samples(server) + SOON
                watch = self.until(server, answer, lambda watch, end=end: watch["samples"] >= end, 100, "no samples")
                self.assertEqual(watch["events"], [], seconds)


if __name__ == "__main__":
    main()
