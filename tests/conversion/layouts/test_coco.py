"""COCO: masks of all kinds of segmentation by hand, tiny trees with real JSON, and every bad input that is named."""

import gzip
import json
import os
import pickle
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image
from pycocotools import mask as coco_api

from wss.conversion.layouts import coco
from wss.conversion.layouts.coco import FILES, read_coco
from wss.conversion.layouts.coco_masks import Annotation, CocoMask, clipped_box
from wss.conversion.layouts.coco_segmentations import decode_segmentation
from wss.data.boxes import Box
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.masks import voc_colors
from wss.data.record_files import split_records
from wss.errors import UserError
from wss.jobs.processes import ConversionStoppedError

SIZE = HEIGHT, WIDTH = 6, 8
# Out of order, with gaps: 1, 3, 90 become classes 1, 2, 3.
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]


def drawn(*rows: str) -> np.ndarray:
    """A mask from rows such as ".12#": "." is the background, "#" is ignored."""
    return np.array([[int({".": "0", "#": "255"}.get(value, value)) for value in row] for row in rows])


def rectangle(xmin: float, ymin: float, xmax: float, ymax: float) -> list[float]:
    return [xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]


def runs(*counts: int) -> dict:
    """Run lengths down the columns; the rest of the image is added."""
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, HEIGHT * WIDTH - sum(counts)]}


def annotation(id: int, image: int, category: int, segmentation, bbox=(1, 1, 3, 2), crowd: int = 0) -> dict:
    return {
        "segmentation": segmentation,
        "area": 1.5,
        "iscrowd": crowd,
        "image_id": image,
        "bbox": list(bbox),
        "category_id": category,
        "id": id,
    }


class Tree:
    """A small COCO: image 9 has two objects, 25 none, 30 a crowd; 7 is for validation, 1 and 2 are unlabelled."""

    def __init__(self, root: Path):
        self.root = root
        (root / "annotations").mkdir(parents=True)
        self.json = {
            "train2017": self.content(
                [9, 25, 30],
                [
                    annotation(5, 9, 3, [rectangle(1, 1, 4, 3)], [1, 1, 3, 2]),
                    annotation(4, 9, 90, [rectangle(5, 4, 8, 6)], [5, 4, 3.02, 2.01]),
                    annotation(6, 30, 1, runs(0, 48), [0, 0, 8, 6], crowd=1),
                    annotation(7, 30, 1, [rectangle(0, 0, 2, 2)], [0, 0, 2, 2]),
                ],
            ),
            "val2017": self.content([7], [annotation(5, 7, 1, [rectangle(2, 2, 4, 4)], [2, 2, 0, 2])]),
            "unlabeled2017": {"images": self.content([1], [])["images"]},
        }
        for split, ids in {"train2017": (9, 25, 30), "val2017": (7,), "unlabeled2017": (1, 2)}.items():
            (root / split).mkdir()
            for id in ids:
                pixels = np.random.default_rng(id).integers(0, 256, [*SIZE, 3], dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / f"{id:012d}.jpg")
        self.write()

    @staticmethod
    def content(ids: list[int], annotations: list[dict]) -> dict:
        size = {"height": HEIGHT, "width": WIDTH}
        images = [{"license": 3, "file_name": f"{id:012d}.jpg", **size, "id": id} for id in ids]
        return {"info": {"year": 2017}, "images": images, "annotations": annotations, "categories": CATEGORIES}

    def write(self) -> None:
        for split, content in self.json.items():
            (self.root / FILES[split]).write_text(json.dumps(content))


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path / "coco")


@pytest.fixture
def build(tree, tmp_path, run_script):
    """Returns build(*flags): converts the tree and returns what was written."""

    def run(*arguments: str, output: str = "out") -> DatasetInfo:
        run_script("build_coco", f"--coco_root={tree.root}", f"--output_dir={tmp_path / output}", *arguments)
        return DatasetInfo.load(tmp_path / output)

    return run


def examples_of(info: DatasetInfo, split: str) -> dict[str, dict]:
    """Image id -> tensors and boxes."""
    examples = {}
    for record in split_records(info, split):
        example = {**parse_example(record, info.num_classes, info.has_background), "objects": parse_boxes(record)}
        examples[example["name"].numpy().decode()] = example
    return examples


def records_of(info: DatasetInfo) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(info.directory).glob("*.tfrecord"))}


RECTANGLE = drawn("........", ".111....", ".111....", "........", "........", "........")
SEGMENTATIONS = {
    "polygon": [rectangle(1, 1, 4, 3)],
    "polygon of two parts": [rectangle(1, 1, 3, 3), rectangle(3, 1, 4, 3)],
    "run lengths": runs(7, 2, 4, 2, 4, 2),
    "run lengths with an empty run": runs(3, 0, 4, 2, 4, 2, 4, 2),
    # 7, 2, 4, and then differences to the last but one: 2 - 2, 4 - 4, 2 - 2, 27 - 4 = 23 = 10111 and a zero.
    "compressed run lengths": {"size": [HEIGHT, WIDTH], "counts": "724000g0"},
}


@pytest.mark.parametrize("kind", SEGMENTATIONS)
def test_segmentation_by_hand(kind):
    mask = CocoMask("", SIZE, (Annotation(1, 1, False, [1, 1, 3, 2], SEGMENTATIONS[kind]),)).read()
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, RECTANGLE)


def test_polygon_outside_of_the_image_is_cut_off():
    region = decode_segmentation([rectangle(-50, 4, 2, 90)], SIZE)
    np.testing.assert_array_equal(region, drawn(*["........"] * 4, "11......", "11......"))


@pytest.mark.parametrize("size", [(1, 1), (6, 8), (300, 40), (5, 2000)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_compressed_run_lengths_are_those_of_the_coco_api(size, density):
    region = np.random.default_rng(0).random(size) < density
    encoded = coco_api.encode(np.asfortranarray(region.astype(np.uint8)))
    segmentation = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    np.testing.assert_array_equal(decode_segmentation(segmentation, size), region)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_small_instances_lie_on_large_ones_and_all_on_crowds(order):
    instances = [
        Annotation(8, 1, False, [0, 0, 5, 5], [rectangle(0, 0, 5, 5)]),
        Annotation(2, 2, False, [3, 3, 3, 2], [rectangle(3, 3, 6, 5)]),
        Annotation(3, 3, False, [4, 3, 3, 2], [rectangle(4, 3, 7, 5)]),
        Annotation(9, 3, True, [4, 3, 4, 1], runs(4 * 6 + 2, 1, 5, 1, 5, 1, 5, 1)),
    ]
    mask = CocoMask("", SIZE, tuple(instances[i] for i in order)).read()
    # Of the two of equal size the one with the higher id is above; the crowd, the smallest, is below the largest.
    expected = drawn("11111...", "11111...", "11111###", "1112333.", "1112333.", "........")
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([1, 2, 3, 4], (2, 1, 6, 4)),
        ([-0.5, -1, 2, 2], (0, 0, 1, 1.5)),
        ([6, 4, 2.25, 9], (4, 6, 6, 8)),
        ([3, 3, 0, 2], None),
        ([3, 3, 2, 0], None),
        ([8, 0, 2, 2], None),
    ],
)
def test_boxes_are_cut_off_at_the_edges_of_the_image(bbox, expected):
    box = clipped_box(Annotation(1, 2, True, bbox, []), SIZE)
    assert box == (None if expected is None else Box(2, *expected, is_crowd=True))


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([], "no segmentation; expected polygons"),
        ([[1, 1, 3, 1]], "a polygon of 4 numbers; expected x and y of three or more points"),
        ([[1, 1, 3, 1, 3, 3, 1]], "a polygon of 7 numbers"),
        ([1, 1, 3, 1, 3, 3], "a polygon 1; expected"),
        ([[1, 1, 3, 1, 3, "3"]], "a polygon with '3'; expected coordinates"),
        ([[1, 1, 3, 1, 3, 1e300]], r"a polygon with 1e\+300; expected"),
        ({"counts": [48]}, r"run lengths of size None; expected \[height, width\] = \[6, 8\]"),
        ({"size": [8, 6], "counts": [48]}, r"run lengths of size \[8, 6\]"),
        ({"size": [6, 8]}, 'run lengths with wrong "counts"'),
        ({"size": [6, 8], "counts": [50, -2]}, 'run lengths with wrong "counts"'),
        ({"size": [6, 8], "counts": [5, 4]}, "run lengths of 9 pixels for an image of 8x6"),
        ({"size": [6, 8], "counts": [5, 4, 100]}, "run lengths of 109 pixels"),
        ({"size": [6, 8], "counts": "72"}, "run lengths of 9 pixels"),
        ({"size": [6, 8], "counts": "7~"}, "run lengths with the character '~'"),
        ({"size": [6, 8], "counts": "7m"}, "run lengths that end within a number"),
    ],
)
def test_bad_segmentation_names_its_annotation(segmentation, expected):
    mask = CocoMask("instances.json, 9.jpg", SIZE, (Annotation(77, 1, False, [0, 0, 1, 1], segmentation),))
    with pytest.raises(UserError, match=f"^instances.json, 9.jpg: annotation 77: {expected}"):
        mask.read()


def test_tree_becomes_records(build):
    info = build()
    assert info.name == "coco2017" and info.has_background
    assert info.class_names == ("background", "person", "car", "toothbrush")
    assert info.colors == tuple(tuple(map(int, color)) for color in voc_colors(4))
    counts = {name: (split.num_examples, split.num_masks) for name, split in info.splits.items()}
    assert counts == {"train2017": (3, 3), "val2017": (1, 1), "unlabeled2017": (1, 0)}
    train, val = (examples_of(info, split) for split in ("train2017", "val2017"))
    expected = {
        "000000000009": drawn("........", ".222....", ".222....", "........", ".....333", ".....333"),
        "000000000025": drawn(*["........"] * 6),
        "000000000030": drawn("11######", "11######", *["########"] * 4),
    }
    assert set(train) == set(expected) and set(val) == {"000000000007"}
    for id, mask in expected.items():
        np.testing.assert_array_equal(train[id]["label"][..., 0], mask)


def test_labels_and_boxes_of_records(build):
    info = build("--splits=train2017,val2017")
    train = examples_of(info, "train2017")
    two, none, crowd = (train[f"{id:012d}"] for id in (9, 25, 30))
    for example, image_label in ((two, [0, 1, 1]), (none, [0, 0, 0]), (crowd, [1, 0, 0])):
        assert example["has_image_label"] and example["objects"]["known"]
        np.testing.assert_array_equal(example["image_label"], image_label)
    # By the ids of the annotations, 4 and 5; the first one ends outside of the image.
    np.testing.assert_array_equal(two["objects"]["label"], [3, 2])
    expected = [[4 / 6, 5 / 8, 1, 1], [1 / 6, 1 / 8, 3 / 6, 4 / 8]]
    np.testing.assert_allclose(two["objects"]["boxes"], expected, rtol=1e-6)
    np.testing.assert_array_equal(crowd["objects"]["is_crowd"], [True, False])
    assert none["objects"]["boxes"].shape == (0, 4)
    flat = examples_of(info, "val2017")["000000000007"]
    assert flat["objects"]["boxes"].shape == (0, 4) and flat["objects"]["known"]
    np.testing.assert_array_equal(flat["image_label"], [1, 0, 0])
    assert (flat["label"].numpy() == 1).sum() == 4


def test_crowd_alone_is_an_image_label(tree, build):
    del tree.json["train2017"]["annotations"][3]
    tree.write()
    crowd = examples_of(build("--splits=train2017"), "train2017")["000000000030"]
    np.testing.assert_array_equal(crowd["image_label"], [1, 0, 0])
    assert (crowd["label"].numpy() == 255).all()


def test_unlabeled_images_are_those_of_the_folder_where_no_file_lists_them(tree, build):
    (tree.root / FILES["unlabeled2017"]).unlink()
    info = build("--splits=unlabeled2017")
    examples = examples_of(info, "unlabeled2017")
    assert set(examples) == {"000000000001", "000000000002"}
    assert not any(e["has_mask"] or e["has_image_label"] or e["objects"]["known"] for e in examples.values())
    # The classes come from the annotations of another split.
    assert info.class_names == ("background", "person", "car", "toothbrush") and list(info.splits) == ["unlabeled2017"]


def test_order_within_the_files_does_not_matter(tree, build):
    expected = records_of(build())
    for split, content in tree.json.items():
        for items in content.values():
            if isinstance(items, list):
                random.Random(1).shuffle(items)
        tree.json[split] = dict(reversed(content.items()))
    tree.write()
    assert records_of(build(output="other")) == expected and len(expected) == 5


def test_several_passes_write_the_same_records(tree, build, monkeypatch):
    expected = records_of(build())
    assert len([name for name in expected if name.startswith("train2017")]) == 3
    monkeypatch.setattr(coco, "MAX_OPEN_FILES", 2)
    assert records_of(build(output="other")) == expected


def parts_of(root: Path, folder: Path) -> list:
    """The two parts of the training images: 9 and 25, and 30."""
    folder.mkdir(exist_ok=True)
    return read_coco(root)[1]["train2017"].shards([np.array([0, 1]), np.array([2])], epath.Path(folder))


def test_parts_pickle(tree, tmp_path):
    for part in parts_of(tree.root, tmp_path / "parts"):
        copy = pickle.loads(pickle.dumps(part))
        assert list(copy) == list(part) and copy.fingerprint() == part.fingerprint()


def test_annotations_that_cannot_be_written_are_told(tree, tmp_path):
    pool = read_coco(tree.root)[1]["train2017"]
    with pytest.raises(ConversionStoppedError, match="nowhere: cannot be written"):
        pool.shards([np.array([0, 1, 2])], epath.Path(tmp_path / "nowhere"))


def test_fingerprints_change_with_images_and_annotations(tree, tmp_path):
    def fingerprints() -> list[str]:
        return [part.fingerprint() for part in parts_of(tree.root, tmp_path / "parts")]

    before = fingerprints()
    assert fingerprints() == before
    os.utime(tree.root / "train2017/000000000030.jpg", (1, 1))
    of_image = fingerprints()
    assert of_image[0] == before[0] and of_image[1] != before[1]
    os.utime(tree.root / FILES["train2017"], (1, 1))
    of_json = fingerprints()
    assert of_json[0] != before[0] and of_json[1] != of_image[1]
    tree.json["train2017"]["annotations"][0]["category_id"] = 1
    tree.write()
    os.utime(tree.root / FILES["train2017"], (1, 1))
    assert fingerprints()[0] != of_json[0] and fingerprints()[1] == of_json[1]


def test_memory_does_not_grow_with_the_annotations(tmp_path):
    peaks = [traced_peak(tmp_path / str(count), count) for count in (100, 10_000)]
    assert peaks[1] < peaks[0] + 2_000_000


def traced_peak(root: Path, count: int) -> int:
    """Reads COCO with `count` annotations of 6 kB of 100 images; returns the largest memory in bytes."""
    content = Tree.content(list(range(100)), [])
    # A string, not a polygon: numbers take a minute while memory is traced.
    segmentation = json.dumps({"size": list(SIZE), "counts": "0" * 6000})
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    with (root / FILES["train2017"]).open("w") as file:
        file.write(f'{{"images": {json.dumps(content["images"])}, "annotations": [')
        for id in range(count):
            file.write(", " if id else "")
            file.write(f'{{"segmentation": {segmentation}, "image_id": {id % 100}, "bbox": [1.5, 1.5, 2.5, 2.5], ')
            file.write(f'"category_id": 1, "id": {id}}}')
        file.write(f'], "categories": {json.dumps(CATEGORIES)}}}')
    (root / "parts").mkdir()
    tracemalloc.start()
    try:
        pool = read_coco(root)[1]["train2017"]
        pool.shards(np.array_split(np.arange(100), 4), epath.Path(root / "parts"))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lines_of(error: pytest.ExceptionInfo) -> list[str]:
    head, *lines = str(error.value).split("\n")
    assert head == f"nothing was written, {len(lines)} problem{'s' if len(lines) > 1 else ''}:"
    return lines


INSTANCES = "instances_train2017.json: "


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("image_id", 31, INSTANCES + 'no such "image_id" among its images (1 annotations), such as {'),
        ("category_id", 2, INSTANCES + 'no such "category_id" among its categories (1 annotations), such as {'),
        ("image_id", None, INSTANCES + "'image_id' is missing or wrong (1 annotations), such as {\"area\": 1.5"),
        ("iscrowd", "no", INSTANCES + "'iscrowd' is neither 0 nor 1 (1 annotations), such as {"),
        ("iscrowd", 2, INSTANCES + "'iscrowd' is neither 0 nor 1"),
        ("iscrowd", None, INSTANCES + "'iscrowd' is neither 0 nor 1"),
        ("bbox", [1, 2, 3], INSTANCES + "'bbox' is not [x, y, width, height] (1 annotations)"),
        ("segmentation", None, INSTANCES + "'segmentation' is missing or wrong (1 annotations)"),
        (
            "segmentation",
            [[1, 1, 2, 2]],
            "instances_train2017.json, 000000000009.jpg: annotation 5: a polygon of 4 numbers",
        ),
    ],
)
def test_bad_annotations(field, value, expected, tree, build, tmp_path):
    tree.json["train2017"]["annotations"][0][field] = value
    tree.write()
    with pytest.raises(UserError) as error:
        build()
    lines = lines_of(error)
    assert len(lines) == 1 and expected in lines[0] and lines[0].startswith(str(tree.root))
    assert not (tmp_path / "out").exists()


def test_many_bad_annotations_are_one_line_for_each_kind(tree, build):
    for entry in tree.json["train2017"]["annotations"][:3]:
        entry["image_id"] += 1
    tree.json["train2017"]["annotations"][3]["category_id"] = 2
    tree.write()
    with pytest.raises(UserError) as error:
        build()
    lines = lines_of(error)
    assert len(lines) == 2 and "(3 annotations), such as" in lines[0] and '"id": 5' in lines[0]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("file_name", "000000000010.jpg", "train2017/000000000010.jpg: missing"),
        ("height", 7, "000000000009.jpg: mask of 8x7 pixels for an image of 8x6; expected equal sizes"),
        ("height", 0, "instances_train2017.json, 000000000009.jpg: height 0 and width 8; expected those of the image"),
        ("height", 32769, "000000000009.jpg: height 32769 and width 8; expected those of the image"),
        ("width", 10**12, "000000000009.jpg: height 6 and width 1000000000000; expected those of the image"),
        ("file_name", "000000000025.jpg", INSTANCES + "2 images of name '000000000025'"),
        ("id", 25, INSTANCES + "2 images of id 25"),
    ],
)
def test_bad_images(field, value, expected, tree, build):
    tree.json["train2017"]["images"][0][field] = value
    del tree.json["train2017"]["annotations"][:2]
    tree.write()
    with pytest.raises(UserError) as error:
        build()
    lines = lines_of(error)
    assert len(lines) == 1 and expected in lines[0] and lines[0].startswith(str(tree.root))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("images", [], 'no list "images" in it, or an empty one; expected the file of annotations_trainval2017.zip'),
        ("annotations", None, 'no list "annotations" in it'),
        ("categories", {}, 'no list "categories" in it'),
        ("images", [5], "'id' is missing or wrong in \"images\": 5"),
        ("images", [{"id": 9}], '\'file_name\' is missing or wrong in "images": {"id": 9}'),
        ("categories", [{"id": "1"}], '\'id\' is missing or wrong in "categories": {"id": "1"}'),
        ("categories", [{"id": i, "name": "x"} for i in range(300)], "300 categories; expected at most 254"),
    ],
)
def test_bad_lists(key, value, expected, tree, build):
    tree.json["train2017"][key] = value
    tree.write()
    with pytest.raises(UserError) as error:
        build("--splits=train2017")
    assert f"{tree.root / FILES['train2017']}: {expected}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 40, 300, -1])
def test_truncated_json(kept, tree, build):
    path = tree.root / FILES["train2017"]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError) as error:
        build()
    message = str(error.value)
    assert message.startswith(f"{path}: broken or cut off JSON (parse error: premature EOF); expected that of ")
    assert "\n" not in message


def test_images_of_the_same_id_are_told_before_annotations_without_an_image(tree, build):
    tree.json["train2017"]["images"][0]["id"] = 25
    tree.write()
    with pytest.raises(UserError) as error:
        build()
    assert lines_of(error) == [f"{tree.root / FILES['train2017']}: 2 images of id 25"]


@pytest.mark.parametrize(
    "encode",
    [
        gzip.compress,
        lambda text: text.decode().encode("utf-16"),
        lambda text: text.replace(b"toothbrush", b"toothbr\xfcsh"),
    ],
    ids=["gzip", "UTF-16", "Latin-1"],
)
def test_json_that_is_no_text(encode, tree, build):
    path = tree.root / FILES["train2017"]
    path.write_bytes(encode(path.read_bytes()))
    with pytest.raises(UserError) as error:
        build()
    expected = (
        f"{path}: broken or cut off JSON (no UTF-8 text, or compressed); expected that of annotations_trainval2017"
    )
    assert str(error.value) == f"{expected}.zip from cocodataset.org"


def test_files_with_other_categories(tree, build):
    tree.json["val2017"]["categories"] = [{"id": 3, "name": "bus"}, *(item for item in CATEGORIES if item["id"] != 3)]
    tree.write()
    with pytest.raises(UserError, match="val2017.json: not the categories of instances_train2017.json, only one of"):
        build()


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_missing_annotation_file(split, tree, build):
    (tree.root / FILES[split]).unlink()
    with pytest.raises(UserError) as error:
        build()
    expected = f"{tree.root / FILES[split]}: missing; it is in annotations_trainval2017.zip from cocodataset.org"
    assert str(error.value) == expected


def test_missing_folders(tree, tmp_path, build, run_script):
    (tree.root / "val2017").rename(tree.root / "elsewhere")
    assert "val2017" not in build().splits
    with pytest.raises(UserError, match="val2017: no such folder; expected the images of val2017.zip from cocodataset"):
        build("--splits=val2017", output="other")
    with pytest.raises(UserError, match=r"--splits=val: no such split; expected .* Did you mean 'val2017'\?"):
        build("--splits=val", output="other")
    with pytest.raises(UserError, match="--coco_root=.*: none of the folders train2017, val2017, unlabeled2017 in it"):
        run_script("build_coco", f"--coco_root={tree.root / 'elsewhere'}", f"--output_dir={tmp_path / 'other'}")


def test_unlabeled_images_need_the_names_of_the_classes(tree, build):
    for file in FILES.values():
        (tree.root / file).unlink()
    with pytest.raises(UserError, match="annotations: no instances_.*json; they are in annotations_trainval2017.zip"):
        build("--splits=unlabeled2017")
    for path in (tree.root / "unlabeled2017").iterdir():
        path.unlink()
    tree.write()
    (tree.root / FILES["unlabeled2017"]).unlink()
    with pytest.raises(UserError, match=r"unlabeled2017: no \*.jpg in it; expected the images of unlabeled2017.zip"):
        build("--splits=unlabeled2017")


@pytest.mark.parametrize("package", ["ijson", "pycocotools.mask"])
def test_missing_package(package, build, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"COCO needs a package .*{package}.*: pip install 'wss\[convert\]'$"):
        build()
