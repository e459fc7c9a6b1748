"""Resuming a run: its newest readable checkpoint is taken if everything fits, before anything is written."""

import sys

from wss.errors import UserError
from wss.run_directory import RunDirectory
from wss.training.checkpoints import Checkpoints, newest_readable
from wss.training.run_record import RunRecord, changed_parameters, check_network, in_words


def resume(run: RunDirectory, checkpoints: Checkpoints, now: RunRecord, *, num_steps: int) -> RunRecord | None:
    """Takes the values of a run's newest readable checkpoint, if it has one.

    Args:
        run: The run.
        checkpoints: What takes the values.
        now: The record that a training would begin with.
        num_steps: Optimizer steps of the whole run.

    Returns:
        The record of the run that goes on; None for a run that begins.

    Raises:
        UserError: There are checkpoints of which none is readable, or what was trained does not fit.
    """
    saved = newest_readable(run)
    if saved is None:
        if run.weights.is_file():
            raise UserError(
                f"{run.path}: has a trained {run.weights.name}, but no checkpoint to go on from; give another --run_dir"
            )
        return None
    before = RunRecord.read(run)
    if before:
        before.check_classes(run, now)
    changed = changed_parameters(run)
    check_network(run, changed)
    try:
        checkpoints.restore(saved)
    except UserError as error:
        others = f"; {in_words(changed)}" if changed else ""
        raise UserError(
            f"{error}{others}; give the parameters that {run.path} was trained with, or another --run_dir"
        ) from error
    if num_steps < saved.step:
        raise UserError(
            f"train.num_steps = {num_steps}: {run.path} has {saved.step} steps already; expected as many or more, or "
            "another --run_dir"
        )
    print(f"resuming {run.path} after {saved.step} of {num_steps} steps")
    before = before or now
    changed |= before.images_changed(now)
    if changed:
        print(f"{run.path}: changed since it began: {in_words(changed)}", file=sys.stderr)
    return before.going_on(now, saved.step, changed)
