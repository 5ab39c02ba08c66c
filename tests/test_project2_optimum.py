"""Project2: Optimum, whose ONNX part takes no transformers 5, loads the ONNX folders and gives their labels."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import EMOTIONS, program
from project2 import LONG, TEXTS, assert_good, logits_of_folder, quick_compression, run_main

import numpy as np

from classifier.prediction import softmax

pytest_plugins = ["project2"]
OPTIMUM = ("optimum-onnx==0.1.0", "optimum==2.1.0", "transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2")


@pytest.fixture(scope="module")
def optimum(tmp_path_factory):
    """The environment of a Python that has OPTIMUM before what is installed: torch, gigabytes elsewhere, stands once."""
    uv, folder = shutil.which("uv", path=str(Path(sys.executable).parent)), tmp_path_factory.mktemp("optimum")
    if uv is None:
        pytest.skip("needs uv; see tests/requirements.txt")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", folder, *OPTIMUM]
    try:
        installed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        pytest.skip(f"uv did not install {', '.join(OPTIMUM)} in time")
    if installed.returncode:
        pytest.skip(f"uv cannot get {', '.join(OPTIMUM)} here: {installed.stderr[-300:]}")
    (folder / "kernels.py").write_text("raise ImportError('the one that is installed is for transformers 5')\n")
    yield {**os.environ, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "USE_TF": "0"}
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def folders(data, bases, tmp_path_factory):
    """The ONNX folders of a small MiniLM: the variant of INT8, and what export makes of the original."""
    home = tmp_path_factory.mktemp("minilm")
    best, out = home / "out" / "best_MiniLM", ["--output", home / "out"]
    for arguments in ([*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 2, "--HEAD_RATE", 1],
                      ["--mode", "compress", "--weights", best, *data.paths, "--technique", "onnx"],
                      ["--mode", "export", "--weights", best]):
        assert_good(run_main(home, *arguments, *out, change=quick_compression))
    return [home / "out" / f"best_MiniLM_{name}" for name in ("onnx_int8", "export")]


def test_optimum_gives_the_labels_and_probabilities(optimum, folders):
    texts = [*TEXTS, LONG]
    done = subprocess.run(**{**program("optimum_answers.py", *folders), "env": optimum}, input=json.dumps(texts), text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    for folder, line in zip(folders, done.stdout.splitlines(), strict=True):
        answers = json.loads(line)
        assert all(set(answer) == set(EMOTIONS) for answer in answers)
        found = np.array([[answer[emotion] for emotion in EMOTIONS] for answer in answers])
        assert np.allclose(found, softmax(logits_of_folder(folder, texts)), rtol=0, atol=1e-3)
