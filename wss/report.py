"""wss-report: one HTML page of a run, to keep, to send and to print: numbers, curves, photos, settings, what to notice.

wss-report --run_dir=runs/own
wss-report --run_dir=runs/own --compare=runs/supervised,runs/pseudoseg

The page is <run_dir>/report.html. It needs no network and no other file.

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.files import check_writable
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters

FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
flags.DEFINE_list("compare", [], "Folders of other runs on the same data, separated by commas.")
flags.DEFINE_string("split", None, "Split with masks; short for Evaluation.split.")
flags.DEFINE_string("output", None, "HTML file to write; by default <run_dir>/report.html.")


def main(argv: list[str]) -> None:
    """Writes the page."""
    del argv
    from wss.pages.document import require_pages
    from wss.pages.run_report import write_run_report
    from wss.run_directory import RunDirectory
    from wss.runtime.strategy import build_strategy

    require_pages()
    output = FLAGS.output or RunDirectory(Path(FLAGS.run_dir)).report
    check_writable(output, "give another file for the page by --output")
    split = [] if FLAGS.split is None else [f"Evaluation.split = {FLAGS.split!r}"]
    path = write_run_report(
        FLAGS.run_dir,
        build_strategy(FLAGS.strategy, FLAGS.tpu),
        output=output,
        others=FLAGS.compare,
        parameters=[*gin_parameters(), *split],
        weights=FLAGS.weights,
    )
    print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")


def console_main() -> None:
    """Runs the command `wss-report`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
