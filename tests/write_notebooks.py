#!/usr/bin/env python3
"""Write the files anew into the notebooks that carry them: python3 tests/write_notebooks.py, after each change of a script.

A notebook has a collapsed cell for each file that it needs, `%%write_script NAME` and the file as it is. tests/notebooks.py
compares them.
"""
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {  # which files each carries, in this order, from its own folder
    "Project1/project1_workflow.ipynb": ("LSTM.py", "GRU.py", "rnn/**/*.py", "requirements.txt"),
    "Project2/emotion_classifier.ipynb": ("emotion_classifier.py", "classifier/**/*.py", "requirements.txt")}
MAGIC = "%%write_script "


def files_of(path):
    """Return the names of the files that a notebook carries, from its own folder."""
    folder = (ROOT / path).parent
    found = (sorted(folder.glob(pattern)) for pattern in NOTEBOOKS[str(path)])
    return tuple(file.relative_to(folder).as_posix() for files in found for file in files)


def carried(notebook):
    """Yield (name, cell) of the cells of a notebook, parsed from JSON, that carry a file."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if source.startswith(MAGIC):
            yield source.split("\n", 1)[0].removeprefix(MAGIC), cell


def file_cell(folder, name):
    """Return the collapsed cell that carries a file of a folder."""
    source = f"{MAGIC}{name}\n{(folder / name).read_text(encoding='utf-8')}".removesuffix("\n")
    identity = "file-" + name.removesuffix(".py").removesuffix(".txt").replace("/", "-").lower()
    return {"cell_type": "code", "execution_count": None, "id": identity,
            "metadata": {"cellView": "form", "jupyter": {"source_hidden": True}}, "outputs": [],
            "source": source.splitlines(keepends=True)}


def written(path):
    """Return the text of a notebook with its files as they are now, where the first of them stood."""
    notebook = json.loads((ROOT / path).read_text(encoding="utf-8"))
    old = [cell for _, cell in carried(notebook)]
    place = notebook["cells"].index(old[0])
    rest = [cell for cell in notebook["cells"] if cell not in old]
    notebook["cells"] = [*rest[:place], *(file_cell((ROOT / path).parent, name) for name in files_of(path)), *rest[place:]]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in NOTEBOOKS:
        text = written(name)
        (ROOT / name).write_text(text, encoding="utf-8")
        print(name)
