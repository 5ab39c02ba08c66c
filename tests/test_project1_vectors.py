"""Project1: files of word vectors of every kind, and where they come from."""
import functools
import gzip
import http.server
import io
import zipfile

import numpy as np
import pytest
import requests

from conftest import assert_one_line, serving
from project1 import settings_of, vector_bytes

import rnn.vectors
from rnn.data import Data
from rnn.settings import InputError
from rnn.text import Vocabulary

pytest_plugins = ["project1"]

WORDS = ["the", "i", "you", "cat"]
LINES = vector_bytes(WORDS).splitlines(keepends=True)
ROWS = b"".join(LINES)


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def vocabulary_of(words):
    """Return a Vocabulary of small letters with these words."""
    return Vocabulary("", "abcdefghijklmnopqrstuvwxyz", "", tuple(words))


def read(path, words, common=0):
    return rnn.vectors.read_vectors(str(path), vocabulary_of(words), settings_of(COMMON_WORDS=common))


GOOD = {
    "GloVe": ROWS, "gzip": gzip.compress(ROWS), "zip": zipped(vectors_txt=ROWS), "word2vec's header": b"4 100\n" + ROWS,
    "fastText": b"4 100\n" + b"".join(line.rstrip() + b" \n" for line in LINES), "CRLF": ROWS.replace(b"\n", b"\r\n"),
    "byte-order mark": b"\xef\xbb\xbf" + ROWS, "tabs": ROWS.replace(b" ", b"\t"), "no end of line": ROWS.rstrip(),
    "the 100-d of Stanford's four": zipped(glove_25d_txt=vector_bytes(WORDS, 25), glove_100d_txt=ROWS),
    "a blank last line": ROWS + b"\n", "two blank last lines": b"4 100\n" + ROWS + b"\n \n",
    "words with blanks": LINES[0] + b". . " + LINES[0] + b"at name@domain.com " + LINES[1] + b"".join(LINES[1:]),
}


@pytest.mark.parametrize("case", GOOD)
def test_vectors_of_every_kind_are_the_same(tmp_path, case):
    path = tmp_path / "vectors"
    path.write_bytes(GOOD[case])
    found = read(path, ["the", "i", "cat", "absent", "", "[UNK]", "."])
    assert set(found) - {"."} == {"the", "i", "cat"}
    for word, line in zip(WORDS, LINES):
        if word in found:
            assert found[word].dtype == np.float32 and found[word].tolist() == np.array(line.split()[1:], np.float32).tolist()


@pytest.mark.parametrize("size", [2, 50, 300])
@pytest.mark.parametrize("header", [b"", b"3 %d\n"])
def test_vectors_of_any_dimension(tmp_path, size, header):
    path = tmp_path / "vectors"
    path.write_bytes((header % size if header else b"") + vector_bytes(["5", "7", "cat"], size))
    found = read(path, ["7", "cat"])
    assert set(found) == {"7", "cat"} and found["7"].shape == (size,)


def test_separators_of_other_systems_stay_in_their_word(tmp_path):
    path, rest = tmp_path / "vectors", LINES[0].split(b" ", 1)[1]
    words = ["a\u0085b", "a\u00a0b", "a\u2028b", "a\x1cb", "caf\u00e9"]
    path.write_bytes(ROWS + b"".join(word.encode() + b" " + rest for word in words))
    assert set(read(path, [*words, "cat", "b"])) == {*words, "cat"}


def test_of_a_word_that_comes_twice_the_first_row_counts(tmp_path):
    path = tmp_path / "vectors"
    path.write_bytes(ROWS + b"cat " + LINES[0].split(b" ", 1)[1])
    assert read(path, ["cat"])["cat"].tolist() == np.array(LINES[3].split()[1:], np.float32).tolist()


BAD = {
    "cut-off last line": (ROWS[:-200], ["row 4", "cut off"]),
    "a shorter row": (LINES[0] + LINES[1][:-40] + b"\n" + LINES[2], ["row 2", "100 numbers"]),
    "a non-number": (b"".join(LINES[:2]) + b"you x" + LINES[2][LINES[2].index(b" ") + 2:] + LINES[3], ["row 3"]),
    "nan": (b"".join(LINES[:2]) + b"you nan" + LINES[2][LINES[2].index(b" ", 4):] + LINES[3], ["row 3", "finite"]),
    "fewer rows than the header's": (b"9 100\n" + ROWS, ["row 5", "4 of the 9 words"]),
    "other dimensions than the header's": (b"4 300\n" + ROWS, ["row 2", "300 numbers"]),
    "no word in common": (vector_bytes(["zzz", "yyy"]), ["no word in common"]),
    "empty": (b"", ["is empty"]), "no vectors": (b"some,text\nand more\n", ["row 1", "columns"]),
    "fastText's binary": (b"\xba\x16\x4f\x2f" + bytes(50), [".vec"]), "bzip2": (b"BZh91AY", ["row 1"]),
    "several texts in a zip": (zipped(a_txt=ROWS, b_txt=ROWS), ["several files"]),
    "a damaged gzip": (gzip.compress(ROWS)[:300], ["cannot be read"]),
    "a damaged zip": (zipped(a_txt=ROWS)[:300], ["cannot be read"]),
    "word2vec's binary": (b"4 100\nthe " + bytes(range(14, 250)) * 9, ["row 2"]),
    "word2vec's binary with blanks": (b"4 100\nthe " + bytes([*range(11, 250), 0]) * 900, ["row 2", "binary", "as text"]),
    "capitals": (ROWS.upper(), ["capitals"]), "two blanks": (ROWS.replace(b" ", b"  "), ["two blanks"]),
    "two blanks below a header": (b"4 100\n" + ROWS.replace(b" ", b"  "), ["row 2", "two blanks"]),
    "a header of fewer numbers": (b"4 50\n" + ROWS, ["header", "50 numbers", "rows with 100"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_of_vectors_is_one_line(tmp_path, case):
    content, words = BAD[case]
    path = tmp_path / "vectors"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path, ["i", "you", "cat"])
    text = str(caught.value)
    assert "\n" not in text
    for word in (str(path), *words):
        assert word in text, text


def test_common_words_are_the_files_first_that_a_text_can_have(tmp_path):
    path, rest = tmp_path / "vectors", LINES[0].split(b" ", 1)[1]
    words = "the , n't of The <user> caf\u00e9 and of \u2019s in cat on at".split()
    path.write_bytes(b"".join(word.encode() + b" " + rest for word in words) + b"it\xff " + rest)
    for common, more in ((0, []), (2, []), (3, ["the"]), (5, ["the", "of", "and"]), (99, ["the", "of", "and", "in", "on", "at"])):
        assert list(read(path, ["cat", "absent"], common)) == sorted([*more, "cat"], key=words.index), common
    with pytest.raises(InputError, match="no word in common"):
        read(path, ["absent"], 99)


def matrix_of(words, path, cache, **constants):
    """Return the vocabulary, the embedding matrix and the coverage of a text that has each word once."""
    settings, none = settings_of(GLOVE_PATH=str(path), **{"COMMON_WORDS": 0, **constants}), ([], np.zeros(0, np.int64))
    data = Data([" ".join(words)], np.array([0]), *none, *none, {"0": "0"}, {}, "", "", "")
    vocabulary, encoded, matrix, coverage = rnn.vectors.embed(data, settings, str(cache))
    assert sorted(encoded.train[0]) == [*range(2, 2 + len(words))]
    return vocabulary, matrix, coverage


def test_embed_caches_the_rows_of_one_file_and_vocabulary(tmp_path, monkeypatch):
    path, cache = tmp_path / "a.txt", tmp_path / "cache"
    path.write_bytes(ROWS)
    reads, read_vectors = [], rnn.vectors.read_vectors
    monkeypatch.setattr(rnn.vectors, "read_vectors", lambda *arguments: reads.append(1) or read_vectors(*arguments))
    vocabulary, matrix, coverage = matrix_of(["i", "absent", "cat"], path, cache)
    assert vocabulary.words == ("absent", "cat", "i") and (matrix[0] == 0).all() and matrix[2].any()
    assert coverage == {"words": 2 / 3, "running_words": 2 / 3}
    for number, line in ((3, LINES[3]), (4, LINES[1])):
        assert matrix[number].tolist() == np.array(line.split()[1:], np.float32).tolist()
    vocabulary_again, again, coverage_again = matrix_of(["i", "absent", "cat"], path, cache)
    assert (again == matrix).all() and (vocabulary_again, coverage_again) == (vocabulary, coverage) and len(reads) == 1
    _, other, _ = matrix_of(["cat", "i"], path, cache)
    assert (other[2:] == matrix[3:]).all() and len(reads) == 2
    path.write_bytes(vector_bytes(["cat", "i"], 9))
    _, changed, _ = matrix_of(["i", "absent", "cat"], path, cache)
    assert len(reads) == 3 and changed.shape == (5, 9)


def test_words_of_the_vectors_stand_behind_those_of_the_texts(tmp_path):
    path, cache = tmp_path / "a.txt", tmp_path / "cache"
    path.write_bytes(ROWS)
    vectors = {line.split()[0].decode(): np.array(line.split()[1:], np.float32).tolist() for line in LINES}
    for _ in range(2):  # read, then kept
        vocabulary, matrix, coverage = matrix_of(["i", "absent"], path, cache, COMMON_WORDS=4)
        assert vocabulary.words == ("absent", "i", "the", "you") and coverage["words"] == 0.5
        assert {word: matrix[vocabulary.number[word]].tolist() for word in vectors.keys() & {*vocabulary.words}} == {
            word: vector for word, vector in vectors.items() if word != "cat"}
        assert [number.tolist() for number in vocabulary.encode(["you see the cat"], 9)] == [[5, 1, 4, 1]]


def test_bad_glove_path_is_one_line(call, data, tmp_path):
    assert_one_line(call("LSTM", *data.paths, "--GLOVE_PATH", tmp_path / "none.txt"), "GLOVE_PATH", "none.txt")
    (tmp_path / "a.txt").write_bytes(BAD["cut-off last line"][0])
    assert_one_line(call("GRU", *data.paths, "--GLOVE_PATH", tmp_path / "a.txt"), "a.txt", "row 4")


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path)


def test_default_vectors_come_once_and_only_their_rows_are_kept(tmp_path, direct_network, no_pause, monkeypatch, capsys):
    """Kaggle is not asked here: nothing answers at its address. The archive is that of a local server."""
    import kagglehub

    def refuse(*_):
        raise requests.ConnectionError("[Errno 111] Connection refused")

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    folder, cache = tmp_path / "served", tmp_path / "data"
    folder.mkdir()
    words = ["sad", "happy", "love"]
    (folder / "glove.zip").write_bytes(zipped(**{"glove_twitter_27B_25d_txt": vector_bytes(words, 25),
                                                 "glove_twitter_27B_100d_txt": vector_bytes(words)}))
    with serving(functools.partial(Handler, directory=str(folder))) as served:
        constants = {"GLOVE_URL": f"{served.address}/glove.zip"}
        _, matrix, coverage = matrix_of([*words, "zqx"], "", cache, **constants)
        assert len(served.asked) == 1 and matrix.shape == (6, 100) and coverage["words"] == 0.75
        out = capsys.readouterr().out
        before = out.index("vectors: GloVe Twitter is downloaded once, 1.5 GB")
        assert "--USE_GLOVE False" in out[before:] and before < out.index("embeddings: ")
        kept = [path.name for path in cache.iterdir()]
        assert len(kept) == 1 and kept[0].startswith("vectors-"), "neither the archive nor the whole file"
        matrix_of([*words, "zqx"], "", cache, **constants, SEED=2)
        assert len(served.asked) == 1 and "downloaded once" not in capsys.readouterr().out, "the next run asks nobody"
    with pytest.raises(InputError) as caught:
        matrix_of(words, "", tmp_path / "new", **{**constants, "GLOVE_URL": "http://127.0.0.1:9/glove.zip"})
    for said in ("cannot get the GloVe vectors", "kagglehub", "the connection was refused", "GLOVE_PATH", "USE_GLOVE"):
        assert said in str(caught.value)
    assert not list((tmp_path / "new").iterdir())
