"""ResNet v1 50 and 101 as DeepLab has them (research/deeplab/core/resnet_v1_beta.py) and as Keras does.

In DeepLab the stride is in the 3x3 convolution of a block's last unit. The beta variants have three 3x3 convolutions for
a stem, not one 7x7.

In keras.applications the stride is in the first 1x1 convolution of a block's first unit, and every convolution has a bias.
The max pool is padded by one pixel on every side, also where the size is even.
"""

import functools
from collections.abc import Callable, Mapping

import keras

from wss.models.layers.convolution import AtrousSchedule, conv_bn

_UNITS = {"resnet_v1_50": (3, 4, 6, 3), "resnet_v1_101": (3, 4, 23, 3)}


def resnet_v1(
    x: keras.KerasTensor,
    scope: str,
    *,
    layout: str,
    output_stride: int,
    multi_grid: tuple[int, ...],
    batch_norm: Mapping,
    ceil_pool: bool = False,
) -> dict[str, keras.KerasTensor]:
    """Applies ResNet v1 to a normalised image.

    Args:
        x: Keras tensor `[B, H, W, 3]`.
        scope: "resnet_v1_50" or "resnet_v1_101" in every layout.
        layout: "slim", "beta" (slim's with the 3x3 stem) or "keras".
        output_stride: 8, 16 or 32.
        multi_grid: Unit rates of the three units of block4.
        batch_norm: Keyword arguments of `BatchNorm`.
        ceil_pool: See `build_backbone`.

    Returns:
        {name: Keras tensor}: the output of every block, and of block1/unit_2's last convolution before the sum, under
        their names in DeepLab.
    """
    stride_first = layout == "keras"
    conv = functools.partial(conv_bn, batch_norm=batch_norm, initializer="he_normal", use_bias=layout == "keras")
    x = _stem(x, scope, layout=layout, conv=conv, ceil_pool=ceil_pool)
    schedule = AtrousSchedule(output_stride, stem_stride=4)
    points = {}
    for block, units in enumerate(_UNITS[scope], 1):
        for unit in range(1, units + 1):
            strides = (block > 1 and unit == 1) if stride_first else (block < 4 and unit == units)
            stride, rate = schedule.next(2 if strides else 1)
            if stride_first:
                # A dropped stride precedes the 3x3 of its own unit, which dilates already.
                rate = schedule.rate
            rate *= multi_grid[unit - 1] if block == 4 else 1
            unit_scope = f"{scope}/block{block}/unit_{unit}/bottleneck_v1"
            x, conv3 = _bottleneck(
                x, unit_scope, width=32 * 2**block, stride=stride, rate=rate, stride_first=stride_first, conv=conv
            )
            if (block, unit) == (1, 2):
                points[f"{unit_scope}/conv3"] = conv3
        points[f"{scope}/block{block}"] = x
    return points


def _stem(x: keras.KerasTensor, scope: str, *, layout: str, conv: Callable, ceil_pool: bool) -> keras.KerasTensor:
    """Applies the first convolutions and the max pool: stride 4."""
    if layout == "beta":
        for i, filters in enumerate((64, 64, 128), 1):
            x = conv(x, filters, 3, scope=f"{scope}/conv1_{i}", stride=2 if i == 1 else 1)
    else:
        x = conv(x, 64, 7, scope=f"{scope}/conv1", stride=2)
    padding = "same"
    if layout == "keras" or ceil_pool:
        # With two more pixels the last window, which VALID drops at even sides, stays; at odd sides nothing changes.
        after = 2 if ceil_pool else 1
        x = keras.layers.ZeroPadding2D(((1, after), (1, after)), name=f"{scope}.pool1_pad")(x)
        padding = "valid"
    return keras.layers.MaxPooling2D(3, strides=2, padding=padding, name=f"{scope}.pool1")(x)


def _bottleneck(
    x: keras.KerasTensor, scope: str, *, width: int, stride: int, rate: int, stride_first: bool, conv: Callable
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Applies 1x1, 3x3, 1x1 and a skip; returns the output and the last convolution before the sum."""
    name, depth = scope.replace("/", "."), 4 * width
    if x.shape[-1] != depth:
        shortcut = conv(x, depth, 1, scope=f"{scope}/shortcut", activation=None, stride=stride)
    elif stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}.shortcut")(x)
    else:
        shortcut = x
    first, second = (stride, 1) if stride_first else (1, stride)
    residual = conv(x, width, 1, scope=f"{scope}/conv1", stride=first)
    residual = conv(residual, width, 3, scope=f"{scope}/conv2", stride=second, rate=rate)
    residual = conv(residual, depth, 1, scope=f"{scope}/conv3", activation=None)
    x = keras.layers.Add(name=f"{name}.add")([shortcut, residual])
    return keras.layers.Activation("relu", name=f"{name}.relu")(x), residual
