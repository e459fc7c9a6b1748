"""Files of a TensorFlow checkpoint: found and read by their literal path, checked before a network takes their values."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.files import reason_of

_PATTERN = re.compile(r"[\[\]*?\\]")
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What TensorFlow's reader raises on files that are missing, cut or changed.
UNREADABLE = (tf.errors.OpError, RuntimeError, ValueError, IndexError, OSError)


@contextlib.contextmanager
def literal_prefix(prefix: Path | str) -> Iterator[str]:
    """Yields a prefix under which TensorFlow finds a checkpoint; it takes `[`, `*` and `?` in a path for patterns.

    Args:
        prefix: Prefix of the checkpoint's files.
    """
    prefix = Path(prefix)
    if not _PATTERN.search(str(prefix)):
        yield str(prefix)
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in prefix.parent.iterdir():
            if file.name.startswith(prefix.name):
                link = Path(folder) / f"checkpoint{file.name.removeprefix(prefix.name)}"
                link.symlink_to(file.resolve())
        yield str(Path(folder) / "checkpoint")


def read_tensors(prefix: Path | str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and the value of each tensor, sorted by name; one of `UNREADABLE` tells of damage."""
    with literal_prefix(prefix) as literal:
        reader = tf.train.load_checkpoint(literal)
        for name in sorted(reader.get_variable_to_shape_map()):
            yield name, np.asarray(reader.get_tensor(name))


def damage_of(prefix: Path | str) -> str:
    """Returns a few words on what is wrong with a checkpoint, or "": it is read whole, checksums included."""
    if not Path(f"{prefix}.index").is_file():
        return "it has no .index file"
    try:
        for name, value in read_tensors(prefix):
            if not is_finite(value):
                return f"{name.removesuffix(_ATTRIBUTE)} is not finite"
    except UNREADABLE as error:
        return reason_of(error)
    return ""


def is_finite(value: np.ndarray) -> bool:
    """Returns whether an array has no NaN and no infinity; text and integers have none."""
    return value.dtype.kind not in "fV" or bool(np.isfinite(value.astype(np.float32, copy=False)).all())


def non_finite(variables: Iterator[tuple[str, tf.Variable]]) -> str:
    """Returns the name of the first variable with NaN or infinity, or ""; collective, as it reads statistics."""
    for name, variable in variables:
        value = tf.convert_to_tensor(variable)
        if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
            return name
    return ""
