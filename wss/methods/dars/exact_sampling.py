"""Random subsets of pixels: of exactly the wanted size, and the same ones however the images are spread over workers.

Each pixel has a hash of the seed, its image and its place. Of the pixels to choose from (the pool of a class), those with
the smallest hashes stay: the n-th smallest of them is the limit, and hash <= limit decides on each pixel alone. The
limit lies near n / pool of all hashes. So one pass over the images counts the hashes below a window there, and collects
those inside, a few times the root of n. If chance put the limit outside, the next pass looks there.

    limits = HashLimits.start(selection)
    while not limits.finished:
        limits = limits.refine(merge(count(*image, selection=selection, limits=limits) for image in images))
    labels = [label(*image, selection=selection, limits=limits) for image in images]
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterable, Iterator

import numpy as np

from wss.errors import UserError
from wss.methods.dars.confidence import patterns
from wss.methods.dars.policies import Selection

LAST_HASH = 2**64 - 1
SPREAD = 8.0  # half of the window in standard deviations: a second pass is needed once in 10^14 subsets
_CHUNK = 1 << 16  # pixels at a time, to stay in the processor's cache
_NEVER = np.uint16(0xFFFF)  # above the bits of any confidence


def image_key(seed: int, image_id: str) -> int:
    """Returns the key of an image's hashes, 64 bits."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest(), "little")


def pixel_hashes(key: int, indices: np.ndarray) -> np.ndarray:
    """Returns the hashes of pixels: entries of the splitmix64 sequence (Steele et al. 2014) that starts at `key`.

    Args:
        key: Key of the image, see `image_key`.
        indices: integer `[N]`, row * width + column.

    Returns:
        uint64 `[N]`, uniform, different within an image.
    """
    x = indices.astype(np.uint64)
    x += np.uint64(1)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(key)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@dataclasses.dataclass(frozen=True)
class LimitSearch:
    """The search for the limit of one class, the `rank`-th smallest hash of its pool, which is in first .. last.

    Attributes:
        rank: Number of pixels that stay.
        pool: Number of pixels to choose from.
        first: Smallest hash that the limit may be.
        last: Largest hash that the limit may be.
        num_before: Number of hashes of the pool below `first`.
        num_through: Number of hashes of the pool up to `last`.
    """

    rank: int
    pool: int
    first: int
    last: int
    num_before: int
    num_through: int

    @property
    def found(self) -> bool:
        """Whether the limit is known."""
        return self.first == self.last

    def window(self, spread: float) -> tuple[int, int]:
        """Returns the first and last hash to collect: where the limit is expected, and `spread` deviations around."""
        if self.found:
            return self.first, self.last
        width, number = self.last - self.first + 1, self.num_through - self.num_before
        share = (self.rank - self.num_before) / (number + 1)
        deviation = math.sqrt(number * share * (1 - share))
        center = min(self.first + int(share * width), self.last)
        half = int(width * (spread * (deviation + spread) / number))
        return max(self.first, center - half), min(self.last, center + half)

    def narrow(self, window: tuple[int, int], num_below: int, inside: np.ndarray) -> "LimitSearch":
        """Returns the search after a pass that counted the hashes below the window and collected those inside."""
        if self.rank <= num_below:
            return dataclasses.replace(self, last=window[0] - 1, num_through=num_below)
        number = self.rank - num_below - 1
        if number >= len(inside):
            return dataclasses.replace(self, first=window[1] + 1, num_before=num_below + len(inside))
        limit = int(np.partition(inside, number)[number])
        if np.count_nonzero(inside <= limit) > number + 1:
            raise UserError("two pixels have the same hash: is an image there twice? If not, choose another seed")
        return dataclasses.replace(self, first=limit, last=limit)


@dataclasses.dataclass(frozen=True, eq=False)
class HashCounts:
    """The counts of a pass over some images; they add up in any order.

    Attributes:
        seen: int64 `[C]`, pixels of each pool.
        below: int64 `[C]`, pixels whose hash is below the window of their class.
        classes: uint8 `[K]`, class of each hash inside its window.
        hashes: uint64 `[K]`, the hashes inside the windows.
    """

    seen: np.ndarray
    below: np.ndarray
    classes: np.ndarray
    hashes: np.ndarray

    @classmethod
    def empty(cls, num_classes: int) -> "HashCounts":
        """Returns the counts of no image."""
        nothing = np.zeros(num_classes, np.int64)
        return cls(nothing, nothing, np.zeros(0, np.uint8), np.zeros(0, np.uint64))

    def __add__(self, other: "HashCounts") -> "HashCounts":
        return merge([self, other])


def merge(counts: Iterable[HashCounts]) -> HashCounts:
    """Returns the sum of counts, at least one; faster than adding many one by one."""
    parts = list(counts)
    return HashCounts(
        np.sum([part.seen for part in parts], axis=0),
        np.sum([part.below for part in parts], axis=0),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.hashes for part in parts]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class HashLimits:
    """The limits of the hashes, as far as they are known.

    Attributes:
        searches: The search of each class.
        spread: Half of the window in standard deviations; any positive number leads to the same limits.
    """

    searches: tuple[LimitSearch, ...]
    spread: float = SPREAD

    @classmethod
    def start(cls, selection: Selection, spread: float = SPREAD) -> "HashLimits":
        """Returns the limits before the first pass; they are finished if nothing is left to chance.

        Args:
            selection: The numbers of pixels of each class.
            spread: Half of the window in standard deviations; any positive number leads to the same limits.
        """
        sizes = zip(selection.drawn.tolist(), selection.pool.tolist(), strict=True)
        searches = (
            LimitSearch(rank, pool, first=0 if pool else LAST_HASH, last=LAST_HASH, num_before=0, num_through=pool)
            for rank, pool in sizes
        )
        return cls(tuple(searches), spread)

    @property
    def finished(self) -> bool:
        """Whether all limits are known."""
        return all(search.found for search in self.searches)

    @functools.cached_property
    def values(self) -> np.ndarray:
        """uint64 `[C]`: a pixel of the pool stays if its hash is at most this. A `ValueError` if not finished."""
        if not self.finished:
            raise ValueError("the limits are not known yet: they need another pass")
        return np.array([search.first for search in self.searches], np.uint64)

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last hash that the next pass collects, uint64 `[C]` each."""
        windows = np.array([search.window(self.spread) for search in self.searches], np.uint64)
        return windows[:, 0], windows[:, 1]

    @functools.cached_property
    def pending(self) -> np.ndarray:
        """The classes whose limit is not known, bool `[C]`."""
        return np.array([not search.found for search in self.searches])

    def refine(self, counts: HashCounts) -> "HashLimits":
        """Returns the limits after a pass, from the sum of its counts over all images.

        Raises:
            UserError: These are not the predictions that the selection was made for, or an image came twice.
        """
        searches = list(self.searches)
        for j in np.flatnonzero(self.pending):
            if counts.seen[j] != searches[j].pool:
                raise UserError(
                    f"class {j}: {counts.seen[j]} pixels to draw from, but {searches[j].pool} when the thresholds were "
                    "set; the predictions have changed, so count them again"
                )
            window = int(self.windows[0][j]), int(self.windows[1][j])
            inside = counts.hashes[counts.classes == j]
            searches[j] = searches[j].narrow(window, int(counts.below[j]), inside)
        return HashLimits(tuple(searches), self.spread)


def count(
    prediction: np.ndarray, confidence: np.ndarray, key: int, *, selection: Selection, limits: HashLimits
) -> HashCounts:
    """Counts the hashes of one image, for `HashLimits.refine`.

    Args:
        prediction: uint8 `[H, W]`.
        confidence: float16 `[H, W]`.
        key: Key of the image, see `image_key`.
        selection: The numbers of pixels of each class.
        limits: The limits as the passes before found them.
    """
    low, high = limits.windows
    width = high - low
    choose_from, keep_from = _bounds(selection)
    choose_from[: len(low)][~limits.pending] = _NEVER
    parts = [HashCounts.empty(len(low))]
    for start, classes, bits in _chunks(prediction, confidence):
        pool = _pool(classes, bits, choose_from, keep_from)
        hashes, classes = pixel_hashes(key, pool + start), classes[pool]
        lows = low.take(classes)
        below = np.bincount(classes[hashes < lows], minlength=len(low))
        inside = hashes - lows <= width.take(classes)  # wraps around to a large number below the window
        seen = np.bincount(classes, minlength=len(low))
        parts.append(HashCounts(seen, below, classes[inside].astype(np.uint8), hashes[inside]))
    return merge(parts)


def label(
    prediction: np.ndarray,
    confidence: np.ndarray,
    key: int,
    *,
    selection: Selection,
    limits: HashLimits,
    ignore_label: int = 255,
) -> np.ndarray:
    """Returns the pseudo label of each pixel of one image: its predicted class, or the ignore label.

    Args:
        prediction: uint8 `[H, W]`.
        confidence: float16 `[H, W]`.
        key: Key of the image, see `image_key`.
        selection: The thresholds, and the numbers of pixels of each class.
        limits: The finished limits.
        ignore_label: Label of the pixels that get none.

    Returns:
        uint8 `[H, W]`. Over all images, `selection.kept[j]` pixels are labelled j.
    """
    choose_from, keep_from = _bounds(selection)
    kept = np.empty(prediction.size, bool)
    for start, classes, bits in _chunks(prediction, confidence):
        part = kept[start : start + _CHUNK]
        np.greater_equal(bits, keep_from.take(classes), out=part)
        pool = _pool(classes, bits, choose_from, keep_from)
        part[pool] = pixel_hashes(key, pool + start) <= limits.values.take(classes[pool])
    return np.where(kept.reshape(prediction.shape), prediction, np.uint8(ignore_label))


def _bounds(selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Returns from which bits on chance decides, and from which on all stay, uint16 `[256]` each, for any prediction."""
    levels, is_random = selection.levels, selection.pool > 0
    choose_from, keep_from = np.full([2, 256], _NEVER)
    choose_from[: len(levels)][is_random] = levels[is_random]
    keep_from[: len(levels)] = np.where(is_random, levels + 1 if selection.sample == "ties" else _NEVER, levels)
    return choose_from, keep_from


def _chunks(prediction: np.ndarray, confidence: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields the first pixel, the classes (intp, as look-ups want them) and the bits of a few pixels at a time."""
    classes, bits = prediction.ravel(), patterns(confidence).ravel()
    for start in range(0, len(classes), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield start, classes[part].astype(np.intp), bits[part]


def _pool(classes: np.ndarray, bits: np.ndarray, choose_from: np.ndarray, keep_from: np.ndarray) -> np.ndarray:
    """Returns the indices of the pixels that chance decides on."""
    return np.flatnonzero((bits >= choose_from.take(classes)) & (bits < keep_from.take(classes)))
