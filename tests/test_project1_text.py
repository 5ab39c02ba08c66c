"""Project1: words. Training, the saved model's layers and the exported tokenizer give every text the same numbers."""
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings, strategies

from project1 import script, settings_of

from rnn.saving import load_model, model_bytes, predict_texts, text_model_of
from rnn.text import FACTOR, fingerprint, make_vocabulary, text_layers
from rnn.training import as_graph, predict_tokens

pytest_plugins = ["project1"]

TRAINING = ["i am so happy today!", "caf\u00e9 \U0001f600 wow", "\U0001f600 \U0001f600\u2764\ufe0f",
            "so \U0001f600 \u65e5\u672c \u0928\u092e\u0938\u094d\u0924\u0947", "what! is it?!", "dont stop! \u0101\u017e",
            "k\u00f6nig Stra\u00dfe", "zqxa\u2028zqxb happy\u0085day", "\u2764 \u2764", "\u2764"]
PIECES = [*"abiIKZ09!?().,;:-_#@&'\"\u2019\u2018\u201c\u201d\u2026\u2014\u00a0\u00ad\u200b\u200d\ufe0f\u2028\u0085\x1c\x00\t\n",
          *"\u00e9\u00c9\u0130\u0131\u00df\u1e9e\u03a3\u03c3\u03c2\u017f\u212a", "\u0301", "e\u0301", "\u65e5", "\u0928\u094d",
          "\U0001f600", "\U0001f44d\U0001f3fd", "\u2764", "\U0001f9d1\u200d\U0001f4bb", "\uff21", "happy", "Happy", "today", "i'm", "http://", "HTTPS://", "www.", "Www.", "://", "@i", "_@", "@http://", "I\u2019M", " "]
any_text = strategies.one_of(strategies.text(max_size=30),
                             strategies.lists(strategies.sampled_from(PIECES), max_size=25).map("".join))


@pytest.fixture(scope="module")
def words():
    """(the vocabulary of TRAINING, the layers that the saved model has for it, the exported tokenizer), of 12 words."""
    from rnn.exporting import tokenizer_of
    vocabulary = make_vocabulary(TRAINING)
    tokenizer = tokenizer_of(vocabulary, 12)
    tokenizer.no_padding()
    return vocabulary, as_graph(text_layers(vocabulary, 12)), tokenizer


def small(vocabulary, classes, units, numbers=4, random=False):
    """Return a model for a vocabulary."""
    rows = len(vocabulary.words) + 2
    matrix = np.random.default_rng(0).normal(0, random, (rows, numbers)).astype(np.float32)
    return script("LSTM").build_model(settings_of(UNITS=units, DROPOUT=0.0), matrix, classes)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(texts=strategies.lists(any_text, min_size=1, max_size=4))
@example(texts=["", " ", "!!"])
@example(texts=["i am so happy today " * 9, "a"])
def test_the_saved_layers_and_the_exported_tokenizer_number_words_as_training_does(words, texts):
    vocabulary, layers, tokenizer = words
    expected = [row.tolist() for row in vocabulary.encode(texts, 12)]
    found = layers(tf.constant([text.encode("utf-8", "surrogatepass") for text in texts])).numpy()
    assert [row[row > 0].tolist() for row in found] == expected
    assert found.shape == (len(texts), max(map(len, expected))), "padded on the right, no wider than needed"
    assert all((row[:len(numbers)] > 0).all() for row, numbers in zip(found, expected))
    assert [entry.ids for entry in tokenizer.encode_batch(texts)] == expected


SAME = {"curly apostrophe": ("i\u2019m so happy", "im so happy"), "plain apostrophe": ("i'm so happy", "im so happy"),
        "three dots in one": ("happy\u2026 so", "happy so"), "curly quotes": ("\u201chappy\u201d so", "happy so"),
        "dashes": ("happy\u2014so", "happy so"), "no-break space": ("so\u00a0happy", "so happy"),
        "no blank after a comma": ("so,happy", "so happy"),
        "capitals": ("CAF\u00c9 HAPPY", "caf\u00e9 happy"), "an unknown emoji": ("happy \U0001f9a6", "happy"),
        "skin": ("\U0001f600\U0001f3fd", "\U0001f600"),
        "line separator": ("so\u2028happy", "so happy"), "hashtag": ("#happy", "happy"), "full stop": ("so happy.", "so happy"),
        "a link": ("so happy http://t.co/Ab?c=(d)_1 today", "so happy today"), "another": ("HTTPS://x.y/~z\u2019 happy", "happy"),
        "a page": ("happy:www.happy.today.com so", "happy so"), "a name": ("@so_happy, today @so", "today"),
        "no link": ("so@happy.today http happy://so x@ @ @,", "so happy today http happy so x")}


@pytest.mark.parametrize("case", SAME)
def test_typographic_characters_mean_what_their_plain_forms_mean(words, case):
    vocabulary, _, _ = words
    typed, plain = SAME[case]
    assert vocabulary.split(typed) == plain.split() and set(plain.split()) <= {*vocabulary.words, "im", "http", "x"}


def test_marks_and_symbols_of_the_training_texts_are_words(words):
    vocabulary, _, _ = words
    assert set(vocabulary.marks) == {"!", "\U0001f600", "\u2764"}, "what stands in three texts or more"
    assert vocabulary.split("Happy!! \U0001f600\u2764\ufe0f (so?)") == ["happy", "!", "!", "\U0001f600", "\u2764", "so"]
    others = ["\u0928\u092e\u0938\u094d\u0924\u0947", "\u65e5\u672c"]
    assert vocabulary.split(" ".join(others)) == others, "marks of other scripts belong to words"


def test_numbers_begin_with_the_commonest_word_and_unknown_words_are_1(words):
    vocabulary, _, _ = words
    assert vocabulary.words[:2] == ("!", "\u2764") and vocabulary.encode(["! unheardof"], 12)[0].tolist() == [2, 1]
    assert len(set(vocabulary.words)) == len(vocabulary.words) and not {"", "[UNK]"} & set(vocabulary.words)
    assert all(unicodedata.category(character)[0] in "LNMS!P" for word in vocabulary.words for character in word)


def test_fingerprints_tell_words_apart_and_depend_on_order():
    characters = {character: number for number, character in enumerate("abcdefghij", 2)}
    made = [first + second + third for first in "abcdefghij" for second in ["", *"abcdefghij"] for third in ["", *"abcdefghij"]]
    assert len({fingerprint(word, characters) for word in made}) == len(set(made))
    assert fingerprint("a", characters) == 2 * FACTOR - 2**64 * (2 * FACTOR % 2**64 >= 2**63) - 2**64
    assert all(-2**63 <= fingerprint("j" * length, characters) < 2**63 for length in range(99))


def test_a_word_that_keras_would_split_its_vocabulary_file_at_is_kept(tmp_path):
    """U+2028, U+0085 and their like within a text once shifted every later word by a row, or made a model that did not load."""
    texts = ["zqxa\u2028zqxb good", "happy\u0085day \u00e9", "one\x1ctwo three"]
    vocabulary = make_vocabulary(texts)
    model = small(vocabulary, 3, 4, 9, random=True)
    content = model_bytes(text_model_of(vocabulary, model, 200), {"\u2028": "a", "b": "b", "c": "c"})
    (tmp_path / "model.keras").write_bytes(content)
    loaded, classes = load_model(str(tmp_path / "model.keras"))
    assert list(classes) == ["\u2028", "b", "c"]
    probabilities = predict_tokens(model, vocabulary.encode(texts, 200))
    assert np.abs(predict_texts(loaded, [text.encode() for text in texts]) - probabilities).max() < 1e-6
    assert np.ptp(probabilities, axis=0).max() > 1e-3


def test_invalid_utf_8_and_giant_texts_are_predicted(words):
    vocabulary, layers, _ = words
    (found,) = layers(tf.constant([b"happy \xff\xfe today"])).numpy()
    assert found.tolist() == vocabulary.encode(["happy today"], 12)[0].tolist()
    model = text_model_of(vocabulary, small(vocabulary, 2, 2), 12)
    probabilities = predict_texts(model, [b"a " * 300_000, b"", *[b"happy"] * 600])
    assert probabilities.shape == (602, 2) and np.isfinite(probabilities).all()


def test_model_predict_takes_a_tensor_of_texts(words):
    vocabulary, _, _ = words
    model = text_model_of(vocabulary, small(vocabulary, 2, 2), 12)
    assert model.predict(tf.constant(["happy", "so"]), verbose=0).shape == (2, 2)
    assert isinstance(model, keras.Model)
