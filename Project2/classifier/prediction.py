"""Texts to logits, probabilities and labels."""
import numpy as np
import torch

from .settings import InputError
from .text import encode, pad

ODD = f"@user i feel\x0b\u0085caf\u00e9 \U0001f600 \ua500 {'a' * 64}! {'1' * 64} \u200d"


def logits_of(model, sequences, tokenizer, batch_size):
    """Return the logits of each text: float32 (texts, classes); computed in batches of like length."""
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    logits = np.zeros((len(sequences), model.config.num_labels), np.float32)
    model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin:begin + batch_size]
            logits[rows] = model(**pad(sequences, rows, tokenizer, model.device)).logits.float().cpu().numpy()
    return logits


def probe(model, tokenizer, manifest):
    """Raise InputError unless a model gives finite logits of odd, empty and long texts, alone as beside others."""
    most, vocabulary = min(manifest["max_length"], 512), model.config.vocab_size  # 512: for its time
    sequences = encode(tokenizer, [ODD, "i feel", "", "i feel " * most], {**manifest, "max_length": most})
    if not all(0 < len(row) <= most and 0 <= min(row) <= max(row) < vocabulary for row in sequences):
        raise InputError("its tokenizer gives no tokens, too many, or numbers that its model has no embeddings for")
    sequences, groups = [row[:9] for row in sequences[:3]] + sequences[3:], ([0], [1], [2], [0, 1, 2], [3])
    model.eval()
    with torch.no_grad():  # not inference_mode: a training may follow
        made = [model(**pad(sequences, rows, tokenizer, model.device)).logits for rows in groups]
    fit = (logits.is_floating_point() and logits.shape == (len(rows), model.config.num_labels)
           for logits, rows in zip(made, groups))
    if not all(fit) or not torch.cat(made).abs().max() < 1e4:
        raise InputError("its model gives no finite numbers, or other than one a text and class")
    alone, together = torch.cat(made[:3]).float().softmax(1), made[3].float().softmax(1)
    if (alone - together).abs().max() > 0.05:  # more than rounding, even of INT4
        raise InputError("its model says something else of a text alone than beside others")


def predict_logits(model, tokenizer, texts, manifest, batch_size=32):
    """Return the logits of each text: float32 (texts, classes), in the order of `texts`."""
    return logits_of(model, encode(tokenizer, texts, manifest), tokenizer, batch_size)


def softmax(logits):
    """Return the probabilities that logits (texts, classes) mean: float32 (texts, classes)."""
    return torch.softmax(torch.tensor(logits), 1).numpy()


def predict(model, tokenizer, texts, manifest):
    """Return (class numbers, probabilities of these): int64 and float32 arrays (texts,)."""
    probabilities = softmax(predict_logits(model, tokenizer, texts, manifest, 64))
    return probabilities.argmax(1), probabilities.max(1)


def print_predictions(model, tokenizer, texts, manifest):
    """Print a line a text: label, its name, its probability, text."""
    for text, number, confidence in zip(texts, *predict(model, tokenizer, texts, manifest)):
        said = manifest["labels"][number], manifest["names"][number], f"{confidence:.4f}", " ".join(text.splitlines())
        print(*said, sep="\t")
