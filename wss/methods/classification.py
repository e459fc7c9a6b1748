"""Pretraining on image-level labels alone: backbone and classifier, no masks."""

import gin
import tensorflow as tf

from wss.methods.base import Batch, Scalars
from wss.models.deeplab import DeepLab
from wss.ops.losses import image_label_loss


@gin.configurable
class Classification:
    """Binary cross-entropy of the pooled features on weak views of the unlabelled stream (L_x of PseudoSeg alone)."""

    streams = ("unlabeled",)
    use_image_labels = True

    def losses(self, model: DeepLab, batch: Batch, step: tf.Tensor) -> tuple[Scalars, Scalars]:
        """See `Method.losses`."""
        unlabeled = batch["unlabeled"]
        logits = model.classify(model.features(unlabeled["weak"], training=True), training=True)
        truth, known = unlabeled["image_label"], unlabeled["image_label_known"]
        right = tf.reduce_mean(tf.cast((logits > 0) == (truth > 0.5), tf.float32))
        return {"classification": image_label_loss(logits, truth, known)}, {"label_accuracy": right}

    def pictures(self, model: DeepLab, batch: Batch) -> dict[str, tf.Tensor]:
        """Weak view and CAM of the classes that are in it."""
        unlabeled = batch["unlabeled"]
        cam = model.cam(model.features(unlabeled["weak"]), unlabeled["image_label"])
        return {"image": unlabeled["weak"], "label": unlabeled["label"], "cam": cam}

    def explain(self, model: DeepLab, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """The decoder's (untrained) prediction and the CAM of the predicted classes."""
        del valid
        features = model.features(images)
        present = tf.cast(model.classify(features) >= 0, tf.float32)
        cam = tf.reduce_max(model.cam(features, present), axis=-1, keepdims=True)
        return {"prediction": tf.nn.softmax(model.segment(features)), "CAM": cam}
