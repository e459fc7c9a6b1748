"""What a trained network says of whole images: logits averaged over windows, scales and mirror images."""

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

import gin
import numpy as np
import tensorflow as tf

from wss.data.pipeline import padded_size
from wss.data.resize import ResizeToRange, size_in_range
from wss.devices import on_cpu
from wss.errors import UserError
from wss.evaluation.stream import in_threads, one_behind
from wss.labeling.windows import Canvas
from wss.models.layers import resize_bilinear

AVERAGES = ("logits", "probabilities")
TINY = 1e-30
# Each image that is being cut or averaged holds its logits in float32.
THREADS = 2


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Labeling:
    """How a teacher looks at an image.

    Attributes:
        window: (height, width) of sliding windows, best the crop size of its training; None takes whole images.
        stride: distance of windows as a fraction of the window, rounded up.
        scales: factors of that size, averaged.
        flip: average with the mirror image.
        average: what is averaged: "logits", as in the reference, or "probabilities".
        windows_at_once: of one batch on each device; None takes 1 on a processor, else 8.
    """

    window: tuple[int, int] | None = None
    stride: float = 2 / 3
    base_size: int | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = True
    average: str = "logits"
    windows_at_once: int | None = None

    def __post_init__(self):
        if self.average not in AVERAGES:
            raise UserError(f"Labeling.average = {self.average!r}, expected 'logits' or 'probabilities'")
        if not 0 < self.stride <= 1:
            raise UserError(f"Labeling.stride = {self.stride}, expected a part of the window above 0 and at most 1")
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"Labeling.scales = {self.scales}, expected one or more numbers above 0")

    def scaled_size(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """The (height, width) at which an image of `size` is looked at."""
        resize = ResizeToRange()
        if self.base_size is not None:
            scale *= self.base_size / max(size)
        elif resize.min_size is not None:
            in_range = size_in_range(tf.constant(size), resize.min_size, resize.max_size, resize.factor)
            size = tuple(in_range.numpy().tolist())
        height, width = (max(1, round(side * scale)) for side in size)
        return height, width


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """An image to be labelled.

    Attributes:
        name: its id.
        image: uint8 or float32 [H, W, 3] in 0 .. 255.
        label: int32 [H, W], where it is needed.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None = None


class Teacher:
    """Predicts images one after the other; what it says of one does not depend on the others, nor on the devices.

    Args:
        model: callable `model(images, training=False)` that returns logits [B, h, w, C].
        strategy: that it was built under, of one host; windows are shared among its replicas.
        mean_pixel: RGB of padding.
        settings: how to look.
        sizes: the (height, width) of all images; whole images are padded to one size that holds them.
        output_stride: sides of whole images are k * output_stride + 1.
    """

    def __init__(
        self,
        model,
        strategy: tf.distribute.Strategy,
        mean_pixel: Sequence[float],
        settings: Labeling,
        sizes: Collection[tuple[int, int]],
        output_stride: int = 16,
    ):
        self.settings, self.mean_pixel = settings, mean_pixel
        self._windows = {scale: self._window(sizes, scale, output_stride) for scale in settings.scales}
        self._model, self._strategy = model, strategy
        self._at_once = settings.windows_at_once or (1 if on_cpu() else 8)
        self._run = tf.function(lambda windows: strategy.run(self._logits, args=(windows,)))

    def logits(self, photos: Iterable[Photo]) -> Iterator[tuple[Photo, np.ndarray]]:
        """Yields each photo with its logits, float32 [H, W, C] at its own size; log probabilities if those are averaged."""
        waiting: collections.deque[tuple[Photo, list[Canvas]]] = collections.deque()

        def windows() -> Iterator[np.ndarray]:
            for photo, canvases in in_threads(self._cut, photos, THREADS, ahead=THREADS):
                waiting.append((photo, canvases))
                for canvas in canvases:
                    yield from canvas.windows()

        def finished() -> Iterator[tuple[Photo, list[Canvas]]]:
            predictions = self._predictions(windows())
            for first in predictions:
                photo, canvases = waiting.popleft()
                # One chain, so that nothing is taken from the network before its place is known.
                here = itertools.chain([first], predictions)
                for canvas in canvases:
                    for prediction in itertools.islice(here, len(canvas)):
                        canvas.add(prediction)
                yield photo, canvases

        yield from in_threads(self._average, finished(), THREADS, ahead=THREADS)

    def _window(self, sizes: Collection[tuple[int, int]], scale: float, output_stride: int) -> tuple[int, int]:
        """Returns the size of the windows at one scale."""
        if self.settings.window is not None:
            return self.settings.window
        heights, widths = zip(*(self.settings.scaled_size(size, scale) for size in sizes), strict=True)
        return padded_size((max(heights), max(widths)), output_stride)

    def _cut(self, photo: Photo) -> tuple[Photo, list[Canvas]]:
        settings, canvases = self.settings, []
        size = photo.image.shape[:2]
        for scale in settings.scales:
            image = _resized(photo.image.astype(np.float32), settings.scaled_size(size, scale))
            # Whole images lie at the top and left, as in evaluation.
            centered = settings.window is not None
            window = self._windows[scale]
            canvases.append(Canvas(image, window, settings.stride, self.mean_pixel, centered, settings.flip))
        return photo, canvases

    def _average(self, job: tuple[Photo, list[Canvas]]) -> tuple[Photo, np.ndarray]:
        photo, canvases = job
        mean = np.mean([_resized(canvas.mean(), photo.image.shape[:2]) for canvas in canvases], axis=0)
        return photo, np.log(np.maximum(mean, TINY)) if self.settings.average == "probabilities" else mean

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
        size = self._at_once
        share = lambda context: tf.constant(
            windows[context.replica_id_in_sync_group * size : (context.replica_id_in_sync_group + 1) * size]
        )
        shared = self._strategy.experimental_distribute_values_from_function(share)
        return self._strategy.experimental_local_results(self._run(shared))

    def _logits(self, windows: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self._model(windows, training=False), tf.float32)
        logits = resize_bilinear(logits, windows.shape[1:3])
        return logits if self.settings.average == "logits" else tf.nn.softmax(logits)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, by the centres of pixels and not antialiased (OpenCV's INTER_LINEAR); float32 [h, w, C] -> [*size, C]."""
    if values.shape[:2] == tuple(size):
        return values
    with tf.device("CPU:0"):
        return tf.raw_ops.ResizeBilinear(images=values[None], size=size, half_pixel_centers=True)[0].numpy()
