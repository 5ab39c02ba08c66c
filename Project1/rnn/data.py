"""The texts and classes of a training: which files are read, which rows are left out or held out, what classes mean."""
import os
from collections import namedtuple

import numpy as np

from .files import DownloadError, acquire, has_hash, lines_of
from .labels import classes_of, name_classes, number_labels, rows_to_keep
from .rows import Labelled, read_labelled
from .settings import InputError

EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the default data's names for 0 to 5

# Texts (lists of str) and class numbers (int64 arrays); no test set is two empty ones. classes: {what stands in files:
# its name}; left_out: {why: training rows}; name: of the data set; chosen_on: what chooses the epoch; note: to users
Data = namedtuple("Data", "train_texts train_labels val_texts val_labels test_texts test_labels "
                          "classes left_out name chosen_on note")


def read_data(settings, cache):
    """Return the Data without the training rows that would mislead, and print what it is; cache: of downloads."""
    texts, labels, names, path = read_set(settings, "TRAIN_PATH", cache)
    own = bool(settings.TRAIN_HASH) and not has_hash(path, settings.TRAIN_HASH)
    val, notes = read_set(settings, "VAL_PATH", cache, own), []
    try:
        test = read_set(settings, "TEST_PATH", cache, own)
        if test is None:
            why = "TRAIN_PATH is your own, and TEST_PATH the default" if settings.TEST_PATH else "TEST_PATH is empty"
            notes.append(f"no test set: {why}")
    except DownloadError as error:
        test = None
        notes.append(f"no test set, validation alone is reported: {error}")
    keep, left_out = rows_to_keep(texts, labels, {text for rows in (val, test) if rows for text in rows.texts})
    if len({labels[row] for row in keep}) < 2 <= len(set(labels)):
        raise InputError(f"{path} has {len(keep)} rows left to train on, of {len(texts)}: {left_out['in_validation']} "
                         f"stand in VAL_PATH or TEST_PATH too, {left_out['contradictory']} texts have several labels")
    texts, labels = [texts[row] for row in keep], [labels[row] for row in keep]
    values = classes_of(labels, settings)
    if settings.LABEL_NAMES:
        if any(rows and (rows.names or names) != (names or rows.names) for rows in (val, test)):
            raise InputError("LABEL_NAMES is set, and the names that come with TRAIN_PATH, VAL_PATH, TEST_PATH differ")
        names, val, test = None, *(rows and rows._replace(names=None) for rows in (val, test))
    if not names and val and set(val.names or ()) == set(values):  # the same numbers, and names for these
        names = val.names
    classes = name_classes(values, names, path, settings)
    numbers, chosen_on = number_labels(labels, names, classes, path), "the validation rows"
    if val:
        validation = val.texts, number_labels(val.labels, val.names, classes, val.path)
    else:
        (texts, numbers), validation = hold_out(texts, numbers, path, settings.SEED)
        chosen_on = "a tenth of the training rows, which are not trained on"
        notes.append(f"validation: {len(validation[0]):,} rows, a tenth of the training file; set VAL_PATH for others")
    tested = [], np.zeros(0, np.int64)
    if test:
        tested = test.texts, number_labels(test.labels, test.names, classes, test.path)
    name = "emotion (CARER)" if is_default(settings, path, "TRAIN_PATH") else os.path.basename(path)
    data = Data(texts, numbers, *validation, *tested, classes, left_out, name, chosen_on, "; ".join(notes))
    describe(data)
    return data


def describe(data):
    """Print the classes, how many rows there are, how many are left out, and the note."""
    shown = (f"{value} {name}" if value != name else name for value, name in data.classes.items())
    known, several, repeated = data.left_out.values()
    print(f"classes: {', '.join(shown)}\ndata: {len(data.train_texts):,} training, {len(data.val_texts):,} validation, "
          f"{len(data.test_texts):,} test rows; left out of training: {known} that stand in another set too, {several} "
          f"whose text has several labels, {repeated} repeats" + f"\nnote: {data.note}" * bool(data.note), flush=True)


def hold_out(texts, numbers, path, seed):
    """Return ((texts, class numbers) to train on, the same of a tenth of each class)."""
    from sklearn.model_selection import train_test_split
    rare = min(np.bincount(numbers))
    if rare < 2 or len(texts) < 10 * (numbers.max() + 1):
        raise InputError(f"{path} is too small to hold out a tenth for validation ({len(texts)} rows, {rare} of one "
                         "class); set VAL_PATH to a validation file")
    train, val = train_test_split(np.arange(len(texts)), test_size=0.1, stratify=numbers, random_state=seed)
    return tuple(([texts[row] for row in sorted(rows)], numbers[np.sort(rows)]) for rows in (train, val))


def read_set(settings, constant, cache, own=False):
    """Return the Labelled rows of a constant's file, or None; own: with the user's TRAIN_PATH no default file."""
    path = getattr(settings, constant)
    default = path == settings.default(constant)
    places = path, os.path.join(os.path.dirname(settings.script), path)
    if not path or own and default and not any(map(os.path.exists, places)):
        return None
    path = acquire(settings, constant, cache)
    if os.path.isfile(path):  # else its reader says what it is
        if own and default and is_default(settings, path, constant):
            return None
        if constant == "TEST_PATH" and settings.TEST_HASH and has_hash(path, settings.TEST_HASH):
            pairs = [line.rsplit(";", 1) for line in lines_of(path) if ";" in line]  # text;emotion, as published
            return Labelled([text for text, _ in pairs], [name.strip() for _, name in pairs], None, path)
    rows = read_labelled(path, settings.TEXT_COLUMN, settings.LABEL_COLUMN)
    if is_default(settings, path, "TRAIN_PATH") or is_default(settings, path, "VAL_PATH"):
        rows = rows._replace(names={str(number): name for number, name in enumerate(EMOTIONS)})
    return rows


def is_default(settings, path, constant):
    """Return whether a file has the bytes of the script's default one, whatever the command line says."""
    return bool(expected := settings.default(constant.replace("_PATH", "_HASH"))) and has_hash(path, expected)
