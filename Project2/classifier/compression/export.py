"""A model once more in a form that other programs load."""
import lzma
import os
import shutil

import numpy as np

from ..cards import variant_card
from .onnx_graph import export_onnx
from ..files import check_writable
from ..folders import folder_bytes, whole_folder
from ..loading import load_checkpoint, weights_folder
from ..saving import SAME_ROWS, check_in_fresh_process, save_manifest
from ..settings import InputError, one_line
from ..strangers import ONNX_FILES
from ..tokenizers import save_tokenizer


def export(settings, options):
    """Write a model once more in a form that others load: pruned as plain safetensors, small and tiny as plain ONNX.

    The original becomes ONNX in float32. What was written gives the same labels in a process of its own, or is refused.
    """
    settings = settings.model_copy(update={"PRECISION": "float32"})  # of both processes: what is compared are the weights
    check_writable(settings.OUTPUT_DIR)
    source = weights_folder(settings, options)
    model, tokenizer, manifest = load_checkpoint(settings, source)
    variant = {"pruned": "original", "small": "onnx_int8", "tiny": "onnx_int8", "original": "onnx"}.get(manifest["variant"])
    if variant is None:
        client = "transformers' pipeline" if manifest["variant"] in ("int8", "nf4", "pruned_nf4") else "its own library"
        raise InputError(f"{source} ({manifest['variant']}) is in the form that {client} loads already; nothing to export")
    target = os.path.join(settings.OUTPUT_DIR, f"{os.path.basename(os.path.abspath(source)).removesuffix('.pt')}_export")
    with whole_folder(target) as folder:
        model.config.save_pretrained(folder)
        if variant == "original":
            model.save_pretrained(folder)
        else:
            path = os.path.join(folder, ONNX_FILES[variant])
            os.makedirs(os.path.dirname(path))
        if variant == "onnx":
            try:
                export_onnx(model, path)
            except OSError:
                raise
            except Exception as error:  # a package that is missing, an operator that cannot be exported
                raise InputError(f"{source} cannot be written as ONNX: {one_line(error)}") from error
        elif variant == "onnx_int8":
            with lzma.open(os.path.join(source, "model.onnx.xz")) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file)
        save_tokenizer(tokenizer, folder)
        kept = {key: value for key, value in manifest.items() if key != "metrics"}  # they are the source's
        save_manifest(folder, {**kept, "variant": variant})
        with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
            file.write(variant_card(settings, {**manifest, "variant": variant}))
        check_in_fresh_process(settings, folder, model, tokenizer, manifest, sample_texts(tokenizer))
    print(f"written: {target} ({folder_bytes(target):,} bytes), from {source}")


def sample_texts(tokenizer):
    """Return SAME_ROWS texts of twelve random pieces of a vocabulary each: they need no data."""
    pieces = np.random.default_rng(0).choice(sorted(tokenizer.get_vocab().values()), (SAME_ROWS, 12))
    texts = (tokenizer.decode(row, skip_special_tokens=True) for row in pieces.tolist())
    return [" ".join("".join(sign if sign.isprintable() else " " for sign in text).split()) or "text" for text in texts]
