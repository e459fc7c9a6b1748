"""The layout of COCO 2017: folders of images, and their instances in JSON files.

These files have hundreds of megabytes, so they are read as streams: for the categories, for the images, and at last for
the annotations, which are dealt out to one small file per record file.
"""

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from wss.conversion.encode import raise_problems
from wss.conversion.layouts.coco_json import archive_of, check_packages, read_items, read_objects, shown, wrong_field
from wss.conversion.layouts.coco_masks import Annotation, CocoImage, CocoShard
from wss.conversion.layouts.coco_segmentations import is_coordinate, is_normalised
from wss.conversion.sources import ListPool, Pool, Shard, Source
from wss.data.masks import IGNORE
from wss.data.names import is_name, is_relative_path
from wss.errors import UserError, did_you_mean
from wss.jobs.processes import ConversionStoppedError
from wss.progress import track

UNLABELED = "unlabeled2017"
FILES = {
    "train2017": "annotations/instances_train2017.json",
    "val2017": "annotations/instances_val2017.json",
    UNLABELED: "annotations/image_info_unlabeled2017.json",
}
BACKGROUND = "background"
CATEGORY_FIELDS = {"id": int, "name": str}
IMAGE_FIELDS = {"id": int, "file_name": str, "height": int, "width": int}
ANNOTATION_FIELDS = {"id": int, "image_id": int, "category_id": int, "bbox": list, "segmentation": list | dict}
# Systems limit how many files may be open; a pass over the annotations fills this many.
MAX_OPEN_FILES = 128


def read_coco(root: str | os.PathLike, splits: Sequence[str] = ()) -> tuple[list[str], dict[str, Pool], list[str]]:
    """Finds the images and classes; the annotations themselves are read by `CocoPool.shards`.

    Args:
        root: Folder of annotations, train2017, val2017 and unlabeled2017, or some of them.
        splits: Names of the folders of images to read; all that exist by default.

    Returns:
        Names of the classes, the background first; the images of each split; and a line for each problem.

    Raises:
        UserError: A package, folder or file is missing, JSON is broken, images have the same id, or categories differ.
    """
    check_packages()
    folder = epath.Path(root)
    splits = _find_splits(folder, splits)
    categories = _read_categories(folder, splits)
    labels = {category: label for label, category in enumerate(categories, start=1)}
    pools: dict[str, Pool] = {}
    problems: list[str] = []
    for split in splits:
        path = folder / FILES[split]
        if split != UNLABELED:
            pools[split] = CocoPool(folder / split, path, _read_images(path, problems), labels)
        elif path.exists():
            images = _read_images(path, problems)
            pools[split] = ListPool([Source(image.name, folder / split / image.file_name) for image in images])
        else:
            pools[split] = ListPool(_list_folder(folder / split))
    return [BACKGROUND, *categories.values()], pools, problems


@dataclasses.dataclass(frozen=True)
class CocoPool:
    """The images of one annotation file.

    Attributes:
        image_folder: Folder of the images.
        annotation_file: JSON file with their annotations.
        images: The images in the order of their names.
        labels: Class of each category id.
        others: Ids of images that the file lists for other pools, as those of label tools do; None for COCO itself.
    """

    image_folder: epath.Path
    annotation_file: epath.Path
    images: Sequence[CocoImage]
    labels: Mapping[int, int]
    others: frozenset[int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def shards(self, assignment: Sequence[np.ndarray], folder: epath.Path) -> list[Shard]:
        """Deals the annotations out to a file in `folder` for each record file, see `Pool.shards`.

        Raises:
            UserError: JSON is broken, or there are annotations of unknown images or categories.
        """
        files = [folder / f"{number:05d}.jsonl" for number in range(len(assignment))]
        shard_of = {self.images[i].id: number for number, of_file in enumerate(assignment) for i in of_file}
        for first in range(0, len(files), MAX_OPEN_FILES):
            try:
                self._deal_out(shard_of, first, files[first : first + MAX_OPEN_FILES])
            except OSError as error:
                raise ConversionStoppedError(f"{folder}: cannot be written ({error.strerror})") from error
        return [
            CocoShard(
                self.image_folder,
                self.annotation_file,
                tuple(self.images[i] for i in numbers),
                file,
                must_cover=self.others is not None,
            )
            for numbers, file in zip(assignment, files, strict=True)
        ]

    def _deal_out(self, shard_of: Mapping[int, int], first: int, paths: Sequence[epath.Path]) -> None:
        """Writes the annotations of shards `first`, `first + 1`, ... as `CocoShard` reads them."""
        count: Counter[str] = Counter()
        example: dict[str, str] = {}
        normalised = normalised_boxes = True  # until a coordinate is seen that is not
        seen = 0
        with contextlib.ExitStack() as stack:
            files = {first + i: stack.enter_context(path.open("w")) for i, path in enumerate(paths)}
            items = read_items(self.annotation_file, "annotations", may_be_empty=self.others is not None)
            for item in track(items, f"reading {self.annotation_file.name}", unit="annotation"):
                if problem := self._problem_of(item, shard_of):
                    count[problem] += 1
                    example.setdefault(problem, shown(item))
                    continue
                if item["image_id"] not in shard_of:
                    continue
                seen += 1
                normalised = normalised and is_normalised(item["segmentation"])
                normalised_boxes = normalised_boxes and max(item["bbox"]) <= 1
                if file := files.get(shard_of[item["image_id"]]):
                    file.write(self._line(item) + "\n")
        raise_problems(
            f"{self.annotation_file}: {problem} ({count[problem]} annotations), such as {example[problem]}"
            for problem in count
        )
        for what, is_so in (("coordinates", normalised), ("numbers of the boxes", normalised_boxes)):
            if is_so and seen:
                raise_problems([f"{self.annotation_file}: all {what} are <= 1: normalised? expected pixels"])

    def _line(self, item: Mapping[str, Any]) -> str:
        """Returns an annotation as `CocoShard` reads it."""
        label, is_crowd = self.labels[item["category_id"]], bool(item.get("iscrowd", 0))
        annotation = Annotation(item["id"], label, is_crowd, bbox=item["bbox"], segmentation=item["segmentation"])
        try:
            return json.dumps([item["image_id"], *annotation], separators=(",", ":"))
        except RecursionError as error:
            raise UserError(f"{self.annotation_file}: annotation {item['id']} is nested too deeply") from error

    def _problem_of(self, item: Any, shard_of: Mapping[int, int]) -> str:
        """Says what is wrong with an annotation, apart from its segmentation; "" if nothing is."""
        if wrong := wrong_field(item, ANNOTATION_FIELDS):
            return f"{wrong!r} is missing or wrong"
        if item["image_id"] not in shard_of and item["image_id"] not in (self.others or ()):
            return 'no such "image_id" among its images'
        if item["category_id"] not in self.labels:
            return 'no such "category_id" among its categories'
        if len(item["bbox"]) != 4 or not all(map(is_coordinate, item["bbox"])):
            return "'bbox' is not [x, y, width, height]"
        if item.get("iscrowd", 0) not in (0, 1):
            return "'iscrowd' is neither 0 nor 1"
        return ""


def _find_splits(root: epath.Path, splits: Sequence[str]) -> list[str]:
    for name in splits:
        if name not in FILES:
            raise UserError(f"--splits={name}: no such split; expected {', '.join(FILES)}.{did_you_mean(name, FILES)}")
        if not (root / name).is_dir():
            raise UserError(f"{root / name}: no such folder; expected the images of {name}.zip from cocodataset.org")
    found = [name for name in FILES if name in splits or (not splits and (root / name).is_dir())]
    if not found:
        raise UserError(
            f"--coco_root={root}: none of the folders {', '.join(FILES)} in it; expected what train2017.zip and "
            "val2017.zip from cocodataset.org unpack to"
        )
    return found


def _read_categories(root: epath.Path, splits: Sequence[str]) -> dict[int, str]:
    """Returns category id -> name, in order of the ids."""
    paths = [root / FILES[split] for split in splits if split != UNLABELED]
    # Images without annotations get the same classes as those with, from any file that has them.
    paths = paths or [path for path in (root / file for file in FILES.values()) if path.exists()][:1]
    if not paths:
        raise UserError(
            f"{root / 'annotations'}: no instances_*2017.json; they are in {archive_of(root / FILES['val2017'])}"
        )
    tables = [_read_table(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if different := sorted(set(table.items()) ^ set(tables[0].items())):
            id, name = different[0]
            raise UserError(
                f"{path}: not the categories of {paths[0].name}, only one of them has {name!r} as {id}; expected the "
                f"files of {archive_of(path)}"
            )
    return dict(sorted(tables[0].items()))


def _read_table(path: epath.Path) -> dict[int, str]:
    """Returns the categories of a file; a repeated id or name, or a text that is no name, is a `UserError`."""
    items = list(read_objects(path, "categories", CATEGORY_FIELDS))
    if len(items) >= IGNORE:
        raise UserError(f"{path}: {len(items)} categories; expected at most {IGNORE - 1}")
    for field in CATEGORY_FIELDS:
        value, number = Counter(item[field] for item in items).most_common(1)[0]
        if number > 1:
            raise UserError(f"{path}: {number} categories of {field} {value!r}; expected one")
    for item in items:
        if not is_name(item["name"]) or item["name"] == BACKGROUND:
            raise UserError(
                f"{path}: {item['name'][:60]!r} can be no name of a category; expected that of a kind of objects"
            )
    return {item["id"]: item["name"] for item in items}


def _read_images(path: epath.Path, problems: list[str]) -> tuple[CocoImage, ...]:
    """Returns the images that a JSON file lists, by name; adds a line for each name that occurs more than once."""
    items = read_objects(path, "images", IMAGE_FIELDS)
    images = sorted((CocoImage(*(item[key] for key in IMAGE_FIELDS)) for item in items), key=lambda image: image.name)
    raise_problems(
        f"{path}: {image.file_name[:80]!r} can be no file of an image; expected a path in the folder of the images"
        for image in images
        if not is_relative_path(image.file_name)
    )
    # Told at once: which annotations belong to which of them is unknown.
    raise_problems(_repeated(path, images, "id"))
    problems += _repeated(path, images, "name")
    return tuple(images)


def _repeated(path: epath.Path, images: Sequence[CocoImage], what: str) -> list[str]:
    counts = Counter(getattr(image, what) for image in images)
    return [f"{path}: {n} images of {what} {value!r}" for value, n in counts.items() if n > 1]


def _list_folder(folder: epath.Path) -> list[Source]:
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise UserError(f"{folder}: no *.jpg in it; expected the images of {folder.name}.zip from cocodataset.org")
    return [Source(path.stem, path) for path in paths]
