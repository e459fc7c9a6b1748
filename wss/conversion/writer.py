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

import tensorflow as tf
from etils import epath

from wss.conversion.encode import LabelMap, check_source, duplicate_ids, raise_problems
from wss.conversion.sources import ListPool, Part, Pool, Source, Split, assign
from wss.data.dataset_info import FILE_NAME, SPLITS_FOLDER, DatasetInfo
from wss.data.record_index import RECORD_OVERHEAD, SUFFIX, Entry, index_path, write_index
from wss.data.splits import Statistics, select
from wss.files import whole
from wss.jobs.output_folder import DONE, LOCK, disk_errors, keep_only, replacing
from wss.jobs.processes import Tick
from wss.jobs.restartable import PLAN, done_file, result_of, run_once
from wss.jobs.runner import Runner

# Bytes of the records change with the version of this format, so finished files of another one are not kept.
FORMAT_VERSION = 1


def write_dataset(
    output_dir: str | os.PathLike,
    name: str,
    class_names: Sequence[str],
    colors: Iterable[Iterable[int]],
    pools: Mapping[str, Sequence[Source] | Pool],
    labels: LabelMap,
    *,
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
        output_dir: where the data set shall lie; it appears there only when it is complete.
        name: of the data set.
        class_names, colors: of the classes after `labels`.
        pools: name -> images that are stored together; each pool is shuffled by `seed` before it is cut into files.
        labels: how mask values become classes.
        splits: name -> which images of which pools; by default each pool is a split.
        has_background: class 0 is the background.
        num_shards: files per pool, at most one per image; 0: one per 500 images, at least 4.
        seed: of the shuffle.
        workers: see `Runner`.
        beam_pipeline_options: see `Runner`; None without Beam.
        overwrite: replace a data set that is in `output_dir`.
        provenance: goes into `dataset.json`, with the seed.
        problems: what the caller found wrong so far, reported together with the rest.

    Returns:
        The data set, and what is in each split.

    Raises:
        ConversionStoppedError, WriteError: interrupted, killed, or the disk is full; the same call goes on.
        UserError: all problems, one line each; nothing is left behind.
    """
    problems = list(problems)
    splits = {pool: Split((pool,)) for pool in pools} if splits is None else splits
    sized = {pool: images if hasattr(images, "parts") else ListPool(images) for pool, images in pools.items()}
    for pool, images in sized.items():
        if isinstance(images, ListPool):
            problems += duplicate_ids(pool, images.sources)
        if not len(images):
            problems.append(f"{pool!r}: no images")
    runner = Runner(workers, beam_pipeline_options)
    with replacing(output_dir, overwrite, content_file=FILE_NAME) as folder:
        files = {pool: _plan(folder, pool, images, labels, num_shards, seed) for pool, images in sized.items()}
        jobs = [(str(folder), file, count) for pool in files.values() for file, count in pool.items()]
        runner(convert_file, jobs, f"writing {name}", sum(len(images) for images in sized.values()))
        for _, file, _ in jobs:
            problems += result_of(done_file(folder, file))["problems"]
        raise_problems(problems)
        keep_only(folder, {LOCK, *(name for _, file, _ in jobs for name in (file, file + SUFFIX, file + DONE))})
        info = DatasetInfo(
            name,
            tuple(class_names),
            tuple((int(red), int(green), int(blue)) for red, green, blue in colors),
            {},
            has_background=has_background,
            provenance={**(provenance or {}), "shuffle_seed": seed},
            directory=str(folder),
        )
        info, statistics = select(info, files, splits)
        keep_only(folder, {FILE_NAME, SPLITS_FOLDER, *(name for _, file, _ in jobs for name in (file, file + SUFFIX))})
    return dataclasses.replace(info, directory=str(output_dir)), statistics


def shard_names(pool: str, count: int) -> list[str]:
    """Returns "train-00000-of-00004.tfrecord" and so on."""
    return [f"{pool}-{index:05d}-of-{count:05d}.tfrecord" for index in range(count)]


def convert_file(job: tuple[str, str, int], tick: Tick) -> None:
    """Writes one record file of a plan with its index, unless that is done: a job of `Runner`.

    Args:
        job: the folder of the conversion, the name of the file in it, and the number of its images.
        tick: called with the number of images that are done.
    """
    folder, file, count = epath.Path(job[0]), job[1], job[2]
    part, labels = pickle.loads(_plan_file(folder, file).read_bytes())
    fingerprint = hashlib.sha256(pickle.dumps((FORMAT_VERSION, labels, part.fingerprint()))).hexdigest()
    write = lambda: {"problems": _write_records(folder / file, part, labels, tick)}
    if not run_once(done_file(folder, file), fingerprint, write):
        tick(count)


def _write_records(path: epath.Path, part: Part, labels: LabelMap, tick: Tick) -> list[str]:
    """Writes a record file and its index; returns a line for each problem."""
    problems: list[str] = []

    def examples() -> Iterator[tuple[bytes, Entry]]:
        for source in part:
            checked, found = check_source(source, labels)
            problems.extend(found)
            if checked is not None:
                yield checked
            tick(1)

    write_record_file(path, examples())
    return problems


def write_record_file(path: epath.Path, examples: Iterable[tuple[bytes, Entry]]) -> None:
    """Writes serialized examples with the index beside them, whole or not at all; the entries get their offsets here."""
    entries: list[Entry] = []
    offset = 0
    with disk_errors(path), whole(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for serialized, entry in examples:
                writer.write(serialized)
                entries.append(dataclasses.replace(entry, offset=offset))
                offset += len(serialized) + RECORD_OVERHEAD
        write_index(index_path(path), entries)


def _plan(folder: epath.Path, pool: str, images: Pool, labels: LabelMap, num_shards: int, seed: int) -> dict[str, int]:
    """Writes what goes into each file of a pool for the jobs to read; returns the files with their number of images."""
    assignment = assign(pool, len(images), num_shards, seed)
    counts = {name: len(part) for name, part in zip(shard_names(pool, len(assignment)), assignment, strict=True)}
    intermediate = folder / f"{pool}{PLAN}"
    intermediate.mkdir(parents=True, exist_ok=True)
    for file, part in zip(counts, images.parts(assignment, intermediate), strict=True):
        _plan_file(folder, file).write_bytes(pickle.dumps((part, labels)))
    return counts


def _plan_file(folder: epath.Path, file: str) -> epath.Path:
    return folder / f"{file}{PLAN}"
