"""What can be the name of a class, and what else a text looks like."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

from wss.data.names import MAX_NAME_CHARACTERS, is_printable
from wss.errors import UserError

# Names that label tools give to pixels that do not count. Any other, such as "void", is a class; --classes may leave it out.
IGNORE_NAMES = ("ignore", "_ignore_", "__ignore__")
HEADERS = (
    "name", "names", "class", "classes", "label", "labels", "class_name", "class name", "class names", "class_names", "id",
    "category", "categories", "filename", "pixel value",
)  # fmt: skip
# What a text is that can be no name, by what it looks like.
_LOOKS: tuple[tuple[str, str], ...] = (
    (r"(#|//|;|%|--|<!--|/\*).*", "a comment"),
    (r".*label:color_rgb.*|.*:\s*\d+\s*,\s*\d+\s*,\s*\d+.*|.*\S:\d+|.*::.*", "a line of CVAT's labelmap.txt"),
    (r"-\s.*|.*:|\w+:\s.*|\w+\s*=.*|---.*", "YAML or a setting"),
    (r"[\[\]{}\"'<>,|].*|.*[\[\]{}\"<>,|]", "a part of JSON, of a Python list or of a table"),
    (r".*(\s-?\d*\.\d+){3}|.*#[0-9a-f]{6}", "a name with a colour that is not red, green and blue of 0 .. 255"),
    (r".*\.(jpe?g|png|tiff?|bmp|webp|txt|csv|json)", "the name of a file"),
)
_NUMBER = re.compile(r"[-+]?[\d.,\s]+")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A class as a list has it.

    Attributes:
        name: Its name.
        color: Its colour, 0 .. 255 each; None without one.
        id: Its value in the masks; None where its place in the list is its id.
        place: Where it stands, for messages.
    """

    name: str
    color: tuple[int, int, int] | None = None
    id: int | None = None
    place: str = ""


def check_name(name: str, place: str, *, is_first: bool, all_names: Sequence[str]) -> None:
    """Raises a `UserError` that says what a text looks like which can be no name of a class.

    Args:
        name: The text.
        place: Where it stands, for the message.
        is_first: Whether it is the first of its list, where a header or the number of classes may stand.
        all_names: All names of the list: some tools name classes by numbers, but not all of them.
    """
    looks = ""
    if not name:
        looks = "nothing"
    elif not is_printable(name) or not name.isprintable():
        looks = "a text with control or invisible characters"
    elif len(name) > MAX_NAME_CHARACTERS:
        looks = f"a text of {len(name)} characters"
    elif is_first and name.casefold() in HEADERS:
        looks = "the header of a table"
    elif _NUMBER.fullmatch(name) and (is_first or all(map(_NUMBER.fullmatch, all_names))):
        looks = "a number"
    else:
        looks = next((what for pattern, what in _LOOKS if re.fullmatch(pattern, name, re.I | re.DOTALL)), "")
    if looks:
        shown = ascii(name[:60]) if not name.isprintable() else repr(name[:60])
        raise UserError(
            f"{place if place.isprintable() else ascii(place)}: {shown} can "
            f"be no name of a class, it looks like {looks}; expected names in the order of their ids"
        )


def line_entry(line: str, place: str) -> Entry:
    """Returns the name and the colour, None without one; the name may end in a number itself, such as "zone 1"."""
    numbers: Sequence[str] = [*itertools.takewhile(str.isdecimal, reversed(line.split()[1:]))][::-1]
    if len(numbers) < 2:
        return Entry(line)
    if len(numbers) != 3 or not all(len(number) < 4 and int(number) < 256 for number in numbers):
        raise UserError(f"{place}: {line!r}; expected a name, or a name and its red, green and blue, 0 .. 255 each")
    red, green, blue = map(int, numbers)
    return Entry(line.rsplit(maxsplit=3)[0], (red, green, blue))
