"""Drawing charts with Pillow: smooth shapes, sharp text."""

import math
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wss.visualization.overlays import PAPER, SMALL_SIZE, text_width

SHARPNESS = 4  # shapes are drawn this much larger, then averaged


class Canvas:
    """Draws in pixels of the result: shapes larger, to be averaged, and text on top of them."""

    def __init__(self, width: int, height: int):
        self.height = height
        self._image = Image.new("RGB", (width * SHARPNESS, height * SHARPNESS), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._texts: list[tuple] = []

    def box(self, left, top, right, bottom, color):
        x0, y0, x1, y1 = (round(value * SHARPNESS) for value in (left, top, right, bottom))
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0, y0, x1 - 1, y1 - 1), color)

    def line(self, points, color, width):
        enlarged = [(x * SHARPNESS, y * SHARPNESS) for x, y in points]
        self._draw.line(enlarged, color, round(width * SHARPNESS), joint="curve")

    def polygon(self, x, y, corners, turn, radius, color):
        angles = [2 * math.pi * (i + turn) / corners for i in range(corners)]
        outline = [(x + radius * math.sin(angle), y - radius * math.cos(angle)) for angle in angles]
        self._draw.polygon([(x * SHARPNESS, y * SHARPNESS) for x, y in outline], color)

    def text(self, x, y, text, color, size=SMALL_SIZE, anchor="la"):
        self._texts.append(((round(x), round(y)), text, color, size, anchor))

    def finish(self) -> np.ndarray:
        image = self._image.reduce(SHARPNESS)
        draw = ImageDraw.Draw(image)
        for place, text, color, size, anchor in self._texts:
            align = "center" if anchor[0] == "m" else "left"
            draw.text(place, text, color, ImageFont.load_default(size), anchor=anchor, align=align)
        return np.asarray(image)


def wrap(text, width, size=SMALL_SIZE):
    """Breaks a text into lines of at most `width` pixels, between words where that is enough."""
    for length in range(max(1, len(text)), 0, -1):
        lines = textwrap.fill(text, length)
        if text_width(lines, size) <= width:
            break
    return lines
