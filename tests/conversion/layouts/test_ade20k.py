"""The scene parsing benchmark of ADE20K: values and names by hand, and every bad input that the converter names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.conversion.layouts.ade20k import COLORS
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_files import split_records
from wss.errors import UserError

HEIGHT, WIDTH = 8, 20
TRAIN, VAL = "ADE_train_00000001", "ADE_val_00000001"

# Lines of the real list, its stray spaces included; the lines between are made up.
REAL = {
    1: "1\t0.1576\t11664\t1172\twall",
    2: "2\t0.1072\t6046\t612\tbuilding, edifice",
    8: "8\t0.0231\t1906\t199\tbed ",
    22: "22 \t0.0074\t709\t75\twater",
    59: "59\t0.0015\t139\t18\tscreen door, screen",
    64: "64\t0.0014\t335\t60\tblind, screen",
    131: "131\t0.0004\t108\t13\tscreen, silver screen, projection screen",
    150: "150\t0.0002\t421\t56\tflag",
}
LINES = [REAL.get(number, f"{number}\t0.0001\t1\t1\tthing {number}, object") for number in range(1, 151)]


def write_list(root: Path, lines: list[str], header: str = "Idx\tRatio\tTrain\tVal\tName") -> None:
    (root / "objectInfo150.txt").write_text("\n".join([header, *lines]) + "\n")


def write_pair(root: Path, split: str, id: str, values: np.ndarray | int) -> None:
    for folder in ("images", "annotations"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    photo = np.random.default_rng(sum(id.encode())).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8)
    Image.fromarray(photo).save(root / f"images/{split}/{id}.jpg")
    Image.fromarray(np.broadcast_to(np.uint8(values), [HEIGHT, WIDTH])).save(root / f"annotations/{split}/{id}.png")


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Two images for training, one for validation, and the folder of the test images."""
    root = tmp_path / "unpacked" / "ADEChallengeData2016"
    write_pair(root, "training", TRAIN, np.resize(np.arange(151), [HEIGHT, WIDTH]))
    write_pair(root, "training", "ADE_train_00000002", 0)
    write_pair(root, "validation", VAL, np.resize([150, 255], [HEIGHT, WIDTH]))
    (root / "images/testing").mkdir()
    write_list(root, LINES)
    (root / "sceneCategories.txt").write_text(f"{TRAIN} airport_terminal\n")
    return root


@pytest.fixture
def build(scenes, tmp_path, run_script):
    """Converts the tree and returns split -> id -> parsed example."""

    def run(root: Path = scenes) -> dict[str, dict[str, dict]]:
        run_script("build_ade20k", f"--ade20k_root={root}", f"--output_dir={tmp_path / 'out'}")
        info = DatasetInfo.load(tmp_path / "out")
        examples: dict[str, dict[str, dict]] = {}
        for split in info.splits:
            parsed = [
                parse_example(record, info.num_classes, info.has_background) for record in split_records(info, split)
            ]
            examples[split] = {example["name"].numpy().decode(): example for example in parsed}
        return examples

    return run


def test_values_become_classes_and_zero_is_ignored(scenes, build):
    examples = build()
    assert {split: sorted(images) for split, images in examples.items()} == {
        "training": [TRAIN, "ADE_train_00000002"],
        "validation": [VAL],
    }
    # Values 0, 1, .. 150 and again 0, 1, .. 8.
    expected = [255, *range(150), 255, *range(8)]
    np.testing.assert_array_equal(examples["training"][TRAIN]["label"].numpy().ravel(), expected)
    assert (examples["training"]["ADE_train_00000002"]["label"] == 255).numpy().all()
    np.testing.assert_array_equal(examples["validation"][VAL]["label"].numpy().ravel(), [149, 255] * 80)
    image = tf.io.decode_jpeg((scenes / f"images/validation/{VAL}.jpg").read_bytes())
    np.testing.assert_array_equal(examples["validation"][VAL]["image"], image)


@pytest.mark.parametrize("has_stuff_column", [False, True])
def test_classes_are_named_by_their_first_synonym(has_stuff_column, scenes, build, tmp_path):
    if has_stuff_column:
        lines = ["\t".join([*line.split("\t")[:4], "1", line.split("\t")[4]]) for line in LINES]
        write_list(scenes, lines, "Idx\tRatio\tTrain\tVal\tStuff\tName")
    build()
    info = DatasetInfo.load(tmp_path / "out")
    assert info.name == "ade20k" and info.num_classes == 150 and not info.has_background
    expected = {1: "wall", 2: "building", 3: "thing 3", 8: "bed", 22: "water", 59: "screen door", 64: "blind"}
    expected |= {131: "screen", 150: "flag"}
    assert {number: info.class_names[number - 1] for number in expected} == expected


def test_colors_are_those_of_the_benchmark():
    # wall, building, sky, road and skyscraper, screen door, flag.
    expected = {
        1: (120, 120, 120), 2: (180, 120, 120), 3: (6, 230, 230), 7: (140, 140, 140), 49: (140, 140, 140),
        59: (0, 173, 255), 150: (92, 0, 255),
    }  # fmt: skip
    assert {number: COLORS[number - 1] for number in expected} == expected
    assert len(COLORS) == 150 and len(set(COLORS)) == 149


def test_the_folder_above_does_too(scenes, build):
    assert len(build(scenes.parent)["training"]) == 2


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        (
            "images",
            "--ade20k_root={root}: no folders images and annotations in it; expected what ADEChallengeData2016.zip",
        ),
        ("annotations", "--ade20k_root={root}: no folders images and annotations in it"),
        (
            "images/validation",
            "{root}/images/validation: no such folder; expected the files of ADEChallengeData2016.zip",
        ),
        ("annotations/training", "{root}/annotations/training: no such folder; expected the files of"),
        ("images/training/*", "{root}/images/training: no *.jpg in it; expected the files of"),
        ("annotations/validation/*", "{root}/annotations/validation: no *.png in it; expected the files of"),
        ("objectInfo150.txt", "{root}/objectInfo150.txt: missing; expected that of ADEChallengeData2016.zip"),
    ],
)
def test_missing_folders_are_one_line(removed, expected, scenes, build):
    for path in scenes.glob(removed):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError) as error:
        build()
    assert str(error.value).startswith(expected.format(root=scenes)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Idx\tRatio\tTrain\tVal\tName", *LINES[:149]], "149 classes; expected those of Idx 1 .. 150 in order"),
        (["Idx\tRatio\tTrain\tVal\tName", *LINES[::-1]], "150 classes; expected those of Idx 1 .. 150 in order"),
        (["Idx\tRatio\tTrain\tVal\tName", *LINES[:149], "150\t0\t1\t1\twall"], "'wall' is the name of two classes"),
        (["Idx,Ratio,Train,Val,Name", *LINES], "not the list of classes ('Idx' is not in list)"),
        (["Idx\tRatio\tTrain\tVal\tName", "one\t0\t1\t1\twall"], "not the list of classes (invalid literal"),
        (["Idx\tRatio\tTrain\tVal\tName", "1\t0"], "not the list of classes (list index out of range)"),
    ],
)
def test_bad_lists_of_classes_are_one_line(lines, expected, scenes, build):
    write_list(scenes, lines[1:], lines[0])
    with pytest.raises(UserError) as error:
        build()
    assert str(error.value).startswith(f"{scenes}/objectInfo150.txt: {expected}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.full([HEIGHT, WIDTH], 151), "label value 151 (160 pixels), expected classes 0 .. 150 or 255 (ignore)"),
        (np.zeros([HEIGHT, WIDTH, 3]), "a mask with mode RGB, expected a palette or index PNG"),
        (np.zeros([HEIGHT, WIDTH // 2]), "mask of 10x8 pixels for an image of 20x8; expected equal sizes"),
    ],
)
def test_bad_masks_are_one_line(mask, expected, scenes, build):
    path = scenes / f"annotations/training/{TRAIN}.png"
    Image.fromarray(mask.astype(np.uint8)).save(path)
    with pytest.raises(UserError) as error:
        build()
    head, line = str(error.value).split("\n")
    assert head == "nothing was written, 1 problem:" and line.startswith(f"{path}: {expected}")


def test_images_and_masks_without_a_partner_are_told_together(scenes, build, tmp_path):
    write_pair(scenes, "validation", "ADE_val_00000002", 1)
    (scenes / "images/validation/ADE_val_00000002.jpg").unlink()
    (scenes / f"annotations/training/{TRAIN}.png").unlink()
    with pytest.raises(UserError) as error:
        build()
    head, first, second = str(error.value).split("\n")
    assert head == "nothing was written, 2 problems:" and not (tmp_path / "out").exists()
    assert first.startswith(f"{scenes}/images/training/{TRAIN}.jpg: no mask for it; expected {TRAIN}.png in ")
    assert second.startswith(f"{scenes}/annotations/validation/ADE_val_00000002.png: a mask without an image in ")
