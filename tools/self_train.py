"""Self-training in rounds: a supervised run, then pseudo labels and a student, as often as the recipe says.

python tools/self_train.py --gin_file=gin_configs/recipes/dars/camvid.gin --run_dir=runs/dars
python tools/self_train.py ... --gin_param="Rounds.policy = 'cbst'" --plan          only prints the commands

Each round is a folder of run_dir: round_0, round_1 (with its labels), ... The same command goes on where it stopped.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.flags import define_experiment_flags, gin_parameters, strategy_flags

FLAGS = flags.FLAGS
define_experiment_flags()
flags.DEFINE_integer("seed", 0, "Seed of weights, order, augmentation and random subsets of pixels.", lower_bound=0)
flags.DEFINE_float("tail_share", 0.02, "Classes with a smaller share of the labelled pixels count as rare.", 0.0, 1.0)
flags.DEFINE_bool("plan", False, "Print the commands and do nothing.")


def main(argv: list[str]) -> None:
    """Runs the rounds and compares them."""
    del argv
    from wss.experiment import configure
    from wss.methods.dars.rounds import Rounds
    from wss.workflows.self_training_comparison import rounds_table
    from wss.workflows.self_training_rounds import Plan
    from wss.workflows.stages import command_line, run_all

    configure(FLAGS.gin_file, gin_parameters())
    plan = Plan(
        Rounds(),
        Path(FLAGS.run_dir),
        gin_files=FLAGS.gin_file,
        parameters=gin_parameters(),
        launch=strategy_flags(),
        seed=FLAGS.seed,
    )
    if FLAGS.plan:
        print("\n".join(map(command_line, plan.stages)))
        return
    plan.begin()
    run_all(plan.stages)
    print(
        f"\n{rounds_table(plan, FLAGS.tail_share)}\n\nPercent; rare: below {100 * FLAGS.tail_share:g} % of the labels"
    )


if __name__ == "__main__":
    run_main(main)
