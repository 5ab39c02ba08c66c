#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "tensorflow>=2.21", "keras>=3.15.1", "kagglehub>=0.3", "matplotlib>=3.8", "numpy>=1.26", "optuna>=5", "pandas>=2.1",
#   "pillow>=12", "pooch>=1.8", "protobuf>=6.33", "pyarrow>=21", "pydantic>=2.10", "requests>=2.33",
#   "scikit-learn>=1.5", "sqlalchemy>=2", "tqdm>=4.66.3", "urllib3>=2.8",
# ]
# ///
"""Train the freeze-thaw pipeline: GloVe embeddings, bidirectional GRU, six emotions or your own classes.

Data     any labelled texts: CSV, TSV, JSON, Parquet, TweetEval's pairs; labels in words or numbers. By default tweets
         (CARER), downloaded: 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise.
Model    phase 1, for comparison: LSTM.py's baseline with a GRU. Phase 2, which is saved: word vectors (by default GloVe
         Twitter, 100-d) frozen, then all trained at a rate of its own; with an extra dense layer and dropout.
Writes   outputs/GRU/: model.keras (raw strings in, probabilities out), results.json, curves.png, confusion_*.png; with
         EXPORT model.tflite, model.onnx, tokenizer.json; with GRID_SEARCH grid.db, grid.csv.

    python3 GRU.py
    python3 GRU.py --predict "i feel so lucky to have you"
    python3 GRU.py --TRAIN_PATH my.csv --TEXT_COLUMN tweet --LABEL_COLUMN mood --GLOVE_PATH vectors.vec
    python3 GRU.py --GRID_SEARCH True --GRID_PHASE 1

Seed 1 without 2,000 training rows, the test set; GloVe 6B (python3 tests/benchmarks/project1.py holdout) ended with

    ================ FINAL SUMMARY ================
    Validation Accuracy: 0.9485
    Test Accuracy: 0.9355
    Test Macro F1: 0.8979
    Total Training Time: 137.1 seconds
    Model Size: 6938519 bytes
    ===============================================
"""
import sys
from typing import Annotated

from rnn import SLOW, starting

with starting.starting(__name__ == "__main__", without=SLOW):
    import keras
    from keras import layers
    from pydantic import Field
    from rnn.data import read_data
    from rnn.evaluation import scores
    from rnn.files import check_writable
    from rnn.saving import cache_folder, command_line, output_folder, predict, save_results, seconds_of
    from rnn.settings import Count, Path, Rate, Seconds, Share, Text, Units, Weight, Whole, run
    from rnn.training import Checkpoint, depends_on, fit, for_few_texts, most_epochs, predict_tokens, set_up_devices
    from rnn.vectors import embed

# Data
TRAIN_PATH: Path = "train.csv"  # labelled texts to train on; the default, six emotions, is downloaded if it is absent
VAL_PATH: Text = "validation.csv"  # labelled texts that choose the epoch, likewise; "" (or your own data): a tenth
TEST_PATH: Text = "test.csv"  # labelled texts that choose nothing, likewise; "": none, as if TRAIN_PATH is your own
TEXT_COLUMN: Path = "text"  # name of the column of texts
LABEL_COLUMN: Path = "label"  # name of the column of labels, words or numbers
LABEL_NAMES: Text = ""  # names of the classes, commas between, in the order of the sorted labels; "" takes the labels
MAX_CLASSES: Count = 100  # most classes; more labels than these are taken for a wrong LABEL_COLUMN
TRAIN_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/train.csv"  # of the default TRAIN_PATH
VAL_URL: Text = "https://raw.githubusercontent.com/Roeyx/NLP/main/Project1/validation.csv"  # of the default VAL_PATH
TEST_URL: Text = "https://raw.githubusercontent.com/NamLe0609/intext-emotion-detector/main/archive/test.txt"  # likewise
TRAIN_HASH: Text = "12a94ce15164e92fe25bec9c0e67149e1a2f9e14"  # of that file: sha256, or git's id (SHA-1); "" takes any
VAL_HASH: Text = "3d780e2eca28d198b580e43bb70b352287000211"  # the same of VAL_URL
TEST_HASH: Text = "9cc17245afd569d06e06f42d14682d7f3b23a692"  # the same of TEST_URL
DOWNLOAD_TIMEOUT: Seconds = 20.0  # seconds without a byte until a download attempt is given up

# Vectors
USE_GLOVE: bool = True  # False: embeddings start at random and are trained
GLOVE_PATH: Text = ""  # word vectors: GloVe or word2vec text, fastText .vec, plain, gzip or zip; "" gets GloVe Twitter
GLOVE_KAGGLE: Text = "bertcarremans/glovetwitter27b100dtxt"  # Kaggle data set with GloVe Twitter 100-d, asked first
GLOVE_URL: Text = "https://nlp.stanford.edu/data/glove.twitter.27B.zip"  # Stanford's archive (1.5 GB), asked next
COMMON_WORDS: Whole = 10000  # words: a training set with fewer takes the commonest of the vectors besides
EMBEDDING_SIZE: Units = 100  # numbers a word's vector has where it starts at random; a file's have their own number

# Text
MAX_WORDS: Count = 200  # most words of a text that are read

# Model
UNITS: Units = 256  # GRU units in each direction, phase 1
DROPOUT: Share = 0.1  # share of the embedding's channels that spatial dropout drops, phase 1
FINAL_UNITS: Units = 128  # GRU units in each direction, phase 2
FINAL_DROPOUT: Share = 0.3  # share that spatial dropout, and dropout around the dense layer, drop, phase 2
DENSE_UNITS: Units = 64  # units of the dense layer of phase 2

# Training
NUM_EPOCHS: Whole = 0  # most epochs of phase 1; 0 is 12, or with few texts as many as make 2,400 steps
WARM_UP_EPOCHS: Whole = 2  # epochs of phase 2 with the embeddings frozen
FINAL_EPOCHS: Whole = 0  # most epochs of phase 2 with everything trained; 0 is 6, or with few texts 1,200 steps
FINE_TUNING_RATE: Rate = 0.003  # Adam step size at the start of the thawed epochs; it falls in a line to a fiftieth
PATIENCE: Whole = 4  # epochs without a better validation macro F1 until the end; 0, or with few texts: keep the last
BATCH_SIZE: Count = 64  # texts a step; fewer where an epoch would have less than 20 steps
LEARNING_RATE: Rate = 0.004  # Adam step size at the start of phase 1 and of the warm-up; it falls to a fiftieth
R_DROP: Weight = 0.5  # phase 2: weight in the loss of what dropout changes, each text read twice; 0 is once
SEED: Whole = 1  # of the initial weights, dropout and shuffling

# Grid
GRID_SEARCH: bool = False  # True: train every setting of the grid instead, and rank them
GRID_PHASE: Annotated[int, Field(ge=1, le=2)] = 1  # which grid: 1 frozen; 2 freeze-thaw, with its fine-tuning rate
GRID_EPOCHS: Whole = 0  # most epochs of each setting; 0 is 6, or with few texts as many as make 1,200 steps
STORAGE: Text = ""  # where the search stands: an SQLite file, or a database's address; "" is grid.db in OUTPUT_DIR
STALE_SECONDS: Count = 60  # a setting whose process was silent for so long is trained anew

# Output
EXPORT: bool = False  # True: also write model.tflite, model.onnx and tokenizer.json
OUTPUT_DIR: Text = ""  # folder that is written to; "" is outputs/<script name>/ beside the script


def main():
    """Train and save a classifier, search a grid, or predict with what was saved."""
    settings, options = command_line(sys.modules[__name__])
    if options.predict:
        return predict(settings, options)
    check_writable(output_folder(settings))
    strategy = set_up_devices(settings)
    data = read_data(settings, cache_folder(settings))
    vocabulary, encoded, matrix, coverage = embed(data, settings, cache_folder(settings))
    settings = for_few_texts(settings, encoded.train)
    if settings.GRID_SEARCH:
        return search_grid(settings, data, encoded, matrix)
    train(settings, strategy, data, vocabulary, encoded, matrix, coverage)


def build_model(settings, matrix, classes, phase):
    """Return the network of phase 1, the baseline, or 2: embedding, spatial dropout, bidirectional GRU, softmax.
    matrix: float32 (words, numbers). Input int32 (texts, words), right-padded with 0; output probabilities (texts,
    classes). Phase 2 has a dense layer with dropout before the softmax. With USE_GLOVE = False all is trained."""
    units, dropout, seed = settings.UNITS, settings.DROPOUT, settings.SEED
    if phase == 2:
        units, dropout = settings.FINAL_UNITS, settings.FINAL_DROPOUT
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = layers.Embedding(*matrix.shape, mask_zero=True, trainable=not settings.USE_GLOVE, name="embedding")
    hidden = layers.SpatialDropout1D(dropout, seed=seed)(embedding(tokens))
    hidden = layers.Bidirectional(layers.GRU(units, seed=seed), name="rnn")(hidden)
    if phase == 2:
        hidden = layers.Dropout(dropout, seed=seed)(hidden)
        hidden = layers.Dense(settings.DENSE_UNITS, activation="relu", name="dense")(hidden)
        hidden = layers.Dropout(dropout, seed=seed)(hidden)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(hidden)
    embedding.set_weights([matrix])
    return keras.Model(tokens, probabilities)


def train(settings, strategy, data, vocabulary, encoded, matrix, coverage):
    """Train both phases and save the second."""
    checkpoint = Checkpoint(output_folder(settings), depends_on(data, matrix, settings))
    with strategy.scope():
        baseline = build_model(settings, matrix, len(data.classes), 1)
    epochs = most_epochs(encoded.train, settings.NUM_EPOCHS, 12, settings)
    frozen = fit(settings, baseline, encoded, settings.LEARNING_RATE, epochs, "phase 1", checkpoint=checkpoint)
    _, accuracy, macro_f1 = scores(encoded.val_labels, predict_tokens(baseline, encoded.val))
    keras.utils.set_random_seed(settings.SEED)
    with strategy.scope():
        model = build_model(settings, matrix, len(data.classes), 2)
    epochs = most_epochs(encoded.train, settings.FINAL_EPOCHS, 6, settings)
    history = freeze_thaw(settings, model, encoded, settings.FINE_TUNING_RATE, epochs, "phase 2", checkpoint=checkpoint)
    print(f"phase 1, frozen: validation accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}")
    extra = {"coverage": coverage, "phase_1": {"validation_accuracy": accuracy, "validation_macro_f1": macro_f1,
                                               "training_seconds": seconds_of(frozen)}}
    save_results(settings, model, vocabulary, data, encoded, history, seconds_of(frozen + history), extra)
    checkpoint.remove()


def freeze_thaw(settings, model, encoded, rate, epochs, name, report=None, checkpoint=None):
    """Warm up with the embedding frozen, then train all at a rate of its own (arXiv:1801.06146); return the history."""
    embedding, history = model.get_layer("embedding"), []
    embedding.trainable = not settings.USE_GLOVE
    if settings.WARM_UP_EPOCHS:
        history = fit(settings, model, encoded, settings.LEARNING_RATE, settings.WARM_UP_EPOCHS, f"{name}, frozen",
                      settings.R_DROP, checkpoint=checkpoint)
    embedding.trainable = True
    return history + fit(settings, model, encoded, rate, epochs, f"{name}, thawed", settings.R_DROP, report, checkpoint)


def search_grid(settings, data, encoded, matrix):
    """Train every setting of the grid of GRID_PHASE, and rank them."""
    from rnn.grid import report_search, search
    epochs, phase = most_epochs(encoded.train, settings.GRID_EPOCHS, 6, settings), settings.GRID_PHASE

    def train_setting(chosen, name, report):
        model = build_model(chosen, matrix, len(data.classes), phase)
        if phase == 1:
            return fit(chosen, model, encoded, chosen.LEARNING_RATE, epochs, name, report=report)
        history = freeze_thaw(chosen, model, encoded, chosen.FINE_TUNING_RATE, epochs, name, report)
        return history[settings.WARM_UP_EPOCHS:]  # the kept weights are those of a thawed epoch

    grid, folder = grid_settings(phase), output_folder(settings)
    study = search(settings, folder, f"GRU phase {phase}", grid, train_setting, depends_on(data, matrix, settings))
    report_search(study, grid, folder)


def grid_settings(phase):
    """Return the settings of a grid: 1, units by dropout (50), or 2, units by dropout by fine-tuning rate (16)."""
    if phase == 1:
        return [{"UNITS": units, "DROPOUT": step / 20} for units in (16, 32, 64, 128, 256) for step in range(1, 11)]
    return [{"FINAL_UNITS": units, "FINAL_DROPOUT": dropout, "FINE_TUNING_RATE": rate}
            for units in (128, 256) for dropout in (0.2, 0.3) for rate in (1e-3, 5e-4, 1e-4, 5e-5)]


if __name__ == "__main__":
    sys.exit(run(main, "BATCH_SIZE, UNITS or MAX_WORDS"))
