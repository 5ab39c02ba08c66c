"""Project2, the variant tiny: fewer layers, a vocabulary that is cut, and what students learn from."""
import copy
import json
import shutil
from pathlib import Path

import pytest

from conftest import assert_one_line, csv_bytes, made_rows
from project2 import EXACT, SETTINGS, assert_good, each, quick, quick_compression

import numpy as np
import tokenizers
import torch
import transformers
from hypothesis import given, settings, strategies

from classifier.compression import variants as making
from classifier.compression.students import keep_layers, mixed_texts
from classifier.compression.vocabulary import cut_vocabulary
from classifier.encoder import read_first_token
from classifier.loading import load_checkpoint
from classifier.prediction import predict_logits
from classifier.text import encode

pytest_plugins = ["project2"]


@each
def test_tiny_has_the_pieces_of_its_texts_and_splits_unseen_words(loaded, variants, data, name):
    _, tokenizer, found = load_checkpoint(SETTINGS, variants[name].rows["tiny"]["folder"])
    _, whole, _ = loaded[name]
    seen = [text for text, _ in data.train]
    pieces = [[tokenizer.convert_ids_to_tokens(row) for row in encode(tokenizer, seen, found)],
              [whole.convert_ids_to_tokens(row) for row in encode(whole, seen, found)]]
    assert pieces[0] == pieces[1]
    config = json.loads((Path(variants[name].rows["tiny"]["folder"]) / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer.get_vocab()) == max(tokenizer.get_vocab().values()) + 1
    known = {letter for letter in set("".join(seen)) - {" "}
             if whole.unk_token_id not in encode(whole, [letter, letter * 3], found)[1]}  # within a word, too
    letters = sorted(known)
    unseen = "".join(np.random.default_rng(0).choice(letters, 30))
    tokens = tokenizer.convert_ids_to_tokens(encode(tokenizer, [unseen], found)[0])
    assert len(tokens) > 5 and tokenizer.unk_token not in tokens, "a word that no text has falls into pieces"
    for special in ("pad_token_id", "cls_token_id", "sep_token_id"):
        token = getattr(whole, special.removesuffix("_id"))
        assert tokenizer.convert_ids_to_tokens(getattr(tokenizer, special)) == token


@each
def test_a_cut_vocabulary_changes_no_logit_of_the_texts_that_it_was_cut_to(loaded, data, name):
    model, tokenizer, found = loaded[name]
    texts = [text for text, _ in data.train[:30]]
    student = copy.deepcopy(model)
    cut = cut_vocabulary(student, tokenizer, texts, found, 1)
    assert np.allclose(predict_logits(student, cut, texts, found), predict_logits(model, tokenizer, texts, found),
                       atol=1e-4)
    assert student.num_parameters() < model.num_parameters() == sum(part.numel() for part in model.parameters())
    more = cut_vocabulary(copy.deepcopy(model), tokenizer, texts, found, len(cut) + 20)
    assert {*cut.get_vocab()} < {*more.get_vocab()}, "few texts keep the commonest pieces besides their own"


@settings(max_examples=30, deadline=None)
@given(words=strategies.lists(strategies.text("abcdeфя é#@", min_size=1, max_size=8), min_size=1, max_size=20))
def test_any_vocabulary_of_word_pieces_is_cut_to_the_same_pieces(loaded, words):
    model, tokenizer, found = loaded["MiniLM"]
    texts = [text for text in map(" ".join, zip(words, reversed(words))) if text.strip()] or ["a"]
    student = copy.deepcopy(model)
    cut = cut_vocabulary(student, tokenizer, texts, found, 1)
    assert [cut.convert_ids_to_tokens(row) for row in encode(cut, texts, found)] == [
        tokenizer.convert_ids_to_tokens(row) for row in encode(tokenizer, texts, found)]


@pytest.mark.parametrize("number, kept", [(1, [5]), (2, [2, 5]), (3, [1, 3, 5]), (4, [0, 2, 3, 5]), (6, [0, 1, 2, 3, 4, 5]),
                                          (9, None)])
def test_the_layers_that_are_kept_are_spread_evenly_and_the_last_is_among_them(number, kept):
    config = transformers.BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=6, num_attention_heads=2,
                                     intermediate_size=32)
    model = read_first_token(transformers.BertForSequenceClassification(config))
    for place, layer in enumerate(model.bert.encoder.layer):
        torch.nn.init.constant_(layer.output.dense.bias, place)
    student = keep_layers(model, number)
    found = [int(layer.output.dense.bias[0]) for layer in student.bert.encoder.layer]
    assert found == (kept or list(range(6))) and student.config.num_hidden_layers == len(found)
    assert model.config.num_hidden_layers == 6 and len(model.bert.encoder.layer) == 6, "the original stays whole"


# What students learn from


def test_students_ask_for_the_rows_that_the_model_was_trained_on(call, families, data, tmp_path):
    """The default file is another model's: its labels would be taken for this model's."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes(made_rows(60, 3)))
    result = call("--mode", "compress", "--weights", families["MiniLM"].best, "--val", data.val_path, *EXACT,
                  change=lambda patch: (quick_compression(patch),
                                        [patch.delitem(making.VARIANTS, variant) for variant in set(making.VARIANTS)
                                         - {"tiny", "pruned"}]))
    assert_good(result)
    rows = {row["variant"]: row for row in json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]}
    assert rows["tiny"]["status"] == "not run" and "--train" in rows["tiny"]["reason"]
    assert "note: pruned without training afterwards" in result.out and rows["pruned"]["status"] == "measured"
    saved = json.loads((Path(rows["pruned"]["folder"]) / "emotion_classifier.json").read_text())
    assert saved["trained_after_pruning"] == 0


def test_a_fault_in_the_training_after_pruning_is_no_note(call, families, data, tmp_path):
    """It was taken for missing rows, and the variant was left untrained."""
    def change(patch):
        quick_compression(patch)
        patch.setattr(making, "distil", lambda *_: {}["a fault"])

    result = call("--mode", "compress", "--technique", "prune", "--weights", families["MiniLM"].best, *data.paths, *EXACT,
                  change=change)
    assert_good(result)
    _, row = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"]
    assert row["status"] == "not run" and "a fault" in row["reason"] and "note: pruned" not in result.out


def test_a_file_named_train_csv_is_taken_where_it_is_the_one_that_the_model_was_trained_on(call, families, data, tmp_path):
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "train.csv").write_bytes((data.folder / "train.csv").read_bytes())
    result = call("--mode", "compress", "--technique", "tiny", "--weights", families["MiniLM"].best, "--val", data.val_path,
                  *EXACT, change=quick_compression)
    assert_good(result)
    assert "learning from 299 texts of train.csv" in result.out and "not run" not in result.out


def test_another_file_of_that_name_is_not_taken_for_the_default_one(call, families, data, tmp_path):
    """The folder of a model of the default data, and a train.csv of the user's own in the working folder."""
    folder = shutil.copytree(families["MiniLM"].best, tmp_path / "model")
    saved = json.loads((folder / "emotion_classifier.json").read_text())
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "train.csv").write_bytes((data.folder / "train.csv").read_bytes())
    for known in ({"dataset": "emotion (CARER)"}, {"dataset": "emotion (CARER)", "train_sha256": "ab" * 32}):
        saved.pop("train_sha256", None)
        (folder / "emotion_classifier.json").write_text(json.dumps(saved | known))
        assert_good(call("--mode", "compress", "--technique", "tiny", "--weights", folder, "--val", data.val_path, *EXACT,
                         change=quick_compression))
        row = json.loads((tmp_path / "out" / "compression.json").read_text())["variants"][-1]
        assert row["status"] == "not run" and "--train" in row["reason"]


def test_students_learn_from_no_text_of_the_validation_set(call, families, data, tmp_path):
    both = tmp_path / "both.csv"
    both.write_bytes(csv_bytes(data.train[:40] + data.val))
    arguments = ["--mode", "compress", "--technique", "tiny", "--weights", families["MiniLM"].best,
                 "--val", data.val_path, *EXACT]
    result = call(*arguments, "--train", both, change=quick_compression)
    assert_good(result)
    assert "learning from 40 texts" in result.out
    other = tmp_path / "other.csv"
    other.write_bytes(csv_bytes([("a text", "fury"), ("another", "joy")]))
    assert_one_line(call(*arguments, "--train", other, change=quick_compression), other, "fury")


def test_a_student_comes_to_say_what_its_teacher_says(call, short, tmp_path):
    rows, val = made_rows(240, 1), made_rows(120, 2)
    assert_good(call(*short(rows, val), "--LEARNING_RATE", 0.005, "--HEAD_RATE", 1, "--epochs", 10, *EXACT, change=quick))
    best = tmp_path / "out" / "best_MiniLM"
    assert_good(call("--mode", "compress", "--technique", "tiny", "--weights", best, *short(rows, val), *EXACT,
                     "--tiny_layers", 1, "--learning_rate", 0.002, "--tiny_epochs", 8, change=quick_compression))
    teacher, tokenizer, found = load_checkpoint(SETTINGS, str(best))
    student, pieces, its = load_checkpoint(SETTINGS, str(tmp_path / "out" / "best_MiniLM_tiny"))
    texts = [text for text, _ in val]
    said = [torch.tensor(logits).log_softmax(1) for logits in (
        predict_logits(teacher, tokenizer, texts, found), predict_logits(student, pieces, texts, its),
        predict_logits(keep_layers(teacher, 1), tokenizer, texts, found))]
    learned, before = ((said[0].exp() * (said[0] - other)).sum(1).mean() for other in said[1:])
    assert learned < 0.5 * before, "the divergence from the teacher, against that of the layers as they are cut out"


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.text("abc é", min_size=1).filter(str.strip), min_size=1, max_size=9),
       strategies.integers(0, 40))
def test_mixed_texts_are_of_the_words_of_the_others(texts, number):
    mixed = mixed_texts(SETTINGS, texts, number)
    words = {word for text in texts for word in text.split()}
    assert len(mixed) == number and all(text.strip() and set(text.split()) <= words for text in mixed)
    assert mixed == mixed_texts(SETTINGS, texts, number)


def test_a_vocabulary_of_sentencepiece_is_cut_too(data):
    """A Unigram model: a list of pieces and their probabilities, as XLM-RoBERTa, ALBERT and DeBERTa have it."""
    texts = [text for text, _ in data.train]
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    unigram = tokenizers.Tokenizer(tokenizers.models.Unigram())
    unigram.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    unigram.train_from_iterator(texts, tokenizers.trainers.UnigramTrainer(
        vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False))
    unigram.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", model_max_length=128)
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=32, pad_token_id=0)
    student = read_first_token(transformers.BertForSequenceClassification(config)).eval()
    given = {"family": "", "normalisation": "none", "max_length": 128}
    cut = cut_vocabulary(student, tokenizer, texts[:30], given, 1)
    assert len(cut) < len(tokenizer) and student.config.vocab_size == len(cut)
    for row in range(30):
        assert cut.convert_ids_to_tokens(encode(cut, texts[row:row + 1], given)[0]) == tokenizer.convert_ids_to_tokens(
            encode(tokenizer, texts[row:row + 1], given)[0])
    unseen = cut.convert_ids_to_tokens(encode(cut, ["zqxjkvwy"], given)[0])
    assert len(unseen) > 5 and (set("zqxjkvwy") - set("".join(texts)) or "<unk>" not in unseen)
