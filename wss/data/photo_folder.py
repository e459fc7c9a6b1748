"""Listing the images of a folder: links followed, junk skipped, what is left out told."""

import dataclasses
import os
import stat
import unicodedata
from collections import Counter, deque
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from wss.data.image_files import FORMATS_IN_WORDS, SUFFIXES
from wss.data.names import is_printable
from wss.errors import UserError

# What systems and tools put beside images: previews, copies, waste.
JUNK = (
    "@eadir", "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "lost+found",
    "system volume information", "__pycache__", "#recycle", "@recycle", "@tmp", "#snapshot", "_vti_cnf",
)  # fmt: skip
MAX_KINDS_SHOWN = 6


@dataclasses.dataclass
class Listing:
    """The images of a folder, and what else was found in it.

    Attributes:
        folder: The folder.
        files: Path of each image relative to the folder, in Unicode's composed form, and its path; sorted.
        problems: A line for each file that seems to be an image but cannot be read.
        left_out: Numbers of the files that are no images, by their suffix.
        skipped: Folders and files that were not looked into: hidden ones and junk.
        repeated: Folders that are there a second time, by a link.
    """

    folder: str
    files: list[tuple[str, Path]] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    skipped: list[str] = dataclasses.field(default_factory=list)
    repeated: list[str] = dataclasses.field(default_factory=list)

    def lines(self) -> list[str]:
        """Returns a line for each kind of what was left out."""
        number = sum(self.left_out.values())
        lines = []
        if number:
            kinds = [f"{suffix} ({count})" for suffix, count in self.left_out.most_common()]
            what = "1 file that is" if number == 1 else f"{number} files that are"
            lines.append(f"left out: {what} no {FORMATS_IN_WORDS}: {_some(kinds)}")
        if self.skipped:
            lines.append(f"left out: hidden or generated: {_some(sorted(self.skipped))}")
        lines += [f"left out: {again}" for again in self.repeated]
        return [f"{self.folder}: {line}" for line in lines]


def list_images(
    folder: str | os.PathLike, *, recursive: bool = True, flag: str = "", without: Collection[str] = ()
) -> Listing:
    """Lists the images of a folder.

    Args:
        folder: The folder.
        recursive: Whether to look into the folders in it.
        flag: Name of the flag that gave the folder, such as "--images", for messages.
        without: Folders in it that hold something else, such as the masks.

    Raises:
        UserError: There is no such folder, or it cannot be read.
    """
    shown = f"{flag}={folder}" if flag else str(folder)
    try:
        if not os.path.isdir(folder):
            raise UserError(f"{shown}: no such folder")
        walk = _Walk(Listing(str(folder)), recursive, {identity(path) for path in without})
        walk.run()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    walk.listing.files.sort()
    return walk.listing


def unique_names(files: Sequence[str], suffix: str = ".png") -> list[str]:
    """Returns a name for what is made of each image: its path without the suffix, or with it where that is taken.

    Args:
        files: Paths of the images relative to their folder, see `Listing.files`.
        suffix: Suffix that the names will get. No file can have the name of a folder.

    Raises:
        UserError: Two names differ in nothing but how Unicode composes them.
    """
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    names = [os.path.splitext(file)[0] for file in files]
    while taken := {name for name, count in Counter(names).items() if count > 1 or name + suffix in folders}:
        longer = [file if name in taken else name for file, name in zip(files, names, strict=True)]
        if longer == names:
            raise UserError(f"{min(taken)}: two photos of one name; rename one")
        names = longer
    return names


def identity(path: str | os.PathLike) -> tuple[int, int]:
    """Returns what two paths of the same folder have in common: device and number."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def composed(name: str) -> str:
    """Returns a name in Unicode's composed form: "é" is one character, whatever system wrote it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def id_of(filename: str) -> str:
    """Returns "sub/a" for "sub/a.jpg": the name of an image, relative to its folder, without its extension.

    It is in Unicode's composed form, whatever the system.
    """
    path = Path(composed(filename))
    return str(path.with_suffix("").as_posix()) if path.suffix.lower() in SUFFIXES else path.as_posix()


def is_junk(name: str) -> bool:
    """Returns whether a name is hidden, or of a file or folder that systems and tools generate."""
    return name.startswith(".") or name.lower() in JUNK


@dataclasses.dataclass
class _Walk:
    """A walk through folders that fills a listing; links come last, so that a folder is known by its own name."""

    listing: Listing
    recursive: bool
    without: set[tuple[int, int]]
    seen: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)
    folders: deque[tuple[str, str]] = dataclasses.field(default_factory=deque)
    links: deque[tuple[str, str]] = dataclasses.field(default_factory=deque)

    def run(self) -> None:
        """Lists the folder and all in it."""
        root = Path(self.listing.folder).resolve()
        self.seen = {identity(folder): "a folder around it" for folder in root.parents}
        self._enter(self.listing.folder, "")
        while self.folders or self.links:
            path, name = self.folders.popleft() if self.folders else self.links.popleft()
            try:
                key = identity(path)
                if key in self.seen:
                    self.listing.repeated.append(f"{name}, a link to {self.seen[key]}")
                elif key not in self.without:
                    self._enter(path, name)
            except OSError as error:
                self.listing.problems.append(f"{path}: cannot be read ({error.strerror})")

    def _enter(self, folder: str, relative: str) -> None:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        self.seen[identity(folder)] = relative or "the folder itself"
        for entry in found:
            name = f"{relative}/{entry.name}" if relative else entry.name
            if is_junk(entry.name):
                if not entry.name.startswith("._") and entry.name != ".DS_Store":
                    self.listing.skipped.append(_printable(name))
            elif not is_printable(name):
                self.listing.problems.append(
                    f"{folder}/{_printable(entry.name)}: a name with control characters or no UTF-8; rename it"
                )
            else:
                self._add(entry, name)

    def _add(self, entry: os.DirEntry, name: str) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            if suffix in SUFFIXES or entry.is_symlink():
                reason = f"a link to {_printable(os.readlink(entry.path))}, which is not there"
                reason = reason if isinstance(error, FileNotFoundError) and entry.is_symlink() else str(error.strerror)
                self.listing.problems.append(f"{entry.path}: {reason}")
            return
        if stat.S_ISDIR(mode):
            if self.recursive:
                (self.links if entry.is_symlink() else self.folders).append((entry.path, name))
        elif suffix not in SUFFIXES:
            self.listing.left_out[suffix or "without a suffix"] += 1
        elif not stat.S_ISREG(mode):
            self.listing.problems.append(f"{entry.path}: a pipe, socket or device, expected a file")
        else:
            self.listing.files.append((composed(name), Path(entry.path)))


def _printable(name: str) -> str:
    return name if is_printable(name) else ascii(name)


def _some(items: list[str]) -> str:
    more = f", {len(items) - MAX_KINDS_SHOWN} more" if len(items) > MAX_KINDS_SHOWN else ""
    return ", ".join(items[:MAX_KINDS_SHOWN]) + more
