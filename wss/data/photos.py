"""Photos of any kind that is read here: how they become upright 8-bit RGB."""

import dataclasses
import os

import numpy as np
from PIL import ExifTags, Image, ImageOps

from wss.data.image_files import (
    FORMATS_IN_WORDS,
    SIDEWAYS,
    TURNS,
    UPRIGHT,
    bit_depth,
    check_regular,
    is_deep,
    opened,
    orientation,
    read_file,
)
from wss.data.image_files import (
    SUFFIXES as SUFFIXES,  # as it was always found here
)
from wss.errors import UserError

ValueRange = tuple[float, float]  # the values that become 0 and 255
FULL_RANGE: ValueRange = (0, 65535)
# Cameras have these numbers of bits, and store them as 16.
_USUAL_BITS = (10, 12, 14, 16)
# Of the pixels of a photo: a few defect ones are usual.
_MAX_SHARE_OUTSIDE = 0.01


@dataclasses.dataclass(frozen=True)
class PhotoNotes:
    """What became of a photo.

    Attributes:
        turned: EXIF orientation by which it was turned; 1 if it was upright.
        bits: Bits of its samples, if they were reduced to 8; else 0.
    """

    turned: int = UPRIGHT
    bits: int = 0


def parse_value_range(text: str | None) -> ValueRange | None:
    """Reads `--value_range=0,4095`; None where nothing is given.

    Raises:
        UserError: It is not two finite numbers, the smaller one first.
    """
    if not text:
        return None
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise UserError(f"--value_range={text}: expected the values of black and white, such as 0,4095")
    return low, high


def is_upright(photo: Image.Image) -> bool:
    """Returns whether an open photo is stored as it is to be seen."""
    return photo.getexif().get(ExifTags.Base.Orientation, UPRIGHT) == UPRIGHT


def read_photo(path: str | os.PathLike, *, value_range: ValueRange | None = None) -> Image.Image:
    """Reads a photo as upright 8-bit RGB.

    Args:
        path: Path of the file.
        value_range: Values of black and white in photos of more than 8 bits; None takes 0 .. 65535 for 16 bits, and
            refuses those that use less of it, and all others.

    Raises:
        UserError: The file is missing, empty, no image, damaged or too large, or its range is unknown.
    """
    # Pillow mixes up the sides of a turned TIFF that it maps into memory, so it is given the content.
    content = read_file(path)
    with opened(content, path) as photo:
        return upright_rgb(photo, content, path, value_range=value_range)[0]


def photo_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns the (height, width) of what `read_photo` returns, from the header alone.

    Raises:
        UserError: The file is missing, no image or too large.
    """
    check_regular(path)
    try:
        with open(path, "rb") as file, opened(file, path) as photo:
            # Pillow gives the size of a turned TIFF as it is to be seen.
            sideways = photo.format != "TIFF" and orientation(photo) in SIDEWAYS
            width, height = reversed(photo.size) if sideways else photo.size
            return height, width
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def upright_rgb(
    photo: Image.Image, content: bytes, path: str | os.PathLike, *, value_range: ValueRange | None = None
) -> tuple[Image.Image, PhotoNotes]:
    """Returns an open photo as 8-bit RGB, turned as its EXIF data says, and what that took.

    Args:
        photo: A photo of `image_files.opened`.
        content: Content of its file.
        path: Its name, for messages.
        value_range: Values of black and white, see `read_photo`.

    Raises:
        UserError: The range of its values is unknown, or does not fit.
    """
    turned, bits = orientation(photo), bit_depth(photo, content)
    if is_deep(photo):
        full = (0, (1 << bits) - 1) if photo.mode.startswith("I;16") or photo.format == "PNG" else None
        return _turned(photo, _reduced(np.asarray(photo), path, value_range, full=full)), PhotoNotes(turned, bits)
    if bits == 16:
        return _turned(photo, _reduced_colors(photo, content, path, value_range)), PhotoNotes(turned, bits)
    return ImageOps.exif_transpose(photo).convert("RGB"), PhotoNotes(turned)


def _turned(photo: Image.Image, values: np.ndarray) -> Image.Image:
    """Returns the uint8 values of an open photo as RGB, turned by its flag; Pillow has turned those of a TIFF."""
    turn = UPRIGHT if photo.format == "TIFF" else orientation(photo)
    image = Image.fromarray(values).convert("RGB")
    return image if turn == UPRIGHT else image.transpose(TURNS[turn])


def _reduced_colors(
    photo: Image.Image, content: bytes, path: str | os.PathLike, value_range: ValueRange | None
) -> np.ndarray:
    """Returns a photo of several channels of 16 bits as uint8 [H, W, 3]; Pillow has their upper 8 bits only."""
    if value_range in (None, FULL_RANGE):
        upper = np.asarray(photo.convert("RGB"))
        _check_uses_range(int(upper.max()) << 8 | 255, path, value_range, about="at most ")
        return upper
    if photo.format != "PNG":
        raise UserError(
            f"{path}: a {photo.format} of several channels of 16 bits, which --value_range needs as a PNG; save it as a PNG "
            "of 16 bits, or as one of 8 bits that uses their whole range"
        )
    import tensorflow as tf  # here, so that --help need not wait for it

    try:
        values = tf.io.decode_png(content, channels=3, dtype=tf.uint16).numpy()
    except tf.errors.OpError as error:
        raise UserError(f"{path}: broken image, it cannot be decoded; expected {FORMATS_IN_WORDS}") from error
    return _reduced(values, path, value_range, full=FULL_RANGE)


def _reduced(
    values: np.ndarray, path: str | os.PathLike, value_range: ValueRange | None, *, full: ValueRange | None
) -> np.ndarray:
    """Returns values of more than 8 bits as uint8; `full` is the range of their type if it is usual to use it."""
    if not np.isfinite(values).all():
        raise UserError(f"{path}: has values that are no finite numbers; expected a photo without gaps")
    if value_range is None:
        if full is None:
            raise UserError(
                f"{path}: a photo of {values.dtype} values {values.min():g} .. {values.max():g}, whose black and white are "
                f"unknown; give both, such as --value_range={min(0, values.min()):g},{values.max():g}"
            )
        if full == FULL_RANGE:
            _check_uses_range(int(values.max()), path, None)
        value_range = full
    if value_range == full == FULL_RANGE:
        return (values >> 8).astype(np.uint8)
    low, high = value_range
    outside = np.count_nonzero((values < low) | (values > high))
    if outside > _MAX_SHARE_OUTSIDE * values.size:
        raise UserError(
            f"{path}: {outside} of {values.size} values, {values.min():g} .. {values.max():g}, lie outside of "
            f"--value_range={low:g},{high:g}; expected the values of black and white"
        )
    if values.dtype.kind == "f":
        scaled = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
    else:  # of 2^n values each 2^(n - 8) are one, as if the upper 8 bits stayed
        scaled = np.floor((values.astype(np.float64) - low) * (256 / (high - low + 1)))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _check_uses_range(
    largest: int, path: str | os.PathLike, value_range: ValueRange | None, *, about: str = ""
) -> None:
    """Raises a `UserError` if a photo of 16 bits seems to have fewer, and nobody said that it has not."""
    if value_range is None and largest < 1 << 15:
        bits = next(bits for bits in _USUAL_BITS if largest < 1 << bits)
        raise UserError(
            f"{path}: a photo of 16 bits whose largest value is {about}{largest}, perhaps of {bits} bits; give those of "
            f"black and white, --value_range=0,{(1 << bits) - 1}, or --value_range=0,65535 if it is only dark"
        )
