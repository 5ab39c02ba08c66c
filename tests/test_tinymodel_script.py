"""The two tiny scripts as texts: the order of the house; constants and --help."""
import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

from conftest import CONSTANT, REPO, load_script, run_script, tree
from tiny import LIMITS, SCRIPTS, both

pytest_plugins = ["tiny"]

SECTIONS = ["Data", "Text", "Model", "Training", "Output", "Model", "Training", "Reading", "Encoding", "Packing", "Saving",
            "Prediction", "Evaluation", "Made rows", "Data", "Files of rows", "Files", "Errors and the command line", "Export"]


@both
def test_the_story_comes_first(size):
    """Docstring, constants, main, model, training; then plumbing, and what is in other languages last."""
    text = SCRIPTS[size].read_text(encoding="utf-8")
    assert re.findall(r"(?m)^# (%s)(?:: .*)?$" % "|".join(set(SECTIONS)), text) == SECTIONS
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert [node.name for node in functions[:2]] == ["main", "TinyModel"]
    templates = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                 and "\n" in str(node.value.value)]
    assert [node.targets[0].id for node in templates] == ["HEADER", "JAVASCRIPT", "PAGE", "PYTHON"]
    assert templates[0].lineno > functions[-1].end_lineno
    named = re.findall(r"tinymodel-emotion-classification-(\w+)", ast.get_docstring(ast.parse(text)))
    assert named and set(named) == {size} and f"{LIMITS[size]:,}" in ast.get_docstring(ast.parse(text))


@both
def test_one_file_says_what_it_needs(size):
    """The block of PEP 723 names what requirements.txt names."""
    text = SCRIPTS[size].read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n(.*?)^# ///$", text, re.MULTILINE | re.DOTALL)[1]
    named = re.findall(r'"([^"]+)"', block.partition("dependencies")[2])
    assert sorted(named) == sorted((REPO / "requirements.txt").read_text().split())


def test_help_lists_every_constant_with_value_and_comment(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    module = load_script(SCRIPTS["10kB"])
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS["10kB"]), "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    listed = capsys.readouterr().out
    lines = SCRIPTS["10kB"].read_text(encoding="utf-8").splitlines()
    constants = [match.groups() for match in map(CONSTANT.match, lines) if match]
    assert len(constants) >= 40 and {name for name, *_ in constants} == set(module.read_constants())
    for name, _, value, comment in constants:
        entry = re.search(rf"^  --{name} .*?, --{name.lower()} \S+\s+(.*)$", listed, re.MULTILINE)
        assert entry[1] == f"{comment[4:]} (now {eval(value, {'TWEETS': module.TWEETS})!r})"
    assert "--predict" in listed and "--explain" in listed


@both
def test_importing_a_script_does_nothing(size, tmp_path, capfd, monkeypatch):
    script = shutil.copy(SCRIPTS[size], tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))
    load_script(script)
    assert capfd.readouterr() == ("", "")
    assert list(tree(tmp_path)) == [Path(script).name]


def parse(monkeypatch, *arguments):
    module = load_script(SCRIPTS["10kB"])
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS["10kB"]), *map(str, arguments)])
    return module, module.parse_arguments()


def test_constants_come_from_the_command_line(monkeypatch):
    values = {"NUM_EPOCHS": "3", "LEARNING_RATE": "0.5", "CHAR_NGRAMS": "4, 3", "MADE_WEIGHT": "0", "FACTOR": "1",
              "MARKING": "15", "FALLBACK": "never", "HUMAN_URL": "", "SEED": "7"}
    module, _ = parse(monkeypatch, *[part for name, value in values.items() for part in (f"--{name}", value)])
    expected = dict(NUM_EPOCHS=3, LEARNING_RATE=0.5, CHAR_NGRAMS=(3, 4), MADE_WEIGHT=0.0, FACTOR=1.0, MARKING=15,
                    FALLBACK="never", HUMAN_URL="", SEED=7)
    assert {name: getattr(module, name) for name in values} == expected
    module, _ = parse(monkeypatch, "--char_ngrams", "")
    assert module.CHAR_NGRAMS == ()


@pytest.mark.parametrize("arguments, word", [
    (["--NUM_EPOCHS", "-1"], "NUM_EPOCHS"), (["--NUM_EPOCHS", "0"], "NUM_EPOCHS"), (["--NUM_EPOCHS", "2.5"], "NUM_EPOCHS"),
    (["--BATCH_SIZE", "x"], "BATCH_SIZE"), (["--BATCH_SIZE", ""], "BATCH_SIZE"), (["--FALLBACK", "maybe"], "FALLBACK"),
    (["--CHAR_NGRAMS", "99"], "CHAR_NGRAMS"), (["--CHAR_NGRAMS", "3,x"], "CHAR_NGRAMS"), (["--CHAR_NGRAMS", "9"], "CHAR_NGRAMS"),
    (["--CHAR_NGRAMS", "2"], "CHAR_NGRAMS"), (["--MARKING", "16"], "MARKING"), (["--NEGATION", "-1"], "NEGATION"),
    (["--FACTOR", "11"], "FACTOR"), (["--MADE_WEIGHT", "-1"], "MADE_WEIGHT"), (["--MADE_COUNT", "x"], "MADE_COUNT"),
    (["--EMOJI_COUNT", "nan"], "EMOJI_COUNT"), (["--WORD_NGRAMS", "1"], "WORD_NGRAMS"),
    (["--LEARNING_RATE", "nan"], "LEARNING_RATE"),
    (["--LEARNING_RATE", "inf"], "LEARNING_RATE"),
    (["--MODEL_BYTES", "300"], "MODEL_BYTES"), (["--DOWNLOAD_TIMEOUT", "0"], "DOWNLOAD_TIMEOUT"),
    (["--VALIDATION_FRACTION", "1"], "VALIDATION_FRACTION"), (["--SEED", "-1"], "SEED"),
    (["--NO_SUCH_CONSTANT", "1"], "NO_SUCH_CONSTANT"), (["--NUM_EPOCH", "1"], "NUM_EPOCH"),
    (["--TEXT_COLUMN", ""], "TEXT_COLUMN"), (["stray"], "stray"), (["--predict"], "predict"), (["--explain"], "--predict"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_wrong_constant_is_one_line(monkeypatch, capfd, arguments, word):
    module = load_script(SCRIPTS["10kB"])
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS["10kB"]), *arguments])
    assert module.run_main() == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and word in err


@pytest.mark.parametrize("name, value", [
    ("PATIENCE", "6"), ("PATIENCE", True), ("CHAR_NGRAMS", 4), ("TRAIN_URL", None),
    ("LEARNING_RATE", "0.1"), ("CHAR_NGRAMS", ("1",)), ("FACTOR", "0.75"), ("MADE_COUNT", None),
])
def test_a_constant_edited_to_a_wrong_type_is_one_line(monkeypatch, capfd, name, value):
    module = load_script(SCRIPTS["10kB"])
    monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS["10kB"]), "--predict", "x"])
    assert module.run_main() == 2
    err = capfd.readouterr().err
    assert err.startswith(f"error: {name} is ") and err.count("\n") == 1


def test_a_wrong_constant_of_the_command_itself_is_one_line(tmp_path):
    process = run_script(SCRIPTS["10kB"], "--NUM_EPOCHS", "x", cwd=tmp_path)
    assert process.returncode == 2 and re.fullmatch(rb"error: NUM_EPOCHS is 'x'[^\n]*\n", process.stderr)
    assert tree(tmp_path) == {}
