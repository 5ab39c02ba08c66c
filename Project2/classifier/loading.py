"""A saved model or variant from its folder, ready to predict."""
import json
import os
import pathlib
from typing import Annotated, Literal

import torch
from accelerate import PartialState
from annotated_types import Predicate
from pydantic import BaseModel, Field

from .compression.graphs import load_onnx, load_openvino, read_packed
from .compression.weights import load_pruned, load_quantized
from .data import EMOTIONS
from .encoder import empty_network, load_base, load_network, precision_of
from .hub import MODELS, locate_model
from .prediction import probe
from .settings import InputError, one_line, shown
from .strangers import ONNX_FILES, open_model_folder, read_json
from .text import load_tokenizer


Printable = Annotated[str, Predicate(str.isprintable)]
Name = Annotated[Printable, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(min_length=2), Predicate(lambda names: len(set(names)) == len(names))]


class Manifest(BaseModel, extra="allow", strict=True, title="emotion_classifier.json"):
    """What emotion_classifier.json says of a saved model: how it is fed, what its classes are in files, their names."""

    model: Printable
    model_id: Printable
    family: str
    variant: Literal["original", "pruned", "int8", "nf4", "pruned_nf4", "onnx", "onnx_int8", "small", "tiny",
                     "openvino_int8", "openvino_int4"]
    normalisation: Literal["bertweet", "user_http", "no_links", "none"]
    max_length: Annotated[int, Field(ge=4, le=10**5)]
    labels: Names
    names: Names
    temperature: Annotated[float, Field(ge=0.01, le=100)]
    biases: list[Annotated[float, Field(ge=-1000, le=1000)]]
    dataset: Printable = ""


def weights_folder(settings, options):
    """Return the folder or file that --weights names, or the best model of the last training into OUTPUT_DIR."""
    if options.weights:
        return options.weights.rstrip("/") or "/"
    path = os.path.join(settings.OUTPUT_DIR, "report.json")
    if not os.path.isfile(path):
        raise InputError(f"there is no model in {settings.OUTPUT_DIR} yet; train one (python3 emotion_classifier.py "
                         "--model MiniLM), or give --weights a folder that training wrote")
    return json.loads(pathlib.Path(path).read_bytes())["weights"]


def load_to_serve(settings, folder, model_id=None):
    """Return what `load_checkpoint` does, the original in the arithmetic of PRECISION, its head in float32."""
    model, tokenizer, manifest = load_checkpoint(settings, folder, model_id)
    if manifest["variant"] == "original":
        model.to(precision_of(settings, model.device, manifest["family"]))
        for name, part in model.named_children():
            if name != model.base_model_prefix:
                part.float().register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
    return model, tokenizer, manifest


def load_checkpoint(settings, folder, model_id=None):
    """Return (model, tokenizer, manifest) of a folder, or an older .pt file of model_id, in float32; nothing runs."""
    if os.path.isfile(folder):
        return load_older(settings, folder, model_id)
    if not os.path.isfile(os.path.join(folder, "emotion_classifier.json")):
        raise InputError(f"{folder} is no folder that training or compress wrote; it has no emotion_classifier.json")
    with open_model_folder(folder, "get it anew from where it came") as (view, config):
        manifest = check_manifest(folder, read_json(folder, "emotion_classifier.json"), config)
        tokenizer = load_tokenizer(view, config)
        model = load_variant(view, config, manifest["variant"])
        probe(model, tokenizer, manifest)
    return model, tokenizer, manifest


def check_manifest(folder, manifest, config):
    """Return a model folder's manifest, a dict. Older folders have no labels in it: files have the classes' numbers."""
    names = [config.id2label[number] for number in range(config.num_labels)]
    older = {"labels": [str(number) for number in range(len(names))], "names": names, "temperature": 1.0,
             "model_id": manifest.get("model"), "biases": [0.0] * len(names)}
    found = Manifest.model_validate(older | manifest).model_dump(exclude_unset=True)
    if found["names"] != names or not len(names) == len(found["labels"]) == len(found["biases"]):
        raise InputError(f"{folder} has the labels {shown(names)} in config.json and {shown(found['names'])} in "
                         "emotion_classifier.json, or not as many biases")
    positions = getattr(config, "max_position_embeddings", -1)
    if 0 < positions < found["max_length"]:
        raise InputError(f"its max_length {found['max_length']} is more than the {positions} positions of config.json")
    return found


def load_variant(view, config, variant):
    """Return the model in a view of a folder that training or compress wrote, ready to predict."""
    if variant == "original":
        empty_network(view, config, 0.6)
        return load_network(view, config, use_safetensors=True)[0].to(PartialState().device)
    if variant in ONNX_FILES:
        return load_onnx(os.path.join(view, ONNX_FILES[variant]), config)
    if variant in ("small", "tiny"):
        return load_onnx(read_packed(view), config)
    if variant in ("openvino_int8", "openvino_int4"):
        return load_openvino(view, config)
    return load_pruned(view, config) if variant == "pruned" else load_quantized(view, config, variant)


def load_older(settings, path, model_id):
    """Return (model, tokenizer, manifest) of an older .pt file: weights of one of MODELS, or of the user's model_id."""
    if path.endswith(".safetensors"):
        raise InputError(f"{path} is a part of a model; give --weights its folder, {os.path.dirname(path) or '.'}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, base = content["model_state_dict"], model_id or content["model_id"]
        longest = min(settings.MAX_LENGTH, max(4, int(content["config"].get("max_length", settings.MAX_LENGTH))))
        heads = "classifier.bias", "classifier.out_proj.bias", "logits_proj.bias"
        classes = next(len(weights[name]) for name in heads if name in weights)
    except Exception as error:  # no zip, a pickle that would run something, other keys
        raise InputError(f"{path} is no checkpoint, or not safe to load; it must be a dict with model_state_dict, "
                         "model_id and config, of tensors and plain values alone") from error
    if not model_id and base not in MODELS.values():
        raise InputError(f"{path} is of {shown(base)}, none of {', '.join(MODELS)}; set --model_id to that encoder")
    labels = [str(number) for number in range(classes)]
    names = dict(zip(labels, EMOTIONS if classes == len(EMOTIONS) else labels))
    settings = settings.model_copy(update={"MAX_LENGTH": longest})
    name = next((name for name in MODELS if MODELS[name] == base), base)
    model, tokenizer, manifest = load_base(settings, name, base, locate_model(settings, base), names)
    try:
        model.load_state_dict({name: value for name, value in weights.items() if not name.endswith("position_ids")})
        probe(model, tokenizer, manifest)
    except Exception as error:  # of the wrong names or sizes, or no tensors
        raise InputError(f"{path} does not fit {base} ({one_line(error)})") from error
    return model.to(PartialState().device).eval(), tokenizer, {**manifest, "names": [*names.values()],
                                                               "biases": [0.0] * classes}
