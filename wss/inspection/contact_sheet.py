"""The contact sheet of a split: thumbnails of images beside their masks and boxes, with ids, and a legend of the classes."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from wss.data.boxes import fault_of, listed
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.visualization.boxes import draw_boxes
from wss.visualization.layout import INK, MARGIN, PALE_INK, PAPER, with_legend
from wss.visualization.overlays import overlay

# Pixels.
THUMBNAIL = (200, 150)
GAP = 3
HEADER = 44
CAPTION = 38
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 20, 14, 13
# The name of a class at its box.
COLUMNS = 8
NO_OBJECT = "no object"
# Of the pixels of an image; a class that covers as much of it is seen well.
CLEAR_SHARE = 0.2


class Candidate(NamedTuple):
    """An image that the sheet may show, with the classes in it."""

    number: int
    serialized: bytes
    classes: Collection[int]


class Candidates:
    """Keeps some images of a split while it is read: evenly spread ones, and for each class one that shows it well."""

    def __init__(self, numbers: Collection[int], count: int):
        """Begins with no images.

        Args:
            numbers: Numbers of the images in the split that are evenly spread over it.
            count: Number of images that the sheet shows.
        """
        self._numbers, self._count = set(numbers), count
        self._spread: list[Candidate] = []
        self._best: dict[int, tuple[float, Candidate]] = {}

    def add(self, number: int, serialized: bytes, shares: dict[int, float]) -> None:
        """Looks at one image; `shares` tells how much of it, 0 .. 1, each of its classes covers."""
        candidate = Candidate(number, serialized, shares.keys())
        if number in self._numbers:
            self._spread.append(candidate)
        for label, share in shares.items():
            score = min(share, CLEAR_SHARE)
            if label not in self._best or score > self._best[label][0]:
                self._best[label] = score, candidate

    def clear(self) -> None:
        """Forgets all images."""
        self._spread.clear()
        self._best.clear()

    def choose(self, classes: Sequence[int]) -> list[Candidate]:
        """Returns images in the order of the split: each of `classes` is seen, as far as they fit; the others are spread.

        Args:
            classes: Ids of the classes to see, those that matter most first.
        """
        chosen: dict[int, Candidate] = {}
        for label in classes:
            seen = any(label in candidate.classes for candidate in chosen.values())
            if not seen and label in self._best and len(chosen) < self._count:
                candidate = self._best[label][1]
                chosen[candidate.number] = candidate
        others = [candidate for candidate in self._spread if candidate.number not in chosen]
        free = min(self._count - len(chosen), len(others))
        for index in np.linspace(0, len(others) - 1, free).round().astype(int):
            chosen[others[index].number] = others[index]
        return [chosen[number] for number in sorted(chosen)]


class Thumbnail(NamedTuple):
    """One image of a sheet.

    Attributes:
        id: Id of the image.
        text: Names of its classes.
        views: The image, and if it has a mask or boxes, the image with these.
        labels: Label values that are drawn.
    """

    id: str
    text: str
    views: list[Image.Image]
    labels: set[int]


def contact_sheet(
    info: DatasetInfo, records: Sequence[bytes], *, title: str = "", note: str = "", hide_masks: bool = False
) -> np.ndarray:
    """Draws thumbnails in a grid, with a legend of the classes in them.

    Args:
        info: The data set.
        records: Serialized examples of the images.
        title: Text above the grid, in large letters.
        note: Text beside the title, in small letters.
        hide_masks: Whether to draw no masks.

    Returns:
        uint8 [H, W, 3].
    """
    thumbnails = [_thumbnail(info, record, hide_masks) for record in records]
    views = [view for thumbnail in thumbnails for view in thumbnail.views]
    views_per_cell = max((len(thumbnail.views) for thumbnail in thumbnails), default=1)
    tile_width, tile_height = (max((view.size[axis] for view in views), default=0) for axis in (0, 1))
    cell_width, cell_height = views_per_cell * (tile_width + GAP) - GAP + MARGIN, tile_height + CAPTION
    columns = max(1, min(COLUMNS // views_per_cell, len(thumbnails)))
    title_width = math.ceil(_font(TITLE_SIZE).getlength(title))
    note_width = math.ceil(_font(SMALL_SIZE).getlength(note))
    width = MARGIN + max(columns * cell_width, title_width + note_width + 2 * MARGIN)
    canvas = Image.new("RGB", (width, HEADER + math.ceil(len(thumbnails) / columns) * cell_height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, HEADER - 16), title, INK, _font(TITLE_SIZE), anchor="ls")
    draw.text((title_width + 2 * MARGIN, HEADER - 16), note, PALE_INK, _font(SMALL_SIZE), anchor="ls")
    for index, thumbnail in enumerate(thumbnails):
        row, column = divmod(index, columns)
        _draw_cell(canvas, thumbnail, MARGIN + column * cell_width, HEADER + row * cell_height, tile_height, cell_width)
    labels = set().union(*(thumbnail.labels for thumbnail in thumbnails))
    sheet = np.asarray(canvas)
    return with_legend(sheet, info, sorted(labels)) if labels else sheet


def _draw_cell(canvas: Image.Image, thumbnail: Thumbnail, x: int, y: int, tile_height: int, cell_width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    for number, view in enumerate(thumbnail.views):
        canvas.paste(view, (x + number * (view.width + GAP), y))
    lines = ((thumbnail.id, INK, TEXT_SIZE), (thumbnail.text, PALE_INK, SMALL_SIZE))
    for number, (text, color, size) in enumerate(lines):
        font = _font(size)
        while text and font.getlength(text) > cell_width - MARGIN:
            text = text.removesuffix("...")[:-1] + "..."
        draw.text((x, y + tile_height + 14 + 16 * number), text, color, font, anchor="ls")


def _thumbnail(info: DatasetInfo, record: bytes, hide_masks: bool) -> Thumbnail:
    serialized = tf.constant(record)
    # What is wrong with it is a finding of its own.
    example = parse_example(
        serialized,
        info.num_classes,
        info.has_background,
        ignore_label=info.ignore_label,
        use_mask=not hide_masks,
        only_sane=True,
    )
    objects = parse_boxes(serialized, only_sane=True)
    image = _scaled(example["image"].numpy())
    first = int(info.has_background)
    classes = set((np.flatnonzero(example["image_label"]) + first).tolist())
    views, labels = [image], set()
    if example["has_mask"]:
        label = example["label"].numpy()[..., 0]
        # A value that is no class is a finding of its own; here it looks like an ignored one.
        label = np.where(label < info.num_classes, label, info.ignore_label).astype(np.uint8)
        values = set(np.unique(label).tolist())
        classes, labels = values - {info.ignore_label}, values - set(range(first))
        small = Image.fromarray(label).resize(image.size, Image.Resampling.NEAREST)
        views.append(Image.fromarray(overlay(np.asarray(image), np.asarray(small), info)))
    if objects["known"]:
        if len(views) == 1:
            nothing = np.zeros(image.size[::-1], np.uint8)
            views.append(Image.fromarray(overlay(np.asarray(image), nothing, info, alpha=0)))
        known = [one for one in listed(objects) if 0 <= one[1] < info.num_classes and not fault_of(one[0])]
        draw_boxes(views[1], known, info)
        drawn = {label for _, label, _ in known}
        classes, labels = classes | drawn, labels | drawn
    text = ", ".join(info.class_names[c] for c in sorted(classes) if c >= first)
    if objects["known"] and not classes:
        text = NO_OBJECT
    return Thumbnail(example["name"].numpy().decode(errors="replace"), text, views, labels)


def _scaled(image: np.ndarray) -> Image.Image:
    """Makes an image fit into `THUMBNAIL`; small ones are enlarged by whole factors without smoothing."""
    picture = Image.fromarray(image)
    scale = min(limit / side for limit, side in zip(THUMBNAIL, picture.size, strict=True))
    smooth = scale < 1
    scale = scale if smooth else math.floor(scale)
    size = [max(1, round(side * scale)) for side in picture.size]
    return picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
