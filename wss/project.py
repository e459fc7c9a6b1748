"""Where the files beside the code are: in the project's folder, or in the installed package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIGS = "gin_configs"
# setup.py puts `gin_configs` and `datasets` into the package when it is installed, see there.
PROJECT_ROOT = PACKAGE.parent if (PACKAGE.parent / CONFIGS).is_dir() and not (PACKAGE / CONFIGS).is_dir() else PACKAGE


def locate(path: str) -> str:
    """Returns where a file or folder is: `path` from the working directory, or else from the project if it is only there."""
    return str(PROJECT_ROOT / path) if not Path(path).exists() and (PROJECT_ROOT / path).exists() else path


def recipes() -> list[str]:
    """Returns all gin files of the project, relative to its root."""
    return sorted(path.relative_to(PROJECT_ROOT).as_posix() for path in (PROJECT_ROOT / CONFIGS).rglob("*.gin"))


def converter(name: str) -> str:
    """Returns the command of a converter of data sets, such as "python datasets/build_shapes.py" for "build_shapes"."""
    return f"python -m wss.datasets.{name}" if PROJECT_ROOT == PACKAGE else f"python datasets/{name}.py"
