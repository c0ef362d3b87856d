#!/usr/bin/env python3
"""Runs `loadline` and watches its memory from outside: what a control group and /proc say against what the plan says.

For each model and set of options:
  - inside a control group whose limit is the plan's RAM total, the run finishes, and the most memory it holds that the
    kernel cannot drop (anonymous, shared, page tables; not the clean page cache) is the plan's total: never more, and
    less by at most 16 MiB and 2 % (of a small plan its row for code, which can be dropped, is more than that);
  - while it generates, page faults and the resident set stay as they are;
  - with one tensor group less of RAM and no disk it is refused, before any weight is read.

    outside.py --program build/release/loadline --model FILE.gguf [--model ...] [--full]

Exit code 77 where this machine lets nobody make a control group (ctest shows it as skipped).
"""
import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from control_group import ControlGroup, NoControlGroups

MIB = 1 << 20
SKIPPED = 77
# What may still happen while 200 tokens are generated: a buffer of a stream or a stack's next page is touched for the
# first time, and the kernel moves a page, which faults without growing anything.
MOST_FAULTS = 64
MOST_GROWTH = 256 << 10


@dataclasses.dataclass
class Run:
    exit_code: int
    errors: str
    peak: int  # bytes that cannot be dropped: anonymous, shared, page tables; the most of all samples
    faults: int  # minor and major, from the first generated text to the last
    major_faults: int
    growth: int  # of the resident set without code, likewise
    tokens: str


def status_of(pid):
    """Bytes by name of /proc/PID/status; empty once the process has ended."""
    sizes = {}
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if value.endswith("kB\n"):
                    sizes[name] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return sizes


def faults_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[7]), int(fields[9])


def watch(command, group=None):
    """Runs a command to its end and samples what it holds every few milliseconds."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=group.enter if group else None)
    try:
        return sample(process)
    finally:
        process.kill()
        process.wait()


def sample(process):
    os.set_blocking(process.stdout.fileno(), False)
    run = Run(0, "", 0, 0, 0, 0, "")
    first = None
    text = b""
    while process.poll() is None:
        sizes = status_of(process.pid)
        if "RssAnon" in sizes:
            run.peak = max(run.peak, sizes["RssAnon"] + sizes["RssShmem"] + sizes["VmPTE"])
            text += process.stdout.read() or b""
            if text:
                minor, major = faults_of(process.pid)
                # Not code, which comes in as it is first run, a dozen pages at a time, and is the page cache's.
                resident = sizes["RssAnon"] + sizes["RssShmem"]
                first = first or (minor, major, resident)
                run.faults = minor + major - first[0] - first[1]
                run.major_faults = major - first[1]
                run.growth = max(run.growth, resident - first[2])
        time.sleep(0.004)
    run.exit_code = process.returncode
    run.errors = process.stderr.read().decode(errors="replace")
    run.tokens = (text + (process.stdout.read() or b"")).decode(errors="replace")
    return run


class Check:
    def __init__(self, program, model):
        self.program, self.model = program, model
        self.failures = 0

    def expect(self, right, what):
        if not right:
            self.failures += 1
            print(f"  WRONG: {what}", file=sys.stderr)

    def plan(self, flags):
        answer = subprocess.run([self.program, "plan", "-m", self.model, *flags, "--json"], capture_output=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"plan {flags}: {answer.stderr.decode()}")
        return json.loads(answer.stdout)

    def run_command(self, flags, ram, tokens):
        return [self.program, "run", "-m", self.model, *flags, "--ram", str(ram), "--disk", "off", "-p", "one two three",
                "--no-display-prompt", "--ignore-eos", "-n", str(tokens)]

    def check(self, flags, tokens):
        plan = self.plan(flags)
        total = sum(arena["size"] for arena in plan["arenas"] if arena["tier"] == 0)
        runtime = sum(arena["size"] for arena in plan["arenas"] if arena["tier"] == 0 and arena["purpose"] == "runtime")
        group = ControlGroup("memory")
        try:
            group.set("memory.limit_in_bytes", "memory.max", total)
            run = watch(self.run_command(flags, total, tokens), group)
        finally:
            group.remove()
        off = run.peak - total
        print(f"{os.path.basename(self.model)} {' '.join(flags) or '(defaults)'}: planned {total / MIB:.1f} MiB (runtime "
              f"{runtime / MIB:.1f}, held {(run.peak - total + runtime) / MIB:.1f}), held at most {run.peak / MIB:.1f} ({off / MIB:+.1f}); {tokens} tokens: "
              f"{run.faults} page faults ({run.major_faults} major), resident set +{run.growth >> 10} KiB", flush=True)
        self.expect(run.exit_code == 0, f"the run inside the limit ended with {run.exit_code}: {run.errors}")
        self.expect(-min(16 * MIB, max(total // 50, 10 * MIB)) <= off <= 0,
                    f"held {run.peak} bytes where {total} are planned")
        self.expect(len(run.tokens) > 0, "nothing was generated")
        self.expect(run.faults <= MOST_FAULTS, "page faults while generating")
        self.expect(run.growth <= MOST_GROWTH, "the resident set grew while generating")

        less = total - smallest_group(plan)
        refused = watch(self.run_command(flags, less, tokens))
        self.expect(refused.exit_code == 3, f"with {less} bytes of RAM it ended with {refused.exit_code}: {refused.errors}")
        self.expect(refused.peak < runtime + 32 * MIB, f"held {refused.peak} bytes before it refused")
        self.expect("RAM" in refused.errors, f"the refusal names no RAM: {refused.errors}")


def smallest_group(plan):
    """Bytes of the smallest layer half: attention, or feed-forward, by the names of the weights."""
    sums = {}
    for region in plan["regions"]:
        parts = region["name"].split(".")
        if region["purpose"] == "weights" and parts[0] == "blk":
            group = (parts[1], "attention" if parts[2].startswith("attn") else "feed-forward")
            sums[group] = sums.get(group, 0) + region["size"]
    return min(sums.values())


# Context, batch and KV type, each with another.
QUICK = [[], ["-c", "256", "-b", "64", "-ctk", "q8_0", "-ctv", "q8_0"]]
FULL = [["-c", "4096"], ["-c", "512", "-b", "64"], ["-c", "16384", "-ctk", "q8_0", "-ctv", "q8_0"],
        ["-c", "2048", "-b", "2048", "-ctk", "f32"], ["-c", "8192", "-np", "4", "-b", "256", "-ctv", "q8_0"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/loadline")
    parser.add_argument("--model", action="append", required=True, help="a GGUF file, or the name of a shape to synthesise")
    parser.add_argument("--folder", default=".", help="where shapes are synthesised")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--full", action="store_true", help="several contexts, batches and types of the KV cache")
    options = parser.parse_args()
    try:
        ControlGroup("memory").remove()
    except NoControlGroups as problem:
        print(f"skipped: no control group can be made here ({problem})")
        return SKIPPED
    failures = 0
    for model in options.model:
        made = None
        if not os.path.exists(model):
            made = os.path.join(options.folder, f"memory-test-{os.getpid()}-{model}.gguf")
            subprocess.run([options.program, "synth", "--shape", model, made], check=True, stdout=subprocess.DEVNULL)
        try:
            check = Check(options.program, made or model)
            for flags in FULL if options.full else QUICK:
                check.check(flags, options.tokens)
            failures += check.failures
        finally:
            if made:
                os.remove(made)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
