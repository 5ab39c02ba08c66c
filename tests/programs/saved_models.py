"""Says what saved models make of texts, as a process that never saw their training: python3 saved_models.py SCRIPT NPZ < jobs.

Standard input is JSON: texts, long (one more text), pipelines (folders, whose answers are printed a line each, after
RESULT), folders (whose logits are saved).
"""
import json
import sys

import numpy as np
from transformers import pipeline

from conftest import load_script

if __name__ == "__main__":
    script, jobs, logits = load_script(sys.argv[1]), json.load(sys.stdin), {}
    for folder in jobs["pipelines"]:
        classify = pipeline("text-classification", folder, device="cpu", truncation=True)
        print("RESULT" + json.dumps(classify([*jobs["texts"], jobs["long"]])))
    for folder in jobs["folders"]:
        model, tokenizer, settings = script.load_checkpoint(folder)
        logits[folder] = script.predict_logits(model, tokenizer, jobs["texts"], settings)
    np.savez(sys.argv[2], **logits)
