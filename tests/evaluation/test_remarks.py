"""What is said of an evaluation in words."""

import numpy as np
import pytest

from wss.evaluation.remarks import remarks
from wss.evaluation.result import Result

CASES = {
    "good": ([[90, 0, 0], [0, 5, 0], [0, 0, 5]], []),
    "nothing labelled": ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], []),
    "one class": ([[90, 0, 0], [5, 0, 0], [5, 0, 0]], ["Every pixel of every image is predicted as 'background'"]),
    "one rare class": ([[0, 90, 0], [0, 5, 0], [0, 5, 0]], ["Every pixel of every image is predicted as 'cat'"]),
    "never": ([[90, 0, 0], [0, 5, 0], [0, 5, 0]], ["Never predicted, though in the labels: 'dog'."]),
    "never, but absent": ([[90, 0, 0], [0, 5, 0], [0, 0, 0]], []),
    "below": (
        [[30, 30, 30], [3, 1, 1], [3, 1, 1]],
        ["The mIoU is below the 30.00 of predicting 'background' everywhere"],
    ),
    "just above": ([[88, 1, 1], [4, 1, 0], [4, 0, 1]], []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case):
    confusion, expected = CASES[case]
    result = Result(
        dataset="data",
        split="val",
        class_names=("background", "cat", "dog"),
        confusion=np.array(confusion),
        calibration=np.zeros([20, 3]),
        num_images=1,
        seconds=1.0,
    )
    lines = remarks(result)
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert line.startswith(words)
