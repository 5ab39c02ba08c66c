#!/usr/bin/env python3
"""Train the baseline: GloVe embeddings, bidirectional LSTM, six emotions.

Data     emotion tweets (CARER): 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise; CSV files
         with the columns text and label, downloaded and cached where they are not beside the script.
Model    GloVe Twitter 100-d embeddings, frozen; spatial dropout; bidirectional LSTM; softmax.
Writes   outputs/LSTM/: model.keras (raw strings in, six probabilities out), results.json,
         curves.png, confusion_*.png; with GRID_SEARCH grid.journal, grid.csv, grid.png.

    python3 LSTM.py
    python3 LSTM.py --predict "i feel so lucky to have you"
    python3 LSTM.py --GRID_SEARCH True
    python3 LSTM.py --GLOVE_PATH glove.6B.100d.txt --TRAIN_PATH a.csv --VAL_PATH b.csv --TEST_PATH ""
    python3 LSTM.py --help

On 15,995 training and 2,000 validation rows, glove.6B.100d vectors, seed 1, two CPU cores, no test set:

    ================ FINAL SUMMARY ================
    Validation Accuracy: 0.9395
    Total Training Time: 43.3 seconds
    Model Size: 7321002 bytes
    ===============================================
"""
import argparse
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import platform
import re
import sys
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow when it is imported

import keras
import matplotlib
import numpy as np
import optuna
import pandas as pd
import requests
import tensorflow as tf
import urllib3
from keras import layers
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Data
TRAIN_PATH = "train.csv"  # training data: CSV with the columns text and label; the default is downloaded if it is absent
VAL_PATH = "validation.csv"  # validation data, likewise
TEST_PATH = "test.csv"  # test data, likewise; "" is no test set
TRAIN_URL = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/train.csv"  # where the default TRAIN_PATH comes from
VAL_URL = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/validation.csv"  # where the default VAL_PATH comes from
TEST_URL = "https://raw.githubusercontent.com/NamLe0609/intext-emotion-detector/main/archive/test.txt"  # where the default TEST_PATH comes from
TRAIN_HASH = "12a94ce15164e92fe25bec9c0e67149e1a2f9e14"  # git blob id (SHA-1) that the downloaded training file must have; "" takes any
VAL_HASH = "3d780e2eca28d198b580e43bb70b352287000211"  # git blob id (SHA-1) that the downloaded validation file must have; "" takes any
TEST_HASH = "9cc17245afd569d06e06f42d14682d7f3b23a692"  # git blob id (SHA-1) that the downloaded test file must have; "" takes any
GLOVE_PATH = ""  # GloVe text file of 100 dimensions, plain or .gz; "" gets GloVe Twitter
GLOVE_KAGGLE = "bertcarremans/glovetwitter27b100dtxt"  # Kaggle data set with GloVe Twitter 100-d, asked first
GLOVE_URL = "https://nlp.stanford.edu/data/glove.twitter.27B.zip"  # Stanford's archive (1.5 GB), asked next
USE_GLOVE = True  # False: embeddings start at random and are trained
DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte until a download attempt is given up
DOWNLOAD_LIMIT = 3600.0  # seconds until a whole download attempt is given up
DOWNLOAD_RETRIES = 2  # further attempts at an address after the first

# Text
LENGTH_SPREAD = 1  # words by which the texts of a training batch may differ in length; few, so that little is padding

# Model
UNITS = 128  # LSTM units in each direction
DROPOUT = 0.1  # share of the embedding's channels that spatial dropout drops

# Training
NUM_EPOCHS = 12  # most epochs
PATIENCE = 4  # epochs without a better validation macro F1 until training stops
BATCH_SIZE = 64  # texts a step
LEARNING_RATE = 0.004  # AdamW step size at the start; it falls in a line to a fiftieth
WEIGHT_DECAY = 0.0  # AdamW weight decay
LABEL_SMOOTHING = 0.05  # probability that the targets spread over all classes
EMA_MOMENTUM = 0.99  # momentum of the moving average of the weights, which is what is evaluated and kept
SEED = 1  # of the initial weights, dropout and shuffling

# Grid search
GRID_SEARCH = False  # True: train every setting of the grid instead, and rank them
GRID_EPOCHS = 6  # most epochs of each setting
STORAGE = ""  # where the search stands: a journal file, or a database address that many machines share; "" is grid.journal in OUTPUT_DIR
STALE_SECONDS = 900.0  # a setting on another machine that was silent for so long is trained anew

# Output
OUTPUT_DIR = ""  # folder that is written to; "" is outputs/<script name>/ beside the script

# What each constant may be: its type, or its least and greatest value
RANGES = {
    **dict.fromkeys(("TRAIN_PATH", "VAL_PATH", "TEST_PATH", "TRAIN_URL", "VAL_URL", "TEST_URL", "TRAIN_HASH", "VAL_HASH",
                     "TEST_HASH", "GLOVE_PATH", "GLOVE_KAGGLE", "GLOVE_URL", "STORAGE", "OUTPUT_DIR"), str),
    **dict.fromkeys(("USE_GLOVE", "GRID_SEARCH"), bool),
    "DOWNLOAD_TIMEOUT": (0.001, 1e6), "DOWNLOAD_LIMIT": (0.001, 1e6), "DOWNLOAD_RETRIES": (0, 100),
    "LENGTH_SPREAD": (1, 10**4), "UNITS": (1, 4096), "DROPOUT": (0.0, 0.95), "NUM_EPOCHS": (1, 10**4),
    "PATIENCE": (1, 10**4), "BATCH_SIZE": (1, 10**5), "LEARNING_RATE": (1e-9, 10.0), "WEIGHT_DECAY": (0.0, 10.0),
    "LABEL_SMOOTHING": (0.0, 0.9), "EMA_MOMENTUM": (0.0, 0.99999), "SEED": (0, 2**32 - 1), "GRID_EPOCHS": (1, 10**4),
    "STALE_SECONDS": (1.0, 1e7), "FINAL_UNITS": (1, 4096), "FINAL_DROPOUT": (0.0, 0.95), "DENSE_UNITS": (1, 4096),
    "WARM_UP_EPOCHS": (0, 10**4), "FINAL_EPOCHS": (1, 10**4), "FINE_TUNING_RATE": (1e-9, 10.0), "GRID_PHASE": (1, 2),
}
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the classes 0 to 5
SCRIPT = os.path.basename(__file__)
DEFAULT_PATHS = {"TRAIN_PATH": TRAIN_PATH, "VAL_PATH": VAL_PATH, "TEST_PATH": TEST_PATH}


class InputError(Exception):
    """Something that the user can mend; its text is one line that says what and how."""


class DownloadError(InputError):
    """No address of a file gave it whole."""


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


def download_once(url, target):
    """Download `url` into the open file `target`, checked against its length.

    Raises OSError or urllib3's HTTPError where the transfer fails, ValueError where it was refused.
    """
    started = time.monotonic()
    headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts the bytes of the file
    with requests.get(url, stream=True, timeout=DOWNLOAD_TIMEOUT, headers=headers) as response:
        if response.status_code >= 400:
            error = ValueError if response.status_code in (400, 401, 403, 404, 410) else requests.HTTPError
            raise error(f"the server answered {response.status_code} {response.reason}")
        length = int(response.headers.get("Content-Length", 0)) or None
        name, quiet = os.path.basename(url), not sys.stderr.isatty()
        with tqdm(total=length, unit="B", unit_scale=True, desc=name, disable=quiet) as bar:
            for part in iter(lambda: response.raw.read1(1 << 20), b""):
                target.write(part)
                bar.update(len(part))
                if time.monotonic() - started > DOWNLOAD_LIMIT:
                    raise requests.Timeout(f"not complete after {DOWNLOAD_LIMIT:g} s (DOWNLOAD_LIMIT)")
    if length is not None and target.tell() != length:
        raise requests.ConnectionError(f"cut off after {target.tell()} of {length} bytes")


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


def download(url, target):
    """Download `url` into the open file `target`, with retries and growing pauses; raise DownloadError."""
    for attempt in range(DOWNLOAD_RETRIES + 1):
        try:
            target.seek(0)
            target.truncate()
            return download_once(url, target)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            last = error
            if isinstance(error, ValueError):
                break
            if attempt < DOWNLOAD_RETRIES:
                time.sleep(0.5 * 2**attempt)
    raise DownloadError(f"{url}: {reason(last)}")


def acquire_rows(constant, cache_dir):
    """Return (path, bytes) of the CSV that a constant names: a local file, the cached copy, or a download.

    A file beside the script or in the working folder is taken first. Raises DownloadError where
    none is there and the download fails, InputError where a file of the user's own is missing.
    """
    path = globals()[constant]
    for place in (path, os.path.join(os.path.dirname(os.path.abspath(__file__)), path)):
        if os.path.isfile(place):
            return place, read_file(place)
    if path != DEFAULT_PATHS[constant]:
        raise InputError(f"{constant}: no file {path}; give a CSV file with the columns text and label")
    url, blob_id = {"TRAIN_PATH": (TRAIN_URL, TRAIN_HASH), "VAL_PATH": (VAL_URL, VAL_HASH),
                    "TEST_PATH": (TEST_URL, TEST_HASH)}[constant]
    cached = os.path.join(cache_dir, os.path.basename(path))
    if os.path.isfile(cached) and (not blob_id or git_blob_id(read_file(cached)) == blob_id):
        return cached, read_file(cached)
    buffer = io.BytesIO()
    try:
        download(url, buffer)
    except DownloadError as error:
        raise DownloadError(f"cannot download {path}; {error}. Set {constant} to a local CSV file") from error
    data = buffer.getvalue()
    if blob_id and git_blob_id(data) != blob_id:
        raise DownloadError(f"cannot download {path}; {url}: wrong bytes: hash {git_blob_id(data)} where {blob_id} "
                            f"was expected. Set {constant} to a local CSV file")
    save_all({cached: data})
    return cached, data


def read_file(path):
    """Return the bytes of `path`; raise InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def parse_rows(data, path):
    """Parse a CSV with the columns text and label, or the published test file's `text;emotion` lines.

    Returns (texts, labels): list of str, int64 array of 0 to 5. Raises InputError with the row.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[:error.start].count(b"\n") + 1
        raise InputError(f"{path}, row {row}: is not UTF-8; convert the file to UTF-8") from error
    if path.endswith(".csv") and git_blob_id(data) == TEST_HASH:
        pairs = [line.rsplit(";", 1) for line in content.splitlines() if ";" in line]
        return [text for text, _ in pairs], np.array([EMOTIONS.index(emotion) for _, emotion in pairs])
    try:
        table = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, na_values=[""])
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is no CSV file with the columns text and label: {error}".strip()) from error
    missing = [name for name in ("text", "label") if name not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {' and '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if not len(table):
        raise InputError(f"{path} has no rows; it takes text and label rows")
    if not isinstance(table.index, pd.RangeIndex):  # pandas took what has no heading for row names
        raise InputError(f"{path}, row 2: has more columns than the header; put texts with commas in quotation marks")
    for row, (text, label) in enumerate(zip(table["text"], table["label"]), 2):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{path}, row {row}: has no text")
        if label not in ("0", "1", "2", "3", "4", "5"):
            raise InputError(f"{path}, row {row}: has the label {label!r}; labels are 0 to 5 ({', '.join(EMOTIONS)})")
    return table["text"].tolist(), table["label"].astype(np.int64).to_numpy()


@dataclass
class Dataset:
    """Texts (lists of str) and labels (int64 arrays of 0 to 5); no test set is two empty ones."""

    train_texts: list
    train_labels: np.ndarray
    val_texts: list
    val_labels: np.ndarray
    test_texts: list
    test_labels: np.ndarray
    note: str


def acquire(cache_dir):
    """Return the Dataset; rows of the training set that stand in another set are left out of training."""
    sets = {}
    for constant in ("TRAIN_PATH", "VAL_PATH"):
        path, data = acquire_rows(constant, cache_dir)
        sets[constant] = parse_rows(data, path)
    note = "no test set: TEST_PATH is empty" if not TEST_PATH else ""
    test = [], np.zeros(0, np.int64)
    if TEST_PATH:
        try:
            path, data = acquire_rows("TEST_PATH", cache_dir)
            test = parse_rows(data, path)
        except DownloadError as error:
            note = f"no test set, validation alone is reported: {error}"
    elsewhere = {*sets["VAL_PATH"][0], *test[0]}
    texts, labels = sets["TRAIN_PATH"]
    keep = np.array([text not in elsewhere for text in texts])
    texts, labels = [text for text, kept in zip(texts, keep) if kept], labels[keep]
    absent = [name for number, name in enumerate(EMOTIONS) if number not in labels]
    if absent:
        raise InputError(f"TRAIN_PATH has no row of {' and '.join(absent)}; each of the six classes needs some")
    return Dataset(texts, labels, *sets["VAL_PATH"], *test, note)


# Preprocess


def make_vectorizer(texts):
    """Return a TextVectorization layer with the words of `texts`: lower case, no punctuation, split at blanks."""
    vectorizer = layers.TextVectorization(standardize="lower_and_strip_punctuation", split="whitespace")
    vectorizer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(4096))
    return vectorizer


def encode(vectorizer, texts):
    """Return the word numbers of each text, unpadded: a list of int32 arrays; 0 pads, 1 is an unknown word."""
    if not len(texts):
        return []
    padded = vectorizer(tf.constant(texts)).numpy().astype(np.int32)
    return [row[:length] for row, length in zip(padded, np.count_nonzero(padded, axis=1))]


def glove_file(cache_dir):
    """Return the path of the GloVe file: GLOVE_PATH, else through kagglehub, else from Stanford's archive."""
    if GLOVE_PATH:
        if not os.path.isfile(GLOVE_PATH):
            raise InputError(f"GLOVE_PATH: no file {GLOVE_PATH}; give a GloVe text file of 100 dimensions, plain or .gz")
        return GLOVE_PATH
    name = "glove.twitter.27B.100d.txt"
    cached = os.path.join(cache_dir, name)
    if os.path.isfile(cached):
        return cached
    failures = []
    try:
        import kagglehub
        return os.path.join(kagglehub.dataset_download(GLOVE_KAGGLE), name)
    except Exception as error:  # kagglehub raises whatever its transport raises; the next source is tried and named
        failures.append(f"kagglehub {GLOVE_KAGGLE}: {reason(error)}")
    try:
        os.makedirs(cache_dir, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as folder:
            with tempfile.TemporaryFile(dir=folder) as archive:
                download(GLOVE_URL, archive)
                with zipfile.ZipFile(archive) as content:
                    content.extract(name, folder)
            os.replace(os.path.join(folder, name), cached)
        return cached
    except (DownloadError, zipfile.BadZipFile, KeyError) as error:
        failures.append(f"{GLOVE_URL}: {error}")
    raise InputError(f"cannot get the GloVe vectors; {'; '.join(failures)}. Set GLOVE_PATH to a GloVe text file of "
                     "100 dimensions, or USE_GLOVE to False")


def read_glove(path, words):
    """Read the vectors of `words` from a GloVe text file, plain or gzip; other rows are passed over.

    Returns {word: float32 array of 100}. Words with blanks cannot match a token and are passed over.
    Raises InputError with the row where the file has other dimensions, is cut off, or has no word in common.
    """
    wanted, found = set(words), {}
    row = 0
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            for row, line in enumerate(file, 1):
                blanks = line.count(b" ")
                if blanks < 100 or row == 1 and blanks != 100:
                    raise InputError(f"{path}, row {row}: has {blanks + 1} columns where a word and 100 numbers are "
                                     f"needed; {'take the 100-d file' if row == 1 else 'the file is cut off or damaged'}")
                if blanks > 100:
                    continue
                word, _, numbers = line.rstrip().partition(b" ")
                word = word.decode("utf-8", "replace")
                if word in wanted:
                    try:
                        found[word] = np.array(numbers.split(b" "), np.float32)
                        if not np.isfinite(found[word]).all():
                            raise ValueError("has a value that is no finite number")
                    except ValueError as error:
                        raise InputError(f"{path}, row {row}: {error}; get the file anew") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}, row {row + 1}: cannot be read as GloVe text ({error}); get the file anew") from error
    if not found:
        raise InputError(f"{path} has no word in common with the training texts; take English GloVe vectors")
    return found


def embedding_matrix(vocabulary, cache_dir):
    """Return (matrix, known): float32 (words, 100), and a bool array, True for words with a GloVe vector.

    Words without a vector get small random ones; row 0 pads and is zero. The rows read are cached.
    """
    matrix = np.random.default_rng(SEED).normal(0, 0.1, (len(vocabulary), 100)).astype(np.float32)
    matrix[0] = 0
    known = np.zeros(len(vocabulary), bool)
    if not USE_GLOVE:
        return matrix, known
    path = glove_file(cache_dir)
    source = f"{os.path.abspath(path)} {os.path.getsize(path)} {os.path.getmtime(path)} {' '.join(vocabulary)}"
    cached = os.path.join(cache_dir, f"glove-{hashlib.sha1(source.encode()).hexdigest()[:12]}.npz")
    if os.path.isfile(cached):
        with np.load(cached, allow_pickle=False) as file:
            rows, vectors = file["rows"], file["vectors"]
    else:
        found = read_glove(path, vocabulary)
        rows = np.array([number for number, word in enumerate(vocabulary) if word in found])
        vectors = np.stack([found[vocabulary[number]] for number in rows])
        buffer = io.BytesIO()
        np.savez(buffer, rows=rows, vectors=vectors)
        save_all({cached: buffer.getvalue()})
    matrix[rows], known[rows] = vectors, True
    return matrix, known


def batches(sequences, batch_size, shuffle=None):
    """Group texts of like length: return a list of row-number arrays, sorted by length, so that little is padding.

    With `shuffle` (a numpy Generator) texts whose lengths differ by less than LENGTH_SPREAD change
    batches, and batches change places.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    noise = shuffle.uniform(0, LENGTH_SPREAD, len(lengths)) if shuffle is not None else 0
    order = np.argsort(lengths + noise, kind="stable")
    groups = [order[begin:begin + batch_size] for begin in range(0, len(order), batch_size)]
    if shuffle is not None:
        shuffle.shuffle(groups)
    return groups


def pad(sequences, rows):
    """Return the texts of these rows, padded right with 0 to the longest: int32 (rows, length).

    A text without a word is one unknown word, since cuDNN takes no text that is padding alone.
    """
    tokens = np.zeros((len(rows), max(1, max(len(sequences[row]) for row in rows))), np.int32)
    for place, row in enumerate(rows):
        tokens[place, :len(sequences[row])] = sequences[row]
    tokens[:, 0] = np.maximum(tokens[:, 0], 1)
    return tokens


def training_batches(sequences, labels):
    """Return a tf.data.Dataset of (tokens, one-hot targets), batched and shuffled anew in each epoch.

    Only row numbers come from Python; the texts are gathered from one padded array, each batch cut
    to its longest. No shape is fixed, so that one trace of the training step serves all batches.
    """
    tokens, targets = tf.constant(pad(sequences, range(len(sequences)))), tf.one_hot(labels, 6)
    lengths = tf.constant([len(sequence) for sequence in sequences])
    shuffle = np.random.default_rng(SEED)

    def gather(rows):
        longest = tf.maximum(tf.reduce_max(tf.gather(lengths, rows)), 1)
        return tf.gather(tokens, rows)[:, :longest], tf.gather(targets, rows)

    dataset = tf.data.Dataset.from_generator(lambda: batches(sequences, BATCH_SIZE, shuffle),
                                             output_signature=tf.TensorSpec((None,), tf.int64))
    dataset = dataset.map(gather).apply(tf.data.experimental.assert_cardinality(-(-len(sequences) // BATCH_SIZE)))
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread is waited for when an epoch ends, for up to five seconds
    return dataset.prefetch(4).with_options(options)


# Model


def build_model(matrix, units, dropout):
    """Return the baseline: frozen embedding, spatial dropout, bidirectional LSTM, softmax over the six classes.

    matrix: float32 (words, 100). Input int32 (texts, length), right-padded with 0; output (texts, 6).
    With USE_GLOVE = False the embedding is trained.
    """
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = layers.Embedding(*matrix.shape, mask_zero=True, trainable=not USE_GLOVE, name="embedding")
    hidden = layers.SpatialDropout1D(dropout, seed=SEED)(embedding(tokens))
    hidden = layers.Bidirectional(layers.LSTM(units, seed=SEED), name="rnn")(hidden)
    probabilities = layers.Dense(6, activation="softmax", dtype="float32", name="emotion")(hidden)
    embedding.set_weights([matrix])
    return keras.Model(tokens, probabilities)


# Train


def learning_rate_schedule(rate, steps):
    """Return a rate that falls in a line to a fiftieth over `steps`."""
    return keras.optimizers.schedules.PolynomialDecay(rate, steps, end_learning_rate=rate / 50)


class BestEpoch(keras.callbacks.Callback):
    """Evaluates after each epoch with the averaged weights, keeps the best, and stops in time.

    The best epoch is the one of highest validation macro F1. `report(epoch, macro_f1)`, if given,
    is called after each epoch and may stop the training by raising.
    """

    def __init__(self, sequences, labels, name, patience, report=None):
        super().__init__()
        self.sequences, self.labels, self.name, self.patience, self.report = sequences, labels, name, patience, report
        self.history, self.best, self.weights = [], None, None

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        probabilities = predict_tokens(self.model, self.sequences)
        loss, accuracy, macro_f1 = scores(self.labels, probabilities)
        self.history.append({"loss": float(logs["loss"]), "val_loss": loss, "val_accuracy": accuracy,
                             "val_macro_f1": macro_f1, "seconds": seconds})
        print(f"{self.name}, epoch {epoch + 1}: loss {logs['loss']:.4f}, validation loss {loss:.4f}, "
              f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, {seconds:.1f} s", flush=True)
        if self.best is None or macro_f1 > self.history[self.best]["val_macro_f1"]:
            self.best, self.weights = epoch, self.model.get_weights()
        elif epoch - self.best >= self.patience:
            self.model.stop_training = True
        if self.report:
            self.report(epoch, macro_f1)


def fit(model, data, rate, epochs, name, report=None):
    """Train `model` in place and leave it at its best epoch; returns the history of the epochs.

    data: Encoded. Label smoothing (Szegedy et al. 2016, arXiv:1512.00567), AdamW, a falling rate,
    and an exponential moving average of the weights, which is what is evaluated and kept.
    """
    dataset = training_batches(data.train, data.train_labels)
    schedule = learning_rate_schedule(rate, epochs * len(dataset))
    # Ten steps a call from Python; a loop of steps over several devices fails in TensorFlow 2.21
    steps = 1 if model.distribute_strategy.num_replicas_in_sync > 1 else 10
    with model.distribute_strategy.scope():
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=1.0, use_ema=True,
                                           ema_momentum=EMA_MOMENTUM)
        model.compile(optimizer, keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
                      steps_per_execution=steps)
    best = BestEpoch(data.val, data.val_labels, name, PATIENCE, report)
    averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    verbose = 1 if sys.stderr.isatty() and sys.stdout.isatty() else 0
    try:
        model.fit(dataset, epochs=epochs, verbose=verbose, shuffle=False, callbacks=[averages, best])
    finally:
        if best.weights is not None:
            model.set_weights(best.weights)
    return best.history


# Evaluate


def predict_tokens(model, sequences, batch_size=256):
    """Return the probabilities of each text: float32 (texts, 6), in the order of `sequences`."""
    probabilities = np.zeros((len(sequences), 6), np.float32)
    for rows in batches(sequences, batch_size):
        probabilities[rows] = as_graph(model)(pad(sequences, rows)).numpy()
    return probabilities


def as_graph(model):
    """Return a function that predicts as `model` does, as one graph: several times faster than layer by layer."""
    if not hasattr(model, "predict_graph"):
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
        model.predict_graph = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)
    return model.predict_graph


def scores(labels, probabilities):
    """Return (cross-entropy, accuracy, macro F1) of probabilities (texts, 6)."""
    predicted = probabilities.argmax(1)
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-9)).mean()
    macro_f1 = f1_score(labels, predicted, labels=range(6), average="macro", zero_division=0)
    return float(loss), float(accuracy_score(labels, predicted)), float(macro_f1)


@dataclass
class Encoded:
    """The sets as word numbers (lists of int32 arrays) and labels (int64 arrays)."""

    train: list
    train_labels: np.ndarray
    val: list
    val_labels: np.ndarray
    test: list
    test_labels: np.ndarray


def prepare(cache_dir):
    """Acquire data and vectors; returns (data, vectorizer, encoded, matrix, coverage).

    coverage: shares of the training words and of the running words that have a GloVe vector.
    """
    data = acquire(cache_dir)
    print(f"data: {len(data.train_texts):,} training, {len(data.val_texts):,} validation, {len(data.test_texts):,} "
          "test rows; training texts that stand in another set are left out")
    if data.note:
        print(f"note: {data.note}")
    vectorizer = make_vectorizer(data.train_texts)
    encoded = Encoded(encode(vectorizer, data.train_texts), data.train_labels, encode(vectorizer, data.val_texts),
                      data.val_labels, encode(vectorizer, data.test_texts), data.test_labels)
    vocabulary = vectorizer.get_vocabulary()
    matrix, known = embedding_matrix(vocabulary, cache_dir)
    counts = np.bincount(np.concatenate(encoded.train), minlength=len(vocabulary))
    coverage = {"words": float(known[2:].mean()), "running_words": float(counts[known].sum() / counts.sum())}
    print(f"embeddings: {len(vocabulary):,} words; " + (
        f"{coverage['words']:.1%} of them and {coverage['running_words']:.1%} of the running words have a GloVe vector"
        if USE_GLOVE else "they start at random and are trained (USE_GLOVE = False)"))
    return data, vectorizer, encoded, matrix, coverage


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs, as bytes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), dpi=120)
    epochs = range(1, len(history) + 1)
    for axes, keys in ((left, ("loss", "val_loss")), (right, ("val_accuracy", "val_macro_f1"))):
        for key in keys:
            axes.plot(epochs, [epoch[key] for epoch in history], marker=".", label=key.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return png(figure)


def draw_confusion(matrix, title):
    """Return a PNG of a confusion matrix (6, 6), rows the true classes, as bytes."""
    figure, axes = plt.subplots(figsize=(5.5, 4.8), dpi=120)
    axes.imshow(matrix / np.maximum(matrix.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        share = matrix[row, column] / max(matrix[row].sum(), 1)
        axes.text(column, row, matrix[row, column], ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set_xticks(range(6), EMOTIONS, rotation=45)
    axes.set_yticks(range(6), EMOTIONS)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    return png(figure)


def png(figure):
    """Return a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def evaluate(model, sequences, labels, name):
    """Print a report a class; returns a dict of accuracy, macro F1, the report and the confusion matrix."""
    probabilities = predict_tokens(model, sequences)
    _, accuracy, macro_f1 = scores(labels, probabilities)
    predicted = probabilities.argmax(1)
    arguments = {"labels": range(6), "target_names": EMOTIONS, "zero_division": 0}
    print(f"{name}:\n{classification_report(labels, predicted, digits=4, **arguments)}")
    return {"accuracy": accuracy, "macro_f1": macro_f1,
            "report": classification_report(labels, predicted, output_dict=True, **arguments),
            "confusion_matrix": confusion_matrix(labels, predicted, labels=range(6)).tolist()}


def profile(text_model, encoded, texts, history):
    """Return epoch seconds, training throughput, parameters, peak memory, and latency from raw text."""
    times = {}
    for size in (1, 256):
        batch = tf.constant((texts * (256 // len(texts) + 1))[:size])
        as_graph(text_model)(batch)
        runs = []
        for _ in range(20 if size == 1 else 5):
            started = time.perf_counter()
            as_graph(text_model)(batch)
            runs.append(time.perf_counter() - started)
        times[f"latency_seconds_batch_{size}"] = float(np.median(runs))
    seconds = [entry["seconds"] for entry in history]
    return {"epoch_seconds": float(np.median(seconds)),
            "training_texts_per_second": len(encoded.train) / float(np.mean(seconds)),
            "parameters": int(text_model.count_params()), "peak_memory_bytes": peak_memory(), **times}


def peak_memory():
    """Return the most memory that this process has held, in bytes, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# Save


def text_model_of(vectorizer, model):
    """Return a model of raw strings: a batch of texts in, probabilities (texts, 6) out, computed in float32."""
    config = json.loads(json.dumps(model.get_config()).replace("mixed_float16", "float32"))
    bare = keras.Model.from_config(config)  # without the optimizer, whose state would be saved too
    bare.set_weights(model.get_weights())
    text = keras.Input((), dtype="string", name="text")
    tokens = keras.ops.pad(vectorizer(text), ((0, 0), (0, 1)))
    first = keras.ops.maximum(tokens[:, :1], 1)  # a text without a word is one unknown word, as in `pad`
    tokens = keras.ops.concatenate([first, tokens[:, 1:]], axis=1)
    return keras.Model(text, bare(tokens))


def model_bytes(model):
    """Return the bytes of the model's .keras file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        return read_file(path)


def load_model(path):
    """Load a saved model in Keras's safe mode; raise InputError where it is missing, damaged or of another kind."""
    command = f"python3 {sys.argv[0] or SCRIPT}" + (f" --OUTPUT_DIR {OUTPUT_DIR}" if OUTPUT_DIR else "")
    mend = f"run `{command}` to make it anew"
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run `{command}` to make one")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what its parts raise: zip, JSON, HDF5, configuration
        raise InputError(f"{path} is damaged or no Keras model; {mend}") from error
    if getattr(model, "output_shape", None) != (None, 6) or model.inputs[0].dtype != "string":
        raise InputError(f"{path} is no model of this script; {mend}")
    return model


# Predict


def print_predictions(model, texts):
    """Print a line a text: label, emotion, probability, text."""
    for begin in range(0, len(texts), 256):
        batch = texts[begin:begin + 256]
        probabilities = as_graph(model)(tf.constant(batch)).numpy()
        for text, row in zip(batch, probabilities):
            line = f"{row.argmax()}\t{EMOTIONS[row.argmax()]}\t{row.max():.4f}\t".encode()
            sys.stdout.buffer.write(line + text.replace(b"\n", b" ") + b"\n")
    sys.stdout.buffer.flush()


def texts_to_predict(arguments):
    """Return the texts of the --predict options as bytes, standard input read line by line."""
    texts = []
    for argument in arguments:
        if argument == "-":
            texts += [line.rstrip(b"\r\n") for line in sys.stdin.buffer]
        else:
            texts.append(os.fsencode(argument))
    return texts


# Grid search


def open_study(name, settings, folder):
    """Return the Optuna study of this grid, its settings enqueued once; raise InputError where it is of another."""
    storage = STORAGE or os.path.join(folder, "grid.journal")
    try:
        if "://" not in storage:
            os.makedirs(os.path.dirname(os.path.abspath(storage)), exist_ok=True)
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", pruner=pruner, load_if_exists=True)
        grid = json.dumps(settings)
        if study.user_attrs.setdefault("grid", grid) != grid:
            raise InputError(f"the store {STORAGE or os.path.join(folder, 'grid.journal')} holds another grid; "
                             "set STORAGE to a new one")
        study.set_user_attr("grid", grid)
    except InputError:
        raise
    except Exception as error:  # a driver's own exceptions: locked, unreadable, no such database
        text = " ".join(str(error).split())[:200]
        raise InputError(f"cannot open the store {STORAGE or folder}: {text}. Set STORAGE to a file or database that "
                         "can be written, or wait until it is free") from error
    return study


def worker_is_alive(trial):
    """Return whether the process that trains this trial still does, as far as this machine can tell."""
    host, _, pid = trial.user_attrs.get("worker", " ").partition(" ")
    if host != platform.node() or not pid:
        heard = trial.user_attrs.get("heard", trial.datetime_start.timestamp())
        return time.time() - heard < STALE_SECONDS
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def enqueue_what_is_missing(study, settings):
    """Enqueue each setting that no trial holds, and those whose process died; they are trained anew."""
    held = set()
    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.RUNNING and not worker_is_alive(trial):
            with contextlib.suppress(ValueError, RuntimeError):  # another process may have done so just now
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        elif trial.state != optuna.trial.TrialState.FAIL:
            held.add(trial.user_attrs["setting"])
    for setting in settings:
        if json.dumps(setting) not in held:
            study.enqueue_trial(setting, user_attrs={"setting": json.dumps(setting)})


def take_setting(study):
    """Return a trial to train, or None if none waits.

    Optuna gives a waiting trial to one process only. Two processes that start together may have
    enqueued a setting twice; the trial of the lower number counts, the other is dropped.
    """
    while any(trial.state == optuna.trial.TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
        trial = study.ask()
        setting = trial.user_attrs.get("setting")
        same = [other for other in study.get_trials(deepcopy=False) if other.user_attrs.get("setting") == setting
                and other.number < trial.number and other.state != optuna.trial.TrialState.FAIL]
        if setting is not None and not same:
            trial.set_user_attr("worker", f"{platform.node()} {os.getpid()}")
            return trial
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return None


def search(name, settings, train, folder):
    """Train every setting of the grid once, with any other process that shares the store.

    train: called with a setting and a `report`; returns the history of the epochs. Hopeless settings
    are pruned by the median rule (Golovin et al. 2017, "Google Vizier"). Returns the study.
    """
    study = open_study(name, settings, folder)
    while True:
        enqueue_what_is_missing(study, settings)
        trial = take_setting(study)
        if trial is None:
            if not any(other.state == optuna.trial.TrialState.RUNNING for other in study.get_trials(deepcopy=False)):
                return study
            time.sleep(2)
            continue
        setting = json.loads(trial.user_attrs["setting"])
        for key, value in setting.items():
            trial.suggest_categorical(key, sorted({other[key] for other in settings}))

        def report(epoch, macro_f1, trial=trial):
            trial.report(macro_f1, epoch)
            trial.set_user_attr("heard", time.time())
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            history = train(setting, report)
            best = max(history, key=lambda entry: entry["val_macro_f1"])
            trial.set_user_attr("val_accuracy", best["val_accuracy"])
            study.tell(trial, best["val_macro_f1"])
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        finally:
            keras.backend.clear_session()
        done = sum(other.state.is_finished() and other.state.name != "FAIL" for other in study.get_trials(deepcopy=False))
        print(f"grid: {done} of {len(settings)} settings done", flush=True)


def report_search(study, settings, folder):
    """Print and save the ranked table, a heat map of the first two axes, and the best setting."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name in ("COMPLETE", "PRUNED"):
            value = trial.value if trial.state.name == "COMPLETE" else max(trial.intermediate_values.values())
            rows.append({**json.loads(trial.user_attrs["setting"]), "state": trial.state.name.lower(),
                         "val_macro_f1": value, "val_accuracy": trial.user_attrs.get("val_accuracy"),
                         "epochs": len(trial.intermediate_values), "seconds": trial.duration.total_seconds()})
    table = pd.DataFrame(rows).sort_values(["state", "val_macro_f1"], ascending=[True, False]).reset_index(drop=True)
    print(table.to_string(formatters={"val_macro_f1": "{:.4f}".format, "seconds": "{:.0f}".format}))
    first, second = list(settings[0])[:2]
    heat = table.pivot_table(index=first, columns=second, values="val_macro_f1", aggfunc="max")
    figure, axes = plt.subplots(figsize=(8, 4), dpi=120)
    image = axes.imshow(heat, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(heat.columns)), heat.columns)
    axes.set_yticks(range(len(heat.index)), heat.index)
    axes.set_xlabel(second.lower())
    axes.set_ylabel(first.lower())
    finished = table.pivot_table(index=first, columns=second, values="val_accuracy", aggfunc="max")
    finished = finished.reindex(index=heat.index, columns=heat.columns).notna()
    middle = (heat.max(axis=None) + heat.min(axis=None)) / 2
    for y, x in itertools.product(range(len(heat.index)), range(len(heat.columns))):
        value = heat.iat[y, x]
        axes.text(x, y, f"{value:.3f}" + ("" if finished.iat[y, x] else "\npruned"), ha="center", va="center", fontsize=7,
                  color="black" if value > middle else "white")
    figure.colorbar(image, label="validation macro F1")
    save_all({os.path.join(folder, "grid.csv"): table.to_csv(index=False).encode(),
              os.path.join(folder, "grid.png"): png(figure)})
    best = {key: table.loc[0, key].item() for key in settings[0]}
    print("best setting: " + ", ".join(f"{key} = {value}" for key, value in best.items()))
    return best


# Main


def read_constants():
    """Return {name: (value, comment)} of the constants at the top of this file."""
    with open(__file__, encoding="utf-8") as file:
        lines = re.findall(r"^([A-Z][A-Z0-9_]*) = .*?  # (.*)$", file.read(), re.MULTILINE)
    return {name: (globals()[name], comment) for name, comment in lines if name in RANGES}


def parse_constant(name, text, default):
    """Turn the text of a command-line value into the type of the constant's default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return type(default)(text)
    except (ValueError, KeyError) as error:
        kinds = {bool: "True or False", int: "a whole number", float: "a number"}
        raise InputError(f"{name} is {text!r}; it takes {kinds[type(default)]}") from error


def check_constants():
    """Raise InputError where a constant is of the wrong type or out of its range."""
    for name, (value, _) in read_constants().items():
        allowed = RANGES[name]
        if allowed in (str, bool):
            if not isinstance(value, allowed):
                raise InputError(f"{name} is {value!r}; it takes {'True or False' if allowed is bool else 'text'}")
            continue
        whole = isinstance(allowed[0], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise InputError(f"{name} is {value!r}; it takes a {'whole ' if whole else ''}number")
        if not allowed[0] <= value <= allowed[1]:
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
                        help="classify TEXT with the saved model (repeatable; - reads lines from standard input)")
    group = parser.add_argument_group("constants")
    constants = read_constants()
    for name, (value, comment) in constants.items():
        text = f"{comment} (now {value!r})".replace("%", "%%")
        group.add_argument(f"--{name}", metavar=type(value).__name__, help=text)
    options = parser.parse_args()
    for name, (value, _) in constants.items():
        text = getattr(options, name)
        if text is not None:
            globals()[name] = parse_constant(name, text, value)
    check_constants()
    return options


def output_folder():
    """Return OUTPUT_DIR, or the script's own folder of outputs."""
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "outputs", SCRIPT.removesuffix(".py"))
    return os.path.abspath(OUTPUT_DIR) if OUTPUT_DIR else default


def save_results(folder, model, vectorizer, data, encoded, history, seconds, extra):
    """Evaluate, save everything under `folder`, and print the profile and the summary."""
    validation = evaluate(model, encoded.val, encoded.val_labels, "validation")
    test = evaluate(model, encoded.test, encoded.test_labels, "test") if len(encoded.test) else None
    text_model = text_model_of(vectorizer, model)
    content = model_bytes(text_model)
    results = {
        "validation_accuracy": validation["accuracy"], "validation_macro_f1": validation["macro_f1"],
        "test_accuracy": test and test["accuracy"], "test_macro_f1": test and test["macro_f1"],
        "training_seconds": seconds, "model_bytes": len(content), "dataset": "emotion (CARER)", "note": data.note,
        "train_rows": len(encoded.train), "validation_rows": len(encoded.val), "test_rows": len(encoded.test),
        "seed": SEED, "history": history, "validation": validation, "test": test, **extra,
        "profile": profile(text_model, encoded, data.val_texts, history),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "constants": {name: value for name, (value, _) in read_constants().items()},
    }
    pictures = {"curves.png": draw_curves(history)}
    for name, scored in (("validation", validation), ("test", test)):
        if scored:
            pictures[f"confusion_{name}.png"] = draw_confusion(np.array(scored["confusion_matrix"]), name)
    files = {"model.keras": content, "results.json": json.dumps(results, indent=2).encode(), **pictures}
    save_all({os.path.join(folder, name): bytes_ for name, bytes_ in files.items()})
    if not test:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "confusion_test.png"))  # of an earlier run
    print_summary(results)


def print_summary(results):
    """Print the profile, and last the summary."""
    figures = results["profile"]
    memory = figures["peak_memory_bytes"]
    print(f"profile: {figures['epoch_seconds']:.1f} s an epoch, {figures['training_texts_per_second']:,.0f} texts/s, "
          f"{figures['parameters']:,} parameters, peak memory {f'{memory / 2**20:.0f} MiB' if memory else 'not known'}, "
          f"one text {figures['latency_seconds_batch_1'] * 1e3:.1f} ms, 256 texts "
          f"{figures['latency_seconds_batch_256'] * 1e3:.1f} ms")
    if results["note"]:
        print(f"note: {results['note']}")
    print("================ FINAL SUMMARY ================")
    print(f"Validation Accuracy: {results['validation_accuracy']:.4f}")
    if results["test_accuracy"] is not None:
        print(f"Test Accuracy: {results['test_accuracy']:.4f}")
        print(f"Test Macro F1: {results['test_macro_f1']:.4f}")
    print(f"Total Training Time: {results['training_seconds']:.1f} seconds")
    print(f"Model Size: {results['model_bytes']} bytes")
    print("===============================================")


def set_up_devices():
    """Return the strategy for the devices that are there; mixed precision on a GPU that has it."""
    keras.utils.set_random_seed(SEED)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    capable = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= (7, 0) for gpu in gpus]
    if gpus and all(capable):
        keras.mixed_precision.set_global_policy("mixed_float16")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def grid_settings():
    """Return the settings of the grid: units by dropout, 50 in all."""
    dropouts = [round(0.05 * step, 2) for step in range(1, 11)]
    return [{"UNITS": units, "DROPOUT": dropout} for units in (16, 32, 64, 128, 256) for dropout in dropouts]


def run(folder):
    """Train and save, or search the grid."""
    strategy = set_up_devices()
    data, vectorizer, encoded, matrix, coverage = prepare(os.path.join(folder if OUTPUT_DIR else os.path.dirname(folder), "data"))
    if GRID_SEARCH:
        def train(setting, report):
            keras.utils.set_random_seed(SEED)
            model = build_model(matrix, setting["UNITS"], setting["DROPOUT"])
            name = ", ".join(f"{key} {value}" for key, value in setting.items())
            return fit(model, encoded, LEARNING_RATE, GRID_EPOCHS, name, report)

        study = search("LSTM", grid_settings(), train, folder)
        report_search(study, grid_settings(), folder)
        return
    with strategy.scope():
        model = build_model(matrix, UNITS, DROPOUT)
    started = time.perf_counter()
    history = fit(model, encoded, LEARNING_RATE, NUM_EPOCHS, "LSTM")
    seconds = time.perf_counter() - started
    save_results(folder, model, vectorizer, data, encoded, history, seconds, {"coverage": coverage})


def main():
    try:
        options = parse_arguments()
        folder = output_folder()
        if options.predict:
            print_predictions(load_model(os.path.join(folder, "model.keras")), texts_to_predict(options.predict))
        else:
            check_writable(folder)
            run(folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; what was saved is kept, and `python3 {SCRIPT}` with the same options goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
