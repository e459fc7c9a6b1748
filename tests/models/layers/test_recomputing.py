"""Blocks that are computed again for the gradient: the same gradients, and statistics that move once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, random_batch, take_steps, train_step
from zoo import LARGE, SMALL

from wss.methods.supervised import Supervised
from wss.models.deeplab import DeepLab, build_model
from wss.models.layers.dropout import dropout_seed
from wss.models.layers.read_once import read_once

TINY = {"backbone": "mobilenet_v2", "depth_multiplier": 0.25}


def network(options: dict, recompute: bool) -> DeepLab:
    keras.utils.set_random_seed(0)
    return build_model(dataset_of(4), **options, recompute=recompute)


def two_passes(model: DeepLab) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients and statistics after two training passes, whose sum is the loss."""
    images = tf.random.stateless_uniform([2, 65, 65, 3], [1, 2], maxval=255.0)

    @tf.function(autograph=False)
    def gradients() -> list[tf.Tensor]:
        with read_once(model.variables) as value_of, dropout_seed(tf.constant([0, 1], tf.int64)):
            weights = [value_of(variable) for variable in model.trainable_variables]
            with tf.GradientTape() as tape:
                tape.watch(weights)
                passes = [model(scale * images, training=True) for scale in (1.0, 0.5)]
                loss = tf.add_n([tf.reduce_mean(tf.square(logits)) for logits in passes])
        return tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return [gradient.numpy() for gradient in gradients()], [value.numpy() for value in model.non_trainable_variables]


@pytest.mark.parametrize(
    "options",
    [*SMALL.values(), *(pytest.param(one, marks=pytest.mark.slow) for one in LARGE.values())],
    ids=[*SMALL, *LARGE],
)
def test_gradients_and_statistics_are_the_same(options):
    plain, again = (network(options, recompute) for recompute in (False, True))
    start = [value.numpy() for value in plain.non_trainable_variables]
    (gradients, statistics), (found, found_statistics) = two_passes(plain), two_passes(again)
    assert any(np.any(value != before) for value, before in zip(statistics, start, strict=True)) or not statistics
    variables = [*plain.trainable_variables, *plain.non_trainable_variables]
    for variable, expected, value in zip(
        variables, [*gradients, *statistics], [*found, *found_statistics], strict=True
    ):
        np.testing.assert_allclose(value, expected, atol=1e-6 + 1e-3 * np.abs(expected).max(), err_msg=variable.path)


def test_steps_on_two_replicas_are_the_same(two_replicas):
    reports = [
        take_steps(
            train_step(
                Supervised(),
                two_replicas,
                build=lambda recompute=recompute: network(TINY, recompute),
            ),
            {"labeled": random_batch(batch_size=4)["labeled"]},
            2,
        )
        for recompute in (False, True)
    ]
    assert reports[0][0]["total"] != reports[0][1]["total"]
    assert reports[0] == reports[1]


def test_weights_are_those_of_the_plain_network(tmp_path):
    plain, again = (network(TINY, recompute) for recompute in (False, True))
    assert [variable.path for variable in plain.variables] == [variable.path for variable in again.variables]
    again.variables[0].assign_add(tf.ones_like(again.variables[0]))
    again.save_weights(tmp_path / "again.weights.h5")
    plain.load_weights(tmp_path / "again.weights.h5")
    for variable, expected in zip(plain.variables, again.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_inference_computes_nothing_twice():
    images = tf.zeros([1, 33, 33, 3])
    plain, again = (
        tf.function(network(TINY, recompute)).get_concrete_function(images).graph.get_operations()
        for recompute in (False, True)
    )
    assert [operation.type for operation in again] == [operation.type for operation in plain]


def test_a_frozen_backbone_computes_nothing_twice():
    frozen = {**TINY, "freeze_encoder": True}
    (_, plain), (_, again) = (two_passes(network(frozen, recompute)) for recompute in (False, True))
    assert network(frozen, True)._recomputing is None
    for expected, value in zip(plain, again, strict=True):
        np.testing.assert_array_equal(value, expected)
