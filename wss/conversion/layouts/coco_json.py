"""The lists in COCO's JSON files, which have hundreds of megabytes: they are read as streams and checked item by item."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from etils import epath

from wss.errors import UserError

MAX_CHARACTERS_SHOWN = 120
# ijson's memory grows with the square of the depth; COCO's files have 5.
MAX_DEPTH = 10_000
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def check_packages() -> None:
    """Raises a `UserError` if a package is missing that COCO's files need."""
    try:
        import ijson  # noqa: F401
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise UserError(f"COCO needs a package that is not installed ({error}): pip install 'wss[convert]'") from error


class _NotTooDeep:
    """A JSON file that is read in pieces, and refused before the parser sees lists in lists in lists without end."""

    def __init__(self, path: epath.Path, file: BinaryIO):
        self._path, self._file = path, file
        self._depth, self._is_known = 0, False

    def read(self, size: int = -1) -> bytes:
        """Returns the next piece.

        Raises:
            UserError: The file is nested too deeply.
        """
        piece = self._file.read(size)
        if not self._is_known:
            opening = piece.count(b"[") + piece.count(b"{")
            if self._depth + opening > MAX_DEPTH:  # or brackets in strings
                self._check_whole()
            self._depth += opening - piece.count(b"]") - piece.count(b"}")
        return piece

    def _check_whole(self) -> None:
        depth = 0
        for token in _STRING_OR_BRACKET.finditer(self._path.read_bytes()):
            depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
            if depth > MAX_DEPTH:
                raise UserError(f"{self._path}: is nested too deeply; expected that of {archive_of(self._path)}")
        self._is_known = True


def read_items(path: epath.Path, key: str, *, may_be_empty: bool = False) -> Iterator[Any]:
    """Streams a list of a JSON file, such as its "images".

    Args:
        path: The file.
        key: Name of the list; "" where the file is a list itself.
        may_be_empty: Whether a file without such a list, or with an empty one, is right.

    Raises:
        UserError: The file is missing or broken, or there is no such list in it.
    """
    import ijson

    found = False
    try:
        with path.open("rb") as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            for item in ijson.items(_NotTooDeep(path, file), f"{key}.item" if key else "item", use_float=True):
                found = True
                yield item
    except ijson.JSONError as error:
        # ijson shows bytes where it cannot read text.
        reason = "no UTF-8 text, or compressed" if isinstance(error.args[0], bytes) else str(error).splitlines()[0]
        raise UserError(f"{path}: broken or cut off JSON ({reason}); expected that of {archive_of(path)}") from error
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{path}: {reason}; it is in {archive_of(path)}") from error
    if not found and not may_be_empty:
        raise UserError(f'{path}: no list "{key}" in it, or an empty one; expected the file of {archive_of(path)}')


def read_objects(path: epath.Path, key: str, fields: Mapping[str, Any]) -> Iterator[dict]:
    """Streams a list of a JSON file whose items are objects.

    Args:
        path: The file.
        key: Name of the list.
        fields: Type of each field that an item must have, by its name.

    Raises:
        UserError: The file is missing or broken, has no such list, or an item lacks one of the fields.
    """
    for item in read_items(path, key):
        if wrong := wrong_field(item, fields):
            raise UserError(f'{path}: {wrong!r} is missing or wrong in "{key}": {shown(item)}')
        yield item


def wrong_field(item: Any, fields: Mapping[str, Any]) -> str:
    """Returns the first field that is not there or of another type; "" if there is none."""
    item = item if isinstance(item, dict) else {}
    is_wrong = lambda value, kind: not isinstance(value, kind) or isinstance(value, bool)
    return next((name for name, kind in fields.items() if is_wrong(item.get(name), kind)), "")


def archive_of(path: epath.Path) -> str:
    """Returns the archive that has a file, in words."""
    if "2017" not in path.name:
        return "the export of the label tool"
    name = "annotations_trainval2017" if path.name.startswith("instances") else path.stem
    return f"{name}.zip from cocodataset.org"


def shown(item: Any) -> str:
    """Returns the beginning of an item for a message, without its segmentation."""
    if isinstance(item, dict):
        item = {key: value for key, value in item.items() if key != "segmentation"}
    try:
        return json.dumps(item)[:MAX_CHARACTERS_SHOWN]
    except RecursionError:
        return "one that is nested too deeply"
