"""What the tests of Project1 share: the scripts and their settings, small data, whole runs, command lines in this process."""
import functools
import gzip
import io
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("tensorflow", "optuna", "pandas", "sklearn", "matplotlib", "pooch", "pydantic"):
    pytest.importorskip(needed, reason=f"Project1 needs {needed}; see Project1/requirements.txt")

import numpy as np

from conftest import EMOTIONS, REPO, csv_bytes, emotion_rows, load_script, program, shared, watched

PROJECT1 = REPO / "Project1"
sys.path.insert(0, str(PROJECT1))  # as in a process that runs one of its scripts

import rnn.saving
from rnn.settings import make_settings, run

SCRIPTS = {name: PROJECT1 / f"{name}.py" for name in ("LSTM", "GRU")}
MODULES = sorted(f"rnn/{path.name}" for path in (PROJECT1 / "rnn").glob("*.py"))
NAMES = ["--LABEL_NAMES", ",".join(EMOTIONS)]  # only the files of the default data have these names by themselves
SMALL = {"LSTM": ["--UNITS", 8, "--NUM_EPOCHS", 2],
         "GRU": ["--UNITS", 8, "--FINAL_UNITS", 8, "--DENSE_UNITS", 8, "--NUM_EPOCHS", 1, "--WARM_UP_EPOCHS", 1,
                 "--FINAL_EPOCHS", 2]}
TEXTS = ["i feel so lucky to have you", "im furious", "i was terrified of the dark", "what a  lovely day",
         "caf\u00e9 \U0001f600"]
EXPORTS = {"model.tflite", "model.onnx", "tokenizer.json"}

both = pytest.mark.parametrize("name", SCRIPTS)


# The scripts


@functools.cache
def script(name):
    """Return a script as a module; for tests that change nothing of it."""
    return load_script(SCRIPTS[name])


def settings_of(name="LSTM", **constants):
    """Return the Settings of a script, some constants others."""
    return make_settings(script(name), **constants)


def small_model(name, words=60, classes=6, **constants):
    """Return (embedding matrix, a model of random weights): the baseline, or phase 2 of GRU.py."""
    matrix = np.random.default_rng(0).normal(0, 0.5, (words, 100)).astype(np.float32)
    settings = settings_of(name, UNITS=8, **({"FINAL_UNITS": 8, "DENSE_UNITS": 4} if name == "GRU" else {}), **constants)
    return matrix, script(name).build_model(settings, matrix, classes, *([2] if name == "GRU" else []))


# Data


def vector_bytes(words, size=100):
    """A file of word vectors of random numbers."""
    rng = random.Random(0)
    return "".join(" ".join([word, *(f"{rng.uniform(-1, 1):.4f}" for _ in range(size))]) + "\n" for word in words).encode()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small files of made rows: 600 training, 200 validation, 200 test; and vectors of their words."""
    return shared(tmp_path_factory, "project1_data", lambda: made_data(tmp_path_factory))


def made_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows, val = emotion_rows("train", 800), emotion_rows("validation", 200)
    train, test = rows[:600], rows[600:800]
    assert {label for _, label in train} == set("012345")
    for name, part in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.csv").write_bytes(csv_bytes(part))
    vectors = folder / "glove.txt.gz"
    words = sorted({word for text, _ in train for word in text.split() if not word.startswith("word")})
    vectors.write_bytes(gzip.compress(vector_bytes(words), 1))
    paths = ["--TRAIN_PATH", folder / "train.csv", "--VAL_PATH", folder / "val.csv", "--TEST_PATH", folder / "test.csv",
             "--GLOVE_PATH", vectors, *NAMES]
    return SimpleNamespace(folder=folder, vectors=vectors, paths=paths, train=train, val=val, test=test)


# Whole runs


@pytest.fixture(scope="session")
def runs(data, tmp_path_factory):
    """{script name: its finished run with exports}, both run at once, as users do, from an empty folder.

    Neither tells anybody of it, nor writes to the home folder; the same of each grid search and run of `nursery`.
    """
    def make():
        with watched(tmp_path_factory.mktemp("home")) as environment:
            return finished_runs(data, tmp_path_factory, environment)

    return shared(tmp_path_factory, "project1_runs", make)


def finished_runs(data, tmp_path_factory, environment):
    started = {}
    for name, path in SCRIPTS.items():
        home = tmp_path_factory.mktemp(name)
        command = [sys.executable, path, *data.paths, *SMALL[name], "--EXPORT", "--OUTPUT_DIR", home / "out"]
        (home / "cwd").mkdir()
        log = open(home / "stderr", "wb")
        process = subprocess.Popen([*map(str, command)], cwd=home / "cwd", stdout=subprocess.PIPE, stderr=log, env=environment)
        started[name] = home, process, log
    runs = {}
    for name, (home, process, log) in started.items():
        stdout = process.communicate(timeout=300)[0].decode()
        log.close()
        assert process.returncode == 0, stdout[-2000:] + (home / "stderr").read_text()[-3000:]
        runs[name] = SimpleNamespace(out=home / "out", home=home, stdout=stdout, err=(home / "stderr").read_text(),
                                     results=json.loads((home / "out" / "results.json").read_text()))
    return runs


QUICK_PROFILE = dict.fromkeys(("epoch_seconds", "training_texts_per_second", "parameters", "latency_seconds_batch_1",
                               "latency_seconds_batch_256"), 1.0) | {"peak_memory_bytes": None}


def be_quick(patch=setattr):
    """What was saved is not loaded again, nor timed or drawn, which takes seconds; the `runs` do this."""
    patch(rnn.saving, "compare_saved", lambda *_: {})
    patch(rnn.saving, "profile", lambda *_: QUICK_PROFILE)
    for name in ("draw_curves", "draw_confusion"):
        patch(rnn.saving, name, lambda *_: b"")


def untrained(module):
    """Let `fit` of a script leave the model as it is: the graph of a training alone takes seconds to make."""
    figures = ("loss", "val_loss", "val_accuracy", "val_macro_f1", "seconds", "evaluation_seconds")
    module.fit = lambda *_: [dict.fromkeys(figures, 1.0)]


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Run a fresh module's command line: call(name, *arguments) gives code, out and err; outputs go to tmp_path/out.

    The working folder is empty, and the script a copy in a folder of its own, where no data lie; see `be_quick`.
    """
    for folder in ("cwd", "script"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    be_quick(monkeypatch.setattr)

    def call(name, *arguments, stdin=b"", change=lambda module: None):
        path = shutil.copy(SCRIPTS[name], tmp_path / "script")
        module = load_script(path)
        change(module)
        options = ["--OUTPUT_DIR", tmp_path / "out", *arguments]
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, options)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capfd.readouterr()
        code = run(module.main, "BATCH_SIZE")
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=own_lines(err))

    return call


def own_lines(err):
    """Standard error without TensorFlow's own lines, which it prints once a process when it looks for a GPU."""
    return "".join(line for line in err.splitlines(keepends=True)
                   if not line.startswith(("WARNING: All log", "E0000", "W0000", "I0000")))


def run_program(name, *arguments, **options):
    """Run a program of tests/programs; returns the CompletedProcess, output as text."""
    command = program(name, *arguments, env={**os.environ, "PYTHONUTF8": "1"})
    return subprocess.run(**command, capture_output=True, encoding="utf-8", timeout=200, **options)


# Processes


class Nursery:
    """A process that has imported the scripts; its forks run jobs, see tests/programs/nursery.py."""

    def __init__(self, environment):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self.process = subprocess.Popen(**program("nursery.py", env=environment), **pipes)
        assert select.select([self.process.stdout], [], [], 120)[0] and self.process.stdout.readline() == "ready\n"

    def tell(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def start(self, **job):
        return Worker(self, Path(job["folder"]), int(self.tell(**job)))

    def run(self, name, *arguments, folder):
        """Start a script's command line; its output goes to a file in `folder`."""
        return self.start(name=name, arguments=[*map(str, arguments)], folder=str(folder))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Worker:
    """A job of the Nursery: a process with its output."""

    def __init__(self, nursery, folder, pid):
        self.nursery, self.folder, self.pid = nursery, folder, pid

    @property
    def out(self):
        path = self.folder / f"{self.pid}.out"
        return path.read_text() if path.exists() else ""

    def kill(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=40):
        """Return the exit status; a process that takes longer is one that waits for ever."""
        deadline = time.monotonic() + seconds
        while not (status := self.nursery.tell(poll=self.pid)):
            if time.monotonic() > deadline:
                self.kill(signal.SIGKILL)
                pytest.fail(f"still running after {seconds} s:\n{self.out[-3000:]}")
            time.sleep(0.05)
        return int(status)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    with watched(tmp_path_factory.mktemp("home")) as environment:
        nursery = Nursery(environment | {"KERAS_HOME": os.devnull})  # it imports Keras before a script could say so
        yield nursery
        nursery.end()
