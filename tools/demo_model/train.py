"""Trains the demo model: writes the corpus, learns the vocabulary, trains the network, saves checkpoints.

    OPENBLAS_CORETYPE=SkylakeX /usr/bin/python3 train.py --out build/demo_model

Everything follows from the seeds; one thread, so that sums are always taken in the same order. A checkpoint holds the
shape, the weights and the merges, and is what export.py reads.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from pathlib import Path
from typing import Iterator

import torch
from torch.nn import functional as F

from bpe import Tokenizer, train as train_bpe
from corpus import END_OF_TEXT, stories, story
from network import Network, Shape
from optimiser import MuonAdam

CORPUS_SEED = 1  # the training stories
HELD_OUT_SEED = 2  # the stories that are never trained on
VOCABULARY_STORIES = 12000  # how many of the training stories the vocabulary is learned from


def learn_vocabulary(shape: Shape) -> Tokenizer:
    """A tokenizer of exactly shape.vocab_size tokens: the end of text, the bytes and the merges."""
    merges = train_bpe(stories(CORPUS_SEED, VOCABULARY_STORIES), shape.vocab_size - 257)
    return Tokenizer(merges, [END_OF_TEXT])


def batches(tokenizer: Tokenizer, steps: int) -> Iterator[list[list[int]]]:
    """One batch per step: rows of whole stories; the story cut off at a row's end is not continued.

    Most rows are just long enough for one story. The last fifth of the steps has rows of the full context, so that
    every position has been trained.
    """
    rng = random.Random(CORPUS_SEED)
    for step in range(steps):
        count, length = (6, 320) if step < steps * 4 // 5 else (4, 512)
        batch = []
        for _ in range(count):
            row = [0]
            while len(row) <= length:
                row += [*tokenizer.encode(story(rng)), 0]
            batch.append(row[: length + 1])
        yield batch


@torch.no_grad()
def held_out_loss(network: Network, tokenizer: Tokenizer, count: int) -> float:
    """Mean negative log-likelihood per token (nats) of whole held-out stories, the end of text included."""
    total, tokens = 0.0, 0
    for text in stories(HELD_OUT_SEED, count):
        ids = torch.tensor([0, *tokenizer.encode(text), 0])
        logits = network(ids[None, :-1])[0]
        total += F.cross_entropy(logits, ids[1:], reduction="sum").item()
        tokens += len(ids) - 1
    return total / tokens


def schedule(step: int, steps: int, warmup: int = 40) -> float:
    """Warm-up, then a straight line down to 0."""
    return min((step + 1) / warmup, (steps - step) / (steps - warmup))


def save(path: Path, network: Network, optimiser: MuonAdam, tokenizer: Tokenizer, step: int) -> None:
    """Writes a checkpoint in one go, so that it can be exported while training runs on."""
    part = path.with_suffix(".part")
    torch.save({"shape": network.shape.as_dict(), "weights": network.state_dict(), "merges": tokenizer.merges,
                "optimiser": optimiser.state(), "step": step}, part)
    part.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint.pt")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--matrix-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=3e-3)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, to the same result")
    parser.add_argument("--run-name", default="demo", help="only shown by ps")
    arguments = parser.parse_args()

    torch.manual_seed(3)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = learn_vocabulary(Shape())
    network = Network(Shape())
    print(f"{sum(p.numel() for p in network.parameters())} parameters, {len(tokenizer.tokens)} tokens", flush=True)
    optimiser = MuonAdam(network, arguments.matrix_rate, arguments.adam_rate)
    first = 0
    if arguments.resume:
        checkpoint = torch.load(arguments.out / "checkpoint.pt")
        network.load_state_dict(checkpoint["weights"])
        optimiser.restore(checkpoint["optimiser"])
        first = checkpoint["step"]
    began, running = time.time(), 0.0
    for step, ids in itertools.islice(enumerate(batches(tokenizer, arguments.steps)), first, None):
        batch = torch.tensor(ids)
        logits = network(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step(schedule(step, arguments.steps))
        running = loss.item() if step == first else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.time() - began:.0f} s cpu {time.process_time():.0f} s",
                  flush=True)
        if (step + 1) % 100 == 0 or step + 1 == arguments.steps:
            print(f"step {step + 1} held-out {held_out_loss(network, tokenizer, 40):.4f}", flush=True)
            save(arguments.out / "checkpoint.pt", network, optimiser, tokenizer, step + 1)


if __name__ == "__main__":
    main()
