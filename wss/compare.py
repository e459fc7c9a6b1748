"""wss-compare: supervised training, PseudoSeg, tags and self-training on one data set, each planned for the same time.

wss-compare --data_dir=data/own --run_dir=runs/own_methods --hours=0.25

It prints a table and what it says, and draws curves and pictures. Methods that the data set has no photos or tags for are
left out. Self-training takes the time twice: for its teacher, the supervised run, and for a student of half its steps. It
can be stopped at any time; the same command goes on.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_plan_flags, plan_flags, split_flags, strategy_flags
from wss.next_step import say_next

FLAGS = flags.FLAGS
define_plan_flags()
flags.DEFINE_list(
    "methods",
    [],
    "Of supervised, pseudoseg, pseudoseg_image_labels, pseudoseg_guessed_labels, self_training; by default all that can be.",
)
flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.", lower_bound=0)
NUM_PICTURES = 12


def main(argv: list[str]) -> None:
    """Runs what is not finished and compares."""
    del argv
    from wss.data.dataset_info import DatasetInfo
    from wss.evaluation.tables import comparison_table
    from wss.planning.comparison import TITLES, Comparison, conclusions, possible_methods
    from wss.planning.fingerprint import fingerprint
    from wss.planning.plan_splits import choose_splits
    from wss.planning.rules import seen_size
    from wss.runtime.strategy import build_strategy
    from wss.visualization.charts import line_chart, require_matplotlib, save_figure
    from wss.workflows.run_comparison import compare_runs

    require_matplotlib()
    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    facts = fingerprint(*choose_splits(DatasetInfo.load(FLAGS.data_dir), **split_flags()))
    output = Path(FLAGS.run_dir)
    comparison = Comparison(
        run_dir=output,
        methods=_methods(possible_methods(facts)),
        plan_flags=plan_flags(),
        validation=facts.splits.validation,
        seed=FLAGS.seed,
        launch=strategy_flags(),
    )
    results = comparison.run()
    print(f"\n{comparison_table({TITLES[method]: result for method, result in results.items()})}\n")
    steps, crop = (comparison.planned(name) for name in ("train.num_steps", "TrainingData.crop_size"))
    side = seen_size(facts, max(crop))[0]
    print("\n".join(conclusions(results, facts, shorter_side=side, steps=steps)))
    curves = {TITLES[method]: comparison.curve(method) for method in results}
    save_figure(line_chart(curves, x_label="share of the steps (%)", y_label="mIoU (%)"), output / "curves.png")
    folders = {TITLES[method]: str(comparison.folder(method)) for method in results}
    compare_runs(folders, output / "pictures", strategy, number=NUM_PICTURES)
    print(f"{output}: curves.png, pictures/panels.png")
    best = max(results, key=lambda method: results[method].mean_iou)
    say_next(["wss-vis", f"--run_dir={comparison.folder(best)}", f"--output={output / best / 'pictures'}"])


def _methods(possible: list[str]) -> list[str]:
    """Returns the methods to compare, the baseline first."""
    if unknown := [name for name in FLAGS.methods if name not in possible]:
        raise UserError(
            f"--methods: {', '.join(unknown)} cannot be on this data set; expected of {', '.join(possible)}"
        )
    return [name for name in possible if not FLAGS.methods or name in FLAGS.methods or name == possible[0]]


def console_main() -> None:
    """Runs the command `wss-compare`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
