"""How good probabilities are: scores, calibration, a report a class."""
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score

from .settings import some


def scores(labels, probabilities):
    """Return (cross-entropy, accuracy, macro F1) of probabilities (texts, classes).

    Macro F1 is over the classes that the labels or the predictions have, as scikit-learn takes it.
    """
    predicted = probabilities.argmax(1)
    error = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-9)).mean()
    macro_f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    return float(error), float(accuracy_score(labels, predicted)), float(macro_f1)


def one_class_macro_f1(labels):
    """Return the macro F1 of a model that gives all texts the commonest class."""
    return f1_score(labels, np.full(len(labels), np.bincount(labels).argmax()), average="macro", zero_division=0)


def calibrate(model, probabilities, labels):
    """Divide the model's logits by the temperature under which these labels are likeliest; return the temperature.

    No prediction changes, only how sure it is (temperature scaling; Guo et al. 2017, arXiv:1706.04599).
    """
    logits, rows = np.log(np.maximum(probabilities, 1e-30)), np.arange(len(labels))

    def error(temperature):
        scaled = logits / temperature
        largest = scaled.max(1)
        return (np.log(np.exp(scaled - largest[:, None]).sum(1)) + largest - scaled[rows, labels]).mean()

    temperature = min(np.geomspace(0.2, 5, 1001), key=error)
    layer = model.layers[-1]
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
    return float(temperature)


def calibration_error(labels, probabilities, bins=15):
    """Return the expected calibration error: how much confidence and accuracy differ, a mean over bins of confidence.

    Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    apart = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)  # texts times what differs, a bin
    return float(np.abs(apart).sum() / len(labels))


def evaluate(probabilities, labels, names, title):
    """Print a report a class; return it with accuracy, macro F1, calibration error and confusion matrix as a dict."""
    _, accuracy, macro_f1 = scores(labels, probabilities)
    predicted, numbers = probabilities.argmax(1), range(len(names))
    report = classification_report(labels, predicted, labels=numbers, output_dict=True, zero_division=0)
    report = {name: report[str(number)] for number, name in enumerate(names)}
    table = pd.DataFrame(report).T.to_string(float_format="{:.4f}".format, formatters={"support": "{:.0f}".format})
    print(f"{title}: {len(labels):,} texts, accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}\n{table}\n")
    lacking = [name for number, name in enumerate(names) if number not in labels]
    if lacking:
        print(f"note: no {title} text is of {some(lacking, 9)}; macro F1 is over what texts or predictions have")
    return {"rows": len(labels), "accuracy": accuracy, "macro_f1": macro_f1, "report": report,
            "expected_calibration_error": calibration_error(labels, probabilities),
            "confusion_matrix": confusion_matrix(labels, predicted, labels=numbers).tolist()}
