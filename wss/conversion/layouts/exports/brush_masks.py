"""Label Studio's "Brush labels to PNG" and "to NumPy": a file for each region, and none that names the photo.

The names have the number of the task, as in "task-12-annotation-7-by-1-tag-Car-0.png". Which photo that is, the JSON export
of the same project tells, the full one or JSON-MIN.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wss.conversion.class_files import ClassList
from wss.conversion.layouts.exports.export import (
    AS_BACKGROUND,
    BACKGROUND,
    BACKGROUND_NAMES,
    BlankMask,
    Export,
    Kind,
    Part,
    Request,
    check_case,
    unannotated_line,
)
from wss.conversion.layouts.exports.photos import Photos, photos_of
from wss.conversion.layouts.exports.studio_tasks import StudioTask, read_tasks
from wss.conversion.layouts.exports.voc_trees import load_array
from wss.conversion.sources import Source
from wss.data.class_colors import default_colors
from wss.data.masks import read_mask
from wss.data.photo_folder import composed, id_of
from wss.errors import UserError, did_you_mean

_NAME = re.compile(r"task-(\d+)-annotation-(\d+)-by-([\w@.]*)-(.+)-(\d+)\.(png|npy)")
_WHICH = "Label Studio, Brush labels to PNG"


@dataclasses.dataclass(frozen=True)
class BrushMask:
    """Puts the regions of one photo into a mask; smaller ones lie on larger ones.

    Attributes:
        path: Path of the first file, for messages.
        layers: Value and file of each region.
    """

    path: str
    layers: tuple[tuple[int, str], ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Its files: a killed conversion keeps only what was made of the same ones."""
        return tuple(path for _, path in self.layers)

    def read(self) -> np.ndarray:
        """Returns the values, uint8 [H, W].

        Raises:
            UserError: A file is damaged, or the regions have different sizes.
        """
        regions = [(value, _region(path)) for value, path in self.layers]
        size = regions[0][1].shape
        for (_, region), (_, path) in zip(regions, self.layers, strict=True):
            if region.shape != size:
                raise UserError(
                    f"{path}: {region.shape[1]}x{region.shape[0]} pixels, but {self.path} has {size[1]}x{size[0]}; expected "
                    "the size of the photo"
                )
        mask = np.zeros(size, np.uint8)
        for value, region in sorted(regions, key=lambda layer: -np.count_nonzero(layer[1])):
            mask[region] = value
        return mask


def _region(path: str) -> np.ndarray:
    return (load_array(path) if path.endswith(".npy") else read_mask(path)) > 0


@dataclasses.dataclass(frozen=True)
class _BrushFile:
    """What the name of a file tells."""

    path: Path
    task: int
    annotation: int
    tail: str  # the control's name and the label: "tag-Car"


def _files(root: Path) -> list[_BrushFile]:
    matches = [(path, _NAME.fullmatch(path.name)) for path in sorted(root.iterdir())]
    return [_BrushFile(path, int(m[1]), int(m[2]), composed(m[4])) for path, m in matches if m]


def _read(root: Path, request: Request) -> Export:
    files = _files(root)
    if request.tasks is None:
        raise UserError(
            f"{root}: the masks of {_WHICH} name tasks, not photos; give --tasks=<the export JSON or JSON-MIN of the same "
            "project>"
        )
    tasks = read_tasks(request.tasks)
    photos = photos_of(root, "images", request.photos, what=_WHICH)
    labels = _labels(files, tasks, request)
    classes = request.classes or _classes(labels, root)
    export = Export(classes, problems=list(photos.problems))
    values = {name: number for number, name in enumerate(classes.names)}
    values.update({name: 0 for name in BACKGROUND_NAMES if BACKGROUND in values and name not in values})
    layers: dict[int, list[tuple[int, _BrushFile]]] = defaultdict(list)
    for file in files:
        if (label := labels[file.tail]) not in values:
            export.problems.append(
                f"{file.path}: the label {label[:60]!r} is none of --class_names; expected one of "
                f"{', '.join(classes.names[:12])}.{did_you_mean(label[:80], classes.names)}"
            )
        elif file.task not in tasks:
            export.problems.append(f"{file.path}: no task {file.task} in {request.tasks}; expected the same project")
        else:
            layers[file.task].append((values[label], file))
    export.parts[""] = _part(layers, tasks, photos, request=request, problems=export.problems)
    is_background = request.unannotated == AS_BACKGROUND
    export.lines += unannotated_line(request.tasks, len(tasks.keys() - layers.keys()), is_background=is_background)
    return export


def _part(
    layers: Mapping[int, list[tuple[int, _BrushFile]]],
    tasks: Mapping[int, StudioTask],
    photos: Photos,
    *,
    request: Request,
    problems: list[str],
) -> Part:
    labeled: list[Source] = []
    unlabeled: list[Source] = []
    task_of: dict[str, int] = {}
    for number, task in tasks.items():
        regions = layers.get(number, [])
        annotations = sorted({file.annotation for _, file in regions})
        if len(annotations) > 1:
            problems.append(
                f"{regions[0][1].path}: task {number} has masks of the annotations {annotations[0]} and {annotations[1]}; "
                "expected one annotation for a photo, delete the others"
            )
        try:
            name = photos.find(task.photo(), leads_out=True, uploaded=True)
        except ValueError as error:
            problems.append(f"{request.tasks}: task {number}: {error}")
            continue
        if (first := task_of.setdefault(name, number)) != number:
            problems.append(
                f"{request.tasks}: tasks {first} and {number} are the same photo {name!r}; expected one task"
            )
            continue
        path = photos.paths[name]
        if regions:
            mask = BrushMask(str(regions[0][1].path), tuple((value, str(file.path)) for value, file in regions))
            labeled.append(Source(id_of(name), path, mask))
        elif request.unannotated == AS_BACKGROUND:
            labeled.append(Source(id_of(name), path, BlankMask(str(path))))
        else:
            unlabeled.append(Source(id_of(name), path))
    unlabeled += [Source(id_of(name), path) for name, path in photos.paths.items() if name not in task_of]
    return Part(labeled, unlabeled)


def _labels(files: list[_BrushFile], tasks: Mapping[int, StudioTask], request: Request) -> dict[str, str]:
    """Returns the label of each "control-label": as the tasks have it, as a class is called, or behind the first dash."""
    known = {tail: label for task in tasks.values() for tail, label in task.labels.items()}
    names = request.classes.names if request.classes else []
    found: dict[str, str] = {}
    for tail in {file.tail for file in files}:
        given = [name for name in names if tail.endswith("-" + name.replace("/", "-"))]
        found[tail] = known.get(tail) or (max(given, key=len) if given else tail.split("-", 1)[-1])
    return found


def _classes(labels: Mapping[str, str], root: Path) -> ClassList:
    used = sorted(set(labels.values()), key=str.casefold)
    check_case(used, str(root))
    names = [BACKGROUND, *(name for name in used if name.casefold() not in BACKGROUND_NAMES)]
    return ClassList(names, default_colors(len(names)))


BRUSH = Kind(_WHICH, lambda root: bool(_files(root)), _read, is_drawn=True)
