"""The box classifier's step: what it learns from, when the attention counts, one device and two, XLA."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import network_of, take_steps, train_step

from wss.methods.bap_nal.box_classification import BoxClassification, class_maps
from wss.methods.components.image_classifier import ImageClassifier
from wss.models.layers.dropout import dropout_seed

SEED = tf.constant([1, 2], tf.int64)
SIZE = 33
BOXES = [[[2.0, 3, 20, 15], [12, 20, 30, 31], [0, 0, 0, 0]], [[5.0, 5, 28, 28], [0, 0, 0, 0], [0, 0, 0, 0]]]
LABELS = [[1, 3, -1], [2, -1, -1]]


def boxed_batch(number: int = 2) -> dict:
    rng = np.random.default_rng(0)
    outside = np.ones([2, SIZE, SIZE, 1], np.float32)
    for image, boxes in enumerate(BOXES):
        for ymin, xmin, ymax, xmax in np.array(boxes, int):
            outside[image, ymin:ymax, xmin:xmax] = 0
    pixels = tf.constant(rng.uniform(0, 255, [2, SIZE, SIZE, 3]), tf.float32)
    stream = {
        "weak": pixels,
        "strong": pixels,
        "valid": tf.ones([2, SIZE, SIZE, 1]),
        "label": tf.constant(rng.integers(0, 4, [2, SIZE, SIZE, 1]), tf.int32),
        "boxes": tf.constant(BOXES),
        "box_labels": tf.constant(LABELS),
        "box_count": tf.constant([2, 1]),
        "outside_boxes": tf.constant(outside),
    }
    times = number // 2
    return {"unlabeled": {name: tf.concat([value] * times, 0) for name, value in stream.items()}}


def losses_of(method, network, batch=None):
    with dropout_seed(SEED):
        return method.losses(network, batch or boxed_batch(), tf.constant(0, tf.int64))


@pytest.mark.parametrize("options", [{}, {"roi_bins": 1}, {"pooling": "average"}, {"grid": 1, "color_jitter": False}])
def test_the_loss_is_the_mean_over_boxes_and_queries(options):
    method = BoxClassification(**options)
    network = network_of(method)
    batch = boxed_batch()
    result = losses_of(method, network, batch)
    features = network.features(batch["unlabeled"]["weak"], training=True)["cam_features"]
    pooled = method.pool(features, batch["unlabeled"])
    kernel, losses = network.branches.kernel.numpy(), []
    samples = [
        (v, label)
        for b, ls in zip(pooled.boxes, LABELS, strict=True)
        for vs, label in zip(b, ls, strict=True)
        for v in vs
    ]
    samples += [
        (q, 0 if valid else -1) for qs, vs in zip(*pooled.queries, strict=True) for q, valid in zip(qs, vs, strict=True)
    ]
    for vector, label in samples:
        logits = vector.numpy() @ kernel
        if label >= 0:
            losses.append(np.log(np.exp(logits).sum()) - logits[label])
    assert len(losses) == 3 * method.roi_bins**2 + np.count_nonzero(pooled.queries.valid)
    np.testing.assert_allclose(result.losses["box_classification"], np.mean(losses), rtol=1e-4)


def test_attention_counts_with_enough_background_alone():
    network = network_of(BoxClassification())
    features = tf.random.stateless_uniform([2, 3, 3, 8], SEED)
    stream = boxed_batch()["unlabeled"]
    shares = tf.reduce_mean(stream["outside_boxes"], (1, 2, 3)).numpy()
    assert shares[1] < shares[0]
    method = BoxClassification(least_background=float(shares.mean()))
    pooled = method.pool(features, stream)
    assert pooled.used.numpy().tolist() == [True, False]
    assert not pooled.attention[1].numpy().any()
    average = BoxClassification(pooling="average").pool(features, stream)
    np.testing.assert_array_equal(pooled.boxes[1], average.boxes[1])
    assert np.abs(pooled.boxes[0] - average.boxes[0]).max() > 1e-3
    assert network.branches.kernel.shape == (8, 4)


def test_a_view_without_a_box_teaches_the_background():
    stream = boxed_batch()["unlabeled"]
    nothing = {
        **stream,
        "boxes": tf.zeros_like(stream["boxes"]),
        "box_labels": -tf.ones_like(stream["box_labels"]),
        "outside_boxes": tf.ones_like(stream["outside_boxes"]),
    }
    method = BoxClassification()
    result = losses_of(method, network_of(method), {"unlabeled": nothing})
    assert np.isfinite(result.losses["box_classification"]) and result.metrics["box_accuracy"] == 0


def test_padding_is_no_background():
    method = BoxClassification(grid=1)
    stream = boxed_batch()["unlabeled"]
    features = tf.random.stateless_uniform([2, 3, 3, 8], SEED)
    padded = {**stream, "outside_boxes": tf.concat([stream["outside_boxes"][:, :, :16], tf.zeros([2, SIZE, 17, 1])], 2)}
    one = method.pool(features, padded).queries.vectors
    changed = tf.concat([features[:, :, :2], features[:, :, 2:] + 5], 2)
    np.testing.assert_array_equal(one, method.pool(changed, padded).queries.vectors)


def test_it_learns_its_boxes():
    method = BoxClassification()
    step = train_step(method, build=functools.partial(network_of, method), head_multiplier=10.0)
    reports = take_steps(step, boxed_batch(), 30)
    assert reports[-1]["box_classification"] < 0.7 * reports[0]["box_classification"]


def test_two_replicas_learn_as_one(two_replicas):
    """Each replica has the whole batch of the one."""
    method, weights = BoxClassification(), []
    for strategy, number in ((None, 2), (two_replicas, 4)):
        options = {"fine_tune_batch_norm": False}
        step = train_step(method, strategy, build=functools.partial(network_of, method), model_options=options)
        batch = boxed_batch(number) if strategy else boxed_batch()
        take_steps(step, batch, 2)
        weights.append([np.array(variable) for variable in step.model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_steps_agree_with_eager_ones(jit_compile):
    method = BoxClassification()
    network = network_of(method)
    eager = losses_of(method, network).losses["box_classification"]
    compiled = tf.function(lambda: losses_of(method, network).losses["box_classification"], jit_compile=jit_compile)()
    np.testing.assert_allclose(compiled, eager, rtol=1e-3)


def test_figures():
    method = BoxClassification()
    network = network_of(method)
    figures = method.training_figures(network, boxed_batch())
    assert [figure.title for figure in figures] == ["image", "label", "attention to the background", "class maps"]
    for heat in figures[2:]:
        assert heat.values.numpy().min() >= 0 and heat.values.numpy().max() <= 1
    features = network.features(boxed_batch()["unlabeled"]["weak"])
    maps = method.intermediate_maps(
        network, features, logits=network.segment(features), valid=tf.ones([2, SIZE, SIZE, 1])
    )
    assert maps[0].values.shape == (2, 3, 3, 3)


def test_class_maps_without_a_positive_score_are_zero():
    assert not class_maps(-tf.ones([1, 2, 2, 3])).numpy().any()


def test_the_classifier_is_its_own_and_not_that_of_images():
    network = network_of(BoxClassification())
    assert not isinstance(network.branches, ImageClassifier)
    assert [variable.path for variable in network.branches.trainable_variables] == ["box_classifier/kernel"]
    assert any(kernel is network.branches.kernel for kernel in network.decayed_kernels())


def test_a_hole_of_cut_out_is_no_background():
    method = BoxClassification(grid=1)
    stream = boxed_batch()["unlabeled"]
    hole = np.ones([2, SIZE, SIZE, 1], np.float32)
    hole[:, :, 16:] = 0
    features = tf.random.stateless_uniform([2, 3, 3, 8], SEED)
    found = method.pool(features, {**stream, "valid": tf.constant(hole)}).queries.vectors
    expected = method.pool(features, {**stream, "outside_boxes": stream["outside_boxes"] * hole}).queries.vectors
    np.testing.assert_array_equal(found, expected)
    assert np.any(found != method.pool(features, stream).queries.vectors)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    method, before = BoxClassification(), keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        network = network_of(method)
        loss = losses_of(method, network).losses["box_classification"]
        assert network.features(boxed_batch()["unlabeled"]["weak"])["cam_features"].dtype != tf.float32
    finally:
        keras.config.set_dtype_policy(before)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, losses_of(method, network_of(method)).losses["box_classification"], rtol=0.05)
