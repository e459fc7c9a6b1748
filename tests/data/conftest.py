"""Runs the scripts of datasets/ in this process."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from absl import flags

SCRIPTS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture
def run_script() -> Callable[..., None]:
    """Returns run(name, *flags): `main` of datasets/<name>.py with these flags; a `UserError` comes through."""

    def run(name: str, *arguments: str) -> None:
        # All scripts share one registry of flags, and some of their flags have the same name.
        by_module = flags.FLAGS.flags_by_module_dict()
        hidden = {flag.name: flag for module in by_module if module.startswith("wss") for flag in by_module[module]}
        for flag in hidden:
            delattr(flags.FLAGS, flag)
        before = set(flags.FLAGS)
        spec = importlib.util.spec_from_file_location(f"datasets_{name}", SCRIPTS / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(script)
            flags.FLAGS([name, *map(str, arguments)])
            script.main([name])
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
            for flag, value in hidden.items():
                flags.FLAGS[flag] = value

    return run
