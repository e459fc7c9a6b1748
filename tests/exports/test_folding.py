"""Batch norm in the convolution before it: the same numbers, in place, for a while, and in a copy."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of
from zoo import LARGE, SMALL, network_with_statistics

from wss.models import folding
from wss.models.deeplab import build_model
from wss.models.folding import fold, folded, folded_copy
from wss.models.layers.convolution import Conv2D
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


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_a_convolution_in_bfloat16_subtracts_the_mean_before_its_sum_is_rounded(mixed_bfloat16):
    """1004 + x, x of a spread of 2: rounded to 8 bits little is left of x."""
    inputs = keras.Input([5, 5, 4])
    outputs = BatchNorm(name="norm")(Conv2D(3, 1, tf1_scope="conv", use_bias=True)(inputs))
    network = keras.Model(inputs, outputs)
    convolution, norm = network.get_layer("conv"), network.get_layer("norm")
    kernel = np.random.default_rng(0).normal(0, 1, [1, 1, 4, 3]).astype(np.float32)
    convolution.kernel.assign(tf.cast(tf.cast(kernel, tf.bfloat16), tf.float32))
    convolution.bias.assign([1004.0, -1004.0, 1004.0])
    norm.moving_mean.assign([1000.0, -1000.0, 1000.0])
    norm.moving_variance.assign([1.0, 4.0, 0.25])
    x = tf.cast(tf.random.stateless_normal([2, 5, 5, 4], [0, 1]), tf.bfloat16)
    exact = tf.matmul(tf.cast(x, tf.float32), convolution.kernel[0, 0]) + convolution.bias - norm.moving_mean
    exact = exact / tf.sqrt(norm.moving_variance + norm.epsilon)

    def largest_error() -> float:
        return float(tf.reduce_max(tf.abs(tf.cast(tf.function(network)(x, training=False), tf.float32) - exact)))

    assert largest_error() > 1
    convolution.offset = norm.shift = functools.partial(folding._from_mean, convolution, norm)
    assert largest_error() < 0.1


def test_a_network_in_bfloat16_keeps_its_kernels_and_is_as_near_to_float32(mixed_bfloat16):
    network = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    keras.config.set_dtype_policy("float32")
    exact = network_with_statistics(SMALL["mobilenet_v2"], PHOTOS)
    exact.set_weights(network.get_weights())
    before = [variable.numpy() for variable in network.variables]
    logits = network(PHOTOS, training=False).numpy()

    def errors() -> dict[str, float]:
        """Returns the error of each feature: that of logits of random weights is left to chance, and to the processor."""
        expected = exact.features(PHOTOS)
        return {
            name: float(np.abs(np.asarray(x, np.float32) - expected[name]).mean())
            for name, x in network.features(PHOTOS).items()
        }

    plain = errors()
    with folded(network):
        assert all(norm.shift is not None and not norm.folded for norm in norms(network))
        assert {name: error for name, error in errors().items() if error > 1.3 * plain[name]} == {}
        with pytest.raises(ValueError, match="expected a network that only predicts"):
            network(PHOTOS, training=True)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    np.testing.assert_array_equal(network(PHOTOS, training=False), logits)


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
