"""Aligned Markdown tables, to read in a terminal as well as in a document."""

import math
from collections.abc import Mapping, Sequence

from wss.errors import UserError
from wss.evaluation.evaluator import Result

Cell = str | int | float

ABSENT_CLASSES = """\
Values in percent. A class that is absent from the labels has no IoU (-): predicted somewhere,
it counts as 0 in the mIoU; predicted nowhere, it is left out. The mean accuracy is over the
classes in the labels."""
SUMMARY_HEADERS = ("mIoU", "pixel acc.", "mean acc.", "ECE", "images")


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


def evaluation_table(result: Result) -> str:
    """Returns the table of one evaluation: each class, then the means. Values in percent."""
    rows = [
        (name, 100 * result.iou[name], 100 * result.accuracy[name], 100 * result.pixel_share[name])
        for name in result.class_names
    ]
    per_class = format_table(("class", "IoU", "accuracy", "pixels"), rows)
    return f"{per_class}\n\n{format_table(SUMMARY_HEADERS, [_summary(result)], ABSENT_CLASSES)}"


def comparison_table(results: Mapping[str, Result]) -> str:
    """Returns two tables of results by name: a row of means for each, then the IoUs of each class.

    Raises:
        UserError: the results are not of the same split and classes, so that comparing them would
            mislead.
    """
    first, *others = results.items()
    for name, other in others:
        if _measured_on(other) != _measured_on(first[1]):
            raise UserError(
                f"result {name!r}: on {_measured_on(other)}, but {first[0]!r} is on "
                f"{_measured_on(first[1])}; compare results of one split"
            )
    means = format_table(("method", *SUMMARY_HEADERS), [(name, *_summary(r)) for name, r in results.items()])
    ious: list[tuple[Cell, ...]] = [
        (name, *[100 * result.iou[name] for result in results.values()]) for name in first[1].class_names
    ]
    return f"{means}\n\n{format_table(('IoU', *results), ious, ABSENT_CLASSES)}"


def _summary(result: Result) -> tuple[Cell, ...]:
    return (*[100 * value for value in result.scalars().values()], result.num_images)


def _measured_on(result: Result) -> str:
    return f"{result.dataset}/{result.split} ({', '.join(result.class_names)})"


def _format(cell: Cell) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)
