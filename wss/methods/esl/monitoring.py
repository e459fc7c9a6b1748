"""What TensorBoard shows of ESL: how good soft labels and teacher are, and the parts in colours."""

from collections.abc import Mapping
from types import MappingProxyType

import tensorflow as tf

from wss.methods.base import Scalars
from wss.methods.components.label_quality import KNOWN_MASKS, label_quality
from wss.methods.esl.soft_label import support_size

# See `Method.known_when`.
KNOWN_WHEN = MappingProxyType({"teacher/ece": KNOWN_MASKS, "teacher/mean_iou": KNOWN_MASKS})


def teacher_quality(
    logits: tf.Tensor, unlabeled: Mapping[str, tf.Tensor], label: tf.Tensor, valid: tf.Tensor
) -> Scalars:
    """Measures soft labels, and the teacher on the weak view where truth is held.

    Args:
        logits: float32 [B, h, w, C] of the teacher.
        unlabeled: The unlabelled stream; pixels of its label that are 255 count in no IoU or calibration. Without others
            both are 0, see `KNOWN_WHEN`.
        label: float32 [B, h', w', C], the soft label.
        valid: float32 [B, h', w', 1], pixels that count.
    """
    sizes = tf.cast(support_size(label), tf.float32)
    counted = valid[..., 0]
    share = lambda values: tf.math.divide_no_nan(tf.reduce_sum(values * counted), tf.reduce_sum(counted))
    quality = label_quality(logits, unlabeled["label"])
    return {
        "soft_label/classes": share(sizes),
        "soft_label/one_hot": share(tf.cast(sizes == 1, tf.float32)),
        "teacher/ece": quality["ece"],
        "teacher/mean_iou": quality["mean_iou"],
        KNOWN_MASKS: quality[KNOWN_MASKS],
    }


def part_colors(classes: tf.Tensor, part: tf.Tensor, colors: tuple[tuple[int, int, int], ...], parts: int) -> tf.Tensor:
    """Returns float32 [B, h, w, 3] in 0 .. 255: the class's colour, the lighter the larger the number of the part.

    Args:
        classes: int32 [B, h, w], negative for none.
        part: int32 [B, h, w].
        colors: RGB by class.
        parts: K.
    """
    color = tf.gather(tf.constant(colors, tf.float32), tf.maximum(classes, 0))
    light = tf.cast(part, tf.float32)[..., None] / max(parts - 1, 1) * 0.7
    return tf.where(classes[..., None] >= 0, color + light * (255.0 - color), 255.0)
