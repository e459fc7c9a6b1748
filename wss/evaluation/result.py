"""The result of an evaluation: what was counted, the numbers that follow from it, and its JSON file."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from wss.errors import UserError
from wss.files import reason_of, write_text
from wss.ops import metrics


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """The counts of an evaluation; every number follows from them.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        class_names: Names of the C classes.
        confusion: int64 `[C, C]`, rows are true classes.
        calibration: float64 `[num_bins, 3]`, see `metrics.calibration_histogram`.
        num_images: Number of images with at least one labelled pixel.
        seconds: Wall time, compilation included.
        step: Number of finished steps of the weights; None where nobody said it.
    """

    dataset: str
    split: str
    class_names: tuple[str, ...]
    confusion: np.ndarray
    calibration: np.ndarray
    num_images: int
    seconds: float
    step: int | None = None

    @property
    def mean_iou(self) -> float:
        """Mean IoU, 0 .. 1; see `metrics.mean_iou` for classes that are absent from the labels."""
        return metrics.mean_iou(self.confusion)

    @property
    def pixel_accuracy(self) -> float:
        """Share of correct pixels, 0 .. 1."""
        return metrics.pixel_accuracy(self.confusion)

    @property
    def mean_accuracy(self) -> float:
        """Mean of the accuracies of the classes in the labels, 0 .. 1."""
        return metrics.mean_accuracy(self.confusion)

    @property
    def expected_calibration_error(self) -> float:
        """Mean difference of confidence and accuracy, 0 .. 1; see `metrics.expected_calibration_error`."""
        return metrics.expected_calibration_error(self.calibration)

    @property
    def iou(self) -> dict[str, float]:
        """IoU by class name; NaN for a class absent from the labels."""
        return self._by_name(metrics.iou_per_class(self.confusion))

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of correct pixels by true class; NaN for a class absent from the labels."""
        return self._by_name(metrics.accuracy_per_class(self.confusion))

    @property
    def pixel_share(self) -> dict[str, float]:
        """Share of the labelled pixels by class."""
        return self._by_name(metrics.pixel_share(self.confusion))

    def scalars(self) -> dict[str, float]:
        """Returns the numbers that sum a result up, by name, 0 .. 1."""
        names = ("mean_iou", "pixel_accuracy", "mean_accuracy", "expected_calibration_error")
        return {name: getattr(self, name) for name in names}

    def as_dict(self) -> dict:
        """Returns everything, ready for JSON; NaN becomes None."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "step": self.step,
            "num_images": self.num_images,
            "seconds": round(self.seconds, 3),
            **without_nan(self.scalars()),
            "iou": without_nan(self.iou),
            "accuracy": without_nan(self.accuracy),
            "pixel_share": without_nan(self.pixel_share),
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "calibration": self.calibration.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict) -> "Result":
        """Returns the result that `as_dict` describes.

        Raises:
            KeyError, TypeError, ValueError: The content describes none.
        """
        return cls(
            dataset=content["dataset"],
            split=content["split"],
            class_names=tuple(content["class_names"]),
            confusion=np.array(content["confusion"], np.int64),
            calibration=np.array(content["calibration"], np.float64),
            num_images=content["num_images"],
            seconds=content["seconds"],
            step=content.get("step"),  # results of earlier versions have none
        )

    def _by_name(self, values: np.ndarray) -> dict[str, float]:
        return dict(zip(self.class_names, values.tolist(), strict=True))


def write_json(result: Result, path: str | Path) -> None:
    """Writes a result to `path`, whole or not at all.

    Raises:
        WriteError: It cannot be written.
    """
    write_text(path, json.dumps(result.as_dict(), indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Result:
    """Reads what `write_json` wrote.

    Raises:
        UserError: There is no such file, or it is not a result.
    """
    try:
        return Result.from_dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"  # the repr of a decoding error has the whole file
        raise UserError(f"{path}: not a readable evaluation result ({reason}); run the evaluation again") from error


def without_nan(values: dict[str, float]) -> dict[str, float | None]:
    """Returns numbers ready for JSON, which has no NaN: None for it."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}
