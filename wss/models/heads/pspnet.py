"""PSPNet's heads (Zhao et al., CVPR 2017): pyramid pooling on the last stage, an auxiliary head on the stage before."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import PYTORCH_BATCH_NORM, Conv2D, ResizeLike, conv_bn, head_input, pytorch_uniform
from wss.models.layers.dropout import SpatialDropout
from wss.ops.resizing import sides

BINS = (1, 2, 3, 6)
DEPTH = 512
AUXILIARY_DEPTH = 256


def build_pspnet_head(
    num_classes: int,
    features_shape: tuple[int | None, int | None, int],
    *,
    dropout: float = 0.1,
    batch_norm: Mapping | None = None,
    classifier: Classifier = LINEAR,
) -> keras.Model:
    """Builds the head that turns backbone features into logits.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        dropout: Rate at which whole channels are dropped before the last convolution.
        batch_norm: Keyword arguments of `BatchNorm` that replace momentum 0.9 and epsilon 1e-5.
        classifier: The last layer.

    Returns:
        A model from [features] to logits [B, h, w, C], always float32.
    """
    norm = {**PYTORCH_BATCH_NORM, **(batch_norm or {})}
    features = head_input(features_shape, "features")
    x = pyramid_pooling(features, BINS, norm)
    x = conv_bn(x, DEPTH, 3, scope="pspnet/conv", batch_norm=norm, initializer=pytorch_uniform())
    x = SpatialDropout(dropout, name="logits.semantic.dropout")(x)
    logits = classifier(x, num_classes, initializer=pytorch_uniform())
    return keras.Model([features], logits, name="segmentation_head")


def build_auxiliary_head(
    num_classes: int,
    features_shape: tuple[int | None, int | None, int],
    *,
    dropout: float = 0.1,
    batch_norm: Mapping | None = None,
) -> keras.Model:
    """Builds the head that is trained on the stage before the last and not used afterwards.

    Its arguments and what it returns are those of `build_pspnet_head`, for the backbone's "hypercolumn_previous". It always
    ends in a linear layer.
    """
    norm = {**PYTORCH_BATCH_NORM, **(batch_norm or {})}
    features = head_input(features_shape, "hypercolumn_previous")
    x = conv_bn(features, AUXILIARY_DEPTH, 3, scope="auxiliary/conv", batch_norm=norm, initializer=pytorch_uniform())
    x = SpatialDropout(dropout, name="logits.auxiliary.dropout")(x)
    logits = Conv2D(
        num_classes, 1, kernel_initializer=pytorch_uniform(), tf1_scope="logits/auxiliary", dtype="float32"
    )(x)
    return keras.Model([features], logits, name="auxiliary_head")


def pyramid_pooling(features: keras.KerasTensor, bins: Sequence[int], batch_norm: Mapping) -> keras.KerasTensor:
    """Returns [B, h, w, D + 512 len(bins)] for features [B, h, w, D]: themselves, and their averages over each grid."""
    branches = [features]
    grids = AdaptiveAveragePooling(bins, name="ppm.mean")(features)
    for number, pooled in zip(bins, grids, strict=True):
        pooled = conv_bn(
            pooled, DEPTH, 1, scope=f"ppm/pool{number}", batch_norm=batch_norm, initializer=pytorch_uniform()
        )
        branches.append(ResizeLike(name=f"ppm.pool{number}.resize")([pooled, features]))
    return keras.layers.Concatenate(name="ppm.concat")(branches)


@keras.saving.register_keras_serializable(package="wss")
class AdaptiveAveragePooling(keras.layers.Layer):
    """The averages of [B, H, W, D] over grids of b x b cells, a list of [B, b, b, D].

    Cell i of a side of n pixels reaches from floor(i n / b) to ceil((i + 1) n / b), the end excluded. Cells overlap where
    n is no multiple of b, as in PyTorch's AdaptiveAvgPool2d.

    A cell is a rectangle, so rows and columns are averaged one after the other, by matrix products. Those of the rows,
    which read the whole input, are one for all grids.

    Args:
        bins: Number b of cells along a side, for each grid.
    """

    def __init__(self, bins: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.bins = tuple(bins)

    def call(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        """Returns the averages over each grid."""
        batch, height, width, channels = sides(inputs)
        row_weights = tf.concat([_cell_weights(height, number) for number in self.bins], 0)
        rows = tf.matmul(tf.cast(row_weights, inputs.dtype), tf.reshape(inputs, [batch, height, width * channels]))
        grids = []
        for number, part in zip(self.bins, tf.split(rows, self.bins, axis=1), strict=True):
            part = tf.reshape(part, [batch, number, width, channels])
            grids.append(tf.matmul(tf.cast(_cell_weights(width, number), inputs.dtype), part))
        return grids

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
        """Returns the shape of each grid."""
        return [(input_shape[0], number, number, input_shape[3]) for number in self.bins]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "bins": self.bins}


def _cell_weights(side: tf.Tensor | int, bins: int) -> tf.Tensor:
    """Returns the weight of every pixel in every cell, float32 [bins, side]."""
    cell, pixel = tf.range(bins)[:, None], tf.range(side)[None]
    # Rounded up without negative numbers, for exports.
    start, end = cell * side // bins, ((cell + 1) * side + bins - 1) // bins
    inside = tf.cast((pixel >= start) & (pixel < end), tf.float32)
    return inside / tf.cast(end - start, tf.float32)
