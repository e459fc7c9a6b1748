"""The dense CRF after a network: the same as by hand, without the padding, one device and two."""

import numpy as np
import pytest
import tensorflow as tf

from wss.inference.refinement import refine
from wss.ops.dense_crf import CRFSettings, dense_crf

SETTINGS = CRFSettings(bilateral_xy_std=10.0, bilateral_rgb_std=20.0, iterations=3)
SIZES = np.int32([[12, 16], [9, 7]])


def photos() -> tuple[np.ndarray, np.ndarray]:
    """Two halves of different colours, padded, and probabilities with noise."""
    rng = np.random.default_rng(0)
    images = np.full([2, 12, 16, 3], 127.5, np.float32)
    for image, (height, width) in zip(images, SIZES, strict=True):
        image[:height, : width // 2], image[:height, width // 2 : width] = (200, 30, 30.4), (20, 60, 210.6)
    probabilities = rng.dirichlet(np.ones(3), [2, 12, 16]).astype(np.float32)
    return images, probabilities


@pytest.mark.parametrize("compiled", [False, True])
def test_each_image_is_refined_without_its_padding(compiled):
    images, probabilities = photos()
    function = lambda *inputs: refine(*inputs, SETTINGS)
    found = (tf.function(function) if compiled else function)(probabilities, images, SIZES)
    assert found.shape == probabilities.shape
    for number, (height, width) in enumerate(SIZES):
        inside = np.s_[:height, :width]
        photo = np.rint(images[number][inside]).astype(np.uint8)
        expected = dense_crf(probabilities[number][inside], photo, SETTINGS)
        np.testing.assert_array_equal(found[number][inside], expected)
        outside = np.ones([12, 16], bool)
        outside[inside] = False
        np.testing.assert_array_equal(found[number].numpy()[outside], probabilities[number][outside])


def test_what_fills_up_a_batch_stays_as_it_is():
    images, probabilities = photos()
    found = refine(probabilities, images, np.int32([[12, 16], [0, 0]]), SETTINGS)
    np.testing.assert_array_equal(found[1], probabilities[1])
    assert np.any(found[0] != probabilities[0])


def test_two_replicas_refine_their_own_images(two_replicas):
    images, probabilities = photos()

    whole = refine(probabilities, images, SIZES, SETTINGS)
    batches = tf.data.Dataset.from_tensor_slices((probabilities, images, SIZES)).batch(2)
    (distributed,) = two_replicas.experimental_distribute_dataset(batches)
    found = two_replicas.run(tf.function(lambda *x: refine(*x, SETTINGS)), args=distributed)
    parts = two_replicas.experimental_local_results(found)
    np.testing.assert_array_equal(tf.concat(parts, 0), whole)
