"""Checkpoints, from which a run goes on."""

import tempfile
import weakref

import tensorflow as tf

from wss.run_directory import RunDirectory


def latest_checkpoint(run: RunDirectory) -> str | None:
    """Returns the prefix of a run's last checkpoint, such as "<run_dir>/checkpoints/ckpt-1000"; None without one."""
    return tf.train.latest_checkpoint(str(run.checkpoints))


def checkpoint_manager(checkpoint: tf.train.Checkpoint, run: RunDirectory, keep: int) -> tf.train.CheckpointManager:
    """Returns a manager of the run's checkpoints, which keeps the last `keep`.

    Saving is collective, so processes that do not write save too, to a folder that is thrown away.
    """
    if run.writes:
        return tf.train.CheckpointManager(checkpoint, str(run.checkpoints), max_to_keep=keep)
    unused = tempfile.TemporaryDirectory()
    manager = tf.train.CheckpointManager(checkpoint, unused.name, max_to_keep=1)
    weakref.finalize(manager, unused.cleanup)
    return manager
