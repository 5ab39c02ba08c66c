"""How all five scripts end: one line where the user stops them, or where what they print to is full."""
import errno
import http.server
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ALL_SCRIPTS, REPO, assert_one_line, serving

for needed in ("tensorflow", "torch", "transformers"):
    if not importlib.util.find_spec(needed):  # to import them takes seconds
        pytest.skip(f"the scripts need {needed}; see the files requirements.txt", allow_module_level=True)

OTHERS = [name for name in ALL_SCRIPTS if "250kB" not in name and "LSTM" not in name]  # which end as these do


def start(name, *arguments, stdout=subprocess.PIPE):
    command = [sys.executable, ALL_SCRIPTS[name], *arguments]
    return subprocess.Popen([*map(str, command)], stdout=stdout, stderr=subprocess.PIPE,
                            env={**os.environ, "NO_PROXY": "*", "OMP_NUM_THREADS": "1"})


def default_interrupts():
    """As in a shell of a terminal: one that runs the tests beside it has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.skipif(sys.platform != "linux", reason="sees by /proc what is imported")
@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_stopped_while_libraries_are_imported_is_one_line(tmp_path, name):
    """[a traceback of up to 61 lines]"""
    library = {"Project1": "tensorflow", "Project2": "torch"}.get(Path(name).parts[0], "numpy")
    default_interrupts()
    process = start(name, "--OUTPUT_DIR", tmp_path, "--predict" if library != "torch" else "--text", "a")
    while process.poll() is None and library not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.002)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    assert process.communicate(timeout=60) == (b"", b"stopped\n") and process.returncode == 130


class Silent(http.server.BaseHTTPRequestHandler):
    """Takes a request and does not answer it."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.over.wait()


def test_stopped_at_work_and_again_at_its_end_is_one_line(tmp_path):
    """[the second brought a traceback]"""
    default_interrupts()
    with serving(Silent) as server:
        started = [start(name, "--OUTPUT_DIR", tmp_path / str(number), "--TRAIN_URL", f"{server.address}/{number}")
                   for number, name in enumerate(OTHERS)]
        for number, process in enumerate(started):
            while process.poll() is None and f"/{number}" not in server.asked:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            line = process.stderr.readline()
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(0.002)
            assert line.startswith(b"stopped; ") and process.communicate()[1] == b"" and process.returncode == 130, line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_help_on_a_full_disk_is_one_line():
    """[nothing was said]"""
    with open("/dev/full", "wb") as full:
        process = start(OTHERS[0], "--help", stdout=full)
    err = process.communicate(timeout=120)[1]
    assert_one_line(subprocess.CompletedProcess([], process.returncode, b"", err), os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("last, status, word", [
    ("print('a')", 2, "cannot write the output"), ("print('a'); raise settings.InputError('a fault')", 2, "error: a fault"),
    ("print('a'); raise KeyboardInterrupt", 130, "stopped"), ("settings.OneLineParser('').parse_args()", 2, "No space left")])
def test_what_a_full_disk_does_not_take_is_one_line_in_both_projects(last, status, word):
    """What is printed last stands in a buffer until the end; they import no more than this, for it takes seconds."""
    program = f"import sys\nfrom rnn import settings\ndef main():\n    {last}\nsys.exit(settings.run(main, ''))"
    with open("/dev/full", "wb") as full:
        result = subprocess.run([sys.executable, "-c", program, "--help"], stdout=full, stderr=subprocess.PIPE,
                                cwd=REPO / "Project1", env={**os.environ, "PYTHONUNBUFFERED": ""})
    assert result.returncode == status and result.stderr.count(b"\n") == 1 and word in result.stderr.decode()
