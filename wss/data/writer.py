"""Writes a data set: TFRecord shards in parallel and `dataset.json`, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import os
import queue
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.checks import LabelMap, Source, check_source, duplicate_ids, raise_problems
from wss.data.info import FILE_NAME, DatasetInfo, SplitInfo
from wss.errors import UserError
from wss.progress import track

DEFAULT_NUM_SHARDS = 4


@dataclasses.dataclass
class Statistics:
    """What was written into one shard or split.

    Attributes:
        pixels: int64 [256], how many pixels have each label.
    """

    num_images: int = 0
    num_masks: int = 0
    num_image_labels: int = 0
    max_size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, size: tuple[int, int], pixels: np.ndarray | None, has_image_labels: bool) -> None:
        """Counts one image; `pixels` is None without a mask."""
        self.num_images += 1
        self.num_masks += pixels is not None
        self.num_image_labels += has_image_labels
        self.max_size = _largest(self.max_size, size)
        if pixels is not None:
            self.pixels = self.pixels + pixels

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.num_images + other.num_images,
            self.num_masks + other.num_masks,
            self.num_image_labels + other.num_image_labels,
            _largest(self.max_size, other.max_size),
            self.pixels + other.pixels,
        )


def write_dataset(
    output_dir: str | Path,
    name: str,
    class_names: Sequence[str],
    colors: Iterable[Iterable[int]],
    splits: Mapping[str, Sequence[Source]],
    labels: LabelMap,
    *,
    has_background: bool = True,
    num_shards: int = DEFAULT_NUM_SHARDS,
    seed: int = 0,
    workers: int = 0,
    overwrite: bool = False,
    provenance: dict | None = None,
    problems: Iterable[str] = (),
) -> tuple[DatasetInfo, dict[str, Statistics]]:
    """Checks and writes all images; the result does not depend on `workers`.

    Args:
        output_dir: where the data set shall lie; it appears there only when it is complete.
        name: of the data set.
        class_names, colors: of the classes after `labels`.
        splits: split name -> its images. Each split is shuffled by `seed` before it is cut into shards.
        labels: how mask values become classes.
        has_background: class 0 is the background.
        num_shards: files per split, at most one per image.
        seed: of the shuffle.
        workers: threads; 0 takes one per core.
        overwrite: replace a data set that is in `output_dir`.
        provenance: goes into `dataset.json`, with the seed.
        problems: what the caller found wrong so far, reported together with the rest.

    Raises:
        UserError: lists all problems, one line each; nothing is left behind.
    """
    problems = list(problems)
    for split, sources in splits.items():
        problems += duplicate_ids(split, sources)
        if not sources:
            problems.append(f"split {split!r}: no images")
    with replacing(output_dir, overwrite) as temporary:
        shards = {split: shuffled_shards(split, sources, num_shards, seed) for split, sources in splits.items()}
        jobs = {
            (split, file): (lambda tick, path=temporary / file, part=part: _write_shard(path, part, labels, tick))
            for split, files in shards.items()
            for file, part in files.items()
        }
        total = sum(len(sources) for sources in splits.values())
        results = dict(zip(jobs, run_jobs(list(jobs.values()), workers, f"writing {name}", total), strict=True))
        raise_problems([*problems, *(line for _, lines in results.values() for line in lines)])
        statistics, infos = {}, {}
        for split, files in shards.items():
            statistics[split] = sum((results[split, file][0] for file in files), Statistics())
            counts = {file: len(part) for file, part in files.items()}
            infos[split] = split_info(counts, statistics[split], [source.id for source in splits[split]])
        info = DatasetInfo(
            name,
            tuple(class_names),
            tuple((int(red), int(green), int(blue)) for red, green, blue in colors),
            infos,
            has_background=has_background,
            provenance={**(provenance or {}), "shuffle_seed": seed},
        )
        info.save(temporary)
    return dataclasses.replace(info, directory=str(output_dir)), statistics


def split_info(shards: dict[str, int], statistics: Statistics, ids: Sequence[str]) -> SplitInfo:
    """Returns the entry of `dataset.json`; `ids` are in the order of the list that the split was made from."""
    return SplitInfo(shards, statistics.num_masks, statistics.num_image_labels, statistics.max_size, checksum(ids))


def checksum(ids: Iterable[str]) -> str:
    """SHA-256 of the ids, one per line: that of a list file of just these lines."""
    return hashlib.sha256("".join(f"{id}\n" for id in ids).encode()).hexdigest()


def shard_names(split: str, count: int) -> list[str]:
    """Returns "train-00000-of-00004.tfrecord" and so on."""
    return [f"{split}-{index:05d}-of-{count:05d}.tfrecord" for index in range(count)]


def shuffled_shards(split: str, items: Sequence, num_shards: int, seed: int) -> dict[str, list]:
    """Shuffles the items of a split and deals them out to at most `num_shards` files of nearly equal size."""
    order = np.random.default_rng([seed, zlib.crc32(split.encode())]).permutation(len(items))
    count = max(1, min(num_shards, len(items)))
    parts = np.array_split(order, count)
    return {file: [items[i] for i in part] for file, part in zip(shard_names(split, count), parts, strict=True)}


def write_shard(path: Path, records: Iterable[bytes]) -> None:
    """Writes serialized examples to `path` under a temporary name and renames it at the end.

    Raises:
        UserError: it cannot be written; the disk may be full.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(record)
    except tf.errors.OpError as error:
        raise UserError(f"{temporary}: cannot be written ({error.message})") from error
    temporary.replace(path)


def run_jobs(jobs: Sequence[Callable], workers: int, what: str, total: int, unit: str = "image") -> list:
    """Runs `job(tick)` for all jobs in threads and returns their results in order.

    A job calls `tick()` after each `unit` of work, `total` times in all; Ctrl-C and an exception in a job stop all.
    """
    ticks: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()

    def tick() -> None:
        if stop.is_set():
            raise InterruptedError("stopped")
        ticks.put(None)

    def run(job: Callable):
        try:
            return job(tick)
        except BaseException as error:
            ticks.put(error)
            raise

    def units() -> Iterator[None]:
        for _ in range(total):
            error = ticks.get()
            if error is not None:
                raise error
            yield

    with ThreadPoolExecutor(workers or os.cpu_count()) as executor:
        futures = [executor.submit(run, job) for job in jobs]
        try:
            for _ in track(units(), what, total, unit):
                pass
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]


@contextlib.contextmanager
def replacing(output_dir: str | Path, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary folder beside `output_dir` that becomes `output_dir` at the end, or vanishes after an error.

    Raises:
        UserError: `output_dir` has a data set and `overwrite` is not given, or has something else in it.
    """
    target = Path(output_dir).absolute()
    if target.exists() and not target.is_dir():
        raise UserError(f"{output_dir}: a file, expected a folder to write to")
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and not (target / FILE_NAME).exists():
        raise UserError(f"{output_dir}: has other files in it; give an empty or a new folder as output")
    if occupied and not overwrite:
        raise UserError(f"{output_dir}: has a data set already; add --overwrite to replace it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(temporary.name + "-old")
        if target.exists():
            target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_shard(
    path: Path, sources: Sequence[Source], labels: LabelMap, tick: Callable[[], None]
) -> tuple[Statistics, list[str]]:
    statistics = Statistics()
    problems: list[str] = []

    def records() -> Iterator[bytes]:
        for source in sources:
            checked, found = check_source(source, labels)
            problems.extend(found)
            if checked is not None:
                statistics.add(checked.size, checked.pixels, checked.has_image_labels)
                yield checked.serialized
            tick()

    write_shard(path, records())
    return statistics, problems


def _largest(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return max(a[0], b[0]), max(a[1], b[1])
