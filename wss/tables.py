"""Tables as text, with aligned columns: in Markdown, or plain for a terminal; numbers of bytes in words."""

import math
from collections.abc import Sequence

Cell = str | int | float


def format_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], footnote: str = "") -> str:
    """Returns a Markdown table whose columns are aligned: text to the left, numbers to the right.

    Floats get two digits and NaN is "-". The footnote follows after an empty line.
    """
    columns = list(zip(headers, *[[_format(cell) for cell in row] for row in rows], strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [bool(rows) and not any(isinstance(row[i], str) for row in rows) for i in range(len(headers))]
    lines = [
        [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)]
        for line in zip(*columns, strict=True)
    ]
    lines.insert(1, ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{footnote}" if footnote else text


def format_columns(rows: Sequence[Sequence[str]], align: str = "<>") -> str:
    """Returns rows of text as plain columns, two blanks apart.

    Args:
        rows: The cells of each row; the first row has the headers.
        align: "<" for a column to the left and ">" for one to the right; the last one holds for all columns that follow.
    """
    sides = align.ljust(len(rows[0]), align[-1])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    )


def format_bytes(number: int) -> str:
    """Returns "512 B", "1.5 KiB", "34.0 MiB" and so on."""
    value, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _format(cell: Cell) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)
