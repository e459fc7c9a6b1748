"""Self-training on tiny networks: each half has its own mean, its own pass and, if there is one, its auxiliary loss."""

import numpy as np
import pytest
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.methods.dars.self_training import SelfTraining, pseudo_label_fit
from wss.models.deeplab import build_model
from wss.ops.losses import segmentation_loss

CLASSES, SIZE = 4, 33
INFO = DatasetInfo("tiny", ("background", "a", "b", "c"), ((0, 0, 0),) * CLASSES, {})
STEP = tf.constant(0, tf.int64)


def tiny_model(**kwargs):
    tf.keras.utils.set_random_seed(1)
    return build_model(INFO, backbone="mobilenet_v2", depth_multiplier=0.25, dropout=0.0, **kwargs)


def half(seed, batch_size=2, ignored=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, (batch_size, SIZE, SIZE, 1))
    label[:, :ignored] = 255
    images = rng.uniform(0, 255, (batch_size, SIZE, SIZE, 3))
    return {
        "image": tf.constant(images, tf.float32),
        "label": tf.constant(label, tf.int32),
        "valid": tf.ones([batch_size, SIZE, SIZE, 1]),
    }


def losses_of(method, model, batch):
    return {name: float(loss) for name, loss in method.losses(model, batch, STEP).losses.items()}


@pytest.mark.parametrize("upsample_logits", [True, False])
def test_each_half_is_a_mean_over_its_own_labelled_pixels_in_its_own_pass(upsample_logits):
    """Passes of the same network, one half at a time, each with its own batch statistics."""
    batch = {"labeled": half(0, ignored=4), "pseudo": half(1, ignored=25)}
    alone = {
        stream: float(
            segmentation_loss(
                tiny_model()(part["image"], training=True), part["label"], upsample_logits=upsample_logits
            )
        )
        for stream, part in batch.items()
    }
    losses = losses_of(SelfTraining(pseudo_weight=0.5, upsample_logits=upsample_logits), tiny_model(), batch)
    np.testing.assert_allclose(losses["segmentation"], alone["labeled"], rtol=1e-5)
    np.testing.assert_allclose(losses["pseudo"], 0.5 * alone["pseudo"], rtol=1e-5)


def test_both_halves_train_the_auxiliary_head():
    model = tiny_model(head="pspnet")
    batch = {"labeled": half(0), "pseudo": half(1)}
    main = losses_of(SelfTraining(auxiliary_weight=0.0), model, batch)
    both = losses_of(SelfTraining(auxiliary_weight=0.4), model, batch)
    more = losses_of(SelfTraining(auxiliary_weight=0.8), model, batch)
    for name, loss in main.items():
        assert both[name] > loss
        np.testing.assert_allclose(more[name] - loss, 2 * (both[name] - loss), rtol=1e-3)


@pytest.mark.parametrize("empty", ["labeled", "pseudo"])
def test_a_half_without_labels_adds_nothing(empty):
    batch = {"labeled": half(0), "pseudo": half(1)}
    batch[empty] = half(2, ignored=SIZE)
    model = tiny_model()
    with tf.GradientTape(persistent=True) as tape:
        result = SelfTraining().losses(model, batch, STEP)
    losses = result.losses
    name = {"labeled": "segmentation"}.get(empty, empty)
    variables = [variable.value for variable in model.segmentation_head.trainable_variables]
    assert losses[name] == 0 and not any(np.any(gradient) for gradient in tape.gradient(losses[name], variables))
    (other,) = losses.keys() - {name}
    assert losses[other] > 0 and all(np.isfinite(metric) for metric in result.metrics.values())


def test_fit_by_hand():
    """Of four pixels one is padding and one has no label; one of the other two is as the model says."""
    logits = tf.one_hot([[[0, 1], [2, 3]]], 4)
    pseudo = {"label": tf.constant([[0, 2], [255, 255]])[None, ..., None]}
    pseudo["valid"] = tf.constant([[1.0, 1.0], [1.0, 0.0]])[None, ..., None]
    fit = pseudo_label_fit(logits, pseudo)
    np.testing.assert_allclose(fit["pseudo/labeled_share"], 2 / 3)
    np.testing.assert_allclose(fit["pseudo/accuracy"], 1 / 2)
    assert fit["known/labels"] == 1
    nothing = pseudo_label_fit(logits, {**pseudo, "label": tf.fill([1, 2, 2, 1], 255)})
    assert nothing["known/labels"] == 0 and nothing["pseudo/accuracy"] == 0


def test_training_figures_show_the_pseudo_labelled_half():
    batch = {"labeled": half(0), "pseudo": half(1)}
    figures = {figure.title: figure.values for figure in SelfTraining().training_figures(tiny_model(), batch)}
    np.testing.assert_array_equal(figures["image"], batch["pseudo"]["image"])
    np.testing.assert_array_equal(figures["label"], batch["pseudo"]["label"])
    np.testing.assert_allclose(np.sum(figures["decoder"], -1), 1, rtol=1e-5)


@pytest.mark.slow
def test_step_is_the_same_eagerly_compiled_and_on_two_replicas(two_replicas):
    method, batch = SelfTraining(), {"labeled": half(0), "pseudo": half(1, ignored=9)}
    reference = losses_of(method, tiny_model(), batch)
    model = tiny_model()
    graph = tf.function(lambda parts: method.losses(model, parts, STEP).losses)(batch)
    with two_replicas.scope():
        mirrored = tiny_model()
    run = tf.function(lambda parts: two_replicas.run(lambda p: method.losses(mirrored, p, STEP).losses, (parts,)))
    replicas = run(batch)
    for name, loss in reference.items():
        np.testing.assert_allclose(graph[name], loss, rtol=1e-4)
        np.testing.assert_allclose(two_replicas.experimental_local_results(replicas[name]), [loss] * 2, rtol=1e-4)
