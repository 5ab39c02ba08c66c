"""Project2: bad files, disks and options are one line; --help, importing, the order of the script, what it requires."""
import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from project2 import FAMILIES, SCRIPT, run_main

from conftest import EMOTIONS, REPO, assert_one_line, csv_bytes, load_script, tree

from classifier.settings import InputError, make_settings

pytest_plugins = ["project2"]


# Bad data


GOOD = [(f"text {emotion}", str(label)) for label, emotion in enumerate(EMOTIONS)]
BAD_ROWS = {
    "missing column": (b"text,emotion\na,0\n",
                       ["no column 'label'", "it has ['text', 'emotion']", "LABEL_COLUMN"]),
    "both columns missing": (b"a,b\n1,2\n", ["'text' and 'label'", "'a', 'b'"]),
    "a blank in the header": (b"text, label\na,0\n", ["' label'", "LABEL_COLUMN"]),
    "no header": (b"i feel so sad today,0\ni am glad,1\n", ["header", "'text' and 'label'"]),
    "no rows": (b"text,label\n", ["no rows"]),
    "empty file": (b"", ["empty"]),
    "no text": (csv_bytes([GOOD[0], ("", "1")]), ["row 3", "no text"]),
    "blank text": (csv_bytes([GOOD[0], ("  ", "1")]), ["row 3", "no text"]),
    "no label": (csv_bytes([("a", "")]), ["row 2", "label"]),
    "label NaN": (csv_bytes([GOOD[0], ("a", "nan")]), ["row 3", "label"]),
    "not UTF-8": (csv_bytes(GOOD[:2]) + b"caf\xe9,1\n", ["line 4", "UTF-8"]),
    "too many columns": (csv_bytes(GOOD[:2]) + b"a,b,1\n", ["row 4", "3 columns"]),
    "too many columns throughout": (b"text,label\nwell, then,1\nso, now,2\n", ["row 2", "3 columns"]),
    "rows that lone quotation marks merge": (
        b'text,label\n"i feel sad,0\ni feel glad,1\nthen "he" left,3\nbye,4\n', ["row 2"]),
    "a quotation mark that is not doubled": (b'text,label\n"he said "hi" to me",0\n', ["row 2", "double"]),
    "carriage returns alone": (b"text,label\ri am sad,0\r", ["new-line", "line feed"]),
    "a row of blanks": (b"text,label\n  \na,0\n", ["row 2"]),
    "JSON": (b'[{"text": "a", "label": 0}, {"text": "b", "label": 1}]' * 999, ["no JSON", "JSON Lines"]),
    "packed": (b"\x1f\x8b\x08\0\0", ["cannot be read"]),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_one_line_in_every_mode_that_reads_them(call, families, data, bases, tmp_path, case):
    content, words = BAD_ROWS[case]
    bad, out = tmp_path / "bad.csv", tmp_path / "out"
    bad.write_bytes(content)
    out.mkdir()
    for name in ("evaluation.json", "compression.json", "report.json"):
        (out / name).write_bytes(b"of before")
    before = tree(out)
    saved = ["--weights", families["MiniLM"].best, "--val", bad]
    for arguments in ([*data.paths, "--train", bad, "--model_id", bases["MiniLM"]],
                      [*data.paths, "--val", bad, "--model_id", bases["MiniLM"]],
                      ["--mode", "evaluate", *saved], ["--mode", "compress", *saved]):
        assert_one_line(call(*arguments), bad, *words)
    assert tree(out) == before and bad.read_bytes() == content


def test_missing_files_are_one_line(call, families, data, bases, tmp_path):
    model = ["--model_id", bases["MiniLM"]]
    for flag, constant in (("--train", "TRAIN_PATH"), ("--val", "VAL_PATH")):
        assert_one_line(call(*data.paths, *model, flag, tmp_path / "none.csv"), constant, "none.csv")
        assert_one_line(call(*data.paths, *model, flag, tmp_path), tmp_path)
    evaluate = ["--mode", "evaluate", "--val"]
    assert_one_line(call(*evaluate, tmp_path / "none.csv", "--weights", families["MiniLM"].best), "none.csv")
    assert_one_line(call(*evaluate, data.val_path), "--weights")
    assert not tree(tmp_path / "out")


def test_weights_that_are_one_file_of_a_folder_name_the_folder(call, families):
    best = families["MiniLM"].best
    assert_one_line(call("--weights", best / "model.safetensors", "--text", "a"), f"--weights its folder, {best}")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit on a file's size")
def test_too_little_disk_is_one_line_and_loses_nothing(forks, families, bases, data, tmp_path):
    """Files end at 100 kB, as on a full disk."""
    shutil.copytree(families["MiniLM"].home / "out", tmp_path / "train" / "out")
    weights, source = families["MiniLM"].best, tmp_path / "in.csv"
    with open(source, "w") as file:
        file.write("text,more\n")
        file.writelines(f"text {row},{row:0100}\n" for row in range(2000))
    target = tmp_path / "out.csv"
    target.write_bytes(b"of before")
    train = [*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 1]
    jobs = [{"home": tmp_path / "train", "arguments": [*train, "--output", tmp_path / "train" / "out"]},
            {"home": tmp_path / "inference", "arguments": ["--mode", "inference", "--weights", weights, "--test_csv", source,
                                                           "--output_csv", target]}]
    before = tree(tmp_path / "train" / "out")
    results = forks.run([{**job, "largest": 100_000} for job in jobs])
    for result, path in zip(results, (tmp_path / "train" / "out", target), strict=True):
        assert_one_line(result, "cannot write", path)
    assert tree(tmp_path / "train" / "out") == before and target.read_bytes() == b"of before"
    assert not [path for path in tmp_path.rglob("*partial*")]


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="needs a folder nobody can write")
def test_an_output_folder_that_cannot_be_written_is_one_line(call, families, data, bases):
    out = ["--output", "/proc/self/none"]
    assert_one_line(call(*data.paths, "--model_id", bases["MiniLM"], *out), "/proc/self/none", "OUTPUT_DIR")
    for mode in ("evaluate", "compress"):
        result = call("--mode", mode, "--weights", families["MiniLM"].best, "--val", data.val_path, *out)
        assert_one_line(result, "/proc/self/none", "OUTPUT_DIR")


# The command line


@pytest.mark.parametrize("arguments, words", [
    (["--epochs", "-1"], ["NUM_EPOCHS is '-1'; input should be greater than or equal to 0"]),
    (["--NUM_EPOCHS", "-2"], ["NUM_EPOCHS", "'-2'"]),
    (["--epochs", "1.5"], ["NUM_EPOCHS", "'1.5'", "integer"]), (["--batch_size", "x"], ["BATCH_SIZE", "'x'", "integer"]),
    (["--learning_rate", "nan"], ["LEARNING_RATE", "'nan'"]), (["--LEARNING_RATE", "inf"], ["LEARNING_RATE", "'inf'"]),
    (["--max_length", "1"], ["MAX_LENGTH", "greater than or equal to 4"]), (["--seed", "-1"], ["SEED"]),
    (["--sparsity", "1"], ["SPARSITY", "less than 1"]), (["--precision", "int4"], ["PRECISION", "'int4'", "bfloat16"]),
    (["--resume", "maybe"], ["RESUME", "'maybe'", "boolean"]), (["--skip_empty", "2"], ["SKIP_EMPTY", "'2'"]),
    (["--mode", "predict"], ["predict", "evaluate", "--help"]), (["--technique", "magic"], ["magic", "--help"]),
    (["--model", "BERT"], ["BERT", "ModernBERT"]), (["--nothing", "1"], ["nothing", "--help"]),
    (["--epochs"], ["epochs", "--help"]), (["--warm_up", "2"], ["WARM_UP"]), (["--PATIENCE", "-1"], ["PATIENCE"]),
    (["--output", ""], ["OUTPUT_DIR is ''"]), (["--train", "x" * 5000], ["TRAIN_PATH is 'xxx"]),
])
def test_a_wrong_option_is_one_line(tmp_path, arguments, words):
    assert_one_line(run_main(tmp_path, *arguments), *words)
    assert not tree(tmp_path / "cwd") and {path.name for path in tmp_path.iterdir()} == {"cwd", "script"}


@pytest.mark.parametrize("name, value, words", [
    ("NUM_EPOCHS", -1, "greater than or equal to 0"), ("NUM_EPOCHS", 2.5, "integer"), ("TRAIN_PATH", None, "string"),
    ("RESUME", "perhaps", "boolean"), ("WARM_UP", 1.0, "less than 1"), ("PRECISION", "half", "float32")])
def test_a_wrong_constant_in_the_script_is_one_line(script, monkeypatch, name, value, words):
    monkeypatch.setattr(script, name, value)
    with pytest.raises(InputError, match=re.escape(f"{name} is {value!r}; ")) as caught:
        make_settings(script)
    assert words in str(caught.value)


def test_help_lists_every_constant(tmp_path):
    source = SCRIPT.read_text(encoding="utf-8")
    constants = re.findall(r"^([A-Z][A-Z0-9_]*): .+? = (.+?)  # (.+)$", source, re.MULTILINE)
    assert {name for name, *_ in constants} == set(re.findall(r"^([A-Z][A-Z0-9_]*): ", source, re.MULTILINE))
    assert {"TRAIN_PATH", "TEXT_COLUMN", "NUM_EPOCHS", "SEED", "CHUNK_ROWS"} <= {name for name, *_ in constants}
    result = run_main(tmp_path, "--help")
    out = " ".join(result.out.split())
    assert result.code == 0 and not result.err
    for name, value, comment in constants:
        assert re.search(rf"--{name}[ ,]", out) and re.search(rf"--{name.lower()}[ ,]", out), name
        text = f"{comment} (now {ast.literal_eval(value)!r})"
        assert "".join(text.split()) in "".join(out.split()), name  # argparse breaks long words
    flags = ("mode model model_id weights test_csv output_csv text technique train val epochs output batch_size "
             "learning_rate max_length sparsity precision seed resume text_column label_column label_names skip_empty")
    for flag in flags.split():
        assert re.search(rf"--{flag}[ ,]", out), flag
    for word in ("train inference evaluate compress export".split() + [*FAMILIES]
                 + "prune quantize combined onnx small tiny openvino all".split()):
        assert word in out


# The script's text


def test_importing_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").mkdir()
    path = shutil.copy(SCRIPT, tmp_path / "script")
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--nothing"])
    load_script(path)
    assert tree(tmp_path) == before
    assert capfd.readouterr() == ("", "")


def test_importing_classifier_loads_nothing_that_some_modes_alone_need():
    """In a process of its own: no package is kept from it, and the environment stays as it was but for torch's own."""
    code = """if True:
        import os, sys
        before = dict(os.environ)
        from emotion_classifier import Classifier
        heavy = {"matplotlib", "onnx", "onnxruntime", "openvino", "nncf", "bitsandbytes", "emoji"}
        print(heavy & set(sys.modules), None in sys.modules.values())
        print({name for name in os.environ if before.get(name) != os.environ[name] and not name.startswith("KMP_")})
    """
    result = subprocess.run([sys.executable, "-B", "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stdout == "set() False\nset()\n", result.stdout + result.stderr


# What is required


def block():
    """The requirements in the script's own block (PEP 723), a set."""
    text = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)[1]
    content = "".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines(keepends=True))
    python, dependencies = re.fullmatch(r'requires-python = "(.+)"\ndependencies = (\[.+\])\n', content, re.DOTALL).groups()
    assert python.startswith(">=3.")
    return set(ast.literal_eval(dependencies))


def lines_of(path):
    """The requirements in a file, {name: (the rest of it, its comment)}."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, comment = (part.strip() for part in line.partition("#"))
        if text and not text.startswith("-"):
            name, rest = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?\s*(.*)", text).groups()
            assert name not in found, f"{name} is in {path} twice"
            found[name.lower().replace("_", "-")] = (rest, comment)
    return found


def version(text):
    return tuple(map(int, re.findall(r"\d+", text)))


FILES = sorted([REPO / "requirements.txt", *REPO.glob("Project*/requirements*.txt"), REPO / "tests" / "requirements.txt"])
SAFE = {"transformers": "5.3", "keras": "3.15.1", "requests": "2.33", "urllib3": "2.8", "onnx": "1.22",
        "scikit-learn": "1.5", "tqdm": "4.66.3"}  # the lowest versions that no known vulnerability reaches


def test_the_block_of_the_script_is_its_requirements_file():
    assert block() == {line for line in (REPO / "Project2" / "requirements.txt").read_text().splitlines()
                       if line and not line.startswith("#")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_requirements_are_floors_and_a_pin_has_its_reason(path):
    for name, (rest, comment) in lines_of(path).items():
        if not re.fullmatch(r">=[\d.]+", rest):
            assert len(comment) > 15, f"{name}{rest} in {path}: a pin or an upper bound needs a comment with its reason"
        assert version(rest) >= version(SAFE.get(name, "0")), f"{name}{rest} in {path} has known vulnerabilities"


def test_the_versions_that_the_suite_ran_with_are_exact_and_no_less_than_the_floors():
    assert "-c constraints.txt" in (REPO / "tests" / "requirements.txt").read_text().splitlines()
    exact = lines_of(REPO / "tests" / "constraints.txt")
    floors = {name: rest for path in FILES if "requirements.txt" in path.name for name, (rest, _) in lines_of(path).items()}
    assert set(floors) <= set(exact), f"no exact version of {set(floors) - set(exact)}"
    for name, (rest, _) in exact.items():
        assert re.fullmatch(r"==[\w.+]+", rest), f"{name}{rest}"
        assert version(rest) >= version(floors.get(name, "0")), name
