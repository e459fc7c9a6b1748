"""Sides of objects, by hand."""

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.inspection.objects import median_side, object_sides

INFO = DatasetInfo("toy", ("background", "cat", "dog"), ((0, 0, 0), (9, 0, 0), (0, 9, 0)), {})


def mask_with(*boxes):
    mask = np.zeros([40, 60], np.uint8)
    for value, top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = value
    return mask


def test_each_component_has_a_side():
    """A cat of 4 x 9 and one of 8 x 8, a dog of 5 x 5, a splinter, and pixels that are ignored."""
    mask = mask_with((1, 0, 0, 4, 9), (1, 10, 0, 8, 8), (2, 20, 20, 5, 5), (2, 30, 0, 1, 15), (255, 30, 30, 10, 10))
    assert object_sides(mask, INFO) == {(1, 6): 1, (1, 8): 1, (2, 5): 1}


def test_medians():
    sides = object_sides(mask_with((1, 0, 0, 4, 4), (1, 10, 0, 8, 8), (1, 20, 20, 12, 12), (2, 0, 30, 6, 6)), INFO)
    assert [median_side(sides, label) for label in range(3)] == [None, 8, 6]
    assert median_side(sides + object_sides(mask_with((1, 0, 0, 20, 20)), INFO), 1) == 8  # the lower one of two
