"""Starts `loadline serve` with the demo model for a test, and speaks HTTP with it through sockets of its own, so that a
test sees every byte. Only Python's standard library."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ["LOADLINE_PROGRAM"]
PATIENCE = 240  # s; only against hanging for ever


def until(ask, done):
    """Asks until the answer is so, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not done(answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {answer}")
    return answer


class Server:
    """A server that runs until `close`; `arguments` go behind `loadline serve`. `groups`: control groups that it is
    to run in."""

    def __init__(self, *arguments, environment=None, ready=True, socket=None, groups=()):
        command = [PROGRAM, "serve", "--port", "0", "-t", "1", *arguments]
        if socket is not None:  # as systemd hands one over: descriptor 3, meant for one process
            command = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *command]

        def prepare():
            for group in groups:
                group.enter()
            if socket is not None:
                os.dup2(socket.fileno(), 3)
                os.set_inheritable(3, True)

        self.ending = False
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **(environment or {})},
            preexec_fn=prepare, close_fds=socket is None)
        line = self.process.stdout.readline().decode()
        found = re.match(r"https?://.*:(\d+)$", line.strip())
        if not found:
            raise RuntimeError(f"no server: {line!r} {self.kill()}")
        self.port = int(found.group(1))
        while ready and self.request("GET", "/health")[0] == 503:  # it loads
            if self.process.poll() is not None:
                raise RuntimeError(self.kill())

    def terminate(self):
        self.ending = True
        self.process.terminate()

    def close(self, signal_number=signal.SIGTERM):
        """Ends it, if it has not ended; its exit code and what it said."""
        if self.process.poll() is None and not self.ending:
            self.process.send_signal(signal_number)
        if not self.errors.closed:
            self.process.communicate(timeout=60)
        return self.process.returncode, self.gone()

    def kill(self):
        """At once; what it said."""
        self.process.kill()
        self.process.communicate()
        return self.gone()

    def gone(self):
        said = self.said()
        if not self.errors.closed:
            self.last_said = said
            self.errors.close()
        return said

    def said(self):
        """Standard error so far, or all of it once it is gone."""
        if self.errors.closed:
            return self.last_said
        # Not by the position in the file, which the program writes at.
        return os.pread(self.errors.fileno(), os.fstat(self.errors.fileno()).st_size, 0).decode()

    def logged(self, path):
        """What --log-json said of the requests for this path, which have ended."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if line["path"] == path]

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body) of a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        result = response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read()
        connection.close()
        return result

    def get(self, path, headers=None):
        status, _, body = self.request("GET", path, None, headers)
        return status, json.loads(body)

    def post(self, path, body, headers=None):
        status, _, answer = self.request("POST", path, body, headers)
        return status, json.loads(answer)

    def stream(self, path, body, headers=None):
        """(status, type, all bytes of the body)."""
        status, head, answer = self.request("POST", path, body, headers)
        return status, head.get("content-type"), answer

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def raw(self, data):
        """What comes back for these bytes, until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    def begin(self, path, body):
        """A connection on which a POST was sent and the first bytes of its answer have come."""
        connection = self.connect()
        data = json.dumps(body).encode()
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" %
                           (path.encode(), len(data), data))
        return connection, connection.recv(65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def state(self):
        return self.get("/api/loadline/state")[1]

    def wait_for_state(self, done):
        """Asks for the state until `done(state)`."""
        return until(self.state, done)

    def wait_until(self, done):
        """Asks /slots until `done(slots)`."""
        return until(lambda: self.get("/slots")[1], done)

    def wait_until_idle(self):
        self.wait_until(lambda slots: not any(one["is_processing"] for one in slots))


def events(body):
    """The data of a stream of events; "[DONE]" as it is."""
    out = []
    for block in body.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data: "):
                out.append(line[6:] if line == "data: [DONE]" else json.loads(line[6:]))
    return out


def named_events(body):
    """[(name, data)]."""
    out = []
    for block in body.decode().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            out.append((lines[0][7:], json.loads(lines[1][6:])))
    return out


class ServerTest(unittest.TestCase):
    """One server for all tests of a class."""

    arguments = ("-np", "4", "-c", "2048")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.arguments)

    @classmethod
    def tearDownClass(cls):
        code, errors = cls.server.close()
        assert code == 0, (code, errors)


def main():
    """Exit code 77, which ctest shows as skipped, where nothing but skipping was done."""
    result = unittest.main(verbosity=0, exit=False).result
    for test, why in result.skipped:
        print(f"skipped: {test}: {why}")
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.skipped and len(result.skipped) >= result.testsRun else 0)
