"""Keras layers around a network: a raw photo in, probabilities at its own size out.

Who imports this module can load a Keras file of any network: it brings all of the project's layers along.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from wss.data.padding import Padding
from wss.data.resize import ResizeToRange, size_in_range
from wss.models.backbones.hub.pyramid import Pyramid
from wss.models.backbones.hub.vision_transformer import VisionTransformer
from wss.models.heads.dpt import Doubled, UnusedResidualUnit
from wss.models.heads.pspnet import AdaptiveAveragePooling
from wss.models.layers.classifier import CosineClassifier
from wss.models.layers.convolution import Conv2D, DepthwiseConv2D, Preprocess, ResizeLike, Shape
from wss.ops.resizing import resize_bilinear, sides

# Of the networks; Keras knows a layer once its module is imported.
LAYERS = (
    AdaptiveAveragePooling,
    Conv2D,
    CosineClassifier,
    DepthwiseConv2D,
    Doubled,
    Preprocess,
    Pyramid,
    ResizeLike,
    UnusedResidualUnit,
    VisionTransformer,
)


class _SizedAsInEvaluation(keras.layers.Layer):
    """A layer that knows at which size the network sees a photo.

    Args:
        resize: The fields of `ResizeToRange`.
        padding: The fields of `Padding`.
    """

    def __init__(self, *, resize: dict[str, int | None], padding: dict[str, Any], **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.resize, self.padding = dict(resize), {**padding, "color": tuple(padding["color"])}

    def _sizes(self, photos: tf.Tensor) -> list[list[Any]]:
        """Returns the (height, width) of photos, as the network sees them and with padding; numbers where they are known."""
        own, seen = sides(photos)[1:3], None
        settings = ResizeToRange(**self.resize)
        if settings.min_size is None:
            seen = own
        elif all(isinstance(side, int) for side in own):
            seen = list(settings.size_of((own[0], own[1])))
        else:
            limits = {"max_size": settings.max_size, "factor": settings.factor}
            seen = tf.unstack(size_in_range(tf.stack(own), settings.min_size, **limits))
        return [own, seen, list(Padding(**self.padding).size(seen))]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "resize": self.resize, "padding": self.padding}


@keras.saving.register_keras_serializable(package="wss")
class PhotoToNetwork(_SizedAsInEvaluation):
    """Photos uint8 [B, H, W, 3] as an evaluation shows them to the network: resized, padded; float32 in 0 .. 255.

    Args:
        resize: The fields of `ResizeToRange`.
        padding: The fields of `Padding`.
    """

    def call(self, photos: tf.Tensor) -> tf.Tensor:
        """Returns what the network takes."""
        _, seen, padded = self._sizes(photos)
        # Around 0 the padding is 0. A constant has to be made here: a file has none that lies outside of the function.
        images = resize_bilinear(tf.cast(photos, tf.float32), seen) - tf.constant(self.padding["color"])
        after = [[0, end - side] for side, end in zip(seen, padded, strict=True)]
        return tf.pad(images, [[0, 0], *after, [0, 0]]) + tf.constant(self.padding["color"])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of what the network takes, its sides unknown."""
        return (input_shape[0], None, None, 3)


@keras.saving.register_keras_serializable(package="wss")
class NetworkToPhoto(_SizedAsInEvaluation):
    """Probabilities [B, H, W, C] at the size of photos [B, H, W, 3], of the logits [B, h, w, C] of `PhotoToNetwork`."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the probabilities, float32; logits are resized before the softmax, as in an evaluation."""
        logits, photos = inputs
        own, (height, width), padded = self._sizes(photos)
        logits = resize_bilinear(tf.cast(logits, tf.float32), padded)[:, :height, :width]
        return resize_bilinear(tf.nn.softmax(logits), own)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """Returns the shape of the probabilities."""
        logits, photos = input_shape
        return (*photos[:3], logits[3])


@keras.saving.register_keras_serializable(package="wss")
class MostProbable(keras.layers.Layer):
    """The most probable class of each pixel, int32 [B, H, W], of probabilities [B, H, W, C]."""

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the ids of the classes."""
        return tf.argmax(inputs, axis=-1, output_type=tf.int32)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Returns shape and type of the ids."""
        return keras.KerasTensor(inputs.shape[:3], dtype="int32")
