"""Hard pseudo labels with their confidence, and what CutMix makes of them."""

from typing import NamedTuple

import tensorflow as tf

from wss.methods.components.cut_mix import CutMix
from wss.ops.losses import confident_loss
from wss.ops.resizing import resize_bilinear


class PseudoLabel(NamedTuple):
    """What a prediction says of each pixel, without gradient.

    Attributes:
        classes: int32 [B, H, W, 1], the most likely class.
        confidence: float32 [B, H, W, 1], its probability.
        valid: float32 [B, H, W, 1], 0 on padding.
    """

    classes: tf.Tensor
    confidence: tf.Tensor
    valid: tf.Tensor

    @classmethod
    def of(cls, logits: tf.Tensor, valid: tf.Tensor) -> "PseudoLabel":
        """Returns the label of logits [B, h, w, C], resized to `valid` before the softmax."""
        logits = resize_bilinear(tf.stop_gradient(tf.cast(logits, tf.float32)), valid.shape[1:3])
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return cls(classes[..., None], tf.reduce_max(tf.nn.softmax(logits), axis=-1, keepdims=True), valid)

    def reversed(self) -> "PseudoLabel":
        """Returns the labels of the batch in reverse order."""
        return PseudoLabel(*(tf.reverse(value, [0]) for value in self))

    def mixed(self, mix: CutMix, other: "PseudoLabel") -> "PseudoLabel":
        """Returns the label of images that show others inside of rectangles."""
        return PseudoLabel(*(mix.of(own, of_other) for own, of_other in zip(self, other, strict=True)))

    def loss(self, logits: tf.Tensor, threshold: float) -> tf.Tensor:
        """Returns the loss of logits [B, h, w, C] against the label, see `confident_loss`."""
        return confident_loss(logits, self.classes, self.confidence, self.valid, threshold=threshold)

    def share(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the mean of values [B, H, W, 1] over the valid pixels, scalar float32."""
        values = tf.cast(values, tf.float32)
        return tf.math.divide_no_nan(tf.reduce_sum(values * self.valid), tf.reduce_sum(self.valid))
