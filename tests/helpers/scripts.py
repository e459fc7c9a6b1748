"""Loading files that are no part of a package: the commands of datasets/ and tools/, and the rule behind the goldens."""

import contextlib
import importlib.util
import itertools
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
    hidden = {module: list(by_module[module]) for module in by_module if module.startswith("wss")}
    for flag in itertools.chain.from_iterable(hidden.values()):
        delattr(flags.FLAGS, flag.name)
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for module, its_flags in hidden.items():
            for flag in its_flags:
                flags.FLAGS[flag.name] = flag
                flags.FLAGS.register_flag_by_module(module, flag)
