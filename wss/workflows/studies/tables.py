"""Tables of a study in Markdown, filled from its records, and how they get into a document."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.files import write_text
from wss.tables import format_table
from wss.workflows.studies.runs import Run, Table
from wss.workflows.studies.study import Study

NOTHING = "Nothing is recorded yet."

# What `PseudoSeg.losses` reports of the pseudo labels, by the heading of its column, in percent.
WATCHED_SCALARS = {
    "decoder acc.": "decoder/accuracy",
    "SGC acc.": "sgc/accuracy",
    "fusion acc.": "fusion/accuracy",
    "decoder ECE": "decoder/ece",
    "fusion ECE": "fusion/ece",
    "gate recall": "gate/recall",
    "gate precision": "gate/precision",
}


def mean_ious(table: Table, study: Study) -> dict[str, dict[str, list[float]]]:
    """Returns the mIoU in percent of the recorded runs of each cell; cells and rows without one are left out."""
    found = {}
    for title, row in table.rows.items():
        cells = {column: _recorded(study, runs) for column, runs in row.items()}
        found[title] = {column: ious for column, ious in cells.items() if ious}
    return {title: row for title, row in found.items() if row}


def mean_iou_table(table: Table, study: Study) -> str:
    """Returns what is recorded of a table: mIoU in percent, mean and standard deviation over seeds."""
    found = mean_ious(table, study)
    if not found:
        return NOTHING
    rows = [(title, *(_cell(row.get(column, [])) for column in table.columns)) for title, row in found.items()]
    return format_table((table.corner, *table.columns), rows)


def training_table(scalars: Mapping[str, Mapping[str, Mapping[int, float]]]) -> str:
    """Returns a row for each run: means, in percent, over what it wrote in the second half of its training.

    Args:
        scalars: Value by step by name by title; a run need not have all names.
    """
    rows = []
    for title, by_name in scalars.items():
        values = [by_name.get(name) for name in WATCHED_SCALARS.values()]
        rows.append((title, *(f"{100 * _late(by_step):.1f}" if by_step else "" for by_step in values)))
    return format_table(("second half of the training", *WATCHED_SCALARS), rows) if rows else NOTHING


def error_table(results: Mapping[str, Result]) -> str:
    """Returns a row for each result, in percent: how objects are found, how often their class is right, all IoUs.

    An object is "any class but the background". "Right class" is the share of right pixels among those that are an
    object and called one.

    Args:
        results: Evaluations by title, of a data set whose class 0 is the background.
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


def masks_table(scores: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Returns a row for the masks of each source, in percent: mIoU, how many pixels have a label, how many are right.

    Args:
        scores: What `Study.masks` returns, by title of the classifier.
    """
    rows = [
        (f"{title}: {source}", *(f"{100 * found[key]:.1f}" for key in ("mean_iou", "labeled", "accuracy")))
        for title, by_source in scores.items()
        for source, found in by_source.items()
    ]
    return format_table(("masks", "mIoU", "labelled", "right"), rows) if rows else NOTHING


def write_block(documents: Sequence[Path], name: str, text: str) -> None:
    """Writes `text` between the lines `<!-- name -->` and `<!-- end of name -->` of each document that has them.

    Raises:
        UserError: No document has them.
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


def _late(by_step: Mapping[int, float]) -> float:
    return statistics.fmean(value for step, value in by_step.items() if step > max(by_step) / 2)


def _recorded(study: Study, runs: Sequence[Run]) -> list[float]:
    results = [study.result(run) for run in runs]
    return [100 * result.mean_iou for result in results if result is not None]


def _cell(ious: Sequence[float]) -> str:
    if len(ious) < 2:
        return f"{ious[0]:.2f}" if ious else ""
    return f"{statistics.fmean(ious):.2f} ± {statistics.stdev(ious):.2f} ({len(ious)})"
