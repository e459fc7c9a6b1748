"""Weights of classes: by hand from numbers of pixels, in the loss, and where no method takes them."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from wss import experiment
from wss.data.class_weights import class_weights
from wss.data.dataset_info import DatasetInfo
from wss.data.splits import entries_of
from wss.errors import UserError
from wss.ops.losses import segmentation_loss


def one_device():
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.fixture
def counted(tiny_shapes, tmp_path):
    """Two images: 60 background and 40 of class 1; 95 background, 4 of class 2 and one ignored."""
    folder = shutil.copytree(tiny_shapes, tmp_path / "data")
    info = DatasetInfo.load(str(folder))
    pixels = [{"0": 60, "1": 40}, {"0": 95, "2": 4, "255": 1}]
    for index in folder.glob("*.index.jsonl"):
        lines = [json.loads(line) for line in index.read_text().splitlines()]
        for number, line in enumerate(lines):
            line["pixels"] = pixels[number % 2]
        index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return info


def test_median_frequency(counted):
    # f = 155 / 199, 40 / 100, 4 / 99; the median is 0.4.
    expected = [0.4 / (155 / 199), 1.0, 0.4 / (4 / 99), *[1.0] * 4]
    np.testing.assert_allclose(class_weights(counted, "train", "median_frequency"), expected)


def test_inverse_root_has_a_mean_of_one(counted):
    found = np.array(class_weights(counted, "train", "inverse_root"))
    shares = np.array([155, 40, 4]) / 199
    np.testing.assert_allclose(found[:3] * np.sqrt(shares), found[0] * np.sqrt(shares[0]))
    assert found[:3] @ shares == pytest.approx(1) and (found[3:] == 1).all()


def test_an_image_without_a_mask_does_not_count(counted):
    assert all(entry.pixels for entry in entries_of(counted, "train"))
    assert class_weights(counted, "val", (1, 2, 3, 4, 5, 6, 7)) == (1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(UserError, match=r"class_weights = \(1, 2\): 2 numbers, expected one for each of the 7 classes"):
        class_weights(counted, "train", (1, 2))


def test_the_loss_is_a_mean_by_weights():
    logits = tf.constant([[[[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]]])
    label = tf.constant([[[[0], [0], [255]]]])
    first, second = np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))
    both = tf.constant([[[[0], [1], [255]]]])
    of_one = np.log1p(np.exp(-1.0))
    weighed = segmentation_loss(logits, both, class_weights=(3.0, 1.0))
    np.testing.assert_allclose(weighed, (3 * first + of_one) / 4, rtol=1e-6)
    # One class alone: its weight cancels.
    alone = segmentation_loss(logits, label, class_weights=(7.0, 1.0))
    np.testing.assert_allclose(alone, (first + second) / 2, rtol=1e-6)
    assert float(segmentation_loss(logits, tf.fill([1, 1, 3, 1], 255), class_weights=(1.0, 1.0))) == 0
    assert float(segmentation_loss(logits, label, class_weights=(0.0, 1.0))) == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["train.class_weights = 'median'"], "train.class_weights = 'median', expected .*median_frequency"),
        (["train.class_weights = (0, 0, 0, 0, 0, 0, 0)"], "expected one above 0"),
        (["train.class_weights = (1, 2)"], "2 numbers, expected one for each of the 7 classes"),
        (["train.class_weights = (1, -2)"], "train.class_weights = .*expected"),
        (
            ["train.method = @Classification()", "train.class_weights = 'inverse_root'"],
            "Classification weighs no classes; remove it",
        ),
    ],
)
def test_what_cannot_be_weighed_is_one_line(tmp_path, small_parameters, parameters, message):
    with pytest.raises(UserError, match=message) as error:
        experiment.run([], [*small_parameters, *parameters], tmp_path / "run", strategy=one_device())
    assert "\n" not in str(error.value)


def test_a_run_says_its_weights(tmp_path, small_parameters, capsys):
    parameters = [*small_parameters, "train.class_weights = 'inverse_root'", "train.num_steps = 2"]
    experiment.run([], parameters, tmp_path, strategy=one_device())
    assert "class weights: background 0." in capsys.readouterr().out
