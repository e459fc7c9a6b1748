"""What a run directory holds, and how a run is saved, resumed and read back.

<run_dir>/operative_config.gin     every gin parameter that was in force
<run_dir>/checkpoints/             for resuming: weights, optimizer, random state
<run_dir>/model.weights.h5         the trained weights for everybody else, with stable names (averaged ones if on)
<run_dir>/train/, eval/            TensorBoard
<run_dir>/eval_<split>.json        the last evaluation
"""

import tempfile
import warnings
import weakref
from pathlib import Path

import gin
import keras
import tensorflow as tf

from wss.errors import UserError
from wss.files import write_text

CHECKPOINTS_NAME = "checkpoints"
CONFIG_NAME = "operative_config.gin"
WEIGHTS_NAME = "model.weights.h5"


class RunDirectory:
    """Paths and files of one run.

    Args:
        path: the run directory; made if absent.
        writes: whether this process writes (the chief does).
    """

    def __init__(self, path: str | Path, writes: bool = True):
        self.path = Path(path)
        self.writes = writes

    def save_config(self) -> None:
        """Writes the operative gin configuration."""
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / CONFIG_NAME, gin.operative_config_str(max_line_length=120))

    def save_weights(self, model: keras.Model) -> None:
        """Writes `model.weights.h5`, whole or not at all. All processes call it: reading statistics is collective."""
        with tempfile.TemporaryDirectory() as unused:
            temporary = (self.path if self.writes else Path(unused)) / f"new.{WEIGHTS_NAME}"
            model.save_weights(temporary)
            if self.writes:
                temporary.replace(self.path / WEIGHTS_NAME)

    @property
    def latest_checkpoint(self) -> str | None:
        """Prefix of the last checkpoint, such as "<run_dir>/checkpoints/ckpt-1000"."""
        return tf.train.latest_checkpoint(str(self.path / CHECKPOINTS_NAME))

    @property
    def has_weights(self) -> bool:
        return (self.path / WEIGHTS_NAME).is_file()

    def load_weights(self, model: keras.Model) -> None:
        """Reads `model.weights.h5` into a model of the same configuration."""
        load_weights(model, self.path / WEIGHTS_NAME)


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Loads a `.weights.h5`; weights of another model are a `UserError`."""
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file does not have.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: does not fit this model (backbone, classes, width?): {reason}") from error


def checkpoint_manager(checkpoint: tf.train.Checkpoint, run: RunDirectory, keep: int) -> tf.train.CheckpointManager:
    """Returns a manager of the run's checkpoints.

    Saving is collective, so processes that do not write save too, to a folder that is thrown away.
    """
    if run.writes:
        return tf.train.CheckpointManager(checkpoint, str(run.path / CHECKPOINTS_NAME), max_to_keep=keep)
    unused = tempfile.TemporaryDirectory()
    manager = tf.train.CheckpointManager(checkpoint, unused.name, max_to_keep=1)
    weakref.finalize(manager, unused.cleanup)
    return manager
