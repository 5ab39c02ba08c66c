"""Batches of texts of like length, so that little is padding: for training, and for predictions."""
import itertools

import keras
import numpy as np
import tensorflow as tf


def batches(sequences, batch_size, shuffle=None, spread=1):
    """Group texts of like length: return a list of row-number arrays, sorted by length, so that little is padding.

    With `shuffle` (a numpy Generator) texts whose lengths differ by less than `spread` change batches, and batches
    change places. For texts of 5, 2, 6, 2 and 5 words in batches of 2 the groups are rows 1 and 3 (2 words), 0 and 4 (5
    words), and 2 (6 words): of 20 numbers none pads. In the file's order they would be rows 0 and 1, 2 and 3, 4: of 27
    numbers 7 pad.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    noise = shuffle.uniform(0, spread, len(lengths)) if shuffle is not None else 0
    order = np.argsort(lengths + noise, kind="stable")
    groups = [order[begin:begin + batch_size] for begin in range(0, len(order), batch_size)]
    if shuffle is not None:
        shuffle.shuffle(groups)
    return groups


def training_batches(sequences, labels, classes, settings, first_epoch=0, times=1):
    """Return a tf.data.Dataset of (tokens, one-hot targets), batched and shuffled anew in each epoch.

    tokens: int32 (texts, words), each batch as wide as its longest text; `times` 2 puts each text beside itself. Each
    time that the dataset is read is the next epoch, whose order depends on SEED and its number alone. Only row numbers
    come from Python, and no shape is fixed, so that one trace of the training step serves all batches.
    """
    sequences = [sequence if len(sequence) else np.ones(1, np.int32) for sequence in sequences]
    texts = tf.RaggedTensor.from_row_lengths(np.concatenate(sequences), [len(sequence) for sequence in sequences])
    targets, epochs = tf.one_hot(labels, classes), itertools.count(first_epoch)

    def gather(rows):
        rows = tf.repeat(rows, times)
        return tf.gather(texts, rows).to_tensor(), tf.gather(targets, rows)

    def next_epoch():
        shuffle = np.random.default_rng([settings.SEED, next(epochs)])
        return batches(sequences, settings.BATCH_SIZE, shuffle, settings.LENGTH_SPREAD)

    dataset = tf.data.Dataset.from_generator(next_epoch, output_signature=tf.TensorSpec((None,), tf.int64))
    steps = -(-len(sequences) // settings.BATCH_SIZE)
    dataset = dataset.map(gather).apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread is waited for when an epoch ends, for up to five seconds
    return dataset.prefetch(4).with_options(options)


def pad(sequences, rows):
    """Return the texts of these rows, padded right with 0 to the longest: int32 (rows, length).

    A text without a word is one unknown word, since cuDNN takes no text that is padding alone.
    """
    texts = [sequences[row] if len(sequences[row]) else [1] for row in rows]
    return keras.utils.pad_sequences(texts, padding="post")


def predict_tokens(model, sequences, batch_size=256):
    """Return the probabilities of each text: float32 (texts, classes), in the order of `sequences`."""
    probabilities = np.zeros((len(sequences), model.output_shape[-1]), np.float32)
    for rows in batches(sequences, batch_size):
        probabilities[rows] = as_graph(model)(pad(sequences, rows)).numpy()
    return probabilities


def as_graph(model):
    """Return a function that predicts as `model` does, as one graph: several times faster than layer by layer."""
    if not hasattr(model, "predict_graph"):
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
        model.predict_graph = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)
    return model.predict_graph
