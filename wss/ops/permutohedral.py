"""The permutohedral lattice: sums of Gaussians over N points of d dimensions in time linear in N.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.

The lattice is A*_d, the points of Z^(d+1) that are shifted into the hyperplane of sum 0. Its cells are simplices. A value is
splatted onto the d+1 corners of its cell, blurred by [1/2 1 1/2] along the d+1 directions of the lattice, and sliced back.

Written in d of these directions as a basis, the lattice is Z^d, and its cells are those of Kuhn's triangulation: the cell of
a point begins at the point rounded down, and steps along the axes in falling order of the fractions. So no closest point
has to be found and mended, as in the paper, and the remainders need no bookkeeping.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from scipy import sparse

_FRACTION_BITS = 27  # of 31 in an int32; 3 hold the number of the axis, a float32 has 24
_AXIS_BITS = 3
# Coordinates that need more bits are hashed: with a million points two of them share a key once in 10^6 lattices.
_LARGEST_KEY = 2**60
_HASH = 0x9E3779B97F4A7C15  # odd; its powers have no short linear relations
_FILLED_AT_ONCE = 2**16  # lattice points whose neighbours are sorted at once


class PermutohedralLattice:
    """The lattice of fixed points, and the filter sum_j exp(-|f_i - f_j|^2 / 2) v_j over them, approximately.

    Corners that no point touches do not exist, so nothing is blurred by way of them, as in the code of the authors. Many
    points in few dimensions miss little by that, a photo's pixels in five much.

    Args:
        chunks: Features of the points, each float32 `[d, n]`; d is at most 8.
        size: Number N of points in all chunks.
        largest: Largest value of each feature, `[d]`; the smallest is 0.
        fill: Whether lattice points with two neighbours or more among the touched corners exist too.
    """

    def __init__(self, chunks: Iterable[np.ndarray], *, size: int, largest: np.ndarray, fill: bool = False):
        matrix = _directions(len(largest))
        packing = _Packing.of(matrix, largest)
        num_corners = len(largest) + 1
        index, weight = np.empty((size, num_corners), np.int32), np.empty((size, num_corners), np.float32)
        touched, start = [], 0
        for features in chunks:
            here = slice(start, start + features.shape[1])
            unique, index[here] = _unique(_corners(features, matrix, packing, weight[here]))
            touched.append((here, unique))
            start = here.stop
        keys = _sorted_unique(np.concatenate([unique for _, unique in touched]))
        if fill and not packing.hashed:  # hashed points are too far apart to be neighbours' neighbours
            keys = _filled(keys, packing.strides)
        for here, unique in touched:
            index[here] = np.searchsorted(keys, unique)[index[here]]
        ends = np.arange(0, index.size + 1, num_corners, dtype=np.int32)
        self._splat = sparse.csr_array((weight.ravel(), index.ravel(), ends), shape=(size, len(keys)))
        halves = np.full(len(keys), 0.5, np.float32)
        self._steps = [_half_step(keys, stride, halves) for stride in packing.strides]
        # The blur below is [1/2 1 1/2], whose sum is not 1. Source: the code of Adams et al.
        self._gain = np.float32(1 / (1 + 2.0 ** -len(largest)))

    @property
    def num_corners(self) -> int:
        """The number of lattice points, M."""
        return self._splat.shape[1]

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Returns the filtered values, float32 `[N, C]`; takes 3 M C floats of memory besides.

        Args:
            values: float32 `[N, C]`, in the order of the points.
        """
        corners = self._splat.T @ values
        for step in self._steps:
            blurred = step @ corners
            blurred += step.T @ corners
            blurred += corners
            corners = blurred
        corners *= self._gain
        return self._splat @ corners

    def scale(self, factors: np.ndarray) -> None:
        """Multiplies the filter by `factors` [N] before and after: from then on it is F K F with F = diag(factors)."""
        weights = self._splat.data.reshape(len(factors), -1)
        weights *= factors.astype(np.float32)[:, None]


def _directions(dimensions: int) -> np.ndarray:
    """Returns the matrix from features to coordinates along d directions of the lattice: float64 `[d, d]`.

    The columns of the basis of the hyperplane are (1, .., 1, -k, 0, .., 0), normed. Splat, blur and slice together have
    the variance of a Gaussian of standard deviation 1 where the lattice is sqrt(2 / 3) (d + 1) times as fine.
    """
    basis = np.triu(np.ones((dimensions + 1, dimensions)))
    for k in range(1, dimensions + 1):
        basis[k, k - 1] = -k
        basis[:, k - 1] /= math.sqrt(k * (k + 1))
    return math.sqrt(2 / 3) * (basis[:-1] - basis[-1])


@dataclasses.dataclass(frozen=True)
class _Packing:
    """How the d coordinates of a lattice point become one number, its key.

    Attributes:
        strides: What a step along each of the d+1 directions adds to the key, int64 `[d+1]`. The last direction is minus
            the sum of the others.
        smallest: Coordinates of key 0, `[d]`.
        hashed: Whether keys are hashes, in no order.
    """

    strides: np.ndarray
    smallest: np.ndarray
    hashed: bool

    @classmethod
    def of(cls, matrix: np.ndarray, largest: np.ndarray) -> "_Packing":
        """Returns the packing for all features between 0 and `largest`, `[d]`, which `matrix` makes coordinates."""
        extent = matrix * np.asarray(largest, np.float64)
        # A cell reaches 1 past the rounded coordinates, and its neighbours 1 further; 1 is left for the rounding.
        smallest = np.floor(np.minimum(extent, 0).sum(1)) - 2
        spans = [int(span) for span in np.floor(np.maximum(extent, 0).sum(1)) - smallest + 4]
        strides = [math.prod(spans[axis + 1 :]) for axis in range(len(spans))]
        hashed = strides[0] * spans[0] > _LARGEST_KEY
        if hashed:
            strides = [pow(_HASH, axis + 1, 2**64) for axis in range(len(spans))]
        strides.append(-sum(strides))
        wrapped = np.array([stride % 2**64 for stride in strides], np.uint64)
        return cls(wrapped.view(np.int64), smallest, hashed)

    def keys(self, coordinates: np.ndarray) -> np.ndarray:
        """Returns the keys of n points, int64 `[n]`, from their coordinates, whole floats `[d, n]`."""
        key = np.zeros(coordinates.shape[1], np.int64)
        for stride, smallest, row in zip(self.strides, self.smallest, coordinates, strict=False):
            key += (row - smallest).astype(np.int64) * stride
        return key


def _corners(features: np.ndarray, matrix: np.ndarray, packing: _Packing, weights: np.ndarray) -> np.ndarray:
    """Returns the keys of the corners of the cells of n points, int64 `[d+1, n]`.

    Args:
        features: float32 `[d, n]`.
        matrix: float64 `[d, d]`, of `_directions`.
        packing: The packing of the coordinates.
        weights: Array for the barycentric weights, float32 `[n, d+1]`.
    """
    coordinates = matrix.astype(np.float32) @ features
    base = np.floor(coordinates)
    keys = np.empty((len(features) + 1, features.shape[1]), np.int64)
    keys[0] = packing.keys(base)
    before: np.ndarray | np.float32 = np.float32(1)
    for number, packed in enumerate(_sorted_axes(coordinates - base)):
        np.add(keys[number], packing.strides[packed & (2**_AXIS_BITS - 1)], out=keys[number + 1])
        fraction = (packed >> _AXIS_BITS).astype(np.float32) * np.float32(2.0**-_FRACTION_BITS)
        weights[:, number] = before - fraction
        before = fraction
    weights[:, -1] = before
    return keys


def _sorted_axes(fractions: np.ndarray) -> list[np.ndarray]:
    """Returns the fractions of each point in falling order, each with its axis in the lowest bits: d times int32 `[n]`.

    A few comparisons of whole rows sort all points at once.
    """
    scale = np.float32(2**_FRACTION_BITS)
    packed = [(row * scale).astype(np.int32) << _AXIS_BITS | axis for axis, row in enumerate(fractions)]
    for end in range(len(packed) - 1, 0, -1):
        for i in range(end):
            packed[i], packed[i + 1] = np.maximum(packed[i], packed[i + 1]), np.minimum(packed[i], packed[i + 1])
    return packed


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns sorted what int64 `keys` `[d+1, n]` holds, int64 `[m]`, and where each is there, int32 `[n, d+1]`."""
    flat = keys.ravel()
    order = flat.argsort()
    ordered = flat[order]
    first = _first_of_equal(ordered)
    position = np.empty(flat.size, np.int32)
    position[order] = np.cumsum(first, dtype=np.int32) - 1
    return ordered[first], position.reshape(keys.shape).T


def _sorted_unique(keys: np.ndarray) -> np.ndarray:
    """Returns the sorted keys without repetition; np.unique, which hashes, takes several times as long."""
    keys.sort()
    return keys[_first_of_equal(keys)]


def _filled(keys: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Returns the keys and those of all lattice points with at least two neighbours among them, sorted int64.

    Args:
        keys: Sorted int64 `[M]`.
        strides: Differences of neighbours' keys in one direction each, int64 `[d+1]`.
    """
    steps = np.concatenate([strides, -strides])
    bounds = [keys[0] + steps.min(), *keys[_FILLED_AT_ONCE::_FILLED_AT_ONCE], keys[-1] + steps.max() + 1]
    filled = []
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        shifted = [keys[slice(*np.searchsorted(keys, [low - step, high - step]))] + step for step in steps]
        neighbours = np.concatenate(shifted)
        neighbours.sort()
        repeated = neighbours[1:][neighbours[1:] == neighbours[:-1]]
        here = keys[slice(*np.searchsorted(keys, [low, high]))]
        filled.append(_sorted_unique(np.concatenate([here, repeated])))
    return np.concatenate(filled)


def _first_of_equal(ordered: np.ndarray) -> np.ndarray:
    """Returns where a new value begins in a sorted array: bool `[n]`."""
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def _half_step(keys: np.ndarray, stride: np.int64, halves: np.ndarray) -> sparse.csr_array:
    """Returns the matrix S `[M, M]` that takes half of each point's neighbour along one direction.

    The blur [1/2 1 1/2] is then S^T + 1 + S, in a third of the memory of a matrix of its own.

    Args:
        keys: Keys of the lattice points, sorted int64 `[M]`.
        stride: Difference of neighbours' keys.
        halves: float32 `[M]`, all 0.5, which the matrices share.
    """
    wanted = keys + stride
    found = np.searchsorted(keys, wanted)
    found[found == len(keys)] = 0
    exists = keys[found] == wanted
    neighbours = found[exists].astype(np.int32)
    ends = np.zeros(len(keys) + 1, np.int32)
    np.cumsum(exists, out=ends[1:])
    return sparse.csr_array((halves[: len(neighbours)], neighbours, ends), shape=(len(keys), len(keys)))
