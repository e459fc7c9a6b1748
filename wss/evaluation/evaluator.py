"""The evaluator: one pass over a split, on one device or many, and what came out of it."""

import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.files import write_text
from wss.inference.prediction import predict
from wss.inference.streaming import one_behind
from wss.ops import metrics
from wss.progress import track


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation counted; every number follows from it.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        class_names: names of the C classes.
        confusion: int64 `[C, C]`, rows are true classes.
        calibration: float64 `[num_bins, 3]`, see `metrics.calibration_histogram`.
        num_images: images with at least one labelled pixel.
        seconds: wall time, compilation included.
    """

    dataset: str
    split: str
    class_names: tuple[str, ...]
    confusion: np.ndarray
    calibration: np.ndarray
    num_images: int
    seconds: float

    @property
    def mean_iou(self) -> float:
        """0 .. 1; see `metrics.mean_iou` for classes that are absent from the labels."""
        return metrics.mean_iou(self.confusion)

    @property
    def pixel_accuracy(self) -> float:
        return metrics.pixel_accuracy(self.confusion)

    @property
    def mean_accuracy(self) -> float:
        return metrics.mean_accuracy(self.confusion)

    @property
    def expected_calibration_error(self) -> float:
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
        """Returns the result that `as_dict` describes; a `KeyError`, `TypeError` or `ValueError` if none does."""
        return cls(
            dataset=content["dataset"],
            split=content["split"],
            class_names=tuple(content["class_names"]),
            confusion=np.array(content["confusion"], np.int64),
            calibration=np.array(content["calibration"], np.float64),
            num_images=content["num_images"],
            seconds=content["seconds"],
        )

    def _by_name(self, values):
        return dict(zip(self.class_names, values.tolist(), strict=True))


class Evaluator:
    """Evaluates one model again and again, compiling its step once per image size.

    Args:
        model: its `num_classes` is that of `info`; built under `strategy.scope()`.
        info: the data set.
        strategy: the strategy to run under; None for the current one.
        predict_fn: `predict_fn(model, images)` that returns probabilities `[B, H, W, C]`, such as
            `functools.partial(predict_sliding, window=(769, 769))`.
        num_bins: bins of the calibration error.

    Raises:
        UserError: the model does not have the data set's number of classes.
    """

    def __init__(
        self,
        model,
        info: DatasetInfo,
        strategy: tf.distribute.Strategy | None = None,
        predict_fn: Callable = predict,
        num_bins: int = metrics.NUM_BINS,
    ):
        if model.num_classes != info.num_classes:
            raise UserError(
                f"model: it predicts {model.num_classes} classes and data set {info.name} has "
                f"{info.num_classes}; evaluate on the data set that it was trained for"
            )
        self.info = info
        self.num_bins = num_bins
        self.strategy = strategy or tf.distribute.get_strategy()
        self._predict = functools.partial(predict_fn, model)
        self._step = tf.function(self._sum_over_replicas)

    def __call__(self, batches: tf.data.Dataset, split: str) -> Result:
        """Evaluates a split.

        Args:
            batches: finite; dicts with "image" float `[B, H, W, 3]`, 0 .. 255, and "label"
                integer `[B, H, W, 1]`.
            split: name of the split that the batches come from.

        Raises:
            UserError: the split has no masks, or a mask has a value that is neither a class nor
                the ignore label.
        """
        info = self.info
        if info.split(split).num_masks == 0:
            raise no_masks(info, split)
        start = time.monotonic()
        confusion = np.zeros([info.num_classes] * 2, np.int64)
        calibration = np.zeros([self.num_bins, 3], np.float64)
        num_images = 0
        total_batches = max(int(batches.cardinality()), 0) or None
        # Only these go to the devices, which cannot hold strings.
        pairs = batches.map(lambda batch: (batch["image"], batch["label"]))
        # By default hosts would share the files, and the last batches of each would be lost.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        pairs = pairs.with_options(options)
        pairs = self.strategy.experimental_distribute_dataset(pairs)
        steps = track(pairs, f"evaluating {split}", total_batches, unit="step")
        for counts in one_behind(self._step(images, labels) for images, labels in steps):
            if counts["unknown"]:
                raise unknown_labels(info, split)
            confusion += counts["confusion"].numpy()
            calibration += counts["calibration"].numpy()
            num_images += int(counts["images"])
        seconds = time.monotonic() - start
        return Result(info.name, split, info.class_names, confusion, calibration, num_images, seconds)

    def _sum_over_replicas(self, images, labels):
        counts = self.strategy.run(self._count, args=(images, labels))
        return {name: self.strategy.reduce("SUM", x, axis=None) for name, x in counts.items()}

    def _count(self, images, label):
        num_classes, ignore = self.info.num_classes, self.info.ignore_label
        probabilities = self._predict(images)
        prediction = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        labeled = tf.reduce_any(label != ignore, axis=[1, 2, 3])
        return {
            "confusion": metrics.confusion_matrix(label, prediction, num_classes, ignore),
            "calibration": metrics.calibration_histogram(label, probabilities, self.num_bins, ignore),
            "images": tf.math.count_nonzero(labeled),
            "unknown": metrics.num_unknown_labels(label, num_classes, ignore),
        }


def evaluate(
    model,
    batches: tf.data.Dataset,
    info: DatasetInfo,
    split: str,
    strategy: tf.distribute.Strategy | None = None,
    predict_fn: Callable = predict,
    num_bins: int = metrics.NUM_BINS,
) -> Result:
    """Evaluates a model once; see `Evaluator`, which is the one to keep for doing so repeatedly."""
    return Evaluator(model, info, strategy, predict_fn, num_bins)(batches, split)


def no_masks(info: DatasetInfo, split: str) -> UserError:
    """What to raise where there is nothing to evaluate on."""
    return UserError(f"{_where(info, split)}: it has no masks to evaluate on; choose a split with masks")


def unknown_labels(info: DatasetInfo, split: str) -> UserError:
    """What to raise where `metrics.num_unknown_labels` found some."""
    return UserError(
        f"{_where(info, split)}: a mask has a value that is neither a class (0 .. {info.num_classes - 1}) nor the ignore "
        f"label ({info.ignore_label}); build the data set again"
    )


def write_json(result: Result, path: str | Path):
    """Writes a result to `path`, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result.as_dict(), indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Result:
    """Reads what `write_json` wrote.

    Raises:
        UserError: there is no such file, or it is not a result.
    """
    try:
        return Result.from_dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a readable evaluation result ({error!r}); run the evaluation again") from error


def write_scalars(result: Result, writer: tf.summary.SummaryWriter, step: int):
    """Writes `eval/<name>` and `eval/iou/<class>` to TensorBoard; what is NaN is left out."""
    values = {**result.scalars(), **{f"iou/{name}": value for name, value in result.iou.items()}}
    with writer.as_default():
        for name, value in values.items():
            if not math.isnan(value):
                tf.summary.scalar(f"eval/{name}", value, step)
    writer.flush()


def _where(info: DatasetInfo, split: str) -> str:
    return f"{info.directory or info.name}, split {split!r}"


def without_nan(values: dict[str, float]) -> dict[str, float | None]:
    """Returns numbers ready for JSON, which has no NaN: None for it."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}
