#!/usr/bin/env python3
"""Print every figure of Project1/README.md: python3 tests/benchmarks/project1.py [PART ...] [--seeds 1,2,3,4,5]

holdout    LSTM.py and GRU.py on the six emotions without 2,000 of the training rows (stratified), which stand in for a test
           set and choose nothing; the peers on the same rows: fastText, tf-idf with logistic regression. GRU.py's phase 1,
           which is for comparison and does not touch phase 2, is whole with the first seed only.
tweeteval  both scripts with their default constants on TweetEval's four tasks: validation figures in the tasks' own measures
           (per cent: macro F1, F1 of irony, macro F1, macro recall), on rows that choose nothing: the epoch is chosen on a
           tenth of the training rows. Peers on the same rows: fastText, tf-idf with logistic regression; published figures are
           of TweetEval's tests (Barbieri et al. 2020, arXiv:2010.12421).
speed      an epoch of each baseline as the scripts train it, against the same model and batch size with every text padded to
           100 words and a plain model.fit: the median of three epochs each, after a first that traces, in one run.
schedules  GRU.py's phase 2 frozen throughout, thawed from the start, and freeze-thaw, with the same number of epochs.
start      a newcomer's first result: LSTM.py --USE_GLOVE False.
typing     what typographic characters do: a model of `holdout` on the validation rows, changed in eight ways.

Each run is the script's own command line, in a process of its own; what it wrote is kept under outputs/benchmark/project1, and
is not trained again while the script, what it trains with and the options are the same. Data: ../shared/data
(--data), its GloVe 6B subset.
"""
import argparse
import ast
import csv
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "Project1"))

from rnn.data import read_data
from rnn.evaluation import calibration_error, scores
from rnn.saving import load_model, predict_texts
from rnn.settings import make_settings
from rnn.training import fit, most_epochs, predict_tokens, set_up_devices
from rnn.vectors import embed

TRAINED_WITH = ("rows", "labels", "data", "text", "vectors", "training")  # modules that decide what is learned
KEPT = os.path.join(ROOT, "outputs", "benchmark", "project1")
TASKS = ("emotion", "irony", "offensive", "sentiment")
PUBLISHED = {"SVM": (64.7, 61.7, 52.3, 62.9), "fastText": (65.2, 63.1, 73.4, 62.9), "LSTM": (66.0, 62.8, 71.7, 58.3),
             "RoBERTa-base": (76.1, 59.7, 79.5, 71.3)}


def story(path):
    """Return the code of a file, without docstrings and comments, as text."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def run(name, label, *options):
    """Run a script with these options, or take what the same run wrote before; return (results, seconds of the whole run)."""
    path = os.path.join(ROOT, "Project1", f"{name}.py")
    modules = (os.path.join(ROOT, "Project1", "rnn", f"{module}.py") for module in TRAINED_WITH)
    key = hashlib.sha256(f"{[story(file) for file in (path, *modules)]} {options}".encode()).hexdigest()[:12]
    folder = os.path.join(KEPT, f"{label}_{key}")
    kept = os.path.join(folder, "seconds.json")
    if not os.path.exists(kept):
        print(f"  {label}: {name}.py {' '.join(options)}", flush=True)
        started = time.perf_counter()
        done = subprocess.run([sys.executable, path, *options, "--OUTPUT_DIR", folder], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{label} ended with {done.returncode}: {done.stderr[-500:]}")
        with open(kept, "w") as file:
            json.dump(time.perf_counter() - started, file)
    with open(os.path.join(folder, "results.json")) as file, open(kept) as seconds:
        return json.load(file), json.load(seconds), folder


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def write_rows(path, rows):
    """Write a CSV, unless it is there already with the same bytes: a run is known by its options."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def shown(values, digits=4):
    """Return mean and standard deviation of some figures."""
    spread = f" ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def table(head, rows):
    """Print a Markdown table."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def peers(train, test, seeds):
    """Return {name: [predicted labels a seed]} of fastText and of tf-idf with logistic regression, where they are installed."""
    found = {}
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 4), sublinear_tf=True)
        model = make_pipeline(make_union(words, pieces), LogisticRegression(C=10, max_iter=1000))
        found["tf-idf, logistic regression"] = [model.fit(*zip(*train)).predict([text for text, _ in test])]
    except ImportError:
        print("note: scikit-learn is missing; its figures are left out")
    try:
        import fasttext
    except ImportError:
        print("note: fastText is missing (tests/benchmarks/requirements.txt); its figures are left out")
        return found
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for text, label in train:
            file.write(f"__label__{label} {' '.join(text.split())}\n")
        file.flush()
        found["fastText"] = []
        for seed in seeds:
            model = fasttext.train_supervised(file.name, epoch=10, wordNgrams=2, lr=0.5, seed=seed, thread=1, verbose=0)
            predict = model.f.predict  # model.predict does not take numpy 2
            found["fastText"].append([predict(" ".join(text.split()) + "\n", 1, 0.0, "strict")[0][1].removeprefix("__label__")
                                      for text, _ in test])
    return found


def emotion_rows(options):
    """Return the folder with rest.csv and held.csv: the training rows without and with 2,000 held out, stratified."""
    from sklearn.model_selection import train_test_split
    folder = os.path.join(KEPT, "emotion")
    known = set(read_rows(os.path.join(options.data, "emotion", "validation.csv")))
    rows = [row for row in read_rows(os.path.join(options.data, "emotion", "train.csv")) if row not in known]
    rest, held = train_test_split(rows, test_size=2000, stratify=[label for _, label in rows], random_state=0)
    write_rows(os.path.join(folder, "rest.csv"), rest)
    write_rows(os.path.join(folder, "held.csv"), held)
    return folder


def emotion_options(options, folder, seed):
    return ("--TRAIN_PATH", os.path.join(folder, "rest.csv"),
            "--VAL_PATH", os.path.join(options.data, "emotion", "validation.csv"),
            "--TEST_PATH", os.path.join(folder, "held.csv"), "--LABEL_NAMES", "sadness,joy,love,anger,fear,surprise",
            "--GLOVE_PATH", options.vectors, "--SEED", str(seed), *options.set)


def holdout(options):
    from sklearn.metrics import accuracy_score, f1_score
    folder, rows = emotion_rows(options), []
    for name in options.scripts:
        found = [run(name, f"holdout_{name}_{seed}", *emotion_options(options, folder, seed),
                     *short_phase_1(name, seed != options.seeds[0]))
                 for seed in options.seeds]
        results = [result for result, _, _ in found]

        def get(*keys, results=results):
            return [within(result, keys) for result in results]

        rows.append([f"`{name}.py`", shown(get("test_accuracy")), shown(get("test_macro_f1")),
                     shown(get("validation_accuracy")), shown(get("validation_macro_f1")), shown(get("training_seconds"), 0),
                     f"{np.mean(get('model_bytes')):,.0f}"])
        if name == "GRU":
            first = results[0]["phase_1"]
            rows[-1][5] = f"{results[0]['training_seconds']:.0f}, both phases"
            rows.append([f"`GRU.py`, phase 1 (frozen), seed {options.seeds[0]}", "", "", f"{first['validation_accuracy']:.4f}",
                         f"{first['validation_macro_f1']:.4f}", f"{first['training_seconds']:.0f}", ""])
        held_out = calibration(found, read_rows(os.path.join(folder, "held.csv")))
        print(f"{name}: expected calibration error, held out, {held_out}; "
              f"validation, which chose the temperature {shown(get('temperature'), 2)}: "
              f"{shown(get('validation', 'expected_calibration_error_before'))} and "
              f"{shown(get('validation', 'expected_calibration_error'))}")
        speed = [result["profile"] for result in results]
        print(f"{name}: {shown([figures['epoch_seconds'] for figures in speed], 1)} s an epoch, one text "
              f"{1e3 * np.median([figures['latency_seconds_batch_1'] for figures in speed]):.1f} ms, 256 texts "
              f"{1e3 * np.median([figures['latency_seconds_batch_256'] for figures in speed]):.0f} ms", flush=True)
    train, held = (read_rows(os.path.join(folder, f"{part}.csv")) for part in ("rest", "held"))
    labels = [label for _, label in held]
    for name, predictions in peers(train, held, options.seeds).items():
        rows.append([name, shown([accuracy_score(labels, predicted) for predicted in predictions]),
                     shown([f1_score(labels, predicted, average="macro") for predicted in predictions]), "", "", "", ""])
    print(f"six emotions, {len(train):,} training rows, {len(held):,} held out, seeds {options.seeds}")
    table(["", "held out accuracy", "macro F1", "validation accuracy", "macro F1", "training, s", "model, bytes"], rows)


def calibration(found, rows):
    """Return the calibration error of saved models on rows, before and after the temperature, as text."""
    errors = []
    for result, _, folder in found:
        model, classes = load_model(os.path.join(folder, "model.keras"))
        after = predict_texts(model, [text.encode() for text, _ in rows]).astype(float)
        before = after ** result["temperature"]  # the logits times the temperature
        labels = np.array([list(classes).index(label) for _, label in rows])
        errors.append([calibration_error(labels, probabilities)
                       for probabilities in (before / before.sum(1, keepdims=True), after)])
    before, after = zip(*errors)
    return f"{shown(before)} before, {shown(after)} after the temperature"


def short_phase_1(name, short):
    """Return the options that cut GRU.py's phase 1, which is for comparison alone and does not touch phase 2, to a moment."""
    return ("--NUM_EPOCHS", "1", "--UNITS", "8") if name == "GRU" and short else ()


def within(result, keys):
    """Return what stands in nested dicts under these keys."""
    for key in keys:
        result = result[key]
    return result


def task_rows(folder, part):
    """Return (texts, labels) of a TweetEval task: lists of str."""
    texts, labels = (open(os.path.join(folder, f"{part}_{kind}.txt"), encoding="utf-8").read().split("\n")
                     for kind in ("text", "labels"))
    return [(text, label.strip()) for text, label in zip(texts, labels) if label.strip()]


def task_score(task, labels, predicted):
    """Return a task's own measure, in per cent (Barbieri et al. 2020)."""
    from sklearn.metrics import f1_score, recall_score
    if task == "irony":
        return 100 * f1_score(labels, predicted, pos_label="1")
    return 100 * (recall_score if task == "sentiment" else f1_score)(labels, predicted, average="macro")


def tweeteval(options):
    scores = {}
    for task in TASKS:
        source = os.path.join(options.data, "twitter_human" if task == "sentiment" else os.path.join("tweeteval", task))
        train, val = task_rows(source, "train"), task_rows(source, "val")
        folder = os.path.join(KEPT, task)
        write_rows(os.path.join(folder, "train.csv"), train)
        write_rows(os.path.join(folder, "val.csv"), val)
        labels = [label for _, label in val]
        for name in options.scripts:
            for seed in options.seeds[:3]:
                result, _, _ = run(
                    name, f"tweeteval_{task}_{name}_{seed}", "--TRAIN_PATH", os.path.join(folder, "train.csv"),
                    "--VAL_PATH", "", "--TEST_PATH", os.path.join(folder, "val.csv"), "--GLOVE_PATH", options.vectors,
                    "--SEED", str(seed), *options.set, *short_phase_1(name, True))
                matrix, names = np.array(result["test"]["confusion_matrix"]), list(result["classes"])
                true, predicted = zip(*[(names[row], names[column]) for (row, column), count in np.ndenumerate(matrix)
                                        for _ in range(count)])
                scores.setdefault(f"`{name}.py`", {}).setdefault(task, []).append(task_score(task, true, predicted))
        for name, predictions in peers(train, val, options.seeds[:3]).items():
            scores.setdefault(name, {})[task] = [task_score(task, labels, predicted) for predicted in predictions]
        print(task, {name: shown(found[task], 1) for name, found in scores.items()}, flush=True)
    rows = [[name, *(shown(found[task], 1) for task in TASKS), f"{np.mean([np.mean(found[task]) for task in TASKS]):.1f}"]
            for name, found in scores.items()]
    rows += [[f"published {name}, tests", *map(str, values), f"{np.mean(values):.1f}"] for name, values in PUBLISHED.items()]
    table(["", *TASKS, "mean"], rows)


def prepared(script, options, seed):
    """Return (settings as `holdout` has them, data, encoded data, embedding matrix)."""
    values = emotion_options(options, emotion_rows(options), seed)
    given = {name.removeprefix("--"): value for name, value in zip(values[::2], values[1::2])}
    settings, cache = make_settings(script, **given), os.path.join(KEPT, "data")
    set_up_devices(settings)
    data = read_data(settings, cache)
    _, encoded, matrix, _ = embed(data, settings, cache)
    return settings, data, encoded, matrix


def speed(options):
    import keras
    import tensorflow as tf

    for name in options.scripts:
        script = importlib.import_module(name)
        settings, data, encoded, matrix = prepared(script, options, 1)
        arguments = settings, matrix, len(data.classes), *((1,) if name == "GRU" else ())  # phase 1
        ours = fit(settings, script.build_model(*arguments), encoded, settings.LEARNING_RATE, 4, name)
        bucketed = np.median([entry["seconds"] for entry in ours[1:]])
        padded = np.zeros((len(encoded.train), 100), np.int32)
        for row, sequence in enumerate(encoded.train):
            padded[row, :len(sequence)] = sequence[:100]
        model = script.build_model(*arguments)
        model.compile(keras.optimizers.AdamW(settings.LEARNING_RATE, clipnorm=1.0), "categorical_crossentropy")
        seconds, last = [], [0.0]
        times = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: seconds.append(-time.perf_counter()) if batch == 0 else None,
            on_train_batch_end=lambda batch, logs: last.__setitem__(0, time.perf_counter()),
            on_epoch_end=lambda epoch, logs: seconds.append(seconds.pop() + last[0]))  # without what tf.data waits for
        model.fit(padded, tf.one_hot(encoded.train_labels, len(data.classes)), batch_size=settings.BATCH_SIZE,
                  epochs=4, verbose=0, callbacks=[times])
        plain = np.median(seconds[1:])
        print(f"{name}, {settings.UNITS} units, batches of {settings.BATCH_SIZE}: {bucketed:.1f} s an epoch; padded to 100 with "
              f"model.fit {plain:.1f} s; {plain / bucketed:.1f} times as fast", flush=True)


def schedules(options):
    import keras

    script, found = importlib.import_module("GRU"), {}
    for seed in options.seeds[:3]:
        settings, data, encoded, matrix = prepared(script, options, seed)
        thawed = most_epochs(encoded.train, settings.FINAL_EPOCHS, 6, settings)
        epochs = settings.WARM_UP_EPOCHS + thawed
        for name in ("frozen throughout", "thawed from the start", "freeze-thaw"):
            keras.utils.set_random_seed(seed)
            model = script.build_model(settings, matrix, len(data.classes), 2)
            if name == "frozen throughout":
                fit(settings, model, encoded, settings.LEARNING_RATE, epochs, name, settings.R_DROP)
            elif name == "freeze-thaw":
                script.freeze_thaw(settings, model, encoded, settings.FINE_TUNING_RATE, thawed, name)
            else:
                model.get_layer("embedding").trainable = True
                fit(settings, model, encoded, settings.FINE_TUNING_RATE, epochs, name, settings.R_DROP)
            probabilities = predict_tokens(model, encoded.test)
            found.setdefault(name, []).append(scores(encoded.test_labels, probabilities)[1:])
    table(["", "held out accuracy", "macro F1"],
          [[name, *(shown(values) for values in zip(*scores))] for name, scores in found.items()])


def start(options):
    folder = emotion_rows(options)
    given = emotion_options(options, folder, 1)
    at = given.index("--GLOVE_PATH")
    for name in options.scripts:
        found = [run(name, f"start_{name}_{seed}", *given[:at], "--USE_GLOVE", "False", *given[at + 2:], "--SEED", str(seed))
                 for seed in options.seeds[:3]]
        accuracies, macro_f1s = ([result[key] for result, _, _ in found] for key in ("test_accuracy", "test_macro_f1"))
        print(f"{name}.py --USE_GLOVE False: held out accuracy {shown(accuracies)}, macro F1 {shown(macro_f1s)}, "
              f"{shown([seconds for _, seconds, _ in found], 0)} s in all", flush=True)


CHANGES = {
    "as they are": lambda text: text,
    "ends with an ellipsis": lambda text: text + "\u2026",
    "in curly quotes": lambda text: f"\u201c{text}\u201d",
    "an emoji at the end": lambda text: text + " \U0001f9a6",
    "every fourth blank a no-break space": lambda text: re.sub(r"((?: [^ ]*){3}) ", "\\1\u00a0", text),
    "commas without blanks": lambda text: text.replace(" ", ",", 3),
    "i\u2019m for im": lambda text: re.sub(r"\bim\b", "i\u2019m", text), "capitals": str.upper}


def typing(options):
    folder = emotion_rows(options)
    rows = read_rows(os.path.join(options.data, "emotion", "validation.csv"))
    for name in options.scripts:
        _, _, trained = run(name, f"holdout_{name}_{options.seeds[0]}", *emotion_options(options, folder, options.seeds[0]))
        model, classes = load_model(os.path.join(trained, "model.keras"))
        labels = np.array([list(classes).index(label) for _, label in rows])
        found = []
        for change, make in CHANGES.items():
            probabilities = predict_texts(model, [make(text).encode() for text, _ in rows])
            found.append([change, f"{scores(labels, probabilities)[1]:.4f}"])
        print(f"{name}, validation rows")
        table(["texts", "accuracy"], found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"holdout": holdout, "tweeteval": tweeteval, "speed": speed, "schedules": schedules, "start": start,
             "typing": typing}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all without one")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3, 4, 5])
    parser.add_argument("--scripts", nargs="+", choices=("LSTM", "GRU"), default=("LSTM", "GRU"))
    parser.add_argument("--set", action="extend", nargs=2, default=[], metavar=("--NAME", "VALUE"),
                        help="a constant of the scripts")
    parser.add_argument("--data", default=os.path.normpath(os.path.join(ROOT, os.pardir, "shared", "data")))
    parser.add_argument("--vectors", help="a file of word vectors; by default the GloVe 6B subset of --data")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in parts]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; parts are {', '.join(parts)}")
    options.vectors = options.vectors or os.path.join(options.data, "glove", "glove.6B.100d.subset.txt.gz")
    for part in options.parts or parts:
        print(f"== {part}", flush=True)
        parts[part](options)


if __name__ == "__main__":
    main()
