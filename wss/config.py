"""Configuration: gin files for the experiment, absl flags for what differs between launches."""

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

import gin

from wss.errors import UserError, did_you_mean
from wss.project import locate, recipes

T = TypeVar("T")
# Old name of a parameter: its name now. Recipes and saved configurations with the old one still work.
RENAMED = {
    "build_model.attention_dim": "build_sgc.attention_dim",
    "build_model.sgc_background": "build_sgc.background",
    "build_model.sgc_uniform_masked_queries": "build_sgc.uniform_masked_queries",
    "build_model.sgc_projection_init": "build_sgc.projection_init",
    "build_model.sgc_hypercolumn": "build_sgc.hypercolumn",
    "build_model.classifier_dropout": "build_classifier.dropout",
}


def parse_config(files: list[str], parameters: list[str]) -> None:
    """Replaces the configuration by gin files (in order) and then single bindings such as "train.num_steps = 100".

    Paths are looked up from the working directory and then from the project or the installed package, includes too.

    Raises:
        UserError: A file is missing, or a name, parameter or value is wrong; with the nearest right name.
    """
    gin.clear_config()
    texts = [text for file in files for text in _with_includes(file, f"--gin_file={file}")]
    _refuse_unused_macros("\n".join([*texts, *parameters]))
    _tell_renamed("\n".join([*texts, *parameters]))
    try:
        with _files_of_the_project():
            gin.parse_config_files_and_bindings(files, [current_names(line) for line in parameters], skip_unknown=False)
    except (ValueError, TypeError, SyntaxError, OSError, AttributeError, ImportError, RuntimeError) as error:
        raise UserError(f"gin: {explain(error)}") from error


@contextlib.contextmanager
def _files_of_the_project() -> Iterator[None]:
    """Lets gin find files by `locate`; its own search looks among Python's packages first and logs what it does not find."""
    before = gin.config._FILE_READERS
    gin.config._FILE_READERS = [(_open, lambda path: Path(locate(path)).is_file())]
    try:
        yield
    finally:
        gin.config._FILE_READERS = before


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
    text = " ".join(str(error).split())
    place = _place(text)
    if match := re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", text):
        return f"nothing is called {match[1]!r}.{did_you_mean(match[1], _registry())}{place}"
    if match := re.search(r"'?([\w.]+)'? does(?:n't| not) have a parameter (?:named )?'(\w+)'", text):
        return f"{match[1]} has no parameter {match[2]!r}.{did_you_mean(match[2], _parameters(match[1]))}{place}"
    if match := re.search(r"No bindings specified for '(\w+)/gin.macro'", text):
        return f"the macro %{match[1]} is used but never set"
    if isinstance(error, SyntaxError) or "Failed to parse token" in text:
        line = getattr(error, "text", None)
        found = f" at {line.strip()!r}" if line else ""
        reason = text.split("<ast")[0].rstrip(": ")
        return f"{reason}{found}; expected name.parameter = value, with strings in quotes"
    return text


def _with_includes(file: str, where: str) -> list[str]:
    """Returns the texts of a gin file and of all that it includes."""
    path = Path(locate(file))
    if not path.is_file():
        raise UserError(f"{where}: {file} not found.{did_you_mean(file, recipes())}")
    text = path.read_text()
    included = re.findall(r"^include\s+['\"](.+?)['\"]", text, re.MULTILINE)
    return [text, *(part for name in included for part in _with_includes(name, f"{path}: include"))]


def current_names(text: str) -> str:
    """Returns gin bindings with the names that parameters have now, see `RENAMED`."""
    return _RENAMED.sub(lambda match: RENAMED[match[0]], text)


_RENAMED = re.compile(rf"^({'|'.join(map(re.escape, RENAMED))})\b(?=\s*=)", re.MULTILINE)


def _tell_renamed(text: str) -> None:
    if found := sorted({match[0] for match in _RENAMED.finditer(text)}):
        pairs = ", ".join(f"{old} is called {RENAMED[old]} now" for old in found)
        print(f"gin: {pairs}; the old names still work", file=sys.stderr)


def _open(file: str) -> TextIO:
    text = io.StringIO(current_names(Path(locate(file)).read_text()))
    text.name = file  # for gin's messages
    return text


def _refuse_unused_macros(text: str) -> None:
    """Refuses `num_steps = 3`, which gin takes as a macro: if nothing uses it, it was meant to be a parameter."""
    for name in re.findall(r"^\s*(\w+)\s*=", text, re.MULTILINE):
        if f"%{name}" not in text:
            owners = [f"{owner}.{name}" for owner in _registry() if name in _parameters(owner)]
            hint = f" Did you mean {min(owners, key=len)!r}?" if owners else did_you_mean(name, _registry())
            raise UserError(f"gin: {name!r} is set but nothing uses it; a parameter is written name.parameter.{hint}")


def _place(text: str) -> str:
    match = re.search(r'In file "([^"]+)", line (\d+)', text)
    return f" ({os.path.relpath(match[1])}, line {match[2]})" if match else ""


def describe(name: str) -> str:
    """Returns a configurable with its parameters and their defaults, and its whole docstring.

    Raises:
        UserError: Nothing is called so.
    """
    if name not in _registry():
        raise UserError(f"nothing is called {name!r}.{did_you_mean(name, _registry())}")
    return f"{_signature(name)}\n\n{inspect.getdoc(_registry()[name]) or ''}".rstrip()


def describe_all() -> str:
    """Returns all configurables with their parameters and defaults, and the first line of each docstring."""
    first_line = lambda name: (inspect.getdoc(_registry()[name]) or "").partition("\n")[0]
    return "\n\n".join(f"{name}: {first_line(name)}\n{_signature(name)}".rstrip() for name in sorted(_registry()))


def _signature(name: str) -> str:
    """Returns a line for each parameter that gin can set: it has a default, or gin requires it."""
    lines = []
    for parameter in inspect.signature(_registry()[name]).parameters.values():
        if parameter.default is gin.REQUIRED:
            lines.append(f"  {name}.{parameter.name}  (required)")
        elif parameter.default is not inspect.Parameter.empty:
            lines.append(f"  {name}.{parameter.name} = {parameter.default!r}")
    return "\n".join(lines)


def _registry() -> dict[str, Callable]:
    """Returns what gin knows of this project, by the name that gin files use."""
    registered = gin.config._REGISTRY.items()
    return {selector.split(".")[-1]: entry.wrapped for selector, entry in registered if not selector.startswith("gin.")}


def _parameters(name: str) -> list[str]:
    configurable = _registry().get(name.split(".")[-1])
    return list(inspect.signature(configurable).parameters) if configurable else []
