"""Self-training: a model learns from true labels and from pseudo labels that another wrote before (`wss-label`)."""

import gin
import tensorflow as tf

from wss.methods.base import Batch, Scalars
from wss.methods.supervised import decoder_pictures, segmentation_pass
from wss.models.deeplab import DeepLab
from wss.models.layers.convolution import resize_nearest


@gin.configurable
class SelfTraining:
    """CE(labelled) + pseudo_weight * CE(pseudo-labelled), both of weak views: DARS (He et al., ICCV 2021).

    Each half has a pass of its own, so batch-norm statistics are of one half, and a mean over its own labelled pixels.

    Args:
        pseudo_weight: lambda of the paper; 1 there.
        auxiliary_weight: of the auxiliary head's loss in each half, if the model has one.
        upsample_logits: of `segmentation_loss`.
    """

    streams = ("labeled", "pseudo")
    independent_passes = len(streams)

    def __init__(self, pseudo_weight: float = 1.0, auxiliary_weight: float = 0.4, upsample_logits: bool = True):
        self.pseudo_weight = pseudo_weight
        self.auxiliary_weight = auxiliary_weight
        self.upsample_logits = upsample_logits

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """See `Method.losses`."""
        loss, _ = self._pass(model, batch["labeled"])
        pseudo_loss, logits = self._pass(model, batch["pseudo"])
        losses = {"segmentation": loss, "pseudo": self.pseudo_weight * pseudo_loss}
        return losses, pseudo_label_fit(logits, batch["pseudo"])

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """Image, pseudo label and decoder probabilities of the pseudo-labelled stream."""
        return decoder_pictures(model, batch["pseudo"])

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Class probabilities [B, h, w, C] of the decoder, as "prediction"."""
        del valid
        return {"prediction": tf.nn.softmax(model(images))}

    def _pass(self, model: DeepLab, half: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and main logits of one half of the batch."""
        return segmentation_pass(model, half["image"], half["label"], self.auxiliary_weight, self.upsample_logits)


def pseudo_label_fit(logits: tf.Tensor, pseudo: dict[str, tf.Tensor], ignore_label: int = 255) -> Scalars:
    """How much of the pseudo-labelled stream has a label, and how much of that the model says too.

    Args:
        logits: [B, h, w, C]; labels are compared on their grid.
        pseudo: label [B, H, W, 1] and valid [B, H, W, 1], as in the batch.
        ignore_label: of pixels without a label.
    """
    count = lambda mask: tf.reduce_sum(tf.cast(mask, tf.float32))
    label = tf.squeeze(resize_nearest(pseudo["label"], logits.shape[1:3]), -1)
    right = tf.cast(tf.argmax(logits, -1), label.dtype) == label
    return {
        "pseudo/labeled_share": tf.math.divide_no_nan(count(pseudo["label"] != ignore_label), count(pseudo["valid"])),
        "pseudo/accuracy": tf.math.divide_no_nan(count(right), count(label != ignore_label)),
    }
