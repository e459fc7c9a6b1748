"""What a converter reads: images with what is known of each, in pools that become record files."""

import abc
import dataclasses
import hashlib
import os
import pickle
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from etils import epath

from wss.conversion.notes import Notes
from wss.data.boxes import Box


@runtime_checkable
class MaskReader(Protocol):
    """A mask that is no plain image file; it is read in a worker process, so it must pickle."""

    @property
    def path(self) -> str:
        """Path of its file."""
        ...

    def read(self) -> np.ndarray:
        """Returns the stored values, uint8 [H, W]; a `UserError` that names the file tells what is wrong."""
        ...


@runtime_checkable
class NotingMaskReader(MaskReader, Protocol):
    """A mask reader that notes what a person should know, though it is no problem."""

    def read_noting(self, notes: Notes) -> np.ndarray:
        """Returns what `read` returns, and adds to the notes."""
        ...


@dataclasses.dataclass(frozen=True)
class Source:
    """One image to be written.

    Attributes:
        id: Its name in the records, unique in its pool.
        image: Path or content of the image file.
        mask: Path of the mask file, its values, uint8 [H, W], or what reads them; None without a mask.
        image_labels: Ids of its foreground classes, by the numbers in the mask files; None if unknown.
        boxes: Its objects; None if unknown.
        annotated_size: The (height, width) of the image that its boxes belong to; None if nothing tells.
    """

    id: str
    image: str | os.PathLike | bytes
    mask: str | os.PathLike | np.ndarray | MaskReader | None = None
    image_labels: tuple[int, ...] | None = None
    boxes: tuple[Box, ...] | None = None
    annotated_size: tuple[int, int] | None = None


class Shard(abc.ABC):
    """The images of one record file, in order. It is pickled, read by one worker, and may be read twice."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Source]: ...

    def fingerprint(self) -> str:
        """Returns a text that changes when an input does; a killed conversion keeps only files of the same one."""
        digest = hashlib.sha256()
        for source in self:
            mask = source.mask
            files = (source.image, *getattr(mask, "files", (getattr(mask, "path", mask),)))
            stats = [_stat(file) for file in files if isinstance(file, str | os.PathLike)]
            digest.update(pickle.dumps((source, stats)))
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class ListShard(Shard):
    """A shard whose images are at hand."""

    sources: Sequence[Source]

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources)


class Pool(Protocol):
    """Images that are stored together, once, for any number of splits."""

    def __len__(self) -> int: ...

    def shards(self, assignment: Sequence[np.ndarray], folder: epath.Path) -> list[Shard]:
        """Returns the images of each record file.

        Args:
            assignment: Numbers of the images of each file, in order.
            folder: Folder for intermediate files; it is deleted at the end.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ListPool:
    """A pool of images that are known one by one."""

    sources: Sequence[Source]

    def __len__(self) -> int:
        return len(self.sources)

    def shards(self, assignment: Sequence[np.ndarray], folder: epath.Path) -> list[Shard]:
        """Returns the images of each record file, see `Pool.shards`; `folder` stays empty."""
        return [ListShard([self.sources[i] for i in numbers]) for numbers in assignment]


IMAGES_PER_FILE = 500
MIN_FILES = 4


def assign(name: str, length: int, num_shards: int, *, seed: int) -> list[np.ndarray]:
    """Shuffles a pool and deals it out to files of nearly equal size.

    Args:
        name: Name of the pool; pools are shuffled differently.
        length: Number of its images.
        num_shards: Number of files, none of which is empty; 0 takes one for `IMAGES_PER_FILE` images, at least
            `MIN_FILES`.
        seed: Seed of the shuffle.

    Returns:
        The numbers of the images of each file.
    """
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(length)
    count = num_shards or max(MIN_FILES, -(-length // IMAGES_PER_FILE))
    return np.array_split(order, max(1, min(count, length)))


def _stat(path: str | os.PathLike) -> tuple[int, int] | None:
    try:
        stat = epath.Path(path).stat()
    except OSError:
        return None
    return int(stat.length), int(stat.mtime)
