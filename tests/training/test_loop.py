"""The loop on a tiny run: what it writes, resuming to the bit, divergence, several replicas, precision."""

import os
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from wss import config, experiment
from wss.data.dataset_info import load_dataset
from wss.data.training_data import TrainingData
from wss.experiment import open_run
from wss.methods.supervised import Supervised
from wss.models.deeplab import build_model
from wss.training.loop import Intervals, TrainingDiverged
from wss.training.optimizers import build_optimizer
from wss.training.step import TrainStep

PSEUDOSEG = "train.method = @PseudoSeg()"


def one_device():
    return tf.distribute.MirroredStrategy(["CPU:0"])


def run(run_dir, parameters, strategy=None, **kwargs):
    return experiment.run([], parameters, run_dir, strategy=strategy or one_device(), **kwargs)


def scalars(folder):
    tags = {}
    for file in folder.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    return tags


def weights_of(path):
    values = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


def test_a_run_writes_what_it_says(tmp_path, tiny_parameters):
    result = run(tmp_path, [*tiny_parameters, "train.summary_every = 3", "train.pictures_every = 6"])
    assert result.num_images == 6 and 0 <= result.mean_iou <= 1
    assert {"operative_config.gin", "model.weights.h5", "checkpoints", "eval_val.json"} <= set(os.listdir(tmp_path))
    tags = scalars(tmp_path / "train")
    for name in (
        "total",
        "consistency",
        "learning_rate",
        "mask_ratio",
        "fusion/ece",
        "sgc/max_probability",
        "decoder/accuracy",
    ):
        assert tags[name] == [3, 6]
    assert tags["training/0"] == [6]  # a picture
    assert "eval/mean_iou" in scalars(tmp_path / "eval_val")


def test_a_finished_run_is_not_trained_again_and_can_be_opened(tmp_path, small_parameters, capsys):
    first = run(tmp_path, small_parameters)
    again = run(tmp_path, small_parameters)
    assert "after 6 of 6 steps" in capsys.readouterr().out
    np.testing.assert_array_equal(first.confusion, again.confusion)
    opened = open_run(str(tmp_path), [], one_device())
    assert opened.step == 6
    images = tf.random.stateless_uniform([1, 33, 33, 3], [0, 1]) * 255
    assert opened.model(images).shape == (1, 9, 9, 7)


def test_a_fixed_batch_is_learnt(tiny_parameters):
    config.parse_config(
        [], [*tiny_parameters, "build_optimizer.name = 'adam'", "build_optimizer.learning_rate = 0.003"]
    )
    keras.utils.set_random_seed(0)
    info, strategy = load_dataset(), one_device()
    with strategy.scope():
        step = TrainStep(strategy, build_model(info), Supervised(), optimizer=build_optimizer(1000), weight_decay=0.0)
    batches = TrainingData(info, step.model.padding.color, seed=0).batches(Supervised.streams).take(1).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    losses = []
    for _ in range(3):
        step.run(iterator, 15)
        losses.append(step.results(15)["segmentation"])
    assert losses[2] < 0.3 * losses[0]


def test_divergence_names_the_step_the_losses_and_the_images(tmp_path, small_parameters):
    parameters = [*small_parameters, "build_optimizer.learning_rate = 1e30", "train.checkpoint_every = 1"]
    with pytest.raises(
        TrainingDiverged, match=r"loss of step \d+ is not finite .*labeled: shapes_\d+.*ckpt-\d+"
    ) as error:
        run(tmp_path, parameters)
    step = int(str(error.value).split("loss of step ")[1].split()[0])
    saved = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert int(saved.rsplit("-", 1)[1]) < step
    assert not (tmp_path / "model.weights.h5").exists()


def test_two_replicas_train_and_evaluate(tmp_path, small_parameters, two_replicas):
    parameters = [*small_parameters, PSEUDOSEG, "build_model.synchronized_batch_norm = True"]
    result = run(tmp_path, parameters, two_replicas)
    assert result.num_images == 6
    one = open_run(str(tmp_path), [], one_device())
    assert one.step == 6


@pytest.fixture
def float32_afterwards():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(tmp_path, small_parameters, float32_afterwards, policy):
    parameters = [*small_parameters, PSEUDOSEG, f"set_precision.policy = '{policy}'", "train.clip_norm = 5.0"]
    assert np.isfinite(run(tmp_path, parameters).mean_iou)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_mobilenet(tmp_path, tiny_parameters, float32_afterwards, policy):
    result = run(tmp_path, [*tiny_parameters, f"set_precision.policy = '{policy}'", "train.clip_norm = 5.0"])
    assert np.isfinite(result.mean_iou)


def test_weight_average_is_what_is_evaluated_and_exported(tmp_path, small_parameters):
    run(tmp_path / "plain", small_parameters)
    config.gin.clear_config()
    run(tmp_path / "averaged", [*small_parameters, "train.ema_decay = 0.9"])
    plain, averaged = (weights_of(tmp_path / name / "model.weights.h5") for name in ("plain", "averaged"))
    assert plain.keys() == averaged.keys()
    assert any(np.any(plain[name] != averaged[name]) for name in plain)


def test_dry_run_estimates_and_writes_nothing(tmp_path, small_parameters, capsys):
    run(tmp_path / "run", [*small_parameters, PSEUDOSEG], dry_run=True)
    printed = capsys.readouterr().out
    assert "s a step of 4 images, so 6 steps take about" in printed and "GiB" in printed
    facts = ("labeled stream: 8 images", "unlabeled stream: 32 images", "warning: train.initial_weights", "disk: ")
    assert all(line.startswith(fact) for line, fact in zip(printed.splitlines(), facts, strict=False))
    assert not (tmp_path / "run").exists()


def test_stops_fall_on_every_interval():
    intervals = Intervals(summary=4, pictures=0, checkpoint=6, evaluation=0)
    stops, step = [], 0
    while step < 14:
        step = intervals.next_stop(step, steps_per_loop=3, num_steps=14)
        stops.append(step)
    assert stops == [3, 4, 6, 8, 11, 12, 14]


@pytest.mark.slow
def test_sigterm_then_the_same_command_ends_in_the_same_bits(tmp_path, tiny_parameters):
    """With dropout, shuffling and augmentation, on one CPU device."""
    parameters = [*tiny_parameters, "train.num_steps = 60", "train.checkpoint_every = 8"]
    flags = [f"--gin_param={parameter}" for parameter in parameters]
    empty = tmp_path / "empty.gin"
    empty.write_text("")
    command = lambda name: [
        sys.executable, "-m", "wss.train", f"--gin_file={empty}", f"--run_dir={tmp_path / name}", *flags
    ]  # fmt: skip
    subprocess.run(command("whole"), check=True, capture_output=True)

    process = subprocess.Popen(command("parts"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "parts/checkpoints/ckpt-8.index").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped by SIGTERM" in printed
    assert not (tmp_path / "parts/model.weights.h5").exists()

    resumed = subprocess.run(command("parts"), check=True, capture_output=True, text=True)
    assert "resuming" in resumed.stdout
    whole, parts = (weights_of(tmp_path / name / "model.weights.h5") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
