"""The converters: masks and colours by hand, a tiny devkit, own folders, and every bad input they name."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.conversion.class_files import read_classes
from wss.conversion.encode import MAX_PROBLEMS_SHOWN, load_image
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.image_label_files import read_image_labels
from wss.data.masks import VOC_CLASSES, color_table, encode_mask, lookup_table, read_mask, voc_colors, wrong_values
from wss.data.record_damage import validate_records
from wss.data.record_files import split_records
from wss.errors import UserError

SEVEN = "0,8,10,12,13,15,17"
HEIGHT, WIDTH = 6, 8


def photo(seed: int = 0, size=(HEIGHT, WIDTH)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, [*size, 3], dtype=np.uint8))


def mask_of(*values: int) -> np.ndarray:
    """Stripes: each of the values in columns of its own."""
    return np.resize(np.repeat(np.array(values, np.uint8), -(-WIDTH // len(values)))[:WIDTH], [HEIGHT, WIDTH])


def save_palette(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask, mode="P")
    image.putpalette(voc_colors().tobytes())
    image.save(path)


@pytest.fixture
def devkit(tmp_path) -> Path:
    """Images a .. d; masks: palette, index, RGB, and one only in SegmentationClassAug."""
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for seed, id in enumerate("abcd"):
        photo(seed).save(root / "JPEGImages" / f"{id}.jpg")
    save_palette(root / "SegmentationClass/a.png", mask_of(0, 15, 255, 8))
    Image.fromarray(mask_of(0, 12)).save(root / "SegmentationClass/b.png")
    Image.fromarray(color_table(voc_colors(21))[mask_of(0, 20, 255)]).save(root / "SegmentationClass/c.png")
    Image.fromarray(mask_of(17)).save(root / "SegmentationClassAug/d.png")
    Image.fromarray(mask_of(1)).save(root / "SegmentationClassAug/a.png")
    lists = {"train": "a\nb\n", "train_aug": "a\nb\n\nd\n", "val": "/JPEGImages/c.jpg /SegmentationClass/c.png\n"}
    for name, text in lists.items():
        (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)
    return root


@pytest.fixture
def own(tmp_path) -> Path:
    """Images 0 .. 9 with masks of two classes, and 2 without, one of these in a sub-folder."""
    root = tmp_path / "own"
    for folder in ("images/sub", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(10):
        photo(index).save(root / f"images/{index}.jpg")
        Image.fromarray(mask_of(0, 1 + index % 2)).save(root / f"masks/{index}.png")
    photo(10).save(root / "images/sub/x.png")
    photo(11).save(root / "images/y.jpeg")
    return root


def examples_of(directory: Path, split: str) -> dict[str, dict]:
    info = DatasetInfo.load(directory)
    validate_records(info, split)
    records = split_records(info, split)
    parsed = [parse_example(record, info.num_classes, info.has_background) for record in records]
    return {example["name"].numpy().decode(): {k: v.numpy() for k, v in example.items()} for example in parsed}


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_voc_colors_by_hand():
    colors = voc_colors()
    for index, color in {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}.items():
        assert tuple(colors[index]) == color, VOC_CLASSES[index]
    assert tuple(colors[255]) == (224, 224, 192)
    assert len(np.unique(colors, axis=0)) == 256
    assert len(VOC_CLASSES) == 21 and VOC_CLASSES[15] == "person" and VOC_CLASSES[8] == "cat"


def test_lookup_table_renumbers_by_hand():
    table = lookup_table(21, (0, 8, 15))
    assert [table[value] for value in (0, 8, 15, 1, 20, 255, 21, 254)] == [0, 1, 2, 255, 255, 255, -1, -1]
    assert [lookup_table(3)[value] for value in (0, 1, 2, 3, 255)] == [0, 1, 2, -1, 255]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64, np.uint64])
def test_wrong_values_do_not_wrap(dtype):
    valid = lookup_table(2) != -1
    assert wrong_values(np.array([[0, 1], [255, 1]], dtype), valid, "these") == ""
    mask = np.array([[0, 1, 255], [256, 256, 7]], dtype)
    assert wrong_values(mask, valid, "these") == "label values 7, 256 (3 pixels), expected these"
    if np.iinfo(dtype).min < 0:
        assert (
            wrong_values(mask - 256, valid, "these") == "label values -256, -255, -249, -1 (4 pixels), expected these"
        )


def test_devkit_becomes_records(devkit, tmp_path, run_script, capsys):
    output = tmp_path / "out"
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={output}", "--num_shards=2")
    info = DatasetInfo.load(output)
    assert info.class_names == VOC_CLASSES and info.colors[15] == (192, 128, 128) and info.has_background
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 2, "train_aug": 3, "val": 1}
    assert set(info.splits["train_aug"].shards) == {"images-00000-of-00002.tfrecord", "images-00001-of-00002.tfrecord"}
    assert list(info.splits["val"].shards) == ["val-00000-of-00001.tfrecord"]
    examples = examples_of(output, "train_aug") | examples_of(output, "val")
    # a's official mask wins over the one in SegmentationClassAug.
    expected = {"a": mask_of(0, 15, 255, 8), "b": mask_of(0, 12), "c": mask_of(0, 20, 255), "d": mask_of(17)}
    for id, mask in expected.items():
        np.testing.assert_array_equal(examples[id]["label"][..., 0], mask)
        decoded = tf.io.decode_jpeg((devkit / f"JPEGImages/{id}.jpg").read_bytes())
        np.testing.assert_array_equal(examples[id]["image"], decoded)
    table = capsys.readouterr().out
    assert "15 person %" in table and "50.00" in table


def test_image_files_are_stored_as_they_are(devkit, tmp_path, run_script):
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", "--splits=val")
    (record,) = tf.data.TFRecordDataset(DatasetInfo.load(tmp_path / "out").files("val")).as_numpy_iterator()
    stored = tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]
    assert stored == (devkit / "JPEGImages/c.jpg").read_bytes()


def test_kept_classes_are_renumbered(devkit, tmp_path, run_script):
    output = tmp_path / "out"
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={output}", "--classes=0,15,12")
    info = DatasetInfo.load(output)
    assert info.class_names == ("background", "person", "dog")
    assert info.colors == ((0, 0, 0), (192, 128, 128), (64, 0, 128))
    examples = examples_of(output, "train_aug")
    np.testing.assert_array_equal(examples["a"]["label"][..., 0], mask_of(0, 1, 255, 255))
    np.testing.assert_array_equal(examples["b"]["label"][..., 0], mask_of(0, 2))
    assert (examples["d"]["label"] == 255).all()


def test_without_the_background_no_class_is_background(devkit, tmp_path, run_script):
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", "--classes=15,12")
    assert not DatasetInfo.load(tmp_path / "out").has_background


def test_unlabeled_splits_have_no_masks(devkit, tmp_path, run_script):
    output = tmp_path / "out"
    run_script(
        "build_voc2012", f"--voc_root={devkit}", f"--output_dir={output}", "--unlabeled_splits=train_aug"
    )  # fmt: skip
    info = DatasetInfo.load(output)
    assert info.split("train_aug").num_masks == 0 and info.split("train").num_masks == 2
    assert info.split("train_aug").hide_masks and not info.split("train").hide_masks


def test_missing_masks_can_be_allowed(devkit, tmp_path, run_script):
    (devkit / "SegmentationClass/b.png").unlink()
    arguments = [f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", "--splits=train"]
    with pytest.raises(UserError, match="b.jpg: no mask for it"):
        run_script("build_voc2012", *arguments)
    run_script("build_voc2012", *arguments, "--allow_missing_masks")
    assert DatasetInfo.load(tmp_path / "out").split("train").num_masks == 1


def own_records(own, output: Path, run_script, *more: str) -> dict[str, bytes]:
    arguments = [f"--images={own / 'images'}", f"--masks={own / 'masks'}", "--class_names=bg,one,two", "--name=own"]
    run_script("build_folder", *arguments, f"--output_dir={output}", *more)
    return content(output)


def test_bytes_depend_on_the_seed(own, tmp_path, run_script):
    first = own_records(own, tmp_path / "a", run_script, "--workers=1")
    assert first != own_records(own, tmp_path / "c", run_script, "--workers=1", "--seed=1")


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_workers(own, tmp_path, run_script):
    one = own_records(own, tmp_path / "a", run_script, "--workers=1")
    assert one == own_records(own, tmp_path / "b", run_script, "--workers=2")


def test_checksum_tells_lists_apart(devkit, tmp_path, run_script):
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}")
    info = DatasetInfo.load(tmp_path / "out")
    assert info.split("train").checksum == hashlib.sha256(b"a\nb").hexdigest()


def test_an_existing_data_set_is_replaced_only_on_demand(devkit, tmp_path, run_script):
    output = tmp_path / "out"
    arguments = [f"--voc_root={devkit}", f"--output_dir={output}"]
    run_script("build_voc2012", *arguments)
    before = content(output)
    with pytest.raises(UserError, match="has a data set already; add --overwrite"):
        run_script("build_voc2012", *arguments)
    (devkit / "SegmentationClass/b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="b.png: not an image"):
        run_script("build_voc2012", *arguments, "--overwrite")
    assert content(output) == before
    run_script("build_voc2012", *arguments, "--overwrite", "--splits=val")
    assert set(DatasetInfo.load(output).splits) == {"val"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOC2012", "out"]


def test_a_folder_with_other_files_is_never_replaced(devkit, tmp_path, run_script):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="has other files in it"):
        run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", "--overwrite")
    assert (tmp_path / "out/thesis.txt").exists()


def jpeg(mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    photo().convert(mode).save(buffer, "JPEG")
    return buffer.getvalue()


BAD = {
    "label outside the classes": ("SegmentationClass/a.png", encode_mask(mask_of(0, 21, 30)), "label values 21, 30 "),
    "sizes differ": ("SegmentationClass/a.png", encode_mask(np.zeros([5, 8], np.uint8)), "mask of 8x5 pixels"),
    "RGBA mask": ("SegmentationClass/a.png", photo().convert("RGBA"), "a mask with mode RGBA"),
    "colours of no map": ("SegmentationClass/a.png", photo(), "colours of the mask are not in the colour map"),
    "JPEG mask": ("SegmentationClass/a.png", jpeg("L"), "a JPEG mask"),
    "broken mask": ("SegmentationClass/a.png", encode_mask(mask_of(0, 1))[:-30], "broken mask"),
    "text as mask": ("SegmentationClass/a.png", b"this is no mask", "a.png: not an image; expected a PNG"),
    "empty mask": ("SegmentationClass/a.png", b"", "empty file"),
    "broken image": ("JPEGImages/a.jpg", jpeg()[:-200], "broken image"),
    "text as image": ("JPEGImages/a.jpg", b"this is not an image", "not an image"),
    "empty image": ("JPEGImages/a.jpg", b"", "empty file"),
    "missing image": ("JPEGImages/a.jpg", None, "missing"),
    "missing mask": ("SegmentationClass/b.png", None, "no mask for it"),
    "duplicate id": ("ImageSets/Segmentation/train.txt", b"a\nb\na\n", "duplicate id 'a' in split 'train'"),
    "empty list": ("ImageSets/Segmentation/train.txt", b"\n", "empty; expected one id per line"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_the_file(case, devkit, tmp_path, run_script):
    file, replacement, expected = BAD[case]
    path = devkit / file
    path.unlink()
    if isinstance(replacement, Image.Image):
        replacement.save(path)
    elif replacement is not None:
        path.write_bytes(replacement)
    with pytest.raises(UserError) as error:
        run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}")
    lines = str(error.value).split("\n")
    if case != "empty list":
        assert lines.pop(0) == "nothing was written, 1 problem:" or case == "missing mask"
    named = {"duplicate id": "a.jpg", "missing mask": "b.jpg"}.get(case, path.name)
    assert all(named in line and expected in line for line in lines) and lines
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["VOC2012"]


def test_all_problems_come_together(devkit, tmp_path, run_script):
    (devkit / "JPEGImages/a.jpg").write_bytes(b"")
    (devkit / "JPEGImages/d.jpg").unlink()
    (devkit / "SegmentationClass/b.png").write_bytes(encode_mask(mask_of(77)))
    (devkit / "SegmentationClass/c.png").write_bytes(b"x")
    with pytest.raises(UserError) as error:
        run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}")
    head, *lines = str(error.value).split("\n")
    assert head == "nothing was written, 4 problems:"
    assert sorted(Path(line.split(": ")[0]).name for line in lines) == ["a.jpg", "b.png", "c.png", "d.jpg"]


def test_many_problems_are_counted(devkit, tmp_path, run_script):
    (devkit / "ImageSets/Segmentation/train.txt").write_text("".join(f"x{i}\n" for i in range(MAX_PROBLEMS_SHOWN + 7)))
    with pytest.raises(UserError) as error:
        run_script(
            "build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", "--unlabeled_splits=train"
        )  # fmt: skip
    lines = str(error.value).split("\n")
    assert lines[0] == f"nothing was written, {MAX_PROBLEMS_SHOWN + 7} problems:"
    assert len(lines) == MAX_PROBLEMS_SHOWN + 2 and lines[-1] == "... and 7 more"


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--classes=0,21", "--classes=0,21: expected class ids 0 .. 20"),
        ("--classes=0,cat", "expected class ids"),
        ("--classes=0,8,8", "given twice"),
        ("--classes=8,0", "must come first"),
        ("--splits=trian", "Did you mean 'train'"),
        ("--unlabeled_splits=vall", "Did you mean 'val'"),
        ("--voc_root=/nowhere", "--voc_root=/nowhere: no folder JPEGImages"),
    ],
)
def test_bad_flags_are_one_line(flag, expected, devkit, tmp_path, run_script):
    with pytest.raises(UserError) as error:
        run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}", flag)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_the_command_says_one_line_and_exits_with_two(tmp_path):
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "datasets/build_voc2012.py", f"--voc_root={tmp_path}", f"--output_dir={tmp_path / 'out'}"],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: --voc_root=") and "Traceback" not in result.stderr


def test_what_training_cannot_read_is_encoded_again(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(0, (6, 8)).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    photo().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    photo().convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray((np.arange(48).reshape(6, 8) * 1000).astype(np.uint16)).save(tmp_path / "deep.png")
    expected = {"turned.jpg": ("jpeg", (8, 6)), "cmyk.jpg": ("jpeg", (6, 8)), "rgba.png": ("png", (6, 8))}
    for name, (image_format, size) in {**expected, "deep.png": ("png", (6, 8))}.items():
        encoded, found_format, found_size = load_image(tmp_path / name, name)
        assert (found_format, found_size) == (image_format, size), name
        assert Image.open(io.BytesIO(encoded)).mode == "RGB"
    rgba = tf.io.decode_png(load_image(tmp_path / "rgba.png", "")[0]).numpy()
    np.testing.assert_array_equal(rgba, np.asarray(photo()))
    deep = tf.io.decode_png(load_image(tmp_path / "deep.png", "")[0]).numpy()
    np.testing.assert_array_equal(deep[..., 0], np.arange(48).reshape(6, 8) * 1000 // 256)


def test_own_folders(own, tmp_path, run_script):
    (own / "labels.csv").write_text("filename,labels\nsub/x.png,two;one\ny.jpeg,\n")
    output = tmp_path / "out"
    run_script(
        "build_folder",
        f"--images={own / 'images'}",
        f"--masks={own / 'masks'}",
        f"--image_labels={own / 'labels.csv'}",
        "--class_names=bg,one,two",
        f"--output_dir={output}",
        "--val_fraction=0.3",
    )
    info = DatasetInfo.load(output)
    counts = {
        name: (split.num_examples, split.num_masks, split.num_image_labels) for name, split in info.splits.items()
    }
    assert counts == {"train": (7, 7, 0), "val": (3, 3, 0), "unlabeled": (2, 0, 2)}
    assert info.name == "out" and info.class_names == ("bg", "one", "two")
    train, val, unlabeled = (examples_of(output, split) for split in ("train", "val", "unlabeled"))
    assert set(train) | set(val) == set("0123456789")
    np.testing.assert_array_equal(train.get("1", val.get("1"))["label"][..., 0], mask_of(0, 2))
    np.testing.assert_array_equal(unlabeled["sub/x"]["image_label"], [1, 1])
    np.testing.assert_array_equal(unlabeled["y"]["image_label"], [0, 0])
    assert unlabeled["y"]["has_image_label"] and (unlabeled["y"]["label"] == 255).all()


def test_own_lists_and_train_in_unlabeled(own, tmp_path, run_script):
    (own / "train.txt").write_text("0.jpg\n3\n")
    (own / "val.txt").write_text("7\n")
    run_script(
        "build_folder",
        f"--images={own / 'images'}",
        f"--masks={own / 'masks'}",
        f"--train_list={own / 'train.txt'}",
        f"--val_list={own / 'val.txt'}",
        "--class_names=bg,one,two",
        "--unlabeled_has_train",
        "--classes=0,2",
        f"--output_dir={tmp_path / 'out'}",
    )
    names = {split: set(examples_of(tmp_path / "out", split)) for split in ("train", "val", "unlabeled")}
    assert names == {"train": {"0", "3"}, "val": {"7"}, "unlabeled": {"0", "3", "sub/x", "y"}}
    examples = examples_of(tmp_path / "out", "train")
    np.testing.assert_array_equal(examples["0"]["label"][..., 0], mask_of(0, 255))
    np.testing.assert_array_equal(examples["3"]["label"][..., 0], mask_of(0, 1))


def test_own_colours(own, tmp_path, run_script):
    (own / "classes.txt").write_text("bg 0 0 0\nbig road\t10\t20\t30\n tree 1  2 3\nignore 9 9 9\n")
    colors = [(0, 0, 0), (10, 20, 30), (1, 2, 3)]
    table = color_table(colors)
    table[255] = 9, 9, 9
    Image.fromarray(table[mask_of(0, 1, 255)]).save(own / "masks/0.png")
    arguments = [f"--images={own / 'images'}", f"--masks={own / 'masks'}", "--val_fraction=0"]
    run_script("build_folder", *arguments, f"--class_names={own / 'classes.txt'}", f"--output_dir={tmp_path / 'out'}")
    info = DatasetInfo.load(tmp_path / "out")
    assert info.class_names == ("bg", "big road", "tree") and info.colors == tuple(colors)
    np.testing.assert_array_equal(examples_of(tmp_path / "out", "train")["0"]["label"][..., 0], mask_of(0, 1, 255))
    with pytest.raises(UserError, match="0.png: a mask with mode RGB, expected a palette or index PNG"):
        run_script("build_folder", *arguments, "--class_names=bg,one,two", f"--output_dir={tmp_path / 'other'}")


def test_names_of_own_classes_may_end_in_a_number(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("bg\nzone 1\nzone 2\n3\n")
    assert read_classes(str(path))[0] == ["bg", "zone 1", "zone 2", "3"]
    assert read_classes("bg,zone 1")[0] == ["bg", "zone 1"]


@pytest.mark.parametrize(
    "line", ["cat 0 0", "cat 0 0 0 255", "cat\t256\t0\t0", "0 0 0", "cat 0 0 " + "9" * 5000], ids=lambda line: line[:13]
)
def test_bad_colours_of_own_classes_are_one_line(line, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(f"bg 0 0 0\n\n{line}\n")
    with pytest.raises(UserError) as error:
        read_classes(str(path))
    expected = "expected a name, or a name and its red, green and blue, 0 .. 255 each"
    assert str(error.value) == f"{path}:3: {line!r}; {expected}"


def test_image_labels_that_are_no_csv_are_one_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("a.jpg,one\nb.jpg," + "x" * 200_000)
    with pytest.raises(
        UserError, match=f"^{path}:2: field larger than field limit .*; expected file name, classes"
    ) as error:
        read_image_labels(str(path), ["bg", "one"], ["one"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "labels.csv",
            "0.jpg,onne\n",
            "labels.csv:1: 'onne' is no foreground class; expected one of one, two. Did you",
        ),
        ("labels.csv", "0.jpg,bg\n", "labels.csv:1: 'bg' is no foreground class"),
        ("labels.csv", "0.jpg,one,two\n", "labels.csv:1: 3 columns, expected 2"),
        ("labels.csv", "0.jpg,one\n0.png,two\n", "labels.csv:2: a second line for '0.png'"),
        ("labels.csv", "nothere.jpg,one\n", "nothere: has image-level labels, but no image"),
        ("val.txt", "nothere\n", "nothere: listed for train or val"),
        ("masks/z.png", "", "z.png: a mask without an image"),
        ("images/0.png", "", "duplicate id '0'"),
    ],
)
def test_bad_own_folders(file, text, expected, own, tmp_path, run_script):
    (own / file).write_text(text)
    if file.endswith(".png"):
        photo().save(own / file)
    flag = {"labels.csv": "--image_labels", "val.txt": "--val_list"}.get(file)
    with pytest.raises(UserError) as error:
        run_script(
            "build_folder",
            f"--images={own / 'images'}",
            f"--masks={own / 'masks'}",
            "--class_names=bg,one,two",
            f"--output_dir={tmp_path / 'out'}",
            *([f"{flag}={own / file}"] if flag else []),
        )
    head, *lines = str(error.value).split("\n")
    assert head == "nothing was written, 1 problem:" and len(lines) == 1 and expected in lines[0]
    assert not (tmp_path / "out").exists()


def test_records_of_others_are_described(devkit, tmp_path, run_script):
    run_script("build_voc2012", f"--voc_root={devkit}", f"--output_dir={tmp_path / 'out'}")
    built = DatasetInfo.load(tmp_path / "out")
    (tmp_path / "out/dataset.json").unlink()
    run_script("describe_records", f"--dir={tmp_path / 'out'}", "--class_names=voc2012", "--name=voc2012")
    described = DatasetInfo.load(tmp_path / "out")
    assert described.class_names == built.class_names and described.colors == built.colors
    assert {name: split.num_examples for name, split in described.splits.items()} == {"images": 3, "val": 1}
    assert described.split("val") == built.split("val")
    assert described.split("images") == dataclasses.replace(built.split("train_aug"), runs_file="")


def test_golden_records_are_described(goldens, tmp_path, run_script):
    file = "val-00000-of-00001.tfrecord"
    (tmp_path / file).write_bytes((goldens / "tfrecord" / file).read_bytes())
    run_script("describe_records", f"--dir={tmp_path}", "--class_names=voc2012")
    split = DatasetInfo.load(tmp_path).split("val")
    assert split.shards == {file: 3} and split.num_masks == 3 and split.max_size == (40, 56)
    with pytest.raises(UserError, match="dataset.json: exists"):
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=voc2012")
    with pytest.raises(UserError, match=f"{file}: record 0: mask of image 'img_0': label value"):
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=a,b", "--overwrite")


def test_missing_files_of_others_are_told(goldens, tmp_path, run_script):
    source = goldens / "tfrecord" / "val-00000-of-00001.tfrecord"
    (tmp_path / "val-00001-of-00002.tfrecord").write_bytes(source.read_bytes())
    with pytest.raises(UserError, match="split 'val' has 1 files, expected 2"):
        run_script("describe_records", f"--dir={tmp_path}", "--class_names=voc2012")


def test_real_photos(shared, tmp_path, run_script):
    root = shared / "data/voc_animals"
    output = tmp_path / "voc_animals"
    run_script(
        "build_voc2012", f"--voc_root={root}", f"--output_dir={output}", f"--classes={SEVEN}", "--splits=train_1_8,val"
    )  # fmt: skip
    info = DatasetInfo.load(output)
    assert info.class_names == ("background", "cat", "cow", "dog", "horse", "person", "sheep")
    assert (info.split("train_1_8").num_examples, info.split("val").num_examples) == (55, 222)
    assert info.split("val").num_masks == 222 and max(info.split("val").max_size) == 256
    name, example = next(iter(examples_of(output, "train_1_8").items()))
    raw = read_mask(root / f"SegmentationClass/{name}.png")
    expected = np.full_like(raw, 255)
    for new, old in enumerate(map(int, SEVEN.split(","))):
        expected[raw == old] = new
    np.testing.assert_array_equal(example["label"][..., 0], expected)


def test_further_values_of_own_masks_can_be_ignored(own, tmp_path, run_script):
    Image.fromarray(mask_of(0, 11)).save(own / "masks/0.png")
    arguments = [
        f"--images={own / 'images'}",
        f"--masks={own / 'masks'}",
        "--class_names=bg,one,two",
        "--val_fraction=0",
    ]
    run_script("build_folder", *arguments, f"--output_dir={tmp_path / 'out'}", "--ignore_values=11")
    np.testing.assert_array_equal(examples_of(tmp_path / "out", "train")["0"]["label"][..., 0], mask_of(0, 255))
    for wrong in ("2", "x", "256"):
        with pytest.raises(UserError, match=f"--ignore_values={wrong}: expected values 3 .. 255"):
            run_script("build_folder", *arguments, f"--output_dir={tmp_path / 'other'}", f"--ignore_values={wrong}")
