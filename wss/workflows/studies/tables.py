"""Tables of a study, filled from its records, and how they get into a document."""

import dataclasses
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.files import write_text
from wss.tables import format_table
from wss.workflows.studies.study import Run, Study

NOTHING = "Nothing is recorded yet."


@dataclasses.dataclass(frozen=True)
class Table:
    """Runs in rows and columns; those of one cell differ in the seed.

    Attributes:
        rows: title -> column -> runs; a row may lack columns.
        corner: what the rows are.
    """

    rows: Mapping[str, Mapping[str, Sequence[Run]]]
    corner: str = "mIoU"

    def __iter__(self) -> Iterator[Run]:
        return (run for row in self.rows.values() for runs in row.values() for run in runs)

    @property
    def columns(self) -> list[str]:
        """The columns, in the order in which they first occur."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))

    def values(self, study: Study) -> dict[str, dict[str, list[float]]]:
        """Returns the mIoU in percent of the recorded runs of each cell; cells and rows without one are left out."""
        found = {}
        for title, row in self.rows.items():
            cells = {column: _mean_ious(study, runs) for column, runs in row.items()}
            found[title] = {column: ious for column, ious in cells.items() if ious}
        return {title: row for title, row in found.items() if row}

    def markdown(self, study: Study) -> str:
        """Returns the table of what is recorded: mIoU in percent, mean and standard deviation over seeds."""
        values = self.values(study)
        if not values:
            return NOTHING
        lines = [(title, *(_cell(row.get(column, [])) for column in self.columns)) for title, row in values.items()]
        return format_table((self.corner, *self.columns), lines)


# Of the pseudo labels, in percent; what `PseudoSeg.losses` reports.
WATCHED_SCALARS = {
    "decoder acc.": "decoder/accuracy",
    "SGC acc.": "sgc/accuracy",
    "fusion acc.": "fusion/accuracy",
    "decoder ECE": "decoder/ece",
    "fusion ECE": "fusion/ece",
    "gate recall": "gate/recall",
    "gate precision": "gate/precision",
}


def training_table(scalars: Mapping[str, Mapping[str, Mapping[int, float]]]) -> str:
    """Returns a row for each run: means, in percent, over what it wrote in the second half of its training.

    Args:
        scalars: value by step by name by title; a run need not have all.
    """
    rows = []
    for title, by_name in scalars.items():
        values = [by_name.get(name) for name in WATCHED_SCALARS.values()]
        rows.append((title, *(f"{100 * _late(by_step):.1f}" if by_step else "" for by_step in values)))
    return format_table(("second half of the training", *WATCHED_SCALARS), rows) if rows else NOTHING


def error_table(results: Mapping[str, Result]) -> str:
    """Returns a row for each result, in percent: how well objects are found, how often they get the right class, all IoUs.

    Args:
        results: by title, of a data set whose class 0 is the background. An object is "any class but the background";
            right class is the share of right pixels among those that are an object and called one.
    """
    rows = []
    for title, result in results.items():
        confusion = result.confusion
        both = confusion[1:, 1:]
        hits = both.sum()
        objects = (
            hits / (confusion.sum() - confusion[0, 0]),
            hits / confusion[1:].sum(),
            hits / confusion[:, 1:].sum(),
        )
        values = (result.mean_iou, *objects, np.trace(both) / hits, *result.iou.values())
        rows.append((title, *(f"{100 * value:.1f}" for value in values)))
    names = next(iter(results.values())).class_names if results else ()
    columns = ("of the pixels", "mIoU", "object IoU", "object recall", "object precision", "right class", *names)
    return format_table(columns, rows) if rows else NOTHING


def _late(by_step: Mapping[int, float]) -> float:
    return statistics.fmean(value for step, value in by_step.items() if step > max(by_step) / 2)


def write_block(documents: Sequence[Path], name: str, text: str) -> None:
    """Writes `text` between the lines `<!-- name -->` and `<!-- end of name -->` of each document that has them.

    Raises:
        UserError: no document has them.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    texts = {document: document.read_text() for document in documents}
    having = {document: before for document, before in texts.items() if pattern.search(before)}
    if not having:
        raise UserError(
            f"{', '.join(map(str, documents))}: nowhere the lines {begin.strip()} and {end.strip()} to write the table "
            "between; add them"
        )
    for document, before in having.items():
        write_text(document, pattern.sub(lambda _: f"{begin}{text}\n{end}", before))


def _mean_ious(study: Study, runs: Sequence[Run]) -> list[float]:
    results = [study.result(run) for run in runs]
    return [100 * result.mean_iou for result in results if result is not None]


def _cell(ious: Sequence[float]) -> str:
    if len(ious) < 2:
        return f"{ious[0]:.2f}" if ious else ""
    return f"{statistics.fmean(ious):.2f} ± {statistics.stdev(ious):.2f} ({len(ious)})"
