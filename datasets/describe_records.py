"""Makes the dataset.json of TFRecords that DeepLab's converters or the original code wrote; checks every example.

python datasets/describe_records.py --dir=pascal_voc_seg/tfrecord --class_names=voc2012

Files are "train-00000-of-00010.tfrecord" or without ".tfrecord"; the part before the first number is the split.
"""

import re
from collections.abc import Callable

import tensorflow as tf
from absl import flags
from etils import epath

from wss.data.checks import count_pixels, image_hash, raise_problems
from wss.data.execution import run_jobs
from wss.data.index import RECORD_OVERHEAD, Entry, write_index
from wss.data.info import FILE_NAME, DatasetInfo
from wss.data.layouts.folder import read_classes
from wss.data.masks import VOC_CLASSES
from wss.data.schema import check_record, parse_boxes
from wss.data.source import Split
from wss.data.splits import select
from wss.data.summary import print_summary
from wss.errors import UserError, run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("dir", None, "Folder of the TFRecord files; dataset.json is written there.", required=True)
flags.DEFINE_string("class_names", None, "voc2012, names separated by commas, or a text file of them.", required=True)
flags.DEFINE_string("name", None, "Name of the data set; that of the folder by default.")
flags.DEFINE_bool("has_background", True, "Class 0 is everything else, and no image-level label.")
flags.DEFINE_integer("ignore_label", 255, "Label of pixels that do not count.", lower_bound=0, upper_bound=255)
flags.DEFINE_integer("workers", 0, "Processes; 0 or 1 for none but this one.", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "Replace the dataset.json that is there.")

SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(\.tfrecords?)?")


def main(argv: list[str]) -> None:
    folder = epath.Path(FLAGS.dir)
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
    jobs = [(info, file) for files in shards.values() for file in files]
    raise_problems(
        line for lines in run_jobs(index_file, jobs, FLAGS.workers, "reading", len(jobs), "file") for line in lines
    )
    info, statistics = select(info, shards, {split: Split((split,)) for split in shards})
    print_summary(info, statistics)


def find_shards(folder: epath.Path) -> dict[str, list[str]]:
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


def index_file(job: tuple[DatasetInfo, str], tick: Callable[[], None]) -> list[str]:
    """Writes the index of one file; returns a line per problem."""
    info, file = job
    path = epath.Path(info.directory) / file
    entries: list[Entry] = []
    problems: list[str] = []
    offset = 0
    try:
        for number, serialized in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            try:
                entries.append(entry_of(serialized, offset, info))
            except UserError as error:
                problems.append(f"{path}: record {number}: {error}")
            offset += len(serialized) + RECORD_OVERHEAD
    except tf.errors.OpError as error:
        problems.append(f"{path}: damaged, or no TFRecord file ({error.message.splitlines()[0]})")
    if not entries and not problems:
        problems.append(f"{path}: has no records")
    if not problems:
        write_index(path, entries)
    tick()
    return problems


def entry_of(serialized: bytes, offset: int, info: DatasetInfo) -> Entry:
    """Checks a record and returns its index entry."""
    example, boxes = check_record(serialized, info), parse_boxes(serialized)
    encoded = tf.train.Example.FromString(serialized).features.feature["image/encoded"].bytes_list.value[0]
    labels = (example["image_label"] > 0).nonzero()[0] + int(info.has_background)
    return Entry(
        id=example["name"].decode(errors="replace"),
        offset=offset,
        size=example["image"].shape[:2],
        pixels=count_pixels(example["label"]) if example["has_mask"] else None,
        image_labels=tuple(map(int, labels)) if example["has_image_label"] else None,
        num_boxes=len(boxes["label"]) if boxes["known"] else None,
        image_hash=image_hash(encoded),
    )


if __name__ == "__main__":
    run_main(main)
