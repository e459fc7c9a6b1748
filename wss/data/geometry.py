"""The geometry of a view: which pixels of an image it shows."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The geometry of one view.

    Attributes:
        size: int32 (height, width) of the whole image after scaling.
        offset: int32 (y, x) of the crop in the scaled image.
        flip: bool [], whether the view is flipped from left to right, with the padding.
        angle: float32 [], angle in radians by which the scaled image is rotated, see `rotate_crop`; None never rotates.
        blur: bool [], whether the image is blurred after the rotation; None never blurs.
    """

    size: tf.Tensor
    offset: tf.Tensor
    flip: tf.Tensor
    angle: tf.Tensor | None = None
    blur: tf.Tensor | None = None
