"""K-means and the sample it sees."""

import numpy as np
import pytest

from wss.methods.esl.prototypes import FeatureSample, k_means


def blobs(number: int = 60) -> np.ndarray:
    """Points around (10, 0, 0) and (0, 10, 0)."""
    rng = np.random.default_rng(0)
    centers = np.repeat([[10.0, 0, 0], [0, 10.0, 0]], number, axis=0)
    return (centers + rng.normal(0, 0.3, centers.shape)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("metric", "scale"), [("cosine", 1.0), ("euclidean", 10.0)])
def test_two_blobs_are_found(metric, scale, seed):
    centers = k_means(blobs(), 2, metric=metric, seed=seed)
    centers = centers[np.argsort(centers[:, 1])]
    np.testing.assert_allclose(centers, scale * np.array([[1, 0, 0], [0, 1, 0]]), atol=0.1 * scale)


def test_one_center_is_the_mean_direction():
    points = blobs()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    mean = unit.mean(0)
    np.testing.assert_allclose(k_means(points, 1)[0], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(k_means(points, 1, metric="euclidean")[0], points.mean(0), rtol=1e-4)


def test_of_fewer_points_some_are_centers_twice():
    centers = k_means(np.array([[2.0, 0], [0, 3.0]]), 5)
    assert {tuple(center) for center in centers} == {(1, 0), (0, 1)} and centers.shape == (5, 2)
    np.testing.assert_array_equal(k_means(np.zeros([1, 2]), 2), np.zeros([2, 2]))


def test_equal_seeds_are_equal_centers():
    rng = np.random.default_rng(1)
    points = rng.normal(size=[200, 4])
    np.testing.assert_array_equal(k_means(points, 3, seed=4), k_means(points, 3, seed=4))


def test_a_sample_is_even_bounded_and_repeatable():
    """10 images of 100 pixels, the number of the image and of the pixel as features."""

    def sampled(seed: int) -> FeatureSample:
        sample = FeatureSample(3, 40, seed)
        for image in range(10):
            features = np.stack([np.full(100, image), np.arange(100)], axis=1).astype(np.float32)
            sample.add(image, features, np.where(np.arange(100) < 60, 0, np.where(np.arange(100) < 62, 1, -1)))
            assert sum(len(part) for part, _ in sample._kept[0]) <= 2 * 40 + 40
        return sample

    kept = sampled(0).of_class(0)
    assert kept.shape == (40, 2) and len(np.unique(kept, axis=0)) == 40
    assert (kept[:, 1] < 60).all() and len(np.unique(kept[:, 0])) >= 8
    assert len(sampled(0).of_class(1)) == 20  # all of them
    assert len(sampled(0).of_class(2)) == 0
    np.testing.assert_array_equal(sampled(0).of_class(0), kept)
    assert not np.array_equal(sampled(1).of_class(0), kept)
