"""Two hundred clients at once, some of them rude: no other loses a byte, and nothing is left behind."""

import json
import random
import selectors

from server import ServerTest, main, until

CLIENTS = 200
RUDE = 20
BODY = {"prompt": "Once upon a time", "n_predict": 12, "ignore_eos": True, "stream": True}


def post(body, length=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (length or len(data), data)


def whole_answer(received):
    """The data of a chunked stream, or None while it is not all there."""
    head, _, rest = received.partition(b"\r\n\r\n")
    if not rest.endswith(b"0\r\n\r\n"):
        return None
    data = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return data
        data, rest = data + rest[:count], rest[count + 2:]


class Crowd(ServerTest):
    arguments = ("-np", "8", "-c", "2048", "--max-queue", "400", "--log-disable")

    def resident(self):
        with open(f"/proc/{self.server.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def polite(self, selector):
        connection = self.server.connect()
        connection.sendall(post(BODY))
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, bytearray())

    def rude(self, random_numbers, number):
        connection = self.server.connect()
        kind = number % 5
        if kind == 0:  # leaves
            connection.sendall(post({**BODY, "n_predict": 100000}))
            connection.recv(random_numbers.randrange(1, 2000))
            connection.close()
            return None
        if kind == 1:  # never reads
            connection.sendall(post({**BODY, "n_predict": 400}))
        elif kind == 2:  # half a request
            connection.sendall(post(BODY)[: random_numbers.randrange(1, 120)])
        elif kind == 3:  # nests
            connection.sendall(post(b"[" * 1000000))
        else:  # pipelines
            connection.sendall(post({**BODY, "n_predict": 2}) * 20)
        return connection

    def round(self, seed):
        random_numbers = random.Random(seed)
        selector = selectors.DefaultSelector()
        kept = []
        for number in range(CLIENTS):
            if number % (CLIENTS // RUDE) == 0:
                kept.append(self.rude(random_numbers, number // (CLIENTS // RUDE)))
            else:
                self.polite(selector)
        answers = []
        while selector.get_map():
            for key, _ in selector.select():
                piece = key.fileobj.recv(65536)
                self.assertTrue(piece, "a polite client was cut off")
                key.data.extend(piece)
                data = whole_answer(bytes(key.data))
                if data is not None:
                    answers.append(data)
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
        self.assertEqual(self.server.get("/health")[1]["status"], "ok")
        for connection in kept:
            if connection is not None:
                connection.close()
        self.server.wait_until_idle()
        return answers

    def test_nobody_suffers_from_others(self):
        self.round(1)
        before = self.resident()
        answers = self.round(2)
        self.assertEqual(len(answers), CLIENTS - RUDE)
        for data in answers:
            events = [json.loads(one[6:]) for one in data.decode().split("\n\n") if one]
            self.assertTrue(events[-1]["stop"])
            self.assertEqual(events[-1]["tokens_predicted"], 12)
            self.assertFalse(any(one["stop"] for one in events[:-1]))
        until(self.resident, lambda kib: kib - before < 1024)  # what is free goes back once nothing runs
        self.assertIsNone(self.server.get("/api/loadline/state")[1]["trouble"])


if __name__ == "__main__":
    main()
