"""Files of weights in Keras' format, `.weights.h5`."""

import tempfile
import warnings
from pathlib import Path

import keras

from wss.errors import UserError
from wss.run_directory import RunDirectory


def save_weights(model: keras.Model, run: RunDirectory) -> None:
    """Writes a run's weights, whole or not at all. All processes call it, since reading statistics is collective."""
    with tempfile.TemporaryDirectory() as unused:
        temporary = (run.path if run.writes else Path(unused)) / f"new.{run.weights.name}"
        model.save_weights(temporary)
        if run.writes:
            temporary.replace(run.weights)


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Reads a file of weights into a model of the same configuration.

    Raises:
        UserError: The weights are of another model, or the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file does not have.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: does not fit this model (backbone, classes, width?): {reason}") from error
