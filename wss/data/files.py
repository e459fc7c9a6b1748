"""Writing small files whole or not at all."""

import os
import uuid

from etils import epath

from wss.errors import UserError


class WriteError(UserError):
    """A file cannot be written; the disk may be full."""


def unique_name(path: epath.Path) -> epath.Path:
    """A temporary name beside `path`, which no other process takes: Beam may run a job twice at once."""
    return path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file under a temporary name and renames it.

    Raises:
        WriteError: it cannot be written.
    """
    path = epath.Path(path)
    temporary = unique_name(path)
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
