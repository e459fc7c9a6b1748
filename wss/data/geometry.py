"""Which pixels of an image a view shows."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The geometry of one view.

    Attributes:
        size: int32 (height, width) of the whole image after scaling.
        offset: int32 (y, x) of the crop in it.
        flip: bool [], whether the view is flipped from left to right, with the padding.
        angle: float32 [], angle of a rotation of the scaled image in radians, see `rotate_crop`; None never rotates.
        blur: bool [], whether the image is blurred after that; None never blurs.
    """

    size: tf.Tensor
    offset: tf.Tensor
    flip: tf.Tensor
    angle: tf.Tensor | None = None
    blur: tf.Tensor | None = None
