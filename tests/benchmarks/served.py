"""One saved model in a process of its own: what it says of texts, and how fast. Run by whole.py.

Usage: python3 tests/benchmarks/served.py KIND PATH ROWS.csv OUT.npz [--speed]

KIND is tiny, keras, transformer, fasttext or tfidf; PATH the model file or folder; ROWS.csv has the column text. OUT.npz gets
probabilities (texts, classes), labels (classes,), and bytes; or with --speed milliseconds (the median over 100 texts, one at a
time), texts_per_second (512 texts, in the batches that the model's own script predicts in, after a first time that warms up) and
peak_memory (bytes of the whole process, its libraries included).
"""
import csv
import importlib.util
import os
import pickle
import re
import statistics
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMED_TEXTS, WARM_UP, TIMED_BATCHES = 100, 10, 512


def load_script(path):
    """Import a script of the house as a module."""
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", os.path.basename(path)), os.path.join(ROOT, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def spaced(text):
    """Return a text as fastText's tutorial has it: small letters, blanks around punctuation."""
    return " ".join(re.sub(r"([.!?,'/()])", r" \1 ", text.lower()).split())


def tiny(path):
    sys.argv = [sys.argv[0], "--predict"]  # as --predict starts: without torch
    script = load_script("tinymodel-emotion-classification-10kB.py")
    model = script.load_model(path)
    return lambda texts: script.predict(model, [text.encode() for text in texts]), list(model.labels), os.path.getsize(path)


def keras(path):
    sys.path.insert(0, os.path.join(ROOT, "Project1"))
    from rnn.saving import load_model, predict_texts
    model, classes = load_model(path)
    return lambda texts: predict_texts(model, [text.encode() for text in texts]), list(classes), os.path.getsize(path)


def transformer(path):
    sys.path.insert(0, os.path.join(ROOT, "Project2"))
    import emotion_classifier
    from classifier.folders import folder_bytes
    from classifier.libraries import quiet_libraries
    from classifier.loading import load_to_serve
    from classifier.prediction import predict_logits, softmax
    from classifier.settings import make_settings
    quiet_libraries()
    model, tokenizer, manifest = load_to_serve(make_settings(emotion_classifier), path)

    def classify(texts):
        return softmax(predict_logits(model, tokenizer, texts, manifest, 64))

    return classify, manifest["labels"], folder_bytes(path)


def fasttext(path):
    import fasttext as library

    library.FastText.eprint = lambda text: None
    model = library.load_model(path)
    labels = sorted(label.removeprefix("__label__") for label in model.get_labels())

    def classify(texts):
        found = np.zeros((len(texts), len(labels)))
        for row, text in enumerate(texts):
            for p, label in model.f.predict(spaced(text) + "\n", -1, 0.0, "strict"):
                found[row, labels.index(label[9:])] = p
        return found

    return classify, labels, os.path.getsize(path)


def tfidf(path):
    with open(path, "rb") as file:  # whole.py wrote it
        model = pickle.load(file)
    return model.predict_proba, list(model.classes_), os.path.getsize(path)


def peak_memory():
    """Return the most memory that this process has held, in bytes (Linux)."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def main():
    kind, path, rows, out, *timed = sys.argv[1:]
    with open(rows, newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    load = {"tiny": tiny, "keras": keras, "transformer": transformer, "fasttext": fasttext, "tfidf": tfidf}[kind]
    classify, labels, size = load(path)
    if timed:
        seconds = []
        for text in texts[:WARM_UP + TIMED_TEXTS]:
            started = time.perf_counter()
            classify([text])
            seconds.append(time.perf_counter() - started)
        texts = texts[:TIMED_BATCHES]
        classify(texts)
        started = time.perf_counter()
        classify(texts)
        figures = {"milliseconds": 1e3 * statistics.median(seconds[WARM_UP:]), "peak_memory": peak_memory(),
                   "texts_per_second": len(texts) / (time.perf_counter() - started)}
    else:
        figures = {"probabilities": classify(texts), "labels": np.array(list(map(str, labels))), "bytes": size}
    np.savez(out, **figures)


if __name__ == "__main__":
    main()
