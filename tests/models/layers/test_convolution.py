"""Convolutions on crops that are small for their rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.models.layers.convolution import DepthwiseConv2D


@pytest.mark.parametrize("size", [(9, 9), (9, 5), (12, 9), (13, 9), (25, 30)])
@pytest.mark.parametrize("rate", [1, 12])
def test_depthwise_convolutions_are_those_of_keras(size, rate):
    """Up to a side of 12 the kernel's middle is all that a rate of 12 sees."""
    images = tf.random.stateless_normal([2, *size, 4], [0, 1])
    ours = DepthwiseConv2D(3, dilation_rate=rate, tf1_scope="depthwise", bias_initializer="ones")
    theirs = keras.layers.DepthwiseConv2D(3, dilation_rate=rate, padding="same")
    results = []
    for layer in (ours, theirs):
        layer.build(images.shape)
        layer.set_weights([np.random.default_rng(0).normal(size=(3, 3, 4, 1)), np.arange(4.0)])
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            loss = tf.reduce_sum(outputs**3)
        kernel, image = tape.gradient(loss, [layer.kernel.value, images])
        results.append([outputs, kernel, image])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert (np.count_nonzero(results[0][1]) == 4) == (rate == 12 and max(size) <= 12)


def test_small_crops_need_no_rearrangement():
    layer = DepthwiseConv2D(3, dilation_rate=12, tf1_scope="depthwise", use_bias=False)
    kinds = {}
    for side in (9, 13):
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec([2, side, side, 4])).graph
        kinds[side] = {op.type for op in graph.get_operations()}
    assert "SpaceToBatchND" in kinds[13] and "SpaceToBatchND" not in kinds[9]
