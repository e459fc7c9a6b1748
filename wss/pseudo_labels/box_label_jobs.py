"""Masks from boxes, one job for each record file: the network here, the CRF in other processes, records in order.

A job that is finished is not done again. No image depends on another, so that neither the number of processes nor Beam
changes a byte.
"""

import collections
import dataclasses
import functools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from etils import epath

from wss.conversion.writer import write_record_file
from wss.data.companions import SECOND_MASK
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.masks import encode_mask
from wss.data.record_files import split_records
from wss.data.record_index import Entry, count_pixels
from wss.jobs.processes import Tick
from wss.jobs.restartable import done_file, result_of, run_once
from wss.jobs.worker_pool import Submit, worker_pool
from wss.methods.bap_nal.box_masks import filled_boxes
from wss.pseudo_labels.box_crf import masks_of
from wss.pseudo_labels.box_labeler import BoxLabeler, Seen, boxes_in
from wss.pseudo_labels.labeled_records import PNGS, digest, indexed, set_bytes, set_mask
from wss.pseudo_labels.teacher import TeacherDescription
from wss.visualization.picture_files import save_index_png

# What is compared with true masks, from the simplest on.
SOURCES = ("filled boxes", "without CRF", "Y_crf", "Y_ret", "both agree")
FLOAT_BYTES, MOST_HELD = 4, 2**29  # of the probabilities of photos that wait
_ACCELERATORS = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxLabelJob:
    """The work on one record file.

    Attributes:
        teacher: The run of the box classifier, in words.
        info: The data set with its images, see `only_file`.
        split: Name of the split.
        folder: Folder to write to.
        file: Name of the new record file.
        fingerprint: Text that differs for another network, other settings or other images.
        write_pngs: Whether to write the masks as PNGs too.
    """

    teacher: TeacherDescription
    info: DatasetInfo
    split: str
    folder: str
    file: str
    fingerprint: str
    write_pngs: bool = True

    @property
    def num_images(self) -> int:
        """Number of images in the record file."""
        return self.info.split(self.split).num_examples

    @property
    def done(self) -> epath.Path:
        """The file that says what the job found."""
        return done_file(epath.Path(self.folder), self.file)

    @property
    def has_truth(self) -> bool:
        """Whether the images have masks all the same, to compare with."""
        return self.info.split(self.split).num_masks > 0

    def photos(self) -> Iterator[tuple[dict[str, Any], Entry]]:
        """Yields what `_parsed` makes of each record, with its entry in the index; a damaged record is told."""
        records = split_records(self.info, self.split)
        return indexed(
            records.map(self._parsed, num_parallel_calls=2, deterministic=True).prefetch(2), self.info, self.split
        )

    def _parsed(self, serialized: tf.Tensor) -> dict[str, Any]:
        """Returns a record with its image, its label (all ignored without a true mask) and its objects."""
        info = self.info
        example = parse_example(
            serialized,
            info.num_classes,
            info.has_background,
            ignore_label=info.ignore_label,
            use_mask=self.has_truth,
            max_size=info.split(self.split).max_size,
        )
        objects = parse_boxes(serialized, info.num_classes, info.has_background)
        return {"serialized": serialized, "image": example["image"], "label": example["label"], "objects": objects}


class Labeled(NamedTuple):
    """A photo with its masks, in class ids, uint8 [H, W], by source; 255 where nothing is known.

    Attributes:
        photo: What `BoxLabelJob.photos` yielded.
        entry: Its entry in the index.
        masks: Its masks.
    """

    photo: dict[str, Any]
    entry: Entry
    masks: dict[str, np.ndarray]


def write_part(job: BoxLabelJob, tick: Tick, *, labeler: BoxLabeler, submit: Submit, ahead: int = 1) -> None:
    """Writes the record file of a job with both masks in each record, unless that is done.

    Args:
        job: The job.
        tick: Function that is called with the number of images that are done.
        labeler: The network.
        submit: Function that runs the CRF, see `worker_pool`.
        ahead: Number of photos whose CRF may run at once.
    """

    def write() -> dict:
        found = _Found(job)
        labeled = _labeled(job, labeler, submit, ahead)
        write_record_file(epath.Path(job.folder) / job.file, (_written(job, one, found, tick) for one in labeled))
        return found.to_json()

    if not run_once(job.done, job.fingerprint, write):
        tick(job.num_images)


def label_part(job: BoxLabelJob, tick: Tick) -> None:
    """Does a job in whatever process it is called, as on Beam."""
    with _ACCELERATORS, worker_pool(0) as submit:
        write_part(job, tick, labeler=_opened_here(job.teacher), submit=submit)


@functools.lru_cache(1)
def _opened_here(description: TeacherDescription) -> BoxLabeler:
    """Opens a network once for all jobs that a worker process is given."""
    return BoxLabeler(description.open())


def found_by(job: BoxLabelJob) -> dict:
    """Returns what a finished job counted."""
    return result_of(job.done)


def _labeled(job: BoxLabelJob, labeler: BoxLabeler, submit: Submit, ahead: int) -> Iterator[Labeled]:
    """Yields the photos of a job in order; the network works on those that follow while the CRF runs."""
    waiting: collections.deque[tuple[dict[str, Any], Entry, Seen, Future]] = collections.deque()
    held = lambda: sum(seen.places.allowed.size for _, _, seen, _ in waiting) * FLOAT_BYTES

    def first() -> Labeled:
        photo, entry, seen, future = waiting.popleft()
        plain, crf = future.result()
        return Labeled(photo, entry, _masks(labeler, seen, plain=plain, crf=crf, ignore_label=job.info.ignore_label))

    settings = labeler.crf if labeler.settings.use_crf else None
    for photo, entry in job.photos():
        image = photo["image"]
        seen, probabilities = labeler.see(image, boxes_in(photo["objects"], image.shape[:2]))
        # Only the masks come back. What they are made of, of a large photo 100 MB, waits for its process.
        future = submit(masks_of, probabilities, image, seen.places.allowed, settings)
        del probabilities
        waiting.append((photo, entry, seen, future))
        while len(waiting) > ahead or (len(waiting) > 1 and held() > MOST_HELD):
            yield first()
    while waiting:
        yield first()


def _masks(
    labeler: BoxLabeler, seen: Seen, *, plain: np.ndarray, crf: np.ndarray, ignore_label: int
) -> dict[str, np.ndarray]:
    """Returns the masks of a photo in class ids, by source, from those without and with the CRF in its own numbers."""
    places, retrieved = seen.places, labeler.retrieve(seen, crf)
    agreed = np.where(crf == retrieved, crf, np.uint8(255))
    table = np.full(256, ignore_label, np.uint8)
    table[: len(places.classes)] = places.classes
    numbers = (filled_boxes(places), plain, crf, retrieved, agreed)
    masks = {name: table[mask] for name, mask in zip(SOURCES, numbers, strict=True)}
    return {name: np.where(places.unknown, np.uint8(ignore_label), mask) for name, mask in masks.items()}


def _written(job: BoxLabelJob, labeled: Labeled, found: "_Found", tick: Tick) -> tuple[bytes, Entry]:
    """Returns the record with its new masks, and writes them as PNGs."""
    found.add(labeled)
    mask, second = labeled.masks["Y_crf"], labeled.masks["Y_ret"]
    if job.write_pngs:
        for folder, label in (("crf", mask), ("ret", second)):
            save_index_png(epath.Path(job.folder) / PNGS / folder / f"{labeled.entry.id}.png", label, job.info)
    example = tf.train.Example.FromString(labeled.photo["serialized"])
    set_mask(example, mask)
    set_bytes(example, SECOND_MASK, encode_mask(second))
    tick(1)
    return example.SerializeToString(deterministic=True), dataclasses.replace(labeled.entry, pixels=count_pixels(mask))


class _Found:
    """Counts over the images of one job, which may have masks all the same, to compare with."""

    def __init__(self, job: BoxLabelJob):
        self.classes, self.ignore_label = job.info.num_classes, job.info.ignore_label
        self.digest, self.pixels, self.agreed = 0, 0, 0
        # What is in no class is a column of its own: those pixels are missed.
        shape = self.classes, self.classes + 1
        self.confusion = {name: np.zeros(shape, np.int64) for name in SOURCES if job.has_truth}

    def add(self, labeled: Labeled) -> None:
        """Counts one photo."""
        masks, truth = labeled.masks, labeled.photo["label"][..., 0]
        self.digest += digest(labeled.entry.id, masks["Y_crf"], masks["Y_ret"])
        known = masks["Y_crf"] != self.ignore_label
        self.pixels += int(np.count_nonzero(known))
        self.agreed += int(np.count_nonzero(known & (masks["Y_crf"] == masks["Y_ret"])))
        known = (truth < self.classes) & (truth != self.ignore_label)
        for name, confusion in self.confusion.items():
            predicted = np.minimum(masks[name][known], self.classes).astype(np.int64)
            pairs = truth[known].astype(np.int64) * (self.classes + 1) + predicted
            confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)

    def to_json(self) -> dict:
        """Returns what JSON can hold."""
        confusion = {name: values.tolist() for name, values in self.confusion.items()}
        return {"digest": f"{self.digest:x}", "pixels": self.pixels, "agreed": self.agreed, "confusion": confusion}
