"""Sliding windows over an image: where they lie, how they are cut, and the mean of what is predicted in them.

`SlidingWindows` alone knows where windows lie. Two averages follow it. `mean_of_windows` is for a compiled step, whose
batches have one shape. `SlidingWindowAverage` is for images of any size, whose windows share batches with other images.

Source: DARS' util/validate_full_size.py and the PSPNet code that it follows (scale_process, net_process).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class SlidingWindows:
    """The windows over an image of one size, padded to at least one window.

    Attributes:
        image_size: (height, width) of the image, at the scale at which the network sees it.
        window: (height, width) of a window.
        stride: Distance of neighbouring windows as a fraction of the window, rounded up; the last one ends at the border.
        centered: Whether an image smaller than a window lies in the middle of its padding, not at the top and left.
    """

    image_size: Size
    window: Size
    stride: float = 2 / 3
    centered: bool = True

    @functools.cached_property
    def padded_size(self) -> Size:
        """(height, width) of the image with its padding."""
        height, width = map(max, self.image_size, self.window)
        return height, width

    @functools.cached_property
    def offset(self) -> Size:
        """(top, left) of the image in its padding."""
        top, left = (
            (padded - side) // 2 if self.centered else 0
            for padded, side in zip(self.padded_size, self.image_size, strict=True)
        )
        return top, left

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the image in its padding."""
        rows, columns = (slice(first, first + side) for first, side in zip(self.offset, self.image_size, strict=True))
        return rows, columns

    @functools.cached_property
    def tops(self) -> list[int]:
        """First rows of the windows."""
        return window_starts(self.padded_size[0], self.window[0], self.stride)

    @functools.cached_property
    def lefts(self) -> list[int]:
        """First columns of the windows."""
        return window_starts(self.padded_size[1], self.window[1], self.stride)

    @property
    def corners(self) -> list[Size]:
        """(top, left) of each window, row by row."""
        return list(itertools.product(self.tops, self.lefts))


def window_starts(side: int, window: int, stride: float) -> list[int]:
    """Returns the first pixels of windows that cover 0 .. side - 1.

    Args:
        side: Length of the image, at least that of a window.
        window: Length of a window.
        stride: Distance of windows as a fraction of the window, rounded up; the last one ends at the border.
    """
    step = max(1, math.ceil(stride * window))
    number = math.ceil((side - window) / step) + 1
    return [min(i * step, side - window) for i in range(number)]


class SlidingWindowAverage:
    """The mean of the predictions of one image's windows, on the host and added one by one.

    Args:
        image: float32 `[h, w, 3]`, 0 .. 255.
        windows: Where its windows lie.
        pad_value: RGB of the padding.
        flip: Whether every window is predicted mirrored too.
    """

    def __init__(self, image: np.ndarray, windows: SlidingWindows, pad_value: Sequence[float], flip: bool = True):
        self._windows, self._flip = windows, flip
        self._padded = np.empty([*windows.padded_size, 3], np.float32)
        self._padded[:] = np.asarray(pad_value, np.float32)
        self._padded[windows.inside] = image
        height, width = windows.window
        self._places = [(slice(y, y + height), slice(x, x + width)) for y, x in windows.corners]
        self._sum: np.ndarray | None = None
        self._added = 0

    def __len__(self) -> int:
        """Returns the number of windows, mirrored ones included."""
        return len(self._places) * (2 if self._flip else 1)

    def windows(self) -> Iterator[np.ndarray]:
        """Yields float32 `[*window, 3]`, each followed by its mirror image."""
        for place in self._places:
            yield self._padded[place]
            if self._flip:
                yield self._padded[place][:, ::-1]

    def add(self, prediction: np.ndarray) -> None:
        """Takes the prediction `[*window, C]` of the next window, in the order of `windows`."""
        number, mirrored = divmod(self._added, 2) if self._flip else (self._added, False)
        if self._sum is None:
            self._sum = np.zeros([*self._padded.shape[:2], prediction.shape[-1]], np.float32)
        self._sum[self._places[number]] += prediction[:, ::-1] if mirrored else prediction
        self._added += 1

    def mean(self) -> np.ndarray:
        """Returns the mean prediction of the image's pixels, float32 `[h, w, C]`; all windows have been added."""
        if self._sum is None or self._added != len(self):
            raise ValueError(f"{self._added} of {len(self)} windows were added")
        count = np.zeros(self._sum.shape[:2], np.float32)
        for place in self._places:
            count[place] += 2 if self._flip else 1
        inside = self._windows.inside
        return self._sum[inside] / count[inside][..., None]


def pad_for_windows(images: tf.Tensor, windows: SlidingWindows, pad_value: Sequence[float]) -> tf.Tensor:
    """Returns images `[B, h, w, 3]` padded to `windows.padded_size` with an RGB value, or as they are if they need none."""
    if windows.padded_size == windows.image_size:
        return images
    after = [p - o - s for p, o, s in zip(windows.padded_size, windows.offset, windows.image_size, strict=True)]
    margins = [[0, 0], *zip(windows.offset, after, strict=True), [0, 0]]
    is_image = tf.pad(tf.ones([1, *windows.image_size, 1], tf.bool), margins)
    return tf.where(is_image, tf.pad(images, margins), tf.constant(pad_value, images.dtype))


def mean_of_windows(predictions: Sequence[tf.Tensor], windows: SlidingWindows) -> tf.Tensor:
    """Returns the mean prediction of the images' pixels, `[B, h, w, C]`.

    Args:
        predictions: `[B, *window, C]` of each window, in the order of `windows.corners`.
        windows: Where the windows lie.
    """
    in_row = len(windows.lefts)
    rows = [predictions[i : i + in_row] for i in range(0, len(predictions), in_row)]
    mean = _mean_of_overlaps([_mean_of_overlaps(row, windows.lefts, axis=2) for row in rows], windows.tops, axis=1)
    rows_inside, columns_inside = windows.inside
    return mean[:, rows_inside, columns_inside]


def _mean_of_overlaps(parts: Sequence[tf.Tensor], starts: list[int], axis: int) -> tf.Tensor:
    """Lays parts of one length at `starts` along an axis, and averages them where several lie.

    Between neighbouring ends of parts the same ones lie, so each piece is a mean of slices: nothing of the result's size
    is added up once for each part.
    """
    length = parts[0].shape[axis]
    ends = sorted({*starts, *(start + length for start in starts)})

    def slice_of(part: tf.Tensor, first: int, end: int) -> tf.Tensor:
        return part[(slice(None),) * axis + (slice(first, end),)]

    pieces = []
    for first, end in itertools.pairwise(ends):
        here = [
            slice_of(part, first - start, end - start)
            for part, start in zip(parts, starts, strict=True)
            if start <= first < start + length
        ]
        pieces.append(tf.add_n(here) / len(here))
    return tf.concat(pieces, axis)
