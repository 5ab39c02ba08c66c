"""The tiny models in use: --predict and --explain as users run them, and model files that are missing, damaged or others'."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import run_script, tree
from tiny import SCRIPTS, assert_equal_models, logits_of, random_model

pytest_plugins = ["tiny"]

TEXTS = [b"I love you, thanks!", b"so happy today", b"", b"bad \xff\xfe\x80 bytes", b"a\tb", b"so sad, I miss you"]


@pytest.mark.parametrize("name", ["two", "six"])
def test_predict_needs_only_the_script_and_the_model(runs, bare, tmp_path, name):
    """Neither torch nor what downloads is imported; two classes print the probability of the second."""
    run = runs(name)
    script = Path(shutil.copy(run.script, tmp_path))
    folder = tmp_path / "outputs" / script.stem
    folder.mkdir(parents=True)
    shutil.copy(run.file, folder)
    before = tree(tmp_path)
    lines = b"\r\n".join(TEXTS[1:5]) + b"\n"
    process = run_script(script, "--predict", TEXTS[0].decode(), "--predict", "-", "--predict", TEXTS[5].decode(), "--explain",
                         input=lines, cwd=tmp_path, env=bare)
    assert process.returncode == 0 and process.stderr == b"", process.stderr
    rows = [row.split(b"\t") for row in process.stdout.split(b"\n")[:-1]]
    assert [b"\t".join(row[2:-1]) for row in rows] == TEXTS
    labels = [label.encode() for label in run.results["labels"]]
    for label, probability, *_, reasons in rows:
        assert label in labels and re.fullmatch(rb"[01]\.\d{4}", probability)
        if name == "two" and probability != b"0.5000":
            assert (label == b"1") == (float(probability) > 0.5)
        weights = [float(weight) for weight in re.findall(rb" ([+-]\d+\.\d\d)(?:, |$)", reasons)]
        assert weights == sorted(weights, key=abs, reverse=True) and len(weights) <= 8
    if name == "two":
        assert rows[0][0] == b"1" and rows[-1][0] == b"0"
    assert tree(tmp_path) == before


def test_help_needs_no_torch(bare, tmp_path):
    process = run_script(SCRIPTS["10kB"], "--help", cwd=tmp_path, env=bare)
    assert process.returncode == 0 and process.stderr == b"" and b"--NUM_EPOCHS" in process.stdout


def test_typographic_characters_and_entities_mean_what_their_plain_forms_mean(runs):
    pairs = {"i don’t like it": "i don't like it", "“so sad” – really…": '"so sad" - really...', "ｈａｐｐｙ ＤＡＹ！": "happy day!",
             "so\u00a0happy\u2009today": "so happy today", "&lt;3 you &amp; me, don&#39;t go": "<3 you & me, don't go",
             "i don&rsquo;t &quot;like&quot; it&#8230;": "i don't \"like\" it...", "love❤️ it": "love ❤ it", "CAFÉ": "café",
             "ПРИВЕТ": "привет", "good👍🏽": "good 👍", "it‘s a zero\u200bwidth": "it's a zerowidth", "a—b−c": "a-b-c"}
    lines = "\n".join(text for pair in pairs.items() for text in pair) + "\n"
    process = run_script(runs("two").script, "--OUTPUT_DIR", runs("two").out, "--predict", "-", input=lines.encode())
    found = [row.split(b"\t")[:2] for row in process.stdout.split(b"\n")[:-1]]
    for i, pair in enumerate(pairs.items()):
        assert found[2 * i] == found[2 * i + 1], pair


def test_explained_weights_sum_to_the_logit(models, module):
    texts = [b"I love my new phone, thanks!", b"", b"so sad :( :( i miss it", b"@bob x\xff\xfe", b"not good, not bad at all"]
    for model in (models("two"), models("six"), random_model(module, 3, words=(1, 2, 3), skip=True, chars=(3, 5), entries=40)[0]):
        probabilities = module.predict(model, texts)
        classes = probabilities.argmax(axis=1)
        explained = module.explain(model, texts, classes, 10**6)
        for i, tokens in enumerate(explained):
            total = sum(weight for _, weight in tokens)
            if probabilities.shape[1] == 2:
                assert np.log(probabilities[i, 1] / probabilities[i, 0]) == pytest.approx(total + float(model.bias[0]), abs=1e-9)
            else:
                bias = model.bias[classes[i]] - model.bias.mean()
                assert logits_of(probabilities[i])[classes[i]] == pytest.approx(total + bias, abs=1e-6)


def test_negated_words_are_marked_in_the_explanation(module):
    model, _ = random_model(module, 1, chars=(), words=(1,), entries=64, fingerprint=0)
    names = lambda text: {name for name, _ in module.explain(model, [text], np.array([1]), 100)[0]}
    assert names(b"not a good day here") == {"<s>", "not", "not(a)", "not(good)", "not(day)", "here", "</s>"}
    assert names(b"not, good") == {"<s>", "not", ",", "good", "</s>"}
    assert names("don’t like".encode()) == {"<s>", "dont", "not(like)", "</s>"}


def test_many_lines_stream_in_flat_memory(runs, tmp_path):
    """The peak of 200,000 lines is that of 20,000: no line is kept once it is printed."""
    run = runs("two")
    code = ("import resource, runpy, sys\nsys.argv = sys.argv[1:]\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit: pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)")
    peaks = []
    for number in (20_000, 200_000):
        command = [sys.executable, "-c", code, run.script, "--OUTPUT_DIR", run.out, "--predict", "-"]
        process = subprocess.run(command, input=b"not so bad today, line after line\n" * number, capture_output=True)
        assert process.stdout.count(b"\n") == number
        peaks.append(int(process.stderr))
    assert peaks[1] < peaks[0] * 1.1


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_predict_into_a_closed_pipe_gives_no_traceback(runs):
    """As in `--predict - < many.txt | head -1`."""
    run = runs("two")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "-"]
    try:
        process = subprocess.run(command, input=b"x\n" * 50000, stdout=write, stderr=subprocess.PIPE, timeout=300)
    finally:
        os.close(write)
    assert b"Traceback" not in process.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_predict_onto_a_full_disk_is_one_line(runs):
    run = runs("two")
    command = [sys.executable, str(run.script), "--OUTPUT_DIR", str(run.out), "--predict", "x"]
    with open("/dev/full", "wb") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=300)
    assert process.returncode == 2
    assert process.stderr.startswith(b"error: ") and process.stderr.count(b"\n") == 1


def test_predict_without_a_model_names_the_command_that_makes_one(tmp_path):
    process = run_script(SCRIPTS["10kB"], "--predict", "x", "--OUTPUT_DIR", tmp_path)
    error = process.stderr.decode()
    assert process.returncode == 2 and process.stdout == b"" and error.startswith("error: ") and error.count("\n") == 1
    assert re.search(rf"`python3 \S*{re.escape(SCRIPTS['10kB'].name)}", error)
    assert tree(tmp_path) == {}


# Model files


def safetensors_file(dtype, width, metadata, names=("weight",)):
    """Return a safetensors file of four zeros a tensor, `width` bytes each."""
    place = lambda i: [4 * width * i, 4 * width * (i + 1)]
    header = {name: {"dtype": dtype, "shape": [4], "data_offsets": place(i)} for i, name in enumerate(names)}
    header = json.dumps({**header, **({"__metadata__": metadata} if metadata else {})}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * width * len(names))


def described(text):
    return safetensors_file("I8", 1, {"tinymodel": text}, ("steps", "table"))


OTHER_FILES = {
    "text": b"label\ttext\n" * 100, "empty": b"", "zeros": bytes(10**4), "zip": b"PK\x03\x04" + bytes(100), "huge header": b"\xff" * 100,
    "other model": safetensors_file("F32", 4, {"format": "pt"}), "no metadata": safetensors_file("U8", 1, None),
    "bfloat16": safetensors_file("BF16", 2, {"format": "pt"}), "float8": safetensors_file("F8_E4M3", 1, {"format": "pt"}),
    "other version": described("00000000 3 x"), "no labels": described("00000000 2 512 1,2 0 4 3 21 5 4 1e-2 0"),
    "huge number": described(f"00000000 2 512 1,2 0 4 3 21 5 {10**30} 1e-2 0\n0\n1"),
    "negative number": described("00000000 2 512 1,2 0 4 3 21 5 -4 1e-2 0\n0\n1"),
    "no entries": described("00000000 2 512 1,2 0 4 3 -64 1 0 1e-2 0\n0\n1"),
    "not finite": described("00000000 2 512 1,2 0 4 3 21 5 4 nan 0\n0\n1"),
}


def refused(module, path, *words):
    with pytest.raises(module.InputError) as caught:
        module.load_model(str(path))
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_that_is_no_model_of_ours_is_one_line(module, tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(OTHER_FILES[kind])
    refused(module, path, "anew")


def test_a_model_of_the_earlier_version_is_not_read_in_another_way(module, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(described("1 512 1,2 0 4 21 5 4 1.5e-02 00000000"))
    refused(module, path, "earlier version", "anew")


def test_every_flipped_bit_and_every_cut_of_a_model_file_is_found(module, tmp_path):
    """A bit of white space in the file's own header may change where nothing else does."""
    model, _ = random_model(module, 1, labels=("a", "b", "c"), blocks=1, value=2)
    content, path, found = module.serialise(model), tmp_path / "model.safetensors", 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            loaded = module.load_model(str(path))
        except module.InputError:
            found += 1
        else:
            assert_equal_models(loaded, model)
        path.write_bytes(content[:place])
        refused(module, path)
    assert found > 0.95 * len(content)


def test_the_command_itself_refuses_a_damaged_model_in_one_line(runs, tmp_path):
    content = bytearray(runs("two").file.read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "model.safetensors").write_bytes(content)
    process = run_script(SCRIPTS["10kB"], "--predict", "x", "--OUTPUT_DIR", tmp_path)
    assert process.returncode == 2 and process.stderr.count(b"\n") == 1 and b"checksum" in process.stderr
