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

import tensorflow as tf

from wss.data.boxes import Box
from wss.data.image_header import declared_png_size, declared_size, is_index_png, is_within
from wss.data.limits import MAX_SIZE
from wss.data.names import ID_PATTERN_RE2, MAX_ID_BYTES

IMAGE, MASK = "image/encoded", "image/segmentation/class/encoded"
# TensorFlow's message on a record that does not parse has its bytes in it, which are seldom a text.
RECORD_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
MAX_REASON = 200
IMPOSSIBLE = -2  # as a length; -1 lets `tf.reshape` find one
BOX_EDGES = {"ymin": "height", "xmin": "width", "ymax": "height", "xmax": "width"}
BOX_INTEGERS = ("image/object/class/label", "image/object/is_crowd", "image/object/difficult")


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
    max_size: tuple[int, int] = MAX_SIZE,
    only_sane: bool = False,
) -> dict[str, tf.Tensor]:
    """Decodes one image, in a tf.data pipeline.

    What is not as it should be fails here, with a message that only `record_check.check_record` puts into words. The
    checks are part of what is returned, not assertions beside it, so that they go away with what nobody asks for.

    Args:
        serialized: Scalar string of `encode_example`, of DeepLab's converters or of the original code's.
        num_classes: Number of classes, C.
        has_background: Whether class 0 has no image-level label.
        ignore_label: Label of every pixel of an image without a mask.
        use_mask: Whether to decode the mask; False takes the image for one without a mask, and saves the time.
        max_size: Largest (height, width) that an image may declare; a larger one is not decoded.
        only_sane: Whether all that can be decoded passes, for tools that tell what is wrong with it: any id and label, a
            mask of another size.

    Returns:
        image: uint8 [H, W, 3].
        label: int32 [H, W, 1].
        has_mask: bool [].
        image_label: float32 [K], K = C - has_background, multi-hot of the stored image-level labels; zeros if unknown.
        has_image_label: bool [].
        name: string [].

    Raises:
        tf.errors.OpError: There is no image in it, something cannot be decoded, or should not be.
    """
    features = parse_features(serialized)
    encoded, mask, labels = (features[key] for key in (IMAGE, MASK, "image/class/label"))
    known = features["image/class/known"] > 0
    size = declared_size(encoded)
    image = tf.io.decode_image(_if(is_within(size, max_size), encoded), channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    has_mask = (tf.strings.length(mask) > 0) & use_mask
    unlabeled = lambda: tf.fill(tf.concat([tf.shape(image)[:2], [1]], axis=0), ignore_label)

    def decoded() -> tf.Tensor:
        if only_sane:
            return tf.cast(decode_mask(mask, is_within(declared_png_size(mask), max_size)), tf.int32)
        return decode_labels(mask, size, num_classes=num_classes, ignore_label=ignore_label)

    label = tf.cond(has_mask, decoded, unlabeled) if use_mask else unlabeled()
    present = tf.reduce_max(tf.one_hot(labels - int(has_background), num_classes - int(has_background)), axis=0)
    name = features["image/filename"]
    if not only_sane:
        are_classes = tf.reduce_all((labels >= int(has_background)) & (labels < num_classes))
        present = _only_if(~known | are_classes, present)
        name = _only_if(_is_id(name), name)
    return {
        "image": image,
        "label": tf.ensure_shape(label, [None, None, 1]),
        "has_mask": has_mask,
        "image_label": tf.maximum(present, 0.0),
        "has_image_label": known,
        "name": name,
    }


def parse_features(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what `parse_example` reads of one image as it is stored; a missing key but the image's is "", 0 or []."""
    features = tf.io.parse_single_example(
        serialized,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
            MASK: tf.io.FixedLenFeature([], tf.string, ""),
            "image/class/label": tf.io.VarLenFeature(tf.int64),
            "image/class/known": tf.io.FixedLenFeature([], tf.int64, 0),
        },
    )
    return {**features, "image/class/label": tf.sparse.to_dense(features["image/class/label"])}


def decode_mask(encoded: tf.Tensor, condition: tf.Tensor | bool = True) -> tf.Tensor:
    """Returns the values of a mask, uint8 [H, W, 1], if it is a PNG with one channel of 8 bits, and under a condition."""
    return tf.io.decode_png(_if(is_index_png(encoded) & condition, encoded), channels=1)


def decode_labels(encoded: tf.Tensor, size: tf.Tensor, *, num_classes: int, ignore_label: int) -> tf.Tensor:
    """Decodes a mask, if it has the size of its image and all its values are classes or the ignore label.

    Args:
        encoded: A PNG with one channel of 8 bits.
        size: int32 (height, width) of the image.
        num_classes: Number of classes.
        ignore_label: Label of pixels that count nowhere.

    Returns:
        int32 [H, W, 1].
    """
    values = decode_mask(encoded, tf.reduce_all(declared_png_size(encoded) == size))
    label = tf.cast(values, tf.int32)
    if num_classes > 255:
        return label
    return tf.reshape(label, tf.where(_has_others(values, num_classes, ignore_label), IMPOSSIBLE, tf.shape(label)))


def _has_others(values: tf.Tensor, num_classes: int, ignore_label: int) -> tf.Tensor:
    """Returns whether uint8 labels have a value that is neither a class nor the ignore label, bool []."""
    if ignore_label < num_classes:
        return tf.reduce_max(values) >= num_classes
    if ignore_label == 255:
        return tf.reduce_max(values + 1) > num_classes  # 255 + 1 is 0 there, and a maximum costs next to nothing
    return tf.reduce_any((values >= num_classes) & (values != ignore_label))


def _if(condition: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Returns an encoded image, or what cannot be decoded: nothing of it. `tf.where` would copy it."""
    return tf.cond(condition, lambda: encoded, lambda: tf.constant(""))


def _only_if(condition: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Returns a small tensor; it fails without the condition."""
    return tf.gather(value[tf.newaxis], tf.where(condition, 0, IMPOSSIBLE))


def _is_id(name: tf.Tensor) -> tf.Tensor:
    return tf.strings.regex_full_match(name, ID_PATTERN_RE2) & (tf.strings.length(name) <= MAX_ID_BYTES)


def parse_boxes(
    serialized: tf.Tensor, num_classes: int = 256, has_background: bool = True, *, only_sane: bool = False
) -> dict[str, tf.Tensor]:
    """Decodes the objects of one image, in a tf.data pipeline.

    Args:
        serialized: See `parse_example`.
        num_classes: Number of classes that a box may have.
        has_background: Whether class 0 is none of them.
        only_sane: Whether any edges and classes pass, see `parse_example`.

    Returns:
        boxes: float32 [N, 4], (ymin, xmin, ymax, xmax) in parts of height and width.
        label: int32 [N].
        is_crowd: bool [N].
        is_difficult: bool [N].
        known: bool [], whether the objects of this image are known at all; without that there are none.

    Raises:
        tf.errors.OpError: There are not as many of one as of the other; edges are not in 0 .. 1, or a label is no class.
    """
    spec: dict = {f"image/object/bbox/{edge}": tf.io.VarLenFeature(tf.float32) for edge in BOX_EDGES}
    spec |= {name: tf.io.VarLenFeature(tf.int64) for name in BOX_INTEGERS}
    spec["image/object/known"] = tf.io.FixedLenFeature([], tf.int64, 0)
    features = tf.io.parse_single_example(serialized, spec)
    known = features["image/object/known"] > 0
    limit = tf.where(known, tf.int32.max, 0)
    values = lambda key: tf.sparse.to_dense(features[key])[:limit]
    boxes = tf.stack([values(f"image/object/bbox/{edge}") for edge in BOX_EDGES], axis=-1)
    integers = tf.stack([values(key) for key in BOX_INTEGERS])
    label, is_crowd, is_difficult = tf.unstack(tf.reshape(integers, [len(BOX_INTEGERS), tf.shape(boxes)[0]]))
    if not only_sane:
        first, last = boxes[:, :2], boxes[:, 2:]
        right = tf.reduce_all((first >= 0) & (first <= last) & (last <= 1))
        right &= tf.reduce_all((label >= int(has_background)) & (label < num_classes))
        boxes = tf.reshape(boxes, tf.where(right, tf.shape(boxes), IMPOSSIBLE))
    return {
        "boxes": boxes,
        "label": tf.cast(label, tf.int32),
        "is_crowd": is_crowd > 0,
        "is_difficult": is_difficult > 0,
        "known": known,
    }


def image_size(serialized: tf.Tensor, max_size: tuple[int, int] = MAX_SIZE) -> tf.Tensor:
    """Returns the int32 (height, width) of one image, in a tf.data pipeline, without decoding it."""
    feature = {IMAGE: tf.io.FixedLenFeature([], tf.string)}
    size = declared_size(tf.io.parse_single_example(serialized, feature)[IMAGE])
    return _only_if(is_within(size, max_size), size)


def reason_of(error: tf.errors.OpError | UnicodeDecodeError) -> str:
    """Returns the first line of TensorFlow's message, without the op that it names in front."""
    if isinstance(error, UnicodeDecodeError):
        return "not a tf.Example"
    line = (str(error.message).splitlines() or [""])[0].rsplit("}} ", 1)[-1]
    shown = "".join(part if part.isprintable() else "?" for part in re.sub(r" \[Op:.*", "", line))
    return shown[:MAX_REASON].rstrip(". ")


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
