"""Experiments from Python: configures, runs and opens what the commands do."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import gin
import tensorflow as tf

from wss import config, configurables
from wss.data.dataset_info import DatasetInfo, load_dataset
from wss.errors import UserError
from wss.evaluation.evaluation import default_split
from wss.evaluation.result import Result
from wss.methods.base import Method
from wss.models.deeplab import DeepLab
from wss.models.folding import fold
from wss.models.weights.weights_file import load_weights
from wss.run_directory import CONFIG_NAME, RunDirectory
from wss.runtime.cpu import keep_freed_memory, set_cpu_threads
from wss.runtime.precision import set_precision
from wss.runtime.strategy import build_strategy
from wss.training.checkpoints import newest_readable, saved_checkpoints
from wss.training.run_record import RunRecord
from wss.training.train import build_network, restore_evaluated, train
from wss.training.validation import Best

BEST, LAST = "best", "last"


def configure(gin_files: Sequence[str], parameters: Sequence[str] = (), **options: bool) -> None:
    """Replaces gin's configuration, see `wss.config.parse_config`; everything in `wss.configurables` has a name there."""
    assert configurables.MODULES
    config.parse_config(list(gin_files), list(parameters), **options)


def run(
    gin_files: Sequence[str],
    parameters: Sequence[str],
    run_dir: str | Path,
    *,
    strategy: str | tf.distribute.Strategy = "mirrored",
    tpu: str = "",
    intra_op_threads: int | None = None,
    dry_run: bool = False,
    allow_gin_imports: bool = False,
) -> Result | None:
    """Trains an experiment, or goes on where its run directory stops.

    Args:
        gin_files: Gin files, in order; paths from the working directory or from the project.
        parameters: Gin bindings over the files, such as "train.num_steps = 100".
        run_dir: Folder for everything that the run writes.
        strategy: A name, see `build_strategy`, or a strategy to train under.
        tpu: Name or address of the TPU for the strategy "tpu".
        intra_op_threads: Threads of one operation on a CPU; 0 chooses, None leaves TensorFlow's. It has to come before
            anything runs in the process.
        dry_run: Whether to take two steps only, print an estimate of time and memory, and write nothing.
        allow_gin_imports: Whether gin files may import Python modules, which runs them.

    Returns:
        The evaluation at the end, or None without one.

    Raises:
        UserError: Anything that the user can mend.
    """
    configure(gin_files, parameters, allow_imports=allow_gin_imports)
    if intra_op_threads is not None:
        keep_freed_memory()
        set_cpu_threads(intra_op_threads)
    if isinstance(strategy, str):
        strategy = build_strategy(strategy, tpu)
    return config.call(train, run_dir=str(run_dir), strategy=strategy, dry_run=dry_run)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run with its trained model.

    Attributes:
        directory: The files of the run.
        info: The data set that it was trained on.
        model: The network with the trained weights.
        method: The training method.
        step: Number of finished steps.
        weights: Origin of the weights, in words.
    """

    directory: RunDirectory
    info: DatasetInfo
    model: DeepLab
    method: Method
    step: int
    weights: str


def open_run(
    run_dir: str,
    parameters: Sequence[str],
    strategy: tf.distribute.Strategy,
    *,
    weights: str = BEST,
    folded: bool = False,
) -> OpenRun:
    """Reads a run directory: the operative configuration, then its weights.

    These are the best step's, if the run keeps them (`train.keep_best`); else the exported ones; else those of the last
    checkpoint.

    Args:
        run_dir: Folder that wss-train wrote.
        parameters: Gin bindings over the run's own.
        strategy: The strategy to build the model under.
        weights: "best", or "last" for those of the last step in any case.
        folded: Whether the network only predicts, with batch norm in its convolutions, see `fold`.

    Raises:
        UserError: There is no such run, nothing is saved yet, or the configuration no longer fits.
    """
    directory = RunDirectory(Path(run_dir), writes=False)
    info = configure_as_run(directory, parameters)
    set_precision()
    method = gin.get_bindings("train")["method"]
    with strategy.scope():
        model = build_network(info, method, kept_encoder=directory.kept_encoder)
    keeps_best = gin.get_bindings("train").get("keep_best", False)
    if keeps_best and weights == BEST and (best := Best.read(directory.best_weights)):
        load_weights(model, directory.best_weights)
        step, words = best.step, f"the weights of step {best.step}, the best on {default_split()!r}"
    elif directory.weights.is_file():
        load_weights(model, directory.weights)
        step = max((saved.step for saved in saved_checkpoints(directory)), default=0)
        words = "the finished run's weights"
    elif saved := newest_readable(directory):
        with strategy.scope():
            restore_evaluated(model, method, info, checkpoint=saved)
        step = saved.step
        words = f"the checkpoint of step {step} (the run has not finished)"
    else:
        raise UserError(
            f"--run_dir={run_dir}: nothing saved yet; wait for its first checkpoint (train.checkpoint_every)"
        )
    if folded:
        fold(model)
    return OpenRun(directory=directory, info=info, model=model, method=method, step=step, weights=words)


def configure_as_run(run: RunDirectory, parameters: Sequence[str] = ()) -> DatasetInfo:
    """Replaces gin's configuration by that of a run, with parameters over it, and returns the data set of both.

    Raises:
        UserError: There is no such run, its data set is gone, or one of both no longer fits.
    """
    if not run.config.is_file():
        raise UserError(f"--run_dir={run.path}: no {CONFIG_NAME} in it; expected a folder that wss-train wrote")
    configure([str(run.config)], parameters, saved=True)
    if "method" not in gin.get_bindings("train"):
        raise UserError(f"{run.config}: damaged (it sets no train.method); expected what wss-train wrote")
    directory = gin.get_bindings("load_dataset").get("directory", "")
    if not os.path.isabs(directory) and "://" not in directory and not os.path.exists(directory):
        raise UserError(
            f"{directory}: not found from {os.getcwd()}; {run.path} was trained on it: give its folder by --data_dir"
        )
    info = load_dataset()
    if record := RunRecord.read(run):
        record.check_classes(run, RunRecord.of(info))
    return info
