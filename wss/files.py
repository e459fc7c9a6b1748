"""Writing files whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator

from etils import epath

from wss.errors import UserError


class WriteError(UserError):
    """A file that cannot be written; the disk may be full."""


def unique_name(path: epath.Path) -> epath.Path:
    """Returns a temporary name beside `path` that no other process takes: Beam may run a job twice at once."""
    return path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")


@contextlib.contextmanager
def whole(path: epath.Path) -> Iterator[epath.Path]:
    """Yields a temporary name; the file there becomes `path` at the end, or is removed after an error."""
    temporary = unique_name(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file under a temporary name and renames it.

    Raises:
        WriteError: It cannot be written.
    """
    path = epath.Path(path)
    try:
        with whole(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
