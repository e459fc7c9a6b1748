"""Opens a finished (or stopped) run: its configuration, data set, model and weights."""

import dataclasses
import os

import gin
import tensorflow as tf

from wss import config
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.methods.base import Method
from wss.models.deeplab import DeepLab, build_model
from wss.run_directory import CONFIG_NAME, RunDirectory
from wss.training.experiment import load_dataset, set_precision


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run with its trained model; `weights` says in words which weights those are."""

    directory: RunDirectory
    info: DatasetInfo
    model: DeepLab
    method: Method
    step: int
    weights: str


def open_run(run_dir: str, parameters: list[str], strategy: tf.distribute.Strategy) -> OpenRun:
    """Reads a run directory: the operative configuration, then the exported weights or else the last checkpoint.

    Args:
        run_dir: of wss-train.
        parameters: gin bindings over the run's own.
        strategy: to build the model under.

    Raises:
        UserError: no such run, nothing saved yet, or the configuration no longer fits.
    """
    file = os.path.join(run_dir, CONFIG_NAME)
    if not os.path.isfile(file):
        raise UserError(f"--run_dir={run_dir}: no {CONFIG_NAME} in it; expected a folder that wss-train wrote")
    config.parse_config([file], parameters)
    run = RunDirectory(run_dir, writes=False)
    set_precision()
    info = load_dataset()
    with strategy.scope():
        model = build_model(info)
    method = gin.get_bindings("train")["method"]
    latest = run.latest_checkpoint
    step = int(latest.rsplit("-", 1)[1]) if latest else 0
    if run.has_weights:
        run.load_weights(model)
        weights = "the finished run's weights"
    elif latest:
        tf.train.Checkpoint(model=model).restore(latest).expect_partial().assert_existing_objects_matched()
        weights = f"the checkpoint of step {step} (the run has not finished)"
    else:
        raise UserError(
            f"--run_dir={run_dir}: nothing saved yet; wait for its first checkpoint (train.checkpoint_every)"
        )
    return OpenRun(run, info, model, method, step, weights)
