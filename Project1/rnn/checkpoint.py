"""A file that holds where a training stands, so that a killed run goes on; what a training's result depends on."""
import contextlib
import hashlib
import io
import json
import os

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .files import save_all
from .settings import InputError, one_line


class Checkpoint:
    """A file that holds where a training stands: all its stages, so that a run that was killed goes on.

    identity: hash of all that the result depends on; a file of another training is not used. Raises InputError where the file
    is damaged.
    """

    def __init__(self, settings, folder, identity):
        self.path, self.identity, self.stages = os.path.join(folder, "checkpoint.npz"), identity, {}
        path = self.path
        if not settings.RESUME or not os.path.isfile(path):
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                state = json.loads(file["state"].tobytes())
                for name, saved in state["stages"].items():
                    for kind in ("weights", "moving"):
                        saved[kind] = [file[f"{name}/{kind}/{place}"] for place in range(saved[kind])]
        except Exception as error:  # zip, numpy and JSON each raise what is theirs
            raise InputError(f"{path} is damaged ({one_line(error)}); set RESUME to False to start anew") from error
        if state["identity"] == identity:
            self.stages = state["stages"]
            epochs = sum(len(saved["history"]) for saved in self.stages.values())
            print(f"going on with a training that was stopped after epoch {epochs}")
        else:
            print(f"note: {path} is of a training with other data or settings; this one starts anew")

    def save(self, stage):
        """Write the file anew with this stage as it stands: JSON as `state`, each array under a name of its own."""
        self.stages[stage.name] = {"history": stage.history, "best": stage.best, "weights": stage.weights,
                                   "moving": [] if stage.ended else read_all(stage.moving())}
        state, arrays, buffer = {"identity": self.identity, "stages": {}}, {}, io.BytesIO()
        for name, saved in self.stages.items():
            state["stages"][name] = {**saved, "weights": len(saved["weights"]), "moving": len(saved["moving"])}
            for kind in ("weights", "moving"):
                arrays |= {f"{name}/{kind}/{place}": array for place, array in enumerate(saved[kind])}
        np.savez(buffer, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays)
        save_all({self.path: buffer.getvalue()})

    def restore(self, stage):
        """Set a stage, its model and its optimizer to where they were saved."""
        if saved := self.stages.get(stage.name):
            stage.history, stage.best, stage.weights = saved["history"], saved["best"], saved["weights"]
            if saved["moving"]:
                write_all(stage.moving(), saved["moving"])

    def remove(self):
        """Remove the file, which has done its work."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def identity_of(data, matrix, settings):
    """Return what a training's result depends on, as text: data, vectors, settings, versions, devices."""
    devices = len(tf.config.list_physical_devices("GPU"))
    return json.dumps([hash_of(data, matrix), training_settings(settings), tf.__version__, keras.__version__, devices])


def searched(data, matrix, settings):
    """Return {name: value} of what the results of a search depend on; the grid itself is its settings."""
    return {"the data or the vectors": hash_of(data, matrix), "GRID_EPOCHS": settings.GRID_EPOCHS,
            **training_settings(settings)}


def hash_of(data, matrix):
    """Return the sha256 of the data and the vectors that a training reads."""
    digest = hashlib.sha256(json.dumps([data.classes, data.train_texts, data.train_labels.tolist(), data.val_texts,
                                        data.val_labels.tolist()]).encode())
    digest.update(matrix.tobytes())
    return digest.hexdigest()


def training_settings(settings):
    """Return {name: value} of the constants that a training's result depends on."""
    passing = ("RESUME", "GLOVE_PATH", "GLOVE_KAGGLE", "GLOVE_URL")  # what was read of the vectors counts, not from where
    constants = settings.constants("Vectors", "Text", "Model", "Training")
    return {name: value for name, value in constants.items() if name not in passing}


def read_all(variables):
    """Return the values of Keras variables as a list of arrays."""
    return [ops.convert_to_numpy(variable) for variable in variables]


def write_all(variables, values):
    """Set Keras variables to a list of arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
