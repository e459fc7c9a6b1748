"""Confidences in fp16: the softmax by hand, and a histogram that knows as much as a sorted list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wss.errors import UserError
from wss.methods.dars.confidence import NUM_PATTERNS, histogram, of_logits, patterns


def test_softmax_by_hand():
    """e^2 / (e^2 + 1) = .880797, the nearest fp16 is .880859; with T = 2, e / (e + 1) = .731059 -> .730957."""
    logits = np.array([[[0.0, 2.0]], [[2.0, 0.0]]], np.float32)
    prediction, confidence = of_logits(logits)
    assert prediction.dtype == np.uint8 and confidence.dtype == np.float16
    np.testing.assert_array_equal(prediction, [[1], [0]])
    np.testing.assert_array_equal(confidence, np.full([2, 1], 0.880859375, np.float16))
    np.testing.assert_array_equal(of_logits(logits, temperature=2)[1], np.full([2, 1], 0.73095703125, np.float16))


def test_of_equal_logits_the_first_class_wins():
    prediction, confidence = of_logits(np.array([[1, 3, 3, 2, 3], [4, 4, 4, 4, 4]], np.float32))
    np.testing.assert_array_equal(prediction, [1, 0])
    assert confidence[1] == np.float16(0.2)


def test_logits_that_fp16_cannot_tell_apart_are_equal():
    """From 1024 to 2048 the step of fp16 is 1."""
    prediction, confidence = of_logits(np.array([1200, 1200.25], np.float32))
    assert (prediction, confidence) == (0, 0.5)


def test_huge_logits_give_no_nan():
    logits = np.array([[1e9, -1e9], [-np.inf, np.inf], [np.inf, np.inf], [-1e9, -1e9]], np.float32)
    prediction, confidence = of_logits(logits)
    np.testing.assert_array_equal(prediction, [0, 1, 0, 0])
    np.testing.assert_array_equal(confidence, np.array([1, 1, 0.5, 0.5], np.float16))


@given(arrays.arrays(np.float32, (7, 5), elements=st.floats(-1e5, 1e5, width=32)), st.floats(0.1, 10))
def test_confidences_are_the_softmax_in_double_precision(logits, temperature):
    prediction, confidence = of_logits(logits, temperature)
    half = (logits / np.float32(temperature)).clip(-65504, 65504).astype(np.float16).astype(np.float64)
    expected = 1 / np.exp(half - half.max(1, keepdims=True)).sum(1)
    np.testing.assert_array_equal(prediction, half.argmax(1))
    np.testing.assert_allclose(confidence, expected, rtol=2**-11 + 1e-6)
    assert (confidence >= np.float16(0.2)).all() and (confidence <= 1).all()


def test_a_large_image_is_the_sum_of_its_parts():
    logits = np.random.default_rng(0).normal(0, 3, [131, 257, 4]).astype(np.float32)
    prediction, confidence = of_logits(logits)
    assert prediction.shape == confidence.shape == (131, 257)
    for row in (0, 64, 130):
        expected = of_logits(logits[row])
        np.testing.assert_array_equal(prediction[row], expected[0])
        np.testing.assert_array_equal(confidence[row], expected[1])


def test_patterns_of_19_classes_are_4420():
    """The least confidence of 19 classes is 1/19."""
    lowest = of_logits(np.zeros(19, np.float32))[1]
    assert patterns(np.float16([1]))[0] == NUM_PATTERNS - 1
    assert NUM_PATTERNS - patterns(lowest) == 4420


def test_histogram_by_hand():
    prediction = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    confidence = np.array([[1, 0.5, 0.5], [0, 1, 0.75]], np.float16)
    counts = histogram(prediction, confidence, 3)
    assert counts.shape == (3, 15361) and counts.dtype == np.int64
    found = {(int(j), int(p)): int(counts[j, p]) for j, p in np.argwhere(counts)}
    assert found == {(0, 0x3C00): 2, (1, 0x3800): 2, (1, 0): 1, (1, 0x3A00): 1}


def test_histograms_add_up():
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 4, [10, 20], np.uint8)
    confidence = rng.random([10, 20]).astype(np.float16)
    parts = [histogram(prediction[rows], confidence[rows], 4) for rows in (slice(0, 3), slice(3, 10))]
    np.testing.assert_array_equal(sum(parts), histogram(prediction, confidence, 4))


@pytest.mark.parametrize(
    ("prediction", "confidence", "expected"),
    [(3, 0.5, "a prediction is 3, expected 0..2"), (0, 1.001, "0..1"), (0, -0.5, "0..1"), (0, np.nan, "0..1")],
)
def test_damaged_arrays_are_one_line(prediction, confidence, expected):
    with pytest.raises(UserError) as error:
        histogram(np.full([2, 2], prediction, np.uint8), np.full([2, 2], confidence, np.float16), 3)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("temperature", [0, -1, np.inf, np.nan])
def test_bad_temperatures(temperature):
    with pytest.raises(UserError, match="expected a positive number"):
        of_logits(np.zeros([1, 2], np.float32), temperature)


def test_a_diverged_model_is_named():
    with pytest.raises(UserError, match="NaN"):
        of_logits(np.array([[0, 1], [np.nan, 0]], np.float32))


def test_256_classes_are_too_many():
    assert of_logits(np.eye(255, dtype=np.float32)[254])[0] == 254
    with pytest.raises(UserError, match="256 classes"):
        of_logits(np.zeros([1, 256], np.float32))
