"""Image files of others, opened with care: formats that are named, sizes that can be meant, one page."""

import contextlib
import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from etils import epath
from PIL import ExifTags, Image

from wss.data.limits import MAX_PIXELS, MAX_SIDE
from wss.errors import UserError, first_line

# Pillow opens nothing else, whatever a file is called: some of its formats start programs.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
FORMATS_IN_WORDS = "JPEG, PNG, BMP, TIFF or WebP"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jfif", ".jpe")
MAX_BYTES = 2**30  # a record has room for twice as much
UPRIGHT = 1  # EXIF orientation
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap the sides
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises on a file that is no image or a damaged one.
BROKEN_IMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_BITS_OF_MODE = {"I": 32, "F": 32}
_BITS_PER_SAMPLE, _SUBFILE = 258, 254  # tags of TIFF
_PREVIEW_OR_MASK = 1 | 4  # bits of `_SUBFILE`
_PNG_HEADER, _PNG_BITS = b"IHDR", 24
_NUMBER_OF_PIXELS = re.compile(r"\((\d+) pixels\)")
# Beginnings of files that are often found under the name of an image.
_FOREIGN = (
    (rb"GIF8[79]a", "a GIF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF", "a PDF"),
    (rb"8BPS", "a Photoshop file"),
    (rb"....ftyp(heic|heix|mif1|msf1|hevc)", "a HEIC photo"),
    (rb"....ftypavi[fs]", "an AVIF photo"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "compressed by gzip"),
    (rb"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` gets the file"),
    (rb"\s*(<!doctype html|<html)", "a web page"),
    (rb"\s*(<\?xml|<svg)", "XML, perhaps an SVG drawing"),
)

# The limit is ours, see `check_size`; Pillow's warning would be a second line.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a file; a missing, unreadable, empty, endless or huge one is a `UserError`."""
    check_regular(path)
    try:
        content = epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {_reason(error)}") from error
    if not content:
        raise UserError(f"{path}: empty file")
    return content


def check_regular(path: str | os.PathLike) -> None:
    """Raises a `UserError` if a local path is none of a file that ends: a folder, a pipe, a device, more than 1 GiB."""
    if "://" in str(path):
        return
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{str(path)!r}: {error}" if isinstance(error, ValueError) else f"{path}: {_reason(error)}"
        ) from error
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{path}: a folder, expected a file")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: a pipe, socket or device, expected a file")
    if found.st_size > MAX_BYTES:
        raise UserError(f"{path}: a file of {found.st_size / 2**30:.1f} GiB; expected at most {MAX_BYTES // 2**30} GiB")


@contextlib.contextmanager
def opened(
    content: bytes | BinaryIO, path: str | os.PathLike, *, what: str = "image", expected: str = FORMATS_IN_WORDS
) -> Iterator[Image.Image]:
    """Yields an image whose header is read, of a sane size and a single page; nothing is decoded yet.

    Args:
        content: Content of the file, or the open file where only its header is asked for.
        path: Its name, for messages.
        what: What it should be, such as "image", for messages.
        expected: The formats that it may have, for messages.

    Raises:
        UserError: It is no image, of another format, damaged, too large, or has several pages; also where Pillow finds
            that inside of the context.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with Image.open(file, formats=FORMATS) as image:
            check_size(path, *image.size)
            _check_pages(path, image)
            yield image
    except UserError:
        raise
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        raise UserError(f"{path}: {_foreign(file.read(256))}; expected {expected}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {_too_many(error)}") from error
    except BROKEN_IMAGE as error:
        raise UserError(f"{path}: broken {what} ({first_line(error)}); expected {expected}") from error


def check_size(path: str | os.PathLike, width: int, height: int) -> None:
    """Raises a `UserError` if an image of this size is not to be decoded."""
    if width < 1 or height < 1:
        raise UserError(f"{path}: an image of {width}x{height} pixels; expected at least one pixel")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise UserError(
            f"{path}: {width}x{height} pixels, {width * height / 1e6:.0f} megapixels, more than allowed; expected at most "
            f"{MAX_PIXELS / 1e6:.0f} megapixels and {MAX_SIDE} a side, reduce it"
        )


def bit_depth(image: Image.Image, content: bytes) -> int:
    """Returns the bits of a sample as the file stores it; Pillow may have fewer of them, or scales them up."""
    if image.format == "PNG" and content[12:16] == _PNG_HEADER:
        return content[_PNG_BITS]
    if image.format == "TIFF":
        return max(_numbers(image.tag_v2.get(_BITS_PER_SAMPLE, 1)))  # type: ignore[attr-defined]
    return 16 if image.mode.startswith("I;16") else _BITS_OF_MODE.get(image.mode, 8)


def is_deep(image: Image.Image) -> bool:
    """Returns whether the samples of an open image are numbers of more than 8 bits, in one channel."""
    return image.mode.startswith("I") or image.mode == "F"


def orientation(image: Image.Image) -> int:
    """Returns how an open image is to be turned, an EXIF orientation of 1 .. 8; ask before its pixels are read."""
    found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return found if isinstance(found, int) and found in TURNS else UPRIGHT


def upright(image: Image.Image) -> Image.Image:
    """Returns an open image turned by its own flag; Pillow turns a TIFF when it reads its pixels."""
    turn = orientation(image)
    if image.format == "TIFF":
        image.load()
    return image if image.format == "TIFF" or turn == UPRIGHT else image.transpose(TURNS[turn])


def _check_pages(path: str | os.PathLike, image: Image.Image) -> None:
    if image.format == "MPO" or getattr(image, "n_frames", 1) == 1:  # a phone's second picture is a view of the first
        return
    pages = image.n_frames  # type: ignore[attr-defined]
    if image.format == "TIFF":
        kinds = []
        for page in range(pages):
            image.seek(page)
            kinds.append(int(image.tag_v2.get(_SUBFILE, 0)) & _PREVIEW_OR_MASK)  # type: ignore[attr-defined]
        image.seek(0)
        if kinds[0]:
            raise UserError(f"{path}: a TIFF that begins with a preview, such as a raw photo; save it as PNG or JPEG")
        pages = kinds.count(0)
    if pages > 1:
        raise UserError(f"{path}: has {pages} pages or frames; expected a single image, save each as a file of its own")


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(int(number) for number in value) if isinstance(value, tuple) else (int(str(value)),)


def _foreign(content: bytes) -> str:
    """Says what a file is that is no image of `FORMATS`."""
    found = next((words for beginning, words in _FOREIGN if re.match(beginning, content, re.DOTALL | re.I)), "")
    return f"not an image of these formats but {found}" if found else "not an image"


def _too_many(error: Exception) -> str:
    found = _NUMBER_OF_PIXELS.search(str(error))
    number = f"{int(found[1]) / 1e6:.0f} megapixels" if found else "too many pixels"
    return f"{number}, more than allowed; expected at most {MAX_PIXELS / 1e6:.0f} megapixels, reduce it"


def _reason(error: Exception) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
