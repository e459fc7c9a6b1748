"""Errors for people: a user's mistake is one clear line on stderr and exit code 2, never a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a gin parameter.

    The message is one line (or one line per problem) that names the file or the parameter, what was found, what was
    expected and what helps.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with one line on what is kept."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the choice nearest to `name`, or "" if none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def first_line(error: BaseException) -> str:
    """Returns the first line of what an error says, or else its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
