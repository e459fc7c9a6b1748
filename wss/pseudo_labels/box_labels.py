"""Labels images from their boxes, as `wss-label --policy=boxes` does: a data set with two masks in each record."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Sequence

import numpy as np
from etils import epath

from wss.conversion.writer import shard_names
from wss.data.dataset_info import FILE_NAME, DatasetInfo
from wss.data.record_damage import check_unique, validate_records
from wss.data.splits import entries_of, num_with_boxes, only_file
from wss.errors import UserError
from wss.jobs.output_folder import replacing
from wss.jobs.restartable import keep_same_plan
from wss.jobs.runner import Runner
from wss.jobs.worker_pool import worker_pool
from wss.ops.metrics import iou_per_class
from wss.progress import track
from wss.pseudo_labels.box_label_jobs import SOURCES, BoxLabelJob, found_by, label_part, write_part
from wss.pseudo_labels.box_labeler import BoxLabeler
from wss.pseudo_labels.box_panels import PANELS, draw_panels
from wss.pseudo_labels.dataset_writer import SPLIT, finish_dataset
from wss.pseudo_labels.labeled_records import PNGS
from wss.pseudo_labels.teacher import Teacher
from wss.tables import format_table

AHEAD = 2  # photos of each process that wait for their CRF


def label_boxes(
    teacher: Teacher,
    split: str,
    *,
    output_dir: str,
    runner: Runner = Runner(),  # noqa: B008  frozen
    overwrite: bool = False,
    write_pngs: bool = True,
) -> dict:
    """Writes a split with masks that `BoxMasks` makes of its boxes: Y_crf as the mask, Y_ret as the second mask.

    Args:
        teacher: An open run of `BoxClassification`.
        split: Name of the split to label.
        output_dir: Folder of the new data set; its split is called "pseudo".
        runner: Where the jobs run. On this machine the network works in this process and the CRF in `workers` others.
        overwrite: Whether to replace a data set in `output_dir`.
        write_pngs: Whether to write the masks as PNGs too, and a page of panels.

    Returns:
        The manifest.

    Raises:
        UserError: The run is of another method, or the objects of an image are unknown.
    """
    labeler, info = BoxLabeler(teacher), teacher.run.info
    check_boxes(info, split)
    content = _content(teacher, labeler, split)
    with replacing(output_dir, overwrite, content_file=FILE_NAME) as folder:
        jobs = _planned(folder, teacher, split, content=content, write_pngs=write_pngs)
        _run(jobs, labeler, runner)
        manifest = {
            "policy": "boxes",
            "labels": content,
            "operative_config": teacher.config,
            "classes": list(info.class_names),
            **_summary(jobs, info),
        }
        draw = functools.partial(draw_panels, folder / PNGS / PANELS, split=SPLIT, original=info, original_split=split)
        finish_dataset(
            folder,
            info,
            manifest,
            files=[job.file for job in jobs],
            has_pngs=write_pngs,
            draw=draw if write_pngs else None,
        )
    print(summary(manifest, output_dir))
    return manifest


def _content(teacher: Teacher, labeler: BoxLabeler, split: str) -> dict:
    """Returns what the masks are of: what predictions say of themselves, and how masks are made."""
    content = teacher.predictions("", split).content
    of_predictions = ("labeling", "temperature", "temperature_fitted_on")
    return {
        **{name: value for name, value in content.items() if name not in of_predictions},
        "box_masks": dataclasses.asdict(labeler.settings),
        "crf": dataclasses.asdict(labeler.crf),
    }


def check_boxes(info: DatasetInfo, split: str, *, parameter: str = "--split") -> None:
    """Checks that all objects of a split are known.

    Args:
        info: The data set.
        split: Name of the split.
        parameter: What the split was given by, for the message.

    Raises:
        UserError: They are not, or a record is damaged, or an id is there twice.
    """
    total = info.split(split).num_examples
    if (known := num_with_boxes(info, split)) < total:
        raise UserError(
            f"{parameter} = {split!r}: the objects of {known} of its {total} images are known; "
            "masks are made of images with boxes"
        )
    validate_records(info, split)
    check_unique(info, split, (entry.id for entry in entries_of(info, split)), set())


def _planned(folder: epath.Path, teacher: Teacher, split: str, *, content: dict, write_pngs: bool) -> list[BoxLabelJob]:
    """Returns a job for each record file, in a folder that has nothing of another plan."""
    info = teacher.run.info
    parts = info.split(split).shards
    files = dict(zip(parts, shard_names(SPLIT, len(parts)), strict=True))
    # Ids alone do not tell boxes that were mended and records that were built again.
    stats = [(epath.Path(info.directory) / part).stat() for part in parts]
    plan = json.dumps([content, files, [[stat.length, stat.mtime] for stat in stats], write_pngs], sort_keys=True)
    fingerprint = hashlib.sha256(plan.encode()).hexdigest()
    keep_same_plan(folder, fingerprint)
    return [
        BoxLabelJob(
            teacher=teacher.description,
            info=only_file(info, split, part),
            split=split,
            folder=str(folder),
            file=file,
            fingerprint=fingerprint,
            write_pngs=write_pngs,
        )
        for part, file in files.items()
    ]


def _run(jobs: Sequence[BoxLabelJob], labeler: BoxLabeler, runner: Runner) -> None:
    """Does the jobs, one after the other here, or on Beam."""
    total = sum(job.num_images for job in jobs)
    if runner.beam_pipeline_options is not None:
        runner(label_part, jobs, "labelling", total=total, accelerators=True)
        return
    workers = min(runner.workers or os.cpu_count() or 1, total)
    images = track(range(total), "labelling", total)

    def tick(count: int) -> None:
        collections.deque(itertools.islice(images, count), maxlen=0)

    with worker_pool(workers) as submit:
        for job in jobs:
            write_part(job, tick, labeler=labeler, submit=submit, ahead=AHEAD * workers)
    next(images, None)


def _summary(jobs: Sequence[BoxLabelJob], info: DatasetInfo) -> dict:
    """Returns what the manifest says of the masks."""
    found = [found_by(job) for job in jobs]
    confusion = {
        name: np.sum([part["confusion"][name] for part in found], axis=0) for name in SOURCES if found[0]["confusion"]
    }
    scores = {name: _scores(values, info) for name, values in confusion.items() if values.any()}
    digest = sum(int(part["digest"], 16) for part in found) % 2**128
    return {
        "num_images": sum(job.num_images for job in jobs),
        "num_pixels": sum(part["pixels"] for part in found),
        "agreed": sum(part["agreed"] for part in found),
        # Against masks that the split has all the same; empty without.
        "scores": scores,
        "checksum": f"{digest:032x}",
    }


def _scores(confusion: np.ndarray, info: DatasetInfo) -> dict:
    """Returns IoU by class and their mean, and the accuracy where there is a label, for int64 [C, C + 1]."""
    square = np.concatenate([confusion, np.zeros([1, confusion.shape[1]], np.int64)])
    iou = iou_per_class(square)[:-1]
    labeled = confusion[:, :-1]
    return {
        "mean_iou": float(np.nanmean(iou)),
        "iou": {
            name: None if np.isnan(value) else float(value) for name, value in zip(info.class_names, iou, strict=True)
        },
        "labeled": float(labeled.sum() / confusion.sum()),
        "accuracy": float(np.trace(labeled) / max(labeled.sum(), 1)),
    }


def summary(manifest: dict, output_dir: str) -> str:
    """Returns a table of the masks against the true ones, if there are any, and the figures under it."""
    headers, rows = summary_table(manifest)
    return "\n".join([*([format_table(headers, rows), ""] if rows else []), *summary_facts(manifest, output_dir)])


def summary_table(manifest: dict) -> tuple[Sequence[str], list[tuple]]:
    """Returns the headers and the rows of the masks against the true ones; no rows without these."""
    rows = [
        (name, *(100 * scores[key] for key in ("mean_iou", "labeled", "accuracy")))
        for name, scores in manifest["scores"].items()
    ]
    return ("masks", "mIoU", "labelled %", "right %"), rows


def summary_facts(manifest: dict, output_dir: str) -> list[str]:
    """Returns the figures of all masks, in two lines."""
    share = 100 * manifest["agreed"] / max(manifest["num_pixels"], 1)
    return [
        f"Y_crf and Y_ret agree on {share:.2f} % of the pixels",
        f"{manifest['num_images']} images in {output_dir}, split {SPLIT}",
    ]
