"""Trains the demo model: writes the corpus, learns the vocabulary, trains the network, saves checkpoints.

    OPENBLAS_CORETYPE=SkylakeX /usr/bin/python3 train.py --out build/demo_model

Training has two stages. In the first, names that play the same part (Mara, Nora, Lina, ...) get nearly the same
embedding, because nothing tells them apart until the network has learned to copy; the stories are sound, but a heroine
may change her name. The second, short stage settles this: its stories have one girl, one boy, one gull, ... each.

Everything follows from the seeds; one thread, so that sums are always taken in the same order. A checkpoint holds the
shape, the weights and the merges, and is what export.py reads.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Stage:
    """One stretch of training with its own rising and falling learning rates."""

    steps: int
    seed: int  # of the stories
    matrix_rate: float
    adam_rate: float
    settled: bool = False  # stories of the small cast, see corpus.story


STAGES = (
    Stage(steps=1000, seed=CORPUS_SEED, matrix_rate=0.02, adam_rate=3e-3),
    Stage(steps=120, seed=CORPUS_SEED + 100, matrix_rate=0.006, adam_rate=2e-3, settled=True),
)


def batches(tokenizer: Tokenizer, stage: Stage) -> Iterator[list[list[int]]]:
    """One batch per step: rows of whole stories; the story cut off at a row's end is not continued.

    Most rows are just long enough for one story. The last fifth of the steps has rows of the full context, so that
    every position has been trained.
    """
    rng = random.Random(stage.seed)
    for step in range(stage.steps):
        count, length = (6, 320) if step < stage.steps * 4 // 5 else (4, 512)
        batch = []
        for _ in range(count):
            row = [0]
            while len(row) <= length:
                row += [*tokenizer.encode(story(rng, stage.settled)), 0]
            batch.append(row[: length + 1])
        yield batch


@torch.no_grad()
def held_out_loss(network: Network, tokenizer: Tokenizer, count: int) -> float:
    """Mean negative log-likelihood per token (nats) of whole held-out stories, the end of text included."""
    total, tokens = 0.0, 0
    for text in stories(HELD_OUT_SEED, count, settled=True):
        ids = torch.tensor([0, *tokenizer.encode(text), 0])
        logits = network(ids[None, :-1])[0]
        total += F.cross_entropy(logits, ids[1:], reduction="sum").item()
        tokens += len(ids) - 1
    return total / tokens


def schedule(step: int, steps: int, warmup: int = 40) -> float:
    """Warm-up, then a straight line down to 0."""
    return min((step + 1) / warmup, (steps - step) / (steps - warmup))


def save(path: Path, network: Network, tokenizer: Tokenizer, step: int) -> None:
    """Writes a checkpoint in one go, so that it can be exported while training runs on."""
    part = path.with_suffix(".part")
    torch.save({"shape": network.shape.as_dict(), "weights": network.state_dict(), "merges": tokenizer.merges,
                "step": step}, part)
    part.rename(path)


def load(path: Path) -> tuple[Network, Tokenizer]:
    """The network and the vocabulary of a checkpoint."""
    checkpoint = torch.load(path)
    network = Network(Shape(**checkpoint["shape"]))
    network.load_state_dict(checkpoint["weights"])
    return network, Tokenizer([tuple(merge) for merge in checkpoint["merges"]], [END_OF_TEXT])


def run(stage: Stage, network: Network, tokenizer: Tokenizer, checkpoint: Path) -> None:
    """Trains one stage and leaves a checkpoint every 100 steps and at the end."""
    optimiser = MuonAdam(network, stage.matrix_rate, stage.adam_rate)
    began, running = time.time(), 0.0
    for step, ids in enumerate(batches(tokenizer, stage)):
        batch = torch.tensor(ids)
        logits = network(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step(schedule(step, stage.steps))
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.time() - began:.0f} s cpu {time.process_time():.0f} s",
                  flush=True)
        if (step + 1) % 100 == 0 or step + 1 == stage.steps:
            print(f"step {step + 1} held-out {held_out_loss(network, tokenizer, 40):.4f}", flush=True)
            save(checkpoint, network, tokenizer, step + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for stage1.pt and stage2.pt")
    parser.add_argument("--stage", type=int, choices=(1, 2), help="only this stage; 2 goes on from stage1.pt")
    parser.add_argument("--run-name", default="demo", help="only shown by ps")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    first = arguments.out / "stage1.pt"
    if arguments.stage != 2:
        torch.manual_seed(3)
        tokenizer = learn_vocabulary(Shape())
        run(STAGES[0], Network(Shape()), tokenizer, first)
    if arguments.stage != 1:
        torch.manual_seed(4)
        network, tokenizer = load(first)
        run(STAGES[1], network, tokenizer, arguments.out / "stage2.pt")


if __name__ == "__main__":
    main()
