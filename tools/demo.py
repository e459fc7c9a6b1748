"""make demo: embedded data, three methods with equal steps on 1/16 of the masks, a table, pictures and a page.

python tools/demo.py --output=runs/demo --seed=0
"""

import time
from pathlib import Path

from absl import flags

from wss.command import run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "runs/demo", "Folder for records, runs and pictures.")
flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.")
flags.DEFINE_multi_string("gin_param", [], 'Gin binding over the recipes, such as "train.num_steps = 100".')

METHODS = {
    "supervised": "supervised",
    "PseudoSeg": "pseudoseg",
    "PseudoSeg + image labels": "pseudoseg_image_labels",
}


def main(argv: list[str]) -> None:
    """Builds the records, trains what is not yet trained, compares."""
    del argv
    start = time.monotonic()
    from wss import experiment
    from wss.conversion.shapes import build_shapes
    from wss.data.dataset_info import FILE_NAME
    from wss.evaluation.tables import comparison_table
    from wss.pages.document import has_pages
    from wss.pages.run_report import write_run_report
    from wss.progress import format_seconds
    from wss.runtime.cpu import keep_freed_memory, set_cpu_threads
    from wss.runtime.strategy import build_strategy
    from wss.workflows.run_comparison import compare_runs

    output = Path(FLAGS.output)
    records = output / "records"
    parameters = [f"load_dataset.directory = '{records}'", f"train.seed = {FLAGS.seed}", *FLAGS.gin_param]
    # One process trains all; most of its time is PseudoSeg's, so the threads are as that wants them.
    experiment.configure([_recipe("pseudoseg")], parameters)
    keep_freed_memory()
    set_cpu_threads()
    if not (records / FILE_NAME).exists():
        build_shapes(records)
    strategy = build_strategy("mirrored")
    results = {}
    for number, (title, recipe) in enumerate(METHODS.items(), 1):
        print(f"\n== {number}/{len(METHODS)} {title} (seed {FLAGS.seed})", flush=True)
        run_dir = output / f"{recipe}_seed{FLAGS.seed}"
        result = experiment.run([_recipe(recipe)], parameters, run_dir=run_dir, strategy=strategy)
        if result is None:
            return  # stopped by SIGTERM; the same command goes on
        results[title] = result
    print(
        f"\nSame steps and initial weights, 20 masks of 320 photos, seed {FLAGS.seed}:\n\n{comparison_table(results)}"
    )
    # Of the last one also what its pseudo labels are made of.
    folders = {title: str(output / f"{recipe}_seed{FLAGS.seed}") for title, recipe in METHODS.items()}
    compare_runs(folders, output / "pictures", strategy)
    *others, last = folders.values()
    page = write_run_report(last, strategy, output=output / "report.html", others=others) if has_pages() else None
    found = f"{output}/pictures/panels.png{f' and {page}' if page else ''}"
    print(f"\ndone in {format_seconds(time.monotonic() - start)}; look at {found}")


def _recipe(name: str) -> str:
    return f"gin_configs/recipes/shapes/{name}.gin"


if __name__ == "__main__":
    run_main(main)
