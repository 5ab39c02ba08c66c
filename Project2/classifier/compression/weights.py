"""Weights of a transformers model in fewer bytes: pruned, or quantised by bitsandbytes to LLM.int8 and NF4."""
import copy
import logging
import os
import tempfile

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

from ..encoder import empty_network, linear_layers, load_network, read_first_token


def prune(model, sparsity):
    """Return a copy with the `sparsity` share of each linear layer's smallest weights at zero (arXiv:1506.02626)."""
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


def load_pruned(folder, config):
    """Return the model that `save_pruned` wrote, its weights the very same; torch raises where they do not fit."""
    tensors, _ = load_file(os.path.join(folder, "pruned.safetensors")), empty_network(folder, config, 8)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    for name, module in linear_layers(model).items():
        mask, kept = tensors.pop(f"{name}.mask").numpy(), tensors.pop(f"{name}.kept")
        weights = torch.zeros(module.weight.shape)
        places = torch.from_numpy(np.unpackbits(mask, count=weights.numel()).astype(bool)).view_as(weights)
        weights[places] = kept
        tensors[f"{name}.weight"] = weights
    model.load_state_dict(tensors, strict=True)
    return read_first_token(model).to(PartialState().device).eval()


def save_quantized(model, variant, folder):
    """Quantise a float32 model, and write it to `folder`."""
    with tempfile.TemporaryDirectory() as dense:
        model.save_pretrained(dense)
        load_quantized(dense, model.config, variant, saved=False).save_pretrained(folder)


def load_quantized(view, config, variant, saved=True):
    """Return the quantised model of a folder, the rest in bfloat16; saved: its weights are quantised, else float32."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of every cast
    recipe = quantization_recipe(empty_network(view, config, 2), variant)
    config = copy.deepcopy(config)
    if saved:
        config.quantization_config = recipe.to_dict()  # the script's own; what a folder says is not asked
    model, _ = load_network(view, config, quantization_config=None if saved else recipe, dtype=torch.bfloat16,
                            whole=saved, use_safetensors=True, device_map={"": PartialState().device})
    if saved:
        check_quantized(model)
    for module in linear_layers(model).values():
        module.support_avx512bf16_for_cpu = False  # it rounds the scales, and fails where a row is not whole blocks
    return model.eval()


def quantization_recipe(model, variant):
    """Return the BitsAndBytesConfig of nf4 (QLoRA, arXiv:2305.14314), or of int8 (arXiv:2208.07339) without its search
    for outliers over a batch, by which a text's label would depend on its neighbours; the head is left alone."""
    head = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if variant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=head)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=head)


def check_quantized(model):
    """Raise ValueError unless each weight of a quantised model is of the size it computes with."""
    for name, module in linear_layers(model).items():
        weights, shape = module.weight, (module.out_features, module.in_features)
        if hasattr(weights, "quant_state"):  # NF4: two weights a byte; a scale a block, itself quantised in blocks
            state, size = weights.quant_state, module.in_features * module.out_features
            blocks = -(-size // state.blocksize)
            parts = weights, state.code, state.absmax, state.state2.code, state.state2.absmax
            sizes = [-(-size // 2), 16, blocks, 256, -(-blocks // state.state2.blocksize)]
            whole = tuple(state.shape) == shape and [part.numel() for part in parts] == sizes
        else:
            whole = weights.shape == shape and (weights.is_floating_point() or len(weights.SCB) == shape[0])
        if not whole:
            raise ValueError(f"the weights of {name} are of the wrong size")
