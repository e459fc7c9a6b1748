"""How a run is evaluated: the split, the image size, scales and windows; configured by gin."""

import functools
from collections.abc import Sequence
from pathlib import Path

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import validate_records
from wss.data.training_data import evaluation_batches
from wss.errors import UserError
from wss.evaluation.evaluator import Evaluator, Result, write_json, write_scalars
from wss.evaluation.tables import evaluation_table
from wss.inference.prediction import predict, predict_sliding
from wss.models.deeplab import DeepLab
from wss.progress import format_seconds
from wss.run_directory import RunDirectory


@gin.configurable
class Evaluation:
    """Evaluation of a model on a split with masks.

    Args:
        model: built under `strategy`.
        info: the data set.
        strategy: to run under.
        split: with masks.
        batch_size: images of one step, over all replicas.
        size: (height, width) to pad the images to, once resized by `ResizeToRange`; by default what the largest needs.
        scales: factors of the image size, averaged.
        flip: average with the mirrored image.
        window: (height, width) of sliding windows; None takes whole images, as the original does.
        window_stride: distance of windows as a fraction of the window.
        windows_at_once: how many windows of each image go through the network in one batch at most; None for all.
    """

    def __init__(
        self,
        model: DeepLab,
        info: DatasetInfo,
        strategy: tf.distribute.Strategy,
        split: str = "val",
        batch_size: int = 8,
        size: tuple[int, int] | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: tuple[int, int] | None = None,
        window_stride: float = 2 / 3,
        windows_at_once: int | None = 4,
    ):
        if info.split(split).num_masks == 0:
            raise UserError(f"Evaluation.split = {split!r} of {info.directory} has no masks to evaluate on")
        validate_records(info, split)
        if batch_size % strategy.num_replicas_in_sync:
            raise UserError(
                f"Evaluation.batch_size = {batch_size} does not divide among {strategy.num_replicas_in_sync} replicas"
            )
        predict_fn = functools.partial(predict, scales=scales, flip=flip)
        if window is not None:
            predict_fn = functools.partial(
                predict_sliding,
                window=window,
                stride=window_stride,
                scales=scales,
                flip=flip,
                windows_at_once=windows_at_once,
            )
        self.split, self.info = split, info
        self.evaluator = Evaluator(model, info, strategy, predict_fn)
        self.batches = evaluation_batches(info, split, batch_size, model.mean_pixel, size)

    def __call__(self, number_of_batches: int | None = None) -> Result:
        """Evaluates the split, or only its first batches."""
        batches = self.batches if number_of_batches is None else self.batches.take(number_of_batches)
        return self.evaluator(batches, self.split)


def default_split() -> str:
    """The split of the evaluation, or "val"."""
    return gin.get_bindings("Evaluation").get("split", "val")


def report(result: Result, run: RunDirectory, step: int, output: str | None = None) -> None:
    """Prints a result as a table and writes it as JSON (by default <run_dir>/eval_<split>.json) and to TensorBoard."""
    path = Path(output) if output else run.evaluation(result.split)
    write_json(result, path)
    write_scalars(result, tf.summary.create_file_writer(str(run.evaluation_summaries(result.split))), step)
    print(evaluation_table(result))
    rate = result.num_images / max(result.seconds, 1e-9)
    print(f"{result.num_images} images in {format_seconds(result.seconds)} ({rate:.1f} images/s), written to {path}")
