"""Model folders on disk: written whole or not at all, their files, their bytes."""
import contextlib
import ctypes
import os
import pathlib
import shutil
import sys

from .files import cannot_write, partial_name


@contextlib.contextmanager
def whole_folder(folder):
    """Yield a temporary folder that takes the place of `folder`, kept until then, once all in it is whole on disk."""
    target = os.path.realpath(folder)
    partial, old = partial_name(target), partial_name(target)
    try:
        os.makedirs(partial)
        yield partial
        for path in files_in(partial):
            os.chmod(path, os.stat(partial).st_mode & 0o666)  # some libraries leave them to their owner
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        exchange = getattr(sys.platform == "linux" and ctypes.CDLL(None), "renameat2", lambda *_: -1)  # not in all libc
        if exchange(-100, os.fsencode(partial), -100, os.fsencode(target), 2):  # a kill between two steps left none
            if os.path.exists(target):
                os.rename(target, old)
            os.rename(partial, target)
    except Exception as error:
        if isinstance(error, OSError) or "os error" in str(error):  # safetensors' and tokenizers' own for a full disk
            raise cannot_write(folder, error) from error
        raise
    finally:
        if os.path.exists(old) and not os.path.exists(target):
            os.rename(old, target)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def files_in(path):
    """Return the paths of all files in a folder and below it; of a file, its own."""
    found = pathlib.Path(path), *pathlib.Path(path).rglob("*")
    return [str(each) for each in found if each.is_file()]


def folder_bytes(path):
    """Return the bytes on disk of a file, or of all files in a folder."""
    return sum(os.path.getsize(name) for name in files_in(path))
