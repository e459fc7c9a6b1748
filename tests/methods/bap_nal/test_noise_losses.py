"""The noise-aware loss and its rivals: values by hand, and the rules of Eqs. 10 to 14."""

import math

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.bap_nal.noise_losses import (
    agreement,
    bootstrap_loss,
    confidence,
    entropy,
)
from wss.ops.losses import pixel_cross_entropy, weighted_mean

MODES = (lambda function: function, tf.function, lambda function: tf.function(function, jit_compile=True))
modes = pytest.mark.parametrize("compiled", MODES, ids=("eager", "graph", "XLA"))
rng = np.random.default_rng(0)
COSINES = tf.constant([[[[0.9, 0.1, -0.5], [0.1, 0.9, -0.5]]]])
LABEL = tf.zeros([1, 1, 2], tf.int32)


@modes
def test_by_hand(compiled):
    sigma = compiled(lambda cosines: confidence(cosines, LABEL, gamma=7.0))(COSINES)
    np.testing.assert_allclose(sigma, [[[1, 0.021801]]], atol=1e-6)
    loss = compiled(lambda cosines: pixel_cross_entropy(20 * cosines, LABEL))(COSINES)
    np.testing.assert_allclose(loss, [[[0, 16]]], atol=1e-5)
    assert weighted_mean(loss, sigma).numpy() == pytest.approx(0.341372, abs=1e-5)


def random_cosines() -> tuple[tf.Tensor, tf.Tensor]:
    cosines = tf.constant(rng.uniform(-1, 1, [2, 5, 7, 21]), tf.float32)
    return cosines, tf.constant(rng.integers(0, 21, [2, 5, 7]), tf.int32)


def test_sigma_is_1_where_the_label_is_the_nearest_class():
    cosines, label = random_cosines()
    sigma = confidence(cosines, label, gamma=7.0).numpy()
    nearest = tf.argmax(cosines, -1, output_type=tf.int32).numpy()
    assert (sigma >= 0).all() and (sigma <= 1).all()
    np.testing.assert_array_equal(sigma == 1, nearest == label.numpy())
    np.testing.assert_array_equal(confidence(cosines, nearest, gamma=7.0), np.ones([2, 5, 7]))


def test_gamma_0_is_the_plain_mean_and_a_large_one_is_binary():
    cosines, label = random_cosines()
    np.testing.assert_array_equal(confidence(cosines, label, gamma=0.0), tf.ones([2, 5, 7]))
    nearest = tf.argmax(cosines, -1, output_type=tf.int32) == label
    np.testing.assert_allclose(confidence(cosines, label, gamma=1e5), tf.cast(nearest, tf.float32), atol=1e-6)


def test_sigma_is_0_for_the_opposite_class_and_finite_without_any():
    assert confidence(tf.constant([[[[-1.0, 0.3]]]]), tf.zeros([1, 1, 1], tf.int32), gamma=7.0).numpy() == 0
    cosines = tf.Variable([[[[-1.0, -1.0]]]])
    with tf.GradientTape() as tape:
        sigma = confidence(cosines, tf.zeros([1, 1, 1], tf.int32), gamma=7.0)
    assert sigma.numpy() == 0
    assert np.isfinite(tape.gradient(sigma, cosines)).all()


def test_gamma_0_has_a_finite_gradient():
    cosines = tf.Variable([[[[-1.0, 0.3]]]])
    with tf.GradientTape() as tape:
        sigma = confidence(cosines, tf.zeros([1, 1, 1], tf.int32), gamma=0.0)
        total = tf.reduce_sum(sigma * cosines[..., 0])
    assert sigma.numpy() == 1 and np.isfinite(tape.gradient(total, cosines)).all()


def test_agreement_leaves_void_out():
    label, second = tf.constant([[[0, 1, 2, 255, 3, 255]]]), tf.constant([[[0, 2, 2, 255, 255, 3]]])
    same, different = agreement(label, second)
    np.testing.assert_array_equal(same, [[[1, 0, 1, 0, 0, 0]]])
    np.testing.assert_array_equal(different, [[[0, 1, 0, 0, 0, 0]]])


def test_without_a_pixel_a_loss_is_0():
    assert weighted_mean(tf.ones([1, 2, 2]), tf.zeros([1, 2, 2])).numpy() == 0


@modes
def test_entropy(compiled):
    uniform, certain = tf.zeros([1, 1, 1, 21]), 100 * tf.one_hot([[[3]]], 21)
    assert compiled(entropy)(uniform).numpy().item() == pytest.approx(math.log(21), abs=1e-6)
    assert compiled(entropy)(certain).numpy().item() == pytest.approx(0, abs=1e-6)


@modes
@pytest.mark.parametrize(("beta", "expected"), [(0.25, 1.003723), (1.0, 1.609438), (0.0, 0.801819)])
def test_bootstrapping(compiled, beta, expected):
    logits = tf.math.log(tf.constant([[[[0.7, 0.2, 0.1]]]]))
    label = tf.ones([1, 1, 1], tf.int32)
    found = compiled(lambda logits: bootstrap_loss(logits, label, beta))(logits)
    assert found.numpy().item() == pytest.approx(expected, abs=1e-5)


def test_the_bootstrapped_target_has_no_gradient():
    logits = tf.Variable([[[[0.3, -0.2, 1.0]]]])
    label = tf.ones([1, 1, 1], tf.int32)
    with tf.GradientTape() as tape:
        loss = bootstrap_loss(logits, label, 0.4)
    probabilities = tf.nn.softmax(logits).numpy()
    target = 0.4 * np.eye(3)[1] + 0.6 * probabilities
    np.testing.assert_allclose(tape.gradient(loss, logits), probabilities - target, atol=1e-6)
