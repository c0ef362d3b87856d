"""Texts as vectors on the demo model, in every API that has them."""

import base64
import math
import struct

from server import Server, ServerTest, main

TEXTS = ["The captain sailed the little boat.", "A whale sleeps in the sea.", "Bread."]


def length(vector):
    return math.sqrt(sum(one * one for one in vector))


def nearly(one, other):
    return len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other)) < 1e-3


class Embeddings(ServerTest):
    def embed(self, **fields):
        return self.server.post("/v1/embeddings", {"input": TEXTS, "model": "any", **fields})

    def test_gives_a_vector_of_length_one_for_each_text(self):
        status, answer = self.embed()
        self.assertEqual((status, answer["object"], answer["model"]), (200, "list", "any"))
        self.assertEqual([(one["object"], one["index"]) for one in answer["data"]],
                         [("embedding", 0), ("embedding", 1), ("embedding", 2)])
        width = self.server.get("/v1/models")[1]["data"][0]["meta"]["n_embd"]
        for one in answer["data"]:
            self.assertEqual(len(one["embedding"]), width)
            self.assertAlmostEqual(length(one["embedding"]), 1, places=5)
        self.assertFalse(nearly(answer["data"][0]["embedding"], answer["data"][1]["embedding"]))
        tokens = sum(len(self.server.post("/tokenize", {"content": text, "add_special": True})[1]["tokens"])
                     for text in TEXTS)
        self.assertEqual(answer["usage"], {"prompt_tokens": tokens, "total_tokens": tokens})

    def test_one_text_and_its_ids_give_the_same(self):
        whole = self.embed()[1]["data"][1]["embedding"]
        ids = self.server.post("/tokenize", {"content": TEXTS[1], "add_special": True})[1]["tokens"]
        for given in (TEXTS[1], [TEXTS[1]], ids, [ids]):
            answer = self.embed(input=given)[1]
            self.assertEqual(len(answer["data"]), 1)
            self.assertTrue(nearly(answer["data"][0]["embedding"], whole))

    def test_base64_is_the_same_as_little_endian_floats(self):
        whole = self.embed()[1]["data"]
        for one, other in zip(whole, self.embed(encoding_format="base64")[1]["data"]):
            data = base64.b64decode(other["embedding"], validate=True)
            self.assertTrue(nearly(struct.unpack(f"<{len(data) // 4}f", data), one["embedding"]))

    def test_texts_that_take_more_than_is_planned_are_refused(self):
        many = ["a b c d " * 450] * 600  # their tokens; vectors of so many texts would be no more than is planned
        status, error = self.embed(input=many)
        self.assertEqual((status, error["error"]["type"]), (413, "request_too_large"))
        self.assertIn("tokens", error["error"]["message"])
        self.assertEqual(self.embed()[0], 200)

    def test_numbers_are_as_short_as_what_they_stand_for(self):
        for one in self.embed()[1]["data"][0]["embedding"]:
            self.assertLessEqual(len(f"{one!r}"), 16)

    def test_the_first_dimensions_and_other_norms(self):
        whole = self.embed(input=TEXTS[0], embd_normalize=-1)[1]["data"][0]["embedding"]
        short = self.embed(input=TEXTS[0], dimensions=8)[1]["data"][0]["embedding"]
        self.assertTrue(nearly(short, [one / length(whole[:8]) for one in whole[:8]]))
        sums = self.embed(input=TEXTS[0], embd_normalize=1)[1]["data"][0]["embedding"]
        self.assertAlmostEqual(sum(abs(one) for one in sums), 1, places=4)
        self.assertEqual(self.embed(dimensions=10**6)[0], 400)

    def test_llama_cpps_own_form(self):
        for path in ("/embedding", "/v1/embedding"):
            answer = self.server.post(path, {"content": TEXTS[:2]})[1]
            self.assertEqual([one["index"] for one in answer], [0, 1])
            self.assertTrue(nearly(answer[1]["embedding"][0], self.embed()[1]["data"][1]["embedding"]))

    def test_ollamas_two_forms(self):
        answer = self.server.post("/api/embed", {"model": "demo", "input": TEXTS})[1]
        self.assertEqual(len(answer["embeddings"]), 3)
        self.assertGreater(answer["prompt_eval_count"], 0)
        self.assertTrue(nearly(answer["embeddings"][2], self.embed()[1]["data"][2]["embedding"]))
        old = self.server.post("/api/embeddings", {"model": "demo", "prompt": TEXTS[2]})[1]
        self.assertTrue(nearly(old["embedding"], answer["embeddings"][2]))

    def test_kobolds_form(self):
        answer = self.server.post("/api/extra/embeddings", {"input": TEXTS[0]})[1]
        self.assertEqual(answer["data"][0]["index"], 0)
        self.assertTrue(self.server.get("/api/extra/version")[1]["embeddings"])

    def test_more_texts_than_there_are_places(self):
        texts = [f"Boat number {number}." for number in range(50)]
        answer = self.embed(input=texts)[1]
        self.assertEqual([one["index"] for one in answer["data"]], list(range(50)))
        alone = self.embed(input=texts[37])[1]["data"][0]["embedding"]
        self.assertTrue(nearly(answer["data"][37]["embedding"], alone))

    def test_what_is_wrong_is_named(self):
        for fields, word in (({"input": None}, "input"), ({"input": ""}, "empty"), ({"input": []}, "empty"),
                             ({"input": [5.5]}, "token"), ({"input": [10**9]}, "token"),
                             ({"input": {"a": 1}}, "input"), ({"encoding_format": "hex"}, "encoding_format")):
            status, error = self.embed(**fields)
            self.assertEqual(status, 400, fields)
            self.assertIn(word, error["error"]["message"], fields)

    def test_a_text_too_long_is_refused_or_cut_where_the_dialect_cuts(self):
        text = "sea " * 5000
        status, error = self.embed(input=text)
        self.assertEqual((status, error["error"]["type"]), (400, "exceed_context_size_error"))
        cut = self.server.post("/api/embed", {"model": "demo", "input": text})
        self.assertEqual(cut[0], 200)
        self.assertEqual(self.server.post("/api/embed", {"model": "demo", "input": text, "truncate": False})[0], 400)

    def test_reranking_is_refused_with_a_sentence(self):
        status, error = self.server.post("/v1/rerank", {"query": "sea", "documents": TEXTS})
        self.assertEqual((status, error["error"]["type"]), (501, "not_supported_error"))
        self.assertIn("rank", error["error"]["message"])


class Pooling(ServerTest):
    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def test_the_mean_is_that_of_all_tokens(self):
        each = Server("-c", "256", "--pooling", "none")
        rows = each.post("/embedding", {"content": TEXTS[0], "embd_normalize": -1})[1][0]["embedding"]
        ids = each.post("/tokenize", {"content": TEXTS[0], "add_special": True})[1]["tokens"]
        self.assertEqual(len(rows), len(ids))
        self.assertEqual(each.post("/v1/embeddings", {"input": "a"})[0], 400)
        self.assertEqual(each.close()[0], 0)
        mean = Server("-c", "256", "--pooling", "mean")
        vector = mean.post("/embedding", {"content": TEXTS[0], "embd_normalize": -1})[1][0]["embedding"][0]
        self.assertEqual(mean.close()[0], 0)
        expected = [sum(column) / len(rows) for column in zip(*rows)]
        self.assertLess(max(abs(a - b) for a, b in zip(vector, expected)), 1e-2 * max(map(abs, expected)))

    def test_a_word_that_is_no_pooling_is_refused(self):
        with self.assertRaises(RuntimeError) as raised:
            Server("-c", "256", "--pooling", "first")
        self.assertIn("last, mean or none", str(raised.exception))


if __name__ == "__main__":
    main()
