"""Writing files whole or not at all, by one process at a time."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from wss.errors import UserError

MAX_NAME_BYTES = 255  # of file systems, for one part of a path
PROBE_BYTES = 2**16  # more than a block, so that a full disk is found
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_TEMPORARY = re.compile(r".*\.tmp-[0-9a-f]{32}(\.weights\.h5|\.npz)?", re.DOTALL)


class WriteError(UserError):
    """A file that cannot be written; the disk may be full."""


class LockedError(UserError):
    """A folder to which another process writes."""


def unique_name(path: epath.Path, *, suffix: str = "") -> epath.Path:
    """Returns a temporary name beside `path` that no other process takes: Beam may run a job twice at once."""
    tail = f".tmp-{uuid.uuid4().hex}{suffix}"
    head = path.name.encode(errors="surrogateescape")[: MAX_NAME_BYTES - len(tail)].decode(errors="ignore")
    return path.with_name(head + tail)


@contextlib.contextmanager
def whole(path: epath.Path, *, suffix: str = "") -> Iterator[epath.Path]:
    """Makes the folder and yields a temporary name; the file there becomes `path` at the end, or is removed after an error.

    Args:
        path: Path of the finished file.
        suffix: End of the temporary name, for writers that want one.

    Raises:
        OSError: A device or a pipe is there, which a file would replace; or nothing can be written.
    """
    _refuse_devices(path)
    temporary = unique_name(path, suffix=suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file and its folder, whole or not at all.

    Raises:
        WriteError: It cannot be written.
    """
    with write_errors(path), whole(epath.Path(path)) as temporary:
        temporary.write_text(text)


def check_writable(path: str | os.PathLike, help_: str) -> None:
    """Checks that a file can be written, before the work whose result goes there; leaves nothing behind.

    Args:
        path: The file. Its folder may be absent.
        help_: Words on what helps, for the end of the line.

    Raises:
        WriteError: It is a folder, a device or a pipe, or no file can be made in the nearest folder above it that exists,
            such as on a full disk.
    """
    file = epath.Path(path)
    with write_errors(path, help_):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _refuse_devices(file)
        folder = next(parent for parent in file.parents if parent.exists())
        probe = unique_name(folder / file.name)
        try:
            probe.write_bytes(b" " * PROBE_BYTES)
        finally:
            probe.unlink(missing_ok=True)


def check_new_output(path: str, *, overwrite: bool) -> None:
    """Checks that a command's --output can be written, and is not there yet unless it may be overwritten.

    Raises:
        UserError: It is there.
        WriteError: It cannot be written.
    """
    check_writable(path, "give another file by --output")
    if epath.Path(path).exists() and not overwrite:
        raise UserError(f"--output={path}: is there already; give another file, or --overwrite to replace it")


def load_json(path: str | os.PathLike, help_: str) -> Any:
    """Returns what a JSON file holds.

    Args:
        path: The file.
        help_: Words on what helps, for the end of the line.

    Raises:
        UserError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(epath.Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({reason_of(error)}); {help_}") from error


@contextlib.contextmanager
def write_errors(path: str | os.PathLike, help_: str = "") -> Iterator[None]:
    """Turns errors of writing a file, the operating system's and TensorFlow's, into one line.

    Args:
        path: The file or folder that is written.
        help_: Words on what helps, for the end of the line.

    Raises:
        WriteError: Something inside cannot be written.
    """
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OSError) or _is_of_tensorflow(error)):
            raise
        raise WriteError(f"{path}: cannot be written ({reason_of(error)}){help_ and f'; {help_}'}") from error


def reason_of(error: BaseException) -> str:
    """Returns the first line of what an error says, without the ops that TensorFlow names in it."""
    found = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    line = str(found).strip().splitlines()[0].rsplit("}} ", 1)[-1]
    return re.sub(r" \[Op:.*", "", line).rsplit("; ", 1)[-1].rstrip(". ")


def remove_temporaries(folder: Path) -> None:
    """Removes what a killed process left in a folder under a temporary name; follows no links."""
    with contextlib.suppress(OSError):  # what cannot be removed does no harm
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) or re.fullmatch(r"ckpt-\d+_temp", path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def locked(path: Path, *, busy: str) -> Iterator[None]:
    """Keeps other processes out while the context is open; the lock goes with the process, whatever ends it.

    Args:
        path: The lock's file, which is made; not followed if it is a link.
        busy: Words on who holds it, for the error.

    Raises:
        LockedError: Another process holds it.
        WriteError: The file cannot be made or locked.
    """
    with write_errors(path):
        descriptor = _locked_file(path, busy)
    try:
        _tell_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


def _refuse_devices(path: epath.Path) -> None:
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "a device or a pipe, expected a file or none")


def _locked_file(path: Path, busy: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            raise BlockingIOError(errno.EAGAIN, "its holder has just removed it")
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        os.close(descriptor)
        raise LockedError(f"{busy}{f' ({holder})' if holder.isprintable() and holder else ''}") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
        print(f"{path}: this file system has no locks; see that only one process writes there", file=sys.stderr)
    return descriptor


def _tell_holder(descriptor: int) -> None:
    """Writes who holds a lock, for the message of others; a full disk does not matter."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)


def _is_of_tensorflow(error: Exception) -> bool:
    return any(kind.__name__ == "OpError" for kind in type(error).__mro__)
