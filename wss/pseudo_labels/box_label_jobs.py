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
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from etils import epath

from wss.conversion.writer import write_record_file
from wss.data.companions import with_second_mask
from wss.data.dataset_info import DatasetInfo
from wss.data.example import IMAGE
from wss.data.masks import encode_mask
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.data.record_index import Entry, count_pixels
from wss.data.splits import records_of
from wss.jobs.processes import Tick
from wss.jobs.restartable import done_file, result_of, run_once
from wss.jobs.worker_pool import Submit, worker_pool
from wss.methods.bap_nal.box_masks import filled_boxes
from wss.pseudo_labels.box_crf import masks_of
from wss.pseudo_labels.box_labeler import BoxLabeler, Seen, boxes_of
from wss.pseudo_labels.labeled_records import PNGS, digest, set_mask, true_mask, write_png
from wss.pseudo_labels.teacher import TeacherDescription

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

    def records(self) -> Iterator[tuple[bytes, Entry]]:
        """Yields the serialized examples, with their entries in the index."""
        entries = [record.entry for record in records_of(self.info, self.split)]
        with damage_told((self.info, self.split)):
            yield from zip(split_records(self.info, self.split).as_numpy_iterator(), entries, strict=True)


class Labeled(NamedTuple):
    """A photo with its masks, in class ids, uint8 [H, W], by source; 255 where nothing is known."""

    serialized: bytes
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
    waiting: collections.deque[tuple[bytes, Entry, Seen, Future]] = collections.deque()
    held = lambda: sum(seen.places.allowed.size for _, _, seen, _ in waiting) * FLOAT_BYTES

    def first() -> Labeled:
        serialized, entry, seen, future = waiting.popleft()
        plain, crf = future.result()
        masks = _masks(labeler, seen, plain=plain, crf=crf, ignore_label=job.info.ignore_label)
        return Labeled(serialized, entry, masks)

    settings = labeler.crf if labeler.settings.use_crf else None
    for serialized, entry in job.records():
        boxes = boxes_of(serialized, num_classes=job.info.num_classes)
        seen, probabilities = labeler.see(_image_of(serialized), boxes)
        # Only the masks come back. What they are made of, of a large photo 100 MB, waits for its process.
        future = submit(masks_of, probabilities, seen.image, seen.places.allowed, settings)
        del probabilities
        waiting.append((serialized, entry, seen, future))
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
    example = tf.train.Example.FromString(labeled.serialized)
    found.add(labeled, example)
    mask, second = labeled.masks["Y_crf"], labeled.masks["Y_ret"]
    set_mask(example, mask)
    if job.write_pngs:
        for folder, label in (("crf", mask), ("ret", second)):
            write_png(epath.Path(job.folder) / PNGS / folder / f"{labeled.entry.id}.png", label, job.info)
    serialized = with_second_mask(example.SerializeToString(deterministic=True), encode_mask(second))
    tick(1)
    return serialized, dataclasses.replace(labeled.entry, pixels=count_pixels(mask))


class _Found:
    """Counts over the images of one job, which may have masks all the same, to compare with."""

    def __init__(self, job: BoxLabelJob):
        self.info, self.split = job.info, job.split
        self.digest, self.pixels, self.agreed = 0, 0, 0
        self.has_truth = job.info.split(job.split).num_masks > 0
        # What is in no class is a column of its own: those pixels are missed.
        classes = job.info.num_classes
        self.confusion = {name: np.zeros([classes, classes + 1], np.int64) for name in SOURCES if self.has_truth}

    def add(self, labeled: Labeled, original: tf.train.Example) -> None:
        """Counts one image, whose example has its true mask if there is one."""
        masks = labeled.masks
        self.digest += digest(labeled.entry.id, masks["Y_crf"], masks["Y_ret"])
        known = masks["Y_crf"] != self.info.ignore_label
        self.pixels += int(np.count_nonzero(known))
        self.agreed += int(np.count_nonzero(known & (masks["Y_crf"] == masks["Y_ret"])))
        if self.has_truth:
            with damage_told((self.info, self.split)):
                truth = true_mask(original, masks["Y_crf"].shape, self.info)
            classes = self.info.num_classes
            known = truth < classes
            for name, confusion in self.confusion.items():
                predicted = np.minimum(masks[name][known], classes).astype(np.int64)
                pairs = truth[known].astype(np.int64) * (classes + 1) + predicted
                confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)

    def to_json(self) -> dict:
        """Returns what JSON can hold."""
        confusion = {name: values.tolist() for name, values in self.confusion.items()}
        return {"digest": f"{self.digest:x}", "pixels": self.pixels, "agreed": self.agreed, "confusion": confusion}


def _image_of(serialized: bytes) -> np.ndarray:
    """Returns the image of a record, uint8 [H, W, 3]."""
    (encoded,) = tf.train.Example.FromString(serialized).features.feature[IMAGE].bytes_list.value
    with tf.device("CPU:0"):
        return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
