"""Passes over records: how many there are is known, and what TensorFlow stumbles over is one line."""

import dataclasses
import json
import os
import shutil
import struct

import gin
import numpy as np
import pytest
import tensorflow as tf
from damaged_records import CLASSES, HEIGHT, WIDTH, changed, data_set, mask_of, photo, record, write

from wss.conversion.shapes import build_shapes
from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.example import MASK
from wss.data.masks import encode_mask
from wss.data.padding import Padding
from wss.data.record_damage import MAX_RECORDS_COUNTED, check_unique, damage_told, validate_records
from wss.data.record_files import RecordFiles, split_records
from wss.data.streams import MASKS, Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.inference.photos import SplitExamples

GREY = (127.5, 127.5, 127.5)
STREAMS = {"labeled": MASKS}


def good(number: int) -> list[bytes]:
    return [record(f"image_{i}", i) for i in range(number)]


def read_all(info: DatasetInfo, split: str = "train") -> int:
    with damage_told((info, split)):
        return len(list(split_records(info, split).as_numpy_iterator()))


def training(info: DatasetInfo, **settings) -> TrainingData:
    settings = {"labeled_split": "train", "labeled_batch_size": 1, "crop_size": (33, 33), **settings}
    return TrainingData(info, GREY, seed=0, **settings)


@pytest.fixture
def shapes(tmp_path):
    """A data set whose splits train_1_4 and val are parts of files, or whole ones."""
    build_shapes(tmp_path / "shapes", num_train=8, num_val=4, size=48, num_shards=1)
    return tmp_path / "shapes"


@pytest.mark.parametrize("count", [1, 2, 4, 500])
def test_another_number_of_records_is_one_line(tmp_path, count):
    info = data_set(tmp_path, *good(3), count=count)
    expected = f"train.tfrecord: 3 records in it, though dataset.json counts {count} images; build the data set again"
    with pytest.raises(UserError, match=expected):
        validate_records(info, "train")
    with pytest.raises(UserError, match=expected):
        read_all(info)
    with pytest.raises(UserError, match=expected), damage_told((info, "train")):
        list(evaluation_batches(info, "train", 2, padding=Padding(GREY)))
    with pytest.raises(UserError, match=expected):
        list(SplitExamples(info, "train", Padding(GREY)))
    data = training(info)
    with pytest.raises(UserError, match=expected), data.damage_told(STREAMS):
        list(data.batches(STREAMS).take(9))


def test_a_part_of_a_file_that_ends_too_early_is_one_line(shapes):
    info = DatasetInfo.load(shapes)
    assert info.split("train_1_4").runs_file and read_all(info, "train_1_4") == 2
    (path,) = map(str, RecordFiles(info, "train_1_4").paths)
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    write(path, *records[:1])
    with pytest.raises(UserError, match="records in it, though dataset.json counts 2 images of the split"):
        validate_records(info, "train_1_4")
    with pytest.raises(UserError, match="records in it, though dataset.json counts 2 images of the split"):
        read_all(info, "train_1_4")


def test_a_part_that_begins_within_a_record_is_one_line(shapes):
    info = DatasetInfo.load(shapes)
    runs = shapes / info.split("train_1_4").runs_file
    content = json.loads(runs.read_text())
    (of_file,) = content["runs"].values()
    of_file[-1][0] += 1
    runs.write_text(json.dumps(content))
    with pytest.raises(UserError, match="tfrecord: .*records in it, though dataset.json counts 2 images of the split"):
        read_all(DatasetInfo.load(shapes), "train_1_4")


def test_the_right_number_is_read_and_evaluated(tmp_path):
    info = data_set(tmp_path, *good(3))
    validate_records(info, "train")
    batches = list(evaluation_batches(info, "train", 2, padding=Padding(GREY)))
    names = [name for batch in batches for name in batch["name"].numpy().tolist()]
    assert names == [b"image_0", b"image_1", b"image_2", b""]


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (lambda path: path.unlink(), "train.tfrecord: missing, though dataset.json lists it"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), r"record 3 ends behind its end\); build"),
        (lambda path: path.write_bytes(b"text" * 99), r"no readable TFRecord file \(record 0 ends behind its end\)"),
        (lambda path: path.write_bytes(b""), "no records in it, though dataset.json counts 4"),
        (lambda path: flip(path, -100), r"record 3: damaged \(corrupted record at"),
        (lambda path: path.write_bytes(b"\xff" * 7), "record 0 ends behind its end"),
    ],
)
def test_a_shard_that_is_hit_while_training_is_one_line(tmp_path, breaking, expected):
    info = data_set(tmp_path, *good(4))
    data = training(info, shuffle_buffer=1)
    with pytest.raises(UserError, match=expected) as error, data.damage_told(STREAMS):
        batches = iter(data.batches(STREAMS))
        next(batches)
        breaking(tmp_path / "train.tfrecord")
        for _ in range(400):
            next(batches)
    assert "\n" not in str(error.value)


def flip(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def crc32c(content: bytes) -> int:
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    remainder ^= 0xFFFFFFFF
    return (((remainder >> 15) | (remainder << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("length", [10**6, 2**40, 2**63, 2**64 - 1])
def test_a_record_that_claims_to_be_huge_does_not_crash(tmp_path, run_describe, length):
    """With a right checksum of its length, for which TensorFlow would take all memory."""
    info = data_set(tmp_path, *good(2), count=3)
    head = struct.pack("<Q", length)
    with (tmp_path / "train.tfrecord").open("ab") as file:
        file.write(head + struct.pack("<I", crc32c(head)) + b"x" * 100)
    for reading in (lambda: validate_records(info, "train"), lambda: run_describe(info)):
        with pytest.raises(UserError, match=r"no .*TFRecord file \(.*record 2 ends behind its end"):
            reading()


@pytest.fixture
def run_describe():
    """Returns what reads a file in datasets/describe_records.py."""
    from pathlib import Path

    from scripts import load_module, separate_flags

    with separate_flags():
        script = load_module(Path(__file__).resolve().parents[2] / "datasets/describe_records.py")

    def run(info: DatasetInfo) -> None:
        if problems := script.index_file((info, "train.tfrecord"), lambda _: None):
            raise UserError(problems[0])

    return run


def test_a_pipe_does_not_hang(tmp_path, run_describe):
    info = data_set(tmp_path, *good(2))
    (tmp_path / "train.tfrecord").unlink()
    os.mkfifo(tmp_path / "train.tfrecord")
    with pytest.raises(UserError, match="train.tfrecord: no regular file"):
        validate_records(info, "train")
    with pytest.raises(UserError, match="train.tfrecord: .*no regular file"):
        run_describe(info)


def test_many_records_are_not_counted_in_advance(tmp_path, monkeypatch):
    info = data_set(tmp_path, *good(2), count=MAX_RECORDS_COUNTED + 1)
    validate_records(info, "train")


def test_masks_of_another_size_after_the_first_record_do_not_train(tmp_path):
    wrong = changed(record("wrong"), MASK, "bytes_list", [encode_mask(mask_of(width=WIDTH + 3))])
    data = training(data_set(tmp_path, *good(2), wrong))
    validate_records(data.info, "train")
    with (
        pytest.raises(UserError, match="record 2: image 'wrong' has 60x40 pixels, its mask 63x40"),
        data.damage_told(STREAMS),
    ):
        list(data.batches(STREAMS).take(3))


def test_an_error_of_something_else_goes_on(tmp_path):
    info = data_set(tmp_path, *good(2))
    with pytest.raises(tf.errors.InvalidArgumentError, match="another"), damage_told((info, "train")):
        raise tf.errors.InvalidArgumentError(None, None, "another error")
    with pytest.raises(tf.errors.ResourceExhaustedError), damage_told((info, "train")):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")


def test_two_equal_ids_cannot_become_files(tmp_path):
    info = data_set(tmp_path, record("same"), record("other"), record("same"))
    with pytest.raises(UserError, match="split 'train' has two images of the id 'same'"):
        list(SplitExamples(info, "train", Padding(GREY), batch_size=2))
    check_unique(info, "train", ["a", "b"], {"c"})


def test_records_of_the_next_batch_are_checked_against_the_split(tmp_path):
    """An image that is larger than dataset.json says would be cut or take all memory."""
    big = record("big", image=photo(height=HEIGHT + 1), mask_png=encode_mask(mask_of(height=HEIGHT + 1)))
    info = data_set(tmp_path, record("a"), big)
    with pytest.raises(UserError, match="record 1: image 'big' has 60x41 pixels, but dataset.json says"):
        list(SplitExamples(info, "train", Padding(GREY)))
    gin.bind_parameter("ResizeToRange.min_size", 20)
    with pytest.raises(UserError, match="record 1: image 'big' has 60x41 pixels, but dataset.json says"):
        evaluation_batches(info, "train", 2, padding=Padding(GREY))
    larger = dataclasses.replace(info.split("train"), max_size=(HEIGHT + 1, WIDTH))
    assert len(list(SplitExamples(dataclasses.replace(info, splits={"train": larger}), "train", Padding(GREY)))) == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (2, 1)])
def test_sides_of_one_pixel_are_trained_on(tmp_path, height, width):
    mask = np.full([height, width], 1, np.uint8)
    image = photo(height=height, width=width, image_format="PNG")
    serialized = record("thin", image=image, size=(height, width), mask_png=encode_mask(mask), boxes=[])
    info = data_set(tmp_path, changed(serialized, "image/segmentation/second/encoded"), max_size=(height, width))
    gin.parse_config("Augmentation.rotate_degrees = 30.0\nAugmentation.blur_probability = 0.5")
    streams = {"labeled": Views(strong=1, boxes=2)}
    for scope in ("crop", "image"):
        gin.parse_config(f"Augmentation.jitter_scope = '{scope}'")
        for batch in training(info).batches(streams).take(12).as_numpy_iterator():
            assert set(np.unique(batch["labeled"]["label"])) <= {1, 255}
            assert np.isfinite(batch["labeled"]["strong"]).all()
    (batch,) = evaluation_batches(info, "train", 1, padding=Padding(GREY))
    assert (batch["label"].numpy() == 1).sum() == height * width
    gin.bind_parameter("ResizeToRange.min_size", 20)
    (batch,) = evaluation_batches(info, "train", 1, padding=Padding(GREY))
    assert len(CLASSES) == 3 and (batch["label"].numpy() == 1).any()


def test_a_copy_that_lost_a_file_is_told_before_anything_is_read(shapes, tmp_path):
    copy = shutil.copytree(shapes, tmp_path / "copy")
    next(copy.glob("val*.tfrecord")).unlink()
    with pytest.raises(UserError, match="missing, though dataset.json lists it"):
        split_records(DatasetInfo.load(copy), "val")
