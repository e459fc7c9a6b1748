"""Tables of boxes: a CSV file with a row for each object, as people and annotation tools write it.

Edges are pixels counted from 0. The right and lower edge are where the box ends: 0 <= xmin < xmax <= width.
"""

import csv
import dataclasses
import io
import re
from collections import Counter
from collections.abc import Sequence

from wss.data.boxes import Box
from wss.data.limits import MAX_SIDE
from wss.data.photo_folder import composed
from wss.data.text_files import read_text
from wss.errors import UserError, did_you_mean

EXPECTED = "file, class, xmin, ymin, xmax, ymax"
EDGES = ("xmin", "ymin", "xmax", "ymax")
CORNER_AND_SIZE = ("xmin", "ymin", "boxwidth", "boxheight")  # make-sense
# Names of a column, in small letters and digits; the first that a table has counts.
SYNONYMS = {
    "file": ("file", "filename", "filepath", "image", "imagename", "imagefile", "imagepath", "path", "img", "imageid"),
    "class": ("class", "classname", "label", "labelname", "category", "categoryname", "name", "object"),
    "xmin": ("xmin", "x1", "left", "bboxxmin", "bboxx", "bboxx1"),
    "ymin": ("ymin", "y1", "top", "bboxymin", "bboxy", "bboxy1"),
    "xmax": ("xmax", "x2", "right", "bboxxmax", "bboxx2"),
    "ymax": ("ymax", "y2", "bottom", "bboxymax", "bboxy2"),
    "boxwidth": ("bboxwidth", "boxwidth", "bboxw"),
    "boxheight": ("bboxheight", "boxheight", "bboxh"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
}
# What tools write without a header: file, class and edges, or keras-retinanet's order.
BARE = {"file": 0, "class": 1, "xmin": 2, "ymin": 3, "xmax": 4, "ymax": 5}
BARE_RETINANET = {"file": 0, "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4, "class": 5}
DELIMITERS = ",;\t"
LINES_TO_SNIFF = 1000
MAX_CHOICES_SHOWN = 12


@dataclasses.dataclass
class ListedImage:
    """What a table tells of one image.

    Attributes:
        place: File and line of its first row, for messages.
        boxes: Its objects.
        size: The (height, width) of the image that the boxes belong to; None if the table does not tell.
        is_empty: Whether a row says that there is no object in it.
    """

    place: str
    boxes: list[Box] = dataclasses.field(default_factory=list)
    size: tuple[int, int] | None = None
    is_empty: bool = False


@dataclasses.dataclass
class BoxTable:
    """The objects of images, by the names that their table gives them.

    Attributes:
        path: Path of the table, for messages.
        images: What it tells of each image.
        problems: A line for all that is wrong.
        repeated: Rows that are there a second time, and count once: how many, and the first.
    """

    path: str
    images: dict[str, ListedImage] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    repeated: tuple[int, str] = (0, "")

    def lines(self) -> list[str]:
        """Returns a line for what was left out."""
        number, first = self.repeated
        return [f"{self.path}: left out: rows that are there twice ({number}), such as {first}"] if number else []

    def drop_repeated(self) -> None:
        """Takes each box of an image once."""
        for name, image in self.images.items():
            kept = list(dict.fromkeys(image.boxes))
            if len(kept) < len(image.boxes):
                number, first = self.repeated
                self.repeated = number + len(image.boxes) - len(kept), first or f"one of {name!r}"
                image.boxes = kept

    def check_pixels(self) -> None:
        """Adds a problem if no edge is larger than 1, so that all are parts of the sides."""
        is_small = [box.xmax <= 1 and box.ymax <= 1 for image in self.images.values() for box in image.boxes]
        if is_small and all(is_small):
            self.problems.append(f"{self.path}: all edges are <= 1: normalised? expected pixels")


def read_box_table(path: str, class_names: Sequence[str], foreground: Sequence[str]) -> BoxTable:
    """Reads a CSV file with a row for each object, separated by commas, semicolons or tabs.

    Args:
        path: The file.
        class_names: Names of all classes, by their ids.
        foreground: Names of the classes that a box may have.

    Raises:
        UserError: It is no table of boxes.
    """
    text = read_text(path)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True, strict=True)
    reader = _RowReader(path, class_names, foreground)
    first = 1
    try:
        for row in rows:
            reader.add(row, first)
            first = rows.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{first}: {error}; expected {EXPECTED}, and an end to each quote") from error
    if not reader.seen:
        raise UserError(f"{path}: no rows; expected {EXPECTED}")
    reader.table.drop_repeated()
    reader.table.check_pixels()
    return reader.table


class _RowReader:
    """Fills a table row by row."""

    def __init__(self, path: str, class_names: Sequence[str], foreground: Sequence[str]):
        names = [composed(name) for name in class_names]
        self.table = BoxTable(path)
        self.seen = 0  # rows below the header
        self._allowed = [composed(name) for name in foreground]
        self._labels = {name: names.index(name) for name in self._allowed}
        self._wrong_classes: dict[str, str] = {}
        self._header: list[str] = []
        self._columns: dict[str, int] = {}
        self._length = 0

    def add(self, row: list[str], line: int) -> None:
        """Takes one row that begins at a line of the file."""
        if not any(cell.strip() for cell in row):
            return
        if not self._columns and self._begin(row, line):
            return
        self.seen += 1
        try:
            self._add(row, line)
        except ValueError as error:
            self.table.problems.append(f"{self.table.path}:{line}: {error}")

    def _begin(self, row: list[str], line: int) -> bool:
        """Finds out what the columns are; returns whether this row is a header."""
        place = f"{self.table.path}:{line}"
        if _is_header(row):
            self._header, self._columns, self._length = row, _columns_of(row, place), len(row)
            return True
        filled = [cell for cell in row if cell.strip()]
        if len(filled) > 1:  # a file alone tells nothing of the columns
            is_class = lambda index: len(row) > index and composed(row[index].strip()) in self._labels
            is_retinanet = not is_class(1) and (is_class(5) or (len(row) == 6 and _is_number(row[1])))
            self._columns, self._length = (BARE_RETINANET if is_retinanet else BARE), len(BARE)
        return False

    def _add(self, row: list[str], line: int) -> None:
        columns = self._columns or BARE
        name = row[columns["file"]].strip() if len(row) > columns["file"] else ""
        if not name:
            raise ValueError(f"no file name; expected {EXPECTED}")
        if self._header and row == self._header:
            raise ValueError("the header again; expected one table, with one header")
        image = self.table.images.get(name)
        if image is None:
            image = self.table.images[name] = ListedImage(f"{self.table.path}:{line}")
        cells = self._cells(row, columns)
        if cells is None:
            if len(row) > 1:
                self._add_size(image, row)
            if image.boxes:
                raise ValueError(f"says that {name!r} has no object, though {image.place} and others have boxes of it")
            image.is_empty = True
            return
        if image.is_empty:
            raise ValueError(f"a box of {name!r}, though {image.place} says that it has no object")
        label, (xmin, ymin, xmax, ymax) = self._label(cells[0]), self._edges(cells[1:])
        self._add_size(image, row)
        image.boxes.append(Box(label, ymin, xmin, ymax, xmax))

    def _cells(self, row: list[str], columns: dict[str, int]) -> list[str] | None:
        """Returns the class and the four numbers of a row; None if it has neither."""
        if len(row) == 1:
            return None
        if self._length and len(row) != self._length:
            expected = f"{self._length} as in the header" if self._header else f"{len(BARE)}: {EXPECTED}"
            raise ValueError(f"{len(row)} columns, expected {expected}")
        edges = EDGES if "xmax" in columns else CORNER_AND_SIZE
        cells = [row[columns[key]].strip() for key in ("class", *edges)]
        if not any(cells):
            return None
        if not all(cells):
            raise ValueError(f"an empty cell among {cells}; expected a class and four edges, or only a file")
        return cells

    def _label(self, name: str) -> int:
        label = self._labels.get(name)
        if label is None and (label := self._labels.get(composed(name))) is None:
            if name not in self._wrong_classes:  # to look for a name like it takes long
                others = len(self._allowed) - MAX_CHOICES_SHOWN
                shown = ", ".join(self._allowed[:MAX_CHOICES_SHOWN]) + (f" and {others} more" if others > 0 else "")
                help_ = did_you_mean(name[:80], self._allowed)
                self._wrong_classes[name] = f"{name[:80]!r} is no foreground class; expected one of {shown}.{help_}"
            raise ValueError(self._wrong_classes[name])
        return label

    def _edges(self, cells: list[str]) -> tuple[float, float, float, float]:
        try:
            xmin, ymin, xmax, ymax = map(float, cells)
        except ValueError:
            wrong = next(cell for cell in cells if not _is_number(cell))
            raise ValueError(f"{wrong[:40]!r} is no number; expected edges in pixels") from None
        if "xmax" not in self._columns and self._columns:
            xmax, ymax = xmin + xmax, ymin + ymax
        if 0 <= xmin < xmax <= MAX_SIDE and 0 <= ymin < ymax <= MAX_SIDE:
            return xmin, ymin, xmax, ymax
        shown = f"box ({xmin:g}, {ymin:g}) to ({xmax:g}, {ymax:g})"
        if xmin > xmax or ymin > ymax:
            raise ValueError(f"{shown} has its edges swapped; expected xmin < xmax and ymin < ymax")
        if xmin == xmax or ymin == ymax:
            raise ValueError(f"{shown} has no area; expected xmin < xmax and ymin < ymax, where the box ends")
        raise ValueError(f"{shown} lies in no image; expected edges of 0 to its width and height in pixels")

    def _add_size(self, image: ListedImage, row: list[str]) -> None:
        if "width" not in self._columns or "height" not in self._columns:
            return
        cells = [row[self._columns[side]].strip() for side in ("height", "width")]
        if not all(cells):
            return
        try:
            height, width = (int(float(cell)) for cell in cells)
        except (ValueError, OverflowError):
            raise ValueError(f"width and height are {cells[1]!r} and {cells[0]!r}; expected pixels") from None
        if image.size not in (None, (height, width)):
            raise ValueError(f"an image of {width}x{height}, which is another size than in {image.place}")
        image.size = height, width


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _key(cell: str) -> str:
    """Returns the name of a column in small letters and digits."""
    return re.sub(r"[^a-z0-9]", "", cell.casefold())


def _is_header(row: Sequence[str]) -> bool:
    """Returns whether a first row names columns: none of its cells is a number, and some are known names."""
    filled = [cell for cell in row if cell.strip()]
    known = {name for names in SYNONYMS.values() for name in names}
    named = [cell for cell in filled if _key(cell) in known]
    return (len(named) > len(filled) / 3 and not any(map(_is_number, filled))) or "region_shape_attributes" in row


def _columns_of(header: Sequence[str], place: str) -> dict[str, int]:
    """Returns the number of each column that is read, by its name."""
    keys = [_key(cell) for cell in header]
    if "regionshapeattributes" in keys:
        raise UserError(
            f"{place}: a table of VIA, whose cells hold JSON; expected {EXPECTED}: export COCO or VOC from VIA"
        )
    columns = {}
    for column, names in SYNONYMS.items():
        if found := next((name for name in names if name in keys), None):
            if keys.count(found) > 1:
                raise UserError(f"{place}: {Counter(keys)[found]} columns {found!r}; expected one")
            columns[column] = keys.index(found)
    edges = CORNER_AND_SIZE if "boxwidth" in columns and "xmax" not in columns else EDGES
    if missing := [column for column in ("file", "class", *edges) if column not in columns]:
        shown = ", ".join(cell.strip() for cell in header)[:200]
        raise UserError(f"{place}: no column {', '.join(missing)}; found {shown}; expected {EXPECTED}")
    return columns


def _delimiter(text: str) -> str:
    """Returns what separates the cells: what the first line that has any of the delimiters has most of."""
    for line in io.StringIO(text[: 1 << 20]).readlines()[:LINES_TO_SNIFF]:
        counts = {delimiter: line.count(delimiter) for delimiter in DELIMITERS}
        if any(counts.values()):
            return max(counts, key=lambda delimiter: counts[delimiter])
    return DELIMITERS[0]
