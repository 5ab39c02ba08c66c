"""The model for other runtimes: ONNX, LiteRT and their tokenizer, and what these make of texts."""
import json
import os
from collections import defaultdict

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from .settings import InputError, one_line
from .text import JOINERS, LINK

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported; else it reports to its maker
try:
    import onnx
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter
    from onnx import helper, numpy_helper
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
except ImportError as missing:
    raise InputError("--EXPORT takes further packages; run python3 -m pip install onnx onnxruntime tokenizers "
                     f"ai-edge-litert ({one_line(missing)})") from missing


def export(model, vocabulary, classes, length, most):
    """Return {file name: bytes} of a float32 model for other runtimes: int32 (texts, words), right-padded with 0, to
    float32 (texts, classes); LiteRT of a text of `length` words."""
    tokens = tf.TensorSpec((1, length), tf.int32, name="tokens")

    def predict(tokens):  # a text without a word is one unknown word, as in `pad`
        return model(tf.concat([tf.maximum(tokens[:, :1], 1), tokens[:, 1:]], axis=1), training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.function(predict).get_concrete_function(tokens)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return {"tokenizer.json": tokenizer_of(vocabulary, most).to_str(pretty=False).encode(),
            "model.onnx": onnx_model(model, classes), "model.tflite": converter.convert()}


def tokenizer_of(vocabulary, most):
    """Return the Vocabulary as a tokenizer of Hugging Face's `tokenizers`: the same numbers of every text."""
    def of(characters, sign=""):
        return Regex("[" + sign + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]")

    spelled = defaultdict(list)
    for typed in sorted(vocabulary.spellings, key=len, reverse=True):
        spelled[vocabulary.spellings[typed]].append("".join(f"\\x{{{ord(character):x}}}" for character in typed))
    words = {"[PAD]": 0, "[UNK]": 1, **vocabulary.number}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(LINK), " "),
        *(normalizers.Replace(Regex("|".join(spelled[plain])), plain) for plain in ("", *filter(None, spelled))),
        normalizers.Replace(of(JOINERS), ""),
        normalizers.Replace(of(vocabulary.capitals + vocabulary.letters + vocabulary.marks, "^"), " "),
        normalizers.Lowercase()])
    split = [pre_tokenizers.Split(of(vocabulary.marks), "isolated")] if vocabulary.marks else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), *split])
    tokenizer.enable_truncation(most)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


def onnx_model(model, classes):
    """Return the bytes of the network as ONNX, in its own operators (LSTM, GRU), with the classes as metadata."""
    nodes, constants = [], []

    def add(kind, *inputs, outputs=1, **attributes):
        """Add an operator; arrays among its inputs become constants. Return the name of its output, or of several."""
        names = [value if isinstance(value, str) else f"{kind}_{len(nodes)}_{place}"
                 for place, value in enumerate(inputs)]
        constants.extend(numpy_helper.from_array(np.ascontiguousarray(value), name)
                         for name, value in zip(names, inputs) if name is not value)
        made = [f"{kind}_{len(nodes)}_made_{place}" for place in range(outputs)]
        nodes.append(helper.make_node(kind, names, made, **attributes))
        return made[0] if outputs == 1 else made

    one, rest = np.array([1]), np.array([2**31 - 1])
    # A text without a word is one unknown word
    first = add("Max", add("Slice", "tokens", 0 * one, one, one), np.int32([1]))
    tokens = add("Concat", first, add("Slice", "tokens", one, rest, one), axis=1)
    known = add("Cast", add("Greater", tokens, np.int32([0])), to=onnx.TensorProto.INT32)
    lengths = add("ReduceSum", known, one, keepdims=0)
    embeddings = [layer for layer in model.layers if isinstance(layer, layers.Embedding)]
    vectors = np.concatenate([layer.get_weights()[0] for layer in embeddings], axis=1)
    hidden = add("Transpose", add("Gather", vectors, tokens), perm=[1, 0, 2])  # (words, texts, numbers)
    for layer in model.layers:
        if isinstance(layer, layers.Bidirectional):
            kind, arrays, attributes = onnx_recurrent(layer)
            _, state = add(kind, hidden, *arrays, lengths, outputs=2, **attributes)
            units = np.array([0, 2 * attributes["hidden_size"]])
            hidden = add("Reshape", add("Transpose", state, perm=[1, 0, 2]), units)
        elif isinstance(layer, layers.Dense):
            hidden = add("Gemm", hidden, *layer.get_weights())
            if layer.activation is keras.activations.relu:
                hidden = add("Relu", hidden)
    nodes.append(helper.make_node("Softmax", [hidden], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes, "emotion", [helper.make_tensor_value_info("tokens", onnx.TensorProto.INT32, ["texts", "words"])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["texts", len(classes)])], constants)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(whole, {"classes": json.dumps(classes)})
    onnx.checker.check_model(whole, full_check=True)
    return whole.SerializeToString()


def onnx_recurrent(layer):
    """Return (operator, arrays, attributes) of a bidirectional LSTM or GRU for ONNX; arrays: kernels and bias."""
    weights, kind, units = layer.get_weights(), type(layer.forward_layer).__name__, layer.forward_layer.units
    kernel, recurrent, bias = (np.stack(pair) for pair in zip(weights[:3], weights[3:]))  # (directions, ...)
    bias = bias.reshape(2, -1) if kind == "GRU" else np.concatenate([bias, 0 * bias], axis=1)
    gates = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}[kind]  # Keras has i f c o where ONNX has i o f c; both z r h
    order = np.concatenate([np.arange(units) + gate * units for gate in gates])
    bias = bias.reshape(2, 2, -1)[:, :, order].reshape(2, -1)
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    # (2, gates * units, numbers), (2, gates * units, units), (2, 2 * gates * units)
    arrays = kernel.transpose(0, 2, 1)[:, order], recurrent.transpose(0, 2, 1)[:, order], bias
    return kind, arrays, {"direction": "bidirectional", "hidden_size": units, **more}


def predict_exported(folder, texts):
    """Return {file name: probabilities (texts, classes)} of the exported models in `folder`, by their runtimes."""
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), providers=["CPUExecutionProvider"])
    interpreter = Interpreter(os.path.join(folder, "model.tflite"))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    length, found = int(source["shape"][1]), {"model.onnx": [], "model.tflite": []}
    for text in texts:
        words = tokenizer.encode(text).ids or [1]
        found["model.onnx"].append(session.run(None, {"tokens": np.array([words], np.int32)})[0][0])
        words = words[:length] + [0] * (length - len(words))
        interpreter.set_tensor(source["index"], np.array([words], np.int32))
        interpreter.invoke()
        found["model.tflite"].append(interpreter.get_tensor(target["index"])[0])
    return {name: np.array(rows) for name, rows in found.items()}
