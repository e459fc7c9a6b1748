"""Metrics against the original and by hand; eager, compiled and on two replicas."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from wss.ops import metrics

LABEL = np.array([[[0, 0, 1], [1, 255, 1]]])  # [1, 2, 3]
PREDICTION = np.array([[[0, 1, 1], [1, 0, 0]]])
CONFUSION = [[1, 1], [1, 2]]


def eager(function, *args):
    return function(*map(tf.constant, args)).numpy()


def compiled(function, *args):
    return tf.function(function)(*map(tf.constant, args)).numpy()


def mirrored(strategy, function, *args):
    """Half of the batch on each of two replicas, summed as the evaluator does."""
    data = tf.data.Dataset.from_tensors(args)
    data = strategy.experimental_distribute_dataset(data)

    @tf.function
    def step(args):
        return strategy.reduce("SUM", strategy.run(function, args=args), axis=None)

    (batch,) = data
    assert len(strategy.experimental_local_results(batch[0])) == 2
    return step(batch).numpy()


@pytest.fixture(params=["eager", "compiled", "mirrored"])
def call(request, two_replicas):
    if request.param == "mirrored":
        return functools.partial(mirrored, two_replicas)
    return {"eager": eager, "compiled": compiled}[request.param]


@pytest.fixture(scope="module")
def reference(goldens):
    with np.load(goldens / "preprocess_eval.npz") as arrays:
        return {key[5:]: arrays[key] for key in arrays.files if key.startswith("miou/")}


def test_confusion_matrix_of_the_original(call, reference, parity):
    labels, predictions = reference["labels"], reference["predictions"]
    if call is mirrored:
        labels, predictions = (np.concatenate([x, x[:1]]) for x in (labels, predictions))
        labels[-1] = 255
    confusion = call(
        lambda label, prediction: metrics.confusion_matrix(label, prediction, 21),
        labels,
        predictions,
    )
    assert confusion.dtype == np.int64
    parity.check("preprocess_eval", "confusion matrix", confusion, reference["confusion_matrix"], 0, "different")


def test_iou_of_the_original(reference, parity):
    per_class = metrics.iou_per_class(reference["confusion_matrix"])
    np.testing.assert_array_equal(np.isnan(per_class), np.isnan(reference["per_class"]))
    parity.check("preprocess_eval", "IoU", np.nan_to_num(per_class), np.nan_to_num(reference["per_class"]), 1e-6)
    parity.check("preprocess_eval", "IoU", metrics.mean_iou(reference["confusion_matrix"]), reference["mean"], 1e-6)


def test_confusion_matrix_by_hand():
    confusion = eager(
        lambda label, prediction: metrics.confusion_matrix(label, prediction, 2),
        LABEL[..., None],
        PREDICTION,
    )
    np.testing.assert_array_equal(confusion, CONFUSION)


def test_numbers_by_hand():
    np.testing.assert_allclose(metrics.iou_per_class(CONFUSION), [1 / 3, 2 / 4])
    np.testing.assert_allclose(metrics.mean_iou(CONFUSION), 5 / 12)
    np.testing.assert_allclose(metrics.pixel_accuracy(CONFUSION), 3 / 5)
    np.testing.assert_allclose(metrics.accuracy_per_class(CONFUSION), [1 / 2, 2 / 3])
    np.testing.assert_allclose(metrics.mean_accuracy(CONFUSION), 7 / 12)
    np.testing.assert_allclose(metrics.pixel_share(CONFUSION), [2 / 5, 3 / 5])


def test_absent_classes():
    """Class 1 is predicted only: 0 in the mean. Class 2 is nowhere: left out."""
    confusion = [[3, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(metrics.iou_per_class(confusion), [0.75, np.nan, np.nan])
    assert metrics.mean_iou(confusion) == 0.375
    assert metrics.mean_accuracy(confusion) == 0.75


def test_nothing_labeled_is_nan():
    nothing = np.zeros([2, 2], np.int64)
    assert np.isnan(metrics.mean_iou(nothing))
    assert np.isnan(metrics.pixel_accuracy(nothing))
    assert np.isnan(metrics.mean_accuracy(nothing))
    assert np.isnan(metrics.expected_calibration_error(np.zeros([15, 3])))


def test_counts_stay_exact_beyond_float32():
    pixels = 2**24 + 3
    ones = tf.ones([1, 1, pixels], tf.uint8)
    confusion = metrics.confusion_matrix(ones, ones, 2).numpy()
    np.testing.assert_array_equal(confusion, [[0, 0], [0, pixels]])


def test_ignore_label_may_be_a_class_value():
    label = np.array([[[0, 1, 2]]])
    confusion = metrics.confusion_matrix(label, label, 3, ignore_label=1).numpy()
    np.testing.assert_array_equal(np.diag(confusion), [1, 0, 1])


def test_unknown_labels_are_counted_apart():
    label = np.array([[[0, 1, 2, 7, -1, 255]]])
    assert metrics.num_unknown_labels(label, 2).numpy() == 3
    assert metrics.confusion_matrix(label, np.zeros_like(label), 2).numpy().sum() == 2


def test_calibration_by_hand(call):
    """Two bins. (0, .5]: one pixel, confidence .5, right. (.5, 1]: .9 right, .7 wrong, .8 right."""
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.0, 1.0]])
    label = np.array([0, 0, 0, 1, 255])
    if call is mirrored:
        probabilities = np.concatenate([probabilities, probabilities[-1:]])
        label = np.append(label, 255)
    histogram = call(
        lambda label, probabilities: metrics.calibration_histogram(label, probabilities, 2),
        label[:, None, None],
        probabilities[:, None, None].astype(np.float32),
    )
    np.testing.assert_allclose(histogram, [[1, 0.5, 1], [3, 2.4, 2]], rtol=1e-6)
    expected = 1 / 4 * abs(1 - 0.5) + 3 / 4 * abs(2 / 3 - 0.8)
    np.testing.assert_allclose(metrics.expected_calibration_error(histogram), expected, rtol=1e-6)


def test_calibration_of_a_calibrated_oracle_is_near_zero():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, [4, 200, 200]).astype(np.float32)
    label = (rng.random(confidence.shape) > confidence).astype(np.int32)
    probabilities = np.stack([confidence, 1 - confidence], -1)
    error = metrics.expected_calibration_error(metrics.calibration_histogram(label, probabilities).numpy())
    wrong = metrics.expected_calibration_error(metrics.calibration_histogram(1 - label, probabilities).numpy())
    assert error < 0.01 < 0.4 < wrong


def test_confidences_are_summed_in_double_precision():
    """In float32 the sum of 2^20 confidences of .95 is off by more than a thousandth."""
    probabilities = tf.tile(tf.constant([[[[0.95, 0.05]]]]), [1, 1024, 1024, 1])
    histogram = metrics.calibration_histogram(tf.zeros([1, 1024, 1024]), probabilities).numpy()
    np.testing.assert_allclose(histogram[:, 1].sum(), 2**20 * np.float64(np.float32(0.95)))


def test_shapes_are_static():
    label = tf.TensorSpec([2, 5, 7, 1], tf.int32)
    confusion = tf.function(lambda x: metrics.confusion_matrix(x, x, 3))
    assert confusion.get_concrete_function(label).output_shapes == [3, 3]
