"""Project2, inference over files: each form comes back with its content and three columns more; a run goes on."""
import contextlib
import csv
import gzip
import io
import json
from types import SimpleNamespace

import pytest

from project2 import ADDED, SETTINGS

import numpy as np
from hypothesis import given, settings, strategies

from classifier import inference
from classifier.inference import classify_file, open_source
from classifier.settings import InputError

from conftest import tree

NAMES = ["sad", 'joy, or "glad"', "p\tq"]  # of the labels 0 to 2


def length_of(model, tokenizer, texts, manifest):
    """A stand-in for the model, which tells a text's length: so each row must have its own text's."""
    return np.array([len(text) % 3 for text in texts]), np.full(len(texts), 0.5, np.float32)


def classify(folder, path, predict=length_of, **constants):
    """Return the path of what inference makes of a file."""
    given = SETTINGS.model_copy(update={"OUTPUT_DIR": str(folder / "out"), "CHUNK_ROWS": 2, **constants})
    source = open_source(given, SimpleNamespace(test_csv=str(path), output_csv=None))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(inference, "predict", predict)
        classify_file(given, None, None, {"labels": ["0", "1", "2"], "names": NAMES}, source, str(folder / "none"))
    return folder / source.target


def added(texts, empty=""):
    """The three values of each text, as a CSV has them; `empty` of one that is none."""
    return [[str(len(text) % 3), NAMES[len(text) % 3], "0.5000"] if text else [empty] * 3 for text in texts]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


word = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
texts_of = strategies.text(strategies.sampled_from('a ,;|\t"é\n\r\N{GRINNING FACE}'), min_size=1, max_size=9).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(rows=strategies.lists(strategies.tuples(word, texts_of, word), min_size=1, max_size=7),
       end=strategies.sampled_from(["\n", "\r\n"]), bom=strategies.booleans(), delimiter=strategies.sampled_from(",;\t|"))
def test_any_csv_of_a_proper_writer_comes_back_or_is_refused(folder, rows, end, bom, delimiter):
    buffer, path = io.StringIO(newline=""), folder / "any.csv"
    table = [("one", "text", "three"), *rows]
    csv.writer(buffer, lineterminator=end, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    path.write_bytes((("\ufeff" if bom else "") + buffer.getvalue()).encode())
    try:
        target = classify(folder, path)
    except InputError:
        return
    with open(target, newline="", encoding="utf-8") as file:
        found = list(csv.reader(file, delimiter=delimiter, strict=True))
    assert found == [[*table[0], *ADDED], *([*row, *more] for row, more in zip(rows, added(row[1] for row in rows)))]
    assert set(tree(folder)) == {"any.csv", target.name}, "nothing of the run is left"


@pytest.mark.parametrize("name, content", [
    ("in.csv.gz", gzip.compress(b"text,id\nabc,1\n", mtime=0)), ("in.csv", "text,id\r\nabc,1\r\n".encode("utf-16")),
    ("in.csv", b'id,text\n1,"a\rb"\n'), ("in.txt", b"text\tid\nabc\t1\n")])
def test_what_is_packed_or_of_another_encoding_is_written_as_utf_8(folder, name, content):
    (folder / name).write_bytes(content)
    target = classify(folder, folder / name)
    assert target.name == ("in_predictions.tsv" if name == "in.txt" else "in_predictions.csv")
    separator = "\t" if name == "in.txt" else ","
    (row,) = csv.DictReader(io.StringIO(target.read_bytes().decode(), newline=""), delimiter=separator)
    assert (row["id"], row["text"]) in (("1", "abc"), ("1", "a\rb")) and row["confidence"] == "0.5000"


def test_json_keeps_missing_keys_missing_and_nested_values(folder):
    rows = [{"text": "abc", "n": 1.5, "x": {"y": [1, None]}}, {"text": "é\N{GRINNING FACE}", "z": None}, {"text": ""},
            {"text": "last", "n": 2**60, "half": "\ud800"}]
    made = [row | dict(zip(ADDED, (label and label, name and name, share and float(share))))
            for row, (label, name, share) in zip(rows, added((row["text"] for row in rows), None))]
    for name, content in (("in.jsonl", "".join(json.dumps(row) + "\n" for row in rows)), ("in.json", json.dumps(rows))):
        (folder / name).write_text(content)
        target = classify(folder, folder / name, SKIP_EMPTY=True)
        assert target.name == "in_predictions.jsonl"
        assert [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()] == made
        assert "é\N{GRINNING FACE}" in target.read_text(encoding="utf-8")
    (folder / "in.jsonl").write_text('{"text": "a"}\n{"text": 5}\n')
    with pytest.raises(InputError, match="row 2"):
        classify(folder, folder / "in.jsonl")


def test_plain_lines_become_a_csv(folder):
    texts = ['a, "b"', "c", "", "e\tf"]
    (folder / "x_text.txt").write_text("".join(f"{text}\n" for text in texts))
    target = classify(folder, folder / "x_text.txt", SKIP_EMPTY=True)
    with open(target, newline="") as file:
        assert list(csv.reader(file)) == [["text", *ADDED], *([text, *more] for text, more in zip(texts, added(texts)))]
    assert target.name == "x_text_predictions.csv"


def test_parquet_keeps_its_types(folder):
    import pyarrow
    from pyarrow import parquet
    texts = ["", *(f"text {number}" for number in range(7))]
    source = pyarrow.table({
        "id": pyarrow.array(range(8), pyarrow.int16()), "text": pyarrow.array(texts, pyarrow.large_string()),
        "more": [[number] for number in range(8)], "when": pyarrow.array([None, *range(7)], pyarrow.timestamp("ms", "UTC")),
        "kind": pyarrow.array(["a", "b"] * 4).dictionary_encode(), "deep": [{"x": None, "y": [number]} for number in range(8)],
    }).replace_schema_metadata({"mine": "kept", "huggingface": "columns"})
    parquet.write_table(source, folder / "in.parquet")
    made = parquet.read_table(classify(folder, folder / "in.parquet", SKIP_EMPTY=True))
    assert made.select(source.column_names).equals(source) and made.schema.metadata == {b"mine": b"kept"}
    expected = added(texts, None)
    assert [made.column(name).to_pylist() for name in ADDED[:2]] == [[row[place] for row in expected] for place in (0, 1)]
    assert made.column("confidence").to_pylist() == [None, *[0.5] * 7]


@pytest.mark.parametrize("name", ADDED)
def test_columns_that_are_taken(folder, name):
    (folder / "taken.csv").write_text(f"text,{name}\na,1\n")
    with pytest.raises(InputError, match=name):
        classify(folder, folder / "taken.csv")


def test_a_run_that_stopped_within_a_chunk_goes_on_after_its_last_whole_line(folder):
    """Whatever the size of the chunks then is; a text is predicted once."""
    texts, seen = ["a" * number for number in range(1, 10)], []
    (folder / "rows.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))

    def stopping(model, tokenizer, some, manifest):
        if len(seen) >= 4:
            raise KeyboardInterrupt
        return counting(model, tokenizer, some, manifest)

    def counting(model, tokenizer, some, manifest):
        seen.extend(some)
        return length_of(model, tokenizer, some, manifest)

    with pytest.raises(KeyboardInterrupt):
        classify(folder, folder / "rows.csv", stopping)
    (journal,) = (folder / "out").iterdir()
    journal.write_bytes(journal.read_bytes()[:-3])  # within the fourth line
    target = classify(folder, folder / "rows.csv", counting, CHUNK_ROWS=5)
    assert seen == texts[:4] + texts[3:]
    assert [line.split(",")[1] for line in target.read_text().splitlines()[1:]] == [row[0] for row in added(texts)]


def test_many_rows_come_out_once_and_in_their_order(folder):
    """50,000 rows of five columns."""
    with open(folder / "many.csv", "w") as file:
        file.write("id,text,a,b,c\n")
        file.writelines(f"{row},i feel so glad {row},x,y,z\n" for row in range(50_000))
    target = classify(folder, folder / "many.csv", CHUNK_ROWS=4096)
    with open(target) as file:
        assert [line.split(",", 1)[0] for line in file] == ["id", *map(str, range(50_000))]
