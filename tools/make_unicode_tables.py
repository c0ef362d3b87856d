#!/usr/bin/env python3
"""Writes src/chat/jinja/unicode_tables.inc: what Python's str methods know of characters, as ranges.

    tools/make_unicode_tables.py > src/chat/jinja/unicode_tables.inc

Templates are written for Python's strings; its own tables are the reference (the version is in the first line).
"""
import sys
import unicodedata

LAST = 0x10FFFF


def characters():
    return (c for c in range(LAST + 1) if not 0xD800 <= c <= 0xDFFF)


def ranges(test):
    out = []
    for c in characters():
        if not test(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_ranges(name, test):
    found = ranges(test)
    print(f"constexpr Range k{name}[] = {{")
    line = ""
    for first, last in found:
        item = f"{{{first:#x}, {last:#x}}}, "
        if len(line) + len(item) > 110:
            print("    " + line.rstrip())
            line = ""
        line += item
    print("    " + line.rstrip())
    print("};")


def print_mapping(name, mapped):
    """Single characters as {first, last, stride, difference}; those that become several in a table of their own."""
    single, several = [], []
    for c in characters():
        to = mapped(chr(c))
        if to == chr(c):
            continue
        if len(to) > 1:
            several.append((c, to))
            continue
        delta = ord(to) - c
        if single and single[-1][3] == delta:
            first, last, stride, _ = single[-1]
            if first == last and c - last <= 2:
                single[-1] = [first, c, c - last, delta]
                continue
            if first != last and c - last == stride:
                single[-1][1] = c
                continue
        single.append([c, c, 1, delta])
    print(f"constexpr Mapping k{name}[] = {{")
    line = ""
    for first, last, stride, delta in single:
        item = f"{{{first:#x}, {last:#x}, {stride}, {delta}}}, "
        if len(line) + len(item) > 110:
            print("    " + line.rstrip())
            line = ""
        line += item
    print("    " + line.rstrip())
    print("};")
    print(f"constexpr Expansion k{name}Several[] = {{")
    line = ""
    for c, to in several:
        units = ", ".join(f"{ord(u):#x}" for u in to)
        item = f"{{{c:#x}, {{{units}}}}}, "
        if len(line) + len(item) > 110:
            print("    " + line.rstrip())
            line = ""
        line += item
    print("    " + (line.rstrip() or "{0, {0}},"))
    print("};")


def main():
    print(f"// Written by tools/make_unicode_tables.py; Unicode {unicodedata.unidata_version}. Ranges are inclusive.")
    print("// clang-format off")
    print_ranges("Alpha", str.isalpha)
    print_ranges("Decimal", str.isdecimal)
    print_ranges("DigitOnly", lambda c: c.isdigit() and not c.isdecimal())
    print_ranges("NumericOnly", lambda c: c.isnumeric() and not c.isdigit())
    print_ranges("NotPrintable", lambda c: not c.isprintable())
    print_ranges("Lower", str.islower)
    print_ranges("Upper", str.isupper)
    print_ranges("TitleOnly", lambda c: c.istitle() and not c.isupper())
    # Characters between a letter and a sigma that the rule of the final sigma looks past: those that are not cased, and
    # before and behind which it looks on. Found by asking Python.
    print_ranges("CaseIgnorable", lambda c: ("A" + c + "\u03a3").lower().endswith("\u03c2")
                 and not (c + "\u03a3").lower().endswith("\u03c2"))
    print_mapping("ToLower", str.lower)
    print_mapping("ToUpper", str.upper)
    print_mapping("ToTitle", str.title)
    print_mapping("Folded", str.casefold)
    print("// clang-format on")


main()
