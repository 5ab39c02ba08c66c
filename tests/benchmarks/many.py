#!/usr/bin/env python3
"""Rows a second through Ray Data, with one and two workers: the README's program as it is but for the number of workers.

Usage: python3 tests/benchmarks/many.py --weights FOLDER [--weights FOLDER] [--tiny FOLDER] [--rows 12000] [--workers 1,2]

--weights  a folder that Project2 wrote: MiniLM, or a variant such as best_MiniLM_small
--tiny     a folder that a tiny script wrote, with tinymodel.py
Without either: MiniLM, small and tiny 10 kB of the first seed of whole.py's six emotions, which are there after its part `train`.
The rows are validation texts of the six emotions over and over, in twelve Parquet files, in parts of 64 kB. Rows a second are those
of the whole command, with the start of Ray and the loading of the models; without the start they are the rows of all parts but
the first, over the seconds from when the first was written to when the last was. A tiny model gets twenty times the rows. No
seed: nothing is drawn. Each row is checked to have come out once. One worker has one core, two have two, so that Ray's own work
is in the figures. The peer is one worker.
"""
import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program_of(tiny, workers):
    """Return the README's program for so many workers; for a tiny model with the line that the README's table gives."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        text = file.read()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    program = next(block for block in blocks if "map_batches(" in block)
    changes = {'int(ray.cluster_resources()["CPU"])': str(workers), "4 * 2**20": "64 * 2**10"}
    if tiny:
        line = re.search(r"`(rows\.map\(lambda .*?\))`", text)[1]
        changes |= {re.search(r"rows\.map_batches\(.*?\)\)\n", program, re.DOTALL)[0]: f"{line[:-1]}, concurrency=cores)\n",
                    '"working_dir": "Project2"': '"working_dir": weights', '(0, "Project2")': "(0, weights)",
                    "from emotion_classifier import Classifier": "import tinymodel"}
    for old, new in changes.items():
        program = program.replace(old, new)
    return program


def rates(program, workers, weights, rows, folder):
    """Return the rows a second of a program, with and without its start, on as many cores as it has workers."""
    import pandas as pd
    with open(os.path.join(ROOT, os.pardir, "shared", "data", "emotion", "validation.csv"), encoding="utf-8") as file:
        texts = pd.read_csv(file)["text"].tolist()
    source, target = os.path.join(folder, f"rows_{rows}"), os.path.join(folder, f"out_{time.time_ns()}")
    if not os.path.isdir(source):
        os.mkdir(source)
        table = pd.DataFrame({"number": range(rows), "text": [texts[row % len(texts)] for row in range(rows)]})
        for part in range(12):
            table[part * rows // 12:(part + 1) * rows // 12].to_parquet(os.path.join(source, f"{part:02}.parquet"))
    path = os.path.join(folder, "many.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(program)
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:workers])
    started = time.perf_counter()
    done = subprocess.run([sys.executable, path, weights, source, target], cwd=ROOT, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - started
    os.sched_setaffinity(0, cores)
    if done.returncode:
        sys.exit(done.stdout[-3000:])
    parts = sorted((os.stat(os.path.join(target, name)).st_mtime, os.path.join(target, name)) for name in os.listdir(target))
    numbers = [pd.read_parquet(path)["number"].tolist() for _, path in parts]
    if sorted(itertools.chain(*numbers)) != list(range(rows)):
        sys.exit(f"{sum(map(len, numbers))} rows came out of {rows}")
    return rows / seconds, (rows - len(numbers[0])) / (parts[-1][0] - parts[0][0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", action="append", default=[])
    parser.add_argument("--tiny", action="append", default=[])
    parser.add_argument("--rows", type=int, default=12000)
    parser.add_argument("--workers", type=lambda text: [int(number) for number in text.split(",")], default=[1, 2])
    options = parser.parse_args()
    if not options.weights + options.tiny:
        six = os.path.join(ROOT, "outputs", "benchmark", "whole", "six")
        options.weights = [os.path.join(six, "MiniLM_1", "best_MiniLM"), os.path.join(six, "MiniLM_variants_1", "best_MiniLM_small")]
        options.tiny = [os.path.join(six, "tiny_10_kB_1")]
    path = os.path.join(ROOT, "outputs", "benchmark", "whole", "many.json")  # whole.py puts it into its own
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(path, False) for path in options.weights] + [(path, True) for path in options.tiny]
        for (model, tiny), workers in itertools.product(jobs, options.workers):
            rows, weights = options.rows * (20 if tiny else 1), os.path.abspath(model)
            whole, running = rates(program_of(tiny, workers), workers, weights, rows, folder)
            figures = {"rows": rows, "rows_per_second": whole, "without_start": running}
            found.setdefault(os.path.basename(weights), {})[str(workers)] = figures
            print(f"{weights}, {workers} workers: {rows:,} rows, {whole:,.0f} a second; without the start {running:,.0f}", flush=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
