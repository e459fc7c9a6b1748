"""From images to class probabilities: whole image, scaled and mirrored, or by sliding window."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from wss.models.layers import resize_bilinear


def predict(model, images, scales: Sequence[float] = (1.0,), flip: bool = False) -> tf.Tensor:
    """Predicts whole images; with the defaults the argmax is the original's evaluation.

    Args:
        model: callable `model(images, training=False)` that returns logits `[B, h, w, C]`.
        images: float `[B, H, W, 3]`, 0 .. 255, H and W static.
        scales: factors of the image size; their probabilities are averaged.
        flip: whether to average with the prediction of the mirrored image.

    Returns:
        Probabilities, float32 `[B, H, W, C]`.

    Source: `predict_labels` and `predict_labels_multi_scale` of deeplab/model.py.
    """
    height, width = images.shape[1:3]
    total = 0.0
    for scale in scales:
        # Grids 2^n + 1 stay aligned: corners map to corners.
        size = [round(scale * (side - 1)) + 1 for side in (height, width)]
        scaled = resize_bilinear(images, size)
        total += _probabilities(model, scaled, (height, width))
        if flip:
            mirrored = _probabilities(model, tf.reverse(scaled, [2]), (height, width))
            total += tf.reverse(mirrored, [2])
    return total / (len(scales) * (2 if flip else 1))


def predict_sliding(
    model,
    images,
    window: tuple[int, int],
    stride: float = 2 / 3,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> tf.Tensor:
    """Predicts overlapping windows and averages the probabilities where they overlap.

    All windows of a batch go through the model at once, so memory grows with their number: keep the
    batch small.

    Args:
        model: as for `predict`.
        images: float `[B, H, W, 3]`, 0 .. 255, H and W static.
        window: height and width of a window; cut to the image where it is larger.
        stride: distance of neighbouring windows as a fraction of the window; the last one is moved
            back to the border.
        scales: as for `predict`, of each window.
        flip: as for `predict`, of each window.

    Returns:
        Probabilities, float32 `[B, H, W, C]`; those of `predict` if one window covers the image.
    """
    height, width = images.shape[1:3]
    h, w = min(window[0], height), min(window[1], width)
    corners = [
        (y, x)
        for y in _starts(height, h, max(1, round(stride * h)))
        for x in _starts(width, w, max(1, round(stride * w)))
    ]
    crops = tf.concat([images[:, y : y + h, x : x + w] for y, x in corners], axis=0)
    parts = tf.split(predict(model, crops, scales, flip), len(corners))
    total = count = 0.0
    for (y, x), part in zip(corners, parts, strict=True):
        margins = [(0, 0), (y, height - h - y), (x, width - w - x), (0, 0)]
        total += tf.pad(part, margins)
        count += tf.pad(tf.ones([1, h, w, 1]), margins)
    return total / count


def explain(explain_fn: Callable, images, valid, image_label=None) -> dict[str, tf.Tensor]:
    """Returns the maps behind a pseudo label (decoder, CAM, SGC, fusion) at image size.

    Args:
        explain_fn: `explain_fn(images, valid, image_label)` that returns maps by name, each
            `[B, h, w, C]`.
        images: float `[B, H, W, 3]`, 0 .. 255.
        valid: float `[B, H, W, 1]`, 1 inside the image and 0 in its padding.
        image_label: float multi-hot `[B, K]`, or None to let the model name the classes.

    Returns:
        The same maps, float32 `[B, H, W, C]`.
    """
    maps = explain_fn(images, valid, image_label)
    size = images.shape[1:3]
    return {name: tf.cast(resize_bilinear(x, size), tf.float32) for name, x in maps.items()}


def _probabilities(model, images, size):
    logits = tf.cast(model(images, training=False), tf.float32)
    return tf.nn.softmax(resize_bilinear(logits, size))


def _starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of windows that cover 0 .. side-1; the last one ends at the border."""
    number = math.ceil((side - window) / stride) + 1
    return [min(i * stride, side - window) for i in range(number)]
