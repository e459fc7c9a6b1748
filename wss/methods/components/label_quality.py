"""How right predictions on unlabelled images are, where their masks are known after all."""

import tensorflow as tf

from wss.methods.base import Scalars, is_any
from wss.ops.metrics import calibration_histogram, confusion_matrix
from wss.ops.resizing import resize_nearest

KNOWN_MASKS = "known/masks"  # see `Method.known_when`


def label_quality(logits: tf.Tensor, truth: tf.Tensor) -> Scalars:
    """Compares predictions with masks.

    Args:
        logits: float32 [B, h, w, C].
        truth: int32 [B, H, W, 1]; pixels that are 255 do not count. Without others both measures are 0.

    Returns:
        "ece", the calibration error, "mean_iou", over the classes of the masks, both 0 .. 1, and `KNOWN_MASKS`.
    """
    truth = resize_nearest(truth, logits.shape[1:3], align_corners=True)
    probabilities = tf.nn.softmax(logits)
    count, confidence, correct = tf.unstack(tf.cast(calibration_histogram(truth, probabilities), tf.float32), axis=1)
    prediction = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    confusion = tf.cast(confusion_matrix(truth, prediction, logits.shape[-1]), tf.float32)
    hits, of_truth = tf.linalg.diag_part(confusion), tf.reduce_sum(confusion, 1)
    iou = tf.math.divide_no_nan(hits, of_truth + tf.reduce_sum(confusion, 0) - hits)
    present = tf.cast(of_truth > 0, tf.float32)
    return {
        "ece": tf.math.divide_no_nan(tf.reduce_sum(tf.abs(correct - confidence)), tf.reduce_sum(count)),
        "mean_iou": tf.math.divide_no_nan(tf.reduce_sum(iou * present), tf.reduce_sum(present)),
        KNOWN_MASKS: is_any(tf.reduce_sum(count)),
    }
