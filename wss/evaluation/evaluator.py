"""The evaluator: one pass over a split, on one device or many."""

import functools
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.record_damage import damage_told
from wss.errors import UserError
from wss.evaluation.result import Result
from wss.inference.pipelining import one_behind
from wss.inference.prediction import predict
from wss.inference.refinement import refine
from wss.models.folding import folded
from wss.ops import metrics
from wss.ops.dense_crf import CRFSettings
from wss.progress import track


class Evaluator:
    """The evaluation of one model, again and again; its step is compiled once per image size, or once for all.

    Args:
        model: Network with as many classes as `info`, built under `strategy.scope()`.
        info: The data set.
        strategy: The strategy to run under; None for the current one.
        predict_fn: Callable `predict_fn(model, images)` that returns probabilities `[B, H, W, C]`, such as
            `functools.partial(predict, flip=True)`.
        num_bins: Number of bins of the calibration error.
        crf: Parameters of the dense CRF that refines the probabilities of each image, on the processor; None without one.
        any_size: Whether one step is compiled for all image sizes.

    Raises:
        UserError: The model does not have the data set's number of classes.
    """

    def __init__(
        self,
        model,
        info: DatasetInfo,
        *,
        strategy: tf.distribute.Strategy | None = None,
        predict_fn: Callable = predict,
        num_bins: int = metrics.NUM_BINS,
        crf: CRFSettings | None = None,
        any_size: bool = False,
    ):
        if model.num_classes != info.num_classes:
            raise UserError(
                f"model: it predicts {model.num_classes} classes and data set {info.name} has "
                f"{info.num_classes}; evaluate on the data set that it was trained for"
            )
        self.info = info
        self.num_bins = num_bins
        self.strategy = strategy or tf.distribute.get_strategy()
        self.crf = crf
        if crf is not None and isinstance(self.strategy, tf.distribute.TPUStrategy):
            raise UserError("Evaluation.crf = True: a TPU cannot call the processor for it; evaluate on a GPU or a CPU")
        self._model = model
        self._predict = functools.partial(predict_fn, model)
        # A TPU has to know all shapes.
        self._any_size = any_size and not isinstance(self.strategy, tf.distribute.TPUStrategy)
        self._step: Callable | None = None

    def __call__(self, batches: tf.data.Dataset, split: str, number_of_batches: int | None = None) -> Result:
        """Evaluates a split.

        Args:
            batches: A finite data set of dicts with "image" float `[B, H, W, 3]`, 0 .. 255, and "label" integer
                `[B, H, W, 1]`; for the CRF with "size" int32 `[B, 2]` without padding.
            split: Name of the split that the batches come from.
            number_of_batches: Number of batches, for the progress; None where it is not known.

        Raises:
            UserError: The split has no masks, or a mask has a value that is neither a class nor the ignore label.
        """
        info = self.info
        if info.split(split).num_masks == 0:
            raise no_masks(info, split)
        start = time.monotonic()
        confusion = np.zeros([info.num_classes] * 2, np.int64)
        calibration = np.zeros([self.num_bins, 3], np.float64)
        num_images = 0
        inputs = self._distributed(batches)
        if self._step is None:
            signature = inputs.element_spec if self._any_size else None
            self._step = tf.function(self._sum_over_replicas, input_signature=signature)
        steps = track(inputs, f"evaluating {split}", number_of_batches, unit="step")
        with damage_told((info, split)), folded(self._model):
            for counts in one_behind(self._step(*inputs) for inputs in steps):
                if counts["unknown"]:
                    raise unknown_labels(info, split)
                confusion += counts["confusion"].numpy()
                calibration += counts["calibration"].numpy()
                num_images += int(counts["images"])
        seconds = time.monotonic() - start
        return Result(
            dataset=info.name,
            split=split,
            class_names=info.class_names,
            confusion=confusion,
            calibration=calibration,
            num_images=num_images,
            seconds=seconds,
        )

    def _distributed(self, batches: tf.data.Dataset):
        # Only these go to the devices, which cannot hold strings.
        names = ("image", "label") if self.crf is None else ("image", "label", "size")
        inputs = batches.map(lambda batch: tuple(batch[name] for name in names))
        # By default hosts would share the files, and the last batches of each would be lost.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return self.strategy.experimental_distribute_dataset(inputs.with_options(options))

    def _sum_over_replicas(self, *inputs) -> dict[str, tf.Tensor]:
        counts = self.strategy.run(self._count, args=inputs)
        return {name: self.strategy.reduce("SUM", x, axis=None) for name, x in counts.items()}

    def _count(self, images, label, sizes=None) -> dict[str, tf.Tensor]:
        num_classes, ignore = self.info.num_classes, self.info.ignore_label
        probabilities = self._predict(images)
        if self.crf is not None:
            probabilities = refine(probabilities, images, sizes, self.crf)
        prediction = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        labeled = tf.reduce_any(label != ignore, axis=[1, 2, 3])
        return {
            "confusion": metrics.confusion_matrix(label, prediction, num_classes, ignore_label=ignore),
            "calibration": metrics.calibration_histogram(label, probabilities, self.num_bins, ignore_label=ignore),
            "images": tf.math.count_nonzero(labeled),
            "unknown": metrics.num_unknown_labels(label, num_classes, ignore),
        }


def no_masks(info: DatasetInfo, split: str) -> UserError:
    """Returns the error for a split with nothing to evaluate on."""
    return UserError(f"{_where(info, split)}: it has no masks to evaluate on; choose a split with masks")


def unknown_labels(info: DatasetInfo, split: str) -> UserError:
    """Returns the error for a split in which `metrics.num_unknown_labels` found some."""
    return UserError(
        f"{_where(info, split)}: a mask has a value that is neither a class (0 .. {info.num_classes - 1}) nor the ignore "
        f"label ({info.ignore_label}); build the data set again"
    )


def _where(info: DatasetInfo, split: str) -> str:
    return f"{info.directory or info.name}, split {split!r}"
