"""What the tests of Project1 share: the two scripts, small real data, whole runs, and command lines in this process."""
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

for needed in ("tensorflow", "optuna", "pandas", "sklearn", "matplotlib", "pooch", "pydantic"):
    pytest.importorskip(needed, reason=f"Project1 needs {needed}; see Project1/requirements.txt")

import numpy as np

from conftest import EMOTIONS, REPO, SHARED_DATA, csv_bytes, emotion_rows, load_script, program

SCRIPTS = {name: REPO / "Project1" / f"{name}.py" for name in ("LSTM", "GRU")}
NAMES = ["--LABEL_NAMES", ",".join(EMOTIONS)]  # only the files of the default data have these names by themselves
SMALL = {"LSTM": ["--UNITS", 8, "--NUM_EPOCHS", 2],
         "GRU": ["--UNITS", 8, "--FINAL_UNITS", 8, "--DENSE_UNITS", 8, "--NUM_EPOCHS", 1, "--WARM_UP_EPOCHS", 1,
                 "--FINAL_EPOCHS", 2]}
TEXTS = ["i feel so lucky to have you", "im furious", "i was terrified of the dark", "what a  lovely day",
         "caf\u00e9 \U0001f600"]
EXPORTS = {"model.tflite", "model.onnx", "tokenizer.json"}

both = pytest.mark.parametrize("name", SCRIPTS)


def vector_bytes(words, size=100):
    """A file of word vectors of random numbers."""
    rng = random.Random(0)
    return "".join(" ".join([word, *(f"{rng.uniform(-1, 1):.4f}" for _ in range(size))]) + "\n" for word in words).encode()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small files of real rows: 600 training, 200 validation, 200 test; and GloVe Twitter's first words."""
    folder = tmp_path_factory.mktemp("data")
    rows, val = emotion_rows("train", 800), emotion_rows("validation", 200)
    train, test = rows[:600], rows[600:800]
    assert {label for _, label in train} == set("012345")
    for name, part in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.csv").write_bytes(csv_bytes(part))
    source, vectors = SHARED_DATA / "glove" / "glove.twitter.27B.100d.top2720.txt.gz", folder / "glove.txt.gz"
    if source.is_file():  # its whole rows; the file ends in the middle of one
        content = b"".join(gzip.decompress(source.read_bytes()).splitlines(keepends=True)[:2720])
    else:
        content = vector_bytes(sorted({word for text, _ in train for word in text.split() if not word.startswith("word")}))
    vectors.write_bytes(gzip.compress(content, 1))
    paths = ["--TRAIN_PATH", folder / "train.csv", "--VAL_PATH", folder / "val.csv", "--TEST_PATH", folder / "test.csv",
             "--GLOVE_PATH", vectors, *NAMES]
    return SimpleNamespace(folder=folder, vectors=vectors, paths=paths, train=train, val=val, test=test)


@pytest.fixture(scope="session")
def runs(data, tmp_path_factory):
    """{script name: its finished run with exports}, both run at once, as users do, from an empty folder."""
    started = {}
    for name, path in SCRIPTS.items():
        home = tmp_path_factory.mktemp(name)
        command = [sys.executable, path, *data.paths, *SMALL[name], "--EXPORT", "--OUTPUT_DIR", home / "out"]
        (home / "cwd").mkdir()
        log = open(home / "stderr", "wb")
        process = subprocess.Popen([*map(str, command)], cwd=home / "cwd", stdout=subprocess.PIPE, stderr=log)
        started[name] = home, process, log
    runs = {}
    for name, (home, process, log) in started.items():
        stdout = process.communicate(timeout=300)[0].decode()
        log.close()
        assert process.returncode == 0, stdout[-2000:] + (home / "stderr").read_text()[-3000:]
        runs[name] = SimpleNamespace(out=home / "out", home=home, stdout=stdout, err=(home / "stderr").read_text(),
                                     results=json.loads((home / "out" / "results.json").read_text()))
    return runs


@pytest.fixture(scope="session")
def scripts():
    """{name: the script as a module}; for tests that change none of its constants."""
    return {name: load_script(path) for name, path in SCRIPTS.items()}


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Run a fresh module's command line: call(name, *arguments) gives code, out and err; outputs go to tmp_path/out.

    The working folder is empty, and the script a copy in a folder of its own, where no data lie. What was saved is not loaded
    by a process of its own here, nor timed or drawn, which takes seconds; the `runs` do all this.
    """
    timed = dict.fromkeys(("epoch_seconds", "training_texts_per_second", "parameters", "latency_seconds_batch_1",
                           "latency_seconds_batch_256"), 1.0) | {"peak_memory_bytes": None}
    for folder in ("cwd", "script"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run(name, *arguments, stdin=b"", change=lambda module: None):
        script = shutil.copy(SCRIPTS[name], tmp_path / "script")
        module = load_script(script)
        module.compare_in_fresh_process = lambda files, texts, expected: {}
        module.profile = lambda *_: timed
        module.draw_curves = module.draw_confusion = lambda *_: b""
        change(module)
        options = ["--OUTPUT_DIR", tmp_path / "out", *arguments]
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, options)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capfd.readouterr()
        code = module.run_main()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=own_lines(err))

    return run


def own_lines(err):
    """Standard error without TensorFlow's own lines, which it prints once a process when it looks for a GPU."""
    return "".join(line for line in err.splitlines(keepends=True)
                   if not line.startswith(("WARNING: All log", "E0000", "W0000", "I0000")))


def small_model(module, units=8, words=60, classes=6):
    """(embedding matrix, a model of random weights)."""
    matrix = np.random.default_rng(0).normal(0, 0.5, (words, 100)).astype(np.float32)
    arguments = (4,) if module.SCRIPT == "GRU.py" else ()
    return matrix, module.build_model(matrix, classes, units, 0.3, *arguments)


def run_program(name, *arguments, **options):
    """Run a program of tests/programs; returns the CompletedProcess, output as text."""
    command = program(name, *arguments, env={**os.environ, "PYTHONUTF8": "1"})
    return subprocess.run(**command, capture_output=True, encoding="utf-8", timeout=200, **options)
