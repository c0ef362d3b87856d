"""How `loadline serve` does with many clients at once: `./dev bench serve [-m MODEL ...]`. Standard library only.

Prints, for one, 8 and 200 clients that stream at once (of the largest crowd some are rude: they leave, read a byte a
second, send half a request, nest JSON, pipeline): tokens a second of all together, and of the first tokens and of
`/health` meanwhile the median and the slowest; what the process holds before and after; and how long a short question
waits for its first token while a long prompt is read. Ends with an error where a client that is not rude loses a byte,
/health takes longer than --health, or more is held at the end. What is behind "--" goes to the server."""

import argparse
import json
import multiprocessing
import os
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

QUESTION = {"messages": [{"role": "user", "content": "Tell me of the sea."}], "stream": True, "ignore_eos": True,
            "stream_options": {"include_usage": True}}
problems = []


def problem(sentence):
    problems.append(sentence)
    print(f"      wrong: {sentence}", flush=True)


def post(path, body, length=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), length or len(data), data))


def connect(port):
    return socket.create_connection(("127.0.0.1", port))


def unchunked(received):
    """(status, body) of a whole answer, or None while it is not all there."""
    head, _, rest = received.partition(b"\r\n\r\n")
    if not rest.endswith(b"0\r\n\r\n") and b"Content-Length" not in head:
        return None
    if b"Content-Length" in head:
        return int(head.split()[1]), rest
    data = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return int(head.split()[1]), data
        data, rest = data + rest[:count], rest[count + 2:]


class Client:
    """One that streams an answer and reads what comes."""

    def __init__(self, port, body):
        self.wanted = body["max_tokens"]
        self.received = bytearray()
        self.begin, self.first = time.monotonic(), None
        self.connection = connect(port)
        self.connection.sendall(post("/v1/chat/completions", body))
        self.connection.setblocking(False)

    def read(self):
        """True once it has all, or can have no more."""
        piece = self.connection.recv(1 << 16)
        self.received += piece
        if self.first is None and b'"content":"' in self.received:
            self.first = time.monotonic() - self.begin
        if not piece:
            problem(f"a client was cut off after {len(self.received)} bytes")
            return True
        if not self.received.endswith(b"0\r\n\r\n"):
            return False
        status, data = unchunked(bytes(self.received))
        blocks = [one for one in data.decode().split("\n\n") if one]
        events = [json.loads(one[6:]) for one in blocks if one.startswith("data: {")]
        usage = [one["usage"] for one in events if one.get("usage")]
        if status != 200 or blocks[-1] != "data: [DONE]" or usage[-1]["completion_tokens"] != self.wanted:
            problem(f"an answer is not whole: {status} {blocks[-1]} {usage}")
        if len({one["id"] for one in events}) != 1:
            problem("an answer has another's events")
        return True


def rude(port, number, tokens, numbers):
    """A client that behaves badly; what it leaves open, or None."""
    connection = connect(port)
    kind = number % 5
    body = {**QUESTION, "max_tokens": tokens * 20}
    if kind == 0:  # leaves at some moment
        connection.sendall(post("/v1/chat/completions", body))
        if numbers.random() < 0.5:
            connection.recv(numbers.randrange(1, 2000))
        connection.close()
        return None
    if kind == 1:  # reads a byte a second, which is not at all within this time
        connection.sendall(post("/v1/chat/completions", body))
    elif kind == 2:  # half a request
        connection.sendall(post("/v1/chat/completions", body)[: numbers.randrange(1, 160)])
    elif kind == 3:  # nests
        connection.settimeout(30)
        try:
            connection.sendall(post("/v1/chat/completions", b"[" * 10_000_000))
        except OSError:
            pass
    else:  # pipelines
        connection.sendall(post("/v1/chat/completions", {**body, "max_tokens": 2}) * 20)
    return connection


def ask_health(port, results, over):
    """In a process of its own, so that only the server is timed."""
    times = []
    while not over.is_set():
        begin = time.monotonic()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
        times.append(time.monotonic() - begin)
        time.sleep(0.02)
    results.put(times)


def row(name, times):
    return f"{name} {statistics.median(times) * 1e3:.0f} ms, at most {max(times) * 1e3:.0f} ms"


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return json.loads(answer.read())


def wait_until_idle(port):
    while any(one["is_processing"] for one in get(port, "/slots")):
        time.sleep(0.01)
    time.sleep(0.2)  # and what was held for them is given back


def resident(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024


def crowd(port, clients, rude_ones, tokens, most_health):
    over, results = multiprocessing.Event(), multiprocessing.Queue()
    health = multiprocessing.Process(target=ask_health, args=(port, results, over))
    health.start()
    numbers = random.Random(clients)
    selector = selectors.DefaultSelector()
    kept, all_clients = [], []
    begin = time.monotonic()
    for number in range(clients):
        if rude_ones and number % (clients // rude_ones) == 0:
            kept.append(rude(port, number // (clients // rude_ones), tokens, numbers))
            continue
        client = Client(port, {**QUESTION, "max_tokens": tokens, "seed": number})
        selector.register(client.connection, selectors.EVENT_READ, client)
        all_clients.append(client)
    while selector.get_map():
        for key, _ in selector.select():
            if key.data.read():
                selector.unregister(key.fileobj)
                key.fileobj.close()
    seconds = time.monotonic() - begin
    over.set()
    times = results.get()
    health.join()
    for connection in kept:
        if connection is not None:
            connection.close()
    print(f"{clients:4} clients{f', {rude_ones} rude' if rude_ones else ''}: "
          f"{len(all_clients) * tokens / seconds:8.1f} tokens/s together; "
          f"{row('first token', [one.first or seconds for one in all_clients])}; {row('/health', times)}", flush=True)
    if most_health and max(times) > most_health:
        problem(f"/health took {max(times) * 1e3:.0f} ms")


def first_token(port, body):
    client = Client(port, body)
    client.connection.setblocking(True)
    while not client.read():
        pass
    client.connection.close()
    return client.first


def of_tokens(port, count):
    """A text of so many tokens."""
    data = json.dumps({"content": "The sea was calm, and the ship lay still. " * count, "add_special": False}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/tokenize", data) as answer:
        tokens = json.loads(answer.read())["tokens"][:count]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/detokenize", json.dumps({"tokens": tokens}).encode()) as answer:
        return json.loads(answer.read())["content"]


def beside_a_long_prompt(port, count, most):
    short = {**QUESTION, "max_tokens": 1, "cache_prompt": False}
    first_token(port, short)
    alone = first_token(port, short)
    long_one = {"messages": [{"role": "user", "content": of_tokens(port, count)}], "stream": True, "max_tokens": 1,
                "return_progress": True, "cache_prompt": False}
    begin = time.monotonic()
    with connect(port) as connection:
        connection.sendall(post("/v1/chat/completions", long_one))
        received = b""
        while b"prompt_progress" not in received:  # it is being read
            received += connection.recv(1 << 16)
        beside = first_token(port, short)
        connection.setblocking(False)
        try:
            while piece := connection.recv(1 << 16):  # what came meanwhile
                received += piece
        except BlockingIOError:
            pass
        connection.setblocking(True)
        connection.settimeout(600)
        before = received.count(b"prompt_progress")
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1 << 16)
    after = received.count(b"prompt_progress") - before
    tokens = re.findall(rb'"total":(\d+)', received)
    print(f"   first token of a short question: alone {alone * 1e3:.0f} ms, while a prompt of "
          f"{tokens[-1].decode() if tokens else count} tokens is read {beside * 1e3:.0f} ms, which is "
          f"{(beside - alone) * 1e3:.0f} ms more ({after} more parts of it came after; all of it took "
          f"{time.monotonic() - begin:.1f} s)", flush=True)
    if after == 0:
        problem("the long prompt was read before the short question was answered: it says nothing")
    if most and beside - alone > most:
        problem(f"the short question waited {beside - alone:.2f} s longer")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/release/loadline")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 200])
    parser.add_argument("--rude", type=int, default=20, help="of the largest crowd, where that is at least ten times as many")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--long", type=int, default=4000, help="tokens of the long prompt")
    parser.add_argument("--health", type=float, default=0.1, help="s, the most that /health may take")
    parser.add_argument("--wait", type=float, default=1.5, help="s, the most that the short question may wait longer")
    ours, server_arguments = parser.parse_known_args()
    command = [ours.program, "serve", "--port", "0", "--log-disable", "-np", "8", "-c", "16384", "--max-queue", "400",
               *[one for one in server_arguments if one != "--"]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ})
    found = re.search(rb":(\d+)\s*$", process.stdout.readline())
    if not found:
        sys.exit(f"{' '.join(command)}: no server")
    port = int(found.group(1))
    try:
        loaded = False
        while not loaded and process.poll() is None:
            try:
                loaded = urllib.request.urlopen(f"http://127.0.0.1:{port}/health").status == 200
            except urllib.error.HTTPError:
                time.sleep(0.05)
        first_token(port, {**QUESTION, "max_tokens": 1})
        for clients in ours.clients:
            rude_ones = ours.rude if clients == max(ours.clients) and clients >= 10 * ours.rude else 0
            if rude_ones:  # once before what is compared: what its first clients need stays
                crowd(port, clients, rude_ones, 4, 0)
                wait_until_idle(port)
            before = resident(process)
            crowd(port, clients, rude_ones, ours.tokens, ours.health)
            wait_until_idle(port)
            after, state = resident(process), get(port, "/api/loadline/state")
            planned = next(tier["planned"] for tier in state["tiers"] if tier["kind"] == "ram")
            print(f"      resident before {before / 2**20:.1f} MiB, after {after / 2**20:.1f} MiB; "
                  f"held {state['held'] / 2**20:.1f} MiB of {planned / 2**20:.1f} MiB planned", flush=True)
            if rude_ones and after - before > 2**20:
                problem(f"{after - before} bytes more are resident than before")
            if state["trouble"] or state["held"] > planned:
                problem(state["trouble"] or "more is held than was planned")
        beside_a_long_prompt(port, ours.long, ours.wait)
    finally:
        process.terminate()
        process.wait()
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
