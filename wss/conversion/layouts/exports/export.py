"""What a label tool exported, as all readers of exports return it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wss.conversion.class_files import ClassList
from wss.conversion.sources import Pool, Source
from wss.data.photo_folder import composed
from wss.data.photos import photo_size
from wss.errors import UserError

# What becomes of images in which nothing is annotated: as the tool means it, masks of background, images without masks.
AUTO, AS_BACKGROUND, AS_UNLABELED = "auto", "background", "unlabeled"
UNANNOTATED = (AUTO, AS_BACKGROUND, AS_UNLABELED)
BACKGROUND = "background"
BACKGROUND_NAMES = (BACKGROUND, "_background_")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a person says about an export.

    Attributes:
        photos: Folder of the photos, where the export has none; None takes those of the export.
        classes: Names that the labels must have; None takes those of the export.
        unannotated: What images are in which nothing is annotated, one of `UNANNOTATED`.
        tasks: JSON file of Label Studio that names the photo of each task; None without one.
    """

    photos: str | None = None
    classes: ClassList | None = None
    unannotated: str = AUTO
    tasks: str | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of one split of an export.

    Attributes:
        labeled: Images that have a mask; `pool` may be what makes the masks.
        unlabeled: Images without one.
        pool: Function that makes some of the labelled images a pool.
        unlabeled_pool: Function that does so with images without a mask.
    """

    labeled: Sequence[Source] = ()
    unlabeled: Sequence[Source] = ()
    pool: Callable[[Sequence[Source]], Sequence[Source] | Pool] = list
    unlabeled_pool: Callable[[Sequence[Source]], Sequence[Source] | Pool] = list


@dataclasses.dataclass
class Export:
    """An export that was read.

    Attributes:
        classes: Its classes, by the values of its masks.
        parts: Its images by the name of their split; "" where it has no splits.
        problems: A line for all that is wrong.
        lines: Lines on what a person should know.
    """

    classes: ClassList
    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of export.

    Attributes:
        words: Tool and format, such as "CVAT, COCO 1.0".
        found: Function that tells whether a folder is the root of such an export.
        read: Function that reads it.
        is_coco: Whether its annotations are COCO's JSON.
        is_drawn: Whether masks are drawn from shapes, so that all other pixels are background.
    """

    words: str
    found: Callable[[Path], bool]
    read: Callable[[Path, Request], Export]
    is_coco: bool = False
    is_drawn: bool = False


@dataclasses.dataclass(frozen=True)
class BlankMask:
    """The mask of a photo that shows only background.

    Attributes:
        path: Path of the photo.
    """

    path: str

    def read(self) -> np.ndarray:
        """Returns zeros of the size of the photo, uint8 [H, W]."""
        return np.zeros(photo_size(self.path), np.uint8)


def upright_classes(found: ClassList, place: str) -> ClassList:
    """Returns the classes of an export with the background in front, under its usual name.

    Args:
        found: The classes by their ids.
        place: Where they stand, for messages.

    Raises:
        UserError: The background is not the first of classes without colours, or names differ only in case.
    """
    check_case(found.names, place)
    names = [BACKGROUND if name.casefold() in BACKGROUND_NAMES else name for name in found.names]
    at = names.index(BACKGROUND) if BACKGROUND in names else 0
    if not at:
        return dataclasses.replace(found, names=names)
    if found.color_map is None:
        raise UserError(f"{place}: the background is class {at}; expected it first, with the value 0")
    order = [at, *(i for i in range(len(names)) if i != at)]
    new = {old: number for number, old in enumerate(order)}
    color_map = {color: new.get(value, value) for color, value in found.color_map.items()}
    return ClassList([names[i] for i in order], [found.colors[i] for i in order], color_map, "colors")


def check_case(names: Sequence[str], place: str) -> None:
    """Raises a `UserError` if two names are the same but for capital letters and blanks."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(" ".join(composed(name).casefold().split()), name)
        if first != name:
            raise UserError(
                f"{place}: the labels {first!r} and {name!r} differ only in capital letters or blanks; expected one name "
                "for a class, rename one of them in the tool and export again"
            )


def counted(number: int, what: str) -> str:
    """Returns "1 photo", "2 photos"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def unannotated_line(place: object, number: int, *, is_background: bool) -> list[str]:
    """Returns a line that says what images without annotations are taken for; none if there are none."""
    if not number:
        return []
    taken, other = ("only background", AS_UNLABELED) if is_background else ("unlabelled", AS_BACKGROUND)
    return [f"{place}: {counted(number, 'image')} without annotations: {taken}; --unannotated={other} says otherwise"]
