"""Project1: model.onnx, model.tflite and tokenizer.json, used as the README says, where there is no TensorFlow."""
import importlib
import json
import os
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import REPO, readme_block
from project1 import EXPORTS, TEXTS, both, run_program, small_model, untrained

from rnn.training import predict_tokens
from rnn.settings import InputError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported
for needed in ("onnxruntime", "tokenizers", "ai_edge_litert", "onnx"):
    pytest.importorskip(needed, reason=f"the exports' tests need {needed}; see Project1/requirements-export.txt")

pytest_plugins = ["project1"]


def blocks():
    """The Python blocks of Project1/README.md that use an exported model, by the library that they import."""
    text = (REPO / "Project1" / "README.md").read_text(encoding="utf-8")
    found = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for library in ("onnxruntime", "ai_edge_litert"):
            if library in block:
                found[library] = block
    return found


@both
@pytest.mark.parametrize("library, file", [("onnxruntime", "model.onnx"), ("ai_edge_litert", "model.tflite")])
def test_the_readme_s_lines_run_without_tensorflow(runs, data, name, library, file):
    """On all validation texts, which take the place of the one in the README."""
    block = blocks()[library]
    assert block.count("\n") <= 9
    texts = [*TEXTS, *(text for text, _ in data.val), "", "\u2028"]
    texts += ["a " * 300] * (file == "model.onnx")  # the other reads as many words as the longest training text has
    written = '"i feel so lucky to have you"'
    assert block.count(written) == 1
    lines = block.replace(written, "text").splitlines()
    used = next(number for number, line in enumerate(lines) if "text" in line and ".encode" in line)
    result = run_program("readme_lines.py", "\n".join(lines[:used]), "\n".join(lines[used:]), json.dumps(texts),
                         cwd=runs[name].out)
    assert result.returncode == 0, result.stderr[-2000:]
    found = np.array([json.loads(line[6:]) for line in result.stdout.splitlines() if line.startswith("RESULT")])
    expected = keras.models.load_model(runs[name].out / "model.keras").predict(tf.constant(texts), verbose=0)
    assert found.shape == expected.shape
    if file == "model.onnx":
        assert np.abs(found - expected).max() < 1e-5 and (found.argmax(1) == expected.argmax(1)).all()
    else:  # INT8 weights
        stated = runs[name].results["exports"]["model.tflite"]
        assert np.abs(found - expected).max() < max(3 * stated["largest_difference"], 0.02)
    names = [line for line in result.stdout.splitlines() if not line.startswith("RESULT")]
    labels = list(runs[name].results["classes"].values())
    assert [line.split()[0] for line in names] == [labels[row.argmax()] for row in found]


@both
def test_the_class_of_the_readme_takes_batches(runs, data, name):
    """As Ray Data's map_batches hands them out; the engine itself is run in test_project2_ray.py."""
    found = {}
    exec(readme_block("Project1/README.md", "class Recurrent"), found)
    texts = np.array([text for text, _ in data.val], object)
    batch = found["Recurrent"](str(runs[name].out))({"text": texts, "number": np.arange(len(texts))})
    expected = keras.models.load_model(runs[name].out / "model.keras").predict(tf.constant(texts.tolist()), verbose=0)
    labels = np.array(list(runs[name].results["classes"].values()))
    assert list(batch) == ["text", "number", "label", "probability"]
    assert batch["label"].tolist() == labels[expected.argmax(1)].tolist()
    assert np.allclose(batch["probability"], expected.max(1), atol=1e-5)


@both
def test_what_is_exported_is_compared_and_stated(runs, name):
    exports = runs[name].results["exports"]
    assert set(exports) == {"model.keras", "model.onnx", "model.tflite"}
    for file, stated in exports.items():
        assert stated["bytes"] == (runs[name].out / file).stat().st_size and stated["rows"] == 200
        line = f"{file}, loaded again: {stated['bytes']:,} bytes, {stated['same_labels']:,} of 200 labels"
        assert line in runs[name].stdout
    assert exports["model.onnx"]["same_labels"] == exports["model.keras"]["same_labels"] == 200
    assert exports["model.onnx"]["largest_difference"] < 1e-5 and exports["model.tflite"]["same_labels"] > 190
    assert exports["model.tflite"]["bytes"] < 0.5 * exports["model.onnx"]["bytes"]
    onnx = pytest.importorskip("onnx")
    (entry,) = onnx.load(runs[name].out / "model.onnx").metadata_props
    assert json.loads(entry.value) == runs[name].results["classes"]


@both
def test_onnx_reads_any_number_of_texts_and_words(name):
    """Padding changes nothing, and the kernels of both directions are in the right places: all weights are random."""
    import onnxruntime

    from rnn.exporting import onnx_model
    _, model = small_model(name)
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    session = onnxruntime.InferenceSession(onnx_model(model, dict(zip("abcdef", "abcdef"))))
    sequences = [rng.integers(1, 60, length).astype(np.int32) for length in (1, 2, 7, 40, 0, 3)]
    expected = predict_tokens(model, sequences)
    tokens = np.zeros((6, 45), np.int32)
    for row, sequence in enumerate(sequences):
        tokens[row, :len(sequence)] = sequence
    assert np.abs(session.run(None, {"tokens": tokens})[0] - expected).max() < 1e-5
    assert np.abs(session.run(None, {"tokens": tokens[2:3, :7]})[0] - expected[2]).max() < 1e-5


def test_a_run_without_export_leaves_no_export_of_an_earlier_one(call, data, tmp_path):
    (tmp_path / "out").mkdir()
    for name in EXPORTS:
        (tmp_path / "out" / name).write_bytes(b"of another model")
    result = call("LSTM", *data.paths, "--UNITS", 4, "--USE_GLOVE", "False", change=untrained)
    assert result.code == 0 and not EXPORTS & {path.name for path in (tmp_path / "out").iterdir()}


def test_missing_packages_are_one_line(monkeypatch):
    for package in ("tokenizers", "onnx", "ai_edge_litert.interpreter"):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "rnn.exporting", raising=False)
            patch.setitem(sys.modules, package, None)
            with pytest.raises(InputError, match="pip install onnx onnxruntime tokenizers"):
                importlib.import_module("rnn.exporting")
