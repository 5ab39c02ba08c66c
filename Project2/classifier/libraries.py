"""Heavy libraries as they are used here: quiet, without telemetry and code from a hub; progress on the screen."""
import importlib
import os
import platform
import sys
import time
import warnings

import accelerate
import huggingface_hub
import torch
import transformers
from tqdm import tqdm


def quiet_libraries():
    """Keep the libraries' own notes and bars off the screen, and code from a hub out; what matters is raised."""
    sys.modules["kernels"] = None  # not imported: transformers and bitsandbytes would fetch and run code through it
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()


def import_quietly(package):
    """Return onnxruntime, openvino or nncf without telemetry: all report to hosts, and one numbers this device."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, at the import
    sys.modules.setdefault("openvino_telemetry", None)
    return importlib.import_module(package)


def progress(groups, name, done, total):
    """Yield groups of texts, and show how many texts are done: a bar on a terminal, a line a minute in a log."""
    last = time.monotonic()
    with tqdm(total=total, initial=done, unit=" texts", desc=name, disable=not sys.stderr.isatty(), leave=False) as bar:
        for group in groups:
            yield group
            done += len(group)
            bar.update(len(group))
            if bar.disable and time.monotonic() - last > 60:
                last = time.monotonic()
                print(f"{name}: {done:,} of {total:,} texts", flush=True)


def versions():
    """Return the versions of what the results depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "accelerate": accelerate.__version__}
