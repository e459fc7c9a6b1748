"""The passes over predictions, one job for each record file: counting hashes for the draw, and writing the labels.

A job writes what it found beside the new record files, so that jobs run in any process or on Beam; one that is finished is
not run again.
"""

import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image

from wss.data.checks import count_pixels
from wss.data.execution import Tick
from wss.data.files import write_text
from wss.data.folders import DONE
from wss.data.index import Entry
from wss.data.info import DatasetInfo
from wss.data.masks import encode_mask
from wss.data.records import RecordFiles
from wss.data.splits import records_of
from wss.data.writer import write_record_file
from wss.errors import UserError
from wss.labeling import policies, sampling
from wss.labeling.predictions import Predictions, load_arrays, save_arrays

PNGS = "pngs"
MASK, CONFIDENCE = "image/segmentation/class/encoded", "image/confidence/encoded"


@dataclasses.dataclass(frozen=True)
class SelectJob:
    """One pass over one part of the predictions.

    Attributes:
        predictions, info: of what, and the data set with the images.
        folder: to write to.
        seed: of the draw.
        selection, cut: what is kept, as far as it is known.
        write_pngs, write_confidences: see `write_pseudo_split`.
        part: record file of the predictions.
        file: name of the new record file.
    """

    predictions: Predictions
    info: DatasetInfo
    folder: str
    seed: int
    selection: policies.Selection
    cut: sampling.Cut
    write_pngs: bool
    write_confidences: bool
    part: str = ""
    file: str = ""

    @property
    def split(self) -> str:
        return self.predictions.content["split"]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that the result depends on."""
        cut = [dataclasses.astuple(search) for search in self.cut.searches]
        options = [self.seed, self.write_pngs, self.write_confidences, self.selection.to_json(), cut]
        return hashlib.sha256(f"{self.predictions.fingerprint}{json.dumps(options)}".encode()).hexdigest()

    def path(self, suffix: str) -> epath.Path:
        return epath.Path(self.folder) / f"{self.file}{suffix}"

    def images(self) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
        """Yields id, key of the draw, prediction and confidence of each image."""
        for name, prediction, confidence in self.predictions.read(self.part):
            yield name, sampling.image_key(self.seed, name), prediction, confidence


def count_part(job: SelectJob, tick: Tick) -> None:
    """Counts the hashes of one part, for the next cut."""
    path = job.path(".count.npz")
    if path.exists() and str(load_arrays(path)["fingerprint"]) == job.fingerprint:
        tick(job.predictions.parts[job.part])
        return
    partials = [sampling.Partial.empty(job.predictions.num_classes)]
    for _, key, prediction, confidence in job.images():
        partials.append(sampling.count(job.cut, job.selection, prediction, confidence, key))
        tick(1)
    partial = sampling.merge(partials)
    save_arrays(path, fingerprint=np.array(job.fingerprint), **vars(partial))


def partial_of(job: SelectJob) -> sampling.Partial:
    arrays = load_arrays(job.path(".count.npz"))
    return sampling.Partial(**{field.name: arrays[field.name] for field in dataclasses.fields(sampling.Partial)})


def write_part(job: SelectJob, tick: Tick) -> None:
    """Writes the record file of one part, and what was counted while doing so."""
    done = job.path(DONE)
    if done.exists() and json.loads(done.read_text())["fingerprint"] == job.fingerprint:
        tick(job.predictions.parts[job.part])
        return
    num_classes = job.predictions.num_classes
    counts, correct, known = np.zeros([3, num_classes], np.int64)
    digest = 0

    def examples() -> Iterator[tuple[bytes, Entry]]:
        nonlocal digest
        originals = _originals(job.info, job.split, job.part)
        for (serialized, entry), (name, key, prediction, confidence) in zip(originals, job.images(), strict=True):
            if entry.id != name:
                raise UserError(f"{job.predictions.folder}: has image {name!r} where the split has {entry.id!r}")
            label = sampling.label(prediction, confidence, key, job.selection, job.cut, job.info.ignore_label)
            example = tf.train.Example.FromString(serialized)
            if job.info.split(job.split).num_masks:
                truth = _truth(example, label.shape)
                known[:] += np.bincount(label[(truth < num_classes) & (label < num_classes)], minlength=num_classes)
                correct[:] += np.bincount(label[(truth == label) & (label < num_classes)], minlength=num_classes)
            counts[:] += np.bincount(label.ravel(), minlength=256)[:num_classes]
            digest += _digest(name, label)
            _set(example, MASK, encode_mask(label))
            _set(example, "image/segmentation/class/format", b"png")
            if job.write_confidences:
                _set(example, CONFIDENCE, _png(Image.fromarray(confidence.view(np.uint16))))
            if job.write_pngs:
                _write_png(epath.Path(job.folder) / PNGS / f"{name}.png", label, job.info)
            yield example.SerializeToString(deterministic=True), dataclasses.replace(entry, pixels=count_pixels(label))
            tick(1)

    write_record_file(job.path(""), examples())
    found = {"counts": counts.tolist(), "correct": correct.tolist(), "known": known.tolist(), "digest": f"{digest:x}"}
    write_text(done, json.dumps({"fingerprint": job.fingerprint, **found}))


def _originals(info: DatasetInfo, split: str, part: str) -> Iterator[tuple[bytes, Entry]]:
    """Yields the serialized examples of one record file of a split, with their entries in the index."""
    number = list(info.split(split).shards).index(part)
    entries = [record.entry for record in records_of(info, split) if record.file == part]
    serialized = RecordFiles(info, split).read(tf.constant(number, tf.int64)).as_numpy_iterator()
    return zip(serialized, entries, strict=True)


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


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _write_png(path: epath.Path, label: np.ndarray, info: DatasetInfo) -> None:
    """Writes class ids as a PNG with a palette, as PASCAL VOC's masks: of data and for the eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label)
    palette = np.full([256, 3], (224, 224, 192), np.uint8)
    palette[: info.num_classes] = info.colors
    image.putpalette(palette.tobytes())
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(_png(image))
    temporary.replace(path)
