"""Labels and maps in colours: colour masks, heat maps, and both laid over photos."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.masks import color_table
from wss.errors import UserError

Columns = Sequence[tuple[str, np.ndarray]]  # title and picture [H, W, 3], 0 .. 255

# Dark to light with lightness rising evenly, so that more is brighter in grey print too.
_HEAT = np.array(
    [
        (11, 9, 43),
        (66, 20, 105),
        (137, 34, 110),
        (203, 61, 77),
        (242, 120, 38),
        (248, 187, 62),
        (253, 243, 120),
    ]
)


def colorize(label: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Returns the colours of a label [H, W], uint8 [H, W, 3], see `wss.data.masks.color_table`.

    Raises:
        UserError: A value is neither a class nor the ignore label.
    """
    label = np.asarray(label, np.int64)
    wrong = (label != info.ignore_label) & ((label < 0) | (label >= info.num_classes))
    if wrong.any():
        raise UserError(
            f"label: value {label[wrong][0]} found, expected 0 .. {info.num_classes - 1} or "
            f"{info.ignore_label} of data set {info.name}"
        )
    return color_table(info.colors, info.ignore_label)[label]


def overlay(image: np.ndarray, label: np.ndarray, info: DatasetInfo, *, alpha: float = 0.55) -> np.ndarray:
    """Lays the colours of a label on the image in grey; a background class stays clear.

    Args:
        image: Photo [H, W, 3], 0 .. 255.
        label: Class ids, integer [H, W].
        info: The data set.
        alpha: Opacity inside a region, 0 .. 1; its rim is opaque.

    Returns:
        A picture, uint8 [H, W, 3].
    """
    label = np.asarray(label)
    opacity = np.where(_rim(label), 1.0, alpha)
    if info.has_background:
        opacity = np.where(label == 0, 0.0, opacity)
    return _blend(_backdrop(image), colorize(label, info), opacity)


def overlay_probabilities(
    image: np.ndarray, probabilities: np.ndarray, info: DatasetInfo, *, alpha: float = 0.7
) -> np.ndarray:
    """Lays a soft label on the image in grey: colours mix, a background class stays clear.

    Args:
        image: Photo [H, W, 3], 0 .. 255.
        probabilities: Class probabilities, float [H, W, C], summing to 1 over C.
        info: The data set.
        alpha: Opacity where the background has probability 0, 0 .. 1.

    Returns:
        A picture, uint8 [H, W, 3].
    """
    probabilities = np.asarray(probabilities, np.float32)
    colors = np.array(info.colors, np.float32)
    opacity = np.full(probabilities.shape[:2], alpha)
    if info.has_background:
        foreground = probabilities[..., 1:]
        share = foreground.sum(-1, keepdims=True)
        colors = foreground @ colors[1:] / np.maximum(share, 1e-6)
        return _blend(_backdrop(image), colors, opacity * share[..., 0])
    return _blend(_backdrop(image), probabilities @ colors, opacity)


def heatmap(cam: np.ndarray) -> np.ndarray:
    """Returns the colours of a map [H, W], uint8 [H, W, 3]: dark is 0, light is 1."""
    steps = np.linspace(0, 1, len(_HEAT))
    cam = np.clip(np.asarray(cam, np.float32), 0, 1)
    return to_uint8(np.stack([np.interp(cam, steps, channel) for channel in _HEAT.T], axis=-1))


def overlay_heatmap(image: np.ndarray, cam: np.ndarray, alpha: float = 0.65) -> np.ndarray:
    """Lays `heatmap(cam)` on the image [H, W, 3] in grey; returns uint8 [H, W, 3]."""
    return _blend(_grey(image), heatmap(cam), np.full(np.shape(cam), alpha))


def example_columns(
    image: np.ndarray,
    info: DatasetInfo,
    label: np.ndarray | None = None,
    *,
    maps: Iterable[tuple[str, np.ndarray]] = (),
) -> list[tuple[str, np.ndarray]]:
    """Returns the columns of one image: itself, the truth, then its maps.

    Args:
        image: Photo [H, W, 3], 0 .. 255.
        info: The data set.
        label: The truth, integer [H, W], if there is one.
        maps: Titles and values: class ids, integer [H, W]; a map, float [H, W] or [H, W, 1] in 0 .. 1, shown as heat;
            or class probabilities, float [H, W, C].
    """
    columns = [("image", to_uint8(image))]
    if label is not None:
        columns.append(("truth", overlay(image, label, info)))
    for title, values in maps:
        if np.issubdtype(values.dtype, np.integer):
            columns.append((title, overlay(image, values, info)))
        elif values.ndim == 3 and values.shape[-1] > 1:
            columns.append((title, overlay_probabilities(image, values, info)))
        else:
            columns.append((title, overlay_heatmap(image, values.reshape(values.shape[:2]))))
    return columns


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds values 0 .. 255 of any type to uint8."""
    return np.clip(np.round(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)


def _blend(image: np.ndarray, colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    opacity = opacity[..., None]
    return to_uint8((1 - opacity) * np.asarray(image, np.float32) + opacity * np.asarray(colors, np.float32))


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(to_uint8(image)).convert("L").convert("RGB"))


def _backdrop(image: np.ndarray) -> np.ndarray:
    """Returns the image in pale grey: the colours of a photo are easily taken for those of classes."""
    return 85 + _grey(image) * (2 / 3)


def _rim(label: np.ndarray) -> np.ndarray:
    """Returns which pixels of a label [H, W] have a 4-neighbour of another value."""
    padded = np.pad(label, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([label != neighbour for neighbour in around], axis=0)
