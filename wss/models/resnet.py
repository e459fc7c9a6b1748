"""ResNet v1 50 and 101 in DeepLab's form (research/deeplab/core/resnet_v1_beta.py).

The stride is in a block's last unit. The beta variants have three 3x3 convolutions for a stem, not
one 7x7.
"""

import keras

from wss.models.layers import AtrousSchedule, conv_bn

_UNITS = {"resnet_v1_50": (3, 4, 6), "resnet_v1_101": (3, 4, 23)}


def resnet_v1(x, scope: str, beta: bool, output_stride: int, multi_grid: tuple[int, ...], batch_norm: dict) -> dict:
    """ResNet v1 on a normalised image.

    Args:
      x: Keras tensor `[B, H, W, 3]`.
      scope: "resnet_v1_50" or "resnet_v1_101", for the beta variants too.
      beta: whether the stem is three 3x3 convolutions.
      output_stride: 8, 16 or 32.
      multi_grid: unit rates of the three units of block4.
      batch_norm: keyword arguments of `BatchNorm`.

    Returns:
      {name: Keras tensor}: the output of every block, and of block1/unit_2's last convolution
      before the sum, under their names in DeepLab.
    """
    x = _stem(x, scope, beta, batch_norm)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{scope}.pool1")(x)
    schedule = AtrousSchedule(output_stride, stem_stride=4)
    points = {}
    for block, units in enumerate((*_UNITS[scope], 3), 1):
        for unit in range(1, units + 1):
            last_of_stride = unit == units and block < 4
            stride, rate = schedule.next(2 if last_of_stride else 1)
            rate *= multi_grid[unit - 1] if block == 4 else 1
            unit_scope = f"{scope}/block{block}/unit_{unit}/bottleneck_v1"
            x, conv3 = _bottleneck(x, unit_scope, 32 * 2**block, stride, rate, batch_norm)
            if (block, unit) == (1, 2):
                points[f"{unit_scope}/conv3"] = conv3
        points[f"{scope}/block{block}"] = x
    return points


def _stem(x, scope, beta, batch_norm):
    if not beta:
        return conv_bn(x, 64, 7, f"{scope}/conv1", batch_norm, stride=2, initializer="he_normal")
    for i, filters in enumerate((64, 64, 128), 1):
        stride = 2 if i == 1 else 1
        x = conv_bn(x, filters, 3, f"{scope}/conv1_{i}", batch_norm, stride=stride, initializer="he_normal")
    return x


def _bottleneck(x, scope, width, stride, rate, batch_norm):
    """1x1, 3x3, 1x1 and a skip; returns the output and the last convolution before the sum."""
    name, depth = scope.replace("/", "."), 4 * width

    def conv(x, filters, kernel_size, part, activation="relu", stride=1, rate=1):
        part_scope = f"{scope}/{part}"
        return conv_bn(
            x,
            filters,
            kernel_size,
            part_scope,
            batch_norm,
            activation,
            stride,
            rate,
            initializer="he_normal",
        )

    if x.shape[-1] != depth:
        shortcut = conv(x, depth, 1, "shortcut", None, stride)
    elif stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}.shortcut")(x)
    else:
        shortcut = x
    residual = conv(x, width, 1, "conv1")
    residual = conv(residual, width, 3, "conv2", stride=stride, rate=rate)
    residual = conv(residual, depth, 1, "conv3", None)
    x = keras.layers.Add(name=f"{name}.add")([shortcut, residual])
    return keras.layers.Activation("relu", name=f"{name}.relu")(x), residual
