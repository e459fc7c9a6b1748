"""From images to class probabilities: whole image, scaled and mirrored, or by sliding window."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from wss.methods.base import Figure, Method
from wss.models.deeplab import DeepLab
from wss.models.layers.convolution import resize_bilinear
from wss.runtime.devices import on_cpu


def predict(model, images, scales: Sequence[float] = (1.0,), flip: bool = False) -> tf.Tensor:
    """Predicts whole images; with the defaults the argmax is the original's evaluation.

    An accelerator gets an image and its mirrored one in one batch, which takes the memory of two images. On processors
    that is slower by a tenth or more than one after the other, so there it is not done.

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
        if not flip:
            total += _probabilities(model, scaled, (height, width))
            continue
        both = scaled, tf.reverse(scaled, [2])
        if on_cpu():
            plain, mirrored = (_probabilities(model, one, (height, width)) for one in both)
        else:
            plain, mirrored = tf.split(_probabilities(model, tf.concat(both, axis=0), (height, width)), 2)
        total += plain + tf.reverse(mirrored, [2])
    return total / (len(scales) * (2 if flip else 1))


def predict_sliding(
    model,
    images,
    window: tuple[int, int],
    stride: float = 2 / 3,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    windows_at_once: int | None = 4,
) -> tf.Tensor:
    """Predicts overlapping windows and averages the probabilities where they overlap.

    The model's memory is that of `windows_at_once` windows of each image. The probabilities of all windows are kept
    until they are averaged: with the default stride up to (3/2)^2 times as much as the result.

    Args:
        model: as for `predict`.
        images: float `[B, H, W, 3]`, 0 .. 255, H and W static.
        window: height and width of a window; cut to the image where it is larger.
        stride: distance of neighbouring windows as a fraction of the window; the last one is moved
            back to the border.
        scales: as for `predict`, of each window.
        flip: as for `predict`, of each window.
        windows_at_once: how many windows of each image go through the model in one batch at most; None for all.

    Returns:
        Probabilities, float32 `[B, H, W, C]`; those of `predict` if one window covers the image.
    """
    height, width = images.shape[1:3]
    h, w = min(window[0], height), min(window[1], width)
    tops = window_starts(height, h, max(1, round(stride * h)))
    lefts = window_starts(width, w, max(1, round(stride * w)))
    corners = list(itertools.product(tops, lefts))
    batch = images.shape[0] or tf.shape(images)[0]

    def predict_windows(corners) -> tf.Tensor:
        crops = [tf.slice(images, [0, *tf.unstack(corner), 0], [batch, h, w, images.shape[-1]]) for corner in corners]
        return predict(model, tf.concat(crops, axis=0), scales, flip)

    groups = math.ceil(len(corners) / (windows_at_once or len(corners)))
    at_once = math.ceil(len(corners) / groups)
    if groups == 1:
        probabilities = predict_windows(tf.unstack(tf.constant(corners)))
    else:
        # The last group is filled up; what is past the end is not read below.
        filled = [*corners, *[corners[-1]] * (groups * at_once - len(corners))]
        probabilities = tf.map_fn(
            lambda group: predict_windows(tf.unstack(group)),
            tf.reshape(tf.constant(filled), [groups, at_once, 2]),
            parallel_iterations=1,
            fn_output_signature=tf.float32,
        )
    probabilities = tf.reshape(probabilities, [groups * at_once, batch, h, w, probabilities.shape[-1]])
    windows = tf.unstack(probabilities)[: len(corners)]
    rows = [_mean_of_overlaps(row, lefts, axis=2) for row in _in_groups(windows, len(lefts))]
    return _mean_of_overlaps(rows, tops, axis=1)


def predict_and_explain(
    network: DeepLab, method: Method, images: tf.Tensor, sizes: tf.Tensor
) -> tuple[tf.Tensor, list[Figure]]:
    """Predicts as the evaluator does and returns the maps behind it, by one pass of the network.

    Args:
        network: The trained network.
        method: Its method, which says what can be shown.
        images: float [B, H, W, 3] in 0 .. 255, with B, H and W static.
        sizes: int32 [B, 2], (height, width) without padding.

    Returns:
        The prediction, int32 [B, H, W], and the method's maps, [B, h, w, C] each, which `to_image_size` brings to
        [B, H, W, C]. No map depends on the other images of the batch.
    """
    features = network.features(images)
    logits = network.segment(features)
    # The prediction is the evaluator's: upsampled before the softmax, unlike the maps.
    probabilities = predict(lambda images, training: logits, images)
    valid = valid_pixels(sizes, images.shape[1:3])
    maps: list[list[Figure]] = []
    for i in range(images.shape[0]):
        # One by one: a method may normalise over its batch, and only the network is expensive.
        one = slice(i, i + 1)
        own = {name: value[one] for name, value in features.items()}
        maps.append(method.intermediate_maps(network, own, logits[one], valid[one]))
    joined = [
        dataclasses.replace(same[0], values=tf.concat([tf.cast(figure.values, tf.float32) for figure in same], axis=0))
        for same in zip(*maps, strict=True)
    ]
    return tf.argmax(probabilities, axis=-1, output_type=tf.int32), joined


def valid_pixels(sizes: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Returns float32 `[B, H, W, 1]`, 1 inside images of `sizes` [B, 2] and 0 in their padding to `shape` (H, W)."""
    rows, columns = (tf.sequence_mask(sizes[:, i], shape[i], tf.float32) for i in (0, 1))
    return (rows[:, :, None] * columns[:, None, :])[..., None]


def to_image_size(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map float32 `[h, w, C]` to `[H, W, C]`, bilinear with aligned corners, on the processor."""
    with tf.device("CPU:0"):
        return resize_bilinear(values[None], size)[0].numpy()


def _probabilities(model, images, size):
    logits = tf.cast(model(images, training=False), tf.float32)
    return tf.nn.softmax(resize_bilinear(logits, size))


def window_starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of windows that cover 0 .. side-1; the last one ends at the border."""
    number = math.ceil((side - window) / stride) + 1
    return [min(i * stride, side - window) for i in range(number)]


def _in_groups(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _mean_of_overlaps(parts: list[tf.Tensor], starts: list[int], axis: int) -> tf.Tensor:
    """Lays parts of one length at `starts` along an axis, and averages them where several lie.

    Between neighbouring ends of parts the same ones lie, so each piece is a mean of slices: nothing of the result's size
    is added up once for each part.
    """
    length = parts[0].shape[axis]
    cuts = sorted({*starts, *(start + length for start in starts)})

    def slice_of(part: tf.Tensor, first: int, end: int) -> tf.Tensor:
        return part[(slice(None),) * axis + (slice(first, end),)]

    pieces = []
    for first, end in itertools.pairwise(cuts):
        here = [
            slice_of(part, first - start, end - start)
            for part, start in zip(parts, starts, strict=True)
            if start <= first < start + length
        ]
        pieces.append(tf.add_n(here) / len(here))
    return tf.concat(pieces, axis)
