"""Class-balanced subsets: few labelled images in which every class occurs often enough."""

import dataclasses
import fractions
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.info import DatasetInfo
from wss.data.schema import check_record
from wss.data.writer import Statistics, checksum, shuffled_shards, split_info, write_shard
from wss.errors import UserError
from wss.progress import track

RANDOM_TRIES = 200


@dataclasses.dataclass(frozen=True)
class Record:
    """One example of a built data set.

    Attributes:
        present: bool [C], the classes of its mask, or of its image-level labels if it has no mask.
    """

    id: str
    serialized: bytes
    present: np.ndarray
    size: tuple[int, int]
    pixels: np.ndarray | None
    has_image_labels: bool


def balanced_subset(
    present: np.ndarray, count: int, min_images_per_class: int, seed: int, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """Chooses images so that each class occurs in enough of them.

    Random subsets are drawn until one fits, which keeps the natural distribution. If none of `RANDOM_TRIES` does,
    images that fill the most gaps are taken first (greedy cover, ties at random), and the rest at random.

    Args:
        present: bool [N, C], which classes occur in which image.
        count: how many of the N images to choose.
        min_images_per_class: each of the C classes must occur in at least this many chosen images.
        seed: the same arguments always give the same subset.
        class_names: of the C classes, for messages.

    Returns:
        Sorted indices, int64 [count].

    Raises:
        UserError: it cannot be done.
    """
    total, num_classes = present.shape
    names = class_names or [str(c) for c in range(num_classes)]
    if not 0 < count <= total:
        raise UserError(f"{count} images asked for, but the list has {total}")
    rare = [f"{names[c]} ({n})" for c, n in enumerate(present.sum(0)) if n < min_images_per_class]
    if rare:
        raise UserError(
            f"min_images_per_class = {min_images_per_class}, but the list has fewer images with {', '.join(rare)}; "
            "lower it or keep fewer classes"
        )
    rng = np.random.default_rng(seed)
    for _ in range(RANDOM_TRIES):
        chosen = rng.choice(total, count, replace=False)
        if (present[chosen].sum(0) >= min_images_per_class).all():
            return np.sort(chosen)
    cover = _greedy_cover(present, min_images_per_class, rng)
    if len(cover) > count:
        raise UserError(
            f"{count} images are too few for min_images_per_class = {min_images_per_class} of {num_classes} classes: "
            f"{len(cover)} would do; ask for more images or lower min_images_per_class"
        )
    others = np.setdiff1d(np.arange(total), cover)
    return np.sort(np.concatenate([cover, rng.choice(others, count - len(cover), replace=False)]).astype(np.int64))


def subset_size(total: int, num_images: int | None, fraction: str | None) -> int:
    """Returns `num_images`, or `fraction` ("1/16", "0.1") of `total`, rounded.

    Raises:
        UserError: none or both are given, or the fraction is no number in 0 .. 1.
    """
    if num_images is not None and fraction is None:
        return num_images
    if num_images is not None or fraction is None:
        raise UserError("give either --num_images or --fraction")
    try:
        part = fractions.Fraction(fraction)
    except (ValueError, ZeroDivisionError):
        part = fractions.Fraction(0)
    if not 0 < part <= 1:
        raise UserError(f"--fraction={fraction}: expected a part of one, such as 1/16")
    return max(1, round(total * part))


def read_split(info: DatasetInfo, split: str) -> list[Record]:
    """Reads and checks all examples of a split, in the order of its files.

    Raises:
        UserError: a damaged file, or an example without any labels.
    """
    records = []
    paths = info.files(split)
    examples = ((path, record) for path in paths for record in _records(path))
    for path, serialized in track(examples, f"reading {split}", info.split(split).num_examples):
        try:
            records.append(_record(serialized, info))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return records


def check_names(info: DatasetInfo, names: Iterable[str], overwrite: bool) -> None:
    """Raises a `UserError` if one of the names is that of a split already and must not be replaced."""
    for name in names:
        if name in info.splits and not overwrite:
            raise UserError(f"{info.directory}: has a split {name!r} already; add --overwrite or choose another name")


def add_splits(
    info: DatasetInfo,
    splits: dict[str, Sequence[Record]],
    num_shards: int,
    seed: int,
    provenance: dict[str, dict],
    overwrite: bool = False,
) -> DatasetInfo:
    """Writes further splits of a built data set and lists them in its `dataset.json`.

    Args:
        info: the data set, as loaded.
        splits: name -> examples of the new splits.
        num_shards: files per split, at most one per image.
        seed: of their order.
        provenance: what to record of a split; its checksum is added.
        overwrite: replace splits of these names.

    Raises:
        UserError: a split of that name exists, or a new one has no images.
    """
    check_names(info, splits, overwrite)
    for name, records in splits.items():
        if not records:
            raise UserError(f"{info.directory}: nothing is left for split {name!r}")
    directory = Path(info.directory)
    old = {shard for name in splits if name in info.splits for shard in info.splits[name].shards}
    new_splits, recorded = dict(info.splits), dict(info.provenance.get("splits", {}))
    for name, records in splits.items():
        shards = shuffled_shards(name, records, num_shards, seed)
        statistics = Statistics()
        for record in records:
            statistics.add(record.size, record.pixels, record.has_image_labels)
        for file, part in shards.items():
            write_shard(directory / file, [record.serialized for record in part])
        counts = {file: len(part) for file, part in shards.items()}
        new_splits[name] = split_info(counts, statistics, [record.id for record in records])
        recorded[name] = {**provenance.get(name, {}), "checksum": new_splits[name].checksum}
        old -= set(shards)
    new = dataclasses.replace(info, splits=new_splits, provenance={**info.provenance, "splits": recorded})
    new.save(directory)
    for file in old:
        (directory / file).unlink(missing_ok=True)
    return new


def write_list(path: str | Path, ids: Sequence[str], record: dict) -> None:
    """Writes ids, one per line, and `record` with their checksum to a .json file beside."""
    path = Path(path)
    content = json.dumps({**record, "checksum": checksum(ids)}, indent=1) + "\n"
    try:
        for file, text in ((path, "".join(f"{id}\n" for id in ids)), (path.with_suffix(".json"), content)):
            temporary = file.with_name(file.name + ".tmp")
            temporary.write_text(text)
            temporary.replace(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _records(path: str):
    try:
        yield from tf.data.TFRecordDataset(path).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise UserError(f"{path}: damaged TFRecord file; build the data set again") from error


def _record(serialized: bytes, info: DatasetInfo) -> Record:
    example = check_record(serialized, info)
    name = bytes(example["name"]).decode()
    pixels = np.bincount(example["label"].ravel(), minlength=256) if example["has_mask"] else None
    if pixels is not None:
        present = pixels[: info.num_classes] > 0
    elif example["has_image_label"]:
        present = np.concatenate([[True] * info.has_background, example["image_label"] > 0])
    else:
        raise UserError(f"image {name!r} has neither a mask nor image-level labels; choose from a labelled split")
    return Record(name, serialized, present, example["image"].shape[:2], pixels, bool(example["has_image_label"]))


def _greedy_cover(present: np.ndarray, min_images_per_class: int, rng: np.random.Generator) -> list[int]:
    missing = np.full(present.shape[1], min_images_per_class)
    cover: list[int] = []
    while (missing > 0).any():
        gain = (present & (missing > 0)).sum(1).astype(float)
        gain[cover] = -1.0
        cover.append(int(np.argmax(gain + rng.uniform(0, 0.5, len(gain)))))
        missing -= present[cover[-1]]
    return cover
