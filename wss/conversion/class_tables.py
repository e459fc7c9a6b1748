"""Tables of classes as label tools write them.

Known are CVAT's labelmap.txt ("road:128,64,128::"), Roboflow's _classes.csv ("Pixel Value, Class"), class_dict.csv of CamVid
("name,r,g,b"), its label_colors.txt ("64 128 64 Animal"), other CSV with or without such a header, lines "0 background", and
JSON: lists of names or of objects with name, color and id, alone or under "classes", "labels", "categories", "names" (as in
Supervisely's meta.json), and objects name: color, name: id or id: name.
"""

import csv
import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from wss.conversion.class_names import Entry, line_entry
from wss.errors import UserError

Lines = Sequence[tuple[int, str]]
_CVAT = re.compile(r"([^:#]+):(\d{1,3},\d{1,3},\d{1,3})?:[^:]*:[^:]*")
_NUMBERED = re.compile(r"(\d+)(?:\s*[:,;=\t]\s*|\s+)(\S.*)")
_COLOR_FIRST = re.compile(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+([^\d\s].*)")
_COLUMNS = {
    "name": ("name", "class", "class_name", "class name", "label", "category", "title", "classes"),
    "id": ("id", "index", "pixel value", "value", "class_id", "class id", "label_id", "pixel_value"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
    "color": ("color", "colour", "rgb", "hex", "color_rgb"),
}
_NAME_KEYS = ("name", "title", "label", "class", "value", "readable")
_COLOR_KEYS = ("color", "colour", "rgb", "background")
_ID_KEYS = ("id", "index")
_LIST_KEYS = ("classes", "labels", "categories", "names", "class_names")


def parse_table(lines: Lines, path: str) -> list[Entry] | None:
    """Returns the classes of a text file that is a table; None if it is none.

    Args:
        lines: Its lines that are not blank, with their numbers.
        path: The file, for messages.

    Raises:
        UserError: A line of a table is unlike the others.
    """
    if not lines:
        return None
    first = lines[0][1]
    rest = lines[1:] if re.match(r"#\s*label\s*:", first, re.I) else lines
    if len(rest) < len(lines) or all(_CVAT.fullmatch(line) for _, line in rest):
        return [_cvat(line, f"{path}:{number}") for number, line in rest]
    for delimiter in (",", ";", "\t"):
        columns = [_column(field) for field in _fields(first, delimiter)]
        if "name" in columns and len(set(columns) - {""}) > 1:
            return [_row(columns, _fields(line, delimiter), f"{path}:{number}") for number, line in lines[1:]]
    if all(_COLOR_FIRST.fullmatch(line) for _, line in lines):
        matches = [(number, _COLOR_FIRST.fullmatch(line)) for number, line in lines]
        return [_entry(m[4], ",".join(m.groups()[:3]), None, f"{path}:{number}") for number, m in matches if m]
    for columns, pattern in _HEADLESS:
        if all(re.fullmatch(pattern, line) for _, line in lines):
            return [_row(columns, _fields(line, ","), f"{path}:{number}") for number, line in lines]
    if len(lines) > 1 and all(_NUMBERED.fullmatch(line) for _, line in lines):
        numbered = [(number, _NUMBERED.fullmatch(line)) for number, line in lines]
        return [
            dataclasses.replace(line_entry(m[2], f"{path}:{number}"), id=int(m[1][:9]), place=f"{path}:{number}")
            for number, m in numbered
            if m
        ]
    return None


_HEADLESS = (
    (["name", "red", "green", "blue"], r"[^,]*[^,\d\s][^,]*(\s*,\s*\d+){3}"),
    (["id", "name", "red", "green", "blue"], r"\d+\s*,[^,]*[^,\d\s][^,]*(\s*,\s*\d+){3}"),
)


def parse_json(text: str, path: str) -> list[Entry]:
    """Returns the classes of a JSON file.

    Raises:
        UserError: It is no JSON, or has no list of classes in it.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{path}: no JSON ({reason}); expected a list of classes with name and color") from error
    if isinstance(content, dict):
        content = next((content[key] for key in _LIST_KEYS if isinstance(content.get(key), list | dict)), content)
    entries = [
        entry for number, item in enumerate(_items(content)) for entry in [_json_entry(item, f"{path}: item {number}")]
    ]
    if not entries:
        raise UserError(f"{path}: no classes in it; expected a list of classes with name and color")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)[:60]!r} is there twice")
    return dict(pairs)


def _items(content: Any) -> Iterator[Any]:
    """Yields the classes of a list or of an object, as texts or objects."""
    if not isinstance(content, dict):
        yield from content if isinstance(content, list) else []
        return
    for key, value in content.items():
        if key.isdecimal():
            yield {**value, "id": int(key)} if isinstance(value, dict) else {"name": value, "id": int(key)}
        elif isinstance(value, int):
            yield {"name": key, "id": value}
        else:
            yield {"name": key, **value} if isinstance(value, dict) else {"name": key, "color": value}


def _json_entry(item: Any, place: str) -> Entry:
    if isinstance(item, str):
        return Entry(item, place=place)
    found = item if isinstance(item, dict) else {}
    name = next((found[key] for key in _NAME_KEYS if isinstance(found.get(key), str)), None)
    if name is None:
        raise UserError(f"{place}: {str(item)[:60]!r} has no name; expected classes with name, color and perhaps id")
    color = next((found[key] for key in _COLOR_KEYS if found.get(key) not in (None, "")), None)
    id = next((found[key] for key in _ID_KEYS if key in found), None)
    if "attributes" in found or "title" in found:  # CVAT and Supervisely number their data base's rows
        id = None
    if id is not None and (isinstance(id, bool) or not isinstance(id, int)):
        raise UserError(f"{place}: the id {str(id)[:60]!r}; expected a number 0 .. 255")
    return Entry(name, None if color is None else _color(color, place), id, place)


def _cvat(line: str, place: str) -> Entry:
    match = _CVAT.fullmatch(line)
    if not match:
        raise UserError(f"{place}: {line[:60]!r}; expected 'label:red,green,blue:parts:actions', as CVAT writes it")
    return _entry(match[1], match[2], None, place)


def _fields(line: str, delimiter: str) -> list[str]:
    return [
        field.strip()
        for field in next(csv.reader([line.rstrip(delimiter)], delimiter=delimiter, skipinitialspace=True))
    ]


def _column(field: str) -> str:
    return next((column for column, names in _COLUMNS.items() if field.casefold() in names), "")


def _row(columns: Sequence[str], fields: Sequence[str], place: str) -> Entry:
    if len(fields) < len(columns):
        raise UserError(f"{place}: {len(fields)} columns, expected {len(columns)} as in the first line")
    found = {column: field for column, field in zip(columns, fields, strict=False) if column}
    color = found.get("color")
    if {"red", "green", "blue"} <= found.keys():
        color = ",".join(found[channel] for channel in ("red", "green", "blue"))
    return _entry(found["name"], color, found.get("id"), place)


def _entry(name: str, color: str | None, id: str | None, place: str) -> Entry:
    if id is not None and not (id.isdecimal() and len(id) < 9):
        raise UserError(f"{place}: the id {id[:60]!r}; expected a number 0 .. 255")
    return Entry(name.strip(), _color(color, place) if color else None, None if id is None else int(id), place)


def _color(color: Any, place: str) -> tuple[int, int, int]:
    """Reads [red, green, blue], "#rrggbb" or "red, green, blue"."""
    parts: Sequence[Any] = color if isinstance(color, list) else []
    if isinstance(color, str):
        text = color.strip()
        is_hex = re.fullmatch(r"#?[0-9a-fA-F]{6}", text) and (text.startswith("#") or not text.isdecimal())
        parts = list(bytes.fromhex(text.removeprefix("#"))) if is_hex else re.findall(r"[^\s,;()\[\]]+", text)
        parts = [int(part) if str(part).isdecimal() and len(str(part)) < 4 else part for part in parts]
    if len(parts) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in parts):
        raise UserError(f"{place}: the colour {str(color)[:60]!r}; expected red, green and blue, 0 .. 255 each")
    red, green, blue = parts
    return red, green, blue
