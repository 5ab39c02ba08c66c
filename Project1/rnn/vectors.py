"""Word vectors: the vocabulary and its matrix, from any file, kept for the next run, or from the default download."""
import contextlib
import dataclasses
import io
import os
import re
import tempfile

import numpy as np

from .files import DownloadError, download, hash_of, open_bytes, reason, refusal, save_all
from .settings import InputError
from .text import encode, make_vocabulary


def embed(data, settings, cache):
    """Return (Vocabulary of the training texts, Data as Encoded, matrix: float32 (words, numbers), coverage: shares of
    their words and running words with a vector). COMMON_WORDS are added: to few texts most words of others are new."""
    vocabulary = make_vocabulary(data.train_texts)
    own, vectors = len(vocabulary.words), known_vectors(vocabulary, settings, cache) if settings.USE_GLOVE else {}
    vocabulary = dataclasses.replace(vocabulary, words=tuple(dict.fromkeys((*vocabulary.words, *vectors))))
    size = 2 + len(vocabulary.words), len(next(iter(vectors.values()), range(settings.EMBEDDING_SIZE)))
    matrix = np.random.default_rng(settings.SEED).normal(0, 0.1, size).astype(np.float32)
    matrix[0] = 0  # pads; other words without a vector keep their small random ones
    for word, vector in vectors.items():
        matrix[vocabulary.number[word]] = vector
    known = np.array([word in vectors for word in ("", "", *vocabulary.words)])
    encoded = encode(data, vocabulary, settings)
    counts = np.bincount(np.concatenate(encoded.train), minlength=len(matrix))
    coverage = {"words": float(known[2:2 + own].mean()), "running_words": float(counts[known].sum() / counts.sum())}
    print(f"embeddings: {own:,} words of the texts, {len(known) - 2 - own:,} of the vectors, {size[1]} numbers each; "
          f"{coverage['words']:.1%} of the former, {coverage['running_words']:.1%} of the running words have a vector, "
          "the others begin at random", flush=True)
    return vocabulary, encoded, matrix, coverage


def known_vectors(vocabulary, settings, cache):
    """Return what `read_vectors` finds, {word: float32 (numbers,)}, kept in `cache` for the next run."""
    path, source = settings.GLOVE_PATH, [settings.GLOVE_KAGGLE, settings.GLOVE_URL]
    if path:
        if not os.path.isfile(path):
            raise InputError(f"GLOVE_PATH: no file {path}; give a file of word vectors (GloVe, word2vec text, .vec)")
        source = [os.path.abspath(path), os.path.getsize(path), os.path.getmtime(path), settings.EMBEDDING_SIZE]
    name = hash_of(source, settings.COMMON_WORDS, dataclasses.astuple(vocabulary))[:12]
    cached = os.path.join(cache, f"vectors-{name}.npz")
    with contextlib.suppress(Exception):  # there is none, or it is damaged
        with np.load(cached, allow_pickle=False) as file:
            return dict(zip(file["words"].tolist(), file["vectors"]))
    found = read_vectors(path, vocabulary, settings) if path else download_vectors(vocabulary, settings, cache)
    buffer = io.BytesIO()
    np.savez(buffer, words=[*found], vectors=np.stack([*found.values()]))
    save_all({cached: buffer.getvalue()})
    return found


def download_vectors(vocabulary, settings, cache):
    """Return {word: vector} of GloVe Twitter, through kagglehub, else from Stanford's archive, which is not kept."""
    print(f"vectors: GloVe Twitter is downloaded once, 1.5 GB from {settings.GLOVE_URL} where Kaggle does not answer; "
          "to see a result in two minutes, stop this and add --USE_GLOVE False", flush=True)
    try:
        import kagglehub
        folder = kagglehub.dataset_download(settings.GLOVE_KAGGLE)
        return read_vectors(os.path.join(folder, "glove.twitter.27B.100d.txt"), vocabulary, settings)
    except InputError:
        raise
    except Exception as error:  # kagglehub raises whatever its transport raises; the next source is tried
        failure = f"kagglehub {settings.GLOVE_KAGGLE}: {reason(error, settings)}"
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".vectors-") as folder:
        try:
            path = download(settings.GLOVE_URL, "", os.path.join(folder, "glove.zip"), "GLOVE_PATH", settings)
        except DownloadError as error:
            raise InputError(f"cannot get the GloVe vectors; {failure}; {error}, or USE_GLOVE to False") from error
        return read_vectors(path, vocabulary, settings)


def read_vectors(path, vocabulary, settings):
    """Return {word: float32 array (numbers,)} of a vocabulary from a file of GloVe or word2vec text; first rows count.
    Of other words the file's first are taken too, its commonest, until there are COMMON_WORDS of all."""
    room, found, size, count, row = settings.COMMON_WORDS - len(vocabulary.words), {}, 0, 0, 0
    cause = "has no word in common with the training texts; take vectors of their language"
    with open_bytes(path, f"{settings.EMBEDDING_SIZE}d") as file:
        for row, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf").rstrip().replace(b"\t", b" ")
            if row == 1 and (header := re.fullmatch(rb"([0-9]+) +([0-9]+)", line)):
                count, size = int(header[1]), int(header[2])
                continue
            if not line:
                continue
            blanks = line.count(b" ")
            size = size or blanks
            if b"  " in line and b"\0" not in line:
                raise refusal(path, "has two blanks between its numbers; write one", row)
            if blanks < size or not size or b"\0" in line:
                raise refusal(path, f"has {blanks + 1} columns where a word and {size or 'its'} numbers are needed, as "
                              "text; it is cut off, damaged, or binary (fastText's text is the .vec)", row)
            word = line[:line.index(b" ")].decode(errors="replace")
            if count and blanks > size:
                cause = f"has a header that says {size} numbers a word, and rows with {blanks}; correct the header"
            if blanks > size or word in found:  # a word with a blank in it, or one that comes again
                continue
            if word not in vocabulary.number:
                if word.lower() in vocabulary.number:
                    cause = "has words in capitals alone; write them in small letters"
                if room <= 0 or vocabulary.split(word) != [word]:
                    continue
                room -= 1
            found[word] = as_vector(line, path, row)
    if count and row - 1 < count:
        raise refusal(path, f"ends after {row - 1:,} of the {count:,} words of its header; get the file anew", row)
    if found.keys().isdisjoint(vocabulary.number):
        raise refusal(path, cause if row else "is empty; get the file anew")
    return found


def as_vector(line, path, row):
    """Return the numbers of a line as a float32 array."""
    with contextlib.suppress(ValueError):
        vector = np.array(line.split(b" ")[1:], np.float32)
        if np.isfinite(vector).all():
            return vector
    raise refusal(path, "has a value that is no finite number; get the file anew", row)
