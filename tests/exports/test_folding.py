"""Batch norm in the convolution before it: the same numbers, in place, for a while, and in a copy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of
from zoo import LARGE, SMALL, network_with_statistics

from wss.models.deeplab import build_model
from wss.models.folding import fold, folded, folded_copy
from wss.models.layers.normalization import BatchNorm

PHOTOS = np.random.default_rng(1).uniform(0, 255, (2, 65, 81, 3)).astype(np.float32)


ZOO = pytest.mark.parametrize(
    "options",
    [*SMALL.values(), *(pytest.param(one, marks=pytest.mark.slow) for one in LARGE.values())],
    ids=[*SMALL, *LARGE],
)


@ZOO
def test_a_folded_network_gives_the_same(options):
    network = network_with_statistics(options, PHOTOS)
    logits, copy = network(PHOTOS, training=False).numpy(), folded_copy(network)
    np.testing.assert_allclose(copy(PHOTOS).numpy(), logits, atol=1e-3 * np.abs(logits).max())
    assert not any(isinstance(layer, BatchNorm) for layer in copy._flatten_layers())
    assert not copy.non_trainable_variables


def norms(network):
    return [layer for layer in network._flatten_layers() if isinstance(layer, BatchNorm)]


@ZOO
def test_a_network_that_is_folded_in_place_predicts_the_same(options):
    network = network_with_statistics(options, PHOTOS)
    features, logits = network.features(PHOTOS), network(PHOTOS).numpy()
    fold(network)
    for name, value in network.features(PHOTOS).items():
        np.testing.assert_allclose(value, features[name], atol=1e-3 * np.abs(features[name]).max(), err_msg=name)
    once = network(PHOTOS, training=False).numpy()
    np.testing.assert_allclose(once, logits, atol=1e-3 * np.abs(logits).max())
    fold(network)  # does nothing
    np.testing.assert_array_equal(network(PHOTOS), once)


def test_all_norms_that_follow_a_convolution_are_folded():
    network = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    fold(network)
    assert all(norm.folded for norm in norms(network))
    graph = tf.function(network).get_concrete_function(tf.TensorSpec([1, 65, 65, 3])).graph
    assert not [op.name for op in graph.get_operations() if op.type in ("Rsqrt", "FusedBatchNorm", "FusedBatchNormV3")]


def test_a_network_that_is_folded_for_a_while_is_as_before_to_the_bit():
    network = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    before = [variable.numpy() for variable in network.variables]
    logits = network(PHOTOS).numpy()
    with pytest.raises(KeyboardInterrupt), folded(network):
        assert all(norm.folded for norm in norms(network))
        raise KeyboardInterrupt
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    np.testing.assert_array_equal(network(PHOTOS), logits)
    assert not any(norm.folded for norm in norms(network))


def test_folded_for_a_while_leaves_a_folded_network_folded():
    network = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    fold(network)
    with folded(network):
        pass
    assert all(norm.folded for norm in norms(network))


def test_a_folded_network_neither_trains_nor_is_saved(tmp_path):
    network = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    with folded(network):
        with pytest.raises(ValueError, match="expected a network that only predicts"):
            network(PHOTOS, training=True)
        with pytest.raises(ValueError, match="expected a network that only predicts"):
            network.save_weights(tmp_path / "folded.weights.h5")
    network.save_weights(tmp_path / "own.weights.h5")


def test_a_network_of_two_replicas_is_folded_on_both(two_replicas):
    with two_replicas.scope():
        network = build_model(dataset_of(3), **SMALL["mobilenet_v2"])
    plain = network(PHOTOS).numpy()
    fold(network)
    outputs = two_replicas.run(tf.function(lambda: network(PHOTOS)))
    for logits in two_replicas.experimental_local_results(outputs):
        np.testing.assert_allclose(logits, plain, atol=1e-3 * np.abs(plain).max())


def test_a_network_of_mixed_precision_is_folded_into_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_model(dataset_of(3), **SMALL["mobilenet_v2"])
    finally:
        keras.config.set_dtype_policy("float32")
    copy = folded_copy(network)
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
    np.testing.assert_allclose(folded_copy(network)(photos).numpy(), logits, atol=1e-3 * np.abs(logits).max())
