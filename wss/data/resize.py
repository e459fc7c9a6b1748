"""Images of very unlike sizes (ADE20K) brought to a range of sides, before augmentation and before evaluation.

Source: DeepLab's flags min_resize_value, max_resize_value and resize_factor.
"""

import dataclasses

import gin
import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import image_size
from wss.data.padding import side_above
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.errors import UserError
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_SIDE, Integer, OrNone


@gin.configurable
@in_ranges(
    "ResizeToRange",
    min_size=OrNone(Integer(1, LARGEST_SIDE)),
    max_size=OrNone(Integer(1, LARGEST_SIDE)),
    factor=OrNone(Integer(1, LARGEST_SIDE)),
)
@dataclasses.dataclass(frozen=True)
class ResizeToRange:
    """The size of every image that is read from a data set, with its mask; by default it is its own.

    It holds for training, evaluation and pictures. An evaluation then counts the pixels of the resized masks, as the
    original's does.

    Attributes:
        min_size: Length of the shorter side; None leaves images as they are.
        max_size: Largest length of the longer side, at the cost of the shorter one; None for no limit.
        factor: Number to whose multiples, and 1 pixel more, both sides are rounded up and `max_size` down. Best is the
            network's output stride; None rounds nothing.

    Raises:
        UserError: A size below 1, a `max_size` or `factor` without `min_size`, or a `max_size` not above the factor.
    """

    min_size: int | None = None
    max_size: int | None = None
    factor: int | None = None

    def __post_init__(self):
        values = dataclasses.asdict(self)
        for name, value in values.items():
            if value is not None and self.min_size is None:
                raise UserError(
                    f"ResizeToRange.{name} = {value} does nothing without ResizeToRange.min_size; set it too"
                )
        if self.max_size is not None and self.factor is not None and self.max_size <= self.factor:
            raise UserError(
                f"ResizeToRange.max_size = {self.max_size} holds no side of k * factor + 1 pixels with "
                f"ResizeToRange.factor = {self.factor}; expected {self.factor + 1} or more"
            )

    def __call__(self, image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Resizes an image [H, W, 3] and its label [H, W, 1]; see `resize_to_range`."""
        if self.min_size is None:
            return image, label
        return resize_to_range(image, label, self.min_size, max_size=self.max_size, factor=self.factor)

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) that an image of a size is resized to."""
        if self.min_size is None:
            return size
        with tf.init_scope():  # a number also where a graph is made
            resized = size_in_range(tf.constant(size), self.min_size, max_size=self.max_size, factor=self.factor)
        height, width = resized.numpy().tolist()
        return height, width

    def image(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image [H, W, 3] of 0 .. 255 as training and evaluation see it; float32 if it is resized."""
        if self.min_size is None:
            return image
        with tf.device("CPU:0"):
            return self(tf.constant(image), tf.zeros([1, 1, 1], tf.int32))[0].numpy()

    def largest_size(self, info: DatasetInfo, split: str) -> tuple[int, int]:
        """Returns the largest (height, width) over the images of a split once they are resized.

        It reads the sizes in the records of the split.
        """
        if self.min_size is None:
            return info.split(split).max_size
        largest = info.split(split).max_size
        sizes = split_records(info, split).map(
            lambda record: size_in_range(
                image_size(record, largest), self.min_size, max_size=self.max_size, factor=self.factor
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        with damage_told((info, split)):
            height, width = sizes.reduce(tf.zeros([2], tf.int32), tf.maximum).numpy().tolist()
        return height, width


def resize_to_range(
    image: tf.Tensor, label: tf.Tensor, min_size: int, *, max_size: int | None = None, factor: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes the image (bilinear, not antialiased) and the label (nearest), both with aligned corners.

    Args:
        image: [H, W, 3], any real dtype.
        label: int32 [H, W, 1].
        min_size: See `ResizeToRange`.
        max_size: See `ResizeToRange`.
        factor: See `ResizeToRange`.

    Returns:
        float32 [h, w, 3] and int32 [h, w, 1].
    """
    size = size_in_range(tf.shape(image)[:2], min_size, max_size=max_size, factor=factor)
    image = tf.raw_ops.ResizeBilinear(images=image[None], size=size, align_corners=True)[0]
    return image, tf.raw_ops.ResizeNearestNeighbor(images=label[None], size=size, align_corners=True)[0]


def size_in_range(
    size: tf.Tensor, min_size: int, *, max_size: int | None = None, factor: int | None = None
) -> tf.Tensor:
    """Returns the int32 (height, width) that an image of int32 `size` is resized to, see `ResizeToRange`.

    Sides truncate before they are rounded up.
    """
    if max_size is not None and factor is not None:
        max_size -= (max_size - 1) % factor
    sides = tf.cast(size, tf.float32)
    # One factor, then its product with each side, in float32: the order in which the original rounds.
    resized = tf.floor(sides * (min_size / tf.reduce_min(sides)))
    if max_size is not None:
        within = tf.floor(sides * (max_size / tf.reduce_max(sides)))
        resized = tf.where(tf.reduce_max(resized) > max_size, within, resized)
    rounded = tf.maximum(tf.cast(resized, tf.int32), 1)
    return rounded if factor is None else side_above(rounded, factor)
