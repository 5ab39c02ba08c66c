"""Project2: a folder is replaced in one step, so that a run that is killed leaves the old one or the new one."""
import os
import sys

import pytest

import project2

from classifier.folders import whole_folder

from conftest import tree


def write(folder, content):
    with whole_folder(folder) as partial:
        with open(os.path.join(partial, "a"), "w") as file:
            file.write(content)


def test_a_folder_is_made_and_replaced(tmp_path):
    for content in ("one", "two"):
        write(tmp_path / "model", content)
        assert tree(tmp_path) == {"model/a": content.encode()}
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "model"):
        1 / 0
    assert tree(tmp_path) == {"model/a": b"two"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems rename twice")
def test_a_kill_leaves_no_moment_without_the_folder(tmp_path, monkeypatch):
    """[renamed twice: after the first there was no model under its name]"""
    write(tmp_path / "model", "old")
    rename, seen = os.rename, []

    def watched(*names):
        rename(*names)
        seen.append((tmp_path / "model").exists())

    monkeypatch.setattr(os, "rename", watched)
    write(tmp_path / "model", "new")
    assert all(seen) and tree(tmp_path) == {"model/a": b"new"}


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_file_system_that_cannot_exchange_renames_twice(tmp_path, monkeypatch):
    import classifier.folders
    from types import SimpleNamespace
    library = SimpleNamespace(CDLL=lambda _: SimpleNamespace(renameat2=lambda *_: -1))
    monkeypatch.setattr(classifier.folders, "ctypes", library)
    for content in ("one", "two"):
        write(tmp_path / "model", content)
        assert tree(tmp_path) == {"model/a": content.encode()}
