"""Project1/project1_workflow.ipynb: a whole run on small data in an empty folder, the pieces that carry and install."""
import base64
import csv
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

for needed in ("nbclient", "nbformat", "ipykernel"):
    pytest.importorskip(needed, reason=f"the notebook's tests need {needed}; see tests/requirements.txt")

from nbclient.exceptions import CellExecutionError

from conftest import tree
from notebooks import Notebook, output_text
from project1 import EMOTIONS

pytest_plugins = ["project1"]

NOTEBOOK = Notebook("Project1/project1_workflow.ipynb")


# Helpers


@pytest.fixture(scope="module")
def executed(data, tmp_path_factory):
    """The notebook after a whole run on the small data, and the folder that it ran in, which was empty."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = NOTEBOOK.execute(folder, [*data.paths, "--UNITS", 8, "--NUM_EPOCHS", 2, "--BATCH_SIZE", 32])
    cells = {cell.id: cell for cell in notebook.cells}
    outputs = folder / "scripts" / "outputs"
    results = {name: json.loads((outputs / name / "results.json").read_text()) for name in ("LSTM", "GRU")}
    return SimpleNamespace(cells=cells, folder=folder, results=results, outputs=outputs)


# A whole run


def test_both_scripts_are_trained_in_the_quick_setting(executed):
    assert "the quick setting" in output_text(executed.cells["install"]) or "1 GPU" in output_text(executed.cells["install"])
    assert "pip install" not in output_text(executed.cells["install"]), "all is installed"
    for name in ("LSTM", "GRU"):
        output, results = output_text(executed.cells[name.lower()]), executed.results[name]
        assert output.startswith(f"$ python3 scripts/{name}.py ")
        summary = output[output.index("================ FINAL SUMMARY"):]
        assert f"Validation Accuracy: {results['validation_accuracy']:.4f}\n" in summary
        assert summary.endswith("===============================================\n")
        assert "Traceback" not in output
        constants = results["constants"]
        assert (constants["UNITS"], constants["NUM_EPOCHS"]) == (8, 2), "EXTRA goes before the quick setting"
    if "the quick setting" in output_text(executed.cells["install"]):
        constants = executed.results["GRU"]["constants"]
        assert (constants["WARM_UP_EPOCHS"], constants["FINAL_EPOCHS"]) == (1, 4)


def test_the_pictures_are_shown(executed):
    for name in ("LSTM", "GRU"):
        cell = executed.cells[f"{name.lower()}-pictures"]
        shown = [base64.b64decode(output.data["image/png"]) for output in cell.outputs if output.output_type == "display_data"]
        pictures = ("curves.png", "confusion_validation.png", "confusion_test.png")
        assert shown == [(executed.outputs / name / picture).read_bytes() for picture in pictures]
        assert output_text(cell).split() == [f"scripts/outputs/{name}/{picture}" for picture in pictures]


def test_the_comparison_has_the_figures_of_results_json(executed):
    (shown,) = [output.data["text/markdown"] for output in executed.cells["comparison"].outputs
                if output.output_type == "display_data"]
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()]
    assert {len(row) for row in (head, rule, *rows)} == {9}
    assert [row[0] for row in rows] == ["LSTM.py", "GRU.py, phase 1 (frozen)", "GRU.py, phase 2 (freeze-thaw)"]
    table = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    lstm, gru = executed.results["LSTM"], executed.results["GRU"]
    for row, results in ((rows[0][0], lstm), (rows[2][0], gru)):
        assert table[row]["test accuracy"] == f"{results['test_accuracy']:.4f}"
        assert table[row]["test macro F1"] == f"{results['test_macro_f1']:.4f}"
        assert table[row]["model, bytes"] == f"{results['model_bytes']:,}"
        assert table[row]["one text, seconds"] == f"{results['profile']['latency_seconds_batch_1']:.4f}"
        assert table[row]["256 texts, seconds"] == f"{results['profile']['latency_seconds_batch_256']:.4f}"
    for row, results in zip(rows, (lstm, gru["phase_1"], gru), strict=True):
        assert table[row[0]]["validation accuracy"] == f"{results['validation_accuracy']:.4f}"
        assert table[row[0]]["validation macro F1"] == f"{results['validation_macro_f1']:.4f}"
    assert table[rows[1][0]]["test accuracy"] == table[rows[1][0]]["model, bytes"] == "", "phase 1 is neither tested nor saved"
    seconds = [float(table[row[0]]["training, seconds"]) for row in rows]
    assert seconds[0] == pytest.approx(lstm["training_seconds"], abs=0.051)
    assert sum(seconds[1:]) == pytest.approx(gru["training_seconds"], abs=0.11) and min(seconds) > 0


def test_the_sentence_is_classified_by_both(executed):
    lines = output_text(executed.cells["predict"]).splitlines()
    assert not [line for line in lines if re.match("[IW]0000 |WARNING: All log", line)], "TensorFlow's log is left out"
    assert [line.split()[2] for line in lines if line.startswith("$")] == ["scripts/LSTM.py", "scripts/GRU.py"]
    found = [line.split("\t") for line in lines if line.count("\t") == 3]
    assert len(found) == 2
    for label, emotion, probability, text in found:
        assert EMOTIONS[int(label)] == emotion and text == "i feel so lucky to have you"
        assert re.fullmatch(r"[01]\.\d{4}", probability)


def test_the_csv_comes_back_with_predictions(executed):
    with open(executed.outputs / "example.csv", newline="", encoding="utf-8") as file:
        given = list(csv.reader(file))
    with open(executed.outputs / "example_predictions.csv", newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found[0] == [*given[0], "label", "emotion", "probability"] and len(found) == len(given) == 5
    for before, after in zip(given[1:], found[1:], strict=True):
        assert after[:-3] == before and EMOTIONS[int(after[-3])] == after[-2] and 1 / 6 <= float(after[-1]) <= 1
    predicted = output_text(executed.cells["predict"]).splitlines()[-1].split("\t")
    assert found[1][-3:] == predicted[:3], "the first text is the sentence"
    assert [cell.id for cell in NOTEBOOK.read().cells][-3:] == ["predict", "csv-text", "csv"], "it ends with the user's own"


def test_a_run_writes_below_the_folder_of_the_scripts_alone(executed):
    written = {path for path in tree(executed.folder) if not path.startswith("scripts/outputs/") and "__pycache__" not in path}
    assert written == {f"scripts/{name}" for name in NOTEBOOK.code_files}
    for name in NOTEBOOK.code_files:
        assert (executed.folder / "scripts" / name).read_bytes() == (NOTEBOOK.path.parent / name).read_bytes()


def test_the_four_lines_at_the_end_use_the_model(executed):
    (block,) = re.findall(r"```python\n(.*?)```", executed.cells["use-text"].source, re.DOTALL)
    assert block.count("\n") == 4
    result = subprocess.run([sys.executable, "-c", block], cwd=executed.outputs / "GRU", capture_output=True,
                            text=True, timeout=200)
    assert result.returncode == 0, result.stderr[-2000:]
    emotion, probability = result.stdout.split()
    predicted = output_text(executed.cells["predict"]).splitlines()[-1].split("\t")
    assert emotion == predicted[1] and float(probability) == pytest.approx(float(predicted[2]), abs=6e-5)


def test_a_failing_script_fails_the_notebook(tmp_path):
    with pytest.raises(CellExecutionError) as caught:
        NOTEBOOK.execute(tmp_path, ["--TRAIN_PATH", "none.csv"])
    assert "ended with exit status 2: error: TRAIN_PATH: no file none.csv" in str(caught.value)
    outputs = tmp_path / "scripts" / "outputs"
    assert not (outputs / "LSTM" / "results.json").exists() and not (outputs / "GRU").exists()


# The code and the packages


def test_the_scripts_are_written_where_they_are_not_beside(tmp_path):
    NOTEBOOK.assert_writes_its_files(tmp_path / "cwd")


def test_scripts_beside_the_notebook_go_first(tmp_path):
    NOTEBOOK.assert_takes_files_beside_it(tmp_path / "cwd")


def test_only_what_is_missing_is_installed_and_tensorflow_is_left_as_it_is(tmp_path):
    wanted = ["# a comment", "", "tensorflow==1.0", "numpy>=1", "no-such-package-here>=2", "pytest>=9999"]

    def change(cells):
        cells["file-requirements"].source = "\n".join(["%%write_script requirements.txt", *wanted])

    with pytest.raises(CellExecutionError) as caught:
        NOTEBOOK.execute(tmp_path, [], "install", change)
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(caught.value))
    assert "RuntimeError: python3 -m pip install --quiet 'no-such-package-here>=2' 'pytest>=9999' ended with exit status 1" in said


# The file


def test_the_notebook_is_valid_and_its_outputs_are_stripped():
    NOTEBOOK.assert_valid_and_stripped()


def test_the_notebook_calls_the_scripts_and_has_no_copy_of_their_code():
    code = "\n".join(NOTEBOOK.sources("code").values())
    for name in ("LSTM.py", "GRU.py"):
        NOTEBOOK.assert_copies_nothing_of(name)
        assert f'execute(str(CODE / "{name}")' in code
    assert "import keras" not in code and "import tensorflow as" not in code


def test_the_notebook_carries_the_scripts_as_they_are_and_fetches_none():
    NOTEBOOK.assert_carries_its_files()
    NOTEBOOK.assert_asks_no_address()
