"""Pictures, as the bytes of a PNG: the epochs of a training, a confusion matrix, a grid."""
import io

import numpy as np
from matplotlib.figure import Figure


def draw_curves(history):
    """Return a PNG of loss, accuracy and macro F1 over the epochs."""
    figure, epochs = Figure(figsize=(9, 3.5)), range(1, len(history) + 1)
    for axes, names in zip(figure.subplots(1, 2), (("loss", "val_loss"), ("val_accuracy", "val_macro_f1"))):
        for name in names:
            axes.plot(epochs, [entry[name] for entry in history], marker=".", label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid()
        axes.legend()
    return png(figure)


def draw_confusion(matrix, names, title):
    """Return a PNG of a confusion matrix (classes, classes), rows the true classes."""
    matrix, size = np.array(matrix), 3 + 0.5 * len(names)
    names = [name[:20].replace("$", r"\$") for name in names]
    figure = Figure(figsize=(size, size))
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    label_axes(axes, names, names, "predicted label", "true label")
    axes.tick_params("x", rotation=60)
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(column, row, count, ha="center", va="center", fontsize=8,
                  color="white" if shares[row, column] > 0.5 else "black")
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
    label_axes(axes, heat.columns, heat.index, second.lower(), first.lower())
    middle = (heat.max(axis=None) + heat.min(axis=None)) / 2
    for (y, x), value in np.ndenumerate(heat.to_numpy()):
        text = f"{value:.3f}" + ("" if finished.iat[y, x] else "\npruned")
        axes.text(x, y, text, ha="center", va="center", fontsize=7, color="black" if value > middle else "white")
    figure.colorbar(image, label="validation macro F1")
    return png(figure)


def label_axes(axes, columns, rows, x_label, y_label):
    """Write the names of columns and rows at a matrix."""
    axes.set(xticks=range(len(columns)), xticklabels=columns, yticks=range(len(rows)), yticklabels=rows, xlabel=x_label,
             ylabel=y_label)


def png(figure):
    """Return a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()
