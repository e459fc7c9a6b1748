"""DeepLab's resizing of feature maps and masks."""

import tensorflow as tf


def resize_bilinear(x, size):
    """Bilinear resize of `[B, H, W, C]` to `size` = (height, width) with aligned corners.

    DeepLab resizes all features and logits so. Works in float32 and returns the dtype of `x`;
    returns `x` itself when the size is already right.
    """
    x = tf.convert_to_tensor(x)
    if _has_size(x, size):
        return x
    resized = tf.raw_ops.ResizeBilinear(images=tf.cast(x, tf.float32), size=size, align_corners=True)
    return tf.cast(resized, x.dtype)


def resize_nearest(x, size, align_corners=False):
    """Nearest-neighbour resize of `[B, H, W, C]`, any dtype, to `size` = (height, width).

    Row i is row floor(i * H / height): TensorFlow 1's `tf.image.resize_nearest_neighbor`, without
    aligned corners or half-pixel centres, which the original uses for masks and for labels that are
    only monitored. With `align_corners` it is row round(i * (H - 1) / (height - 1)), as for labels in
    a loss. Returns `x` itself when the size is already right.
    """
    x = tf.convert_to_tensor(x)
    if _has_size(x, size):
        return x
    if x.dtype == tf.bool:
        return tf.cast(resize_nearest(tf.cast(x, tf.uint8), size, align_corners), tf.bool)
    return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=align_corners)


def _has_size(x, size):
    static = tf.get_static_value(tf.convert_to_tensor(size))
    return static is not None and tuple(x.shape[1:3]) == tuple(static)


def sides(x) -> list:
    """The sides of a tensor: a number where it is known, else a scalar tensor."""
    return [tf.shape(x)[axis] if side is None else side for axis, side in enumerate(x.shape)]
