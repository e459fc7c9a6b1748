"""The classes of a data set, as a person types them or a label tool writes them."""

import dataclasses
import os
from pathlib import Path

from wss.conversion.class_names import IGNORE_NAMES, Entry, check_name, line_entry
from wss.conversion.class_tables import parse_json, parse_table
from wss.data.class_colors import default_colors
from wss.data.mask_colors import AUTO, COLORS
from wss.data.masks import IGNORE, color_map_of
from wss.data.photo_folder import composed
from wss.data.text_files import is_file, read_text
from wss.errors import UserError

Color = tuple[int, int, int]
LABELME_IGNORE, LABELME_BACKGROUND = "__ignore__", "_background_"


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes of masks.

    Attributes:
        names: Their names, by id.
        colors: Their colours, see `default_colors` where none are given.
        color_map: Value of each colour, with those of ignored pixels; None where no colours are given.
        reading: What counts in palette and grey masks, see `mask_colors.meanings`.
    """

    names: list[str]
    colors: list[Color]
    color_map: dict[Color, int] | None = None
    reading: str = AUTO


def read_classes(text: str, *, has_background: bool = True) -> tuple[list[str], list[Color], dict[Color, int] | None]:
    """Returns names, colours and colour map of `read_class_list`."""
    found = read_class_list(text, has_background=has_background)
    return found.names, found.colors, found.color_map


def read_class_list(text: str, *, has_background: bool = True) -> ClassList:
    """Reads `--class_names`.

    Args:
        text: Names separated by commas, or the path of a file: lines "name" or "name red green blue", or a table of a label
            tool, see `class_tables`.
        has_background: Whether the first class is everything else, which gets no colour of its own.

    Raises:
        UserError: There are no names, one that can be none, a name given twice, a bad colour, colours for some classes
            only, ids with gaps, or an ignored entry among classes that have no ids.
    """
    if is_file(text):
        entries, flag = _read_file(text), f"--class_names={text}"
    elif "," in text:
        items = [item.strip() for item in text.split(",")]
        items = items[:-1] if not items[-1] else items
        flag = f"--class_names={text if len(text) < 120 else text[:117] + '...'}"
        if "" in items:
            raise UserError(f"{flag}: an empty name between two commas; the ids of those behind it are unclear")
        entries = _with_places([line_entry(item, flag) for item in items], flag)
    else:
        what = "a folder" if _is_folder(text) else "no such file"
        raise UserError(f"--class_names={text[:200]}: {what}, and no list of names such as background,cat")
    return _checked(entries, flag, has_background)


def read_class_file(path: str | os.PathLike) -> ClassList:
    """Reads a file of classes, such as a label tool writes, see `read_class_list`."""
    return _checked(_read_file(str(path)), str(path), has_background=True)


def _checked(entries: list[Entry], flag: str, has_background: bool) -> ClassList:
    entries = _by_id([dataclasses.replace(entry, name=composed(entry.name.strip())) for entry in entries], flag)
    classes, ignored = _split_ignored(entries, flag)
    names = [entry.name for entry in classes]
    for number, entry in enumerate(classes):
        check_name(entry.name, entry.place, is_first=number == 0, all_names=names)
    if not 1 < len(names) <= IGNORE:
        raise UserError(f"{flag}: {len(names)} names, expected 2 to {IGNORE}, the background included")
    if len(set(names)) < len(names):
        raise UserError(f"{flag}: {max(names, key=names.count)!r} is given twice")
    colors = [entry.color for entry in classes if entry.color]
    ignored_colors = [entry.color for entry in ignored if entry.color]
    if not colors:
        return ClassList(names, default_colors(len(names), has_background))
    if len(colors) < len(names) or len({*colors, *ignored_colors}) < len(colors) + len(ignored_colors):
        raise UserError(f"{flag}: expected a colour of its own for each class, or none at all")
    values = [*range(len(names)), *[IGNORE] * len(ignored_colors)]
    # A tool that counts its ignored entry numbers the classes behind it otherwise.
    shifted = any(entry.id is None and entry.color and entries.index(entry) < len(classes) for entry in ignored)
    return ClassList(names, colors, color_map_of([*colors, *ignored_colors], values), COLORS if shifted else AUTO)


def _split_ignored(entries: list[Entry], flag: str) -> tuple[list[Entry], list[Entry]]:
    """Returns the classes, and the entries of pixels that do not count."""
    ignored = [entry for entry in entries if entry.name.casefold() in IGNORE_NAMES]
    classes = [entry for entry in entries if entry not in ignored]
    if [entry.name for entry in entries[:2]] == [LABELME_IGNORE, LABELME_BACKGROUND]:
        ignored = ignored[1:]  # labelme counts from -1 there, and its masks have 255
    for entry in ignored:
        if entry.color is None and entry.id != IGNORE:
            raise UserError(
                f"{entry.place}: {entry.name!r} is no class, and the ids of those beside it are unclear; leave it out if "
                f"the masks have {IGNORE} for it, else call it otherwise and give --classes the ids of all others, or give "
                "--ignore_values its value if that lies behind the classes"
            )
    return classes, ignored


def _by_id(entries: list[Entry], flag: str) -> list[Entry]:
    """Returns entries in the order of their ids, if they have any."""
    ids = [entry.id for entry in entries if entry.id is not None and not _is_ignored_by_id(entry)]
    if not ids:
        return entries
    if sorted(ids) != list(range(len(entries) - sum(map(_is_ignored_by_id, entries)))):
        shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
        raise UserError(
            f"{flag}: the ids {shown}; expected 0 .. {len(ids) - 1}, each once: the background too, and no gaps"
        )
    return sorted(entries, key=lambda entry: IGNORE if entry.id is None else entry.id)


def _is_ignored_by_id(entry: Entry) -> bool:
    return entry.id == IGNORE and entry.name.casefold() in IGNORE_NAMES


def _read_file(path: str) -> list[Entry]:
    text = read_text(path)
    suffix = Path(path).suffix.lower()
    if suffix in (".yaml", ".yml") or text.lstrip().startswith(("<", "version https://git-lfs")):
        raise UserError(f"{path}: YAML, XML or no list at all; expected a text file with a class per line, CSV or JSON")
    if suffix == ".json" or text.lstrip().startswith(("[", "{")):
        return parse_json(text, path)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if (table := parse_table(lines, path)) is not None:
        return table
    if len(lines) == 1 and "," in lines[0][1]:
        lines = [(lines[0][0], item.strip()) for item in lines[0][1].rstrip(", ").split(",")]
    return [
        dataclasses.replace(line_entry(line.rstrip(", "), f"{path}:{number}"), place=f"{path}:{number}")
        for number, line in lines
    ]


def _with_places(entries: list[Entry], place: str) -> list[Entry]:
    return [dataclasses.replace(entry, place=place) for entry in entries]


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):
        return False
