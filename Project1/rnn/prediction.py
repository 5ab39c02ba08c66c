"""A saved model asked: by the command line's texts, or by the fresh process that a training compares itself with."""
import argparse
import json
import os
import sys
import zipfile

import keras
import numpy as np
import tensorflow as tf

from .batches import as_graph
from .files import read_file
from .saving import output_folder
from .settings import InputError, OneLineParser, parse_arguments


def command_line(script):
    """Return (Settings, options) of a script's command line: its constants, and what is to be predicted."""
    parser = OneLineParser(script.__doc__)
    parser.add_argument("--predict", action="append", metavar="TEXT",
                        help="classify TEXT with the saved model (repeatable; - reads lines from standard input)")
    parser.add_argument("--loaded", action="store_true", help=argparse.SUPPRESS)  # by saving.compare_in_fresh_process
    return parse_arguments(script, parser)


def predict(settings, options):
    """Predict the texts of --predict with the saved model, or be the fresh process."""
    folder = output_folder(settings)
    model, classes = load_model(os.path.join(folder, "model.keras"), settings)
    if options.loaded:
        predict_loaded(folder, model)
    else:
        print_predictions(model, classes, texts_to_predict(options.predict))


def load_model(path, settings):
    """Load a saved model in Keras's safe mode; return (model, {what stands in files: its name}).

    Raises InputError where it is missing, damaged or of another kind.
    """
    command = f"python3 {os.path.relpath(settings.script)}"
    command += f" --OUTPUT_DIR {settings.OUTPUT_DIR}" if settings.OUTPUT_DIR else ""
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run `{command}` to make one")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        with zipfile.ZipFile(path) as archive:
            classes = json.loads(archive.read("classes.json"))
        if model.inputs[0].dtype != "string" or model.output_shape != (None, len(classes)):
            raise ValueError("it takes no texts, or has other classes")
    except Exception as error:  # Keras raises what its parts raise: zip, JSON, HDF5, configuration
        raise InputError(f"{path} is damaged, or no model of this script; run `{command}` to make it anew") from error
    return model, classes


def predict_texts(model, texts):
    """Return the probabilities of raw texts (bytes): float32 (texts, classes), in batches of like length."""
    probabilities = np.zeros((len(texts), model.output_shape[-1]), np.float32)
    order, begin = sorted(range(len(texts)), key=lambda row: len(texts[row])), 0
    while begin < len(order):
        rows = order[begin:begin + 256]
        while len(rows) > 1 and len(rows) * len(texts[rows[-1]]) > 10**6:  # characters that are held at once
            rows = rows[:len(rows) // 2]
        probabilities[rows] = as_graph(model)(tf.constant([texts[row] for row in rows])).numpy()
        begin += len(rows)
    return probabilities


def print_predictions(model, classes, texts):
    """Print a line a text: label, its name, probability, text."""
    labels, names = list(classes), list(classes.values())
    for begin in range(0, len(texts), 4096):
        batch = texts[begin:begin + 4096]
        for text, row in zip(batch, predict_texts(model, batch)):
            line = f"{labels[row.argmax()]}\t{names[row.argmax()]}\t{row.max():.4f}\t".encode()
            sys.stdout.buffer.write(line + text.replace(b"\n", b" ") + b"\n")
    sys.stdout.buffer.flush()


def texts_to_predict(arguments):
    """Return the texts of the --predict options as bytes, standard input read line by line."""
    texts = []
    for argument in arguments:
        if argument == "-":
            if sys.stdin is None:
                raise InputError("standard input is closed; --predict - reads texts from it")
            texts += [line.rstrip(b"\r\n") for line in sys.stdin.buffer]
        else:
            texts.append(os.fsencode(argument))
    return texts


def predict_loaded(folder, model):
    """Be the fresh process: predict texts.json with the models in `folder`; write probabilities.npz."""
    texts = json.loads(read_file(os.path.join(folder, "texts.json")))
    found = {"model.keras": predict_texts(model, [text.encode() for text in texts])}
    if os.path.exists(os.path.join(folder, "model.onnx")):
        from .exporting import predict_exported
        found |= predict_exported(folder, texts)
    np.savez(os.path.join(folder, "probabilities.npz"), **found)
