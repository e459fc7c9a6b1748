"""Pictures of what a model makes of images: masks, overlays and panels, for a split or a folder of photos."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import gin
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from wss.data.info import DatasetInfo
from wss.data.pipeline import evaluation_batches, padded_size
from wss.errors import UserError
from wss.evaluation import pictures
from wss.evaluation.inference import explain, predict
from wss.methods.base import Method
from wss.models.deeplab import DeepLab
from wss.progress import track

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SHEET_ROWS = 12


@dataclasses.dataclass(frozen=True)
class Example:
    """One padded image.

    Attributes:
        name: of its files.
        image: float32 [h, w, 3] in 0 .. 255, padded at the bottom and the right.
        size: (height, width) without padding.
        label: int32 [h, w], or None without truth.
    """

    name: str
    image: np.ndarray
    size: tuple[int, int]
    label: np.ndarray | None = None


def split_examples(
    info: DatasetInfo, split: str | None, number: int | None, mean_pixel: tuple[float, float, float]
) -> list[Example]:
    """The first images of a split; None takes the split of the evaluation, or "val"."""
    split = split or gin.get_bindings("Evaluation").get("split", "val")
    batches = evaluation_batches(info, split, 1, mean_pixel).take(number or -1)
    has_masks = info.split(split).num_masks > 0
    return [
        Example(
            batch["name"][0].decode(),
            batch["image"][0],
            tuple(batch["size"][0]),
            batch["label"][0, ..., 0] if has_masks else None,
        )
        for batch in batches.as_numpy_iterator()
    ]


def folder_examples(
    folder: str, number: int | None, max_side: int, mean_pixel: tuple[float, float, float]
) -> list[Example]:
    """Photos of a folder, sorted by name, upright, the longer side at most `max_side`.

    Raises:
        UserError: no folder, no photos in it, or a broken one.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--images={folder}: no such folder")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)[:number]
    if not paths:
        raise UserError(f"--images={folder}: no photos in it, expected {', '.join(SUFFIXES)}")
    photos = [_read_photo(path, max_side) for path in paths]
    height, width = padded_size((max(p.shape[0] for p in photos), max(p.shape[1] for p in photos)))
    examples = []
    for path, photo in zip(paths, photos, strict=True):
        image = np.tile(np.array(mean_pixel, np.float32), (height, width, 1))
        image[: photo.shape[0], : photo.shape[1]] = photo
        examples.append(Example(path.stem, image, photo.shape[:2]))
    return examples


def predictions_of(model: DeepLab, examples: Iterable[Example]) -> dict[str, np.ndarray]:
    """Class ids int64 [height, width] of each example, by its name."""
    predict_once = tf.function(lambda images: predict(model, images))
    cut = lambda example, array: array[: example.size[0], : example.size[1]]
    return {e.name: cut(e, predict_once(e.image[None])[0].numpy().argmax(axis=-1)) for e in examples}


def visualize(
    model: DeepLab,
    method: Method,
    info: DatasetInfo,
    examples: Iterable[Example],
    output: str | Path,
    before: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Writes masks/<name>.png, overlays/<name>.png, panels/<name>.png and panels.png, a sheet of the first rows.

    Args:
        model, method: of the run; the method says what can be shown.
        info: gives colours and names.
        examples: all of one padded size.
        output: folder.
        before: further columns by title, class ids [height, width] by name of the example, such as another model's.
    """
    output = Path(output)
    maps_of = lambda images, valid, _: method.explain(model, images, valid)
    # The prediction is the evaluator's: upsampled before the softmax, unlike the maps.
    explain_once = tf.function(
        lambda images, valid: {**explain(maps_of, images, valid), "prediction": predict(model, images)}
    )
    rows: list[list[tuple[str, np.ndarray]]] = []
    names: list[str] = []
    classes: set[int] = set()
    examples = list(examples)
    for example in track(examples, "drawing"):
        height, width = example.size
        cut = lambda array, h=height, w=width: array[:h, :w]
        valid = np.zeros([1, *example.image.shape[:2], 1], np.float32)
        valid[:, :height, :width] = 1
        maps = {title: cut(value[0].numpy()) for title, value in explain_once(example.image[None], valid).items()}
        maps = {title: value[..., 0] if value.shape[-1] == 1 else value for title, value in maps.items()}
        prediction = maps["prediction"].argmax(axis=-1)
        label = None if example.label is None else cut(example.label)
        further = {title: values[example.name] for title, values in (before or {}).items()}
        columns = pictures.example_columns(
            cut(example.image), info, label, {**further, **maps, "prediction": prediction}
        )
        shown = pictures.classes_in([prediction] + ([] if label is None else [label]))
        save = lambda kind, picture, name=example.name: pictures.save_png(output / kind / f"{name}.png", picture)
        save("masks", pictures.colorize(prediction, info))
        save("overlays", pictures.overlay(cut(example.image), prediction, info))
        save("panels", pictures.with_legend(pictures.panel(columns, example.name), info, shown))
        if len(rows) < SHEET_ROWS:
            rows.append(columns)
            names.append(example.name)
            classes.update(shown)
    sheet = pictures.with_legend(pictures.panel_grid(rows, names), info, sorted(classes))
    pictures.save_png(output / "panels.png", sheet)
    print(f"{output}: masks, overlays and panels of {len(examples)} images; panels.png shows the first {len(rows)}")


def _read_photo(path: Path, max_side: int) -> np.ndarray:
    try:
        with Image.open(path) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
            photo.thumbnail((max_side, max_side))
            return np.asarray(photo)
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from error
