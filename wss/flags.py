"""absl flags that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from wss.run_directory import PLAN_NAME

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help lists them


def define_launch_flags() -> None:
    """Defines --run_dir, --gin_param, --data_dir, --strategy and --tpu."""
    flags.DEFINE_string("run_dir", None, "Folder of the run.", required=True)
    define_parameter_flags()
    _define_strategy_flags()


def define_parameter_flags() -> None:
    """Defines --gin_param and --data_dir, see `gin_parameters`."""
    flags.DEFINE_multi_string("gin_param", [], 'Gin binding over the files, such as "train.num_steps = 100".')
    flags.DEFINE_string("data_dir", None, "Folder of the records; short for load_dataset.directory.")


def define_configuration_flags() -> None:
    """Defines --gin_file, --gin_param and --data_dir, for commands that neither train nor open a run."""
    define_parameter_flags()
    _define_gin_file_flag()


def define_experiment_flags() -> None:
    """Defines the flags of `define_launch_flags`, and --gin_file."""
    define_launch_flags()
    _define_gin_file_flag()


def define_training_flags() -> None:
    """Defines the flags of `define_experiment_flags`; --run_dir may stay away for a plan, see `run_dir`."""
    flags.DEFINE_string("run_dir", None, f"Folder of the run; that of the gin file if this is a plan, {PLAN_NAME}.")
    define_parameter_flags()
    _define_strategy_flags()
    _define_gin_file_flag()
    # Of one flag, not of both: absl leaves out a check of several flags where --gin_file alone is wrong too.
    flags.register_validator(
        "run_dir",
        lambda path: path is not None or len(_folders_of_plans(FLAGS["gin_file"].value)) == 1,
        f"Flag --run_dir must have a value other than None, but for one --gin_file={PLAN_NAME} of wss-plan.",
    )


def run_dir() -> str:
    """Returns --run_dir; by default the folder of the plan in --gin_file."""
    return FLAGS.run_dir if FLAGS.run_dir is not None else _folders_of_plans(FLAGS.gin_file)[0]


def _folders_of_plans(gin_files: Sequence[str] | None) -> list[str]:
    return [str(Path(file).parent) for file in gin_files or [] if Path(file).name == PLAN_NAME]


def _define_gin_file_flag() -> None:
    flags.DEFINE_multi_string("gin_file", None, "Gin file of the experiment; give it again to add more.", required=True)


def define_weights_flag() -> None:
    """Defines --weights, for commands that open a trained run."""
    flags.DEFINE_enum(
        "weights",
        "best",
        ["best", "last"],
        "Of a run with train.keep_best: those of the step with the best mIoU, or of the last step.",
    )


def define_plan_flags() -> None:
    """Defines the flags of wss-plan that hold for all methods."""
    flags.DEFINE_string("data_dir", None, "Folder of the records.", required=True)
    flags.DEFINE_string("run_dir", None, "Folder for the plan, and for what follows it.", required=True)
    flags.DEFINE_float(
        "hours", None, "Time that a training may take; by default as many steps as pay.", lower_bound=0.01
    )
    flags.DEFINE_string("labeled_split", None, "Split of the photos with masks; by default train.")
    flags.DEFINE_string("unlabeled_split", None, "Split of the photos without; by default unlabeled, if there is one.")
    flags.DEFINE_string("validation_split", None, "Split to validate on; by default val, or a fifth of the masks.")
    flags.DEFINE_string("initial_weights", "imagenet", "What the network starts from: imagenet (a download) or a file.")
    _define_strategy_flags()


def plan_flags(**changed: Any) -> list[str]:
    """Returns the flags of `define_plan_flags` as they were given, but the folder of the run and where it runs.

    Args:
        **changed: Other values of some.
    """
    names = ("data_dir", "hours", "labeled_split", "unlabeled_split", "validation_split", "initial_weights")
    values = {name: changed.get(name, FLAGS[name].value) for name in names}
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def split_flags() -> dict[str, str | None]:
    """Returns the splits that the flags of `define_plan_flags` name, by what they are for; None where none is named."""
    return {name: FLAGS[f"{name}_split"].value for name in ("labeled", "validation", "unlabeled")}


def _define_strategy_flags() -> None:
    flags.DEFINE_string("strategy", "mirrored", "mirrored (this machine's GPUs, or its CPU), multi_worker or tpu.")
    flags.DEFINE_string("tpu", "", "Name or address of the TPU for --strategy=tpu; empty for a TPU VM.")


def strategy_flags() -> list[str]:
    """Returns the flags that say where this command runs, for another one that it starts."""
    return [f"--strategy={FLAGS.strategy}", *([f"--tpu={FLAGS.tpu}"] if FLAGS.tpu else [])]


def gin_parameters() -> list[str]:
    """Returns the gin bindings that the flags give, short forms included."""
    if FLAGS.data_dir is None:
        return FLAGS.gin_param
    return [*FLAGS.gin_param, f"load_dataset.directory = {FLAGS.data_dir!r}"]
