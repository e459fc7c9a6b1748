"""Weights of classes in the cross-entropy, so that rare ones are not forgotten."""

from collections.abc import Sequence

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.splits import entries_of
from wss.errors import UserError

MEDIAN_FREQUENCY, INVERSE_ROOT = "median_frequency", "inverse_root"
RULES = (MEDIAN_FREQUENCY, INVERSE_ROOT)


def class_weights(info: DatasetInfo, split: str, rule: str | Sequence[float]) -> tuple[float, ...]:
    """Returns the weight of each of the C classes, from the numbers of pixels in a split's index.

    Args:
        info: The data set.
        split: Name of the split with masks.
        rule: "median_frequency" is median(f) / f, where f of a class is its share of the pixels of the images in which it
            occurs (Eigen and Fergus, ICCV 2015, section 4.3.2). "inverse_root" is one over the root of its share of all
            pixels, with a mean of 1 over pixels; it is milder. C numbers stand for themselves. A class without pixels
            has weight 1 by both rules.

    Raises:
        UserError: There are not C numbers.
    """
    if not isinstance(rule, str):
        if len(rule) != info.num_classes:
            raise UserError(
                f"train.class_weights = {tuple(rule)!r}: {len(rule)} numbers, expected one for each of the "
                f"{info.num_classes} classes of {info.directory}: {', '.join(info.class_names)}"
            )
        return tuple(float(weight) for weight in rule)
    own, of_images = np.zeros([2, info.num_classes])
    for entry in entries_of(info, split):
        counts = {label: count for label, count in (entry.pixels or {}).items() if label < info.num_classes}
        for label, count in counts.items():
            own[label] += count
            of_images[label] += sum(counts.values())
    found = own > 0
    weights = np.ones(info.num_classes)
    if rule == MEDIAN_FREQUENCY:
        frequency = own[found] / of_images[found]
        weights[found] = np.median(frequency) / frequency
    else:
        share = own[found] / own.sum()
        weights[found] = share**-0.5 / np.sum(share**0.5)
    return tuple(weights.tolist())
