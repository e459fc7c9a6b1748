"""Losses on two masks of an image that may both be wrong: where they agree, and where they do not.

Source: Oh et al., CVPR 2021, Eqs. 10 to 14, and their supplement, section 5.
"""

from typing import NamedTuple

import tensorflow as tf

from wss.ops.losses import pixel_cross_entropy


class Agreement(NamedTuple):
    """Where two masks agree (S) and where they do not (~S), float32 [B, H, W] in {0, 1}; void pixels are in neither."""

    same: tf.Tensor
    different: tf.Tensor


def agreement(label: tf.Tensor, second: tf.Tensor, *, ignore_label: int = 255) -> Agreement:
    """Returns where two masks, integers [B, H, W], agree."""
    known = (label != ignore_label) & (second != ignore_label)
    same = label == second
    return Agreement(tf.cast(known & same, tf.float32), tf.cast(known & ~same, tf.float32))


def confidence(cosines: tf.Tensor, label: tf.Tensor, *, gamma: float, ignore_label: int = 255) -> tf.Tensor:
    """Returns sigma of each pixel, float32 [B, H, W] in 0 .. 1: how near the class of its label is to the nearest one.

    It is (D_c* / max_c D_c)^gamma with D_c = 1 + cos_c (Eqs. 12 and 13).

    Args:
        cosines: [B, H, W, C] in -1 .. 1, of the features with the classifier's weights.
        label: Integer [B, H, W], c*; void pixels have the sigma of class 0.
        gamma: Exponent; 0 makes all pixels alike, and a large one counts those alone whose class is the nearest.
        ignore_label: Label of void pixels.
    """
    if gamma == 0:
        return tf.ones_like(label, tf.float32)  # the gradient of x^0 is NaN at 0
    nearness = 1 + tf.cast(cosines, tf.float32)
    legal = tf.where(label == ignore_label, 0, tf.cast(label, tf.int32))
    own = tf.reduce_sum(nearness * tf.one_hot(legal, nearness.shape[-1]), -1)
    ratio = tf.math.divide_no_nan(own, tf.reduce_max(nearness, -1))
    return tf.clip_by_value(ratio, 0.0, 1.0) ** gamma


def entropy(logits: tf.Tensor) -> tf.Tensor:
    """Returns the entropy of the softmax of each pixel in nats, float32 [B, H, W]."""
    return -tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), -1)


def bootstrap_loss(
    logits: tf.Tensor, label: tf.Tensor, beta: tf.Tensor | float, *, ignore_label: int = 255
) -> tf.Tensor:
    """Returns the cross-entropy of each pixel against beta y + (1 - beta) H, float32 [B, H, W].

    No gradient flows into H there, as the target is made before the step.

    Args:
        logits: [B, H, W, C], of which H is the softmax.
        label: Integer [B, H, W], y as one-hot.
        beta: Share of the label, 1 at the beginning of a run and 0 at its end.
        ignore_label: Label of void pixels.
    """
    of_itself = -tf.reduce_sum(tf.stop_gradient(tf.nn.softmax(logits)) * tf.nn.log_softmax(logits), -1)
    return beta * pixel_cross_entropy(logits, label, ignore_label=ignore_label) + (1 - beta) * of_itself
