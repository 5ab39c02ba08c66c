"""A trained model as it is saved, read back, compared, measured and reported."""
import json
import os
import pathlib
import subprocess
import sys

import pandas as pd

from .cards import model_card
from .evaluation import calibrate, measure, only_class, print_figures
from .files import save_all
from .folders import folder_bytes, whole_folder
from .libraries import versions
from .loading import load_to_serve
from .prediction import predict, predict_logits
from .settings import InputError
from .text import save_tokenizer
from .training import learning_rate, training_settings


def save_model(settings, model, tokenizer, manifest, data, history):
    """Save a trained model to best_<Model>, measure it as it is read back, write its record; return the results."""
    rate = learning_rate(settings, manifest["model"], model.config)
    manifest = {**manifest, "names": list(data.classes.values()), "dataset": data.name, "train_sha256": data.sha256,
                "training": {**training_settings(settings), "LEARNING_RATE": rate}, "versions": versions()}
    best, record = (os.path.join(settings.OUTPUT_DIR, f"{prefix}{manifest['model']}") for prefix in ("best_", ""))
    manifest = calibrate(model, tokenizer, data.val_texts, data.val_labels, manifest)
    with whole_folder(best) as folder:
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        save_manifest(folder, manifest)
        loaded, tokenizer, _ = load_to_serve(settings, folder)
        check_in_fresh_process(settings, folder, loaded, tokenizer, manifest, data.val_texts)
        logits = predict_logits(loaded, tokenizer, data.val_texts, manifest)
        figures = measure(loaded, tokenizer, data.val_texts, data.val_labels, manifest, folder, logits)
        kept = {key: figures[key] for key in ("rows", "accuracy", "macro_f1", "precision")}
        save_manifest(folder, manifest, metrics=kept)
        pathlib.Path(folder, "README.md").write_text(model_card(manifest, figures), encoding="utf-8")
    figures["bytes"] = folder_bytes(best)
    print_figures(manifest["model"], figures)
    seconds = sum(entry["seconds"] for entry in history)
    results = {
        "model": manifest["model"], "model_id": manifest["model_id"], "folder": best, "labels": manifest["names"],
        "validation_accuracy": figures["accuracy"], "validation_macro_f1": figures["macro_f1"], "epochs": len(history),
        "training_seconds": seconds, "training_texts_per_second": len(data.train_texts) * len(history) / seconds,
        "parameters": model.num_parameters(), "model_bytes": figures["bytes"], "dataset": data.name,
        "train_rows": len(data.train_texts), "validation_rows": len(data.val_texts), "left_out": data.left_out,
        "seed": settings.SEED, "only_class": only_class(figures), "history": history, "validation": figures,
        "versions": versions(), "settings": manifest}
    from .pictures import draw_confusion, draw_curves
    files = {"results.json": json.dumps(results, indent=2).encode(), "curves.png": draw_curves(history),
             "confusion.png": draw_confusion(figures, manifest["model"])}
    save_all({os.path.join(record, name): content for name, content in files.items()})
    return results


def check_in_fresh_process(settings, folder, model, tokenizer, manifest, texts):
    """Raise InputError unless a process of its own loads the saved model and gives the same within a hundredth, but for
    one text in fifty: its sums may be in another order."""
    texts = [text for text in texts if len(text) <= 1000][:64] or ["text"]  # what a command line can hold
    several = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun's
    command = [sys.executable, settings.script, "--weights", folder, f"--PRECISION={settings.PRECISION}",
               *(f"--text={text}" for text in texts)]
    environment = {name: value for name, value in os.environ.items() if name not in several}
    process = subprocess.run(command, capture_output=True, encoding="utf-8", env={**environment, "PYTHONUTF8": "1"})
    theirs = [line.split("\t") for line in process.stdout.splitlines()]
    both = zip(*predict(model, tokenizer, texts, manifest), theirs)
    other = sum(manifest["labels"][mine] != its[0] or abs(share - float(its[2])) > 0.01 for mine, share, its in both)
    if len(theirs) != len(texts) or other > len(texts) // 50:
        said = (process.stderr.strip().splitlines() or [f"{other} of {len(texts)} predictions are others"])[-1]
        raise InputError("a fresh process does not load the saved model as it was trained: "
                         f"{said.removeprefix('error: ')}")


def model_name(folder):
    """Return the name of a saved model's folder, or file, from which those of its variants are made."""
    return os.path.basename(os.path.abspath(folder)).removesuffix(".pt")


def save_manifest(folder, manifest, variant="original", **more):
    """Write emotion_classifier.json, by which `load_checkpoint` loads and feeds a model; more: its metrics."""
    kept = {key: value for key, value in manifest.items() if key != "metrics"}  # they are another variant's
    text = json.dumps({**kept, "variant": variant, **more}, indent=2)
    pathlib.Path(folder, "emotion_classifier.json").write_text(text, encoding="utf-8")


def report(settings, results):
    """Write and print the report over all models, name the best by macro F1, and last print the summary."""
    columns = ("validation_macro_f1", "validation_accuracy", "epochs", "training_seconds", "training_texts_per_second",
               "parameters", "model_bytes")
    table = pd.DataFrame({name: {column: row[column] for column in columns} for name, row in results.items()}).T
    table = table.astype(dict.fromkeys(("epochs", "parameters", "model_bytes"), int))
    table = table.sort_values("validation_macro_f1", ascending=False).rename_axis("model")
    best = results[table.index[0]]
    content = {"best": best["model"], "weights": best["folder"], "models": results}
    save_all({os.path.join(settings.OUTPUT_DIR, "report.json"): json.dumps(content, indent=2).encode(),
              os.path.join(settings.OUTPUT_DIR, "report.csv"): table.to_csv().encode()})
    print(table.to_string(float_format="{:.4f}".format))
    print("================ FINAL SUMMARY ================")
    print(f"Best Model: {best['model']} ({best['folder']})")
    print(f"Validation Accuracy: {best['validation_accuracy']:.4f}")
    print(f"Validation Macro F1: {best['validation_macro_f1']:.4f}")
    print(f"Total Training Time: {sum(row['training_seconds'] for row in results.values()):.1f} seconds")
    print(f"Model Size: {best['model_bytes']} bytes")
    for name, row in results.items():
        if row["only_class"] is not None:
            print(f"WARNING: {name} HAS NOT LEARNED: it calls all {row['validation_rows']} validation rows "
                  f"{row['only_class']}; give it more rows, more NUM_EPOCHS, or another LEARNING_RATE")
    print("===============================================")
