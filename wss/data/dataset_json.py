"""Reads the JSON of a data set, and says which entry of it cannot be meant."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from etils import epath

from wss.data.limits import MAX_SIDE
from wss.data.names import is_file_name, is_name, is_printable, is_relative_path, is_split_name

MAX_BYTES = 256 << 20
MAX_DEPTH = 100
MAX_COUNT = 1 << 40
MAX_CLASSES = 256
_CHECKSUM = re.compile(r"([0-9a-f]{64})?")


class Rule(NamedTuple):
    """What an entry may be.

    Attributes:
        holds: Function that tells whether a value may be one of the entry.
        expected: Words on what is expected.
        required: Whether the entry must be there.
    """

    holds: Callable[[Any], bool]
    expected: str
    required: bool = True


def is_count(value: Any, low: int = 0, high: int = MAX_COUNT) -> bool:
    """Returns whether a value is a whole number in a range; True and False are none."""
    return type(value) is int and low <= value <= high


def _list_of(value: Any, holds: Callable[[Any], bool], *, low: int, high: int) -> bool:
    return isinstance(value, list | tuple) and low <= len(value) <= high and all(map(holds, value))


def _is_color(value: Any) -> bool:
    return _list_of(value, lambda part: is_count(part, 0, 255), low=3, high=3)


def _are_classes(value: Any) -> bool:
    return _list_of(value, is_name, low=2, high=MAX_CLASSES) and len(set(value)) == len(value)


def _are_shards(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and all(map(is_file_name, value)) and all(map(_is_some, value.values()))
    )


def _is_some(value: Any) -> bool:
    return is_count(value, 1)


def _is_size(value: Any) -> bool:
    return _list_of(value, lambda side: is_count(side, 1, MAX_SIDE), low=2, high=2)


def _is_provenance(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("splits", {}), dict)


_COUNT = Rule(is_count, "a whole number from 0")
INFO_RULES = {
    "name": Rule(is_printable, "a printable text"),
    "class_names": Rule(_are_classes, f"2 to {MAX_CLASSES} different printable names"),
    "colors": Rule(
        lambda value: _list_of(value, _is_color, low=2, high=MAX_CLASSES),
        "a colour for each class, three whole numbers in 0 .. 255",
    ),
    "splits": Rule(lambda value: isinstance(value, dict), "the splits by their names"),
    "ignore_label": Rule(lambda value: is_count(value, 0, 255), "a whole number in 0 .. 255", required=False),
    "has_background": Rule(lambda value: isinstance(value, bool), "true or false", required=False),
    "provenance": Rule(_is_provenance, "entries by their names", required=False),
}
SPLIT_RULES = {
    "shards": Rule(_are_shards, "the number of records, 1 or more, by the name of a file in the same folder"),
    "num_masks": _COUNT,
    "num_image_labels": _COUNT,
    "max_size": Rule(_is_size, f"height and width in 1 .. {MAX_SIDE}"),
    "checksum": Rule(
        lambda value: isinstance(value, str) and bool(_CHECKSUM.fullmatch(value)),
        "64 hexadecimal digits",
        required=False,
    ),
    "num_with_boxes": _COUNT._replace(required=False),
    "runs_file": Rule(
        lambda value: value == "" or is_relative_path(value), "the path of a file in the folder", required=False
    ),
    "hide_masks": Rule(lambda value: isinstance(value, bool), "true or false", required=False),
}


def is_regular_file(path: epath.Path) -> bool:
    """Returns whether a path is a file that can be read to its end: no folder, pipe or device, which may be endless."""
    return path.is_file() if "://" in str(path) else os.path.isfile(path)


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file that anybody may have written.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON, too large or too deep, has a key twice or a number that is none.
    """
    if path.stat().length > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
    try:
        content = json.loads(
            path.read_text(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _is_deep(content):
        raise ValueError("it is nested too deeply")
    return content


def check_content(content: Any) -> None:
    """Raises a `ValueError` that names the first entry of a `dataset.json` that cannot be meant."""
    _check(content, INFO_RULES, "")
    if len(content["colors"]) != len(content["class_names"]):
        raise ValueError(
            f"{len(content['colors'])} colors for {len(content['class_names'])} class_names; expected as many"
        )
    for name, split in content["splits"].items():
        if not is_split_name(name):
            raise ValueError(f"split {_shown(name)}: expected a name of at most 100 letters, digits and . _ + -")
        _check(split, SPLIT_RULES, f"split {name!r}, ")


def check_runs(content: Any, shards: Mapping[str, int], checksum: str) -> dict[str, list[tuple[int, int]]]:
    """Returns the runs of records that a file of `splits/` gives, by the name of the record file.

    Args:
        content: The JSON of the file.
        shards: Number of records of each file of the split.
        checksum: Checksum of the split.

    Raises:
        KeyError: It is of another split.
        ValueError: Something in it cannot be meant.
    """
    if not isinstance(content, dict) or not isinstance(content.get("runs"), dict):
        raise ValueError("it has no runs")
    if content.get("checksum") != checksum:
        raise KeyError("checksum")
    return {file: _runs_of(file, content["runs"].get(file), count) for file, count in shards.items()}


def _runs_of(file: str, runs: Any, count: int) -> list[tuple[int, int]]:
    is_run = lambda run: _list_of(run, is_count, low=2, high=2) and run[1] > 0
    if not _list_of(runs, is_run, low=1, high=count):
        raise ValueError(f"the runs of {file} are {_shown(runs)}; expected pairs of byte offset and number of records")
    offsets = [offset for offset, _ in runs]
    if any(first >= second for first, second in zip(offsets, offsets[1:], strict=False)):
        raise ValueError(f"the runs of {file} are not in their order")
    if sum(number for _, number in runs) != count:
        raise ValueError(f"the runs of {file} have {sum(n for _, n in runs)} records, dataset.json says {count}")
    return [(offset, number) for offset, number in runs]


def _check(content: Any, rules: Mapping[str, Rule], where: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{where}found {_shown(content)}; expected entries by their names")
    for entry in content:
        if entry not in rules:
            raise ValueError(f"{where}{_shown(entry)} is no entry; expected {', '.join(rules)}")
    for entry, rule in rules.items():
        if entry not in content:
            if rule.required:
                raise ValueError(f"{where}{entry} is missing; expected {rule.expected}")
        elif not rule.holds(content[entry]):
            raise ValueError(f"{where}{entry} is {_shown(content[entry])}; expected {rule.expected}")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {_shown(twice)} is there twice")
    return content


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True
