"""Self-training: a network learns from true labels and from pseudo labels that another wrote before (`wss-label`)."""

import dataclasses
from collections.abc import Mapping

import gin
import tensorflow as tf

from wss.data.streams import MASKS
from wss.methods.base import Batch, Figure, Losses, Method, Scalars, is_any
from wss.methods.supervised import decoder_figures, segmentation_pass
from wss.models.deeplab import DeepLab
from wss.ops.resizing import resize_nearest
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, Switch

KNOWN_LABELS = "known/labels"


@gin.configurable
@in_ranges(
    "SelfTraining",
    pseudo_weight=Number(minimum=0),
    auxiliary_weight=Number(minimum=0),
    upsample_logits=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfTraining(Method):
    """The loss CE(labelled) + pseudo_weight * CE(pseudo-labelled) of DARS (He et al., ICCV 2021), both of weak views.

    Each half has a pass of its own: its batch-norm statistics are its own, and its loss is a mean over its own pixels.

    Attributes:
        pseudo_weight: Weight lambda of the pseudo-labelled half; 1 in the paper.
        auxiliary_weight: Weight of the auxiliary head's loss in each half, if the network has one.
        upsample_logits: See `segmentation_loss`.
    """

    streams = {"labeled": MASKS, "pseudo": MASKS}
    independent_passes = 2
    weighs_classes = True
    known_when = {"pseudo/accuracy": KNOWN_LABELS}

    pseudo_weight: float = 1.0
    auxiliary_weight: float = 0.4
    upsample_logits: bool = True

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        loss, _ = self._pass(network, batch["labeled"])
        pseudo_loss, logits = self._pass(network, batch["pseudo"])
        losses = {"segmentation": loss, "pseudo": self.pseudo_weight * pseudo_loss}
        return Losses(losses, pseudo_label_fit(logits, batch["pseudo"]))

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns image, pseudo label and decoder probabilities of the pseudo-labelled stream."""
        return decoder_figures(network, batch["pseudo"])

    def _pass(self, network: DeepLab, half: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns loss and main logits of one half of the batch."""
        return segmentation_pass(
            network,
            half["image"],
            half["label"],
            auxiliary_weight=self.auxiliary_weight,
            upsample_logits=self.upsample_logits,
        )


def pseudo_label_fit(logits: tf.Tensor, pseudo: Mapping[str, tf.Tensor], ignore_label: int = 255) -> Scalars:
    """Returns how much of the pseudo-labelled stream has a label, and how much of that the network says too.

    Args:
        logits: [B, h, w, C]; labels are compared on their grid.
        pseudo: The stream, with label [B, H, W, 1] and valid [B, H, W, 1].
        ignore_label: Label of pixels without a label.
    """
    count = lambda mask: tf.reduce_sum(tf.cast(mask, tf.float32))
    label = tf.squeeze(resize_nearest(pseudo["label"], logits.shape[1:3]), -1)
    right = tf.cast(tf.argmax(logits, -1), label.dtype) == label
    labeled = count(label != ignore_label)
    return {
        "pseudo/labeled_share": tf.math.divide_no_nan(count(pseudo["label"] != ignore_label), count(pseudo["valid"])),
        "pseudo/accuracy": tf.math.divide_no_nan(count(right), labeled),
        KNOWN_LABELS: is_any(labeled),
    }
