#!/usr/bin/env python3
"""Whether `loadline tune` finds what a sweep finds: its setting against the best of up to 60 points of a grid.

    bench/tune_sweep.py [--program build/release/loadline] [--seconds 120] [--points 60] MODEL [-- OPTIONS]

OPTIONS go to every command, such as `-dev vulkan0 --vram 1.5GiB -c 2048`. The grid is of layers on the GPU (where
there is one), threads and batches; a point that does not fit is left out. Then the setting of `tune`, and the three best
of the grid, are measured in turn, a few times, so that what disturbs one of them disturbs the others too. Exit code 1
where tune's generates more than 3 % slower than the best. Needs a machine that does nothing else.
"""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time


def run(program, *arguments, cache):
    """The JSON of a command; None where the setting does not fit or is none."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, "XDG_CACHE_HOME": cache})
    if done.returncode in (2, 3):
        return None
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def flags_of(setting):
    flags = ["-t", str(setting["threads"]), "-b", str(setting["batch"])]
    if setting.get("gpu_layers") is not None:
        flags += ["-ngl", str(setting["gpu_layers"])]
    return flags


class Bench:
    def __init__(self, options, cache):
        self.options = options
        self.cache = cache

    def measure(self, setting, repeats=2):
        """(tok/s, tok/s of the prompt), the best of its runs; None where it does not fit."""
        given = self.options
        answer = run(given.program, "bench", "-m", given.model, "--json", "-p", str(given.prompt), "-n",
                     str(given.generate), "-r", str(repeats), *flags_of(setting), *given.more, cache=self.cache)
        if answer is None:
            return None
        prompt, generation = answer["tests"]
        return max(generation.get("runs", [generation["tokens_per_second"]])), prompt["tokens_per_second"]


def grid(layers, threads, most):
    """Settings, `most` at most: all batches and threads, and layers evenly spaced, both ends among them."""
    counts = sorted({max(1, round(threads * share)) for share in (0.25, 0.5, 0.75, 1)})
    batches = [128, 256, 512, 1024]
    rest = max(1, most // (len(counts) * len(batches)))
    if layers == 0:
        places = [None]
    elif rest == 1:
        places = [layers]
    else:
        places = sorted({round(layers * i / (rest - 1)) for i in range(rest)})
    return [{"gpu_layers": place, "threads": count, "batch": batch}
            for place, count, batch in itertools.product(places, counts, batches)][:most]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("more", nargs="*", metavar="OPTIONS")
    parser.add_argument("--program", default="build/release/loadline")
    parser.add_argument("--seconds", type=int, default=120, help="for tune")
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--generate", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5, help="of the comparison in the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:  # what is remembered is not this machine's
        return compare(options, cache)


def compare(options, cache):
    bench = Bench(options, cache)
    planned = run(options.program, "plan", "-m", options.model, "--json", *options.more, cache=cache)
    if planned is None:
        sys.exit("the model does not fit")
    threads = planned["shape"]["threads"]
    gpus = any(tier["kind"] == "gpu" for tier in planned["tiers"])
    layers = 0
    if gpus:  # the output counts as one more
        header = run(options.program, "inspect", options.model, "--json", cache=cache)
        layers = header["metadata"][f"{header['architecture']}.block_count"]["value"] + 1

    begin = time.monotonic()
    tuned = run(options.program, "tune", "-m", options.model, "--json", "--seconds", str(options.seconds),
                *options.more, cache=cache)
    best = {"gpu_layers": tuned["best"].get("gpu_layers"), **{k: tuned["best"][k] for k in ("threads", "batch")}}
    print(f"tune: {best}, {tuned['generation']:.2f} tok/s, {len(tuned['trials'])} settings in "
          f"{time.monotonic() - begin:.0f} s{'' if tuned['finished'] else ', then time was up'}", flush=True)

    begin = time.monotonic()
    points = []
    for setting in grid(layers, threads, options.points):
        measured = bench.measure(setting)
        if measured is not None:
            points.append((measured[0], measured[1], setting))
            print(f"  {' '.join(flags_of(setting)):<28} {measured[0]:>9.2f} {measured[1]:>9.1f}", flush=True)
    points.sort(key=lambda point: point[0], reverse=True)
    print(f"sweep: {len(points)} points in {time.monotonic() - begin:.0f} s", flush=True)

    settings = [best] + [point[2] for point in points[:3]]
    reached = [[] for _ in settings]
    for _ in range(options.rounds):
        for setting, figures in zip(settings, reached):
            figures.append(bench.measure(setting, 1))
    print("in turn (median of generation, of prompt):")
    medians = []
    for name, setting, figures in zip(["tune", "1st", "2nd", "3rd"], settings, reached):
        generation, prompt = (sorted(figure[i] for figure in figures)[len(figures) // 2] for i in (0, 1))
        medians.append(generation)
        print(f"  {name:<5} {' '.join(flags_of(setting)):<28} {generation:>9.2f} {prompt:>9.1f}")
    share = medians[0] / max(medians[1:], default=medians[0])
    print(f"tune's setting reaches {100 * share:.1f} % of the sweep's best")
    return 0 if share >= 0.97 else 1


if __name__ == "__main__":
    sys.exit(main())
