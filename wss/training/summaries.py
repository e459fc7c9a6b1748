"""Writes for TensorBoard the scalars of the loop, and what the first images of a batch look like."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from wss.data.dataset_info import DatasetInfo
from wss.methods.base import Figure
from wss.visualization.layout import panel
from wss.visualization.overlays import colorize, heatmap


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
        for event in EventFileLoader(str(file)).Load():  # up to what a run that goes on has not yet written
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return {name: dict(sorted(by_step.items())) for name, by_step in found.items()}


def write_figures(
    writer: tf.summary.SummaryWriter, figures: Sequence[Figure], info: DatasetInfo, *, step: int, number: int = 2
) -> None:
    """Writes panels of the first images of a batch.

    Args:
        writer: Writer of the run.
        figures: The columns, see `Method.training_figures`.
        info: The data set; it gives the colours.
        step: The number of finished steps.
        number: Number of panels at most.
    """
    with writer.as_default():
        for index in range(min(number, figures[0].values.shape[0])):
            columns = [(figure.title, _tile(figure.kind, figure.values[index].numpy(), info)) for figure in figures]
            tf.summary.image(f"training/{index}", panel(columns)[None], step)


def _tile(kind: str, value: np.ndarray, info: DatasetInfo) -> np.ndarray:
    if kind == "image":
        return np.clip(value, 0, 255).astype(np.uint8)
    if kind == "label":
        return colorize(value[..., 0], info)
    if kind == "heat":
        return heatmap(value.max(axis=-1))
    return colorize(value.argmax(axis=-1), info)
