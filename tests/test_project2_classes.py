"""Project2: any classes, in any form of file, through all four modes."""
import json
import re

import pytest

from project2 import ADDED, EXACT, NAMES, assert_good, quick, quick_compression, run_main

import pandas as pd
import pooch

from conftest import EMOTIONS, assert_one_line, csv_bytes, made_rows, read_csv, write_pair

from classifier.settings import Settings

pytest_plugins = ["project2"]


def classes_in(folder):
    """The names of a model's classes, in order, as its configuration has them; its records must agree."""
    config, saved = (json.loads((folder / name).read_text()) for name in ("config.json", "emotion_classifier.json"))
    names = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
    assert config["label2id"] == {name: number for number, name in enumerate(names)} and saved["names"] == names
    assert all(name in (folder / "README.md").read_text() for name in names)
    return names


# Any classes


CLASSES = {  # labels as the file has them: how the model's are, and their names
    "two words": (["yes", "no"], ["no", "yes"], ["no", "yes"]),
    "numbers from 1": (["3", "1", "2"], ["1", "2", "3"], ["1", "2", "3"]),
    "numbers with a point": (["2.0", "1.0"], ["1", "2"], ["1", "2"]),
    "negative numbers": (["1", "-1", "0"], ["-1", "0", "1"], ["-1", "0", "1"]),
    "twelve": ([str(number) for number in range(12)], [str(number) for number in range(12)],
               [str(number) for number in range(12)]),
    "words and numbers": (["10", "9", "ten"], ["10", "9", "ten"], ["10", "9", "ten"]),
    "words beyond ASCII": (["fr\u00f6hlich", "w\u00fctend, sehr"], ["fr\u00f6hlich", "w\u00fctend, sehr"],
                           ["fr\u00f6hlich", "w\u00fctend, sehr"]),
}


@pytest.mark.parametrize("case", CLASSES)
def test_any_classes_are_learnt_and_predicted(call, short, tmp_path, case):
    given, labels, names = CLASSES[case]
    options = short(made_rows(48, 1, given), made_rows(24, 2, given))
    result = call(*options, change=quick)
    assert_good(result)
    best = tmp_path / "out" / "best_MiniLM"
    assert classes_in(best) == names and f"classes: {', '.join(names)}\n" in result.out
    results = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())
    assert results["labels"] == names and set(results["validation"]["report"]) == set(names)
    assert_good(call("--mode", "evaluate", "--weights", best, "--val", tmp_path / "train_val.csv", change=quick))
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["classes"] == names and found["rows"] == 24 and len(found["confusion_matrix"]) == len(names)
    assert_good(call("--mode", "inference", "--weights", best, "--test_csv", tmp_path / "train_val.csv"))
    rows = read_csv((tmp_path / "train_val_predictions.csv").read_bytes())
    assert {(row["predicted_label"], row["predicted_emotion"]) for row in rows} <= set(zip(labels, names))
    assert len(rows) == 24


def test_names_are_given_to_the_sorted_labels(call, short, tmp_path):
    """What is predicted is the label as the file has it, and its name."""
    result = call(*short(made_rows(48, 1, ["30", "4"]), made_rows(24, 2, ["30", "4"])), "--label_names", "low, very high",
                  change=quick)
    assert_good(result)
    best = tmp_path / "out" / "best_MiniLM"
    assert classes_in(best) == ["low", "very high"] and "classes: 4 low, 30 very high\n" in result.out
    (label, name, *_), = [line.split("\t") for line in call("--weights", best, "--text", "happy").out.splitlines()]
    assert (label, name) in (("4", "low"), ("30", "very high"))


def test_a_variant_keeps_the_classes(call, short, tmp_path):
    rows = made_rows(48, 1, ["off", "on"])
    assert_good(call(*short(rows, made_rows(24, 2, ["off", "on"])), change=quick))
    assert_good(call("--mode", "compress", "--technique", "prune", "--weights", tmp_path / "out" / "best_MiniLM", "--val",
                     tmp_path / "train_val.csv", *EXACT, change=quick_compression))
    told = call("--weights", tmp_path / "out" / "best_MiniLM_pruned", "--text", rows[0][0])
    assert re.match(r"(off|on)\t\1\t", told.out), told


@pytest.fixture
def pair(tmp_path):
    """pair(name, rows, names) writes rows in TweetEval's form below tmp_path/pair; returns the path of the texts."""
    def write(part, rows, names=()):
        mapping = "".join(f"{number}\t{name}\n" for number, name in enumerate(names))
        return write_pair(tmp_path / "pair", part, rows, mapping or None)

    return write


def test_the_names_of_a_tweeteval_pair_are_those_of_its_mapping(call, pair, bases, tmp_path):
    names = ["anger", "joy", "optimism", "sadness"]
    train, val = pair("train", made_rows(48, 1, "0123"), names), pair("val", made_rows(24, 2, "0123"))
    assert_good(call("--train", train, "--val", val, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 1,
                     change=quick))
    best = tmp_path / "out" / "best_MiniLM"
    assert classes_in(best) == names
    assert_good(call("--mode", "inference", "--weights", best, "--test_csv", val))
    rows = read_csv((tmp_path / "pair" / "val_text_predictions.csv").read_bytes())
    assert [row["text"] for row in rows] == [text for text, _ in made_rows(24, 2, "0123")]
    assert all(row["predicted_emotion"] == names[int(row["predicted_label"])] for row in rows)
    other = tmp_path / "other.csv"
    other.write_bytes(csv_bytes([("a", "optimism"), ("b", "anger")]))
    assert_good(call("--mode", "evaluate", "--weights", best, "--val", other, change=quick))


def test_the_default_file_is_known_by_its_bytes(call, short, bases, tmp_path, monkeypatch):
    """Its classes are the six emotions whatever it is called; a model of other names does not take its numbers."""
    hashes, default = {}, Settings.default
    for name, rows in (("train", made_rows(60, 1)), ("validation", made_rows(24, 2))):
        (tmp_path / f"my_{name}.csv").write_bytes(csv_bytes(rows))
        hashes[f"{'TRAIN' if name == 'train' else 'VAL'}_HASH"] = pooch.file_hash(tmp_path / f"my_{name}.csv")
    monkeypatch.setattr(Settings, "default", classmethod(lambda cls, name: hashes.get(name) or default.__func__(cls, name)))
    paths = ["--train", tmp_path / "my_train.csv", "--val", tmp_path / "my_validation.csv"]
    options = [*paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 1, "--max_length", 4]
    assert_good(call(*options, change=quick))
    best = tmp_path / "out" / "best_MiniLM"
    assert classes_in(best) == list(EMOTIONS) and "trained on emotion (CARER)" in (best / "README.md").read_text()
    letters = ["--label_names", "a,b,c,d,e,f", "--output", tmp_path / "letters"]
    assert_good(call(*short(made_rows(30, 1), made_rows(12, 2)), *letters, change=quick))
    evaluate = ["--mode", "evaluate", *paths[2:], "--weights", tmp_path / "letters" / "best_MiniLM"]
    assert_one_line(call(*evaluate, change=quick), "my_validation.csv", "'anger'", "the model lacks")


# Any form of file


FORMS = ("rows.tsv", "semicolon.csv", "bar.csv", "rows.jsonl", "rows.parquet", "other_columns.csv")
RENAMED = ["--text_column", "tweet", "--label_column", "mood"]


def write_form(path, rows):
    """Write rows in the form that the name of the file says; returns the options that it takes."""
    table = pd.DataFrame(rows, columns=["text", "label"])
    table["note"] = [f"n{row}" for row in range(len(rows))]
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        table.astype({"label": int}).to_parquet(path, index=False)
    else:
        delimiter = {"rows.tsv": "\t", "semicolon.csv": ";", "bar.csv": "|"}.get(path.name.removeprefix("val_"), ",")
        header = ("tweet", "mood", "note") if "other" in path.name else tuple(table.columns)
        path.write_bytes(csv_bytes(table.to_numpy().tolist(), header, delimiter=delimiter))
    return RENAMED if "other" in path.name else []


@pytest.fixture(scope="session")
def as_csv(families, data, bases, tmp_path_factory):
    """What the plain CSV of the first rows gives in each mode."""
    return outcomes(tmp_path_factory.mktemp("csv"), families, bases, data, "rows.csv")


def outcomes(home, families, bases, data, name):
    """Use files of a form in all modes; returns (weights, evaluation, predictions, compression, file of predictions)."""
    train, val, out = home / name, home / f"val_{name}", home / "out"
    more = write_form(train, data.train[:40] + [row for row in data.train if row[1] in "25"][:20])
    write_form(val, data.val[:20] + data.val[-8:])
    options, saved = [*more, *EXACT, "--output", out], ["--weights", families["MiniLM"].best]
    assert_good(run_main(home, "--train", train, "--val", val, "--model", "MiniLM", "--model_id", bases["MiniLM"],
                         "--epochs", 1, *NAMES, *options, change=quick))
    assert_good(run_main(home, "--mode", "evaluate", *saved, "--val", val, *options, change=quick))
    assert_good(run_main(home, "--mode", "inference", *saved, "--test_csv", val, *options))
    assert_good(run_main(home, "--mode", "compress", "--technique", "prune", *saved, "--val", val, *options,
                         change=quick_compression))
    evaluation, compression = (json.loads((out / f"{name}.json").read_text()) for name in ("evaluation", "compression"))
    scores = [[row[key] for key in ("accuracy", "macro_f1", "agreement")] for row in compression["variants"]]
    (target,) = home.glob("val_*_predictions.*")
    figures = [evaluation[key] for key in ("accuracy", "macro_f1", "confusion_matrix", "report")]
    return (out / "best_MiniLM" / "model.safetensors").read_bytes(), figures, read_form(target), scores, target


def read_form(path):
    """The rows of predictions in their file's form, as text: text, label, note, and what was added."""
    if path.suffix == ".parquet":
        rows = pd.read_parquet(path).to_dict("records")
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        first = path.read_text().splitlines()[0]
        rows = read_csv(path.read_bytes(), next(mark for mark in "\t;|," if mark in first))
    assert all(list(row)[-3:] == ADDED and len(row) == 6 for row in rows)
    return [(*map(str, list(row.values())[:5]), f"{float(row['confidence']):.4f}") for row in rows]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_file_gives_what_the_csv_gives_in_all_modes(as_csv, families, bases, data, tmp_path, name):
    *found, target = outcomes(tmp_path, families, bases, data, name)
    for what, mine, expected in zip(("weights", "evaluation", "predictions", "compression"), found, as_csv):
        assert mine == expected, what
    assert target.suffix == f".{name.split('.')[1]}", "predictions come in the form of the file"


def test_a_wrong_column_is_named_with_the_fix(call, short):
    options = short(made_rows(30, 1), made_rows(12, 2))
    assert_one_line(call(*options, "--text_column", "tweet"), "train_train.csv", "'tweet'", "'text'", "TEXT_COLUMN")
    assert_one_line(call(*options, "--label_column", "mood"), "'mood'", "'label'", "LABEL_COLUMN")
    assert_one_line(call(*options, "--label_column", "text"), "the column 'text' already, or twice")
