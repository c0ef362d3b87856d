"""How `loadline serve` does with many clients at once: `./dev bench serve [-m MODEL ...]`. Standard library only.

Prints, for one, 8 and 200 clients that stream at once: tokens a second of all together, and of the first tokens and of
`/health` meanwhile the median and the slowest; and how long a short question waits for its first token while a long
prompt is read. What is behind "--" goes to the server."""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

QUESTION = {"messages": [{"role": "user", "content": "Tell me of the sea."}], "stream": True, "ignore_eos": True}


def request(port, path, body):
    """The lines of data of a streamed answer, each with the time when it came."""
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                           % (path.encode(), len(data), data))
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data: {"):
                    yield time.monotonic(), json.loads(line[6:])


def has_text(event):
    return bool(event["choices"] and event["choices"][0]["delta"].get("content"))


def one_client(port, body, out):
    begin, first, count = time.monotonic(), None, 0
    for now, event in request(port, "/v1/chat/completions", body):
        if has_text(event):
            count += 1
            first = first or now - begin
    out.append((first or time.monotonic() - begin, count))


def health_times(port, until):
    times = []
    while not until.is_set():
        begin = time.monotonic()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
        times.append(time.monotonic() - begin)
        until.wait(0.05)
    return times


def in_thread(function, *arguments):
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*arguments)))
    thread.start()
    return thread, result


def row(name, times):
    return f"{name} {statistics.median(times) * 1e3:.0f} ms, at most {max(times) * 1e3:.0f} ms"


def crowd(port, clients, tokens):
    answers, over = [], threading.Event()
    health = in_thread(health_times, port, over)
    begin = time.monotonic()
    threads = [threading.Thread(target=one_client, args=(port, {**QUESTION, "max_tokens": tokens, "seed": seed}, answers))
               for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    over.set()
    health[0].join()
    print(f"{clients:4} clients: {clients * tokens / seconds:8.1f} tokens/s together; "
          f"{row('first token', [one[0] for one in answers])}; {row('/health', health[1][0])}", flush=True)


def beside_a_long_prompt(port, words):
    alone, beside = [], []
    one_client(port, {**QUESTION, "max_tokens": 1, "cache_prompt": False}, alone)
    long_one = {"messages": [{"role": "user", "content": "sea " * words}], "stream": True, "max_tokens": 1,
                "return_progress": True, "cache_prompt": False}
    events = request(port, "/v1/chat/completions", long_one)
    next(events)  # it is being read
    one_client(port, {**QUESTION, "max_tokens": 1, "cache_prompt": False}, beside)
    read = sum(1 for _ in events)
    print(f"   first token of a short question: alone {alone[0][0] * 1e3:.0f} ms, while a prompt of {words} words is "
          f"read {beside[0][0] * 1e3:.0f} ms ({read} more parts of it came after)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/release/bin/loadline")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 200])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--long", type=int, default=3000, help="words of the long prompt")
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
        for clients in ours.clients:
            crowd(port, clients, ours.tokens)
        beside_a_long_prompt(port, ours.long)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
