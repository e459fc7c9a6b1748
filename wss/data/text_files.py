"""Text files that people and tools write: any line ending, with or without a byte order mark."""

import codecs
import os

from wss.data.image_files import read_file
from wss.errors import UserError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_file(text: str) -> bool:
    """Returns whether a text that a person typed is the path of a file; it may be no path at all, and too long for one."""
    try:
        return os.path.isfile(text)
    except (OSError, ValueError):
        return False


def read_text(path: str | os.PathLike) -> str:
    """Returns the content of a text file in UTF-8, without its byte order mark.

    Raises:
        UserError: It is missing, empty or no text.
    """
    content = read_file(path)
    if content.startswith(_UTF_16) or max(content[0::2][:64].count(0), content[1::2][:64].count(0)) > 4:
        raise UserError(f"{path}: cannot be read as text (it is UTF-16); save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text ({error}); expected UTF-8") from error
    if "\0" in text:
        raise UserError(f"{path}: cannot be read as text (it has zero bytes); expected UTF-8")
    return text
