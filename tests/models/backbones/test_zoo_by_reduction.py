"""Networks without a golden of the original, by weights that reduce them to one with a golden, and Keras' own networks."""

import re

import keras
import numpy as np
import pytest

from wss.models.backbones.registry import BACKBONES, build_backbone
from wss.models.tf1_names import assign_tf1, tf1_shapes, tf1_variables
from wss.models.weights.keras_layouts import from_keras_layout


def random_images(height, width):
    return np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def assert_close(actual, expected, message=""):
    """Within 1e-4 of the largest value, which must be one."""
    expected, largest = np.asarray(expected), np.abs(expected).max()
    assert largest > 0.1, message
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * largest, err_msg=message)


def assert_roles(points, tensors, backbone):
    """The end points of the golden of a backbone, by their roles."""
    assert_close(points["features"], tensors["features"], "features")
    for role in ("low_level", "hypercolumn_previous"):
        assert_close(points[role], tensors[f"end_point:{BACKBONES[backbone].roles[role]}"], role)


def silence(values, conv):
    """The convolution's batch norm gives exactly 0."""
    for parameter in ("gamma", "beta"):
        values[f"{conv}/BatchNorm/{parameter}"] = np.zeros_like(values[f"{conv}/BatchNorm/{parameter}"])


@pytest.mark.slow
def test_xception_41_is_xception_65_whose_last_eight_middle_units_add_nothing(make_weight):
    deep, shallow = build_backbone("xception_65"), build_backbone("xception_41")
    values = {name: make_weight(name, shape) for name, shape in tf1_shapes(deep).items()}
    added = [f"xception_65/middle_flow/block1/unit_{unit}/" for unit in range(9, 17)]
    for unit in added:
        silence(values, f"{unit}xception_module/separable_conv3_pointwise")
    assign_tf1(deep, values)
    kept = {name: value for name, value in values.items() if not name.startswith(tuple(added))}
    assign_tf1(shallow, {name.replace("_65", "_41", 1): value for name, value in kept.items()})
    images = random_images(65, 97)
    expected, actual = deep(images), shallow(images)
    for point in ("features", "low_level", "hypercolumn_previous"):
        assert_close(actual[point], expected[point], point)


def xception_71_as_65(make_weight, shapes, shapes_65):
    """Values with which block2 and block4 of Xception-71 are x -> [x, 0] and all else is Xception-65."""
    values = {}
    for name, shape in shapes.items():
        source = re.sub("entry_flow/block[35]", lambda m: "entry_flow/block" + str(int(m[0][-1]) // 2 + 1), name)
        source = source.replace("xception_71", "xception_65", 1)
        values[name] = make_weight(name, shape)
        if "entry_flow/block2/" in name or "entry_flow/block4/" in name:
            continue
        if name.endswith("/weights"):
            values[name] = np.zeros_like(values[name])
        value = make_weight(source, shapes_65[source])
        values[name][tuple(map(slice, value.shape))] = value
    for block in (2, 4):
        module = f"xception_71/entry_flow/block{block}/unit_1/xception_module"
        silence(values, f"{module}/separable_conv3_pointwise")
        norm = f"{module}/shortcut/BatchNorm"
        for parameter, number in {"gamma": 1.001**0.5, "beta": 0, "moving_mean": 0, "moving_variance": 1}.items():
            values[f"{norm}/{parameter}"] = np.full(shapes[f"{norm}/{parameter}"], number)
        kernel = f"{module}/shortcut/weights"
        values[kernel] = np.eye(*shapes[kernel][2:])[None, None]
    return values


@pytest.mark.slow
def test_xception_71_is_xception_65_when_its_added_blocks_pass_their_input_on(shared, make_weight):
    backbone, shapes_65 = build_backbone("xception_71"), tf1_shapes(build_backbone("xception_65"))
    assign_tf1(backbone, xception_71_as_65(make_weight, tf1_shapes(backbone), shapes_65))
    tensors = np.load(shared / "goldens/backbone_xception_65_65x97.npz")
    points = backbone(tensors["input"].astype(np.float32))
    assert_roles(points, tensors, "xception_65")


@pytest.mark.slow
def test_resnet_101_beta_is_resnet_50_beta_when_seventeen_units_add_nothing(shared, make_weight):
    backbone = build_backbone("resnet_v1_101_beta")
    values = {}
    for name, shape in tf1_shapes(backbone).items():
        # Units 6 to 22 get weights under a name of their own; the last one, which has the stride, is ResNet-50's sixth.
        source = name.replace("block3/unit_23/", "block3/unit_6/").replace("resnet_v1_101", "resnet_v1_50", 1)
        added = re.search(r"block3/unit_(\d+)/", name)
        values[name] = make_weight(name if added and 6 <= int(added[1]) < 23 else source, shape)
    for unit in range(6, 23):
        silence(values, f"resnet_v1_101/block3/unit_{unit}/bottleneck_v1/conv3")
    assign_tf1(backbone, values)
    tensors = np.load(shared / "goldens/backbone_resnet_v1_50_beta_97x97.npz")
    points = backbone(tensors["input"].astype(np.float32))
    assert_roles(points, tensors, "resnet_v1_50_beta")


RESNET_ROLES = {"low_level": "conv2_block2_3_bn", "features": "conv5_block3_out"}
MOBILENET_ROLES = {"low_level": "block_2_depthwise_relu", "features": "block_16_project_BN", "cam_features": "out_relu"}
# Backbone, width, and what the roles are called in keras.applications.
KERAS = {
    "ResNet50": ("resnet_v1_50_keras", 1.0, {**RESNET_ROLES, "hypercolumn_previous": "conv4_block6_out"}),
    "ResNet101": ("resnet_v1_101_keras", 1.0, {**RESNET_ROLES, "hypercolumn_previous": "conv4_block23_out"}),
    "MobileNetV2": ("mobilenet_v2", 1.0, MOBILENET_ROLES),
    "MobileNetV2 of half the width": ("mobilenet_v2", 0.5, MOBILENET_ROLES),
}
PREPROCESS = {"ResNet": keras.applications.resnet, "Mobile": keras.applications.mobilenet_v2}


def randomise(model):
    """Draws all variables, statistics too, so that activations stay of order one."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name == "gamma":
            value = rng.uniform(0.8, 1.2, weight.shape)
        elif weight.name == "moving_variance":
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.name == "kernel":
            depthwise = weight.shape[-1] == 1
            fan_in = np.prod(weight.shape[:2] if depthwise else weight.shape[:-1])
            value = rng.normal(0, fan_in**-0.5 / (64 if weight.shape[0] == 7 else 1), weight.shape)
        else:
            value = rng.normal(0, 0.1, weight.shape)
        weight.assign(value)


# ResNet-101 is ResNet-50 with more units of the same kind.
NETWORKS = [pytest.param(name, marks=pytest.mark.slow if name == "ResNet101" else ()) for name in KERAS]


@pytest.fixture(scope="module", params=NETWORKS)
def keras_network(request):
    """Ours, and a function from an image size to a network of keras.applications with random variables."""
    backbone, width, roles = KERAS[request.param]
    name = request.param.split()[0]
    arguments = {"alpha": width} if backbone == "mobilenet_v2" else {}

    def theirs(height, width):
        # Without a size, Keras' MobileNetV2 pads odd sizes as even ones.
        arguments["input_shape"] = (height, width, 3)
        network = getattr(keras.applications, name)(include_top=False, weights=None, **arguments)
        randomise(network)
        return keras.Model(network.input, {role: network.get_layer(layer).output for role, layer in roles.items()})

    ours = build_backbone(backbone, output_stride=32, depth_multiplier=width)
    return theirs, ours, PREPROCESS[name[:6]].preprocess_input


def variables_of(network):
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in network.layers for weight in layer.weights}


@pytest.mark.parametrize("size", [(65, 97), pytest.param((64, 96), marks=pytest.mark.slow)])
def test_keras_applications(keras_network, size):
    build, ours, preprocess_input = keras_network
    theirs = build(*size)
    assign_tf1(ours, from_keras_layout(variables_of(theirs), ours.name))
    images = random_images(*size)
    expected, actual = theirs(preprocess_input(images.copy())), ours(images)
    for role in expected:
        assert_close(actual[role], expected[role], role)


def old_resnet_name(name):
    layer, weight = name.split("/")
    if layer in ("conv1_conv", "conv1_bn"):
        return f"{'conv1' if layer == 'conv1_conv' else 'bn_conv1'}__{weight}"
    stage, unit, index, kind = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer).groups()
    branch = ("1", "2a", "2b", "2c")[int(index)]
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{'_abcdef'[int(unit)]}_branch{branch}__{weight}"


@pytest.mark.parametrize("keras_network", ["ResNet50"], indirect=True)
def test_old_resnet_names_mean_an_epsilon_of_a_thousandth(keras_network):
    build, ours, preprocess_input = keras_network
    theirs = build(65, 65)
    norms = [layer for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)]
    rng = np.random.default_rng(1)
    for norm in norms:
        # Variances so small that the epsilon is most of what is divided by.
        norm.epsilon = 1e-3
        norm.moving_variance.assign(rng.uniform(0, 1e-3, norm.moving_variance.shape))
        norm.gamma.assign(norm.gamma * 0.03)
    values = {old_resnet_name(name): value for name, value in variables_of(theirs).items()}
    assign_tf1(ours, from_keras_layout(values, "resnet_v1_50_keras"))
    images = random_images(65, 65)
    expected, actual = theirs(preprocess_input(images.copy())), ours(images)
    for role in expected:
        assert_close(actual[role], expected[role], role)


def test_shared_resnet_50_fills_the_whole_backbone(shared):
    archive = np.load(shared / "data/weights/resnet50_keras_imagenet_notop_fp16.npz")
    backbone = build_backbone("resnet_v1_50_keras")
    assert assign_tf1(backbone, from_keras_layout(archive, "resnet_v1_50_keras")) == ([], [])
    variables = {name: variable.numpy() for name, variable in tf1_variables(backbone).items()}
    assert len(variables) == len(archive.files) == 318
    unit = "resnet_v1_50/block4/unit_3/bottleneck_v1"
    for name, source, added in (
        ("resnet_v1_50/conv1/weights", "conv1__kernel", 0),
        ("resnet_v1_50/block2/unit_1/bottleneck_v1/shortcut/biases", "res3a_branch1__bias", 0),
        (f"{unit}/conv2/weights", "res5c_branch2b__kernel", 0),
        (f"{unit}/conv3/BatchNorm/moving_mean", "bn5c_branch2c__moving_mean", 0),
        (f"{unit}/conv3/BatchNorm/moving_variance", "bn5c_branch2c__moving_variance", 1e-3 - 1.001e-5),
    ):
        np.testing.assert_allclose(variables[name], archive[source].astype(np.float32) + added, rtol=1e-6)


def test_keras_resnet_numbers_and_rates():
    spec = BACKBONES["resnet_v1_50_keras"]
    assert (spec.momentum, spec.epsilon, spec.weight_decay) == (0.95, 1.001e-5, 1e-4)
    assert spec.classifier_dropout == 0
    for stride, block3, block4 in ((8, 2, (4, 8, 16)), (16, 1, (2, 4, 8)), (32, 1, (1, 2, 4))):
        backbone = build_backbone(spec.name, output_stride=stride, multi_grid=(1, 2, 4))
        rates = {
            block: [
                backbone.get_layer(f"resnet_v1_50.block{block}.unit_{unit}.bottleneck_v1.conv2").dilation_rate[0]
                for unit in range(1, units + 1)
            ]
            for block, units in ((2, 4), (3, 6), (4, 3))
        }
        assert rates == {2: [1] * 4, 3: [block3] * 6, 4: list(block4)}
    # The colour with which images are padded is 0; a clone keeps the order of channels.
    preprocess = keras.models.clone_model(backbone).get_layer("preprocess")
    pixel = np.float32(spec.mean_pixel) + np.float32([1, 2, 3])
    np.testing.assert_allclose(preprocess(pixel[None, None, None])[0, 0, 0], [3, 2, 1], atol=1e-4)
