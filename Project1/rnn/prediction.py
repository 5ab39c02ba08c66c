"""The command line, where a model is saved, and that model asked: texts in, labels out."""
import json
import os
import sys
import zipfile

import keras
import numpy as np
import tensorflow as tf

from .batches import as_graph
from .settings import InputError, OneLineParser, parse_arguments


def command_line(script):
    """Return (Settings, options) of a script's command line: its constants, and what is to be predicted."""
    parser = OneLineParser(script.__doc__)
    parser.add_argument("--predict", action="append", metavar="TEXT",
                        help="classify TEXT with the saved model (repeatable; - reads lines from standard input)")
    return parse_arguments(script, parser)


def output_folder(settings):
    """Return OUTPUT_DIR, or the script's own folder of outputs."""
    place, name = os.path.split(settings.script)
    return os.path.abspath(settings.OUTPUT_DIR or os.path.join(place, "outputs", name.removesuffix(".py")))


def cache_folder(settings):
    """Return the folder of what is downloaded: in OUTPUT_DIR, or in outputs, where LSTM.py and GRU.py share it."""
    folder = output_folder(settings)
    return os.path.join(folder if settings.OUTPUT_DIR else os.path.dirname(folder), "data")


def predict(settings, options):
    """Predict the texts of --predict with the saved model."""
    model, classes = load_model(os.path.join(output_folder(settings), "model.keras"))
    print_predictions(model, classes, texts_to_predict(options.predict))


def load_model(path):
    """Load a saved model in Keras's safe mode; return (model, {what stands in files: its name}).

    Raises InputError where it is missing, damaged or of another kind.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run the script without --predict to make one")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        with zipfile.ZipFile(path) as archive:
            classes = json.loads(archive.read("classes.json"))
        if model.inputs[0].dtype != "string" or model.output_shape != (None, len(classes)):
            raise ValueError("it takes no texts, or has other classes")
    except Exception as error:  # Keras raises what its parts raise: zip, JSON, HDF5, configuration
        what = "is damaged, or no model of this script; run it without --predict to make one"
        raise InputError(f"{path} {what}") from error
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
