"""A model once more in a form that other programs load."""
import lzma
import os
import pathlib

import numpy as np

from ..cards import model_card
from ..files import check_writable
from ..folders import folder_bytes, whole_folder
from ..loading import load_checkpoint, weights_folder
from ..prediction import predict_logits
from ..saving import model_name, save_manifest
from ..settings import InputError, one_line
from ..strangers import ONNX_FILES
from ..tokenizers import save_tokenizer
from .graphs import export_onnx

EXPORTS = {"pruned": "original", "small": "onnx_int8", "tiny": "onnx_int8", "original": "onnx"}
SAMPLE = ["i feel so lucky to have you", "what a sad day"]  # on which a model and its export are compared


def export(settings, options):
    """Write a model once more in a form that others load: pruned as plain safetensors, small and tiny as plain ONNX.

    The original becomes ONNX in float32. What was written is loaded again and gives the same logits, or is refused.
    """
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
        pathlib.Path(folder, "README.md").write_text(model_card({**manifest, "variant": variant}), encoding="utf-8")
        before, after = (predict_logits(*loaded[:2], SAMPLE, manifest)
                         for loaded in ((model, tokenizer), load_checkpoint(settings, folder)))
        if not np.allclose(before, after, atol=1e-3):
            raise InputError(f"the export of {source} gives other logits; it is not kept")
    print(f"written: {target} ({folder_bytes(target):,} bytes), from {source}")


def write_weights(model, source, variant, folder):
    """Write what a variant computes with to `folder`; source: the folder that the model was loaded from."""
    if variant == "original":
        model.save_pretrained(folder)
        return
    path = pathlib.Path(folder, ONNX_FILES[variant])
    path.parent.mkdir()
    if variant == "onnx_int8":
        path.write_bytes(lzma.decompress(pathlib.Path(source, "model.onnx.xz").read_bytes()))
        return
    try:
        export_onnx(model, str(path))
    except OSError:
        raise
    except Exception as error:  # a package that is missing, an operator that cannot be exported
        raise InputError(f"{source} cannot be written as ONNX: {one_line(error)}") from error
