"""A convolutional network of keras-hub as a layer with outputs at strides 4, 8, 16 and 32, or finer by dilation."""

from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope

from wss.errors import UserError
from wss.models.backbones.hub.presets import build_backbone
from wss.models.layers.normalization import updates_are_enabled

LEVELS = ("P2", "P3", "P4", "P5")
_OF_HGNET = dict(zip(("stage1", "stage2", "stage3", "stage4"), LEVELS, strict=True))


@keras.saving.register_keras_serializable(package="wss")
class Pyramid(keras.layers.Layer):
    """ResNet or HGNetV2: normalised images [B, H, W, 3] to {"P2" ... "P5": [B, h, w, D]}, for any height and width.

    Its batch norms are Keras' own; the settings of `build_model` hold for them too.

    Args:
        class_name: "ResNetBackbone" or "HGNetV2Backbone" of keras-hub.
        config: Arguments of that class.
        output_stride: Stride of P5: 32, or for ResNet 16 or 8, by atrous convolutions instead of strides.
        batch_norm: "fine_tune", "synchronized" and "momentum", see `BatchNormSettings`.
        backbone: A backbone of that class and config whose weights are taken; None for random ones.

    Raises:
        UserError: HGNetV2 at another output stride than 32.
    """

    def __init__(
        self,
        *,
        class_name: str,
        config: dict[str, Any],
        output_stride: int = 32,
        batch_norm: dict[str, Any] | None = None,
        backbone: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**{"name": "pyramid", **kwargs})
        self.class_name, self.config, self.output_stride = class_name, dict(config), output_stride
        self.batch_norm = dict(batch_norm or {})
        backbone = backbone or build_backbone(class_name, self.config)
        named = getattr(backbone, "pyramid_outputs", backbone.output)
        outputs = {_OF_HGNET.get(name, name): tensor for name, tensor in named.items()}
        encoder = keras.Model(backbone.inputs, {level: outputs[level] for level in LEVELS}, name="encoder")
        if output_stride != 32:
            encoder = dilated(encoder, class_name, output_stride)
        self.encoder = encoder
        for layer in encoder._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = self.batch_norm.get("synchronized", False)
                layer.momentum = self.batch_norm.get("momentum", layer.momentum)
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the levels."""
        training = bool(training) and self.batch_norm.get("fine_tune", True)
        if updates_are_enabled() or not training:
            return self.encoder(images, training=training)
        # What would move the statistics is forgotten.
        if not in_stateless_scope():
            with keras.StatelessScope():
                return self.encoder(images, training=True)
        scope, moving = get_stateless_scope(), self.encoder.non_trainable_variables
        before = [(variable, scope.get_current_value(variable)) for variable in moving]
        outputs = self.encoder(images, training=True)
        for update in before:
            scope.add_update(update)
        return outputs

    def compute_output_spec(
        self, images: keras.KerasTensor, training: bool | None = None
    ) -> dict[str, keras.KerasTensor]:
        """Returns shapes and types of the levels."""
        del training
        return self.encoder(keras.KerasTensor(images.shape, dtype=self.compute_dtype))

    def get_config(self) -> dict:
        """Returns the arguments of the constructor, which builds the same network with random weights."""
        own = {"class_name": self.class_name, "config": self.config, "output_stride": self.output_stride}
        return {**super().get_config(), **own, "batch_norm": self.batch_norm}


def dilated(encoder: keras.Model, class_name: str, output_stride: int) -> keras.Model:
    """Returns a ResNet whose last stages dilate where they strode; each level is the old one at more places.

    The strided 3x3 convolution of a stage loses its stride. Those after it have the rate that it would have strode.

    Args:
        encoder: A functional model of a ResNet of keras-hub.
        class_name: Class of the backbone.
        output_stride: 16 or 8.
    """
    if class_name != "ResNetBackbone":
        raise UserError(
            f"build_model.output_stride = {output_stride}: {class_name} of keras-hub has only 32; set it, or take a ResNet"
        )
    # Of the strided convolution of a stage, and of those after it.
    rates = {16: {3: (1, 2)}, 8: {2: (1, 2), 3: (2, 4)}}[output_stride]

    def changed(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        stage = next((stage for stage in rates if layer.name.startswith(f"stack{stage}_block")), None)
        if stage is None:
            return layer.__class__.from_config(config)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return keras.layers.ZeroPadding2D(0, name=layer.name)
        if isinstance(layer, keras.layers.Conv2D):
            strided = max(layer.strides) > 1
            rate = rates[stage][0 if strided else 1] if max(layer.kernel_size) > 1 else 1
            config |= {"strides": (1, 1), "dilation_rate": (rate, rate), "padding": "same"}
        if isinstance(layer, keras.layers.AveragePooling2D | keras.layers.MaxPooling2D):
            config |= {"strides": (1, 1), "padding": "same"}
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(encoder, clone_function=changed)
    copy.set_weights(encoder.get_weights())
    return copy
