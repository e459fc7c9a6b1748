"""Predictions of a split on disk: class and confidence of every pixel, 3 bytes, with their histogram.

There is one file for each record file of the split, so that labelling can be spread, stopped and continued by files, and
so that other policies can select from the same predictions.
"""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from etils import epath
from google.protobuf.message import DecodeError

from wss.errors import UserError
from wss.files import load_json, reason_of, whole, write_text
from wss.jobs.output_folder import disk_errors
from wss.methods.dars.confidence import histogram

CONTENT = "predictions.json"
PREDICTIONS, HISTOGRAM = ".predictions", ".histogram.npz"
PREDICTED_AGAIN = "remove it, and it is predicted again"
# Of the content: what people want to know, and predictions do not depend on.
FOR_PEOPLE = {"teacher.run_dir", "teacher.weights", "teacher.step", "temperature_fitted_on"}


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of one split in a folder.

    Attributes:
        folder: Folder of the files.
        content: What they are of: teacher, settings, split.
        parts: Record file of the split -> number of its images.
        num_classes: C.
    """

    folder: str
    content: dict
    parts: dict[str, int]
    num_classes: int

    def begin(self) -> None:
        """Makes the folder, or checks that it is of the same predictions.

        Raises:
            UserError: It has others.
        """
        folder = epath.Path(self.folder)
        if found := content_of(self.folder):
            _check_same(_leaves(found), _leaves(self.content), self.folder)
            return
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONTENT, json.dumps(self.content, indent=1) + "\n")

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.content["split"]

    @property
    def fingerprint(self) -> str:
        """Differs between predictions of other weights, settings or images."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    def only(self, part: str) -> "Predictions":
        """Returns those of one part: what another process has to know for its job."""
        return dataclasses.replace(self, parts={part: self.parts[part]})

    def missing(self) -> list[str]:
        """Returns the parts that are not predicted yet."""
        suffixes = (PREDICTIONS, HISTOGRAM)
        return [part for part in self.parts if not all(self._path(part, suffix).exists() for suffix in suffixes)]

    def writing(self, part: str, predicted: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> Iterator[str]:
        """Writes a part and yields the id of each image that is written.

        Args:
            part: Record file of the images.
            predicted: (id, prediction uint8 `[H, W]`, confidence float16 `[H, W]`) of each image.
        """
        path = self._path(part, PREDICTIONS)
        counts = np.zeros(1, np.int64)
        with disk_errors(path), whole(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for name, prediction, confidence in predicted:
                counts = counts + histogram(prediction, confidence, self.num_classes)
                writer.write(_serialized(name, prediction, confidence))
                yield name
        # Last, for it tells that the part is done.
        save_arrays(self._path(part, HISTOGRAM), counts=counts)

    def read(self, part: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yields what `writing` was given.

        Raises:
            UserError: The file is damaged.
        """
        path, count = self._path(part, PREDICTIONS), 0
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                feature = tf.train.Example.FromString(record).features.feature
                shape = tuple(feature["size"].int64_list.value)
                name, prediction, confidence = (
                    feature[key].bytes_list.value[0] for key in ("name", "prediction", "confidence")
                )
                count += 1
                yield (
                    name.decode(),
                    np.frombuffer(prediction, np.uint8).reshape(shape),
                    np.frombuffer(confidence, np.float16).reshape(shape),
                )
        except (tf.errors.OpError, DecodeError, ValueError, IndexError) as error:
            raise UserError(f"{path}: damaged ({reason_of(error)}); {PREDICTED_AGAIN}") from error
        if count != self.parts[part]:
            raise UserError(f"{path}: damaged ({count} images, expected {self.parts[part]}); {PREDICTED_AGAIN}")

    def histogram(self) -> np.ndarray:
        """Returns the sum of the histograms of all parts, int64 `[C, 15361]`; all are predicted."""
        total = np.zeros(1, np.int64)
        for part in self.parts:
            total = total + load_arrays(self._path(part, HISTOGRAM))["counts"]
        return total

    def remove_unfinished(self) -> None:
        """Removes what killed processes began; none is at work."""
        for path in epath.Path(self.folder).glob("*.tmp-*"):
            path.unlink(missing_ok=True)

    def _path(self, part: str, suffix: str) -> epath.Path:
        return epath.Path(self.folder) / f"{part}{suffix}"


def content_of(folder: str) -> dict:
    """Returns what the predictions in a folder are of; nothing if it has none."""
    file = epath.Path(folder) / CONTENT
    if not file.exists():
        return {}
    help_ = "remove the folder, or give another --predictions_dir"
    if not isinstance(content := load_json(file, help_), dict):
        raise UserError(f"{file}: damaged (no table of names); {help_}")
    return content


def save_arrays(path: epath.Path, **arrays: np.ndarray) -> None:
    """Writes a compressed `.npz`, whole or not at all."""
    with disk_errors(path), whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_arrays(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({reason_of(error)}); {PREDICTED_AGAIN}") from error


def _serialized(name: str, prediction: np.ndarray, confidence: np.ndarray) -> bytes:
    contents = {"name": name.encode(), "prediction": prediction.tobytes(), "confidence": confidence.tobytes()}
    feature = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in contents.items()}
    feature["size"] = tf.train.Feature(int64_list=tf.train.Int64List(value=prediction.shape))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def _leaves(content: dict, prefix: str = "") -> dict:
    """Returns {"teacher.step": 6} for {"teacher": {"step": 6}}."""
    leaves: dict = {}
    for name, value in content.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def _check_same(found: dict, expected: dict, folder: str) -> None:
    for name in sorted(expected.keys() - FOR_PEOPLE):
        if found.get(name) != expected[name]:
            raise UserError(
                f"{folder}: has predictions with another {name} ({json.dumps(found.get(name))}, now "
                f"{json.dumps(expected[name])}); give another --predictions_dir, or remove the folder"
            )
