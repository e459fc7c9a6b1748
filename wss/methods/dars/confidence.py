"""Confidences of pixels in fp16: what a policy needs to know of all images fits a small histogram.

A probability in fp16 is one of 15 361 bit patterns, and patterns sort as the numbers do. So counts per class and
pattern hold every confidence exactly, and histograms of images add up in any order.
"""

import numpy as np

from wss.errors import UserError

NUM_PATTERNS = 0x3C00 + 1  # bits of the fp16 numbers 0 .. 1
MAX_CLASSES = 255  # a prediction is uint8, and 255 is no class
_MAX_FLOAT16 = 65504.0
_CHUNK = 1 << 14  # pixels at a time: their float32 copies stay in the processor's cache


def of_logits(logits: np.ndarray, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class of each pixel and its probability, the largest of the softmax.

    As PyTorch does for half precision: logits are fp16, the softmax is computed in float32 and rounded to fp16 once.
    Memory beyond the result does not grow with the image.

    Args:
        logits: float `[..., C]`; beyond the range of fp16 they count as its ends.
        temperature: Number that logits are divided by in float32, before they become fp16.

    Returns:
        The first class of the largest logit, uint8 `[...]`, and its confidence, float16 `[...]`, 1/C .. 1, never NaN.

    Raises:
        UserError: There is a NaN among the logits, a temperature that is not positive, more than 255 classes.
    """
    num_classes = logits.shape[-1]
    if num_classes > MAX_CLASSES:
        raise UserError(f"{num_classes} classes: pseudo labels are 8 bits, so at most {MAX_CLASSES}")
    if not 0 < temperature < np.inf:
        raise UserError(f"temperature: found {temperature}, expected a positive number (1 changes nothing)")
    rows = logits.reshape(-1, num_classes)
    prediction, confidence = np.empty(len(rows), np.uint8), np.empty(len(rows), np.float16)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        prediction[part], confidence[part] = _of_rows(rows[part], temperature)
    return prediction.reshape(logits.shape[:-1]), confidence.reshape(logits.shape[:-1])


def _of_rows(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    # Classes first: operations over long rows are several times faster than over C numbers.
    scaled = np.divide(logits.T, np.float32(temperature), dtype=np.float32, order="C")
    scaled = scaled.clip(-_MAX_FLOAT16, _MAX_FLOAT16).astype(np.float16).astype(np.float32)
    largest = scaled.max(0)
    if np.isnan(largest).any():
        raise UserError("the model's logits have NaN; take a checkpoint from before its training diverged")
    prediction, smaller = np.zeros(len(logits), np.uint8), np.ones(len(logits), bool)
    for row in scaled[:-1]:
        smaller &= row < largest
        prediction += smaller  # counts the classes before the first of the largest logit
    scaled -= largest
    return prediction, (1 / np.exp(scaled, out=scaled).sum(0)).astype(np.float16)


def patterns(confidence: np.ndarray) -> np.ndarray:
    """Returns the bits of confidences, float16 `[...]` -> uint16 `[...]`, a view that sorts as they do."""
    return confidence.view(np.uint16)


def histogram(prediction: np.ndarray, confidence: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the pixels of each class and confidence.

    Args:
        prediction: uint8 `[H, W]`, classes.
        confidence: float16 `[H, W]`, 0 .. 1.
        num_classes: C.

    Returns:
        int64 `[C, 15361]`: entry (j, p) counts the pixels of class j whose confidence has the bits p.

    Raises:
        UserError: A prediction or a confidence is out of range, as in a damaged file.
    """
    bits = patterns(confidence)
    if prediction.size and prediction.max() >= num_classes:
        raise UserError(f"a prediction is {prediction.max()}, expected 0..{num_classes - 1}; predict the image again")
    if bits.size and bits.max() >= NUM_PATTERNS:
        raise UserError("a confidence is not in 0..1; predict the image again")
    key = np.multiply(prediction, NUM_PATTERNS, dtype=np.intp)
    key += bits
    return np.bincount(key.ravel(), minlength=num_classes * NUM_PATTERNS).reshape(num_classes, NUM_PATTERNS)
