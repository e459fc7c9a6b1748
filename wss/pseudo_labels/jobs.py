"""The passes over predictions, one job for each record file: counting hashes for the draw, and writing the labels.

A job writes what it found beside the new record files, so that jobs run in any process or on Beam; one that is finished is
not run again.
"""

import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image

from wss.conversion.writer import write_record_file
from wss.data.dataset_info import DatasetInfo
from wss.data.example import reason_of
from wss.data.masks import color_table, encode_mask
from wss.data.record_files import split_records
from wss.data.record_index import Entry, count_pixels
from wss.data.splits import records_of
from wss.errors import UserError
from wss.files import whole, write_text
from wss.jobs.output_folder import DONE
from wss.jobs.processes import Tick
from wss.methods.dars import exact_sampling as sampling
from wss.methods.dars import policies
from wss.pseudo_labels.prediction_store import Predictions, load_arrays, save_arrays

PNGS = "pngs"
MASK, CONFIDENCE = "image/segmentation/class/encoded", "image/confidence/encoded"


@dataclasses.dataclass(frozen=True)
class SelectJob:
    """One pass over one part of the predictions.

    Attributes:
        predictions: of this part.
        info: the data set with its images, see `only_file`.
        folder: to write to; what is finished there is of the same predictions, selection and options.
        file: name of the new record file.
        seed: of the draw.
        selection: what is kept.
        cut: of the draw, as far as it is known after `number` passes.
        number: of the pass, from 0.
        write_pngs, write_confidences: see `write_pseudo_split`.
    """

    predictions: Predictions
    info: DatasetInfo
    folder: str
    file: str
    seed: int
    selection: policies.Selection
    cut: sampling.Cut
    number: int
    write_pngs: bool
    write_confidences: bool

    @property
    def num_images(self) -> int:
        return sum(self.predictions.parts.values())

    @property
    def source(self) -> str:
        """The record file of the images."""
        return self.info.files(self.predictions.split)[0]

    @property
    def counts(self) -> epath.Path:
        return self.path(f".count-{self.number}.npz")

    def path(self, suffix: str) -> epath.Path:
        return epath.Path(self.folder) / f"{self.file}{suffix}"

    def images(self) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
        """Yields id, key of the draw, prediction and confidence of each image."""
        for part in self.predictions.parts:
            for name, prediction, confidence in self.predictions.read(part):
                yield name, sampling.image_key(self.seed, name), prediction, confidence

    def originals(self) -> Iterator[tuple[bytes, Entry]]:
        """Yields the serialized examples of the images, with their entries in the index."""
        split = self.predictions.split
        entries = [record.entry for record in records_of(self.info, split)]
        try:
            yield from zip(split_records(self.info, split).as_numpy_iterator(), entries, strict=True)
        except tf.errors.OpError as error:
            raise UserError(f"{self.source}: damaged ({reason_of(error)}); build the data set again") from error


def count_part(job: SelectJob, tick: Tick) -> None:
    """Counts the hashes of one part, for the next cut."""
    if job.counts.exists():
        tick(job.num_images)
        return
    partials = [sampling.Partial.empty(job.predictions.num_classes)]
    for _, key, prediction, confidence in job.images():
        partials.append(sampling.count(job.cut, job.selection, prediction, confidence, key))
        tick(1)
    save_arrays(job.counts, **vars(sampling.merge(partials)))


def partial_of(job: SelectJob) -> sampling.Partial:
    """Returns what `count_part` found."""
    return sampling.Partial(**load_arrays(job.counts))


def write_part(job: SelectJob, tick: Tick) -> None:
    """Writes the record file of one part, and what was counted while doing so."""
    done = job.path(DONE)
    if done.exists():
        tick(job.num_images)
        return
    found = _Found(job.predictions.num_classes, has_truth=job.info.split(job.predictions.split).num_masks > 0)

    def examples() -> Iterator[tuple[bytes, Entry]]:
        for original, image in itertools.zip_longest(job.originals(), job.images()):
            if original is None or image is None or original[1].id != image[0]:
                raise UserError(
                    f"{job.predictions.folder}: has predictions of other images than {job.source} now; give another "
                    "--predictions_dir, or remove the folder"
                )
            (serialized, entry), (_, key, prediction, confidence) = original, image
            label = sampling.label(prediction, confidence, key, job.selection, job.cut, job.info.ignore_label)
            example = tf.train.Example.FromString(serialized)
            found.add(entry.id, label, example)
            _set_labels(job, entry.id, example, label, confidence)
            yield (
                example.SerializeToString(deterministic=True),
                dataclasses.replace(entry, pixels=count_pixels(label)),
            )
            tick(1)

    write_record_file(job.path(""), examples())
    write_text(done, json.dumps(found.to_json()))


def _set_labels(
    job: SelectJob, name: str, example: tf.train.Example, label: np.ndarray, confidence: np.ndarray
) -> None:
    """Makes the pseudo label the mask of an example, and writes what is wanted besides."""
    _set(example, MASK, encode_mask(label))
    _set(example, "image/segmentation/class/format", b"png")
    if job.write_confidences:
        _set(example, CONFIDENCE, encode_mask(confidence.view(np.uint16)))
    if job.write_pngs:
        _write_png(epath.Path(job.folder) / PNGS / f"{name}.png", label, job.info)


class _Found:
    """What is counted of the labels of some images.

    Args:
        num_classes: C.
        has_truth: the images have masks all the same, to compare with for monitoring.
    """

    def __init__(self, num_classes: int, has_truth: bool):
        self.num_classes, self.has_truth = num_classes, has_truth
        self.counts, self.correct, self.known = np.zeros([3, num_classes], np.int64)
        self.digest = 0

    def add(self, name: str, label: np.ndarray, original: tf.train.Example) -> None:
        count = lambda chosen: np.bincount(label[chosen], minlength=self.num_classes)
        labeled = label < self.num_classes
        self.counts += count(labeled)
        self.digest += _digest(name, label)
        if self.has_truth:
            truth = _truth(original, label.shape)
            self.known += count(labeled & (truth < self.num_classes))
            self.correct += count(labeled & (truth == label))

    def to_json(self) -> dict:
        arrays = {name: getattr(self, name).tolist() for name in ("counts", "correct", "known")}
        return {**arrays, "digest": f"{self.digest:x}"}


def _truth(example: tf.train.Example, shape: tuple[int, ...]) -> np.ndarray:
    """The mask that an image has all the same, for monitoring; 255 everywhere if it has none."""
    encoded = example.features.feature[MASK].bytes_list.value
    if not encoded or not encoded[0]:
        return np.full(shape, 255, np.uint8)
    return np.asarray(Image.open(io.BytesIO(encoded[0])))


def _digest(name: str, label: np.ndarray) -> int:
    """A number of an image and its label; their sum over images does not depend on any order."""
    digest = hashlib.blake2b(f"{name}/{label.shape}/".encode(), digest_size=16)
    digest.update(label.tobytes())
    return int.from_bytes(digest.digest(), "little")


def _set(example: tf.train.Example, name: str, value: bytes) -> None:
    example.features.feature[name].bytes_list.value[:] = [value]


def _write_png(path: epath.Path, label: np.ndarray, info: DatasetInfo) -> None:
    """Writes class ids as a PNG with a palette, as PASCAL VOC's masks: of data and for the eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label)
    image.putpalette(color_table(info.colors, info.ignore_label).tobytes())
    with whole(path) as temporary, temporary.open("wb") as file:
        image.save(file, "PNG")
