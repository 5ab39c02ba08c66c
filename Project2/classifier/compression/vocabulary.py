"""A tokenizer and its embeddings, cut to the pieces that some texts have."""
import itertools
import json
import pathlib
import re
import tempfile

import torch

from ..strangers import read_json
from ..text import encode, load_tokenizer, save_tokenizer


def cut_vocabulary(student, tokenizer, texts, manifest, least):
    """Cut a student's embeddings to the pieces that `texts` have, the first others up to `least` (tokenizers number
    pieces by how common they are), and single characters; return their tokenizer."""
    encoded = encode(tokenizer, texts, manifest)
    used = set(itertools.chain.from_iterable(encoded))
    others = (number for piece, number in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
              if number not in used and not piece.startswith("[unused"))
    used |= {*itertools.islice(others, max(0, least - len(used)))}
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, folder)
        kept = cut_tokenizer(tokenizer, pathlib.Path(folder), used)
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
    return cut_one


def cut_tokenizer(tokenizer, folder, used):
    """Cut a tokenizer's files to the numbers `used`, special tokens, single characters, and what merges need; return
    the numbers that are kept, sorted: their places are the new."""
    content = read_json(folder, "tokenizer.json")
    symbols, merges, begin, end = spelling(tokenizer, content.get("model"))
    single = {number for number, symbol in symbols.items() if re.fullmatch("<0x..>", symbol)
              or len(symbol.removeprefix(begin).removesuffix(end).lstrip("▁")) < 2}
    needed = {symbols[number] for number in used | single}
    for first, second in reversed(merges):  # a piece needs those that it is merged from, and these theirs
        if first + second in needed:
            needed |= {first, second}
    merges = [pair for pair in merges if "".join(pair) in needed]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    kept = sorted(used | single | special | {number for number, symbol in symbols.items() if symbol in needed})
    if content:
        cut_tokenizer_json(content, {old: new for new, old in enumerate(kept)}, merges)
        (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return kept
    pieces = (piece for piece in tokenizer.convert_ids_to_tokens(kept) if piece not in tokenizer.all_special_tokens)
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    (folder / "bpe.codes").write_text("".join(f"{' '.join(pair)} 0\n" for pair in merges), encoding="utf-8")
    (folder / "added_tokens.json").unlink(missing_ok=True)  # <mask> comes last, as it did
    config = read_json(folder, "tokenizer_config.json")
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": {}}), encoding="utf-8")
    return kept


def spelling(tokenizer, model):
    """Return (symbols, merges, begin, end) of a tokenizer: {token number: what merges call it}, pairs of symbols.
    begin, end: what a symbol has about it within a word, or at its end; model: of tokenizer.json; BERTweet has none."""
    pieces = tokenizer.get_vocab()
    if model and model["type"] in ("WordPiece", "BPE", "Unigram"):
        return ({number: piece for piece, number in pieces.items()}, [tuple(pair) for pair in model.get("merges", ())],
                model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "")
    if model or not hasattr(tokenizer, "bpe_ranks"):
        raise LookupError(f"the vocabulary of {type(tokenizer).__name__} is of a kind that cannot be cut")
    symbols = {number: piece.removesuffix("@@") if piece.endswith("@@") else f"{piece}</w>"
               for piece, number in pieces.items()}
    return symbols, list(tokenizer.bpe_ranks), "", "</w>"


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

    def renumber(part):  # {"ids": [numbers]} in a template; {"cls": [token, number], "sep": ...} of BERT and RoBERTa
        if "ids" in part:
            part["ids"] = [numbers[old] for old in part["ids"]]
        for key in {"cls", "sep"} & part.keys():
            part[key] = [part[key][0], numbers[part[key][1]]]
        return part

    content["post_processor"] = json.loads(json.dumps(content["post_processor"]), object_hook=renumber)
