"""The categories of an export in COCO's JSON, and which images and categories its annotations use."""

import dataclasses

from etils import epath

from wss.conversion.layouts.coco import CATEGORY_FIELDS
from wss.conversion.layouts.coco_json import read_items, read_objects, shown
from wss.conversion.layouts.exports.export import BACKGROUND, BACKGROUND_NAMES, check_case, counted
from wss.data.names import is_name
from wss.data.photo_folder import composed
from wss.errors import UserError
from wss.progress import track


@dataclasses.dataclass
class Used:
    """What the annotations of a file use, apart from their outlines.

    Attributes:
        images: Ids of the images that have any.
        categories: Ids of the categories that have any.
        without_outline: Number of those that have only a box, and the first.
        total: Number of all.
    """

    images: set[int] = dataclasses.field(default_factory=set)
    categories: set[int] = dataclasses.field(default_factory=set)
    without_outline: tuple[int, str] = (0, "")
    total: int = 0

    @classmethod
    def of(cls, path: epath.Path) -> "Used":
        """Reads the annotations of a file as a stream; what is wrong with one is found where masks are made."""
        used = cls()
        for item in track(
            read_items(path, "annotations", may_be_empty=True), f"reading {path.name}", unit="annotation"
        ):
            item = item if isinstance(item, dict) else {}
            used.total += 1
            for ids, key in ((used.images, "image_id"), (used.categories, "category_id")):
                if isinstance(item.get(key), int):
                    ids.add(item[key])
            if not item.get("segmentation"):
                number, first = used.without_outline
                used.without_outline = number + 1, first or shown(item)
        return used

    def problems(self, path: epath.Path) -> list[str]:
        """Returns a line if there are boxes without outlines."""
        number, first = self.without_outline
        if not number:
            return []
        return [
            f"{path}: {number} of {counted(self.total, 'annotation')} have no outline, such as {first}; expected "
            f"polygons or masks. Draw them, or take only the boxes: build_folder.py --images=<photos> --boxes={path}"
        ]


def read_categories(path: epath.Path, used: set[int]) -> dict[int, str]:
    """Returns the categories of a file by their ids, without Roboflow's category 0: the project, if it has no objects."""
    items = list(read_objects(path, "categories", CATEGORY_FIELDS))
    is_root = lambda item: item["id"] == 0 and item.get("supercategory") == "none" and 0 not in used
    table: dict[int, str] = {}
    for item in items if len(items) < 2 else [item for item in items if not is_root(item)]:
        name = composed(item["name"].strip())
        name = BACKGROUND if name.casefold() in BACKGROUND_NAMES else name
        if not is_name(name):
            raise UserError(f"{path}: {item['name'][:60]!r} can be no name of a category; expected that of a class")
        if item["id"] in table or name in table.values():
            raise UserError(f"{path}: two categories of id {item['id']} or name {name!r}; expected one")
        table[item["id"]] = name
    check_case(list(table.values()), str(path))
    return dict(sorted(table.items()))
