"""Scores, latency and calibration of a model on labelled texts."""
import json
import math
import os
import time

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from .encoder import linear_layers
from .files import save_all
from .folders import folder_bytes
from .libraries import versions
from .prediction import predict_logits, softmax
from .settings import peak_memory


def scores(labels, logits):
    """Return (cross-entropy, accuracy, macro F1 over the classes of both) of labels and logits (texts, classes)."""
    from sklearn import metrics
    predicted = logits.argmax(1)
    loss = F.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    macro_f1 = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    return float(loss), float(metrics.accuracy_score(labels, predicted)), float(macro_f1)


def measure(model, tokenizer, texts, labels, manifest, folder, logits):
    """Return what a model does on texts, and costs, as JSON takes it; logits: theirs, float32 (texts, classes)."""
    from sklearn import metrics
    _, accuracy, macro_f1 = scores(labels, logits)
    predicted, numbers = logits.argmax(1), range(len(manifest["names"]))
    report = metrics.classification_report(labels, predicted, labels=numbers, output_dict=True, zero_division=0)
    figures = {"rows": len(texts), "accuracy": accuracy, "macro_f1": macro_f1, "classes": manifest["names"],
               "report": {name: report[str(number)] for number, name in enumerate(manifest["names"])},
               "calibration_error": calibration_error(labels, logits), "temperature": manifest["temperature"],
               "calibration_error_as_trained": calibration_error(labels, as_trained(logits, manifest)),
               "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=numbers).tolist()}
    for size in (1, 32):
        median, late = latency(model, tokenizer, texts, manifest, size)
        figures |= {f"latency_{size}_median": median, f"latency_{size}_p95": late}
    precision = str(getattr(model, "dtype", "")).removeprefix("torch.") or None
    return {**figures, "bytes": folder_bytes(folder), "peak_memory_bytes": peak_memory(), "precision": precision}


def latency(model, tokenizer, texts, manifest, batch_size):
    """Return (median, 95th percentile) of the seconds from raw texts to logits, over 100 batches or 10 seconds."""
    runs, begun = [], time.perf_counter()
    for run in range(105):
        batch = [texts[(run * batch_size + place) % len(texts)] for place in range(batch_size)]
        started = time.perf_counter()
        predict_logits(model, tokenizer, batch, manifest, batch_size)
        runs.append(time.perf_counter() - started)
        if run >= 10 and time.perf_counter() - begun > 10:
            break
    return tuple(float(value) for value in np.percentile(runs[5:], (50, 95)))  # the first ones warm up


def print_figures(name, figures):
    """Print what `measure` gives."""
    report = pd.DataFrame(figures["report"]).T
    matrix = pd.DataFrame(figures["confusion_matrix"], figures["classes"], figures["classes"])
    print(f"{name}: {figures['rows']:,} texts, accuracy {figures['accuracy']:.4f}, macro F1 {figures['macro_f1']:.4f}\n"
          f"{report.to_string(float_format='{:.4f}'.format, formatters={'support': '{:.0f}'.format})}\n\n"
          f"{matrix.rename_axis(columns='true / predicted').to_string(max_rows=20, max_cols=20)}\n")
    print(f"calibration error: {figures['calibration_error']:.4f} in 15 bins of confidence; "
          f"{figures['calibration_error_as_trained']:.4f} before the head was fitted to the validation rows "
          f"(temperature {figures['temperature']:.3f})")
    for size in (1, 32):
        print(f"latency, batch {size}: median {figures[f'latency_{size}_median'] * 1e3:.1f} ms, 95th percentile "
              f"{figures[f'latency_{size}_p95'] * 1e3:.1f} ms")
    memory = (figures["peak_memory_bytes"] or 0) >> 20
    print(f"on disk: {figures['bytes']:,} bytes; peak memory: {memory or 'not known:'} MiB", flush=True)


def save_evaluation(settings, folder, manifest, figures):
    """Write evaluation.json and the picture of --mode evaluate to OUTPUT_DIR."""
    from .pictures import draw_confusion
    result = {"weights": folder, "variant": manifest["variant"], "data": settings.VAL_PATH, **figures,
              "versions": versions()}
    files = {"evaluation.json": json.dumps(result, indent=2).encode(),
             "confusion.png": draw_confusion(figures, os.path.basename(folder))}
    save_all({os.path.join(settings.OUTPUT_DIR, name): data for name, data in files.items()})
    print(f"written: {', '.join(files)} in {settings.OUTPUT_DIR}")


def calibrate(model, tokenizer, texts, labels, manifest):
    """Change the weights of a classifier's head so that its confidence fits these texts; return the manifest."""
    logits = predict_logits(model, tokenizer, texts, manifest)
    temperature, biases = fit_calibration(labels, logits)
    inside = f"{model.base_model_prefix}."
    head = [module for name, module in linear_layers(model).items()
            if not name.startswith(inside) and module.out_features == model.config.num_labels][-1]
    with torch.no_grad():
        head.weight.div_(temperature)
        head.bias.div_(temperature).add_(torch.from_numpy(biases).to(head.bias.device))
    after = predict_logits(model, tokenizer, texts[:8], manifest)
    if not np.allclose(after, logits[:8] / temperature + biases, rtol=0.02, atol=0.02):
        raise RuntimeError(f"the head of {type(model).__name__} does not end with a linear layer")
    return {**manifest, "temperature": temperature, "biases": biases.tolist()}


def fit_calibration(labels, logits):
    """Return (temperature, biases (classes,)) with which the probabilities of logits / temperature + biases fit best.
    Bias-corrected temperature scaling (Alexandari et al. 2020, arXiv:1901.06852): least cross-entropy, with normal
    priors on the log of the temperature (standard deviation 0.5) and the biases (0.22), which count for few texts."""
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


def as_trained(logits, manifest):
    """Return what a calibrated model's logits (texts, classes) were before `calibrate`."""
    return (logits - np.array(manifest["biases"], np.float32)) * np.float32(manifest["temperature"])


def calibration_error(labels, logits, bins=15):
    """Return the expected calibration error of logits (texts, classes), 0 to 1 (Guo et al. 2017, arXiv:1706.04599)."""
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(places, confidence - right, bins)).sum() / len(labels))


def only_class(figures):
    """Return the class that a model gives to all texts, of `measure`, where these are of several; else None."""
    matrix = np.array(figures["confusion_matrix"])  # (true classes, predicted classes)
    given = np.flatnonzero(matrix.any(0))
    return figures["classes"][given[0]] if len(given) == 1 < matrix.any(1).sum() else None
