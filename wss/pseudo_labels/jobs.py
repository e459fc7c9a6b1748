"""The passes over predictions, one job for each record file: counting hashes for random subsets, writing the labels.

A job writes what it found beside the new record files, so that jobs run in any process or on Beam. One that is finished is
not run again.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from etils import epath

from wss.conversion.writer import write_record_file
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import encode_mask
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.data.record_index import Entry, count_pixels
from wss.errors import UserError
from wss.jobs.processes import Tick
from wss.jobs.restartable import done_file, result_of, run_once
from wss.methods.dars import exact_sampling as sampling
from wss.methods.dars import policies
from wss.pseudo_labels.labeled_records import PNGS, digest, indexed, set_bytes, set_mask, true_mask
from wss.pseudo_labels.prediction_store import Predictions, load_arrays, save_arrays
from wss.visualization.picture_files import save_index_png

CONFIDENCE = "image/confidence/encoded"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelJob:
    """The work on one record file: passes that count hashes, then the labels.

    Attributes:
        predictions: The predictions of this record file alone.
        info: The data set with its images, see `only_file`.
        folder: Folder to write to.
        file: Name of the new record file.
        fingerprint: Text that differs for other predictions, another selection or other options.
        seed: Seed of the random subsets.
        selection: What is kept.
        limits: The limits of the random subsets, as far as they are known after `pass_number` passes.
        pass_number: Number of the pass, from 0.
        write_pngs: Whether to write the labels as PNGs too.
        write_confidences: Whether to keep the confidences in the records.
    """

    predictions: Predictions
    info: DatasetInfo
    folder: str
    file: str
    fingerprint: str
    seed: int
    selection: policies.Selection
    limits: sampling.HashLimits
    pass_number: int = 0
    write_pngs: bool = True
    write_confidences: bool = False

    @property
    def num_images(self) -> int:
        """Number of images in the record file."""
        return sum(self.predictions.parts.values())

    @property
    def source(self) -> str:
        """The record file of the images."""
        return self.info.files(self.predictions.split)[0]

    @property
    def record_file(self) -> epath.Path:
        """The new record file."""
        return epath.Path(self.folder) / self.file

    @property
    def done(self) -> epath.Path:
        """The file that says what `write_part` found."""
        return done_file(epath.Path(self.folder), self.file)

    @property
    def counts(self) -> epath.Path:
        """The file with what `count_part` counted in this pass."""
        return epath.Path(self.folder) / f"{self.file}.count-{self.pass_number}.npz"

    def images(self) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray, int]]]:
        """Yields the id of each image, and its prediction, confidence and key of hashes."""
        for part in self.predictions.parts:
            for name, prediction, confidence in self.predictions.read(part):
                yield name, (prediction, confidence, sampling.image_key(self.seed, name))

    def originals(self) -> Iterator[tuple[bytes, Entry]]:
        """Yields the serialized examples of the images, with their entries in the index."""
        split = self.predictions.split
        return indexed(split_records(self.info, split), self.info, split)


def count_part(job: LabelJob, tick: Tick) -> None:
    """Counts the hashes of one record file, for the next limits; the job of a pass."""

    def count() -> dict:
        found = [sampling.HashCounts.empty(job.predictions.num_classes)]
        for _, image in job.images():
            found.append(sampling.count(*image, selection=job.selection, limits=job.limits))
            tick(1)
        save_arrays(job.counts, **vars(sampling.merge(found)))
        return {}

    if not run_once(done_file(job.counts.parent, job.counts.name), job.fingerprint, count):
        tick(job.num_images)


def counts_of(job: LabelJob) -> sampling.HashCounts:
    """Returns what `count_part` counted."""
    return sampling.HashCounts(**load_arrays(job.counts))


def write_part(job: LabelJob, tick: Tick) -> None:
    """Writes the record file of one job, and what was counted while doing so."""

    def write() -> dict:
        found = _Found(job)
        write_record_file(job.record_file, _labeled_examples(job, found, tick))
        return found.to_json()

    if not run_once(job.done, job.fingerprint, write):
        tick(job.num_images)


def found_by(job: LabelJob) -> dict:
    """Returns what `write_part` counted, see `_Found`."""
    return result_of(job.done)


def _labeled_examples(job: LabelJob, found: "_Found", tick: Tick) -> Iterator[tuple[bytes, Entry]]:
    """Yields the examples with their pseudo labels, and counts them in `found`."""
    for original, image in itertools.zip_longest(job.originals(), job.images()):
        if original is None or image is None or original[1].id != image[0]:
            raise UserError(
                f"{job.predictions.folder}: has predictions of other images than {job.source} now; give another "
                "--predictions_dir, or remove the folder"
            )
        (serialized, entry), (_, predicted) = original, image
        label = sampling.label(
            *predicted, selection=job.selection, limits=job.limits, ignore_label=job.info.ignore_label
        )
        example = tf.train.Example.FromString(serialized)
        found.add(entry.id, label, example)
        _set_labels(job, entry.id, example, label=label, confidence=predicted[1])
        yield example.SerializeToString(deterministic=True), dataclasses.replace(entry, pixels=count_pixels(label))
        tick(1)


def _set_labels(job: LabelJob, name: str, example: tf.train.Example, label: np.ndarray, confidence: np.ndarray) -> None:
    """Makes the pseudo label the mask of an example, and writes what is wanted besides."""
    set_mask(example, label)
    if job.write_confidences:
        set_bytes(example, CONFIDENCE, encode_mask(confidence.view(np.uint16)))
    if job.write_pngs:
        save_index_png(epath.Path(job.folder) / PNGS / f"{name}.png", label, job.info)


class _Found:
    """The counts of the labels of the images of one job, which may have masks all the same, to compare with."""

    def __init__(self, job: LabelJob):
        self.num_classes, self._source = job.predictions.num_classes, (job.info, job.predictions.split)
        self.has_truth = job.info.split(job.predictions.split).num_masks > 0
        self.counts, self.correct, self.known = np.zeros([3, self.num_classes], np.int64)
        self.digest = 0

    def add(self, name: str, label: np.ndarray, original: tf.train.Example) -> None:
        """Counts one image, whose example has its true mask if there is one."""

        def count(chosen: np.ndarray) -> np.ndarray:
            return np.bincount(label[chosen], minlength=self.num_classes)

        labeled = label < self.num_classes
        self.counts += count(labeled)
        self.digest += digest(name, label)
        if self.has_truth:
            with damage_told(self._source):
                truth = true_mask(original, label.shape, self._source[0])
            self.known += count(labeled & (truth < self.num_classes))
            self.correct += count(labeled & (truth == label))

    def to_json(self) -> dict:
        """Returns what JSON can hold: counts by class, and the digest of the labels."""
        arrays = {name: getattr(self, name).tolist() for name in ("counts", "correct", "known")}
        return {**arrays, "digest": f"{self.digest:x}"}
