"""The peak memory that the scripts report is that of their own process."""
import ast
import subprocess
import sys

import pytest

from conftest import REPO

SCRIPTS = ["tinymodel-emotion-classification-10kB.py", "tinymodel-emotion-classification-250kB.py", "Project1/LSTM.py",
           "Project1/GRU.py", "Project2/emotion_classifier.py"]


def source_of(script):
    """The text of the function peak_memory of a script."""
    text = (REPO / script).read_text()
    (function,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "peak_memory")
    return ast.get_source_segment(text, function)


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_not_that_of_the_process_that_started_it(script):
    """Linux hands a parent's peak on to the programs that it starts: getrusage tells theirs no smaller."""
    child = f"import sys\n{source_of(script)}\nheld = bytearray(50 * 2**20)\nprint(peak_memory())"
    parent = f"import subprocess, sys\nheld = bytearray(400 * 2**20)\nsubprocess.run([sys.executable, '-c', {child!r}])"
    found = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True).stdout
    assert 50 * 2**20 < int(found) < 300 * 2**20


def test_all_scripts_have_the_same_function():
    assert len({source_of(script) for script in SCRIPTS}) == 1
