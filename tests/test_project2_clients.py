"""Project2: other programs read what compress and export write, its cards say how, and folders of links load."""
import importlib.metadata
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from project2 import (SETTINGS, EXACT, FAMILIES, LONG, SCRIPT, TEXTS, VARIANTS, assert_good, each, logits_of_folder, quick_compression,
                      run_main)

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it reports to a host
import onnxruntime
import tokenizers
import torch
import transformers
import yaml
from safetensors.torch import load_file

from conftest import EMOTIONS, PROGRAMS, assert_one_line, csv_bytes, node_with, run_script, tree

from classifier.compression import graphs
from classifier.compression import variants as making
from classifier.loading import load_checkpoint
from classifier.prediction import logits_of, predict_logits, softmax
from classifier.settings import InputError

pytest_plugins = ["project2"]
CLIENT = "@huggingface/transformers@4.3.1"
EXPORTED = {"small": "onnx/model_quantized.onnx", "tiny": "onnx/model_quantized.onnx", "pruned": "model.safetensors",
            "original": "onnx/model.onnx"}  # the file of each export
ALREADY = [variant for variant in VARIANTS if variant not in EXPORTED]
plain = pytest.mark.parametrize("name", [name for name in FAMILIES if name != "BERTweet"])  # which has no tokenizer.json
packed = pytest.mark.parametrize("variant", ["small", "tiny"])


def alone(patch):
    """Let an export not be compared in another process, which takes seven seconds."""
    patch.setattr(making, "check_in_fresh_process", lambda *_: None)


@pytest.fixture(scope="session")
def sources(families, variants):
    """{(family, variant): its folder}, the originals among them."""
    missing = [row for name in FAMILIES for row in variants[name].rows.values() if row["status"] != "measured"]
    assert not missing, missing  # each with its reason
    return {(name, "original"): families[name].best for name in FAMILIES} | {
        (name, variant): Path(variants[name].rows[variant]["folder"]) for name in FAMILIES for variant in VARIANTS}


@pytest.fixture(scope="session")
def exports(sources, tmp_path_factory):
    """{(family, variant): the folder that export makes of it}, MiniLM's original compared in a fresh process."""
    home, found = tmp_path_factory.mktemp("exports"), {}
    for key in itertools.product(FAMILIES, EXPORTED):
        result = run_main(home, "--mode", "export", "--weights", sources[key], "--output", home / "out",
                          change=None if key == ("MiniLM", "original") else alone)
        assert_good(result)
        found[key] = home / "out" / f"{sources[key].name}_export"
        assert result.out.startswith(f"written: {found[key]} (")
    return found


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """node(file, *arguments, texts) runs a JavaScript file of a folder that has transformers.js; returns what it printed."""
    folder = tmp_path_factory.mktemp("node")
    program = node_with(folder, CLIENT, seconds=200)  # onnxruntime-node's own script would fetch what a GPU needs

    def run(source, *arguments, texts=()):
        shutil.copy(source, folder / source.name)  # node looks for packages beside the file
        result = subprocess.run([program, source.name, *arguments], input=json.dumps(texts).encode(),
                                capture_output=True, timeout=300, cwd=folder)
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        return result.stdout.decode()

    yield run
    shutil.rmtree(folder)  # it is of half a gigabyte


def version_of(package):
    """Return the first two numbers of a package's version."""
    return tuple(map(int, importlib.metadata.version(package).split(".")[:2]))


def session_logits(folder, graph, texts):
    """Return (logits, names of the classes) as onnxruntime and tokenizers have them, a text at a time."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(folder / graph, providers=["CPUExecutionProvider"])
    assert {given.name for given in session.get_inputs()} == {"input_ids", "attention_mask"}
    found = [tokenizer.encode(text) for text in texts]
    logits = [session.run(None, {"input_ids": np.array([one.ids]), "attention_mask": np.array([one.attention_mask])})[0][0]
              for one in found]
    names = json.loads((folder / "config.json").read_text())["id2label"]
    return np.array(logits), tuple(names[str(number)] for number in range(len(names)))


def assert_close(found, expected, tolerance):
    """They agree, and far better than texts do."""
    assert np.ptp(expected, 0).max() > 5 * tolerance
    assert np.allclose(found, expected, rtol=0, atol=tolerance), np.abs(found - expected).max()


def code_of(folder):
    """Return the indented lines of a folder's card, with its path filled in."""
    lines = (folder / "README.md").read_text(encoding="utf-8").replace("PATH OF THIS FOLDER", str(folder)).splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


# Plain ONNX, read by others


@plain
def test_onnxruntime_and_tokenizers_alone_give_the_logits(sources, name):
    folder = sources[name, "onnx_int8"]
    assert {"onnx/model_quantized.onnx", "config.json", "tokenizer.json"} <= set(tree(folder))
    logits, names = session_logits(folder, "onnx/model_quantized.onnx", [*TEXTS, LONG])
    assert names == EMOTIONS
    assert_close(logits, logits_of_folder(folder, [*TEXTS, LONG]), 1e-3)


@plain
@pytest.mark.parametrize("variant, dtype", [("onnx_int8", "q8"), ("small", "q8"), ("tiny", "q8"), ("original", "fp32")])
def test_transformers_js_gives_the_probabilities(sources, exports, node, name, variant, dtype):
    """LONG is cut to what fits; transformers.js 4.3 cuts off the special token at its end, too, which the others keep."""
    folder = (sources if variant == "onnx_int8" else exports)[name, variant]
    answers = json.loads(node(PROGRAMS / "transformersjs.mjs", str(folder), dtype, texts=[*TEXTS, LONG]))
    found = [{answer["label"]: answer["score"] for answer in row} for row in answers]
    assert all(set(row) == set(EMOTIONS) for row in found)
    found = np.array([[row[emotion] for emotion in EMOTIONS] for row in found])
    model, tokenizer, manifest = load_checkpoint(SETTINGS, str(folder))
    cut = tokenizer(LONG, truncation=False)["input_ids"][:manifest["max_length"]]
    long = logits_of(model, [cut], tokenizer, 1)
    tolerance = 1e-3 if version_of("onnxruntime") >= (1, 29) else 0.012  # transformers.js has its own, and older ones round otherwise
    assert_close(found, softmax(np.concatenate([predict_logits(model, tokenizer, TEXTS, manifest), long])), tolerance)


def test_the_lines_of_a_card_run_in_node(sources, node, tmp_path):
    lines = code_of(sources["MiniLM", "onnx_int8"])
    begin = next(number for number, line in enumerate(lines) if line.startswith("import {"))
    (tmp_path / "card.mjs").write_text("\n".join([*lines[begin:-1], f"const classify = {lines[-1]}",
                                                  'console.log(JSON.stringify(await classify("ok")))']))
    assert json.loads(node(tmp_path / "card.mjs"))[0]["label"] in EMOTIONS


# What export writes


@each
@pytest.mark.parametrize("variant", EXPORTED)
def test_an_export_gives_the_logits_of_its_source(sources, exports, name, variant):
    source, folder = sources[name, variant], exports[name, variant]
    files = set(tree(folder))
    assert EXPORTED[variant] in files and not any(path.endswith(".xz") or "pruned" in path for path in files)
    assert [path for path in files if path.endswith((".onnx", ".safetensors"))] == [EXPORTED[variant]]
    expected, found = (logits_of_folder(path, [*TEXTS, LONG]) for path in (source, folder))
    assert_close(found, expected, 1e-3 if variant == "original" else 1e-5)
    assert np.array_equal(found, expected) or variant in ("pruned", "original"), "the very same graph"
    stored = json.loads((folder / "emotion_classifier.json").read_text())["variant"]
    assert stored == {"pruned": "original", "original": "onnx"}.get(variant, "onnx_int8")


@plain
@pytest.mark.parametrize("variant", ["small", "tiny", "original"])
def test_onnxruntime_alone_reads_an_export(sources, exports, name, variant):
    logits, names = session_logits(exports[name, variant], EXPORTED[variant], [*TEXTS, LONG])
    assert names == EMOTIONS
    assert_close(logits, logits_of_folder(sources[name, variant], [*TEXTS, LONG]), 1e-3)


@each
def test_transformers_reads_a_pruned_export(sources, exports, name):
    folder, (model, _, _) = exports[name, "pruned"], load_checkpoint(SETTINGS, str(sources[name, "pruned"]))
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == model.state_dict().keys()
    assert all(torch.equal(stored[key], value.cpu()) for key, value in model.state_dict().items())
    zeros = [(stored[f"{key}.weight"] == 0).float().mean() for key, part in model.named_modules()
             if isinstance(part, torch.nn.Linear)]
    assert zeros and min(zeros) > 0.25, "pruned weights stay pruned"
    expected = logits_of_folder(sources[name, "pruned"], TEXTS)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found = np.concatenate([network(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in TEXTS])
    assert_close(found, expected, 1e-4)
    classify = transformers.pipeline("text-classification", str(folder), device="cpu", top_k=None)
    answers = [{answer["label"]: answer["score"] for answer in row} for row in classify(TEXTS)]
    assert_close([[row[emotion] for emotion in EMOTIONS] for row in answers], softmax(expected), 1e-4)


@pytest.mark.parametrize("variant", ALREADY)
def test_what_others_load_already_is_not_exported(call, sources, tmp_path, variant):
    folder = sources["MiniLM", variant]
    assert_one_line(call("--mode", "export", "--weights", folder), folder, f"({variant})", "nothing to export")
    assert not tree(tmp_path / "out")


def test_an_export_is_not_exported_again_as_the_same(call, exports, tmp_path):
    """A pruned model's export is an original, which becomes ONNX."""
    for variant in ("tiny", "original"):
        assert_one_line(call("--mode", "export", "--weights", exports["MiniLM", variant]), "nothing to export")
    assert_good(call("--mode", "export", "--weights", exports["MiniLM", "pruned"], change=alone))
    assert "best_MiniLM_pruned_export_export/onnx/model.onnx" in tree(tmp_path / "out")


def test_export_as_users_run_it(sources, tmp_path):
    """The model that was written is loaded in another process."""
    folder = sources["MiniLM", "tiny"]
    result = run_script(SCRIPT, "--mode", "export", "--weights", folder, "--output", "out", cwd=tmp_path)
    assert result.returncode == 0 and b"Traceback" not in result.stderr, result.stderr[-3000:]
    assert result.stdout.startswith(b"written: out/best_MiniLM_tiny_export (")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["best_MiniLM_tiny_export"]
    assert np.array_equal(*(logits_of_folder(path, TEXTS)
                            for path in (folder, tmp_path / "out/best_MiniLM_tiny_export")))


def test_an_export_with_other_predictions_is_refused(call, sources, tmp_path):
    def change(patch):
        load = graphs.load_onnx

        def other(path, config):
            model = load(path, config)
            return lambda **inputs: SimpleNamespace(logits=model(**inputs).logits.roll(1))
        patch.setattr(graphs, "load_onnx", other)

    result = call("--mode", "export", "--weights", sources["MiniLM", "original"], change=change)
    assert_one_line(result, "other logits")
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.parametrize("variant", EXPORTED)
def test_a_refused_export_leaves_what_was_there(call, sources, tmp_path, variant):
    def change(patch):
        def refuse(settings, folder, *_):
            assert (Path(folder) / EXPORTED[variant]).is_file() and (Path(folder) / "README.md").is_file()
            raise InputError("other predictions")
        patch.setattr(making, "check_in_fresh_process", refuse)

    export = ["--mode", "export", "--weights", sources["MiniLM", variant]]
    assert_one_line(call(*export, change=change), "other predictions")
    assert not [*(tmp_path / "out").iterdir()]
    assert_good(call(*export, change=alone))
    before = tree(tmp_path / "out")
    assert_one_line(call(*export, change=change), "other predictions")
    assert tree(tmp_path / "out") == before


# Cards


@each
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_card_names_the_variant_its_classes_and_its_figures(variants, sources, name, variant):
    card = (sources[name, variant] / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    front = yaml.safe_load(front)
    assert not _ and front["pipeline_tag"] == "text-classification" and front["library_name"] and front["base_model"]
    assert f"# {name}, {variant}: 6 classes\n" in text and f"{', '.join(EMOTIONS)}; trained on train.csv" in text
    row = variants[name].rows[variant]
    for prefix, measured_on in (("", "120 validation rows, which chose the epoch"), ("test_", "120 test rows")):
        accuracy, macro_f1 = row[f"{prefix}accuracy"], row[f"{prefix}macro_f1"]
        assert f"\n- accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f} on {measured_on}\n" in text


def test_a_card_tells_the_two_sets_apart(call, families, data, tmp_path):
    (tmp_path / "other.csv").write_bytes(csv_bytes(data.train[:50]))
    assert_good(call("--mode", "compress", "--technique", "prune", "--weights", families["MiniLM"].best, *data.paths,
                     "--test", tmp_path / "other.csv", *EXACT, change=quick_compression))
    row = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"][1]
    card = (tmp_path / "out" / "best_MiniLM_pruned" / "README.md").read_text()
    assert row["accuracy"] != row["test_accuracy"]
    for prefix, rows in (("", "120 validation rows"), ("test_", "50 test rows")):
        accuracy, macro_f1 = row[f"{prefix}accuracy"], row[f"{prefix}macro_f1"]
        assert f"- accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f} on {rows}" in card


@pytest.mark.parametrize("variant", [*VARIANTS, "pruned_export", "tiny_export", "original_export"])
def test_the_lines_of_a_card_load_it(call, sources, exports, tmp_path, monkeypatch, variant):
    key = ("MiniLM", variant.removesuffix("_export"))
    folder = exports[key] if "export" in variant else sources[key]
    lines, text = code_of(folder), "i feel so lucky to have you"
    expected = logits_of_folder(folder, [text])
    probabilities, scope = softmax(expected)[0], {}
    monkeypatch.chdir(folder)
    if lines[0].startswith("python3"):
        assert_good(call(*shlex.split(lines[0], comments=True)[2:], change=alone))
        assert np.allclose(logits_of_folder(tmp_path / "out" / f"{folder.name}_export", [text]), expected, atol=1e-5)
    elif "transformers" in lines[0]:
        monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)  # fails where sizes are no 64, 128, ...
        exec(lines[0], scope)
        answer, = eval(lines[1], scope)
        assert answer["label"] == EMOTIONS[probabilities.argmax()]
        tolerance = 0.01 if version_of("torch") >= (2, 13) else 0.02  # the kernels of older ones round otherwise
        assert answer["score"] == pytest.approx(probabilities.max(), abs=tolerance)
    elif "openvino" in lines[0]:
        import openvino
        assert len(eval(lines[0], {"openvino": openvino}).inputs) == 2
    else:
        exec("\n".join(lines[:4]), scope)
        found = scope["tokenizer"].encode(text)
        given = {"input_ids": np.array([found.ids]), "attention_mask": np.array([found.attention_mask])}
        assert np.allclose(scope["session"].run(None, given)[0], expected, atol=1e-3)
    command, = (line for line in (folder / "README.md").read_text().splitlines() if line.startswith("or: "))
    result = call(*shlex.split(command.replace("PATH OF THIS FOLDER", str(folder)))[3:], *EXACT)
    assert_good(result)
    assert result.out.split("\t")[1] == EMOTIONS[probabilities.argmax()] and result.out.endswith(f"\t{text}\n")


# Folders of other layouts


def test_a_graph_in_the_cache_of_the_hub_loads(sources, tmp_path):
    """Its files are links to blobs."""
    source, cache = sources["MiniLM", "onnx_int8"], tmp_path / "models--x"
    folder = cache / "snapshots" / "0123"
    (cache / "blobs").mkdir(parents=True)
    for number, path in enumerate(tree(source)):
        blob = shutil.copy(source / path, cache / "blobs" / str(number))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(os.path.relpath(blob, (folder / path).parent))
    assert np.array_equal(*(logits_of_folder(path, TEXTS) for path in (folder, source)))


@pytest.mark.parametrize("how", ["folder elsewhere", "folder within", "file elsewhere", "file above", "nothing"])
def test_links_out_of_the_graphs_folder_are_refused(call, sources, tmp_path, how):
    folder = shutil.copytree(sources["MiniLM", "onnx_int8"], tmp_path / "linked")
    graphs, graph = folder / "onnx", folder / "onnx" / "model_quantized.onnx"
    place = {"folder elsewhere": tmp_path / "graphs", "folder within": folder / "graphs", "file elsewhere": tmp_path / "a.onnx",
             "file above": folder / "a.onnx", "nothing": tmp_path / "gone"}[how]
    linked = graphs if "folder" in how else graph
    linked.rename(place)
    linked.symlink_to(place)
    if how == "nothing":
        place.unlink()
    assert_one_line(call("--weights", folder, "--text", "a"), graph, "no file of this folder")


# What an export refuses, and what it writes of strange settings


def test_export_of_byte_level_vocabularies_is_compared_in_another_process(call, sources):
    assert_good(call("--mode", "export", "--weights", sources["CardiffRoBERTa", "small"]))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_export_without_a_package_is_one_line(call, sources, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert_one_line(call("--mode", "export", "--weights", sources["MiniLM", "original"]),
                    sources["MiniLM", "original"], missing)
    assert not [*(tmp_path / "out").iterdir()]


def test_a_network_that_cannot_be_exported_is_one_line(call, sources, tmp_path):
    def change(patch):
        def refuse(*_):
            raise torch.onnx.errors.UnsupportedOperatorError("aten::foo", 18, None)
        patch.setattr(graphs, "export_onnx", refuse)
    assert_one_line(call("--mode", "export", "--weights", sources["MiniLM", "original"], change=change), "aten::foo")
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.parametrize("wrong", [None, 3, "a\n---\nb: [", "\ud800", "a: b # [c"])
def test_export_with_an_odd_model_id(call, sources, tmp_path, wrong):
    folder = shutil.copytree(sources["MiniLM", "small"], tmp_path / "odd")
    path = folder / "emotion_classifier.json"
    settings = json.loads(path.read_text())
    settings.pop("model_id")
    path.write_text(json.dumps(settings if wrong is None else {**settings, "model_id": wrong}))
    result = call("--mode", "export", "--weights", folder, change=alone)
    if wrong in (None, "a: b # [c"):
        assert_good(result)
        card = (tmp_path / "out" / "odd_export" / "README.md").read_text()
        assert yaml.safe_load(card.split("---\n")[1])["base_model"] == (wrong or "MiniLM")
    else:
        assert_one_line(result, folder)


def test_a_card_promises_no_tokenizer_json_that_is_not_there(sources, exports):
    for key in (("BERTweet", "onnx_int8"), ("BERTweet", "tiny"), ("BERTweet", "original")):
        folder = (sources if key[1] == "onnx_int8" else exports)[key]
        card = (folder / "README.md").read_text()
        assert (folder / "tokenizer.json").exists() or "tokenizer.json" not in card and "transformers.js\n" not in card
