"""Folders of a user's own images, masks, lists and image-level labels."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from wss.conversion.sources import Source
from wss.data.image_files import SUFFIXES
from wss.data.photo_folder import id_of, identity, list_images
from wss.data.text_files import read_text
from wss.errors import UserError


class Folder:
    """Reads folders of images and gives them their masks and image-level labels.

    Args:
        labels: Ids of the classes in each image, by the id of the image.
        problems: List to which a line is added for all that is wrong.

    Attributes:
        left_out: A line for each kind of files that were found and not taken.
    """

    def __init__(self, labels: dict[str, tuple[int, ...]], problems: list[str]):
        self.labels = labels
        self.problems = problems
        self.left_out: list[str] = []
        self._used: set[str] = set()

    def read(self, images: str, masks: str | None, *, flag: str = "--images") -> list[Source]:
        """Returns the images of a folder and of all folders in it, sorted by id.

        Args:
            images: Folder of the images.
            masks: Folder of their masks; None without masks.
            flag: Name of the flag that gave the first folder, for messages.
        """
        mask_of = self._masks_of(masks) if masks else {}
        sources: list[Source] = []
        for id, path in self._files(images, flag, without=[masks] if masks else []):
            if sources and sources[-1].id == id:
                self.problems.append(f"{path}: duplicate id {id!r}, beside {Path(str(sources[-1].image)).name}")
                continue
            sources.append(Source(id, path, mask_of.pop(id, None), self.labels.get(id)))
            self._used.add(id)
        self.problems += [f"{path}: a mask without an image in {images}" for path in mask_of.values()]
        return sources

    def check_all_labels_used(self) -> None:
        """Adds a problem for each image-level label whose image was not found."""
        self.problems += labels_without_image(self.labels, self._used)

    def _masks_of(self, folder: str) -> dict[str, Path]:
        masks: dict[str, Path] = {}
        for id, path in self._files(folder, "--masks"):
            if id in masks:
                self.problems.append(f"{path}: a second mask for {id!r}, beside {masks[id].name}")
            masks.setdefault(id, path)
        return masks

    def _files(self, folder: str, flag: str, *, without: Sequence[str] = ()) -> list[tuple[str, Path]]:
        listing = list_images(folder, flag=flag, without=without)
        self.problems += listing.problems
        self.left_out += listing.lines()
        if not listing.files and not listing.problems:
            found = f" ({'; '.join(listing.lines())})" if listing.lines() else ""
            raise UserError(
                f"{flag}={folder}: no images in it; expected files such as *{', *'.join(SUFFIXES[:3])}{found}"
            )
        return sorted((id_of(name), path) for name, path in listing.files)


def labels_without_image(labels: Iterable[str], ids: Collection[str]) -> list[str]:
    """Returns a line for each id with image-level labels that is none of the images' `ids`."""
    return [f"{id}: has image-level labels, but no image" for id in labels if id not in ids]


def split_train_val(
    masked: Sequence[Source],
    train_ids: Sequence[str] | None,
    val_ids: Sequence[str] | None,
    *,
    val_fraction: float,
    seed: int,
    problems: list[str],
) -> tuple[list[Source], list[Source]]:
    """Splits the images with masks by lists, or by chance where there is none.

    Args:
        masked: The images with masks.
        train_ids: Ids of the images of train; None takes all that are not in val.
        val_ids: Ids of the images of val; None chooses them by chance.
        val_fraction: Part of the images that go to val by chance, 0 .. 1.
        seed: Seed of the choice.
        problems: List to which a line is added for each id that cannot be.

    Returns:
        The images of train, and those of val.
    """
    by_id = {source.id: source for source in masked}
    train_ids, val_ids = (ids and _without_columns(ids, by_id) for ids in (train_ids, val_ids))
    for ids in (train_ids or [], val_ids or []):
        problems += [
            f"{id}: listed for train or val, but there is no such image with a mask" for id in ids if id not in by_id
        ]
    problems += [f"{id}: listed for both train and val" for id in sorted({*(train_ids or [])} & {*(val_ids or [])})]
    if val_ids is None:
        rest = [id for id in by_id if id not in set(train_ids or [])]
        order = np.random.default_rng(seed).permutation(len(rest))
        count = len(rest) if train_ids is not None else round(val_fraction * len(rest))
        val_ids = sorted(rest[i] for i in order[:count])
    if train_ids is None:
        train_ids = [id for id in by_id if id not in set(val_ids)]
    train, val = ([by_id[id] for id in ids if id in by_id] for ids in (train_ids, val_ids))
    return train, val


def _without_columns(ids: Sequence[str], by_id: Mapping[str, Source]) -> list[str]:
    """Returns the first words of a list's lines if no line as a whole is an image: Oxford pets' lists have columns."""
    return list(ids) if any(id in by_id for id in ids) else [id_of(id.split()[0]) for id in ids]


def read_ids(path: str) -> list[str]:
    """Reads a list of images, one per line, with or without extension; an empty list is a `UserError`."""
    ids = [id_of(line.strip()) for line in read_text(path).splitlines() if line.strip()]
    if not ids:
        raise UserError(f"{path}: empty; expected one image per line")
    return ids


def check_folders(images: str | None, masks: str | None, unlabeled: str | None) -> None:
    """Raises a `UserError` if two of the folders are the same, or one lies in another where images would be there twice."""
    given = {"--images": images, "--masks": masks, "--unlabeled": unlabeled}
    folders = {flag: Path(folder) for flag, folder in given.items() if folder}
    for flag, folder in folders.items():
        if not folder.is_dir():
            raise UserError(f"{flag}={folder}: {'a file' if folder.exists() else 'no such folder'}; expected a folder")
    for (flag, folder), (other_flag, other) in itertools.combinations(folders.items(), 2):
        if identity(folder) == identity(other):
            raise UserError(
                f"{flag}={folder} and {other_flag}={other}: the folders are the same; expected one for each"
            )
        for (inner_flag, inner), (outer_flag, outer) in (
            ((flag, folder), (other_flag, other)),
            ((other_flag, other), (flag, folder)),
        ):
            # Masks in the folder of the images are left out there.
            if outer.resolve() in inner.resolve().parents and (inner_flag, outer_flag) != ("--masks", "--images"):
                raise UserError(
                    f"{inner_flag}={inner}: lies in {outer_flag}={outer}; expected folders beside each other"
                )
