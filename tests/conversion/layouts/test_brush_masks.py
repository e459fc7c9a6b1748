"""Label Studio's brush labels as files: masks by hand, and what cannot be meant."""

import json
import os
import pickle

import numpy as np
import pytest
from export_checks import check, line_of
from export_trees import EMPTY, mask_file, studio_brush, write_json
from PIL import Image

from wss.conversion.layouts.exports.brush_masks import BrushMask
from wss.conversion.sources import ListShard, Source


@pytest.mark.parametrize("classes", ["", "--class_names=background,Road-sign,Car"])
def test_studio_brush(exports, classes):
    photos, tasks = studio_brush(exports.root)
    flags = ["--val_fraction=0", f"--images={photos}", f"--tasks={tasks}", *filter(None, [classes])]
    info = exports.build(*flags, folder=exports.root / "brush")
    rows = ["1.......", *EMPTY[1:3], *["11111111"] * 2, "21111111"]
    if classes:
        rows = [row.translate(str.maketrans("12", "21")) for row in rows]
    assert set(info.class_names) == {"background", "Car", "Road-sign"}
    check(info, "train", {"my photo": rows})
    check(info, "unlabeled", {"b": None})


def test_studio_brush_of_arrays_and_the_short_list_of_tasks(exports):
    photos, tasks = studio_brush(exports.root)
    for path in (exports.root / "brush").iterdir():
        np.save(path.with_suffix(""), np.asarray(Image.open(path)))
        path.unlink()
    write_json(
        tasks, [{"id": 12, "image": "s3://bucket/my%20photo.jpg", "tag": [], "annotator": 1, "created_at": "2026"}]
    )
    info = exports.build("--val_fraction=0", f"--images={photos}", f"--tasks={tasks}", folder=exports.root / "brush")
    assert info.class_names == ("background", "Car", "Road-sign")
    check(info, "train", {"my photo": ["1.......", *EMPTY[1:3], *["11111111"] * 2, "21111111"]})


def test_brush_masks_that_cannot_be_meant(exports):
    photos, tasks = studio_brush(exports.root)
    folder = exports.root / "brush"
    flags = [f"--images={photos}", f"--tasks={tasks}"]
    build = lambda *more: line_of(exports, *more, folder=folder)
    assert "name tasks, not photos; give --tasks=<the export JSON or JSON-MIN" in build(flags[0])
    name = "task-{}-annotation-{}-by-1-tag-Car-5.png"
    extra = folder / name.format(99, 1)
    mask_file(extra, EMPTY)
    assert f"{extra}: no task 99 in {tasks}; expected the same project" in build(*flags)
    extra = extra.rename(folder / name.format(12, 8))
    assert "task 12 has masks of the annotations 7 and 8; expected one annotation" in build(*flags)
    extra = extra.rename(folder / name.format(12, 7))
    mask_file(extra, [row + "." for row in EMPTY])
    assert "9x6 pixels, but " in build(*flags)
    extra.write_bytes(b"\x89PNG")
    assert str(extra) in build(*flags)
    extra.unlink()
    (photos / "b.jpg").rename(photos / "B.jpg")
    assert "task 13: no photo 'photos\\\\b.jpg' in" in build(*flags)
    tasks.write_text(json.dumps([{"id": 12}]))
    assert "task 12: names no photo in" in build(*flags)
    tasks.write_text('[{"id": 12}, {"id": 12}]')
    assert "two tasks 12; expected Label Studio's JSON or JSON-MIN" in build(*flags)
    tasks.write_text('[{"name": 12}]')
    assert 'no id of a task in {"name": 12}; expected' in build(*flags)
    tasks.write_text('{"id": 12}')
    assert "no list of tasks; expected Label Studio's JSON or JSON-MIN" in build(*flags)
    tasks.write_text('[{"id": ')
    assert "broken or cut off JSON" in build(*flags)


def test_a_killed_conversion_keeps_nothing_of_a_changed_region(exports):
    studio_brush(exports.root)
    files = sorted((exports.root / "brush").iterdir())
    shard = ListShard([Source("a", b"", BrushMask(str(files[0]), tuple((1, str(path)) for path in files)))])
    before = shard.fingerprint()
    assert pickle.loads(pickle.dumps(shard)).fingerprint() == before
    os.utime(files[2], (1, 1))
    assert shard.fingerprint() != before
