"""What a training writes: a model of raw strings, compared as it loads again, results.json, pictures, the summary."""
import contextlib
import json
import os
import platform
import tempfile
import time
import zipfile

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .batches import as_graph, predict_tokens
from .evaluation import calibrate, calibration_error, evaluate
from .files import read_file, save_all
from .prediction import load_model, output_folder, predict_texts
from .settings import InputError, peak_memory
from .text import text_layers


def save_results(settings, model, vocabulary, data, encoded, history, seconds, extra):
    """Calibrate, compare the model as it loads again, save everything in OUTPUT_DIR, and print the summary.

    history: of the epochs that made the model; seconds: of the whole training; extra: more entries of results.json.
    """
    from .pictures import draw_confusion, draw_curves
    names = list(data.classes.values())
    before = predict_tokens(model, encoded.val)
    temperature = calibrate(model, before, encoded.val_labels)
    probabilities = predict_tokens(model, encoded.val)
    scored = {"validation": evaluate(probabilities, encoded.val_labels, names, "validation"), "test": None}
    scored["validation"]["expected_calibration_error_before"] = calibration_error(encoded.val_labels, before)
    if len(encoded.test):
        scored["test"] = evaluate(predict_tokens(model, encoded.test), encoded.test_labels, names, "test")
    text_model = text_model_of(vocabulary, model, settings.MAX_WORDS)
    files = {"model.keras": model_bytes(text_model, data.classes)}
    if settings.EXPORT:
        from .exporting import export
        words = max(map(len, [*encoded.train, *encoded.val]))
        files |= export(in_float32(model), vocabulary, data.classes, words, settings.MAX_WORDS)
    exports = compare_saved(files, data.val_texts, probabilities)
    test, given = scored["test"] or {}, {*probabilities.argmax(1).tolist()}
    results = {
        "validation_accuracy": scored["validation"]["accuracy"],
        "validation_macro_f1": scored["validation"]["macro_f1"], "test_accuracy": test.get("accuracy"),
        "test_macro_f1": test.get("macro_f1"), "training_seconds": seconds, "model_bytes": len(files["model.keras"]),
        "dataset": data.name, "classes": data.classes,
        "one_class_for_all": names[min(given)] if len(given) == 1 else None,
        "note": data.note, "epoch_chosen_on": data.chosen_on, "temperature": temperature, "left_out": data.left_out,
        "train_rows": len(encoded.train), "validation_rows": len(encoded.val), "test_rows": len(encoded.test),
        "seed": settings.SEED, "history": history, **scored, "exports": exports, **extra,
        "profile": profile(text_model, data.val_texts, history, len(encoded.train)),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "constants": {name: value for name, value in settings.constants().items() if name != "STORAGE"},
    }
    files["curves.png"] = draw_curves(history)
    files |= {f"confusion_{name}.png": draw_confusion(part["confusion_matrix"], names, name)
              for name, part in scored.items() if part}
    files["results.json"] = json.dumps(results, indent=2).encode()
    folder = output_folder(settings)
    save_all({os.path.join(folder, name): content for name, content in files.items()})
    for name in {"confusion_test.png", "model.tflite", "model.onnx", "tokenizer.json"} - {*files}:  # of an earlier run
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    print_summary(results)


# The model


def text_model_of(vocabulary, model, most):
    """Return a model of raw strings: a batch of texts in, probabilities (texts, classes) out, computed in float32.

    most: words of a text that are read.
    """
    text = keras.Input((), dtype="string", name="text")
    tokens = ops.pad(text_layers(vocabulary, most)(text), ((0, 0), (0, 1)))
    first = ops.maximum(tokens[:, :1], 1)  # a text without a word is one unknown word, as in `pad`
    tokens = ops.cast(ops.concatenate([first, tokens[:, 1:]], axis=1), "int32")
    return keras.Model(text, in_float32(model)(tokens))


def in_float32(model):
    """Return a copy of a model that computes in float32, without the optimizer, whose state would be saved too."""
    bare = keras.Model.from_config(json.loads(json.dumps(model.get_config()).replace("mixed_float16", "float32")))
    bare.set_weights(model.get_weights())
    return bare


def model_bytes(model, classes):
    """Return the bytes of the model's .keras file, with classes.json in it: {what stands in files: its name}."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("classes.json", json.dumps(classes))
        return read_file(path)


def compare_saved(files, texts, expected):
    """Load what is to be saved, and compare its predictions of these texts with the measured ones.

    files: {name: bytes}. Returns {name of a model: how it compares}. Raises InputError where one predicts else.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_all({os.path.join(folder, name): content for name, content in files.items()})
        model, _ = load_model(os.path.join(folder, "model.keras"))
        found = {"model.keras": predict_texts(model, [text.encode() for text in texts])}
        if len(files) > 1:
            from .exporting import predict_exported
            found |= predict_exported(folder, texts)
    compared = {}
    for name, probabilities in found.items():
        apart = float(np.abs(probabilities - expected).max())
        compared[name] = {"bytes": len(files[name]), "rows": len(texts), "largest_difference": apart,
                          "same_labels": int((probabilities.argmax(1) == expected.argmax(1)).sum())}
        if not apart < {"model.tflite": 0.5}.get(name, 1e-4):  # its weights are INT8; what that does is reported
            raise InputError(f"{name}, loaded again, predicts something else (by up to {apart:.2g}); please report it")
    return compared


# The figures


def profile(text_model, texts, history, rows):
    """Return epoch seconds, training throughput, parameters, peak memory, seconds from raw texts to probabilities."""
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
    return {"epoch_seconds": float(np.median(seconds)), "training_texts_per_second": rows / float(np.mean(seconds)),
            "parameters": int(text_model.count_params()), "peak_memory_bytes": peak_memory(), **times}


def seconds_of(history):
    """Return the seconds that all epochs took, their evaluation included."""
    return sum(entry["seconds"] + entry["evaluation_seconds"] for entry in history)


def print_summary(results):
    """Print the profile, and last the summary."""
    figures, validation = results["profile"], results["validation"]
    one, many = (1e3 * figures[f"latency_seconds_batch_{size}"] for size in (1, 256))
    memory = f"{figures['peak_memory_bytes'] / 2**20:.0f} MiB" if figures["peak_memory_bytes"] else "not known"
    print(f"profile: {figures['epoch_seconds']:.1f} s an epoch, {figures['training_texts_per_second']:,.0f} texts/s, "
          f"{figures['parameters']:,} parameters, peak memory {memory}, one text {one:.1f} ms, 256 texts {many:.1f} ms")
    print(f"calibration: expected error {validation['expected_calibration_error_before']:.4f}, "
          f"{validation['expected_calibration_error']:.4f} with the temperature {results['temperature']:.2f} "
          "that these rows chose")
    for name, figures in results["exports"].items():
        print(f"{name}, loaded again: {figures['bytes']:,} bytes, {figures['same_labels']:,} of {figures['rows']:,} "
              f"labels as measured, probabilities within {figures['largest_difference']:.1e}")
    if results["note"]:
        print(f"note: {results['note']}")
    print("================ FINAL SUMMARY ================")
    if results["one_class_for_all"]:
        print(f"WARNING: it learned nothing: all validation texts are {results['one_class_for_all']} to this model")
    print(f"Validation Accuracy: {results['validation_accuracy']:.4f}")
    if results["test_accuracy"] is not None:
        print(f"Test Accuracy: {results['test_accuracy']:.4f}\nTest Macro F1: {results['test_macro_f1']:.4f}")
    print(f"Total Training Time: {results['training_seconds']:.1f} seconds\nModel Size: {results['model_bytes']} bytes")
    print("===============================================")
