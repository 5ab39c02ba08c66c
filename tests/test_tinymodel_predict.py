"""The tiny models: --predict as users run it, and what is wrong with a model file."""
import errno
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import PROGRAMS, run_script, tree
from tiny import (SCRIPTS, assert_equal_models, assert_one_line, both, each_run, exported, full_model, logits_of,
                  random_model)

pytest_plugins = ["tiny"]

LINES = b"so happy today\r\n\nbad \xff\xfe\x80 bytes\na\tb\n&hearts; caf\xc3\xa9 \xf0\x9f\x98\x80"
TEXTS = [b"I love you, thanks!", b"so happy today", b"", b"bad \xff\xfe\x80 bytes", b"a\tb",
         b"&hearts; caf\xc3\xa9 \xf0\x9f\x98\x80", b"so sad, I miss you"]
ODD = [b"", b"x", b"''", b"@a", b"\xff", bytes(600), "…’😀🏻".encode(), b"I love my new phone, thanks!", b"not good, bad :( :(",
       b"so sad :( :( i miss it", b"@bob x\xff\xfe", b"i was scared and angry at once", b"word " * 300]


@pytest.fixture
def call(module, monkeypatch, capfdbinary):
    """call(*arguments) runs the script's run_main in this process and returns code, out and err."""
    values = {name: getattr(module, name) for name in module.read_constants()}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tiny.py", *map(str, arguments)])
        code = module.run_main()
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    yield run
    for name, value in values.items():
        setattr(module, name, value)


# What it prints


@each_run
def test_predict_needs_only_the_script_and_the_model(runs, bare, tmp_path, name):
    """Neither torch nor what downloads is imported, no file is written, and no address is asked."""
    run = runs(name)
    script = Path(shutil.copy(run.script, tmp_path))
    folder = tmp_path / "outputs" / script.stem
    folder.mkdir(parents=True)
    shutil.copy(run.file, folder)
    before = tree(tmp_path)
    process = run_script(script, "--predict", "I love you, thanks!", "--predict", "-", "--predict", "so sad, I miss you",
                         input=LINES, cwd=tmp_path, env=bare)
    assert process.returncode == 0 and process.stderr == b"", process.stderr.decode()
    rows = [line.split(b"\t", 2) for line in process.stdout.split(b"\n")]
    assert rows.pop() == [b""]
    assert [row[2] for row in rows] == TEXTS
    assert all(re.fullmatch(rb"[01]\.\d{4}", row[1]) for row in rows)
    if name == "six":
        assert {row[0].decode() for row in rows} <= set(run.results["labels"])
        assert all(float(row[1]) > 1 / 6 for row in rows)
    else:
        assert rows[0][0] == b"1" and rows[-1][0] == b"0"
    assert tree(tmp_path) == before


def test_the_bare_environment_does_refuse(bare, tmp_path):
    """So that the tests with it mean something."""
    for needed in ("torch", "requests", "urllib3.util", "vaderSentiment"):
        process = subprocess.run([sys.executable, "-c", f"import {needed}"], env=bare, capture_output=True, timeout=60)
        assert process.returncode == 1 and process.stderr == f"imported {needed.split('.')[0]}\n".encode()


@both
def test_help_needs_no_torch(bare, tmp_path, size):
    process = run_script(SCRIPTS[size], "--help", cwd=tmp_path, env=bare)
    assert process.returncode == 0 and process.stderr == b"" and b"--NUM_EPOCHS" in process.stdout
    assert tree(tmp_path) == {}


@each_run
def test_a_line_is_label_probability_and_text(runs, models, modules, name):
    module, model = modules[runs(name).size], models(name)
    texts = [*ODD, b"two\nlines", b"\tbegins with a tab"]
    rows = [row.rstrip(b"\n").split(b"\t", 2) for row in module.prediction_lines(model, texts)]
    probabilities = module.predict(model, texts)
    assert probabilities.shape == (len(texts), len(model.labels))
    assert probabilities.sum(axis=1) == pytest.approx(1)
    shown = probabilities.max(axis=1) if name == "six" else probabilities[:, 1]  # of two classes that of the second
    assert [row[0].decode() for row in rows] == [model.labels[k] for k in probabilities.argmax(axis=1)]
    assert np.abs(np.array([float(row[1]) for row in rows]) - shown).max() <= 0.50001e-4
    assert [row[2] for row in rows] == [text.replace(b"\n", b" ") for text in texts]


def test_one_half_is_the_first_class(module):
    model, _ = random_model(module, 0)
    model.bias[:] = 0
    model.steps[:] = 0
    assert list(module.prediction_lines(model, [b"x"])) == [b"0\t0.5000\tx\n"]


@each_run
def test_explained_weights_sum_to_the_logit(runs, models, modules, name):
    """To the logit less its bias; of more than two classes, to that of the label over the mean of all."""
    module, model = modules[runs(name).size], models(name)
    probabilities = module.predict(model, ODD)
    classes = probabilities.argmax(axis=1)
    if name == "six":
        logits = logits_of(probabilities) - (model.bias - model.bias.mean())
        expected = logits[np.arange(len(ODD)), classes]
    else:
        expected = np.log(probabilities[:, 1] / probabilities[:, 0]) - model.bias[0]
    explain = exported(module, model).explain
    reasons = [explain(text, 10**6) for text in ODD]
    assert [sum(weight for _, weight in tokens) for tokens in reasons] == pytest.approx(expected.tolist(), abs=1e-6)
    for tokens, eight in zip(reasons, map(explain, ODD), strict=True):
        weights = [abs(weight) for _, weight in tokens]
        assert weights == sorted(weights, reverse=True)
        assert len({token for token, _ in tokens}) == len(tokens)  # one that is there several times is added up
        assert eight == tokens[:8]


@each_run
def test_explain_adds_a_column(runs, call, name):
    result = call("--OUTPUT_DIR", runs(name).out, "--explain", "--predict", "I love you, I love you", "--predict", "")
    assert result.code == 0 and result.err == b""
    first, second = (line.split(b"\t") for line in result.out.splitlines())
    assert first[2] == b"I love you, I love you" and second[2] == b"" and len(first) == len(second) == 4
    found = re.findall(r"(?:^|, )(.+?) ([+-]\d+\.\d\d)(?=, |$)", first[3].decode())
    assert len(found) == 8 and "love" in dict(found) or "i love" in dict(found)
    sizes = [abs(float(weight)) for _, weight in found]
    assert sizes == sorted(sizes, reverse=True)


def test_explain_names_words_pairs_negations_marks_and_characters(module):
    """With a model that keeps every token, each with the same weight; the characters of a name are not among them."""
    model = full_model(module, char_ngrams=(4,), markers=("like",), marking=1)
    reasons = dict(exported(module, model).explain("I don't like caf\u00e9s, Anna", 100))
    once, turned = {
        "i", "dont", ",", "anna", "<s> i", "i dont", "dont like", "not like", "not caf\u00e9s", ".. caf\u00e9s",
        ", anna", "anna </s>", *(f"'{part}'" for part in [" don", "dont", "ont "])}, {
        "not(like)", "not(caf\u00e9s)", "not(like caf\u00e9s)", "not(caf\u00e9s ,)", *(f"not('{part}')" for part in [
            " lik", "like", "ike ", " caf", "caf\u00e9", "af\u00e9s", "f\u00e9s "])}
    assert set(reasons) == once | turned
    assert {reasons[name] for name in once} == {-reasons[name] / 0.75 for name in turned} and reasons["i"] > 0


@pytest.mark.parametrize("arguments", [["--explain"], ["--predict"], ["--predictions", "x"], ["--predict", "x", "y"]])
def test_a_wrong_command_line_is_one_line(call, arguments):
    result = call(*arguments)
    assert_one_line(result)
    assert result.out == b""


# As a filter


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc/self/status to read the memory of")
def test_memory_does_not_grow_with_the_input(runs, tmp_path):
    """300,000 lines of 10 MB take as much as 20,000 do; the list of them would take 30 MB."""
    run, peaks = runs("two"), []
    for number in (20_000, 300_000):
        (tmp_path / "lines").write_bytes(b"".join(b"the text %06d is a good line\n" % row for row in range(number)))
        command = [sys.executable, PROGRAMS / "watched.py", run.script, "--OUTPUT_DIR", run.out, "--predict", "-"]
        with open(tmp_path / "lines", "rb") as lines, open(tmp_path / "out", "wb") as out:
            process = subprocess.run(command, stdin=lines, stdout=out, stderr=subprocess.PIPE, timeout=300)
        assert process.returncode == 0, process.stderr.decode()
        printed = (tmp_path / "out").read_bytes().splitlines()
        assert len(printed) == number and printed[-1].endswith(b"\tthe text %06d is a good line" % (number - 1))
        peaks.append(int(process.stderr) * 1024)
    assert peaks[1] - peaks[0] < 10 * 2**20 and peaks[1] < 250 * 2**20


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_closed_pipe_gives_no_traceback(runs):
    """As in `--predict - < many.txt | head -1`."""
    run = runs("two")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "-"]
    try:
        process = subprocess.run(command, input=b"x\n" * 50000, stdout=write, stderr=subprocess.PIPE, timeout=300)
    finally:
        os.close(write)
    assert process.returncode == 141 and process.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("lines", [1, 50000])
def test_a_full_disk_is_one_line(runs, lines):
    run = runs("two")
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "-"]
    with open("/dev/full", "wb") as full:
        process = subprocess.run(command, input=b"x\n" * lines, stdout=full, stderr=subprocess.PIPE, timeout=300)
    assert_one_line(process, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_a_closed_standard_output_is_one_line(runs):
    run = runs("two")
    command = ["/bin/sh", "-c", '"$@" >&-', "sh", sys.executable, run.script, "--OUTPUT_DIR", run.out, "--predict", "x"]
    assert_one_line(subprocess.run(command, capture_output=True, timeout=300), "standard output is closed")


# What is wrong with a model file


@both
def test_without_a_model_the_command_that_makes_one_is_named(tmp_path, bare, size):
    process = run_script(SCRIPTS[size], "--predict", "x", "--OUTPUT_DIR", tmp_path, env=bare)
    assert_one_line(process, f"there is no model {tmp_path / 'model.safetensors'}; run `python3 {SCRIPTS[size]}")
    assert process.stdout == b"" and tree(tmp_path) == {}


def safetensors_file(dtype, width, metadata, names=("weight",)):
    """Return a safetensors file of four zeros a tensor, `width` bytes each."""
    place = lambda i: [4 * width * i, 4 * width * (i + 1)]
    header = {name: {"dtype": dtype, "shape": [4], "data_offsets": place(i)} for i, name in enumerate(names)}
    header = json.dumps({**header, **({"__metadata__": metadata} if metadata else {})}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * width * len(names))


def described(text):
    return safetensors_file("I8", 1, {"tinymodel": text}, ("steps", "table"))


def damaged(module, **changes):
    """Return the model file of a random model, with a right checksum, whose description or tensors are otherwise."""
    from safetensors.numpy import save
    model, _ = random_model(module, 1, markers=("feel",))
    names = ["version", "settings", "labels", "factor", "scale", "bias"]
    values = [6, [512, [4], False, 3, 3, ["feel"], 8, 4, 4], ["0", "1"], 11, 0.0123, [0.1]]
    tensors = {"steps": changes.get("steps", model.steps), "table": changes.get("table", model.table)}
    body = changes.get("body") or json.dumps([changes.get(name, value) for name, value in zip(names, values, strict=True)])
    return save(tensors, {"tinymodel": f"{module.checksum(body, *tensors.values())} {body}"})


def odd_files(module):
    """Return {case: content} of files that are no model."""
    from safetensors.numpy import save
    model, _ = random_model(module, 1)
    content = module.serialise(model)
    tensors = {"steps": model.steps, "table": model.table}
    overfull = model.table.copy()
    overfull[:8] = 255
    usual = [512, [4], False, 3, 3, ["feel"], 8, 4, 4]
    settings = lambda place, value: [value if i == place else each for i, each in enumerate(usual)]
    return {
        "version 1": described("1 512 1,2 0 4 24 4 4 1.234567890e-02 0123abcd"),  # bytes, not characters, and no labels
        "version 2": described("0123abcd 2 512 1,2 0 4 3 24 4 4 1.234567890e-02 0.1\n0\n1"),
        "empty": b"",
        "text": b"1\tgood\n0\tbad\n" * 100,
        "cut": content[:-1], "with a byte more": content + b"\0",
        "of another program": save({"weight": np.zeros(3, np.float32)}),
        "without a table": save({"steps": model.steps}, {"tinymodel": "x [3]"}),
        "another checksum": save(tensors, {"tinymodel": "00000000 [3]"}),
        "no JSON": damaged(module, body="[3, 4"), "no list": damaged(module, body="3"),
        "an object": damaged(module, body='{"3": 4}'),
        "brackets": damaged(module, body="[" * 100_000),
        "of a later version": damaged(module, version=7), "of no version": damaged(module, version=None),
        "of one label": damaged(module, labels=["only"]), "of three labels": damaged(module, labels=["a", "b", "c"]),
        "of labels of numbers": damaged(module, labels=[0, 1]), "of labels in one word": damaged(module, labels="01"),
        "of a bias that is not finite": damaged(module, bias=[float("nan")]),
        "of no bias": damaged(module, bias=[]), "of a bias that is none": damaged(module, bias=[None]),
        "of a scale that is not finite": damaged(module, scale=float("inf")), "of a scale in words": damaged(module, scale="x"),
        "of a factor of 1000": damaged(module, factor=1000), "of a factor that is none": damaged(module, factor=None),
        "of markers that are no list": damaged(module, settings=settings(5, "feel")),
        "of markers of numbers": damaged(module, settings=settings(5, [1])),
        "of a setting that is not known": damaged(module, settings=[*usual, 1]),
        "of settings by name": damaged(module, settings={"max_length": 512}),
        "of a setting too few": damaged(module, settings=usual[:-1]),
        "of a negative setting": damaged(module, settings=settings(3, -1)),
        "of other value bits": damaged(module, settings=settings(8, 3)),
        "of other entries": damaged(module, settings=settings(6, 9)),
        "of endless n-grams": damaged(module, settings=settings(1, [999999999])),
        "of a block that is too full": damaged(module, table=overfull),
        "of an empty table": damaged(module, table=model.table[:0]),
        "of a flat table": damaged(module, table=model.table[None]),
        "of wide steps": damaged(module, steps=model.steps.astype(np.int16)),
    }


OTHER_FILES = {
    "zeros": bytes(10**4), "zip": b"PK\x03\x04" + bytes(100), "huge header": b"\xff" * 100,
    "other model": safetensors_file("F32", 4, {"format": "pt"}), "no metadata": safetensors_file("U8", 1, None),
    "bfloat16": safetensors_file("BF16", 2, {"format": "pt"}), "float8": safetensors_file("F8_E4M3", 1, {"format": "pt"}),
    "no checksum": described("[3]"), "no words": described(""), "checksum alone": described("00000000 "),
}
CASES = """version 1|version 2|empty|text|cut|with a byte more|of another program|without a table|another checksum|no JSON|no list|
an object|brackets|of a later version|of no version|of one label|of three labels|of labels of numbers|of labels in one word|
of a bias that is not finite|of no bias|of a bias that is none|of a scale that is not finite|of a scale in words|
of a factor of 1000|of a factor that is none|of markers that are no list|of markers of numbers|of a setting that is not known|
of settings by name|of a setting too few|of a negative setting|of other value bits|of other entries|of endless n-grams|
of a block that is too full|of an empty table|of a flat table|of wide steps""".replace("\n", "").split("|")


def test_what_is_damaged_is_whole_without_the_damage(module, tmp_path):
    """So that each case below is refused for what it says."""
    (tmp_path / "model").write_bytes(damaged(module))
    model = module.load_model(str(tmp_path / "model"))
    assert model.labels == ("0", "1") and model.settings.markers == ("feel",) and model.factor == 11


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_no_model_is_one_line(module, call, tmp_path, case):
    files = odd_files(module)
    assert list(files) == CASES
    content = files[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    result = call("--OUTPUT_DIR", tmp_path, "--predict", "x")
    assert_one_line(result, path, "is damaged, or no model of this script", "run `python3 tiny.py --OUTPUT_DIR")
    assert result.out == b"" and path.read_bytes() == content


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_of_another_kind_is_one_line(call, tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(OTHER_FILES[kind])
    assert_one_line(call("--OUTPUT_DIR", tmp_path, "--predict", "x"), path, "to make it anew")


def test_the_command_itself_refuses_a_damaged_model_in_one_line(runs, bare, tmp_path):
    content = bytearray(runs("two").file.read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "model.safetensors").write_bytes(content)
    process = run_script(SCRIPTS["10kB"], "--predict", "x", "--OUTPUT_DIR", tmp_path, env=bare)
    assert_one_line(process, "is damaged")
    assert process.stdout == b""


def test_every_flipped_bit_of_a_model_file_is_found(module, tmp_path):
    """A bit of white space in the file's own header may change where nothing else does."""
    model, _ = random_model(module, 1, blocks=1, value=2)
    content, path, found = module.serialise(model), tmp_path / "model.safetensors", 0
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
                assert_equal_models(loaded, model)
    assert found > 7.9 * len(content)


@pytest.mark.parametrize("labels", [("0", "1"), ("a", "b", "c")])
def test_every_cut_model_file_is_refused(module, tmp_path, labels):
    content, path = module.serialise(random_model(module, 1, labels)[0]), tmp_path / "model.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(module.InputError, match="is damaged, or no model"):
            module.load_model(str(path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all files")
def test_a_model_that_may_not_be_read_is_not_called_damaged(module, call, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(module.serialise(random_model(module, 1)[0]))
    path.chmod(0)
    assert_one_line(call("--OUTPUT_DIR", tmp_path, "--predict", "x"), f"cannot read {path}")
