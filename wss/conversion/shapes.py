"""Shapes, the embedded data set: procedural scenes in which the form of an object, not its colour, is its class.

Colour and texture go with the class often, but not always, so that a network that sees few masks learns the wrong
thing. Stripes, blobs and lines of the background have object colours and no class.
"""

import colorsys
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from wss.conversion.encode import LabelMap
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.balanced_subset import balanced_subset
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import IGNORE, lookup_table, voc_colors
from wss.data.splits import Split, Statistics

CLASS_NAMES = ("background", "disk", "square", "triangle", "ring", "cross", "star")
SUBSETS = {"train_1_4": 4, "train_1_8": 8, "train_1_16": 16}
MIN_IMAGES_PER_CLASS = 3

# Difficulty. Hues are in turns; radii are in parts of the image side.
PREFERRED_HUE_PROBABILITY = 0.7
PREFERRED_TEXTURE_PROBABILITY = 0.8
HUE_SPREAD = 0.06
OBJECT_SATURATION = (0.5, 0.95)
CLUTTER_SATURATION = (0.2, 0.7)
RADIUS = (0.2, 0.38)
MAX_OBJECTS = 3
MAX_OVERLAP = 0.3
CLUTTER = (1, 4)
# Of scenes with a single object.
SINGLE_RADIUS, SINGLE_CLUTTER = (0.28, 0.45), (0, 2)
TEXTURE_CONTRAST = (0.1, 0.35)
NOISE = (2.0, 8.0)
BLUR_RADIUS = 0.5
VOID_BORDER = True

Grid = tuple[np.ndarray, np.ndarray]


def generate(seed: int, index: int, size: int = 128, *, single: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draws scene number `index`; the same arguments always give the same scene.

    Args:
        seed: Seed of all scenes.
        index: Number of the scene.
        size: Side of the image in pixels.
        single: Whether one object fills the image, on calm ground, as in pictures to learn classes from.

    Returns:
        image: uint8 [size, size, 3].
        mask: uint8 [size, size], class ids; objects have a border of one pixel of 255 (`VOID_BORDER`).
    """
    rng = np.random.default_rng([seed, index])
    num_clutter, max_objects, radius = (SINGLE_CLUTTER, 1, SINGLE_RADIUS) if single else (CLUTTER, MAX_OBJECTS, RADIUS)
    grid = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="xy")
    canvas = _background(rng, grid, size)
    for _ in range(rng.integers(*num_clutter, endpoint=True)):
        _draw_clutter(rng, canvas, grid, size)
    mask = np.zeros([size, size], np.uint8)
    for number in range(rng.integers(1, max_objects, endpoint=True)):
        _draw_object(rng, canvas, mask, grid, size, radii=radius, first=number == 0)
    return _photograph(rng, canvas), mask


def build_shapes(
    output_dir: str | Path,
    *,
    num_train: int = 320,
    num_val: int = 160,
    size: int = 128,
    seed: int = 0,
    num_shards: int = 4,
    workers: int = 0,
    boxes_from_masks: int = 0,
    single: bool = False,
    overwrite: bool = False,
) -> tuple[DatasetInfo, dict[str, Statistics]]:
    """Writes train and val, and the class-balanced subsets train_1_4, train_1_8, train_1_16 of train, each in the last.

    Args:
        output_dir: Folder of the data set.
        num_train: Number of images of train.
        num_val: Number of images of val.
        size: Side of the images in pixels.
        seed: Seed of the scenes, of the subsets and of the order.
        num_shards: Number of files of train and of val.
        workers: Number of processes, see `processes.run_jobs`.
        boxes_from_masks: Number of pixels from which on a component of a mask gets a box, see `write_dataset`.
        single: Whether each image has a single object, see `generate`.
        overwrite: Whether to replace a data set that is in `output_dir`.

    Returns:
        The data set, and what is in each split.
    """
    train = [_source(seed, index, size, single) for index in range(num_train)]
    pools = {"train": train, "val": [_source(seed, num_train + index, size, single) for index in range(num_val)]}
    splits, subset = {pool: Split((pool,)) for pool in pools}, train
    for name, parts in SUBSETS.items():
        present = np.array([np.isin(range(1, len(CLASS_NAMES)), np.asarray(source.mask)) for source in subset])
        count = max(1, round(num_train / parts))
        minimum = min(MIN_IMAGES_PER_CLASS, count // len(CLASS_NAMES))
        chosen, _ = balanced_subset(present, count, minimum, seed=seed, class_names=CLASS_NAMES[1:])
        subset = [subset[i] for i in chosen]
        splits[name] = Split(("train",), [source.id for source in subset])
    return write_dataset(
        output_dir,
        "shapes",
        pools,
        class_names=CLASS_NAMES,
        colors=voc_colors(len(CLASS_NAMES)),
        labels=LabelMap(lookup_table(len(CLASS_NAMES))),
        splits=splits,
        num_shards=num_shards,
        seed=seed,
        workers=workers,
        boxes_from_masks=boxes_from_masks,
        overwrite=overwrite,
        provenance={
            "source": "wss.conversion.shapes",
            "size": size,
            "scene_seed": seed,
            **({"single": True} if single else {}),
        },
    )


def _source(seed: int, index: int, size: int, single: bool) -> Source:
    image, mask = generate(seed, index, size, single=single)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return Source(f"shapes_{index:05d}", buffer.getvalue(), mask)


# Forms: inside or not, for coordinates in which the object's radius is 1.


def _disk(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) < 0.9


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) < 0.78


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum.reduce([-y, y / 2 + x * 0.866, y / 2 - x * 0.866]) < 0.52


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.72) < 0.24


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 0.95)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    turn = (np.arctan2(y, x) * 5 / (2 * np.pi)) % 1
    return np.hypot(x, y) < 0.48 + 0.57 * abs(2 * turn - 1) ** 1.3


FORMS: tuple[Callable, ...] = (_disk, _square, _triangle, _ring, _cross, _star)


def _textures(x: np.ndarray, y: np.ndarray, period: float) -> tuple[np.ndarray, ...]:
    """Returns values in -1 .. 1 of each texture: plain, stripes, checker, dots, rays, waves, one typical of each class."""
    u, v = x * 2 * np.pi / period, y * 2 * np.pi / period
    return (
        np.zeros_like(u),
        np.sign(np.sin(u)),
        np.sign(np.sin(u) * np.sin(v)),
        np.where(np.cos(u) + np.cos(v) > 0.8, 1.0, -0.4),
        np.sign(np.sin(np.arctan2(y, x) * 6)),
        np.sin(u + 1.5 * np.sin(v)),
    )


def _draw_object(
    rng: np.random.Generator,
    canvas: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    size: int,
    *,
    radii: tuple[float, float],
    first: bool,
) -> None:
    kind = int(rng.integers(len(FORMS)))
    radius = rng.uniform(*radii) * size
    center = rng.uniform(0.6 * radius, size - 0.6 * radius, 2)
    x, y = _rotated(grid, center, rng.uniform(0, 2 * np.pi))
    inside = FORMS[kind](x / radius, y / radius)
    # An object hides a part of an earlier one, never most of it: what is labelled can be recognised.
    if not first and (mask[inside] > 0).mean() > MAX_OVERLAP:
        return
    hue = kind / len(FORMS) if rng.random() < PREFERRED_HUE_PROBABILITY else rng.random()
    texture = kind if rng.random() < PREFERRED_TEXTURE_PROBABILITY else int(rng.integers(len(FORMS)))
    color = _color(rng, hue + rng.normal(0, HUE_SPREAD), OBJECT_SATURATION)
    _paint(rng, canvas, inside, color, (x, y), texture)
    mask[inside] = kind + 1
    if VOID_BORDER:
        mask[inside & _dilated(~inside)] = IGNORE


def _draw_clutter(rng: np.random.Generator, canvas: np.ndarray, grid: Grid, size: int) -> None:
    """Draws a line, a lens, a lump or a wedge: colours and textures of objects, forms of none."""
    x, y = _rotated(grid, rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi))
    radius = rng.uniform(0.05, 0.2) * size
    bends, turn = rng.uniform(0.2, 0.35), rng.uniform(0, 2 * np.pi)
    angle = np.arctan2(y, x)
    forms = (
        (abs(y + rng.uniform(0, 0.2) * radius * np.sin(x / radius * 3)) < rng.uniform(0.01, 0.03) * size),
        (x / (2.2 * radius)) ** 2 + (y / (0.45 * radius)) ** 2 < 1,
        np.hypot(x, y) < radius * (0.7 + bends * np.sin(2 * angle + turn) + bends * np.sin(3 * angle)),
        (abs(y) < 0.3 * radius) & (abs(x) < 1.6 * radius) & (x > -y * 3),
    )
    inside = forms[rng.integers(len(forms))]
    color = _color(rng, rng.random(), CLUTTER_SATURATION)
    _paint(rng, canvas, inside, color, (x, y), int(rng.integers(len(FORMS))))


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, inside: np.ndarray, color: np.ndarray, at: Grid, texture: int
) -> None:
    x, y = at[0][inside], at[1][inside]
    pattern = _textures(x, y, rng.uniform(5, 10))[texture]
    shade = 1 + rng.uniform(*TEXTURE_CONTRAST) * pattern + rng.uniform(-0.01, 0.01) * x
    canvas[inside] = color * shade[:, None]


def _background(rng: np.random.Generator, grid: Grid, size: int) -> np.ndarray:
    base = _smooth_noise(rng, size, int(rng.integers(3, 7)), 3) * rng.uniform(0.3, 0.6) + rng.uniform(0.2, 0.5)
    x, y = _rotated(grid, (size / 2, size / 2), rng.uniform(0, 2 * np.pi))
    base += (x / size)[..., None] * rng.uniform(-0.3, 0.3, 3)
    if rng.random() < 0.6:
        pattern = _textures(x, y, rng.uniform(4, 16))[rng.integers(1, len(FORMS))]
        base *= 1 + rng.uniform(0.05, 0.3) * (pattern * _smooth_noise(rng, size, 4, 1)[..., 0])[..., None]
    return 255 * np.clip(base, 0, 1)


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Adds light, contrast, a soft lens and a noisy sensor."""
    light = 1 + rng.uniform(0, 0.35) * (_smooth_noise(rng, len(canvas), 3, 1) - 0.5) * 2
    canvas = (canvas * light - 127.5) * rng.uniform(0.65, 1.15) + 127.5 + rng.uniform(-25, 25)
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    noise = rng.normal(0, rng.uniform(*NOISE), canvas.shape)
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, size: int, cells: int, channels: int) -> np.ndarray:
    """Returns float64 [size, size, channels] in 0 .. 1, bicubic between `cells` random values a side."""
    coarse = (rng.random([cells, cells, channels]) * 255).astype(np.uint8)
    layers = [Image.fromarray(coarse[..., c]).resize((size, size), Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(layer) for layer in layers], -1) / 255.0


def _color(rng: np.random.Generator, hue: float, saturation: tuple[float, float]) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(0.45, 0.95)))


def _rotated(grid: Grid, center, angle: float) -> Grid:
    x, y = grid[0] - center[0], grid[1] - center[1]
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _dilated(inside: np.ndarray) -> np.ndarray:
    padded = np.pad(inside, 1, mode="edge")
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | inside
