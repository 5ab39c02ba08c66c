"""Students: a pruned or smaller network that learns what the original says."""
import copy
import functools
import os

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from ..encoder import linear_layers
from ..evaluation import calibrate
from ..text import encode
from ..training import Encoded, Training, learning_rate, read_checkpoint


class Distillation(Training):
    """The training of a student on the original's training texts: their labels, and what the original says of them.
    The loss is cross-entropy, and the divergence from the original's probabilities, of logits over a temperature of 2,
    by its square (Hinton et al. 2015, arXiv:1503.02531). Weights that are zero, as `prune` makes them, stay zero."""

    def __init__(self, settings, student, data, manifest, path, identity, logits):
        accelerator = Accelerator(mixed_precision="no")
        super().__init__(settings, accelerator, student, data, manifest, path, identity)
        self.soft = torch.from_numpy(logits).to(accelerator.device)
        for module in linear_layers(student).values():
            module.weight.register_hook(functools.partial(torch.mul, (module.weight.detach() != 0).float()))

    def consistency(self, logits, rows):
        """Return the divergence of the student's probabilities from the original's, a sum over the texts."""
        said, soft = F.log_softmax(logits / 2.0, 1), F.softmax(self.soft[rows] / 2.0, 1)
        return F.kl_div(said, soft, reduction="sum") * 2.0**2


def distil(settings, original, student, tokenizer, name, epochs, faster, mixed=False):
    """Train a student on the original's transfer set, its step size `faster` times the original's, and where
    `mixed` on as many mixed texts; return (student, its manifest), calibrated on VAL_PATH."""
    (texts, labels, logits), manifest = original.transfer_set, original.manifest
    if mixed:
        said = original.say(more := mixed_texts(settings, texts, len(texts)))
        texts, labels, logits = texts + more, np.concatenate([labels, said.argmax(1)]), np.concatenate([logits, said])
    data = Encoded(encode(tokenizer, texts, manifest), labels, encode(tokenizer, original.texts, manifest),
                   original.labels, tokenizer)
    path, identity = os.path.join(original.work, f"{name}.pt"), f"{original.identity} {name}"
    rate = learning_rate(settings, manifest["model"], student.config) * faster
    plan = settings.model_copy(update={  # all epochs, as the step size has to fall to its end; the head is no new one
        "NUM_EPOCHS": epochs, "PATIENCE": epochs, "LEARNING_RATE": rate, "HEAD_RATE": 1.0, "R_DROP": 0.0})
    training = Distillation(plan, student, data, {**manifest, "model": name}, path, identity, logits)
    if state := read_checkpoint(settings, path, identity):
        training.restore(state)
    training.run()
    return student.eval(), calibrate(student, tokenizer, original.texts, original.labels, manifest)


def mixed_texts(settings, texts, number):
    """Return `number` texts mixed from two others each, whatever they mean: a student learns what its teacher says.
    By turns one's beginning and the other's end, or a fifth of one's words from the other (arXiv:1909.10351)."""
    generator, mixed = np.random.default_rng([settings.SEED, 1]), []
    for place in range(number):
        first, second = (texts[row].split() for row in generator.integers(len(texts), size=2))
        if place % 2:
            words = first[:generator.integers(len(first) + 1)] + second[generator.integers(len(second) + 1):]
        else:
            words = [word if generator.random() > 0.2 else second[generator.integers(len(second))] for word in first]
        mixed.append(" ".join(words or first))
    return mixed


def keep_layers(model, number):
    """Return a classifier's copy with `number` of its layers, evenly spread, with the last (arXiv:1910.01108)."""
    student = copy.deepcopy(model)
    total = student.config.num_hidden_layers
    student.config.num_hidden_layers = number = min(number, total)
    stacks = [(parent, name) for parent in student.modules() for name, part in parent.named_children()
              if isinstance(part, torch.nn.ModuleList) and len(part) == total]
    if stacks:
        parent, name = stacks[0]
        layers = getattr(parent, name)
        setattr(parent, name, torch.nn.ModuleList(layers[(place + 1) * total // number - 1] for place in range(number)))
    elif model.config.model_type != "albert":  # whose layers are one, applied less often
        raise LookupError(f"{type(model).__name__} has no list of {total} layers to choose from")
    return student
