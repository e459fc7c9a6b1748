"""What is wrong with the splits of a data set, or worth to know: one line each, with what to do about it."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.splits import checksum
from wss.inspection.inspect import Inspection

PROBLEM, NOTE = "problem", "note"
MAX_EXAMPLES, MAX_NAMES = 3, 12
FEW_IMAGES = 3
# Of the masks of a split; some images without any object are usual.
EMPTY_SHARE = 0.05
BINARY_SHARE = 0.2

# What the defects of records and files have in common, and what to do.
DEFECTS = {
    "file": ("files that are missing or damaged", "build the data set again"),
    "record": ("records that cannot be decoded", "look at these images and build the data set again"),
    "size": ("masks of another size than their images", "correct these masks and build the data set again"),
    "class_range": (
        "labels that are no class",
        "expected {classes}; correct them, or name all classes of the masks, and build (or describe) the records again",
    ),
    "box": (
        "boxes that cannot be",
        "expected edges ymin < ymax and xmin < xmax, in 0 .. 1 of the sides; correct them and build the data set again",
    ),
    "index": ("records that differ from dataset.json or from the index beside them", "build the data set again"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: `PROBLEM` or `NOTE`.
        kind: Short name, the same for all findings of the kind.
        split: Name of the split that it is about; several are separated by commas.
        message: Text on what was found, and on what to do.
    """

    level: str
    kind: str
    split: str
    message: str


def find(info: DatasetInfo, inspections: Sequence[Inspection], eval_splits: Collection[str]) -> list[Finding]:
    """Returns all findings, split by split.

    Args:
        info: The data set.
        inspections: Inspections of its splits.
        eval_splits: Names of the splits to evaluate on; the others are for training.
    """
    training = [inspection for inspection in inspections if inspection.name not in eval_splits]
    findings: list[Finding] = []
    for inspection in inspections:
        is_training = inspection.name not in eval_splits
        found = [
            *_defects(info, inspection),
            *_counts(info, inspection),
            *_duplicates(inspection),
            *_masks(info, inspection, is_training),
            *_boxes(info, inspection, is_training),
            *([] if is_training else _leaks(inspection, training)),
        ]
        findings += [Finding(level, kind, inspection.name, message) for level, kind, message in found]
    if len(training) > 1 and not eval_splits:
        names = _listed([inspection.name for inspection in training], MAX_NAMES)
        help = "so nobody looked for images that training and evaluation share; name some with --eval_splits"
        findings.append(Finding(NOTE, "no_eval_split", names, f"none of them is for evaluation, {help}"))
    return findings


# Each of these yields (level, kind, message).
Found = Iterator[tuple[str, str, str]]


def _defects(info: DatasetInfo, inspection: Inspection) -> Found:
    classes = f"0 .. {info.num_classes - 1} or {info.ignore_label} (ignored)"
    for kind, (what, help) in DEFECTS.items():
        messages = [defect.message for defect in inspection.defects if defect.kind == kind]
        if messages:
            shown = _listed(messages, MAX_EXAMPLES, "; ")
            yield PROBLEM, kind, f"{what} ({len(messages)}): {shown}; {help.format(classes=classes)}"


def _counts(info: DatasetInfo, inspection: Inspection) -> Found:
    """Compares what dataset.json says; the numbers of records are compared file by file already."""
    if inspection.index_missing:
        yield NOTE, "no_index", inspection.index_missing
    if any(defect.kind in ("file", "record") for defect in inspection.defects):
        return
    said = info.split(inspection.name)
    pairs: dict[str, tuple] = {
        "masks": (said.num_masks, inspection.num_masks),
        "image-level labels": (said.num_image_labels, inspection.num_image_labels),
        "images with known objects": (said.num_with_boxes, inspection.num_with_boxes),
    }
    if not inspection.sampled:
        pairs["the largest height x width"] = tuple("{}x{}".format(*a.max_size) for a in (said, inspection))
    if said.checksum and not inspection.index_missing:
        pairs["the checksum of the ids"] = (said.checksum[:8], checksum(inspection.ids)[:8])
    differences = [f"{what}: {a}, found {b}" for what, (a, b) in pairs.items() if a != b]
    if differences:
        yield (
            PROBLEM,
            "index",
            f"dataset.json differs from the records ({'; '.join(differences)}); {DEFECTS['index'][1]}",
        )


def _duplicates(inspection: Inspection) -> Found:
    twice = [repr(id) for id, count in Counter(inspection.ids).items() if count > 1]
    if twice:
        shown = _listed(twice, MAX_EXAMPLES)
        yield (
            PROBLEM,
            "duplicate_id",
            f"ids that occur more than once ({len(twice)}): {shown}; list each image once, under an id of its own",
        )
    ids_of: dict[str, dict[str, None]] = {}
    for id, image_hash in zip(inspection.ids, inspection.hashes, strict=True):
        ids_of.setdefault(image_hash, {})[id] = None
    same = [" = ".join(map(repr, ids)) for ids in ids_of.values() if len(ids) > 1]
    if same:
        yield (
            NOTE,
            "duplicate_image",
            f"images that are there under several ids ({len(same)}): {_listed(same, MAX_EXAMPLES)}; they count more than "
            "the others, leave out all but one",
        )


def _masks(info: DatasetInfo, inspection: Inspection, is_training: bool) -> Found:
    total = inspection.num_decoded_masks
    if not total:
        return
    if info.num_classes > 1 and set(np.flatnonzero(inspection.pixels)) == {0, info.ignore_label}:
        yield (
            PROBLEM,
            "binary_masks",
            f"all {total} masks hold only 0 ({info.class_names[0]}) and {info.ignore_label} (ignored), though there are "
            f"{info.num_classes} classes; if {info.ignore_label} marks an object there, write the id of its class instead "
            "and build the data set again",
        )
        return
    if inspection.num_both > BINARY_SHARE * total and not _leaves_classes_out(info):
        yield (
            PROBLEM,
            "binary_masks",
            f"{inspection.num_both} of {total} masks hold only 0 ({info.class_names[0]}) and {info.ignore_label} (ignored), "
            f"and the others have objects; if {info.ignore_label} marks an object there, write the id of its class and "
            "build the data set again",
        )
    yield from _rare_classes(info, inspection, is_training)
    counts = {
        "all background": inspection.num_background,
        "all ignored": inspection.num_ignored,
        "nothing but background and ignored pixels": inspection.num_both,
    }
    empty = sum(counts.values())
    if empty > EMPTY_SHARE * total:
        shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        yield (
            NOTE,
            "empty_masks",
            f"{empty} of {total} masks show no object ({shown}); if there are some in the images, their labels are missing",
        )


def _boxes(info: DatasetInfo, inspection: Inspection, is_training: bool) -> Found:
    if empty := inspection.empty_boxes:
        shown = _listed([repr(id) for id in empty], MAX_EXAMPLES)
        yield (
            NOTE,
            "empty_box",
            f"images with a box that has no area ({len(empty)}): {shown}; training leaves such boxes out",
        )
    if not inspection.num_with_boxes or inspection.num_masks:
        return  # masks tell what is missing
    without = inspection.without_boxes
    if len(without) > EMPTY_SHARE * inspection.num_with_boxes:
        shown = _listed([repr(id) for id in without], MAX_EXAMPLES)
        yield (
            NOTE,
            "no_boxes",
            f"{len(without)} of {inspection.num_with_boxes} images are known to have no object, such as {shown}; if they "
            "show some, the boxes are missing",
        )
    classes = range(int(info.has_background), info.num_classes)
    absent = [info.class_names[c] for c in classes if not inspection.boxes_per_class[c]]
    if absent and inspection.num_boxes and is_training:
        shown = f"({len(absent)} of {len(classes)}): {_listed(absent, MAX_NAMES)}"
        yield NOTE, "class_without_boxes", f"classes without any box {shown}; they cannot be learned from boxes"


def _leaves_classes_out(info: DatasetInfo) -> bool:
    """Returns whether the data set was built with some of the classes, so that the others are ignored."""
    kept = info.provenance.get("classes")
    return isinstance(kept, list) and kept != list(range(info.num_classes))


def _rare_classes(info: DatasetInfo, inspection: Inspection, is_training: bool) -> Found:
    all_labeled = inspection.num_masks == inspection.num_images
    images = dict(zip(info.class_names, inspection.images_per_class.tolist(), strict=True))
    absent = [name for name, pixels in zip(info.class_names, inspection.pixels, strict=False) if not pixels]
    few = [f"{name} ({count})" for name, count in images.items() if 0 < count < FEW_IMAGES and name not in absent]
    if absent:
        shown = f"({len(absent)} of {info.num_classes}): {_listed(absent, MAX_NAMES)}"
        if inspection.sampled:
            yield (
                NOTE,
                "missing_class",
                f"classes in none of the sampled masks {shown}; decode all images with --sample=0",
            )
        elif not is_training:
            yield NOTE, "missing_class", f"classes that never occur {shown}; they are not measured here"
        elif not all_labeled:
            yield NOTE, "missing_class", f"classes in none of its masks {shown}; image-level labels may tell of them"
        else:
            yield (
                PROBLEM,
                "missing_class",
                f"classes that never occur {shown}; they cannot be learned: choose images with datasets/make_split.py "
                "--min_images_per_class, or build without these classes (--classes)",
            )
    if few and all_labeled and not inspection.sampled:
        help = (
            "choose images with datasets/make_split.py --min_images_per_class" if is_training else "few to measure on"
        )
        yield (
            NOTE,
            "few_images",
            f"classes in fewer than {FEW_IMAGES} images ({len(few)}): {_listed(few, MAX_NAMES)}; {help}",
        )


def _leaks(inspection: Inspection, training: Sequence[Inspection]) -> Found:
    """Compares the images of an evaluation split with those of training splits, by content and by id."""
    leaks: dict[str, list[str]] = {}
    same_ids: dict[str, list[str]] = {}
    for other in training:
        ids, id_of = set(other.ids), dict(zip(other.hashes, other.ids, strict=True))
        shared, same_id = [], []
        for id, image_hash in zip(inspection.ids, inspection.hashes, strict=True):
            if image_hash in id_of:
                shared.append(repr(id) if id in ids else f"{id!r} = {id_of[image_hash]!r}")
            elif id in ids:
                same_id.append(repr(id))
        # Such as "trainval", which is for training when the work on "val" is over.
        if inspection.name in other.name and len(shared) == inspection.num_images:
            yield NOTE, "leakage", f"all its images are in {other.name!r} too; do not train on that and evaluate here"
        elif shared:
            leaks[other.name] = shared
        if same_id:
            same_ids[other.name] = same_id
    if leaks:
        help = "take them out of the one or the other"
        yield PROBLEM, "leakage", f"images that are in training splits too {_by_split(leaks)}; {help}"
    if same_ids:
        help = "if these are versions of the same photos, take them out; if not, give them names of their own"
        yield PROBLEM, "same_id", f"ids that training splits have for other images {_by_split(same_ids)}; {help}"


def _by_split(items: dict[str, list[str]]) -> str:
    """Returns such as "(2 in train, 1 in train_1_8): 'a', 'b'"."""
    counts = ", ".join(f"{len(found)} in {split}" for split, found in items.items())
    examples = list(dict.fromkeys(example for found in items.values() for example in found))
    return f"({counts}): {_listed(examples, MAX_EXAMPLES)}"


def _listed(items: Sequence[str], limit: int, separator: str = ", ") -> str:
    more = f"{separator}{len(items) - limit} more" if len(items) > limit else ""
    return separator.join(items[:limit]) + more
