"""VGG-16 as DeepLab-LargeFOV has it (Chen et al., ICLR 2015), with slim's names and an output stride.

Max pools are 3x3 and padded alike on both sides, where VGG's are 2x2. fc6 is an atrous 3x3 and fc7 a 1x1, both of 1024
channels, where VGG's are 7x7 and 1x1 of 4096. There is no batch norm.
"""

import keras

from wss.models.layers.convolution import AtrousSchedule, Conv2D
from wss.models.layers.dropout import SpatialDropout

SCOPE = "vgg_16"
STARTS_AFRESH = (f"{SCOPE}/fc6/", f"{SCOPE}/fc7/")  # what weights without VGG's classifier do not have
FC_DEPTH = 1024
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # number of convolutions, filters
_FC6_SPACING = 3  # of every third pixel of VGG's 7x7, at its own stride of 32
_DROPOUT = 0.5


def vgg16_large_fov(
    x: keras.KerasTensor, *, output_stride: int, fc6_rate: int | None = None, ceil_pool: bool = False
) -> dict[str, keras.KerasTensor]:
    """Applies VGG16-LargeFOV to a normalised image.

    At output stride 8 the pools have strides 2, 2, 2, 1, 1, conv5 dilates by 2 and fc6 by 12. At 16 the fourth pool
    strides too, at 32 all do. Pools do not dilate, so that features of another stride are other features.

    Args:
        x: Keras tensor `[B, H, W, 3]`.
        output_stride: 8, 16 or 32.
        fc6_rate: Atrous rate of fc6; None for 12 at output stride 8, 6 at 16 and 3 at 32.
        ceil_pool: Whether a max pool keeps a last window that is not full, as Caffe's. It matters at even sides only.

    Returns:
        {name: Keras tensor}: the last convolution of every block after its ReLU, "vgg_16/fc6", and "vgg_16/fc7" after
        its dropout.
    """
    schedule = AtrousSchedule(output_stride, stem_stride=1)
    points = {}
    for block, (convolutions, filters) in enumerate(_BLOCKS, 1):
        for number in range(1, convolutions + 1):
            scope = f"{SCOPE}/conv{block}/conv{block}_{number}"
            x = _conv(x, filters, 3, scope=scope, rate=schedule.rate)
        points[scope] = x
        stride, _ = schedule.next(2)
        x = _max_pool(x, f"{SCOPE}.pool{block}", stride, ceil_pool)
    # The padding counts in the mean, unlike in padding="same".
    x = keras.layers.ZeroPadding2D(1, name=f"{SCOPE}.pool5a_pad")(x)
    x = keras.layers.AveragePooling2D(3, strides=1, name=f"{SCOPE}.pool5a")(x)
    rate = fc6_rate or _FC6_SPACING * schedule.rate
    for name, kernel_size, dilation in (("fc6", 3, rate), ("fc7", 1, 1)):
        x = _conv(x, FC_DEPTH, kernel_size, scope=f"{SCOPE}/{name}", rate=dilation)
        x = SpatialDropout(_DROPOUT, name=f"{SCOPE}.{name}.dropout")(x)
        points[f"{SCOPE}/{name}"] = x
    return points


def _conv(x: keras.KerasTensor, filters: int, kernel_size: int, *, scope: str, rate: int) -> keras.KerasTensor:
    x = Conv2D(filters, kernel_size, dilation_rate=rate, kernel_initializer="he_normal", tf1_scope=scope)(x)
    return keras.layers.Activation("relu", name=f"{scope.replace('/', '.')}.relu")(x)


def _max_pool(x: keras.KerasTensor, name: str, stride: int, ceil_pool: bool) -> keras.KerasTensor:
    """Applies a 3x3 max pool, padded by 1; after a ReLU a padding by 0 is one by minus infinity."""
    if stride == 1:
        return keras.layers.MaxPooling2D(3, strides=1, padding="same", name=name)(x)
    # With two more pixels the last window, which VALID drops at even sides, stays; at odd sides nothing changes.
    after = 2 if ceil_pool else 1
    x = keras.layers.ZeroPadding2D(((1, after), (1, after)), name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=stride, name=name)(x)
