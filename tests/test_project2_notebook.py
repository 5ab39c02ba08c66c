"""Project2/emotion_classifier.ipynb: a whole run on small data in an empty folder, the pieces that carry and install."""
import ast
import base64
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

for needed in ("nbclient", "nbformat", "ipykernel", "torch", "transformers", "accelerate"):
    pytest.importorskip(needed, reason=f"the notebook's tests need {needed}; see tests/requirements.txt")

from nbclient.exceptions import CellExecutionError

from conftest import csv_bytes, made_rows, tree
from notebooks import Notebook, output_text
from project2 import SETTINGS

from classifier.loading import load_to_serve
from classifier.prediction import predict

NOTEBOOK = Notebook("Project2/emotion_classifier.ipynb")
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")


# Helpers


def shown(cell, kind):
    """What a cell displays of one kind of data, in order."""
    return [output.data[kind] for output in cell.outputs if output.output_type == "display_data" and kind in output.data]


def table_of(cell):
    """The rows of the table that a cell shows: a list of {heading: text}."""
    (text,) = shown(cell, "text/markdown")
    head, rule, *rows = [[part.strip() for part in line.strip("|").split("|")] for line in text.splitlines()]
    assert len(rule) == len(head)
    return [dict(zip(head, row, strict=True)) for row in rows]


def constant(name):
    """The value of a constant of the files that the notebook carries, which are not imported for it."""
    for file in NOTEBOOK.code_files:
        if file.endswith(".py"):
            for node in ast.parse((NOTEBOOK.path.parent / file).read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
                    return ast.literal_eval(node.value)
    raise ValueError(f"no constant {name}")


def save_tiny_model(folder, texts):
    """Save a BERT of two layers and 32 units with random weights, and a WordPiece tokenizer of these texts."""
    import tokenizers
    import torch
    import transformers
    pieces = tokenizers.BertWordPieceTokenizer()
    pieces.train_from_iterator(texts, vocab_size=800, show_progress=False)
    folder.mkdir()
    pieces.save(str(folder / "tokenizer.json"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_input_names=["input_ids", "attention_mask"], pad_token="[PAD]",
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id)).save_pretrained(folder)


# A whole run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Small files of made rows, 300 training and 100 validation, and a tiny model: options of the script."""
    folder, parts = tmp_path_factory.mktemp("data"), {"train": made_rows(300, 0), "validation": made_rows(100, 1)}
    for name, rows in parts.items():
        (folder / f"{name}.csv").write_bytes(csv_bytes(rows))
    save_tiny_model(folder / "tiny", [text for text, _ in parts["train"]])
    return ["--train", folder / "train.csv", "--val", folder / "validation.csv", "--model_id", folder / "tiny",
            "--label_names", ",".join(EMOTIONS)]


@pytest.fixture(scope="module")
def executed(small, tmp_path_factory):
    """The notebook after a whole run on the small data, and the folder that it ran in, which was empty."""
    folder = tmp_path_factory.mktemp("notebook")
    options = ["--model", "MiniLM", "--epochs", 2, "--learning_rate", 0.01, "--technique", "onnx", "--precision", "float32"]
    notebook = NOTEBOOK.execute(folder, [*small, *options])
    outputs = folder / "scripts" / "outputs"
    report = json.loads((outputs / "report.json").read_text())
    return SimpleNamespace(cells={cell.id: cell for cell in notebook.cells}, folder=folder, outputs=outputs,
                           results=report["models"]["MiniLM"])


def test_a_model_is_trained(executed):
    installed = output_text(executed.cells["install"])
    assert "no GPU; model: MiniLM; the quick setting" in installed or " GPU; model: all; full training" in installed
    assert "pip install" not in installed, "all is installed"
    output, results = output_text(executed.cells["train"]), executed.results
    assert output.startswith("$ python3 scripts/emotion_classifier.py ")
    assert " --output scripts/outputs " in output.splitlines()[0]
    summary = output[output.index("================ FINAL SUMMARY"):]
    assert f"Validation Accuracy: {results['validation_accuracy']:.4f}\n" in summary
    assert summary.endswith("===============================================\n")
    assert results["epochs"] == 2, "EXTRA goes before the quick setting"
    assert not [name for name, cell in executed.cells.items() if "outputs" in cell and "Traceback" in output_text(cell)]


def test_the_report_has_the_figures_of_report_json(executed):
    (row,), results = table_of(executed.cells["report"]), executed.results
    assert row["model"] == "MiniLM" and row["epochs"] == "2"
    assert row["macro F1"] == f"{results['validation_macro_f1']:.4f}"
    assert row["accuracy"] == f"{results['validation_accuracy']:.4f}"
    assert row["parameters"] == f"{results['parameters']:,}"
    assert row["on disk, MB"] == f"{results['model_bytes'] / 1e6:.1f}"
    assert float(row["training, seconds"]) == pytest.approx(results["training_seconds"], abs=0.051)
    assert output_text(executed.cells["report"]) == "the best is in scripts/outputs/best_MiniLM\n"


def test_the_pictures_are_shown(executed):
    pictures = ["MiniLM/curves.png", "MiniLM/confusion.png"]
    evaluation = ["confusion.png"]
    for name, expected in (("pictures", pictures), ("evaluate", evaluation)):
        cell = executed.cells[name]
        assert [base64.b64decode(data) for data in shown(cell, "image/png")] == [
            (executed.outputs / picture).read_bytes() for picture in expected]
        assert output_text(cell).split()[-len(expected):] == [f"scripts/outputs/{picture}" for picture in expected]


def test_the_best_model_is_evaluated(executed):
    output = output_text(executed.cells["evaluate"])
    evaluation = json.loads((executed.outputs / "evaluation.json").read_text())
    assert evaluation["weights"] == "scripts/outputs/best_MiniLM" and evaluation["rows"] == 100
    assert f"accuracy {evaluation['accuracy']:.4f}, macro F1 {evaluation['macro_f1']:.4f}" in output
    assert "latency, batch 32: median" in output and all(emotion in output for emotion in EMOTIONS)


def test_the_sentence_is_classified(executed):
    command, *_, line = output_text(executed.cells["predict"]).splitlines()  # a library may speak in between
    assert command.startswith("$ python3 scripts/emotion_classifier.py '--text=i feel so lucky to have you'")
    label, emotion, probability, text = line.split("\t")
    assert EMOTIONS[int(label)] == emotion and text == "i feel so lucky to have you"
    assert re.fullmatch(r"[01]\.\d{4}", probability)


def test_the_file_comes_back_with_predictions(executed):
    given = (executed.outputs / "example.csv").read_text(encoding="utf-8").splitlines()
    found = (executed.outputs / "example_predictions.csv").read_text(encoding="utf-8").splitlines()
    assert output_text(executed.cells["inference"]).splitlines()[-len(found):] == found
    assert found[0] == f"{given[0]},predicted_label,predicted_emotion,confidence"
    for before, after in zip(given[1:], found[1:], strict=True):
        label, emotion, confidence = after.removeprefix(f"{before},").split(",")
        assert EMOTIONS[int(label)] == emotion and 1 / 6 <= float(confidence) <= 1
    (predicted,) = [line for line in output_text(executed.cells["predict"]).splitlines() if line.count("\t") == 3]
    assert found[1].split(",")[-2:] == predicted.split("\t")[1:3], "the first text is the sentence"


def test_the_compressed_variants_are_compared(executed):
    compressed = json.loads((executed.outputs / "compression.json").read_text())["variants"]
    rows = {row["variant"]: row for row in table_of(executed.cells["compressed"])}
    assert "original" in rows
    for variant in compressed:
        if variant["status"] == "measured":
            row = rows.pop(variant["variant"])
            assert row["macro F1"] == f"{variant['macro_f1']:.4f}" and row["change"] == f"{variant['accuracy_change']:+.4f}"
            assert row["agreement"] == f"{variant['agreement']:.4f}" and row["on disk, MB"] == f"{variant['bytes'] / 1e6:.1f}"
            assert row["32 texts, ms"] == f"{variant['latency_32_median'] * 1e3:.1f}"
        else:
            assert f"{variant['variant']} was not run: {variant['reason']}\n" in output_text(executed.cells["compressed"])
    assert not rows
    assert "onnx_int8" in {variant["variant"] for variant in compressed}


def test_the_lines_at_the_end_serve_the_onnx_variant(executed, tmp_path):
    folder = executed.outputs / "best_MiniLM_onnx_int8"
    if not folder.exists():
        pytest.skip("the ONNX export was not run here")
    (block,) = re.findall(r"```python\n(.*?)```", executed.cells["serve-text"].source, re.DOTALL)
    assert "torch" not in block and "transformers" not in block
    bare = tmp_path / "bare"
    (bare / "onnx").mkdir(parents=True)
    for name in ("onnx/model_quantized.onnx", "tokenizer.json"):
        shutil.copy(folder / name, bare / name)
    result = subprocess.run([sys.executable, "-c", block], cwd=bare, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    emotion, probability = result.stdout.split()
    model, tokenizer, manifest = load_to_serve(SETTINGS, str(folder))
    (label,), (confidence,) = predict(model, tokenizer, ["i feel so lucky to have you"], manifest)
    assert emotion == EMOTIONS[label] and float(probability) == pytest.approx(confidence, abs=1e-5)


def test_it_ends_with_the_sentence_and_the_file_of_the_user():
    assert [cell.id for cell in NOTEBOOK.read().cells][-3:] == ["predict", "inference-text", "inference"]


def test_a_run_writes_below_the_folder_of_the_script_alone(executed):
    written = {path for path in tree(executed.folder) if not path.startswith("scripts/outputs/") and "__pycache__" not in path}
    assert written == {f"scripts/{name}" for name in NOTEBOOK.code_files}
    for name in NOTEBOOK.code_files:
        assert (executed.folder / "scripts" / name).read_bytes() == (NOTEBOOK.path.parent / name).read_bytes()


def test_a_failing_script_fails_the_notebook(tmp_path):
    with pytest.raises(CellExecutionError) as caught:
        NOTEBOOK.execute(tmp_path, ["--train", "none.csv", "--model_id", tmp_path])
    assert re.search(r"ended with exit status 2: error: .*none\.csv", str(caught.value))
    assert not (tmp_path / "scripts" / "outputs" / "report.json").exists()


# The code and the packages


def test_the_script_is_written_where_it_is_not_beside(tmp_path):
    NOTEBOOK.assert_writes_its_files(tmp_path / "cwd")


def test_a_script_beside_the_notebook_goes_first(tmp_path):
    NOTEBOOK.assert_takes_files_beside_it(tmp_path / "cwd")


def with_requirements(*lines):
    """Return a change of the notebook: other lines in requirements.txt."""
    def change(cells):
        cells["file-requirements"].source = "\n".join(["%%write_script requirements.txt", *lines])
    return change


def test_only_what_is_missing_is_installed_and_torch_is_left_as_it_is(tmp_path):
    import torch
    wanted = ["# a comment", "", "torch>=9999", "transformers>=1.0", "numpy>=1", "no-such-package-here>=2", "pytest>=9999"]
    with pytest.raises(CellExecutionError) as caught:
        NOTEBOOK.execute(tmp_path, [], "install", with_requirements(*wanted))
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(caught.value))
    assert (f"RuntimeError: python3 -m pip install --quiet 'no-such-package-here>=2' 'pytest>=9999' torch=={torch.__version__} "
            "ended with exit status 1") in said


def test_a_package_for_compression_that_cannot_be_had_is_noted_and_the_rest_goes_on(tmp_path):
    notebook = NOTEBOOK.execute(tmp_path, [], "install", with_requirements("torch>=9999", "onnxruntime>=9999"))
    said = output_text(notebook.cells[-1])
    assert "note: onnxruntime>=9999 is not there, and what needs it will be reported as not run (python3 -m pip" in said
    assert " GPU; model: " in said


# The file


def test_the_notebook_is_valid_and_its_outputs_are_stripped():
    NOTEBOOK.assert_valid_and_stripped()


def test_the_notebook_calls_the_script_and_has_no_copy_of_its_code():
    code = "\n".join(NOTEBOOK.sources("code").values())
    NOTEBOOK.assert_copies_nothing_of("emotion_classifier.py")
    assert code.count("execute(SCRIPT, ") == 5
    assert not re.search(r"^\s*(import|from) (torch|transformers|accelerate|onnx\w*)\b", code, re.MULTILINE)


def test_the_form_and_the_text_name_what_the_script_has():
    (form,) = re.findall(r'^MODEL = "auto"  # @param (\[.*\])$', NOTEBOOK.sources("code")["settings"], re.MULTILINE)
    assert json.loads(form) == ["auto", "all", *constant("MODELS")]
    for variant in constant("VARIANTS"):
        assert f"*{variant}*" in NOTEBOOK.sources("markdown")["compress-text"]


def test_the_packages_for_compression_are_requirements():
    names = {re.split(r"[<>=]", line)[0] for line in (NOTEBOOK.path.parent / "requirements.txt").read_text().split()}
    for name in ("KEPT", "FOR_COMPRESSION"):
        (found,) = re.findall(rf"^{name} = (\(.*?\))", NOTEBOOK.sources("code")["install"], re.MULTILINE)
        assert set(ast.literal_eval(found)) <= names


def test_the_notebook_carries_the_script_as_it_is_and_fetches_none():
    NOTEBOOK.assert_carries_its_files()
    NOTEBOOK.assert_asks_no_address()
