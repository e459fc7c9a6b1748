"""A ViT of keras-hub as a layer that takes images of any height and width in multiples of its patch."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from wss.errors import UserError
from wss.models.backbones.hub.position_embeddings import resampled, rotations
from wss.models.backbones.hub.presets import build_backbone
from wss.models.layers.convolution import Shape
from wss.models.layers.recomputing import recomputed
from wss.ops.resizing import sides


@keras.saving.register_keras_serializable(package="wss")
class VisionTransformer(keras.layers.Layer):
    """DINOv2 or DINOv3: normalised images [B, H, W, 3] to patch tokens of some blocks, after the final layer norm.

    It takes keras-hub's patch embedding, blocks and layer norm, and has the other weights itself. keras-hub's own network is
    for one square size; a checkpoint of it lacks the blocks, and a file of its weights trained position embeddings.

    Args:
        class_name: "DINOV2Backbone" or "DINOV3Backbone" of keras-hub.
        config: Arguments of that class, without dropout.
        taps: Numbers of the blocks whose output is returned, from 1.
        recompute: Whether the backward pass computes each block once more instead of keeping what is in it.
        backbone: A backbone of that class and config whose weights are taken; None for random ones.
    """

    def __init__(
        self,
        *,
        class_name: str,
        config: dict[str, Any],
        taps: Sequence[int],
        recompute: bool = False,
        backbone: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**{"name": "vision_transformer", **kwargs})
        self.class_name, self.config, self.taps, self.recompute = class_name, dict(config), tuple(taps), recompute
        backbone = backbone or build_backbone(class_name, self.config)
        of_hub = backbone.embeddings
        self.patch, self.dimension = int(of_hub.patch_size), int(of_hub.hidden_dim)
        self.antialias = bool(getattr(of_hub, "antialias_in_interpolation", False))
        self.registers = int(of_hub.num_register_tokens)
        self.patch_embeddings, self.layernorm = of_hub.patch_embeddings, backbone.layernorm
        rope = getattr(backbone, "rope_embedding", None)
        self.frequencies = None if rope is None else keras.ops.convert_to_numpy(rope.inv_freq)
        self.depth = len(backbone.encoder.layers)
        # Attributes, not a list: TensorFlow's checkpoints do not look into Keras' lists.
        for number, block in enumerate(backbone.encoder.layers, 1):
            setattr(self, f"block_{number}", block)
        self.class_token = self._taken("class_token", of_hub.cls_token)
        self.register_tokens = self._taken("register_tokens", of_hub.register_tokens) if self.registers else None
        table = getattr(of_hub, "position_embeddings", None)
        self.position_embeddings = None if table is None else self._taken("position_embeddings", table)
        self.built = True

    def _taken(self, name: str, variable: keras.Variable) -> keras.Variable:
        """Returns a weight of its own with the value of a backbone's, float32 whatever the policy."""
        value = keras.ops.convert_to_numpy(variable.value)
        initial = keras.initializers.Constant(0.0)
        weight = self.add_weight(shape=value.shape, initializer=initial, name=name, autocast=False, dtype="float32")
        weight.assign(value)
        return weight

    @property
    def blocks(self) -> list[keras.layers.Layer]:
        """The blocks, in order."""
        return [getattr(self, f"block_{number}") for number in range(1, self.depth + 1)]

    def call(self, images: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns {"block<k>": [B, H / patch, W / patch, D]} of each tap.

        Raises:
            UserError: A side is no multiple of the patch.
        """
        batch, height, width, _ = sides(images)
        images = self._checked(images, height, width)
        grid = height // self.patch, width // self.patch
        tokens = self._embedded(self.patch_embeddings(images), batch, grid)
        arguments = {}
        if self.frequencies is not None:
            rotated = tuple(tf.cast(values, tokens.dtype) for values in rotations(grid, self.frequencies))
            arguments = {"position_embeddings": rotated, "num_prefix_tokens": 1 + self.registers}
        outputs = {}
        for number, block in enumerate(self.blocks, 1):
            if self.recompute and training:
                tokens = recomputed(block, tokens, **arguments)
            else:
                tokens = block(tokens, training=training, **arguments)
            if number in self.taps:
                patches = self.layernorm(tokens)[:, 1 + self.registers :]
                outputs[f"block{number}"] = tf.reshape(patches, [batch, *grid, self.dimension])
        return outputs

    def _checked(self, images: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
        for side in (height, width):
            if isinstance(side, int) and side % self.patch:
                raise UserError(
                    f"an image of {height} x {width} pixels: the encoder takes multiples of its patch of {self.patch}; set "
                    f"TrainingData.crop_size, Evaluation.window or Labeling.window to such as {self.patch * 9}"
                )
        if isinstance(height, int) and isinstance(width, int):
            return images
        rest = tf.stack([height % self.patch, width % self.patch])
        message = f"the encoder takes images whose sides are multiples of its patch of {self.patch}"
        with tf.control_dependencies([tf.debugging.assert_equal(rest, 0, message)]):
            return tf.identity(images)

    def _embedded(self, patches: tf.Tensor, batch: int | tf.Tensor, grid: tuple) -> tf.Tensor:
        """Returns the tokens of an image: class, registers, patches; [B, 1 + registers + h w, D]."""
        kind = patches.dtype
        whole = lambda token: tf.tile(tf.cast(tf.convert_to_tensor(token), kind), [batch, 1, 1])
        token = tf.convert_to_tensor(self.class_token)
        if self.position_embeddings is not None:
            table = tf.convert_to_tensor(self.position_embeddings)[0]
            patches += tf.cast(resampled(table[1:], grid, antialias=self.antialias), kind)[None]
            token += table[None, :1]
        prefix = [whole(token)] if self.register_tokens is None else [whole(token), whole(self.register_tokens)]
        return tf.concat([*prefix, patches], axis=1)

    def compute_output_spec(
        self, images: keras.KerasTensor, training: bool | None = None
    ) -> dict[str, keras.KerasTensor]:
        """Returns shapes and types of the outputs."""
        del training
        batch, height, width, _ = images.shape
        grid = [side and side // self.patch for side in (height, width)]
        shape: Shape = (batch, *grid, self.dimension)
        return {f"block{number}": keras.KerasTensor(shape, dtype=self.compute_dtype) for number in sorted(self.taps)}

    def get_config(self) -> dict:
        """Returns the arguments of the constructor, which builds the same network with random weights."""
        own = {"class_name": self.class_name, "config": self.config, "taps": self.taps, "recompute": self.recompute}
        return {**super().get_config(), **own}
