"""What the server does where the system fails it: each call of accept, read, write, open, fsync, rename and their like
fails once (or is interrupted, or does a byte of what was asked, or the program is killed there). It must neither end nor
hang, give no other client less, and lose nothing that was saved.

`failing_io_test.py` is the part of it that takes seconds; `./dev faults` does all of it, starting included."""

import argparse
import http.client
import mmap
import os
import shutil
import signal
import struct
import sys
import tempfile

from server import Server

KINDS = ("accept", "read", "write", "open", "fsync", "rename", "link", "close", "wait", "option")  # as failing_io.cpp has them
HOWS = ("fails", "is interrupted", "is short", "kills")
PROMPT = "The captain of the little boat saw a whale and a crab on the beach in the morning. " * 4
COMPLETION = {"prompt": PROMPT, "n_predict": 6, "temperature": 0, "ignore_eos": True}


class Control:
    """The file that the preloaded library looks at."""

    def __init__(self, folder):
        self.path = f"{folder}/control"
        with open(self.path, "wb") as file:
            file.write(struct.pack("4i", -1, 0, 0, 0))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 16)
        self.environment = {"LD_PRELOAD": os.environ["FAILING_IO_LIBRARY"], "FAILING_IO": self.path}

    def arm(self, kind, count, how):
        self.memory[4:16] = struct.pack("3i", count, HOWS.index(how), 0)
        self.memory[0:4] = struct.pack("i", KINDS.index(kind))

    def disarm(self):
        """Whether it happened."""
        self.memory[0:4] = struct.pack("i", -1)
        return struct.unpack("i", self.memory[12:16])[0] == 1


def hows_of(kind):
    """What can happen to such a call, but for being killed."""
    if kind in ("read", "write"):
        return ("fails", "is interrupted", "is short")
    return ("fails", "is interrupted") if kind == "accept" else ("fails",)


class Faults:
    """A server under the library, what it saved, and what it should say."""

    def __init__(self, folder):
        self.folder = folder
        self.control = Control(folder)
        self.slots = f"{folder}/slots"
        os.mkdir(self.slots)
        self.server = None
        self.start()
        self.usual = self.complete()
        self.save("kept")

    def start(self):
        self.server = Server("-np", "2", "-c", "1024", "--slot-save-path", self.slots, environment=self.control.environment)

    def close(self):
        self.control.disarm()
        self.server.close()

    def complete(self):
        status, answer = self.server.post("/completion", {**COMPLETION, "id_slot": 0})
        assert status == 200, answer
        return answer["content"]

    def act(self, action, name):
        return self.server.post(f"/slots/0?action={action}", {"filename": name})

    def save(self, name):
        status, answer = self.act("save", name)
        assert status == 200, answer

    def one_round(self):
        """What clients do meanwhile: how many of them failed."""
        failed = 0
        connection = None
        try:
            connection, received = self.server.begin("/completion", {**COMPLETION, "stream": True, "id_slot": 1})
        except OSError:
            failed += 1
        for action, name in (("save", "now"), ("restore", "kept")):
            try:
                failed += self.act(action, name)[0] != 200
            except (OSError, http.client.HTTPException, ValueError):
                failed += 1
        try:
            failed += self.server.request("GET", "/health")[0] != 200
        except (OSError, http.client.HTTPException):
            failed += 1
        if connection is not None:
            try:
                with connection:
                    while not received.endswith(b"0\r\n\r\n"):
                        piece = connection.recv(65536)
                        if not piece:
                            failed += 1
                            break
                        received += piece
            except OSError:
                failed += 1
        return failed

    def check(self, what):
        """That all is as it was; without faults."""
        assert self.server.process.poll() is None, f"{what}: the server ended with {self.server.process.returncode}: {self.server.said()[-2000:]}"
        self.server.wait_until_idle()
        text = self.complete()
        assert text == self.usual, f"{what}: {text!r} in place of {self.usual!r}"
        status, answer = self.act("restore", "kept")
        assert status == 200, f"{what}: what was saved is lost: {answer}"
        if os.path.exists(f"{self.slots}/now"):
            status, answer = self.act("restore", "now")
            assert status == 200, f"{what}: half of a file was left: {answer}"
        strays = [name for name in os.listdir(self.slots) if name not in ("kept", "now")]
        assert not strays, f"{what}: {strays} were left"

    def each_call(self, kind, how, most=1000):
        """Rounds until one goes by before its turn comes; how many there were."""
        for count in range(1, most + 1):
            what = f"{kind} {count} {how}"
            self.control.arm(kind, count, how)
            failed = self.one_round()
            happened = self.control.disarm()
            assert failed <= 1, f"{what}: {failed} requests failed"
            if how == "is interrupted" or how == "is short":
                assert failed == 0, f"{what}: a request failed"
            self.check(what)
            if not happened:
                return count - 1
        return most

    def each_kill(self, kind, most=1000):
        """The same, killed there and started again."""
        for count in range(1, most + 1):
            self.control.arm(kind, count, "kills")
            try:
                self.one_round()
            finally:
                happened = self.control.disarm()
            if not happened:
                return count - 1
            self.server.process.wait()
            self.server.kill()  # what is left of it
            for name in os.listdir(self.slots):  # one that was about to get its name
                if ".partial-" in name:
                    os.remove(f"{self.slots}/{name}")
            self.start()
            self.check(f"killed at {kind} {count}")
        return most


def start_and_wait(control):
    """Its own requests may be those that fail."""
    server = Server("-np", "2", "-c", "512", environment=control.environment, ready=False)
    for _ in range(100000):
        try:
            if server.request("GET", "/health")[0] == 200:
                return server
        except (OSError, http.client.HTTPException):
            pass
        if server.process.poll() is not None:
            break
    raise RuntimeError(server.kill())


def each_call_of_the_start(folder, kind, how, most=3000):
    """The server comes up and answers, or says why it does not; how many calls there were."""
    control = Control(folder)
    for count in range(1, most + 1):
        control.arm(kind, count, how)
        what = f"starting, {kind} {count} {how}"
        try:
            server = start_and_wait(control)
        except RuntimeError as error:
            happened = control.disarm()
            assert happened, f"{what}: {error}"
            assert "loadline: " in str(error), f"{what}: it ended without a word: {error}"
            continue
        happened = control.disarm()
        status, answer = server.post("/completion", {**COMPLETION, "n_predict": 1})
        code, said = server.close()
        assert status == 200 and code == 0, f"{what}: {answer} {code} {said}"
        if not happened:
            return count - 1
    return most


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; none: all")
    kinds = parser.parse_args().kinds or KINDS
    for kind in kinds:
        for how in hows_of(kind):
            folder = tempfile.mkdtemp()
            faults = Faults(folder)
            print(f"answering: each of {faults.each_call(kind, how)} calls of {kind} {how}", flush=True)
            faults.close()
            print(f"starting:  each of {each_call_of_the_start(folder, kind, how)} calls of {kind} {how}", flush=True)
            shutil.rmtree(folder)
        folder = tempfile.mkdtemp()
        faults = Faults(folder)
        print(f"answering: killed at each of {faults.each_kill(kind)} calls of {kind}", flush=True)
        faults.close()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
