"""The evaluations of a run on its way: which step was the best, and whether going on is worthwhile.

<run_dir>/validation.json has the mIoU by step. <run_dir>/best.weights.h5 has the best step's weights (`train.keep_best`),
and says in itself which step that is.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.files import load_json, write_text
from wss.run_directory import RunDirectory
from wss.tables import format_table

# More steps pay if the last part of a run still gained so much.
RISES_SINCE, RISE = 0.8, 0.015
REMOVE = "remove it, then the run goes on and forgets which step was the best"


@dataclasses.dataclass(frozen=True)
class Best:
    """The best step of a run.

    Attributes:
        step: Number of steps after which its weights were evaluated.
        mean_iou: Their mIoU, 0 .. 1.
    """

    step: int
    mean_iou: float

    @classmethod
    def read(cls, path: Path) -> "Best | None":
        """Reads what a file of weights says of itself; None if there is no file.

        Raises:
            UserError: It says nothing, or cannot be read.
        """
        if not path.is_file():
            return None
        try:
            with h5py.File(path) as content:
                return cls(int(content.attrs["step"]), float(content.attrs["mean_iou"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: damaged, or not of train.keep_best ({error}); remove it, or take --weights=last"
            ) from error


class Validation:
    """The evaluations of one run.

    Args:
        run: The run; it has the files.
        info: The data set.
        split: Name of the split that is evaluated.
        keeps_best: Whether the run keeps the weights of the best step.
        patience: Number of evaluations without a better one after which the run ends; None for all steps.
    """

    def __init__(
        self,
        run: RunDirectory,
        info: DatasetInfo,
        split: str,
        *,
        keeps_best: bool = False,
        patience: int | None = None,
    ):
        self._run, self.split = run, split
        self.keeps_best, self.patience = keeps_best, patience
        self._images = info.split(split).checksum
        self.mean_iou: dict[int, float] = {}
        self.best: Best | None = None

    def go_on(self, step: int) -> None:
        """Takes what was evaluated up to `step`, from which the run goes on; what came later comes again.

        Args:
            step: Number of finished steps.

        Raises:
            UserError: A file is damaged.
        """
        found = self._read()
        if found is None:
            return
        self.mean_iou = {at: value for at, value in found.items() if at <= step}
        if self.keeps_best:
            self.best = Best.read(self._run.best_weights)
        elif rated := {at: value for at, value in self.mean_iou.items() if not math.isnan(value)}:
            # The first of equals.
            self.best = Best(*max(rated.items(), key=lambda item: (item[1], -item[0])))

    def is_better(self, mean_iou: float) -> bool:
        """Returns whether an mIoU beats all before it; NaN never does."""
        return not math.isnan(mean_iou) and (self.best is None or mean_iou > self.best.mean_iou)

    def add(self, step: int, mean_iou: float) -> None:
        """Keeps the mIoU of a step, 0 .. 1 or NaN."""
        if self.is_better(mean_iou):
            self.best = Best(step, mean_iou)
        self.mean_iou[step] = mean_iou
        if self._run.writes:
            by_step = {str(at): None if math.isnan(value) else value for at, value in sorted(self.mean_iou.items())}
            content = {"split": self.split, "images": self._images, "mean_iou": by_step}
            write_text(self._run.validation, json.dumps(content, indent=1) + "\n")

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` evaluations were no better."""
        if self.patience is None:
            return False
        since = self.best.step if self.best else -1
        return sum(step > since for step in self.mean_iou) >= self.patience

    def table(self, step: int) -> str:
        """Returns a table of the best step and of the last one, whose number is `step`, in Markdown."""
        rows: list[list[str | int | float]] = []
        if self.best is not None:
            rows.append([f"best on {self.split!r}", self.best.step, 100 * self.best.mean_iou])
        rows.append(["last", step, 100 * self.mean_iou.get(step, math.nan)])
        chosen = "The best one is chosen on the images that it is measured on, so it is somewhat too high."
        return format_table(["weights", "step", "mIoU"], rows, chosen if self.best is not None else "")

    def last_words(self, step: int) -> str:
        """Returns the line for the end of a run: which step was the best, and whether more steps would pay."""
        if self.best is None:
            return f"no step of the run has an mIoU on {self.split!r}"
        best = f"best on {self.split!r}: step {self.best.step}"
        where = f". Its weights are in {self._run.best_weights}; wss-eval, wss-vis and wss-label take them"
        said = advice(self.mean_iou, step)
        parts = [
            best,
            where if self.keeps_best else "",
            f". {said}" if said else "",
        ]
        return "".join(parts)

    def _read(self) -> dict[int, float] | None:
        """Returns the mIoU by step of the run so far; None if there is none of this split and these images."""
        path = self._run.validation
        if not path.exists():
            return None
        content = load_json(path, REMOVE)
        by_step = _by_step(path, content)
        if (content.get("split"), content.get("images")) != (self.split, self._images):
            print(f"{path}: of other images than {self.split!r} now has; the evaluations count anew", file=sys.stderr)
            return None
        return by_step


def advice(mean_iou: Mapping[int, float], step: int) -> str:
    """Returns what the curve of a run says of its number of steps, "" where it says nothing.

    Args:
        mean_iou: The mIoU by step, 0 .. 1 or NaN.
        step: Number of finished steps.
    """
    rated = {at: value for at, value in mean_iou.items() if not math.isnan(value)}
    earlier = [value for at, value in rated.items() if at <= RISES_SINCE * step]
    if not earlier:
        return ""
    best = max(rated, key=lambda at: (rated[at], -at))
    if rated[best] - max(earlier) > RISE:
        return "The mIoU still rises: more steps would pay"
    if best <= step / 2 and rated[best] - rated.get(step, math.nan) > RISE:
        return "It fell since: the masks are learnt by heart; fewer steps are enough, more masks would help"
    return ""


def mean_iou_by_step(run: RunDirectory) -> dict[int, float]:
    """Returns the mIoU of each evaluation of a run, 0 .. 1, without those that have none; {} if it kept none.

    Raises:
        UserError: The file is damaged.
    """
    if not run.validation.exists():
        return {}
    by_step = _by_step(run.validation, load_json(run.validation, REMOVE))
    return {step: value for step, value in by_step.items() if not math.isnan(value)}


def _by_step(path: Path, content: Any) -> dict[int, float]:
    try:
        by_step = content["mean_iou"].items()
        return {int(step): math.nan if value is None else float(value) for step, value in by_step}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); {REMOVE}") from error
