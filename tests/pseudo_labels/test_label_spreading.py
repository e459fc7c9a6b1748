"""Label spreading: the closed form, scores by hand, photos left out, and blobs that it should tell apart."""

import numpy as np
import pytest

from wss.pseudo_labels import label_spreading
from wss.pseudo_labels.label_spreading import Agreement, neighbor_graph, spread_labels


def blobs(number: int, centers: int, seed: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 16] around random centers, and the one class of each as bool [N, centers]."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, centers, number)
    features = np.random.default_rng(99).normal(size=(centers, 16))[which] + rng.normal(0, spread, (number, 16))
    return features, np.eye(centers, dtype=bool)[which]


def influence_by_inverse(features: np.ndarray, neighbors: int, power: float, alpha: float) -> np.ndarray:
    """(1 - alpha) (I - alpha S)^-1, with the graph by a loop over photos."""
    centered = features - features.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    cosines = centered @ centered.T
    one_way = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        nearest = [j for j in np.argsort(-row, kind="stable") if j != i][:neighbors]
        one_way[i, nearest] = np.maximum(row[nearest], 0) ** power
    weight = np.maximum(one_way, one_way.T)
    degree = weight.sum(axis=1)
    return (1 - alpha) * np.linalg.inv(np.eye(len(weight)) - alpha * weight / np.sqrt(np.outer(degree, degree)))


@pytest.mark.parametrize("alpha", [0.5, 0.8, 0.95])
def test_scores_are_those_of_the_closed_form(alpha):
    known, classes = blobs(12, 3, seed=0)
    unknown, _ = blobs(40, 3, seed=1)
    found = spread_labels(known, classes, unknown, neighbors=5, power=3.0, alpha=alpha)
    influence = influence_by_inverse(np.concatenate([known, unknown]), 5, 3.0, alpha)
    for m in range(40):
        for c in range(3):
            on, off = (influence[12 + m, :12][classes[:, c] == here].mean() for here in (True, False))
            assert found.scores[m, c] == pytest.approx(on / (on + off), abs=2e-4)


def test_a_photo_that_is_held_out_is_scored_as_if_nobody_knew_its_classes():
    known, classes = blobs(15, 3, seed=2)
    unknown, _ = blobs(30, 3, seed=3)
    held_out = spread_labels(known, classes, unknown).held_out
    for i in (0, 7, 14):
        others = np.arange(15) != i
        again = spread_labels(known[others], classes[others], np.concatenate([known[i : i + 1], unknown])).scores[0]
        np.testing.assert_allclose(held_out[i], again, atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    known, classes = blobs(20, 3, seed=4)
    unknown, _ = blobs(50, 3, seed=5)
    whole = spread_labels(known, classes, unknown)
    monkeypatch.setattr(label_spreading, "COSINES_AT_ONCE", 7 * 70)
    monkeypatch.setattr(label_spreading, "SOURCES_AT_ONCE", 3)
    parts = spread_labels(known, classes, unknown)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)
    np.testing.assert_allclose(parts.held_out, whole.held_out, atol=1e-6)
    assert parts.threshold == whole.threshold


def test_blobs_are_told_apart_with_few_known_and_rare_classes_too():
    """Of the third class there are two photos known, of each of the others twenty."""
    features, classes = blobs(600, 3, seed=6)
    order = [
        *np.flatnonzero(classes[:, 0])[:20],
        *np.flatnonzero(classes[:, 1])[:20],
        *np.flatnonzero(classes[:, 2])[:2],
    ]
    rest = np.setdiff1d(np.arange(600), order)
    found = spread_labels(features[order], classes[order], features[rest])
    for c in range(3):
        agreement = Agreement.of(found.shown[:, c], classes[rest, c])
        assert agreement.precision > 0.9 and agreement.recall > 0.9


def test_classes_that_all_photos_or_none_show_go_to_all_or_none():
    """As on streets: the first class is everywhere."""
    features, classes = blobs(100, 2, seed=7)
    everywhere, nowhere = np.ones([100, 1], bool), np.zeros([100, 1], bool)
    classes = np.concatenate([everywhere, nowhere, classes], axis=1)
    found = spread_labels(features[:20], classes[:20], features[20:])
    assert found.shown[:, 0].all() and not found.shown[:, 1].any()
    assert Agreement.of(found.shown[:, 2:], classes[20:, 2:]).f1 > 0.9


def test_several_classes_of_a_photo_are_all_guessed():
    """Two independent attributes, each in its own dimensions."""
    rng = np.random.default_rng(8)
    classes = rng.random((300, 2)) < 0.5
    directions = np.linalg.qr(rng.normal(size=(12, 2)))[0].T
    features = (2 * classes - 1.0) @ directions * 3 + rng.normal(0, 0.3, (300, 12))
    found = spread_labels(features[:30], classes[:30], features[30:])
    assert (found.shown == classes[30:]).mean() > 0.95


def test_photos_like_no_other_get_nothing():
    known, classes = blobs(10, 2, seed=9)
    graph = neighbor_graph(np.concatenate([known, known]), 3, 3.0).toarray()
    assert (graph == graph.T).all() and (np.diag(graph) == 0).all()
    # Four corners of a square: each has two neighbours at a cosine of 0 and one at -1.
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert not neighbor_graph(square, 3, 3.0).nnz or neighbor_graph(square, 3, 3.0).max() == 0
    found = spread_labels(square[:2], np.eye(2, dtype=bool), square[2:])
    assert np.isfinite(found.scores).all() and not found.shown.any()


@pytest.mark.parametrize("unknown", [0, 1])
def test_few_photos_make_no_trouble(unknown):
    found = spread_labels(np.eye(2), np.eye(2, dtype=bool), np.ones([unknown, 2]))
    assert found.scores.shape == (unknown, 2) and np.isfinite(found.scores).all()


def test_alike_photos_make_no_trouble():
    """All features the same: no direction from the mean, so nothing spreads."""
    found = spread_labels(np.ones([4, 3]), np.eye(4, dtype=bool)[:, :2], np.ones([5, 3]))
    assert not found.scores.any()


def test_agreement_by_hand():
    guessed, true = np.array([[1, 1, 0], [0, 1, 0]], bool), np.array([[1, 0, 1], [0, 1, 1]], bool)
    agreement = Agreement.of(guessed, true)
    assert agreement == Agreement(2 / 3, 2 / 4)
    assert agreement.f1 == pytest.approx(4 / 7)
    nothing = np.zeros_like(true)
    assert Agreement.of(nothing, true) == Agreement(0, 0) == Agreement.of(true, nothing)
    assert Agreement.of(nothing, true).f1 == 0
