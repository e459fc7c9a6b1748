"""The last line of a command: which command helps next."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from wss.project import PACKAGE, PROJECT_ROOT

PART_OF_A_WORKFLOW = "WSS_PART_OF_A_WORKFLOW"  # set in the processes of a workflow, which knows itself what is next


def say_next(command: Sequence[str]) -> None:
    """Says on stderr which command is useful next; a shell can take the line as it is. A workflow's stages say nothing."""
    if command and not is_part_of_a_workflow():
        print(f"next: {shlex.join(command)}", file=sys.stderr, flush=True)


def is_part_of_a_workflow() -> bool:
    """Returns whether this process is a stage of a workflow."""
    return PART_OF_A_WORKFLOW in os.environ


def same_command(program: str, *, without: Iterable[str] = (), more: Iterable[str] = ()) -> list[str]:
    """Returns the command that runs, but for some flags.

    Args:
        program: Its name, such as "wss-train".
        without: Names of flags to leave out, with their values.
        more: Flags to add.
    """
    names, kept = set(without), []
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name in names:
            if not equals and name not in SWITCHES:
                next(arguments, None)  # the value that follows
        else:
            kept.append(argument)
    return [program, *kept, *more]


SWITCHES = {"dry_run"}  # flags that no value follows


def tool(name: str) -> list[str]:
    """Returns how a tool is started, such as ["python", "tools/inspect_dataset.py"]; nothing where there are no tools."""
    path = Path("tools", f"{name}.py")
    if PROJECT_ROOT == PACKAGE:
        return []
    return ["python", str(path if path.exists() else PROJECT_ROOT / path)]


def inspection(directory: str | os.PathLike) -> list[str]:
    """Returns the command that looks into a data set; nothing where there are no tools."""
    folder = os.fspath(directory).rstrip("/")
    command = tool("inspect_dataset")
    return [*command, f"--dataset={folder}", f"--output={folder}_inspection"] if command else []
