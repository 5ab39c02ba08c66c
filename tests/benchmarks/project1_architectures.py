#!/usr/bin/env python3
"""Draw the layers of Project1's three models side by side: Project1/architectures.png.

Usage: python3 tests/benchmarks/project1_architectures.py [--data FOLDER] [--output FILE]

The models are those that build_model of LSTM.py and GRU.py builds with the constants of the scripts
and the vocabulary of the training texts in FOLDER (../shared/data/emotion: train.csv, less what
stands in validation.csv); names, sizes, output shapes and parameters are read from their layers.
"""
import argparse
import os
import sys

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Patch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COLOURS = {"frozen": "#c6dbef", "frozen, then trained": "#d9c9e8", "trained": "#fdd9b5", "no weights": "#eeeeee"}
AXES = ("texts", "words")  # what the dimensions of no fixed size count
COLUMN, BOX, GAP, HEIGHT = 3.0, 2.82, 0.17, 0.6  # inches


def models(folder):
    """Return [(title, model, whether its embedding is thawed)] of the three models."""
    sys.path.insert(0, os.path.join(ROOT, "Project1"))
    import GRU
    import LSTM
    from rnn.data import read_data
    from rnn.settings import make_settings
    from rnn.text import make_vocabulary
    train, validation = (os.path.join(folder, name) for name in ("train.csv", "validation.csv"))
    settings = make_settings(LSTM, TRAIN_PATH=train, VAL_PATH=validation, TEST_PATH="")
    data = read_data(settings, "")
    matrix = np.zeros((len(make_vocabulary(data.train_texts).words) + 2, 100), np.float32)
    classes, of_gru = len(data.classes), make_settings(GRU)
    return [("LSTM.py", LSTM.build_model(settings, matrix, classes), False),
            ("GRU.py, phase 1", GRU.build_model(of_gru, matrix, classes, 1), False),
            ("GRU.py, phase 2", GRU.build_model(of_gru, matrix, classes, 2), True)]


def describe(layer, thawed):
    """Return (name with size, output shape and parameters, a key of COLOURS) of a layer."""
    kind = type(layer).__name__
    config = layer.get_config()
    vectors = "GloVe" if layer.name == "embedding" else "further"
    names = {"InputLayer": lambda: "word numbers",
             "Embedding": lambda: f"{vectors} embedding, {config['input_dim']:,} x {config['output_dim']}",
             "Concatenate": lambda: "both, side by side",
             "SpatialDropout1D": lambda: f"spatial dropout, {config['rate']:g}",
             "Dropout": lambda: f"dropout, {config['rate']:g}",
             "Bidirectional": lambda: f"{type(layer.forward_layer).__name__}, 2 x {layer.forward_layer.units}, both directions",
             "Dense": lambda: f"dense, {config['units']}, {config['activation'].replace('relu', 'ReLU')}"}
    shape = [AXES[axis] if size is None else str(size) for axis, size in enumerate(layer.output.shape)]
    parameters = layer.count_params()
    if not parameters:
        state = "no weights"
    elif kind == "Embedding" and thawed:
        state = "frozen, then trained"
    else:
        state = "trained" if layer.trainable else "frozen"
    detail = " x ".join(shape) + (f"; {parameters:,} parameters" if parameters else "")
    return names.get(kind, lambda: kind)(), detail, state


def draw(described):
    """Return a figure of the models, each a column of boxes; described: [(title, parameters, [a layer's describe()])]."""
    rows = max(len(layers) for _, _, layers in described)
    step = HEIGHT + GAP
    width, height = COLUMN * len(described), rows * step + 1.1
    figure = plt.figure(figsize=(width, height), dpi=160)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    for column, (title, parameters, layers) in enumerate(described):
        middle = COLUMN * (column + 0.5)
        axes.text(middle, height - 0.2, title, ha="center", va="center", fontsize=12, weight="bold")
        axes.text(middle, height - 0.44, f"{parameters:,} parameters", ha="center", va="center", fontsize=9.5)
        for row, (name, detail, state) in enumerate(layers):
            top = height - 0.62 - row * step
            axes.add_patch(FancyBboxPatch((middle - BOX / 2, top - HEIGHT), BOX, HEIGHT,
                                          boxstyle="round,pad=0,rounding_size=0.08", facecolor=COLOURS[state],
                                          edgecolor="#666666", linewidth=0.8))
            axes.text(middle, top - 0.2, name, ha="center", va="center", fontsize=10)
            axes.text(middle, top - 0.42, detail, ha="center", va="center", fontsize=8.5, color="#333333")
            if row:
                axes.annotate("", (middle, top), (middle, top + GAP), arrowprops={"arrowstyle": "-|>", "color": "#666666",
                                                                                  "shrinkA": 0, "shrinkB": 0, "linewidth": 0.8})
    patches = [Patch(facecolor=colour, edgecolor="#666666", label=state) for state, colour in COLOURS.items()]
    axes.legend(handles=patches, loc="lower center", ncols=len(patches), frameon=False, fontsize=9.5)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(ROOT, os.pardir, "shared", "data", "emotion"))
    parser.add_argument("--output", default=os.path.join(ROOT, "Project1", "architectures.png"))
    options = parser.parse_args()
    described = []
    for title, model, thawed in models(options.data):
        layers = [describe(layer, thawed) for layer in model.layers if type(layer).__name__ != "NotEqual"]  # that is the mask
        described.append((title, model.count_params(), layers))
        print(f"{title}: {model.count_params():,} parameters")
        print("\n".join(f"  {name} | {detail} | {state}" for name, detail, state in layers))
    draw(described).savefig(options.output)
    print(options.output)


if __name__ == "__main__":
    main()
