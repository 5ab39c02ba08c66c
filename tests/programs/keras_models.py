"""Says what saved models make of texts, as a process without their script: python3 keras_models.py TEXTS MODEL ...

TEXTS is a JSON list; the probabilities of each model are printed as a line of JSON after RESULT.
"""
import json
import sys

import keras
import tensorflow as tf

if __name__ == "__main__":
    for path in sys.argv[2:]:
        model = keras.models.load_model(path)
        print("RESULT" + json.dumps(model(tf.constant(json.loads(sys.argv[1]))).numpy().tolist()))
