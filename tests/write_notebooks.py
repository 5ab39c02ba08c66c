#!/usr/bin/env python3
"""Write the scripts anew into the notebooks that carry them: python3 tests/write_notebooks.py, after each change of a script.

A notebook has a collapsed cell for each file that it needs, `%%write_script NAME` and the file as it is. tests/notebooks.py
compares them.
"""
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("Project1/project1_workflow.ipynb", "Project2/emotion_classifier.ipynb")
MAGIC = "%%write_script "


def carried(notebook):
    """Yield (name, cell) of the cells of a notebook, parsed from JSON, that carry a file."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if source.startswith(MAGIC):
            yield source.split("\n", 1)[0].removeprefix(MAGIC), cell


def written(path):
    """Return the text of a notebook's file with its scripts as they are now."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for name, cell in carried(notebook):
        script = (path.parent / name).read_text(encoding="utf-8")
        cell["source"] = f"{MAGIC}{name}\n{script}".removesuffix("\n").splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in NOTEBOOKS:
        text = written(ROOT / name)
        (ROOT / name).write_text(text, encoding="utf-8")
        print(name)
