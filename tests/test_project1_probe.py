"""Project1: a planted or damaged model is refused when it is loaded, in one line with its cause."""
import io
import json
import os
import re
import time
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from project1 import both, script, settings_of, small_model

from rnn.saving import load_model, model_bytes, text_model_of
from rnn.settings import InputError
from rnn.text import make_vocabulary

pytest_plugins = ["project1"]

CLASSES = {"0": "sad", "1": "glad", "2": "calm"}


@pytest.fixture(scope="module")
def made():
    """(a small model of texts, the bytes of its file)."""
    vocabulary = make_vocabulary(["i feel so happy today", "what a day"])
    matrix = np.random.default_rng(0).normal(0, 1, (len(vocabulary.words) + 2, 4)).astype(np.float32)
    network = script("LSTM").build_model(settings_of(UNITS=3), matrix, 3)
    model = text_model_of(vocabulary, network, 9)
    return model, model_bytes(model, CLASSES)


def rewritten(content, path, **changes):
    """Write a .keras file with some members others: {name: bytes}."""
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, **changes}.items():
            archive.writestr(name, data)


def refused(path, *words):
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        load_model(str(path))
    message = str(caught.value)
    assert message.isprintable() and str(path) in message, message
    for word in words:
        assert word in message, message
    assert time.process_time() - began < 10


@pytest.mark.parametrize("classes, words", [
    ({"0": "sad", "1": "sad", "2": "calm"}, ["ValidationError"]), ({"0": "sad\x1b[2J", "1": "b", "2": "c"}, []),
    ({"0": "", "1": "b", "2": "c"}, []), ({"0": "a" * 201, "1": "b", "2": "c"}, []), ({"0": 1, "1": 2, "2": 3}, []),
    ({"0": "a", "1": "b"}, ["2 classes"]), (["a", "b", "c"], []), ({}, [])])
def test_classes_that_are_none_are_refused(made, tmp_path, classes, words):
    rewritten(made[1], tmp_path / "model.keras", **{"classes.json": json.dumps(classes).encode()})
    refused(tmp_path / "model.keras", *words)


def test_members_elsewhere_are_refused_without_a_warning(made, tmp_path, recwarn):
    rewritten(made[1], tmp_path / "model.keras", **{"../escape": b"x"})
    refused(tmp_path / "model.keras", "../escape")
    assert not recwarn.list and os.listdir(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("member", ["config.json", "classes.json", "model.weights.h5"])
def test_members_of_gigabytes_are_not_unpacked(made, tmp_path, member):
    rewritten(made[1], tmp_path / "model.keras", **{member: b" " * (200 << 20)})
    refused(tmp_path / "model.keras", member, "209,715,200 bytes")


def network(change):
    """A model of strings that is not one of ours: change(length of each text) makes its output."""
    text = keras.Input((), dtype="string", name="text")
    split = keras.layers.TextVectorization(standardize=None, split="character", vocabulary=["a", "b"])
    return keras.Model(text, change(ops.sum(ops.cast(split(text) > 0, "float32"), axis=1, keepdims=True)))


@both
def test_the_tables_of_a_vocabulary_of_real_size_are_no_larger_than_their_weights(name, tmp_path):
    matrix, network = small_model(name, words=9002, classes=3)
    model = text_model_of(make_vocabulary([" ".join(f"word{number}x" for number in range(9000))]), network, 9)
    (tmp_path / "model.keras").write_bytes(model_bytes(model, CLASSES))
    assert load_model(str(tmp_path / "model.keras"))[1] == CLASSES
    assert len(matrix) in [len(weights) for weights in model.get_weights()]


@pytest.mark.parametrize("key, value", [("units", 10**6), ("input_dim", 10**9), ("output_dim", 10**9), ("units", 1e9)])
def test_layers_are_no_larger_than_their_weights(made, tmp_path, key, value):
    """Keras would make them, at random, before it reads the weights: 16 TB of a million units."""
    with zipfile.ZipFile(io.BytesIO(made[1])) as archive:
        config = archive.read("config.json").decode()
    escaped = f"{key[0]}\\\\u{ord(key[1]):04x}{key[2:]}"
    planted = re.sub(rf'"{key}": [0-9]+', f'"{escaped}": {value}', config)
    assert planted != config
    rewritten(made[1], tmp_path / "model.keras", **{"config.json": planted.encode()})
    refused(tmp_path / "model.keras", "larger than its weights")


GRAPHS = {
    "nan": lambda length: ops.softmax(length * np.float32([1, 2, 3]) * np.float32("nan")),
    "no probabilities": lambda length: length * np.float32([1, 2, 3]),
    "twice the rows": lambda length: ops.softmax(ops.concatenate([length, length]) * np.float32([1, 2, 3])),
    "of its neighbours": lambda length: ops.softmax(length / ops.max(length) * np.float32([1, 2, 3])),
    "float16": lambda length: ops.cast(ops.softmax(length * np.float32([1, 2, 3])), "float16"),
    "fails": lambda length: ops.softmax(ops.reshape(length, (7, 3))),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_is_tried_before_it_is_used(tmp_path, case):
    (tmp_path / "model.keras").write_bytes(model_bytes(network(GRAPHS[case]), CLASSES))
    refused(tmp_path / "model.keras")


def test_weights_that_are_no_numbers_are_refused(made, tmp_path):
    model = keras.models.clone_model(made[0])
    model.set_weights([weights * np.nan if weights.dtype == np.float32 else weights for weights in made[0].get_weights()])
    (tmp_path / "model.keras").write_bytes(model_bytes(model, CLASSES))
    refused(tmp_path / "model.keras", "no probabilities")


def test_the_cause_is_told(made, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(made[1])
    assert load_model(str(path))[1] == CLASSES
    monkeypatch.setattr("rnn.saving.keras", None)
    refused(path, "AttributeError: 'NoneType' object has no attribute 'models'")
    path.write_bytes(made[1][:-100])
    refused(path, "BadZipFile: File is not a zip file")


def test_the_probe_is_quick(made):
    from rnn.saving import probe
    probe(made[0], CLASSES)
    began = time.process_time()
    probe(made[0], CLASSES)
    assert time.process_time() - began < 1
    assert made[0].predict_graph(tf.constant([b"a"])).shape == (1, 3)
