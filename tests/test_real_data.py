"""The few tests that want real data: REAL_DATA=FOLDER python3 -m pytest tests/test_real_data.py; elsewhere made rows do.

FOLDER has emotion/ (CARER as CSV), twitter/ (label, tab, text), tweeteval/ (its tasks), glove/ (text, gzip), checklist/ (JSON Lines).
"""
import json
import sys

import pytest

from conftest import ALL_SCRIPTS, REAL_DATA, REPO, run_script

if not REAL_DATA.is_dir():
    pytest.skip("set REAL_DATA to a folder of real data", allow_module_level=True)
sys.path.insert(0, str(REPO / "Project1"))

from rnn.rows import chunks, open_table, read_labelled

EMOTION = REAL_DATA / "emotion"
VECTORS = REAL_DATA / "glove" / "glove.6B.100d.subset.txt.gz"


def figures(result, folder):
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    return json.loads((folder / "results.json").read_text())


def few_rows(folder, part, number=300):
    """The first rows of a part of the six emotions, all classes among them, as a CSV."""
    path = folder / f"few_{part}"
    path.write_text("".join((EMOTION / part).read_text().splitlines(keepends=True)[:number + 1]))
    return path


def test_every_file_is_read_with_all_its_rows():
    for name, rows, classes in (("emotion/train.csv", 16000, 6), ("emotion/validation.csv", 2000, 6),
                                ("tweeteval/emotion/train_text.txt", 3257, 4), ("tweeteval/irony/val_text.txt", 955, 2),
                                ("tweeteval/offensive/train_text.txt", 11916, 2)):
        found = read_labelled(str(REAL_DATA / name), "text", "label")
        assert (len(found.texts), len(set(found.labels))) == (rows, classes), name
        assert (found.names is not None) == name.endswith("_text.txt")
    cases = open_table(str(REAL_DATA / "checklist" / "sentiment_part.jsonl"), "test", "expect")
    assert sum(len(texts) for _, texts, _ in chunks(cases)) == 4586


def test_a_recurrent_model_learns_from_300_rows_with_real_vectors(tmp_path):
    """Patience did not wait for a model that begins with one class for all: macro F1 was 0.087."""
    options = ["--TRAIN_PATH", few_rows(tmp_path, "train.csv"), "--VAL_PATH", "", "--TEST_PATH", EMOTION / "validation.csv",
               "--GLOVE_PATH", VECTORS, "--OUTPUT_DIR", tmp_path / "out"]
    results = figures(run_script(ALL_SCRIPTS["Project1/LSTM.py"], *options), tmp_path / "out")
    assert results["coverage"]["running_words"] > 0.8 and results["test_macro_f1"] > 0.3


def test_a_tiny_model_learns_from_real_tweets(tmp_path):
    options = ["--TRAIN_URL", REAL_DATA / "twitter" / "train.txt", "--TEST_URL", REAL_DATA / "twitter" / "test.txt",
               "--HUMAN_URL", REAL_DATA / "twitter_human", "--OUTPUT_DIR", tmp_path / "out"]
    script = ALL_SCRIPTS["tinymodel-emotion-classification-10kB.py"]
    results = figures(run_script(script, *options), tmp_path / "out")
    assert results["model_bytes"] <= 10_000 and results["final_test_accuracy"] > 0.75


def test_minilm_learns_from_300_rows(tmp_path):
    """Three epochs, in which each text is read once, not twice: for the time that it takes."""
    options = ["--model", "MiniLM", "--train", few_rows(tmp_path, "train.csv"), "--val",
               few_rows(tmp_path, "validation.csv", 150), "--r_drop", 0, "--epochs", 3, "--batch_size", 8,
               "--output", tmp_path / "out"]
    results = figures(run_script(ALL_SCRIPTS["Project2/emotion_classifier.py"], *options), tmp_path / "out" / "MiniLM")
    assert results["validation_accuracy"] > 0.5
