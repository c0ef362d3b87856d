"""Tests of the corpus and the tokenizer; they need nothing but Python itself.

    /usr/bin/python3 tools/demo_model/test_demo_model.py
"""

from __future__ import annotations

import re
import unittest

import bpe
import chat_corpus
import corpus
from plots import PLOTS


class Conversations(unittest.TestCase):
    def test_calls_come_only_where_the_tool_is_offered_and_are_answered(self) -> None:
        rng = corpus.random.Random(5)
        for _ in range(100):
            turns = chat_corpus.conversation(rng)
            offered = turns[0].role == "system" and turns[0].text.endswith("Tools: tide")
            for before, turn in zip(turns, turns[1:]):
                self.assertEqual(turn.role == "tool", chat_corpus.CALL in before.text)
                self.assertTrue(offered or turn.role != "tool")
            self.assertEqual(turns[-1].role, "assistant")

    def test_an_opening_is_about_what_was_asked_for(self) -> None:
        rng = corpus.random.Random(6)
        for _ in range(20):
            *_, ask, story = chat_corpus.opening(rng)
            named = [c for c in corpus.CHARACTERS if re.search(rf"\b{c.name}\b", story.text)]
            self.assertTrue(any(c.kind in ask.text.lower() or c.name in ask.text for c in named), (ask, story))


class Stories(unittest.TestCase):
    def test_a_seed_gives_the_same_stories_again(self) -> None:
        self.assertEqual(corpus.stories(7, 3), corpus.stories(7, 3))
        self.assertNotEqual(corpus.stories(7, 3), corpus.stories(8, 3))

    def test_no_story_keeps_a_mark_of_its_templates(self) -> None:
        for text in corpus.stories(11, 2000):
            self.assertIsNone(re.search(r"[{}\[\]|]|  |None|\.\.|,,|\b[Aa] [aeiou]|[.!?] [a-z]", text.replace('!" ', "")
                                        .replace('?" ', "")), text)

    def test_hero_and_friend_differ_in_pronoun_and_kind_of_animal(self) -> None:
        self.assertEqual(len({c.name for c in corpus.CHARACTERS}), len(corpus.CHARACTERS))
        for text in corpus.stories(12, 500):
            named = {c.name for c in corpus.CHARACTERS if re.search(rf"\b{c.name}\b", text)}
            self.assertEqual(len(named), 2, text)

    def test_every_plot_has_a_cast_in_each_variant(self) -> None:
        rng = corpus.random.Random(1)
        for plot in PLOTS:
            for variant in plot.variants:
                for _ in range(50):
                    hero, friend = corpus.pick_cast(plot, variant["helpers"].split(", "), rng, corpus.SMALL_CAST)
                    self.assertNotEqual(hero.pronoun, friend.pronoun)


class Words(unittest.TestCase):
    def test_words_split_as_the_gpt_2_expression_splits_them(self) -> None:
        for text, words in {
            "I'll go": ["I", "'ll", " go"],
            "a  b": ["a", " ", " b"],
            "end \n\n": ["end", " \n\n"],
            "x\n\ny": ["x", "\n", "\n", "y"],
            "tea42!?": ["tea", "42", "!?"],
            " 7 \u00bd": [" 7", " \u00bd"],
            "it's 'tis": ["it", "'s", " '", "tis"],
        }.items():
            self.assertEqual(bpe.split_words(text), words)

    def test_bytes_have_gpt_2s_letters(self) -> None:
        self.assertEqual(len(set(bpe.ALPHABET)), 256)
        self.assertEqual(bpe.to_letters(" \n\u00e9\xad"), "\u0120\u010a\u00c3\u00a9\u00c2\u0143")

    def test_training_merges_the_most_frequent_pair_first(self) -> None:
        self.assertEqual(bpe.train(["aab aab ab"], 2), [("a", "b"), ("a", "ab")])

    def test_any_text_comes_back_from_its_tokens(self) -> None:
        tokenizer = bpe.Tokenizer(bpe.train(corpus.stories(1, 20), 100), [corpus.END_OF_TEXT])
        for text in ["", "The sea.", "K\u00e4se \u2014 \u6d77 \u26f5\n\n\tx  ", corpus.END_OF_TEXT]:
            self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)


if __name__ == "__main__":
    unittest.main()
