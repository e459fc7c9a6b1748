"""Pictures side by side: panels with titles and names, and legends of classes."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wss.data.dataset_info import DatasetInfo
from wss.visualization.overlays import Columns, colorize, to_uint8

PAPER = (250, 250, 249)
INK = (38, 38, 42)
PALE_INK = (120, 120, 126)
MARGIN = 12
TITLE_SIZE, SMALL_SIZE = 17, 14
SMALLEST_TILE, LARGEST_TILE = 205, 640
SQUARE, LINE_HEIGHT = 18, 28  # pixels of a legend


def panel(columns: Columns, name: str = "") -> np.ndarray:
    """Returns one row of `panel_grid`: pictures side by side, with `name` below the first."""
    return panel_grid([columns], [name])


def panel_grid(rows: Sequence[Columns], names: Sequence[str] = ()) -> np.ndarray:
    """Returns rows of titled pictures, uint8 [H, W, 3]; titles equal to those above are left out.

    Small pictures are enlarged by whole factors without smoothing, and large ones reduced.

    Args:
        rows: Columns of each row; rows may differ in length and in size.
        names: Text below the first picture of each row, such as the image's id.
    """
    tiles = [[_tile(picture) for _, picture in row] for row in rows]
    titles = [[title for title, _ in row] for row in rows]
    names = [*names, *[""] * (len(rows) - len(names))]
    widths = [
        max([tile.width for tile in column] + [_text_width(title) for title in column_titles])
        for column, column_titles in zip(_columns(tiles), _columns(titles), strict=True)
    ]
    drawn = []
    for i, row in enumerate(tiles):
        shown = titles[i] if i == 0 or titles[i] != titles[i - 1] else []
        drawn.append(_draw_row(row, shown, names[i], widths))
    return np.concatenate(drawn)


def legend(info: DatasetInfo, classes: Iterable[int], width: int = 960) -> np.ndarray:
    """Returns colour squares with class names, uint8 [H, width, 3], in as many lines as needed.

    Args:
        info: The data set.
        classes: Label values to show, such as `classes_in(labels)`; the ignore label is called "ignored".
        width: Width of the picture in pixels.
    """
    places, x, y = [], MARGIN, MARGIN // 2
    for value in classes:
        name = "ignored" if value == info.ignore_label else info.class_names[value]
        length = SQUARE + 7 + _text_width(name)
        if x > MARGIN and x + length > width - MARGIN:
            x, y = MARGIN, y + LINE_HEIGHT
        places.append((value, name, x, y))
        x += length + 2 * MARGIN
    picture = Image.new("RGB", (width, y + LINE_HEIGHT + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(picture)
    for value, name, x, y in places:
        picture.paste(Image.fromarray(colorize(np.full([SQUARE, SQUARE], value), info)), (x, y))
        draw.rectangle((x, y, x + SQUARE - 1, y + SQUARE - 1), outline=PALE_INK)
        draw.text((x + SQUARE + 7, y + SQUARE // 2), name, INK, _font(TITLE_SIZE), anchor="lm")
    return np.asarray(picture)


def with_legend(picture: np.ndarray, info: DatasetInfo, classes: Iterable[int]) -> np.ndarray:
    """Returns a picture [H, W, 3] with the legend of `classes` below it."""
    return np.concatenate([picture, legend(info, classes, picture.shape[1])])


def classes_in(labels: Iterable[np.ndarray]) -> list[int]:
    """Returns the label values that occur, in order."""
    return sorted({int(value) for label in labels for value in np.unique(label)})


def _draw_row(tiles: Sequence[Image.Image], titles: Sequence[str], name: str, widths: Sequence[int]) -> np.ndarray:
    """Draws one row of a grid: titles above the tiles, the name below the first one."""
    top = MARGIN // 2 + (TITLE_SIZE + 12 if titles else 0)
    bottom = top + max(tile.height for tile in tiles)
    height = bottom + MARGIN // 2 + (SMALL_SIZE + 4 if name else 0)
    row = Image.new("RGB", (sum(widths) + MARGIN * (len(widths) + 1), height), PAPER)
    draw = ImageDraw.Draw(row)
    lefts = [MARGIN * (i + 1) + sum(widths[:i]) for i in range(len(tiles))]
    for tile, x in zip(tiles, lefts, strict=True):
        row.paste(tile, (x, top))
    for title, x in zip(titles, lefts, strict=False):
        draw.text((x, top - 8), title, INK, _font(TITLE_SIZE), anchor="ls")
    draw.text((MARGIN, bottom + SMALL_SIZE + 3), name, PALE_INK, _font(SMALL_SIZE), anchor="ls")
    return np.asarray(row)


def _columns(rows: Sequence[list]) -> list[list]:
    """Returns the columns of rows that may differ in length."""
    return [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]


def _tile(picture: np.ndarray) -> Image.Image:
    tile = Image.fromarray(to_uint8(picture))
    longest = max(tile.size)
    if longest > LARGEST_TILE:
        return tile.reduce(math.ceil(longest / LARGEST_TILE))
    factor = math.ceil(SMALLEST_TILE / longest)
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_width(title: str) -> int:
    return math.ceil(_font(TITLE_SIZE).getlength(title))
