"""Masks from boxes: the scores by hand, and what holds for every mask."""

import numpy as np
import pytest
import tensorflow as tf

from wss.data.boxes import Box
from wss.methods.bap_nal.box_masks import BoxMasks, filled_boxes, places_of, shares_of
from wss.methods.bap_nal.upsampling import interpolation
from wss.ops.dense_crf import CRFSettings
from wss.pseudo_labels.box_crf import masks_of

rng = np.random.default_rng(0)
SIZE = (17, 25)
BOXES = [Box(4, 2, 3, 9, 12), Box(2, 5, 8, 15, 22), Box(4, 10, 0, 16, 6)]
MAP = (3, 4)


def identity(size: tuple[int, int] = SIZE, map_size: tuple[int, int] = MAP):
    return interpolation(size, network_size=size, padded_size=size, map_size=map_size)


def random_features(depth: int = 8) -> tuple[tf.Tensor, tf.Tensor]:
    features = tf.constant(rng.uniform(0, 1, [*MAP, depth]), tf.float32)
    return features, tf.constant(rng.uniform(-0.1, 1, [depth, 3]), tf.float32)


def scores_of(settings: BoxMasks, boxes=BOXES) -> np.ndarray:
    places, to_photo = places_of(boxes, SIZE), identity()
    features, kernel = random_features()
    background = to_photo.sampled(tf.constant(places.outside, tf.float32))[..., None]
    return settings.scores(features, kernel, background, to_photo=to_photo).numpy()


def retrieve(settings: BoxMasks, features, kernel, *, mask: np.ndarray, places, to_photo) -> np.ndarray:
    """Y_ret, as the labelling makes it of a single strip."""
    shares, counts = shares_of(tf.constant(mask), kernel.shape[1], to_photo)
    vectors = settings.retrieval_vectors(features, kernel, shares=shares, counts=counts)
    return settings.retrieved_mask(features, vectors, allowed=places.allowed, to_photo=to_photo).numpy()


def test_places():
    places = places_of(BOXES, SIZE)
    assert places.classes == (0, 2, 4)
    assert places.boxes[1] == (slice(5, 15), slice(8, 22), 1)
    assert places.allowed[..., 0].all()
    assert places.allowed[2, 3, 2] and not places.allowed[1, 3, 2] and not places.allowed[9, 3, 2]
    assert places.outside[0, 0] and not places.outside[2, 3]


def test_a_crowd_is_unknown_where_no_box_is():
    places = places_of([*BOXES, Box(2, 0, 0, 9, 9, is_crowd=True)], SIZE)
    assert places.unknown[0, 0] and not places.outside[0, 0]
    assert not places.unknown[3, 4] and places.allowed[3, 4, 2]


def test_a_box_of_part_of_a_pixel_has_that_pixel():
    places = places_of([Box(1, 3.2, 4.6, 3.7, 4.9)], SIZE)
    assert places.allowed[..., 1].sum() == 1 and places.allowed[3, 4, 1]


def test_two_scores_by_hand():
    settings = BoxMasks(background_threshold=0.0)
    places = places_of([Box(1, 0, 0, 1, 2)], (1, 3))
    scores = np.array([[[0, 5], [0, 2.5], [0.3, 9]]], np.float32)
    found = settings.probabilities(scores, places)
    np.testing.assert_allclose(found[0, 0], [0.2689, 0.7311], atol=1e-4)
    np.testing.assert_allclose(found[0, 1], np.exp([0, 0.5]) / np.exp([0, 0.5]).sum(), atol=1e-6)
    np.testing.assert_array_equal(found[0, 2], [1, 0])


def test_scores_are_divided_by_the_largest_of_each_box():
    scores = scores_of(BoxMasks())
    places = places_of(BOXES, SIZE)
    found = BoxMasks(background_threshold=0.0).probabilities(scores.copy(), places)
    inside = places.boxes[0][:2]
    row, column = np.unravel_index(np.argmax(scores[inside][..., 2]), scores[inside].shape[:2])
    attention, other = scores[inside][row, column, 0], found[inside][row, column]
    assert other[2] / other[0] == pytest.approx(np.exp(1 - attention), rel=1e-5)


def test_the_threshold_keeps_the_largest_attention_alone():
    scores = scores_of(BoxMasks())
    places = places_of(BOXES, SIZE)
    found = BoxMasks().probabilities(scores.copy(), places)
    plain = BoxMasks(background_threshold=0.0).probabilities(scores.copy(), places)
    low = (scores[..., 0] < 0.99 * scores[..., 0].max()) & ~places.outside
    assert low.any()
    assert (found[low][:, 0] < plain[low][:, 0]).all()
    np.testing.assert_array_equal(found[~low], plain[~low])


def test_attention_is_that_of_the_interpolated_features():
    features, kernel = random_features()
    places, to_photo = places_of(BOXES, SIZE), identity()
    background = to_photo.sampled(tf.constant(places.outside, tf.float32))[..., None]
    found = BoxMasks(grid=1).scores(features, kernel, background, to_photo=to_photo).numpy()
    query = (features * background).numpy().sum((0, 1)) / background.numpy().sum()
    upsampled = to_photo(features).numpy()
    expected = upsampled @ query / (np.linalg.norm(upsampled, axis=-1) * np.linalg.norm(query))
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(found[..., 1:], np.maximum(upsampled @ kernel.numpy()[:, 1:], 0), atol=1e-5)


def test_a_photo_that_is_all_box_has_no_attention():
    scores = scores_of(BoxMasks(), [Box(2, 0, 0, *SIZE), Box(4, 1, 1, 9, 9)])
    np.testing.assert_array_equal(scores[..., 0], np.zeros(SIZE))
    found = BoxMasks().probabilities(scores, places_of([Box(2, 0, 0, *SIZE), Box(4, 1, 1, 9, 9)], SIZE))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("use_attention", [True, False])
@pytest.mark.parametrize("resolution", ["image", "features"])
@pytest.mark.parametrize("seed", range(5))
def test_no_class_lies_outside_of_its_boxes(seed, resolution, use_attention):
    settings = BoxMasks(retrieval_resolution=resolution, use_attention=use_attention)
    places, to_photo = places_of(BOXES, SIZE), identity()
    features = tf.constant(np.random.default_rng(seed).uniform(0, 1, [*MAP, 8]), tf.float32)
    _, kernel = random_features()
    background = to_photo.sampled(tf.constant(places.outside, tf.float32))[..., None]
    scores = settings.scores(features, kernel, background, to_photo=to_photo).numpy()
    image = rng.integers(0, 256, [*SIZE, 3], np.uint8)
    _, mask = masks_of(settings.probabilities(scores, places), image, places.allowed, CRFSettings())
    retrieved = retrieve(settings, features, kernel, mask=mask, places=places, to_photo=to_photo)
    for found in (mask, retrieved, filled_boxes(places)):
        assert found.shape == SIZE and found.dtype == np.uint8
        assert np.take_along_axis(places.allowed, found[..., None].astype(int), -1).all()
        assert (found[places.outside] == 0).all()


def test_retrieval_of_features_that_are_one_hot_by_class_is_the_mask():
    size = (5, 7)
    boxes = [Box(1, 0, 0, 4, 4), Box(3, 2, 3, 5, 7)]
    places, to_photo = places_of(boxes, size), identity(size, size)
    mask = filled_boxes(places)
    features = tf.one_hot(tf.cast(mask, tf.int32), 3)
    kernel = tf.constant(rng.normal(size=[3, 3]), tf.float32)
    found = retrieve(BoxMasks(), features, kernel, mask=mask, places=places, to_photo=to_photo)
    np.testing.assert_array_equal(found, mask)


def test_a_class_without_a_pixel_takes_the_classifier():
    size = (3, 3)
    places, to_photo = places_of([Box(1, 0, 0, 2, 2)], size), identity(size, size)
    features = np.zeros([3, 3, 2], np.float32)
    features[..., 0] = 1
    features[:2, :2] = [0.6, 0.8]
    kernel = tf.constant([[0.0, 0.6], [0.0, 0.8]])
    nothing = np.zeros(size, np.uint8)
    found = retrieve(BoxMasks(), tf.constant(features), kernel, mask=nothing, places=places, to_photo=to_photo)
    assert (found[:2, :2] == 1).all() and found.sum() == 4


def test_filled_boxes_show_the_smaller_one():
    places = places_of([Box(1, 0, 0, 4, 4), Box(2, 1, 1, 3, 3)], (5, 5))
    mask = filled_boxes(places)
    assert mask[1, 1] == 2 and mask[0, 0] == 1 and mask[4, 4] == 0


def test_strips_add_up_to_the_photo():
    places, to_photo = places_of(BOXES, SIZE), identity()
    features, kernel = random_features()
    mask = rng.choice(np.uint8([0, 1, 2, 255]), SIZE)
    whole = shares_of(tf.constant(mask), 3, to_photo)
    parts = [
        shares_of(tf.constant(mask[first:last]), 3, to_photo.strip(first, last)) for first, last in ((0, 5), (5, 17))
    ]
    for one, both in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(one, tf.add_n(list(both)), atol=1e-4)
    settings = BoxMasks()
    vectors = settings.retrieval_vectors(features, kernel, shares=whole[0], counts=whole[1])
    found = [
        settings.retrieved_mask(features, vectors, allowed=places.allowed[a:b], to_photo=to_photo.strip(a, b))
        for a, b in ((0, 5), (5, 17), (0, 17))
    ]
    np.testing.assert_array_equal(np.concatenate(found[:2]), found[2])


def test_where_boxes_of_a_class_overlap_the_later_one_counts():
    places = places_of([Box(1, 0, 0, 2, 2), Box(1, 1, 1, 4, 4)], (4, 4))
    scores = np.zeros([4, 4, 2], np.float32)
    scores[..., 1] = 1
    scores[0, 0, 1], scores[3, 3, 1] = 2, 4
    found = BoxMasks().probabilities(scores, places)
    logit = lambda row, column: np.log(found[row, column, 1] / found[row, column, 0])
    np.testing.assert_allclose([logit(0, 0), logit(0, 1), logit(1, 1), logit(3, 3)], [1, 0.5, 0.25, 1], rtol=1e-5)
