"""Draws pixels at random: exactly as many as wanted, and the same ones however the images are spread over workers.

Each pixel has a hash of the seed, its image and its place. Of the pixels to draw from (the pool of a class), those with
the smallest hashes stay: the n-th smallest of them is the limit, and hash <= limit decides on each pixel alone. The
limit lies near n / pool of all hashes, so one pass over the images counts the hashes below a window there and collects
those inside, a few times the root of n. If chance put the limit outside, the next pass looks there.

    cut = Cut.start(selection)
    while not cut.finished:
        cut = cut.refine(merge(count(cut, selection, *image) for image in images))
    labels = [label(*image, selection, cut) for image in images]
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
SPREAD = 8.0  # half of the window in standard deviations: a second pass is needed once in 10^14 draws
_CHUNK = 1 << 16  # pixels at a time, to stay in the processor's cache
_NEVER = np.uint16(0xFFFF)  # above the bits of any confidence


def image_key(seed: int, image_id: str) -> int:
    """Returns the key of an image's hashes, 64 bits."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8).digest(), "little")


def pixel_hashes(key: int, indices: np.ndarray) -> np.ndarray:
    """Returns the hashes of pixels: entries of the splitmix64 sequence (Steele et al. 2014) that starts at `key`.

    Args:
        key: of the image.
        indices: integer [N], row * width + column.

    Returns:
        uint64 [N], uniform, different within an image.
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
class _Search:
    """What is known of the limit of one class, the `rank`-th smallest hash of its pool: it is in first .. last.

    Attributes:
        num_before: hashes of the pool below `first`.
        num_through: hashes of the pool up to `last`.
    """

    rank: int
    pool: int
    first: int
    last: int
    num_before: int
    num_through: int

    @property
    def found(self) -> bool:
        return self.first == self.last

    def window(self, spread: float) -> tuple[int, int]:
        """Returns the first and last hash to collect: where the limit is expected, and what chance may add."""
        if self.found:
            return self.first, self.last
        width, number = self.last - self.first + 1, self.num_through - self.num_before
        share = (self.rank - self.num_before) / (number + 1)
        deviation = math.sqrt(number * share * (1 - share))
        center = min(self.first + int(share * width), self.last)
        half = int(width * (spread * (deviation + spread) / number))
        return max(self.first, center - half), min(self.last, center + half)

    def narrow(self, window: tuple[int, int], num_below: int, inside: np.ndarray) -> "_Search":
        """Returns what is known after a pass counted the hashes below the window and collected those inside."""
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
class Partial:
    """What a pass found in some images; any order of adding gives the same cut.

    Attributes:
        seen: int64 [C], pixels of each pool.
        below: int64 [C], those whose hash is below the window of their class.
        classes: uint8 [K], class of each hash inside its window.
        hashes: uint64 [K].
    """

    seen: np.ndarray
    below: np.ndarray
    classes: np.ndarray
    hashes: np.ndarray

    @classmethod
    def empty(cls, num_classes: int) -> "Partial":
        """Returns what is found in no image."""
        nothing = np.zeros(num_classes, np.int64)
        return cls(nothing, nothing, np.zeros(0, np.uint8), np.zeros(0, np.uint64))

    def __add__(self, other: "Partial") -> "Partial":
        return merge([self, other])


def merge(partials: Iterable[Partial]) -> Partial:
    """Returns the sum of at least one partial; faster than adding many one by one."""
    parts = list(partials)
    return Partial(
        np.sum([part.seen for part in parts], axis=0),
        np.sum([part.below for part in parts], axis=0),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.hashes for part in parts]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """The limits of the hashes, as far as they are known: one search per class."""

    searches: tuple[_Search, ...]
    spread: float = SPREAD

    @classmethod
    def start(cls, selection: Selection, spread: float = SPREAD) -> "Cut":
        """Returns the cut before the first pass; finished if nothing is to be drawn.

        Args:
            selection: how many pixels to draw of each class.
            spread: half of the window in standard deviations; any positive number leads to the same limits.
        """
        sizes = zip(selection.drawn.tolist(), selection.pool.tolist(), strict=True)
        searches = (
            _Search(rank, pool, first=0 if pool else LAST_HASH, last=LAST_HASH, num_before=0, num_through=pool)
            for rank, pool in sizes
        )
        return cls(tuple(searches), spread)

    @property
    def finished(self) -> bool:
        """Whether all limits are known."""
        return all(search.found for search in self.searches)

    @functools.cached_property
    def limits(self) -> np.ndarray:
        """uint64 [C]: a pixel of the pool stays if its hash is at most this. A `ValueError` if not finished."""
        if not self.finished:
            raise ValueError("the limits are not known yet: this cut needs another pass")
        return np.array([search.first for search in self.searches], np.uint64)

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last hash that the next pass collects, uint64 [C] each."""
        windows = np.array([search.window(self.spread) for search in self.searches], np.uint64)
        return windows[:, 0], windows[:, 1]

    @functools.cached_property
    def pending(self) -> np.ndarray:
        """Bool [C], the classes whose limit is not known."""
        return np.array([not search.found for search in self.searches])

    def refine(self, partial: Partial) -> "Cut":
        """Returns the cut after a pass, from the sum over all images.

        Raises:
            UserError: these are not the predictions that the selection was made for, or an image came twice.
        """
        searches = list(self.searches)
        for j in np.flatnonzero(self.pending):
            if partial.seen[j] != searches[j].pool:
                raise UserError(
                    f"class {j}: {partial.seen[j]} pixels to draw from, but {searches[j].pool} when the thresholds were "
                    "set; the predictions have changed, so count them again"
                )
            window = int(self.windows[0][j]), int(self.windows[1][j])
            inside = partial.hashes[partial.classes == j]
            searches[j] = searches[j].narrow(window, int(partial.below[j]), inside)
        return Cut(tuple(searches), self.spread)


def count(cut: Cut, selection: Selection, prediction: np.ndarray, confidence: np.ndarray, key: int) -> Partial:
    """Looks at the hashes of one image, for `Cut.refine`.

    Args:
        cut: what the passes before found.
        selection: what to draw.
        prediction: uint8 [H, W].
        confidence: float16 [H, W].
        key: of the image, see `image_key`.
    """
    low, high = cut.windows
    width = high - low
    draw_from, keep_from = _bounds(selection)
    draw_from[: len(low)][~cut.pending] = _NEVER
    parts = [Partial.empty(len(low))]
    for start, classes, bits in _chunks(prediction, confidence):
        pool = _pool(classes, bits, draw_from, keep_from)
        hashes, classes = pixel_hashes(key, pool + start), classes[pool]
        lows = low.take(classes)
        below = np.bincount(classes[hashes < lows], minlength=len(low))
        inside = hashes - lows <= width.take(classes)  # wraps around to a large number below the window
        seen = np.bincount(classes, minlength=len(low))
        parts.append(Partial(seen, below, classes[inside].astype(np.uint8), hashes[inside]))
    return merge(parts)


def label(
    prediction: np.ndarray,
    confidence: np.ndarray,
    key: int,
    selection: Selection,
    cut: Cut,
    ignore_label: int = 255,
) -> np.ndarray:
    """Returns the pseudo label of each pixel of one image: its predicted class, or the ignore label.

    Args:
        prediction: uint8 [H, W].
        confidence: float16 [H, W].
        key: of the image, see `image_key`.
        selection: what to keep and what to draw.
        cut: finished.
        ignore_label: of the pixels that get no label.

    Returns:
        uint8 [H, W]. Over all images, `selection.kept[j]` pixels are labelled j.
    """
    limits = cut.limits
    draw_from, keep_from = _bounds(selection)
    kept = np.empty(prediction.size, bool)
    for start, classes, bits in _chunks(prediction, confidence):
        part = kept[start : start + _CHUNK]
        np.greater_equal(bits, keep_from.take(classes), out=part)
        pool = _pool(classes, bits, draw_from, keep_from)
        part[pool] = pixel_hashes(key, pool + start) <= limits.take(classes[pool])
    return np.where(kept.reshape(prediction.shape), prediction, np.uint8(ignore_label))


def _bounds(selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Returns from which bits on pixels are drawn, and from which on all stay, uint16 [256] each, for any prediction."""
    levels, drawn = selection.levels, selection.pool > 0
    draw_from, keep_from = np.full([2, 256], _NEVER)
    draw_from[: len(levels)][drawn] = levels[drawn]
    keep_from[: len(levels)] = np.where(drawn, levels + 1 if selection.sample == "ties" else _NEVER, levels)
    return draw_from, keep_from


def _chunks(prediction: np.ndarray, confidence: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields the first pixel, the classes (intp, as look-ups want them) and the bits of a few pixels at a time."""
    classes, bits = prediction.ravel(), patterns(confidence).ravel()
    for start in range(0, len(classes), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield start, classes[part].astype(np.intp), bits[part]


def _pool(classes: np.ndarray, bits: np.ndarray, draw_from: np.ndarray, keep_from: np.ndarray) -> np.ndarray:
    """Returns the indices of the pixels that are drawn from."""
    return np.flatnonzero((bits >= draw_from.take(classes)) & (bits < keep_from.take(classes)))
