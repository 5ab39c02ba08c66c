"""Project1: batches, padding, losses, stages that go on after a kill, calibration."""
import functools
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies

from conftest import assert_one_line, load_script, tree
from project1 import SCRIPTS, SMALL, both, small_model

pytest_plugins = ["project1"]


# Padding and batches


@both
def test_padding_never_changes_a_prediction(name):
    module = load_script(SCRIPTS[name])
    _, model = small_model(module)
    rng = np.random.default_rng(1)
    sequences = [rng.integers(1, 60, length).astype(np.int32) for length in (1, 2, 7, 8, 9, 17, 40, 66, 0, 3)]
    alone = np.concatenate([module.predict_tokens(model, [sequence]) for sequence in sequences])
    assert np.abs(module.predict_tokens(model, sequences) - alone).max() < 1e-5, "padded to 66 in one batch"
    assert np.abs(module.predict_tokens(model, sequences, 3) - alone).max() < 1e-5, "padded less, in batches of 3"
    assert np.ptp(alone[:8], axis=0).max() > 1e-3, "the model tells the texts apart"


@functools.cache
def batches_module():
    return load_script(SCRIPTS["LSTM"])


def test_the_toy_example_of_batches_is_as_its_docstring_says():
    module = batches_module()
    sequences = [np.ones(length, np.int32) for length in (5, 2, 6, 2, 5)]
    groups = module.batches(sequences, 2)
    assert [group.tolist() for group in groups] == [[1, 3], [0, 4], [2]]
    assert [module.pad(sequences, group).shape for group in groups] == [(2, 2), (2, 5), (1, 6)]
    in_order = [module.pad(sequences, group) for group in ([0, 1], [2, 3], [4])]
    assert (sum(group.size for group in in_order), sum((group == 0).sum() for group in in_order)) == (27, 7)


@settings(max_examples=60, deadline=None)
@given(lengths=strategies.lists(strategies.integers(0, 70), min_size=1, max_size=120), size=strategies.integers(1, 40),
       spread=strategies.sampled_from([1, 3, 100]), seed=strategies.none() | strategies.integers(0, 9))
def test_batches_cover_each_row_once_and_group_like_lengths(lengths, size, spread, seed):
    module = batches_module()
    module.LENGTH_SPREAD = spread
    sequences = [np.ones(length, np.int32) for length in lengths]
    groups = module.batches(sequences, size, None if seed is None else np.random.default_rng(seed))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert sorted(len(rows) for rows in groups)[1:] == [size] * (len(groups) - 1), "all are full but one"
    groups.sort(key=lambda rows: min(lengths[row] for row in rows))
    for rows, longer in zip(groups, groups[1:]):
        slack = 0 if seed is None else spread
        assert max(lengths[row] for row in rows) <= min(lengths[row] for row in longer) + slack
    for rows in groups:
        tokens = module.pad(sequences, rows)
        assert tokens.shape[1] == max(1, *(lengths[row] for row in rows), 1)
        assert tokens.sum(1).tolist() == [max(lengths[row], 1) for row in rows], "an empty text is one unknown word"


@pytest.mark.parametrize("times", [1, 2])
def test_training_batches_are_shuffled_anew_cut_to_their_longest_and_traced_once(times):
    module = load_script(SCRIPTS["LSTM"])
    module.LENGTH_SPREAD, module.BATCH_SIZE, module.SEED = 1, 8, 5
    rng = np.random.default_rng(2)
    sequences = [np.full(length, row + 1, np.int32) for row, length in enumerate(rng.integers(1, 9, 50))]
    labels = rng.integers(0, 4, 50)
    dataset, traces = module.training_batches(sequences, labels, 4, times=times), []

    @module.tf.function(input_signature=dataset.element_spec)
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
    assert read(module.training_batches(sequences, labels, 4, 2, times)) == epochs[2], "by its number, not by those before"


def test_one_long_row_makes_no_other_row_long(call, tmp_path):
    """A text of 10,000 words is cut to MAX_WORDS, and the others are padded to like lengths, not to it."""
    module = load_script(SCRIPTS["LSTM"])
    vocabulary = module.make_vocabulary(["a b c"])
    sequences = vocabulary.encode(["a " * 10_000, *["a b"] * 50])
    assert len(sequences[0]) == module.MAX_WORDS and {len(sequence) for sequence in sequences[1:]} == {2}
    module.BATCH_SIZE = 10
    widths = [tuple(tokens.shape) for tokens, _ in module.training_batches(sequences, np.zeros(51, int), 2)]
    assert sorted(widths) == [(1, module.MAX_WORDS), *[(10, 2)] * 5]


# Losses and figures


def test_r_drop_adds_the_divergence_of_a_text_s_two_predictions():
    module = load_script(SCRIPTS["LSTM"])
    module.LABEL_SMOOTHING = 0.0
    probabilities = np.float32([[0.7, 0.3], [0.5, 0.5], [0.1, 0.9], [0.1, 0.9]])
    targets = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])
    plain = np.array(module.loss(targets, probabilities))
    assert plain == pytest.approx(-np.log([0.7, 0.5, 0.9, 0.9]), abs=1e-5)
    there = 0.7 * np.log(0.7 / 0.5) + 0.3 * np.log(0.3 / 0.5)
    back = 0.5 * np.log(0.5 / 0.7) + 0.5 * np.log(0.5 / 0.3)
    added = np.array(module.loss(targets, probabilities, r_drop=2.0)) - plain
    assert added == pytest.approx([there + back] * 2 + [0, 0], abs=1e-5)


def test_calibration_error_by_hand():
    module = batches_module()
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.45, 0.55]])
    labels = np.array([0, 1, 1, 0])  # 0.95 twice, right once; 0.65 right; 0.55 wrong
    assert module.calibration_error(labels, probabilities) == pytest.approx((abs(1 - 1.9) + abs(1 - 0.65) + 0.55) / 4)
    assert module.calibration_error(np.array([0, 0]), np.array([[1.0, 0.0]] * 2)) == 0


def test_the_temperature_makes_an_overconfident_model_honest_and_changes_no_label():
    module = batches_module()
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, 3)).astype(np.float32)
    drawn = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in drawn.astype(float)])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    model.layers[-1].set_weights([3 * np.eye(3), np.zeros(3)])  # three times too sure
    before = model(logits).numpy()
    temperature = module.calibrate(model, before, labels)
    after = model(logits).numpy()
    assert temperature == pytest.approx(3, rel=0.1) and (after.argmax(1) == before.argmax(1)).all()
    assert module.calibration_error(labels, after) < 0.03 < 0.15 < module.calibration_error(labels, before)


# Stages


def test_fine_tuning_rate_and_epochs_reach_the_thawed_fit(monkeypatch):
    module, calls = load_script(SCRIPTS["GRU"]), []

    def fit(model, data, rate, epochs, name, report=None, checkpoint=None, r_drop=0):
        calls.append((model.get_layer("embedding").trainable, rate, epochs, report, checkpoint, r_drop))
        return [{}]

    monkeypatch.setattr(module, "fit", fit)
    _, model = small_model(module)
    assert module.freeze_thaw(model, None, 5e-5, 7, "x", print, 9) == [{}, {}]
    assert calls == [(False, module.LEARNING_RATE, module.WARM_UP_EPOCHS, None, 9, module.R_DROP),
                     (True, 5e-5, 7, print, 9, module.R_DROP)]


def toy_data(module):
    rng = np.random.default_rng(3)
    sequences, labels = [rng.integers(1, 60, 6).astype(np.int32) for _ in range(48)], np.arange(48) % 6
    return module.Encoded(sequences, labels, sequences[:12], labels[:12], [], np.zeros(0, np.int64))


def test_freeze_thaw_changes_the_embedding_only_when_thawed():
    module = load_script(SCRIPTS["GRU"])
    module.WARM_UP_EPOCHS, module.BATCH_SIZE = 1, 16
    matrix, model = small_model(module)
    fit, seen = module.fit, []

    def watched(model, *arguments, **options):
        kernel = model.get_layer("probabilities").get_weights()[0]
        history = fit(model, *arguments, **options)
        seen.append((model.get_layer("embedding").get_weights()[0],
                     (model.get_layer("probabilities").get_weights()[0] != kernel).any()))
        return history

    module.fit = watched
    assert len(module.freeze_thaw(model, toy_data(module), 1e-3, 1, "test")) == 2
    (warm, learned), (thawed, learned_again) = seen
    assert learned and learned_again, "the other layers learn in both"
    assert (warm == matrix).all()
    assert (thawed != matrix).any()


def test_the_kept_weights_are_the_average_of_the_best_epoch():
    module = load_script(SCRIPTS["LSTM"])
    module.BATCH_SIZE = 16
    _, model = small_model(module)
    seen = []
    end = module.Stage.on_epoch_end

    def watched(self, epoch, logs=None):
        end(self, epoch, logs)
        seen.append([average.numpy() for average in self.model.optimizer._model_variables_moving_average])

    module.Stage.on_epoch_end = watched
    history = module.fit(model, toy_data(module), 0.01, 4, "test")
    best = max(range(len(history)), key=lambda epoch: history[epoch]["val_macro_f1"])
    assert all((kept.numpy() == average).all() for kept, average in zip(model.trainable_variables, seen[best], strict=True))
    _, accuracy, macro_f1 = module.scores(toy_data(module).val_labels, module.predict_tokens(model, toy_data(module).val))
    assert (accuracy, macro_f1) == (history[best]["val_accuracy"], history[best]["val_macro_f1"])


@pytest.mark.parametrize("stop", [(1, 1), (2, 1), (2, 2)], ids=["frozen", "thawed", "both"])
def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(tmp_path, stop):
    """Stopped after `stop[1]` epochs of the stage `stop[0]`, in a fresh module: dropout, order, rates and averages go on."""
    def train(folder, stops):
        module = load_script(SCRIPTS["GRU"])
        module.WARM_UP_EPOCHS, module.BATCH_SIZE, module.R_DROP = 2, 16, 0.5
        keras.utils.set_random_seed(1)
        _, model = small_model(module)
        checkpoint = module.Checkpoint(str(folder / "checkpoint.npz"), "this")
        save, calls = checkpoint.save, []

        def counted(stage):
            save(stage)
            calls.append((1 + stage.name.endswith("thawed"), len(stage.history)))
            if calls[-1] == stops:
                raise KeyboardInterrupt

        checkpoint.save = counted
        history = module.freeze_thaw(model, toy_data(module), 1e-3, 3, "test", checkpoint=checkpoint)
        history = [{key: entry[key] for key in ("loss", "val_loss", "val_macro_f1")} for entry in history]
        return model.get_weights(), history, calls

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    weights, history, _ = train(tmp_path / "a", None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", stop)
    again, history_again, calls = train(tmp_path / "b", None)
    assert calls[0] == ((stop[0], stop[1] + 1) if stop == (1, 1) or stop[0] == 2 else None), "it goes on with the next epoch"
    assert history_again == history
    assert all((one == other).all() for one, other in zip(weights, again, strict=True))


def test_a_killed_run_goes_on_and_a_checkpoint_of_other_settings_is_left_alone(data, tmp_path):
    command = [sys.executable, SCRIPTS["LSTM"], *data.paths, *SMALL["LSTM"], "--NUM_EPOCHS", 3, "--USE_GLOVE", "False",
               "--OUTPUT_DIR", tmp_path / "out"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
    checkpoint, deadline = tmp_path / "out" / "checkpoint.npz", time.monotonic() + 150
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0 and "going on with a training that was stopped after epoch " in done.stdout, done.stderr[-2000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["history"]) == 3 and not checkpoint.exists()
    shown = [line for line in done.stdout.splitlines() if line.startswith("LSTM, epoch ")]
    assert 0 < len(shown) < 3


def test_checkpoints_that_do_not_fit_or_are_damaged(tmp_path, capsys):
    module = load_script(SCRIPTS["LSTM"])
    module.BATCH_SIZE, path = 16, str(tmp_path / "checkpoint.npz")
    _, model = small_model(module)
    module.fit(model, toy_data(module), 0.01, 2, "stage", checkpoint=module.Checkpoint(path, "this"))
    capsys.readouterr()
    assert set(module.Checkpoint(path, "this").stages) == {"stage"} and "after epoch 2" in capsys.readouterr().out
    assert not module.Checkpoint(path, "other").stages and "other data or settings" in capsys.readouterr().out
    module.RESUME = False
    assert not module.Checkpoint(path, "this").stages
    module.RESUME = True
    content = (tmp_path / "checkpoint.npz").read_bytes()
    for damaged in (content[:-50], b"", b"no zip"):
        (tmp_path / "checkpoint.npz").write_bytes(damaged)
        with pytest.raises(module.InputError, match="is damaged .*RESUME"):
            module.Checkpoint(path, "this")


def test_what_a_training_depends_on_is_in_its_identity():
    module = load_script(SCRIPTS["LSTM"])
    data = module.Data(["a", "b"], np.array([0, 1]), ["c"], np.array([0]), [], np.array([]), {"0": "0", "1": "1"},
                       {}, "", "", "")
    matrix = np.zeros((4, 3), np.float32)
    identity = module.identity_of(data, matrix)
    seen = {identity}
    for change in (lambda: setattr(module, "SEED", 7), lambda: setattr(module, "LEARNING_RATE", 0.1),
                   lambda: setattr(module, "UNITS", 9), lambda: setattr(module, "MAX_WORDS", 9),
                   lambda: data.train_labels.__setitem__(0, 1), lambda: matrix.__setitem__((2, 1), 1),
                   lambda: data.val_texts.append("d"), lambda: data.classes.update({"2": "2"})):
        change()
        identity = module.identity_of(data, matrix)
        assert identity not in seen
        seen.add(identity)
    module.OUTPUT_DIR, module.GRID_EPOCHS, module.RESUME, module.EXPORT = "x", 99, False, True
    assert module.identity_of(data, matrix) in seen


def test_interrupting_is_one_line_that_says_what_is_true(call, data, tmp_path):
    def interrupt(module):
        def stop(self, stage):
            raise KeyboardInterrupt
        module.Checkpoint.save = stop

    result = call("LSTM", *data.paths, *SMALL["LSTM"], "--USE_GLOVE", "False", change=interrupt)
    assert result.code == 130
    assert result.err == "stopped; what was saved is kept, and the same command goes on after the last whole epoch\n"


@both
def test_no_memory_is_one_line(call, data, name):
    def exhaust(module):
        def build(*_):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        module.build_model = build

    assert_one_line(call(name, *data.paths, "--USE_GLOVE", "False", change=exhaust), "not enough memory", "BATCH_SIZE")


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc/self"), reason="needs a folder nobody can write")
@both
def test_an_output_folder_that_cannot_be_written_is_one_line(call, data, name, tmp_path):
    assert_one_line(call(name, *data.paths, "--OUTPUT_DIR", "/proc/self/none"), "OUTPUT_DIR")
    (tmp_path / "file").write_text("mine")
    assert_one_line(call(name, *data.paths, "--OUTPUT_DIR", tmp_path / "file"), "OUTPUT_DIR")
    assert (tmp_path / "file").read_text() == "mine" and not tree(tmp_path / "out")
