"""Jobs that are done once: each leaves a file that says from which inputs it worked and what it found.

The same work, begun again after a kill, skips what was finished from the same inputs.
"""

import json
from collections.abc import Callable

from etils import epath

from wss.errors import UserError
from wss.files import load_json, write_text
from wss.jobs.output_folder import DONE, LOCK, keep_only

PLAN = ".plan"
FINGERPRINT = "fingerprint"


def run_once(done: epath.Path, fingerprint: str, work: Callable[[], dict]) -> bool:
    """Calls `work()`, unless it was finished with this fingerprint, and writes what it returns.

    Args:
        done: File that marks the job as finished, such as `done_file(folder, file)`.
        fingerprint: Text that differs between different inputs.
        work: Function that writes the job's files and returns what JSON can hold.

    Returns:
        Whether it was called.
    """
    if done.exists() and _fingerprint_of(done) == fingerprint:
        return False
    found = work()
    write_text(done, json.dumps({FINGERPRINT: fingerprint, **found}))
    return True


def done_file(folder: epath.Path, file: str) -> epath.Path:
    """Returns the file beside `file` that marks its job as finished."""
    return folder / f"{file}{DONE}"


def result_of(done: epath.Path) -> dict:
    """Returns what a finished job found, with its fingerprint."""
    return load_json(done, "remove it, and the same command does it again")


def _fingerprint_of(done: epath.Path) -> str | None:
    """Returns the fingerprint of a finished job; None if the file does not tell, so that the job is done again."""
    try:
        found = result_of(done)
    except UserError:
        return None
    return found.get(FINGERPRINT) if isinstance(found, dict) else None


def keep_same_plan(folder: epath.Path, fingerprint: str) -> None:
    """Empties the folder that all jobs write to, unless it was begun with the plan of this fingerprint."""
    file = folder / PLAN
    if not file.exists() or file.read_bytes() != fingerprint.encode():
        keep_only(folder, {LOCK})
        write_text(file, fingerprint)
