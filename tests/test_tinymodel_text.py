"""The tiny models: from bytes to tokens to buckets, against a slow reference that shares no code with the scripts."""
import html

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tiny_reference as reference
from conftest import run_script
from tiny import PIECES, byte_texts, each_run, quiet, random_model

pytest_plugins = ["tiny"]


def settings_of(module, number):
    """Return settings by number: those of the constants, and others."""
    other = [((1, 2, 3), True, (3, 5), 2), ((), False, (1, 8), 0), ((2, 4), True, (), 15), ((1,), False, (2,), 1),
             ((), True, (), 3)]
    if number == 0:
        return module.plan_settings(("0", "1"))
    return module.Settings(512, *other[number - 1], 16, number, 4, 100 * number + 7)


def tokens_of(module, text, max_length=512, negation=3):
    """Return [(token, whether it is negated)] of a text, as the script cuts it."""
    s = module.Settings(max_length, (1,), False, (), negation, 8, 4, 4, 9)
    codes, _, begins, ends = module.tokenize([text if isinstance(text, bytes) else text.encode()], s.max_length)
    negated = module.find_negated(module.hash_spans(codes, begins, ends), module.KIND_OF[codes[begins]], s.negation)
    spans = zip(begins.tolist(), ends.tolist(), negated.tolist(), strict=True)
    return [("".join(map(chr, codes[begin:end].tolist())), negated) for begin, end, negated in spans]


def words_of(module, text, max_length=512):
    """Return the tokens of a text between the marks of its begin and end."""
    first, *words, last = [token for token, _ in tokens_of(module, text, max_length)]
    assert (first, last) == ("\1", "\2")
    return words


# Against the reference


@quiet
@given(texts=st.lists(byte_texts, min_size=1, max_size=6), number=st.integers(0, 5))
@example(texts=[b"".join(PIECES)] * 2, number=1)
@example(texts=[b"", b"", b""], number=2)
@example(texts=[b"aa", b"a", b"@", b"bob", b"not", b"good"], number=3)  # what a text ends with says nothing of the next one
def test_encode_gives_the_references_buckets_and_does_not_mix_texts(module, texts, number):
    s = settings_of(module, number)
    buckets, offsets = module.encode(texts, s)
    assert buckets.dtype == np.int32 and offsets.dtype == np.int64
    assert offsets[0] == 0 and offsets[-1] == len(buckets) and len(offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        part = buckets[offsets[i]:offsets[i + 1]].tolist()
        alone, ends = module.encode([text], s)
        assert part == alone.tolist() and ends.tolist() == [0, len(alone)]
        assert part == reference.buckets_of(text, s)


@quiet
@given(text=byte_texts, max_length=st.sampled_from([1, 2, 5, 40, 512]), negation=st.integers(0, 4))
@example(text=b"".join(PIECES), max_length=512, negation=3)
def test_tokenize_gives_the_references_tokens(module, text, max_length, negation):
    tokens = reference.tokens_of(text, max_length)
    marks = [marked for _, marked in reference.word_hashes(tokens, negation)]
    expected = [("".join(map(chr, codes)), marked) for (_, codes), marked in zip(tokens, marks, strict=True)]
    assert tokens_of(module, text, max_length, negation) == expected


@quiet
@given(texts=st.lists(byte_texts, min_size=1, max_size=4), seed=st.integers(0, 20), number=st.sampled_from([2, 3, 6]),
       fingerprint=st.sampled_from([0, 1, 4]))
def test_predict_gives_the_references_probabilities(module, texts, seed, number, fingerprint):
    labels = tuple(map(str, range(number)))
    model, _ = random_model(module, seed, labels, entries=64 if not fingerprint else 30, fingerprint=fingerprint, blocks=9)
    expected = [reference.probabilities_of(text, model) for text in texts]
    assert module.predict(model, texts) == pytest.approx(np.array(expected), abs=1e-12)


def test_every_code_has_the_references_meaning_and_class(module):
    """Each of the 1,112,064 characters; what the tables say of surrogates is tested with bytes that are no UTF-8."""
    codes = np.arange(0x110000)
    expected = codes.copy()
    for first, last, target, moves in reference.PLAIN:
        span = slice(first, last + 1)
        expected[span] = target + codes[span] - first if moves else target or module.DROPPED
    expected[ord("…")] = ord("…")  # three dots: replaced before the tables
    assert (module.PLAIN_OF == expected).all()
    mapped = [code for code in range(0x3050) if code not in (0xA0, 0x3000)]  # these two become blanks before they have a class
    assert [int(module.KIND_OF[code]) for code in mapped] == [reference.kind_of(code) for code in mapped]
    assert set(module.KIND_OF[0x3050:0x1F000]) == {1} and set(module.KIND_OF[0x1F000:]) == {3}


@pytest.mark.parametrize("name", ["two", "six"])
def test_real_texts_encode_and_predict_like_the_reference(runs, models, module, name):
    run = runs(name)
    rows = (run.root / "rows" / ("emotions.csv" if name == "six" else "test.txt")).read_bytes().splitlines()[:150]
    texts, model = [row.split(b"\t")[-1] for row in rows], models(name)
    buckets, offsets = module.encode(texts, model.settings)
    for i, text in enumerate(texts):
        assert buckets[offsets[i]:offsets[i + 1]].tolist() == reference.buckets_of(text, model.settings)
    expected = [reference.probabilities_of(text, model) for text in texts[:30]]
    assert module.predict(model, texts[:30]) == pytest.approx(np.array(expected), abs=1e-12)


def test_no_texts_and_texts_without_tokens(module):
    model, _ = random_model(module, 3, words=(5,), chars=())
    assert module.predict(model, []).shape == (0, 2)
    probability = 1 / (1 + np.exp(-float(model.bias[0])))
    assert module.predict(model, [b"", b"a b"])[:, 1] == pytest.approx([probability] * 2)


# Tokens by example


@pytest.mark.parametrize("text, tokens", [
    ("", []), (" \t\x00\x7f\x01\x02 ", []), ("Hello, World", ["hello", ",", "world"]), ("can't DON'T", ["cant", "dont"]),
    ("sooooo goood!!!!!", ["soo", "good", "!!"]), ("@bob hi @al_1: x", ["@", "hi", "@", ":", "x"]), ("a@b", ["a", "@"]),
    ("''' '", []), (":-)x(", [":-)", "x", "("]), ("a\x00b", ["a", "b"]), ("a_b-c d.e", ["a_b", "-", "c", "d", ".", "e"]),
    ("CAFÉ Ñandú ΩΣ ЖЁ", ["café", "ñandú", "ωσ", "жё"]), ("😀😀 ☺x→", ["😀", "😀", "☺", "x", "→"]), ("😀😀😀😀", ["😀", "😀"]),
    ("👍🏻 👍🏿", ["👍", "👍"]), ("❤️", ["❤"]), ("👨‍👩‍👧", ["👨", "👩", "👧"]), ("漢字、かな", ["漢字", "、", "かな"]),
    ("¿qué?", ["¿", "qué", "?"]),
    ("w\u00adord", ["word"]), ("ab\u200bcd", ["abcd"]), ("don’t ‘so’", ["dont", "so"]), ("“wow”…", ['"', "wow", '"..']),
    ("a…b", ["a", "..", "b"]), ("...…", [".."]), ("a\u00a0b\u2003c\u3000d", ["a", "b", "c", "d"]), ("ＷＯＷ！１", ["wow", "!", "1"]),
    ("x—y − z", ["x", "-", "y", "-", "z"]), ("&lt;3", ["<", "3"]), ("&amp;lt;", ["&", "lt", ";"]),
    ("&Lt; &lt", ["&", "lt", ";", "&", "lt"]),
    ("&#97;&#x62;&#X63;", ["abc"]), ("&#x1F600;", ["😀"]), ("&#0;", ["&#", "0", ";"]), ("&#xD800;", ["&#", "xd800", ";"]),
    ("&#1114111;", ["\U0010ffff"]), ("&#1114112;", ["&#", "114112", ";"]), ("&#00000097;", ["&#", "0097", ";"]),
    ("&#٣;", ["&#", "٣", ";"]), ("it&rsquo;s", ["its"]), ("a&nbsp;b", ["a", "b"]), ("a&hellip;", ["a", ".."]),
    ("great😊😊😊day", ["great", "😊", "😊", "day"]), ("&unknown; &#0;", ["&", "unknown", ";", "&#", "0", ";"]), ("日本語", ["日本語"]),
    (b"caf\xc3\xa9 \xff", ["café", "\udcff"]), (b"\xc0\x80 \xed\xa0\x80", ["\udcc0\udc80", "\udced\udca0\udc80"]),
    (b"\xe2\x80", ["\udce2\udc80"]),
])
def test_tokens_by_example(module, text, tokens):
    assert words_of(module, text) == tokens
    kept = [codes for _, codes in reference.tokens_of(text, 512)][1:-1]
    assert ["".join(map(chr, codes)) for codes in kept] == tokens


@pytest.mark.parametrize("text, max_length, tokens", [
    ("abc def", 5, ["abc", "d"]), ("aé", 2, ["a\udcc3"]), ("aé", 3, ["aé"]), ("a&lt;", 4, ["a", "&", "lt"]),
    ("ab", 65535, ["ab"]),
    ("x😀", 4, ["x\udcf0\udc9f\udc98"])])
def test_a_text_is_cut_by_bytes(module, text, max_length, tokens):
    assert words_of(module, text, max_length) == tokens


# What means the same

SAME = [  # (typographic, plain)
    ("I don’t know", "I don't know"), ("I don‘t know", "I don't know"), ("I donʼt know", "I don't know"),
    ("I don´t know", "I don't know"),
    ("I don′t know", "I don't know"), ("“so happy”", '"so happy"'), ("„so happy‟", '"so happy"'), ("«so happy»", '"so happy"'),
    ("‹so happy›", "'so happy'"), ("so″happy", 'so"happy'), ("well… fine", "well... fine"), ("bad – really", "bad - really"),
    ("bad—really", "bad-really"), ("bad‑really", "bad-really"), ("−1 day", "-1 day"), ("so\u00a0happy", "so happy"),
    ("so\u2009happy", "so happy"), ("so\u3000happy", "so happy"), ("so\u202fhappy", "so happy"), ("so hap\u00adpy", "so happy"),
    ("so hap\u200bpy", "so happy"), ("\ufeffso happy", "so happy"), ("\u202aso happy\u202c", "so happy"), ("love ❤️", "love ❤"),
    ("ok 👍🏽", "ok 👍"), ("ＳＯ ｈａｐｐｙ！", "SO happy!"), ("SO HAPPY", "so happy"), ("CAFÉ ÀÖØÞ", "café àöøþ"),
    ("ЛЮБЛЮ ЁЛКУ", "люблю ёлку"),
    ("ΑΓΑΠΗ", "αγαπη"), ("so&nbsp;happy", "so happy"), ("me &amp; you", "me & you"), ("I &lt;3 you", "I <3 you"),
    ("&gt;:( no", ">:( no"), ("&quot;so happy&quot;", '"so happy"'), ("I don&apos;t know", "I don't know"),
    ("I don&#39;t know", "I don't know"),
    ("I don&#x27;t know", "I don't know"), ("I don&rsquo;t know", "I don't know"), ("&lsquo;so&rsquo; sad", "'so' sad"),
    ("&ldquo;so&rdquo; sad", '"so" sad'), ("well&hellip; fine", "well... fine"), ("bad &ndash; really", "bad - really"),
    ("bad&mdash;really", "bad-really"), ("great &#128512;", "great 😀"), ("great &#x1F600;", "great 😀"),
    ("great &#X1f600;", "great 😀"),
    ("that is sooooo bad", "that is soo bad"), ("@somebody i miss you", "@nobody i miss you"), ("it's", "its"),
]


@pytest.mark.parametrize("typographic, plain", SAME)
def test_what_means_the_same_has_the_same_buckets(module, typographic, plain):
    s = settings_of(module, 1)
    one, other = (module.encode([text.encode()], s)[0].tolist() for text in (typographic, plain))
    assert one == other and typographic != plain


@each_run
def test_what_means_the_same_is_classified_the_same(runs, bare, name):
    """Through --predict, in one process: label and probability of each pair agree, and not those of all pairs."""
    run = runs(name)
    lines = [text.encode() for pair in SAME for text in pair]
    process = run_script(run.script, "--OUTPUT_DIR", run.out, "--predict", "-", input=b"\n".join(lines) + b"\n", env=bare)
    assert process.returncode == 0, process.stderr.decode()
    rows = [line.split(b"\t") for line in process.stdout.splitlines()]
    assert [row[2] for row in rows] == lines
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one[:2] == other[:2], one[2].decode()
    assert len({row[1] for row in rows}) > 5


def test_named_entities_are_those_of_html(module):
    meant = {name: html.unescape(f"&{name};") for name in module.ENTITIES}
    assert meant == {name: chr(code) for name, code in module.ENTITIES.items()}


@pytest.mark.parametrize("one, other", [("good", "gd"), ("a & b", "a b"), ("I <3 you", "I 3 you"), ("great 😀", "great 😢"),
                                        ("so sad", "so bad"),
                                        ("café", "cafe"), ("was", "wasn't"), ("not good", "good not"), ("&lt", "<"),
                                        ("&copy;", "©")])
def test_what_means_something_else_has_other_buckets(module, one, other):
    s = settings_of(module, 1)
    one, other = (module.encode([text.encode()], s)[0].tolist() for text in (one, other))
    assert one != other


# Negation


@pytest.mark.parametrize("text, negated", [
    ("i do not like this song at all", "like this song"), ("i don't like it", "like it"), ("I DON’T like it", "like it"),
    ("not good, but bad", "good"), ("not ! good", ""), ("not so 😀 good", "so"), ("never ever again", "ever again"),
    ("no not never good", "good"), ("not a not b c d e", "a b c d"), ("nothing", ""), ("good not", ""),
    ("knot notes noted", ""),
    ("@not good", ""), ("no one can say", "one can say"), ("can not can", "can"), ("hardly a day without a", "a day a"),
    ("not\x00good", "good"), ("nnnot good", ""), ("noooo good", ""), ("not @bob good", ""), ("aint bad", "bad"),
    ("not ' x y z w", "x y z")])
def test_words_behind_a_negation_are_marked(module, text, negated):
    assert [token for token, marked in tokens_of(module, text) if marked] == negated.split()


@pytest.mark.parametrize("word", (
    "not no never none nothing neither nor cannot without hardly don't doesn't didn't can't couldn't won't wouldn't shouldn't "
    "isn't aren't wasn't weren't hasn't haven't hadn't ain't").split())
def test_each_negator_negates(module, word):
    assert tokens_of(module, f"{word} good")[1:3] == [(word.replace("'", ""), False), ("good", True)]


@pytest.mark.parametrize("span", range(6))
def test_negation_says_how_many_words_are_marked(module, span):
    marked = [token for token, negated in tokens_of(module, "we do not a b c d e", negation=span) if negated]
    assert marked == list("abcde"[:span])


def test_a_negated_word_has_another_bucket_and_its_characters_have_not(module):
    """Of "not good" and "of good": the words behind differ, the character n-grams of good do not."""
    words = [module.Settings(512, (1,), False, (), negation, 8, 4, 4, 1000) for negation in (0, 3)]
    plain, marked = (module.encode([b"not good"], s)[0].tolist() for s in words)  # BEGIN, not, good, END
    assert [a == b for a, b in zip(plain, marked, strict=True)] == [True, True, False, True]
    chars = [module.Settings(512, (), False, (3,), negation, 8, 4, 4, 1000) for negation in (0, 3)]
    plain, marked = (module.encode([b"not good"], s)[0].tolist() for s in chars)
    assert plain == marked
