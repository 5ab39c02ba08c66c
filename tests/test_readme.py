"""The README: its commands are the ones that are run, here and by CI; its figures are those that the benchmark stored."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ALL_SCRIPTS, REPO, emotion_rows, load_script

README = (REPO / "README.md").read_text(encoding="utf-8")
FIGURES = (REPO / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("python3 ")]
STORED = json.loads((REPO / "tests" / "benchmarks" / "whole.json").read_text(encoding="utf-8"))
LINES = 150  # most that the README has


# What it says


def test_first_block_installs_and_runs_the_main_job():
    install, _, job = BLOCKS[0].strip().partition(" && ")
    assert install == "python3 -m pip install -r requirements.txt"
    assert job.startswith("python3 ") and (REPO / job.split()[1]).is_file()
    assert len(BLOCKS[0].strip().splitlines()) == 1


def test_second_block_installs_and_tests():
    assert BLOCKS[1].strip() == ("python3 -m pip install -r tests/requirements.txt && "
                                 "python3 -m pytest -q -n 2 --dist loadfile tests")


def test_ci_runs_the_second_block_where_nothing_lies_beside_the_repository():
    script = (REPO / ".ci" / "run").read_text(encoding="utf-8")
    assert "fence == 3' README.md" in script and "venv" in script and "git clone" in script


def test_it_is_short():
    assert len(README.splitlines()) <= LINES


@pytest.mark.parametrize("page", ["README.md", "Project1/README.md", "Project2/README.md", "tests/benchmarks/README.md"])
def test_every_path_and_heading_that_is_named_exists(page):
    path = REPO / page
    text = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", text):
        assert not target or (path.parent / target).exists(), target
        if anchor:
            other = (path.parent / target if target else path).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", other, re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor
    for named in re.findall(r"`((?:tests|Project\d)/[\w./-]+)`", text):
        assert (REPO / named).exists(), named
    for script in re.findall(r"python3 ((?:tests|Project\d)/[\w./-]+\.py|[\w-]+kB\.py)", text):
        assert (REPO / script).is_file(), script


# Its figures


@pytest.fixture(scope="module")
def whole():
    """tests/benchmarks/whole.py as a module: the tables that its stored figures make."""
    sys.path.insert(0, str(REPO / "tests" / "benchmarks"))
    try:
        return load_script(REPO / "tests" / "benchmarks" / "whole.py")
    finally:
        sys.path.pop(0)


def test_the_tables_are_those_of_the_stored_figures(whole):
    assert "\n".join(whole.main_table(STORED)) in README
    assert "\n".join(whole.task_table(STORED)) in FIGURES


def test_each_figure_of_the_sentences_is_a_stored_one(whole):
    """Four digits behind a point, and sizes: in the prose as in the table, without the spread."""
    prose = "\n".join(line for line in re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL).splitlines()
                      if not line.startswith("|"))
    table = "\n".join(whole.main_table(STORED))
    found = re.findall(r"\b0\.\d{4}\b|\b\d+(?:\.\d)? MB\b", prose)
    assert len(found) >= 5
    for figure in found:
        assert figure in table, figure


def test_the_stored_figures_are_of_models_that_are_there(whole):
    assert set(STORED["figures"]["six"]) == set(whole.MODELS)
    assert set(STORED["speed"]["models"]) == set(whole.MODELS)
    assert STORED["many"], "rows a second through Ray Data"
    for name, found in STORED["many"].items():
        for workers, figures in found.items():
            assert f"{figures['without_start']:,.0f}" in README, (name, workers)


# Its commands, as they are written


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A copy of what the repository has, with my.csv and my_validation.csv in it, and a python3 that is this one."""
    folder = tmp_path_factory.mktemp("readme")
    for name, path in ALL_SCRIPTS.items():
        if path.parent == REPO:
            shutil.copy(path, folder)
        else:
            shutil.copytree(path.parent, folder / path.parent.name, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    moods = ("calm", "cross", "glad")
    for name, part, number in (("my.csv", "train", 90), ("my_validation.csv", "validation", 30)):
        rows = [(text, moods[int(label) % 3]) for text, label in emotion_rows(part, number)]
        (folder / name).write_text("tweet,mood\n" + "".join(f'"{text}",{mood}\n' for text, mood in rows), encoding="utf-8")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python3"  # no link, which would lose the environment
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return folder


def run_command(command, home, **more):
    env = {**os.environ, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix, **more}
    return subprocess.run(["bash", "-c", command], cwd=home, env=env, capture_output=True, text=True, timeout=600)


OWN = [command for command in COMMANDS if command.startswith("python3") and "my.csv" in command]
ASKED = [command for command in COMMANDS if re.search("--predict|--text ", command)]


@pytest.mark.parametrize("command", OWN)
def test_own_data_in_one_command_and_then_a_sentence(command, home):
    """Each script trains on my.csv; then the README's command for a sentence, with the model that is there.

    For few epochs, where many would take a minute.
    """
    result = run_command(command + (" --NUM_EPOCHS 1" if "Project" in command else ""), home)
    assert result.returncode == 0, result.stderr[-2000:]
    script = command.split()[1]
    if "LSTM" in script:  # the README asks GRU.py, which saves to a folder of its own
        asked = next(line for line in ASKED if "GRU" in line).replace("GRU.py", "LSTM.py")
    else:
        asked = next(line for line in ASKED if line.split()[1] == script)
    result = run_command(asked, home)
    assert result.returncode == 0, result.stderr[-2000:]
    assert re.search(r"\b(calm|cross|glad)\b", result.stdout), result.stdout


def test_every_command_of_the_readme_is_known():
    """What is in a block is run: by the tests here, by CI (the second block), or by the benchmark's and Ray's tests."""
    jobs = [command for command in COMMANDS if command not in OWN + ASKED]
    assert len(OWN) == 3 and len(ASKED) == 3 and len(jobs) == 2 and jobs == [block.strip() for block in BLOCKS[:2]]


def test_the_main_job_runs_as_written(home):
    """The first block's second half; where no address answers, with the data that come through pip."""
    result = run_command(BLOCKS[0].strip().partition(" && ")[2], home)
    if result.returncode and "cannot download" in result.stderr:
        pytest.skip(f"no address answers here: {result.stderr[-300:]}")
    assert result.returncode == 0 and "Final Test Accuracy" in result.stdout, result.stderr[-2000:]


UV = [command.replace("python3", "uv run") for command in OWN]


@pytest.mark.parametrize("command", UV)
def test_without_an_installation_with_uv(command, home, tmp_path):
    """With the versions of constraints.txt, in an environment that uv makes; with RUN_UV=1, since they are gigabytes."""
    assert "`uv run` in place of `python3`" in README
    if not os.environ.get("RUN_UV"):
        pytest.skip("installs up to gigabytes; set RUN_UV=1")
    import torch
    if shutil.which("uv", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("needs uv; see tests/requirements.txt")
    lines = (REPO / "tests" / "constraints.txt").read_text().splitlines()
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(f"torch=={torch.__version__}" if line.startswith("torch==") else line for line in lines))
    more = {"UV_CONSTRAINT": str(constraints), "UV_PYTHON": sys.executable, "UV_CACHE_DIR": str(tmp_path / "cache"),
            "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if os.environ.get("PIP_CERT"):
        more["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
    result = run_command(command, home, **more)
    if result.returncode and re.search("No solution found|Failed to fetch|error sending request", result.stderr):
        pytest.skip(f"uv cannot get the packages here: {result.stderr[-300:]}")
    assert result.returncode == 0 and "FINAL SUMMARY" in result.stdout, result.stderr[-2000:]
