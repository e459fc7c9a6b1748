"""Shows what several runs predict for the same images."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from wss.evaluation.evaluation import default_split
from wss.experiment import open_run
from wss.inference.photos import SplitExamples
from wss.visualization.panels import SHEET_ROWS, predictions_of, visualize


def compare_runs(
    folders: Mapping[str, str], output: str | Path, strategy: tf.distribute.Strategy, *, number: int = SHEET_ROWS
) -> None:
    """Shows what several runs predict for the same images, and the maps behind the prediction of the last.

    Args:
        folders: Run directories by title, all trained on one data set.
        output: Folder for the pictures, see `visualize`.
        strategy: Strategy to run under.
        number: Number of images, the first of the evaluation split.
    """
    others = {}
    for title, folder in folders.items():
        run = open_run(folder, [], strategy, folded=True)
        examples = SplitExamples(run.info, default_split(), run.model.padding, number=number)
        others[title] = predictions_of(run.model, examples)
    del others[title]
    visualize(run.model, run.method, run.info, examples=examples, output=output, before=others, title=title)
