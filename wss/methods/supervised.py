"""The supervised baseline: the network on the labelled images alone."""

import gin
import tensorflow as tf

from wss.methods.base import Batch, Scalars
from wss.models.deeplab import DeepLab
from wss.models.layers.convolution import resize_bilinear
from wss.ops.losses import segmentation_loss


def segmentation_pass(
    model: DeepLab,
    images: tf.Tensor,
    label: tf.Tensor,
    auxiliary_weight: float = 0.4,
    upsample_logits: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a training pass and returns its cross-entropy, with the auxiliary head's if the model has one, and its logits.

    Args:
        model: the network.
        images: [B, H, W, 3] in 0 .. 255.
        label: [B, H, W, 1] int, 255 to ignore; a true or a pseudo label.
        auxiliary_weight: of the auxiliary head's loss; 0.4 in PSPNet.
        upsample_logits: of `segmentation_loss`.

    Returns:
        Scalar float32, main + auxiliary_weight * auxiliary, 0 if no pixel is labelled; and [B, h, w, C].
    """
    features = model.features(images, training=True)
    logits = model.segment(features, training=True)
    loss = segmentation_loss(logits, label, upsample_logits=upsample_logits)
    auxiliary = model.auxiliary(features, training=True) if auxiliary_weight else None
    if auxiliary is not None:
        loss += auxiliary_weight * segmentation_loss(auxiliary, label, upsample_logits=upsample_logits)
    return loss, logits


def decoder_pictures(model: DeepLab, half: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Image, label and decoder probabilities of a labelled or pseudo-labelled stream, for `Method.pictures`."""
    images, label = half["image"], half["label"]
    probabilities = tf.nn.softmax(resize_bilinear(model(images), label.shape[1:3]))
    return {"image": images, "label": label, "decoder": probabilities}


@gin.configurable
class Supervised:
    """Cross-entropy on labelled weak views (L_s). Classifier and SGC stay as they are.

    Args:
        upsample_logits: of `segmentation_loss`.
        auxiliary_weight: of `segmentation_pass`.
    """

    streams = ("labeled",)

    def __init__(self, upsample_logits: bool = True, auxiliary_weight: float = 0.4):
        self.upsample_logits = upsample_logits
        self.auxiliary_weight = auxiliary_weight

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """See `Method.losses`."""
        images, label = batch["labeled"]["image"], batch["labeled"]["label"]
        loss, _ = segmentation_pass(model, images, label, self.auxiliary_weight, self.upsample_logits)
        return {"segmentation": loss}, {}

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """Image, label and decoder probabilities of the labelled stream."""
        return decoder_pictures(model, batch["labeled"])

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Class probabilities [B, h, w, C] of the decoder, as "prediction"."""
        del valid
        return {"prediction": tf.nn.softmax(model(images))}
