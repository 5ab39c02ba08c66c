"""Runs jobs of Project1, each in a fork of this process, which has imported its scripts: python3 nursery.py < jobs.

The import alone takes seconds. Each line of standard input is a JSON job, for which the number of the new process is printed:
what `search_grid` or `run_script` takes (nothing: `compare_devices`), and the folder in which its output is written to
NUMBER.out; or poll, the number of one, for which its exit status is, or nothing while it runs.
"""
import json
import os
import random
import signal
import sys
import time
import traceback

import optuna  # before the forks, as all that takes seconds

from devices import compare_devices
from project1 import be_quick, run, script, settings_of

import rnn.grid


def search_grid(folder, seconds, grid, searched, constants, together):
    """Search a grid with a training that sleeps; all processes of the test begin before one goes on."""
    def train(chosen, name, report):
        with open(os.path.join(folder, "log"), "a") as log:
            log.write(json.dumps([os.getpid(), {"UNITS": chosen.UNITS, "DROPOUT": chosen.DROPOUT}]) + "\n")
        for _ in range(200):
            if len({json.loads(line)[0] for line in open(log.name)}) >= together:
                break
            time.sleep(0.1)
        time.sleep(seconds)
        score = chosen.UNITS / 100 + chosen.DROPOUT
        report(0, score)
        return [{"val_macro_f1": score, "val_accuracy": 0.5}]

    random.seed()
    rnn.grid.keras.backend.clear_session = lambda: None  # there is nothing to clear, and it takes a second
    settings = settings_of().model_copy(update=constants)
    study = rnn.grid.search(settings, folder, "test", grid, train, searched)
    rnn.grid.report_search(study, grid, folder)


def run_script(name, arguments):
    """Run a script's main with a command line."""
    be_quick()
    sys.argv = [f"{name}.py", *arguments]
    script(name).main()


def do(job):
    """Do what a job asks for."""
    if "grid" in job:
        search_grid(**job)
    elif "name" in job:
        run_script(job["name"], job["arguments"])
    else:
        compare_devices()


def work(job):
    """Do a job, its output in a file; ends the process."""
    os.dup2(os.open(os.path.join(job["folder"], f"{os.getpid()}.out"), os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(1, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests beside it has it ignored
    try:
        code = run(lambda: do(job), "BATCH_SIZE")
    except BaseException:
        code = 70
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    script("LSTM"), script("GRU")
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "poll" in asked:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            work(asked)
