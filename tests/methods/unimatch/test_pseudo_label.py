"""Pseudo labels: the spec's numbers by hand, CutMix of everything at once, and that no gradient flows into them."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.components.cut_mix import CutMix
from wss.methods.unimatch.pseudo_label import PseudoLabel
from wss.ops.losses import confident_loss, hard_example_loss


def row(*values, dtype=tf.float32) -> tf.Tensor:
    """Values of a row of pixels, [1, 1, n, 1]."""
    return tf.constant(values, dtype)[None, None, :, None]


def rows(*of_images, dtype=tf.float32) -> tf.Tensor:
    return tf.concat([row(*values, dtype=dtype) for values in of_images], 0)


LOGITS = tf.constant([[[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]]])
LABEL = row(0, 0, 1, 1, dtype=tf.int32)
CONFIDENCE = row(0.97, 0.90, 0.96, 0.99)


@pytest.mark.parametrize("run", [lambda function: function, tf.function])
@pytest.mark.parametrize(("threshold", "expected"), [(0.95, 0.273358), (0.0, 0.711112), (1.1, 0.0)])
def test_loss_by_hand(threshold, expected, run):
    valid = row(1, 1, 1, 0)
    loss = run(lambda: confident_loss(LOGITS, LABEL, CONFIDENCE, valid, threshold=threshold))()
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    assert confident_loss(LOGITS, LABEL, CONFIDENCE, tf.zeros_like(valid), threshold=threshold) == 0


def test_equality_is_confident():
    half = row(0.5, 0.5)
    loss = confident_loss(tf.zeros([1, 1, 2, 2]), row(0, 1, dtype=tf.int32), half, tf.ones_like(half), threshold=0.5)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


@pytest.mark.parametrize(("others", "gap"), [(1, 2.944439), (20, 5.940171)])
def test_the_gap_of_logits_that_is_confident(others, gap):
    logits = lambda gap: tf.constant([gap, *[0.0] * others])[None, None, None]
    sure, unsure = (PseudoLabel.of(logits(gap + by), tf.ones([1, 1, 1, 1])).confidence for by in (1e-4, -1e-4))
    assert unsure < 0.95 < sure


def test_logits_are_resized_before_the_softmax():
    logits = tf.constant([[[[0.0, 4.0]], [[8.0, 0.0]]]])
    label = PseudoLabel.of(tf.reshape(logits, [1, 1, 2, 2]), tf.ones([1, 1, 3, 1]))
    np.testing.assert_array_equal(tf.reshape(label.classes, [-1]), [1, 0, 0])
    middle = 1 / (1 + np.exp(-2.0))  # of logits (4, 2)
    np.testing.assert_allclose(tf.reshape(label.confidence, [-1])[1], middle, rtol=1e-6)


def test_cut_mix_of_the_reversed_batch_by_hand():
    """The spec's numbers; boxes that overlap show that all is read before anything is mixed."""
    mix = CutMix(rows((0, 1, 1, 0), (0, 0, 0, 1)) > 0)
    images = rows((1, 2, 3, 4), (5, 6, 7, 8))
    np.testing.assert_array_equal(mix.of(images, tf.reverse(images, [0])), rows((1, 6, 7, 4), (5, 6, 7, 4)))
    label = PseudoLabel(
        rows((0, 0, 1, 1), (2, 2, 0, 0), dtype=tf.int32),
        rows((0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)),
        rows((1, 1, 1, 0), (1, 0, 1, 1)),
    )
    mixed = label.mixed(mix, label.reversed())
    np.testing.assert_array_equal(mixed.classes, rows((0, 2, 0, 1), (2, 2, 0, 1)))
    np.testing.assert_array_equal(mixed.valid, rows((1, 0, 1, 0), (1, 0, 1, 0)))
    np.testing.assert_allclose(mixed.confidence, rows((0.1, 0.6, 0.7, 0.4), (0.5, 0.6, 0.7, 0.4)))
    both = CutMix(rows((1, 1, 0, 0), (0, 1, 1, 0)) > 0)
    np.testing.assert_array_equal(both.of(images, tf.reverse(images, [0])), rows((5, 6, 3, 4), (5, 2, 3, 8)))


def test_no_gradient_flows_into_label_and_confidence():
    logits = tf.random.stateless_normal([1, 3, 3, 4], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        label = PseudoLabel.of(logits, tf.ones([1, 3, 3, 1]))
        loss = label.loss(tf.ones([1, 3, 3, 4]), 0.0) + tf.reduce_sum(label.confidence)
    assert tape.gradient(loss, logits) is None


@pytest.mark.parametrize(("least", "kept", "expected"), [(4, 4, 0.831059), (2, 2, 1.406705), (6, 5, None)])
def test_hard_examples_by_hand(least, kept, expected):
    """Probabilities .9 .8 .75 .3 .2 of the true class, a threshold of .7: the harder of it and the k-th smallest."""
    probability = np.array([0.9, 0.8, 0.75, 0.3, 0.2], np.float32)
    logits = tf.constant(np.log(np.stack([probability, 1 - probability], -1)))[None, None]
    loss = hard_example_loss(logits, tf.zeros([1, 1, 5, 1], tf.int32), threshold=0.7, least=least)
    losses = np.sort(-np.log(probability))[::-1][:kept]
    np.testing.assert_allclose(loss, expected or losses.mean(), rtol=2e-6)
    np.testing.assert_allclose(losses.mean(), loss, rtol=2e-6)
