"""Parts of objects: the prototypes of each class, the part of each pixel, and means over parts (ESL, Eq. 7)."""

import dataclasses

import numpy as np
import tensorflow as tf

from wss.methods.components.ema import replica_variable
from wss.ops.resizing import resize_nearest

NO_CLASS = -1


def coarse_classes(label: tf.Tensor, size: tuple[int, int], num_classes: int) -> tf.Tensor:
    """Returns a label on a coarser grid (nearest, aligned corners).

    Args:
        label: Integer [B, H, W, 1].
        size: (height, width) of the grid.
        num_classes: C; other labels, such as the ignore label, become `NO_CLASS`.

    Returns:
        int32 [B, h, w].
    """
    label = tf.cast(resize_nearest(label, size, align_corners=True)[..., 0], tf.int32)
    return tf.where((label >= 0) & (label < num_classes), label, NO_CLASS)


@dataclasses.dataclass(frozen=True)
class Corners:
    """The four pixels of a coarse grid that each pixel of a finer one lies between, with aligned corners.

    Attributes:
        index: int32 [B, H, W, 4], numbers of pixels of the flat coarse grid.
        weight: float32 [H, W, 4], the weights of bilinear interpolation.
    """

    index: tf.Tensor
    weight: tf.Tensor

    @classmethod
    def between(cls, coarse: tuple[int, int, int], fine: tuple[int, int]) -> "Corners":
        """Returns the corners for images [B, h, w] of the coarse grid and the (height, width) of the fine one."""
        batch, height, width = coarse
        (top, bottom, down), (left, right, across) = (
            _axis(length, resized) for length, resized in zip((height, width), fine, strict=True)
        )
        rows, columns = np.stack([top, top, bottom, bottom], -1), np.stack([left, right, left, right], -1)
        index = rows[:, None] * width + columns[None]
        first = tf.range(batch)[:, None, None, None] * (height * width)
        by_row, by_column = np.stack([1 - down, down], -1), np.stack([1 - across, across], -1)
        weight = by_row[:, None, :, None] * by_column[None, :, None, :]
        return cls(first + index[None], tf.constant(weight.reshape([*fine, 4]), tf.float32))


def _axis(length: int, resized: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns for each position of a resized axis the two sources and the share of the second."""
    source = np.arange(resized) * ((length - 1) / (resized - 1) if resized > 1 else 0.0)
    first = np.minimum(source.astype(np.int32), length - 1)
    return first, np.minimum(first + 1, length - 1), (source - first).astype(np.float32)


def nearest_part(features: tf.Tensor, classes: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    """Returns the part of each pixel: the prototype of its class with the largest cosine (Eq. 7).

    The features would be resized (bilinear, aligned corners) to the grid of the classes. Only their products with the
    prototypes are, and of each pixel only those with its class: resizing is linear, and the length of a feature does not
    change which prototype is nearest.

    Args:
        features: float32 [B, h, w, D].
        classes: int32 [B, H, W], the class of each pixel, `NO_CLASS` for none.
        prototypes: float32 [C, K, D].

    Returns:
        int32 [B, H, W], the number k of the part; 0 where there is no class.
    """
    num_classes, parts, channels = prototypes.shape
    unit = tf.reshape(tf.math.l2_normalize(prototypes, axis=-1), [-1, channels])
    products = tf.matmul(tf.reshape(features, [-1, channels]), unit, transpose_b=True)
    products = tf.reshape(products, [-1, parts])  # a row for each pixel and class
    corners = Corners.between(tuple(features.shape[:3]), tuple(classes.shape[1:]))
    row = corners.index * num_classes + tf.maximum(classes, 0)[..., None]
    of_class = tf.reduce_sum(tf.gather(products, row) * corners.weight[..., None], axis=-2)
    return tf.where(classes == NO_CLASS, 0, tf.argmax(of_class, axis=-1, output_type=tf.int32))


def part_sums(features: tf.Tensor, part: tf.Tensor, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sums of features over parts, as if they were resized (bilinear, aligned corners) to the parts' grid.

    Args:
        features: float32 [B, h, w, D].
        part: int32 [B, H, W], the number c K + k of each pixel's part; negative for none.
        number: C K.

    Returns:
        float32 [C K, D], the sums over the batch, and float32 [C K], the numbers of pixels.
    """
    pixels, channels = int(np.prod(features.shape[:3])), features.shape[-1]
    corners = Corners.between(tuple(features.shape[:3]), tuple(part.shape[1:]))
    place = tf.where(part[..., None] >= 0, part[..., None] * pixels + corners.index, -1)
    weight = tf.broadcast_to(corners.weight[None], place.shape)
    weights = tf.math.unsorted_segment_sum(tf.reshape(weight, [-1]), tf.reshape(place, [-1]), number * pixels)
    sums = tf.matmul(tf.reshape(weights, [number, pixels]), tf.reshape(features, [pixels, channels]))
    return sums, tf.math.unsorted_segment_sum(tf.ones([tf.size(part)]), tf.reshape(part, [-1]), number)


def part_means_by_image(features: tf.Tensor, part: tf.Tensor, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the means of features over the parts of each image: masked average pooling (Eq. 8).

    Args:
        features: float32 [B, H, W, D].
        part: See `part_sums`.
        number: C K.

    Returns:
        float32 [B, C K, D], 0 for parts without a pixel, and bool [B, C K], whether a part has one.
    """
    batch, channels = features.shape[0], features.shape[-1]
    place = tf.where(part >= 0, tf.range(batch)[:, None, None] * number + part, -1)
    place = tf.reshape(place, [-1])
    sums = tf.math.unsorted_segment_sum(tf.reshape(features, [-1, channels]), place, batch * number)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(place, tf.float32), place, batch * number)
    means = tf.math.divide_no_nan(sums, counts[:, None])
    return tf.reshape(means, [batch, number, channels]), tf.reshape(counts > 0, [batch, number])


class PartPrototypes(tf.Module):
    """The prototypes of the parts of each class; the same on all replicas.

    Args:
        num_classes: C.
        parts: K.
        channels: D of the encoder's features.
        decay: Share theta of a prototype that a step keeps.
        unit: Whether a batch's means have length 1, as the centres of spherical K-means have.

    Attributes:
        values: float32 variable [C, K, D].
    """

    def __init__(self, num_classes: int, parts: int, channels: int, *, decay: float = 0.99, unit: bool = True):
        super().__init__()
        self.decay, self.unit = decay, unit
        self.values = replica_variable(tf.zeros([num_classes, parts, channels]), "prototypes")

    def update(self, sums: tf.Tensor, counts: tf.Tensor) -> None:
        """Moves the prototypes towards the means of a batch over all replicas; absent parts stay (Eq. 12).

        Args:
            sums: float32 [C K, D], see `part_sums`; of this replica.
            counts: float32 [C K].
        """
        context = tf.distribute.get_replica_context()
        sums, counts = context.all_reduce(tf.distribute.ReduceOp.SUM, [sums, counts])
        means = tf.math.divide_no_nan(sums, counts[:, None])
        means = tf.reshape(tf.math.l2_normalize(means, axis=-1) if self.unit else means, self.values.shape)
        present = tf.reshape(counts > 0, [*self.values.shape[:2], 1])
        values = tf.convert_to_tensor(self.values)
        self.values.assign(tf.where(present, self.decay * values + (1 - self.decay) * means, values))
