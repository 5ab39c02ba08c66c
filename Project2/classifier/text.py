"""Texts to token numbers as their model was pretrained, and token numbers to padded batches."""
import re

import numpy as np
import torch


def normalise_users(text):
    """Put @user for each user name and http for each link, as in the tweets that CardiffRoBERTa was pretrained on."""
    words = ("@user" if word[:1] == "@" and len(word) > 1 else "http" if word.startswith("http") else word
             for word in text.split(" "))
    return " ".join(words)


def encode(tokenizer, texts, manifest):
    """Return the token numbers of each text, normalised as its model was pretrained: a list of lists of int."""
    if not texts:
        return []
    if manifest["normalisation"] == "user_http":
        texts = [normalise_users(text) for text in texts]
    if manifest["normalisation"] == "bertweet":  # the rest of it is a part of its tokenizer
        texts = [cut(text, manifest["max_length"]) for text in texts]
    if len(getattr(tokenizer, "cache", ())) > 10**5:
        tokenizer.cache.clear()  # BERTweet's keeps each word that it meets
    encoded = tokenizer(list(texts), truncation=True, max_length=manifest["max_length"], padding=False,
                        return_attention_mask=False, return_token_type_ids=False)
    return encoded["input_ids"]


REPEATED = re.compile(r"([^a-zA-Z0-9])\1{3,}")
LONG_WORD = re.compile(r"(?<!\S)(\S{400,500}[a-zA-Z0-9]|\S{500})\S+")


def cut(text, max_length):
    """Return the text without what is too far back to be among BERTweet's first max_length tokens.

    The tokenizer's expressions for links take a time that grows with the square of a word's length (56 s for "a." 8,000
    times), so a word is held to 500 characters, ending in a letter or digit as links do, and the text to 32 a token and
    1,000 more. Runs of one sign become three, as in the tokenizer itself. Up to 500 characters stay as they are.
    """
    if len(text) <= 500:
        return text
    text = LONG_WORD.sub(r"\1", REPEATED.sub(r"\1\1\1", text[:10**6]))
    return text[:1000 + 32 * max_length]


def pad(sequences, rows, padding, device):
    """Return the model's inputs for these rows, padded to one length: int64 tensors (rows, length) by name.

    padding: (token number, side), of the tokenizer; XLNet and others that read the last token pad left.
    """
    pad_id, side = padding
    length = max(len(sequences[row]) for row in rows)
    tokens, mask = np.full((len(rows), length), pad_id), np.zeros((len(rows), length), np.int64)  # both (rows, length)
    for place, row in enumerate(rows):
        size = len(sequences[row])
        part = slice(length - size, length) if side == "left" else slice(size)
        tokens[place, part], mask[place, part] = sequences[row], 1
    return {"input_ids": torch.from_numpy(tokens).to(device), "attention_mask": torch.from_numpy(mask).to(device)}


def padding_of(tokenizer):
    """Return (token number, side) with which a tokenizer's model fills up a batch."""
    return tokenizer.pad_token_id, tokenizer.padding_side


def batches(settings, sequences, epoch, processes=1):
    """Return the steps of an epoch, a list of row-number arrays, each of texts of like length.

    Texts are sorted by length and a little chance, so that they change batches from epoch to epoch.
    Each process has a text of each batch, for which a batch may have one more than BATCH_SIZE.
    """
    generator = np.random.default_rng([settings.SEED, epoch])
    lengths = np.array([len(sequence) for sequence in sequences])
    order = np.argsort(lengths + generator.uniform(0, 2, len(lengths)))
    groups = np.array_split(order, min(-(-len(order) // settings.BATCH_SIZE), max(1, len(order) // processes)))
    generator.shuffle(groups)
    return groups
