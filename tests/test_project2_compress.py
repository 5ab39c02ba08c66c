"""Project2, --mode compress: each variant is measured beside the original, saved, served, and refused if damaged."""
import itertools
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from project2 import SETTINGS, EXACT, FAMILIES, TEXTS, VARIANTS, assert_good, each, logits_of_folder, quick, quick_compression

import numpy as np
import torch
import transformers
from hypothesis import given, settings, strategies
from safetensors.torch import load_file, save_file

from conftest import EMOTIONS, assert_one_line, csv_bytes, made_rows, read_csv, tree

from classifier.compression import variants as making
from classifier.compression.comparison import quality
from classifier.compression.graphs import quantize_in_rows, quantize_weights
from classifier.compression.weights import prune
from classifier.encoder import linear_layers
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits

pytest_plugins = ["project2"]
every = pytest.mark.parametrize("name, variant", [*itertools.product(FAMILIES, VARIANTS)])


# What each variant is


@each
def test_every_variant_is_reported_beside_the_original(variants, name):
    run, files = variants[name], tree(variants[name].home / "out")
    assert list(run.rows) == ["original", *VARIANTS] and run.rows["original"]["accuracy_change"] == 0
    assert {path for path in files if "/" not in path} == {"compression.json", "compression.csv"}
    assert {path.split("/")[0] for path in files if "/" in path} == {f"best_{name}_{variant}" for variant in VARIANTS}
    assert not [path for path in files if "partial" in path]
    table = read_csv(files["compression.csv"])
    assert [row["variant"] for row in table] == list(run.rows)
    assert [row["status"] for row in table] == [row["status"] for row in run.rows.values()]
    assert not tree(run.home / "cwd") and {path.name for path in run.home.iterdir()} == {"cwd", "script", "out"}


@every
def test_a_variant_is_measured(variants, families, name, variant):
    row, original, out = variants[name].rows[variant], variants[name].rows["original"], variants[name].result.out
    assert row["status"] == "measured", row
    assert row["accuracy_change"] == pytest.approx(row["accuracy"] - original["accuracy"])
    assert row["macro_f1_change"] == pytest.approx(row["macro_f1"] - original["macro_f1"])
    assert row["bytes_share"] == pytest.approx(row["bytes"] / original["bytes"])
    assert 0 <= row["agreement"] <= 1 and row["rows"] == 120
    assert min(row[key] for key in ("peak_memory_bytes", "latency_1_median", "latency_32_median", "texts_per_second")) > 0
    assert re.search(rf"^{variant} .*\b{row['accuracy']:.4f}\b.*\b{row['macro_f1']:.4f}\b", out, re.MULTILINE)
    folder = families[name].best if variant == "original" else variants[name].home / "out" / f"best_{name}_{variant}"
    assert row["bytes"] == sum(map(len, tree(folder).values()))


def test_each_model_is_measured_in_a_process_of_its_own(call, variants, families, data, tmp_path):
    """That takes seconds, so here for one variant."""
    assert_good(call("--mode", "compress", "--technique", "prune", "--weights", families["MiniLM"].best, *data.paths, "--test",
                     data.val_path, *EXACT))
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [row["variant"] for row in rows] == ["original", "pruned"]
    for row in rows:
        here = variants["MiniLM"].rows[row["variant"]]
        same = ("accuracy", "macro_f1", "agreement", "bytes")
        assert [row[key] for key in same] == [here[key] for key in same]
        assert 0 < row["latency_1_median"] <= row["latency_1_p95"] and 0 < row["latency_32_median"] <= row["latency_32_p95"]
        assert row["peak_memory_bytes"] > 1e8


@every
def test_a_variant_read_back_gives_the_logits_of_before(variants, fresh, name, variant):
    """In the process that measures, in another fresh one, and in this one."""
    row = variants[name].rows[variant]
    again = logits_of_folder(row["folder"], TEXTS)
    assert np.array_equal(again, fresh.logits[name, variant]) and np.isfinite(again).all() and np.ptp(again) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_figures_of_a_variant_are_those_of_its_predictions(variants, families, data, variant):
    texts, labels = [text for text, _ in data.val], [int(label) for _, label in data.val]
    row = variants["MiniLM"].rows[variant]
    base, predicted = (logits_of_folder(folder, texts).argmax(1)
                       for folder in (families["MiniLM"].best, row["folder"]))
    assert row["accuracy"] == pytest.approx((predicted == labels).mean())
    assert row["agreement"] == pytest.approx((predicted == base).mean())


@every
def test_a_text_alone_decides_its_label(variants, data, name, variant):
    """Whatever stands beside it: in any order, alone, and in batches of any size."""
    model, tokenizer, found = load_checkpoint(SETTINGS, variants[name].rows[variant]["folder"])
    texts = [text for text, _ in data.val] + [" ".join(text for text, _ in data.val[:3])]
    alone = predict_logits(model, tokenizer, texts, found, 1)
    for size, order in ((3, range(len(texts))), (64, np.random.default_rng(0).permutation(len(texts)))):
        order = list(order)
        logits = predict_logits(model, tokenizer, [texts[row] for row in order], found, size)
        moved = np.median(np.abs(logits - alone[order]).max(1)) / np.ptp(alone, 0).max()
        assert moved < (0.05 if "nf4" in variant else 1e-4), "NF4 computes in bfloat16, which rounds to 1 in 256"
        assert np.mean(logits.argmax(1) == alone[order].argmax(1)) > 0.98


@each
def test_figures_of_both_sets_stand_in_the_report(variants, name):
    """Here they are the same rows."""
    for row in variants[name].rows.values():
        if row["status"] == "measured":
            for key in ("accuracy", "macro_f1", "lost", "won", "mcnemar_p", "calibration_error", "agreement"):
                assert row[f"test_{key}"] == row[key], (row["variant"], key)
            assert row["accuracy_change"] == pytest.approx((row["won"] - row["lost"]) / row["rows"])


@every
def test_variant_folders_serve_every_mode(variants, call, data, tmp_path, name, variant):
    source, row = tmp_path / "few.csv", variants[name].rows[variant]
    source.write_bytes(csv_bytes(data.val[:20]))
    before = tree(row["folder"])
    assert_good(call("--mode", "evaluate", "--weights", row["folder"], "--val", data.val_path, change=quick))
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["variant"] == variant and found["accuracy"] == pytest.approx(row["accuracy"])
    assert_good(call("--mode", "inference", "--weights", row["folder"], "--test_csv", source))
    rows = read_csv((tmp_path / "few_predictions.csv").read_bytes())
    assert [(row["text"], row["label"]) for row in rows] == data.val[:20]
    assert all(EMOTIONS[int(row["predicted_label"])] == row["predicted_emotion"] for row in rows)
    assert tree(row["folder"]) == before


def test_variants_are_really_smaller(variants, families):
    """The weights' files alone: a small model's tokenizer outweighs it."""
    size = {variant: max(map(len, tree(row["folder"]).values())) for variant, row in variants["MiniLM"].rows.items()
            if variant in VARIANTS}
    size["original"] = (families["MiniLM"].best / "model.safetensors").stat().st_size
    assert size["pruned"] < 0.95 * size["original"]
    assert size["nf4"] < size["int8"] < size["pruned"] and size["pruned_nf4"] < 1.01 * size["nf4"]
    assert size["small"] < size["onnx_int8"] < 0.5 * size["original"]


@each
def test_pruning_alone_takes_the_smallest_weights_of_every_linear_layer(loaded, name):
    before, model = loaded[name][0].state_dict(), prune(loaded[name][0], 0.3)
    zeros = total = 0
    for key, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            old, new = before[f"{key}.weight"], module.weight.detach()
            gone = new == 0
            assert int(gone.sum()) == pytest.approx(0.3 * new.numel(), abs=1 + int((old == 0).sum())), key
            assert torch.equal(new[~gone], old[~gone]), "what is left is as it was"
            assert old[gone].abs().max() <= old[~gone].abs().min(), "the smallest weights went"
            zeros, total = zeros + int(gone.sum()), total + new.numel()
    assert zeros / total == pytest.approx(0.3, abs=0.01)
    for key, value in model.state_dict().items():
        assert "Linear" in str(type(model.get_submodule(key.rpartition(".")[0]))) or torch.equal(value, before[key]), key


@each
def test_pruned_weights_stay_zero_while_the_others_learn(variants, loaded, name):
    model, _, found = load_checkpoint(SETTINGS, variants[name].rows["pruned"]["folder"])
    once = prune(loaded[name][0], 0.3).state_dict()
    assert found["trained_after_pruning"] == 1
    zeros = total = 0
    for key in linear_layers(model):
        gone, weights = once[f"{key}.weight"] == 0, model.get_submodule(key).weight.detach()
        assert (weights[gone] == 0).all() and not torch.equal(weights, once[f"{key}.weight"]), key
        zeros, total = zeros + int((weights == 0).sum()), total + weights.numel()
    assert 0.29 < zeros / total < 0.32


@each
@pytest.mark.parametrize("variant", ["int8", "nf4", "pruned_nf4"])
def test_the_head_is_not_quantised_and_the_encoder_is(variants, families, name, variant):
    source = families[name].best if "pruned" not in variant else variants[name].rows["pruned"]["folder"]
    before = load_checkpoint(SETTINGS, str(source))[0].state_dict()
    model, _, _ = load_checkpoint(SETTINGS, variants[name].rows[variant]["folder"])
    kinds = {key: type(module).__name__ for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    head = {key for key in kinds if not key.startswith(f"{model.base_model_prefix}.")}
    assert head and {kinds[key] for key in head} == {"Linear"}
    kind = "Linear8bitLt" if variant == "int8" else "Linear4bit"
    assert {found for key, found in kinds.items() if key not in head} == {kind}
    for key in head:
        kept = model.get_submodule(key).weight.detach().float()
        gone = kept == 0 if "pruned" in variant else torch.zeros_like(kept, dtype=torch.bool)
        assert torch.allclose(kept[~gone], before[f"{key}.weight"][~gone], rtol=0.01, atol=1e-4)
    stored = load_file(Path(variants[name].rows[variant]["folder"]) / "model.safetensors")
    quantised = {key.removesuffix(".weight") for key, value in stored.items() if not value.is_floating_point()
                 and key.endswith(".weight")}
    assert quantised == set(kinds) - head


def test_what_cannot_run_is_reported_and_the_rest_goes_on(call, families, data, tmp_path, monkeypatch):
    for missing in ("onnx", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, missing, None)

    def change(patch):
        quick_compression(patch)
        for variant in set(making.VARIANTS) - {"onnx_int8", "openvino_int8", "pruned"}:
            del making.VARIANTS[variant]

    result = call("--mode", "compress", "--weights", families["CardiffRoBERTa"].best, "--val", data.val_path, *EXACT,
                  change=change)
    assert_good(result)
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [(row["variant"], row["status"]) for row in rows] == [
        ("original", "measured"), ("pruned", "measured"), ("onnx_int8", "not run"), ("openvino_int8", "not run")]
    assert "onnx" in rows[2]["reason"] and "accuracy" not in rows[2]
    assert "openvino" in rows[3]["reason"]
    assert f"onnx_int8: {rows[2]['reason']}" in result.out
    table = read_csv((tmp_path / "out" / "compression.csv").read_bytes())
    assert [row["status"] for row in table] == [row["status"] for row in rows]
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"best_CardiffRoBERTa_pruned"}


def test_a_variant_that_fails_to_load_again_is_not_run(call, families, data, tmp_path):
    def change(patch):
        quick_compression(patch)
        save = making.save_pruned

        def damaged(model, folder):
            save(model, folder)
            path = os.path.join(folder, "pruned.safetensors")
            tensors = load_file(path)
            tensors.pop("classifier.dense.bias")
            save_file(tensors, path)
        patch.setattr(making, "save_pruned", damaged)

    result = call("--mode", "compress", "--weights", families["CardiffRoBERTa"].best, "--val", data.val_path, *EXACT,
                  "--technique", "prune", change=change)
    assert_good(result)
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [row["status"] for row in rows] == ["measured", "not run"] and "cannot be read" in rows[1]["reason"]


def test_a_constant_stays_in_a_quantised_graph():
    """A node without inputs, as onnxruntime 1.26 leaves them where others fold them."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession
    texts, weights = (np.random.default_rng(0).normal(size=size).astype(np.float32) for size in ((3, 8), (8, 4)))
    nodes = [helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.float32([1]))),
             helper.make_node("MatMul", ["x", "weights"], ["product"], "product"), helper.make_node("Add", ["product", "one"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, size])] for name, size in (("x", 8), ("y", 4))]
    graph = helper.make_model(helper.make_graph(nodes, "graph", *ends, [numpy_helper.from_array(weights, "weights")]),
                              opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    quantize_in_rows(graph, lambda _: 8.0)
    assert "MatMul" not in [node.op_type for node in graph.graph.node]
    (found,) = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": texts})
    assert np.allclose(found, texts @ weights + 1, atol=0.1)


def test_weights_that_layers_share_are_compressed(call, bases, short, tmp_path):
    """ALBERT's layers are one, applied again and again."""
    base = tmp_path / "albert"
    shutil.copytree(bases["MiniLM"], base, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    torch.manual_seed(0)
    transformers.AlbertModel(transformers.AlbertConfig(
        vocab_size=900, embedding_size=64, hidden_size=128, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=512, initializer_range=0.2, pad_token_id=0)).save_pretrained(base)
    rows = made_rows(120, 1)
    assert_good(call(*short(rows, made_rows(60, 2)), "--model_id", base, "--LEARNING_RATE", 0.005, *EXACT, change=quick))
    assert_good(call("--mode", "compress", "--weights", tmp_path / "out" / "best_MiniLM",
                     *short(rows, made_rows(60, 2)), *EXACT, change=quick_compression))
    found = {row["variant"]: row for row in json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]}
    assert [variant for variant, row in found.items() if row["status"] == "measured"] == ["original", *VARIANTS], found
    for variant in VARIANTS:
        assert found[variant]["bytes"] < found["original"]["bytes"], variant
    assert found["onnx_int8"]["agreement"] > 0.8 and found["int8"]["agreement"] > 0.8


def test_technique_and_sparsity_choose_and_the_same_command_gives_the_same_bytes(call, variants, families, data, tmp_path):
    arguments = ["--mode", "compress", "--technique", "prune", "--weights", families["ModernBERT"].best, *data.paths, "--test",
                 data.val_path, *EXACT]
    assert_good(call(*arguments, change=quick_compression))
    files = tree(tmp_path / "out")
    assert {path.split("/")[0] for path in files if "/" in path} == {"best_ModernBERT_pruned"}
    same = tree(variants["ModernBERT"].rows["pruned"]["folder"])
    assert {path.removeprefix("best_ModernBERT_pruned/"): content for path, content in files.items() if "/" in path} == same
    assert_good(call(*arguments, "--sparsity", 0.8, change=quick_compression))
    rows = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert [row["variant"] for row in rows] == ["original", "pruned"]
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
    kinds = (".safetensors", ".onnx", ".xz", ".bin")
    weights = max((path for path in folder.rglob("*") if path.suffix in kinds), key=lambda path: path.stat().st_size)
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


# What the command line cannot show


@settings(max_examples=50, deadline=None)
@given(seed=strategies.integers(0, 99), axis=strategies.sampled_from([None, 0]), bits=strategies.floats(1, 8))
def test_weights_have_no_more_entropy_than_they_may(seed, axis, bits):
    weights = np.random.default_rng(seed).normal(0, 0.1, (40, 50)).astype(np.float32)
    weights[:, 3] = 0
    values, scales = quantize_weights(weights, axis, 63, bits)
    _, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    assert values.dtype == np.int8 and scales.shape == (() if axis is None else (50,)) and np.abs(values).max() <= 63
    assert -(shares * np.log2(shares)).sum() <= bits + 1e-6
    assert (np.abs(values * scales - weights) <= scales / 2 + 1e-6).all(), "each is rounded to the nearest"
    assert bits < 6.9 or np.abs(values).max() == 63, "no coarser than it must be"


@settings(max_examples=100, deadline=None)
@given(strategies.lists(strategies.tuples(*[strategies.integers(0, 2)] * 3), min_size=1, max_size=40))
def test_lost_and_won_texts_and_their_probability(rows):
    labels, mine, before = np.array(rows).T
    found = quality(labels, np.eye(3, dtype=np.float32)[mine], np.eye(3, dtype=np.float32)[before])
    lost = sum(label == its != our for label, our, its in rows)
    won = sum(label == our != its for label, our, its in rows)
    few, both = min(lost, won), lost + won
    chance = min(1.0, 2 * sum(math.comb(both, number) for number in range(few + 1)) / 2**both)
    assert (found["lost"], found["won"]) == (lost, won) and found["mcnemar_p"] == pytest.approx(chance)
    assert found["accuracy_change"] == pytest.approx((won - lost) / len(rows))


# Killed, and started again


def test_a_killed_compression_goes_on_after_what_it_has_measured(call, forks, variants, families, data, tmp_path):
    arguments = ["--mode", "compress", "--weights", families["MiniLM"].best, *data.paths, "--test", data.val_path, *EXACT,
                 "--output", tmp_path / "out"]
    job = {"home": tmp_path / "killed", "arguments": arguments, "quick": True}
    killed, = forks.run([{**job, "watch": str(tmp_path / "out" / "compression_checkpoint" / "*.json"), "changes": 2}])
    assert killed.code == -9
    done = {path.stem: (tmp_path / "out" / f"best_MiniLM_{path.stem}")
            for path in (tmp_path / "out" / "compression_checkpoint").glob("*.json")}
    assert set(done) == {"pruned", "int8"}
    before = {path: path.stat().st_mtime_ns for folder in done.values() for path in folder.rglob("*")}
    result = call(*arguments[:-2], change=quick_compression)
    assert_good(result)
    assert before == {path: path.stat().st_mtime_ns for folder in done.values() for path in folder.rglob("*")}
    rows = {row["variant"]: row for row in json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]}
    assert list(rows) == list(variants["MiniLM"].rows) and not (tmp_path / "out" / "compression_checkpoint").exists()
    for variant in VARIANTS:
        assert rows[variant]["accuracy"] == variants["MiniLM"].rows[variant]["accuracy"], variant
        weights = [load_folder(folder) for folder in (rows[variant]["folder"], variants["MiniLM"].rows[variant]["folder"])]
        assert weights[0] == weights[1], variant


def load_folder(folder):
    """The files of a folder but its card, which has figures of speed in none of its lines."""
    return {path: content for path, content in tree(folder).items() if "openvino" not in path}


def test_a_student_that_was_killed_learns_on_from_its_checkpoint(call, forks, families, data, tmp_path):
    arguments = ["--mode", "compress", "--technique", "tiny", "--weights", families["CardiffRoBERTa"].best, *data.paths, *EXACT,
                 "--tiny_epochs", 4]
    job = {"home": tmp_path / "killed", "arguments": [*arguments, "--output", tmp_path / "out"], "quick": True}
    killed, = forks.run([{**job, "watch": str(tmp_path / "out" / "compression_checkpoint" / "tiny.pt"), "changes": 2}])
    assert killed.code == -9
    went_on = call(*arguments, change=quick_compression)
    assert_good(went_on)
    assert "tiny: goes on from step 0 of epoch" in went_on.out
    folder = tmp_path / "out" / "best_CardiffRoBERTa_tiny"
    first = (folder / "model.onnx.xz").read_bytes()
    shutil.rmtree(folder)
    assert_good(call(*arguments, change=quick_compression))
    assert (folder / "model.onnx.xz").read_bytes() == first
    assert_good(call(*arguments, "--tiny_layers", 1, change=quick_compression))
    assert len((folder / "model.onnx.xz").read_bytes()) < 0.9 * len(first)
