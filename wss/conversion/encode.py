"""From files to one checked example: each problem is one line that names the file."""

import dataclasses
import io
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from wss.conversion.mask_boxes import MaskBoxes
from wss.conversion.notes import Notes
from wss.conversion.sources import MaskReader, NotingMaskReader, Source
from wss.data.boxes import Box
from wss.data.image_files import SIDEWAYS, UPRIGHT, bit_depth, opened, read_file
from wss.data.mask_colors import AUTO
from wss.data.masks import IGNORE, INVALID, StoredMask, encode_mask, read_stored_mask, wrong_values
from wss.data.names import MAX_ID_BYTES, is_id
from wss.data.photos import PhotoNotes, ValueRange, is_upright, upright_rgb
from wss.data.record_index import Entry, count_pixels, image_hash
from wss.errors import UserError

JPEG_QUALITY = 95
MAX_PROBLEMS_SHOWN = 50


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """How the values of mask files become the classes of a data set.

    Attributes:
        lookup: What becomes of each stored value, int16 [256], see `masks.lookup_table`.
        color_map: Stored value of each colour (red, green, blue) of RGB masks; None where such masks are a mistake.
        reading: What counts in palette and grey masks if there is a `color_map`, see `mask_colors.meanings`.
    """

    lookup: np.ndarray
    color_map: dict[tuple[int, int, int], int] | None = None
    reading: str = AUTO

    @property
    def expected(self) -> str:
        """Values that may be in the mask files, in words."""
        known = np.flatnonzero(self.lookup[:IGNORE] != INVALID).tolist()
        if known == list(range(len(known))):
            return f"classes 0 .. {len(known) - 1} or {IGNORE} (ignore)"
        return f"one of {', '.join(map(str, known))} or {IGNORE} (ignore)"

    def image_labels(self, labels: Iterable[int]) -> list[int]:
        """Maps image-level labels; those of classes that are not kept vanish."""
        return sorted({int(self.lookup[label]) for label in labels} - {IGNORE, INVALID})

    def boxes(self, boxes: Iterable[Box]) -> list[Box]:
        """Maps the labels of boxes; those of classes that are not kept vanish."""
        mapped = [dataclasses.replace(box, label=int(self.lookup[box.label])) for box in boxes]
        return [box for box in mapped if box.label not in (IGNORE, INVALID)]


class EncodedImage(NamedTuple):
    """An image file that TensorFlow decodes; `format` is "jpeg" or "png", `size` is (height, width)."""

    content: bytes
    format: str
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides how images become records, besides the images; finished files of other settings are not kept.

    Attributes:
        labels: Map from the values of masks to classes.
        value_range: Values of black and white in photos of more than 8 bits, see `photos.read_photo`.
        mask_boxes: How masks become boxes, which then replace an image's own; None leaves boxes as they are.
    """

    labels: LabelMap
    value_range: ValueRange | None = None
    mask_boxes: MaskBoxes | None = None


def check_source(
    source: Source, settings: Settings, notes: Notes | None = None
) -> tuple[tuple[bytes, Entry] | None, list[str]]:
    """Reads and checks one image with its mask.

    Args:
        source: The image.
        settings: Settings of the conversion.
        notes: Notes to which is added what a person should know of it, though it is no problem.

    Returns:
        The serialized example and its entry in the index, which has no offset yet; or None and all its problems.
    """
    notes = Notes() if notes is None else notes
    problems = [] if is_id(source.id) else [_wrong_id(source)]
    image = mask = stored = None
    photo_notes = PhotoNotes()
    try:
        image, photo_notes = encode_photo(source.image, source.id, settings.value_range)
    except UserError as error:
        problems.append(str(error))
    if source.mask is not None:
        try:
            stored = _stored_mask(source.mask, settings.labels, notes)
            mask = _classes_of(stored, _name(source.mask, source.id), settings.labels)
        except UserError as error:
            problems.append(str(error))
    if image is not None:
        problems += [
            *_wrong_sizes(source, image.size, mask, turned=photo_notes.turned),
            *wrong_boxes(source, image.size, turned=photo_notes.turned),
        ]
    if image is None or problems:
        return None, problems
    serialized, entry = _encode(source, image, mask, settings)
    notes.add_photo(_name(source.image, source.id), photo_notes)
    if source.boxes and photo_notes.turned != UPRIGHT and source.annotated_size is None:
        notes.count("boxes_turned", _name(source.image, source.id))
    if stored is not None and entry.pixels is not None:
        notes.add_mask(_name(source.mask, source.id), stored, entry.pixels, photo_turned=photo_notes.turned)
    return (serialized, entry), []


def _wrong_id(source: Source) -> str:
    return (
        f"{_name(source.image, source.id)!r}: {source.id[:80]!r} can be no name of an image; expected a relative path of at "
        f"most {MAX_ID_BYTES} bytes, without '..', line breaks or other control characters"
    )


def _wrong_sizes(source: Source, size: tuple[int, int], mask: np.ndarray | None, *, turned: int) -> list[str]:
    """Returns a line for each size that is not that of the image, (height, width)."""
    flag = f"; the photo is turned by EXIF {turned}" if turned != UPRIGHT else ""
    problems = []
    if mask is not None and mask.shape != size:
        by_turn = mask.shape == size[::-1] and turned in SIDEWAYS
        help_ = f"{flag}, its mask is not: turn it too, or take the flag out of the photo" if by_turn else flag
        problems.append(
            f"{_name(source.mask, source.id)}: mask of {mask.shape[1]}x{mask.shape[0]} pixels for an image of "
            f"{size[1]}x{size[0]}; expected equal sizes{help_}"
        )
    if source.annotated_size not in (None, size) and source.boxes:
        height, width = source.annotated_size or size
        problems.append(
            f"{_name(source.image, source.id)}: an image of {size[1]}x{size[0]} pixels, whose boxes are of one of "
            f"{width}x{height}; expected equal sizes{flag}"
        )
    return problems


def wrong_boxes(source: Source, size: tuple[int, int], *, turned: int = UPRIGHT) -> list[str]:
    """Returns a line for each box that has no area or does not lie in the image.

    Args:
        source: The image with its boxes.
        size: Its (height, width) in pixels.
        turned: EXIF orientation by which the photo was turned.
    """
    height, width = size
    wrong = [box for box in source.boxes or () if not _is_within(box, size)]
    lies_turned = turned in SIDEWAYS and all(_is_within(box, size[::-1]) for box in source.boxes or ())
    help_ = f"; the photo is turned by EXIF {turned}, its boxes are not: turn them too" if lies_turned else ""
    return [
        f"{_name(source.image, source.id)}: box ({box.xmin:g}, {box.ymin:g}) to ({box.xmax:g}, {box.ymax:g}) in an image "
        f"of {width}x{height} pixels; expected a box with an area, inside of the image{help_}"
        for box in wrong
    ]


def _is_within(box: Box, size: tuple[int, int]) -> bool:
    return 0 <= box.ymin < box.ymax <= size[0] and 0 <= box.xmin < box.xmax <= size[1]


def load_image(image: str | os.PathLike | bytes, name: str) -> EncodedImage:
    """Returns an image as it goes into the records, see `encode_photo`."""
    return encode_photo(image, name)[0]


def encode_photo(
    image: str | os.PathLike | bytes, name: str, value_range: ValueRange | None = None
) -> tuple[EncodedImage, PhotoNotes]:
    """Returns an image as it goes into the records, and what that took.

    An upright 8-bit JPEG or PNG of one or three channels stays as it is. Everything else that is read here (alpha,
    CMYK, 16 bits, other formats, photos that their EXIF data turns) is encoded again, upright, as 8-bit RGB.

    Raises:
        UserError: The file is missing, empty, broken or too large, or the range of its values is unknown.
    """
    import tensorflow as tf  # here, so that --help of the converters need not wait for it

    path, expected = _name(image, name), "a JPEG or PNG"
    content = image if isinstance(image, bytes) else read_file(image)
    notes = PhotoNotes()
    with opened(content, path, expected=expected) as photo:
        image_format = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(photo.format or "", "")
        plain = photo.mode in ("RGB", "L") and is_upright(photo) and bit_depth(photo, content) <= 8
        if not (image_format and plain):
            rgb, notes = upright_rgb(photo, content, path, value_range=value_range)
            content, image_format = _encode_again(rgb, image_format or "png")
    try:
        # What training will do, so that a file that only TensorFlow rejects is found here.
        height, width, _ = tf.io.decode_image(content, channels=3, expand_animations=False).shape
    except tf.errors.OpError as error:
        raise UserError(f"{path}: broken image, it cannot be decoded; expected {expected}") from error
    return EncodedImage(content, image_format, (height, width)), notes


def load_mask(mask: str | os.PathLike | np.ndarray | MaskReader, name: str, labels: LabelMap) -> np.ndarray:
    """Returns a mask in the classes of the data set, uint8 [H, W].

    Raises:
        UserError: A value is no class, or the file is none of a mask, see `masks.read_mask`.
    """
    return _classes_of(_stored_mask(mask, labels, Notes()), _name(mask, name), labels)


def _stored_mask(mask: str | os.PathLike | np.ndarray | MaskReader, labels: LabelMap, notes: Notes) -> StoredMask:
    if isinstance(mask, str | os.PathLike):
        return read_stored_mask(mask, labels.color_map, reading=labels.reading)
    if isinstance(mask, np.ndarray):
        return StoredMask(mask)
    return StoredMask(mask.read_noting(notes) if isinstance(mask, NotingMaskReader) else mask.read())


def _classes_of(stored: StoredMask, path: str, labels: LabelMap) -> np.ndarray:
    if wrong := wrong_values(stored.values, labels.lookup != INVALID, labels.expected):
        raise UserError(f"{path}: {wrong}")
    return labels.lookup[stored.values].astype(np.uint8)


def wrong_ids(pool: str, sources: Sequence[Source]) -> list[str]:
    """Returns a line for each id that can be none, or occurs more than once in a pool."""
    first: dict[str, Source] = {}
    problems = [_wrong_id(source) for source in sources if not is_id(source.id)]
    for source in sources:
        if source.id in first:
            problems.append(f"{_name(source.image, source.id)}: duplicate id {source.id!r} in {pool!r}")
        first.setdefault(source.id, source)
    return problems


def raise_problems(problems: Iterable[str]) -> None:
    """Raises all problems together, each once; does nothing if there is none."""
    problems = list(dict.fromkeys(problems))
    if not problems:
        return
    shown = problems[:MAX_PROBLEMS_SHOWN]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise UserError("\n".join([f"nothing was written, {count}:", *shown]))


def _encode(source: Source, image: EncodedImage, mask: np.ndarray | None, settings: Settings) -> tuple[bytes, Entry]:
    """Returns a checked image as a serialized example and as its entry in the index."""
    from wss.data.example import encode_example  # here for TensorFlow, as in `load_image`

    labels = settings.labels
    image_labels = None if source.image_labels is None else tuple(labels.image_labels(source.image_labels))
    boxes = None if source.boxes is None else labels.boxes(source.boxes)
    if mask is not None and settings.mask_boxes is not None:
        boxes = settings.mask_boxes(mask)
    serialized = encode_example(
        image.content,
        image.format,
        source.id,
        size=image.size,
        mask_png=None if mask is None else encode_mask(mask),
        image_labels=image_labels,
        boxes=boxes,
    )
    entry = Entry(
        id=source.id,
        offset=0,
        size=image.size,
        pixels=None if mask is None else count_pixels(mask),
        image_labels=image_labels,
        num_boxes=None if boxes is None else len(boxes),
        image_hash=image_hash(image.content),
    )
    return serialized, entry


def _encode_again(rgb: Image.Image, image_format: str) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    rgb.save(buffer, image_format.upper(), **({"quality": JPEG_QUALITY} if image_format == "jpeg" else {}))
    return buffer.getvalue(), image_format


def _name(file: str | os.PathLike | bytes | np.ndarray | MaskReader | None, name: str) -> str:
    file = getattr(file, "path", file)
    return str(file) if isinstance(file, str | os.PathLike) else name
