"""Networks in eight bits: what rounding their weights shifts, and which layers do not bear it.

Source of the bias correction: Nagel et al., ICCV 2019 (arXiv 1906.04721), section 4.2, here by measured inputs.
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from wss.models.folding import CONVOLUTIONS
from wss.models.layers.convolution import DepthwiseConv2D

LEVELS = 127  # of a weight's size; the range is symmetric, one for each output channel
# The first layers of MobileNetV2 alone cost 6 % of the pixels; in float they cost no time that one could measure.
FIRST_IN_FLOAT = 3


def parts(model: keras.Model) -> list[keras.Model]:
    """Returns backbone and head of a `serving_model`."""
    return [layer for layer in model.get_layer("network").layers if isinstance(layer, keras.Model)]


def convolutions(part: keras.Model) -> list[keras.Layer]:
    """Returns the convolutions of a part in their order."""
    return [layer for layer in part.layers if isinstance(layer, CONVOLUTIONS)]


def bias_corrected(model: keras.Model, photos: Iterable[np.ndarray]) -> keras.Model:
    """Returns a copy of a `serving_model` whose biases take back what rounding the weights to eight bits adds on average.

    A rounded kernel W + D shifts a channel by sum(D E[x]), x the layer's input. With MobileNetV2 that shift is four fifths
    of what rounding the weights costs.

    Args:
        model: The model; each of its convolutions has a bias.
        photos: Photos uint8 [H, W, 3] over which inputs are averaged.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    means = _mean_inputs(model, photos)
    for part in parts(copy):
        for layer in convolutions(part):
            kernel, bias = layer.get_weights()
            added = _rounded(kernel, depthwise := isinstance(layer, DepthwiseConv2D)) - kernel
            by_input = added.sum((0, 1))
            mean = means[layer.name]
            shift = by_input[:, 0] * mean if depthwise else mean @ by_input
            layer.set_weights([kernel, bias - shift.astype(np.float32)])
    return copy


def _rounded(kernel: np.ndarray, depthwise: bool) -> np.ndarray:
    """Returns a kernel as eight bits keep it, float32."""
    axes = (0, 1, 3) if depthwise else (0, 1, 2)
    step = np.maximum(np.abs(kernel).max(axes, keepdims=True) / LEVELS, np.finfo(np.float32).tiny)
    return np.round(kernel / step) * step


def _mean_inputs(model: keras.Model, photos: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns {name of a convolution: the mean over photos and pixels of each channel of its input}."""
    trunk, head = parts(model)
    inputs_of = lambda part: {layer.name: layer.input for layer in convolutions(part)}
    of_trunk = keras.Model(trunk.inputs, [trunk.outputs, inputs_of(trunk)])
    of_head = keras.Model(head.inputs, inputs_of(head))
    mean = lambda tensors: {name: tf.reduce_mean(tensor, [0, 1, 2]) for name, tensor in tensors.items()}

    @tf.function(reduce_retracing=True)
    def means(photo: tf.Tensor) -> dict[str, tf.Tensor]:
        ends, inputs = of_trunk(model.get_layer("photo_to_network")(photo[None]))
        return {**mean(inputs), **mean(of_head(ends))}

    found = [tf.nest.map_structure(lambda value: value.numpy(), means(tf.constant(photo))) for photo in photos]
    return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}


def sensitive_tensors(model: keras.Model, tensors: Sequence[str]) -> list[str]:
    """Returns the names of those tensors of a TensorFlow Lite file that are to stay in float: of the first layers."""
    first = convolutions(parts(model)[0])[:FIRST_IN_FLOAT]
    # A layer is part of a path in a tensor's name, with a number behind it if it was called before.
    return [name for name in tensors if any(f"/{layer.name}{end}" in name for layer in first for end in "_/.")]
