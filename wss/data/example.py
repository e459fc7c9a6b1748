"""The tf.Example of one image: DeepLab's feature keys, image-level labels as further optional ones.

image/encoded, image/format            JPEG or PNG bytes, "jpeg" or "png"
image/filename                         id of the image, without extension
image/height, image/width, image/channels
image/segmentation/class/encoded       PNG of class ids (absent without a mask), .../format "png"
image/class/label, image/class/known   ids of the foreground classes in the image, and 1 (absent if unknown)
image/object/bbox/{ymin,xmin,ymax,xmax}   edges of the objects, in parts of height and width, as in the Object Detection API
image/object/class/label, image/object/is_crowd, image/object/difficult   one per object
image/object/known                     1 if objects are known, even if there is none
"""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from wss.data.boxes import Box
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import wrong_labels
from wss.data.record_files import RecordFiles
from wss.errors import UserError

BOX_EDGES = {"ymin": "height", "xmin": "width", "ymax": "height", "xmax": "width"}


def encode_example(
    image: bytes,
    image_format: str,
    name: str,
    *,
    size: tuple[int, int],
    mask_png: bytes | None = None,
    image_labels: Sequence[int] | None = None,
    boxes: Sequence[Box] | None = None,
) -> bytes:
    """Serializes one image.

    Args:
        image: JPEG or PNG file.
        image_format: Format of the file, "jpeg" or "png".
        name: Id of the image.
        size: Its (height, width) in pixels.
        mask_png: Single-channel PNG of class ids, of the same size; None without a mask.
        image_labels: Ids of the foreground classes in the image; None where unknown.
        boxes: Its objects; None where unknown.
    """
    height, width = size
    feature = {
        "image/encoded": _bytes(image),
        "image/format": _bytes(image_format.encode()),
        "image/filename": _bytes(name.encode()),
        "image/height": _ints(height),
        "image/width": _ints(width),
        "image/channels": _ints(3),
    }
    if mask_png is not None:
        feature["image/segmentation/class/encoded"] = _bytes(mask_png)
        feature["image/segmentation/class/format"] = _bytes(b"png")
    if image_labels is not None:
        feature["image/class/label"] = _ints(*image_labels)
        feature["image/class/known"] = _ints(1)
    if boxes is not None:
        for edge, side in BOX_EDGES.items():
            scale = height if side == "height" else width
            feature[f"image/object/bbox/{edge}"] = _floats(*(getattr(box, edge) / scale for box in boxes))
        feature["image/object/class/label"] = _ints(*(box.label for box in boxes))
        feature["image/object/is_crowd"] = _ints(*(int(box.is_crowd) for box in boxes))
        feature["image/object/difficult"] = _ints(*(int(box.is_difficult) for box in boxes))
        feature["image/object/known"] = _ints(1)
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def parse_example(
    serialized: tf.Tensor,
    num_classes: int,
    has_background: bool = True,
    *,
    ignore_label: int = 255,
    use_mask: bool = True,
) -> dict[str, tf.Tensor]:
    """Decodes one image, in a tf.data pipeline.

    Args:
        serialized: Scalar string of `encode_example`, of DeepLab's converters or of the original code's.
        num_classes: Number of classes, C.
        has_background: Whether class 0 has no image-level label.
        ignore_label: Label of every pixel of an image without a mask.
        use_mask: Whether to decode the mask; False takes the image for one without a mask, and saves the time.

    Returns:
        image: uint8 [H, W, 3].
        label: int32 [H, W, 1].
        has_mask: bool [].
        image_label: float32 [K], K = C - has_background, multi-hot of the stored image-level labels; zeros if unknown.
        has_image_label: bool [].
        name: string [].

    Raises:
        tf.errors.OpError: There is no image in it, or something cannot be decoded.
    """
    text = lambda: tf.io.FixedLenFeature([], tf.string, "")
    features = tf.io.parse_single_example(
        serialized,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/filename": text(),
            "image/segmentation/class/encoded": text(),
            "image/class/label": tf.io.VarLenFeature(tf.int64),
            "image/class/known": tf.io.FixedLenFeature([], tf.int64, 0),
        },
    )
    image = tf.io.decode_image(features["image/encoded"], channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    mask = features["image/segmentation/class/encoded"]
    has_mask = (tf.strings.length(mask) > 0) & use_mask
    shape = tf.concat([tf.shape(image)[:2], [1]], axis=0)
    unlabeled = lambda: tf.fill(shape, ignore_label)
    decoded = lambda: tf.cast(tf.io.decode_png(mask, channels=1), tf.int32)
    label = tf.cond(has_mask, decoded, unlabeled) if use_mask else unlabeled()
    classes = tf.sparse.to_dense(features["image/class/label"]) - int(has_background)
    present = tf.reduce_max(tf.one_hot(classes, num_classes - int(has_background)), axis=0)
    return {
        "image": image,
        "label": tf.ensure_shape(label, [None, None, 1]),
        "has_mask": has_mask,
        "image_label": tf.maximum(present, 0.0),
        "has_image_label": features["image/class/known"] > 0,
        "name": features["image/filename"],
    }


def parse_boxes(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes the objects of one image, in a tf.data pipeline.

    Returns:
        boxes: float32 [N, 4], (ymin, xmin, ymax, xmax) in parts of height and width.
        label: int32 [N].
        is_crowd: bool [N].
        is_difficult: bool [N].
        known: bool [], whether the objects of this image are known at all.
    """
    integers = ("image/object/class/label", "image/object/is_crowd", "image/object/difficult")
    spec: dict = {f"image/object/bbox/{edge}": tf.io.VarLenFeature(tf.float32) for edge in BOX_EDGES}
    spec |= {name: tf.io.VarLenFeature(tf.int64) for name in integers}
    spec["image/object/known"] = tf.io.FixedLenFeature([], tf.int64, 0)
    features = tf.io.parse_single_example(serialized, spec)
    label, is_crowd, is_difficult = (tf.sparse.to_dense(features[name]) for name in integers)
    return {
        "boxes": tf.stack([tf.sparse.to_dense(features[f"image/object/bbox/{edge}"]) for edge in BOX_EDGES], axis=-1),
        "label": tf.cast(label, tf.int32),
        "is_crowd": is_crowd > 0,
        "is_difficult": is_difficult > 0,
        "known": features["image/object/known"] > 0,
    }


def image_size(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the int32 (height, width) of one image, in a tf.data pipeline; a JPEG is not decoded for it."""
    feature = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
    encoded = tf.io.parse_single_example(serialized, feature)["image/encoded"]
    decoded = lambda: tf.shape(tf.io.decode_image(encoded, channels=3, expand_animations=False))
    return tf.cond(tf.io.is_jpeg(encoded), lambda: tf.io.extract_jpeg_shape(encoded), decoded)[:2]


def check_record(serialized: bytes, info: DatasetInfo) -> dict[str, Any]:
    """Decodes one record, checks it and returns `parse_example`'s tensors as arrays.

    Raises:
        UserError: Something is wrong with it; the name of its file is for the caller to add.
    """
    try:
        parsed = parse_example(serialized, info.num_classes, info.has_background, ignore_label=info.ignore_label)
    except tf.errors.OpError as error:
        raise UserError(f"no readable example of an image ({reason_of(error)})") from error
    example = {key: value.numpy() for key, value in parsed.items()}
    image, label, name = example["image"], example["label"], example["name"].decode(errors="replace")
    if image.shape[:2] != label.shape[:2]:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (image, label)]
        raise UserError(f"image {name!r} has {sizes[0]} pixels, its mask {sizes[1]}; expected equal sizes")
    if wrong := wrong_labels(label, info.num_classes, info.ignore_label):
        raise UserError(f"mask of image {name!r}: {wrong}")
    return example


def validate_records(info: DatasetInfo, split: str) -> None:
    """Checks the first example of each file of a split.

    Raises:
        UserError: A file is missing, empty or no TFRecord file, or holds something else than images and masks of the
            data set.
    """
    files = RecordFiles(info, split)
    for number, path in enumerate(info.files(split)):
        try:
            records = list(files.read(tf.constant(number, tf.int64)).take(1).as_numpy_iterator())
            if not records:
                raise UserError(f"no records in it, though dataset.json counts {files.sizes[number]} images")
            for record in records:
                check_record(record, info)
        except tf.errors.OpError as error:
            raise UserError(
                f"{path}: no readable TFRecord file ({reason_of(error)}); build the data set again"
            ) from error
        except UserError as error:
            raise UserError(f"{path}: {error}; build the data set again") from error


def reason_of(error: tf.errors.OpError) -> str:
    """Returns the first line of TensorFlow's message, without the op that it names in front."""
    return re.sub(r" \[Op:.*", "", str(error.message).splitlines()[0].rsplit("}} ", 1)[-1]).rstrip(". ")


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
