#!/usr/bin/env python3
"""What `loadline plan` predicts against what is measured, for models on this machine, in one table.

    bench/predictions.py [--program build/release/loadline] FILE.gguf...

Prompt and generation come from `loadline bench`; loading from a run whose file was dropped from the page cache before.
Predictions rest on `loadline devices --measure -m FILE.gguf`; run that first. Exit code 1 where generation is off by more
than 10 %, a prompt by more than 15 % or loading by more than 25 %.
"""
import argparse
import json
import os
import re
import subprocess
import sys

MOST_OFF = {"generation": 0.10, "prompt": 0.15, "load": 0.25}


def output_of(command):
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)}: {answer.stderr.strip()}")
    return answer


def measured_loading(program, model):
    with open(model, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    run = output_of([program, "run", "-m", model, "-p", "x", "-n", "1", "-c", "256"])
    return float(re.search(r"loaded in ([0-9.]+) s", run.stderr).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="FILE.gguf")
    parser.add_argument("--program", default="build/release/loadline")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt, one batch")
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{'model':<24} {'':<11} {'predicted':>10} {'measured':>10} {'off':>7}")
    wrong = 0
    for model in options.models:
        shape = ["-p", str(options.prompt), "-b", str(options.prompt), "-n", str(options.generate)]
        bench = json.loads(output_of([options.program, "bench", "-m", model, "--json", "-r", str(options.repeats), *shape]).stdout)
        measured = {"prompt": bench["tests"][0]["tokens_per_second"], "generation": bench["tests"][1]["tokens_per_second"]}
        plan = json.loads(output_of([options.program, "plan", "-m", model, "--json", "-c", "256"]).stdout)
        predicted = {**bench["predicted"], "load": plan["prediction"]["load_seconds"]}
        measured["load"] = measured_loading(options.program, model)
        for what, unit in (("generation", "tok/s"), ("prompt", "tok/s"), ("load", "s")):
            off = predicted[what] / measured[what] - 1
            bad = abs(off) > MOST_OFF[what]
            wrong += bad
            name = os.path.basename(model)[:24] if what == "generation" else ""
            print(f"{name:<24} {what:<11} {predicted[what]:>10.2f} {measured[what]:>10.2f} {off:>+6.0%} {unit}"
                  f"{'  too far' if bad else ''}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
