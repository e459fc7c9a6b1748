"""Boxes of objects on a picture: outlines in the colours of their classes, with names where they fit."""

import math
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont

from wss.data.dataset_info import DatasetInfo
from wss.visualization.layout import INK, PAPER

TAG_SIZE, TAG_HEIGHT = 10, 13
DARKEST_UNDER_INK = 330  # sum of red, green and blue; on a darker colour the name is pale


def draw_boxes(view: Image.Image, objects: Iterable[tuple[Sequence[float], int, bool]], info: DatasetInfo) -> None:
    """Draws objects on a picture, the small ones on top.

    Args:
        view: The picture, which is changed.
        objects: Box (ymin, xmin, ymax, xmax) in parts of height and width, class id, and whether it is a crowd.
        info: The data set, for colours and names.
    """
    draw = ImageDraw.Draw(view)
    for (ymin, xmin, ymax, xmax), label, is_crowd in sorted(objects, key=lambda found: -_area(found[0])):
        left, top = round(xmin * view.width), round(ymin * view.height)
        right, bottom = round(xmax * view.width) - 1, round(ymax * view.height) - 1
        right, bottom, color = max(left, right), max(top, bottom), info.colors[label]
        draw.rectangle((left, top, right, bottom), outline=color, width=1 if is_crowd else 2)
        font, text = ImageFont.load_default(TAG_SIZE), info.class_names[label] + (" (crowd)" if is_crowd else "")
        width = math.ceil(font.getlength(text)) + 5
        if width <= right - left and bottom - top >= TAG_HEIGHT:
            draw.rectangle((left, top, left + width, top + TAG_HEIGHT), fill=color)
            ink = INK if sum(color) > DARKEST_UNDER_INK else PAPER
            draw.text((left + 3, top + TAG_HEIGHT // 2 + 1), text, ink, font, anchor="lm")


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
