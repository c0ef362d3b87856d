"""A folder of models behind one port: listed, loaded by name, unloaded when their bytes are needed or nobody uses them."""

import json
import os
import tempfile
import unittest

from server import Server, events, main, until

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models")


def make_folder(case):
    folder = tempfile.TemporaryDirectory()
    case.addCleanup(folder.cleanup)
    os.mkdir(f"{folder.name}/sub")
    for name, model in (("alpha.gguf", "demo"), ("beta.gguf", "demo-chat"), ("sub/gamma.GGUF", "demo")):
        os.symlink(os.path.abspath(f"{MODELS}/{model}.gguf"), f"{folder.name}/{name}")
    with open(f"{folder.name}/broken.gguf", "w") as broken:
        broken.write("this is no model")
    with open(f"{folder.name}/notes.txt", "w") as notes:
        notes.write("nor is this")
    return folder.name


class Models(unittest.TestCase):
    def start(self, *arguments):
        server = Server("-c", "1024", "-np", "2", "--models", make_folder(self), *arguments)
        self.addCleanup(self.end, server)
        return server

    def end(self, server):
        code, said = server.close()
        self.assertEqual(code, 0, said)

    def states(self, server):
        return {one["id"]: one["status"]["value"] for one in server.get("/v1/models")[1]["data"]}

    def details(self, server):
        """Of all models, once all were looked at."""
        answer = until(lambda: server.get("/api/loadline/models")[1],
                       lambda all: all["folder"] and not any(one["fit"] is None and one["unusable"] is None
                                                             for one in all["models"]))
        return {one["name"]: one for one in answer["models"]}

    def chat(self, server, model, **more):
        return server.post("/v1/chat/completions", {"model": model, "max_tokens": 4, "messages": [
            {"role": "user", "content": "hello"}], **more})

    def test_lists_what_there_is_and_what_each_would_do_here(self):
        server = self.start()
        details = self.details(server)
        self.assertEqual(set(details), {"alpha", "beta", "gamma", "broken"})
        self.assertIsNotNone(details["broken"]["unusable"])
        self.assertTrue(details["alpha"]["fit"]["fits"])
        self.assertGreater(details["alpha"]["fit"]["generation_rate"], 0)
        self.assertNotEqual(details["alpha"]["quantization"], "")
        self.assertEqual(self.states(server), {"alpha": "unloaded", "beta": "unloaded", "gamma": "unloaded"})
        self.assertEqual({one["name"] for one in server.get("/api/tags")[1]["models"]},
                         {"alpha:latest", "beta:latest", "gamma:latest"})
        self.assertEqual(server.get("/health")[1]["status"], "ok")
        self.assertEqual(server.get("/api/ps")[1]["models"], [])
        status, shown = server.post("/api/show", {"model": "alpha:latest"})
        self.assertEqual((status, shown["details"]["format"]), (200, "gguf"))
        self.assertEqual(server.post("/api/show", {"model": "nobody"})[0], 404)
        self.assertEqual(self.states(server)["alpha"], "unloaded", "looking at a model does not load it")

    def test_a_request_loads_what_it_names_and_two_stay_where_both_fit(self):
        server = self.start("-a", "fast=alpha")
        status, answer = self.chat(server, "alpha")
        self.assertEqual(status, 200, answer)
        self.assertEqual(self.chat(server, "beta")[0], 200)
        states = self.states(server)
        self.assertEqual((states["alpha"], states["beta"], states["gamma"]), ("loaded", "loaded", "unloaded"))
        self.assertEqual(server.get("/v1/models")[1]["data"][0]["id"], "beta", "the one used last comes first")
        for name in ("fast", "ALPHA", "alpha:latest", "alpha.gguf"):
            self.assertEqual(self.chat(server, name)[0], 200)
        self.assertEqual({one["name"] for one in server.get("/api/ps")[1]["models"]}, {"alpha:latest", "beta:latest"})
        self.assertEqual(server.get("/props?model=beta")[1]["model_alias"], "beta")
        lines = server.request("POST", "/api/chat", {"model": "gamma", "messages": [
            {"role": "user", "content": "hello"}], "options": {"num_predict": 3}})[2].splitlines()
        self.assertTrue(json.loads(lines[-1])["done"])

    def test_names_are_looked_up_and_never_become_paths(self):
        server = self.start()
        for name in ("nobody", "../alpha", "sub/../alpha", "/etc/passwd", "notes", "sub/gamma/../../alpha", "alpha\0",
                     "..", "."):
            self.assertEqual(self.chat(server, name)[0], 404, name)
            self.assertEqual(server.post("/api/generate", {"model": name, "prompt": "a"})[0], 404, name)
            self.assertEqual(server.post("/models/load", {"model": name})[0], 404, name)
        status, answer = self.chat(server, "broken")
        self.assertEqual(status, 400, answer)
        self.assertEqual(server.post("/v1/chat/completions?autoload=false", {"model": "alpha", "messages": [
            {"role": "user", "content": "hello"}]})[0], 400)
        self.assertEqual(set(self.states(server).values()), {"unloaded"})

    def test_a_file_that_comes_later_is_found(self):
        server = self.start()
        self.assertEqual(self.chat(server, "later")[0], 404)
        folder = os.path.dirname(server.process.args[server.process.args.index("--models") + 1] + "/")
        os.symlink(os.path.abspath(f"{MODELS}/demo.gguf"), f"{folder}/later.gguf")
        self.assertEqual(self.chat(server, "later")[0], 200)

    def test_routes_of_a_router_load_and_unload(self):
        server = self.start()
        self.assertEqual(server.post("/models/load", {"model": "alpha"}), (200, {"success": True}))
        self.assertEqual(self.states(server)["alpha"], "loaded")
        self.assertEqual(server.post("/models/unload", {"model": "alpha"}), (200, {"success": True}))
        self.assertEqual(self.states(server)["alpha"], "unloaded")
        self.assertEqual(server.post("/models/unload", {"model": "alpha"})[0], 400)
        self.assertEqual(server.post("/models/load", {})[0], 400)
        self.assertEqual(server.request("DELETE", "/models?model=alpha")[0], 501)

    def test_is_kept_as_long_as_is_asked_for(self):
        server = self.start()

        def generate(**more):
            return server.post("/api/generate", {"model": "alpha", "stream": False, "options": {"num_predict": 2},
                                                 **more})

        self.assertEqual(generate(keep_alive=0)[1]["done_reason"], "unload")
        self.assertEqual(self.states(server)["alpha"], "unloaded")
        self.assertEqual(generate()[1]["done_reason"], "load")
        self.assertEqual(generate(prompt="a", keep_alive="1h30m")[0], 200)
        self.assertFalse(server.get("/api/ps")[1]["models"][0]["expires_at"].startswith("2318"))
        self.assertEqual(generate(prompt="a", keep_alive=-1)[0], 200)
        self.assertTrue(server.get("/api/ps")[1]["models"][0]["expires_at"].startswith("2318"))
        for nonsense in ("soon", "5 minutes", "", True, [], "1h-3m"):
            self.assertEqual(generate(prompt="a", keep_alive=nonsense)[0], 400, nonsense)
        self.assertEqual(self.states(server)["alpha"], "loaded")
        self.assertEqual(generate(prompt="a", keep_alive="10ms")[1]["done"], True)
        until(lambda: self.states(server)["alpha"], lambda state: state == "unloaded")

    def test_the_one_used_longest_ago_makes_room_once_its_answers_are_given(self):
        first = self.start()
        needs = max(one["fit"]["ram"] for one in self.details(first).values() if one["fit"])
        requests = first.get("/api/loadline/models")[1]["requests"]
        server = self.start("--ram", str(requests + needs * 5 // 4))
        long = {"model": "alpha", "prompt": "Once upon", "n_predict": 900, "temperature": 0, "ignore_eos": True}
        whole = server.post("/completion", long)[1]["content"]
        connection, received = server.begin("/completion", {**long, "stream": True})
        with connection:
            self.assertEqual(self.chat(server, "beta")[0], 200)
            while b"0\r\n\r\n" not in received[-64:]:
                received += connection.recv(1 << 20)
        texts = [one["content"] for one in events(received.split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n"))]
        self.assertEqual("".join(texts), whole)
        states = self.states(server)
        self.assertEqual((states["alpha"], states["beta"]), ("unloaded", "loaded"))
        self.assertEqual(self.chat(server, "alpha")[0], 200)
        states = self.states(server)
        self.assertEqual((states["alpha"], states["beta"]), ("loaded", "unloaded"))

    def test_no_more_is_held_than_all_plans_and_their_requests_say(self):
        server = self.start()
        self.assertEqual(server.get("/api/loadline/models")[1]["planned"], 0)
        planned = []
        for model in ("alpha", "beta"):
            self.assertEqual(self.chat(server, model)[0], 200)
            now = server.get("/api/loadline/models")[1]
            self.assertIsNone(now["trouble"])
            self.assertLessEqual(now["held"], now["planned"])
            planned.append(now["planned"])
            self.assertGreater(server.get("/api/loadline/state")[1]["tiers"][0]["purposes"]["runtime"], 0)
        self.assertGreater(planned[1], planned[0])
        self.assertGreater(planned[0], now["requests"])

    def test_each_model_may_have_options_of_its_own(self):
        with tempfile.NamedTemporaryFile("w", suffix=".ini") as presets:
            presets.write("version = 1\n\n; for all\n[*]\ntemp = 0.25\nctx-size = 512\n\n[Beta]\n--temp = 0.5\n"
                          "no-kv-offload\npooling = mean\n")
            presets.flush()
            server = self.start("--models-preset", presets.name)
            for model, heat in (("alpha", 0.25), ("beta", 0.5)):
                self.assertEqual(self.chat(server, model)[0], 200)
                settings = server.get(f"/props?model={model}")[1]["default_generation_settings"]
                self.assertEqual(settings["params"]["temperature"], heat)
                self.assertEqual(settings["n_ctx"], 1024, "the command line has the last word")
        for text, said in (("[*]\nnothing = 1\n", "line 2: a model has no option \"nothing\""), ("temp = 1\n", "belongs to no model"),
                           ("[x\n", "a section is written"), ("[*]\ntemp = warm\n", "line 2"), ("[*]\nport = 1\n", "no option")):
            with tempfile.NamedTemporaryFile("w") as presets:
                presets.write(text)
                presets.flush()
                with self.assertRaises(RuntimeError) as raised:
                    self.start("--models-preset", presets.name)
                self.assertIn(said, str(raised.exception))

    def test_what_does_not_fit_is_refused_and_the_others_go_on(self):
        server = self.start("--ram", "1MiB")
        status, answer = self.chat(server, "alpha")
        self.assertEqual(status, 400, answer)
        self.assertIn("hint", answer["error"])
        self.assertFalse(self.details(server)["alpha"]["fit"]["fits"])
        self.assertEqual(server.get("/health")[0], 200)


if __name__ == "__main__":
    main()
