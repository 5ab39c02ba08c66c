"""Texts as numbers: the vocabulary, the numbers of each text, and the same as layers that a saved model carries."""
import dataclasses
import functools
import itertools
import unicodedata
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from .settings import InputError

# Characters that are left out: i'm and i’m are im, a joined emoji its parts
JOINERS = "'’‘‛ʼ′`´\u00ad\u200b\u200c\u200d\u2060\ufe0e\ufe0f🏻🏼🏽🏾🏿"
MARKS = "!?()"  # are words of their own where they stand in training texts, as symbols (emoji) are
ALPHABET = "".join(filter(str.isalnum, map(chr, range(0x530))))  # Latin, Greek, Cyrillic: letters without any training
BITS = 2**64  # what `fingerprint` counts modulo
FACTOR = 0x9E3779B97F4A7C15
INVERSE = pow(FACTOR, -1, BITS)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, by number from 2 on (0 pads, 1 is an unknown word), and the characters of words.

    capitals: letters that are read as that of `letters` at the same place; marks: words of one character.
    """

    capitals: str
    letters: str
    marks: str
    words: tuple

    @functools.cached_property
    def table(self):
        """What str.translate puts in place of each character; all that is not in it separates words."""
        kept = {character: character for character in self.letters} | dict(zip(self.capitals, self.letters))
        marks = {mark: f" {mark} " for mark in self.marks}
        return defaultdict(lambda: " ", str.maketrans(kept | marks | dict.fromkeys(JOINERS)))

    @functools.cached_property
    def number(self):
        return {word: number for number, word in enumerate(self.words, 2)}

    def split(self, text):
        """Return the words of a text: small letters and digits, marks; all else separates."""
        return text.translate(self.table).split()

    def encode(self, texts, most):
        """Return the word numbers of each text, `most` words at most: a list of int32 arrays (words,)."""
        known = self.number
        return [np.array([known.get(word, 1) for word in self.split(text)[:most]], np.int32) for text in texts]


def make_vocabulary(texts):
    """Return the Vocabulary of all words of the training texts, the commonest first."""
    counts = Counter(character for text in texts for character in set(text))
    letters = {small for character in {*counts, *ALPHABET} - {*JOINERS} if is_letter(character)
               and len(small := character.lower()) == 1 and is_letter(small)}
    cased = sorted(small for small in letters
                   if len(small.upper()) == 1 and small.upper() != small == small.upper().lower())
    marks = sorted(character for character, count in counts.items() if count > 2 and character not in JOINERS
                   and (character in MARKS or unicodedata.category(character) == "So"))
    capitals, letters = "".join(small.upper() for small in cased), "".join([*cased, *sorted(letters - {*cased})])
    spelling = Vocabulary(capitals, letters, "".join(marks), words=())
    counts = Counter(itertools.chain.from_iterable(map(spelling.split, texts)))
    if not counts:
        raise InputError("no training text has a word of letters or digits; check TEXT_COLUMN")
    return dataclasses.replace(spelling, words=tuple(sorted(counts, key=lambda word: (-counts[word], word))))


def is_letter(character):
    """Whether a character may be a part of a word: letter, digit, or a mark that belongs to one (but Latin accents)."""
    return character.isalnum() or unicodedata.category(character)[0] == "M" and not "\u0300" <= character <= "\u036f"


# The sets as word numbers (lists of int32 arrays) and class numbers (int64 arrays)
Encoded = namedtuple("Encoded", "train train_labels val val_labels test test_labels")


def encode(data, vocabulary, settings):
    """Return the Data as Encoded."""
    sets = data.train_texts, data.val_texts, data.test_texts
    train, val, test = (vocabulary.encode(texts, settings.MAX_WORDS) for texts in sets)
    return Encoded(train, data.train_labels, val, data.val_labels, test, data.test_labels)


def text_layers(vocabulary, most):
    """Return a Keras model of strings (texts,) to word numbers int64 (texts, words), as `vocabulary.encode` gives them.

    It has Keras's own layers and operations alone: Keras loads it in safe mode. All texts are one row, -1 before each.
    """
    characters = [*JOINERS, *vocabulary.capitals, *vocabulary.letters, *vocabulary.marks]  # all else separates
    numbers = {character: number for number, character in enumerate(characters, 2)}
    capital, small = 2 + len(JOINERS), 2 + len(JOINERS) + len(vocabulary.capitals)
    mark = small + len(vocabulary.letters)
    factor, inverse = (number - BITS * (number >= BITS // 2) for number in (FACTOR, INVERSE))
    text = keras.Input((), dtype="string", name="text")
    split = layers.TextVectorization(standardize=None, split="character", vocabulary=characters, name="characters")
    grid = ops.pad(ops.cast(split(text), "int64"), ((0, 0), (1, 0)), constant_values=-1)  # (texts, 1 + characters)
    flat = ops.reshape(grid, (-1,))
    flat = ops.take(flat, ops.nonzero((flat < 0) | ops.equal(flat, 1) | (flat >= capital))[0])  # no padding, no joiners
    row = ops.cumsum(ops.cast(flat < 0, "int64")) - 1  # the text of each character
    flat = ops.where((flat >= capital) & (flat < small), flat + len(vocabulary.capitals), flat)
    # Where words begin and end: bool (characters,), then places (words,)
    in_word, is_mark = flat >= small, flat >= mark
    letter = in_word & ops.logical_not(is_mark)
    after_letter, before_letter = ops.pad(letter, ((1, 0),))[:-1, ...], ops.pad(letter, ((0, 1),))[1:, ...]
    first = ops.nonzero(in_word & (is_mark | ops.logical_not(after_letter)))[0]
    last = ops.nonzero(in_word & (is_mark | ops.logical_not(before_letter)))[0]
    # The fingerprint of each word: the difference of two running sums
    ones = ops.ones_like(flat)
    power = ops.cumprod(ops.where(in_word, ones * factor, ones))  # int64, which wraps around
    back = ops.cumprod(ops.where(in_word, ones * inverse, ones))
    sums = ops.cumsum(flat * power)
    sums = ops.take(sums, last) - ops.take(sums, first) + ops.take(flat * power, first)
    words = sums * ops.take(back, first) * factor  # as if each word had begun at power 1
    # The words' numbers, back in a grid (texts, words), no wider than is needed
    known = [fingerprint(word, numbers) for word in vocabulary.words]
    lookup = layers.IntegerLookup(vocabulary=known, mask_token=None, oov_token=-1, name="words")
    row = ops.take(row, first)
    column = ops.cumsum(ops.ones_like(row)) - 1 - ops.cast(ops.searchsorted(row, row), "int64")
    places = ops.stack([row, column], axis=1)
    grid = ops.scatter_update(grid * 0, places, ops.cast(lookup(words), "int64") + 1)[:, :most]
    used = ops.nonzero(ops.any(grid > 0, axis=0))[0]
    return keras.Model(text, ops.take(grid, used, axis=1), name="text_to_words")


def fingerprint(word, characters):
    """Return the int64 that stands for a word, {character: its number} given (rolling hash; Karp and Rabin 1987)."""
    total = 0
    for character in reversed(word):
        total = (total + characters[character]) * FACTOR % BITS
    return total - BITS * (total >= BITS // 2)
