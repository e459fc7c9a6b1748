"""A trained run predicts the images of a split, one record file after the other."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator
from typing import cast

import gin
import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example, reason_of
from wss.data.record_files import split_records
from wss.data.resize import ResizeToRange
from wss.errors import UserError
from wss.experiment import OpenRun, open_run
from wss.inference.photo_predictor import Labeling, Teacher
from wss.inference.photos import Photo
from wss.jobs.processes import Tick
from wss.methods.dars.confidence import of_logits
from wss.progress import track
from wss.pseudo_labels import temperature as calibration
from wss.pseudo_labels.prediction_store import Predictions, content_of, entries_of, only_file
from wss.runtime.strategy import build_strategy

MAX_PIXELS = 1_000_000  # to fit a temperature on
# A process has its accelerators once, though Beam may give it several jobs.
_ACCELERATORS = threading.Lock()


@dataclasses.dataclass(frozen=True)
class TeacherSpec:
    """Which trained run labels, in words that another process can open it by; see `open_run` and `build_strategy`."""

    run_dir: str
    parameters: tuple[str, ...] = ()
    strategy: str = "mirrored"
    tpu: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class OpenTeacher:
    """A run that is open to label, and what gin said then; `config` is all of that as text."""

    run: OpenRun
    strategy: tf.distribute.Strategy
    settings: Labeling
    resize: ResizeToRange
    config: str


@functools.lru_cache(1)
def open_teacher(spec: TeacherSpec) -> OpenTeacher:
    """Opens a run once in each process."""
    strategy = build_strategy(spec.strategy, spec.tpu)
    run = open_run(spec.run_dir, list(spec.parameters), strategy)
    return OpenTeacher(run, strategy, Labeling(), ResizeToRange(), gin.config_str(max_line_length=120))


@functools.lru_cache(1)
def _teacher(spec: TeacherSpec, split: str) -> Teacher:
    opened = open_teacher(spec)
    model, settings = opened.run.model, opened.settings
    sizes = set() if settings.window else {entry.size for entry in entries_of(opened.run.info, split)}
    return Teacher(model, opened.strategy, model.mean_pixel, settings, sizes, opened.resize)


def describe(
    folder: str, spec: TeacherSpec, split: str, temperature: float = 1.0, fitted_on: str | None = None
) -> Predictions:
    """Returns what a teacher's predictions of a split in a folder are, whether they are there or not."""
    opened = open_teacher(spec)
    run = opened.run
    found = run.info.split(split)
    content = {
        "teacher": {"run_dir": spec.run_dir, "weights": run.weights, "step": run.step, "checksum": _checksum(run)},
        "dataset": _absolute(run.info.directory),
        "split": split,
        "split_checksum": found.checksum,
        "labeling": dataclasses.asdict(opened.settings),
        "resize_to_range": dataclasses.asdict(opened.resize),
        "temperature": temperature,
        "temperature_fitted_on": fitted_on,
    }
    return Predictions(str(folder), json.loads(json.dumps(content)), dict(found.shards), run.info.num_classes)


@dataclasses.dataclass(frozen=True)
class PredictJob:
    """One part to predict, by `predict_part`: all that `predictions` has."""

    spec: TeacherSpec
    predictions: Predictions


def predict_part(job: PredictJob, tick: Tick) -> None:
    """Predicts the images of one record file; the job of `execution.run_jobs`."""
    with _ACCELERATORS:
        for _ in predicting(job):
            tick(1)


def predicting(job: PredictJob) -> Iterator[str]:
    """Predicts the images of one record file and yields the id of each one that is written."""
    (part,) = job.predictions.parts
    split, temperature = job.predictions.split, job.predictions.content["temperature"]
    teacher = _teacher(job.spec, split)
    photos = photos_of(open_teacher(job.spec).run.info, split, part)
    predicted = teacher.map(lambda photo, logits: (photo.name, *of_logits(logits, temperature)), photos)
    return job.predictions.writing(part, _explained(predicted))


def photos_of(info: DatasetInfo, split: str, file: str, use_mask: bool = False) -> Iterator[Photo]:
    """Yields the images of one record file of a split, in order, with their labels on request.

    Raises:
        UserError: the file is damaged.
    """
    parse = functools.partial(
        parse_example,
        num_classes=info.num_classes,
        has_background=info.has_background,
        ignore_label=info.ignore_label,
        use_mask=use_mask,
    )
    records = split_records(only_file(info, split, file), split)
    examples = records.map(parse, num_parallel_calls=2, deterministic=True).prefetch(2)
    try:
        for example in examples.as_numpy_iterator():
            yield Photo(example["name"].decode(), example["image"], example["label"][..., 0] if use_mask else None)
    except tf.errors.OpError as error:
        path = os.path.join(info.directory, file)
        raise UserError(f"{path}: damaged ({reason_of(error)}); build the data set again") from error


def temperature_of(folder: str, spec: TeacherSpec, split: str) -> float:
    """Returns the temperature that was fitted on a split for the predictions in a folder, or fits it now."""
    if (content := content_of(folder)).get("temperature_fitted_on") == split:
        return content["temperature"]
    temperature = round(fit_temperature(spec, split), 4)
    print(f"temperature {temperature}, fitted on {split}")
    return temperature


def fit_temperature(spec: TeacherSpec, split: str) -> float:
    """Returns the temperature that suits the masks of a split best, from about `MAX_PIXELS` pixels of its images.

    Raises:
        UserError: the split has no masks.
    """
    info = open_teacher(spec).run.info
    if not info.split(split).num_masks:
        raise UserError(f"--fit_temperature_on={split}: has no masks; choose a split with masks")
    total = info.split(split).num_examples

    def some_pixels(photo: Photo, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        label = cast(np.ndarray, photo.label).ravel()
        known = np.flatnonzero(label != info.ignore_label)
        # Spread over the image, and the same ones each time.
        chosen = known[:: max(1, math.ceil(len(known) * total / MAX_PIXELS))]
        return logits.reshape(len(label), -1)[chosen], label[chosen]

    photos = (photo for file in info.split(split).shards for photo in photos_of(info, split, file, use_mask=True))
    pixels = _explained(_teacher(spec, split).map(some_pixels, photos))
    found = list(track(pixels, f"fitting the temperature on {split}", total))
    logits, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return calibration.fit_temperature(logits, labels, info.ignore_label)


def _explained(predicted: Iterator) -> Iterator:
    """Yields what a network predicts; its errors are not taken for those of a disk."""
    try:
        yield from predicted
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(
            "the memory of the device is too small; lower Labeling.windows_at_once or set Labeling.window"
        ) from error
    except tf.errors.OpError as error:
        raise RuntimeError(f"the network failed: {error.message}") from error


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _checksum(run: OpenRun) -> str:
    digest = hashlib.sha256()
    for weight in run.model.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
