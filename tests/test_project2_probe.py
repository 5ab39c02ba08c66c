"""Project2: a planted or damaged model folder is refused when it is loaded, in one line, not when it breaks."""
import contextlib
import io
import json
import lzma
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import assert_one_line
from project2 import SCRIPT, SETTINGS

from classifier.encoder import load_base
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits
from classifier.settings import InputError

pytest_plugins = ["project2"]


def change_json(name, change):
    def planted(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))
    return planted


def change_weights(change):
    def planted(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return planted


def retype(folder):
    """Let the head's F32 be read as I32: the same bytes under another name."""
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header["classifier.weight"]["dtype"] = "I32"
    made = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(made).to_bytes(8, "little") + made + data[8 + size:])


def manifest(**entries):
    return change_json("emotion_classifier.json", lambda content: content.update(entries))


def config(**entries):
    return change_json("config.json", lambda content: content.update(entries))


def tokenizer(change):
    """Change tokenizer.json, and let it be read as it stands."""
    def planted(folder):
        change_json("tokenizer.json", change)(folder)
        change_json("tokenizer_config.json", lambda content: content.update(tokenizer_class="TokenizersBackend"))(folder)
        (folder / "vocab.txt").unlink(missing_ok=True)
    return planted


def template(*tokens):
    parts = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * len(tokens) + [{"Sequence": {"id": "A", "type_id": 0}}]
    made = {"type": "TemplateProcessing", "single": parts, "pair": parts,
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": list(tokens[:1]), "tokens": ["[CLS]"]}} if tokens else {}}
    return tokenizer(lambda content: content.update(post_processor=made))


def normaliser(*parts):
    made = {"type": "Sequence", "normalizers": list(parts)}
    return tokenizer(lambda content: content.update(normalizer=made))


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


NAMES = ["sadness", "joy", "love", "anger", "fear", "surprise"]
LABELS = {"id2label": {str(number): name for number, name in enumerate(["joy", *NAMES[1:]])}}
PLANTS = {
    "bias nan": manifest(biases=[float("nan")] * 6), "bias infinite": manifest(biases=[float("inf")] + [0.0] * 5),
    "bias 1e308": manifest(biases=[1e308] * 6), "temperature nan": manifest(temperature=float("nan")),
    "weights nan": change_weights(lambda weights: weights["classifier.weight"].fill_(float("nan"))),
    "weights huge": change_weights(lambda weights: weights["classifier.weight"].fill_(1e30)), "head of integers": retype,
    "longer than its positions": manifest(max_length=100_000), "one too many": manifest(max_length=513),
    "names twice": lambda folder: (config(**LABELS)(folder), manifest(names=["joy", *NAMES[1:]])(folder)),
    "labels twice": manifest(labels=["0", "0", "2", "3", "4", "5"]), "no name": manifest(labels=["", "1", "2", "3", "4", "5"]),
    "not printable": manifest(labels=["a\x1b[2J", "1", "2", "3", "4", "5"]), "long": manifest(labels=["a" * 201, *"12345"]),
    "layers": config(num_hidden_layers=10**9), "words": config(vocab_size=10**12),
    "JSON of 5 MB": manifest(more="x" * 5_000_000),
    "no vocabulary": tokenizer(lambda content: (content["model"].update(vocab={}), content.update(added_tokens=[]))),
    "no unknown token": tokenizer(lambda content: content["model"].update(unk_token="absent")),
    "no padding token": lambda folder: (tokenizer(lambda content: None)(folder), change_json(
        "tokenizer_config.json", lambda content: (content.pop("pad_token"), content.pop("added_tokens_decoder", 0)))(folder)),
    "template of other numbers": template(999_999), "template of many": template(*[1] * 2000), "template of none": template(),
    "backtracking": normaliser(replace("(a+)+$", "b", "Regex")), "charsmap": normaliser({
        "type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "chained": normaliser(*[replace("a", "aaaaaaaaaa")] * 10),
}


@pytest.fixture
def copy(families, tmp_path):
    return shutil.copytree(families["MiniLM"].best, tmp_path / "planted")


def refused(folder):
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        load_checkpoint(SETTINGS, str(folder))
    message = str(caught.value)
    assert message.isprintable() and str(folder) in message and "train" not in message, message
    assert time.process_time() - began < 20
    return message


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_refused_as_it_is_loaded(copy, capfd, name):
    PLANTS[name](copy)
    capfd.readouterr()
    refused(copy)
    assert capfd.readouterr().err == "", "nothing of the libraries' own"


@pytest.mark.parametrize("change", [{"num_hidden_layers": 99}, {"intermediate_size": 10**6}, {"max_position_embeddings": 10**6}])
def test_a_network_of_more_weights_than_its_files_have_is_refused_before_it_is_made(copy, monkeypatch, change):
    """[a million of intermediate_size took 18 GB and 90 seconds to be refused]"""
    config(**change)(copy)
    monkeypatch.setattr("classifier.loading.load_network", lambda *_, **__: pytest.fail("it is made"))
    assert "weights; its files have" in refused(copy)


def test_a_planted_folder_is_one_line_on_the_command_line(copy):
    PLANTS["charsmap"](copy)
    command = [sys.executable, SCRIPT, "--weights", copy, "--text", "a"]
    assert_one_line(subprocess.run([*map(str, command)], capture_output=True), copy, "PanicException")


def test_the_cause_of_a_fault_is_told(copy, monkeypatch):
    """Also of one of our own; and what a stranger made is not trained anew."""
    monkeypatch.setattr("classifier.loading.load_tokenizer", lambda *_: [].readlines)
    assert "AttributeError: 'list' object has no attribute 'readlines'" in refused(copy)


def graph(change):
    """Let a graph of one operator stand in for the network: ids (texts, tokens) to what `change` makes of them."""
    def planted(folder):
        from onnx import TensorProto, helper, numpy_helper
        nodes, kind, shape, constants = change(helper)
        made = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])],
            [helper.make_tensor_value_info("logits", kind, shape)],
            [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()])
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.onnx").write_bytes(model.SerializeToString())
        manifest(variant="onnx")(folder)
    return planted


def first(helper, count):
    """The nodes that make (texts, 6) of a text's first number."""
    return [helper.make_node("Slice", ["input_ids", "zero", "one", "one"], ["cut"]),
            helper.make_node("Expand", ["cut", "six"], ["wide"]),
            helper.make_node("Cast", ["wide"], [count], to=1)]


FIRST = {"zero": [0], "one": [1], "six": [1, 6]}
GRAPHS = {
    "good": lambda helper: (first(helper, "logits"), 1, ["texts", 6], FIRST),
    "twice the rows": lambda helper: ([*first(helper, "x"), helper.make_node("Concat", ["x", "x"], ["logits"], axis=0)],
                                      1, ["rows", 6], FIRST),
    "one row": lambda helper: ([*first(helper, "x"), helper.make_node("ReduceMax", ["x"], ["logits"], keepdims=1)],
                               1, [1, 1], FIRST),
    "strings": lambda helper: ([*first(helper, "x"), helper.make_node("Cast", ["x"], ["logits"], to=8)],
                               8, ["texts", 6], FIRST),
    "integers": lambda helper: ([*first(helper, "x"), helper.make_node("Cast", ["x"], ["logits"], to=7)],
                                7, ["texts", 6], FIRST),
    "fails": lambda helper: ([*first(helper, "x"), helper.make_node("Reshape", ["x", "odd"], ["logits"])], 1,
                             ["texts", 6], {**FIRST, "odd": [7, 7]}),
    "of its neighbours": lambda helper: ([*first(helper, "x"), helper.make_node(
        "ReduceSum", ["x", "zero"], ["sum"], keepdims=1), helper.make_node("Mul", ["x", "sum"], ["all"]),
        helper.make_node("Mul", ["all", "steps"], ["logits"])], 1, ["texts", 6],
        {**FIRST, "steps": np.linspace(0, 0.1, 6, dtype=np.float32)}),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_is_tried_before_it_is_used(copy, case):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    graph(GRAPHS[case])(copy)
    if case == "good":
        assert load_checkpoint(SETTINGS, str(copy))[2]["variant"] == "onnx"
    else:
        refused(copy)


def test_a_packed_graph_of_gigabytes_is_given_up(copy):
    manifest(variant="small")(copy)
    with lzma.open(copy / "model.onnx.xz", "wb", preset=0) as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert "unpacks to over" in refused(copy)


def test_no_intermediate_language_is_one_line(copy, capfd):
    pytest.importorskip("openvino")
    manifest(variant="openvino_int8")(copy)
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (copy / name).write_text("<net></net>")
    capfd.readouterr()
    refused(copy)
    assert capfd.readouterr().err == ""


def test_a_base_is_tried_before_it_is_trained(bases, tmp_path):
    base = shutil.copytree(bases["MiniLM"], tmp_path / "base")
    change_weights(lambda weights: weights["encoder.layer.0.output.dense.bias"].fill_(float("nan")))(base)
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(InputError, match="finite"):
        load_base(SETTINGS, "MiniLM", str(base), str(base), {"0": "a", "1": "b"})


def test_the_probe_changes_nothing_and_is_quick(loaded):
    from classifier.prediction import probe
    for name, (model, tokens, found) in loaded.items():
        before = torch.get_rng_state(), predict_logits(model, tokens, ["i feel sad"], found)
        began = time.process_time()
        probe(model, tokens, found)
        assert time.process_time() - began < 2, name
        assert (torch.get_rng_state() == before[0]).all()
        assert (predict_logits(model, tokens, ["i feel sad"], found) == before[1]).all()


@pytest.mark.parametrize("before", [{}, {"kernels": contextlib}])
def test_the_program_that_imports_classifier_keeps_its_modules(families, script, monkeypatch, before):
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    for name, module in before.items():
        monkeypatch.setitem(sys.modules, name, module)
    classifier = script.Classifier(str(families["MiniLM"].best))
    assert {name: module for name, module in sys.modules.items() if name == "kernels"} == before
    assert classifier({"text": ["i feel sad"]})["confidence"].shape == (1,)
    for wrong in ({"text": ["a", "\ud800"]}, {"text": [3]}, {"other": ["a"]}):
        with pytest.raises(InputError):
            classifier(wrong)
    for wrong in ({"NOTHING": 1}, {"TEXT_COLUMN": "\ud800"}, {"MAX_LENGTH": "x"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            script.Classifier(str(families["MiniLM"].best), **wrong)
