"""Configuration: gin files for the experiment, absl flags for what differs between launches."""

import os
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Sequence
from typing import TypeVar

import gin

from wss.errors import UserError, did_you_mean
from wss.gin_files import SYNTAX_ERRORS, GinText, Reader
from wss.gin_registry import configurables, parameters_of
from wss.gin_values import wrong_values

T = TypeVar("T")
MAX_SHOWN = 80
# Old name of a parameter: its name now. Recipes and saved configurations with the old one still work.
RENAMED = {
    "build_model.attention_dim": "build_sgc.attention_dim",
    "build_model.sgc_background": "build_sgc.background",
    "build_model.sgc_uniform_masked_queries": "build_sgc.uniform_masked_queries",
    "build_model.sgc_projection_init": "build_sgc.projection_init",
    "build_model.sgc_hypercolumn": "build_sgc.hypercolumn",
    "build_model.classifier_dropout": "build_classifier.dropout",
}


def parse_config(
    files: Sequence[str], parameters: Sequence[str], *, allow_imports: bool = False, saved: bool = False
) -> None:
    """Replaces the configuration by gin files (in order) and then single bindings such as "train.num_steps = 100".

    Paths are looked up from the working directory and then from the project or the installed package, includes too.
    Each file is read once. Everything in it is looked through before gin does anything that it says.

    Args:
        files: The gin files.
        parameters: The bindings.
        allow_imports: Whether gin files may import Python modules, which runs them.
        saved: Whether the file was saved by a run, perhaps that of a stranger; then it may neither import nor include.

    Raises:
        UserError: A file is missing or damaged, or a name, parameter or value is wrong, with a line for each value.
    """
    renamed: set[str] = set()

    def rename(text: str) -> str:
        renamed.update(match[0] for match in _RENAMED.finditer(text))
        return current_names(text)

    gin.clear_config()
    reader = Reader(rename=rename, allow_imports=allow_imports and not saved, saved=saved)
    parameters = list(map(rename, parameters))
    try:
        _apply(reader.read(files, parameters), files, parameters)
    except UserError:
        raise
    except (*SYNTAX_ERRORS, OSError, ImportError, RuntimeError) as error:
        gin.clear_config()
        raise UserError(f"gin: {explain(error)}") from error
    # What a run saves names no modules, so that nobody has to run any to read it.
    gin.config._IMPORTS.clear()
    if renamed:
        pairs = ", ".join(f"{old} is called {RENAMED[old]} now" for old in sorted(renamed))
        print(f"gin: {pairs}; the old names still work", file=sys.stderr)
    if problems := wrong_values():
        gin.clear_config()
        raise UserError("\n".join(problems))


def _apply(found: GinText, files: Sequence[str], parameters: Sequence[str]) -> None:
    """Lets gin parse what was read."""
    _refuse_unused_macros(found)
    with found.served():
        for file in files:
            gin.parse_config_file(file)
        for parameter in parameters:
            gin.parse_config(parameter)
        gin.finalize()


def bindings(*, without: Sequence[str] = ()) -> list[str]:
    """Returns the parsed configuration as lines of gin, but for parameters whose names begin with one of `without`."""
    lines = gin.config_str(max_line_length=10_000).splitlines()
    return [line for line in lines if line and not line.startswith(("#", *without))]


def call(function: Callable[..., T], *args, **kwargs) -> T:
    """Calls a configurable.

    Raises:
        UserError: Nothing sets one of its required parameters.
    """
    try:
        return function(*args, **kwargs)
    except RuntimeError as error:
        if match := re.search(r"Required bindings for `(.+?)` not provided in config: (\[.*?\])", str(error)):
            raise UserError(f"gin: {match[1]} needs {match[2]}; set it in a gin file or by --gin_param") from error
        raise


def explain(error: Exception) -> str:
    """Returns one line for gin's several, with the nearest right name where a name is wrong."""
    if isinstance(error, RecursionError | MemoryError):
        return f"{error}: nested too deeply; expected name.parameter = value"
    if isinstance(error, tokenize.TokenError):
        return f"{error.args[0]}; expected name.parameter = value, with all brackets and quotes closed"
    text = " ".join(str(error).split())
    place = _place(text)
    if match := re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", text):
        return f"nothing is called {match[1]!r}.{did_you_mean(match[1], configurables())}{place}"
    if match := re.search(r"'?([\w.]+)'? does(?:n't| not) have a parameter (?:named )?'(\w+)'", text):
        return f"{match[1]} has no parameter {match[2]!r}.{did_you_mean(match[2], parameters_of(match[1]))}{place}"
    if match := re.search(r"No bindings specified for '(\w+)/gin.macro'", text):
        return f"the macro %{match[1]} is used but never set"
    if isinstance(error, SyntaxError) or "Failed to parse token" in text:
        line = getattr(error, "text", None)
        found = f" at {textwrap.shorten(line.strip(), MAX_SHOWN, placeholder=' ...')!r}" if line else ""
        reason = text.split("<ast")[0].rstrip(": ")
        file = getattr(error, "filename", None)  # the reason has it, unless it was cut
        place = f" ({file}, line {error.lineno})" if file and file not in reason else ""  # type: ignore[attr-defined]
        return f"{reason}{found}{place}; expected name.parameter = value, with strings in quotes"
    return text


def current_names(text: str) -> str:
    """Returns gin bindings with the names that parameters have now, see `RENAMED`."""
    return _RENAMED.sub(lambda match: RENAMED[match[0]], text)


_RENAMED = re.compile(rf"^({'|'.join(map(re.escape, RENAMED))})\b(?=\s*=)", re.MULTILINE)


def _refuse_unused_macros(found: GinText) -> None:
    """Refuses `num_steps = 3`, which gin takes as a macro: if nothing uses it, it was meant to be a parameter."""
    for name in found.macros:
        if name not in found.used_macros:
            owners = [f"{owner}.{name}" for owner in configurables() if name in parameters_of(owner)]
            hint = f" Did you mean {min(owners, key=len)!r}?" if owners else did_you_mean(name, configurables())
            raise UserError(f"gin: {name!r} is set but nothing uses it; a parameter is written name.parameter.{hint}")


def _place(text: str) -> str:
    match = re.search(r'In file "([^"]+)", line (\d+)', text)
    return f" ({os.path.relpath(match[1])}, line {match[2]})" if match else ""
