"""Segmentation metrics from two small sums: a confusion matrix and a calibration histogram.

The TensorFlow functions count one batch, with static shapes; the caller sums over replicas and batches. The NumPy
functions turn the sums into numbers.
"""

from typing import TypeAlias

import numpy as np
import tensorflow as tf

from wss.runtime.devices import on_cpu

NUM_BINS = 15

Values: TypeAlias = tf.Tensor | np.ndarray


def confusion_matrix(label: Values, prediction: Values, num_classes: int, *, ignore_label: int = 255) -> tf.Tensor:
    """Counts the pixels of one batch by true and predicted class.

    Args:
        label: Integer `[B, H, W]` or `[B, H, W, 1]`. Pixels of `ignore_label`, and of any other value outside 0 .. C-1,
            count nowhere; `num_unknown_labels` counts the latter.
        prediction: Integer `[B, H, W]`, 0 .. C-1.
        num_classes: C, the background included if there is one.
        ignore_label: Label of the pixels to leave out.

    Returns:
        int64 `[C, C]`, rows are true classes and columns predicted ones.
    """
    label, valid = _flat_label(label, num_classes, ignore_label)
    prediction = tf.cast(tf.reshape(prediction, [-1]), tf.int32)
    # Bins past the end hold what does not count: a boolean mask would have no static shape.
    index = tf.where(valid, label * num_classes + prediction, num_classes**2)
    counts = _count(index, num_classes**2 + 1)
    return tf.cast(tf.reshape(counts[:-1], [num_classes, num_classes]), tf.int64)


def calibration_histogram(
    label: Values, probabilities: tf.Tensor, num_bins: int = NUM_BINS, *, ignore_label: int = 255
) -> tf.Tensor:
    """Sorts the pixels of one batch by the confidence of their prediction, the largest probability.

    Args:
        label: Integer `[B, H, W]` or `[B, H, W, 1]`, as for `confusion_matrix`.
        probabilities: float `[B, H, W, C]`, 0 .. 1, summing to 1 over C.
        num_bins: Number of bins of equal width; bin m is (m / num_bins, (m + 1) / num_bins].
        ignore_label: Label of the pixels to leave out.

    Returns:
        float64 `[num_bins, 3]`: number of pixels, sum of their confidences, number of correct ones.
    """
    label, valid = _flat_label(label, probabilities.shape[-1], ignore_label)
    confidence = tf.reshape(tf.reduce_max(probabilities, axis=-1), [-1])
    # On the probabilities as they came: TensorFlow then shares this argmax with the caller's.
    correct = tf.reshape(tf.argmax(probabilities, axis=-1, output_type=tf.int32), [-1]) == label
    bins = tf.cast(tf.math.ceil(confidence * num_bins), tf.int32) - 1
    bins = tf.where(valid, tf.clip_by_value(bins, 0, num_bins - 1), num_bins)
    wrong_and_right = tf.reshape(_count(2 * bins + tf.cast(correct, tf.int32), 2 * num_bins + 2), [-1, 2])
    # float64: a float32 sum over the millions of pixels of a batch is wrong in the third digit.
    confidences = _sum_by_bin(tf.cast(confidence, tf.float64), bins, num_bins + 1)
    return tf.stack([tf.reduce_sum(wrong_and_right, axis=1), confidences, wrong_and_right[:, 1]], axis=1)[:-1]


def num_unknown_labels(label: Values, num_classes: int, ignore_label: int = 255) -> tf.Tensor:
    """Returns how many pixels of `label` are neither a class nor `ignore_label`: int64 `[]`."""
    flat, valid = _flat_label(label, num_classes, ignore_label)
    return tf.math.count_nonzero(~valid & (flat != ignore_label))


def _count(index, size: int) -> tf.Tensor:
    """Returns how often 0 .. size-1 occur in int32 `index` [N]: float64 [size], exact up to 2^53."""
    return _sum_by_bin(tf.ones_like(index, tf.float64), index, size)


def _sum_by_bin(values, index, size: int) -> tf.Tensor:
    """Sums float64 `values` [N] by int32 `index` [N], 0 .. size-1: float64 [size]."""
    if on_cpu():  # several times as fast there, but the GPU's kernel refuses op determinism
        return tf.raw_ops.Bincount(arr=index, size=size, weights=values)
    return tf.math.unsorted_segment_sum(values, index, size)


def _flat_label(label, num_classes, ignore_label):
    label = tf.cast(tf.reshape(label, [-1]), tf.int32)
    return label, (label >= 0) & (label < num_classes) & (label != ignore_label)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Returns the IoU of each class, float64 `[C]`; NaN for a class absent from the labels."""
    confusion = np.asarray(confusion, np.float64)
    return divide(np.diag(confusion), np.where(confusion.sum(1) > 0, _union(confusion), 0))


def mean_iou(confusion: np.ndarray) -> float:
    """Returns the mean IoU over the classes that occur in the labels or in the predictions.

    A class that is predicted but absent from the labels counts as 0; one that occurs in neither is left out. This is the
    rule of the original code (`tf.metrics.mean_iou`). NaN without any pixel.
    """
    confusion = np.asarray(confusion, np.float64)
    return _mean(divide(np.diag(confusion), _union(confusion)))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Returns the share of correct pixels; NaN without any pixel."""
    confusion = np.asarray(confusion, np.float64)
    return float(divide(np.trace(confusion), confusion.sum()))


def accuracy_per_class(confusion: np.ndarray) -> np.ndarray:
    """Returns the recall of each class, float64 `[C]`; NaN for a class absent from the labels."""
    confusion = np.asarray(confusion, np.float64)
    return divide(np.diag(confusion), confusion.sum(1))


def mean_accuracy(confusion: np.ndarray) -> float:
    """Returns the mean of `accuracy_per_class` over the classes in the labels; NaN without any."""
    return _mean(accuracy_per_class(confusion))


def pixel_share(confusion: np.ndarray) -> np.ndarray:
    """Returns the share of each class in the labelled pixels, float64 `[C]`; NaN without any."""
    confusion = np.asarray(confusion, np.float64)
    return divide(confusion.sum(1), confusion.sum())


def expected_calibration_error(histogram: np.ndarray) -> float:
    """Returns ECE = sum_b n_b / N |acc_b - conf_b| of a `calibration_histogram`; NaN if empty.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    count, confidence, correct = np.asarray(histogram, np.float64).T
    return float(divide(np.abs(correct - confidence).sum(), count.sum()))


def _union(confusion):
    return confusion.sum(0) + confusion.sum(1) - np.diag(confusion)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns `numerator / denominator`, NaN where the denominator is 0."""
    return np.divide(numerator, np.where(denominator > 0, denominator, np.nan))


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
