"""The one reader of rows, which both projects have: what it reads, what it refuses, and labels as classes."""
import csv
import gzip
import io
import json
import random
import sys
import tracemalloc
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings, strategies

from conftest import REPO, write_pair

for needed in ("pandas", "pydantic", "pooch"):
    pytest.importorskip(needed, reason=f"the reader needs {needed}; see Project1/requirements.txt")
sys.path.insert(0, str(REPO / "Project1"))

from rnn.labels import as_label, classes_of, name_classes, number_labels, rows_to_keep
from rnn.rows import chunks, open_table, read_labelled
from rnn.settings import InputError

SHARED = ("settings.py", "files.py", "rows.py", "labels.py", "starting.py")


def test_what_both_projects_have_is_the_same_bytes():
    for name in SHARED:
        assert (REPO / "Project1/rnn" / name).read_bytes() == (REPO / "Project2/classifier" / name).read_bytes(), name


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def put(folder, content, name="in.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, labelled=True, size=4096, **options):
    """All rows of a file as (text, label), label None where labels are not read."""
    found = []
    for frame, texts, labels in chunks(open_table(str(path), "text", "label", labelled), size, **options):
        assert len(frame) == len(texts) <= size
        found += zip(texts, labels if labelled else [None] * len(texts))
    return found


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert len(message) <= 300 and message.isprintable() and path.name in message, message
    for word in words:
        assert word in message, message


# CSV


GOOD = {
    "plain": ("text,label\na,0\nb,1\n", [("a", "0"), ("b", "1")]),
    "other order, other columns": ("id,label,text\n7,x,a\n8,y,b", [("a", "x"), ("b", "y")]),
    "byte-order mark": (b"\xef\xbb\xbftext,label\na,0\n", [("a", "0")]),
    "UTF-16": ("text,label\na\u20ac,0\n".encode("utf-16"), [("a\u20ac", "0")]),
    "UTF-16, big end first": (b"\xfe\xff" + "text\tlabel\na,0\t1\n".encode("utf-16-be"), [("a,0", "1")]),
    "CRLF": ('text,label\r\na,0\r\n"b\r\nc",1\r\n', [("a", "0"), ("b\r\nc", "1")]),
    "tab": ("text\tlabel\na, b; c\t0\n", [("a, b; c", "0")]),
    "semicolon": ("text;label\na, b\t|;0\n", [("a, b\t|", "0")]),
    "bar": ("text|label\na, b;|0\n", [("a, b;", "0")]),
    "Excel's first line": ("sep=;\ntext;label\na, b;0\n", [("a, b", "0")]),
    "pandas' index": (",text,label\n0,a,x\n1,b,y\n", [("a", "x"), ("b", "y")]),
    "blank lines": ("\n\ntext,label\n\na,0\n\r\n\nb,1\n\n", [("a", "0"), ("b", "1")]),
    "labels": ("text,label\na,1.0\nb, joy \nc,-2\nd,1.5\ne,01\nf,-0\ng,+1\n",
               [("a", "1"), ("b", "joy"), ("c", "-2"), ("d", "1.5"), ("e", "01"), ("f", "0"), ("g", "+1")]),
    "separators of other systems": ("text,label\na\u2028b\x85c\x0bd\x1ce,0\n", [("a\u2028b\x85c\x0bd\x1ce", "0")]),
    "quoted": ('text,label\n"a ""b"", c",0\n"d",1\n', [('a "b", c', "0"), ("d", "1")]),
    "all quoted": ('"text","label"\n"a\n0","0"\n"b","1"\n', [("a\n0", "0"), ("b", "1")]),
    "two lines": ('text,label\n"first\nsecond",0\nthird,1\n', [("first\nsecond", "0"), ("third", "1")]),
    "two lines, label first": ('label,text\n0,"first\nsecond"\n1,third\n', [("first\nsecond", "0"), ("third", "1")]),
    "commas in two lines": ('text,label\n"well, first\nsecond",0\n"so, third\n\nfourth",1\n',
                            [("well, first\nsecond", "0"), ("so, third\n\nfourth", "1")]),
    "a mark inside a text": ('text,label\nhe said "hi",0\n5" long,1\n"a, b",0\n',
                             [('he said "hi"', "0"), ('5" long', "1"), ("a, b", "0")]),
    "another column over lines": ('text,note,label\na,"1\n2",0\nb,3,1\n', [("a", "0"), ("b", "1")]),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_csv(tmp_path, case):
    content, rows = GOOD[case]
    path = put(tmp_path, content)
    assert read(path) == read(path, size=1) == rows
    assert read(path, labelled=False) == [(text, None) for text, _ in rows]


def test_one_column(tmp_path):
    assert read(put(tmp_path, 'text\na\n"a, x\nb"\n'), labelled=False) == [("a", None), ("a, x\nb", None)]
    assert read(put(tmp_path, "text\na, b\n", "in.tsv"), labelled=False) == [("a, b", None)]
    refused(put(tmp_path, "text\na, b\n"), "row 2", "2 columns", labelled=False)


SWALLOWED = {  # a lone mark, and the next one some rows on: the csv module reads one text
    "two columns": 'text,label\nx,0\nfine,1\n"i am sad,0\ni am glad,1\nhe left",0\nbye,1\n',
    "label first": 'label,text\n0,x\n1,fine\n0,"i am sad\n1,i am glad\n0,he left"\n',
    "three columns, two rows": 'id,text,label\n1,x,0\n2,fine,1\n7,"i am sad,0\n8,he left",1\n',
    "quoted labels": 'text,label\nx,"0"\nfine,"1"\n"i am sad,"0"\ni am glad,"1"\nhe left",0\n',
}


@pytest.mark.parametrize("case", SWALLOWED)
def test_a_mark_that_swallows_rows_is_refused(tmp_path, case):
    refused(put(tmp_path, SWALLOWED[case]), "row 4", "double")
    refused(put(tmp_path, SWALLOWED[case]), "row 4", "double", labelled=False)


BAD = {
    "mark not doubled": ('text,label\n"he said "hi" to me",0\n', "row 2", "double"),
    "blank after the closing mark": ('text,label\n"a" ,0\n', "row 2"),
    "open mark": ('text,label\na,0\n"b,1\nc,1\n', "row 3", "double"),
    "row of blanks": ("text,label\n  \na,0\n", "row 2", "1 column,"),
    "more columns": ("text,label\na,0\n\nb,c,1\n", "row 3", "3 columns", "2", "a comma"),
    "fewer columns": ("text,label,note\na,0,x\nb,1\n", "row 3", "2 columns", "3"),
    "carriage returns alone": ("text,label\ra,0\r", "line feed"),
    "a carriage return": ("text,label\na\rb,0\n", "row 2", "line feed"),
    "no text": ("text,label\na,0\n,1\n", "row 3", "no text"),
    "blank text": ("text,label\n  ,1\n", "row 2", "no text"),
    "no label": ("text,label\na,  \n", "row 2", "label"),
    "label NaN": ("text,label\na,NaN\n", "row 2", "'NaN'"),
    "not UTF-8": (b"text,label\na,0\n\"b\nc\",0\ncaf\xe9,1\n", "line 5", "UTF-8"),
    "not UTF-8 in the header": (b"text,label,caf\xe9\na,0,1\n", "line 1", "UTF-8"),
    "UTF-16 without a mark": ("text,label\na,0\n".encode("utf-16-le"), "NUL", "UTF-8"),
    "half of a UTF-16 file": ("text,label\na,0\n".encode("utf-16")[:-1], "UTF-8"),
    "NUL": ("text,label\n" + "a,0\n" * 20000 + "a\0,0\n", "line 20002", "NUL"),
    "empty": ("", "empty"),
    "blank": (b"\xef\xbb\xbf \n\n", "empty"),
    "a header alone": ("text,label\n", "no rows"),
    "blank in the name": ("text, label\na,0\n", "' label'", "LABEL_COLUMN"),
    "capitals": ("Text,LABEL\na,0\n", "TEXT_COLUMN", "LABEL_COLUMN", "'Text'", "'LABEL'"),
    "other names": ("tweet;label\na;0\n", "no column 'text'", "['tweet', 'label']", "set TEXT_COLUMN"),
    "a name twice": ("text,text,label\na,b,0\n", "'text'", "twice"),
    "no header": ("i am sad,0\nbad,1\n", "['i am sad', '0']", "header"),
    "many names": (",".join(f"\x1bname{number}" for number in range(5000)) + "\n1\n", "no column"),
    "a very long field": ('text,label\na,0\n"' + "a\n" * 10**7, "row 3"),
    "a very long line": ("text,label\na,0\n" + "a" * (1 << 24), "line 3", "16 MB"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv(tmp_path, case):
    content, *words = BAD[case]
    refused(put(tmp_path, content), *words)


def test_rows_without_a_text_or_a_label_can_be_passed_over(tmp_path):
    assert read(put(tmp_path, "text,label\na,1\n ,2\nb,\n"), labelled=False, skip_empty=True) == [
        ("a", None), ("", None), ("b", None)]
    path = put(tmp_path, '{"text": null}\n{"text": "a"}\n', "in.jsonl")
    assert read(path, labelled=False, skip_empty=True) == [("", None), ("a", None)]


# What holds the rows


def test_gzip_and_zip(tmp_path):
    content, rows = b"text,label\na,0\nb,1\n", [("a", "0"), ("b", "1")]
    assert read(put(tmp_path, gzip.compress(content), "in.csv.gz")) == rows
    assert read(put(tmp_path, gzip.compress(b'{"text": "a", "label": 0}'), "in")) == rows[:1]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("in.csv", content)
    assert read(tmp_path / "in.zip") == rows
    with zipfile.ZipFile(tmp_path / "in.zip", "a") as archive:
        archive.writestr("more.csv", content)
    refused(tmp_path / "in.zip", "several")
    refused(put(tmp_path, gzip.compress(content * 1000)[:-20], "cut.csv.gz"), "cannot be read")
    refused(put(tmp_path, b"PK\x03\x04\0\0", "cut.zip"), "cannot be read")


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "none.csv", "No such file")
    refused(tmp_path, "folder")
    with pytest.raises(InputError):
        open_table("a\0b", "text", "label")


LINES = ['\ufeff{"text": "a\u2028 \\ud83d\\ude00", "label": 3}', "", '{"label": 2.0, "text": "b", "more": {"x": [1]}}',
         '{"text": "c", "label": "joy"}', '{"text": "d", "label": true}', '{"text": "e", "label": "1.0"}']
OBJECTS = [("a\u2028 \U0001f600", "3"), ("b", "2"), ("c", "joy"), ("d", "True"), ("e", "1")]


def test_json(tmp_path):
    for end in ("\n", "\r\n"):
        assert read(put(tmp_path, end.join(LINES), "in.jsonl")) == OBJECTS
    items = [json.loads(line.removeprefix("\ufeff")) for line in LINES if line]
    for indent in (None, 2):
        assert read(put(tmp_path, json.dumps(items, indent=indent), "in.json")) == OBJECTS


BAD_JSON = {
    "no object": ("[1]", "row 2", "no JSON object"),
    "no JSON": ('{"text": "a", "label"', "row 2", "no JSON"),
    "two on a line": ('{"text": "a", "label": 1} {}', "row 2", "Extra data"),
    "no key": ('{"text": "a"}', "row 2", "label"),
    "number as text": ('{"text": 5, "label": 1}', "row 2", "string"),
    "null": ('{"text": null, "label": 1}', "row 2", "no text"),
    "label null": ('{"text": "a", "label": null}', "row 2", "label None"),
    "label NaN": ('{"text": "a", "label": NaN}', "row 2", "nan"),
    "label infinite": ('{"text": "a", "label": 1e999}', "row 2", "inf"),
    "label a list": ('{"text": "a", "label": [1]}', "row 2", "label [1]"),
    "surrogate": ('{"text": "a\\ud800", "label": 1}', "row 2", "whole characters"),
    "deep": ('{"text": ' + "[" * 10**5 + "]" * 10**5 + "}", "row 2"),
    "huge number": ('{"text": "a", "label": ' + "9" * 10**5 + "}", "row 2"),
    "not UTF-8": (b'{"text": "\xff", "label": 1}', "line 2", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(tmp_path, case):
    line, *words = BAD_JSON[case]
    line = line if isinstance(line, bytes) else line.encode()
    first = b'{"text": "a", "label": 1}'
    refused(put(tmp_path, first + b"\n" + line + b"\n", "in.jsonl"), *words)
    if case not in ("two on a line", "not UTF-8"):
        refused(put(tmp_path, b"[" + first + b"," + line + b"]", "in.json"), *words[1:])
    refused(put(tmp_path, b'{\n "text": "a",\n "label": 0\n}\n', "in.json"), "row 1", "no JSON")


def test_tweeteval_s_pair(tmp_path):
    path = put(tmp_path, 'a, "b\r\n{c\u2028d\x85\ne', "train_text.txt")
    put(tmp_path, "0\n1\n0", "train_labels.txt")
    put(tmp_path, "0\tsad\n1\tvery glad", "mapping.txt")
    found = read_labelled(str(path), "text", "label")
    assert found == (['a, "b', "{c\u2028d\x85", "e"], ["0", "1", "0"], {"0": "sad", "1": "very glad"}, str(path))
    assert read(path, labelled=False) == [('a, "b', None), ("{c\u2028d\x85", None), ("e", None)]


def test_bad_pairs(tmp_path):
    rows = [("a", "0"), ("b", "1")]
    path = write_pair(tmp_path, "train", rows, "0 sad\n")
    with pytest.raises(InputError, match="mapping.txt, row 1"):
        read_labelled(str(path), "text", "label")
    put(tmp_path, "0\n1\n2\n", "train_labels.txt")
    refused(path, "row 3", "train_labels.txt", "number of lines")
    refused(write_pair(tmp_path, "train", [*rows, (" ", "1")]), "row 3", "no text")
    refused(write_pair(tmp_path, "train", [*rows, ("c", " ")]), "row 3", "label")
    (tmp_path / "train_labels.txt").unlink()
    with pytest.raises(InputError, match="train_labels.txt"):
        read(path)


def parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet
    parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    path, texts = tmp_path / "in.parquet", [f"text {number}" for number in range(10)]
    for labels, expected in ((range(10), "0 1 2 3 4 5 6 7 8 9"), ([0.0] * 9 + [-1.0], "0 0 0 0 0 0 0 0 0 -1"),
                             ([True] * 10, "True " * 10), (list("abcdefghij"), "a b c d e f g h i j"),
                             (pyarrow.array(list("aabbaabbab")).dictionary_encode(), "a a b b a a b b a b")):
        parquet(path, id=range(10), text=texts, label=labels)
        assert read(path) == read(path, size=2) == list(zip(texts, expected.split()))
    for kind in (pyarrow.large_string(), pyarrow.string_view(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        parquet(path, text=pyarrow.array(texts).cast(kind), label=range(10))
        assert [text for text, _ in read(path)] == texts


def test_bad_parquet(tmp_path):
    path = tmp_path / "in.parquet"
    refused(parquet(path, text=["a", None, "b"], label=[1, 2, 3]), "row 2", "no text")
    refused(parquet(path, text=["a", "b", "c"], label=[1, 2, None]), "row 3", "label")
    refused(parquet(path, text=["a", "b"], label=[1, float("nan")]), "row 2", "label")
    refused(parquet(path, text=[1, 2], label=[1, 2]), "row 1", "string")
    refused(parquet(path, text=["a"], label=[[1]]), "row 1", "label")
    refused(parquet(path, Text=["a"], label=[1]), "no column 'text'", "['Text', 'label']")
    refused(parquet(path, text=[], label=[]), "no rows")
    parquet(path, text=[f"a {number}" * 99 for number in range(999)], label=range(999))
    whole = path.read_bytes()
    refused(put(tmp_path, whole[:-9], "in.parquet"), "damaged")
    for at in range(10, 2000, 97):
        damaged = put(tmp_path, whole[:at] + bytes([255 - byte for byte in whole[at:at + 40]]) + whole[at + 40:], "in.parquet")
        try:
            read(damaged)
        except InputError as error:
            assert "in.parquet" in str(error) and len(str(error)) <= 300


def test_a_file_of_any_size_is_read_in_flat_memory(tmp_path):
    row = "some words of a text that goes on and on,0,a note\n"
    path, peaks = tmp_path / "in.csv", []
    for rows in (20_000, 100_000):
        path.write_text("text,label,note\n" + row * rows)
        tracemalloc.start()
        assert sum(len(texts) for _, texts, _ in chunks(open_table(str(path), "text", "label"))) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < path.stat().st_size * 4


# Whatever a writer writes


character = strategies.one_of(strategies.sampled_from([*',;|\t\n\r \'"01', "\r\n", ",0\n", '""']),
                              strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"))
text = strategies.lists(character, max_size=12).map("".join).filter(str.strip)
label = strategies.sampled_from(["0", "1", "joy", "a, b", 'x "y"', "p\nq"])


@settings(max_examples=600, deadline=None)
@given(rows=strategies.lists(strategies.tuples(text, label, text), min_size=1, max_size=6),
       order=strategies.permutations([0, 1, 2]), width=strategies.integers(2, 3),
       delimiter=strategies.sampled_from(",\t;|"), end=strategies.sampled_from(["\n", "\r\n"]),
       encoding=strategies.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
       quoting=strategies.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_what_a_writer_writes_comes_back_or_is_refused(folder, rows, order, width, delimiter, end, encoding, quoting):
    table = [[row[place] for place in order if place < width] for row in [("text", "label", "note"), *rows]]
    assume(not any(row[-1].endswith("\r") for row in table))  # csv.writer leaves it bare, and a reader takes it for a line's end
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)
    path = put(folder, buffer.getvalue().encode(encoding))
    for labelled in (True, False):
        try:
            found = read(path, labelled)
        except InputError as error:
            assert len(str(error)) <= 300
            continue
        assert found == [(row[0], row[1] if labelled else None) for row in rows]


def test_proper_files_of_several_lines_are_rarely_refused(folder):
    """Files of a hundred rows, most of them of two to four lines that real prose might have."""
    choice = random.Random(0)
    words = "i feel so glad, sad; really? yes, \"no\" and then they left. Dear Sir, thanks: 5 of 1,000 http #tag @user".split()
    bad, total = 0, 40
    for _ in range(total):
        rows = [("text", "label")]
        for _ in range(100):
            lines = [" ".join(choice.choices(words, k=choice.randint(1, 12))) for _ in range(choice.choice([1, 1, 2, 3, 4]))]
            rows.append(("\n".join(lines), choice.choice(["joy", "anger", "sadness"])))
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows(rows)
        path = put(folder, buffer.getvalue())
        for labelled in (True, False):
            try:
                assert [text for text, _ in read(path, labelled)] == [text for text, _ in rows[1:]]
            except InputError:
                bad += 1
    assert bad == 0


# Labels and classes


CONSTANTS = SimpleNamespace(MAX_CLASSES=100, LABEL_NAMES="")


def test_classes_are_sorted_as_numbers_where_all_are_numbers():
    for labels in ("-1 9 10", "-1 0 +1", "2.5 5 10.5", "1 02 3"):
        assert classes_of(labels.split()[::-1] * 2, CONSTANTS) == labels.split()
    assert classes_of(["10", "9", "x"], CONSTANTS) == ["10", "9", "x"]
    assert len(classes_of(map(str, range(100)), CONSTANTS)) == 100
    with pytest.raises(InputError, match="LABEL_COLUMN"):
        classes_of(["1", "1"], CONSTANTS)
    with pytest.raises(InputError, match="LABEL_COLUMN") as caught:
        classes_of([f"text {number} " * 1000 for number in range(101)], CONSTANTS)
    assert len(str(caught.value)) <= 300


@given(strategies.integers(), strategies.sampled_from(["", ".0", ".00"]), strategies.sampled_from(["", " ", "\t"]))
def test_a_whole_number_is_one_label_however_it_is_written(number, zeros, blank):
    assert as_label(f"{blank}{number}{zeros}{blank}") == as_label(number) == str(number)
    assert as_label(float(number % 10**15)) == str(number % 10**15)


@pytest.mark.parametrize("label", ["NaN", "None", "null", "N/A", "#N/A", "NA", "n/a"])
def test_what_programs_write_for_no_label_is_refused(tmp_path, label):
    refused(put(tmp_path, f"text,label\na,joy\nb,{label}\n"), "row", repr(label), "write a word or number")


def test_an_accent_typed_apart_makes_no_other_class(tmp_path):
    assert as_label("cafe\u0301") == as_label("caf\u00e9") == "caf\u00e9"
    assert [label for _, label in read(put(tmp_path, "text,label\na,cafe\u0301\nb,caf\u00e9\n"))] == ["caf\u00e9"] * 2


def test_labels_that_differ_in_capitals_are_named_in_a_note(capsys):
    few = SimpleNamespace(MAX_CLASSES=100, LABEL_NAMES="")
    assert classes_of(["joy", "Joy", "sad"], few) == ["Joy", "joy", "sad"]
    assert capsys.readouterr().out == "note: the labels Joy, joy differ in capitals alone; they stay classes of their own\n"
    classes_of(["true", "TRUE", "joy", "Joy"], few)
    assert "Joy, TRUE, joy, true" in capsys.readouterr().out
    classes_of(["1", "2", "x"], few)
    assert not capsys.readouterr().out


def test_a_name_that_is_too_long_says_so():
    with pytest.raises(InputError, match="longer than 200 characters"):
        name_classes(["a" * 201, "b"], None, "in.csv", SimpleNamespace(LABEL_NAMES=""))


def test_names_of_classes():
    assert name_classes(["0", "1"], None, "f", CONSTANTS) == {"0": "0", "1": "1"}
    assert name_classes(["0", "1"], {"0": "no", "1": "yes", "2": "more"}, "f", CONSTANTS) == {"0": "no", "1": "yes"}
    given = SimpleNamespace(MAX_CLASSES=100, LABEL_NAMES="bad, good")
    assert name_classes(["0", "1"], {"0": "no", "1": "yes"}, "f", given) == {"0": "bad", "1": "good"}
    for values, names in ((["0", "1", "2"], None), (["a\x1b", "b"], None), (["0", "1"], {"0": "x", "1": "x"})):
        with pytest.raises(InputError):
            name_classes(values, names, "f", given if len(values) == 3 else CONSTANTS)


def test_labels_are_numbered_by_name_where_both_have_names():
    classes = {"0": "sad", "1": "glad"}
    assert number_labels(["1", "0"], None, classes, "f").tolist() == [1, 0]
    assert number_labels(["glad", "sad"], None, classes, "f").tolist() == [1, 0]
    assert number_labels(["0", "1"], {"0": "glad", "1": "sad"}, classes, "f").tolist() == [1, 0]
    with pytest.raises(InputError, match="'2'"):
        number_labels(["0", "2"], None, classes, "f")
    with pytest.raises(InputError, match="'angry'"):
        number_labels(["0", "1"], {"0": "angry", "1": "sad"}, classes, "f")


@given(strategies.lists(strategies.tuples(strategies.sampled_from("abcdefg"), strategies.sampled_from("01")), max_size=20))
def test_rows_that_mislead_are_left_out(rows):
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    keep, left_out = rows_to_keep(texts, labels, {"a", "b"})
    several = {text for text in texts if len({label for other, label in rows if other == text}) > 1}
    expected = [row for row, text in enumerate(texts) if text not in {"a", "b", *several} and text not in texts[:row]]
    assert keep == expected and sum(left_out.values()) == len(rows) - len(expected)
    assert left_out["in_validation"] == sum(text in "ab" for text in texts)
    assert left_out["contradictory"] == sum(text in several - {"a", "b"} for text in texts)
