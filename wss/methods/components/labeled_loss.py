"""The cross-entropy of images with masks, which semi-supervised methods share."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import tensorflow as tf

from wss.methods.base import Method
from wss.models.deeplab import DeepLab, Features
from wss.ops.losses import hard_example_loss, segmentation_loss
from wss.ranges import Integer, Number, OrNone

RANGES_OF_MASKS: Mapping = MappingProxyType(
    {
        "hard_examples": OrNone(Number(above=0, maximum=1)),
        "least_hard_examples": Integer(1, 2**30),
        "auxiliary_weight": Number(minimum=0),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnsFromMasks(Method):
    """A method with a cross-entropy L_x on labelled images.

    Attributes:
        hard_examples: Probability of the true class up to which labelled pixels count in L_x; None counts all.
        least_hard_examples: See `hard_example_loss`, its `least`; of each replica.
        auxiliary_weight: Weight of an auxiliary head's L_x, if the network has one.
    """

    hard_examples: float | None = None
    least_hard_examples: int = 100_000
    auxiliary_weight: float = 0.4

    @property
    def weighs_classes(self) -> bool:  # type: ignore[override]
        """Whether L_x takes weights of classes; it does not with `hard_examples`."""
        return self.hard_examples is None

    def labeled_loss(self, network: DeepLab, features: Features, logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Returns L_x of a training pass over images of which the first have a mask, scalar float32.

        Args:
            network: The network; its class weights count unless hard examples alone do.
            features: Its end points, [B, h, w, D].
            logits: Its logits, float32 [B, h, w, C].
            label: int32 [b, H, W, 1] of the first b images, 255 to ignore.
        """

        def loss(logits: tf.Tensor) -> tf.Tensor:
            logits = logits[: label.shape[0]]
            if self.hard_examples is None:
                return segmentation_loss(logits, label, class_weights=network.class_weights)
            return hard_example_loss(logits, label, threshold=self.hard_examples, least=self.least_hard_examples)

        auxiliary = network.auxiliary(features, training=True) if self.auxiliary_weight else None
        return loss(logits) if auxiliary is None else loss(logits) + self.auxiliary_weight * loss(auxiliary)
