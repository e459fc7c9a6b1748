"""Cutting images into windows of one size and averaging what a network says of them: the reference's testing.

Source: DARS' util/validate_full_size.py and the PSPNet code that it follows (scale_process, net_process): windows at two
thirds of their side, rounded up; an image smaller than a window lies in the middle of its padding.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from wss.inference.prediction import window_starts


class Canvas:
    """One image at one scale, padded to at least one window, and the sum of what was predicted on it.

    Args:
        image: float32 [h, w, 3] in 0 .. 255.
        window: (height, width) of the windows.
        stride: distance of windows as a fraction of the window, rounded up; the last one ends at the border.
        pad_value: RGB of the padding.
        centered: the image lies in the middle of the padding, not at the top and left.
        flip: predict every window mirrored too.
    """

    def __init__(
        self,
        image: np.ndarray,
        window: tuple[int, int],
        stride: float,
        pad_value: Sequence[float],
        centered: bool = True,
        flip: bool = True,
    ):
        size = image.shape[:2]
        self.window, self.flip = window, flip
        sides = [max(side, length) for side, length in zip(size, window, strict=True)]
        spare = [(side - length) // 2 if centered else 0 for side, length in zip(sides, size, strict=True)]
        self._inside = tuple(slice(first, first + length) for first, length in zip(spare, size, strict=True))
        self._padded = np.empty([*sides, 3], np.float32)
        self._padded[:] = np.asarray(pad_value, np.float32)
        self._padded[self._inside] = image
        tops, lefts = (
            window_starts(side, length, max(1, math.ceil(stride * length)))
            for side, length in zip(sides, window, strict=True)
        )
        self._parts = [(slice(y, y + window[0]), slice(x, x + window[1])) for y in tops for x in lefts]
        self._sum: np.ndarray | None = None
        self._added = 0

    def __len__(self) -> int:
        """How many windows there are, mirrored ones included."""
        return len(self._parts) * (2 if self.flip else 1)

    def windows(self) -> Iterator[np.ndarray]:
        """Yields float32 [*window, 3], each followed by its mirror image."""
        for part in self._parts:
            yield self._padded[part]
            if self.flip:
                yield self._padded[part][:, ::-1]

    def add(self, prediction: np.ndarray) -> None:
        """Takes the prediction [*window, C] of the next window, in the order of `windows`."""
        number, mirrored = divmod(self._added, 2) if self.flip else (self._added, False)
        if self._sum is None:
            self._sum = np.zeros([*self._padded.shape[:2], prediction.shape[-1]], np.float32)
        self._sum[self._parts[number]] += prediction[:, ::-1] if mirrored else prediction
        self._added += 1

    def mean(self) -> np.ndarray:
        """Returns the mean prediction of the image's pixels, float32 [h, w, C]; all windows have been added."""
        if self._sum is None or self._added != len(self):
            raise ValueError(f"{self._added} of {len(self)} windows were added")
        count = np.zeros(self._sum.shape[:2], np.float32)
        for part in self._parts:
            count[part] += 2 if self.flip else 1
        return self._sum[self._inside] / count[self._inside][..., None]
