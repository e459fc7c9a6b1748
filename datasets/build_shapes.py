"""Writes the embedded data set.

python datasets/build_shapes.py --output_dir=data/shapes
"""

from absl import flags

from wss.command import run_main
from wss.conversion.shapes import build_shapes
from wss.conversion.summary import print_summary
from wss.next_step import inspection, say_next

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", None, "Where to write the data set.", required=True)
flags.DEFINE_integer("num_train", 320, "Images of the split train.", lower_bound=16)
flags.DEFINE_integer("num_val", 160, "Images of the split val.", lower_bound=1)
flags.DEFINE_integer("size", 128, "Side of the images, in pixels.", lower_bound=32)
flags.DEFINE_integer("seed", 0, "Of the scenes, the subsets and the order.", lower_bound=0)
flags.DEFINE_integer("num_shards", 4, "Files of train and of val.", lower_bound=1)
flags.DEFINE_integer("workers", 0, "Processes; 0 takes one per core for many images, else one.", lower_bound=0)
flags.DEFINE_integer("boxes_from_masks", 0, "Boxes of parts of masks of so many pixels; 0: none.", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "Replace the data set that is in output_dir.")


def main(argv: list[str]) -> None:
    """Draws the scenes, writes the data set and prints its table."""
    info, statistics = build_shapes(
        FLAGS.output_dir,
        num_train=FLAGS.num_train,
        num_val=FLAGS.num_val,
        size=FLAGS.size,
        seed=FLAGS.seed,
        num_shards=FLAGS.num_shards,
        workers=FLAGS.workers,
        boxes_from_masks=FLAGS.boxes_from_masks,
        overwrite=FLAGS.overwrite,
    )
    print_summary(info, statistics)
    say_next(inspection(FLAGS.output_dir))


if __name__ == "__main__":
    run_main(main)
