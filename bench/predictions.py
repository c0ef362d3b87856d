#!/usr/bin/env python3
"""What `loadline plan` predicts against what is measured, for models on this machine, in one table.

    bench/predictions.py [--program build/release/loadline] [--rounds 3] FILE.gguf...

A round measures the machine (`loadline devices --measure -m FILE.gguf`), asks for the predictions, measures generation
and prompt with `loadline bench` and loading with a run whose file was dropped from the page cache, and measures the
machine again. A figure counts where the machine stayed what it was: the reading rate of memory (for loading, also of the
disk) before and after differs by at most 5 %. The table has the medians of the rounds that count and says how many did.
Exit code 1 where generation is off by more than 10 %, a prompt by more than 15 % or loading by more than 25 %, or where
no round counts. To measure another set of kernels than the best, set LOADLINE_ISA.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

MOST_OFF = {"generation": 0.10, "prompt": 0.15, "load": 0.25}
UNITS = {"generation": "tok/s", "prompt": "tok/s", "load": "s"}
STEADY = 0.05
# Seconds after which memory that a program gave back is as any other: until then it costs less to be had again, on a
# virtual machine whose host takes it back much less.
SETTLING = 15


def output_of(command):
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)}: {answer.stderr.strip()}")
    return answer


def measured_machine(program, model):
    """Reading rates in bytes per second: of memory with all threads, of the disk."""
    time.sleep(SETTLING)
    output_of([program, "devices", "--measure", "-m", model])
    machine = json.loads(output_of([program, "devices", "--json"]).stdout)
    return machine["ram"]["read_bandwidth"][-1], machine["disk"]["read_bandwidth"]


def measured_loading(program, model):
    time.sleep(SETTLING)
    with open(model, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    run = output_of([program, "run", "-m", model, "-p", "x", "-n", "1", "-c", "256"])
    return float(re.search(r"loaded in ([0-9.]+) s", run.stderr).group(1))


def same(before, after):
    return before > 0 and abs(after / before - 1) <= STEADY


def round_of(options, model, figures):
    """Adds (predicted, measured) to the figures for which the machine stayed what it was."""
    program = options.program
    memory, disk = measured_machine(program, model)
    plan = json.loads(output_of([program, "plan", "-m", model, "--json", "-c", "256"]).stdout)
    load = (plan["prediction"]["load_seconds"], measured_loading(program, model))
    shape = ["-p", str(options.prompt), "-b", str(options.prompt), "-n", str(options.generate)]
    bench = json.loads(output_of([program, "bench", "-m", model, "--json", "-r", str(options.repeats), *shape]).stdout)
    memory_after, disk_after = measured_machine(program, model)
    if not same(memory, memory_after):
        return
    for test, what in enumerate(("prompt", "generation")):
        figures[what].append((bench["predicted"][what], bench["tests"][test]["tokens_per_second"]))
    if same(disk, disk_after):
        figures["load"].append(load)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="FILE.gguf")
    parser.add_argument("--program", default="build/release/loadline")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt, one batch")
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="of `loadline bench`, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'model':<24} {'':<11} {'predicted':>10} {'measured':>10} {'off':>7}        rounds")
    wrong = 0
    for model in options.models:
        figures = {what: [] for what in MOST_OFF}
        for _ in range(options.rounds):
            round_of(options, model, figures)
        for what, pairs in figures.items():
            name = os.path.basename(model)[:24] if what == "generation" else ""
            counted = f"{len(pairs)} of {options.rounds}"
            if not pairs:
                wrong += 1
                print(f"{name:<24} {what:<11} {'the machine changed meanwhile':>29}                {counted}", flush=True)
                continue
            off = statistics.median(predicted / measured - 1 for predicted, measured in pairs)
            bad = abs(off) > MOST_OFF[what]
            wrong += bad
            predicted, measured = (statistics.median(side) for side in zip(*pairs))
            print(f"{name:<24} {what:<11} {predicted:>10.2f} {measured:>10.2f} {off:>+7.0%} {UNITS[what]:<6} {counted}"
                  f"{'  too far' if bad else ''}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
