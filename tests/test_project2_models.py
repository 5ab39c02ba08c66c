"""Project2: how each family is fed and served, saved folders and older checkpoints, bases and folders that do not fit."""
import json
import shutil

import pytest

from project2 import SETTINGS, EXACT, LONG, TEXTS, assert_good, each, quick

import numpy as np
import torch
import transformers
from hypothesis import given, settings, strategies
from safetensors.torch import load_file, save_file

from conftest import EMOTIONS, assert_one_line, made_rows, tree

from classifier import loading
from classifier.encoder import precision_of
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits
from classifier.settings import InputError
from classifier.text import encode, normalise_users

pytest_plugins = ["project2"]


# The saved model in a process of its own


@each
def test_folder_is_a_pipeline_without_network_and_says_what_the_script_says(fresh, families, call, name):
    texts = [*TEXTS, LONG]  # both cut the last where the model's positions or MAX_LENGTH end
    result = call("--weights", families[name].best, *EXACT, *(part for text in texts for part in ("--text", text)))
    assert_good(result)
    lines = [line.split("\t") for line in result.out.splitlines()]
    for (label, emotion, confidence, text), answer, expected in zip(lines, fresh.answers[name], texts, strict=True):
        assert text.strip() == expected.strip() and EMOTIONS[int(label)] == emotion == answer["label"]
        assert float(confidence) == pytest.approx(answer["score"], abs=1e-3)


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
FED = {"BERTweet": "hey @USER look at HTTPURL now :grinning_face:",
       "CardiffRoBERTa": "hey @user look at http now \U0001f600", "ModernBERT": "hey look at now \U0001f600",
       "MiniLM": "hey look at now \U0001f600"}


@each
def test_texts_are_fed_as_the_model_was_pretrained(loaded, families, name):
    _, tokenizer, found = loaded[name]
    plain = tokenizer
    if name == "BERTweet":
        plain = transformers.BertweetTokenizer.from_pretrained(families[name].best, normalization=False)
    assert encode(tokenizer, [TWEET], found) == plain([FED[name]])["input_ids"]
    assert encode(tokenizer, [TWEET], found) != plain([TWEET])["input_ids"]
    if found["normalisation"] == "no_links":
        assert encode(tokenizer, ["me@x.com is http or www, happy://so"], found) == plain(["me@x.com is http or www, happy://so"])["input_ids"]
    unknown = tokenizer.unk_token_id
    assert unknown not in encode(tokenizer, ["i feel so happy now"], found)[0], "the vocabulary is the model's own"


@settings(max_examples=200, deadline=None)
@given(text=strategies.lists(strategies.sampled_from(["@a", "@", "http://b", "https://c", "http", "x@a", "a", "", "\t@a"]))
       .map(" ".join) | strategies.text("@http: \t\nab\u00e9.") | strategies.text())
def test_cardiff_normalisation_is_that_of_its_model_card(text):
    assert normalise_users(text) == cardiff(text)


@pytest.mark.parametrize("name, asked, most", [("BERTweet", 500, 128), ("CardiffRoBERTa", 600, 512), ("MiniLM", 600, 512),
                                               ("ModernBERT", 600, 600), ("ModernBERT", 50, 50), ("BERTweet", 20, 20)])
def test_texts_are_cut_to_the_positions_of_the_model(call, short, bases, tmp_path, name, asked, most):
    rows = [("i feel so good " * 400, "1"), *made_rows(30, 1, "01")]
    options = short(rows, [("so good i feel " * 400, "0"), *made_rows(12, 2, "01")])
    result = call(*options, "--model", name, "--model_id", bases[name], "--max_length", asked, *EXACT, change=quick)
    assert_good(result)
    assert (f"{most} tokens" in result.out) == (most < asked)
    best = tmp_path / "out" / f"best_{name}"
    model, tokenizer, found = load_checkpoint(SETTINGS, str(best))
    assert found["max_length"] == most == len(encode(tokenizer, [rows[0][0]], found)[0])
    told = call("--weights", best, "--text", rows[0][0], "--text", "ok", *EXACT)
    assert_good(told)
    assert all(0.5 <= float(line.split("\t")[2]) <= 1 for line in told.out.splitlines())


def test_modernbert_is_never_run_in_float16(loaded, call, families, monkeypatch):
    gpu = torch.device("cuda")
    for has, expected in ((False, (torch.float32, torch.float16)), (True, (torch.bfloat16, torch.bfloat16))):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        assert tuple(precision_of(SETTINGS, gpu, family) for family in ("modernbert", "bert")) == expected
    half = SETTINGS.model_copy(update={"PRECISION": "float16"})
    assert precision_of(half, gpu, "roberta") == torch.float16
    with pytest.raises(InputError):
        precision_of(half, gpu, "modernbert")
    assert loaded["ModernBERT"][2]["family"] == "modernbert"
    result = call("--weights", families["ModernBERT"].best, "--text", "a", "--precision", "float16")
    assert_one_line(result, "float16", "bfloat16")


@each
def test_a_batch_never_changes_a_prediction(loaded, name):
    model, tokenizer, found = loaded[name]
    texts = [*TEXTS, TWEET, " ".join(TEXTS * 12), "a", "b c " * 30, TEXTS[0]]
    alone = np.concatenate([predict_logits(model, tokenizer, [text], found) for text in texts])
    rounding = 1e-4 * max(1, np.ptp(alone))
    for size in (2, 4, 64):
        assert np.abs(predict_logits(model, tokenizer, texts, found, size) - alone).max() < rounding
    order = [5, 0, 8, 3, 6, 1, 7, 2, 4]
    mixed = predict_logits(model, tokenizer, [texts[row] for row in order], found, 3)
    assert np.abs(mixed - alone[order]).max() < rounding
    assert np.ptp(alone, axis=0).max() > 0.1, "the model tells the texts apart"
    fed = TWEET if name == "BERTweet" else FED[name]  # whose tokenizer normalises it
    inputs = tokenizer([fed], return_tensors="pt", truncation=True, max_length=found["max_length"])
    with torch.no_grad():
        theirs = model(**inputs).logits.numpy()
    assert np.abs(theirs[0] - alone[4]).max() < rounding, "transformers' own call gives the same"


@each
def test_the_last_layer_computes_the_first_token_alone_and_gives_the_same_logits(loaded, families, name):
    model, tokenizer, found = loaded[name]
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(families[name].best)
    inputs = tokenizer([*TEXTS, "b c " * 30], return_tensors="pt", padding=True, truncation=True,
                       max_length=found["max_length"])
    with torch.no_grad():
        logits, expected = (network(**inputs).logits for network in (model, plain))
        hidden = model.base_model(**inputs).last_hidden_state
    assert torch.allclose(logits, expected, atol=1e-4 * max(1.0, float(expected.max() - expected.min())))
    assert hidden.shape[1] == (inputs["input_ids"].shape[1] if name == "ModernBERT" else 1)


# Other encoders than the four


@pytest.mark.parametrize("family", ["deberta-v2", "distilbert", "electra", "mpnet", "xlm-roberta"])
def test_other_encoders_are_trained_and_served(call, bases, short, tmp_path, family):
    """The saved folder is a pipeline of the new classes."""
    base = tmp_path / f"tiny {family}"
    shutil.copytree(bases["MiniLM"], base, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[family](vocab_size=900, pad_token_id=0, hidden_size=32, num_hidden_layers=2,
                                                 num_attention_heads=2, intermediate_size=64)
    transformers.AutoModel.from_config(config).save_pretrained(base)
    options = short(made_rows(60, 1, ["no", "yes"]), made_rows(12, 2, ["no", "yes"]))
    options[options.index("--model"):] = ["--model_id", base, "--epochs", 1]  # named after the folder
    assert_good(call(*options, *EXACT, change=quick))
    best = tmp_path / "out" / f"best_tiny_{family}"
    told = call("--weights", best, *EXACT, *(part for text in TEXTS for part in ("--text", text)))
    assert_good(told)
    answers = transformers.pipeline("text-classification", str(best), truncation=True, device="cpu")(TEXTS)
    for line, answer in zip(told.out.splitlines(), answers, strict=True):
        assert line.split("\t")[1] == answer["label"] in ("no", "yes")
        assert float(line.split("\t")[2]) == pytest.approx(answer["score"], abs=1e-3)


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
    old, new = (call("--weights", weights, "--model_id", bases[name], *EXACT, *texts) for weights in (path, families[name].best))
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
    "other labels": ("config", lambda config: config.update(labels_of(["a", "b", "c"])), ["'a', 'b', 'c'", "sadness"]),
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
        base = changes.get("model_id", bases["MiniLM"])
        result = call("--weights", tmp_path / f"{how}.pt", "--model_id", base, "--text", "a")
        assert_one_line(result, tmp_path / ("none" if how == "none" else f"{how}.pt"))
    for name, content in (("keys", {"a": 1}), ("list", [1])):
        torch.save(content, tmp_path / f"{name}.pt")
        assert_one_line(call("--weights", tmp_path / f"{name}.pt", "--text", "a"), f"{name}.pt", "model_state_dict")
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert_one_line(call("--weights", tmp_path / "text.pt", "--text", "a"), "text.pt")


def test_an_older_checkpoint_names_no_base_but_one_of_models(call, families, bases, tmp_path, monkeypatch):
    """A stranger's file does not decide which folder is read, or what is fetched."""
    asked = []
    monkeypatch.setattr(loading, "locate_model", lambda _, model_id: asked.append(model_id) or str(bases["MiniLM"]))
    for number, base in enumerate((str(bases["MiniLM"]), "org/name", "", 3, "sentence-transformers/all-MiniLM-L6-v2")):
        path = tmp_path / f"{number}.pt"
        torch.save(older(families, bases, "MiniLM", model_id=base), path)
        result = call("--weights", path, "--text", "a")
        if number < 4:
            assert_one_line(result, path, "none of BERTweet", "--model_id")
            assert not asked
    assert_good(result)
    assert asked == [base]


def test_a_head_of_no_such_model_is_not_kept(call, bases, short, tmp_path):
    """Nor is it an error: the encoder is whole."""
    folder = shutil.copytree(bases["MiniLM"], tmp_path / "base")
    weights = load_file(folder / "model.safetensors") | {"classifier.bias": torch.ones(4)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = call(*short(made_rows(30, 1, "01"), made_rows(12, 2, "01")), "--model_id", folder, change=quick)
    assert_good(result)
    assert f"note: {folder}" in result.out and "its head is not kept" in result.out


def test_a_base_that_does_not_fit_is_one_line(call, bases, data, tmp_path):
    def base(change):
        folder = shutil.copytree(bases["MiniLM"], tmp_path / "base", dirs_exist_ok=True)
        weights = load_file(bases["MiniLM"] / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    folder = base(lambda weights: weights.pop("encoder.layer.1.attention.self.query.weight"))
    assert_one_line(call(*data.paths, "--model_id", folder), folder, "lacks", "query")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none", "./none"):
        assert_one_line(call(*data.paths, "--model_id", path), path, "--model_id")
    assert not [path for path in tree(tmp_path / "out") if "best_" in path]
