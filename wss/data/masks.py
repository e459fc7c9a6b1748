"""Masks on disk: palette, index and colour-mapped files become class ids; the names and colours of PASCAL VOC."""

import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image

from wss.data.image_files import (
    TURNS,
    UPRIGHT,
    bit_depth,
    is_deep,
    opened,
    orientation,
)
from wss.data.image_files import (
    read_file as read_file,  # as it was always found here
)
from wss.data.mask_colors import AUTO, IGNORE, ColorMap, from_rgb, meanings
from wss.errors import UserError

IGNORE_COLOR = (224, 224, 192)  # the void of PASCAL VOC's own masks
INVALID = -1
# Of an image that an annotation declares, in pixels: what is larger is a mistake, and drawing it takes all memory.
MAX_SIDE = 32768
MAX_VALUES_SHOWN = 5
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and its value of negatives

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


@dataclasses.dataclass(frozen=True, eq=False)
class StoredMask:
    """A mask as it lies in its file, and how it was read.

    Attributes:
        values: Its stored values, uint8 [H, W].
        palette: RGB colours of its values, uint8 [n, 3], where they did not count; None without a palette.
        turned: EXIF orientation by which it was turned; 1 if it was upright.
        by_index: Whether the numbers in the file are its values.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    turned: int = UPRIGHT
    by_index: bool = False


def read_mask(path: str | os.PathLike, color_map: ColorMap | None = None, *, reading: str = AUTO) -> np.ndarray:
    """Reads a mask as stored values, uint8 [H, W]; see `read_stored_mask`."""
    return read_stored_mask(path, color_map, reading=reading).values


def read_stored_mask(path: str | os.PathLike, color_map: ColorMap | None = None, *, reading: str = AUTO) -> StoredMask:
    """Reads a mask, turned as its EXIF data says.

    Args:
        path: A palette or an index image; an RGB image too if `color_map` is given.
        color_map: Value of each colour (red, green, blue); None where an RGB mask is a mistake.
        reading: What counts in a palette or grey image if `color_map` is given, see `mask_colors.meanings`.

    Raises:
        UserError: The file is missing, empty or broken, it is a JPEG or has several pages, transparency or values over
            255, a colour is not in `color_map`, or values and colours are different classes.
    """
    content = read_file(path)
    with opened(content, path, what="mask", expected="a PNG") as image:
        if image.format in ("JPEG", "MPO"):
            raise UserError(f"{path}: a JPEG mask, whose values are not exact; expected a PNG")
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
            raise UserError(f"{path}: a TIFF that stores white as 0, so that its values are unclear; expected a PNG")
        turned, bits = orientation(image), bit_depth(image, content)
        image.load()
        palette = _palette(image)
        upright = image.transpose(TURNS[turned]) if turned != UPRIGHT and image.format != "TIFF" else image
        mode, values = image.mode, np.asarray(upright)
    if is_deep(image) and mode != "F":
        return StoredMask(_in_bytes(path, values, bits), turned=turned, by_index=True)
    if mode == "RGB" and color_map is not None and bits <= 8:
        return StoredMask(from_rgb(path, values, color_map), turned=turned)
    if mode not in ("P", "L", "1"):
        raise UserError(_wrong_mode(path, mode, bits, values=values, has_colors=color_map is not None))
    values, colors = _indices(values.astype(np.uint8), palette, 1 if mode == "1" else bits)
    if color_map is None:
        return StoredMask(values, palette, turned, True)
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    table = meanings(path, used, colors, color_map, reading=reading)
    by_index = bool((table == np.arange(256)).all())
    return StoredMask(values if by_index else table[values], turned=turned, by_index=by_index)


def files_by_id(folder: epath.Path, suffix: str) -> dict[str, str]:
    """Returns the files of a folder whose names end in `suffix`, by what comes before it; sorted, without hidden ones."""
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("."))
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


def check_masks_hold(num_classes: int, data_set: str) -> None:
    """Checks that each class can be a value of a mask.

    Args:
        num_classes: Number of classes.
        data_set: Folder or name of the data set, for the message.

    Raises:
        UserError: There are more classes than a mask has values beside `IGNORE`.
    """
    if num_classes > IGNORE:
        raise UserError(f"{data_set}: {num_classes} classes; a mask has {IGNORE} values, as {IGNORE} is no class")


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


def _palette(image: Image.Image) -> np.ndarray | None:
    colors = image.getpalette("RGB") if image.mode == "P" else None
    return None if colors is None else np.array(colors, np.uint8).reshape(-1, 3)


def _indices(values: np.ndarray, palette: np.ndarray | None, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers that a mask stores and the colour of each; Pillow scales grey of fewer than 8 bits up."""
    if palette is not None:
        return values, palette
    step = 255 // ((1 << bits) - 1) if bits < 8 else 1
    colors = np.repeat(np.arange(0, 256, step, dtype=np.uint8)[:, None], 3, axis=1)
    return (values // np.uint8(step) if bits in (2, 4) else values), colors


def _in_bytes(path: str | os.PathLike, values: np.ndarray, bits: int) -> np.ndarray:
    """Returns values of more than 8 bits as uint8."""
    wrong = values[(values < 0) | (values > IGNORE)]
    if wrong.size:
        found = np.unique(wrong)
        shown = ", ".join(map(str, found[:MAX_VALUES_SHOWN])) + (", ..." if len(found) > MAX_VALUES_SHOWN else "")
        raise UserError(
            f"{path}: label value{'s' if len(found) > 1 else ''} {shown} ({wrong.size} pixels) in a mask of {bits} bits, "
            f"expected class ids 0 .. {IGNORE - 1} or {IGNORE} (ignore)"
        )
    return values.astype(np.uint8)


def _wrong_mode(path: str | os.PathLike, mode: str, bits: int, *, values: np.ndarray, has_colors: bool) -> str:
    """Says why a mask of this mode of Pillow has no class ids."""
    what, help_ = mode, ""
    if mode == "RGB" and bits > 8:
        what = f"RGB of {bits} bits a channel"
    elif mode == "RGB" and (values == values[..., :1]).all():
        help_ = "; its three channels are equal, so save one of them, or name the greys in the file of --class_names"
    elif mode == "RGB":
        help_ = "; its colours can be read if the file of --class_names has them, such as 'road 128 64 128'"
    elif mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        help_ = "; save it without transparency"
    return (
        f"{path}: a mask with mode {what}, expected a palette or index PNG (one channel, the class id per pixel)"
        + (" or an RGB image in the colours of the colour map" if has_colors else "")
        + help_
    )
