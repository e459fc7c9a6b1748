"""Configuration: gin files for the experiment, absl flags for what differs between launches."""

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import gin

from wss.errors import UserError, did_you_mean

# Importing a module registers its configurables; gin files need no imports of their own.
import wss.evaluation.evaluation  # noqa: F401  isort:skip
import wss.methods.pseudoseg  # noqa: F401  isort:skip
import wss.methods.supervised  # noqa: F401  isort:skip
import wss.training.loop  # noqa: F401  isort:skip

T = TypeVar("T")
PACKAGE_ROOT = Path(__file__).resolve().parents[1]


def parse_config(files: list[str], parameters: list[str]) -> None:
    """Parses gin files (in order) and then single bindings such as "train.num_steps = 100".

    Paths are looked up from the working directory and then from the project's root, includes too.

    Raises:
        UserError: a file is missing, or a name, parameter or value is wrong; with the nearest right name.
    """
    gin.add_config_file_search_path(str(PACKAGE_ROOT))
    for file in files:
        if not (os.path.isfile(file) or (PACKAGE_ROOT / file).is_file()):
            raise UserError(f"--gin_file={file}: not found.{did_you_mean(file, recipes())}")
    try:
        gin.parse_config_files_and_bindings(files, parameters, finalize_config=True, skip_unknown=False)
    except (ValueError, TypeError, SyntaxError, OSError) as error:
        raise UserError(explain(error)) from error


def call(function: Callable[..., T], *args, **kwargs) -> T:
    """Calls a configurable; a required parameter that no file sets, or a wrong one in a reference, is a `UserError`."""
    try:
        return function(*args, **kwargs)
    except (RuntimeError, TypeError) as error:
        if "gin" in str(error).lower() or "Required bindings" in str(error):
            raise UserError(explain(error)) from error
        raise


def recipes() -> list[str]:
    """All gin files of the project, relative to its root."""
    return sorted(str(path.relative_to(PACKAGE_ROOT)) for path in (PACKAGE_ROOT / "gin_configs").rglob("*.gin"))


def explain(error: Exception) -> str:
    """One line for gin's several, with the nearest right name where a name is wrong."""
    text = " ".join(str(error).split())
    if match := re.search(r"No configurable matching '([^']+)'", text):
        return f"gin: nothing is called {match[1]!r}.{did_you_mean(match[1], _configurables())}{_place(text)}"
    if match := re.search(r"'?([\w.]+)'? does(?:n't| not) have a parameter (?:named )?'(\w+)'", text):
        return f"gin: {match[1]} has no parameter {match[2]!r}.{did_you_mean(match[2], _parameters(match[1]))}{_place(text)}"
    return f"gin: {text}"


def _place(text: str) -> str:
    match = re.search(r'In file "([^"]+)", line (\d+)', text)
    return f" ({match[1]}, line {match[2]})" if match else ""


def _configurables() -> list[str]:
    return [selector.split(".")[-1] for selector, _ in gin.config._REGISTRY.items()]


def _parameters(name: str) -> list[str]:
    for selector, configurable in gin.config._REGISTRY.items():
        if selector.split(".")[-1] == name.split(".")[-1]:
            return list(inspect.signature(configurable.wrapped).parameters)
    return []
