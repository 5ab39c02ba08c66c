"""Project2, --mode inference: texts and files of any size; what stood in a file stays; a killed run; where it writes."""
import csv
import io
import json
import os
import re
import stat
import threading
from types import SimpleNamespace

import pytest

from project2 import ADDED, EXACT, SCRIPT, TEXTS, Forks, assert_good, run_main

import pandas as pd

from conftest import EMOTIONS, assert_one_line, csv_bytes, read_csv, run_script, tree, watched

from classifier import inference
from classifier.text import encode

pytest_plugins = ["project2"]


@pytest.fixture
def predictor(families, tmp_path):
    """predictor(content, *more) classifies a file; returns the result, with the bytes written, or None."""
    weights = ["--mode", "inference", "--weights", families["MiniLM"].best]

    def run(content, *more, name="in.csv", change=None):
        path = tmp_path / name
        path.write_bytes(content)
        result = run_main(tmp_path, *weights, "--test_csv", path, *more, change=change)
        target = tmp_path / f"{path.stem}_predictions{path.suffix}"
        assert path.read_bytes() == content
        return SimpleNamespace(**vars(result), target=target, data=target.read_bytes() if target.exists() else None)

    return run


# Texts of the command line


def test_command_line_speaks_to_a_shell(families):
    result = run_script(SCRIPT, "--weights", families["MiniLM"].best, "--text", TEXTS[0], "--text", "two\nlines")
    assert result.returncode == 0 and not result.stderr, result.stderr
    first, second = result.stdout.decode().splitlines()
    assert re.fullmatch(rf"\d\t({'|'.join(EMOTIONS)})\t[01]\.\d{{4}}\t{TEXTS[0]}", first) and second.endswith("\ttwo lines")


def test_a_saved_model_keeps_its_length(call, families, loaded):
    text = " ".join(["i feel so good"] * 60)
    arguments = ["--weights", families["MiniLM"].best, "--text", text]
    assert call(*arguments).out == call(*arguments, "--max_length", 8).out != ""
    _, tokenizer, found = loaded["MiniLM"]
    assert len(encode(tokenizer, [text], found)[0]) == found["max_length"] == 128


# What stood in the file stays


ODD = {
    "plain": b"text\ni am happy\ni am sad\n",
    "quotes": b'id,text,note\n1,"he said ""hi"", then left",x\n2,"a, b","say ""no"""\n3,"quoted",\n',
    "newlines": b'text,b\n"two\nlines","3\n\n4"\n"carriage\r\nreturn",5\nsingle,6\n',
    "CRLF": b'id,text\r\n1,good\r\n2,"a\r\nb"\r\n3,bad\r\n',
    "BOM": b"\xef\xbb\xbftext,id\ngood,1\nbad,2\n",
    "BOM and quotes": b'\xef\xbb\xbf"text","id"\n"good, so",1\n',
    "no last newline": b"text,id\ngood,1\nbad,2",
    "unicode": "text,id\ncaf\u00e9 \U0001f600,1\nline\u2028end\u0085x,2\n".encode(),
    "needless quotes": b'"text","id"\n"good","1"\nbad,"2"\n',
    "spaces": b"text , text,text\n a, b ,  c  \n",
    "old mixture": b"text,id\r\ngood,1\nbad,2\r\nodd,3\n",
}


@pytest.mark.parametrize("case", ODD)
def test_predictions_keep_the_content_of_the_file(predictor, case):
    content = ODD[case]
    result = predictor(content)
    assert_good(result)
    before, after = (list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) for data in (content, result.data))
    assert [row[:-3] for row in after] == before and after[0][-3:] == ADDED
    for *_, label, emotion, confidence in after[1:]:
        assert EMOTIONS[int(label)] == emotion and 1 / 6 <= float(confidence) <= 1


def test_blank_lines_do_not_shift_rows(predictor):
    result = predictor(b"\n\ntext,id\n\ni am happy,1\n\r\n\ni am sad,2\n\n\n")
    assert_good(result)
    rows = read_csv(result.data)
    assert [(row["text"], row["id"]) for row in rows] == [("i am happy", "1"), ("i am sad", "2")]


def test_predictions_of_a_file_are_those_of_its_texts(predictor, call, families):
    rows = [(f"{text} {number}", str(number)) for number in range(7) for text in TEXTS]
    result = predictor(csv_bytes(rows, ("text", "id")), "--CHUNK_ROWS", 3, *EXACT)
    assert_good(result)
    told = call("--weights", families["MiniLM"].best, *EXACT, *(part for text, _ in rows for part in ("--text", text)))
    lines = [line.split("\t") for line in told.out.splitlines()]
    for row, (label, emotion, confidence, text) in zip(read_csv(result.data), lines, strict=True):
        assert (row["predicted_label"], row["predicted_emotion"], row["text"]) == (label, emotion, text)
        assert float(row["confidence"]) == pytest.approx(float(confidence), abs=2e-4)
    assert f"{len(rows)} rows" in result.out and str(result.target) in result.out


# Rows without a text


@pytest.mark.parametrize("name, content", [
    ("in.csv", b'text,id\ni am happy,1\n,2\n"  ",3\ni am sad,4\n'),
    ("in.tsv", b"text\tid\ni am happy\t1\n\t2\n \t3\ni am sad\t4\n"),
    ("in.jsonl", b'{"text": "i am happy", "id": 1}\n{"text": "", "id": 2}\n'
                 b'{"text": null, "id": 3}\n{"text": "i am sad", "id": 4}\n')])
def test_rows_without_a_text_are_an_error_or_left_empty(predictor, name, content):
    assert_one_line(predictor(content, name=name), name, "no text")
    result = predictor(content, "--skip_empty", name=name)
    assert_good(result)
    if name.endswith("jsonl"):
        rows = [json.loads(line) for line in result.data.splitlines()]
    else:
        rows = read_csv(result.data, "\t" if name.endswith("tsv") else ",")
    assert [str(row["id"]) for row in rows] == ["1", "2", "3", "4"] and len(rows[0]) == 5
    assert [bool(row[column]) for row in rows for column in ADDED] == [True] * 3 + [False] * 6 + [True] * 3
    assert rows[0]["predicted_emotion"] in EMOTIONS and float(rows[3]["confidence"]) > 1 / 6


def test_empty_rows_of_parquet_have_no_values(predictor, tmp_path):
    pd.DataFrame({"text": ["i am happy", None, " "], "id": [1, 2, 3]}).to_parquet(tmp_path / "made.parquet")
    content = (tmp_path / "made.parquet").read_bytes()
    assert_one_line(predictor(content, name="in.parquet"), "in.parquet", "row 2", "no text")
    assert_good(predictor(content, "--skip_empty", "True", name="in.parquet"))
    table = pd.read_parquet(tmp_path / "in_predictions.parquet")
    assert table["id"].tolist() == [1, 2, 3] and table[ADDED].notna().all(axis=1).tolist() == [True, False, False]


# Bad files


BAD_FILES = {
    "missing column": (b"txt,label\na,1\n", ["no column 'text'", "'txt', 'label'"]),
    "empty file": (b"", ["empty"]),
    "no rows": (b"text\n", ["no rows"]),
    "no text": (b"text,id\na,1\nb,2\n,3\n", ["row 4", "no text"]),
    "blank text": (b"text,id\na,1\n  ,3\n", ["row 3", "no text"]),
    "not UTF-8": (b"text,id\na,1\ncaf\xe9,2\n", ["line 3", "UTF-8"]),
    "too many columns": (b"text,id\na,1\nb,2,3\n", ["row 3", "3 columns", "2"]),
    "too few columns": (b"text,id\na,1\nb\n", ["row 3", "1 column"]),
    "open quote": (b'text,id\na,1\n"b,2\nc,3\n', ["row 3"]),
    "columns taken": (b"text,confidence\na,1\n", ["confidence"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_to_classify_is_one_line_and_loses_nothing(predictor, tmp_path, case):
    content, words = BAD_FILES[case]
    (tmp_path / "in_predictions.csv").write_bytes(b"of before")
    result = predictor(content)
    assert_one_line(result, "in.csv", *words)
    assert result.data == b"of before" and set(tree(tmp_path)) == {"in.csv", "in_predictions.csv", f"script/{SCRIPT.name}"}


def test_what_is_missing_is_one_line(call, families, tmp_path):
    weights = ["--weights", families["MiniLM"].best]
    assert_one_line(call("--mode", "inference", *weights, "--test_csv", tmp_path / "none.csv"), "none.csv")
    assert_one_line(call("--mode", "inference", *weights), "--test_csv", "--text")
    assert_one_line(call(*weights, "--text", " "), "--text")
    assert not tree(tmp_path / "out")


# Where it writes


GOOD = ODD["plain"]


def texts_in(path):
    return [row["text"] for row in read_csv(path.read_bytes())]


def test_output_csv_names_the_file(predictor, tmp_path):
    target = tmp_path / "deep" / "er" / "mine.csv"
    result = predictor(GOOD, "--output_csv", target)
    assert_good(result)
    assert result.data is None and texts_in(target) == ["i am happy", "i am sad"]
    target.write_bytes(b"old")
    target.chmod(0o640)
    assert_good(predictor(ODD["quotes"], "--output_csv", target))
    assert len(texts_in(target)) == 3, "a file of before is replaced"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640, "and keeps its mode"
    assert not tree(tmp_path / "cwd") and {path.name for path in target.parent.iterdir()} == {"mine.csv"}


def test_the_input_is_never_the_output(predictor, tmp_path):
    os.symlink(tmp_path / "in.csv", tmp_path / "link.csv")
    for target in (tmp_path / "in.csv", tmp_path / "link.csv", tmp_path / "cwd" / ".." / "in.csv"):
        assert_one_line(predictor(GOOD, "--output_csv", target), "output_csv")
    assert_one_line(predictor(GOOD, "--output_csv", "/proc/self/none/x.csv"), "/proc/self/none")


@pytest.mark.parametrize("content", [b"of before", None])
def test_a_link_stays_one_and_its_target_is_written(predictor, tmp_path, content):
    """A target that is not there yet is made."""
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    if content:
        target.write_bytes(content)
    assert_good(predictor(GOOD, "--output_csv", link))
    assert link.is_symlink() and os.readlink(link) == str(target) and texts_in(target) == ["i am happy", "i am sad"]
    assert [path.name for path in target.parent.iterdir()] == ["target.csv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_and_a_device_are_written_to(predictor, tmp_path):
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    assert_good(predictor(GOOD, "--output_csv", fifo))
    reader.join(10)
    assert read and [row["text"] for row in read_csv(read[0])] == ["i am happy", "i am sad"] and fifo.is_fifo()
    before = os.stat("/dev/null")
    assert_good(predictor(GOOD, "--output_csv", "/dev/null"))
    assert os.stat("/dev/null").st_ino == before.st_ino and not os.path.isfile("/dev/null")
    ours, theirs = os.pipe()
    assert_good(predictor(GOOD, "--output_csv", f"/proc/self/fd/{theirs}"))  # as /dev/stdout is, in a pipeline
    os.close(theirs)
    with open(ours, "rb") as file:
        assert file.read() == read[0]


def test_names_that_can_be_guessed_are_left_alone(predictor, tmp_path):
    """Neither a file of the user's own nor what a link of that name points to is touched; no file of the run's is left."""
    victim, target = tmp_path / "victim", tmp_path / "out.csv"
    victim.write_bytes(b"precious")
    (tmp_path / "out.csv.partial").symlink_to(victim)
    (tmp_path / ".out.csv.partial").write_bytes(b"my own")
    assert_good(predictor(GOOD, "--output_csv", target))
    assert victim.read_bytes() == b"precious" and (tmp_path / "out.csv.partial").is_symlink() and not target.is_symlink()
    assert (tmp_path / ".out.csv.partial").read_bytes() == b"my own" and len(texts_in(target)) == 2
    assert {path.name for path in tmp_path.glob("*partial*")} == {"out.csv.partial", ".out.csv.partial"}


def test_no_file_is_left_where_writing_fails(predictor, tmp_path):
    """The old output stays."""
    target = tmp_path / "out.csv"
    target.write_bytes(b"of before")

    def change(patch):
        def fail(table, rows, file):
            file.write(b"some")
            raise OSError(28, "No space left on device")
        patch.setattr(inference, "write_predictions", fail)

    assert_one_line(predictor(GOOD, "--output_csv", target, change=change), "cannot write", target, "No space left")
    assert target.read_bytes() == b"of before" and not list(tmp_path.glob("*partial*"))


# Killed and gone on


def test_memory_is_flat_and_a_killed_run_goes_on(forks, families, tmp_path):
    """Rows of 4 kB: to hold the larger file would take 50 MB more. What stood in the output stays until all is done."""
    jobs = []
    for home, rows in (("few", 2000), ("whole", 15000), ("killed", 15000)):
        (tmp_path / home).mkdir()
        with open(tmp_path / home / "in.csv", "w") as file:
            file.write("text,more\n")
            file.writelines(f"row {row} {'good' if row % 3 else 'bad'},{row:04000}\n" for row in range(rows))
        arguments = ["--mode", "inference", "--weights", families["MiniLM"].best, "--test_csv", tmp_path / home / "in.csv",
                     "--CHUNK_ROWS", 500, "--output", tmp_path / home / "out"]
        jobs.append({"home": tmp_path / home, "arguments": arguments})
    few, whole, job = jobs
    target = tmp_path / "killed" / "in_predictions.csv"
    target.write_bytes(b"of before")
    kept = tmp_path / "killed" / "out"
    killed, = forks.run([{**job, "watch": f"{kept}/inference_*.tsv", "changes": 9}])
    assert killed.code == -9 and target.read_bytes() == b"of before"
    (journal,) = kept.iterdir()
    assert re.fullmatch(r"inference_[0-9a-f]{32}\.tsv", journal.name)
    lines = journal.read_bytes().count(b"\n")
    with open(journal, "ab") as file:
        file.write(b"3\t0.")  # as a kill in the middle of a line leaves it
    less, more, resumed = *forks.run([few, whole]), *forks.run([job])
    assert less.code == more.code == resumed.code == 0, less.err + more.err + resumed.err
    assert f"goes on after the {lines:,} of 15,000 rows" in resumed.out and 500 <= lines < 15000
    assert "goes on" not in more.out
    assert target.read_bytes() == (tmp_path / "whole" / "in_predictions.csv").read_bytes()
    with open(target, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15000 and all(row["text"].split()[1] == str(number) for number, row in enumerate(rows))
    small, large = (int(re.search(r"peak (\d+)", run.out)[1]) for run in (less, more))
    assert abs(large - small) < 20e6, (small, large)
    assert not [path for path in tree(tmp_path) if "out/" in path or "partial" in path], "nothing of the runs is left"


def test_only_the_same_file_with_the_same_model_goes_on(predictor, tmp_path):
    """Stopped after two chunks of three rows; each row that is left is classified once."""
    rows, seen = [(f"text {row}", str(row)) for row in range(10)], []

    def change(patch, stop=False):
        predict = inference.predict

        def counting(model, tokenizer, texts, settings):
            if stop and len(seen) >= 6:
                raise KeyboardInterrupt
            seen.extend(texts)
            return predict(model, tokenizer, texts, settings)
        patch.setattr(inference, "predict", counting)

    def run(content=csv_bytes(rows, ("text", "id")), *more, stop=False):
        seen.clear()
        return predictor(content, "--CHUNK_ROWS", 3, "--output", tmp_path / "out", *more,
                         change=lambda patch: change(patch, stop))

    stopped = run(stop=True)
    assert stopped.code == 130 and "stopped" in stopped.err and seen == [f"text {row}" for row in range(6)]
    other = run(csv_bytes([*rows[:9], ("another", "9")], ("text", "id")))
    assert_good(other)
    assert "goes on" not in other.out and len(seen) == 10
    again = run(csv_bytes(rows, ("text", "id")), *EXACT)
    assert_good(again)
    assert "goes on" not in again.out and len(seen) == 10, "with other settings"
    resumed = run()
    assert_good(resumed)
    assert "goes on after the 6 of 10 rows" in resumed.out and seen == [f"text {row}" for row in range(6, 10)]
    assert resumed.data == run().data and len(seen) == 10
    assert not tree(tmp_path / "out")


# Who is told


@pytest.fixture
def watched_forks(tmp_path):
    """round(*jobs) runs command lines at once, each in a fork of a process that is watched; a job is its arguments."""
    with watched(tmp_path / "home") as environment, Forks(environment) as forks:
        def round(*jobs):
            made = [{"home": tmp_path / f"job{place}", "quick": True, "pause": 0.5, "arguments": [*job, "--output", tmp_path / "out"]}
                    for place, job in enumerate(jobs)]
            results = forks.run(made)
            for result in results:
                assert_good(result)
            return results

        yield round


def test_no_mode_tells_anybody_or_writes_to_the_home_folder(watched_forks, bases, data, tmp_path):
    """onnxruntime sends telemetry after some seconds, and keeps a number of the device in the user's cache, if it may."""
    (tmp_path / "in.csv").write_text("text\n" + "i am happy\n" * 30)
    best = tmp_path / "out" / "best_MiniLM"
    watched_forks(["--model", "MiniLM", "--model_id", bases["MiniLM"], *data.paths, "--epochs", 1])
    watched_forks(["--mode", "compress", "--technique", "onnx", "--weights", best, *data.paths],
                  ["--mode", "compress", "--technique", "openvino", "--weights", best, *data.paths])
    inference = ["--mode", "inference", "--test_csv", tmp_path / "in.csv", "--CHUNK_ROWS", 1, "--weights"]
    onnx, *_ = watched_forks(
        [*inference, f"{best}_onnx_int8", "--output_csv", tmp_path / "onnx.csv"],
        [*inference, f"{best}_openvino_int8", "--output_csv", tmp_path / "openvino.csv"],
        ["--mode", "evaluate", "--weights", best, *data.paths], ["--mode", "export", "--weights", best])
    assert float(re.search(r"30 rows in ([0-9.]+) s", onnx.out)[1]) >= 15
