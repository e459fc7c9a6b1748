"""Background-aware pooling against values by hand and against a box after the other."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.bap_nal.pooling import pool_boxes

MODES = (lambda function: function, tf.function, lambda function: tf.function(function, jit_compile=True))
modes = pytest.mark.parametrize("compiled", MODES, ids=("eager", "graph", "XLA"))
rng = np.random.default_rng(0)


def bilinear(values: np.ndarray, y: float, x: float) -> np.ndarray:
    """Returns values [h, w, D] at a point."""
    y0, x0 = min(int(y), values.shape[0] - 1), min(int(x), values.shape[1] - 1)
    y1, x1 = min(y0 + 1, values.shape[0] - 1), min(x0 + 1, values.shape[1] - 1)
    upper, lower = (values[row, x0] * (1 - (x - x0)) + values[row, x1] * (x - x0) for row in (y0, y1))
    return upper * (1 - (y - y0)) + lower * (y - y0)


def pooled_by_hand(features: np.ndarray, weights: np.ndarray, box: np.ndarray, image_size: tuple[int, int]) -> list:
    """Returns the four vectors of one box: cut out at its own resolution, then averaged over 2 x 2 parts."""
    places = []
    for axis in (0, 1):
        scale = (features.shape[axis] - 1) / (image_size[axis] - 1)
        low, high = box[axis] * scale, (box[axis + 2] - 1) * scale
        count = max(int(np.ceil(high)) - int(np.floor(low)), 1)
        places.append(np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2]))
    both = np.concatenate([features, weights], -1)
    cut = np.array([[bilinear(both, y, x) for x in places[1]] for y in places[0]])
    for axis in (0, 1):
        if cut.shape[axis] < 2:
            cut = np.repeat(cut, 2, axis)
    vectors = []
    strides = [side // 2 for side in cut.shape[:2]]
    for i in range(2):
        for j in range(2):
            rows, columns = (
                slice(k * stride, k * stride + side - stride)
                for k, stride, side in zip((i, j), strides, cut.shape[:2], strict=True)
            )
            part = cut[rows, columns]
            vectors.append((part[..., :-1] * part[..., -1:]).sum((0, 1)) / (part[..., -1].sum() + 1e-12))
    return vectors


@modes
def test_bap_and_gap_by_hand(compiled):
    features = tf.constant([[[[1.0, 0], [0, 1], [1, 1]]]])
    attention = tf.constant([[[[1.0], [0], [0.707107]]]])
    boxes = tf.constant([[[0.0, 0, 1, 17]]])
    pool = compiled(lambda weights: pool_boxes(features, weights, boxes, image_size=(1, 17), bins=1))
    np.testing.assert_allclose(pool(1 - attention)[0, 0, 0], [0.226541, 1], atol=1e-6)
    np.testing.assert_allclose(pool(tf.ones_like(attention))[0, 0, 0], [0.6667, 0.6667], atol=1e-4)


@pytest.mark.parametrize("bins", [1, 2])
def test_no_weight_gives_zero(bins):
    features = tf.ones([1, 3, 3, 2])
    pooled = pool_boxes(
        features, tf.zeros([1, 3, 3, 1]), tf.constant([[[0.0, 0, 17, 17]]]), image_size=(17, 17), bins=bins
    )
    np.testing.assert_array_equal(pooled, tf.zeros([1, 1, bins**2, 2]))


@modes
def test_two_bins_are_a_box_after_the_other(compiled):
    features = rng.uniform(0, 1, [2, 9, 12, 4]).astype(np.float32)
    weights = rng.uniform(0.1, 1, [2, 9, 12, 1]).astype(np.float32)
    image_size = (65, 89)
    corners = np.sort(rng.uniform(0, 1, [2, 30, 2, 2]), axis=2) * np.array(image_size)
    corners[:, :, 1] = np.minimum(corners[:, :, 1] + 1, image_size)  # a pixel at least
    boxes = np.concatenate([corners[:, :, 0], corners[:, :, 1]], -1).astype(np.float32)
    boxes[:, 0] = [0, 0, *image_size]
    boxes[:, 1] = [8, 16, 9, 17]  # a pixel of the feature map
    pool = compiled(lambda *inputs: pool_boxes(*inputs, image_size=image_size))
    found = pool(features, weights, boxes).numpy()
    for i in range(2):
        for number, box in enumerate(boxes[i]):
            expected = pooled_by_hand(features[i], weights[i], box, image_size)
            np.testing.assert_allclose(found[i, number], expected, rtol=2e-4, atol=1e-5, err_msg=str(box))


@pytest.mark.parametrize(("side", "parts"), [(4, ((0, 1), (2, 3))), (5, ((0, 1, 2), (2, 3, 4)))])
def test_equal_weights_are_2x2_average_pooling(side, parts):
    """A box whose samples lie on the pixels of the feature map."""
    features = rng.uniform(0, 1, [1, side + 2, side + 2, 3]).astype(np.float32)
    # From the middle of the first pixel to that of the last but one, so that there are `side` samples a pixel apart.
    box = tf.constant([[[0.5, 0.5, side + 0.5, side + 0.5]]])
    pooled = pool_boxes(features, tf.ones([1, side + 2, side + 2, 1]), box, image_size=(side + 2, side + 2))
    shifted = (features[0, :side] + features[0, 1 : side + 1]) / 2  # samples lie half a pixel further
    shifted = (shifted[:, :side] + shifted[:, 1 : side + 1]) / 2
    spread = np.linspace(0.5, side - 0.5, side)
    assert np.allclose(spread - 0.5, np.arange(side))
    expected = [shifted[np.ix_(rows, columns)].mean((0, 1)) for rows in parts for columns in parts]
    np.testing.assert_allclose(pooled[0, 0], expected, rtol=1e-5)


def test_features_scale_and_weights_do_not():
    features = tf.constant(rng.uniform(0, 1, [1, 5, 5, 3]), tf.float32)
    weights = tf.constant(rng.uniform(0.1, 1, [1, 5, 5, 1]), tf.float32)
    box = tf.constant([[[3.0, 5, 30, 21]]])
    pooled = pool_boxes(features, weights, box, image_size=(33, 33))
    np.testing.assert_allclose(pool_boxes(4 * features, weights, box, image_size=(33, 33)), 4 * pooled, rtol=1e-5)
    np.testing.assert_allclose(pool_boxes(features, 0.5 * weights, box, image_size=(33, 33)), pooled, rtol=1e-5)


def test_a_tiny_box_has_the_nearest_pixel():
    features = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    box = tf.constant([[[11.0, 11, 12, 12]]])  # at 1.375 of the feature map
    pooled = pool_boxes(features, tf.ones_like(features), box, image_size=(17, 17), bins=1)
    assert pooled.numpy().item() == 4


def test_gradients_are_finite():
    features = tf.Variable(rng.uniform(0, 1, [1, 4, 4, 3]).astype(np.float32))
    boxes = tf.constant([[[0.0, 0, 25, 25], [3, 4, 4, 5], [0, 0, 0, 0]]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool_boxes(features, tf.zeros([1, 4, 4, 1]), boxes, image_size=(25, 25)))
    assert np.isfinite(tape.gradient(total, features)).all()
