"""Project1: the two scripts as texts, their constants and their command line."""
import ast
import re
import shutil
import sys

import numpy as np
import pytest

from conftest import assert_one_line, load_script, tree
from project1 import SCRIPTS, both

pytest_plugins = ["project1"]


@both
def test_the_story_comes_first(name):
    """main, then text, model, training, and last what any program needs."""
    source = SCRIPTS[name].read_text(encoding="utf-8")
    names = [node.name for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    order = ["main", "make_vocabulary", "build_model", "fit", "evaluate", "search", "save_results", "export",
             "print_predictions", "read_data", "open_table", "read_vectors", "download", "whole_file", "run_main",
             "parse_arguments"]
    assert [name for name in names if name in order] == order and names[0] == "main"
    assert source.index("def main") < 0.1 * len(source)
    assert source.endswith('if __name__ == "__main__":\n    sys.exit(run_main())\n')


@both
def test_every_constant_is_typed_and_explained(name):
    source = SCRIPTS[name].read_text(encoding="utf-8")
    constants = load_script(SCRIPTS[name]).read_constants()
    assert set(re.findall(r"^([A-Z][A-Z0-9_]*): ", source, re.MULTILINE)) == set(constants) and len(constants) > 30
    for constant in constants.values():
        assert constant.comment and constant.group
    assert not [line for line in source.splitlines() if len(line) > 140]


@both
def test_help_says_each_constant_s_value_and_comment(capfd, monkeypatch, name):
    module = load_script(SCRIPTS[name])
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit):
        module.run_main()
    out = "".join(capfd.readouterr().out.split())  # its lines break anywhere
    for name, constant in module.read_constants().items():
        assert f"--{name}" in out and f"--{name.lower()}" in out, name
        assert "".join(f"{constant.comment}(now{constant.value!r})".split()) in out, name


@both
@pytest.mark.parametrize("arguments, words", [
    (["--UNITS", "0"], ["UNITS", "0"]), (["--UNITS", "1.5"], ["UNITS", "integer"]), (["--DROPOUT", "x"], ["DROPOUT", "number"]),
    (["--DROPOUT", "1"], ["DROPOUT", "less than 1"]), (["--LEARNING_RATE", "nan"], ["LEARNING_RATE"]),
    (["--LEARNING_RATE", "inf"], ["LEARNING_RATE"]), (["--USE_GLOVE", "maybe"], ["USE_GLOVE", "boolean"]),
    (["--SEED", "-1"], ["SEED"]), (["--UNITS"], ["UNITS", "--help"]), (["--NOTHING", "1"], ["NOTHING", "--help"]),
    (["--BATCH_SIZE", ""], ["BATCH_SIZE"]), (["--PATIENCE", "0"], ["PATIENCE"]), (["--units", "-3"], ["UNITS"]),
])
def test_a_wrong_constant_is_one_line(call, tmp_path, name, arguments, words):
    assert_one_line(call(name, *arguments), *words)
    assert not (tmp_path / "out").exists()


def test_a_wrong_constant_in_the_file_is_one_line(call, tmp_path):
    def change(module):
        module.UNITS = "128"

    assert_one_line(call("LSTM", change=change), "UNITS is '128'", "integer")


@both
def test_units_and_dropout_reach_the_layers(scripts, name):
    module = scripts[name]
    matrix = np.zeros((9, 50), np.float32)
    for units, dropout, dense in ((16, 0.05, 0), (32, 0.5, 0), *([(8, 0.3, 5)] if name == "GRU" else [])):
        model = module.build_model(matrix, 3, units, dropout, *([dense] if dense else []))
        found = {layer["class_name"]: layer["config"] for layer in model.get_config()["layers"]}
        assert found["SpatialDropout1D"]["rate"] == dropout
        recurrent = found["Bidirectional"]["layer"]
        assert (recurrent["class_name"], recurrent["config"]["units"]) == (name, units)
        assert model.get_layer("embedding").trainable is False
        if dense:
            assert found["Dropout"]["rate"] == dropout and model.get_layer("dense").units == dense
        assert all(model(np.ones((4, 6), np.int32), training=training).shape == (4, 3) for training in (False, True))


@both
def test_importing_does_nothing(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").mkdir()
    script = shutil.copy(SCRIPTS[name], tmp_path / "script")
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--NOTHING"])
    load_script(script)
    assert tree(tmp_path) == before
    assert capfd.readouterr() == ("", "")
