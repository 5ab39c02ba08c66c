"""Training, validation and test rows with their classes, without the rows that would mislead."""
import os
from collections import namedtuple

import pooch

from .files import acquire, has_hash
from .labels import classes_of, name_classes, number_labels, rows_to_keep
from .rows import read_labelled
from .settings import InputError, some

EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")  # the default data's names for 0 to 5

# Lists of texts, int64 arrays of class numbers, and what they mean. classes: {what stands in files: its name}, in the
# order of the numbers; left_out: {why: number of training rows}; name: of the data set; sha256: of its training file
Data = namedtuple("Data", "train_texts train_labels val_texts val_labels classes left_out name sha256")


def read_data(settings, processes):
    """Return the Data to train on, without the rows that `rows_to_keep` leaves out; print what they are."""
    train, val = acquire_labelled(settings, "TRAIN_PATH"), acquire_labelled(settings, "VAL_PATH")
    keep, left_out = rows_to_keep(train.texts, train.labels, set(val.texts))
    texts, labels = [train.texts[row] for row in keep], [train.labels[row] for row in keep]
    if len(keep) < processes or len(set(labels)) < 2 <= len(set(train.labels)):
        raise InputError(f"{train.path} has {len(keep)} rows left to train on, of {len(train.texts)}: "
                         f"{left_out['in_validation']} stand in {val.path} too, {left_out['contradictory']} texts have "
                         "several labels; take other validation rows")
    values, names, val_names = classes_of(labels, settings), train.names, val.names
    if settings.LABEL_NAMES:
        if (val_names or names) != (names or val_names):
            raise InputError(f"LABEL_NAMES is set, and the names that come with {train.path} and {val.path} differ; "
                             "leave one out")
        names = val_names = None
    if not names and val_names and set(val_names) == set(values):  # the same numbers, and names for just these
        names = val_names
    classes = name_classes(values, names, train.path, settings)
    print(f"classes: {', '.join(f'{value} {name}' if value != name else name for value, name in classes.items())}")
    print(f"data: {len(texts):,} training, {len(val.texts):,} validation rows; left out of training: "
          f"{left_out['in_validation']} that stand in validation too, {left_out['contradictory']} whose text "
          f"has several labels, {left_out['repeated']} repeats", flush=True)
    sha256 = pooch.file_hash(train.path)
    return Data(texts, number_labels(labels, names, classes, train.path), val.texts,
                number_labels(val.labels, val_names, classes, val.path), classes, left_out,
                "emotion (CARER)" if sha256 == settings.default("TRAIN_HASH") else os.path.basename(train.path), sha256)


def read_for(settings, manifest, constant):
    """Return (texts, class numbers) of the labelled file that a constant names, for a saved model; of "" none."""
    if not getattr(settings, constant):
        return [], []
    read = acquire_labelled(settings, constant)
    classes = dict(zip(manifest["labels"], manifest["names"]))
    numbers = number_labels(read.labels, read.names, classes, read.path)
    if not read.names and manifest["labels"] != manifest["names"] and set(read.labels) <= set(classes):
        meant = some([f"{label} {name}" for label, name in classes.items()], 8)
        print(f"note: the labels of {read.path} are read as {meant}")
    return read.texts, numbers


def acquire_labelled(settings, constant):
    """Return the Labelled rows of the file that a constant names; the default files' numbers are emotions."""
    path = acquire(settings, constant, os.path.join(settings.OUTPUT_DIR, "data"))
    read = read_labelled(path, settings.TEXT_COLUMN, settings.LABEL_COLUMN)
    if any(has_hash(read.path, settings.default(name)) for name in ("TRAIN_HASH", "VAL_HASH")):
        return read._replace(names={str(number): name for number, name in enumerate(EMOTIONS)})
    return read
