"""The page of an inspection; that of pseudo labels is in tests/pseudo_labels/test_label.py."""

import json
import shutil

import inspection_tool
import numpy as np
import pytest
from pages import Page

from wss.data.dataset_info import DatasetInfo
from wss.pages import dataset_report, document

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def data_dir(tiny_shapes, tmp_path):
    """The embedded data set with a class of a hostile name."""
    folder = shutil.copytree(tiny_shapes, tmp_path / "data")
    content = json.loads((folder / "dataset.json").read_text())
    content["class_names"][1] = HOSTILE
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_an_inspection_has_a_page(data_dir, tmp_path, capsys):
    flags = ["--splits=train,val"]  # the smallest of training have too few images for all classes
    assert inspection_tool.run(f"--dataset={data_dir}", f"--output={tmp_path / 'out'}", *flags) == 0
    page = Page(tmp_path / "out/report.html")
    page.check_that_it_stands_alone()
    assert HOSTILE in page.text
    assert page.tags.count("img") == 2  # a sheet for each split
    for row in ("train32", "val6"):  # name and number of photos
        assert row in "".join(page.text.split())


def test_problems_of_an_inspection_stand_out(data_dir, tmp_path, capsys):
    content = json.loads((data_dir / "dataset.json").read_text())
    content["class_names"].append("nowhere")
    content["colors"].append([1, 2, 3])
    (data_dir / "dataset.json").write_text(json.dumps(content))
    assert inspection_tool.run(f"--dataset={data_dir}", f"--output={tmp_path / 'out'}") == 1
    page = Page(tmp_path / "out/report.html")
    assert "problem: train" in page.text and '<li class="warning">problem' in page.source


def test_an_inspection_without_the_extra_has_no_page(data_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(document, "has_pages", lambda: False)
    assert inspection_tool.run(f"--dataset={data_dir}", f"--output={tmp_path / 'out'}", "--splits=val") == 0
    assert (tmp_path / "out/report.txt").exists() and not (tmp_path / "out/report.html").exists()


def test_many_splits_stay_small(data_dir, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, [1400, 1800, 3]).astype(np.uint8)
    path = tmp_path / "page.html"
    sheets = {f"split {number}": noise for number in range(30)}
    info = DatasetInfo.load(data_dir)
    dataset_report.write_inspection_page(path, info, {}, findings=[], sheets=sheets, command="inspect")
    assert path.stat().st_size < 5e6
