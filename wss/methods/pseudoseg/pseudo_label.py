"""The pseudo label of PseudoSeg: what it is made of, and how good it is."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import tensorflow as tf

from wss.methods.base import Scalars, is_any
from wss.ops.metrics import calibration_histogram
from wss.ops.resizing import resize_nearest

SOURCES = ("decoder", "sgc", "fusion")
# See `Method.known_when`: masks, classes of the images, and predictions among those whose classes are known.
KNOWN_MASKS, KNOWN_CLASSES, KNOWN_PREDICTIONS = "known/masks", "known/classes", "known/predictions"
KNOWN_WHEN = MappingProxyType(
    {
        **{f"{source}/{name}": KNOWN_MASKS for source in SOURCES for name in ("accuracy", "ece")},
        "gate/recall": KNOWN_CLASSES,
        "gate/precision": KNOWN_PREDICTIONS,
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """A pseudo label and what it was made of; all without gradient.

    Attributes:
        probabilities: [B, h, w, C], the fused label.
        confident: [B, h, w, 1] in {0, 1}.
        decoder: Logits [B, h, w, C] of the decoder.
        sgc: Logits [B, h, w, C] of self-attention Grad-CAM.
        cam: [B, h', w', K] in [0, 1].
        image_label: [B, K] in {0, 1}, the classes whose CAM counts.
    """

    probabilities: tf.Tensor
    confident: tf.Tensor
    decoder: tf.Tensor
    sgc: tf.Tensor
    cam: tf.Tensor
    image_label: tf.Tensor


def pseudo_label_quality(pseudo: PseudoLabel, unlabeled: Mapping[str, tf.Tensor], valid: tf.Tensor) -> Scalars:
    """Measures pseudo labels: confidence always; accuracy, calibration and predicted classes where truth is held.

    Args:
        pseudo: Pseudo labels of the weak views.
        unlabeled: The unlabelled stream. Pixels of its label that are 255 count in no accuracy. Images whose image-level
            labels are not known count in no recall or precision. Without any these are 0, see `KNOWN_WHEN`.
        valid: [B, h, w, 1] in {0, 1}, pixels that count.
    """
    label = resize_nearest(unlabeled["label"], valid.shape[1:3])
    label = tf.where(valid > 0, label, 255)
    metrics = {
        "mask_ratio": tf.math.divide_no_nan(tf.reduce_sum(pseudo.confident * valid), tf.reduce_sum(valid)),
        **_predicted_classes(pseudo.image_label, unlabeled),
    }
    sources = (tf.nn.softmax(pseudo.decoder), tf.nn.softmax(pseudo.sgc), pseudo.probabilities)
    for name, probabilities in zip(SOURCES, sources, strict=True):
        top = tf.reduce_max(probabilities, axis=-1, keepdims=True)
        metrics[f"{name}/max_probability"] = tf.math.divide_no_nan(tf.reduce_sum(top * valid), tf.reduce_sum(valid))
        count, confidence, correct = tf.unstack(
            tf.cast(calibration_histogram(label, probabilities), tf.float32), axis=1
        )
        pixels = tf.reduce_sum(count)
        metrics[f"{name}/accuracy"] = tf.math.divide_no_nan(tf.reduce_sum(correct), pixels)
        metrics[f"{name}/ece"] = tf.math.divide_no_nan(tf.reduce_sum(tf.abs(correct - confidence)), pixels)
        metrics[KNOWN_MASKS] = is_any(pixels)  # of each source the same
    return metrics


def _predicted_classes(predicted: tf.Tensor, unlabeled: Mapping[str, tf.Tensor]) -> Scalars:
    """Compares the classes [B, K] that let the CAM through with those of the images."""
    known = tf.cast(unlabeled["image_label_known"], tf.float32)[:, None]
    present, let_through = unlabeled["image_label"] * known, predicted * known
    hits, of_images, of_predictions = map(tf.reduce_sum, (present * let_through, present, let_through))
    return {
        "gate/classes": tf.reduce_mean(tf.reduce_sum(predicted, axis=-1)),
        "gate/recall": tf.math.divide_no_nan(hits, of_images),
        "gate/precision": tf.math.divide_no_nan(hits, of_predictions),
        KNOWN_CLASSES: is_any(of_images),
        KNOWN_PREDICTIONS: is_any(of_predictions),
    }
