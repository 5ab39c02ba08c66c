"""Runs lines of a README for each of many texts, where there is no TensorFlow: python3 readme_lines.py FIRST EACH TEXTS.

FIRST are the lines to run once, EACH those to run with every `text` of the JSON list TEXTS; the `probabilities` that
these compute are printed as JSON after RESULT.
"""
import json
import sys

for name in ("tensorflow", "keras", "torch", "transformers"):
    sys.modules[name] = None  # an import of it fails

if __name__ == "__main__":
    first, each, texts = sys.argv[1:]
    names = {}
    exec(first, names)
    for names["text"] in json.loads(texts):
        exec(each, names)
        print("RESULT" + json.dumps(names["probabilities"].tolist()))
