"""Policies of self-training against each other and against more supervised steps, from the same teacher: a table.

python tools/compare_self_training.py --gin_file=gin_configs/recipes/dars/camvid.gin --run_dir=runs/dars_camvid --seeds=0,1

For each seed: round 0 of the recipe; then one round each of `--policies` at the first of `Rounds.alphas`, all from the
same predictions; then the further rounds of the recipe's own policy; and as many supervised steps as each round has. The
same command goes on where it stopped.
"""

import dataclasses
import math
import statistics
from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_experiment_flags, gin_parameters, strategy_flags

FLAGS = flags.FLAGS
define_experiment_flags()
flags.DEFINE_list("seeds", ["0"], "Each is a run of everything.")
flags.DEFINE_list("policies", ["threshold", "cbst", "da"], "Compared with the recipe's own.")
flags.DEFINE_float("tail_share", 0.02, "Classes with a smaller share of the labelled pixels count as rare.", 0.0, 1.0)


def main(argv: list[str]) -> None:
    """Runs what is not finished and prints the table."""
    del argv
    from wss.experiment import configure
    from wss.tables import format_table
    from wss.workflows.comparison import LABEL_FACTS

    if not all(seed.isdigit() for seed in FLAGS.seeds):
        raise UserError(f"--seeds={','.join(FLAGS.seeds)}: expected numbers with commas between, such as 0,1,2")
    configure(FLAGS.gin_file, gin_parameters())
    found: dict[str, list[tuple[float, ...]]] = {}
    for seed in map(int, FLAGS.seeds):
        for title, row in rows_of(seed).items():
            found.setdefault(title, []).append(row)
    rows = []
    for title, of_seeds in found.items():
        *labels, mean_iou, tail = (statistics.fmean(values) for values in zip(*of_seeds, strict=True))
        each = ", ".join(f"{row[-2]:.2f}" for row in of_seeds)
        rows.append((title, *labels, mean_iou, tail, each))
    headers = ("", *LABEL_FACTS, "mIoU", "mIoU of rare", f"mIoU of seeds {','.join(FLAGS.seeds)}")
    print(f"\n{format_table(headers, rows)}\n\nPercent; rare: below {100 * FLAGS.tail_share:g} % of the labels")


def rows_of(seed: int) -> dict[str, tuple[float, ...]]:
    """Runs one seed and returns its rows: facts of the labels, mIoU, mIoU of the rare classes."""
    from wss.evaluation.result import read_json
    from wss.workflows import comparison, rounds
    from wss.workflows.stages import run_all

    folder = Path(FLAGS.run_dir) / f"seed_{seed}"
    shared = FLAGS.gin_file, gin_parameters(), strategy_flags(), seed
    recipe = rounds.Rounds(keep_predictions=True)
    own = rounds.Plan(recipe, folder, *shared)
    first = dataclasses.replace(
        recipe,
        alphas=recipe.alphas[:1],
        scale_growth=recipe.scale_growth[:1],
        threshold=None,
        teacher=str(own.folder(0)),
    )
    others = {
        policy: rounds.Plan(dataclasses.replace(first, policy=policy), folder / policy, *shared)
        for policy in FLAGS.policies
    }
    for plan in (own, *others.values()):
        plan.begin()
    run_all(own.phases[:1])
    for plan in others.values():
        run_all(plan.phases)
    run_all(own.phases)
    more = own.more_supervised_steps()
    run_all(more)
    first_labels = comparison.read_manifest(own.labels(1))

    def row(result_file: Path, labels: Path | None = None) -> tuple[float, ...]:
        result = read_json(result_file)
        facts = (math.nan,) * len(comparison.LABEL_FACTS)
        if labels is not None:
            facts = comparison.label_facts(comparison.read_manifest(labels))
        tail = comparison.tail_mean_iou(result, first_labels, FLAGS.tail_share)
        return *facts, 100 * result.mean_iou, 100 * tail

    return {
        "supervised (round 0)": row(own.result(0)),
        **{
            f"supervised, the steps of round {n}": row(phase.result) for n, phase in zip(own.numbers, more, strict=True)
        },
        **{policy: row(plan.result(1), plan.labels(1)) for policy, plan in others.items()},
        **{f"{recipe.policy}, round {n}": row(own.result(n), own.labels(n)) for n in own.numbers},
    }


if __name__ == "__main__":
    run_main(main)
