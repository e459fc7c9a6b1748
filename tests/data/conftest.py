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
        others = {
            module: [flag.name for flag in defined]
            for module, defined in flags.FLAGS.flags_by_module_dict().items()
            if not module.startswith("absl.")
        }
        # All scripts share one registry of flags, and some flags have the same name.
        hidden = {name: flags.FLAGS[name] for names in others.values() for name in names}
        for flag in hidden:
            delattr(flags.FLAGS, flag)
        spec = importlib.util.spec_from_file_location(f"datasets_{name}", SCRIPTS / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(script)
            flags.FLAGS([name, *map(str, arguments)])
            script.main([name])
        finally:
            for flag in flags.FLAGS.get_flags_for_module(script.__name__) or flags.FLAGS.get_flags_for_module(script):
                delattr(flags.FLAGS, flag.name)
            for flag, value in hidden.items():
                flags.FLAGS[flag] = value
            flags.FLAGS.unparse_flags()

    return run
