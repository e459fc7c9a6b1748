"""Losses against the original's values and oracles worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.pseudoseg.calibrated_fusion import CalibratedFusion
from wss.ops import losses


@pytest.fixture(scope="module")
def golden(goldens):
    return {key: tf.constant(value) for key, value in np.load(goldens / "fusion_losses_unit.npz").items()}


@pytest.fixture
def check(golden, parity):
    return lambda actual, key: parity.check(
        "fusion_losses_unit", "losses and their gradients", actual, golden[key], 1e-4, name=key
    )


def with_gradient(loss, logits):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
    return value, tape.gradient(value, logits)


@pytest.mark.parametrize("upsample_logits", [True, False])
def test_supervised_losses_equal_original(golden, check, upsample_logits):
    case = "default" if upsample_logits else "no_upsample_logits"
    for logits, name in (
        ("logits_seg", "semantic_merged_logits"),
        ("sgc_logits_labeled", "self-attention_self-attention_logits"),
    ):
        loss = lambda x: losses.segmentation_loss(x, golden["in/seg_label"], upsample_logits=upsample_logits)
        value, gradient = with_gradient(loss, golden[f"in/{logits}"])
        check(value, f"{case}/loss_collection/{name}/mul_1")
        check(gradient, f"{case}/grad/{logits}")


@pytest.mark.parametrize(
    ("case", "fusion"),
    [
        ("default", {}),
        ("no_logit_norm", {"norm_scope": "none"}),
        ("temperature_1", {"temperature": 1.0}),
        ("src_att", {"source": "sgc"}),
        ("hard", {"label": "hard"}),
        ("threshold_0.4", {"threshold": 0.4}),
    ],
)
def test_consistency_loss_equals_original(golden, check, case, fusion):
    label, confident = CalibratedFusion(**fusion)(golden["in/logits_weak"], golden["in/sgc_logits_weak"])
    loss = lambda x: losses.consistency_loss(x, label, golden["default/valid_mask"], confident=confident)
    value, gradient = with_gradient(loss, golden["in/logits_strong"])
    check(value, f"{case}/loss_consistency")
    check(gradient, f"{case}/grad/logits_strong")


@pytest.mark.parametrize(("case", "stream"), [("default", "seg"), ("weakly", "unl")])
def test_image_label_loss_equals_original(golden, check, case, stream):
    loss = lambda x: losses.image_label_loss(x, golden[f"in/{stream}_cls_label"])
    value, gradient = with_gradient(loss, golden[f"in/cls_logits_{stream}"])
    check(value, f"{case}/loss_cls")
    check(gradient, f"{case}/grad/cls_logits_{stream}")


def test_nothing_labelled_is_zero_not_nan():
    logits = tf.random.stateless_normal([2, 3, 3, 4], [0, 1])
    assert losses.segmentation_loss(logits, tf.fill([2, 9, 9, 1], 255)) == 0
    assert losses.consistency_loss(logits, tf.nn.softmax(logits), tf.zeros([2, 3, 3, 1])) == 0
    assert losses.image_label_loss(tf.ones([2, 4]), tf.ones([2, 4]), tf.zeros([2])) == 0


def test_hard_pseudo_label_equals_sparse_cross_entropy():
    logits = tf.random.stateless_normal([2, 3, 3, 4], [0, 1])
    label = tf.random.stateless_uniform([2, 3, 3, 1], [0, 2], 0, 4, tf.int32)
    soft = losses.consistency_loss(logits, tf.one_hot(label[..., 0], 4), tf.ones([2, 3, 3, 1]))
    np.testing.assert_allclose(soft, losses.segmentation_loss(logits, label), rtol=1e-5)


def test_area_does_not_change_the_mean():
    logits = tf.random.stateless_normal([1, 3, 3, 4], [0, 1])
    pseudo, valid = tf.nn.softmax(-logits), tf.ones([1, 3, 3, 1])
    twice = lambda x: tf.concat([x, x], axis=1)
    np.testing.assert_allclose(
        losses.consistency_loss(twice(logits), twice(pseudo), twice(valid)),
        losses.consistency_loss(logits, pseudo, valid),
        rtol=1e-6,
    )


def test_uniform_logits_cost_log_classes():
    label = tf.constant([[0, 255], [3, 2]])[None, ..., None]
    np.testing.assert_allclose(losses.segmentation_loss(tf.zeros([1, 2, 2, 5]), label), np.log(5), rtol=1e-6)


def test_unknown_image_labels_do_not_count():
    logits, label = tf.constant([[0.0, 0.0], [50.0, 50.0]]), tf.zeros([2, 2])
    np.testing.assert_allclose(losses.image_label_loss(logits, label, tf.constant([1.0, 0.0])), np.log(2), rtol=1e-6)


def test_weight_decay_by_hand():
    loss = losses.weight_decay_loss([tf.constant([1.0, 2.0]), tf.constant([3.0])], 0.1)
    np.testing.assert_allclose(loss, 0.7, rtol=1e-6)


def hard_pixels(threshold: float, least: int) -> float:
    """Returns the loss of five pixels whose true class has probability 0.9, 0.8, 0.6, 0.5, and one that is ignored."""
    probabilities = np.array([0.9, 0.8, 0.6, 0.5, 0.1], np.float32)
    logits = tf.constant(np.log(np.stack([probabilities, 1 - probabilities], -1)).reshape(1, 1, 5, 2))
    label = tf.constant([0, 0, 0, 0, 255], tf.int32, [1, 1, 5, 1])
    return float(losses.hard_example_loss(logits, label, threshold=threshold, least=least))


@pytest.mark.parametrize(
    ("threshold", "least", "hard"),
    [
        (0.7, 1, [0.6, 0.5]),  # all below the threshold
        (0.7, 3, [0.8, 0.6, 0.5]),  # at least so many, the hardest
        (0.55, 1, [0.5]),
        (0.7, 100, [0.9, 0.8, 0.6, 0.5]),  # all, if there are fewer
        (0.1, 2, [0.6, 0.5]),
    ],
)
def test_hard_pixels_alone_count(threshold, least, hard):
    np.testing.assert_allclose(hard_pixels(threshold, least), -np.log(hard).mean(), rtol=1e-5)


def test_without_labels_no_pixel_is_hard():
    assert losses.hard_example_loss(tf.zeros([1, 3, 3, 2]), tf.fill([1, 3, 3, 1], 255)) == 0
