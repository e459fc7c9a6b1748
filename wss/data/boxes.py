"""The objects of an image: boxes with classes."""

import dataclasses


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
