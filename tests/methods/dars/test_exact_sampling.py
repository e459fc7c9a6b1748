"""Drawing pixels: every quota to the pixel, each pixel as likely as the next, and the same ones for any workers."""

import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wss.errors import UserError
from wss.methods.dars.class_quotas import quotas
from wss.methods.dars.confidence import histogram
from wss.methods.dars.exact_sampling import HashCounts, HashLimits, count, image_key, label, merge, pixel_hashes
from wss.methods.dars.policies import Selection, select

Image = tuple[np.ndarray, np.ndarray]


def random_images(seed: int, num_levels: int, num_classes: int = 3) -> list[Image]:
    """Returns a few images of different sizes; few levels of confidence make many ties."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0x3400, 0x3C01, num_levels).astype(np.uint16).view(np.float16)
    weights = rng.dirichlet(np.ones(num_classes))
    shapes = rng.integers(1, 20, [rng.integers(1, 6), 2])
    return [(rng.choice(num_classes, shape, p=weights).astype(np.uint8), rng.choice(levels, shape)) for shape in shapes]


def selection_of(images: list[Image], num_classes: int, policy: str = "dars", **arguments) -> Selection:
    return select(policy, sum(histogram(*image, num_classes) for image in images), **arguments)


def find_limits(images: list[Image], selection: Selection, seed: int = 0, spread: float = 8.0) -> HashLimits:
    limits = HashLimits.start(selection, spread)
    while not limits.finished:
        parts = [
            count(*image, image_key(seed, str(i)), selection=selection, limits=limits) for i, image in enumerate(images)
        ]
        limits = limits.refine(merge(parts))
    return limits


def labels_of(images: list[Image], selection: Selection, seed: int = 0) -> list[np.ndarray]:
    limits = find_limits(images, selection, seed)
    return [
        label(*image, image_key(seed, str(i)), selection=selection, limits=limits) for i, image in enumerate(images)
    ]


def counts_of(labels: list[np.ndarray], num_classes: int) -> np.ndarray:
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in labels)
    assert counts[num_classes:255].sum() == 0
    return counts[[*range(num_classes), 255]]


def two_classes(confidence: float = 1.0) -> list[Image]:
    """80 pixels of class 0 and 20 of class 1 in two images, all equally sure."""
    prediction = np.random.default_rng(0).permutation(np.repeat(np.array([0, 1], np.uint8), [80, 20])).reshape(2, 5, 10)
    return [(image, np.full([5, 10], confidence, np.float16)) for image in prediction]


random_cases = st.builds(random_images, st.integers(0, 10_000), st.sampled_from([1, 2, 5, 2000]))
random_shares = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any).map(np.array)
samples = st.sampled_from(["candidates", "ties"])


def test_hashes_are_the_published_sequence():
    """splitmix64 from 1234567, https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    np.testing.assert_array_equal(pixel_hashes(1234567, np.arange(4)), np.array(expected, np.uint64))
    np.testing.assert_array_equal(pixel_hashes(1234567, np.array([2, 0])), np.array(expected, np.uint64)[[2, 0]])


def test_keys_depend_on_seed_and_image():
    keys = [image_key(seed, name) for seed in (0, 1, 11) for name in ("a", "b", "1/a")]
    assert len(set(keys)) == 9 and all(0 <= key < 2**64 for key in keys)
    # What a release drew, the next one draws.
    assert image_key(7, "aachen_000000") == 0x47D2C311DD630D0D


@pytest.mark.parametrize("sample", ["candidates", "ties"])
def test_oracle_1_total_ties_give_exactly_the_quota(sample):
    """All confidences 1, 80 pixels of class 0 and 20 of class 1, quotas (30, 12): 30, 12 and 58 without a label."""
    images = two_classes()
    selection = selection_of(images, 2, alpha=0.42, distribution=np.array([30, 12]), sample=sample)
    for seed in range(50):
        np.testing.assert_array_equal(counts_of(labels_of(images, selection, seed), 2), [30, 12, 58])


def test_oracle_2_a_deficit_goes_to_no_other_class():
    images = two_classes()
    selection = selection_of(images, 2, alpha=0.65, distribution=np.array([30, 35]))
    np.testing.assert_array_equal(counts_of(labels_of(images, selection), 2), [30, 20, 50])


def test_oracle_3_distinct_confidences_leave_nothing_to_draw():
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 2, [2, 5, 10]).astype(np.uint8)
    confidence = (0x3800 + rng.permutation(100)).astype(np.uint16).view(np.float16).reshape(2, 5, 10)
    images = list(zip(prediction, confidence, strict=True))
    selection = selection_of(images, 2, alpha=0.5, distribution=np.array([0.4, 0.6]))
    assert HashLimits.start(selection).finished
    labels = np.stack(labels_of(images, selection))
    for j, quota in enumerate((20, 30)):
        best = np.sort(confidence[prediction == j])[-quota:]
        np.testing.assert_array_equal(np.sort(confidence[labels == j]), best)


@settings(max_examples=200, deadline=None)
@given(random_cases, random_shares, st.sampled_from([0, 0.05, 0.3, 0.9, 1]), samples, st.integers(0, 1000))
def test_oracle_1_quotas_are_met_to_the_pixel(images, shares, alpha, sample, seed):
    """min(n_j, M_j) labels of class j, only where it is predicted, never below the threshold of sorting."""
    total = sum(prediction.size for prediction, _ in images)
    wanted = quotas(alpha, shares, total)
    selection = selection_of(images, 3, alpha=alpha, distribution=shares, sample=sample)
    labels = np.concatenate([image.ravel() for image in labels_of(images, selection, seed)])
    prediction, confidence = (np.concatenate([image[k].ravel() for image in images]) for k in (0, 1))
    labeled = labels != 255
    np.testing.assert_array_equal(labels[labeled], prediction[labeled])
    for j in range(3):
        u = np.sort(confidence[prediction == j])[::-1]
        kept = min(wanted[j], len(u))
        assert (labels == j).sum() == selection.kept[j] == kept
        if kept:
            threshold = u[kept - 1]
            assert confidence[labels == j].min() >= threshold
            if sample == "ties":
                assert (labels[(prediction == j) & (confidence > threshold)] == j).all()


@pytest.mark.parametrize("policy", ["threshold", "cbst", "da"])
def test_other_policies_label_every_candidate(policy):
    images = random_images(seed=5, num_levels=5)
    selection = selection_of(images, 3, policy, alpha=0.3, distribution=np.array([1, 2, 3]))
    for (prediction, confidence), labels in zip(images, labels_of(images, selection), strict=True):
        reaches = confidence >= selection.thresholds[prediction]
        np.testing.assert_array_equal(labels, np.where(reaches, prediction, 255))


def chi_square(counts: np.ndarray, draws: int, share: float) -> float:
    """Of how often each pixel was drawn without replacement; of N pixels, it has N - 1 degrees of freedom."""
    return float(
        ((counts - draws * share) ** 2).sum() / (draws * share * (1 - share)) * (len(counts) - 1) / len(counts)
    )


@pytest.mark.parametrize(("sample", "share"), [("candidates", 30 / 80), ("ties", (30 - 16) / 64)])
def test_oracle_4_each_pixel_is_as_likely_as_the_next(sample, share):
    """80 candidates of class 0 in two images, 16 of them above the threshold; 2000 seeds; the .001 tail of chi-square."""
    images = two_classes(0.5)
    sure = np.zeros([2, 5, 10], bool)
    sure.flat[np.flatnonzero(np.stack([prediction for prediction, _ in images]) == 0)[::5]] = True
    images = [(p, np.where(s, np.float16(0.75), c)) for (p, c), s in zip(images, sure, strict=True)]
    selection = selection_of(images, 2, alpha=0.42, distribution=np.array([30, 12]), sample=sample)
    drawn = np.stack([np.stack(labels_of(images, selection, seed)) == 0 for seed in range(2000)])
    pool = np.stack([prediction == 0 for prediction, _ in images])
    if sample == "ties":
        assert drawn[:, sure].all()
        pool &= ~sure
    counts = drawn.sum(0)[pool]
    assert chi_square(counts, 2000, share) < {80: 123.6, 64: 103.4}[len(counts)]
    # Across images: the number drawn from the first is hypergeometric.
    size, total = pool[0].sum(), pool.sum()
    of_first = drawn[:, 0][:, pool[0]].sum(1)
    variance = size * share * (1 - share) * (total - size) / (total - 1)
    assert of_first.mean() == pytest.approx(size * share, abs=4 * np.sqrt(variance / 2000))
    assert of_first.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize(("alpha", "expected"), [(1, [80, 20, 0]), (0, [0, 0, 100])])
def test_oracle_5_all_and_nothing(alpha, expected):
    images = two_classes()
    selection = selection_of(images, 2, alpha=alpha, distribution=np.array([80, 20]))
    np.testing.assert_array_equal(counts_of(labels_of(images, selection), 2), expected)


@settings(max_examples=100, deadline=None)
@given(random_cases, random_shares, samples, st.randoms(use_true_random=False))
def test_oracle_7_labels_do_not_depend_on_the_workers(images, shares, sample, chance: random.Random):
    """Shards at random, added in random order and by random grouping, pickled on the way."""
    selection = selection_of(images, 3, alpha=0.3, distribution=shares, sample=sample)
    expected = find_limits(images, selection)
    limits = HashLimits.start(selection)
    while not limits.finished:
        parts = [HashCounts.empty(3)]
        parts += [
            count(*image, image_key(0, str(i)), selection=selection, limits=limits) for i, image in enumerate(images)
        ]
        chance.shuffle(parts)
        while len(parts) > 1:
            i = chance.randrange(len(parts) - 1)
            parts[i : i + 2] = [pickle.loads(pickle.dumps(parts[i])) + parts[i + 1]]
        limits = pickle.loads(pickle.dumps(limits)).refine(parts[0])
    np.testing.assert_array_equal(limits.values, expected.values)


@settings(max_examples=100, deadline=None)
@given(random_cases, random_shares, st.sampled_from([0.01, 0.1, 0.5, 2]))
def test_a_narrow_window_needs_more_passes_and_finds_the_same(images, shares, spread):
    selection = selection_of(images, 3, alpha=0.3, distribution=shares)
    np.testing.assert_array_equal(
        find_limits(images, selection, spread=spread).values, find_limits(images, selection).values
    )


def test_one_pass_collects_a_small_part_of_many_pixels():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2, [600, 1000]).astype(np.uint8), np.ones([600, 1000], np.float16)
    selection = selection_of([image], 2, alpha=0.3, distribution=np.array([0.5, 0.5]))
    start = HashLimits.start(selection)
    part = count(*image, image_key(0, "0"), selection=selection, limits=start)
    limits = start.refine(part)
    assert limits.finished and len(part.hashes) < 0.05 * 600_000
    counts = counts_of([label(*image, image_key(0, "0"), selection=selection, limits=limits)], 2)
    np.testing.assert_array_equal(counts, [90_000, 90_000, 420_000])


def test_a_million_images_fit_the_memory_of_one_machine():
    """A draw of 3 10^11 from 10^12 pixels collects about ten million hashes."""
    counts = np.zeros([1, 15361], np.int64)
    counts[0, 0x3C00] = 10**12
    limits = HashLimits.start(select("dars", counts, alpha=0.3, distribution=np.array([1.0])))
    (low,), (high,) = limits.windows
    assert low < 0.3 * 2**64 < high
    assert (int(high) - int(low)) / 2**64 * 10**12 < 10**7


def test_unfinished_limits_have_no_values():
    images = two_classes()
    selection = selection_of(images, 2, alpha=0.42, distribution=np.array([30, 12]))
    limits = HashLimits.start(selection)
    with pytest.raises(ValueError, match="another pass"):
        label(*images[0], 0, selection=selection, limits=limits)


def test_changed_predictions_are_noticed():
    images = two_classes()
    selection = selection_of(images, 2, alpha=0.42, distribution=np.array([30, 12]))
    limits = HashLimits.start(selection)
    with pytest.raises(UserError, match="class 0: 40 pixels to draw from, but 80") as error:
        half = np.where(np.arange(50) < 40, 0, 1).astype(np.uint8).reshape(5, 10)
        limits.refine(count(half, images[0][1], 0, selection=selection, limits=limits))
    assert "\n" not in str(error.value)


def test_an_image_that_comes_twice_is_noticed():
    """Equal hashes at the limit would label two pixels for one."""
    image = np.zeros([5, 10], np.uint8), np.ones([5, 10], np.float16)
    selection = selection_of([image, image], 1, alpha=0.25, distribution=np.array([1]))
    limits, key = HashLimits.start(selection), image_key(0, "same")
    with pytest.raises(UserError, match="is an image there twice"):
        limits.refine(
            count(*image, key, selection=selection, limits=limits)
            + count(*image, key, selection=selection, limits=limits)
        )
