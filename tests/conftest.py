"""Helpers that the test files share: the repository, the real data, running and importing scripts."""
import hashlib
import importlib.util
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

# Before they are imported: their assertions speak as a test's do
pytest.register_assert_rewrite("notebooks", "project1", "project2", "tiny")

# One thread: threads that spin for each other make runs many times slower where a core is busy
os.environ["OMP_NUM_THREADS"] = "1"

REPO = Path(__file__).resolve().parent.parent
ALL_SCRIPTS = {str(path.relative_to(REPO)): path for path in (
    *(REPO / f"tinymodel-emotion-classification-{size}.py" for size in ("10kB", "250kB")),
    REPO / "Project1" / "LSTM.py", REPO / "Project1" / "GRU.py", REPO / "Project2" / "emotion_classifier.py")}
PROGRAMS = REPO / "tests" / "programs"
SHARED_DATA = REPO.parent / "shared" / "data"


def load_script(path):
    """Import a script by its path as a new module, without writing bytecode beside it."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


def run_script(path, *arguments, **options):
    """Run a script as users do; returns the CompletedProcess with its output as bytes."""
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, **options)


def program(name, *arguments, env=os.environ):
    """Return what subprocess takes to run a Python program of tests/programs, which can import the helpers here."""
    path = os.pathsep.join(filter(None, [str(REPO / "tests"), env.get("PYTHONPATH")]))
    return {"args": [sys.executable, str(PROGRAMS / name), *map(str, arguments)], "env": {**env, "PYTHONPATH": path}}


def tree(folder):
    """Return {relative path: bytes} of all files below a folder."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def blob_id(data):
    """Return git's name of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def free_port():
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def made_tweets(number, seed):
    """Return `number` rows of label<TAB>text, learnable and all different; for want of real data."""
    rng = random.Random(seed)
    words = ["love great happy thanks fun lol best nice", "sad miss hate sick tired ugh lost bad"]
    fillers = "i you the a to my is in on at it me so just now today work home go day we is".split()
    rows = set()
    while len(rows) < number:
        label = rng.randrange(2)
        mood = words[label ^ (rng.random() < 0.1)].split()
        text = rng.choices(fillers, k=rng.randrange(3, 15)) + rng.choices(mood, k=2)
        rng.shuffle(text)
        rows.add(f"{1 - label}\t@friend {' '.join(text)}!".encode())
    return sorted(rows, key=lambda row: rng.random())


@pytest.fixture(scope="session")
def tweets():
    """(training rows, test rows), lists of bytes: the real tweets, or made ones where these are missing."""
    folder = SHARED_DATA / "twitter"
    if (folder / "train.txt").is_file() and (folder / "test.txt").is_file():
        return tuple((folder / name).read_bytes().splitlines() for name in ("train.txt", "test.txt"))
    rows = made_tweets(10000, 0)
    return rows[:7000], rows[7000:]


@pytest.fixture
def direct_network(monkeypatch):
    """Loopback servers are asked directly, whatever proxy the environment names."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
