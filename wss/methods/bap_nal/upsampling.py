"""Features at the size of the photo, of which only products with a few vectors are ever computed.

1024 channels at 375 x 500 pixels would take 768 MB. Interpolation is linear, so products with fixed vectors come before it.
The length of an interpolated feature is a quadratic form of the products of its four neighbours.
"""

from typing import NamedTuple

import tensorflow as tf

from wss.models.layers.classifier import unit_vectors

SMALLEST_SQUARE = 1e-12


class Interpolation(NamedTuple):
    """The bilinear interpolation of a feature map [h, w] to a photo [H, W], rows and columns apart.

    Attributes:
        rows: float32 [H, h], share of each row of the map in each row of the photo; at most two are above 0.
        columns: float32 [W, w].
        real_rows: bool [h], whether a row of the map is of the photo and not of its padding.
        real_columns: bool [w].
    """

    rows: tf.Tensor
    columns: tf.Tensor
    real_rows: tf.Tensor
    real_columns: tf.Tensor

    def strip(self, first: int, last: int) -> "Interpolation":
        """Returns the interpolation to the rows first .. last - 1 of the photo alone."""
        return self._replace(rows=self.rows[first:last])

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns maps [h, w, K] at the size of the photo, [H, W, K]."""
        return tf.einsum("yi,ijk,xj->yxk", self.rows, maps, self.columns)

    def transposed(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the sum of maps [H, W, K] over the photo, with the share of each pixel of the map, [h, w, K]."""
        return tf.einsum("yi,yxk,xj->ijk", self.rows, maps, self.columns)

    def sampled(self, mask: tf.Tensor) -> tf.Tensor:
        """Returns the pixel of a mask [H, W] that is nearest to each one of the map, [h, w]; 0 on the padding."""
        picked = tf.gather(tf.gather(mask, tf.argmax(self.rows, 0)), tf.argmax(self.columns, 0), axis=1)
        return picked * tf.cast(self.real_rows[:, None] & self.real_columns, mask.dtype)

    def squared_length(self, features: tf.Tensor) -> tf.Tensor:
        """Returns |f|^2 of the interpolated features, [H, W], for features [h, w, D]."""
        right, below = features[:, 1:], features[1:]
        product = lambda one, other: tf.reduce_sum(one * other, -1)
        diagonals = product(features[:-1, :-1], features[1:, 1:]) + product(right[:-1], below[:, :-1])
        (row_squares, row_products), (column_squares, column_products) = map(_squares, (self.rows, self.columns))
        terms = (
            (row_squares, product(features, features), column_squares),
            (row_squares, 2 * product(features[:, :-1], right), column_products),
            (row_products, 2 * product(features[:-1], below), column_squares),
            (row_products, 2 * diagonals, column_products),
        )
        return tf.add_n([tf.einsum("yi,ij,xj->yx", *term) for term in terms])


def interpolation(
    size: tf.Tensor, *, network_size: tf.Tensor, padded_size: tf.Tensor, map_size: tf.Tensor
) -> Interpolation:
    """Returns the interpolation from a feature map to a photo; all corners are aligned.

    Args:
        size: int32 (H, W) of the photo.
        network_size: int32 (height, width) at which the network saw it.
        padded_size: int32 (height, width) with the padding at the bottom and right.
        map_size: int32 (h, w) of the feature map.
    """
    shares, real = [], []
    for axis in (0, 1):
        sides = (size, network_size, padded_size, map_size)
        length, seen, padded, side = (tf.cast(values[axis], tf.float32) for values in sides)
        cell = tf.range(side)
        last = (seen - 1) * (side - 1) / tf.maximum(padded - 1, 1.0)  # the photo's last pixel on the map
        place = tf.range(length) * (last / tf.maximum(length - 1, 1.0))
        shares.append(tf.nn.relu(1 - tf.abs(place[:, None] - cell)))
        real.append(cell <= last + 1e-3)
    return Interpolation(*shares, *real)


def cosines(features: tf.Tensor, vectors: tf.Tensor, to_photo: Interpolation) -> tf.Tensor:
    """Returns the cosines of the interpolated features with vectors, float32 [H, W, K].

    Args:
        features: float32 [h, w, D].
        vectors: float32 [K, D].
        to_photo: The interpolation.
    """
    products = to_photo(tf.einsum("ijd,kd->ijk", features, unit_vectors(vectors)))
    lengths = tf.maximum(to_photo.squared_length(features), SMALLEST_SQUARE)[..., None]
    return tf.clip_by_value(products * tf.math.rsqrt(lengths), -1.0, 1.0)


def _squares(shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the squares of the shares, and the products of each with the next one."""
    return shares**2, shares[:, :-1] * shares[:, 1:]
