"""Chooses a class-balanced subset of a list, seeded: every class occurs in at least --min_images_per_class images.

Of a data set that is built, the subset becomes a further split (and --rest_name the other images):
  python datasets/make_split.py --dataset=data/voc2012 --from_split=train --fraction=1/16 --name=train_1_16

Of a VOC devkit, it becomes a list for build_voc2012.py, with its checksum in a .json beside it:
  python datasets/make_split.py --voc_root=VOCdevkit/VOC2012 --num_images=92 --output_list=train_92.txt
"""

from pathlib import Path

import numpy as np
from absl import flags

from wss.data.info import DatasetInfo
from wss.data.masks import IGNORE, VOC_CLASSES, color_map_of, parse_classes, read_mask, voc_colors
from wss.data.subsets import add_splits, balanced_subset, check_names, read_split, subset_size, write_list
from wss.data.voc import LIST_FOLDER, find_devkit, read_list
from wss.errors import UserError, run_main
from wss.progress import track

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "Folder of a built data set, with dataset.json in it.")
flags.DEFINE_string("voc_root", None, "Devkit folder, with JPEGImages in it; instead of --dataset.")
flags.DEFINE_string("from_split", "train", "The split, or the devkit's list, to choose from.")
flags.DEFINE_integer("num_images", None, "How many images to choose.", lower_bound=1)
flags.DEFINE_string("fraction", None, "Which part of the images to choose, such as 1/16; instead of --num_images.")
flags.DEFINE_integer("min_images_per_class", 1, "Least number of chosen images for each class.", lower_bound=0)
flags.DEFINE_list("classes", [], "With --voc_root: the ids that count; all by default.")
flags.DEFINE_integer("seed", 0, "Another seed chooses other images.", lower_bound=0)
flags.DEFINE_string("name", None, "With --dataset: name of the new split.")
flags.DEFINE_string("rest_name", None, "With --dataset: name of a split of all other images of from_split.")
flags.DEFINE_string("output_list", None, "Text file to write the chosen ids to.")
flags.DEFINE_integer("num_shards", 4, "Files per split.", lower_bound=1)
flags.DEFINE_bool("overwrite", False, "Replace the list or the split of that name.")


def main(argv: list[str]) -> None:
    if bool(FLAGS.dataset) == bool(FLAGS.voc_root):
        raise UserError("give either --dataset (a built data set) or --voc_root (a devkit)")
    if FLAGS.output_list and Path(FLAGS.output_list).exists() and not FLAGS.overwrite:
        raise UserError(f"--output_list={FLAGS.output_list}: exists; add --overwrite to replace it")
    if FLAGS.dataset:
        split_dataset()
    else:
        split_devkit()


def split_dataset() -> None:
    """Adds the new splits to a built data set."""
    if not FLAGS.name:
        raise UserError("--name is missing: the name of the new split, such as train_1_16")
    info = DatasetInfo.load(FLAGS.dataset)
    check_names(info, filter(None, [FLAGS.name, FLAGS.rest_name]), FLAGS.overwrite)
    examples = read_split(info, FLAGS.from_split)
    first = int(info.has_background)
    present = np.array([example.present[first:] for example in examples])
    chosen, record = choose(present, [example.id for example in examples], info.class_names[first:])
    splits = {FLAGS.name: [examples[i] for i in chosen]}
    if FLAGS.rest_name:
        splits[FLAGS.rest_name] = [examples[i] for i in np.setdiff1d(np.arange(len(examples)), chosen)]
    add_splits(info, splits, FLAGS.num_shards, FLAGS.seed, {FLAGS.name: record}, FLAGS.overwrite)
    if FLAGS.output_list:
        write_list(FLAGS.output_list, [example.id for example in splits[FLAGS.name]], record)
    print(f"{FLAGS.dataset}: " + ", ".join(f"{name} has {len(part)} images" for name, part in splits.items()))


def split_devkit() -> None:
    """Writes a list of ids."""
    if not FLAGS.output_list:
        raise UserError("--output_list is missing: the text file to write the chosen ids to")
    root = find_devkit(FLAGS.voc_root)
    count = len(VOC_CLASSES)
    keep = parse_classes(FLAGS.classes, count) or tuple(range(count))
    classes = [c for c in keep if c]
    entries = read_list(root, root / LIST_FOLDER / f"{FLAGS.from_split}.txt")
    color_map = color_map_of([*voc_colors(count), voc_colors()[IGNORE]], [*range(count), IGNORE])
    present = []
    for entry in track(entries, "reading masks"):
        if entry.mask is None:
            raise UserError(f"{entry.image}: no mask for it; choose from a list whose images all have masks")
        present.append(np.isin(classes, read_mask(entry.mask, color_map)))
    ids = [entry.id for entry in entries]
    chosen, record = choose(np.array(present), ids, [VOC_CLASSES[c] for c in classes])
    write_list(FLAGS.output_list, [ids[i] for i in chosen], record)
    print(f"{FLAGS.output_list}: {len(chosen)} of {len(ids)} images")


def choose(present: np.ndarray, ids: list[str], class_names: list[str]) -> tuple[np.ndarray, dict]:
    """Returns the indices of the chosen images and what is recorded of the choice."""
    size = subset_size(len(ids), FLAGS.num_images, FLAGS.fraction)
    chosen = balanced_subset(present, size, FLAGS.min_images_per_class, FLAGS.seed, class_names)
    counts = present[chosen].sum(0)
    record = {
        "from_split": FLAGS.from_split,
        "num_images": size,
        "min_images_per_class": FLAGS.min_images_per_class,
        "seed": FLAGS.seed,
        "images_per_class": {name: int(n) for name, n in zip(class_names, counts, strict=True)},
    }
    return chosen, record


if __name__ == "__main__":
    run_main(main)
