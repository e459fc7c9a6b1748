"""The messages of the fully connected CRF: class maps `[C, H, W]`, filtered by a weighted and normalised Gaussian kernel.

A kernel K becomes D^-1/2 K D^-1/2 with D_i = sum_j K_ij. The sums include the pixel itself. A kernel is a function that
adds its message to the logits in place, class by class where that saves memory.
"""

import math
from collections.abc import Iterator

import numpy as np

from wss.ops.permutohedral import PermutohedralLattice

_CHUNK = 2**15  # pixels whose place in the lattice is found at once: they fit the cache
_BLOCK = 64  # rows of a banded matrix that are multiplied at once
_LARGEST_BLUR = 2**24  # numbers in the lattice at once: 3 times 64 MiB
_REACH = 5  # standard deviations; exp(-12.5) is left out
_LARGEST_KEPT = 64 * 64  # pixels of an image whose exact kernel stays in memory
_LARGEST_PIECE = 2**22  # pairs of pixels of the exact kernel at once, 32 MiB
_TINY = 1e-20  # beside a sum D_i, as in the authors' code


class ExactKernel:
    """The kernel by its definition: all pairs of pixels, in float64. For tests and small images.

    Args:
        features: Features of the pixels, `[H, W, d]`, in standard deviations.
        weight: Factor of the message.
    """

    def __init__(self, features: np.ndarray, weight: float):
        self._features = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
        self._squares = np.square(self._features).sum(1)
        size = len(self._features)
        # A small kernel is computed once; it has 128 MiB at most.
        self._kept = list(self._pieces()) if size <= _LARGEST_KEPT else None
        self._factors = np.sqrt(weight / (self._filter(np.ones((size, 1))) + _TINY))

    def __call__(self, field: np.ndarray, logits: np.ndarray) -> None:
        """Adds the message of the float32 `[C, H, W]` field to the float32 `[C, H, W]` logits."""
        values = field.reshape(len(field), -1).T * self._factors
        filtered = self._filter(values) * self._factors
        logits += filtered.T.reshape(field.shape).astype(np.float32)

    def _filter(self, values: np.ndarray) -> np.ndarray:
        """Returns K values, float64 `[N, C]`."""
        return np.concatenate([piece @ values for piece in self._kept or self._pieces()])

    def _pieces(self) -> Iterator[np.ndarray]:
        """Yields a few rows of K at a time, float64 `[n, N]`."""
        size = len(self._features)
        rows = max(1, _LARGEST_PIECE // size)
        for start in range(0, size, rows):
            here = slice(start, start + rows)
            exponent = self._features[here] @ self._features.T
            exponent -= 0.5 * self._squares
            exponent -= 0.5 * self._squares[here, None]
            np.minimum(exponent, 0, out=exponent)
            yield np.exp(exponent, out=exponent)


class SeparableGaussian:
    """The kernel of pixel coordinates alone: a Gaussian along the columns, then along the rows, exact up to 5 deviations.

    Args:
        size: (H, W).
        std: Standard deviation in pixels.
        weight: Factor of the message.
    """

    def __init__(self, size: tuple[int, int], std: float, weight: float):
        height, width = size
        self._columns = _banded(height, std, weight)
        self._rows = _banded(width, std, 1)

    def __call__(self, field: np.ndarray, logits: np.ndarray) -> None:
        """Adds the message of the float32 `[C, H, W]` field to the float32 `[C, H, W]` logits."""
        half = np.empty_like(field[0])
        for probability, sums in zip(field, logits, strict=True):
            for target, source, matrix in self._columns:
                np.matmul(matrix, probability[source], out=half[target])
            for target, source, matrix in self._rows:
                sums[:, target] += half[:, source] @ matrix.T


def _banded(length: int, std: float, weight: float) -> list[tuple[slice, slice, np.ndarray]]:
    """Returns the normalised Gaussian over 0 .. length-1, times a weight, in blocks: rows, columns, float32 matrix."""
    reach = math.ceil(_REACH * std)
    places = np.arange(length)
    blocks = []
    for start in range(0, length, _BLOCK):
        rows = slice(start, min(start + _BLOCK, length))
        columns = slice(max(start - reach, 0), min(rows.stop + reach, length))
        offset = (places[rows, None] - places[columns]) / std
        blocks.append((rows, columns, np.exp(-0.5 * np.square(offset))))
    factors = 1 / np.sqrt(np.concatenate([block.sum(1) for _, _, block in blocks]) + _TINY)
    return [
        (rows, columns, (weight * factors[rows, None] * block * factors[columns]).astype(np.float32))
        for rows, columns, block in blocks
    ]


class LatticeBilateral:
    """The kernel of pixel coordinates and colours, by the permutohedral lattice. The lattice is built once.

    Args:
        image: RGB, uint8 `[H, W, 3]`.
        xy_std: Standard deviation in pixels.
        rgb_std: Standard deviation in grey values.
        weight: Factor of the message.
        fill: Whether the lattice is filled; see `PermutohedralLattice`.
    """

    def __init__(self, image: np.ndarray, *, xy_std: float, rgb_std: float, weight: float, fill: bool):
        height, width, _ = image.shape
        size = height * width
        deviations = _deviations(xy_std, rgb_std)
        largest = np.array([width - 1, height - 1, 255, 255, 255]) / deviations
        chunks = _bilateral_chunks(image, deviations)
        self._lattice = PermutohedralLattice(chunks, size=size, largest=largest, fill=fill)
        sums = self._lattice.filter(np.ones((size, 1), np.float32))[:, 0]
        self._lattice.scale(np.sqrt(np.float32(weight) / (sums + np.float32(_TINY))))

    def __call__(self, field: np.ndarray, logits: np.ndarray) -> None:
        """Adds the message of the float32 `[C, H, W]` field to the float32 `[C, H, W]` logits."""
        at_once = max(1, _LARGEST_BLUR // self._lattice.num_corners)
        for start in range(0, len(field), at_once):
            classes = slice(start, start + at_once)
            values = np.ascontiguousarray(field[classes].reshape(-1, field[0].size).T)
            logits[classes] += self._lattice.filter(values).T.reshape(field[classes].shape)


def place_features(size: tuple[int, int], std: float) -> np.ndarray:
    """Returns (x, y) / std of each pixel of an image of `size` = (H, W), float64 `[H, W, 2]`."""
    y, x = np.indices(size)
    return np.stack([x, y], axis=-1) / std


def bilateral_features(image: np.ndarray, *, xy_std: float, rgb_std: float) -> np.ndarray:
    """Returns (x, y) / xy_std and (r, g, b) / rgb_std of each pixel, float32 `[H, W, 5]`."""
    deviations = _deviations(xy_std, rgb_std)
    features = np.concatenate(list(_bilateral_chunks(image, deviations)), axis=1)
    return features.T.reshape(*image.shape[:2], 5)


def _deviations(xy_std: float, rgb_std: float) -> np.ndarray:
    return np.array([xy_std, xy_std, rgb_std, rgb_std, rgb_std])


def _bilateral_chunks(image: np.ndarray, deviations: np.ndarray) -> Iterator[np.ndarray]:
    """Yields x, y, r, g and b of the pixels, row by row, over their standard deviations: each float32 `[5, n]`."""
    height, width, _ = image.shape
    colours = image.reshape(-1, 3)
    for start in range(0, height * width, _CHUNK):
        pixels = np.arange(start, min(start + _CHUNK, height * width))
        places = np.stack([pixels % width, pixels // width])
        features = np.concatenate([places, colours[pixels].T])
        yield (features / deviations[:, None]).astype(np.float32)
