#!/usr/bin/env python3
"""Do the models understand short sentences? CheckList's sentiment tests and the commonest emoji, beside VADER and
TextBlob: failures in per cent, the mean over the seeds with the standard deviation in brackets.

Usage: python3 -m pip install -r tests/benchmarks/requirements.txt
       python3 tests/benchmarks/behaviour.py [models] [--seeds 1,2,3] [--data FOLDER] [--ablations]

CheckList (Ribeiro et al. 2020, arXiv:2005.04118): half of the cases of 17 tests. A probability of positive below 1/3 is
negative, above 2/3 positive, else neutral. A test of "same" fails where a changed text gets another label than the
first, one of direction where the probability moves the other way by more than 0.1. VADER's and TextBlob's scores from -1
to 1 are halved and raised by 1/2. What chose the constants was looked at on these cases: fresh evidence they are not.
Emoji: the 150 commonest whose people's score (positive less negative, by all) is beyond 0.2; on which side of 1/2 one
alone is. The models were trained on these counts. Sets: what positive and negative are in the four sets of Hutto and
Gilbert 2014, accuracy, as in tinymodels.py; VADER's words, which the made rows take, are by the authors of these sets.
--ablations: seed 1 of the 10 kB model without its parts in turn.
models: CheckList's tests alone, of all models of the house that `whole.py train --tasks sentiment` has left below
outputs/benchmark/whole/sentiment: TweetEval's three classes, no made rows, so that the tiny models are others than above. The
label is the likeliest of the three; the probability that a test of direction looks at is (1 + positive - negative) / 2.
"""
import argparse
import collections
import csv
import json
import os
import statistics
import tempfile

import numpy as np

import tinymodels
import whole
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

ABLATIONS = {
    "all": (), "no made rows": ("--MADE_WEIGHT", "0", "--MADE_COUNT", "0", "--EMOJI_COUNT", "0"),
    "negation says nothing": ("--NEGATION", "0"), "no characters": ("--CHAR_NGRAMS", ""),
    "made rows weigh 1": ("--MADE_WEIGHT", "1"), "L1_PENALTY 1": ("--L1_PENALTY", "1")}


CLASSES = ("negative", "neutral", "positive")
OF_HOUSE = ("tiny 10 kB", "tiny 250 kB", "LSTM", "GRU", "MiniLM", "MiniLM small", "MiniLM tiny")


def fails(expect, probabilities):
    """Return whether what a model says of a case's texts is not what is expected.

    probabilities: (texts,) of positive, or (texts, 3) of CLASSES.
    """
    positive = probabilities
    label = (positive >= 1 / 3).astype(int) + (positive > 2 / 3)
    if probabilities.ndim == 2:
        label, positive = probabilities.argmax(1), (1 + probabilities[:, 2] - probabilities[:, 0]) / 2
    if expect in CLASSES:
        return label[0] != CLASSES.index(expect)
    if expect == "not negative":
        return label[0] == 0
    if expect == "same":
        return (label != label[0]).any()
    sign = {"more positive": 1, "more negative": -1}.get(expect)
    if sign is None:  # stronger or weaker: further from 1/2, or nearer to it
        sign = (1 if positive[0] > 0.5 else -1) * (1 if expect == "stronger" else -1)
    return (sign * (positive[1:] - positive[0]) < -0.1).any()


def checklist(path, predict):
    """Return {test: failures in per cent} of the cases of a file; predict: list of str to probabilities as `fails` takes them."""
    with open(path, encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    probabilities = np.split(predict([text for case in cases for text in case["texts"]]),
                             np.cumsum([len(case["texts"]) for case in cases])[:-1])
    failed = collections.defaultdict(list)
    for case, found in zip(cases, probabilities):
        failed[case["test"]].append(fails(case["expect"], found))
    return {test: 100 * float(np.mean(values)) for test, values in failed.items()}


def emoji(path, predict):
    """Return the per cent of the 150 commonest emoji with a clear score on the wrong side of 1/2."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [(row["Emoji"], *(int(row[kind]) for kind in ("Negative", "Neutral", "Positive")))
                for row in csv.DictReader(file)]
    clear = [row for row in rows if abs(row[3] - row[1]) > 0.2 * sum(row[1:])]
    common = sorted(clear, key=lambda row: -sum(row[1:]))[:150]
    right = (predict([row[0] for row in common]) > 0.5) == np.array([row[3] > row[1] for row in common])
    return 100 - 100 * float(right.mean())


def understood(data, predict):
    """Return {test of CheckList: failures in per cent} of a model, and their mean."""
    figures = checklist(os.path.join(data, "checklist", "sentiment_part.jsonl"), predict)
    return {**figures, "mean of these": statistics.mean(figures.values())}


def measured(data, predict):
    """Return {row of the table: figure} of a model."""
    figures = understood(data, predict)
    figures["150 commonest emoji"] = emoji(os.path.join(data, "emoji", "emoji_sentiment_ranking.csv"), predict)
    accuracies = [np.mean((predict(texts) > 0.5) == (np.array(labels) == "1")) for texts, labels in
                  tinymodels.rated_sets().values()]
    figures["accuracy on the four sets, per cent"] = 100 * float(np.mean(accuracies))
    return figures


def trained(size, seed, data, *options):
    """Train a size on the default data; return (the figures of the run, predict)."""
    folder, results = tinymodels.tiny(
        size, seed, "--TRAIN_URL", f"{data}/twitter/train.txt", "--TEST_URL", f"{data}/twitter/test.txt",
        "--HUMAN_URL", f"{data}/twitter_human", *options)
    return results, lambda texts: tinymodels.tiny_lines(size, folder, texts)[1]


def asked(model, seed, texts):
    """Return what a model that whole.py trained on TweetEval's sentiment says of texts, in a process of its own: (texts, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        rows, out = (os.path.join(folder, name) for name in ("rows.csv", "out.npz"))
        with open(rows, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([text] for text in ("text", *texts))
        whole.run("tests/benchmarks/served.py", whole.MODELS[model][0], whole.model_path("sentiment", model, seed), rows, out)
        with np.load(out) as found:
            return found["probabilities"][:, [found["labels"].tolist().index(label) for label in CLASSES]]


def models_of_house(data, seeds):
    """Return {model: [{test: failures}, one a seed that was trained]}."""
    return {model: runs for model in OF_HOUSE if (runs := [
        understood(data, lambda texts: asked(model, seed, texts)) for seed in seeds
        if os.path.exists(whole.model_path("sentiment", model, seed))])}


def print_table(columns):
    """Print {column: [{row: figure}, one a seed]} as a table."""
    print(f"| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row in next(iter(columns.values()))[0]:
        cells = [[run[row] for run in runs] for runs in columns.values()]
        spread = lambda cell: f" ({statistics.stdev(cell):.1f})" if len(cell) > 1 else ""
        print(f"| {row} | {' | '.join(f'{statistics.mean(cell):.1f}{spread(cell)}' for cell in cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["models"], help="all models of the house; else the tiny ones, trained here")
    parser.add_argument("--seeds", default="1,2,3", type=lambda value: [int(seed) for seed in value.split(",")])
    parser.add_argument("--data", default=os.path.join(tinymodels.ROOT, "..", "shared", "data"))
    parser.add_argument("--ablations", action="store_true")
    options = parser.parse_args()
    data = os.path.abspath(options.data)
    if options.ablations:
        columns = {}
        for name, changed in ABLATIONS.items():
            results, predict = trained("10kB", 1, data, *changed)
            test = {"Sentiment140, accuracy": 100 * results["test_accuracy"]}
            columns[name] = [measured(data, predict) | test]
        return print_table(columns)
    if options.mode == "models":
        figures, columns = understood, models_of_house(data, options.seeds)
    else:
        figures, columns = measured, {size: [measured(data, trained(size, seed, data)[1]) for seed in options.seeds]
                                      for size in tinymodels.SIZES}
    vader = SentimentIntensityAnalyzer()
    for name, score in (("VADER", lambda text: vader.polarity_scores(text)["compound"]),
                        ("TextBlob", lambda text: TextBlob(text).sentiment.polarity)):
        columns[name] = [figures(data, lambda texts: np.array([(score(text) + 1) / 2 for text in texts]))]
    print_table(columns)


if __name__ == "__main__":
    main()
