"""Thresholds from histograms: what sorting all confidences would give, for each policy."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wss.errors import UserError
from wss.methods.dars.class_quotas import distribution, quotas
from wss.methods.dars.confidence import histogram
from wss.methods.dars.policies import Selection, select

NUM_CLASSES = 3


def pixels(seed: int, num_levels: int, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Returns random predictions and confidences; few levels make many ties, and some classes may be absent."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0x3400, 0x3C01, num_levels).astype(np.uint16).view(np.float16)
    classes = rng.choice(NUM_CLASSES, rng.integers(1, NUM_CLASSES + 1), replace=False)
    return rng.choice(classes, size).astype(np.uint8), rng.choice(levels, size)


def descending(prediction: np.ndarray, confidence: np.ndarray) -> list[np.ndarray]:
    return [np.sort(confidence[prediction == j])[::-1] for j in range(NUM_CLASSES)]


def check_counts(selection: Selection, of_class: list[np.ndarray]) -> None:
    """Counts by comparing confidences one by one."""
    thresholds = selection.thresholds
    np.testing.assert_array_equal(selection.available, [len(u) for u in of_class])
    np.testing.assert_array_equal(
        selection.candidates, [(u >= t).sum() for u, t in zip(of_class, thresholds, strict=True)]
    )
    np.testing.assert_array_equal(selection.above, [(u > t).sum() for u, t in zip(of_class, thresholds, strict=True)])


random_pixels = st.builds(pixels, st.integers(0, 10_000), st.sampled_from([1, 2, 5, 2000]))
alphas = st.sampled_from([0, 0.003, 0.1, 0.29, 0.5, 0.9, 1])
random_shares = st.lists(st.integers(0, 5), min_size=NUM_CLASSES, max_size=NUM_CLASSES).filter(any).map(np.array)


def test_dars_by_hand():
    """Class 0 wants 2 of .9 .8 .8 .5: t = .8, 3 candidates, 1 above. Class 1 wants 3 and has 2. Class 2 has none."""
    prediction = np.array([0, 0, 0, 0, 1, 1], np.uint8)
    confidence = np.array([0.9, 0.8, 0.8, 0.5, 0.5, 0.25], np.float16)
    shares = np.array([2, 3, 1]) / 6
    selection = select("dars", histogram(prediction, confidence, 3), alpha=1, distribution=shares)
    np.testing.assert_array_equal(selection.quotas, [2, 3, 1])
    np.testing.assert_array_equal(selection.thresholds, np.array([0.8, 0.25, np.nan], np.float16))
    np.testing.assert_array_equal(selection.candidates, [3, 2, 0])
    np.testing.assert_array_equal(selection.above, [1, 1, 0])
    np.testing.assert_array_equal(selection.available, [4, 2, 0])
    np.testing.assert_array_equal(selection.kept, [2, 2, 0])
    np.testing.assert_allclose(selection.sampling_rates, [2 / 3, 1, 0])
    np.testing.assert_array_equal(selection.pool, [3, 0, 0])
    np.testing.assert_array_equal(selection.drawn, [2, 0, 0])


def test_ties_are_drawn_from_those_at_the_threshold():
    prediction, confidence = np.zeros(4, np.uint8), np.array([0.9, 0.8, 0.8, 0.5], np.float16)
    counts = histogram(prediction, confidence, 1)
    selection = select("dars", counts, alpha=0.5, distribution=np.array([1.0]), sample="ties")
    assert (selection.pool, selection.drawn, selection.kept) == (2, 1, 2)


@settings(max_examples=200)
@given(random_pixels, alphas, random_shares)
def test_thresholds_of_da_are_those_of_sorting(images, alpha, shares):
    of_class = descending(*images)
    selection = select("da", histogram(*images, NUM_CLASSES), alpha=alpha, distribution=shares)
    wanted = quotas(alpha, shares, len(images[0]))
    for n, u, threshold in zip(wanted, of_class, selection.thresholds, strict=True):
        rank = min(n, len(u))
        np.testing.assert_equal(threshold, u[rank - 1] if rank else np.float16(np.nan))
    check_counts(selection, of_class)
    np.testing.assert_array_equal(selection.kept, selection.candidates)
    assert not selection.pool.any()


@settings(max_examples=200)
@given(random_pixels, alphas)
def test_thresholds_of_cbst_are_those_of_the_reference(images, alpha):
    """The entry -int(M_j alpha) - 1 of the ascending confidences; where that is before the first, the first."""
    of_class = descending(*images)
    selection = select("cbst", histogram(*images, NUM_CLASSES), alpha=alpha)
    for u, threshold in zip(of_class, selection.thresholds, strict=True):
        if alpha == 0 or not len(u):
            assert np.isnan(threshold)
        else:
            top = len(u) * round(alpha * 1000) // 1000
            assert threshold == u[::-1][max(-top - 1, -len(u))]
    check_counts(selection, of_class)


@settings(max_examples=200)
@given(random_pixels, alphas)
def test_a_threshold_matched_to_alpha_is_that_of_sorting(images, alpha):
    selection = select("threshold", histogram(*images, NUM_CLASSES), alpha=alpha)
    rank = quotas(alpha, np.array([1]), len(images[0]))[0]
    if rank:
        threshold = np.sort(images[1])[-rank]
        kept = [((images[0] == j) & (images[1] >= threshold)).sum() for j in range(NUM_CLASSES)]
        assert all(t == threshold for t, k in zip(selection.thresholds, kept, strict=True) if k)
    else:
        kept = [0, 0, 0]
    np.testing.assert_array_equal(selection.kept, kept)
    check_counts(selection, descending(*images))


@pytest.mark.parametrize(("threshold", "expected"), [(0, 5), (0.5, 4), (0.9599, 3), (0.96, 2), (0.961, 1), (1, 1)])
def test_a_fixed_threshold_is_not_rounded_to_fp16(threshold, expected):
    """The fp16 numbers next to .96 are .95996 and .96045."""
    confidence = np.array([0.25, 0.5, 0.95996, 0.9604, 1], np.float16)
    selection = select("threshold", histogram(np.zeros(5, np.uint8), confidence, 2), threshold=threshold)
    np.testing.assert_array_equal(selection.kept, [expected, 0])
    np.testing.assert_array_equal(selection.sampling_rates, [1, 0])


def test_oracle_2_a_deficit_goes_to_no_other_class():
    """Quotas (30, 35), but only 20 pixels of class 1."""
    prediction = np.repeat(np.array([0, 1], np.uint8), [80, 20])
    confidence = np.ones(100, np.float16)
    counts = histogram(prediction, confidence, 2)
    selection = select("dars", counts, alpha=0.65, distribution=np.array([30, 35]))
    np.testing.assert_array_equal(selection.quotas, [30, 35])
    np.testing.assert_array_equal(selection.kept, [30, 20])


@settings(max_examples=100)
@given(random_pixels, random_shares)
def test_oracle_5_thresholds_fall_as_alpha_rises(images, shares):
    counts = histogram(*images, NUM_CLASSES)
    for policy in ("threshold", "cbst", "da", "dars"):
        of_alpha = [
            select(policy, counts, alpha=alpha, distribution=shares) for alpha in (0, 0.01, 0.1, 0.2, 0.5, 0.9, 1)
        ]
        levels = np.stack([selection.levels for selection in of_alpha]).astype(int)
        assert (np.diff(levels, axis=0) <= 0).all()
        assert np.isnan(of_alpha[0].thresholds).all() and not of_alpha[0].kept.any()


@given(random_pixels)
def test_oracle_5_all_of_the_predicted_distribution_is_everything(images):
    counts = histogram(*images, NUM_CLASSES)
    for policy in ("threshold", "cbst", "da", "dars"):
        selection = select(policy, counts, alpha=1, distribution=distribution(counts.sum(1)))
        np.testing.assert_array_equal(selection.kept, counts.sum(1))


def test_oracle_6_threshold_of_200000_samples():
    confidence = (1 - np.random.default_rng(0).exponential(0.03, 200_000)).clip(0.5).astype(np.float16)
    counts = histogram(np.zeros(200_000, np.uint8), confidence, 1)
    selection = select("da", counts, alpha=12_345 / 200_000, distribution=np.array([1]))
    assert selection.quotas == 12_345
    assert selection.thresholds[0] == np.sort(confidence)[-12_345] == np.float16(0.998)


@given(st.integers(0, 10_000), alphas)
def test_oracle_9_dars_of_the_predicted_distribution_is_cbst(seed, alpha):
    """With distinct confidences, and up to one pixel per class for the rounding and one for the reference's index."""
    rng = np.random.default_rng(seed)
    prediction = rng.integers(0, NUM_CLASSES, 300).astype(np.uint8)
    confidence = (0x3800 + rng.permutation(300)).astype(np.uint16).view(np.float16)
    counts = histogram(prediction, confidence, NUM_CLASSES)
    dars = select("dars", counts, alpha=alpha, distribution=distribution(counts.sum(1)))
    cbst = select("cbst", counts, alpha=alpha)
    assert (np.abs(dars.kept - cbst.kept) <= 1).all()


def test_oracle_9_cbst_with_alpha_1_keeps_everything():
    prediction, confidence = pixels(seed=0, num_levels=2000)
    selection = select("cbst", histogram(prediction, confidence, NUM_CLASSES), alpha=1)
    np.testing.assert_array_equal(selection.kept, np.bincount(prediction, minlength=NUM_CLASSES))


def test_a_class_without_labeled_pixels_gets_none():
    prediction, confidence = np.arange(300).astype(np.uint8) % 3, np.ones(300, np.float16)
    selection = select("dars", histogram(prediction, confidence, 3), alpha=0.3, distribution=np.array([0.5, 0, 0.5]))
    np.testing.assert_array_equal(selection.kept, [45, 0, 45])
    assert np.isnan(selection.thresholds[1]) and selection.sampling_rates[1] == 0


def test_a_million_images_are_exact():
    """2 10^12 pixels of confidence 1 and as many of 1/2: a float32 count would be off by 10^5, a sum in int32 by all."""
    counts = np.zeros([2, 15361], np.int64)
    counts[:, 0x3C00] = 10**12 + 1, 10**12 - 1
    counts[:, 0x3800] = 10**12
    selection = select("dars", counts, alpha=0.25, distribution=np.array([0.5, 0.5]))
    np.testing.assert_array_equal(selection.quotas, [5 * 10**11, 5 * 10**11])
    np.testing.assert_array_equal(selection.candidates, [10**12 + 1, 10**12 - 1])
    selection = select("dars", counts, alpha=0.75, distribution=np.array([0.5, 0.5]))
    np.testing.assert_array_equal(selection.thresholds, np.array([0.5, 0.5], np.float16))
    np.testing.assert_array_equal(selection.candidates, [2 * 10**12 + 1, 2 * 10**12 - 1])


@pytest.mark.parametrize("sample", ["candidates", "ties"])
def test_a_selection_survives_json(sample):
    counts = histogram(*pixels(seed=3, num_levels=5), NUM_CLASSES)
    selection = select("dars", counts, alpha=0.2, distribution=np.array([1, 1, 0]), sample=sample)
    content = json.loads(json.dumps(selection.to_json(), allow_nan=False))
    again = Selection.from_json(content)
    assert content["kept"] == selection.kept.tolist() and content["thresholds"][2] is None
    assert again.thresholds.dtype == np.float16 and again.sample == sample
    for name in ("thresholds", "quotas", "candidates", "above", "available", "kept", "levels", "pool", "drawn"):
        np.testing.assert_array_equal(getattr(again, name), getattr(selection, name))


@pytest.mark.parametrize(
    ("policy", "arguments", "expected"),
    [
        ("dras", {"alpha": 0.2}, "Did you mean 'dars'?"),
        ("threshold", {}, "expected a threshold (such as 0.96) or alpha"),
        ("threshold", {"alpha": 0.2, "threshold": 0.9}, "one of them"),
        ("threshold", {"threshold": 1.5}, "threshold: found 1.5"),
        ("threshold", {"threshold": float("nan")}, "threshold: found nan"),
        ("threshold", {"alpha": 2}, "alpha: found 2"),
        ("cbst", {}, "expected alpha"),
        ("cbst", {"alpha": -0.2}, "alpha: found -0.2"),
        ("cbst", {"alpha": 0.2, "threshold": 0.9}, "no threshold"),
        ("dars", {"alpha": 0.2}, "distribution of 3 classes, found none"),
        ("da", {"alpha": 0.2, "distribution": np.ones(4)}, "distribution of 3 classes, found one of 4"),
        ("dars", {"alpha": 0.2, "distribution": np.ones(3), "sample": "tie"}, "Did you mean 'ties'?"),
        ("dars", {"alpha": 0.2, "distribution": np.ones(3), "rounding": "up"}, "rounding: found 'up'"),
    ],
)
def test_mistakes_are_one_line(policy, arguments, expected):
    with pytest.raises(UserError) as error:
        select(policy, np.ones([3, 15361], np.int64), **arguments)
    assert expected in str(error.value) and "\n" not in str(error.value)
