"""What the tests of Project2 share: running its script, small models of each family, and what is trained once for all."""
import collections
import contextlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("torch", "transformers", "accelerate", "sklearn", "matplotlib", "pandas", "pooch", "pyarrow", "pydantic",
               "emoji"):
    pytest.importorskip(needed, reason=f"Project2 needs {needed}; see Project2/requirements.txt")

import numpy as np
import tokenizers
import torch
import transformers

from conftest import EMOTIONS, FILLERS, csv_bytes, load_script, program, shared
from conftest import PROJECT2 as SCRIPT

sys.path.insert(0, str(SCRIPT.parent))
from classifier import evaluation, pictures, saving
from classifier.compression import comparison
from classifier.compression import variants as variants_made
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits
from classifier.settings import make_settings, run

NAMES = ["--label_names", ",".join(EMOTIONS)]  # the small data are not the default file, which brings them
FAMILIES = ("BERTweet", "CardiffRoBERTa", "ModernBERT", "MiniLM")
VARIANTS = ("pruned", "int8", "nf4", "pruned_nf4", "onnx_int8", "small", "tiny", "openvino_int8", "openvino_int4")
ADDED = ["predicted_label", "predicted_emotion", "confidence"]
TEXTS = ["i feel so lucky to have you", "i am furious", "im scared of what comes next and i cannot sleep at night", "ok"]
LONG = "i am scared " * 400
LIMIT = 600  # seconds that a process may take, on a machine that is busy too
EXACT = ["--precision", "float32"]  # so that batches differ by rounding alone, whatever the processor has
each = pytest.mark.parametrize("name", FAMILIES)


SETTINGS = make_settings(load_script(SCRIPT))  # the constants as they stand in the script


# Running the script


def run_main(home, *arguments, change=None):
    """Run main() of a fresh copy of the script from the empty folder home/cwd; returns its exit status and output.

    change: called with a MonkeyPatch before main() runs, which is undone after it. A trained model is not loaded in
    another process, which takes seconds.
    """
    for folder in ("cwd", "script"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    module = load_script(shutil.copy(SCRIPT, home / "script"))
    if not (home / "script" / "classifier").exists():
        (home / "script" / "classifier").symlink_to(SCRIPT.parent / "classifier")  # for processes of its own
    before, code = os.getcwd(), None
    with (open(home / "stdout", "w", newline="") as out, open(home / "stderr", "w", newline="") as err,
          pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
        patch.setattr(saving, "check_in_fresh_process", lambda *_: None)
        if change:
            change(patch)
        patch.setattr(sys, "argv", [str(module.__file__), *map(str, arguments)])
        os.chdir(home / "cwd")
        try:
            code = run(module.main, "BATCH_SIZE")
        except SystemExit as ended:
            code = ended.code
        finally:
            os.chdir(before)
            logging.disable(logging.NOTSET)
            signal.signal(signal.SIGINT, signal.default_int_handler)
    out, err = ((home / name).read_bytes().decode() for name in ("stdout", "stderr"))
    (home / "stdout").unlink()
    (home / "stderr").unlink()
    return SimpleNamespace(code=code, out=out, err=err)


@pytest.fixture
def call(tmp_path):
    """call(*arguments) runs main() from tmp_path/cwd; outputs go to tmp_path/out."""
    return lambda *arguments, change=None: run_main(tmp_path, "--output", tmp_path / "out", *arguments, change=change)


def untimed(patch):
    """Let no latency be measured, which takes seconds."""
    patch.setattr(evaluation, "latency", lambda *_: (0.001, 0.002))


def quick(patch):
    """Let no latency be measured and no picture be drawn, which takes seconds too."""
    untimed(patch)
    for name in ("draw_curves", "draw_confusion"):
        patch.setattr(pictures, name, lambda *_: b"")


def quick_compression(patch):
    """Let compress run its other processes in this one, to save the seconds that each takes."""
    def in_this_process(command, **_):
        child = load_script(command[1])
        argv, sys.argv = sys.argv, command[1:]
        with open(os.devnull, "w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
            code = run(child.main, "BATCH_SIZE")
        sys.argv = argv
        return SimpleNamespace(returncode=code, stderr=err.getvalue())

    quick(patch)
    patch.setattr(comparison, "subprocess", SimpleNamespace(run=in_this_process, PIPE=None, DEVNULL=None))


def assert_good(result):
    assert result.code == 0 and "Traceback" not in result.err, result.err[-3000:]


class Forks:
    """A process that has imported the script in an environment of its own, and runs command lines in forks of itself."""

    def __init__(self, environment=os.environ):
        self.process = subprocess.Popen(**program("forks.py", SCRIPT, env=environment), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(LIMIT) == 0

    def run(self, jobs):
        """Run jobs at once, each in a process of its own; returns a list of results.

        A job is a dict: home (its folder), arguments, and perhaps quick (True: see `quick_compression`), pause (seconds to
        wait before each chunk of predictions), largest (bytes that a file may have), environment (variables), or watch (a
        pattern) and changes: killed by SIGKILL once such files were written that many times.
        """
        for job in jobs:
            Path(job["home"]).mkdir(parents=True, exist_ok=True)
            job |= {"home": str(job["home"]), "arguments": [str(argument) for argument in job["arguments"]]}
        self.process.stdin.write(json.dumps(jobs, default=str) + "\n")
        self.process.stdin.flush()
        watchdog = threading.Timer(LIMIT, self.process.kill)
        watchdog.start()
        codes = json.loads(self.process.stdout.readline())
        watchdog.cancel()
        texts = [[(Path(job["home"]) / name).read_text() for name in ("stdout", "stderr")] for job in jobs]
        return [SimpleNamespace(code=code, out=out, err=err) for code, (out, err) in zip(codes, texts, strict=True)]


@pytest.fixture(scope="session")
def forks():
    """Forks for all tests that need no environment of their own: the import takes seconds."""
    with Forks() as forks:
        yield forks


# Small models of each family


def small(**changes):
    """Settings of a small encoder; its random weights are large, so that it tells texts apart."""
    return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
            "initializer_range": 0.2, **changes}


def roberta(vocabulary, positions, **changes):
    config = transformers.RobertaConfig(vocab_size=vocabulary, max_position_embeddings=positions, type_vocab_size=1,
                                        pad_token_id=1, bos_token_id=0, eos_token_id=2, **small(**changes))
    return transformers.RobertaModel(config, add_pooling_layer=False)


def make_bertweet(folder, texts):
    """BERTweet: RoBERTa of 130 positions; a vocabulary with counts, and merges in the form of fastBPE."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=700, end_of_word_suffix="</w>", show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    trained = json.loads(bpe.to_str())["model"]
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in trained["merges"]]
    words = sorted(word[:-4] if word.endswith("</w>") else f"{word}@@" for word in trained["vocab"])
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in [*words, "@USER", "HTTPURL", ":grinning_face:"]))
    codes = "".join(f"{merge} {9999 - row}\n" for row, merge in enumerate(merges))
    (folder / "bpe.codes").write_text(codes)
    tokenizer = transformers.BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    tokenizer.save_pretrained(folder)
    (folder / "bpe.codes").write_text(codes)  # transformers 5.24 leaves out the counts that it reads
    return roberta(len(tokenizer), 130, tokenizer_class="BertweetTokenizer")


def make_roberta(folder, texts):
    """CardiffRoBERTa: RoBERTa with a byte-level BPE."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(texts, vocab_size=700, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    return roberta(len(tokenizer), 514)


def make_modernbert(folder, texts):
    """ModernBERT: its tokenizer is a tokenizer.json of no class of its own."""
    parts = tokenizers.pre_tokenizers
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = parts.ByteLevel(add_prefix_space=False)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    bpe.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, show_progress=False, initial_alphabet=parts.ByteLevel.alphabet()))
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), special, strict=True))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, model_input_names=["input_ids", "attention_mask"],
                                                     model_max_length=8192, **names)
    tokenizer.save_pretrained(folder)
    return transformers.ModernBertModel(transformers.ModernBertConfig(
        vocab_size=len(tokenizer), pad_token_id=3, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2,
        max_position_embeddings=8192, global_attn_every_n_layers=2, local_attention=16, **small()))


def make_minilm(folder, texts):
    """MiniLM: BERT with WordPiece; wide enough for its weights to be more than the files' overhead, without dropout."""
    counts = collections.Counter(re.findall(r"\w+|[^\w\s]", " ".join(texts).lower()))  # a trainer breaks ties by chance
    letters = sorted({letter for word in counts for letter in word})
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))[:800]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    return transformers.BertModel(transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **small(hidden_size=96, intermediate_size=384)))


def logits_of_folder(folder, texts):
    model, tokenizer, found = load_checkpoint(SETTINGS, str(folder))
    return predict_logits(model, tokenizer, texts, found)


# What is made once for all files


@pytest.fixture(scope="session")
def script():
    """The script as a module."""
    return load_script(SCRIPT)


def varied_rows(number, seed):
    """Return rows of (text, label), all different, with words of many pieces; the classes are as uneven as in real data."""
    rng, rows = random.Random(seed), []
    moods, syllables = "sad happy love angry afraid shocked".split(), "ba de fi go lu ma ne pi ro su ta ve wi zo sha the ing".split()
    for row, label in enumerate(rng.choices("012345", (29, 33, 8, 13, 12, 5), k=number)):
        words = [moods[int(label)], *rng.choices(FILLERS, k=rng.randrange(2, 15)), f"n{seed}x{row}"]
        words += ["".join(rng.choices(syllables, k=rng.randrange(2, 4))) for _ in range(4)]
        rows.append((" ".join(rng.sample(words, len(words))), label))
    return rows


@pytest.fixture(autouse=True)
def techniques():
    """The dict of variants is put back as it was, in its order, after a test that takes some out."""
    kept = dict(variants_made.VARIANTS)
    yield
    variants_made.VARIANTS.clear()
    variants_made.VARIANTS.update(kept)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small files of made rows, 299 to train on and 120 for validation, all different."""
    return shared(tmp_path_factory, "project2_data", lambda: made_data(tmp_path_factory))


def made_data(tmp_path_factory):
    folder, train, val = tmp_path_factory.mktemp("data"), varied_rows(299, 1), varied_rows(120, 2)
    assert {label for _, label in train} == {label for _, label in val} == set("012345")
    for name, part in (("train", train), ("val", val)):
        (folder / f"{name}.csv").write_bytes(csv_bytes(part))
    return SimpleNamespace(folder=folder, train=train, val=val, val_path=folder / "val.csv",
                           paths=["--train", folder / "train.csv", "--val", folder / "val.csv", *NAMES])


@pytest.fixture(scope="session")
def bases(data, tmp_path_factory):
    """{family: the folder of a small pretrained encoder with random weights}"""
    return shared(tmp_path_factory, "bases", lambda: made_bases(data, tmp_path_factory))


def made_bases(data, tmp_path_factory):
    folders, texts = {}, [text for text, _ in data.train]
    torch.manual_seed(0)
    for name, make in zip(FAMILIES, (make_bertweet, make_roberta, make_modernbert, make_minilm), strict=True):
        folders[name] = tmp_path_factory.mktemp(f"base_{name}")
        make(folders[name], texts).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def families(data, bases, tmp_path_factory):
    """{family: its finished training}: home, best (its folder), out (what was printed), results."""
    return shared(tmp_path_factory, "families", lambda: trained_families(data, bases, tmp_path_factory))


def trained_families(data, bases, tmp_path_factory):
    found = {}
    for name in FAMILIES:
        home = tmp_path_factory.mktemp(name)
        result = run_main(home, *data.paths, "--output", home / "out", "--model", name, "--model_id", bases[name],
                          "--epochs", 2, "--LEARNING_RATE", 0.005, "--HEAD_RATE", 1, change=untimed)
        assert_good(result)
        results = json.loads((home / "out" / name / "results.json").read_text())
        found[name] = SimpleNamespace(home=home, best=home / "out" / f"best_{name}", out=result.out, results=results)
    return found


@pytest.fixture(scope="session")
def loaded(families):
    """{family: (model, tokenizer, settings)} as the script loads them, in float32."""
    return {name: load_checkpoint(SETTINGS, str(families[name].best)) for name in FAMILIES}


@pytest.fixture(scope="session")
def variants(data, families, tmp_path_factory):
    """{family: its compression}: home, result, rows {variant: row of compression.json}; in this process, to save time."""
    return shared(tmp_path_factory, "variants", lambda: made_variants(data, families, tmp_path_factory))


def made_variants(data, families, tmp_path_factory):
    found = {}
    for name in FAMILIES:
        home = tmp_path_factory.mktemp(f"compress_{name}")
        result = run_main(home, "--mode", "compress", "--weights", families[name].best, *data.paths, "--test", data.val_path,
                          "--output", home / "out", "--tiny_pieces", 1, *EXACT, change=quick_compression)
        assert_good(result)
        content = json.loads((home / "out" / "compression.json").read_text())
        found[name] = SimpleNamespace(home=home, result=result, rows={row["variant"]: row for row in content["variants"]})
    return found


@pytest.fixture(scope="session")
def fresh(families, variants, tmp_path_factory):
    """What a process without network, which never saw the training, makes of TEXTS: pipelines' answers, variants' logits."""
    return shared(tmp_path_factory, "fresh", lambda: made_fresh(families, variants, tmp_path_factory))


def made_fresh(families, variants, tmp_path_factory):
    home = tmp_path_factory.mktemp("fresh")
    folders = {(name, variant): str(variants[name].home / "out" / f"best_{name}_{variant}") for name in FAMILIES
               for variant in VARIANTS if variants[name].rows[variant]["status"] == "measured"}
    jobs = {"texts": TEXTS, "long": LONG, "folders": list(folders.values()),
            "pipelines": [str(families[name].best) for name in FAMILIES]}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf")}
    result = subprocess.run(**program("saved_models.py", SCRIPT, home / "logits.npz", env=environment),
                            input=json.dumps(jobs).encode(), capture_output=True, timeout=LIMIT, cwd=home)
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    answers = [json.loads(line[6:]) for line in result.stdout.decode().splitlines() if line.startswith("RESULT")]
    with np.load(home / "logits.npz") as logits:
        return SimpleNamespace(answers=dict(zip(FAMILIES, answers, strict=True)),
                               logits={key: logits[folder] for key, folder in folders.items()})


@pytest.fixture
def short(bases, tmp_path):
    """short(train, val) writes these rows and returns the options that train the small MiniLM on them for an epoch."""
    def options(train, val, name="train"):
        paths = []
        for flag, rows in (("--train", train), ("--val", val)):
            path = tmp_path / f"{name}_{flag[2:]}.csv"
            path.write_bytes(csv_bytes(rows))
            paths += [flag, path]
        return [*paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 1]

    return options
