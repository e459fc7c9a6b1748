"""The photos of an export: found by the names that its files have for them, and never outside of their folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from wss.data.photo_folder import composed, id_of, list_images
from wss.errors import UserError

_DRIVE = re.compile(r"[A-Za-z]:")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")  # Label Studio puts it before the name of a file


class Photos:
    """The photos in a folder and in all folders in it.

    Args:
        folder: The folder.
        flag: Name of the flag that gave it, such as "--images", for messages.
        is_photo: Function that tells by a name whether it is one; by default all images are.
    """

    def __init__(self, folder: Path | str, *, flag: str = "", is_photo=lambda name: True):
        listing = list_images(folder, flag=flag)
        self.folder = folder
        self.problems = listing.problems
        self.paths = {name: path for name, path in listing.files if is_photo(name)}
        self._by_base: dict[str, list[str]] = {}
        self._by_upload: dict[str, list[str]] = {}
        for name in self.paths:
            base = name.rsplit("/", 1)[-1]
            self._by_base.setdefault(base, []).append(name)
            self._by_upload.setdefault(upload_name(base), []).append(name)

    def find(self, name: str, *, places: Sequence[str] = ("",), leads_out: bool = False, uploaded: bool = False) -> str:
        """Returns the name in the folder of the photo that a file calls `name`.

        Args:
            name: What the file says, with slashes of any system.
            places: Beginnings that may have to be added, such as "train/".
            leads_out: Whether the tool writes paths of its own machine, so that only the last part tells.
            uploaded: Whether the tool may have put eight digits before the name, and made blanks underscores.

        Raises:
            ValueError: There is none, or more than one; the message says what helps.
        """
        path = composed(name).replace("\\", "/").removeprefix("./")
        outside = path.startswith("/") or "://" in path or bool(_DRIVE.match(path)) or ".." in path.split("/")
        if outside and not leads_out:
            raise ValueError(f"{name[:200]!r} leads out of the export; expected a path in {self.folder}")
        if not outside and (found := next((place + path for place in places if place + path in self.paths), None)):
            return found
        base = path.rsplit("/", 1)[-1]
        candidates = self._by_base.get(base, []) if leads_out else []
        if uploaded and not candidates:
            candidates = self._by_upload.get(upload_name(base), [])
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise ValueError(f"{name[:200]!r} may be {', '.join(map(repr, candidates[:3]))} in {self.folder}")
        raise ValueError(
            f"no photo {name[:200]!r} in {self.folder}; expected it there, or give its folder as --images."
            + self._alike(base)
        )

    def _alike(self, base: str) -> str:
        """Returns words on a photo whose name is the same but for capital letters and its suffix; "" without one."""
        stem = Path(base).stem.casefold()
        found = next((name for name in self.paths if Path(name).stem.casefold() == stem), None)
        return f" Did you mean {found!r}?" if found else ""

    def by_id(self, problems: list[str]) -> dict[str, Path]:
        """Returns the path of each photo by its id; adds a line for each second photo of an id."""
        found: dict[str, Path] = {}
        for name, path in sorted(self.paths.items()):
            if (id := id_of(name)) in found:
                problems.append(f"{path}: duplicate id {id!r}, beside {found[id].name}; rename one of them")
            found.setdefault(id, path)
        return found


def upload_name(base: str) -> str:
    """Returns the name of a file without what Label Studio changes in it."""
    return _UPLOAD.sub("", base, count=1).replace(" ", "_")


def photos_of(root: Path, inside: str, given: str | None, *, what: str) -> Photos:
    """Returns the photos of an export.

    Args:
        root: Folder of the export.
        inside: Folder of the photos in it, if they were exported; "" for the root itself.
        given: Folder that a person gave; None without one.
        what: The kind of export, for messages.

    Raises:
        UserError: There are none.
    """
    photos = Photos(given, flag="--images") if given else None
    if photos is None and (root / inside).is_dir():
        photos = Photos(root / inside)
    if photos is None or not photos.paths:
        missing = f"--images={given}: no photos in it" if given else f"{root / inside}: no photos there"
        raise UserError(
            f"{missing}, and this is an export ({what}) of annotations only; export it with the images, or give "
            "--images=<folder of the photos>"
        )
    return photos
