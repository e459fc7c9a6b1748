"""Writes COCO 2017 as TFRecords, with its 80 categories and the background as classes.

python datasets/build_coco.py --coco_root=coco --output_dir=data/coco

Reads what the archives from cocodataset.org unpack to, as far as it is there:
  train2017/*.jpg and annotations/instances_train2017.json
  val2017/*.jpg and annotations/instances_val2017.json
  unlabeled2017/*.jpg and annotations/image_info_unlabeled2017.json
The category ids 1 .. 90, which have gaps, become classes 1 .. 80. The instances are drawn into one mask, smaller ones
over larger ones; crowd regions are ignored where no other instance is. An image of train2017 or val2017 that has no
annotation is background. Boxes and image-level labels are written too.

Needs the packages of `pip install 'wss[convert]'`.
"""

from absl import flags
from etils import epath

from wss.command import run_main
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.coco import read_coco
from wss.data.masks import lookup_table, voc_colors

FLAGS = flags.FLAGS
flags.DEFINE_string("coco_root", None, "Folder of annotations, train2017, val2017, unlabeled2017.", required=True)
flags.DEFINE_list("splits", [], "Some of train2017, val2017, unlabeled2017; by default those that are in coco_root.")
define_flags("coco2017")


def main(argv: list[str]) -> None:
    """Reads the annotation files, writes the data set and prints its table."""
    class_names, pools, problems = read_coco(FLAGS.coco_root, FLAGS.splits)
    convert(
        pools,
        class_names=class_names,
        colors=voc_colors(len(class_names)),
        labels=LabelMap(lookup_table(len(class_names))),
        provenance={"command": "build_coco.py", "source": epath.Path(FLAGS.coco_root).name},
        problems=problems,
    )


if __name__ == "__main__":
    run_main(main)
