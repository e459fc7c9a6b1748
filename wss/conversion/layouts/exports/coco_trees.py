"""Exports in COCO's JSON: those of CVAT, Label Studio and Roboflow. The annotations themselves are read by `CocoPool`."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from wss.conversion.class_files import ClassList
from wss.conversion.layouts.coco import CocoPool
from wss.conversion.layouts.coco_json import check_packages, read_objects
from wss.conversion.layouts.coco_masks import CocoImage
from wss.conversion.layouts.exports.coco_lists import Used, read_categories
from wss.conversion.layouts.exports.export import (
    AS_BACKGROUND,
    AS_UNLABELED,
    AUTO,
    BACKGROUND,
    Export,
    Kind,
    Part,
    Request,
    check_case,
    counted,
    unannotated_line,
)
from wss.conversion.layouts.exports.photos import Photos, photos_of
from wss.conversion.layouts.exports.roboflow_masks import split_folders
from wss.conversion.layouts.exports.studio_tasks import path_of
from wss.conversion.sources import Source
from wss.data.class_colors import default_colors
from wss.data.dataset_json import is_count
from wss.data.masks import IGNORE
from wss.data.photo_folder import id_of, is_junk
from wss.errors import UserError

CVAT_FILES, ROBOFLOW_FILE, STUDIO_FILE = "instances_*.json", "_annotations.coco.json", "result.json"
IMAGE_FIELDS = {"id": int, "file_name": str}


@dataclasses.dataclass(frozen=True)
class _File:
    """One annotation file.

    Attributes:
        part: Name of its split; "" without one.
        path: The file.
        photos: The photos that may belong to it.
        places: Folders in which they may lie.
        is_uploaded: Whether Label Studio named them.
    """

    part: str
    path: epath.Path
    photos: Photos
    places: Sequence[str] = ("",)
    is_uploaded: bool = False

    def id_of(self, name: str) -> str:
        """Returns the id of a photo, without the folder of its split."""
        place = next((place for place in self.places if place and name.startswith(place)), "")
        return id_of(name.removeprefix(place))


def _read_files(files: Sequence[_File], request: Request, *, empty_is_background: bool) -> Export:
    used = [Used.of(file.path) for file in files]
    all_used = set().union(*(found.categories for found in used))
    tables = [read_categories(file.path, all_used) for file in files]
    names = dict.fromkeys([BACKGROUND, *(name for table in tables for name in table.values())])
    check_case(list(names), str(files[0].path))
    if not 1 < len(names) <= IGNORE:
        raise UserError(f"{files[0].path}: {len(names) - 1} categories of objects; expected 1 to {IGNORE - 1}")
    classes = ClassList(list(names), default_colors(len(names)))
    export = Export(classes)
    is_background = request.unannotated == AS_BACKGROUND or (request.unannotated == AUTO and empty_is_background)
    for file, table, found in zip(files, tables, used, strict=True):
        labels = {id: classes.names.index(name) for id, name in table.items()}
        export.problems += [*file.photos.problems, *found.problems(file.path)]
        export.parts[file.part] = _part(file, labels, found, is_background=is_background, export=export)
    _add_unlisted(export, files)
    if not is_background and not any(found.total for found in used):
        raise UserError(f"{files[0].path}: no annotations of any image; expected some, or --unannotated=background")
    return export


def _part(file: _File, labels: Mapping[int, int], used: Used, *, is_background: bool, export: Export) -> Part:
    """Returns the images of one annotation file."""
    images = _images(file, export.problems)
    empty = sum(image.id not in used.images for image in images)
    export.lines += unannotated_line(file.path, empty, is_background=is_background)
    has_mask = lambda image: image.id in used.images or (is_background and image.height > 0 < image.width)
    export.problems += [
        f"{file.path}: {image.file_name!r} has no height and width; expected both in pixels"
        for image in images
        if image.id in used.images and not (image.height and image.width)
    ]
    all_ids = frozenset(image.id for image in images)
    by_path = {image.found_path: image for image in images}

    def pool(chosen: Sequence[Source]) -> CocoPool:
        of_pool = [by_path[str(source.image)]._replace(found_name=source.id) for source in chosen]
        others = all_ids - {image.id for image in of_pool}
        return CocoPool(epath.Path(file.photos.folder), file.path, of_pool, labels, others)

    return Part(
        [Source(image.name, image.found_path) for image in images if has_mask(image)],
        [Source(image.name, image.found_path) for image in images if not has_mask(image)],
        pool,
    )


def _add_unlisted(export: Export, files: Sequence[_File]) -> None:
    """Adds the photos that no file lists to the split whose folder they lie in, else to the first."""
    listed = {str(source.image) for part in export.parts.values() for source in (*part.labeled, *part.unlabeled)}
    for photos in {id(file.photos): file.photos for file in files}.values():
        own = [file for file in files if file.photos is photos]
        for name, path in photos.paths.items():
            if str(path) in listed:
                continue
            file = next((file for file in own if any(name.startswith(place) for place in file.places if place)), own[0])
            part = export.parts[file.part]
            source = Source(file.id_of(name), path)
            export.parts[file.part] = dataclasses.replace(part, unlabeled=[*part.unlabeled, source])


def _images(file: _File, problems: list[str]) -> list[CocoImage]:
    """Returns the images of a file whose photos are there; adds a line for all others."""
    images: list[CocoImage] = []
    missing: list[str] = []
    first: dict[Any, str] = {}
    for item in read_objects(file.path, "images", IMAGE_FIELDS):
        if item["id"] in first:
            raise UserError(f"{file.path}: two images of id {item['id']}: {first[item['id']]!r}, {item['file_name']!r}")
        first[item["id"]] = item["file_name"]
        height, width = (int(item[side]) if is_count(item.get(side), 1) else 0 for side in ("height", "width"))
        try:
            name = path_of(item["file_name"]) if file.is_uploaded else item["file_name"]
            found = file.photos.find(name, places=file.places, leads_out=file.is_uploaded, uploaded=file.is_uploaded)
        except ValueError as error:
            missing.append(f"{file.path}: image {item['id']}: {error}")
            continue
        images.append(
            CocoImage(item["id"], item["file_name"], height, width, file.id_of(found), str(file.photos.paths[found]))
        )
    counts = Counter(image.found_path for image in images)
    problems += [
        f"{file.path}: {number} images of the photo {path}; expected one"
        for path, number in counts.items()
        if number > 1
    ]
    if missing and not images:
        missing = [f"{missing[0]} (none of {counted(len(missing), 'photo')} is there)"]
    problems += missing
    return sorted(images, key=lambda image: image.name)


def _read_cvat(root: Path, request: Request) -> Export:
    check_packages()
    photos = photos_of(root, "images", request.photos, what=CVAT.words)
    files = []
    for path in sorted((root / "annotations").glob(CVAT_FILES)):
        subset = path.stem.removeprefix("instances_")
        files.append(_File(subset, epath.Path(path), photos, (f"{subset}/", "")))
    return _read_files(files, request, empty_is_background=False)


def _read_studio(root: Path, request: Request) -> Export:
    check_packages()
    photos = photos_of(root, "images", request.photos, what=STUDIO.words)
    file = _File("", epath.Path(root / STUDIO_FILE), photos, ("",), is_uploaded=True)
    return _read_files([file], request, empty_is_background=False)


def _read_roboflow(root: Path, request: Request) -> Export:
    check_packages()
    folders = sorted(split_folders(root, ROBOFLOW_FILE), key=lambda folder: (folder.name != "train", folder.name))
    files = []
    given = photos_of(root, "", request.photos, what=ROBOFLOW.words) if request.photos else None
    for folder in folders:
        part = "" if folder == root else folder.name
        photos = given or photos_of(folder, "", None, what=ROBOFLOW.words)
        files.append(_File(part, epath.Path(folder / ROBOFLOW_FILE), photos))
    return _read_files(files, request, empty_is_background=request.unannotated != AS_UNLABELED)


def _has_cvat(root: Path) -> bool:
    return any(not is_junk(path.name) for path in (root / "annotations").glob(CVAT_FILES))


_studio: Callable[[Path], bool] = lambda root: (root / STUDIO_FILE).is_file()
CVAT = Kind("CVAT, COCO 1.0", _has_cvat, _read_cvat, is_coco=True, is_drawn=True)
STUDIO = Kind("Label Studio, COCO", _studio, _read_studio, is_coco=True, is_drawn=True)
ROBOFLOW = Kind(
    "Roboflow, COCO", lambda root: bool(split_folders(root, ROBOFLOW_FILE)), _read_roboflow, is_coco=True, is_drawn=True
)
