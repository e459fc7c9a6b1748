"""Measures how fast a configuration trains here, by a few steps that are thrown away."""

import contextlib
import dataclasses
import io
import tempfile
from pathlib import Path

import tensorflow as tf

from wss import config, experiment
from wss.planning.plan import Pace, Plan, gin_text
from wss.planning.rules import PSEUDOSEG, Choice, method_file
from wss.run_directory import RunDirectory
from wss.training import rehearsal
from wss.training.train import Training

# How many steps it is measured with does not matter; the schedules want a number.
STEPS = Choice("train.num_steps", "1000", "for the measurement")


def configure_as(plan: Plan) -> None:
    """Replaces gin's configuration by that of a plan, with some number of steps."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "experiment.gin"
        file.write_text(gin_text(plan.with_steps(STEPS, 1), head=["measured"]))
        experiment.configure([str(file)])


def measure(plan: Plan, strategy: tf.distribute.Strategy) -> Pace:
    """Builds what a plan configures and takes a few steps; writes nothing lasting, and prints a line.

    Guessed image-level labels need not be there: a step takes as long without.

    Raises:
        UserError: Something does not fit, such as the initial weights.
    """
    if plan.lacks_guesses:
        plan = dataclasses.replace(plan, method_file=method_file(PSEUDOSEG))
    configure_as(plan)
    # What initial weights are is said where they are trained.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = config.call(Training).trainer(RunDirectory(Path(folder) / "run"), strategy)
        pace = Pace(*rehearsal.measure(trainer))
    method, crop = Path(plan.method.value).stem, plan.value_of("TrainingData.crop_size")
    print(f"measured {method} with crops of {crop}: {pace.step:.2f} s a step", flush=True)
    return pace
