"""Temperature scaling (Guo et al. 2017): one number that makes confidences as large as the model is right."""

import math
from collections.abc import Iterator

import numpy as np

from wss.errors import UserError

LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 40  # halvings of log T: finer than float32 logits deserve
_CHUNK = 1 << 14  # pixels at a time


def fit_temperature(logits: np.ndarray, labels: np.ndarray, ignore_label: int = 255) -> float:
    """Returns the temperature that minimises `cross_entropy`, in 0.05 .. 20.

    The loss is convex in 1/T, so its slope has one sign on either side of the minimum, and bisection of log T finds it.

    Args:
        logits: float `[N, C]` of labelled pixels that the model was not trained on.
        labels: int `[N]`, the true classes.
        ignore_label: Label whose pixels count nowhere.

    Raises:
        UserError: There are no labels, a label that is no class, or no minimum in the range.
    """
    logits, labels = _labeled(logits, labels, ignore_label)
    if _slope(logits, labels, LOWEST) <= 0 or _slope(logits, labels, HIGHEST) >= 0:
        raise UserError(
            f"temperature: no minimum of the loss in {LOWEST}..{HIGHEST} over {len(labels)} labelled pixels; "
            "expected some that the model gets right and some that it does not"
        )
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _slope(logits, labels, math.exp(middle)) > 0:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, *, ignore_label: int = 255
) -> float:
    """Returns the mean of -log p of the label, in nats, with p = softmax(logits / temperature).

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`, the true classes.
        temperature: T.
        ignore_label: Label whose pixels count nowhere.

    Raises:
        UserError: There are no labels, or a label that is no class.
    """
    logits, labels = _labeled(logits, labels, ignore_label)
    total = 0.0
    for margins in _margins(logits, labels):
        total += _log_sum_exp(margins / temperature).sum()
    return float(total / len(labels))


def _slope(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Returns the derivative of the summed loss by 1/T: the expected logit less that of the label."""
    total = 0.0
    for margins in _margins(logits, labels):
        scaled = margins / temperature
        probabilities = np.exp(scaled - _log_sum_exp(scaled)[:, None])
        total += (probabilities * margins).sum()
    return total


def _margins(logits: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the logits less that of the label, float64 [n, C], a few pixels at a time."""
    for start in range(0, len(labels), _CHUNK):
        part = logits[start : start + _CHUNK].astype(np.float64)
        yield part - np.take_along_axis(part, labels[start : start + _CHUNK, None], axis=1)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    largest = values.max(1, keepdims=True)
    return np.log(np.exp(values - largest).sum(1)) + largest[:, 0]


def _labeled(logits: np.ndarray, labels: np.ndarray, ignore_label: int) -> tuple[np.ndarray, np.ndarray]:
    valid = labels != ignore_label
    logits, labels = logits[valid], labels[valid].astype(np.intp)
    if not len(labels):
        raise UserError("temperature: no labelled pixels; choose a split with masks")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        found = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"temperature: a label is {found}, expected 0..{logits.shape[1] - 1} or {ignore_label}")
    return logits, labels
