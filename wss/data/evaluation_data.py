"""Evaluation batches from TFRecords by tf.data: whole images of a split, in order."""

import functools

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.padding import Padding, Pixel, pad
from wss.data.record_files import split_records
from wss.data.resize import ResizeToRange
from wss.errors import UserError

HELD_PIXELS = 2**26  # half a gigabyte of images and labels


def read_example(
    serialized: tf.Tensor, info: DatasetInfo, split: str, resize: ResizeToRange, *, hide_mask: bool = False
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Returns the parsed example, its image (uint8, or float32 if it is resized) and its label, both resized.

    Args:
        serialized: The record.
        info: The data set.
        split: Split of the record.
        resize: The resizing.
        hide_mask: Whether the image is taken for one without a mask.
    """
    example = parse_example(
        serialized,
        info.num_classes,
        info.has_background,
        ignore_label=info.ignore_label,
        use_mask=not hide_mask,
        max_size=info.split(split).max_size,
    )
    return example, *resize(example["image"], example["label"])


def evaluation_batches(
    info: DatasetInfo,
    split: str,
    batch_size: int,
    *,
    padding: Padding,
    size: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Returns the whole images of a split in order, in batches of one shape; nothing is lost or counted twice.

    Under `ResizeToRange`, "image" means the resized one everywhere here, and labels are resized too.

    Args:
        info: The data set.
        split: Name of one of its splits.
        batch_size: Images a batch, over all replicas; the last batch is filled up with empty examples.
        padding: How images are padded for the network.
        size: (height, width) of all batches; None takes the smallest that holds the largest image.

    Returns:
        Batches of image float32 [B, h, w, 3] in 0 .. 255, label int32 [B, h, w, 1], valid float32 [B, h, w, 1], size int32
        [B, 2], own_size int32 [B, 2] before `ResizeToRange`, and name string [B]. Padding is ignored in the label; the
        sizes of an empty example are 0.

    Raises:
        UserError: An image of the split is larger than `size`.
    """
    resize = ResizeToRange()
    largest = resize.largest_size(info, split)
    size = size or padding.size(largest)
    if any(side > limit for side, limit in zip(largest, size, strict=True)):
        raise UserError(
            f"evaluation size {size[0]}x{size[1]} is smaller than the largest image of split {split!r}, "
            f"{largest[0]}x{largest[1]}{' after ResizeToRange' if resize.min_size else ''}; leave it out or use sliding "
            "windows"
        )

    padded = functools.partial(_padded, size=size, color=padding.color, ignore_label=info.ignore_label)

    def example_of(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example, image, label = read_example(serialized, info, split, resize)
        own_size = tf.shape(example["image"])[:2]
        return {**padded(tf.cast(image, tf.float32), label, example["name"]), "own_size": own_size}

    examples = split_records(info, split).map(example_of, num_parallel_calls=tf.data.AUTOTUNE)
    missing = -info.split(split).num_examples % batch_size
    if missing:
        nothing = padded(tf.zeros([0, 0, 3]), tf.zeros([0, 0, 1], tf.int32), "")
        empty = tf.data.Dataset.from_tensors({**nothing, "own_size": tf.zeros([2], tf.int32)})
        examples = examples.concatenate(empty.repeat(missing))
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def original_size_batches(
    info: DatasetInfo, split: str, batch_size: int, *, multiple: int = 1, together: int | None = None
) -> tf.data.Dataset:
    """Returns the whole images of a split without padding, in batches of images of one size.

    Args:
        info: The data set.
        split: Name of one of its splits.
        batch_size: Largest number of images of a batch.
        multiple: Number of which batches are multiples, that of the replicas; they are filled up with images that have no
            labelled pixel.
        together: Number of images, one after the other, among which those of one size are looked for; so many are held. None
            holds 256, or fewer where they are large.

    Returns:
        Batches of image float32 [b, H, W, 3] in 0 .. 255, label int32 [b, H, W, 1] and size int32 [b, 2].
    """
    resize = ResizeToRange()
    height, width = resize.largest_size(info, split)
    together = together or max(batch_size, min(256, HELD_PIXELS // (height * width)))

    def example_of(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        _, image, label = read_example(serialized, info, split, resize)
        return {"image": image, "label": label, "size": tf.shape(image)[:2]}

    def of_one_size(_: tf.Tensor, examples: tf.data.Dataset) -> tf.data.Dataset:
        return examples.batch(batch_size)

    def filled(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        missing = -tf.shape(batch["image"])[0] % multiple
        more = lambda values, value: tf.pad(
            values, [[0, missing], *[[0, 0]] * (values.shape.rank - 1)], constant_values=tf.cast(value, values.dtype)
        )
        image = tf.cast(more(batch["image"], 0), tf.float32)
        return {"image": image, "label": more(batch["label"], info.ignore_label), "size": more(batch["size"], 0)}

    def grouped(examples: tf.data.Dataset) -> tf.data.Dataset:
        key = lambda example: tf.reduce_sum(tf.cast(example["size"], tf.int64) * [1 << 20, 1])
        return examples.group_by_window(key, of_one_size, window_size=batch_size)

    examples = split_records(info, split).map(example_of, num_parallel_calls=tf.data.AUTOTUNE)
    windows = examples.window(together).flat_map(lambda parts: grouped(tf.data.Dataset.zip(parts)))
    return windows.map(filled, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _padded(
    image: tf.Tensor,
    label: tf.Tensor,
    name: tf.Tensor | str,
    *,
    size: tuple[int, int],
    color: Pixel,
    ignore_label: int,
) -> dict[str, tf.Tensor]:
    return {
        "image": pad(image, size, color),
        "label": pad(label, size, [ignore_label]),
        "valid": pad(tf.ones_like(label, tf.float32), size, [0.0]),
        "size": tf.shape(image)[:2],
        "name": name,
    }
