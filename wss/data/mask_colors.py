"""What the stored values of a mask mean where a class file gives colours: colours decide, unless index and colour differ."""

import os
from collections.abc import Mapping

import numpy as np

from wss.errors import UserError

IGNORE = 255
Color = tuple[int, int, int]
ColorMap = Mapping[Color, int]
NO_COLOR: Color = (-1, -1, -1)  # of an index beyond the palette
# How a palette or grey mask is read where there is a map of colours: by its colours unless its indices could be meant too,
# by its colours, by its indices, or by its indices whose colours must be those of the map.
AUTO, COLORS, INDEX, FIXED = "auto", "colors", "index", "fixed"
READINGS = (AUTO, COLORS, INDEX)
_BITS = 8
MAX_SHOWN = 3


def from_rgb(path: str | os.PathLike, rgb: np.ndarray, color_map: ColorMap) -> np.ndarray:
    """Returns the value of each pixel of a colour mask, uint8 [H, W].

    Raises:
        UserError: A colour is not in the map.
    """
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


def meanings(
    path: str | os.PathLike, used: np.ndarray, colors: np.ndarray, color_map: ColorMap, *, reading: str = AUTO
) -> np.ndarray:
    """Returns what each index of a palette or grey mask stands for, uint8 [256].

    Args:
        path: The file, for messages.
        used: Indices that occur in it.
        colors: RGB colour of each index, uint8 [n, 3]; indices beyond have none.
        color_map: Value of each colour.
        reading: `AUTO`, `COLORS`, `INDEX` or `FIXED`.

    Raises:
        UserError: Index and colour are different classes and both may be meant, or a colour is not in the map.
    """
    identity = np.arange(1 << _BITS, dtype=np.uint8)
    if reading == INDEX:
        return identity
    color_of = {int(i): _color(colors, int(i)) for i in used}
    by_color = {i: color_map[color] for i, color in color_of.items() if color in color_map}
    if reading == FIXED:
        _check_fixed(path, color_of, color_map)
        return identity
    different = [i for i, value in by_color.items() if value != i]
    all_known = len(by_color) == len(color_of)
    if reading == AUTO and not different:
        return identity
    if reading == AUTO and not (all_known and not _may_be_index(color_of, color_map)):
        raise UserError(_both(path, different, color_of=color_of, color_map=color_map))
    if not all_known:
        index = next(i for i in color_of if i not in by_color)
        raise UserError(
            f"{path}: its value {index} has the colour {color_of[index]}, which is none of the colour map; expected "
            "those of the class file"
        )
    identity[list(by_color)] = list(by_color.values())
    return identity


def _may_be_index(color_of: Mapping[int, Color], color_map: ColorMap) -> bool:
    """Returns whether all indices are classes, so that a person may have meant them; 255 may have a class's colour."""
    classes = set(color_map.values()) - {IGNORE}
    return all(
        i in classes or (i == IGNORE and color_map.get(color, IGNORE) == IGNORE) for i, color in color_of.items()
    )


def _check_fixed(path: str | os.PathLike, color_of: Mapping[int, Color], color_map: ColorMap) -> None:
    """Raises a `UserError` if a class's index has another colour than in the map; a ramp of grey has no colours."""
    if all(color in (NO_COLOR, (i, i, i)) for i, color in color_of.items()):
        return
    expected = {value: color for color, value in color_map.items()}
    wrong = [i for i, color in color_of.items() if i in expected and color != expected[i]]
    if wrong:
        index = wrong[0]
        raise UserError(
            f"{path}: its palette has the colour {color_of[index]} as {index}, expected {expected[index]}; an editor may "
            "have sorted the palette anew, take the original file or save the mask as RGB"
        )


def _both(
    path: str | os.PathLike,
    different: list[int],
    *,
    color_of: Mapping[int, Color],
    color_map: ColorMap,
) -> str:
    shown = ", ".join(
        f"{i} has the colour {color_of[i]} of class {color_map[color_of[i]]}" for i in different[:MAX_SHOWN]
    )
    return (
        f"{path}: values and colours of this mask are different classes ({shown}); say which of them count with "
        "--mask_values=colors or --mask_values=index, or save the masks as RGB"
    )


def _color(colors: np.ndarray, index: int) -> Color:
    if index >= len(colors):
        return NO_COLOR
    red, green, blue = colors[index].tolist()
    return red, green, blue
