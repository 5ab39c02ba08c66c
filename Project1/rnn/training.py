"""Training: devices, batches by length, the loss, one stage and which of its epochs is kept, its checkpoint."""
import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .evaluation import scores
from .files import hash_of, save_all


def set_up_devices(settings):
    """Return the strategy for the devices that are there."""
    keras.utils.set_random_seed(settings.SEED)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def for_few_texts(settings, texts):
    """Return the settings for few training texts: smaller batches, so that an epoch has 20 steps, and no PATIENCE: few
    validation texts choose an epoch by chance, and the last, after the smallest steps, is the better one."""
    few = {"BATCH_SIZE": min(settings.BATCH_SIZE, max(8, len(texts) // 20)), "PATIENCE": 0}
    return settings.model_copy(update=few if len(texts) < 20 * settings.BATCH_SIZE else {})


def most_epochs(texts, given, usual, settings):
    """Return the most epochs: those given, else the usual number, or as many as make 200 steps for each of these."""
    return given or max(usual, -(-200 * usual * settings.BATCH_SIZE // len(texts)))


def batches(sequences, batch_size, shuffle=None):
    """Return the row numbers of texts of like length, int arrays (batch_size,); `shuffle`, a Generator, mixes them."""
    lengths = np.array([len(sequence) for sequence in sequences])
    noise = shuffle.uniform(0, 1, len(lengths)) if shuffle is not None else 0
    order = np.argsort(lengths + noise, kind="stable")
    groups = [order[begin:begin + batch_size] for begin in range(0, len(order), batch_size)]
    if shuffle is not None:
        shuffle.shuffle(groups)
    return groups


def training_batches(sequences, labels, classes, settings, first_epoch=0, times=1):
    """Return a tf.data.Dataset of (tokens: int32 (texts, words), one-hot targets), shuffled anew in each epoch.
    `times` 2 puts each text beside itself. Each reading is the next epoch, in an order of SEED and its number alone;
    no shape is fixed: one trace serves all batches."""
    sequences = [sequence if len(sequence) else np.ones(1, np.int32) for sequence in sequences]
    texts = tf.RaggedTensor.from_row_lengths(np.concatenate(sequences), [len(sequence) for sequence in sequences])
    targets, epochs = tf.one_hot(labels, classes), itertools.count(first_epoch)

    def gather(rows):
        rows = tf.repeat(rows, times)
        return tf.gather(texts, rows).to_tensor(), tf.gather(targets, rows)

    def next_epoch():
        return batches(sequences, settings.BATCH_SIZE, np.random.default_rng([settings.SEED, next(epochs)]))

    dataset = tf.data.Dataset.from_generator(next_epoch, output_signature=tf.TensorSpec((None,), tf.int64))
    steps = -(-len(sequences) // settings.BATCH_SIZE)
    dataset = dataset.map(gather).apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread is waited for when an epoch ends, for up to five seconds
    return dataset.prefetch(4).with_options(options)


def pad(sequences, rows):
    """Return the texts of these rows, padded right with 0 to the longest: int32 (rows, length)."""
    texts = [sequences[row] if len(sequences[row]) else [1] for row in rows]  # cuDNN takes no text of padding alone
    return keras.utils.pad_sequences(texts, padding="post")


def predict_tokens(model, sequences, batch_size=256, batch=pad):
    """Return the probabilities of each text: float32 (texts, classes); batch: makes the model's input of some rows."""
    probabilities = np.zeros((len(sequences), model.output_shape[-1]), np.float32)
    for group in batches(sequences, batch_size):
        parts = 1 + len(group) * len(sequences[group[-1]]) // 10**6  # a million words or characters at once
        for rows in np.array_split(group, min(parts, len(group))):
            probabilities[rows] = as_graph(model)(batch(sequences, rows)).numpy()
    return probabilities


def as_graph(model):
    """Return a function that predicts as `model` does, as one graph: several times faster than layer by layer."""
    if not hasattr(model, "predict_graph"):
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
        model.predict_graph = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)
    return model.predict_graph


def loss(targets, probabilities, label_smoothing, r_drop=0.0):
    """Return the loss of each text, float32 (texts,): cross-entropy with smoothed labels, and what dropout changes.
    With r_drop, its weight, rows 0 and 1, 2 and 3, ... are a text twice; their divergence counts (arXiv:2106.14448)."""
    error = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=label_smoothing)
    if r_drop:
        logs = ops.log(ops.clip(probabilities, 1e-7, 1))
        apart = (probabilities[0::2] - probabilities[1::2]) * (logs[0::2] - logs[1::2])
        error += r_drop / 2 * ops.repeat(ops.sum(apart, axis=1), 2)
    return error


def fit(settings, model, data, rate, epochs, name, r_drop=0.0, report=None, checkpoint=None):
    """Train `model` in place and leave it at the epoch that `Stage` keeps; returns the history of the epochs.
    data: Encoded; r_drop: see `loss`; report, checkpoint: see `Stage`. Label smoothing (Szegedy et al. 2016,
    arXiv:1512.00567), Adam, a falling rate, a moving average of the weights, which is evaluated and kept."""
    steps = -(-len(data.train) // settings.BATCH_SIZE) * epochs
    with model.distribute_strategy.scope():
        falling = keras.optimizers.schedules.PolynomialDecay(rate, steps, end_learning_rate=rate / 50)
        optimizer = keras.optimizers.Adam(falling, clipnorm=1.0, use_ema=True, ema_momentum=0.99)
        error = functools.partial(loss, label_smoothing=0.05, r_drop=r_drop)
        # Ten steps a call from Python; a loop of steps over several devices fails in TensorFlow 2.21
        at_once = 1 if model.distribute_strategy.num_replicas_in_sync > 1 else 10
        model.compile(optimizer, error, steps_per_execution=at_once)
        optimizer.build(model.trainable_variables)
    stage = Stage(settings, data, name, epochs, report, checkpoint)
    stage.set_model(model)
    if checkpoint:
        checkpoint.restore(stage)
    if not stage.ended:
        classes, times = model.output_shape[-1], 2 if r_drop else 1
        dataset = training_batches(data.train, data.train_labels, classes, settings, len(stage.history), times)
        model.fit(dataset, initial_epoch=len(stage.history), epochs=epochs, shuffle=False, callbacks=[stage],
                  verbose=int(sys.stderr.isatty() and sys.stdout.isatty()))
    write_all(model.trainable_variables, stage.weights)
    return stage.history


class Stage(keras.callbacks.Callback):
    """One stage: evaluates each epoch with the averaged weights, keeps that of the best macro F1 (without PATIENCE the
    last), saves. It stops PATIENCE epochs after the best that beats one class for all, or where `report` raises."""

    def __init__(self, settings, data, name, epochs, report, checkpoint):
        super().__init__()
        self.data, self.name, self.epochs, self.report, self.checkpoint = data, name, epochs, report, checkpoint
        self.patience = settings.PATIENCE
        self.history, self.best, self.weights = [], None, None
        counts = np.bincount(data.val_labels)
        self.one_class = scores(data.val_labels, np.tile(counts == counts.max(), (len(data.val_labels), 1)))[2]

    @property
    def ended(self):
        """Whether there is no epoch left, or no hope of a better one."""
        if not self.history or len(self.history) >= self.epochs:
            return bool(self.history)
        learned = self.history[self.best]["val_macro_f1"] > self.one_class
        return learned and len(self.history) - 1 - self.best >= (self.patience or self.epochs)

    def moving(self):
        """Return the variables that training changes: trainable weights, the state of dropout, the optimizer's."""
        states = [variable for variable in self.model.variables if "int" in variable.dtype]
        return [*self.model.trainable_variables, *states, *self.model.optimizer.variables]

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        weights, averages = self.model.trainable_variables, self.model.optimizer._model_variables_moving_average
        averages = [ops.convert_to_numpy(average) for average in averages]
        raw = [ops.convert_to_numpy(weight) for weight in weights]
        write_all(weights, averages)
        error, accuracy, macro_f1 = scores(self.data.val_labels, predict_tokens(self.model, self.data.val))
        write_all(weights, raw)
        self.history.append({"loss": float(logs["loss"]), "val_loss": error, "val_accuracy": accuracy,
                             "val_macro_f1": macro_f1, "seconds": seconds,
                             "evaluation_seconds": time.perf_counter() - self.started - seconds})
        print(f"{self.name}, epoch {epoch + 1}: loss {logs['loss']:.4f}, validation loss {error:.4f}, "
              f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, {seconds:.1f} s", flush=True)
        if self.best is None or not self.patience or macro_f1 > self.history[self.best]["val_macro_f1"]:
            self.best, self.weights = epoch, averages
        self.model.stop_training = self.ended
        if self.report:
            self.report(epoch, macro_f1)
        if self.checkpoint:
            self.checkpoint.save(self)


def depends_on(data, matrix, settings):
    """Return {name: value} of what a training's result depends on: the data and the vectors, the constants."""
    known = hash_of(data.classes, data.train_texts, data.train_labels.tolist(), data.val_texts,
                    data.val_labels.tolist(), hashlib.sha256(matrix.tobytes()).hexdigest())
    constants = settings.constants("Vectors", "Text", "Model", "Training")
    return {"the data or the vectors": known,  # what was read of vectors counts, not from where
            **{name: value for name, value in constants.items() if not name.startswith("GLOVE_")}}


class Checkpoint:
    """Where each stage of a training stands, so that a killed run goes on; depends: see `depends_on`."""

    def __init__(self, folder, depends):
        gpus = tf.config.list_physical_devices("GPU")
        self.identity = json.dumps([depends, tf.__version__, keras.__version__, len(gpus)])
        self.folder = os.path.join(folder, "checkpoint")

    def save(self, stage):
        """Write a stage's npz: JSON as `state`, then the weights of the best epoch, then all that training changes."""
        state, buffer = json.dumps([self.identity, stage.history, stage.best]).encode(), io.BytesIO()
        moving = map(ops.convert_to_numpy, stage.moving())
        np.savez(buffer, *stage.weights, *moving, state=np.frombuffer(state, np.uint8))
        save_all({os.path.join(self.folder, f"{stage.name}.npz"): buffer.getvalue()})

    def restore(self, stage):
        """Set a stage, its model and its optimizer to where they were."""
        path, identity = os.path.join(self.folder, f"{stage.name}.npz"), None
        if not os.path.isfile(path):
            return
        with contextlib.suppress(Exception):  # zip, numpy and JSON each raise what is theirs
            with np.load(path, allow_pickle=False) as file:
                arrays = [file[f"arr_{place}"] for place in range(len(file.files) - 1)]
                identity, history, best = json.loads(file["state"].tobytes())
        if identity != self.identity:
            print(f"note: {path} is damaged, or of a training with other data or settings; this one starts anew")
            return
        kept = len(stage.model.trainable_variables)
        stage.history, stage.best, stage.weights = history, best, arrays[:kept]
        write_all(stage.moving(), arrays[kept:])
        print(f"going on with a training that was stopped after epoch {len(history)} of {stage.name}")

    def remove(self):
        """Remove the files, which have done their work."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_all(variables, values):
    """Set Keras variables to a list of arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
