"""Predicts photos of any size with a trained network: logits averaged over windows, scales and mirror images."""

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

import gin
import numpy as np
import tensorflow as tf

from wss.data.padding import Padding
from wss.data.resize import ResizeToRange
from wss.inference.photos import Photo
from wss.inference.pipelining import in_threads, one_behind
from wss.inference.sliding_window import SlidingWindowAverage, SlidingWindows
from wss.ops.resizing import resize_bilinear
from wss.parameter_ranges import in_ranges
from wss.ranges import (
    LARGEST_BATCH,
    LARGEST_SCALE,
    LARGEST_SIDE,
    Integer,
    Number,
    OneOf,
    OrNone,
    Several,
    Size,
    Switch,
)
from wss.runtime.devices import on_cpu

AVERAGES = ("logits", "probabilities")
TINY = 1e-30
# Each image that is being cut or averaged holds its logits in float32.
THREADS = min(4, os.cpu_count() or 1)
R = TypeVar("R")


@gin.configurable
@in_ranges(
    "Labeling",
    window=OrNone(Size()),
    stride=Number(above=0, maximum=1),
    base_size=OrNone(Integer(1, LARGEST_SIDE)),
    scales=Several(Number(above=0, maximum=LARGEST_SCALE)),
    flip=Switch(),
    average=OneOf(AVERAGES),
    windows_at_once=OrNone(Integer(1, LARGEST_BATCH)),
)
@dataclasses.dataclass(frozen=True)
class Labeling:
    """The settings by which a teacher looks at an image.

    Attributes:
        window: (height, width) of sliding windows over the scaled image, best the crop size of training; None takes whole
            images.
        stride: Distance of windows as a fraction of the window, rounded up.
        base_size: Longer side at which an image is looked at; None for that of `ResizeToRange`.
        scales: Factors of that size, averaged.
        flip: Whether to average with the mirror image.
        average: "logits", as in the reference, or "probabilities": what is averaged.
        windows_at_once: Number of windows of one batch on each device; batches are of one shape and filled up. None takes
            1 on a processor; else 8, or as many as an image has where whole images have a shape for each scale.
    """

    window: tuple[int, int] | None = None
    stride: float = 2 / 3
    base_size: int | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = True
    average: str = "logits"
    windows_at_once: int | None = None


class PhotoPredictor:
    """A network for photos one after the other; its prediction of one depends neither on the others nor on the devices.

    Args:
        model: Callable `model(images, training=False)` that returns logits `[B, h, w, C]`.
        strategy: The strategy that it was built under, of one host; windows are shared among its replicas.
        settings: How to look at photos.
        padding: How photos are padded for the network.
        sizes: (height, width) of all images; whole images are padded to one size that holds them.
        resize: Size of images without `Labeling.base_size`; None for that of gin.
    """

    def __init__(
        self,
        model,
        strategy: tf.distribute.Strategy,
        *,
        settings: Labeling,
        padding: Padding,
        sizes: Collection[tuple[int, int]],
        resize: ResizeToRange | None = None,
    ):
        padding.check("Labeling.window", settings.window)
        self.settings, self.padding = settings, padding
        self._resize = resize or ResizeToRange()
        self._windows = {scale: self._window(sizes, scale) for scale in settings.scales}
        self._model, self._strategy = model, strategy
        alike = 8 if len(set(self._windows.values())) == 1 else 1 + settings.flip
        self._at_once = settings.windows_at_once or (1 if on_cpu() else alike)
        self._run = tf.function(lambda windows: strategy.run(self._logits, args=(windows,)))

    def map(self, function: Callable[[Photo, np.ndarray], R], photos: Iterable[Photo]) -> Iterator[R]:
        """Yields `function(photo, logits)` of each photo, in order.

        Args:
            function: Function that is called in threads; logits are float32 `[H, W, C]` at the photo's own size, log
                probabilities if those are averaged.
            photos: Photos, of which a few are taken ahead.
        """
        waiting: collections.deque[tuple[Photo, list[SlidingWindowAverage]]] = collections.deque()

        def windows() -> Iterator[np.ndarray]:
            for photo, averages in in_threads(self._cut, photos, threads=THREADS, ahead=THREADS):
                waiting.append((photo, averages))
                for average in averages:
                    yield from average.windows()

        def finished() -> Iterator[tuple[Photo, list[SlidingWindowAverage]]]:
            predictions = self._predictions(windows())
            for first in predictions:
                photo, averages = waiting.popleft()
                # One chain, so that nothing is taken from the network before its place is known.
                here = itertools.chain([first], predictions)
                for average in averages:
                    for prediction in itertools.islice(here, len(average)):
                        average.add(prediction)
                yield photo, averages

        def average(job: tuple[Photo, list[SlidingWindowAverage]]) -> R:
            return function(job[0], self._average(*job))

        yield from in_threads(average, finished(), threads=THREADS, ahead=THREADS)

    def _size(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """Returns the (height, width) at which an image of `size` is looked at."""
        if self.settings.base_size is not None:
            scale *= self.settings.base_size / max(size)
        else:
            size = self._resize.size_of(size)
        height, width = (max(1, round(side * scale)) for side in size)
        return height, width

    def _window(self, sizes: Collection[tuple[int, int]], scale: float) -> tuple[int, int]:
        """Returns the size of the windows at one scale."""
        if self.settings.window is not None:
            return self.settings.window
        heights, widths = zip(*(self._size(size, scale) for size in sizes), strict=True)
        return self.padding.size((max(heights), max(widths)))

    def _cut(self, photo: Photo) -> tuple[Photo, list[SlidingWindowAverage]]:
        settings, averages = self.settings, []
        size = photo.image.shape[:2]
        for scale in settings.scales:
            image = _resized(photo.image.astype(np.float32), self._size(size, scale))
            # Whole images lie at the top and left, as in evaluation.
            centered = settings.window is not None
            windows = SlidingWindows(image.shape[:2], self._windows[scale], settings.stride, centered)
            averages.append(SlidingWindowAverage(image, windows, self.padding.color, settings.flip))
        return photo, averages

    def _average(self, photo: Photo, averages: Sequence[SlidingWindowAverage]) -> np.ndarray:
        total = _resized(averages[0].mean(), photo.image.shape[:2])
        for average in averages[1:]:
            total += _resized(average.mean(), photo.image.shape[:2])
        mean = total / np.float32(len(averages))
        return np.log(np.maximum(mean, TINY)) if self.settings.average == "probabilities" else mean

    def _predictions(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the prediction of each window, in order; batches are full, and of windows of one shape."""
        batch = self._at_once * self._strategy.num_replicas_in_sync

        def launched() -> Iterator[tuple[int, Sequence[tf.Tensor]]]:
            for _, alike in itertools.groupby(windows, key=lambda window: window.shape):
                while group := list(itertools.islice(alike, batch)):
                    filled = np.stack(group + group[-1:] * (batch - len(group)))
                    yield len(group), self._launch(filled)

        for count, parts in one_behind(launched()):
            outputs = itertools.chain.from_iterable(part.numpy() for part in parts)
            yield from itertools.islice(outputs, count)

    def _launch(self, windows: np.ndarray) -> Sequence[tf.Tensor]:
        def share(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * self._at_once
            return tf.constant(windows[first : first + self._at_once])

        shared = self._strategy.experimental_distribute_values_from_function(share)
        return self._strategy.experimental_local_results(self._run(shared))

    def _logits(self, windows: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self._model(windows, training=False), tf.float32)
        logits = resize_bilinear(logits, windows.shape[1:3])
        return logits if self.settings.average == "logits" else tf.nn.softmax(logits)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes float32 [h, w, C] to [*size, C], bilinear by the centres of pixels (OpenCV's INTER_LINEAR)."""
    if values.shape[:2] == tuple(size):
        return values
    with tf.device("CPU:0"):
        return tf.raw_ops.ResizeBilinear(images=values[None], size=size, half_pixel_centers=True)[0].numpy()
