"""Sizes of objects: the sides of the connected components of a mask."""

from collections import Counter

import numpy as np

from wss.conversion.mask_boxes import MaskBoxes
from wss.data.dataset_info import DatasetInfo

LEAST_PIXELS = 16  # of a component; a smaller one is a splinter of a mask rather than an object

Sides = Counter[tuple[int, int]]


def object_sides(mask: np.ndarray, info: DatasetInfo) -> Sides:
    """Returns the number of components of a mask by (class, side).

    A side is the square root of the area of the component's box, rounded. The background has no objects.

    Args:
        mask: uint8 [H, W], classes and the ignore label.
        info: The data set.
    """
    boxes = MaskBoxes(LEAST_PIXELS, info.has_background)(mask)
    sides = ((box.label, round(((box.ymax - box.ymin) * (box.xmax - box.xmin)) ** 0.5)) for box in boxes)
    return Counter(pair for pair in sides if pair[0] < info.num_classes and pair[0] != info.ignore_label)


def median_side(sides: Sides, label: int) -> int | None:
    """Returns the median side of a class, the lower one of two; None if it has no component."""
    of_class = sorted((side, number) for (found, side), number in sides.items() if found == label)
    total, seen = sum(number for _, number in of_class), 0
    for side, number in of_class:
        seen += number
        if 2 * seen >= total:
            return side
    return None
