"""The inspection of data sets: numbers by hand, each planted defect is found, and pictures that can be measured."""

import dataclasses
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image
from scripts import load_module, separate_flags

from wss.conversion.encode import LabelMap
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.boxes import Box
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.example import encode_example
from wss.data.masks import IGNORE_COLOR, encode_mask, lookup_table
from wss.data.splits import Split
from wss.errors import UserError
from wss.inspection.contact_sheet import Candidates, contact_sheet
from wss.inspection.findings import Finding, find
from wss.inspection.inspect import inspect_split, spread
from wss.inspection.report import report

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("background", "cat", "dog")
RED, BLUE = (200, 0, 0), (0, 0, 200)
COLORS = ((0, 0, 0), RED, BLUE)
SETTINGS = {"class_names": CLASSES, "colors": COLORS, "labels": LabelMap(lookup_table(3))}
EVERYTHING = np.array([[0, 1], [2, 255]], np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def plain(color: Sequence[int], height: int = 2, width: int = 2) -> np.ndarray:
    return np.full([height, width, 3], color, np.uint8)


def color_of(id: str) -> list[int]:
    return [*zlib.crc32(id.encode()).to_bytes(4)[:3]]


def record(id: str, mask: np.ndarray | None = EVERYTHING, image: np.ndarray | None = None, **fields) -> bytes:
    """An image of `color_of(id)`, unless one is given."""
    image = plain(color_of(id), *(2, 2) if mask is None else mask.shape) if image is None else image
    mask_png = None if mask is None else encode_mask(mask)
    return encode_example(png(image), "png", id, size=image.shape[:2], mask_png=mask_png, **fields)


def save_info(directory: Path, class_names: Sequence[str] = CLASSES, **splits: SplitInfo) -> DatasetInfo:
    """A dataset.json of splits whose files are there."""
    DatasetInfo("toy", tuple(class_names), tuple(COLORS[: len(class_names)]), splits).save(directory)
    return DatasetInfo.load(directory)


def hand_made(directory: Path, class_names: Sequence[str] = CLASSES, **splits: list[bytes]) -> DatasetInfo:
    """One file for each split, without indexes; dataset.json says that all images have masks, and 2x2 pixels."""
    for split, records in splits.items():
        with tf.io.TFRecordWriter(str(directory / f"{split}.tfrecord")) as writer:
            for serialized in records:
                writer.write(serialized)
    infos = {
        split: SplitInfo({f"{split}.tfrecord": len(records)}, len(records), 0, (2, 2))
        for split, records in splits.items()
    }
    return save_info(directory, class_names, **infos)


def findings_of(info: DatasetInfo, eval_splits: Sequence[str] = ("val",), sample: int = 0) -> list[Finding]:
    """All findings but the note that hand-made files have no index."""
    inspections = [inspect_split(info, split, sample) for split in info.splits]
    return [finding for finding in find(info, inspections, eval_splits) if finding.kind != "no_index"]


def only(findings: list[Finding]) -> tuple[str, str, str, str]:
    (finding,) = findings
    assert "\n" not in finding.message
    return finding.level, finding.kind, finding.split, finding.message


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.split) for finding in findings]


def run(*arguments) -> int:
    """The command in this process."""
    with separate_flags():
        tool = load_module(ROOT / "tools/inspect_dataset.py")
        flags.FLAGS(["inspect_dataset", *map(str, arguments)])
        return tool.main(["inspect_dataset"])


@pytest.fixture
def clean(tmp_path) -> Path:
    """Six training and three validation images that show all classes, and a subset of the training images."""
    pools = {
        pool: [Source(f"{pool}{i}", png(plain([i, 100, offset])), EVERYTHING) for i in range(count)]
        for pool, count, offset in (("train", 6, 0), ("val", 3, 1))
    }
    splits = {name: Split((name,)) for name in pools} | {"train_1_2": Split(("train",), ("train0", "train3", "train5"))}
    write_dataset(tmp_path / "toy", "toy", pools, splits=splits, **SETTINGS)
    return tmp_path / "toy"


def test_numbers_by_hand(tmp_path):
    """Two images of 2x4 and one of 4x4 pixels; one has no mask but a dog's image-level label, and two boxes."""
    boxes = [Box(1, 0, 0, 2, 2), Box(2, 0, 0, 1, 4)]
    info = hand_made(
        tmp_path,
        train=[
            record("a", np.array([[0, 0, 1, 1], [0, 255, 1, 1]], np.uint8), plain([10, 20, 30], 2, 4)),
            record("b", np.zeros([4, 4], np.uint8), plain([50, 20, 90], 4, 4)),
            record("c", None, plain([10, 20, 30], 2, 4), image_labels=[2], boxes=boxes),
        ],
    )
    summary = inspect_split(info, "train").summary(info)
    counts = ("num_images", "num_decoded", "num_masks", "num_image_labels", "num_with_boxes", "num_boxes")
    assert [summary[key] for key in counts] == [3, 3, 2, 1, 1, 2]
    assert [(row["name"], row["pixels"], row["images"]) for row in summary["classes"]] == [
        ("background", 19, 2),
        ("cat", 4, 1),
        ("dog", 0, 1),
    ]
    np.testing.assert_allclose([row["share"] for row in summary["classes"]], [19 / 23, 4 / 23, 0])
    assert summary["ignored_pixels"] == 1 and summary["ignored_share"] == pytest.approx(1 / 24)
    assert summary["class_ids"] == [0, 1, 2, 255]
    assert summary["rarest_classes"] == ["dog", "cat"]
    sizes = [summary[f"{which}_size"] for which in ("smallest", "median", "largest")]
    assert sizes == [(2, 4), (2, 4), (4, 4)] and summary["num_sizes"] == 2
    # Of 32 pixels, 16 are (10, 20, 30) and 16 are (50, 20, 90).
    np.testing.assert_allclose(summary["mean_color"], [30, 20, 60])
    np.testing.assert_allclose(summary["std_color"], [20, 0, 30])
    assert not summary["estimated"] and not summary["masks_hidden"]


def test_a_split_without_masks_has_no_shares(tmp_path):
    info = hand_made(tmp_path, unlabeled=[record("a", None), record("b", None)])
    summary = inspect_split(info, "unlabeled").summary(info)
    assert summary["num_masks"] == 0 and summary["ignored_share"] is None and summary["class_ids"] == []
    assert [row["share"] for row in summary["classes"]] == [None] * 3


def test_a_clean_data_set_has_no_findings(clean, tmp_path, capsys):
    assert run(f"--dataset={clean}", f"--output={tmp_path / 'out'}") == 0
    text = (tmp_path / "out/report.txt").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith(f"toy in {clean}: 3 classes, 3 splits\n") and text.endswith("\nno findings\n")
    rows = {line.split("  ")[0]: line.split()[-3:] for line in text.splitlines()}
    assert rows["images"] == ["6", "3", "3"] and rows["2 dog"] == ["33.33", "33.33", "33.33"]
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert set(content) == {"dataset", "directory", "splits", "findings"} and content["findings"] == []
    assert list(content["splits"]) == ["train", "val", "train_1_2"]
    assert content["splits"]["train"]["classes"][1] == {
        "id": 1,
        "name": "cat",
        "images": 6,
        "pixels": 6,
        "boxes": 0,
        "share": pytest.approx(1 / 3),
        "median_side": None,  # of 16 pixels or more there is none
    }
    names = {"report.txt", "report.json", "report.html", "train.png", "val.png", "train_1_2.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_problems_are_told_by_the_exit_code(clean, tmp_path):
    (clean / "val-00001-of-00003.tfrecord").unlink()
    assert run(f"--dataset={clean}", f"--output={tmp_path}", "--splits=train") == 0
    assert run(f"--dataset={clean}", f"--output={tmp_path}") == 1
    (finding,) = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert set(finding) == {"level", "kind", "split", "message"}
    assert (finding["level"], finding["kind"], finding["split"]) == ("problem", "file", "val")
    line = f"problem: val: {finding['message']}"
    assert "val-00001-of-00003.tfrecord: missing" in line and line in (tmp_path / "report.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--splits=trian"], "no split 'trian'.*Did you mean 'train'"),
        (["--splits=train", "--eval_splits=val"], "--eval_splits=val: not among train"),
    ],
)
def test_unknown_splits_are_refused(clean, tmp_path, arguments, expected):
    with pytest.raises(UserError, match=expected):
        run(f"--dataset={clean}", f"--output={tmp_path / 'out'}", *arguments)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(clean, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="--output=.*out: cannot be made"):
        run(f"--dataset={clean}", f"--output={tmp_path / 'out'}")


@pytest.mark.parametrize("file", ["train.png", "report.json", "report.txt", "report.html"])
@pytest.mark.parametrize("sheet_images", [0, 4])
def test_what_cannot_be_written_is_one_line(file, sheet_images, clean, tmp_path):
    """A folder has the name of the file."""
    (tmp_path / "out" / file).mkdir(parents=True)
    with pytest.raises(UserError, match=f"^{tmp_path / 'out' / file}: cannot be written") as error:
        run(f"--dataset={clean}", f"--output={tmp_path / 'out'}", f"--sheet_images={sheet_images}")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_wrong_flag_is_exit_code_2():
    command = [sys.executable, str(ROOT / "tools/inspect_dataset.py"), "--dataset=x", "--output=y", "--smaple=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Did you mean 'sample'?" in done.stderr and "Traceback" not in done.stderr


def test_a_class_that_never_occurs_cannot_be_learned(tmp_path):
    no_dog = [record(id, np.array([[0, 1], [0, 255]], np.uint8)) for id in "abc"]
    level, kind, split, message = only(findings_of(hand_made(tmp_path, train=no_dog)))
    assert (level, kind, split) == ("problem", "missing_class", "train")
    assert message.startswith("classes that never occur (1 of 3): dog; they cannot be learned")
    assert "--min_images_per_class" in message and "--classes" in message


def test_a_class_that_is_not_evaluated_is_a_note(tmp_path):
    no_dog = [record(id, np.array([[0, 1], [0, 255]], np.uint8)) for id in "abc"]
    level, kind, _, message = only(findings_of(hand_made(tmp_path, val=no_dog)))
    assert (level, kind) == ("note", "missing_class") and "dog; they are not measured" in message


def test_a_class_in_few_images_is_a_note(tmp_path):
    no_dog = np.array([[0, 1], [0, 255]], np.uint8)
    info = hand_made(tmp_path, train=[record(id, EVERYTHING if id < "c" else no_dog) for id in "abcd"])
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("note", "few_images") and "fewer than 3 images (1): dog (2);" in message


def test_a_label_that_is_no_class_is_named(tmp_path):
    wrong = np.array([[0, 1], [7, 7]], np.uint8)
    boxes = [Box(9, 0, 0, 1, 1)]
    good = [record(id) for id in "abc"]
    info = hand_made(tmp_path, train=[*good, record("x", wrong, image_labels=[0, 3], boxes=boxes)])
    findings = {finding.kind: finding for finding in findings_of(info)}
    assert findings["class_range"].level == "problem"
    message = findings["class_range"].message
    assert "labels that are no class (3): image-level labels of 'x': 0, 3; boxes of 'x': 9;" in message
    assert "mask of 'x': 7 (2 pixels); expected 0 .. 2 or 255 (ignored)" in message
    summary = inspect_split(info, "train").summary(info)
    assert summary["class_ids"] == [0, 1, 2, 7, 255]


def test_boxes_that_cannot_be_are_named_by_their_fault(tmp_path):
    """Of 2 x 2 pixels: two boxes outside, one with swapped edges, one without area, and one that is no number."""
    wrong = {
        "out": [Box(1, 0, 0, 1, 3), Box(1, -1, 0, 1, 1), Box(2, 0, 0, 2, 2)],
        "swap": [Box(1, 2, 0, 1, 2)],
        "nan": [Box(1, float("nan"), 0, 1, 2)],
    }
    good = [record(id) for id in "abc"]
    records = [record(id, boxes=boxes) for id, boxes in wrong.items()]
    info = hand_made(tmp_path, train=[*good, *records, record("flat", boxes=[Box(1, 1, 0, 1, 2), Box(2, 0, 0, 1, 2)])])
    findings = {finding.kind: finding for finding in findings_of(info)}
    assert findings["box"].level == "problem" and findings["empty_box"].level == "note"
    for part in (
        "boxes that cannot be (3): box (0, 0, 0.5, 1.5) of 'out' lies outside of its image (and 1 more); box (1, 0, 0.5, 1)",
        "of 'swap' has its edges swapped; box (nan, 0, 0.5, 1) of 'nan' has an edge that is no number; expected edges",
    ):
        assert part in findings["box"].message
    assert findings["empty_box"].message.startswith("images with a box that has no area (1): 'flat'; training leaves")
    assert inspect_split(info, "train").summary(info)["classes"][1]["boxes"] == 5


def test_a_split_of_boxes_is_counted_by_class(tmp_path, capsys):
    """Without masks and image labels, boxes tell which classes are in an image."""
    boxes = {"a": [Box(1, 0, 0, 1, 1), Box(1, 0, 0, 2, 2)], "b": [Box(1, 0, 0, 1, 2)], "c": []}
    pools = {"boxes": [Source(id, png(plain(color_of(id))), boxes=tuple(found)) for id, found in boxes.items()]}
    write_dataset(tmp_path / "toy", "toy", pools, **SETTINGS)
    info = DatasetInfo.load(tmp_path / "toy")
    inspection = inspect_split(info, "boxes")
    summary = inspection.summary(info)
    assert [(row["images"], row["boxes"]) for row in summary["classes"]] == [(0, 0), (2, 3), (0, 0)]
    assert (summary["num_with_boxes"], summary["num_boxes"], summary["num_without_boxes"]) == (3, 3, 1)
    findings = {finding.kind: finding for finding in findings_of(info)}
    assert findings.keys() == {"no_boxes", "class_without_boxes"}
    assert findings["no_boxes"].message.startswith(
        "1 of 3 images are known to have no object, such as 'c'; if they show"
    )
    assert "classes without any box (1 of 2): dog; they cannot be learned" in findings["class_without_boxes"].message
    assert run(f"--dataset={info.directory}", f"--output={tmp_path / 'out'}") == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (["images", "without", "an", "object", "1"], ["boxes", "boxes"], ["1", "cat", "3"], ["2", "dog", "0"]):
        assert row in table
    assert [candidate.number for candidate in inspection.candidates.choose([1])] == [0, 1, 2]


def test_the_sheet_shows_wrong_labels_as_ignored(tmp_path):
    wrong = np.array([[0, 1], [7, 7]], np.uint8)
    info = hand_made(tmp_path, train=[record("x", wrong)])
    assert run(f"--dataset={info.directory}", f"--output={tmp_path / 'out'}") == 1
    with Image.open(tmp_path / "out/train.png") as sheet:
        # The mask is enlarged to 150 x 150 pixels, right of the image.
        corner = np.asarray(sheet)[44 + 90 : 44 + 140, 12 + 153 + 90 : 12 + 153 + 140].astype(int)
    # 55 % of the colour of ignored pixels over the photo in grey, which differs in nothing but blue.
    red, green, blue = IGNORE_COLOR
    assert red == green and (corner[..., 0] == corner[..., 1]).all()
    np.testing.assert_allclose(corner[..., 0] - corner[..., 2], 0.55 * (red - blue), atol=1)


def test_an_image_of_the_evaluation_in_training_is_leakage(tmp_path):
    train = [record(id) for id in "abcd"]
    renamed = record("z", image=plain(color_of("b")))
    info = hand_made(tmp_path, train=train, train_1_2=train[:3], val=[train[0], renamed, record("y"), record("x")])
    level, kind, split, message = only(findings_of(info))
    assert (level, kind, split) == ("problem", "leakage", "val")
    assert message.startswith(
        "images that are in training splits too (2 in train, 2 in train_1_2): 'a', 'z' = 'b'; take"
    )


def test_evaluation_splits_may_share_images(tmp_path):
    info = hand_made(tmp_path, val=[record(id) for id in "abcd"], test=[record(id) for id in "abc"])
    assert findings_of(info, eval_splits=("val", "test")) == []
    assert kinds(findings_of(info, eval_splits=("test",))) == [("leakage", "test")]


def test_the_same_id_of_another_image_may_be_a_leak(tmp_path):
    info = hand_made(
        tmp_path,
        train=[record(id) for id in "abc"],
        val=[record("a", image=plain([9, 9, 9])), *(record(id) for id in "xyz")],
    )
    level, kind, split, message = only(findings_of(info))
    assert (level, kind, split) == ("problem", "same_id", "val") and "other images (1 in train): 'a'; if" in message


def test_leaks_are_not_looked_for_without_an_evaluation_split(tmp_path):
    info = hand_made(tmp_path, train=[record(id) for id in "abc"], holdout=[record(id) for id in "abcd"])
    level, kind, split, message = only(findings_of(info, eval_splits=()))
    assert (level, kind, split) == ("note", "no_eval_split", "train, holdout")
    assert message.startswith("none of them is for evaluation") and message.endswith("--eval_splits")
    assert kinds(findings_of(info, eval_splits=("holdout",))) == [("leakage", "holdout")]


def test_one_split_alone_needs_no_evaluation_split(tmp_path):
    assert findings_of(hand_made(tmp_path, train=[record(id) for id in "abc"]), eval_splits=()) == []


def test_trainval_has_the_images_of_val(tmp_path):
    val = [record(id) for id in "abc"]
    info = hand_made(tmp_path, train=[record(id) for id in "xyz"], trainval=[*val, record("x")], val=val)
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("note", "leakage") and "all its images are in 'trainval' too" in message


def test_duplicates_within_a_split(tmp_path):
    again = record("b", image=plain(color_of("a")))
    info = hand_made(tmp_path, train=[record("a"), again, record("c"), record("c"), record("d")])
    findings = findings_of(info)
    assert [(finding.level, finding.kind) for finding in findings] == [
        ("problem", "duplicate_id"),
        ("note", "duplicate_image"),
    ]
    assert "more than once (1): 'c';" in findings[0].message
    assert "under several ids (1): 'a' = 'b';" in findings[1].message


def test_empty_masks_are_a_note(tmp_path):
    zero, ignored = np.zeros([2, 2], np.uint8), np.full([2, 2], 255, np.uint8)
    both = np.array([[0, 255], [0, 0]], np.uint8)
    empty = [record("x", zero), record("y", zero), record("i", ignored), record("b", both)]
    info = hand_made(tmp_path, train=[*(record(id) for id in "acd"), *empty])
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("note", "empty_masks")
    parts = "(2 all background, 1 all ignored, 1 nothing but background and ignored pixels)"
    assert message.startswith(f"4 of 7 masks show no object {parts};")
    many = [record(f"image {i}") for i in range(80)]
    (tmp_path / "many").mkdir()
    assert findings_of(hand_made(tmp_path / "many", train=[*many, *empty])) == []


def test_masks_of_0_and_255_are_taken_for_binary_ones(tmp_path):
    masks = [np.array([[0, 255], [0, 0]], np.uint8), np.zeros([2, 2], np.uint8)]
    info = hand_made(tmp_path, train=[record("a", masks[0]), record("b", masks[1])])
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "binary_masks")
    assert message.startswith(
        "all 2 masks hold only 0 (background) and 255 (ignored), though there are 3 classes; if 255"
    )


def test_some_masks_of_0_and_255_are_a_problem(tmp_path):
    object_, ignored = np.array([[0, 1], [2, 0]], np.uint8), np.array([[0, 255], [0, 0]], np.uint8)
    masks = [*[object_] * 4, *[ignored] * 2]
    info = hand_made(tmp_path, train=[record(f"i{number}", mask) for number, mask in enumerate(masks)])
    found = {kind: (level, message) for level, kind, _, message in map(dataclasses.astuple, findings_of(info))}
    level, message = found["binary_masks"]
    assert level == "problem" and message.startswith(
        "2 of 6 masks hold only 0 (background) and 255 (ignored), and the others"
    )
    some = dataclasses.replace(info, provenance={"classes": [0, 8, 12]})  # the other classes are ignored there
    assert "binary_masks" not in {finding.kind for finding in findings_of(some)}


def test_a_mask_of_another_size_is_named(tmp_path):
    good = [record(id) for id in "abc"]
    info = hand_made(tmp_path, train=[*good, record("x", np.resize(EVERYTHING, [2, 3]), plain([1, 2, 3]))])
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "size")
    assert message.startswith("masks of another size than their images (1): 'x' is 2x2, its mask 2x3 (h x w);")


def test_records_that_cannot_be_decoded_are_named(tmp_path):
    broken = encode_example(png(plain([1, 2, 3]))[:50], "png", "x", size=(2, 2), mask_png=encode_mask(EVERYTHING))
    empty = tf.train.Example().SerializeToString()
    info = hand_made(tmp_path, train=[record("a"), broken, record("b"), empty, b"no example", record("c")])
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "record")
    assert message.startswith("records that cannot be decoded (3): train.tfrecord, record 1, image 'x': no readable")
    assert "train.tfrecord, record 3: no readable example; train.tfrecord, record 4: no readable example;" in message
    inspection = inspect_split(info, "train")
    assert (inspection.num_images, inspection.num_decoded, inspection.ids) == (6, 3, ["a", "x", "b", "c"])


def test_a_damaged_file_does_not_hide_the_others(tmp_path):
    for split, ids in (("one", "abc"), ("two", "def")):
        hand_made(tmp_path, **{split: [record(id) for id in ids]})
    path = tmp_path / "one.tfrecord"
    path.write_bytes(path.read_bytes()[:-20])
    info = save_info(tmp_path, train=SplitInfo({"one.tfrecord": 3, "two.tfrecord": 3}, 6, 0, (2, 2)))
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "file")
    assert f"{path}: damaged, or no TFRecord file; 2 of 3 records could be read" in message
    assert inspect_split(info, "train").ids == ["a", "b", "d", "e", "f"]


@pytest.mark.parametrize("said", [2, 4])
def test_records_are_counted(tmp_path, said):
    """Also those that dataset.json does not tell of."""
    hand_made(tmp_path, train=[record(id) for id in "abc"])
    info = save_info(tmp_path, train=SplitInfo({"train.tfrecord": said}, 3, 0, (2, 2)))
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "index")
    assert f"train.tfrecord holds 3 records of the split, dataset.json says {said}; build" in message
    assert "describe" not in message


def test_what_dataset_json_says_is_compared(tmp_path):
    hand_made(tmp_path, train=[record(id, image_labels=[1, 2]) for id in "abc"])
    info = save_info(tmp_path, train=SplitInfo({"train.tfrecord": 3}, 2, 1, (2, 5), num_with_boxes=1))
    level, kind, _, message = only(findings_of(info))
    assert (level, kind) == ("problem", "index")
    for part in ("masks: 2, found 3", "image-level labels: 1, found 3", "objects: 1, found 0", "width: 2x5, found 2x2"):
        assert part in message


def test_files_without_an_index_are_a_note(tmp_path):
    info = hand_made(tmp_path, train=[record(id) for id in "abc"])
    (finding,) = find(info, [inspect_split(info, "train")], [])
    assert (finding.level, finding.kind) == ("note", "no_index") and "describe_records.py" in finding.message


def test_an_index_of_other_records_is_a_problem(clean):
    """The ids change, and the pixels of one image."""
    (path, *_) = sorted(clean.glob("train-*.index.jsonl"))
    first, *rest = path.read_text().splitlines()
    changed = {**json.loads(first), "id": "other", "pixels": {"0": 4}}
    path.write_text("\n".join([json.dumps(changed), *rest]) + "\n")
    findings = [f for f in findings_of(DatasetInfo.load(clean)) if f.split == "train"]
    level, kind, _, message = only(findings)
    assert (level, kind) == ("problem", "index")
    assert f"(1): {path.name.removesuffix('.index.jsonl')}, record 0: id, pixels; build" in message


def test_a_part_of_a_file_is_a_split(clean):
    info = DatasetInfo.load(clean)
    assert info.split("train_1_2").runs_file
    inspection = inspect_split(info, "train_1_2")
    assert sorted(inspection.ids) == ["train0", "train3", "train5"] and inspection.defects == []


def test_hidden_masks_do_not_count(tmp_path):
    sources = [Source(f"h{i}", png(plain([i, 100, 9])), EVERYTHING, (1,)) for i in range(3)]
    info, _ = write_dataset(
        tmp_path / "hidden",
        "toy",
        {"train": sources},
        splits={"unlabeled": Split(("train",), hide_masks=True)},
        **SETTINGS,
    )
    assert findings_of(info) == []
    summary = inspect_split(info, "unlabeled").summary(info)
    assert summary["masks_hidden"] and summary["num_masks"] == 0
    assert [row["images"] for row in summary["classes"]] == [0, 3, 0]


def test_a_sample_is_decoded_but_all_ids_are_read(tmp_path, capsys):
    train = [record(f"image {i}", image=plain([i, i, i])) for i in range(11)]
    info = hand_made(tmp_path, train=train, val=[train[1]])
    assert run(f"--dataset={info.directory}", f"--output={tmp_path / 'out'}", "--sample=3") == 1
    content = json.loads((tmp_path / "out/report.json").read_text())
    summary = content["splits"]["train"]
    assert summary["estimated"] and (summary["num_images"], summary["num_decoded"], summary["num_masks"]) == (11, 3, 11)
    # Images 0, 5 and 10.
    np.testing.assert_allclose(summary["mean_color"], [5, 5, 5])
    assert "train: classes, pixels, sizes and colours are estimated from 3 of 11 images" in capsys.readouterr().out
    assert not content["splits"]["val"]["estimated"]
    assert ("leakage", "val") in [(finding["kind"], finding["split"]) for finding in content["findings"]]


def test_a_sample_cannot_say_that_a_class_is_missing(tmp_path):
    no_dog = np.array([[0, 1], [0, 255]], np.uint8)
    info = hand_made(tmp_path, train=[record(id, EVERYTHING if id == "b" else no_dog) for id in "abc"])
    level, kind, _, message = only(findings_of(info, sample=2))
    assert (level, kind) == (
        "note",
        "missing_class",
    ) and "in none of the sampled masks (1 of 3): dog; decode" in message


def test_spread_numbers():
    assert spread(11, 3).tolist() == [0, 5, 10]
    assert spread(3, 7).tolist() == [0, 1, 2]
    assert spread(0, 5).tolist() == spread(5, 0).tolist() == []


def test_the_sheet_shows_every_class():
    """Class 3 is in image 7 only, class 2 is clearest in image 4; the others are spread."""
    candidates = Candidates(spread(10, 4).tolist(), 4)
    for number in range(10):
        shares = {0: 0.5, 1: 0.5} | ({2: 0.01 * number} if number < 5 else {}) | ({3: 0.001} if number == 7 else {})
        candidates.add(number, b"", shares)
    assert [candidate.number for candidate in candidates.choose([3, 2, 1])] == [0, 4, 7, 9]
    assert [candidate.number for candidate in candidates.choose([])] == [0, 3, 6, 9]


def test_the_sheet_prefers_rare_classes_where_not_all_fit():
    candidates = Candidates([0], 1)
    for number in range(3):
        candidates.add(number, b"", {number + 1: 1.0})
    assert [candidate.number for candidate in candidates.choose([3, 1, 2])] == [2]


# Layout of the sheet: 44 pixels of header, margins of 12, thumbnails of at most 200 x 150 with 3 between, 38 for the texts.
LEFT, TOP, OVERLAY = 12, 44, 12 + 200 + 3
INFO = DatasetInfo("toy", CLASSES, COLORS, {})


def half_red() -> bytes:
    mask = np.zeros([150, 200], np.uint8)
    mask[:, :100] = 1
    return record("x", mask, plain([60, 60, 60], 150, 200))


def test_the_sheet_shows_image_and_mask_side_by_side():
    sheet = contact_sheet(INFO, [half_red()], title="toy: train", note="1 of 1 images")
    # Below is one line of the legend, 40 pixels high.
    assert sheet.shape == (TOP + 150 + 38 + 40, LEFT + 2 * 200 + 3 + 12, 3)
    assert (sheet[TOP : TOP + 150, LEFT : LEFT + 200] == 60).all()
    backdrop = 85 + 60 * 2 / 3
    assert (sheet[TOP + 75, OVERLAY + 150] == backdrop).all()
    tinted = 0.55 * np.array(RED) + 0.45 * backdrop
    np.testing.assert_allclose(sheet[TOP + 75, OVERLAY + 50], tinted, atol=1)
    assert (sheet[-40 + 6 + 9, LEFT + 9] == RED).all()


def test_the_sheet_is_a_grid():
    assert contact_sheet(INFO, [half_red()] * 5).shape == (TOP + 2 * (150 + 38) + 40, LEFT + 4 * (403 + 12), 3)
    without = contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 150, 200))] * 9)
    assert without.shape == (TOP + 2 * (150 + 38), LEFT + 8 * (200 + 12), 3)


def test_hidden_masks_are_not_drawn():
    sheet = contact_sheet(INFO, [half_red()], hide_masks=True)
    assert sheet.shape == (TOP + 150 + 38, LEFT + 200 + 12, 3)


def test_boxes_are_drawn_in_the_color_of_their_class():
    boxes = [Box(2, 30, 50, 90, 150)]
    sheet = contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 150, 200), boxes=boxes)])
    view = sheet[TOP : TOP + 150, OVERLAY : OVERLAY + 200]
    for y, x in ((30, 50), (89, 149), (60, 50), (60, 149)):
        assert (view[y, x] == BLUE).all()
    assert (view[60, 100] == 85 + 40).all() and (view[91, 151] == 85 + 40).all()
    assert (sheet[-40 + 6 + 9, LEFT + 9] == BLUE).all()


def test_the_name_of_a_class_is_written_at_its_box():
    """In a tag of 13 pixels at the upper left corner, in the colour of the class; a box that is too small has none."""
    for boxes, has_tag in (([Box(2, 30, 50, 90, 150)], True), ([Box(2, 30, 50, 40, 150)], False)):
        record_ = record("x", None, plain([60, 60, 60], 150, 200), boxes=boxes)
        view = contact_sheet(INFO, [record_])[TOP : TOP + 150, OVERLAY : OVERLAY + 200]
        tag = view[33:42, 53:70] if has_tag else view[33:37, 53:70]
        assert (tag == BLUE).all(-1).any() == has_tag and (len(np.unique(tag)) > 3) == has_tag


def test_an_image_without_an_object_says_so():
    sheets = [
        contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 150, 200), boxes=boxes)]) for boxes in ([], None)
    ]
    assert len(np.unique(sheets[0][TOP + 170 :])) > 3 and sheets[1].shape != sheets[0].shape


def test_a_large_box_does_not_hide_a_small_one():
    boxes = [Box(2, 60, 60, 80, 80), Box(1, 60, 60, 150, 200)]
    sheet = contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 150, 200), boxes=boxes)])
    assert (sheet[TOP + 60, OVERLAY + 70] == BLUE).all() and (sheet[TOP + 60, OVERLAY + 180] == RED).all()


def test_large_images_are_reduced_and_small_ones_enlarged():
    large = contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 300, 600))])
    assert large.shape == (TOP + 100 + 38, LEFT + 200 + 12, 3)
    small = contact_sheet(INFO, [record("x", None, plain([60, 60, 60], 40, 40))])
    assert small.shape == (TOP + 120 + 38, LEFT + 120 + 12, 3)


def test_no_sheet_on_demand(clean, tmp_path):
    run(f"--dataset={clean}", f"--output={tmp_path / 'out'}", "--sheet_images=0", "--splits=val")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.txt"]


def test_shapes_are_clean(tiny_shapes, tmp_path):
    """Both training splits whose size lets every class occur three times; validation is small, which is worth a note."""
    assert run(f"--dataset={tiny_shapes}", f"--output={tmp_path}", "--splits=train,val") == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert [split["num_images"] for split in content["splits"].values()] == [32, 6]
    assert {finding["split"] for finding in content["findings"]} <= {"val"}


def test_crops_and_objects_are_in_the_report(tmp_path):
    """A photo of 258 x 258, of which a crop of 129 sees a quarter, with a cat of 20 x 20 pixels."""
    mask = np.zeros([258, 258], np.uint8)
    mask[10:30, 40:60] = 1
    info = hand_made(tmp_path, train=[record("a", mask)])
    summary = inspect_split(info, "train").summary(info)
    assert summary["crop_shares"] == {129: 0.25, 257: pytest.approx((257 / 258) ** 2), 321: 1.0, 513: 1.0}
    assert [row["median_side"] for row in summary["classes"]] == [None, 20, None]
    lines = [line.split() for line in report(info, {"train": summary}, []).splitlines()]
    assert ["crop", "129", "sees", "25", "%"] in lines and ["1", "cat", "20"] in lines
