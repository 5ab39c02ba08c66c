"""The pictures of a training and an evaluation, as bytes of a PNG."""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from .files import png


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs, as bytes."""
    table = pd.DataFrame(history, index=range(1, len(history) + 1))
    figure = Figure((9, 3.5))
    for axes, columns in zip(figure.subplots(1, 2), (["loss", "val_loss"], ["val_accuracy", "val_macro_f1"])):
        table[columns].plot(ax=axes, marker=".", grid=True, xlabel="epoch", xticks=table.index)
    return png(figure)


def draw_confusion(figures, title):
    """Return a PNG of the confusion matrix of `measure`, rows the true classes, as bytes."""
    names, size = figures["classes"], max(5.5, 0.4 * len(figures["classes"]))
    axes = Figure((size + 1, size)).add_subplot(title=title)
    display = ConfusionMatrixDisplay(np.array(figures["confusion_matrix"]), display_labels=names)
    display.plot(ax=axes, cmap="Blues", xticks_rotation=90, include_values=len(names) <= 30)
    return png(axes.figure)
