"""A folder that appears when it is complete: work goes on beside it after a kill, and an old one is replaced at the end."""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from etils import epath

from wss.errors import Interrupted, UserError
from wss.files import LockedError, WriteError, locked, write_errors
from wss.jobs.processes import ConversionStoppedError

DONE, LOCK = ".done", "lock"
GOES_ON = "the same command goes on where it stopped"


@contextlib.contextmanager
def replacing(output_dir: str | os.PathLike, overwrite: bool, *, content_file: str) -> Iterator[epath.Path]:
    """Yields the folder to write to, which becomes `output_dir` at the end and vanishes after a `UserError`.

    Args:
        output_dir: Folder of the finished work.
        overwrite: Whether to replace a folder with finished work.
        content_file: Name of a file that every folder with finished work has.

    Raises:
        LockedError, WriteError: Another conversion to it is running, or it cannot be written; the folder stays.
        UserError: `output_dir` has a data set and `overwrite` is not given, or has something else in it; or somebody else
            put a folder or a link where ours belongs.
    """
    target = epath.Path(os.path.realpath(output_dir) if "://" not in str(output_dir) else output_dir)
    old, folder = (target.parent / f".{target.name}{suffix}" for suffix in (".old", ".partial"))
    _check_own(old)
    _check_own(folder)
    if old.exists():  # a conversion was killed while it took the place of this one, or right after
        old.rmtree() if target.exists() else old.rename(target)
    if target.exists() and not target.is_dir():
        raise UserError(f"{output_dir}: a file, expected a folder to write to")
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and not (target / content_file).exists():
        raise UserError(f"{output_dir}: has other files in it; give an empty or a new folder as output")
    if occupied and not overwrite:
        raise UserError(f"{output_dir}: has a data set already; add --overwrite to replace it")
    with disk_errors(output_dir):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_links(folder)
        with _locked(folder, output_dir):
            try:
                yield folder
            except (ConversionStoppedError, WriteError, LockedError):
                raise
            except KeyboardInterrupt as error:
                raise Interrupted(f"interrupted by Ctrl-C; {GOES_ON}") from error
            except UserError:
                folder.rmtree()
                raise
            if target.exists():
                target.rename(old)
            folder.rename(target)
            if old.exists():
                old.rmtree()


def _check_own(folder: epath.Path) -> None:
    """Raises a `UserError` if what lies where our own folder belongs is a link, no folder, or of another user."""
    if "://" in str(folder):
        return
    try:
        found = os.lstat(folder)
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        what = "no folder" if not stat.S_ISDIR(found.st_mode) else f"of another user ({found.st_uid})"
        raise UserError(f"{folder}: a conversion works there, but it is {what}; remove it or give another output")


def _remove_links(folder: epath.Path) -> None:
    """Removes links from our own folder: it has none, and what is written would go elsewhere."""
    for path in [] if "://" in str(folder) else folder.iterdir():
        if os.path.islink(path):
            path.unlink()


def _locked(folder: epath.Path, output_dir: str | os.PathLike) -> contextlib.AbstractContextManager:
    """Keeps a second conversion from the same folder; a remote one has no locks."""
    if "://" in str(folder):
        return contextlib.nullcontext()
    return locked(Path(folder) / LOCK, busy=f"{output_dir}: another conversion to it is running")


def disk_errors(path: str | os.PathLike) -> contextlib.AbstractContextManager:
    """Turns errors of writing into one line."""
    return write_errors(path, GOES_ON)


def keep_only(folder: epath.Path, names: Collection[str]) -> None:
    """Removes everything else, such as what an earlier, killed conversion left."""
    # What is marked as done stays so until all else is gone.
    for path in sorted(folder.iterdir(), key=lambda path: path.name.endswith(DONE)):
        if path.name not in names:
            path.rmtree() if path.is_dir() else path.unlink()
