"""Class-balanced subsets: what they promise, twice the same, and a clear line where they cannot be had."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wss.conversion.encode import LabelMap
from wss.conversion.shapes import build_shapes
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.balanced_subset import RANDOM_TRIES, balanced_subset, subset_size
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.masks import lookup_table
from wss.data.published_splits import published
from wss.data.record_damage import validate_records
from wss.data.record_files import split_records
from wss.errors import UserError


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    directory = tmp_path_factory.mktemp("built") / "shapes"
    build_shapes(directory, num_train=48, num_val=8, size=48)
    return directory


@pytest.fixture
def dataset(built, tmp_path):
    return shutil.copytree(built, tmp_path / "shapes")


def content(directory, pattern: str = "*") -> dict[str, bytes]:
    files = (path for path in directory.rglob(pattern) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def names_of(directory, split: str) -> set[str]:
    info = DatasetInfo.load(directory)
    validate_records(info, split)
    records = split_records(info, split).map(lambda record: parse_example(record, info.num_classes)["name"])
    return {name.decode() for name in records.as_numpy_iterator()}


def test_a_rare_class_is_found():
    present = np.zeros([1000, 3], bool)
    present[:, 0] = True
    present[[17, 400, 999], 1] = True
    present[[5, 17], 2] = True
    chosen, sample = balanced_subset(present, 4, 2, seed=0)
    assert len(set(chosen)) == 4 and list(chosen) == sorted(chosen)
    assert (present[chosen].sum(0) >= 2).all()
    assert {5, 17} <= set(chosen) and sample == -1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 3))
def test_a_subset_keeps_its_promise_or_says_why_not(seed, count, minimum):
    present = np.random.default_rng(seed).random([40, 4]) < 0.3
    try:
        chosen, _ = balanced_subset(present, count, minimum, seed=seed)
    except UserError as error:
        assert (present.sum(0) < minimum).any() or count < 4 * minimum
        assert "\n" not in str(error)
        return
    assert len(np.unique(chosen)) == count and (present[chosen].sum(0) >= minimum).all()
    np.testing.assert_array_equal(chosen, balanced_subset(present, count, minimum, seed=seed)[0])


def test_another_seed_chooses_others():
    present = np.ones([100, 2], bool)
    assert list(balanced_subset(present, 10, 1, seed=0)[0]) != list(balanced_subset(present, 10, 1, seed=1)[0])


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
        balanced_subset(present, count, minimum, seed=0, class_names=["cat", "dog"])
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
    before = content(dataset, "*.tfrecord*")
    ids = tmp_path / "few.txt"
    arguments = [f"--dataset={dataset}", "--num_images=12", "--min_images_per_class=2", f"--output_list={ids}"]
    run_script("make_split", *arguments, "--name=few", "--rest_name=others")
    info = DatasetInfo.load(dataset)
    chosen = ids.read_text().split()
    assert names_of(dataset, "few") == set(chosen) and len(chosen) == 12
    assert names_of(dataset, "others") == names_of(dataset, "train") - set(chosen)
    assert (info.split("few").num_masks, info.split("others").num_examples) == (12, 36)
    assert content(dataset, "*.tfrecord*") == before
    record = info.provenance["splits"]["few"]
    assert record["seed"] == 0 and record["num_images"] == 12 and record["from_split"] == "train"
    assert min(record["images_per_class"].values()) >= 2
    assert record["sample"] in range(RANDOM_TRIES)
    assert record["checksum"] == info.split("few").checksum
    assert record["checksum"] == hashlib.sha256("\n".join(sorted(chosen)).encode()).hexdigest()
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
    assert sum(DatasetInfo.load(dataset).split("few").shards.values()) == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--name=few"], "give either --num_images or --fraction"),
        (["--num_images=3"], "--name is missing"),
        (["--name=few", "--num_images=1"], "too few for min_images_per_class"),
        (["--name=few", "--num_images=49"], "49 images asked for, but the list has 48"),
        (["--name=few", "--num_images=3", "--from_split=trian"], "Did you mean 'train'"),
        (["--name=few", "--num_images=3", "--voc_root=x"], "either --dataset"),
        (["--list=voc_pseudoseg_1_8_138"], "no published list 'voc_pseudoseg_1_8_138'"),
        (["--list_file=ids.txt", "--num_images=3", "--name=few"], "either a list"),
        (["--num_images=20", "--name=../../evil"], "split '../../evil': expected a name"),
        (["--num_images=20", "--name=" + "x" * 101], "expected a name of at most 100"),
        (["--num_images=20", "--name=a", "--rest_name=a"], "split 'a': the name is given twice"),
        (["--num_images=48", "--name=a", "--rest_name=b"], "nothing is left for split 'b'"),
        (["--num_images=20", "--name=a", "--output_list=/dev/null/a.txt"], "/dev/null/a.txt: cannot be written"),
        (["--num_images=20", "--name=a", "--output_list=a.json"], "--output_list=a.json: expected another ending"),
        (["--num_images=20", "--name=a", "--hide_masks"], "--rest_name is missing"),
        (["--num_images=20", "--name=a", "--classes=0,1"], "--classes is for --voc_root"),
    ],
)
def test_bad_requests_are_one_line_and_change_nothing(flags, expected, dataset, run_script):
    before = content(dataset)
    with pytest.raises(UserError) as error:
        run_script("make_split", f"--dataset={dataset}", *flags)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert content(dataset) == before


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


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full([2, 2, 3], value % 256, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def cityscapes(shared, tmp_path_factory):
    """All training images of Cityscapes by name, of four pixels each."""
    ids = (shared / "splits/cityscapes/train2975.txt").read_text().split()
    mask = np.zeros([2, 2], np.uint8)
    sources = [Source(id, png(number), mask) for number, id in enumerate(ids)]
    labels = LabelMap(lookup_table(19))
    directory = tmp_path_factory.mktemp("records") / "cityscapes"
    colors = [(0, 0, 0)] * 19
    write_dataset(
        directory,
        "cityscapes",
        {"train_fine": sources},
        class_names=list(map(str, range(19))),
        colors=colors,
        labels=labels,
        workers=1,
    )
    return directory


def test_a_published_list_and_its_rest_become_splits(shared, cityscapes, tmp_path, run_script, capsys):
    directory = shutil.copytree(cityscapes, tmp_path / "cityscapes")
    before = content(directory, "*.tfrecord*")
    lists = shared / "splits/cityscapes"
    arguments = [f"--dataset={directory}", "--list=cityscapes_u2pl_372", "--rest_name=unlabeled"]
    run_script("make_split", *arguments, f"--list_file={lists / 'u2pl_372.txt'}", "--name=labeled")
    expected = set((lists / "u2pl_372.txt").read_text().split())
    assert names_of(directory, "labeled") == expected and len(expected) == 372
    assert names_of(directory, "unlabeled") == names_of(directory, "train_fine") - expected
    assert content(directory, "*.tfrecord*") == before
    info = DatasetInfo.load(directory)
    assert info.split("labeled").checksum == published("cityscapes_u2pl_372").sha256
    assert info.provenance["splits"]["unlabeled"]["without"] == "labeled"
    assert "nested" in capsys.readouterr().out
    with pytest.raises(UserError, match="cityscapes_u2pl_372: these are the 372 images of .*dars"):
        run_script("make_split", *arguments, f"--list_file={lists / 'dars_split8_372.txt'}", "--name=x", "--overwrite")


def test_a_list_with_a_rule_needs_no_file(shared, cityscapes, tmp_path, run_script):
    directory = shutil.copytree(cityscapes, tmp_path / "cityscapes")
    run_script("make_split", f"--dataset={directory}", "--list=cityscapes_cutmix_seed12345_100")
    expected = set((shared / "splits/cityscapes/cutmix_seed12345_100.txt").read_text().split())
    assert names_of(directory, "cityscapes_cutmix_seed12345_100") == expected


def test_an_own_list_becomes_a_split(dataset, tmp_path, run_script):
    (tmp_path / "ids.txt").write_text("shapes_00003\nshapes_00040\n")
    arguments = [f"--dataset={dataset}", f"--list_file={tmp_path / 'ids.txt'}", "--name=mine", "--hide_masks"]
    run_script("make_split", *arguments, "--rest_name=others")
    assert names_of(dataset, "mine") == {"shapes_00003", "shapes_00040"}
    info = DatasetInfo.load(dataset)
    assert (info.split("mine").num_masks, info.split("others").num_masks) == (2, 0)
    (tmp_path / "ids.txt").write_text("shapes_00003\nshapes_00049\n")  # of val
    with pytest.raises(UserError, match=r"ids.txt: 1 image \(shapes_00049\) is not in split 'train'"):
        run_script("make_split", *arguments, "--rest_name=others", "--overwrite")


def test_a_line_of_an_own_list_may_be_paths(dataset, tmp_path, run_script):
    (tmp_path / "ids.txt").write_text("/JPEGImages/shapes_00003.png /SegmentationClass/shapes_00003.png\n")
    run_script("make_split", f"--dataset={dataset}", f"--list_file={tmp_path / 'ids.txt'}", "--name=mine")
    assert names_of(dataset, "mine") == {"shapes_00003"}


def test_hidden_masks_stay_hidden(dataset, run_script):
    arguments = [f"--dataset={dataset}", "--num_images=20"]
    run_script("make_split", *arguments, "--name=few", "--rest_name=rest", "--hide_masks")
    with pytest.raises(UserError, match="of rest has neither a mask nor image-level labels"):
        run_script("make_split", *arguments, "--from_split=rest", "--name=x")
    (dataset.parent / "ids.txt").write_text("\n".join(sorted(names_of(dataset, "rest"))[:5]))
    run_script(
        "make_split",
        f"--dataset={dataset}",
        "--from_split=rest",
        "--name=x",
        f"--list_file={dataset.parent / 'ids.txt'}",
    )
    info = DatasetInfo.load(dataset)
    assert info.split("x").num_examples == 5 and info.split("x").num_masks == 0 and info.split("x").hide_masks


def test_the_lists_are_shown(run_script, capsys):
    run_script("make_split", "--show_lists")
    assert "voc_pseudoseg_1_2_732" in capsys.readouterr().out
    run_script("make_split", "--show_lists", "--list=voc_pseudoseg_1_2_732")
    assert "U2PL" in capsys.readouterr().out
