"""Writes a data set of tensorflow-datasets (TFDS) as TFRecords.

python datasets/build_tfds.py --dataset=oxford_iiit_pet --output_dir=data/pets

Known are
  oxford_iiit_pet      background and pet; the border between them is ignored
  cityscapes           the 19 classes of the benchmark; the masks of test are dummies and left out
  coco/2017_panoptic   80 things and 53 kinds of stuff, with the boxes of the things; crowds are ignored
  scene_parse150       100 things, and all else as background: TFDS has the masks of ADE20K's instances, not those of its
                       150 classes (for these see build_ade20k.py)
For all others, the flags say where the masks are and what their values mean:
  --dataset=my_data/config:1.0.0 --mask_feature=labels/mask --id_map=1:1,2:0,3:255 --class_names=background,pet
A flag goes before what is known of a data set.

The data set must be prepared: `tfds build <name>` downloads it and writes it to --tfds_data_dir, by default
~/tensorflow_datasets; --download does that here. TFDS has shuffled the images then, and they stay in its order.
"""

import dataclasses
import re
from typing import Any

from absl import flags

from wss.command import run_main
from wss.conversion.class_files import read_classes
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.layouts import cityscapes
from wss.conversion.layouts.tfds import Layout, TfdsPool
from wss.conversion.layouts.tfds_builders import check_features, feature_names, find_builder, prepare
from wss.data.class_colors import default_colors
from wss.data.masks import IGNORE
from wss.errors import UserError, did_you_mean

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Name in TFDS, name/config or name/config:version.", required=True)
flags.DEFINE_string("tfds_data_dir", None, "Where TFDS keeps its data; its own default if not given.")
flags.DEFINE_bool("download", False, "Download and prepare the data set if it is not prepared.")
flags.DEFINE_list("splits", [], "Splits, as TFDS calls them; all by default.")
flags.DEFINE_list("unlabeled_splits", None, "Splits to write without masks.")
flags.DEFINE_string("image_feature", None, "Feature of the images; a/b is b in a. Default: image.")
flags.DEFINE_string("mask_feature", None, "Feature of the masks.")
flags.DEFINE_string("name_feature", None, "Feature that names the images; without one they are numbered.")
flags.DEFINE_integer("mask_channel", None, "Channel of the masks that has the classes, if the channels differ.", 0)
flags.DEFINE_string(
    "id_map", None, "Value in the masks:class, such as 1:1,2:0,3:255 (255: to ignore); all: values are classes."
)
flags.DEFINE_string("class_names", None, "Names separated by commas, or a text file with a line per class.")
flags.DEFINE_bool("has_background", None, "Class 0 is everything else, and no image-level label. Default: true.")
define_flags()

# Names of values 1 .. 100 (instanceInfo100_train.txt of the Places challenge 2017).
SCENE_THINGS = """
bed,windowpane,cabinet,person,door,table,curtain,chair,car,painting,sofa,shelf,mirror,armchair,seat,fence,desk,wardrobe,
lamp,bathtub,railing,cushion,box,column,signboard,chest of drawers,counter,sink,fireplace,refrigerator,stairs,case,
pool table,pillow,screen door,bookcase,coffee table,toilet,flower,book,bench,countertop,stove,palm,kitchen island,
computer,swivel chair,boat,arcade machine,bus,towel,light,truck,chandelier,awning,streetlight,booth,television receiver,
airplane,apparel,pole,bannister,ottoman,bottle,van,ship,fountain,washer,plaything,stool,barrel,basket,bag,minibike,oven,
ball,food,step,trade name,microwave,pot,animal,bicycle,dishwasher,screen,sculpture,hood,sconce,vase,traffic light,tray,
ashcan,fan,plate,monitor,bulletin board,radiator,glass,clock,flag
"""

PRESETS = {
    "oxford_iiit_pet": Layout(
        mask="segmentation_mask",
        name="file_name",
        id_map={1: 1, 2: 0, 3: IGNORE},
        class_names=("background", "pet"),
    ),
    "cityscapes": Layout(
        image="image_left",
        mask="segmentation_label",
        name="image_id",
        id_map={id: IGNORE for id in range(len(cityscapes.LABELS))}
        | {id: label for label, id in enumerate(cityscapes.CLASS_IDS)},
        class_names=cityscapes.CLASSES,
        colors=cityscapes.COLORS,
        has_background=False,
        unlabeled_splits=("test",),
    ),
    "coco": Layout(
        mask="panoptic_image",
        name="image/filename",
        segments="panoptic_objects",
        num_things=80,  # they come before the stuff
        has_background=False,
    ),
    # Red is the class, green the number of the object.
    "scene_parse150": Layout(
        mask="annotation",
        channel=0,
        class_names=("background", *(name.strip() for name in SCENE_THINGS.split(","))),
    ),
}


def main(argv: list[str]) -> None:
    """Finds the data set of TFDS, writes it as records and prints its table."""
    builder = find_builder(FLAGS.dataset, FLAGS.tfds_data_dir)
    layout = read_layout(builder)
    check_features(builder, layout)
    prepare(builder, FLAGS.dataset, FLAGS.tfds_data_dir, download=FLAGS.download)
    if not layout.class_names:
        names = builder.info.features[layout.segments]["label"].names
        layout = dataclasses.replace(layout, class_names=tuple(names))
    if wrong := set((layout.id_map or {}).values()) - {*range(len(layout.class_names)), IGNORE}:
        raise UserError(
            f"--id_map: class {min(wrong)}, expected 0 .. {len(layout.class_names) - 1} or {IGNORE} (ignore): the classes "
            f"are {', '.join(layout.class_names)}"
        )
    splits = choose_splits(builder, "splits", FLAGS.splits)
    if FLAGS.unlabeled_splits:
        choose_splits(builder, "unlabeled_splits", FLAGS.unlabeled_splits)
    convert(
        {split: TfdsPool.of(FLAGS.dataset, FLAGS.tfds_data_dir, split, layout=layout) for split in splits},
        class_names=layout.class_names,
        colors=layout.colors or default_colors(len(layout.class_names), layout.has_background),
        labels=LabelMap(layout.lookup()),
        has_background=layout.has_background,
        provenance={
            "command": "build_tfds.py",
            "source": builder.info.full_name,
            "mask_feature": layout.mask,
            "id_map": layout.id_map and {str(old): new for old, new in layout.id_map.items()},
            "unlabeled_splits": [split for split in splits if split in layout.unlabeled_splits],
        },
    )


def read_layout(builder: Any) -> Layout:
    """Returns what is known of a data set with what the flags say."""
    layout = PRESETS.get(builder.name, Layout())
    if FLAGS.mask_feature not in (None, layout.mask):
        # What is known belongs to another mask.
        layout = Layout(layout.image, name=layout.name)
    given = {
        "image": FLAGS.image_feature,
        "mask": FLAGS.mask_feature,
        "name": FLAGS.name_feature,
        "channel": FLAGS.mask_channel,
        "has_background": FLAGS.has_background,
        "unlabeled_splits": None if FLAGS.unlabeled_splits is None else tuple(FLAGS.unlabeled_splits),
    }
    layout = dataclasses.replace(layout, **{name: value for name, value in given.items() if value is not None})
    if FLAGS.class_names:
        names, colors, _ = read_classes(FLAGS.class_names, has_background=layout.has_background)
        layout = dataclasses.replace(layout, class_names=tuple(names), colors=tuple(colors))
    if FLAGS.id_map:
        layout = dataclasses.replace(layout, id_map=parse_id_map(FLAGS.id_map))
    if not layout.mask or not (layout.class_names or layout.segments):
        missing = "class_names" if layout.mask else "mask_feature"
        raise UserError(
            f"--{missing}: needed for {builder.info.full_name}"
            + (f" with --mask_feature={layout.mask}" if layout.mask else f", as it is none of {', '.join(PRESETS)}")
            + f"; its features are {', '.join(feature_names(builder.info.features))}"
        )
    return layout


def parse_id_map(text: str) -> dict[int, int] | None:
    """Reads `--id_map`; None for all."""
    if text == "all":
        return None
    matches = [re.fullmatch(r"(\d+):(\d+)", item.strip()) for item in text.split(",")]
    pairs = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(pairs) < len(matches) or max(old for old, _ in pairs) > IGNORE:
        raise UserError(f"--id_map={text}: expected all, or value:class pairs such as 1:1,2:0,3:255, values up to 255")
    if len(dict(pairs)) < len(pairs):
        raise UserError(f"--id_map={text}: a value is given twice")
    return dict(pairs)


def choose_splits(builder: Any, flag: str, names: list[str]) -> list[str]:
    """Returns the splits of a prepared data set: `names`, or all; an unknown one is a `UserError`."""
    splits = list(builder.info.splits)
    for name in names:
        if name not in splits:
            raise UserError(
                f"--{flag}={name}: {builder.info.full_name} has no such split, but {', '.join(splits)}."
                f"{did_you_mean(name, splits)}"
            )
    return names or splits


if __name__ == "__main__":
    run_main(main)
