"""Texts to logits, probabilities and labels."""
import numpy as np
import torch

from .text import encode, pad


def logits_of(model, sequences, tokenizer, batch_size):
    """Return the logits of each text: float32 (texts, classes); computed in batches of like length."""
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    logits = np.zeros((len(sequences), model.config.num_labels), np.float32)
    if isinstance(model, torch.nn.Module):
        model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            rows = order[begin:begin + batch_size]
            logits[rows] = model(**pad(sequences, rows, tokenizer, model.device)).logits.float().cpu().numpy()
    return logits


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
