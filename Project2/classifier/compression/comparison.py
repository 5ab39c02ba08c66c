"""Variants beside their original: measured in fresh processes, compared, reported."""
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import torch

from ..data import read_for
from ..encoder import precision_of
from ..evaluation import calibration_error, measure, scores
from ..files import save_all
from ..libraries import versions
from ..loading import load_to_serve, weights_folder
from ..prediction import predict_logits
from ..settings import InputError

COST = ("bytes", "peak_memory_bytes", "latency_1_median", "latency_1_p95", "latency_32_median", "latency_32_p95",
        "texts_per_second", "precision", "rows", "temperature")  # figures of `measure_alone` in a row


def measure_originals(settings, original):
    """Return the rows of the report of the original in float32, and in the precision in which it is served here."""
    served = str(precision_of(settings, original.model.device, original.manifest["family"])).removeprefix("torch.")
    rows = []
    for precision in dict.fromkeys(("float32", served)):
        try:
            base = original.manifest["model_id"]  # an older .pt file's must be one of MODELS or named again
            measured = measure_in_fresh_process(settings, original.folder, precision, base)
        except RuntimeError as error:
            raise InputError(f"{original.folder} cannot be measured: {error}") from error
        if not rows:
            original.measured = measured
        rows.append(compare(f"original_{precision}" if rows else "original", measured, original, *rows[:1]))
    return rows


def measure_in_fresh_process(settings, folder, precision="float32", model_id=""):
    """Return what `measure_alone` saves of a model, from a process of its own; raise RuntimeError with what it said."""
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "measured.npz")
        constants = settings.constants() | {"PRECISION": precision}
        command = [sys.executable, settings.script, "--mode", "compress", "--weights", folder, "--measured", path,
                   f"--model_id={model_id}", *(f"--{name}={value}" for name, value in constants.items())]
        process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if process.returncode:
            said = process.stderr.strip().splitlines() or [f"the process ended with status {process.returncode}"]
            raise RuntimeError(said[-1].removeprefix("error: "))
        with np.load(path) as content:
            return dict(content)


def measure_alone(settings, options):
    """Measure a model; save its figures (JSON) and its logits, float32 (texts, classes), to --measured: an .npz."""
    folder = weights_folder(settings, options)
    model, tokenizer, manifest = load_to_serve(settings, folder, options.model_id)
    texts, labels = read_for(settings, manifest, "VAL_PATH")
    test_texts, _ = read_for(settings, manifest, "TEST_PATH")
    started = time.perf_counter()
    logits = predict_logits(model, tokenizer, texts, manifest)
    seconds = time.perf_counter() - started
    figures = measure(model, tokenizer, texts, labels, manifest, folder, logits)
    figures["texts_per_second"] = len(texts) / seconds
    test_logits = predict_logits(model, tokenizer, test_texts, manifest)
    np.savez(options.measured, logits=logits, test_logits=test_logits, figures=json.dumps(figures))


def compare(variant, measured, original, first_row=None):
    """Return the row of the report of a model that was measured; first_row: the original's, None for itself."""
    figures = json.loads(str(measured["figures"]))
    row = {"variant": variant, "status": "measured", **{key: figures[key] for key in COST},
           **quality(original.labels, measured["logits"], original.measured["logits"])}
    if original.test_texts:
        tested = quality(original.test_labels, measured["test_logits"], original.measured["test_logits"])
        row |= {"test_rows": len(original.test_labels), **{f"test_{key}": value for key, value in tested.items()}}
    first_row = first_row or row
    return {**row, "bytes_share": row["bytes"] / first_row["bytes"],
            "speed": row["texts_per_second"] / first_row["texts_per_second"]}


def quality(labels, logits, reference):
    """Return what logits (texts, classes) are worth beside those of the original: a dict of figures.
    lost, won: texts that the original alone has right, and the variant; mcnemar_p: McNemar 1947, exact, two-sided."""
    from scipy.stats import binomtest
    predicted, before = logits.argmax(1), reference.argmax(1)
    (_, accuracy, macro_f1), (_, old_accuracy, old_macro_f1) = scores(labels, logits), scores(labels, reference)
    lost = int(((before == labels) & (predicted != labels)).sum())
    won = int(((before != labels) & (predicted == labels)).sum())
    return {"accuracy": accuracy, "accuracy_change": accuracy - old_accuracy, "macro_f1": macro_f1,
            "macro_f1_change": macro_f1 - old_macro_f1, "agreement": float((predicted == before).mean()),
            "lost": lost, "won": won, "mcnemar_p": float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
            "calibration_error": calibration_error(labels, logits)}


def report_compression(settings, rows, source):
    """Print the tables of the variants, and save them as compression.json and .csv under OUTPUT_DIR."""
    threads = torch.get_num_threads()
    content = {"weights": source, "data": settings.VAL_PATH, "test": settings.TEST_PATH, "sparsity": settings.SPARSITY,
               "threads": threads, "processor": platform.processor() or platform.machine(), "variants": rows,
               "versions": versions()}
    files = {"compression.json": json.dumps(content, indent=2).encode(),
             "compression.csv": pd.DataFrame(rows).to_csv(index=False).encode()}
    save_all({os.path.join(settings.OUTPUT_DIR, name): data for name, data in files.items()})
    measured = pd.DataFrame([row for row in rows if row["status"] == "measured"]).set_index("variant")
    for key, path, said in (("accuracy", settings.VAL_PATH, "these chose the epoch and the temperature"),
                            ("test_accuracy", settings.TEST_PATH, "these should have chosen nothing")):
        if path:
            shown = measured.loc[:, key:key.replace("accuracy", "calibration_error")]
            shown.columns = shown.columns.str.removeprefix("test_")
            print(f"\n{path} ({said}):\n{shown.to_string(float_format='{:.4f}'.format)}")
    shown = measured[[*COST[:7], "bytes_share", "speed"]]
    print(f"\nIn bytes and seconds, on {threads} threads:\n{shown.to_string(float_format='{:.4g}'.format)}")
