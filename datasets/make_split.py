r"""Makes splits of a built data set without copying images: a paper's list, your own list, or a balanced choice.

A list of a paper, by its name; it is verified, so that it is that list and no other (--show_lists shows all):
  python datasets/make_split.py --dataset=data/voc2012 --list=voc_pseudoseg_1_16_s1_92 --list_file=<file or clone> \
    --name=train_1_16 --rest_name=unlabeled
Without --list_file it is computed where its rule is known (Cityscapes by seed), and downloaded otherwise.

Your own list, a text file of image ids: --list_file=ids.txt --name=mine

A class-balanced choice, seeded: every class occurs in at least --min_images_per_class images:
  python datasets/make_split.py --dataset=data/voc2012 --from_split=train --fraction=1/16 --name=train_1_16
Of a VOC devkit it becomes a list for build_voc2012.py, with its checksum in a .json beside it:
  python datasets/make_split.py --voc_root=VOCdevkit/VOC2012 --num_images=92 --output_list=train_92.txt

--rest_name adds a split of all other images of --from_split: the unlabelled ones of the papers. The original PseudoSeg
takes all images of --from_split as unlabelled, the labelled ones included: then no such split is needed.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from wss.command import run_main
from wss.conversion.layouts.folder import read_ids
from wss.conversion.layouts.voc import LIST_FOLDER, Devkit, SbdMask, read_list
from wss.data.added_splits import add_splits, check_names, check_no_orphans, check_not_empty
from wss.data.balanced_subset import balanced_subset, subset_size, write_list
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import IGNORE, VOC_CLASSES, color_map_of, parse_classes, read_mask, voc_colors
from wss.data.published_splits import describe, get_list, identify, published
from wss.data.splits import Record, pick, records_of
from wss.errors import UserError
from wss.files import check_writable
from wss.progress import track

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Folder of a built data set, with dataset.json in it.")
flags.DEFINE_string("voc_root", None, "Devkit folder, with JPEGImages in it; instead of --dataset.")
flags.DEFINE_string(
    "from_split", None, "The split, or the devkit's list, to choose from; by default the training images."
)
flags.DEFINE_string("list", None, "Name of a published list.")
flags.DEFINE_string(
    "list_file", None, "Text file of image ids; with --list also a clone of the repository that has it."
)
flags.DEFINE_bool("show_lists", False, "Print the published lists, or with --list what is known of one, and stop.")
flags.DEFINE_integer("num_images", None, "How many images to choose.", lower_bound=1)
flags.DEFINE_string("fraction", None, "Which part of the images to choose, such as 1/16; instead of --num_images.")
flags.DEFINE_integer("min_images_per_class", 1, "Least number of chosen images for each class.", lower_bound=0)
flags.DEFINE_list("classes", [], "With --voc_root: the ids that count; all by default.")
flags.DEFINE_integer("seed", 0, "Another seed chooses other images.", lower_bound=0)
flags.DEFINE_string("name", None, "Name of the new split; that of --list by default.")
flags.DEFINE_string("rest_name", None, "Name of a further split of all other images of from_split.")
flags.DEFINE_bool("hide_masks", False, "Training shall not see masks of the further split, though there are some.")
flags.DEFINE_string("output_list", None, "Text file to write the chosen ids to.")
flags.DEFINE_bool("overwrite", False, "Replace the list or the split of that name.")

# The papers' lists choose from these, their "rest" is the rest of these.
TRAINING_SPLITS = {"voc2012": "train_aug", "cityscapes": "train_fine", "coco": "train2017"}


def main(argv: list[str]) -> None:
    """Shows the published lists, or makes splits of a data set, or a list of a devkit."""
    if FLAGS.show_lists:
        print(describe(FLAGS.list))
        return
    if bool(FLAGS.dataset) == bool(FLAGS.voc_root):
        raise UserError(
            "give either --dataset (a built data set) or --voc_root (a devkit); --show_lists shows the lists"
        )
    check_flags()
    if FLAGS.dataset:
        split_dataset()
    else:
        split_devkit()


def check_flags() -> None:
    """Refuses flags that would do nothing together, and a list file that must not be replaced."""
    if FLAGS.output_list and Path(FLAGS.output_list).exists() and not FLAGS.overwrite:
        raise UserError(f"--output_list={FLAGS.output_list}: exists; add --overwrite to replace it")
    if FLAGS.output_list and FLAGS.output_list.endswith(".json"):
        raise UserError(
            f"--output_list={FLAGS.output_list}: expected another ending; what is recorded goes to the .json"
        )
    if FLAGS.output_list:
        check_writable(FLAGS.output_list, "give another file by --output_list")
    by_list = FLAGS.list or FLAGS.list_file
    if by_list and FLAGS.voc_root:
        raise UserError("--list and --list_file choose from a built data set; give --dataset instead of --voc_root")
    if by_list and (FLAGS.num_images or FLAGS.fraction):
        raise UserError("give either a list (--list, --list_file) or a size (--num_images, --fraction)")
    if FLAGS.dataset and FLAGS.classes:
        raise UserError("--classes is for --voc_root; a data set has the classes that it was built with")
    if FLAGS.hide_masks and not FLAGS.rest_name:
        raise UserError("--hide_masks is for the further split; --rest_name is missing")


def split_dataset() -> None:
    """Adds the new splits to a built data set."""
    name = FLAGS.name or FLAGS.list
    if not name:
        raise UserError("--name is missing: the name of the new split, such as train_1_16")
    info = DatasetInfo.load(FLAGS.dataset)
    check_names(info, [name, *filter(None, [FLAGS.rest_name])], FLAGS.overwrite)
    from_split = FLAGS.from_split or (TRAINING_SPLITS[published(FLAGS.list).dataset] if FLAGS.list else "train")
    records = records_of(info, from_split)
    by_list = FLAGS.list or FLAGS.list_file
    chosen, recorded = from_list(records, from_split) if by_list else choose_records(records, info, from_split)
    splits, provenance = {name: chosen}, {name: recorded}
    if FLAGS.rest_name:
        taken = {(record.file, record.number) for record in chosen}
        splits[FLAGS.rest_name] = [record for record in records if (record.file, record.number) not in taken]
        provenance[FLAGS.rest_name] = {"from_split": from_split, "without": name}
    hidden = list(splits) if info.split(from_split).hide_masks else [FLAGS.rest_name] * FLAGS.hide_masks
    check_not_empty(info, splits)
    check_no_orphans(info, splits)
    if FLAGS.output_list:
        write_list(FLAGS.output_list, [record.entry.id for record in chosen], recorded)
    add_splits(info, splits, provenance, overwrite=FLAGS.overwrite, hide_masks=hidden)
    print(f"{FLAGS.dataset}: " + ", ".join(f"{name} has {len(part)} images" for name, part in splits.items()))


def from_list(records: Sequence[Record], from_split: str) -> tuple[list[Record], dict]:
    """Returns the records of a list and what is recorded of it; prints what is easily mistaken about it."""
    known = {record.entry.id for record in records}
    if not FLAGS.list:
        spellings = {**{unicodedata.normalize("NFC", id): id for id in known}, **{id: id for id in known}}
        ids = [listed_id(line, spellings) for line in read_ids(FLAGS.list_file)]
        if names := identify(ids):
            print(f"{FLAGS.list_file}: the published list {' = '.join(names)}")
        return pick(records, ids, what=FLAGS.list_file, from_split=from_split), {
            "from_split": from_split,
            "list": "own",
        }
    entry = published(FLAGS.list)
    ids = get_list(FLAGS.list, FLAGS.list_file, sorted(known))
    print(f"{FLAGS.list}: {entry.paper}; verified, {len(ids)} images. {entry.note}")
    return pick(records, ids, what=FLAGS.list, from_split=from_split), {
        "from_split": from_split,
        "list": FLAGS.list,
        "from": entry.place,
    }


def listed_id(line: str, known: Mapping[str, str]) -> str:
    """Returns the id of a line, which may also be the path of the image, and that of its mask.

    Args:
        line: The line.
        known: Ids by themselves and by their composed letters; macOS writes an accent and its letter apart.
    """
    line = line.removeprefix("\ufeff").strip()
    stem = Path((line.split() or [line])[0]).stem
    for name in (line, stem):
        if found := known.get(name, known.get(unicodedata.normalize("NFC", name))):
            return found
    return stem


def choose_records(records: Sequence[Record], info: DatasetInfo, from_split: str) -> tuple[list[Record], dict]:
    """Returns a class-balanced choice, and what is recorded of it."""
    first, use_masks = int(info.has_background), not info.split(from_split).hide_masks
    present = [record.entry.present(info.num_classes, info.has_background, use_masks) for record in records]
    unknown = [record.entry.id for record, classes in zip(records, present, strict=True) if classes is None]
    if unknown:
        raise UserError(
            f"{info.directory}: image {unknown[0]!r} of {from_split} has neither a mask nor image-level labels; choose "
            "from a labelled split"
        )
    ids = [record.entry.id for record in records]
    indices, recorded = choose(np.array(present)[:, first:], ids, list(info.class_names[first:]), from_split=from_split)
    return [records[i] for i in indices], recorded


def split_devkit() -> None:
    """Writes a list of ids."""
    if not FLAGS.output_list:
        raise UserError("--output_list is missing: the text file to write the chosen ids to")
    devkit = Devkit.find(FLAGS.voc_root)
    count = len(VOC_CLASSES)
    keep = parse_classes(FLAGS.classes, count) or tuple(range(count))
    classes = [c for c in keep if c]
    from_split = FLAGS.from_split or "train"
    entries = read_list(devkit.root, devkit.root / LIST_FOLDER / f"{from_split}.txt")
    color_map = color_map_of([*voc_colors(count), voc_colors()[IGNORE]], [*range(count), IGNORE])
    present = []
    for entry in track(entries, "reading masks"):
        mask = devkit.mask(entry)
        if mask is None:
            raise UserError(f"{devkit.image(entry)}: no mask for it; choose from a list whose images all have masks")
        values = mask.read() if isinstance(mask, SbdMask) else read_mask(mask, color_map)
        present.append(np.isin(classes, values))
    ids = [entry.id for entry in entries]
    chosen, recorded = choose(np.array(present), ids, [VOC_CLASSES[c] for c in classes], from_split=from_split)
    write_list(FLAGS.output_list, [ids[i] for i in chosen], recorded)
    print(f"{FLAGS.output_list}: {len(chosen)} of {len(ids)} images")


def choose(present: np.ndarray, ids: list[str], class_names: list[str], *, from_split: str) -> tuple[np.ndarray, dict]:
    """Returns the indices of the chosen images and what is recorded of the choice."""
    size = subset_size(len(ids), FLAGS.num_images, FLAGS.fraction)
    chosen, sample = balanced_subset(
        present, size, FLAGS.min_images_per_class, seed=FLAGS.seed, class_names=class_names
    )
    counts = present[chosen].sum(0)
    return chosen, {
        "from_split": from_split,
        "num_images": size,
        "min_images_per_class": FLAGS.min_images_per_class,
        "seed": FLAGS.seed,
        "sample": sample,
        "images_per_class": {name: int(n) for name, n in zip(class_names, counts, strict=True)},
    }


if __name__ == "__main__":
    run_main(main)
