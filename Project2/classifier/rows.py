"""Rows of texts and labels, read in chunks from files of any form; what is in doubt is refused, with the fix."""
import csv
import itertools
import json
import os
import re
from collections import namedtuple

import pandas as pd

from .files import LONGEST_LINE, lines_of, open_bytes, refusal
from .labels import as_label, read_names
from .settings import one_line, shown

SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}

Labelled = namedtuple("Labelled", "texts labels names path")  # lists of str; names: {label: name} or None

# A file as open_table found it. form: csv, jsonl, json (an array), parquet, lines (TweetEval's pair of files);
# text, label: names of columns; labelled: whether labels are read; columns: names of all; separator: of a CSV
Table = namedtuple("Table", "path form text label labelled columns separator", defaults=((), ""))


def read_labelled(path, text, label):
    """Return the Labelled rows of a file with these two columns."""
    texts, labels = [], []
    for _, more_texts, more_labels in chunks(open_table(path, text, label), 1 << 16):
        texts += more_texts
        labels += more_labels
    return Labelled(texts, labels, read_names(path), path)


def open_table(path, text, label, labelled=True, free=()):
    """Find out how a file holds the columns `text` and, if it is labelled, `label`; return its Table; raise InputError,
    with the fix, where the file cannot be read, has not the columns, or has one of the names `free`."""
    table, needed = Table(path, form_of(path), text, label, labelled), [text, label] if labelled else [text]
    columns, separator = header_of(table, needed)
    lacking = [name for name in needed if name not in columns]
    if lacking:
        constants = " and ".join("TEXT_COLUMN" if name == text else "LABEL_COLUMN" for name in lacking)
        raise refusal(path, f"has no column {' and '.join(map(shown, lacking))}; it has {shown(list(columns))}; "
                      f"set {constants} to the right one, or write a header above the first row")
    for name in (*needed, *free):
        if columns.count(name) > (name in needed) or text == label:
            raise refusal(path, f"has the column {shown(name)} already, or twice; rename it, or name another")
    return table._replace(columns=columns, separator=separator)


def chunks(table, size=4096, skip_empty=False):
    """Yield (frame, texts, labels) of a Table's rows, at most `size` at once, whatever the size of the file.
    frame: DataFrame of all columns as they are in the file (CSV: str; JSON: objects, NaN where a key lacks; Parquet:
    ArrowDtype); texts: list of str, "" for none if skip_empty, else that is an error; labels: list of str, or None."""
    texts = labels = None
    for rows, frame in frames(table, size):
        values = frame[table.text].tolist()
        texts = [as_text(value, table.path, row, skip_empty) for row, value in zip(rows, values)]
        if table.labelled:
            values = frame[table.label].tolist()
            labels = [as_label(value) if isinstance(value, (str, int, float)) else "" for value in values]
            if "" in labels:
                place = labels.index("")
                raise refusal(table.path, f"has the label {shown(values[place])}; write a word or number", rows[place])
        yield frame, texts, labels
    if not texts:
        raise refusal(table.path, "has no rows below its header; it takes rows with a text")


def as_text(value, path, row, skip_empty):
    """Return the text of a row; raise InputError where it is none."""
    if value is None or value is pd.NA or value != value or isinstance(value, str) and not value.strip():
        if skip_empty:
            return ""
        raise refusal(path, "has no text; write one, or remove the row", row)
    if not isinstance(value, str) or re.search("[\ud800-\udfff]", value):
        raise refusal(path, f"has the text {ascii(value)[:60]}, which is no string of whole characters", row)
    return value


def form_of(path):
    """Return the form of a file by its first bytes, then by its name; raise InputError where it is empty."""
    with open_bytes(path) as file:
        start = file.read(1 << 16)
    name, content = os.path.basename(path).lower(), start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not content:
        raise refusal(path, "is empty; it takes rows with a text")
    if start.startswith(b"PAR1"):
        return "parquet"
    if name.endswith("_text.txt"):
        return "lines"
    return "json" if re.match(rb"\[\s*[{\]]", content) else "jsonl" if content.startswith(b"{") else "csv"


def header_of(table, needed):
    """Return (names of all columns, separator); a CSV's is that under which the needed columns are there, else most."""
    if table.form == "lines":
        return tuple(needed), ""
    if table.form != "csv":
        return tuple(next(frames(table, 1), (1, pd.DataFrame(columns=needed)))[1].columns), ""
    first = next((line for line in lines_of(table.path) if line.strip() and not line.startswith("sep=")), "")
    order = sorted(SEPARATORS, key=lambda separator: separator != "\t" or not table.path.endswith(".tsv"))
    heads = {separator: tuple(next(csv.reader([first.split("\r")[0]], delimiter=separator), ())) for separator in order}
    fit = [separator for separator in order if set(needed) <= set(heads[separator])]
    separator = fit[0] if fit else max(order, key=lambda separator: len(heads[separator]))
    return heads[separator], separator


def frames(table, size):
    """Yield (row numbers, DataFrame of the rows), at most `size` at once."""
    if table.form == "parquet":
        yield from parquet_frames(table.path, size)
        return
    rows = {"csv": csv_rows, "jsonl": json_rows, "json": json_rows, "lines": line_rows}[table.form](table)
    names = None if table.form.startswith("json") else table.columns
    while part := list(itertools.islice(rows, size)):
        numbers, records = zip(*part)
        yield numbers, pd.DataFrame(list(records), columns=names, dtype=object)


def parquet_frames(path, size):
    """Yield (row numbers, DataFrame of the rows), at most `size` at once, of Parquet."""
    import pyarrow
    from pyarrow import parquet
    row = 1
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(size):
                yield range(row, row + len(batch)), batch.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
                row += len(batch)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise refusal(path, f"is damaged ({one_line(error)}); write it again", row) from error


def csv_records(path, separator):
    """Yield (row, fields) of a CSV, the header as row 1, without blank lines and Excel's `sep=;`."""
    csv.field_size_limit(LONGEST_LINE)
    row = 1
    try:
        for fields in csv.reader(lines_of(path), delimiter=separator, strict=True):
            if fields and not (row == 1 and fields[0].startswith("sep=")):
                yield row, fields
                row += 1
    except csv.Error as error:
        fix = "double each quotation mark inside a text, and quote the text whole; end lines with a line feed"
        raise refusal(path, f"is no CSV ({str(error).split(' - ')[0]}); {fix}", row) from error


def csv_rows(table):
    """Yield (row, fields) of a CSV below its header; raise InputError where a quotation mark has swallowed rows."""
    width, place = len(table.columns), table.columns.index(table.label) if table.label in table.columns else None
    labels, inside = set(), {}
    for row, fields in itertools.islice(csv_records(table.path, table.separator), 1, None):
        if len(fields) != width:
            raise refusal(table.path, f"has {len(fields)} column{'s' * (len(fields) != 1)}, the header {width}, with "
                          f"{SEPARATORS[table.separator]} between; quote a text that holds one", row)
        if place is not None and "\n" in "".join(fields):
            inside |= dict.fromkeys(labels_inside(fields, place, table.separator), row)
        elif place is not None:
            labels.add(fields[place].strip())
        yield row, fields
    if merged := [inside[label] for label in labels & inside.keys()]:
        raise refusal(table.path, "has lines inside that would be rows themselves; double the quotation marks inside a "
                      "text, or write it on one line", min(merged))


def labels_inside(fields, place, separator):
    """Return the labels of the lines of a record that would be rows themselves; its own label, at `place`, apart."""
    lines = [line.split(separator) for line in separator.join(fields).split("\n")]
    lines.pop(separator.join(fields[:place]).count("\n"))
    return {line[place].strip(' "') for line in lines if len(line) == len(fields)}


def json_rows(table):
    """Yield (row, object) of JSON Lines, or of a JSON array, which is read whole."""
    row, lines = 0, lines_of(table.path)
    try:
        items = json.loads("".join(lines)) if table.form == "json" else map(json.loads, filter(str.strip, lines))
        for row, item in enumerate(items, 1):
            if not isinstance(item, dict):
                raise refusal(table.path, f"is no JSON object but {shown(item)}", row)
            yield row, item
    except (ValueError, RecursionError) as error:
        what = str(getattr(error, "msg", error))[:90]
        raise refusal(table.path, f"is no JSON ({what}); JSON Lines has one object on each line", row + 1) from error


def line_rows(table):
    """Yield (row, [text]) or (row, [text, label]) of TweetEval's pair: line n of one file with line n of the other."""
    names = [table.path, table.path[:-len("text.txt")] + "labels.txt"][:1 + table.labelled]
    for row, pair in enumerate(itertools.zip_longest(*map(lines_of, names)), 1):
        if None in pair:
            raise refusal(table.path, f"and {os.path.basename(names[1])} have not the same number of lines", row)
        yield row, [line.rstrip("\r\n") for line in pair]
