"""The cross-entropy of images with masks, which semi-supervised methods share."""

import tensorflow as tf

from wss.models.deeplab import DeepLab, Features
from wss.ops.losses import hard_example_loss, segmentation_loss


def labeled_loss(
    network: DeepLab,
    features: Features,
    logits: tf.Tensor,
    label: tf.Tensor,
    *,
    hard_examples: float | None,
    least: int,
    auxiliary_weight: float,
) -> tf.Tensor:
    """Returns the cross-entropy of a training pass over images of which the first have a mask.

    Args:
        network: The network; its class weights count unless hard examples alone do.
        features: Its end points, [B, h, w, D].
        logits: Its logits, float32 [B, h, w, C].
        label: int32 [b, H, W, 1] of the first b images, 255 to ignore.
        hard_examples: Probability of the true class up to which pixels count, see `hard_example_loss`; None counts all.
        least: Number of hard pixels at least.
        auxiliary_weight: Weight of an auxiliary head's loss, if the network has one.

    Returns:
        Scalar float32.
    """

    def loss(logits: tf.Tensor) -> tf.Tensor:
        logits = logits[: label.shape[0]]
        if hard_examples is None:
            return segmentation_loss(logits, label, class_weights=network.class_weights)
        return hard_example_loss(logits, label, threshold=hard_examples, least=least)

    auxiliary = network.auxiliary(features, training=True) if auxiliary_weight else None
    return loss(logits) if auxiliary is None else loss(logits) + auxiliary_weight * loss(auxiliary)
