"""Which photos stand for the others: facility location on the features of an encoder, greedily.

The value of a choice is the sum over all photos of the largest cosine, around the mean, with a photo that is chosen. The
greedy choice has at least 1 - 1/e of the best value (Nemhauser et al., 1978); for which photos to label it is that of Wei
et al., ICML 2015, without their classifier.
"""

import numpy as np

from wss.progress import track
from wss.pseudo_labels.label_spreading import directions

# So many cosines are in memory; of more photos not all are candidates, but all count.
COSINES = 2**27


def most_covering(features: np.ndarray, number: int, chosen: np.ndarray | None = None, *, seed: int = 0) -> list[int]:
    """Returns the photos that stand for the most others, in the order in which they were chosen.

    Args:
        features: [N, D] of all photos.
        number: Number of photos to choose; all that are left where these are fewer.
        chosen: Indices of photos that are chosen already, such as those with masks.
        seed: Seed of the candidates, where not all photos can be.
    """
    towards = directions(features)
    chosen = np.array([] if chosen is None else chosen, np.int64)
    left = np.setdiff1d(np.arange(len(towards)), chosen)
    most = max(COSINES // max(len(towards), 1), number)
    if len(left) > most:
        left = np.sort(np.random.default_rng(seed).choice(left, most, replace=False))
    covered = np.zeros(len(towards), np.float32)
    for index in chosen:
        np.maximum(covered, towards @ towards[index], out=covered)
    cosines = np.maximum(towards[left] @ towards.T, 0.0)
    found: list[int] = []
    for _ in track(range(min(number, len(left))), "choosing photos"):
        gain = np.maximum(cosines - covered, 0.0).sum(axis=1)
        gain[np.isin(left, found)] = -1
        best = int(gain.argmax())
        found.append(int(left[best]))
        np.maximum(covered, cosines[best], out=covered)
    return found
