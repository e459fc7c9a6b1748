"""Makes the dataset.json of TFRecords that DeepLab's converters or the original code wrote; checks every example.

python datasets/describe_records.py --dir=pascal_voc_seg/tfrecord --class_names=voc2012

Files are "train-00000-of-00010.tfrecord" or without ".tfrecord"; the part before the first number is the split.
"""

import re

from absl import flags
from etils import epath

from wss.command import run_main
from wss.conversion.class_files import read_classes
from wss.conversion.encode import raise_problems
from wss.conversion.summary import print_summary
from wss.data.dataset_info import FILE_NAME, DatasetInfo
from wss.data.masks import VOC_CLASSES, voc_colors
from wss.data.record_frames import check_frames
from wss.data.record_index import RECORD_OVERHEAD, Entry, count_pixels, image_hash, index_path, write_index
from wss.data.splits import Split, write_splits
from wss.errors import UserError
from wss.jobs.processes import Tick, run_jobs
from wss.next_step import inspection, say_next

FLAGS = flags.FLAGS
flags.DEFINE_string("dir", None, "Folder of the TFRecord files; dataset.json is written there.", required=True)
flags.DEFINE_string("class_names", None, "voc2012, names separated by commas, or a text file of them.", required=True)
flags.DEFINE_string("name", None, "Name of the data set; that of the folder by default.")
flags.DEFINE_bool("has_background", True, "Class 0 is everything else, and no image-level label.")
flags.DEFINE_integer("ignore_label", 255, "Label of pixels that do not count.", lower_bound=0, upper_bound=255)
flags.DEFINE_integer("workers", 0, "Processes; 0 takes this one, and all cores for many files.", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "Replace the dataset.json that is there.")

COMMAND = "describe_records.py"
SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(\.tfrecords?)?")


def main(argv: list[str]) -> None:
    """Checks all records, writes their indexes and the dataset.json, and prints its table."""
    folder = epath.Path(FLAGS.dir)
    if (folder / FILE_NAME).exists():
        check_replaceable(folder)
    names, colors = list(VOC_CLASSES), [tuple(color) for color in voc_colors(len(VOC_CLASSES)).tolist()]
    if FLAGS.class_names != "voc2012":
        names, colors, _ = read_classes(FLAGS.class_names, has_background=FLAGS.has_background)
    info = DatasetInfo(
        name=FLAGS.name or folder.resolve().name,
        class_names=tuple(names),
        colors=tuple(colors),
        splits={},
        ignore_label=FLAGS.ignore_label,
        has_background=FLAGS.has_background,
        provenance={"command": COMMAND},
        directory=str(folder),
    )
    shards = find_shards(folder)
    jobs = [(info, file) for files in shards.values() for file in files]
    problems = run_jobs(index_file, jobs, workers=FLAGS.workers, what="reading", total=len(jobs), unit="file")
    indexes = [index_path(folder / file) for _, file in jobs]
    for path in indexes:
        if any(problems):
            new_index(path).unlink(missing_ok=True)
        else:
            new_index(path).replace(path)
    raise_problems(line for lines in problems for line in lines)
    info, statistics = write_splits(info, shards, {split: Split((split,)) for split in shards})
    print_summary(info, statistics)
    say_next(inspection(FLAGS.dir))


def check_replaceable(folder: epath.Path) -> None:
    """Raises a `UserError` if there is a dataset.json that must not be replaced."""
    if not FLAGS.overwrite:
        raise UserError(f"{folder / FILE_NAME}: exists; add --overwrite to replace it")
    if (command := DatasetInfo.load(folder).provenance.get("command", COMMAND)) != COMMAND:
        raise UserError(
            f"{folder / FILE_NAME}: made by {command}, with splits that would be lost; build the data set again"
        )


def find_shards(folder: epath.Path) -> dict[str, list[str]]:
    """Returns the files of each split in order; a missing one is a `UserError`."""
    if not folder.is_dir():
        raise UserError(f"--dir={folder}: no such folder")
    shards: dict[str, list[str]] = {}
    expected: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if match := SHARD.fullmatch(path.name):
            shards.setdefault(match["split"], []).append(path.name)
            expected.setdefault(match["split"], []).append(match["count"])
    if not shards:
        raise UserError(f"--dir={folder}: no TFRecord files in it; expected such as train-00000-of-00010.tfrecord")
    for split, counts in expected.items():
        if len(set(counts)) > 1:
            raise UserError(
                f"{folder}: split {split!r} has files -of-{' and -of-'.join(sorted(set(counts)))}; keep one set"
            )
        if len(counts) != int(counts[0]):
            raise UserError(f"{folder}: split {split!r} has {len(counts)} files, expected {int(counts[0])}")
    return shards


def index_file(job: tuple[DatasetInfo, str], tick: Tick) -> list[str]:
    """Writes the index of one file beside where it belongs; returns a line per problem."""
    import tensorflow as tf

    from wss.data.example import reason_of

    info, file = job
    path = epath.Path(info.directory) / file
    entries: list[Entry] = []
    problems: list[str] = []
    offset = 0
    try:
        check_frames(path)
        for number, serialized in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            try:
                entries.append(entry_of(serialized, offset, info))
            except UserError as error:
                problems.append(f"{path}: record {number}: {error}")
            offset += len(serialized) + RECORD_OVERHEAD
    except (tf.errors.OpError, UserError) as error:
        reason = reason_of(error) if isinstance(error, tf.errors.OpError) else error
        problems.append(f"{path}: damaged, or no TFRecord file ({reason})")
    if not entries and not problems:
        problems.append(f"{path}: has no records")
    write_index(new_index(index_path(path)), entries)
    tick(1)
    return problems


def new_index(path: epath.Path) -> epath.Path:
    """Returns where an index lies until all files are read."""
    return path.with_name(path.name + ".new")


def entry_of(serialized: bytes, offset: int, info: DatasetInfo) -> Entry:
    """Checks a record and returns its index entry."""
    from wss.data.example import IMAGE, parse_boxes, parse_features
    from wss.data.record_check import check_record

    example, features, boxes = check_record(serialized, info), parse_features(serialized), parse_boxes(serialized)
    labels = features["image/class/label"].numpy().tolist() if example["has_image_label"] else None
    return Entry(
        id=example["name"].decode(),
        offset=offset,
        size=example["image"].shape[:2],
        pixels=count_pixels(example["label"]) if example["has_mask"] else None,
        image_labels=None if labels is None else tuple(sorted(set(labels))),
        num_boxes=len(boxes["label"]) if boxes["known"] else None,
        image_hash=image_hash(features[IMAGE].numpy()),
    )


if __name__ == "__main__":
    run_main(main)
