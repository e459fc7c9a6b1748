"""Checkpoints, from which a run goes on: listed by their numbers, the newest readable one is taken."""

import contextlib
import dataclasses
import logging
import re
import sys
import tempfile
import textwrap
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from wss.errors import UserError
from wss.files import WriteError, reason_of, remove_temporaries, write_errors, write_text
from wss.models.weights.checkpoint_files import damage_of, literal_prefix
from wss.models.weights.tf1_checkpoint import state_text
from wss.run_directory import RunDirectory

_FILE = re.compile(r"(ckpt-(\d+))\.(?:index|data-\d+-of-\d+)")


@dataclasses.dataclass(frozen=True, order=True)
class SavedCheckpoint:
    """A checkpoint on disk.

    Attributes:
        step: Number of finished steps.
        prefix: Prefix of its files, such as "<run_dir>/checkpoints/ckpt-1000".
    """

    step: int
    prefix: Path


def saved_checkpoints(run: RunDirectory) -> list[SavedCheckpoint]:
    """Returns all checkpoints of which a run has a file, the newest first; TensorFlow's state file is not needed.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        names = [path.name for path in run.checkpoints.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{run.checkpoints}: cannot be read ({error.strerror}); expected a folder") from error
    found = {match[1]: int(match[2]) for name in names if (match := _FILE.fullmatch(name))}
    return sorted((SavedCheckpoint(step, run.checkpoints / name) for name, step in found.items()), reverse=True)


def newest_readable(run: RunDirectory) -> SavedCheckpoint | None:
    """Returns the newest checkpoint that is whole and finite; says a line for each newer one that is not.

    Raises:
        UserError: There are checkpoints, but none can be read.
    """
    damaged: dict[Path, str] = {}
    for saved in saved_checkpoints(run):
        damage = damage_of(saved.prefix)
        if not damage:
            for prefix, reason in damaged.items():
                print(f"{prefix}: damaged ({reason}); {saved.prefix.name} is taken", file=sys.stderr)
            return saved
        damaged[saved.prefix] = damage
    if damaged:
        reasons = "; ".join(f"{prefix.name}: {reason}" for prefix, reason in damaged.items())
        raise UserError(
            f"{run.checkpoints}: no readable checkpoint ({reasons}); restore the files, or give another --run_dir to "
            "begin anew"
        )
    return None


class Checkpoints:
    """The checkpoints of a training, of which the last few are kept.

    Saving is collective, so processes that do not write save too, to a folder that is thrown away.

    Args:
        parts: What is saved, by name.
        run: The run; it has the folder.
        keep: Number of the last checkpoints that are kept.
    """

    def __init__(self, parts: Mapping[str, tf.Module], run: RunDirectory, keep: int):
        self._checkpoint = tf.train.Checkpoint(**parts)
        self._run, self._keep = run, keep
        self._folder = run.checkpoints
        self._at: int | None = None  # step of the checkpoint that has what is in memory
        if not run.writes:
            unused = tempfile.TemporaryDirectory()
            self._folder = Path(unused.name)
            weakref.finalize(self, unused.cleanup)

    @property
    def last(self) -> Path | None:
        """The prefix of the checkpoint that was saved or restored last; None before."""
        return None if self._at is None else self._run.checkpoints / f"ckpt-{self._at}"

    def save(self, step: int) -> None:
        """Writes the checkpoint of a step, unless it is the last one saved or restored, and removes the oldest.

        Raises:
            WriteError: It cannot be written; the older ones are whole.
        """
        if step == self._at:
            return
        self._checkpoint.save_counter.assign_add(1)
        prefix = self._folder / f"ckpt-{step}"
        last = f"{self.last.name} is whole" if self.last else "it is the first"
        try:
            with write_errors(prefix, f"{last}; make room, then the same command goes on"):
                self._checkpoint.write(str(prefix))
        except WriteError:
            remove_temporaries(self._folder)
            self._remove(prefix.name)
            raise
        self._at = step
        self._remove_oldest(step)

    def restore(self, saved: SavedCheckpoint) -> None:
        """Takes all values from a checkpoint that was found readable.

        Raises:
            UserError: It does not fit.
        """
        with _readable(saved) as prefix:
            status = self._checkpoint.restore(prefix)
            try:
                status.assert_consumed()
            except AssertionError:
                status.expect_partial()  # TensorFlow would say at the end of the process what is said here
                raise
        self._at = saved.step

    def _remove_oldest(self, step: int) -> None:
        """Keeps the last checkpoints up to `step`; what is newer was found damaged, and is not counted."""
        if not self._run.writes:
            return
        saved = [found for found in saved_checkpoints(self._run) if found.step <= step]
        for old in saved[self._keep :]:
            self._remove(old.prefix.name)
        write_text(self._folder / "checkpoint", state_text([found.prefix.name for found in saved[: self._keep]][::-1]))

    def _remove(self, name: str) -> None:
        for file in self._folder.glob("ckpt-*"):
            if (match := _FILE.fullmatch(file.name)) and match[1] == name:
                file.unlink(missing_ok=True)


def restore_parts(parts: Mapping[str, tf.Module], saved: SavedCheckpoint) -> None:
    """Takes the values of some parts from a checkpoint that was found readable.

    Raises:
        UserError: It does not have them.
    """
    with _readable(saved) as prefix:
        tf.train.Checkpoint(**parts).restore(prefix).expect_partial().assert_existing_objects_matched()


@contextlib.contextmanager
def _readable(saved: SavedCheckpoint) -> Iterator[str]:
    """Yields the prefix to restore from; what does not fit becomes a `UserError`."""
    try:
        with literal_prefix(saved.prefix) as prefix:
            yield prefix
    except (ValueError, AssertionError, KeyError, tf.errors.OpError) as error:
        # When the half-restored object goes, TensorFlow would list what it lacks, over many lines.
        tf.get_logger().addFilter(_is_not_of_restoring)
        reason = textwrap.shorten(reason_of(error), 120, placeholder=" ...")
        raise UserError(f"{saved.prefix}: does not fit what is to be trained ({reason})") from error


def _is_not_of_restoring(record: logging.LogRecord) -> bool:
    return "/checkpoint/" not in record.pathname
