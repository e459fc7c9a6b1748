"""The pages of a data set: what an inspection found, and what pseudo labels are."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.inspection import findings as inspections
from wss.pages.document import LARGEST_SHEET, picture, write_page
from wss.pages.findings import Finding

ALL_SHEETS = 14_000  # pixels of their longer sides together, which keeps a page of many splits below 5 MB


def write_inspection_page(
    path: str | os.PathLike,
    info: DatasetInfo,
    summaries: Mapping[str, dict],
    *,
    findings: Sequence[inspections.Finding],
    sheets: Mapping[str, np.ndarray],
    command: str,
) -> None:
    """Writes the page of an inspection.

    Args:
        path: The HTML file.
        info: The data set.
        summaries: Numbers of each split, see `Inspection.summary`.
        findings: Findings in all splits.
        sheets: Contact sheet of each split, uint8 [H, W, 3]; a split may have none.
        command: The command that writes it.

    Raises:
        UserError: A package is missing.
        WriteError: The file cannot be written.
    """
    write_page(
        path,
        "inspection.html",
        title=f"{info.name}: {info.num_classes} classes, {len(info.splits)} splits",
        subtitle=f"Data set in {info.directory}",
        written_by=command,
        info=info,
        summaries=summaries,
        findings=[
            Finding(f"{one.level}: {one.split}: {one.message}", one.level == inspections.PROBLEM) for one in findings
        ],
        sheets=_encoded(sheets),
    )


def write_labels_page(
    path: str | os.PathLike,
    info: DatasetInfo,
    *,
    facts: Sequence[str],
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    sheet: np.ndarray,
    command: str,
) -> None:
    """Writes the page of pseudo labels.

    Args:
        path: The HTML file.
        info: The data set of the labels.
        facts: Lines that sum them up.
        headers: Headers of the table.
        rows: Cells of each row, a class's first.
        sheet: Contact sheet of some photos with their labels, uint8 [H, W, 3].
        command: The command that writes it.

    Raises:
        UserError: A package is missing.
        WriteError: The file cannot be written.
    """
    write_page(
        path,
        "labels.html",
        title=f"Pseudo labels: {info.name}",
        subtitle=f"Data set in {info.directory}",
        written_by=command,
        facts=facts,
        headers=headers,
        rows=rows,
        sheets=_encoded({"labels": sheet}),
    )


def _encoded(sheets: Mapping[str, np.ndarray]) -> dict[str, str]:
    largest = min(LARGEST_SHEET, ALL_SHEETS // max(len(sheets), 1))
    return {name: picture(sheet, largest) for name, sheet in sheets.items()}
