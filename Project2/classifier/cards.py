"""The README.md of a saved model or variant: what it is, who can load it, what it reached."""
import json
import os


PIPELINE = """    from transformers import pipeline
    pipeline("text-classification", "PATH OF THIS FOLDER", truncation=True)("i feel so lucky to have you")"""
SESSION = """    import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else onnxruntime reports to its makers
    import onnxruntime, tokenizers  # logits = session.run(None, {"input_ids": ..., "attention_mask": ...})
    tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
    session = onnxruntime.InferenceSession("onnx/%s")

    import { pipeline } from "@huggingface/transformers"  // in a browser or Node.js
    await pipeline("text-classification", "PATH OF THIS FOLDER", { dtype: "%s" })"""
PACKED = ('    python3 emotion_classifier.py --mode export --weights "PATH OF THIS FOLDER"'
          "  # plain ONNX again, for any client")
CARDS = {  # of each variant: what it is, the library that reads it, how
    "original": ("Weights of 0 are pruned ones.", "transformers", PIPELINE),
    "pruned": ("Linear layers without their smallest weights; stored as a bit mask and the values left.", "safetensors",
               PACKED.replace("ONNX again", "safetensors again")),
    "int8": ("bitsandbytes LLM.int8, a scale for each token and each channel.", "transformers", PIPELINE),
    "nf4": ("bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "pruned_nf4": ("Pruned, then bitsandbytes NF4 with double quantisation.", "transformers", PIPELINE),
    "onnx": ("The network as ONNX in float32.", "transformers.js", SESSION % ("model.onnx", "fp32")),
    "onnx_int8": ("ONNX with INT8 weights; activations are quantised token by token.", "transformers.js",
                  SESSION % ("model_quantized.onnx", "q8")),
    "small": ("ONNX with INT8 weights of few different values, packed with xz.", "onnxruntime", PACKED),
    "tiny": ("Some of the layers and of the vocabulary, distilled; ONNX with INT8 weights of few different values, "
             "packed with xz.", "onnxruntime", PACKED),
    **{f"openvino_{kind}": (f"OpenVINO with {kind.upper()} weights.", "openvino",
                            '    openvino.Core().compile_model("openvino_model.xml")') for kind in ("int8", "int4")}}
FEEDING = {  # how a model's texts are to be given to it
    "bertweet": "Its tokenizer puts @USER, HTTPURL and the names of emoji into the text by itself; `pipeline` takes "
                "the names of the installed package emoji, emotion_classifier.py those of the pretraining.",
    "user_http": "Write @user for user names and http for links, as emotion_classifier.py does.",
    "none": "Texts are given as they are."}


def card(manifest, client, title, what, rest):
    """Return the README.md of a folder that `client`, a library, loads."""
    return f"""---
library_name: {client}
pipeline_tag: text-classification
base_model: {json.dumps(manifest["model_id"])}
---
# {manifest["model"]}, {title} {len(manifest["names"])} classes

{", ".join(manifest["names"])}; trained on {manifest.get("dataset", "data that is not recorded")}.
{what}{FEEDING[manifest["normalisation"]]} At most {manifest["max_length"]} tokens are read.

{rest}"""


def model_card(manifest, figures):
    """Return the README.md of a model folder: what it is, how it is fed, and what it reached."""
    report = "\n".join(f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1-score']:.3f} | "
                       f"{row['support']:.0f} |" for name, row in figures["report"].items())
    training = "\n".join(f"- {name}: {value}" for name, value in manifest["training"].items())
    return card(manifest, "transformers", "fine-tuned to", "", f"""{PIPELINE}

On {figures["rows"]:,} validation rows, from which the best epoch was chosen: accuracy {figures["accuracy"]:.4f},
macro F1 {figures["macro_f1"]:.4f}. Expect less on texts of another kind, place or time.

| class | precision | recall | F1 | texts |
|---|---|---|---|---|
{report}

Trained with:

{training}
""")


def variant_card(settings, manifest, row=None, first_row=None):
    """Return the README.md of a variant's folder: what it is, who can load it, what it reached, if that is known."""
    what, client, use = CARDS[manifest["variant"]]
    if use.startswith("    import os") and manifest["normalisation"] == "bertweet":  # it has no tokenizer.json
        client, use = "onnxruntime", "Its tokenizer is transformers' BertweetTokenizer; transformers.js has none."
    return card(manifest, client, f"{manifest['variant']}:", f"{what}\n", f"""{use}

or: python3 emotion_classifier.py --weights "PATH OF THIS FOLDER" --text "i feel so lucky to have you"
{quality_table(settings, row, first_row) if row else ""}""")


def quality_table(settings, row, first_row):
    """Return the Markdown table of what a variant and the original, rows of `compare`, reached on each set of rows."""
    sets = [("", f"{row['rows']:,} rows of {os.path.basename(settings.VAL_PATH)}, which chose the epoch")]
    if "test_rows" in row:
        sets.append(("test_", f"{row['test_rows']:,} rows of {os.path.basename(settings.TEST_PATH)}"))
    lines = "\n".join(f"| {rows} | {row[f'{prefix}accuracy']:.4f} | {row[f'{prefix}macro_f1']:.4f} | "
                      f"{first_row[f'{prefix}accuracy']:.4f} | {first_row[f'{prefix}macro_f1']:.4f} | "
                      f"{row[f'{prefix}calibration_error']:.4f} |" for prefix, rows in sets)
    return f"""
| measured on | accuracy | macro F1 | the original's accuracy | the original's macro F1 | calibration error |
|---|---|---|---|---|---|
{lines}
"""
