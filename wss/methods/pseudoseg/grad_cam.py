"""Grad-CAM (Selvaraju et al., ICCV 2017): by GradientTape for any head, in closed form for pooled linear heads."""

from collections.abc import Callable

import keras
import tensorflow as tf

EPSILON = 1e-5  # below this largest activation the original code normalises by it instead


class GradCAM(keras.layers.Layer):
    """The Grad-CAM of any differentiable classification head.

    The weights of class c are a_k = spatial mean of d score_c / d A_k, its map is ReLU(sum_k a_k A_k). The map is gated by
    the class's image label and divided by its spatial maximum.

    The cost grows with the number of classes. For a linear head over globally pooled features `pooled_linear_cam` gives
    the same maps by one matrix product.

    Args:
        head: Function from features [B, h, w, D] to class scores [B, K], without random dropout. Each image's scores may
            depend only on its own features.
        average_over_batch: Whether a_k is a mean over batch and height instead of height and width. So it is in the
            original, where dropout in the head then mixes the images (train_utils_core.py, compute_cam_v2).
    """

    def __init__(self, head: Callable[[tf.Tensor], tf.Tensor], average_over_batch: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.head = head
        self.axes = (0, 1) if average_over_batch else (1, 2)

    def call(self, features: tf.Tensor, image_label: tf.Tensor) -> tf.Tensor:
        """Returns maps [B, h, w, K] in [0, 1], float32, without gradient.

        Args:
            features: [B, h, w, D], the last map of the backbone.
            image_label: [B, K] in {0, 1}; the map of a class with 0 is 0.
        """
        features = tf.stop_gradient(tf.cast(features, tf.float32))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            scores = tf.unstack(self.head(features), axis=-1)
        weights = [tf.reduce_mean(tape.gradient(score, features), self.axes, keepdims=True) for score in scores]
        del tape
        activation = tf.stack([tf.reduce_sum(weight * features, axis=-1) for weight in weights], axis=-1)
        return normalize_cam(activation, image_label)


def pooled_linear_cam(features: tf.Tensor, kernel: tf.Tensor, image_label: tf.Tensor) -> tf.Tensor:
    """Returns Grad-CAM where the score is a linear function of the mean feature, so that a_k = kernel / (h w).

    Args:
        features: [B, h, w, D].
        kernel: [D, K] of the linear layer.
        image_label: [B, K] in {0, 1}.

    Returns:
        [B, h, w, K] in [0, 1], float32, without gradient; equal to `GradCAM` at the cost of one 1x1 convolution.
    """
    features = tf.cast(features, tf.float32)
    pixels = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], tf.float32)
    activation = tf.einsum("bhwd,dk->bhwk", features, tf.cast(kernel, tf.float32)) / pixels
    return tf.stop_gradient(normalize_cam(activation, image_label))


def normalize_cam(activation: tf.Tensor, image_label: tf.Tensor) -> tf.Tensor:
    """Applies ReLU and the gate of the image label, and divides by the spatial maximum (0 where it is 0): [B, h, w, K]."""
    cam = tf.nn.relu(activation) * tf.cast(image_label, tf.float32)[:, None, None, :]
    return cam / tf.maximum(EPSILON, tf.reduce_max(cam, axis=(1, 2), keepdims=True))
