"""wss-train: trains a model, or goes on where its run directory stops.

wss-train --gin_file=gin_configs/recipes/shapes/pseudoseg.gin --run_dir=runs/shapes
wss-train --gin_file=... --run_dir=... --gin_param="train.num_steps = 100" --dry_run
"""

from absl import flags

from wss.errors import run_main
from wss.flags import define_experiment_flags, gin_parameters

FLAGS = flags.FLAGS
define_experiment_flags()
flags.DEFINE_integer("seed", None, "Of weights, order and augmentation; short for train.seed.")
flags.DEFINE_integer("intra_op_threads", 0, "Threads of one operation on a CPU; 0 chooses.", lower_bound=0)
flags.DEFINE_bool("dry_run", False, "Build everything, take two steps, estimate time and memory, write nothing.")


def main(argv: list[str]) -> None:
    """Parses the configuration and trains."""
    del argv
    from wss import experiment

    seed = [] if FLAGS.seed is None else [f"train.seed = {FLAGS.seed}"]
    experiment.run(
        FLAGS.gin_file,
        [*gin_parameters(), *seed],
        run_dir=FLAGS.run_dir,
        strategy=FLAGS.strategy,
        tpu=FLAGS.tpu,
        intra_op_threads=FLAGS.intra_op_threads,
        dry_run=FLAGS.dry_run,
    )


def console_main() -> None:
    """The command `wss-train`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
