"""Helpers that the tests of the two notebooks share: reading, running and serving one, what holds for both."""
import ast
import contextlib
import functools
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import REPO


def output_text(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


class Notebook:
    """A notebook of the repository, with the files that it fetches from where it lies (`code_files`)."""

    def __init__(self, path, code_files):
        self.path, self.code_files = REPO / path, code_files
        self.project = self.path.parent.name
        self.badge = ("[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
                      f"(https://colab.research.google.com/github/Roeyx/NLP/blob/main/{path})")

    def read(self):
        return nbformat.read(self.path, as_version=4)

    def sources(self, kind):
        """{id: source} of the cells of one kind, in order."""
        return {cell.id: cell.source for cell in self.read().cells if cell.cell_type == kind}

    def copy_code(self, folder):
        """Put the notebook's code files into a folder."""
        for name in self.code_files:
            shutil.copy(self.path.parent / name, folder)

    def set_environment(self, patch, home, options):
        """Give the notebook its options and nothing to be had from elsewhere; what is Jupyter's own goes to `home`."""
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HF_HOME"):
            (home / name).mkdir(parents=True)
            patch.setenv(name, str(home / name))
        for name in ("JUPYTER_PREFER_ENV_PATH", "PIP_NO_INDEX", "HF_HUB_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv(f"{self.project.upper()}_OPTIONS", shlex.join(map(str, options)))
        patch.setenv(f"{self.project.upper()}_URL", "http://127.0.0.1:9/")

    def execute(self, folder, options):
        """Run the notebook in `folder` from top to bottom with these options; returns it with its outputs."""
        notebook = self.read()
        self.copy_code(folder)
        with pytest.MonkeyPatch.context() as patch:
            self.set_environment(patch, folder.parent / "home", options)
            resources = {"metadata": {"path": str(folder)}}
            NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
        return notebook

    def run_cells(self, last, folder, **environment):
        """Run the code cells up to the one with the id `last` as a plain script in `folder`."""
        cells = self.sources("code")
        code = "\n".join(list(cells.values())[:list(cells).index(last) + 1])
        env = {**os.environ, "PIP_NO_INDEX": "1", **environment}
        return subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=600)

    @contextlib.contextmanager
    def serve(self, folder):
        """Serve a new folder with the code files from a local server, and yield its address."""
        folder.mkdir()
        self.copy_code(folder)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
            thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{served.server_port}"
            finally:
                served.shutdown()
                thread.join()

    def assert_downloads_its_code_once(self, address, folder):
        """Where the code is not beside the notebook it is downloaded; where it is, nothing is asked for."""
        folder.mkdir()
        variable, said = f"{self.project.upper()}_URL", f"the code is in {folder / self.project}\n"
        result = self.run_cells("get-code", folder, **{variable: address})
        assert result.returncode == 0 and result.stdout == said, result.stderr
        expected = {f"{self.project}/{name}": (self.path.parent / name).read_bytes() for name in self.code_files}
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == expected
        for place in (folder, folder / self.project):
            result = self.run_cells("get-code", place, **{variable: "http://127.0.0.1:9"})
            assert result.returncode == 0 and result.stdout == said, result.stderr

    def assert_says_what_cannot_be_had(self, folder, base, name, reason):
        """Code that neither is there nor can be downloaded is one clear error, and leaves nothing behind."""
        result = self.run_cells("get-code", folder, **{f"{self.project.upper()}_URL": base})
        message = result.stderr.splitlines()[-1]
        assert result.returncode and message.startswith(f"RuntimeError: cannot get {base}/{name} ("), result.stderr
        assert reason in message and message.endswith(f"put {', '.join(self.code_files)} beside this notebook")
        assert not list(folder.iterdir())

    def assert_valid_and_stripped(self):
        """The file is a valid notebook of format 4.5 without outputs, and its code can be parsed."""
        notebook = self.read()
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        identities = [cell["id"] for cell in json.loads(self.path.read_text(encoding="utf-8"))["cells"]]  # nbformat would mend them
        assert len(set(identities)) == len(identities)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None
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

    def assert_badge(self, path):
        """The Colab badge in a Markdown file or a notebook points to this notebook, and each such address to a file."""
        text = self.read().cells[0].source if path.endswith(".ipynb") else (REPO / path).read_text(encoding="utf-8")
        assert self.badge in text
        addresses = re.findall(r"colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/(\w+)/([^)\s]+)", text)
        for repository, branch, target in addresses:
            assert (repository, branch) == ("Roeyx/NLP", "main") and (REPO / target).is_file()
