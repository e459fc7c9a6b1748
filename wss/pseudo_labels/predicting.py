"""A teacher predicts the images of a split, one record file after the other."""

import dataclasses
import functools
import math
import threading
from collections.abc import Iterator
from typing import cast

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.data.splits import only_file
from wss.errors import UserError
from wss.inference.photo_predictor import PhotoPredictor
from wss.inference.photos import Photo
from wss.jobs.processes import Tick
from wss.methods.dars.confidence import of_logits
from wss.progress import track
from wss.pseudo_labels import temperature as calibration
from wss.pseudo_labels.prediction_store import Predictions, content_of
from wss.pseudo_labels.teacher import Teacher, TeacherDescription

MAX_PIXELS = 1_000_000  # to fit a temperature on
# A process has its accelerators once, though Beam may give it several jobs.
_ACCELERATORS = threading.Lock()


@dataclasses.dataclass(frozen=True)
class PredictJob:
    """One record file to predict in another process.

    Attributes:
        teacher: The teacher, in words.
        predictions: The predictions of this record file alone.
    """

    teacher: TeacherDescription
    predictions: Predictions


def predict_part(job: PredictJob, tick: Tick) -> None:
    """Predicts the images of one record file, in whatever process it is called."""
    with _ACCELERATORS:
        teacher, predictor = _opened_here(job.teacher, job.predictions.split)
        for _ in predicting(predictor, teacher.run.info, job.predictions):
            tick(1)


@functools.lru_cache(1)
def _opened_here(description: TeacherDescription, split: str) -> tuple[Teacher, PhotoPredictor]:
    """Opens a teacher once for all jobs that a worker process is given."""
    teacher = description.open()
    return teacher, teacher.predictor(split)


def predicting(predictor: PhotoPredictor, info: DatasetInfo, predictions: Predictions) -> Iterator[str]:
    """Predicts the images of one record file and yields the id of each one that is written.

    Args:
        predictor: The predictor of the split.
        info: The data set.
        predictions: The predictions of this record file alone.
    """
    (part,) = predictions.parts
    temperature = predictions.content["temperature"]
    photos = photos_of(info, predictions.split, part)
    predicted = predictor.map(lambda photo, logits: (photo.name, *of_logits(logits, temperature)), photos)
    return predictions.writing(part, _explained(predicted))


def photos_of(info: DatasetInfo, split: str, file: str, *, use_mask: bool = False) -> Iterator[Photo]:
    """Yields the images of one record file of a split, in order.

    Args:
        info: The data set.
        split: Name of the split.
        file: Name of its record file.
        use_mask: Whether the photos have their masks as labels.

    Raises:
        UserError: The file is damaged.
    """
    parse = functools.partial(
        parse_example,
        num_classes=info.num_classes,
        has_background=info.has_background,
        ignore_label=info.ignore_label,
        use_mask=use_mask,
        max_size=info.split(split).max_size,
    )
    part = only_file(info, split, file)
    records = split_records(part, split)
    examples = records.map(parse, num_parallel_calls=2, deterministic=True).prefetch(2)
    with damage_told((part, split)):
        for example in examples.as_numpy_iterator():
            yield Photo(example["name"].decode(), example["image"], example["label"][..., 0] if use_mask else None)


def temperature_of(folder: str, teacher: Teacher, split: str) -> float:
    """Returns the temperature that was fitted on a split for the predictions in a folder, or fits it now."""
    if (content := content_of(folder)).get("temperature_fitted_on") == split:
        return content["temperature"]
    temperature = round(fit_temperature(teacher, split), 4)
    print(f"temperature {temperature}, fitted on {split}")
    return temperature


def fit_temperature(teacher: Teacher, split: str) -> float:
    """Returns the temperature that suits the masks of a split best, from about `MAX_PIXELS` pixels of its images.

    Raises:
        UserError: The split has no masks.
    """
    info = teacher.run.info
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
    pixels = _explained(teacher.predictor(split).map(some_pixels, photos))
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
