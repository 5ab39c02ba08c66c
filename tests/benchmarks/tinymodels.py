#!/usr/bin/env python3
"""Measure the tiny models beside fastText, tf-idf with logistic regression, VADER and TextBlob: what they get right, on what
people mean and on other labels, how large they are, and how fast.

Usage: python3 -m pip install -r tests/benchmarks/requirements.txt
       python3 tests/benchmarks/tinymodels.py [sentiment] [labels] [speed] [--seeds 1,2,3] [--data FOLDER] [--picture FILE.png]

sentiment
    Positive or negative. Trained on twitter/train.txt (Sentiment140, labelled by emoticon) and twitter_human/train_*.txt
    (TweetEval, labelled by people) by the scripts with their default constants; fastText and tf-idf on the same rows, the
    neutral ones left out. Scored on twitter/test.txt (accuracy), on the positive and negative rows of twitter_human/val_*.txt
    (balanced accuracy, area under the ROC curve), and on the four sets of Hutto and Gilbert 2014 (accuracy, positive is a mean
    rating above 0), which lie in the source archive of vaderSentiment 0.5 and come through pip. VADER (compound above 0) and
    TextBlob (polarity above 0) are not trained. VADER's word list was made by the authors of the four sets.
labels
    Other labels, default constants, no setting a task: the six emotions (emotion/train.csv, scored on validation.csv), and
    TweetEval's emotion, irony, offensive and sentiment (train files, scored on the validation files, which choose nothing: the
    scripts hold rows out of the training files). In all parts training rows that differ from a row scored in names, links,
    capitals and punctuation alone are left out, for all models: half of TweetEval's sentiment validation rows here have such a
    twin among the training rows. Measures: accuracy and macro F1 for the six emotions; macro F1, F1 of irony,
    macro F1 and macro recall for TweetEval. Published figures are of TweetEval's tests: other rows, and harder ones.
speed
    Texts a second on one core, of twitter/test.txt, start-up left out, the best of five times (Python: three), all in
    the same run: tinymodel.h (gcc -O2), tinymodel.js in node and tinymodel.py, one text at a time from memory; the
    script's own reader and fastText's Python binding (dim 20, pairs of words), which take the list of all texts, fastText
    also where its preparation (blanks around punctuation, small letters) was done before. Bytes of the header's code
    (gcc -Os).

Each figure is the mean over the seeds, with the standard deviation in brackets where a seed moves it. What is done is kept in
outputs/benchmark/tinymodels (remove it to start anew). fastText: dim 20, 25 epochs (5 of more than 50,000 rows), pairs of
words, 200,000 buckets, one thread; quantised with 400 and 10,000 words kept. tf-idf: words, pairs and character 4-grams,
sublinear; logistic regression.
"""
import argparse
import hashlib
import importlib.util
import io
import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

import fasttext
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score, roc_auc_score
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from served import spaced
from whole import essence, tfidf_pipeline

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(ROOT, "tests", "programs")
OUTPUT = os.path.join(ROOT, "outputs", "benchmark", "tinymodels")
SIZES = ("10kB", "250kB")
SETS = {"tweets": "tweets", "Amazon": "amazonReviewSnippets", "films": "movieReviewSnippets",
        "editorials": "nytEditorialSnippets"}
SENTENCES = ("what a lovely day", "the film was not bad at all", "i thought i would hate it but it is brilliant",
             "no complaints, no regrets", "yeah right, best monday ever", "the train leaves at nine", "i don’t like it")
PUBLISHED = {  # on TweetEval's tests, per cent: Barbieri et al. 2020, arXiv:2010.12421
    "published SVM": (64.7, 61.7, 52.3, 62.9), "published fastText": (65.2, 63.1, 73.4, 62.9),
    "published LSTM": (66.0, 62.8, 71.7, 58.3), "published RoBERTa-base": (76.1, 59.7, 79.5, 71.3)}
TASKS = ("emotion", "irony", "offensive", "sentiment")
TIMED_RUNS = 5  # of the whole test set; the fastest counts


# Data


def read_tabbed(path):
    """Return (texts, labels) of a `label<TAB>text` file: lists of str."""
    with open(path, encoding="utf-8", newline="\n") as file:
        rows = [row.split("\t", 1) for row in file.read().split("\n") if "\t" in row]
    return [text for _, text in rows], [label for label, _ in rows]


def read_pair(folder, part):
    """Return (texts, labels) of TweetEval's pair of files: lists of str."""
    paths = [os.path.join(folder, f"{part}_{what}.txt") for what in ("text", "labels")]
    return tuple(open(path, encoding="utf-8", newline="\n").read().removesuffix("\n").split("\n") for path in paths)


def polar(texts, labels):
    """Return the rows that are not neutral, with the labels 0 and 1."""
    return tuple(map(list, zip(*[(text, {"0": "0", "2": "1"}[label]) for text, label in zip(texts, labels) if label != "1"])))


def without(rows, *tests):
    """Return the rows (texts, labels) whose text is in none of the test sets, near enough: so the scripts train."""
    seen = {essence(text) for texts, _ in tests for text in texts}
    return tuple(map(list, zip(*[(text, label) for text, label in zip(*rows) if essence(text) not in seen])))


def rated_sets():
    """Return {name: (texts, labels)} of the four sets of Hutto and Gilbert, through pip."""
    path = os.path.join(OUTPUT, "vaderSentiment-0.5.zip")
    if not os.path.exists(path):
        os.makedirs(OUTPUT, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", OUTPUT, "vaderSentiment==0.5"]
        subprocess.run(command, check=True)
    sets = {}
    with zipfile.ZipFile(path) as outer:
        inner = outer.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        for name, prefix in SETS.items():
            content = archive.extractfile(f"hutto_ICWSM_2014/{prefix}_GroundTruth.txt").read().decode(errors="replace")
            rows = [line.rstrip("\r").split("\t", 2) for line in content.split("\n") if line.strip()]
            rows = [(text, "1" if float(rating) > 0 else "0") for _, rating, text in rows if float(rating)]
            sets[name] = tuple(map(list, zip(*rows)))
    return sets


def tasks(data):
    """Return {task: (arguments of a script, training texts, labels, texts and labels to score, measures)}."""
    import csv

    def read_csv(name):
        with open(os.path.join(data, "emotion", name), encoding="utf-8", newline="") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
        return tuple(map(list, zip(*rows)))

    macro = lambda truth, labels: f1_score(truth, labels, average="macro")
    measures = {"emotion": macro, "offensive": macro,
                "sentiment": lambda truth, labels: recall_score(truth, labels, average="macro"),
                "irony": lambda truth, labels: f1_score(truth, labels, pos_label="1")}
    folder = os.path.join(data, "emotion")
    found = {"six emotions": ([os.path.join(folder, "train.csv"), os.path.join(folder, "validation.csv")],
                              *read_csv("train.csv"), *read_csv("validation.csv"),
                              {"accuracy": accuracy_score, "macro F1": macro})}
    for task in TASKS:
        folder = os.path.join(data, "twitter_human") if task == "sentiment" else os.path.join(data, "tweeteval", task)
        files = [os.path.join(folder, f"{part}_text.txt") for part in ("train", "val")]
        found[task] = (files, *read_pair(folder, "train"), *read_pair(folder, "val"), {task: measures[task]})
    return found


# The models: each gives a function from texts to (labels, scores of the second label or None), its bytes, its seconds


def tiny(size, seed, *arguments):
    """Train a tiny script as users do; return (its folder, its results)."""
    script = os.path.join(ROOT, f"tinymodel-emotion-classification-{size}.py")
    name = hashlib.sha1(repr((size, seed, arguments)).encode()).hexdigest()[:12]
    folder = os.path.join(OUTPUT, f"{size}-{seed}-{name}")
    if not os.path.exists(os.path.join(folder, "results.json")):
        command = [sys.executable, script, *arguments, "--SEED", str(seed), "--OUTPUT_DIR", folder]
        started = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stderr[-2000:]}")
        with open(os.path.join(folder, "seconds"), "w", encoding="utf-8") as file:
            file.write(str(time.perf_counter() - started))
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
        return folder, json.load(file)


def tiny_lines(size, folder, texts):
    """Return what `--predict -` prints for the texts, a list of [label, probability] (bytes, float)."""
    script = os.path.join(ROOT, f"tinymodel-emotion-classification-{size}.py")
    lines = "\n".join(re.sub(r"[\r\n]", " ", text) for text in texts) + "\n"
    run = subprocess.run([sys.executable, script, "--OUTPUT_DIR", folder, "--predict", "-"], input=lines.encode(),
                         capture_output=True, check=True)
    rows = [line.split(b"\t", 2)[:2] for line in run.stdout.split(b"\n")[:-1]]
    return [label.decode() for label, _ in rows], np.array([float(probability) for _, probability in rows])


def tiny_model(size):
    def train(seed, arguments, texts, labels):
        folder, results = tiny(size, seed, *arguments)
        names = names_of(arguments[1])
        def classify(texts):
            found, scores = tiny_lines(size, folder, texts)
            return [names.get(label, label) for label in found], scores
        with open(os.path.join(folder, "seconds"), encoding="utf-8") as file:
            return classify, results["model_bytes"], float(file.read())
    return train


def names_of(path):
    """Return {name: label} of the mapping.txt beside a file, as --predict prints names; {} where there is none."""
    mapping = os.path.join(os.path.dirname(path), "mapping.txt")
    if not path.endswith("_text.txt") or not os.path.exists(mapping):
        return {}
    with open(mapping, encoding="utf-8") as file:
        return {name: label for label, name in (line.rstrip("\n").split("\t") for line in file if line.strip())}


def fasttext_model(cutoff):
    def train(seed, arguments, texts, labels):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path, saved = os.path.join(folder, "rows"), os.path.join(folder, "model")
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(f"__label__{label} {spaced(text)}\n" for text, label in zip(texts, labels))
            epochs = 25 if len(texts) < 50000 else 5
            model = fasttext.train_supervised(path, dim=20, epoch=epochs, wordNgrams=2, bucket=200000, minCount=2, thread=1,
                                              seed=seed, verbose=0)
            if cutoff:
                model.quantize(path, cutoff=cutoff, retrain=True, qnorm=True, thread=1, verbose=0)
            model.save_model(saved)
            seconds, size = time.perf_counter() - started, os.path.getsize(saved)
            model = fasttext.load_model(saved)
        def classify(texts):
            found = [dict((label[9:], p) for p, label in model.f.predict(spaced(text) + "\n", -1, 0.0, "strict"))
                     for text in texts]
            return [max(scores, key=scores.get) for scores in found], np.array([scores.get("1", 0.0) for scores in found])
        return classify, size, seconds
    return train


def tfidf_model(seed, arguments, texts, labels):
    started = time.perf_counter()
    model = tfidf_pipeline().fit(texts, labels)
    seconds = time.perf_counter() - started
    return lambda texts: (model.predict(texts).tolist(), model.predict_proba(texts)[:, 1]), len(pickle.dumps(model)), seconds


def vader_model(seed, arguments, texts, labels):
    analyzer = SentimentIntensityAnalyzer()
    def classify(texts):
        scores = np.array([analyzer.polarity_scores(text)["compound"] for text in texts])
        return ["1" if score > 0 else "0" for score in scores], scores
    return classify, None, 0.0


def textblob_model(seed, arguments, texts, labels):
    def classify(texts):
        scores = np.array([TextBlob(text).sentiment.polarity for text in texts])
        return ["1" if score > 0 else "0" for score in scores], scores
    return classify, None, 0.0


TRAINED = {"tinymodel 10kB": tiny_model("10kB"), "tinymodel 250kB": tiny_model("250kB"),
           "fastText": fasttext_model(0), "fastText quantised, 400 words": fasttext_model(400),
           "fastText quantised, 10,000 words": fasttext_model(10000), "tf-idf, logistic regression": tfidf_model}
UNTRAINED = {"VADER": vader_model, "TextBlob": textblob_model}
NO_SEED = {"tf-idf, logistic regression", *UNTRAINED}


# The parts


class Store:
    """Figures that are done, in a file: {part: {model: {seed: figures}}}."""

    def __init__(self):
        os.makedirs(OUTPUT, exist_ok=True)
        self.path = os.path.join(OUTPUT, "figures.json")
        self.figures = json.load(open(self.path, encoding="utf-8")) if os.path.exists(self.path) else {}

    def get(self, part, model, seed, work):
        """Return the figures of a part, from the file or from `work`."""
        kept = self.figures.setdefault(part, {}).setdefault(model, {})
        if str(seed) not in kept:
            print(f"{part}: {model}, seed {seed}", file=sys.stderr, flush=True)
            kept[str(seed)] = work()
            with open(self.path + ".partial", "w", encoding="utf-8") as file:
                json.dump(self.figures, file, indent=1)
            os.replace(self.path + ".partial", self.path)
        return kept[str(seed)]


def over_seeds(store, part, models, seeds, work):
    """Return {model: {figure: (mean, standard deviation or None)}}."""
    table = {}
    for name, train in models.items():
        runs = [store.get(part, name, seed, lambda: work(train, seed)) for seed in (seeds[:1] if name in NO_SEED else seeds)]
        table[name] = {key: (statistics.mean(run[key] for run in runs),
                             statistics.stdev(run[key] for run in runs) if len(runs) > 1 else None)
                       for key in runs[0] if runs[0][key] is not None}
    return table


def sentiment(store, data, seeds):
    """Print the table of positive or negative; return it."""
    files = [os.path.join(data, "twitter", name) for name in ("train.txt", "test.txt")]
    human = os.path.join(data, "twitter_human")
    test, people = read_tabbed(files[1]), polar(*read_pair(human, "val"))
    texts, labels = without(read_tabbed(files[0]), test, people)
    people_train = without(polar(*read_pair(human, "train")), test, people)
    sets = rated_sets()
    arguments = ["--TRAIN_URL", files[0], "--TEST_URL", files[1], "--HUMAN_URL", human]

    def work(train, seed):
        classify, size, seconds = train(seed, arguments, texts + people_train[0], labels + people_train[1])
        found, scores = classify(people[0])
        figures = {"Sentiment140 accuracy": accuracy_score(test[1], classify(test[0])[0]),
                   "people's balanced accuracy": balanced_accuracy_score(people[1], found),
                   "people's area": roc_auc_score(np.array(people[1]) == "1", scores)}
        accuracies = {name: accuracy_score(labels, classify(texts)[0]) for name, (texts, labels) in sets.items()}
        return {**figures, **accuracies, "mean of four": statistics.mean(accuracies.values()), "bytes": size,
                "seconds": seconds}

    print(f"\nsentiment: {len(texts):,} and {len(people_train[0]):,} training rows; {len(test[0]):,}, {len(people[0]):,}, "
          f"{', '.join(f'{len(rows[0]):,} ({name})' for name, rows in sets.items())} rows scored; seeds {seeds}\n")
    table = over_seeds(store, "positive or negative", {**TRAINED, **UNTRAINED}, seeds, work)
    print_table(table)
    for size in SIZES:
        folder, _ = tiny(size, seeds[0], *arguments)
        for text, label, probability in zip(SENTENCES, *tiny_lines(size, folder, SENTENCES)):
            print(f"{size}, seed {seeds[0]}: {probability:.2f} {text}")
    return table


def labels_part(store, data, seeds):
    """Print the table of other labels; return {task: table}."""
    tables = {}
    for task, (files, texts, labels, val_texts, val_labels, measures) in tasks(data).items():
        texts, labels = without((texts, labels), (val_texts, val_labels))
        def work(train, seed):
            classify, size, seconds = train(seed, ["--TRAIN_URL", files[0], "--TEST_URL", files[1]], texts, labels)
            found, _ = classify(val_texts)
            return {**{name: measure(val_labels, found) for name, measure in measures.items()}, "bytes": size,
                    "seconds": seconds}
        tables[task] = over_seeds(store, task, TRAINED, seeds, work)
    print(f"\nother labels, validation rows, seeds {seeds}\n")
    merged = {}
    for name in TRAINED:
        row = dict(tables["six emotions"][name])
        four = [tables[task][name][task] for task in TASKS]
        row |= {task: (100 * mean, None if spread is None else 100 * spread) for task, (mean, spread) in zip(TASKS, four)}
        row["mean"] = (statistics.mean(row[task][0] for task in TASKS), None)
        merged[name] = {key: row[key] for key in ("accuracy", "macro F1", *TASKS, "mean", "bytes", "seconds")}
    for name, figures in PUBLISHED.items():
        merged[name] = {**{task: (figure, None) for task, figure in zip(TASKS, figures)},
                        "mean": (statistics.mean(figures), None)}
    print_table(merged)
    return merged


def speed(data, seeds):
    """Print texts a second of the exports, of the scripts' reader and of fastText, and bytes of the header's code."""
    texts, _ = read_tabbed(os.path.join(data, "twitter", "test.txt"))
    files = [os.path.join(data, "twitter", name) for name in ("train.txt", "test.txt")]
    arguments = ["--TRAIN_URL", files[0], "--TEST_URL", files[1], "--HUMAN_URL", os.path.join(data, "twitter_human")]
    print("\n| | texts a second | bytes of code |\n|---|---|---|")
    for size in SIZES:
        made, _ = tiny(size, seeds[0], *arguments)
        rates = {"C": c_rate(made, texts), "JavaScript": javascript_rate(made, texts)}
        python = load_module(os.path.join(made, "tinymodel.py"))
        rates["Python alone"] = rate(lambda: [python.predict(text) for text in texts], len(texts)), ""
        script = load_module(os.path.join(ROOT, f"tinymodel-emotion-classification-{size}.py"))
        model, encoded = script.load_model(os.path.join(made, "model.safetensors")), [text.encode() for text in texts]
        rates["the script, a list"] = rate(lambda: script.predict(model, encoded), len(texts)), ""
        for name, (figure, code) in rates.items():
            print(f"| {size}, {name} | {figure:,.0f} | {code} |")
    with tempfile.TemporaryDirectory() as folder:
        rows, prepared = zip(*read_tabbed(files[0])), [spaced(text) for text in texts]
        write(folder, "rows", "".join(f"__label__{label} {spaced(text)}\n" for text, label in rows))
        model = fasttext.train_supervised(os.path.join(folder, "rows"), dim=20, wordNgrams=2, bucket=200000, minCount=2,
                                          thread=1, verbose=0)
    print(f"| fastText, a list | {rate(lambda: model.predict([spaced(text) for text in texts]), len(texts)):,.0f} | |")
    print(f"| fastText, a list prepared before | {rate(lambda: model.predict(prepared), len(texts)):,.0f} | |")


def rate(work, number, runs=3):
    """Return how many of `number` texts are done a second, in the fastest of some runs."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return number / min(seconds)


def load_module(path):
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def c_rate(made, texts):
    """Return (texts a second of tinymodel.h, bytes of its code)."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "texts"), "wb") as file:
            for text in texts:
                file.write(len(text.encode()).to_bytes(4, sys.byteorder) + text.encode())
        source, runs = os.path.join(PROGRAMS, "speed.c"), f"-DRUNS={TIMED_RUNS}"
        subprocess.run(["gcc", "-O2", runs, "-I", made, "-o", "speed", source], cwd=folder, check=True)
        source = os.path.join(PROGRAMS, "predict.c")
        subprocess.run(["gcc", "-Os", "-c", "-I", made, "-o", "predict.o", source], cwd=folder, check=True)
        code = int(output(["size", "-A", "predict.o"], folder).split(".text")[1].split()[0])
        return float(output(["./speed", "texts"], folder).split()[0]), f"{code:,}"


def javascript_rate(made, texts):
    """Return (texts a second of tinymodel.js in node, ""), not a number where node is missing."""
    if not shutil.which("node"):
        return float("nan"), ""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(made, "tinymodel.js"), folder)
        write(folder, "package.json", '{"type": "module"}')  # else Node reads tinymodel.js as CommonJS
        command = ["node", os.path.join(PROGRAMS, "speed.mjs"), "tinymodel.js"]
        return float(output(command, folder, input=json.dumps(texts))), ""


def write(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def output(command, folder, **options):
    """Return what a command prints."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, **options).stdout


def print_table(table):
    """Print {model: {figure: (mean, spread)}} as Markdown."""
    columns = list(max(table.values(), key=len))
    print(f"| model | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in table.items():
        cells = []
        for column in columns:
            mean, spread = row.get(column, (None, None))
            form = ",.0f" if column == "bytes" else ".1f" if column in ("seconds", "mean", *TASKS) else ".4f"
            spread = "" if not spread or column in ("bytes", "seconds") else f" ({spread:{form}})"
            cells.append("" if mean is None else f"{mean:{form}}{spread}")
        print(f"| {name} | {' | '.join(cells)} |")


def draw(people, other, path):
    """Draw balanced accuracy on people's rows and the mean of TweetEval's tasks over bytes, logarithmic."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), dpi=120)
    looks = {"tinymodel": ("#c8102e", "o"), "fastText": ("#3a6ea5", "s"), "tf-idf": ("#5f8a3b", "^")}
    for axis, table, column, title in (
            (axes[0], people, "people's balanced accuracy", "positive or negative, people's labels: balanced accuracy"),
            (axes[1], other, "mean", "TweetEval, mean of four tasks (validation)")):
        for name, row in table.items():
            look = next((look for start, look in looks.items() if name.startswith(start)), None)
            if look and "bytes" in row:
                axis.scatter(row["bytes"][0], row[column][0], color=look[0], marker=look[1], zorder=3)
                label = re.sub(r"^tinymodel |, logistic regression$| words$", "", name)
                axis.annotate(label, (row["bytes"][0], row[column][0]), textcoords="offset points", xytext=(5, 5), fontsize=8)
        for name in ("VADER", "TextBlob"):
            if name in table:
                axis.axhline(table[name][column][0], color="#888888", linewidth=0.8, linestyle="--")
                axis.annotate(f"{name}, no training", (5.5e3, table[name][column][0]), textcoords="offset points",
                              xytext=(0, 3), fontsize=8)
        axis.set(xscale="log", xlim=(5e3, 3e8), xlabel="bytes on disk", title=title)
        axis.title.set_fontsize(9)
        axis.margins(y=0.15)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="sentiment, labels, speed (now all)")
    parser.add_argument("--data", default=os.path.join(ROOT, os.pardir, "shared", "data"),
                        help="folder with twitter, emotion, ...")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--picture", help="also draw the figures over bytes into this PNG (needs sentiment and labels)")
    options = parser.parse_args()
    fasttext.FastText.eprint = lambda text: None
    parts, data, store = options.parts or ["sentiment", "labels", "speed"], os.path.abspath(options.data), Store()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    people = sentiment(store, data, seeds) if "sentiment" in parts else None
    other = labels_part(store, data, seeds) if "labels" in parts else None
    if "speed" in parts:
        speed(data, seeds)
    if options.picture and people and other:
        draw(people, other, options.picture)


if __name__ == "__main__":
    main()
