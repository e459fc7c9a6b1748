"""What an evaluation of pseudo labels counted: numbers, a table, a diagram, JSON. Figure 5a of the paper is of this kind."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from wss.errors import UserError
from wss.evaluation.result import Result, without_nan
from wss.files import write_text
from wss.ops.metrics import divide
from wss.tables import Cell, format_table
from wss.visualization.charts import reliability_diagram


@dataclasses.dataclass(frozen=True, eq=False)
class Gate:
    """Which classes the image classifier lets into the CAM, against those in the masks.

    Attributes:
        class_names: names of the K classes that an image-level label can name.
        counts: int64 [K, 3], numbers of images by class: true positives, false positives, false negatives.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray

    @property
    def recall(self) -> float:
        """Share of the classes in the images that pass the gate, 0 .. 1; NaN without any."""
        return float(_recall(self.counts.sum(axis=0)))

    @property
    def precision(self) -> float:
        """Share of the classes that pass the gate that are in their images, 0 .. 1; NaN if none passes."""
        return float(_precision(self.counts.sum(axis=0)))

    @property
    def recall_per_class(self) -> dict[str, float]:
        return dict(zip(self.class_names, _recall(self.counts).tolist(), strict=True))

    @property
    def precision_per_class(self) -> dict[str, float]:
        return dict(zip(self.class_names, _precision(self.counts).tolist(), strict=True))

    def as_dict(self) -> dict:
        """Returns everything, ready for JSON; NaN becomes None."""
        return {
            **without_nan({"recall": self.recall, "precision": self.precision}),
            "recall_per_class": without_nan(self.recall_per_class),
            "precision_per_class": without_nan(self.precision_per_class),
            "class_names": list(self.class_names),
            "counts": self.counts.tolist(),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What `wss.evaluation.pseudo_label_quality.evaluate_parts` counted.

    Attributes:
        results: by title of the part; each has the seconds of the one pass that they come from.
        gate: of the CAM, and so of SGC.
    """

    results: dict[str, Result]
    gate: Gate

    def as_dict(self) -> dict:
        """Returns everything, ready for JSON; NaN becomes None."""
        parts = {title: result.as_dict() for title, result in self.results.items()}
        return {"gate": self.gate.as_dict(), "parts": parts}

    @classmethod
    def from_dict(cls, content: dict) -> "Parts":
        """Returns what `as_dict` describes; a `KeyError`, `TypeError`, `ValueError` or `AttributeError` if it is not."""
        gate = Gate(tuple(content["gate"]["class_names"]), np.array(content["gate"]["counts"], np.int64))
        return cls({title: Result.from_dict(result) for title, result in content["parts"].items()}, gate)


def parts_table(parts: Parts) -> str:
    """Returns a row for each part, then a line on the gate. Values in percent."""
    rows: list[tuple[Cell, ...]] = []
    for title, result in parts.results.items():
        pixels, confidences, _ = result.calibration.sum(axis=0)
        confidence = float(divide(confidences, pixels))
        values = result.mean_iou, result.pixel_accuracy, confidence, result.expected_calibration_error
        rows.append((title, *[100 * value for value in values]))
    of_parts = format_table(("part", "mIoU", "pixel acc.", "mean confidence", "ECE"), rows)
    gate = ("classes", 100 * parts.gate.recall, 100 * parts.gate.precision)
    return f"{of_parts}\n\n{format_table(('gate', 'recall', 'precision'), [gate])}"


def parts_diagram(parts: Parts, number: int = 6) -> np.ndarray:
    """Returns reliability diagrams of the first parts, uint8 [H, W, 3]."""
    first = list(parts.results.items())[:number]
    return reliability_diagram({title: result.calibration for title, result in first})


def write_parts(parts: Parts, path: str | Path) -> None:
    """Writes JSON to `path`, whole or not at all.

    Raises:
        WriteError: it cannot be written.
    """
    write_text(path, json.dumps(parts.as_dict(), indent=1, allow_nan=False) + "\n")


def read_parts(path: str | Path) -> Parts:
    """Reads what `write_parts` wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        return Parts.from_dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a readable evaluation of pseudo labels ({error!r}); run tools/evaluate_pseudo_labels.py again"
        ) from error


def _recall(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 0], counts[..., 0] + counts[..., 2])


def _precision(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 0], counts[..., 0] + counts[..., 1])
