"""TensorFlow 1 checkpoints: DeepLab's read, ours written, and both restored by TensorFlow 1's own Saver."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, pseudoseg_network, tiny_model

from wss import config
from wss.errors import UserError
from wss.models.deeplab import build_model
from wss.models.tf1_names import assign_tf1, tf1_shapes, tf1_values
from wss.models.weights.initial_weights import load_initial_weights
from wss.models.weights.tf1_checkpoint import find_checkpoint, read_checkpoint, write_checkpoint

tf1 = tf.compat.v1


@pytest.fixture(scope="module")
def model():
    """One network for all tests: what it holds when a test begins is any."""
    return tiny_model(3)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A checkpoint of TensorFlow 1 with random values for the network: its prefix, and the values."""
    values = random_values(model)
    return save_by_tensorflow_1(tmp_path_factory.mktemp("saved") / "model.ckpt-1234", values), values


def save_by_tensorflow_1(prefix, values, slots=("Momentum",)):
    """Writes a checkpoint as a training of TensorFlow 1 leaves it."""
    with tf.Graph().as_default(), tf1.Session() as session:
        everything = {"global_step": np.int64(1234), **values}
        everything |= {f"{name}/{slot}": np.zeros_like(value) for name, value in values.items() for slot in slots}
        variables = [tf1.get_variable(name, initializer=value) for name, value in everything.items()]
        session.run(tf1.global_variables_initializer())
        return tf1.train.Saver(variables).save(session, str(prefix))


def random_values(model, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in tf1_shapes(model).items()}


def assert_values(model, values, names=None):
    actual = tf1_values(model)
    for name in values if names is None else names:
        np.testing.assert_array_equal(actual[name], values[name], err_msg=name)


def test_golden_checkpoint(goldens, make_weight):
    """A genuine one, whose `checkpoint` file names the folder where it was written."""
    values, ignored = read_checkpoint(find_checkpoint(goldens / "tiny_ckpt"))
    assert len(values) == 261 and "global_step" in ignored
    assert {name.rsplit("/", 1)[-1] for name in ignored} == {"global_step", "Momentum"}
    for name, value in values.items():
        np.testing.assert_array_equal(value, make_weight(name, value.shape), err_msg=name)


@pytest.mark.parametrize("form", ["prefix", "directory", "index", "npz"])
def test_every_form_fills_the_whole_model(tmp_path, model, saved, form):
    prefix, values = saved
    assign_tf1(model, {name: np.zeros_like(value) for name, value in values.items()})
    np.savez(tmp_path / "all.npz", **values, **{f"{name}/Momentum": value for name, value in values.items()})
    folder = os.path.dirname(prefix)
    path = {"prefix": prefix, "directory": folder, "index": f"{prefix}.index", "npz": tmp_path / "all.npz"}[form]
    report = load_initial_weights(model, str(path))
    assert_values(model, values)
    assert report.loaded == values.keys()
    assert not report.skipped and not report.initial and not report.unknown
    assert len(report.ignored) == len(values) + (form != "npz")


def test_single_files_of_the_first_format(tmp_path):
    """As TensorFlow-slim's ImageNet checkpoints are, alone or in a folder."""
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("a", initializer=np.arange(3, dtype=np.float32))
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver([variable], write_version=tf1.train.SaverDef.V1)
        path = saver.save(session, str(tmp_path / "resnet_v1_50.ckpt"), write_meta_graph=False, write_state=False)
    assert find_checkpoint(path) == find_checkpoint(tmp_path) == path
    values, _ = read_checkpoint(path)
    np.testing.assert_array_equal(values["a"], [0, 1, 2])


def test_deeplabs_mobilenet_has_neither_decoder_nor_atrous_branches(goldens, make_weight, tmp_path):
    """The variables of its PASCAL checkpoint, those of a golden: the default network refuses them and says what helps."""
    listed = json.loads((goldens / "variables_mobilenet_v2.json").read_text())
    values = {v["name"]: make_weight(v["name"], v["shape"]) for v in listed}
    write_checkpoint(tmp_path / "model.ckpt", values)
    with pytest.raises(UserError, match="concat_projection/weights has shape .*mobilenet_v2_deeplab.gin"):
        load_initial_weights(build_model(dataset_of(21), backbone="mobilenet_v2"), str(tmp_path))
    config.parse_config(["gin_configs/models/mobilenet_v2_deeplab.gin"], [])
    report = load_initial_weights(build_model(dataset_of(21)), str(tmp_path))
    assert report.loaded == {name for name in values if name != "global_step"}


def test_another_number_of_classes_skips_the_last_layers(tmp_path, model):
    values, before = random_values(tiny_model(5)), tf1_values(model)
    write_checkpoint(tmp_path / "model.ckpt", values)
    report = load_initial_weights(model, str(tmp_path))
    last = {name for name, shape in tf1_shapes(model).items() if shape != values[name].shape}
    assert set(report.skipped) == last
    assert report.skipped["logits/semantic/weights"] == "5 classes, the model has 3"
    assert_values(model, before, last)
    assert_values(model, values, values.keys() - last)
    assert "logits                 0        2        0  5 classes, the model has 3" in str(report)


def test_last_layers_can_be_left_out(tmp_path, model):
    write_checkpoint(tmp_path / "model.ckpt", random_values(model))
    report = load_initial_weights(model, str(tmp_path), last_layer=False)
    scopes = {name.rsplit("/", 1)[0].removesuffix("/BatchNorm") for name in report.skipped}
    assert scopes == {"logits/semantic", "MobilenetV2/logits", "pixel_normalization"}


def test_what_only_classifies_may_be_absent(tmp_path, model):
    """DeepLab's MobileNetV2 checkpoints have neither Conv_1 nor classifier nor SGC."""
    values = {name: value for name, value in random_values(model).items() if "Conv_1/" not in name}
    values = {name: value for name, value in values.items() if "logits/" not in name and "hyper" not in name}
    values["MobilenetV2/Logits/Conv2d_1c_1x1/weights"] = np.zeros([1, 1, 320, 1001], np.float32)
    np.savez(tmp_path / "imagenet.npz", **values)
    report = load_initial_weights(model, str(tmp_path / "imagenet.npz"))
    assert "MobilenetV2/Conv_1/weights" in report.initial and "hyper_column/key/weights" in report.initial
    assert report.unknown == ["MobilenetV2/Logits/Conv2d_1c_1x1/weights"]
    assert "not in this model: 1 (MobilenetV2/Logits/Conv2d_1c_1x1/weights)" in str(report)


def test_a_hole_in_the_backbone_is_refused_and_changes_nothing(tmp_path, model):
    before, values = tf1_values(model), random_values(model)
    del values["MobilenetV2/expanded_conv_3/project/weights"]
    write_checkpoint(tmp_path / "model.ckpt", values)
    with pytest.raises(UserError, match=r"has no MobilenetV2/expanded_conv_3/project/weights \(1 of 260 variables"):
        load_initial_weights(model, str(tmp_path))
    assert_values(model, before)


def test_tensorflow_1_restores_what_we_write(tmp_path, model):
    write_checkpoint(tmp_path / "export" / "model.ckpt", tf1_values(model), step=77)
    with tf.Graph().as_default(), tf1.Session() as session:
        shapes = {**tf1_shapes(model)}
        variables = {name: tf1.get_variable(name, shape) for name, shape in shapes.items()}
        step = tf1.train.get_or_create_global_step()
        tf1.train.Saver().restore(session, tf.train.latest_checkpoint(str(tmp_path / "export")))
        restored, restored_step = session.run((variables, step))
    assert restored_step == 77
    assert_values(model, restored)


def test_names_are_those_of_the_original(goldens):
    """What DeepLab's tools would look for in a checkpoint of the original's training, optimizer and metrics aside."""
    graph = json.loads((goldens / "step_xception_65_65x97.json").read_text())["variables"]
    kinds = ("weights", "biases", "depthwise_weights", "gamma", "beta", "moving_mean", "moving_variance")
    theirs = {v["name"]: tuple(v["shape"]) for v in graph if v["name"].rsplit("/", 1)[-1] in kinds}
    assert tf1_shapes(pseudoseg_network(dataset_of(21), backbone="xception_65")) == theirs


def test_mistakes_are_one_line(tmp_path, model):
    def error_of(path):
        with pytest.raises(UserError) as error:
            load_initial_weights(model, str(path))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "no such checkpoint or file" in error_of(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("hello")
    assert "expected a checkpoint, a .npz or a .h5" in error_of(tmp_path / "notes.txt")
    (tmp_path / "cut.npz").write_bytes(b"PK no archive")
    assert "cut.npz: not a readable .npz of arrays" in error_of(tmp_path / "cut.npz")
    model.save_weights(tmp_path / "whole.weights.h5")
    with pytest.raises(UserError, match="whole.weights.h5: is read whole"):
        load_initial_weights(model, str(tmp_path / "whole.weights.h5"), last_layer=False)
    tf.train.Checkpoint(model=model).save(str(tmp_path / "resume" / "ckpt"))
    assert "give the run's model.weights.h5" in error_of(tmp_path / "resume")
    for name in ("a", "b"):
        write_checkpoint(tmp_path / "two" / name, {})
    (tmp_path / "two" / "checkpoint").unlink()
    assert "2 checkpoints in it" in error_of(tmp_path / "two")
    write_checkpoint(tmp_path / "cut" / "model.ckpt", random_values(model))
    data = tmp_path / "cut" / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    assert "not a readable checkpoint" in error_of(tmp_path / "cut")
