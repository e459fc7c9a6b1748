"""Writes your own images, masks, boxes and photos as TFRecords with the splits train, val, boxes and unlabeled.

python datasets/build_folder.py --images=photos --masks=masks --class_names=background,road,tree --output_dir=data/own

A mask has the name of its image ("a.png" or "sub/a.png" for "sub/a.jpg"): palette or index PNG, the class id per pixel, 255
where it does not count. Images with a mask go to train and val, those with only boxes to boxes, all others to unlabeled,
with those of --unlabeled. No kind of them is needed: photos and boxes alone make a data set.

--class_names is a list or a text file with a line per class: its name, and perhaps its colour, "road 128 64 128"; the files
of CVAT, labelme, Roboflow and CamVid, and tables in CSV or JSON, are read too. With colours, RGB masks in these colours are
read, and palette and grey masks by their colours; a line "ignore 0 0 0" gives the colour of the pixels that do not count.

--image_labels is a CSV file with a line per image: its file name, and the names of the classes in it, separated by ";".
  filename,labels
  kitchen/0001.jpg,person;cat
  kitchen/0002.jpg,
The second image is known to have none of the classes.

--boxes is a CSV file with a row for each object. Edges are pixels from 0; the right and lower edge are where the box ends,
0 <= xmin < xmax <= width. The header may have these columns in any order, and others, which are left out.
  file,class,xmin,ymin,xmax,ymax
  kitchen/0001.jpg,person,12,30,85,240
  kitchen/0002.jpg
The second image is known to have no object. Of images that the file does not name, the objects are unknown. Without a mask,
the image-level labels follow from the boxes. Tables of TensorFlow's Object Detection API, Roboflow, make-sense and
keras-retinanet are read as they are; so are a folder of PASCAL VOC's XML files, and a JSON file of COCO.

--export is the folder that the export of a label tool unzips to, in place of --images, --masks and --class_names. Read are
those of CVAT (Segmentation mask, COCO), labelme (JSON, labelme2voc), Label Studio (COCO, brush labels to PNG or NumPy) and
Roboflow (COCO, semantic masks). A line says what was recognised. --unlabeled and --image_labels go with it. docs/data.md
tells which export to choose.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.conversion.class_files import read_class_list
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.export_flags import Choices, convert_export, define_export_flags, request_of
from wss.conversion.layouts.box_files import BoxedImages, read_boxes
from wss.conversion.layouts.exports.recognise import recognise
from wss.conversion.layouts.folder import Folder, check_folders, read_ids, split_train_val
from wss.conversion.sources import Source
from wss.data.image_label_files import read_image_labels
from wss.data.mask_colors import AUTO, READINGS
from wss.data.masks import lookup_table, parse_classes, parse_ignore_values
from wss.data.splits import Split
from wss.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("export", None, "Folder that an export of CVAT, labelme, Label Studio or Roboflow unzips to.")
flags.DEFINE_string(
    "tasks", None, "JSON or JSON-MIN export of Label Studio, which tells the photos of its brush labels in --export."
)
flags.DEFINE_string(
    "images", None, "Folder of images, with or without masks; with --export its photos, if it has none."
)
flags.DEFINE_string("masks", None, "Folder of their masks.")
flags.DEFINE_string("unlabeled", None, "Folder of further images, without masks.")
flags.DEFINE_string("image_labels", None, "CSV file: file name, names of the classes in the image.")
flags.DEFINE_string(
    "boxes", None, "CSV file: file, class, xmin, ymin, xmax, ymax; or a folder of VOC's XML files, or COCO's JSON file."
)
flags.DEFINE_string(
    "class_names",
    None,
    "Names separated by commas, or a text file with a line per class. With --export they may stay away; else they give the "
    "order of its classes.",
)
flags.DEFINE_bool("has_background", True, "Class 0 is everything else, and no image-level label.")
flags.DEFINE_list("classes", [], "Ids to keep, such as 0,8,12: they become 0, 1, 2, and all others are ignored.")
flags.DEFINE_list("ignore_values", [], "Mask values besides 255 that do not count, such as 11.")
flags.DEFINE_enum(
    "mask_values",
    AUTO,
    READINGS,
    "What counts in palette and grey masks where the class file has colours: their colours unless the numbers could be "
    "classes too (an error then), always the colours, or always the numbers.",
)
define_export_flags()
flags.DEFINE_bool("unlabeled_has_train", False, "The images of train belong to unlabeled too.")
define_flags()


def main(argv: list[str]) -> None:
    """Reads the folders and lists, or an export, writes the data set and prints its table."""
    if FLAGS.export:
        return build_export()
    if not FLAGS.class_names:
        raise UserError("--class_names is missing; give it, or --export=<what a label tool exported>")
    if FLAGS.tasks:
        raise UserError("--tasks is given without --export, the folder of Label Studio's brush labels")
    classes = read_class_list(FLAGS.class_names, has_background=FLAGS.has_background)
    names, colors = classes.names, classes.colors
    if FLAGS.mask_values != AUTO and classes.reading not in (AUTO, FLAGS.mask_values):
        raise UserError(
            f"--mask_values={FLAGS.mask_values}: --class_names={FLAGS.class_names} has an ignored entry before classes, "
            "so that the numbers of the masks are unclear; put it last, or give --mask_values=colors"
        )
    keep = parse_classes(FLAGS.classes, len(names))
    kept = range(len(names)) if keep is None else keep
    pools, splits, problems = read_pools(names)
    convert(
        pools,
        class_names=[names[c] for c in kept],
        colors=[colors[c] for c in kept],
        labels=LabelMap(
            lookup_table(len(names), keep, parse_ignore_values(FLAGS.ignore_values, len(names))),
            classes.color_map,
            FLAGS.mask_values if classes.reading == AUTO else classes.reading,
        ),
        splits=splits,
        has_background=FLAGS.has_background and 0 in kept,
        provenance={
            "command": "build_folder.py",
            "classes": list(kept),
            "ignore_values": list(FLAGS.ignore_values),
            "val_fraction": None if FLAGS.val_list else FLAGS.val_fraction,
            "unlabeled_has_train": FLAGS.unlabeled_has_train,
        },
        problems=problems,
    )


def build_export() -> None:
    """Reads the export of a label tool, writes the data set and prints its table."""
    for flag in ("masks", "boxes"):
        if getattr(FLAGS, flag):
            raise UserError(f"--{flag} is given with --export, which has the masks; leave one of them out")
    for flag in ("mask_values", "has_background"):
        if FLAGS[flag].present:
            raise UserError(f"--{flag} is given with --export, which tells it; leave the flag out")
    problems: list[str] = []
    folder = Folder({}, problems)
    unlabeled = folder.read(FLAGS.unlabeled, None, flag="--unlabeled") if FLAGS.unlabeled else []
    print("".join(f"{line}\n" for line in folder.left_out), end="")
    convert_export(
        FLAGS.export,
        recognise(Path(FLAGS.export), "--export"),
        request_of(FLAGS.class_names, FLAGS.images, FLAGS.tasks),
        command="build_folder.py",
        choices=Choices(
            unlabeled,
            FLAGS.unlabeled_has_train,
            FLAGS.image_labels,
            FLAGS.classes,
            FLAGS.ignore_values,
            problems,
        ),
    )


def read_pools(class_names: list[str]) -> tuple[dict[str, list[Source]], dict[str, Split], list[str]]:
    """Returns the pools that have any images, the splits over them, and the problems found so far."""
    if not FLAGS.images and not FLAGS.unlabeled:
        raise UserError("give --images, --unlabeled or both")
    if FLAGS.masks and not FLAGS.images:
        raise UserError("--masks is given without --images, the folder of the images that they belong to")
    check_folders(FLAGS.images, FLAGS.masks, FLAGS.unlabeled)
    foreground = class_names[int(FLAGS.has_background) :]
    labels, problems = (
        read_image_labels(FLAGS.image_labels, class_names, foreground) if FLAGS.image_labels else ({}, [])
    )
    folder = Folder(labels, problems)
    images = folder.read(FLAGS.images, FLAGS.masks) if FLAGS.images else []
    unlabeled = folder.read(FLAGS.unlabeled, None, flag="--unlabeled") if FLAGS.unlabeled else []
    print("".join(f"{line}\n" for line in folder.left_out), end="")
    folder.check_all_labels_used()
    images, unlabeled = _with_boxes(images, unlabeled, class_names, problems=problems)
    masked = [source for source in images if source.mask is not None]
    train_ids, val_ids = (path and read_ids(path) for path in (FLAGS.train_list, FLAGS.val_list))
    train, val = split_train_val(
        masked, train_ids, val_ids, val_fraction=FLAGS.val_fraction, seed=FLAGS.seed, problems=problems
    )
    others = [source for source in images if source.mask is None] + unlabeled
    by_pool = {
        "train": train,
        "val": val,
        "boxes": [source for source in others if source.boxes is not None],
        "unlabeled": [source for source in others if source.boxes is None],
    }
    pools = {name: images for name, images in by_pool.items() if images}
    splits = {pool: Split((pool,)) for pool in pools}
    if FLAGS.unlabeled_has_train:
        splits["unlabeled"] = Split(tuple(pool for pool in ("train", "unlabeled") if pool in pools))
    return pools, splits, problems


def _with_boxes(
    images: list[Source], unlabeled: list[Source], class_names: list[str], *, problems: list[str]
) -> tuple[list[Source], list[Source]]:
    """Returns the images of both folders with the boxes of --boxes."""
    if not FLAGS.boxes:
        return images, unlabeled
    table = read_boxes(FLAGS.boxes, class_names, class_names[int(FLAGS.has_background) :])
    problems += table.problems
    boxed = BoxedImages(table, problems)([*images, *unlabeled])
    print("".join(f"{line}\n" for line in table.lines()), end="")
    return boxed[: len(images)], boxed[len(images) :]


if __name__ == "__main__":
    run_main(main)
