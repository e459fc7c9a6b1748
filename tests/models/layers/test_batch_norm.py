"""BatchNorm against Keras, hand values, and itself in every mode it runs in."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.models.layers.normalization import BatchNorm, batch_norm_updates

MOMENTUM = 0.9
# One channel, values 1 and 3: mean 2, variance 1, unbiased variance 2.
HAND = np.array([1.0, 3.0], np.float32).reshape(1, 1, 2, 1)
HAND_MEAN = 0.2
HAND_VARIANCE = 0.9 + 0.1 * 2.0


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(2.0, 3.0, (4, 5, 6, 3)).astype(np.float32)


@pytest.fixture
def strategy(two_replicas):
    return two_replicas


def per_replica(strategy, array):
    halves = np.split(array, 2)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )


def built(**kwargs):
    layer = BatchNorm(momentum=MOMENTUM, **kwargs)
    layer.build((None, None, None, 3))
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return layer


def statistics(layer):
    return np.stack([layer.moving_mean.numpy(), layer.moving_variance.numpy()])


def pass_and_gradients(layer, images):
    probe = np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * probe)
    return outputs, tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])


def test_equals_keras_in_training_and_inference(images):
    ours = built(epsilon=1e-3)
    theirs = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-3)
    theirs.build(images.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    outputs, gradients = pass_and_gradients(ours, images)
    expected, expected_gradients = pass_and_gradients(theirs, images)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "function", "xla"])
def test_moving_statistics_by_hand(mode):
    layer = BatchNorm(momentum=MOMENTUM)

    def step(x):
        return layer(x, training=True)

    layer.build(HAND.shape)
    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    outputs = step(tf.constant(HAND))
    np.testing.assert_allclose(np.ravel(outputs), [-0.9995, 0.9995], atol=1e-6)
    np.testing.assert_allclose(statistics(layer)[:, 0], [HAND_MEAN, HAND_VARIANCE], rtol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
def test_moving_statistics_under_two_replicas(strategy, traced):
    """Each replica moves its own copy; reading gives the mean.

    The second replica sees 5 and 9: mean 7, unbiased variance 8.
    """
    with strategy.scope():
        layer = BatchNorm(momentum=MOMENTUM)
        layer.build(HAND.shape)
    values = per_replica(strategy, np.concatenate([HAND, 2 * HAND + 3]))

    def step(x):
        return strategy.run(lambda x: layer(x, training=True), [x])

    (tf.function(step) if traced else step)(values)
    mean, variance = (HAND_MEAN + 0.7) / 2, (HAND_VARIANCE + 0.9 + 0.8) / 2
    np.testing.assert_allclose(statistics(layer)[:, 0], [mean, variance], rtol=1e-6)
    layer.moving_mean.assign([4.0])
    copies = strategy.run(lambda: layer.moving_mean.value + 0.0)
    np.testing.assert_array_equal(strategy.experimental_local_results(copies), [[4.0], [4.0]])


def test_synchronized_equals_one_global_batch(strategy, images):
    alone = built()
    probe = np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
    with strategy.scope():
        layer = built(synchronized=True)

    @tf.function
    def step(x, probe):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * probe)
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        context = tf.distribute.get_replica_context()
        return outputs, gradients[0], context.all_reduce(tf.distribute.ReduceOp.SUM, gradients[1:])

    outputs, gradient, summed = strategy.run(step, [per_replica(strategy, images), per_replica(strategy, probe)])
    outputs, gradient = (np.concatenate(strategy.experimental_local_results(x)) for x in (outputs, gradient))
    parameters = [strategy.experimental_local_results(x)[0] for x in summed]
    expected, expected_gradients = pass_and_gradients(alone, images)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradients[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parameters, expected_gradients[1:], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(statistics(layer), statistics(alone), rtol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_updates_can_be_switched_off(images, traced):
    layer = built()
    before = statistics(layer)
    with batch_norm_updates(False):
        with batch_norm_updates(True):
            layer(images, training=True)  # off outside, off inside
        step = tf.function(lambda x: layer(x, training=True)) if traced else lambda x: layer(x, training=True)
        quiet = step(images)
    np.testing.assert_array_equal(statistics(layer), before)
    np.testing.assert_allclose(layer(images, training=True), quiet, rtol=1e-5, atol=1e-6)
    assert np.all(statistics(layer) != before)


def test_switch_is_local_to_the_thread(images):
    layer = built()
    before = statistics(layer)
    with batch_norm_updates(False):
        thread = threading.Thread(target=lambda: layer(images, training=True))
        thread.start()
        thread.join()
    assert np.all(statistics(layer) != before)


def test_without_fine_tune_the_moving_statistics_rule_and_parameters_train(images):
    layer = built(fine_tune=False)
    before = statistics(layer)
    outputs, (_, gamma, beta) = pass_and_gradients(layer, images)
    normal = (images - before[0]) / np.sqrt(before[1] + layer.epsilon)
    np.testing.assert_allclose(outputs, normal * layer.gamma + layer.beta, rtol=1e-4, atol=1e-5)
    probe = np.random.default_rng(2).normal(size=images.shape)
    np.testing.assert_allclose(gamma, (probe * normal).sum((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(beta, probe.sum((0, 1, 2)), rtol=1e-3)
    np.testing.assert_array_equal(statistics(layer), before)


def test_not_trainable_means_inference(images):
    layer = built()
    expected = layer(images)
    layer.trainable = False
    np.testing.assert_array_equal(layer(images, training=True), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [False, True])
def test_half_precision_keeps_float32_statistics(images, dtype, training):
    full, half = built(), built(dtype=f"mixed_{dtype}")
    outputs = half(images, training=training)
    assert outputs.dtype == dtype
    assert {variable.dtype for variable in half.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(outputs, "float32"), full(images, training=training), atol=0.05)
    np.testing.assert_allclose(statistics(half), statistics(full), rtol=1e-2)


def test_without_scale_and_configuration(images):
    layer = built(
        scale=False,
        epsilon=0.01,
        synchronized=True,
        fine_tune=False,
        tf1_scope="net/conv/BatchNorm",
    )
    assert [variable.name for variable in layer.weights] == [
        "beta",
        "moving_mean",
        "moving_variance",
    ]
    assert layer.name == "net.conv.BatchNorm"
    copy = BatchNorm.from_config(layer.get_config())
    copy.build(images.shape)
    copy.set_weights(layer.get_weights())
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(images), layer(images))
