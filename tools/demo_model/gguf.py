"""GGUF version 3, as much of it as the demo model needs: a writer, a reader, and the encodings F32, F16 and Q8_0."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

ALIGNMENT = 32
BLOCK = 32  # values in a Q8_0 block

# Tensor types (ggml_type) and metadata value types (gguf_metadata_value_type) by their numbers in the format.
TENSOR_TYPES = {"F32": 0, "F16": 1, "Q8_0": 8}
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}  # general.file_type
_SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}
_STRING, _ARRAY = 8, 9
_NUMBERS = {"u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": _STRING}


def encode_tensor(values: np.ndarray, type_name: str) -> bytes:
    """The bytes of a row-major float32 array in the given type; Q8_0: a half scale and 32 signed bytes a block."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if type_name == "F32":
        return values.tobytes()
    if type_name == "F16":
        return values.astype(np.float16).tobytes()
    blocks = values.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    rounded = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled)  # halves away from zero
    packed = np.empty(len(blocks), dtype=[("d", "<f2"), ("qs", "i1", BLOCK)])
    packed["d"] = scale[:, 0].astype(np.float16)
    packed["qs"] = rounded.astype(np.int8)
    return packed.tobytes()


def decode_tensor(data: bytes, type_number: int, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array that the bytes stand for."""
    if type_number == TENSOR_TYPES["F32"]:
        return np.frombuffer(data, "<f4").reshape(shape)
    if type_number == TENSOR_TYPES["F16"]:
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(shape)
    packed = np.frombuffer(data, dtype=[("d", "<f2"), ("qs", "i1", BLOCK)])
    return (packed["d"].astype(np.float32)[:, None] * packed["qs"].astype(np.float32)).reshape(shape)


def _encoded_size(type_number: int, count: int) -> int:
    return {0: 4 * count, 1: 2 * count, 8: count // BLOCK * (2 + BLOCK)}[type_number]


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(kind: str, value: Any) -> bytes:
    """One value with its type; a kind ending in [] is an array."""
    def bare(item: Any, base: str) -> bytes:
        return _string(item) if base == "str" else struct.pack(_SCALARS[_NUMBERS[base]], item)

    if kind.endswith("[]"):
        base = kind[:-2]
        head = struct.pack("<IIQ", _ARRAY, _NUMBERS[base], len(value))
        return head + b"".join(bare(item, base) for item in value)
    return struct.pack("<I", _NUMBERS[kind]) + bare(value, kind)


def write(path: Path, metadata: dict[str, tuple[str, Any]], tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    """Writes a file. metadata: key to (kind, value); tensors: name to (type name, row-major float32 array)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(_string(key) + _value(kind, value) for key, (kind, value) in metadata.items())
    body = bytearray()
    for name, (type_name, values) in tensors.items():
        head += _string(name) + struct.pack("<I", values.ndim)
        # GGUF names the fastest dimension first.
        head += b"".join(struct.pack("<Q", size) for size in reversed(values.shape))
        head += struct.pack("<IQ", TENSOR_TYPES[type_name], len(body))
        body += encode_tensor(values, type_name)
        body += bytes(-len(body) % ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + body)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and decoded tensors of a file that `write` wrote."""
    data = path.read_bytes()
    at = 0

    def take(layout: str) -> Any:
        nonlocal at
        value = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
        return value[0] if len(value) == 1 else value

    def take_string() -> str:
        nonlocal at
        length = take("<Q")
        at += length
        return data[at - length: at].decode("utf-8")

    def take_value(kind: int) -> Any:
        if kind == _STRING:
            return take_string()
        if kind == _ARRAY:
            item, count = take("<IQ")
            return [take_value(item) for _ in range(count)]
        return take(_SCALARS[kind])

    magic, version, tensor_count, key_count = take("<4sIQQ")
    if magic != b"GGUF" or version != 3:
        raise ValueError(f"{path} is not a GGUF file of version 3")
    metadata = {}
    for _ in range(key_count):
        key = take_string()
        metadata[key] = take_value(take("<I"))
    table = []
    for _ in range(tensor_count):
        name = take_string()
        shape = tuple(reversed([take("<Q") for _ in range(take("<I"))]))
        table.append((name, shape, *take("<IQ")))
    start = at + -at % ALIGNMENT
    tensors = {}
    for name, shape, type_number, offset in table:
        size = _encoded_size(type_number, int(np.prod(shape)))
        tensors[name] = decode_tensor(data[start + offset: start + offset + size], type_number, shape)
    return metadata, tensors
