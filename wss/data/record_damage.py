"""Looking for damage in the records of a split: before a pass over them, and after TensorFlow has stumbled over one."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import RECORD_ERRORS, reason_of
from wss.data.record_check import check_record
from wss.data.record_files import RecordFiles
from wss.data.record_frames import numbers_of_runs, record_offsets
from wss.errors import UserError
from wss.progress import track

# Beyond, all lengths are not read in advance: each may be a request to a slow disk.
MAX_RECORDS_COUNTED = 20_000
# What an unreadable or unexpected record raises; others tell of a full memory or of lost hosts.
_OF_RECORDS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnimplementedError,
    tf.errors.UnknownError,
    UnicodeDecodeError,
)


def validate_records(info: DatasetInfo, split: str) -> None:
    """Counts the records of a split, if there are not too many, and checks the first one of each file.

    Raises:
        UserError: A file is missing, empty or no TFRecord file, has more or fewer records than `dataset.json` says, or
            holds something else than images and masks of the data set.
    """
    files = RecordFiles(info, split)
    count = sum(files.sizes) <= MAX_RECORDS_COUNTED
    for number in range(len(files)):
        with _in_file(files.paths[number]):
            if count:
                _record_numbers(files, number)
            else:
                next(record_offsets(files.paths[number]), None)
            for _, record in itertools.islice(_records(files, number), 1):
                check_record(record, info, info.split(split).max_size)


def check_unique(info: DatasetInfo, split: str, ids: Iterable[str], seen: set[str]) -> None:
    """Adds ids to those that a pass over a split has `seen`, where each becomes the name of a file.

    Raises:
        UserError: An id is there twice.
    """
    for id in ids:
        if id in seen:
            raise UserError(
                f"{info.directory}: split {split!r} has two images of the id {id!r}, whose files would be one; give each "
                "image an id of its own and build the data set again"
            )
        seen.add(id)


@contextlib.contextmanager
def damage_told(*splits: tuple[DatasetInfo, str]) -> Iterator[None]:
    """Tells which record is damaged when a pass over the records of splits fails; all passes run inside of it.

    Args:
        *splits: Data set and name of each split that is read.

    Raises:
        UserError: There is a damaged record or file. An error of something else goes on as it is.
    """
    try:
        yield
    except _OF_RECORDS:
        for number, (info, split) in enumerate(splits):
            if (info, split) not in splits[:number]:
                raise_damage(info, split)
        raise


def raise_damage(info: DatasetInfo, split: str) -> None:
    """Reads all records of a split and raises a `UserError` for the first damaged one; does nothing if there is none."""
    files = RecordFiles(info, split)
    for number in track(range(len(files)), f"looking for damage in {split}", len(files), unit="file"):
        with _in_file(files.paths[number]):
            _raise_damage_in(files, number, info, info.split(split).max_size)


def _raise_damage_in(files: RecordFiles, number: int, info: DatasetInfo, max_size: tuple[int, int]) -> None:
    numbers = _record_numbers(files, number) or range(files.sizes[number])
    read = 0
    try:
        for i, record in _records(files, number):
            check_record(record, info, max_size)
            read = i + 1
    except RECORD_ERRORS as error:
        where = f"record {numbers[read]}" if read < len(numbers) else "its end"
        raise UserError(f"{where}: damaged ({reason_of(error)})") from error
    except UserError as error:
        raise UserError(f"record {numbers[read]}: {error}") from error


def _record_numbers(files: RecordFiles, number: int) -> list[int]:
    """Returns the numbers in their file of the records that the split has in it; [] for a remote file."""
    path = files.paths[number]
    if "://" in path:
        return []
    return numbers_of_runs(list(record_offsets(path)), files.runs[number], whole=files.whole)


def _records(files: RecordFiles, number: int) -> Iterator[tuple[int, bytes]]:
    """Yields the records of one file with their numbers in the split's part of it."""
    return enumerate(files.read(tf.constant(number, tf.int64)).as_numpy_iterator())


@contextlib.contextmanager
def _in_file(path: str) -> Iterator[None]:
    try:
        yield
    except RECORD_ERRORS as error:
        raise UserError(f"{path}: no readable TFRecord file ({reason_of(error)}); build the data set again") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; build the data set again") from error
