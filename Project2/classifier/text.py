"""Texts to token numbers as their model was pretrained: tokenizers, normalisation, padded batches."""
import functools
import html
import os
import pathlib
import re
import unicodedata

import numpy as np
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from .settings import InputError
from .strangers import VOCABULARIES, read_json

PLAIN = str.maketrans("‘’‛“”„–—\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029", "'" * 3 + '"' * 3 + "--" + " " * 9)
EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff][\u200d\ufe0f\u2600-\u27bf\U0001f000-\U0001faff]*")
LINK = re.compile(r"(?<!\w)(?:(?:https?://|www\.)\S*|@\w+)\s*", re.IGNORECASE)  # or a name behind an @


def plain(text):
    """Return a text with HTML's escapes, quotation marks, blanks, full-width letters plain, and emoji set apart."""
    text = unicodedata.normalize("NFKC", html.unescape(html.unescape(text)))  # some are escaped twice
    return EMOJI.sub(r" \g<0> ", text.translate(PLAIN))


def normalise_users(text):
    """Put @user for each user name and http for each link, as in the tweets that CardiffRoBERTa was pretrained on."""
    words = ("@user" if word[:1] == "@" and len(word) > 1 else "http" if word.startswith("http") else word
             for word in text.split(" "))
    return " ".join(words)


def encode(tokenizer, texts, manifest):
    """Return the token numbers of each text, normalised as its model was pretrained: a list of lists of int."""
    if not texts:
        return []
    if manifest["family"] in ("bert", "distilbert", "electra", "mpnet"):  # WordPiece glues or loses other forms
        texts = [plain(text) for text in texts]
    if manifest["normalisation"] == "no_links":
        texts = [LINK.sub("", text).strip() for text in texts]
    if manifest["normalisation"] == "user_http":
        texts = [normalise_users(text) for text in texts]
    if manifest["normalisation"] == "bertweet":
        texts = [cut(text, manifest["max_length"]) for text in texts]  # its tokenizer itself normalises them
    if len(getattr(tokenizer, "cache", ())) > 10**5:
        tokenizer.cache.clear()  # BERTweet's keeps each word that it meets
    encoded = tokenizer(list(texts), truncation=True, max_length=manifest["max_length"], padding=False,
                        return_attention_mask=False, return_token_type_ids=False)
    return encoded["input_ids"]


def cut(text, max_length):
    """Return the text without what is too far back to be among BERTweet's first max_length tokens: its expressions take
    time by the square of a word's length. A word is held to 500 characters, ending in a letter or digit as links do,
    the text to 32 a token and 1,000 more; runs of one sign become three, as in the tokenizer itself."""
    if len(text) <= 500:
        return text
    text = re.sub(r"([^a-zA-Z0-9])\1{3,}", r"\1\1\1", text[:10**6])
    text = re.sub(r"(?<!\S)(\S{400,500}[a-zA-Z0-9]|\S{500})\S+", r"\1", text)
    return text[:1000 + 32 * max_length]


def pad(sequences, rows, tokenizer, device):
    """Return the model's inputs for these rows, padded to one length: int64 tensors (rows, length) by name.
    The tokenizer says with what, and on which side: XLNet and others that read the last token pad left."""
    rows = [torch.tensor(sequences[row], dtype=torch.int64) for row in rows]
    tokens = pad_sequence(rows, True, -1, tokenizer.padding_side)
    mask = tokens >= 0
    tokens = tokens.where(mask, tokenizer.pad_token_id)
    return {"input_ids": tokens.to(device), "attention_mask": mask.long().to(device)}


def batches(settings, sequences, epoch, processes=1):
    """Return the steps of an epoch, a list of row-number arrays: texts of like length, sorted with a little chance.
    Each process has a text of each batch, for which a batch may have one more than BATCH_SIZE."""
    generator = np.random.default_rng([settings.SEED, epoch])
    lengths = np.array([len(sequence) for sequence in sequences])
    order = np.argsort(lengths + generator.uniform(0, 2, len(lengths)))
    groups = np.array_split(order, min(-(-len(order) // settings.BATCH_SIZE), max(1, len(order) // processes)))
    generator.shuffle(groups)
    return groups


def save_tokenizer(tokenizer, folder):
    """Write a tokenizer to a model folder, BERTweet's merges with the counts that transformers expects."""
    tokenizer.save_pretrained(folder)
    if "Bertweet" in type(tokenizer).__name__:
        merges = "".join(f"{' '.join(pair)} 0\n" for pair in tokenizer.bpe_ranks)
        pathlib.Path(folder, "bpe.codes").write_text(merges, encoding="utf-8")


def load_tokenizer(view, config):
    """Return the tokenizer of a view, BERTweet's with its tweet normalisation; raise InputError where none fits."""
    if not VOCABULARIES & set(os.listdir(view)):
        raise InputError(f"it has no tokenizer; one of {', '.join(sorted(VOCABULARIES))} is needed")
    options = {"local_files_only": True, "trust_remote_code": False}
    if "Bertweet" in read_json(view, "tokenizer_config.json").get("tokenizer_class", ""):
        tokenizer = transformers.BertweetTokenizer.from_pretrained(view, normalization=True, **options)
        with open(os.path.join(view, "bpe.codes"), encoding="utf-8") as file:
            merges = [tuple(line.split()[:2]) for line in file]  # transformers 5.24 would lose the second halves
        tokenizer.bpe_ranks = {pair: rank for rank, pair in enumerate(merges)}
        tokenizer.demojizer = pretrained_emoji_names(tokenizer.get_vocab())
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(view, config=config, **options)
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
    The first of emoji 0.6's name, the installed version's and the character that is in `vocabulary`, else 0.6's."""
    import emoji  # needed for BERTweet alone

    @functools.cache
    def name(character):
        new = emoji.demojize(character)
        old = f":{EMOJI_06[character]}:" if character in EMOJI_06 else new
        return next((word for word in (old, new, character) if word in vocabulary), old)

    return name
