"""DeepLab-LargeFOV's head (Chen et al., ICLR 2015): a classifier of each pixel, straight on the features."""

import keras

from wss.models.layers.classifier import LINEAR, Classifier
from wss.models.layers.convolution import head_input


def build_large_fov_head(
    num_classes: int, features_shape: tuple[int | None, int | None, int], *, classifier: Classifier = LINEAR
) -> keras.Model:
    """Builds the head that turns backbone features into logits.

    Args:
        num_classes: C, the background included if there is one.
        features_shape: (h, w, D) of the backbone's "features"; None for any size.
        classifier: The last layer, here the only one.

    Returns:
        A model from [features] to logits [B, h, w, C], always float32.
    """
    features = head_input(features_shape, "features")
    logits = classifier(features, num_classes, initializer=keras.initializers.RandomNormal(stddev=0.01))
    return keras.Model([features], logits, name="segmentation_head")
