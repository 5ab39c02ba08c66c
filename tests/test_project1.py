"""Project1/LSTM.py and Project1/GRU.py: the run, the saved model, padding, bad input, downloads, the grid."""
import ast
import csv
import functools
import gzip
import http.server
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from types import SimpleNamespace

import pytest

for needed in ("tensorflow", "optuna", "pandas", "sklearn", "matplotlib", "requests"):
    pytest.importorskip(needed, reason=f"Project1 needs {needed}; see Project1/requirements.txt")

import keras
import numpy as np
import tensorflow as tf
from hypothesis import given, settings, strategies

from conftest import REPO, SHARED_DATA, blob_id, load_script, run_script, tree

SCRIPTS = {name: REPO / "Project1" / f"{name}.py" for name in ("LSTM", "GRU")}
OWN = {"build_model", "freeze_thaw", "grid_settings", "run"}  # what may differ between the two
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
SMALL = {"LSTM": ["--UNITS", 8, "--NUM_EPOCHS", 2],
         "GRU": ["--UNITS", 8, "--NUM_EPOCHS", 1, "--FINAL_UNITS", 8, "--DENSE_UNITS", 8, "--WARM_UP_EPOCHS", 1,
                 "--FINAL_EPOCHS", 2]}
TEXTS = ["i feel so lucky to have you", "i am furious", "im scared of what comes next and i cannot sleep at night", "ok"]
both = pytest.mark.parametrize("name", SCRIPTS)


# Helpers


def csv_bytes(rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([("text", "label"), *rows])
    return buffer.getvalue().encode()


def made_rows(number, seed):
    """Rows of (text, label) of all six classes, all different; for want of real data."""
    rng, rows = random.Random(seed), []
    fillers = "i you the a to my is in on at it me so just now today work home go day we feel".split()
    moods = ["sad", "happy", "love", "angry", "afraid", "shocked"]
    for row in range(number):
        words = [moods[row % 6], *rng.choices(fillers, k=rng.randrange(3, 25)), f"word{seed}x{row}"]
        rows.append((" ".join(words), str(row % 6)))
    return rows


def glove_bytes(words):
    rng = random.Random(0)
    return "".join(" ".join([word, *(f"{rng.uniform(-1, 1):.4f}" for _ in range(100))]) + "\n" for word in words).encode()


def assert_one_line(result, *words):
    assert result.code == 2, result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1 and result.err.endswith("\n"), result.err
    assert "FINAL SUMMARY" not in result.out
    for word in words:
        assert str(word) in result.err, result.err


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small files of real rows: 600 training, 200 validation, 200 test; and GloVe Twitter's first words."""
    folder = tmp_path_factory.mktemp("data")
    real = SHARED_DATA / "emotion"
    if (real / "train.csv").is_file():
        with open(real / "train.csv", newline="", encoding="utf-8") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
        with open(real / "validation.csv", newline="", encoding="utf-8") as file:
            val = [(row["text"], row["label"]) for row in csv.DictReader(file)][:200]
    else:
        rows, val = made_rows(800, 0), made_rows(200, 1)
    train, test = rows[:600], rows[600:800]
    assert {label for _, label in train} == set("012345")
    for name, part in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.csv").write_bytes(csv_bytes(part))
    source, glove = SHARED_DATA / "glove" / "glove.twitter.27B.100d.top2720.txt.gz", folder / "glove.txt.gz"
    if source.is_file():  # its whole rows; the file ends in the middle of one
        vectors = b"".join(gzip.decompress(source.read_bytes()).splitlines(keepends=True)[:2720])
    else:
        vectors = glove_bytes(sorted({word for text, _ in train for word in text.split() if not word.startswith("word")}))
    glove.write_bytes(gzip.compress(vectors, 1))
    paths = ["--TRAIN_PATH", folder / "train.csv", "--VAL_PATH", folder / "val.csv", "--TEST_PATH", folder / "test.csv",
             "--GLOVE_PATH", glove]
    return SimpleNamespace(folder=folder, glove=glove, paths=paths, train=train, val=val, test=test)


@pytest.fixture(scope="session")
def runs(data, tmp_path_factory):
    """{script name: its finished run}, both run at once, as users do, from an empty folder."""
    started = {}
    for name, path in SCRIPTS.items():
        home = tmp_path_factory.mktemp(name)
        command = [sys.executable, path, *data.paths, *SMALL[name], "--OUTPUT_DIR", home / "out"]
        (home / "cwd").mkdir()
        log = open(home / "stderr", "wb")
        process = subprocess.Popen([*map(str, command)], cwd=home / "cwd", stdout=subprocess.PIPE, stderr=log)
        started[name] = home, process, log
    runs = {}
    for name, (home, process, log) in started.items():
        stdout = process.communicate(timeout=200)[0].decode()
        log.close()
        assert process.returncode == 0, (home / "stderr").read_text()[-3000:]
        runs[name] = SimpleNamespace(out=home / "out", home=home, stdout=stdout, err=(home / "stderr").read_text(),
                                     results=json.loads((home / "out" / "results.json").read_text()))
    return runs


@pytest.fixture(scope="session")
def scripts():
    """{name: the script as a module}; for tests that change none of its constants."""
    return {name: load_script(path) for name, path in SCRIPTS.items()}


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Run main() of a fresh module: call(name, *arguments) gives code, out and err; outputs go to tmp_path/out.

    The working folder is empty, and the script a copy in a folder of its own, where no data lie.
    """
    for folder in ("cwd", "script"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run(name, *arguments, stdin=b""):
        script = shutil.copy(SCRIPTS[name], tmp_path / "script")
        module = load_script(script)
        options = ["--OUTPUT_DIR", tmp_path / "out", *arguments]
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, options)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capfd.readouterr()
        code = module.main()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


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
    assert results["versions"]["keras"] == keras.__version__ and results["dataset"]
    assert results["constants"]["UNITS"] == 8
    for key in ("epoch_seconds", "training_texts_per_second", "parameters", "latency_seconds_batch_1",
                "latency_seconds_batch_256"):
        assert results["profile"][key] > 0
    assert "Traceback" not in run.err


@both
def test_run_saves_everything_below_output_dir(runs, name):
    run = runs[name]
    files = tree(run.out)
    pictures = {"curves.png", "confusion_validation.png", "confusion_test.png"}
    assert {"model.keras", "results.json", *pictures} <= set(files)
    assert all(files[picture].startswith(b"\x89PNG") for picture in pictures)
    rest = set(files) - {"model.keras", "results.json", *pictures}
    assert all(re.fullmatch(r"data/glove-[0-9a-f]{12}\.npz", path) for path in rest), rest
    assert not tree(run.home / "cwd")
    assert {path.name for path in run.home.iterdir()} == {"out", "cwd", "stderr"}


@both
def test_saved_accuracy_is_that_of_the_saved_model_and_of_the_best_epoch(runs, data, scripts, name):
    results = runs[name].results
    model = keras.models.load_model(runs[name].out / "model.keras")
    for key, rows in (("validation", data.val), ("test", data.test)):
        labels = np.array([int(label) for _, label in rows])
        probabilities = model.predict(tf.constant([text for text, _ in rows]), verbose=0)
        _, accuracy, macro_f1 = scripts[name].scores(labels, probabilities)
        assert accuracy == pytest.approx(results[f"{key}_accuracy"], abs=1e-9)
        assert macro_f1 == pytest.approx(results[f"{key}_macro_f1"], abs=1e-9)
        assert np.trace(np.array(results[key]["confusion_matrix"])) == round(accuracy * len(rows))
    history = results["history"][name == "GRU":]  # the best epoch is one of the thawed ones
    best = max(history, key=lambda epoch: epoch["val_macro_f1"])
    assert len(history) == 2
    assert results["validation_macro_f1"] == pytest.approx(best["val_macro_f1"], abs=1e-9)
    assert results["validation_accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-9)


def test_without_a_test_set_validation_alone_is_reported(call, data, tmp_path):
    result = call("LSTM", *data.paths, *SMALL["LSTM"], "--NUM_EPOCHS", 1, "--TEST_PATH", "", "--USE_GLOVE", "False")
    assert result.code == 0, result.err
    summary = result.out[result.out.index("================ FINAL SUMMARY"):].splitlines()
    assert [line.split(":")[0] for line in summary[1:-1]] == ["Validation Accuracy", "Total Training Time", "Model Size"]
    assert "note: no test set" in result.out and "random" in result.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["test_accuracy"] is None and results["test_macro_f1"] is None and results["test_rows"] == 0
    assert results["train_rows"] >= 590
    assert not (tmp_path / "out" / "confusion_test.png").exists()


# The saved model


def test_model_loads_in_a_fresh_process_in_safe_mode(runs, data):
    code = ("import json, sys, keras, tensorflow as tf\n"
            "for path in sys.argv[2:]:\n"
            "    model = keras.models.load_model(path)\n"
            "    print('RESULT' + json.dumps(model(tf.constant(json.loads(sys.argv[1]))).numpy().tolist()))\n")
    paths = [str(runs[name].out / "model.keras") for name in SCRIPTS]
    fresh = subprocess.run([sys.executable, "-c", code, json.dumps(TEXTS), *paths], capture_output=True, timeout=200,
                           cwd=runs["LSTM"].home / "cwd")
    assert fresh.returncode == 0, fresh.stderr.decode()[-2000:]
    found = [json.loads(line[6:]) for line in fresh.stdout.decode().splitlines() if line.startswith("RESULT")]
    for name, probabilities in zip(SCRIPTS, map(np.array, found), strict=True):
        assert probabilities.shape == (len(TEXTS), 6)
        assert probabilities.sum(1) == pytest.approx(1, abs=1e-5) and (probabilities >= 0).all()
        runs[name].fresh = probabilities
    predict = ["--predict", "-", "--predict", TEXTS[0]]
    result = run_script(SCRIPTS["GRU"], *predict, "--OUTPUT_DIR", runs["GRU"].out, input="\n".join(TEXTS).encode())
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
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
    mixed = call(name, "--predict", "-", "--predict", TEXTS[3], "--OUTPUT_DIR", runs[name].out,
                 stdin="\r\n".join(TEXTS[:3]).encode())
    assert mixed.code == 0 and mixed.out == result.out


@both
@pytest.mark.parametrize("text", ["", "!!!", "   "])
def test_predict_takes_a_text_without_words(runs, call, name, text):
    result = call(name, "--predict", text, "--OUTPUT_DIR", runs[name].out)
    assert result.code == 0
    assert re.fullmatch(r"\d\t[a-z]+\t[01]\.\d{4}\t" + re.escape(text) + "\n", result.out)


@both
def test_model_file_holds_no_optimizer_state(runs, name):
    h5py = pytest.importorskip("h5py")
    with zipfile.ZipFile(runs[name].out / "model.keras") as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            names = []
            weights.visit(names.append)
        assert not json.loads(archive.read("config.json")).get("compile_config")
    assert names and not [path for path in names if "optimizer" in path.lower()]
    assert getattr(keras.models.load_model(runs[name].out / "model.keras"), "optimizer", None) is None


def test_lstm_embedding_is_frozen_and_gru_embedding_is_thawed(runs):
    moved = {}
    for name in SCRIPTS:
        model = keras.models.load_model(runs[name].out / "model.keras")
        matrix = max(model.get_weights(), key=lambda weight: weight.shape[0] * (weight.ndim == 2 and weight.shape[1] == 100))
        (cached,) = (runs[name].out / "data").glob("glove-*.npz")
        with np.load(cached) as file:
            moved[name] = np.abs(matrix[file["rows"]] - file["vectors"]).max()
    assert moved["LSTM"] == 0
    assert moved["GRU"] > 1e-6


# Padding and batches


def small_model(module, units=8, words=60):
    matrix = np.random.default_rng(0).normal(0, 0.5, (words, 100)).astype(np.float32)
    arguments = (4,) if module.SCRIPT == "GRU.py" else ()
    return matrix, module.build_model(matrix, units, 0.3, *arguments)


@both
def test_padding_never_changes_a_prediction(name):
    module = load_script(SCRIPTS[name])
    _, model = small_model(module)
    rng = np.random.default_rng(1)
    sequences = [rng.integers(1, 60, length).astype(np.int32) for length in (1, 2, 7, 8, 9, 17, 40, 66, 0, 3)]
    alone = np.concatenate([module.predict_tokens(model, [sequence]) for sequence in sequences])
    assert np.abs(module.predict_tokens(model, sequences) - alone).max() < 1e-5, "padded to 66 in one batch"
    assert np.abs(module.predict_tokens(model, sequences, 3) - alone).max() < 1e-5, "padded less, in batches of 3"
    assert np.ptp(alone[:8], axis=0).max() > 1e-3, "the model tells the texts apart"


@settings(max_examples=60, deadline=None)
@given(lengths=strategies.lists(strategies.integers(0, 70), min_size=1, max_size=120), size=strategies.integers(1, 40),
       spread=strategies.sampled_from([1, 3, 100]), seed=strategies.none() | strategies.integers(0, 9))
def test_batches_cover_each_row_once_and_group_like_lengths(lengths, size, spread, seed):
    module = batches_module()
    module.LENGTH_SPREAD = spread
    sequences = [np.ones(length, np.int32) for length in lengths]
    groups = module.batches(sequences, size, None if seed is None else np.random.default_rng(seed))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert sorted(len(rows) for rows in groups)[1:] == [size] * (len(groups) - 1), "all are full but one"
    groups.sort(key=lambda rows: min(lengths[row] for row in rows))
    for rows, longer in zip(groups, groups[1:]):
        slack = 0 if seed is None else spread
        assert max(lengths[row] for row in rows) <= min(lengths[row] for row in longer) + slack
    for rows in groups:
        tokens = module.pad(sequences, rows)
        assert tokens.shape[1] == max(1, *(lengths[row] for row in rows), 1)
        assert tokens.sum(1).tolist() == [max(lengths[row], 1) for row in rows], "an empty text is one unknown word"


def test_training_batches_are_shuffled_anew_cut_to_their_longest_and_traced_once():
    module = batches_module()
    module.LENGTH_SPREAD, module.BATCH_SIZE, module.SEED = 1, 8, 5
    rng = np.random.default_rng(2)
    sequences = [np.full(length, row + 1, np.int32) for row, length in enumerate(rng.integers(1, 9, 50))]
    labels = rng.integers(0, 6, 50)
    dataset, traces, epochs = module.training_batches(sequences, labels), [], []

    @module.tf.function(input_signature=dataset.element_spec)
    def step(tokens, targets):
        traces.append(tokens.shape)
        return tokens, targets

    for _ in range(2):
        seen = []
        for tokens, targets in (step(*batch) for batch in dataset):
            assert (tokens.numpy()[:, -1] > 0).any(), "no column is padding alone"
            for row, target in zip(tokens.numpy(), targets.numpy()):
                number = row[0] - 1
                assert np.count_nonzero(row) == len(sequences[number]) and (row[row > 0] == number + 1).all()
                assert target.argmax() == labels[number] and target.sum() == 1
                seen.append(number)
        assert sorted(seen) == list(range(50))
        epochs.append(seen)
    assert epochs[0] != epochs[1], "each epoch has an order of its own"
    assert len(traces) == 1 and len(dataset) == 7


@functools.cache
def batches_module():
    return load_script(SCRIPTS["LSTM"])


# Several devices and mixed precision; for want of GPUs on two logical CPUs, and float16 on the CPU


DEVICES = """
import json, sys
import conftest, numpy as np
script = conftest.load_script(sys.argv[1])
tf, keras = script.tf, script.keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.get_strategy()
if sys.argv[2] == "mirrored":
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
if sys.argv[2] == "mixed":
    keras.mixed_precision.set_global_policy("mixed_float16")
rng = np.random.default_rng(0)
labels = rng.integers(0, 6, 300)
texts = [" ".join(rng.permutation([f"e{label}", *map(str, rng.integers(10, 60, rng.integers(1, 9)))])) for label in labels]
vectorizer = script.make_vectorizer(texts)
tokens = script.encode(vectorizer, texts)
data = script.Encoded(tokens[:200], labels[:200], tokens[200:], labels[200:], [], [])
keras.utils.set_random_seed(1)
with strategy.scope():
    model = script.build_model(rng.normal(0, 0.5, (70, 100)).astype(np.float32), 16, 0.0)
history = script.fit(model, data, 0.01, 5, sys.argv[2])
content = script.model_bytes(script.text_model_of(vectorizer, model))
open(sys.argv[3], "wb").write(content)
loaded = script.load_model(sys.argv[3])
policies = [layer.dtype_policy.name for layer in loaded.layers[-1].layers if layer.weights]
probabilities = script.as_graph(loaded)(tf.constant(texts[200:])).numpy()
print(json.dumps([strategy.num_replicas_in_sync, [entry["loss"] for entry in history], policies,
                  float((probabilities.argmax(1) == labels[200:]).mean()),
                  max(entry["val_accuracy"] for entry in history)]))
"""


@both
def test_two_devices_and_mixed_precision_train_like_one_device_in_float32(name, tmp_path):
    found = {}
    for kind in ("single", "mirrored", "mixed"):
        result = subprocess.run([sys.executable, "-c", DEVICES, SCRIPTS[name], kind, tmp_path / f"{kind}.keras"],
                                capture_output=True, timeout=300, cwd=REPO / "tests")
        assert not result.returncode, result.stderr.decode()[-2000:]
        found[kind] = json.loads(result.stdout.splitlines()[-1])
    assert [found[kind][0] for kind in found] == [1, 2, 1]
    for kind in ("mirrored", "mixed"):
        assert np.allclose(found[kind][1], found["single"][1], rtol=0.1), "the losses of the epochs are alike"
    for _, losses, policies, loaded, best in found.values():
        assert losses[-1] < losses[0] * 0.7, "it learns"
        assert set(policies) == {"float32"}, "what is saved computes in float32"
        assert abs(loaded - best) < 0.05, "what is saved is what was trained"


# Bad rows


GOOD = [(f"text {emotion}", str(label)) for label, emotion in enumerate(EMOTIONS)]
BAD_ROWS = {
    "missing column": (b"text,emotion\na,0\n", ["label", "text, emotion"]),
    "both columns missing": (b"a,b\n1,2\n", ["text", "label", "a, b"]),
    "no rows": (b"text,label\n", ["no rows"]),
    "empty file": (b"", ["text and label"]),
    "empty text": (csv_bytes([GOOD[0], ("", "1")]), ["row 3", "no text"]),
    "blank text": (csv_bytes([GOOD[0], ("  ", "1")]), ["row 3", "no text"]),
    "label 7": (csv_bytes([*GOOD, ("a", "7")]), ["row 8", "'7'", "0 to 5"]),
    "label -1": (csv_bytes([("a", "-1")]), ["row 2", "'-1'"]),
    "label joy": (csv_bytes([GOOD[0], ("a", "joy")]), ["row 3", "'joy'"]),
    "no label": (csv_bytes([("a", "")]), ["row 2", "label"]),
    "not UTF-8": (csv_bytes(GOOD[:2]) + b"caf\xe9,1\n", ["row 4", "UTF-8"]),
    "too many columns": (csv_bytes(GOOD[:2]) + b"a,b,1\n", ["line 4"]),
    "too many columns throughout": (b"text,label\nwell, then,1\nso, now,2\n", ["row 2", "more columns"]),
}


@both
@pytest.mark.parametrize("case", BAD_ROWS)
def test_parse_rows_names_file_and_row(scripts, name, case):
    module = scripts[name]
    content, words = BAD_ROWS[case]
    with pytest.raises(module.InputError) as caught:
        module.parse_rows(content, "mine.csv")
    text = str(caught.value)
    assert "\n" not in text
    for word in ("mine.csv", *words):
        assert word in text, text


def test_parse_rows_takes_what_is_well_formed(scripts):
    rows = [("nan", "0"), ("null", "1"), ('a "b", c', "2"), ("two\nlines", "3"), ("caf\u00e9 \U0001f600", "4")]
    texts, labels = scripts["LSTM"].parse_rows(b"\xef\xbb\xbf" + csv_bytes(rows).replace(b"\n", b"\r\n", 1), "a.csv")
    assert texts == [text for text, _ in rows] and labels.tolist() == [0, 1, 2, 3, 4]
    texts, labels = scripts["LSTM"].parse_rows(b"label,id,text\n5,1,a\n0,2,b\n", "a.csv")
    assert texts == ["a", "b"] and labels.tolist() == [5, 0]


@both
def test_bad_training_and_validation_files_are_one_line(call, data, tmp_path, name):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(csv_bytes([row for row in data.train if row[1] not in "25"]))
    assert_one_line(call(name, *data.paths, "--TRAIN_PATH", bad), "TRAIN_PATH", "love", "surprise")
    bad.write_bytes(csv_bytes([*GOOD, ("a", "6")]))
    for constant in ("TRAIN_PATH", "VAL_PATH", "TEST_PATH"):
        assert_one_line(call(name, *data.paths, f"--{constant}", bad), bad, "row 8")
        assert_one_line(call(name, *data.paths, f"--{constant}", tmp_path / "none.csv"), constant, "none.csv")
    assert not tree(tmp_path / "out")


# GloVe


def write_glove(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


LINES = glove_bytes(["the", "i", "you", "cat"]).splitlines(keepends=True)
BAD_GLOVE = {
    "50-d": (b"".join(b" ".join(line.split()[:51]) + b"\n" for line in LINES), ["row 1", "51 columns", "100-d"]),
    "200-d": (b"".join(line.rstrip() + b" 0.5" * 100 + b"\n" for line in LINES), ["row 1", "201 columns"]),
    "header": (b"4 100\n" + b"".join(LINES), ["row 1", "2 columns"]),
    "cut-off last line": (b"".join(LINES)[:-200], ["row 4", "cut off"]),
    "a non-number": (b"".join(LINES[:2]) + b"you x" + LINES[2][LINES[2].index(b" ") + 2:] + LINES[3], ["row 3"]),
    "nan": (b"".join(LINES[:2]) + b"you nan" + LINES[2][LINES[2].index(b" ", 4):] + LINES[3], ["row 3", "finite"]),
    "no word in common": (glove_bytes(["zzz", "yyy"]), ["no word in common"]),
    "empty": (b"", ["no word in common"]),
}


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
@pytest.mark.parametrize("case", BAD_GLOVE)
def test_read_glove_refuses_a_wrong_file(scripts, tmp_path, case, suffix):
    content, words = BAD_GLOVE[case]
    path = write_glove(tmp_path / f"glove{suffix}", content)
    with pytest.raises(scripts["LSTM"].InputError) as caught:
        scripts["LSTM"].read_glove(path, ["i", "you", "cat"])
    text = str(caught.value)
    assert "\n" not in text
    for word in (path, *words):
        assert word in text, text


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_read_glove_refuses_a_damaged_gzip(scripts, tmp_path, damage):
    whole = gzip.compress(glove_bytes([f"word{number}" for number in range(300)]))
    middle = len(whole) // 2
    content = {"cut": whole[:middle], "no gzip": b"the 1 2 3\n" * 9,
               "flipped": whole[:middle] + bytes(255 - byte for byte in whole[middle:middle + 50]) + whole[middle + 50:]}
    path = tmp_path / "glove.gz"
    path.write_bytes(content[damage])
    with pytest.raises(scripts["LSTM"].InputError) as caught:
        scripts["LSTM"].read_glove(str(path), ["word0"])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_read_glove_takes_wanted_rows_and_passes_over_words_with_blanks(scripts, tmp_path):
    content = b"".join(LINES[:2]) + b". . " + LINES[2] + "caf\u00e9 ".encode() + b" ".join([b"1.5"] * 100) + b"\n" + LINES[3]
    words = ["the", "caf\u00e9", "cat", "you", "absent", ".", "", "[UNK]"]
    plain = scripts["LSTM"].read_glove(write_glove(tmp_path / "a.txt", content), words)
    zipped = scripts["LSTM"].read_glove(write_glove(tmp_path / "a.gz", content), words)
    assert set(plain) == set(zipped) == {"the", "caf\u00e9", "cat"}
    for word, vector in plain.items():
        assert vector.shape == (100,) and vector.dtype == np.float32 and (vector == zipped[word]).all()
    assert plain["the"].tolist() == np.array(LINES[0].split()[1:], np.float32).tolist()


def test_embedding_matrix_caches_the_rows_of_one_file_and_vocabulary(tmp_path, monkeypatch):
    module = load_script(SCRIPTS["LSTM"])
    module.GLOVE_PATH = write_glove(tmp_path / "a.txt", b"".join(LINES))
    reads, read = [], module.read_glove
    monkeypatch.setattr(module, "read_glove", lambda *arguments: reads.append(1) or read(*arguments))
    vocabulary = ["", "[UNK]", "i", "absent", "cat"]
    matrix, known = module.embedding_matrix(vocabulary, str(tmp_path / "cache"))
    assert known.tolist() == [False, False, True, False, True] and (matrix[0] == 0).all() and matrix[3].any()
    again, known_again = module.embedding_matrix(vocabulary, str(tmp_path / "cache"))
    assert (again == matrix).all() and (known_again == known).all() and len(reads) == 1
    other, _ = module.embedding_matrix(["", "[UNK]", "cat", "i"], str(tmp_path / "cache"))
    assert (other[2] == matrix[4]).all() and len(reads) == 2
    module.GLOVE_PATH = write_glove(tmp_path / "a.txt", glove_bytes(["cat", "i"]) + b"".join(LINES[:1]))
    changed, _ = module.embedding_matrix(vocabulary, str(tmp_path / "cache"))
    assert len(reads) == 3 and (changed[4] != matrix[4]).any()


@both
def test_bad_glove_path_is_one_line(call, data, tmp_path, name):
    assert_one_line(call(name, *data.paths, "--GLOVE_PATH", tmp_path / "none.txt"), "GLOVE_PATH", "none.txt")
    path = write_glove(tmp_path / "a.txt", BAD_GLOVE["50-d"][0])
    assert_one_line(call(name, *data.paths, "--GLOVE_PATH", path), path, "51 columns")


# Download


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        how, name = self.path.strip("/").split("/")
        body = self.server.files[name]
        length = len(body)
        if how == "wrong":
            body = body[:-2] + b"?\n"
        elif how == "cut":
            body = body[:length // 2]
        self.send_response(int(how) if how.isdigit() else 200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(direct_network, data):
    """A local server with the three files; options(train=..., ...) are the constants that point to it."""
    test = "".join(f"{text};{EMOTIONS[int(label)]}\n" for text, label in data.test).encode()
    files = {"train": (data.folder / "train.csv").read_bytes(), "val": (data.folder / "val.csv").read_bytes(), "test": test}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads, served.asked, served.files = True, [], files
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def options(**how):
            arguments = ["--DOWNLOAD_RETRIES", 0, "--GLOVE_PATH", "none.txt"]
            for name, content in files.items():
                kind = how.get(name, "good")
                port = 9 if kind == "refused" else served.server_port
                arguments += [f"--{name.upper()}_URL", f"http://127.0.0.1:{port}/{kind}/{name}",
                              f"--{name.upper()}_HASH", blob_id(content)]
            return arguments

        served.options = options
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()


@both
def test_default_files_are_downloaded_checked_and_cached(call, server, tmp_path, name):
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


@pytest.mark.parametrize("how, words", [("wrong", "hash"), ("404", "404"), ("500", "500"), ("refused", "refused"),
                                        ("cut", "cut off")])
def test_a_failed_download_is_one_line_and_leaves_nothing(call, server, tmp_path, how, words):
    result = call("LSTM", *server.options(train=how))
    assert_one_line(result, "train.csv", f"/{how}/train", words, "TRAIN_PATH")
    assert not tree(tmp_path / "out") and not tree(tmp_path / "cwd")
    if how != "refused":
        result = call("LSTM", *server.options(test=how))
        assert_one_line(result, "GLOVE_PATH")
        assert "note: no test set" in result.out and words in result.out and "200 validation, 0 test rows" in result.out
        assert set(tree(tmp_path / "out")) == {"data/train.csv", "data/validation.csv"}


def test_a_local_file_goes_before_a_download(call, server, tmp_path):
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes([("a", "9")]))
    assert_one_line(call("LSTM", *server.options()), "train.csv", "row 2")
    (tmp_path / "cwd" / "train.csv").unlink()
    (tmp_path / "script" / "train.csv").write_bytes(csv_bytes([("a", "8")]))
    assert_one_line(call("LSTM", *server.options()), "train.csv", "row 2", "'8'")
    assert not server.asked


def test_published_test_file_is_read(tmp_path):
    module = load_script(SCRIPTS["LSTM"])
    content = b"im feeling; odd;sadness\ni am happy;joy\nwow;surprise\n"
    module.TEST_HASH = blob_id(content)
    texts, labels = module.parse_rows(content, "x/test.csv")
    assert texts == ["im feeling; odd", "i am happy", "wow"] and labels.tolist() == [0, 1, 5]


def test_training_rows_of_another_set_are_left_out(tmp_path):
    module = load_script(SCRIPTS["LSTM"])
    train = [(f"text {number}", str(number % 6)) for number in range(30)]
    for name, rows in (("TRAIN", train), ("VAL", train[:6]), ("TEST", train[6:12])):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(rows))
        setattr(module, f"{name}_PATH", str(tmp_path / f"{name}.csv"))
    found = module.acquire(str(tmp_path))
    assert found.train_texts == [text for text, _ in train[12:]]
    assert found.train_labels.tolist() == [int(label) for _, label in train[12:]]


# Grid search

GRID = [{"UNITS": units, "DROPOUT": dropout} for units in (16, 32) for dropout in (0.1, 0.2)]
DRIVER = """
import json, os, sys, time
sys.path.insert(0, {tests!r})
from conftest import load_script
module = load_script({script!r})
folder, seconds, wait = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
settings = json.loads({grid!r})
module.grid_settings = lambda: settings

def train(setting, report):
    with open(os.path.join(folder, "log"), "a") as log:
        log.write(f"{{os.getpid()}} {{json.dumps(setting)}}\\n")
    time.sleep(seconds)
    score = setting["UNITS"] / 100 + setting["DROPOUT"]
    report(0, score)
    return [{{"val_macro_f1": score, "val_accuracy": 0.5}}]

open(os.path.join(folder, f"ready-{{os.getpid()}}"), "w").close()
while len([name for name in os.listdir(folder) if name.startswith("ready-")]) < wait:
    time.sleep(0.05)
study = module.search("test", module.grid_settings(), train, folder)
module.report_search(study, module.grid_settings(), folder)
"""


@pytest.fixture
def driver(tmp_path):
    """start(seconds a setting, workers to wait for) starts a process on the grid in tmp_path/grid."""
    (tmp_path / "grid").mkdir()
    source = DRIVER.format(tests=str(REPO / "tests"), script=str(SCRIPTS["LSTM"]), grid=json.dumps(GRID))
    (tmp_path / "driver.py").write_text(source)
    processes = []

    def start(seconds, wait):
        command = [sys.executable, tmp_path / "driver.py", tmp_path / "grid", seconds, wait]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def trained_settings(folder):
    return [line.split(" ", 1) for line in (folder / "log").read_text().splitlines()]


def fake_train(module, log, fail=()):
    """A train function that is done at once: good values, but for the settings in `fail`."""

    def train(setting, report):
        log.append(setting)
        history = []
        for epoch in range(4):
            score = 0.1 if setting in fail else setting["UNITS"] / 100 + setting["DROPOUT"]
            history.append({"val_macro_f1": score, "val_accuracy": 0.5})
            report(epoch, score)
        return history

    return train


def test_two_processes_share_one_grid(driver, tmp_path):
    folder = tmp_path / "grid"
    workers = [driver(1.0, 2) for _ in range(2)]
    for worker in workers:
        output = worker.communicate(timeout=150)[0].decode()
        assert worker.returncode == 0, output[-2000:]
        assert "best setting: UNITS = 32, DROPOUT = 0.2" in output
    log = trained_settings(folder)
    assert sorted(setting for _, setting in log) == sorted(map(json.dumps, GRID))
    assert {int(pid) for pid, _ in log} == {worker.pid for worker in workers}


def test_a_killed_search_goes_on_and_another_grid_is_refused(driver, tmp_path, capfd):
    folder = tmp_path / "grid"
    worker = driver(1.0, 1)
    deadline = time.monotonic() + 120
    while not (folder / "log").exists() or len(trained_settings(folder)) < 3:
        assert worker.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    before = [json.loads(setting) for _, setting in trained_settings(folder)]
    assert before == GRID[:3]
    module, log = load_script(SCRIPTS["LSTM"]), []
    study = module.search("test", GRID, fake_train(module, log), str(folder))
    assert sorted(map(json.dumps, log)) == sorted(map(json.dumps, GRID[2:])), "only the cut-off one is trained again"
    module.search("test", GRID, fake_train(module, log), str(folder))
    assert len(log) == 2, "a search that is complete trains nothing"
    capfd.readouterr()
    assert module.report_search(study, GRID, str(folder)) == GRID[3]
    assert "best setting: UNITS = 32, DROPOUT = 0.2" in capfd.readouterr().out
    store = (folder / "grid.journal").read_bytes()
    with pytest.raises(module.InputError) as caught:
        module.search("test", GRID[:2], fake_train(module, log), str(folder))
    assert "another grid" in str(caught.value) and "STORAGE" in str(caught.value)
    assert (folder / "grid.journal").read_bytes()[:len(store)] == store and len(log) == 2
    assert str(folder / "grid.journal") in str(caught.value), str(caught.value)


@both
def test_hopeless_settings_are_reported_as_pruned(tmp_path, capfd, name):
    module, log = load_script(SCRIPTS[name]), []
    grid = [{"UNITS": units, "DROPOUT": dropout} for units in (16, 32, 64) for dropout in (0.1, 0.2)]
    study = module.search("test", grid, fake_train(module, log, fail=grid[4:]), str(tmp_path))
    capfd.readouterr()
    best = module.report_search(study, grid, str(tmp_path))
    out = capfd.readouterr().out
    assert log == grid and best == grid[3]
    assert out.count("pruned") == 2 and out.count("complete") == 4
    with open(tmp_path / "grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["pruned"] * 2
    scores = [float(row["val_macro_f1"]) for row in rows[:4]]
    assert scores == sorted(scores, reverse=True) and scores[0] == pytest.approx(0.52)
    assert {(row["UNITS"], row["DROPOUT"]) for row in rows[4:]} == {("64", "0.1"), ("64", "0.2")}
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [b"not a journal\n", b"\x00\xff" * 50], ids=["text", "bytes"])
def test_an_unreadable_store_is_one_line(tmp_path, content):
    module = load_script(SCRIPTS["LSTM"])
    (tmp_path / "store").write_bytes(content)
    module.STORAGE = str(tmp_path / "store")
    with pytest.raises(module.InputError) as caught:
        module.search("test", GRID, fake_train(module, []), str(tmp_path))
    assert "STORAGE" in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "store").read_bytes().startswith(content)


def test_every_setting_of_the_grids_differs():
    lstm, gru = (load_script(path) for path in SCRIPTS.values())
    grids = [lstm.grid_settings(), gru.grid_settings()]
    gru.GRID_PHASE = 2
    grids.append(gru.grid_settings())
    assert [len(grid) for grid in grids] == [50, 50, 16]
    for grid in grids:
        assert len({tuple(setting.items()) for setting in grid}) == len(grid)
    assert grids[0] == grids[1]
    assert {setting["UNITS"] for setting in grids[0]} == {16, 32, 64, 128, 256}
    assert {setting["DROPOUT"] for setting in grids[0]} == {round(0.05 * step, 2) for step in range(1, 11)}
    assert {setting["FINE_TUNING_RATE"] for setting in grids[2]} == {1e-3, 5e-4, 1e-4, 5e-5}


@both
def test_units_and_dropout_reach_the_layers(scripts, name):
    module = scripts[name]
    matrix = np.zeros((9, 100), np.float32)
    for units, dropout, dense in ((16, 0.05, 0), (32, 0.5, 0), *([(8, 0.3, 5)] if name == "GRU" else [])):
        model = module.build_model(matrix, units, dropout, *([dense] if dense else []))
        found = {layer["class_name"]: layer["config"] for layer in model.get_config()["layers"]}
        assert found["SpatialDropout1D"]["rate"] == dropout
        recurrent = found["Bidirectional"]["layer"]
        assert (recurrent["class_name"], recurrent["config"]["units"]) == (name, units)
        assert model.get_layer("embedding").trainable is False
        if dense:
            assert found["Dropout"]["rate"] == dropout and model.get_layer("dense").units == dense
        probabilities = [model(np.ones((4, 6), np.int32), training=training).numpy() for training in (False, True)]
        assert probabilities[0].shape == (4, 6)


def test_fine_tuning_rate_and_epochs_reach_the_thawed_fit(monkeypatch):
    module, calls = load_script(SCRIPTS["GRU"]), []
    monkeypatch.setattr(module, "fit", lambda model, data, rate, epochs, name, report=None:
                        calls.append((model.get_layer("embedding").trainable, rate, epochs, report)) or [{}])
    _, model = small_model(module)
    assert module.freeze_thaw(model, None, 5e-5, 7, "x", print) == [{}, {}]
    assert calls == [(False, module.LEARNING_RATE, module.WARM_UP_EPOCHS, None), (True, 5e-5, 7, print)]


def test_freeze_thaw_changes_the_embedding_only_when_thawed():
    module = load_script(SCRIPTS["GRU"])
    module.WARM_UP_EPOCHS, module.BATCH_SIZE = 1, 16
    matrix, model = small_model(module)
    rng = np.random.default_rng(3)
    sequences, labels = [rng.integers(1, 60, 6).astype(np.int32) for _ in range(48)], np.arange(48) % 6
    data = module.Encoded(sequences, labels, sequences[:12], labels[:12], [], np.zeros(0, np.int64))
    fit, seen = module.fit, []

    def watched(model, *arguments):
        kernel = model.get_layer("emotion").get_weights()[0]
        history = fit(model, *arguments)
        seen.append((model.get_layer("embedding").get_weights()[0], (model.get_layer("emotion").get_weights()[0] != kernel).any()))
        return history

    module.fit = watched
    assert len(module.freeze_thaw(model, data, 1e-3, 1, "test")) == 2
    (warm, learned), (thawed, learned_again) = seen
    assert learned and learned_again, "the other layers learn in both"
    assert (warm == matrix).all()
    assert (thawed != matrix).any()


# The two scripts, and the command line


def test_shared_functions_are_the_same_letter_by_letter():
    parts = {}
    for name, path in SCRIPTS.items():
        source = path.read_text(encoding="utf-8")
        parts[name] = {node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body
                       if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in OWN}
    assert parts["LSTM"] == parts["GRU"] and list(parts["LSTM"]) == list(parts["GRU"])
    assert len(parts["LSTM"]) > 40


@both
def test_help_lists_every_constant(scripts, capfd, monkeypatch, name):
    constants = scripts[name].read_constants()
    assert set(constants) <= set(scripts[name].RANGES)
    named = set(re.findall(r"^([A-Z][A-Z0-9_]*) = ", SCRIPTS[name].read_text(), re.MULTILINE))
    assert named - set(constants) == {"RANGES", "EMOTIONS", "SCRIPT", "DEFAULT_PATHS"}
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit) as caught:
        scripts[name].main()
    out = " ".join(capfd.readouterr().out.split())
    assert caught.value.code == 0 and "--predict" in out
    for constant, (_, comment) in constants.items():
        assert f"--{constant} " in out and comment[:25] in out, constant


@both
@pytest.mark.parametrize("arguments, words", [
    (["--UNITS", "0"], ["UNITS", "0"]), (["--UNITS", "1.5"], ["UNITS", "whole"]), (["--DROPOUT", "x"], ["DROPOUT", "number"]),
    (["--DROPOUT", "1"], ["DROPOUT", "0.95"]), (["--LEARNING_RATE", "nan"], ["LEARNING_RATE"]),
    (["--LEARNING_RATE", "inf"], ["LEARNING_RATE"]), (["--USE_GLOVE", "maybe"], ["USE_GLOVE", "True or False"]),
    (["--SEED", "-1"], ["SEED"]), (["--UNITS"], ["UNITS", "--help"]), (["--NOTHING", "1"], ["NOTHING", "--help"]),
    (["--BATCH_SIZE", ""], ["BATCH_SIZE"]), (["--PATIENCE", "0"], ["PATIENCE"]),
])
def test_a_wrong_constant_is_one_line(call, tmp_path, name, arguments, words):
    assert_one_line(call(name, *arguments), *words)
    assert not (tmp_path / "out").exists()


@both
def test_a_damaged_or_missing_model_is_one_line(call, runs, tmp_path, name):
    path = tmp_path / "out" / "model.keras"
    assert_one_line(call(name, "--predict", "a"), path, f"{name}.py")
    path.parent.mkdir(exist_ok=True)
    whole = (runs[name].out / "model.keras").read_bytes()
    for content in (b"", b"no zip", whole[:len(whole) // 2], whole[:5000] + bytes(3000) + whole[8000:]):
        path.write_bytes(content)
        assert_one_line(call(name, "--predict", "a"), path, f"{name}.py")
        assert path.read_bytes() == content
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    other.save(path)
    assert_one_line(call(name, "--predict", "a"), path, f"{name}.py")


@both
@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc/self"), reason="needs a folder nobody can write")
def test_an_output_folder_that_cannot_be_written_is_one_line(call, data, name):
    assert_one_line(call(name, *data.paths, "--OUTPUT_DIR", "/proc/self/none"), "OUTPUT_DIR")


@both
def test_importing_does_nothing(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").mkdir()
    script = shutil.copy(SCRIPTS[name], tmp_path / "script")
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--NOTHING"])
    load_script(script)
    assert tree(tmp_path) == before
    assert capfd.readouterr() == ("", "")
