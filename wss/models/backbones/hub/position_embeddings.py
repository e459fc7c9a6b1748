"""Position embeddings of ViTs at any grid: DINOv2's table, resampled as its reference does, and DINOv3's rotations."""

import math

import tensorflow as tf

SHARPNESS = -0.75  # of PyTorch's bicubic
SMOOTH_SHARPNESS = -0.5  # of its antialiased one
OFFSET = 0.1  # that the reference adds to a grid's side before it divides


def resampled(table: tf.Tensor, size: tuple, *, antialias: bool = False) -> tf.Tensor:
    """Returns a table of position embeddings at another grid, float32 [h * w, D].

    Args:
        table: float32 [n * n, D], of a square grid.
        size: (h, w), each a number or an int32 scalar.
        antialias: Whether smaller grids are antialiased, as in the networks with registers. Otherwise a step between
            positions is n / (h + 0.1) instead of n / h.
    """
    side = round(table.shape[0] ** 0.5)
    grid = tf.reshape(table, [side, side, -1])
    rows, columns = (_weights(tf.convert_to_tensor(length), side, antialias=antialias) for length in size)
    return tf.reshape(tf.einsum("yi,xj,ijd->yxd", rows, columns, grid), [-1, table.shape[1]])


def rotations(size: tuple, frequencies: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns cosines and sines of DINOv3's rotary positions, float32 [h * w, 4 F].

    Args:
        size: (h, w), each a number or an int32 scalar.
        frequencies: float32 [F], inverse periods of an axis whose ends are at -1 and 1.
    """
    rows, columns = (
        2.0 * (tf.range(tf.cast(length, tf.float32), dtype=tf.float32) + 0.5) / tf.cast(length, tf.float32) - 1.0
        for length in size
    )
    places = tf.stack(tf.meshgrid(rows, columns, indexing="ij"), axis=-1)
    angles = tf.reshape(2.0 * math.pi * places[..., None] * frequencies, [-1, 2 * frequencies.shape[0]])
    angles = tf.tile(angles, [1, 2])
    return tf.cos(angles), tf.sin(angles)


def _weights(length: tf.Tensor, side: int, *, antialias: bool) -> tf.Tensor:
    """Returns what each of `length` positions takes of `side` ones, float32 [length, side]; itself where nothing changes."""
    wanted = tf.cast(length, tf.float32)
    scale = wanted / side if antialias else (wanted + OFFSET) / side
    center = (tf.range(wanted, dtype=tf.float32) + 0.5) / scale - 0.5
    if antialias:
        width = tf.maximum(1.0, 1.0 / scale)
        taps = _bicubic((tf.range(side, dtype=tf.float32)[None] - center[:, None]) / width, SMOOTH_SHARPNESS)
        weights = taps / tf.reduce_sum(taps, axis=1, keepdims=True)
    else:
        sources = tf.floor(center)[:, None] + tf.range(-1.0, 3.0)[None]
        taps = _bicubic(sources - center[:, None], SHARPNESS)
        nearest = tf.clip_by_value(tf.cast(sources, tf.int32), 0, side - 1)
        is_source = tf.cast(nearest[..., None] == tf.range(side), tf.float32)
        weights = tf.reduce_sum(taps[..., None] * is_source, axis=1)
    return tf.where(length == side, _identity(length, side), weights)


def _identity(length: tf.Tensor, side: int) -> tf.Tensor:
    return tf.cast(tf.range(length)[:, None] == tf.range(side)[None], tf.float32)


def _bicubic(distance: tf.Tensor, sharpness: float) -> tf.Tensor:
    """Returns the weights of Keys' cubic convolution for distances."""
    x = tf.abs(distance)
    near = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * sharpness - 4 * sharpness
    return tf.where(x <= 1, near, tf.where(x < 2, far, 0.0))
