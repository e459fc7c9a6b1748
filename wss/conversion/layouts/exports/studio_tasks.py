"""The JSON exports of Label Studio, full and JSON-MIN: which photo a task has."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from etils import epath

from wss.conversion.layouts.coco_json import check_packages, read_items, shown
from wss.data.dataset_json import is_count
from wss.data.image_files import check_regular
from wss.data.photo_folder import composed
from wss.data.photos import SUFFIXES
from wss.errors import UserError


def path_of(text: str) -> str:
    """Returns the path in an address, such as "photos/a b.jpg" of "/data/local-files/?d=photos/a%20b.jpg"."""
    if "://" not in text and not text.startswith("/data/"):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    query = parse_qs(parts.query).get("d")
    return query[0] if query else unquote(parts.path)


@dataclasses.dataclass(frozen=True)
class StudioTask:
    """What the JSON tells of a task.

    Attributes:
        texts: All texts of its data, one of which is its photo.
        labels: Label of each "control-label" in it, as names of files have them.
    """

    texts: tuple[str, ...]
    labels: Mapping[str, str]

    def photo(self) -> str:
        """Returns the file that it names, as a path; a `ValueError` tells that there is none."""
        for text in self.texts:
            if (name := path_of(text)).lower().endswith(SUFFIXES):
                return name
        raise ValueError(
            f"names no photo in {str(self.texts)[:80]}; expected a path that ends in one of {', '.join(SUFFIXES[:3])}"
        )


def read_tasks(path: str) -> dict[int, StudioTask]:
    """Returns the tasks of a JSON export by their numbers; brush labels make it large, so it is read as a stream."""
    check_packages()
    check_regular(path)
    tasks: dict[int, StudioTask] = {}
    for item in read_items(epath.Path(path), "", may_be_empty=True):
        number = item["id"] if isinstance(item, dict) and is_count(item.get("id")) else -1
        if number < 0 or number in tasks:
            found = f"two tasks {number}" if number in tasks else f"no id of a task in {shown(item)}"
            raise UserError(f"--tasks={path}: {found}; expected Label Studio's JSON or JSON-MIN")
        data = item["data"] if isinstance(item.get("data"), dict) else item
        texts = tuple(text for text in data.values() if isinstance(text, str))
        tasks[number] = StudioTask(texts, dict(_labels_of_task(item)))
    if not tasks:
        raise UserError(f"--tasks={path}: no list of tasks; expected Label Studio's JSON or JSON-MIN")
    return tasks


def _labels_of_task(task: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields each "control-label" of a full JSON export as it stands in names of files, and the label."""
    annotations = task.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else ():
        regions = annotation.get("result") if isinstance(annotation, dict) else None
        for region in regions if isinstance(regions, list) else ():
            value = region.get("value") if isinstance(region, dict) else None
            labels = value.get("brushlabels") if isinstance(value, dict) else None
            if isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels):
                tail = f"{region.get('from_name')}-{'-'.join(labels)}"
                yield composed(tail.replace("/", "-").replace("\\", "-")), composed("-".join(labels).strip())
