"""Writes PASCAL VOC 2012, or a devkit of the same layout, as TFRecords.

python datasets/build_voc2012.py --voc_root=VOCdevkit/VOC2012 --sbd_root=benchmark_RELEASE/dataset --output_dir=data/voc2012

Reads JPEGImages/*.jpg, the lists in ImageSets/Segmentation/*.txt, the boxes in Annotations/*.xml and the masks in
SegmentationClass, SegmentationClassRaw or SegmentationClassAug, the first that has the image: palette PNG, index PNG or
RGB in the VOC colours. A palette must have the colours of VOC too: an editor may have sorted it anew. A line of a list is
an id, or the paths of image and mask such as "/JPEGImages/x.jpg
/SegmentationClassAug/x.png". Where an image has no mask there, that of SBD (cls/*.mat) is taken; with --sbd_root the list
train_aug, 10582 images, is made if there is none. Each list is a split; an image is stored once for all of them.
"""

from pathlib import Path

from absl import flags

from wss.command import run_main
from wss.conversion.converter_flags import convert, define_flags
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.voc import LIST_FOLDER, Devkit, ListLine, read_list
from wss.conversion.sources import Source
from wss.data.mask_colors import FIXED
from wss.data.masks import IGNORE, VOC_CLASSES, color_map_of, lookup_table, parse_classes, voc_colors
from wss.data.published_splits import identify
from wss.data.splits import Split
from wss.data.text_files import is_file
from wss.errors import UserError, did_you_mean

FLAGS = flags.FLAGS
flags.DEFINE_string("voc_root", None, "Devkit folder, with JPEGImages in it.", required=True)
flags.DEFINE_string("sbd_root", None, "Folder of SBD with cls/*.mat in it.")
flags.DEFINE_list("splits", [], "Lists in ImageSets/Segmentation, by name, or paths of list files; all by default.")
flags.DEFINE_list("unlabeled_splits", [], "Splits whose images need no masks; those that there are stay hidden.")
flags.DEFINE_bool("allow_missing_masks", False, "Images without a mask file are unlabelled instead of a problem.")
flags.DEFINE_list("classes", [], "Ids to keep, such as 0,8,12: they become 0, 1, 2, and all others are ignored.")
define_flags("voc2012")

# Images of lists with such names lie in record files of their own, all others in those of the pool "images".
HELD_OUT = ("val", "test")


def main(argv: list[str]) -> None:
    """Reads the lists, writes the data set, and prints its table and which lists are published ones."""
    devkit = Devkit.find(FLAGS.voc_root, FLAGS.sbd_root)
    keep = parse_classes(FLAGS.classes, len(VOC_CLASSES))
    lists = read_lists(devkit)
    sources, problems = read_sources(devkit, lists)
    kept = range(len(VOC_CLASSES)) if keep is None else keep
    color_map = color_map_of([*voc_colors(len(VOC_CLASSES)), voc_colors()[IGNORE]], [*range(len(VOC_CLASSES)), IGNORE])
    pools = pools_of(lists)
    convert(
        {pool: [sources[id] for id in ids if id in sources] for pool, ids in pools.items()},
        class_names=[VOC_CLASSES[c] for c in kept],
        colors=[voc_colors()[c] for c in kept],
        labels=LabelMap(lookup_table(len(VOC_CLASSES), keep), color_map, FIXED),
        splits={
            name: Split(tuple(pools), [entry.id for entry in entries], name in FLAGS.unlabeled_splits)
            for name, entries in lists.items()
        },
        has_background=0 in kept,
        provenance={
            "command": "build_voc2012.py",
            "source": devkit.root.name,
            "sbd": devkit.sbd is not None,
            "classes": list(kept),
            "unlabeled_splits": sorted(FLAGS.unlabeled_splits),
        },
        problems=problems,
    )
    for name, entries in lists.items():
        if published := identify([entry.id for entry in entries]):
            print(f"{name}: the published list {' = '.join(published)}")


def read_lists(devkit: Devkit) -> dict[str, list[ListLine]]:
    """Returns the images of each split that is asked for."""
    known = devkit.list_names()
    lists = dict(_list(devkit, name, known) for name in FLAGS.splits or known)
    if not lists:
        raise UserError(f"{devkit.root / LIST_FOLDER}: no *.txt lists of image ids; expected such as train.txt")
    for name in FLAGS.unlabeled_splits:
        if name not in lists:
            raise UserError(f"--unlabeled_splits={name}: no such split.{did_you_mean(name, lists)}")
    return lists


def read_sources(devkit: Devkit, lists: dict[str, list[ListLine]]) -> tuple[dict[str, Source], list[str]]:
    """Returns all images by id, and a line for each that is twice in a list or has no mask though its split needs it."""
    sources: dict[str, Source] = {}
    problems = []
    for name, entries in lists.items():
        seen = set()
        for entry in entries:
            try:
                source = sources[entry.id] = sources.get(entry.id) or devkit.source(entry)
            except UserError as error:
                problems.append(str(error))
                continue
            if entry.id in seen:
                problems.append(f"{devkit.image(entry)}: duplicate id {entry.id!r} in split {name!r}")
            seen.add(entry.id)
            if source.mask is None and name not in FLAGS.unlabeled_splits and not FLAGS.allow_missing_masks:
                problems.append(
                    f"{devkit.image(entry)}: no mask for it, though list {name!r} has it; give --sbd_root if the list is of "
                    f"SBD, or --unlabeled_splits={name} or --allow_missing_masks if it has none"
                )
    return sources, problems


def pools_of(lists: dict[str, list[ListLine]]) -> dict[str, list[str]]:
    """Returns the ids of the record files: those of validation and test lists, and all others."""
    pools: dict[str, dict[str, None]] = {pool: {} for pool in ("images", *HELD_OUT)}
    held_out = {
        entry.id: pool
        for pool in HELD_OUT
        for name, entries in lists.items()
        if name.startswith(pool)
        for entry in entries
    }
    for entries in lists.values():
        for entry in entries:
            pools[held_out.get(entry.id, "images")][entry.id] = None
    return {pool: sorted(ids) for pool, ids in pools.items() if ids}


def _list(devkit: Devkit, name: str, known: list[str]) -> tuple[str, list[ListLine]]:
    if name in known:
        return name, devkit.read(name)
    if not is_file(name):
        raise UserError(f"--splits={name}: no such list; found {', '.join(known)}.{did_you_mean(name, known)}")
    return Path(name).stem, read_list(devkit.root, Path(name))


if __name__ == "__main__":
    run_main(main)
