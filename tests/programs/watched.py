"""Runs a script, and prints the most memory that it held, in kB, as the last line of errors: python3 watched.py SCRIPT ..."""
import re
import runpy
import sys

if __name__ == "__main__":
    sys.argv[:] = sys.argv[1:]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        assert not ended.code
    with open("/proc/self/status") as status:
        print(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1], file=sys.stderr)
