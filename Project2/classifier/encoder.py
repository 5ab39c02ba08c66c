"""A pretrained encoder with a new head, the precision that it computes in, and its faster last layer."""
import functools
import os

import torch
from transformers import AutoModelForSequenceClassification

from .prediction import probe
from .settings import InputError, shown, some
from .strangers import open_model_folder
from .text import load_tokenizer

FIRST_TOKEN_FAMILIES = {"bert", "camembert", "electra", "ernie", "roberta", "xlm-roberta"}  # read the first token


def load_base(settings, name, model_id, folder, classes):
    """Return (model, tokenizer, manifest) of an encoder with a new head; classes: {what stands in files: its name}."""
    with open_model_folder(folder, "set --model_id to a pretrained encoder with its tokenizer") as (view, config):
        old = list(config.id2label.values())
        config.id2label = dict(enumerate(classes.values()))  # num_labels follows it
        config.label2id = {name: number for number, name in config.id2label.items()}
        tokenizer = load_tokenizer(view, config)
        empty_network(view, config, 0.6)
        model, found = load_network(view, config, whole=False)
        settle_head(model, found, old, folder)
        family = "bertweet" if "Bertweet" in type(tokenizer).__name__ else config.model_type
        normalisation = {"bertweet": "bertweet", "roberta": "user_http"}.get(family, "no_links")
        tokenizer.model_max_length = longest = most_tokens(model, settings.MAX_LENGTH)  # where truncation=True cuts
        if longest < settings.MAX_LENGTH:
            print(f"note: {name} has positions for {longest} tokens; MAX_LENGTH {settings.MAX_LENGTH} is cut to it")
        manifest = {"model": name, "model_id": model_id, "family": family, "normalisation": normalisation,
                    "max_length": longest, "labels": list(classes), "temperature": 1.0, "variant": "original"}
        probe(model, tokenizer, manifest)
    return model, tokenizer, manifest


def settle_head(model, report, old_labels, folder):
    """Put a new head where a folder brings one of other classes (old_labels); raise InputError for half an encoder."""
    encoder = f"{model.base_model_prefix}."
    fresh = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    if wrong := [key for key in fresh if key.startswith(encoder) and "pooler" not in key]:
        raise InputError(f"its encoder lacks weights, or has other sizes than its config.json: {some(wrong)}")
    brought = {key for key in model.state_dict() if not key.startswith(encoder)} - report["missing_keys"]
    if brought and old_labels != list(model.config.id2label.values()):
        print(f"note: {folder} is a classifier of other classes ({shown(', '.join(old_labels))}); its head is not kept")
        for name, part in AutoModelForSequenceClassification.from_config(model.config).named_children():
            if name != model.base_model_prefix:
                setattr(model, name, part)


def most_tokens(model, limit):
    """Return how many tokens of a text a model is given: `limit`, or what it has positions for."""
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    if not tables or not hasattr(tables[0], "num_embeddings"):
        positions = getattr(model.config, "max_position_embeddings", -1)
        return min(limit, positions) if positions > 0 else limit  # XLNet has -1: its positions are relative
    padding = tables[0].padding_idx  # RoBERTa's positions begin after that of padding
    return min(limit, tables[0].num_embeddings - (0 if padding is None else padding + 1))


def read_first_token(model):
    """Let the last layer of BERT's kin compute the first token alone: the head reads no other; returns the model."""
    if model.config.model_type in FIRST_TOKEN_FAMILIES:
        layer = model.base_model.encoder.layer[-1]
        layer.forward = functools.partial(first_token, layer)
    return model


def first_token(layer, hidden_states, attention_mask=None, *_, **__):
    """Return what a BERT layer makes of its first token: (texts, 1, width) of hidden_states (texts, tokens, width);
    attention_mask: (texts, 1, 1 or tokens, tokens), bool or added to the scores, or None."""
    attention, first = layer.attention.self, hidden_states[:, :1]
    given = ((attention.query, first), (attention.key, hidden_states), (attention.value, hidden_states))
    query, key, value = (linear(states).unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2)
                         for linear, states in given)  # each (texts, heads, tokens, width of a head)
    scores = query @ key.transpose(2, 3) * attention.scaling  # (texts, heads, 1, tokens)
    if attention_mask is not None:
        mask = attention_mask[:, :, :1]
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    context = attention.dropout(scores.softmax(3)).to(value.dtype) @ value
    return layer.feed_forward_chunk(layer.attention.output(context.transpose(1, 2).flatten(2), first))


def linear_layers(model):
    """Return {name: module} of a network's linear layers, quantised or not."""
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def precision_of(settings, device, family):
    """Return the torch dtype that PRECISION means on this device; auto is bfloat16 where that is fast in hardware."""
    has_float16 = device.type == "cuda" and family != "modernbert"  # which gives NaN in it
    if settings.PRECISION == "float16" and not has_float16:
        raise InputError("PRECISION float16 is for a GPU, and not for ModernBERT; take bfloat16 or float32")
    if settings.PRECISION != "auto":
        return getattr(torch, settings.PRECISION)
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        has_bfloat16 = abilities.get("amx_bf16") or abilities.get("avx512_bf16")
    return torch.bfloat16 if has_bfloat16 else torch.float16 if has_float16 else torch.float32


def empty_network(view, config, most):
    """Return a classifier without weights; raise InputError where it takes over `most` for a byte of the view's files,
    before any are made: a number in config.json could ask for all memory."""
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config)
    weights, size = network.num_parameters(), sum(entry.stat().st_size for entry in os.scandir(view))
    if weights > most * size:
        raise InputError(f"its config.json is of {weights:,} weights; its files have {size:,} bytes in all")
    return network


def load_network(view, config, dtype=torch.float32, whole=True, **options):
    """Return (model, report) of a classifier; raise InputError for missing, unexpected, mismatched weights if whole."""
    model, report = AutoModelForSequenceClassification.from_pretrained(
        view, config=config, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True,
        ignore_mismatched_sizes=True, **options)
    for kind, names in report.items() if whole else ():
        if names:
            raise InputError(f"it has {kind.replace('_keys', ' weights')}: {some(names)}")
    return read_first_token(model), report
