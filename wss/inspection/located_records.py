"""The records of a split one by one, with their places, and the indexes beside them to compare them with."""

import dataclasses
import itertools
import os
from collections.abc import Iterator

import tensorflow as tf
from etils import epath

from wss.data.dataset_info import DatasetInfo
from wss.data.record_files import RecordFiles
from wss.data.record_frames import record_offsets
from wss.data.record_index import RECORD_OVERHEAD, Entry, read_index
from wss.errors import UserError


@dataclasses.dataclass(frozen=True)
class Defect:
    """What is wrong with one record or one file.

    Attributes:
        kind: Key of `findings.DEFECTS`.
        message: Text that names the record or the file.
    """

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Located:
    """A serialized example.

    Attributes:
        number: Its number in the split, from 0.
        file: Name of its file.
        offset: Byte at which it begins in the file.
        place: File and record, for messages.
        serialized: Its bytes.
    """

    number: int
    file: str
    offset: int
    place: str
    serialized: bytes


def located_records(info: DatasetInfo, split: str) -> Iterator[Located | Defect]:
    """Yields the records of a split, file by file, and what is wrong with the files.

    Of files that belong to the split as a whole, all records are read, however many dataset.json tells.
    """
    try:
        files, runs = RecordFiles(info, split), info.runs(split)
    except UserError as error:
        yield Defect("file", str(error))
        return
    whole = not info.split(split).runs_file
    numbers = itertools.count()
    for index, (file, file_runs) in enumerate(runs.items()):
        path = os.path.join(info.directory, file)
        found, expected = 0, info.split(split).shards[file]
        readable, reason = _readable(path)
        dataset = tf.data.TFRecordDataset(path) if whole else files.read(tf.constant(index, tf.int64))
        try:
            examples = dataset.take(-1 if readable is None else readable).as_numpy_iterator()
            for offset, count in [(0, None)] if whole else file_runs:
                for serialized in itertools.islice(examples, count):
                    place = f"{file}, record {found}" if whole else f"{file}, byte {offset}"
                    yield Located(next(numbers), file, offset, place=place, serialized=serialized)
                    offset += len(serialized) + RECORD_OVERHEAD
                    found += 1
        except tf.errors.FailedPreconditionError:
            pass  # more or fewer records than expected
        except tf.errors.OpError:
            reason = "damaged, or no TFRecord file"
        if reason:
            yield Defect("file", f"{path}: {reason}; {found} of {expected} records could be read")
        elif found != expected:
            yield Defect("index", f"{file} holds {found} records of the split, dataset.json says {expected}")


def _readable(path: str) -> tuple[int | None, str]:
    """Returns how many records of a file can be read at most, None for all, and why it is damaged, "" if it is not."""
    offsets: list[int] = []
    try:
        offsets.extend(record_offsets(path))
    except UserError:
        return len(offsets), "damaged, or no TFRecord file"
    return None, ""


class StoredIndex:
    """The indexes beside the record files of a data set, read one at a time."""

    def __init__(self, info: DatasetInfo):
        """Reads nothing yet."""
        self._folder = epath.Path(info.directory)
        self._file = ""
        self._entries: dict[int, Entry] = {}

    def differences(self, located: Located, entry: Entry | None, *, decoded: bool) -> str:
        """Returns in which fields a record differs from its entry in the index, "" if in none.

        Args:
            located: The record.
            entry: Its entry as the index should have it; None if the record cannot be read.
            decoded: Whether the entry has its size and pixels, which are compared then.

        Raises:
            UserError: There is no index, or it is damaged.
        """
        if located.file != self._file:
            self._entries = {stored.offset: stored for stored in read_index(self._folder / located.file)}
            self._file = located.file
        if located.offset not in self._entries:
            return "no entry"
        if entry is None:
            return ""
        here, there = dataclasses.asdict(entry), dataclasses.asdict(self._entries[located.offset])
        known = here if decoded else here.keys() - {"size", "pixels"}
        return ", ".join(field for field in here if field in known and here[field] != there[field])
