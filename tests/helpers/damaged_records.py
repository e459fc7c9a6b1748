"""Records that are damaged in one way each, with right checksums: by hand, and by chance from a seed."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.data.boxes import Box
from wss.data.companions import SECOND_MASK, with_second_mask
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.example import BOX_EDGES, IMAGE, MASK, encode_example
from wss.data.masks import encode_mask

HEIGHT, WIDTH = 40, 60
CLASSES = ("background", "road", "tree")
COLORS = ((0, 0, 0), (200, 0, 0), (0, 0, 200))
# What a reader knows of; the first ones are often hit.
KEYS = (IMAGE, MASK, "image/filename", "image/class/label", "image/class/known", "image/object/known", SECOND_MASK)


def mask_of(number: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Returns a mask of all classes and the ignore label."""
    mask = np.zeros([height, width], np.uint8)
    mask[number % 5 :, width // 2 :] = 1
    mask[height // 2 :, : width // 3] = 2
    mask[0] = 255
    return mask


def encoded(array: np.ndarray, image_format: str = "PNG", **options) -> bytes:
    """Returns an array as a file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, image_format, **options)
    return buffer.getvalue()


def photo(number: int = 0, height: int = HEIGHT, width: int = WIDTH, image_format: str = "JPEG") -> bytes:
    """Returns a photo of noise as a file."""
    rng = np.random.default_rng(number)
    return encoded(rng.integers(0, 256, [height, width, 3], dtype=np.uint8), image_format)


def record(name: str = "a", number: int = 0, **changes) -> bytes:
    """Returns a record with everything in it, each of which may be changed."""
    content = {
        "image": photo(number),
        "image_format": "jpeg",
        "size": (HEIGHT, WIDTH),
        "mask_png": encode_mask(mask_of(number)),
        "image_labels": [1, 2],
        "boxes": [Box(1, 2, 3, 20, 30), Box(2, 0, 0, HEIGHT, WIDTH, is_crowd=True)],
        **changes,
    }
    serialized = encode_example(content.pop("image"), content.pop("image_format"), name, **content)
    return with_second_mask(serialized, encode_mask(mask_of(number + 1)))


def changed(serialized: bytes, key: str, kind: str | None = None, values: Sequence = ()) -> bytes:
    """Returns a record with other values of one key; without a kind, such as "bytes_list", the key goes."""
    example = tf.train.Example.FromString(serialized)
    del example.features.feature[key]
    if kind is not None:
        getattr(example.features.feature[key], kind).value.extend(values)
    return example.SerializeToString(deterministic=True)


def png_declaring(height: int, width: int, *, depth: int = 8, color: int = 0, rows: bytes = b"") -> bytes:
    """Returns a PNG whose header declares a size; its rows may be another number."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def black_png(side: int) -> bytes:
    """Returns a whole, small file of side x side black pixels."""
    return png_declaring(side, side, color=0, rows=(b"\0" * (side + 1)) * side)


def write(path: Path, *records: bytes) -> None:
    """Writes a record file."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for serialized in records:
            writer.write(serialized)


def data_set(folder: Path, *records: bytes, count: int | None = None, split: str = "train", **fields) -> DatasetInfo:
    """Writes records into one file and returns their data set, which is saved."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{split}.tfrecord", *records)
    number = len(records) if count is None else count
    content = {"num_masks": number, "num_image_labels": number, "max_size": (HEIGHT, WIDTH), **fields}
    found = SplitInfo({f"{split}.tfrecord": number}, **content)
    DatasetInfo("damaged", CLASSES, COLORS, {split: found}).save(folder)
    return DatasetInfo.load(folder)


def mutations(seed: int, number: int) -> Iterator[tuple[str, bytes]]:
    """Yields damaged records by chance, with words on what was done: bits flipped, keys gone, types and sizes wrong."""
    rng = np.random.default_rng(seed)
    kinds = (_bits, _bits_of_a_value, _without_key, _other_type, _several, _sizes, _labels, _names)
    for index in range(number):
        kind = kinds[index % len(kinds)]
        what, serialized = kind(record(f"image_{index}", index), rng)
        yield f"{index}: {what}", serialized


def _flipped(content: bytes, rng: np.random.Generator, number: int) -> bytes:
    values = bytearray(content)
    for position in rng.integers(0, len(values), number):
        values[position] ^= 1 << rng.integers(0, 8)
    return bytes(values)


def _bits(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    number = int(rng.integers(1, 8))
    return f"{number} bits", _flipped(serialized, rng, number)


def _bits_of_a_value(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    key = KEYS[rng.integers(0, 3)]
    value = tf.train.Example.FromString(serialized).features.feature[key].bytes_list.value[0]
    head = _flipped(value[:40], rng, 2) + value[40:]
    return f"head of {key}", changed(serialized, key, "bytes_list", [head])


def _without_key(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    keys = sorted(tf.train.Example.FromString(serialized).features.feature)
    key = keys[rng.integers(0, len(keys))]
    return f"without {key}", changed(serialized, key)


def _other_type(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    keys = sorted(tf.train.Example.FromString(serialized).features.feature)
    key = keys[rng.integers(0, len(keys))]
    kinds = {"bytes_list": [b"text"], "int64_list": [7], "float_list": [float("nan")]}
    kind = sorted(kinds)[rng.integers(0, 3)]
    return f"{key} as {kind}", changed(serialized, key, kind, kinds[kind])


def _several(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    key = KEYS[rng.integers(0, 3)]
    values = tf.train.Example.FromString(serialized).features.feature[key].bytes_list.value
    return f"two of {key}", changed(serialized, key, "bytes_list", [*values, *values])


def _sizes(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    key = (IMAGE, MASK, SECOND_MASK)[rng.integers(0, 3)]
    height, width = (int(side) for side in rng.choice([0, 1, 39, 61, 3000, 9000, 13000, 2**31 - 1, 2**32 - 1], 2))
    depth, color = ((8, 0), (16, 0), (8, 3), (1, 0), (8, 2))[rng.integers(0, 5)]
    value = png_declaring(height, width, depth=depth, color=color)
    return f"{key} of {height}x{width}, {depth} bits", changed(serialized, key, "bytes_list", [value])


def _labels(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    if rng.random() < 0.5:
        mask = mask_of()
        mask[rng.integers(0, HEIGHT), rng.integers(0, WIDTH)] = rng.integers(3, 255)
        return "label of no class", changed(serialized, MASK, "bytes_list", [encode_mask(mask)])
    edge = f"image/object/bbox/{sorted(BOX_EDGES)[rng.integers(0, 4)]}"
    return f"wrong {edge}", changed(serialized, edge, "float_list", [float(rng.choice([np.nan, 2, -1, np.inf])), 0.5])


def _names(serialized: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    names = (b"", b"../../../evil", b"/tmp/evil", b"a\0b", b"\xff\xfe", b"a\x1b[31m", b"x" * 400, "a\u202eb".encode())
    name = names[rng.integers(0, len(names))]
    return f"id {name[:20]!r}", changed(serialized, "image/filename", "bytes_list", [name])
