"""Fills parts of an image with one colour: padding, and the hole of CutOut."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from wss.errors import UserError

Pixel = Sequence[float]
Side = TypeVar("Side", int, tf.Tensor)


def side_above(side: Side, multiple: int, more: int = 1) -> Side:
    """Returns the smallest k * multiple + more that is not below a side of 1 or more; exports need no negative numbers."""
    return (side + (multiple - 1 - more)) // multiple * multiple + more


@dataclasses.dataclass(frozen=True)
class Padding:
    """How images are padded for a network, at the bottom and at the right.

    Attributes:
        color: RGB of the padding, 0 .. 255.
        multiple: Sides are k * multiple + more, such as an output stride and 1, or the patch of a ViT and 0.
        more: 0 or 1.
        strict: Whether the network takes no other sides, as a ViT.
    """

    color: tuple[float, float, float]
    multiple: int = 16
    more: int = 1
    strict: bool = False

    def up(self, side: Side) -> Side:
        """Returns the smallest side that is not below a side of 1 or more."""
        return side_above(side, self.multiple, self.more)

    def size(self, size: Sequence[Side]) -> tuple[Side, Side]:
        """Returns the smallest (height, width) that holds `size`."""
        height, width = size
        return self.up(height), self.up(width)

    def nearest(self, size: Sequence[Side]) -> tuple[Side, Side]:
        """Returns the (height, width) next to `size`, of one multiple or more; halves are rounded up."""
        multiples = ((2 * (side - self.more) + self.multiple) // (2 * self.multiple) for side in size)
        largest = lambda number: max(number, 1) if isinstance(number, int) else tf.maximum(number, 1)
        height, width = (largest(number) * self.multiple + self.more for number in multiples)
        return height, width

    def check(self, parameter: str, size: Sequence[int] | None) -> None:
        """Checks a (height, width) that a parameter says.

        Raises:
            UserError: The network takes no such side.
        """
        if self.strict and size is not None and self.size(size) != tuple(size):
            raise UserError(
                f"{parameter} = {tuple(size)}: the encoder takes multiples of its patch of {self.multiple}; expected such "
                f"as {self.nearest(size)}"
            )

    def canvas(self, size: Sequence[int], number: int = 1) -> np.ndarray:
        """Returns `number` images of nothing but padding, float32 [number, height, width, 3]."""
        return np.tile(np.array(self.color, np.float32), (number, *size, 1))


def pad(image: tf.Tensor, size: tuple[int, int], value: Pixel, *, left: tf.Tensor | bool = False) -> tf.Tensor:
    """Pads to a static [h, w, channels] with one pixel's `value`, at the bottom and at the right (or the left)."""
    height, width = tf.unstack(tf.shape(image)[:2])

    def padded() -> tf.Tensor:
        spare = size[1] - width
        before = tf.where(left, spare, 0)
        beside = [filled(height, part, value, dtype=image.dtype) for part in (before, spare - before)]
        rows = tf.concat([beside[0], image, beside[1]], 1)
        return tf.concat([rows, filled(size[0] - height, size[1], value, dtype=image.dtype)], 0)

    full = (height == size[0]) & (width == size[1])
    return tf.ensure_shape(tf.cond(full, lambda: image, padded), [*size, image.shape[-1]])


def filled(height: tf.Tensor, width: tf.Tensor, value: Pixel, *, dtype: tf.DType) -> tf.Tensor:
    """Returns [height, width, channels] of one pixel's `value`; by rows, as small inner sides are broadcast slowly."""
    row = tf.tile(tf.cast(value, dtype), [width])
    return tf.reshape(tf.broadcast_to(row, [height, tf.size(row)]), [height, width, len(value)])


def cut_out(image: tf.Tensor, center: tf.Tensor, *, half_side: int, value: Pixel) -> tf.Tensor:
    """Fills the square within `half_side` of `center`, int32 (y, x), as far as it lies in the image, with `value`."""
    begin = tf.maximum(center - half_side, 0)
    end = tf.minimum(center + half_side, tf.shape(image)[:2])
    height, width = tf.unstack(end - begin)
    hole = filled(height, width, value, dtype=image.dtype)
    return tf.raw_ops.TensorStridedSliceUpdate(input=image, begin=begin, end=end, strides=[1, 1], value=hole)
