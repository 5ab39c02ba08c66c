"""The pictures of a training, an evaluation and a comparison, as bytes of a PNG."""
import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay


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
