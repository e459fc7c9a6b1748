"""The layout of the PASCAL VOC devkit, and of SBD, which has masks for the images that the devkit has none for."""

import dataclasses
import functools
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wss.conversion.sources import Source
from wss.data.boxes import Box
from wss.data.image_files import read_file
from wss.data.masks import VOC_CLASSES, wrong_labels
from wss.data.names import is_relative_path
from wss.data.photo_folder import composed
from wss.data.text_files import read_text
from wss.errors import UserError

LIST_FOLDER = "ImageSets/Segmentation"
# The official masks come first: they have a void border, those of SBD ("Aug") have none.
MASK_FOLDERS = ("SegmentationClass", "SegmentationClassRaw", "SegmentationClassAug")
VOC_SOURCE = "VOCtrainval_11-May-2012.tar from the PASCAL VOC 2012 site"
SBD_SOURCE = "benchmark.tgz of SBD, the Semantic Boundaries Dataset of Berkeley"


@dataclasses.dataclass(frozen=True)
class ListLine:
    """One line of a list; `image` and `mask` are None where the line is only an id."""

    id: str
    image: Path | None = None
    mask: Path | None = None


@dataclasses.dataclass(frozen=True)
class SbdMask:
    """A mask of SBD: `GTcls.Segmentation` of a MATLAB file, VOC class ids and no void."""

    path: str

    def read(self) -> np.ndarray:
        """Returns the class ids, uint8 [H, W].

        Raises:
            UserError: The file is missing or broken, or has another content.
        """
        from scipy.io import loadmat  # slow to import

        content = read_file(self.path)
        try:
            struct = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)["GTcls"]
            values = np.asarray(struct.Segmentation)
        except Exception as error:  # scipy raises what it likes on a file that is none of MATLAB's
            raise UserError(f"{self.path}: no mask of SBD ({error!r}); expected GTcls.Segmentation in it") from error
        if values.ndim != 2 or values.dtype.kind not in "ui":
            raise UserError(f"{self.path}: {values.dtype} of shape {values.shape}, expected class ids of shape [H, W]")
        if wrong := wrong_labels(values, len(VOC_CLASSES)):
            raise UserError(f"{self.path}: {wrong}")
        return values.astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Devkit:
    """Where the files of an image lie.

    Attributes:
        root: Folder that has JPEGImages in it.
        sbd: "dataset" folder of SBD, with cls and img; None without SBD.
    """

    root: Path
    sbd: Path | None = None

    @classmethod
    def find(cls, root: str | Path, sbd_root: str | Path | None = None) -> "Devkit":
        """Finds both folders, `root` or VOC2012 or VOCdevkit/VOC2012 in it, `sbd_root` or its folder "dataset".

        Raises:
            UserError: One of them is not there.
        """
        return cls(find_devkit(root), find_sbd(sbd_root) if sbd_root else None)

    def list_names(self) -> list[str]:
        """Returns the names of the lists in ImageSets/Segmentation, and train_aug if SBD is there."""
        paths = sorted((self.root / LIST_FOLDER).glob("*.txt"))
        names = [path.stem for path in paths if not path.name.startswith(".")]
        return [*names, *(["train_aug"] if self.sbd and "train_aug" not in names else [])]

    def read(self, name: str) -> list[ListLine]:
        """Reads a list; train_aug is made of SBD where the devkit has no such list."""
        path = self.root / LIST_FOLDER / f"{name}.txt"
        if name == "train_aug" and self.sbd and not path.exists():
            return self.train_aug(self.read("train"), self.read("val"))
        return read_list(self.root, path)

    def train_aug(self, train: Sequence[ListLine], val: Sequence[ListLine]) -> list[ListLine]:
        """Returns train and all images of SBD that are not in val: the 10 582 images that the papers train on."""
        paths = [self.sbd / f"{name}.txt" for name in ("train", "val")] if self.sbd else []
        sbd = [entry for path in paths for entry in read_list(self.root, path)]
        held_out = {entry.id for entry in val}
        return [ListLine(id) for id in sorted({entry.id for entry in [*train, *sbd]} - held_out)]

    def source(self, entry: ListLine, use_mask: bool = True) -> Source:
        """Returns an image with its mask and with the boxes and classes of its annotation, as far as it has them.

        Raises:
            UserError: Its annotation file is broken.
        """
        boxes, size = self._boxes(entry.id)
        labels = None if boxes is None else tuple(sorted({box.label for box in boxes}))
        mask = self.mask(entry) if use_mask else None
        return Source(entry.id, self.image(entry), mask, image_labels=labels, boxes=boxes, annotated_size=size)

    def image(self, entry: ListLine) -> Path:
        """Returns where an image lies: in the devkit, or in SBD if only that has it."""
        image = existing(entry.image or self.root / "JPEGImages" / f"{entry.id}.jpg")
        if self.sbd and not image.exists() and (other := self.sbd / "img" / f"{entry.id}.jpg").exists():
            return other
        return image

    def mask(self, entry: ListLine) -> Path | SbdMask | None:
        """Returns the mask of an image, an official one if there is one; None if there is none."""
        if entry.mask:
            return existing(entry.mask)
        candidates = (existing(self.root / folder / f"{entry.id}.png") for folder in self._mask_folders)
        if found := next((mask for mask in candidates if mask.exists()), None):
            return found
        mat = self.sbd / "cls" / f"{entry.id}.mat" if self.sbd else None
        return SbdMask(str(mat)) if mat and mat.exists() else None

    @functools.cached_property
    def _mask_folders(self) -> list[str]:
        return [folder for folder in MASK_FOLDERS if (self.root / folder).is_dir()]

    def _boxes(self, id: str) -> tuple[tuple[Box, ...] | None, tuple[int, int] | None]:
        # Images of test lists, and those of SBD that are not of the devkit, have none.
        path = existing(self.root / "Annotations" / f"{id}.xml")
        return read_annotation(path) if path.exists() else (None, None)


def find_devkit(root: str | Path) -> Path:
    """Returns the folder that has JPEGImages: `root`, or VOC2012 or VOCdevkit/VOC2012 in it.

    Raises:
        UserError: None of these is there.
    """
    for folder in (Path(root), Path(root) / "VOC2012", Path(root) / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise UserError(
        f"--voc_root={root}: no folder JPEGImages in it; expected a devkit such as VOCdevkit/VOC2012, of {VOC_SOURCE}"
    )


def find_sbd(root: str | Path) -> Path:
    """Returns the folder of SBD that has cls: `root`, or dataset or benchmark_RELEASE/dataset in it."""
    for folder in (Path(root), Path(root) / "dataset", Path(root) / "benchmark_RELEASE" / "dataset"):
        if (folder / "cls").is_dir():
            return folder
    raise UserError(f"--sbd_root={root}: no folder cls in it; expected benchmark_RELEASE/dataset, of {SBD_SOURCE}")


def read_list(root: Path, path: Path) -> list[ListLine]:
    """Reads a list: a line is an id, or the paths of image and mask relative to `root`; "#" begins a comment.

    Raises:
        UserError: The list cannot be read, or has no line.
    """
    lines = [line.split("#")[0].split() for line in read_text(path).splitlines()]
    entries = [_entry(root, fields, f"{path}:{number}") for number, fields in enumerate(lines, start=1) if fields]
    if not entries:
        raise UserError(f"{path}: empty; expected one id per line")
    return entries


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Returns the objects of `read_annotation`."""
    return read_annotation(path)[0]


def read_annotation(
    path: Path, class_names: Sequence[str] = VOC_CLASSES
) -> tuple[tuple[Box, ...], tuple[int, int] | None]:
    """Reads an annotation file of VOC, whose pixels count from 1 and whose edges are inclusive.

    Args:
        path: The file.
        class_names: Names of the classes, by their ids.

    Returns:
        The objects, and the (height, width) of the image, None if the file does not tell.

    Raises:
        UserError: The file is missing or broken, a class is unknown, or an object has no box.
    """
    content = read_file(path)
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("a document type with entities")
        root = ElementTree.fromstring(content)
        height, width = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
        size = (height, width) if height > 0 and width > 0 else None
        return tuple(_box(element, class_names) for element in root.iter("object")), size
    except (ElementTree.ParseError, LookupError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path}: no annotation of PASCAL VOC ({error}); expected objects with name and bndbox"
        ) from error


def _box(element: ElementTree.Element, class_names: Sequence[str]) -> Box:
    texts = {edge: element.findtext(f"bndbox/{edge}") for edge in ("ymin", "xmin", "ymax", "xmax")}
    ymin, xmin, ymax, xmax = (float(text or "nan") for text in texts.values())
    name = element.findtext("name")
    if name not in class_names:
        raise ValueError(f"class {name!r}")
    if np.isnan([ymin, xmin, ymax, xmax]).any():
        raise ValueError(f"bndbox of {name} {texts}")
    return Box(
        class_names.index(name),
        ymin=max(ymin - 1, 0),
        xmin=max(xmin - 1, 0),
        ymax=ymax,
        xmax=xmax,
        is_difficult=element.findtext("difficult") == "1",
    )


def existing(path: Path) -> Path:
    """Returns a path as the system wrote its name: "é" may be one character or two; the path itself if there is none."""
    name = path.name
    if name.isascii() or path.exists():
        return path
    forms = (path.with_name(unicodedata.normalize(form, name)) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def _entry(root: Path, fields: list[str], place: str) -> ListLine:
    if wrong := next((field for field in fields[:2] if not is_relative_path(field.lstrip("/"))), None):
        raise UserError(f"{place}: {wrong[:80]!r} can be no image; expected an id, or paths in {root}")
    if len(fields) > 1 and fields[1] in ("0", "1", "-1"):  # "id -1", as in ImageSets/Main, is no pair of paths
        fields = fields[:1]
    if len(fields) > 1:
        return ListLine(composed(Path(fields[0]).stem), root / fields[0].lstrip("/"), root / fields[1].lstrip("/"))
    # An id may have a dot in it, so only what is clearly a file name loses its ending.
    id = Path(fields[0]).stem if fields[0].endswith((".jpg", ".png")) else fields[0]
    return ListLine(composed(id.lstrip("/")))
