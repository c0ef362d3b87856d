#!/usr/bin/env python3
"""Runs clang-tidy over our sources: many in one go, several goes at a time, and not again over what passed before.

Most of clang-tidy's time goes into the standard library's headers. So sources that are compiled alike are included,
a dozen or two together, into one, which is checked as a whole, in a fraction of the time. Two sources that define the same name for
themselves alone cannot share one; a guess from their text keeps them apart, and where the guess was wrong the compiler
says so and the sources are checked one by one.

A source's verdict depends on its text, on our files it includes, on its compile command, on .clang-tidy and on the
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
TOGETHER = BUILD / "together"
CLANG_TIDY = "clang-tidy-19"
OWN_FOLDERS = ("src", "tests", "bench", "fuzz")
FILE_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*\.(cpp|h|inc)")
INCLUDE = re.compile(r'^\s*#\s*include "([^"]+)"', re.MULTILINE)
NAMESPACE = re.compile(r"^namespace ([\w:]+) \{", re.MULTILINE)
# Bytes of sources in one go: more saves less and less, and leaves less to do at the same time.
MOST_TOGETHER = 250_000


class Source:
    def __init__(self, path, arguments, folder):
        self.path = path
        self.arguments = arguments  # of the compiler, without the source and the output
        self.folder = folder
        self.text = path.read_text()
        self.names = file_local_names(self.text)

    def key(self):
        """Sources that may be checked together have the same."""
        return json.dumps([self.arguments, self.folder])


def file_local_names(text):
    """What the source defines outside of all braces, near enough: namespaces are not indented here, so these are the
    names at the beginning of lines, with the namespace they are in."""
    scope = (NAMESPACE.findall(text) or [""])[0]
    names = set()
    for line in text.splitlines():
        if not line[:1].isalpha() or line.startswith(("using namespace ", "namespace ", "return ")):
            continue
        if test := re.match(r"[A-Z_0-9]+\(.*", line):  # TEST_F(Suite, Name) defines a name made of both
            names.add(test[0])
        elif kind := re.match(r"(?:struct|class|union|enum class|enum|using) (\w+)\b", line):
            names.add(f"{scope} {kind[1]}")
        elif words := re.findall(r"(?<![:\w])\w+$", re.split(r"\s*[({\[=;]", line)[0]):
            names.add("main" if words[0] == "main" else f"{scope} {words[0]}")
    return names


def sources():
    """Path -> Source; where a file is compiled twice, the first."""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        path = Path(entry["directory"], entry["file"]).resolve()
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in OWN_FOLDERS or path in found:
            continue
        words = shlex.split(entry["command"])
        words = words[next(i for i, word in enumerate(words) if "clang" in Path(word).name) + 1 :]  # not ccache
        at = words.index("-o")
        del words[at : at + 2]
        arguments = [w for w in words if w != "-c" and Path(entry["directory"], w).resolve() != path]
        found[path] = Source(path, arguments, entry["directory"])
    return found


class Digests:
    """Hashes over a source and whatever of ours it includes, whichever way the conditions around it go."""

    def __init__(self, rules):
        self.rules = rules
        self.files = {}  # path -> (hash of its text, the files of ours it includes)

    def file(self, path):
        if path not in self.files:
            text = path.read_bytes()
            included = set()
            for name in INCLUDE.findall(text.decode()):
                for folder in (path.parent, ROOT / "src", ROOT / "tests"):
                    if (folder / name).is_file():
                        included.add((folder / name).resolve())
                        break
            self.files[path] = (hashlib.sha256(text).digest(), sorted(included))
        return self.files[path]

    def of(self, source):
        total = hashlib.sha256(self.rules + source.key().encode())
        seen, waiting = set(), [source.path]
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            waiting += self.file(path)[1]
        for path in sorted(seen):
            total.update(str(path).encode() + b"\0" + self.file(path)[0])
        return total.hexdigest()


def cache_file(source):
    return CACHE / (str(source.path.relative_to(ROOT)).replace("/", "__") + ".sha256")


def passed_before(source, digest):
    try:
        return cache_file(source).read_text() == digest
    except OSError:
        return False


def hash_of_rules(checks):
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    total = hashlib.sha256(version + checks.encode())
    total.update((ROOT / ".clang-tidy").read_bytes())
    return total.digest()


def groups_of(to_check):
    """Lists of sources that can be checked together, the largest first, so that no slow one is left for the end."""
    by_key = {}
    for source in sorted(to_check, key=lambda s: s.path):
        by_key.setdefault(source.key(), []).append(source)
    groups = []
    for alike in by_key.values():
        total = sum(len(s.text) for s in alike)
        most = min(MOST_TOGETHER, total // max(1, round(total / MOST_TOGETHER)) + 1)
        open_groups = []
        for source in alike:
            for group in open_groups:
                fits = sum(len(s.text) for s in group) + len(source.text) <= most
                if fits and not any(source.names & other.names for other in group):
                    group.append(source)
                    break
            else:
                open_groups.append([source])
        groups += open_groups
    return sorted(groups, key=lambda g: -sum(len(s.text) for s in g))


def tidy(file, source, checks):
    """Runs clang-tidy on `file`, compiled as `source` is. Returns its complaints, empty where there are none."""
    run = subprocess.run(
        # No --config-file: it would hold the standard library to our naming rules as well, which takes longest.
        [CLANG_TIDY, "--quiet", f"--checks={checks}"]
        + [r"--header-filter=/(src|tests|bench|fuzz)/.*\.(h|cpp|inc)$", str(file), "--", *source.arguments],
        cwd=source.folder,
        capture_output=True,
        text=True,
    )
    return (run.stdout or run.stderr or "clang-tidy failed") if run.returncode != 0 else ""


def check(name, group, checks):
    """Source -> complaints; empty: it is clean; None: another of the group bears the complaint."""
    if len(group) == 1:
        return {group[0]: tidy(group[0].path, group[0], checks)}
    TOGETHER.mkdir(parents=True, exist_ok=True)
    file = TOGETHER / f"{name}.cpp"
    file.write_text("".join(f'#include "{s.path}"\n' for s in group))
    # That one source includes another is our doing.
    complaint = tidy(file, group[0], ",".join(filter(None, [checks, "-bugprone-suspicious-include"])))
    broken = {Path(path).resolve() for path in re.findall(r"^(/\S+?):\d+.*\[clang-diagnostic-error", complaint, re.M)}
    if not broken:  # which of them a complaint about a header belongs to does not matter: none has passed
        return {source: complaint if source is group[0] else None if complaint else "" for source in group}
    # Names collide. Those that the compiler stumbled over go alone, the others once more together.
    results = {}
    alone = [source for source in group if source.path in broken] or group
    for source in alone:
        results |= check(name, [source], checks)
    rest = [source for source in group if source not in alone]
    return results | (check(name, rest, checks) if rest else {})


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
    parser.add_argument("--names", action="store_true", help="only the naming rules, which is quick")
    parser.add_argument("--deep", action="store_true", help="with the static analyser, which takes many times as long")
    parser.add_argument("files", nargs="*", type=Path, help="only these sources")
    options = parser.parse_args()

    known = sources()
    wanted = list(known.values())
    if options.files:
        unknown = [f for f in options.files if f.resolve() not in known]
        if unknown:
            sys.exit(f"lint: not a source that is compiled: {unknown[0]}")
        wanted = [known[f.resolve()] for f in options.files]

    failed = 0
    for name in bad_file_names():
        failed += 1
        print(f"{name}: file names are snake_case")

    checks = ""  # those of .clang-tidy
    if options.names:
        checks = "-*,readability-identifier-naming"
    elif options.deep:
        checks = "clang-analyzer-*,-clang-analyzer-optin.performance.Padding"
    rules = hash_of_rules(checks)
    digests = Digests(rules)
    before = {source: digests.of(source) for source in wanted}
    to_check = [source for source in wanted if not passed_before(source, before[source])]
    groups = groups_of(to_check)
    CACHE.mkdir(parents=True, exist_ok=True)
    complaints = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(check, number, group, checks) for number, group in enumerate(groups)]
        for done, future in enumerate(as_completed(running), 1):
            for source, complaint in future.result().items():
                if complaint:
                    complaints[source] = complaint
                elif complaint is not None and Digests(rules).of(source) == before[source]:  # not edited meanwhile
                    cache_file(source).write_text(before[source])
            if sys.stderr.isatty():
                print(f"\rlint: {done} of {len(groups)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty() and groups:
        print("\r\033[K", end="", file=sys.stderr)
    for source in sorted(complaints, key=lambda s: s.path):
        failed += 1
        print(complaints[source], flush=True)
    state = f"{failed} with complaints" if failed else "clean"
    print(
        f"lint: {len(wanted)} sources, {len(to_check)} checked now in {len(groups)} groups, {state}", file=sys.stderr
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
