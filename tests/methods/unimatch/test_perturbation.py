"""Dropout of channels: the spec's masks by hand, what two views see together, expectation and independence."""

import numpy as np
import pytest
import tensorflow as tf

from wss.methods.unimatch.perturbation import channel_dropout, complementary_dropout, complementary_masks
from wss.models.layers.dropout import dropout_seed

SEED = tf.constant([5, 6], tf.int64)
NAMES = ("features", "low_level")


def features_of(batch: int = 4, depths=(64, 64)) -> dict:
    draw = lambda number, depth: tf.random.stateless_uniform([batch, 2 + number, 3, depth], [number, 1], 1.0, 2.0)
    return {name: draw(number, depth) for number, (name, depth) in enumerate(zip(NAMES, depths, strict=True))}


def test_masks_by_hand():
    drawn = tf.constant([[1, 0, 0, 1], [0, 1, 1, 0]]) > 0
    masks = complementary_masks(drawn, tf.constant([False, True]))
    np.testing.assert_array_equal(masks, [[2, 0, 0, 2], [1, 1, 1, 1], [0, 2, 2, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize("run", [lambda function: function, tf.function])
@pytest.mark.parametrize(("pairs", "kept"), [(1, 0), (2, 1), (5, 2)])
def test_two_views_see_every_channel_once(pairs, kept, run):
    one = features_of(pairs)
    twice = {name: tf.tile(value, [2, 1, 1, 1]) for name, value in one.items()}
    with dropout_seed(SEED):
        dropped = run(lambda: complementary_dropout(twice, NAMES))()
    for name, value in one.items():
        first, second = tf.split(dropped[name], 2)
        np.testing.assert_allclose((first + second) / 2, value, rtol=1e-6)
        factors = (first / value).numpy()
        assert factors.min() == 0 or kept == pairs
        # One factor for all places of a channel, and the same ones for both blocks.
        np.testing.assert_array_equal(factors, np.broadcast_to(factors[:, :1, :1], factors.shape))
        left_alone = (factors == 1).all(axis=(1, 2, 3))
        assert left_alone.sum() == kept and set(np.unique(factors[~left_alone])) == {0, 2}
    ratio = [dropped[name][:, 0, 0] / twice[name][:, 0, 0] for name in NAMES]
    np.testing.assert_array_equal(*ratio)


def test_blocks_of_other_depths_keep_the_same_pairs():
    features = features_of(8, depths=(64, 24))
    with dropout_seed(SEED):
        dropped = complementary_dropout(features, NAMES)
    kept = [np.all(dropped[name] == features[name], axis=(1, 2, 3)) for name in NAMES]
    np.testing.assert_array_equal(*kept)
    assert kept[0].sum() == 4  # two pairs of four


def test_dropped_channels_are_whole_and_the_expectation_is_the_feature():
    features = features_of(200)
    with dropout_seed(SEED):
        dropped = channel_dropout(features, NAMES)
    factors = {name: (dropped[name] / features[name]).numpy() for name in NAMES}
    for values in factors.values():
        assert set(np.unique(values)) == {0, 2}
        np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1, :1], values.shape))
        assert abs(values.mean() - 1) < 0.03  # 12 800 draws, 3.4 standard deviations
    one, other = (values[:, 0, 0].ravel() for values in factors.values())
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert len({tuple(image) for image in factors["features"][:, 0, 0]}) == 200  # each image has its own


def test_other_end_points_stay_as_they_are():
    features = {**features_of(), "cam_features": tf.ones([4, 1, 1, 2])}
    with dropout_seed(SEED):
        for dropped in (channel_dropout(features, NAMES), complementary_dropout(features, NAMES)):
            assert dropped["cam_features"] is features["cam_features"]
