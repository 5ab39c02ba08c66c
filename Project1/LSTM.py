#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "tensorflow>=2.21", "keras>=3.15.1", "kagglehub>=0.3", "matplotlib>=3.8", "numpy>=1.26", "optuna>=5", "pandas>=2.1",
#   "pillow>=12", "pooch>=1.8", "protobuf>=6.33", "pyarrow>=21", "pydantic>=2.10", "requests>=2.33",
#   "scikit-learn>=1.5", "sqlalchemy>=2", "tqdm>=4.66.3", "urllib3>=2.8",
# ]
# ///
"""Train the baseline: GloVe embeddings, bidirectional LSTM, six emotions or your own classes.

Data     any labelled texts: CSV, TSV, JSON, Parquet, TweetEval's pairs; labels in words or numbers. By default tweets
         (CARER), downloaded: 0 sadness, 1 joy, 2 love, 3 anger, 4 fear, 5 surprise.
Model    word vectors (by default GloVe Twitter, 100-d), frozen; spatial dropout; bidirectional LSTM; softmax.
Writes   outputs/LSTM/: model.keras (raw strings in, probabilities out), results.json, curves.png, confusion_*.png; with
         EXPORT model.tflite, model.onnx, tokenizer.json; with GRID_SEARCH grid.db, grid.csv.

    python3 LSTM.py
    python3 LSTM.py --predict "i feel so lucky to have you"
    python3 LSTM.py --TRAIN_PATH my.csv --TEXT_COLUMN tweet --LABEL_COLUMN mood --GLOVE_PATH vectors.vec
    python3 LSTM.py --GRID_SEARCH True

Seed 1 without 2,000 training rows, the test set; GloVe 6B (python3 tests/benchmarks/project1.py holdout) ended with

    ================ FINAL SUMMARY ================
    Validation Accuracy: 0.9410
    Test Accuracy: 0.9315
    Test Macro F1: 0.8913
    Total Training Time: 28.9 seconds
    Model Size: 8082709 bytes
    ===============================================
"""
import sys

from rnn import SLOW, starting

with starting.starting(__name__ == "__main__", without=SLOW):
    import keras
    from keras import layers
    from rnn.data import read_data
    from rnn.files import check_writable
    from rnn.saving import cache_folder, command_line, output_folder, predict, save_results, seconds_of
    from rnn.settings import Count, Path, Rate, Seconds, Share, Text, Units, Weight, Whole, run
    from rnn.training import Checkpoint, depends_on, fit, for_few_texts, most_epochs, set_up_devices
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
UNITS: Units = 128  # LSTM units in each direction
FURTHER_NUMBERS: Whole = 16  # numbers of each word that are trained, beside its frozen vector
DROPOUT: Share = 0.1  # share of the embedding's channels that spatial dropout drops

# Training
NUM_EPOCHS: Whole = 0  # most epochs; 0 is 5, or with few texts as many as make 1,000 steps
PATIENCE: Whole = 4  # epochs without a better validation macro F1 until the end; 0, or with few texts: keep the last
BATCH_SIZE: Count = 64  # texts a step; fewer where an epoch would have less than 20 steps
LEARNING_RATE: Rate = 0.004  # Adam step size at the start; it falls in a line to a fiftieth
R_DROP: Weight = 0.0  # weight in the loss of what dropout changes: each text is read twice; 0 once, in half the time
SEED: Whole = 1  # of the initial weights, dropout and shuffling

# Grid
GRID_SEARCH: bool = False  # True: train every setting of the grid instead, and rank them
GRID_EPOCHS: Whole = 0  # most epochs of each setting; 0 is 6, or with few texts as many as make 1,200 steps
STORAGE: Text = ""  # where the search stands: an SQLite file, or a database's address; "" is grid.db in OUTPUT_DIR
STALE_SECONDS: Count = 60  # a setting whose process was silent for so long is trained anew

# Output
EXPORT: bool = False  # True: also write model.tflite, model.onnx and tokenizer.json
OUTPUT_DIR: Text = ""  # folder that is written to; "" is outputs/<script name>/ beside the script


def main():
    """Train and save a classifier, search the grid, or predict with what was saved."""
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


def build_model(settings, matrix, classes):
    """Return the baseline: frozen embedding, spatial dropout, bidirectional LSTM, softmax over the classes.
    matrix: float32 (words, numbers). Input int32 (texts, words), right-padded with 0; output probabilities (texts,
    classes). Beside its frozen vector each word has FURTHER_NUMBERS that are trained: GloVe has "happy" near "sad"."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = layers.Embedding(*matrix.shape, mask_zero=True, trainable=not settings.USE_GLOVE, name="embedding")
    hidden, seed = embedding(tokens), settings.SEED
    if settings.FURTHER_NUMBERS and settings.USE_GLOVE:
        further = layers.Embedding(len(matrix), settings.FURTHER_NUMBERS, mask_zero=True, name="further",
                                   embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=seed))
        hidden = layers.Concatenate()([hidden, further(tokens)])
    hidden = layers.SpatialDropout1D(settings.DROPOUT, seed=seed)(hidden)
    hidden = layers.Bidirectional(layers.LSTM(settings.UNITS, seed=seed), name="rnn")(hidden)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(hidden)
    embedding.set_weights([matrix])
    return keras.Model(tokens, probabilities)


def train(settings, strategy, data, vocabulary, encoded, matrix, coverage):
    """Train the baseline and save it."""
    checkpoint = Checkpoint(output_folder(settings), depends_on(data, matrix, settings))
    with strategy.scope():
        model = build_model(settings, matrix, len(data.classes))
    epochs = most_epochs(encoded.train, settings.NUM_EPOCHS, 5, settings)
    history = fit(settings, model, encoded, settings.LEARNING_RATE, epochs, "LSTM", settings.R_DROP, None, checkpoint)
    save_results(settings, model, vocabulary, data, encoded, history, seconds_of(history), {"coverage": coverage})
    checkpoint.remove()


def search_grid(settings, data, encoded, matrix):
    """Train every setting of the grid, and rank them."""
    from rnn.grid import report_search, search
    epochs = most_epochs(encoded.train, settings.GRID_EPOCHS, 6, settings)

    def train_setting(chosen, name, report):
        model = build_model(chosen, matrix, len(data.classes))
        return fit(chosen, model, encoded, chosen.LEARNING_RATE, epochs, name, chosen.R_DROP, report)

    grid, folder = grid_settings(), output_folder(settings)
    study = search(settings, folder, "LSTM", grid, train_setting, depends_on(data, matrix, settings))
    report_search(study, grid, folder)


def grid_settings():
    """Return the settings of the grid: units by dropout, 50 in all."""
    return [{"UNITS": units, "DROPOUT": step / 20} for units in (16, 32, 64, 128, 256) for step in range(1, 11)]


if __name__ == "__main__":
    sys.exit(run(main, "BATCH_SIZE, UNITS or MAX_WORDS"))
