"""Tables of a study: cells by hand, what is not finished, and writing between marks."""

from types import SimpleNamespace

import numpy as np
import pytest

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.workflows.studies import voc_animals
from wss.workflows.studies.study import Run
from wss.workflows.studies.tables import Table, error_table, write_block

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
    found = cells(TABLE.markdown(Recorded(a=0.3, b=0.5, c=0.25, d=0.75)))
    assert found[0] == ["Table 2", "1/16", "1/8"]
    assert found[2:] == [["supervised", "40.00 ± 14.14 (2)", "25.00"], ["ours", "", "75.00"]]


def test_what_is_not_recorded_is_empty_and_a_row_without_anything_is_left_out():
    study = Recorded(b=0.5)
    assert cells(TABLE.markdown(study))[2:] == [["supervised", "50.00", ""]]
    assert TABLE.values(study) == {"supervised": {"1/16": [50.0]}}
    assert TABLE.markdown(Recorded()) == "Nothing is recorded yet."


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


def test_the_queue_of_voc_animals_has_each_run_once_and_the_most_telling_first():
    queue = voc_animals.queue()
    assert len(queue) == len(set(queue)) == len({run.name for run in queue})
    assert set(queue) == {run for table in voc_animals.TABLES.values() for run in table}
    methods = {run.name.split("/")[0] for run in queue[:8]}
    assert methods == {"supervised", "self_training", "pseudoseg", "pseudoseg_image_labels"}
    assert {run.seed for run in queue[:8]} == {0}


def test_teachers_of_voc_animals_are_supervised_runs_of_the_same_list_and_seed():
    for run in voc_animals.queue():
        method, _, which = run.name.partition("/")
        if method.startswith("self_training"):
            assert run.teacher.name == f"supervised/{which}"
        else:
            assert run.teacher is None
