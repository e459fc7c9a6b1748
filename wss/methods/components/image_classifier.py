"""The image classifier of DeepLab's backbones: a linear layer over globally pooled features."""

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.models.deeplab import DeepLab, Features
from wss.models.layers.dropout import Dropout
from wss.parameter_ranges import in_ranges
from wss.ranges import Number, OrNone, SetByCode


class ImageClassifier(keras.layers.Layer):
    """An image classifier on the features "cam_features": mean over space, dropout, a linear layer.

    Args:
        num_classes: K, the classes that an image can have; without the background.
        dropout: Share of the pooled features that training drops.
        scope: TensorFlow 1 scope of the linear layer.
    """

    def __init__(self, num_classes: int, *, dropout: float, scope: str, **kwargs):
        super().__init__(**kwargs)
        self.dropout = Dropout(dropout)
        self.linear = keras.layers.Dense(num_classes, name=scope.replace("/", "."), dtype="float32")
        self.linear.tf1_scope = scope

    def build(self, shape: tuple[int | None, int]) -> None:
        """Creates the variables for pooled features [B, D]."""
        self.linear.build(shape)

    def call(self, features: Features, training: bool = False) -> tf.Tensor:
        """Returns logits [B, K], float32, of the end points of a backbone."""
        pooled = tf.reduce_mean(tf.cast(features["cam_features"], tf.float32), axis=(1, 2))
        return self.linear(self.dropout(pooled, training=training))

    @property
    def kernel(self) -> keras.Variable:
        """The weights [D, K] of the linear layer."""
        return self.linear.kernel


@gin.configurable
@in_ranges("build_classifier", network=SetByCode(), info=SetByCode(), dropout=OrNone(Number(minimum=0, below=1)))
def build_classifier(network: DeepLab, info: DatasetInfo, *, dropout: float | None = None) -> ImageClassifier:
    """Builds the image classifier for a network and a data set.

    Args:
        network: The network whose features it pools.
        info: The data set; its background is no class of an image.
        dropout: Share of the pooled features that training drops; None keeps DeepLab's (0.5 for Xception, else 0).
    """
    spec = network.spec
    classifier = ImageClassifier(
        info.num_classes - int(info.has_background),
        dropout=spec.classifier_dropout if dropout is None else dropout,
        scope=f"{spec.scope}/logits",
        name="classifier",
    )
    classifier.build((None, network.feature_channels["cam_features"]))
    return classifier
