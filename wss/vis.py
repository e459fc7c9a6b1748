"""wss-vis: masks, overlays and side-by-side panels of a run's predictions.

wss-vis --run_dir=runs/shapes --output=pictures                      first images of the evaluation split
wss-vis --run_dir=runs/shapes --output=pictures --images=my_photos   any folder of photos, and the folders in it
wss-vis --run_dir=runs/shapes --output=pictures --video=clip.mp4     a video, into pictures/clip_segmented.mp4

masks/ has PNGs with a palette, of the photos' own size: their values are class ids, and never 255, which is no class.

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters
from wss.next_step import say_next

FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
flags.DEFINE_string("output", None, "Folder for the pictures.", required=True)
flags.DEFINE_string("split", None, "Split to show; by default that of the evaluation.")
flags.DEFINE_string("images", None, "Folder of photos (JPEG, PNG, TIFF, BMP, WebP) to show instead of a split.")
flags.DEFINE_string("video", None, "Video to show instead; it takes the extra wss[video].")
flags.DEFINE_integer("num_images", 24, "How many images at most; 0 for all.", lower_bound=0)
flags.DEFINE_integer("max_side", 1025, "Longest side of photos, if no ResizeToRange says their size.", lower_bound=33)
flags.DEFINE_string("value_range", None, "Black and white in photos of more than 8 bits, such as 0,4095.")
flags.DEFINE_integer(
    "batch_size", 4, "Images that go through the network at once; lower it if memory runs out.", lower_bound=1
)
flags.DEFINE_bool(
    "crf", False, "Refines the predictions by a dense CRF (CRFSettings), as wss-eval does with Evaluation.crf = True."
)


def main(argv: list[str]) -> None:
    """Draws the pictures."""
    del argv
    from wss.data.photos import parse_value_range
    from wss.evaluation.evaluation import default_split
    from wss.experiment import open_run
    from wss.inference.photos import Examples, FolderExamples, SplitExamples
    from wss.ops.dense_crf import CRFSettings
    from wss.runtime.strategy import build_strategy
    from wss.visualization.panels import visualize
    from wss.visualization.videos import annotate, require_videos

    if FLAGS.images is not None and Path(FLAGS.output).resolve() == Path(FLAGS.images).resolve():
        raise UserError(f"--output={FLAGS.output}: the folder of --images, which would get the pictures; give another")
    if FLAGS.video is not None:
        require_videos()
        others = ("images", "split", "num_images", "value_range", "batch_size", "crf")
        if given := [f"--{name}" for name in others if FLAGS[name].present]:
            raise UserError(f"--video: every frame is shown, one after the other; leave out {' and '.join(given)}")
    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    run = open_run(FLAGS.run_dir, gin_parameters(), strategy, weights=FLAGS.weights, folded=True)
    print(f"showing {run.weights}")
    if FLAGS.video is not None:
        path = annotate(run.model, run.info, FLAGS.video, Path(FLAGS.output), max_side=FLAGS.max_side)
        print(f"written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
        return
    shared = {"number": FLAGS.num_images or None, "batch_size": FLAGS.batch_size}
    padding = run.model.padding
    examples: Examples
    if FLAGS.images is not None:
        value_range = parse_value_range(FLAGS.value_range)
        examples = FolderExamples(
            FLAGS.images, FLAGS.max_side, padding, value_range=value_range, without=FLAGS.output, **shared
        )
    else:
        examples = SplitExamples(run.info, FLAGS.split or default_split(), padding, **shared)
    crf = CRFSettings() if FLAGS.crf else None
    visualize(run.model, run.method, run.info, examples=examples, output=FLAGS.output, crf=crf)
    is_evaluated = run.directory.evaluation(FLAGS.split or default_split()).is_file()
    say_next(
        ["tensorboard", f"--logdir={FLAGS.run_dir}"] if is_evaluated else ["wss-eval", f"--run_dir={FLAGS.run_dir}"]
    )


def console_main() -> None:
    """Runs the command `wss-vis`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
