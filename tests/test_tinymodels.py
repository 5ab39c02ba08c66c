"""The two tiny models: a real run, prediction, parity of Python and C, and the pure functions."""
import ast
import ctypes
import difflib
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import REPO, load_script, run_script, tree

SCRIPTS = {
    "10kB": REPO / "tinymodel-emotion-classification-10kB.py",
    "250kB": REPO / "tinymodel-emotion-classification-250kB.py",
}
LIMITS = {"10kB": 10_000, "250kB": 250_000}
NASTY = b"aab@'' !:.A\x00\xff_1"
DEAD_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}

both = pytest.mark.parametrize("size", SCRIPTS)
quiet = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")

texts_of_bytes = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([bytes([b]) for b in NASTY]), max_size=60).map(b"".join),
    st.binary(min_size=500, max_size=530),
)


@pytest.fixture(scope="session")
def modules():
    """{size: the script as a module}; tests that change its constants load their own."""
    return {size: load_script(path) for size, path in SCRIPTS.items()}


# A real run


@pytest.fixture(scope="session")
def runs(tmp_path_factory, tweets):
    """{size: one run on a part of the tweets}, the script alone in its folder, everything watched.

    A run is a namespace: root (all folders), script, out, process, before, after (trees of root),
    model, header, results, train and test (paths of the data).
    """
    made = {}

    def run(size):
        if size in made:
            return made[size]
        root = tmp_path_factory.mktemp(f"run-{size}")
        for name in ("script", "cwd", "home", "tmp", "rows"):
            (root / name).mkdir()
        script = Path(shutil.copy(SCRIPTS[size], root / "script"))
        train, test, out = root / "rows" / "train.txt", root / "rows" / "test.txt", root / "out"
        train.write_bytes(b"\n".join(tweets[0][:6000]) + b"\n")
        test.write_bytes(b"\n".join(tweets[1][:2000]) + b"\n")
        before = tree(root)
        process = run_script(
            script, "--TRAIN_URL", train, "--TEST_URL", test, "--OUTPUT_DIR", out, cwd=root / "cwd",
            env={**os.environ, **DEAD_PROXY, "HOME": str(root / "home"), "TMPDIR": str(root / "tmp")},
        )
        assert process.returncode == 0, process.stderr.decode()
        made[size] = SimpleNamespace(
            root=root, script=script, out=out, process=process, before=before, after=tree(root),
            model=out / "model.safetensors", header=out / "tinymodel.h",
            results=json.loads((out / "results.json").read_bytes()), train=train, test=test,
        )
        return made[size]

    return run


@both
def test_summary_stands_last_and_agrees_with_results(runs, size):
    run = runs(size)
    results = run.results
    assert run.process.stdout.decode().splitlines()[-6:] == [
        "================ FINAL SUMMARY ================",
        f"Initial Test Accuracy: {results['initial_test_accuracy']:.3f}",
        f"Final Test Accuracy: {results['final_test_accuracy']:.3f}",
        f"Total Training Time: {results['training_seconds']:.2f} seconds",
        f"Model Size: {results['model_bytes']} bytes",
        "===============================================",
    ]
    assert run.process.stdout.endswith(b"===\n")
    assert b"Traceback" not in run.process.stderr


@both
def test_results_hold_what_the_design_asks_for(runs, size):
    run = runs(size)
    results = run.results
    assert results["model_bytes"] == run.model.stat().st_size <= LIMITS[size]
    assert results["test_rows"] == 2000
    assert 0 < results["validation_rows"] < results["train_rows"] <= 6000 - results["validation_rows"]
    assert str(run.train) in results["dataset"] and str(run.test) in results["dataset"]
    assert results["seed"] == results["constants"]["SEED"]
    assert results["constants"]["MODEL_BYTES"] == LIMITS[size]
    assert set(results["versions"]) >= {"python", "torch", "numpy"}
    profile = results["profile"]
    assert set(profile["seconds"]) >= {"data", "encoding", "training", "evaluation"}
    assert profile["seconds"]["training"] == results["training_seconds"] > 0
    assert profile["training_texts_per_second"] > 0 and profile["latency_seconds"] > 0


@both
def test_training_makes_the_model_better(runs, size):
    results = runs(size).results
    assert 0.3 < results["initial_test_accuracy"] < 0.65
    assert results["final_test_accuracy"] > results["initial_test_accuracy"] + 0.1
    assert results["validation_accuracy"] > 0.6


@both
def test_final_accuracy_is_that_of_the_saved_file(runs, modules, size):
    run, module = runs(size), modules[size]
    rows = [row.split(b"\t", 1) for row in run.test.read_bytes().splitlines()]
    model = module.load_model(str(run.model))
    probabilities = module.predict(model, module.unpack(model), [text for _, text in rows])
    right = (probabilities > 0.5) == np.array([label == b"1" for label, _ in rows])
    assert right.mean() == run.results["final_test_accuracy"]


@both
def test_nothing_is_written_outside_the_output_folder(runs, size):
    run = runs(size)
    assert set(tree(run.out)) >= {"model.safetensors", "tinymodel.h", "results.json"}
    assert {name: data for name, data in run.after.items() if not name.startswith("out/")} == run.before
    assert not [name for name in run.after if "partial" in name]


@both
def test_a_second_run_gives_the_same_bytes_in_the_default_folder(runs, size):
    run = runs(size)
    process = run_script(run.script, "--TRAIN_URL", run.train, "--TEST_URL", run.test, cwd=run.root / "cwd")
    assert process.returncode == 0, process.stderr.decode()
    out = run.script.parent / "outputs" / run.script.stem
    assert (out / "model.safetensors").read_bytes() == run.model.read_bytes()
    assert (out / "tinymodel.h").read_bytes() == run.header.read_bytes()


# Prediction as users run it


@both
def test_predict_needs_only_the_script_and_the_model(runs, tmp_path, size):
    run = runs(size)
    script = Path(shutil.copy(run.script, tmp_path))
    folder = tmp_path / "outputs" / script.stem
    folder.mkdir(parents=True)
    shutil.copy(run.model, folder)
    before = tree(tmp_path)
    lines = b"so happy today\r\n\nbad \xff\xfe\x80 bytes\na\tb\n"
    process = run_script(
        script, "--predict", "I love you, thanks!", "--predict", "-", "--predict", "so sad, I miss you", "--explain",
        input=lines, cwd=tmp_path, env={**os.environ, **DEAD_PROXY},
    )
    assert process.returncode == 0 and process.stderr == b""
    texts = [b"I love you, thanks!", b"so happy today", b"", b"bad \xff\xfe\x80 bytes", b"a\tb", b"so sad, I miss you"]
    rows = process.stdout.split(b"\n")
    assert rows.pop() == b""
    assert len(rows) == len(texts)
    explained = []
    for row, text in zip(rows, texts):
        match = re.fullmatch(rb"([01])\t([01]\.\d{4})\t" + re.escape(text) + rb"\t(.*)", row)
        assert match, row
        assert (match[1] == b"1") == (float(match[2]) > 0.5) or match[2] == b"0.5000"
        explained.append(match[3])
    assert rows[0][:1] == b"1" and rows[-1][:1] == b"0"
    for tokens in (explained[0], explained[-1]):
        weights = [float(weight) for weight in re.findall(rb" ([+-]\d+\.\d\d)(?:, |$)", tokens)]
        assert weights and weights == sorted(weights, key=abs, reverse=True)
    assert tree(tmp_path) == before


@both
def test_without_explain_a_line_has_three_columns(runs, modules, capfdbinary, size):
    run, module = runs(size), modules[size]
    model = module.load_model(str(run.model))
    texts = [row.split(b"\t", 1)[1] for row in run.test.read_bytes().splitlines()[:50]]
    module.print_predictions(model, texts, False)
    rows = [row.split(b"\t", 2) for row in capfdbinary.readouterr().out.splitlines()]
    probabilities = module.predict(model, module.unpack(model), texts)
    assert [row[2] for row in rows] == texts
    assert [row[0] for row in rows] == [b"%d" % (p > 0.5) for p in probabilities]
    assert np.abs(np.array([float(row[1]) for row in rows]) - probabilities).max() <= 0.5001e-4


@both
def test_explained_weights_sum_to_the_logit(runs, modules, size):
    run, module = runs(size), modules[size]
    model = module.load_model(str(run.model))
    weights = module.unpack(model)
    for text in (b"I love my new phone, thanks!", b"", b"so sad :( :( i miss it", b"@bob x\xff\xfe"):
        logit = sum(weight for _, weight in module.explain(model, weights, text, 10**6))
        assert module.predict(model, weights, [text])[0] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-9)


@both
@pytest.mark.parametrize("text", ["", "x", "''", "@a"])
def test_the_shortest_texts_can_be_predicted_alone(runs, size, text, monkeypatch, capfdbinary):
    run, module = runs(size), load_script(SCRIPTS[size])
    monkeypatch.setattr(sys, "argv", [str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", text, "--explain"])
    assert module.main() == 0
    label, _, rest = capfdbinary.readouterr().out.split(b"\t", 2)
    assert label in (b"0", b"1") and rest.startswith(text.encode() + b"\t")


@both
def test_predict_without_a_model_names_the_command_that_makes_one(tmp_path, size):
    process = run_script(SCRIPTS[size], "--predict", "x", "--OUTPUT_DIR", tmp_path)
    assert process.returncode == 2 and process.stdout == b""
    error = process.stderr.decode()
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(rf"`python3 \S*{re.escape(SCRIPTS[size].name)}", error)
    assert tree(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_predict_into_a_closed_pipe_gives_no_traceback(runs):
    """As in `--predict - < many.txt | head -1`."""
    run = runs("10kB")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "-"]
    try:
        process = subprocess.run(command, input=b"x\n" * 50000, stdout=write, stderr=subprocess.PIPE, timeout=300)
    finally:
        os.close(write)
    assert b"Traceback" not in process.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_predict_onto_a_full_disk_is_one_line(runs):
    run = runs("10kB")
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "x"]
    with open("/dev/full", "wb") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=300)
    assert process.returncode == 2
    assert process.stderr.startswith(b"error: ") and process.stderr.count(b"\n") == 1


# Parity of Python and C


PARITY_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "tinymodel.h"
int main(void) {
  uint32_t n;
  while (fread(&n, 4, 1, stdin) == 1) {
    char *text = malloc(n ? n : 1);
    float p;
    if (!text || (n && fread(text, 1, n, stdin) != n)) return 1;
    p = tinymodel_predict(text, n);
    fwrite(&p, 4, 1, stdout);
    free(text);
  }
  return 0;
}
"""
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def compile_c(folder, header, source, name, *flags, compiler="gcc"):
    """Compile `source` against a header in `folder`; return the path of what came out."""
    if header is not None:
        (folder / "tinymodel.h").write_bytes(header)
    code = folder / f"{name}.{'cc' if compiler == 'g++' else 'c'}"
    code.write_text(source)
    command = [compiler, *flags, "-I", str(folder), "-o", str(folder / name), str(code)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[:3000]
    return folder / name


def c_probabilities(program, texts, **options):
    data = b"".join(struct.pack("=I", len(text)) + text for text in texts)
    process = subprocess.run([program], input=data, capture_output=True, timeout=300, **options)
    assert process.returncode == 0, process.stderr.decode()[:3000]
    return np.frombuffer(process.stdout, np.float32)


def python_probabilities(module, model, texts):
    weights = module.unpack(model)
    return np.concatenate([module.predict(model, weights, texts[i:i + 4096]) for i in range(0, len(texts), 4096)])


def assert_same(c, python):
    assert len(c) == len(python)
    assert np.isfinite(python).all() and np.isfinite(c).all()
    assert np.abs(c - python).max() <= 1e-6
    assert ((c > 0.5) == (python > 0.5)).all()


def random_texts(number, seed):
    """Return byte strings of all kinds: empty, without letters, long, not UTF-8, with zero bytes."""
    rng = random.Random(seed)
    texts = [b"", b"a" * 10**6, bytes(10), bytes(600), b"'" * 5, b"@", b" ", b"!!!" * 300, rng.randbytes(10**6)]
    texts += [rng.randbytes(n) for n in range(505, 520)]
    while len(texts) < number * 2 // 3:
        texts.append(rng.randbytes(rng.choice((0, 1, 2, 5, 20, 100, 600))))
    while len(texts) < number:
        texts.append(bytes(rng.choices(NASTY, k=rng.randrange(80))))
    return texts


@needs_gcc
@both
def test_c_gives_what_python_gives(runs, modules, tweets, tmp_path, size):
    run, module = runs(size), modules[size]
    program = compile_c(tmp_path, run.header.read_bytes(), PARITY_PROGRAM, "parity", "-Os", *STRICT)
    texts = [row.split(b"\t", 1)[1] for row in tweets[1]] + random_texts(100_000, 0)
    model = module.load_model(str(run.model))
    assert_same(c_probabilities(program, texts), python_probabilities(module, model, texts))


@needs_gcc
@both
def test_c_reads_nothing_outside_its_arrays(runs, modules, tmp_path, size):
    run, module = runs(size), modules[size]
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    built = subprocess.run(["gcc", *flags, "-o", str(tmp_path / "probe"), str(probe)], capture_output=True)
    if built.returncode or subprocess.run([str(tmp_path / "probe")], capture_output=True).returncode:
        pytest.skip("gcc has no sanitizers here")
    program = compile_c(tmp_path, run.header.read_bytes(), PARITY_PROGRAM, "parity", *flags)
    texts = random_texts(6000, 1)
    model = module.load_model(str(run.model))
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    assert_same(c_probabilities(program, texts, env=environment), python_probabilities(module, model, texts))


@pytest.fixture(scope="session")
def c_functions(runs, tmp_path_factory):
    """{size: tinymodel_predict of the run's header as a Python function of bytes}."""
    made = {}

    def get(size):
        if size not in made:
            folder = tmp_path_factory.mktemp("shared-object")
            source = '#include "tinymodel.h"\nfloat f(const char *t, size_t n) { return tinymodel_predict(t, n); }\n'
            library = compile_c(folder, runs(size).header.read_bytes(), source, "f.so", "-Os", "-shared", "-fPIC")
            function = ctypes.CDLL(str(library)).f
            function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_float
            made[size] = lambda text: function(text, len(text))
        return made[size]

    return get


@needs_gcc
@both
@quiet
@given(text=texts_of_bytes)
def test_c_gives_what_python_gives_for_any_bytes(runs, modules, c_functions, size, text):
    module = modules[size]
    model = module.load_model(str(runs(size).model))
    python = module.predict(model, module.unpack(model), [text])[0]
    c = c_functions(size)(text)
    assert abs(c - python) <= 1e-6 and (c > 0.5) == (python > 0.5)


def random_model(module, seed, max_length=512, words=(1, 2), skip=False, chars=(4,), entries=8, fingerprint=4, value=4, blocks=3, fill=1.0):
    """Return a Packed with random tokens, and its weights: {bucket: step}."""
    rng = np.random.default_rng(seed)
    s = module.Settings(max_length, words, skip, chars, entries, fingerprint, value, blocks)
    steps = np.sort(rng.choice(np.setdiff1d(np.arange(-127, 128), [0]), 1 << value, replace=value > 7)).astype(np.int8)
    kept, expected = np.zeros(s.buckets, bool), {}
    for block in range(blocks):
        for slot in rng.permutation(64)[:round(entries * fill)]:
            bucket = (int(block) * 64 + int(slot) << fingerprint) + int(rng.integers(1 << fingerprint))
            kept[bucket] = True
            expected[bucket] = int(rng.integers(len(steps)))
    indices = np.array([expected[bucket] for bucket in sorted(expected)], np.int64)
    model = module.Packed(s, 0.01, steps, module.pack(kept, indices, s))
    return model, {bucket: int(steps[index]) for bucket, index in expected.items()}


@needs_gcc
@pytest.mark.parametrize("options", [
    dict(words=(1,), chars=(), max_length=7),
    dict(words=(), chars=(8,), entries=64, fingerprint=0),
    dict(words=(4,), chars=(), fingerprint=8, value=1),
    dict(words=(2, 3, 4), skip=True, chars=(1, 2, 3), entries=64, value=8, fingerprint=1),
    dict(words=(), skip=True, chars=(1,), blocks=1, entries=1),
    dict(words=(1, 4), chars=(2, 6), blocks=7, max_length=65535),
], ids=str)
def test_c_gives_what_python_gives_with_other_constants(modules, tmp_path, options):
    module = modules["10kB"]
    model, _ = random_model(module, 5, **options)
    program = compile_c(tmp_path, module.export_header(model).encode(), PARITY_PROGRAM, "parity", "-O2", *STRICT)
    texts = random_texts(2000, 2)
    assert_same(c_probabilities(program, texts), python_probabilities(module, model, texts))


C_FUNCTION = '#include "tinymodel.h"\nfloat f(const char *t, size_t n);\nfloat f(const char *t, size_t n) { return tinymodel_predict(t, n); }\n'


@needs_gcc
@pytest.mark.skipif(not (shutil.which("nm") and shutil.which("size")), reason="no nm or size on this machine")
@both
def test_c_object_is_small_and_needs_nothing(runs, modules, tmp_path, size):
    flags = ["-Os", *STRICT, "-fno-stack-protector", "-fstack-usage", "-c"]
    module = compile_c(tmp_path, runs(size).header.read_bytes(), C_FUNCTION, "f.o", *flags)
    undefined = subprocess.run(["nm", "-u", module], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in undefined if name not in ("U", "_GLOBAL_OFFSET_TABLE_")] == []
    listing = subprocess.run(["size", "-A", module], capture_output=True, text=True, check=True).stdout
    sections = {name: int(number) for name, number in re.findall(r"^(\.\S+)\s+(\d+)", listing, re.MULTILINE)}
    total = lambda *kinds: sum(number for name, number in sections.items() if name.startswith(kinds))
    model = modules[size].load_model(str(runs(size).model))
    tables = len(model.table) + len(model.steps)
    assert total(".data", ".bss", ".tdata", ".tbss") == 0
    assert tables <= total(".rodata") <= tables + 256
    assert total(".text", ".rodata") - tables <= 2048
    stacks = [line.split("\t") for path in tmp_path.glob("*.su") for line in path.read_text().splitlines()]
    assert stacks and all(kind == "static" for _, _, kind in stacks)
    assert sum(int(number) for _, number, _ in stacks) < 1024


@needs_gcc
@both
def test_c_header_includes_only_two_standard_headers_and_may_be_included_twice(runs, tmp_path, size):
    header = runs(size).header.read_bytes()
    assert set(re.findall(rb"#include (\S+)", header)) == {b"<stddef.h>", b"<stdint.h>"}
    twice = '#include "tinymodel.h"\n' + C_FUNCTION
    for level in ("-O0", "-Os", "-O2", "-O3"):
        compile_c(tmp_path, header, twice, "twice", level, *STRICT, "-c")
    if shutil.which("g++"):
        flags = ["-Os", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c"]
        compile_c(tmp_path, header, twice, "plus", *flags, compiler="g++")


# Pure functions: text


@pytest.mark.parametrize("data, blob_id", [
    (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
])
def test_git_blob_id_of_known_files(modules, data, blob_id):
    assert modules["10kB"].git_blob_id(data) == blob_id


@pytest.mark.skipif(not shutil.which("git"), reason="no git on this machine")
def test_git_blob_id_is_that_of_git(modules, tmp_path):
    data = random.Random(3).randbytes(10**5)
    output = subprocess.run(["git", "hash-object", "--stdin", "--no-filters"], input=data, capture_output=True, check=True, cwd=tmp_path)
    assert modules["10kB"].git_blob_id(data) == output.stdout.decode().strip()


def slow_tokens(text, max_length):
    """Tokens of one text by a loop over its bytes: list of bytes, with the begin and end marks."""
    text = text[:max_length].lower()
    tokens, kind = [b"\x01"], None
    for i, byte in enumerate(text):
        before = kind
        if byte <= 32 or byte == 127:
            kind = "space"
        elif chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789_'" or byte >= 128:
            kind = "word"
        else:
            kind = "punctuation"
        if kind != before:
            mention = kind == "word" and i > 0 and text[i - 1] == ord("@")
            run = []
            tokens.append(run)
        repeated = i >= 2 and text[i - 2] == text[i - 1] == byte
        if kind != "space" and not mention and not repeated and byte != ord("'"):
            run.append(byte)
    return [bytes(token) for token in tokens if token] + [b"\x02"]


def slow_buckets(text, s):
    """Buckets of one text, sorted, with Python's own integers."""
    modulus = 1 << 32

    def polynomial(codes, base):
        value = 0
        for code in codes:
            value = (value * base + code) % modulus
        return value

    def bucket(value, salt):
        value = (value ^ salt) * 0x85EBCA6B % modulus
        value = (value ^ value >> 15) * 0xC2B2AE35 % modulus
        return value * (s.blocks * 64 << s.fingerprint_bits) >> 32

    tokens = slow_tokens(text, s.max_length)
    words = [polynomial([byte + 1 for byte in token], 0x01000193) for token in tokens]
    found = []
    for order in s.word_ngrams:
        for i in range(len(words) - order + 1):
            found.append(bucket(polynomial(words[i:i + order], 0x2545F491), 0x9E3779B9 * order % modulus))
    if s.skip_bigrams:
        for i in range(len(words) - 2):
            found.append(bucket(polynomial([words[i], words[i + 2]], 0x2545F491), 0x78DDE6E4))
    line = b" ".join(tokens)
    for order in s.char_ngrams:
        for i in range(len(line) - order + 1):
            found.append(bucket(polynomial([byte + 1 for byte in line[i:i + order]], 0x01000193), 0x2E2AC13B))
    return sorted(found)


def token_list(module, texts, max_length=512):
    chars, text_ids, starts = module.tokenize(texts, max_length)
    tokens = [[] for _ in texts]
    for char, text_id, start in zip(chars.tolist(), text_ids.tolist(), starts.tolist()):
        if start:
            tokens[text_id].append(b"")
        tokens[text_id][-1] += bytes([char])
    return tokens


@pytest.mark.parametrize("text, tokens", [
    (b"", []), (b" \t\x00\x7f ", []), (b"Hello, World", [b"hello", b",", b"world"]),
    (b"can't DON'T", [b"cant", b"dont"]), (b"sooooo goood!!!!!", [b"soo", b"good", b"!!"]),
    (b"@bob hi @al_1: x", [b"@", b"hi", b"@", b":", b"x"]), (b"caf\xc3\xa9 \xff", [b"caf\xc3\xa9", b"\xff"]),
    (b"a\x00b", [b"a", b"b"]), (b":-)x(", [b":-)", b"x", b"("]), (b"''' '", []),
])
def test_tokenize_examples(modules, text, tokens):
    assert token_list(modules["10kB"], [text]) == [[b"\x01", *tokens, b"\x02"]]


def test_tokenize_cuts_at_max_length(modules):
    assert token_list(modules["10kB"], [b"abc def"], 5) == [[b"\x01", b"abc", b"d", b"\x02"]]


@quiet
@given(texts=st.lists(texts_of_bytes, min_size=1, max_size=6), max_length=st.sampled_from([1, 5, 512]))
def test_tokenize_is_the_slow_one(modules, texts, max_length):
    assert token_list(modules["10kB"], texts, max_length) == [slow_tokens(text, max_length) for text in texts]


def settings_of(module, number):
    """Return settings by number: those of the constants, and others."""
    other = [((1, 2, 3), True, (3, 5)), ((), False, (1, 8)), ((2, 4), True, ()), ((1,), False, (2,))]
    if number == 0:
        return module.plan_settings()
    return module.Settings(512, *other[number - 1], 16, number, 4, 100 * number + 7)


@both
@quiet
@given(texts=st.lists(texts_of_bytes, min_size=1, max_size=6), number=st.integers(0, 4))
def test_encode_is_the_slow_one_and_does_not_mix_texts(modules, size, texts, number):
    module = modules[size]
    s = settings_of(module, number)
    buckets, offsets = module.encode(texts, s)
    assert offsets[0] == 0 and offsets[-1] == len(buckets)
    for i, text in enumerate(texts):
        part = buckets[offsets[i]:offsets[i + 1]]
        alone, ends = module.encode([text], s)
        assert part.tolist() == alone.tolist() and ends.tolist() == [0, len(alone)]
        assert sorted(part.tolist()) == slow_buckets(text, s)


def test_real_tweets_encode_like_the_slow_way(modules, tweets):
    for module in modules.values():
        s = module.plan_settings()
        texts = [row.split(b"\t", 1)[1] for row in tweets[1][:300]]
        buckets, offsets = module.encode(texts, s)
        for i, text in enumerate(texts):
            assert sorted(buckets[offsets[i]:offsets[i + 1]].tolist()) == slow_buckets(text, s)


# Pure functions: rows


def test_parse_rows_reads_labels_texts_and_odd_line_ends(modules):
    parse = modules["10kB"].parse_rows
    texts, labels, skipped = parse(b"\xef\xbb\xbf1\tgood\r\n0\tbad\tday\n1\tcaf\xc3\xa9", "f")
    assert texts == [b"good", b"bad\tday", b"caf\xc3\xa9"]
    assert labels.tolist() == [1, 0, 1] and skipped == 0


BAD_ROWS = [(b"no tab", "tab"), (b"2\tx", "'2'"), (b"\tx", "label"), (b"1\t", "text"), (b"1\t  ", "text"),
            (b"1\t\xff", "UTF-8"), (b"", "tab"), (b"01\tx", "'01'")]


@pytest.mark.parametrize("row, word", BAD_ROWS)
def test_parse_rows_names_the_row(modules, row, word):
    module = modules["10kB"]
    with pytest.raises(module.InputError, match=r"f\.txt, row 3: ") as error:
        module.parse_rows(b"1\tx\n0\ty\n" + row + b"\n1\tz\n", "f.txt")
    assert word in str(error.value) and "\n" not in str(error.value)


def test_parse_rows_leaves_bad_rows_of_the_published_file_out(modules):
    data = b"1\tx\n0\ty\n" + b"".join(row + b"\n" for row, _ in BAD_ROWS) + b"1\tz\n"
    texts, labels, skipped = modules["10kB"].parse_rows(data, "f", published=True)
    assert texts == [b"x", b"y", b"z"] and labels.tolist() == [1, 0, 1] and skipped == len(BAD_ROWS)


def test_split_leaves_out_test_texts_repeats_and_contradictions():
    module = load_script(SCRIPTS["10kB"])
    module.VALIDATION_FRACTION = 0.25
    plain = [b"text %d" % i for i in range(40)]
    texts = plain + [b"text 3", b"text 3", b"both", b"both", b"in the test", b"also in the test"]
    labels = np.array([i % 2 for i in range(40)] + [1, 1, 0, 1, 0, 1])
    data = module.Dataset("", "", texts, labels, [b"in the test", b"also in the test", b"new"], np.array([0, 1, 1]))
    train, validation = module.split_rows(data)
    assert len(validation) == 10 and len(train) == 30
    chosen = [texts[i] for i in [*train, *validation]]
    assert sorted(chosen) == sorted(plain)
    again = module.split_rows(data)
    assert all((a == b).all() for a, b in zip((train, validation), again))
    module.SEED = 7
    assert module.split_rows(data)[1].tolist() != validation.tolist()


# Pure functions: model


def test_log_count_ratios_are_those_of_the_formula():
    module = load_script(SCRIPTS["10kB"])
    module.SMOOTHING = 0.5
    positive, negative = np.array([3, 0, 5]), np.array([1, 4, 5])
    expected = [math.log((p + 0.5) / 9.5) - math.log((n + 0.5) / 11.5) for p, n in zip(positive, negative)]
    assert module.log_count_ratios(positive, negative) == pytest.approx(expected)


@quiet
@given(
    scores=st.dictionaries(st.integers(0, 2 * 64 * 4 - 1), st.integers(0, 5), min_size=1, max_size=200),
    entries=st.integers(1, 64),
)
def test_choose_entries_takes_the_best_that_fit(modules, scores, entries):
    module = modules["10kB"]
    s = module.Settings(512, (1,), False, (), entries, 2, 4, 2)
    buckets = np.array(sorted(scores))
    chosen = module.choose_entries(buckets, np.array([float(scores[b]) for b in buckets.tolist()]), s)
    rank = lambda bucket: (-scores[bucket], bucket)
    best = {}
    for bucket in scores:
        best[bucket // 4] = min(best.get(bucket // 4, bucket), bucket, key=rank)
    expected = []
    for block in range(2):
        expected += sorted((b for slot, b in best.items() if slot // 64 == block), key=rank)[:entries]
    assert buckets[chosen].tolist() == sorted(expected)


def test_choose_levels_finds_the_clusters(modules):
    rng = np.random.default_rng(0)
    centres = np.array([-2.0, -0.5, 0.25, 1.0])
    weights = np.repeat(centres, 50) + rng.normal(0, 1e-3, 200)
    steps, step = modules["10kB"].choose_levels(weights.astype(np.float32), np.ones(200), 4)
    assert steps.dtype == np.int8 and np.abs(steps).max() == 127
    assert steps * step == pytest.approx(centres, abs=step)


def test_choose_levels_follows_the_heavy_weights(modules):
    steps, step = modules["10kB"].choose_levels(np.array([0.0, 1.0]), np.array([1.0, 9.0]), 1)
    assert steps * step == pytest.approx([0.9], abs=1e-6)


@quiet
@given(
    weights=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80),
    bits=st.integers(1, 8), seed=st.integers(0, 9),
)
def test_choose_levels_are_ascending_and_within_the_weights(modules, weights, bits, seed):
    counts = np.random.default_rng(seed).integers(1, 50, len(weights))
    steps, step = modules["10kB"].choose_levels(np.array(weights, np.float32), counts, 1 << bits)
    assert steps.dtype == np.int8 and len(steps) == 1 << bits and step > 0
    assert (np.diff(steps.astype(int)) >= 0).all()
    assert min(weights) - step <= steps.min() * step and steps.max() * step <= max(weights) + step


def test_folded_model_is_the_embedding_pooled_and_linear():
    """The forward pass on the folded table equals embedding, pooling, linear, done one by one."""
    import torch

    module = load_script(SCRIPTS["10kB"])
    module.EMBEDDING_DIM = 5
    torch.manual_seed(0)
    ratios = np.array([0.5, -1.0, 2.0, 0.1], np.float32)
    model = module.TinyModel(ratios, 3.0)
    texts = [[0, 1, 1], [], [3, 2]]
    counts = torch.tensor([4.0, 2.0, 5.0])
    tokens = torch.tensor(sum(texts, []), dtype=torch.int32)
    with torch.no_grad():
        logits = model(tokens, torch.tensor([0, 3, 3], dtype=torch.int32), counts)
        for logit, text, count in zip(logits, texts, counts):
            scaled = model.embedding.weight[text] * torch.tensor(ratios)[text].unsqueeze(1)
            expected = model.linear(scaled.sum(0)) * 3.0 / count.sqrt()
            assert logit.item() == pytest.approx(expected.item(), abs=1e-6)


# Pure functions: the packed file


packings = st.fixed_dictionaries(dict(
    seed=st.integers(0, 10**6), entries=st.integers(1, 64), blocks=st.integers(1, 5),
    fingerprint=st.integers(0, 8), value=st.integers(1, 8), fill=st.floats(0, 1),
)).filter(lambda p: p["fingerprint"] + p["value"] <= 9)


@quiet
@given(options=packings)
def test_unpack_gives_what_was_packed(modules, options):
    module = modules["10kB"]
    model, expected = random_model(module, **options)
    assert model.table.shape == (model.settings.blocks * model.settings.block_bytes,)
    weights = module.unpack(model)
    assert {int(bucket): int(weights[bucket]) for bucket in np.flatnonzero(weights)} == expected


@quiet
@given(options=packings, chars=st.sampled_from([(), (4,), (3, 5)]), words=st.sampled_from([(), (1,), (1, 2, 3)]), skip=st.booleans())
def test_load_gives_what_was_serialised(modules, tmp_path_factory, options, chars, words, skip):
    module = modules["10kB"]
    model, _ = random_model(module, chars=chars, words=words, skip=skip, max_length=77, **options)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    path.write_bytes(module.serialise(model))
    loaded = module.load_model(str(path))
    assert loaded.settings == model.settings
    assert (loaded.steps == model.steps).all() and (loaded.table == model.table).all()
    assert float(np.float32(loaded.scale)) == pytest.approx(model.scale, rel=1e-7)
    assert module.serialise(loaded) == module.serialise(model)


def test_every_flipped_bit_of_a_model_file_is_found(modules, tmp_path):
    """A bit of white space in the file's own header may change where nothing else does."""
    module = modules["10kB"]
    model, _ = random_model(module, 1, blocks=2)
    content, path = module.serialise(model), tmp_path / "model.safetensors"
    found = 0
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                loaded = module.load_model(str(path))
            except module.InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                found += 1
            else:
                assert loaded.settings == model.settings and loaded.scale == model.scale
                assert (loaded.steps == model.steps).all() and (loaded.table == model.table).all()
    assert found > 7.9 * len(content)


def test_every_cut_model_file_is_refused(modules, tmp_path):
    module = modules["10kB"]
    content, path = module.serialise(random_model(module, 1)[0]), tmp_path / "model.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(module.InputError):
            module.load_model(str(path))


@both
def test_planned_file_fills_the_limit_and_never_passes_it(size):
    module = load_script(SCRIPTS[size])
    for limit in (1000, 2000, 9999, 10_000, 50_000, 99_999, 100_000, 250_000, 10**6):
        module.MODEL_BYTES = limit
        s = module.plan_settings()
        table = np.zeros(s.blocks * s.block_bytes, np.uint8)
        steps = np.full(1 << s.value_bits, -127, np.int8)
        length = len(module.serialise(module.Packed(s, 1.23456789e-12, steps, table)))
        assert limit - s.block_bytes - 32 < length <= limit


# The two scripts are one text


CONSTANT = re.compile(r"^([A-Z][A-Z_]*) = (.*?)(  # .*)$")


def comparable(text):
    """Return the lines of a script without its docstring and the values of its constants."""
    tree = ast.parse(text)
    lines = text.splitlines()
    end = next(n.lineno for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "RANGES")
    docstring = tree.body[0]
    assert ast.get_docstring(tree)
    head = [CONSTANT.sub(r"\1 = \3", line) for line in lines[docstring.end_lineno:end]]
    return lines[:docstring.lineno - 1] + head + lines[end:]


def test_the_scripts_differ_only_in_docstring_and_constants():
    texts = [path.read_text(encoding="utf-8") for path in SCRIPTS.values()]
    difference = list(difflib.unified_diff(*map(comparable, texts), *map(str, SCRIPTS), lineterm="", n=0))
    assert not difference, "\n".join(difference)


@pytest.mark.parametrize("old, new", [
    ("return hashes * np.uint32(MIX_2)", "return hashes"),
    ("# texts a step", "# texts"),
    ("NUM_EPOCHS = ", "EPOCHS = "),
    ('"MAX_LENGTH": (1, 65535)', '"MAX_LENGTH": (1, 65536)'),
    ("/* 1 / (1 + exp(-z)), to 1e-7 */", "/* sigmoid */"),
])
def test_the_sameness_test_sees_a_drift(old, new):
    text = SCRIPTS["10kB"].read_text(encoding="utf-8")
    assert text.count(old) == 1
    assert comparable(text) != comparable(text.replace(old, new))


def test_the_scripts_name_only_themselves():
    for size, path in SCRIPTS.items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        named = re.findall(r"tinymodel-emotion-classification-(\w+)", docstring)
        assert named and set(named) == {size}
        assert f"{LIMITS[size]:,}" in docstring


# The command line


@both
def test_help_lists_every_constant_with_value_and_comment(size, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    module = load_script(SCRIPTS[size])
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS[size]), "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    listed = capsys.readouterr().out
    head = SCRIPTS[size].read_text(encoding="utf-8").split("# Data\n")[1].split("# What each constant may be")[0]
    constants = [match.groups() for match in map(CONSTANT.match, head.splitlines()) if match]
    assert len(constants) >= 30
    for name, value, comment in constants:
        entry = re.search(rf"^  --{name} (\w+)\s+(.*)$", listed, re.MULTILINE)
        assert entry[2] == f"{comment[4:]} (now {ast.literal_eval(value)!r})"
    assert "--predict" in listed and "--explain" in listed


def test_help_of_the_script_itself_exits_with_0_and_writes_nothing(tmp_path):
    script = shutil.copy(SCRIPTS["10kB"], tmp_path)
    process = run_script(script, "--help", cwd=tmp_path)
    assert process.returncode == 0 and process.stderr == b"" and b"--NUM_EPOCHS" in process.stdout
    assert list(tree(tmp_path)) == [Path(script).name]


@both
def test_importing_a_script_does_nothing(size, tmp_path, capfd, monkeypatch):
    script = shutil.copy(SCRIPTS[size], tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))
    load_script(script)
    assert capfd.readouterr() == ("", "")
    assert list(tree(tmp_path)) == [Path(script).name]


@both
def test_constants_come_from_the_command_line(size, monkeypatch):
    module = load_script(SCRIPTS[size])
    values = {
        "NUM_EPOCHS": "3", "LEARNING_RATE": "0.5", "CHAR_NGRAMS": "2,3", "WORD_NGRAMS": "(1,)", "SKIP_BIGRAMS": "true",
        "ENABLE_LOGS": "False", "FALLBACK": "never", "TRAIN_HASH": "",
    }
    arguments = [part for name, value in values.items() for part in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS[size]), *arguments])
    module.parse_arguments()
    expected = dict(NUM_EPOCHS=3, LEARNING_RATE=0.5, CHAR_NGRAMS=(2, 3), WORD_NGRAMS=(1,), SKIP_BIGRAMS=True, ENABLE_LOGS=False, FALLBACK="never", TRAIN_HASH="")
    assert {name: getattr(module, name) for name in values} == expected


# On a device

cortex_m = load_script(REPO / "tests" / "benchmarks" / "cortex_m.py")
MISSING = [tool for tool in (cortex_m.COMPILER, cortex_m.EMULATOR) if not shutil.which(tool)]


@both
@pytest.mark.skipif(MISSING, reason=f"{' and '.join(MISSING)} not installed")
def test_an_emulated_cortex_m3_gives_what_python_gives(runs, modules, size):
    texts = [b"", b"\x00\xff'@a", b"not happy at all", b"a" * 3000, bytes(range(256)) * 3]
    probabilities, used = cortex_m.run_on_board(runs(size).out, texts)
    module = modules[size]
    model = module.load_model(str(runs(size).model))
    assert_same(probabilities, python_probabilities(module, model, texts))
    assert used["static_ram"] == 0
    assert used["stack"] < 1024
