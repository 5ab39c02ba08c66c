"""How good probabilities are: scores, calibration, a report a class; pictures, as the bytes of a PNG."""
import numpy as np
import pandas as pd

from .files import png


def scores(labels, probabilities):
    """Return (cross-entropy, accuracy, macro F1 over the classes that are there) of probabilities (texts, classes)."""
    from sklearn import metrics
    predicted = probabilities.argmax(1)
    error = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-9)).mean()
    macro_f1 = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    return float(error), float(metrics.accuracy_score(labels, predicted)), float(macro_f1)


def calibrate(model, probabilities, labels):
    """Divide the model's logits by the temperature under which labels are likeliest; return it (arXiv:1706.04599)."""
    logits, rows = np.log(np.maximum(probabilities, 1e-30)), np.arange(len(labels))
    temperature = min(np.geomspace(0.2, 5, 1001), key=lambda scale: (  # the mean cross-entropy
        np.logaddexp.reduce(logits / scale, axis=1) - logits[rows, labels] / scale).mean())
    layer = model.layers[-1]
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
    return float(temperature)


def calibration_error(labels, probabilities, bins=15):
    """Return how much confidence and accuracy differ, a mean over bins of confidence (Naeini et al. 2015, AAAI)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    apart = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)  # texts times what differs, a bin
    return float(np.abs(apart).sum() / len(labels))


def evaluate(probabilities, labels, names, title):
    """Print a report a class; return it with accuracy, macro F1, calibration error and confusion matrix as a dict."""
    from sklearn import metrics
    _, accuracy, macro_f1 = scores(labels, probabilities)
    predicted, numbers = probabilities.argmax(1), range(len(names))
    report = metrics.classification_report(labels, predicted, labels=numbers, output_dict=True, zero_division=0)
    report = {name: report[str(number)] for number, name in enumerate(names)}
    table = pd.DataFrame(report).T.to_string(float_format="{:.4f}".format, formatters={"support": "{:.0f}".format})
    print(f"{title}: {len(labels):,} texts, accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}\n{table}\n")
    return {"rows": len(labels), "accuracy": accuracy, "macro_f1": macro_f1, "report": report,
            "expected_calibration_error": calibration_error(labels, probabilities),
            "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=numbers).tolist()}


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs."""
    from matplotlib.figure import Figure
    table = pd.DataFrame(history, index=pd.RangeIndex(1, len(history) + 1, name="epoch"))
    figure = Figure(figsize=(9, 3.5))
    for axes, columns in zip(figure.subplots(1, 2), (["loss", "val_loss"], ["val_accuracy", "val_macro_f1"])):
        table[columns].rename(columns=lambda name: name.replace("_", " ")).plot(ax=axes, marker=".", grid=True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return png(figure)


def draw_confusion(matrix, names, title):
    """Return a PNG of a confusion matrix (classes, classes), rows the true classes."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay
    axes = Figure(figsize=[3 + 0.5 * len(names)] * 2).subplots(subplot_kw={"title": title})
    display = ConfusionMatrixDisplay(np.array(matrix), display_labels=[name[:20].replace("$", r"\$") for name in names])
    display.plot(ax=axes, cmap="Blues", colorbar=False, values_format="d", xticks_rotation=60)
    return png(axes.figure)
