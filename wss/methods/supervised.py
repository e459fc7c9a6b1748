"""The supervised baseline: the network on the labelled images alone."""

import dataclasses
import functools
from collections.abc import Mapping

import gin
import tensorflow as tf

from wss.data.streams import MASKS
from wss.methods.base import Batch, Figure, Losses, Method
from wss.models.deeplab import DeepLab
from wss.ops.losses import segmentation_loss
from wss.ops.resizing import resize_bilinear
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, Switch


def segmentation_pass(
    network: DeepLab,
    images: tf.Tensor,
    label: tf.Tensor,
    *,
    auxiliary_weight: float = 0.4,
    upsample_logits: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a training pass and returns its cross-entropy, with the auxiliary head's if there is one, and its logits.

    Args:
        network: The network.
        images: [B, H, W, 3] in 0 .. 255.
        label: True or pseudo label, integer [B, H, W, 1], 255 to ignore.
        auxiliary_weight: Weight of the auxiliary head's loss; 0.4 in PSPNet.
        upsample_logits: See `segmentation_loss`.

    Returns:
        Scalar float32, main + auxiliary_weight * auxiliary, 0 if no pixel is labelled; and logits [B, h, w, C].
    """
    features = network.features(images, training=True)
    logits = network.segment(features, training=True)
    loss_of = functools.partial(
        segmentation_loss, label=label, upsample_logits=upsample_logits, class_weights=network.class_weights
    )
    loss = loss_of(logits)
    auxiliary = network.auxiliary(features, training=True) if auxiliary_weight else None
    if auxiliary is not None:
        loss += auxiliary_weight * loss_of(auxiliary)
    return loss, logits


def decoder_figures(network: DeepLab, stream: Mapping[str, tf.Tensor]) -> list[Figure]:
    """Returns image, label and decoder probabilities of a labelled or pseudo-labelled stream."""
    images, label = stream["image"], stream["label"]
    probabilities = tf.nn.softmax(resize_bilinear(network(images), label.shape[1:3]))
    return [
        Figure("image", "image", images),
        Figure("label", "label", label),
        Figure("decoder", "probabilities", probabilities),
    ]


@gin.configurable
@in_ranges("Supervised", auxiliary_weight=Number(minimum=0), upsample_logits=Switch())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Method):
    """The cross-entropy on labelled weak views (L_s).

    Attributes:
        upsample_logits: See `segmentation_loss`.
        auxiliary_weight: See `segmentation_pass`.
    """

    streams = {"labeled": MASKS}
    weighs_classes = True

    upsample_logits: bool = True
    auxiliary_weight: float = 0.4

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        loss, _ = segmentation_pass(
            network,
            batch["labeled"]["image"],
            batch["labeled"]["label"],
            auxiliary_weight=self.auxiliary_weight,
            upsample_logits=self.upsample_logits,
        )
        return Losses({"segmentation": loss})

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns image, label and decoder probabilities of the labelled stream."""
        return decoder_figures(network, batch["labeled"])
