"""Products with interpolated features against features that are interpolated first."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.bap_nal.upsampling import cosines, interpolation
from wss.ops.resizing import resize_bilinear

rng = np.random.default_rng(0)
# Photo, network's view, padded view and feature map.
CASES = (
    ((17, 25), (17, 25), (17, 25), (3, 4)),
    ((30, 21), (30, 21), (33, 33), (5, 5)),
    ((61, 40), (31, 20), (33, 33), (5, 5)),
    ((9, 9), (33, 33), (33, 33), (3, 3)),
    ((1, 7), (1, 7), (1, 9), (1, 2)),
)
cases = pytest.mark.parametrize("sizes", CASES, ids=str)


def case(sizes) -> tuple:
    size, seen, padded, map_size = sizes
    features = tf.constant(rng.normal(size=[*map_size, 6]), tf.float32)
    to_photo = interpolation(size, network_size=seen, padded_size=padded, map_size=map_size)
    upsampled = resize_bilinear(features[None], padded)[:, : seen[0], : seen[1]]
    return features, to_photo, resize_bilinear(upsampled, size)[0]


# Two resizings in a row are not one.
@pytest.mark.parametrize("sizes", [sizes for sizes in CASES if sizes[0] == sizes[1]], ids=str)
def test_interpolation_is_that_of_deeplab(sizes):
    features, to_photo, upsampled = case(sizes)
    np.testing.assert_allclose(to_photo(features), upsampled, atol=1e-5)


@cases
def test_lengths_and_cosines_are_those_of_the_interpolated_features(sizes):
    features, to_photo, _ = case(sizes)
    upsampled = to_photo(features).numpy()
    vectors = rng.normal(size=[4, 6]).astype(np.float32)
    lengths = np.linalg.norm(upsampled, axis=-1)
    np.testing.assert_allclose(to_photo.squared_length(features), lengths**2, rtol=1e-4, atol=1e-5)
    expected = upsampled @ vectors.T / (lengths[..., None] * np.linalg.norm(vectors, axis=-1))
    np.testing.assert_allclose(cosines(features, tf.constant(vectors), to_photo), expected, atol=1e-4)


@cases
def test_transposed(sizes):
    """<up(a), b> = <a, up^T(b)>."""
    features, to_photo, _ = case(sizes)
    other = tf.constant(rng.normal(size=[*sizes[0], 6]), tf.float32)
    left = tf.reduce_sum(to_photo(features) * other)
    right = tf.reduce_sum(features * to_photo.transposed(other))
    assert left.numpy() == pytest.approx(right.numpy(), rel=1e-3, abs=1e-3)


def test_a_mask_is_sampled_at_the_pixels_of_the_map_and_0_on_the_padding():
    mask = tf.constant(rng.integers(1, 9, [20, 30]), tf.float32)
    to_photo = interpolation((20, 30), network_size=(20, 30), padded_size=(33, 33), map_size=(5, 5))
    expected = np.zeros([5, 5])
    expected[:3, :4] = mask.numpy()[::8, ::8]
    np.testing.assert_array_equal(to_photo.sampled(mask), expected)
