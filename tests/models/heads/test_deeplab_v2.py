"""DeepLabv2: the sum of four atrous convolutions, the max pool that keeps its last window, and frozen scales."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, random_batch, tiny_model

from wss.config import parse_config
from wss.methods.supervised import Supervised
from wss.models.backbones.registry import build_backbone
from wss.models.deeplab import build_model
from wss.models.heads.deeplab_v2 import build_deeplab_v2_head
from wss.models.tf1_names import assign_tf1, tf1_shapes, tf1_values, tf1_variables

RATES = (6, 12, 18, 24)


@pytest.fixture(scope="module")
def resnet_101():
    parse_config(["gin_configs/models/deeplab_v2_resnet_101.gin"], [])
    return build_model(dataset_of(21))


def tiny():
    return tiny_model(3, head="deeplab_v2", output_stride=8)


# The classifier


@pytest.mark.parametrize(("first_two_only", "rates"), [(False, RATES), (True, RATES[:2])])
def test_an_impulse_shows_nine_pixels_of_every_rate(first_two_only, rates):
    head = build_deeplab_v2_head(1, (None, None, 1), first_two_only)
    values = {name: np.ones(shape) for name, shape in tf1_shapes(head).items()}
    assign_tf1(head, values | {name: np.full(1, 0.25) for name in values if name.endswith("/biases")})
    image, expected = np.zeros((1, 49, 49, 1), np.float32), np.full((49, 49), 0.25 * len(rates))
    image[0, 24, 24] = 1
    for rate in rates:
        for row in (24 - rate, 24, 24 + rate):
            for column in (24 - rate, 24, 24 + rate):
                expected[row, column] += 1
    np.testing.assert_allclose(head([image])[0, ..., 0], expected, atol=1e-6)


def atrous_by_hand(x, kernel, bias, rate):
    height, width = x.shape[1:3]
    padded = np.pad(x, [(0, 0), (rate, rate), (rate, rate), (0, 0)])
    taps = [
        padded[:, i * rate : i * rate + height, j * rate : j * rate + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    return sum(taps) + bias


@pytest.mark.parametrize("first_two_only", [False, True])
def test_classifier_is_the_sum_of_atrous_convolutions(first_two_only):
    rng = np.random.default_rng(0)
    head = build_deeplab_v2_head(3, (None, None, 4), first_two_only)
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in tf1_shapes(head).items()}
    assign_tf1(head, values)
    x = rng.normal(size=(2, 31, 52, 4)).astype(np.float32)
    scopes = ["logits/semantic", *(f"logits/semantic_{i}" for i in (1, 2, 3))][: 2 if first_two_only else 4]
    assert {name.rsplit("/", 1)[0] for name in values} == set(scopes)
    branches = [
        atrous_by_hand(x, values[f"{scope}/weights"], values[f"{scope}/biases"], rate)
        for scope, rate in zip(scopes, RATES, strict=False)
    ]
    np.testing.assert_allclose(head([x]), sum(branches), rtol=1e-4, atol=1e-4)


def test_classifier_starts_small_and_every_rate_on_its_own():
    values = tf1_values(build_deeplab_v2_head(21, (None, None, 64)))
    kernels = [value for name, value in values.items() if name.endswith("/weights")]
    for kernel in kernels:
        np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.05)
    assert len({float(kernel[0, 0, 0, 0]) for kernel in kernels}) == 4
    assert not any(np.any(value) for name, value in values.items() if name.endswith("/biases"))


# The network


@pytest.mark.slow
def test_deeplab_v2_resnet_101(resnet_101):
    assert resnet_101.segmentation_head.count_params() == 4 * (9 * 2048 * 21 + 21)
    assert resnet_101.auxiliary_head is None and resnet_101.default_weight_decay == 1e-4
    convs = [layer for layer in resnet_101.backbone.layers if layer.name.endswith("bottleneck_v1.conv2")]
    rates = [layer.dilation_rate[0] for layer in convs]
    assert rates == [1] * 7 + [2] * 23 + [4] * 3
    assert resnet_101(tf.zeros([1, 65, 97, 3])).shape == (1, 9, 13, 21)
    assert resnet_101(tf.zeros([1, 64, 50, 3])).shape == (1, 9, 7, 21)


def test_scales_and_offsets_stay_while_statistics_move():
    model = tiny()
    trained = {variable.path for variable in model.trainable_variables}
    names = tf1_variables(model)
    frozen = {name for name, variable in names.items() if variable.path not in trained}
    kinds = {name.rsplit("/", 1)[1] for name in frozen}
    assert kinds == {"gamma", "beta", "moving_mean", "moving_variance"}
    scales = {name for name in tf1_shapes(model.backbone) if name.endswith(("/gamma", "/beta"))}
    assert scales == {name for name in frozen if name.endswith(("/gamma", "/beta"))}
    before = tf1_values(model.backbone)
    with tf.GradientTape() as tape:
        losses = Supervised().losses(model, random_batch(3), tf.constant(0, tf.int64)).losses
    kernel = names["MobilenetV2/Conv/weights"]
    assert np.any(tape.gradient(losses["segmentation"], kernel.value))
    after = tf1_values(model.backbone)
    moved = {name for name in before if np.any(before[name] != after[name])}
    in_logits_path = [name for name in before if "/moving_" in name and not name.startswith("MobilenetV2/Conv_1")]
    assert moved >= set(in_logits_path) and all("/moving_" in name for name in moved)


def test_only_the_classifiers_learn_faster():
    model = tiny()
    names = {variable.path: name for name, variable in tf1_variables(model).items()}
    factors = {names[path]: factor for path, factor in model.rate_factors(head=10.0).items()}
    image_classifier = {"MobilenetV2/logits/weights", "MobilenetV2/logits/biases"}
    assert factors == dict.fromkeys(image_classifier | set(tf1_shapes(model.segmentation_head)), 10.0)


# The max pool


@functools.cache
def pool_model(layout, ceil_pool):
    """A ResNet-50 up to its max pool: images -> (what it pools, what comes out)."""
    keras.utils.set_random_seed(0)
    backbone = build_backbone(f"resnet_v1_50_{layout}".removesuffix("_slim"), ceil_pool=ceil_pool)
    before = next(layer for layer in backbone.layers if ".pool1" in layer.name).input
    return keras.Model(backbone.input, [before, backbone.get_layer("resnet_v1_50.pool1").output])


def pool_of(side, layout, ceil_pool):
    images = tf.random.stateless_uniform([1, side, side, 3], [0, 1], 0.0, 255.0)
    return [x.numpy() for x in pool_model(layout, ceil_pool)(images)]


def ceil_mode_by_hand(x):
    """Windows of three, every second pixel from -1 on, as long as one begins in the image: PyTorch's rule."""
    starts = range(-1, x.shape[1], 2)
    window = lambda i: slice(max(i, 0), i + 3)
    rows = [[x[:, window(i), window(j)].max((1, 2)) for j in starts] for i in starts]
    return np.stack([np.stack(row, 1) for row in rows], 1)


@pytest.mark.parametrize("layout", ["keras", "slim", "beta"])
@pytest.mark.parametrize(("side", "pooled"), [(32, 9), (33, 9), (34, 9), (36, 10)])
def test_the_last_window_of_the_max_pool_stays(layout, side, pooled):
    before, after = pool_of(side, layout, True)
    assert after.shape[1:3] == (pooled, pooled)
    np.testing.assert_array_equal(after, ceil_mode_by_hand(before))


@pytest.mark.parametrize("layout", ["keras", "slim"])
def test_at_sides_of_crops_all_max_pools_are_the_same(layout):
    np.testing.assert_array_equal(pool_of(33, layout, False)[1], pool_of(33, layout, True)[1])
    assert pool_of(32, layout, False)[1].shape[1] == 8
