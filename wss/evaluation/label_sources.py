"""What an evaluation of pseudo labels counted: numbers, a table, JSON. Figure 5a of the paper is of this kind."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from wss.evaluation.result import Result, without_nan
from wss.files import write_text
from wss.ops.metrics import divide
from wss.tables import Cell, format_table


@dataclasses.dataclass(frozen=True, eq=False)
class Gate:
    """Which classes the image classifier lets into the CAM, against those in the masks.

    Attributes:
        class_names: Names of the K classes that an image-level label can name.
        counts: Numbers of images, int64 [K, 3], by class: true positives, false positives, false negatives.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray

    @property
    def recall(self) -> float:
        """The share of the classes in the images that pass the gate, 0 .. 1; NaN without any."""
        return float(_recall(self.counts.sum(axis=0)))

    @property
    def precision(self) -> float:
        """The share of the classes that pass the gate that are in their images, 0 .. 1; NaN if none passes."""
        return float(_precision(self.counts.sum(axis=0)))

    @property
    def recall_per_class(self) -> dict[str, float]:
        """The recall of each class by its name; NaN for a class that no image shows."""
        return dict(zip(self.class_names, _recall(self.counts).tolist(), strict=True))

    @property
    def precision_per_class(self) -> dict[str, float]:
        """The precision of each class by its name; NaN for a class that never passes."""
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
class LabelSources:
    """How good decoder, SGC and their fusions are, as `evaluate_label_sources` counts it.

    Attributes:
        results: Evaluations by title of the source. Each has the seconds of the one pass that they all come from.
        gate: The gate of the CAM, and so of SGC.
    """

    results: dict[str, Result]
    gate: Gate

    def as_dict(self) -> dict:
        """Returns everything, ready for JSON; NaN becomes None."""
        results = {title: result.as_dict() for title, result in self.results.items()}
        return {"gate": self.gate.as_dict(), "parts": results}

    @classmethod
    def from_dict(cls, content: dict) -> "LabelSources":
        """Returns what `as_dict` describes."""
        gate = Gate(tuple(content["gate"]["class_names"]), np.array(content["gate"]["counts"], np.int64))
        return cls({title: Result.from_dict(result) for title, result in content["parts"].items()}, gate)


def label_sources_table(sources: LabelSources) -> str:
    """Returns a row for each source, then a line on the gate. Values are in percent."""
    rows: list[tuple[Cell, ...]] = []
    for title, result in sources.results.items():
        pixels, confidences, _ = result.calibration.sum(axis=0)
        confidence = float(divide(confidences, pixels))
        values = result.mean_iou, result.pixel_accuracy, confidence, result.expected_calibration_error
        rows.append((title, *[100 * value for value in values]))
    by_source = format_table(("part", "mIoU", "pixel acc.", "mean confidence", "ECE"), rows)
    gate = ("classes", 100 * sources.gate.recall, 100 * sources.gate.precision)
    return f"{by_source}\n\n{format_table(('gate', 'recall', 'precision'), [gate])}"


def write_label_sources(sources: LabelSources, path: str | Path) -> None:
    """Writes JSON to `path`, whole or not at all.

    Raises:
        WriteError: The file cannot be written.
    """
    write_text(path, json.dumps(sources.as_dict(), indent=1, allow_nan=False) + "\n")


def _recall(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 0], counts[..., 0] + counts[..., 2])


def _precision(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 0], counts[..., 0] + counts[..., 1])
