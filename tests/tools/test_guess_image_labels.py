"""The command that guesses image-level labels: what it writes and says, whose classes it takes, what it refuses."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from wss import config
from wss.conversion.shapes import build_shapes
from wss.data.dataset_info import DatasetInfo
from wss.data.image_label_files import read_image_labels
from wss.data.record_index import index_path, read_index, write_index
from wss.data.splits import entries_of
from wss.errors import UserError
from wss.models.deeplab import build_model
from wss.models.weights.initial_weights import load_initial_weights
from wss.pseudo_labels.guessed_labels import guess_image_labels
from wss.pseudo_labels.label_spreading import Agreement

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "gin_configs/recipes/shapes/pseudoseg_image_labels.gin"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """One shape on each of 96 pictures, 24 with masks; the encoder of the demo knows them."""
    directory = tmp_path_factory.mktemp("guessed") / "shapes"
    build_shapes(directory, num_train=96, num_val=4, size=97, seed=5, num_shards=2)
    return directory


@pytest.fixture(scope="module")
def model(shapes):
    config.parse_config([RECIPE], [])
    model = build_model(DatasetInfo.load(shapes))
    load_initial_weights(model, "gin_configs/recipes/shapes/classifier.npz")
    return model


def guess(model, info: DatasetInfo, **options):
    options = {"labeled_split": "train_1_4", "unlabeled_split": "train", "image_size": 97, **options}
    return guess_image_labels(model, info, **options)


def truth(info: DatasetInfo, split: str) -> dict[str, np.ndarray]:
    return {entry.id: entry.present(info.num_classes, True)[1:] for entry in entries_of(info, split)}


def test_guesses_are_better_than_chance_and_the_photos_with_masks_tell_how_much(model, shapes):
    info = DatasetInfo.load(shapes)
    guessed = guess(model, info, min_fraction=0.0)
    true = truth(info, "train")
    of_others = np.stack([true[id] for id in guessed.guessed])
    found = Agreement.of(guessed.spread.shown, of_others)
    # By chance, with as many guesses of each class.
    by_chance = (guessed.spread.shown.mean(axis=0) * of_others.mean(axis=0)).sum() / of_others.mean(axis=0).sum()
    assert found.recall > by_chance + 0.1
    assert abs(guessed.held_out.f1 - found.f1) < 0.15


def test_known_classes_stay_as_they_are_and_photos_keep_their_ids(model, shapes):
    info = DatasetInfo.load(shapes)
    guessed = guess(model, info, min_fraction=0.0)
    labels, masks = guessed.labels(), truth(info, "train_1_4")
    assert set(guessed.known) == set(masks) and len(guessed.guessed) == 96 - 24
    for id, present in masks.items():
        assert labels[id] == tuple(np.flatnonzero(present) + 1)
    shown = dict(zip(guessed.guessed, guessed.spread.shown, strict=True))
    for id in guessed.guessed:
        assert labels.get(id, ()) == tuple(np.flatnonzero(shown[id]) + 1)


def test_tags_of_photos_without_masks_are_known_and_spread_too(model, shapes, tmp_path):
    """Photos that a person tagged, one of them with nothing, keep their tags; masks of photos to guess are not looked at."""
    directory = Path(shutil.copytree(shapes, tmp_path / "tagged"))
    info = DatasetInfo.load(directory)
    with_masks = set(truth(info, "train_1_4"))
    first, second = [id for id in truth(info, "train") if id not in with_masks][:2]
    tagged: dict[str, tuple[int, ...]] = {first: (2, 5), second: ()}
    for file in map(epath.Path, info.files("train")):
        entries = [
            dataclasses.replace(entry, image_labels=tagged.get(entry.id, entry.image_labels))
            for entry in read_index(file)
        ]
        write_index(index_path(file), entries)
    guessed = guess(model, info)
    assert set(guessed.known) == with_masks | set(tagged)
    assert all(guessed.labels()[id] == classes for id, classes in tagged.items())


def test_photos_that_are_all_known_need_no_guess(model, shapes):
    guessed = guess(model, DatasetInfo.load(shapes), unlabeled_split="train_1_4")
    assert not guessed.guessed and len(guessed.labels()) == 24 and guessed.summary()


def test_refusals(model, shapes, tmp_path):
    info = DatasetInfo.load(shapes)
    with pytest.raises(UserError, match="no split 'trian'"):
        guess(model, info, labeled_split="trian")
    empty = tmp_path / "shapes"
    build_shapes(empty, num_train=1, num_val=1, size=48, seed=5, num_shards=1)
    with pytest.raises(UserError, match="'train' has 1 photos with masks, expected two or more"):
        guess(model, DatasetInfo.load(empty), labeled_split="train", unlabeled_split="train")


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/guess_image_labels.py", f"--gin_file={RECIPE}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_writes_a_file_that_a_training_reads_and_does_not_replace_it(shapes, tmp_path):
    output, data = tmp_path / "tags.csv", f"--data_dir={shapes}"
    few = "--gin_param=TrainingData.labeled_split = 'train_1_4'"
    done = run(data, few, f"--output={output}", "--image_size=97")
    assert done.returncode == 0, done.stderr
    assert "Of the 72 photos to guess" in done.stdout and f"TrainingData.image_labels = '{output}'" in done.stdout
    info = DatasetInfo.load(shapes)
    labels, problems = read_image_labels(str(output), info.class_names, info.class_names[1:])
    assert not problems and 24 < len(labels) <= 96
    before = output.read_bytes()
    again = run(data, few, f"--output={output}", "--image_size=97")
    assert again.returncode and "is there already; give another file, or --overwrite" in again.stderr
    assert output.read_bytes() == before
    without = run(data, f"--output={tmp_path / 'b.csv'}", "--gin_param=train.initial_weights = None")
    assert without.returncode and "random weights know no classes" in without.stderr
    assert not (tmp_path / "b.csv").exists()
