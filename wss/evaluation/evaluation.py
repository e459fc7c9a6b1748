"""The evaluation of a run: split, image size, scales and windows, configured by gin; and what is written of its result."""

import contextlib
import dataclasses
import errno
import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import evaluation_batches, original_size_batches
from wss.data.padding import Padding
from wss.data.record_damage import validate_records
from wss.errors import UserError
from wss.evaluation.evaluator import Evaluator
from wss.evaluation.remarks import remarks
from wss.evaluation.result import Result, write_json
from wss.evaluation.tables import evaluation_table
from wss.files import reason_of
from wss.inference.prediction import AVERAGES, predict, predict_sliding
from wss.models.deeplab import DeepLab
from wss.ops.dense_crf import CRFSettings
from wss.parameter_ranges import Relation, in_ranges
from wss.progress import format_seconds
from wss.ranges import LARGEST_BATCH, LARGEST_SCALE, Integer, Number, OneOf, OrNone, Several, Size, Switch, Text
from wss.run_directory import RunDirectory
from wss.runtime.strategy import number_of_hosts


@gin.configurable
@in_ranges(
    "Evaluation",
    Relation(
        ("size", "original_size"),
        lambda size, original: size is None or not original,
        "no size with original_size = True",
    ),
    split=Text("the name of a split"),
    batch_size=Integer(1, LARGEST_BATCH),
    size=OrNone(Size()),
    original_size=Switch(),
    scales=Several(Number(above=0, maximum=LARGEST_SCALE)),
    flip=Switch(),
    window=OrNone(Size()),
    window_stride=Number(above=0, maximum=1),
    windows_at_once=OrNone(Integer(1, LARGEST_BATCH)),
    average=OneOf(AVERAGES),
    crf=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The settings of an evaluation on a split with masks.

    Attributes:
        split: Name of the split.
        batch_size: Number of images of one step, over all replicas.
        size: (height, width) to pad the images to, once resized by `ResizeToRange`; None takes what the largest needs.
        original_size: Whether every image has its own size, without padding, in batches of images of one size; on one host.
        scales: Factors of the image size, averaged.
        flip: Whether to average with the mirrored image.
        window: (height, width) of sliding windows over the scaled image, best the crop size of training; None takes whole
            images, as the original does.
        window_stride: Distance of windows as a fraction of the window, rounded up.
        windows_at_once: Largest number of windows of each image in one batch; None for all.
        average: What is averaged over scales, mirrored images and windows: "probabilities" or "logits".
        crf: Whether a dense CRF with the parameters of `CRFSettings` refines the probabilities; for a photo of 375 x
            500 half a second on one core with 4 classes, and 0.9 s with 21.
    """

    split: str = "val"
    batch_size: int = 8
    size: tuple[int, int] | None = None
    original_size: bool = False
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    window_stride: float = 2 / 3
    windows_at_once: int | None = 4
    average: str = "probabilities"
    crf: bool = False

    def open(self, model: DeepLab, info: DatasetInfo, strategy: tf.distribute.Strategy) -> "SplitEvaluation":
        """Returns the evaluation of a model on the split of a data set.

        Args:
            model: Network that was built under `strategy`.
            info: The data set.
            strategy: The strategy to run under.

        Raises:
            UserError: The split has no masks or damaged records, or a batch does not divide among the replicas.
        """
        if info.split(self.split).num_masks == 0:
            raise UserError(f"Evaluation.split = {self.split!r} of {info.directory} has no masks to evaluate on")
        validate_records(info, self.split)
        if self.batch_size % strategy.num_replicas_in_sync:
            raise UserError(
                f"Evaluation.batch_size = {self.batch_size} does not divide among "
                f"{strategy.num_replicas_in_sync} replicas"
            )
        model.padding.check("Evaluation.window", self.window)
        model.padding.check("Evaluation.size", self.size)
        if self.original_size and number_of_hosts(strategy) > 1:
            raise UserError(
                "Evaluation.original_size = True: on one host only; leave it out and evaluate the run by wss-eval there"
            )
        evaluator = Evaluator(
            model,
            info,
            strategy=strategy,
            predict_fn=self._predict_fn(model.padding),
            crf=CRFSettings() if self.crf else None,
            # Windows lie at places that the graph knows.
            any_size=self.original_size and self.window is None,
        )
        if self.original_size:
            batches = original_size_batches(info, self.split, self.batch_size, multiple=strategy.num_replicas_in_sync)
        else:
            batches = evaluation_batches(info, self.split, self.batch_size, padding=model.padding, size=self.size)
        return SplitEvaluation(self.split, evaluator, batches)

    def _predict_fn(self, padding: Padding) -> Callable:
        if self.window is None:
            return functools.partial(predict, scales=self.scales, flip=self.flip, average=self.average)
        return functools.partial(
            predict_sliding,
            window=self.window,
            pad_value=padding.color,
            stride=self.window_stride,
            scales=self.scales,
            flip=self.flip,
            windows_at_once=self.windows_at_once,
            average=self.average,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SplitEvaluation:
    """The evaluation of one model on one split, as often as it is called.

    Attributes:
        split: Name of the split.
        evaluator: The evaluator with the model.
        batches: The images of the split with their masks, see `evaluation_batches`.
    """

    split: str
    evaluator: Evaluator
    batches: tf.data.Dataset

    def __call__(self, number_of_batches: int | None = None) -> Result:
        """Evaluates the split, or only its first batches."""
        batches = self.batches if number_of_batches is None else self.batches.take(number_of_batches)
        images = self.evaluator.info.split(self.split).num_examples
        of_batch = self.batches.element_spec["image"].shape[0]
        if of_batch is None:  # nobody knows how many sizes there are
            return self.evaluator(batches, self.split, number_of_batches)
        total = math.ceil(images / of_batch)
        return self.evaluator(batches, self.split, min(total, number_of_batches or total))


def default_split() -> str:
    """Returns the split of the evaluation, or "val"."""
    return gin.get_bindings("Evaluation").get("split", "val")


def report(result: Result, run: RunDirectory, step: int, *, output: str | None = None, write: bool = True) -> None:
    """Prints a result as a table, and writes it to TensorBoard and as JSON.

    Args:
        result: The result.
        run: The run's folder.
        step: Step of the weights that were evaluated.
        output: JSON file; None takes <run_dir>/eval_<split>.json.
        write: Whether the JSON file is written.
    """
    path = Path(output) if output else run.evaluation(result.split)
    result = dataclasses.replace(result, step=step)
    print(evaluation_table(result))
    for line in remarks(result):
        print(line)
    if write:
        write_json(result, path)
    _write_summaries(result, run, step)
    rate = result.num_images / max(result.seconds, 1e-9)
    where = f", written to {path}" if write else ", no better than the best so far"
    print(f"{result.num_images} images in {format_seconds(result.seconds)} ({rate:.1f} images/s){where}")


def _write_summaries(result: Result, run: RunDirectory, step: int) -> None:
    """Writes a result for TensorBoard, if the run's folder can be written; the result itself is elsewhere."""
    folder = run.evaluation_summaries(result.split)
    try:
        if not os.access(run.path, os.W_OK):
            raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))
        with contextlib.closing(tf.summary.create_file_writer(str(folder))) as writer:
            write_scalars(result, writer, step)
    except (tf.errors.OpError, OSError) as error:
        print(f"{folder}: nothing written for TensorBoard ({reason_of(error)})", file=sys.stderr)


def write_scalars(result: Result, writer: tf.summary.SummaryWriter, step: int) -> None:
    """Writes `eval/<name>` and `eval/iou/<class>` to TensorBoard; what is NaN is left out."""
    values = {**result.scalars(), **{f"iou/{name}": value for name, value in result.iou.items()}}
    with writer.as_default():
        for name, value in values.items():
            if not math.isnan(value):
                tf.summary.scalar(f"eval/{name}", value, step)
    writer.flush()
