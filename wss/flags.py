"""absl flags that several commands share."""

from absl import flags

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they belong to the command that asks for them, whose --help lists them


def define_launch_flags() -> None:
    """Defines --run_dir, --gin_param, --data_dir, --strategy and --tpu."""
    flags.DEFINE_string("run_dir", None, "Folder of the run.", required=True)
    flags.DEFINE_multi_string("gin_param", [], 'Gin binding over the files, such as "train.num_steps = 100".')
    flags.DEFINE_string("data_dir", None, "Folder of the records; short for load_dataset.directory.")
    flags.DEFINE_string("strategy", "mirrored", "mirrored (this machine's GPUs, or its CPU), multi_worker or tpu.")
    flags.DEFINE_string("tpu", "", "Name or address of the TPU for --strategy=tpu; empty for a TPU VM.")


def define_experiment_flags() -> None:
    """Defines the flags of `define_launch_flags`, and --gin_file."""
    define_launch_flags()
    flags.DEFINE_multi_string("gin_file", None, "Gin file of the experiment; give it again to add more.", required=True)


def define_weights_flag() -> None:
    """Defines --weights, for commands that open a trained run."""
    flags.DEFINE_enum(
        "weights",
        "best",
        ["best", "last"],
        "Of a run with train.keep_best: those of the step with the best mIoU, or of the last step.",
    )


def strategy_flags() -> list[str]:
    """Returns the flags that say where this command runs, for another one that it starts."""
    return [f"--strategy={FLAGS.strategy}", *([f"--tpu={FLAGS.tpu}"] if FLAGS.tpu else [])]


def gin_parameters() -> list[str]:
    """Returns the gin bindings that the flags give, short forms included."""
    if FLAGS.data_dir is None:
        return FLAGS.gin_param
    return [*FLAGS.gin_param, f"load_dataset.directory = {FLAGS.data_dir!r}"]
