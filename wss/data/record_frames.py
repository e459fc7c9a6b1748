"""The frames of a TFRecord file: where each record begins, from the lengths alone.

TensorFlow takes as much memory as a length asks for, and crashes where there is not enough.
"""

import os
import struct
from collections.abc import Iterator, Sequence

from etils import epath

from wss.data.dataset_json import is_regular_file
from wss.data.record_index import RECORD_OVERHEAD
from wss.errors import UserError

_LENGTH = struct.Struct("<Q")


def record_offsets(path: str | os.PathLike) -> Iterator[int]:
    """Yields the byte at which each record of a file of this machine begins; nothing for a remote file.

    Raises:
        UserError: A record would end behind the end of the file, or the file cannot be read.
    """
    if "://" in str(path):
        return
    offset = number = 0
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while offset < size:
                head = os.pread(file.fileno(), _LENGTH.size, offset)
                end = offset + RECORD_OVERHEAD + (_LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0)
                if end > size:
                    raise UserError(f"no readable TFRecord file (record {number} ends behind its end)")
                yield offset
                offset, number = end, number + 1
    except OSError as error:
        raise UserError(f"no readable TFRecord file ({error.strerror or error})") from error


def check_frames(path: str | os.PathLike) -> None:
    """Raises a `UserError` if TensorFlow must not read a file: it is none, or a record ends behind its end."""
    if not is_regular_file(epath.Path(path)):
        raise UserError("no regular file")
    for _ in record_offsets(path):
        pass


def check_runs_fit(offsets: Sequence[int], runs: Sequence[tuple[int, int]], *, whole: bool) -> None:
    """Compares the records of a file with those that a split should have in it.

    Args:
        offsets: The byte at which each record of the file begins.
        runs: The runs of the split in it, (byte offset, number of records).
        whole: Whether all records of the file belong to the split.

    Raises:
        UserError: The file has other records.
    """
    number_of = {offset: number for number, offset in enumerate(offsets)}
    expected = sum(count for _, count in runs)
    found = sum(min(count, len(offsets) - number_of.get(offset, len(offsets))) for offset, count in runs)
    if whole:
        found = len(offsets)
    if found != expected:
        of_split = "" if whole else " of the split"
        raise UserError(f"{found or 'no'} records in it, though dataset.json counts {expected} images{of_split}")
