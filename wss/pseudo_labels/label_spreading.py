"""What photos without masks show, guessed from those with masks: labels spread over a graph of alike photos.

The graph joins each photo with its nearest neighbours by the features of a pretrained encoder, and labels spread over it
as in Zhou et al., NIPS 2003 (their closed form); Iscen et al., CVPR 2019, have the graph: cosines to a power.
"""

import dataclasses

import numpy as np
import scipy.sparse

from wss.progress import track

# So many cosines, and influences of so many photos, are in memory at a time.
COSINES_AT_ONCE, SOURCES_AT_ONCE = 2**25, 64
# The rest of the series is below 1e-4 of its sum.
TOLERANCE = 1e-4
THRESHOLDS = np.arange(0.3, 0.9, 0.025)


@dataclasses.dataclass(frozen=True)
class SpreadLabels:
    """Scores of the classes of photos.

    Attributes:
        scores: float64 [M, K] in 0 .. 1 of the photos without masks; above 0.5 a class is likelier there than on a photo by
            chance. 0 in a photo that no photo with a mask is joined with, and of a class that none of these shows.
        held_out: float64 [N, K] of each photo with a mask, from the others' masks.
        threshold: Score from which a class counts as shown: what does best on `held_out`.
    """

    scores: np.ndarray
    held_out: np.ndarray
    threshold: float

    @property
    def shown(self) -> np.ndarray:
        """The classes that photos without masks are taken to show, bool [M, K]."""
        return self.scores >= self.threshold


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well guessed classes agree with true ones.

    Attributes:
        precision: Share of the guesses that are right, 0 .. 1; 0 without a guess.
        recall: Share of the true classes that are guessed, 0 .. 1; 0 without a class.
    """

    precision: float
    recall: float

    @classmethod
    def of(cls, guessed: np.ndarray, true: np.ndarray) -> "Agreement":
        """Returns the agreement of bool arrays of one shape."""
        hits = float(np.sum(guessed & true))
        return cls(hits / max(np.sum(guessed), 1), hits / max(np.sum(true), 1))

    @property
    def f1(self) -> float:
        """The harmonic mean of both, 0 .. 1."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


def spread_labels(
    known: np.ndarray,
    classes: np.ndarray,
    unknown: np.ndarray,
    *,
    neighbors: int = 10,
    power: float = 3.0,
    alpha: float = 0.8,
) -> SpreadLabels:
    """Spreads the classes of some photos to others.

    The influence of photo j on photo i is A_ij of A = (I - alpha S)^-1, where S is the graph's adjacency, normalised by the
    degrees of both ends. With A+ the mean influence of the photos that show a class, and A- of those that do not, the
    class' score is A+ / (A+ + A-): its probability if half of the photos showed it. So rare classes count as frequent ones.

    Args:
        known: Features [N, D] of the photos with masks.
        classes: bool [N, K], what they show.
        unknown: Features [M, D] of the photos without.
        neighbors: Number of photos that each is joined with.
        power: Power of the cosine, the weight of an edge.
        alpha: Share of a photo's labels that come from its neighbours, below 1.
    """
    graph = _normalized(neighbor_graph(np.concatenate([known, unknown]), neighbors, power))
    number, classes = len(known), classes.astype(bool)
    both = np.concatenate([classes, ~classes], axis=1).astype(np.float64)
    sums = np.zeros([len(unknown), both.shape[1]])
    among = np.zeros([number, number])
    for first in range(0, number, SOURCES_AT_ONCE):
        sources = np.arange(first, min(first + SOURCES_AT_ONCE, number))
        influence = _influence(graph, sources, alpha)
        sums += influence[number:] @ both[sources]
        among[:, sources] = influence[:number]
    np.fill_diagonal(among, 0)
    counts = both.sum(axis=0)
    scores = _scores(sums, np.broadcast_to(counts, sums.shape))
    held_out = _scores(among @ both, counts - both)
    f1 = [Agreement.of(held_out >= threshold, classes).f1 for threshold in THRESHOLDS]
    # Few photos make a jagged curve.
    smooth = np.convolve(np.pad(f1, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return SpreadLabels(scores, held_out, float(THRESHOLDS[smooth.argmax()]))


def neighbor_graph(features: np.ndarray, neighbors: int, power: float) -> scipy.sparse.csr_array:
    """Returns the symmetric adjacency [N, N] of photos and their nearest neighbours: cosines around the mean, to a power.

    Args:
        features: [N, D].
        neighbors: Number of neighbours; those of a negative cosine are none.
        power: Power of the cosine.
    """
    towards = directions(features)
    number, count = len(towards), min(neighbors, len(towards) - 1)
    rows, columns, weights = [], [], []
    at_once = max(COSINES_AT_ONCE // number, 1)
    for first in track(range(0, number, at_once), "likeness of photos", unit="block"):
        block = towards[first : first + at_once] @ towards.T
        own = np.arange(first, first + len(block))
        block[np.arange(len(block)), own] = -1
        nearest = np.argpartition(-block, count - 1, axis=1)[:, :count] if count else np.zeros([len(block), 0], int)
        rows.append(np.repeat(own, count))
        columns.append(nearest.ravel())
        weights.append(np.take_along_axis(block, nearest, 1).ravel())
    weight = np.maximum(np.concatenate(weights).astype(np.float64), 0.0) ** power
    one_way = scipy.sparse.csr_array((weight, (np.concatenate(rows), np.concatenate(columns))), shape=[number, number])
    return one_way.maximum(one_way.T).tocsr()


def directions(features: np.ndarray) -> np.ndarray:
    """Returns features [N, D] around their mean with length 1, float32: products of two are cosines.

    What has no direction, as features that are all alike, is 0.
    """
    centered = (features - features.mean(axis=0)).astype(np.float32)
    return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12)


def _normalized(graph: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Returns D^-1/2 W D^-1/2 of an adjacency W with degrees D."""
    scale = scipy.sparse.diags_array(1 / np.sqrt(np.maximum(graph.sum(axis=1), 1e-12)))
    return (scale @ graph @ scale).tocsr()


def _influence(graph: scipy.sparse.csr_array, sources: np.ndarray, alpha: float) -> np.ndarray:
    """Returns columns [N, B] of (1 - alpha) (I - alpha S)^-1."""
    start = np.zeros([graph.shape[0], len(sources)])
    start[sources, np.arange(len(sources))] = 1 - alpha
    total, term = start.copy(), start
    for _ in range(int(np.ceil(np.log(TOLERANCE) / np.log(alpha)))):
        term = alpha * (graph @ term)
        total += term
    return total


def _scores(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the scores [M, K] of sums of influence [M, 2K], of photos that show each class and of those that do not."""
    shown, not_shown = np.split(sums / np.maximum(counts, 1), 2, axis=1)
    total = shown + not_shown
    return np.divide(shown, total, out=np.zeros_like(shown), where=total > 0)
