"""Pretraining on image-level labels alone: backbone and classifier, no masks."""

import gin
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.streams import Views
from wss.methods.base import Batch, Figure, Losses, Method, is_any
from wss.methods.components.image_classifier import ImageClassifier, build_classifier
from wss.methods.pseudoseg.grad_cam import pooled_linear_cam
from wss.models.deeplab import DeepLab, Features
from wss.ops.losses import image_label_loss
from wss.parameter_ranges import in_ranges

KNOWN_CLASSES = "known/classes"


@gin.configurable
@in_ranges("Classification")
class Classification(Method):
    """A binary cross-entropy of the pooled features on weak views of the unlabelled stream (L_x of PseudoSeg alone)."""

    streams = {"unlabeled": Views(image_labels=True, masks=False)}
    known_when = {"label_accuracy": KNOWN_CLASSES}

    def build(self, network: DeepLab, info: DatasetInfo) -> ImageClassifier:
        """Builds the image classifier."""
        return build_classifier(network, info)

    def losses(self, network: DeepLab, batch: Batch, step: tf.Tensor) -> Losses:
        """Returns the losses of one training step, see `Method.losses`."""
        unlabeled = batch["unlabeled"]
        logits = network.branches(network.features(unlabeled["weak"], training=True), training=True)
        truth, known = unlabeled["image_label"], unlabeled["image_label_known"]
        right = tf.reduce_mean(tf.cast((logits > 0) == (truth > 0.5), tf.float32), axis=-1)
        images = tf.reduce_sum(known)
        accuracy = tf.math.divide_no_nan(tf.reduce_sum(right * known), images)
        metrics = {"label_accuracy": accuracy, KNOWN_CLASSES: is_any(images)}
        return Losses({"classification": image_label_loss(logits, truth, known)}, metrics)

    def training_figures(self, network: DeepLab, batch: Batch) -> list[Figure]:
        """Returns the weak view and the CAM of the classes that are in it."""
        unlabeled = batch["unlabeled"]
        cam = _cam(network, network.features(unlabeled["weak"]), unlabeled["image_label"])
        return [
            Figure("image", "image", unlabeled["weak"]),
            Figure("label", "label", unlabeled["label"]),
            Figure("CAM", "heat", cam),
        ]

    def intermediate_maps(
        self, network: DeepLab, features: Features, *, logits: tf.Tensor, valid: tf.Tensor
    ) -> list[Figure]:
        """Returns the CAM of the predicted classes."""
        present = tf.cast(network.branches(features) >= 0, tf.float32)
        return [Figure("CAM", "heat", _cam(network, features, present))]


def _cam(network: DeepLab, features: Features, image_label: tf.Tensor) -> tf.Tensor:
    return pooled_linear_cam(features["cam_features"], network.branches.kernel, image_label)
