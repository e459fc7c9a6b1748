"""The soft label of ESL: values by hand, and properties over random logits."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from wss.methods.esl.soft_label import entropy, soft_label, support_size

BY_HAND = [
    ([0.96, 0.03, 0.01], [1, 0, 0]),
    ([0.5, 0.46, 0.03, 0.01], [0.520833, 0.479167, 0, 0]),
    ([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]),  # 0.9 < 0.95
    ([0.25] * 4, [0.25] * 4),
    ([0.475, 0.475, 0.05], [0.5, 0.5, 0]),  # 0.475 + 0.475 is 0.95, but for float32
    ([0.6, 0.2, 0.2], [0.6, 0.2, 0.2]),  # both ties at the last class are kept
    ([0.8, 0.1, 0.1, 0.0], [0.8, 0.1, 0.1, 0.0]),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("sorted_classes", [10, 1, 2])
@pytest.mark.parametrize(("probabilities", "expected"), BY_HAND)
def test_values_by_hand(probabilities, expected, sorted_classes, compiled):
    label = tf.function(soft_label, jit_compile=True) if compiled else soft_label
    found = label(tf.constant([[probabilities]], tf.float32), "dynamic", sorted_classes=sorted_classes)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)


def test_kinds():
    probabilities = tf.constant([[0.3, 0.3, 0.2, 0.15, 0.05]])
    np.testing.assert_array_equal(soft_label(probabilities, "hard"), [[1, 0, 0, 0, 0]])
    np.testing.assert_allclose(soft_label(probabilities, "top_k", top_k=3), [[0.375, 0.375, 0.25, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(soft_label(probabilities, "top_k", top_k=1), [[0.5, 0.5, 0, 0, 0]])
    np.testing.assert_allclose(soft_label(probabilities, "top_k", top_k=9), probabilities)


def test_no_gradient_flows_into_the_label():
    logits = tf.Variable([[1.0, 2.0, 3.0]])
    with tf.GradientTape() as tape:
        label = soft_label(tf.nn.softmax(logits))
    assert tape.gradient(label, logits) is None


def reference(probabilities: np.ndarray, eta: float) -> np.ndarray:
    """One pixel by Eqs. 3 to 5, in float64."""
    order = np.argsort(-probabilities, kind="stable")
    reached = np.flatnonzero(np.cumsum(probabilities[order]) >= eta - 1e-6)
    last = probabilities[order[reached[0] if len(reached) else -1]]
    kept = np.where(probabilities >= last, probabilities, 0)
    return kept / kept.sum()


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    seed=strategies.integers(0, 2**31),
    classes=strategies.integers(2, 150),
    spread=strategies.sampled_from([0.0, 0.5, 2.0, 8.0]),
    eta=strategies.floats(0.05, 0.999),
)
def test_properties(seed, classes, spread, eta):
    rng = np.random.default_rng(seed)
    probabilities = tf.nn.softmax(tf.constant(rng.normal(0, spread, [2, 5, classes]), tf.float32))
    label = soft_label(probabilities, eta=eta).numpy()
    np.testing.assert_allclose(label.sum(-1), 1, atol=1e-5)
    p = probabilities.numpy().astype(np.float64)
    # Near the threshold float32 may decide otherwise than float64.
    total = np.cumsum(-np.sort(-p, axis=-1), axis=-1)
    clear = (np.abs(total - eta) > 1e-5).all(-1)
    expected = np.array([[reference(pixel, eta) for pixel in row] for row in p])
    np.testing.assert_allclose(label[clear], expected[clear], atol=1e-5)
    # The likeliest class is in the support; ratios stay; the entropy falls.
    assert (np.take_along_axis(label, p.argmax(-1)[..., None], -1) > 0).all()
    kept = label > 0
    np.testing.assert_allclose(
        (label / p)[kept], np.broadcast_to((label / p).max(-1, keepdims=True), p.shape)[kept], rtol=1e-4
    )
    assert (entropy(tf.constant(label)).numpy() <= entropy(probabilities).numpy() + 1e-5).all()
    # More is kept for a larger share, and everything at last.
    sizes = [support_size(soft_label(probabilities, eta=share)).numpy() for share in (eta / 2, eta, (1 + eta) / 2)]
    assert (np.diff(sizes, axis=0) >= 0).all()
    np.testing.assert_allclose(soft_label(probabilities, eta=1.0), p, atol=2e-5)
    alone = p.max(-1) >= eta + 1e-5
    single = np.sum(p == p.max(-1, keepdims=True), axis=-1) == 1
    assert (support_size(tf.constant(label)).numpy()[alone & single] == 1).all()
    # The order of the classes does not matter, nor how many are sorted at first.
    order = rng.permutation(classes)
    np.testing.assert_allclose(
        soft_label(tf.gather(probabilities, order, axis=-1), eta=eta), label[..., order], atol=1e-6
    )
    np.testing.assert_array_equal(soft_label(probabilities, eta=eta, sorted_classes=150), label)


def test_entropy_is_a_share_of_the_largest():
    np.testing.assert_allclose(entropy(tf.constant([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])), [0, 0.5, 1])
