"""The layout of the PASCAL VOC devkit: where images, lists and masks lie."""

import dataclasses
from pathlib import Path

from wss.errors import UserError

LIST_FOLDER = "ImageSets/Segmentation"
# The official masks come first: they have a void border, those of SBD ("Aug") have none.
MASK_FOLDERS = ("SegmentationClass", "SegmentationClassRaw", "SegmentationClassAug")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a list; `mask` is None if no mask file was found."""

    id: str
    image: Path
    mask: Path | None


def find_devkit(root: str | Path) -> Path:
    """Returns the folder that has JPEGImages: `root`, or VOC2012 or VOCdevkit/VOC2012 in it.

    Raises:
        UserError: none of these is there.
    """
    for folder in (Path(root), Path(root) / "VOC2012", Path(root) / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise UserError(f"--voc_root={root}: no folder JPEGImages in it; expected a devkit such as VOCdevkit/VOC2012")


def read_list(root: Path, path: Path) -> list[Entry]:
    """Reads a list: a line is an id, or the paths of image and mask relative to `root`; "#" begins a comment.

    Raises:
        UserError: the list cannot be read, or has no line.
    """
    try:
        lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a text file with one id per line") from error
    entries = [_entry(root, fields) for fields in lines if fields]
    if not entries:
        raise UserError(f"{path}: empty; expected one id per line")
    return entries


def _entry(root: Path, fields: list[str]) -> Entry:
    if len(fields) > 1:
        return Entry(Path(fields[0]).stem, root / fields[0].lstrip("/"), root / fields[1].lstrip("/"))
    # An id may have a dot in it, so only what is clearly a file name loses its ending.
    id = Path(fields[0]).stem if fields[0].endswith((".jpg", ".png")) else fields[0]
    candidates = (root / folder / f"{id}.png" for folder in MASK_FOLDERS)
    return Entry(id, root / "JPEGImages" / f"{id}.jpg", next((mask for mask in candidates if mask.exists()), None))
