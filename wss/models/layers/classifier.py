"""The last layer of a head: linear, a dot product without bias, or a scaled cosine."""

import dataclasses

import keras
import tensorflow as tf

from wss.models.layers.convolution import Conv2D, Shape
from wss.ops.resizing import sides

CLASSIFIERS = ("linear", "dot_product", "cosine")
COSINE_SCALE = 20.0
_SMALLEST_NORM = 1e-12  # whose square float32 still has


def cosines(features: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns cos(phi, W_c) in -1 .. 1, float32 [B, h, w, C], for phi [B, h, w, D] and W [1, 1, D, C].

    It is 0 where phi or W_c is 0, and so is its gradient there: the zero vector has no direction.
    """
    features = unit_vectors(tf.cast(features, tf.float32))
    kernel = unit_vectors(tf.cast(kernel[0, 0], tf.float32), axis=0)
    products = tf.matmul(tf.reshape(features, [-1, kernel.shape[0]]), kernel)
    # By rounding a product may leave the range, and what takes a power of 1 + cos would be NaN.
    return tf.reshape(tf.clip_by_value(products, -1.0, 1.0), [*sides(features)[:3], kernel.shape[1]])


def unit_vectors(vectors: tf.Tensor, *, axis: int = -1) -> tf.Tensor:
    """Returns vectors along an axis with length 1, or 0 for a vector that is 0; gradients are finite everywhere."""
    squares = tf.reduce_sum(tf.square(vectors), axis, keepdims=True)
    has_direction = squares > _SMALLEST_NORM**2
    inverse = tf.math.rsqrt(tf.where(has_direction, squares, 1.0))
    return vectors * tf.where(has_direction, inverse, 0.0)


@keras.saving.register_keras_serializable(package="wss")
class CosineClassifier(keras.layers.Layer):
    """A classifier by angles: logits = scale cos(phi, W_c), float32, without bias.

    Args:
        num_classes: C.
        scale: The scale tau; logits are within -tau .. tau.
        kernel_initializer: Initializer of the kernel [1, 1, D, C].
        tf1_scope: TensorFlow 1 scope, such as "logits/semantic".
        name: Name of the layer; None takes the scope with "." for "/".
    """

    def __init__(
        self,
        num_classes: int,
        *,
        scale: float = COSINE_SCALE,
        kernel_initializer: str | dict | keras.initializers.Initializer = "glorot_uniform",
        tf1_scope: str,
        name: str | None = None,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", **kwargs, "name": name or tf1_scope.replace("/", ".")})
        self.num_classes = num_classes
        self.scale = scale
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.tf1_scope = tf1_scope

    def build(self, input_shape: Shape) -> None:
        """Creates the kernel."""
        shape = (1, 1, input_shape[-1], self.num_classes)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns logits [B, h, w, C] of features [B, h, w, D]."""
        return self.scale * cosines(inputs, tf.convert_to_tensor(self.kernel))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the logits."""
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "scale": self.scale,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "tf1_scope": self.tf1_scope,
        }


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The kind of a head's last layer, which a head applies to its features.

    Attributes:
        kind: "linear" (with a bias), "dot_product" (without), or "cosine", see `CosineClassifier`.
        scale: Scale of "cosine".
    """

    kind: str = "linear"
    scale: float = COSINE_SCALE

    def __call__(
        self,
        x: keras.KerasTensor,
        num_classes: int,
        *,
        initializer: keras.initializers.Initializer,
        bias_initializer: str | keras.initializers.Initializer = "zeros",
    ) -> keras.KerasTensor:
        """Returns logits [B, h, w, C], float32, of features [B, h, w, D]; kernel and bias start by the initializers."""
        common: dict = {"kernel_initializer": initializer, "tf1_scope": "logits/semantic", "dtype": "float32"}
        if self.kind == "cosine":
            return CosineClassifier(num_classes, scale=self.scale, **common)(x)
        return Conv2D(num_classes, 1, use_bias=self.kind == "linear", bias_initializer=bias_initializer, **common)(x)


LINEAR = Classifier()


class FinalClassifier:
    """The last layer of a head, cut from what is before it: gives logits together with cosines.

    Keras does not look into it, so that the head's layers are saved once, with the head.

    Args:
        head: A segmentation head that ends in a `CosineClassifier` or a 1x1 convolution.
    """

    def __init__(self, head: keras.Model):
        self.layer = head.layers[-1]
        self.before = keras.Model(head.inputs, self.layer.input, name=f"{head.name}_before_classifier")

    @classmethod
    def of(cls, head: keras.Model) -> "FinalClassifier | None":
        """Returns the classifier that a head ends in; None if it ends otherwise, such as in a sum of convolutions."""
        last = head.layers[-1]
        ends_in_one = isinstance(last, CosineClassifier) or (isinstance(last, Conv2D) and last.kernel_size == (1, 1))
        return cls(head) if ends_in_one else None

    def logits_and_cosines(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits and cosines, both float32 [B, h, w, C], of what `before` gives."""
        angles = cosines(features, tf.convert_to_tensor(self.layer.kernel))
        if isinstance(self.layer, CosineClassifier):
            return self.layer.scale * angles, angles
        return self.layer(features), angles
