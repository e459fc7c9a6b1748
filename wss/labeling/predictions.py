"""Predictions of a split on disk: class and confidence of every pixel, 3 bytes, with their histogram.

There is one file for each record file of the split, so that labelling can be spread, stopped and continued by files, and
so that other policies can select from the same predictions.
"""

import dataclasses
import functools
import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import tensorflow as tf
from etils import epath

from wss.data.execution import Tick
from wss.data.files import unique_name, write_text
from wss.data.folders import disk_errors
from wss.data.info import DatasetInfo
from wss.data.records import RecordFiles
from wss.data.schema import parse_example
from wss.data.splits import records_of
from wss.errors import UserError
from wss.labeling import calibration
from wss.labeling.confidence import histogram, of_logits
from wss.labeling.teacher import Labeling, Photo, Teacher
from wss.progress import track
from wss.training.restore import OpenRun, open_run
from wss.training.strategy import build_strategy

CONTENT = "predictions.json"
MAX_PIXELS = 1_000_000  # to fit a temperature on


@dataclasses.dataclass(frozen=True)
class TeacherSpec:
    """Which trained run labels, in words that another process can open it by; see `open_run` and `build_strategy`."""

    run_dir: str
    parameters: tuple[str, ...] = ()
    strategy: str = "mirrored"
    tpu: str = ""


@functools.lru_cache(1)
def open_teacher(spec: TeacherSpec) -> tuple[OpenRun, tf.distribute.Strategy, Labeling]:
    """Opens a run once in each process."""
    strategy = build_strategy(spec.strategy, spec.tpu)
    run = open_run(spec.run_dir, list(spec.parameters), strategy)
    return run, strategy, Labeling()


@functools.lru_cache(1)
def _teacher(spec: TeacherSpec, split: str) -> Teacher:
    run, strategy, settings = open_teacher(spec)
    sizes = {record.entry.size for record in records_of(run.info, split)}
    return Teacher(run.model, strategy, run.model.mean_pixel, settings, sizes)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of one split in a folder.

    Attributes:
        folder: of the files.
        content: what they are of: teacher, settings, split.
        parts: record file of the split -> number of its images.
        num_classes: C.
    """

    folder: str
    content: dict
    parts: dict[str, int]
    num_classes: int

    @classmethod
    def of(cls, folder: str, spec: TeacherSpec, split: str, temperature: float) -> "Predictions":
        """Describes the predictions of a teacher, and makes their folder, or checks that it is of the same ones.

        Raises:
            UserError: the folder has others.
        """
        run, _, settings = open_teacher(spec)
        content = {
            "teacher": {"run_dir": spec.run_dir, "weights": run.weights, "step": run.step, "checksum": _checksum(run)},
            "dataset": run.info.directory,
            "split": split,
            "split_checksum": run.info.split(split).checksum,
            "labeling": json.loads(json.dumps(dataclasses.asdict(settings))),
            "temperature": temperature,
        }
        file = epath.Path(folder) / CONTENT
        if file.exists():
            _check_same(json.loads(file.read_text()), content, folder)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(content, indent=1) + "\n")
        return cls(str(folder), content, dict(run.info.split(split).shards), run.info.num_classes)

    @property
    def fingerprint(self) -> str:
        """Differs between predictions of other weights, settings or images."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    def missing(self) -> list[str]:
        """Returns the parts that are not predicted yet."""
        return [part for part in self.parts if not self._path(part, ".histogram.npz").exists()]

    def writing(self, part: str, predicted: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> Iterator[str]:
        """Writes a part: (id, prediction uint8 [H, W], confidence float16 [H, W]) of its images; yields each id."""
        path, counts = self._path(part, ".predictions"), np.zeros(1, np.int64)
        temporary = unique_name(path)
        with disk_errors(path):
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for name, prediction, confidence in predicted:
                    counts = counts + histogram(prediction, confidence, self.num_classes)
                    writer.write(_serialized(name, prediction, confidence))
                    yield name
            temporary.replace(path)
            # Last, for it tells that the part is done.
            save_arrays(self._path(part, ".histogram.npz"), counts=counts)

    def read(self, part: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yields what `writing` was given."""
        for record in tf.data.TFRecordDataset(str(self._path(part, ".predictions"))).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            shape = tuple(feature["size"].int64_list.value)
            array = lambda name, dtype: np.frombuffer(feature[name].bytes_list.value[0], dtype).reshape(shape)  # noqa: B023
            name = feature["name"].bytes_list.value[0].decode()
            yield name, array("prediction", np.uint8), array("confidence", np.float16)

    def histogram(self) -> np.ndarray:
        """Returns the sum over all parts, int64 [C, 15361]; all are predicted."""
        total = np.zeros(1, np.int64)
        for part in self.parts:
            total = total + load_arrays(self._path(part, ".histogram.npz"))["counts"]
        return total

    def _path(self, part: str, suffix: str) -> epath.Path:
        return epath.Path(self.folder) / f"{part}{suffix}"


@dataclasses.dataclass(frozen=True)
class PredictJob:
    """One part to predict, by `predict_part`."""

    spec: TeacherSpec
    predictions: Predictions
    part: str


def predict_part(job: PredictJob, tick: Tick) -> None:
    """Predicts the images of one record file; the job of `execution.run_jobs`."""
    for _ in predicting(job):
        tick(1)


def predicting(job: PredictJob) -> Iterator[str]:
    """Predicts the images of one record file and yields the id of each one that is written."""
    run, _, _ = open_teacher(job.spec)
    split, temperature = job.predictions.content["split"], job.predictions.content["temperature"]
    predicted = _teacher(job.spec, split).logits(photos_of(run.info, split, job.part))
    return job.predictions.writing(
        job.part, ((photo.name, *of_logits(logits, temperature)) for photo, logits in predicted)
    )


def photos_of(info: DatasetInfo, split: str, part: str, use_mask: bool = False) -> Iterator[Photo]:
    """Yields the images of one record file of a split, in order, with their labels on request."""
    number = list(info.split(split).shards).index(part)
    records = RecordFiles(info, split).read(tf.constant(number, tf.int64))
    parse = functools.partial(
        parse_example,
        num_classes=info.num_classes,
        has_background=info.has_background,
        ignore_label=info.ignore_label,
        use_mask=use_mask,
    )
    examples = records.map(parse, num_parallel_calls=2, deterministic=True).prefetch(2)
    for example in examples.as_numpy_iterator():
        yield Photo(example["name"].decode(), example["image"], example["label"][..., 0] if use_mask else None)


def fit_temperature(spec: TeacherSpec, split: str) -> float:
    """Returns the temperature that suits the masks of a split best, from at most `MAX_PIXELS` pixels of its images.

    Raises:
        UserError: the split has no masks.
    """
    run, _, _ = open_teacher(spec)
    if not run.info.split(split).num_masks:
        raise UserError(f"--fit_temperature_on={split}: has no masks; choose a split with masks")
    photos = (photo for part in run.info.split(split).shards for photo in photos_of(run.info, split, part, True))
    logits, labels = [], []
    total = run.info.split(split).num_examples
    for photo, of_photo in track(_teacher(spec, split).logits(photos), f"fitting the temperature on {split}", total):
        label = cast(np.ndarray, photo.label).ravel()
        known = np.flatnonzero(label != run.info.ignore_label)
        # Spread over the image, and the same ones each time.
        chosen = known[:: max(1, math.ceil(len(known) * total / MAX_PIXELS))]
        logits.append(of_photo.reshape(len(label), -1)[chosen])
        labels.append(label[chosen])
    return calibration.fit_temperature(np.concatenate(logits), np.concatenate(labels))


def save_arrays(path: epath.Path, **arrays: np.ndarray) -> None:
    """Writes a compressed `.npz`, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load_arrays(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote."""
    with path.open("rb") as file, np.load(file) as archive:
        return {name: archive[name] for name in archive.files}


def _serialized(name: str, prediction: np.ndarray, confidence: np.ndarray) -> bytes:
    text = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    feature = {
        "name": text(name.encode()),
        "size": tf.train.Feature(int64_list=tf.train.Int64List(value=prediction.shape)),
        "prediction": text(prediction.tobytes()),
        "confidence": text(confidence.tobytes()),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def _checksum(run: OpenRun) -> str:
    digest = hashlib.sha256()
    for variable in run.model.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _check_same(found: dict, expected: dict, folder: str) -> None:
    for name, value in expected.items():
        if found.get(name) != value:
            raise UserError(
                f"--predictions_dir={folder}: has predictions with another {name} ({_brief(found.get(name))}, now "
                f"{_brief(value)}); give another folder, or remove it"
            )


def _brief(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 150 else text[:147] + "..."
