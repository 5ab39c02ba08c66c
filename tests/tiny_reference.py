"""The tiny models' tokens and probabilities, slowly and obviously, one text at a time: what the fast code is checked against.

Nothing here is taken from the scripts, so that a fault in one of them is no fault in both.
"""
import math
import re
import string

MASK = 0xFFFFFFFF
CHAR_BASE, WORD_BASE = 0x01000193, 0x2545F491
MIX_1, MIX_2 = 0x85EBCA6B, 0xC2B2AE35
WORD_SALT, SKIP_SALT, CHAR_SALT, NEGATED = 0x9E3779B9, 0x78DDE6E4, 0x2E2AC13B, 0x5BD1E995
ENTITIES = {"amp": 38, "lt": 60, "gt": 62, "quot": 34, "apos": 39, "nbsp": 160, "lsquo": 0x2018, "rsquo": 0x2019,
            "ldquo": 0x201C, "rdquo": 0x201D, "hellip": 0x2026, "ndash": 0x2013, "mdash": 0x2014}
NEGATORS = """not no never none nothing neither nor cannot without hardly dont doesnt didnt cant couldnt wont wouldnt shouldnt
isnt arent wasnt werent hasnt havent hadnt aint""".split()
# What a character means: first and last code, target (0: it is left out), and whether the target moves with the code
PLAIN = [
    (0x41, 0x5A, 0x61, 1), (0xA0, 0xA0, 32, 0), (0xAB, 0xAB, 34, 0), (0xAD, 0xAD, 0, 0), (0xB4, 0xB4, 39, 0),
    (0xBB, 0xBB, 34, 0), (0xC0, 0xD6, 0xE0, 1), (0xD8, 0xDE, 0xF8, 1), (0x2B9, 0x2BC, 39, 0), (0x391, 0x3A1, 0x3B1, 1),
    (0x3A3, 0x3AB, 0x3C3, 1), (0x400, 0x40F, 0x450, 1), (0x410, 0x42F, 0x430, 1), (0x2000, 0x200A, 32, 0),
    (0x200B, 0x200F, 0, 0), (0x2010, 0x2015, 45, 0), (0x2018, 0x201B, 39, 0), (0x201C, 0x201F, 34, 0),
    (0x2026, 0x2026, 46, 0), (0x2028, 0x2029, 32, 0), (0x202A, 0x202E, 0, 0), (0x202F, 0x202F, 32, 0),
    (0x2032, 0x2032, 39, 0), (0x2033, 0x2033, 34, 0), (0x2035, 0x2035, 39, 0), (0x2036, 0x2036, 34, 0),
    (0x2039, 0x203A, 39, 0), (0x205F, 0x205F, 32, 0), (0x2060, 0x2064, 0, 0), (0x2212, 0x2212, 45, 0),
    (0x3000, 0x3000, 32, 0), (0xFE00, 0xFE0F, 0, 0), (0xFEFF, 0xFEFF, 0, 0), (0xFF01, 0xFF20, 0x21, 1),
    (0xFF21, 0xFF3A, 0x61, 1), (0xFF3B, 0xFF5E, 0x5B, 1), (0x1F3FB, 0x1F3FF, 0, 0),
]


def to_bytes(text):
    """Bytes as they are; a str in UTF-8, each lone surrogate as U+FFFD."""
    if isinstance(text, bytes):
        return text
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def decode(data):
    """Codes of UTF-8, by the table of well-formed sequences (Unicode, table 3-7); other bytes become 0xDC00 + byte."""
    forms = [((0, 0x7F),), ((0xC2, 0xDF), (0x80, 0xBF)), ((0xE0, 0xE0), (0xA0, 0xBF), (0x80, 0xBF)),
             ((0xE1, 0xEC), (0x80, 0xBF), (0x80, 0xBF)), ((0xED, 0xED), (0x80, 0x9F), (0x80, 0xBF)),
             ((0xEE, 0xEF), (0x80, 0xBF), (0x80, 0xBF)), ((0xF0, 0xF0), (0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)),
             ((0xF1, 0xF3), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)), ((0xF4, 0xF4), (0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF))]
    codes, i = [], 0
    while i < len(data):
        for form in forms:
            part = data[i:i + len(form)]
            if len(part) == len(form) and all(low <= byte <= high for byte, (low, high) in zip(part, form, strict=True)):
                code = part[0] & (0x7F, 0x1F, 0x0F, 0x07)[len(form) - 1]
                for byte in part[1:]:
                    code = code << 6 | byte & 0x3F
                break
        else:
            code, form = 0xDC00 + data[i], (0,)
        codes.append(code)
        i += len(form)
    return codes


def entity_at(codes, i):
    """(code, how many codes it took) of the entity that begins at codes[i], or None."""
    rest = "".join(chr(c) if c < 128 else "\0" for c in codes[i:i + 12])
    end = rest.find(";")
    if rest[0] != "&" or end < 0:
        return None
    body = rest[1:end]
    if body in ENTITIES:
        return ENTITIES[body], end + 1
    if body[:1] != "#":
        return None
    digits, base, most, known = body[1:], 10, 7, string.digits
    if digits[:1] in ("x", "X"):
        digits, base, most, known = digits[1:], 16, 6, string.hexdigits
    if not 1 <= len(digits) <= most or not all(d in known for d in digits):
        return None
    value = int(digits, base)
    if not 1 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
        return None
    return value, end + 1


def resolve(codes):
    """Codes with the HTML entities among them resolved, in one pass."""
    out, i = [], 0
    while i < len(codes):
        found = entity_at(codes, i) if codes[i] == 38 else None
        code, taken = found or (codes[i], 1)
        out.append(code)
        i += taken
    return out


def plain(codes):
    """Codes with each mapped by the range of PLAIN that holds it."""
    out = []
    for code in codes:
        for first, last, target, shift in PLAIN:
            if first <= code <= last:
                if code == 0x2026:
                    out += [46, 46, 46]
                elif shift:
                    out.append(target + code - first)
                elif target:
                    out.append(target)
                break
        else:
            out.append(code)
    return out


def kind_of(code):
    """Class of a mapped code: 0 separates, 1 is part of a word, 2 is part of punctuation, 3 is a token of its own."""
    if code <= 32 or 127 <= code <= 0x9F:
        return 0
    if code < 128:
        return 1 if chr(code) in string.digits + string.ascii_lowercase + "_'" else 2
    if 0xA1 <= code <= 0xBF or 0x2000 <= code <= 0x218F or 0x3001 <= code <= 0x303F:
        return 2
    if 0x2190 <= code <= 0x2BFF or code >= 0x1F000:
        return 3
    assert code >= 0xC0
    return 1


def tokens_of(text, max_length):
    """[(kind, codes)] of the tokens, BEGIN and END among them."""
    stream = plain(resolve(decode(to_bytes(text)[:max_length])))
    kinds = [kind_of(code) for code in stream]
    tokens, i = [(0, [1])], 0
    while i < len(stream):
        j = i + 1
        while j < len(stream) and kinds[j] == kinds[i] and kinds[i] != 3:
            j += 1
        left = []
        for k in range(i, j):
            mention = kinds[i] == 1 and i > 0 and stream[i - 1] == ord("@")
            repeat = k >= 2 and stream[k] == stream[k - 1] == stream[k - 2]
            if kinds[i] != 0 and stream[k] != 39 and not mention and not repeat:
                left.append(stream[k])
        if left:
            tokens.append((kinds[i], left))
        i = j
    return tokens + [(0, [2])]


def polynomial(values, base):
    """Polynomial of the values in the base, modulo 2^32."""
    h = 0
    for value in values:
        h = (h * base + value) & MASK
    return h


def word_hash(codes):
    """Hash of a word or of a span of characters."""
    return polynomial([c + 1 for c in codes], CHAR_BASE)


def word_hashes(tokens, negation):
    """(hash, whether it is negated) of each token; a negated one's hash is marked."""
    negators = {word_hash(map(ord, word)) for word in NEGATORS}
    left, hashes = 0, []
    for kind, codes in tokens:
        h, marked = word_hash(codes), False
        if kind != 1:
            left = 0
        elif negation and h in negators:
            left = negation
        elif left > 0:
            left -= 1
            h, marked = h ^ NEGATED, True
        hashes.append((h, marked))
    return hashes


def buckets_of(text, s):
    """The buckets of all n-grams of a text: those of words by order, of pairs with a gap, of characters by order."""
    tokens = tokens_of(text, s.max_length)
    words = [h for h, _ in word_hashes(tokens, s.negation)]
    stream = []
    for _, codes in tokens:
        stream += [32] * bool(stream) + codes
    salted = []
    for n in s.word_ngrams:
        salted += [polynomial(words[i:i + n], WORD_BASE) ^ (WORD_SALT * n & MASK) for i in range(len(words) - n + 1)]
    if s.skip_bigrams:
        salted += [polynomial((words[i], words[i + 2]), WORD_BASE) ^ SKIP_SALT for i in range(len(words) - 2)]
    for n in s.char_ngrams:
        salted += [word_hash(stream[i:i + n]) ^ CHAR_SALT for i in range(len(stream) - n + 1)]
    result = []
    for h in salted:
        h = h * MIX_1 & MASK
        h ^= h >> 15
        h = h * MIX_2 & MASK
        result.append(h * s.buckets >> 32)
    return result


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
    buckets = buckets_of(text, model.settings)
    columns = len(model.bias)
    sums = [0] * columns
    for bucket in buckets:
        row = row_of(bucket, model)
        if row is not None:
            sums = [total + int(step) for total, step in zip(sums, model.steps[row], strict=True)]
    root = math.sqrt(max(1, len(buckets)))
    logits = [float(model.bias[k]) + model.scale * sums[k] / root for k in range(columns)]
    if columns == 1:
        logits = [0.0, *logits]
    powers = [math.exp(z - max(logits)) for z in logits]
    return [p / sum(powers) for p in powers]
