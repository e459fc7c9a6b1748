"""What a split really holds: counts, classes, sizes and colours of its images, from the records alone."""

import dataclasses
from collections import Counter

import numpy as np

from wss.data.crop_share import USUAL_CROPS, crop_share
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.inspection.contact_sheet import Candidates
from wss.inspection.located_records import Defect, StoredIndex
from wss.inspection.measurement import Measurement, measurements
from wss.inspection.objects import Sides, median_side
from wss.progress import track

NUM_RAREST = 3


@dataclasses.dataclass
class Inspection:
    """What was found in one split. Classes, pixels, sizes and colours are those of the decoded images.

    Attributes:
        name: Name of the split.
        masks_hidden: Whether the split hides the masks of its records; they count nowhere here.
        images_per_class: int64 [C], from the masks, and from image-level labels where there is no mask.
        candidates: Images for the contact sheet.
        sampled: Whether only some images were decoded.
        num_images: Number of its records.
        num_decoded: Number of images that were decoded.
        num_masks: Number of images with a mask.
        num_decoded_masks: Number of masks that were decoded.
        num_image_labels: Number of images with image-level labels of their own.
        num_with_boxes: Number of images whose objects are known.
        num_boxes: Number of their objects.
        boxes_per_class: int64 [256], number of boxes of each class, of all images.
        empty_boxes: Ids of the images that have a box without area.
        without_boxes: Ids of the images that are known to have no object.
        num_background: Number of masks that are all background.
        num_ignored: Number of masks that are all ignored.
        num_both: Number of masks that have background and ignored pixels, and no others.
        pixels: int64 [256], number of pixels of the masks that have each value.
        sides: Number of objects in the masks by class and side, see `object_sides`.
        sizes: Number of images of each (height, width).
        colors: int64 [3, 256], number of pixels that have each value of red, green and blue.
        ids: Ids of all images that can be parsed.
        hashes: Hashes of the same images, see `record_index.image_hash`.
        defects: Defects of records and files, in their order.
        index_missing: Why the records could not be compared with their index; "" if they could.
    """

    name: str
    masks_hidden: bool
    images_per_class: np.ndarray
    candidates: Candidates
    sampled: bool = False
    num_images: int = 0
    num_decoded: int = 0
    num_masks: int = 0
    num_decoded_masks: int = 0
    num_image_labels: int = 0
    num_with_boxes: int = 0
    num_boxes: int = 0
    boxes_per_class: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    empty_boxes: list[str] = dataclasses.field(default_factory=list)
    without_boxes: list[str] = dataclasses.field(default_factory=list)
    num_background: int = 0
    num_ignored: int = 0
    num_both: int = 0
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    sides: Sides = dataclasses.field(default_factory=Counter)
    sizes: Counter = dataclasses.field(default_factory=Counter)
    colors: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros([3, 256], np.int64))
    ids: list[str] = dataclasses.field(default_factory=list)
    hashes: list[str] = dataclasses.field(default_factory=list)
    defects: list[Defect] = dataclasses.field(default_factory=list)
    index_missing: str = ""

    def add(self, measured: Measurement, info: DatasetInfo) -> None:
        """Counts one record."""
        self.num_images += 1
        self.defects += measured.defects
        entry = measured.entry
        if entry is None:
            return
        has_mask = measured.has_mask and not self.masks_hidden
        self.num_masks += has_mask
        self.num_image_labels += entry.image_labels is not None
        self.num_with_boxes += entry.num_boxes is not None
        self._count_boxes(measured, entry.id)
        self.ids.append(entry.id)
        self.hashes.append(entry.image_hash)
        if not measured.decoded:
            return
        self.num_decoded += 1
        self.sizes[entry.size] += 1
        self.colors += measured.colors
        if has_mask and entry.pixels is not None:
            self._count_pixels(entry.pixels, info)
            self.sides += measured.sides
            shares = {value: count / sum(entry.pixels.values()) for value, count in entry.pixels.items()}
        else:
            labels = measured.box_labels if entry.image_labels is None else entry.image_labels
            shares = dict.fromkeys(labels, 1.0)
        shares = {label: share for label, share in shares.items() if 0 <= label < info.num_classes}
        self.images_per_class[list(shares)] += 1
        if not any(defect.kind == "size" for defect in measured.defects):
            self.candidates.add(measured.located.number, measured.located.serialized, shares)

    def _count_boxes(self, measured: Measurement, id: str) -> None:
        self.num_boxes += len(measured.box_labels)
        for label in measured.box_labels:
            if 0 <= label < len(self.boxes_per_class):
                self.boxes_per_class[label] += 1
        if measured.empty_boxes:
            self.empty_boxes.append(id)
        if measured.entry is not None and measured.entry.num_boxes == 0:
            self.without_boxes.append(id)

    def _count_pixels(self, pixels: dict[int, int], info: DatasetInfo) -> None:
        self.num_decoded_masks += 1
        for value, count in pixels.items():
            self.pixels[value] += count
        self.num_background += info.has_background and set(pixels) == {0}
        self.num_ignored += set(pixels) == {info.ignore_label}
        self.num_both += info.has_background and set(pixels) == {0, info.ignore_label}

    @property
    def max_size(self) -> tuple[int, int]:
        """Largest height and largest width."""
        return max((h for h, _ in self.sizes), default=0), max((w for _, w in self.sizes), default=0)

    def rarest_first(self, info: DatasetInfo) -> list[int]:
        """Returns the foreground classes that occur, by the number of images and then of pixels."""
        occurring = [c for c in range(int(info.has_background), info.num_classes) if self.images_per_class[c]]
        return sorted(occurring, key=lambda c: (self.images_per_class[c], self.pixels[c]))

    def summary(self, info: DatasetInfo) -> dict:
        """Returns all numbers, for JSON; shares are parts of one, and None where there is nothing to divide by."""
        masks, ignored = int(self.pixels.sum()), int(self.pixels[info.ignore_label])
        share = lambda part, whole: int(part) / int(whole) if whole else None
        by_area = sorted(self.sizes.elements(), key=lambda size: (size[0] * size[1], size))
        values, weights = np.arange(256), self.colors / max(self.colors[0].sum(), 1)
        mean = weights @ values
        images = self.images_per_class
        return {
            "num_images": self.num_images,
            "num_decoded": self.num_decoded,
            "estimated": self.sampled,
            "num_masks": self.num_masks,
            "masks_hidden": self.masks_hidden,
            "num_image_labels": self.num_image_labels,
            "num_with_boxes": self.num_with_boxes,
            "num_boxes": self.num_boxes,
            "num_without_boxes": len(self.without_boxes),
            "classes": [
                {
                    "id": c,
                    "name": name,
                    "images": int(images[c]),
                    "pixels": int(self.pixels[c]),
                    "boxes": int(self.boxes_per_class[c]),
                    "share": share(self.pixels[c], masks - ignored),
                    "median_side": median_side(self.sides, c),
                }
                for c, name in enumerate(info.class_names)
            ],
            "ignored_pixels": ignored,
            "ignored_share": share(ignored, masks),
            "class_ids": sorted({*np.flatnonzero(self.pixels).tolist(), *np.flatnonzero(images).tolist()}),
            "rarest_classes": [info.class_names[c] for c in self.rarest_first(info)[:NUM_RAREST]],
            "smallest_size": by_area[0] if by_area else None,
            "median_size": by_area[(len(by_area) - 1) // 2] if by_area else None,
            "largest_size": by_area[-1] if by_area else None,
            "num_sizes": len(self.sizes),
            "crop_shares": {crop: crop_share(self.sizes, (crop, crop)).mean for crop in USUAL_CROPS if self.sizes},
            "mean_color": mean.tolist() if by_area else None,
            "std_color": np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1)).tolist() if by_area else None,
        }


def inspect_split(info: DatasetInfo, split: str, sample: int = 0, *, sheet_images: int = 24) -> Inspection:
    """Reads all records of a split; no image stays in memory, but those that the contact sheet may show.

    Args:
        info: The data set.
        split: Name of its split.
        sample: Number of images to decode, spread evenly over the split; 0 decodes all.
        sheet_images: Number of images that the contact sheet will show.
    """
    found = info.split(split)
    total = found.num_examples
    numbers = spread(total, sample or total)
    inspection = Inspection(
        split,
        found.hide_masks,
        np.zeros(info.num_classes, np.int64),
        Candidates(numbers[spread(len(numbers), sheet_images)].tolist(), sheet_images),
        sampled=len(numbers) < total,
    )
    index = StoredIndex(info)
    measured_records = measurements(info, split, set(numbers.tolist()) if inspection.sampled else None)
    for measured in track(measured_records, f"reading {split}", total):
        if isinstance(measured, Defect):
            inspection.defects.append(measured)
            continue
        inspection.add(measured, info)
        if inspection.index_missing:
            continue
        try:
            if fields := index.differences(measured.located, measured.entry, decoded=measured.decoded):
                inspection.defects.append(Defect("index", f"{measured.located.place}: {fields}"))
        except UserError as error:
            inspection.index_missing = str(error)
    return inspection


def spread(total: int, count: int) -> np.ndarray:
    """Returns at most `count` of the numbers 0 .. total - 1, in order and as evenly as can be, int64."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))
