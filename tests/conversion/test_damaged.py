"""Data sets that are damaged, or that others made wrongly: one line that names the file, and nothing is changed."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import encode_example
from wss.data.masks import encode_mask
from wss.data.record_files import split_records
from wss.data.record_index import SUFFIX
from wss.errors import UserError


@pytest.fixture
def dataset(tiny_shapes, tmp_path):
    return shutil.copytree(tiny_shapes, tmp_path / "shapes")


def edited(directory, **changes) -> None:
    content = json.loads((directory / "dataset.json").read_text())
    (directory / "dataset.json").write_text(json.dumps({**content, **changes}))


def first_split(directory) -> dict:
    return json.loads((directory / "dataset.json").read_text())["splits"]["train"]


@pytest.mark.parametrize(
    "changes",
    [
        lambda directory: {"class_names": [1, 2, 3]},
        lambda directory: {"colors": [[0, 0, 0]]},
        lambda directory: {"colors": 5},
        lambda directory: {"splits": {"train": {**first_split(directory), "shards": ["train.tfrecord"]}}},
        lambda directory: {"splits": {"train": {**first_split(directory), "shards": {}}}},
        lambda directory: {"splits": []},
        lambda directory: {"unknown": 1},
    ],
)
def test_a_damaged_dataset_json_is_one_line(changes, dataset):
    edited(dataset, **changes(dataset))
    with pytest.raises(UserError, match="dataset.json: damaged .*build the data set again") as error:
        DatasetInfo.load(dataset)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"{}\n", b"[]\n", b"\xff\xfe\x00", b'{"id": "a"}\n', b"not json\n"])
def test_a_damaged_index_is_one_line(content, dataset, run_script):
    path = next(dataset.glob(f"train*{SUFFIX}"))
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path.name}: damaged after line 0 .*build the data set again") as error:
        run_script("make_split", f"--dataset={dataset}", "--num_images=20", "--name=few")
    assert "\n" not in str(error.value)


def test_a_split_that_does_not_fit_its_runs_is_told(dataset):
    info = DatasetInfo.load(dataset)
    path = dataset / info.split("train_1_4").runs_file
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "checksum": "0" * 64}))
    with pytest.raises(UserError, match="train_1_4.json: does not fit dataset.json; make the split 'train_1_4' again"):
        split_records(info, "train_1_4")
    path.unlink()
    with pytest.raises(UserError, match="train_1_4.json: missing or damaged"):
        split_records(info, "train_1_4")


def test_splits_of_a_converter_are_not_described_away(dataset, run_script):
    edited(dataset, provenance={"command": "build_voc2012.py"})
    before = (dataset / "dataset.json").read_bytes()
    with pytest.raises(UserError, match="made by build_voc2012.py, with splits that would be lost"):
        run_script("describe_records", f"--dir={dataset}", "--class_names=a,b", "--overwrite")
    assert (dataset / "dataset.json").read_bytes() == before


def write(path, *records: bytes) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def record(name: str = "a", **settings) -> bytes:
    mask = encode_mask(np.zeros([2, 2], np.uint8))
    return encode_example(mask, "png", name, size=(2, 2), mask_png=mask, **settings)


def test_records_of_others_get_an_index_from_which_splits_are_made(tmp_path, run_script):
    write(tmp_path / "train-00000-of-00001", *(record(name, image_labels=[1]) for name in "abc"))
    run_script("describe_records", f"--dir={tmp_path}", "--class_names=bg,one,two")
    run_script("make_split", f"--dataset={tmp_path}", "--num_images=2", "--name=few", "--min_images_per_class=0")
    assert DatasetInfo.load(tmp_path).split("few").num_examples == len(
        list(split_records(DatasetInfo.load(tmp_path), "few"))
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"train-00000-of-00002": 1}, "split 'train' has 1 files, expected 2"),
        ({"train-00000-of-00003": 1, "train-00001-of-00002": 1}, "split 'train' has files -of-00002 and -of-00003"),
        ({"train-00000-of-00001": 0}, "train-00000-of-00001: has no records"),
    ],
)
def test_sets_of_files_that_are_not_whole_are_told(files, expected, tmp_path, run_script):
    for name, count in files.items():
        write(tmp_path / name, *[record()] * count)
    with pytest.raises(UserError, match=expected):
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=bg,one")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record(image_labels=[99])], "record 0: image 'a': image-level label 99, expected 1 .. 1"),
        ([record(image_labels=[0])], "record 0: image 'a': image-level label 0, expected 1 .. 1"),
        ([record(), b"nothing"], "record 1: no readable example of an image"),
    ],
)
def test_records_of_others_that_are_wrong_leave_no_index(records, expected, tmp_path, run_script):
    write(tmp_path / "good-00000-of-00001", record())
    write(tmp_path / "train-00000-of-00001", *records)
    with pytest.raises(UserError, match=f"train-00000-of-00001: {expected}") as error:
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=bg,one")
    assert len(str(error.value).splitlines()) == 2 and "{{" not in str(error.value)
    assert len(list(tmp_path.iterdir())) == 2


def test_images_without_a_name_are_told(tmp_path, run_script):
    write(tmp_path / "train-00000-of-00001", record(""), record(""))
    with pytest.raises(
        UserError, match="00000-of-00001: record 1: an image that cannot be named: its id is ''; expected"
    ):
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=bg,one")
