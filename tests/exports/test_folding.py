"""Networks without batch norm: the same numbers, with no variable that training moves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of
from zoo import LARGE, SMALL, network_with_statistics

from wss.models.deeplab import build_model
from wss.models.folding import folded
from wss.models.layers.normalization import BatchNorm


@pytest.mark.parametrize(
    "options",
    [*SMALL.values(), *(pytest.param(one, marks=pytest.mark.slow) for one in LARGE.values())],
    ids=[*SMALL, *LARGE],
)
def test_a_folded_network_gives_the_same(options):
    photos = np.random.default_rng(1).uniform(0, 255, (2, 65, 81, 3)).astype(np.float32)
    network = network_with_statistics(options, photos)
    logits, copy = network(photos, training=False).numpy(), folded(network)
    np.testing.assert_allclose(copy(photos).numpy(), logits, atol=1e-3 * np.abs(logits).max())
    assert not any(isinstance(layer, BatchNorm) for layer in copy._flatten_layers())
    assert not copy.non_trainable_variables


def test_a_network_of_mixed_precision_is_folded_into_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_model(dataset_of(3), **SMALL["mobilenet_v2"])
    finally:
        keras.config.set_dtype_policy("float32")
    copy = folded(network)
    assert {layer.compute_dtype for layer in copy._flatten_layers() if layer.weights} == {"float32"}
    photos = np.random.default_rng(1).uniform(0, 255, (1, 65, 65, 3)).astype(np.float32)
    np.testing.assert_allclose(copy(photos), network(photos, training=False), atol=2e-2)


def test_statistics_of_two_replicas_are_averaged(two_replicas):
    with two_replicas.scope():
        network = build_model(dataset_of(3), **SMALL["mobilenet_v2"], batch_norm_momentum=0.0)
    photos = np.random.default_rng(1).uniform(0, 255, (2, 33, 33, 3)).astype(np.float32)

    @tf.function
    def train():
        context = tf.distribute.get_replica_context()
        own = tf.gather(tf.constant(photos), [context.replica_id_in_sync_group])
        return network(own, training=True)

    two_replicas.run(train)
    logits = network(photos, training=False).numpy()
    np.testing.assert_allclose(folded(network)(photos).numpy(), logits, atol=1e-3 * np.abs(logits).max())
