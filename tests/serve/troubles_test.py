"""Each trouble that can be made for real, made for a server that generates: memory, processors and disk are taken from
it by control groups and by other programs. Time is counted in samples of its watch. (Memory that is swapped:
thrashing_test.py.)"""

import os
import signal
import socket
import subprocess
import unittest

from answer import Answer
from provoked import BODY, OVER, SOON, Provoked
from server import main

from control_group import held_by

MIB = 1 << 20


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


class Troubles(Provoked):
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
            # The test reads what the server says, and must not be what holds it up: outside, it would get nothing.
            self.processors.enter()
            self.addCleanup(self.processors.leave)
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
