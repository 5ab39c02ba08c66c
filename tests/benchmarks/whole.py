#!/usr/bin/env python3
"""One table and one picture over all models of the house and their peers, on the same rows.

Usage: python3 -m pip install -r tests/requirements.txt -r tests/benchmarks/requirements.txt
       python3 tests/benchmarks/whole.py [train] [speed] [table] [--tasks six emotion] [--models LSTM] [--seeds 1,2,3]

train   Each model by its script's own command line with its default constants, for each task and seed, and what it says of
        the test rows after a fresh process has loaded it. All in the name of its task, model and seed is kept below
        outputs/benchmark/whole/TASK/MODEL_SEED, so that a run that is stopped goes on, and two runs can share the work
        (--tasks, --models, --core).
speed   Milliseconds for one text, texts a second and peak memory of each model of the six emotions' first seed: each in a
        process of its own on one core, all in turns, three rounds; the medians.
table   Reads what is kept, puts it in place of the same models' figures in tests/benchmarks/whole.json, writes whole.png
        and the tables of README.md and of tests/benchmarks/README.md, and prints them. Needs no model.

Tasks
    six        the six emotions: 2,000 of the training rows held out, stratified; validation.csv chooses the epoch
    polar      positive or negative, labelled by people (TweetEval's sentiment without its neutral rows)
    emotion, irony, offensive, sentiment    TweetEval's; per cent in the tasks' own measures (macro F1, F1 of irony, macro F1,
               macro recall)
    But for `six` the test rows are TweetEval's validation part, and a tenth of the training part, stratified, chooses the
    epoch of those models that take a validation file; the others do not see it. Training rows that differ from a test row in
    names, links, capitals and punctuation alone are left out, for all models alike. No test row chooses anything.

Models: the two tiny scripts, LSTM.py and GRU.py (GloVe 6B in place of GloVe Twitter; GRU.py's phase 1, which is for comparison
and does not touch phase 2, is cut to one small epoch), MiniLM and its compressed variants. Peers, trained here: fastText (dim
20, 25 epochs, pairs of words, 200,000 buckets), the same quantised with 400 and with 10,000 words kept, and tf-idf (words,
pairs, character 4-grams) with logistic regression. DistilBERT and BERT-base are as published: their cards' figures on the
official test split, verified by the hub's evaluator, other rows than ours (PUBLISHED).

Bytes are those of all files that are loaded; accuracy, macro F1 and the expected calibration error (15 bins of equal width)
are computed here, alike for all, from the probabilities. Seconds of training are those of the processor, one core, for the
whole command: start, reading, training, saving and its checks (of the peers the training alone). Means over the
seeds, with the standard deviation in brackets; what has no seed, tf-idf, is trained once.
"""
import argparse
import csv
import json
import os
import pickle
import platform
import re
import statistics
import subprocess
import sys
import time

import numpy as np

from served import spaced

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(ROOT, "outputs", "benchmark", "whole")
NAMES = ("sadness", "joy", "love", "anger", "fear", "surprise")
TASKS = ("six", "polar", "emotion", "irony", "offensive", "sentiment")
TWEETEVAL = TASKS[2:]
VARIANTS = {  # of MiniLM: its --technique
    "pruned": "prune", "int8": "quantize", "nf4": "quantize", "pruned_nf4": "combined", "onnx_int8": "onnx", "small": "small",
    "tiny": "tiny", "openvino_int8": "openvino", "openvino_int4": "openvino"}
MODELS = {  # name: (kind of served.py, its file in the folder of a run)
    "tiny 10 kB": ("tiny", "model.safetensors"), "tiny 250 kB": ("tiny", "model.safetensors"),
    "LSTM": ("keras", "model.keras"), "GRU": ("keras", "model.keras"), "MiniLM": ("transformer", "best_MiniLM"),
    **{f"MiniLM {variant}": ("transformer", f"best_MiniLM_{variant}") for variant in VARIANTS},
    "fastText": ("fasttext", "model"), "fastText, 10,000 words, quantised": ("fasttext", "model"),
    "fastText, 400 words, quantised": ("fasttext", "model"), "tf-idf, logistic regression": ("tfidf", "model")}
NO_SEED = {"tf-idf, logistic regression"}
PUBLISHED = {  # huggingface.co/bhadresh-savani/<model>: accuracy, macro F1, bytes of the weights
    "DistilBERT, published": ("distilbert-base-uncased-emotion", 0.9270, 0.8825, 267_900_000),
    "BERT-base, published": ("bert-base-uncased-emotion", 0.9265, 0.8821, 438_000_000)}
LABELS = {  # where the picture has a label, in points from its marker; above it by default
    "LSTM": (6, -24), "MiniLM tiny": (-36, -4), "MiniLM small": (26, -15), "DistilBERT, published": (-14, 8),
    "BERT-base, published": (12, -15), "tf-idf, logistic regression": (0, -15), "fastText, 400 words, quantised": (18, -15)}
PUBLISHED_TASKS = {  # on TweetEval's tests, per cent: Barbieri et al. 2020, arXiv:2010.12421
    "fastText, published": (65.2, 63.1, 73.4, 62.9), "LSTM, published": (66.0, 62.8, 71.7, 58.3),
    "RoBERTa-base, published": (76.1, 59.7, 79.5, 71.3)}


# Rows


def read_pairs(folder, part):
    """Return [(text, label name)] of TweetEval's pair of files, their names from mapping.txt."""
    columns = []
    for what in ("text", "labels"):
        with open(os.path.join(folder, f"{part}_{what}.txt"), encoding="utf-8", newline="\n") as file:
            columns.append(file.read().removesuffix("\n").split("\n"))
    names = {"0": "negative", "1": "neutral", "2": "positive"}
    if os.path.exists(os.path.join(folder, "mapping.txt")):
        with open(os.path.join(folder, "mapping.txt"), encoding="utf-8") as file:
            names = dict(line.rstrip("\n").split("\t") for line in file if line.strip())
    return [(text, names[label]) for text, label in zip(*columns, strict=True)]


def read_emotions(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["text"], NAMES[int(row["label"])]) for row in csv.DictReader(file)]


def essence(text):
    """Return what is left of a text without names, links, capitals and punctuation."""
    return re.sub(rb"@\w+|https?\S*|[^a-z0-9\x80-\xff]+", b"", text.encode().lower()) or text


def split(rows, size):
    """Return the rows without `size` of them, and these, stratified by label; always the same ones."""
    from sklearn.model_selection import train_test_split
    return train_test_split(rows, test_size=size, stratify=[label for _, label in rows], random_state=0)


def rows_of(task, data):
    """Return (train, validation, test) of a task: lists of (text, label name)."""
    if task == "six":
        folder = os.path.join(data, "emotion")
        validation = read_emotions(os.path.join(folder, "validation.csv"))
        known = {text for text, _ in validation}
        train, test = split([row for row in read_emotions(os.path.join(folder, "train.csv")) if row[0] not in known], 2000)
    else:
        folder = os.path.join(data, *(("twitter_human",) if task in ("polar", "sentiment") else ("tweeteval", task)))
        train, test = (read_pairs(folder, part) for part in ("train", "val"))
        if task == "polar":
            train, test = ([row for row in rows if row[1] != "neutral"] for rows in (train, test))
        train, validation = split(train, 0.1)
    seen = {essence(text) for text, _ in test}
    return [[row for row in rows if essence(row[0]) not in seen] for rows in (train, validation)] + [test]


def files_of(task, data):
    """Write the rows of a task, and return the paths {"train", "validation", "test": path}."""
    paths = {part: os.path.join(KEPT, task, f"{part}.csv") for part in ("train", "validation", "test")}
    if not all(map(os.path.exists, paths.values())):
        os.makedirs(os.path.dirname(paths["train"]), exist_ok=True)
        for path, rows in zip(paths.values(), rows_of(task, data)):
            write_rows(path, rows)
    return paths


def write_rows(path, rows):
    """Write a CSV of (text, label), whole or not at all."""
    with open(path + ".partial", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
    os.replace(path + ".partial", path)


def read_rows(path):
    """Return (texts, labels) of a file that `files_of` wrote: tuples of str."""
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(zip(*[(row["text"], row["label"]) for row in csv.DictReader(file)]))


# Training: each writes a model into `folder`, and returns the seconds of processor time that it took


def run(script, *options):
    """Run a Python program to its end and return its seconds of processor time, or end with what it said where it fails."""
    before, command = os.times(), [sys.executable, os.path.join(ROOT, script), *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with exit status {done.returncode}:\n{done.stdout[-3000:]}")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def write_json(path, content):
    """Write a JSON file, whole or not at all."""
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    os.replace(path + ".partial", path)


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def train_tiny(size):
    def train(paths, seed, folder, options):
        return run(f"tinymodel-emotion-classification-{size}.py", "--TRAIN_URL", paths["train"], "--TEST_URL", paths["test"],
                   "--SEED", seed, "--OUTPUT_DIR", folder)
    return train


def train_recurrent(name):
    def train(paths, seed, folder, options):
        short = ("--NUM_EPOCHS", 1, "--UNITS", 8) if name == "GRU" else ()  # phase 1
        return run(f"Project1/{name}.py", "--TRAIN_PATH", paths["train"], "--VAL_PATH", paths["validation"], "--TEST_PATH", "",
                   "--GLOVE_PATH", options.vectors, "--SEED", seed, "--OUTPUT_DIR", folder, *short)
    return train


def train_minilm(paths, seed, folder, options):
    return run("Project2/emotion_classifier.py", "--model", "MiniLM", "--train", paths["train"], "--val", paths["validation"],
               "--seed", seed, "--output", folder)


def train_variant(variant):
    def train(paths, seed, folder, options):
        """Make a variant by its technique, or all at once where all are wanted; their seconds are not told apart: None."""
        weights = os.path.join(os.path.dirname(folder), folder_name("MiniLM", seed), "best_MiniLM")
        technique = "all" if all(f"MiniLM {name}" in options.models for name in VARIANTS) else VARIANTS[variant]
        if not os.path.exists(os.path.join(folder, f"best_MiniLM_{variant}")):
            run("Project2/emotion_classifier.py", "--mode", "compress", "--weights", weights, "--train", paths["train"],
                "--val", paths["validation"], "--technique", technique, "--seed", seed, "--output", folder)
    return train


def train_fasttext(cutoff):
    def train(paths, seed, folder, options):
        import fasttext
        fasttext.FastText.eprint = lambda text: None
        rows = os.path.join(folder, "rows")
        with open(rows, "w", encoding="utf-8") as file:
            file.writelines(f"__label__{label} {spaced(text)}\n" for text, label in zip(*read_rows(paths["train"])))
        started = time.process_time()
        model = fasttext.train_supervised(rows, dim=20, epoch=25, wordNgrams=2, bucket=200000, minCount=2, thread=1, seed=seed,
                                          verbose=0)
        if cutoff:
            model.quantize(rows, cutoff=cutoff, retrain=True, qnorm=True, thread=1, verbose=0)
        seconds = time.process_time() - started
        model.save_model(os.path.join(folder, "model"))
        return seconds
    return train


def tfidf_pipeline():
    """Return the peer: tf-idf of words, pairs and character 4-grams with logistic regression, not yet fitted."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    features = make_union(TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
                          TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 4), min_df=2, sublinear_tf=True))
    return make_pipeline(features, LogisticRegression(max_iter=1000))


def train_tfidf(paths, seed, folder, options):
    started = time.process_time()
    model = tfidf_pipeline().fit(*read_rows(paths["train"]))
    seconds = time.process_time() - started
    with open(os.path.join(folder, "model"), "wb") as file:
        pickle.dump(model, file)
    return seconds


TRAIN = {"tiny 10 kB": train_tiny("10kB"), "tiny 250 kB": train_tiny("250kB"), "LSTM": train_recurrent("LSTM"),
         "GRU": train_recurrent("GRU"), "MiniLM": train_minilm,
         **{f"MiniLM {variant}": train_variant(variant) for variant in VARIANTS},
         "fastText": train_fasttext(0), "fastText, 10,000 words, quantised": train_fasttext(10000),
         "fastText, 400 words, quantised": train_fasttext(400), "tf-idf, logistic regression": train_tfidf}


def folder_name(model, seed):
    """Return the name of the folder of a run; all variants of one MiniLM share one."""
    return f"{'MiniLM variants' if model.startswith('MiniLM ') else model}_{seed}".replace(" ", "_").replace(",", "")


def model_path(task, model, seed):
    return os.path.join(KEPT, task, folder_name(model, seed), MODELS[model][1])


def figures_path(task, model, seed):
    return os.path.join(KEPT, task, "figures", f"{model}_{seed}.json".replace(" ", "_").replace(",", ""))


def serve(kind, path, rows, folder, *timed):
    """Return what served.py finds of a saved model on the texts of a file: a dict of arrays."""
    out = os.path.join(folder, f"served_{os.getpid()}.npz")
    run(os.path.join(HERE, "served.py"), kind, path, rows, out, *timed)
    with np.load(out) as content:
        found = dict(content)
    os.remove(out)
    return found


def served(task, model, seed, *timed):
    """Return what served.py finds of a saved model on its task's test rows: a dict of arrays."""
    return serve(MODELS[model][0], model_path(task, model, seed), os.path.join(KEPT, task, "test.csv"),
                 os.path.join(KEPT, task), *timed)


def calibration_error(right, confidence, bins=15):
    """Return the expected calibration error, over bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(places, confidence - right, bins)).sum() / len(right))


def measure(task, model, seed):
    """Return what a saved model gets right on the test rows of its task."""
    from sklearn.metrics import accuracy_score, f1_score, recall_score
    found, (_, truth) = served(task, model, seed), read_rows(os.path.join(KEPT, task, "test.csv"))
    probabilities, truth = found["probabilities"], np.array(truth)
    predicted = found["labels"][probabilities.argmax(1)]
    figures = {"bytes": int(found["bytes"]), "accuracy": float(accuracy_score(truth, predicted)),
               "macro F1": float(f1_score(truth, predicted, average="macro")),
               "calibration error": calibration_error(predicted == truth, probabilities.max(1))}
    own = {"irony": lambda: f1_score(truth, predicted, pos_label="irony"),
           "sentiment": lambda: recall_score(truth, predicted, average="macro")}
    return {**figures, "own measure": float(own.get(task, lambda: figures["macro F1"])())}


def train(options):
    all_runs = [(task, seed, model) for task in options.tasks for seed in options.seeds for model in options.models
                if seed == options.seeds[0] or model not in NO_SEED]
    for number, (task, seed, model) in enumerate(all_runs, 1):
        path = figures_path(task, model, seed)
        if os.path.exists(path):
            continue
        print(f"{number} of {len(all_runs)}: {task}, {model}, seed {seed}", file=sys.stderr, flush=True)
        paths, folder = files_of(task, options.data), os.path.join(KEPT, task, folder_name(model, seed))
        os.makedirs(folder, exist_ok=True)
        seconds = TRAIN[model](paths, seed, folder, options)
        figures = {**measure(task, model, seed), "core_seconds": seconds}
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_json(path, figures)


# Speed


def speed(options):
    names = [name for name in options.models if os.path.exists(model_path("six", name, options.seeds[0]))]
    rounds = {name: [] for name in names}
    for turn in range(3):
        for name in names:
            print(f"speed, round {turn + 1} of 3: {name}", file=sys.stderr, flush=True)
            found = served("six", name, options.seeds[0], "--speed")
            rounds[name].append({key: float(found[key]) for key in ("milliseconds", "texts_per_second", "peak_memory")})
    medians = {name: {key: statistics.median(figures[key] for figures in found) for key in found[0]}
               for name, found in rounds.items()}
    write_json(os.path.join(KEPT, "speed.json"),
               {"models": {name: {**figures, "processor": processor()} for name, figures in medians.items()}})


def processor():
    """Return the name of the processor, and which of the instructions that matter here it has."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            content = file.read()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", content)
    flags = [flag for flag in ("avx2", "avx512_vnni", "avx512_bf16", "amx_tile") if re.search(rf"\b{flag}\b", content)]
    return f"{name[1] if name else platform.machine()} ({', '.join(flags)})"


# Table and picture


def collect(options):
    """Return what whole.json is to hold: what it held, and the runs that are there in place of the same models' runs."""
    from importlib.metadata import version
    found = {**read_json(os.path.join(HERE, "whole.json")),
             "versions": {name: version(name) for name in ("torch", "transformers", "tensorflow", "scikit-learn")},
             "published": {name: {"accuracy": row[1], "macro F1": row[2], "bytes": row[3]} for name, row in PUBLISHED.items()}}
    for task in TASKS:
        if os.path.isdir(os.path.join(KEPT, task)):
            paths = files_of(task, options.data)
            found["rows"][task] = {part: len(read_rows(path)[0]) for part, path in paths.items()}
            for model in MODELS:
                runs = {str(seed): read_json(figures_path(task, model, seed)) for seed in options.seeds
                        if os.path.exists(figures_path(task, model, seed))}
                if runs:
                    found["figures"].setdefault(task, {})[model] = runs
    speed, many = os.path.join(KEPT, "speed.json"), os.path.join(KEPT, "many.json")  # the latter of many.py
    if os.path.exists(speed):
        found["speed"]["models"].update(read_json(speed)["models"])
    if os.path.exists(many):
        found["many"].update(read_json(many))
    return found


def mean(runs, key, form=".4f", factor=1):
    """Return the mean over seeds, with the standard deviation in brackets, as text; "" where there is none."""
    values = [factor * run[key] for run in runs.values() if run.get(key) is not None]
    if not values:
        return ""
    spread = f" ({statistics.stdev(values):{form}})" if len(values) > 1 and key != "core_seconds" else ""
    return f"{statistics.mean(values):{form}}{spread}"


def size_of(number):
    """Return bytes as people say them: three figures and a unit."""
    unit, name = next((unit, name) for unit, name in ((1e6, "MB"), (1e3, "kB"), (1, "B")) if number >= unit)
    return f"{number / unit:.{0 if number / unit >= 99.95 else 1}f} {name}"


def main_table(found):
    """Return the table of the six emotions in Markdown, a list of lines."""
    lines = ["| | bytes | accuracy | macro F1 | calibration error | one text, ms | texts a second | peak memory, MB | training, s |",
             "|---" * 9 + "|"]
    for model, runs in found["figures"].get("six", {}).items():
        timed = found["speed"]["models"].get(model)
        cells = [size_of(statistics.mean(run["bytes"] for run in runs.values())),
                 *(mean(runs, key) for key in ("accuracy", "macro F1", "calibration error")),
                 f"{timed['milliseconds']:.2g}" if timed else "", f"{timed['texts_per_second']:,.0f}" if timed else "",
                 f"{timed['peak_memory'] / 1e6:.0f}" if timed else "", mean(runs, "core_seconds", ".0f")]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    for model, row in found["published"].items():
        figures = f"{size_of(row['bytes'])} | {row['accuracy']:.4f} | {row['macro F1']:.4f}"
        lines.append(f"| {model} (official test) | {figures} |" + " |" * 5)
    return lines


def task_table(found):
    """Return the table of the other tasks in Markdown, a list of lines."""
    lines = ["| | positive or negative: accuracy | macro F1 | emotion | irony | offensive | sentiment | mean of four |",
             "|---" * 8 + "|"]
    for model in MODELS:
        runs = {task: found["figures"].get(task, {}).get(model, {}) for task in TASKS[1:]}
        if not any(runs.values()):
            continue
        own = [mean(runs[task], "own measure", ".1f", 100) for task in TWEETEVAL]
        means = [statistics.mean(run["own measure"] for run in runs[task].values()) for task in TWEETEVAL if runs[task]]
        own.append(f"{100 * statistics.mean(means):.1f}" if all(own) else "")
        lines.append(f"| {model} | {mean(runs['polar'], 'accuracy')} | {mean(runs['polar'], 'macro F1')} | {' | '.join(own)} |")
    for model, row in PUBLISHED_TASKS.items():
        lines.append(f"| {model} (tests) | | | {' | '.join(map(str, row))} | {statistics.mean(row):.1f} |")
    return lines


def draw(found, path):
    """Draw macro F1 of the six emotions over bytes, on a logarithmic axis, into a PNG."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots(figsize=(9, 4.6), dpi=120)
    looks = (("tiny", "#c8102e", "o"), ("LSTM", "#e08a00", "o"), ("GRU", "#e08a00", "o"), ("MiniLM", "#7b3fa0", "o"),
             ("fastText", "#3a6ea5", "s"), ("tf-idf", "#5f8a3b", "^"), ("", "#777777", "x"))
    quiet = {f"MiniLM {variant}" for variant in ("pruned", "int8", "nf4", "pruned_nf4", "openvino_int8", "openvino_int4")}
    points = {model: (statistics.mean(run["bytes"] for run in runs.values()), [run["macro F1"] for run in runs.values()])
              for model, runs in found["figures"].get("six", {}).items()}
    points |= {model: (row["bytes"], [row["macro F1"]]) for model, row in found["published"].items()}
    for model, (size, scores) in points.items():
        _, color, marker = next(look for look in looks if model.startswith(look[0]))
        spread = statistics.stdev(scores) if len(scores) > 1 else 0
        height, small = statistics.mean(scores), model in quiet
        axis.errorbar(size, height, spread or None, color=color, marker=marker, markersize=4 if small else 7,
                      alpha=0.5 if small else 1, linestyle="", zorder=3)
        if not small:
            axis.annotate(re.sub(", (quantised|logistic regression)", "", model), (size, height), textcoords="offset points",
                          xytext=LABELS.get(model, (0, 8)), fontsize=8, ha="center")
    axis.set(xscale="log", xlim=(5e3, 1.2e9), xlabel="bytes on disk", ylabel="macro F1",
             title="Six emotions: 2,000 rows held out, means of three seeds; published ones on the official test")
    axis.title.set_fontsize(9)
    axis.margins(y=0.12)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def put_table(path, lines):
    """Put a table into a Markdown file, in the place of the one whose head has the same first two cells, where there is one."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    head = "|".join(lines[0].split("|")[:3])  # further columns come with what is measured next
    found = re.search(rf"^{re.escape(head)}\|.*\n(\|.*\n)+", text, re.MULTILINE)
    if not found:
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text[:found.start()] + "\n".join(lines) + "\n" + text[found.end():])


def table(options):
    found = collect(options)
    put_table(os.path.join(ROOT, "README.md"), main_table(found))
    put_table(os.path.join(HERE, "README.md"), task_table(found))
    write_json(os.path.join(HERE, "whole.json"), found)
    draw(found, os.path.join(HERE, "whole.png"))
    processors = sorted({row["processor"] for row in found["speed"]["models"].values()})
    print(f"speed on one core of {' or '.join(processors)}; rows: training, validation, test")
    for task, counts in found["rows"].items():
        print(f"{task}: {', '.join(f'{count:,}' for count in counts.values())} rows")
    print("", *main_table(found), "", *task_table(found), sep="\n")
    for task, models in found["figures"].items():
        fewer = [f"{model} {len(runs)}" for model, runs in models.items()
                 if len(runs) < len(options.seeds) and model not in NO_SEED]
        if fewer:
            print(f"\n{task}: fewer seeds than {len(options.seeds)}: {', '.join(fewer)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"train": train, "speed": speed, "table": table}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all without one")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL",
                        help=f"of {', '.join(map(repr, MODELS))}")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--data", default=os.path.normpath(os.path.join(ROOT, os.pardir, "shared", "data")))
    parser.add_argument("--vectors", help="a file of word vectors; by default the GloVe 6B subset of --data")
    parser.add_argument("--core", type=int, help="run on this core (Linux); by default on the last one that there is")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in parts]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; parts are {', '.join(parts)}")
    options.vectors = options.vectors or os.path.join(options.data, "glove", "glove.6B.100d.subset.txt.gz")
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if options.core is None else options.core})
    for part in options.parts or parts:
        parts[part](options)


if __name__ == "__main__":
    main()
