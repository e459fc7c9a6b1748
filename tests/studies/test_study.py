"""Studies: what decides a run, records that outlive it, going on, and one real study of seconds."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from wss.errors import UserError
from wss.evaluation.evaluator import Result, write_json
from wss.studies import study as studies
from wss.studies.study import Run, Study

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
    """Titles of the phases that ran; each leaves a result and its configuration at once."""
    titles = []

    def run_all(phases):
        for phase in phases:
            titles.append(phase.title)
            folder = phase.result.parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "operative_config.gin").write_text("train.num_steps = 100\n")
            write_json(result([[3, 1], [0, 4]]), phase.result)

    monkeypatch.setattr(studies, "run_all", run_all)
    return titles


def result(confusion) -> Result:
    return Result("streets", "val", ("road", "bus"), np.array(confusion), np.zeros([15, 3]), 1, 1.0)


def study(tmp_path: Path, *parameters: str) -> Study:
    return Study(tmp_path / "runs", tmp_path / "records", parameters)


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


@pytest.mark.slow
def test_a_study_of_seconds(tmp_path, tiny_shapes, monkeypatch):
    """A supervised run, self-training with it as the teacher, and PseudoSeg, whose pseudo labels are taken apart."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    lines = {**TINY, "load_dataset.directory": f"'{tiny_shapes}'", "TrainingData.pseudo_batch_size": 2}
    lines |= {"Labeling.flip": False, "Rounds.alphas": (1.0,), "Rounds.policy": "'threshold'", "Rounds.threshold": 0.1}
    recipe = tmp_path / "tiny.gin"
    recipe.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
    made = study(tmp_path)
    teacher = Run("supervised", str(recipe), ("train.method = @Supervised()",))
    student = Run("self_training", str(recipe), ("Rounds.start = 'initial'",), teacher=teacher)
    pseudoseg = Run("pseudoseg", str(recipe))
    for run in (teacher, student, pseudoseg):
        made.finish(run)
        assert 0 <= made.result(run).mean_iou <= 1
    made.finish_parts(pseudoseg)
    parts = made.parts(pseudoseg)
    assert parts.results["decoder"].num_images == made.result(pseudoseg).num_images
    commands = json.loads(made.record_file(student).read_text())["commands"]
    assert [command.split()[0] for command in commands] == ["wss-train", "wss-label", "wss-train"]
