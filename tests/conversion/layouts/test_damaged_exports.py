"""Exports of label tools that are damaged, foreign or impossible: one line with file, what was found and what helps."""

import shutil
import zipfile

import pytest
from export_checks import line_of
from export_trees import EMPTY, TREES, cvat_coco, cvat_masks, mask_file, photo, roboflow_coco, roboflow_masks

# --- which folder it is


def test_an_archive_is_told(exports):
    with zipfile.ZipFile(exports.root / "task.zip", "w") as archive:
        archive.writestr("labelmap.txt", "")
    assert line_of(exports, folder=exports.root / "task.zip").endswith("a ZIP archive; unzip it and give the folder")
    assert "archives; unzip one and give its folder" in line_of(exports, folder=exports.root)
    assert "--export=nowhere: no such folder" in line_of(exports, folder="nowhere")


@pytest.mark.parametrize("kind", [kind for kind in TREES if kind != "labelme, JSON files"])
def test_the_folder_around_an_export_is_told(kind, exports):
    TREES[kind](exports.root / "around/export")
    line = line_of(exports, folder=exports.root / "around")
    assert line.endswith(f"one lies in it ({kind}), give --export={exports.root / 'around/export'}")


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("CVAT, Segmentation mask", "SegmentationClass"),
        ("CVAT, COCO 1.0", "annotations"),
        ("CVAT, COCO 1.0", "images"),
        ("labelme2voc", "JPEGImages"),
        ("Label Studio, COCO", "images"),
    ],
)
def test_a_folder_inside_of_an_export_is_told(kind, inside, exports):
    TREES[kind](exports.folder)
    line = line_of(exports, folder=exports.folder / inside)
    assert line.endswith(f"it lies in one ({kind}), give --export={exports.folder}")


@pytest.mark.parametrize("tree", [roboflow_coco, roboflow_masks])
def test_one_split_of_an_export_is_told(tree, exports):
    tree(exports.folder)
    line = line_of(exports, folder=exports.folder / "valid")
    assert "one split of an export (Roboflow" in line and line.endswith(f"--export={exports.folder}")


def test_two_exports_in_a_folder_are_told(exports):
    cvat_masks(exports.folder)
    cvat_coco(exports.folder)
    assert "files of two exports, CVAT, Segmentation mask and CVAT, COCO 1.0; unzip each" in line_of(exports)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("annotations.xml", "CVAT's XML; export 'Segmentation mask 1.1' or 'COCO 1.0'"),
        ("data.yaml", "YOLO; export COCO"),
        ("project-3-at-2026.json", "Label Studio's own JSON; export COCO"),
        ("a.xml", "PASCAL VOC's boxes"),
        ("a.jpg", "expected what one of these unzips to: CVAT, Segmentation mask; labelme2voc"),
    ],
)
def test_other_formats_are_told(file, expected, exports):
    exports.folder.mkdir()
    (exports.folder / file).write_text("[]")
    assert expected in line_of(exports)
    line = line_of(exports, script="build_coco")
    assert "none of the folders train2017, val2017, unlabeled2017 in it (what train2017.zip" in line
    assert "and no export of a label tool" in line and expected in line


def test_build_coco_names_the_converter_of_masks(exports):
    cvat_masks(exports.folder)
    assert line_of(exports, script="build_coco").endswith(f"convert it by build_folder.py --export={exports.folder}")


def test_flags_that_cannot_be_together(exports):
    cvat_masks(exports.folder)
    assert "--masks is given with --export" in line_of(exports, "--masks=masks")
    roboflow_masks(exports.root / "other")
    line = line_of(exports, "--val_fraction=0.5", folder=exports.root / "other")
    assert "the export has splits of its own, 'train', 'val'; leave out --train_list" in line
    line = line_of(exports, "--class_names=background,cat")
    assert "its class 'Bär' is none of --class_names; expected one of background, cat." in line


# --- CVAT's masks and Roboflow's


def test_masks_and_photos_that_do_not_fit(exports):
    cvat_masks(exports.folder)
    shutil.copy(exports.folder / "SegmentationClass/a.png", exports.folder / "SegmentationClass/x.png")
    (exports.folder / "SegmentationClass/x.png").rename(exports.folder / "SegmentationClass/a x.png")
    assert "SegmentationClass/a x.png: a mask without a photo in" in line_of(exports)
    photo(exports.folder / "JPEGImages/a x.jpg")
    assert "a x.png: in no list of" in line_of(exports)
    (exports.folder / "SegmentationClass/a x.png").unlink()
    photo(exports.folder / "JPEGImages/a.png")
    assert "a.png: duplicate id 'a', beside a.jpg; rename one of them" in line_of(exports)


def test_lists_that_name_what_is_not_there(exports):
    cvat_masks(exports.folder)
    path = exports.folder / "ImageSets/Segmentation/default.txt"
    path.write_text("a\nmy photos\\b\nc\nghost\n")
    assert f"{path}: 'ghost' is no photo in" in line_of(exports)
    path.write_text("a\nmy photos/b\nc\na\n")
    assert f"{path}:4: 'a' is listed twice" in line_of(exports)


def test_colours_and_sizes_of_masks(exports):
    cvat_masks(exports.folder)
    path = exports.folder / "SegmentationClass/a.png"
    mask_file(path, EMPTY, {0: (9, 9, 9)})
    assert "colours of the mask are not in the colour map, such as (9, 9, 9)" in line_of(exports)
    mask_file(path, [row + "." for row in EMPTY], {0: (0, 0, 0)})
    assert "a.png: mask of 9x6 pixels for an image of 8x6; expected equal sizes" in line_of(exports)


def test_an_export_without_photos(exports):
    cvat_masks(exports.folder)
    shutil.rmtree(exports.folder / "JPEGImages")
    assert "of annotations only; export it with the images, or give --images=" in line_of(exports)
    (exports.folder / "labelmap.txt").unlink()
    assert "labelmap.txt: missing, so the classes are unknown; export again, or give --class_names" in line_of(exports)


def test_classes_that_differ_in_case(exports):
    cvat_masks(exports.folder)
    path = exports.folder / "labelmap.txt"
    path.write_text("background:0,0,0::\ncat:250,50,83::\nCat:51,221,255::\n")
    assert f"{path}: the labels 'cat' and 'Cat' differ only in capital letters or blanks" in line_of(exports)


def test_classes_that_differ_in_case_in_two_splits(exports):
    roboflow_masks(exports.folder)
    (exports.folder / "valid/_classes.csv").write_text("Pixel Value, Class\n0, background\n1, Cat\n2, dog\n")
    assert f"{exports.folder}: the labels 'cat' and 'Cat' differ only in capital" in line_of(exports)


def test_roboflow_mask_with_a_value_that_is_no_class(exports):
    roboflow_masks(exports.folder)
    mask_file(exports.folder / "valid/valid_jpg.rf.9_mask.png", ["7.......", *EMPTY[1:]])
    assert "valid_jpg.rf.9_mask.png: label value 7 (1 pixels), expected classes 0 .. 2" in line_of(exports)
    (exports.folder / "valid/valid_jpg.rf.9.jpg").unlink()
    assert "valid_jpg.rf.9_mask.png: a mask without a photo beside it" in line_of(exports)
