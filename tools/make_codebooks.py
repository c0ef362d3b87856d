#!/usr/bin/env python3
"""make_codebooks.py GRIDS: the codebooks of the IQ formats, packed, for src/quant and the shaders.

GRIDS has a file NAME.bin per codebook, a byte per value, entry after entry (../shared/data/grids). An entry becomes a number of
16 bits, value after value from the lowest bits on: two bits for each of eight values that are one of three, three bits for each
of four values that are one of eight. Run from the project's root; what it writes is part of the source.
"""
import pathlib
import sys

# name, values in an entry, bits for a value, the values in order
CODEBOOKS = [
    ("iq2_xxs", 8, 2, [8, 25, 43]),
    ("iq2_xs", 8, 2, [8, 25, 43]),
    ("iq2_s", 8, 2, [8, 25, 43]),
    ("iq3_xxs", 4, 3, [4, 12, 20, 28, 36, 44, 52, 62]),
    ("iq3_s", 4, 3, [1, 3, 5, 7, 9, 11, 13, 15]),
    ("iq1_s", 8, 2, [255, 0, 1]),
]


def packed(path, length, bits, values):
    data = path.read_bytes()
    entries = []
    for first in range(0, len(data), length):
        codes = [values.index(value) for value in data[first : first + length]]
        entries.append(sum(code << bits * i for i, code in enumerate(codes)))
    return entries


def lines(numbers, each):
    text = [f"0x{number:04X}" for number in numbers]
    return "".join("    " + ", ".join(text[i : i + each]) + ",\n" for i in range(0, len(text), each))


def main():
    grids = pathlib.Path(sys.argv[1])
    made = "// Made by tools/make_codebooks.py."
    source = [f"{made} An entry has its values' codes from the lowest bits on: quant/codebooks.h says what they mean.\n"]
    shader = [f"{made} Where each codebook begins among all of them, which the device has one after the\n"
              "// other: entries of 16 bits, each of codes from the lowest on (quant/codebooks.h).\n"]
    begin = 0
    for name, length, bits, values in CODEBOOKS:
        entries = packed(grids / f"{name}.bin", length, bits, values)
        stem = "".join(part.capitalize() for part in name.split("_"))
        source.append(f"constexpr std::uint16_t kPacked{stem}[] = {{\n{lines(entries, 16)}}};\n")
        shader.append(f"const uint k{stem} = {begin}u;\n")
        begin += len(entries)
    pathlib.Path("src/quant/codebooks.inc").write_text("".join(source))
    shader.append("\n// Their address.\nuint64_t codebooks();\n\n"
                  "uint grid_entry(uint codebook, uint index) {\n"
                  "  return load_half(codebooks() + 2u * (codebook + index));\n"
                  "}\n")
    pathlib.Path("src/backend/vulkan/shaders/formats/codebooks.glsl").write_text("".join(shader))


main()
