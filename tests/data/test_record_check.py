"""Each way in which a record can be wrong: one line in words, and the same record never becomes a tensor in tf.data."""

import resource

import numpy as np
import pytest
import tensorflow as tf
from damaged_records import (
    CLASSES,
    COLORS,
    HEIGHT,
    WIDTH,
    black_png,
    changed,
    encoded,
    mask_of,
    mutations,
    photo,
    png_declaring,
    record,
)

from wss.data.companions import SECOND_MASK, parse_second_mask
from wss.data.dataset_info import DatasetInfo
from wss.data.example import IMAGE, MASK, RECORD_ERRORS, parse_boxes, parse_example
from wss.data.masks import encode_mask
from wss.data.record_check import check_record
from wss.errors import UserError

INFO = DatasetInfo("toy", CLASSES, COLORS, {})
SIZE = (HEIGHT, WIDTH)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def parsed(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """All that training may read of a record."""
    with tf.device("CPU"):
        example = parse_example(serialized, 3, max_size=SIZE)
        return {
            **example,
            **{f"object_{name}": value for name, value in parse_boxes(serialized, 3).items()},
            "second": parse_second_mask(serialized, tf.constant(SIZE), 255, num_classes=3),
        }


def with_mask(array: np.ndarray, **options) -> bytes:
    return record(mask_png=encoded(array, **options))


def with_bytes(key: str, *values: bytes) -> bytes:
    return changed(record(), key, "bytes_list", values)


def two_bits() -> bytes:
    return record(mask_png=png_declaring(HEIGHT, WIDTH, depth=2, rows=b"\0" * 16 * HEIGHT))


def relabeled(value: int) -> np.ndarray:
    return np.where(mask_of() == 2, value, mask_of()).astype(np.uint8)


def gif() -> bytes:
    return photo(image_format="GIF")


WRONG = {
    "no proto": (lambda: b"\xff" * 50, "no readable example of an image"),
    "no image": (lambda: changed(record(), IMAGE), "no readable example of an image"),
    "image of numbers": (lambda: changed(record(), IMAGE, "int64_list", [1]), "no readable example of an image"),
    "two images": (lambda: with_bytes(IMAGE, photo(), photo()), "no readable example of an image"),
    "cut JPEG": (lambda: with_bytes(IMAGE, photo()[:500]), "image 'a': no readable example of an image"),
    "cut PNG": (lambda: with_bytes(IMAGE, photo(image_format="PNG")[:500]), "image 'a': no readable example"),
    "head of a PNG": (lambda: with_bytes(IMAGE, photo(image_format="PNG")[:20]), "neither a JPEG nor a PNG"),
    "empty image": (lambda: with_bytes(IMAGE, b""), "neither a JPEG nor a PNG"),
    "GIF": (lambda: with_bytes(IMAGE, gif()), "image 'a': no readable example .*neither a JPEG nor a PNG"),
    "BMP": (lambda: with_bytes(IMAGE, photo(image_format="BMP")), "neither a JPEG nor a PNG"),
    "13000 x 13000": (lambda: with_bytes(IMAGE, png_declaring(13000, 13000)), "declares 13000x13000 pixels"),
    "2^32 - 1 wide": (lambda: with_bytes(IMAGE, png_declaring(1, 2**32 - 1)), "declares 4294967295x1 pixels"),
    "no height": (lambda: with_bytes(IMAGE, png_declaring(0, 60)), "declares 60x0 pixels"),
    "larger than said": (
        lambda: record(image=photo(height=41), mask_png=encode_mask(mask_of(height=41))),
        "image 'a' has 60x41 pixels, but dataset.json says that no image is larger than 60x40",
    ),
    "mask of another size": (
        lambda: with_mask(mask_of(width=59)),
        "image 'a' has 60x40 pixels, its mask 59x40; expected equal sizes",
    ),
    "mask on its side": (lambda: with_mask(mask_of().T.copy()), "60x40 pixels, its mask 40x60"),
    "mask of 13000 x 13000": (lambda: with_bytes(MASK, png_declaring(13000, 13000)), "its mask 13000x13000"),
    "16-bit mask": (lambda: with_mask(mask_of().astype(np.uint16)), "mask of image 'a': expected a PNG with one"),
    "2-bit mask": (two_bits, "expected a PNG with one channel of 8 bits"),
    "RGB mask": (lambda: with_mask(np.stack([mask_of()] * 3, -1)), "expected a PNG with one channel of 8 bits"),
    "JPEG mask": (lambda: record(mask_png=photo()), "expected a PNG with one channel of 8 bits"),
    "mask of text": (lambda: with_bytes(MASK, b"text"), "expected a PNG with one channel of 8 bits"),
    "cut mask": (lambda: with_bytes(MASK, encode_mask(mask_of())[:60]), "image 'a': no readable example"),
    "label 77": (lambda: with_mask(relabeled(77)), "mask of image 'a': label value 77"),
    "label 3": (lambda: with_mask(relabeled(3)), "mask of image 'a': label value 3"),
    "label 254": (lambda: with_mask(np.full(SIZE, 254, np.uint8)), "mask of image 'a': label value 254"),
    "image label 3": (lambda: record(image_labels=[1, 3]), "image 'a': image-level label 3, expected 1 .. 2"),
    "image label of the background": (lambda: record(image_labels=[0]), "image-level label 0, expected 1 .. 2"),
    "image label -1": (lambda: record(image_labels=[-1]), "image-level label -1"),
    "second mask of another size": (
        lambda: with_bytes(SECOND_MASK, encode_mask(mask_of(width=61))),
        "image 'a' has 60x40 pixels, its second mask 61x40",
    ),
    "16-bit second mask": (
        lambda: with_bytes(SECOND_MASK, encoded(mask_of().astype(np.uint16))),
        "second mask of image 'a': expected a PNG with one channel",
    ),
    "second mask of other labels": (
        lambda: with_bytes(SECOND_MASK, encode_mask(mask_of() + 9)),
        "second mask of image 'a': label value",
    ),
    "box of NaN": (lambda: boxes_of("ymin", [np.nan, 0.0]), r"image 'a': box \(nan, .* no number; expected edges"),
    "box beyond the edge": (lambda: boxes_of("xmax", [0.5, 1.5]), "box .* lies outside of its image; expected"),
    "box of negative height": (lambda: boxes_of("ymin", [0.9, 0.0]), "box .* has its edges swapped; expected"),
    "an edge too few": (lambda: boxes_of("ymin", [0.1]), "image 'a': boxes that cannot be read"),
    "a class too few": (
        lambda: changed(record(), "image/object/class/label", "int64_list", [1]),
        "image 'a': boxes that cannot be read",
    ),
    "box of class 3": (
        lambda: changed(record(), "image/object/class/label", "int64_list", [1, 3]),
        "image 'a': a box of class 3, expected 1 .. 2",
    ),
    **{
        f"id {name!r}": (lambda name=name: with_bytes("image/filename", name), "an image that cannot be named: its id is")
        for name in (
            b"", b"../../../evil", b"a/../../evil", b"/tmp/evil", b"a//b", b"a/", b".", b"..",
            b"a\0b", b"\xff\xfe", b"\xed\xa0\x80", b"a\nb",
            b"\x1b]0;title\x07", "a\u202eb".encode(), "\x9b".encode(), b"x" * 241,
        )
    },
}  # fmt: skip


def boxes_of(edge: str, values: list[float]) -> bytes:
    return changed(record(), f"image/object/bbox/{edge}", "float_list", values)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_record_is_one_line_and_no_tensor(case):
    make, expected = WRONG[case]
    with pytest.raises(UserError, match=expected) as error:
        check_record(make(), INFO, SIZE)
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    with pytest.raises(RECORD_ERRORS):
        parsed(tf.constant(make()))


@pytest.mark.parametrize("name", ["a", "a/b.c", ".hidden", "..a", "شهر\u200cها", "x" * 240, "ü" * 120, "a\\b", "-"])
def test_what_can_be_an_id_is_read(name):
    assert check_record(record(name), INFO, SIZE)["name"].decode() == name
    assert parsed(tf.constant(record(name)))["name"].numpy().decode() == name


@pytest.mark.parametrize(
    "good",
    [
        record(),
        record(image=photo(image_format="PNG"), image_format="png"),
        changed(record(image=photo(height=1), mask_png=encode_mask(mask_of(height=1))), SECOND_MASK),
        changed(record(), MASK),
        changed(record(), SECOND_MASK),
        changed(
            changed(record(), "image/class/known"), "image/class/label", "int64_list", [900]
        ),  # not known, not read
        changed(boxes_of("ymin", [np.nan]), "image/object/known"),
    ],
)
def test_what_is_right_is_read(good):
    example = parse_example(tf.constant(good), 3, max_size=SIZE)
    np.testing.assert_equal(check_record(good, INFO, SIZE), {name: value.numpy() for name, value in example.items()})
    assert example["image"].shape[:2] == example["label"].shape[:2]


@pytest.mark.parametrize(("ignore_label", "classes"), [(255, 3), (2, 3), (100, 3), (0, 3), (255, 255), (255, 256)])
def test_both_readers_take_the_same_labels(ignore_label, classes):
    info = DatasetInfo("toy", ("x",) * classes, ((0, 0, 0),) * classes, {}, ignore_label=ignore_label)
    for value in (0, 2, 3, 99, 100, 101, 253, 254, 255):
        serialized = record(mask_png=encode_mask(np.full(SIZE, value, np.uint8)), boxes=None, image_labels=None)
        serialized = changed(serialized, SECOND_MASK)
        right = value < classes or value == ignore_label
        for read in (
            lambda s: check_record(s, info),
            lambda s: parse_example(tf.constant(s), classes, ignore_label=ignore_label),
        ):
            if right:
                np.testing.assert_array_equal(read(serialized)["label"], value)
            else:
                with pytest.raises((UserError, *RECORD_ERRORS)):
                    read(serialized)


def test_a_small_file_of_a_huge_image_takes_no_memory():
    """21 kB that are 13000 x 13000 pixels: 169 MB at least, once decoded."""
    serialized = with_bytes(IMAGE, black_png(13000))
    assert len(serialized) < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="image 'a': its file declares 13000x13000 pixels; expected at most 89478485"):
        check_record(serialized, INFO)
    with pytest.raises(RECORD_ERRORS):
        parse_example(tf.constant(serialized), 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_both_readers_refuse_the_same_of_damage_by_chance():
    """What words are found for and what fails in tf.data is the same; the rest are harmless, such as an unread key."""
    refused = 0
    for what, serialized in mutations(0, 240):
        try:
            check_record(serialized, INFO, SIZE)
            told = ""
        except UserError as error:
            told = str(error)
            assert "\n" not in told and told.isprintable(), what
        try:
            example = {name: value.numpy() for name, value in parsed(tf.constant(serialized)).items()}
        except RECORD_ERRORS:
            assert told, f"{what}: fails in tf.data without words"
            refused += 1
            continue
        assert not told, f"{what}: {told}, but tf.data reads it"
        assert example["image"].shape[:2] == example["label"].shape[:2] == example["second"].shape[:2] == SIZE, what
        assert set(np.unique(example["label"])) | set(np.unique(example["second"])) <= {0, 1, 2, 255}, what
    assert 120 < refused < 220
