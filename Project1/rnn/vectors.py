"""Word vectors: the matrix of a vocabulary, from any file, kept for the next run, or from the default download."""
import contextlib
import io
import os
import re
import tempfile

import numpy as np

from .files import DownloadError, download, hash_of, open_bytes, reason, refusal, save_all
from .settings import InputError


def embedding_matrix(vocabulary, encoded, settings, cache):
    """Return (matrix: float32 (words, numbers), coverage: shares of words and of running words with a vector)."""
    words, use = ("", "[UNK]", *vocabulary.words), settings.USE_GLOVE
    nothing = np.zeros(0, int), np.zeros((0, settings.EMBEDDING_SIZE), np.float32)
    rows, vectors = known_vectors(words, settings, cache) if use else nothing
    matrix = np.random.default_rng(settings.SEED).normal(0, 0.1, (len(words), vectors.shape[1])).astype(np.float32)
    matrix[0] = 0  # pads; other words without a vector keep their small random ones
    known = np.zeros(len(words), bool)
    matrix[rows], known[rows] = vectors, True
    counts = np.bincount(np.concatenate(encoded.train), minlength=len(matrix))
    coverage = {"words": float(known[2:].mean()), "running_words": float(counts[known].sum() / max(counts.sum(), 1))}
    print(f"embeddings: {len(vocabulary.words):,} words, {matrix.shape[1]} numbers each; " + (
        f"{coverage['words']:.1%} of them and {coverage['running_words']:.1%} of the running words have a vector"
        if use else "they start at random and are trained (USE_GLOVE = False)"), flush=True)
    return matrix, coverage


def known_vectors(words, settings, cache):
    """Return (numbers of the words in the file: int (rows,), vectors: float32 (rows, numbers)), kept in `cache`."""
    path, source = settings.GLOVE_PATH, [settings.GLOVE_KAGGLE, settings.GLOVE_URL]
    if path:
        if not os.path.isfile(path):
            raise InputError(f"GLOVE_PATH: no file {path}; give a file of word vectors (GloVe, word2vec text, .vec)")
        source = [os.path.abspath(path), os.path.getsize(path), os.path.getmtime(path), settings.EMBEDDING_SIZE]
    name = hash_of(source, words)[:12]
    cached = os.path.join(cache, f"vectors-{name}.npz")
    with contextlib.suppress(Exception):  # there is none, or it is damaged
        with np.load(cached, allow_pickle=False) as file:
            return file["rows"], file["vectors"]
    found = read_vectors(path, words, settings) if path else download_vectors(words, settings, cache)
    rows = np.array([number for number, word in enumerate(words) if word in found])
    vectors, buffer = np.stack([found[words[number]] for number in rows]), io.BytesIO()
    np.savez(buffer, rows=rows, vectors=vectors)
    save_all({cached: buffer.getvalue()})
    return rows, vectors


def download_vectors(words, settings, cache):
    """Return {word: vector} of GloVe Twitter, through kagglehub, else from Stanford's archive, which is not kept."""
    print(f"vectors: GloVe Twitter is downloaded once, 1.5 GB from {settings.GLOVE_URL} where Kaggle does not answer; "
          "to see a result in two minutes, stop this and add --USE_GLOVE False", flush=True)
    try:
        import kagglehub
        folder = kagglehub.dataset_download(settings.GLOVE_KAGGLE)
        return read_vectors(os.path.join(folder, "glove.twitter.27B.100d.txt"), words, settings)
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
        return read_vectors(path, words, settings)


def read_vectors(path, words, settings):
    """Return {word: float32 array (numbers,)} of `words` from a file of GloVe or word2vec text; first rows count."""
    wanted, found, size, count, row = {word.encode(): word for word in words}, {}, 0, 0, 0
    cause = "has no word in common with the training texts; take vectors of their language"
    with open_bytes(path, f"{settings.EMBEDDING_SIZE}d") as file:
        for row, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf").rstrip().replace(b"\t", b" ")
            if row == 1 and (header := re.fullmatch(rb"([0-9]+) +([0-9]+)", line)):
                count, size = int(header[1]), int(header[2])
                continue
            if b"\0" in line:
                raise refusal(path, "is binary, such as word2vec's .bin; save it as text (fastText's is the .vec)", row)
            if not line:
                continue
            blanks = line.count(b" ")
            size = size or blanks
            if b"  " in line:
                raise refusal(path, "has two blanks between its numbers; write one", row)
            if not found and count and blanks > size:
                cause = f"has a header that says {size} numbers a word, and rows with {blanks}; correct the header"
            elif not found and line.split(b" ", 1)[0].lower() in wanted:
                cause = "has words in capitals alone; write them in small letters"
            if blanks < size or not size:
                raise refusal(path, f"has {blanks + 1} columns where a word and {size or 'its'} numbers are needed; it "
                              "is cut off, damaged, or none of word vectors as text (fastText's is the .vec)", row)
            word = wanted.get(line[:line.index(b" ")]) if blanks == size else None
            if word is not None and word not in found:
                found[word] = as_vector(line, path, row)
    if count and row - 1 < count:
        raise refusal(path, f"ends after {row - 1:,} of the {count:,} words of its header; get the file anew", row)
    if not found:
        raise refusal(path, cause if row else "is empty; get the file anew")
    return found


def as_vector(line, path, row):
    """Return the numbers of a line as a float32 array."""
    with contextlib.suppress(ValueError):
        vector = np.array(line.split(b" ")[1:], np.float32)
        if np.isfinite(vector).all():
            return vector
    raise refusal(path, "has a value that is no finite number; get the file anew", row)
