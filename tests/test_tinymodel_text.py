"""The tiny models' tokens: the fast encoder against a slow reference, one character at a time."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_reference as reference
from tiny import byte_texts, quiet, random_model

pytest_plugins = ["tiny"]

KINDS = [dict(), dict(words=(1, 2, 3), skip=True, chars=(4, 6)), dict(words=(), chars=(1, 8), negation=0), dict(words=(4,), chars=(), max_length=7),
         dict(words=(), skip=True, chars=(), negation=15), dict(labels=("a", "b", "c"))]


@pytest.mark.parametrize("number", range(len(KINDS)))
@quiet
@given(texts=st.lists(byte_texts, min_size=1, max_size=5))
def test_texts_are_read_as_the_reference_reads_them_and_do_not_mix(module, number, texts):
    model, _ = random_model(module, number, entries=40, fingerprint=0, **KINDS[number])
    together = module.predict(model, texts)
    for i, text in enumerate(texts):
        assert together[i] == pytest.approx(reference.probabilities_of(text, model), abs=1e-12)


def test_real_tweets_are_read_as_the_reference_reads_them(module, tweets):
    model, _ = random_model(module, 9, entries=40, fingerprint=0)
    texts = [row.split(b"\t", 1)[1] for row in tweets[1][:300]]
    expected = np.array([reference.probabilities_of(text, model) for text in texts])
    assert np.abs(module.predict(model, texts) - expected).max() <= 1e-12


def tokens(module, text):
    stream = module.tokenize([text.encode("utf-8", "surrogateescape")], 512)
    return ["".join(map(chr, stream.codes[a:b])) for a, b in zip(stream.begins, stream.ends)][1:-1]


@pytest.mark.parametrize("text, expected", [
    ("I love it", ["i", "love", "it"]), ("don't", ["dont"]), ("don’t", ["dont"]), ("sooooo good!!!!", ["soo", "good", "!!"]),
    ("@bob hello", ["@", "hello"]), ("great😊😊😊day", ["great", "😊", "😊", "day"]), ("wait…what", ["wait", "..", "what"]),
    ("&lt;3 &amp;amp;", ["<", "3", "&", "amp", ";"]), ("&unknown; &#0;", ["&", "unknown", ";", "&#", "0", ";"]),
    ("ＯＫ！", ["ok", "!"]), ("ÉTÉ", ["été"]), ("a\u00adb", ["ab"]), ("''", []), ("", []), ("日本語", ["日本語"]),
])
def test_tokens_by_hand(module, text, expected):
    assert tokens(module, text) == expected


def test_a_text_is_cut_at_max_length(module):
    model, _ = random_model(module, 2, max_length=10, entries=40, fingerprint=0)
    assert (module.predict(model, [b"0123456789abc"]) == module.predict(model, [b"0123456789"])).all()
