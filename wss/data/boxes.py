"""The objects of an image: boxes with classes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Box:
    """One object of an image.

    Attributes:
        label: Its class; before the conversion by the numbers in the mask files.
        ymin: Upper edge in pixels, 0 .. H.
        xmin: Left edge in pixels, 0 .. W.
        ymax: Lower edge in pixels, 0 .. H.
        xmax: Right edge in pixels, 0 .. W.
        is_crowd: Whether it is a region of many objects (COCO).
        is_difficult: Whether it is hard to recognise (PASCAL VOC).
    """

    label: int
    ymin: float
    xmin: float
    ymax: float
    xmax: float
    is_crowd: bool = False
    is_difficult: bool = False


def listed(objects: Mapping[str, Any]) -> list[tuple[list[float], int, bool]]:
    """Returns what `parse_boxes` found, one by one: edges in parts of the sides, class, and whether it is a crowd."""
    columns = (np.asarray(objects[name]).tolist() for name in ("boxes", "label", "is_crowd"))
    return list(zip(*columns, strict=True))


def fault_of(edges: Sequence[float]) -> str:
    """Says what is wrong with a box of a record, "" if nothing is: edges ymin, xmin, ymax, xmax in parts of the sides."""
    ymin, xmin, ymax, xmax = edges
    if not all(map(math.isfinite, edges)):
        return "has an edge that is no number"
    if ymin > ymax or xmin > xmax:
        return "has its edges swapped"
    if min(ymin, xmin) < 0 or max(ymax, xmax) > 1:
        return "lies outside of its image"
    return ""
