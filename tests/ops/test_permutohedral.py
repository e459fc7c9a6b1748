"""The permutohedral lattice by hand, and against the sums that it approximates."""

import numpy as np
import pytest

from wss.ops import permutohedral
from wss.ops.crf_kernels import place_features
from wss.ops.permutohedral import PermutohedralLattice


def lattice_of(features, parts=1, fill=False):
    """The lattice of the features [N, d], in so many chunks."""
    features = features.astype(np.float32)
    chunks = [np.ascontiguousarray(part.T) for part in np.array_split(features, parts)]
    return PermutohedralLattice(chunks, size=len(features), largest=features.max(0), fill=fill)


def exact_sums(features):
    """sum_j exp(-|f_i - f_j|^2 / 2) of each of the features [N, d]."""
    return np.exp(-0.5 * np.square(features[:, None] - features).sum(-1)).sum(1)


def lattice_sums(features):
    return lattice_of(features).filter(np.ones((len(features), 1), np.float32))[:, 0]


def smooth_photo(size):
    """Features of a photo of slow changes, of standard deviations (55, 55, 3, 3, 3)."""
    y, x = np.indices(size)
    colours = np.stack([100 + 60 * np.sin(x / 9), 120 + 50 * np.cos(y / 7), 128 + 0 * x], -1)
    return np.concatenate([place_features(size, 55), colours / 3], -1).reshape(-1, 5)


def test_one_dimension_by_hand():
    """The lattice is that of the whole numbers at 2 / sqrt(3) f. Both directions are its one axis, so it blurs twice."""
    features = np.sort(np.random.default_rng(0).uniform(0, 20, 400))[:, None]
    values = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    place = features[:, 0] * 2 / np.sqrt(3)
    hat = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(-1, 26)))  # linear interpolation
    kernel = np.convolve([0.5, 1, 0.5], [0.5, 1, 0.5])
    # Only corners that a point touches exist; with 400 points these are all from the first to the last.
    touched = hat.sum(0) > 0
    blur = sum(factor * np.eye(touched.sum(), k=offset) for offset, factor in zip(range(-2, 3), kernel, strict=True))
    blur[[0, -1], [0, -1]] -= 0.25  # what leaves the lattice in the first blur does not come back in the second
    expected = hat[:, touched] @ blur @ hat[:, touched].T @ values / 1.5
    np.testing.assert_allclose(lattice_of(features).filter(values), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 8])
def test_corners_are_those_of_the_cell(dimensions):
    """The barycentric mean of the corners of a cell is the point; so are no corners missing, and none of another cell."""
    features = np.random.default_rng(2).uniform(0, 9, (dimensions, 500)).astype(np.float32)
    matrix = permutohedral._directions(dimensions)
    packing = permutohedral._Packing.of(matrix, np.full(dimensions, 9))
    weights = np.empty((500, dimensions + 1), np.float32)
    keys = permutohedral._corners(features, matrix, packing, weights)
    coordinates, rest = [], keys
    for stride, smallest in zip(packing.strides[:-1], packing.smallest, strict=True):
        coordinates.append(rest // stride + smallest)
        rest = rest % stride
    corners = np.stack(coordinates)  # [d, d+1, n]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose((corners * weights.T).sum(1), matrix @ features, atol=1e-4)
    # In the hyperplane's own metric all corners of a cell are near: the edges of a simplex of A*_d.
    in_features = np.einsum("ij,jkn->ikn", np.linalg.inv(matrix), corners)
    lengths = np.sqrt(np.square(in_features[:, :, None] - in_features[:, None]).sum(0))
    steps = np.arange(dimensions + 1)
    ring = np.abs(steps[:, None] - steps)
    edges = np.sqrt(ring * (dimensions + 1 - ring) * (dimensions + 1) * 1.5) / (dimensions + 1)
    np.testing.assert_allclose(lengths, np.broadcast_to(edges[..., None], lengths.shape), atol=1e-5)


def test_sums_in_two_dimensions():
    """Measured: 0.88 of the exact sums in the middle, for the gain is no exact one; a normalised kernel has it nowhere."""
    features = place_features((48, 40), 5).reshape(-1, 2)
    ratio = lattice_sums(features) / exact_sums(features)
    assert np.median(ratio) == pytest.approx(0.88, abs=0.01)
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.1)


def test_sums_of_a_photo():
    """Measured: 0.32 to 0.62 of the exact sums, for many corners between the points do not exist; correlation 0.991."""
    features = smooth_photo((40, 40))
    sums, exact = lattice_sums(features), exact_sums(features)
    assert (sums / exact).min() > 0.25 and (sums / exact).max() < 0.75
    assert np.corrcoef(sums, exact)[0, 1] > 0.98


def test_chunks_do_not_matter():
    features = smooth_photo((20, 30))
    values = np.random.default_rng(6).normal(size=(600, 3)).astype(np.float32)
    whole, parts = lattice_of(features), lattice_of(features, parts=7)
    assert whole.num_corners == parts.num_corners
    np.testing.assert_array_equal(parts.filter(values), whole.filter(values))


def test_scale_is_before_and_after():
    features = smooth_photo((12, 12))
    random = np.random.default_rng(7)
    values, factors = random.normal(size=(144, 2)).astype(np.float32), random.uniform(1, 2, 144).astype(np.float32)
    lattice = lattice_of(features)
    expected = factors[:, None] * lattice.filter(factors[:, None] * values)
    lattice.scale(factors)
    np.testing.assert_allclose(lattice.filter(values), expected, rtol=1e-4, atol=1e-4)


def test_filled_lattice():
    """Added are the points with two neighbours among the touched corners, whatever the number at once."""
    keys = permutohedral._sorted_unique(np.random.default_rng(9).integers(0, 4000, 300))
    strides = np.array([100, 10, 1, -111])
    known, count = set(keys.tolist()), {}
    for step in [*strides, *-strides]:
        for key in keys + step:
            count[int(key)] = count.get(int(key), 0) + 1
    expected = sorted(known | {key for key, number in count.items() if number >= 2})
    np.testing.assert_array_equal(permutohedral._filled(keys, strides), expected)
    assert len(expected) > len(keys)


def test_filling_brings_sums_nearer():
    """Measured: 0.46 to 0.69 of the exact sums instead of 0.32 to 0.62, with correlation 0.995 instead of 0.991."""
    features = smooth_photo((40, 40))
    exact = exact_sums(features)
    sparse, filled = (
        lattice_of(features, fill=fill).filter(np.ones((1600, 1), np.float32))[:, 0] for fill in (False, True)
    )
    assert np.std(filled / exact) < 0.85 * np.std(sparse / exact)
    assert np.corrcoef(filled, exact)[0, 1] > 0.993 > np.corrcoef(sparse, exact)[0, 1]


def test_hashed_keys(monkeypatch):
    """Where coordinates do not fit one number, other numbers stand for the same lattice."""
    features = smooth_photo((20, 30))
    values = np.random.default_rng(8).normal(size=(600, 3)).astype(np.float32)
    packed = lattice_of(features)
    monkeypatch.setattr(permutohedral, "_LARGEST_KEY", 0)
    hashed = lattice_of(features)
    assert hashed.num_corners == packed.num_corners
    np.testing.assert_allclose(hashed.filter(values), packed.filter(values), atol=1e-3)
