"""Files of rows: what is read, what is refused, and that predictions leave all else as it was."""
import contextlib
import csv
import io
import json
import random
import sys

import pytest
from hypothesis import given, settings, strategies

from conftest import PROJECT2, load_script

readers = load_script(PROJECT2)
ADDED, InputError, classes_of, extension_for = readers.ADDED, readers.InputError, readers.classes_of, readers.extension_for
open_table, read_labelled = readers.open_table, readers.read_labelled
records, write_predictions = readers.records, readers.write_predictions

BOTH, TEXT = ("text", "label"), ("text",)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def read(path, columns=BOTH, **options):
    return [(text, label) for _, _, text, label in records(open_table(str(path), *columns), **options)]


def put(folder, content, name="in.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, *words, columns=BOTH, **options):
    with pytest.raises(InputError) as caught:
        read(path, columns, **options)
    message = str(caught.value)
    assert len(message) <= 300 and message.isprintable() and path.name in message, message
    for word in words:
        assert word in message, message
    return message


GOOD = {
    "plain": (b"text,label\na,0\nb,1\n", [("a", "0"), ("b", "1")]),
    "order and more columns": (b"id,label,text\n7,x,a\n8,y,b", [("a", "x"), ("b", "y")]),
    "BOM": (b"\xef\xbb\xbftext,label\na,0\n", [("a", "0")]),
    "CRLF": (b"text,label\r\na,0\r\n\"b\r\nc\",1\r\n", [("a", "0"), ("b\r\nc", "1")]),
    "double CR": (b"text,label\r\r\na,0\r\r\n", [("a", "0")]),
    "tab": (b"text\tlabel\na, b; c\t0\n", [("a, b; c", "0")]),
    "semicolon": (b"text;label\na, b\t|;0\n", [("a, b\t|", "0")]),
    "bar": (b"text|label\na, b;|0\n", [("a, b;", "0")]),
    "pandas index": (b",text,label\n0,a,x\n1,b,y\n", [("a", "x"), ("b", "y")]),
    "blank lines": (b"\n\ntext,label\n\na,0\n\r\n\nb,1\n\n", [("a", "0"), ("b", "1")]),
    "labels": (b"text,label\na,1.0\nb, joy \nc,-2\nd,1.5\ne,01\nf,-0\n",
               [("a", "1"), ("b", "joy"), ("c", "-2"), ("d", "1.5"), ("e", "01"), ("f", "0")]),
    "separators of other systems": ("text,label\na\u2028b\u0085c\x0bd\x1ce,0\n".encode(), [("a\u2028b\u0085c\x0bd\x1ce", "0")]),
    "quoted": (b'text,label\n"a ""b"", c",0\n"d",1\n', [('a "b", c', "0"), ("d", "1")]),
    "all quoted": (b'"text","label"\n"a\n0","0"\n"b","1"\n', [("a\n0", "0"), ("b", "1")]),
    "two lines": (b'text,label\n"first\nsecond",0\nthird,1\n', [("first\nsecond", "0"), ("third", "1")]),
    "commas in two lines": (b'text,label\n"well, first\nsecond",0\n"so, third\n\nfourth",1\n',
                            [("well, first\nsecond", "0"), ("so, third\n\nfourth", "1")]),
    "a mark alone in plain texts": (b'text,label\nhe said "hi",0\n5" long,1\n"a, b",0\n',
                                    [('he said "hi"', "0"), ('5" long', "1"), ("a, b", "0")]),
    "other column over lines": (b'text,note,label\na,"1\n2",0\nb,3,1\n', [("a", "0"), ("b", "1")]),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_files(tmp_path, case):
    content, rows = GOOD[case]
    assert read(put(tmp_path, content)) == rows
    assert read(put(tmp_path, content), TEXT) == [(text, None) for text, _ in rows]


ONE_COLUMN = {
    "plain": (b"text\na\nb\n", ["a", "b"]),
    "all quoted": (b'"text"\n"a\nb"\n"c"\n', ["a\nb", "c"]),
    "a comma shows that it quotes": (b'text\n"a\nb"\n"c, d"\n', ["a\nb", "c, d"]),
    "a comma in the text itself": (b'text\n"a, x\nb"\nc\n', ["a, x\nb", "c"]),
    "a blank line in it": (b'text\n"a\n\nb"\nc\n', ["a\n\nb", "c"]),
}


@pytest.mark.parametrize("case", ONE_COLUMN)
def test_one_column(tmp_path, case):
    content, texts = ONE_COLUMN[case]
    assert read(put(tmp_path, content), TEXT) == [(text, None) for text in texts]


def test_one_column_of_a_tsv(tmp_path):
    assert read(put(tmp_path, b"text\na, b\n", "in.tsv"), TEXT) == [("a, b", None)]


BAD = {
    "merged by lone marks": (b'text,label\n"i feel sad,0\ni feel glad,1\nhe left",3\nbye,4\n', "row 2", "csv.QUOTE_ALL"),
    "merged by a mark and a quoted word": (b'text,label\n"i feel sad,0\ni feel glad,1\nthen "he" left,3\nbye,4\n',
                                           "row 2", "double"),
    "merged, with no row beside": (b'text,label\n"a,0\nb",1\n', "row 2"),
    "merged, and marks elsewhere": (b'text,label\nx,y\n"a,0, 1\nb",1\nhe said "hi",2\n', "row 3", "row 4"),
    "mark not doubled": (b'text,label\n"he said "hi" to me",0\n', "row 2", "double"),
    "blank after the closing mark": (b'text,label\n"a" ,0\n', "row 2", "closing"),
    "blank before the opening mark": (b'text,label\n"a", "0"\n', "row 2", "blank"),
    "marks around and in": (b'text,label\n"hello",0\nhe said "hi",1\n', "row 3", "row 2"),
    "open mark": (b'text,label\na,0\n"b,1\nc,1\n', "row 3", "not closed"),
    "row of blanks": (b"text,label\n  \na,0\n", "row 2", "1 column "),
    "more columns": (b"text,label\na,0\n\nb,c,1\n", "row 3 (line 4)", "3 columns", "2", "a comma"),
    "carriage returns alone": (b"text,label\ra,0\r", "carriage returns"),
    "a carriage return": (b"text,label\na\rb,0\n", "row 2", "carriage return"),
    "no text": (b"text,label\na,0\n,1\n", "row 3", "no text"),
    "blank text": (b"text,label\n  ,1\n", "row 2", "no text"),
    "no label": (b"text,label\na,  \n", "row 2", "no label"),
    "label NaN": (b"text,label\na,NaN\n", "row 2", "no label"),
    "not UTF-8": (b"text,label\na,0\n\"b\nc\",0\ncaf\xe9,1\n", "row 4 (line 5)", "UTF-8"),
    "not UTF-8 in the header": (b"text,label,caf\xe9\na,0,1\n", "row 1", "UTF-8"),
    "UTF-16": ("text,label\na,0\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": ("text,label\na,0\n".encode("utf-16-le"), "UTF-16"),
    "NUL": (b"text,label\na\0b,0\n", "line 2", "NUL"),
    "NUL far on": (b"text,label\n" + b"a,0\n" * 20000 + b"a\0,0\n", "row 20002", "NUL"),
    "gzip": (b"\x1f\x8b\x08\0\0", "gzip", "unpack"),
    "zip": (b"PK\x03\x04\0\0", "zip", "unpack"),
    "empty": (b"", "empty"),
    "blank": (b"\xef\xbb\xbf \n\n", "empty"),
    "a header alone": (b"text,label\n", "no rows"),
    "blank in the name": (b"text, label\na,0\n", "' label'", "LABEL_COLUMN", "--label_column"),
    "capitals": (b"Text,LABEL\na,0\n", "set TEXT_COLUMN to 'Text'", "set LABEL_COLUMN to 'LABEL'", "--text_column"),
    "one other name": (b"tweet,label\na,0\n", "set TEXT_COLUMN to 'tweet'"),
    "other names": (b"a,b,c\n1,2,3\n", "'text', 'label'", "'a', 'b', 'c'"),
    "semicolons, other name": (b"tweet;label\na;0\n", "set TEXT_COLUMN to 'tweet'"),
    "a name twice": (b"text,text,label\na,b,0\n", "two columns", "'text'"),
    "no header": (b"i am sad,0\nbad,1\n", "no header", "'text,label'"),
    "no header, label first": (b"0\ti am, well, sad\n1\tbad\n", "no header", r"'label\ttext'"),
    "no header, words": (b"i do feel very sad;sadness\nx;joy\n", "no header", "'text;label'"),
    "two separators": (b"text,label,x;text;label\na,0,x;b;0\n", "a comma and with a semicolon"),
    "JSON array": (b'[{"text": "a", "label": 0}]', "JSON array", "lines=True"),
    "JSON over lines": (b'{\n "text": "a",\n "label": 0\n}\n', "row 1", "JSON"),
    "huge JSON": (b'{"data": ["' + b"x" * 10**6 + b'"]}', "no column", "'data'"),
    "many names": (",".join(f"\x1bname{number}" for number in range(5000)).encode() + b"\n1\n", "5,000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    content, *words = BAD[case]
    refused(put(tmp_path, content), *words)


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "none.csv", "none.csv", "No such file")
    put(tmp_path, "x", "train_text.txt")
    refused(tmp_path, "folder", "train_text.txt")
    closed = put(tmp_path, "text,label\na,0\n", "closed.csv")
    closed.chmod(0)
    with contextlib.suppress(AssertionError, pytest.fail.Exception):  # root reads it
        refused(closed, "Permission")
    with pytest.raises(InputError):
        open_table("a\0b", "text")


def test_one_column_merged(tmp_path):
    refused(put(tmp_path, b'text\n"a\nb"\nc\n'), "row 2", columns=TEXT)
    refused(put(tmp_path, b'text\na, b\n'), "row 2", "2 columns", columns=TEXT)


def test_rows_without_text_can_be_passed_over(tmp_path):
    assert read(put(tmp_path, b"text,id\na,1\n ,2\n"), TEXT, skip_empty=True) == [("a", None), ("", None)]
    assert read(put(tmp_path, b'{"text": null}\n{"text": "a"}\n'), TEXT, skip_empty=True) == [("", None), ("a", None)]


# JSON Lines


def test_json_lines(tmp_path):
    lines = ['\ufeff{"text": "a\u2028 \\ud83d\\ude00", "label": 3}', "", '{"label": 2.0, "text": "b", "more": {"x": [1]}}',
             '{"text": "c", "label": "joy"}', '{"text": "d", "label": true}', '{"text": "e", "label": "1.0"}']
    for end in ("\n", "\r\n"):
        path = put(tmp_path, end.join(lines), "in.jsonl")
        assert read(path) == [("a\u2028 \U0001f600", "3"), ("b", "2"), ("c", "joy"), ("d", "True"), ("e", "1")]
        assert [row for row, *_ in records(open_table(path, *BOTH))] == [1, 3, 4, 5, 6]


BAD_LINES = {
    "no object": ("[1]", "row 2", "no JSON object"),
    "no JSON": ('{"text": "a", "label"', "row 2", "no JSON"),
    "two on a line": ('{"text": "a", "label": 1} {}', "row 2", "Extra data"),
    "key twice": ('{"text": "a", "text": "b", "label": 1}', "row 2", "'text'", "twice"),
    "no key": ('{"text": "a"}', "row 2", "'label'"),
    "number as text": ('{"text": 5, "label": 1}', "row 2", "string"),
    "null": ('{"text": null, "label": 1}', "row 2", "no text"),
    "label null": ('{"text": "a", "label": null}', "row 2", "no label"),
    "label NaN": ('{"text": "a", "label": NaN}', "row 2", "NaN"),
    "label infinite": ('{"text": "a", "label": 1e999}', "row 2", "no label"),
    "label a list": ('{"text": "a", "label": [1]}', "row 2", "label [1]"),
    "surrogate": ('{"text": "a\\ud800", "label": 1}', "row 2", "surrogate"),
    "deep": ('{"text": ' + "[" * 10**5 + "]" * 10**5 + "}", "row 2"),
    "huge number": ('{"text": "a", "label": ' + "9" * 10**5 + "}", "row 2"),
    "not UTF-8": (b'{"text": "\xff", "label": 1}', "row 2", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_json_lines(tmp_path, case):
    line, *words = BAD_LINES[case]
    line = line if isinstance(line, bytes) else line.encode()
    refused(put(tmp_path, b'{"text": "a", "label": 1}\n' + line + b"\n", "in.jsonl"), *words)


# Plain lines


def pair(folder, texts, labels=None, mapping=None):
    for name, content in (("train_text.txt", texts), ("train_labels.txt", labels), ("mapping.txt", mapping)):
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            put(folder, content, name)
    return folder / "train_text.txt"


def test_pair_of_files(tmp_path):
    path = pair(tmp_path, 'a, "b\r\n{c\u2028d\x85\ne', "0\n1\n0", "0\tsad\n1\tvery glad")
    assert read_labelled(path) == (['a, "b', "{c\u2028d\x85", "e"], ["0", "1", "0"], {"0": "sad", "1": "very glad"})
    assert read(pair(tmp_path, "a\nb\n"), TEXT) == [("a", None), ("b", None)]


def test_bad_pairs(tmp_path):
    refused(pair(tmp_path, "a\nb\n", "0\n1\n2\n"), "2 lines", "3")
    refused(pair(tmp_path, "a\nb\n"), "train_labels.txt")
    refused(pair(tmp_path, "a\n\nb\n", "0\n1\n2\n"), "row 2", "no text")
    refused(pair(tmp_path, "a\nb\n", "0\n \n"), "row 2", "no label")
    refused(pair(tmp_path, "text,label\nb,1\n", "0\n1\n"), "CSV")
    pair(tmp_path, "a\n", "0\n")
    refused(tmp_path / "train_labels.txt", "train_text.txt")
    path = pair(tmp_path, "a\nb\n", "0\n1\n", "0 sad\n")
    with pytest.raises(InputError, match="mapping.txt, row 1"):
        read_labelled(path)


# Parquet


def parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet
    parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


def test_parquet(tmp_path):
    import pyarrow
    path = tmp_path / "in.parquet"
    texts = [f"text {number}" for number in range(10)]
    for labels, expected in ((range(10), "0 1 2 3 4 5 6 7 8 9"), ([0.0] * 9 + [-1.0], "0 0 0 0 0 0 0 0 0 -1"),
                             ([True] * 10, "True " * 10), (list("abcdefghij"), "a b c d e f g h i j"),
                             (pyarrow.array(list("aabbaabbab")).dictionary_encode(), "a a b b a a b b a b")):
        parquet(path, id=range(10), text=texts, label=labels)
        assert read(path) == list(zip(texts, expected.split()))
    for kind in (pyarrow.large_string(), pyarrow.string_view(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        parquet(path, text=pyarrow.array(texts).cast(kind), label=range(10))
        assert [text for text, _ in read(path)] == texts


def test_bad_parquet(tmp_path, monkeypatch):
    path = tmp_path / "in.parquet"
    refused(parquet(path, text=["a", None, "b"], label=[1, 2, 3]), "row 2", "no text")
    refused(parquet(path, text=["a", "b", "c"], label=[1, 2, None]), "row 3", "no label")
    refused(parquet(path, text=["a", "b"], label=[1, float("nan")]), "row 2", "no label")
    refused(parquet(path, text=[1, 2], label=[1, 2]), "row 1", "no string")
    refused(parquet(path, text=["a"], label=[[1]]), "row 1", "label [1]")
    refused(parquet(path, Text=["a"], label=[1]), "set TEXT_COLUMN to 'Text'")
    refused(parquet(path, text=[], label=[]), "no rows")
    parquet(path, text=[f"a {number}" * 99 for number in range(999)], label=range(999))
    whole = path.read_bytes()
    refused(put(tmp_path, whole[:-9], "in.parquet"), "damaged")
    refused(put(tmp_path, b"text,label\n", "in.parquet"), "no Parquet")
    for at in range(10, 2000, 97):
        damaged = put(tmp_path, whole[:at] + bytes([255 - byte for byte in whole[at:at + 40]]) + whole[at + 40:], "in.parquet")
        try:
            read(damaged)
        except InputError as error:
            assert "in.parquet" in str(error) and len(str(error)) <= 300
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(path, "pip install pyarrow")


# Labels


def test_classes(tmp_path):
    assert classes_of(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert classes_of(["10", "9", "x"]) == ["10", "9", "x"]
    with pytest.raises(InputError, match="two or more"):
        classes_of(["1", "1"])
    with pytest.raises(InputError, match="LABEL_COLUMN") as caught:
        classes_of([f"text {number} " * 1000 for number in range(101)])
    assert len(str(caught.value)) <= 300
    assert len(classes_of(map(str, range(100)))) == 100


# Round trips


character = strategies.one_of(strategies.sampled_from(list('",;|\t\n\r \'') + ["\r\n", "\n", '"', "0", "1", ",0\n", '""']),
                              strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"))
text = strategies.lists(character, max_size=12).map("".join).filter(str.strip)
label = strategies.sampled_from(["0", "1", "joy", "a, b", 'x "y"', "p\nq"])
dialect = dict(delimiter=strategies.sampled_from(",\t;|"), end=strategies.sampled_from(["\n", "\r\n"]),
               bom=strategies.booleans(),
               quoting=strategies.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))


def written(rows, delimiter, end, bom, quoting):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return ("\ufeff" * bom + buffer.getvalue()).encode()


@settings(max_examples=1500, deadline=None)
@given(rows=strategies.lists(strategies.tuples(text, label, text), min_size=1, max_size=6),
       order=strategies.permutations([0, 1, 2]), width=strategies.integers(2, 3), **dialect)
def test_what_a_writer_writes_comes_back_or_is_refused(folder, rows, order, width, delimiter, end, bom, quoting):
    table = [[row[place] for place in order if place < width] for row in [("text", "label", "note"), *rows]]
    path = put(folder, written(table, delimiter, end, bom, quoting))
    for columns in (BOTH, TEXT):
        try:
            found = read(path, columns)
        except InputError as error:
            assert len(str(error)) <= 300
            continue
        assert found == [row[:2] if columns == BOTH else (row[0], None) for row in rows]


@settings(max_examples=600, deadline=None)
@given(texts=strategies.lists(text, min_size=1, max_size=6), **dialect)
def test_one_column_comes_back_or_is_refused(folder, texts, delimiter, end, bom, quoting):
    path = put(folder, written([["text"], *([text] for text in texts)], delimiter, end, bom, quoting))
    try:
        assert read(path, TEXT) == [(text, None) for text in texts]
    except InputError as error:
        assert len(str(error)) <= 300


naive = strategies.sampled_from(['"', '"', '""', "a", "b c", " ", "é"])
naive = strategies.lists(naive, min_size=1, max_size=6).map("".join).filter(str.strip)


def taken_for(text):
    """A text that is a quoted field as it is cannot be told from one that a writer quoted."""
    with contextlib.suppress(csv.Error):
        fields = next(csv.reader([text], strict=True))
        if len(fields) == 1 and text.startswith('"') and text.endswith('"'):
            return fields[0]
    return text


@settings(max_examples=3000, deadline=None)
@given(rows=strategies.lists(strategies.tuples(naive, strategies.sampled_from(["0", "1", "22", "joy"])), min_size=1,
                             max_size=6),
       end=strategies.sampled_from(["\n", "\r\n"]), label_first=strategies.booleans())
def test_naive_rows_are_read_exactly_or_refused(folder, rows, end, label_first):
    lines = [f"{label},{text}" if label_first else f"{text},{label}" for text, label in [("text", "label"), *rows]]
    path = put(folder, end.join([*lines, ""]))
    for columns in (BOTH, TEXT):
        with contextlib.suppress(InputError):
            found = read(path, columns)
            assert [text for text, _ in found] == [taken_for(text) for text, _ in rows]
            assert columns == TEXT or [label for _, label in found] == [label for _, label in rows]


@settings(max_examples=1500, deadline=None)
@given(texts=strategies.lists(naive, min_size=1, max_size=6))
def test_naive_texts_are_read_exactly_or_refused(folder, texts):
    path = put(folder, "\n".join(["text", *texts, ""]))
    with contextlib.suppress(InputError):
        assert [text for text, _ in read(path, TEXT)] == [taken_for(text) for text in texts]


# Predictions


def predict(path, target, names=("sad", "joy, or \"glad\"", "p\nq"), skip_empty=False):
    table = open_table(path, "text", free=ADDED)

    def rows():
        for _, raw, text, _ in records(table, skip_empty):
            yield raw, (names[len(text) % 3], f"name {len(text)}", "0.5000") if text else ("", "", "")

    with open(target, "wb") as file:
        write_predictions(table, rows(), file)
    return table


def answers(texts, names=("sad", "joy, or \"glad\"", "p\nq")):
    return [[names[len(text) % 3], f"name {len(text)}", "0.5000"] for text in texts]


@settings(max_examples=500, deadline=None)
@given(rows=strategies.lists(strategies.tuples(text, text.filter(lambda note: note[-1] != "\r")), min_size=1, max_size=5),
       last=strategies.booleans(), **dialect)
def test_predictions_leave_a_csv_as_it_was(folder, rows, last, delimiter, end, bom, quoting):
    content = written([("text", "note"), *rows], delimiter, end, bom, quoting)
    path, target = put(folder, content if last else content.removesuffix(end.encode())), folder / "out.csv"
    try:
        predict(path, target)
    except InputError:
        return
    found = list(csv.reader(io.StringIO(target.read_bytes().decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))
    assert found[0] == ["text", "note", *ADDED]
    assert found[1:] == [[*row, *answer] for row, answer in zip(rows, answers(row[0] for row in rows))]
    rest = target.read_bytes()
    for row in [ADDED, *answers(row[0] for row in rows)]:
        added = (delimiter + delimiter.join(readers.quoted(value, delimiter) for value in row)).encode()
        before, rest = rest.split(added + end.encode(), 1)
        assert content.startswith(before + end.encode())
        content = content[len(before + end.encode()):]
    assert not rest and not content


def test_predictions_of_json_lines(tmp_path):
    lines = [b'\xef\xbb\xbf{"text": "abc", "n": 1.10, "x":{}} ', b"", b'{ "text" : "\\u0061" }', b'{"text": ""}']
    path, target = put(tmp_path, b"\r\n".join(lines), "in.jsonl"), tmp_path / "out.jsonl"
    assert extension_for(predict(path, target, skip_empty=True)) == ".jsonl"
    made = target.read_bytes().split(b"\r\n")
    assert made[0] == lines[0][:-2] + b', "predicted_label": "sad", "predicted_emotion": "name 3", "confidence": 0.5000} '
    assert [json.loads(line) for line in made[1:-1]] == [
        {"text": "a", **dict(zip(ADDED, ['joy, or "glad"', "name 1", 0.5]))}, {"text": "", **dict.fromkeys(ADDED)}]
    assert made[1].startswith(lines[2][:-1]) and made[-1] == b""
    with pytest.raises(InputError, match="row 2"):
        predict(put(tmp_path, b'{"text": "a"}\n{"text": "a", "confidence": 1}', "in.jsonl"), target)


def test_predictions_of_plain_lines(tmp_path):
    texts = ['a, "b"', "c\rd", "\ufeffe", "", "f"]
    path, target = put(tmp_path, "\ufeff" + "\n".join(texts) + "\r\n", "x_text.txt"), tmp_path / "out.csv"
    assert extension_for(predict(path, target, skip_empty=True)) == ".csv"
    content = target.read_bytes().decode()
    assert content.startswith("\ufefftext,predicted_label,")
    expected = [[text, *(answers([text])[0] if text else [""] * 3)] for text in texts]
    assert list(csv.reader(io.StringIO(content[1:], newline="")))[1:] == expected
    assert [text for text, _ in read(target, TEXT, skip_empty=True)] == texts


def test_predictions_of_parquet(tmp_path):
    from pyarrow import parquet as reader
    path, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    texts = ["" if number == 5 else f"text {number}" for number in range(10000)]
    parquet(path, id=range(10000), text=texts, more=[[number] for number in range(10000)])
    predict(path, target, skip_empty=True)
    made, source = reader.read_table(target), reader.read_table(path)
    assert made.select(source.column_names).equals(source)
    expected = [answers([text])[0] if text else [None] * 3 for text in texts]
    assert [made.column(name).to_pylist() for name in ADDED[:2]] == [[row[place] for row in expected] for place in (0, 1)]
    assert made.column("confidence").to_pylist() == [row[2] and 0.5 for row in expected]


@pytest.mark.parametrize("name", ADDED)
def test_columns_that_are_taken(tmp_path, name):
    with pytest.raises(InputError, match=name):
        predict(put(tmp_path, f"text,{name}\na,1\n"), tmp_path / "out")


def test_fields_longer_than_the_modules_limit(tmp_path):
    assert read(put(tmp_path, b'text,label\n"' + b"a," * 10**6 + b'",0\n'))[0][0] == "a," * 10**6
    refused(put(tmp_path, b'text,label\na,0\n"' + b"a\n" * 10**7), "row 3", "16 MB")
    refused(put(tmp_path, b'text,label\na,0\n' + b"a" * (1 << 24)), "row 3", "16 MB")


def test_proper_files_of_several_lines_are_rarely_refused(folder):
    """Files of a hundred rows, half of them of two to four lines that real prose might have."""
    choice = random.Random(0)
    words = "i feel so glad, sad; really? yes, \"no\" and then they left. Dear Sir, thanks: 5 of 1,000 http #tag @user".split()
    bad, total = 0, 400
    for _ in range(total):
        rows = [("text", "label")]
        for _ in range(100):
            lines = [" ".join(choice.choices(words, k=choice.randint(1, 12))) for _ in range(choice.choice([1, 1, 2, 3, 4]))]
            rows.append(("\n".join(lines), choice.choice(["joy", "anger", "sadness"])))
        path = put(folder, written(rows, ",", "\n", False, csv.QUOTE_MINIMAL))
        for columns in (BOTH, TEXT):
            try:
                assert [text for text, _ in read(path, columns)] == [text for text, _ in rows[1:]]
            except InputError:
                bad += 1
    assert bad <= total * 2 / 100
