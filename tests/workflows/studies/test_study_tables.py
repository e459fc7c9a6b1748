"""Tables of a study: cells by hand, what is not finished, and writing between marks."""

from types import SimpleNamespace

import numpy as np
import pytest

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.workflows.studies.runs import Run, Table
from wss.workflows.studies.tables import error_table, mean_iou_table, mean_ious, write_block

RUNS = {name: Run(name, "recipe.gin") for name in "abcd"}
TABLE = Table(
    {
        "supervised": {"1/16": [RUNS["a"], RUNS["b"]], "1/8": [RUNS["c"]]},
        "ours": {"1/8": [RUNS["d"]]},
    },
    "Table 2",
)


class Recorded:
    """A study with the mIoU of some runs."""

    def __init__(self, **mean_ious: float):
        self.mean_ious = mean_ious

    def result(self, run: Run):
        return SimpleNamespace(mean_iou=self.mean_ious[run.name]) if run.name in self.mean_ious else None


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_cell_is_the_mean_and_the_standard_deviation_over_seeds():
    """The deviation of a sample: of .3 and .5 it is .1 sqrt(2)."""
    found = cells(mean_iou_table(TABLE, Recorded(a=0.3, b=0.5, c=0.25, d=0.75)))
    assert found[0] == ["Table 2", "1/16", "1/8"]
    assert found[2:] == [["supervised", "40.00 ± 14.14 (2)", "25.00"], ["ours", "", "75.00"]]


def test_what_is_not_recorded_is_empty_and_a_row_without_anything_is_left_out():
    study = Recorded(b=0.5)
    assert cells(mean_iou_table(TABLE, study))[2:] == [["supervised", "50.00", ""]]
    assert mean_ious(TABLE, study) == {"supervised": {"1/16": [50.0]}}
    assert mean_iou_table(TABLE, Recorded()) == "Nothing is recorded yet."


def test_errors_by_hand():
    """Of 10 pixels of objects 8 are called one, 6 by the right class; one pixel of the ground is called an object."""
    confusion = np.array([[9, 1, 0], [2, 4, 2], [0, 0, 2]])
    result = Result("voc", "val", ("background", "cat", "dog"), confusion, np.zeros([15, 3]), 1, 1.0)
    assert cells(error_table({"ours": result}))[0] == [
        "of the pixels",
        "mIoU",
        "object IoU",
        "object recall",
        "object precision",
        "right class",
        *result.class_names,
    ]
    iou = 9 / 12, 4 / 9, 2 / 4
    values = [np.mean(iou), 8 / 11, 8 / 10, 8 / 9, 6 / 8, *iou]
    assert cells(error_table({"ours": result}))[2] == ["ours", *(f"{100 * value:.1f}" for value in values)]
    assert error_table({}) == "Nothing is recorded yet."


def test_a_block_is_replaced_between_its_marks_wherever_they_are(tmp_path):
    text = "before\n<!-- main -->\n{}<!-- end of main -->\nafter\n<!-- other -->\nkept\n<!-- end of other -->\n"
    one, two, none = (tmp_path / name for name in ("one.md", "two.md", "none.md"))
    one.write_text(text.format("old\nlines\n"))
    two.write_text(text.format(""))
    none.write_text("nothing here\n")
    write_block([one, two, none], "main", r"new \1")
    assert one.read_text() == two.read_text() == text.format("new \\1\n")
    assert none.read_text() == "nothing here\n"


def test_a_block_that_no_document_has_is_an_error(tmp_path):
    (tmp_path / "a.md").write_text("<!-- main -->\n")
    with pytest.raises(UserError, match="a.md: nowhere the lines <!-- main --> and <!-- end of main -->"):
        write_block([tmp_path / "a.md"], "main", "text")
