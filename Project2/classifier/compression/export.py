"""A model once more in a form that other programs load."""
import lzma
import os
import shutil

import numpy as np

from ..cards import variant_card
from ..files import check_writable
from ..folders import folder_bytes, whole_folder
from ..loading import load_checkpoint, weights_folder
from ..saving import SAME_ROWS, check_in_fresh_process, model_name, save_manifest
from ..settings import InputError, one_line
from ..strangers import ONNX_FILES
from ..text import save_tokenizer
from .onnx_graph import export_onnx

EXPORTS = {"pruned": "original", "small": "onnx_int8", "tiny": "onnx_int8", "original": "onnx"}


def export(settings, options):
    """Write a model once more in a form that others load: pruned as plain safetensors, small and tiny as plain ONNX.

    The original becomes ONNX in float32. What was written gives the same labels in a process of its own, or is refused.
    """
    settings = settings.model_copy(update={"PRECISION": "float32"})  # of both processes: what is compared are weights
    check_writable(settings.OUTPUT_DIR)
    source = weights_folder(settings, options)
    model, tokenizer, manifest = load_checkpoint(settings, source)
    variant = EXPORTS.get(manifest["variant"])
    if variant is None:
        raise InputError(f"{source} ({manifest['variant']}) is in a form that other programs load already; nothing to "
                         "export")
    target = os.path.join(settings.OUTPUT_DIR, f"{model_name(source)}_export")
    with whole_folder(target) as folder:
        model.config.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        write_weights(model, source, variant, folder)
        save_manifest(folder, manifest, variant)
        with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
            file.write(variant_card(settings, {**manifest, "variant": variant}))
        check_in_fresh_process(settings, folder, model, tokenizer, manifest, sample_texts(tokenizer))
    print(f"written: {target} ({folder_bytes(target):,} bytes), from {source}")


def write_weights(model, source, variant, folder):
    """Write what a variant computes with to `folder`; source: the folder that the model was loaded from."""
    if variant == "original":
        model.save_pretrained(folder)
        return
    path = os.path.join(folder, ONNX_FILES[variant])
    os.makedirs(os.path.dirname(path))
    if variant == "onnx_int8":
        with lzma.open(os.path.join(source, "model.onnx.xz")) as packed, open(path, "wb") as file:
            shutil.copyfileobj(packed, file)
        return
    try:
        export_onnx(model, path)
    except OSError:
        raise
    except Exception as error:  # a package that is missing, an operator that cannot be exported
        raise InputError(f"{source} cannot be written as ONNX: {one_line(error)}") from error


def sample_texts(tokenizer):
    """Return SAME_ROWS texts of twelve random pieces of a vocabulary each: they need no data."""
    pieces = np.random.default_rng(0).choice(sorted(tokenizer.get_vocab().values()), (SAME_ROWS, 12))
    texts = (tokenizer.decode(row, skip_special_tokens=True) for row in pieces.tolist())
    return [" ".join("".join(sign if sign.isprintable() else " " for sign in text).split()) or "text" for text in texts]
