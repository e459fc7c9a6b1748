"""Prediction functions on models whose answer is known in closed form."""

import numpy as np
import pytest
import tensorflow as tf

from wss.data.padding import Padding
from wss.inference import prediction as inference
from wss.inference.photo_predictor import Labeling, PhotoPredictor
from wss.inference.photos import Photo
from wss.inference.prediction import (
    predict,
    predict_and_explain,
    predict_sliding,
    scaled_size,
    to_image_size,
    valid_pixels,
)
from wss.methods.base import Figure
from wss.ops.dense_crf import CRFSettings, dense_crf
from wss.ops.resizing import resize_bilinear

IMAGES = np.random.default_rng(0).uniform(-1, 1, [2, 9, 13, 3]).astype(np.float32)
BLACK = (0.0, 0.0, 0.0)
KERNEL = np.random.default_rng(1).normal(size=[3, 4]).astype(np.float32)


def pixelwise(images, training):
    """Logits that depend on their own pixel only."""
    assert training is False
    return images @ KERNEL


def strided(images, training):
    """Logits at every fourth pixel, as a network with a decoder at stride 4 has them."""
    return pixelwise(images[:, ::4, ::4], training)


def by_column(images, training):
    """Logits (x, 0) at column x: what is seen depends on where the window lies."""
    ramp = tf.range(tf.shape(images)[2], dtype=tf.float32) + images[..., 0] * 0
    return tf.stack([ramp, tf.zeros_like(ramp)], axis=-1)


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float32)))


def test_whole_image_is_the_softmax_of_the_logits():
    probabilities = predict(pixelwise, IMAGES)
    assert probabilities.dtype == tf.float32
    np.testing.assert_allclose(probabilities, softmax(IMAGES @ KERNEL), rtol=1e-5)


def test_logits_are_upsampled_before_the_softmax_with_aligned_corners():
    """Two logits (0, 0) and (4, 0) over a width of five: the ramp 0, 1, 2, 3, 4."""
    images = np.zeros([1, 1, 5, 3], np.float32)
    images[0, 0, 4, 0] = 4
    kernel = np.array([[1, 0], [0, 0], [0, 0]], np.float32)
    probabilities = predict(lambda images, training: images[:, :, ::4] @ kernel, images)
    np.testing.assert_allclose(probabilities[0, 0, :, 0], sigmoid(range(5)), rtol=1e-5)


def test_scales_resize_the_image_and_average():
    """A ramp sampled at scale 2 is the same ramp, so a pixelwise model must answer the same."""
    ramp = np.linspace(-1, 1, 13, dtype=np.float32)[None, None, :, None] * np.ones([1, 9, 1, 3], np.float32)
    seen = []

    def model(images, training):
        seen.append(tuple(images.shape[1:3]))
        return pixelwise(images, training)

    probabilities = predict(model, tf.constant(ramp), scales=(0.5, 1.0, 2.0))
    assert seen == [(5, 7), (9, 13), (17, 25)]
    np.testing.assert_allclose(probabilities, softmax(ramp @ KERNEL), rtol=1e-4)


def test_scales_are_averaged_with_equal_weight():
    """The model answers class 0 on the small image and class 1 on the large one."""

    def model(images, training):
        large = float(images.shape[1] > 9)
        return tf.ones_like(images[..., :1]) * [100 * (1 - large), 100 * large]

    probabilities = predict(model, IMAGES, scales=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(probabilities[0, 0, 0], [1 / 3, 2 / 3], rtol=1e-5)


def test_flip_averages_with_the_mirrored_prediction():
    images = np.zeros([1, 2, 4, 3], np.float32)
    expected = (sigmoid([0, 1, 2, 3]) + sigmoid([3, 2, 1, 0])) / 2
    probabilities = predict(by_column, images, flip=True)
    np.testing.assert_allclose(probabilities[0, 1, :, 0], expected, rtol=1e-5)


def test_flip_changes_nothing_for_a_pixelwise_model():
    np.testing.assert_allclose(predict(pixelwise, IMAGES, flip=True), softmax(IMAGES @ KERNEL), rtol=1e-5)


def test_one_window_is_the_whole_image():
    expected = predict(strided, IMAGES, flip=True)
    actual = predict_sliding(strided, IMAGES, (9, 13), pad_value=BLACK, flip=True)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (5, 7)), (1.5, (13, 19))])
def test_one_window_of_the_scaled_images_size_is_the_whole_scaled_image(scale, size):
    expected = resize_bilinear(predict(strided, resize_bilinear(IMAGES, size), flip=True), (9, 13))
    actual = predict_sliding(strided, IMAGES, size, pad_value=BLACK, scales=(scale,), flip=True)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_an_image_smaller_than_a_window_lies_in_the_middle_of_its_padding():
    """9 x 13 in 12 x 13: one row above, two below; and the padding is not predicted."""
    seen = []

    def model(images, training):
        seen.append(images)
        return pixelwise(images, training)

    actual = predict_sliding(model, IMAGES, (12, 5), pad_value=(1.0, 2.0, 3.0), stride=0.8)
    padded = np.broadcast_to(np.float32([1, 2, 3]), [2, 12, 13, 3]).copy()
    padded[:, 1:10] = IMAGES
    np.testing.assert_array_equal(seen[0][2:4], padded[:, :, 4:9])  # the second window, of both images
    np.testing.assert_allclose(actual, softmax(IMAGES @ KERNEL), rtol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [((4, 4), 0.5), ((5, 3), 2 / 3), ((9, 1), 1.0)])
def test_windows_cover_the_image_and_each_image_keeps_its_own(window, stride):
    actual = tf.function(predict_sliding)(pixelwise, IMAGES, window, pad_value=BLACK, stride=stride)
    np.testing.assert_allclose(actual, softmax(IMAGES @ KERNEL), rtol=1e-5)


def test_windows_average_where_they_overlap():
    """Width 6, window 3, stride 2: windows at 0, 2 and, moved back to the border, 3."""
    s0, s1, s2 = sigmoid([0, 1, 2])
    expected = [s0, s1, (s2 + s0) / 2, (s1 + s0) / 2, (s2 + s1) / 2, s2]
    images = np.zeros([1, 1, 6, 3], np.float32)
    probabilities = predict_sliding(by_column, images, (1, 3), pad_value=BLACK, stride=2 / 3)
    np.testing.assert_allclose(probabilities[0, 0, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, None])
def test_the_number_of_windows_at_once_changes_only_the_batches(at_once):
    """Five windows of height 9 and width 5, at columns 0, 2, 4, 6, 8."""
    sizes = []

    def model(images, training):
        sizes.append(images.shape[0])
        return by_column(images, training)

    settings = {"window": (9, 5), "pad_value": BLACK, "stride": 0.4}
    expected = predict_sliding(by_column, IMAGES, **settings, windows_at_once=5)
    actual = tf.function(predict_sliding)(model, IMAGES, **settings, windows_at_once=at_once)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert set(sizes) == {{1: 2, 2: 4, 3: 6, 5: 10, None: 10}[at_once]}


def test_windows_average_in_both_directions():
    """Four windows of 2 x 2 on 3 x 3 pixels: one covers a corner, two an edge, all the centre."""
    images = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)

    def top_left(images, training):
        """Everywhere the logits (the window's first pixel, 0)."""
        first = tf.ones_like(images) * images[:, :1, :1]
        return tf.concat([first, tf.zeros_like(first)], axis=-1)

    a, b, c, d = sigmoid([0, 1, 3, 4])
    expected = [
        [a, (a + b) / 2, b],
        [(a + c) / 2, (a + b + c + d) / 4, (b + d) / 2],
        [c, (c + d) / 2, d],
    ]
    probabilities = predict_sliding(top_left, images, (2, 2), pad_value=(0.0,), stride=0.5)
    np.testing.assert_allclose(probabilities[0, ..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "scales"),
    [
        ((9, 13), 2 / 3, (1.0,)),
        ((5, 4), 2 / 3, (1.0,)),
        ((7, 5), 0.3, (1.0,)),
        ((4, 4), 1.0, (0.5, 1.0)),
        ((12, 5), 2 / 3, (0.75, 1.5)),  # some scaled images are lower than a window, and padded
        ((40, 40), 0.5, (1.0, 2.0)),
    ],
)
def test_evaluation_and_labelling_see_the_same_windows(window, stride, scales, flip):
    """The windows of a scaled image give labelling what evaluation brings back to the image's size."""
    grey, images = (0.1, 0.2, 0.3), tf.constant(IMAGES)
    evaluated = predict_sliding(
        strided, images, window, pad_value=grey, stride=stride, scales=scales, flip=flip, windows_at_once=3
    )
    labelled = np.zeros([2, 9, 13, 4], np.float32)
    settings = Labeling(window=window, stride=stride, flip=flip, average="probabilities")
    strategy = tf.distribute.get_strategy()
    predictor = PhotoPredictor(strided, strategy, settings=settings, padding=Padding(grey), sizes=set())
    for scale in scales:
        scaled = resize_bilinear(images, scaled_size((9, 13), scale)).numpy()
        photos = [Photo(str(number), image) for number, image in enumerate(scaled)]
        averages = np.stack([np.exp(logs) for logs in predictor.map(lambda photo, logs: logs, photos)])
        labelled += resize_bilinear(averages, (9, 13)).numpy() / len(scales)
    np.testing.assert_allclose(evaluated, labelled, atol=1e-6)
    np.testing.assert_array_equal(np.argmax(evaluated, -1), labelled.argmax(-1))


@pytest.mark.parametrize(("on_cpu", "batches"), [(True, [2, 2]), (False, [4])])
def test_an_accelerator_gets_mirrored_images_in_the_same_batch(on_cpu, batches, monkeypatch):
    monkeypatch.setattr(inference, "on_cpu", lambda: on_cpu)
    seen = []

    def model(images, training):
        seen.append(images.shape[0])
        return by_column(images, training)

    rising, falling = sigmoid(range(13)), sigmoid(range(12, -1, -1))
    np.testing.assert_allclose(predict(model, IMAGES, flip=True)[1, 0, :, 0], (rising + falling) / 2, rtol=1e-5)
    assert seen == batches


def test_maps_are_brought_to_image_size_with_aligned_corners():
    np.testing.assert_allclose(to_image_size(np.array([[[0.0], [1.0]]], np.float32), (2, 3))[..., 0], [[0, 0.5, 1]] * 2)


def test_valid_pixels_by_hand():
    valid = valid_pixels(tf.constant([[1, 2], [0, 0], [2, 3]]), (2, 3))
    np.testing.assert_array_equal(valid[..., 0], [[[1, 1, 0], [0, 0, 0]], [[0] * 3] * 2, [[1] * 3] * 2])


class FakeModel:
    """Features are the images; counts the passes of its network."""

    passes = 0

    def features(self, images):
        self.passes += 1
        return {"features": images}

    def segment(self, features):
        return strided(features["features"], False)

    def factor(self):
        return 2.0


class MeanOfBatch:
    """A method whose map is a mean over its batch."""

    def intermediate_maps(self, network, features, logits, valid):
        mean = tf.reduce_mean(logits * network.factor(), axis=0, keepdims=True)
        inside = Figure("inside", "heat", tf.cast(valid, tf.float16))
        return [Figure("mean", "probabilities", mean + 0 * features["features"][:, :1, :1, :1]), inside]


def test_one_pass_of_the_network_gives_the_prediction_and_maps_of_each_image_alone():
    model, sizes = FakeModel(), tf.constant([[9, 13], [4, 5]])
    probabilities, figures = predict_and_explain(model, MeanOfBatch(), tf.constant(IMAGES), sizes)
    assert model.passes == 1
    outputs = {figure.title: figure.values for figure in figures}
    assert list(outputs) == ["mean", "inside"]
    np.testing.assert_allclose(probabilities, predict(strided, IMAGES), rtol=1e-6)
    np.testing.assert_allclose(outputs["mean"], 2 * strided(IMAGES, False), rtol=1e-6)
    assert outputs["inside"].dtype == tf.float32
    assert tf.reduce_sum(outputs["inside"], axis=[1, 2, 3]).numpy().tolist() == [9 * 13, 4 * 5]


@pytest.mark.parametrize("window", [None, (5, 9)])
def test_logits_may_be_averaged_instead(window):
    """By column the logits of an image and of its mirror image differ: their mean is the same everywhere."""
    images = np.zeros([1, 5, 9, 3], np.float32)
    options = {"scales": (1.0,), "flip": True, "average": "logits"}
    if window is None:
        found = predict(by_column, images, **options)
    else:
        found = predict_sliding(by_column, images, window, pad_value=BLACK, **options)
    np.testing.assert_allclose(found[..., 0], np.full([1, 5, 9], sigmoid(4)), rtol=1e-5)
    probabilities = predict(by_column, images, flip=True)
    np.testing.assert_allclose(
        probabilities[0, 0, :, 0], (sigmoid(range(9)) + sigmoid(range(8, -1, -1))) / 2, rtol=1e-5
    )


def test_logits_are_averaged_over_scales():
    seen = []

    def model(images, training):
        seen.append(len(seen))
        return pixelwise(images, training) * (1 + len(seen))

    found = predict(model, IMAGES[:, :1, :1], scales=(1.0, 2.0), average="logits")
    np.testing.assert_allclose(found, softmax(IMAGES[:, :1, :1] @ KERNEL * 2.5), rtol=1e-4)


def test_a_crf_refines_the_prediction_and_its_panel_shows_it_without():
    class Nothing:
        def intermediate_maps(self, network, features, *, logits, valid):
            return []

    class Network:
        def features(self, images):
            return {"x": images}

        def segment(self, features):
            return pixelwise(features["x"] / 255, False)

    images = np.random.default_rng(3).uniform(0, 255, [1, 9, 13, 3]).astype(np.float32)
    sizes, settings = tf.constant([[9, 13]]), CRFSettings(iterations=2)
    plain, nothing = predict_and_explain(Network(), Nothing(), tf.constant(images), sizes)
    refined, (figure,) = predict_and_explain(Network(), Nothing(), tf.constant(images), sizes, crf=settings)
    assert not nothing and figure.title == "without CRF"
    np.testing.assert_array_equal(figure.values, plain)
    expected = dense_crf(figure.values[0].numpy(), np.rint(images[0]).astype(np.uint8), settings)
    np.testing.assert_allclose(refined[0], expected, atol=1e-5)
    assert np.any(tf.argmax(refined, -1) != tf.argmax(plain, -1))
