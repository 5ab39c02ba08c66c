"""Project1: what a whole run prints, measures and saves, and the saved model in other processes."""
import io
import json
import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import EMOTIONS, assert_one_line, csv_bytes, run_script, tree
from project1 import EXPORTS, NAMES, SCRIPTS, SMALL, TEXTS, both, run_program, script, settings_of, untrained

import rnn.saving
from rnn.evaluation import calibration_error, scores
from rnn.saving import compare_saved, model_bytes, text_model_of
from rnn.settings import InputError
from rnn.text import make_vocabulary
from rnn.training import predict_tokens

pytest_plugins = ["project1"]


# The run


@both
def test_run_ends_with_the_summary_that_agrees_with_results_json(runs, name):
    run, results = runs[name], runs[name].results
    assert run.stdout.endswith(
        "================ FINAL SUMMARY ================\n"
        f"Validation Accuracy: {results['validation_accuracy']:.4f}\n"
        f"Test Accuracy: {results['test_accuracy']:.4f}\n"
        f"Test Macro F1: {results['test_macro_f1']:.4f}\n"
        f"Total Training Time: {results['training_seconds']:.1f} seconds\n"
        f"Model Size: {results['model_bytes']} bytes\n"
        "===============================================\n")
    assert results["model_bytes"] == (run.out / "model.keras").stat().st_size
    assert results["training_seconds"] > 0 and results["seed"] == 1
    assert (results["validation_rows"], results["test_rows"]) == (200, 200) and 590 <= results["train_rows"] <= 600
    assert results["versions"]["keras"] == keras.__version__
    assert results["dataset"] == "train.csv" and results["epoch_chosen_on"] == "none: the last is kept"
    assert results["classes"] == dict(zip("012345", EMOTIONS))
    assert results["constants"]["UNITS"] == 8 and "STORAGE" not in results["constants"]
    for key in ("epoch_seconds", "training_texts_per_second", "parameters", "latency_seconds_batch_1",
                "latency_seconds_batch_256"):
        assert results["profile"][key] > 0
    assert "Traceback" not in run.err


@both
def test_run_saves_everything_below_output_dir(runs, name):
    run = runs[name]
    files = tree(run.out)
    pictures = {"curves.png", "confusion_validation.png", "confusion_test.png"}
    assert all(files[picture].startswith(b"\x89PNG") for picture in pictures)
    rest = set(files) - {"model.keras", "results.json", *pictures, *EXPORTS}
    assert len(rest) == 1 and re.fullmatch(r"data/vectors-[0-9a-f]{12}\.npz", *rest), rest
    assert not tree(run.home / "cwd")
    assert {path.name for path in run.home.iterdir()} == {"out", "cwd", "stderr"}


@both
def test_saved_accuracy_is_that_of_the_saved_model_and_of_the_best_epoch(runs, data, name):
    results = runs[name].results
    model = keras.models.load_model(runs[name].out / "model.keras")
    for key, rows in (("validation", data.val), ("test", data.test)):
        labels = np.array([int(label) for _, label in rows])
        probabilities = model.predict(tf.constant([text for text, _ in rows]), verbose=0)
        _, accuracy, macro_f1 = scores(labels, probabilities)
        assert accuracy == pytest.approx(results[f"{key}_accuracy"], abs=1e-9)
        assert macro_f1 == pytest.approx(results[f"{key}_macro_f1"], abs=1e-9)
        assert np.trace(np.array(results[key]["confusion_matrix"])) == round(accuracy * len(rows))
        error = calibration_error(labels, probabilities)
        assert results[key]["expected_calibration_error"] == pytest.approx(error, abs=1e-4)
    history = results["history"][name == "GRU":]  # the best epoch is one of the thawed ones
    best = max(history, key=lambda epoch: epoch["val_macro_f1"])
    assert len(history) == 2
    assert results["validation_macro_f1"] == pytest.approx(best["val_macro_f1"], abs=1e-9)
    assert results["validation_accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-9)


def test_without_a_test_set_validation_alone_is_reported(call, data, tmp_path):
    result = call("LSTM", *data.paths, *SMALL["LSTM"], "--TEST_PATH", "", "--USE_GLOVE", "False", "--EMBEDDING_SIZE", 7,
                  change=untrained)
    assert result.code == 0, result.err
    summary = result.out[result.out.index("================ FINAL SUMMARY"):].splitlines()
    assert [line.split(":")[0] for line in summary[1:-1]] == ["Validation Accuracy", "Total Training Time", "Model Size"]
    assert "note: no test set: TEST_PATH is empty" in result.out and "random" in result.out and "7 numbers each" in result.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["test_accuracy"] is None and results["test_macro_f1"] is None and results["test_rows"] == 0
    assert results["train_rows"] >= 590
    assert not (tmp_path / "out" / "confusion_test.png").exists()


def test_a_model_that_loads_otherwise_in_a_fresh_process_is_not_saved(monkeypatch):
    vocabulary, classes, settings = make_vocabulary(["some words here"]), {"a": "a", "b": "b"}, settings_of(UNITS=3)
    matrix = np.random.default_rng(0).normal(0, 1, (5, 9)).astype(np.float32)
    model = script("LSTM").build_model(settings, matrix, 2)
    content = model_bytes(text_model_of(vocabulary, model, 9), classes)
    texts = ["some words", "here\r\nsome\r", "\u2028\t"]
    expected = predict_tokens(model, vocabulary.encode(texts, 9))
    predict, loaded = rnn.saving.predict_afresh, []
    monkeypatch.setattr(rnn.saving, "predict_afresh", lambda *given: loaded.append(predict(*given)) or loaded[0])
    assert compare_saved(settings, {"model.keras": content}, classes, texts, expected)["model.keras"]["same_labels"] == 3
    monkeypatch.setattr(rnn.saving, "predict_afresh", lambda *given: loaded[0])
    with pytest.raises(InputError, match="predicts something else"):
        compare_saved(settings, {"model.keras": content}, classes, texts, expected[::-1])
    monkeypatch.setattr(rnn.saving, "predict_afresh", predict)
    with pytest.raises(InputError, match="a fresh process does not load .* cannot be read"):
        compare_saved(settings, {"model.keras": content[:-100]}, classes, texts, expected)


# The saved model


def test_model_loads_in_a_fresh_process_in_safe_mode(runs, call):
    models = (runs[name].out / "model.keras" for name in SCRIPTS)
    fresh = run_program("keras_models.py", json.dumps(TEXTS), *models, cwd=runs["LSTM"].home / "cwd")
    assert fresh.returncode == 0, fresh.stderr[-2000:]
    found = [json.loads(line[6:]) for line in fresh.stdout.splitlines() if line.startswith("RESULT")]
    for name, probabilities in zip(SCRIPTS, map(np.array, found), strict=True):
        assert probabilities.shape == (len(TEXTS), 6)
        assert probabilities.sum(1) == pytest.approx(1, abs=1e-5) and (probabilities >= 0).all()
    predict = ["--predict", "-", "--predict", TEXTS[0]]
    result = call("GRU", *predict, "--OUTPUT_DIR", runs["GRU"].out, stdin="\n".join(TEXTS).encode())
    assert result.code == 0, result.err
    lines = [line.split("\t") for line in result.out.splitlines()]
    for (label, emotion, probability, text), expected, row in zip(lines, [*TEXTS, TEXTS[0]], [*found[1], found[1][0]],
                                                                 strict=True):
        assert (int(label), emotion, text) == (np.argmax(row), EMOTIONS[np.argmax(row)], expected)
        assert float(probability) == pytest.approx(max(row), abs=6e-5)


@both
def test_predict_is_repeatable_and_reads_standard_input(runs, call, name):
    arguments = [part for text in TEXTS for part in ("--predict", text)]
    result = call(name, *arguments, "--OUTPUT_DIR", runs[name].out)
    assert result.code == 0
    lines = result.out.splitlines()
    assert [line.split("\t")[3] for line in lines] == TEXTS
    for line in lines:
        label, emotion, probability, _ = line.split("\t")
        assert EMOTIONS[int(label)] == emotion and re.fullmatch(r"[01]\.\d{4}", probability)
    mixed = call(name, "--predict", "-", "--predict", TEXTS[3], "--predict", TEXTS[4], "--OUTPUT_DIR", runs[name].out,
                 stdin="\r\n".join(TEXTS[:3]).encode())
    assert mixed.code == 0 and mixed.out == result.out


@both
def test_predict_takes_texts_without_words(runs, call, name):
    texts = ["", "!!!", "   ", "\u2028"]
    result = call(name, *(part for text in texts for part in ("--predict", text)), "--OUTPUT_DIR", runs[name].out)
    assert result.code == 0
    for line, text in zip(result.out.removesuffix("\n").split("\n"), texts, strict=True):
        assert re.fullmatch(r"\d\t[a-z]+\t[01]\.\d{4}\t" + re.escape(text), line)


@both
def test_model_file_holds_no_optimizer_state(runs, name):
    h5py = pytest.importorskip("h5py")
    with zipfile.ZipFile(runs[name].out / "model.keras") as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            names = []
            weights.visit(names.append)
        assert not json.loads(archive.read("config.json")).get("compile_config")
        assert not [member for member in archive.namelist() if "vocabulary" in member], "words stand in the configuration"
    assert names and not [path for path in names if "optimizer" in path.lower()]
    assert getattr(keras.models.load_model(runs[name].out / "model.keras"), "optimizer", None) is None


def test_lstm_embedding_is_frozen_and_gru_embedding_is_thawed(runs):
    moved = {}
    for name in SCRIPTS:
        model = keras.models.load_model(runs[name].out / "model.keras")
        matrix = max(model.get_weights(), key=lambda weight: weight.shape[0] * (weight.ndim == 2 and weight.shape[1] == 100))
        (cached,) = (runs[name].out / "data").glob("vectors-*.npz")
        with np.load(cached) as file:
            moved[name] = len({row.tobytes() for row in file["vectors"]} - {row.tobytes() for row in matrix})
    assert moved["LSTM"] == 0
    assert moved["GRU"] > 10


@both
def test_a_damaged_or_missing_model_is_one_line(call, runs, tmp_path, name):
    path = tmp_path / "out" / "model.keras"
    assert_one_line(call(name, "--predict", "a"), path, "--predict")
    path.parent.mkdir(exist_ok=True)
    whole = (runs[name].out / "model.keras").read_bytes()
    for content in (b"", b"no zip", whole[:len(whole) // 2], whole[:5000] + bytes(3000) + whole[8000:]):
        path.write_bytes(content)
        assert_one_line(call(name, "--predict", "a"), path, "--predict")
        assert path.read_bytes() == content
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    other.save(path)
    assert_one_line(call(name, "--predict", "a"), path, "--predict")


# Other people's machines


def test_a_locale_that_is_not_utf_8_trains_saves_and_predicts(tmp_path):
    """Words, class names and texts with emoji and accents, under the locale C, which is like Windows'."""
    rows = [(f"{word} caf\u00e9 \U0001f600 n{number}", label) for number in range(40)
            for word, label in (("bon", "\u00e9t\u00e9"), ("mal", "hiver"))]
    for name, part in (("a", rows[:60]), ("b", rows[60:])):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(part))
    env = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    options = ["--OUTPUT_DIR", tmp_path / "out"]
    result = run_script(SCRIPTS["LSTM"], "--TRAIN_PATH", tmp_path / "a.csv", "--VAL_PATH", tmp_path / "b.csv",
                        "--USE_GLOVE", "False", "--UNITS", 4, "--NUM_EPOCHS", 1, *options, env=env)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    text = "bon caf\u00e9 \U0001f600"
    result = run_script(SCRIPTS["LSTM"], "--predict", text, *options, env=env)
    assert result.returncode == 0 and result.stdout.decode().split("\t")[1] in ("\u00e9t\u00e9", "hiver"), result.stderr
    assert result.stdout.decode().rstrip("\n").endswith(text)


def test_a_closed_output_ends_quietly(runs):
    command = f"{sys.executable} {SCRIPTS['LSTM']} --OUTPUT_DIR {runs['LSTM'].out} --predict - < /dev/zero | head -c 1"
    texts = b"a word\n" * 20_000  # some times what a pipe holds
    command = ["bash", "-o", "pipefail", "-c", command.replace("< /dev/zero", "")]
    process = subprocess.run(command, input=texts, capture_output=True, timeout=200)
    assert process.returncode == 141 and b"Traceback" not in process.stderr


# Several devices; for want of GPUs two logical CPUs


def test_two_devices_train_like_one(nursery, tmp_path):
    trained = nursery.start(folder=str(tmp_path))
    assert trained.wait(200) == 0, trained.out[-2000:]
    found = json.loads(trained.out.splitlines()[-1])
    assert [devices for devices, *_ in found.values()] == [1, 2]
    assert np.allclose(found["mirrored"][1], found["single"][1], rtol=0.1), "the losses of the epochs are alike"
    for _, losses, loaded, best in found.values():
        assert losses[-1] < losses[0] * 0.7, "it learns"
        assert abs(loaded - best) < 0.05, "what is saved is what was trained"


def test_class_names_are_the_data_s_unless_given(call, data, tmp_path):
    """Numbers stay numbers: that 0 to 5 are these emotions is known of the default files alone."""
    paths = [part for part in data.paths if part not in NAMES]
    result = call("LSTM", *paths, *SMALL["LSTM"], "--USE_GLOVE", "False", change=untrained)
    assert result.code == 0 and "classes: 0, 1, 2, 3, 4, 5\n" in result.out
    result = call("LSTM", "--predict", "happy")
    assert re.fullmatch(r"(\d)\t\1\t[01]\.\d{4}\thappy\n", result.out)
