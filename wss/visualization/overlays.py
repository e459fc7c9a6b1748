"""Pictures of labels and maps: colour masks, overlays, heat maps, panels with titles, legends."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.files import WriteError, whole

PAPER = (250, 250, 249)
INK = (38, 38, 42)
PALE_INK = (120, 120, 126)
Columns = list[tuple[str, np.ndarray]]  # (title, picture)
MARGIN = 12
TITLE_SIZE, SMALL_SIZE = 17, 14
SMALLEST_TILE, LARGEST_TILE = 205, 640

# Dark to light with lightness rising evenly, so that more is brighter in grey print too.
_HEAT = np.array(
    [
        (11, 9, 43),
        (66, 20, 105),
        (137, 34, 110),
        (203, 61, 77),
        (242, 120, 38),
        (248, 187, 62),
        (253, 243, 120),
    ]
)


def colorize(label: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Returns the colours of a label `[H, W]`, uint8 `[H, W, 3]`; ignored pixels are hatched.

    Raises:
        UserError: a value is neither a class nor the ignore label.
    """
    label = np.asarray(label, np.int64)
    ignored = label == info.ignore_label
    wrong = ~ignored & ((label < 0) | (label >= info.num_classes))
    if wrong.any():
        raise UserError(
            f"label: value {label[wrong][0]} found, expected 0 .. {info.num_classes - 1} or "
            f"{info.ignore_label} of data set {info.name}"
        )
    colors = np.array(info.colors, np.uint8)[np.where(ignored, 0, label)]
    return np.where(ignored[..., None], _hatch(*label.shape), colors)


def overlay(image: np.ndarray, label: np.ndarray, info: DatasetInfo, alpha: float = 0.55) -> np.ndarray:
    """Lays the colours of a label on the image in grey; a background class stays clear.

    Args:
        image: `[H, W, 3]`, 0 .. 255.
        label: integer `[H, W]`.
        info: the data set.
        alpha: opacity inside a region; its rim is opaque.

    Returns:
        uint8 `[H, W, 3]`.
    """
    label = np.asarray(label)
    opacity = np.where(_rim(label), 1.0, alpha)
    if info.has_background:
        opacity = np.where(label == 0, 0.0, opacity)
    return _blend(_backdrop(image), colorize(label, info), opacity)


def overlay_probabilities(
    image: np.ndarray, probabilities: np.ndarray, info: DatasetInfo, alpha: float = 0.7
) -> np.ndarray:
    """Lays a soft label on the image in grey: colours mix, a background class stays clear.

    Args:
        image: `[H, W, 3]`, 0 .. 255.
        probabilities: float `[H, W, C]`, 0 .. 1, summing to 1 over C.
        info: the data set.
        alpha: opacity where the background has probability 0.

    Returns:
        uint8 `[H, W, 3]`.
    """
    probabilities = np.asarray(probabilities, np.float32)
    colors = np.array(info.colors, np.float32)
    opacity = np.full(probabilities.shape[:2], alpha)
    if info.has_background:
        foreground = probabilities[..., 1:]
        share = foreground.sum(-1, keepdims=True)
        colors = foreground @ colors[1:] / np.maximum(share, 1e-6)
        return _blend(_backdrop(image), colors, opacity * share[..., 0])
    return _blend(_backdrop(image), probabilities @ colors, opacity)


def heatmap(cam: np.ndarray) -> np.ndarray:
    """Returns the colours of a map `[H, W]`, uint8 `[H, W, 3]`: dark is 0, light is 1."""
    steps = np.linspace(0, 1, len(_HEAT))
    cam = np.clip(np.asarray(cam, np.float32), 0, 1)
    return to_uint8(np.stack([np.interp(cam, steps, channel) for channel in _HEAT.T], axis=-1))


def overlay_heatmap(image: np.ndarray, cam: np.ndarray, alpha: float = 0.65) -> np.ndarray:
    """Lays `heatmap(cam)` on the image `[H, W, 3]` in grey; returns uint8 `[H, W, 3]`."""
    return _blend(_grey(image), heatmap(cam), np.full(np.shape(cam), alpha))


def example_columns(
    image: np.ndarray,
    info: DatasetInfo,
    label: np.ndarray | None = None,
    maps: Iterable[tuple[str, np.ndarray]] = (),
) -> Columns:
    """Returns the columns (title, picture) of one image: itself, the truth, then its maps.

    Args:
        image: `[H, W, 3]`, 0 .. 255.
        info: the data set.
        label: the truth, integer `[H, W]`, if there is one.
        maps: (title, values): an integer label `[H, W]`, a float map `[H, W]` or `[H, W, 1]` (0 .. 1,
            shown as heat) or class probabilities `[H, W, C]`.
    """
    columns: Columns = [("image", to_uint8(image))]
    if label is not None:
        columns.append(("truth", overlay(image, label, info)))
    for title, values in maps:
        if np.issubdtype(values.dtype, np.integer):
            columns.append((title, overlay(image, values, info)))
        elif values.ndim == 3 and values.shape[-1] > 1:
            columns.append((title, overlay_probabilities(image, values, info)))
        else:
            columns.append((title, overlay_heatmap(image, values.reshape(values.shape[:2]))))
    return columns


def panel(columns: Sequence[tuple[str, np.ndarray]], name: str = "") -> np.ndarray:
    """Returns one row of `panel_grid`: pictures side by side, with `name` below the first."""
    return panel_grid([columns], [name])


def panel_grid(rows: Sequence[Sequence[tuple[str, np.ndarray]]], names: Sequence[str] = ()) -> np.ndarray:
    """Returns rows of titled pictures, uint8 `[H, W, 3]`; titles equal to those above are left out.

    Small pictures are enlarged by whole factors without smoothing, and large ones reduced.

    Args:
        rows: (title, picture `[H, W, 3]`, 0 .. 255) of each column; rows may differ in length and
            in size.
        names: what to write below the first picture of each row, such as the image's id.
    """
    tiles = [[_tile(picture) for _, picture in row] for row in rows]
    titles = [[title for title, _ in row] for row in rows]
    names = [*names, *[""] * (len(rows) - len(names))]
    widths = [
        max([tile.width for tile in column] + [text_width(title, TITLE_SIZE) for title in column_titles])
        for column, column_titles in zip(_columns(tiles), _columns(titles), strict=True)
    ]
    parts = []
    for i, row in enumerate(tiles):
        shown = titles[i] if i == 0 or titles[i] != titles[i - 1] else []
        parts.append(_draw_row(row, shown, names[i], widths))
    return np.concatenate(parts)


def legend(info: DatasetInfo, classes: Iterable[int], width: int = 960) -> np.ndarray:
    """Returns colour squares with class names, uint8 `[H, width, 3]`, in as many lines as needed.

    Args:
        info: the data set.
        classes: label values to show, such as `classes_in(labels)`; the ignore label is "ignored".
        width: width of the picture in pixels.
    """
    square, line = 18, 28
    places, x, y = [], MARGIN, MARGIN // 2
    for value in classes:
        name = "ignored" if value == info.ignore_label else info.class_names[value]
        length = square + 7 + text_width(name, TITLE_SIZE)
        if x > MARGIN and x + length > width - MARGIN:
            x, y = MARGIN, y + line
        places.append((value, name, x, y))
        x += length + 2 * MARGIN
    canvas = Image.new("RGB", (width, y + line + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    for value, name, x, y in places:
        canvas.paste(Image.fromarray(colorize(np.full([square, square], value), info)), (x, y))
        draw.rectangle((x, y, x + square - 1, y + square - 1), outline=PALE_INK)
        draw.text((x + square + 7, y + square // 2), name, INK, _font(TITLE_SIZE), anchor="lm")
    return np.asarray(canvas)


def with_legend(picture: np.ndarray, info: DatasetInfo, classes: Iterable[int]) -> np.ndarray:
    """Returns a picture `[H, W, 3]` with the legend of `classes` below it."""
    return np.concatenate([picture, legend(info, classes, picture.shape[1])])


def classes_in(labels: Iterable[np.ndarray]) -> list[int]:
    """Returns the label values that occur, in order."""
    return sorted({int(value) for label in labels for value in np.unique(label)})


def save_png(path: str | Path, array: np.ndarray):
    """Writes uint8 `[H, W, 3]` or `[H, W]` to a file, whole or not at all; makes its folder.

    Raises:
        WriteError: it cannot be written.
    """
    file, picture = epath.Path(path), Image.fromarray(array)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds values 0 .. 255 of any type to uint8."""
    return np.clip(np.round(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)


def _blend(image, colors, opacity):
    opacity = opacity[..., None]
    return to_uint8((1 - opacity) * np.asarray(image, np.float32) + opacity * np.asarray(colors, np.float32))


def _grey(image):
    return np.asarray(Image.fromarray(to_uint8(image)).convert("L").convert("RGB"))


def _backdrop(image):
    """The image in pale grey: the colours of a photo are easily taken for those of classes."""
    return 85 + _grey(image) * (2 / 3)


def _hatch(height, width):
    stripe = (np.arange(height)[:, None] + np.arange(width)) // 4 % 2
    return np.where(stripe, 215, 250).astype(np.uint8)[..., None].repeat(3, axis=-1)


def _rim(label):
    """Pixels of a label `[H, W]` that have a 4-neighbour of another value."""
    padded = np.pad(label, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([label != neighbour for neighbour in around], axis=0)


def _draw_row(tiles, titles, name, widths):
    """One row of a grid: titles above the tiles, the name below the first one."""
    top = MARGIN // 2 + (TITLE_SIZE + 12 if titles else 0)
    bottom = top + max(tile.height for tile in tiles)
    height = bottom + MARGIN // 2 + (SMALL_SIZE + 4 if name else 0)
    canvas = Image.new("RGB", (sum(widths) + MARGIN * (len(widths) + 1), height), PAPER)
    draw = ImageDraw.Draw(canvas)
    lefts = [MARGIN * (i + 1) + sum(widths[:i]) for i in range(len(tiles))]
    for tile, x in zip(tiles, lefts, strict=True):
        canvas.paste(tile, (x, top))
    for title, x in zip(titles, lefts, strict=False):
        draw.text((x, top - 8), title, INK, _font(TITLE_SIZE), anchor="ls")
    draw.text((MARGIN, bottom + SMALL_SIZE + 3), name, PALE_INK, _font(SMALL_SIZE), anchor="ls")
    return np.asarray(canvas)


def _columns(rows):
    """The columns of rows that may differ in length."""
    return [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]


def _tile(picture):
    tile = Image.fromarray(to_uint8(picture))
    longest = max(tile.size)
    if longest > LARGEST_TILE:
        return tile.reduce(math.ceil(longest / LARGEST_TILE))
    factor = math.ceil(SMALLEST_TILE / longest)
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _font(size):
    return ImageFont.load_default(size)


def text_width(text: str, size: int = SMALL_SIZE) -> int:
    """Pixels of the longest line."""
    return math.ceil(max(map(_font(size).getlength, text.split("\n"))))
