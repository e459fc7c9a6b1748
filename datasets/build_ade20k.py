"""Writes the scene parsing benchmark of ADE20K (SceneParse150) as TFRecords, with its 150 classes.

python datasets/build_ade20k.py --ade20k_root=ADEChallengeData2016 --output_dir=data/ade20k

Reads the folder that ADEChallengeData2016.zip from sceneparsing.csail.mit.edu unpacks to:
  images/{training,validation}/ADE_train_00000001.jpg
  annotations/{training,validation}/ADE_train_00000001.png
  objectInfo150.txt
Value 0 of a mask is "other" and is ignored; 1 .. 150 become classes 0 .. 149, named by the first synonym in the list.
The test images (release_test) have no masks and are not read. The full ADE20K has other folders and is not read either.
"""

from absl import flags

from wss.command import run_main
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.ade20k import COLORS, NUM_CLASSES, SPLITS, find_root, read_classes, read_split
from wss.data.masks import lookup_table

FLAGS = flags.FLAGS
flags.DEFINE_string("ade20k_root", None, "ADEChallengeData2016, or the folder that it is in.", required=True)
define_flags("ade20k")


def main(argv: list[str]) -> None:
    """Finds the images, writes the data set and prints its table."""
    root = find_root(FLAGS.ade20k_root)
    problems: list[str] = []
    convert(
        {split: read_split(root, split, problems) for split in SPLITS},
        class_names=read_classes(root),
        colors=COLORS,
        labels=LabelMap(lookup_table(NUM_CLASSES + 1, keep=range(1, NUM_CLASSES + 1))),
        has_background=False,
        provenance={"command": "build_ade20k.py", "source": root.name},
        problems=problems,
    )


if __name__ == "__main__":
    run_main(main)
