"""Searches grids of a script, each in a fork of this process, which has imported it: python3 grid_nursery.py SCRIPT < jobs.

The import alone takes seconds. Each line of standard input is a JSON job: what `work` takes, for which the number of the
new process is printed; or poll, the number of one, for which its exit status is, or nothing while it runs.
"""
import json
import os
import random
import signal
import sys
import time
import traceback

from conftest import load_script


def work(module, job):
    """Search a grid with a training that sleeps; ends the process."""
    def train(setting, report):
        with open(os.path.join(job["folder"], "log"), "a") as log:
            log.write(json.dumps([os.getpid(), setting]) + "\n")
        for _ in range(200):  # all processes of the test begin before one goes on, however late they start
            if len({json.loads(line)[0] for line in open(log.name)}) >= job["together"]:
                break
            time.sleep(0.1)
        time.sleep(job["seconds"])
        score = setting["UNITS"] / 100 + setting["DROPOUT"]
        report(0, score)
        return [{"val_macro_f1": score, "val_accuracy": 0.5}]

    def main():
        study = module.search("test", job["grid"], train, job["searched"])
        module.report_search(study, job["grid"], job["folder"])

    os.dup2(os.open(os.path.join(job["folder"], f"{os.getpid()}.out"), os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(1, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests beside it has it ignored
    random.seed()
    for name, value in job["constants"].items():
        setattr(module, name, value)
    module.OUTPUT_DIR, module.main, module.draw_grid = job["folder"], main, lambda *_: b""
    module.keras.backend.clear_session = lambda: None  # there is nothing to clear, and it takes a second
    try:
        code = module.run_main()
    except BaseException:
        code = 70
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    script = load_script(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "poll" in asked:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            work(script, asked)
