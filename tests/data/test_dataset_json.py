"""A dataset.json of somebody else: what cannot be meant is one line that names file and entry."""

import json
import os

import numpy as np
import pytest
from damaged_records import CLASSES, COLORS, data_set, record

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.record_files import split_records
from wss.data.splits import write_splits
from wss.errors import UserError


@pytest.fixture
def folder(tmp_path):
    data_set(tmp_path, record("a"), record("b", 1))
    return tmp_path


def edited(folder, split: bool = False, **changes) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    (content["splits"]["train"] if split else content).update(changes)
    (folder / "dataset.json").write_text(json.dumps(content))


def refused(folder, expected: str) -> None:
    with pytest.raises(UserError) as error:
        DatasetInfo.load(folder)
    message = str(error.value)
    assert message.startswith(f"{folder / 'dataset.json'}: damaged (") and expected in message, message
    assert message.endswith("; build the data set again") and message.isprintable() and len(message) < 500


WRONG = [
    ({"ignore_label": 300}, "ignore_label is 300; expected a whole number in 0 .. 255"),
    ({"ignore_label": "255"}, "ignore_label is '255'; expected"),
    ({"ignore_label": -1}, "ignore_label is -1"),
    ({"ignore_label": True}, "ignore_label is True"),
    ({"ignore_label": 255.0}, "ignore_label is 255.0"),
    ({"has_background": "no"}, "has_background is 'no'; expected true or false"),
    ({"has_background": 0}, "has_background is 0"),
    ({"class_names": []}, "class_names is []; expected 2 to 256 different printable names"),
    ({"class_names": ["a"]}, "class_names is ['a']; expected 2"),
    ({"class_names": ["a", "b", "a"]}, "class_names is ['a', 'b', 'a']; expected 2 to 256 different"),
    ({"class_names": ["a", "b", "\x1b]0;x\x07"]}, "class_names is ['a', 'b', '\\x1b]0;x\\x07']; expected"),
    ({"class_names": ["a", "b", "c\u202e"]}, "'c\\u202e'"),
    ({"class_names": ["a", "b", " "]}, "class_names is"),
    ({"class_names": "abc"}, "class_names is 'abc'"),
    ({"class_names": [str(c) for c in range(257)], "colors": [[0, 0, 0]] * 257}, "class_names is ['0', '1'"),
    ({"colors": [[0, 0, 999]] * 3}, "colors is [[0, 0, 999]"),
    ({"colors": ["abc"] * 3}, "colors is ['abc'"),
    ({"colors": [[0, 0]] * 3}, "colors is [[0, 0]"),
    ({"colors": [[0, 0, 0.5]] * 3}, "three whole numbers in 0 .. 255"),
    ({"colors": [[0, 0, 0]] * 2}, "2 colors for 3 class_names"),
    ({"name": 5}, "name is 5; expected a printable text"),
    ({"name": "a\nb"}, "name is 'a\\nb'"),
    ({"provenance": []}, "provenance is []"),
    ({"provenance": {"splits": 1}}, "provenance is {'splits': 1}"),
    ({"splits": {"../../evil": {}}}, "split '../../evil': expected a name"),
    ({"splits": {"": {}}}, "split '': expected a name"),
    ({"splits": {"train": 1}}, "split 'train', found 1; expected entries"),
    ({"splits": {"train": {}}}, "split 'train', shards is missing"),
    ({"splits": 1}, "splits is 1"),
    ({"extra": 1}, "'extra' is no entry; expected name, class_names"),
]
WRONG_SPLIT = [
    ({"shards": {"train.tfrecord": -3}}, "split 'train', shards is {'train.tfrecord': -3}; expected the number of records"),
    ({"shards": {"train.tfrecord": True}}, "shards is"),
    ({"shards": {"train.tfrecord": 2.0}}, "shards is"),
    ({"shards": {"train.tfrecord": 10**30}}, "shards is"),
    *(
        ({"shards": {name: 2}}, "split 'train', shards is")
        for name in ("", ".", "..", "../train.tfrecord", "/etc/passwd", "a/b", "a\\b", "a\0b", "c:a", "a\nb", "x" * 300)
    ),
    *(
        ({"runs_file": name}, "split 'train', runs_file is")
        for name in ("../evil.json", "/etc/passwd", "splits/../../evil", "splits\\evil", "a\0b", 5, None)
    ),
    *(
        ({"max_size": size}, "split 'train', max_size is")
        for size in ([0, 60], [-1, 60], [40], [40, 60, 3], [40, 10**9], ["40", "60"], [40.0, 60.0], 40, None)
    ),
    ({"checksum": 5}, "checksum is 5; expected 64 hexadecimal digits"),
    ({"checksum": "../x"}, "checksum is '../x'"),
    ({"hide_masks": "no"}, "hide_masks is 'no'; expected true or false"),
    ({"num_masks": -1}, "num_masks is -1; expected a whole number from 0"),
    ({"num_masks": True}, "num_masks is True"),
    ({"num_image_labels": "2"}, "num_image_labels is '2'"),
    ({"num_with_boxes": None}, "num_with_boxes is None"),
    ({"extra": 1}, "split 'train', 'extra' is no entry"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), WRONG)
def test_a_wrong_entry_is_named(folder, changes, expected):
    edited(folder, **changes)
    refused(folder, expected)


@pytest.mark.parametrize(("changes", "expected"), WRONG_SPLIT)
def test_a_wrong_entry_of_a_split_is_named(folder, changes, expected):
    edited(folder, split=True, **changes)
    refused(folder, expected)


@pytest.mark.parametrize("entry", ["name", "class_names", "colors", "splits"])
def test_a_missing_entry_is_named(folder, entry):
    content = json.loads((folder / "dataset.json").read_text())
    del content[entry]
    (folder / "dataset.json").write_text(json.dumps(content))
    refused(folder, f"{entry} is missing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Expecting value"),
        ("[]", "found []; expected entries"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": ' * 100_000, "nested too deeply"),
        ('{"provenance": ' + "[" * 500 + "]" * 500 + "}", "nested too deeply"),
        ('{"name": "a", "name": "b"}', "the key 'name' is there twice"),
        ('{"name": NaN}', "NaN is no number"),
        ('{"name": -Infinity}', "-Infinity is no number"),
        ('{"name": 1e999}', "1e999 is no number"),
        ('{"name": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("\ufeff{}", "BOM"),
        ("\x00", "Expecting value"),
    ],
)
def test_what_is_no_json_is_told(folder, text, expected):
    (folder / "dataset.json").write_text(text)
    refused(folder, expected)


def test_bytes_that_are_no_text_are_told(folder):
    (folder / "dataset.json").write_bytes(b"\xff\xfe{}")
    refused(folder, "codec can't decode")


def test_a_huge_file_is_not_read(folder):
    with (folder / "dataset.json").open("r+b") as file:
        file.truncate(1 << 40)  # a hole
    refused(folder, "more than 256 MiB")


def test_what_load_would_refuse_is_not_written(tmp_path):
    split = SplitInfo({"train.tfrecord": 2}, 2, 0, (40, 60))
    for info, expected in (
        (DatasetInfo("toy", ("a",), COLORS[:1], {"train": split}), "class_names is"),
        (DatasetInfo("toy", CLASSES, COLORS, {"../evil": split}), "split '../evil'"),
        (DatasetInfo("toy", ("a", "a", "b"), COLORS, {"train": split}), "class_names is"),
    ):
        with pytest.raises(UserError, match=f"dataset.json: not written .*{expected}"):
            info.save(tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_is_right_comes_back(folder):
    info = DatasetInfo.load(folder)
    info.save(folder)
    assert DatasetInfo.load(folder) == info and info.split("train").max_size == (40, 60)
    content = json.loads((folder / "dataset.json").read_text())
    optional = {"ignore_label", "has_background", "provenance"}
    (folder / "dataset.json").write_text(json.dumps({key: content[key] for key in content.keys() - optional}))
    assert DatasetInfo.load(folder) == info


def test_shards_that_are_no_files_are_refused(folder):
    shard = folder / "train.tfrecord"
    other = shard.rename(folder / "elsewhere")
    with pytest.raises(UserError, match="train.tfrecord: missing, though dataset.json lists it"):
        DatasetInfo.load(folder).files("train")
    shard.symlink_to(folder / "nowhere")
    with pytest.raises(UserError, match="train.tfrecord: missing"):
        DatasetInfo.load(folder).files("train")
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        shard.unlink() if shard.is_symlink() or not shard.is_dir() and shard.exists() else None
        if shard.is_dir() and not shard.is_symlink():
            shard.rmdir()
        make(shard)
        with pytest.raises(UserError, match="train.tfrecord: no regular file, though dataset.json lists it"):
            DatasetInfo.load(folder).files("train")
    shard.unlink()
    shard.symlink_to(other)  # the usual way to share a disk
    assert DatasetInfo.load(folder).files("train") == [str(shard)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([[0, -1]], r"the runs of train.tfrecord are \[\[0, -1\]\]"),
        ([[0, True]], "expected pairs of byte offset"),
        ([[-5, 1]], "expected pairs"),
        ([[0, 1], [0, 1]], "expected pairs"),
        ([[5, 1]], None),
        ([[0, 2]], "have 2 records, dataset.json says 1"),
        ([], "expected pairs"),
        ("text", "expected pairs"),
        ([[0]], "expected pairs"),
    ],
)
def test_damaged_runs_of_a_split_are_told(folder, runs, expected):
    (folder / "splits").mkdir()
    edited(folder, split=True, shards={"train.tfrecord": 1}, runs_file="splits/train.json", checksum="0" * 64)
    (folder / "splits/train.json").write_text(json.dumps({"checksum": "0" * 64, "runs": {"train.tfrecord": runs}}))
    info = DatasetInfo.load(folder)
    if expected is None:  # that no record begins there shows when it is read
        assert info.runs("train") == {"train.tfrecord": [(5, 1)]}
        return
    with pytest.raises(UserError, match=f"splits/train.json: missing or damaged .*({expected}).*make the split"):
        split_records(info, "train")


def test_an_empty_folder_of_splits_is_no_traceback(folder):
    edited(folder, split=True, runs_file="splits", checksum="0" * 64)
    (folder / "splits").mkdir()
    with pytest.raises(UserError, match="splits: missing or damaged .there is no such file."):
        DatasetInfo.load(folder).runs("train")


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": -1}, {"offset": "0"}, {"offset": True}, {"offset": 7},
        {"size": [1]}, {"size": ["a", "b"]}, {"size": [-1, 2]},
        {"pixels": {"900": 1}}, {"pixels": {"a": 1}}, {"pixels": {"1": -1}}, {"pixels": [1]}, {"image_labels": ["a"]},
        {"num_boxes": -1}, {"num_boxes": "x"}, {"id": "../evil"}, {"id": 5}, {"id": ""}, {"image_hash": 5}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_damaged_index_is_one_line(folder, changes):
    entry = {
        "id": "a", "offset": 0, "size": [40, 60], "pixels": {"0": 2400}, "image_labels": None, "num_boxes": None,
        "image_hash": "0" * 16,
    }  # fmt: skip
    (folder / "train.tfrecord.index.jsonl").write_text(json.dumps({**entry, **changes}) + "\n")
    with pytest.raises(UserError, match="index.jsonl: damaged after line 0 .*build the data set again") as error:
        write_splits(DatasetInfo.load(folder), {"train": ["train.tfrecord"]}, {})
    assert "\n" not in str(error.value)


def test_offsets_of_an_index_grow(folder):
    entry = {"id": "a", "size": [40, 60], "pixels": None, "image_labels": None, "num_boxes": None, "image_hash": ""}
    lines = [json.dumps({**entry, "offset": int(offset)}) for offset in np.array([0, 50, 50])]
    (folder / "train.tfrecord.index.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match="damaged after line 2 .*offset 50 after 50"):
        write_splits(DatasetInfo.load(folder), {"train": ["train.tfrecord"]}, {})
