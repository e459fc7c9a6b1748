"""A page of masks from boxes: photo with boxes, both masks, where they agree, and the truth if there is one."""

import itertools

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image

from wss.data.boxes import listed
from wss.data.companions import parse_second_mask
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.record_files import split_records
from wss.visualization.boxes import draw_boxes
from wss.visualization.layout import LARGEST_TILE, classes_in, panel_grid, with_legend
from wss.visualization.overlays import Columns, overlay
from wss.visualization.picture_files import save_png

PANELS = "panels.png"
ROWS = 12


def draw_panels(
    path: epath.Path, labeled: DatasetInfo, *, split: str, original: DatasetInfo, original_split: str
) -> None:
    """Draws the first photos of a data set of `wss-label --policy=boxes`.

    Args:
        path: Picture to write.
        labeled: The data set of the masks.
        split: Its split.
        original: The data set that was labelled, with true masks if there are any.
        original_split: The split of it, with the same photos in the same order.
    """
    rows: list[Columns] = []
    names, classes = [], set()
    pairs = zip(split_records(labeled, split), split_records(original, original_split), strict=True)
    for record, before in itertools.islice(pairs, ROWS):
        name, columns, shown = _row(record, before, labeled)
        rows.append(columns)
        names.append(name)
        classes.update(shown)
    save_png(path, with_legend(panel_grid(rows, names), labeled, sorted(classes)))


def _row(record: tf.Tensor, before: tf.Tensor, info: DatasetInfo) -> tuple[str, Columns, list[int]]:
    """Returns name, pictures and classes of one photo."""
    example, true = (
        parse_example(one, info.num_classes, info.has_background, ignore_label=info.ignore_label)
        for one in (record, before)
    )
    second = parse_second_mask(record, tf.shape(example["image"])[:2], info.ignore_label)
    step = -(-max(example["image"].shape) // LARGEST_TILE)
    small = lambda pixels: np.ascontiguousarray(pixels.numpy()[::step, ::step])
    image, first, second = small(example["image"]), small(example["label"][..., 0]), small(second[..., 0])
    boxed = Image.fromarray(image)
    draw_boxes(boxed, listed(parse_boxes(record)), info)
    masks = {"Y_crf": first, "Y_ret": second, "where both agree": np.where(first == second, first, info.ignore_label)}
    if true["has_mask"]:
        masks["truth"] = small(true["label"][..., 0])
    columns = [("boxes", np.asarray(boxed)), *((title, overlay(image, mask, info)) for title, mask in masks.items())]
    return example["name"].numpy().decode(), columns, classes_in(masks.values())
