"""Images to look at rather than to measure: of a split or of a folder of photos, streamed in batches of one shape."""

import dataclasses
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.padding import Padding
from wss.data.photo_folder import list_images, unique_names
from wss.data.photos import SUFFIXES, ValueRange, photo_size, read_photo
from wss.data.record_damage import check_unique, damage_told
from wss.data.resize import ResizeToRange
from wss.errors import UserError
from wss.inference.pipelining import THREADS, in_threads, one_behind


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """One image without padding.

    Attributes:
        name: Its id, or the name of its file.
        image: uint8 or float32 `[h, w, 3]`, 0 .. 255, as the network sees it.
        label: int32 `[h, w]`, or None without truth.
        own_size: Its (height, width) before it was resized; None if it was not.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None = None
    own_size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Images that are padded at the bottom and the right; the last batch is filled up with such as have no name.

    Attributes:
        names: Names of the first images; the others do not count.
        images: float32 `[B, H, W, 3]`, 0 .. 255.
        sizes: int32 `[B, 2]`, (height, width) without padding.
        labels: int32 `[B, H, W]`, or None without truth.
        own_sizes: int32 `[B, 2]`, (height, width) before the images were resized; None if they were not.
    """

    names: list[str]
    images: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray | None = None
    own_sizes: np.ndarray | None = None

    def __iter__(self) -> Iterator[Photo]:
        """Yields the images without their padding."""
        for i, name in enumerate(self.names):
            height, width = self.sizes[i]
            label = None if self.labels is None else self.labels[i, :height, :width]
            own_size = None if self.own_sizes is None else tuple(self.own_sizes[i].tolist())
            yield Photo(name, self.images[i, :height, :width], label, own_size)


class Examples(Protocol):
    """Batches of one shape, to go through as often as one likes."""

    def __len__(self) -> int:
        """Returns the number of images."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches."""
        ...


class SplitExamples:
    """The first images of a split.

    Attributes:
        shape: (height, width) of a batch.

    Args:
        info: The data set.
        split: Name of the split.
        padding: How photos are padded for the network.
        number: Largest number of images; None for all.
        batch_size: Largest number of images of one batch.
    """

    def __init__(
        self,
        info: DatasetInfo,
        split: str,
        padding: Padding,
        *,
        number: int | None = None,
        batch_size: int = 4,
    ):
        total = info.split(split).num_examples
        self._number = min(number or total, total)
        batch_size = min(batch_size, self._number)
        batches = evaluation_batches(info, split, batch_size, padding=padding)
        # Read to their end, if all are shown, so that more or fewer than expected are told.
        self._batches = batches if self._number == total else batches.take(math.ceil(self._number / batch_size))
        self._source = info, split
        self._has_masks = info.split(split).num_masks > 0
        self.shape: tuple[int, int] = tuple(batches.element_spec["image"].shape[1:3])

    def __len__(self) -> int:
        """Returns the number of images."""
        return self._number

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches; a damaged record or an id that is there twice is a `UserError`."""
        left = self._number
        seen: set[str] = set()
        with damage_told(self._source):
            for batch in self._batches.as_numpy_iterator():
                names = [name.decode() for name in batch["name"][:left]]
                check_unique(*self._source, names, seen)
                labels = batch["label"][..., 0] if self._has_masks else None
                yield Batch(names, batch["image"], batch["size"], labels, batch["own_size"])
                left -= len(names)


class FolderExamples:
    """Photos of a folder, sorted by name, upright, at the size that the network saw in training; read a few at a time.

    A photo is called by its path in the folder without the suffix; where that is the name of several, with it.

    Args:
        folder: Folder whose files with one of `SUFFIXES` count, in the folders in it too; a line says what else is there.
        max_side: Longest side in pixels where no `ResizeToRange` says the size; larger photos are reduced to it.
        padding: How photos are padded for the network.
        resize: The size of photos in training; None for that of gin.
        value_range: Values of black and white in photos of more than 8 bits, see `read_photo`.
        number: Largest number of photos; None for all.
        batch_size: Largest number of photos of one batch.
        without: Folder that is left out, such as that of the pictures.

    Raises:
        UserError: There is no folder, no photo in it, a file that is no image, or there are two of one name.
    """

    def __init__(
        self,
        folder: str,
        max_side: int,
        padding: Padding,
        *,
        resize: ResizeToRange | None = None,
        value_range: ValueRange | None = None,
        number: int | None = None,
        batch_size: int = 4,
        without: str | None = None,
    ):
        self._names, self._paths = photos_in(folder, number, without)
        self._max_side, self._padding = max_side, padding
        self._resize, self._value_range = resize or ResizeToRange(), value_range
        self._batch_size = min(batch_size, len(self._paths))
        heights, widths = zip(*in_threads(self._seen_size, self._paths), strict=True)
        self._shape = padding.size((max(heights), max(widths)))

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches."""
        photos = in_threads(self._read, self._paths, ahead=self._batch_size + THREADS)
        for first in range(0, len(self), self._batch_size):
            images = self._padding.canvas(self._shape, self._batch_size)
            sizes, own_sizes = np.zeros([2, self._batch_size, 2], np.int32)
            paths = self._paths[first : first + self._batch_size]
            for i, (photo, own_sizes[i]) in enumerate(itertools.islice(photos, len(paths))):
                sizes[i] = height, width = photo.shape[:2]
                images[i, :height, :width] = photo
            yield Batch(self._names[first : first + len(paths)], images, sizes, own_sizes=own_sizes)

    def _seen_size(self, path: Path) -> tuple[int, int]:
        """Returns the (height, width) at which the network sees a photo, from the header alone."""
        size = photo_size(path)
        if self._resize.min_size is not None:
            return self._resize.size_of(size)
        height, width = size
        width, height = reduced_size(width, height, self._max_side)
        return height, width

    def _read(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """Returns a photo as the network sees it, [h, w, 3] in 0 .. 255, and its own (height, width)."""
        photo = read_photo(path, value_range=self._value_range)
        return as_seen(photo, self._resize, self._max_side), (photo.height, photo.width)


def as_seen(photo: Image.Image, resize: ResizeToRange, max_side: int) -> np.ndarray:
    """Returns a photo at the size that the network saw in training, or else reduced to `max_side`: [h, w, 3], 0 .. 255."""
    if resize.min_size is not None:
        return resize.image(np.asarray(photo))
    if max(photo.size) <= max_side:
        return np.asarray(photo)
    reduced = photo.copy()
    reduced.thumbnail((max_side, max_side))
    return np.asarray(reduced)


def padded_alone(image: np.ndarray, padding: Padding) -> np.ndarray:
    """Returns an image [h, w, 3] as a batch of one, padded as for an evaluation: float32 [1, H, W, 3]."""
    height, width = image.shape[:2]
    padded = padding.canvas(padding.size((height, width)))
    padded[0, :height, :width] = image
    return padded


def run_examples(
    step: Callable[[np.ndarray, np.ndarray], dict[str, tf.Tensor]], batches: Iterable[Batch]
) -> Iterator[tuple[Photo, dict[str, np.ndarray]]]:
    """Yields each example with its part of what `step` returns, while the device works on the next batch.

    Args:
        step: Callable `step(images, sizes)`, see `Batch`, that returns tensors with B rows by name; best a `tf.function`.
        batches: Batches of one shape.
    """
    for batch, outputs in one_behind((batch, step(batch.images, batch.sizes)) for batch in batches):
        arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
        for i, example in enumerate(batch):
            yield example, {name: array[i] for name, array in arrays.items()}


def photos_in(folder: str, number: int | None, without: str | None) -> tuple[list[str], list[Path]]:
    """Returns the names of the first photos of a folder, and their paths."""
    others = [without] if without and os.path.isdir(without) else []
    listing = list_images(folder, flag="--images", without=others)
    for line in listing.lines():
        print(line, file=sys.stderr)
    if listing.problems:
        raise UserError("\n".join(listing.problems))
    if not listing.files:
        raise UserError(f"--images={folder}: no photos in it, expected {', '.join(SUFFIXES)}")
    names = unique_names([name for name, _ in listing.files])
    return names[:number], [path for _, path in listing.files[:number]]


def reduced_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Returns the (width, height) that `PIL.Image.thumbnail` reduces to, by the nearer aspect of the two roundings."""
    if max(width, height) <= max_side:
        return width, height
    aspect = width / height
    if aspect <= 1:
        sizes = [(round_(max_side * aspect), max_side) for round_ in (math.floor, math.ceil)]
    else:
        sizes = [(max_side, round_(max_side / aspect)) for round_ in (math.floor, math.ceil)]
    sizes = [(max(w, 1), max(h, 1)) for w, h in sizes]
    return min(sizes, key=lambda size: abs(aspect - size[0] / size[1]))
