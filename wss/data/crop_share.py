"""What share of a photo a crop sees: from the sizes of the photos, the random scale and the size of the crop."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.example import image_size
from wss.data.record_damage import damage_told
from wss.data.record_files import split_records
from wss.data.splits import records_of
from wss.errors import UserError

Size = tuple[int, int]
USUAL_CROPS = (129, 257, 321, 513)
CONTINUOUS_SCALES = 65  # stand for an interval


@dataclasses.dataclass(frozen=True)
class CropShare:
    """The share of a photo's area that a crop sees, 0 .. 1, as a mean over photos.

    Attributes:
        mean: Mean over the scales too.
        least: Share at the scale at which it is least.
        most: Share at the scale at which it is largest.
    """

    mean: float
    least: float
    most: float

    def __str__(self) -> str:
        over_scales = (
            "" if self.least == self.most else f" ({percent(self.least)} to {percent(self.most)} over the scales)"
        )
        return f"{percent(self.mean)} of a photo{over_scales}"


def crop_share(sizes: Mapping[Size, int], crop_size: Size, scales: Sequence[float] = (1.0,)) -> CropShare:
    """Returns what a crop sees of photos; it moves in them at random, and a smaller photo is seen whole.

    Args:
        sizes: Number of photos of each (height, width), one at least.
        crop_size: (height, width) of the crop.
        scales: Factors of the photos' sides, equally probable.
    """
    photos, numbers = np.array(list(sizes), np.float64), np.array(list(sizes.values()), np.float64)
    scaled = np.maximum(np.floor(photos[None] * np.array(scales, np.float64)[:, None, None]), 1)
    shares = np.prod(np.minimum(scaled, crop_size) / scaled, axis=-1)  # [scales, sizes]
    by_scale = shares @ (numbers / numbers.sum())
    return CropShare(float(by_scale.mean()), float(by_scale.min()), float(by_scale.max()))


def possible_scales(minimum: float, maximum: float, step: float) -> list[float]:
    """Returns the scales that `augment.random_scale_factor` draws from; of an interval some that are evenly spread."""
    count = round((maximum - minimum) / step) + 1 if step else CONTINUOUS_SCALES
    return np.linspace(minimum, maximum, count).tolist()


def sizes_in(info: DatasetInfo, split: str) -> Counter[Size]:
    """Returns the number of images of each (height, width) of a split: by its index, or without one by its records.

    Raises:
        UserError: The split is damaged.
    """
    try:
        return Counter(record.entry.size for record in records_of(info, split))
    except UserError:
        largest = info.split(split).max_size
        sizes = split_records(info, split).map(lambda record: image_size(record, largest))
        with damage_told((info, split)):
            return Counter((int(height), int(width)) for height, width in sizes.as_numpy_iterator())


def percent(share: float) -> str:
    """Returns such as "4 %", with a digit more below 1 %."""
    value = 100 * share
    return f"{value:.1f} %" if value < 0.95 else f"{value:.0f} %"
