"""The tiny models: what a whole training run prints, measures and writes, and the measures themselves."""
import json
import os
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import csv_bytes, run_script, tree
from tiny import LIMITS, SCRIPTS, assert_equal_models, assert_one_line, both, each_run, quiet, random_model, settings_for

pytest_plugins = ["tiny"]

OUTPUTS = {"model.safetensors", "tinymodel.h", "tinymodel.js", "tinymodel.html", "tinymodel.py", "results.json"}


# The runs


@each_run
def test_summary_stands_last_and_agrees_with_results(runs, name):
    run = runs(name)
    results = run.results
    human = [f"People's Balanced Accuracy: {results['human_balanced_accuracy']:.3f}",
             f"People's Area under the ROC Curve: {results['human_auc']:.3f}"] if name == "two" else []
    expected = [
        "================ FINAL SUMMARY ================",
        f"Initial Test Accuracy: {results['initial_test_accuracy']:.3f}",
        f"Final Test Accuracy: {results['final_test_accuracy']:.3f}",
        f"Final Test Macro F1: {results['test_macro_f1']:.3f}",
        *human,
        f"Total Training Time: {results['training_seconds']:.2f} seconds",
        f"Model Size: {results['model_bytes']} bytes",
        "===============================================",
    ]
    assert run.process.stdout.decode().splitlines()[-len(expected):] == expected
    assert run.process.stdout.endswith(b"===\n")
    assert run.process.stderr == b""


@each_run
def test_results_hold_what_is_asked_for(runs, modules, name):
    run = runs(name)
    results, module = run.results, modules[run.size]
    assert results["model_bytes"] == run.file.stat().st_size <= LIMITS[run.size]
    assert results["labels"] == (["anger", "fear", "joy", "love", "sadness", "surprise"] if name == "six" else ["0", "1"])
    assert results["final_test_accuracy"] == results["test_accuracy"]
    assert 0 < results["test_macro_f1"] <= 1 and 0 < results["validation_accuracy"] <= 1 and results["learned"] is True
    assert str(run.arguments[1]) in results["dataset"]
    assert results["seed"] == results["constants"]["SEED"] == 1
    assert set(results["versions"]) == {"python", "torch", "numpy"}
    assert results["versions"]["python"] == sys.version.split()[0] and results["versions"]["numpy"] == np.__version__
    given_ones = {"OUTPUT_DIR": str(run.out)} | {
        option[2:]: str(value) for option, value in zip(run.arguments[::2], run.arguments[1::2], strict=True)}
    defaults = {constant: list(value) if isinstance(value, tuple) else value for constant, value in
                ((constant, getattr(module, constant)) for constant in module.read_constants())}
    assert results["constants"] == defaults | given_ones
    profile = results["profile"]
    assert set(profile["seconds"]) == {"data", "encoding", "training", "saving", "evaluation"}
    assert profile["seconds"]["training"] == results["training_seconds"] > 0
    assert profile["training_texts_per_second"] > 0 and profile["peak_memory_bytes"] > 10**8
    assert 2 <= results["epochs"] and results["tokens_kept"] > 500


@each_run
def test_rows_are_counted(runs, name):
    run = runs(name)
    results, rows = run.results, run.root / "rows"
    total = 2000 if name == "six" else 6000
    tested = results["test_rows"]
    assert abs(tested - (400 if name == "six" else 2000)) <= 4  # of the emotions a fifth of each class is held out
    if name == "six":
        assert "held out for testing" in results["note"]
        total -= tested
    if name == "two":
        total += 1500
        labels = (rows / "human" / "val_labels.txt").read_bytes().split()
        assert results["human_test_rows"] == len(labels) - labels.count(b"1")
        assert 1400 < results["human_train_rows"] < 1500
    else:
        assert not [key for key in results if "human" in key]
    assert total * 0.95 < results["train_rows"] + results["validation_rows"] <= total  # the rest is repeated or tested with
    assert results["validation_rows"] == pytest.approx(total * 0.05, rel=0.05)


@each_run
def test_training_makes_the_model_better(runs, name):
    results = runs(name).results
    assert abs(results["initial_test_accuracy"] - 1 / len(results["labels"])) < 0.15
    assert results["final_test_accuracy"] > results["initial_test_accuracy"] + 0.15
    assert results["validation_accuracy"] > (0.55 if name == "six" else 0.65)
    if name == "two":
        assert results["human_balanced_accuracy"] > 0.6 and results["human_auc"] > 0.65


def test_measured_is_the_saved_file_in_a_fresh_process(runs, bare):
    """Of the tweets: accuracy, macro-F1, and people's two, from the printed lines alone."""
    metrics = pytest.importorskip("sklearn.metrics")
    run = runs("two")
    rows = run.root / "rows"
    test = [row.split(b"\t", 1) for row in (rows / "test.txt").read_bytes().splitlines()]
    human = [(label, text) for label, text in zip(
        (rows / "human" / "val_labels.txt").read_bytes().split(),
        (rows / "human" / "val_text.txt").read_bytes().splitlines(), strict=True) if label != b"1"]
    lines = b"\n".join([text for _, text in test] + [text for _, text in human]) + b"\n"
    process = run_script(run.script, "--OUTPUT_DIR", run.out, "--predict", "-", input=lines, env=bare)
    assert process.returncode == 0 and process.stderr == b""
    printed = [line.split(b"\t", 2) for line in process.stdout.splitlines()]
    labels, found = [int(label) for label, _ in test], [int(row[0]) for row in printed[:len(test)]]
    results = run.results
    assert results["final_test_accuracy"] == metrics.accuracy_score(labels, found)
    assert results["test_macro_f1"] == pytest.approx(metrics.f1_score(labels, found, average="macro"), abs=1e-12)
    labels, found = [int(label) // 2 for label, _ in human], [int(row[0]) for row in printed[len(test):]]
    assert results["human_balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, found), abs=1e-12)
    scores = [float(row[1]) for row in printed[len(test):]]
    assert results["human_auc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-3)  # of four digits


@each_run
def test_nothing_is_written_outside_the_output_folder(runs, name):
    run = runs(name)
    assert set(tree(run.out)) == OUTPUTS
    assert {path: data for path, data in run.after.items() if not path.startswith("out/")} == run.before
    assert not [path for path in run.root.rglob("*") if "partial" in path.name]


def test_a_second_run_gives_the_same_bytes_in_the_default_folder(runs):
    run = runs("two")
    process = run_script(run.script, *run.arguments, cwd=run.root / "cwd")
    assert process.returncode == 0, process.stderr.decode()
    first, second = tree(run.out), tree(run.script.parent / "outputs" / run.script.stem)
    first, second = ({**files, "results.json": json.loads(files["results.json"])} for files in (first, second))
    for results in (first["results.json"], second["results.json"]):
        del results["profile"], results["training_seconds"], results["constants"]["OUTPUT_DIR"]
    assert first == second


# Sizes


@both
@pytest.mark.parametrize("number", [2, 3, 6, 30])
def test_a_full_file_fills_the_limit_and_never_passes_it(modules, monkeypatch, size, number):
    """plan_settings gives the most blocks; the widest numbers and a full table stay below MODEL_BYTES."""
    module = modules[size]
    labels, markers = tuple(f"emotion {i}" for i in range(number)), () if number == 2 else ("feel", "feeling", "\u00e9", "漢字")
    columns = 1 if number == 2 else number
    for limit in (1000, 2000, 5000, 9999, 10_000, 50_000, 99_999, 100_000, 250_000, 10**6):
        monkeypatch.setattr(module, "MODEL_BYTES", limit)
        if limit < 2 * columns << module.CODEBOOK_BITS and number > 2:
            continue  # little is left beside the codebook
        s = module.plan_settings(labels, markers)
        table = np.full(s.blocks * s.block_bytes, 255, np.uint8)
        steps = np.full((1 << s.value_bits, columns), -127, np.int8)
        bias = np.full(columns, -1.2346e-10, np.float32)
        length = len(module.serialise(module.Packed(s, labels, -112, 1.234567891e-10, bias, steps, table)))
        assert limit - s.block_bytes - 40 < length <= limit


@pytest.mark.parametrize("limit, number", [(1000, 2), (3000, 30)])
def test_a_limit_of_little_more_than_the_names_is_used_or_refused(module, monkeypatch, limit, number):
    labels = tuple(f"emotion {i}" for i in range(number))
    for limit in range(limit - 700, limit, 13):
        monkeypatch.setattr(module, "MODEL_BYTES", limit)
        try:
            s = module.plan_settings(labels)
        except module.InputError as error:
            assert f"MODEL_BYTES={limit} is too small for {number} classes" in str(error)
        else:
            assert s.blocks >= 1


def test_a_model_above_the_limit_is_not_saved(module, monkeypatch, tmp_path):
    content = module.serialise(random_model(module, 1)[0])
    monkeypatch.setattr(module, "MODEL_BYTES", len(content) - 1)
    with pytest.raises(module.InputError, match=f"{len(content)} bytes, more than MODEL_BYTES={len(content) - 1}; nothing"):
        module.check_in_a_fresh_process(content, [b"x"], str(tmp_path))
    assert tree(tmp_path) == {}


def test_a_model_that_a_fresh_process_sees_otherwise_is_not_saved(module, monkeypatch, tmp_path):
    model, other = (random_model(module, seed, entries=64, fingerprint=0)[0] for seed in (1, 2))
    texts, content = [b"some words", b"other\r\nones", b"and more of them"], module.serialise(model)
    assert_equal_models(module.check_in_a_fresh_process(content, texts, str(tmp_path)), model)
    expected = module.prediction_lines
    monkeypatch.setattr(module, "prediction_lines", lambda _, texts: expected(other, texts))
    with pytest.raises(module.InputError, match=r"a fresh process does not give .*; nothing was saved"):
        module.check_in_a_fresh_process(content, texts, str(tmp_path))
    assert tree(tmp_path) == {}


# A model that learns nothing


def test_a_model_that_learns_nothing_says_so(tmp_path):
    """All texts are alike but for a character that no other has, so that all get one class."""
    rows = [(f"the same text {chr(0x4E00 + row)}", "joy" if row % 4 else "sad") for row in range(200)]
    (tmp_path / "rows.csv").write_bytes(csv_bytes(rows))
    process = run_script(SCRIPTS["10kB"], "--TRAIN_URL", tmp_path / "rows.csv", "--OUTPUT_DIR", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["learned"] is False
    assert b"\nWARNING: the model has learned nothing: it gives all validation rows one class." in process.stdout


# Neutral rows and people's


@pytest.fixture
def mixed(module, tmp_path, monkeypatch):
    """The Dataset of four tweets and six rows of people's, of which two are neutral."""
    (tmp_path / "train.txt").write_bytes(b"1\tgood one\n0\tbad one\n1\tgood two\n0\tbad two\n")
    (tmp_path / "test.txt").write_bytes(b"1\tgood three\n0\tbad three\n")
    for name, lines in (("train_text", "fine a|awful b|so so c|fine d|it is e|awful f"), ("train_labels", "2|0|1|2|1|0"),
                        ("val_text", "fine x|awful y|so so z"), ("val_labels", "2|0|1")):
        (tmp_path / f"{name}.txt").write_text(lines.replace("|", "\n") + "\n")
    for name, value in (("TRAIN_URL", "train.txt"), ("TEST_URL", "test.txt"), ("HUMAN_URL", "")):
        monkeypatch.setattr(module, name, str(tmp_path / value))
    return module.acquire(str(tmp_path / "cache"))


def test_neutral_rows_aim_at_one_half(mixed):
    half = [0.5, 0.5]
    assert mixed.train_targets.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0], half, [0, 1], half, [1, 0]]
    assert mixed.train_sources.tolist() == [0] * 4 + [1] * 6
    assert mixed.human_texts == [b"fine x", b"awful y"] and mixed.human_labels.tolist() == [1, 0]  # no neutral one


def test_rows_weigh_by_class_source_and_neutrality(module, mixed, monkeypatch):
    for name, value in (("CLASS_BALANCE", 1.0), ("HUMAN_WEIGHT", 3.0)):
        monkeypatch.setattr(module, name, value)
    rows = np.arange(10)
    assert module.row_weights(mixed, rows) == pytest.approx([1] * 4 + [3, 3, 1.5, 3, 1.5, 3])
    train = np.array([0, 1, 2, *range(4, 10)])  # of the first source two positive, one negative: 1.5 / 2 and 1.5
    assert module.row_weights(mixed, train)[:4] == pytest.approx([0.75, 1.5, 0.75, 1.5])
    monkeypatch.setattr(module, "MADE_WEIGHT", 7.0)
    made = mixed._replace(train_sources=np.array([0] * 4 + [1, 1, 2, 2, 3, 3], np.int8))
    assert module.row_weights(made, rows) == pytest.approx([1] * 4 + [3, 3, 7, 7, 7, 7])


def test_what_is_counted_of_a_token(module, mixed, monkeypatch):
    """Neutral rows count for no class; a row as `evidence` says; what is negated for the other of two classes."""
    s = settings_for(module, blocks=50)
    texts, evidence = [*mixed.train_texts, b"not good"], np.array([1.0] * 10 + [0.5])
    codes, offsets = module.encode(texts, s)
    classes = np.append(module.classes_in(mixed.train_targets), 0)
    monkeypatch.setattr(module, "FACTOR", 0.75)
    count = lambda texts, number=2: module.count_tokens(codes, offsets[:texts + 1], classes, evidence, number, s)
    bucket = lambda word: module.encode([word], s)[0][0] >> 1
    counts = count(9)
    assert counts[bucket(b"good")].tolist() == [0, 2] and counts[bucket(b"one")].tolist() == [1, 1]
    assert counts[bucket(b"so")].tolist() == [0, 0] and counts[bucket(b"it")].tolist() == [0, 0]
    assert counts[bucket(b"awful")].tolist() == [1, 0]  # the tenth row is not among the first nine
    assert counts.sum() == 7 * 5  # each has two words and three pairs
    assert count(11)[bucket(b"good")].tolist() == [0, 2 + 0.75 * 0.5], "not good, of the first class"
    assert count(11)[bucket(b"not")].tolist() == [0.5, 0]
    assert count(11, 3)[bucket(b"good")].tolist() == [0, 2, 0], "of more than two there is no other one"


# Markers


def marked_rows(number, marked, seed=0):
    """Return (texts, classes): the word behind "feel so" says the class of four texts in five; if marked, two others mislead."""
    rng, words = np.random.default_rng(seed), [[f"{mood}{letter}" for letter in "abcd"] for mood in ("sad", "glad", "cross")]
    texts, classes = [], rng.integers(3, size=number)
    other = lambda: "".join(rng.choice(list("bdgklm"), 2))  # 36 words, none in a tenth of the texts
    for label in np.where(rng.random(number) < 0.8, classes, rng.integers(3, size=number)):
        sentences = [f"{'feel' if rng.random() < 0.9 else other()} so {rng.choice(words[label])}."]
        sentences += [f"{other()} so {rng.choice(words[rng.integers(3)])}." for _ in range(2 * marked)]
        texts.append(" ".join([*rng.permutation(sentences), f"day {other()}"]).encode())
    return texts, classes


def test_a_word_marks_what_is_behind_it_where_the_rows_say_so(module):
    texts, classes = marked_rows(3000, True)
    assert module.find_markers(texts, classes) == ("feel",)
    assert module.find_markers(*marked_rows(3000, False)) == (), "the words say it themselves"
    assert module.find_markers(texts, np.random.default_rng(1).permutation(classes)) == (), "no word says anything"
    assert module.find_markers(texts, np.minimum(classes, 1)) == (), "of two classes there are none"


def test_the_begin_of_a_text_marks_nothing(module):
    """Where the first word says the class and others mislead, as what readers look up in the markers is words."""
    rng, words = np.random.default_rng(0), ["sada sadb sadc".split(), "glada gladb gladc".split(), "crossa crossb crossc".split()]
    classes = rng.integers(3, size=2000)
    texts = [" ".join(rng.choice(words[each]) + "." for each in (label, *rng.integers(3, size=3))).encode() for label in classes]
    assert module.find_markers(texts, classes) == ()


def test_no_span_no_markers(module, monkeypatch):
    monkeypatch.setattr(module, "MARKING", 0)
    assert module.find_markers(*marked_rows(3000, True)) == ()


def test_markers_are_kept_in_the_file_and_used(tmp_path):
    """A run on rows in which only the word behind "feel" says the class: without its mark, 0.55 at best."""
    texts, classes = marked_rows(3000, True)
    rows = [(text.decode(), ("sad", "glad", "cross")[label]) for text, label in zip(texts, classes)]
    (tmp_path / "rows.csv").write_bytes(csv_bytes(rows))
    process = run_script(SCRIPTS["10kB"], "--TRAIN_URL", tmp_path / "rows.csv", "--OUTPUT_DIR", tmp_path / "out", "--CHAR_NGRAMS", "")
    assert process.returncode == 0, process.stderr
    assert b"feel" in (tmp_path / "out" / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["test_accuracy"] > 0.7


# Made rows


def test_without_people_s_labels_nothing_is_made(module, mixed, monkeypatch):
    monkeypatch.setattr(module, "read_lexicon", lambda: pytest.fail("read"))
    data, train = module.add_made_rows(mixed._replace(human_texts=None), np.arange(10))
    assert data.train_texts == mixed.train_texts and train.tolist() == list(range(10))


def test_made_rows_stand_behind_the_others(module, mixed):
    pytest.importorskip("vaderSentiment")
    train = np.array([0, 1, 4, 5])
    data, rows = module.add_made_rows(mixed, train)
    again, _ = module.add_made_rows(mixed, train)
    assert data.train_texts == again.train_texts and (data.train_targets == again.train_targets).all()
    assert data.train_texts[:10] == mixed.train_texts and (data.train_targets[:10] == mixed.train_targets).all()
    number = len(data.train_texts)
    assert rows.tolist() == [0, 1, 4, 5, *range(10, number)] and len(data.train_targets) == len(data.train_sources) == number
    assert data.train_targets.dtype == np.float32 and data.train_targets.sum(axis=1) == pytest.approx(1)
    assert data.train_sources.dtype == np.int8 and set(data.train_sources[10:].tolist()) == {2, 3}
    assert (data.test_texts, data.human_texts) == (mixed.test_texts, mixed.human_texts)
    made = dict(zip(data.train_texts[10:], zip(data.train_targets[10:, 1].tolist(), data.train_sources[10:].tolist())))
    assert made["😍".encode()] == (pytest.approx(0.8), 3) and made["😡".encode()][0] < 0.5 < made["❤".encode()][0]
    assert not [text for text in made if b"{" in text or b"}" in text or b"|" in text], "no frame is left unfilled"
    neutral = (data.train_targets[:, 1] == 0.5) & (data.train_sources == 2)
    assert neutral.sum() > 5000


def test_made_rows_teach_what_the_tweets_lack(runs, models, modules):
    """Emoji and words of the lexicon, of which no training row has one; with people's labels alone."""
    texts = ["😍".encode(), "😡".encode(), b"wonderful", b"not wonderful", b"horrible", b"not horrible"]
    love, anger, good, not_good, bad, not_bad = modules["10kB"].predict(models("two"), texts)[:, 1]
    assert anger < 0.5 < 0.6 < love and bad < 0.4 < 0.6 < good and not_good < 0.5 and bad < not_bad
    love, anger, *_ = modules["250kB"].predict(models("twin"), texts)[:, 1]
    assert love == anger


def test_a_made_row_says_what_its_word_is_rated_and_less_of_the_opposite_where_it_is_negated(module):
    made = module.make_rows({"good": 1.7, "bad": -2.2}, ["Anna"], [b"a good day"] * 5)
    plain = {word: {chance for text, chance, _ in made if text == word} for word in ("good", "bad", "not good", "not bad")}
    assert {word: [round(float(np.log(chance / (1 - chance))), 3) for chance in chances] for word, chances in plain.items()} == {
        "good": [1.7], "bad": [-2.2], "not good": [-1.71], "not bad": [1.41]}
    goods, bads = (sum(word in text.split() for text, _, source in made) for word in ("good", "bad"))
    assert goods > 2 * bads > 0, "as often as the root of how often they are"
    assert [text for text, chance, _ in made if "Anna" in text and chance != 0.5] == []


def test_the_lexicon_is_that_of_vader(module):
    sentiment = pytest.importorskip("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer().lexicon
    lexicon = module.read_lexicon()
    assert len(lexicon) > 5000 and all(word.isalpha() for word in lexicon)
    assert all(value == pytest.approx(0.9 * sentiment[word]) for word, value in lexicon.items())
    assert lexicon["good"] > 1 and lexicon["awful"] < -1


def test_names_are_changed_for_others(module):
    """What is written Xxxx inside sentences is a name; one stands for another, and nothing else moves."""
    texts = [b"we saw Anna and met Boris, yes"] * 10
    others = [b"well. Annable Great day", b"a great day"] * 20
    classes = np.array([0, 1, 1, 1, -1] * 10)
    changed, names = module.change_names(texts + others, classes)
    assert sorted(names) == ["Anna", "Boris"] and changed[10:] == others, "great is written small as often"
    assert {re.sub(rb"\b(Anna|Boris)\b", b"N", text) for text in changed[:10]} == {b"we saw N and met N, yes"}
    assert len(set(changed[:10])) >= 3 and module.change_names(texts + others, classes)[0] == changed
    assert module.change_names([b"no names here", b"\xff\xc3 odd"], classes) == ([b"no names here", b"\xff\xc3 odd"], [])


@pytest.mark.parametrize("source, scale", [(1, 0.35), (0, 1.0)])
def test_people_who_find_neutral_cool_the_probabilities(module, source, scale):
    """Two texts whose logits are 3 and -3, each clear to one person and neutral to another: 3/4 is likeliest, ln 3 is its logit."""
    model = module.TinyModel(np.float32([[3], [-3]]), 2, 1.0)
    model.embedding.weight.data.fill_(1)
    targets = np.array([[0, 1], [1, 0], [0.5, 0.5], [0.5, 0.5]])
    bags = module.make_bags(np.array([0, 2, 0, 2]), np.arange(5), np.array([True, True]), np.full(4, source), targets, np.ones(4))
    module.temper(model, bags, 0)
    assert model.pooling_scale == pytest.approx(scale)


def test_each_name_is_as_often_in_one_class_as_in_the_other(module):
    rng = np.random.default_rng(1)
    texts = [f"we saw {rng.choice(['Anna', 'Boris', 'Clara', 'David'])} there".encode() for _ in range(1000)]
    classes = (rng.random(1000) < 0.3).astype(int)
    changed, names = module.change_names(texts, classes)
    for name in names:
        inside = np.array([name.encode() in text for text in changed])
        assert abs(inside[classes == 1].mean() - inside[classes == 0].mean()) < 0.01, name


@pytest.mark.parametrize("count, names", [(1, ["Anna", "Boris"]), (2, ["Anna"]), (4, [])])
def test_a_name_is_written_like_one_so_often_and_oftener_than_in_small_letters(module, monkeypatch, count, names):
    monkeypatch.setattr(module, "NAME_COUNT", count)
    texts = [b"we saw Anna, then Anna", b"i met Anna and anna", b"i met Boris", b"Clara left", b"a Lovely day", b"a lovely day"]
    assert module.change_names(texts, np.zeros(len(texts), int))[1] == names


def test_a_missing_lexicon_is_one_line_before_the_training(runs, tmp_path):
    run = runs("two")
    (tmp_path / "vaderSentiment.py").write_text("raise ModuleNotFoundError('No module named vaderSentiment')\n")
    process = run_script(run.script, *run.arguments, "--OUTPUT_DIR", tmp_path / "out",
                         env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})
    assert_one_line(process, "a package is missing: python3 -m pip install vaderSentiment")
    assert tree(tmp_path / "out") == {} and b"epoch" not in process.stdout


# Biases


def test_the_saved_bias_is_peoples(module):
    """A source has a bias of its own; the file has the last one's."""
    import torch
    model = module.TinyModel(np.ones((2, 1), np.float32), 2, 1.0)
    model.bias.data = torch.tensor([[0.25], [-0.123456789]])
    model.quantise(np.array([[-1.0], [1.0]]))
    s = settings_for(module, value_bits=1, blocks=1)
    packed = module.finish(model, np.array([0, 16]), ("0", "1"), s)
    assert packed.bias.tolist() == [np.float32(-0.12346)]


# Measures


classes = st.integers(2, 6).flatmap(lambda number: st.tuples(st.just(number), st.lists(
    st.tuples(st.integers(0, number - 1), st.integers(0, number - 1)), min_size=1, max_size=40)))


@quiet
@given(case=classes)
def test_macro_f1_is_that_of_scikit_learn(module, case):
    metrics = pytest.importorskip("sklearn.metrics")
    number, pairs = case
    labels, found = np.array(pairs).T
    expected = metrics.f1_score(labels, found, average="macro", zero_division=0)
    assert module.macro_f1(labels, found, number) == pytest.approx(expected, abs=1e-12)


@quiet
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7).map(lambda n: n / 7)), min_size=2, max_size=60))
def test_area_under_curve_is_that_of_scikit_learn(module, rows):
    """Of eight different scores, so that many are tied."""
    metrics = pytest.importorskip("sklearn.metrics")
    labels, scores = np.array([label for label, _ in rows]), np.array([score for _, score in rows])
    labels[0], labels[-1] = 0, 1  # neither is defined without one of each
    assert module.area_under_curve(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("scores, area", [([0.1, 0.2, 0.8, 0.9], 1), ([0.9, 0.8, 0.2, 0.1], 0), ([0.5] * 4, 0.5),
                                          ([0.1, 0.6, 0.5, 0.9], 0.75), ([0.5, 0.1, 0.5, 0.9], 0.875)])
def test_area_under_curve_by_hand(module, scores, area):
    assert module.area_under_curve(np.array([0, 0, 1, 1]), np.array(scores)) == area
