"""Project1: words. Training, the saved model's layers and the exported tokenizer give every text the same numbers."""
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings, strategies

from conftest import load_script
from project1 import SCRIPTS

pytest_plugins = ["project1"]

TRAINING = ["i am so happy today!", "caf\u00e9 \U0001f600 wow", "\U0001f600 \U0001f600\u2764\ufe0f",
            "so \U0001f600 \u65e5\u672c \u0928\u092e\u0938\u094d\u0924\u0947", "what! is it?!", "dont stop! \u0101\u017e",
            "k\u00f6nig Stra\u00dfe", "zqxa\u2028zqxb happy\u0085day", "\u2764 \u2764", "\u2764"]
PIECES = [*"abiIKZ09!?().,;:-_#@&'\"\u2019\u2018\u201c\u201d\u2026\u2014\u00a0\u00ad\u200b\u200d\ufe0f\u2028\u0085\x1c\x00\t\n",
          *"\u00e9\u00c9\u0130\u0131\u00df\u1e9e\u03a3\u03c3\u03c2\u017f\u212a", "\u0301", "e\u0301", "\u65e5", "\u0928\u094d",
          "\U0001f600", "\U0001f44d\U0001f3fd", "\u2764", "\U0001f9d1\u200d\U0001f4bb", "\uff21", "happy", "Happy", "today", "i'm", "I\u2019M", " "]
any_text = strategies.one_of(strategies.text(max_size=30),
                             strategies.lists(strategies.sampled_from(PIECES), max_size=25).map("".join))


@pytest.fixture(scope="module")
def words():
    """(the script, its vocabulary of TRAINING, the layers that the saved model has for it, the exported tokenizer)."""
    script = load_script(SCRIPTS["LSTM"])
    script.MAX_WORDS = 12
    vocabulary = script.make_vocabulary(TRAINING)
    layers = script.as_graph(script.text_layers(vocabulary))
    tokenizer = script.tokenizer_of(vocabulary)
    tokenizer.no_padding()
    return script, vocabulary, layers, tokenizer


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts=strategies.lists(any_text, min_size=1, max_size=4))
@example(texts=["", " ", "!!"])
@example(texts=["i am so happy today " * 9, "a"])
def test_the_saved_layers_and_the_exported_tokenizer_number_words_as_training_does(words, texts):
    _, vocabulary, layers, tokenizer = words
    expected = [row.tolist() for row in vocabulary.encode(texts)]
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
        "line separator": ("so\u2028happy", "so happy"), "hashtag": ("#happy", "happy"), "full stop": ("so happy.", "so happy")}


@pytest.mark.parametrize("case", SAME)
def test_typographic_characters_mean_what_their_plain_forms_mean(words, case):
    _, vocabulary, _, _ = words
    typed, plain = SAME[case]
    assert vocabulary.split(typed) == plain.split() and set(plain.split()) <= {*vocabulary.words, "im"}


def test_marks_and_symbols_of_the_training_texts_are_words(words):
    _, vocabulary, _, _ = words
    assert set(vocabulary.marks) == {"!", "\U0001f600", "\u2764"}, "what stands in three texts or more"
    assert vocabulary.split("Happy!! \U0001f600\u2764\ufe0f (so?)") == ["happy", "!", "!", "\U0001f600", "\u2764", "so"]
    others = ["\u0928\u092e\u0938\u094d\u0924\u0947", "\u65e5\u672c"]
    assert vocabulary.split(" ".join(others)) == others, "marks of other scripts belong to words"


def test_numbers_begin_with_the_commonest_word_and_unknown_words_are_1(words):
    _, vocabulary, _, _ = words
    assert vocabulary.words[:2] == ("!", "\u2764") and vocabulary.encode(["! unheardof"])[0].tolist() == [2, 1]
    assert len(set(vocabulary.words)) == len(vocabulary.words) and not {"", "[UNK]"} & set(vocabulary.words)
    assert all(unicodedata.category(character)[0] in "LNMS!P" for word in vocabulary.words for character in word)


def test_fingerprints_tell_words_apart_and_depend_on_order(words):
    script, _, _, _ = words
    characters = {character: number for number, character in enumerate("abcdefghij", 2)}
    made = [first + second + third for first in "abcdefghij" for second in ["", *"abcdefghij"] for third in ["", *"abcdefghij"]]
    assert len({script.fingerprint(word, characters) for word in made}) == len(set(made))
    assert script.fingerprint("a", characters) == 2 * script.FACTOR - 2**64 * (2 * script.FACTOR % 2**64 >= 2**63) - 2**64
    assert all(-2**63 <= script.fingerprint("j" * length, characters) < 2**63 for length in range(99))


def test_a_word_that_keras_would_split_its_vocabulary_file_at_is_kept(tmp_path):
    """U+2028, U+0085 and their like within a text once shifted every later word by a row, or made a model that did not load."""
    script = load_script(SCRIPTS["LSTM"])
    texts = ["zqxa\u2028zqxb good", "happy\u0085day \u00e9", "one\x1ctwo three"]
    vocabulary = script.make_vocabulary(texts)
    matrix = np.random.default_rng(0).normal(0, 1, (len(vocabulary.words) + 2, 9)).astype(np.float32)
    model = script.build_model(matrix, 3, 4, 0.0)
    content = script.model_bytes(script.text_model_of(vocabulary, model), {"\u2028": "a", "b": "b", "c": "c"})
    (tmp_path / "model.keras").write_bytes(content)
    loaded, classes = script.load_model(str(tmp_path / "model.keras"))
    assert list(classes) == ["\u2028", "b", "c"]
    probabilities = script.predict_tokens(model, vocabulary.encode(texts))
    assert np.abs(script.predict_texts(loaded, [text.encode() for text in texts]) - probabilities).max() < 1e-6
    assert np.ptp(probabilities, axis=0).max() > 1e-3


def test_invalid_utf_8_and_giant_texts_are_predicted(words, tmp_path):
    script, vocabulary, layers, _ = words
    (found,) = layers(tf.constant([b"happy \xff\xfe today"])).numpy()
    assert found.tolist() == vocabulary.encode(["happy today"])[0].tolist()
    model = script.build_model(np.zeros((len(vocabulary.words) + 2, 4), np.float32), 2, 2, 0.0)
    probabilities = script.predict_texts(script.text_model_of(vocabulary, model), [b"a " * 300_000, b"", *[b"happy"] * 600])
    assert probabilities.shape == (602, 2) and np.isfinite(probabilities).all()


def test_model_predict_takes_a_tensor_of_texts(words):
    script, vocabulary, _, _ = words
    matrix = np.zeros((len(vocabulary.words) + 2, 4), np.float32)
    model = script.text_model_of(vocabulary, script.build_model(matrix, 2, 2, 0.0))
    assert model.predict(tf.constant(["happy", "so"]), verbose=0).shape == (2, 2)
    assert isinstance(model, keras.Model)
