"""wss-plan: chooses an experiment for a data set and this machine, and writes it as a gin file that tells its reasons.

wss-plan --data_dir=data/own --run_dir=runs/own
wss-plan --data_dir=data/own --run_dir=runs/own --hours=0.25       for a quarter of an hour of training
wss-plan --data_dir=data/own --run_dir=runs/own --hours=0.5 --compare    to see that it beats supervised training
wss-train --gin_file=runs/own/experiment.gin                       trains what was planned

It reads the data set, looks at the machine and measures a few steps. A data set without masks for validation gets a split
of a fifth of its masks. What it chooses and why is in docs/planning.md.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_writable, write_text
from wss.flags import define_plan_flags, plan_flags, split_flags, strategy_flags
from wss.next_step import say_next
from wss.run_directory import RunDirectory

FLAGS = flags.FLAGS
METHODS = ("supervised", "pseudoseg", "pseudoseg_image_labels", "pseudoseg_guessed_labels")
define_plan_flags()
flags.DEFINE_enum("method", None, METHODS, "The method, instead of the one that the plan would choose.")
flags.DEFINE_bool(
    "compare", False, "Go on by wss-compare: half of the time for what the plan chooses, half for supervised training."
)
flags.DEFINE_bool("overwrite", False, "Replace the plan that is there.")


def main(argv: list[str]) -> None:
    """Writes a plan and prints it."""
    del argv
    run = RunDirectory(Path(FLAGS.run_dir))
    with run.held():
        if run.plan.exists() and not FLAGS.overwrite:
            raise UserError(
                f"{run.plan}: exists; train with it, add --overwrite to replace it, or give another --run_dir"
            )
        check_writable(run.plan, "give another --run_dir")
        _write_plan(run)


def _write_plan(run: RunDirectory) -> None:
    from wss.data.dataset_info import DatasetInfo
    from wss.planning.fingerprint import fingerprint
    from wss.planning.guess import guess
    from wss.planning.machine import Machine
    from wss.planning.measure import measure
    from wss.planning.plan import NO_BUDGET, Plan, fitted, gin_text
    from wss.planning.plan_splits import choose_splits
    from wss.planning.rules import check_method
    from wss.planning.summary import head, table, warning
    from wss.runtime.strategy import build_strategy

    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    facts = fingerprint(*choose_splits(DatasetInfo.load(FLAGS.data_dir), **split_flags()))
    if FLAGS.method:
        check_method(facts, FLAGS.method)
    plan = Plan(
        facts=facts,
        machine=Machine.here(strategy),
        data_dir=FLAGS.data_dir,
        initial_weights=FLAGS.initial_weights,
        guesses_file=str(run.guessed_labels),
        method_file=FLAGS.method and f"gin_configs/methods/{FLAGS.method}.gin",
    )
    budget = NO_BUDGET if FLAGS.hours is None else 3600 * FLAGS.hours
    plan, pace = fitted(plan, budget, lambda plan: measure(plan, strategy), guess)
    file, choices = run.plan, plan.choices_at(pace, budget)
    command = ["wss-train", f"--gin_file={file}"]
    write_text(file, gin_text(choices, head=head(plan, choices, pace, command=shlex.join(command))))
    print(table(plan, choices, pace))
    if told := warning(plan, choices, pace):
        print(told, file=sys.stderr)
    print(f"written to {file}")
    if FLAGS.compare and not plan.with_photos:
        print("--compare: the plan is supervised training, which is the baseline; wss-compare compares all methods")
    say_next(_comparison(Path(plan.method.value).stem) if FLAGS.compare and plan.with_photos else command)


def _comparison(method: str) -> list[str]:
    """Returns the command that compares a method with the baseline, in half of the time each."""
    half = {} if FLAGS.hours is None else {"hours": FLAGS.hours / 2}
    return ["wss-compare", *plan_flags(**half), f"--run_dir={FLAGS.run_dir}", f"--methods={method}", *strategy_flags()]


def console_main() -> None:
    """Runs the command `wss-plan`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
