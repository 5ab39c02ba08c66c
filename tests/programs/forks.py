"""Runs command lines of a script, each in a fork of this process, which has imported it: python3 forks.py SCRIPT < jobs.

Each line of standard input is a JSON list of jobs that run at once; `project2.Forks.run` describes them. Prints the
exit statuses of each as a line of JSON.
"""
import glob
import json
import os
import resource
import sys
import time
from types import SimpleNamespace

from conftest import load_script
from project2 import quick_compression

sys.path.insert(0, os.path.dirname(sys.argv[1]))
from classifier import inference, saving
from classifier.settings import run


def start(module, job):
    """Start a job; returns the number of its process."""
    child = os.fork()
    if child:
        return child
    os.environ.update(job.get("environment", {}))
    os.makedirs(f"{job['home']}/cwd", exist_ok=True)
    os.chdir(f"{job['home']}/cwd")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{job['home']}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    saving.check_in_fresh_process = lambda *_: None  # it takes seconds, and test_project2_train.py looks at it
    if job.get("quick"):
        quick_compression(SimpleNamespace(setattr=setattr))
    if job.get("pause"):
        predict = inference.predict
        inference.predict = lambda *given: time.sleep(job["pause"]) or predict(*given)
    if job.get("largest"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"], job["largest"]))
    sys.argv = [module.__file__, *job["arguments"]]
    code = 70
    try:
        code = run(module.main, "BATCH_SIZE")
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}", flush=True)
    finally:
        os._exit(code)


def states(pattern):
    """Return what tells the states of the files of a pattern apart."""
    found = set()
    for path in glob.glob(pattern):
        try:
            state = os.stat(path)
            found.add((path, state.st_ino, state.st_mtime_ns))
        except FileNotFoundError:
            pass
    return found


def wait(job, child):
    """Wait for a job to end, or kill it when its file was written often enough; returns its exit status."""
    seen = set()
    while job.get("watch") and len(seen) < job["changes"]:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        seen |= states(job["watch"])
        time.sleep(0.002)
    if job.get("watch"):
        os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    script = load_script(sys.argv[1])
    for line in sys.stdin:
        jobs = json.loads(line)
        children = [start(script, job) for job in jobs]
        print(json.dumps([wait(job, child) for job, child in zip(jobs, children)]), flush=True)
