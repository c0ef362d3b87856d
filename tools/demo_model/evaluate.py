"""Judges an exported model, from the GGUF file alone: a numpy forward pass, perplexity, samples.

    /usr/bin/python3 evaluate.py held-out models/demo-heldout.txt           writes the held-out stories
    /usr/bin/python3 evaluate.py perplexity models/demo.gguf models/demo-heldout.txt
    /usr/bin/python3 evaluate.py sample models/demo.gguf --count 4 --temperature 0.8
    /usr/bin/python3 evaluate.py names models/demo.gguf --count 20 --temperature 0.8
    /usr/bin/python3 evaluate.py compare models/demo.gguf build/demo_model/stage2.pt

The held-out file has its stories separated by lines that hold `<|endoftext|>` alone. Perplexity is taken story by
story: the context is BOS and the story so far, and every token of it and the end of text after it are predicted.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

import gguf
from bpe import Tokenizer
from corpus import CHARACTERS, END_OF_TEXT, stories

SEPARATOR = f"\n{END_OF_TEXT}\n"
HELD_OUT_STORIES = 32


class Model:
    """The llama forward pass over the tensors of a GGUF file, in float32."""

    def __init__(self, path: Path) -> None:
        self.metadata, self.tensors = gguf.read(path)
        tokens = self.metadata["tokenizer.ggml.tokens"]
        merges = [tuple(merge.split(" ")) for merge in self.metadata["tokenizer.ggml.merges"]]
        self.tokenizer = Tokenizer(merges, [END_OF_TEXT])
        if self.tokenizer.tokens != tokens:
            raise ValueError("tokens and merges of the file do not agree")
        self.end: int = self.metadata["tokenizer.ggml.eos_token_id"]

    def _value(self, key: str) -> Any:
        return self.metadata[f"llama.{key}"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self._value("attention.layer_norm_rms_epsilon")) * self.tensors[name]

    def _rotate(self, x: np.ndarray) -> np.ndarray:
        """Turns the pairs (0, 1), (2, 3), ... of x [time, heads, dim] by position times their frequency."""
        dim = x.shape[-1]
        angle = np.arange(len(x))[:, None] * float(self._value("rope.freq_base")) ** (-np.arange(0, dim, 2) / dim)
        cos, sin = (f(angle).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = np.empty_like(x)
        turned[..., 0::2] = even * cos - odd * sin
        turned[..., 1::2] = even * sin + odd * cos
        return turned

    def _attention(self, x: np.ndarray, prefix: str) -> np.ndarray:
        heads, kv_heads = self._value("attention.head_count"), self._value("attention.head_count_kv")
        time = len(x)
        q = self._rotate((x @ self.tensors[prefix + "attn_q.weight"].T).reshape(time, heads, -1))
        k = self._rotate((x @ self.tensors[prefix + "attn_k.weight"].T).reshape(time, kv_heads, -1))
        v = (x @ self.tensors[prefix + "attn_v.weight"].T).reshape(time, kv_heads, -1)
        future = np.triu(np.full((time, time), -np.inf, dtype=np.float32), 1)
        out = np.empty_like(q)
        for head in range(heads):
            kv = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, kv].T / np.float32(math.sqrt(q.shape[-1])) + future
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            out[:, head] = weights / weights.sum(axis=-1, keepdims=True) @ v[:, kv]
        return out.reshape(time, -1) @ self.tensors[prefix + "attn_output.weight"].T

    def logits(self, ids: list[int]) -> np.ndarray:
        """[time, vocabulary] for the ids at positions from 0."""
        x = self.tensors["token_embd.weight"][ids]
        for layer in range(self._value("block_count")):
            prefix = f"blk.{layer}."
            x = x + self._attention(self._norm(x, prefix + "attn_norm.weight"), prefix)
            h = self._norm(x, prefix + "ffn_norm.weight")
            gate = h @ self.tensors[prefix + "ffn_gate.weight"].T
            up = h @ self.tensors[prefix + "ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.tensors[prefix + "ffn_down.weight"].T
        return self._norm(x, "output_norm.weight") @ self.tensors["token_embd.weight"].T

    def sample(self, prompt: str, temperature: float, seed: int, limit: int = 400) -> str:
        """Continues the prompt until the end of text; temperature 0 takes the likeliest token."""
        rng = np.random.default_rng(seed)
        ids = [self.end, *self.tokenizer.encode(prompt)]
        while len(ids) < limit:
            last = self.logits(ids)[-1].astype(np.float64)
            if temperature > 0:
                weights = np.exp((last - last.max()) / temperature)
                token = int(rng.choice(len(last), p=weights / weights.sum()))
            else:
                token = int(last.argmax())
            if token == self.end:
                return f"{self.tokenizer.decode(ids)}\n[ended, {len(ids) - 1} tokens]"
            ids.append(token)
        return f"{self.tokenizer.decode(ids)}\n[did not end]"


def perplexity(model: Model, text: str) -> tuple[float, int]:
    """Perplexity over the stories of a held-out text, and the number of tokens predicted."""
    total, count = 0.0, 0
    for passage in text.strip("\n").split(SEPARATOR):
        ids = [model.end, *model.tokenizer.encode(passage), model.end]
        logits = model.logits(ids[:-1]).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = logits[np.arange(len(ids) - 1), ids[1:]]
        total += float((np.log(np.exp(logits).sum(axis=-1)) - chosen).sum())
        count += len(ids) - 1
    return math.exp(total / count), count


def keeps_its_cast(text: str) -> bool:
    """Whether a sampled story came to its end and names two characters, as every story of the corpus does."""
    names = {c.name for c in CHARACTERS if re.search(rf"\b{c.name}\b", text)}
    return len(names) == 2 and "[ended" in text


def compare(model: Model, checkpoint_path: Path) -> tuple[float, float]:
    """Largest difference to the logits of the trained network on one story, and their spread."""
    import torch

    from network import Network, Shape

    checkpoint = torch.load(checkpoint_path)
    network = Network(Shape(**checkpoint["shape"]))
    network.load_state_dict(checkpoint["weights"])
    ids = [model.end, *model.tokenizer.encode(stories(5, 1)[0])]
    with torch.no_grad():
        expected = network(torch.tensor([ids]))[0].numpy()
    return float(np.abs(model.logits(ids) - expected).max()), float(expected.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("held-out")
    command.add_argument("out", type=Path)
    command = commands.add_parser("perplexity")
    command.add_argument("model", type=Path)
    command.add_argument("text", type=Path)
    for name in ("sample", "names"):
        command = commands.add_parser(name)
        command.add_argument("model", type=Path)
        command.add_argument("--prompt", default="Once upon a time")
        command.add_argument("--count", type=int, default=1)
        command.add_argument("--temperature", type=float, default=0.0)
    command = commands.add_parser("compare")
    command.add_argument("model", type=Path)
    command.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()

    if arguments.command == "held-out":
        from train import HELD_OUT_SEED

        texts = stories(HELD_OUT_SEED, HELD_OUT_STORIES, settled=True)
        arguments.out.write_text(SEPARATOR.join(texts) + "\n", encoding="utf-8")
        return
    model = Model(arguments.model)
    if arguments.command == "perplexity":
        value, count = perplexity(model, arguments.text.read_text(encoding="utf-8"))
        print(f"perplexity {value:.4f} over {count} tokens")
    elif arguments.command == "sample":
        for seed in range(arguments.count):
            print(model.sample(arguments.prompt, arguments.temperature, seed), "\n")
    elif arguments.command == "names":
        texts = [model.sample(arguments.prompt, arguments.temperature, seed) for seed in range(arguments.count)]
        print(f"{sum(map(keeps_its_cast, texts))} of {arguments.count} stories end and keep their two characters")
    else:
        difference, spread = compare(model, arguments.checkpoint)
        print(f"largest difference of a logit {difference:.2g} (logits spread {spread:.2g})")


if __name__ == "__main__":
    main()
