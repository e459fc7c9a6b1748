"""Which photos stand for the others: greedy facility location, by hand and against a search through all choices."""

import itertools

import numpy as np
import pytest

from wss.pseudo_labels import coverage
from wss.pseudo_labels.coverage import most_covering


def value(features: np.ndarray, chosen) -> float:
    """The sum over photos of the largest cosine with a chosen one."""
    centered = features - features.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    return float(np.maximum(centered @ centered[list(chosen)].T, 0).max(axis=1).sum())


def blobs(sizes, seed=0, spread=0.2):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(len(sizes), 12)) * 2
    which = np.repeat(np.arange(len(sizes)), sizes)
    return centers[which] + rng.normal(0, spread, (len(which), 12)), which


def test_each_group_is_chosen_from_once_the_largest_first():
    features, which = blobs([40, 25, 15, 8])
    assert which[most_covering(features, 4)].tolist() == [0, 1, 2, 3]


def test_groups_that_have_masks_are_not_chosen_from_again():
    features, which = blobs([40, 25, 15, 8])
    masked = np.array([np.flatnonzero(which == 0)[3], np.flatnonzero(which == 2)[0]])
    found = most_covering(features, 2, masked)
    assert which[found].tolist() == [1, 3] and not set(found) & set(masked.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_near_the_best(seed):
    features = np.random.default_rng(seed).normal(size=(12, 4))
    best = max(value(features, choice) for choice in itertools.combinations(range(12), 3))
    found = most_covering(features, 3)
    assert len(set(found)) == 3
    assert value(features, found) >= (1 - 1 / np.e) * best
    assert value(features, found[:1]) == pytest.approx(max(value(features, [i]) for i in range(12)), rel=1e-5)


def test_all_that_are_left_are_chosen_where_more_are_wanted():
    features = np.random.default_rng(0).normal(size=(6, 4))
    assert sorted(most_covering(features, 100, np.array([2]))) == [0, 1, 3, 4, 5]
    assert most_covering(np.ones([1, 3]), 2) == [0]


def test_of_too_many_photos_some_are_candidates_and_all_count(monkeypatch):
    features, which = blobs([60, 30, 10])
    monkeypatch.setattr(coverage, "COSINES", 100 * 40)
    found = most_covering(features, 3)
    assert sorted(which[found].tolist()) == [0, 1, 2]
    assert found == most_covering(features, 3) and found != most_covering(features, 3, seed=1)
