"""What follows an image through its views besides its mask: boxes and a second mask."""

import dataclasses

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import decode_labels, image_size, parse_boxes
from wss.data.geometry import Geometry
from wss.data.streams import Views

SECOND_MASK = "image/segmentation/second/encoded"
NO_BOX = -1


@dataclasses.dataclass(frozen=True)
class Companions:
    """The boxes and the second mask of one image.

    Attributes:
        second_label: int32 [H, W, 1]; None without one.
        boxes: float32 [n, 4], edges (ymin, xmin, ymax, xmax) in parts of height and width; None where nobody asks for them.
        box_labels: int32 [n], class ids.
        max_boxes: Number of boxes that a view has room for.
    """

    second_label: tf.Tensor | None = None
    boxes: tf.Tensor | None = None
    box_labels: tf.Tensor | None = None
    max_boxes: int = 0


def parse_companions(serialized: tf.Tensor, views: Views, size: tf.Tensor, info: DatasetInfo) -> Companions:
    """Returns what a method asks of a serialized example besides its mask; `size` is that of its image, once resized."""
    second = boxes = labels = None
    if views.second_mask:
        second = parse_second_mask(serialized, size, info.ignore_label, num_classes=info.num_classes)
    if views.boxes:
        objects = parse_boxes(serialized, info.num_classes, info.has_background)
        boxes, labels = (tf.boolean_mask(objects[name], ~objects["is_crowd"]) for name in ("boxes", "label"))
    return Companions(second_label=second, boxes=boxes, box_labels=labels, max_boxes=views.boxes)


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


def boxes_in_view(companions: Companions, geometry: Geometry, crop_size: tuple[int, int]) -> dict[str, tf.Tensor]:
    """Returns the boxes of a view: scaled, turned, cropped, flipped, the largest first.

    A turned box is the smallest upright one around it. What is left of a box inside the crop counts if its sides are a
    pixel or more.

    Args:
        companions: The boxes of the image.
        geometry: Geometry of the view.
        crop_size: (height, width) of the view.

    Returns:
        boxes float32 [N, 4] in pixels of the view, box_labels int32 [N], box_count int32 []; N = `max_boxes`.
    """
    size = tf.cast(geometry.size, tf.float32)
    boxes = companions.boxes * tf.tile(size, [2])
    if geometry.angle is not None:
        boxes = _rotated(boxes, size, geometry.angle)
    offset = tf.tile(tf.cast(geometry.offset, tf.float32), [2])
    extent = tf.tile(tf.cast(tf.minimum(geometry.size, crop_size), tf.float32), [2])
    ymin, xmin, ymax, xmax = tf.unstack(tf.clip_by_value(boxes - offset, 0.0, extent), axis=-1)
    # The padding is mirrored with the image.
    left, right = tf.where(geometry.flip, crop_size[1] - xmax, xmin), tf.where(geometry.flip, crop_size[1] - xmin, xmax)
    inside = (ymax - ymin >= 1.0) & (xmax - xmin >= 1.0)
    area = tf.boolean_mask((ymax - ymin) * (xmax - xmin), inside)
    largest = tf.argsort(area, direction="DESCENDING", stable=True)[: companions.max_boxes]
    kept = lambda values: tf.gather(tf.boolean_mask(values, inside), largest)
    count = tf.size(largest)
    spare = companions.max_boxes - count
    shown = tf.pad(kept(tf.stack([ymin, left, ymax, right], axis=-1)), [[0, spare], [0, 0]])
    labels = tf.pad(kept(companions.box_labels), [[0, spare]], constant_values=NO_BOX)
    return {
        "boxes": tf.ensure_shape(shown, [companions.max_boxes, 4]),
        "box_labels": tf.ensure_shape(labels, [companions.max_boxes]),
        "box_count": count,
    }


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
