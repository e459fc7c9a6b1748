"""What a comparison runs, and what it says of results that are known by hand."""

import dataclasses
import json

import numpy as np
import pytest
from planned import ANIMALS

from wss.evaluation.result import Result
from wss.planning.comparison import Comparison, conclusions, possible_methods
from wss.planning.rules import PSEUDOSEG, SUPERVISED, WITH_TAGS

NAMES = ("background", "class_1", "class_2", "class_3")


def of_diagonal(*right):
    """A result of four classes: `right` of each class's 100 pixels, the others are called the next class."""
    confusion = np.diag(right).astype(np.int64)
    for c in range(4):
        confusion[c, (c + 1) % 4] = 100 - right[c]
    return Result("own", "val", NAMES, confusion, np.zeros([20, 3]), 10, 1.0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ["supervised", "pseudoseg", "self_training", "pseudoseg_guessed_labels"]),
        ({"num_tagged": 3131}, ["supervised", "pseudoseg", "self_training", "pseudoseg_image_labels"]),
        ({"num_unlabeled": 0}, ["supervised"]),
    ],
)
def test_methods_that_can_be(changed, expected):
    assert possible_methods(dataclasses.replace(ANIMALS, **changed)) == expected


def test_a_gain_and_a_loss_are_explained_by_their_classes():
    results = {
        SUPERVISED: of_diagonal(50, 50, 50, 50),
        PSEUDOSEG: of_diagonal(90, 90, 50, 50),
        WITH_TAGS: of_diagonal(50, 50, 10, 50),
    }
    gain, loss, advice = conclusions(results, ANIMALS, shorter_side=64, steps=800)
    assert gain.startswith("PseudoSeg is ") and "points above the baseline; most of it is " in gain
    assert "background (+" in gain and "class_1 (+" in gain
    # Objects of class 2 are 0.4 of 64 pixels wide, and a cell has 16.
    assert "points below the baseline; what it loses is class_2 (-" in loss and "objects of 1.6 cells" in loss
    assert advice == "Take PseudoSeg."


def test_too_few_steps_say_nothing():
    results = {SUPERVISED: of_diagonal(50, 50, 50, 50), PSEUDOSEG: of_diagonal(90, 90, 90, 90)}
    (line,) = conclusions(results, ANIMALS, shorter_side=256, steps=5)
    assert line.startswith("This says nothing: the baseline had 5 steps, expected 150 or more")


def test_what_seeds_make_is_no_gain():
    results = {SUPERVISED: of_diagonal(50, 50, 50, 50), PSEUDOSEG: of_diagonal(52, 51, 50, 50)}
    same, advice = conclusions(results, ANIMALS, shorter_side=256, steps=800)
    assert same == "PseudoSeg: within 1.5 points of the baseline, as much as seeds differ."
    assert advice == "Take supervised, the simplest of the best."


def test_classes_that_are_absent_say_nothing():
    absent, better = of_diagonal(50, 50, 50, 50), of_diagonal(90, 90, 50, 50)
    for result in (absent, better):
        result.confusion[3] = result.confusion[:, 3] = 0
    gain, _ = conclusions({SUPERVISED: absent, PSEUDOSEG: better}, ANIMALS, shorter_side=256, steps=800)
    assert "class_3" not in gain and "nan" not in gain


@pytest.fixture
def comparison(tmp_path):
    return Comparison(
        run_dir=tmp_path / "own",
        methods=["supervised", "pseudoseg"],
        plan_flags=["--data_dir=data/my own", "--hours=0.25"],
        validation="val",
        seed=3,
    )


def test_each_method_is_planned_and_trained_in_the_same_time(comparison):
    plan, train = comparison._stages("pseudoseg")
    folder = comparison.run_dir / "pseudoseg"
    assert plan.command == [
        "wss.plan", "--data_dir=data/my own", "--hours=0.25", f"--run_dir={folder}", "--method=pseudoseg",
    ]  # fmt: skip
    assert train.command == ["wss.train", f"--gin_file={folder}/experiment.gin", f"--run_dir={folder}", "--seed=3"]
    assert plan.done == folder / "experiment.gin" and train.result == folder / "eval_val.json"


def test_a_curve_is_over_shares_of_the_run(comparison):
    folder = comparison.folder("supervised")
    folder.mkdir(parents=True)
    content = {"split": "val", "images": "", "mean_iou": {"100": 0.1, "200": None, "400": 0.3}}
    (folder / "validation.json").write_text(json.dumps(content))
    assert comparison.curve("supervised") == {25: [10], 100: [30]}
