"""Helpers that the tests of the two notebooks share: reading and running one, what holds for both."""
import ast
import json
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import REPO, tree
from write_notebooks import MAGIC, carried, files_of, written


def output_text(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


class Notebook:
    """A notebook of the repository, with the files that it carries (`code_files`), named from its own folder."""

    def __init__(self, name):
        self.name, self.path, self.code_files = name, REPO / name, files_of(name)
        self.project = self.path.parent.name

    def read(self):
        return nbformat.read(self.path, as_version=4)

    def sources(self, kind):
        """{id: source} of the cells of one kind, in order; of code without the files that are carried."""
        return {cell.id: cell.source for cell in self.read().cells
                if cell.cell_type == kind and not cell.source.startswith(MAGIC)}

    def copy_code(self, folder):
        """Put the notebook's code files into a folder."""
        for name in self.code_files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.path.parent / name, folder / name)

    def set_environment(self, patch, home, options):
        """Give the notebook its options and nothing to be had from elsewhere; what is Jupyter's own goes to `home`."""
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HF_HOME"):
            (home / name).mkdir(parents=True)
            patch.setenv(name, str(home / name))
        for name in ("JUPYTER_PREFER_ENV_PATH", "PIP_NO_INDEX", "HF_HUB_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv(f"{self.project.upper()}_OPTIONS", shlex.join(map(str, options)))

    def execute(self, folder, options, last=None, change=lambda cells: None):
        """Run the notebook in `folder` with these options, to its end or to the cell `last`; return it with its outputs."""
        notebook = self.read()
        cells = {cell.id: cell for cell in notebook.cells}
        change(cells)
        if last:
            notebook.cells = notebook.cells[:list(cells).index(last) + 1]
        with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
            self.set_environment(patch, Path(home), options)
            resources = {"metadata": {"path": str(folder)}}
            NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
        return notebook

    def assert_carries_its_files(self):
        """Each file stands whole in a cell, in order, and `tests/write_notebooks.py` would change nothing."""
        found = dict(carried(json.loads(self.path.read_text(encoding="utf-8"))))
        assert tuple(found) == self.code_files
        for name, cell in found.items():
            text = "".join(cell["source"]).split("\n", 1)[1] + "\n"
            assert text == (self.path.parent / name).read_text(encoding="utf-8"), (
                f"{name} has changed since it was put into {self.path.name}; run python3 tests/write_notebooks.py")
            assert cell["metadata"]["jupyter"]["source_hidden"] and cell["metadata"]["cellView"] == "form"
        assert written(self.name) == self.path.read_text(encoding="utf-8")

    def assert_writes_its_files(self, folder):
        """In an empty folder the files are written as they are, and written again where a cell was edited."""
        folder.mkdir()
        last = [cell.id for cell in self.read().cells if cell.source.startswith(MAGIC)][-1]
        self.execute(folder, [], last)
        expected = {f"scripts/{name}": (self.path.parent / name).read_bytes() for name in self.code_files}
        assert tree(folder) == expected

        def edit(cells):
            cells[last].source += "\n# edited"

        self.execute(folder, [], last, edit)
        expected[f"scripts/{self.code_files[-1]}"] += b"# edited\n"
        assert tree(folder) == expected

    def assert_takes_files_beside_it(self, folder):
        """Files that lie beside the notebook, or in the project's folder there, go first, and nothing is written."""
        last = [cell.id for cell in self.read().cells if cell.source.startswith(MAGIC)][-1]
        for place in (folder, folder / "top" / self.project):
            place.mkdir(parents=True)
            self.copy_code(place)
            (place / self.code_files[0]).write_bytes(b"# one of my own\n")
            before = tree(place)
            cells = {cell.id: cell for cell in self.execute(folder if place == folder else folder / "top", [], last).cells}
            assert output_text(cells["get-code"]) == f"the code is in {place}, beside this notebook\n"
            assert tree(place) == before

    def assert_asks_no_address(self):
        """No code is fetched: no cell names an address to get code from, nor imports what could."""
        for source in self.sources("code").values():
            assert not re.search(r"https?://|urllib|requests\.|http\.client|!wget|!curl|git clone", source), source

    def assert_valid_and_stripped(self):
        """The file is a valid notebook of format 4.5 without outputs, and its code can be parsed."""
        notebook = self.read()
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        cells = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        identities = [cell["id"] for cell in cells]  # nbformat would mend them
        assert len(set(identities)) == len(identities)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None
                if not cell.source.startswith(MAGIC):
                    ast.parse(cell.source)

    def assert_copies_nothing_of(self, script):
        """The notebook's code defines nothing that the script defines, and repeats no line of it."""
        code, theirs = "\n".join(self.sources("code").values()), (self.path.parent / script).read_text(encoding="utf-8")
        names, lines = [], []
        for text in (code, theirs):
            kinds = (ast.FunctionDef, ast.ClassDef)
            names.append({node.name for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)})
            lines.append({line.strip() for line in text.splitlines() if len(line.strip()) > 30})
        assert names[0] and not names[0] & names[1] and not lines[0] & lines[1]
