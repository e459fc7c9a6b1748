"""wss-train: trains a model, or goes on where its run directory stops.

wss-train --gin_file=gin_configs/recipes/shapes/pseudoseg.gin --run_dir=runs/shapes
wss-train --gin_file=... --run_dir=... --gin_param="train.num_steps = 100" --dry_run
wss-train --gin_file=runs/own/experiment.gin    a plan of wss-plan, in its folder
wss-train --list_parameters               what --gin_param can set, and the defaults
wss-train --list_parameters=train         what the parameters of "train" mean
"""

import sys
from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_training_flags, gin_parameters, run_dir
from wss.next_step import is_part_of_a_workflow, same_command, say_next


class _ListParameters(flags.BooleanFlag):
    """A flag that ends the command, as --help does: it prints the gin parameters of all configurables, or of one."""

    def __init__(self):
        super().__init__("list_parameters", False, "List the gin parameters; =NAME tells what those of NAME mean.")

    def parse(self, argument: str | bool | None) -> None:
        if argument in (None, False, "false"):
            return
        from wss import configurables
        from wss.parameter_reference import describe, describe_all

        assert configurables.MODULES
        print(describe_all() if argument in (True, "true") else describe(str(argument)))
        sys.exit()


FLAGS = flags.FLAGS
define_training_flags()
flags.DEFINE_integer("seed", None, "Of weights, order and augmentation; short for train.seed.")
flags.DEFINE_integer("intra_op_threads", 0, "Threads of one operation on a CPU; 0 chooses.", lower_bound=0)
flags.DEFINE_bool("dry_run", False, "Build everything, take two steps, estimate time and memory, write nothing.")
flags.DEFINE_bool("report", True, "Write report.html into the folder at the end; it takes the extra wss[report].")
flags.DEFINE_bool(
    "allow_gin_imports", False, "Let gin files import Python modules, which runs them; for files you trust."
)
flags.DEFINE_flag(_ListParameters())


def main(argv: list[str]) -> None:
    """Parses the configuration and trains."""
    del argv
    from wss import experiment

    seed = [] if FLAGS.seed is None else [f"train.seed = {FLAGS.seed}"]
    result = experiment.run(
        FLAGS.gin_file,
        [*gin_parameters(), *seed],
        run_dir=run_dir(),
        strategy=FLAGS.strategy,
        tpu=FLAGS.tpu,
        intra_op_threads=FLAGS.intra_op_threads,
        dry_run=FLAGS.dry_run,
        allow_gin_imports=FLAGS.allow_gin_imports,
    )
    if FLAGS.report and result is not None and FLAGS.strategy == "mirrored" and not is_part_of_a_workflow():
        _write_report()
    say_next(_next(is_evaluated=result is not None))


def _write_report() -> None:
    """Writes the page of the run; what hinders it is a line, for the training itself is complete."""
    from wss.pages.run_report import write_run_report
    from wss.runtime.strategy import build_strategy

    try:
        print(f"report: {write_run_report(run_dir(), build_strategy('mirrored'), parameters=gin_parameters())}")
    except UserError as error:
        print(f"no report: {error}", file=sys.stderr)


def _next(*, is_evaluated: bool) -> list[str]:
    """Returns the command that follows; nothing after a training that was stopped, and on several hosts."""
    if FLAGS.dry_run:
        return same_command("wss-train", without=["dry_run"])
    import gin

    was_stopped = not is_evaluated and gin.get_bindings("train").get("evaluate_at_end", True)
    if FLAGS.strategy == "multi_worker" or was_stopped:
        return []
    if is_evaluated:
        return ["wss-vis", f"--run_dir={run_dir()}", f"--output={Path(run_dir(), 'pictures')}"]
    return ["wss-eval", f"--run_dir={run_dir()}"]


def console_main() -> None:
    """Runs the command `wss-train`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
