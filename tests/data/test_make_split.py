"""Class-balanced subsets: what they promise, twice the same, and a clear line where they cannot be had."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wss.data.info import DatasetInfo
from wss.data.schema import parse_example, validate_records
from wss.data.shapes import build_shapes
from wss.data.subsets import balanced_subset, subset_size
from wss.errors import UserError


@pytest.fixture
def dataset(tmp_path):
    build_shapes(tmp_path / "shapes", num_train=48, num_val=8, size=48)
    return tmp_path / "shapes"


def names_of(directory, split: str) -> set[str]:
    info = DatasetInfo.load(directory)
    validate_records(info, split)
    records = tf.data.TFRecordDataset(info.files(split))
    return {parse_example(record, info.num_classes)["name"].numpy().decode() for record in records}


def test_a_rare_class_is_found():
    present = np.zeros([1000, 3], bool)
    present[:, 0] = True
    present[[17, 400, 999], 1] = True
    present[[5, 17], 2] = True
    chosen = balanced_subset(present, 4, 2, seed=0)
    assert len(set(chosen)) == 4 and list(chosen) == sorted(chosen)
    assert (present[chosen].sum(0) >= 2).all()
    assert {5, 17} <= set(chosen)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 3))
def test_a_subset_keeps_its_promise_or_says_why_not(seed, count, minimum):
    present = np.random.default_rng(seed).random([40, 4]) < 0.3
    try:
        chosen = balanced_subset(present, count, minimum, seed)
    except UserError as error:
        assert (present.sum(0) < minimum).any() or count < 4 * minimum
        assert "\n" not in str(error)
        return
    assert len(np.unique(chosen)) == count and (present[chosen].sum(0) >= minimum).all()
    np.testing.assert_array_equal(chosen, balanced_subset(present, count, minimum, seed))


def test_another_seed_chooses_others():
    present = np.ones([100, 2], bool)
    assert list(balanced_subset(present, 10, 1, 0)) != list(balanced_subset(present, 10, 1, 1))


@pytest.mark.parametrize(
    ("count", "minimum", "expected"),
    [
        (5, 3, "fewer images with cat (2)"),
        (1, 1, "1 images are too few for min_images_per_class = 1 of 2 classes: 2 would do"),
        (11, 1, "11 images asked for, but the list has 10"),
    ],
)
def test_the_impossible_is_one_line(count, minimum, expected):
    present = np.zeros([10, 2], bool)
    present[:2, 0] = present[2:, 1] = True
    with pytest.raises(UserError) as error:
        balanced_subset(present, count, minimum, 0, ["cat", "dog"])
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("total", "count", "fraction", "expected"), [(1464, None, "1/16", 92), (10, 3, None, 3), (7, None, "0.5", 4)]
)
def test_subset_size(total, count, fraction, expected):
    assert subset_size(total, count, fraction) == expected


@pytest.mark.parametrize(("count", "fraction"), [(None, None), (3, "1/2"), (None, "x"), (None, "1/0"), (None, "2")])
def test_bad_subset_sizes(count, fraction):
    with pytest.raises(UserError, match="fraction"):
        subset_size(10, count, fraction)


def test_a_built_data_set_gets_further_splits(dataset, tmp_path, run_script):
    before = {path.name: path.read_bytes() for path in dataset.glob("*.tfrecord")}
    ids = tmp_path / "few.txt"
    arguments = [f"--dataset={dataset}", "--num_images=12", "--min_images_per_class=2", f"--output_list={ids}"]
    run_script("make_split", *arguments, "--name=few", "--rest_name=others")
    info = DatasetInfo.load(dataset)
    chosen = ids.read_text().split()
    assert names_of(dataset, "few") == set(chosen) and len(chosen) == 12
    assert names_of(dataset, "others") == names_of(dataset, "train") - set(chosen)
    assert (info.split("few").num_masks, info.split("others").num_examples) == (12, 36)
    assert {path.name: path.read_bytes() for path in dataset.glob("*.tfrecord") if path.name in before} == before
    record = info.provenance["splits"]["few"]
    assert record["seed"] == 0 and record["num_images"] == 12 and record["from_split"] == "train"
    assert min(record["images_per_class"].values()) >= 2
    assert record["checksum"] == hashlib.sha256(ids.read_bytes()).hexdigest() == info.split("few").checksum
    assert json.loads((tmp_path / "few.json").read_text()) == record


def test_the_same_seed_chooses_the_same(dataset, run_script):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_script("make_split", f"--dataset={dataset}", "--fraction=1/4", f"--name={name}", f"--seed={seed}")
    assert names_of(dataset, "a") == names_of(dataset, "b") != names_of(dataset, "c")


def test_an_existing_split_is_replaced_only_on_demand(dataset, run_script):
    arguments = [f"--dataset={dataset}", "--name=few"]
    run_script("make_split", *arguments, "--num_images=8")
    with pytest.raises(UserError, match="has a split 'few' already; add --overwrite"):
        run_script("make_split", *arguments, "--num_images=2")
    run_script("make_split", *arguments, "--num_images=2", "--min_images_per_class=0", "--overwrite")
    assert len(names_of(dataset, "few")) == 2
    assert sorted(path.name for path in dataset.glob("few-*")) == [
        "few-00000-of-00002.tfrecord",
        "few-00001-of-00002.tfrecord",
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--name=few"], "give either --num_images or --fraction"),
        (["--num_images=3"], "--name is missing"),
        (["--name=few", "--num_images=1"], "too few for min_images_per_class"),
        (["--name=few", "--num_images=49"], "49 images asked for, but the list has 48"),
        (["--name=few", "--num_images=3", "--from_split=trian"], "Did you mean 'train'"),
        (["--name=few", "--num_images=3", "--voc_root=x"], "either --dataset"),
    ],
)
def test_bad_requests_are_one_line_and_change_nothing(flags, expected, dataset, run_script):
    before = sorted((path.name, path.read_bytes()) for path in dataset.iterdir())
    with pytest.raises(UserError) as error:
        run_script("make_split", f"--dataset={dataset}", *flags)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert sorted((path.name, path.read_bytes()) for path in dataset.iterdir()) == before


def test_a_devkit_gets_a_list(tmp_path, run_script):
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for index in range(20):
        mask = np.full([4, 4], 15 if index == 13 else 8, np.uint8)
        Image.fromarray(mask).save(root / f"SegmentationClass/{index:02d}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{index:02d}\n" for index in range(20)))
    output = tmp_path / "few.txt"
    arguments = [f"--voc_root={root}", f"--output_list={output}", "--classes=0,8,15"]
    run_script("make_split", *arguments, "--fraction=1/5")
    ids = output.read_text().split()
    assert len(ids) == 4 and "13" in ids and ids == sorted(ids)
    assert json.loads((tmp_path / "few.json").read_text())["images_per_class"] == {"cat": 3, "person": 1}
    with pytest.raises(UserError, match="few.txt: exists"):
        run_script("make_split", *arguments, "--num_images=4")
    with pytest.raises(UserError, match=r"fewer images with person \(1\)"):
        run_script("make_split", *arguments, "--num_images=4", "--min_images_per_class=2", "--overwrite")
