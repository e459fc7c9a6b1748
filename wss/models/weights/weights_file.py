"""Files of weights in Keras' format, `.weights.h5`."""

import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

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


def save_weights(
    model: keras.Model,
    run: RunDirectory,
    path: Path | None = None,
    attributes: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Writes weights of a run, whole or not at all. All processes call it, since reading statistics is collective.

    Args:
        model: The network.
        run: The run.
        path: The file, in the folder of the run; None takes that of the finished run.
        attributes: What the file says of itself, see `write_weights`.

    Raises:
        WriteError: They cannot be written.
    """
    path = path or run.weights
    if run.writes:
        write_weights(model, path, attributes)
        return
    with tempfile.TemporaryDirectory() as unused:
        model.save_weights(Path(unused) / path.name)


def write_weights(model: keras.Model, path: Path, attributes: Mapping[str, float] = MappingProxyType({})) -> None:
    """Writes weights to a `.weights.h5`, whole or not at all.

    Args:
        model: The network.
        path: The file.
        attributes: Numbers by name that the file says of itself, as attributes of its root.

    Raises:
        WriteError: They cannot be written.
    """
    with write_errors(path), whole(epath.Path(path), suffix=SUFFIX) as temporary:
        _check_room(temporary, weights_bytes(model))
        model.save_weights(str(temporary))
        if attributes:
            with h5py.File(temporary, "r+") as content:
                content.attrs.update(attributes)


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
