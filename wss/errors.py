"""Errors for people: a user's mistake is one clear line on stderr and exit code 2, never a traceback."""

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from absl import app, flags


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a gin parameter.

    The message is one line (or one line per problem) that names the file or the parameter, what was found, what was
    expected and what helps.
    """


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the choice nearest to `name`, or "" if none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def run_main(main: Callable[[list[str]], int | None]) -> None:
    """Runs an absl `main(argv)`: a `UserError` or a bad flag ends in one line on stderr and exit code 2."""

    def parse_flags(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.UnrecognizedFlagError as error:
            _fail(f"unknown flag --{error.flagname}.{did_you_mean(error.flagname, flags.FLAGS)}")
        except flags.Error as error:
            _fail(str(error))

    def guarded(argv: list[str]) -> int | None:
        try:
            return main(argv)
        except UserError as error:
            _fail(str(error))

    app.run(guarded, flags_parser=parse_flags)


def _fail(message: str) -> NoReturn:
    # Gin appends where it called what; a user's mistake needs no call stack.
    lines = [line for line in message.splitlines() if not line.startswith("  In call to configurable")]
    print("\n".join(["error: " + lines[0], *lines[1:]]), file=sys.stderr)
    sys.exit(2)
