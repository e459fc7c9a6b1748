"""Writes Cityscapes as TFRecords, with the 19 classes of its benchmark.

python datasets/build_cityscapes.py --cityscapes_root=cityscapes --output_dir=data/cityscapes

Reads the folders that the archives from cityscapes-dataset.com unpack to; <id> is such as "aachen_000005_000019":
  leftImg8bit/{train,val,test,train_extra}/<city>/<id>_leftImg8bit.png
  gtFine/{train,val}/<city>/<id>_gtFine_labelIds.png, or <id>_gtFine_polygons.json where it is missing
  gtCoarse/{train_extra,train,val}/<city>/<id>_gtCoarse_labelIds.png, or <id>_gtCoarse_polygons.json

Splits: train_fine, val_fine, test (without masks) and train_extra (coarse masks), those whose images are there.
train_coarse and val_coarse, the images of the first two with coarse masks, are written if --splits names them.
"""

from absl import flags

from wss.command import run_main
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.cityscapes import (
    CLASS_IDS,
    CLASSES,
    COLORS,
    LABELS,
    POOLS,
    choose_pools,
    find_root,
    read_pool,
)
from wss.data.masks import lookup_table
from wss.errors import UserError, did_you_mean

FLAGS = flags.FLAGS
flags.DEFINE_string("cityscapes_root", None, "Folder with leftImg8bit, gtFine and gtCoarse in it.", required=True)
flags.DEFINE_list("splits", [], f"Some of {', '.join(POOLS)}; by default the first four that are there.")
flags.DEFINE_list("unlabeled_splits", [], "Splits to write without masks, such as train_extra without gtCoarse.")
define_flags("cityscapes")


def main(argv: list[str]) -> None:
    """Finds the images, writes the data set and prints its table."""
    root = find_root(FLAGS.cityscapes_root)
    names = choose_pools(root, FLAGS.splits)
    for name in FLAGS.unlabeled_splits:
        if name not in names:
            raise UserError(
                f"--unlabeled_splits={name}: expected some of {', '.join(names)}.{did_you_mean(name, names)}"
            )
    problems: list[str] = []
    pools = {name: read_pool(root, name, problems, use_masks=name not in FLAGS.unlabeled_splits) for name in names}
    convert(
        pools,
        class_names=CLASSES,
        colors=COLORS,
        labels=LabelMap(lookup_table(len(LABELS), CLASS_IDS)),
        has_background=False,
        provenance={
            "command": "build_cityscapes.py",
            "source": root.name,
            "unlabeled_splits": sorted(FLAGS.unlabeled_splits),
        },
        problems=problems,
    )


if __name__ == "__main__":
    run_main(main)
