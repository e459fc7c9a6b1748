"""What follows an image through its views besides its mask: boxes and a second mask."""

import dataclasses

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import decode_labels, image_size, parse_boxes
from wss.data.geometry import Geometry
from wss.data.streams import Views

SECOND_MASK = "image/segmentation/second/encoded"
NO_BOX = -1
ROUNDING = 1e-3  # pixels


@dataclasses.dataclass(frozen=True)
class Companions:
    """The boxes and the second mask of one image.

    Attributes:
        second_label: int32 [H, W, 1]; None without one.
        boxes: float32 [n, 4], edges (ymin, xmin, ymax, xmax) in parts of height and width; None where nobody asks for them.
        box_labels: int32 [n], class ids.
        is_crowd: bool [n], whether a box is around a region of many objects; None where none is.
        max_boxes: Number of boxes that a view has room for.
    """

    second_label: tf.Tensor | None = None
    boxes: tf.Tensor | None = None
    box_labels: tf.Tensor | None = None
    is_crowd: tf.Tensor | None = None
    max_boxes: int = 0


def parse_companions(serialized: tf.Tensor, views: Views, size: tf.Tensor, info: DatasetInfo) -> Companions:
    """Returns what a method asks of a serialized example besides its mask; `size` is that of its image, once resized."""
    second = None
    if views.second_mask:
        second = parse_second_mask(serialized, size, info.ignore_label, num_classes=info.num_classes)
    if views.boxes:
        objects = parse_boxes(serialized, info.num_classes, info.has_background)
        boxes, labels, is_crowd = (objects[name] for name in ("boxes", "label", "is_crowd"))
        return Companions(second, boxes, box_labels=labels, is_crowd=is_crowd, max_boxes=views.boxes)
    return Companions(second)


def parse_second_mask(
    serialized: tf.Tensor, size: tf.Tensor, ignore_label: int, *, num_classes: int = 256
) -> tf.Tensor:
    """Decodes the second mask of a serialized example.

    Args:
        serialized: Scalar string.
        size: int32 (height, width) of its image, once resized; the mask follows as in `resize_to_range`.
        ignore_label: Label of all pixels if there is no second mask.
        num_classes: Number of classes that it may have.

    Returns:
        int32 [height, width, 1].

    Raises:
        tf.errors.OpError: It has another size than its image as it is stored, or other labels than classes.
    """
    encoded = second_mask_of(serialized)

    def decoded() -> tf.Tensor:
        mask = decode_labels(encoded, image_size(serialized), num_classes=num_classes, ignore_label=ignore_label)
        return tf.raw_ops.ResizeNearestNeighbor(images=mask[None], size=size, align_corners=True)[0]

    nothing = lambda: tf.fill(tf.concat([size, [1]], 0), ignore_label)
    return tf.ensure_shape(tf.cond(tf.strings.length(encoded) > 0, decoded, nothing), [None, None, 1])


def second_mask_of(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the encoded second mask of a serialized example, string []; "" without one."""
    return tf.io.parse_single_example(serialized, {SECOND_MASK: tf.io.FixedLenFeature([], tf.string, "")})[SECOND_MASK]


def with_second_mask(serialized: bytes, mask_png: bytes) -> bytes:
    """Returns a serialized example with a second mask, a single-channel PNG of class ids."""
    example = tf.train.Example.FromString(serialized)
    example.features.feature[SECOND_MASK].bytes_list.value[:] = [mask_png]
    return example.SerializeToString(deterministic=True)


def boxes_in_view(
    companions: Companions, geometry: Geometry, crop_size: tuple[int, int], *, valid: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the boxes of a view: scaled, turned, cropped, flipped, the largest first; and what lies outside of all.

    A turned box is the smallest upright one around it. What is left of a box inside the crop counts if its sides are a
    pixel or more, and if it is no crowd.

    Args:
        companions: The boxes of the image.
        geometry: Geometry of the view.
        crop_size: (height, width) of the view.
        valid: float32 [h, w, 1] of the view, 0 where the image has no pixel.

    Returns:
        boxes float32 [N, 4] in pixels of the view, box_labels int32 [N], box_count int32 []; N = `max_boxes`.
        outside_boxes float32 [h, w, 1], 1 where the image has a pixel in none of its boxes, which are all that it has.
    """
    size = tf.cast(geometry.size, tf.float32)
    boxes = companions.boxes * tf.tile(size, [2])
    if geometry.angle is not None:
        boxes = _rotated(boxes, size, geometry.angle)
    boxes -= tf.tile(tf.cast(geometry.offset, tf.float32), [2])
    extent = tf.tile(tf.cast(tf.minimum(geometry.size, crop_size), tf.float32), [2])
    ymin, xmin, ymax, xmax = tf.unstack(tf.clip_by_value(boxes, 0.0, extent), axis=-1)
    # The padding is mirrored with the image.
    left, right = tf.where(geometry.flip, crop_size[1] - xmax, xmin), tf.where(geometry.flip, crop_size[1] - xmin, xmax)
    shown = (ymax - ymin >= 1.0) & (xmax - xmin >= 1.0)
    if companions.is_crowd is not None:
        shown &= ~companions.is_crowd
    area = tf.boolean_mask((ymax - ymin) * (xmax - xmin), shown)
    largest = tf.argsort(area, direction="DESCENDING", stable=True)[: companions.max_boxes]
    kept = lambda values: tf.gather(tf.boolean_mask(values, shown), largest)
    count = tf.size(largest)
    spare = companions.max_boxes - count
    edges = tf.pad(kept(tf.stack([ymin, left, ymax, right], axis=-1)), [[0, spare], [0, 0]])
    labels = tf.pad(kept(companions.box_labels), [[0, spare]], constant_values=NO_BOX)
    return {
        "boxes": tf.ensure_shape(edges, [companions.max_boxes, 4]),
        "box_labels": tf.ensure_shape(labels, [companions.max_boxes]),
        "box_count": count,
        "outside_boxes": (1.0 - _covered(boxes, crop_size, geometry.flip)) * valid,
    }


def _covered(boxes: tf.Tensor, crop_size: tuple[int, int], flip: tf.Tensor) -> tf.Tensor:
    """Returns which pixels of a view have their middle in a box, float32 [h, w, 1] in {0, 1}.

    Args:
        boxes: float32 [n, 4], edges in pixels of the view before it is flipped; they may lie outside of it.
        crop_size: (height, width) of the view.
        flip: bool [], whether the view is flipped.
    """
    # An edge in the middle of a pixel belongs to the pixel after it, as in nearest resizing, however the edge was rounded.
    ymin, xmin, ymax, xmax = (edge[:, None] for edge in tf.unstack(boxes - ROUNDING, axis=-1))
    y, x = (tf.range(side, dtype=tf.float32) + 0.5 for side in crop_size)
    x = tf.where(flip, tf.reverse(x, [0]), x)
    rows, columns = (ymin <= y) & (y < ymax), (xmin <= x) & (x < xmax)
    # [n, h] and [n, w]: their product counts the boxes of each pixel.
    counts = tf.matmul(tf.cast(rows, tf.float32), tf.cast(columns, tf.float32), transpose_a=True)
    return tf.cast(counts > 0, tf.float32)[..., None]


def _rotated(boxes: tf.Tensor, size: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns the upright boxes [n, 4] around boxes that turn with the image, see `rotate_crop`."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    # The middle of the first pixel is (0, 0) there, its edge here.
    center = size / 2 + 0.5
    y = tf.stack([ymin, ymin, ymax, ymax], axis=-1) - center[0]
    x = tf.stack([xmin, xmax, xmin, xmax], axis=-1) - center[1]
    cosine, sine = tf.cos(angle), tf.sin(angle)
    y, x = center[0] + cosine * y - sine * x, center[1] + sine * y + cosine * x
    return tf.stack([tf.reduce_min(y, -1), tf.reduce_min(x, -1), tf.reduce_max(y, -1), tf.reduce_max(x, -1)], axis=-1)
