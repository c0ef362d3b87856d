#!/usr/bin/env python3
"""Runs clang-tidy over our sources, several at a time, and not again over what passed before.

A source's verdict depends on its text, on our headers it includes, on its compile command, on .clang-tidy and on the
clang-tidy program. A hash over these is kept in build/lint/passed once a source is clean. Headers are checked through
the sources that include them. Also holds file names to snake_case, which clang-tidy does not look at.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "lint"
CACHE = BUILD / "passed"
CLANG_TIDY = "clang-tidy-19"
OWN_FOLDERS = ("src", "tests", "bench", "fuzz")
FILE_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*\.(cpp|h|inc)")


def compile_commands():
    """Source (absolute path) -> the command's arguments; where a file is compiled twice, the first."""
    commands = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        source = Path(entry["directory"], entry["file"]).resolve()
        if source.is_relative_to(ROOT) and source.relative_to(ROOT).parts[0] in OWN_FOLDERS:
            commands.setdefault(source, (shlex.split(entry["command"]), entry["directory"]))
    return commands


def own_headers(source, command):
    """Our own headers that `source` includes, directly or not, as the compiler sees it."""
    arguments, folder = command
    if Path(arguments[0]).name == "ccache":
        arguments = arguments[1:]
    listing = [a for a in arguments if a not in ("-c",)]
    at = listing.index("-o")
    del listing[at : at + 2]
    made = subprocess.run(listing + ["-MM"], cwd=folder, capture_output=True, text=True)
    if made.returncode != 0:
        return None  # clang-tidy will say why
    words = made.stdout.replace("\\\n", " ").split()[1:]
    paths = {Path(folder, word).resolve() for word in words}
    return sorted(p for p in paths if p.is_relative_to(ROOT) and p != source)


def digest(source, command, headers, rules):
    total = hashlib.sha256(rules)
    total.update(json.dumps(command).encode())
    for path in [source, *headers]:
        total.update(str(path).encode() + b"\0")
        total.update(path.read_bytes() if path.exists() else b"gone")
    return total.hexdigest()


def cache_file(source):
    return CACHE / (str(source.relative_to(ROOT)).replace("/", "__") + ".json")


def passed_before(source, command, rules):
    try:
        record = json.loads(cache_file(source).read_text())
        headers = [Path(h) for h in record["headers"]]
        return record["digest"] == digest(source, command, headers, rules)
    except (OSError, ValueError, KeyError):
        return False


def hash_of_rules(deep):
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    total = hashlib.sha256(version + (b"deep" if deep else b""))
    for path in [ROOT / ".clang-tidy", *(f / ".clang-tidy" for f in map(ROOT.joinpath, OWN_FOLDERS))]:
        if path.exists():
            total.update(path.read_bytes())
    return total.digest()


def check(source, command, rules, deep):
    """The complaints about one source, empty where it is clean."""
    headers = own_headers(source, command)
    before = digest(source, command, headers or [], rules)
    more = ["--checks=clang-analyzer-*,-clang-analyzer-optin.performance.Padding"] if deep else []
    run = subprocess.run(
        [CLANG_TIDY, "--quiet", *more, "-p", str(BUILD), str(source)], cwd=ROOT, capture_output=True, text=True
    )
    if run.returncode != 0:
        return run.stdout or run.stderr
    if headers is not None and before == digest(source, command, headers, rules):
        CACHE.mkdir(parents=True, exist_ok=True)
        cache_file(source).write_text(json.dumps({"digest": before, "headers": [str(h) for h in headers]}))
    return ""


def bad_file_names():
    names = []
    for folder in OWN_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".cpp", ".h", ".inc") and "node_modules" not in path.parts:
                if not FILE_NAME.fullmatch(path.name):
                    names.append(path.relative_to(ROOT))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--deep", action="store_true", help="with the static analyser, ten seconds a file")
    parser.add_argument("files", nargs="*", type=Path, help="only these sources")
    options = parser.parse_args()

    commands = compile_commands()
    if options.files:
        wanted = [f.resolve() for f in options.files]
        unknown = [f for f in wanted if f not in commands]
        if unknown:
            sys.exit(f"lint: not a source that is compiled: {unknown[0]}")
        commands = {f: commands[f] for f in wanted}

    rules = hash_of_rules(options.deep)

    failed = 0
    for name in bad_file_names():
        failed += 1
        print(f"{name}: file names are snake_case")
    # The largest first, so that no slow one is left for the end.
    to_check = [s for s in commands if not passed_before(s, commands[s], rules)]
    to_check.sort(key=lambda s: -s.stat().st_size)
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(check, s, commands[s], rules, options.deep): s for s in to_check}
        for done, future in enumerate(as_completed(running), 1):
            if complaint := future.result():
                failed += 1
                print(complaint, flush=True)
            if sys.stderr.isatty():
                print(f"\rlint: {done} of {len(to_check)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty() and to_check:
        print("\r\033[K", end="", file=sys.stderr)
    state = f"{failed} with complaints" if failed else "clean"
    print(f"lint: {len(commands)} sources, {len(to_check)} checked now, {state}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
