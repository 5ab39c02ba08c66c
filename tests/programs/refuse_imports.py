"""As sitecustomize.py of a Python: ends it where it imports one of the packages that REFUSED lists, with commas between."""
import os
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in os.environ["REFUSED"].split(","):
            raise SystemExit(f"imported {name}")


sys.meta_path.insert(0, Refuse())
