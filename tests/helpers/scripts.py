"""Loading files that are no part of a package: the commands of datasets/ and tools/, and the rule behind the goldens."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from absl import flags


def load_module(path: Path) -> ModuleType:
    """Runs a Python file as a module of its own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def separate_flags() -> Iterator[None]:
    """Flags that are defined inside go again: all commands share one registry, and some flags have the same name."""
    by_module = flags.FLAGS.flags_by_module_dict()
    hidden = {flag.name: flag for module in by_module if module.startswith("wss") for flag in by_module[module]}
    for name in hidden:
        delattr(flags.FLAGS, name)
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for name, flag in hidden.items():
            flags.FLAGS[name] = flag
