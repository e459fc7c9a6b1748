"""Trainings in this process that are stopped by SIGTERM at a picture, to be resumed."""

import signal
from pathlib import Path

import tensorflow as tf

from wss import config
from wss.run_directory import RunDirectory
from wss.training.loop import Trainer


def run_training(run_dir: Path, parameters: list[str], *, stop: bool = False) -> Trainer:
    """Trains on one device, and stops at the first picture if asked to; returns the trainer."""
    config.parse_config([], parameters)
    from wss.training.train import Training

    trainer = Training().trainer(RunDirectory(run_dir), tf.distribute.MirroredStrategy(["CPU:0"]))
    if stop:
        figures = trainer.step.method.training_figures

        def stopping(*arguments):
            signal.raise_signal(signal.SIGTERM)
            return figures(*arguments)

        object.__setattr__(trainer.step.method, "training_figures", stopping)
    trainer.run()
    return trainer
