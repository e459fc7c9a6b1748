"""labelme's JSON files: one for each annotated photo, beside it, elsewhere, or with the photo in it."""

import dataclasses
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from etils import epath

from wss.conversion.class_files import LABELME_BACKGROUND, LABELME_IGNORE, ClassList
from wss.conversion.layouts.exports.export import (
    AS_UNLABELED,
    BACKGROUND,
    BACKGROUND_NAMES,
    Export,
    Kind,
    Part,
    Request,
    counted,
    unannotated_line,
)
from wss.conversion.layouts.exports.labelme_shapes import LabelmeMask, decoded, label_of, read_labelme
from wss.conversion.layouts.exports.photos import Photos
from wss.conversion.sources import ListPool, ListShard, Shard, Source
from wss.data.class_colors import default_colors
from wss.data.image_files import opened
from wss.data.masks import IGNORE
from wss.data.names import is_name
from wss.data.photo_folder import composed, id_of, is_junk
from wss.errors import UserError, did_you_mean
from wss.progress import track

_HEAD = 4096
_MAX_SNIFFED = 20


@dataclasses.dataclass(frozen=True)
class EmbeddedPool(ListPool):
    """Images of which some lie in JSON files, and are taken out of them where they are written."""

    def shards(self, assignment: Sequence[np.ndarray], folder: epath.Path) -> list[Shard]:
        """Returns the images of each record file, see `Pool.shards`; `folder` stays empty."""
        return [EmbeddedShard([self.sources[i] for i in numbers]) for numbers in assignment]


@dataclasses.dataclass(frozen=True)
class EmbeddedShard(ListShard):
    """The images of one record file, some of which lie in JSON files."""

    def __iter__(self) -> Iterator[Source]:
        for source in self.sources:
            if isinstance(source.image, Path) and source.image.suffix.lower() == ".json":
                source = dataclasses.replace(source, image=embedded_photo(source.image))
            yield source

    def fingerprint(self) -> str:
        """Returns a text that changes when an input does, without taking photos out of their files."""
        return ListShard(self.sources).fingerprint()


def embedded_photo(path: Path) -> bytes:
    """Returns the photo in a file of labelme; a broken one is a `UserError`."""
    return _image_data(read_labelme(path), path)


def _image_data(content: dict, path: Path, *, decode: bool = False) -> bytes:
    """Returns the photo in a file; with `decode` its pixels are looked at too."""
    try:
        image = decoded(content.get("imageData"), "imageData")
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    with opened(image, f"{path}, imageData") as photo:
        if decode:
            photo.load()
        return image


@dataclasses.dataclass
class _Reader:
    """Collects what the files tell.

    Attributes:
        root: Folder of the files.
        photos: The photos that may belong to them.
        problems: A line for all that is wrong.
        is_elsewhere: Whether a person gave the folder of the photos.
        labels: A file of each label.
        file_of: The file of each photo.
        annotated: Id, photo, and file of the images with shapes; the file in place of a photo that lies in it.
        empty: Those of images without shapes.
    """

    root: Path
    photos: Photos
    problems: list[str]
    is_elsewhere: bool = False
    labels: dict[str, Path] = dataclasses.field(default_factory=dict)
    file_of: dict[str, Path] = dataclasses.field(default_factory=dict)
    annotated: list[tuple[str, Path, Path]] = dataclasses.field(default_factory=list)
    empty: list[tuple[str, Path, Path]] = dataclasses.field(default_factory=list)

    def add(self, path: Path) -> None:
        """Reads one file."""
        try:
            content = read_labelme(path)
            for number, shape in enumerate(content["shapes"]):
                self.labels.setdefault(label_of(shape, path, number), path)
            id, photo = self._photo(path, content)
        except UserError as error:
            self.problems.append(str(error))
            return
        first = self.file_of.setdefault(id, path)
        if first != path:
            self.problems.append(f"{path}: annotates the photo {id!r}, as {first} does; expected one file for a photo")
            return
        (self.annotated if content["shapes"] else self.empty).append((id, photo, path))

    def _photo(self, path: Path, content: dict) -> tuple[str, Path]:
        """Returns the id of the photo of a file, and the photo, or the file itself if the photo is in it."""
        name = content.get("imagePath")
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{path}: imagePath is {name!r:.60}; expected the name of the photo")
        reason: Exception | None = None
        for place, leads_out in self._candidates(path, composed(name).replace("\\", "/")):
            try:
                found = self.photos.find(place, leads_out=leads_out)
                return id_of(found), self.photos.paths[found]
            except ValueError as error:
                reason = error
        if content.get("imageData") is None:
            raise UserError(f"{path}: imagePath: {reason}")
        _image_data(content, path, decode=True)
        return composed(path.relative_to(self.root).with_suffix("").as_posix()), path

    def _candidates(self, path: Path, name: str) -> Iterator[tuple[str, bool]]:
        """Yields where a photo may be: where the file says, beside it, and with True anywhere by its last part."""
        folder = composed(path.relative_to(self.root).parent.as_posix())
        base = name.rsplit("/", 1)[-1]
        yield posixpath.normpath(posixpath.join(folder, name)), False
        yield posixpath.normpath(posixpath.join(folder, base)), False
        if base != name or self.is_elsewhere:
            yield name, True


def _read(root: Path, request: Request) -> Export:
    photos = Photos(request.photos, flag="--images") if request.photos else Photos(root)
    reader = _Reader(root, photos, list(photos.problems), request.photos is not None)
    files, others = [], 0
    stems = {Path(name).stem for name in photos.paths}
    for path in _json_files(root):
        if _is_labelme(path) or composed(path.stem) in stems:
            files.append(path)
        else:
            others += 1
    for path in track(files, "reading labelme's files", unit="file"):
        reader.add(path)
    classes = _classes(reader, request.classes)
    export = Export(classes, problems=reader.problems)
    if others:
        export.lines.append(f"{root}: left out: {counted(others, 'JSON file')} that labelme did not write")
    values = {name: number for number, name in enumerate(classes.names)}
    background = {name: 0 for name in BACKGROUND_NAMES if BACKGROUND in values}
    values = {**background, **values}
    source = lambda id, photo, path: Source(id, photo, LabelmeMask(str(path), values, _or_none(photo, path)))
    labeled = [source(*item) for item in reader.annotated]
    empty = [source(*item) for item in reader.empty]
    known = reader.file_of
    unlabeled = [Source(id, path) for id, path in photos.by_id(export.problems).items() if id not in known]
    is_background = request.unannotated != AS_UNLABELED
    export.lines += unannotated_line(root, len(empty), is_background=is_background)
    if not is_background:
        unlabeled += [dataclasses.replace(s, mask=None) for s in empty]
    else:
        labeled += empty
    export.parts[""] = Part(labeled, sorted(unlabeled, key=lambda s: s.id), EmbeddedPool, EmbeddedPool)
    return export


def _or_none(photo: Path, path: Path) -> str | None:
    return None if photo == path else str(photo)


def _classes(reader: _Reader, given: ClassList | None) -> ClassList:
    """Returns the classes: those that a person gave, or the background and all labels by their alphabet."""
    used = [name for name in reader.labels if name not in (LABELME_IGNORE, LABELME_BACKGROUND)]
    if given is not None:
        for name in used:
            if name not in given.names:
                reader.problems.append(
                    f"{reader.labels[name]}: the label {name[:60]!r} is none of --class_names; expected one of "
                    f"{', '.join(given.names[:12])}.{did_you_mean(name[:80], given.names)}"
                )
        return given
    first: dict[str, str] = {}
    for name in sorted(used):
        other = first.setdefault(name.casefold(), name)
        if other != name:
            reader.problems.append(
                f"{reader.labels[name]}: the label {name[:60]!r}, and {other[:60]!r} in {reader.labels[other]}, differ "
                "only in capital letters; expected one name for a class, rename one of them"
            )
    names = [BACKGROUND, *sorted((n for n in used if n.casefold() not in BACKGROUND_NAMES), key=str.casefold)]
    reader.problems += [
        f"{reader.labels[n]}: {n[:60]!r} can be no name of a class" for n in names[1:] if not is_name(n)
    ]
    if len(names) > IGNORE:
        raise UserError(f"{reader.root}: {len(names)} labels; expected at most {IGNORE}, the background included")
    if len(names) < 2 and not reader.problems:
        raise UserError(f"{reader.root}: no shapes in {len(reader.file_of)} files of labelme; expected labelled shapes")
    return ClassList(names, default_colors(len(names)))


def _json_files(root: Path) -> list[Path]:
    parts = lambda path: path.relative_to(root).parts
    return sorted(path for path in root.rglob("*.json") if path.is_file() and not any(map(is_junk, parts(path))))


def _is_labelme(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            return b'"shapes"' in head or b'"imagePath"' in head
    except OSError:
        return False


def _found(root: Path) -> bool:
    sniffed = _json_files(root)[:_MAX_SNIFFED]
    return any(map(_is_labelme, sniffed))


LABELME = Kind("labelme, JSON files", _found, _read, is_drawn=True)
