"""DeepLabv3+'s segmentation head: atrous spatial pyramid pooling, decoder, logits.

Chen et al., ECCV 2018; structure, names and initialisers follow research/deeplab/model.py.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import keras

from wss.errors import UserError
from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import ResizeLike, conv_bn, head_input, separable_conv_bn, truncated_normal
from wss.models.layers.dropout import Dropout

DEPTH = 256
DECODER_INPUT = "decoder.concat"  # the layer whose output the decoder's convolutions read
_LOW_LEVEL_DEPTH = 48
_BATCH_NORM = {"momentum": 0.9997, "epsilon": 1e-5}


def build_segmentation_head(
    num_classes: int,
    features_shape: tuple[int | None, int | None, int],
    low_level_shape: tuple[int | None, int | None, int] | None,
    *,
    output_stride: int = 16,
    aspp_rates: Sequence[int] = (6, 12, 18),
    use_decoder: bool = True,
    separable: bool = True,
    dropout: float = 0.1,
    batch_norm: Mapping | None = None,
    depth: int = DEPTH,
    classifier: Classifier = LINEAR,
) -> keras.Model:
    """Builds the head that turns backbone features into logits.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        low_level_shape: (h4, w4, D4) of the backbone's "low_level"; None for any size. It may be None without a decoder:
            there is no such end point.
        output_stride: Ratio of image to feature resolution.
        aspp_rates: Atrous rates at output stride 16, doubled at 8 and halved at 32; empty for none.
        use_decoder: Whether low-level features refine the result, at their size.
        separable: Whether 3x3 convolutions in ASPP and decoder are separable.
        dropout: Drop rate after ASPP.
        batch_norm: Keyword arguments of `BatchNorm` that replace momentum 0.9997 and epsilon 1e-5.
        depth: Number of channels of ASPP and decoder.
        classifier: The last layer.

    Returns:
        A model from [features, low_level], or [features] alone, to logits `[B, h4, w4, C]`, always float32; without decoder
        `[B, h, w, C]`. Its layers "aspp_output" and, with a decoder, "decoder_output" give the `depth` channels in between.

    Raises:
        UserError: A rate is below 1 at this output stride.
    """
    norm = {**_BATCH_NORM, **(batch_norm or {})}
    features = head_input(features_shape, "features")
    inputs = [features] if low_level_shape is None else [features, head_input(low_level_shape, "low_level")]
    x = build_aspp(
        features,
        aspp_rates,
        output_stride=output_stride,
        batch_norm=norm,
        separable=separable,
        dropout=dropout,
        depth=depth,
    )
    if use_decoder:
        x = build_decoder(x, inputs[-1], batch_norm=norm, separable=separable, depth=depth)
    logits = classifier(x, num_classes, initializer=truncated_normal(0.01))
    return keras.Model(inputs, logits, name="segmentation_head")


def build_aspp(
    features: keras.KerasTensor,
    rates: Sequence[int],
    *,
    output_stride: int,
    batch_norm: Mapping,
    separable: bool = True,
    dropout: float = 0.1,
    depth: int = DEPTH,
) -> keras.KerasTensor:
    """Applies ASPP, `[B, h, w, D]` -> `[B, h, w, depth]`: image pooling, 1x1, a 3x3 per rate, projection."""
    conv3x3 = functools.partial(_conv3x3, depth=depth, batch_norm=batch_norm, separable=separable)
    conv = functools.partial(conv_bn, batch_norm=batch_norm)
    x = aspp_branches(features, scaled_rates(rates, output_stride), conv=conv, conv3x3=conv3x3, depth=depth)
    return Dropout(dropout, name="aspp_output")(conv(x, depth, 1, scope="concat_projection"))


def aspp_branches(
    features: keras.KerasTensor, rates: Sequence[int], *, conv: Callable, conv3x3: Callable, depth: int
) -> keras.KerasTensor:
    """Returns the joined branches of ASPP: image pooling, 1x1, a 3x3 per rate, each with `depth` channels.

    Args:
        features: `[B, h, w, D]`.
        rates: Atrous rates at the features' stride.
        conv: Such as `conv_bn` with its settings.
        conv3x3: The same for 3x3 convolutions, which takes scope and rate.
        depth: Channels of a branch.
    """
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling.mean")(features)
    branches = [
        ResizeLike(name="image_pooling.resize")([conv(pooled, depth, 1, scope="image_pooling"), features]),
        conv(features, depth, 1, scope="aspp0"),
        *(conv3x3(features, scope=f"aspp{i}", rate=rate) for i, rate in enumerate(rates, 1)),
    ]
    return keras.layers.Concatenate(name="aspp_concat")(branches)


def build_decoder(
    x: keras.KerasTensor,
    low_level: keras.KerasTensor,
    *,
    batch_norm: Mapping,
    separable: bool = True,
    depth: int = DEPTH,
) -> keras.KerasTensor:
    """Applies the decoder, `[B, h, w, depth]` and `[B, h4, w4, D4]` -> `[B, h4, w4, depth]`."""
    skip = conv_bn(low_level, _LOW_LEVEL_DEPTH, 1, scope="decoder/feature_projection0", batch_norm=batch_norm)
    x = ResizeLike(name="decoder.resize")([x, skip])
    x = keras.layers.Concatenate(name=DECODER_INPUT)([x, skip])
    for i in range(2):
        scope = f"decoder/decoder_conv{i}" if separable else f"decoder/decoder_conv0/decoder_conv0_{i + 1}"
        x = _conv3x3(x, depth=depth, scope=scope, batch_norm=batch_norm, separable=separable)
    return keras.layers.Identity(name="decoder_output")(x)


def _conv3x3(
    x: keras.KerasTensor, *, depth: int, scope: str, batch_norm: Mapping, separable: bool, rate: int = 1
) -> keras.KerasTensor:
    if not separable:
        return conv_bn(x, depth, 3, scope=scope, batch_norm=batch_norm, rate=rate)
    return separable_conv_bn(
        x,
        depth,
        scope=scope,
        batch_norm=batch_norm,
        activation="relu",
        rate=rate,
        depthwise_initializer=truncated_normal(0.33),
        pointwise_initializer=truncated_normal(0.06),
    )


def scaled_rates(rates: Sequence[int], output_stride: int) -> list[int]:
    """Returns atrous rates of output stride 16 at another one.

    Raises:
        UserError: One is below 1.
    """
    scaled = [int(rate * 16 // output_stride) for rate in rates]
    if any(rate < 1 for rate in scaled):
        raise UserError(f"aspp_rates: {tuple(rates)} are {scaled} at output stride {output_stride}, expected 1+")
    return scaled
