"""The supervised baseline: DeepLabv3+ on the labelled images alone."""

import gin
import tensorflow as tf

from wss.losses import segmentation_loss
from wss.methods.base import Batch, Scalars
from wss.models.deeplab import DeepLab
from wss.models.layers import resize_bilinear


@gin.configurable
class Supervised:
    """Cross-entropy on labelled weak views (L_s). Classifier and SGC stay as they are.

    Args:
        upsample_logits: of `segmentation_loss`.
    """

    streams = ("labeled",)

    def __init__(self, upsample_logits: bool = True):
        self.upsample_logits = upsample_logits

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """See `Method.losses`."""
        logits, label = model(batch["labeled"]["image"], training=True), batch["labeled"]["label"]
        return {"segmentation": segmentation_loss(logits, label, upsample_logits=self.upsample_logits)}, {}

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """Image, label and decoder probabilities of the labelled stream."""
        images, label = batch["labeled"]["image"], batch["labeled"]["label"]
        return {
            "image": images,
            "label": label,
            "decoder": tf.nn.softmax(resize_bilinear(model(images), label.shape[1:3])),
        }

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Class probabilities [B, h, w, C] of the decoder, as "prediction"."""
        del valid
        return {"prediction": tf.nn.softmax(model(images))}
