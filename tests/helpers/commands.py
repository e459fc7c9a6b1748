"""Commands as a user types them after `python`: in this process, where TensorFlow is up already, or in one of their own."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from scripts import separate_flags

ROOT = Path(__file__).resolve().parents[2]


def run_command(command: Sequence[str], *, new_process: bool = False) -> subprocess.CompletedProcess:
    """Runs a command from the project's root.

    Args:
        command: "-m" and a module, or the path of a script from the root; then the flags.
        new_process: Whether Python starts anew, as it does for a user. In this process everything is the same but the
            threads, which TensorFlow lets nobody change once it is up.

    Returns:
        The exit code, and what was printed on stdout and stderr.
    """
    return _in_new_process(list(command)) if new_process else _in_this_process(list(command))


def _in_new_process(command: list[str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


def _in_this_process(command: list[str]) -> subprocess.CompletedProcess:
    is_module = command[0] == "-m"
    target, *arguments = command[1:] if is_module else command
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(separate_flags())
        stack.enter_context(contextlib.chdir(ROOT))
        stack.enter_context(mock.patch.object(sys, "argv", [target, *arguments]))
        stack.enter_context(mock.patch.dict(os.environ))
        os.environ.pop("TF_CONFIG", None)
        stack.enter_context(mock.patch("tensorflow.config.threading.set_intra_op_parallelism_threads"))
        stack.enter_context(contextlib.redirect_stdout(stdout))
        stack.enter_context(contextlib.redirect_stderr(stderr))
        # runpy says that the module is imported already: its second copy is the command.
        stack.enter_context(warnings.catch_warnings(action="ignore", category=RuntimeWarning))
        code = _exit_code(lambda: _run_as_main(target, is_module))
    return subprocess.CompletedProcess(command, code, stdout.getvalue(), stderr.getvalue())


def _run_as_main(target: str, is_module: bool) -> None:
    if is_module:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(target, run_name="__main__")


def _exit_code(run) -> int:
    """Returns what Python would end with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
