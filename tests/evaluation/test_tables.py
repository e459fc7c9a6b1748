"""Tables, compared letter by letter."""

import dataclasses

import numpy as np
import pytest

from wss.errors import UserError
from wss.evaluation.result import Result
from wss.evaluation.tables import ABSENT_CLASSES, comparison_table, evaluation_table
from wss.tables import format_columns, format_table


def make_result(confusion, split="val"):
    calibration = np.zeros([15, 3])
    calibration[14] = [4, 3.8, 3]
    names = ("background", "cat", "dog")
    return Result("toy", split, names, np.array(confusion), calibration, 2, 1.0)


# IoU .5 and 1/3 and, for the dog that is only predicted, 0 in the mean.
FIRST = make_result([[2, 1, 0], [0, 1, 1], [0, 0, 0]])
SECOND = make_result([[3, 0, 0], [0, 2, 0], [0, 0, 0]])


def test_text_goes_left_and_numbers_right():
    table = format_table(["name", "x"], [("a", 1.5), ("longer", float("nan")), ("b", 10)], "Note.")
    assert table == (
        "| name   |    x |\n| ------ | ---: |\n| a      | 1.50 |\n| longer |    - |\n| b      |   10 |\n\nNote."
    )


def test_table_without_rows():
    assert format_table(["a", "bcde"], []) == "| a   | bcde |\n| --- | ---- |"


def test_rows_must_fit_the_headers():
    with pytest.raises(ValueError):
        format_table(["a", "b"], [("x",)])


def test_plain_columns():
    rows = [("", "train", "b"), ("images", "3", "1000"), ("c", "-", "x")]
    assert format_columns(rows) == "        train     b\nimages      3  1000\nc           -     x"
    assert format_columns(rows, "<><") == "        train  b\nimages      3  1000\nc           -  x"


def test_evaluation_table():
    assert evaluation_table(FIRST) == (
        "| class      |   IoU | accuracy | pixels |\n"
        "| ---------- | ----: | -------: | -----: |\n"
        "| background | 66.67 |    66.67 |  60.00 |\n"
        "| cat        | 33.33 |    50.00 |  40.00 |\n"
        "| dog        |     - |        - |   0.00 |\n"
        "\n"
        "|  mIoU | pixel acc. | mean acc. |   ECE | images |\n"
        "| ----: | ---------: | --------: | ----: | -----: |\n"
        "| 33.33 |      60.00 |     58.33 | 20.00 |      2 |\n"
        "\n" + ABSENT_CLASSES
    )


def test_evaluation_during_a_run_names_its_step():
    head, empty, *table = evaluation_table(dataclasses.replace(FIRST, step=80)).splitlines()
    assert (head, empty) == ("toy, split val, step 80", "")
    assert table == evaluation_table(FIRST).splitlines()


def test_comparison_table():
    assert comparison_table({"supervised": FIRST, "pseudoseg": SECOND}) == (
        "| method     |   mIoU | pixel acc. | mean acc. |   ECE | images |\n"
        "| ---------- | -----: | ---------: | --------: | ----: | -----: |\n"
        "| supervised |  33.33 |      60.00 |     58.33 | 20.00 |      2 |\n"
        "| pseudoseg  | 100.00 |     100.00 |    100.00 | 20.00 |      2 |\n"
        "\n"
        "| IoU        | supervised | pseudoseg |\n"
        "| ---------- | ---------: | --------: |\n"
        "| background |      66.67 |    100.00 |\n"
        "| cat        |      33.33 |    100.00 |\n"
        "| dog        |          - |         - |\n"
        "\n" + ABSENT_CLASSES
    )


def test_only_results_of_one_split_are_compared():
    other = make_result(FIRST.confusion, split="train")
    with pytest.raises(UserError, match="result 'b': on toy/train .* 'a' is on toy/val"):
        comparison_table({"a": FIRST, "b": other})
