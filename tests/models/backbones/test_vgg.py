"""VGG16-LargeFOV against a network of plain TensorFlow operations with every pad written out, and numbers by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.errors import UserError
from wss.models.backbones.registry import BACKBONES, build_backbone
from wss.models.layers.dropout import SpatialDropout, dropout_seed
from wss.models.tf1_names import assign_tf1, tf1_shapes

NAME = "vgg16_large_fov"
CONVOLUTIONS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
# output stride: (strides of the five pools, dilation of conv5, of fc6)
SCHEDULES = {
    8: ((2, 2, 2, 1, 1), 2, 12),
    16: ((2, 2, 2, 2, 1), 1, 6),
    32: ((2, 2, 2, 2, 2), 1, 3),
}


def random_values(shapes):
    rng = np.random.default_rng(0)
    scale = lambda shape: np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 3.0
    return {name: (scale(shape) * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def values():
    return random_values(tf1_shapes(build_backbone(NAME)))


def backbone_of(values, *arguments, **options):
    backbone = build_backbone(NAME, *arguments, **options)
    assign_tf1(backbone, values)
    return backbone


def images_of(height, width):
    return np.random.default_rng(1).uniform(0, 255, (2, height, width, 3)).astype(np.float32)


def padded(x, before, after, value=0.0):
    return tf.pad(x, [(0, 0), (before, after), (before, after), (0, 0)], constant_values=value)


def reference(images, values, *, output_stride, fc6_rate=None, after=1):
    """The network in the words of the paper; `after` is how many pixels pad a max pool at its end."""
    strides, conv5_dilation, fc6_dilation = SCHEDULES[output_stride]

    def conv(x, name, rate):
        kernel, reach = values[f"vgg_16/{name}/weights"], rate * (values[f"vgg_16/{name}/weights"].shape[0] // 2)
        x = tf.nn.convolution(padded(x, reach, reach), kernel, padding="VALID", dilations=rate)
        return tf.nn.relu(x + values[f"vgg_16/{name}/biases"])

    x = images[..., ::-1] - np.float32([104.008, 116.669, 122.675])
    points = {}
    for block, number in CONVOLUTIONS.items():
        for i in range(1, number + 1):
            x = conv(x, f"conv{block}/conv{block}_{i}", conv5_dilation if block == 5 else 1)
        points[block] = x
        stride = strides[block - 1]
        x = tf.nn.max_pool2d(padded(x, 1, after if stride == 2 else 1, -np.inf), 3, stride, "VALID")
    height, width = x.shape[1:3]
    x = padded(x, 1, 1)
    x = sum(x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
    x = conv(conv(x, "fc6", fc6_rate or fc6_dilation), "fc7", 1)
    last = dict.fromkeys(("features", "cam_features", "hypercolumn_last"), x)
    return {**last, "hypercolumn_previous": points[5], "low_level": points[3]}


def assert_roles(points, expected):
    for role, value in expected.items():
        np.testing.assert_allclose(
            points[role], value, rtol=1e-4, atol=1e-4 * float(tf.reduce_max(value)), err_msg=role
        )


@pytest.mark.parametrize(
    ("output_stride", "side", "options"),
    [(8, (33, 49), {}), (8, (33, 49), {"fc6_rate": 1}), (16, (49, 33), {}), (32, (65, 33), {}), (8, (32, 50), {})],
)
def test_it_is_the_network_of_plain_operations(values, output_stride, side, options):
    backbone = backbone_of(values, output_stride, **options)
    images = images_of(*side)
    expected = reference(images, values, output_stride=output_stride, **options)
    assert all(float(tf.reduce_mean(tf.cast(value > 0, tf.float32))) > 0.2 for value in expected.values())
    assert_roles(backbone(images), expected)
    if not options:
        assert_roles(tf.function(backbone)(images), expected)


def test_pools_that_keep_a_last_window(values):
    """As in Caffe: at 32 pixels 17, 9, 5. At sides of 8 n + 1 nothing changes."""
    kept = backbone_of(values, 8, ceil_pool=True)
    images = images_of(32, 32)
    expected = reference(images, values, output_stride=8, after=2)
    assert expected["features"].shape[1:3] == (5, 5)
    assert_roles(kept(images), expected)
    images = images_of(33, 41)
    np.testing.assert_array_equal(kept(images)["features"], backbone_of(values, 8)(images)["features"])


@pytest.mark.parametrize(("output_stride", "side"), [(8, 41), (16, 21), (32, 11)])
def test_sides_rates_and_the_number_of_parameters(output_stride, side):
    backbone = build_backbone(NAME, output_stride, input_shape=(321, 321, 3))
    conv = sum(
        9 * inputs * filters + filters
        for inputs, filters in [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2, (256, 512)]
    ) + 5 * (9 * 512 * 512 + 512)
    assert conv == 14_714_688
    assert backbone.count_params() == conv + (9 * 512 * 1024 + 1024) + (1024 * 1024 + 1024) == 20_483_904
    previous = 41 if output_stride == 8 else 21
    expected = {
        "features": (side, side, 1024),
        "low_level": (81, 81, 256),
        "hypercolumn_previous": (previous, previous, 512),
    }
    assert {role: backbone.output[role].shape[1:] for role in expected} == expected
    _, conv5, fc6 = SCHEDULES[output_stride]
    rates = [
        backbone.get_layer(f"vgg_16.{name}").dilation_rate[0] for name in ("conv4.conv4_3", "conv5.conv5_1", "fc6")
    ]
    assert rates == [1, conv5, fc6]
    scopes = {
        f"vgg_16/conv{block}/conv{block}_{i + 1}" for block, number in CONVOLUTIONS.items() for i in range(number)
    }
    scopes |= {"vgg_16/fc6", "vgg_16/fc7"}
    assert {name.rsplit("/", 1)[0] for name in tf1_shapes(backbone)} == scopes and len(scopes) == 15


def test_the_average_counts_the_padding():
    backbone = build_backbone(NAME)
    pad, pool = backbone.get_layer("vgg_16.pool5a_pad"), backbone.get_layer("vgg_16.pool5a")
    averages = pool(pad(tf.ones([1, 3, 4, 1])))[0, ..., 0]
    np.testing.assert_allclose(9 * averages, [[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]], rtol=1e-6)


def test_images_are_bgr_minus_the_mean_pixel():
    spec = BACKBONES[NAME]
    assert (spec.weight_decay, spec.normalization) == (5e-4, "mean_bgr")
    normalised = build_backbone(NAME).get_layer("preprocess")(tf.constant([[[spec.mean_pixel, (255.0, 0.0, 0.0)]]]))
    np.testing.assert_allclose(normalised, [[[[0, 0, 0], [-104.008, -116.669, 132.325]]]], atol=1e-4)


def test_dropout_is_of_channels_and_the_seed_decides(values):
    backbone = backbone_of(values)
    dropouts = [layer for layer in backbone.layers if isinstance(layer, SpatialDropout)]
    assert [(layer.name, layer.rate) for layer in dropouts] == [
        ("vgg_16.fc6.dropout", 0.5),
        ("vgg_16.fc7.dropout", 0.5),
    ]
    images, passes = images_of(33, 33), []
    for seed in (3, 3, 4):
        with dropout_seed(tf.constant([seed, 0])):
            passes.append(backbone(images, training=True)["features"].numpy())
    np.testing.assert_array_equal(passes[0], passes[1])
    assert np.any(passes[0] != passes[2])
    dropped = dropouts[1](tf.ones([2, 5, 5, 1024]), training=True).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0} and (np.ptp(dropped, axis=(1, 2)) == 0).all()
    np.testing.assert_array_equal(backbone(images)["features"], backbone(images)["cam_features"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_grid": (1, 2, 4)}, "multi_grid: .* vgg16_large_fov has none; remove it"),
        ({"depth_multiplier": 0.5}, "depth_multiplier: 0.5 given, but vgg16_large_fov has none"),
        ({"fc6_rate": 0}, "fc6_rate: 0, expected an integer, 1 or more"),
        ({"name": "mobilenet_v2", "fc6_rate": 12}, "fc6_rate: 12 given, but mobilenet_v2 has no fc6; remove it"),
    ],
)
def test_what_it_has_not_is_refused(options, message):
    with pytest.raises(UserError, match=message) as error:
        build_backbone(**{"name": NAME, **options})
    assert "\n" not in str(error.value)


def test_in_bfloat16_it_comes_near():
    before = keras.config.dtype_policy()
    reference_features = build_backbone(NAME)
    images = images_of(33, 33)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = build_backbone(NAME)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(reference_features.get_weights())
    actual, expected = (np.ravel(tf.cast(m(images)["features"], tf.float32)) for m in (half, reference_features))
    assert actual @ expected > 0.99 * np.linalg.norm(actual) * np.linalg.norm(expected)
