"""A file of any size classified, in chunks and flat memory; a killed run goes on where it was."""
import contextlib
import csv
import hashlib
import itertools
import json
import os
import time
from types import SimpleNamespace

import pandas as pd
import pooch

from .files import cannot_write, whole_file
from .folders import files_in
from .libraries import progress
from .prediction import predict
from .rows import chunks, open_table
from .settings import InputError

ADDED = ("predicted_label", "predicted_emotion", "confidence")  # columns that inference adds
EXTENSIONS = {"csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".json", ".ndjson"), "json": (".jsonl",), "lines": (".csv",),
              "parquet": (".parquet",)}  # of what is written, by the form of what is read


def open_source(settings, options):
    """Return --test_csv as a Table with its number of rows and the file to write; raise InputError for a bad row."""
    table = open_table(options.test_csv, settings.TEXT_COLUMN, settings.LABEL_COLUMN, labelled=False, free=ADDED)
    rows = sum(len(texts) for _, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY))
    target = options.output_csv or default_target(table)
    if os.path.exists(target) and os.path.samefile(options.test_csv, target):
        raise InputError(f"--output_csv {target} is the input itself; name another file")
    return SimpleNamespace(table=table, rows=rows, target=target)


def default_target(table):
    """Return the path beside a Table's file that its predictions are written to."""
    path, extension = os.path.splitext(table.path)
    if extension.lower() in (".gz", ".zip"):
        path, extension = os.path.splitext(path)
    own = EXTENSIONS[table.form]
    if extension.lower() not in own:
        extension = own[table.form == "csv" and table.separator == "\t"]
    return f"{path}_predictions{extension}"


def classify_file(settings, model, tokenizer, manifest, source, folder):
    """Classify the rows of a file into source.target, which has three columns more; all others keep their content.

    CHUNK_ROWS rows are in memory at once. Predictions are kept in a journal as they come, so that a run that was killed
    goes on after them, and none is made twice. folder: of the model, by which the journal is known.
    """
    started, table, done = time.perf_counter(), source.table, 0
    with open_journal(settings, identity_of(settings, table, manifest, folder)) as journal:
        done = whole_lines(journal)
        if done:
            print(f"{table.path}: goes on after the {done:,} of {source.rows:,} rows that an earlier run classified",
                  flush=True)
        for texts in progress(texts_after(settings, table, done), table.path, done, source.rows):
            predictions = iter(zip(*predict(model, tokenizer, list(filter(None, texts)), manifest)))
            journal.writelines(b"%d\t%.4f\n" % (next(predictions) if text else (-1, 0)) for text in texts)
            journal.flush()
            os.fsync(journal.fileno())
        journal.seek(0)
        with whole_file(source.target) as file:
            write_predictions(table, predicted_frames(settings, table, journal, manifest), file)
    seconds = time.perf_counter() - started
    if os.path.isfile(source.target):  # else it may be this very output
        speed = (source.rows - done) / seconds
        print(f"{source.rows:,} rows in {seconds:.1f} s, {speed:,.0f} rows/s: {source.target}")


def texts_after(settings, table, done):
    """Yield the texts of each chunk of a Table's rows without the first `done` rows; "" for a row without one."""
    for _, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY):
        if len(texts) > done:
            yield texts[done:]
        done = max(0, done - len(texts))


def predicted_frames(settings, table, journal, manifest):
    """Yield each chunk of a Table's rows as a DataFrame with the columns ADDED, from the lines of the journal.

    They are str, str and float; None for a row without a text.
    """
    labels, names = [*manifest["labels"], None], [*manifest["names"], None]  # the last is that of -1
    for frame, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY):
        lines = [line.decode().split() for line in itertools.islice(journal, len(texts))]
        numbers, confidences = [int(number) for number, _ in lines], [float(confidence) for _, confidence in lines]
        added = {"predicted_label": [labels[number] for number in numbers],
                 "predicted_emotion": [names[number] for number in numbers],
                 "confidence": [value if number >= 0 else None for number, value in zip(numbers, confidences)]}
        yield pd.concat([frame, pd.DataFrame(added, frame.index, dtype=object)], axis=1)


# The journal


def identity_of(settings, table, manifest, folder):
    """Return what the predictions of a file depend on, as a hash: the file, the model in `folder`, the settings."""
    weights = sorted((name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in files_in(folder))
    given = (pooch.file_hash(table.path), table, settings.SKIP_EMPTY, settings.PRECISION, weights, manifest)
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()[:32]


@contextlib.contextmanager
def open_journal(settings, identity):
    """Open the file of the predictions so far, a line a row: class number, probability; it goes when all is done."""
    folder = os.path.join(settings.OUTPUT_DIR, "inference")
    path = os.path.join(folder, f"{identity}.tsv")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    with open(descriptor, "r+b") as file:
        try:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except OSError as error:
            raise InputError(f"{path} is in use: another run classifies the same file with the same model") from error
        yield file
    os.unlink(path)
    with contextlib.suppress(OSError):  # other runs have theirs there
        os.rmdir(folder)


def whole_lines(file):
    """Cut off what a kill left of a last line, and return how many lines there are."""
    lines = end = 0
    for line in file:
        if line.endswith(b"\n"):
            lines, end = lines + 1, end + len(line)
    file.truncate(end)
    file.seek(end)
    return lines


# Writing


def write_predictions(table, frames, file):
    """Write frames to an open binary file: JSON as JSON Lines, Parquet with its types, all else as CSV."""
    writers = {"parquet": write_parquet, "json": write_json, "jsonl": write_json}
    writers.get(table.form, write_csv)(table, frames, file)


def write_csv(table, frames, file):
    """Write frames as a CSV with the Table's separator, UTF-8 with line feeds."""
    for number, frame in enumerate(frames):
        frame["confidence"] = frame["confidence"].map("{:.4f}".format, na_action="ignore")
        options = {"sep": table.separator or ",", "index": False, "header": not number, "lineterminator": "\n"}
        text = frame.to_csv(**options)
        if "\r" in text:  # which the csv module does not see as a reason to quote
            text = frame.to_csv(**options, quoting=csv.QUOTE_ALL)
        file.write(text.encode())


def write_json(table, frames, file):
    """Write frames as JSON Lines, without the keys that a row lacks (NaN); half a surrogate pair stays an escape."""
    for frame in frames:
        for record in frame.to_dict("records"):
            kept = {key: value for key, value in record.items() if value == value or isinstance(value, (list, dict))}
            kept |= {name: record[name] if kept.get(name) == kept.get(name) else None for name in ADDED}
            file.write((json.dumps(kept, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def write_parquet(table, frames, file):
    """Write frames as Parquet with the types and the metadata of the Table's file."""
    import pyarrow
    from pyarrow import parquet
    schema = parquet.read_schema(table.path)
    for name in ADDED:
        schema = schema.append(pyarrow.field(name, pyarrow.float64() if name == "confidence" else pyarrow.string()))
    kept = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}  # it lists columns
    with parquet.ParquetWriter(file, schema.with_metadata(kept)) as writer:
        for frame in frames:
            writer.write_table(pyarrow.Table.from_pandas(frame, schema, preserve_index=False).cast(writer.schema))
