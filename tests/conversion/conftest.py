"""Runs the scripts of datasets/ in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from absl import flags
from export_checks import Exports
from scripts import load_module, separate_flags

SCRIPTS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture
def run_script() -> Callable[..., None]:
    """Returns run(name, *flags): `main` of datasets/<name>.py with these flags; a `UserError` comes through."""

    def run(name: str, *arguments: str) -> None:
        with separate_flags():
            script = load_module(SCRIPTS / f"{name}.py")
            flags.FLAGS([name, *map(str, arguments)])
            script.main([name])

    return run


@pytest.fixture
def exports(tmp_path, run_script) -> Exports:
    """Returns the folder for an export of a label tool, and the converters that read it."""
    return Exports(tmp_path, run_script)
