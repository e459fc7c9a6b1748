"""Which splits a plan takes, and the split for validation that it makes where there is none."""

import dataclasses

import numpy as np

from wss.data.added_splits import add_splits
from wss.data.balanced_subset import balanced_subset
from wss.data.dataset_info import DatasetInfo
from wss.data.splits import records_of
from wss.errors import UserError

TRAIN, VALIDATION = "plan_train", "plan_val"
LEAST_MASKS = 5
VALIDATION_SHARE = 5  # one of so many masks
MOST_FOR_VALIDATION = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSplits:
    """The splits of a plan.

    Attributes:
        labeled: Split with masks to learn from.
        validation: Split with masks to choose by.
        unlabeled: Split of photos whose masks, if any, are not used; None without one.
    """

    labeled: str
    validation: str
    unlabeled: str | None


def choose_splits(
    info: DatasetInfo, *, labeled: str | None = None, validation: str | None = None, unlabeled: str | None = None
) -> tuple[DatasetInfo, PlanSplits]:
    """Returns the splits that are asked for, and for the others those of the usual names; makes one for validation.

    Args:
        info: The data set.
        labeled: Name of the split with masks; None takes "train", or the only one with masks.
        validation: Name of the split for validation; None takes "val", or makes one of a fifth of the masks.
        unlabeled: Name of the split of photos without masks; None takes "unlabeled" if there is one.

    Returns:
        The data set, with the new splits if some were made, and the splits of the plan.

    Raises:
        UserError: A split is not there or has no masks, or there are too few masks.
    """
    for flag, name in (("--labeled_split", labeled), ("--validation_split", validation)):
        if name is not None and not masks_of(info, name):
            raise UserError(f"{flag}={name}: split {name!r} of {info.directory} has no masks; {with_masks(info)}")
    if unlabeled is not None:
        info.split(unlabeled)
    labeled = labeled or _labeled(info, validation)
    if validation is None and masks_of(info, "val") and labeled != "val":
        validation = "val"
    if unlabeled is None and "unlabeled" in info.splits and info.split("unlabeled").num_examples:
        unlabeled = "unlabeled"
    if (number := masks_of(info, labeled)) < LEAST_MASKS:
        raise UserError(
            f"{info.directory}: split {labeled!r} has {number} masks, expected {LEAST_MASKS} or more; paint some"
        )
    if validation is None:
        info, labeled, validation = _make_validation(info, labeled)
    return info, PlanSplits(labeled=labeled, validation=validation, unlabeled=unlabeled)


def masks_of(info: DatasetInfo, split: str) -> int:
    """Returns the number of masks of a split that training may see; 0 for one that is not there."""
    found = info.splits.get(split)
    return 0 if found is None or found.hide_masks else found.num_masks


def with_masks(info: DatasetInfo) -> str:
    """Returns in words which splits have masks."""
    found = [f"{name} ({masks_of(info, name)})" for name in sorted(info.splits) if masks_of(info, name)]
    return f"those with masks are {', '.join(found)}" if found else "no split has any"


def _labeled(info: DatasetInfo, validation: str | None) -> str:
    """Returns the split to learn from: "train", or the only one with masks that is not for validation or tests."""
    if masks_of(info, "train"):
        return "train"
    held_out = lambda name: name == validation or name.startswith(("val", "test"))
    found = [name for name in info.splits if masks_of(info, name) and not held_out(name)]
    found = found or [name for name in info.splits if masks_of(info, name) and name != validation]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"{info.directory}: no split has masks to learn from; with boxes, tools/train_from_boxes.py makes some"
        )
    raise UserError(f"--labeled_split is missing: no split is called 'train', and {with_masks(info)}")


def _make_validation(info: DatasetInfo, labeled: str) -> tuple[DatasetInfo, str, str]:
    """Keeps a fifth of the masks for validation, the same ones on every call.

    Returns:
        The data set with both new splits, and their names.
    """
    records = [record for record in records_of(info, labeled) if record.entry.pixels is not None]
    checksum = info.split(labeled).checksum
    made = info.provenance.get("splits", {}).get(VALIDATION, {})
    if {TRAIN, VALIDATION} <= info.splits.keys() and made.get("of") == checksum:
        return info, TRAIN, VALIDATION
    count = min(max(len(records) // VALIDATION_SHARE, 1), MOST_FOR_VALIDATION)
    classes = [record.entry.present(info.num_classes, info.has_background) for record in records]
    present = np.array(classes)[:, int(info.has_background) :]
    present = present[:, present.sum(0) >= 2]  # the only mask of a class is for training
    try:
        indices, _ = balanced_subset(present, count, 1, seed=0)
    except UserError:  # fewer masks than classes
        indices, _ = balanced_subset(present, count, 0, seed=0)
    chosen = set(indices.tolist())
    parts = {
        TRAIN: [record for number, record in enumerate(records) if number not in chosen],
        VALIDATION: [record for number, record in enumerate(records) if number in chosen],
    }
    provenance = {name: {"command": "wss-plan", "from_split": labeled, "of": checksum} for name in parts}
    print(
        f"{info.directory}: {count} of the {len(records)} masks of {labeled!r} are kept for validation: {VALIDATION!r}"
    )
    return add_splits(info, parts, provenance, overwrite=True), TRAIN, VALIDATION
