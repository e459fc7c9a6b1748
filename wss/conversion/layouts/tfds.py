"""Data sets of tensorflow-datasets (TFDS) as pools: each shard reads its own slice of a split."""

import dataclasses
import functools
import hashlib
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from wss.conversion.encode import LabelMap
from wss.conversion.layouts.tfds_builders import feature_keys, find_builder, first_line
from wss.conversion.sources import Shard, Source
from wss.data.boxes import Box
from wss.data.image_files import SUFFIXES
from wss.data.masks import IGNORE, INVALID, wrong_values
from wss.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a data set has where; "a/b" is the feature b in the feature a.

    Attributes:
        image: Feature of the image files.
        mask: Feature of the masks.
        name: Feature that names the images; "" numbers them.
        segments: Feature of the segments, whose ids a panoptic mask has as R + 256 G + 65536 B; "" for a plain mask.
        num_things: Number of labels that are objects with boxes, the first ones; segments of all others are stuff.
        channel: Channel of the masks that has the classes; None where all channels are equal.
        id_map: Class of each value in the masks, or 255 to ignore it; None keeps the values. 255 is always ignored.
        class_names: Names of the classes; () for those of the label of `segments`.
        colors: RGB colours of the classes; () for `default_colors`.
        has_background: Whether class 0 is everything else.
        unlabeled_splits: Splits that have no masks, or dummies.
    """

    image: str = "image"
    mask: str = ""
    name: str = ""
    segments: str = ""
    num_things: int = 0
    channel: int | None = None
    id_map: Mapping[int, int] | None = None
    class_names: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    has_background: bool = True
    unlabeled_splits: tuple[str, ...] = ()

    def lookup(self) -> np.ndarray:
        """Returns what becomes of each value of the masks, int16 [256], see `masks.lookup_table`."""
        table = np.full(256, INVALID, np.int16)
        table[IGNORE] = IGNORE
        id_map = {label: label for label in range(len(self.class_names))} if self.id_map is None else self.id_map
        for old, new in id_map.items():
            table[old] = new
        return table


@dataclasses.dataclass(frozen=True)
class DecodedMask:
    """The mask of one example, as a `MaskReader`: what is wrong with it becomes a problem of its image.

    Attributes:
        path: Name of the image in messages.
        pixels: Integers [H, W] or [H, W, C].
        layout: Layout of the data set.
    """

    path: str
    pixels: np.ndarray
    layout: Layout

    def read(self) -> np.ndarray:
        """Returns the stored values, uint8 [H, W].

        Raises:
            UserError: The channels differ, or a value is not in the id map.
        """
        values = self.pixels.reshape(*self.pixels.shape[:2], -1)
        if self.layout.channel is None and (values != values[..., :1]).any():
            raise UserError(
                f"{self.path}: the {values.shape[2]} channels of the mask differ; give --mask_channel if one of them has "
                "the classes"
            )
        values = values[..., self.layout.channel or 0]
        labels = LabelMap(self.layout.lookup())
        if wrong := wrong_values(values, labels.lookup != INVALID, labels.expected):
            raise UserError(f"{self.path}: {wrong}; --id_map gives values a meaning")
        return values.astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class TfdsPool:
    """A split of a prepared data set.

    TFDS has shuffled the images when it wrote its files, so each record file gets a run of them, and nobody reads all.

    Attributes:
        dataset: Name of the data set, see `find_builder`.
        data_dir: Folder where TFDS keeps its data; None for its default.
        split: Name of the split.
        layout: Layout of the data set.
        num_examples: Number of examples in the split.
        content: Text that changes when the data set is prepared anew.
    """

    dataset: str
    data_dir: str | None
    split: str
    layout: Layout
    num_examples: int
    content: str

    @classmethod
    def of(cls, dataset: str, data_dir: str | None, split: str, *, layout: Layout) -> "TfdsPool":
        """Returns a split of a data set that is prepared."""
        info = find_builder(dataset, data_dir).info
        content = f"{info.full_name} {info.splits[split].num_bytes} {list(info.splits[split].shard_lengths)}"
        return cls(
            dataset=dataset,
            data_dir=data_dir,
            split=split,
            layout=layout,
            num_examples=info.splits[split].num_examples,
            content=content,
        )

    def __len__(self) -> int:
        return self.num_examples

    def shards(self, assignment: Sequence[np.ndarray], folder: epath.Path) -> list[Shard]:
        """Returns a run of the split for each record file; of `assignment` only the lengths count."""
        ends = np.cumsum([len(numbers) for numbers in assignment]).tolist()
        return [TfdsShard(self, end - len(numbers), end) for numbers, end in zip(assignment, ends, strict=True)]


@dataclasses.dataclass(frozen=True)
class TfdsShard(Shard):
    """Examples `begin` .. `end - 1` of a split."""

    pool: TfdsPool
    begin: int
    end: int

    def __iter__(self) -> Iterator[Source]:
        import tensorflow as tf

        try:
            for index, values in enumerate(self._examples(), start=self.begin):
                yield self._source(values, index)
        except tf.errors.OpError as error:
            raise UserError(
                f"{self.pool.dataset}: examples {self.begin} .. {self.end - 1} of {self.pool.split!r} cannot be read "
                f"({first_line(error.message)}); prepare the data set again"
            ) from error

    def fingerprint(self) -> str:
        """Returns a text that changes with the data set, the slice and the layout."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def _has_masks(self) -> bool:
        return self.pool.split not in self.pool.layout.unlabeled_splits

    def _examples(self) -> Iterator[dict[str, Any]]:
        """Yields the features that the layout names, by these names; images as the files that they were."""
        import tensorflow_datasets as tfds

        layout, builder = self.pool.layout, find_builder(self.pool.dataset, self.pool.data_dir)
        names = [layout.image, layout.name, *([layout.mask, layout.segments] if self._has_masks else [])]
        keys = {name: feature_keys(builder.info.features, name) for name in names if name}
        wanted: dict = {}
        for path in keys.values():
            _put(wanted, path, True)
        examples = builder.as_dataset(
            split=tfds.core.ReadInstruction(self.pool.split, from_=self.begin, to=self.end, unit="abs"),
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(
                wanted, decoders=_put({}, keys[layout.image], tfds.decode.SkipDecoding())
            ),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        for example in examples.as_numpy_iterator():
            yield {name: functools.reduce(operator.getitem, path, example) for name, path in keys.items()}

    def _source(self, values: dict[str, Any], index: int) -> Source:
        layout = self.pool.layout
        id = _without_suffix(values[layout.name]) if layout.name else f"{self.pool.split}_{index:08d}"
        image = values[layout.image]
        if not self._has_masks:
            return Source(id, image)
        pixels, boxes = values[layout.mask], None
        if layout.segments:
            segments = values[layout.segments]
            boxes = segment_boxes(segments, pixels.shape[:2], layout.num_things)
            pixels = panoptic_labels(pixels, segments)
        return Source(id, image, DecodedMask(id, pixels, layout), boxes=boxes)


def panoptic_labels(rgb: np.ndarray, segments: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the label of each pixel's segment, uint8 [H, W]; 255 where there is none, or a crowd.

    Args:
        rgb: Ids of the segments as R + 256 G + 65536 B, uint8 [H, W, 3].
        segments: Their id, label and is_crowd, each [N].
    """
    ids, inverse = np.unique(rgb.astype(np.int64) @ np.array([1, 256, 65536]), return_inverse=True)
    labels = {
        id: label
        for id, label, crowd in zip(segments["id"], segments["label"], segments["is_crowd"], strict=True)
        if not crowd
    }
    return np.array([labels.get(id, IGNORE) for id in ids], np.uint8)[inverse].reshape(rgb.shape[:2])


def segment_boxes(segments: Mapping[str, np.ndarray], size: tuple[int, int], num_things: int) -> tuple[Box, ...]:
    """Returns the boxes of the objects among the segments of an image of (height, width) pixels.

    Args:
        segments: Their label [N], is_crowd [N] and bbox float [N, 4]: ymin, xmin, ymax, xmax in parts of the size.
        size: Height and width of the image in pixels.
        num_things: Number of labels that are objects, the first ones.
    """
    # The edges are whole pixels that TFDS has divided by the size, in float32.
    edges = np.round(segments["bbox"].reshape(-1, 4) * [*size, *size]).tolist()
    return tuple(
        Box(int(label), ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax, is_crowd=bool(crowd))
        for label, crowd, (ymin, xmin, ymax, xmax) in zip(segments["label"], segments["is_crowd"], edges, strict=True)
        if label < num_things and ymin < ymax and xmin < xmax
    )


def _put(tree: dict, keys: Sequence[str], value: Any) -> dict:
    """Sets tree[a][b] of keys (a, b), and returns the tree."""
    *parents, last = keys
    functools.reduce(lambda node, key: node.setdefault(key, {}), parents, tree)[last] = value
    return tree


def _without_suffix(name: bytes | int) -> str:
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    stem, suffix = os.path.splitext(text)
    return stem if suffix.lower() in SUFFIXES else text
