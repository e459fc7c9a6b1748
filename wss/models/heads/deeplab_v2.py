"""DeepLabv2's head (Chen et al., 2016): the sum of four atrous convolutions; and what its backbone does not train."""

import keras

from wss.models.layers.convolution import Conv2D, head_input
from wss.models.layers.normalization import BatchNorm

RATES = (6, 12, 18, 24)


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


def freeze_scales_and_offsets(backbone: keras.Model) -> None:
    """Keeps gamma and beta of every batch norm as they are; its statistics still move in training."""
    for layer in backbone.layers:
        if isinstance(layer, BatchNorm):
            for parameter in (layer.gamma, layer.beta):
                if parameter is not None:
                    parameter.trainable = False
