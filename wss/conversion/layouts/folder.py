"""Folders of a user's own images, masks, lists and image-level labels."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wss.conversion.sources import Source
from wss.data.masks import IGNORE, color_map_of, voc_colors
from wss.data.photos import SUFFIXES
from wss.errors import UserError, did_you_mean

IGNORE_NAME = "ignore"
HEADER = "filename"


class Folder:
    """Reads folders of images and gives them their masks and image-level labels.

    Args:
        labels: Ids of the classes in each image, by the id of the image.
        problems: List to which a line is added for all that is wrong.
    """

    def __init__(self, labels: dict[str, tuple[int, ...]], problems: list[str]):
        self.labels = labels
        self.problems = problems
        self._used: set[str] = set()

    def read(self, images: str, masks: str | None) -> list[Source]:
        """Returns the images of a folder and of all folders in it, sorted by id."""
        mask_of = self._masks_of(masks) if masks else {}
        sources: list[Source] = []
        for id, path in _files(images):
            if sources and sources[-1].id == id:
                self.problems.append(f"{path}: duplicate id {id!r}, beside {Path(str(sources[-1].image)).name}")
                continue
            sources.append(Source(id, path, mask_of.pop(id, None), self.labels.get(id)))
            self._used.add(id)
        self.problems += [f"{path}: a mask without an image in {images}" for path in mask_of.values()]
        return sources

    def check_all_labels_used(self) -> None:
        """Adds a problem for each image-level label whose image was not found."""
        self.problems += [f"{id}: has image-level labels, but no image" for id in self.labels if id not in self._used]

    def _masks_of(self, folder: str) -> dict[str, Path]:
        masks: dict[str, Path] = {}
        for id, path in _files(folder):
            if id in masks:
                self.problems.append(f"{path}: a second mask for {id!r}, beside {masks[id].name}")
            masks.setdefault(id, path)
        return masks


def read_classes(text: str) -> tuple[list[str], list[tuple[int, int, int]], dict | None]:
    """Reads `--class_names`.

    Args:
        text: Names separated by commas, or the path of a text file of lines "name" or "name red green blue".

    Returns:
        Names; colours, those of PASCAL VOC where none are given; and the colour map for RGB masks, or None.

    Raises:
        UserError: There are no names, a name given twice, a bad colour, colours for some classes only.
    """
    is_file = Path(text).is_file()
    if not is_file and "," not in text:
        raise UserError(f"--class_names={text}: no such file, and no list of names such as background,cat")
    lines = _read_text(Path(text)).splitlines() if is_file else text.split(",")
    entries = [
        _class_entry(line.strip(), f"{text}:{number}" if is_file else f"--class_names={text}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    ignored = [color for name, color in entries if name == IGNORE_NAME]
    entries = [entry for entry in entries if entry[0] != IGNORE_NAME]
    names = [name for name, _ in entries]
    if not 1 < len(names) <= IGNORE:
        raise UserError(f"--class_names={text}: {len(names)} names, expected 2 to {IGNORE}, the background included")
    if len(set(names)) < len(names):
        raise UserError(f"--class_names={text}: {max(names, key=names.count)!r} is given twice")
    colors = [color for _, color in entries if color]
    if not colors:
        return names, [(int(red), int(green), int(blue)) for red, green, blue in voc_colors(len(names))], None
    if len(colors) < len(names) or not all(ignored) or len({*colors, *ignored}) < len(colors) + len(ignored):
        raise UserError(f"--class_names={text}: expected a colour of its own for each class, or none at all")
    return (
        names,
        colors,
        color_map_of([*colors, *filter(None, ignored)], [*range(len(names)), *[IGNORE] * len(ignored)]),
    )


def read_image_labels(
    path: str, class_names: Sequence[str], foreground: Sequence[str]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Reads a CSV file of lines "file name,class;class", with or without the header "filename,labels".

    Returns:
        Image id (the file name without extension) -> class ids, and a line per problem.
    """
    labels: dict[str, tuple[int, ...]] = {}
    problems = []
    reader = csv.reader(_read_text(Path(path)).splitlines())
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}; expected file name, classes separated by ';'") from error
    for number, row in enumerate(rows, start=1):
        if not row or (number == 1 and row[0].strip() == HEADER):
            continue
        if len(row) != 2:
            problems.append(f"{path}:{number}: {len(row)} columns, expected 2: file name, classes separated by ';'")
            continue
        names = [name.strip() for name in row[1].split(";") if name.strip()]
        problems += [
            f"{path}:{number}: {name!r} is no foreground class; expected one of {', '.join(foreground)}."
            f"{did_you_mean(name, foreground)}"
            for name in names
            if name not in foreground
        ]
        id = id_of(row[0].strip())
        if id in labels:
            problems.append(f"{path}:{number}: a second line for {row[0].strip()!r}")
        labels[id] = tuple(class_names.index(name) for name in names if name in foreground)
    return labels, problems


def split_train_val(
    masked: Sequence[Source],
    train_ids: Sequence[str] | None,
    val_ids: Sequence[str] | None,
    *,
    val_fraction: float,
    seed: int,
    problems: list[str],
) -> tuple[list[Source], list[Source]]:
    """Splits the images with masks by lists, or by chance where there is none.

    Args:
        masked: The images with masks.
        train_ids: Ids of the images of train; None takes all that are not in val.
        val_ids: Ids of the images of val; None chooses them by chance.
        val_fraction: Part of the images that go to val by chance, 0 .. 1.
        seed: Seed of the choice.
        problems: List to which a line is added for each id that cannot be.

    Returns:
        The images of train, and those of val.
    """
    by_id = {source.id: source for source in masked}
    for ids in (train_ids or [], val_ids or []):
        problems += [
            f"{id}: listed for train or val, but there is no such image with a mask" for id in ids if id not in by_id
        ]
    problems += [f"{id}: listed for both train and val" for id in sorted({*(train_ids or [])} & {*(val_ids or [])})]
    if val_ids is None:
        rest = [id for id in by_id if id not in set(train_ids or [])]
        order = np.random.default_rng(seed).permutation(len(rest))
        count = len(rest) if train_ids is not None else round(val_fraction * len(rest))
        val_ids = sorted(rest[i] for i in order[:count])
    if train_ids is None:
        train_ids = [id for id in by_id if id not in set(val_ids)]
    train, val = ([by_id[id] for id in ids if id in by_id] for ids in (train_ids, val_ids))
    return train, val


def read_ids(path: str) -> list[str]:
    """Reads a list of images, one per line, with or without extension; an empty list is a `UserError`."""
    ids = [id_of(line.strip()) for line in _read_text(Path(path)).splitlines() if line.strip()]
    if not ids:
        raise UserError(f"{path}: empty; expected one image per line")
    return ids


def id_of(filename: str) -> str:
    """Returns "sub/a" for "sub/a.jpg": the name of an image, relative to its folder, without its extension."""
    path = Path(filename)
    return str(path.with_suffix("").as_posix()) if path.suffix.lower() in SUFFIXES else path.as_posix()


def _files(folder: str) -> list[tuple[str, Path]]:
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"{folder}: no images in it; expected files such as *{', *'.join(SUFFIXES[:3])}")
    return sorted((id_of(path.relative_to(root).as_posix()), path) for path in paths)


def _class_entry(line: str, place: str) -> tuple[str, tuple[int, int, int] | None]:
    """Returns the name and the colour, None without one; the name may end in a number itself, such as "zone 1"."""
    numbers = [*itertools.takewhile(str.isdecimal, reversed(line.split()[1:]))][::-1]
    if len(numbers) < 2:
        return line, None
    if len(numbers) != 3 or not all(len(number) < 4 and int(number) < 256 for number in numbers):
        raise UserError(f"{place}: {line!r}; expected a name, or a name and its red, green and blue, 0 .. 255 each")
    red, green, blue = map(int, numbers)
    return line.rsplit(maxsplit=3)[0], (red, green, blue)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
