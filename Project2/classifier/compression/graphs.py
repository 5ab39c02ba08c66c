"""Graphs: a network exported to ONNX and quantised row by row, or weight by weight for OpenVINO; and what runs them."""
import contextlib
import copy
import io
import lzma
import os
import pathlib
import tempfile
import warnings
from types import SimpleNamespace

import numpy as np
import torch

from ..libraries import import_quietly
from ..strangers import ONNX_FILES

EMBEDDING_BITS = 1.5  # bits of entropy that small and tiny leave a weight of the word embeddings less
PACKED = "model.onnx.xz"  # the file of small and tiny
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]  # for bytes without words


def write_onnx(settings, model, variant, folder):
    """Write a network as onnx (float32), onnx_int8, or small or tiny: INT8 weights of fewer values, packed with xz."""
    path = pathlib.Path(folder, ONNX_FILES.get(variant, PACKED))
    path.parent.mkdir(exist_ok=True)
    if variant == "onnx":
        export_onnx(model, str(path))
        return
    most = {"onnx_int8": 8.0, "small": settings.SMALL_BITS, "tiny": 6.0}[variant]
    graph = quantize_onnx(model, lambda name: most - EMBEDDING_BITS * ("embedding" in name and most < 8))
    path.write_bytes(graph if variant == "onnx_int8" else lzma.compress(graph, filters=XZ_FILTERS))


def read_packed(folder):
    """Return the bytes of the graph of a folder of small or tiny; raise ValueError where they are too many."""
    packed = pathlib.Path(folder, PACKED).read_bytes()
    unpacker = lzma.LZMADecompressor(memlimit=1 << 28)
    graph = unpacker.decompress(packed, (len(packed) << 6) + (1 << 24))  # weights have some bits of entropy each
    if not unpacker.eof:
        raise ValueError(f"{PACKED} is cut off, or unpacks to over {len(graph):,} bytes, more than weights can")
    return graph


def quantize_onnx(model, bits):
    """Return a network as the bytes of an ONNX graph with INT8 weights; bits: as `quantize_in_rows` takes it."""
    import onnx
    import_quietly("onnxruntime")
    from onnxruntime.quantization.shape_inference import quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        whole, plain = (os.path.join(folder, f"{name}.onnx") for name in ("whole", "plain"))
        export_onnx(model, whole)
        quant_pre_process(whole, plain, skip_symbolic_shape=True)  # else weights that layers share are not seen as such
        graph = onnx.load(plain)
    quantize_in_rows(graph, bits)
    return graph.SerializeToString()


def write_openvino(model, variant, folder):
    """Write a network as OpenVINO with weights of INT8 a channel or INT4 a group of 32 (NNCF, "Weight Compression")."""
    openvino, nncf = import_quietly("openvino"), import_quietly("nncf")
    recipe = {"openvino_int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
              "openvino_int4": {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": 32, "all_layers": True,
                                "advanced_parameters": nncf.AdvancedCompressionParameters(
                                    group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)}}[variant]
    with tempfile.TemporaryDirectory() as dense, contextlib.redirect_stdout(io.StringIO()):
        path = os.path.join(dense, "model.onnx")
        export_onnx(model, path)
        graph = nncf.compress_weights(openvino.Core().read_model(path), **recipe)
        openvino.save_model(graph, os.path.join(folder, "openvino_model.xml"))


def export_onnx(model, path):
    """Write a float32 classifier to `path` as an ONNX graph: input_ids, attention_mask (texts, tokens) to logits.
    The older exporter records what one batch does, so another is tried; the newer one takes five times as long."""
    network = copy.deepcopy(model).cpu().eval()
    network.set_attn_implementation("eager")  # plain products of matrices
    forward = network.forward  # the exporter takes two tensors in, and one out
    network.forward = lambda input_ids, attention_mask: forward(input_ids, attention_mask=attention_mask).logits
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, one for each branch it cannot follow
        torch.onnx.export(network, tuple(example(network, 2, 7).values()), path, dynamo=False, opset_version=18,
                          input_names=["input_ids", "attention_mask"], output_names=["logits"],
                          dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "texts"}})
        other = example(network, 3, 12)
        if not torch.allclose(load_onnx(path, model.config)(**other).logits, network(**other), rtol=1e-3, atol=1e-3):
            raise ValueError(f"the ONNX graph of {type(model).__name__} gives other logits than the network")


def example(network, texts, tokens):
    """Return a batch as `pad` makes them, the last text padded: int64 tensors (texts, tokens) by name."""
    input_ids = torch.arange(texts * tokens).view(texts, tokens) % network.config.vocab_size
    attention_mask = torch.ones_like(input_ids)
    input_ids[-1, -2:], attention_mask[-1, -2:] = network.config.pad_token_id or 0, 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def quantize_in_rows(graph, bits):
    """Quantise an ONNX graph in place: INT8 weights, and activations with a scale for each row of each batch.
    A row is a token: a text's logits do not depend on its neighbours. MatMul and Gemm with constant weights become
    MatMulIntegerToFloat (onnxruntime, docs/ContribOperators.md), with a scale a channel and 7 of the 8 bits: with 8
    sums overflow without VNNI ("Quantize ONNX models"). bits: from a node's name to a weight's most bits of entropy."""
    from onnx import helper, numpy_helper
    weights = {tensor.name: tensor for tensor in graph.graph.initializer
               if len(tensor.dims) == 2 and tensor.data_type == 1}
    constants = {"row_one": np.float32(1), "row_zero": np.uint8(128), "row_last": np.array([-1]),
                 "row_least": np.float32(1e-12), "row_step": np.float32(1 / 127), "table_zero": np.int8(0)}
    nodes, shared = [], set()

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], f"{output}_{kind}", **attributes))

    for node in graph.graph.node:
        (given, name), made = (*node.input, "", "")[:2], node.output[0]  # a constant has no input
        if node.op_type == "Gather" and given in weights and np.prod(weights[given].dims) > 10**4:
            table = numpy_helper.to_array(weights[given])
            made_weights = quantize_weights(table, None, 127, bits(node.name))
            constants |= dict(zip((f"{given}_table", f"{given}_scale"), made_weights))
            add("Gather", [f"{given}_table", name], f"{made}_table")
            add("DequantizeLinear", [f"{made}_table", f"{given}_scale", "table_zero"], made)
        elif node.op_type in ("MatMul", "Gemm") and name in weights:
            matrix = numpy_helper.to_array(weights[name])  # (inputs, outputs)
            if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
                matrix = matrix.T
            constants |= dict(zip((f"{name}_int8", f"{name}_scales"), quantize_weights(matrix, 0, 63, bits(node.name))))
            if given not in shared:  # x / (max |x| / 127) in 1 to 255, 128 for 0: (texts, tokens, inputs)
                shared.add(given)
                add("Abs", [given], f"{given}_abs")
                add("ReduceMax", [f"{given}_abs", "row_last"], f"{given}_max", keepdims=1)
                add("Mul", [f"{given}_max", "row_step"], f"{given}_step")
                add("Max", [f"{given}_step", "row_least"], f"{given}_rows")
                add("Div", [given, f"{given}_rows"], f"{given}_even")
                add("QuantizeLinear", [f"{given}_even", "row_one", "row_zero"], f"{given}_uint8")
            add("MatMulIntegerToFloat", [f"{given}_uint8", f"{name}_int8", "row_one", f"{name}_scales", "row_zero"],
                f"{made}_even", domain="com.microsoft")
            biased = len(node.input) > 2
            add("Mul", [f"{made}_even", f"{given}_rows"], f"{made}_product" if biased else made)
            if biased:
                add("Add", [f"{made}_product", node.input[2]], made)
        else:
            nodes.append(node)
    replace_nodes(graph, nodes, constants)


def replace_nodes(graph, nodes, constants):
    """Give an ONNX graph these nodes; of its weights, and of constants, {name: array}, the ones that they take."""
    from onnx import helper, numpy_helper
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    for field, content in ((graph.graph.node, nodes), (graph.graph.initializer, kept)):
        del field[:]
        field.extend(content)
    if not any(opset.domain == "com.microsoft" for opset in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def quantize_weights(weights, axis, levels, bits=8.0):
    """Return (int8 weights, float32 scales) whose product is near to float weights; scales: along `axis`, None: one.
    levels: most steps from 0 either way; fewer where the entropy would be over `bits` bits a weight, to which a packer
    brings them. Quantise, then code by frequency: Deep Compression (Han et al. 2016, arXiv:1510.00149)."""
    peak = np.maximum(np.abs(weights).max(axis, keepdims=axis is not None), np.float32(1e-12))
    while True:
        values = np.round(weights / peak * np.float32(levels)).astype(np.int8)
        shares = np.bincount(values.ravel().view(np.uint8)) / values.size
        if -(shares * np.log2(np.maximum(shares, 1e-12))).sum() <= bits:
            return values, np.squeeze(peak / np.float32(levels)).astype(np.float32)
        levels *= 0.97


class GraphClassifier:
    """What is called as a transformers classifier is, and computes its logits by a graph, on the CPU."""

    device, eval = torch.device("cpu"), staticmethod(lambda: None)  # it has no other mode

    def __init__(self, config, names, run):
        """config: of the network; run(inputs): the logits of the graph, which takes `names`; see `probe`."""
        self.config, self.names, self.run = config, names, run

    def __call__(self, **inputs):
        """Return an object with logits, float32 (texts, classes), for int64 tensors (texts, length)."""
        return SimpleNamespace(logits=torch.from_numpy(self.run({name: inputs[name].numpy() for name in self.names})))


def load_onnx(graph, config):
    """Return the classifier of an ONNX graph (a path, or its bytes) in ONNX Runtime."""
    onnxruntime = import_quietly("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised too
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return GraphClassifier(config, names, lambda inputs: session.run(None, inputs)[0])


def load_openvino(folder, config):
    """Return the classifier of a folder's graph in OpenVINO, which reads nothing but the graph and its weights."""
    core = import_quietly("openvino").Core()
    graph = core.read_model(os.path.join(folder, "openvino_model.xml"))
    names = [given.any_name for given in graph.inputs]
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads(),
                                                   "ENABLE_CPU_PINNING": False,  # else processes would share a core
                                                   "INFERENCE_PRECISION_HINT": "f32"})  # bfloat16 is no faster, coarser
    return GraphClassifier(config, names, lambda inputs: compiled(inputs)[0].copy())  # the next call's memory
