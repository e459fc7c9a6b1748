"""TensorBoard: scalars of the loop, and what the first images of a batch look like."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.visualization.layout import panel
from wss.visualization.overlays import colorize, heatmap

TITLES = {"cam": "CAM", "sgc": "SGC", "pseudo_label": "pseudo label", "strong": "strong view"}


def write_scalars(writer: tf.summary.SummaryWriter, scalars: dict[str, float], step: int) -> None:
    """Writes scalars by name."""
    with writer.as_default():
        for name, value in scalars.items():
            tf.summary.scalar(name, value, step)


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Returns value by step by name of what `write_scalars` wrote to event files of a folder; none if there is none.

    Of a step that a resumed run took again the newest value counts.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events*"), key=os.path.getmtime):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return {name: dict(sorted(by_step.items())) for name, by_step in found.items()}


def write_pictures(
    writer: tf.summary.SummaryWriter, pictures: dict[str, tf.Tensor], info: DatasetInfo, step: int, number: int = 2
) -> None:
    """Writes panels of the first `number` images of a batch.

    Args:
        pictures: what `Method.pictures` returns: "image" and "strong" [B, H, W, 3] in 0 .. 255, "label" [B, H, W, 1],
            "cam" [B, h, w, K] in 0 .. 1, anything else class probabilities [B, h, w, C].
        info: gives colours.
    """
    with writer.as_default():
        for index in range(min(number, pictures["image"].shape[0])):
            columns = [
                (TITLES.get(name, name), _tile(name, value[index].numpy(), info)) for name, value in pictures.items()
            ]
            tf.summary.image(f"training/{index}", panel(columns)[None], step)


def _tile(name: str, value: np.ndarray, info: DatasetInfo) -> np.ndarray:
    if name in ("image", "strong"):
        return np.clip(value, 0, 255).astype(np.uint8)
    if name == "label":
        return colorize(value[..., 0], info)
    if name == "cam":
        return heatmap(value.max(axis=-1))
    return colorize(value.argmax(axis=-1), info)
