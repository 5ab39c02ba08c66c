"""Trains a script on random rows, as on one device, on two or in mixed precision: python3 devices.py SCRIPT KIND MODEL.

KIND is single, mirrored (two logical CPUs) or mixed (float16). Prints as JSON the number of devices, the losses of the
epochs, the dtypes of the saved model, its accuracy, and the best accuracy of the training.
"""
import json
import sys

import numpy as np

from conftest import load_script

if __name__ == "__main__":
    path, kind, saved = sys.argv[1:]
    script = load_script(path)
    tf, keras = script.tf, script.keras
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.get_strategy()
    if kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if kind == "mixed":
        keras.mixed_precision.set_global_policy("mixed_float16")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    texts = [" ".join(rng.permutation([f"e{label}", *map(str, rng.integers(10, 60, rng.integers(1, 9)))])) for label in labels]
    vocabulary = script.make_vocabulary(texts)
    tokens = vocabulary.encode(texts)
    data = script.Encoded(tokens[:200], labels[:200], tokens[200:], labels[200:], [], [])
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = script.build_model(rng.normal(0, 0.5, (70, 100)).astype(np.float32), 6, 16, 0.0)
    history = script.fit(model, data, 0.01, 5, kind)
    content = script.model_bytes(script.text_model_of(vocabulary, model), dict.fromkeys("abcdef", ""))
    with open(saved, "wb") as file:
        file.write(content)
    loaded, _ = script.load_model(saved)
    policies = [layer.dtype_policy.name for layer in loaded.layers[-1].layers if layer.weights]
    probabilities = script.predict_texts(loaded, texts[200:])
    print(json.dumps([strategy.num_replicas_in_sync, [entry["loss"] for entry in history], policies,
                      float((probabilities.argmax(1) == labels[200:]).mean()),
                      max(entry["val_accuracy"] for entry in history)]))
