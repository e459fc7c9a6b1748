"""Perturbations of an encoder's features: UniMatch's dropout of channels, and the complementary one of UniMatch V2."""

from collections.abc import Sequence

import tensorflow as tf

from wss.models.deeplab import Features
from wss.models.layers.dropout import next_seed


def channel_dropout(features: Features, names: Sequence[str], rate: float = 0.5) -> Features:
    """Returns features of which whole channels are 0 and the others scaled by 1 / (1 - rate), as in UniMatch.

    Args:
        features: End points [B, h, w, D] of an encoder.
        names: Those that are perturbed; each image and each of them has draws of its own.
        rate: Probability that a channel is dropped.
    """

    def dropped(value: tf.Tensor) -> tf.Tensor:
        ones = tf.ones([value.shape[0], 1, 1, value.shape[-1]], value.dtype)
        return value * tf.nn.experimental.stateless_dropout(ones, rate, next_seed())

    return {**features, **{name: dropped(features[name]) for name in names}}


def complementary_dropout(features: Features, names: Sequence[str], *, kept_share: float = 0.5) -> Features:
    """Returns features of pairs of views that see complementary halves of the channels, as in UniMatch V2.

    Args:
        features: End points [2 B, h, w, D] of an encoder, those of the first views before those of the second.
        names: Those that are perturbed. Those of one depth have the same channels dropped, as all blocks of a ViT.
        kept_share: Share of the pairs that are left as they are, rounded down.
    """
    pairs = features[names[0]].shape[0] // 2
    depths = sorted({features[name].shape[-1] for name in names})
    number_kept = int(pairs * kept_share)
    kept = tf.argsort(tf.random.stateless_uniform([pairs], next_seed())) < number_kept
    masks = {
        depth: complementary_masks(tf.random.stateless_uniform([pairs, depth], next_seed()) < 0.5, kept)
        for depth in depths
    }
    masked = {name: features[name] * _as(masks[features[name].shape[-1]], features[name]) for name in names}
    return {**features, **masked}


def complementary_masks(drawn: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Returns the factors of the channels of both views, float32 [2 B, D]: 0 or 2, 2 in all of a pair, 1 in kept ones.

    Args:
        drawn: bool [B, D], the channels that the first view of a pair keeps.
        kept: bool [B], pairs without dropout.
    """
    first = tf.where(kept[:, None], 1.0, 2.0 * tf.cast(drawn, tf.float32))
    return tf.concat([first, 2.0 - first], axis=0)


def _as(mask: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.cast(mask[:, None, None, :], value.dtype)
