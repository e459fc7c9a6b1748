"""Commands one after the other, of which those that are finished are not run again."""

import dataclasses
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wss.errors import UserError
from wss.evaluation.evaluation import default_split
from wss.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Phase:
    """One command.

    Attributes:
        title: for people.
        command: module and flags.
        done: the file that tells that it is finished.
        result: what it must leave; `done` is written then, if it is another file.
    """

    title: str
    command: Sequence[str]
    done: Path
    result: Path


def training(
    title: str,
    folder: Path,
    gin_files: Sequence[str],
    parameters: Sequence[str],
    seed: int = 0,
    launch: Sequence[str] = (),
) -> Phase:
    """Returns a training in a folder, for the configuration that gin has parsed.

    Args:
        gin_files, parameters: that configuration, and gin bindings of this training over it.
        launch: further flags, such as --strategy.
    """
    command = [
        "wss.train",
        *(f"--gin_file={file}" for file in gin_files),
        f"--run_dir={folder}",
        f"--seed={seed}",
        *(f"--gin_param={parameter}" for parameter in parameters),
        *launch,
    ]
    return Phase(title, command, RunDirectory(folder).finished, result_in(folder))


def result_in(folder: Path) -> Path:
    """The evaluation that a training leaves in its folder, for the configuration that gin has parsed."""
    return RunDirectory(folder).evaluation(default_split())


def run_all(phases: Sequence[Phase]) -> None:
    """Runs what is not finished, one process after the other.

    Raises:
        UserError: one fails; what it said stands above.
    """
    for phase in phases:
        if phase.done.exists():
            print(f"== {phase.title}: finished before ({phase.done})", flush=True)
            continue
        print(f"== {phase.title}\n{command_line(phase)}", flush=True)
        status = _exit_code([sys.executable, "-m", *phase.command])
        # A training that SIGTERM stopped ends well, but has no weights for others yet.
        if status or not phase.result.exists() or not (phase.done == phase.result or _has_weights(phase)):
            raise UserError(f"{phase.title} stopped (exit code {status}); the same command goes on there")
        if phase.done != phase.result:
            phase.done.write_text("")


def _exit_code(command: Sequence[str]) -> int:
    """Runs a process to its end. SIGTERM goes on to it, for it then saves what it has, and counts as its failure."""
    process, stopped = subprocess.Popen(command), False

    def stop(*_) -> None:
        nonlocal stopped
        stopped = True
        process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return -signal.SIGTERM if stopped else status


def command_line(phase: Phase) -> str:
    """The command as a user types it."""
    module, *arguments = phase.command
    program = [module.replace("wss.", "wss-")] if module.startswith("wss.") else ["python", "-m", module]
    return shlex.join([*program, *arguments])


def _has_weights(phase: Phase) -> bool:
    return RunDirectory(phase.result.parent).weights.is_file()
