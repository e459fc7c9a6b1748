"""What is wrong with one record, in words: what `parse_example` refuses in a tf.data pipeline, and why."""

import contextlib
from collections.abc import Iterator
from typing import Any

from wss.data.boxes import fault_of
from wss.data.companions import second_mask_of
from wss.data.dataset_info import DatasetInfo
from wss.data.example import (
    IMAGE,
    MASK,
    RECORD_ERRORS,
    decode_mask,
    parse_boxes,
    parse_example,
    parse_features,
    reason_of,
)
from wss.data.image_header import is_index, size_of
from wss.data.limits import MAX_PIXELS, MAX_SIDE, MAX_SIZE
from wss.data.masks import wrong_labels
from wss.data.names import decoded_id
from wss.errors import UserError

UNREADABLE = "no readable example of an image"


def check_record(serialized: bytes, info: DatasetInfo, max_size: tuple[int, int] = MAX_SIZE) -> dict[str, Any]:
    """Decodes one record, checks it and returns `parse_example`'s tensors as arrays.

    Args:
        serialized: The record.
        info: The data set.
        max_size: Largest (height, width) that its image may have.

    Raises:
        UserError: Something is wrong with it; the name of its file is for the caller to add.
    """
    with _errors_told(UNREADABLE):
        features = {key: value.numpy() for key, value in parse_features(serialized).items()}
    try:
        what = f"image {decoded_id(features['image/filename'])!r}"
    except ValueError as error:
        raise UserError(f"an image that cannot be named: {error}") from error
    size = _checked_size(features[IMAGE], what, max_size)
    _check_image_labels(features, info, what)
    if features[MASK]:
        _check_mask_size(features[MASK], size, what, "mask")
    with _errors_told(f"{what}: {UNREADABLE}"):
        parsed = parse_example(
            serialized, info.num_classes, info.has_background, ignore_label=info.ignore_label, only_sane=True
        )
    if wrong := wrong_labels(parsed["label"].numpy(), info.num_classes, info.ignore_label):
        raise UserError(f"mask of {what}: {wrong}")
    _check_second_mask(serialized, info, size, what)
    _check_boxes(serialized, info, what)
    return {key: value.numpy() for key, value in parsed.items()}


@contextlib.contextmanager
def _errors_told(what: str) -> Iterator[None]:
    try:
        yield
    except RECORD_ERRORS as error:
        raise UserError(f"{what} ({reason_of(error)})") from error


def _checked_size(encoded: bytes, what: str, max_size: tuple[int, int]) -> tuple[int, int]:
    with _errors_told(f"{what}: {UNREADABLE}"):
        size = size_of(encoded)
    if size is None:
        raise UserError(f"{what}: {UNREADABLE} (neither a JPEG nor a PNG)")
    height, width = size
    if not 1 <= height * width <= MAX_PIXELS or max(size) > MAX_SIDE:
        raise UserError(
            f"{what}: its file declares {width}x{height} pixels; expected at most {MAX_PIXELS} of them, and sides of 1 to "
            f"{MAX_SIDE}"
        )
    if height > max_size[0] or width > max_size[1]:
        raise UserError(
            f"{what} has {width}x{height} pixels, but dataset.json says that no image is larger than "
            f"{max_size[1]}x{max_size[0]}"
        )
    return size


def _check_mask_size(encoded: bytes, size: tuple[int, int], what: str, name: str) -> None:
    found = size_of(encoded)
    if found is None or not is_index(encoded):
        raise UserError(f"{name} of {what}: expected a PNG with one channel of 8 bits, the class of each pixel")
    if found != size:
        sizes = [f"{width}x{height}" for height, width in (size, found)]
        raise UserError(f"{what} has {sizes[0]} pixels, its {name} {sizes[1]}; expected equal sizes")


def _check_image_labels(features: dict[str, Any], info: DatasetInfo, what: str) -> None:
    first, last = int(info.has_background), info.num_classes - 1
    labels = features["image/class/label"].tolist() if features["image/class/known"] > 0 else []
    if wrong := [label for label in labels if not first <= label <= last]:
        raise UserError(f"{what}: image-level label {wrong[0]}, expected {first} .. {last}")


def _check_second_mask(serialized: bytes, info: DatasetInfo, size: tuple[int, int], what: str) -> None:
    with _errors_told(f"{what}: its second mask cannot be read"):
        encoded = second_mask_of(serialized).numpy()
        if not encoded:
            return
        _check_mask_size(encoded, size, what, "second mask")
        values = decode_mask(encoded).numpy()
    if wrong := wrong_labels(values, info.num_classes, info.ignore_label):
        raise UserError(f"second mask of {what}: {wrong}")


def _check_boxes(serialized: bytes, info: DatasetInfo, what: str) -> None:
    with _errors_told(f"{what}: boxes that cannot be read"):
        objects = {key: value.numpy() for key, value in parse_boxes(serialized, only_sane=True).items()}
    first, last = int(info.has_background), info.num_classes - 1
    for edges in objects["boxes"].tolist():
        if fault := fault_of(edges):
            shown = ", ".join(f"{edge:g}" for edge in edges)
            raise UserError(f"{what}: box ({shown}) {fault}; expected edges ymin, xmin, ymax, xmax in 0 .. 1")
    if wrong := [label for label in objects["label"].tolist() if not first <= label <= last]:
        raise UserError(f"{what}: a box of class {wrong[0]}, expected {first} .. {last}")
