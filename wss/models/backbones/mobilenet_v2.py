"""MobileNetV2 (Sandler et al., CVPR 2018) with slim's names and an output stride."""

from collections.abc import Mapping

import keras

from wss.models.layers.convolution import AtrousSchedule, conv_bn, depthwise_bn, truncated_normal

_SCOPE = "MobilenetV2"
# (filters, number of units, stride of the first unit); expansion 6, but 1 in the first.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_EXPANSION = 6
_OUTPUTS = {
    2: "layer_2",
    4: "layer_4/output",
    7: "layer_7/output",
    14: "layer_14/output",
    18: "layer_18",
}


def mobilenet_v2(
    x: keras.KerasTensor, *, output_stride: int, depth_multiplier: float, depth_divisor: int, batch_norm: Mapping
) -> dict[str, keras.KerasTensor]:
    """Applies MobileNetV2 to a normalised image.

    Args:
        x: Keras tensor `[B, H, W, 3]`.
        output_stride: 8, 16 or 32.
        depth_multiplier: Factor of the number of filters everywhere, but of Conv_1 only if above 1.
        depth_divisor: Number of whose multiples scaled numbers of filters are.
        batch_norm: Keyword arguments of `BatchNorm`.

    Returns:
        {name: Keras tensor}: the layers that DeepLab names, layer_4/depthwise_output, and Conv_1 (1280 channels), which
        the ImageNet classifier pools.
    """

    def depth(filters: int) -> int:
        return make_divisible(filters * depth_multiplier, depth_divisor)

    x = _conv(x, depth(32), 3, scope=f"{_SCOPE}/Conv", batch_norm=batch_norm, stride=2)
    schedule = AtrousSchedule(output_stride, stem_stride=2)
    points, layer = {}, 1
    for filters, units, first_stride in _STAGES:
        for unit in range(units):
            layer += 1
            stride, rate = schedule.next(first_stride if unit == 0 else 1)
            scope = f"{_SCOPE}/expanded_conv" + (f"_{layer - 2}" if layer > 2 else "")
            x, depthwise = _inverted_residual(
                x, depth(filters), scope=scope, stride=stride, rate=rate, batch_norm=batch_norm, expand=layer > 2
            )
            if layer == 4:
                points["layer_4/depthwise_output"] = depthwise
            if layer in _OUTPUTS:
                points[_OUTPUTS[layer]] = x
    conv_1 = make_divisible(1280 * max(depth_multiplier, 1.0), depth_divisor)
    points["Conv_1"] = _conv(x, conv_1, 1, scope=f"{_SCOPE}/Conv_1", batch_norm=batch_norm)
    return points


def make_divisible(filters: float, divisor: int) -> int:
    """Returns the nearest multiple of `divisor`, at least one of it, and never more than 10 % below `filters`."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def _inverted_residual(
    x: keras.KerasTensor, filters: int, *, scope: str, stride: int, rate: int, batch_norm: Mapping, expand: bool
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Applies 1x1 expansion, depthwise 3x3 and linear 1x1; returns the output and the depthwise one."""
    inputs = x
    if expand:
        x = _conv(x, make_divisible(x.shape[-1] * _EXPANSION, 8), 1, scope=f"{scope}/expand", batch_norm=batch_norm)
    depthwise = depthwise_bn(
        x,
        scope=f"{scope}/depthwise",
        batch_norm=batch_norm,
        activation="relu6",
        stride=stride,
        rate=rate,
        symmetric_padding=False,
        initializer=truncated_normal(0.09),
    )
    x = _conv(depthwise, filters, 1, scope=f"{scope}/project", batch_norm=batch_norm, activation=None)
    if stride == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{scope.replace('/', '.')}.add")([x, inputs])
    return x, depthwise


def _conv(
    x: keras.KerasTensor, filters: int, kernel_size: int, *, activation: str | None = "relu6", **arguments
) -> keras.KerasTensor:
    return conv_bn(
        x,
        filters,
        kernel_size,
        activation=activation,
        symmetric_padding=False,
        initializer=truncated_normal(0.09),
        **arguments,
    )
