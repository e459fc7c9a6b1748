"""How often a run writes by default, by hand for short and long runs."""

import pytest
import tensorflow as tf

from wss import config, experiment
from wss.run_directory import RunDirectory
from wss.training.cadence import CHECKPOINTS, PICTURES, SUMMARIES
from wss.training.loop import Intervals
from wss.training.train import Training


@pytest.mark.parametrize(
    ("num_steps", "summary", "pictures", "checkpoint"),
    [
        (1, 1, 1, 1),
        (6, 1, 1, 1),
        (100, 10, 25, 10),
        (800, 80, 200, 80),
        (2500, 100, 625, 250),
        (10_000, 100, 1000, 1000),
        (30_000, 100, 1000, 1000),  # the paper's recipes, as ever
    ],
)
def test_defaults_follow_the_length_of_the_run(num_steps, summary, pictures, checkpoint):
    found = [cadence.every(None, num_steps) for cadence in (SUMMARIES, PICTURES, CHECKPOINTS)]
    assert found == [summary, pictures, checkpoint]


@pytest.mark.parametrize("num_steps", range(100, 801, 37))
def test_a_short_run_has_a_curve_pictures_and_checkpoints(num_steps):
    events = lambda cadence: range(cadence.every(None, num_steps), num_steps + 1, cadence.every(None, num_steps))
    assert len(events(SUMMARIES)) >= 10 and len(events(PICTURES)) >= 2
    steps = [0, *events(CHECKPOINTS), num_steps]
    assert events(CHECKPOINTS)[0] < num_steps
    assert max(after - before for before, after in zip(steps[:-1], steps[1:], strict=True)) <= num_steps / 10


@pytest.mark.parametrize("chosen", [0, 7, 5000])
def test_what_is_chosen_counts(chosen):
    assert CHECKPOINTS.every(chosen, 100) == chosen


def test_a_run_takes_the_defaults_and_a_saved_configuration_its_own(tiny_parameters, tmp_path):
    """Of an operative configuration of an earlier version, which has the numbers."""
    names = ("summary_every", "pictures_every", "checkpoint_every")
    unset = [f"train.{name} = None" for name in names]
    old = ["train.summary_every = 100", "train.pictures_every = 1000", "train.checkpoint_every = 1000"]
    for lines, expected in ((unset, Intervals(4, 10, 4, 0)), (old, Intervals(100, 1000, 1000, 0))):
        experiment.configure([], [*tiny_parameters, "train.num_steps = 40", *lines])
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
        trainer = config.call(Training).trainer(RunDirectory(tmp_path), strategy)
        assert trainer.intervals == expected
