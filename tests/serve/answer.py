"""An answer under way, and what the server says of itself meanwhile."""

import json


class Answer:
    """A streamed answer, read while other things are asked."""

    def __init__(self, server, body):
        self.connection, self.bytes = server.begin("/completion", {**body, "stream": True})
        self.connection.setblocking(False)

    def read(self):
        try:
            while piece := self.connection.recv(1 << 20):
                self.bytes += piece
        except BlockingIOError:
            pass

    def pieces(self):
        lines = self.bytes.split(b"\r\n\r\n", 1)[1].split(b"\n")
        whole = lines[:-1]  # the last one may still come
        return [json.loads(line[6:])["content"] for line in whole if line.startswith(b"data: ")]


def states(server):
    """The state, four times a second."""
    with server.connect() as connection:
        connection.sendall(b"GET /api/loadline/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for line in connection.makefile("rb"):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def tier(state, kind):
    return next(one for one in state["tiers"] if one["kind"] == kind)
