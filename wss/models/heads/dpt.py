"""The head of dense prediction transformers (Ranftl et al., ICCV 2021), as UniMatch V2 builds it on DINOv2.

Four blocks of a ViT become maps at strides 1/4, 1/2, 1 and 2 of the patch, and are fused from the coarsest on.
"""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from wss.models.heads.aspp_decoder import DECODER_INPUT
from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import ResizeLike, Shape, head_input, pytorch_uniform
from wss.ops.resizing import resize_bilinear, sides

# Channels F of the fusion, and of the four maps, by channels of the encoder.
WIDTHS: Mapping[int, tuple[int, tuple[int, int, int, int]]] = {
    384: (64, (48, 96, 192, 384)),
    768: (128, (96, 192, 384, 768)),
    1024: (256, (256, 512, 1024, 1024)),
    1536: (384, (1536, 1536, 1536, 1536)),
}


def widths_of(depth: int) -> tuple[int, tuple[int, ...]]:
    """Returns F and the channels of the four maps for an encoder of `depth` channels; in the small one's way if unknown."""
    return WIDTHS.get(depth, (max(1, depth // 6), tuple(max(1, depth * 2**level // 8) for level in range(4))))


def build_dpt_head(
    num_classes: int, blocks: Mapping[str, tuple[int | None, int | None, int]], *, classifier: Classifier = LINEAR
) -> keras.Model:
    """Builds the head that turns four blocks of a ViT into logits.

    Args:
        num_classes: C, the background included if there is one.
        blocks: (h, w, D) of four end points by name, the last block last; None for any size.
        classifier: The last layer.

    Returns:
        A model from the four blocks to logits [B, 8 h, 8 w, C], always float32.
    """
    inputs = [head_input(shape, name) for name, shape in blocks.items()]
    width, depths = widths_of(inputs[0].shape[-1])
    maps = []
    for level, (x, depth) in enumerate(zip(inputs, depths, strict=True), 1):
        x = _conv(depth, 1, name=f"project_{level}", inputs=x.shape[-1])(x)
        x = _resized(x, level, depth)
        maps.append(_conv(width, 3, name=f"fusion_input_{level}", inputs=depth, use_bias=False)(x))
    path = None
    for level in (4, 3, 2, 1):
        path = _fused(path, maps[level - 1], level, width, like=maps[level - 2] if level > 1 else None)
    path = keras.layers.Identity(name=DECODER_INPUT)(path)
    x = _conv(width, 3, name="output_conv", inputs=width, activation="relu")(path)
    logits = classifier(x, num_classes, initializer=pytorch_uniform(), bias_initializer=uniform(width))
    return keras.Model(inputs, logits, name="segmentation_head")


def _fused(
    path: keras.KerasTensor | None, skip: keras.KerasTensor, level: int, width: int, *, like: keras.KerasTensor | None
) -> keras.KerasTensor:
    """Returns 1x1(up(RCU2(path + RCU1(skip)))), at the size of `like` or else at twice its own."""
    if path is None:
        # The reference has a unit here that nothing passes through.
        path = UnusedResidualUnit(width, name=f"fusion_{level}_unit_1")(skip)
    else:
        skip = _residual_unit(skip, width, f"fusion_{level}_unit_1")
        path = keras.layers.Add(name=f"fusion_{level}_add")([path, skip])
    path = _residual_unit(path, width, f"fusion_{level}_unit_2")
    name = f"fusion_{level}_resize"
    path = Doubled(name=name)(path) if like is None else ResizeLike(name=name)([path, like])
    return _conv(width, 1, name=f"fusion_{level}_out", inputs=width)(path)


def _residual_unit(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Returns x + conv3(relu(conv3(relu(x))))."""
    residual = x
    for number in (1, 2):
        residual = keras.layers.ReLU(name=f"{name}_relu_{number}")(residual)
        residual = _conv(width, 3, name=f"{name}_conv_{number}", inputs=width)(residual)
    return keras.layers.Add(name=f"{name}_add")([x, residual])


def _resized(x: keras.KerasTensor, level: int, depth: int) -> keras.KerasTensor:
    """Returns a map at 4, 2, 1 or half of its resolution."""
    name = f"resize_{level}"
    if level in (1, 2):
        factor = 4 // level
        return keras.layers.Conv2DTranspose(
            depth,
            factor,
            strides=factor,
            # Of a transposed convolution PyTorch counts the inputs by the output's channels, for the kernel too.
            kernel_initializer=uniform(depth * factor**2),
            bias_initializer=uniform(depth * factor**2),
            name=name,
        )(x)
    if level == 3:
        return x
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return _conv(depth, 3, name=name, inputs=depth, strides=2, padding="valid")(x)


def _conv(filters: int, size: int, *, name: str, inputs: int, **options) -> keras.layers.Conv2D:
    """Returns a convolution that starts as PyTorch's."""
    return keras.layers.Conv2D(
        filters,
        size,
        kernel_initializer=pytorch_uniform(),
        bias_initializer=uniform(inputs * size**2),
        name=name,
        **{"padding": "same", **options},
    )


def uniform(fan_in: int) -> keras.initializers.Initializer:
    """Returns PyTorch's initializer for a number of inputs, uniform within 1 / sqrt(fan_in)."""
    limit = 1 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-limit, limit)


@keras.saving.register_keras_serializable(package="wss")
class UnusedResidualUnit(keras.layers.Layer):
    """The weights of a residual unit that the reference has and never uses: the input passes as it is.

    They are in its checkpoints and its count of parameters, so they are kept, frozen.

    Args:
        width: Number of channels.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape: Shape) -> None:
        """Creates the weights."""
        del input_shape
        for number in (1, 2):
            shape = (3, 3, self.width, self.width)
            self.add_weight(shape=shape, initializer=pytorch_uniform(), trainable=False, name=f"unused_kernel_{number}")
            bias = uniform(self.width * 9)
            self.add_weight(shape=(self.width,), initializer=bias, trainable=False, name=f"unused_bias_{number}")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the input."""
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="wss")
class Doubled(keras.layers.Layer):
    """The `resize_bilinear` of [B, h, w, C] to [B, 2 h, 2 w, C]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the input at twice its size."""
        height, width = sides(inputs)[1:3]
        return resize_bilinear(inputs, [2 * height, 2 * width])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the output."""
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels)


def block_names(names: Sequence[str]) -> list[str]:
    """Returns the end points of a ViT's blocks, in order."""
    return sorted((name for name in names if name.startswith("block")), key=lambda name: int(name[len("block") :]))
