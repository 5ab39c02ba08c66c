"""Project2, --mode evaluate: the figures are those of the predictions; classes by number and by name."""
import json

import pytest

from project2 import EXACT, NAMES, assert_good, each, quick

import numpy as np
from hypothesis import given, settings, strategies
from sklearn.metrics import accuracy_score, f1_score

from conftest import EMOTIONS, assert_one_line, csv_bytes, made_rows, read_csv, tree

from classifier.evaluation import as_trained, calibration_error, fit_calibration, scores
from classifier.prediction import predict_logits, softmax

pytest_plugins = ["project2"]


@each
def test_evaluation_is_what_the_predictions_say(call, families, data, tmp_path, name):
    weights = ["--weights", families[name].best, *EXACT]
    shown = call("--mode", "evaluate", *weights, "--val", data.val_path)
    assert_good(shown)
    files = tree(tmp_path / "out")
    assert set(files) == {"evaluation.json", "confusion.png"}
    assert all(content.startswith(b"\x89PNG") for path, content in files.items() if path.endswith(".png"))
    found = json.loads(files["evaluation.json"])
    target = tmp_path / "predictions.csv"
    assert_good(call("--mode", "inference", *weights, "--test_csv", data.val_path, "--output_csv", target))
    rows = read_csv(target.read_bytes())
    assert [(row["text"], row["label"]) for row in rows] == data.val
    labels, predicted = ([int(row[key]) for row in rows] for key in ("label", "predicted_label"))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-9)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    matrix = np.zeros((6, 6), int)
    np.add.at(matrix, (labels, predicted), 1)
    assert found["confusion_matrix"] == matrix.tolist() and found["rows"] == 120
    assert found["bytes"] == sum(map(len, tree(families[name].best).values()))
    assert found["classes"] == list(EMOTIONS)
    for number, emotion in enumerate(EMOTIONS):
        assert found["report"][emotion]["support"] == labels.count(number) and emotion in shown.out
    for key in ("latency_1_median", "latency_32_median", "peak_memory_bytes"):
        assert found[key] > 0
    assert found["latency_1_p95"] >= found["latency_1_median"] and found["latency_32_p95"] >= found["latency_32_median"]
    assert f"accuracy {found['accuracy']:.4f}, macro F1 {found['macro_f1']:.4f}" in shown.out
    metrics = families[name].results["validation"]
    assert abs(metrics["accuracy"] - found["accuracy"]) < 0.03, "that of training, but for the precision"


@pytest.fixture
def evaluate(families, call, tmp_path):
    """evaluate(rows) evaluates MiniLM on a file of these rows; returns what was printed, and evaluation.json."""
    def run(rows, weights=families["MiniLM"].best, name="given.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rows if isinstance(rows, bytes) else csv_bytes(rows))
        result = call("--mode", "evaluate", "--weights", weights, "--val", path, *EXACT, change=quick)
        if result.code:
            return result, None
        return result, json.loads((tmp_path / "out" / "evaluation.json").read_text())

    return run


def figures(evaluation):
    return {key: evaluation[key] for key in ("accuracy", "macro_f1", "confusion_matrix", "report", "rows")}


def test_names_in_the_place_of_numbers_give_the_same(evaluate, data):
    shown, by_number = evaluate(data.val)
    assert "read as 0 sadness, 1 joy" in shown.out, "which numbers mean what is said"
    _, by_name = evaluate([(text, EMOTIONS[int(label)]) for text, label in data.val])
    _, mixed = evaluate([(text, f"{label}.0" if row % 2 else EMOTIONS[int(label)])
                         for row, (text, label) in enumerate(data.val)])
    assert figures(by_name) == figures(by_number) == figures(mixed)


def test_names_that_come_with_the_file_decide_over_its_numbers(evaluate, data, tmp_path):
    """A file of TweetEval's form whose mapping.txt has the classes in another order."""
    other = dict(zip(EMOTIONS, "352014", strict=True))
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "mapping.txt").write_text("".join(f"{number}\t{name}\n" for name, number in other.items()))
    (tmp_path / "pair" / "val_labels.txt").write_text("".join(f"{other[EMOTIONS[int(label)]]}\n" for _, label in data.val))
    texts = "".join(f"{text}\n" for text, _ in data.val).encode()
    assert figures(evaluate(texts, name="pair/val_text.txt")[1]) == figures(evaluate(data.val)[1])
    (tmp_path / "pair" / "mapping.txt").write_text("".join(f"{number}\t{name}y\n" for name, number in other.items()))
    result, _ = evaluate(texts, name="pair/val_text.txt")
    assert_one_line(result, "val_text.txt", "'angery'", "the model lacks", "anger, ")


def test_perfect_predictions_of_some_classes_have_a_macro_f1_of_1(evaluate, call, short, tmp_path):
    """Macro F1 is over the classes that are there; the report's support says which."""
    options = short(made_rows(240, 1), made_rows(60, 2))
    assert_good(call(*options, *NAMES, "--epochs", 4, "--LEARNING_RATE", 0.005, *EXACT, change=quick))
    best = tmp_path / "out" / "best_MiniLM"
    assert_good(call("--mode", "inference", "--weights", best, "--test_csv", tmp_path / "train_val.csv", *EXACT))
    rows = read_csv((tmp_path / "train_val_predictions.csv").read_bytes())
    kept = sorted({row["predicted_label"] for row in rows})
    kept = kept[:-1] if len(kept) > 1 else kept  # so small a model may see one class alone
    _, found = evaluate([(row["text"], row["predicted_label"]) for row in rows if row["predicted_label"] in kept], best)
    lacking = [emotion for number, emotion in enumerate(EMOTIONS) if str(number) not in kept]
    assert lacking and found["accuracy"] == found["macro_f1"] == 1
    assert [emotion for emotion in EMOTIONS if not found["report"][emotion]["support"]] == lacking


def test_labels_that_the_model_lacks_are_named(evaluate, data):
    for label in ("6", "-1", "boredom", "Joy"):
        result, _ = evaluate([*data.val[:9], ("one more", label)])
        assert_one_line(result, "given.csv", repr(label), "the model lacks", "sadness, ")


# Confidence


@settings(max_examples=100, deadline=None)
@given(rows=strategies.lists(strategies.tuples(strategies.integers(0, 2), *[strategies.floats(-9, 9)] * 3), min_size=1,
                             max_size=30))
def test_calibration_error_is_the_mean_distance_of_confidence_from_accuracy(rows):
    labels, logits = np.array([label for label, *_ in rows]), np.array([row for _, *row in rows], np.float32)
    bins = {}
    for label, probabilities in zip(labels, softmax(logits)):
        confidence = float(probabilities.max())
        bins.setdefault(min(int(np.float32(confidence) * 15), 14), []).append((confidence, probabilities.argmax() == label))
    expected = sum(abs(sum(confidence for confidence, _ in texts) - sum(right for _, right in texts))
                   for texts in bins.values())
    assert calibration_error(labels, logits) == pytest.approx(expected / len(rows), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_the_fit_finds_the_temperature_and_the_biases_that_logits_have(temperature, bias):
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, (20000, 3))
    labels = (true + generator.gumbel(size=true.shape)).argmax(1)  # drawn with the probabilities of softmax(true)
    found, biases = fit_calibration(labels, ((true - np.array([bias, 0, 0])) * temperature).astype(np.float32))
    assert found == pytest.approx(temperature, rel=0.05)
    assert biases - biases.mean() == pytest.approx([bias * 2 / 3, -bias / 3, -bias / 3], abs=0.06)


@pytest.mark.parametrize("right", [True, False])
def test_a_few_texts_do_not_make_confidence_extreme(right):
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2]] * 3
    temperature, biases = fit_calibration(np.array([0, 1, 2] if right else [1, 2, 0]), logits)
    assert 1 / 4 < temperature < 4 and np.abs(biases).max() < 0.2


@each
def test_a_trained_head_has_the_fit_and_evaluation_tells_what_it_changed(families, loaded, data, name):
    model, tokenizer, found = loaded[name]
    texts, labels = [text for text, _ in data.val], np.array([int(label) for _, label in data.val])
    logits = predict_logits(model, tokenizer, texts, found)
    temperature, biases = fit_calibration(labels, as_trained(logits, found))
    assert found["temperature"] == pytest.approx(temperature, rel=0.05) and found["temperature"] != 1
    assert found["biases"] == pytest.approx(biases, abs=0.05) and max(map(abs, found["biases"])) > 0
    figures = families[name].results["validation"]
    assert figures["temperature"] == found["temperature"] and f"temperature {found['temperature']:.3f}" in families[name].out
    assert figures["calibration_error_as_trained"] == pytest.approx(
        calibration_error(labels, as_trained(logits, found)), abs=0.03)
    loss = [scores(labels, given)[0] for given in (logits, as_trained(logits, found))]
    assert loss[0] < loss[1], "the probabilities fit these rows better"
