"""The projector of ESL: two convolutions and a linear layer on what the decoder reads."""

import functools

import gin
import keras
import tensorflow as tf

from wss.errors import UserError
from wss.models.deeplab import DeepLab, Features
from wss.models.heads.aspp_decoder import DECODER_INPUT
from wss.models.layers.convolution import PYTORCH_BATCH_NORM, conv_bn, head_input, pytorch_uniform, separable_conv_bn
from wss.models.layers.dropout import SpatialDropout
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_WIDTH, Integer, Number, SetByCode, Switch


class Projector(keras.layers.Layer):
    """The projector P, in two parts: means over pixels, and few chosen pixels, need the linear one only.

    Args:
        network: The network, whose segmentation head has a decoder.
        depth: Channels of the convolutions.
        dimension: L, the length of the projected vectors.
        separable: Whether the convolutions are separable.
        dropout: Rate at which whole channels are dropped after each.
    """

    def __init__(self, network: DeepLab, *, depth: int, dimension: int, separable: bool, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.dimension = dimension
        head = network.segmentation_head
        decoder_input = head.get_layer(DECODER_INPUT).output
        with_decoder_input = keras.Model(head.inputs, {"logits": head.output, "decoder_input": decoder_input})
        # In a container that Keras does not look into: the head is saved with the network.
        self._head = lambda: with_decoder_input
        norm = {**PYTORCH_BATCH_NORM, **network.batch_norm.arguments()}
        x = inputs = head_input(decoder_input.shape[1:], DECODER_INPUT)
        convolution = separable_conv_bn if separable else functools.partial(conv_bn, initializer=pytorch_uniform())
        for number in (1, 2):
            arguments = {"activation": "relu"} if separable else {"kernel_size": 3}
            x = convolution(x, depth, scope=f"projector/conv{number}", batch_norm=norm, **arguments)
            x = SpatialDropout(dropout, name=f"projector.dropout{number}")(x)
        self.convolutions = keras.Model(inputs, x, name="projector.convolutions")
        self.linear = keras.layers.Dense(dimension, name="projector.linear", dtype="float32")
        self.linear.build((None, depth))
        self.built = True

    def call(self, features: Features, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits [B, h, w, C] and what `project` takes, float32 [B, h, w, depth], of a backbone's end points."""
        head = self._head()
        outputs = head([features[tensor.name] for tensor in head.inputs], training=training)
        hidden = self.convolutions(outputs["decoder_input"], training=training)
        return outputs["logits"], tf.cast(hidden, tf.float32)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns vectors float32 [..., L] of the convolutions' output [..., depth], or of means of it."""
        return self.linear(hidden)


@gin.configurable
@in_ranges(
    "build_projector",
    network=SetByCode(),
    depth=Integer(1, LARGEST_WIDTH),
    dimension=Integer(1, LARGEST_WIDTH),
    separable=Switch(),
    dropout=Number(minimum=0, below=1),
)
def build_projector(
    network: DeepLab,
    *,
    depth: int = 256,
    dimension: int = 512,
    separable: bool = False,
    dropout: float = 0.1,
) -> Projector:
    """Builds the projector for a network.

    Args:
        network: The network, DeepLabv3+ with a decoder, or with DPT's head, whose fused map is taken.
        depth: Channels of the two convolutions.
        dimension: L, the length of the vectors that are compared; 512 in the paper.
        separable: Whether the convolutions are separable, for small networks.
        dropout: Rate at which whole channels are dropped after each convolution.

    Raises:
        UserError: The network has no decoder.
    """
    if DECODER_INPUT not in [layer.name for layer in network.segmentation_head.layers]:
        raise UserError(
            "ESL.contrast_weight: the contrast reads what DeepLabv3+'s decoder reads, but the network has no decoder; set "
            "build_model.use_decoder = True and a DeepLabv3+ head, 'dpt' on a ViT, or ESL.contrast_weight = 0"
        )
    return Projector(network, depth=depth, dimension=dimension, separable=separable, dropout=dropout, name="projector")
