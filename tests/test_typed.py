"""A text means the same however it is typed: LSTM.py, GRU.py, emotion_classifier.py (MiniLM), and their exports.

The tiny scripts are tried in test_tinymodel_text.py.
"""
import numpy as np
import pytest
import tensorflow as tf

from project1 import script, settings_of
from typed import CASES
import project2

import transformers

from classifier.text import encode
from rnn.saving import text_model_of
from rnn.text import make_vocabulary, text_layers
from rnn.training import as_graph, predict_tokens

TRAINING = ["i feel sad today", "i am scared", "rock roll is great", "cafe happy!", "caf\u00e9 happy!", "stra\u00dfe \U0001f600",
            "fun! \U0001f600 \U0001f600", "stop? (now) \u00e0 la carte", "im so glad", "3 happy days"]


@pytest.fixture(scope="module")
def vocabulary():
    return make_vocabulary(TRAINING)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_a_saved_network_reads_what_is_meant(vocabulary, name):
    matrix = np.random.default_rng(0).normal(0, 1, (len(vocabulary.words) + 2, 6)).astype(np.float32)
    more = {"FINAL_UNITS": 4, "DENSE_UNITS": 4} if name == "GRU" else {}
    network = script(name).build_model(settings_of(name, UNITS=4, **more), matrix, 3, *([2] if name == "GRU" else []))
    model = as_graph(text_model_of(vocabulary, network, 30))
    typed, plain = (model(tf.constant([text.encode() for text in texts])).numpy() for texts in (list(CASES), list(CASES.values())))
    for text, its, ours in zip(CASES, typed, plain):
        assert np.abs(its - ours).max() < 1e-6, text
    assert np.abs(typed - predict_tokens(network, vocabulary.encode(list(CASES), 30))).max() < 1e-6
    assert np.ptp(plain, axis=0).max() > 1e-3


def test_words_layers_and_the_exported_tokenizer_are_one(vocabulary):
    from rnn.exporting import tokenizer_of
    tokenizer = tokenizer_of(vocabulary, 30)
    tokenizer.no_padding()
    texts = [*CASES, *CASES.values(), "&amp;amp;amp; &am", "&", "&amp", "e\u0301\u0301", "\u0301", "x\u0301", "&#39;&#39;a"]
    expected = [row.tolist() for row in vocabulary.encode(texts, 30)]
    found = as_graph(text_layers(vocabulary, 30))(tf.constant([text.encode() for text in texts])).numpy()
    assert [row[row > 0].tolist() for row in found] == expected
    assert [tokenizer.encode(text).ids for text in texts] == expected
    for typed, plain in CASES.items():
        assert vocabulary.split(typed) == vocabulary.split(plain), typed


def test_plain_texts_are_numbered_as_ever(vocabulary):
    assert vocabulary.split("i feel so glad, today") == ["i", "feel", "so", "glad", "today"]
    assert vocabulary.split("AT&T &am p; amp lt") == ["at", "t", "am", "p", "amp", "lt"]


def test_decomposed_training_texts_make_the_composed_word():
    words = make_vocabulary(["cafe\u0301 good", "caf\u00e9 bad"]).words
    assert "caf\u00e9" in words and "cafe" not in words


def test_minilm_reads_what_is_meant(tmp_path):
    """Its exports are asked by the same `encode`."""
    project2.make_minilm(tmp_path, [*TRAINING, *CASES.values(), "& < > ' \" . - ( )"] * 9)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    manifest = {"family": "bert", "normalisation": "none", "max_length": 64}
    for typed, plain in CASES.items():
        assert encode(tokenizer, [typed], manifest) == encode(tokenizer, [plain], manifest), typed
    for text in ("i feel so glad today", "3 days, and more!"):
        assert encode(tokenizer, [text], manifest) == tokenizer([text])["input_ids"]
    assert tokenizer.unk_token_id not in encode(tokenizer, ["happy"], manifest)[0]
