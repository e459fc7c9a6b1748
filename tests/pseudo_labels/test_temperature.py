"""Temperature scaling: a minimum by hand, and one that the data was made with."""

import math

import numpy as np
import pytest

from wss.errors import UserError
from wss.pseudo_labels.temperature import cross_entropy, fit_temperature

# The model always says class 0, by 2, and is right three times in four.
LOGITS, LABELS = np.tile(np.float32([2, 0]), [4, 1]), np.array([0, 0, 0, 1])


def test_temperature_by_hand():
    """The loss is least where the confidence is 3/4: e^(2 / T) = 3."""
    assert fit_temperature(LOGITS, LABELS) == pytest.approx(2 / math.log(3), rel=1e-9)


def test_cross_entropy_by_hand():
    """log(1 + e^-2) = .126928 if right, 2.126928 if wrong; at the minimum the entropy of (3/4, 1/4)."""
    assert cross_entropy(LOGITS, LABELS) == pytest.approx(0.75 * 0.126928 + 0.25 * 2.126928, abs=1e-6)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert cross_entropy(LOGITS, LABELS, 2 / math.log(3)) == pytest.approx(entropy)


def test_the_temperature_of_the_data_is_found():
    rng = np.random.default_rng(0)
    calibrated = rng.normal(0, 2, [40_000, 5])
    labels = (calibrated + rng.gumbel(size=calibrated.shape)).argmax(1)  # draws from the softmax
    logits = (calibrated * 1.27).astype(np.float32)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(1.27, rel=0.02)
    best = cross_entropy(logits, labels, temperature)
    assert best < cross_entropy(logits, labels)
    assert all(best < cross_entropy(logits, labels, temperature * factor) for factor in (0.98, 1.02))


def test_ignored_pixels_count_nowhere():
    logits, labels = np.concatenate([LOGITS, [[9, -9]]]), np.append(LABELS, 255)
    assert fit_temperature(logits, labels) == fit_temperature(LOGITS, LABELS)
    assert cross_entropy(logits, labels) == cross_entropy(LOGITS, LABELS)


def test_large_logits_do_not_overflow():
    assert cross_entropy(LOGITS * 5e4, LABELS) == pytest.approx(0.25 * 1e5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 0, 0], "no minimum of the loss in 0.05..20.0 over 4 labelled pixels"),
        ([1, 1, 0, 0], "no minimum"),
        ([255, 255, 255, 255], "no labelled pixels"),
        ([0, 0, 1, 2], "a label is 2, expected 0..1 or 255"),
        ([0, 0, 1, -1], "a label is -1"),
    ],
)
def test_what_has_no_temperature_is_one_line(labels, expected):
    with pytest.raises(UserError) as error:
        fit_temperature(LOGITS, np.array(labels))
    assert expected in str(error.value) and "\n" not in str(error.value)
