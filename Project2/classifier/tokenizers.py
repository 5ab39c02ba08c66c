"""Tokenizers from and to a model folder; BERTweet's with the names that emoji had in its pretraining."""
import functools
import importlib.util
import os
import pathlib
import unicodedata

import transformers
from transformers import AutoTokenizer

from .settings import InputError
from .strangers import VOCABULARIES, read_json


def save_tokenizer(tokenizer, folder):
    """Write a tokenizer to a model folder, BERTweet's merges with the counts that transformers expects."""
    tokenizer.save_pretrained(folder)
    if "Bertweet" in type(tokenizer).__name__:
        merges = "".join(f"{' '.join(pair)} 0\n" for pair in tokenizer.bpe_ranks)
        pathlib.Path(folder, "bpe.codes").write_text(merges, encoding="utf-8")


def load_tokenizer(view, config):
    """Return the tokenizer of a view; BERTweet's with its own tweet normalisation switched on.

    Raises InputError where there is no vocabulary, or one of more tokens than the model has embeddings.
    """
    if not VOCABULARIES & set(os.listdir(view)):
        raise InputError(f"it has no tokenizer; one of {', '.join(sorted(VOCABULARIES))} is needed")
    name = read_json(view, "tokenizer_config.json").get("tokenizer_class", "")
    options = {"local_files_only": True, "trust_remote_code": False}
    if "Bertweet" in name:
        if importlib.util.find_spec("emoji") is None:
            raise InputError("BERTweet's normalisation needs the package emoji; run python3 -m pip install emoji")
        tokenizer = transformers.BertweetTokenizer.from_pretrained(view, normalization=True, **options)
        with open(os.path.join(view, "bpe.codes"), encoding="utf-8") as file:
            merges = [tuple(line.split()[:2]) for line in file]  # transformers 5.24 would lose the second halves
        tokenizer.bpe_ranks = {pair: rank for rank, pair in enumerate(merges)}
        tokenizer.demojizer = pretrained_emoji_names(tokenizer.get_vocab())
    else:
        tokenizer = AutoTokenizer.from_pretrained(view, config=config, **options)
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise InputError(f"its tokenizer gives token numbers up to {largest}, its model has embeddings for "
                         f"{config.vocab_size}; they are not of one model")
    return tokenizer


# What BERTweet's pretraining called these emoji (emoji 0.6.0 did) and emoji 2 calls otherwise. Its aliases will not do:
# 31 of these names are none, and 21 aliases were the name of another emoji.
EMOJI_06 = {sign: unicodedata.name(sign).lower().replace(" ", "_") for sign in (  # these names are Unicode's too
    *"☑✅✔✖➕➖➗⭐⭕🎯🐸🐹🐺🐻🐼👫👬👭👰🔫😡😵😸😹😼😾😿🙀🤖🤗🤵🦁🦄🦊🦯🧑🧓🧔", *map(chr, range(0x1F1E6, 0x1F200)))}
EMOJI_06 |= {entry[0]: entry[1:] for entry in """
❓question_mark ❗exclamation_mark ❣heavy_heart_exclamation 🎒school_backpack 🏼medium_light_skin_tone
🏾medium_dark_skin_tone 👱blond-haired_person 👲man_with_Chinese_cap 💤zzz 💻laptop_computer 🕴man_in_suit_levitating
😺grinning_cat_face 😻smiling_cat_face_with_heart-eyes 😽kissing_cat_face 🥰smiling_face_with_3_hearts 🧩jigsaw
""".split()}


def pretrained_emoji_names(vocabulary):
    """Return a function from a character to what BERTweet's pretraining put in its place: an emoji's :name:, or itself.

    vocabulary: the words of the tokenizer. Of the names that emoji 0.6 and the installed version give, and the
    character itself, the first that is a word is taken; where none is, emoji 0.6's, in pieces, or the new name of an
    emoji of after 2019. Flags are two letters, joined emoji their parts: the tokenizer asks for single characters.
    """
    import emoji  # needed for BERTweet alone

    @functools.cache
    def name(character):
        new = emoji.demojize(character)
        old = f":{EMOJI_06[character]}:" if character in EMOJI_06 else new
        candidates = old, new, character
        return next((candidate for candidate in candidates if candidate in vocabulary), candidates[0])

    return name
