"""Which splits a plan takes, and the one that it makes."""

import dataclasses
import json
import shutil

import pytest

from wss.data.dataset_info import DatasetInfo
from wss.data.splits import entries_of
from wss.errors import UserError
from wss.planning.plan_splits import TRAIN, VALIDATION, choose_splits


@pytest.fixture
def info(tiny_shapes, tmp_path):
    """Returns a function that loads the data set with some splits left out or renamed."""

    def load(**renamed):
        folder = tmp_path / "data"
        if not folder.exists():
            shutil.copytree(tiny_shapes, folder)
        path = folder / "dataset.json"
        content = json.loads(path.read_text())
        splits = {name: split for name, split in content["splits"].items() if "_1_" not in name}
        content["splits"] = {renamed.get(name, name): split for name, split in splits.items() if renamed.get(name, 1)}
        path.write_text(json.dumps(content))
        return DatasetInfo.load(str(folder))

    return load


def test_the_usual_names(info):
    data = info()
    found, splits = choose_splits(data)
    assert found is data and splits.labeled == "train" and splits.validation == "val"
    assert splits.unlabeled == ("unlabeled" if "unlabeled" in data.splits else None)


def test_what_is_asked_for(info):
    _, splits = choose_splits(info(), labeled="val", validation="train", unlabeled="train")
    assert (splits.labeled, splits.validation, splits.unlabeled) == ("val", "train", "train")


def test_the_only_split_with_masks(info):
    _, splits = choose_splits(info(train="mine", unlabeled=None))
    assert (splits.labeled, splits.validation, splits.unlabeled) == ("mine", "val", None)


def test_a_fifth_of_the_masks_becomes_the_validation(info, capsys):
    data = info(val=None)
    before = {entry.id for entry in entries_of(data, "train")}
    found, splits = choose_splits(data)
    assert (splits.labeled, splits.validation) == (TRAIN, VALIDATION)
    train, val = ({entry.id for entry in entries_of(found, name)} for name in (TRAIN, VALIDATION))
    assert train | val == before and not train & val and len(val) == len(before) // 5
    assert "are kept for validation: 'plan_val'" in capsys.readouterr().out
    # Each class of two masks or more is in it, and it is the same the next time.
    present = [entry.present(7, True) for entry in entries_of(found, VALIDATION)]
    assert sum(present).all()
    again, splits = choose_splits(DatasetInfo.load(found.directory))
    assert again.splits == found.splits and splits.validation == VALIDATION
    assert capsys.readouterr().out == ""


def test_it_is_made_anew_for_other_masks(info):
    found, _ = choose_splits(info(val=None))
    other = dataclasses.replace(
        found, splits={**found.splits, "few": found.splits[VALIDATION], "train": found.splits["train"]}
    )
    changed, splits = choose_splits(other, labeled="few")
    assert splits.labeled == TRAIN
    assert (
        changed.split(TRAIN).num_examples + changed.split(VALIDATION).num_examples
        == found.split(VALIDATION).num_examples
    )


@pytest.mark.parametrize(
    ("renamed", "asked", "message"),
    [
        ({}, {"labeled": "trian"}, "--labeled_split=trian: .* has no masks; those with masks are train .*, val"),
        ({}, {"unlabeled": "more"}, "no split 'more'"),
        ({"train": None, "val": "a"}, {"validation": "a"}, "no split has masks to learn from"),
        ({"train": "one", "val": "two", "unlabeled": "three"}, {}, "--labeled_split is missing: no split is called"),
    ],
)
def test_what_cannot_be_planned_is_one_line(info, renamed, asked, message):
    data = info(**renamed)
    with pytest.raises(UserError, match=message) as error:
        choose_splits(data, **asked)
    assert "\n" not in str(error.value)


def test_five_masks_are_needed(info):
    data = info()
    few = dataclasses.replace(data.splits["train"], num_masks=4)
    with pytest.raises(UserError, match="split 'train' has 4 masks, expected 5 or more"):
        choose_splits(dataclasses.replace(data, splits={**data.splits, "train": few}))
