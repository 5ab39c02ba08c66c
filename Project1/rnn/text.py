"""Texts as numbers: the vocabulary, the numbers of each text, and the same as layers that a saved model carries."""
import dataclasses
import functools
import html
import itertools
import re
import string
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
ENTITIES = """amp lt gt quot apos nbsp hellip lsquo rsquo ldquo rdquo ndash mdash #34 #39 #039 #x22 #x27 #160 #8211
#8212 #8216 #8217 #8220 #8221 #8230""".split()  # of HTML, in texts from the web, there escaped once or twice
TYPED = {f"&{escape}{name};": html.unescape(f"&{name};") for escape in ("", "amp;") for name in ENTITIES}
TYPED |= {chr(code): chr(code - 0xFEE0).lower() for code in range(0xFF01, 0xFF5F)} | {"ẞ": "ß"}  # full-width forms
SPELLINGS = {typed: "" if plain in JOINERS else plain if plain.isalnum() or plain in MARKS else " "
             for typed, plain in TYPED.items()}  # what is left out, read as a letter, digit or mark, or separates words
NAME = string.ascii_letters + string.digits + "_"
# What is left out: links, and the names behind an @. A link goes on to a blank or a character beyond ASCII
LINK = f"(?<![{NAME}])(?:(?:[Hh][Tt][Tt][Pp][Ss]?://|[Ww]{{3}}\\.)[!-~]*|@[{NAME}]+)"
BITS = 2**64  # what `fingerprint` counts modulo
FACTOR = 0x9E3779B97F4A7C15
INVERSE = pow(FACTOR, -1, BITS)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, by number from 2 on (0 pads, 1 is an unknown word), and the characters of words.
    capitals: read as `letters` at the same place; marks: words of one character; accented: may be typed in parts."""

    capitals: str
    letters: str
    marks: str
    words: tuple
    accented: str = ""

    @functools.cached_property
    def table(self):
        """What str.translate puts in place of each character; all that is not in it separates words."""
        kept = {character: character for character in self.letters} | dict(zip(self.capitals, self.letters))
        marks = {mark: f" {mark} " for mark in self.marks}
        return defaultdict(lambda: " ", str.maketrans(kept | marks | dict.fromkeys(JOINERS)))

    @functools.cached_property
    def number(self):
        return {word: number for number, word in enumerate(self.words, 2)}

    @functools.cached_property
    def spellings(self):
        """{characters: what they mean, one character or none}: SPELLINGS, and the accented letters."""
        forms = [(form, small) for small in self.accented for form in (small, small.upper())]
        return SPELLINGS | {unicodedata.normalize("NFD", form): small for form, small in forms}

    @functools.cached_property
    def typed(self):
        return re.compile("|".join(map(re.escape, sorted(self.spellings, key=len, reverse=True))))

    def split(self, text):
        """Return the words of a text: small letters and digits, marks; all else separates. Without LINK's."""
        text = re.sub(LINK, " ", text)
        if "&" in text or not text.isascii():
            text = self.typed.sub(lambda match: self.spellings[match[0]], text)
        return text.translate(self.table).split()

    def encode(self, texts, most):
        """Return the word numbers of each text, `most` words at most: a list of int32 arrays (words,)."""
        known = self.number
        return [np.array([known.get(word, 1) for word in self.split(text)[:most]], np.int32) for text in texts]


def make_vocabulary(texts):
    """Return the Vocabulary of all words of the training texts, the commonest first."""
    counts = Counter(character for text in texts for character in set(text + unicodedata.normalize("NFC", text)))
    letters = {small for character in {*counts, *ALPHABET} - {*JOINERS, *SPELLINGS} if is_letter(character)
               and len(small := character.lower()) == 1 and is_letter(small)}
    cased = sorted(small for small in letters
                   if len(small.upper()) == 1 and small.upper() != small == small.upper().lower())
    marks = sorted(character for character, count in counts.items() if count > 2 and character not in JOINERS
                   and (character in MARKS or unicodedata.category(character) == "So"))
    capitals, letters = "".join(small.upper() for small in cased), "".join([*cased, *sorted(letters - {*cased})])
    seen = sorted({character.lower() for character in counts} & {*letters})
    accented = "".join(small for small in seen if "\u0300" <= unicodedata.normalize("NFD", small)[-1] <= "\u036f")
    spelling = Vocabulary(capitals, letters, "".join(marks), (), accented)
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
    It has Keras's own layers and operations: Keras loads it in safe mode. All texts are one row, -1 before each."""
    kept = [*vocabulary.capitals, *vocabulary.letters, *vocabulary.marks]  # all else separates
    parts = [*JOINERS, *sorted({*"".join(vocabulary.spellings), *string.punctuation} - {*JOINERS, *kept})]
    numbers = {character: number for number, character in enumerate(parts + kept, 2)}
    capital, small = 2 + len(parts), 2 + len(parts) + len(vocabulary.capitals)
    mark = small + len(vocabulary.letters)
    factor, inverse = (number - BITS * (number >= BITS // 2) for number in (FACTOR, INVERSE))
    text = keras.Input((), dtype="string", name="text")
    split = layers.TextVectorization(standardize=None, split="character", vocabulary=parts + kept, name="characters")
    grid = ops.pad(ops.cast(split(text), "int64"), ((0, 0), (1, 0)), constant_values=-1)  # (texts, 1 + characters)
    flat = ops.reshape(grid, (-1,))
    flat = ops.where(in_links(flat, numbers), 1, flat)
    flat = spell(flat, vocabulary.spellings, numbers, capital)
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


def in_links(flat, numbers):
    """Return which characters, int64 (characters,), are of what LINK finds: bool; numbers: of the characters."""
    def among(characters, ahead=0):
        known = np.isin(np.arange(2 + len(numbers)), [numbers[character] for character in characters])
        return ops.pad(ops.take(known, ops.maximum(flat, 0)), ((0, ahead),))[ahead:, ...]

    def reached(begins, further):
        """Whether one of `begins` is before each character, or there, and all between are of `further`."""
        begins, ends = ops.cast(begins, "int64"), ops.cast(ops.logical_not(further), "int64")
        begun, last = ops.cumsum(begins), ops.take(ops.nonzero(ends)[0], ops.cumsum(ends) - 1)
        return begun > ops.take(begun - begins, last)

    fresh = ops.logical_not(ops.pad(among(NAME), ((1, 0),))[:-1, ...])
    name = reached(fresh & among("@") & among(NAME, 1), among(NAME))
    starts = [functools.reduce(ops.logical_and, (among({small, small.upper()}, n) for n, small in enumerate(word)))
              for word in ("http://", "https://", "www.")]
    link = functools.reduce(ops.logical_or, starts) & fresh & ops.logical_not(name)
    return name | reached(link, among(NAME + string.punctuation))


def spell(flat, spellings, numbers, capital):
    """Return the numbers of characters, int64 (characters,), one for each of `spellings`, without padding and joiners.
    numbers: of the characters; those from `capital` on are of words, those below are joiners, or 1 as they separate."""
    parts = ops.cast(flat >= 2 + len(JOINERS), "int64")
    made = ops.where((flat < 0) | ops.equal(flat, 1) | (flat >= capital), flat, parts)
    window, power = 0 * flat, 1
    for length in range(1, 1 + max(map(len, spellings))):
        power = power * FACTOR % BITS
        factor = power - BITS * (power >= BITS // 2)
        window = window + ops.pad(flat, ((0, length),))[length - 1:-1, ...] * factor  # as `fingerprint` has it
        if forms := {typed: plain for typed, plain in spellings.items() if len(typed) == length}:
            lookup = layers.IntegerLookup(vocabulary=[fingerprint(typed, numbers) for typed in forms], mask_token=None,
                                          oov_token=-1, name=f"spellings_{length}")
            place = ops.cast(lookup(window), "int64")  # 0: none begins here
            begun = ops.cumsum(ops.cast(place > 0, "int64"))
            covered = begun - ops.pad(begun, ((length, 0),))[:-length, ...]  # whether one began up to here
            meant = np.array([0, *(numbers.get(plain, 1) if plain else 0 for plain in forms.values())])
            made = ops.where(covered > 0, ops.take(meant, place), made)
    return ops.take(made, ops.nonzero(ops.not_equal(made, 0))[0])


def fingerprint(word, characters):
    """Return the int64 that stands for a word, {character: its number} given (rolling hash; Karp and Rabin 1987)."""
    total = 0
    for character in reversed(word):
        total = (total + characters[character]) * FACTOR % BITS
    return total - BITS * (total >= BITS // 2)
