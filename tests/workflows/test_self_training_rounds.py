"""Self-training in rounds: what grows, which commands in which order, and the table."""

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest

from wss import config
from wss.errors import UserError
from wss.evaluation.result import Result, write_json
from wss.methods.dars.rounds import Rounds
from wss.workflows import self_training_comparison as comparison
from wss.workflows.self_training_rounds import Plan, scale_range
from wss.workflows.stages import command_line

BINDINGS = """
load_dataset.directory = 'data/streets'
TrainingData.labeled_split = 'train_1_8'
TrainingData.unlabeled_split = 'rest'
Augmentation.min_scale = 0.25
Augmentation.max_scale = 1.0
train.num_steps = 100
Rounds.scale_growth = ((0.0, 0.0), (0.2, 0.5))
"""
ROUND_0 = [
    "wss.train",
    "--gin_file=streets.gin",
    "--run_dir=runs/streets/round_0",
    "--seed=3",
    "--gin_param=train.num_steps = 100",
    "--gin_param=train.method = @Supervised()",
    "--strategy=mirrored",
]
LABELS_1 = [
    "wss.label",
    "--run_dir=runs/streets/round_0",
    "--data_dir=data/streets",
    "--split=rest",
    "--labeled_split=train_1_8",
    "--output_dir=runs/streets/round_1/labels",
    "--policy=dars",
    "--alpha=0.2",
    "--sample=candidates",
    "--rounding=largest_remainder",
    "--temperature=1.0",
    "--seed=3",
    "--strategy=mirrored",
]
ROUND_1 = [
    "wss.train",
    "--gin_file=streets.gin",
    "--run_dir=runs/streets/round_1",
    "--seed=3",
    "--gin_param=train.num_steps = 100",
    "--gin_param=train.method = @SelfTraining()",
    "--gin_param=TrainingData.pseudo_directory = 'runs/streets/round_1/labels'",
    "--gin_param=train.num_steps = 100",
    "--gin_param=train.initial_weights = 'runs/streets/round_0'",
    "--gin_param=build_optimizer.steps_before = 100",
    "--gin_param=Augmentation.min_scale = 0.25",
    "--gin_param=Augmentation.max_scale = 1",
    "--strategy=mirrored",
]


def plan(tmp_path: Path, *parameters: str, run_dir: str | Path = "runs/streets", **changes) -> Plan:
    """Plans the rounds of `BINDINGS`, with seed 3 and one parameter of the user's."""
    (tmp_path / "streets.gin").write_text(BINDINGS)
    config.parse_config([str(tmp_path / "streets.gin")], list(parameters))
    recipe = Rounds(**changes)
    return Plan(
        recipe,
        Path(run_dir),
        gin_files=["streets.gin"],
        parameters=["train.num_steps = 100"],
        launch=["--strategy=mirrored"],
        seed=3,
    )


def difference(found: list[str], expected: list[str]) -> tuple[set[str], set[str]]:
    """(what is new, what is gone)."""
    return set(found) - set(expected), set(expected) - set(found)


def test_scales_of_the_paper_grow_by_beta():
    """DARS on Cityscapes, crop 361: 0.25 .. 1 in the first round, 0.2 .. 1.5 in the second."""
    assert scale_range(0.25, 1.0, beta_min=0.2, beta_max=0.5) == pytest.approx((0.2, 1.5))
    assert scale_range(0.5, 1.5, beta_min=0.0, beta_max=1 / 3) == pytest.approx((0.5, 2.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "drs"}, "Rounds.policy = 'drs', expected one of threshold, cbst, da, dars. Did you mean 'dars'?"),
        ({"sample": "tie"}, "Rounds.sample = 'tie', expected one of candidates, ties. Did you mean 'ties'?"),
        ({"rounding": "flor"}, "Rounds.rounding = 'flor', expected one of largest_remainder, floor. Did you mean"),
        ({"start": "scratch"}, "Rounds.start = 'scratch', expected one of teacher, initial"),
        ({"alphas": ()}, "Rounds.alphas = (), expected a share of the pixels for each round"),
        ({"alphas": 0.2}, "Rounds.alphas = 0.2, expected a share of the pixels for each round"),
        ({"alphas": (20, 50)}, "Rounds.alphas = (20, 50), expected a share of the pixels for each round"),
        (
            {"scale_growth": ((0.2, 0.5),)},
            "Rounds.scale_growth = ((0.2, 0.5),), expected a pair for each of the 2 rounds",
        ),
        ({"scale_growth": (0.2, 0.5)}, "Rounds.scale_growth = (0.2, 0.5), expected a pair for each of the rounds"),
        ({"threshold": 0.5}, "Rounds.threshold = 0.5 is for Rounds.policy = 'threshold', not 'dars'"),
        (
            {"temperature": 1.27, "fit_temperature_on": "val"},
            "Rounds.temperature and Rounds.fit_temperature_on: give one of them",
        ),
    ],
)
def test_rounds_that_cannot_be_are_refused_before_anything_runs(changes, message):
    with pytest.raises(UserError) as error:
        Rounds(**changes)
    line, *rest = str(error.value).splitlines()
    assert line.startswith(message)
    # Gin's, which the commands leave out.
    assert all(line.startswith("  In call to configurable") for line in rest)


def test_the_first_three_commands_to_the_letter(tmp_path):
    stages = plan(tmp_path).stages
    assert [stage.title for stage in stages] == [
        "round 0: training",
        "round 1: labelling",
        "round 1: training",
        "round 2: labelling",
        "round 2: training",
    ]
    assert [list(stage.command) for stage in stages[:3]] == [ROUND_0, LABELS_1, ROUND_1]


def test_a_later_round_learns_from_the_student_before(tmp_path):
    """Scales (0.25 .. 1) grow by (0.2, 0.5) to 0.2 .. 1.5; two rounds of 100 steps went before."""
    labels, training = (list(stage.command) for stage in plan(tmp_path).stages[3:])
    new, gone = difference(labels, LABELS_1)
    assert new == {"--run_dir=runs/streets/round_1", "--output_dir=runs/streets/round_2/labels", "--alpha=0.5"}
    assert len(gone) == 3
    new, gone = difference(training, ROUND_1)
    assert new == {
        "--run_dir=runs/streets/round_2",
        "--gin_param=TrainingData.pseudo_directory = 'runs/streets/round_2/labels'",
        "--gin_param=train.initial_weights = 'runs/streets/round_1'",
        "--gin_param=build_optimizer.steps_before = 200",
        "--gin_param=Augmentation.min_scale = 0.2",
        "--gin_param=Augmentation.max_scale = 1.5",
    }
    assert len(gone) == 6


@pytest.mark.parametrize(
    ("changes", "new", "gone"),
    [
        ({"policy": "cbst"}, {"--policy=cbst"}, {"--policy=dars"}),
        (
            {"policy": "threshold", "threshold": 0.96},
            {"--policy=threshold", "--threshold=0.96"},
            {"--policy=dars", "--alpha=0.2"},
        ),
        ({"sample": "ties"}, {"--sample=ties"}, {"--sample=candidates"}),
        ({"rounding": "floor"}, {"--rounding=floor"}, {"--rounding=largest_remainder"}),
        ({"temperature": 1.27}, {"--temperature=1.27"}, {"--temperature=1.0"}),
        ({"fit_temperature_on": "val"}, {"--fit_temperature_on=val"}, set()),
        ({"keep_predictions": True}, {"--predictions_dir=runs/streets/round_0/predictions"}, set()),
        ({"teacher": "runs/other"}, {"--run_dir=runs/other"}, {"--run_dir=runs/streets/round_0"}),
    ],
)
def test_what_the_labelling_is_told(tmp_path, changes, new, gone):
    (labels, *_) = (stage for stage in plan(tmp_path, **changes).stages if stage.title == "round 1: labelling")
    assert difference(list(labels.command), LABELS_1) == (new, gone)


@pytest.mark.parametrize(
    ("changes", "new", "gone"),
    [
        ({"start": "initial"}, set(), {"--gin_param=train.initial_weights = 'runs/streets/round_0'"}),
        ({"resume_rate": False}, set(), {"--gin_param=build_optimizer.steps_before = 100"}),
        (
            {"scale_growth": ()},
            set(),
            {"--gin_param=Augmentation.min_scale = 0.25", "--gin_param=Augmentation.max_scale = 1"},
        ),
        ({"labeled_batch_size": 2}, {"--gin_param=TrainingData.labeled_batch_size = 2"}, set()),
        (
            {"num_steps": 40},
            {"--gin_param=train.num_steps = 40", "--gin_param=build_optimizer.steps_before = 40"},
            {"--gin_param=build_optimizer.steps_before = 100"},
        ),
        (
            {"teacher": "runs/other"},
            {"--gin_param=train.initial_weights = 'runs/other'"},
            {"--gin_param=train.initial_weights = 'runs/streets/round_0'"},
        ),
    ],
)
def test_what_the_student_is_told(tmp_path, changes, new, gone):
    (training, *_) = (stage for stage in plan(tmp_path, **changes).stages if stage.title == "round 1: training")
    assert difference(list(training.command), ROUND_1) == (new, gone)


def test_settings_of_the_labelling_are_handed_on(tmp_path):
    bindings = "Labeling.window = (361, 361)", "Labeling.average = 'logits'"
    labels = plan(tmp_path, *bindings).stages[1]
    assert difference(list(labels.command), LABELS_1)[0] == {f"--gin_param={binding}" for binding in bindings}


def test_a_teacher_that_is_given_is_not_trained(tmp_path):
    made = plan(tmp_path, teacher="runs/other", alphas=(0.3,), scale_growth=())
    assert [stage.title for stage in made.stages] == ["round 1: labelling", "round 1: training"]
    assert made.result(0) == Path("runs/other/eval_val.json")


def test_more_supervised_steps_are_those_of_the_rounds_without_pseudo_labels(tmp_path):
    made = plan(tmp_path, labeled_batch_size=2)
    first, second = made.more_supervised_steps()
    new, gone = difference(list(first.command), ROUND_1)
    assert new == {"--run_dir=runs/streets/supervised_1", "--gin_param=train.method = @Supervised()"}
    assert gone == {
        "--run_dir=runs/streets/round_1",
        "--gin_param=train.method = @SelfTraining()",
        "--gin_param=TrainingData.pseudo_directory = 'runs/streets/round_1/labels'",
    }
    assert first.result == Path("runs/streets/supervised_1/eval_val.json")
    new, gone = difference(list(second.command), list(made.stages[-1].command))
    assert "--gin_param=train.initial_weights = 'runs/streets/supervised_1'" in new
    assert "--gin_param=train.initial_weights = 'runs/streets/round_1'" in gone


@pytest.mark.parametrize("name", ["load_dataset.directory", "TrainingData.unlabeled_split", "train.num_steps"])
def test_what_the_rounds_need_and_the_recipe_lacks_is_named(name):
    lines = [line for line in BINDINGS.splitlines() if not line.startswith(name)]
    config.parse_config([], lines)
    with pytest.raises(UserError, match=f"gin: {name} is not set, which the rounds need"):
        _ = Plan(Rounds(), Path("runs"), gin_files=[], parameters=[]).stages


def test_a_printed_command_is_read_back_by_a_shell(tmp_path):
    for stage in plan(tmp_path, "Labeling.average = 'logits'").stages:
        words = shlex.split(command_line(stage))
        assert words == [stage.command[0].replace("wss.", "wss-"), *stage.command[1:]]


def test_begin_refuses_other_rounds_in_the_same_folder(tmp_path, tiny_shapes):
    of_shapes = (
        f"load_dataset.directory = '{tiny_shapes}'",
        "TrainingData.labeled_split = 'train_1_4'",
        "TrainingData.unlabeled_split = 'train'",
    )
    run_dir = tmp_path / "runs"
    plan(tmp_path, *of_shapes, run_dir=run_dir).begin()
    # Neither changes labels or students.
    plan(tmp_path, *of_shapes, run_dir=run_dir, keep_predictions=True, teacher=str(run_dir / "round_0")).begin()
    with pytest.raises(UserError, match=r"runs: has rounds with policy = dars, now cbst; give another folder"):
        plan(tmp_path, *of_shapes, run_dir=run_dir, policy="cbst").begin()
    with pytest.raises(UserError, match="has rounds with labeled_split = train_1_4, now train_1_8"):
        plan(tmp_path, *of_shapes, "TrainingData.labeled_split = 'train_1_8'", run_dir=run_dir).begin()


def test_begin_names_a_split_that_the_data_set_lacks(tmp_path, tiny_shapes):
    directory = f"load_dataset.directory = '{tiny_shapes}'"
    made = plan(tmp_path, directory, "TrainingData.labeled_split = 'train_1_4'", run_dir=tmp_path / "runs")
    with pytest.raises(UserError, match="no split 'rest'"):
        made.begin()
    assert not (tmp_path / "runs").exists()


MANIFEST = {
    "classes": ["road", "pole", "bus"],
    "target_distribution": [0.97, 0.02, 0.01],
    "num_pixels": 400,
    "selection": {"kept": [60, 15, 5]},
    "accuracy": 0.75,
    "kl_to_labeled": 0.002,
    "kl_to_true": None,
}


def result(confusion) -> Result:
    return Result("streets", "val", ("road", "pole", "bus"), np.array(confusion), np.zeros([1, 3]), 1, 1.0)


def test_facts_of_labels_by_hand():
    """80 of 400 pixels; a class without any label is infinitely far from the true ones."""
    assert comparison.label_facts(MANIFEST) == (20.0, 75.0, 2.0, math.inf)
    kept, accuracy, *_ = comparison.label_facts({**MANIFEST, "accuracy": None})
    assert kept == 20 and math.isnan(accuracy)


def test_mean_iou_of_rare_classes_by_hand():
    found = result([[6, 2, 0], [1, 2, 1], [0, 0, 1]])
    assert found.iou == pytest.approx({"road": 6 / 9, "pole": 2 / 6, "bus": 1 / 2})
    assert comparison.tail_mean_iou(found, MANIFEST, 0.02) == pytest.approx(1 / 2)
    assert comparison.tail_mean_iou(found, MANIFEST, 0.03) == pytest.approx((2 / 6 + 1 / 2) / 2)
    assert math.isnan(comparison.tail_mean_iou(found, MANIFEST, 0.01))


def test_a_rare_class_that_is_not_evaluated_is_left_out():
    found = result([[6, 2, 0], [1, 2, 0], [0, 0, 0]])
    assert comparison.tail_mean_iou(found, MANIFEST, 0.03) == pytest.approx(2 / 5)
    assert math.isnan(comparison.tail_mean_iou(found, MANIFEST, 0.02))


def test_table_of_two_finished_rounds(tmp_path):
    made = plan(tmp_path, run_dir=tmp_path, alphas=(0.2,), scale_growth=())
    made.labels(1).mkdir(parents=True)
    (made.labels(1) / "manifest.json").write_text(json.dumps(MANIFEST))
    write_json(result([[5, 0, 0], [5, 0, 0], [0, 0, 10]]), made.result(0))  # 5 / 10, 0, 1
    write_json(result([[8, 0, 0], [0, 8, 0], [2, 2, 0]]), made.result(1))  # 8 / 10, 8 / 10, 0
    lines = comparison.rounds_table(made, 0.015).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["round", *comparison.LABEL_FACTS, "mIoU", "mIoU of rare"]
    assert cells[2:] == [
        ["0", "-", "-", "-", "-", "50.00", "100.00"],
        ["1", "20.00", "75.00", "2.00", "inf", "53.33", "0.00"],
    ]
