"""Project1: its constants, its command line, what stands in which file."""
import ast
import re
import subprocess
import sys

import numpy as np
import pytest

from conftest import assert_one_line, run_script, tree
from project1 import MODULES, PROJECT1, SCRIPTS, both, script, settings_of

from rnn.settings import read_constants, run

pytest_plugins = ["project1"]

LINES = {"LSTM.py": 300, "GRU.py": 300, "a module": 350, "all": 2300}  # most that each may have


def test_no_file_outgrows_what_one_reads():
    sizes = {name: len((PROJECT1 / name).read_text(encoding="utf-8").splitlines()) for name in ("LSTM.py", "GRU.py", *MODULES)}
    for name, size in sizes.items():
        assert size <= LINES.get(name, LINES["a module"]), name
    assert sum(sizes.values()) <= LINES["all"], sizes
    for name, line in (("LSTM", 160), ("GRU", 190)):
        lines = SCRIPTS[name].read_text(encoding="utf-8").splitlines()
        assert next(number for number, text in enumerate(lines, 1) if text.startswith("def build_model")) <= line


def test_no_line_is_too_long():
    for name in ("LSTM.py", "GRU.py", *MODULES):
        assert not [line for line in (PROJECT1 / name).read_text(encoding="utf-8").splitlines() if len(line) > 120], name


def test_modules_import_no_script_and_not_in_a_circle():
    imports = {}
    for name in MODULES:
        tree = ast.parse((PROJECT1 / name).read_text(encoding="utf-8"))
        found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
        imports[name[4:-3]] = {node.module for node in found}
        assert all(node.level == 1 for node in found)
    while imports:
        free = {name for name, needed in imports.items() if not needed & set(imports)}
        assert free, f"a circle: {imports}"
        imports = {name: needed for name, needed in imports.items() if name not in free}


@both
def test_every_constant_is_typed_and_explained(name):
    source = SCRIPTS[name].read_text(encoding="utf-8")
    constants = read_constants(script(name)).groups()
    assert set(re.findall(r"^([A-Z][A-Z0-9_]*): ", source, re.MULTILINE)) == set(constants) and len(constants) > 30
    assert all(constants.values())


@both
def test_help_says_each_constant_s_value_and_comment(capfd, monkeypatch, name):
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit):
        run(script(name).main, "")
    out = "".join(capfd.readouterr().out.split())  # its lines break anywhere
    for name, field in read_constants(script(name)).model_fields.items():
        if name != "script":
            assert f"--{name}" in out and f"--{name.lower()}" in out, name
            assert "".join(f"{field.description}(now{field.default!r})".split()) in out, name


@pytest.mark.parametrize("arguments, words", [
    (["--UNITS", "0"], ["UNITS", "0"]), (["--UNITS", "1.5"], ["UNITS", "integer"]), (["--DROPOUT", "x"], ["DROPOUT", "number"]),
    (["--DROPOUT", "1"], ["DROPOUT", "less than 1"]), (["--LEARNING_RATE", "nan"], ["LEARNING_RATE"]),
    (["--LEARNING_RATE", "inf"], ["LEARNING_RATE"]), (["--USE_GLOVE", "maybe"], ["USE_GLOVE", "boolean"]),
    (["--SEED", "-1"], ["SEED"]), (["--UNITS"], ["UNITS", "--help"]), (["--NOTHING", "1"], ["NOTHING", "--help"]),
    (["--BATCH_SIZE", ""], ["BATCH_SIZE"]), (["--PATIENCE", "-1"], ["PATIENCE"]), (["--units", "-3"], ["UNITS"]),
    (["--GRID_PHASE", "3"], ["GRID_PHASE"]),
])
def test_a_wrong_constant_is_one_line(call, tmp_path, arguments, words):
    assert_one_line(call("GRU", *arguments), *words)
    assert not (tmp_path / "out").exists()


def test_a_wrong_constant_in_the_file_is_one_line(call):
    def change(module):
        module.UNITS = "many"

    assert_one_line(call("LSTM", change=change), "UNITS is 'many'", "integer")


@both
def test_units_and_dropout_reach_the_layers(name):
    matrix = np.zeros((9, 50), np.float32)
    phases = [(16, 0.05, 1), (32, 0.5, 1), *([(8, 0.3, 2)] if name == "GRU" else [])]
    for units, dropout, phase in phases:
        constants = {"UNITS": units, "DROPOUT": dropout}
        if phase == 2:
            constants = {"FINAL_UNITS": units, "FINAL_DROPOUT": dropout, "DENSE_UNITS": 5}
        model = script(name).build_model(settings_of(name, **constants), matrix, 3, *([phase] if name == "GRU" else []))
        found = {layer["class_name"]: layer["config"] for layer in model.get_config()["layers"]}
        assert found["SpatialDropout1D"]["rate"] == dropout
        recurrent = found["Bidirectional"]["layer"]
        assert (recurrent["class_name"], recurrent["config"]["units"]) == (name, units)
        assert model.get_layer("embedding").trainable is False
        if phase == 2:
            assert found["Dropout"]["rate"] == dropout and model.get_layer("dense").units == 5
        assert all(model(np.ones((4, 6), np.int32), training=training).shape == (4, 3) for training in (False, True))


def test_importing_does_nothing_and_loads_no_library_of_other_modes(tmp_path):
    """Both scripts in one fresh process: no output, no file, and nothing of a grid or an export."""
    lines = ["import sys", f"sys.path.insert(0, {str(PROJECT1)!r})", "sys.dont_write_bytecode = True", "import LSTM, GRU",
             "print({'optuna', 'onnx', 'onnxruntime', 'kagglehub', 'sqlalchemy'} & set(sys.modules))"]
    result = subprocess.run([sys.executable, "-c", "\n".join(lines), "--NOTHING"], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "set()\n" and not tree(tmp_path), result.stderr


def test_a_copy_of_the_folder_runs_from_any_place(tmp_path):
    """As python3 GRU.py in its folder, with no other file of the repository beside it."""
    (tmp_path / "rnn").mkdir()
    for name in ("GRU.py", *MODULES):
        (tmp_path / name).write_bytes((PROJECT1 / name).read_bytes())
    result = run_script("GRU.py", "--predict", "a", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.decode().startswith(f"error: there is no model {tmp_path / 'outputs' / 'GRU'}")


@both
def test_a_user_s_screen_begins_with_ours(tmp_path, name):
    """[TensorFlow wrote six lines of its own as it was imported, whatever it was told]"""
    assert_one_line(run_script(SCRIPTS[name], "--OUTPUT_DIR", tmp_path, "--predict", "a"), "there is no model")


@both
def test_a_closed_standard_error_is_no_error(tmp_path, name):
    command = f'"{sys.executable}" "{SCRIPTS[name]}" --OUTPUT_DIR "{tmp_path}" --predict a 2>&-'
    assert subprocess.run(command, shell=True, stdout=subprocess.PIPE).returncode == 2
