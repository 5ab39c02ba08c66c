"""Project2/emotion_classifier.py: every mode with each family, resuming, compression, the hub, bad input."""
import ast
import contextlib
import csv
import hashlib
import http.server
import io
import itertools
import json
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("torch", "transformers", "accelerate", "sklearn", "matplotlib", "pandas", "requests", "emoji"):
    pytest.importorskip(needed, reason=f"Project2 needs {needed}; see Project2/requirements.txt")

import numpy as np
import tokenizers
import torch
import transformers
from hypothesis import given, settings, strategies
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, f1_score

from conftest import REPO, SHARED_DATA, load_script, run_script, tree

SCRIPT = Path(os.environ.get("PROJECT2_SCRIPT") or REPO / "Project2" / "emotion_classifier.py")
GRU = REPO / "Project1" / "GRU.py"
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
FAMILIES = ("BERTweet", "CardiffRoBERTa", "ModernBERT", "MiniLM")
VARIANTS = ("pruned", "int8", "nf4", "pruned_nf4", "onnx_int8", "small")
ADDED = ["predicted_label", "predicted_emotion", "confidence"]
TEXTS = ["i feel so lucky to have you", "i am furious", "im scared of what comes next and i cannot sleep at night", "ok"]
LONG = "i am scared " * 400
LIMIT = 600  # seconds that a process may take, on a machine that is busy too
EXACT = ["--precision", "float32"]  # so that batches differ by rounding alone, whatever the processor has
each = pytest.mark.parametrize("name", FAMILIES)


# Helpers


def csv_bytes(rows, header=("text", "label")):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue().encode()


def read_csv(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def made_rows(number, seed):
    """Rows of (text, label) of all six classes, all different; for want of real data."""
    rng, rows = random.Random(seed), []
    fillers = "i you the a to my is in on at it me so just now today work home go day we feel".split()
    moods = ["sad", "happy", "love", "angry", "afraid", "shocked"]
    for row in range(number):
        words = [moods[row % 6], *rng.choices(fillers, k=rng.randrange(3, 25)), f"word{seed}x{row}"]
        rows.append((" ".join(words), str(row % 6)))
    return rows


def run_main(home, *arguments, change=None):
    """Run main() of a fresh copy of the script from the empty folder home/cwd; returns its exit status and output.

    change: called with the module before main() runs.
    """
    for folder in ("cwd", "script"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    module = load_script(shutil.copy(SCRIPT, home / "script"))
    if change:
        change(module)
    before, argv, code = os.getcwd(), sys.argv, None
    sys.argv = [str(module.__file__), *map(str, arguments)]
    with open(home / "stdout", "w", newline="") as out, open(home / "stderr", "w", newline="") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            os.chdir(home / "cwd")
            try:
                code = module.main()
            except SystemExit as ended:
                code = ended.code
            finally:
                os.chdir(before)
                sys.argv = argv
                logging.disable(logging.NOTSET)
    out, err = ((home / name).read_bytes().decode() for name in ("stdout", "stderr"))
    (home / "stdout").unlink()
    (home / "stderr").unlink()
    return SimpleNamespace(code=code, out=out, err=err)


@pytest.fixture
def call(tmp_path):
    """call(*arguments) runs main() from tmp_path/cwd; outputs go to tmp_path/out."""
    return lambda *arguments, change=None: run_main(tmp_path, "--output", tmp_path / "out", *arguments, change=change)


def assert_good(result):
    assert result.code == 0 and "Traceback" not in result.err, result.err[-3000:]


def assert_one_line(result, *words):
    assert result.code == 2, result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1 and result.err.endswith("\n"), result.err
    assert "FINAL SUMMARY" not in result.out
    for word in words:
        assert str(word) in result.err, result.err


FORKS = """
import json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
from conftest import load_script
module = load_script(sys.argv[2])
rounds = json.load(sys.stdin)

def start(job):
    child = os.fork()
    if child:
        return child
    os.makedirs(job["home"] + "/cwd", exist_ok=True)
    os.chdir(job["home"] + "/cwd")
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{job['home']}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if job.get("largest"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"], job["largest"]))
    sys.argv = [module.__file__, *job["arguments"]]
    code = 70
    try:
        code = module.main()
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}", flush=True)
    finally:
        os._exit(code)

def wait(job, child):
    seen = set()
    while job.get("watch") and len(seen) < job["changes"]:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        try:
            found = os.stat(job["watch"])
            seen.add((found.st_ino, found.st_mtime_ns))
        except FileNotFoundError:
            pass
        time.sleep(0.002)
    if job.get("watch"):
        os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

codes = []
for jobs in rounds:
    children = [start(job) for job in jobs]
    codes.append([wait(job, child) for job, child in zip(jobs, children)])
print(json.dumps(codes))
"""


def run_forks(*rounds, environment=None):
    """Run command lines, each in a process of its own, those of a round at once; returns a list of results a round.

    A job is a dict: home (its folder), arguments, and perhaps largest (bytes that a file may have),
    or watch and changes: killed by SIGKILL once that file was written that many times. The processes
    are forks of one that has only imported the script, which takes seconds.
    """
    for job in (job for jobs in rounds for job in jobs):
        Path(job["home"]).mkdir(parents=True, exist_ok=True)
        job |= {"home": str(job["home"]), "arguments": [str(argument) for argument in job["arguments"]]}
    result = subprocess.run([sys.executable, "-c", FORKS, str(Path(__file__).parent), str(SCRIPT)],
                            input=json.dumps(rounds, default=str).encode(), capture_output=True, timeout=LIMIT,
                            env={**os.environ, **(environment or {})})
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    found = []
    for jobs, codes in zip(rounds, json.loads(result.stdout.splitlines()[-1]), strict=True):
        texts = [[(Path(job["home"]) / name).read_text() for name in ("stdout", "stderr")] for job in jobs]
        found.append([SimpleNamespace(code=code, out=out, err=err) for code, (out, err) in zip(codes, texts, strict=True)])
    return found


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
    words = [word[:-4] if word.endswith("</w>") else f"{word}@@" for word in trained["vocab"]]
    (folder / "bpe.codes").write_text("".join(f"{merge} {9999 - row}\n" for row, merge in enumerate(merges)))
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in [*words, "@USER", "HTTPURL", ":grinning_face:"]))
    tokenizer = transformers.BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    tokenizer.save_pretrained(folder)
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
    pieces = tokenizers.BertWordPieceTokenizer()
    pieces.train_from_iterator(texts, vocab_size=900, show_progress=False)
    pieces.save_model(str(folder))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    return transformers.BertModel(transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **small(hidden_size=96, intermediate_size=384)))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small files of real rows, 299 to train on and 120 for validation, all different."""
    folder, real = tmp_path_factory.mktemp("data"), SHARED_DATA / "emotion"
    if (real / "train.csv").is_file():
        rows, val = ([(row["text"], row["label"]) for row in read_csv((real / f"{name}.csv").read_bytes())]
                     for name in ("train", "validation"))
    else:
        rows, val = made_rows(500, 0), made_rows(200, 1)
    val = val[:112] + [row for row in val[112:] if row[1] == "5"][:8]  # surprise is rare
    rows = list({text: (text, label) for text, label in rows[:500] if text not in dict(val)}.values())
    train = rows[:299]
    assert {label for _, label in train} == {label for _, label in val} == set("012345")
    for name, part in (("train", train), ("val", val)):
        (folder / f"{name}.csv").write_bytes(csv_bytes(part))
    return SimpleNamespace(folder=folder, train=train, val=val, val_path=folder / "val.csv",
                           paths=["--train", folder / "train.csv", "--val", folder / "val.csv"])


@pytest.fixture(scope="session")
def bases(data, tmp_path_factory):
    """{family: the folder of a small pretrained encoder with random weights}"""
    folders, texts = {}, [text for text, _ in data.train]
    torch.manual_seed(0)
    for name, make in zip(FAMILIES, (make_bertweet, make_roberta, make_modernbert, make_minilm), strict=True):
        folders[name] = tmp_path_factory.mktemp(f"base_{name}")
        make(folders[name], texts).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def families(data, bases, tmp_path_factory):
    """{family: its finished training}: home, best (its folder), out (what was printed), results."""
    found = {}
    for name in FAMILIES:
        home = tmp_path_factory.mktemp(name)
        result = run_main(home, *data.paths, "--output", home / "out", "--model", name, "--model_id", bases[name],
                          "--epochs", 2, "--LEARNING_RATE", 0.005, "--HEAD_RATE", 1)
        assert_good(result)
        results = json.loads((home / "out" / name / "results.json").read_text())
        found[name] = SimpleNamespace(home=home, best=home / "out" / f"best_{name}", out=result.out, results=results)
    return found


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """The script as a module; for tests that change none of its constants."""
    return load_script(SCRIPT)


@pytest.fixture(scope="session")
def loaded(script, families):
    """{family: (model, tokenizer, settings)} as the script loads them, in float32."""
    return {name: script.load_checkpoint(str(families[name].best)) for name in FAMILIES}


def quick_compression(module):
    """Let compress run its other processes in this one, to save the seconds that each takes to start, and no latency."""
    def run(command, **_):
        child = load_script(command[1])
        child.latency = module.latency
        argv, sys.argv = sys.argv, command[1:]
        with open(os.devnull, "w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
            code = child.main()
        sys.argv = argv
        return SimpleNamespace(returncode=code, stderr=err.getvalue())

    module.latency = lambda *_: (0.001, 0.002)
    module.subprocess = SimpleNamespace(run=run, PIPE=None, DEVNULL=None)


@pytest.fixture(scope="session")
def variants(data, families, tmp_path_factory):
    """{family: its compression}: home, result, rows {variant: row of compression.json}.

    MiniLM's is measured in fresh processes, as users' are; the others' in this one, to save time.
    """
    found = {}
    for name in FAMILIES:
        home = tmp_path_factory.mktemp(f"compress_{name}")
        result = run_main(home, "--mode", "compress", "--weights", families[name].best, "--val", data.val_path,
                          "--output", home / "out", *EXACT, change=None if name == "MiniLM" else quick_compression)
        assert_good(result)
        content = json.loads((home / "out" / "compression.json").read_text())
        found[name] = SimpleNamespace(home=home, result=result, rows={row["variant"]: row for row in content["variants"]})
    return found


def logits_of_folder(script, folder, texts):
    model, tokenizer, found = script.load_checkpoint(str(folder))
    return script.predict_logits(model, tokenizer, texts, found)


# Training, each family


@each
def test_training_saves_the_model_and_its_record(families, data, name):
    run = families[name]
    files = tree(run.home / "out")
    assert {"report.json", "report.csv", "class_distribution.png", f"{name}/results.json", f"{name}/curves.png",
            f"{name}/confusion.png", f"best_{name}/model.safetensors", f"best_{name}/config.json",
            f"best_{name}/README.md"} <= set(files)
    assert all(path.split("/")[0] in (name, f"best_{name}") or "/" not in path for path in files)
    assert not [path for path in files if path.endswith((".pt", ".bin", ".pkl")) or "partial" in path]
    assert all(content.startswith(b"\x89PNG") for path, content in files.items() if path.endswith(".png"))
    config = json.loads(files[f"best_{name}/config.json"])
    assert [config["id2label"][str(number)] for number in range(6)] == list(EMOTIONS)
    assert config["label2id"] == {emotion: number for number, emotion in enumerate(EMOTIONS)}
    card = files[f"best_{name}/README.md"].decode()
    results = run.results
    assert name in card and f"{results['validation_accuracy']:.4f}" in card and "NUM_EPOCHS: 2" in card
    assert f"{results['validation_macro_f1']:.4f}" in card and all(emotion in card for emotion in EMOTIONS)
    assert not tree(run.home / "cwd") and {path.name for path in run.home.iterdir()} == {"cwd", "script", "out"}
    assert {path.name for path in (run.home / "script").iterdir()} == {SCRIPT.name}


@each
def test_training_ends_with_the_summary_that_agrees_with_the_records(families, name):
    run, results = families[name], families[name].results
    report = json.loads((run.home / "out" / "report.json").read_text())
    assert report["best"] == name and report["models"] == {name: results}
    assert run.out.endswith(
        "================ FINAL SUMMARY ================\n"
        f"Best Model: {name} ({run.best})\n"
        f"Validation Accuracy: {results['validation_accuracy']:.4f}\n"
        f"Validation Macro F1: {results['validation_macro_f1']:.4f}\n"
        f"Total Training Time: {results['training_seconds']:.1f} seconds\n"
        f"Model Size: {results['model_bytes']} bytes\n"
        "===============================================\n")
    assert results["model_bytes"] == sum(map(len, tree(run.best).values()))
    assert (results["train_rows"], results["validation_rows"], results["epochs"]) == (299, 120, 2)
    assert results["seed"] == 1 and results["versions"]["torch"] == torch.__version__ and results["dataset"]
    (row,) = read_csv((run.home / "out" / "report.csv").read_bytes())
    assert row["model"] == name and float(row["validation_macro_f1"]) == pytest.approx(results["validation_macro_f1"])


@each
def test_training_starts_from_the_pretrained_weights(families, bases, name):
    before, after = load_file(bases[name] / "model.safetensors"), load_file(families[name].best / "model.safetensors")
    found = {key: next(value for full, value in after.items() if full.endswith(key)) for key in before if "pooler" not in key}
    matrices = [key for key in found if found[key].ndim > 1]
    assert len(matrices) > 8
    for key in matrices:
        change = (found[key] - before[key]).abs().max()
        assert 0 < change < 0.3 or "token_type" in key, (key, change)


def test_training_learns(call, bases, tmp_path):
    """Made rows, which one word each gives away."""
    for name, rows in (("train", made_rows(300, 2)), ("val", made_rows(60, 3))):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(rows))
    assert_good(call("--train", tmp_path / "train.csv", "--val", tmp_path / "val.csv", "--model_id", bases["MiniLM"],
                     "--epochs", 6, "--LEARNING_RATE", 0.005, "--model", "MiniLM"))
    history = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())["history"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"] and history[-1]["val_loss"] < history[0]["val_loss"]


def test_all_models_are_trained_and_the_best_is_named(call, data, bases, tmp_path):
    def change(module):
        module.MODELS = {name: str(bases[name]) for name in FAMILIES[:2]}
        module.latency = lambda *_: (0.001, 0.002)

    result = call(*data.paths, "--epochs", 1, change=change)
    assert_good(result)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    scores = {name: results["validation_macro_f1"] for name, results in report["models"].items()}
    assert set(scores) == set(FAMILIES[:2]) and scores[report["best"]] == max(scores.values())
    assert f"Best Model: {report['best']} (" in result.out
    assert [row["model"] for row in read_csv((tmp_path / "out" / "report.csv").read_bytes())][0] == report["best"]
    assert {f"best_{name}/model.safetensors" for name in scores} <= set(tree(tmp_path / "out"))
    told = call("--text", TEXTS[0], change=change)  # the best one, without --weights
    assert told.code == 0 and told.out == call("--text", TEXTS[0], "--weights", report["weights"]).out


def test_the_same_command_gives_the_same_bytes_and_other_settings_do_not(call, families, bases, data, tmp_path):
    name, weights = "CardiffRoBERTa", {}
    arguments = [*data.paths, "--model", name, "--model_id", bases[name], "--LEARNING_RATE", 0.005, "--HEAD_RATE", 1]
    for how, more in (("same", ["--NUM_EPOCHS", 2]), ("seed", ["--epochs", 2, "--seed", 2]),
                      ("weighted", ["--epochs", 2, "--CLASS_WEIGHTS", 1])):
        torch.rand(3), np.random.rand(3), random.random()
        assert_good(call(*arguments, *more, "--output", tmp_path / how))
        weights[how] = (tmp_path / how / f"best_{name}" / "model.safetensors").read_bytes()
    assert weights["same"] == (families[name].best / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == 3


def test_misleading_rows_are_reported_and_left_out(call, data, bases, tmp_path):
    """The weights are those of a training without these rows."""
    def run(rows, folder):
        path = tmp_path / f"{folder}.csv"
        path.write_bytes(csv_bytes(rows))
        result = call("--train", path, "--val", data.val_path, "--model", "MiniLM", "--model_id", bases["MiniLM"],
                      "--epochs", 1, "--output", tmp_path / folder)
        assert_good(result)
        return result.out, (tmp_path / folder / "best_MiniLM" / "model.safetensors").read_bytes()

    clean = data.train[:100] + [row for row in data.train[100:] if row[1] in "25"]
    rows = [data.val[0], *clean[:50], clean[3], clean[3], ("two minds", "0"), *clean[50:], ("two minds", "1"),
            data.val[1], (data.val[2][0], "5"), ("two minds", "0")]
    out, weights = run(rows, "mixed")
    assert (f"data: {len(clean)} training, 120 validation rows; left out of training: 3 that stand in validation too, "
            "3 whose text has several labels, 2 repeats") in out
    assert weights == run(clean, "clean")[1]
    results = json.loads((tmp_path / "mixed" / "MiniLM" / "results.json").read_text())
    assert results["train_rows"] == len(clean)
    assert results["left_out"] == {"in_validation": 3, "contradictory": 3, "repeated": 2}


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_keeps_the_epoch_of_the_best_macro_f1(call, data, bases, tmp_path, patience):
    """Loss and accuracy, which improve to the end, choose nothing."""
    f1, seen = [0.2, 0.6, 0.5, 0.3, 0.1, 0.05, 0.01], []

    def change(module):
        module.latency = lambda *_: (0.001, 0.002)

        def scores(labels, logits):
            seen.append(np.array(logits))
            epoch = len(seen) - 1
            return 1 / (epoch + 1), epoch / 10, f1[epoch]
        module.scores = scores

    result = call(*data.paths, "--model_id", bases["MiniLM"], "--model", "MiniLM", "--epochs", 7, "--PATIENCE", patience,
                  "--LEARNING_RATE", 0.01, *EXACT, change=change)
    assert_good(result)
    results = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())
    assert [entry["val_macro_f1"] for entry in results["history"]] == f1[:2 + patience]
    epochs, saved = seen[:2 + patience], seen[2 + patience]
    assert np.abs(saved - epochs[1]).max() < 1e-4, "what is saved is the second epoch's"
    assert all(np.abs(saved - epoch).max() > 1e-3 for number, epoch in enumerate(epochs) if number != 1)


# Killed and resumed; several processes


def resumable(data, bases, out, *more):
    return [*data.paths, "--output", out, "--model", "CardiffRoBERTa", "--model_id", bases["CardiffRoBERTa"], "--epochs", 3,
            "--BATCH_SIZE", 16, "--LEARNING_RATE", 0.005, "--CHECKPOINT_SECONDS", 0, *more]


def test_a_killed_training_goes_on_to_the_same_weights(data, bases, tmp_path):
    """19 steps an epoch, and a checkpoint after each; killed in each of the three epochs."""
    def job(home, *more, out=None, **how):
        out = out or tmp_path / home / "out"
        return {"home": tmp_path / home, "arguments": resumable(data, bases, out, *more), **how}

    killed = tmp_path / "killed" / "out"
    kill = {"watch": str(killed / "CardiffRoBERTa" / "checkpoint.pt"), "changes": 17}
    (whole, *_), (first,), (second,), (third,), (resumed, *_) = run_forks(
        [job("whole"), job("seeded", "--seed", 9)],
        [job("killed1", out=killed, **kill)], [job("killed2", out=killed, **kill)], [job("killed3", out=killed, **kill)],
        [job("killed4", out=killed)])
    assert whole.code == resumed.code == 0, resumed.err + whole.err
    assert [run.code for run in (first, second, third)] == [-9] * 3, [run.err for run in (first, second, third)]
    assert "goes on" not in first.out + whole.out
    steps = []
    for run in (second, third, resumed):
        step, epoch = map(int, re.search(r"goes on from step (\d+) of epoch (\d+)", run.out).groups())
        steps.append(19 * epoch + step)
    assert sorted(set(steps)) == steps and 19 < steps[0] < steps[-1] < 19 * 4
    best = {name: tree(tmp_path / name / "out" / "best_CardiffRoBERTa") for name in ("whole", "killed", "seeded")}
    assert best["killed"]["model.safetensors"] == best["whole"]["model.safetensors"] != best["seeded"]["model.safetensors"]
    histories = [json.loads((tmp_path / name / "out" / "CardiffRoBERTa" / "results.json").read_text())["history"]
                 for name in ("killed", "whole")]
    assert [[entry["loss"] for entry in history] for history in histories][0] == [entry["loss"] for entry in histories[1]]
    assert set(tree(killed)) == set(tree(tmp_path / "whole" / "out")), "nothing of the killed runs is left"


def test_other_settings_or_data_start_a_killed_training_anew(call, data, bases, tmp_path):
    checkpoint = tmp_path / "out" / "CardiffRoBERTa" / "checkpoint.pt"

    def stop(module):
        save = module.save_checkpoint

        def stopping(path, state):
            save(path, state)
            if state["position"] == 5:
                raise KeyboardInterrupt
        module.save_checkpoint = stopping

    def run(*more, **how):
        return call(*resumable(data, bases, tmp_path / "out", *more), **how)

    fresh = call(*resumable(data, bases, tmp_path / "fresh", "--seed", 9, "--epochs", 1))
    assert_good(fresh)
    stopped = run(change=stop)
    assert stopped.code == 130 and "stopped" in stopped.err and checkpoint.is_file()
    other = tmp_path / "other.csv"
    other.write_bytes(csv_bytes([*data.train, ("one more", "1")]))
    for more in (["--seed", 9, "--epochs", 1], ["--train", other, "--epochs", 1], ["--RESUME", "False", "--epochs", 1]):
        if not checkpoint.exists():
            assert run(change=stop).code == 130
        result = run(*more)
        assert_good(result)
        assert "goes on" not in result.out
        assert ("starts anew" in result.out) == ("--RESUME" not in more)
        if "--seed" in more:
            ours, theirs = (tmp_path / folder / "best_CardiffRoBERTa" / "model.safetensors" for folder in ("out", "fresh"))
            assert ours.read_bytes() == theirs.read_bytes()
    checkpoint.write_bytes(b"PK\x03\x04 damaged")
    assert_one_line(run(), checkpoint, "RESUME")


@pytest.mark.parametrize("name", FAMILIES)
def test_each_part_is_trained_at_its_own_step_size(script, loaded, monkeypatch, name):
    """The head at HEAD_RATE times the rate, each layer at LAYER_DECAY of the one above; no decay for biases and norms."""
    model = loaded[name][0]
    monkeypatch.setattr(script, "HEAD_RATE", 10.0)
    monkeypatch.setattr(script, "LAYER_DECAY", 0.5)
    groups = script.parameter_groups(model, 1.0)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert set(found) == set(names.values()) and sum(len(group["params"]) for group in groups) == len(names)
    for key, group in found.items():
        assert group["lr"] == group["peak"]
        if "classifier" in key or "pooler" in key or key.startswith("head"):
            assert group["peak"] == 10, key
        elif "embeddings" in key:
            assert group["peak"] == 0.5 ** 3 and not group["weight_decay"], key  # two layers are above
        elif layer := re.search(r"layers?[.](\d)", key):
            assert group["peak"] == 0.5 ** (2 - int(layer[1])), key
        else:
            assert "norm" in key and group["peak"] == 1, key
        assert not group["weight_decay"] or key.endswith("weight") and "norm" not in key.lower(), key
    monkeypatch.setattr(script, "LAYER_DECAY", 1.0)
    assert {group["peak"] for group in script.parameter_groups(model, 1.0)} == {1.0, 10.0}


@settings(max_examples=100, deadline=None)
@given(strategies.integers(1, 5000), strategies.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_the_step_size_rises_over_a_share_of_the_steps_and_falls_to_nothing(steps, share):
    script = script_module()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "WARM_UP", share)
        sizes = np.array([script.schedule(step, steps) for step in range(steps)])
    top = int(sizes.argmax())
    assert (0 < sizes).all() and sizes.max() <= 1 and share * steps - 1 <= top <= share * steps + 1, "never longer than its share"
    assert (np.diff(sizes[:top + 1]) > 0).all() and (np.diff(sizes[top:]) < 0).all()
    assert sizes[-1] <= 1 / (steps - share * steps) + 1e-9 and sizes[top] >= 1 - 1 / (1 + share * steps)


@given(strategies.lists(strategies.integers(0, 5), min_size=1).map(lambda extra: np.array([0, 1, 2, 3, 4, 5, *extra])),
       strategies.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=100, deadline=None)
def test_class_weights_favour_rare_classes_and_are_one_on_average(labels, power):
    script, counts = script_module(), np.bincount(labels, minlength=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "CLASS_WEIGHTS", power)
        weights = script.class_weights(labels).numpy()
    assert weights[labels].mean() == pytest.approx(1, abs=1e-5)
    assert weights * counts ** power == pytest.approx(weights[0] * counts[0] ** power, rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(strategies.integers(0, 99), strategies.sampled_from([np.int8, np.uint8]), strategies.floats(1, 8))
def test_coarser_weights_have_no_more_entropy_than_they_may(seed, kind, bits):
    limits = np.iinfo(kind)
    middle = (limits.max + limits.min + 1) / 2
    values = np.clip(np.random.default_rng(seed).normal(middle, 30, (40, 50)).round(), limits.min, limits.max).astype(kind)
    coarse = script_module().coarsen(values, bits)
    _, counts = np.unique(coarse, return_counts=True)
    shares = counts / coarse.size
    assert coarse.dtype == kind and coarse.shape == values.shape and -(shares * np.log2(shares)).sum() <= bits + 1e-9
    assert bits < 7.5 or np.array_equal(coarse, values), "what is small enough already stays as it is"
    assert np.abs(coarse.astype(int) - values).max() <= 2 ** (9 - bits), "no coarser than it must be"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_two_processes_train_as_one_does(script, data, bases, families, tmp_path, direct_network):
    """MiniLM's small model has no dropout, so that only the order of sums differs. 299 rows do not divide evenly."""
    arguments = [*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 2, "--LEARNING_RATE", 0.005,
                 "--HEAD_RATE", 1]
    launchers = {"accelerate": ["accelerate.commands.launch", "--num_processes", 2, "--cpu"],
                 "torchrun": ["torch.distributed.run", "--nproc_per_node", 2, "--master_port", free_port()]}
    found = {}
    for name, launcher in launchers.items():
        (tmp_path / name).mkdir()
        command = [sys.executable, "-m", *launcher, SCRIPT, *arguments, "--output", tmp_path / name / "out", *EXACT]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hf")}
        result = subprocess.run([*map(str, command)], capture_output=True, timeout=LIMIT, cwd=tmp_path / name, env=environment)
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        out = result.stdout.decode()
        assert out.count("FINAL SUMMARY") == 1 and out.count("data: ") == 1, "one process speaks"
        assert ("starts the 2 asked for" in out) == (name == "accelerate")
        found[name] = json.loads((tmp_path / name / "out" / "MiniLM" / "results.json").read_text())
        assert set(tree(tmp_path / name / "out")) == set(tree(families["MiniLM"].home / "out"))
    assert_good(run_main(tmp_path, *arguments, "--output", tmp_path / "one", *EXACT))
    one = json.loads((tmp_path / "one" / "MiniLM" / "results.json").read_text())
    texts = [text for text, _ in data.val]
    logits = logits_of_folder(script, tmp_path / "one" / "best_MiniLM", texts)
    for name, results in found.items():
        for key in ("loss", "val_loss"):
            expected = [entry[key] for entry in one["history"]]
            assert [entry[key] for entry in results["history"]] == pytest.approx(expected, rel=5e-3)
        assert abs(results["validation_accuracy"] - one["validation_accuracy"]) < 0.02
        assert abs(results["validation_macro_f1"] - one["validation_macro_f1"]) < 0.03
        theirs = logits_of_folder(script, tmp_path / name / "out" / "best_MiniLM", texts)
        assert np.abs(theirs - logits).max() < 0.05, name


@pytest.mark.parametrize("launcher", (["/bin/accelerate", "launch"], ["python3", "/bin/accelerate-launch"],
                                      ["python3", "-m", "accelerate.commands.launch"]))
def test_the_number_of_processes_is_the_launchers(script, launcher, tmp_path):
    def asked_for(*options):
        return script.processes_asked_for([*launcher, *options, "--cpu", "emotion_classifier.py", "--num_processes", "9"])

    settings = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 3\nuse_cpu: true\n"
    (tmp_path / "accelerate.yaml").write_text(settings + "num_machines: 1\nmixed_precision: 'no'\n")
    from_file = ["--config_file", str(tmp_path / "accelerate.yaml")]
    assert asked_for("--num_processes", "2") == asked_for("--num-processes=2", *from_file) == 2
    assert asked_for(*from_file) == 3 and asked_for("--num_processes", "1") == asked_for("--num_machines", "1") == 1
    assert script.processes_asked_for(["python3", "run.py", "--num_processes", "2"]) == 1, "no launcher"
    with pytest.raises(script.InputError, match="torchrun --nnodes 2"):
        asked_for("--num_machines", "2", "--num_processes", "4")


# The saved model


FRESH = """
import json, sys, numpy as np
sys.path.insert(0, sys.argv[1])
from conftest import load_script
from transformers import pipeline
module = load_script(sys.argv[2])
jobs = json.load(sys.stdin)
for folder in jobs["pipelines"]:
    classify = pipeline("text-classification", folder, device="cpu", truncation=True)
    print("RESULT" + json.dumps(classify([*jobs["texts"], jobs["long"]])))
logits = {folder: module.predict_logits(*module.load_checkpoint(folder)[:2], jobs["texts"], module.load_checkpoint(folder)[2])
          for folder in jobs["folders"]}
np.savez(sys.argv[3], **logits)
"""


@pytest.fixture(scope="session")
def fresh(families, variants, tmp_path_factory):
    """What a process without network, which never saw the training, makes of TEXTS: pipelines' answers, variants' logits."""
    home = tmp_path_factory.mktemp("fresh")
    folders = {(name, variant): str(variants[name].home / "out" / f"best_{name}_{variant}") for name in FAMILIES
               for variant in VARIANTS if variants[name].rows[variant]["status"] == "measured"}
    jobs = {"texts": TEXTS, "long": LONG, "folders": list(folders.values()),
            "pipelines": [str(families[name].best) for name in FAMILIES]}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf")}
    result = subprocess.run([sys.executable, "-c", FRESH, str(Path(__file__).parent), str(SCRIPT), home / "logits.npz"],
                            input=json.dumps(jobs).encode(), capture_output=True, timeout=LIMIT, cwd=home, env=environment)
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    answers = [json.loads(line[6:]) for line in result.stdout.decode().splitlines() if line.startswith("RESULT")]
    with np.load(home / "logits.npz") as logits:
        return SimpleNamespace(answers=dict(zip(FAMILIES, answers, strict=True)),
                               logits={key: logits[folder] for key, folder in folders.items()})


@each
def test_folder_is_a_pipeline_without_network_and_says_what_the_script_says(fresh, families, call, name):
    texts = [*TEXTS, LONG]  # both cut the last where the model's positions or MAX_LENGTH end
    result = call("--weights", families[name].best, *EXACT, *(part for text in texts for part in ("--text", text)))
    assert_good(result)
    lines = [line.split("\t") for line in result.out.splitlines()]
    for (label, emotion, confidence, text), answer, expected in zip(lines, fresh.answers[name], texts, strict=True):
        assert text.strip() == expected.strip() and EMOTIONS[int(label)] == emotion == answer["label"]
        assert float(confidence) == pytest.approx(answer["score"], abs=1e-3)


def test_command_line_speaks_to_a_shell(families):
    result = run_script(SCRIPT, "--weights", families["MiniLM"].best, "--text", TEXTS[0], "--text", "two\nlines")
    assert result.returncode == 0 and not result.stderr, result.stderr
    first, second = result.stdout.decode().splitlines()
    assert re.fullmatch(rf"\d\t({'|'.join(EMOTIONS)})\t[01]\.\d{{4}}\t{TEXTS[0]}", first) and second.endswith("\ttwo lines")


# How each family is fed


def cardiff(text):
    """The preprocessing of the model card of cardiffnlp/twitter-roberta-base."""
    new_text = []
    for t in text.split(" "):
        t = "@user" if t.startswith("@") and len(t) > 1 else t
        t = "http" if t.startswith("http") else t
        new_text.append(t)
    return " ".join(new_text)


TWEET = "hey @bob_1 look at https://t.co/abc now \U0001f600"
FED = {"BERTweet": "hey @USER look at HTTPURL now :grinning_face:", "CardiffRoBERTa": "hey @user look at http now \U0001f600",
       "ModernBERT": TWEET, "MiniLM": TWEET}


@each
def test_texts_are_fed_as_the_model_was_pretrained(script, loaded, families, name):
    _, tokenizer, found = loaded[name]
    plain = tokenizer
    if name == "BERTweet":
        plain = transformers.BertweetTokenizer.from_pretrained(families[name].best, normalization=False)
    assert script.encode(tokenizer, [TWEET], found) == plain([FED[name]])["input_ids"]
    assert (script.encode(tokenizer, [TWEET], found) == plain([TWEET])["input_ids"]) == (FED[name] == TWEET)
    unknown = tokenizer.unk_token_id
    assert unknown not in script.encode(tokenizer, ["i feel so happy now"], found)[0], "the vocabulary is the model's own"


@settings(max_examples=200, deadline=None)
@given(strategies.lists(strategies.sampled_from(["@a", "@", "http://b", "https://c", "http", "x@a", "a", "", "\t@a"])).map(" ".join)
       | strategies.text("@http: \t\nab\u00e9.") | strategies.text())
def test_cardiff_normalisation_is_that_of_its_model_card(text):
    assert script_module().normalise_users(text) == cardiff(text)


def script_module():
    if "module" not in CACHE:
        CACHE["module"] = load_script(SCRIPT)
    return CACHE["module"]


CACHE = {}


@pytest.mark.parametrize("name, asked, most", [("BERTweet", 500, 128), ("CardiffRoBERTa", 600, 512), ("MiniLM", 600, 512),
                                               ("ModernBERT", 600, 600), ("ModernBERT", 50, 50), ("BERTweet", 20, 20)])
def test_texts_are_cut_to_the_positions_of_the_model(bases, name, asked, most, capsys):
    module = load_script(SCRIPT)
    module.MAX_LENGTH = asked
    model, tokenizer, found = module.load_base(name, "x", str(bases[name]))
    texts = [" ".join(["i feel so good"] * 400), "ok"]
    encoded = module.encode(tokenizer, texts, found)
    assert found["max_length"] == most == len(encoded[0]) and len(encoded[1]) < 8
    assert np.isfinite(module.predict_logits(model, tokenizer, texts, found)).all()
    assert (f"{most} tokens" in capsys.readouterr().out) == (most < asked)


def test_a_saved_model_keeps_its_length(call, families, script, loaded):
    text = " ".join(["i feel so good"] * 60)
    arguments = ["--weights", families["MiniLM"].best, "--text", text]
    assert call(*arguments).out == call(*arguments, "--max_length", 8).out != ""
    _, tokenizer, found = loaded["MiniLM"]
    assert len(script.encode(tokenizer, [text], found)[0]) == found["max_length"] == 128


def test_modernbert_is_never_run_in_float16_and_does_not_compile(loaded, call, families):
    module = load_script(SCRIPT)
    gpu = torch.device("cuda")
    for has, expected in ((False, (torch.float32, torch.float16)), (True, (torch.bfloat16, torch.bfloat16))):
        module.device_has_bfloat16 = lambda device, has=has: has
        assert (module.precision_of(gpu, "modernbert"), module.precision_of(gpu, "bert")) == expected
    module.PRECISION = "float16"
    assert module.precision_of(gpu, "roberta") == torch.float16
    with pytest.raises(module.InputError):
        module.precision_of(gpu, "modernbert")
    assert loaded["ModernBERT"][2]["family"] == "modernbert"
    assert loaded["ModernBERT"][0].config.reference_compile is False
    result = call("--weights", families["ModernBERT"].best, "--text", "a", "--precision", "float16")
    assert_one_line(result, "float16", "bfloat16")


@each
def test_a_batch_never_changes_a_prediction(script, loaded, families, name):
    model, tokenizer, found = loaded[name]
    texts = [*TEXTS, TWEET, " ".join(TEXTS * 12), "a", "b c " * 30, TEXTS[0]]
    alone = np.concatenate([script.predict_logits(model, tokenizer, [text], found) for text in texts])
    for size in (2, 4, 64):
        assert np.abs(script.predict_logits(model, tokenizer, texts, found, size) - alone).max() < 1e-4
    order = [5, 0, 8, 3, 6, 1, 7, 2, 4]
    mixed = script.predict_logits(model, tokenizer, [texts[row] for row in order], found, 3)
    assert np.abs(mixed - alone[order]).max() < 1e-4
    assert np.ptp(alone, axis=0).max() > 0.1, "the model tells the texts apart"
    fed = FED[name] if name == "CardiffRoBERTa" else TWEET
    inputs = tokenizer([fed], return_tensors="pt", truncation=True, max_length=found["max_length"])
    with torch.no_grad():
        theirs = model(**inputs).logits.numpy()
    assert np.abs(theirs[0] - alone[4]).max() < 1e-4, "transformers' own call gives the same"


@settings(max_examples=50, deadline=None)
@given(lengths=strategies.lists(strategies.integers(1, 70), min_size=1, max_size=120), size=strategies.integers(1, 40),
       epoch=strategies.integers(0, 9))
def test_batches_cover_each_row_once_and_group_like_lengths(lengths, size, epoch):
    module = script_module()
    sequences = [[1] * length for length in lengths]
    before, module.BATCH_SIZE = module.BATCH_SIZE, size
    try:
        groups, again, other = (module.batches(sequences, number) for number in (epoch, epoch, epoch + 1))
    finally:
        module.BATCH_SIZE = before
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert max(map(len, groups)) <= size and len(groups) == -(-len(lengths) // size)
    assert [rows.tolist() for rows in groups] == [rows.tolist() for rows in again]
    assert len(groups) < 12 or [rows.tolist() for rows in groups] != [rows.tolist() for rows in other], "fewer may come alike"
    for pair in itertools.combinations(groups, 2):  # one of two groups is the shorter, but for the chance in the order
        (low, high), (least, most) = (np.quantile(np.array(lengths)[rows], (0, 1)) for rows in pair)
        assert high <= least + 2 or most <= low + 2
    for rows in groups:
        inputs = module.pad(sequences, rows, 7, "cpu")
        assert inputs["input_ids"].shape[1] == max(lengths[row] for row in rows)
        assert inputs["attention_mask"].sum(1).tolist() == [lengths[row] for row in rows]
        assert ((inputs["input_ids"] == 7) == (inputs["attention_mask"] == 0)).all()


# Evaluation


@each
def test_evaluation_is_what_the_predictions_say(call, families, data, tmp_path, name):
    weights = ["--weights", families[name].best, *EXACT]
    shown = call("--mode", "evaluate", *weights, "--val", data.val_path)
    assert_good(shown)
    files = tree(tmp_path / "out")
    assert set(files) == {"evaluation.json", "confusion.png", "precision_recall.png"}
    assert all(content.startswith(b"\x89PNG") for path, content in files.items() if path.endswith(".png"))
    found = json.loads(files["evaluation.json"])
    target = tmp_path / "predictions.csv"
    assert_good(call("--mode", "inference", *weights, "--test_csv", data.val_path, "--output_csv", target))
    rows = read_csv(target.read_bytes())
    assert [(row["text"], row["label"]) for row in rows] == data.val
    labels, predicted = ([int(row[key]) for row in rows] for key in ("label", "predicted_label"))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-9)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", labels=range(6), zero_division=0))
    matrix = np.zeros((6, 6), int)
    np.add.at(matrix, (labels, predicted), 1)
    assert found["confusion_matrix"] == matrix.tolist() and found["rows"] == 120
    assert found["bytes"] == sum(map(len, tree(families[name].best).values()))
    for number, emotion in enumerate(EMOTIONS):
        assert found["report"][emotion]["support"] == labels.count(number) and emotion in shown.out
    for key in ("latency_1_median", "latency_32_median", "peak_memory_bytes"):
        assert found[key] > 0
    assert found["latency_1_p95"] >= found["latency_1_median"] and found["latency_32_p95"] >= found["latency_32_median"]
    assert f"accuracy {found['accuracy']:.4f}, macro F1 {found['macro_f1']:.4f}" in shown.out
    metrics = families[name].results["validation"]
    assert abs(metrics["accuracy"] - found["accuracy"]) < 0.03, "that of training, but for the precision"


# Inference


@pytest.fixture
def predictor(families, tmp_path):
    """predictor(content, *more) classifies a CSV file; returns the result, with the bytes written, or None."""
    weights = ["--mode", "inference", "--weights", families["MiniLM"].best]

    def run(content, *more, name="in.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        result = run_main(tmp_path, *weights, "--test_csv", path, *more)
        target = tmp_path / f"{path.stem}_predictions.csv"
        assert path.read_bytes() == content
        return SimpleNamespace(**vars(result), target=target, data=target.read_bytes() if target.exists() else None)

    return run


ODD = {
    "plain": b"text\ni am happy\ni am sad\n",
    "quotes": b'id,text,note\n1,"he said ""hi"", then left",x\n2,"a, b","say ""no"""\n3,"quoted",\n',
    "newlines": b'text,b\n"two\nlines","3\n\n4"\n"carriage\r\nreturn",5\nsingle,6\n',
    "CRLF": b'id,text\r\n1,good\r\n2,"a\r\nb"\r\n3,bad\r\n',
    "BOM": b"\xef\xbb\xbftext,id\ngood,1\nbad,2\n",
    "BOM and quotes": b'\xef\xbb\xbf"text","id"\n"good, so",1\n',
    "no last newline": b"text,id\ngood,1\nbad,2",
    "unicode": "text,id\ncaf\u00e9 \U0001f600,1\nline\u2028end\u0085x,2\n".encode(),
    "needless quotes": b'"text","id"\n"good","1"\nbad,"2"\n',
    "spaces": b"text , text,text\n a, b ,  c  \n",
    "old mixture": b"text,id\r\ngood,1\nbad,2\r\nodd,3\n",
}


@pytest.mark.parametrize("case", ODD)
def test_predictions_keep_the_file_as_it_came(predictor, case):
    content = ODD[case]
    result = predictor(content)
    assert_good(result)
    kept = re.sub(rb"(,predicted_label,predicted_emotion,confidence|,\d,[a-z]+,[01]\.\d{4})(?=\r?\n)", b"", result.data)
    assert kept.removesuffix(b"\n") == content.removesuffix(b"\n")
    before, after = (list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) for data in (content, result.data))
    assert [row[:-3] for row in after] == before and after[0][-3:] == ADDED
    for *_, label, emotion, confidence in after[1:]:
        assert EMOTIONS[int(label)] == emotion and 1 / 6 <= float(confidence) <= 1


def test_blank_lines_do_not_shift_rows(predictor):
    result = predictor(b"\n\ntext,id\n\ni am happy,1\n\r\n\ni am sad,2\n\n\n")
    assert_good(result)
    rows = read_csv(result.data)
    assert [(row["text"], row["id"]) for row in rows] == [("i am happy", "1"), ("i am sad", "2")]


def test_predictions_of_a_file_are_those_of_its_texts(predictor, call, families, tmp_path):
    rows = [(f"{text} {number}", str(number)) for number in range(7) for text in TEXTS]
    result = predictor(csv_bytes(rows, ("text", "id")), "--CHUNK_ROWS", 3, *EXACT)
    assert_good(result)
    told = call("--weights", families["MiniLM"].best, *EXACT, *(part for text, _ in rows for part in ("--text", text)))
    lines = [line.split("\t") for line in told.out.splitlines()]
    for row, (label, emotion, confidence, text) in zip(read_csv(result.data), lines, strict=True):
        assert (row["predicted_label"], row["predicted_emotion"], row["text"]) == (label, emotion, text)
        assert float(row["confidence"]) == pytest.approx(float(confidence), abs=2e-4)
    assert f"{len(rows)} rows" in result.out and str(result.target) in result.out


field = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
text_field = field.filter(str.strip)


@settings(max_examples=150, deadline=None)
@given(rows=strategies.lists(strategies.tuples(text_field, field, field), min_size=1, max_size=9), end=strategies.sampled_from(
    ["\n", "\r\n"]), bom=strategies.booleans(), last=strategies.booleans(), place=strategies.integers(0, 2),
    quoting=strategies.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), chunk=strategies.integers(1, 4))
def test_any_csv_comes_back_with_three_columns_more(tmp_path_factory, rows, end, bom, last, place, quoting, chunk):
    """A stand-in for the model tells each text's length: so each row must have its own text's."""
    module, folder = script_module(), tmp_path_factory.getbasetemp()
    table = []
    for row in [("text", "one", "two"), *rows]:
        if quoting != csv.QUOTE_ALL:  # the writer leaves a carriage return without quotes, which no reader takes
            row = [value.replace("\r", "") or "x" for value in row]
        row = [*row[1:place + 1], row[0], *row[place + 1:]]
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator=end, quoting=quoting).writerow(row)
        table.append((row, buffer.getvalue().removesuffix(end)))
    mark = "\ufeff" if bom else ""
    content = mark + end.join(line for _, line in table) + (end if last else "")
    source, target = folder / "any.csv", folder / "any_out.csv"
    source.write_bytes(content.encode())

    def predict(model, tokenizer, texts, found):
        assert len(texts) <= chunk
        return np.array([len(text) % 6 for text in texts]), np.full(len(texts), 0.5, np.float32)

    before = module.predict, module.load_to_serve, module.CHUNK_ROWS
    module.predict, module.load_to_serve, module.CHUNK_ROWS = predict, lambda folder: (None, None, None), chunk
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module.infer(SimpleNamespace(text=None, test_csv=str(source), output_csv=str(target), weights="x"))
    finally:
        module.predict, module.load_to_serve, module.CHUNK_ROWS = before
    expected = [f"{table[0][1]},{','.join(ADDED)}"]
    for (row, line) in table[1:]:
        label = len(row[place]) % 6
        expected.append(f"{line},{label},{EMOTIONS[label]},0.5000")
    assert target.read_bytes().decode() == mark + end.join(expected) + end
    assert {path.name for path in folder.iterdir() if path.name.startswith("any")} == {"any.csv", "any_out.csv"}


def test_output_csv_names_the_file(predictor, tmp_path):
    target = tmp_path / "deep" / "er" / "mine.csv"
    result = predictor(ODD["plain"], "--output_csv", target)
    assert_good(result)
    assert result.data is None and [row["text"] for row in read_csv(target.read_bytes())] == ["i am happy", "i am sad"]
    target.write_bytes(b"old")
    assert_good(predictor(ODD["quotes"], "--output_csv", target))
    assert len(read_csv(target.read_bytes())) == 3, "a file of before is replaced"
    assert not tree(tmp_path / "cwd") and {path.name for path in target.parent.iterdir()} == {"mine.csv"}


BAD_CSV = {
    "missing column": (b"txt,label\na,1\n", ["no column text", "txt, label"]),
    "empty file": (b"", ["no column text"]),
    "no rows": (b"text\n", ["no rows"]),
    "no text": (b"text,id\na,1\nb,2\n,3\n", ["row 4", "no text"]),
    "blank text": (b"text,id\na,1\n  ,3\n", ["row 3", "no text"]),
    "not UTF-8": (b"text,id\na,1\ncaf\xe9,2\n", ["row 3", "UTF-8"]),
    "UTF-16": ("text,id\na,1\n".encode("utf-16"), ["UTF-8"]),
    "too many columns": (b"text,id\na,1\nb,2,3\n", ["row 3", "3 columns", "2"]),
    "too few columns": (b"text,id\na,1\nb\n", ["row 3", "1 column"]),
    "open quote": (b'text,id\na,1\n"b,2\nc,3\n', ["row 3"]),
    "columns taken": (b"text,confidence\na,1\n", ["confidence"]),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_file_to_classify_is_one_line_and_loses_nothing(predictor, tmp_path, case):
    content, words = BAD_CSV[case]
    (tmp_path / "in_predictions.csv").write_bytes(b"of before")
    result = predictor(content)
    assert_one_line(result, "in.csv", *words)
    assert result.data == b"of before" and set(tree(tmp_path)) == {"in.csv", "in_predictions.csv", f"script/{SCRIPT.name}"}


def test_the_input_is_never_the_output(predictor, call, tmp_path):
    os.symlink(tmp_path / "in.csv", tmp_path / "link.csv")
    for target in (tmp_path / "in.csv", tmp_path / "link.csv", tmp_path / "cwd" / ".." / "in.csv"):
        assert_one_line(predictor(ODD["plain"], "--output_csv", target), "output_csv")
    assert_one_line(predictor(ODD["plain"], "--output_csv", "/proc/self/none/x.csv"), "/proc/self/none")


def test_memory_is_flat_and_a_kill_leaves_the_old_output(families, tmp_path):
    """Rows of 1 kB: to hold the larger file would take 60 MB more. A killed run leaves what stood there."""
    jobs = []
    for rows in (2000, 60000, 60001):
        home = tmp_path / str(rows)
        home.mkdir()
        with open(home / "in.csv", "w") as file:
            file.write("text,more\n")
            file.writelines(f"row {row} {'good' if row % 3 else 'bad'},{row:01000}\n" for row in range(rows))
        jobs.append({"home": home, "arguments": ["--mode", "inference", "--weights", families["MiniLM"].best, "--test_csv",
                                                 home / "in.csv", "--CHUNK_ROWS", 500]})
    old = tmp_path / "60001" / "in_predictions.csv"
    old.write_bytes(b"of before")
    jobs[2] |= {"watch": f"{old}.partial", "changes": 5}
    (less, more), (killed,) = run_forks(jobs[:2], jobs[2:])
    assert less.code == more.code == 0, less.err + more.err
    few, many = (int(re.search(r"peak (\d+)", run.out)[1]) for run in (less, more))
    assert abs(many - few) < 20e6, (few, many)
    with open(tmp_path / "60000" / "in_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60000 and all(row["text"].split()[1] == str(number) for number, row in enumerate(rows))
    assert killed.code == -9 and old.read_bytes() == b"of before"


# Compression


@each
def test_every_variant_is_measured_beside_the_original(variants, families, data, name):
    run, files = variants[name], tree(variants[name].home / "out")
    rows = run.rows
    assert set(rows) == {"original", *VARIANTS} and rows["original"]["accuracy_change"] == 0
    assert {path for path in files if "/" not in path} == {"compression.json", "compression.csv", "compression.png"}
    assert {path.split("/")[0] for path in files if "/" in path} == {f"best_{name}_{variant}" for variant in VARIANTS}
    assert files["compression.png"].startswith(b"\x89PNG")
    assert [row["variant"] for row in read_csv(files["compression.csv"])] == list(rows)
    for variant, row in rows.items():
        assert row["status"] == "measured", row
        assert row["accuracy_change"] == pytest.approx(row["accuracy"] - rows["original"]["accuracy"])
        assert row["macro_f1_change"] == pytest.approx(row["macro_f1"] - rows["original"]["macro_f1"])
        assert row["bytes_share"] == pytest.approx(row["bytes"] / rows["original"]["bytes"])
        assert 0 <= row["agreement"] <= 1 and row["rows"] == 120
        assert min(row[key] for key in ("peak_memory_bytes", "latency_1_median", "latency_32_median", "texts_per_second")) > 0
        assert re.search(rf"^{variant} .*\b{row['accuracy']:.4f}\b.*\b{row['macro_f1']:.4f}\b", run.result.out, re.MULTILINE)
        folder = families[name].best if variant == "original" else run.home / "out" / f"best_{name}_{variant}"
        assert row["bytes"] == sum(map(len, tree(folder).values()))
    assert not tree(run.home / "cwd") and {path.name for path in run.home.iterdir()} == {"cwd", "script", "out"}


@each
def test_a_variant_read_back_gives_the_logits_of_before(variants, fresh, script, name):
    """In the process that measures, in another fresh one, and in this one."""
    for variant in VARIANTS:
        row = variants[name].rows[variant]
        assert row["same_logits"] is True, variant
        again = logits_of_folder(script, row["folder"], TEXTS)
        assert np.array_equal(again, fresh.logits[name, variant]), variant
        assert np.isfinite(again).all() and np.ptp(again) > 0


def test_figures_of_a_variant_are_those_of_its_predictions(variants, script, families, data):
    texts, labels = [text for text, _ in data.val], [int(label) for _, label in data.val]
    base = logits_of_folder(script, families["MiniLM"].best, texts).argmax(1)
    for variant in VARIANTS:
        row = variants["MiniLM"].rows[variant]
        predicted = logits_of_folder(script, row["folder"], texts).argmax(1)
        assert row["accuracy"] == pytest.approx((predicted == labels).mean()), variant
        assert row["agreement"] == pytest.approx((predicted == base).mean()), variant


@each
def test_variant_folders_serve_every_mode(variants, call, data, tmp_path, name):
    source = tmp_path / "few.csv"
    source.write_bytes(csv_bytes(data.val[:20]))

    def quick(module):
        module.latency = lambda *_: (0.001, 0.002)

    for variant in VARIANTS:
        row = variants[name].rows[variant]
        before = tree(row["folder"])
        assert_good(call("--mode", "evaluate", "--weights", row["folder"], "--val", data.val_path, change=quick))
        found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        assert found["variant"] == variant and found["accuracy"] == pytest.approx(row["accuracy"]), variant
        assert_good(call("--mode", "inference", "--weights", row["folder"], "--test_csv", source))
        rows = read_csv((tmp_path / "few_predictions.csv").read_bytes())
        assert [(row["text"], row["label"]) for row in rows] == data.val[:20]
        assert all(EMOTIONS[int(row["predicted_label"])] == row["predicted_emotion"] for row in rows)
        assert tree(row["folder"]) == before


def test_variants_are_really_smaller(variants, families):
    """The weights' files alone: a small model's tokenizer outweighs it."""
    size = {variant: row["weights_bytes"] for variant, row in variants["MiniLM"].rows.items() if variant != "original"}
    size["original"] = (families["MiniLM"].best / "model.safetensors").stat().st_size
    assert size["pruned"] < 0.95 * size["original"]
    assert size["nf4"] < size["int8"] < size["pruned"] and size["pruned_nf4"] <= size["nf4"]
    assert size["small"] < size["onnx_int8"] < 0.5 * size["original"]


@each
def test_sparsity_is_that_of_every_linear_layer_as_loaded(variants, families, script, name):
    before = load_file(families[name].best / "model.safetensors")
    model, _, _ = script.load_checkpoint(variants[name].rows["pruned"]["folder"])
    zeros = total = 0
    for key, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            old, new = before[f"{key}.weight"], module.weight.detach()
            gone = new == 0
            assert int(gone.sum()) == pytest.approx(0.3 * new.numel(), abs=1 + int((old == 0).sum())), key
            assert torch.equal(new[~gone], old[~gone]), "what is left is as it was"
            assert old[gone].abs().max() <= old[~gone].abs().min(), "the smallest weights went"
            zeros, total = zeros + int(gone.sum()), total + new.numel()
    assert total and variants[name].rows["pruned"]["sparsity"] == pytest.approx(zeros / total)
    assert 0.29 < variants[name].rows["pruned_nf4"]["sparsity"] < 0.7, "NF4 rounds more to zero"
    for key, value in model.state_dict().items():
        assert "Linear" in str(type(model.get_submodule(key.rpartition(".")[0]))) or torch.equal(value, before[key]), key


@each
@pytest.mark.parametrize("variant", ["int8", "nf4", "pruned_nf4"])
def test_the_head_is_not_quantised_and_the_encoder_is(variants, families, script, name, variant):
    before = load_file(families[name].best / "model.safetensors")
    model, _, _ = script.load_checkpoint(variants[name].rows[variant]["folder"])
    kinds = {key: type(module).__name__ for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    head = {key for key in kinds if not key.startswith(f"{model.base_model_prefix}.")}
    assert head and {kinds[key] for key in head} == {"Linear"}
    assert {kind for key, kind in kinds.items() if key not in head} == {"Linear8bitLt" if variant == "int8" else "Linear4bit"}
    for key in head:
        kept = model.get_submodule(key).weight.detach().float()
        gone = kept == 0 if "pruned" in variant else torch.zeros_like(kept, dtype=torch.bool)
        assert torch.allclose(kept[~gone], before[f"{key}.weight"][~gone], rtol=0.01, atol=1e-4)
    stored = load_file(Path(variants[name].rows[variant]["folder"]) / "model.safetensors")
    quantised = {key.removesuffix(".weight") for key, value in stored.items() if not value.is_floating_point()
                 and key.endswith(".weight")}
    assert quantised == set(kinds) - head


def test_what_cannot_run_is_reported_and_the_rest_goes_on(call, families, data, tmp_path, monkeypatch):
    for missing in ("optimum.exporters.onnx", "optimum.onnxruntime"):
        monkeypatch.setitem(sys.modules, missing, None)

    def change(module):
        quick_compression(module)
        module.VARIANTS = {"onnx_int8": "onnx", "pruned": "prune"}

    result = call("--mode", "compress", "--weights", families["CardiffRoBERTa"].best, "--val", data.val_path, *EXACT,
                  change=change)
    assert_good(result)
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [(row["variant"], row["status"]) for row in rows] == [
        ("original", "measured"), ("onnx_int8", "not run"), ("pruned", "measured")]
    assert "optimum" in rows[1]["reason"] and "accuracy" not in rows[1]
    assert f"not run: onnx_int8: {rows[1]['reason']}" in result.out
    table = read_csv((tmp_path / "out" / "compression.csv").read_bytes())
    assert [row["status"] for row in table] == [row["status"] for row in rows]
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"best_CardiffRoBERTa_pruned"}


def test_a_variant_that_fails_to_load_again_is_not_run(call, families, data, tmp_path):
    def change(module):
        quick_compression(module)
        save = module.save_pruned

        def damaged(model, folder):
            save(model, folder)
            path = os.path.join(folder, "pruned.safetensors")
            tensors = load_file(path)
            tensors.pop("classifier.dense.bias")
            save_file(tensors, path)
        module.save_pruned = damaged

    result = call("--mode", "compress", "--weights", families["CardiffRoBERTa"].best, "--val", data.val_path, *EXACT,
                  "--technique", "prune", change=change)
    assert_good(result)
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [row["status"] for row in rows] == ["measured", "not run"] and "damaged" in rows[1]["reason"]


def test_technique_and_sparsity_choose_and_the_same_command_gives_the_same_bytes(call, variants, families, data, tmp_path):
    arguments = ["--mode", "compress", "--weights", families["ModernBERT"].best, "--val", data.val_path, "--technique", "prune",
                 *EXACT]
    assert_good(call(*arguments, change=quick_compression))
    files = tree(tmp_path / "out")
    assert {path.split("/")[0] for path in files if "/" in path} == {"best_ModernBERT_pruned"}
    same = tree(variants["ModernBERT"].rows["pruned"]["folder"])
    assert {path.removeprefix("best_ModernBERT_pruned/"): content for path, content in files.items() if "/" in path} == same
    assert_good(call(*arguments, "--sparsity", 0.8, change=quick_compression))
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [row["variant"] for row in rows] == ["original", "pruned"] and rows[1]["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert len(tree(tmp_path / "out")["best_ModernBERT_pruned/pruned.safetensors"]) < len(same["pruned.safetensors"])


def test_compress_refuses_what_is_compressed_or_unknown(call, variants, families, data, tmp_path):
    compress = ["--mode", "compress", "--val", data.val_path]
    assert_one_line(call(*compress, "--weights", variants["MiniLM"].rows["nf4"]["folder"]), "compressed already", "nf4")
    assert_one_line(call(*compress, "--weights", families["MiniLM"].best, "--technique", "magic"), "magic", "prune", "onnx")
    assert_one_line(call(*compress, "--weights", families["MiniLM"].best, "--sparsity", "1.5"), "SPARSITY", "1.5")
    assert not tree(tmp_path / "out")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_damaged_variant_is_one_line(call, variants, tmp_path, variant):
    """It is never made anew from other weights."""
    folder = shutil.copytree(variants["MiniLM"].rows[variant]["folder"], tmp_path / "damaged")
    weights = max(folder.iterdir(), key=lambda path: path.stat().st_size * ("onnx" in path.name or "safetensors" in path.name))
    whole = weights.read_bytes()
    contents = {"cut": whole[:len(whole) * 2 // 3], "empty": b"", "garbage": b"no weights" * 99}
    if weights.suffix == ".safetensors":
        tensors = load_file(weights)
        for key in (next(key for key in tensors if "query" in key), "classifier.bias"):
            save_file({name: value for name, value in tensors.items() if name != key}, tmp_path / "less", {"format": "pt"})
            contents[key] = (tmp_path / "less").read_bytes()
        save_file({**tensors, "extra.weight": torch.ones(3)}, tmp_path / "more", {"format": "pt"})
        contents["more"] = (tmp_path / "more").read_bytes()
    for how, content in contents.items():
        weights.write_bytes(content)
        result = call("--weights", folder, "--text", "a")
        assert result.code == 2, (how, result)
        assert_one_line(result, folder)
    weights.unlink()
    assert_one_line(call("--weights", folder, "--text", "a"), folder)


# The hub and the data, from a local server


class Handler(http.server.BaseHTTPRequestHandler):
    """Enough of the hub: a model's list of files, and the files. The first part of a name says how it fails, until healed."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, code=200, length=None, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = length is not None and length != len(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        served = self.server
        path, _, query = self.path.partition("?")
        parts = path.strip("/").split("/")
        names = parts[2:] if parts[:2] == ["api", "models"] else parts
        how = "good" if names[0] in served.healed else names[0]
        served.asked.append((names[0], path))
        if how == "500":
            return self.answer(b"", 500)
        if how == "hanging" or how == "stalled" and path.endswith("model.safetensors") and self.command == "GET":
            served.over.wait(60)
            self.close_connection = True
            return None
        if how == "404":
            return self.answer(b'{"error": "Repository not found"}', 404, X_Error_Code="RepoNotFound")
        if parts[0] == "data":
            body = served.data[names[2]]
            return self.answer(body[:len(body) // 2] if parts[1] == "cut" else body, length=len(body))
        if "tree" in parts[3:]:  # as huggingface_hub 1 asks
            entries = [{"type": "file", "path": name, "size": len(body), "oid": blob_id(body)} for name, body in served.files.items()]
            return self.answer(json.dumps(entries).encode(), Content_Type="application/json")
        if parts[0] == "api":
            content = json.dumps(served.listing(names[:2], "blobs" in query)).encode()
            return self.answer(content, Content_Type="application/json")
        body = served.files.get(parts[-1])
        if body is None:
            return self.answer(b"", 404, X_Error_Code="EntryNotFound")
        headers = {"ETag": f'"{served.etag(parts[-1])}"', "X_Repo_Commit": served.commit}
        length = len(body)
        if how == "cut" and parts[-1] == "model.safetensors" or how == "partly" and parts[-1] == "config.json":
            body = body[:length // 2]
            served.over.wait(0.5)  # so that what is downloaded at the same time is there before this fails
        if how == "wrong" and parts[-1] == "model.safetensors":
            body = body[:20] + bytes(255 - byte for byte in body[20:60]) + body[60:]
        if how == "subtly" and parts[-1] == "model.safetensors":
            body = body[:-40] + bytes(40)
        return self.answer(body, length=length if self.command == "GET" else None, **headers)


@pytest.fixture
def server(direct_network, data, bases):
    """A local server that stands in for the hub, with MiniLM's small model, and for the data's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads, served.asked, served.healed, served.over = True, [], set(), threading.Event()
        served.files = {**tree(bases["MiniLM"]), "README.md": b"x", "pytorch_model.bin": b"not asked for",
                        "onnx/model.onnx": b"x", "modeling.py": b"raise SystemExit('run')"}
        served.commit, served.url = "c" * 40, f"http://127.0.0.1:{served.server_port}"
        served.data = {"train": (data.folder / "train.csv").read_bytes(), "val": data.val_path.read_bytes()}

        def etag(name):
            if name.endswith(".safetensors"):
                return hashlib.sha256(served.files[name]).hexdigest()
            return blob_id(served.files[name])

        def listing(names, blobs):
            files = [{"rfilename": name} for name in served.files]
            if blobs:
                for file in files:
                    content = served.files[file["rfilename"]]
                    file |= {"size": len(content), "blobId": blob_id(content)}
                    if file["rfilename"].endswith(".safetensors"):
                        file["lfs"] = {"sha256": etag(file["rfilename"]), "size": len(content), "pointerSize": 134}
            return {"id": "/".join(names), "modelId": "/".join(names), "sha": served.commit, "siblings": files, "tags": [],
                    "private": False, "gated": False, "downloads": 1, "likes": 0}

        served.etag, served.listing = etag, listing
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            served.over.set()
            served.shutdown()
            thread.join()


def blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


HUB = {"404": ["no model 404/tiny"], "500": ["500"], "hanging": ["DOWNLOAD_TIMEOUT"], "stalled": [], "cut": [], "partly": [],
       "wrong": [], "subtly": []}  # how the hub fails, and what the line says besides what to set


def test_the_hub_is_asked_once_and_its_failures_are_one_line(server, data, tmp_path):
    """Each way of failing is tried, then again when the hub is well: nothing broken is left in the cache."""
    few = tmp_path / "few.csv"
    few.write_bytes(csv_bytes([next(row for row in data.train if row[1] == label) for label in "012345"]))

    def job(how, name=None):
        arguments = ["--train", few, "--val", data.val_path, "--model_id", f"{how}/tiny", "--model", "MiniLM", "--epochs", 1,
                     "--DOWNLOAD_TIMEOUT", 1, "--output", tmp_path / how / "out"]
        return {"home": tmp_path / (name or how), "arguments": arguments}

    cache = tmp_path / "hf"
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    (good, *failed), = run_forks([job("good"), *map(job, HUB)], environment=environment)
    assert_good(good)
    weights = load_file(tmp_path / "good" / "out" / "best_MiniLM" / "model.safetensors")
    assert weights
    asked = {path.rsplit("/", 1)[1] for how, path in server.asked if how == "good"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= asked
    assert not {"pytorch_model.bin", "model.onnx", "modeling.py"} & asked, "only what is used is downloaded"
    for (how, words), result in zip(HUB.items(), failed, strict=True):
        assert_one_line(result, f"{how}/tiny", "--model_id", *words)
        assert not [path for path in tree(tmp_path / how / "out") if "best_" in path or "partial" in path]
    server.healed |= set(HUB)
    server.asked.clear()
    (again, *mended), = run_forks([job("good", "again"), *(job(how, f"mended_{how}") for how in HUB)], environment=environment)
    assert_good(again)
    assert not [path for how, path in server.asked if how == "good"], "the second time from the cache"
    for how, result in zip(HUB, mended, strict=True):
        assert result.code == 0, (how, result.err)
        assert (tmp_path / how / "out" / "best_MiniLM" / "model.safetensors").read_bytes() == (
            tmp_path / "good" / "out" / "best_MiniLM" / "model.safetensors").read_bytes(), how
    assert not [path for path in tree(cache) if path.endswith(".incomplete") and "good" in path]


def test_an_unreachable_hub_says_what_to_set(direct_network, data, tmp_path):
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    jobs = [{"home": tmp_path / name, "arguments": [*data.paths, "--model", name, "--output", tmp_path / "out"]}
            for name in ("BERTweet", "ModernBERT")]
    results, = run_forks(jobs, environment=environment)
    for result, model_id in zip(results, ("vinai/bertweet-base", "answerdotai/ModernBERT-base"), strict=True):
        assert_one_line(result, model_id, "http://127.0.0.1:9", "HF_ENDPOINT", "--model_id", "refused")


def data_options(server, **how):
    arguments = ["--DOWNLOAD_RETRIES", 0, "--model_id", "/none"]
    for name, constant in (("train", "TRAIN"), ("val", "VAL")):
        arguments += [f"--{constant}_URL", f"{server.url}/data/{how.get(name, 'good')}/{name}",
                      f"--{constant}_HASH", how.get("hash") or blob_id(server.data[name])]
    return arguments


def test_default_data_are_downloaded_checked_and_cached(call, server, data, tmp_path):
    for _ in range(2):  # the second time from the cache
        assert_one_line(call(*data_options(server)), "/none")  # all data were taken; the model comes next
    assert [path for _, path in server.asked] == ["/data/good/train", "/data/good/val"]
    assert tree(tmp_path / "out") == {"data/train.csv": server.data["train"], "data/validation.csv": server.data["val"]}
    assert not tree(tmp_path / "cwd")
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes([("a", "9")]))
    assert_one_line(call(*data_options(server)), "train.csv", "row 2", "'9'")


@pytest.mark.parametrize("how, words", [({"train": "cut"}, "cut off"), ({"hash": "0" * 40}, "hash")])
def test_a_failed_download_is_one_line_and_leaves_nothing(call, server, tmp_path, how, words):
    assert_one_line(call(*data_options(server, **how)), "train.csv", words, "TRAIN_PATH")
    assert not tree(tmp_path / "out") and not tree(tmp_path / "cwd")


# Older checkpoints, and what must not be loaded


def older(families, bases, name, **changes):
    content = {"model_state_dict": load_file(families[name].best / "model.safetensors"), "model_id": str(bases[name]),
               "config": {"max_length": 64, "learning_rate": 2e-5}, "epoch": 3, "best_f1": 0.5}
    return {**content, **changes}


@each
def test_an_older_checkpoint_still_loads(call, families, bases, tmp_path, name):
    path = tmp_path / "model.pt"
    torch.save(older(families, bases, name), path)
    texts = [part for text in TEXTS for part in ("--text", text)]
    old, new = (call("--weights", weights, *EXACT, *texts) for weights in (path, families[name].best))
    assert_good(old)
    assert old.out == new.out and old.out.count("\n") == len(TEXTS)


class RunsCode:
    """Pickled, it touches a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_with_code_is_refused_and_not_run(call, families, bases, data, tmp_path):
    ran = tmp_path / "ran"
    contents = {"inside": older(families, bases, "MiniLM", extra=RunsCode(ran)), "alone": RunsCode(ran)}
    for how, content in contents.items():
        torch.save(content, tmp_path / f"{how}.pt")
        assert_one_line(call("--weights", tmp_path / f"{how}.pt", "--text", "a"), f"{how}.pt")
    for name, content in (("pytorch_model.bin", contents["alone"]), ("pytorch_model.bin", contents["inside"])):
        folder = shutil.copytree(families["MiniLM"].best, tmp_path / "folder", dirs_exist_ok=True)
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / name)
        assert_one_line(call("--weights", folder, "--text", "a"), folder)
        base = shutil.copytree(bases["MiniLM"], tmp_path / "base", dirs_exist_ok=True)
        (base / "model.safetensors").unlink()
        torch.save(content, base / name)
        assert_one_line(call(*data.paths, "--model_id", base), base, "--model_id")
    record = tmp_path / "out" / "MiniLM"
    record.mkdir(parents=True)
    torch.save(contents["alone"], record / "checkpoint.pt")
    assert_one_line(call(*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"]), "checkpoint.pt")
    folder = shutil.copytree(families["MiniLM"].best, tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    config |= {"model_type": "mine", "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    assert_one_line(call("--weights", folder, "--text", "a"), folder)
    assert not ran.exists()


def labels_of(names):
    return {"id2label": {str(number): name for number, name in enumerate(names)},
            "label2id": {name: number for number, name in enumerate(names)}}


QUERY = "bert.encoder.layer.1.attention.self.query.weight"
BAD_WEIGHTS = {  # the part of the folder, how it is changed, what the line says
    "missing": ("weights", lambda weights: weights.pop(QUERY), ["missing", "query"]),
    "head missing": ("weights", lambda weights: weights.pop("classifier.weight"), ["missing", "classifier"]),
    "unexpected": ("weights", lambda weights: weights.update({"bert.more.weight": torch.ones(2)}), ["unexpected", "more"]),
    "other shape": ("weights", lambda weights: weights.update({"classifier.bias": torch.ones(4)}), ["classifier"]),
    "other labels": ("config", lambda config: config.update(labels_of(["a", "b", "c", "d"])), ["4 labels", "6"]),
    "other order": ("config", lambda config: config.update(labels_of(EMOTIONS[::-1])), ["labels"]),
    "foreign": ("config", lambda config: config.update(model_type="nothing", architectures=["Nothing"]), []),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(call, families, tmp_path, case):
    part, change, words = BAD_WEIGHTS[case]
    folder = shutil.copytree(families["MiniLM"].best, tmp_path / "bad")
    if part == "weights":
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))
    before = tree(folder)
    assert_one_line(call("--weights", folder, "--text", "a"), folder, *words)
    assert tree(folder) == before


def test_a_damaged_or_foreign_folder_is_one_line(call, families, bases, data, tmp_path):
    best = families["MiniLM"].best
    whole = (best / "model.safetensors").read_bytes()
    damages = [("model.safetensors", content) for content in (None, b"", b"no weights", whole[:len(whole) // 2])]
    damages += [(name, content) for name in ("emotion_classifier.json", "config.json") for content in (None, b"{", b"[1]")]
    damages += [("tokenizer.json", b"{"), ("tokenizer_config.json", b"{")]
    for number, (name, content) in enumerate(damages):
        folder = shutil.copytree(best, tmp_path / str(number))
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        before = tree(folder)
        assert_one_line(call("--weights", folder, "--text", "a"), folder)
        assert tree(folder) == before, (name, content)
    notok = shutil.copytree(best, tmp_path / "notok")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (notok / name).unlink(missing_ok=True)
    assert_one_line(call("--weights", notok, "--text", "a"), notok, "no tokenizer")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent", bases["MiniLM"], data.val_path):
        for mode in ("inference", "evaluate", "compress"):
            more = ["--text", "a"] if mode == "inference" else ["--val", data.val_path]
            assert_one_line(call("--mode", mode, "--weights", path, *more), path)
    assert not tree(tmp_path / "out")


def test_an_older_checkpoint_that_does_not_fit_is_one_line(call, families, bases, tmp_path):
    weights = load_file(families["MiniLM"].best / "model.safetensors")
    less = {name: value for name, value in weights.items() if "query" not in name}
    contents = {"less": {"model_state_dict": less}, "more": {"model_state_dict": {**weights, "x": torch.ones(1)}},
                "other": {"model_id": str(bases["CardiffRoBERTa"])}, "none": {"model_id": str(tmp_path / "none")}}
    for how, changes in contents.items():
        torch.save(older(families, bases, "MiniLM", **changes), tmp_path / f"{how}.pt")
        result = call("--weights", tmp_path / f"{how}.pt", "--text", "a")
        assert_one_line(result, tmp_path / ("none" if how == "none" else f"{how}.pt"))
    for name, content in (("keys", {"a": 1}), ("list", [1])):
        torch.save(content, tmp_path / f"{name}.pt")
        assert_one_line(call("--weights", tmp_path / f"{name}.pt", "--text", "a"), f"{name}.pt", "model_state_dict")
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert_one_line(call("--weights", tmp_path / "text.pt", "--text", "a"), "text.pt")


def test_a_base_that_does_not_fit_is_one_line(call, bases, families, data, tmp_path):
    def base(change):
        folder = shutil.copytree(bases["MiniLM"], tmp_path / "base", dirs_exist_ok=True)
        weights = load_file(bases["MiniLM"] / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    classifier = families["MiniLM"].best  # a whole classifier, but for the number of its labels
    folder = shutil.copytree(classifier, tmp_path / "four")
    weights = load_file(classifier / "model.safetensors")
    weights |= {"classifier.weight": weights["classifier.weight"][:4].clone(), "classifier.bias": torch.ones(4)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert_one_line(call(*data.paths, "--model_id", folder), folder, "another number of labels than 6", "classifier.weight")
    folder = base(lambda weights: weights.update({"classifier.bias": torch.ones(4)}))  # of no model that there is
    assert_one_line(call(*data.paths, "--model_id", folder), folder, "set --model_id")
    folder = base(lambda weights: weights.pop("encoder.layer.1.attention.self.query.weight"))
    assert_one_line(call(*data.paths, "--model_id", folder), folder, "lacks", "query")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none", "./none"):
        assert_one_line(call(*data.paths, "--model_id", path), path, "--model_id")
    assert not [path for path in tree(tmp_path / "out") if "best_" in path]


# Bad data


GOOD = [(f"text {emotion}", str(label)) for label, emotion in enumerate(EMOTIONS)]
BAD_ROWS = {
    "missing column": (b"text,emotion\na,0\n", ["label", "text, emotion"]),
    "both columns missing": (b"a,b\n1,2\n", ["text", "label", "a, b"]),
    "no rows": (b"text,label\n", ["no rows"]),
    "empty file": (b"", ["text and label"]),
    "NaN": (csv_bytes([GOOD[0], ("", "1")]), ["row 3", "no text"]),
    "blank text": (csv_bytes([GOOD[0], ("  ", "1")]), ["row 3", "no text"]),
    "label 6": (csv_bytes([*GOOD, ("a", "6")]), ["row 8", "'6'", "0 to 5"]),
    "label -1": (csv_bytes([("a", "-1")]), ["row 2", "'-1'"]),
    "label joy": (csv_bytes([GOOD[0], ("a", "joy")]), ["row 3", "'joy'"]),
    "no label": (csv_bytes([("a", "")]), ["row 2", "label"]),
    "not UTF-8": (csv_bytes(GOOD[:2]) + b"caf\xe9,1\n", ["row 4", "UTF-8"]),
    "too many columns": (csv_bytes(GOOD[:2]) + b"a,b,1\n", ["line 4"]),
    "too many columns throughout": (b"text,label\nwell, then,1\nso, now,2\n", ["row 2", "more columns"]),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_one_line_in_every_mode_that_reads_them(call, families, data, bases, tmp_path, case):
    content, words = BAD_ROWS[case]
    bad, out = tmp_path / "bad.csv", tmp_path / "out"
    bad.write_bytes(content)
    out.mkdir()
    for name in ("evaluation.json", "compression.json", "report.json"):
        (out / name).write_bytes(b"of before")
    before = tree(out)
    saved = ["--weights", families["MiniLM"].best, "--val", bad]
    for arguments in ([*data.paths, "--train", bad, "--model_id", bases["MiniLM"]],
                      [*data.paths, "--val", bad, "--model_id", bases["MiniLM"]],
                      ["--mode", "evaluate", *saved], ["--mode", "compress", *saved]):
        assert_one_line(call(*arguments), bad, *words)
    assert tree(out) == before and bad.read_bytes() == content


def test_missing_files_and_classes_are_one_line(call, families, data, bases, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(csv_bytes([row for row in data.train if row[1] not in "25"]))
    model = ["--model_id", bases["MiniLM"]]
    assert_one_line(call(*data.paths, *model, "--train", bad), "TRAIN_PATH", "love", "surprise")
    for flag, constant in (("--train", "TRAIN_PATH"), ("--val", "VAL_PATH")):
        assert_one_line(call(*data.paths, *model, flag, tmp_path / "none.csv"), constant, "none.csv")
        assert_one_line(call(*data.paths, *model, flag, tmp_path), tmp_path)
    weights = ["--weights", families["MiniLM"].best]
    assert_one_line(call("--mode", "inference", *weights, "--test_csv", tmp_path / "none.csv"), "none.csv")
    assert_one_line(call("--mode", "inference", *weights), "--test_csv", "--text")
    assert_one_line(call(*weights, "--text", " "), "--text")
    assert_one_line(call("--mode", "evaluate", "--val", data.val_path), "--weights")
    assert not tree(tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit on a file's size")
def test_too_little_disk_is_one_line_and_loses_nothing(families, bases, data, tmp_path):
    """Files end at 100 kB, as on a full disk."""
    for name in ("train", "first"):
        shutil.copytree(families["MiniLM"].home / "out", tmp_path / name / "out")
    shutil.rmtree(tmp_path / "first" / "out" / "best_MiniLM")
    weights, source = families["MiniLM"].best, tmp_path / "in.csv"
    with open(source, "w") as file:
        file.write("text,more\n")
        file.writelines(f"text {row},{row:0100}\n" for row in range(2000))
    target = tmp_path / "out.csv"
    target.write_bytes(b"of before")
    train = [*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 1]
    jobs = [{"home": tmp_path / "train", "arguments": [*train, "--output", tmp_path / "train" / "out"]},
            {"home": tmp_path / "inference", "arguments": ["--mode", "inference", "--weights", weights, "--test_csv", source,
                                                           "--output_csv", target]}]
    before = tree(tmp_path / "train" / "out")
    results, = run_forks([{**job, "largest": 100_000} for job in jobs])
    for result, path in zip(results, (tmp_path / "train" / "out", target), strict=True):
        assert_one_line(result, "cannot write", path)
    assert tree(tmp_path / "train" / "out") == before and target.read_bytes() == b"of before"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="needs a folder nobody can write")
def test_an_output_folder_that_cannot_be_written_is_one_line(call, families, data, bases):
    out = ["--output", "/proc/self/none"]
    assert_one_line(call(*data.paths, "--model_id", bases["MiniLM"], *out), "/proc/self/none", "OUTPUT_DIR")
    for mode in ("evaluate", "compress"):
        assert_one_line(call("--mode", mode, "--weights", families["MiniLM"].best, "--val", data.val_path, *out), "OUTPUT_DIR")


# The command line, and the script's text


@pytest.mark.parametrize("arguments, words", [
    (["--epochs", "0"], ["NUM_EPOCHS", "0"]), (["--NUM_EPOCHS", "0"], ["NUM_EPOCHS", "0"]),
    (["--epochs", "1.5"], ["NUM_EPOCHS", "whole"]), (["--batch_size", "x"], ["BATCH_SIZE", "x"]),
    (["--learning_rate", "nan"], ["LEARNING_RATE"]), (["--LEARNING_RATE", "inf"], ["LEARNING_RATE"]),
    (["--max_length", "1"], ["MAX_LENGTH"]), (["--seed", "-1"], ["SEED"]), (["--sparsity", "1"], ["SPARSITY"]),
    (["--precision", "int4"], ["PRECISION", "bfloat16"]), (["--resume", "maybe"], ["RESUME", "True or False"]),
    (["--mode", "predict"], ["predict", "evaluate", "--help"]), (["--technique", "magic"], ["magic", "--help"]),
    (["--model", "BERT"], ["BERT", "ModernBERT"]), (["--nothing", "1"], ["nothing", "--help"]),
    (["--epochs"], ["epochs", "--help"]), (["--warm_up", "2"], ["WARM_UP"]), (["--PATIENCE", "0"], ["PATIENCE"]),
    (["--output", ""], ["OUTPUT_DIR"]),
])
def test_a_wrong_option_is_one_line(tmp_path, arguments, words):
    assert_one_line(run_main(tmp_path, *arguments), *words)
    assert not tree(tmp_path / "cwd") and {path.name for path in tmp_path.iterdir()} == {"cwd", "script"}


def test_help_lists_every_constant(script, tmp_path):
    constants = script.read_constants()
    source = SCRIPT.read_text(encoding="utf-8")
    assert set(constants) == set(script.RANGES)
    top = source[:source.index("\n# What each constant may be")]
    assert set(re.findall(r"^([A-Z][A-Z0-9_]*) = ", top, re.MULTILINE)) == set(constants)
    result = run_main(tmp_path, "--help")
    out = " ".join(result.out.split())
    assert result.code == 0 and not result.err
    for constant, (value, comment, _) in constants.items():
        assert re.search(rf"--{constant}[ ,]", out), constant
        assert "".join(f"{comment}(now{value!r})".split()) in "".join(out.split()), constant  # argparse breaks long words
    flags = ("mode model model_id weights test_csv output_csv text technique train val epochs output batch_size learning_rate "
             "max_length sparsity precision seed resume")
    for flag in flags.split():
        assert re.search(rf"--{flag}[ ,]", out), flag
    for word in ("train|inference|evaluate|compress".split("|") + [*FAMILIES] + "prune quantize combined onnx all".split()):
        assert word in out


def test_importing_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").mkdir()
    path = shutil.copy(SCRIPT, tmp_path / "script")
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--nothing"])
    load_script(path)
    assert tree(tmp_path) == before
    assert capfd.readouterr() == ("", "")


SHARED = ("InputError", "DownloadError", "cannot_write", "check_writable", "save_all", "git_blob_id", "download_once", "reason",
          "download", "read_file", "draw_curves", "draw_confusion", "png", "peak_memory", "parse_constant", "OneLineParser")


def test_functions_shared_with_project1_are_the_same_letter_by_letter():
    found = []
    for path in (SCRIPT, GRU):
        source = path.read_text(encoding="utf-8")
        found.append({node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body
                      if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in SHARED})
        assert set(found[-1]) == set(SHARED)
    for name in SHARED:
        assert found[0][name] == found[1][name], name
