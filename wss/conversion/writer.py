"""Writes a data set: record files with their indexes, each image once, and the splits over them; whole or not at all.

A conversion is cut into one job for each record file. Jobs run in any order, in any number of processes or on Apache
Beam, and what one writes depends on its images only. They write into `.<name>.partial` beside the output; a job whose
file is finished there is not run again, so that the same command goes on after a kill.
"""

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence

from etils import epath

from wss.conversion.encode import LabelMap, check_source, duplicate_ids, raise_problems
from wss.conversion.sources import ListPool, Pool, Shard, Source, assign
from wss.data.dataset_info import FILE_NAME, SPLITS_FOLDER, DatasetInfo
from wss.data.record_index import RECORD_OVERHEAD, SUFFIX, Entry, index_path, write_index
from wss.data.splits import Split, Statistics, write_splits
from wss.files import whole
from wss.jobs.output_folder import LOCK, disk_errors, keep_only, replacing
from wss.jobs.processes import Tick
from wss.jobs.restartable import PLAN, done_file, result_of, run_once
from wss.jobs.runner import Runner

# Bytes of the records change with the version of this format, so finished files of another one are not kept.
FORMAT_VERSION = 1


def write_dataset(
    output_dir: str | os.PathLike,
    name: str,
    pools: Mapping[str, Sequence[Source] | Pool],
    *,
    class_names: Sequence[str],
    colors: Iterable[Iterable[int]],
    labels: LabelMap,
    splits: Mapping[str, Split] | None = None,
    has_background: bool = True,
    num_shards: int = 0,
    seed: int = 0,
    workers: int = 0,
    beam_pipeline_options: str | None = None,
    overwrite: bool = False,
    provenance: dict | None = None,
    problems: Iterable[str] = (),
) -> tuple[DatasetInfo, dict[str, Statistics]]:
    """Checks and writes all images; the result does not depend on `workers`, nor on whether Beam did it.

    Args:
        output_dir: Folder of the data set, which appears only when it is complete.
        name: Name of the data set.
        pools: Images that are stored together, by the name of the pool. Each pool is shuffled and cut into files.
        class_names: Names of the classes that `labels` maps to.
        colors: RGB colours of these classes, 0 .. 255.
        labels: Map from the values of mask files to classes.
        splits: Which images of which pools belong to each split; by default each pool is a split.
        has_background: Whether class 0 is the background.
        num_shards: Number of files of each pool, at most one for each image; 0 takes one for 500 images, at least 4.
        seed: Seed of the shuffle.
        workers: Number of processes, see `Runner`.
        beam_pipeline_options: Options of Apache Beam, see `Runner`; None converts without Beam.
        overwrite: Whether to replace a data set that is in `output_dir`.
        provenance: Origin of the data set, for `dataset.json`; the seed is added.
        problems: Lines on what the caller found wrong so far, reported together with the rest.

    Returns:
        The data set, and what is in each split.

    Raises:
        ConversionStoppedError, WriteError: Interrupted, killed, or the disk is full; the same call goes on.
        UserError: All problems, one line each; nothing is left behind.
    """
    splits = {pool: Split((pool,)) for pool in pools} if splits is None else splits
    sized, found = _sized(pools)
    runner = Runner(workers, beam_pipeline_options)
    with replacing(output_dir, overwrite, content_file=FILE_NAME) as folder:
        shards = {
            pool: _plan(folder, pool, images, labels=labels, num_shards=num_shards, seed=seed)
            for pool, images in sized.items()
        }
        found += _write_shards(folder, shards, what=f"writing {name}", runner=runner)
        raise_problems([*problems, *found])
        provenance = {**(provenance or {}), "shuffle_seed": seed}
        info = _without_splits(folder, name, class_names, colors=colors, has_background=has_background)
        info, statistics = write_splits(dataclasses.replace(info, provenance=provenance), shards, splits)
        keep_only(folder, {FILE_NAME, SPLITS_FOLDER, *_files_of(shards)})
    return dataclasses.replace(info, directory=str(output_dir)), statistics


def shard_names(pool: str, count: int) -> list[str]:
    """Returns "train-00000-of-00004.tfrecord" and so on."""
    return [f"{pool}-{index:05d}-of-{count:05d}.tfrecord" for index in range(count)]


def convert_file(job: tuple[str, str, int], tick: Tick) -> None:
    """Writes one record file of a plan with its index, unless that is done: a job of `Runner`.

    Args:
        job: Folder of the conversion, name of the file in it, and number of its images.
        tick: Function that is called with the number of images that are done.
    """
    folder, file, count = epath.Path(job[0]), job[1], job[2]
    shard, labels = pickle.loads(_plan_file(folder, file).read_bytes())
    fingerprint = hashlib.sha256(pickle.dumps((FORMAT_VERSION, labels, shard.fingerprint()))).hexdigest()
    write = lambda: {"problems": _write_records(folder / file, shard, labels, tick)}
    if not run_once(done_file(folder, file), fingerprint, write):
        tick(count)


def _write_records(path: epath.Path, shard: Shard, labels: LabelMap, tick: Tick) -> list[str]:
    """Writes a record file and its index; returns a line for each problem."""
    problems: list[str] = []

    def examples() -> Iterator[tuple[bytes, Entry]]:
        for source in shard:
            checked, found = check_source(source, labels)
            problems.extend(found)
            if checked is not None:
                yield checked
            tick(1)

    write_record_file(path, examples())
    return problems


def write_record_file(path: epath.Path, examples: Iterable[tuple[bytes, Entry]]) -> None:
    """Writes serialized examples with the index beside them, whole or not at all.

    The entries of the index get their offsets here.
    """
    import tensorflow as tf  # here, so that --help of the converters need not wait for it

    entries: list[Entry] = []
    offset = 0
    with disk_errors(path), whole(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for serialized, entry in examples:
                writer.write(serialized)
                entries.append(dataclasses.replace(entry, offset=offset))
                offset += len(serialized) + RECORD_OVERHEAD
        write_index(index_path(path), entries)


def _sized(pools: Mapping[str, Sequence[Source] | Pool]) -> tuple[dict[str, Pool], list[str]]:
    """Returns all as `Pool`, and a line for each id that occurs twice and each pool without images."""
    sized: dict[str, Pool] = {}
    problems: list[str] = []
    for name, images in pools.items():
        if isinstance(images, Sequence):
            problems += duplicate_ids(name, images)
            images = ListPool(images)
        elif isinstance(images, ListPool):
            problems += duplicate_ids(name, images.sources)
        if not len(images):
            problems.append(f"{name!r}: no images")
        sized[name] = images
    return sized, problems


def _write_shards(
    folder: epath.Path, shards: Mapping[str, Mapping[str, int]], *, what: str, runner: Runner
) -> list[str]:
    """Writes the files that are planned for each pool and removes all others; returns a line for each problem."""
    jobs = [(str(folder), file, count) for files in shards.values() for file, count in files.items()]
    runner(convert_file, jobs, what, total=sum(count for _, _, count in jobs))
    reports = [done_file(folder, file) for _, file, _ in jobs]
    problems = [line for report in reports for line in result_of(report)["problems"]]
    keep_only(folder, {LOCK, *_files_of(shards), *(report.name for report in reports)})
    return problems


def _files_of(shards: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Returns the names of the record files and of their indexes."""
    return {name for files in shards.values() for file in files for name in (file, file + SUFFIX)}


def _without_splits(
    folder: epath.Path,
    name: str,
    class_names: Sequence[str],
    *,
    colors: Iterable[Iterable[int]],
    has_background: bool,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        class_names=tuple(class_names),
        colors=tuple((int(red), int(green), int(blue)) for red, green, blue in colors),
        splits={},
        has_background=has_background,
        directory=str(folder),
    )


def _plan(
    folder: epath.Path, pool: str, images: Pool, *, labels: LabelMap, num_shards: int, seed: int
) -> dict[str, int]:
    """Writes what goes into each file of a pool for the jobs to read; returns the files with their number of images."""
    assignment = assign(pool, len(images), num_shards, seed=seed)
    names = shard_names(pool, len(assignment))
    counts = {name: len(numbers) for name, numbers in zip(names, assignment, strict=True)}
    intermediate = folder / f"{pool}{PLAN}"
    intermediate.mkdir(parents=True, exist_ok=True)
    for file, shard in zip(counts, images.shards(assignment, intermediate), strict=True):
        _plan_file(folder, file).write_bytes(pickle.dumps((shard, labels)))
    return counts


def _plan_file(folder: epath.Path, file: str) -> epath.Path:
    return folder / f"{file}{PLAN}"
