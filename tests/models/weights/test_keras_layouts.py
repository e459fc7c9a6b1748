"""Weights under Keras' names: the table of names by hand, files by h5py and by Keras itself, and what is refused."""

import h5py
import keras
import numpy as np
import pytest

from wss.errors import UserError
from wss.models.backbones.registry import BACKBONES
from wss.models.weights.keras_layouts import from_keras_layout, is_keras_layout, keras_application_values, read_keras_h5

RESNET = "resnet_v1_50_keras"
UNIT = "resnet_v1_50/block{}/unit_{}/bottleneck_v1/{}".format
RESNET_50 = {
    "conv1_conv/kernel": "resnet_v1_50/conv1/weights",
    "conv1_bn/gamma": "resnet_v1_50/conv1/BatchNorm/gamma",
    "conv2_block1_0_conv/bias": UNIT(1, 1, "shortcut/biases"),
    "conv2_block1_0_bn/moving_mean": UNIT(1, 1, "shortcut/BatchNorm/moving_mean"),
    "conv3_block4_1_conv/kernel:0": UNIT(2, 4, "conv1/weights"),
    "conv4_block6_2_conv/kernel": UNIT(3, 6, "conv2/weights"),
    "conv5_block3_3_bn/moving_variance": UNIT(4, 3, "conv3/BatchNorm/moving_variance"),
}
OLD_RESNET_50 = {
    "conv1__kernel": "resnet_v1_50/conv1/weights",
    "bn_conv1__beta": "resnet_v1_50/conv1/BatchNorm/beta",
    "res2a_branch1__bias": UNIT(1, 1, "shortcut/biases"),
    "bn2a_branch1__moving_mean": UNIT(1, 1, "shortcut/BatchNorm/moving_mean"),
    "res3d_branch2a__kernel": UNIT(2, 4, "conv1/weights"),
    "res4f_branch2b/kernel": UNIT(3, 6, "conv2/weights"),
    "bn5c_branch2c__gamma": UNIT(4, 3, "conv3/BatchNorm/gamma"),
}
RESNET_101 = {
    "conv4_block23_3_conv/bias": "resnet_v1_101/block3/unit_23/bottleneck_v1/conv3/biases",
    "conv1_bn/beta": "resnet_v1_101/conv1/BatchNorm/beta",
}
MOBILENET = {
    "Conv1/kernel": "MobilenetV2/Conv/weights",
    "bn_Conv1/gamma": "MobilenetV2/Conv/BatchNorm/gamma",
    "expanded_conv_depthwise/depthwise_kernel": "MobilenetV2/expanded_conv/depthwise/depthwise_weights",
    "expanded_conv_project_BN/beta": "MobilenetV2/expanded_conv/project/BatchNorm/beta",
    "block_1_expand__kernel": "MobilenetV2/expanded_conv_1/expand/weights",
    "block_3_depthwise/kernel": "MobilenetV2/expanded_conv_3/depthwise/depthwise_weights",
    "block_3_depthwise_BN/gamma": "MobilenetV2/expanded_conv_3/depthwise/BatchNorm/gamma",
    "block_16_project/kernel": "MobilenetV2/expanded_conv_16/project/weights",
    "Conv_1/kernel": "MobilenetV2/Conv_1/weights",
    "Conv_1_bn/moving_mean": "MobilenetV2/Conv_1/BatchNorm/moving_mean",
}
VGG16 = {
    "block1_conv1/kernel": "vgg_16/conv1/conv1_1/weights",
    "block2_conv2__bias": "vgg_16/conv2/conv2_2/biases",
    "block5_conv3/kernel:0": "vgg_16/conv5/conv5_3/weights",
}
TOPS = ("predictions/kernel", "fc1000__bias", "Logits/kernel")


@pytest.mark.parametrize(
    "backbone, names",
    [
        ("resnet_v1_50_keras", RESNET_50),
        ("resnet_v1_50_keras", OLD_RESNET_50),
        ("resnet_v1_101_keras", RESNET_101),
        ("mobilenet_v2", MOBILENET),
        ("vgg16_large_fov", VGG16),
    ],
)
def test_names(backbone, names):
    values = {name: np.full(3, i, np.float16) for i, name in enumerate([*names, *TOPS])}
    assert is_keras_layout(values) and all(is_keras_layout([name]) for name in names)
    renamed = from_keras_layout(values, backbone)
    expected = {name: i for i, name in enumerate([*names.values(), *TOPS])}
    assert {name: value[0] for name, value in renamed.items()} == expected
    assert {value.dtype for value in renamed.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "name",
    [
        "resnet_v1_50/conv1/weights",
        "resnet_v1_50/conv1/BatchNorm/gamma",
        "MobilenetV2/Conv_1/weights",
        "MobilenetV2/expanded_conv_1/expand/BatchNorm/gamma",
        "xception_65/entry_flow/conv1_1/weights",
        "global_step",
        "conv1/weights",
        "block1_sepconv1/kernel",
    ],
)
def test_other_names_are_no_keras_layout(name):
    assert not is_keras_layout([name])


def test_only_old_resnets_get_a_larger_variance():
    half = np.full(2, 0.5, np.float32)
    old = from_keras_layout({"bn2a_branch1__moving_variance": half, **dict.fromkeys(OLD_RESNET_50, half)}, RESNET)
    new = from_keras_layout({"conv2_block1_0_bn/moving_variance": half, **dict.fromkeys(RESNET_50, half)}, RESNET)
    name = UNIT(1, 1, "shortcut/BatchNorm/moving_variance")
    np.testing.assert_allclose(old.pop(name), 0.5 + 0.00098999, rtol=1e-7)
    np.testing.assert_array_equal(new[name], half)
    assert all(np.array_equal(value, half) for value in old.values())


def resnet_of(units):
    return [f"conv4_block{unit}_1_conv/kernel" for unit in range(1, units + 1)]


@pytest.mark.parametrize(
    "names, backbone, message",
    [
        (RESNET_50, "resnet_v1_50", "ResNet50, which do not fit resnet_v1_50; .*backbone = 'resnet_v1_50_keras'"),
        (RESNET_50, "resnet_v1_101_keras", "set build_model.backbone = 'resnet_v1_50_keras'"),
        (OLD_RESNET_50, "resnet_v1_50_beta", "set build_model.backbone = 'resnet_v1_50_keras'"),
        (RESNET_101, RESNET, "set build_model.backbone = 'resnet_v1_101_keras'"),
        (MOBILENET, RESNET, "MobileNetV2, which do not fit .*build_model.backbone = 'mobilenet_v2'"),
        (resnet_of(36), "resnet_v1_101_keras", "36 units in block 3"),
        (["conv1_conv/kernel"], RESNET, "0 units in block 3"),
        ([*MOBILENET, *RESNET_50], RESNET, "mobilenet and resnet"),
        (VGG16, RESNET, "VGG16, which do not fit .*build_model.backbone = 'vgg16_large_fov'"),
        (RESNET_50, "vgg16_large_fov", "ResNet50, which do not fit vgg16_large_fov; .* 'resnet_v1_50_keras'"),
        ([*VGG16, "block3_conv4/kernel"], "vgg16_large_fov", "4 convolutions in block 3 .VGG19., expected 3 .VGG16"),
        (TOPS, RESNET, "no network"),
    ],
)
def test_weights_of_another_network_name_the_backbone_to_use(names, backbone, message):
    with pytest.raises(UserError, match=message) as error:
        from_keras_layout({name: np.zeros(1, np.float32) for name in names}, backbone)
    assert "\n" not in str(error.value)


def write_h5(path, weights, prefix="", attribute="layer_names"):
    """A weight file as Keras 2 writes it: a group per layer with attributes that list the names."""
    with h5py.File(path, "w") as file:
        group = file.create_group(prefix) if prefix else file
        group.attrs[attribute] = [layer.encode() for layer in weights]
        for layer, arrays in weights.items():
            layer_group = group.create_group(layer)
            layer_group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                layer_group.create_dataset(name, data=array)


KERNEL, GAMMA = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), np.arange(3, dtype=np.float32)
KERAS_2 = {
    "conv1_conv": {"conv1_conv/kernel:0": KERNEL},
    "conv1_bn": {"conv1_bn/gamma:0": GAMMA, "conv1_bn/moving_variance:0": GAMMA + 1},
    "conv1_relu": {},
}
KERAS_1 = {
    "conv1": {"conv1_W_1:0": KERNEL},
    "bn_conv1": {"bn_conv1_gamma:0": GAMMA, "bn_conv1_running_std_1:0": GAMMA + 1},
}


@pytest.mark.parametrize(
    "weights, conv, norm, options",
    [
        (KERAS_2, "conv1_conv", "conv1_bn", {}),
        (KERAS_2, "conv1_conv", "conv1_bn", {"prefix": "model_weights"}),
        (KERAS_2, "conv1_conv", "conv1_bn", {"attribute": "layer_names0"}),
        (KERAS_1, "conv1", "bn_conv1", {}),
    ],
)
def test_read_h5(tmp_path, weights, conv, norm, options):
    write_h5(tmp_path / "weights.h5", weights, **options)
    values = read_keras_h5(tmp_path / "weights.h5")
    expected = {f"{conv}/kernel": KERNEL, f"{norm}/gamma": GAMMA, f"{norm}/moving_variance": GAMMA + 1}
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)


@pytest.fixture(scope="module")
def keras_mobilenet(tmp_path_factory):
    """A random MobileNetV2 of Keras and its file under the name by which Keras looks for it in its cache."""
    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2((224, 224, 3), include_top=False, weights=None)
    path = tmp_path_factory.mktemp("keras") / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    network.save(path)
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in network.layers for weight in layer.weights}, path


def assert_equal_values(actual, expected):
    assert len(expected) == 260 and actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_read_h5_of_keras_itself(keras_mobilenet):
    expected, path = keras_mobilenet
    assert_equal_values(read_keras_h5(path), expected)


def test_application_values_are_those_that_keras_loads(keras_mobilenet, monkeypatch):
    expected, path = keras_mobilenet
    requested = []

    def get_file(name, *args, **kwargs):
        requested.append(name)
        return str(path)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    assert_equal_values(keras_application_values("mobilenet_v2"), expected)
    assert requested == [path.name]


def test_a_failed_download_is_one_line(monkeypatch):
    def get_file(*args, **kwargs):
        raise Exception("URL fetch failure on https://host/resnet.h5: None -- [Errno -3]\nTemporary failure")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(
        UserError, match=r"ResNet50: no ImageNet weights: URL fetch failure .*; .* into .*models, or give a \.h5"
    ) as error:
        keras_application_values(RESNET)
    assert "\n" not in str(error.value)


def test_backbones_without_weights_in_keras_are_refused():
    served = {"resnet_v1_50_keras", "resnet_v1_101_keras", "mobilenet_v2", "vgg16_large_fov"}
    for backbone in BACKBONES.keys() - served:
        with pytest.raises(UserError, match=f"no ImageNet weights for {backbone}, only for"):
            keras_application_values(backbone)


def test_files_that_are_no_weights_of_keras_are_refused(tmp_path):
    with pytest.raises(UserError, match="absent.h5: cannot be read"):
        read_keras_h5(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(UserError, match="text.h5: cannot be read") as error:
        read_keras_h5(tmp_path / "text.h5")
    assert "\n" not in str(error.value)
    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(UserError, match="new.weights.h5: has no attribute layer_names"):
        read_keras_h5(tmp_path / "new.weights.h5")
    write_h5(tmp_path / "nested.h5", {"model": {"a/kernel:0": KERNEL, "b/kernel:0": KERNEL}})
    with pytest.raises(UserError, match="nested.h5: has model/kernel twice"):
        read_keras_h5(tmp_path / "nested.h5")
