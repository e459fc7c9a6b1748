"""The tf.Example schema: DeepLab's records, the original's golden record, and what is wrong with others."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.example import encode_example, parse_example
from wss.data.masks import encode_mask
from wss.data.record_check import check_record
from wss.data.record_damage import validate_records
from wss.errors import UserError

RECORD = "tfrecord/val-00000-of-00001.tfrecord"


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [5, 7, 3], dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    return np.arange(35, dtype=np.uint8).reshape(5, 7) % 3


def info_of(path, count: int = 1, num_classes: int = 3) -> DatasetInfo:
    splits = {"val": SplitInfo({path.name: count}, count, 0, (5, 7))}
    names = tuple(f"class {c}" for c in range(num_classes))
    return DatasetInfo("test", names, ((0, 0, 0),) * num_classes, splits, directory=str(path.parent))


def write(path, *records: bytes) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def test_keys_and_bytes_are_deeplabs(image, mask):
    serialized = encode_example(
        png(image), "png", "a/b.c", size=(5, 7), mask_png=encode_mask(mask), image_labels=[2, 1]
    )
    features = tf.train.Example.FromString(serialized).features.feature
    stored = {key: [*feature.bytes_list.value, *feature.int64_list.value] for key, feature in features.items()}
    assert stored == {
        "image/encoded": [png(image)],
        "image/filename": [b"a/b.c"],
        "image/format": [b"png"],
        "image/height": [5],
        "image/width": [7],
        "image/channels": [3],
        "image/segmentation/class/encoded": [encode_mask(mask)],
        "image/segmentation/class/format": [b"png"],
        "image/class/label": [2, 1],
        "image/class/known": [1],
    }


def test_round_trip(image, mask):
    example = parse_example(
        encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask), image_labels=[2]), 4
    )
    np.testing.assert_array_equal(example["image"], image)
    np.testing.assert_array_equal(example["label"][..., 0], mask)
    np.testing.assert_array_equal(example["image_label"], [0, 1, 0])
    assert example["label"].dtype == tf.int32 and example["image"].dtype == tf.uint8
    assert bool(example["has_mask"]) and bool(example["has_image_label"])
    assert example["name"].numpy() == b"x"


def test_without_mask_everything_is_ignored_and_labels_are_unknown(image):
    example = parse_example(encode_example(png(image), "png", "x", size=(5, 7)), 4)
    np.testing.assert_array_equal(example["label"], np.full([5, 7, 1], 255))
    np.testing.assert_array_equal(example["image_label"], [0, 0, 0])
    assert not example["has_mask"] and not example["has_image_label"]


def test_known_to_show_nothing_differs_from_unknown(image):
    example = parse_example(encode_example(png(image), "png", "x", size=(5, 7), image_labels=[]), 4)
    assert example["has_image_label"]
    np.testing.assert_array_equal(example["image_label"], [0, 0, 0])


def test_without_background_class_zero_has_an_image_label(image):
    serialized = encode_example(png(image), "png", "x", size=(5, 7), image_labels=[0, 2])
    np.testing.assert_array_equal(parse_example(serialized, 3, has_background=False)["image_label"], [1, 0, 1])


def test_masks_can_be_left_alone(image, mask):
    example = parse_example(
        encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask)), 4, use_mask=False
    )
    assert not example["has_mask"]
    np.testing.assert_array_equal(example["label"], np.full([5, 7, 1], 255))


def test_grey_images_become_rgb(image):
    grey = image[..., 0]
    np.testing.assert_array_equal(
        parse_example(encode_example(png(grey), "png", "x", size=(5, 7)), 4)["image"], np.stack([grey] * 3, -1)
    )


def test_the_same_arguments_give_the_same_bytes(image, mask):
    settings = {"size": (5, 7), "mask_png": encode_mask(mask), "image_labels": [1]}
    first, second = (encode_example(png(image), "png", "x", **settings) for _ in range(2))
    assert first == second


def test_records_of_the_original_code(goldens):
    samples = np.load(goldens / "preprocess_eval.npz")
    records = tf.data.TFRecordDataset(str(goldens / RECORD)).map(lambda record: parse_example(record, 21))
    examples = list(records)
    assert [example["name"].numpy().decode() for example in examples] == ["img_0", "img_1", "img_2"]
    assert [tuple(example["image"].shape[:2]) for example in examples] == [(40, 56), (37, 53), (40, 56)]
    for index, example in enumerate(examples):
        # The golden sample is the evaluation's: padded at the bottom and the right to 65 x 65.
        image, label, valid, classes = (
            samples[f"tfrecord/{index}/{key}"][0] for key in ("image", "label", "valid", "cls_label")
        )
        height, width = example["image"].shape[:2]
        np.testing.assert_array_equal(example["image"], image[:height, :width])
        np.testing.assert_array_equal(example["label"], label[:height, :width])
        assert valid.sum() == height * width
        assert set(np.flatnonzero(classes) + 1) == set(np.unique(example["label"])) - {0, 255}
        assert example["has_mask"] and not example["has_image_label"]


def test_a_good_file_validates(tmp_path, image, mask):
    path = tmp_path / "val.tfrecord"
    write(path, encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask)))
    validate_records(info_of(path), "val")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("empty", "no records in it, though dataset.json counts 1"),
        ("text", "no readable TFRecord file"),
        ("truncated", "no readable TFRecord file"),
        ("no image", "no readable example"),
        ("broken image", "no readable example"),
        ("label", "mask of image 'x': label value 2"),
        ("size", "has 7x5 pixels, its mask 6x5"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, image, mask, content, expected):
    path = tmp_path / "val.tfrecord"
    good = encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask))
    if content == "empty":
        write(path)
    elif content == "text":
        path.write_text("a text file, that is much longer than the head of a record")
    elif content == "truncated":
        write(path, good)
        path.write_bytes(path.read_bytes()[:-20])
    elif content == "no image":
        write(path, tf.train.Example().SerializeToString())
    elif content == "broken image":
        write(path, encode_example(png(image)[:60], "png", "x", size=(5, 7)))
    elif content == "label":
        write(path, good)
    else:
        write(path, encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask[:, :6])))
    with pytest.raises(UserError) as error:
        validate_records(info_of(path, num_classes=2 if content == "label" else 3), "val")
    message = str(error.value)
    assert message.startswith(f"{path}: ") and expected in message and "build the data set again" in message
    assert "\n" not in message


def test_the_ignore_label_of_the_data_set_counts(image, mask):
    info = DatasetInfo("test", ("a", "b"), ((0, 0, 0),) * 2, {}, ignore_label=2)
    serialized = encode_example(png(image), "png", "x", size=(5, 7), mask_png=encode_mask(mask))
    assert check_record(serialized, info)["label"].max() == 2
    with pytest.raises(UserError, match="label value 2 "):
        check_record(serialized, dataclasses.replace(info, ignore_label=255))
