"""Policies of self-training against each other and against more supervised steps, from the same teacher: a table.

python tools/compare_self_training.py --gin_file=gin_configs/recipes/dars/camvid.gin --run_dir=runs/dars_camvid --seeds=0,1

For each seed: round 0 of the recipe; then one round each of `--policies` at the first of `Rounds.alphas`, all from the
same predictions; then the further rounds of the recipe's own policy; and as many supervised steps as each round has. The
same command goes on where it stopped.
"""

import dataclasses
import functools
import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_experiment_flags, gin_parameters, strategy_flags

if TYPE_CHECKING:
    from wss.workflows.self_training_rounds import Plan

FLAGS = flags.FLAGS
define_experiment_flags()
flags.DEFINE_list("seeds", ["0"], "Each is a run of everything.")
flags.DEFINE_list("policies", ["threshold", "cbst", "da"], "Compared with the recipe's own.")
flags.DEFINE_float("tail_share", 0.02, "Classes with a smaller share of the labelled pixels count as rare.", 0.0, 1.0)


def main(argv: list[str]) -> None:
    """Runs what is not finished and prints the table."""
    del argv
    from wss.experiment import configure
    from wss.tables import Cell, format_table
    from wss.workflows.self_training_comparison import LABEL_FACTS

    if not all(seed.isdigit() for seed in FLAGS.seeds):
        raise UserError(f"--seeds={','.join(FLAGS.seeds)}: expected numbers with commas between, such as 0,1,2")
    configure(FLAGS.gin_file, gin_parameters())
    found: dict[str, list[tuple[float, ...]]] = {}
    for seed in map(int, FLAGS.seeds):
        for title, row in rows_of(seed).items():
            found.setdefault(title, []).append(row)
    rows: list[tuple[Cell, ...]] = []
    for title, of_seeds in found.items():
        *labels, mean_iou, tail = (statistics.fmean(values) for values in zip(*of_seeds, strict=True))
        each = ", ".join(f"{row[-2]:.2f}" for row in of_seeds)
        rows.append((title, *labels, mean_iou, tail, each))
    headers = ("", *LABEL_FACTS, "mIoU", "mIoU of rare", f"mIoU of seeds {','.join(FLAGS.seeds)}")
    print(f"\n{format_table(headers, rows)}\n\nPercent; rare: below {100 * FLAGS.tail_share:g} % of the labels")


def rows_of(seed: int) -> dict[str, tuple[float, ...]]:
    """Runs one seed and returns its rows: facts of the labels, mIoU, mIoU of the rare classes."""
    from wss.workflows.self_training_comparison import read_manifest
    from wss.workflows.stages import run_all

    own, others = plans_of(seed)
    for plan in (own, *others.values()):
        plan.begin()
    run_all(own.stages[:1])
    for plan in others.values():
        run_all(plan.stages)
    run_all(own.stages)
    more = own.more_supervised_steps()
    run_all(more)
    manifest = read_manifest(own.labels(1))
    supervised = zip(own.numbers, more, strict=True)
    return {
        "supervised (round 0)": row_of(own.result(0), manifest),
        **{f"supervised, the steps of round {n}": row_of(stage.result, manifest) for n, stage in supervised},
        **{policy: row_of(plan.result(1), manifest, plan.labels(1)) for policy, plan in others.items()},
        **{f"{own.rounds.policy}, round {n}": row_of(own.result(n), manifest, own.labels(n)) for n in own.numbers},
    }


def plans_of(seed: int) -> "tuple[Plan, dict[str, Plan]]":
    """Returns the rounds of the recipe, and by policy one round each from the same teacher."""
    from wss.methods.dars.rounds import Rounds
    from wss.workflows.self_training_rounds import Plan

    folder = Path(FLAGS.run_dir) / f"seed_{seed}"
    plan = functools.partial(
        Plan, gin_files=FLAGS.gin_file, parameters=gin_parameters(), launch=strategy_flags(), seed=seed
    )
    recipe = Rounds(keep_predictions=True)
    own = plan(recipe, folder)
    first = dataclasses.replace(
        recipe,
        alphas=recipe.alphas[:1],
        scale_growth=recipe.scale_growth[:1],
        threshold=None,
        teacher=str(own.folder(0)),
    )
    others = {policy: plan(dataclasses.replace(first, policy=policy), folder / policy) for policy in FLAGS.policies}
    return own, others


def row_of(result_file: Path, first_manifest: dict, labels: Path | None = None) -> tuple[float, ...]:
    """Returns facts of the labels, mIoU and mIoU of the rare classes, in percent.

    Args:
        result_file: Evaluation of the model.
        first_manifest: Manifest of the labels of round 1, which tells the rare classes.
        labels: Folder of the labels that the model learnt from, if they are pseudo labels.
    """
    from wss.evaluation.result import read_json
    from wss.workflows.self_training_comparison import LABEL_FACTS, label_facts, read_manifest, tail_mean_iou

    result = read_json(result_file)
    facts = label_facts(read_manifest(labels)) if labels else (math.nan,) * len(LABEL_FACTS)
    tail = tail_mean_iou(result, first_manifest, FLAGS.tail_share)
    return *facts, 100 * result.mean_iou, 100 * tail


if __name__ == "__main__":
    run_main(main)
