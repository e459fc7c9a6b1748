"""Image-level labels that a file gives, beside the records: known ones that came later, or guessed ones."""

import dataclasses
import hashlib
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.image_label_files import read_image_labels
from wss.data.splits import entries_of
from wss.errors import UserError

# Name of their checksum among those of a run's images.
GIVEN = "image-level labels"


@dataclasses.dataclass(frozen=True)
class GivenImageLabels:
    """Image-level labels by the id of the image.

    Attributes:
        path: The file, for messages.
        ids: Ids of its images.
        values: uint8 [N, K] in {0, 1}, their classes; K = C - has_background.
    """

    path: str
    ids: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def read(cls, path: str, info: DatasetInfo) -> "GivenImageLabels":
        """Reads a CSV file, see `read_image_labels`.

        Raises:
            UserError: It is missing, cannot be read, or a line of it is wrong.
        """
        if not os.path.isfile(path):
            raise UserError(
                f"TrainingData.image_labels = {path!r}: no such file; tools/guess_image_labels.py and wss-plan can write one"
            )
        first = int(info.has_background)
        labels, problems = read_image_labels(path, info.class_names, info.class_names[first:])
        if problems:
            more = f"; {len(problems) - 1} more lines are wrong" if len(problems) > 1 else ""
            raise UserError(f"{problems[0]}{more}")
        values = np.zeros([len(labels), info.num_classes - first], np.uint8)
        for row, classes in zip(values, labels.values(), strict=True):
            row[[c - first for c in classes]] = 1
        return cls(path, tuple(labels), values)

    @property
    def checksum(self) -> str:
        """SHA-256 of what it says, in whatever order."""
        lines = sorted(zip(self.ids, map(bytes, self.values), strict=True))
        return hashlib.sha256(repr(lines).encode()).hexdigest()

    def check(self, info: DatasetInfo, split: str) -> None:
        """Prints for how many images of a split it has a line.

        Raises:
            UserError: For none.
        """
        known, number = set(self.ids), info.split(split).num_examples
        found = sum(entry.id in known for entry in entries_of(info, split))
        if not found:
            example = next(entries_of(info, split)).id
            raise UserError(
                f"TrainingData.image_labels = {self.path!r}: has {len(self.ids)} images, none of the {number} of split "
                f"{split!r}; name them as there, such as {example!r}"
            )
        print(f"{self.path}: image-level labels of {found} of the {number} images of {split!r}")

    def lookup(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """Returns a function from the id of an image, string [], to image_label [K] and image_label_known [], both float32.

        It holds a table, so it is to be made outside of the pipeline that calls it.
        """
        rows = tf.range(len(self.ids), dtype=tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(self.ids, tf.string), rows)
        table, values = tf.lookup.StaticHashTable(initializer, default_value=-1), tf.constant(self.values)

        def labels_of(name: tf.Tensor) -> dict[str, tf.Tensor]:
            row = table.lookup(name)
            known = tf.cast(row >= 0, tf.float32)
            found = tf.cast(tf.gather(values, tf.maximum(row, 0)), tf.float32)
            return {"image_label": found * known, "image_label_known": known}

        return labels_of
