"""The devkit of PASCAL VOC with its boxes, and SBD beside it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wss.conversion.layouts.voc import Devkit, SbdMask, read_boxes
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.record_files import split_records
from wss.data.splits import checksum
from wss.errors import UserError

HEIGHT, WIDTH = 6, 8
XML = """<annotation><folder>VOC2012</folder><filename>{id}.jpg</filename>
<size><width>8</width><height>6</height><depth>3</depth></size><segmented>1</segmented>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin>{ymin}</ymin></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


def obj(name: str, xmin, ymin, xmax, ymax, difficult: int = 0) -> str:
    return OBJECT.format(name=name, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, difficult=difficult)


def save_mat(path: Path, mask: np.ndarray) -> None:
    """As SBD's files are: a struct GTcls with boundaries, segmentation and the classes that are present."""
    present = np.setdiff1d(mask, [0]).reshape(-1, 1)
    savemat(path, {"GTcls": {"Boundaries": np.zeros(20), "Segmentation": mask, "CategoriesPresent": present}})


def mat(segmentation) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"GTcls": {"Segmentation": segmentation}})
    return buffer.getvalue()


@pytest.fixture
def trees(tmp_path) -> tuple[Path, Path]:
    """Devkit: a (train), v (val); masks for both. SBD: a, s (train) and v, t (val); images s only there."""
    root, sbd = tmp_path / "VOCdevkit/VOC2012", tmp_path / "benchmark_RELEASE/dataset"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (root / folder).mkdir(parents=True)
    for folder in ("cls", "img"):
        (sbd / folder).mkdir(parents=True)
    for number, id in enumerate("avts"):
        photo = np.random.default_rng(number).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8)
        Image.fromarray(photo).save((sbd / "img" if id == "s" else root / "JPEGImages") / f"{id}.jpg")
        save_mat(sbd / f"cls/{id}.mat", np.full([HEIGHT, WIDTH], 10 + number, np.uint8))
    for id in "av":
        Image.fromarray(np.full([HEIGHT, WIDTH], 15, np.uint8)).save(root / f"SegmentationClass/{id}.png")
    for id, objects in {
        "a": obj("person", 2, 1, 8, 6) + obj("cat", 1, 1, 1, 1, 1),
        "v": obj("person", 1, 1, 8, 6),
        "t": "",
    }.items():
        (root / f"Annotations/{id}.xml").write_text(XML.format(id=id, objects=objects))
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("v\n")
    (sbd / "train.txt").write_text("a\ns\n")
    (sbd / "val.txt").write_text("v\nt\n")
    return root, sbd


def examples_of(directory, split: str) -> dict[str, tuple[dict, dict]]:
    info = DatasetInfo.load(directory)
    pairs = ((parse_example(r, 21), parse_boxes(r)) for r in split_records(info, split))
    return {example["name"].numpy().decode(): (example, boxes) for example, boxes in pairs}


def build(run_script, tmp_path, trees, *flags) -> Path:
    root, sbd = trees
    output = tmp_path / "out"
    run_script(
        "build_voc2012", f"--voc_root={root.parents[1]}", f"--sbd_root={sbd.parent}", f"--output_dir={output}", *flags
    )
    return output


def test_train_aug_is_made_of_both_and_has_no_image_of_val(trees, tmp_path, run_script):
    output = build(run_script, tmp_path, trees)
    info = DatasetInfo.load(output)
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 1, "train_aug": 3, "val": 1}
    assert info.split("train_aug").checksum == checksum("ast")
    assert {file.split("-")[0] for file in info.split("train_aug").shards} == {"images"}
    assert {file.split("-")[0] for file in info.split("val").shards} == {"val"}


def test_official_masks_win_over_those_of_sbd(trees, tmp_path, run_script):
    examples = examples_of(build(run_script, tmp_path, trees), "train_aug")
    for id, label in {"a": 15, "t": 12, "s": 13}.items():
        np.testing.assert_array_equal(examples[id][0]["label"], np.full([HEIGHT, WIDTH, 1], label))


def test_boxes_and_classes_of_the_annotations_are_stored(trees, tmp_path, run_script):
    examples = examples_of(build(run_script, tmp_path, trees), "train_aug")
    example, boxes = examples["a"]
    # Pixels 2 .. 8 of 8 and 1 .. 6 of 6, counted from 1 and inclusive; the one pixel in the corner.
    np.testing.assert_allclose(boxes["boxes"], [[0, 1 / 8, 1, 1], [0, 0, 1 / 6, 1 / 8]], rtol=1e-6)
    assert boxes["label"].numpy().tolist() == [15, 8] and boxes["is_difficult"].numpy().tolist() == [False, True]
    assert example["has_image_label"] and np.flatnonzero(example["image_label"]).tolist() == [7, 14]
    # t is annotated and has no object; s is not of the devkit.
    assert examples["t"][1]["known"] and examples["t"][1]["boxes"].shape == (0, 4)
    assert not examples["s"][1]["known"] and not examples["s"][0]["has_image_label"]


def test_kept_classes_are_renumbered_in_boxes_and_image_labels(trees, tmp_path, run_script):
    output = build(run_script, tmp_path, trees, "--classes=0,15")
    (record,) = split_records(DatasetInfo.load(output), "train")
    assert parse_boxes(record)["label"].numpy().tolist() == [1]
    assert parse_example(record, 2)["image_label"].numpy().tolist() == [1]


def test_a_mask_of_sbd_by_hand(tmp_path):
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 21
    save_mat(tmp_path / "x.mat", mask)
    np.testing.assert_array_equal(SbdMask(str(tmp_path / "x.mat")).read(), mask)


def test_boxes_by_hand(tmp_path):
    (tmp_path / "x.xml").write_text(XML.format(id="x", objects=obj("sheep", 3, 2, "5.7", 4)))
    (box,) = read_boxes(tmp_path / "x.xml")
    assert (box.label, box.ymin, box.xmin, box.ymax, box.xmax) == (17, 1, 2, 4, 5.7)


BAD = {
    "no .mat": ("cls/t.mat", b"nothing", "t.mat: no mask of SBD"),
    "empty .mat": ("cls/t.mat", b"", "t.mat: empty file"),
    "missing .mat": ("cls/t.mat", None, "t.jpg: no mask for it, though list 'train_aug' has it; give --sbd_root"),
    "broken XML": ("Annotations/a.xml", b"<annotation><object>", "a.xml: no annotation of PASCAL VOC"),
    "unknown class": (
        "Annotations/a.xml",
        obj("camel", 1, 1, 2, 2).encode(),
        "a.xml: no annotation of PASCAL VOC (class 'camel')",
    ),
    "unknown encoding": ("Annotations/a.xml", b"<?xml version='1.0' encoding='klingon'?><a/>", "a.xml: no annotation"),
    ".mat of a text": ("cls/t.mat", mat("text"), "t.mat: "),
    "no box": ("Annotations/a.xml", b"<object><name>cat</name></object>", "a.xml: no annotation of PASCAL VOC"),
    "box outside": (
        "Annotations/a.xml",
        obj("cat", 1, 1, 9, 6).encode(),
        "a.jpg: box (0, 0) to (9, 6) in an image of 8x6",
    ),
    "empty box": ("Annotations/a.xml", obj("cat", 5, 1, 4, 6).encode(), "a.jpg: box (4, 0) to (4, 6)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_the_file(case, trees, tmp_path, run_script):
    file, content, expected = BAD[case]
    path = (trees[1] if file.startswith("cls") else trees[0]) / file
    path.unlink()
    if content is not None:
        wrap = content.startswith(b"<object>")
        path.write_bytes(b"<annotation>" + content + b"</annotation>" if wrap else content)
    with pytest.raises(UserError) as error:
        build(run_script, tmp_path, trees)
    head, *lines = str(error.value).split("\n")
    assert head == "nothing was written, 1 problem:" and len(lines) == 1 and expected in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_mask_of_sbd_of_another_shape_is_named(tmp_path):
    savemat(tmp_path / "x.mat", {"GTcls": {"Segmentation": np.zeros(5)}})
    with pytest.raises(UserError, match=r"x.mat: float64 of shape \(5,\), expected class ids"):
        SbdMask(str(tmp_path / "x.mat")).read()


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 271), ("uint16", 256), ("int16", -1)])
def test_values_of_sbd_that_are_no_class_do_not_wrap(dtype, value, tmp_path):
    savemat(tmp_path / "x.mat", {"GTcls": {"Segmentation": np.full([2, 3], value, dtype)}})
    with pytest.raises(UserError, match=f"x.mat: label value {value} "):
        SbdMask(str(tmp_path / "x.mat")).read()


def test_test_images_need_neither_masks_nor_annotations(trees, tmp_path, run_script):
    root, _ = trees
    Image.fromarray(np.zeros([HEIGHT, WIDTH, 3], np.uint8)).save(root / "JPEGImages/x.jpg")
    (root / "ImageSets/Segmentation/test.txt").write_text("x\n")
    output = build(run_script, tmp_path, trees, "--unlabeled_splits=test")
    split = DatasetInfo.load(output).split("test")
    assert (split.num_examples, split.num_masks, split.num_with_boxes) == (1, 0, 0)


@pytest.mark.parametrize(
    ("flag", "expected"), [("voc_root", "VOCtrainval_11-May-2012.tar"), ("sbd_root", "benchmark.tgz")]
)
def test_what_is_missing_and_where_to_get_it(flag, expected, trees, tmp_path):
    roots = {"voc_root": trees[0], "sbd_root": trees[1], flag: tmp_path / "nowhere"}
    with pytest.raises(UserError, match=f"--{flag}=.*nowhere: no folder .*{expected}"):
        Devkit.find(roots["voc_root"], roots["sbd_root"])
