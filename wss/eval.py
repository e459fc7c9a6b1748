"""wss-eval: mIoU, per-class IoU, accuracies and calibration of a run, as a table, JSON and TensorBoard scalars.

wss-eval --run_dir=runs/shapes
wss-eval --run_dir=runs/voc --gin_param="Evaluation.scales = (0.5, 1.0, 1.5)" --gin_param="Evaluation.flip = True"

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.files import check_writable
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters
from wss.next_step import say_next

FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
flags.DEFINE_string("split", None, "Split to evaluate; short for Evaluation.split.")
flags.DEFINE_string("output", None, "JSON file to write; by default <run_dir>/eval_<split>.json.")


def main(argv: list[str]) -> None:
    """Evaluates the run."""
    del argv
    from wss import config
    from wss.evaluation.evaluation import Evaluation, report
    from wss.experiment import open_run
    from wss.run_directory import RunDirectory
    from wss.runtime.strategy import build_strategy, hosts_together, is_chief

    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    split = [] if FLAGS.split is None else [f"Evaluation.split = {FLAGS.split!r}"]
    if is_chief(strategy):
        file = FLAGS.output or RunDirectory(Path(FLAGS.run_dir)).evaluation(FLAGS.split or "val")
        check_writable(file, "give another file for the result by --output")
    run = open_run(FLAGS.run_dir, [*gin_parameters(), *split], strategy, weights=FLAGS.weights, folded=True)
    print(f"evaluating {run.weights} on {run.info.directory}")
    evaluation = config.call(Evaluation).open(run.model, run.info, strategy)
    with hosts_together(strategy):
        result = evaluation()
        if is_chief(strategy):
            report(result, run.directory, run.step, output=FLAGS.output)
            pictures = f"--output={run.directory.path / 'pictures'}"
            say_next(
                ["wss-vis", f"--run_dir={FLAGS.run_dir}", pictures, *([f"--split={FLAGS.split}"] if split else [])]
            )


def console_main() -> None:
    """Runs the command `wss-eval`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
