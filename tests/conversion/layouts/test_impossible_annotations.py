"""Annotations that parse but cannot be meant, and such that somebody made to do harm: one line, and nothing is written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from mask_files import MASK, TRUTH, palette_mask, photo
from PIL import Image

from wss.conversion.layouts.coco import FILES
from wss.conversion.layouts.coco_segmentations import uncompressed_runs
from wss.conversion.layouts.voc import read_annotation
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import voc_colors
from wss.data.record_index import read_index
from wss.errors import UserError

WHOLE, PART = [0, 0, 15, 0, 15, 40, 0, 40], [0, 0, 5, 0, 5, 40, 0, 40]
TINY = [[3, 3, 3.1, 3, 3.1, 3.1]]


def annotation(id: int, image: int, category: int, polygon: list) -> dict:
    return {
        "id": id, "image_id": image, "category_id": category, "bbox": [0, 0, 15, 40], "iscrowd": 0, "segmentation": polygon
    }  # fmt: skip


class Coco:
    """Two photos of 40 x 60 with an object each, for edits of their JSON."""

    def __init__(self, root: Path, run_script):
        self.root, self._run = root, run_script
        (root / "annotations").mkdir(parents=True)
        (root / "train2017").mkdir()
        for id in (1, 2):
            photo(id).save(root / f"train2017/{id}.jpg")
        self.content = {
            "images": [{"id": id, "file_name": f"{id}.jpg", "height": 40, "width": 60} for id in (1, 2)],
            "annotations": [annotation(1, 1, 1, [WHOLE]), annotation(2, 2, 2, [PART])],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }

    def build(self, edit=lambda text: text) -> dict[int, int]:
        """Converts what `edit` makes of the JSON; returns the pixels of each class."""
        text = edit(json.dumps(self.content))
        (self.root / FILES["train2017"]).write_bytes(text if isinstance(text, bytes) else text.encode())
        output = self.root.parent / "out"
        self._run("build_coco", f"--coco_root={self.root}", f"--output_dir={output}", "--overwrite")
        found: dict[int, int] = {}
        for path in output.glob("*.tfrecord"):
            for entry in read_index(path):
                found = {k: found.get(k, 0) + (entry.pixels or {}).get(k, 0) for k in {*found, *(entry.pixels or {})}}
        return found


@pytest.fixture
def coco(tmp_path, run_script) -> Coco:
    return Coco(tmp_path / "coco", run_script)


def line_of(coco: Coco, edit=lambda text: text) -> str:
    with pytest.raises(UserError) as error:
        coco.build(edit)
    *_, line = str(error.value).split("\n")
    assert len(str(error.value).split("\n")) <= 2 and line.isprintable()
    assert not (coco.root.parent / "out").exists()
    return line


def test_a_byte_order_mark_of_coco_is_read(coco):
    assert coco.build(lambda text: b"\xef\xbb\xbf" + text.encode()) == {0: 4000, 1: 600, 2: 200}


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "2 categories of id 1; expected one"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "2 categories of name 'a'; expected one"),
        ([{"id": 1, "name": "a\x1b[0m"}, {"id": 2, "name": "b"}], "can be no name of a category"),
        ([{"id": 1, "name": "background"}, {"id": 2, "name": "b"}], "'background' can be no name of a category"),
        ([{"id": True, "name": "a"}], "'id' is missing or wrong"),
    ],
)
def test_categories_that_cannot_be_meant(categories, expected, coco):
    coco.content["categories"] = categories
    assert expected in line_of(coco)


@pytest.mark.parametrize(
    "name", ["../1.jpg", "/etc/passwd", "a\0.jpg", "", ".", "..\\1.jpg", "C:\\1.jpg", "a/../../b.jpg"]
)
def test_names_never_leave_the_folder(name, coco):
    coco.content["images"][0]["file_name"] = name
    assert "can be no file of an image; expected a path in the folder of the images" in line_of(coco)


def test_outlines_in_parts_of_the_size_are_told(coco):
    for item in coco.content["annotations"]:
        item["segmentation"] = [[0.1, 0.1, 0.5, 0.1, 0.5, 1.0]]
    assert "all coordinates are <= 1: normalised? expected pixels" in line_of(coco)
    coco.content["annotations"][1]["segmentation"] = [WHOLE]
    for item in coco.content["annotations"]:
        item["bbox"] = [0.1, 0.1, 0.5, 1]
    assert "all numbers of the boxes are <= 1: normalised?" in line_of(coco)


def test_annotations_without_a_pixel_are_counted(coco, capsys):
    coco.content["annotations"].append(annotation(3, 1, 1, TINY))
    assert coco.build() == {0: 4000, 1: 600, 2: 200}
    assert "1 of 3 annotations cover no pixel, such as annotation 3 of " in capsys.readouterr().out


def test_most_annotations_without_a_pixel_are_a_problem(coco):
    coco.content["annotations"] += [annotation(3 + id, 1, 1, TINY) for id in range(5)]
    assert "5 of 7 annotations cover no pixel, such as" in line_of(coco)


def test_an_annotation_that_is_there_twice(coco):
    coco.content["annotations"].append(coco.content["annotations"][0])
    assert "1.jpg: annotation 1 is there twice" in line_of(coco)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda text: text.replace('"segmentation": [[', '"segmentation": ' + "[" * 200_000 + "[[", 1),
            "nested too deeply",
        ),
        (lambda text: text.replace(str([WHOLE]), "[" * 60_000 + "]" * 60_000), "nested too deeply"),
        (lambda text: text.replace(str([WHOLE]), "[" * 5_000 + "]" * 5_000), "is nested too deeply"),
        (lambda text: text.replace('"bbox": [0', '"bbox": [NaN', 1), "broken or cut off JSON"),
        (lambda text: text.replace('"bbox": [0', '"bbox": [1e999', 1), "broken or cut off JSON"),
        (lambda text: text.replace('"bbox": [0', '"bbox": [1e300', 1), "'bbox' is not [x, y, width, height]"),
        (lambda text: text.replace('"bbox": [0', '"bbox": [true', 1), "'bbox' is not [x, y, width, height]"),
        (lambda text: text.replace('"id": 1,', '"id": 1' + "0" * 400 + ","), "broken or cut off JSON"),
        (lambda text: "[]", 'no list "categories" in it'),
    ],
    ids=["deep", "deep and closed", "less deep", "NaN", "1e999", "1e300", "true", "integer", "list"],
)
def test_json_that_does_harm(edit, expected, coco):
    assert expected in line_of(coco, edit)


def test_brackets_in_texts_are_not_nested(coco):
    coco.content["info"] = {"description": "[" * 20_000}
    assert coco.build() == {0: 4000, 1: 600, 2: 200}


@pytest.mark.parametrize("size", [(-40, 60), (30_000, 30_000), (60, 40)])
def test_sizes_that_the_photo_has_not(size, coco):
    coco.content["images"][0]["height"], coco.content["images"][0]["width"] = size
    assert "1.jpg: " in line_of(coco) and "expected" in line_of(coco)


def test_run_lengths_without_end():
    with pytest.raises(ValueError, match="a number that no image has"):
        uncompressed_runs("o" * 1_000_000)


XML = "<annotation><size><width>{}</width><height>{}</height></size><object><name>cat</name><bndbox><xmin>1</xmin>\
<ymin>1</ymin><xmax>15</xmax><ymax>40</ymax></bndbox></object></annotation>"


@pytest.fixture
def voc(tmp_path, run_script):
    """Returns build(): converts a devkit of the image "a", which is changed before."""
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (root / folder).mkdir(parents=True)
    photo().save(root / "JPEGImages/a.jpg")
    palette_mask(MASK, voc_colors()).save(root / "SegmentationClass/a.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")

    def build() -> dict[int, int]:
        run_script("build_voc2012", f"--voc_root={root}", f"--output_dir={tmp_path / 'out'}")
        (shard,) = DatasetInfo.load(tmp_path / "out").files("train")
        (entry,) = read_index(epath.Path(shard))
        return entry.pixels or {}

    build.root = root
    return build


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa\r\n", b"a", b"/JPEGImages/a.jpg /SegmentationClass/a.png\r\n"])
def test_lists_of_any_editor_are_read(content, voc):
    (voc.root / "ImageSets/Segmentation/train.txt").write_bytes(content)
    (voc.root / "ImageSets/Segmentation/._train.txt").write_bytes(b"\0\5\x16\7")
    assert voc() == TRUTH


def test_lists_in_the_other_form_of_unicode_are_read(voc):
    for path in (voc.root / "JPEGImages/a.jpg", voc.root / "SegmentationClass/a.png"):
        os.rename(path, path.with_stem("e\u0301"))
    (voc.root / "ImageSets/Segmentation/train.txt").write_text("\u00e9\n")
    assert voc() == TRUTH


@pytest.mark.parametrize("line", ["../../etc/passwd", "/JPEGImages/a.jpg /../../a.png", "a\x1b[0m", "a\\b"])
def test_lists_never_leave_the_folder(line, voc):
    (voc.root / "ImageSets/Segmentation/train.txt").write_text(f"a\n{line}\n")
    with pytest.raises(UserError, match="train.txt:2: .* can be no image; expected an id, or paths in") as error:
        voc()
    assert str(error.value).isprintable()


def test_a_permuted_palette_of_voc_is_refused(voc):
    permuted = voc_colors().copy()
    permuted[[0, 2]] = permuted[[2, 0]]
    palette_mask(np.array([2, 1, 0], np.uint8)[MASK], permuted).save(voc.root / "SegmentationClass/a.png")
    with pytest.raises(UserError, match=r"a.png: its palette has the colour \(0, 128, 0\) as 0, expected \(0, 0, 0\)"):
        voc()


def test_grey_masks_of_voc_have_the_ids(voc):
    Image.fromarray(MASK).save(voc.root / "SegmentationClass/a.png")
    assert voc() == TRUTH


@pytest.mark.parametrize("size", [(60, 40), (0, 0), ("60.0", "40.0")])
def test_boxes_of_the_size_of_the_photo_are_read(size, voc):
    (voc.root / "Annotations/a.xml").write_text(XML.format(*size))
    assert voc() == TRUTH


def test_boxes_of_an_image_of_another_size_are_told(voc):
    (voc.root / "Annotations/a.xml").write_text(XML.format(600, 400))
    with pytest.raises(UserError, match="a.jpg: an image of 60x40 pixels, whose boxes are of one of 600x400"):
        voc()


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE a [<!ENTITY a "aaaa">]><annotation>&a;</annotation>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
        b"<annotation><size><width>x</width></size></annotation>",
        b"<annotation><size><width>1e999</width></size></annotation>",
    ],
)
def test_xml_that_does_harm(content, tmp_path):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UserError, match="a.xml: no annotation of PASCAL VOC .*; expected objects with name and bndbox"):
        read_annotation(tmp_path / "a.xml")
