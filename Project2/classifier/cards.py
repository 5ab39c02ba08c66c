"""The README.md of a saved model or variant: what it is, who can load it, what it reached."""
import json

PIPELINE = """    from transformers import pipeline
    pipeline("text-classification", "PATH OF THIS FOLDER", truncation=True)("i feel so lucky to have you")"""
SESSION = """    import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else onnxruntime reports to its makers
    import onnxruntime, tokenizers  # logits = session.run(None, {"input_ids": ..., "attention_mask": ...})
    tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
    session = onnxruntime.InferenceSession("onnx/%s")

    import { pipeline } from "@huggingface/transformers"  // in a browser or Node.js
    await pipeline("text-classification", "PATH OF THIS FOLDER", { dtype: "%s" })"""
PACKED = '    python3 emotion_classifier.py --mode export --weights "PATH OF THIS FOLDER"  # plain %s, for any client'
OPENVINO = '    openvino.Core().compile_model("openvino_model.xml")'
CARDS = {  # of each variant: what it is, the library that reads it, how
    "original": ("The network in float32.", "transformers", PIPELINE),
    "pruned": ("Linear layers without their smallest weights; stored as a bit mask and the values left.", "safetensors",
               PACKED % "safetensors"),
    "int8": ("bitsandbytes LLM.int8, a scale for each token and each channel.", "transformers", PIPELINE),
    "nf4": ("bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "pruned_nf4": ("Pruned, then bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "onnx": ("The network as ONNX in float32.", "transformers.js", SESSION % ("model.onnx", "fp32")),
    "onnx_int8": ("ONNX with INT8 weights; activations are quantised token by token.", "transformers.js",
                  SESSION % ("model_quantized.onnx", "q8")),
    "small": ("ONNX with INT8 weights of few different values, packed with xz.", "onnxruntime", PACKED % "ONNX"),
    "tiny": ("Few layers and pieces of words, distilled; then as the variant small.", "onnxruntime", PACKED % "ONNX"),
    "openvino_int8": ("OpenVINO with INT8 weights.", "openvino", OPENVINO),
    "openvino_int4": ("OpenVINO with INT4 weights.", "openvino", OPENVINO)}
FEEDING = {  # how a model's texts are to be given to it
    "bertweet": "Its tokenizer puts @USER, HTTPURL and names of emoji into the text; `pipeline` has some newer names.",
    "user_http": "Write @user for user names and http for links, as emotion_classifier.py does.",
    "no_links": "Leave out links and names behind an @, as emotion_classifier.py does; it writes entities plainly.",
    "none": "Texts are given as they are; emotion_classifier.py writes entities and odd blanks plainly for BERT."}
MEASURED = {"": "validation rows, which chose the epoch", "test_": "test rows"}  # figures' prefixes in a report


def model_card(manifest, figures=None):
    """Return the README.md of a model or variant; figures: of `measure`, or a row of `compare`, if they are known."""
    what, client, use = CARDS[manifest["variant"]]
    if use.startswith("    import os") and manifest["normalisation"] == "bertweet":  # it has no tokenizer.json
        client, use = "onnxruntime", "Its tokenizer is transformers' BertweetTokenizer; transformers.js has none."
    reached = "".join(f"- accuracy {figures[f'{prefix}accuracy']:.4f}, macro F1 {figures[f'{prefix}macro_f1']:.4f} on "
                      f"{figures[f'{prefix}rows']:,} {rows}\n"
                      for prefix, rows in MEASURED.items() if figures and f"{prefix}rows" in figures)
    training = json.dumps(manifest.get("training", "settings that are not recorded")).replace('"', "")
    return f"""---
library_name: {client}
pipeline_tag: text-classification
base_model: {json.dumps(manifest["model_id"])}
---
# {manifest["model"]}, {manifest["variant"]}: {len(manifest["names"])} classes

{", ".join(manifest["names"])}; trained on {manifest.get("dataset", "data that is not recorded")}.
{what} {FEEDING[manifest["normalisation"]]} At most {manifest["max_length"]} tokens are read.

{use}

or: python3 emotion_classifier.py --weights "PATH OF THIS FOLDER" --text "i feel so lucky to have you"

{reached}
Expect less on texts of another kind, place or time. Trained with {training}.
"""
