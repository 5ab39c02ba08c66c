"""The plan of the house: how long a file may be, what may import what, and that a thing stands once."""
import ast
import sys
from collections import defaultdict

import pytest

from conftest import ALL_SCRIPTS, REPO

PACKAGES = {"Project1": "rnn", "Project2": "classifier"}
SHARED = {"settings.py", "files.py", "rows.py", "labels.py", "starting.py"}  # in both packages, the same bytes; see test_rows.py
SCRIPTS = {project: [path for path in ALL_SCRIPTS.values() if path.parent.name == project] for project in PACKAGES}
MODULES = {project: sorted((REPO / project / package).rglob("*.py")) for project, package in PACKAGES.items()}
FILES = [*ALL_SCRIPTS.values(), *(path for paths in MODULES.values() for path in paths)]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def name_of(path):
    return str(path.relative_to(REPO))


def imports(path, package):
    """The modules of its own package that a module imports, as paths."""
    found, folder = set(), path.parent
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder if node.level == 1 else folder.parents[node.level - 2]
            base = base.joinpath(*(node.module or "").split("."))
            names = [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else [
                (base / alias.name).with_suffix(".py") for alias in node.names]
            found.update(names)
    return found & set(MODULES[package])


def functions(path):
    """{name: source without docstring and names of its place} of the functions and classes of a file that have some length."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.end_lineno - node.lineno >= 4:
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found[node.name] = "\n".join(map(ast.unparse, body))
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short_enough_to_be_read(path):
    tiny = path.name.startswith("tinymodel")
    most = 2628 if tiny else 300 if path in ALL_SCRIPTS.values() else 200 if path.name == "rows.py" else 350
    assert len(lines(path)) <= most
    assert max(map(len, lines(path)), default=0) <= 120


@pytest.mark.parametrize("project, most", [("Project1", 2300), ("Project2", 3300)])
def test_a_project_is_short_enough_to_be_read(project, most):
    assert sum(len(lines(path)) for path in (*SCRIPTS[project], *MODULES[project])) <= most


@pytest.mark.parametrize("project", PACKAGES)
def test_a_module_says_in_its_first_line_what_is_in_it(project):
    for path in MODULES[project]:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert path.name == "__init__.py" or text, name_of(path)


@pytest.mark.parametrize("project", PACKAGES)
def test_arrows_go_one_way(project):
    """Modules import modules of their package without a circle, and neither a script nor what a script's globals hold."""
    arrows = {path: imports(path, project) for path in MODULES[project]}
    done = set()
    while ready := {path for path in arrows if path not in done and arrows[path] <= done}:
        done |= ready
    assert done == set(arrows), [name_of(path) for path in set(arrows) - done]
    for path in MODULES[project]:
        text = path.read_text(encoding="utf-8")
        for script in SCRIPTS[project]:
            assert f"import {script.stem}" not in text and f"from {script.stem}" not in text, name_of(path)
        assert "__main__" not in text and "globals()" not in text, name_of(path)


def test_a_thing_stands_once():
    """No function of five lines or more stands in two files, but in those that both projects have, and each script's main."""
    seen = defaultdict(list)
    tiny = ALL_SCRIPTS["tinymodel-emotion-classification-250kB.py"]  # written from the other, see write_tinymodels.py
    for path in FILES:
        if path.name not in SHARED and path != tiny:
            for name, body in functions(path).items():
                if name != "main":  # what a script does, in a few lines: LSTM.py and GRU.py do the same
                    seen[body].append(f"{name_of(path)}: {name}")
    assert not [places for places in seen.values() if len(places) > 1]


def test_importing_the_packages_does_nothing(tmp_path, monkeypatch):
    """Both packages in one process, without the libraries that only some modes use."""
    import subprocess
    program = "import sys\nimport rnn.data, rnn.rows, classifier.data, classifier.rows\n" \
              "print([name for name in ('optuna', 'onnx', 'onnxruntime', 'openvino', 'matplotlib') if name in sys.modules])"
    path = f"{REPO / 'Project1'}:{REPO / 'Project2'}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
                            env={"PYTHONPATH": path, "PATH": "", "HOME": str(tmp_path)})
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", ""), result
