"""The noise-aware step: its losses, what they become where the masks agree, labelled images, one device and two, XLA."""

import functools

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import network_of, take_steps, train_step

from wss.errors import UserError
from wss.methods.bap_nal.noise_aware import LOSSES, NoiseAware
from wss.models.layers.dropout import dropout_seed
from wss.ops.losses import segmentation_loss

SEED = tf.constant([1, 2], tf.int64)
COSINE = {"classifier": "cosine"}
rng = np.random.default_rng(0)
PIXELS = tf.constant(rng.uniform(0, 255, [2, 33, 33, 3]), tf.float32)
LABEL = tf.constant(rng.choice([0, 1, 2, 3, 255], [2, 33, 33, 1]), tf.int32)
SECOND = tf.where(tf.constant(rng.uniform(size=LABEL.shape) < 0.3), (LABEL + 1) % 4, LABEL)
SECOND = tf.where(LABEL == 255, 255, SECOND)


def masked_batch(second: tf.Tensor = SECOND) -> dict:
    views = {"image": PIXELS, "strong": PIXELS, "valid": tf.ones([2, 33, 33, 1])}
    return {"pseudo": {**views, "label": LABEL, "second_label": second}}


def losses_of(method, network, batch=None, step: int = 0):
    with dropout_seed(SEED):
        return method.losses(network, batch or masked_batch(), tf.constant(step, tf.int64))


def method_of(loss: str, **options) -> NoiseAware:
    return NoiseAware(loss=loss, **({"bootstrap_steps": 10} if loss == "bootstrap" else {}), **options)


@pytest.mark.parametrize("loss", LOSSES)
def test_where_the_masks_agree_every_loss_is_the_cross_entropy(loss):
    method = method_of(loss)
    network = network_of(method, **COSINE)
    result = losses_of(method, network, masked_batch(LABEL))
    logits = network.segment(network.features(PIXELS, training=True), training=True)
    np.testing.assert_allclose(sum(result.losses.values()), segmentation_loss(logits, LABEL), rtol=1e-4)
    assert result.metrics["agreement"] == 1


@pytest.mark.parametrize("loss", ["noise_aware", "entropy", "bootstrap"])
def test_without_weight_a_loss_is_the_baseline(loss):
    network = network_of(NoiseAware(), **COSINE)
    baseline = losses_of(NoiseAware(loss="agreement"), network).losses
    assert baseline.keys() == {"segmentation"}
    for weight in (0.0, 0.1, 0.2):
        losses = losses_of(method_of(loss, weight=weight), network).losses
        np.testing.assert_allclose(losses["segmentation"], baseline["segmentation"], rtol=1e-5)
        own = losses[loss]
        if weight == 0.1:
            once = own
        assert (own == 0) == (weight == 0)
    np.testing.assert_allclose(own, 2 * once, rtol=1e-5)


def test_one_mask_alone():
    network = network_of(NoiseAware(), **COSINE)
    logits = network.segment(network.features(PIXELS, training=True), training=True)
    for loss, label in (("first_mask", LABEL), ("second_mask", SECOND)):
        found = losses_of(NoiseAware(loss=loss), network).losses["segmentation"]
        np.testing.assert_allclose(found, segmentation_loss(logits, label), rtol=1e-4)


def test_gamma_0_weighs_all_pixels_alike():
    network = network_of(NoiseAware(), **COSINE)
    plain = losses_of(NoiseAware(gamma=0.0, weight=1.0), network).losses["noise_aware"]
    label = tf.where(LABEL != SECOND, LABEL, 255)
    logits = network.segment(network.features(PIXELS, training=True), training=True)
    np.testing.assert_allclose(plain, segmentation_loss(logits, label), rtol=1e-4)


@pytest.mark.parametrize("classifier", ["cosine", "dot_product", "linear"])
def test_the_gradient_through_sigma_is_an_option(classifier):
    network = network_of(NoiseAware(), classifier=classifier)
    kernel = network.segmentation_head.layers[-1].trainable_variables[0].value
    gradients = []
    for stop in (False, True):
        with tf.GradientTape() as tape:
            losses = losses_of(NoiseAware(sigma_stop_gradient=stop), network).losses
        gradients.append(tape.gradient(losses["noise_aware"], kernel))
    assert np.isfinite(gradients).all() and np.abs(gradients[0] - gradients[1]).max() > 1e-6


def test_the_label_counts_less_in_the_course_of_bootstrapping():
    network = network_of(NoiseAware(), **COSINE)
    method = method_of("bootstrap", weight=1.0)
    at = [losses_of(method, network, step=step).losses["bootstrap"].numpy() for step in (0, 5, 10, 11)]
    labeled = losses_of(NoiseAware(gamma=0.0, weight=1.0), network).losses["noise_aware"]
    entropy = losses_of(method_of("entropy", weight=1.0), network).losses["entropy"]
    beta = 0.5**0.9
    np.testing.assert_allclose(at, [labeled, beta * labeled + (1 - beta) * entropy, entropy, entropy], rtol=1e-4)


def test_labelled_images_count_as_masks_that_agree():
    method = NoiseAware(use_labeled=True)
    assert method.streams.keys() == {"pseudo", "labeled"} and method.streams["labeled"].masks
    network = network_of(method, fine_tune_batch_norm=False, **COSINE)
    labeled = {"image": PIXELS, "strong": PIXELS, "label": LABEL, "valid": tf.ones([2, 33, 33, 1])}
    both = losses_of(method, network, {**masked_batch(), "labeled": labeled}).losses
    alone = losses_of(method, network).losses
    agreed = losses_of(method, network, masked_batch(LABEL)).losses["segmentation"].numpy()
    numbers = [np.count_nonzero((LABEL == SECOND) & (LABEL != 255)), np.count_nonzero(LABEL != 255)]
    expected = (numbers[0] * alone["segmentation"].numpy() + numbers[1] * agreed) / sum(numbers)
    np.testing.assert_allclose(both["segmentation"], expected, rtol=1e-4)
    np.testing.assert_allclose(both["noise_aware"], alone["noise_aware"], rtol=1e-4)


def test_a_sum_of_classifiers_has_no_cosines():
    options = {"head": "deeplab_v2", "output_stride": 8}
    with pytest.raises(UserError, match="NoiseAware.loss = 'noise_aware' needs a head that ends in one classifier"):
        network_of(NoiseAware(), **options)
    baseline = NoiseAware(loss="agreement")
    assert losses_of(baseline, network_of(baseline, **options)).losses["segmentation"] > 0


def test_a_hole_of_cut_out_is_void():
    network = network_of(NoiseAware(), **COSINE)
    hole = np.ones([2, 33, 33, 1], np.float32)
    hole[:, 5:20, 5:20] = 0
    batch = masked_batch()
    batch["pseudo"]["valid"] = tf.constant(hole)
    void = masked_batch()
    void["pseudo"]["label"] = tf.where(hole > 0, LABEL, 255)
    found, expected = (losses_of(NoiseAware(), network, one).losses for one in (batch, void))
    assert found == expected and found["segmentation"] != losses_of(NoiseAware(), network).losses["segmentation"]
    weak = losses_of(NoiseAware(color_jitter=False), network, batch).losses
    assert weak["segmentation"] == losses_of(NoiseAware(), network).losses["segmentation"]


def test_an_auxiliary_head_learns_where_the_masks_agree():
    network = network_of(NoiseAware(), auxiliary_head=True, **COSINE)
    none, once, twice = (losses_of(NoiseAware(auxiliary_weight=w), network).losses for w in (0.0, 0.4, 0.8))
    np.testing.assert_allclose(
        twice["segmentation"] - once["segmentation"], once["segmentation"] - none["segmentation"], rtol=1e-3
    )
    assert once["segmentation"] > none["segmentation"]
    np.testing.assert_allclose(once["noise_aware"], none["noise_aware"], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        losses = losses_of(NoiseAware(), network_of(NoiseAware(), **COSINE)).losses
    finally:
        keras.config.set_dtype_policy(before)
    exact = losses_of(NoiseAware(), network_of(NoiseAware(), **COSINE)).losses
    for name, value in losses.items():
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, exact[name], rtol=0.1)


def test_bootstrapping_is_as_long_as_the_run():
    method = NoiseAware(loss="bootstrap")
    network = network_of(method, **COSINE)
    with pytest.raises(UserError, match="NoiseAware.bootstrap_steps = None: train.num_steps"):
        losses_of(method, network)
    gin.bind_parameter("train.num_steps", 10)
    own, given = (losses_of(m, network, step=4).losses["bootstrap"] for m in (method, method_of("bootstrap")))
    assert own == given


@pytest.mark.parametrize("loss", ["noise_aware", "bootstrap"])
def test_two_replicas_learn_as_one(two_replicas, loss):
    """Each replica has the whole batch of the one."""
    method, weights = method_of(loss), []
    options = {"fine_tune_batch_norm": False, **COSINE}
    for strategy in (None, two_replicas):
        step = train_step(method, strategy, build=functools.partial(network_of, method), model_options=options)
        batch = masked_batch()
        if strategy:
            batch = {"pseudo": {name: tf.concat([value] * 2, 0) for name, value in batch["pseudo"].items()}}
        take_steps(step, batch, 2)
        weights.append([np.array(variable) for variable in step.model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_steps_agree_with_eager_ones(jit_compile):
    method = NoiseAware()
    network = network_of(method, **COSINE)
    eager = losses_of(method, network).losses
    compiled = tf.function(lambda: dict(losses_of(method, network).losses), jit_compile=jit_compile)()
    for name, value in eager.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-3)


def test_figures_show_both_masks():
    method = NoiseAware()
    figures = method.training_figures(network_of(method, **COSINE), masked_batch())
    assert [figure.title for figure in figures] == ["image", "first mask", "second mask", "decoder"]
