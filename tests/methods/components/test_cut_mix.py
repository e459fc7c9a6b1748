"""CutMix: one rectangle of half the image for everything, a function of the seed."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.components.cut_mix import CutMix

SEED = tf.constant([3, 4], tf.int64)


@pytest.mark.parametrize("size", [(33, 65), (40, 30), (129, 129), (2, 2)])
def test_rectangles_have_half_of_the_image(size):
    inside = CutMix.draw(SEED, 400, size).inside.numpy()[..., 0]
    height, width = size
    for rectangle in inside:
        rows, columns = np.flatnonzero(rectangle.any(1)), np.flatnonzero(rectangle.any(0))
        assert rectangle.sum() == len(rows) * len(columns)  # it is one rectangle
        assert np.ptp(rows) + 1 == len(rows) and np.ptp(columns) + 1 == len(columns)
        assert width // 2 + 1 <= len(columns) <= max(width - 1, width // 2 + 1)
        assert abs(rectangle.sum() - height * width / 2) <= len(columns) / 2
    assert len({tuple(np.argwhere(rectangle)[0]) for rectangle in inside}) > 1  # in various places
    if width > 2:
        assert inside[:, -1].any() and inside[:, 0].any() and inside[:, :, -1].any() and inside[:, :, 0].any()


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_everything_has_the_same_rectangle(how):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, [3, 33, 33, 3]), tf.float32)
    classes = tf.constant(rng.integers(0, 5, [3, 33, 33]), tf.int32)
    coarse = classes[:, ::4, ::4]

    def mixed():
        mix = CutMix.draw(SEED, 3, (33, 33))
        return mix.inside, mix(images), mix(classes), mix(tf.cast(classes, tf.float32)[..., None]), mix(coarse)

    run = {"eager": mixed, "graph": tf.function(mixed), "xla": tf.function(mixed, jit_compile=True)}[how]
    inside, of_images, of_classes, of_floats, of_coarse = (values.numpy() for values in run())
    following = [1, 2, 0]
    np.testing.assert_array_equal(of_images, np.where(inside, images.numpy()[following], images))
    np.testing.assert_array_equal(of_classes, np.where(inside[..., 0], classes.numpy()[following], classes))
    np.testing.assert_array_equal(of_floats[..., 0], of_classes)
    # A grid with aligned corners has every fourth pixel.
    np.testing.assert_array_equal(of_coarse, of_classes[:, ::4, ::4])


def test_the_mix_of_equal_images_is_the_image():
    image = tf.random.stateless_uniform([1, 17, 17, 3], SEED)
    images = tf.repeat(image, 4, axis=0)
    np.testing.assert_array_equal(CutMix.draw(SEED, 4, (17, 17))(images), images)


def test_probability_is_that_of_a_batch():
    mixed = 0
    for number in range(200):
        inside = CutMix.draw(tf.constant([number, 0]), 4, (9, 9), probability=0.5).inside.numpy()
        of_images = inside.any(axis=(1, 2, 3))
        assert of_images.all() or not of_images.any()
        mixed += of_images.all()
    assert 75 <= mixed <= 125  # 3.5 standard deviations
    assert not CutMix.draw(SEED, 4, (9, 9), probability=0.0).inside.numpy().any()


def test_another_seed_draws_another_rectangle():
    one, same, other = (CutMix.draw(tf.constant(seed), 4, (33, 33)).inside.numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
