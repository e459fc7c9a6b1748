"""Files of boxes for a user's own images: a table, a folder of PASCAL VOC's XML files, or one JSON file of COCO."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from wss.conversion.layouts.box_tables import BoxTable, ListedImage, read_box_table
from wss.conversion.layouts.coco_json import wrong_field
from wss.conversion.layouts.coco_masks import Annotation, clipped_box
from wss.conversion.layouts.voc import read_annotation
from wss.conversion.sources import Source
from wss.data.boxes import Box
from wss.data.dataset_json import read_json
from wss.data.image_files import read_file
from wss.data.photo_folder import composed, id_of, is_junk
from wss.errors import UserError, did_you_mean

OUTSIDE = 1  # pixels by which boxes of COCO leave their images, by rounding
LISTS = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
}


def read_boxes(path: str, class_names: Sequence[str], foreground: Sequence[str]) -> BoxTable:
    """Reads the boxes of images from a CSV file, a folder of XML files or a JSON file.

    Args:
        path: The file or folder.
        class_names: Names of all classes, by their ids.
        foreground: Names of the classes that a box may have.

    Raises:
        UserError: It is missing, or none of these.
    """
    if Path(path).is_dir():
        table = _read_xml_folder(path, class_names, foreground)
    elif read_file(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        table = _read_coco(path, class_names, foreground)
    else:
        return read_box_table(path, class_names, foreground)
    table.drop_repeated()
    table.check_pixels()
    return table


def _read_xml_folder(folder: str, class_names: Sequence[str], foreground: Sequence[str]) -> BoxTable:
    table = BoxTable(folder)
    files = sorted(path for path in Path(folder).rglob("*.xml") if not is_junk(path.name))
    if not files:
        raise UserError(
            f"--boxes={folder}: no *.xml in it; expected PASCAL VOC's annotations, or give a CSV or JSON file"
        )
    # What is no foreground class is unknown there.
    names = [name if name in foreground else "\0" for name in class_names]
    for path in files:
        try:
            boxes, size = read_annotation(path, names)
        except UserError as error:
            table.problems.append(f"{error} of {', '.join(foreground)}")
            continue
        # Tools seldom keep the name inside of the file up to date.
        name = path.relative_to(folder).with_suffix("").as_posix()
        table.images[name] = ListedImage(str(path), list(boxes), size, is_empty=not boxes)
    return table


def _read_coco(path: str, class_names: Sequence[str], foreground: Sequence[str]) -> BoxTable:
    lists = _coco_lists(path)
    names = {item["id"]: composed(item["name"]) for item in lists["categories"]}
    listed = {
        item["id"]: (item["file_name"], ListedImage(path, size=(item["height"], item["width"]), is_empty=True))
        for item in lists["images"]
    }
    table = BoxTable(path, dict(listed.values()))
    if len(table.images) < len(lists["images"]):
        raise UserError(f'{path}: "images" with the same id or file_name; expected one entry for each image')
    labels = {composed(name): class_names.index(name) for name in foreground}
    for number, item in enumerate(lists["annotations"]):
        try:
            _, image = listed[item["image_id"]]
            image.boxes.append(_coco_box(item, names, labels, size=image.size or (0, 0)))
            image.is_empty = False
        except KeyError:
            table.problems.append(f'{path}: annotation {number}: no image {item["image_id"]} among its "images"')
        except ValueError as error:
            table.problems.append(f"{path}: annotation {number}: {error}")
    return table


def _coco_lists(path: str) -> dict[str, list[dict]]:
    """Returns the lists of a JSON file that are read, each entry with its fields."""
    try:
        content = read_json(epath.Path(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: no JSON ({' '.join(str(error).split())}); expected COCO's instances, or a CSV"
        ) from error
    lists: dict[str, list[dict]] = {}
    for key in LISTS:
        items = content.get(key) if isinstance(content, dict) else None
        if not isinstance(items, list):
            raise UserError(f'{path}: no list "{key}" in it; expected COCO\'s {", ".join(LISTS)}')
        for number, item in enumerate(items):
            if wrong := wrong_field(item, LISTS[key]):
                raise UserError(f'{path}: "{key}" {number}: {wrong!r} is missing or wrong; expected COCO\'s fields')
        lists[key] = items
    return lists


def _coco_box(
    item: Mapping[str, Any], names: Mapping[int, str], labels: Mapping[str, int], *, size: tuple[int, int]
) -> Box:
    name, edges = names.get(item["category_id"]), item["bbox"]
    if name is None or name not in labels:
        found = f"category {item['category_id']}" if name is None else repr(name[:80])
        help_ = did_you_mean(name[:80], labels) if name else ""
        raise ValueError(f"{found} is no foreground class; expected one of {', '.join(labels)}.{help_}")
    is_number = lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if len(edges) != 4 or not all(map(is_number, edges)):
        raise ValueError(f"'bbox' is {str(edges)[:80]}; expected [x, y, width, height] in pixels")
    x, y, width, height = edges
    if min(x, y) < -OUTSIDE or x + width > size[1] + OUTSIDE or y + height > size[0] + OUTSIDE:
        raise ValueError(
            f"'bbox' {edges} leaves an image of {size[1]}x{size[0]}; expected [x, y, width, height], not two corners"
        )
    box = clipped_box(Annotation(0, labels[name], bool(item.get("iscrowd", 0)), bbox=edges, segmentation=None), size)
    if box is None:
        raise ValueError(f"'bbox' {edges} has no area in an image of {size[1]}x{size[0]}; expected pixels")
    return box


@dataclasses.dataclass
class BoxedImages:
    """Gives images the boxes that a table has for them.

    Args:
        table: The table.
        problems: List to which a line is added for all that is wrong.
    """

    table: BoxTable
    problems: list[str]

    def __call__(self, sources: Sequence[Source]) -> list[Source]:
        """Returns images with their boxes and, where no mask and no list tells them, with the classes of these."""
        listed = self._match({source.id for source in sources})
        self._boxed_classes = {box.label for image in listed.values() for box in image.boxes}
        return [self._boxed(source, listed[source.id]) if source.id in listed else source for source in sources]

    def _match(self, ids: set[str]) -> dict[str, ListedImage]:
        """Returns what the table tells of each image, by its id."""
        by_base: dict[str, list[str]] = {}
        for id in sorted(ids):
            by_base.setdefault(id.rsplit("/", 1)[-1], []).append(id)
        found: dict[str, ListedImage] = {}
        for name, image in self.table.images.items():
            path = name.replace("\\", "/").removeprefix("./")
            id = id_of(path)
            if id not in ids:
                alike = by_base.get(id, [])  # a table may have names without folders
                if len(alike) != 1:
                    self.problems.append(f"{image.place}: {_not_found(name, path, alike)}")
                    continue
                id = alike[0]
            if id in found:
                self.problems.append(f"{image.place}: {name!r} is the image of {found[id].place} too; give it one name")
            found.setdefault(id, image)
        return found

    def _boxed(self, source: Source, image: ListedImage) -> Source:
        labels = tuple(sorted({box.label for box in image.boxes}))
        if source.image_labels is not None:
            told = set(source.image_labels)
            # A class that has boxes nowhere, such as sky, may be in the list alone.
            if {*labels} - told or (told & self._boxed_classes) - {*labels}:
                self.problems.append(
                    f"{image.place}: {source.id!r} has boxes of classes {list(labels)}, but --image_labels gives "
                    f"{sorted(told)}; expected the same, or leave the labels out: they follow from the boxes"
                )
        elif source.mask is None:
            source = dataclasses.replace(source, image_labels=labels)
        return dataclasses.replace(source, boxes=tuple(image.boxes), annotated_size=image.size)


def _not_found(name: str, path: str, alike: Sequence[str]) -> str:
    """Says why a name of a table is that of no image, or of several."""
    if len(alike) > 1:
        shown = ", ".join(map(repr, alike[:3]))
        return f"{name[:200]!r} may be {len(alike)} images, {shown}; expected the path in --images"
    leads_out = path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")
    what = "is no path in the folder of the images" if leads_out else "is no image of --images or --unlabeled"
    return f"{name[:200]!r} {what}; expected its path in that folder, such as sub/a.jpg"
