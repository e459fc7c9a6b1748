"""Commands one after the other, of which those that are finished are not run again."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wss.errors import UserError
from wss.evaluation.evaluation import default_split
from wss.files import write_text
from wss.next_step import PART_OF_A_WORKFLOW
from wss.run_directory import RunDirectory

# Where things lie differs from machine to machine and says nothing of the result.
PLACES = (
    "load_dataset.directory",
    "train.initial_weights",
    "TrainingData.image_labels",
    "TrainingData.pseudo_directory",
    "BoxStages.masks",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of several, with the files that tell how far it is.

    Attributes:
        title: Name for people.
        command: Module and flags.
        done: File that exists once the command has finished.
        result: File that the command must leave. If it is not `done`, `run_all` writes `done` afterwards.
    """

    title: str
    command: Sequence[str]
    done: Path
    result: Path


def training_stage(
    title: str,
    folder: Path,
    *,
    gin_files: Sequence[str],
    parameters: Sequence[str],
    seed: int = 0,
    launch: Sequence[str] = (),
    evaluated: bool = True,
) -> Stage:
    """Returns a training in a folder, for the configuration that gin has parsed.

    Args:
        title: Name for people.
        folder: Run directory.
        gin_files: Gin files of that configuration.
        parameters: Gin bindings of that configuration, and of this training over it.
        seed: Seed of weights, order and augmentation.
        launch: Further flags, such as --strategy.
        evaluated: Whether the training ends with an evaluation.
    """
    command = [
        "wss.train",
        *(f"--gin_file={file}" for file in gin_files),
        f"--run_dir={folder}",
        f"--seed={seed}",
        *(f"--gin_param={parameter}" for parameter in parameters),
        *launch,
    ]
    run = RunDirectory(folder)
    return Stage(
        title=title, command=command, done=run.finished, result=result_in(folder) if evaluated else run.weights
    )


def result_in(folder: Path) -> Path:
    """Returns the evaluation that a training leaves in its folder, for the configuration that gin has parsed."""
    return RunDirectory(folder).evaluation(default_split())


def run_all(stages: Sequence[Stage]) -> None:
    """Runs what is not finished, one process after the other.

    Raises:
        UserError: A command fails; what it said stands above.
    """
    for stage in stages:
        if stage.done.exists():
            print(f"== {stage.title}: finished before ({stage.done})", flush=True)
            continue
        print(f"== {stage.title}\n{command_line(stage)}", flush=True)
        status = _exit_code([sys.executable, "-m", *stage.command])
        # A training that SIGTERM stopped ends well, but has no weights for others yet.
        if status or not stage.result.exists() or not (stage.done == stage.result or _has_weights(stage)):
            raise UserError(f"{stage.title} stopped (exit code {status}); the same command goes on there")
        if stage.done != stage.result:
            write_text(stage.done, "")


def command_line(stage: Stage) -> str:
    """Returns the command as a user types it."""
    module, *arguments = stage.command
    program = [module.replace("wss.", "wss-")] if module.startswith("wss.") else ["python", "-m", module]
    return shlex.join([*program, *arguments])


def _exit_code(command: Sequence[str]) -> int:
    """Runs a process to its end. SIGTERM goes on to it, for it then saves what it has, and counts as its failure.

    Ctrl-C reaches both; it counts when the process has saved.
    """
    process, stopped = subprocess.Popen(command, env={**os.environ, PART_OF_A_WORKFLOW: "1"}), False

    def stop(*_) -> None:
        nonlocal stopped
        stopped = True
        process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return -signal.SIGTERM if stopped else status


def _has_weights(stage: Stage) -> bool:
    return RunDirectory(stage.result.parent).weights.is_file()
