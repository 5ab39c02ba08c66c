"""Writes files with save_all of a script, and prints its error: python3 save_all.py SCRIPT LARGEST PATH=TEXT ...

LARGEST is how many bytes a file may have, as on a full disk; -1 for any.
"""
import resource
import sys

from conftest import load_script

if __name__ == "__main__":
    script, largest, *files = sys.argv[1:]
    module = load_script(script)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    try:
        module.save_all({path: text.encode() for path, text in (file.split("=", 1) for file in files)})
    except module.InputError as error:
        print(error)
