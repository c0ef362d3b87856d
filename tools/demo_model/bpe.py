"""Byte-level byte-pair encoding as GPT-2 defines it: the byte alphabet, the splitting into words, training, encoding.

Words are split as the expression named "gpt-2" in `tokenizer.ggml.pre` splits them:
    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
Python's own `re` has no \\p classes, so `split_words` follows the expression by hand with `unicodedata`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict

_CONTRACTIONS = ("'re", "'ve", "'ll", "'s", "'t", "'m", "'d")
# \s of the expression: ASCII spaces and the Unicode White_Space property.
_SPACES = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


def byte_alphabet() -> list[str]:
    """The character that stands for each byte: printable Latin-1 as it is, the others from U+0100 on, in order."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        letters.setdefault(byte, chr(0x100 + len(letters) - len(visible)))
    return [letters[byte] for byte in range(256)]


ALPHABET = byte_alphabet()
_BYTE_OF = {letter: byte for byte, letter in enumerate(ALPHABET)}


def _char_class(char: str) -> str:
    """"s" for white space, "L" for a letter, "N" for a number, "o" for anything else."""
    if char in _SPACES:
        return "s"
    category = unicodedata.category(char)[0]
    return category if category in "LN" else "o"


def split_words(text: str) -> list[str]:
    """Splits text into the words that are encoded one by one; joined, they are the text again."""
    words: list[str] = []
    classes = [_char_class(c) for c in text]
    at, end = 0, len(text)
    while at < end:
        contraction = next((c for c in _CONTRACTIONS if text.startswith(c, at)), None)
        if contraction:
            words.append(contraction)
            at += len(contraction)
            continue
        first = at + 1 if text[at] == " " and at + 1 < end and classes[at + 1] != "s" else at
        stop = first
        while stop < end and classes[stop] == classes[first]:
            stop += 1
        # A run of spaces leaves its last one to the word that follows, unless it is the only one.
        if classes[first] == "s" and stop < end and stop - at > 1:
            stop -= 1
        words.append(text[at:stop])
        at = stop
    return words


def to_letters(word: str) -> str:
    """The word's UTF-8 bytes, each as its letter of the alphabet."""
    return "".join(ALPHABET[byte] for byte in word.encode("utf-8"))


def train(texts: list[str], merges_wanted: int) -> list[tuple[str, str]]:
    """Learns merges: at each step the most frequent pair of neighbours (the smaller pair among equals)."""
    counts = Counter(word for text in texts for word in split_words(text))
    words = [(list(to_letters(word)), count) for word, count in sorted(counts.items())]
    pair_counts: dict[tuple[str, str], int] = defaultdict(int)
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for index, (symbols, count) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_counts[pair] += count
            where[pair].add(index)

    merges: list[tuple[str, str]] = []
    while len(merges) < merges_wanted:
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair), default=None)
        if best is None or pair_counts[best] < 1:
            raise ValueError(f"the corpus allows only {len(merges)} merges")
        merges.append(best)
        for index in where.pop(best):
            symbols, count = words[index]
            for pair in zip(symbols, symbols[1:]):
                pair_counts[pair] -= count
            symbols[:] = _merge(symbols, best)
            for pair in zip(symbols, symbols[1:]):
                pair_counts[pair] += count
                where[pair].add(index)
        del pair_counts[best]
    return merges


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins every occurrence of the pair, from left to right."""
    joined: list[str] = []
    at = 0
    while at < len(symbols):
        if at + 1 < len(symbols) and (symbols[at], symbols[at + 1]) == pair:
            joined.append(symbols[at] + symbols[at + 1])
            at += 2
        else:
            joined.append(symbols[at])
            at += 1
    return joined


class Tokenizer:
    """Encodes and decodes with a vocabulary: specials first, then the 256 bytes, one token per merge, later specials."""

    def __init__(self, merges: list[tuple[str, str]], specials: list[str], later: tuple[str, ...] = ()) -> None:
        self.merges = merges
        self.specials = specials
        self.later = later
        self.tokens = [*specials, *sorted(ALPHABET), *(a + b for a, b in merges), *later]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            raise ValueError("two merges make the same token")
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._cache: dict[str, list[int]] = {}

    def _encode_word(self, word: str) -> list[int]:
        symbols = list(to_letters(word))
        while len(symbols) > 1:
            pair = min(zip(symbols, symbols[1:]), key=lambda p: self._ranks.get(p, len(self._ranks)))
            if pair not in self._ranks:
                break
            symbols = _merge(symbols, pair)
        return [self.ids[symbol] for symbol in symbols]

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text: specials written in it are not recognised, none is added."""
        ids: list[int] = []
        for word in split_words(text):
            if word not in self._cache:
                self._cache[word] = self._encode_word(word)
            ids += self._cache[word]
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of the ids, specials left out."""
        plain = range(len(self.specials), len(self.tokens) - len(self.later))
        letters = "".join(self.tokens[i] for i in ids if i in plain)
        return bytes(_BYTE_OF[letter] for letter in letters).decode("utf-8", errors="replace")
