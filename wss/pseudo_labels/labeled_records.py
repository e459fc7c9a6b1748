"""What every labelling writes: masks into records; and the true masks to compare with."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import MASK, decode_labels
from wss.data.masks import encode_mask
from wss.data.record_damage import damage_told
from wss.data.record_index import Entry
from wss.data.splits import records_of

PNGS = "pngs"


def indexed(records: tf.data.Dataset, info: DatasetInfo, split: str) -> Iterator[tuple[Any, Entry]]:
    """Yields what is made of each record of a split, as NumPy, with its entry in the index.

    Args:
        records: The records, in order, or what `map` makes of them.
        info: The data set.
        split: Name of the split.

    Raises:
        UserError: A record is damaged.
    """
    entries = [record.entry for record in records_of(info, split)]
    with damage_told((info, split)):
        yield from zip(records.as_numpy_iterator(), entries, strict=True)


def set_bytes(example: tf.train.Example, name: str, value: bytes) -> None:
    """Sets a feature of an example."""
    example.features.feature[name].bytes_list.value[:] = [value]


def set_mask(example: tf.train.Example, label: np.ndarray) -> None:
    """Makes class ids, uint8 [H, W], the mask of an example."""
    set_bytes(example, MASK, encode_mask(label))
    set_bytes(example, "image/segmentation/class/format", b"png")


def true_mask(example: tf.train.Example, shape: tuple[int, ...], info: DatasetInfo) -> np.ndarray:
    """Returns the mask that an image has all the same, for monitoring; 255 everywhere if it has none."""
    encoded = example.features.feature[MASK].bytes_list.value
    if not encoded or not encoded[0]:
        return np.full(shape, 255, np.uint8)
    with tf.device("CPU"):
        label = decode_labels(
            tf.constant(encoded[0]), tf.constant(shape), num_classes=info.num_classes, ignore_label=info.ignore_label
        )
    return label.numpy()[..., 0]


def digest(name: str, *labels: np.ndarray) -> int:
    """Returns a number of an image and its labels; their sum over images does not depend on any order."""
    found = hashlib.blake2b(f"{name}/{labels[0].shape}/".encode(), digest_size=16)
    for label in labels:
        found.update(label.tobytes())
    return int.from_bytes(found.digest(), "little")
