"""The shapes of labelme's JSON files, drawn into a mask as labelme's own converter does."""

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from wss.conversion.class_files import LABELME_BACKGROUND, LABELME_IGNORE
from wss.data.dataset_json import read_json
from wss.data.image_files import MAX_PIXELS, check_regular, opened
from wss.data.masks import IGNORE, MAX_SIDE
from wss.data.photo_folder import composed
from wss.data.photos import photo_size
from wss.errors import UserError

# labelme's own: lines are as wide, points are discs of this radius.
LINE_WIDTH, POINT_RADIUS = 10, 5
MAX_COORDINATE = 1e5
# How many points a shape has: at least, and whether more may be.
POINTS = {
    "polygon": (3, True), "rectangle": (2, False), "circle": (2, False), "line": (2, False), "linestrip": (2, True),
    "point": (1, False), "mask": (2, False),
}  # fmt: skip


def read_labelme(path: str | Path) -> dict[str, Any]:
    """Reads a file of labelme.

    Raises:
        UserError: It is missing, damaged, or has no list of shapes.
    """
    check_regular(path)
    try:
        content = read_json(epath.Path(path))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160] or "empty"
        raise UserError(
            f"{path}: broken or cut off JSON ({reason}); expected a file of labelme, save it again"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise UserError(f'{path}: no list "shapes" in it; expected a file of labelme')
    return content


def label_of(shape: Any, path: str | Path, number: int) -> str:
    """Returns the label of a shape; what is no text is a `UserError`."""
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"{path}: shape {number}: the label {str(label)[:60]!r}; expected the name of a class")
    return composed(label.strip())


def decoded(text: Any, what: str) -> bytes:
    """Returns what a text holds in base 64; what is none is a `ValueError`."""
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError) as error:
        raise ValueError(f'broken "{what}" ({error}); expected an image in base 64') from error
    if not content:
        raise ValueError(f'no "{what}"; expected an image in base 64')
    return content


@dataclasses.dataclass(frozen=True)
class LabelmeMask:
    """Draws the shapes of one file, later ones over earlier ones.

    Attributes:
        path: Path of the JSON file.
        values: Value of each label.
        photo: Path of the photo, whose size counts where the file tells none; None without one.
    """

    path: str
    values: Mapping[str, int]
    photo: str | None = None

    def read(self) -> np.ndarray:
        """Returns the values, uint8 [H, W].

        Raises:
            UserError: The file is damaged, or a shape cannot be drawn.
        """
        content = read_labelme(self.path)
        size = self._size(content)
        mask = np.zeros(size, np.uint8)
        for number, shape in enumerate(content["shapes"]):
            label = label_of(shape, self.path, number)
            value = IGNORE if label == LABELME_IGNORE else 0 if label == LABELME_BACKGROUND else self.values.get(label)
            if value is None:
                raise UserError(f"{self.path}: shape {number}: the label {label[:60]!r} is no class")
            try:
                mask[drawn_shape(shape, size)] = value
            except ValueError as error:
                raise UserError(f"{self.path}: shape {number} ({label[:60]!r}): {error}") from error
        return mask

    def _size(self, content: Mapping[str, Any]) -> tuple[int, int]:
        height, width = content.get("imageHeight"), content.get("imageWidth")
        if height is None or width is None:
            if self.photo is not None:
                return photo_size(self.photo)
            image = decoded(content.get("imageData"), "imageData")
            with opened(image, f"{self.path}, imageData") as photo:
                return photo.height, photo.width
        if (
            not all(type(side) is int and 1 <= side <= MAX_SIDE for side in (height, width))
            or height * width > MAX_PIXELS
        ):
            raise UserError(
                f"{self.path}: imageHeight {str(height)[:20]} and imageWidth {str(width)[:20]}; expected the photo's pixels"
            )
        return height, width


def drawn_shape(shape: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Returns where a shape is in an image of (height, width) pixels, bool [H, W].

    Raises:
        ValueError: Its kind is unknown, its points are no points of the image, or too few.
    """
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"), kind, size)
    if kind == "mask":
        return _pasted(decoded(shape.get("mask"), "mask"), points, size)
    image = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(image)
    if kind == "polygon":
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = points
        draw.rectangle([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)], outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=1, width=LINE_WIDTH)
    else:
        x, y = points[0]
        radius = math.dist(*points) if kind == "circle" else POINT_RADIUS
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=1, fill=1)
    region = np.array(image, bool)
    if not region.any():
        raise ValueError(f"covers no pixel of an image of {size[1]}x{size[0]}; expected points in it")
    return region


def _points(points: Any, kind: str, size: tuple[int, int]) -> list[tuple[float, float]]:
    if kind not in POINTS:
        raise ValueError(f"a shape of the kind {kind[:30]!r}; expected one of {', '.join(POINTS)}")
    least, is_more = POINTS[kind]
    if not isinstance(points, list) or not (len(points) >= least if is_more else len(points) == least):
        found = len(points) if isinstance(points, list) else 0
        raise ValueError(f"a {kind} of {found} points; expected {least}{' or more' if is_more else ''}")
    for point in points:
        is_number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(point, list) or len(point) != 2 or not all(map(is_number, point)):
            raise ValueError(f"a point {str(point)[:60]}; expected x and y")
        if not all(abs(value) <= MAX_COORDINATE for value in point):
            raise ValueError(f"a point {str(point)[:60]}; expected pixels of an image of {size[1]}x{size[0]}")
    return [(float(x), float(y)) for x, y in points]


def _pasted(content: bytes, points: list[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    """Returns the mask that lies between two corners; some versions of labelme leave the lower right edge out."""
    (x1, y1), (x2, y2) = ((int(x), int(y)) for x, y in points)
    with opened(content, "mask", expected="a PNG") as image:
        part = np.array(image.convert("L")) > 0
    height, width = part.shape
    if height - (y2 - y1) not in (0, 1) or width - (x2 - x1) not in (0, 1):
        raise ValueError(f"a mask of {width}x{height} pixels between ({x1}, {y1}) and ({x2}, {y2}); expected its size")
    if min(x1, y1) < 0 or x1 + width > size[1] or y1 + height > size[0]:
        raise ValueError(f"a mask at ({x1}, {y1}) of {width}x{height} leaves an image of {size[1]}x{size[0]}")
    region = np.zeros(size, bool)
    region[y1 : y1 + height, x1 : x1 + width] = part
    return region
