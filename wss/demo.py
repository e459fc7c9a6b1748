"""wss-demo: a page in the browser where photos are dropped onto a trained network.

wss-demo --run_dir=runs/own

It shows masks, overlays, the confidence and area of each class and the maps of the method, and gives all of it as PNGs. It
listens on this machine alone; --host=0.0.0.0 opens it to the network, to whoever can reach the machine.

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

from absl import flags

from wss.command import run_main
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters

FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
flags.DEFINE_integer("port", 7860, "Port to listen on.", lower_bound=1, upper_bound=2**16 - 1)
flags.DEFINE_integer("max_photos", 20, "Photos that are taken at once.", lower_bound=1)
flags.DEFINE_integer("max_megabytes", 30, "Largest size of a file.", lower_bound=1)
flags.DEFINE_integer("max_side", 1025, "Longest side of photos, if no ResizeToRange says their size.", lower_bound=33)
flags.DEFINE_string("value_range", None, "Black and white in photos of more than 8 bits, such as 0,4095.")
flags.DEFINE_bool("crf", False, "Refines the predictions by a dense CRF (CRFSettings).")


def main(argv: list[str]) -> None:
    """Serves the page."""
    del argv
    from wss.viewer.page import Page, build, require_page, serve

    require_page()
    from wss.data.photos import parse_value_range
    from wss.experiment import open_run
    from wss.ops.dense_crf import CRFSettings
    from wss.runtime.strategy import build_strategy
    from wss.viewer.segmenter import Segmenter

    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    run = open_run(FLAGS.run_dir, gin_parameters(), strategy, weights=FLAGS.weights, folded=True)
    print(f"showing {run.weights}")
    segmenter = Segmenter(
        run,
        max_side=FLAGS.max_side,
        value_range=parse_value_range(FLAGS.value_range),
        crf=CRFSettings() if FLAGS.crf else None,
    )
    with Page(segmenter, max_photos=FLAGS.max_photos) as page:
        serve(
            build(page, title=f"{run.directory.path.name}: {run.info.name}"),
            host=FLAGS.host,
            port=FLAGS.port,
            max_megabytes=FLAGS.max_megabytes,
        )


def console_main() -> None:
    """Runs the command `wss-demo`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
