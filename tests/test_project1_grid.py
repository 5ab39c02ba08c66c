"""The grid search of Project1: processes that share a store, stores that fail, and what is refused."""
import csv
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import numpy as np
import optuna

from conftest import free_port, tree
from project1 import script, settings_of

import rnn.grid
from rnn.data import Data
from rnn.grid import open_study, report_search, search, url_of
from rnn.settings import InputError
from rnn.training import depends_on

pytest_plugins = ["project1"]

GRID = [{"UNITS": units, "DROPOUT": dropout} for units in (16, 32) for dropout in (0.1, 0.2)]
SEARCHED = {"the data or the vectors": "abc", "SEED": 1}
STALE = 3  # seconds; less would give up a process for dead that a busy computer holds up
PASSWORD = "geheim-42"


# Helpers


@pytest.fixture
def start(nursery, tmp_path):
    """start(seconds a setting, ...) starts a process on the grid in tmp_path."""
    workers = []

    def begin(seconds, storage="", grid=GRID, together=1):
        constants = {"STORAGE": storage, "STALE_SECONDS": 60 if together > 1 else STALE}
        workers.append(nursery.start(folder=str(tmp_path), seconds=seconds, grid=grid, searched=SEARCHED,
                                     constants=constants, together=together))
        return workers[-1]

    yield begin
    for worker in workers:
        if os.path.exists(f"/proc/{worker.pid}"):
            worker.kill(signal.SIGKILL)


def finish(worker, grid=GRID):
    """Wait for the end of a search, which names the best setting and shows nothing of Python."""
    assert worker.wait() == 0, worker.out[-3000:]
    assert f"best setting: UNITS = {grid[-1]['UNITS']}, DROPOUT = {grid[-1]['DROPOUT']}\n" in worker.out
    assert "Traceback" not in worker.out and PASSWORD not in worker.out, worker.out[-3000:]


class Server:
    """A PostgreSQL server of its own, which root may not run."""

    def __init__(self, programs):
        self.programs, self.port, self.databases = programs, free_port(), 0
        self.folder = tempfile.mkdtemp(prefix="grid-", dir="/tmp")  # pytest's own folders are closed to other users
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(self.folder, "postgres", "postgres")
        with open(os.open(f"{self.folder}/password", os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
            file.write(PASSWORD)
        self.run("initdb", "-D", f"{self.folder}/data", "-U", "grid", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8",
                 "--locale=C", f"--pwfile={self.folder}/password")
        self.start()

    def run(self, program, *arguments):
        with open(f"{self.folder}/log", "a") as log:  # a pipe would be held open by the server
            subprocess.run([f"{self.programs}/{program}", *arguments], check=True, cwd=self.folder, stdout=log, stderr=log,
                           timeout=60, **self.user)

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB"
        self.run("pg_ctl", "start", "-w", "-D", f"{self.folder}/data", "-o", options)

    def stop(self):
        self.run("pg_ctl", "stop", "-m", "immediate", "-w", "-D", f"{self.folder}/data")

    def address(self, name, password=PASSWORD):
        return f"postgresql+psycopg://grid:{password}@127.0.0.1:{self.port}/{name}"

    def new(self):
        """Return the address of a new database."""
        import psycopg
        self.databases += 1
        with psycopg.connect(self.address("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE grid{self.databases}")
        return self.address(f"grid{self.databases}")


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg", reason="needs psycopg")
    found = shutil.which("initdb") or max(glob.glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if not found:
        pytest.skip("needs PostgreSQL's initdb")
    server = Server(os.path.dirname(os.path.realpath(found)))
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request):
    """STORAGE of a new store: grid.db in OUTPUT_DIR, or a new database."""
    return "" if request.param == "sqlite" else request.getfixturevalue("server").new()


@pytest.fixture
def find(tmp_path, monkeypatch):
    """find(grid, train, searched, **constants) searches with a store in tmp_path, and never waits long for it."""
    monkeypatch.setattr(rnn.grid.random, "uniform", lambda *_: 0.01)
    monkeypatch.setattr(rnn.grid.keras.backend, "clear_session", lambda: None)

    def find(grid, train, searched, **constants):
        return search(settings_of(STALE_SECONDS=STALE, **constants), str(tmp_path), "test", grid, train, searched)

    return find


def fake_train(log, fail=()):
    """A train function that is done at once: good values, but for the settings in `fail`."""
    def train(chosen, name, report):
        log.append({"UNITS": chosen.UNITS, "DROPOUT": chosen.DROPOUT})
        history = []
        for epoch in range(4):
            score = 0.1 if log[-1] in fail else chosen.UNITS / 100 + chosen.DROPOUT
            history.append({"val_macro_f1": score, "val_accuracy": 0.5})
            report(epoch, score)
        return history

    return train


def texts(settings):
    return sorted(map(json.dumps, settings))


def trained(folder):
    """Return [(process, setting)] in the order in which they began."""
    path = folder / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_complete_once(folder, storage, grid=GRID):
    """Every setting of the grid has one trial with a value, and none is left running or waiting."""
    study = optuna.load_study(study_name="test", storage=storage or f"sqlite:///{folder}/grid.db")
    trials = [trial for trial in study.get_trials() if trial.state.name != "FAIL"]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert sorted(trial.user_attrs["place"] for trial in trials) == list(range(len(grid)))


def refused(find, *words, grid=GRID, searched=SEARCHED, **constants):
    """Assert that a search ends before it trains, in one line with these words and without the password."""
    log = []
    with pytest.raises(InputError) as caught:
        find(grid, fake_train(log), searched, **constants)
    message = str(caught.value)
    assert not log and "\n" not in message and PASSWORD not in message, message
    for word in ("STORAGE", *words):
        assert word in message, message
    return message


# Processes that share a store


def test_two_processes_share_one_grid(start, storage, tmp_path):
    workers = [start(0.2, storage, together=2) for _ in range(2)]
    for worker in workers:
        finish(worker)
    assert texts(setting for _, setting in trained(tmp_path)) == texts(GRID), "none is trained twice"
    assert {pid for pid, _ in trained(tmp_path)} == {worker.pid for worker in workers}
    assert_complete_once(tmp_path, storage)


def test_the_setting_of_a_killed_process_is_taken_over_and_that_of_a_slow_one_is_not(start, storage, tmp_path):
    killed = start(60, storage)
    wait_until(lambda: len(trained(tmp_path)) == 1)
    slow = start(STALE + 4, storage)
    wait_until(lambda: len(trained(tmp_path)) == 2)
    killed.kill(signal.SIGKILL)
    other = start(0.1, storage)
    finish(other)
    finish(slow)
    assert trained(tmp_path) == [[killed.pid, GRID[0]], [slow.pid, GRID[1]], [other.pid, GRID[2]], [other.pid, GRID[3]],
                                 [other.pid, GRID[0]]]
    assert_complete_once(tmp_path, storage)


def test_a_process_that_was_given_up_for_dead_goes_on(start, tmp_path):
    paused = start(1)
    wait_until(lambda: trained(tmp_path))
    time.sleep(0.5)  # its first note is written, and it holds no lock
    paused.kill(signal.SIGSTOP)  # as a computer that sleeps
    finish(start(0.1))
    paused.kill(signal.SIGCONT)
    finish(paused)
    assert_complete_once(tmp_path, "")


def test_when_the_database_goes_away_a_search_ends_in_one_line_and_the_same_command_goes_on(start, server, tmp_path):
    storage = server.new()
    busy = start(STALE, storage, GRID[:2])
    wait_until(lambda: trained(tmp_path))
    idle = start(0.1, storage, GRID[:2])  # has nothing left to do, and asks the store every second
    wait_until(lambda: "1 of 2 settings done" in idle.out)
    server.stop()
    try:
        for worker in (busy, idle):
            assert worker.wait() == 2, worker.out
            error = worker.out.splitlines()[-1]
            assert error.startswith("error: the store ") and "does not answer" in error and "same command" in error
            assert "127.0.0.1" in error and PASSWORD not in worker.out and "Traceback" not in worker.out, worker.out
    finally:
        server.start()
    finish(start(0.1, storage, GRID[:2]), GRID[:2])
    assert [setting for _, setting in trained(tmp_path)] == [*GRID[:2], GRID[0]]
    assert_complete_once(tmp_path, storage, GRID[:2])


def test_a_database_that_is_away_while_a_setting_is_trained_is_not_missed(start, server, tmp_path):
    storage = server.new()
    slow = start(STALE + 3, storage, GRID[:1])
    wait_until(lambda: trained(tmp_path))
    server.stop()
    time.sleep(STALE)
    server.start()
    finish(slow, GRID[:1])
    assert_complete_once(tmp_path, storage, GRID[:1])


def test_a_process_killed_before_its_first_note_is_not_waited_for(start, tmp_path):
    searched = {**SEARCHED, "GRID_EPOCHS": 0, "grid": GRID}
    study = open_study(*url_of(str(tmp_path / "grid.db")), STALE, "test", searched)
    assert study.ask().number == 0  # and no more: no heartbeat, nothing noted
    finish(start(0.1))
    assert [setting for _, setting in trained(tmp_path)] == [*GRID[1:], GRID[0]]
    assert_complete_once(tmp_path, "")


def test_after_ctrl_c_the_same_command_trains_that_setting_again(start, tmp_path):
    stopped = start(2)
    wait_until(lambda: len(trained(tmp_path)) == 2)
    stopped.kill(signal.SIGINT)
    assert stopped.wait() == 130 and "Traceback" not in stopped.out
    again = start(0.1)
    finish(again)
    assert trained(tmp_path)[2:] == [[again.pid, setting] for setting in (*GRID[2:], GRID[1])]
    assert_complete_once(tmp_path, "")
    finish(start(0.1))
    assert len(trained(tmp_path)) == 5, "a search that is complete trains nothing"


# Stores that are refused


def test_a_store_of_another_search_is_refused(find, tmp_path):
    log = []
    find(GRID, fake_train(log), SEARCHED)
    assert log == GRID
    before = tree(tmp_path)
    assert set(before) == {"grid.db"}
    others = [({"GRID_EPOCHS": 9}, "GRID_EPOCHS"), ({"searched": {**SEARCHED, "the data or the vectors": "other"}}, "the data or the vectors"),
              ({"searched": {**SEARCHED, "SEED": 2}}, "SEED"), ({"searched": {**SEARCHED, "NEW": 2}}, "NEW"),
              ({"grid": GRID[:2]}, "grid"), ({"grid": GRID[::-1]}, "grid")]
    for options, word in others:
        message = refused(find, f"differs in {word};", str(tmp_path / "grid.db"), **options)
        assert "another search" in message
    assert tree(tmp_path) == before
    find(GRID, fake_train(log), SEARCHED)
    assert len(log) == len(GRID)


def test_what_a_search_depends_on():
    data = Data(["a", "b"], np.array([0, 1]), ["c"], np.array([1]), ["d"], np.array([0]), {"0": "no", "1": "yes"}, {},
                "made", "", "")
    matrix, settings = np.ones((3, 4), np.float32), settings_of()
    before = depends_on(data, matrix, settings)
    assert depends_on(data, matrix, settings.model_copy(update={"OUTPUT_DIR": "elsewhere"})) == before, "nothing else counts"
    for name, value in (("SEED", 2), ("LEARNING_RATE", 0.5)):
        changed = depends_on(data, matrix, settings.model_copy(update={name: value}))
        assert {key for key in before if before[key] != changed[key]} == {name}
    matrix[2, 3] = 2
    vector = depends_on(data, matrix, settings)
    data.train_labels[0] = 1
    label = depends_on(data, matrix, settings)
    assert len({found["the data or the vectors"] for found in (before, vector, label)}) == 3


@pytest.mark.parametrize("content", [b"not a database\n" * 40, b"\x00\xff" * 500], ids=["text", "bytes"])
def test_an_unreadable_store_is_one_line(find, tmp_path, content):
    (tmp_path / "store").write_bytes(content)
    refused(find, str(tmp_path / "store"), STORAGE=str(tmp_path / "store"))
    assert tree(tmp_path) == {"store": content}


@pytest.mark.parametrize("address", [
    "postgresql+psycopg://someone:{}@127.0.0.1:1/none", "postgresql+psycopg://127.0.0.1:1/none?user=someone&password={}",
    "postgresql+psycopg://someone:{}@127.0.0.1:port/none", "postgresql+psycopg://someone:{}", "://someone:{}@127.0.0.1",
    "postgresql+psycopg://someone:at@{}@127.0.0.1:1/none", "mysql+nodriver://someone:{}@127.0.0.1/none"])
def test_a_wrong_address_is_one_line_without_the_password(find, address):
    refused(find, STORAGE=address.format(PASSWORD))


def test_a_wrong_password_or_database_is_one_line(find, server):
    refused(find, "cannot open the store", "grid:***@127.0.0.1", STORAGE=server.address("postgres", PASSWORD + "no"))
    refused(find, "cannot open the store", "missing", STORAGE=server.address("missing"))


# The settings and the table


def test_hopeless_settings_are_reported_as_pruned(find, tmp_path, capfd):
    log = []
    grid = [{"UNITS": units, "DROPOUT": dropout} for units in (16, 32, 64) for dropout in (0.1, 0.2)]
    study = find(grid, fake_train(log, fail=grid[4:]), SEARCHED)
    capfd.readouterr()
    best = report_search(study, grid, str(tmp_path))
    out = capfd.readouterr().out
    assert log == grid and best == grid[3] and "best setting: UNITS = 32, DROPOUT = 0.2" in out
    assert out.count("pruned") == 2 and out.count("complete") == 4
    with open(tmp_path / "grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["pruned"] * 2
    scores = [float(row["val_macro_f1"]) for row in rows[:4]]
    assert scores == sorted(scores, reverse=True) and scores[0] == pytest.approx(0.52)
    assert {(row["UNITS"], row["DROPOUT"]) for row in rows[4:]} == {("64", "0.1"), ("64", "0.2")}
    assert {row["epochs"] for row in rows[:4]} == {"4"} and int(rows[4]["epochs"]) < 4


def test_every_setting_of_the_grids_differs():
    grids = [script("LSTM").grid_settings(), script("GRU").grid_settings(1), script("GRU").grid_settings(2)]
    assert [len(grid) for grid in grids] == [50, 50, 16]
    for grid in grids:
        assert len({tuple(setting.items()) for setting in grid}) == len(grid)
    assert grids[0] == grids[1]
    assert {setting["UNITS"] for setting in grids[0]} == {16, 32, 64, 128, 256}
    assert {setting["DROPOUT"] for setting in grids[0]} == {round(0.05 * step, 2) for step in range(1, 11)}
    assert {setting["FINE_TUNING_RATE"] for setting in grids[2]} == {1e-3, 5e-4, 1e-4, 5e-5}


@pytest.mark.parametrize("name, phase", [("LSTM", 1), ("GRU", 1), ("GRU", 2)])
def test_the_constants_of_a_setting_reach_the_model_and_the_training(call, data, name, phase):
    """A search of two settings by the command line, with a training that only looks."""
    seen = []

    def fit(settings, model, encoded, rate, epochs, name, r_drop=0, report=None, checkpoint=None):
        recurrent = model.get_layer("rnn").forward_layer
        dropout = next(layer for layer in model.layers if type(layer).__name__ == "SpatialDropout1D")
        seen.append((recurrent.units, dropout.rate, rate, epochs, model.get_layer("embedding").trainable))
        if report:
            report(0, 0.5)
        return [{"val_macro_f1": 0.5, "val_accuracy": 0.5}] * epochs

    def change(loaded):
        whole = loaded.grid_settings
        loaded.fit, loaded.grid_settings = fit, lambda *phase: [{**setting, next(iter(setting)): 8}
                                                                for setting in whole(*phase)[:2]]

    result = call(name, *data.paths, "--GRID_SEARCH", "--GRID_EPOCHS", 3, *(["--GRID_PHASE", 2] if phase == 2 else []),
                  change=change)
    assert result.code == 0 and "best setting: " in result.out, result.err
    if phase == 1:
        assert seen == [(8, 0.05, 0.004, 3, False), (8, 0.1, 0.004, 3, False)]
    else:
        assert seen == [(8, 0.2, 0.004, 2, False), (8, 0.2, 1e-3, 3, True), (8, 0.2, 0.004, 2, False), (8, 0.2, 5e-4, 3, True)]
