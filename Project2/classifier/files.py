"""Files: written whole or not at all, read line by line, known by their hash, found on this machine or downloaded."""
import codecs
import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import pathlib
import secrets
import stat
import sys
import tempfile
import zipfile
import zlib

import pooch
import requests

from .settings import InputError, one_line

LONGEST_LINE = 1 << 24  # bytes


def cannot_write(path, error):
    """Return the InputError for a refusal of the file system."""
    return InputError(f"cannot write {path}: {getattr(error, 'strerror', None) or one_line(error)}. Free some space, "
                      "or set OUTPUT_DIR to a folder that can be written")


def check_writable(folder):
    """Raise InputError now, not after the training, where `folder` cannot be written."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise cannot_write(folder, error) from error


def partial_name(path):
    """Return a new name beside `path`, which nobody can guess, for what is not whole yet."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(8)}.partial")


@contextlib.contextmanager
def whole_file(path):
    """Open a file to write to that takes the name `path` only when it is whole on disk; it keeps its mode.
    A link is followed; a pipe or a device is written to, not replaced. Raises InputError where that fails."""
    target = os.path.realpath(path)
    partial = partial_name(target)
    try:
        if os.path.exists(path) and not os.path.isfile(path) or target.startswith(("/dev/", "/proc/")):
            with open(path, "wb") as file:
                yield file
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(partial, "xb") as file:  # x: never an existing file, nor through a link
            if os.path.exists(target):
                os.chmod(partial, stat.S_IMODE(os.stat(target).st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def save_all(contents):
    """Write {path: bytes}: all files are whole on disk before the first of them takes its name."""
    with contextlib.ExitStack() as stack:
        for path, data in contents.items():
            file = stack.enter_context(whole_file(path))
            file.write(data)
            file.flush()


def png(figure):
    """Return a figure of matplotlib as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def has_hash(path, expected):
    """Return whether a file has these bytes: by sha256 (64 digits) or git's id (40); "" takes all but an empty one."""
    if len(expected) == 40:
        data = pathlib.Path(path).read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == expected
    return pooch.file_hash(path) == expected if expected else os.path.getsize(path) > 0


def hash_of(*values):
    """Return the sha256 of values as JSON takes them: what a checkpoint or a file kept for later depends on."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def refusal(path, what, row=0):
    """Return the InputError about a file, or about a row of it; a CSV's header is its row 1."""
    name = path if path.isprintable() else ascii(path)
    name = name if len(name) <= 120 else f"...{name[-117:]}"
    return InputError(f"{name}{f', row {row}' * bool(row)}: {what}"[:300])


@contextlib.contextmanager
def open_bytes(path, member=None):
    """Open a file to read; gzip, a zip of one file (or one with `member` in its name) is unpacked; raise InputError."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise refusal(path, "is a folder or a pipe; name a file")
    try:
        with open(path, "rb") as file, contextlib.ExitStack() as stack:
            start = file.peek(4)
            if start.startswith(b"\x1f\x8b"):
                file = stack.enter_context(gzip.open(file))
            elif start.startswith(b"PK\x03\x04"):
                archive = stack.enter_context(zipfile.ZipFile(file))
                names = archive.namelist()
                if len(names) > 1 and member:
                    names = [name for name in names if member in name]
                if len(names) != 1:
                    raise refusal(path, "is an Excel workbook, or a zip of several files; save one of them by itself")
                file = stack.enter_context(archive.open(names[0]))
            yield file
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise refusal(path, f"cannot be read ({getattr(error, 'strerror', None) or one_line(error)})") from error


def lines_of(path):
    """Yield each line of a file of UTF-8, or of UTF-16 with its mark, split at line feeds alone; raise InputError."""
    with open_bytes(path) as file:
        wide = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        lines = io.TextIOWrapper(file, "utf-16", newline="\n") if wide else file
        read, number = functools.partial(lines.readline, LONGEST_LINE), 0
        try:
            for number, line in enumerate(iter(read, "" if wide else b""), 1):
                text = line if wide else line.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\0" in text or len(line) == LONGEST_LINE:
                    what = "holds a NUL byte; save it as UTF-8" if "\0" in text else "is longer than 16 MB; shorten it"
                    raise refusal(path, f"line {number} {what}")
                yield text
        except UnicodeDecodeError as error:
            raise refusal(path, f"line {number} is not UTF-8; save the file as UTF-8") from error


class DownloadError(InputError):
    """No source of a file answered with its bytes."""


def acquire(settings, constant, cache):
    """Return the path of the file that a constant X_PATH names: a local file, the cached copy, or a download of X_URL.
    A file in the working folder or beside the script is taken first; cache: of downloads. InputError for none."""
    path = getattr(settings, constant)
    for place in (path, os.path.join(os.path.dirname(settings.script), path)):
        if os.path.exists(place):
            return place
    if path != settings.default(constant):
        raise InputError(f"{constant}: no file {path}; give a file with the columns {settings.TEXT_COLUMN} and "
                         f"{settings.LABEL_COLUMN}")
    url, expected = (getattr(settings, constant.replace("_PATH", part)) for part in ("_URL", "_HASH"))
    return download(url, expected, os.path.join(cache, path), constant, settings)


def download(url, expected, path, constant, settings):
    """Return `path`: the copy there if `has_hash`, else a download; raise DownloadError: why, and what to set."""
    folder, name = os.path.split(path)
    if os.path.isfile(path) and not has_hash(path, expected):
        os.unlink(path)
    pooch.get_logger().setLevel("ERROR")
    cache = pooch.create(folder, "", registry={name: None}, urls={name: url}, retry_if_failed=2)
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=settings.DOWNLOAD_TIMEOUT,
                                 headers={"Accept-Encoding": "identity"})  # so that the length is that of the file
    try:
        cache.fetch(name, downloader=fetch)
        if has_hash(path, expected):
            return path
        why = f"wrong bytes: their hash is not {expected[:16]}..." if os.path.getsize(path) else "it is empty"
        os.unlink(path)
    except requests.RequestException as error:
        why = reason(error, settings)
    except OSError as error:
        raise cannot_write(folder, error) from error
    raise DownloadError(f"cannot download {name}; {url}: {why}. Set {constant} to a local file")


def reason(error, settings):
    """Return why a transfer failed, in a few words on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"no byte for {settings.DOWNLOAD_TIMEOUT:g} s (DOWNLOAD_TIMEOUT)"
    known = {"NameResolutionError": "the host's name cannot be resolved", "refused": "the connection was refused",
             "IncompleteRead": "the transfer was cut off", "Connection broken": "the transfer was cut off"}
    return next((words for sign, words in known.items() if sign in text), text[-120:] or type(error).__name__)
