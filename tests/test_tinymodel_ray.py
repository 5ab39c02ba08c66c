"""From one text to a billion with a tiny model: the README's program with the line that its table gives."""
import itertools
import os
import re
import subprocess
import sys

import pytest

import pandas as pd

from conftest import REPO, readme_block, run_script

pytest_plugins = ["tiny"]


def test_the_program_of_the_readme_with_tinymodel_in_the_class_s_place(runs, tmp_path):
    pytest.importorskip("ray", reason="needs Project2/requirements-ray.txt")
    run = runs("six")
    program = readme_block("README.md", "map_batches(Classifier")
    (line,) = re.findall(r"`(rows\.map\(lambda .*?\))`", (REPO / "README.md").read_text(encoding="utf-8"))
    for old, new in ((re.search(r"rows\.map_batches\(.*?\)\)\n", program, re.DOTALL)[0], f"{line}\n"),
                     ('"working_dir": "Project2"', '"working_dir": weights'), ('(0, "Project2")', "(0, weights)"),
                     ("from emotion_classifier import Classifier", "import tinymodel"), ("4 * 2**20", "10_000")):
        assert program.count(old) == 1
        program = program.replace(old, new)
    (tmp_path / "many.py").write_text(program)
    (tmp_path / "rows").mkdir()
    moods = itertools.product(("so happy", "furious", "afraid", "sad"), ("loved", "alone", "Ärger \N{GRINNING FACE}"), range(20))
    texts = [f"i feel {one} and {other}, {number}" for one, other, number in moods]
    rows = pd.DataFrame({"number": range(len(texts)), "text": texts})
    for part in range(4):
        rows[part::4].to_parquet(tmp_path / "rows" / f"{part}.parquet")
    command = [sys.executable, tmp_path / "many.py", run.out, tmp_path / "rows", tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, timeout=400,
                            env={**os.environ, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"})
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    found = pd.read_parquet(tmp_path / "out").sort_values("number", ignore_index=True)
    assert found["number"].tolist() == rows["number"].tolist() and found["text"].tolist() == texts
    (tmp_path / "lines").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    with open(tmp_path / "lines", "rb") as lines:
        expected = run_script(run.script, "--OUTPUT_DIR", run.out, "--predict", "-", stdin=lines).stdout.decode().splitlines()
    assert found["label"].tolist() == [line.split("\t")[0] for line in expected]
