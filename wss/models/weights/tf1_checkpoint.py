"""TensorFlow 1 checkpoints: reading DeepLab's, and writing what DeepLab's tools read."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.errors import UserError
from wss.files import reason_of, write_errors, write_text
from wss.models.weights.checkpoint_files import UNREADABLE, literal_prefix

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the last eight bytes of a LevelDB table
_SLOTS = ("Momentum", "ExponentialMovingAverage", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "Adagrad", "Ftrl", "Ftrl_1")
_COUNTERS = ("global_step", "beta1_power", "beta2_power", "learning_rate")


def is_bookkeeping(name: str) -> bool:
    """Returns whether a variable is an optimizer's slot, a moving average of another variable or a step counter."""
    last = name.rsplit("/", 1)[-1]
    return last in _SLOTS or last in _COUNTERS


def find_checkpoint(path: str | Path) -> str | None:
    """Returns the prefix of the checkpoint at a prefix, one of its files or a directory; None if there is none.

    Raises:
        UserError: A directory with several checkpoints and no `checkpoint` file that says which is the latest.
    """
    path = Path(path)
    if path.is_dir():
        latest = _latest_by_state(path)
        if latest:
            return latest
        indexed = (str(file.with_suffix("")) for file in path.glob("*.index"))
        found = sorted({*indexed, *map(str, path.glob("*.ckpt"))})
        if len(found) > 1:
            raise UserError(f"{path}: {len(found)} checkpoints in it; give one of {', '.join(found)}")
        return found[0] if found else None
    prefix = path.with_suffix("") if re.fullmatch(r"\.(index|meta|data-\d+-of-\d+)", path.suffix) else path
    if Path(f"{prefix}.index").is_file():
        return str(prefix)
    # TensorFlow-slim's ImageNet checkpoints are of the first format, a single file.
    return str(path) if path.is_file() and path.suffix not in (".npz", ".h5") and _is_first_format(path) else None


def _latest_by_state(folder: Path) -> str | None:
    """Returns the checkpoint that TensorFlow's state file names, if it is there; a damaged state file names none."""
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except UnicodeDecodeError:
        return None
    # Downloaded folders have moved: only the file's name still holds.
    return find_checkpoint(folder / Path(state.model_checkpoint_path).name) if state else None


def _is_first_format(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 8, 0))
        return file.read() == _TABLE_MAGIC


def read_checkpoint(prefix: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads a TensorFlow 1 checkpoint.

    Args:
        prefix: Prefix of its files, such as "model.ckpt-30000".

    Returns:
        {variable name: array}, and the names that were left out because they are bookkeeping.

    Raises:
        UserError: It is no checkpoint, damaged, or one of TensorFlow 2 objects.
    """
    try:
        with literal_prefix(prefix) as literal:
            reader = tf.train.load_checkpoint(literal)
            names = sorted(reader.get_variable_to_shape_map())
            values = {name: reader.get_tensor(name) for name in names if not is_bookkeeping(name)}
    except UNREADABLE as error:
        raise UserError(f"{prefix}: not a readable checkpoint: {reason_of(error)}") from error
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in names:
        raise UserError(f"{prefix}: a checkpoint for resuming a run; give the run's model.weights.h5")
    return values, [name for name in names if name not in values]


def write_checkpoint(prefix: str | Path, values: Mapping[str, np.ndarray], step: int = 0) -> None:
    """Writes a TensorFlow 1 checkpoint with a `global_step`, and the `checkpoint` file that makes it the latest.

    Args:
        prefix: Prefix of its files, such as "model.ckpt-30000"; its folder is made if absent.
        values: Arrays by name of the variable.
        step: Value of `global_step`.

    Raises:
        WriteError: It cannot be written.
    """
    prefix = Path(prefix)
    values = {**values, "global_step": np.array(step, np.int64)}
    names = sorted(values)  # a checkpoint's table must be written in order
    with write_errors(prefix):
        prefix.parent.mkdir(parents=True, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(values[name]) for name in names],
        )
    write_text(prefix.parent / "checkpoint", state_text([prefix.name]))


def state_text(names: Sequence[str]) -> str:
    """Returns TensorFlow's state file of a folder of checkpoints; the last of the names is the latest."""
    lines = [("model_checkpoint_path", names[-1]), *(("all_model_checkpoint_paths", name) for name in names)]
    return "".join(f"{key}: {json.dumps(name, ensure_ascii=False)}\n" for key, name in lines)
