"""Makes the dataset.json of TFRecords that DeepLab's converters or the original code wrote; checks every example.

python datasets/describe_records.py --dir=pascal_voc_seg/tfrecord --class_names=voc2012

Files are "train-00000-of-00010.tfrecord" or without ".tfrecord"; the part before the first number is the split.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from wss.data.checks import raise_problems
from wss.data.folder import read_classes
from wss.data.info import FILE_NAME, DatasetInfo
from wss.data.masks import VOC_CLASSES
from wss.data.schema import check_record
from wss.data.summary import print_summary
from wss.data.writer import Statistics, run_jobs, split_info
from wss.errors import UserError, run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("dir", None, "Folder of the TFRecord files; dataset.json is written there.", required=True)
flags.DEFINE_string("class_names", None, "voc2012, names separated by commas, or a text file of them.", required=True)
flags.DEFINE_string("name", None, "Name of the data set; that of the folder by default.")
flags.DEFINE_bool("has_background", True, "Class 0 is everything else, and no image-level label.")
flags.DEFINE_integer("ignore_label", 255, "Label of pixels that do not count.", lower_bound=0, upper_bound=255)
flags.DEFINE_integer("workers", 0, "Threads; 0 takes one per core.", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "Replace the dataset.json that is there.")

SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(\.tfrecords?)?")


def main(argv: list[str]) -> None:
    folder = Path(FLAGS.dir)
    if (folder / FILE_NAME).exists() and not FLAGS.overwrite:
        raise UserError(f"{folder / FILE_NAME}: exists; add --overwrite to replace it")
    names, colors, _ = read_classes(",".join(VOC_CLASSES) if FLAGS.class_names == "voc2012" else FLAGS.class_names)
    info = DatasetInfo(
        FLAGS.name or folder.resolve().name,
        tuple(names),
        tuple(colors),
        {},
        FLAGS.ignore_label,
        FLAGS.has_background,
        {"command": "describe_records.py"},
        str(folder),
    )
    shards = find_shards(folder)
    jobs = {
        (split, file): (lambda tick, path=folder / file: read_shard(path, info, tick))
        for split, files in shards.items()
        for file in files
    }
    results = dict(zip(jobs, run_jobs(list(jobs.values()), FLAGS.workers, "reading", len(jobs), "file"), strict=True))
    raise_problems(line for _, _, lines in results.values() for line in lines)
    statistics = {
        split: sum((results[split, file][0] for file in files), Statistics()) for split, files in shards.items()
    }
    for split, files in shards.items():
        counts = {file: results[split, file][0].num_images for file in files}
        ids = [id for file in files for id in results[split, file][1]]
        info.splits[split] = split_info(counts, statistics[split], ids)
    info.save(folder)
    print_summary(info, statistics)


def find_shards(folder: Path) -> dict[str, list[str]]:
    """Returns the files of each split in order; a missing one is a `UserError`."""
    if not folder.is_dir():
        raise UserError(f"--dir={folder}: no such folder")
    shards: dict[str, list[str]] = {}
    expected: dict[str, int] = {}
    for path in sorted(folder.iterdir()):
        if match := SHARD.fullmatch(path.name):
            shards.setdefault(match["split"], []).append(path.name)
            expected[match["split"]] = int(match["count"])
    if not shards:
        raise UserError(f"--dir={folder}: no TFRecord files in it; expected such as train-00000-of-00010.tfrecord")
    for split, files in shards.items():
        if len(files) != expected[split]:
            raise UserError(f"{folder}: split {split!r} has {len(files)} files, expected {expected[split]}")
    return shards


def read_shard(path: Path, info: DatasetInfo, tick: Callable[[], None]) -> tuple[Statistics, list[str], list[str]]:
    """Returns what is in one file, the ids of its images in order, and a line per problem."""
    statistics, ids, problems = Statistics(), [], []
    try:
        for number, serialized in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            try:
                example = check_record(serialized, info)
            except UserError as error:
                problems.append(f"{path}: record {number}: {error}")
                continue
            pixels = np.bincount(example["label"].ravel(), minlength=256) if example["has_mask"] else None
            statistics.add(example["image"].shape[:2], pixels, bool(example["has_image_label"]))
            ids.append(example["name"].decode(errors="replace"))
    except tf.errors.OpError as error:
        problems.append(f"{path}: damaged, or no TFRecord file ({error.message.splitlines()[0]})")
    if not ids and not problems:
        problems.append(f"{path}: has no records")
    tick()
    return statistics, ids, problems


if __name__ == "__main__":
    run_main(main)
