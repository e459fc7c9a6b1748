"""Which label tool a folder comes from, by what is in it; a wrong level and a foreign folder are told in one line."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from wss.conversion.layouts.exports import coco_trees, roboflow_masks, voc_trees
from wss.conversion.layouts.exports.brush_masks import BRUSH
from wss.conversion.layouts.exports.export import Kind
from wss.conversion.layouts.exports.labelme import LABELME
from wss.data.photo_folder import is_junk
from wss.errors import UserError

KINDS = (
    voc_trees.CVAT, voc_trees.LABELME2VOC, roboflow_masks.ROBOFLOW, coco_trees.CVAT, coco_trees.STUDIO,
    coco_trees.ROBOFLOW, BRUSH, LABELME,
)  # fmt: skip
# Folders in exports, which a person may have given in place of the export.
INSIDE = (
    "SegmentationClass", "SegmentationClassPNG", "SegmentationObject", "JPEGImages", "ImageSets", "annotations", "images",
    "train", "valid", "val", "test",
)  # fmt: skip
# Files of other formats, and which one is read.
FOREIGN = (
    ("annotations.xml", "CVAT's XML; export 'Segmentation mask 1.1' or 'COCO 1.0' from CVAT"),
    (
        "data.yaml",
        "YOLO; export COCO or 'Segmentation mask' from CVAT, COCO or 'Semantic Segmentation Masks' from Roboflow",
    ),
    ("classes.txt", "YOLO; export COCO or 'Brush labels to PNG' from Label Studio"),
    ("project-*.json", "Label Studio's own JSON; export COCO, or 'Brush labels to PNG' and give this file as --tasks"),
    ("*.xml", "PASCAL VOC's boxes; give --images and --boxes, or export masks"),
    ("*.zip", "archives; unzip one and give its folder"),
)
_MAX_CHILDREN = 200


def recognise(root: Path, flag: str, *, otherwise: str = "no export of a label tool that is known") -> Kind:
    """Returns what kind of export a folder is.

    Args:
        root: The folder.
        flag: The flag that gave it, such as "--export", for messages.
        otherwise: Words for a folder that is none.

    Raises:
        UserError: It is no folder, no export, another level of one, or two exports in one.
    """
    if not root.is_dir():
        raise UserError(f"{flag}={root}: {_no_folder(root)}")
    try:
        found = kinds_of(root)
        if len(found) == 1:
            _check_level(root, found[0], flag)
            return found[0]
        if found:
            both = " and ".join(kind.words for kind in found)
            raise UserError(f"{flag}={root}: files of two exports, {both}; unzip each into a folder of its own")
        raise UserError(f"{flag}={root}: {otherwise}; {_help(root, flag)}")
    except OSError as error:
        raise UserError(f"{flag}={root}: cannot be read ({error.strerror})") from error


def kinds_of(root: Path, kinds: Sequence[Kind] = KINDS) -> list[Kind]:
    """Returns the kinds of export that a folder may be; labelme's files may lie anywhere, so they come last."""
    found = [kind for kind in kinds if kind is not LABELME and kind.found(root)]
    return found or [kind for kind in kinds if kind is LABELME and kind.found(root) and not _child_exports(root)]


def _child_exports(root: Path) -> list[tuple[Path, Kind]]:
    """Returns the folders in a folder, or in one of them, that are exports."""
    children = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_junk(path.name)][:_MAX_CHILDREN]
    others = [kind for kind in KINDS if kind is not LABELME]
    found = [(path, kind) for path in children for kind in others if kind.found(path)]
    return found or [
        (path, kind)
        for child in children[:20]
        for path in sorted(child.iterdir())[:_MAX_CHILDREN]
        if path.is_dir() and not is_junk(path.name)
        for kind in others
        if kind.found(path)
    ]


def _check_level(root: Path, kind: Kind, flag: str) -> None:
    """Raises a `UserError` if a folder is one split of an export."""
    parent = root.resolve().parent
    siblings = root.name.lower() in INSIDE and kind in kinds_of(parent, [kind])
    if siblings and kind is not LABELME:
        raise UserError(f"{flag}={root}: one split of an export ({kind.words}); give the whole of it, {flag}={parent}")


def _help(root: Path, flag: str) -> str:
    parent = root.resolve().parent
    if root.name in INSIDE and (above := kinds_of(parent, [kind for kind in KINDS if kind is not LABELME])):
        return f"it lies in one ({above[0].words}), give {flag}={parent}"
    if below := _child_exports(root):
        shown = " or ".join(f"{flag}={path}" for path, _ in below[:3])
        return f"one lies in it ({below[0][1].words}), give {shown}"
    for pattern, words in FOREIGN:
        if any(not is_junk(path.name) for path in root.glob(pattern)):
            return f"it looks like {words}"
    known = "; ".join(kind.words for kind in KINDS)
    return f"expected what one of these unzips to: {known}"


def _no_folder(root: Path) -> str:
    if not root.exists():
        return "no such folder"
    if root.is_file() and zipfile.is_zipfile(root):
        return "a ZIP archive; unzip it and give the folder"
    return "a file; expected the folder that the export unzips to"
