"""One stage of a training: devices, the loss, the epochs, and which of them is kept."""
import functools
import sys
import time

import keras
import tensorflow as tf
from keras import ops

from .batches import predict_tokens, training_batches
from .checkpoint import read_all, write_all
from .evaluation import one_class_macro_f1, scores


def set_up_devices(settings):
    """Return the strategy for the devices that are there; mixed precision on a GPU that has it."""
    keras.utils.set_random_seed(settings.SEED)
    gpus = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, gpus)
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus and all(found.get("compute_capability", (0, 0)) >= (7, 0) for found in details):
        keras.mixed_precision.set_global_policy("mixed_float16")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def for_few_texts(settings, texts):
    """Return the settings for few training texts: 20 steps an epoch, by smaller batches, and patience for 200 steps each.

    Where an epoch has 20 steps they stay as they are.
    """
    if len(texts) >= 20 * settings.BATCH_SIZE:
        return settings
    smaller = settings.model_copy(update={"BATCH_SIZE": min(settings.BATCH_SIZE, max(8, len(texts) // 20))})
    return smaller.model_copy(update={"PATIENCE": at_least(settings.PATIENCE, texts, smaller)})


def most_epochs(texts, given, usual, settings):
    """Return the most epochs: those given, else the usual number, or as many as make 200 steps for each of these."""
    return given or at_least(usual, texts, settings)


def at_least(epochs, texts, settings):
    """Return a number of epochs, or as many as make 200 steps for each of these where the texts are few."""
    return max(epochs, -(-200 * epochs * settings.BATCH_SIZE // len(texts)))


def loss(targets, probabilities, label_smoothing, r_drop=0.0):
    """Return the loss of each text, float32 (texts,): cross-entropy with smoothed labels, and what dropout changes.

    With r_drop, its weight, the rows 0 and 1, 2 and 3, ... are a text twice, under other dropout; the divergence of the
    two predictions, in both directions, is a part of the loss (R-Drop; Liang et al. 2021, arXiv:2106.14448).
    """
    error = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=label_smoothing)
    if r_drop:
        logs = ops.log(ops.clip(probabilities, 1e-7, 1))
        apart = (probabilities[0::2] - probabilities[1::2]) * (logs[0::2] - logs[1::2])
        error += r_drop / 2 * ops.repeat(ops.sum(apart, axis=1), 2)
    return error


def fit(settings, model, data, rate, epochs, name, r_drop=0.0, report=None, checkpoint=None):
    """Train `model` in place and leave it at its best epoch; returns the history of the epochs.

    data: Encoded; r_drop: see `loss`; report: see `Stage`. Label smoothing (Szegedy et al. 2016, arXiv:1512.00567),
    AdamW, a falling rate, and an exponential moving average of the weights, which is what is evaluated and kept. With a
    checkpoint a stage that was killed goes on after its last whole epoch, with the weights that it would have had.
    """
    steps = -(-len(data.train) // settings.BATCH_SIZE) * epochs
    with model.distribute_strategy.scope():
        falling = keras.optimizers.schedules.PolynomialDecay(rate, steps, end_learning_rate=rate / 50)
        optimizer = keras.optimizers.Adam(  # AdamW, where it decays
            falling, weight_decay=settings.WEIGHT_DECAY or None, clipnorm=1.0, use_ema=True,
            ema_momentum=settings.EMA_MOMENTUM)
        error = functools.partial(loss, label_smoothing=settings.LABEL_SMOOTHING, r_drop=r_drop)
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
        verbose = int(sys.stderr.isatty() and sys.stdout.isatty())
        model.fit(dataset, initial_epoch=len(stage.history), epochs=epochs, verbose=verbose, shuffle=False,
                  callbacks=[stage])
    write_all(model.trainable_variables, stage.weights)
    return stage.history


class Stage(keras.callbacks.Callback):
    """One stage: evaluates each epoch with the averaged weights, keeps the best, saves, and stops in time.

    The best epoch is the one of highest validation macro F1. Training stops PATIENCE epochs after it, but not before it
    is better than one class for all texts. `report(epoch, macro_f1)`, if given, is called after each epoch and may stop
    the training by raising. checkpoint: where the stage is saved, or None.
    """

    def __init__(self, settings, data, name, epochs, report, checkpoint):
        super().__init__()
        self.data, self.name, self.epochs, self.report, self.checkpoint = data, name, epochs, report, checkpoint
        self.patience = settings.PATIENCE
        self.history, self.best, self.weights = [], None, None
        self.one_class = one_class_macro_f1(data.val_labels)

    @property
    def ended(self):
        """Whether there is no epoch left, or no hope of a better one."""
        if not self.history or len(self.history) >= self.epochs:
            return bool(self.history)
        learned = self.history[self.best]["val_macro_f1"] > self.one_class
        return learned and len(self.history) - 1 - self.best >= self.patience

    def moving(self):
        """Return the variables that training changes: trainable weights, the state of dropout, the optimizer's."""
        states = [variable for variable in self.model.variables if "int" in variable.dtype]
        return [*self.model.trainable_variables, *states, *self.model.optimizer.variables]

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        weights, optimizer = self.model.trainable_variables, self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # in mixed precision
        raw, averages = read_all(weights), read_all(optimizer._model_variables_moving_average)
        write_all(weights, averages)
        error, accuracy, macro_f1 = scores(self.data.val_labels, predict_tokens(self.model, self.data.val))
        write_all(weights, raw)
        self.history.append({"loss": float(logs["loss"]), "val_loss": error, "val_accuracy": accuracy,
                             "val_macro_f1": macro_f1, "seconds": seconds,
                             "evaluation_seconds": time.perf_counter() - self.started - seconds})
        print(f"{self.name}, epoch {epoch + 1}: loss {logs['loss']:.4f}, validation loss {error:.4f}, "
              f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, {seconds:.1f} s", flush=True)
        if self.best is None or macro_f1 > self.history[self.best]["val_macro_f1"]:
            self.best, self.weights = epoch, averages
        self.model.stop_training = self.ended
        if self.report:
            self.report(epoch, macro_f1)
        if self.checkpoint:
            self.checkpoint.save(self)
