"""wss-export: a trained network as a file that runs without this project, and a program of ten lines that uses it.

wss-export --run_dir=runs/own --format=onnx
wss-export --run_dir=runs/own --format=tflite,tflite_int8 --size=513,513

What goes in is a photo, uint8 [1, height, width, 3]; out come its classes [1, height, width] and probabilities [1, height,
width, C]. Resizing, padding and normalisation are inside. A file is kept once it gives the same as the network on photos.

What --gin_param can set, and what it means: wss-train --list_parameters, wss-train --list_parameters=NAME
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.errors import UserError, did_you_mean
from wss.flags import define_launch_flags, define_weights_flag, gin_parameters
from wss.next_step import say_next

FLAGS = flags.FLAGS
define_launch_flags()
define_weights_flag()
NAMES = ("saved_model", "keras", "onnx", "tflite", "tflite_float16", "tflite_int8")
flags.DEFINE_list("format", ["saved_model"], f"Formats, separated by commas: {', '.join(NAMES)}.")
flags.DEFINE_list("size", [], "Height and width of all photos, such as 513,513; by default photos may have any size.")
flags.DEFINE_integer("batch_size", 1, "Photos of one call; 0 for any number.", lower_bound=0, upper_bound=2**16)
flags.DEFINE_string("output", None, "Folder for the files; by default <run_dir>/export.")
flags.DEFINE_string(
    "images", None, "Folder of photos to compare on and to calibrate with; by default those of the records."
)
flags.DEFINE_string("value_range", None, "Black and white in photos of more than 8 bits, such as 0,4095.")
flags.DEFINE_integer("num_images", 50, "Photos to compare on.", lower_bound=1)
flags.DEFINE_integer(
    "num_calibration", 50, "Photos from which tflite_int8 takes the ranges of activations.", lower_bound=1
)
flags.DEFINE_float(
    "max_different",
    None,
    "Largest share of pixels that may get another class; by default 0.001, of tflite_float16 0.005, of tflite_int8 0.05.",
    lower_bound=0,
    upper_bound=1,
)


def main(argv: list[str]) -> None:
    """Writes the files."""
    del argv
    for name in FLAGS.format or [""]:
        if name not in NAMES:
            raise UserError(f"--format={name}: expected some of {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    size = _size()
    from wss.exports.formats.registry import FORMATS

    formats = [FORMATS[name] for name in dict.fromkeys(FLAGS.format)]
    for one in formats:
        one.require()
    from wss.experiment import open_run
    from wss.exports.examples import example_name
    from wss.exports.export import export_run
    from wss.exports.formats.base import Shape
    from wss.run_directory import RunDirectory
    from wss.runtime.strategy import build_strategy

    strategy = build_strategy(FLAGS.strategy, FLAGS.tpu)
    # A file computes in float32, whatever the training did.
    parameters = [*gin_parameters(), "set_precision.policy = 'float32'"]
    run = open_run(FLAGS.run_dir, parameters, strategy, weights=FLAGS.weights)
    output = Path(FLAGS.output) if FLAGS.output is not None else RunDirectory(Path(FLAGS.run_dir)).export
    print(f"exporting {run.weights}")
    photos, calibration = _photos(run.info)
    export_run(
        run,
        formats,
        output,
        shape=Shape(size, FLAGS.batch_size or None),
        photos=photos,
        calibration=calibration,
        limit=FLAGS.max_different,
    )
    say_next(["python", str(output / example_name(formats[0])), "photo.jpg"])


def _size() -> tuple[int, int] | None:
    """Returns --size."""
    if not FLAGS.size:
        return None
    if len(FLAGS.size) != 2 or not all(side.strip().isdecimal() and 0 < int(side) < 2**15 for side in FLAGS.size):
        raise UserError(f"--size={','.join(FLAGS.size)}: expected height and width in pixels, such as 513,513")
    height, width = map(int, FLAGS.size)
    return height, width


def _photos(info):
    """Returns the photos to compare on, and those to calibrate with, and says which they are."""
    import gin

    from wss.data.photos import parse_value_range
    from wss.evaluation.evaluation import default_split
    from wss.exports.photos import FolderPhotos, SplitPhotos

    if FLAGS.images is not None:
        photos = FolderPhotos(FLAGS.images, parse_value_range(FLAGS.value_range))
        compared, others = photos.part(0, FLAGS.num_images), photos.part(FLAGS.num_images, FLAGS.num_calibration)
        print(f"comparing on {len(compared)} photos of {FLAGS.images}")
        if "tflite_int8" in FLAGS.format and not len(others):
            print("calibrating on the same photos: there are no more")
        return compared, others if len(others) else compared
    training = gin.get_bindings("TrainingData").get("labeled_split", "train")
    split, missing = default_split(), ""
    if split not in info.splits:
        split, missing = training, f"; {info.directory} has no split {split!r} to evaluate on"
    compared = SplitPhotos(info, split, FLAGS.num_images)
    print(f"comparing on {len(compared)} photos of {split!r}{missing}")
    return compared, SplitPhotos(info, training, FLAGS.num_calibration)


def console_main() -> None:
    """Runs the command `wss-export`."""
    run_main(main)


if __name__ == "__main__":
    console_main()
