"""Masks on disk: palette, index and colour-mapped files become class ids; the names and colours of PASCAL VOC."""

import io
import os
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image

from wss.errors import UserError

IGNORE = 255
IGNORE_COLOR = (224, 224, 192)  # the void of PASCAL VOC's own masks
INVALID = -1
MAX_VALUES_SHOWN = 5
# Of an image that a file declares, in pixels: what is larger is a mistake, and drawing it takes all memory.
MAX_SIDE = 32768

# What Pillow raises on a file that is no image or a damaged one.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_colors(count: int = 256) -> np.ndarray:
    """Returns the PASCAL VOC colour map, uint8 [count, 3].

    Bits 0, 3, 6 of the index are the highest bits of red, bits 1, 4, 7 those of green, bits 2, 5 those of blue.
    The VOC devkit calls it VOCcolormap.
    """
    index = np.arange(count)
    colors = np.zeros([count, 3], np.uint8)
    for level in range(8):
        for channel in range(3):
            colors[:, channel] |= (((index >> (3 * level + channel)) & 1) << (7 - level)).astype(np.uint8)
    return colors


def read_mask(path: str | os.PathLike, color_map: dict[tuple[int, int, int], int] | None = None) -> np.ndarray:
    """Reads a mask as stored values, uint8 [H, W].

    Args:
        path: A palette or an index image; an RGB image too if `color_map` is given.
        color_map: Value of each colour (red, green, blue); None where an RGB mask is a mistake.

    Raises:
        UserError: The file is missing, empty or broken, it is an RGBA or colour mask, or a colour is not in `color_map`.
    """
    try:
        with Image.open(io.BytesIO(read_file(path))) as image:
            mode, values = image.mode, np.asarray(image)
            lossy = image.format in ("JPEG", "MPO")
    except BROKEN_IMAGE as error:
        what = "not an image" if isinstance(error, Image.UnidentifiedImageError) else f"broken mask ({error})"
        raise UserError(f"{path}: {what}; expected a PNG") from error
    if lossy:
        raise UserError(f"{path}: a JPEG mask, whose values are not exact; expected a PNG")
    if mode in ("P", "L", "1"):
        return values.astype(np.uint8)
    if mode.startswith("I") and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    if mode == "RGB" and color_map is not None:
        return _from_colors(path, values, color_map)
    raise UserError(
        f"{path}: a mask with mode {mode}, expected a palette or index PNG (one channel, the class id per pixel)"
        + (" or an RGB image in the colours of the colour map" if color_map is not None else "")
    )


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a file; a missing, unreadable or empty one is a `UserError`."""
    try:
        content = epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {'missing' if isinstance(error, FileNotFoundError) else error.strerror}") from error
    if not content:
        raise UserError(f"{path}: empty file")
    return content


def files_by_id(folder: epath.Path, suffix: str) -> dict[str, str]:
    """Returns the files of a folder whose names end in `suffix`, by what comes before it; sorted."""
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    return {path.name.removesuffix(suffix): str(path) for path in paths}


def encode_mask(mask: np.ndarray) -> bytes:
    """Encodes uint8 or uint16 [H, W] as a one-channel PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def color_map_of(colors: Sequence[Sequence[int]], values: Sequence[int] | None = None) -> dict:
    """Returns {(red, green, blue): value} for `read_mask`; the values count up from 0 by default."""
    values = range(len(colors)) if values is None else values
    return {tuple(int(part) for part in color): value for color, value in zip(colors, values, strict=True)}


def color_table(colors: Sequence[Sequence[int]], ignore_label: int = IGNORE) -> np.ndarray:
    """Returns the colour of each value of a mask, uint8 [256, 3].

    The ignore label and the values that are no class get `IGNORE_COLOR`.

    Args:
        colors: RGB colours of the classes, 0 .. 255.
        ignore_label: Label of pixels that count nowhere; it may lie among the classes.
    """
    table = np.full([256, 3], IGNORE_COLOR, np.uint8)
    table[: len(colors)] = colors
    table[ignore_label] = IGNORE_COLOR
    return table


def lookup_table(
    num_classes: int, keep: Sequence[int] | None = None, ignore_values: Sequence[int] = (IGNORE,)
) -> np.ndarray:
    """Returns what becomes of each stored value, int16 [256]: a class id, `IGNORE`, or `INVALID` if it must not occur.

    Args:
        num_classes: Number of classes in the stored masks.
        keep: Ids that become classes 0, 1, ... in this order; all others become `IGNORE`. None keeps all as they are.
        ignore_values: Stored values of pixels to ignore.
    """
    table = np.full(256, INVALID, np.int16)
    table[:num_classes] = IGNORE if keep is not None else np.arange(num_classes)
    for new, old in enumerate(keep or ()):
        table[old] = new
    table[list(ignore_values)] = IGNORE
    return table


def wrong_labels(mask: np.ndarray, num_classes: int, ignore_label: int = IGNORE) -> str:
    """Returns a few words on the values of a mask that are no class, or "" if all are."""
    valid = np.arange(256) < num_classes
    valid[ignore_label] = True
    return wrong_values(mask, valid, f"classes 0 .. {num_classes - 1} or {ignore_label} (ignore)")


def wrong_values(mask: np.ndarray, valid: np.ndarray, expected: str) -> str:
    """Returns a few words on the values of a mask, any integers, that are not `valid`, bool [256], or "" if all are."""
    in_bytes = mask.astype(np.uint8)  # changes what does not fit
    wrong, counts = np.unique(mask[~valid[in_bytes] | (in_bytes != mask)], return_counts=True)
    if not wrong.size:
        return ""
    shown = ", ".join(map(str, wrong[:MAX_VALUES_SHOWN])) + (", ..." if len(wrong) > MAX_VALUES_SHOWN else "")
    return f"label value{'s' if len(wrong) > 1 else ''} {shown} ({counts.sum()} pixels), expected {expected}"


def parse_classes(text: str | Sequence[str], num_classes: int) -> tuple[int, ...] | None:
    """Reads `--classes=0,8,12`; None where nothing is given.

    Raises:
        UserError: No number, an id that is no class, an id given twice, or the background not in front.
    """
    items = [item.strip() for item in (text.split(",") if isinstance(text, str) else text) if item.strip()]
    if not items:
        return None
    if not all(item.isdecimal() and int(item) < num_classes for item in items):
        raise UserError(f"--classes={','.join(items)}: expected class ids 0 .. {num_classes - 1}, separated by commas")
    keep = tuple(int(item) for item in items)
    if len(set(keep)) < len(keep):
        raise UserError(f"--classes={','.join(items)}: an id is given twice")
    if 0 in keep[1:]:
        raise UserError(f"--classes={','.join(items)}: the background, 0, must come first or be left out")
    return keep


def parse_ignore_values(items: Sequence[str], num_classes: int) -> list[int]:
    """Reads `--ignore_values=11`; 255 is always among them.

    Raises:
        UserError: No number in 0 .. 255, or the id of a class.
    """
    for item in items:
        if not item.strip().isdecimal() or not num_classes <= int(item) <= IGNORE:
            raise UserError(
                f"--ignore_values={','.join(items)}: expected values {num_classes} .. {IGNORE}, separated by commas; "
                "a class is ignored by leaving it out of --classes"
            )
    return [*map(int, items), IGNORE]


def _from_colors(path: str | os.PathLike, rgb: np.ndarray, color_map: dict[tuple[int, int, int], int]) -> np.ndarray:
    codes = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    found, inverse = np.unique(codes, return_inverse=True)
    colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in found]
    unknown = [color for color in colors if color not in color_map]
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} colours of the mask are not in the colour map, such as {unknown[0]}; "
            "expected a palette or index PNG, or the exact colours"
        )
    values = np.array([color_map[color] for color in colors], np.uint8)
    return values[inverse].reshape(codes.shape)
