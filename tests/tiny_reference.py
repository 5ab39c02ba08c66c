"""How a tiny model reads a text, slowly and obviously, one text at a time: what the fast readers are checked against.

Nothing here is taken from the scripts, so that a fault in one of them is no fault in both.
"""
import functools
import html
import itertools
import math
import re
import string
import unicodedata

MASK = 0xFFFFFFFF
CHAR_BASE, WORD_BASE, MIX_1, MIX_2 = 0x01000193, 0x2545F491, 0x85EBCA6B, 0xC2B2AE35
WORD_SALT, PAIR_SALT, CHAR_SALT, NEGATED, MARKED = 0x9E3779B9, 0x3C6EF372, 0x2E2AC13B, 0x5BD1E995, 0x7A3D5C21
ENTITIES = "amp lt gt quot apos nbsp lsquo rsquo ldquo rdquo hellip ndash mdash".split()
NEGATORS = """not no never none nothing nobody nowhere neither nor cannot without hardly rarely dont doesnt didnt cant couldnt
wont wouldnt shouldnt mustnt neednt isnt arent wasnt werent hasnt havent havnt hadnt aint""".split()
BEGIN, END = "\1", "\2"
BREAKS = ".,;:!?()[]{}<>|/\\"
WORD_LETTERS = string.ascii_letters + string.digits + "_"


def between(*ends):
    """All characters from the first to the second, from the third to the fourth, .."""
    return "".join(chr(code) for first, last in zip(ends[::2], ends[1::2]) for code in range(ord(first), ord(last) + 1))


CAPITALS = between("À", "Ö", "Ø", "Þ", "Α", "Ρ", "Σ", "Ϋ", "Ѐ", "Я", "ẞ", "ẞ")
BLANKS = BEGIN + END + "\xa0" + between("\u2000", "\u200a", "\u2028", "\u2029") + "\u202f\u205f\u3000"
NOTHING = "'`´‘’‚‛′‵‹›" + between("ʹ", "ʼ") + "\xad\ufeff" + between(  # apostrophes; what is not seen; tones of skin
    "\u200b", "\u200f", "\u202a", "\u202e", "\u2060", "\u2069", "\ufe00", "\ufe0f", "\U0001f3fb", "\U0001f3ff")
QUOTES, HYPHENS, FULL_WIDTH = "«»“”„‟″‶", between("‐", "―") + "−", between("！", "～")


@functools.lru_cache(1 << 16)
def meaning(char):
    """The characters that one means; A to Z stay large."""
    if char in FULL_WIDTH:
        return meaning(chr(ord(char) - ord("！") + ord("!")).lower())
    if char in CAPITALS:
        return char.lower()
    for alike, target in ((BLANKS, " "), (NOTHING, ""), (QUOTES, '"'), (HYPHENS, "-"), ("123456789", "0"), ("…", "...")):
        if char in alike:
            return target
    return char


@functools.lru_cache(1 << 16)
def kind_of(char):
    """"separator", "word", "punctuation", or "symbol", which is a token of its own."""
    code = ord(char)
    if code <= 32 or 127 <= code <= 0xA0:
        return "separator"
    if code < 128:
        return "word" if char in WORD_LETTERS else "punctuation"
    if code < 0xC0 or 0x2000 <= code < 0x2190 or 0x3000 <= code < 0x3040:
        return "punctuation"
    return "symbol" if 0x2190 <= code < 0x2C00 or code >= 0x1F000 else "word"


def to_bytes(text):
    """Bytes as they are; a str in UTF-8, each lone surrogate as U+FFFD."""
    return text if isinstance(text, bytes) else re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def entity_at(text, at):
    """(character, where it ends) of the HTML entity that begins at text[at], or None; &amp;lt; and the like are one."""
    char, end = one_entity_at(text, at) or (None, at)
    while char == "&" and (more := one_entity_at(text, end - 1)):
        char, end = more
    return (char, end) if char else None


def letter_at(text, at):
    """(letter, where it ends) of a letter and the accents behind it that Unicode has one character for, or None."""
    letter, end = text[at], at + 1
    while end < len(text) and 0x300 <= ord(text[end]) < 0x340:
        one = unicodedata.normalize("NFC", letter + text[end])
        if len(one) > 1 or ord(one) >= 0x460 or letter == "\xa8" or 0x2000 < ord(letter):
            break
        letter, end = one, end + 1
    return (letter, end) if end > at + 1 else None


def one_entity_at(text, at):
    """(character, where it ends) of the HTML entity whose & is, or would be, text[at], or None."""
    body, semicolon, _ = text[at + 1:at + 10].partition(";")
    if not semicolon:
        return None
    if body in ENTITIES:
        return html.unescape(f"&{body};"), at + len(body) + 2
    base, digits, most = (16, body[2:], 6) if body[:2] in ("#x", "#X") else (10, body[1:], 7)
    known = string.hexdigits if base == 16 else string.digits
    if body[:1] != "#" or not 1 <= len(digits) <= most or not set(digits) <= set(known):
        return None
    code = int(digits, base)
    return (chr(code), at + len(body) + 2) if 0 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else None


def link_at(text, at):
    """Where the link or the @name ends that begins at text[at], or None."""
    end = at + 1
    if text[at] == "@":
        while end < len(text) and text[end] in WORD_LETTERS:
            end += 1
        return end if end > at + 1 else None
    before = text[at - 1] if at else " "
    if before in WORD_LETTERS or ord(before) > 127 or text[at:at + 4].lower() not in ("http", "www."):
        return None
    while end < len(text) and text[end] > " ":
        end += 1
    return end


def small(text):
    """A text with a to z for A to Z."""
    return re.sub("[A-Z]+", lambda letters: letters[0].lower(), text)


def tokens_of(text, max_length):
    """The tokens of a text with its A to Z, BEGIN and END among them; a byte that is no UTF-8 is the character 0xDC00 + byte."""
    text, at, stream = to_bytes(text)[:max_length].decode("utf-8", "surrogateescape"), 0, ""
    while at < len(text):
        char, end = text[at], at + 1
        if text[at] == "&":
            char, end = entity_at(text, at) or (char, end)
        elif after := link_at(text, at):
            char, end = " ", after
        else:
            char, end = letter_at(text, at) or (char, end)
        for char in meaning(char):
            if not small(stream[-2:]).endswith("0" if char == "0" else small(char) * 2):  # a digit once, all else twice
                stream += char
        at = end
    tokens = [BEGIN]
    for kind, run in itertools.groupby(stream, kind_of):
        tokens += [] if kind == "separator" else run if kind == "symbol" else ["".join(run)]
    return tokens + [END]


def scope(tokens, openers, size, enders=()):
    """Whether each token is in the scope of an opener before it: with fewer than `size` words between, none of them an
    ender, and no break between or at it."""
    words = [kind_of(token[0]) == "word" for token in tokens]
    breaks = [token[0] in BREAKS + BEGIN + END or kind_of(token[0]) == "symbol" for token in tokens]
    places = [j for j, token in enumerate(tokens) if words[j] and token in openers]
    return [any(sum(words[j + 1:i]) < size and not any(breaks[j + 1:i + 1]) and not set(tokens[j + 1:i]) & set(enders)
                for j in places if j < i) for i in range(len(tokens))]


def polynomial(values, base):
    """Polynomial of the values in the base, modulo 2^32."""
    h = 0
    for value in values:
        h = (h * base + value) & MASK
    return h


@functools.lru_cache(1 << 16)
def hash_of(chars):
    return polynomial([ord(char) + 1 for char in chars], CHAR_BASE)


def ngrams_of(text, s):
    """(bucket, whether it counts negated) of all n-grams of a text in the order of reading, each bucket once."""
    written, found = tokens_of(text, s.max_length), {}
    tokens = [small(token) for token in written]
    negated, marked = scope(tokens, NEGATORS, s.negation, ["but"]), scope(tokens, s.markers, s.marking)

    def add(h, salt, sign=False):
        h = (h ^ salt) * MIX_1 & MASK
        h = (h ^ h >> 15) * MIX_2 & MASK
        found.setdefault(h * s.buckets >> 32, sign)

    for i, token in enumerate(tokens):
        framed = f" {token} "
        may_be_a_name = (i > 1 or s.char_starts) and re.match("[A-Z][a-z]", written[i])
        for end in range(1, len(framed) + 1):
            for order in s.char_ngrams if not may_be_a_name else ():
                if order == end or order < end and not s.char_starts:
                    add(hash_of(framed[end - order:end]), CHAR_SALT, negated[i])
        if token not in (BEGIN, END):
            add(hash_of(token), WORD_SALT, negated[i])
            if negated[i]:
                add(hash_of(token) ^ NEGATED, WORD_SALT)
            if marked[i]:
                add(hash_of(token) ^ MARKED, WORD_SALT)
        if i:
            add(polynomial([hash_of(tokens[i - 1]), hash_of(token)], WORD_BASE), PAIR_SALT, negated[i - 1])
    return list(found.items())


def row_of(bucket, model):
    """Row of the codebook that a bucket has, or None."""
    s = model.settings
    slot = bucket >> s.fingerprint_bits
    block = model.table[slot // 64 * s.block_bytes:][:s.block_bytes]
    bit = lambda i: int(block[i // 8]) >> i % 8 & 1
    if not bit(slot % 64):
        return None
    rank = sum(bit(i) for i in range(slot % 64))
    width = s.value_bits + s.fingerprint_bits
    entry = sum(bit(64 + rank * width + i) << i for i in range(width))
    if entry >> s.value_bits != bucket & (1 << s.fingerprint_bits) - 1:
        return None
    return entry & (1 << s.value_bits) - 1


def probabilities_of(text, model):
    """The K probabilities of a text."""
    sums, count = [0.0] * len(model.bias), 0
    for bucket, negated in ngrams_of(text, model.settings):
        row = row_of(bucket, model)
        if row is not None:
            count += 1
            times = -model.factor / 16 if negated else 1
            sums = [total + times * int(step) for total, step in zip(sums, model.steps[row], strict=True)]
    logits = [float(bias) + model.scale * total / math.sqrt(max(1, count)) for bias, total in zip(model.bias, sums)]
    logits = [0.0, *logits] if len(logits) == 1 else logits
    powers = [math.exp(z - max(logits)) for z in logits]
    return [p / sum(powers) for p in powers]
