"""Project1: files of word vectors of every kind, and where they come from."""
import functools
import gzip
import http.server
import io
import zipfile

import numpy as np
import pytest

from conftest import assert_one_line, csv_bytes, load_script, made_rows, serving
from project1 import SCRIPTS, both, vector_bytes

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


GOOD = {
    "GloVe": ROWS, "gzip": gzip.compress(ROWS), "zip": zipped(vectors_txt=ROWS), "word2vec's header": b"4 100\n" + ROWS,
    "fastText": b"4 100\n" + b"".join(line.rstrip() + b" \n" for line in LINES), "CRLF": ROWS.replace(b"\n", b"\r\n"),
    "byte-order mark": b"\xef\xbb\xbf" + ROWS, "tabs": ROWS.replace(b" ", b"\t"), "no end of line": ROWS.rstrip(),
    "the 100-d of Stanford's four": zipped(glove_25d_txt=vector_bytes(WORDS, 25), glove_100d_txt=ROWS),
    "words with blanks": b". . " + LINES[0] + LINES[0] + b"at name@domain.com " + LINES[1] + b"".join(LINES[1:]),
}


@pytest.mark.parametrize("case", GOOD)
def test_vectors_of_every_kind_are_the_same(scripts, tmp_path, case):
    path = tmp_path / "vectors"
    path.write_bytes(GOOD[case])
    found = scripts["LSTM"].read_vectors(str(path), ["the", "i", "cat", "absent", "", "[UNK]", "."])
    assert set(found) - {"."} == {"the", "i", "cat"}
    for word, line in zip(WORDS, LINES):
        if word in found:
            assert found[word].dtype == np.float32 and found[word].tolist() == np.array(line.split()[1:], np.float32).tolist()


@pytest.mark.parametrize("size", [2, 50, 300])
@pytest.mark.parametrize("header", [b"", b"3 %d\n"])
def test_vectors_of_any_dimension(scripts, tmp_path, size, header):
    path = tmp_path / "vectors"
    path.write_bytes((header % size if header else b"") + vector_bytes(["5", "7", "cat"], size))
    found = scripts["LSTM"].read_vectors(str(path), ["7", "cat"])
    assert set(found) == {"7", "cat"} and found["7"].shape == (size,)


def test_separators_of_other_systems_stay_in_their_word(scripts, tmp_path):
    path, rest = tmp_path / "vectors", LINES[0].split(b" ", 1)[1]
    words = ["a\u0085b", "a\u00a0b", "a\u2028b", "a\x1cb", "caf\u00e9"]
    path.write_bytes(ROWS + b"".join(word.encode() + b" " + rest for word in words))
    assert set(scripts["LSTM"].read_vectors(str(path), [*words, "cat", "b"])) == {*words, "cat"}


def test_of_a_word_that_comes_twice_the_first_row_counts_and_it_is_said(scripts, tmp_path, capsys):
    path = tmp_path / "vectors"
    path.write_bytes(ROWS + b"cat " + LINES[0].split(b" ", 1)[1])
    found = scripts["LSTM"].read_vectors(str(path), ["cat"])
    assert found["cat"].tolist() == np.array(LINES[3].split()[1:], np.float32).tolist()
    assert "1 rows" in (out := capsys.readouterr().out) and "the first row of each counts" in out


BAD = {
    "cut-off last line": (ROWS[:-200], ["row 4", "cut off"]),
    "a shorter row": (LINES[0] + LINES[1][:-40] + b"\n" + LINES[2], ["row 2", "100 numbers"]),
    "a non-number": (b"".join(LINES[:2]) + b"you x" + LINES[2][LINES[2].index(b" ") + 2:] + LINES[3], ["row 3"]),
    "nan": (b"".join(LINES[:2]) + b"you nan" + LINES[2][LINES[2].index(b" ", 4):] + LINES[3], ["row 3", "finite"]),
    "fewer rows than the header's": (b"9 100\n" + ROWS, ["row 5", "4 of the 9 words"]),
    "other dimensions than the header's": (b"4 300\n" + ROWS, ["row 2", "300 numbers"]),
    "no word in common": (vector_bytes(["zzz", "yyy"]), ["no word in common"]),
    "empty": (b"", ["no word in common"]), "no vectors": (b"some,text\nand more\n", ["row 1", "columns"]),
    "fastText's binary": (b"\xba\x16\x4f\x2f" + bytes(50), [".vec"]), "bzip2": (b"BZh91AY", ["bzip2"]),
    "several texts in a zip": (zipped(a_txt=ROWS, b_txt=ROWS), ["a.txt", "unpack"]),
    "no text in a zip": (zipped(a_bin=ROWS), ["a.bin", "unpack"]),
    "a damaged gzip": (gzip.compress(ROWS)[:300], ["get the file anew"]),
    "a damaged zip": (zipped(a_txt=ROWS)[:300], ["get the file anew"]),
    "word2vec's binary": (b"4 100\nthe " + bytes(range(14, 250)) * 9, ["row 2"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_of_vectors_is_one_line(scripts, tmp_path, case):
    content, words = BAD[case]
    path = tmp_path / "vectors"
    path.write_bytes(content)
    with pytest.raises(scripts["LSTM"].InputError) as caught:
        scripts["LSTM"].read_vectors(str(path), ["i", "you", "cat"])
    text = str(caught.value)
    assert "\n" not in text
    for word in (str(path), *words):
        assert word in text, text


def vocabulary_of(module, *words):
    return module.Vocabulary("", "abcdefghijklmnopqrstuvwxyz", "", words)


def test_embedding_matrix_caches_the_rows_of_one_file_and_vocabulary(tmp_path, monkeypatch):
    module = load_script(SCRIPTS["LSTM"])
    path = tmp_path / "a.txt"
    path.write_bytes(ROWS)
    module.GLOVE_PATH = str(path)
    reads, read = [], module.read_vectors
    monkeypatch.setattr(module, "read_vectors", lambda *arguments: reads.append(1) or read(*arguments))
    matrix, known = module.embedding_matrix(vocabulary_of(module, "i", "absent", "cat"), str(tmp_path / "cache"))
    assert known.tolist() == [False, False, True, False, True] and (matrix[0] == 0).all() and matrix[3].any()
    again, known_again = module.embedding_matrix(vocabulary_of(module, "i", "absent", "cat"), str(tmp_path / "cache"))
    assert (again == matrix).all() and (known_again == known).all() and len(reads) == 1
    other, _ = module.embedding_matrix(vocabulary_of(module, "cat", "i"), str(tmp_path / "cache"))
    assert (other[2] == matrix[4]).all() and len(reads) == 2
    path.write_bytes(vector_bytes(["cat", "i"], 9) + b"")
    changed, _ = module.embedding_matrix(vocabulary_of(module, "i", "absent", "cat"), str(tmp_path / "cache"))
    assert len(reads) == 3 and changed.shape == (5, 9)


@both
def test_bad_glove_path_is_one_line(call, data, tmp_path, name):
    assert_one_line(call(name, *data.paths, "--GLOVE_PATH", tmp_path / "none.txt"), "GLOVE_PATH", "none.txt")
    (tmp_path / "a.txt").write_bytes(BAD["cut-off last line"][0])
    assert_one_line(call(name, *data.paths, "--GLOVE_PATH", tmp_path / "a.txt"), "a.txt", "row 4")


def test_default_vectors_come_from_the_archive_once_and_only_their_rows_are_kept(call, tmp_path, direct_network):
    """Kaggle is not asked here: nothing answers at its address. The archive is that of a local server."""
    folder = tmp_path / "served"
    folder.mkdir()
    words = "sad happy love angry afraid shocked i you".split()
    (folder / "glove.zip").write_bytes(zipped(**{"glove_twitter_27B_25d_txt": vector_bytes(words, 25),
                                                 "glove_twitter_27B_100d_txt": vector_bytes(words)}))
    for name, seed in (("train", 0), ("val", 1)):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(made_rows(60, seed)))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            self.server.asked.append(self.path)

    def no_kaggle(module):
        import kagglehub
        import requests

        def refuse(*_):
            raise requests.ConnectionError("[Errno 111] Connection refused")
        kagglehub.dataset_download = refuse

    with serving(functools.partial(Handler, directory=str(folder))) as served:
        options = ["--TRAIN_PATH", tmp_path / "train.csv", "--VAL_PATH", tmp_path / "val.csv", "--UNITS", 4, "--NUM_EPOCHS", 1,
                   "--DOWNLOAD_RETRIES", 0]
        address = f"{served.address}/glove.zip"
        result = call("LSTM", *options, "--GLOVE_URL", address, change=no_kaggle)
        assert result.code == 0 and len(served.asked) == 1, result.err
        before = result.out.index("vectors: GloVe Twitter is downloaded once, 1.5 GB")
        assert "--USE_GLOVE False" in result.out[before:] and before < result.out.index("embeddings: ")
        kept = [path.name for path in (tmp_path / "out" / "data").iterdir()]
        assert len(kept) == 1 and kept[0].startswith("vectors-"), "neither the archive nor the whole file"
        result = call("LSTM", *options, "--GLOVE_URL", address, "--SEED", 2, change=no_kaggle)
        assert result.code == 0 and len(served.asked) == 1 and "downloaded once" not in result.out, "the next run asks nobody"
    result = call("LSTM", *options, "--GLOVE_URL", "http://127.0.0.1:9/glove.zip", "--OUTPUT_DIR", tmp_path / "new",
                  change=no_kaggle)
    assert_one_line(result, "cannot get the GloVe vectors", "kagglehub", "the connection was refused", "GLOVE_PATH",
                    "USE_GLOVE")
    assert not list((tmp_path / "new" / "data").iterdir())
