"""Reads and decodes every record of a split, many at a time, and says what is in each; nothing is taken from the index."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from etils import epath

from wss.data.dataset_info import DatasetInfo
from wss.data.example import check_record, parse_boxes, parse_example
from wss.data.record_files import RecordFiles
from wss.data.record_index import RECORD_OVERHEAD, Entry, image_hash, read_index
from wss.errors import UserError

# Records in memory at a time.
CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Defect:
    """What is wrong with one record or one file; `kind` is a key of `findings.DEFECTS`."""

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Located:
    """A serialized example.

    Attributes:
        number: in the split, from 0.
        file: name of its file.
        offset: byte at which it begins.
        place: file and record for messages.
    """

    number: int
    file: str
    offset: int
    place: str
    serialized: bytes


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is in one record.

    Attributes:
        entry: as the index should have it; None if the record cannot be read. Without decoding it has size (0, 0) and no
            pixels.
        decoded: image and mask were decoded.
        has_mask: there is one, decoded or not.
        colors: int64 [3, 256], how many pixels have each value of red, green and blue.
        defects: what is wrong with it.
    """

    located: Located
    entry: Entry | None = None
    decoded: bool = False
    has_mask: bool = False
    colors: np.ndarray | None = None
    defects: tuple[Defect, ...] = ()


def measurements(
    info: DatasetInfo, split: str, decode: Collection[int] | None = None
) -> Iterator[Measurement | Defect]:
    """Yields what is in each record of a split, in order, and between them what is wrong with whole files.

    Args:
        info: the data set.
        split: its split.
        decode: numbers of the images to decode; None for all.
    """
    meter = _Meter(info, decode)
    records = located_records(info, split)
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        while chunk := list(itertools.islice(records, CHUNK)):
            yield from executor.map(lambda item: item if isinstance(item, Defect) else meter(item), chunk)


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
    for index, (file, parts) in enumerate(runs.items()):
        path = os.path.join(info.directory, file)
        found, expected = 0, info.split(split).shards[file]
        dataset = tf.data.TFRecordDataset(path) if whole else files.read(tf.constant(index, tf.int64))
        try:
            examples = dataset.as_numpy_iterator()
            for offset, count in [(0, None)] if whole else parts:
                for serialized in itertools.islice(examples, count):
                    place = f"{file}, record {found}" if whole else f"{file}, byte {offset}"
                    yield Located(next(numbers), file, offset, place, serialized)
                    offset += len(serialized) + RECORD_OVERHEAD
                    found += 1
        except tf.errors.OpError:
            yield Defect("file", f"{path}: damaged, or no TFRecord file; {found} of {expected} records could be read")
            continue
        if found != expected:
            yield Defect("index", f"{file} holds {found} records of the split, dataset.json says {expected}")


class Index:
    """The indexes beside the record files of a data set, read one at a time."""

    def __init__(self, info: DatasetInfo):
        self._folder = epath.Path(info.directory)
        self._file = ""
        self._entries: dict[int, Entry] = {}

    def differences(self, measured: Measurement) -> str:
        """Returns in which fields a record differs from its entry, "" if in none.

        Raises:
            UserError: there is no index, or it is damaged.
        """
        if measured.located.file != self._file:
            entries = read_index(self._folder / measured.located.file)
            self._entries = {entry.offset: entry for entry in entries}
            self._file = measured.located.file
        if measured.located.offset not in self._entries:
            return "no entry"
        if measured.entry is None:
            return ""
        here, there = dataclasses.asdict(measured.entry), dataclasses.asdict(self._entries[measured.located.offset])
        known = here if measured.decoded else here.keys() - {"size", "pixels"}
        return ", ".join(field for field in here if field in known and here[field] != there[field])


class _Meter:
    """Measures single records; several threads may call it at a time."""

    def __init__(self, info: DatasetInfo, decode: Collection[int] | None):
        self._info, self._numbers = info, decode
        text = tf.TensorSpec([], tf.string)
        self._parse = tf.function(_on_cpu(_parse)).get_concrete_function(text)
        self._decode = tf.function(_on_cpu(lambda record: _decode(record, info))).get_concrete_function(text)

    def __call__(self, located: Located) -> Measurement:
        try:
            parsed = _values(self._parse(tf.constant(located.serialized)))
        except tf.errors.OpError:
            return Measurement(located, defects=(Defect("record", f"{located.place}: no readable example"),))
        entry = Entry(
            parsed["name"].decode(errors="replace"),
            located.offset,
            (0, 0),
            None,
            tuple(parsed["labels"].tolist()) if parsed["labels_known"] else None,
            len(parsed["box_labels"]) if parsed["boxes_known"] else None,
            image_hash(parsed["image"]),
        )
        defects = tuple(self._wrong_labels(entry, parsed["box_labels"].tolist()))
        measured = Measurement(located, entry, has_mask=bool(parsed["has_mask"]), defects=defects)
        return self._decoded(measured, entry) if self._numbers is None or located.number in self._numbers else measured

    def _decoded(self, measured: Measurement, entry: Entry) -> Measurement:
        located = measured.located
        try:
            decoded = _values(self._decode(tf.constant(located.serialized)))
        except tf.errors.OpError:
            defect = Defect("record", f"{located.place}, image {entry.id!r}: {self._reason(located)}")
            return dataclasses.replace(measured, defects=(*measured.defects, defect))
        (height, width), mask_size = decoded["size"].tolist(), decoded["mask_size"].tolist()
        defects = list(measured.defects)
        if mask_size != [height, width]:
            defects.append(
                Defect("size", f"{entry.id!r} is {height}x{width}, its mask {mask_size[0]}x{mask_size[1]} (h x w)")
            )
        pixels = None
        if measured.has_mask:
            pixels = {int(value): int(decoded["pixels"][value]) for value in np.flatnonzero(decoded["pixels"])}
            defects += self._wrong_values(entry.id, pixels)
        return dataclasses.replace(
            measured,
            entry=dataclasses.replace(entry, size=(height, width), pixels=pixels),
            decoded=True,
            colors=decoded["colors"],
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
        try:
            check_record(located.serialized, self._info)
        except UserError as error:
            return str(error)
        return "it cannot be decoded"


def _parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """All that is known of an image without decoding it."""
    boxes = parse_boxes(record)
    features = tf.io.parse_single_example(
        record,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
            "image/segmentation/class/encoded": tf.io.FixedLenFeature([], tf.string, ""),
            "image/class/label": tf.io.VarLenFeature(tf.int64),
            "image/class/known": tf.io.FixedLenFeature([], tf.int64, 0),
        },
    )
    return {
        "image": features["image/encoded"],
        "name": features["image/filename"],
        "has_mask": tf.strings.length(features["image/segmentation/class/encoded"]) > 0,
        "labels": tf.sparse.to_dense(features["image/class/label"]),
        "labels_known": features["image/class/known"] > 0,
        "box_labels": boxes["label"],
        "boxes_known": boxes["known"],
    }


def _decode(record: tf.Tensor, info: DatasetInfo) -> dict[str, tf.Tensor]:
    example = parse_example(record, info.num_classes, info.has_background, ignore_label=info.ignore_label)
    count = lambda values: tf.math.bincount(tf.reshape(values, [-1]), minlength=256, dtype=tf.int64)
    return {
        "size": tf.shape(example["image"])[:2],
        "mask_size": tf.shape(example["label"])[:2],
        "pixels": count(example["label"]),
        "colors": tf.stack([count(tf.cast(channel, tf.int32)) for channel in tf.unstack(example["image"], axis=-1)]),
    }


def _on_cpu(function: Callable) -> Callable:
    """Images that are only counted are not worth the way to a GPU, nor its memory."""

    def placed(record: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.device("CPU"):
            return function(record)

    return placed


def _values(tensors: dict[str, tf.Tensor]) -> dict:
    return {key: tensor.numpy() for key, tensor in tensors.items()}
