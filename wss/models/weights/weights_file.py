"""Files of weights in Keras' format, `.weights.h5`."""

import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import tensorflow as tf
from etils import epath

from wss.errors import UserError
from wss.files import reason_of, whole, write_errors
from wss.models.weights.checkpoint_files import non_finite
from wss.run_directory import RunDirectory

SUFFIX = ".weights.h5"
HEADER_BYTES = 8192  # of a variable, at most


def save_weights(model: keras.Model, run: RunDirectory) -> None:
    """Writes a run's weights, whole or not at all. All processes call it, since reading statistics is collective.

    Raises:
        WriteError: They cannot be written.
    """
    if run.writes:
        write_weights(model, run.weights)
        return
    with tempfile.TemporaryDirectory() as unused:
        model.save_weights(Path(unused) / run.weights.name)


def write_weights(model: keras.Model, path: Path) -> None:
    """Writes weights to a `.weights.h5`, whole or not at all.

    Raises:
        WriteError: They cannot be written.
    """
    with write_errors(path), whole(epath.Path(path), suffix=SUFFIX) as temporary:
        _check_room(temporary, weights_bytes(model))
        model.save_weights(str(temporary))


def weights_bytes(model: keras.Model) -> int:
    """Returns how many bytes a file of weights takes at most; from the shapes, since to read values is collective."""
    return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size + HEADER_BYTES for v in model.variables)


def _check_room(path: epath.Path, size: int) -> None:
    """Takes `size` bytes of the disk for a moment: HDF5 crashes the process if the disk is full in the middle of a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
        path.unlink()


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Reads a file of weights into a model of the same configuration.

    Raises:
        UserError: The weights are of another model or not finite, or the file cannot be read.
    """
    check_h5(path)
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file does not have.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: does not fit this model (backbone, classes, width?): {reason}") from error
    if name := non_finite(named_variables(model)):
        raise UserError(f"{path}: {name} is not finite (NaN or infinity); train again from a good checkpoint")


def named_variables(model: keras.Model) -> Iterator[tuple[str, tf.Variable]]:
    """Yields each variable of a network with its path."""
    return ((variable.path, variable.value) for variable in model.variables)


def check_h5(path: str | Path) -> None:
    """Reads a HDF5 file from end to end.

    Raises:
        UserError: It is none, cut off or damaged.
    """

    def read(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            item[()]

    try:
        with h5py.File(path) as content:
            content.visititems(read)
    except Exception as error:  # h5py raises nearly anything on damaged files
        what = "cut off (truncated)" if "truncated" in str(error) else "not a readable .weights.h5"
        raise UserError(f"{path}: {what}: {reason_of(error)}") from error
