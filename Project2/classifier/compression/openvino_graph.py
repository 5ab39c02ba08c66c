"""OpenVINO graphs: weights quantised by NNCF, run by OpenVINO."""
import contextlib
import io
import logging
import os
import tempfile

import torch

from ..libraries import import_openvino
from .onnx_graph import GraphClassifier, export_onnx


def write_openvino(model, variant, folder):
    """Write a float32 network to `folder` as an OpenVINO graph of quantised weights: openvino_int8 or _int4.

    Weights only (NNCF, "Weight Compression"): INT8 with a scale and an offset a channel, or INT4 with these for each 32
    weights, the word embeddings too. Raises ImportError where OpenVINO or NNCF is missing.
    """
    openvino, nncf = import_openvino(), import_openvino("nncf")
    nncf.set_log_level(logging.ERROR)
    recipe = {"openvino_int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
              "openvino_int4": {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": 32, "all_layers": True,
                                "advanced_parameters": nncf.AdvancedCompressionParameters(
                                    group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)}}[variant]
    with tempfile.TemporaryDirectory() as dense, contextlib.redirect_stdout(io.StringIO()):
        path = os.path.join(dense, "model.onnx")
        export_onnx(model, path)
        graph = nncf.compress_weights(openvino.Core().read_model(path), **recipe)
        openvino.save_model(graph, os.path.join(folder, "openvino_model.xml"))
    return OpenVinoClassifier(folder, model.config)


class OpenVinoClassifier(GraphClassifier):
    """A graph in OpenVINO; nothing but the graph and its weights is taken from the folder."""

    def __init__(self, folder, config):
        core = import_openvino().Core()
        graph = core.read_model(os.path.join(folder, "openvino_model.xml"))
        classes = graph.outputs[0].partial_shape[-1].get_max_length()
        super().__init__(config, [given.any_name for given in graph.inputs], classes)
        self.compiled = core.compile_model(graph, "CPU", {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # else several processes would share one core
            "INFERENCE_PRECISION_HINT": "f32"})  # else bfloat16 where the processor has it: no faster here, and coarser

    def run(self, inputs):
        """Return the logits of a batch: float32 (texts, classes)."""
        return self.compiled(inputs)[0].copy()  # the next call writes to the same memory
