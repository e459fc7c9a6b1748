"""What worker processes do for COCO: the instances of the images of a record file become masks, labels and boxes."""

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from wss.conversion.layouts.coco_segmentations import check_within, decode_segmentation
from wss.conversion.notes import Notes
from wss.conversion.sources import Shard, Source
from wss.data.boxes import Box
from wss.data.image_files import MAX_PIXELS
from wss.data.masks import IGNORE, MAX_SIDE
from wss.errors import UserError


class CocoImage(NamedTuple):
    """What an annotation file tells of an image.

    Attributes:
        id: Its number.
        file_name: Its file.
        height: Its height in pixels.
        width: Its width in pixels.
        found_name: Its id in the records; "" for the name of its file.
        found_path: Where it lies; "" for its file in the folder of the images.
    """

    id: int
    file_name: str
    height: int
    width: int
    found_name: str = ""
    found_path: str = ""

    @property
    def name(self) -> str:
        """Its id in the records, such as "000000000009"."""
        return self.found_name or PurePosixPath(self.file_name).stem

    def location(self, folder: epath.Path) -> epath.Path:
        """Returns where it lies if the images of the file lie in `folder`."""
        return epath.Path(self.found_path) if self.found_path else folder / self.file_name


class Annotation(NamedTuple):
    """One instance.

    Attributes:
        id: Its number in the annotation file.
        label: Its class, 1 .. C-1.
        is_crowd: Whether it is a region of many objects.
        bbox: Its box in pixels, [x, y, width, height].
        segmentation: Polygons [[x1, y1, x2, y2, ...], ...] in pixels, or run lengths {"size", "counts"}.
    """

    id: int
    label: int
    is_crowd: bool
    bbox: list[float]
    segmentation: Any


@dataclasses.dataclass(frozen=True)
class CocoShard(Shard):
    """The images of one record file, with their annotations in a file of their own.

    Attributes:
        image_folder: Folder of the images.
        annotation_file: JSON file that the annotations come from.
        images: Its images in the order of the records.
        annotations: File with a line of JSON for each annotation: image id, fields of `Annotation`.
        must_cover: Whether an outline beside its image is a problem.
    """

    image_folder: epath.Path
    annotation_file: epath.Path
    images: tuple[CocoImage, ...]
    annotations: epath.Path
    must_cover: bool = False

    def __iter__(self) -> Iterator[Source]:
        of_image: dict[int, list[Annotation]] = defaultdict(list)
        with self.annotations.open() as file:
            for line in file:
                image_id, *fields = json.loads(line)
                of_image[image_id].append(Annotation(*fields))
        for image in self.images:
            yield self._source(image, tuple(sorted(of_image[image.id], key=lambda annotation: annotation.id)))

    def fingerprint(self) -> str:
        """Returns a text that changes with the annotation file too, not only with what was read of it."""
        stat = self.annotation_file.stat()
        return hashlib.sha256(f"{super().fingerprint()} {stat.length} {stat.mtime}".encode()).hexdigest()

    def _source(self, image: CocoImage, annotations: tuple[Annotation, ...]) -> Source:
        size = (image.height, image.width)
        objects = [annotation for annotation in annotations if annotation.label]  # not those of a class "background"
        boxes = (clipped_box(annotation, size) for annotation in objects)
        return Source(
            image.name,
            image.location(self.image_folder),
            CocoMask(
                f"{self.annotation_file}, {image.found_name or image.file_name}", size, annotations, self.must_cover
            ),
            # A crowd counts: its class is in the image.
            image_labels=tuple(sorted({annotation.label for annotation in objects})),
            boxes=tuple(box for box in boxes if box is not None),
        )


@dataclasses.dataclass(frozen=True)
class CocoMask:
    """Draws the instances of one image.

    COCO has no rule for pixels of two instances. Here the one of fewer pixels lies on top, and of equal ones that of
    the larger id. So a cup on a table is a cup, in every order of the file. Crowd regions are drawn first, as `IGNORE`:
    not every object in them has an outline, but the pixels of those that have one count.

    Attributes:
        path: Annotation file and image, for messages.
        size: Height and width of the image in pixels.
        annotations: Its instances.
        must_cover: Whether an outline that has no pixel in the image and none near it is a problem.
    """

    path: str
    size: tuple[int, int]
    annotations: tuple[Annotation, ...]
    must_cover: bool = False

    def read(self) -> np.ndarray:
        """Returns class ids and `IGNORE`, uint8 [H, W].

        Raises:
            UserError: The size is impossible, or a segmentation is neither polygons nor run lengths of this size.
        """
        return self.read_noting(Notes())

    def read_noting(self, notes: Notes) -> np.ndarray:
        """Returns what `read` returns, and counts the annotations and those that cover no pixel."""
        if not all(1 <= side <= MAX_SIDE for side in self.size) or self.size[0] * self.size[1] > MAX_PIXELS:
            raise UserError(f"{self.path}: height {self.size[0]} and width {self.size[1]}; expected those of the image")
        if twice := [id for id, number in Counter(found.id for found in self.annotations).items() if number > 1]:
            raise UserError(f"{self.path}: annotation {twice[0]} is there twice; expected an id of its own for each")
        layers = []
        for annotation in self.annotations:
            try:
                if self.must_cover:
                    check_within(annotation.segmentation, self.size)
                region = decode_segmentation(annotation.segmentation, self.size)
            except ValueError as error:
                raise UserError(f"{self.path}: annotation {annotation.id}: {error}") from error
            pixels = np.count_nonzero(region)
            if not pixels:
                notes.count("empty", f"annotation {annotation.id} of {self.path}")
            order = (not annotation.is_crowd, -pixels, annotation.id)
            layers.append((order, IGNORE if annotation.is_crowd else annotation.label, region))
        notes.count("annotations", number=len(self.annotations))
        mask = np.zeros(self.size, np.uint8)
        for _, label, region in sorted(layers, key=lambda layer: layer[0]):
            mask[region] = label
        return mask


def clipped_box(annotation: Annotation, size: tuple[int, int]) -> Box | None:
    """Returns the box of an instance within its image, (height, width) pixels; None if it has no area.

    Some boxes of COCO end a fraction of a pixel outside of the image, and a few have no width or height.
    """
    x, y, width, height = annotation.bbox
    ymin, xmin = max(0.0, y), max(0.0, x)
    ymax, xmax = min(float(size[0]), y + height), min(float(size[1]), x + width)
    if ymin >= ymax or xmin >= xmax:
        return None
    return Box(annotation.label, ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax, is_crowd=annotation.is_crowd)
