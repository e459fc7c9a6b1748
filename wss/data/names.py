"""Which names may come from a data set: of images, splits and files, which become paths and reach a terminal."""

import re

MAX_ID_BYTES = 240  # an id becomes the name of a file, with a suffix
MAX_NAME_CHARACTERS = 200
# Code points that move the cursor, end a line or turn the direction of a text: controls, separators, surrogates.
_UNPRINTABLE = ((0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF))


def _id_pattern(escape: str) -> str:
    """Returns the regular expression of an id, for an engine that writes a code point as `escape`."""
    unprintable = "".join(f"{escape % first}-{escape % last}" for first, last in _UNPRINTABLE)
    other = rf"[^/.{unprintable}]"  # neither a slash nor a dot
    any_ = rf"[^/{unprintable}]"
    part = rf"(?:{other}{any_}*|\.{other}{any_}*|\.\.{any_}+)"  # neither empty nor "." nor ".."
    return rf"{part}(?:/{part})*"


ID_PATTERN_RE2 = _id_pattern(r"\x{%x}")  # of TensorFlow
_ID = re.compile(_id_pattern(r"\u%04x"))
_BAD_CHARACTER = re.compile("[" + "".join(rf"\u{first:04x}-\u{last:04x}" for first, last in _UNPRINTABLE) + "]")
_SPLIT = re.compile(r"[\w+-][\w.+ -]{0,99}")


def is_printable(text: object) -> bool:
    """Returns whether something is a text that a terminal can show as it is."""
    return isinstance(text, str) and not _BAD_CHARACTER.search(text)


def is_name(text: object) -> bool:
    """Returns whether something can be the name of a class: printable, neither blank nor endless."""
    return isinstance(text, str) and is_printable(text) and bool(text.strip()) and len(text) <= MAX_NAME_CHARACTERS


def is_id(text: object) -> bool:
    """Returns whether something can be the id of an image: a printable relative path without dots for parts."""
    return isinstance(text, str) and bool(_ID.fullmatch(text)) and len(text.encode()) <= MAX_ID_BYTES


def is_split_name(text: object) -> bool:
    """Returns whether something can be the name of a split, which becomes that of a file."""
    return isinstance(text, str) and bool(_SPLIT.fullmatch(text))


def is_relative_path(text: object) -> bool:
    """Returns whether something is the path of a file inside of a folder, on any system."""
    return isinstance(text, str) and is_id(text) and "\\" not in text and ":" not in text


def is_file_name(text: object) -> bool:
    """Returns whether something can be the name of a file inside of a folder, on any system."""
    return isinstance(text, str) and is_relative_path(text) and "/" not in text


def decoded_id(name: bytes) -> str:
    """Returns the id that a record stores.

    Raises:
        ValueError: It can be no id; the message shows it and says what is expected.
    """
    id = name.decode(errors="surrogateescape")
    if not is_id(id):
        shown = repr(name[:40])[1:] + ("..." if len(name) > 40 else "")
        raise ValueError(
            f"its id is {shown}; expected UTF-8 of 1 to {MAX_ID_BYTES} printable bytes, a relative path without '..'"
        )
    return id
