"""Finished runs of seconds."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tiny import bindings

from wss import experiment


def trained_with_class(name: str, records: Path, folder: Path, parameters: dict, more: Sequence[str] = ()) -> Path:
    """Returns the folder of a run on a copy of records whose class 1 has another name.

    Args:
        name: Name of the class.
        records: Folder of the data set.
        folder: Folder for the copy and the run.
        parameters: Such as `tiny.SMALL`.
        more: Further gin bindings.
    """
    data = shutil.copytree(records, folder / "data")
    content = json.loads((data / "dataset.json").read_text())
    content["class_names"][1] = name
    (data / "dataset.json").write_text(json.dumps(content))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    experiment.run([], [*bindings(parameters, data), *more], folder / "run", strategy=strategy)
    return folder / "run"
