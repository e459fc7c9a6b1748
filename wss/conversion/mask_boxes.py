"""Boxes from masks: a box around each connected component of a foreground class."""

import dataclasses

import numpy as np

from wss.data.boxes import Box
from wss.data.masks import IGNORE

# Pixels that touch at a corner belong together.
EIGHT_NEIGHBOURS = np.ones([3, 3], bool)


@dataclasses.dataclass(frozen=True)
class MaskBoxes:
    """How masks become boxes.

    Attributes:
        min_pixels: Number of pixels that a component has at least; smaller ones get no box.
        has_background: Whether class 0 gets no boxes.
    """

    min_pixels: int
    has_background: bool = True

    def __call__(self, mask: np.ndarray) -> list[Box]:
        """Returns the boxes of a mask, by class and then in reading order of their first pixels.

        Args:
            mask: uint8 [H, W], classes of the data set and `IGNORE`, which is part of no box.
        """
        from scipy import ndimage  # slow to import

        boxes: list[Box] = []
        # What is 0 gets no region there, so classes count from 1.
        regions = ndimage.find_objects(mask.astype(np.int32) + 1)
        for label, region in enumerate(regions[:IGNORE]):
            if region is None or label < int(self.has_background):
                continue
            components, _ = ndimage.label(mask[region] == label, EIGHT_NEIGHBOURS)
            pixels = np.bincount(components.ravel())
            for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
                if pixels[number] >= self.min_pixels:
                    top, left = region[0].start, region[1].start
                    boxes.append(
                        Box(
                            label,
                            ymin=float(top + rows.start),
                            xmin=float(left + columns.start),
                            ymax=float(top + rows.stop),
                            xmax=float(left + columns.stop),
                        )
                    )
        return boxes
