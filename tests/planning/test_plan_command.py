"""wss-plan as a user runs it: the file trains as it is, a second plan overwrites nothing."""

import contextlib
import json
import re
import shutil

import gin
import pytest
import tensorflow as tf
from commands import run_command
from networks import two_convolutions

from wss import experiment
from wss.planning import guess, measure
from wss.planning.plan import Pace
from wss.planning.plan_splits import VALIDATION
from wss.run_directory import RunDirectory
from wss.runtime import strategy
from wss.training import train


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """A network of two convolutions, which takes no weights, on one device."""
    monkeypatch.setattr(strategy, "build_strategy", lambda *_: tf.distribute.MirroredStrategy(["CPU:0"]))
    monkeypatch.setattr(train, "load_initial_weights", lambda *args, **options: "weights of ImageNet")
    with two_convolutions():
        yield


@pytest.fixture
def data_dir(tiny_shapes, tmp_path):
    return shutil.copytree(tiny_shapes, tmp_path / "own data")


def plan(data_dir, run_dir, *flags):
    return run_command(["-m", "wss.plan", f"--data_dir={data_dir}", f"--run_dir={run_dir}", *flags])


@contextlib.contextmanager
def open_weights():
    """Guessing takes no weights either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guess, "load_initial_weights", lambda *args, **options: "weights of ImageNet")
        yield


@pytest.fixture
def measured(monkeypatch):
    """Nothing is measured: a step takes 0.1 s."""
    pace = Pace(step=0.1, evaluation=0.01, memory=2**30, memory_of="memory of this process")
    monkeypatch.setattr(measure, "measure", lambda *_: pace)


@pytest.mark.slow
def test_convert_plan_train(data_dir, tmp_path):
    run_dir = tmp_path / "run's"
    done = plan(data_dir, run_dir, "--hours=0.01", "--validation_split=val")
    assert done.returncode == 0, done.stderr
    file = run_dir / "experiment.gin"
    assert "7 classes, 32 masks" in done.stdout and f"written to {file}\n" in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("next: wss-train ")
    text = file.read_text()
    assert str(data_dir) in text and "for the measurement" not in text
    parameters = ["train.num_steps = 2", "train.evaluate_every = 1"]
    result = experiment.run([str(file)], parameters, run_dir, strategy=strategy.build_strategy())
    assert result.num_images == 6
    assert gin.query_parameter("train.keep_best") is True
    assert (run_dir / "best.weights.h5").exists() and file.read_text() == text


def test_a_plan_is_trained_in_its_folder(tmp_path, monkeypatch):
    plan, launched = tmp_path / "experiment.gin", {}
    monkeypatch.setattr(experiment, "run", lambda *files, **options: launched.update(options))
    done = run_command(["-m", "wss.train", f"--gin_file={plan}"])
    assert done.returncode == 0, done.stderr
    assert launched["run_dir"] == str(tmp_path)


def test_a_plan_is_not_overwritten_unasked(data_dir, tmp_path, measured):
    assert plan(data_dir, tmp_path / "run").returncode == 0
    file = tmp_path / "run" / "experiment.gin"
    file.write_text("# mine\n")
    done = plan(data_dir, tmp_path / "run")
    assert done.returncode == 2 and "experiment.gin: exists; train with it, add --overwrite" in done.stderr
    assert file.read_text() == "# mine\n"
    assert plan(data_dir, tmp_path / "run", "--overwrite", "--hours=0.05").returncode == 0
    assert "include 'gin_configs/methods/supervised.gin'" in file.read_text()


def test_a_plan_guesses_tags_keeps_those_that_somebody_corrected_and_trains_from_them(data_dir, tmp_path, measured):
    run_dir = tmp_path / "run"
    flags = ["--labeled_split=train_1_4", "--unlabeled_split=train", "--method=pseudoseg_guessed_labels"]
    with open_weights():
        done = plan(data_dir, run_dir, *flags)
        assert done.returncode == 0, done.stderr
        file, tags = run_dir / "experiment.gin", run_dir / "guessed_labels.csv"
        assert "Of the 24 photos to guess" in done.stdout and f"written to {tags}" in done.stdout
        assert f"TrainingData.image_labels = '{tags}'" in file.read_text()
        lines = tags.read_text().splitlines()
        tags.write_text("\n".join([*lines[:-1], f"{lines[-1].split(',')[0]},star"]) + "\n")
        corrected = tags.read_bytes()
        done = plan(data_dir, run_dir, *flags, "--overwrite")
        assert f"{tags}: kept, as somebody may have corrected it" in done.stdout and tags.read_bytes() == corrected
    parameters = ["train.num_steps = 1", "train.evaluate_every = 1"]
    assert experiment.run([str(file)], parameters, run_dir, strategy=strategy.build_strategy()).num_images == 6


def test_two_plans_at_once(data_dir, tmp_path, measured):
    run = RunDirectory(tmp_path / "run")
    with run.held():
        done = plan(data_dir, run.path, "--overwrite")
    assert done.returncode == 2 and "another training or wss-plan is running there" in done.stderr
    assert not run.plan.exists()


def test_a_plan_to_be_compared(data_dir, tmp_path, measured):
    flags = ["--compare", "--hours=0.5", "--unlabeled_split=train", "--method=pseudoseg"]
    done = plan(data_dir, tmp_path / "run", *flags)
    assert done.returncode == 0, done.stderr
    command = done.stderr.strip().splitlines()[-1]
    assert command.startswith("next: wss-compare ") and command.endswith(" --methods=pseudoseg --strategy=mirrored")
    assert " --hours=0.25 " in command and " --unlabeled_split=train " in command
    done = plan(data_dir, tmp_path / "run", "--compare", "--overwrite")
    assert "the plan is supervised training, which is the baseline" in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("next: wss-train ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--labeled_split=nothing"], "--labeled_split=nothing: split 'nothing' of .* has no masks"),
        (["--hours=0"], "--hours"),
        (["--method=magic"], "--method"),
        (["--method=pseudoseg"], "--method=pseudoseg: it learns from photos without masks too, and there are none"),
        (
            ["--method=pseudoseg_image_labels", "--unlabeled_split=hidden"],
            "--method=pseudoseg_image_labels: 0 of the 32 photos of 'hidden' have tags",
        ),
        (["--data_dir=/nowhere"], "/nowhere/dataset.json: not found"),
    ],
)
def test_what_cannot_be_planned_leaves_nothing(data_dir, tmp_path, flags, message):
    path = data_dir / "dataset.json"
    content = json.loads(path.read_text())
    content["splits"]["hidden"] = {**content["splits"]["train"], "hide_masks": True}
    path.write_text(json.dumps(content))
    done = plan(data_dir, tmp_path / "run", *flags)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "run").exists()


def test_a_plan_without_masks_for_validation(data_dir, tmp_path, measured):
    """The split is made in the data set, and the plan takes it."""
    done = plan(data_dir, tmp_path / "run", "--labeled_split=val", "--hours=0.02")
    assert done.returncode == 0, done.stderr
    assert f"Evaluation.split = '{VALIDATION}'" in (tmp_path / "run" / "experiment.gin").read_text()
