"""Teaches the demo model to talk: goes on from models/demo.gguf with conversations, and writes the chat model.

    /usr/bin/python3 chat_train.py ../../models/demo.gguf talks.gguf
    /usr/bin/python3 chat_train.py talks.gguf ../../models/demo-chat.gguf --openings --steps 170 --seed 22

The second step goes on from the first's result and teaches above all that a story is about what was asked for, and a
call about the place that was named.

The vocabulary grows by the tokens of chat_corpus.CHAT_TOKENS. Only what an assistant says counts. Everything follows
from the seeds; one thread.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Iterator

import numpy as np
import torch
from torch.nn import functional as F

import gguf
from bpe import Tokenizer
from chat_corpus import CHAT_TOKENS, END, conversation, opening, tide, written
from corpus import END_OF_TEXT
from export import metadata, tensors
from network import Network, Shape
from optimiser import MuonAdam
from train import schedule

IGNORED = -100  # cross_entropy leaves these out


def grown(path: Path) -> tuple[Network, Tokenizer]:
    """A model with rows for the chat tokens: where it has none, they begin as the end of text does, with some noise."""
    meta, weights = gguf.read(path)
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(merges, [END_OF_TEXT], CHAT_TOKENS)
    shape = Shape(vocab_size=len(tokenizer.tokens))
    network = Network(shape)
    state = {name: torch.tensor(np.array(values)) for name, values in weights.items()}
    embedding = state["token_embd.weight"]
    if len(embedding) < shape.vocab_size:
        noise = torch.randn(len(CHAT_TOKENS), shape.embedding_length) * embedding.std()
        state["token_embd.weight"] = torch.cat([embedding, embedding[:1] * 0.5 + noise])
    network.load_state_dict(state)
    return network, tokenizer


def encoded(tokenizer: Tokenizer, rng: random.Random, openings: float) -> tuple[list[int], list[bool]]:
    """A conversation's ids, the beginning of text first, and which of them are to be learned.

    `openings`: how often it is only the beginning of a story that was asked for, or a question for the tide.
    """
    ids, learned = [0], [False]
    kind = rng.random()
    pieces = (written(opening(rng), whole=False) if kind < 0.6 * openings else
              written(tide(rng)) if kind < openings else written(conversation(rng)))
    for text, counts in pieces:
        for part in split_specials(text):
            new = [tokenizer.ids[part]] if part in CHAT_TOKENS else tokenizer.encode(part)
            ids += new
            learned += [counts] * len(new)
    return ids, learned


def split_specials(text: str) -> list[str]:
    """Cuts out the chat tokens of a text."""
    parts = [text]
    for special in CHAT_TOKENS[:4]:
        parts = [piece for part in parts for piece in (
            [part] if part in CHAT_TOKENS else _divided(part, special))]
    return [part for part in parts if part]


def _divided(text: str, special: str) -> list[str]:
    pieces = text.split(special)
    return [piece for pair in zip(pieces, [special] * len(pieces)) for piece in pair][:-1]


def batches(tokenizer: Tokenizer, steps: int, seed: int, rows: int, length: int,
            openings: float) -> Iterator[tuple]:
    """Rows of whole conversations, one behind the other; each begins with the beginning of text."""
    rng = random.Random(seed)
    for _ in range(steps):
        ids, targets = [], []
        for _ in range(rows):
            row, learned = encoded(tokenizer, rng, openings)
            while len(row) <= length:
                more, counts = encoded(tokenizer, rng, openings)
                row += more
                learned += counts
            ids.append(row[:length])
            targets.append([token if counts else IGNORED
                            for token, counts in zip(row[1: length + 1], learned[1: length + 1])])
        yield torch.tensor(ids), torch.tensor(targets)


def save(path: Path, network: Network, tokenizer: Tokenizer, template: str) -> None:
    """Writes the model as Q8_0."""
    end = tokenizer.ids[END]
    meta = metadata(network.shape, tokenizer, "Q8_0")
    meta["general.name"] = ("str", "Loadline demo chat")
    meta["general.description"] = ("str", "Tells little stories of the sea when asked; made by tools/demo_model of "
                                          "Loadline")
    meta["tokenizer.ggml.eos_token_id"] = ("u32", end)
    meta["tokenizer.ggml.eot_token_id"] = ("u32", end)
    meta["tokenizer.chat_template"] = ("str", template)
    gguf.write(path, meta, tensors(network.state_dict(), "Q8_0"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=280)
    parser.add_argument("--openings", action="store_true", help="teach how stories and calls begin")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(5)
    network, tokenizer = grown(arguments.demo)
    # Jinja drops one line end at the end of a template's file.
    template = (Path(__file__).parent / "chat_template.jinja").read_text().removesuffix("\n")
    rate = 0.6 if arguments.openings else 1.0
    optimiser = MuonAdam(network, matrix_rate=0.008 * rate, adam_rate=2e-3 * rate)
    began, running = time.time(), 0.0
    for step, (ids, targets) in enumerate(batches(tokenizer, arguments.steps, arguments.seed, rows=3,
                                               length=448, openings=0.9 if arguments.openings else 0)):
        logits = network(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step(schedule(step, arguments.steps, warmup=20))
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.time() - began:.0f} s cpu {time.process_time():.0f} s",
                  flush=True)
        if (step + 1) % 100 == 0 or step + 1 == arguments.steps:
            save(arguments.out, network, tokenizer, template)


if __name__ == "__main__":
    main()
