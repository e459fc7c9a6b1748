"""Studies: what decides a run, records that outlive it, going on, and one real study of seconds."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from wss.errors import UserError
from wss.evaluation.result import Result, write_json
from wss.workflows.studies import study as studies
from wss.workflows.studies.runs import Run
from wss.workflows.studies.study import Study

RECIPE = """
load_dataset.directory = 'data/streets'
train.initial_weights = 'imagenet'
train.num_steps = 100
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.gin"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Titles of the stages that ran; each leaves a result and its configuration at once."""
    titles = []

    def run_all(stages):
        for stage in stages:
            titles.append(stage.title)
            folder = stage.result.parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "operative_config.gin").write_text("train.num_steps = 100\n")
            write_json(result([[3, 1], [0, 4]]), stage.result)

    monkeypatch.setattr(studies, "run_all", run_all)
    return titles


def result(confusion) -> Result:
    return Result("streets", "val", ("road", "bus"), np.array(confusion), np.zeros([15, 3]), 1, 1.0)


def study(tmp_path: Path, *parameters: str) -> Study:
    return Study(tmp_path / "runs", tmp_path / "records", parameters=parameters)


def test_settings_are_bindings_and_seed_without_the_places_of_things(tmp_path, recipe):
    run = Run("a", str(recipe), ("PseudoSeg.temperature = 0.3",), seed=4)
    expected = ["PseudoSeg.temperature = 0.3", "train.num_steps = 100", "seed = 4"]
    assert study(tmp_path).settings(run) == expected
    assert study(tmp_path, "load_dataset.directory = 'elsewhere'").settings(run) == expected
    student = Run("b", str(recipe), teacher=run)
    assert study(tmp_path).settings(student) == [
        "train.num_steps = 100",
        "seed = 0",
        *(f"teacher: {line}" for line in expected),
    ]


def test_image_level_labels_are_guessed_once_for_a_labelled_list_and_before_the_training(tmp_path, recipe):
    recipe.write_text(RECIPE.replace("train.initial_weights = 'imagenet'", "TrainingData.labeled_split = 'few'"))
    own = study(tmp_path, "build_model.output_stride = 8")
    own = dataclasses.replace(own, guessing="tools.guess")
    stages = [
        own.stages(Run(f"guessed/{seed}", str(recipe), ("train.num_steps = 50",), seed=seed, guessed_labels=True))
        for seed in (0, 1)
    ]
    file = tmp_path / "runs/guessed_labels/few.csv"
    for guess, training in stages:
        assert guess.command[:2] == ["tools.guess", f"--gin_file={recipe}"] and guess.done == guess.result == file
        assert f"--output={file}" in guess.command and "--gin_param=build_model.output_stride = 8" in guess.command
        assert f"--gin_param=TrainingData.image_labels = '{file}'" in training.command
    # Where the file lies decides nothing.
    run = Run("a", str(recipe), (f"TrainingData.image_labels = '{file}'",))
    assert not any("image_labels" in line for line in own.settings(run))


def test_a_recorded_run_is_not_trained_again_even_without_its_folder(tmp_path, recipe, trained):
    run = Run("method/list/seed_0", str(recipe))
    assert study(tmp_path).result(run) is None
    study(tmp_path).finish(run)
    os.rename(tmp_path / "runs", tmp_path / "lost")
    study(tmp_path).finish(run)
    assert trained == ["method/list/seed_0"]
    assert study(tmp_path).result(run).mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_a_record_says_by_which_command_and_configuration(tmp_path, recipe, trained):
    run = Run("a", str(recipe), ("train.num_steps = 50",), seed=2)
    study(tmp_path).finish(run)
    record = json.loads(study(tmp_path).record_file(run).read_text())
    (command,) = record["commands"]
    assert command == (
        f"wss-train --gin_file={recipe} --run_dir={tmp_path}/runs/a --seed=2 '--gin_param=train.num_steps = 50'"
    )
    assert record["operative_config"] == ["train.num_steps = 100"]
    assert record["result"]["confusion"] == [[3, 1], [0, 4]]


def test_a_record_of_other_settings_is_refused(tmp_path, recipe, trained):
    run = Run("a", str(recipe))
    study(tmp_path).finish(run)
    recipe.write_text(RECIPE.replace("100", "200"))
    with pytest.raises(
        UserError, match=r"records/a.json: of other settings \(train.num_steps = 100; train.num_steps = 200\)"
    ):
        study(tmp_path).result(run)
    assert trained == ["a"]


def test_a_student_comes_after_its_teacher_and_starts_from_what_the_recipe_says(tmp_path, recipe):
    """The teacher's weights only label: `Rounds.start` is the recipe's."""
    rounds = (
        "Rounds.alphas = (1.0,)",
        "Rounds.policy = 'threshold'",
        "Rounds.threshold = 0.5",
        "Rounds.start = 'initial'",
    )
    splits = ("TrainingData.labeled_split = 'few'", "TrainingData.unlabeled_split = 'all'")
    teacher = Run("supervised", str(recipe), splits)
    student = Run("student", str(recipe), (*splits, *rounds), seed=5, teacher=teacher)
    made = study(tmp_path)
    first, labels, second = made.stages(student)
    assert first == made.stages(teacher)[0]
    assert labels.command[0] == "wss.label" and f"--run_dir={tmp_path}/runs/supervised" in labels.command
    assert second.command[0] == "wss.train" and "--seed=5" in second.command
    assert f"--run_dir={made.folder(student)}" in second.command
    assert not any("initial_weights" in flag for flag in second.command)


@pytest.mark.slow
def test_a_study_of_seconds(tmp_path, tiny_shapes, monkeypatch):
    """A PseudoSeg run whose pseudo labels are taken apart, and the records of both."""
    monkeypatch.chdir(Path(__file__).resolve().parents[3])
    recipe = tmp_path / "tiny.gin"
    lines = {**TINY, "load_dataset.directory": f"'{tiny_shapes}'", "train.summary_every": 1}
    recipe.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
    made, run = study(tmp_path), Run("pseudoseg", str(recipe))
    made.finish(run)
    made.finish_label_sources(run, "tools.evaluate_pseudo_labels")
    result, sources = made.result(run), made.label_sources(run)
    assert sources.results["decoder"].num_images == result.num_images > 0
    scalars = made.scalars(run)
    assert {"gate/recall", "total"} <= scalars.keys() and list(scalars["total"]) == list(scalars["gate/recall"]) != []
    # At borders they differ: see `evaluate_label_sources`.
    assert sources.results["decoder"].pixel_accuracy == pytest.approx(result.pixel_accuracy, abs=0.05)
