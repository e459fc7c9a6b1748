"""What --dry_run says of a run: epochs, crops, initial weights, and the room that the run then really takes."""

import shutil
from collections import namedtuple

import pytest
import tensorflow as tf

from wss import config, experiment
from wss.run_directory import RunDirectory
from wss.tables import format_bytes
from wss.training import run_facts
from wss.training.train import Training

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
Usage = namedtuple("Usage", "total used free")


def facts_of(parameters, run_dir):
    """The lines that a dry run begins with."""
    experiment.configure([], parameters)
    settings = config.call(Training)
    trainer = settings.trainer(RunDirectory(run_dir), tf.distribute.MirroredStrategy(["CPU:0"]))
    weights = settings.initial_weights
    return run_facts.run_facts(trainer, keep_checkpoints=settings.keep_checkpoints, initial_weights=weights)


def number_before(unit_and_rest, line):
    """The bytes in "a checkpoint takes 1.5 MiB;"."""
    value, unit = line.split(unit_and_rest)[1].split()[:2]
    return float(value) * UNITS[unit.rstrip(";,")]


def test_epochs_and_crops_of_both_streams(small_parameters, tmp_path):
    """8 of 32 images have masks, 2 and 2 a step. Photos of 48 pixels at 0.5 and 1: 24 and 48, a crop sees 33."""
    settings = ["train.method = @PseudoSeg()", "train.num_steps = 40", "Augmentation.scale_step = 0.5"]
    settings += ["Augmentation.max_scale = 1.0", "Augmentation.min_scale = 0.5"]
    labeled, unlabeled, _, disk = facts_of([*small_parameters, *settings], tmp_path / "run")
    # (1 + (33 / 48)^2) / 2 and (33 / 48)^2
    crop = "a crop of 33x33 sees 74 % of a photo (47 % to 100 % over the scales)"
    assert labeled == f"labeled stream: 8 images of split 'train_1_4', 40 steps are 10 epochs; {crop}"
    assert unlabeled == f"unlabeled stream: 32 images of split 'train', 40 steps are 2.5 epochs; {crop}"
    assert "; 1 kept, one being written and" in disk  # no more are written


def test_crops_are_of_resized_photos(small_parameters, tmp_path):
    """48 pixels become 66: a quarter is seen without a random scale."""
    settings = ["ResizeToRange.min_size = 66", "Augmentation.min_scale = 1.0", "Augmentation.max_scale = 1.0"]
    (line, *_) = facts_of([*small_parameters, *settings], tmp_path / "run")
    assert line.endswith("a crop of 33x33 sees 25 % of a photo")


@pytest.mark.parametrize(
    ("method", "half", "warned"), [("PseudoSeg", 10, True), ("PseudoSeg", 3, False), ("Supervised", 10, False)]
)
def test_a_hole_for_larger_crops_is_a_warning(small_parameters, tmp_path, method, half, warned):
    """20 x 20 of 33 x 33 pixels are 37 %."""
    settings = [f"train.method = @{method}()", f"Augmentation.cutout_half_side = {half}"]
    lines = [line for line in facts_of([*small_parameters, *settings], tmp_path / "run") if "hole" in line]
    assert bool(lines) == warned
    assert not warned or "20 pixels wide, 37 % of a crop of 33x33" in lines[0] and lines[0].endswith("to about 3")


def test_random_weights_and_few_images_are_a_warning(small_parameters, tmp_path, monkeypatch):
    parameters = [*small_parameters, "train.method = @PseudoSeg()"]
    warning = next(line for line in facts_of(parameters, tmp_path / "run") if "initial" in line)
    assert warning.startswith("warning: train.initial_weights is not set, and 8 images have masks;")
    monkeypatch.setattr(run_facts, "MANY_IMAGES", 8)
    assert "initial weights: none, it starts from random ones" in facts_of(parameters, tmp_path / "run")


def test_a_precision_without_instructions_is_a_warning(small_parameters, tmp_path, monkeypatch):
    monkeypatch.setattr(run_facts, "slow_precision", lambda policy: f"{policy}: slow")
    lines = facts_of([*small_parameters, "set_precision.policy = 'mixed_bfloat16'"], tmp_path / "run")
    assert "warning: mixed_bfloat16: slow. Leave it out" in lines


def test_the_room_is_what_the_run_takes(small_parameters, tmp_path):
    """Two checkpoints are kept; their files have TensorFlow's names besides the values."""
    settings = ["build_model.head_depth = 128", "train.ema_decay = 0.9", "train.num_steps = 4"]
    settings += ["train.checkpoint_every = 2", "train.keep_checkpoints = 2", "train.evaluate_at_end = False"]
    parameters = [*small_parameters, *settings]
    line = next(line for line in facts_of(parameters, tmp_path / "run") if line.startswith("disk: "))
    experiment.run([], parameters, tmp_path / "run", strategy=tf.distribute.MirroredStrategy(["CPU:0"]))
    (data,) = (tmp_path / "run/checkpoints").glob("ckpt-4.data*")
    assert number_before("a checkpoint takes ", line) == pytest.approx(data.stat().st_size, rel=0.1)
    weights = (tmp_path / "run/model.weights.h5").stat().st_size
    total = number_before("exported weights take ", line)
    assert 3 * data.stat().st_size < total and 3 * data.stat().st_size + weights < 1.3 * total
    assert "; 2 kept, one being written and" in line


def test_a_full_disk_is_a_warning_unless_the_run_is_there(small_parameters, tmp_path, monkeypatch):
    folder, parameters = tmp_path / "run", [*small_parameters, "train.keep_checkpoints = 1"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    *_, disk, warning = facts_of(parameters, folder)
    assert disk.endswith("and 1000 B are free")
    assert warning.startswith(f"warning: {folder} needs ") and f"more and 1000 B are free in {tmp_path};" in warning
    (folder / "checkpoints").mkdir(parents=True)
    with (folder / "checkpoints/ckpt-6.data-00000-of-00001").open("wb") as file:
        file.truncate(2**30)
    assert not any("free in" in line for line in facts_of(parameters, folder))


def test_bytes_in_words():
    assert [format_bytes(number) for number in (0, 1023, 1536, 34 * 2**20, 2**40, 2**50)] == [
        "0 B", "1023 B", "1.5 KiB", "34.0 MiB", "1.0 TiB", "1024.0 TiB",
    ]  # fmt: skip
