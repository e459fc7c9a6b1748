"""What of an image is background, found from its boxes: queries outside of all boxes, and attention to them within.

Source: Oh et al., CVPR 2021, Eqs. 1 to 3.
"""

from typing import NamedTuple

import tensorflow as tf

from wss.models.layers.classifier import unit_vectors
from wss.ops.resizing import sides


class Queries(NamedTuple):
    """The background queries of a batch.

    Attributes:
        vectors: float32 [B, J, D], mean features of the definite background of J cells.
        valid: bool [B, J], whether a cell has any.
    """

    vectors: tf.Tensor
    valid: tf.Tensor


def background_queries(features: tf.Tensor, background: tf.Tensor, grid: int) -> Queries:
    """Returns the mean feature of the definite background in each cell of a grid (Eq. 1).

    The feature map is padded with zeros to a multiple of the grid: by the same on both sides, or at the bottom and at the
    right alone where that does not come out even.

    Args:
        features: float32 [B, h, w, D].
        background: float32 [B, h, w, 1], 1 outside of all boxes, 0 inside and on padding.
        grid: Number N of cells along a side; 4 in training and 1 for labels in the paper.
    """
    batch, height, width = sides(features)[:3]
    weighted = tf.concat([features * background, background], -1)
    padded = tf.pad(weighted, [[0, 0], _padding(height, grid), _padding(width, grid), [0, 0]])
    rows, columns = -(-height // grid), -(-width // grid)
    cells = tf.reshape(padded, [batch, grid, rows, grid, columns, features.shape[-1] + 1])
    sums = tf.reshape(tf.reduce_sum(cells, (2, 4)), [batch, grid**2, features.shape[-1] + 1])
    counts = sums[..., -1:]
    return Queries(tf.math.divide_no_nan(sums[..., :-1], counts), counts[..., 0] > 0)


def background_attention(features: tf.Tensor, queries: Queries, background: tf.Tensor) -> tf.Tensor:
    """Returns how much each pixel is like the background, float32 [B, h, w, 1] in 0 .. 1 (Eqs. 2 and 3).

    It is the mean over the valid queries of ReLU(cosine), and 1 on the definite background. Without a valid query it is 0
    inside the boxes.
    """
    batch, height, width, depth = sides(features)
    pixels = tf.reshape(unit_vectors(features), [batch, height * width, depth])
    # By rounding a cosine may pass 1, and weights of both signs have no mean.
    cosines = tf.minimum(tf.matmul(pixels, unit_vectors(queries.vectors), transpose_b=True), 1.0)
    valid = tf.cast(queries.valid, tf.float32)[:, None]
    mean = tf.math.divide_no_nan(tf.reduce_sum(tf.nn.relu(cosines) * valid, -1), tf.reduce_sum(valid, -1))
    return tf.where(background > 0, 1.0, tf.reshape(mean, [batch, height, width, 1]))


def _padding(side: int | tf.Tensor, grid: int) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    missing = -side % grid
    before = (1 - missing % 2) * (missing // 2)
    return before, missing - before
