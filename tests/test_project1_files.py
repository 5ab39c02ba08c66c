"""Project1: any labels in files of any kind; what is left out, held out, downloaded."""
import http.server
import json
import re
import shutil

import numpy as np
import pytest

from conftest import EMOTIONS, assert_one_line, blob_id, csv_bytes, made_rows, serving, tree, write_pair
from project1 import script, settings_of, untrained

import rnn.data
from rnn.labels import as_label, number_labels
from rnn.settings import make_settings

pytest_plugins = ["project1"]

QUICK = ["--USE_GLOVE", "False", "--UNITS", 4, "--NUM_EPOCHS", 1]


# Labels of every kind, in files of every kind


def word_of(label):
    return f"{label}word".replace("-", "minus")


def rows_of(labels, number=60):
    """Training and validation rows whose first word tells the label."""
    rows = [(f"{word_of(label)} and n{row}", label) for row in range(number) for label in labels]
    return rows[:-5 * len(labels)], rows[-5 * len(labels):]


def write(path, rows, form=",", names=("text", "label")):
    if form == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text("".join(form.join(map(str, row)) + "\n" for row in (names, *rows)), encoding="utf-8")
    return path


KINDS = {
    "words in a CSV": (["joy", "anger"], ",", ["anger", "joy"]),
    "-1 to 1 in a TSV": ([1, 0, -1], "\t", ["-1", "0", "1"]),
    "ten classes in JSON Lines": (list(range(10)), "jsonl", [*"0123456789"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_labels_in_any_file_are_trained_stored_and_printed(call, tmp_path, kind):
    labels, form, classes = KINDS[kind]
    train, val = rows_of(labels)
    name = "csv" if len(form) == 1 else form
    paths = [f"--{constant}_PATH={write(tmp_path / f'{constant}.{name}', rows, form, ('tweet', 'mood'))}" for constant, rows in
             (("TRAIN", train), ("VAL", val))]
    result = call("LSTM", *paths, "--TEXT_COLUMN", "tweet", "--LABEL_COLUMN", "mood", *QUICK, "--NUM_EPOCHS", 6,
                  "--LEARNING_RATE", 0.01)
    assert result.code == 0, result.err
    assert f"classes: {', '.join(classes)}\n" in result.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["classes"] == dict(zip(classes, classes)) and results["dataset"] == f"TRAIN.{name}"
    assert results["test_rows"] == 0 and "TEST_PATH" in results["note"], "the emotion data's test set is not for them"
    assert results["validation_accuracy"] > 0.6, "each label stayed with its text"
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "out" / "model.keras", tmp_path / "elsewhere")
    texts = [word_of(label) for label in labels]
    options = [part for text in texts for part in ("--predict", text)]
    shown = call("LSTM", *options, "--OUTPUT_DIR", tmp_path / "elsewhere")
    found = [line.split("\t") for line in shown.out.splitlines()]
    assert [text for *_, text in found] == texts and all(label == name and label in classes for label, name, *_ in found)
    right = sum(as_label(str(label)) == line[0] for label, line in zip(labels, found))
    assert right > 0.5 * len(labels), "the names stand for the classes that were trained"


def test_tweeteval_s_pairs_with_names_and_label_names(call, tmp_path):
    for kind, rows in zip(("train", "val"), rows_of([1, 0])):
        write_pair(tmp_path, kind, rows, "0\tcalm\n1\tirony\n")
    paths = ["--TRAIN_PATH", tmp_path / "train_text.txt", "--VAL_PATH", tmp_path / "val_text.txt"]
    result = call("LSTM", *paths, *QUICK, change=untrained)
    assert result.code == 0 and "classes: 0 calm, 1 irony\n" in result.out, result.err
    assert re.fullmatch(r"(0\tcalm|1\tirony)\t[01]\.\d{4}\t1word\n", call("LSTM", "--predict", "1word").out)
    result = call("LSTM", *paths, *QUICK, "--LABEL_NAMES", "no, yes", change=untrained)  # they go before those of mapping.txt
    assert result.code == 0 and "classes: 0 no, 1 yes\n" in result.out, result.err
    assert_one_line(call("LSTM", *paths, *QUICK, "--LABEL_NAMES", "no"), "LABEL_NAMES has 1 names", "2 labels")


def test_without_a_validation_file_a_tenth_of_each_class_is_held_out(call, tmp_path):
    path = write(tmp_path / "mine.csv", [*rows_of(["rare"], 25)[0], *rows_of(["often"], 85)[0]])
    for more in ((), ("--VAL_PATH", "")):
        result = call("LSTM", "--TRAIN_PATH", path, *QUICK, *more, change=untrained)
        assert result.code == 0, result.err
        assert "data: 90 training, 10 validation, 0 test rows" in result.out and "a tenth of the training file" in result.out
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["epoch_chosen_on"] == "none: the last is kept", "90 texts are few"
        assert [results["validation"]["report"][name]["support"] for name in ("often", "rare")] == [8, 2]
    assert_one_line(call("LSTM", "--TRAIN_PATH", write(tmp_path / "few.csv", rows_of("ab", 6)[0]), *QUICK),
                    "few.csv", "VAL_PATH")


def test_training_rows_that_mislead_are_left_out(tmp_path):
    train = [(f"text {number}", str(number % 6)) for number in range(30)]
    mixed = [*train, ("both", "0"), ("both", "1"), train[20], ("again", "2"), ("again", "2")]
    paths = {}
    for name, rows in (("TRAIN", mixed), ("VAL", train[:6]), ("TEST", train[6:12])):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(rows))
        paths[f"{name}_PATH"] = str(tmp_path / f"{name}.csv")
    found = rnn.data.read_data(settings_of(**paths), str(tmp_path))
    kept = [*train[12:], ("again", "2")]
    assert found.train_texts == [text for text, _ in kept]
    assert found.train_labels.tolist() == [int(label) for _, label in kept]
    assert found.left_out == {"in_validation": 12, "contradictory": 2, "repeated": 2}


def test_files_that_do_not_fit_are_one_line(call, data, tmp_path):
    train, name = data.folder / "train.csv", "LSTM"
    assert_one_line(call(name, *data.paths, "--VAL_PATH", train), "train.csv", "0 rows left to train on", "VAL_PATH")
    bad = tmp_path / "bad.csv"
    bad.write_bytes(csv_bytes([("one", "0"), ("two", "joyful")]))
    assert_one_line(call(name, *data.paths, "--VAL_PATH", bad), "bad.csv", "'joyful'", "lacks", "sadness")
    bad.write_bytes(csv_bytes([("one", "0"), ("two", "")]))
    for constant in ("TRAIN_PATH", "VAL_PATH", "TEST_PATH"):
        assert_one_line(call(name, *data.paths, f"--{constant}", bad), "bad.csv", "row 3", "label")
        assert_one_line(call(name, *data.paths, f"--{constant}", tmp_path / "none.csv"), constant, "none.csv")
        assert_one_line(call(name, *data.paths, f"--{constant}", tmp_path), "is a folder")
    bad.write_bytes(b"Tweet,mood\na,0\nb,1\n")
    assert_one_line(call(name, *data.paths, "--TRAIN_PATH", bad), "TEXT_COLUMN", "LABEL_COLUMN", "'Tweet'", "'mood'")
    bad.write_bytes(csv_bytes([("...", "0"), (";;", "1")]))
    assert_one_line(call("GRU", "--TRAIN_PATH", bad, "--VAL_PATH", bad.parent / "bad.csv", *QUICK), "bad.csv")
    assert not tree(tmp_path / "out")


# Downloads


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        how, name = self.path.strip("/").split("/")
        body = self.server.files[name] if how != "empty" else b""
        length = len(body)
        if how == "wrong":
            body = body[:-2] + b"?\n"
        elif how == "cut":
            body = body[:length // 2]
        elif how == "slow":
            self.server.over.wait(5)
        self.send_response(int(how) if how.isdigit() else 200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(direct_network, data, no_pause):
    """A local server with the three files; options(train=..., ...) are the constants that point to it."""
    test = "".join(f"{text};{EMOTIONS[int(label)]}\n" for text, label in data.test).encode()
    files = {"train": (data.folder / "train.csv").read_bytes(), "val": (data.folder / "val.csv").read_bytes(), "test": test}
    with serving(Handler, files=files) as served:
        def options(**how):
            arguments = ["--GLOVE_PATH", "none.txt", "--LABEL_NAMES", ",".join(EMOTIONS)]
            for name, content in files.items():
                kind = how.get(name, "good")
                port = 9 if kind == "refused" else served.server_port
                arguments += [f"--{name.upper()}_URL", f"http://127.0.0.1:{port}/{kind}/{name}",
                              f"--{name.upper()}_HASH", blob_id(content)]
            return arguments

        served.options = options
        yield served


def test_default_files_are_downloaded_checked_and_cached(call, server, tmp_path):
    name = "GRU"
    for _ in range(2):  # the second time from the cache
        result = call(name, *server.options())
        assert_one_line(result, "GLOVE_PATH")  # all data were taken; the vectors come next
        assert re.search(r"data: \d+ training, 200 validation, 200 test rows", result.out), result.out
    assert sorted(server.asked) == ["/good/test", "/good/train", "/good/val"]
    cached = tree(tmp_path / "out")
    assert cached == {"data/train.csv": server.files["train"], "data/validation.csv": server.files["val"],
                      "data/test.csv": server.files["test"]}
    (tmp_path / "out" / "data" / "train.csv").write_bytes(server.files["train"][:1000])  # a damaged copy is got anew
    assert_one_line(call(name, *server.options()), "GLOVE_PATH")
    assert tree(tmp_path / "out") == cached
    assert not tree(tmp_path / "cwd")


@pytest.mark.parametrize("how, words", [("wrong", "wrong bytes"), ("404", "404"), ("500", "500"), ("refused", "refused"),
                                        ("cut", "cut off"), ("empty", "is empty"), ("slow", "no byte for 0.3 s")])
def test_a_failed_download_is_one_line_and_leaves_nothing(call, server, tmp_path, how, words):
    more = ["--DOWNLOAD_TIMEOUT", 0.3] if how == "slow" else []
    result = call("LSTM", *server.options(train=how), *more)
    assert_one_line(result, "train.csv", f"/{how}/train", words, "TRAIN_PATH")
    assert not tree(tmp_path / "out") and not tree(tmp_path / "cwd")
    if how != "refused":
        result = call("LSTM", *server.options(test=how), *more)
        assert_one_line(result, "GLOVE_PATH")
        assert "note: no test set" in result.out and words in result.out and "200 validation, 0 test rows" in result.out
        assert set(tree(tmp_path / "out")) == {"data/train.csv", "data/validation.csv"}


def test_a_local_file_goes_before_a_download(call, server, tmp_path):
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes([("a", "9"), ("b", "")]))
    assert_one_line(call("LSTM", *server.options()), "train.csv", "row 3")
    (tmp_path / "cwd" / "train.csv").unlink()
    (tmp_path / "script" / "train.csv").write_bytes(csv_bytes([("a", "8"), ("b", "")]))
    assert_one_line(call("LSTM", *server.options()), "train.csv", "row 3")
    assert not server.asked


def test_a_local_file_of_other_data_does_not_take_the_default_validation_and_test_files(call, server, tmp_path):
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes(made_rows(120, 0, "012")))
    result = call("LSTM", *server.options(), "--LABEL_NAMES", "", *QUICK, change=untrained)
    assert result.code == 0 and not server.asked, result.err
    assert "classes: 0, 1, 2\n" in result.out and "108 training, 12 validation, 0 test rows" in result.out


def test_published_test_file_is_read(tmp_path):
    content = b"im feeling; odd;sadness\ni am happy;joy\nwow;surprise\n"
    (tmp_path / "test.csv").write_bytes(content)
    settings = settings_of(TEST_HASH=blob_id(content), TEST_PATH=str(tmp_path / "test.csv"))
    texts, labels, names, _ = rnn.data.read_set(settings, "TEST_PATH", str(tmp_path))
    assert texts == ["im feeling; odd", "i am happy", "wow"] and names is None
    numbers = number_labels(labels, names, dict(zip("012345", EMOTIONS)), "test.csv")
    assert numbers.tolist() == [0, 1, 5] and numbers.dtype == np.int64


def test_the_default_data_have_the_six_names(tmp_path, monkeypatch):
    content = csv_bytes(made_rows(12, 0))
    (tmp_path / "any.csv").write_bytes(content)
    for expected, names in ((blob_id(content), dict(zip("012345", EMOTIONS))), ("", None), ("0" * 40, None)):
        monkeypatch.setattr(script("GRU"), "TRAIN_HASH", expected)
        settings = make_settings(script("GRU"), TRAIN_PATH=str(tmp_path / "any.csv"))
        assert rnn.data.read_set(settings, "TRAIN_PATH", str(tmp_path)).names == names
