"""Helpers that the test files share: the scripts, running and importing them, files, a server, rows of real and made data."""
import contextlib
import csv
import hashlib
import http.server
import importlib.util
import io
import os
import pickle
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

# Before they are imported: their assertions speak as a test's do
pytest.register_assert_rewrite("notebooks", "project1", "project2", "tiny")

# One thread: threads that spin for each other make runs many times slower where a core is busy
os.environ["OMP_NUM_THREADS"] = "1"

REPO = Path(__file__).resolve().parent.parent
ALL_SCRIPTS = {str(path.relative_to(REPO)): path for path in (
    *(REPO / f"tinymodel-emotion-classification-{size}.py" for size in ("10kB", "250kB")),
    REPO / "Project1" / "LSTM.py", REPO / "Project1" / "GRU.py", REPO / "Project2" / "emotion_classifier.py")}
PROJECT2 = Path(os.environ.get("PROJECT2_SCRIPT") or ALL_SCRIPTS["Project2/emotion_classifier.py"])
PROGRAMS = REPO / "tests" / "programs"
FONTS = Path.home() / ".cache" / "matplotlib"
REAL_DATA = Path(os.environ.get("REAL_DATA", REPO / "no real data"))  # what test_real_data.py reads, and no other test
CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*): (.*?) = (.*?)(  # .*)$")  # a line of a tiny script: name, type, value, comment
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LONGEST = ("real_data", "project2_compress", "project1_notebook", "project1_run", "readme", "project2_train",
           "project2_notebook", "project2_clients", "project2_inference", "project2_ray", "project1_grid", "project1_training",
           "project2_hub")
FILLERS = "i you the a to my is in on at it me so just now today work home go day we feel".split()

# The order of the files


def pytest_configure(config):
    config.option.loadscopereorder = False  # else pytest-xdist takes the files with the most tests first


def pytest_collection_modifyitems(items):
    """Those that take longest go first, and apart those that wait for the same: at the end no worker is left alone."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


# Running and importing scripts


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


def node_with(folder, *packages, seconds):
    """Return the path of node, after npm has installed packages into a folder, without running what is in them; else skip."""
    node, npm = map(shutil.which, ("node", "npm"))
    if not (node and npm):
        pytest.skip("needs node and npm")
    command = [npm, "install", "--prefix", folder, *packages, "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries", "1",
               "--ignore-scripts"]
    try:
        installed = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=folder)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {', '.join(packages)} in time")
    if installed.returncode:
        pytest.skip(f"npm does not install {', '.join(packages)}: {installed.stderr[-300:]}")
    return node


def assert_one_line(result, *words, most=300):
    """A command line ended with status 2, no summary, and one line of at most `most` characters that has these words.

    result: a CompletedProcess, or an object with code, out and err; texts or bytes.
    """
    if isinstance(result, subprocess.CompletedProcess):
        code, out, err = result.returncode, result.stdout or b"", result.stderr
    else:
        code, out, err = result.code, result.out, result.err
    out, err = (text.decode() if isinstance(text, bytes) else text for text in (out, err))
    assert code == 2, result
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert len(err.removesuffix("\n")) <= most, err
    assert "FINAL SUMMARY" not in out
    for word in words:
        assert str(word) in err, (word, err)


# Files and ports


def tree(folder):
    """Return {relative path: bytes} of all files below a folder."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def readme_block(path, words):
    """Return the one fenced block of a Markdown file that has these words in it."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (REPO / path).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if words in block]
    return block


def blob_id(data):
    """Return git's name of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def free_port():
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def serving(handler, **state):
    """Serve on loopback, each request in a thread of its own; gives the server.

    It has an address, a list `asked`, an event `over` that is set at the end, and what is in `state`, for the handler to use.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.daemon_threads, served.block_on_close = True, False
        served.address = f"http://127.0.0.1:{served.server_port}"
        vars(served).update({"asked": [], "over": threading.Event(), **state})
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            served.over.set()
            served.shutdown()
            thread.join()


class Recorder(http.server.BaseHTTPRequestHandler):
    """A proxy that notes each request and answers none."""

    def do_GET(self):
        self.server.asked.append(self.requestline)
        self.send_error(502)

    do_CONNECT = do_POST = do_HEAD = do_GET

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def watched(home):
    """Give the environment of processes with this empty home folder, whose requests meet a recording proxy.

    At its end no address was asked for, and no file was written to the home folder. matplotlib keeps its list of fonts
    where it always does, for it takes seconds to make.
    """
    home.mkdir(exist_ok=True)
    with serving(Recorder) as proxy:
        names = [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith(("XDG_", "HF_"))]
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment |= {name: proxy.address for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
        for name in ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "KERAS_HOME"):
            environment.pop(name, None)
        yield environment | {"HOME": str(home), "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(FONTS))}
        assert not proxy.asked, proxy.asked
    assert not tree(home), list(tree(home))


def shared(tmp_path_factory, name, make):
    """Return what make() returns: it is made by the first of pytest's processes that asks, and read by the others."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with filelock.FileLock(folder / f"{name}.lock"):
        if not (folder / f"{name}.pickle").exists():
            made = pickle.dumps(make())
            (folder / f"{name}.pickle").write_bytes(made)
    return pickle.loads((folder / f"{name}.pickle").read_bytes())


# Rows


def csv_bytes(rows, header=("text", "label"), **options):
    """Return a CSV of rows below a header; options are csv.writer's."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **{"lineterminator": "\n", **options}).writerows([header, *rows])
    return buffer.getvalue().encode()


def read_csv(data, delimiter=","):
    """Return the rows of a CSV's bytes: [{column: text}]."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def write_pair(folder, part, rows, mapping=None):
    """Write rows of (text, label) in TweetEval's form, a file of texts and one of labels, and perhaps mapping.txt.

    Returns the path of the texts.
    """
    folder.mkdir(exist_ok=True)
    for kind, lines in zip(("text", "labels"), ([text for text, _ in rows], [label for _, label in rows])):
        (folder / f"{part}_{kind}.txt").write_text("".join(f"{line}\n" for line in lines))
    if mapping is not None:
        (folder / "mapping.txt").write_text(mapping)
    return folder / f"{part}_text.txt"


def made_rows(number, seed, labels="012345"):
    """Return rows of (text, label), all different, a word in each telling its label; the labels take turns."""
    rng, rows = random.Random(seed), []
    moods = ["sad", "happy", "love", "angry", "afraid", "shocked"]
    for row in range(number):
        turn = row % len(labels)
        mood = moods[turn] if turn < len(moods) else f"mood{turn}"
        words = [mood, *rng.choices(FILLERS, k=rng.randrange(3, 25)), f"word{seed}x{row}"]
        rows.append((" ".join(words), labels[turn]))
    return rows


def emotion_rows(part, number):
    """Return rows (text, label) as the emotion data's "train" or "validation" have them, made by a rule."""
    return made_rows(number, ("train", "validation").index(part))


def made_tweets(number, seed):
    """Return `number` rows of label<TAB>text, learnable and all different."""
    rng = random.Random(seed)
    words = ["love great happy thanks fun lol best nice", "sad miss hate sick tired ugh lost bad"]
    rows = set()
    while len(rows) < number:
        label = rng.randrange(2)
        mood = words[label ^ (rng.random() < 0.1)].split()
        text = rng.choices(FILLERS, k=rng.randrange(3, 15)) + rng.choices(mood, k=2)
        rng.shuffle(text)
        rows.add(f"{1 - label}\t@friend {' '.join(text)}!".encode())
    return sorted(rows, key=lambda row: rng.random())


@pytest.fixture(scope="session")
def tweets():
    """(training rows, test rows), lists of bytes, made by a rule."""
    rows = made_tweets(10000, 0)
    return rows[:7000], rows[7000:]


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C stops the tests: a script that ends in this process has it ignored from then on."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_pause(monkeypatch):
    """A download is tried again at once, not after seconds."""
    import pooch
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def direct_network(monkeypatch):
    """Loopback servers are asked directly, whatever proxy the environment names."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
