"""The layout of Cityscapes: images and masks by split and city, masks as label ids or as polygons."""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from wss.conversion.sources import Source
from wss.data.image_files import MAX_PIXELS, read_file
from wss.data.masks import MAX_SIDE, files_by_id
from wss.errors import UserError, did_you_mean

# Names by label id (helpers/labels.py of cityscapesScripts).
LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan",
    "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
NOT_DRAWN = "license plate"

# The label ids that count in the benchmark become classes 0 .. 18 in this order.
CLASS_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CLASSES = tuple(LABELS[id] for id in CLASS_IDS)
COLORS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
    (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

MAX_COORDINATE = 1e5  # far outside of every image
IMAGE_FOLDER = "leftImg8bit"
IMAGE_SUFFIX = "_leftImg8bit.png"
SITE = "cityscapes-dataset.com"


@dataclasses.dataclass(frozen=True)
class PoolFolders:
    """The folders of the images and masks of a pool.

    Attributes:
        split: Folder in leftImg8bit, and in that of the masks.
        truth: Folder of the masks, gtFine or gtCoarse; None without masks (those of test are dummies).
    """

    split: str
    truth: str | None

    @property
    def image_archive(self) -> str:
        """Name of the archive that has the images."""
        return "leftImg8bit_trainextra.zip" if self.split == "train_extra" else "leftImg8bit_trainvaltest.zip"

    @property
    def truth_archive(self) -> str:
        """Name of the archive that has the masks."""
        return "gtCoarse.zip" if self.truth == "gtCoarse" else "gtFine_trainvaltest.zip"


POOLS = {
    "train_fine": PoolFolders("train", "gtFine"),
    "val_fine": PoolFolders("val", "gtFine"),
    "test": PoolFolders("test", None),
    "train_extra": PoolFolders("train_extra", "gtCoarse"),
    "train_coarse": PoolFolders("train", "gtCoarse"),
    "val_coarse": PoolFolders("val", "gtCoarse"),
}
# The other two have the images of train_fine and val_fine once more.
DEFAULT_POOLS = ("train_fine", "val_fine", "test", "train_extra")


@dataclasses.dataclass(frozen=True)
class PolygonMask:
    """A mask that is drawn from *_polygons.json, as the label ids that *_labelIds.png would have.

    Each polygon lies over those before it, its outline included. One of two points is a line; one of fewer is an error.
    """

    path: str

    def read(self) -> np.ndarray:
        """Returns label ids, uint8 [H, W].

        Raises:
            UserError: There is no such JSON, or an unknown label in it.
        """
        text = read_file(self.path)
        try:
            content = json.loads(text)
            width, height = content["imgWidth"], content["imgHeight"]
            if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
                raise ValueError(f"size {width}x{height}")
            mask = Image.new("L", (int(width), int(height)))
            objects = [(str(item["label"]), item["polygon"]) for item in content["objects"] if not item.get("deleted")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.path}: no annotation of Cityscapes ({error!r}); expected JSON with imgWidth, imgHeight and objects"
            ) from error
        draw = ImageDraw.Draw(mask)
        drawn = [(self._label_id(label), self._points(label, polygon)) for label, polygon in objects]
        if drawn and max(max(points) for _, points in drawn) <= 1:
            raise UserError(f"{self.path}: all coordinates are <= 1: normalised? expected pixels")
        for value, points in drawn:
            if value is not None:
                draw.polygon(points, fill=value)
        return np.asarray(mask)

    def _label_id(self, label: str) -> int | None:
        """Returns the id of a label, None if it is not drawn; "cargroup" is many cars, "polegroup" a label of its own."""
        name = label if label in LABELS else label.removesuffix("group")
        if name == NOT_DRAWN:
            return None
        if name not in LABELS:
            raise UserError(
                f"{self.path}: unknown label {label!r}; expected those of Cityscapes.{did_you_mean(label, LABELS)}"
            )
        return LABELS.index(name)

    def _points(self, label: str, polygon: Sequence[Sequence[float]]) -> list[float]:
        try:
            points = np.asarray(polygon, np.float64)
        except (ValueError, TypeError, OverflowError):
            points = np.empty(0)
        if points.ndim != 2 or len(points) < 2 or points.shape[1] != 2 or not (np.abs(points) <= MAX_COORDINATE).all():
            raise UserError(f"{self.path}: a polygon of {label!r} is no list of at least two points (x, y)")
        return points.ravel().tolist()


def find_root(root: str) -> epath.Path:
    """Returns the folder that has leftImg8bit; a `UserError` if it has none."""
    path = epath.Path(root)
    if not (path / IMAGE_FOLDER).is_dir():
        raise UserError(
            f"--cityscapes_root={root}: no folder {IMAGE_FOLDER} in it; unpack leftImg8bit_trainvaltest.zip and "
            f"gtFine_trainvaltest.zip from {SITE} there"
        )
    return path


def choose_pools(root: epath.Path, names: Sequence[str]) -> list[str]:
    """Returns the pools to convert: `names`, or those of `DEFAULT_POOLS` whose images are there.

    Raises:
        UserError: There is an unknown name, or no images of any.
    """
    for name in names:
        if name not in POOLS:
            raise UserError(
                f"--splits={name}: no such split; expected some of {', '.join(POOLS)}.{did_you_mean(name, POOLS)}"
            )
    chosen = names or [name for name in DEFAULT_POOLS if (root / IMAGE_FOLDER / POOLS[name].split).is_dir()]
    if not chosen:
        expected = ", ".join(POOLS[name].split for name in DEFAULT_POOLS)
        raise UserError(
            f"{root / IMAGE_FOLDER}: none of the folders {expected} in it; unpack leftImg8bit_trainvaltest.zip from {SITE}"
        )
    return list(chosen)


def read_pool(root: epath.Path, name: str, problems: list[str], *, use_masks: bool = True) -> list[Source]:
    """Lists the images of a pool, by city.

    Args:
        root: Folder that has leftImg8bit.
        name: One of `POOLS`.
        problems: List to which a line is added for each city, image or mask that misses its partner.
        use_masks: Whether the images get their masks.

    Raises:
        UserError: The folder of the images or of the masks is missing or empty.
    """
    folders = POOLS[name]
    images = _cities(root / IMAGE_FOLDER / folders.split, f"unpack {folders.image_archive} from {SITE}")
    if folders.truth is None or not use_masks:
        return [Source(id, path) for city in images.values() for id, path in files_by_id(city, IMAGE_SUFFIX).items()]
    truth = _cities(
        root / folders.truth / folders.split,
        f"unpack {folders.truth_archive} from {SITE}, or add --unlabeled_splits={name} to do without masks",
    )
    problems += [
        f"{root / IMAGE_FOLDER / folders.split / city}: no such folder, though {truth[city]} is there; unpack "
        f"{folders.image_archive} again"
        for city in truth
        if city not in images
    ]
    sources: list[Source] = []
    for city, folder in images.items():
        if city in truth:
            sources += _read_city(folder, truth[city], folders, problems)
        else:
            problems.append(
                f"{root / folders.truth / folders.split / city}: no such folder, though {folder} is there; unpack "
                f"{folders.truth_archive} again"
            )
    return sources


def _read_city(images: epath.Path, truth: epath.Path, folders: PoolFolders, problems: list[str]) -> list[Source]:
    image_of = files_by_id(images, IMAGE_SUFFIX)
    label_ids, polygons = f"_{folders.truth}_labelIds.png", f"_{folders.truth}_polygons.json"
    drawn = {id: PolygonMask(path) for id, path in files_by_id(truth, polygons).items()}
    mask_of: dict[str, str | PolygonMask] = {**drawn, **files_by_id(truth, label_ids)}
    problems += [
        f"{path}: no mask for it; expected {id}{label_ids} or {id}{polygons} in {truth}, from {folders.truth_archive}"
        for id, path in image_of.items()
        if id not in mask_of
    ]
    problems += [
        f"{getattr(mask, 'path', mask)}: a mask without an image in {images}; unpack {folders.image_archive} again"
        for id, mask in mask_of.items()
        if id not in image_of
    ]
    return [Source(id, path, mask_of.get(id)) for id, path in image_of.items()]


def _cities(folder: epath.Path, help: str) -> dict[str, epath.Path]:
    cities = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    if not cities:
        what = "no folders of cities in it" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; {help}")
    return cities
