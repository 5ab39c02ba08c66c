"""Says what saved models make of texts, as a process that never saw their training: python3 saved_models.py SCRIPT NPZ < jobs.

Standard input is JSON: texts, long (one more text), pipelines (folders, whose answers are printed a line each, after
RESULT), folders (whose logits are saved).
"""
import json
import os
import sys

import numpy as np
from transformers import pipeline

from conftest import load_script

sys.path.insert(0, os.path.dirname(sys.argv[1]))
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits
from classifier.settings import make_settings

if __name__ == "__main__":
    settings, jobs, logits = make_settings(load_script(sys.argv[1])), json.load(sys.stdin), {}
    for folder in jobs["pipelines"]:
        classify = pipeline("text-classification", folder, device="cpu", truncation=True)
        print("RESULT" + json.dumps(classify([*jobs["texts"], jobs["long"]])))
    for folder in jobs["folders"]:
        model, tokenizer, manifest = load_checkpoint(settings, folder)
        logits[folder] = predict_logits(model, tokenizer, jobs["texts"], manifest)
    np.savez(sys.argv[2], **logits)
