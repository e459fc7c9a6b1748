"""Exports in the folders of PASCAL VOC: CVAT's "Segmentation mask" and labelme2voc."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wss.conversion.class_files import ClassList, read_class_file
from wss.conversion.layouts.exports.export import (
    AS_BACKGROUND,
    BlankMask,
    Export,
    Kind,
    Part,
    Request,
    unannotated_line,
    upright_classes,
)
from wss.conversion.layouts.exports.photos import photos_of
from wss.conversion.sources import Source
from wss.data.image_files import read_file
from wss.data.masks import IGNORE
from wss.data.photo_folder import composed, id_of, is_junk, list_images
from wss.data.text_files import read_text
from wss.errors import UserError

LISTS = "ImageSets/Segmentation"
DEFAULT = "default"  # CVAT's list of all, which is no split
LABELMAP, CLASS_NAMES = "labelmap.txt", "class_names.txt"
MASKS = ("SegmentationClassPNG", "SegmentationClass")  # old and new labelme2voc; CVAT has the second
ARRAYS = ("SegmentationClassNpy", "SegmentationClass")
Masks = Mapping[str, "Path | NpyMask"]


@dataclasses.dataclass(frozen=True)
class NpyMask:
    """A mask as an array of NumPy, in which -1 does not count.

    Attributes:
        path: Path of the file.
    """

    path: str

    def read(self) -> np.ndarray:
        """Returns the stored values, uint8 [H, W].

        Raises:
            UserError: The file is damaged, or holds something else.
        """
        values = load_array(self.path)
        if values.min(initial=0) < -1 or values.max(initial=0) > IGNORE:
            raise UserError(f"{self.path}: values {values.min()} .. {values.max()}; expected class ids, or -1 (ignore)")
        return np.where(values == -1, IGNORE, values).astype(np.uint8)


def load_array(path: str) -> np.ndarray:
    """Returns an array of integers, [H, W], of a file of NumPy; what is none is a `UserError`."""
    try:
        values = np.load(io.BytesIO(read_file(path)), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: no array of NumPy, or a damaged one ({reason}); expected [height, width]") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "uib":
        found = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise UserError(f"{path}: {found}; expected integers of shape [height, width]")
    return values


def _read_cvat(root: Path, request: Request) -> Export:
    labelmap = root / LABELMAP
    if labelmap.is_file():
        classes = upright_classes(read_class_file(labelmap), str(labelmap))
    elif request.classes is not None:
        classes = request.classes
    else:
        raise UserError(f"{labelmap}: missing, so the classes are unknown; export again, or give --class_names")
    return _read_voc_tree(root, request, classes, "CVAT, Segmentation mask")


def _read_labelme2voc(root: Path, request: Request) -> Export:
    path = root / CLASS_NAMES
    return _read_voc_tree(root, request, upright_classes(read_class_file(path), str(path)), "labelme2voc")


def _read_voc_tree(root: Path, request: Request, classes: ClassList, what: str) -> Export:
    export = Export(classes)
    photos = photos_of(root, "JPEGImages", request.photos, what=what)
    export.problems += photos.problems
    masks = _masks_of(root, export.problems)
    part_of = _read_lists(root, export.problems)
    by_id = photos.by_id(export.problems)
    export.problems += [
        f"{getattr(mask, 'path', mask)}: a mask without a photo in {photos.folder}"
        for id, mask in masks.items()
        if id not in by_id
    ]
    export.problems += [
        f"{root / LISTS}/{part}.txt: {id!r} is no photo in {photos.folder}; expected a photo of each line"
        for id, part in part_of.items()
        if id not in by_id and id not in masks
    ]
    if part_of:
        export.problems += [
            f"{getattr(masks[id], 'path', masks[id])}: in no list of {root / LISTS}; expected each mask in one, or none"
            for id in sorted(masks.keys() & by_id.keys() - part_of.keys())
        ]
    part_of = {id: "" if part == DEFAULT else part for id, part in part_of.items()}
    for part in sorted({part_of.get(id, "") for id in by_id}):
        of_part = {id: path for id, path in by_id.items() if part_of.get(id, "") == part}
        export.parts[part] = masked_part(of_part, masks, request.unannotated)
    add_unannotated(export, photos.folder, request.unannotated)
    return export


def masked_part(photos: Mapping[str, Path], masks: Masks, unannotated: str) -> Part:
    """Returns the images of a split; one without a mask file may have been labelled as empty, or not yet."""
    blank = lambda path: BlankMask(str(path)) if unannotated == AS_BACKGROUND else None
    sources = [Source(id, path, masks.get(id) or blank(path)) for id, path in photos.items()]
    return Part([s for s in sources if s.mask is not None], [s for s in sources if s.mask is None])


def add_unannotated(export: Export, folder: Path | str, unannotated: str) -> None:
    """Adds a line on photos without a mask file."""
    blank = sum(isinstance(source.mask, BlankMask) for part in export.parts.values() for source in part.labeled)
    without = sum(len(part.unlabeled) for part in export.parts.values())
    export.lines += unannotated_line(folder, blank or without, is_background=unannotated == AS_BACKGROUND)


def _masks_of(root: Path, problems: list[str]) -> Masks:
    found: dict[str, Path | NpyMask] = {}
    for folder in (root / name for name in MASKS if (root / name).is_dir()):
        listing = list_images(folder)
        problems += listing.problems
        for name, path in listing.files:
            if (id := id_of(name)) in found:
                problems.append(f"{path}: a second mask for {id!r}, beside {found[id]}")
            found.setdefault(id, path)
        if found:
            return found
    for folder in (root / name for name in ARRAYS if (root / name).is_dir()):
        arrays = sorted(path for path in folder.rglob("*.npy") if not is_junk(path.name))
        if arrays:
            return {composed(p.relative_to(folder).with_suffix("").as_posix()): NpyMask(str(p)) for p in arrays}
    raise UserError(f"{root / MASKS[-1]}: no masks in it; expected a PNG for each photo that has annotations")


def _read_lists(root: Path, problems: list[str]) -> dict[str, str]:
    """Returns the list that each image is in."""
    part_of: dict[str, str] = {}
    paths = sorted(path for path in (root / LISTS).glob("*.txt") if not is_junk(path.name))
    for path in paths:
        if not path.stat().st_size:
            continue
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            id = id_of(line.strip().strip('"').replace("\\", "/"))
            if id in part_of:
                problems.append(f"{path}:{number}: {id!r} is listed twice, here and in {part_of[id]}.txt")
            if id:
                part_of.setdefault(id, path.stem)
    return part_of


def _has_masks(root: Path) -> bool:
    return any((root / name).is_dir() for name in (*MASKS, *ARRAYS))


CVAT = Kind(
    "CVAT, Segmentation mask",
    lambda root: (root / LABELMAP).is_file() or (_has_masks(root) and not (root / CLASS_NAMES).is_file()),
    _read_cvat,
)
LABELME2VOC = Kind("labelme2voc", lambda root: _has_masks(root) and (root / CLASS_NAMES).is_file(), _read_labelme2voc)
