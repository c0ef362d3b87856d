"""Turns a checkpoint of train.py into a GGUF file that any llama-compatible reader loads.

    /usr/bin/python3 export.py build/demo_model/stage2.pt models/demo.gguf --type Q8_0
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gguf
from bpe import Tokenizer
from corpus import END_OF_TEXT
from network import Shape

_NORMAL, _CONTROL = 1, 3  # tokenizer.ggml.token_type


def metadata(shape: Shape, tokenizer: Tokenizer, type_name: str) -> dict[str, tuple[str, Any]]:
    """Everything a reader needs to know, in the order in which it is written."""
    end = tokenizer.ids[END_OF_TEXT]
    special = len(tokenizer.specials)
    return {
        "general.architecture": ("str", "llama"),
        "general.type": ("str", "model"),
        "general.name": ("str", "Loadline demo"),
        "general.description": ("str", "Tells little stories of the sea; made by tools/demo_model of Loadline"),
        "general.license": ("str", "mit"),
        "general.size_label": ("str", "3.5M"),
        "general.file_type": ("u32", gguf.FILE_TYPES[type_name]),
        "general.quantization_version": ("u32", 2),
        "llama.vocab_size": ("u32", shape.vocab_size),
        "llama.context_length": ("u32", shape.context_length),
        "llama.embedding_length": ("u32", shape.embedding_length),
        "llama.block_count": ("u32", shape.block_count),
        "llama.feed_forward_length": ("u32", shape.feed_forward_length),
        "llama.attention.head_count": ("u32", shape.head_count),
        "llama.attention.head_count_kv": ("u32", shape.head_count_kv),
        "llama.attention.layer_norm_rms_epsilon": ("f32", shape.rms_epsilon),
        "llama.rope.dimension_count": ("u32", shape.head_dim),
        "llama.rope.freq_base": ("f32", shape.rope_freq_base),
        "tokenizer.ggml.model": ("str", "gpt2"),
        "tokenizer.ggml.pre": ("str", "gpt-2"),
        "tokenizer.ggml.tokens": ("str[]", tokenizer.tokens),
        "tokenizer.ggml.token_type": ("i32[]", [
            *[_CONTROL] * special, *[_NORMAL] * (len(tokenizer.tokens) - special - len(tokenizer.later)),
            *[_CONTROL] * len(tokenizer.later)]),
        "tokenizer.ggml.merges": ("str[]", [f"{left} {right}" for left, right in tokenizer.merges]),
        "tokenizer.ggml.bos_token_id": ("u32", end),
        "tokenizer.ggml.eos_token_id": ("u32", end),
        "tokenizer.ggml.add_bos_token": ("bool", True),
        "tokenizer.ggml.add_eos_token": ("bool", False),
    }


def tensors(weights: dict[str, torch.Tensor], type_name: str) -> dict[str, tuple[str, np.ndarray]]:
    """The network's parameters under their GGUF names, which are the names they already have; norms stay F32."""
    return {name: (type_name if value.dim() == 2 else "F32", value.numpy()) for name, value in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=list(gguf.TENSOR_TYPES), default="Q8_0")
    arguments = parser.parse_args()
    checkpoint = torch.load(arguments.checkpoint)
    shape = Shape(**checkpoint["shape"])
    tokenizer = Tokenizer([tuple(merge) for merge in checkpoint["merges"]], [END_OF_TEXT])
    gguf.write(arguments.out, metadata(shape, tokenizer, arguments.type),
               tensors(checkpoint["weights"], arguments.type))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, step {checkpoint['step']}")


if __name__ == "__main__":
    main()
