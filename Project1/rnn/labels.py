"""Labels as text, the classes that they make and their names, and which rows to train on."""
import functools
import os
import re
import unicodedata

import numpy as np
import pandas as pd

from .files import lines_of, refusal
from .settings import InputError, shown, some


@functools.lru_cache(typed=True)  # 1 and True are one key else
def as_label(value):
    """Return a label as text, "" where there is none: a whole number without zeros behind its point, else the words."""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    text = unicodedata.normalize("NFC", text)  # an accent is typed with its letter or after it
    if match := re.fullmatch(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0+)?", text):
        return "0" if match[1] in ("-0", "+0") else match[1]
    none = text.casefold() in ("nan", "inf", "-inf") or text in ("NA", "N/A", "n/a", "#N/A", "None", "null", "NULL")
    return "" if none else text


def read_names(path):
    """Return {label: name} of the mapping.txt beside FILE_text.txt (number, tab, name), or None where there is none."""
    mapping = os.path.join(os.path.dirname(path), "mapping.txt")
    if not path.endswith("_text.txt") or not os.path.isfile(mapping):
        return None
    names = {}
    for row, line in enumerate(lines_of(mapping), 1):
        label, _, name = (part.strip() for part in line.partition("\t"))
        if line.strip() and (not name or as_label(label) in names):
            raise refusal(mapping, f"is {shown(line)}; it takes a number, a tab and a name, each number once", row)
        if name:
            names[as_label(label)] = name
    return names


def classes_of(labels, settings):
    """Return the distinct labels, sorted as numbers where all are numbers, else as words; raise InputError."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise InputError(f"all rows have the label {shown(classes[0])}; training takes two: check LABEL_COLUMN")
    if len(classes) > settings.MAX_CLASSES:
        raise InputError(f"{len(classes):,} different labels ({shown(classes[0])}, ...) are more than MAX_CLASSES "
                         f"({settings.MAX_CLASSES}); set LABEL_COLUMN (--label_column) to the column of the labels")
    folded = [label.casefold() for label in classes]
    if alike := [label for label in classes if folded.count(label.casefold()) > 1]:
        print(f"note: the labels {some(alike, 6)} differ in capitals alone; they stay classes of their own")
    numbers = all(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", label) for label in classes)
    return sorted(classes, key=float) if numbers else classes


def name_classes(values, names, path, settings):
    """Return {label: name} of a file's sorted labels, `values`: LABEL_NAMES, else its own `names`, else the labels."""
    if settings.LABEL_NAMES:
        given = [name.strip() for name in settings.LABEL_NAMES.split(",")]
        if len(given) != len(values):
            raise InputError(f"LABEL_NAMES has {len(given)} names; {path} has the {len(values)} labels {some(values)}")
        names = dict(zip(values, given))
    classes = {value: (names or {}).get(value, value) for value in values}
    unfit = [name for name in classes.values() if not name.isprintable() or len(name) > 200]
    if unfit or len(set(classes.values())) < len(values):
        raise InputError(f"{path}: the classes' names {shown(unfit or list(classes.values()))} are not printable, not "
                         "all different, or longer than 200 characters")
    return classes


def number_labels(labels, names, classes, path):
    """Return class numbers, int64 (rows,); names, classes: {label: name} of file and model, which decide if both."""
    by_name = {name: number for number, name in enumerate(classes.values())}
    by_label = {label: number for number, label in enumerate(classes)}
    named = any(label != name for label, name in classes.items())
    numbers = by_name if names and named else by_name | by_label
    if names and set(labels) <= set(names) and (named or not set(labels) <= set(numbers)):
        labels = [names[label] for label in labels]
    lacking = sorted(set(labels) - set(numbers))
    if lacking:
        raise InputError(f"{path} has the label{'s' * (len(lacking) > 1)} {some(map(shown, lacking))}, which the model "
                         f"lacks; it knows {some(classes.values() if named else classes, 8)}")
    return np.array([numbers[label] for label in labels], np.int64)


def rows_to_keep(texts, labels, elsewhere):
    """Return (row numbers to train on, {why: number of rows left out}): not texts that stand `elsewhere` too, a set,
    nor those with several labels, of which none is known to be right, nor repeats of a row."""
    rows = pd.DataFrame({"text": texts, "label": labels}, dtype=object)
    known = rows["text"].isin(elsewhere)
    several = ~known & (rows.groupby("text")["label"].transform("nunique") > 1)
    repeated = ~known & ~several & rows["text"].duplicated()
    left_out = {"in_validation": int(known.sum()), "contradictory": int(several.sum()), "repeated": int(repeated.sum())}
    return np.flatnonzero(~(known | several | repeated)).tolist(), left_out
