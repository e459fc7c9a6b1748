"""Photos as they are in files and records, to calibrate with and to compare on."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.photos import ValueRange, read_photo
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.inference.photos import photos_in

MAX_SIDE = 1025  # of a folder's photos; larger ones are reduced, as by wss-vis


@dataclasses.dataclass(frozen=True, eq=False)
class RawPhoto:
    """A photo before anything is done to it for the network.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        label: Classes uint8 or int32 [H, W]; None without a mask.
    """

    image: np.ndarray
    label: np.ndarray | None = None

    def variants(self, number: int) -> "list[RawPhoto]":
        """Returns photos of the same size that differ: the photo, and moved to the side, over its border."""
        steps = [one * self.image.shape[1] // number for one in range(number)]
        moved = lambda values, step: None if values is None else np.roll(values, step, axis=1)
        return [RawPhoto(np.roll(self.image, step, axis=1), moved(self.label, step)) for step in steps]

    def at(self, size: tuple[int, int] | None) -> "RawPhoto":
        """Returns the photo at a (height, width), bilinear, with its mask; itself for None."""
        if size is None or size == self.image.shape[:2]:
            return self
        image = np.asarray(Image.fromarray(self.image).resize(size[::-1], Image.Resampling.BILINEAR))
        if self.label is None:
            return RawPhoto(image)
        label = Image.fromarray(self.label.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
        return RawPhoto(image, np.asarray(label))


class Photos(Protocol):
    """Photos to go through as often as one likes; they are not kept in memory."""

    def __len__(self) -> int:
        """Returns their number."""
        ...

    def __iter__(self) -> Iterator[RawPhoto]:
        """Yields them."""
        ...


class SplitPhotos:
    """The first photos of a split, with their masks where they have some.

    Args:
        info: The data set.
        split: Name of the split.
        number: Largest number of photos.
    """

    def __init__(self, info: DatasetInfo, split: str, number: int):
        self._info, self._split = info, split
        self._number = min(number, info.split(split).num_examples)

    def __len__(self) -> int:
        """Returns the number of photos."""
        return self._number

    def __iter__(self) -> Iterator[RawPhoto]:
        """Yields the photos; a damaged record is a `UserError`."""
        info, max_size = self._info, self._info.split(self._split).max_size

        def parsed(record: tf.Tensor) -> dict[str, tf.Tensor]:
            return parse_example(
                record, info.num_classes, info.has_background, ignore_label=info.ignore_label, max_size=max_size
            )

        with damage_told((info, self._split)):
            for example in split_records(info, self._split).take(self._number).map(parsed).as_numpy_iterator():
                yield RawPhoto(example["image"], example["label"][..., 0] if example["has_mask"] else None)


class FolderPhotos:
    """Photos of a folder and of those in it, upright, 1025 pixels at most.

    Args:
        folder: The folder.
        value_range: Values of black and white in photos of more than 8 bits, see `read_photo`.
    """

    def __init__(self, folder: str, value_range: ValueRange | None = None):
        _, self._paths = photos_in(folder, None, None)
        self._value_range = value_range

    def part(self, first: int, number: int) -> "FolderPhotos":
        """Returns so many of them, or as many as there are, from one on."""
        part = copy.copy(self)
        part._paths = self._paths[first : first + number]
        return part

    def __len__(self) -> int:
        """Returns the number of photos."""
        return len(self._paths)

    def __iter__(self) -> Iterator[RawPhoto]:
        """Yields the photos; a damaged file is a `UserError`."""
        for path in self._paths:
            photo = read_photo(path, value_range=self._value_range)
            photo.thumbnail((MAX_SIDE, MAX_SIDE))
            yield RawPhoto(np.asarray(photo))
