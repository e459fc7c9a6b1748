"""Cityscapes: label ids and polygons by hand, which pools there are, and every bad input that the converter names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.conversion.layouts.cityscapes import CLASSES, COLORS, PolygonMask
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_files import split_records
from wss.errors import UserError

HEIGHT, WIDTH = 8, 16
AACHEN = "aachen_000005_000019"
MUNSTER = "munster_000001_000019"

# Label id -> class, of all label ids; all others are to be ignored.
CLASS_OF = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip

# Drawn one over the other; both ends of an edge belong to it.
OBJECTS = [
    ("out of roi", [(0, 0), (15, 0), (15, 0), (0, 0)]),
    ("road", [(0, 1), (15, 1), (15, 6), (0, 6)]),
    ("building", [(2, 2), (9, 2), (9, 6), (2, 6)]),
    ("sky", [(4, 3), (7, 3), (7, 5), (4, 5)]),
    ("vegetation", [(0, 1), (3, 1), (0, 4)]),
    ("cargroup", [(12, 2), (14, 2), (14, 4), (12, 4)]),
    ("license plate", [(12, 3), (14, 3), (14, 4), (12, 4)]),
    ("polegroup", [(11, 6), (13, 6)]),
    ("person", [(-3, 5), (0, 5), (0, 9), (-3, 9)]),
]
DRAWN = """
oooooooooooooooo
vvvvrrrrrrrrrrrr
vvvbbbbbbbrrcccr
vvbbssssbbrrcccr
vrbbssssbbrrcccr
hrbbssssbbrrrrrr
hrbbbbbbbbrppprr
h...............
"""
LABEL_IDS = {"o": 3, "v": 21, "r": 7, "b": 11, "c": 26, "s": 23, "h": 24, "p": 18, ".": 0}
DRAWN_CLASSES = {"o": 255, "v": 8, "r": 0, "b": 2, "c": 13, "s": 10, "h": 11, "p": 255, ".": 255}


def decode(text: str, values: dict[str, int]) -> np.ndarray:
    return np.array([[values[letter] for letter in row] for row in text.split()], np.uint8)


def write_image(root: Path, split: str, id: str) -> None:
    path = root / "leftImg8bit" / split / id.split("_")[0] / f"{id}_leftImg8bit.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(id.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8)).save(path)


def truth_path(root: Path, split: str, id: str, kind: str, ending: str) -> Path:
    path = root / kind / split / id.split("_")[0] / f"{id}_{kind}_{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_label_ids(root: Path, split: str, id: str, values: np.ndarray | int, kind: str = "gtFine") -> None:
    mask = np.broadcast_to(np.uint8(values), [HEIGHT, WIDTH])
    Image.fromarray(mask).save(truth_path(root, split, id, kind, "labelIds.png"))


def write_polygons(path: Path, objects: list, width: int = WIDTH) -> None:
    items = [{"label": label, "polygon": polygon, "deleted": 0} for label, polygon in objects]
    items.append({"label": "truck", "polygon": [(0, 0), (15, 0), (15, 7), (0, 7)], "deleted": 1})
    path.write_text(json.dumps({"imgHeight": HEIGHT, "imgWidth": width, "objects": items}))


@pytest.fixture
def city(tmp_path) -> Path:
    """One or two images in train (with gtCoarse too), val (polygons only), test and train_extra."""
    root = tmp_path / "cityscapes"
    for split, id in (("train", AACHEN), ("train", "ulm_000000_000019"), ("val", MUNSTER)):
        write_image(root, split, id)
        write_polygons(truth_path(root, split, id, "gtFine", "polygons.json"), OBJECTS)
        write_label_ids(root, split, id, 33, "gtCoarse")
    write_label_ids(root, "train", AACHEN, 26)
    write_label_ids(root, "train", "ulm_000000_000019", 8)
    write_image(root, "test", "berlin_000000_000019")
    write_label_ids(root, "test", "berlin_000000_000019", 7)
    write_image(root, "train_extra", "bayreuth_000000_000100")
    write_polygons(truth_path(root, "train_extra", "bayreuth_000000_000100", "gtCoarse", "polygons.json"), OBJECTS)
    return root


@pytest.fixture
def build(city, tmp_path, run_script):
    """Converts the tree with further flags and returns split -> id -> parsed example."""

    def run(*flags: str) -> dict[str, dict[str, dict]]:
        run_script("build_cityscapes", f"--cityscapes_root={city}", f"--output_dir={tmp_path / 'out'}", *flags)
        info = DatasetInfo.load(tmp_path / "out")
        examples: dict[str, dict[str, dict]] = {}
        for split in info.splits:
            parsed = [
                parse_example(record, info.num_classes, info.has_background) for record in split_records(info, split)
            ]
            examples[split] = {example["name"].numpy().decode(): example for example in parsed}
        return examples

    return run


def test_polygons_lie_over_those_before(tmp_path):
    path = tmp_path / "x_gtFine_polygons.json"
    write_polygons(path, OBJECTS)
    mask = PolygonMask(str(path)).read()
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, decode(DRAWN, LABEL_IDS))


def test_each_label_id_becomes_its_class_or_is_ignored(city, build):
    stored = np.resize(np.array([*range(34), 255], np.uint8), [HEIGHT, WIDTH])
    write_label_ids(city, "train", AACHEN, stored)
    label = build("--splits=train_fine")["train_fine"][AACHEN]["label"][..., 0]
    expected = [[CLASS_OF.get(int(value), 255) for value in row] for row in stored]
    np.testing.assert_array_equal(label, expected)


def test_names_and_colors_are_the_official_ones(build, tmp_path):
    build()
    info = DatasetInfo.load(tmp_path / "out")
    assert info.class_names == (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    )  # fmt: skip
    assert info.colors == COLORS and not info.has_background and info.name == "cityscapes"
    by_name = dict(zip(CLASSES, COLORS, strict=True))
    expected = {"road": (128, 64, 128), "sky": (70, 130, 180), "car": (0, 0, 142), "bicycle": (119, 11, 32)}
    assert {name: by_name[name] for name in expected} == expected


def test_splits_that_are_there_are_written(city, build, tmp_path):
    examples = build()
    assert {split: sorted(images) for split, images in examples.items()} == {
        "train_fine": [AACHEN, "ulm_000000_000019"],
        "val_fine": [MUNSTER],
        "test": ["berlin_000000_000019"],
        "train_extra": ["bayreuth_000000_000100"],
    }
    # Label ids win over polygons.
    assert (examples["train_fine"][AACHEN]["label"] == 13).numpy().all()
    drawn = decode(DRAWN, DRAWN_CLASSES)
    np.testing.assert_array_equal(examples["val_fine"][MUNSTER]["label"][..., 0], drawn)
    np.testing.assert_array_equal(examples["train_extra"]["bayreuth_000000_000100"]["label"][..., 0], drawn)
    file = city / f"leftImg8bit/val/munster/{MUNSTER}_leftImg8bit.png"
    np.testing.assert_array_equal(examples["val_fine"][MUNSTER]["image"], tf.io.decode_png(file.read_bytes()))


def test_the_masks_of_test_are_dummies(build, tmp_path):
    example = build("--splits=test")["test"]["berlin_000000_000019"]
    assert not example["has_mask"] and (example["label"] == 255).numpy().all()
    assert DatasetInfo.load(tmp_path / "out").split("test").num_masks == 0


def test_coarse_masks_of_train_and_val_are_written_on_request(build):
    examples = build("--splits=train_coarse,val_coarse")
    assert {split: len(images) for split, images in examples.items()} == {"train_coarse": 2, "val_coarse": 1}
    assert (examples["train_coarse"][AACHEN]["label"] == 18).numpy().all()


def test_unlabeled_splits_need_no_masks(city, build):
    shutil.rmtree(city / "gtCoarse")
    examples = build("--unlabeled_splits=train_extra")
    assert not examples["train_extra"]["bayreuth_000000_000100"]["has_mask"]
    assert examples["train_fine"][AACHEN]["has_mask"]


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("leftImg8bit", "--cityscapes_root={root}: no folder leftImg8bit in it; unpack leftImg8bit_trainvaltest.zip"),
        ("gtFine", "{root}/gtFine/train: no such folder; unpack gtFine_trainvaltest.zip from cityscapes-dataset.com"),
        ("gtCoarse", "gtCoarse/train_extra: no such folder; unpack gtCoarse.zip from cityscapes-dataset.com, or add "),
        ("leftImg8bit/*", "{root}/leftImg8bit: none of the folders train, val, test, train_extra in it"),
        ("leftImg8bit/train/*", "leftImg8bit/train: no folders of cities in it; unpack leftImg8bit_trainvaltest.zip"),
        ("leftImg8bit/train_extra/*", "leftImg8bit/train_extra: no folders of cities in it; unpack leftImg8bit_train"),
    ],
)
def test_missing_folders_are_one_line(removed, expected, city, build):
    for folder in city.glob(removed):
        shutil.rmtree(folder)
    with pytest.raises(UserError) as error:
        build()
    assert expected.format(root=city) in str(error.value) and "\n" not in str(error.value)


def test_missing_cities_and_files_are_told_together(city, build, tmp_path):
    write_image(city, "train", "bochum_000000_000313")
    write_label_ids(city, "train", "zurich_000000_000019", 7)
    (city / f"gtFine/train/aachen/{AACHEN}_gtFine_labelIds.png").unlink()
    (city / f"gtFine/train/aachen/{AACHEN}_gtFine_polygons.json").unlink()
    (city / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png").unlink()
    with pytest.raises(UserError) as error:
        build("--splits=train_fine")
    head, *lines = str(error.value).split("\n")
    image = f"{city}/leftImg8bit/train/aachen/{AACHEN}_leftImg8bit.png"
    assert head == "nothing was written, 4 problems:"
    for line, expected in zip(
        sorted(lines),
        [
            f"{city}/gtFine/train/bochum: no such folder, though {city}/leftImg8bit/train/bochum is there; unpack gtFine",
            f"{city}/gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png: a mask without an image in ",
            f"{image}: no mask for it; expected {AACHEN}_gtFine_labelIds.png or {AACHEN}_gtFine_polygons.json in ",
            f"{city}/leftImg8bit/train/zurich: no such folder, though {city}/gtFine/train/zurich is there; unpack left",
        ],
        strict=True,
    ):
        assert line.startswith(expected), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.full([HEIGHT, WIDTH], 34), "label value 34 (128 pixels), expected classes 0 .. 33 or 255 (ignore)"),
        (np.zeros([HEIGHT, WIDTH, 3]), "a mask with mode RGB, expected a palette or index PNG"),
        (np.zeros([HEIGHT, WIDTH // 2]), "mask of 8x8 pixels for an image of 16x8; expected equal sizes"),
    ],
)
def test_bad_masks_are_one_line(mask, expected, city, build):
    path = city / f"gtFine/train/aachen/{AACHEN}_gtFine_labelIds.png"
    Image.fromarray(mask.astype(np.uint8)).save(path)
    with pytest.raises(UserError) as error:
        build()
    head, line = str(error.value).split("\n")
    assert head == "nothing was written, 1 problem:" and line.startswith(f"{path}: {expected}")


SQUARE = [(0, 0), (3, 0), (3, 3), (0, 3)]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([("cra", SQUARE)], "unknown label 'cra'; expected those of Cityscapes. Did you mean 'car'?"),
        ([("treegroup", SQUARE)], "unknown label 'treegroup'; expected those of Cityscapes."),
        ([("car", [(1, 1)])], "a polygon of 'car' is no list of at least two points (x, y)"),
        ([("car", [(1, 1, 1), (2, 2, 2)])], "a polygon of 'car' is no list of at least two points (x, y)"),
        ([("car", [(1, 1), (2, "x")])], "a polygon of 'car' is no list of at least two points (x, y)"),
        ([("car", [(1, 1), (2, float("nan"))])], "a polygon of 'car' is no list of at least two points (x, y)"),
        ([("car", [(1, 1), (2, 1e9)])], "a polygon of 'car' is no list of at least two points (x, y)"),
        ([("car", [(0, 0), (0.5, 1), (1, 0.2)])], "all coordinates are <= 1: normalised? expected pixels"),
        ([("car", [(1, 1), (2, 10**400)])], "a polygon of 'car' is no list of at least two points (x, y)"),
    ],
)
def test_bad_polygons_are_one_line(objects, expected, city, build):
    path = city / f"gtFine/val/munster/{MUNSTER}_gtFine_polygons.json"
    write_polygons(path, objects)
    with pytest.raises(UserError) as error:
        build()
    head, line = str(error.value).split("\n")
    assert head == "nothing was written, 1 problem:" and line.startswith(f"{path}: {expected}")


def test_polygons_of_another_size_are_told(city, build):
    path = city / f"gtFine/val/munster/{MUNSTER}_gtFine_polygons.json"
    write_polygons(path, OBJECTS, width=WIDTH + 1)
    with pytest.raises(UserError, match=f"{path}: mask of 17x8 pixels for an image of 16x8; expected equal sizes"):
        build()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"imgWidth": 16, "objects": []}', "KeyError('imgHeight')"),
        ('{"imgWidth": 16, "imgHeight": 0, "objects": []}', "ValueError('size 16x0')"),
        ('{"imgWidth": 32769, "imgHeight": 8, "objects": []}', "ValueError('size 32769x8')"),
        ('{"imgWidth": 30000, "imgHeight": 30000, "objects": []}', "ValueError('size 30000x30000')"),
        ('{"imgWidth": 1000000000, "imgHeight": 8, "objects": []}', "ValueError('size 1000000000x8')"),
        ('{"imgWidth": 16, "imgHeight": Infinity, "objects": []}', "ValueError('size 16xinf')"),
        ('{"imgWidth": 16, "imgHeight": NaN, "objects": []}', "ValueError('size 16xnan')"),
        ("[" * 100_000, "RecursionError"),
        ('{"imgWidth": 16, "imgHeight": 8, "objects": [{"polygon": []}]}', "KeyError('label')"),
        ('{"imgWidth": 16, "imgHeight": 8, "objects": [1]}', "AttributeError"),
        ('{"imgWidth": 16, "imgHeight": 8, "objects": null}', "TypeError"),
        ("\xff", "UnicodeDecodeError"),
    ],
)
def test_broken_json_is_one_line(text, expected, tmp_path):
    path = tmp_path / "x_gtFine_polygons.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError) as error:
        PolygonMask(str(path)).read()
    assert str(error.value).startswith(f"{path}: no annotation of Cityscapes ({expected}") and "\n" not in str(
        error.value
    )


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--splits=train_fien", "--splits=train_fien: no such split; expected some of train_fine, val_fine, test, "),
        (
            "--unlabeled_splits=tset",
            "--unlabeled_splits=tset: expected some of train_fine, val_fine, test, train_extra.",
        ),
        ("--cityscapes_root=/nowhere", "--cityscapes_root=/nowhere: no folder leftImg8bit in it"),
    ],
)
def test_bad_flags_are_one_line(flag, expected, build):
    with pytest.raises(UserError) as error:
        build(flag)
    assert expected in str(error.value) and "\n" not in str(error.value)
