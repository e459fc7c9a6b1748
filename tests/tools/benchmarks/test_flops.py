"""Operations counted by hand."""

import pytest
import tensorflow as tf
from benchmarks.flops import count_flops


def _flops(function, *shapes) -> float:
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return count_flops(tf.function(function).get_concrete_function(*specs))


def test_convolution_and_its_gradients_cost_the_same_each():
    """Output 2 x 4 x 4 x 5, kernel 3 x 3 x 3: 2 * 160 * 27 operations."""

    def forward(x, w):
        return tf.nn.conv2d(x, w, 2, "SAME")

    def with_gradients(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = forward(x, w)
        return y, tape.gradient(y, [x, w])

    shapes = ([2, 8, 8, 3], [3, 3, 3, 5])
    assert _flops(forward, *shapes) == 2 * 160 * 27
    assert _flops(with_gradients, *shapes) == 3 * 2 * 160 * 27


def test_depthwise_convolution_and_its_gradients():
    def with_gradients(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME")
        return y, tape.gradient(y, [x, w])

    assert _flops(with_gradients, [1, 6, 6, 7], [3, 3, 7, 1]) == 3 * 2 * (6 * 6 * 7) * 9


@pytest.mark.parametrize("transpose_a", [False, True])
def test_matrix_product(transpose_a):
    shape = [11, 3] if transpose_a else [3, 11]
    assert _flops(lambda a, b: tf.matmul(a, b, transpose_a=transpose_a), shape, [11, 5]) == 2 * 3 * 5 * 11


def test_batched_product_and_einsum():
    assert _flops(tf.matmul, [4, 3, 11], [4, 11, 5]) == 4 * 2 * 3 * 5 * 11
    assert _flops(lambda a, b: tf.einsum("bhd,dk->bhk", a, b), [4, 3, 11], [11, 5]) == 4 * 2 * 3 * 5 * 11


def test_called_functions_count_for_each_call():
    inner = tf.function(tf.matmul)
    assert _flops(lambda a, b: inner(a, b) + inner(a, 2.0 * b), [3, 11], [11, 5]) == 2 * 2 * 3 * 5 * 11


def test_an_unknown_shape_is_an_error():
    with pytest.raises(ValueError, match="not static"):
        _flops(tf.matmul, [None, 11], [11, 5])
