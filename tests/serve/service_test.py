"""How a server is started and kept by others: TLS, key files, environment, systemd."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from server import PROGRAM, Server, main

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


class Service(unittest.TestCase):
    def start(self, *arguments, **more):
        server = Server("-c", "256", *arguments, **more)
        self.addCleanup(server.close)
        return server

    def test_speaks_tls_alone(self):
        server = self.start("--tls-cert", f"{DATA}/certificate.pem", "--tls-key", f"{DATA}/key.pem", ready=False)
        context = ssl.create_default_context(cafile=f"{DATA}/certificate.pem")
        status = 503
        while status == 503:
            with context.wrap_socket(server.connect(), server_hostname="localhost") as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = int(connection.recv(4096).split()[1])
        self.assertEqual(status, 200)
        with server.connect() as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP/1.1", plain.recv(4096))

    def test_commands_ask_it_through_tls_where_they_trust_its_certificate(self):
        server = self.start("--tls-cert", f"{DATA}/certificate.pem", "--tls-key", f"{DATA}/key.pem", "--host", "0.0.0.0",
                            ready=False)

        def top(*arguments, host="127.0.0.1"):
            return subprocess.run([PROGRAM, "top", f"https://{host}:{server.port}", "--json", *arguments],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        trusting = ("--tls-cert", f"{DATA}/certificate.pem")
        while (told := top(*trusting)).returncode != 0:
            self.assertRegex(told.stderr, "Loading model|no server answers")  # or it is slow
        self.assertIn("tiers", json.loads(told.stdout))
        self.assertEqual(top(*trusting, host="localhost").returncode, 0)
        self.assertRegex(top().stderr, "certificate is not trusted(.|\n)*It is set with --tls-cert")
        self.assertIn("certificate", top(*trusting, host="127.0.0.2").stderr)  # another's name
        self.assertIn("no certificate", top("--tls-cert", __file__).stderr)
        with socket.create_server(("127.0.0.1", 0)) as other:
            def answer():
                connection = other.accept()[0]
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                connection.close()
            thread = threading.Thread(target=answer)
            thread.start()
            told = subprocess.run([PROGRAM, "top", f"https://127.0.0.1:{other.getsockname()[1]}"],
                                  stderr=subprocess.PIPE, text=True)
            thread.join()
        self.assertIn("no TLS", told.stderr)

    def test_a_key_that_is_not_the_certificates_is_an_error(self):
        for arguments in (("--tls-cert", f"{DATA}/certificate.pem", "--tls-key", f"{DATA}/other_key.pem"),
                          ("--tls-cert", f"{DATA}/certificate.pem"),
                          ("--tls-cert", __file__, "--tls-key", __file__)):
            with self.assertRaises(RuntimeError) as raised:
                Server("-c", "256", *arguments, ready=False)
            self.assertRegex(str(raised.exception), "certificate|key")

    def test_reads_keys_from_a_file(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("first\nsecond\n")
            keys.flush()
            server = self.start("--api-key-file", keys.name)
            self.assertEqual(server.get("/props", {"Authorization": "Bearer second"})[0], 200)
            self.assertEqual(server.get("/props")[0], 401)

    def test_says_that_it_holds_more_than_planned_when_it_has_nothing_to_do(self):
        server = self.start(environment={"LD_PRELOAD": os.environ["HOLDING_MORE_LIBRARY"],
                                         "HOLDING_MORE_FROM": "text_completion"})

        def alarms():
            return re.search(r"^loadline_alarms (\d)", server.request("GET", "/metrics")[2].decode(), re.M).group(1)

        self.assertEqual(alarms(), "0")
        for _ in range(100):  # what is compared after the first may be compared before that is sent
            self.assertEqual(server.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})[0], 200)
            if alarms() == "1":
                break
        self.assertEqual(alarms(), "1")
        self.assertIn("the process holds", json.dumps(server.get("/api/loadline/state")[1]))

    def test_takes_options_from_the_environment(self):
        server = self.start(environment={"LOADLINE_ARG_API_KEY": "sesame", "LLAMA_ARG_N_PARALLEL": "2",
                                         "LOADLINE_ARG_CTX_SIZE": "999"})
        props = server.get("/props", {"Authorization": "Bearer sesame"})[1]
        self.assertEqual(props["total_slots"], 2)
        self.assertEqual(props["default_generation_settings"]["n_ctx"], 256)  # the command line has the last word
        with self.assertRaises(RuntimeError) as raised:
            Server(environment={"LOADLINE_ARG_PARALLEL": "many"})
        self.assertIn("many", str(raised.exception))

    def test_tells_the_service_manager_and_ends_in_order(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{folder}/notify")
            manager.settimeout(120)
            server = Server("-c", "256", environment={"NOTIFY_SOCKET": f"{folder}/notify"})
            self.assertIn(b"READY=1", manager.recv(4096))
            self.assertEqual(server.close()[0], 0)
            self.assertIn(b"STOPPING=1", manager.recv(4096))

    def test_half_a_request_is_not_waited_for_for_ever(self):
        server = self.start("--timeout", "1")
        with server.connect() as connection:
            connection.settimeout(30)  # less than it would be waited for without
            connection.sendall(b"POST /completion HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            self.assertEqual(connection.recv(4096), b"")
        self.assertEqual(server.get("/health")[0], 200)

    def test_sleeps_until_it_is_to_end(self):
        server = self.start()

        def wakings():  # of the thread that waits for a signal
            with open(f"/proc/{server.process.pid}/task/{server.process.pid}/status") as status:
                return next(line for line in status if line.startswith("voluntary_ctxt_switches"))
        rounds = []
        while len(rounds) < 20 and (len(rounds) < 2 or rounds[-1] != rounds[-2]):  # the first one may come too early
            for _ in range(1000):
                server.get("/health")
            rounds.append(wakings())
        self.assertEqual(rounds[-1], rounds[-2], rounds)

    def test_takes_a_socket_that_listens_already(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            server = self.start(socket=listening)
            self.assertEqual(server.port, port)
            self.assertEqual(server.get("/health")[0], 200)

    @unittest.skipUnless(shutil.which("systemd-socket-activate"), "systemd is not installed")
    def test_systemd_starts_it_when_the_first_client_comes(self):
        for _ in range(20):  # until a port stays free for a moment
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            activator = subprocess.Popen(
                ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", PROGRAM, "serve", "-c", "256", "-t", "1"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            status = None
            while status in (None, 503) and activator.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=120) as answer:
                        status = answer.status
                except urllib.error.HTTPError as error:
                    status = error.code
                except OSError:  # it does not listen yet
                    pass
            if status == 200:
                break
        self.assertEqual(status, 200)
        self.assertEqual(activator.stdout.readline().strip(), f"http://127.0.0.1:{port}".encode())
        activator.terminate()  # by now it is the server
        activator.communicate(timeout=60)
        self.assertEqual(activator.returncode, 0)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_its_unit_leaves_little_open(self):
        unit = os.path.join(os.path.dirname(DATA), "..", "..", "packaging", "systemd", "loadline.service")
        told = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(told.returncode, 0, told.stdout)

    def test_logs_a_line_a_request_and_no_text_of_it(self):
        server = Server("-c", "256", "--log-json")
        server.post("/completion", {"prompt": "secret words", "n_predict": 1})
        said = server.close()[1]
        line = next(json.loads(one) for one in said.splitlines() if '"/completion"' in one)
        self.assertEqual((line["method"], line["status"], line["whole"]), ("POST", 200, True))
        self.assertNotIn("secret", said)


if __name__ == "__main__":
    main()
