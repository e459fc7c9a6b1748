"""The fingerprint of a data set: what the rules of a plan ask of it. Nothing but the masks of some photos is decoded."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import read_example
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.data.record_index import Entry
from wss.data.resize import ResizeToRange
from wss.data.splits import entries_of
from wss.inspection.objects import Sides, median_side, object_sides
from wss.planning.plan_splits import PlanSplits
from wss.pseudo_labels.label_spreading import Agreement

# Masks whose objects are measured, spread over the split.
MEASURED_MASKS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What the rules of a plan ask of a data set.

    Attributes:
        info: The data set.
        splits: The splits that the plan takes.
        num_masks: Number of masks to learn from.
        num_unlabeled: Number of photos without.
        num_tagged: Number of these whose classes are known.
        num_validation: Number of masks for validation.
        size: Median (height, width) of the photos with masks.
        longest_side: Longest side of all photos of the plan.
        masks_with: Number of masks in which each of the C classes occurs.
        pixel_share: Share of each of the C classes of the labelled pixels, 0 .. 1.
        object_side: Side of the object in which the median pixel of each class lies, over the shorter side of its photo;
            NaN without any. So splinters hardly count.
        classes_per_photo: Mean share of the foreground classes that occur in a mask, 0 .. 1.
        guesses: How right guesses of the classes of the photos without masks are; None as long as nobody has guessed.
    """

    info: DatasetInfo
    splits: PlanSplits
    num_masks: int
    num_unlabeled: int
    num_tagged: int
    num_validation: int
    size: tuple[int, int]
    longest_side: int
    masks_with: tuple[int, ...]
    pixel_share: tuple[float, ...]
    object_side: tuple[float, ...]
    classes_per_photo: float
    guesses: Agreement | None = None

    @property
    def foreground(self) -> range:
        """The classes besides the background."""
        return range(int(self.info.has_background), self.info.num_classes)

    @property
    def has_tags(self) -> bool:
        """Whether the classes of more than half of the photos without a mask are known."""
        return self.num_tagged > self.num_unlabeled / 2

    def median_object_side(self) -> float:
        """Returns the median of `object_side` over the foreground classes; 1 without any."""
        sides = [side for side in np.array(self.object_side)[list(self.foreground)] if not np.isnan(side)]
        return float(np.median(sides)) if sides else 1.0


def fingerprint(info: DatasetInfo, splits: PlanSplits) -> Fingerprint:
    """Returns the fingerprint of some splits of a data set.

    Raises:
        UserError: A split is damaged.
    """
    entries = list(entries_of(info, splits.labeled))
    unlabeled = list(entries_of(info, splits.unlabeled)) if splits.unlabeled else []
    hidden = bool(splits.unlabeled) and info.split(splits.unlabeled or "").hide_masks
    pixels = np.zeros(info.num_classes)
    for entry in entries:
        for label, count in (entry.pixels or {}).items():
            if label < info.num_classes:
                pixels[label] += count
    present = np.array([entry.present(info.num_classes, info.has_background) for entry in entries if entry.pixels])
    foreground = slice(int(info.has_background), None)
    return Fingerprint(
        info=info,
        splits=splits,
        num_masks=len(present),
        num_unlabeled=len(unlabeled),
        num_tagged=sum(_is_tagged(entry, hidden) for entry in unlabeled),
        num_validation=info.split(splits.validation).num_masks,
        size=_median_size(entries),
        longest_side=max(max(entry.size) for entry in [*entries, *unlabeled]),
        masks_with=tuple(int(count) for count in present.sum(0)),
        pixel_share=tuple((pixels / max(pixels.sum(), 1)).tolist()),
        object_side=_object_sides(info, splits.labeled),
        classes_per_photo=float(present[:, foreground].mean()),
    )


def _is_tagged(entry: Entry, hidden: bool) -> bool:
    """Returns whether the classes of a photo are known: by labels of its own, or by a mask that may be seen."""
    return entry.image_labels is not None or (entry.pixels is not None and not hidden)


def _median_size(entries: Sequence[Entry]) -> tuple[int, int]:
    height, width = np.median([entry.size for entry in entries], axis=0)
    return int(height), int(width)


def _object_sides(info: DatasetInfo, split: str) -> tuple[float, ...]:
    """Returns `Fingerprint.object_side`."""
    number = info.split(split).num_examples
    step = max(number // MEASURED_MASKS, 1)
    examples = (
        split_records(info, split)
        .shard(step, 0)
        .map(lambda record: read_example(record, info, split, ResizeToRange())[2])
    )
    sides: Sides = Sides()
    with damage_told((info, split)):
        for label in itertools.islice(examples.as_numpy_iterator(), MEASURED_MASKS):
            mask = label[..., 0].astype(np.uint8)
            for (found, side), count in object_sides(mask, info).items():
                sides[found, round(1000 * side / min(mask.shape))] += count
    pixels = Counter({(label, side): number * side**2 for (label, side), number in sides.items()})
    medians = [median_side(pixels, label) for label in range(info.num_classes)]
    return tuple(np.nan if side is None else side / 1000 for side in medians)
