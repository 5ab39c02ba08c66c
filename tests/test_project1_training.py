"""Project1: batches, padding, losses, stages that go on after a kill, few texts, calibration."""
import json
import os
import signal
import time
from unittest.mock import ANY

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies
from hypothesis import settings as example_settings

from conftest import assert_one_line, csv_bytes, emotion_rows, tree
from project1 import NAMES, SMALL, both, script, settings_of, small_model, untrained

import rnn.saving
import rnn.training
from rnn.data import Data
from rnn.evaluation import calibrate, calibration_error, scores
from rnn.text import Encoded, make_vocabulary
from rnn.training import Checkpoint, batches, depends_on, fit, loss, pad, predict_tokens, training_batches

pytest_plugins = ["project1"]


# Padding and batches


@both
def test_padding_never_changes_a_prediction(name):
    _, model = small_model(name)
    rng = np.random.default_rng(1)
    sequences = [rng.integers(1, 60, length).astype(np.int32) for length in (1, 2, 7, 8, 9, 17, 40, 66, 0, 3)]
    alone = np.concatenate([predict_tokens(model, [sequence]) for sequence in sequences])
    assert np.abs(predict_tokens(model, sequences) - alone).max() < 1e-5, "padded to 66 in one batch"
    assert np.abs(predict_tokens(model, sequences, 3) - alone).max() < 1e-5, "padded less, in batches of 3"
    assert np.ptp(alone[:8], axis=0).max() > 1e-3, "the model tells the texts apart"


def test_the_toy_example_of_batches_is_as_its_docstring_says():
    sequences = [np.ones(length, np.int32) for length in (5, 2, 6, 2, 5)]
    groups = batches(sequences, 2)
    assert [group.tolist() for group in groups] == [[1, 3], [0, 4], [2]]
    assert [pad(sequences, group).shape for group in groups] == [(2, 2), (2, 5), (1, 6)]
    in_order = [pad(sequences, group) for group in ([0, 1], [2, 3], [4])]
    assert (sum(group.size for group in in_order), sum((group == 0).sum() for group in in_order)) == (27, 7)


@example_settings(max_examples=60, deadline=None)
@given(lengths=strategies.lists(strategies.integers(0, 70), min_size=1, max_size=120), size=strategies.integers(1, 40),
       seed=strategies.none() | strategies.integers(0, 9))
def test_batches_cover_each_row_once_and_group_like_lengths(lengths, size, seed):
    sequences = [np.ones(length, np.int32) for length in lengths]
    groups = batches(sequences, size, None if seed is None else np.random.default_rng(seed))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert sorted(len(rows) for rows in groups)[1:] == [size] * (len(groups) - 1), "all are full but one"
    groups.sort(key=lambda rows: min(lengths[row] for row in rows))
    for rows, longer in zip(groups, groups[1:]):
        assert max(lengths[row] for row in rows) <= min(lengths[row] for row in longer) + (seed is not None)
    for rows in groups:
        tokens = pad(sequences, rows)
        assert tokens.shape[1] == max(1, *(lengths[row] for row in rows), 1)
        assert tokens.sum(1).tolist() == [max(lengths[row], 1) for row in rows], "an empty text is one unknown word"


@pytest.mark.parametrize("times", [1, 2])
def test_training_batches_are_shuffled_anew_cut_to_their_longest_and_traced_once(times):
    settings = settings_of(BATCH_SIZE=8, SEED=5)
    rng = np.random.default_rng(2)
    sequences = [np.full(length, row + 1, np.int32) for row, length in enumerate(rng.integers(1, 9, 50))]
    labels = rng.integers(0, 4, 50)
    dataset, traces = training_batches(sequences, labels, 4, settings, times=times), []

    @tf.function(input_signature=dataset.element_spec)
    def step(tokens, targets):
        traces.append(tokens.shape)
        return tokens, targets

    def read(dataset):
        seen = []
        for tokens, targets in (step(*batch) for batch in dataset):
            tokens, targets = tokens.numpy(), targets.numpy()
            assert (tokens[:, -1] > 0).any(), "no column is padding alone"
            assert (tokens[::times] == tokens[times - 1::times]).all(), "a text stands beside itself"
            for row, target in zip(tokens[::times], targets[::times]):
                number = row[0] - 1
                assert np.count_nonzero(row) == len(sequences[number]) and (row[row > 0] == number + 1).all()
                assert target.argmax() == labels[number] and target.sum() == 1
                seen.append(int(number))
        assert sorted(seen) == list(range(50))
        return seen

    epochs = [read(dataset) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2], "each epoch has an order of its own"
    assert len(traces) == 1 and len(dataset) == 7
    assert read(training_batches(sequences, labels, 4, settings, 2, times)) == epochs[2], "by its number, not by those before"


def test_one_long_row_makes_no_other_row_long():
    """A text of 10,000 words is cut to MAX_WORDS, and the others are padded to like lengths, not to it."""
    settings = settings_of(BATCH_SIZE=10)
    sequences = make_vocabulary(["a b c"]).encode(["a " * 10_000, *["a b"] * 50], settings.MAX_WORDS)
    assert len(sequences[0]) == settings.MAX_WORDS and {len(sequence) for sequence in sequences[1:]} == {2}
    widths = [tuple(tokens.shape) for tokens, _ in training_batches(sequences, np.zeros(51, int), 2, settings)]
    assert sorted(widths) == [(1, settings.MAX_WORDS), *[(10, 2)] * 5]


# Losses and figures


def test_r_drop_adds_the_divergence_of_a_text_s_two_predictions():
    probabilities = np.float32([[0.7, 0.3], [0.5, 0.5], [0.1, 0.9], [0.1, 0.9]])
    targets = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])
    plain = np.array(loss(targets, probabilities, 0.0))
    assert plain == pytest.approx(-np.log([0.7, 0.5, 0.9, 0.9]), abs=1e-5)
    there = 0.7 * np.log(0.7 / 0.5) + 0.3 * np.log(0.3 / 0.5)
    back = 0.5 * np.log(0.5 / 0.7) + 0.5 * np.log(0.5 / 0.3)
    added = np.array(loss(targets, probabilities, 0.0, r_drop=2.0)) - plain
    assert added == pytest.approx([there + back] * 2 + [0, 0], abs=1e-5)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.45, 0.55]])
    labels = np.array([0, 1, 1, 0])  # 0.95 twice, right once; 0.65 right; 0.55 wrong
    assert calibration_error(labels, probabilities) == pytest.approx((abs(1 - 1.9) + abs(1 - 0.65) + 0.55) / 4)
    assert calibration_error(np.array([0, 0]), np.array([[1.0, 0.0]] * 2)) == 0


def test_the_temperature_makes_an_overconfident_model_honest_and_changes_no_label():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, 3)).astype(np.float32)
    drawn = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in drawn.astype(float)])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    model.layers[-1].set_weights([3 * np.eye(3), np.zeros(3)])  # three times too sure
    before = model(logits).numpy()
    temperature = calibrate(model, before, labels)
    after = model(logits).numpy()
    assert temperature == pytest.approx(3, rel=0.1) and (after.argmax(1) == before.argmax(1)).all()
    assert calibration_error(labels, after) < 0.03 < 0.15 < calibration_error(labels, before)


# Stages


def test_fine_tuning_rate_and_epochs_reach_the_thawed_fit(monkeypatch):
    module, settings, calls = script("GRU"), settings_of("GRU"), []

    def fit(settings, model, data, rate, epochs, name, r_drop=0, report=None, checkpoint=None):
        calls.append((model.get_layer("embedding").trainable, rate, epochs, report, checkpoint, r_drop))
        return [{}]

    monkeypatch.setattr(module, "fit", fit)
    _, model = small_model("GRU")
    assert module.freeze_thaw(settings, model, None, 5e-5, 7, "x", print, 9) == [{}, {}]
    assert calls == [(False, settings.LEARNING_RATE, settings.WARM_UP_EPOCHS, None, 9, settings.R_DROP),
                     (True, 5e-5, 7, print, 9, settings.R_DROP)]


def toy_data():
    rng = np.random.default_rng(3)
    sequences, labels = [rng.integers(1, 60, 6).astype(np.int32) for _ in range(48)], np.arange(48) % 6
    return Encoded(sequences, labels, sequences[:12], labels[:12], [], np.zeros(0, np.int64))


def test_freeze_thaw_changes_the_embedding_only_when_thawed(monkeypatch):
    module, seen = script("GRU"), []
    matrix, model = small_model("GRU")

    def watched(settings, model, *arguments, **options):
        kernel = model.get_layer("probabilities").get_weights()[0]
        history = fit(settings, model, *arguments, **options)
        seen.append((model.get_layer("embedding").get_weights()[0],
                     (model.get_layer("probabilities").get_weights()[0] != kernel).any()))
        return history

    monkeypatch.setattr(module, "fit", watched)
    settings = settings_of("GRU", WARM_UP_EPOCHS=1, BATCH_SIZE=16)
    assert len(module.freeze_thaw(settings, model, toy_data(), 1e-3, 1, "test")) == 2
    (warm, learned), (thawed, learned_again) = seen
    assert learned and learned_again, "the other layers learn in both"
    assert (warm == matrix).all()
    assert (thawed != matrix).any()


@pytest.mark.parametrize("patience, kept", [(4, 1), (0, 3)])
def test_the_kept_weights_are_the_average_of_the_best_epoch_or_without_patience_of_the_last(monkeypatch, patience, kept):
    _, model = small_model("LSTM")
    data, seen, end = toy_data(), [], rnn.training.Stage.on_epoch_end
    macro_f1 = iter([0.1, 0.2, 0.5, 0.4, 0.3])  # of one class for all, then of the epochs

    def watched(self, epoch, logs=None):
        end(self, epoch, logs)
        seen.append([average.numpy() for average in self.model.optimizer._model_variables_moving_average])

    monkeypatch.setattr(rnn.training.Stage, "on_epoch_end", watched)
    monkeypatch.setattr(rnn.training, "scores", lambda *given: (*scores(*given)[:2], next(macro_f1)))
    history = fit(settings_of(BATCH_SIZE=16, PATIENCE=patience), model, data, 0.01, 4, "test")
    assert len(history) == 4 and all((weight.numpy() == average).all() for weight, average in
                                     zip(model.trainable_variables, seen[kept], strict=True))
    assert scores(data.val_labels, predict_tokens(model, data.val))[:2] == (
        pytest.approx(history[kept]["val_loss"], rel=1e-5), history[kept]["val_accuracy"])


def train_in_stages(folder, stop):
    """Train the stages of GRU.py, to be stopped after `stop[1]` epochs of the stage `stop[0]`; a stopped one goes on."""
    settings, calls = settings_of("GRU", WARM_UP_EPOCHS=2, BATCH_SIZE=16, R_DROP=0.5), []
    keras.utils.set_random_seed(1)
    _, model = small_model("GRU")
    checkpoint = Checkpoint(str(folder), "this")
    save = checkpoint.save

    def counted(stage):
        save(stage)
        calls.append((1 + stage.name.endswith("thawed"), len(stage.history)))
        if calls[-1] == stop:
            raise KeyboardInterrupt

    checkpoint.save = counted
    history = script("GRU").freeze_thaw(settings, model, toy_data(), 1e-3, 3, "test", checkpoint=checkpoint)
    history = [{key: entry[key] for key in ("loss", "val_loss", "val_macro_f1")} for entry in history]
    return model.get_weights(), history, calls


def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(tmp_path):
    """Stopped after the first epoch of the frozen stage and two of the thawed: dropout, order, rates and averages go on."""
    weights, history, calls = train_in_stages(tmp_path / "whole", None)
    assert calls == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    for stop in ((1, 1), (2, 2)):
        with pytest.raises(KeyboardInterrupt):
            train_in_stages(tmp_path / "stopped", stop)
    again, history_again, calls = train_in_stages(tmp_path / "stopped", None)
    assert calls == [(2, 3)], "it goes on with the next epoch"
    assert history_again == history
    assert all((one == other).all() for one, other in zip(weights, again, strict=True))


def test_a_killed_run_goes_on_and_removes_its_checkpoint(nursery, data, tmp_path):
    command = [*data.paths, *SMALL["LSTM"], "--NUM_EPOCHS", 3, "--USE_GLOVE", "False", "--OUTPUT_DIR", tmp_path / "out"]
    killed = nursery.run("LSTM", *command, folder=tmp_path)
    checkpoint, deadline = tmp_path / "out" / "checkpoint", time.monotonic() + 150
    while not (checkpoint / "LSTM.npz").exists():
        assert time.monotonic() < deadline and os.path.exists(f"/proc/{killed.pid}"), killed.out
        time.sleep(0.01)
    killed.kill(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    again = nursery.run("LSTM", *command, folder=tmp_path)
    assert again.wait() == 0 and "going on with a training that was stopped after epoch " in again.out, again.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["history"]) == 3 and not checkpoint.exists()
    assert 0 < sum(line.startswith("LSTM, epoch ") for line in again.out.splitlines()) < 3


def test_checkpoints_that_do_not_fit_or_are_damaged(tmp_path, capsys):
    settings, folder, path = settings_of(BATCH_SIZE=16), str(tmp_path), tmp_path / "checkpoint" / "stage.npz"

    def epochs_of(depends):
        """Return the epochs that a training starts with, and what it says."""
        _, model = small_model("LSTM")
        history = fit(settings, model, toy_data(), 0.01, 2, "stage", checkpoint=Checkpoint(folder, depends))
        out = capsys.readouterr().out
        assert len(history) == 2
        return 2 - out.count("stage, epoch "), out

    assert epochs_of("this") == (0, ANY)
    content = path.read_bytes()
    assert epochs_of("this") == (2, "going on with a training that was stopped after epoch 2 of stage\n")
    begun, out = epochs_of("other")
    assert begun == 0 and "other data or settings" in out
    for damaged in (content[:-50], b"", b"no zip"):
        path.write_bytes(damaged)
        stage = rnn.training.Stage(settings, toy_data(), "stage", 2, None, None)
        Checkpoint(folder, "this").restore(stage)
        assert not stage.history and "is damaged" in capsys.readouterr().out
    Checkpoint(folder, "this").remove()
    assert not tree(tmp_path)


def identity_of(data, matrix, settings):
    return json.dumps(depends_on(data, matrix, settings))


def test_what_a_training_depends_on_is_in_its_identity():
    data = Data(["a", "b"], np.array([0, 1]), ["c"], np.array([0]), [], np.array([]), {"0": "0", "1": "1"}, {}, "", "", "")
    matrix, settings = np.zeros((4, 3), np.float32), settings_of()
    identities = [identity_of(data, matrix, settings)]
    identities += [identity_of(data, matrix, settings.model_copy(update=change))
                   for change in ({"SEED": 7}, {"LEARNING_RATE": 0.1}, {"UNITS": 9}, {"MAX_WORDS": 9})]
    for change in (lambda: data.train_labels.__setitem__(0, 1), lambda: matrix.__setitem__((2, 1), 1),
                   lambda: data.val_texts.append("d"), lambda: data.classes.update({"2": "2"})):
        change()
        identities.append(identity_of(data, matrix, settings))
    assert len(set(identities)) == 9
    other = settings.model_copy(update={"OUTPUT_DIR": "x", "GRID_EPOCHS": 99, "EXPORT": True})
    assert identity_of(data, matrix, other) == identities[-1]


# Few texts


def test_patience_counts_from_the_first_epoch_that_is_better_than_one_class():
    data = toy_data()
    chance = rnn.training.Stage(settings_of(), data, "test", 1, None, None).one_class
    assert chance == pytest.approx(2 * (1 / 6) / (1 + 1 / 6) / 6)
    for values, epochs in (([chance] * 5 + [0.2, 0.1, 0.1, 0.3], 8), ([chance] * 9, 9), ([0.2, 0.1, 0.1, 0.3], 3)):
        stage = rnn.training.Stage(settings_of(PATIENCE=2), data, "test", len(values), None, None)
        for value in values:
            if stage.ended:
                break
            stage.history.append({"val_macro_f1": value})
            if stage.best is None or value > stage.history[stage.best]["val_macro_f1"]:
                stage.best = len(stage.history) - 1
        assert len(stage.history) == epochs


def test_few_texts_have_steps_enough():
    settings = rnn.training.for_few_texts(settings_of(), range(300))
    assert (settings.BATCH_SIZE, settings.PATIENCE) == (15, 0) and rnn.training.most_epochs(range(300), 0, 5, settings) == 50
    assert rnn.training.for_few_texts(settings_of(), range(50)).BATCH_SIZE == 8
    settings = rnn.training.for_few_texts(settings_of(), range(1280))
    assert (settings.BATCH_SIZE, settings.PATIENCE) == (64, 4)
    assert rnn.training.most_epochs(range(16_000), 0, 5, settings) == 5 and rnn.training.most_epochs(range(9), 3, 5, settings) == 3


def test_three_hundred_rows_of_six_classes_are_learned(call, data, tmp_path):
    """Once every text was called joy: training stopped after 25 steps."""
    (tmp_path / "train.csv").write_bytes(csv_bytes(emotion_rows("train", 300)))
    result = call("LSTM", "--TRAIN_PATH", tmp_path / "train.csv", "--VAL_PATH", data.folder / "val.csv", "--TEST_PATH", "",
                  "--USE_GLOVE", "False", "--UNITS", 8, "--NUM_EPOCHS", 15, *NAMES)
    assert result.code == 0 and "WARNING" not in result.out, result.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["validation_macro_f1"] > 0.13 and results["one_class_for_all"] is None


def test_a_model_that_learned_nothing_says_so(call, data, tmp_path, monkeypatch):
    """Here its predictions are made up: all texts are joy."""
    monkeypatch.setattr(rnn.saving, "predict_tokens", lambda model, texts: np.tile(np.float32([[0.1, 0.5, 0.1, 0.1, 0.1, 0.1]]),
                                                                                  (len(texts), 1)))
    result = call("LSTM", *data.paths, *SMALL["LSTM"], "--USE_GLOVE", "False", change=untrained)
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "out" / "results.json").read_text())["one_class_for_all"] == "joy"
    summary = result.out[result.out.index("================ FINAL SUMMARY"):].splitlines()
    assert summary[1] == "WARNING: it learned nothing: all validation texts are joy to this model"


# What stops a run


def test_interrupting_is_one_line_that_says_what_is_true(call, data, monkeypatch):
    def stop(self, stage):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    result = call("LSTM", *data.paths, *SMALL["LSTM"], "--USE_GLOVE", "False")
    assert result.code == 130
    assert result.err == "stopped; what was saved is kept, and the same command goes on from the last checkpoint\n"


@both
def test_no_memory_is_one_line(call, data, name):
    def exhaust(module):
        def build(*_):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        module.build_model = build

    assert_one_line(call(name, *data.paths, "--USE_GLOVE", "False", change=exhaust), "not enough memory", "BATCH_SIZE")


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc/self"), reason="needs a folder nobody can write")
def test_an_output_folder_that_cannot_be_written_is_one_line(call, data, tmp_path):
    assert_one_line(call("LSTM", *data.paths, "--OUTPUT_DIR", "/proc/self/none"), "OUTPUT_DIR")
    (tmp_path / "file").write_text("mine")
    assert_one_line(call("GRU", *data.paths, "--OUTPUT_DIR", tmp_path / "file"), "OUTPUT_DIR")
    assert (tmp_path / "file").read_text() == "mine" and not tree(tmp_path / "out")
