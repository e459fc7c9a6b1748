"""TensorFlow without its start-up lines, for the commands.

TensorFlow's C++ libraries write to file descriptor 2 before Python can set up any logging, so that it takes the descriptor
itself to keep them quiet. That is a command's right, not a library's: only `wss.command` asks for it.
"""

import contextlib
import importlib.abc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def hide_startup_lines() -> None:
    """Hides what TensorFlow writes while it is imported for the first time and while it looks for devices.

    Later its information stays hidden, but no warnings and no errors. Does nothing if TensorFlow is imported already, or if
    the user has set TF_CPP_MIN_LOG_LEVEL.
    """
    if "tensorflow" not in sys.modules and LEVEL not in os.environ:
        sys.meta_path.insert(0, _Finder())


@contextlib.contextmanager
def caught_stderr() -> Iterator[Callable[[], bytes]]:
    """Catches what anything in this process writes to file descriptor 2; after an error it is written there after all.

    Yields:
        A function that returns what has been caught so far.
    """
    try:
        saved = os.dup(2)
    except OSError:  # closed, so there is nothing to hide
        yield lambda: b""
        return
    with tempfile.TemporaryFile() as file:
        _flush()
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: _content(file.fileno())
        except KeyboardInterrupt:
            raise
        except BaseException:
            _flush()
            _write(saved, _content(file.fileno()))
            raise
        finally:
            _flush()
            os.dup2(saved, 2)
            os.close(saved)


class _Finder(importlib.abc.MetaPathFinder):
    """Stands before the finders that find TensorFlow, and wraps its loader until it has loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Loads TensorFlow with caught stderr, and leaves the module as its own loader makes it."""

    def __init__(self, loader: importlib.abc.Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        # Only while the libraries read it: commands that this one starts decide for themselves.
        os.environ[LEVEL] = "1"
        try:
            with caught_stderr() as caught:
                self._loader.exec_module(module)
                gpus = module.config.list_physical_devices("GPU")
                lines = caught()
        finally:
            del os.environ[LEVEL]
        module.get_logger().setLevel("WARNING")
        if not gpus and _expects_gpus():
            _write(2, lines)


def _expects_gpus() -> bool:
    """Whether the user wants to know why TensorFlow finds no GPU."""
    return NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")


def _flush() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be no sys.stderr
        sys.stderr.flush()


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _write(descriptor: int, content: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, content)
