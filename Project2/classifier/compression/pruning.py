"""Pruning: the smallest weights set to zero, and stored as a mask and the values left."""
import copy
import os

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from ..encoder import linear_layers, read_first_token


def prune(model, sparsity):
    """Return a copy, `sparsity` of each linear layer's weights set to zero, the smallest (arXiv:1506.02626)."""
    pruned = copy.deepcopy(model)
    for module in linear_layers(pruned).values():
        weights = module.weight.data.view(-1)
        weights[weights.abs().topk(round(sparsity * len(weights)), largest=False).indices] = 0
    return pruned


def save_pruned(model, folder):
    """Write pruned.safetensors: of each linear layer's weights a mask, a bit each, and the float32 values left."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    for name in linear_layers(model):
        weights = tensors.pop(f"{name}.weight").view(-1)
        tensors[f"{name}.mask"] = torch.from_numpy(np.packbits(weights.numpy() != 0))
        tensors[f"{name}.kept"] = weights[weights != 0]
    save_file(tensors, os.path.join(folder, "pruned.safetensors"))
    model.config.save_pretrained(folder)


def load_pruned(folder, config):
    """Return the model that `save_pruned` wrote, its weights the very same; raises ValueError where they do not fit."""
    tensors = load_file(os.path.join(folder, "pruned.safetensors"))
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    for name, module in linear_layers(model).items():
        mask, kept = tensors.pop(f"{name}.mask").numpy(), tensors.pop(f"{name}.kept")
        weights = torch.zeros(module.weight.numel())
        places = torch.from_numpy(np.unpackbits(mask)[:len(weights)].astype(bool))
        if len(mask) != -(-len(weights) // 8) or int(places.sum()) != len(kept):
            raise ValueError(f"the mask and the values of {name} do not fit")
        weights[places] = kept
        tensors[f"{name}.weight"] = weights.view_as(module.weight)
    model.load_state_dict(tensors, strict=True)
    return read_first_token(model).to(PartialState().device).eval()
