"""DeepLabv2's heads (Chen et al., 2016): sums of four atrous convolutions; and what the backbone does not train."""

import keras

from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import Conv2D, head_input
from wss.models.layers.normalization import BatchNorm

RATES = (6, 12, 18, 24)
FEATURES_DEPTH = 256


def build_deeplab_v2_head(
    num_classes: int, features_shape: tuple[int | None, int | None, int], first_two_only: bool = False
) -> keras.Model:
    """Builds the head that turns backbone features into logits.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        first_two_only: Whether there are rates 6 and 12 alone. So it is in AdvSemiSeg's PyTorch version, which returns
            from inside of its loop, and in what was made from it.

    Returns:
        A model from [features] to logits [B, h, w, C], always float32.
    """
    features = head_input(features_shape, "features")
    branches = [
        Conv2D(
            num_classes,
            3,
            dilation_rate=rate,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            # research/deeplab/model.py, get_branch_logits, names several rates so.
            tf1_scope=f"logits/semantic_{i}" if i else "logits/semantic",
            dtype="float32",
        )(features)
        for i, rate in enumerate(RATES[:2] if first_two_only else RATES)
    ]
    logits = keras.layers.Add(name="logits.sum", dtype="float32")(branches)
    return keras.Model([features], logits, name="segmentation_head")


def build_deeplab_v2_features_head(
    num_classes: int, features_shape: tuple[int | None, int | None, int], *, classifier: Classifier = LINEAR
) -> keras.Model:
    """Builds the head that BANA (Oh et al., CVPR 2021) puts on DeepLabv2's backbone.

    The sum is one of 256 features instead of class scores: phi = ReLU(sum over rates of a 3x3 convolution without bias).
    One classifier follows.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        classifier: The last layer.

    Returns:
        A model from [features] to logits [B, h, w, C], always float32.
    """
    features = head_input(features_shape, "features")
    branches = [
        Conv2D(
            FEATURES_DEPTH,
            3,
            dilation_rate=rate,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            tf1_scope=f"aspp{i}",
        )(features)
        for i, rate in enumerate(RATES, 1)
    ]
    phi = keras.layers.Activation("relu", name="aspp.relu")(keras.layers.Add(name="aspp.sum")(branches))
    logits = classifier(phi, num_classes, initializer=keras.initializers.RandomNormal(stddev=0.01))
    return keras.Model([features], logits, name="segmentation_head")


def freeze_scales_and_offsets(backbone: keras.Model) -> None:
    """Keeps gamma and beta of every batch norm as they are; its statistics still move in training."""
    for layer in backbone._flatten_layers():
        if isinstance(layer, BatchNorm | keras.layers.BatchNormalization):
            for parameter in (layer.gamma, layer.beta):
                if parameter is not None:
                    parameter.trainable = False
