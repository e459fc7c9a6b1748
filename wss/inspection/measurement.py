"""Reads and decodes every record of a split, many at a time, and says what is in each; nothing is taken from the index."""

import dataclasses
import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from wss.data.boxes import fault_of
from wss.data.companions import second_mask_of
from wss.data.dataset_info import DatasetInfo
from wss.data.example import IMAGE, MASK, RECORD_ERRORS, parse_boxes, parse_example, parse_features
from wss.data.names import is_id
from wss.data.record_check import check_record
from wss.data.record_index import Entry, image_hash
from wss.errors import UserError
from wss.inspection.located_records import Defect, Located, located_records
from wss.inspection.objects import Sides, object_sides

# Records in memory at a time.
CHUNK = 64
# Of images that are decoded whatever dataset.json says of their size.
COMMON_SIDE = 4096


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is in one record.

    Attributes:
        located: The record.
        entry: Its entry as the index should have it; None if the record cannot be read. Without decoding it has size
            (0, 0) and no pixels.
        decoded: Whether image and mask were decoded.
        has_mask: Whether there is a mask, decoded or not.
        colors: int64 [3, 256], number of pixels that have each value of red, green and blue; None without decoding.
        sides: Number of objects in its mask by class and side, see `object_sides`.
        defects: Its defects.
        box_labels: Classes of its boxes, which may be none of the data set.
        empty_boxes: Number of its boxes that have no area.
    """

    located: Located
    entry: Entry | None = None
    decoded: bool = False
    has_mask: bool = False
    colors: np.ndarray | None = None
    sides: Sides = dataclasses.field(default_factory=Counter)
    defects: tuple[Defect, ...] = ()
    box_labels: tuple[int, ...] = ()
    empty_boxes: int = 0


def measurements(
    info: DatasetInfo, split: str, decode: Collection[int] | None = None
) -> Iterator[Measurement | Defect]:
    """Yields what is in each record of a split, in order, and between them what is wrong with whole files.

    Args:
        info: The data set.
        split: Name of its split.
        decode: Numbers of the images to decode; None for all.
    """
    meter = _Meter(info, info.split(split).max_size, decode)
    records = located_records(info, split)
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        while chunk := list(itertools.islice(records, CHUNK)):
            yield from executor.map(lambda item: item if isinstance(item, Defect) else meter(item), chunk)


class _Meter:
    """Measures single records; several threads may call it at a time."""

    def __init__(self, info: DatasetInfo, max_size: tuple[int, int], decode: Collection[int] | None):
        self._info, self._numbers = info, decode
        # Nothing that dataset.json says is believed, but only what is common is decoded without its word.
        self._max_size = max(max_size[0], COMMON_SIDE), max(max_size[1], COMMON_SIDE)
        self._parse = _parser()
        self._decode = _decoder(info.num_classes, info.has_background, info.ignore_label, self._max_size)

    def __call__(self, located: Located) -> Measurement:
        try:
            parsed = _values(self._parse(tf.constant(located.serialized)))
        except RECORD_ERRORS:
            return Measurement(located, defects=(Defect("record", f"{located.place}: no readable example"),))
        entry = Entry(
            id=parsed["name"].decode(errors="replace"),
            offset=located.offset,
            size=(0, 0),
            pixels=None,
            image_labels=tuple(parsed["labels"].tolist()) if parsed["labels_known"] else None,
            num_boxes=len(parsed["box_labels"]) if parsed["boxes_known"] else None,
            image_hash=image_hash(parsed["image"]),
        )
        box_labels, boxes = parsed["box_labels"].tolist(), parsed["boxes"]
        defects = [*self._wrong_labels(entry, box_labels), *_wrong_boxes(entry.id, boxes.tolist())]
        if not is_id(entry.id) or parsed["has_second"]:
            defects += self._others(located, defects)
        measured = Measurement(
            located,
            entry,
            has_mask=bool(parsed["has_mask"]),
            defects=tuple(defects),
            box_labels=tuple(box_labels),
            empty_boxes=int(np.any(boxes[:, :2] == boxes[:, 2:], axis=1).sum()),
        )
        return self._decoded(measured, entry) if self._numbers is None or located.number in self._numbers else measured

    def _others(self, located: Located, known: Sequence[Defect]) -> Iterator[Defect]:
        """Yields what is wrong with id or second mask of a record, if nothing else is known to be."""
        reason = self._reason(located)
        if reason and not known:
            yield Defect("record", f"{located.place}: {reason}")

    def _decoded(self, measured: Measurement, entry: Entry) -> Measurement:
        located = measured.located
        try:
            decoded = _values(self._decode(tf.constant(located.serialized)))
        except RECORD_ERRORS:
            reason = self._reason(located).removeprefix(f"image {entry.id!r}: ") or "it cannot be decoded"
            defect = Defect("record", f"{located.place}, image {entry.id!r}: {reason}")
            return dataclasses.replace(measured, defects=tuple(dict.fromkeys((*measured.defects, defect))))
        (height, width), mask_size = decoded["size"].tolist(), decoded["mask_size"].tolist()
        defects = list(measured.defects)
        if mask_size != [height, width]:
            defects.append(
                Defect("size", f"{entry.id!r} is {height}x{width}, its mask {mask_size[0]}x{mask_size[1]} (h x w)")
            )
        pixels, sides = None, measured.sides
        if measured.has_mask:
            sides = object_sides(decoded["label"], self._info)
            pixels = {int(value): int(decoded["pixels"][value]) for value in np.flatnonzero(decoded["pixels"])}
            defects += self._wrong_values(entry.id, pixels)
        return dataclasses.replace(
            measured,
            entry=dataclasses.replace(entry, size=(height, width), pixels=pixels),
            decoded=True,
            colors=decoded["colors"],
            sides=sides,
            defects=tuple(defects),
        )

    def _wrong_values(self, id: str, pixels: dict[int, int]) -> Iterator[Defect]:
        wrong = [value for value in pixels if value >= self._info.num_classes and value != self._info.ignore_label]
        if wrong:
            shown = ", ".join(f"{value} ({pixels[value]} pixels)" for value in wrong)
            yield Defect("class_range", f"mask of {id!r}: {shown}")

    def _wrong_labels(self, entry: Entry, box_labels: list[int]) -> Iterator[Defect]:
        first, last = int(self._info.has_background), self._info.num_classes - 1
        for what, labels in (("image-level labels", entry.image_labels or ()), ("boxes", box_labels)):
            if wrong := sorted({label for label in labels if not first <= label <= last}):
                yield Defect("class_range", f"{what} of {entry.id!r}: {', '.join(map(str, wrong))}")

    def _reason(self, located: Located) -> str:
        """Returns what is wrong with a record, "" if nothing is."""
        try:
            check_record(located.serialized, self._info, self._max_size)
        except UserError as error:
            return str(error)
        return ""


def _wrong_boxes(id: str, boxes: list[list[float]]) -> Iterator[Defect]:
    """Yields the first box of each fault, and how many have it."""
    faults: dict[str, list[list[float]]] = {}
    for edges in boxes:
        if fault := fault_of(edges):
            faults.setdefault(fault, []).append(edges)
    for fault, wrong in faults.items():
        shown = ", ".join(f"{edge:g}" for edge in wrong[0])
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield Defect("box", f"box ({shown}) of {id!r} {fault}{more}")


# Tracing takes longer than reading a small split, and all splits of a data set are read in the same way.
@functools.cache
def _parser() -> Callable:
    return tf.function(_on_cpu(_parse)).get_concrete_function(tf.TensorSpec([], tf.string))


@functools.cache
def _decoder(num_classes: int, has_background: bool, ignore_label: int, max_size: tuple[int, int]) -> Callable:
    decode = functools.partial(
        _decode,
        num_classes=num_classes,
        has_background=has_background,
        ignore_label=ignore_label,
        max_size=max_size,
    )
    return tf.function(_on_cpu(decode)).get_concrete_function(tf.TensorSpec([], tf.string))


def _parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns all that is known of an image without decoding it."""
    boxes, features = parse_boxes(record, only_sane=True), parse_features(record)
    return {
        "image": features[IMAGE],
        "name": features["image/filename"],
        "has_mask": tf.strings.length(features[MASK]) > 0,
        "has_second": tf.strings.length(second_mask_of(record)) > 0,
        "labels": features["image/class/label"],
        "labels_known": features["image/class/known"] > 0,
        "box_labels": boxes["label"],
        "boxes_known": boxes["known"],
        "boxes": boxes["boxes"],
    }


def _decode(
    record: tf.Tensor, *, num_classes: int, has_background: bool, ignore_label: int, max_size: tuple[int, int]
) -> dict[str, tf.Tensor]:
    example = parse_example(
        record, num_classes, has_background, ignore_label=ignore_label, max_size=max_size, only_sane=True
    )
    count = lambda values: tf.math.bincount(tf.reshape(values, [-1]), minlength=256, dtype=tf.int64)
    return {
        "size": tf.shape(example["image"])[:2],
        "mask_size": tf.shape(example["label"])[:2],
        "label": tf.cast(example["label"][..., 0], tf.uint8),
        "pixels": count(example["label"]),
        "colors": tf.stack([count(tf.cast(channel, tf.int32)) for channel in tf.unstack(example["image"], axis=-1)]),
    }


def _on_cpu(function: Callable) -> Callable:
    """Places a function on the CPU: images that are only counted are not worth the way to a GPU, nor its memory."""

    def placed(record: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.device("CPU"):
            return function(record)

    return placed


def _values(tensors: dict[str, tf.Tensor]) -> dict:
    return {key: tensor.numpy() for key, tensor in tensors.items()}
