"""A model of raw strings: saved with its figures, compared as a fresh process loads it, asked on the command line."""
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import timeit
import zipfile
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from annotated_types import Predicate
from keras import ops
from pydantic import Field, TypeAdapter

from .evaluation import calibrate, calibration_error, draw_confusion, draw_curves, evaluate
from .files import save_all
from .settings import InputError, OneLineParser, one_line, parse_arguments, peak_memory, shown
from .text import text_layers
from .training import as_graph, predict_tokens

Name = Annotated[str, Field(min_length=1, max_length=200), Predicate(str.isprintable)]
CLASSES = TypeAdapter(Annotated[dict[str, Name], Predicate(lambda names: len(set(names.values())) == len(names) > 1)])


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
    """Return the folder of downloads: in OUTPUT_DIR, or in outputs, where LSTM.py and GRU.py share it."""
    folder = output_folder(settings)
    return os.path.join(folder if settings.OUTPUT_DIR else os.path.dirname(folder), "data")


def save_results(settings, model, vocabulary, data, encoded, history, seconds, extra):
    """Calibrate the model, compare it as it loads again, save all with `extra` in results.json, print the summary."""
    names = list(data.classes.values())
    before = predict_tokens(model, encoded.val)
    temperature = calibrate(model, before, encoded.val_labels)
    probabilities = predict_tokens(model, encoded.val)
    validation, tested = evaluate(probabilities, encoded.val_labels, names, "validation"), len(encoded.test) > 0
    validation["expected_calibration_error_before"] = calibration_error(encoded.val_labels, before)
    test = evaluate(predict_tokens(model, encoded.test), encoded.test_labels, names, "test") if tested else None
    text_model = text_model_of(vocabulary, model, settings.MAX_WORDS)
    figures = profile(text_model, data.val_texts, history, len(encoded.train))  # before memory goes into exports
    files = {"model.keras": model_bytes(text_model, data.classes)}
    if settings.EXPORT:
        from .exporting import export
        words = max(map(len, [*encoded.train, *encoded.val]))
        files |= export(without_optimizer(model), vocabulary, data.classes, words, settings.MAX_WORDS)
    exports = compare_saved(settings, files, data.classes, data.val_texts, probabilities)
    given = {*probabilities.argmax(1).tolist()}
    results = {
        "validation_accuracy": validation["accuracy"], "validation_macro_f1": validation["macro_f1"],
        "test_accuracy": test and test["accuracy"], "test_macro_f1": test and test["macro_f1"], "profile": figures,
        "training_seconds": seconds, "model_bytes": len(files["model.keras"]), "dataset": data.name,
        "classes": data.classes, "one_class_for_all": names[min(given)] if len(given) == 1 else None,
        "note": data.note, "temperature": temperature, "left_out": data.left_out,
        "epoch_chosen_on": data.chosen_on if settings.PATIENCE else "none: the last is kept",
        "train_rows": len(encoded.train), "validation_rows": len(encoded.val), "test_rows": len(encoded.test),
        "seed": settings.SEED, "history": history, "validation": validation, "test": test, "exports": exports, **extra,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "constants": {name: value for name, value in settings.constants().items() if name != "STORAGE"}}
    files |= {f"confusion_{title}.png": draw_confusion(results[title]["confusion_matrix"], names, title)
              for title in ("validation", "test") if results[title]}
    files |= {"curves.png": draw_curves(history), "results.json": json.dumps(results, indent=2).encode()}
    folder = output_folder(settings)
    save_all({os.path.join(folder, name): content for name, content in files.items()})
    for name in {"confusion_test.png", "model.tflite", "model.onnx", "tokenizer.json"} - {*files}:  # of an earlier run
        pathlib.Path(folder, name).unlink(missing_ok=True)
    print_summary(results)


def text_model_of(vocabulary, model, most):
    """Return a model of strings (texts,), of which `most` words are read, to float32 probabilities (texts, classes)."""
    text = keras.Input((), dtype="string", name="text")
    tokens = ops.pad(text_layers(vocabulary, most)(text), ((0, 0), (0, 1)))
    first = ops.maximum(tokens[:, :1], 1)  # a text without a word is one unknown word, as in `pad`
    tokens = ops.cast(ops.concatenate([first, tokens[:, 1:]], axis=1), "int32")
    return keras.Model(text, without_optimizer(model)(tokens))


def without_optimizer(model):
    """Return a copy of a model without the optimizer, whose state would be saved too."""
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def model_bytes(model, classes):
    """Return the bytes of the model's .keras file, with classes.json in it: {what stands in files: its name}."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("classes.json", json.dumps(classes))
        return pathlib.Path(path).read_bytes()


def compare_saved(settings, files, classes, texts, expected):
    """Load what is to be saved, {name: bytes}, model.keras in a fresh process; return {name: how it compares}.
    expected: the measured probabilities (texts, classes). Raises InputError where a model predicts something else."""
    compared, rows = {}, np.arange(len(texts))
    with tempfile.TemporaryDirectory() as folder:
        save_all({os.path.join(folder, name): content for name, content in files.items()})
        numbers, largest = predict_afresh(settings.script, folder, classes, texts)
        found = {"model.keras": (numbers, np.stack([largest - expected[rows, numbers], largest - expected.max(1)]))}
        if len(files) > 1:
            from .exporting import predict_exported
            found |= {name: (probabilities.argmax(1), probabilities - expected)
                      for name, probabilities in predict_exported(folder, texts).items()}
    for name, (numbers, differences) in found.items():
        apart = float(np.abs(differences).max())
        compared[name] = {"bytes": len(files[name]), "rows": len(texts), "largest_difference": apart,
                          "same_labels": int((numbers == expected.argmax(1)).sum())}
        if not apart < {"model.tflite": 0.5}.get(name, 1e-4):  # its weights are INT8; what that does is reported
            raise InputError(f"{name}, loaded again, predicts something else (by up to {apart:.2g}); please report it")
    return compared


def predict_afresh(script, folder, classes, texts):
    """Return (class numbers (texts,), their probabilities (texts,)) that --predict prints in a fresh process."""
    texts = [text.replace("\r", " ").replace("\n", " ").encode() for text in texts]
    command = [sys.executable, script, "--OUTPUT_DIR", folder, "--predict", "-"]
    process = subprocess.run(command, input=b"".join(text + b"\n" for text in texts), capture_output=True)
    lines = process.stdout.split(b"\n")[:-1]
    if process.returncode or len(lines) != len(texts):
        said = process.stderr.decode(errors="replace").strip().split("\n")[-1].removeprefix("error: ")
        raise InputError(f"a fresh process does not load what is to be saved: {said}")
    number = {name.encode(): number for number, name in enumerate(classes.values())}
    found = [line.removesuffix(b"\t" + text).rsplit(b"\t", 2)[1:]  # of label, name, probability, text
             for line, text in zip(lines, texts)]
    return np.array([number[name] for name, _ in found]), np.array([float(value) for _, value in found])


def profile(text_model, texts, history, rows):
    """Return epoch seconds, training throughput, parameters, peak memory, seconds from raw texts to probabilities."""
    times = {}
    for size, repeat in ((1, 20), (256, 5)):
        batch = tf.constant((texts * (256 // len(texts) + 1))[:size])
        runs = timeit.repeat(lambda: as_graph(text_model)(batch), number=1, repeat=repeat)
        times[f"latency_seconds_batch_{size}"] = float(np.median(runs))
    seconds = [entry["seconds"] for entry in history]
    return {"epoch_seconds": float(np.median(seconds)), "training_texts_per_second": rows / float(np.mean(seconds)),
            "parameters": int(text_model.count_params()), "peak_memory_bytes": peak_memory(), **times}


def seconds_of(history):
    """Return the seconds that all epochs took, their evaluation included."""
    return sum(entry["seconds"] + entry["evaluation_seconds"] for entry in history)


def print_summary(results):
    """Print the profile, and last the summary."""
    validation = results["validation"]
    print(f"calibration: expected error {validation['expected_calibration_error_before']:.4f}, with the temperature "
          f"{results['temperature']:.2f}, which these rows chose, {validation['expected_calibration_error']:.4f}")
    for name, figures in results["exports"].items():
        print(f"{name}, loaded again: {figures['bytes']:,} bytes, {figures['same_labels']:,} of {figures['rows']:,} "
              f"labels as measured, probabilities within {figures['largest_difference']:.1e}")
    print("================ FINAL SUMMARY ================")
    if results["one_class_for_all"]:
        print(f"WARNING: it learned nothing: all validation texts are {results['one_class_for_all']} to this model")
    print(f"Validation Accuracy: {results['validation_accuracy']:.4f}")
    if results["test_accuracy"] is not None:
        print(f"Test Accuracy: {results['test_accuracy']:.4f}\nTest Macro F1: {results['test_macro_f1']:.4f}")
    print(f"Total Training Time: {results['training_seconds']:.1f} seconds\nModel Size: {results['model_bytes']} bytes")
    print("===============================================")


def predict(settings, options):
    """Print a line for each text of --predict: label, its name, probability, text; - is the lines of standard input."""
    model, classes = load_model(os.path.join(output_folder(settings), "model.keras"))
    if "-" in options.predict and sys.stdin is None:
        raise InputError("standard input is closed; --predict - reads texts from it")
    texts, heads = [], [f"{label}\t{name}\t" for label, name in classes.items()]
    for text in options.predict:
        texts += [line.rstrip(b"\r\n") for line in sys.stdin.buffer] if text == "-" else [os.fsencode(text)]
    for text, row in zip(texts, predict_texts(model, texts)):
        line = f"{heads[row.argmax()]}{row.max():.4f}\t".encode() + text.replace(b"\n", b" ") + b"\n"
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def load_model(path):
    """Return (a saved model, loaded in Keras's safe mode; {what stands in files: its name}); raise InputError."""
    if not os.path.isfile(path):
        raise InputError(f"there is no model {path}; run the script without --predict to make one")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():  # a million words are in 32 MB of JSON
                most = 1 << 25 if member.filename.endswith(".json") else 50 * os.path.getsize(path)
                if ".." in member.filename or member.file_size > most:
                    raise ValueError(f"it holds {shown(member.filename)} of {member.file_size:,} bytes")
            layers = []  # of each the sizes of its largest matrix; that of one size is a square
            json.loads(archive.read("config.json"), object_hook=lambda layer: layers.append(
                [float(layer[key] or 1) for key in layer if re.fullmatch("units|n|.+_dim|.+_length", key)] or [1]))
            if max(max(n) * min(n) for n in layers) > 4 * archive.getinfo("model.weights.h5").file_size + 2**20:
                raise ValueError("it has layers that are larger than its weights")
            classes = CLASSES.validate_json(archive.read("classes.json"))
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        probe(model, classes)
    except Exception as error:  # Keras raises what its parts raise: zip, JSON, HDF5, configuration
        what = f"cannot be read as a model ({type(error).__name__}: {one_line(error)})"
        raise InputError(f"{path} {what}; run the script without --predict to make one") from error
    return model, classes


def probe(model, classes):
    """Raise ValueError unless a model gives probabilities of odd, empty and long texts, alone as beside others."""
    texts = [b"i feel\x0b caf\xc3\xa9 \xff\xf0\x9f\x98\x80", b"", b"happy " * 300]
    together, *alone = (as_graph(model)(tf.constant(some)) for some in (texts, *([text] for text in texts)))
    apart = tf.concat(alone, axis=0) - together
    if together.dtype != tf.float32 or together.shape != (len(texts), len(classes)) or not (
            np.allclose(apart, 0, atol=1e-3) and np.allclose(tf.reduce_sum(together, 1), 1, atol=1e-3)):
        raise ValueError(f"it gives no probabilities of {len(classes)} classes, or others of a text alone")


def predict_texts(model, texts):
    """Return the probabilities of raw texts (bytes): float32 (texts, classes)."""
    return predict_tokens(model, texts, batch=lambda texts, rows: tf.constant([texts[row] for row in rows]))
