"""Slots: asking for one, and saving, restoring and erasing what one has, on the demo model."""

import json
import os
import shutil
import tempfile
import unittest

from server import Server, main

PROMPT = "The captain of the little boat saw a whale and a crab on the beach in the morning. " * 4


class Slots(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *arguments):
        server = Server("-np", "3", "-c", "1024", "--slot-save-path", self.folder, *arguments)
        self.addCleanup(server.close)
        return server

    def complete(self, server, **fields):
        status, answer = server.post("/completion", {"prompt": PROMPT, "n_predict": 4, "temperature": 0, "id_slot": 1,
                                                     **fields})
        self.assertEqual(status, 200, answer)
        return answer

    def act(self, server, action, slot=1, **body):
        return server.post(f"/slots/{slot}?action={action}", body)

    def test_a_request_gets_the_slot_that_it_asks_for(self):
        server = self.start()
        for slot in (2, 0, 1):
            self.assertEqual(self.complete(server, id_slot=slot)["id_slot"], slot)
        self.assertIn(self.complete(server, id_slot=-1)["id_slot"], (0, 1, 2))
        status, error = server.post("/completion", {"prompt": "a", "id_slot": 3})
        self.assertEqual(status, 400)
        self.assertIn("slot 3", error["error"]["message"])

    def test_what_was_saved_is_there_after_a_restart(self):
        server = self.start()
        first = self.complete(server)
        self.assertEqual(first["timings"]["cache_n"], 0)
        status, saved = self.act(server, "save", filename="boat.bin")
        self.assertEqual((status, saved["id_slot"], saved["filename"]), (200, 1, "boat.bin"))
        self.assertGreater(saved["n_saved"], 50)
        self.assertEqual(saved["n_written"], os.path.getsize(f"{self.folder}/boat.bin"))
        self.assertEqual(server.close()[0], 0)
        server = self.start()
        status, restored = self.act(server, "restore", filename="boat.bin")
        self.assertEqual((status, restored["n_restored"], restored["n_read"]),
                         (200, saved["n_saved"], saved["n_written"]))
        again = self.complete(server)
        self.assertGreater(again["timings"]["cache_n"], 50)
        self.assertEqual(again["content"], first["content"])
        self.assertIsNone(server.get("/api/loadline/state")[1]["trouble"])

    def test_an_erased_slot_is_read_anew(self):
        server = self.start()
        self.complete(server)
        self.assertGreater(self.complete(server)["timings"]["cache_n"], 0)
        status, erased = self.act(server, "erase")
        self.assertEqual((status, erased["id_slot"]), (200, 1))
        self.assertGreater(erased["n_erased"], 50)
        self.assertEqual(self.complete(server)["timings"]["cache_n"], 0)

    def test_names_stay_within_the_folder(self):
        server = self.start()
        self.complete(server)
        for name in ("", "../x", "/tmp/x", "a/b", ".hidden", "..", "a\\b", "a\nb", "a\0b", "n" * 300, None, 5):
            self.assertEqual(self.act(server, "save", filename=name)[0], 400, repr(name))
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(self.act(server, "restore", filename="nothing")[0], 400)
        self.assertEqual(self.act(server, "save", slot=7, filename="x")[0], 400)
        self.assertEqual(self.act(server, "fly", filename="x")[0], 400)

    def test_files_that_are_none_are_refused_and_leave_nothing(self):
        server = self.start()
        self.complete(server)
        self.act(server, "save", filename="good")
        self.act(server, "erase")
        with open(f"{self.folder}/good", "rb") as file:
            good = file.read()
        middle = len(good) // 2
        bad = {"empty": b"", "text": b"hello" * 100, "short": good[:-1], "long": good + b"x",
               "model": good[:16] + b"0" * 16 + good[32:], "type": good[:32] + b"\xff" + good[33:],
               "many": good[:48] + b"\xff" * 8 + good[56:], "token": good[:56] + b"\xff" * 4 + good[60:],
               "damaged": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1:]}
        for name, data in bad.items():
            with open(f"{self.folder}/{name}", "wb") as file:
                file.write(data)
            status, error = self.act(server, "restore", filename=name)
            self.assertEqual(status, 400, name)
            self.assertIn(name, error["error"]["message"])
        self.assertIn("another model", self.act(server, "restore", filename="model")[1]["error"]["message"])
        self.assertEqual(self.complete(server)["timings"]["cache_n"], 0)
        self.assertEqual(self.act(server, "restore", filename="good")[0], 200)

    def test_a_killed_server_leaves_whole_files(self):
        server = self.start()
        self.complete(server)
        body = json.dumps({"filename": "boat"}).encode()
        with server.connect() as connection:
            connection.sendall(b"POST /slots/1?action=save HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                               % (len(body), body) * 20)
            self.assertIn(b" 200 ", connection.recv(65536))
            server.kill()
        self.assertEqual(os.listdir(self.folder), ["boat"])
        self.assertEqual(self.act(self.start(), "restore", filename="boat")[0], 200)

    def test_without_a_folder_nothing_is_saved(self):
        server = Server("-c", "256")
        self.addCleanup(server.close)
        for action in ("save", "restore"):
            status, error = self.act(server, action, slot=0, filename="x")
            self.assertEqual((status, error["error"]["type"]), (501, "not_supported_error"))
        with self.assertRaises(RuntimeError) as raised:
            Server("-c", "256", "--slot-save-path", "/nothing/here")
        self.assertIn("/nothing/here", str(raised.exception))


if __name__ == "__main__":
    main()
