"""Writes PASCAL VOC 2012, or a devkit of the same layout, as TFRecords.

python datasets/build_voc2012.py --voc_root=VOCdevkit/VOC2012 --output_dir=data/voc2012

Reads JPEGImages/*.jpg, the lists in ImageSets/Segmentation/*.txt and the masks in SegmentationClass,
SegmentationClassRaw or SegmentationClassAug, the first that has the image: palette PNG, index PNG or RGB in the VOC
colours. A line of a list is an id, or the paths of image and mask such as "/JPEGImages/x.jpg
/SegmentationClassAug/x.png".
"""

from pathlib import Path

from absl import flags

from wss.data.checks import LabelMap, Source
from wss.data.masks import IGNORE, VOC_CLASSES, color_map_of, lookup_table, parse_classes, voc_colors
from wss.data.summary import print_summary
from wss.data.voc import LIST_FOLDER, find_devkit, read_list
from wss.data.writer import write_dataset
from wss.errors import UserError, did_you_mean, run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("voc_root", None, "Devkit folder, with JPEGImages in it.", required=True)
flags.DEFINE_string("output_dir", None, "Where to write the data set.", required=True)
flags.DEFINE_string("name", "voc2012", "Name of the data set.")
flags.DEFINE_list("splits", [], "Lists in ImageSets/Segmentation, by name, or paths of list files; all by default.")
flags.DEFINE_list("unlabeled_splits", [], "Splits to write without masks.")
flags.DEFINE_bool("allow_missing_masks", False, "Images without a mask file are unlabelled instead of a problem.")
flags.DEFINE_list("classes", [], "Ids to keep, such as 0,8,12: they become 0, 1, 2, and all others are ignored.")
flags.DEFINE_integer("num_shards", 4, "Files per split.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the order of the images.", lower_bound=0)
flags.DEFINE_integer("workers", 0, "Threads; 0 takes one per core.", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "Replace the data set that is in output_dir.")


def main(argv: list[str]) -> None:
    root = find_devkit(FLAGS.voc_root)
    keep = parse_classes(FLAGS.classes, len(VOC_CLASSES))
    splits, problems = read_splits(root)
    kept = range(len(VOC_CLASSES)) if keep is None else keep
    color_map = color_map_of([*voc_colors(len(VOC_CLASSES)), voc_colors()[IGNORE]], [*range(len(VOC_CLASSES)), IGNORE])
    info, statistics = write_dataset(
        FLAGS.output_dir,
        FLAGS.name,
        [VOC_CLASSES[c] for c in kept],
        [voc_colors()[c] for c in kept],
        splits,
        LabelMap(lookup_table(len(VOC_CLASSES), keep), color_map),
        has_background=0 in kept,
        num_shards=FLAGS.num_shards,
        seed=FLAGS.seed,
        workers=FLAGS.workers,
        overwrite=FLAGS.overwrite,
        provenance={
            "command": "build_voc2012.py",
            "source": root.name,
            "classes": list(kept),
            "unlabeled_splits": sorted(FLAGS.unlabeled_splits),
        },
        problems=problems,
    )
    print_summary(info, statistics)


def read_splits(root: Path) -> tuple[dict[str, list[Source]], list[str]]:
    """Returns the images of each split, and a line for each image whose mask is missing."""
    lists = {path.stem: path for path in sorted((root / LIST_FOLDER).glob("*.txt"))}
    if FLAGS.splits:
        lists = {Path(name).stem: _list_path(name, lists) for name in FLAGS.splits}
    if not lists:
        raise UserError(f"{root / LIST_FOLDER}: no *.txt lists of image ids; expected such as train.txt")
    for name in FLAGS.unlabeled_splits:
        if name not in lists:
            raise UserError(f"--unlabeled_splits={name}: no such split.{did_you_mean(name, lists)}")
    splits, problems = {}, []
    for name, path in lists.items():
        entries = read_list(root, path)
        if name in FLAGS.unlabeled_splits:
            splits[name] = [Source(entry.id, entry.image) for entry in entries]
            continue
        if not FLAGS.allow_missing_masks:
            problems += [
                f"{entry.image}: no mask for it, though {path} lists it; add --allow_missing_masks or "
                f"--unlabeled_splits={name} if it has none"
                for entry in entries
                if entry.mask is None
            ]
        splits[name] = [Source(entry.id, entry.image, entry.mask) for entry in entries]
    return splits, problems


def _list_path(name: str, lists: dict[str, Path]) -> Path:
    if name in lists:
        return lists[name]
    if not Path(name).is_file():
        raise UserError(f"--splits={name}: no such list; found {', '.join(lists)}.{did_you_mean(name, lists)}")
    return Path(name)


if __name__ == "__main__":
    run_main(main)
