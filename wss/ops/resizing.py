"""DeepLab's resizing of feature maps and masks."""

from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

Size: TypeAlias = tf.Tensor | Sequence[int]


def resize_bilinear(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes `[B, H, W, C]` bilinearly to `size` = (height, width) with aligned corners.

    DeepLab resizes all features and logits so. Works in float32 and returns the dtype of `x`; returns `x` itself when the
    size is already right.
    """
    x = tf.convert_to_tensor(x)
    if _has_size(x, size):
        return x
    resized = tf.raw_ops.ResizeBilinear(images=tf.cast(x, tf.float32), size=size, align_corners=True)
    return tf.cast(resized, x.dtype)


def resize_nearest(x: tf.Tensor, size: Size, align_corners: bool = False) -> tf.Tensor:
    """Resizes `[B, H, W, C]`, any dtype, to the nearest neighbours at `size` = (height, width).

    Row i is row floor(i * H / height), as in TensorFlow 1's `tf.image.resize_nearest_neighbor`, without half-pixel
    centres. The original uses that for masks, and for labels that are only monitored.

    Args:
        x: The images; returned as they are when the size is already right.
        size: (height, width).
        align_corners: Whether row i is row round(i * (H - 1) / (height - 1)), as for labels in a loss.
    """
    x = tf.convert_to_tensor(x)
    if _has_size(x, size):
        return x
    if x.dtype == tf.bool:
        return tf.cast(resize_nearest(tf.cast(x, tf.uint8), size, align_corners), tf.bool)
    return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=align_corners)


def _has_size(x: tf.Tensor, size: Size) -> bool:
    static = tf.get_static_value(tf.convert_to_tensor(size))
    return static is not None and tuple(x.shape[1:3]) == tuple(static)


def sides(x: tf.Tensor) -> list[tf.Tensor | int]:
    """Returns the sides of a tensor: a number where it is known, else a scalar tensor."""
    return [tf.shape(x)[axis] if side is None else side for axis, side in enumerate(x.shape)]
