"""Model folders that a stranger may have made: nothing in them is run, and nothing outside of them is reached."""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PretrainedConfig

from .settings import InputError, one_line, shown

ONNX_FILES = {"onnx": "onnx/model.onnx", "onnx_int8": "onnx/model_quantized.onnx"}  # as the hub has it
# Encoders of text whose code in transformers asks no hub and runs nothing that a configuration names
FAMILIES = """
albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie eurobert flaubert fnet
funnel gte ibert jina_embeddings_v3 longformer megatron-bert mobilebert modernbert mpnet nomic_bert nystromformer
rembert roberta roberta-prelayernorm roformer squeezebert xlm xlm-roberta xlm-roberta-xl xlnet xmod
""".split()
# What these read from a configuration without declaring it: DeBERTa's, and older names of rotary positions
UNDECLARED_KEYS = set("""
share_att_key position_buckets norm_rel_ebd conv_kernel_size conv_act conv_groups attention_head_size cls_dropout
talking_head pooler_hidden_size embedding_size head_dim global_attn_every_n_layers global_rope_theta local_rope_theta
rope_theta rope_scaling summary_first_dropout summary_proj_to_labels
""".split())
# What some declare, and makes a decoder of an encoder or changes how it runs
DROPPED_KEYS = {"is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings", "deterministic_flash_attn"}
TOKENIZERS = re.compile("(Albert|Bert|Bertweet|BigBird|Camembert|Deberta|DebertaV2|DistilBert|Electra|Flaubert|FNet|"
                        "Funnel|GPT2|MobileBert|MPNet|Phobert|RemBert|Roberta|RoFormer|SqueezeBert|XLM|XLMRoberta|"
                        "XLNet|PreTrained)Tokenizer(Fast)?|TokenizersBackend")  # classes that only read the files below
SPECIAL_TOKENS = set("""
bos_token eos_token unk_token sep_token pad_token cls_token mask_token additional_special_tokens extra_special_tokens
""".split())
# Of tokenizer_config.json; the others can name files, templates and code
TOKENIZER_KEYS = SPECIAL_TOKENS | set("""
added_tokens_decoder model_max_length model_input_names clean_up_tokenization_spaces do_lower_case do_basic_tokenize
strip_accents tokenize_chinese_chars never_split add_prefix_space trim_offsets keep_accents remove_space split_by_punct
vocab_type unk_id normalization do_lowercase_and_remove_accent
""".split())
VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "spm.model",
                "sentencepiece.bpe.model"}
PLAIN_FILES = re.compile(r"model\.safetensors|pytorch_model\.bin|merges\.txt|bpe\.codes|"
                         r"pruned\.safetensors|model\.onnx\.xz|onnx/model(_quantized)?\.onnx|"
                         r"openvino_model\.(xml|bin)|" + "|".join(map(re.escape, VOCABULARIES)))  # no others are read


def harmless_config(content):
    """Return a transformers configuration of a classifier from the content of a stranger's config.json: its sizes and
    kinds of layers, special tokens and labels; no attention kernels, auto_map, quantisation, return_dict and more."""
    family = content.get("model_type")
    if family not in FAMILIES:
        raise InputError(f"its config.json has the model_type {shown(family)}; known are encoders of text such as "
                         "bert, roberta, distilbert, deberta-v2, modernbert")
    kind = CONFIG_MAPPING[family]
    shared, declared = ({field.name for field in dataclasses.fields(each)} for each in (PretrainedConfig, kind))
    known = (declared - shared | set(kind.attribute_map) | UNDECLARED_KEYS) - DROPPED_KEYS
    kept = {key: value for key, value in content.items() if key in known}
    for key, value in kept.items():
        if isinstance(value, int) and value > (200 if key.endswith(("layer", "layers")) else 10**6):
            raise InputError(f"its config.json has {key} {shown(value)}; no encoder has as many")
    if content.get("id2label"):
        names = [str(name) for _, name in sorted((int(key), name) for key, name in content["id2label"].items())]
        kept |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    config = kind(**kept)
    network = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[kind]
    config._attn_implementation = "sdpa" if network._supports_sdpa else "eager"  # else what is installed would decide
    return config


def real_file(folder, name):
    """Return the path of a file of a model folder, links followed; raise InputError where it is elsewhere, or none."""
    folder = os.path.realpath(folder)
    path, above = os.path.realpath(os.path.join(folder, name)), os.path.dirname(folder)
    homes = [os.path.join(folder, os.path.dirname(name)).rstrip(os.sep)]
    if os.path.basename(above) == "snapshots":  # of a hub's cache: links to files in blobs, two levels above
        homes.append(os.path.join(os.path.dirname(above), "blobs"))
    if os.path.dirname(path) not in homes or not os.path.isfile(path):
        raise InputError(f"{os.path.join(folder, name)} is no file of this folder; put the file there, no link")
    return path


def read_json(folder, name):
    """Return the object in a JSON file of a model folder, {} where there is no such file."""
    if not os.path.lexists(os.path.join(folder, name)):
        return {}
    path, most = real_file(folder, name), 64 if name == "tokenizer.json" else 4
    if os.path.getsize(path) > most << 20:
        raise InputError(f"its {name} is larger than {most} MB, which no model needs")
    return dict(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))


def harmless_files(folder):
    """Return {name: content} of other JSON files, cut to what is harmless; raise InputError where they name a file."""
    files = {"added_tokens.json": {key: int(number) for key, number in read_json(folder, "added_tokens.json").items()}}
    for name, keys in (("tokenizer_config.json", TOKENIZER_KEYS), ("special_tokens_map.json", SPECIAL_TOKENS)):
        files[name] = {key: value for key, value in read_json(folder, name).items() if key in keys}
    classes = (read_json(folder, name).get("tokenizer_class") for name in ("tokenizer_config.json", "config.json"))
    chosen = next(filter(None, classes), None)
    if TOKENIZERS.fullmatch(str(chosen)):
        files["tokenizer_config.json"]["tokenizer_class"] = chosen
    content, parts = read_json(folder, "tokenizer.json"), []
    json.loads(json.dumps(content.get("normalizer")), object_hook=lambda part: parts.append(part) or part)
    for part in parts:
        pattern, made = part.get("pattern", {}), part.get("content", part.get("prepend", ""))
        if len(parts) > 99 or len(made) > len(pattern.get("String", " ")):
            raise InputError(f"its tokenizer.json puts {shown(made)} for {shown(pattern)}; texts may not grow by it")
    model = content.get("model", {})
    if any(isinstance(model.get(part), str) for part in ("vocab", "merges")):  # transformers would open that path
        raise InputError(f"{folder}/tokenizer.json has the name of a file where its vocabulary should be")
    return {name: content for name, content in files.items() if content}


@contextlib.contextmanager
def open_model_folder(folder, fix):
    """Yield (view, config) of a model folder that a stranger may have made; what fails is an InputError with the fix.
    view: links to its vocabularies and weights, JSON files cut to what is harmless; only this is given to a library."""
    with tempfile.TemporaryDirectory() as view, open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)  # Rust and C++ write there themselves, besides what they raise
            os.mkdir(os.path.join(view, "onnx"))
            for name in (*os.listdir(folder), *ONNX_FILES.values()):
                if PLAIN_FILES.fullmatch(name) and os.path.lexists(os.path.join(folder, name)):
                    link_or_copy(real_file(folder, name), os.path.join(view, name))
            for name, content in harmless_files(folder).items():
                pathlib.Path(view, name).write_text(json.dumps(content), encoding="utf-8")
            config = harmless_config(read_json(folder, "config.json"))
            config.save_pretrained(view)
            yield view, config
        except BaseException as error:  # JSON, safetensors, graphs and each architecture raise their own
            kind, text = type(error).__name__, str(error).replace(view, folder)
            known = isinstance(error, Exception) or kind == "PanicException"  # of tokenizers' Rust
            if not known or isinstance(error, (MemoryError, torch.OutOfMemoryError)):
                raise
            if not isinstance(error, InputError):
                text = f"{folder} cannot be read as a model ({kind}: {one_line(text or error)}); {fix}"
            raise InputError(text if folder in text else f"{folder}: {text}; {fix}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def link_or_copy(source, target):
    """Make `target` a link to `source`, or a copy where links are not to be had, as for most people on Windows."""
    try:
        os.symlink(source, target)
    except OSError:
        shutil.copyfile(source, target)
