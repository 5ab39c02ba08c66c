"""Pictures, as the bytes of a PNG: the epochs of a training, a confusion matrix, a grid."""
import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs."""
    table = pd.DataFrame(history, index=pd.RangeIndex(1, len(history) + 1, name="epoch"))
    figure = Figure(figsize=(9, 3.5))
    for axes, columns in zip(figure.subplots(1, 2), (["loss", "val_loss"], ["val_accuracy", "val_macro_f1"])):
        table[columns].rename(columns=lambda name: name.replace("_", " ")).plot(ax=axes, marker=".", grid=True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return png(figure)


def draw_confusion(matrix, names, title):
    """Return a PNG of a confusion matrix (classes, classes), rows the true classes."""
    matrix, size = np.array(matrix), 3 + 0.5 * len(names)
    figure = Figure(figsize=(size, size))
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(matrix, display_labels=[name[:20].replace("$", r"\$") for name in names])
    display.plot(ax=axes, cmap="Blues", colorbar=False, values_format="d", xticks_rotation=60)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    display.im_.set(data=shares, clim=(0, 1))
    for share, text in zip(shares.flat, display.text_.flat):
        text.set_color("white" if share > 0.5 else "black")
    axes.set_title(title)
    return png(figure)


def draw_grid(table, setting):
    """Return a PNG of the best validation macro F1 at each pair of the first two constants of a grid's setting."""
    first, second = list(setting)[:2]

    def best(rows):
        return rows.pivot_table(index=first, columns=second, values="val_macro_f1", aggfunc="max")

    heat = best(table)
    finished = best(table[table["state"] == "complete"]).reindex_like(heat).notna()
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    image = axes.imshow(heat, cmap="viridis", aspect="auto")
    axes.set(xticks=range(len(heat.columns)), xticklabels=heat.columns, yticks=range(len(heat.index)),
             yticklabels=heat.index, xlabel=second.lower(), ylabel=first.lower())
    middle = (heat.max(axis=None) + heat.min(axis=None)) / 2
    for (y, x), value in np.ndenumerate(heat.to_numpy()):
        text = f"{value:.3f}" + ("" if finished.iat[y, x] else "\npruned")
        axes.text(x, y, text, ha="center", va="center", fontsize=7, color="black" if value > middle else "white")
    figure.colorbar(image, label="validation macro F1")
    return png(figure)


def png(figure):
    """Return a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()
