"""The tiny models' parts: ratios, the model, what is kept, the codebook, the table; and a toy that can be followed by hand."""
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tiny import assert_equal_models, quiet, random_model

pytest_plugins = ["tiny"]

packings = st.fixed_dictionaries(dict(
    seed=st.integers(0, 10**6), entries=st.integers(1, 64), blocks=st.integers(1, 4), fingerprint=st.integers(0, 8),
    value=st.integers(1, 8), fill=st.floats(0, 1), labels=st.sampled_from([("0", "1"), ("a", "é", "c")])))


@quiet
@given(options=packings)
def test_what_was_packed_comes_out(module, options):
    model, rows = random_model(module, **options)
    assert model.table.shape == (model.settings.blocks * model.settings.block_bytes,)
    kept = {bucket for bucket, row in rows.items() if model.steps[row].any()}
    assert set(np.flatnonzero(model.weights.any(axis=1)).tolist()) == kept
    assert set(np.flatnonzero(model.taken).tolist()) == {bucket >> model.settings.fingerprint_bits for bucket in kept}
    for bucket in kept:
        assert (model.weights[bucket] == model.steps[rows[bucket]]).all()


@quiet
@given(options=packings, chars=st.sampled_from([(), (4,), (3, 5)]), words=st.sampled_from([(), (1,), (1, 2, 3)]),
       skip=st.booleans())
def test_load_gives_what_was_serialised(module, tmp_path_factory, options, chars, words, skip):
    assume(chars or words or skip)
    model, _ = random_model(module, chars=chars, words=words, skip=skip, max_length=77, negation=2, **options)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    path.write_bytes(module.serialise(model))
    loaded = module.load_model(str(path))
    assert_equal_models(loaded, model)
    assert module.serialise(loaded) == module.serialise(model)


def test_log_count_ratios_are_those_of_the_formula(module, monkeypatch):
    """Two classes give one column; smoothing is shared out by the classes' shares, so what says nothing weighs nothing."""
    monkeypatch.setattr(module, "SMOOTHING", 2.0)
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
    s = module.Settings(512, (1,), False, (), 0, entries, 2, 4, 2)
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


@pytest.mark.parametrize("columns, width", [(1, 0), (1, 5), (3, 0)])
def test_the_forward_pass_is_embedding_pooling_and_linear(module, monkeypatch, columns, width):
    """On the folded table it gives what the layers give one by one."""
    import torch

    monkeypatch.setattr(module, "EMBEDDING_DIM", width)
    torch.manual_seed(0)
    ratios = np.random.default_rng(0).normal(size=(4, columns)).astype(np.float32)
    model = module.TinyModel(ratios, 2, 3.0)
    texts = [[0, 1, 1], [], [3, 2]]
    counts, sources = torch.tensor([4.0, 2.0, 5.0]), torch.tensor([0, 1, 1])
    model.bias.data.normal_()
    bags = module.Bags(torch.tensor(sum(texts, []), dtype=torch.int32), torch.tensor([0, 3, 3, 5], dtype=torch.int32),
                       counts, sources, torch.zeros(3, 2), torch.ones(3))
    logits = model(bags)
    for logit, text, count, source in zip(logits, texts, counts, sources):
        scaled = sum((model.linear(model.embedding.weight[token]) * torch.tensor(ratios[token]) for token in text),
                     torch.zeros(columns))
        assert logit.detach() == pytest.approx((scaled * 3.0 / count.sqrt() + model.bias[source]).detach(), abs=1e-5)
    logits.sum().backward()
    assert model.embedding.weight.grad.shape == model.embedding.weight.shape


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
    """Six texts of one or two words; their counts, ratios, kept tokens, and the bytes of the table, as one can compute them.

    "good" is three times in positive texts, "bad" three times in negative ones, "day" once in both.
    """
    texts = [b"good", b"good", b"good day", b"bad", b"bad", b"bad day"]
    targets = np.eye(2, dtype=np.float32)[[1, 1, 1, 0, 0, 0]]
    # One block: 64 slots, two entries, a bit of fingerprint, a bit of value
    s = module.Settings(512, (1,), False, (), 0, 2, 1, 1, 1)
    assert s.buckets == 128 and s.block_bytes == (64 + 2 * 2 + 7) // 8 == 9
    buckets, offsets = module.encode(texts, s)
    assert np.diff(offsets).tolist() == [3, 3, 4, 3, 3, 4]  # the marks of begin and end are tokens too
    bucket = {word: int(buckets[offsets[i] + j]) for word, i, j in (
        ("good", 0, 1), ("bad", 3, 1), ("day", 2, 2), ("<s>", 0, 0), ("</s>", 0, 2))}
    assert len(set(bucket.values())) == 5
    counts = module.count_tokens(buckets, offsets, module.classes_in(targets), (s.buckets, 2))
    assert {word: counts[place].tolist() for word, place in bucket.items()} == {
        "good": [0, 3], "bad": [3, 0], "day": [1, 1], "<s>": [3, 3], "</s>": [3, 3]}

    monkeypatch.setattr(module, "SMOOTHING", 2.0)  # one for each class, since both have ten tokens
    seen = np.array(sorted(bucket.values()))
    ratios = dict(zip(seen.tolist(), module.log_count_ratios(counts[seen])[:, 0]))
    assert ratios[bucket["good"]] == pytest.approx(math.log(4 / 1), abs=1e-6)  # (3 + 1) to (0 + 1), of 15 each
    assert ratios[bucket["bad"]] == pytest.approx(-math.log(4), abs=1e-6)
    assert ratios[bucket["day"]] == ratios[bucket["<s>"]] == 0

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

    model = module.Packed(s, ("negative", "positive"), 0.01, np.zeros(1, np.float32), np.array([[-100], [100]], np.int8), table)
    good, bad, day = module.predict(model, [b"good", b"bad", b"day"])[:, 1]
    assert good == pytest.approx(1 / (1 + math.exp(-0.01 * 100 / math.sqrt(3))))
    assert bad == pytest.approx(1 - good) and day == 0.5
