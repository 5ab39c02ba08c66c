#!/usr/bin/env python3
"""Measure Project1: the speed of an epoch, what freezing and thawing do, and a test estimate.

Usage: python3 tests/benchmarks/project1.py speed|schedules|holdout [--seeds 1,2] [--data FOLDER] [--glove FILE]
       python3 tests/benchmarks/project1.py holdout --scripts LSTM --set UNITS=128 --set DROPOUT=0.2

speed      an epoch of LSTM.py's and GRU.py's baseline as the scripts train it, against the same
           model and batch size with every text padded to 100 words and a plain model.fit: the
           median of three epochs each, after a first that traces, in one run. The plain fit is timed
           from its first batch to its last, so that what tf.data waits for at an epoch's end (up to
           five seconds, which the scripts switch off) does not count for us.
schedules  GRU.py's phase 2 model frozen throughout, thawed from the start, and freeze-thaw, with
           the same number of epochs; validation accuracy and macro F1 of the kept epoch.
holdout    LSTM.py and GRU.py trained without 2,000 of the training rows (numpy's default_rng(0)),
           which stand in for a test set: chosen on validation, scored on the rows held out.
           With --set, other constants; the validation scores of several seeds choose between them.

Data: train.csv and validation.csv of FOLDER (../shared/data/emotion), vectors of FILE
(../shared/data/glove/glove.6B.100d.subset.txt.gz).
"""
import argparse
import importlib.util
import os
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load_script(name):
    """Import Project1/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(ROOT, "Project1", f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def prepare(script, options, seed):
    """Set the script's constants, and return (encoded data, embedding matrix)."""
    script.TRAIN_PATH = os.path.join(options.data, "train.csv")
    script.VAL_PATH = os.path.join(options.data, "validation.csv")
    script.TEST_PATH, script.GLOVE_PATH, script.SEED = "", options.glove, seed
    for name, _, value in (text.partition("=") for text in options.set):
        setattr(script, name, script.parse_constant(name, value, getattr(script, name)))
    script.check_constants()
    script.set_up_devices()
    _, _, encoded, matrix, _ = script.prepare(os.path.join(ROOT, "outputs", "benchmark"))
    return encoded, matrix


def speed(options):
    import keras
    import tensorflow as tf

    for name in options.scripts:
        script = load_script(name)
        encoded, matrix = prepare(script, options, 1)
        model = script.build_model(matrix, script.UNITS, script.DROPOUT)
        bucketed = np.median([entry["seconds"] for entry in script.fit(model, encoded, script.LEARNING_RATE, 4, name)[1:]])
        padded = np.zeros((len(encoded.train), 100), np.int32)
        for row, sequence in enumerate(encoded.train):
            padded[row, :len(sequence)] = sequence
        model = script.build_model(matrix, script.UNITS, script.DROPOUT)
        model.compile(keras.optimizers.AdamW(script.LEARNING_RATE, clipnorm=1.0), "categorical_crossentropy")
        seconds = []
        times = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: seconds.append(-time.perf_counter()) if batch == 0 else None,
            on_train_batch_end=lambda batch, logs: last.__setitem__(0, time.perf_counter()),
            on_epoch_end=lambda epoch, logs: seconds.append(seconds.pop() + last[0]))
        last = [0.0]
        model.fit(padded, tf.one_hot(encoded.train_labels, 6), batch_size=script.BATCH_SIZE, epochs=4, verbose=0, callbacks=[times])
        plain = np.median(seconds[1:])
        print(f"{name}, {script.UNITS} units, batches of {script.BATCH_SIZE}: {bucketed:.1f} s an epoch; padded to 100 with "
              f"model.fit {plain:.1f} s; {plain / bucketed:.1f} times as fast", flush=True)


def schedules(options):
    script = load_script("GRU")
    for seed in options.seeds:
        encoded, matrix = prepare(script, options, seed)
        for name in ("frozen", "thawed from the start", "freeze-thaw"):
            script.keras.utils.set_random_seed(seed)
            model = script.build_model(matrix, script.FINAL_UNITS, script.FINAL_DROPOUT, script.DENSE_UNITS)
            epochs = script.WARM_UP_EPOCHS + script.FINAL_EPOCHS
            if name == "frozen":
                script.fit(model, encoded, script.LEARNING_RATE, epochs, name)
            elif name == "freeze-thaw":
                script.freeze_thaw(model, encoded, script.FINE_TUNING_RATE, script.FINAL_EPOCHS, name)
            else:
                model.get_layer("embedding").trainable = True
                script.fit(model, encoded, script.FINE_TUNING_RATE, epochs, name)
            _, accuracy, macro_f1 = script.scores(encoded.val_labels, script.predict_tokens(model, encoded.val))
            print(f"RESULT seed {seed}, {name}: validation accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}", flush=True)


def holdout(options):
    for name in options.scripts:
        found = []
        for seed in options.seeds:
            script = load_script(name)
            encoded, matrix = prepare(script, options, seed)
            order = np.random.default_rng(0).permutation(len(encoded.train))
            held, rest = order[:2000], order[2000:]
            test, labels = [encoded.train[row] for row in held], encoded.train_labels[held]
            encoded.train, encoded.train_labels = [encoded.train[row] for row in rest], encoded.train_labels[rest]
            if name == "LSTM":
                model = script.build_model(matrix, script.UNITS, script.DROPOUT)
                script.fit(model, encoded, script.LEARNING_RATE, script.NUM_EPOCHS, name)
            else:
                model = script.build_model(matrix, script.FINAL_UNITS, script.FINAL_DROPOUT, script.DENSE_UNITS)
                script.freeze_thaw(model, encoded, script.FINE_TUNING_RATE, script.FINAL_EPOCHS, name)
            validation = script.scores(encoded.val_labels, script.predict_tokens(model, encoded.val))[1:]
            held_out = script.scores(labels, script.predict_tokens(model, test))[1:]
            found.append(validation + held_out)
            print(f"RESULT {' '.join([name, *options.set])}, seed {seed}: validation accuracy {validation[0]:.4f}, macro F1 {validation[1]:.4f}; "
                  f"held out accuracy {held_out[0]:.4f}, macro F1 {held_out[1]:.4f}", flush=True)
        mean, spread = np.mean(found, 0), np.ptp(found, 0)
        figures = [f"{name} {value:.4f} (spread {width:.4f})" for name, value, width in
                   zip(("validation accuracy", "macro F1", "held out accuracy", "macro F1"), mean, spread)]
        print(f"RESULT {' '.join([name, *options.set])}: mean over {len(found)} seeds: {', '.join(figures)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"speed": speed, "schedules": schedules, "holdout": holdout}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1])
    parser.add_argument("--scripts", nargs="+", choices=("LSTM", "GRU"), default=("LSTM", "GRU"), help="for speed and holdout")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of the script")
    parser.add_argument("--data", default=os.path.join(ROOT, os.pardir, "shared", "data", "emotion"))
    parser.add_argument("--glove", default=os.path.join(ROOT, os.pardir, "shared", "data", "glove", "glove.6B.100d.subset.txt.gz"))
    options = parser.parse_args()
    parts[options.part](options)


if __name__ == "__main__":
    main()
