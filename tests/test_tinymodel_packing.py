"""The tiny models' parts: ratios, the model, what is kept, the codebook, the table; and a toy that can be followed by hand."""
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny import assert_equal_models, quiet, random_model, settings_for

pytest_plugins = ["tiny"]

packings = st.fixed_dictionaries(dict(
    seed=st.integers(0, 10**6), entries=st.integers(1, 64), blocks=st.integers(1, 4), fingerprint=st.integers(0, 8),
    value=st.integers(1, 8), fill=st.floats(0, 1), labels=st.sampled_from([("0", "1"), ("a", "é", "c")])))


@quiet
@given(options=packings)
def test_what_was_packed_comes_out(module, options):
    model, rows = random_model(module, **options)
    assert model.table.shape == (model.settings.blocks * model.settings.block_bytes,)
    expected = np.zeros(model.settings.buckets, int)
    expected[list(rows)] = [row + 1 for row in rows.values()]
    assert (model.rows == expected).all()


@quiet
@given(options=packings, chars=st.sampled_from([(), (4,), (3, 5)]), factor=st.integers(-112, 112),
       markers=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4).map(tuple))
def test_load_gives_what_was_serialised(module, tmp_path_factory, options, chars, factor, markers):
    model, _ = random_model(module, chars=chars, max_length=77, negation=2, marking=9, factor=factor, markers=markers, **options)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    path.write_bytes(module.serialise(model))
    loaded = module.load_model(str(path))
    assert_equal_models(loaded, model)
    assert module.serialise(loaded) == module.serialise(model)


def test_the_description_is_json_of_a_version(module, tmp_path):
    """What another reader of the file needs: version, settings, labels, factor, scale, bias, in this order."""
    model, _ = random_model(module, 1, ("bad", "gut \u00e9"), markers=("feel",), factor=-7, chars=(3, 5))
    (tmp_path / "model").write_bytes(module.serialise(model))
    with module.safe_open(str(tmp_path / "model"), "np") as file:
        checksum, description = file.metadata()["tinymodel"].split(" ", 1)
    assert len(checksum) == 8 and json.loads(description) == [
        6, [512, [3, 5], False, 3, 3, ["feel"], 8, 4, 4], ["bad", "gut \u00e9"], -7, 0.0123, [float(f"{model.bias[0]:.5g}")]]


def test_log_count_ratios_are_those_of_the_formula(module):
    """Two classes give one column; smoothing is shared out by the classes' shares, so what says nothing weighs nothing."""
    counts = np.array([[3, 1], [0, 4], [5, 5], [4, 2]])
    share = np.array([12, 12]) / 24
    negative, positive = (counts + 2 * share).T
    expected = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    assert module.log_count_ratios(counts)[:, 0] == pytest.approx(expected, abs=1e-6)
    rare = module.log_count_ratios(np.array([[2, 0, 0], [1000, 10, 1], [998, 990, 1], [0, 0, 0]]))
    assert rare.shape == (4, 3) and rare[3] == pytest.approx([0, 0, 0], abs=0.1)


@quiet
@given(scores=st.dictionaries(st.integers(0, 2 * 64 * 4 - 1), st.integers(0, 5), min_size=1, max_size=200),
       entries=st.integers(1, 64))
def test_choose_entries_takes_the_best_that_fit(module, scores, entries):
    s = settings_for(module, entries=entries, fingerprint_bits=2, blocks=2)
    buckets = np.array(sorted(scores))
    chosen = module.choose_entries(buckets, np.array([float(scores[b]) for b in buckets.tolist()]), s)
    rank = lambda bucket: (-scores[bucket], bucket)
    best = {}
    for bucket in scores:
        best[bucket // 4] = min(best.get(bucket // 4, bucket), bucket, key=rank)
    expected = []
    for block in range(2):
        expected += sorted((b for slot, b in best.items() if slot // 64 == block), key=rank)[:entries]
    assert buckets[chosen].tolist() == sorted(expected)


@pytest.mark.parametrize("centres", [[[-2.0], [-0.5], [0.25], [1.0]], [[-2.0, 1, 0], [0, 0, 3], [1, 1, 1], [-1, 2, -1]]])
def test_choose_codebook_finds_the_clusters(module, centres):
    rng, centres = np.random.default_rng(0), np.array(centres)
    weights = np.repeat(centres, 50, axis=0) + rng.normal(0, 1e-3, (200, centres.shape[1]))
    steps, step = module.choose_codebook(weights.astype(np.float32), np.ones(200), 4)
    assert steps.dtype == np.int8 and np.abs(steps).max() == 127
    for centre in centres:
        assert np.abs(steps * step - centre).max(axis=1).min() <= step
    again = module.choose_codebook(weights.astype(np.float32), np.ones(200), 4)
    assert (again[0] == steps).all() and again[1] == step


@quiet
@given(weights=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80), bits=st.integers(1, 8),
       seed=st.integers(0, 9))
def test_levels_of_one_column_ascend_within_the_weights(module, weights, bits, seed):
    counts = np.random.default_rng(seed).integers(1, 50, len(weights))
    steps, step = module.choose_codebook(np.array(weights, np.float32)[:, None], counts, 1 << bits)
    assert steps.shape == (1 << bits, 1) and step > 0 and (np.diff(steps[:, 0].astype(int)) >= 0).all()
    assert min(weights) - step <= steps.min() * step and steps.max() * step <= max(weights) + step


@pytest.mark.parametrize("columns", [1, 3])
def test_the_forward_pass_is_embedding_pooling_and_linear(module, columns):
    """On the folded table it gives what the layers give one by one; what is negated counts -factor times."""
    import torch

    torch.manual_seed(0)
    ratios = np.random.default_rng(0).normal(size=(4, columns)).astype(np.float32)
    model = module.TinyModel(ratios, 2, 3.0)
    texts = [[(0, 0), (1, 1), (2, 0)], [], [(3, 1), (2, 1)]]  # each token, and whether it is negated
    codes, sources = [2 * token + negated for text in texts for token, negated in text], torch.tensor([0, 1, 1])
    model.bias.data.normal_()
    model.factor.data.fill_(0.625)
    bags = module.Bags(torch.tensor(codes, dtype=torch.int32), torch.tensor([0, 3, 3, 5], dtype=torch.int32), sources,
                       torch.zeros(3, 2), torch.ones(3))
    logits = model(bags)[:, -columns:]  # of two classes the first one's is 0
    for logit, text, source in zip(logits, texts, sources):
        scaled = sum((model.linear(model.embedding.weight[token]) * torch.tensor(ratios[token]) * (-0.625 if negated else 1)
                      for token, negated in text), torch.zeros(columns))
        assert logit.detach() == pytest.approx((scaled * 3.0 / max(1, len(text)) ** 0.5 + model.bias[source]).detach(), abs=1e-5)
    logits[2].sum().backward()
    assert model.embedding.weight.grad.shape == model.embedding.weight.shape
    assert model.factor.grad.item() != 0, "it is learned"


def test_the_factor_is_stored_as_it_is_trained_with(module, monkeypatch):
    """Behind the full vocabulary it is rounded to sixteenths within seven, and kept; that is what the file has."""
    for factor, sixteenths in ((0.7, 11), (-0.3, -5), (9.0, 112), (-50.0, -112)):
        import torch
        full = module.TinyModel(np.ones((2, 1), np.float32), 1, 1.0)
        full.factor.data.fill_(factor)
        s = settings_for(module, blocks=1, value_bits=1)
        model, chosen = module.prune(full, np.array([0, 16]), np.array([2, 2]), np.ones((2, 1), np.float32), s)
        assert chosen.all() and not model.factor.requires_grad and model.factor.item() == sixteenths / 16
        model.quantise(np.array([[-1.0], [1.0]]))
        assert module.finish(model, np.array([0, 16]), ("0", "1"), s).factor == sixteenths
        assert torch.equal(full.factor.data, torch.tensor(factor))


def test_the_gradient_of_pooling_is_that_of_embedding_bag(module):
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    tokens, offsets = torch.randint(0, 7, (20,), dtype=torch.int32), torch.tensor([0, 5, 5, 20], dtype=torch.int32)
    gradients = []
    for pool in (module.Pool.apply, lambda w, t, o: F.embedding_bag(t, w, o, mode="sum", include_last_offset=True)):
        weights = torch.linspace(-1, 1, 14).reshape(7, 2).requires_grad_()
        (pool(weights, tokens, offsets) ** 2).sum().backward()
        gradients.append(weights.grad)
    assert torch.allclose(*gradients)


# A toy


def test_a_toy_by_hand(module, monkeypatch):
    """Six texts of one word or three; their counts, ratios, kept tokens, and the bytes of the table, as one can compute them.

    "good" is three times in positive texts, "bad" three times in negative ones, "day" once in both.
    """
    texts = [b"good", b"good", b"day good day", b"bad", b"bad", b"day bad day"]
    targets = np.eye(2, dtype=np.float32)[[1, 1, 1, 0, 0, 0]]
    # One block: 64 slots, two entries, a bit of fingerprint, a bit of value
    s = settings_for(module, negation=0, entries=2, fingerprint_bits=1, value_bits=1, blocks=1)
    assert s.buckets == 128 and s.block_bytes == (64 + 2 * 2 + 7) // 8 == 9
    codes, offsets = module.encode(texts, s)
    assert np.diff(offsets).tolist() == [3, 3, 6, 3, 3, 6] and not (codes & 1).any()  # words, and pairs with begin and end
    bucket = {word: int(codes[offsets[i] + j]) >> 1 for word, i, j in (
        ("good", 0, 0), ("<s> good", 0, 1), ("good </s>", 0, 2), ("bad", 3, 0), ("<s> bad", 3, 1), ("bad </s>", 3, 2),
        ("day", 2, 0), ("<s> day", 2, 1), ("day good", 2, 3), ("good day", 2, 4), ("day </s>", 2, 5), ("day bad", 5, 3),
        ("bad day", 5, 4))}
    assert len(set(bucket.values())) == 13
    counts = module.count_tokens(codes, offsets, module.classes_in(targets), np.ones(6), 2, s)
    assert {word: counts[place].tolist() for word, place in bucket.items()} == {
        "good": [0, 3], "<s> good": [0, 2], "good </s>": [0, 2], "bad": [3, 0], "<s> bad": [2, 0], "bad </s>": [2, 0],
        "day": [1, 1], "<s> day": [1, 1], "day good": [0, 1], "good day": [0, 1], "day </s>": [1, 1], "day bad": [1, 0],
        "bad day": [1, 0]}

    # Two more in all are one for each class, since both have as many tokens
    seen = np.array(sorted(bucket.values()))
    ratios = dict(zip(seen.tolist(), module.log_count_ratios(counts[seen])[:, 0]))
    assert ratios[bucket["good"]] == pytest.approx(math.log(4 / 1), abs=1e-6)  # (3 + 1) to (0 + 1), of 25 each
    assert ratios[bucket["bad"]] == pytest.approx(-math.log(4), abs=1e-6)
    assert ratios[bucket["day"]] == ratios[bucket["day </s>"]] == 0

    scores = np.array([abs(ratios[place]) * counts[place].sum() for place in seen.tolist()])
    chosen = seen[module.choose_entries(seen, scores, s)]
    assert sorted(chosen.tolist()) == sorted([bucket["good"], bucket["bad"]])
    rows = np.array([int(place == bucket["good"]) for place in sorted(chosen.tolist())])  # row 1 is +100, row 0 is -100
    table = module.pack(np.sort(chosen), rows, s)

    expected = 0
    for place in chosen.tolist():
        expected |= 1 << (place >> 1)  # a bit a slot
    for i, (place, row) in enumerate(zip(sorted(chosen.tolist()), rows.tolist())):
        expected |= (row | (place & 1) << 1) << (64 + 2 * i)  # its row, then the fingerprint
    assert bytes(table) == expected.to_bytes(9, "little")

    steps = np.array([[-100], [100]], np.int8)
    model = module.Packed(s, ("negative", "positive"), 16, 0.01, np.zeros(1, np.float32), steps, table)
    good, bad, day = module.predict(model, [b"good", b"bad", b"day"])[:, 1]
    assert good == pytest.approx(1 / (1 + math.exp(-0.01 * 100)))  # one token is known
    assert bad == pytest.approx(1 - good) and day == 0.5
