"""What a killed training goes on from, and by what it is known."""
import hashlib
import json
import os
import re

import torch

from .files import cannot_write, whole_file
from .settings import InputError, one_line


def checkpoint_path(settings, name):
    """Return where the training of a model keeps its checkpoint."""
    return os.path.join(settings.OUTPUT_DIR, name, "checkpoint.pt")


def save_checkpoint(path, state):
    """Write the state of a training to `path`, whole or not at all."""
    try:
        with whole_file(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own for a full disk
        raise cannot_write(path, OSError("the disk is full")) from error


def read_checkpoint(settings, path, identity):
    """Return the state in a checkpoint of this very training, or None where there is none that can be used."""
    if not settings.RESUME or not os.path.isfile(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip, a pickle, or neither
        raise InputError(f"{path} is damaged ({one_line(error)}); set RESUME to False to start anew") from error
    if state["identity"] != identity:
        print(f"note: {path} is of a training with other data or settings; this one starts anew")
        return None
    return state


def remove_checkpoint(path):
    """Remove a checkpoint that has done its work, and what killed runs left beside it under temporary names."""
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        if re.fullmatch(rf"\.{re.escape(os.path.basename(path))}\.[0-9a-f]{{16}}\.partial", name):
            os.unlink(os.path.join(folder, name))
    os.unlink(path)


def identity_of(settings, accelerator, name, folder, data):
    """Return what a training's result depends on, as a hash: data, manifest, the model to start from, the devices."""
    digest = hashlib.sha256(json.dumps(data.classes).encode())
    for texts, labels in ((data.train_texts, data.train_labels), (data.val_texts, data.val_labels)):
        digest.update(json.dumps([texts, labels.tolist()]).encode())
    files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder) if entry.is_file())
    digest.update(json.dumps([name, files, training_settings(settings), accelerator.num_processes,
                              accelerator.device.type]).encode())
    return digest.hexdigest()


def training_settings(settings):
    """Return {name: value} of the constants that a training's result depends on."""
    passing = ("RESUME", "CHECKPOINT_SECONDS")
    constants = settings.constants("Text", "Training")
    return {name: value for name, value in constants.items() if name not in passing}
