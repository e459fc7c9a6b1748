"""Roboflow's "Semantic Segmentation Masks": photos and masks beside each other, in folders of splits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wss.conversion.class_files import ClassList, read_class_file
from wss.conversion.layouts.exports.export import Export, Kind, Part, Request, check_case, upright_classes
from wss.conversion.layouts.exports.voc_trees import add_unannotated, masked_part
from wss.data.class_colors import default_colors
from wss.data.image_files import SUFFIXES
from wss.data.masks import IGNORE, read_mask, wrong_labels
from wss.data.photo_folder import id_of, is_junk, list_images
from wss.errors import UserError

CLASSES, MASK = "_classes.csv", "_mask"


@dataclasses.dataclass(frozen=True)
class RenumberedMask:
    """A mask whose classes have other numbers than in the data set.

    Attributes:
        path: Path of the file.
        new: New value of each value, from 0.
    """

    path: str
    new: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Returns the new values, uint8 [H, W]; a value that is no class is a `UserError`."""
        values = read_mask(self.path)
        if wrong := wrong_labels(values, len(self.new)):
            raise UserError(f"{self.path}: {wrong}")
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self.new)] = self.new
        return table[values]


def split_folders(root: Path, file: str) -> list[Path]:
    """Returns the folders of splits, or the root itself, that have a file."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_junk(path.name))
    return [folder for folder in ([root] if (root / file).is_file() else folders) if (folder / file).is_file()]


def _is_mask(name: str) -> bool:
    return id_of(name).endswith(MASK)


def _read(root: Path, request: Request) -> Export:
    folders = sorted(split_folders(root, CLASSES), key=lambda folder: (folder.name != "train", folder.name))
    lists = {}
    for folder in folders:
        path = folder / CLASSES
        lists[folder] = upright_classes(read_class_file(path), str(path))
    names = list(dict.fromkeys(name for found in lists.values() for name in found.names))
    check_case(names, str(root))
    first = next(found for found in lists.values())
    classes = first if names == first.names else ClassList(names, default_colors(len(names)))
    export = Export(classes)
    for folder, found in lists.items():
        new = tuple(names.index(name) for name in found.names)
        is_same = found.names == names[: len(new)]
        reader = (lambda path: path) if is_same else (lambda path, new=new: RenumberedMask(str(path), new))
        part = "" if folder == root else folder.name
        export.parts[part] = _read_split(folder, export.problems, reader, request.unannotated)
    add_unannotated(export, root, request.unannotated)
    return export


def _read_split(folder: Path, problems: list[str], reader: Callable, unannotated: str) -> Part:
    """Returns the photos of a folder with the masks that lie beside them."""
    listing = list_images(folder)
    problems += listing.problems
    masks: dict[str, Path] = {}
    photos: dict[str, Path] = {}
    for name, path in listing.files:
        id, of = (id_of(name).removesuffix(MASK), masks) if _is_mask(name) else (id_of(name), photos)
        if id in of:
            problems.append(f"{path}: a second {'mask' if of is masks else 'photo'} for {id!r}, beside {of[id].name}")
        of.setdefault(id, path)
    problems += [f"{path}: a mask without a photo beside it" for id, path in masks.items() if id not in photos]
    return masked_part(photos, {id: reader(path) for id, path in masks.items()}, unannotated)


def _has_masks_beside(root: Path) -> bool:
    return any(
        any(_is_mask(path.name) and path.suffix.lower() in SUFFIXES for path in folder.iterdir())
        for folder in split_folders(root, CLASSES)
    )


ROBOFLOW = Kind("Roboflow, Semantic Segmentation Masks", _has_masks_beside, _read)
