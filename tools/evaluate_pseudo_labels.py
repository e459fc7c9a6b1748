"""Tells what the pseudo labels of a PseudoSeg run are made of: how right and how sure decoder, SGC and their fusions are.

python tools/evaluate_pseudo_labels.py --run_dir=runs/shapes [--split=val] [--output=pseudo_labels.json]

Prints a table; writes all counts as JSON and, beside it, <output>.png with reliability diagrams of the first parts. The
split needs masks, and should be of images that the run has not trained on.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.files import check_writable
from wss.flags import define_launch_flags, gin_parameters

FLAGS = flags.FLAGS
define_launch_flags()
flags.DEFINE_string("split", None, "Split with masks; by default that of the evaluation.")
flags.DEFINE_string("output", None, "JSON file to write; by default <run_dir>/pseudo_labels_<split>.json.")
flags.DEFINE_integer(
    "batch_size", 8, "Images that go through the network at once; the norm of the batch is over them.", lower_bound=1
)


def main(argv: list[str]) -> None:
    """Evaluates what the run's pseudo labels are made of."""
    del argv
    from wss.evaluation.evaluation import default_split
    from wss.evaluation.label_sources import label_sources_table, write_label_sources
    from wss.evaluation.pseudo_label_quality import evaluate_label_sources
    from wss.experiment import open_run
    from wss.inference.photos import SplitExamples
    from wss.runtime.strategy import build_strategy
    from wss.visualization.charts import label_sources_diagram, require_matplotlib, save_figure

    if FLAGS.output is not None and not FLAGS.output.endswith(".json"):
        raise UserError(
            f"--output={FLAGS.output}: expected a name that ends in .json; the diagrams go beside it as .png"
        )
    require_matplotlib()
    if FLAGS.output is not None:
        check_writable(FLAGS.output, "give another file by --output")
    run = open_run(FLAGS.run_dir, gin_parameters(), build_strategy(FLAGS.strategy, FLAGS.tpu))
    split = FLAGS.split or default_split()
    examples = SplitExamples(run.info, split, run.model.padding, batch_size=FLAGS.batch_size)
    print(f"evaluating pseudo labels by {run.weights} on {run.info.directory}, split {split!r}")
    sources = evaluate_label_sources(run.model, run.method, run.info, split=split, examples=examples)
    print(label_sources_table(sources))
    path = Path(FLAGS.output or run.directory.pseudo_label_quality(split))
    picture = path.with_suffix(".png")
    save_figure(label_sources_diagram(sources), picture)
    write_label_sources(sources, path)
    print(f"{len(examples)} images, written to {path} and {picture}")


if __name__ == "__main__":
    run_main(main)
