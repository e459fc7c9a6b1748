"""Looking for damage in the records of a split: before a pass over them, and after TensorFlow has stumbled over one."""

import contextlib
from collections.abc import Iterable, Iterator

import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import RECORD_ERRORS, reason_of
from wss.data.record_check import check_record
from wss.data.record_files import RecordFiles
from wss.data.record_frames import check_runs_fit, record_offsets
from wss.data.record_index import RECORD_OVERHEAD
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
    for number, path in enumerate(files.paths):
        with _in_file(path):
            if count:
                _check_count(files, number)
            else:
                next(record_offsets(path), None)
            record = _first_record(files, number)
            if record is None:
                raise UserError(f"no records in it, though dataset.json counts {files.sizes[number]} images")
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
    _check_count(files, number)
    starts, found = dict(files.runs[number]), 0
    index = offset = left = 0
    try:
        for record in tf.data.TFRecordDataset(files.paths[number]).as_numpy_iterator():
            left = starts.get(offset, left)
            if left > 0:
                check_record(record, info, max_size)
                left, found = left - 1, found + 1
            index, offset = index + 1, offset + len(record) + RECORD_OVERHEAD
    except RECORD_ERRORS as error:
        raise UserError(f"record {index}: damaged ({reason_of(error)})") from error
    except UserError as error:
        raise UserError(f"record {index}: {error}") from error
    if (index if files.whole else found) != files.sizes[number]:  # of a remote file
        raise UserError(f"{index} records in it, though dataset.json counts {files.sizes[number]} images of the split")


def _check_count(files: RecordFiles, number: int) -> None:
    """Raises a `UserError` if a file of this machine has other records than those of the split."""
    path = files.paths[number]
    if "://" not in path:
        check_runs_fit(list(record_offsets(path)), files.runs[number], whole=files.whole)


def _first_record(files: RecordFiles, number: int) -> bytes | None:
    whole = lambda: tf.data.TFRecordDataset(files.paths[number])
    records = whole() if files.whole else files.read(tf.constant(number, tf.int64))
    return next(iter(records.take(1).as_numpy_iterator()), None)


@contextlib.contextmanager
def _in_file(path: str) -> Iterator[None]:
    try:
        yield
    except RECORD_ERRORS as error:
        raise UserError(f"{path}: no readable TFRecord file ({reason_of(error)}); build the data set again") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; build the data set again") from error
