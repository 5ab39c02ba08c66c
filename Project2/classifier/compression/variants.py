"""The variants that compress makes of a model, what they learn from, and what export makes of them."""
import functools
import json
import os
import pathlib

import numpy as np
import pooch
import torch

from ..cards import model_card
from ..data import acquire_labelled, read_for
from ..encoder import precision_of
from ..files import check_writable, has_hash, hash_of, save_all
from ..folders import files_in, folder_bytes, whole_folder
from ..labels import rows_to_keep
from ..libraries import versions
from ..loading import load_checkpoint, weights_folder
from ..prediction import predict_logits
from ..saving import check_in_fresh_process, model_name, save_manifest
from ..settings import InputError, one_line
from ..strangers import ONNX_FILES
from ..text import save_tokenizer
from ..training import training_settings
from .comparison import compare, measure_in_fresh_process
from .graphs import read_packed, write_onnx, write_openvino
from .students import distil, keep_layers
from .vocabulary import cut_vocabulary
from .weights import prune, save_pruned, save_quantized

VARIANTS = {  # what compress makes: its --technique
    "pruned": "prune", "int8": "quantize", "nf4": "quantize", "pruned_nf4": "combined", "onnx_int8": "onnx",
    "small": "small", "tiny": "tiny", "openvino_int8": "openvino", "openvino_int4": "openvino"}
EXPORTS = {"pruned": "original", "small": "onnx_int8", "tiny": "onnx_int8", "original": "onnx"}  # what export makes


class Original:
    """The model that is compressed, what its variants learn from, and what they are measured on."""

    def __init__(self, settings, folder, model_id):
        self.settings, self.folder = settings, folder
        self.work = os.path.join(settings.OUTPUT_DIR, "compression_checkpoint")  # what a killed run goes on from
        self.model, self.tokenizer, self.manifest = load_checkpoint(settings, folder, model_id)
        if (variant := self.manifest["variant"]) != "original":
            raise InputError(f"{folder} is compressed already ({variant}); set --weights to the original")
        self.texts, self.labels = read_for(settings, self.manifest, "VAL_PATH")
        self.test_texts, self.test_labels = read_for(settings, self.manifest, "TEST_PATH")

    @functools.cached_property
    def identity(self):
        """What the variants and their figures depend on, as a hash: model, rows, settings, libraries."""
        paths = [getattr(self.settings, name) for name in ("TRAIN_PATH", "VAL_PATH", "TEST_PATH")]
        read = sorted(files_in(self.folder)) + [path for path in paths if os.path.isfile(path)]
        constants = training_settings(self.settings) | self.settings.constants("Compression")
        hashes, threads = [(path, pooch.file_hash(path)) for path in read], torch.get_num_threads()
        return hash_of(hashes, paths, constants, versions(), threads)

    @functools.cached_property
    def transfer_set(self):
        """What students learn from: (texts, class numbers, logits of the model, float32 (texts, classes)).
        Of TRAIN_PATH without VAL_PATH and TEST_PATH; LookupError where its default is not the model's or absent."""
        path, known = self.settings.TRAIN_PATH, self.manifest.get("train_sha256")
        if path == self.settings.default("TRAIN_PATH"):
            try:
                found = known and (known == self.settings.TRAIN_HASH or os.path.exists(path))
                if not found or not has_hash(acquire_labelled(self.settings, "TRAIN_PATH").path, known):
                    raise LookupError("it learns from the rows that the model was trained on; set --train to them")
            except InputError as error:  # no network
                raise LookupError(one_line(error)) from error
        texts, labels = read_for(self.settings, self.manifest, "TRAIN_PATH")
        keep, _ = rows_to_keep(texts, labels, {*self.texts, *self.test_texts})
        if not len(keep):
            raise LookupError(f"{path} has no row that is not in {self.settings.VAL_PATH} too; set --train")
        texts, labels = [texts[row] for row in keep], labels[keep]
        print(f"learning from {len(texts):,} texts of {path}", flush=True)
        return texts, labels, self.say(texts)

    def say(self, texts):
        """Return the model's logits of texts, float32 (texts, classes), in the precision that is fastest here."""
        dtype = precision_of(self.settings, self.model.device, self.manifest["family"])
        with torch.autocast(self.model.device.type, dtype, enabled=dtype != torch.float32):
            return predict_logits(self.model, self.tokenizer, texts, self.manifest)

    @functools.cached_property
    def pruned(self):
        """The pruned model, trained on for an epoch where its training rows are to be had: (model, manifest)."""
        model = prune(self.model, self.settings.SPARSITY)
        try:
            self.transfer_set  # what it would learn from
        except LookupError as error:
            print(f"note: pruned without training afterwards: {one_line(error)}")
            return model, {**self.manifest, "trained_after_pruning": 0}
        model, manifest = distil(self.settings, self, model, self.tokenizer, "pruned", 1, 0.3)
        return model, {**manifest, "trained_after_pruning": 1}


def try_variant(settings, original, variant, first_row):
    """Return the row of a variant, made and measured now or by a killed run, or the reason why it did not run."""
    folder = os.path.join(settings.OUTPUT_DIR, f"{model_name(original.folder)}_{variant}")
    journal = os.path.join(original.work, f"{variant}.json")
    if os.path.isfile(journal) and os.path.isdir(folder) and settings.RESUME:
        row = json.loads(pathlib.Path(journal).read_bytes())
        if row.pop("identity") == original.identity:
            return row
    try:
        model, tokenizer, manifest = make_variant(settings, original, variant)
        with whole_folder(folder) as partial:
            write_weights(settings, model, variant, partial)
            save_tokenizer(tokenizer, partial)
            save_manifest(partial, manifest, variant)
        measured = measure_in_fresh_process(settings, folder)
    except InputError:
        raise
    except Exception as error:  # a package or a kernel that is missing, an operator that cannot be exported
        return {"variant": variant, "status": "not run", "reason": one_line(error)}
    row = {**compare(variant, measured, original, first_row), "folder": folder}
    card = model_card({**manifest, "variant": variant}, row)
    save_all({os.path.join(folder, "README.md"): card.encode()})
    row |= {"bytes": folder_bytes(folder), "bytes_share": folder_bytes(folder) / first_row["bytes"]}
    save_all({journal: json.dumps({**row, "identity": original.identity}).encode()})
    return row


def make_variant(settings, original, variant):
    """Return (float32 model, tokenizer, manifest) of which a variant is written."""
    if variant == "tiny":  # a student: some of the layers, the pieces that the texts have, distilled
        texts, _, _ = original.transfer_set
        student = keep_layers(original.model, settings.TINY_LAYERS)
        tokenizer = cut_vocabulary(student, original.tokenizer, texts, original.manifest, settings.TINY_PIECES)
        student, manifest = distil(settings, original, student, tokenizer, "tiny", settings.TINY_EPOCHS, 2.0, True)
        return student, tokenizer, manifest
    model, manifest = original.pruned if "pruned" in variant else (original.model, original.manifest)
    return model, original.tokenizer, manifest


def write_weights(settings, model, variant, folder):
    """Write the configuration of a float32 model, and what a variant of it computes with, to `folder`."""
    model.config.save_pretrained(folder)
    if variant == "original":
        model.save_pretrained(folder)
    elif variant == "pruned":
        save_pruned(model, folder)
    elif variant in ("int8", "nf4", "pruned_nf4"):
        save_quantized(model, variant, folder)
    elif variant in ("openvino_int8", "openvino_int4"):
        write_openvino(model, variant, folder)
    else:
        write_onnx(settings, model, variant, folder)


def export(settings, options):
    """Write a model as others load it: pruned as safetensors, small and tiny as plain ONNX, the original as ONNX."""
    settings = settings.model_copy(update={"PRECISION": "float32"})  # of both processes: weights are compared
    check_writable(settings.OUTPUT_DIR)
    source = weights_folder(settings, options)
    model, tokenizer, manifest = load_checkpoint(settings, source, options.model_id)
    if manifest["variant"] not in EXPORTS:
        raise InputError(f"{source} ({manifest['variant']}) is in a form that other programs load already; nothing to "
                         "export")
    variant, target = EXPORTS[manifest["variant"]], os.path.join(settings.OUTPUT_DIR, f"{model_name(source)}_export")
    try:
        with whole_folder(target) as folder:
            if variant == "onnx_int8":
                model.config.save_pretrained(folder)
                os.mkdir(os.path.join(folder, "onnx"))
                pathlib.Path(folder, ONNX_FILES[variant]).write_bytes(read_packed(source))
            else:
                write_weights(settings, model, variant, folder)
            save_tokenizer(tokenizer, folder)
            save_manifest(folder, manifest, variant)
            card = model_card({**manifest, "variant": variant})
            pathlib.Path(folder, "README.md").write_text(card, encoding="utf-8")
            pieces = np.random.default_rng(0).choice(sorted(tokenizer.get_vocab().values()), (64, 12)).tolist()
            texts = filter(str.isprintable, tokenizer.batch_decode(pieces, skip_special_tokens=True))
            check_in_fresh_process(settings, folder, model, tokenizer, manifest, [*filter(str.strip, texts)])
    except InputError:
        raise
    except Exception as error:  # a package that is missing, an operator that cannot be exported
        raise InputError(f"{source} cannot be exported: {one_line(error)}") from error
    print(f"written: {target} ({folder_bytes(target):,} bytes), from {source}")
