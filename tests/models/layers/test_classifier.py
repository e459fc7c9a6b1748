"""The cosine classifier: bounds, invariances and values by hand, and gradients where there is no direction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.models.layers.classifier import CosineClassifier, cosines

SCALE = 20.0


def random_features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def classifier_of(kernel):
    layer = CosineClassifier(kernel.shape[1], scale=SCALE, tf1_scope="logits/semantic")
    layer.build((None, None, None, kernel.shape[0]))
    layer.kernel.assign(kernel[None, None])
    return layer


def test_logits_are_scaled_cosines_by_hand():
    """Angles of 0, 45, 90 and 180 degrees."""
    layer = classifier_of(np.float32([[2, 3, 0, -5], [0, 3, 7, 0]]))
    logits = layer(np.float32([[[[0.5, 0]]]]))
    np.testing.assert_allclose(logits[0, 0, 0], [20, 20 / np.sqrt(2), 0, -20], rtol=1e-6, atol=1e-6)


def test_they_are_cosines_of_numpy_and_within_the_scale():
    phi, kernel = random_features(2, 5, 7, 16), random_features(16, 6)
    phi[0, 0, 0] = 3 * kernel[:, 2]
    products = phi @ kernel
    expected = products / np.linalg.norm(phi, axis=-1, keepdims=True) / np.linalg.norm(kernel, axis=0)
    layer = classifier_of(kernel)
    for run in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
        logits = run(phi).numpy()
        np.testing.assert_allclose(logits, SCALE * expected, atol=1e-4)
        assert np.abs(logits).max() <= SCALE and logits[0, 0, 0, 2] == pytest.approx(SCALE)


@pytest.mark.parametrize("factor", [1e-8, 0.125, 3.0, 1e8])
def test_lengths_do_not_matter(factor):
    phi, kernel = random_features(1, 3, 3, 8), random_features(8, 4)
    expected = classifier_of(kernel)(phi)
    np.testing.assert_allclose(classifier_of(kernel)(factor * phi), expected, atol=1e-4)
    longer = kernel * np.float32([factor, 1, 2, 5])
    np.testing.assert_allclose(classifier_of(longer)(phi), expected, atol=1e-4)


def test_the_surest_probability_of_21_classes():
    """cos = (1, -1, ..., -1): 1 / (1 + 20 e^-40)."""
    kernel = np.tile(np.float32([[-1], [0]]), (1, 21))
    kernel[0, 0] = 1
    logits = classifier_of(kernel)(np.float32([[[[0.3, 0]]]]))[0, 0, 0]
    np.testing.assert_array_equal(logits, [SCALE] + 20 * [-SCALE])
    exact = 1 / (1 + 20 * np.exp(-40))
    assert float(tf.nn.softmax(tf.cast(logits, tf.float64))[0]) == pytest.approx(exact, abs=1e-16)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_zero_vector_has_no_angle_and_no_gradient(compiled):
    phi, kernel = random_features(1, 2, 2, 8), random_features(8, 4)
    phi[0, 1, 1], kernel[:, 3] = 0, 0

    def gradients(phi, kernel):
        with tf.GradientTape() as tape:
            tape.watch([phi, kernel])
            logits = SCALE * cosines(phi, kernel[None, None])
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.ones([1, 2, 2], tf.int32), logits))
        return logits, *tape.gradient(loss, [phi, kernel])

    run = tf.function(gradients) if compiled else gradients
    logits, of_phi, of_kernel = run(tf.constant(phi), tf.constant(kernel))
    assert not np.any(logits[0, 1, 1]) and not np.any(logits[..., 3])
    assert not np.any(of_phi[0, 1, 1]) and not np.any(of_kernel[:, 3])
    assert np.isfinite(of_phi).all() and np.isfinite(of_kernel).all() and np.any(of_phi) and np.any(of_kernel)


def test_gradients_are_those_of_differences():
    kernel = tf.constant(random_features(1, 1, 5, 3), tf.float32)
    theoretical, numerical = tf.test.compute_gradient(
        lambda phi: cosines(phi, kernel), [tf.constant(random_features(1, 1, 2, 5))], delta=1e-2
    )
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=2e-3)


def test_bfloat16_features_give_float32_logits():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = classifier_of(random_features(8, 4))
        phi = tf.cast(random_features(1, 2, 3, 8), tf.bfloat16)
        logits = layer(phi)
    finally:
        keras.config.set_dtype_policy(before)
    assert logits.dtype == "float32" and layer.kernel.dtype == "float32"
    np.testing.assert_allclose(logits, SCALE * cosines(tf.cast(phi, tf.float32), layer.kernel.value), rtol=1e-6)


def test_a_copy_from_its_configuration():
    layer = CosineClassifier(
        3, scale=5.0, kernel_initializer=keras.initializers.RandomNormal(stddev=0.5), tf1_scope="a/b"
    )
    copy = CosineClassifier.from_config(layer.get_config())
    assert (copy.name, copy.scale, copy.num_classes, copy.tf1_scope) == ("a.b", 5.0, 3, "a/b")
    assert copy.kernel_initializer.stddev == 0.5 and copy.compute_output_shape((2, 4, 5, 8)) == (2, 4, 5, 3)
