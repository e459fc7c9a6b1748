"""DeepLabv3+'s head as U2PL builds it (Wang et al., CVPR 2022), which ESL repeats.

It differs from DeepLab's: all convolutions are full, low-level features keep 256 channels, ASPP ends in a 3x3 convolution,
and dropout is of whole channels, also in the decoder.
"""

import functools
from collections.abc import Mapping, Sequence

import keras

from wss.models.heads.aspp_decoder import DECODER_INPUT, DEPTH, aspp_branches, scaled_rates
from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import PYTORCH_BATCH_NORM, ResizeLike, conv_bn, head_input, pytorch_uniform
from wss.models.layers.dropout import SpatialDropout


def build_u2pl_head(
    num_classes: int,
    features_shape: tuple[int | None, int | None, int],
    low_level_shape: tuple[int | None, int | None, int],
    *,
    output_stride: int = 8,
    aspp_rates: Sequence[int] = (6, 12, 18),
    dropout: float = 0.1,
    batch_norm: Mapping | None = None,
    depth: int = DEPTH,
    classifier: Classifier = LINEAR,
) -> keras.Model:
    """Builds the head that turns backbone features into logits.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        low_level_shape: (h4, w4, D4) of the backbone's "low_level"; None for any size.
        output_stride: Ratio of image to feature resolution.
        aspp_rates: Atrous rates at output stride 16, doubled at 8 and halved at 32.
        dropout: Rate at which whole channels are dropped after ASPP and after each convolution of the decoder.
        batch_norm: Keyword arguments of `BatchNorm` that replace momentum 0.9 and epsilon 1e-5.
        depth: Number of channels everywhere.
        classifier: The last layer.

    Returns:
        A model from [features, low_level] to logits `[B, h4, w4, C]`, always float32.
    """
    conv = functools.partial(
        conv_bn, batch_norm={**PYTORCH_BATCH_NORM, **(batch_norm or {})}, initializer=pytorch_uniform()
    )
    conv3x3 = lambda x, scope, rate=1, **options: conv(x, depth, 3, scope=scope, rate=rate, **options)
    features = head_input(features_shape, "features")
    low_level = head_input(low_level_shape, "low_level")
    x = aspp_branches(features, scaled_rates(aspp_rates, output_stride), conv=conv, conv3x3=conv3x3, depth=depth)
    x = SpatialDropout(dropout, name="aspp_output")(conv3x3(x, scope="concat_projection"))
    skip = conv(low_level, depth, 1, scope="decoder/feature_projection0", use_bias=True)
    x = ResizeLike(name="decoder.resize")([x, skip])
    x = keras.layers.Concatenate(name=DECODER_INPUT)([skip, x])
    for number in range(2):
        x = conv3x3(x, scope=f"decoder/decoder_conv{number}", use_bias=True)
        x = SpatialDropout(dropout, name=f"decoder.dropout{number}")(x)
    logits = classifier(x, num_classes, initializer=pytorch_uniform())
    return keras.Model([features, low_level], logits, name="segmentation_head")
