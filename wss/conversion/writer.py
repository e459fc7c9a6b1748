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
from typing import NamedTuple

from etils import epath

from wss.conversion.encode import LabelMap, Settings, check_source, raise_problems, wrong_ids
from wss.conversion.mask_boxes import MaskBoxes
from wss.conversion.notes import Notes
from wss.conversion.sources import ListPool, Pool, Shard, Source, assign
from wss.data.dataset_info import FILE_NAME, SPLITS_FOLDER, DatasetInfo
from wss.data.photos import ValueRange
from wss.data.record_index import RECORD_OVERHEAD, SUFFIX, Entry, index_path, write_index
from wss.data.splits import Split, Statistics, write_splits
from wss.files import whole
from wss.jobs.output_folder import LOCK, disk_errors, keep_only, replacing
from wss.jobs.processes import ConversionStoppedError, Tick
from wss.jobs.restartable import PLAN, done_file, result_of, run_once
from wss.jobs.runner import Runner

# Bytes of the records change with the version of this format, so finished files of another one are not kept.
FORMAT_VERSION = 2


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
    value_range: ValueRange | None = None,
    boxes_from_masks: int = 0,
    notes: Notes | None = None,
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
        problems: Lines on what the caller found wrong so far; with any of them, no image is read.
        value_range: Values of black and white in photos of more than 8 bits, see `photos.read_photo`.
        boxes_from_masks: Number of pixels from which on a connected component of a foreground class becomes a box, in
            place of an image's own boxes; 0 makes none.
        notes: Notes to which is added what a person should know.

    Returns:
        The data set, and what is in each split.

    Raises:
        ConversionStoppedError, WriteError: Interrupted, killed, or the disk is full; the same call goes on.
        UserError: All problems, one line each; nothing is left behind.
    """
    splits = {pool: Split((pool,)) for pool in pools} if splits is None else splits
    notes = Notes() if notes is None else notes
    sized, found = _sized(pools)
    raise_problems([*problems, *found])
    mask_boxes = MaskBoxes(boxes_from_masks, has_background) if boxes_from_masks else None
    settings = Settings(labels, value_range, mask_boxes)
    runner = Runner(workers, beam_pipeline_options)
    with replacing(output_dir, overwrite, content_file=FILE_NAME) as folder:
        plans = {
            pool: _plan(folder, pool, images, settings=settings, num_shards=num_shards, seed=seed)
            for pool, images in sized.items()
        }
        shards = {pool: {job.file: job.num_images for job in jobs} for pool, jobs in plans.items()}
        found = _write_shards(folder, plans, what=f"writing {name}", runner=runner, notes=notes)
        raise_problems([*found, *notes.problems(labels.reading)])
        provenance = {**(provenance or {}), "shuffle_seed": seed}
        info = _without_splits(folder, name, class_names, colors=colors, has_background=has_background)
        info, statistics = write_splits(dataclasses.replace(info, provenance=provenance), shards, splits)
        keep_only(folder, {FILE_NAME, SPLITS_FOLDER, *_files_of(shards)})
    return dataclasses.replace(info, directory=str(output_dir)), statistics


def shard_names(pool: str, count: int) -> list[str]:
    """Returns "train-00000-of-00004.tfrecord" and so on."""
    return [f"{pool}-{index:05d}-of-{count:05d}.tfrecord" for index in range(count)]


class FileJob(NamedTuple):
    """One record file to write.

    Attributes:
        folder: Folder of the conversion.
        file: Name of the file in it.
        num_images: Number of its images.
        checksum: SHA-256 of its plan: what is not as it was written is not unpickled.
    """

    folder: str
    file: str
    num_images: int
    checksum: str


def convert_file(job: FileJob, tick: Tick) -> None:
    """Writes one record file of a plan with its index, unless that is done: a job of `Runner`.

    Args:
        job: The file.
        tick: Function that is called with the number of images that are done.
    """
    folder, file = epath.Path(job.folder), job.file
    plan = _plan_file(folder, file).read_bytes()
    if hashlib.sha256(plan).hexdigest() != job.checksum:
        raise ConversionStoppedError(f"{_plan_file(folder, file)}: was changed by somebody else; run the command again")
    shard, settings = pickle.loads(plan)
    fingerprint = hashlib.sha256(pickle.dumps((FORMAT_VERSION, settings, shard.fingerprint()))).hexdigest()
    write = lambda: _write_records(folder / file, shard, settings, tick)
    if not run_once(done_file(folder, file), fingerprint, write):
        tick(job.num_images)


def _write_records(path: epath.Path, shard: Shard, settings: Settings, tick: Tick) -> dict:
    """Writes a record file and its index; returns a line for each problem, and notes, for JSON."""
    problems: list[str] = []
    notes = Notes()

    def examples() -> Iterator[tuple[bytes, Entry]]:
        for source in shard:
            checked, found = check_source(source, settings, notes)
            problems.extend(found)
            if checked is not None:
                yield checked
            tick(1)

    write_record_file(path, examples())
    return {"problems": problems, "notes": notes.content()}


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
    """Returns all as `Pool`, and a line for each id that cannot be and each pool without images."""
    sized: dict[str, Pool] = {}
    problems: list[str] = []
    for name, images in pools.items():
        if isinstance(images, Sequence):
            problems += wrong_ids(name, images)
            images = ListPool(images)
        elif isinstance(images, ListPool):
            problems += wrong_ids(name, images.sources)
        if not len(images):
            problems.append(f"{name!r}: no images")
        sized[name] = images
    return sized, problems


def _write_shards(
    folder: epath.Path, plans: Mapping[str, Sequence[FileJob]], *, what: str, runner: Runner, notes: Notes
) -> list[str]:
    """Writes the files that are planned for each pool and removes all others; returns a line for each problem."""
    jobs = [job for of_pool in plans.values() for job in of_pool]
    runner(convert_file, jobs, what, total=sum(job.num_images for job in jobs))
    reports = [done_file(folder, job.file) for job in jobs]
    results = [result_of(report) for report in reports]
    for result in results:
        notes.add(Notes.of(result["notes"]))
    files = {name for job in jobs for name in (job.file, job.file + SUFFIX)}
    keep_only(folder, {LOCK, *files, *(report.name for report in reports)})
    return [line for result in results for line in result["problems"]]


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
    folder: epath.Path,
    pool: str,
    images: Pool,
    *,
    settings: Settings,
    num_shards: int,
    seed: int,
) -> list[FileJob]:
    """Writes what goes into each file of a pool for the jobs to read; returns the jobs."""
    assignment = assign(pool, len(images), num_shards, seed=seed)
    intermediate = folder / f"{pool}{PLAN}"
    if intermediate.exists():  # of a killed conversion, or planted; all of it is written anew
        intermediate.rmtree()
    intermediate.mkdir(parents=True)
    jobs: list[FileJob] = []
    shards = images.shards(assignment, intermediate)
    for file, numbers, shard in zip(shard_names(pool, len(assignment)), assignment, shards, strict=True):
        plan = pickle.dumps((shard, settings))
        with whole(_plan_file(folder, file)) as temporary:
            temporary.write_bytes(plan)
        jobs.append(FileJob(str(folder), file, len(numbers), hashlib.sha256(plan).hexdigest()))
    return jobs


def _plan_file(folder: epath.Path, file: str) -> epath.Path:
    return folder / f"{file}{PLAN}"
