"""The inspection of data sets that somebody made to do harm, or that are damaged: a report, nothing outside its folder."""

import json

import numpy as np
import pytest
from damaged_records import black_png, changed, data_set, encoded, mask_of, record, write
from inspection_tool import run

from wss.data.companions import SECOND_MASK
from wss.data.example import IMAGE, MASK
from wss.data.masks import encode_mask
from wss.errors import UserError
from wss.inspection.inspect import inspect_split


def problems_of(folder, capsys, *records: bytes, **fields) -> str:
    data_set(folder / "data", *records, **fields)
    assert run(f"--dataset={folder / 'data'}", f"--output={folder / 'out'}") == 1
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.splitlines())
    return text


def test_names_of_splits_write_nothing_outside(tmp_path):
    data_set(tmp_path / "data", record("a"))
    path = tmp_path / "data/dataset.json"
    content = json.loads(path.read_text())
    content["splits"] = {"../../evil": content["splits"]["train"]}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="split '../../evil': expected a name"):
        run(f"--dataset={tmp_path / 'data'}", f"--output={tmp_path / 'a/b/out'}")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (lambda: record("\x1b[31mred"), "record 1: an image that cannot be named: its id is '\\x1b[31mred'"),
        (lambda: record("../../evil"), "record 1: an image that cannot be named: its id is '../../evil'"),
        (lambda: record(""), "record 1: an image that cannot be named: its id is ''"),
        (lambda: record(mask_png=encoded(mask_of().astype(np.uint16))), "expected a PNG with one channel of 8 bits"),
        (lambda: record(mask_png=encoded(np.stack([mask_of()] * 3, -1))), "expected a PNG with one channel of 8 bits"),
        (lambda: changed(record(), IMAGE, "bytes_list", [black_png(13000)]), "its file declares 13000x13000 pixels"),
        (lambda: changed(record(), MASK, "bytes_list", [black_png(13000)]), "its mask 13000x13000"),
        (lambda: changed(record(), IMAGE, "bytes_list", [black_png(9000)]), "but dataset.json says that no image"),
        (lambda: changed(record(), "image/object/bbox/ymin", "float_list", [np.nan, 0.5]), "box (nan"),
        (lambda: changed(record(), SECOND_MASK, "bytes_list", [encode_mask(mask_of(width=9))]), "its second mask 9x40"),
        (lambda: b"\xff" * 99, "record 1: no readable example"),
    ],
)
def test_damage_is_a_problem_and_the_rest_is_measured(tmp_path, capsys, damaged, expected):
    text = problems_of(tmp_path, capsys, record("first"), damaged(), record("last", 2))
    assert expected in text
    assert (tmp_path / "out/train.png").is_file() and len(list((tmp_path / "out").iterdir())) == 4


def test_masks_of_another_size_are_in_no_picture(tmp_path):
    info = data_set(tmp_path, record("good"), record("wrong", mask_png=encode_mask(mask_of(width=30))))
    inspection = inspect_split(info, "train")
    assert [candidate.number for candidate in inspection.candidates.choose([1, 2])] == [0]


def test_a_hostile_length_is_a_damaged_file(tmp_path, capsys):
    info = data_set(tmp_path / "data", record("a"), record("b", 1))
    path = tmp_path / "data/train.tfrecord"
    path.write_bytes(path.read_bytes() + b"\0\0\0\0\0\1\0\0" + b"x" * 50)
    assert run(f"--dataset={info.directory}", f"--output={tmp_path / 'out'}") == 1
    assert "damaged, or no TFRecord file; 2 of 2 records could be read" in capsys.readouterr().out
    write(path, record("a"))
