"""The outlines of COCO's JSON: polygons and run lengths become pixels."""

from typing import Any

import numpy as np

MIN_POLYGON = 6
# Far outside of every image; pycocotools counts in 32-bit fifths of a pixel.
MAX_COORDINATE = 1e5
# Of the bits of a run length; that of the largest image has 27.
MAX_RUN_BITS = 40
MAX_BOX_COORDINATE = 1e6  # some boxes lie a little outside of their images


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Returns where an instance is in an image of (height, width) pixels, bool [H, W].

    Raises:
        ValueError: Something is wrong with it.
    """
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError('no segmentation; expected polygons [[x1, y1, ...], ...] or run lengths {"size", "counts"}')
    for polygon in segmentation:
        _check_polygon(polygon)
    from pycocotools import mask  # optional, see coco.py

    return mask.decode(mask.merge(mask.frPyObjects(segmentation, *size))).astype(bool)


def uncompressed_runs(text: str) -> list[int]:
    """Returns the run lengths of COCO's compressed form.

    A number is a row of characters, the lowest five bits first: "0" plus the bits, plus 32 if more follow. It is signed
    (two's complement), and from the fourth one on the difference to the run before the last.

    Raises:
        ValueError: There is another character, or an end within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths with the character {character!r}; expected '0' .. 'o'")
        value |= (bits & 31) << shift
        shift += 5
        if shift > MAX_RUN_BITS:
            raise ValueError("run lengths with a number that no image has; expected those of this image")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that end within a number")
    return runs


def _check_polygon(polygon: Any) -> None:
    if not isinstance(polygon, list) or len(polygon) < MIN_POLYGON or len(polygon) % 2:
        found = f"of {len(polygon)} numbers" if isinstance(polygon, list) else repr(polygon)
        raise ValueError(f"a polygon {found}; expected x and y of three or more points")
    for value in polygon:
        if not isinstance(value, int | float) or abs(value) > MAX_COORDINATE:
            raise ValueError(f"a polygon with {value!r}; expected coordinates in pixels")


def check_within(segmentation: Any, size: tuple[int, int]) -> None:
    """Raises a `ValueError` if a polygon lies beside an image of (height, width) pixels."""
    for polygon in segmentation if isinstance(segmentation, list) else ():
        _check_polygon(polygon)
        x, y = polygon[::2], polygon[1::2]
        if max(x) <= 0 or max(y) <= 0 or min(x) >= size[1] or min(y) >= size[0]:
            raise ValueError(
                f"a polygon around ({x[0]:g}, {y[0]:g}), beside an image of {size[1]}x{size[0]}; expected pixels of it"
            )


def _decode_runs(segmentation: dict, size: tuple[int, int]) -> np.ndarray:
    """Decodes numbers of pixels of background and object in turn, down the columns from left to right.

    pycocotools does so too, but its pixels are undefined where the runs end too early.
    """
    stored, runs = segmentation.get("size"), segmentation.get("counts")
    if stored != list(size):
        raise ValueError(f"run lengths of size {stored}; expected [height, width] = {list(size)}")
    if isinstance(runs, str):
        runs = uncompressed_runs(runs)
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError('run lengths with wrong "counts"; expected a list of numbers of pixels, or a string of them')
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(runs)} pixels for an image of {size[1]}x{size[0]}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def is_coordinate(value: Any) -> bool:
    """Returns whether a value can be a number of a box."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_BOX_COORDINATE


def is_normalised(segmentation: Any) -> bool:
    """Returns whether polygons have no coordinate over 1, as those that are parts of the sides; False for others."""
    try:
        return isinstance(segmentation, list) and max(map(max, segmentation)) <= 1
    except (TypeError, ValueError, RecursionError):
        return False
