"""Nothing in src/ writes files, prints or handles a stream in a way of its own: each has one place.

Each rule is tried on a line that breaks it first, so that one that finds nothing would be noticed.
"""

import re
import sys
from pathlib import Path

# What, where alone it may be, how it looks, and a line that must be found.
RULES = [
    ("writing files", ["base/output_file.cpp"],
     r"\bofstream\b|\bfopen\s*\(|::rename\s*\(|\bfs::rename\b|filesystem::rename|O_CREAT|O_TMPFILE|O_WRONLY|::creat\s*\("
     r"|\bmkstemp|copy_file\s*\(",
     "std::ofstream file(path);"),
    ("standard output and error", ["cli/output.cpp"],
     r"fmt::print|\bv?f?printf\s*\(|\bfwrite\s*\(|\bputs\s*\(|std::c(out|err|log|in)\b|STD(OUT|ERR)_FILENO|\bstdout\b(?!_)"
     r"|\bstderr\b(?!_)",
     'fmt::print("{}", name);'),
    ("escape sequences", ["cli/output.cpp", "cli/terminal.cpp", "plan/render.cpp"], r"\\033|\\x1[bB]|\\e\[",
     'print("\\033[31m");'),
    ("signals of streams", ["cli/output.cpp"], r"\bSIGPIPE\b|\bSIGXFSZ\b", "std::signal(SIGPIPE, SIG_IGN);"),
    # Commands to run, in backticks, may have theirs.
    ("flags named below cli/", ["cli/"],
     r'"(?:[^"`]|`[^"`]*`)*(?<![\w-])(-(c|t|b|np|ngl|ot|nkvo|ctk|ctv|ub|dev)|--[a-z][a-z-]+)(?![\w-])[^"]*"',
     'throw bad_input("give more with --ram");'),
]

# Places with a reason of their own.
ALLOWED = {
    ("hardware/measure_disk.cpp", "writing files"): "a nameless file that is measured and gone",
    ("base/output_file.cpp", "standard output and error"): "the names of descriptors",
    ("cli/terminal.cpp", "standard output and error"): "asks whether they are terminals",
    ("cli/line_editor.cpp", "standard output and error"): "libedit reads and draws there",
    ("cli/chat_terminal.cpp", "escape sequences"): "dims reasoning, through print",
    ("cli/line_editor.cpp", "escape sequences"): "asks terminals to mark what is pasted, and tells libedit how they do",
    ("cli/redraw.cpp", "escape sequences"): "redraws lines in place, through draw",
    ("cli/redraw.cpp", "standard output and error"): "asks how wide and high it is",
    ("cli/output.cpp", "writing files"): "opens /dev/null for streams that are closed",
    ("plan/suggest.cpp", "flags named below cli/"): "Suggestion::how, which is flags by its meaning",
}


def code_of(text):
    """Without comments, line by line, so that numbers stay."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    lines = []
    for line in text.split("\n"):
        lines.append(re.sub(r"(^|\s)//.*$", "", line))
    return lines


def main():
    root = Path(sys.argv[1])
    wrong = []
    for what, _, pattern, example in RULES:
        if not re.search(pattern, example):
            wrong.append(f"the rule on {what} does not find its own example")
    for path in sorted(root.rglob("*")):
        if path.suffix not in (".cpp", ".h"):
            continue
        name = path.relative_to(root).as_posix()
        lines = code_of(path.read_text(encoding="utf-8"))
        for what, places, pattern, _ in RULES:
            if (name, what) in ALLOWED or any(name == p or (p.endswith("/") and name.startswith(p)) for p in places):
                continue
            for number, line in enumerate(lines, 1):
                if re.search(pattern, line):
                    wrong.append(f"{name}:{number}: {what} has its place in {' and '.join(places)}: {line.strip()}")
    print("\n".join(wrong) or "every file keeps to the places")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
