"""tools/inspect_dataset.py in this process."""

from pathlib import Path

from absl import flags
from scripts import load_module, separate_flags

TOOL = Path(__file__).resolve().parents[2] / "tools/inspect_dataset.py"


def run(*arguments: str) -> int:
    """Runs the command with these flags and returns its exit code; a `UserError` comes through."""
    with separate_flags():
        tool = load_module(TOOL)
        flags.FLAGS(["inspect_dataset", *arguments])
        return tool.main(["inspect_dataset"])
