"""The first prototypes: K-means over features of the labelled images, before step 0."""

from collections.abc import Callable, Iterable

import numpy as np

METRICS = ("cosine", "euclidean")


class FeatureSample:
    """A uniform sample of the pixels of each class, in bounded memory.

    A pixel's key is a hash of the seed, the image's number and its place; the smallest keys stay.

    Args:
        num_classes: C.
        size: Number of pixels of each class.
        seed: Seed of the keys.
    """

    def __init__(self, num_classes: int, size: int, seed: int):
        self.size, self.seed = size, seed
        self._kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(num_classes)]

    def add(self, image: int, features: np.ndarray, classes: np.ndarray) -> None:
        """Adds an image.

        Args:
            image: Its number.
            features: float32 [N, D].
            classes: Integer [N], the class of each pixel, negative for none.
        """
        keys = np.random.default_rng([self.seed, image]).random(len(classes))
        for number, kept in enumerate(self._kept):
            (chosen,) = np.nonzero(classes == number)
            chosen = chosen[np.argsort(keys[chosen], kind="stable")[: self.size]]
            if len(chosen):
                kept.append((keys[chosen], features[chosen]))
            if sum(len(part) for part, _ in kept) > 2 * self.size:
                kept[:] = [self._smallest(kept)]

    def of_class(self, number: int) -> np.ndarray:
        """Returns the features that are kept of a class, float32 [n, D]; n is 0 for a class without pixels."""
        kept = self._kept[number]
        return self._smallest(kept)[1] if kept else np.zeros([0, 0], np.float32)

    def _smallest(self, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        keys, features = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(keys, kind="stable")[: self.size]
        return keys[order], features[order]


def k_means(
    points: np.ndarray, number: int, *, metric: str = "cosine", seed: int = 0, iterations: int = 50
) -> np.ndarray:
    """Returns centres of points: K-means with k-means++ seeds (Arthur and Vassilvitskii, 2007).

    Args:
        points: float32 [n, D], at least one.
        number: K. Of fewer points some are centres more than once.
        metric: "cosine" is spherical K-means: points and centres have length 1. "euclidean" leaves them as they are.
        seed: Seed of the first centres.
        iterations: Number of iterations at most.

    Returns:
        float32 [K, D].
    """
    points = np.asarray(points, np.float32)
    scaled: Callable[[np.ndarray], np.ndarray] = _unit if metric == "cosine" else lambda values: values
    points = scaled(points)
    centers = _first_centers(points, number, np.random.default_rng(seed))
    nearest = None
    for _ in range(iterations):
        found = _squared_distances(points, centers).argmin(axis=1)
        if nearest is not None and np.array_equal(found, nearest):
            break
        nearest = found
        for center in range(number):
            members = points[nearest == center]
            if len(members):
                centers[center] = members.mean(axis=0)
        centers = scaled(centers)
    return centers


def _first_centers(points: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    centers = [points[generator.integers(len(points))]]
    while len(centers) < number:
        distances = _squared_distances(points, np.stack(centers)).min(axis=1).astype(np.float64)
        # Points are centres already if all distances are 0.
        total = distances.sum()
        chances = distances / total if total > 0 else None
        centers.append(points[generator.choice(len(points), p=chances)])
    return np.stack(centers)


def _squared_distances(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    squares = np.square(points).sum(axis=1)[:, None] + np.square(centers).sum(axis=1)[None]
    return np.maximum(squares - 2 * points @ centers.T, 0)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
