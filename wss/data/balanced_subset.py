"""Class-balanced subsets: few labelled images in which every class occurs often enough."""

import fractions
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wss.data.splits import checksum
from wss.errors import UserError
from wss.files import write_text

RANDOM_TRIES = 200


def balanced_subset(
    present: np.ndarray, count: int, min_images_per_class: int, *, seed: int, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, int]:
    """Chooses images so that each class occurs in enough of them.

    Random subsets are drawn until one fits, which keeps the natural distribution. If none of `RANDOM_TRIES` does,
    images that fill the most gaps are taken first (greedy cover, ties at random), and the rest at random.

    Args:
        present: bool [N, C], which classes occur in which image.
        count: Number of images to choose of the N.
        min_images_per_class: Least number of chosen images in which each of the C classes must occur.
        seed: Seed of the choice; the same arguments always give the same subset.
        class_names: Names of the C classes, for messages; their numbers by default.

    Returns:
        Sorted indices, int64 [count]; and the number of the random sample that fitted, from 0, or -1 for the greedy cover.

    Raises:
        UserError: It cannot be done.
    """
    total, num_classes = present.shape
    names = class_names or [str(c) for c in range(num_classes)]
    if not 0 < count <= total:
        raise UserError(f"{count} images asked for, but the list has {total}")
    rare = [f"{names[c]} ({n})" for c, n in enumerate(present.sum(0)) if n < min_images_per_class]
    if rare:
        raise UserError(
            f"min_images_per_class = {min_images_per_class}, but the list has fewer images with {', '.join(rare)}; "
            "lower it or keep fewer classes"
        )
    rng = np.random.default_rng(seed)
    for sample in range(RANDOM_TRIES):
        chosen = rng.choice(total, count, replace=False)
        if (present[chosen].sum(0) >= min_images_per_class).all():
            return np.sort(chosen), sample
    cover = _greedy_cover(present, min_images_per_class, rng)
    if len(cover) > count:
        raise UserError(
            f"{count} images are too few for min_images_per_class = {min_images_per_class} of {num_classes} classes: "
            f"{len(cover)} would do; ask for more images or lower min_images_per_class"
        )
    others = np.setdiff1d(np.arange(total), cover)
    chosen = np.concatenate([cover, rng.choice(others, count - len(cover), replace=False)])
    return np.sort(chosen.astype(np.int64)), -1


def subset_size(total: int, num_images: int | None, fraction: str | None) -> int:
    """Returns `num_images`, or `fraction` ("1/16", "0.1") of `total`, rounded.

    Raises:
        UserError: None or both are given, or the fraction is no number in 0 .. 1.
    """
    if num_images is not None and fraction is None:
        return num_images
    if num_images is not None or fraction is None:
        raise UserError("give either --num_images or --fraction")
    try:
        part = fractions.Fraction(fraction)
    except (ValueError, ZeroDivisionError):
        part = fractions.Fraction(0)
    if not 0 < part <= 1:
        raise UserError(f"--fraction={fraction}: expected a part of one, such as 1/16")
    return max(1, round(total * part))


def write_list(path: str, ids: Sequence[str], record: dict) -> None:
    """Writes ids, one per line, and `record` with their checksum to a .json file beside."""
    write_text(Path(path).with_suffix(".json"), json.dumps({**record, "checksum": checksum(ids)}, indent=1) + "\n")
    write_text(path, "".join(f"{id}\n" for id in ids))


def _greedy_cover(present: np.ndarray, min_images_per_class: int, rng: np.random.Generator) -> list[int]:
    missing = np.full(present.shape[1], min_images_per_class)
    cover: list[int] = []
    while (missing > 0).any():
        gain = (present & (missing > 0)).sum(1).astype(float)
        gain[cover] = -1.0
        cover.append(int(np.argmax(gain + rng.uniform(0, 0.5, len(gain)))))
        missing -= present[cover[-1]]
    return cover
