"""Pictures of what a model makes of images: masks, overlays and panels, for a split or a folder of photos."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.masks import check_masks_hold
from wss.inference.photos import Examples, Photo, run_examples
from wss.inference.pipelining import in_threads
from wss.inference.prediction import label_at_size, predict, predict_and_explain, to_image_size
from wss.methods.base import Figure, Method
from wss.models.deeplab import DeepLab
from wss.ops.dense_crf import CRFSettings
from wss.progress import format_seconds, track
from wss.visualization.layout import classes_in, panel, panel_grid, with_legend
from wss.visualization.overlays import Columns, example_columns, overlay
from wss.visualization.picture_files import save_index_png, save_png

SHEET_ROWS = 12


def predictions_of(model: DeepLab, examples: Examples) -> dict[str, np.ndarray]:
    """Returns the class ids, int32 [height, width], of each example by its name."""

    @tf.function
    def step(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"prediction": tf.argmax(predict(model, images), axis=-1, output_type=tf.int32)}

    return {e.name: _cut(outputs["prediction"], e) for e, outputs in run_examples(step, examples)}


def visualize(
    model: DeepLab,
    method: Method,
    info: DatasetInfo,
    *,
    examples: Examples,
    output: str | Path,
    before: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    title: str = "prediction",
    crf: CRFSettings | None = None,
) -> None:
    """Writes masks/<name>.png, overlays/<name>.png, panels/<name>.png and panels.png, a sheet of the first rows.

    A mask has the photo's own size, class ids as values and a palette; the others have the size that the network sees.

    Threads draw and write while the network works on the next batch.

    Args:
        model: Network of the run.
        method: Method of the run; it says what can be shown.
        info: The data set, for colours and names.
        examples: Images to show.
        output: Folder for the pictures.
        before: Further columns by title, such as predictions of another model: class ids [height, width] by name of the
            example.
        title: Title of the column of the prediction.
        crf: Parameters of a dense CRF that refines the prediction; None without one.

    Raises:
        UserError: There are more classes than a mask has values, see `check_masks_hold`.
        WriteError: A picture cannot be written; those that are there are whole.
    """
    check_masks_hold(info.num_classes, info.directory or info.name)
    output, start = Path(output), time.monotonic()
    drawing = _Drawing(info, output, before or {}, title)
    rows: list[Columns] = []
    names: list[str] = []
    classes: set[int] = set()
    drawn = in_threads(drawing, explained(model, method, examples, crf=crf))
    for name, columns, shown in track(drawn, "drawing", len(examples)):
        if len(rows) < SHEET_ROWS:
            rows.append(columns)
            names.append(name)
            classes.update(shown)
    save_png(output / "panels.png", with_legend(panel_grid(rows, names), info, sorted(classes)))
    seconds = time.monotonic() - start
    print(
        f"{output}: masks, overlays and panels of {len(examples)} images in {format_seconds(seconds)} "
        f"({len(examples) / max(seconds, 1e-9):.1f} images/s); panels.png shows the first {len(rows)}"
    )


def explained(
    model: DeepLab, method: Method, examples: Examples, *, crf: CRFSettings | None = None
) -> Iterator[tuple[Photo, dict[str, np.ndarray]]]:
    """Yields each example with its prediction and the maps behind it, see `columns_of`.

    Args:
        model: Network of the run.
        method: Method of the run.
        examples: Images to show.
        crf: See `visualize`.
    """

    @tf.function
    def step(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, maps = predict_and_explain(model, method, images, sizes, crf=crf)
        prediction = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {"prediction": prediction, **{figure.title: shown(figure) for figure in maps}}

    yield from run_examples(step, examples)


def columns_of(
    example: Photo,
    outputs: Mapping[str, np.ndarray],
    info: DatasetInfo,
    *,
    before: Mapping[str, np.ndarray] | None = None,
    title: str = "prediction",
) -> Columns:
    """Returns the pictures of one example: itself, truth, predictions, maps.

    Args:
        example: The example.
        outputs: What `explained` yields with it.
        info: The data set.
        before: Further class ids [height, width] by title, which come first.
        title: Title of the prediction.
    """

    def maps() -> Iterator[tuple[str, np.ndarray]]:
        """Yields titles and maps one after the other: probabilities at image size take much memory."""
        yield from (before or {}).items()
        size = outputs["prediction"].shape
        for name, values in outputs.items():
            if name == "prediction":
                yield title, _cut(values, example)
            else:
                yield name, _cut(to_image_size(values, size), example)

    return example_columns(example.image, info, example.label, maps=maps())


class _Drawing:
    """Drawing and writing the pictures of one example, from several threads."""

    def __init__(self, info: DatasetInfo, output: Path, before: Mapping[str, Mapping[str, np.ndarray]], title: str):
        self.info, self.output, self.before, self.title = info, output, before, title

    def __call__(self, predicted: tuple[Photo, dict[str, np.ndarray]]) -> tuple[str, Columns, list[int]]:
        """Returns the example's name, its columns, and the classes that truth and prediction show."""
        example, outputs = predicted
        prediction = _cut(outputs["prediction"], example)
        shown = classes_in([prediction] + ([] if example.label is None else [example.label]))
        before = {title: by_name[example.name] for title, by_name in self.before.items()}
        columns = columns_of(example, outputs, self.info, before=before, title=self.title)
        at_own_size = label_at_size(prediction.astype(np.uint8), example.own_size or prediction.shape)
        save_index_png(self._path("masks", example), at_own_size, self.info)
        self._save("overlays", example, overlay(example.image, prediction, self.info))
        self._save("panels", example, with_legend(panel(columns, example.name), self.info, shown))
        return example.name, columns, shown

    def _save(self, kind: str, example: Photo, picture: np.ndarray) -> None:
        save_png(self._path(kind, example), picture)

    def _path(self, kind: str, example: Photo) -> Path:
        return self.output / kind / f"{example.name}.png"


def shown(figure: Figure) -> tf.Tensor:
    """Returns what a map shows: heat [B, h, w, 1], or probabilities [B, h, w, C]."""
    return tf.reduce_max(figure.values, axis=-1, keepdims=True) if figure.kind == "heat" else figure.values


def _cut(values: np.ndarray, example: Photo) -> np.ndarray:
    height, width = example.image.shape[:2]
    return values[:height, :width]
