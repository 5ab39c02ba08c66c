"""A file of any size classified, in chunks and flat memory; a killed run goes on where it was."""
import contextlib
import csv
import itertools
import json
import os
import re
import time
from types import SimpleNamespace

import pandas as pd
import pooch

from .files import cannot_write, hash_of, whole_file
from .folders import files_in
from .libraries import progress
from .prediction import predict
from .rows import chunks, open_table
from .settings import InputError

ADDED = ("predicted_label", "predicted_emotion", "confidence")  # columns that inference adds
LINE = b"%9d\t%.4f\n"  # of the journal, for each row: class number, -1 for a row without a text; its probability
WIDTH = len(LINE % (0, 0))


def open_source(settings, options):
    """Return --test_csv as a Table with its number of rows and the file to write; raise InputError for a bad row."""
    table = open_table(options.test_csv, settings.TEXT_COLUMN, settings.LABEL_COLUMN, labelled=False, free=ADDED)
    rows = sum(len(texts) for _, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY))
    name, extension = os.path.splitext(re.sub(r"\.(gz|zip)$", "", table.path))
    if extension not in (".csv", ".tsv", ".jsonl", ".parquet"):
        written = {"parquet": ".parquet", "json": ".jsonl", "jsonl": ".jsonl"}
        extension = written.get(table.form, ".tsv" if table.separator == "\t" else ".csv")
    target = options.output_csv or f"{name}_predictions{extension}"
    if os.path.exists(target) and os.path.samefile(table.path, target):
        raise InputError(f"--output_csv {target} is the input itself; name another file")
    return SimpleNamespace(table=table, rows=rows, target=target)


def classify_file(settings, model, tokenizer, manifest, source, folder):
    """Classify a file into source.target, CHUNK_ROWS rows in memory at once; a killed run goes on from its journal."""
    started, path = time.perf_counter(), source.table.path
    with open_journal(settings, source.table, manifest, folder) as journal:
        done = os.path.getsize(journal.name) // WIDTH
        journal.truncate(done * WIDTH)  # without what a kill left of a last line
        if done:
            print(f"{path}: goes on after the {done:,} of {source.rows:,} rows of an earlier run", flush=True)
        for texts in progress(texts_after(settings, source.table, done), path, done, source.rows):
            predictions = iter(zip(*predict(model, tokenizer, list(filter(None, texts)), manifest)))
            journal.writelines(LINE % (next(predictions) if text else (-1, 0)) for text in texts)
            journal.flush()
            os.fsync(journal.fileno())
        journal.seek(0)
        with whole_file(source.target) as file:
            write_predictions(source.table, predicted_frames(settings, source.table, journal, manifest), file)
    seconds = time.perf_counter() - started
    if os.path.isfile(source.target):  # else it may be this very output
        print(f"{source.rows:,} rows in {seconds:.1f} s, {(source.rows - done) / seconds:,.0f} rows/s: {source.target}")


def texts_after(settings, table, done):
    """Yield the texts of each chunk of a Table's rows without the first `done` rows; "" for a row without one."""
    for _, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY):
        if len(texts) > done:
            yield texts[done:]
        done = max(0, done - len(texts))


def predicted_frames(settings, table, journal, manifest):
    """Yield each chunk of a Table's rows with the columns ADDED, from the journal: str, str, float, or None thrice."""
    labels, names = [*manifest["labels"], None], [*manifest["names"], None]  # the last is that of -1
    for frame, texts, _ in chunks(table, settings.CHUNK_ROWS, settings.SKIP_EMPTY):
        lines = [line.split() for line in itertools.islice(journal, len(texts))]
        numbers = [int(number) for number, _ in lines]
        added = {"predicted_label": [labels[number] for number in numbers],
                 "predicted_emotion": [names[number] for number in numbers],
                 "confidence": [None if int(number) < 0 else float(share) for number, share in lines]}
        yield pd.concat([frame, pd.DataFrame(added, frame.index, dtype=object)], axis=1)


@contextlib.contextmanager
def open_journal(settings, table, manifest, folder):
    """Open the file of the predictions so far, named by a hash of what they depend on; it goes when all is done."""
    weights = sorted((name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in files_in(folder))
    identity = hash_of(WIDTH, pooch.file_hash(table.path), table, settings.SKIP_EMPTY, settings.PRECISION, weights,
                       manifest)
    path = os.path.join(settings.OUTPUT_DIR, f"inference_{identity[:32]}.tsv")
    try:
        os.makedirs(settings.OUTPUT_DIR, exist_ok=True)
        file = open(path, "a+b")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except OSError as error:
            raise InputError(f"{path} is in use: another run classifies the same file with the same model") from error
        yield file
    os.unlink(path)


def write_predictions(table, frames, file):
    """Write frames to an open binary file: Parquet with its types, JSON as JSON Lines, all else as CSV."""
    if table.form == "parquet":
        write_parquet(table, frames, file)
        return
    for number, frame in enumerate(frames):
        is_json = table.form.startswith("json")
        text = json_text(frame) if is_json else csv_text(frame, table.separator or ",", header=not number)
        file.write(text.encode(errors="backslashreplace"))  # of half a surrogate pair in JSON


def csv_text(frame, separator, header):
    """Return a frame as a CSV with line feeds."""
    frame["confidence"] = frame["confidence"].map("{:.4f}".format, na_action="ignore")
    options = {"sep": separator, "index": False, "header": header, "lineterminator": "\n"}
    text = frame.to_csv(**options)
    return frame.to_csv(**options, quoting=csv.QUOTE_ALL) if "\r" in text else text  # csv sees no reason to quote it


def json_text(frame):
    """Return a frame as JSON Lines, without the keys that a row lacks (NaN)."""
    records = ({key: value for key, value in record.items() if value == value} for record in frame.to_dict("records"))
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


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
