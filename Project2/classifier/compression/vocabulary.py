"""A tokenizer and its embeddings, cut to the pieces that some texts have."""
import itertools
import json
import os
import pathlib
import re
import tempfile

import numpy as np
import torch

from ..prediction import predict_logits
from ..strangers import VOCABULARIES, read_json
from ..text import encode, load_tokenizer, save_tokenizer


def cut_vocabulary(student, tokenizer, texts, manifest):
    """Leave a student the embeddings of the pieces that `texts` have, of single characters and of special tokens.

    Returns a tokenizer of these pieces, with which an unseen word falls into smaller ones. Raises ValueError where
    it splits `texts` in another way than `tokenizer`, or the student's logits of them change.
    """
    encoded, few = encode(tokenizer, texts, manifest), texts[:8]
    before = predict_logits(student, tokenizer, few, manifest)
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, folder)
        kept = cut_tokenizer(tokenizer, folder, set(itertools.chain.from_iterable(encoded)))
        numbers = {old: new for new, old in enumerate(kept)}
        student.config.vocab_size = len(kept)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
            if getattr(student.config, key, None) is not None:
                setattr(student.config, key, numbers.get(getattr(student.config, key)))
        cut_one = load_tokenizer(folder, student.config)
    cut_one.model_max_length = tokenizer.model_max_length
    old = student.get_input_embeddings()
    new = torch.nn.Embedding(len(kept), old.embedding_dim, numbers.get(old.padding_idx))
    new.weight.data = old.weight.data[torch.tensor(kept)]
    student.set_input_embeddings(new)
    if encode(cut_one, texts, manifest) != [[numbers[token] for token in tokens] for tokens in encoded]:
        raise ValueError(f"{type(tokenizer).__name__} splits texts in another way once its vocabulary is cut")
    if not np.allclose(predict_logits(student, cut_one, few, manifest), before, atol=1e-4):
        raise ValueError(f"{type(student).__name__} gives other logits once its vocabulary is cut")
    return cut_one


def cut_tokenizer(tokenizer, folder, used):
    """Cut the files of a tokenizer in `folder` to the token numbers `used`, special tokens and single characters.

    Merges stay where what they make is needed. Returns the numbers that are kept, sorted: their places are the new.
    Raises LookupError for kinds of tokenizers that it does not know.
    """
    files, content = set(os.listdir(folder)), read_json(folder, "tokenizer.json")
    merges, begin, end, symbol, name = spelling(tokenizer, content, files)
    names = tokenizer.get_vocab()
    pieces = {number: piece for piece, number in names.items()}
    single = {number for piece, number in names.items() if re.fullmatch("<0x..>", piece)
              or len(piece.removeprefix(begin).removesuffix(end).lstrip("▁")) < 2}
    needed = {symbol(pieces[number]) for number in used | single}
    for first, second in reversed(merges):  # a piece needs those that it is merged from, and these theirs
        if first + second in needed:
            needed |= {first, second}
    merges = [pair for pair in merges if "".join(pair) in needed]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    kept = sorted(used | single | special | {names[name(made)] for made in needed if name(made) in names})
    numbers = {old: new for new, old in enumerate(kept)}
    if content:
        cut_tokenizer_json(content, numbers, merges)
        written = {"tokenizer.json": json.dumps(content, ensure_ascii=False)}
        for other in {*VOCABULARIES, "merges.txt"} & files - {"tokenizer.json"}:
            os.unlink(os.path.join(folder, other))
    else:
        ordinary = (pieces[old] for old in kept if pieces[old] not in tokenizer.all_special_tokens)
        written = {"bpe.codes": "".join(f"{first} {second} 0\n" for first, second in merges),
                   "vocab.txt": "".join(f"{piece} 1\n" for piece in ordinary)}
    if "added_tokens.json" in files:
        added = read_json(folder, "added_tokens.json")
        written["added_tokens.json"] = json.dumps({token: numbers[old] for token, old in added.items()})
    config = read_json(folder, "tokenizer_config.json")
    if "added_tokens_decoder" in config:
        added = config["added_tokens_decoder"]
        config["added_tokens_decoder"] = {numbers[int(old)]: token for old, token in added.items()}
        written["tokenizer_config.json"] = json.dumps(config)
    for file, text in written.items():
        pathlib.Path(folder, file).write_text(text, encoding="utf-8")
    return kept


def spelling(tokenizer, content, files):
    """Return (merges, begin, end, symbol, name): how a tokenizer writes its pieces.

    merges: pairs of str; begin, end: what a piece within a word has about it; symbol(piece): what merges call it;
    name(symbol): the reverse. content: of its tokenizer.json, if it has one; files: the names of all of its files.
    """
    if content:
        model = content["model"]
        if model["type"] not in ("WordPiece", "BPE", "Unigram"):
            raise LookupError(f"vocabularies of the kind {model['type']} cannot be cut")
        merges = [tuple(merge if isinstance(merge, list) else merge.split(" ")) for merge in model.get("merges", ())]
        return merges, model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "", str, str
    if "bpe.codes" not in files:
        raise LookupError(f"the vocabulary of {type(tokenizer).__name__} cannot be cut")
    return (list(tokenizer.bpe_ranks), "", "@@",  # BERTweet: pieces within a word end with @@, merges at its end </w>
            lambda piece: piece.removesuffix("@@") if piece.endswith("@@") else f"{piece}</w>",
            lambda made: made.removesuffix("</w>") if made.endswith("</w>") else f"{made}@@")


def cut_tokenizer_json(content, numbers, merges):
    """Change the content of a tokenizer.json to the tokens of numbers, {old number: new one}, and to these merges."""
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: numbers[old] for piece, old in model["vocab"].items() if old in numbers}
    else:  # Unigram: a list of pieces and their log-probabilities
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in numbers]
        model["unk_id"] = numbers.get(model.get("unk_id"))
    if "merges" in model:
        model["merges"] = [list(pair) for pair in merges]
    content["added_tokens"] = [{**token, "id": numbers[token["id"]]} for token in content["added_tokens"]]
    content["post_processor"] = renumber(content["post_processor"], numbers)


def renumber(part, numbers):
    """Return a tokenizer's post-processor with other token numbers: {"ids": [..]} or [token, number]."""
    if isinstance(part, list) and len(part) == 2 and isinstance(part[0], str) and isinstance(part[1], int):
        return [part[0], numbers[part[1]]]
    if isinstance(part, list):
        return [renumber(each, numbers) for each in part]
    if isinstance(part, dict):
        return {key: [numbers[old] for old in value] if key == "ids" else renumber(value, numbers)
                for key, value in part.items()}
    return part
