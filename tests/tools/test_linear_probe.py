"""The linear probe: ridge regression by hand and on blobs, which images it takes, the command, and ImageNet's weights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scripts import load_module, separate_flags

from wss import config
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.voc import Devkit
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.masks import VOC_CLASSES, lookup_table, read_mask, voc_colors
from wss.data.record_files import split_records
from wss.errors import UserError
from wss.inference.pooled_features import pooled_features
from wss.models.deeplab import build_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def probe():
    """The tool as a module, its flags kept apart from those of the commands, which have the same names."""
    with separate_flags():
        return load_module(ROOT / "tools/linear_probe.py")


@pytest.fixture(scope="module")
def info(tiny_shapes) -> DatasetInfo:
    return DatasetInfo.load(tiny_shapes)


def masks_of(info: DatasetInfo, split: str) -> list[np.ndarray]:
    records = split_records(info, split).map(lambda record: parse_example(record, info.num_classes))
    return [example["label"].numpy() for example in records]


def blobs(number: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in ten dimensions, of which three tell them apart; one dimension is constant, one huge."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, number)
    features = rng.normal(0, spread, (number, 10))
    features[:, :3] += np.eye(3)[labels]
    features[:, 8], features[:, 9] = 5.0, features[:, 9] * 1e4
    return features, labels


def test_ridge_scores_by_hand(probe):
    """Four points of one feature at -3, -1, 1, 3 (deviation sqrt(5)), classes 0, 0, 1, 1. Centred targets of class 1 are
    -.5, -.5, .5, .5, so the slope is positive for every penalty and the border lies at the mean, 0."""
    train, labels = np.array([[-3.0], [-1.0], [1.0], [3.0]]), np.array([0, 0, 1, 1])
    test = np.array([[-9.0], [-0.01], [0.01], [9.0]])
    classes = probe._ridge(train, labels, test, np.array([1e-6, 1.0, 100.0]))
    np.testing.assert_array_equal(classes, [[0, 0, 1, 1]] * 3)


def test_ridge_equals_the_normal_equations(probe):
    (train, labels), (test, _) = blobs(60, 0.6, 0), blobs(200, 0.6, 1)
    ridges = np.array([0.01, 1.0])
    mean, deviation = train.mean(axis=0), np.where(np.ptp(train, axis=0) > 0, train.std(axis=0), 1.0)
    x, y = (train - mean) / deviation, np.eye(3)[labels]
    for ridge, classes in zip(ridges, probe._ridge(train, labels, test, ridges), strict=True):
        weights = np.linalg.solve(x.T @ x + 60 * ridge * np.eye(10), x.T @ (y - y.mean(axis=0)))
        scores = (test - mean) / deviation @ weights + y.mean(axis=0)
        np.testing.assert_array_equal(classes, scores.argmax(axis=1))


def test_separable_blobs_are_told_apart(probe):
    (train, labels), (test, truth) = blobs(200, 0.05, 0), blobs(100, 0.05, 1)
    np.testing.assert_array_equal(probe.ridge_predictions(train, labels, test), truth)


def test_noise_is_left_to_chance(probe):
    rng = np.random.default_rng(0)
    predicted = probe.ridge_predictions(rng.normal(size=(300, 20)), rng.integers(0, 3, 300), rng.normal(size=(300, 20)))
    assert abs(np.mean(predicted == rng.integers(0, 3, 300)) - 1 / 3) < 0.1


def test_penalty_is_chosen_on_training_images(probe):
    """More features than images: with little penalty it learns the noise by heart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    features = rng.normal(size=(600, 150)) + 0.15 * (2 * labels[:, None] - 1) * (np.arange(150) < 50)
    train, test = slice(0, 160), slice(160, None)
    chosen = np.mean(probe.ridge_predictions(features[train], labels[train], features[test]) == labels[test])
    least = probe._ridge(features[train], labels[train], features[test], probe.RIDGES[:1])[0]
    assert chosen > np.mean(least == labels[test]) + 0.05


@pytest.mark.parametrize("min_fraction", [0.0, 0.05, 0.2])
def test_images_show_exactly_one_of_the_classes(probe, info, min_fraction):
    classes = [1, 2, 4]
    expected = []
    for mask in masks_of(info, "train"):
        shares = [np.mean(mask == c) for c in classes]
        present = [index for index, share in enumerate(shares) if share > 0 and share >= min_fraction]
        expected += present if len(present) == 1 else []
    images = list(probe.single_class_images(info, "train", classes, min_fraction=min_fraction, size=33))
    assert [int(label) for _, label in images] == expected
    assert 0 < len(expected) < 32
    assert all(image.shape == (33, 33, 3) and image.dtype == tf.float32 for image, _ in images)
    assert max(float(tf.reduce_max(image)) for image, _ in images) > 100


def test_counts_are_told_and_a_class_without_images_is_refused(probe, info, capsys):
    labels = lambda *values: tf.data.Dataset.from_tensor_slices((np.zeros(len(values)), np.array(values)))
    np.testing.assert_array_equal(probe.labels_of(info, "val", labels(1, 0, 1), classes=[2, 4]), [1, 0, 1])
    assert "val: square 1, ring 2; 3 images left out" in capsys.readouterr().out
    with pytest.raises(UserError, match="no image of split 'val' shows 'ring' and no other"):
        probe.labels_of(info, "val", labels(0, 0), classes=[2, 4])


def test_classes_by_name(probe, info):
    assert probe.class_ids(info, ["ring", "square"]) == [2, 4]
    assert probe.class_ids(info, []) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match=r"--classes=rings: no class.* Did you mean 'ring'\?"):
        probe.class_ids(info, ["disk", "rings"])
    with pytest.raises(UserError, match="--classes=background: no class"):
        probe.class_ids(info, ["disk", "background"])
    with pytest.raises(UserError, match="--classes=disk,disk: expected two classes"):
        probe.class_ids(info, ["disk", "disk"])


def test_features_are_the_mean_of_what_the_classifier_sees(probe, info):
    model = build_model(info, backbone="mobilenet_v2", depth_multiplier=0.25)
    images = np.random.default_rng(0).uniform(0, 255, (5, 33, 33, 3)).astype(np.float32)
    features = pooled_features(model, tf.data.Dataset.from_tensor_slices(images), batch_size=2)
    expected = model.backbone(images)["cam_features"].numpy().mean(axis=(1, 2))
    assert features.shape == (5, model.feature_channels["cam_features"])
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_command_loads_weights(info, tmp_path):
    """Weights saved from the random initialisation of seed 0 score what seed 0 does; the network is one of DeepLab's
    plain ones, to which weights of the default network do not fit."""
    plain = {"depth_multiplier": 0.25, "depth_divisor": 1, "aspp_rates": (), "use_decoder": False}
    keras.utils.set_random_seed(0)
    model = build_model(info, backbone="mobilenet_v2", **plain)
    model.save_weights(tmp_path / "seed0.weights.h5")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "tools/linear_probe.py", f"--dataset={info.directory}", "--test_split=train_1_4"]
        command += [f"--gin_param=build_model.{name} = {value}" for name, value in plain.items()]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command += ["--image_size=33", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)

    done = run(
        f"--initial_weights={tmp_path / 'seed0.weights.h5'}", "--classes=square,ring,star", "--min_fraction=0.03"
    )
    assert done.returncode == 0, done.stderr
    rows = {
        match[1].strip(): (int(match[2]), int(match[3]), float(match[4]))
        for match in re.finditer(r"^(.+?)  +(\d+)  +(\d+)  +([\d.]+)$", done.stdout, re.MULTILINE)
    }
    assert rows["seed0.weights.h5"] == rows["random, mean of 1"]
    assert 0 <= rows["seed0.weights.h5"][2] <= 1
    assert rows["chance: the largest class"][2] >= 1 / 3
    wrong = run("--initial_weights=none.npz", "--classes=disk,rings")
    assert wrong.returncode == 2 and "Did you mean 'ring'?" in wrong.stderr and "Traceback" not in wrong.stderr


VOC_ANIMALS = (8, 10, 12, 13, 17)


def photos_of(root: Path, split: str, number: int) -> list[Source]:
    """The first photos of a devkit's list that show one kind of animal only, `number` of each kind."""
    found = {animal: [] for animal in VOC_ANIMALS}
    devkit = Devkit(root)
    for source in map(devkit.source, devkit.read(split)):
        shown = np.intersect1d(read_mask(source.mask), VOC_ANIMALS)
        if len(shown) == 1 and len(found[shown[0]]) < number:
            found[shown[0]].append(source)
    return [photo for photos in found.values() for photo in photos]


@pytest.fixture(scope="module")
def animals(shared, tmp_path_factory) -> DatasetInfo:
    """Records of 150 training and 100 test photos, as many of each animal."""
    root, keep = shared / "data/voc_animals", sorted((0, 15, *VOC_ANIMALS))
    written, _ = write_dataset(
        tmp_path_factory.mktemp("animals") / "records",
        "animals",
        {"train": photos_of(root, "train", 30), "val": photos_of(root, "val", 20)},
        class_names=[VOC_CLASSES[c] for c in keep],
        colors=voc_colors()[keep],
        labels=LabelMap(lookup_table(len(VOC_CLASSES), keep)),
    )
    return written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "backbone"),
    [
        ("mobilenet_v2_1.0_imagenet.npz", "mobilenet_v2"),
        ("resnet50_keras_imagenet_notop_fp16.npz", "resnet_v1_50_keras"),
    ],
)
def test_imagenet_weights_know_animals(probe, animals, shared, file, backbone):
    """Chance is 0.2; 0.64 and 0.60 were measured, 0.29 and 0.28 with random weights."""
    config.parse_config([], [f"build_model.backbone = {backbone!r}"])
    classes = probe.class_ids(animals, [VOC_CLASSES[c] for c in VOC_ANIMALS])
    train, test = (
        probe.single_class_images(animals, split, classes, min_fraction=0.0, size=129) for split in ("train", "val")
    )
    labels, truth = (
        probe.labels_of(animals, "train", train, classes=classes),
        probe.labels_of(animals, "val", test, classes=classes),
    )
    np.testing.assert_array_equal(np.bincount(labels), [30] * 5)
    np.testing.assert_array_equal(np.bincount(truth), [20] * 5)

    def accuracy(weights: str | None = None) -> float:
        model = probe.build(animals, 0, weights)
        features, test_features = (
            pooled_features(model, images.map(lambda image, _: image), 32) for images in (train, test)
        )
        return np.mean(probe.ridge_predictions(features, labels, test_features) == truth)

    pretrained, random = accuracy(str(shared / "data/weights" / file)), accuracy()
    print(f"{file}: {pretrained:.3f}, random: {random:.3f}")
    assert pretrained > max(0.5, random + 0.2)
