"""Annotations of exports, COCO's and labelme's, that are damaged or impossible: one line, and nothing is written."""

import shutil

import numpy as np
import pytest
from export_checks import line_of, masks_of
from export_trees import (
    COCO_BOX,
    EMPTY,
    HEIGHT,
    WIDTH,
    annotation,
    cvat_coco,
    cvat_masks,
    drawn,
    labelme,
    labelme_tree,
    mask_file,
    photo,
    png,
    rectangle,
    roboflow_coco,
    shape,
    studio_coco,
)
from PIL import Image

CVAT_JSON = "annotations/instances_default.json"
TRIANGLE = [[1, 1], [3, 1], [3, 3]]


def broken(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (broken, "broken or cut off JSON"),
        (lambda text: text.replace('"area": 4.0', '"area": NaN'), "broken or cut off JSON"),
        (lambda text: text.replace('"bbox": [1', '"bbox": [Infinity'), "broken or cut off JSON"),
        (lambda text: "", "broken or cut off JSON"),
        (lambda text: "[]", 'no list "categories" in it'),
    ],
)
def test_damaged_coco(edit, expected, exports):
    cvat_coco(exports.folder)
    path = exports.folder / CVAT_JSON
    path.write_text(edit(path.read_text()))
    line = line_of(exports)
    assert f"{path}: {expected}" in line and line.endswith("the export of the label tool")


def polygon(*numbers: float):
    return lambda content: content["annotations"][0].update(segmentation=[list(numbers)])


COCO_EDITS = {
    "two points": (polygon(1, 1, 2, 2), "annotation 1: a polygon of 4 numbers; expected x and y of three or more"),
    "outside": (polygon(50, 50, 60, 50, 60, 60), "annotation 1: a polygon around (50, 50), beside an image of 8x6"),
    "far": (polygon(1, 1, 1e30, 1, 3, 3), "annotation 1: a polygon with 1e+30; expected coordinates in pixels"),
    "no category": (lambda c: c["annotations"][0].update(category_id=9), 'no such "category_id" among its categories'),
    "no image": (lambda c: c["annotations"][0].update(image_id=9), 'no such "image_id" among its images'),
    "crowd": (lambda c: c["annotations"][0].update(iscrowd=3), "'iscrowd' is neither 0 nor 1"),
    "no photo": (lambda c: c["images"][0].update(file_name="A.jpg"), "Did you mean 'default/a.jpg'?"),
    "up": (lambda c: c["images"][0].update(file_name="../a.jpg"), "'../a.jpg' leads out of the export"),
    "root": (lambda c: c["images"][0].update(file_name="/a.jpg"), "'/a.jpg' leads out of the export"),
    "drive": (lambda c: c["images"][0].update(file_name="C:\\a.jpg"), "leads out of the export"),
    "id twice": (lambda c: c["images"][0].update(id=2), "two images of id 2: 'a.jpg', 'sub/b.jpg'"),
    "photo twice": (lambda c: c["images"][2].update(file_name="a.jpg"), "2 images of the photo"),
    "size": (lambda c: c["images"][0].update(width=9), "mask of 9x6 pixels for an image of 8x6"),
    "no size": (lambda c: c["images"][0].update(width=None), "'a.jpg' has no height and width"),
    "runs": (
        lambda c: c["annotations"][1]["segmentation"].update(counts=[3, 4]),
        "annotation 2: run lengths of 7 pixels for an image of 8x6",
    ),
    "only a box": (
        lambda c: c["annotations"][0].update(segmentation=[]),
        "1 of 2 annotations have no outline, such as",
    ),
    "case": (lambda c: c["categories"][1].update(name="Dog"), "the labels 'dog' and 'Dog' differ only in capital"),
    "same name": (lambda c: c["categories"][1].update(name="dog"), "two categories of id 2 or name 'dog'"),
    "no annotations": (lambda c: c.update(annotations=[]), "no annotations of any image"),
    "no images": (lambda c: c.update(images=[]), 'no list "images" in it, or an empty one'),
}


@pytest.mark.parametrize("name", COCO_EDITS)
def test_impossible_coco(name, exports):
    cvat_coco(exports.folder)
    edit, expected = COCO_EDITS[name]
    exports.edit(CVAT_JSON, edit)
    line = line_of(exports, "--val_fraction=0")
    assert expected in line and "instances_default.json" in line


def test_names_of_other_systems_and_a_crowd(exports):
    cvat_coco(exports.folder)
    exports.edit(CVAT_JSON, lambda content: content["images"][1].update(file_name="sub\\b.jpg"))
    exports.edit(CVAT_JSON, lambda content: content["annotations"][1].update(iscrowd=1))
    found = masks_of(exports.build("--val_fraction=0"), "train")
    np.testing.assert_array_equal(found["sub/b"], drawn(["#.......", "#.......", *EMPTY[2:]]))
    np.testing.assert_array_equal(found["a"], drawn(COCO_BOX))


def test_sides_that_exif_swaps(exports):
    studio_coco(exports.folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(exports.folder / "images/0a1b2c3d-my_photo.jpg", exif=exif)
    line = line_of(exports, "--val_fraction=0")
    assert "mask of 8x6 pixels for an image of 6x8; expected equal sizes; the photo is turned by EXIF 6" in line


def test_no_photo_is_one_line(exports):
    cvat_coco(exports.folder)
    photo(exports.root / "photos/other.jpg")
    line = line_of(exports, f"--images={exports.root / 'photos'}")
    assert "image 1: no photo 'a.jpg' in" in line and line.endswith("(none of 3 photos is there)")


def test_the_same_photo_in_two_splits(exports):
    roboflow_coco(exports.folder)
    shutil.copy(exports.folder / "train/a_jpg.rf.1f.jpg", exports.folder / "valid/a_jpg.rf.1f.jpg")
    exports.edit("valid/_annotations.coco.json", lambda c: c["images"][0].update(file_name="a_jpg.rf.1f.jpg"))
    (exports.folder / "valid/b_jpg.rf.2e.jpg").unlink()
    assert "valid/a_jpg.rf.1f.jpg: the same photo as " in line_of(exports)
    photo(exports.folder / "valid/a_jpg.rf.1f.jpg", seed=7)
    info = exports.build()
    assert set(masks_of(info, "train")) == {"train/a_jpg.rf.1f"} and "val/a_jpg.rf.1f" in masks_of(info, "val")


def test_category_that_is_the_background(exports):
    studio_coco(exports.folder)
    exports.edit("result.json", lambda content: content["categories"][0].update(name="Background"))
    exports.edit(
        "result.json", lambda content: content["annotations"].append(annotation(1, 1, 1, [rectangle(0, 0, 8, 6)]))
    )
    info = exports.build("--val_fraction=0")
    assert info.class_names == ("background", "Road sign")
    assert {id: mask.sum() for id, mask in masks_of(info, "train").items()} == {
        "0a1b2c3d-my_photo": 0,
        "0a1b2c3e-b": HEIGHT * WIDTH,
    }


LABELME_SHAPES = {
    "two points": (shape("cat", TRIANGLE[:2]), "shape 0 ('cat'): a polygon of 2 points; expected 3 or more"),
    "outside": (shape("cat", [[20, 20], [30, 20], [30, 30]]), "shape 0 ('cat'): covers no pixel of an image of 8x6"),
    "far": (shape("cat", [[1, 1], [1e9, 1], [3, 3]]), "a point [1000000000.0, 1]; expected pixels"),
    "endless": (shape("cat", [[1, 1], [10**400, 1], [3, 3]]), "expected pixels of an image of 8x6"),
    "text": (shape("cat", [[1, 1], ["2", 1], [3, 3]]), "a point ['2', 1]; expected x and y"),
    "kind": (shape("cat", TRIANGLE, "points"), "a shape of the kind 'points'; expected one of polygon, rectangle"),
    "rectangle": (shape("cat", TRIANGLE, "rectangle"), "a rectangle of 3 points; expected 2"),
    "no label": (shape("", TRIANGLE), "shape 0: the label ''; expected the name of a class"),
    "no mask": (shape("cat", [[1, 1], [2, 2]], "mask"), 'no "mask"; expected an image in base 64'),
    "mask": (
        shape("cat", [[1, 1], [5, 5]], "mask", mask=png(np.ones([2, 2], np.uint8))),
        "a mask of 2x2 pixels between (1, 1) and (5, 5); expected its size",
    ),
    "mask outside": (
        shape("cat", [[7, 5], [8, 6]], "mask", mask=png(np.ones([2, 2], np.uint8))),
        "a mask at (7, 5) of 2x2 leaves an image of 8x6",
    ),
}


@pytest.mark.parametrize("name", LABELME_SHAPES)
def test_impossible_shapes(name, exports):
    found, expected = LABELME_SHAPES[name]
    photo(exports.folder / "a.jpg")
    labelme(exports.folder / "a.json", [found], "a.jpg")
    line = line_of(exports)
    assert line.startswith(f"{exports.folder / 'a.json'}: ") and expected in line


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (broken, "broken or cut off JSON"),
        (lambda text: text.replace("[3, 3]", "[3, NaN]"), "broken or cut off JSON (NaN is no number)"),
        (lambda text: text.replace("[3, 3]", "[3, 1e999]"), "broken or cut off JSON (1e999 is no number)"),
        (lambda text: text.replace('"shapes"', '"forms"'), 'no list "shapes" in it'),
        (lambda text: text.replace('"a.jpg"', "7"), "imagePath is 7; expected the name of the photo"),
        (lambda text: text.replace("a.jpg", "ghost.jpg"), "imagePath: no photo 'ghost.jpg' in"),
        (lambda text: text.replace("a.jpg", "/etc/passwd"), "imagePath: no photo '/etc/passwd' in"),
        (lambda text: text.replace("a.jpg", "../../b.jpg"), "imagePath: no photo '../../b.jpg' in"),
        (lambda text: text.replace("8", "9"), "mask of 9x6 pixels for an image of 8x6"),
        (lambda text: text.replace("8", "-8"), "imageHeight 6 and imageWidth -8; expected the photo's pixels"),
    ],
)
def test_damaged_labelme(edit, expected, exports):
    photo(exports.folder / "a.jpg")
    path = exports.folder / "a.json"
    labelme(path, [shape("cat", TRIANGLE), shape("cat", TRIANGLE)], "a.jpg")
    path.write_text(edit(path.read_text()))
    line = line_of(exports)
    assert line.startswith(f"{path}: ") and expected in line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("%%%", 'broken "imageData"'),
        ("aGVsbG8=", "imageData: not an image"),
        (png(np.zeros([6, 8], np.uint8))[:60], "imageData"),
    ],
)
def test_broken_photo_in_a_file_of_labelme(data, expected, exports):
    labelme(exports.folder / "a.json", [shape("cat", TRIANGLE)], "a.jpg", imageData=data)
    assert expected in line_of(exports)


def test_labels_and_files_of_labelme_that_cannot_be_meant(exports):
    labelme_tree(exports.folder)
    labelme(exports.folder / "again.json", [shape("cat", TRIANGLE)], "a.jpg")
    assert "again.json: annotates the photo 'a', as " in line_of(exports)
    labelme(exports.folder / "again.json", [shape("Cat", TRIANGLE)], "c.jpg")
    line = line_of(exports)
    assert "a.json: the label 'cat', and 'Cat' in " in line and "again.json, differ only in capital letters" in line
    labelme(exports.folder / "again.json", [shape("bird", TRIANGLE)], "c.jpg")
    line = line_of(exports, "--class_names=background,cat,dog,birds")
    assert "again.json: the label 'bird' is none of --class_names" in line and "Did you mean 'birds'?" in line
    assert "the background is class 3; expected it first" in line_of(exports, "--class_names=bird,cat,dog,background")
    labelme(exports.folder / "again.json", [shape("cat", TRIANGLE)], "c.jpg")
    assert "expected 'background' first, since pixels that nobody" in line_of(exports, "--class_names=bird,cat,dog")


@pytest.mark.parametrize("tool", ["labelme", "cvat"])
def test_photos_that_exif_turns_are_annotated_upright(tool, exports):
    exif = Image.Exif()
    exif[0x0112] = 6
    if tool == "labelme":
        photo(exports.folder / "a.jpg", exif=exif)
        labelme(exports.folder / "a.json", [shape("cat", [[5, 7]], "point")], "a.jpg", imageHeight=8, imageWidth=6)
    else:
        cvat_masks(exports.folder)
        photo(exports.folder / "JPEGImages/a.jpg", exif=exif)
        colors = {0: (0, 0, 0), 1: (250, 50, 83)}
        mask_file(exports.folder / "SegmentationClass/a.png", [*["......"] * 7, ".....1"], colors)
    mask = masks_of(exports.build("--val_fraction=0"), "train")["a"]
    assert mask.shape == (8, 6) and mask[7, 5] == 1
