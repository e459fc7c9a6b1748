"""make_split on data sets and lists of others: no image is lost from all splits, names of any spelling are found."""

import json
import shutil
import unicodedata

import pytest

from wss.conversion.shapes import build_shapes
from wss.data.added_splits import add_splits, orphans
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.record_index import SUFFIX
from wss.data.splits import records_of
from wss.errors import UserError

SPELLED = "straße_é"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data set with a split "unlabeled" of a file of its own, as build_folder --unlabeled writes it."""
    directory = tmp_path_factory.mktemp("built") / "shapes"
    build_shapes(directory, num_train=12, num_val=5, size=48, num_shards=1)
    info = DatasetInfo.load(directory)
    splits = {"unlabeled" if name == "val" else name: split for name, split in info.splits.items()}
    DatasetInfo(**{**vars(info), "splits": splits}).save(directory)
    return directory


@pytest.fixture
def dataset(built, tmp_path):
    return shutil.copytree(built, tmp_path / "shapes")


def test_a_split_whose_images_no_other_has_is_not_replaced(dataset, run_script):
    before = (dataset / "dataset.json").read_bytes()
    arguments = [
        f"--dataset={dataset}",
        "--num_images=6",
        "--min_images_per_class=0",
        "--name=few",
        "--rest_name=unlabeled",
    ]
    with pytest.raises(UserError, match="has a split 'unlabeled' already; choose another name$"):
        run_script("make_split", *arguments)
    ids = dataset.parent / "ids.txt"
    with pytest.raises(UserError) as error:
        run_script("make_split", *arguments, "--overwrite", f"--output_list={ids}")
    assert "without the split 'unlabeled' that is there, 5 images such as 'shapes_000" in str(error.value)
    assert str(error.value).endswith("would be in no split; choose another name, such as 'unlabeled_2'")
    assert (dataset / "dataset.json").read_bytes() == before and not ids.exists()
    run_script("make_split", *arguments[:-1], "--rest_name=unlabeled_2")
    assert DatasetInfo.load(dataset).split("unlabeled").num_examples == 5


def test_a_whole_split_is_not_replaced_by_its_part(dataset, run_script):
    with pytest.raises(UserError, match="6 images .* would be in no split"):
        info = DatasetInfo.load(dataset)
        kept = {name: split for name, split in info.splits.items() if name in ("train", "unlabeled")}
        DatasetInfo(**{**vars(info), "splits": kept}).save(dataset)
        run_script(
            "make_split",
            f"--dataset={dataset}",
            "--num_images=6",
            "--min_images_per_class=0",
            "--name=train",
            "--overwrite",
        )


def test_what_other_splits_have_may_be_replaced(dataset):
    info = DatasetInfo.load(dataset)
    train = records_of(info, "train")
    info = add_splits(info, {"few": train[:3]}, {})
    assert orphans(info, ["few"]) == [] and len(orphans(info, ["unlabeled"])) == 5
    assert add_splits(info, {"few": train[3:5]}, {}, overwrite=True).split("few").num_examples == 2
    # All of it in new splits together is no loss either.
    left = {"unlabeled": records_of(info, "unlabeled")[:2], "others": records_of(info, "unlabeled")[2:]}
    info = add_splits(info, left, {}, overwrite=True)
    assert (info.split("unlabeled").num_examples, info.split("others").num_examples) == (2, 3)
    with pytest.raises(UserError, match="2 images such as .* would be in no split"):
        add_splits(info, {"unlabeled": train[:1]}, {}, overwrite=True)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("line", ["{}", "\ufeff{}", "{}\r", "/photos/{}.png /masks/{}.png", "{}.jpg"])
def test_ids_are_found_in_any_spelling(dataset, tmp_path, run_script, form, line):
    """macOS writes an accent and its letter apart; Windows begins a text with a mark and ends lines in two characters."""
    (index,) = dataset.glob(f"train*{SUFFIX}")
    entries = [json.loads(line) for line in index.read_text().splitlines()]
    entries[3]["id"] = unicodedata.normalize("NFD" if form == "NFC" else "NFC", SPELLED)
    index.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    listed = line.replace("{}", unicodedata.normalize(form, SPELLED))
    (tmp_path / "ids.txt").write_bytes((listed + "\n").encode())
    run_script("make_split", f"--dataset={dataset}", f"--list_file={tmp_path / 'ids.txt'}", "--name=mine")
    (found,) = records_of(DatasetInfo.load(dataset), "mine")
    assert found.entry.id == entries[3]["id"]


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/b", "..", ".", "a\nb", "a\0b", "\x1b[31m", "a\\b", "x" * 101]
)
def test_names_that_are_paths_are_refused(dataset, run_script, name):
    for flag in ("--name", "--rest_name"):
        flags = [f"--dataset={dataset}", "--num_images=6", "--name=few", f"{flag}={name}"]
        with pytest.raises(UserError, match="expected a name of at most 100 letters") as error:
            run_script("make_split", *flags)
        assert str(error.value).isprintable()


def test_an_index_of_other_images_is_told(dataset, run_script):
    (index,) = dataset.glob(f"train*{SUFFIX}")
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="its index has 11 images, dataset.json says 12; build the data set again"):
        run_script("make_split", f"--dataset={dataset}", "--num_images=6", "--name=few")


def test_links_are_replaced_and_not_written_through(dataset, tmp_path, run_script):
    target = tmp_path / "elsewhere.json"
    (dataset / "dataset.json").rename(target)
    (dataset / "dataset.json").symlink_to(target)
    before = target.read_bytes()
    outside = tmp_path / "outside.json"
    outside.write_text("mine")
    (dataset / "splits").mkdir(exist_ok=True)
    (dataset / "splits/few.json").symlink_to(outside)
    run_script("make_split", f"--dataset={dataset}", "--num_images=6", "--min_images_per_class=0", "--name=few")
    assert target.read_bytes() == before and outside.read_text() == "mine"
    assert DatasetInfo.load(dataset).split("few").num_examples == 6


def test_splits_of_the_same_file_with_other_counts_are_kept(dataset):
    info = DatasetInfo.load(dataset)
    (file,) = info.split("train").shards
    wrong = SplitInfo({file: 13}, 12, 0, (48, 48))
    with pytest.raises(UserError, match="its index has 12 images, dataset.json says 13"):
        records_of(DatasetInfo(**{**vars(info), "splits": {"train": wrong}}), "train")
