"""wss-train: trains a model, or goes on where its run directory stops.

    wss-train --gin_file=gin_configs/recipes/shapes/pseudoseg.gin --run_dir=runs/shapes
    wss-train --gin_file=... --run_dir=... --gin_param="train.num_steps = 100" --dry_run
"""

from absl import app, flags

from wss.errors import run_main

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", [], "Gin file of the experiment; give it again to add more.")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding over the files, such as "train.num_steps = 100".')
flags.DEFINE_string("run_dir", None, "Where the run writes, and from where it goes on.", required=True)
flags.DEFINE_string("data_dir", None, "Folder of the records; short for load_dataset.directory.")
flags.DEFINE_string("strategy", "mirrored", "mirrored (this machine's GPUs, or its CPU), multi_worker or tpu.")
flags.DEFINE_string("tpu", "", "Name or address of the TPU for --strategy=tpu; empty for a TPU VM.")
flags.DEFINE_integer("seed", None, "Seed of weights, order and augmentation; short for train.seed.")
flags.DEFINE_bool("dry_run", False, "Build everything, take two steps, estimate time and memory.")


def main(argv: list[str]) -> None:
    del argv
    from wss import config
    from wss.training.loop import train
    from wss.training.strategy import build_strategy

    shortcuts = []
    if FLAGS.data_dir is not None:
        shortcuts.append(f"load_dataset.directory = {FLAGS.data_dir!r}")
    if FLAGS.seed is not None:
        shortcuts.append(f"train.seed = {FLAGS.seed}")
    config.parse_config(FLAGS.gin_file, [*FLAGS.gin_param, *shortcuts])
    config.call(train, FLAGS.run_dir, build_strategy(FLAGS.strategy, FLAGS.tpu), dry_run=FLAGS.dry_run)


def console_main() -> None:
    """Entry point of the command `wss-train`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
