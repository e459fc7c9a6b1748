"""Image files of any kind that Pillow reads: which count as photos, and how they become upright 8-bit RGB."""

import io
import os

import numpy as np
from PIL import ExifTags, Image, ImageOps

from wss.data.masks import BROKEN_IMAGE, read_file
from wss.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_UPRIGHT = 1  # EXIF orientation
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap the sides


def is_upright(photo: Image.Image) -> bool:
    """Returns whether an open photo is stored as it is to be seen."""
    return photo.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) == _UPRIGHT


def upright_rgb(photo: Image.Image) -> Image.Image:
    """Returns an open photo as 8-bit RGB, turned as its EXIF data says; of 16-bit grey the upper 8 bits stay."""
    if photo.mode.startswith("I;16"):
        photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    return ImageOps.exif_transpose(photo).convert("RGB")


def read_photo(path: str | os.PathLike) -> Image.Image:
    """Reads a photo as upright 8-bit RGB.

    Raises:
        UserError: The file is missing, empty, no image or damaged.
    """
    # Pillow mixes up the sides of a turned TIFF that it maps into memory, so it is given the content.
    content = read_file(path)
    try:
        with Image.open(io.BytesIO(content)) as photo:
            return upright_rgb(photo)
    except BROKEN_IMAGE as error:
        raise _unreadable(path, error) from error


def photo_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns the (height, width) of what `read_photo` returns, from the header alone.

    Raises:
        UserError: The file is missing or no image.
    """
    try:
        with Image.open(path) as photo:
            # Pillow gives the size of a turned TIFF as it is to be seen, and does not turn 16-bit grey of other files.
            turned = photo.format != "TIFF" and not photo.mode.startswith("I;16")
            sideways = turned and photo.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
            width, height = reversed(photo.size) if sideways else photo.size
            return height, width
    except BROKEN_IMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable image ({error})")
