"""Splits over record files: which records belong to them, without copying images."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from wss.data.dataset_info import SPLITS_FOLDER, DatasetInfo, SplitInfo
from wss.data.names import is_split_name
from wss.data.record_index import Entry, read_index
from wss.errors import UserError
from wss.files import write_text

MAX_IDS_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Split:
    """Which images of the pools belong to a split.

    Attributes:
        pools: Names of the pools of images that it takes its images from.
        ids: Ids of its images; None for all of the pools.
        hide_masks: Whether training must not see the masks that their records may have.
    """

    pools: tuple[str, ...]
    ids: Collection[str] | None = None
    hide_masks: bool = False


@dataclasses.dataclass
class Statistics:
    """What is in one split.

    Attributes:
        num_images: Number of its images.
        num_masks: Number of images with a mask that is not hidden.
        num_image_labels: Number of images with image-level labels of their own.
        num_with_boxes: Number of images whose objects are known.
        max_size: Largest height and largest width.
        pixels: int64 [256], number of pixels of each label.
    """

    num_images: int = 0
    num_masks: int = 0
    num_image_labels: int = 0
    num_with_boxes: int = 0
    max_size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, entry: Entry, hide_mask: bool = False) -> None:
        """Counts one image."""
        self.num_images += 1
        self.num_image_labels += entry.image_labels is not None
        self.num_with_boxes += entry.num_boxes is not None
        self.max_size = max(self.max_size[0], entry.size[0]), max(self.max_size[1], entry.size[1])
        if entry.pixels is not None and not hide_mask:
            self.num_masks += 1
            for label, count in entry.pixels.items():
                self.pixels[label] += count


@dataclasses.dataclass(frozen=True)
class Record:
    """Where one image of a split lies: the `number`-th record of `file`."""

    file: str
    number: int
    entry: Entry


class SplitBuilder:
    """Collects the records of one split, file by file and in the order of each file."""

    def __init__(self, hide_masks: bool = False):
        self.hide_masks = hide_masks
        self.statistics = Statistics()
        self.ids: list[str] = []
        self.shards: dict[str, int] = {}
        self.runs: dict[str, list[list[int]]] = {}
        self._last: tuple[str, int] = ("", 0)

    def add(self, record: Record) -> None:
        """Takes one more record."""
        runs = self.runs.setdefault(record.file, [])
        if (record.file, record.number - 1) == self._last:
            runs[-1][1] += 1
        else:
            runs.append([record.entry.offset, 1])
        self._last = (record.file, record.number)
        self.shards[record.file] = self.shards.get(record.file, 0) + 1
        self.statistics.add(record.entry, self.hide_masks)
        self.ids.append(record.entry.id)

    def finish(self, folder: epath.Path, name: str, counts: Mapping[str, int]) -> SplitInfo:
        """Writes the runs, if the split is not made of whole files of `counts` records."""
        whole = all(counts[file] == count for file, count in self.shards.items())
        runs_file = "" if whole else f"{SPLITS_FOLDER}/{name}.json"
        ids_checksum = checksum(self.ids)
        if runs_file:
            content = {"checksum": ids_checksum, "runs": self.runs}
            write_text(folder / runs_file, json.dumps(content, separators=(",", ":")) + "\n")
        return SplitInfo(
            shards=self.shards,
            num_masks=self.statistics.num_masks,
            num_image_labels=self.statistics.num_image_labels,
            max_size=self.statistics.max_size,
            checksum=ids_checksum,
            num_with_boxes=self.statistics.num_with_boxes,
            runs_file=runs_file,
            hide_masks=self.hide_masks,
        )


def checksum(ids: Iterable[str]) -> str:
    """Returns the SHA-256 of the sorted ids, joined by line feeds: their order does not matter."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def write_splits(
    info: DatasetInfo, files: Mapping[str, Iterable[str]], splits: Mapping[str, Split]
) -> tuple[DatasetInfo, dict[str, Statistics]]:
    """Adds splits to a data set whose record files and indexes are written, and saves `dataset.json`.

    Args:
        info: The data set, with its directory.
        files: The record files of each pool.
        splits: What belongs to each split, by its name.

    Returns:
        The data set with the splits, and what is in each of them.

    Raises:
        UserError: An id is not in the pools of a split or is in two of them; a split is empty or has no possible name.
    """
    for name in splits:
        check_name(name)
    folder = epath.Path(info.directory)
    builders = {name: SplitBuilder(split.hide_masks) for name, split in splits.items()}
    wanted = {name: None if split.ids is None else set(split.ids) for name, split in splits.items()}
    counts = {}
    for pool, pool_files in files.items():
        of_pool = [name for name, split in splits.items() if pool in split.pools]
        for file in pool_files:
            counts[file] = 0
            for number, entry in enumerate(read_index(folder / file)):
                counts[file] += 1
                for name in of_pool:
                    ids = wanted[name]
                    if ids is None or entry.id in ids:
                        builders[name].add(Record(file, number, entry))
    for name, builder in builders.items():
        _check_ids(f"{info.name}: split {name!r}", builder.ids, wanted[name])
    new = {name: builder.finish(folder, name, counts) for name, builder in builders.items()}
    info = dataclasses.replace(info, splits={**info.splits, **new})
    info.save(folder)
    return info, {name: builder.statistics for name, builder in builders.items()}


def records_of(info: DatasetInfo, split: str) -> list[Record]:
    """Returns the records of a split in the order of its files, from their indexes."""
    folder, records = epath.Path(info.directory), []
    for file, runs in info.runs(split).items():
        entries = list(read_index(folder / file))
        if not info.split(split).runs_file and len(entries) != info.split(split).shards[file]:
            raise UserError(
                f"{folder / file}: its index has {len(entries)} images, dataset.json says "
                f"{info.split(split).shards[file]}; build the data set again"
            )
        numbers = {entry.offset: number for number, entry in enumerate(entries)}
        for offset, count in runs:
            first = numbers.get(offset, len(entries))
            if first + count > len(entries):
                raise UserError(f"{folder / file}: its index does not fit split {split!r}; build the data set again")
            records += [Record(file, number, entries[number]) for number in range(first, first + count)]
    return records


def only_file(info: DatasetInfo, split: str, file: str) -> DatasetInfo:
    """Returns the data set as if one file of one split were all of it, so that reading it looks at no other file."""
    found = info.split(split)
    return dataclasses.replace(info, splits={split: dataclasses.replace(found, shards={file: found.shards[file]})})


def entries_of(info: DatasetInfo, split: str) -> Iterator[Entry]:
    """Yields the index entries of a split; those of one file at a time are in memory."""
    for file in info.split(split).shards:
        yield from (record.entry for record in records_of(only_file(info, split, file), split))


def num_with_boxes(info: DatasetInfo, split: str) -> int:
    """Returns the number of images of a split whose objects are known; of a data set that does not tell, by its indexes."""
    if count := info.split(split).num_with_boxes:
        return count
    try:
        return sum(record.entry.num_boxes is not None for record in records_of(info, split))
    except UserError:
        return 0  # without an index nobody knows


def pick(records: Sequence[Record], ids: Sequence[str], *, what: str, from_split: str) -> list[Record]:
    """Returns the records of a list of ids, in the order of `records`.

    Args:
        records: The records to choose from.
        ids: Ids of the images to choose.
        what: Name of the list, for messages.
        from_split: Split of the records, for messages.

    Raises:
        UserError: The list has ids that are not among the records, or an id twice.
    """
    wanted = set(ids)
    if len(wanted) < len(ids):
        raise UserError(f"{what}: image {Counter(ids).most_common(1)[0][0]!r} is listed twice")
    found = [record for record in records if record.entry.id in wanted]
    if missing := sorted(wanted - {record.entry.id for record in found}):
        raise UserError(f"{what}: {_some(missing)} not in split {from_split!r}; choose another --from_split")
    return found


def check_name(name: str) -> None:
    """Raises a `UserError` if a split cannot have this name, which becomes that of a file."""
    if not is_split_name(name):
        raise UserError(f"split {name[:120]!r}: expected a name of at most 100 letters, digits and . _ + -")


def _check_ids(what: str, ids: Sequence[str], wanted: set[str] | None) -> None:
    if missing := sorted((wanted or set()) - set(ids)):
        raise UserError(f"{what}: {_some(missing)} not in the record files")
    if not ids:
        raise UserError(f"{what}: no images")
    if len(set(ids)) < len(ids):
        raise UserError(f"{what}: image {Counter(ids).most_common(1)[0][0]!r} is there twice")


def _some(ids: Sequence[str]) -> str:
    """Returns such as "2 images (a, b) are"."""
    shown = ", ".join(ids[:MAX_IDS_SHOWN]) + (", ..." if len(ids) > MAX_IDS_SHOWN else "")
    return f"{len(ids)} image{'s' if len(ids) > 1 else ''} ({shown}) {'are' if len(ids) > 1 else 'is'}"
