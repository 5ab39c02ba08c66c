"""The tiny models: from bytes to tokens to buckets, against a slow reference that shares no code with the scripts."""
import html
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tiny_reference as reference
from conftest import run_script
from typed import CASES
from tiny import PIECES, byte_texts, each_run, exported, full_model, quiet, random_model, settings_for

pytest_plugins = ["tiny"]

OTHERS = [  # settings besides those of the constants
    dict(char_ngrams=(3, 5), negation=2, marking=1, markers=("feel", "a")), dict(char_ngrams=(3, 8), negation=0, marking=0),
    dict(negation=15, marking=15, markers=("not", "but", "caf\u00e9")), dict(char_ngrams=(3, 4), char_starts=True, negation=1, markers=("good",)),
    dict(char_ngrams=(3,), marking=0, markers=("feel",))]


def settings_of(module, number):
    """Return settings by number: those of the constants, and others."""
    if number == 0:
        return module.plan_settings(("0", "1"))
    return settings_for(module, entries=16, fingerprint_bits=number, blocks=100 * number + 7, **OTHERS[number - 1])


def words_of(module, text, max_length=512):
    """Return the tokens of a text between the marks of its begin and end, in small letters."""
    first, *words, last = module.tokenize([text if isinstance(text, bytes) else text.encode()], max_length)
    assert (first, last) == ("\1", "\2")
    return [word.translate(module.SMALL) for word in words]


# However it is typed


@pytest.mark.parametrize("typed", CASES)
def test_a_text_means_the_same_however_it_is_typed(module, typed):
    found, meant = (words_of(module, text) for text in (typed, CASES[typed]))
    assert found == meant


def test_an_accent_is_part_of_its_letter(module):
    assert words_of(module, "cafe\u0301 \u0438\u0306 s\u0326 u\u0308\u0304") == ["caf\u00e9", "\u0439", "\u0219", "\u01d6"]
    assert words_of(module, "cafe") != words_of(module, "caf\u00e9")


# Against the reference


@quiet
@given(texts=st.lists(byte_texts, min_size=1, max_size=6), number=st.integers(0, 5))
@example(texts=[b"".join(PIECES)] * 2, number=1)
@example(texts=[b"", b"", b""], number=2)
@example(texts=[b"aa", b"a", b"@", b"bob", b"http", b"not", b"good"], number=3)  # what a text ends with says nothing of the next
@example(texts=[b"not a - b - - but c d e f g", b"feel a, not - good"], number=1)
def test_encode_gives_the_references_buckets_and_does_not_mix_texts(module, texts, number):
    s = settings_of(module, number)
    codes, offsets = module.encode(texts, s)
    assert codes.dtype == np.int32 and offsets.dtype == np.int64
    assert offsets[0] == 0 and offsets[-1] == len(codes) and len(offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        part = codes[offsets[i]:offsets[i + 1]].tolist()
        alone, ends = module.encode([text], s)
        assert part == alone.tolist() and ends.tolist() == [0, len(alone)]
        assert part == [bucket * 2 + negated for bucket, negated in reference.ngrams_of(text, s)]


@quiet
@given(text=byte_texts, max_length=st.sampled_from([1, 2, 5, 40, 512]))
@example(text=b"".join(PIECES), max_length=512)
def test_tokenize_gives_the_references_tokens(module, text, max_length):
    assert module.tokenize([text], max_length) == reference.tokens_of(text, max_length)


@quiet
@given(texts=st.lists(byte_texts, min_size=1, max_size=4), seed=st.integers(0, 20), number=st.sampled_from([2, 3, 6]),
       fingerprint=st.sampled_from([0, 1, 4]), factor=st.sampled_from([12, 0, -5, 112]))
def test_predict_and_tinymodel_py_give_the_references_probabilities(module, texts, seed, number, fingerprint, factor):
    labels = tuple(map(str, range(number)))
    model, _ = random_model(module, seed, labels, entries=64 if not fingerprint else 30, fingerprint=fingerprint, blocks=9,
                            factor=factor, markers=("feel", "a"))
    expected = [reference.probabilities_of(text, model) for text in texts]
    assert module.predict(model, texts) == pytest.approx(np.array(expected), abs=1e-12)
    reader = module.Reader(module.describe_model(model))
    assert [reader.predict(text).probabilities for text in texts] == [pytest.approx(each, abs=1e-12) for each in expected]


def test_every_code_has_the_references_meaning_and_kind(module):
    """Each of the 1,114,112; a surrogate is what a byte that is no UTF-8 is read as."""
    kinds = {"separator": [], "word": [module.WORD], "punctuation": [module.PUNCTUATION], "symbol": [module.SYMBOL]}
    assert module.PLAIN.keys() == {code for code in range(0x110000) if reference.meaning(chr(code)) != chr(code)}
    every = list(map(chr, range(0x110000)))
    assert [char for char in every if char.translate(module.PLAIN) != reference.meaning(char)] == []
    for kind, classes in kinds.items():
        if classes:
            found = set(re.findall(f"[{classes[0]}]", "".join(every)))
            assert found == {char for char in every if reference.kind_of(char) == kind}, kind


@pytest.mark.parametrize("name", ["two", "six"])
def test_real_texts_encode_and_predict_like_the_reference(runs, models, module, name):
    run = runs(name)
    rows = (run.root / "rows" / ("emotions.csv" if name == "six" else "test.txt")).read_bytes().splitlines()[:150]
    texts, model = [row.split(b"\t")[-1] for row in rows], models(name)
    codes, offsets = module.encode(texts, model.settings)
    for i, text in enumerate(texts):
        expected = [bucket * 2 + negated for bucket, negated in reference.ngrams_of(text, model.settings)]
        assert codes[offsets[i]:offsets[i + 1]].tolist() == expected
    expected = [reference.probabilities_of(text, model) for text in texts[:30]]
    assert module.predict(model, texts[:30]) == pytest.approx(np.array(expected), abs=1e-12)


def test_no_texts_and_texts_of_which_nothing_is_known(module):
    model, _ = random_model(module, 3, fill=0)
    assert module.predict(model, []).shape == (0, 2)
    probability = 1 / (1 + np.exp(-float(model.bias[0])))
    assert module.predict(model, [b"", b"a b"])[:, 1] == pytest.approx([probability] * 2)
    assert module.encode([], model.settings)[1].tolist() == [0]


# Tokens by example


@pytest.mark.parametrize("text, tokens", [
    ("", []), (" \t\x00\x7f\x01\x02 ", []), ("Hello, World", ["hello", ",", "world"]), ("can't DON'T", ["cant", "dont"]),
    ("sooooo goood!!!!!", ["soo", "good", "!!"]), ("@bob hi @al_1: x @", ["hi", ":", "x", "@"]), ("a@b.c", ["a", ".", "c"]),
    ("so http://t.co/a?b=@c HTTPS://x www.x.y WwW. day", ["so", "day"]), ("(http://t.co) x", ["(", "x"]), ("@@bob@al", ["@"]),
    ("ahttp _www.x éhttp 1www.x", ["ahttp", "_ww", ".", "x", "éhttp", "0ww", ".", "x"]), ("http\u00a0x", []),
    ("ht\u200btp wwww www", ["http", "ww", "ww"]), ("&#104;ttp &#64;bob", ["http", "@", "bob"]), ("&#119;ww.x", ["ww", ".", "x"]),
    ("&lt;http://x&gt; y", ["<", "y"]),
    ("1984 was 3.14 a1b22 ٣", ["0", "was", "0", ".", "0", "a0b0", "٣"]), ("10000000000", ["0"]),
    ("''' '", []), (":-)x(", [":-)", "x", "("]), ("a\x00b", ["a", "b"]), ("a_b-c d.e", ["a_b", "-", "c", "d", ".", "e"]),
    ("CAFÉ Ñandú ΩΣ ЖЁ", ["café", "ñandú", "ωσ", "жё"]), ("😀😀 ☺x→", ["😀", "😀", "☺", "x", "→"]), ("😀😀😀😀", ["😀", "😀"]),
    ("👍🏻 👍🏿", ["👍", "👍"]), ("❤️", ["❤"]), ("👨‍👩‍👧", ["👨", "👩", "👧"]), ("漢字、かな", ["漢字", "、", "かな"]),
    ("¿qué?", ["¿", "qué", "?"]),
    ("w\u00adord", ["word"]), ("ab\u200bcd", ["abcd"]), ("don’t ‘so’", ["dont", "so"]), ("“wow”…", ['"', "wow", '"..']),
    ("a…b", ["a", "..", "b"]), ("...…", [".."]), ("a\u00a0b\u2003c\u3000d", ["a", "b", "c", "d"]), ("ＷＯＷ！１２＇", ["wow", "!", "0"]),
    ("x—y − z", ["x", "-", "y", "-", "z"]), ("&lt;3", ["<", "0"]), ("&amp;lt;", ["<"]), ("&amp;amp; &amp;#0;", ["&", "&#", "0", ";"]),
    ("&Lt; &lt", ["&", "lt", ";", "&", "lt"]),
    ("&#97;&#x62;&#X63;", ["abc"]), ("&#x1F600;", ["😀"]), ("&#0;", ["&#", "0", ";"]), ("&#xD800;", ["&#", "xd0", ";"]),
    ("&#1114111;", ["\U0010ffff"]), ("&#1114112;", ["&#", "0", ";"]), ("&#00000097;", ["&#", "0", ";"]),
    ("&#٣;", ["&#", "٣", ";"]), ("it&rsquo;s", ["its"]), ("a&nbsp;b", ["a", "b"]), ("a&hellip;", ["a", ".."]),
    ("great😊😊😊day", ["great", "😊", "😊", "day"]), ("&unknown; &#0;", ["&", "unknown", ";", "&#", "0", ";"]), ("日本語", ["日本語"]),
    (b"caf\xc3\xa9 \xff", ["café", "\udcff"]), (b"\xc0\x80 \xed\xa0\x80", ["\udcc0\udc80", "\udced\udca0\udc80"]),
    (b"\xe2\x80", ["\udce2\udc80"]),
])
def test_tokens_by_example(module, text, tokens):
    assert words_of(module, text) == tokens
    assert list(map(reference.small, reference.tokens_of(text, 512)[1:-1])) == tokens


@pytest.mark.parametrize("text, max_length, tokens", [
    ("abc def", 5, ["abc", "d"]), ("aé", 2, ["a\udcc3"]), ("aé", 3, ["aé"]), ("a&lt;", 4, ["a", "&", "lt"]),
    ("httpx", 3, ["htt"]), ("@bob", 1, ["@"]),
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
    ("STRAẞE", "straße"), ("i \u2066feel\u2069 sad", "i feel sad"), ("i \u2068feel\u2067 sad\u2060", "i feel sad"),
    ("i feel\x0bsad", "i feel sad"), ("i feel\x1fsad", "i feel sad"), ("i feel\x85sad", "i feel sad"),
    ("ЛЮБЛЮ ЁЛКУ", "люблю ёлку"),
    ("ΑΓΑΠΗ", "αγαπη"), ("so&nbsp;happy", "so happy"), ("me &amp; you", "me & you"), ("I &lt;3 you", "I <3 you"),
    ("&gt;:( no", ">:( no"), ("&quot;so happy&quot;", '"so happy"'), ("I don&apos;t know", "I don't know"),
    ("I don&#39;t know", "I don't know"),
    ("I don&#x27;t know", "I don't know"), ("I don&rsquo;t know", "I don't know"), ("&lsquo;so&rsquo; sad", "'so' sad"),
    ("&ldquo;so&rdquo; sad", '"so" sad'), ("well&hellip; fine", "well... fine"), ("bad &ndash; really", "bad - really"),
    ("bad&mdash;really", "bad-really"), ("great &#128512;", "great 😀"), ("great &#x1F600;", "great 😀"),
    ("great &#X1f600;", "great 😀"),
    ("that is sooooo bad", "that is soo bad"), ("@somebody i miss you", "i miss you"), ("it's", "its"),
    ("don`t go", "don't go"), ("dont go", "don't go"), ("DON’T go", "don't go"), ("don&#96;t go", "don't go"),
    ("ｄｏｎ＇ｔ go", "dont go"),
    ("on july 4, 1776 at 10:30", "on july 1, 0 at 9:0"), ("so happy http://t.co/xYz12?a=b", "so happy"),
    ("www.a.b so sad", "so sad"),
    ("so HTTPS://X.Y happy", "so happy"), ("@a @b_1 so sad", "so sad"), ("good good good", "good good"),
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
    assert len({tuple(row[:2]) for row in rows}) > (2 if name == "six" else 5)


def test_named_entities_are_those_of_html(module):
    meant = {name: html.unescape(f"&{name};") for name in module.ENTITIES}
    assert meant == {name: chr(code) for name, code in module.ENTITIES.items()}


@pytest.mark.parametrize("one, other", [("good", "gd"), ("a & b", "a b"), ("I <3 you", "I 3 you"), ("great 😀", "great 😢"),
                                        ("so sad", "so bad"),
                                        ("café", "cafe"), ("was", "wasn't"), ("not good", "good not"), ("not good", "good"),
                                        ("so . sad", "so sad"), ("5", "five"), ("a@", "a"), ("xhttp://a", "x"), ("&lt", "<"),
                                        ("&copy;", "©")])
def test_what_means_something_else_has_other_buckets(module, one, other):
    s = settings_of(module, 1)
    one, other = (module.encode([text.encode()], s)[0].tolist() for text in (one, other))
    assert one != other


# Scopes


@pytest.fixture(scope="module")
def found(module):
    """found(text, **settings) gives [(sixteenths, name)] of all n-grams of a text in a model that keeps every token."""
    readers = {}

    def read(text, **values):
        key = tuple(values.items())
        reader = readers.get(key) or readers.setdefault(key, module.Reader(module.describe_model(full_model(module, **values))))
        text = text if isinstance(text, bytes) else text.encode()
        return list(reader.ngrams(text).values())

    return read


NEGATED = [  # (text, what is negated in it)
    ("i do not like this song at all", "like this song"), ("i don't like it", "like it"), ("I DON’T like it", "like it"),
    ("don`t like it", "like it"), ("not bad", "bad"), ("not a very bad day at all", "a very bad"), ("not-good", "- good"),
    ("not good, but bad", "good"), ("not good but bad", "good but"), ("not but good", "but"), ("not ! good", ""),
    ("not so 😀 good", "so"), ("not so ☺good", "so"), ("not (good)", ""), ("not so :( good", "so"),
    ("not so -( good", "so -( good"),
    ("not so &amp; good", "so & good"), ("not so / good", "so"), ("never ever again", "ever again"),
    ("no not never good", "not never good"), ("not a never b c d e", "a never b c d"), ("nothing", ""), ("good not", ""),
    ("knot notes noted", ""), ("@not good", ""), ("no one can say", "one can say"), ("can not go", "go"),
    ("hardly a day without an", "a day without an"), ("not\x00good", "good"), ("nnnot good", ""), ("noooo good", ""),
    ("not @bob good", "good"), ("not http://t.co/x good", "good"), ("aint bad", "bad"), ("not ' x y z w", "x y z"),
    ("not\nso\n good.bad", "so good"), ("", "")]


@pytest.mark.parametrize("text, negated", NEGATED)
def test_what_is_behind_a_negation_counts_negated(found, text, negated):
    """And its exception, a word of its own, is looked up behind it."""
    words = found(text)
    places = [place for place, (times, name) in enumerate(words) if times < 0 and " " not in name]
    assert [words[place] for place in places] == [(-12, word) for word in negated.split()]
    assert [words[place + 1] for place in places] == [(16, f"not {word}") for word in negated.split()]


@pytest.mark.parametrize("word", (
    "not no never none nothing nobody nowhere neither nor cannot without hardly rarely don't doesn't didn't can't couldn't won't "
    "wouldn't shouldn't mustn't needn't isn't aren't wasn't weren't hasn't haven't havn't hadn't ain't").split())
def test_each_negator_negates(found, word):
    for spelled in (word, word.upper(), word.replace("'", ""), word.replace("'", "’"), word.replace("'", "`")):
        assert (-12, "bad") in found(f"{spelled} bad") and (16, word.replace("'", "")) in found(f"{spelled} bad"), spelled


@pytest.mark.parametrize("span", range(6))
def test_negation_says_how_many_words_are_negated(found, span):
    words = [name for times, name in found("we do not a b - c d e", negation=span) if times < 0 and " " not in name]
    assert [word for word in words if word != "-"] == list("abcde"[:span]) and ("-" in words) == (span > 2)


def test_what_a_negated_word_brings(found):
    """Its characters, itself and the pair that it begins turned; itself once more, for an exception, as it is."""
    assert found("not bad day", char_ngrams=(4,), negation=1) == [
        (16, "' not'"), (16, "'not '"), (16, "not"), (16, "\1 not"),
        (-12, "' bad'"), (-12, "'bad '"), (-12, "bad"), (16, "not bad"), (16, "not bad"),
        (16, "' day'"), (16, "'day '"), (16, "day"), (-12, "bad day"), (16, "day \2")]


MARKS = [  # (text, what is behind "feel" or "feeling" in it)
    ("i feel so very sad today", "so very sad"), ("i feel sad, so sad", "sad"), ("feel sad but glad", "sad but glad"),
    ("feeling not sad", "not sad"), ("i feel a feeling of joy and more", "a feeling of joy and"), ("feel", ""),
    ("i feels sad", ""),
    ("feel 😢 sad", ""), ("feel - sad", "- sad"), ("FEEL sad", "sad"), ("i feel", "")]


@pytest.mark.parametrize("text, marked", MARKS)
def test_what_is_behind_a_marker_counts_once_more(found, text, marked):
    words = found(text, markers=("feel", "feeling"))
    assert [name[3:] for times, name in words if name.startswith(".. ")] == marked.split()
    assert {times for times, name in words if name.startswith(".. ")} <= {16}
    plain = [pair for pair in words if not pair[1].startswith(".. ")]
    assert plain == found(text) == found(text, markers=("feel", "feeling"), marking=0)


def test_marking_says_how_many_words_are_marked(found):
    for span in range(6):
        names = [name for _, name in found("we feel a b c d e", markers=("feel",), marking=span)]
        assert [name[3:] for name in names if name.startswith(".. ")] == list("abcde"[:span])


def test_the_factor_decides_what_a_negated_word_counts(module):
    """With one kept word, "bad": what it counts is turned, by sixteenths; and with its exception kept as well."""
    s = settings_for(module, entries=64, fingerprint_bits=0, value_bits=1, blocks=100)
    bad, exception = reference.ngrams_of("bad", s)[0][0], reference.ngrams_of("not bad", s)[3][0]
    both = np.sort([bad, exception])
    tables = [module.pack(places, (places == bad).astype(int), s) for places in (np.array([bad]), both)]
    logit = lambda model, text: -np.log(1 / module.predict(model, [text])[0, 1] - 1)
    for factor in (12, 16, 0, -8, 112):
        one, two = (module.Packed(s, ("0", "1"), factor, 0.01, np.float32([0]), np.int8([[50], [-100]]), table)
                    for table in tables)
        assert logit(one, b"bad") == logit(two, b"bad") == pytest.approx(-1)
        assert logit(one, b"not bad") == pytest.approx(factor / 16)
        assert logit(two, b"not bad") == pytest.approx((factor / 16 + 0.5) / 2 ** 0.5)  # over the root of two tokens


# Names


@pytest.mark.parametrize("text, whole, beginnings", [  # how many of its 4-grams count, and of those that begin a word
    ("i Hello", 0, 0), ("i hello", 4, 1), ("i HELLO", 4, 1), ("i 'Hello'", 0, 0), ("Hello i", 4, 0), ("hello i", 4, 1),
    ("O\u2019Reilly i", 6, 1), ("i O\u2019Reilly", 6, 1), ("i \u00c9mile", 4, 1)])
def test_the_letters_of_what_is_written_like_a_name_do_not_count(module, text, whole, beginnings):
    """A small letter behind a large one; the first word of a text keeps its n-grams where all of a word's count."""
    counted = lambda **values: len(module.encode([text.encode()], settings_for(module, blocks=5000, **values))[0])
    for starts, expected in ((False, whole), (True, beginnings)):
        assert counted(char_ngrams=(4,), char_starts=starts) - counted() == expected


# A token counts once


def test_many_texts_with_as_many_buckets_as_there_can_be_do_not_mix(module):
    """A batch's number of texts times of buckets goes beyond 32 bits."""
    s = settings_for(module, entries=1, fingerprint_bits=8, blocks=32768, char_ngrams=(3,), max_length=512)
    texts = [f"word{chr(97 + i % 26)}{chr(97 + i // 26 % 26)} again again {chr(97 + i // 676)}".encode() for i in range(9000)]
    codes, offsets = module.encode(texts, s)
    for i in (*range(0, 9000, 300), 8191, 8192, 8999):
        assert codes[offsets[i]:offsets[i + 1]].tolist() == module.encode([texts[i]], s)[0].tolist()


@quiet
@given(text=byte_texts)
def test_a_token_counts_once(module, text):
    """Texts of the same tokens are the same but for pairs across the seam."""
    s = settings_for(module, entries=64, fingerprint_bits=4, blocks=100, char_ngrams=(4,), max_length=65535)
    once, often = ({code >> 1 for code in module.encode([b" . ".join([text] * times)], s)[0].tolist()} for times in (3, 20))
    codes = module.encode([text * 3], s)[0] >> 1
    assert len(set(codes.tolist())) == len(codes)
    assert once == often


@each_run
def test_a_text_that_is_repeated_keeps_its_label(runs, models, modules, name):
    module, model = modules[runs(name).size], models(name)
    texts = [b"the train leaves at nine.", b"i feel so happy today!", b"this is not good", b"ok",
             b"so sad, i miss you ", "👍".encode()]
    once, often = (module.predict(model, [b" ".join([text] * times) for text in texts]) for times in (1, 20))
    assert np.abs(once - often).max() < 0.1
    first, second = np.sort(once, axis=1)[:, -2:].T[::-1]
    same = once.argmax(axis=1) == often.argmax(axis=1)
    assert same[first - second > 0.1].all() and (first - second > 0.1).sum() > 1
