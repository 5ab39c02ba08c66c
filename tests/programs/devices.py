"""Trains GRU.py's phase 2 on random rows on one device and on two logical CPUs, for nursery.py.

Prints as JSON for each the number of devices, the losses of the epochs, the accuracy of the saved model, and the best of the
training.
"""
import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

from project1 import script, settings_of

from rnn.saving import load_model, model_bytes, predict_texts, text_model_of
from rnn.text import Encoded, make_vocabulary
from rnn.training import fit


def train(kind, strategy):
    """Train, save and load a model; return what is to be printed."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    texts = [" ".join(rng.permutation([f"e{label}", *map(str, rng.integers(10, 60, rng.integers(1, 9)))])) for label in labels]
    vocabulary = make_vocabulary(texts)
    tokens = vocabulary.encode(texts, 200)
    data = Encoded(tokens[:200], labels[:200], tokens[200:], labels[200:], [], [])
    settings = settings_of("GRU", FINAL_UNITS=16, FINAL_DROPOUT=0.0, DENSE_UNITS=16)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = script("GRU").build_model(settings, rng.normal(0, 0.5, (70, 100)).astype(np.float32), 6, 2)
    history = fit(settings, model, data, 0.01, 5, kind)
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        file.write(model_bytes(text_model_of(vocabulary, model, 200), dict(zip("abcdef", "abcdef"))))
        file.flush()
        loaded, _ = load_model(file.name)
    right = (predict_texts(loaded, texts[200:]).argmax(1) == labels[200:]).mean()
    return (strategy.num_replicas_in_sync, [entry["loss"] for entry in history], float(right),
            max(entry["val_accuracy"] for entry in history))


def compare_devices():
    """Print the figures of both; in a process whose devices nobody has used yet."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    found = {"single": train("single", tf.distribute.get_strategy()),
             "mirrored": train("mirrored", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))}
    print(json.dumps(found))
