"""BAP + NAL from one command: which commands, what is noticed when they are called again, and a run that is killed."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from tools_in_processes import finish, kill, start

from wss import config
from wss.conversion.shapes import build_shapes
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.methods.bap_nal.stages import BoxStages
from wss.workflows.box_stages import BoxPlan
from wss.workflows.stages import command_line

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = """
load_dataset.directory = 'data/own'
train.method = @NoiseAware()
train.num_steps = 100
BoxMasks.grid = 2
BoxStages.classification = ('train.num_steps = 80', "build_model.classifier = 'linear'")
"""
TINY = {
    "build_model.backbone": "'mobilenet_v2'",
    "build_model.depth_multiplier": 0.25,
    "build_model.aspp_rates": (),
    "build_model.use_decoder": False,
    "build_model.classifier": "'cosine'",
    "train.method": "@NoiseAware()",
    "train.num_steps": 4,
    "train.pictures_every": 0,
    "TrainingData.labeled_split": "'train'",
    "TrainingData.unlabeled_batch_size": 2,
    "TrainingData.pseudo_batch_size": 2,
    "TrainingData.crop_size": "(33, 33)",
    "Augmentation.cutout_half_side": 0,
    "Evaluation.batch_size": 2,
    "BoxStages.split": "'train'",
    "BoxStages.classification": "('train.num_steps = 3', \"build_model.classifier = 'linear'\")",
}


def plan(tmp_path: Path, *parameters: str, run_dir: str | Path = "runs/own") -> BoxPlan:
    (tmp_path / "own.gin").write_text(BINDINGS)
    config.parse_config([str(tmp_path / "own.gin")], list(parameters))
    return BoxPlan(
        BoxStages(),
        Path(run_dir),
        gin_files=["own.gin"],
        parameters=list(parameters),
        launch=["--strategy=mirrored"],
        seed=3,
    )


def test_the_commands_to_the_letter(tmp_path):
    first, labels, last = (list(stage.command) for stage in plan(tmp_path).stages)
    assert first == [
        "wss.train",
        "--gin_file=own.gin",
        "--run_dir=runs/own/classification",
        "--seed=3",
        "--gin_param=train.method = @BoxClassification()",
        "--gin_param=TrainingData.unlabeled_split = 'boxes'",
        "--gin_param=TrainingData.labeled_split = 'boxes'",
        "--gin_param=train.evaluate_at_end = False",
        "--gin_param=train.evaluate_every = 0",
        "--gin_param=train.num_steps = 80",
        "--gin_param=build_model.classifier = 'linear'",
        "--strategy=mirrored",
    ]
    assert labels == [
        "wss.label",
        "--run_dir=runs/own/classification",
        "--data_dir=data/own",
        "--split=boxes",
        "--policy=boxes",
        "--output_dir=runs/own/labels",
        "--gin_param=BoxMasks.grid = 2",
        "--strategy=mirrored",
    ]
    assert last == [
        "wss.train",
        "--gin_file=own.gin",
        "--run_dir=runs/own/segmentation",
        "--seed=3",
        "--gin_param=TrainingData.pseudo_directory = 'runs/own/labels'",
        "--gin_param=TrainingData.labeled_split = 'boxes'",
        "--strategy=mirrored",
    ]
    assert command_line(plan(tmp_path).stages[1]).startswith("wss-label --run_dir=")


def test_every_command_has_parameters_that_gin_takes(tmp_path):
    for stage in plan(tmp_path).stages:
        config.parse_config(
            [str(tmp_path / "own.gin")],
            [word.removeprefix("--gin_param=") for word in stage.command if word.startswith("--gin_param=")],
        )


@pytest.mark.parametrize(
    ("parameter", "titles"),
    [
        ("BoxStages.classifier = 'runs/other'", ["stage 2", "stage 3"]),
        ("BoxStages.masks = 'data/masks'", ["stage 3"]),
    ],
)
def test_finished_stages_of_elsewhere(tmp_path, parameter, titles):
    stages = plan(tmp_path, parameter).stages
    assert [stage.title.partition(":")[0] for stage in stages] == titles
    where = parameter.split("'")[1]
    assert any(where in word for word in stages[0].command)


def test_without_an_evaluation_the_weights_are_the_result(tmp_path):
    first, _, last = plan(tmp_path).stages
    assert first.result.name == "model.weights.h5" and last.result.name == "eval_val.json"
    *_, last = plan(tmp_path, "train.evaluate_at_end = False").stages
    assert last.result.name == "model.weights.h5"


def test_other_settings_in_the_same_folder_are_refused(tmp_path, boxed_shapes):
    here = ["load_dataset.directory = " + repr(str(boxed_shapes)), "BoxStages.split = 'train'"]
    plan(tmp_path, *here, run_dir=tmp_path / "run").begin()
    plan(tmp_path, *here, run_dir=tmp_path / "run").begin()
    with pytest.raises(UserError, match=r"has stages of other settings \(BoxMasks.grid = 2; BoxMasks.grid = 3\)"):
        plan(tmp_path, *here, "BoxMasks.grid = 3", run_dir=tmp_path / "run").begin()
    (tmp_path / "run" / "boxes.json").write_text("{")
    with pytest.raises(UserError, match="boxes.json"):
        plan(tmp_path, *here, run_dir=tmp_path / "run").begin()


def test_a_split_without_boxes_is_refused_before_anything_runs(tmp_path, tiny_shapes):
    parameters = [f"load_dataset.directory = {str(tiny_shapes)!r}", "BoxStages.split = 'train'"]
    with pytest.raises(UserError, match="BoxStages.split = 'train': the objects of 0 of its 32 images are known"):
        plan(tmp_path, *parameters, run_dir=tmp_path / "run").begin()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            ["build_model.head = 'deeplab_v2'"],
            "NoiseAware.loss = 'noise_aware' needs a head that ends in one classifier",
        ),
        (["Evaluation.split = 'test'"], "no split 'test'"),
    ],
)
def test_what_stage_3_would_refuse_is_told_first(tmp_path, boxed_shapes, parameters, message):
    here = [f"load_dataset.directory = {str(boxed_shapes)!r}", "BoxStages.split = 'train'"]
    with pytest.raises(UserError, match=message):
        plan(tmp_path, *here, *parameters, run_dir=tmp_path / "run").begin()
    assert not (tmp_path / "run").exists()


def test_without_masks_nothing_can_be_evaluated(tmp_path, boxed_shapes):
    info = DatasetInfo.load(boxed_shapes)
    splits = {name: dataclasses.replace(split, num_masks=0) for name, split in info.splits.items()}
    here = [f"load_dataset.directory = {str(boxed_shapes)!r}", "BoxStages.split = 'train'"]
    planned = plan(tmp_path, *here, run_dir=tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatasetInfo, "load", lambda folder: dataclasses.replace(info, splits=splits))
        with pytest.raises(UserError, match="has no masks to evaluate on; without any masks set train.evaluate_at_end"):
            planned.begin()
        plan(tmp_path, *here, "train.evaluate_at_end = False", run_dir=tmp_path / "run").begin()


@pytest.mark.parametrize("strategy", ["tpu", "multi_worker"])
def test_masks_are_made_on_one_host(tmp_path, strategy):
    planned = dataclasses.replace(plan(tmp_path), launch=[f"--strategy={strategy}"])
    with pytest.raises(UserError, match=f"--strategy={strategy}: masks are made on one host"):
        planned.begin()


def test_one_text_is_no_list_of_bindings():
    with pytest.raises(UserError, match="BoxStages.classification"):
        BoxStages(classification="train.num_steps = 80")


@pytest.fixture(scope="module")
def boxed_shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("boxed") / "shapes"
    build_shapes(folder, num_train=8, num_val=4, size=48, num_shards=2, boxes_from_masks=16)
    assert DatasetInfo.load(folder).split("train").num_with_boxes == 8
    return folder


def begin(tmp_path: Path, data: Path, *flags: str) -> subprocess.Popen:
    recipe = tmp_path / "tiny.gin"
    recipe.write_text("".join(f"{name} = {value}\n" for name, value in TINY.items()))
    return start("train_from_boxes", recipe, tmp_path / "run", data, *flags)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_a_model(tmp_path, boxed_shapes):
    run = tmp_path / "run"
    kill(begin(tmp_path, boxed_shapes), run / "classification" / "finished")
    assert not (run / "segmentation" / "finished").exists()
    output = finish(begin(tmp_path, boxed_shapes))
    assert "stage 1: box classifier: finished before" in output
    assert "masks: Y_crf" in output and "segmentation on val" in output and "the model:" in output
    scores = json.loads((run / "labels" / "manifest.json").read_text())["scores"]
    assert scores["filled boxes"]["mean_iou"] > 0.4
    assert (run / "labels" / "pngs" / "panels.png").exists()
    assert finish(begin(tmp_path, boxed_shapes)).count("finished before") == 3


@pytest.mark.slow
def test_the_plan_alone(tmp_path, boxed_shapes):
    output = finish(begin(tmp_path, boxed_shapes, "--plan"))
    assert [line.split()[0] for line in output.splitlines()] == ["wss-train", "wss-label", "wss-train"]
    assert not (tmp_path / "run").exists()
