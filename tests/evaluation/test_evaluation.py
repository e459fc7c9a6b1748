"""`Evaluation` under `ResizeToRange`: mIoU counts the pixels of resized images and masks, by hand."""

import json
import os

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import pseudoseg_network

from wss import config
from wss.data.dataset_info import DatasetInfo, SplitInfo, load_dataset
from wss.data.example import encode_example
from wss.data.masks import encode_mask
from wss.data.padding import Padding
from wss.errors import UserError
from wss.evaluation.evaluation import Evaluation, report
from wss.evaluation.result import read_json
from wss.experiment import open_run
from wss.models.weights.weights_file import save_weights
from wss.run_directory import CONFIG_NAME, RunDirectory

GREY = (127.5, 127.5, 127.5)


@pytest.fixture
def model(two_replicas) -> keras.Model:
    """Class 1 where the red channel is above 0.5, else class 0."""
    with two_replicas.scope():
        layer = keras.layers.Conv2D(2, 1)
        model = keras.Sequential([keras.Input((None, None, 3)), layer])
    kernel = np.zeros([1, 1, 3, 2])
    kernel[0, 0, 0, 1] = 20.0
    layer.set_weights([kernel, np.array([0.0, -10.0])])
    model.num_classes, model.padding = 2, Padding(GREY)
    return model


@pytest.fixture
def info(tmp_path) -> DatasetInfo:
    """A mask of 5 x 9 pixels whose class is 1 from column 4 on, and it on its side; the images are the masks."""
    lying = np.tile(np.repeat(np.array([0, 1], np.uint8), [4, 5]), (5, 1))
    with tf.io.TFRecordWriter(str(tmp_path / "val.tfrecord")) as writer:
        for name, mask in (("lying", lying), ("standing", lying.T)):
            image = tf.io.encode_png(np.repeat(mask[..., None], 3, axis=-1)).numpy()
            writer.write(encode_example(image, "png", name, size=mask.shape, mask_png=encode_mask(mask)))
    splits = {"val": SplitInfo({"val.tfrecord": 2}, 2, 0, (9, 9))}
    return DatasetInfo("halves", ("zero", "one"), ((0, 0, 0), (255, 0, 0)), splits, directory=str(tmp_path))


def test_without_resize_every_pixel_is_right(model, info, two_replicas):
    result = Evaluation(batch_size=2).open(model, info, two_replicas)()
    np.testing.assert_array_equal(result.confusion, [[40, 0], [0, 50]])
    assert result.mean_iou == 1.0


def test_resized_images_are_compared_with_resized_masks(model, info, two_replicas):
    """9 x 17 pixels, every second one between two old ones: column 7 is half 0, half 1; nearest rounds up to class 1, and
    the model, at exactly 0.5, says class 0."""
    gin.bind_parameter("ResizeToRange.min_size", 9)
    gin.bind_parameter("ResizeToRange.factor", 8)
    result = Evaluation(batch_size=2).open(model, info, two_replicas)()
    np.testing.assert_array_equal(result.confusion, [[2 * 9 * 7, 0], [2 * 9, 2 * 9 * 9]])
    np.testing.assert_allclose(result.mean_iou, (7 / 8 + 9 / 10) / 2)
    assert result.num_images == 2


def test_windows_a_few_at_once_change_nothing(model, info, two_replicas):
    results = [
        Evaluation(batch_size=2, window=(3, 3), windows_at_once=at_once).open(model, info, two_replicas)()
        for at_once in (3, None)
    ]
    for result in results:
        np.testing.assert_array_equal(result.confusion, [[40, 0], [0, 50]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"batch_size": 0}, "Evaluation.batch_size = 0, expected an integer from 1 to 65536"),
        ({"size": 513}, r"Evaluation.size = 513, expected \(height, width\)"),
        ({"window": (361, 0)}, "Evaluation.window"),
        ({"window_stride": 1.5}, "Evaluation.window_stride = 1.5"),
        ({"scales": ()}, r"Evaluation.scales = \(\)"),
        ({"windows_at_once": 0}, "Evaluation.windows_at_once = 0"),
    ],
)
def test_impossible_settings_are_one_line(settings, expected):
    with pytest.raises(UserError, match=expected):
        Evaluation(**settings)


def test_report_says_how_fast_it_was(model, info, two_replicas, tmp_path, capsys):
    result = Evaluation(batch_size=2).open(model, info, two_replicas)()
    report(result, RunDirectory(tmp_path), step=1)
    assert "2 images in " in capsys.readouterr().out


def test_report_names_the_step(model, info, two_replicas, tmp_path, capsys):
    result = Evaluation(batch_size=2).open(model, info, two_replicas)()
    report(result, RunDirectory(tmp_path), step=80)
    assert "halves, split val, step 80\n" in capsys.readouterr().out
    content = json.loads((tmp_path / "eval_val.json").read_text())
    assert content["step"] == 80 and read_json(tmp_path / "eval_val.json").step == 80
    del content["step"]  # as earlier versions wrote it
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "old.json").step is None


def test_a_run_that_cannot_be_written_is_evaluated_elsewhere(model, info, two_replicas, tmp_path, capsys, monkeypatch):
    """The calls of the system answer as for a read-only mount: tests may run as root, who may write anywhere else."""
    result = Evaluation(batch_size=2).open(model, info, two_replicas)()
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != run.path)
    report(result, run, step=1, output=str(tmp_path / "elsewhere" / "result.json"))
    assert read_json(tmp_path / "elsewhere" / "result.json").mean_iou == result.mean_iou
    assert "run/eval_val: nothing written for TensorBoard (Read-only file system)" in capsys.readouterr().err
    assert not list(run.path.iterdir())


@pytest.fixture
def float32_afterwards():
    yield
    keras.config.set_dtype_policy("float32")


def test_a_float32_run_can_be_evaluated_in_bfloat16(tmp_path, tiny_parameters, float32_afterwards):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    config.parse_config([], tiny_parameters)
    (tmp_path / CONFIG_NAME).write_text("\n".join(tiny_parameters))
    save_weights(pseudoseg_network(load_dataset()), RunDirectory(tmp_path))
    results = {}
    for policy in ("float32", "mixed_bfloat16"):
        run = open_run(str(tmp_path), [f"set_precision.policy = {policy!r}"], strategy)
        assert run.model.backbone.output["features"].dtype == policy.removeprefix("mixed_")
        results[policy] = config.call(Evaluation).open(run.model, run.info, strategy)()
    assert results["mixed_bfloat16"].num_images == 6
    assert results["mixed_bfloat16"].confusion.sum() == results["float32"].confusion.sum()
    np.testing.assert_allclose(*(result.calibration[:, 1].sum() for result in results.values()), rtol=0.01)
