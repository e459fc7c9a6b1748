"""What is made of random draws."""

import tensorflow as tf


def integer_below(draw: tf.Tensor, end: tf.Tensor | int) -> tf.Tensor:
    """Returns int32 in 0 .. end - 1, evenly, for float32 draws in [0, 1); 0 where `end` is 0."""
    drawn = tf.cast(draw * tf.cast(end, tf.float32), tf.int32)
    return tf.maximum(tf.minimum(drawn, end - 1), 0)
