"""Writes docs/parameters.md, the reference of all gin parameters, from the code.

python tools/write_parameters.py
"""

from pathlib import Path

from wss.command import run_main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parameters.md"


def main(argv: list[str]) -> None:
    """Writes the page."""
    del argv
    from wss import configurables
    from wss.files import write_text
    from wss.parameter_reference import page

    assert configurables.MODULES
    write_text(PAGE, page())
    print(f"written to {PAGE}")


if __name__ == "__main__":
    run_main(main)
