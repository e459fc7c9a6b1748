"""From images to class probabilities: whole image, scaled and mirrored, or by sliding window."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from wss.data.padding import Padding
from wss.inference.refinement import refine
from wss.inference.sliding_window import SlidingWindows, mean_of_windows, pad_for_windows
from wss.methods.base import Figure, Method
from wss.models.deeplab import DeepLab
from wss.ops.dense_crf import CRFSettings
from wss.ops.resizing import Size, resize_bilinear, sides
from wss.runtime.devices import on_cpu

AVERAGES = ("probabilities", "logits")


def predict(
    model, images, *, scales: Sequence[float] = (1.0,), flip: bool = False, average: str = "probabilities"
) -> tf.Tensor:
    """Predicts whole images; with the defaults the argmax is the original's evaluation.

    An accelerator gets an image and its mirrored one in one batch, which takes the memory of two images. On processors
    that is slower by a tenth or more than one after the other, so there it is not done.

    Args:
        model: Callable `model(images, training=False)` that returns logits `[B, h, w, C]`.
        images: float `[B, H, W, 3]`, 0 .. 255. Where the network takes only some sides, such as multiples of a ViT's patch,
            they are resized to the nearest ones, and its logits back.
        scales: Factors of the image size, averaged.
        flip: Whether to average with the prediction of the mirrored image.
        average: What is averaged, "probabilities" or "logits".

    Returns:
        Probabilities, float32 `[B, H, W, C]`.

    Source: `predict_labels` and `predict_labels_multi_scale` of deeplab/model.py.
    """
    mean = _mean_prediction(model, images, scales=scales, flip=flip, average=average)
    return tf.nn.softmax(mean) if average == "logits" else mean


def _mean_prediction(model, images, *, scales: Sequence[float] = (1.0,), flip: bool, average: str) -> tf.Tensor:
    """Returns the mean of what is averaged, see `predict`."""
    size = sides(images)[1:3]
    predicted = functools.partial(_predicted, model, size=size, average=average)
    total = 0.0
    for scale in scales:
        scaled = _as_seen(model, images, size, scale)
        if not flip:
            total += predicted(scaled)
            continue
        both = scaled, tf.reverse(scaled, [2])
        if on_cpu():
            plain, mirrored = (predicted(one) for one in both)
        else:
            plain, mirrored = tf.split(predicted(tf.concat(both, axis=0)), 2)
        total += plain + tf.reverse(mirrored, [2])
    return total / (len(scales) * (2 if flip else 1))


def predict_sliding(
    model,
    images,
    window: tuple[int, int],
    *,
    pad_value: Sequence[float],
    stride: float = 2 / 3,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    windows_at_once: int | None = 4,
    average: str = "probabilities",
) -> tf.Tensor:
    """Predicts overlapping windows of the scaled images and averages the predictions where they overlap.

    The model's memory is that of `windows_at_once` windows of each image. The predictions of all windows are kept
    until they are averaged: with the default stride up to (3/2)^2 times as much as the scaled image's.

    Args:
        model: Network as for `predict`.
        images: float `[B, H, W, 3]`, 0 .. 255, H and W static.
        window: (height, width) of the windows, in pixels of the scaled image; see `SlidingWindows`.
        pad_value: RGB around scaled images that are smaller than a window.
        stride: Distance of neighbouring windows as a fraction of the window, rounded up.
        scales: Factors of the image size, averaged.
        flip: Whether to average with the prediction of each mirrored window.
        windows_at_once: Largest number of windows of each image in one batch; None for all.
        average: What is averaged, "probabilities" or "logits".

    Returns:
        Probabilities, float32 `[B, H, W, C]`.
    """
    size = images.shape[1:3]
    total = 0.0
    for scale in scales:
        scaled = resize_bilinear(images, scaled_size(size, scale))
        windows = SlidingWindows(tuple(scaled.shape[1:3]), window, stride)
        padded = pad_for_windows(scaled, windows, pad_value)
        predictions = _predict_windows(model, padded, windows, flip=flip, at_once=windows_at_once, average=average)
        total += resize_bilinear(mean_of_windows(predictions, windows), size)
    mean = total / len(scales)
    return tf.nn.softmax(mean) if average == "logits" else mean


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Returns (height, width) times a scale; grids of 2^n + 1 stay aligned, so that corners map to corners."""
    height, width = (_scaled_side(side, scale) for side in size)
    return height, width


def _scaled_side(side: int | tf.Tensor, scale: float) -> int | tf.Tensor:
    if isinstance(side, int):
        return round(scale * (side - 1)) + 1
    return tf.cast(tf.round(scale * tf.cast(side - 1, tf.float32)), tf.int32) + 1


def _as_seen(model, images: tf.Tensor, size: Sequence[int], scale: float) -> tf.Tensor:
    """Returns images of a (height, width) at a scale, and at the nearest one that the network takes."""
    padding = _strict_padding(model)
    if scale == 1 and padding is None:
        return images
    scaled = scaled_size(size, scale)
    return resize_bilinear(images, scaled if padding is None else padding.nearest(scaled))


def _strict_padding(model) -> Padding | None:
    """Returns the padding of a network that takes only some sides; None of others."""
    padding: Padding | None = getattr(model, "padding", None)
    return padding if padding is not None and padding.strict else None


def _predict_windows(
    model, padded: tf.Tensor, windows: SlidingWindows, *, flip: bool, at_once: int | None, average: str
) -> list[tf.Tensor]:
    """Returns the mean predictions `[B, *window, C]` of each window, which go through the model a few at once."""
    corners, batch = windows.corners, padded.shape[0] or tf.shape(padded)[0]
    extent = [batch, *windows.window, padded.shape[-1]]

    def predict_group(corners: list[tf.Tensor]) -> tf.Tensor:
        crops = [tf.slice(padded, [0, *tf.unstack(corner), 0], extent) for corner in corners]
        return _mean_prediction(model, tf.concat(crops, axis=0), flip=flip, average=average)

    groups = math.ceil(len(corners) / (at_once or len(corners)))
    group_size = math.ceil(len(corners) / groups)
    if groups == 1:
        probabilities = predict_group(tf.unstack(tf.constant(corners)))
    else:
        # The last group is filled up; what is past the end is not read below.
        filled = [*corners, *[corners[-1]] * (groups * group_size - len(corners))]
        probabilities = tf.map_fn(
            lambda group: predict_group(tf.unstack(group)),
            tf.reshape(tf.constant(filled), [groups, group_size, 2]),
            parallel_iterations=1,
            fn_output_signature=tf.float32,
        )
    shape = [groups * group_size, batch, *windows.window, probabilities.shape[-1]]
    return tf.unstack(tf.reshape(probabilities, shape))[: len(corners)]


def predict_and_explain(
    network: DeepLab, method: Method, images: tf.Tensor, sizes: tf.Tensor, *, crf: CRFSettings | None = None
) -> tuple[tf.Tensor, list[Figure]]:
    """Predicts as the evaluator does and returns the maps behind it, by one pass of the network.

    Args:
        network: The trained network.
        method: Its method, which says what can be shown.
        images: float [B, H, W, 3] in 0 .. 255, with B, H and W static.
        sizes: int32 [B, 2], (height, width) without padding.
        crf: Parameters of a dense CRF that refines the prediction; a further map is then without it.

    Returns:
        Probabilities, float32 [B, H, W, C], and the method's maps, [B, h, w, C] each, which `to_image_size` brings to
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
        maps.append(method.intermediate_maps(network, own, logits=logits[one], valid=valid[one]))
    joined = [
        dataclasses.replace(same[0], values=tf.concat([tf.cast(figure.values, tf.float32) for figure in same], axis=0))
        for same in zip(*maps, strict=True)
    ]
    if crf is not None:
        joined.insert(0, Figure("without CRF", "probabilities", probabilities))
        probabilities = refine(probabilities, images, sizes, crf)
    return probabilities, joined


def label_at_size(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes class ids, uint8 `[h, w]`, to `size` (H, W); a pixel gets the class with the largest share of it."""
    if label.shape == size:
        return label
    present = np.unique(label)
    result, largest = np.full(size, present[0], np.uint8), np.full(size, 0, np.uint8)
    for value in present:
        share = Image.fromarray(np.uint8(255) * (label == value)).resize(size[::-1], Image.Resampling.BILINEAR)
        larger = np.asarray(share) > largest
        result[larger], largest[larger] = value, np.asarray(share)[larger]
    return result


def valid_pixels(sizes: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Returns float32 `[B, H, W, 1]`, 1 inside images of `sizes` [B, 2] and 0 in their padding to `shape` (H, W)."""
    rows, columns = (tf.sequence_mask(sizes[:, i], shape[i], tf.float32) for i in (0, 1))
    return (rows[:, :, None] * columns[:, None, :])[..., None]


def to_image_size(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map float32 `[h, w, C]` to `[H, W, C]`, bilinear with aligned corners, on the processor."""
    with tf.device("CPU:0"):
        return resize_bilinear(values[None], size)[0].numpy()


def _predicted(model, images: tf.Tensor, *, size: Size, average: str) -> tf.Tensor:
    """Returns probabilities or logits of images at a (height, width), by way of the images' own."""
    logits = tf.cast(model(images, training=False), tf.float32)
    if _strict_padding(model) is not None:
        logits = resize_bilinear(logits, sides(images)[1:3])
    logits = resize_bilinear(logits, size)
    return logits if average == "logits" else tf.nn.softmax(logits)
