"""The README's commands are the ones that are run and tested."""
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_first_block_installs_and_runs_the_main_job():
    install, _, job = BLOCKS[0].strip().partition(" && ")
    assert install == "python3 -m pip install -r requirements.txt"
    assert job.startswith("python3 ") and (ROOT / job.split()[1]).is_file()
    assert len(BLOCKS[0].strip().splitlines()) == 1


def test_second_block_installs_and_tests():
    assert BLOCKS[1].strip() == ("python3 -m pip install -r tests/requirements.txt && "
                                 "python3 -m pytest -q -n 2 --dist loadfile tests")


def test_ci_runs_the_second_block():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "fence == 3' README.md" in script and "venv" in script


def test_every_path_in_the_readme_exists():
    named = re.findall(r"\]\(([^)#:]+)\)|`((?:tests|Project\d)/[\w./-]+)`", README)
    paths = {first or second for first, second in named}
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
    for script in re.findall(r"python3 ([\w./-]+\.py)", README):
        assert (ROOT / script).is_file(), script
