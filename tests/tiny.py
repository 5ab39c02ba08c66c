"""What the tests of the tiny models share: the two scripts, real runs with everything watched, and models of random tokens."""
import functools
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("torch", "pydantic", "safetensors"):
    pytest.importorskip(needed, reason=f"the tiny models need {needed}; see requirements.txt")

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import conftest
from conftest import (EMOTIONS, PROGRAMS, REPO, csv_bytes, emotion_rows, load_script, made_tweets, run_script,
                      tree)

SCRIPTS = {size: REPO / f"tinymodel-emotion-classification-{size}.py" for size in ("10kB", "250kB")}
LIMITS = {"10kB": 10_000, "250kB": 250_000}
SIZES = {"two": "10kB", "six": "10kB", "twin": "250kB"}  # of each run, the script
NOT_NEEDED = ("torch", "requests", "urllib3", "tqdm", "pooch", "pyarrow", "sklearn", "pandas",
              "vaderSentiment")  # by --predict and --help
DEAD_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}

both = pytest.mark.parametrize("size", SCRIPTS)
each_run = pytest.mark.parametrize("name", SIZES)
quiet = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

assert_one_line = functools.partial(conftest.assert_one_line, most=600)  # the limit of the tiny scripts

# Texts of every kind that the tokeniser tells apart, in pieces
PIECES = [piece.encode() if isinstance(piece, str) else piece for piece in (
    *"aabzAZ019_'`@@!:.-,/ \x00\x01\x02\x7f\t", "not ", "don't ", "don`t ", "but ", "feel ", "a ", "good ", "@bob", "http",
    "Anna ", " R'A", "Oo", " JoAnn", "&#65;nn", "HTTPS://t.co/1 ", "www.", "Www.x ", "...", ":)", "soooo", "&", "&amp;",
    "&#39;", "&#x2019;", "&#x1F600;", "&hellip;", "&nbsp;", "&Amp;", "&lt", "&#55296;", "&#0;", "&#1114112;", "&#12345678;",
    "&#8204;", "&#1;", ";", "&amp;amp;", "amp;", "#38;", "&amp;lt;",
    *"\u0301\u0302\u0323\u0331\u0341", "e\u0301", "E\u0301", "a\u0323\u0302", "\u0438\u0306", "<\u0338", "&#101;\u0301", b"\xcc",
    *"\x80\x9f\xa0\xa1\xab\xad´»¿ÀÉ×ØÞßéÿʹʼΑΡΣΫσЀЏАЯя\u2000\u200b\u200d\u200f‐―‘’“”…\u2028\u202a\u202f′″‹›\u205f\u2060\u2064−",
    *"\u218f\u2190→☺⯿Ⰰ\u3000、〿ぁ漢\ufe0f\ufeff\uff00！０＠Ａ［ａ～\uffff😀🏻🏿👍\U0010ffff", b"\xff", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80",
    b"\xf0\x9f", b"\xc0\x80", b"\xf4\x90\x80\x80")]
byte_texts = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    st.lists(st.sampled_from(PIECES), min_size=150, max_size=250).map(b"".join),  # MAX_LENGTH and beyond
)


@pytest.fixture(scope="session")
def modules():
    """{size: the script as a module}; a test that changes its constants puts them back, with monkeypatch."""
    return {size: load_script(path) for size, path in SCRIPTS.items()}


@pytest.fixture(scope="session")
def module(modules):
    """The 10 kB script as a module."""
    return modules["10kB"]


# Real runs


def write_tweets(folder, tweets):
    """Write 6,000 tweets to train on, 2,000 to test with, and TweetEval's two pairs of files; return the arguments."""
    (folder / "train.txt").write_bytes(b"\n".join(tweets[0][:6000]) + b"\n")
    (folder / "test.txt").write_bytes(b"\n".join(tweets[1][:2000]) + b"\n")
    human = folder / "human"
    human.mkdir()
    for number, (part, size) in enumerate((("train", 1500), ("val", 600))):
        rows = [row.split(b"\t", 1) for row in made_tweets(size, 10 + number)]
        neutral = [row % 3 == 2 for row in range(size)]
        texts = [b"we go to work today, day %d" % row if none else rows[row][1] for row, none in enumerate(neutral)]
        labels = [b"1" if none else b"%d" % (2 * int(rows[row][0])) for row, none in enumerate(neutral)]
        for what, lines in (("text", texts), ("labels", labels)):
            (human / f"{part}_{what}.txt").write_bytes(b"\n".join(lines) + b"\n")
    return ["--TRAIN_URL", folder / "train.txt", "--TEST_URL", folder / "test.txt", "--HUMAN_URL", human]


def write_emotions(folder):
    """Write 2,000 rows of six emotions, named by words; return the arguments."""
    rows = [(text, EMOTIONS[int(label)]) for text, label in emotion_rows("train", 2000)]
    (folder / "emotions.csv").write_bytes(csv_bytes(rows, lineterminator="\r\n"))
    return ["--TRAIN_URL", folder / "emotions.csv"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory, tweets):
    """runs(name) gives a run on real data, made once: "two" (tweets, also people's), "six" (emotions), "twin" (tweets, 250 kB).

    A run is a namespace: root (all folders), script (alone in its folder), arguments (the data), out, process, before and
    after (trees of root), size, file (the model's), results.
    """
    made = {}

    def run(name):
        if name in made:
            return made[name]
        root = tmp_path_factory.mktemp(f"run-{name}")
        for folder in ("script", "cwd", "home", "tmp", "rows"):
            (root / folder).mkdir()
        script, out = Path(shutil.copy(SCRIPTS[SIZES[name]], root / "script")), root / "out"
        arguments = write_emotions(root / "rows") if name == "six" else write_tweets(root / "rows", tweets)
        arguments = arguments[:4] if name == "twin" else arguments
        before = tree(root)
        process = run_script(
            script, *arguments, "--OUTPUT_DIR", out, cwd=root / "cwd",
            env={**os.environ, **DEAD_PROXY, "HOME": str(root / "home"), "TMPDIR": str(root / "tmp")})
        assert process.returncode == 0, process.stderr.decode()
        made[name] = SimpleNamespace(
            root=root, script=script, arguments=arguments, out=out, process=process, before=before, after=tree(root),
            size=SIZES[name], file=out / "model.safetensors", results=json.loads((out / "results.json").read_bytes()))
        return made[name]

    return run


@pytest.fixture(scope="session")
def models(runs, modules):
    """models(name) gives the model of a run as its script loads it."""
    made = {}
    return lambda name: made.get(name) or made.setdefault(name, modules[SIZES[name]].load_model(str(runs(name).file)))


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """The environment of a process in which none of NOT_NEEDED can be imported, nor any address reached."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copy(PROGRAMS / "refuse_imports.py", folder / "sitecustomize.py")
    return {**os.environ, **DEAD_PROXY, "REFUSED": ",".join(NOT_NEEDED), "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}


# Models of random tokens


def random_model(module, seed, labels=("0", "1"), max_length=512, chars=(4,), starts=False, negation=3, marking=3, markers=(),
                 factor=11, entries=8, fingerprint=4, value=4, blocks=3, fill=1.0, scale=0.0123):
    """Return a Packed with random tokens, and the row of the codebook that each kept bucket has: {bucket: row}."""
    rng, columns = np.random.default_rng(seed), 1 if len(labels) == 2 else len(labels)
    s = settings_for(module, max_length=max_length, char_ngrams=chars, char_starts=starts, negation=negation, marking=marking,
                     markers=markers, entries=entries, fingerprint_bits=fingerprint, value_bits=value, blocks=blocks)
    steps = rng.integers(-127, 128, (1 << value, columns)).astype(np.int8)
    kept, rows = np.zeros(s.buckets, bool), {}
    for block in range(blocks):
        for slot in rng.permutation(64)[:round(entries * fill)].tolist():
            bucket = (block * 64 + slot << fingerprint) + int(rng.integers(1 << fingerprint))
            kept[bucket], rows[bucket] = True, int(rng.integers(len(steps)))
    table = module.pack(np.flatnonzero(kept), np.array([rows[bucket] for bucket in sorted(rows)], np.int64), s)
    bias = np.float32([float(f"{value:.5g}") for value in rng.normal(0, 0.3, columns)])  # five digits, as in the file
    return module.Packed(s, tuple(labels), factor, scale, bias, steps, table), rows


def settings_for(module, **values):
    """Return Settings, of words and pairs alone where nothing else is said."""
    usual = dict(max_length=512, char_ngrams=(), char_starts=False, negation=3, marking=3, markers=(), entries=8, fingerprint_bits=4,
                 value_bits=4)
    return module.Settings(**{**usual, **values})


def full_model(module, **values):
    """Return a Packed that keeps every token, each with the same weight."""
    s = settings_for(module, **{"entries": 64, "fingerprint_bits": 0, "value_bits": 1, "blocks": 1000, **values})
    table = module.pack(np.arange(s.buckets), np.zeros(s.buckets, np.int64), s)
    return module.Packed(s, ("0", "1"), 12, 0.01, np.float32([0]), np.int8([[1], [1]]), table)


def exported(module, model):
    """Return tinymodel.py of a model as a namespace, run as --explain runs it."""
    names = {"__name__": "tinymodel"}
    exec(module.export(model)["tinymodel.py"], names)
    return SimpleNamespace(**names)


def assert_equal_models(one, other):
    """Two Packed agree in all that decides a prediction."""
    assert (one.settings, one.labels, one.factor, one.scale) == (other.settings, other.labels, other.factor, other.scale)
    for name in ("bias", "steps", "table"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all(), name


def logits_of(probabilities):
    """Return the logits less their mean: those that softmax made these probabilities of, but for a constant."""
    logs = np.log(probabilities)
    return logs - logs.mean(axis=-1, keepdims=True)
