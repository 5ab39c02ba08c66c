"""The peak memory that the scripts report is that of their own process."""
import subprocess

import pytest

from conftest import ALL_SCRIPTS, REPO, program

FILES = {"tinymodel": ALL_SCRIPTS["tinymodel-emotion-classification-10kB.py"], "settings": REPO / "Project1/rnn/settings.py"}


@pytest.mark.parametrize("script", FILES)
def test_it_is_not_that_of_the_process_that_started_it(script):
    """Linux hands a parent's peak on to the programs that it starts: getrusage tells theirs no smaller."""
    command = program("peak_memory.py", FILES[script])
    found = subprocess.run(**command, capture_output=True, text=True, check=True).stdout
    assert 50 * 2**20 < int(found) < 300 * 2**20
