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


def depends_on(data, matrix, settings):
    """Return {name: value} of what a training's result depends on: the data and the vectors, the constants."""
    digest = hashlib.sha256(json.dumps([data.classes, data.train_texts, data.train_labels.tolist(), data.val_texts,
                                        data.val_labels.tolist()]).encode())
    digest.update(matrix.tobytes())
    passing = ("RESUME", "GLOVE_PATH", "GLOVE_KAGGLE", "GLOVE_URL")  # what was read of vectors counts, not from where
    constants = settings.constants("Vectors", "Text", "Model", "Training")
    return {"the data or the vectors": digest.hexdigest(),
            **{name: value for name, value in constants.items() if name not in passing}}


class Checkpoint:
    """All stages of a training in one file; of another training (`depends`, see `depends_on`) it is not used.

    The file is an npz: JSON as `state`, each array under a name of its own. Raises InputError where it is damaged.
    """

    def __init__(self, settings, folder, depends):
        devices = len(tf.config.list_physical_devices("GPU"))
        self.identity = json.dumps([depends, tf.__version__, keras.__version__, devices])
        self.path, self.stages = os.path.join(folder, "checkpoint.npz"), {}
        if not settings.RESUME or not os.path.isfile(self.path):
            return
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = json.loads(file["state"].tobytes())
                for name, saved in state["stages"].items():
                    for kind in ("weights", "moving"):
                        saved[kind] = [file[f"{name}/{kind}/{place}"] for place in range(saved[kind])]
        except Exception as error:  # zip, numpy and JSON each raise what is theirs
            what = f"is damaged ({one_line(error)}); set RESUME to False to start anew"
            raise InputError(f"{self.path} {what}") from error
        if state["identity"] == self.identity:
            self.stages = state["stages"]
            epochs = sum(len(saved["history"]) for saved in self.stages.values())
            print(f"going on with a training that was stopped after epoch {epochs}")
        else:
            print(f"note: {self.path} is of a training with other data or settings; this one starts anew")

    def save(self, stage):
        """Write the file anew with this stage as it stands."""
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


def read_all(variables):
    """Return the values of Keras variables as a list of arrays."""
    return [ops.convert_to_numpy(variable) for variable in variables]


def write_all(variables, values):
    """Set Keras variables to a list of arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
