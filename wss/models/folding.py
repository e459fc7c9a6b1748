"""Batch norm folded into the convolution before it: in a network that only predicts, for a while, or in a copy."""

import contextlib
import functools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from wss.models.deeplab import DeepLab
from wss.models.layers.convolution import Conv2D, DepthwiseConv2D
from wss.models.layers.dropout import Dropout
from wss.models.layers.normalization import BatchNorm

CONVOLUTIONS = (Conv2D, DepthwiseConv2D)


def fold(network: DeepLab) -> None:
    """Folds the batch norms of backbone and segmentation head, in place: the network predicts the same but for rounding.

    The kernel of the convolution takes a factor, beta becomes what the convolution adds, and the batch norm hands its input
    on. What is folded already stays. For a network that only predicts: it can neither train nor be saved any more.

    Of a convolution in bfloat16 or float16 the kernel stays as it was rounded in training, since the statistics are those
    of that kernel. It subtracts the mean, before its sum is rounded, and the batch norm does the rest.

    Args:
        network: The trained network, of any dtype policy, outside of any replica.
    """
    for convolution, norm in _unfolded(network):
        if convolution.compute_dtype != "float32":
            convolution.offset = norm.shift = functools.partial(_from_mean, convolution, norm)
            continue
        kernel, offset = _with_norm([np.asarray(value) for value in convolution.get_weights()], norm)
        convolution.kernel.assign(kernel)
        norm.beta.assign(offset)
        convolution.offset, norm.folded = functools.partial(tf.convert_to_tensor, norm.beta), True


def _from_mean(convolution: keras.layers.Layer, norm: BatchNorm) -> tf.Tensor:
    """Returns the bias of a convolution without the mean of the batch norm after it, float32 [C]."""
    bias = tf.cast(convolution.bias, tf.float32) if convolution.use_bias else 0.0  # a layer reads it in its own dtype
    return bias - tf.convert_to_tensor(norm.moving_mean)


@contextlib.contextmanager
def folded(network: keras.Model) -> Iterator[None]:
    """Folds a network for a while, see `fold`; a model of another kind stays as it is."""
    pairs = _unfolded(network) if isinstance(network, DeepLab) else []
    own = [(layer.kernel, layer.kernel.numpy(), norm.beta, norm.beta.numpy()) for layer, norm in pairs]
    try:
        if pairs:
            fold(network)
        yield
    finally:
        for (layer, norm), (kernel, kernel_value, beta, beta_value) in zip(pairs, own, strict=True):
            kernel.assign(kernel_value)
            beta.assign(beta_value)
            layer.offset, norm.folded, norm.shift = None, False, None


def _unfolded(network: DeepLab) -> list[tuple[keras.layers.Layer, BatchNorm]]:
    """Returns the convolutions whose batch norm is not folded yet, with that."""
    return [
        (convolution, norm)
        for model in (network.backbone, network.segmentation_head)
        for name, norm in _norm_of_convolutions(model).items()
        if (convolution := model.get_layer(name)).offset is None
    ]


def folded_copy(network: DeepLab) -> keras.Model:
    """Returns the network as one functional model for inference: `network(images, training=False)`, but for rounding.

    It has variables of its own, float32, and none that training moves: each batch norm is the bias and a factor of the
    kernel of the convolution before it.

    Args:
        network: The trained network, of any dtype policy.

    Returns:
        A model from images float32 [B, H, W, 3] in 0 .. 255 to logits [B, h, w, C], float32.
    """
    head = network.segmentation_head
    ends = [network.backbone.output[tensor.name] for tensor in head.inputs]
    trunk = keras.Model(network.backbone.inputs[0], ends, name=network.backbone.name)
    images = keras.Input(trunk.input.shape[1:], dtype="float32", name="images")
    return keras.Model(images, _folded(head)(_folded(trunk)(images)), name="network")


def _folded(model: keras.Model) -> keras.Model:
    """Returns a functional model without batch norms and dropout."""
    norms = _norm_of_convolutions(model)
    gone = {norm.name for norm in norms.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = {**layer.get_config(), "dtype": "float32"}
        if layer.name in norms:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args, **kwargs) -> keras.KerasTensor:
        return args[0] if layer.name in gone or isinstance(layer, Dropout) else layer(*args, **kwargs)

    inputs = [keras.Input(tensor.shape[1:], dtype="float32", name=tensor.name) for tensor in model.inputs]
    inputs = inputs if isinstance(model.input, list) else inputs[0]
    copy = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if layer.weights:
            original = model.get_layer(layer.name)
            values = [np.asarray(value) for value in original.get_weights()]
            layer.set_weights(_with_norm(values, norms[layer.name]) if layer.name in norms else values)
    return copy


def _norm_of_convolutions(model: keras.Model) -> dict[str, BatchNorm]:
    """Returns {name of a convolution: the batch norm that alone takes its output}."""
    ends = {id(tensor) for tensor in model.outputs}
    takers: dict[int, list[keras.Layer]] = {}
    for layer in model.layers:
        for tensor in tf.nest.flatten(layer.input):
            takers.setdefault(id(tensor), []).append(layer)
    found = {}
    for layer in model.layers:
        after = takers.get(id(layer.output), [])
        alone = len(after) == 1 and id(layer.output) not in ends
        if isinstance(layer, CONVOLUTIONS) and alone and isinstance(after[0], BatchNorm):
            found[layer.name] = after[0]
    return found


def _with_norm(values: list[np.ndarray], norm: BatchNorm) -> list[np.ndarray]:
    """Returns the kernel and the bias of a convolution with its batch norm."""
    kernel, bias = values[0], values[1] if len(values) > 1 else 0.0
    parameters = {
        name: np.asarray(getattr(norm, name), np.float64) for name in ("beta", "moving_mean", "moving_variance")
    }
    factor = 1.0 / np.sqrt(parameters["moving_variance"] + norm.epsilon)
    if norm.gamma is not None:
        factor = factor * np.asarray(norm.gamma, np.float64)
    offset = parameters["beta"] + (bias - parameters["moving_mean"]) * factor
    # The channels are the last axis of a kernel; of a depthwise one the last but one, with one filter a channel.
    by_channel = factor[:, None] if kernel.shape[-1] == 1 and len(factor) != 1 else factor
    return [(kernel * by_channel).astype(np.float32), offset.astype(np.float32)]
