"""Initial weights: ImageNet's MobileNetV2 under DeepLab's names, another run's weights, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, tiny_model

from wss.errors import UserError
from wss.models.deeplab import build_model
from wss.models.tf1_names import tf1_variables
from wss.models.weights.initial_weights import load_initial_weights

INFO = dataset_of(3)


@pytest.fixture(scope="module")
def model():
    """One network for all tests: what it holds when a test begins is any."""
    return tiny_model(3)


def test_imagenet_weights_fill_the_whole_backbone(shared):
    path = shared / "data/weights/mobilenet_v2_1.0_imagenet.npz"
    model = build_model(INFO, backbone="mobilenet_v2")
    report = load_initial_weights(model, str(path))
    assert len(report.loaded) == 260 and not report.unknown
    archive = np.load(path)
    for name, variable in tf1_variables(model.backbone).items():
        np.testing.assert_array_equal(variable.numpy(), archive[name], err_msg=name)


def test_weights_of_another_run(tmp_path, model):
    one, other = tiny_model(3, seed=2), model
    one.save_weights(tmp_path / "one.weights.h5")
    images = tf.random.stateless_uniform([1, 33, 33, 3], [0, 1]) * 255
    assert np.any(one(images) != other(images))
    load_initial_weights(other, str(tmp_path / "one.weights.h5"))
    np.testing.assert_array_equal(one(images), other(images))


def test_weights_of_another_shape_are_refused(tmp_path, model):
    values = {name: np.zeros(variable.shape, np.float32) for name, variable in tf1_variables(model).items()}
    values["MobilenetV2/Conv/weights"] = np.zeros([3, 3, 3, 99], np.float32)
    np.savez(tmp_path / "wrong.npz", **values)
    with pytest.raises(UserError, match=r"MobilenetV2/Conv/weights has shape \(3, 3, 3, 99\), the model expects"):
        load_initial_weights(model, str(tmp_path / "wrong.npz"))


def test_weights_of_another_model_are_refused(tmp_path, model):
    build_model(INFO, backbone="mobilenet_v2", depth_multiplier=0.5).save_weights(tmp_path / "wide.weights.h5")
    with pytest.raises(UserError, match="wide.weights.h5: does not fit this model"):
        load_initial_weights(model, str(tmp_path / "wide.weights.h5"))


def test_keras_layout_fills_the_whole_backbone(shared):
    path = shared / "data/weights/resnet50_keras_imagenet_notop_fp16.npz"
    model = build_model(INFO, backbone="resnet_v1_50_keras")
    report = load_initial_weights(model, str(path))
    assert report.loaded == set(tf1_variables(model.backbone)) and not report.unknown
    kernel = tf1_variables(model)["resnet_v1_50/block4/unit_3/bottleneck_v1/conv3/weights"]
    np.testing.assert_array_equal(kernel.numpy(), np.load(path)["res5c_branch2c__kernel"])


def test_keras_layout_of_another_backbone_names_the_right_one(shared, model):
    path = shared / "data/weights/resnet50_keras_imagenet_notop_fp16.npz"
    with pytest.raises(UserError, match="set build_model.backbone = 'resnet_v1_50_keras'"):
        load_initial_weights(model, str(path))


def test_a_run_directory_gives_its_weights(tmp_path, model):
    one, other = tiny_model(3, seed=2), model
    one.save_weights(tmp_path / "model.weights.h5")
    report = load_initial_weights(other, str(tmp_path))
    assert report.loaded == set(tf1_variables(other))
    for name, variable in tf1_variables(other).items():
        np.testing.assert_array_equal(variable.numpy(), tf1_variables(one)[name].numpy(), err_msg=name)


@pytest.mark.parametrize("had_branches", [False, True])
def test_a_run_of_another_method_gives_what_it_has(tmp_path, had_branches):
    """A supervised run has no layers of PseudoSeg; a run of PseudoSeg has more than a supervised network takes."""
    plain = build_model(INFO, backbone="mobilenet_v2", depth_multiplier=0.25)
    full = tiny_model(3)
    one, other = (full, plain) if had_branches else (plain, full)
    one.save_weights(tmp_path / "model.weights.h5")
    before = {} if had_branches else {name: v.numpy() for name, v in tf1_variables(other.branches).items()}
    report = load_initial_weights(other, str(tmp_path))
    assert report.loaded == set(tf1_variables(other)) - before.keys() and report.initial == before.keys()
    for name, variable in tf1_variables(other).items():
        expected = before[name] if name in before else tf1_variables(one)[name].numpy()
        np.testing.assert_array_equal(variable.numpy(), expected, err_msg=name)
