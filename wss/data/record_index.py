"""The index beside each record file: one line of JSON for each image, so that splits are made without decoding anything."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath

from wss.data.dataset_json import is_regular_file
from wss.data.names import is_id
from wss.errors import UserError
from wss.files import write_text
from wss.project import converter

SUFFIX = ".index.jsonl"
# Length, its checksum and the checksum of the data surround each record of an uncompressed TFRecord file.
RECORD_OVERHEAD = 16
PIXELS_AT_ONCE = 1 << 24


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of one record.

    Attributes:
        id: Id of the image.
        offset: Byte at which the record begins in its file.
        size: Its (height, width) in pixels.
        pixels: Number of pixels of each label, the ignore label included; None without a mask.
        image_labels: Ids of the foreground classes; None if unknown.
        num_boxes: Number of its boxes; None if unknown.
        image_hash: Hash of the image file, see `image_hash`.
    """

    id: str
    offset: int
    size: tuple[int, int]
    pixels: dict[int, int] | None
    image_labels: tuple[int, ...] | None
    num_boxes: int | None
    image_hash: str

    def present(self, num_classes: int, has_background: bool, use_mask: bool = True) -> np.ndarray | None:
        """Returns the classes of its mask, or else of its image-level labels, bool [C]; None if both are unknown."""
        if use_mask and self.pixels is not None:
            return np.isin(np.arange(num_classes), list(self.pixels))
        if self.image_labels is None:
            return None
        return np.isin(np.arange(num_classes), [*self.image_labels, *([0] if has_background else [])])


def count_pixels(mask: np.ndarray) -> dict[int, int]:
    """Returns the number of pixels of each class that occurs in a mask, int [H, W]."""
    values = mask.ravel()
    counts = np.zeros(256, np.int64)
    for first in range(0, values.size, PIXELS_AT_ONCE):  # NumPy counts in 8 bytes for each pixel
        counts += np.bincount(values[first : first + PIXELS_AT_ONCE], minlength=256)
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def image_hash(content: bytes) -> str:
    """Returns 16 hexadecimal digits that two different images hardly share."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def write_index(path: epath.Path, entries: Iterable[Entry]) -> None:
    """Writes an index, whole or not at all; a `UserError` tells that it cannot be written."""
    lines = (json.dumps(dataclasses.asdict(entry), separators=(",", ":")) + "\n" for entry in entries)
    write_text(path, "".join(lines))


def read_index(record_file: epath.Path) -> Iterator[Entry]:
    """Yields the entries of a record file in the order of its records.

    Raises:
        UserError: There is no index, or it is damaged.
    """
    path = index_path(record_file)
    if not is_regular_file(path):
        raise UserError(
            f"{path}: not found; build the data set again, or, if it is not of this project, describe it with "
            f"{converter('describe_records')} --overwrite"
        )
    number = last = -1
    try:
        with path.open() as lines:
            for number, line in enumerate(lines):
                entry = _entry(json.loads(line))
                if entry.offset <= last or (number == 0 and entry.offset):
                    raise ValueError(f"offset {entry.offset} after {max(last, 0)}")
                last = entry.offset
                yield entry
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged after line {max(number, 0)} ({error!r}); build the data set again") from error


def index_path(record_file: epath.Path) -> epath.Path:
    """Returns where the index of a record file lies."""
    return record_file.with_name(record_file.name + SUFFIX)


def _entry(content: dict) -> Entry:
    """Returns the entry of a line that anybody may have written."""
    pixels, labels = content.pop("pixels"), content.pop("image_labels")
    entry = Entry(
        **{**content, "size": tuple(content["size"])},
        pixels=None if pixels is None else {int(label): count for label, count in pixels.items()},
        image_labels=None if labels is None else tuple(labels),
    )
    labels, pixels = entry.image_labels or (), entry.pixels or {}
    numbers = (entry.offset, *entry.size, *pixels, *pixels.values(), *labels, entry.num_boxes or 0)
    if not (all(type(number) is int and number >= 0 for number in numbers) and len(entry.size) == 2):
        raise ValueError("a number that cannot be")
    if max(pixels, default=0) > 255 or not isinstance(entry.image_hash, str):
        raise ValueError("a label or a hash that cannot be")
    if not is_id(entry.id):
        raise ValueError(f"id {entry.id!r:.60}")
    return entry
