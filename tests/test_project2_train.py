"""Project2, --mode train: what it saves, how it learns, which rows it takes; killed and resumed; several processes."""
import itertools
import json
import os
import random
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from project2 import (EXACT, FAMILIES, LIMIT, NAMES, SCRIPT, TEXTS, assert_good, each, logits_of_folder, quick, run_main,
                      SETTINGS)

import numpy as np
import torch
from hypothesis import given, settings, strategies
from safetensors.torch import load_file, save_file

from conftest import EMOTIONS, assert_one_line, csv_bytes, free_port, made_rows, read_csv, tree

from classifier import evaluation, hub, saving, training
from classifier.evaluation import as_trained
from classifier.text import batches, pad
from classifier.training import for_few_texts, one_class_macro_f1, parameter_groups, schedule

pytest_plugins = ["project2"]


# Each family


@each
def test_training_saves_the_model_and_its_record(families, name):
    run = families[name]
    files = tree(run.home / "out")
    assert {"report.json", "report.csv", f"{name}/results.json", f"{name}/curves.png",
            f"{name}/confusion.png", f"best_{name}/model.safetensors", f"best_{name}/config.json",
            f"best_{name}/README.md"} <= set(files)
    assert all(path.split("/")[0] in (name, f"best_{name}") or "/" not in path for path in files)
    assert not [path for path in files if path.endswith((".pt", ".bin", ".pkl")) or "partial" in path]
    assert all(content.startswith(b"\x89PNG") for path, content in files.items() if path.endswith(".png"))
    config = json.loads(files[f"best_{name}/config.json"])
    assert [config["id2label"][str(number)] for number in range(6)] == list(EMOTIONS)
    assert config["label2id"] == {emotion: number for number, emotion in enumerate(EMOTIONS)}
    saved = json.loads(files[f"best_{name}/emotion_classifier.json"])
    assert saved["labels"] == list("012345") and saved["names"] == list(EMOTIONS)
    card = files[f"best_{name}/README.md"].decode()
    results = run.results
    assert results["labels"] == list(EMOTIONS) and results["dataset"] == "train.csv"
    assert name in card and f"{results['validation_accuracy']:.4f}" in card and "NUM_EPOCHS: 2" in card
    assert f"{results['validation_macro_f1']:.4f}" in card and all(emotion in card for emotion in EMOTIONS)
    assert not tree(run.home / "cwd") and {path.name for path in run.home.iterdir()} == {"cwd", "script", "out"}
    assert {path.name for path in (run.home / "script").iterdir()} == {SCRIPT.name, "classifier"}


def warning(name, results):
    """The line of the summary where a model gives all rows one class, as small models of random weights may."""
    return results["only_class"] and (f"WARNING: {name} HAS NOT LEARNED: it calls all 120 validation rows "
                                      f"{results['only_class']}; give it more rows, more NUM_EPOCHS, or another LEARNING_RATE\n") or ""


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
        f"{warning(name, results)}"
        "===============================================\n")
    assert results["model_bytes"] == sum(map(len, tree(run.best).values()))
    assert (results["train_rows"], results["validation_rows"], results["epochs"]) == (299, 120, 2)
    assert results["seed"] == 1 and results["versions"]["torch"] == torch.__version__
    (row,) = read_csv((run.home / "out" / "report.csv").read_bytes())
    assert row["model"] == name and float(row["validation_macro_f1"]) == pytest.approx(results["validation_macro_f1"])


@each
def test_training_starts_from_the_pretrained_weights(families, bases, name):
    before, after = load_file(bases[name] / "model.safetensors"), load_file(families[name].best / "model.safetensors")
    found = {key: next(value for full, value in after.items() if full.endswith(key))
             for key in before if "pooler" not in key}
    matrices = [key for key in found if found[key].ndim > 1]
    assert len(matrices) > 8
    for key in matrices:
        change = (found[key] - before[key]).abs().max()
        assert 0 < change < 0.3 or "token_type" in key, (key, change)


def test_a_saved_model_that_a_fresh_process_loads_otherwise_is_an_error(call, short, tmp_path):
    """The weights become others once they are written; that good ones are taken, the notebook and the README's lines show."""
    load, check = saving.load_to_serve, saving.check_in_fresh_process

    def spoil(settings, folder):
        loaded = load(settings, folder)
        weights = load_file(os.path.join(folder, "model.safetensors"))
        save_file({key: value.flip(0) for key, value in weights.items()}, os.path.join(folder, "model.safetensors"))
        return loaded

    def change(patch):
        patch.setattr(saving, "load_to_serve", spoil)
        patch.setattr(saving, "check_in_fresh_process", check)

    result = call(*short(made_rows(60, 5), made_rows(60, 6)), *NAMES, change=change)
    assert_one_line(result, "error: a fresh process does not load the saved model as it was trained: ", "predictions are others")
    assert not [path for path in tree(tmp_path / "out") if "best_" in path]


def test_training_learns(call, short, tmp_path):
    """Made rows, which one word each gives away."""
    assert_good(call(*short(made_rows(300, 2), made_rows(60, 3)), "--epochs", 6, "--LEARNING_RATE", 0.005, change=quick))
    history = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())["history"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"] and history[-1]["val_loss"] < history[0]["val_loss"]


def test_all_models_are_trained_and_the_best_is_named(call, data, bases, tmp_path):
    def change(patch):
        patch.setattr(hub, "MODELS", {name: str(bases[name]) for name in FAMILIES[:2]})
        quick(patch)

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
                      ("smooth", ["--epochs", 2, "--LABEL_SMOOTHING", 0.2])):
        torch.rand(3), np.random.rand(3), random.random()
        assert_good(call(*arguments, *more, "--output", tmp_path / how, change=quick))
        weights[how] = (tmp_path / how / f"best_{name}" / "model.safetensors").read_bytes()
    assert weights["same"] == (families[name].best / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == 3


@pytest.mark.parametrize("patience, number, kept", [(1, 3, 1), (2, 4, 1), (0, 7, 6)])
def test_early_stopping_keeps_the_epoch_of_the_best_macro_f1_or_without_patience_the_last(call, data, bases, tmp_path, patience,
                                                                                         number, kept):
    """Loss and accuracy, which improve to the end, choose nothing."""
    f1, seen = [0.2, 0.6, 0.5, 0.3, 0.1, 0.05, 0.01], []

    def change(patch):
        quick(patch)

        def scores(labels, logits):
            seen.append(np.array(logits))
            epoch = min(len(seen) - 1, 6)
            return 1 / (epoch + 1), epoch / 10, f1[epoch]
        for room in (training, evaluation):
            patch.setattr(room, "scores", scores)
        patch.setattr(training, "SHORT_EPOCH", 10)

    result = call(*data.paths, "--model_id", bases["MiniLM"], "--model", "MiniLM", "--epochs", 7, "--PATIENCE", patience,
                  "--LEARNING_RATE", 0.01, *EXACT, change=change)
    assert_good(result)
    results = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())
    assert [entry["val_macro_f1"] for entry in results["history"]] == f1[:number]
    saved = json.loads((tmp_path / "out" / "best_MiniLM" / "emotion_classifier.json").read_text())
    epochs, saved = seen[:number], as_trained(seen[number], saved)
    assert np.abs(saved - epochs[kept]).max() < 1e-4, "what is saved is that epoch's"
    assert all(np.abs(saved - epoch).max() > 1e-3 for place, epoch in enumerate(epochs) if place != kept)


def test_patience_counts_from_the_first_epoch_that_is_better_than_one_class_for_all(call, data, bases, tmp_path):
    """Ten steps an epoch: with epochs of 20 counted as whole ones, a PATIENCE of 1 is two of them."""
    nothing = one_class_macro_f1(np.array([int(label) for _, label in data.val]))
    f1, seen = [nothing, nothing, nothing / 2, 0.4, 0.3, 0.2, 0.1, 0.1], []

    def change(patch):
        quick(patch)
        patch.setattr(training, "scores", lambda *_: (1.0, 0.5, f1[min(len(seen), 7)], seen.append(0))[:3])
        patch.setattr(training, "SHORT_EPOCH", 20)

    assert_good(call(*data.paths, "--model_id", bases["MiniLM"], "--model", "MiniLM", "--epochs", 8, "--PATIENCE", 1,
                     change=change))
    results = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())
    assert [entry["val_macro_f1"] for entry in results["history"]] == f1[:6]


def test_a_model_that_never_learned_says_so(call, families, short, data, tmp_path):
    for learned in families.values():
        columns = np.array(learned.results["validation"]["confusion_matrix"]).any(0)
        assert (learned.results["only_class"] is None) == ("NOT LEARNED" not in learned.out) == (columns.sum() > 1)
    result = call(*short(data.train, data.val), "--LEARNING_RATE", 1e-9, "--HEAD_RATE", 0.01, "--epochs", 1,
                  *NAMES, change=lambda patch: (quick(patch), patch.setattr(evaluation, "fit_calibration", one_for_all)))
    assert_good(result)
    results = json.loads((tmp_path / "out" / "MiniLM" / "results.json").read_text())
    assert results["only_class"] == "joy"
    summary = result.out.split("FINAL SUMMARY")[1]
    assert "WARNING: MiniLM HAS NOT LEARNED: it calls all 120 validation rows joy" in summary


def one_for_all(labels, logits):
    """What `fit_calibration` gives, so that the second class is each text's."""
    return 1.0, np.array([0, 99, 0, 0, 0, 0], np.float32)


def test_a_model_folder_that_is_a_link_is_written_where_it_points(call, short, tmp_path):
    """What stood there goes when the new model is whole; nothing else is beside it."""
    folder, link = tmp_path / "disk" / "models", tmp_path / "out" / "best_MiniLM"
    for made in (folder, link.parent):
        made.mkdir(parents=True)
    (folder / "of before").touch()
    link.symlink_to(folder)
    assert_good(call(*short(made_rows(30, 1, "01"), made_rows(12, 2, "01")), change=quick))
    assert link.is_symlink() and {path.name for path in folder.parent.iterdir()} == {"models"}
    assert (folder / "model.safetensors").is_file() and not (folder / "of before").exists()
    assert not [path for path in tmp_path.rglob("*partial*")]


# Rows


def test_misleading_rows_are_reported_and_left_out(call, data, bases, tmp_path):
    """The weights are those of a training without these rows."""
    def run(rows, folder):
        path = tmp_path / f"{folder}.csv"
        path.write_bytes(csv_bytes(rows))
        result = call("--train", path, "--val", data.val_path, *NAMES, "--model", "MiniLM", "--model_id", bases["MiniLM"],
                      "--epochs", 1, "--output", tmp_path / folder, change=quick)
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


def test_a_file_for_training_and_validation_says_that_all_rows_are_in_validation(call, data, bases):
    path = data.folder / "train.csv"
    result = call("--train", path, "--val", path, "--model_id", bases["MiniLM"])
    assert_one_line(result, path, "0 rows left to train on, of 299", "299 stand in")


@pytest.mark.parametrize("count", [2, 7])
def test_as_many_names_as_classes_are_needed(call, short, count):
    names = [f"name{number}" for number in range(count)]
    result = call(*short(made_rows(30, 1), made_rows(12, 2)), "--label_names", ",".join(names))
    assert_one_line(result, "LABEL_NAMES", f"{count} names", "6 labels")


def test_names_that_are_not_all_different_are_refused(call, short):
    result = call(*short(made_rows(30, 1), made_rows(12, 2)), "--label_names", "a,b,c,d,e,a")
    assert_one_line(result, "names", "not all different")


@pytest.mark.parametrize("labels, extra, known", [("012345", "6", "5"), (["no", "yes"], "maybe", "yes")])
def test_labels_of_the_validation_that_training_lacks_are_named(call, short, labels, extra, known):
    result = call(*short(made_rows(30, 1, labels), [*made_rows(12, 2, labels), ("one more", extra)]))
    assert_one_line(result, "train_val.csv", repr(extra), "the model lacks", known)


def test_one_class_or_too_many_are_refused(call, short):
    assert_one_line(call(*short(made_rows(30, 1, ["joy"]), made_rows(6, 2, ["joy"]))), "'joy'", "LABEL_COLUMN")
    many = [f"w{number}" for number in range(120)]
    assert_one_line(call(*short(made_rows(120, 1, many), made_rows(120, 2, many))), "120", "MAX_CLASSES", "LABEL_COLUMN")


# Killed and resumed


def resumable(data, bases, out, *more):
    return [*data.paths, "--output", out, "--model", "CardiffRoBERTa", "--model_id", bases["CardiffRoBERTa"], "--epochs", 3,
            "--BATCH_SIZE", 16, "--LEARNING_RATE", 0.005, "--CHECKPOINT_SECONDS", 0, *more]


def test_a_killed_training_goes_on_to_the_same_weights(forks, data, bases, tmp_path):
    """19 steps an epoch, and a checkpoint after each; killed in each of the three epochs."""
    def run(home, out, *more, **how):
        result, = forks.run([{"home": tmp_path / home, "arguments": resumable(data, bases, out, *more), "quick": True, **how}])
        return result

    killed = tmp_path / "killed" / "out"
    kill = {"watch": str(killed / "CardiffRoBERTa" / "checkpoint.pt"), "changes": 17}
    whole = run("whole", tmp_path / "whole" / "out")
    run("seeded", tmp_path / "seeded" / "out", "--seed", 9)
    first, second, third = (run(f"killed{number}", killed, **kill) for number in (1, 2, 3))
    resumed = run("killed4", killed)
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

    def stop(patch):
        save = training.save_checkpoint

        def stopping(path, state):
            save(path, state)
            if state["position"] == 5:
                raise KeyboardInterrupt
        patch.setattr(training, "save_checkpoint", stopping)

    def run(*more, change=quick):
        return call(*resumable(data, bases, tmp_path / "out", *more), change=change)

    fresh = call(*resumable(data, bases, tmp_path / "fresh", "--seed", 9, "--epochs", 1), change=quick)
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


# Steps, step sizes, weights of classes: what the command line cannot show


@each
def test_each_part_is_trained_at_its_own_step_size(loaded, name):
    """The head at ten times the rate; no decay for biases, norms and embeddings."""
    model = loaded[name][0]
    groups = parameter_groups(SETTINGS, model, 1.0)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert set(found) == set(names.values()) and sum(len(group["params"]) for group in groups) == len(names)
    for key, group in found.items():
        assert group["lr"] == group["peak"]
        new = "classifier" in key or "pooler" in key or key.startswith("head")
        assert group["peak"] == (10 if new else 1), key
        plain = key.endswith("weight") and "norm" not in key.lower() and "embeddings" not in key
        assert bool(group["weight_decay"]) == plain, key


@settings(max_examples=100, deadline=None)
@given(steps=strategies.integers(1, 5000), share=strategies.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_the_step_size_rises_over_a_share_of_the_steps_and_falls_to_nothing(steps, share):
    given = SETTINGS.model_copy(update={"WARM_UP": share})
    sizes = np.array([schedule(given, step, steps) for step in range(steps)])
    top = int(sizes.argmax())
    assert (0 < sizes).all() and sizes.max() <= 1
    assert share * steps - 1 <= top <= share * steps + 1, "never longer than its share"
    assert (np.diff(sizes[:top + 1]) > 0).all() and (np.diff(sizes[top:]) < 0).all()
    assert sizes[-1] <= 1 / (steps - share * steps) + 1e-9 and sizes[top] >= 1 - 1 / (1 + share * steps)


@settings(max_examples=50, deadline=None)
@given(lengths=strategies.lists(strategies.integers(1, 70), min_size=1, max_size=120), size=strategies.integers(1, 40),
       epoch=strategies.integers(0, 9))
def test_batches_cover_each_row_once_and_group_like_lengths(lengths, size, epoch):
    sequences = [[1] * length for length in lengths]
    given = SETTINGS.model_copy(update={"BATCH_SIZE": size})
    groups, again, other = (batches(given, sequences, number) for number in (epoch, epoch, epoch + 1))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert max(map(len, groups)) <= size and len(groups) == -(-len(lengths) // size)
    assert [rows.tolist() for rows in groups] == [rows.tolist() for rows in again]
    other = [rows.tolist() for rows in other]
    assert len(groups) < 12 or [rows.tolist() for rows in groups] != other, "fewer may come alike"
    for pair in itertools.combinations(groups, 2):  # one of two groups is the shorter, but for the chance in the order
        (low, high), (least, most) = (np.quantile(np.array(lengths)[rows], (0, 1)) for rows in pair)
        assert high <= least + 2 or most <= low + 2
    for rows in groups:
        inputs = pad(sequences, rows, SimpleNamespace(pad_token_id=7, padding_side="right"), "cpu")
        assert inputs["input_ids"].shape[1] == max(lengths[row] for row in rows)
        assert inputs["attention_mask"].sum(1).tolist() == [lengths[row] for row in rows]
        assert ((inputs["input_ids"] == 7) == (inputs["attention_mask"] == 0)).all()
        left = pad(sequences, rows, SimpleNamespace(pad_token_id=7, padding_side="left"), "cpu")
        assert all(torch.equal(left[name], inputs[name].flip(1)) for name in inputs)


@pytest.mark.parametrize("texts, size, epochs", [(14000, 32, 3), (3200, 32, 3), (2862, 28, 3), (800, 8, 3), (240, 8, 10), (20, 8, 120)])
def test_few_texts_have_smaller_batches_and_as_many_steps(texts, size, epochs):
    plan = for_few_texts(SETTINGS.model_copy(update={"NUM_EPOCHS": 0}), [[1]] * texts)
    assert plan.PATIENCE == (SETTINGS.PATIENCE if texts >= 800 else 0)
    assert (plan.BATCH_SIZE, plan.NUM_EPOCHS) == (size, epochs) and epochs * -(-texts // size) >= 300
    given = SETTINGS.model_copy(update={"NUM_EPOCHS": 2})
    assert for_few_texts(given, [[1]] * texts) is given, "what is given is done"
    assert for_few_texts(plan.model_copy(update={"NUM_EPOCHS": 0}), [[1]] * 20, processes=16).BATCH_SIZE == min(size, 16)


# Several processes


def torchrun(home, *arguments):
    """Run the script in two processes of torchrun from the folder home; returns what they printed."""
    home.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_port", free_port(), SCRIPT,
               *arguments, *EXACT, "--output", home / "out"]
    result = subprocess.run([*map(str, command)], capture_output=True, timeout=LIMIT, cwd=home)
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    out = result.stdout.decode()
    assert out.count("FINAL SUMMARY") == 1 and out.count("data: ") == 1, "one process speaks"
    return out


def test_two_processes_train_as_one_does(data, bases, families, tmp_path, direct_network):
    """MiniLM's small model has no dropout, so that only the order of sums differs. 299 rows do not divide evenly."""
    arguments = [*data.paths, "--model", "MiniLM", "--model_id", bases["MiniLM"], "--epochs", 2, "--LEARNING_RATE", 0.005,
                 "--HEAD_RATE", 1]
    torchrun(tmp_path / "two", *arguments)
    assert set(tree(tmp_path / "two" / "out")) == set(tree(families["MiniLM"].home / "out"))
    assert_good(run_main(tmp_path, *arguments, "--output", tmp_path / "one" / "out", *EXACT))
    one, two = (json.loads((tmp_path / name / "out" / "MiniLM" / "results.json").read_text()) for name in ("one", "two"))
    for key in ("loss", "val_loss"):
        expected = [entry[key] for entry in one["history"]]
        assert [entry[key] for entry in two["history"]] == pytest.approx(expected, rel=5e-3)
    assert abs(two["validation_accuracy"] - one["validation_accuracy"]) < 0.02
    assert abs(two["validation_macro_f1"] - one["validation_macro_f1"]) < 0.03
    texts = [text for text, _ in data.val]
    logits = [logits_of_folder(tmp_path / name / "out" / "best_MiniLM", texts) for name in ("one", "two")]
    assert np.abs(logits[0] - logits[1]).max() < 0.05


def test_two_processes_take_batches_of_two_and_an_odd_number_of_rows(forks, short, tmp_path, direct_network):
    """In an environment as torchrun makes it."""
    arguments = [*short(made_rows(31, 1), made_rows(13, 2)), "--batch_size", 2, "--output", tmp_path / "out"]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    first, second = forks.run([{"home": tmp_path / rank, "arguments": arguments, "quick": True,
                                "environment": {**group, "RANK": rank, "LOCAL_RANK": rank}} for rank in "01"])
    assert_good(first), assert_good(second)
    assert "data: 31 training, 13 validation rows" in first.out and "data: " not in second.out
    assert "FINAL SUMMARY" in first.out and "FINAL SUMMARY" not in second.out


def test_a_launcher_that_starts_one_process_of_two_is_one_line_that_names_torchrun(short, tmp_path, direct_network):
    """`accelerate launch --num_processes 2 --cpu` starts one."""
    command = ["-m", "accelerate.commands.launch", "--num_processes", 2, "--cpu", SCRIPT,
               *short(made_rows(31, 1), made_rows(13, 2))]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf")}
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, timeout=LIMIT, cwd=tmp_path,
                            env=environment)
    assert result.returncode and not result.stdout and not (tmp_path / "outputs").exists()
    (line,) = [line for line in result.stderr.decode().splitlines() if line.startswith("error: ")]
    assert "torchrun --nproc_per_node 2" in line and len(line) <= 300
