"""Writes COCO 2017, or what a label tool exports in its form, as TFRecords.

python datasets/build_coco.py --coco_root=coco --output_dir=data/coco

Reads what the archives from cocodataset.org unpack to, as far as it is there:
  train2017/*.jpg and annotations/instances_train2017.json
  val2017/*.jpg and annotations/instances_val2017.json
  unlabeled2017/*.jpg and annotations/image_info_unlabeled2017.json
The category ids 1 .. 90, which have gaps, become classes 1 .. 80. The instances are drawn into one mask, smaller ones
over larger ones; crowd regions are ignored where no other instance is. An image of train2017 or val2017 that has no
annotation is background. Boxes and image-level labels are written too. There are 80 categories and the background.

--coco_root may also be the folder that an export in COCO's form of CVAT, Label Studio or Roboflow unzips to. Its categories
become the classes, and its splits stay. A line says what was recognised; docs/data.md has the details.

Needs the packages of `pip install 'wss[convert]'`.
"""

from pathlib import Path

from absl import flags
from etils import epath

from wss.command import run_main
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.export_flags import convert_export, define_export_flags, request_of
from wss.conversion.layouts.coco import FILES, read_coco
from wss.conversion.layouts.exports.export import Kind
from wss.conversion.layouts.exports.recognise import recognise
from wss.data.masks import lookup_table, voc_colors
from wss.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "coco_root",
    None,
    "Folder of annotations, train2017, val2017, unlabeled2017; or an export of a label tool.",
    required=True,
)
flags.DEFINE_string("images", None, "Photos of an export that has none.")
flags.DEFINE_string(
    "class_names", None, "Names of the classes of an export in their order, or a file; by default its own."
)
flags.DEFINE_list("splits", [], "Some of train2017, val2017, unlabeled2017; by default those that are in coco_root.")
define_export_flags()
define_flags("coco2017")


def main(argv: list[str]) -> None:
    """Reads the annotation files, writes the data set and prints its table."""
    if kind := coco_export(Path(FLAGS.coco_root)):
        if not FLAGS["name"].present:
            FLAGS["name"].value = None  # that of the output folder
        request = request_of(FLAGS.class_names, FLAGS.images)
        return convert_export(FLAGS.coco_root, kind, request, command="build_coco.py")
    class_names, pools, problems = read_coco(FLAGS.coco_root, FLAGS.splits)
    convert(
        pools,
        class_names=class_names,
        colors=voc_colors(len(class_names)),
        labels=LabelMap(lookup_table(len(class_names))),
        provenance={"command": "build_coco.py", "source": epath.Path(FLAGS.coco_root).name},
        problems=problems,
    )


def coco_export(root: Path) -> Kind | None:
    """Returns what kind of export a folder is; None for COCO 2017 itself.

    Raises:
        UserError: It is an export without COCO's JSON.
    """
    if FLAGS.splits or any((root / path).exists() for pair in FILES.items() for path in pair):
        return None
    otherwise = (
        f"none of the folders {', '.join(FILES)} in it (what train2017.zip and val2017.zip from cocodataset.org unpack to), "
        "and no export of a label tool"
    )
    kind = recognise(root, "--coco_root", otherwise=otherwise)
    if not kind.is_coco:
        raise UserError(f"--coco_root={root}: an export of {kind.words}; convert it by build_folder.py --export={root}")
    return kind


if __name__ == "__main__":
    run_main(main)
