#!/usr/bin/env python3
"""Compare the tiny models with fastText (whole and quantised) and scikit-learn, in one run.

Usage: python3 -m pip install -r tests/benchmarks/requirements.txt
       python3 tests/benchmarks/tinymodels.py [--data FOLDER] [--picture FILE.png]

Data: FOLDER/train.txt and FOLDER/test.txt, `label<TAB>text` (../shared/data/twitter by default; a
tiny script's own outputs/.../data serves as well). All are trained on the same rows and scored on
the same test rows; fastText and scikit-learn get lower-cased text, fastText with its tutorial's
spaces around punctuation. Each fastText setting is trained with one thread and seed 0, so that a
run can be repeated. Predictions a second: one core, one text at a time; the tiny models through
their C header (gcc -Os), fastText through its C++ predict, both from texts already in memory;
scikit-learn in one batch, which favours it.
"""
import argparse
import json
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time

import fasttext
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMED_RUNS = 5  # of the whole test set; the fastest counts

SPEED = """\
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "tinymodel.h"
int main(int argc, char **argv) {
  FILE *file = fopen(argv[1], "rb");
  uint32_t n = 0, i, length, run, positive = 0;
  char **texts = NULL; uint32_t *lengths = NULL; double best = 1e9;
  (void)argc;
  while (fread(&length, 4, 1, file) == 1) {
    texts = realloc(texts, (n + 1) * sizeof *texts); lengths = realloc(lengths, (n + 1) * sizeof *lengths);
    texts[n] = malloc(length + 1); lengths[n] = length;
    if (fread(texts[n++], 1, length, file) != length) return 1;
  }
  for (run = 0; run < RUNS; run++) {
    struct timespec a, b; double seconds;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (i = 0; i < n; i++) positive += tinymodel_predict(texts[i], lengths[i]) > 0.5f;
    clock_gettime(CLOCK_MONOTONIC, &b);
    seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    if (seconds < best) best = seconds;
  }
  printf("%f %u\\n", n / best, positive);
  return 0;
}
"""


def read_rows(path):
    """Return (texts, labels) of a `label<TAB>text` file: list of str, array of 0 and 1."""
    with open(path, encoding="utf-8", newline="\n") as file:
        rows = [row.split("\t", 1) for row in file.read().split("\n") if "\t" in row]
    return [text for _, text in rows], np.array([int(label) for label, _ in rows])


def fastest(work):
    """Return the least seconds of TIMED_RUNS calls of `work`."""
    times = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def tiny(size, data, folder, texts):
    """Run a tiny script as users do, then time its header; return a row of the table."""
    out = os.path.join(folder, size)
    script = os.path.join(ROOT, f"tinymodel-emotion-classification-{size}.py")
    subprocess.run([sys.executable, script, "--TRAIN_URL", f"{data}/train.txt", "--TEST_URL", f"{data}/test.txt", "--OUTPUT_DIR", out], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    with open(os.path.join(out, "speed.c"), "w", encoding="utf-8") as file:
        file.write(SPEED.replace("RUNS", str(TIMED_RUNS)))
    with open(os.path.join(out, "texts"), "wb") as file:
        for text in texts:
            file.write(len(text.encode()).to_bytes(4, "little") + text.encode())
    subprocess.run(["gcc", "-Os", "-o", "speed", "speed.c"], cwd=out, check=True)
    speed = float(subprocess.run(["./speed", "texts"], cwd=out, check=True, capture_output=True, text=True).stdout.split()[0])
    return f"tinymodel {size}", results["final_test_accuracy"], results["model_bytes"], results["training_seconds"], speed


def fasttext_rows(train, train_labels, test, test_labels, folder):
    """Train fastText on words and on pairs, whole and quantised; return rows of the table."""
    spaced = lambda text: re.sub(r"([.!?,'/()])", r" \1 ", text.lower())
    path = os.path.join(folder, "fasttext.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"__label__{label} {spaced(text)}\n" for text, label in zip(train, train_labels))
    lines = [spaced(text) + "\n" for text in test]
    rows = []

    def add(name, model, seconds):
        saved = os.path.join(folder, "fasttext.model")
        model.save_model(saved)
        model = fasttext.load_model(saved)
        predictions = [model.f.predict(line, 1, 0.0, "strict")[0][1] for line in lines]
        accuracy = float(np.mean([prediction == f"__label__{label}" for prediction, label in zip(predictions, test_labels)]))
        speed = len(lines) / fastest(lambda: [model.f.predict(line, 1, 0.0, "strict") for line in lines])
        rows.append((name, accuracy, os.path.getsize(saved), seconds, speed))

    for name, settings in (("words", {}), ("pairs", {"wordNgrams": 2, "bucket": 200000, "lr": 0.05})):
        for cutoff in (0, 400, 10000):
            started = time.perf_counter()
            model = fasttext.train_supervised(path, dim=10, epoch=5, minCount=2, thread=1, seed=0, verbose=0, **settings)
            if cutoff:
                model.quantize(path, cutoff=cutoff, retrain=True, qnorm=True, thread=1, verbose=0)
            add(f"fastText {name}" + (f", quantised, {cutoff} kept" if cutoff else ""), model, time.perf_counter() - started)
    return rows


def sklearn_row(train, train_labels, test, test_labels):
    """Train tf-idf of words and pairs with logistic regression; return a row of the table."""
    started = time.perf_counter()
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(max_iter=1000))
    model.fit(train, train_labels)
    seconds = time.perf_counter() - started
    accuracy = float((model.predict(test) == test_labels).mean())
    return "scikit-learn tf-idf pairs, logistic", accuracy, len(pickle.dumps(model)), seconds, len(test) / fastest(lambda: model.predict(test))


def draw(rows, path):
    """Draw accuracy over bytes, logarithmic."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), dpi=130)
    for kind, colour, marker in (("tinymodel", "#c8102e", "o"), ("fastText", "#3a6ea5", "s"), ("scikit", "#5f8a3b", "^")):
        chosen = [row for row in rows if row[0].startswith(kind)]
        axes.scatter([row[2] for row in chosen], [row[1] for row in chosen], color=colour, marker=marker, zorder=3, label=kind.replace("scikit", "scikit-learn"))
        for name, accuracy, size, _, _ in chosen:
            label = ", ".join(part for part in re.sub(r"^(fastText|tinymodel|scikit-learn) |, logistic", "", name).split(", ") if "kept" not in part)
            above = "pairs" in name
            axes.annotate(label, (size, accuracy), textcoords="offset points", xytext=(5, 6 if above else -12), fontsize=8)
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.set_xlim(5e3, 10 ** math.ceil(math.log10(max(row[2] for row in rows))) * 1.5)
    axes.set_xlabel("bytes on disk")
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(ROOT, os.pardir, "shared", "data", "twitter"))
    parser.add_argument("--picture", help="also draw accuracy over bytes into this PNG")
    options = parser.parse_args()
    fasttext.FastText.eprint = lambda text: None
    train, train_labels = read_rows(os.path.join(options.data, "train.txt"))
    test, test_labels = read_rows(os.path.join(options.data, "test.txt"))
    print(f"{len(train):,} training rows, {len(test):,} test rows of {os.path.relpath(options.data, ROOT)}; scripts' own seed, fastText seed 0")
    with tempfile.TemporaryDirectory() as folder:
        rows = [tiny(size, os.path.abspath(options.data), folder, test) for size in ("10kB", "250kB")]
        rows += fasttext_rows(train, train_labels, test, test_labels, folder)
    rows.append(sklearn_row(train, train_labels, test, test_labels))
    print("| model | test accuracy | bytes | training, s | texts a second, one core |\n|---|---|---|---|---|")
    for name, accuracy, size, seconds, speed in rows:
        print(f"| {name} | {accuracy:.4f} | {size:,} | {seconds:.1f} | {speed:,.0f} |")
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
