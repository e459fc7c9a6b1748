"""Configuration: gin files for the experiment, absl flags for what differs between launches."""

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import gin

from wss.errors import UserError, did_you_mean
from wss.project import PROJECT_ROOT, locate, recipes

T = TypeVar("T")


def parse_config(files: list[str], parameters: list[str]) -> None:
    """Replaces the configuration by gin files (in order) and then single bindings such as "train.num_steps = 100".

    Paths are looked up from the working directory and then from the project or the installed package, includes too.

    Raises:
        UserError: A file is missing, or a name, parameter or value is wrong; with the nearest right name.
    """
    gin.clear_config()
    gin.add_config_file_search_path(str(PROJECT_ROOT))
    texts = [text for file in files for text in _with_includes(file, f"--gin_file={file}")]
    _refuse_unused_macros("\n".join([*texts, *parameters]))
    try:
        gin.parse_config_files_and_bindings(files, parameters, skip_unknown=False)
    except (ValueError, TypeError, SyntaxError, OSError, AttributeError, ImportError, RuntimeError) as error:
        raise UserError(f"gin: {explain(error)}") from error


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
