"""How a command starts and ends: flags, help, a quiet TensorFlow, and one line for a user's mistake or Ctrl-C.

A process that imports this module is one of the commands, or a worker that a command has started.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from wss.errors import UserError, did_you_mean
from wss.quiet_tensorflow import hide_startup_lines

hide_startup_lines()
# TensorFlow's modules and a graph are millions of objects that stay: to look for cycles among them at every 700 new ones
# takes a tenth of the time to the first step.
gc.set_threshold(100_000, 20, 20)
NOBODY_READS = 128 + signal.SIGPIPE
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


def run_main(main: Callable[[list[str]], int | None]) -> None:
    """Runs an absl `main(argv)`: a `UserError` or a bad flag ends in one line on stderr and exit code 2, Ctrl-C in 130.

    --help shows the docstring and the flags of the module that `main` is of.
    """
    _show_help_of(main)

    def parse_flags(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
            _check_not_empty()
            return rest
        except flags.UnrecognizedFlagError as error:
            _fail(f"unknown flag --{error.flagname}.{did_you_mean(error.flagname, flags.FLAGS)}")
        except (flags.Error, UserError) as error:
            _fail("; ".join(str(error).splitlines()))  # of each flag that is missing

    def guarded(argv: list[str]) -> int | None:
        if not flags.FLAGS["verbosity"].present:  # `app.run` shows what libraries log as information
            logging.set_verbosity(logging.WARNING)
        try:
            return main(argv)
        except UserError as error:
            _fail(str(error))
        except KeyboardInterrupt as error:  # or an `Interrupted`, which says what is kept
            print(str(error) or "interrupted by Ctrl-C", file=sys.stderr)
            sys.exit(INTERRUPTED)

    try:
        app.run(guarded, flags_parser=parse_flags)
    except BrokenPipeError:  # of `--help | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
        sys.exit(NOBODY_READS)


def _check_not_empty() -> None:
    """Raises a `UserError` for a flag without text, as a shell's unset variable leaves it: as a path it is this folder."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present and flag.default != "" and isinstance(flag.value, str) and not flag.value.strip():
            raise UserError(f"--{name}={flag.value}: empty; expected a value, or leave the flag out")


def _show_help_of(main: Callable) -> None:
    """Tells absl, which shows `__main__`, what the module of `main` has; a console script only calls it."""
    name = main.__module__
    if name == "__main__":
        return
    sys.modules["__main__"].__doc__ = main.__globals__["__doc__"]
    for flag in flags.FLAGS.get_key_flags_for_module(name):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _fail(message: str) -> NoReturn:
    # Gin appends where it called what; a user's mistake needs no call stack.
    lines = [line for line in message.splitlines() if not line.startswith("  In call to configurable")]
    print("\n".join(["error: " + lines[0], *lines[1:]]), file=sys.stderr)
    sys.exit(2)
