"""What Optimum's ONNX Runtime model makes of texts. Run by test_project2_optimum.py with Optimum's own transformers.

Usage: python3 optimum_answers.py FOLDER.. < TEXTS.json; prints a line a folder: [{label: probability}, ..] of the texts.
"""
import json
import sys

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

texts = json.load(sys.stdin)
for folder in sys.argv[1:]:
    model, tokenizer = ORTModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, truncation=True)
    print(json.dumps([{answer["label"]: answer["score"] for answer in answers} for answers in classify(texts)]))
