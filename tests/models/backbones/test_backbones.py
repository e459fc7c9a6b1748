"""Backbones, head, resizing and TensorFlow 1 names; tests/parity compares their tensors with the original's."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.errors import UserError
from wss.models.backbones.registry import build_backbone
from wss.models.heads.aspp_decoder import build_segmentation_head
from wss.models.layers.convolution import Conv2D, DepthwiseConv2D
from wss.models.tf1_names import assign_tf1, tf1_shapes, tf1_variables
from wss.ops.resizing import resize_bilinear, resize_nearest


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def head_for(backbone, num_classes=21, **kwargs):
    shapes = (backbone.output[role].shape[1:] for role in ("features", "low_level"))
    return build_segmentation_head(num_classes, *shapes, **kwargs)


def golden_variables(goldens, variant):
    variables = json.loads((goldens / f"variables_{variant}.json").read_text())
    return {v["name"]: tuple(v["shape"]) for v in variables if v["name"] != "global_step"}


def parameters(shapes, prefix=""):
    return sum(int(np.prod(shape)) for name, shape in shapes.items() if name.startswith(prefix))


@pytest.mark.parametrize(
    "name, side",
    [
        ("mobilenet_v2", 65),
        ("resnet_v1_50_beta", 64),
        pytest.param("resnet_v1_50_keras", 64, marks=pytest.mark.slow),
        pytest.param("resnet_v1_50_keras", 65, marks=pytest.mark.slow),
        pytest.param("xception_41", 64, marks=pytest.mark.slow),
    ],
)
def test_output_stride_changes_density_not_values(name, side):
    """At stride 16 every other feature, at stride 8 every fourth, is one of stride 32."""
    images = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)
    models = {stride: build_backbone(name, output_stride=stride) for stride in (8, 16, 32)}
    weights = models[32].get_weights()
    expected = tf.function(models[32])(images)["features"]
    for stride in (8, 16):
        models[stride].set_weights(weights)
        features = tf.function(models[stride])(images)["features"]
        assert features.shape[1] == -(-side // stride)
        step = 32 // stride
        tolerance = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(features[:, ::step, ::step], expected, rtol=1e-4, atol=tolerance)


@pytest.mark.slow
def test_xception_parameter_counts_follow_from_xception_65(goldens):
    shapes = golden_variables(goldens, "xception_65")
    total = parameters(shapes, "xception_65/")
    unit = parameters(shapes, "xception_65/middle_flow/block1/unit_2/")

    def module(width):
        separable = 9 * width + 4 * width + width * width + 4 * width
        return 3 * separable + width * width + 4 * width

    assert build_backbone("xception_41").count_params() == total - 8 * unit
    deep = build_backbone("xception_71", input_shape=(65, 65, 3))
    assert deep.count_params() == total + module(256) + module(728)
    assert deep.output["low_level"].shape == (None, 17, 17, 256)


@pytest.mark.slow
def test_resnet_101_beta_parameter_count_follows_from_resnet_101(goldens):
    total = parameters(golden_variables(goldens, "resnet_v1_101"), "resnet_v1_101/")
    plain_stem = 49 * 3 * 64 + 4 * 64
    beta_stem = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 4 * (64 + 64 + 128)
    wider_input_of_block1 = 64 * (64 + 256)
    count = build_backbone("resnet_v1_101_beta").count_params()
    assert count == total - plain_stem + beta_stem + wider_input_of_block1


@pytest.mark.parametrize("depth_multiplier", [0.35, 1.4])
def test_mobilenet_depth_multiplier_as_keras_applications(depth_multiplier):
    theirs = keras.applications.MobileNetV2((96, 96, 3), alpha=depth_multiplier, include_top=False, weights=None)
    ours = build_backbone("mobilenet_v2", depth_multiplier=depth_multiplier)
    assert ours.count_params() == theirs.count_params()
    assert ours.output["cam_features"].shape[-1] == theirs.output.shape[-1]


def test_multi_grid_sets_the_rates_of_the_last_block():
    resnet = build_backbone("resnet_v1_50", output_stride=16, multi_grid=(1, 2, 4))
    convs = [f"resnet_v1_50.block4.unit_{unit}.bottleneck_v1.conv2" for unit in (1, 2, 3)]
    assert [resnet.get_layer(name).dilation_rate for name in convs] == [(2, 2), (4, 4), (8, 8)]
    xception = build_backbone("xception_41", output_stride=16, multi_grid=(1, 2, 4))
    module = "xception_41.exit_flow.block2.unit_1.xception_module"
    convs = [f"{module}.separable_conv{i}_depthwise" for i in (1, 2, 3)]
    assert [xception.get_layer(name).dilation_rate for name in convs] == [(2, 2), (4, 4), (8, 8)]


def test_head_scales_rates_and_checks_them():
    for stride, rates in ((8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])):
        head = build_segmentation_head(3, (None, None, 8), (None, None, 4), output_stride=stride)
        assert [head.get_layer(f"aspp{i}_depthwise").dilation_rate[0] for i in (1, 2, 3)] == rates
    with pytest.raises(UserError, match="aspp_rates"):
        build_segmentation_head(3, (None, None, 8), (None, None, 4), output_stride=32, aspp_rates=(1,))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "xception_56"}, "Did you mean 'xception_65'"),
        ({"name": "mobilenet_v2", "output_stride": 12}, "output_stride: 12"),
        ({"name": "mobilenet_v2", "multi_grid": (1, 2, 4)}, "multi_grid"),
        ({"name": "resnet_v1_50", "multi_grid": (1, 2)}, "2 rates, expected 3"),
        ({"name": "resnet_v1_50", "depth_multiplier": 0.5}, "depth_multiplier"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        build_backbone(**arguments)
    assert "\n" not in str(error.value)


def test_mixed_precision_computes_in_bfloat16_and_ends_in_float32(mixed_bfloat16):
    backbone = build_backbone("mobilenet_v2", input_shape=(65, 65, 3))
    head = head_for(backbone, 5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 65, 65, 3)).astype(np.float32)
    points = backbone(images, training=True)
    logits = head([points["features"], points["low_level"]], training=True)
    assert points["features"].dtype == "bfloat16"
    assert logits.dtype == "float32" and logits.shape == (2, 17, 17, 5)
    assert {variable.dtype for variable in [*backbone.trainable_variables, *head.trainable_variables]} == {"float32"}
    points = backbone(images)
    keras.config.set_dtype_policy("float32")
    reference = build_backbone("mobilenet_v2")
    reference.set_weights(backbone.get_weights())
    expected = reference(images)["features"].numpy().ravel()
    actual = tf.cast(points["features"], tf.float32).numpy().ravel()
    assert actual @ expected > 0.99 * np.linalg.norm(actual) * np.linalg.norm(expected)


def test_batch_norm_arguments_reach_every_layer():
    backbone = build_backbone("mobilenet_v2", batch_norm={"fine_tune": False, "momentum": 0.9})
    norms = [layer for layer in backbone.layers if hasattr(layer, "fine_tune")]
    assert len(norms) == 52
    assert {(norm.fine_tune, norm.momentum, norm.epsilon) for norm in norms} == {(False, 0.9, 1e-3)}


def test_resize_tables(goldens, parity):
    tables = np.load(goldens / "resize_tables.npz")
    for key in tables.files:
        mode, sizes = key.split("/")
        source, target = map(int, sizes.split("_to_"))
        ramp = tf.range(source, dtype=tf.float32)[None, :, None, None]
        if mode == "bilinear_align_corners":
            actual = resize_bilinear(ramp, (target, 1))
        else:
            actual = resize_nearest(tf.cast(ramp, tf.int32), (target, 1), align_corners=mode == "nearest_align_corners")
        parity.check("resize_tables", f"resizing, {mode}", np.ravel(actual), tables[key], 1e-5, name=key)


def test_resize_keeps_dtype_passes_gradients_and_skips_equal_sizes():
    x = tf.reshape(tf.range(18.0), (1, 3, 3, 2))
    assert resize_bilinear(x, (3, 3)) is x and resize_nearest(x, (3, 3)) is x
    for dtype in ("bfloat16", "float16"):
        assert resize_bilinear(tf.cast(x, dtype), (5, 5)).dtype == dtype
    assert resize_nearest(tf.cast(x, tf.bool), (6, 6)).dtype == tf.bool
    with tf.GradientTape() as tape:
        tape.watch(x)
        resized = tf.function(lambda x: resize_bilinear(x, (5, 5)), jit_compile=True)(x)
    # Every output is a convex combination: the 25 unit gradients are shared out among the 9 inputs.
    gradient = tape.gradient(resized, x)
    np.testing.assert_allclose(tf.reduce_sum(gradient, (1, 2)), [[25.0, 25.0]], rtol=1e-6)
    np.testing.assert_allclose(resized[0, 1, :, 0], [3.0, 4.0, 5.0, 6.0, 7.0])


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("layer", [Conv2D, DepthwiseConv2D])
def test_symmetric_padding_strides_as_a_subsampled_convolution(layer, side):
    x = np.random.default_rng(0).normal(size=(1, side, side, 2)).astype(np.float32)
    filters = (3,) if layer is Conv2D else ()
    strided, dense = (layer(*filters, 3, strides=s, tf1_scope=f"a/b{s}") for s in (2, 1))
    dense.build(x.shape)
    strided.build(x.shape)
    strided.set_weights(dense.get_weights())
    np.testing.assert_allclose(strided(x), dense(x)[:, ::2, ::2], rtol=1e-5, atol=1e-5)
    assert strided.compute_output_shape(x.shape) == tuple(strided(x).shape)


def nested_model():
    inputs = keras.Input((None, None, 2))
    x = Conv2D(3, 1, tf1_scope="net/conv")(inputs)
    x = DepthwiseConv2D(3, use_bias=False, tf1_scope="net/depthwise")(x)
    inner = keras.Model(inputs, x)
    dense = keras.layers.Dense(4)
    dense.tf1_scope = "net/logits"
    images = keras.Input((None, None, 2))
    return keras.Model(images, dense(keras.layers.GlobalAveragePooling2D()(inner(images))))


def test_tf1_names_of_nested_models():
    expected = {
        "net/conv/weights": (1, 1, 2, 3),
        "net/conv/biases": (3,),
        "net/depthwise/depthwise_weights": (3, 3, 3, 1),
        "net/logits/weights": (1, 1, 3, 4),
        "net/logits/biases": (4,),
    }
    model = nested_model()
    assert tf1_shapes(model) == expected
    values = {name: np.random.default_rng(0).normal(size=shape) for name, shape in expected.items()}
    assert assign_tf1(model, values) == ([], [])
    for name, variable in tf1_variables(model).items():
        np.testing.assert_allclose(np.ravel(variable), np.ravel(values[name]), rtol=1e-6)


def test_tf1_assignment_names_what_does_not_fit():
    model = nested_model()
    values = {name: np.ones(shape) for name, shape in tf1_shapes(model).items()}
    with pytest.raises(UserError, match=r"net/conv/weight .*Did you mean 'net/conv/weights'"):
        assign_tf1(model, values | {"net/conv/weight": np.ones(3)})
    with pytest.raises(UserError, match=r"net/conv/biases has shape \(2,\), the model expects \(3,\)"):
        assign_tf1(model, values | {"net/conv/biases": np.ones(2)})
    del values["net/conv/biases"]
    with pytest.raises(UserError, match="no value for net/conv/biases"):
        assign_tf1(model, values)
    assert assign_tf1(model, values | {"momentum": np.ones(1)}, strict=False) == (
        ["net/conv/biases"],
        ["momentum"],
    )


def test_clones_keep_names_and_values():
    backbone = build_backbone("mobilenet_v2", depth_multiplier=0.35)
    clone = keras.models.clone_model(backbone)
    clone.set_weights(backbone.get_weights())
    assert tf1_shapes(clone) == tf1_shapes(backbone)
    images = np.full((1, 33, 33, 3), 200.0, np.float32)
    np.testing.assert_array_equal(clone(images)["features"], backbone(images)["features"])


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (None, None, None, 3)])
def test_a_1x1_convolution_as_a_product_equals_the_kernel(use_bias, shape):
    layer = Conv2D(4, 1, use_bias=use_bias, bias_initializer="normal", tf1_scope="net/conv")
    x = tf.random.stateless_normal([2, 5, 7, 3], [0, 1])
    layer(x)
    run = tf.function(layer, input_signature=[tf.TensorSpec(shape)])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected = tf.nn.conv2d(x, layer.kernel.value, 1, "SAME") + (layer.bias.value if use_bias else 0.0)
        outputs = run(x)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    for source in (x, layer.kernel.value):
        np.testing.assert_allclose(tape.gradient(outputs, source), tape.gradient(expected, source), atol=1e-4)
